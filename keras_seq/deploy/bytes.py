"""A sentencepiece unigram model in builtin ops: UTF-8 bytes to ids and back, inside the graph of a phone.

A host hands over bytes as int32, 0 after the end, and gets bytes back: it needs no tokenizer, no vocabulary and no
string type. The ids are those of sentencepiece: of all ways to cut a text into pieces the one with the largest sum of
scores (Kudo, 2018), summed in the same order and precision, the longest last piece first among equals.
"""

from keras_seq.deploy import trie
from keras_seq.deploy.runners import BYTES_OF_AN_ID
from keras_seq.deploy.text import NORMAL, SPACE, UNKNOWN, check_tokenizer, surface, unknown_score

BLANK = 0x20  # a space inside the graph: one byte, where sentencepiece has the three of U+2581
MARK = 0xFF  # a space of a piece, which goes at the beginning of a text; no byte of UTF-8
NEVER = -1e30
BLOCK = 64  # bytes


def room(length):
    """The bytes that a text of so many ids may take: more than any but a made-up one does."""
    return BYTES_OF_AN_ID * length


class ByteCodec:
    """UTF-8 bytes to ids and back, for one text.

    Args:
        proto: bytes of a sentencepiece model (unigram, identity normalisation, no byte fallback).
        eos, pad: ids that end and fill a row.

    Attributes:
        tables: variables that the exported module has to track.

    Raises:
        ValueError: for a sentencepiece model of another kind, whose ids this graph would not reproduce.

    Example:

        codec = ByteCodec(Path("tokenizer.model").read_bytes())
        ids = codec.encode(tf.constant([[*b"Click here.", 0, 0]]), limit=64)  # (1, 64)
        bytes(codec.decode(ids)[0].numpy().tolist()).rstrip(b"\\0")  # b'Click here.'
    """

    def __init__(self, proto, eos=2, pad=0):
        from sentencepiece import sentencepiece_model_pb2

        model = sentencepiece_model_pb2.ModelProto.FromString(proto)
        check_tokenizer(model)
        self.eos, self.pad, self.spec = eos, pad, model.normalizer_spec
        self.unknown = [piece.type for piece in model.pieces].index(UNKNOWN)
        self.nothing = len(model.pieces)  # stands for no piece
        self._pieces(model)
        self._surfaces(model)
        self.tables = [t.stored for t in (self.base, self.check, self.piece)] + [self.scores, self.begins, self.letters]

    def reading(self, function, name, length, prompt=False, before=""):
        """A function of `name`, ids (1, length), as one of `utf8`, bytes (1, N), which also returns the ids.

        Other inputs stay as they are. `before` is put before every text.
        """
        import tensorflow as tf

        from keras_seq.deploy import signatures

        def text(utf8, **others):
            ids = self.encode(tf.concat([[[*before.encode()]], utf8], 1) if before else utf8, length, prompt)
            return {**function(**{name: ids}, **others), name: ids}

        others = {key: spec for key, spec in signatures.inputs_of(function).items() if key != name}
        return signatures.trace(text, utf8=tf.TensorSpec((1, room(length)), "int32"), **others)

    def writing(self, function, specs, follows=False):
        """A function with the outputs `tokens` and `scores` as one with `utf8` beside them, for inputs of one item."""
        from keras_seq.deploy import signatures

        def text(**inputs):
            found = function(**inputs)
            return {**found, "utf8": self.decode(found["tokens"], follows)}

        return signatures.trace(text, **specs)

    def _pieces(self, model):
        """The trie of the pieces, the piece that ends at each of its states, and the pieces' scores."""
        import numpy as np

        normal = [i for i, piece in enumerate(model.pieces) if piece.type == NORMAL]
        words = [model.pieces[i].piece.replace(SPACE, chr(BLANK)).encode() for i in normal]
        base, check, ends = trie.double_array(words)
        piece = np.full(len(base), self.nothing, "int32")
        piece[ends] = normal
        scores = np.full(self.nothing + 1, NEVER, "float32")
        scores[normal] = [model.pieces[i].score for i in normal]
        scores[self.unknown] = unknown_score(model)
        self.longest = max(4, *map(len, words))  # an unknown character has 4 bytes at most
        bits = scores.view("int32")  # as floats they would be rounded in an int8 file
        self.base, self.check, self.piece = map(Table, (base, check, piece))
        self.scores = _table(bits)

    def _surfaces(self, model):
        """The bytes that each id stands for, one after the other."""
        import numpy as np

        texts = [surface(piece, model.trainer_spec) for piece in model.pieces]
        parts = [bytes([MARK]).join(part.encode() for part in text.split(SPACE)) for text in texts]
        self.widest = max(map(len, parts))
        self.begins = _table(np.cumsum([0, *map(len, parts)]).astype("int32"))
        self.letters = _table(np.frombuffer(b"".join(parts), "uint8"))

    def encode(self, utf8, limit, prompt=False):
        """utf8 int32 (1, N), 0 after the end, to ids (1, limit): cut to limit - 1, then `eos`, then `pad`.

        Bytes may be signed; what is no UTF-8 is unknown. Of a prompt the last `limit` ids, then `pad`: it does not end.
        """
        import tensorflow as tf

        x = tf.reshape(utf8, [-1])
        x, n = self._normalise(tf.clip_by_value(tf.where(x < 0, x + 256, x), 0, 255))
        best, pieces = self._search(x, n)
        chosen, begins = self._choose(best, pieces, n)
        kept = _trace_back(begins, n)
        before = tf.gather(chosen, begins)
        again = tf.equal(chosen, self.unknown) & tf.equal(before, self.unknown) & (begins > 0)
        kept &= ~again  # several unknown characters in a row are one unknown id
        ids, count = _compact(chosen, kept, limit, last=prompt)
        if prompt:
            return tf.expand_dims(tf.where(tf.range(limit) < count, ids, self.pad), 0)
        end, place = tf.minimum(count, limit - 1), tf.range(limit)
        ids = tf.where(place < end, ids, tf.where(tf.equal(place, end), self.eos, self.pad))
        return tf.expand_dims(ids, 0)

    def decode(self, ids, follows=False):
        """ids (1, T) to utf8 int32 (1, T * the longest piece), 0 after the end; special ids give no text.

        What `follows` on another text keeps the space that it begins with.
        """
        import tensorflow as tf

        ids = tf.reshape(ids, [-1])
        size, begin = ids.shape[0] * self.widest, tf.gather(self.begins, ids)
        ends = tf.cumsum(tf.gather(self.begins, ids + 1) - begin)  # (T,), where each piece ends in the text
        place = tf.range(size)
        steps = tf.scatter_nd(tf.expand_dims(ends, 1), tf.ones_like(ends), [size + 1])
        token = tf.minimum(tf.cumsum(steps)[:size], ids.shape[0] - 1)  # which piece a byte belongs to
        back = tf.gather(ends, token) - place  # how far its end is
        letter = tf.gather(tf.gather(self.begins, ids + 1), token) - back
        text = tf.cast(tf.gather(self.letters, tf.clip_by_value(letter, 0, self.letters.shape[0] - 1)), "int32")
        text = tf.where(place < ends[-1], text, 0)
        text = text if follows else self._begun(text)
        return tf.expand_dims(tf.where(tf.equal(text, MARK), BLANK, text), 0)

    def _begun(self, text):
        """Bytes without the marks at the beginning."""
        import tensorflow as tf

        place, size = tf.range(text.shape[0]), text.shape[0]
        first = tf.reduce_min(tf.where(tf.equal(text, MARK), size, place))  # which is no mark
        if not self.spec.remove_extra_whitespaces:
            first = tf.minimum(first, 1 if self.spec.add_dummy_prefix else 0)
        return tf.slice(tf.concat([text, tf.zeros_like(text)], 0), [first], [size])

    def _normalise(self, x):
        """Bytes (N,) as sentencepiece sees them: (L,) and how many there are."""
        import tensorflow as tf

        size, place = x.shape[0], tf.range(x.shape[0])
        n = tf.reduce_min(tf.where(tf.equal(x, 0), place, size))
        lead = tf.reduce_max(tf.where((place < n) & (_size(x) > 0), place, 0))
        n = tf.where(lead + tf.gather(_size(x), lead) > n, lead, n)  # without the half of a character at the end
        visible = tf.equal(x, 0xE2) & tf.equal(_shift(x, -1), 0x96) & tf.equal(_shift(x, -2), 0x81)  # U+2581 itself
        keep = (place < n) & ~_shift(visible, 1) & ~_shift(visible, 2)
        if self.spec.remove_extra_whitespaces:
            keep &= ~(tf.equal(x, BLANK) & tf.equal(_shift(x, 1, BLANK), BLANK))
        x, n = _compact(tf.where(visible, BLANK, x), keep, size)
        if self.spec.remove_extra_whitespaces:
            n = tf.reduce_max(tf.where((x > 0) & (x != BLANK), place + 1, 0))
        if self.spec.add_dummy_prefix:
            x, n = tf.concat([[BLANK], x], 0), tf.where(n > 0, n + 1, 0)
        return tf.where(tf.range(x.shape[0]) < n, x, 0), n

    def _search(self, x, n):
        """The largest sums of scores up to each byte, and the pieces that end there, the longest (M bytes) first.

        A block of bytes at a time, so that a short text takes as long as it is, not as long as it may be.

        Returns:
            best (M + R,), where best[M + e] is the sum of what ends before byte e; pieces (R, M).
        """
        import tensorflow as tf
        from keras import ops

        longest, count = self.longest, -(-x.shape[0] // BLOCK)
        padded = tf.pad(x, [[longest, count * BLOCK - x.shape[0]]])

        def advance(first, best, pieces):  # of what ends before byte first + 1, ..., first + BLOCK
            part = tf.slice(padded, [first + 1], [BLOCK + longest - 1])  # all bytes that they may begin with
            here = self._lattice(part)
            best = self._add_up(here, first, n, best)
            return first + BLOCK, best, ops.slice_update(pieces, [(first + 1) * longest], tf.reshape(here, [-1]))

        best = tf.concat([tf.fill([longest], NEVER), [0.0], tf.fill([count * BLOCK], NEVER)], 0)
        pieces = tf.fill([(1 + count * BLOCK) * longest], self.nothing)
        found = tf.while_loop(lambda first, *_: first < n, advance, (tf.constant(0), best, pieces))
        return found[1], tf.reshape(found[2], [-1, longest])

    def _lattice(self, x):
        """The pieces (BLOCK, M) that end before each of the last bytes of x, the longest first."""
        import tensorflow as tf

        pieces, sizes = self.piece[self._walk(x)[self.longest :]], _size(x)
        before = [sizes[self.longest - k :][:BLOCK] for k in (1, 2, 3, 4)]  # the sizes k bytes before each end
        whole, character = tf.ones((BLOCK,), "bool"), []
        for k, size in enumerate(before, 1):  # a byte alone is one too: it costs more than to be a part of another
            character.insert(0, whole & tf.equal(size, k) if k > 1 else whole)
            whole &= tf.equal(size, 0)
        character = tf.stack(character, 1)
        none = tf.zeros((BLOCK, self.longest - 4), "bool")  # not tf.pad: of bools it asks for a runtime of late 2025
        character = tf.concat([none, character], 1)
        return tf.where(character & tf.equal(pieces, self.nothing), self.unknown, pieces)

    def _walk(self, x):
        """The states (L + 1, M) of the trie: row e, column M - k is where the k bytes before byte e lead to."""
        import tensorflow as tf
        from keras import ops

        size, longest = x.shape[0], self.longest
        width, padded = size + longest, tf.pad(x, [[0, longest]])

        def advance(k, state, found):
            following = self.base[state] + tf.slice(padded, [k - 1], [size])
            state = tf.where(tf.equal(self.check[following], state), following, trie.DEAD)
            return k + 1, state, ops.slice_update(found, [(longest - k) * width + k], state)

        def alive(k, state, found):
            return (k <= longest) & (tf.reduce_max(state) > trie.DEAD)

        start = tf.constant(1), tf.fill([size], trie.ROOT), tf.fill([longest * width], trie.DEAD)
        found = tf.while_loop(alive, advance, start)[2]
        return tf.transpose(tf.reshape(found, [longest, width]))[: size + 1]

    def _add_up(self, pieces, first, n, best):
        """`best` with the sums of the next block, one end after the other."""
        import tensorflow as tf
        from keras import ops

        scores = self._score(pieces)

        def advance(i, best):
            sums = tf.slice(best, [first + i + 1], [self.longest]) + tf.gather(scores, i)
            place = first + i + 1 + self.longest
            return i + 1, ops.slice_update(best, [place], tf.reduce_max(sums, keepdims=True))

        return tf.while_loop(lambda i, _: (i < BLOCK) & (first + i < n), advance, (tf.constant(0), best))[1]

    def _choose(self, best, pieces, n):
        """The piece (R,) that ends before each byte on the best way there, and the byte that it begins with."""
        import tensorflow as tf

        rows, longest = pieces.shape
        ends, order = tf.minimum(tf.range(rows), n), tf.range(longest)
        sums = tf.gather(best, tf.expand_dims(ends, 1) + order) + tf.gather(self._score(pieces), ends)
        largest = sums >= tf.expand_dims(tf.gather(best, ends + longest), 1)
        first = tf.reduce_min(tf.where(largest, order, longest - 1), axis=1)  # not argmax: it may take any of equals
        chosen = tf.gather(tf.reshape(pieces, [-1]), ends * longest + first)
        return chosen, tf.maximum(ends - (longest - first), 0)

    def _score(self, pieces):
        import tensorflow as tf

        return tf.bitcast(tf.gather(self.scores, pieces), "float32")


def _trace_back(begins, n):
    """True (L + 1,) at the ends of the pieces on the best way, walked from the last byte to the first."""
    import tensorflow as tf
    from keras import ops

    def advance(end, kept):
        return tf.gather(begins, end), ops.slice_update(kept, [end], [1])

    return tf.while_loop(lambda end, _: end > 0, advance, (n, tf.zeros_like(begins)))[1] > 0


def _compact(x, keep, size, last=False):
    """The values of x to keep, one after the other, 0 after them, (size,); and how many there are, also if too many.

    Of too many the first ones stay, or the last.
    """
    import tensorflow as tf

    count = tf.cumsum(tf.cast(keep, "int32"))
    left_out = tf.maximum(count[-1] - size, 0) if last else 0
    place = count - 1 - left_out
    place = tf.where(keep & (place >= 0), tf.minimum(place, size), size)  # the rest goes to a place that is cut off
    return tf.scatter_nd(tf.expand_dims(place, 1), x, [size + 1])[:size], count[-1]


def _size(x):
    """How many bytes a character has that begins with the byte x; 0 where none begins."""
    import tensorflow as tf

    longer = [tf.cast(x >= first, "int32") for first in (0xC0, 0xE0, 0xF0)]
    size = tf.where(x < 0xF8, 1 + sum(longer), 1)  # no character begins with a byte above
    return tf.where((x >= 0x80) & (x < 0xC0), 0, size)


def _shift(x, count, fill=0):
    """x (N,) moved right by `count`, or left where that is negative."""
    import tensorflow as tf

    filled = tf.cast(tf.fill([abs(count)], fill), x.dtype)
    return tf.concat([filled, x[:-count]] if count > 0 else [x[-count:], filled], 0)


class Table:
    """Numbers of a graph, int32, which are stored in 16 bits where they fit: table[index] looks some up."""

    def __init__(self, values):
        low, fits = int(values.min()), values.max() - values.min() < 2**16
        self.lift = low + 2**15 if fits else 0  # int16 begins at -2**15, and a phone looks nothing up in uint16
        self.stored = _table((values - self.lift).astype("int16" if fits else "int32"))

    def __getitem__(self, index):
        import tensorflow as tf

        return tf.cast(tf.gather(self.stored, index), "int32") + self.lift


def _table(values):
    import tensorflow as tf

    return tf.Variable(values, trainable=False)
