"""From the pieces of a text to vectors that know their neighbours, and from pieces to words."""

import keras
from keras import ops

from keras_seq.layers import embeddings, masks
from keras_seq.layers.core import Dropout, Saved, at_least_one, register
from keras_seq.layers.embeddings import TokenEmbedding
from keras_seq.layers.recurrent import RecurrentEncoder
from keras_seq.layers.transformer import TransformerEncoder

STACKS = {"transformer": TransformerEncoder, "recurrent": RecurrentEncoder}


def stack(over, dtype):
    """The stack that a dict like {"name": "recurrent", "units": 64} describes."""
    options = dict(over)
    name = options.pop("name", None)
    if name not in STACKS:
        raise ValueError(f"over must have a name, one of {', '.join(STACKS)}; got {over!r}.")
    return STACKS[name](**options, dtype=dtype, name="over")


@register
class TextEncoder(Saved):
    """Vectors of tokens that know their neighbours: y = over(dropout(E_row(t) + C_form(t))).

    What is learned on one task begins another: models that read text have it under the name `encoder`, and
    `app.pretrained` loads it.

    Args:
        vocab_size: V.
        dim: D.
        over: the stack, a dict of its name and its options: {"name": "transformer", "num_layers": 2, ...} as
            `TransformerEncoder` takes them, {"name": "recurrent", "units": 64, ...} as `RecurrentEncoder` does.
        dropout: rate on the vectors of the tokens.
        share: for each token the row of the table that it reads, where some tokens are to be one: words that differ in
            their case alone. A list of V numbers; None for a row each.
        forms: for each token the row of a second table, whose vector is added: how the word is written. A list of V
            numbers; None for no second table.

    Call arguments:
        tokens: int32 (B, S); 0 is padding, and changes nothing.

    Returns:
        (B, S, W), W being the width of the stack; with a Keras mask that is False at padding.

    Raises:
        ValueError: for another stack, or lists of another length.

    Reference: Devlin et al. 2019; words as the sum of what is known of them: Sennrich and Haddow 2016.

    Example:

    >>> import numpy as np
    >>> from keras_seq import layers
    >>> encoder = layers.TextEncoder(23, 8, {"name": "recurrent", "units": 5})
    >>> tuple(encoder(np.ones((2, 7), "int32")).shape)
    (2, 7, 10)
    """

    def __init__(self, vocab_size, dim, over, dropout=0.0, share=None, forms=None, **kwargs):
        super().__init__(**kwargs)
        self.autocast = False  # see `TokenEmbedding`
        self.vocab_size, self.dim = vocab_size, dim
        self.share, self.forms = per_token("share", share, vocab_size), per_token("forms", forms, vocab_size)
        dtype, rows = self.dtype_policy, vocab_size if share is None else max(share) + 1
        self.embedding = TokenEmbedding(rows, dim, dtype=dtype, name="embedding")
        self.form = TokenEmbedding(max(forms) + 1, dim, None, dtype=dtype, name="form") if forms is not None else None
        self.dropout = Dropout(dropout, dtype=dtype)
        self.over = stack(over, dtype)

    def build(self, tokens_shape=None):
        self.embedding.build()
        if self.form is not None:
            self.form.build()
        self.over.build((None, None, self.dim))

    @property
    def width(self):
        """W."""
        return self.over.compute_output_spec(keras.KerasTensor((None, None, self.dim))).shape[-1]

    def call(self, tokens):
        return self.contextual(*self.embed(tokens))

    def embed(self, tokens):
        """Tokens (B, S) -> their vectors (B, S, D) and a mask (B, S) that is False at padding."""
        x = self.embedding(of_each(self.share, tokens))
        if self.form is not None:
            x = x + self.form(of_each(self.forms, tokens))
        return x, masks.padding_mask(tokens)

    def contextual(self, x, mask):
        """Vectors (B, S, D) and their mask -> (B, S, W)."""
        return self.over(self.dropout(x), x_mask=mask)

    def compute_mask(self, tokens, mask=None):
        return masks.padding_mask(tokens)


def per_token(name, table, vocab_size):
    """A list with a number for each token, or None; a ValueError says where it has another length."""
    if table is not None and len(table) != vocab_size:
        raise ValueError(f"{name} must have a row for each of the {vocab_size} tokens; got {len(table)}.")
    return table


def of_each(table, tokens):
    """The numbers that a list has for tokens; the tokens themselves where there is no list."""
    tokens = embeddings.numbers(tokens)
    if table is None:
        return tokens
    short = "int16" if max(table) < 2**15 else "int32"  # an exported file holds the list
    return ops.cast(ops.take(ops.convert_to_tensor(table, short), tokens), "int32")


