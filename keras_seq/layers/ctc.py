"""Connectionist temporal classification: a token or nothing at each moment, and what that says."""

from keras import ops

from keras_seq import kernels
from keras_seq.layers.core import Dropout, Linear, Saved, register

SURE = 30.0  # by how much the blank's logit is the largest at padding


@register
class CTCHead(Saved):
    """Logits of the tokens at each moment; 0 is the blank, and padding says nothing else.

    Args:
        vocab_size: V, the blank among them.
        dropout: rate before the matrix.

    Call arguments:
        x: (B, T, D).
        moments: bool (B, T), False at padding.

    Returns:
        float32 (B, T, V).

    Reference: Graves et al. 2006.

    Example:

    >>> import numpy as np
    >>> from keras_seq import layers
    >>> tuple(layers.CTCHead(7)(np.ones((2, 5, 3), "float32"), np.ones((2, 5), "bool")).shape)
    (2, 5, 7)
    """

    def __init__(self, vocab_size, dropout=0.0, **kwargs):
        super().__init__(**kwargs)
        self.vocab_size = vocab_size
        self.dropout = Dropout(dropout, dtype=self.dtype_policy)
        self.classify = Linear(vocab_size, dtype="float32", name="classify")

    def build(self, x_shape, moments_shape=None):
        self.classify.build(x_shape)

    def call(self, x, moments):
        logits = self.classify(ops.cast(self.dropout(x), "float32"))
        blank = ops.where(ops.arange(self.vocab_size) == 0, 0.0, -SURE)
        return ops.where(ops.expand_dims(moments, 2), logits, blank)

    def compute_output_shape(self, x_shape, moments_shape=None):
        return (*x_shape[:2], self.vocab_size)


def ctc_loss(labels, logits):
    """-log of the sum of p over all ways to say the labels, divided by how many there are: float32 (B,).

    A way has a token or the blank at each moment; what is the same at neighbouring moments is said once, and blanks are
    left out. Labels that the moments have no room for have a loss of hundreds, divided likewise, and teach nothing. The
    moments of padding count as room: labels that fit with those alone cost `SURE` for each that lands there, and teach.

    Args:
        labels: integers (B, U), 0 after the end.
        logits: (B, T, V); padding has to say the blank, as it does after a `CTCHead`.

    Reference: Graves et al. 2006.
    """
    labels, logits = ops.cast(labels, "int32"), ops.cast(logits, "float32")
    batch, moments = ops.shape(logits)[:2]
    count = ops.sum(ops.cast(labels != 0, "int32"), axis=1)
    loss = kernels.ctc_loss(labels, logits, count)
    if loss is None:
        again = ops.logical_and(labels[:, 1:] == labels[:, :-1], labels[:, 1:] != 0)  # a blank has to stand between
        fits = count + ops.sum(ops.cast(again, "int32"), axis=1) <= moments
        room = ops.cast(fits, "int32")  # no labels where it is 0: Keras' gradient may be NaN there, or teach
        every = ops.broadcast_to(ops.cast(moments, "int32"), (batch,))
        loss = ops.ctc_loss(labels * ops.expand_dims(room, 1), logits, count * room, every)
        loss = ops.where(fits, loss, kernels.IMPOSSIBLE)
    return loss / ops.cast(ops.maximum(count, 1), "float32")


def ctc_tokens(logits):
    """What is said if each moment says its likeliest: logits (B, T, V) -> int32 (B, T), tokens, then 0.

    Example:

    >>> import numpy as np
    >>> from keras_seq import layers
    >>> np.array(layers.ctc_tokens(np.eye(6)[[[0, 3, 3, 0, 3, 5, 5, 0]]])).tolist()
    [[3, 3, 5, 0, 0, 0, 0, 0]]
    """
    best = ops.cast(ops.squeeze(ops.top_k(logits, 1)[1], -1), "int32")  # not argmax: a phone has no op for Keras'
    batch, length = ops.shape(best)
    before = ops.pad(best, ((0, 0), (1, 0)))[:, :-1]
    said = ops.logical_and(best != 0, best != before)
    left = length - ops.arange(length, dtype="int32")  # the earlier, the larger
    left = ops.top_k(ops.where(said, left, 0), length)[0]  # (B, T): of what is said, in its order; then 0
    place = ops.minimum(length - left, length - 1)
    rows = ops.expand_dims(ops.arange(batch, dtype="int32") * length, 1)
    return ops.where(left > 0, ops.take(ops.reshape(best, (-1,)), rows + place), 0)
