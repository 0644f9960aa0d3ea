"""A sentencepiece unigram model as a TensorFlow graph: text to ids and back with core string ops only.

A SavedModel that holds it needs no further library to load: no tensorflow_text, no sentencepiece. It gives the ids that
sentencepiece gives: among all ways to cut a text into pieces the one with the largest sum of scores (Kudo, 2018), found
from left to right for a whole batch at once.
"""

SPACE = "\u2581"  # sentencepiece's visible space
UNKNOWN_PENALTY = 10.0  # an unknown character costs this more than the rarest piece
NORMAL, UNKNOWN = 1, 2  # the types of pieces in sentencepiece_model.proto that carry text


class TextCodec:
    """Text to ids and back, inside a graph.

    Args:
        proto: bytes of a sentencepiece model (unigram, identity normalisation, no byte fallback).
        eos, pad: ids that end and fill a row.

    Raises:
        ValueError: for a sentencepiece model of another kind, whose ids this graph would not reproduce.

    Example:

        codec = TextCodec(Path("tokenizer.model").read_bytes())
        codec.decode(codec.encode(tf.constant(["Click here."]), limit=64)).numpy()  # array([b'Click here.'])
    """

    def __init__(self, proto, eos=2, pad=0):
        import tensorflow as tf
        from sentencepiece import sentencepiece_model_pb2

        model = sentencepiece_model_pb2.ModelProto.FromString(proto)
        check_tokenizer(model)
        pieces = model.pieces
        normal = [i for i, piece in enumerate(pieces) if piece.type == NORMAL]
        self.eos, self.pad = eos, pad
        self.spec = model.normalizer_spec
        self.unknown = [piece.type for piece in pieces].index(UNKNOWN)
        self.longest = max(len(pieces[i].piece) for i in normal)  # characters
        self.unknown_score = unknown_score(model)
        self.scores = tf.constant([piece.score for piece in pieces], "float32")  # (V,)
        self.surfaces = tf.constant([surface(piece, model.trainer_spec) for piece in pieces])  # (V,)
        rows = tf.lookup.KeyValueTensorInitializer([pieces[i].piece for i in normal], normal, "string", "int32")
        self.table = tf.lookup.StaticHashTable(rows, default_value=-1)  # to be tracked by what is saved

    def encode(self, texts, limit=None, length=None, prompt=False):
        """texts (B,) to ids (B, S): pieces, then `eos`, then `pad`; cut to `limit` ids with `eos` the last of them.

        Of a prompt the last `limit` pieces, then `pad`. S is `length`, or that of the longest row.
        """
        import tensorflow as tf

        ids = self.pieces(texts)
        if prompt:
            return ids[:, -limit:].to_tensor(self.pad, shape=(None, length))
        ids = ids if limit is None else ids[:, : limit - 1]
        eos = tf.fill([ids.nrows(), 1], self.eos)
        return tf.concat([ids, tf.RaggedTensor.from_tensor(eos)], axis=1).to_tensor(self.pad, shape=(None, length))

    def pieces(self, texts):
        """texts (B,) to the ragged ids (B, None) of their pieces."""
        import tensorflow as tf

        characters = tf.strings.unicode_split(self.normalise(texts), "UTF-8")
        lengths = tf.cast(characters.row_lengths(), "int32")  # (B,)
        one_more = tf.fill([characters.nrows(), 1], "")  # the loops run one step at least
        characters = tf.concat([characters.to_tensor(""), one_more], axis=1)  # (B, L)
        ids, scores = self._lattice(characters, lengths)
        ids, sizes = _best_pieces(ids, scores)  # (L, B): the best last piece of the text that ends here
        keep = _trace_back(sizes, lengths)  # (L, B)
        chosen = tf.ragged.boolean_mask(tf.transpose(ids), tf.transpose(keep))
        return self._merge_unknown(chosen)

    def decode(self, ids, follows=False):
        """ids (B, T) to texts (B,); special ids give no text. What `follows` on another keeps its first space."""
        import tensorflow as tf

        text = tf.strings.reduce_join(tf.gather(self.surfaces, ids), axis=-1)
        if self.spec.remove_extra_whitespaces and not follows:
            text = tf.strings.regex_replace(text, f"^{SPACE}+", "")
        elif self.spec.add_dummy_prefix and not follows:
            text = tf.strings.regex_replace(text, f"^{SPACE}", "")
        return tf.strings.regex_replace(text, SPACE, " ")

    def normalise(self, texts):
        """Spaces as sentencepiece sees them; nothing else is changed."""
        import tensorflow as tf

        if self.spec.remove_extra_whitespaces:
            texts = tf.strings.regex_replace(texts, "  +", " ")
            texts = tf.strings.regex_replace(texts, f"^ | ?({SPACE}| )*$", "")
        texts = tf.strings.regex_replace(texts, " ", SPACE)
        if not self.spec.add_dummy_prefix:
            return texts
        return tf.where(tf.equal(texts, ""), texts, tf.strings.join([SPACE, texts]))

    def _lattice(self, characters, lengths):
        """Ids and scores (L, B, M) of the pieces that end at each character, the longest piece (M characters) first."""
        import tensorflow as tf

        end = tf.range(1, tf.shape(characters)[1] + 1)[None]  # (1, L)
        ids, scores, window = [], [], tf.zeros_like(characters)
        for size in range(1, self.longest + 1):
            window = tf.strings.join([_delay(characters, size - 1, ""), window])  # the last `size` characters
            found = self.table.lookup(window)  # (B, L)
            score = tf.gather(self.scores, tf.maximum(found, 0))
            if size == 1:
                score = tf.where(found < 0, self.unknown_score, score)
                found = tf.where(found < 0, self.unknown, found)
            inside = (found >= 0) & (end >= size) & (end <= lengths[:, None])
            ids.append(found)
            scores.append(tf.where(inside, score, -float("inf")))
        return [tf.transpose(tf.stack(x[::-1], axis=-1), [1, 0, 2]) for x in (ids, scores)]

    def _merge_unknown(self, ids):
        """Several unknown characters in a row are one unknown id."""
        import tensorflow as tf

        dense = ids.to_tensor(-1)  # (B, K)
        unknown = tf.equal(dense, self.unknown)
        again = unknown & _delay(unknown, 1, False)
        return tf.ragged.boolean_mask(dense, (dense >= 0) & ~again)