@register
class PairEmbedding(Saved):
    """A vector for each token and for each pair of neighbours: y_s = E[row(s)] + E[V + h(row(s - 1), row(s))].

    There are too many pairs for a vector each: h(a, b) = (k a + b) mod buckets chooses one, in whole numbers that int32
    holds, so that it is the same in every runtime. Before the first token stands padding. The table begins at zero. It
    holds short vectors side by side in rows of at least 64 numbers, for in int8 each row has a scale of its own.

    Args:
        vocab_size: V.
        dim: D.
        buckets: vectors for pairs; those that fall into one bucket share its vector.
        share: see `TextEncoder`.

    Call arguments:
        tokens: int32 (B, S).

    Returns:
        (B, S, D).

    Raises:
        ValueError: for less than one bucket, or a list of another length.

    Reference: Weinberger et al. 2009; Joulin et al. 2017.

    Example:

    >>> import numpy as np
    >>> from keras_seq import layers
    >>> embedding = layers.PairEmbedding(23, 3, buckets=101)
    >>> tuple(embedding(np.ones((2, 7), "int32")).shape)
    (2, 7, 3)
    """

    def __init__(self, vocab_size, dim, buckets, share=None, **kwargs):
        super().__init__(**kwargs)
        self.autocast = False  # see `TokenEmbedding`
        at_least_one(vocab_size=vocab_size, dim=dim, buckets=buckets)
        self.share = per_token("share", share, vocab_size)
        self.vocab_size, self.dim, self.buckets = vocab_size, dim, buckets
        self.rows = vocab_size if share is None else max(share) + 1
        self.factor = min(FACTOR, 2**31 // self.rows - 1)
        self.abreast = -(-ROW // dim)  # vectors in a row of the table

    def build(self, tokens_shape=None):
        shape = (-(-(self.rows + self.buckets) // self.abreast), self.abreast * self.dim)
        self.table = self.add_weight(name="table", shape=shape, initializer="zeros")

    def call(self, tokens):
        rows = of_each(self.share, tokens)
        return ops.sum(self.vectors(ops.stack([rows, self.rows + self.bucket(rows)], axis=-1)), axis=-2)

    def bucket(self, rows):
        """The bucket of each row with the one before it: int32 (B, S) -> int32 (B, S)."""
        before = ops.pad(rows[:, :-1], ((0, 0), (1, 0)))
        return (before * self.factor + rows) % self.buckets

    def vectors(self, numbers):
        """Vectors by number: int32 (B, S, K) -> (B, S, K, D)."""
        found = embeddings.lookup(self.table, numbers // self.abreast, self.compute_dtype)
        found = ops.reshape(found, (*ops.shape(numbers), self.abreast, self.dim))
        chosen = ops.one_hot(numbers % self.abreast, self.abreast, dtype=self.compute_dtype)
        return ops.sum(found * ops.expand_dims(chosen, -1), axis=-2)

    def compute_output_shape(self, tokens_shape):
        return (*tokens_shape, self.dim)


FACTOR = 40503  # 2**16 over the golden ratio: rows that are near each other are sent far apart
ROW = 64  # numbers in a row of the table, at least


@register
class WordPooling(Saved):
    """One vector for each word of a text that was cut into pieces: the mean of those of its pieces.

    y_w = mean of x_s over the pieces s of word w. Words come in their order; after the last one there are zeros.

    Args:
        parts: for each token what it is in a word: 1 begins one, 2 goes on with it, 0 is no part of a word. A list of V
            numbers, as of `data.word_parts`.

    Call arguments:
        x: (B, S, D), a vector a piece.
        tokens: int32 (B, S).

    Returns:
        (B, S, D): no text has more words than pieces. `count(tokens)` says how many there are.

    Example:

    >>> import numpy as np
    >>> from keras_seq import layers
    >>> pooling = layers.WordPooling([0, 1, 2])
    >>> x = np.array([[[1.0], [3.0], [7.0], [9.0]]])
    >>> np.array(pooling(x, np.array([[1, 2, 1, 0]])))[0, :, 0].tolist()
    [2.0, 7.0, 0.0, 0.0]
    """

    def __init__(self, parts, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True
        self.parts = parts

    def call(self, x, tokens):
        parts = of_each(self.parts, tokens)  # (B, S)
        word = ops.cumsum(ops.cast(parts == 1, "int32"), axis=1) - 1  # the word that each piece is in
        word = ops.where(parts > 0, word, -1)
        places = masks.positions(ops.shape(tokens)[1])  # (1, W)
        inside = ops.cast(ops.expand_dims(places, 2) == ops.expand_dims(word, 1), x.dtype)  # (B, W, S)
        return ops.matmul(inside, x) / ops.maximum(ops.sum(inside, axis=2, keepdims=True), 1)

    def compute_mask(self, x, tokens=None, previous_mask=None):
        return None  # the mask of the pieces is not that of the words

    def count(self, tokens):
        """How many words there are: tokens (B, S) -> int32 (B,)."""
        return ops.sum(ops.cast(of_each(self.parts, tokens) == 1, "int32"), axis=1)

    def compute_output_shape(self, x_shape, tokens_shape=None):
        return x_shape
