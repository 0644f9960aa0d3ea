"""One vocabulary for every case: GOOD, Good and good are three ids that share one vector."""


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


SPECIAL = ("<pad>", "<s>", "</s>", "<unk>")


def capitalised(piece):
    """`▁good` as `▁Good`."""
    start = len(piece) - len(piece.lstrip("\u2581"))
    return piece[:start] + piece[start : start + 1].upper() + piece[start + 1 :]


def read(proto):
    from sentencepiece import sentencepiece_model_pb2

    return sentencepiece_model_pb2.ModelProto.FromString(proto)