def _best_pieces(ids, scores):
    """The best piece that ends at each character, given the best of all that ends before it: ids and sizes (L, B)."""
    import tensorflow as tf

    longest = scores.shape[-1]
    start = tf.fill(tf.shape(scores)[1:], -float("inf"))  # (B, M): the best sums at the last M ends
    start = tf.concat([start[:, 1:], tf.zeros_like(start[:, :1])], axis=1)
    nothing = tf.zeros(tf.shape(ids)[1:2], "int32")

    def advance(carried, now):
        sums = carried[0] + now[1]  # (B, M)
        choice = tf.argmax(sums, axis=-1, output_type="int32")  # the first of equals: the longest piece
        best = tf.concat([carried[0][:, 1:], tf.reduce_max(sums, axis=-1, keepdims=True)], axis=1)
        return best, tf.gather(now[0], choice, batch_dims=1), longest - choice

    _, ids, sizes = tf.scan(advance, (ids, scores), (start, nothing, nothing))
    return ids, sizes


def _trace_back(sizes, lengths):
    """True (L, B) at the ends of the pieces on the best path, walked from the last character to the first."""
    import tensorflow as tf

    ends = tf.range(1, tf.shape(sizes)[0] + 1)

    def advance(carried, now):
        end, size = now
        here = tf.equal(carried[0], end)
        return tf.where(here, end - size, carried[0]), here

    return tf.scan(advance, (ends, sizes), (lengths, tf.zeros_like(lengths, "bool")), reverse=True)[1]


def _delay(x, count, fill):
    """(B, L) moved right by `count`, filled on the left, the same length."""
    import tensorflow as tf

    if not count:
        return x
    return tf.concat([tf.fill([tf.shape(x)[0], count], fill), x], axis=1)[:, : tf.shape(x)[1]]


def unknown_score(model):
    """What an unknown character costs."""
    return min(piece.score for piece in model.pieces if piece.type == NORMAL) - UNKNOWN_PENALTY


def surface(piece, trainer):
    """The text that an id stands for."""
    return {NORMAL: piece.piece, UNKNOWN: trainer.unk_surface}.get(piece.type, "")


def check_tokenizer(model):
    """Raises ValueError for a sentencepiece model that the graphs here would not follow."""
    kinds = {piece.type for piece in model.pieces}
    problems = {
        f"model type {model.trainer_spec.model_type}": model.trainer_spec.model_type != 1,
        "byte fallback": model.trainer_spec.byte_fallback,
        "a normalisation rule": bool(model.normalizer_spec.precompiled_charsmap),
        "spaces kept unescaped": not model.normalizer_spec.escape_whitespaces,
        "spaces as suffixes": model.trainer_spec.treat_whitespace_as_suffix,
        "user-defined symbols": 4 in kinds,
    }
    found = [name for name, present in problems.items() if present]
    if found:
        raise ValueError(
            "Expected a sentencepiece unigram model with identity normalisation and no byte fallback; "
            f"got one with {', '.join(found)}. Train it with keras_seq.data.tokenizer.Tokenizer.train."
        )
