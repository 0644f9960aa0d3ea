"""Losses over sequences of tokens and of numbers."""

import keras
from keras import ops

from keras_seq import kernels
from keras_seq.layers.core import register
from keras_seq.layers.ctc import ctc_loss


@register
class TokenCrossEntropy(keras.losses.Loss):
    """Cross-entropy of each token, with label smoothing: -(1 - e) log p(y) - e mean over v of log p(v).

    The mean runs over the sample weights, so padding (weight 0) counts for nothing. The gradient is written by hand:
    softmax minus target, one pass over the logits instead of several.

    Of several batches `fit` and `evaluate` show a mean that is weighted by their rows, as of any loss in Keras, and not
    by their tokens.

    Args:
        label_smoothing: e.

    Call arguments:
        y_true: int32 (B, T).
        y_pred: logits (B, T, V).
        sample_weight: (B, T), 0 at padding.

    Reference: Szegedy et al. 2016.

    Example:

    >>> import numpy as np
    >>> from keras_seq import training
    >>> loss = training.TokenCrossEntropy()(np.array([[3]]), np.zeros((1, 1, 8), "float32"))
    >>> round(float(loss), 4) == round(float(np.log(8)), 4)
    True
    """

    def __init__(self, label_smoothing=0.0, reduction="mean_with_sample_weight", name="token_cross_entropy", **kwargs):
        super().__init__(name=name, reduction=reduction, **kwargs)
        self.label_smoothing = label_smoothing

    @property
    def dtype(self):
        """None: Keras turns nothing into float32 before `call`, for logits are large; their losses are float32."""
        return None

    def call(self, y_true, y_pred):
        shape = ops.shape(y_pred)
        labels, logits = ops.reshape(y_true, (-1,)), ops.reshape(y_pred, (-1, shape[-1]))
        return ops.reshape(cross_entropy(ops.cast(labels, "int32"), logits, self.label_smoothing), shape[:-1])

    def get_config(self):
        return {**super().get_config(), "label_smoothing": self.label_smoothing}


TINY = 1e-30  # a probability that float32 holds with all its digits


def cross_entropy(labels, logits, smoothing):
    """labels (M,), logits (M, V) -> float32 (M,), in few passes over the logits: at a training step they are large.

    Whatever the logits are, p is float32: near 1 bfloat16 knows nothing between 0.996 and 1, where p ends up.
    """
    if keras.backend.backend() == "jax":
        return compiled_cross_entropy(labels, logits, smoothing)
    size = logits.shape[-1]
    smooth = smoothing / size
    rows = ops.arange(ops.shape(logits)[0], dtype="int32")
    at_label = ops.stack([rows, labels], axis=1)  # (M, 2)

    def of_labels(x):
        return ops.take(ops.reshape(x, (-1,)), rows * size + labels)  # (M, V) -> (M,)

    @kernels.custom_gradient
    def loss(logits):
        x = ops.cast(logits, "float32")
        p = ops.softmax(x, axis=-1)
        x_label, p_label = ops.cast(of_labels(logits), "float32"), of_labels(p)  # of x, it would be cast twice

        def far():  # the largest p is exp(max x) / sum exp(x)
            return ops.max(x, axis=-1) - ops.log(ops.max(p, axis=-1)) - x_label

        value = ops.cond(ops.all(p_label > TINY), lambda: -ops.log(p_label), far)
        if smoothing:
            value = value + smoothing * x_label - smooth * ops.sum(x, axis=-1)

        def gradient(g):
            if pushed.fuses(p):
                return pushed(p, g, labels, smoothing, logits.dtype)
            d = ops.cast((p - smooth if smoothing else p) * ops.expand_dims(g, -1), logits.dtype)
            right = (p_label - smooth - (1 - smoothing)) * g
            return ops.scatter_update(d, at_label, ops.cast(right, logits.dtype))

        return value, gradient

    return loss(logits)


