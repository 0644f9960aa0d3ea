"""From tokens, pictures and sound to vectors, and back to tokens."""

import keras
from keras import ops

from keras_seq.layers import masks
from keras_seq.layers.core import register


def lookup(table, tokens):
    """Rows of a table (V, D) by number: tokens (B, T) -> (B, T, D)."""
    return ops.take(table, tokens, axis=0)


@register
class TokenEmbedding(keras.layers.Layer):
    """A vector for each token, times sqrt(D); `logits` reads the same table backwards (tied weights).

    Passes on a Keras mask that is False at padding.

    Args:
        vocab_size: V.
        dim: D.
        pad: the number of the padding token; None when there is none.

    Call arguments:
        tokens: int32 (B, T).

    Returns:
        (B, T, D).

    Reference: Press and Wolf 2017.

    Example:

    >>> import numpy as np
    >>> from keras_seq import layers
    >>> embedding = layers.TokenEmbedding(11, 4)
    >>> x = embedding(np.array([[5, 7, 0]]))
    >>> x.shape, embedding.logits(x).shape
    ((1, 3, 4), (1, 3, 11))
    """

    def __init__(self, vocab_size, dim, pad=0, **kwargs):
        super().__init__(**kwargs)
        self.vocab_size, self.dim, self.pad = vocab_size, dim, pad

    def build(self, tokens_shape=None):
        normal = keras.initializers.RandomNormal(stddev=self.dim**-0.5)
        self.table = self.add_weight(name="table", shape=(self.vocab_size, self.dim), initializer=normal)

    def call(self, tokens):
        return ops.cast(lookup(self.table, tokens), self.compute_dtype) * self.dim**0.5

    def logits(self, x):
        """x (B, T, D) -> (B, T, V), the product of x with every token's vector."""
        shape = ops.shape(x)
        table = ops.cast(self.table, x.dtype)
        y = ops.matmul(ops.reshape(x, (-1, self.dim)), ops.transpose(table))
        return ops.reshape(y, (*shape[:-1], self.vocab_size))

    def compute_mask(self, tokens, mask=None):
        return None if self.pad is None else masks.padding_mask(tokens, self.pad)
