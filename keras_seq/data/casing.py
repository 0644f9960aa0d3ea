"""One vocabulary for every case: GOOD, Good and good are three ids that share one vector."""

from keras_seq.data.tokenizer import SPACE


def any_case(proto):
    """A sentencepiece model that cuts `Good` and `GOOD` as it cuts `good`.

    Each piece gets a twin with a capital and one in capitals, with the same score. Learn the model from lower-case
    texts.

    Args:
        proto: Bytes of a sentencepiece model.

    Returns:
        bytes of a larger one; the ids of the pieces that were there stay.

    Example:
        >>> from keras_seq.data import Tokenizer
        >>> small = Tokenizer.train(["good food and good wine"] * 10, vocab_size=30)
        >>> tokenizer = Tokenizer(any_case(small.model_proto))
        >>> [tokenizer.decode([ids])[0] for ids in tokenizer.encode(["GOOD Food"])]
        ['GOOD Food']
    """
    model = read(proto)
    known = {piece.piece for piece in model.pieces}
    for piece in [piece for piece in model.pieces if piece.type == piece.NORMAL]:
        for twin in (capitalised(piece.piece), piece.piece.upper()):
            if twin not in known and twin.lower() == piece.piece:
                known.add(twin)
                model.pieces.add(piece=twin, score=piece.score)
    model.trainer_spec.vocab_size = len(model.pieces)
    return model.SerializeToString()


def shared_rows(proto):
    """For each id of a model made by `any_case` the id of its lower-case twin: which row of a table it reads.

    Example:
        >>> from keras_seq.data import Tokenizer
        >>> proto = any_case(Tokenizer.train(["good food and good wine"] * 10, vocab_size=30).model_proto)
        >>> tokenizer, rows = Tokenizer(proto), shared_rows(proto)
        >>> [[rows[i] for i in ids] for ids in tokenizer.encode(["GOOD Food"])] == tokenizer.encode(["good food"])
        True
    """
    pieces = [piece.piece for piece in read(proto).pieces]
    index = {piece: i for i, piece in reversed(list(enumerate(pieces)))}
    return [index.get(piece.lower(), i) if piece not in SPECIAL else i for i, piece in enumerate(pieces)]


def case_forms(proto):
    """For each id of a model made by `any_case` how it is written: 0 as learned, 1 with a capital, 2 in capitals.

    Example:
        >>> from keras_seq.data import Tokenizer
        >>> proto = any_case(Tokenizer.train(["good food and good wine"] * 10, vocab_size=30).model_proto)
        >>> len(case_forms(proto)) == Tokenizer(proto).vocab_size, sorted(set(case_forms(proto)))
        (True, [0, 1, 2])
    """
    spelled = [piece.piece for piece in read(proto).pieces]
    return [0 if piece in SPECIAL else form(piece) for piece in spelled]


def form(piece):
    """How a piece is written: 0 as learned, 1 with a capital, 2 in capitals.

    Example:
        >>> [form(piece) for piece in ("\u2581good", "\u2581Good", "\u2581GOOD")]
        [0, 1, 2]
    """
    lower = piece.lower()
    return 0 if piece == lower else 1 if piece == capitalised(lower) else 2


def word_parts(proto):
    """For each id what it is in a word: 1 begins one, 2 goes on with it, 0 is no part of a word (PAD, BOS, EOS).

    Example:
        >>> from keras_seq.data import Tokenizer
        >>> tokenizer = Tokenizer.train(["good food and good wine"] * 10, vocab_size=30)
        >>> parts = word_parts(tokenizer.model_proto)
        >>> sum(parts[i] == 1 for i in tokenizer.encode(["good wines"])[0])
        2
    """
    pieces = [piece.piece for piece in read(proto).pieces]
    return [0 if piece in SPECIAL[:3] else 1 if piece.startswith(SPACE) else 2 for piece in pieces]


SPECIAL = ("<pad>", "<s>", "</s>", "<unk>")


def capitalised(piece):
    """`▁good` as `▁Good`."""
    start = len(piece) - len(piece.lstrip(SPACE))
    return piece[:start] + piece[start : start + 1].upper() + piece[start + 1 :]


def read(proto):
    from sentencepiece import sentencepiece_model_pb2

    return sentencepiece_model_pb2.ModelProto.FromString(proto)