def compiled_cross_entropy(labels, logits, smoothing):
    """`cross_entropy` for XLA, which makes p again for the gradient in the pass that needs it, and keeps the logits."""

    @ops.custom_gradient
    def loss(labels, logits):
        x = ops.cast(logits, "float32")
        total = ops.logsumexp(x, axis=-1)
        x_label = ops.squeeze(ops.take_along_axis(x, ops.expand_dims(labels, -1), axis=-1), -1)
        value = total - (1 - smoothing) * x_label
        if smoothing:
            value = value - smoothing * ops.mean(x, axis=-1)

        def gradient(g):
            p = ops.exp(ops.cast(logits, "float32") - ops.expand_dims(total, -1))
            return None, pushed(p, g, labels, smoothing, logits.dtype)

        return value, gradient

    return loss(labels, logits)  # both given, none from outside: within a scan jax refuses that


@kernels.fused(rows=True)
def pushed(p, g, labels, smoothing, dtype):
    """(p - target) g in one pass, for p (M, V) and g (M,)."""
    size = p.shape[-1]
    hit = ops.expand_dims(labels, -1) == ops.arange(size, dtype="int32")
    d = ops.where(hit, p - (1 - smoothing), p) - smoothing / size
    return ops.cast(d * ops.expand_dims(g, -1), dtype)


@register
class CTC(keras.losses.Loss):
    """Connectionist temporal classification: -log of the sum of p over all ways to say the tokens.

    See `layers.ctc_loss`: each row's is divided by its number of tokens, so that long texts do not rule.

    Call arguments:
        y_true: int32 (B, U), 0 after the end; 0 is the blank too.
        y_pred: logits (B, T, V); padding has to say the blank, as that of `models.CTCRecognizer` does.

    Reference: Graves et al. 2006.

    Example:

    >>> import numpy as np
    >>> from keras_seq import training
    >>> loss = training.CTC()(np.array([[3]]), np.zeros((1, 2, 4), "float32"))  # 3 3, 3 -, - 3: of 16 ways
    >>> round(float(loss), 4) == round(float(-np.log(3 / 16)), 4)
    True
    """

    def __init__(self, reduction="mean_with_sample_weight", name="ctc", **kwargs):
        super().__init__(name=name, reduction=reduction, **kwargs)

    def call(self, y_true, y_pred):
        return ctc_loss(ops.cast(y_true, "int32"), y_pred)


@register
class Pinball(keras.losses.Loss):
    """How far quantiles are from what came: 2 max(q e, (q - 1) e) for e = (y - y_q) / scale, averaged over q.

    It is least where y_q is the q-quantile of y; that of 0.5 costs the absolute error.

    Args:
        quantiles: Q shares.
        scale: a number for each variable, (V), that errors are measured in; 1 when left out.

    Call arguments:
        y_true: (B, T, V).
        y_pred: (B, T, V, Q).
        sample_weight: (B, T, V), 0 where nothing was measured.

    Reference: Koenker and Bassett 1978.

    Example:

    >>> import numpy as np
    >>> from keras_seq import training
    >>> loss = training.Pinball([0.1, 0.5, 0.9])
    >>> round(float(loss(np.ones((1, 1, 1)), np.zeros((1, 1, 1, 3)))), 3)
    1.0
    """

    def __init__(self, quantiles, scale=None, reduction="mean_with_sample_weight", name="pinball", **kwargs):
        super().__init__(name=name, reduction=reduction, **kwargs)
        self.quantiles, self.scale = list(quantiles), None if scale is None else list(scale)

    def call(self, y_true, y_pred):
        y_pred = ops.cast(y_pred, "float32")
        wrong = ops.expand_dims(ops.cast(y_true, "float32"), -1) - y_pred
        if self.scale is not None:
            wrong = wrong / ops.expand_dims(ops.convert_to_tensor(self.scale, "float32"), -1)  # (V, 1)
        q = ops.convert_to_tensor(self.quantiles, "float32")
        return 2 * ops.mean(ops.maximum(q * wrong, (q - 1) * wrong), axis=-1)

    def get_config(self):
        return {**super().get_config(), "quantiles": self.quantiles, "scale": self.scale}
