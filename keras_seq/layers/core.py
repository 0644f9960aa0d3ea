"""What other layers are made of: one matrix product with weights, one without, and whole blocks."""

import keras
from keras import ops


def register(cls):
    """Register a public class under the name `keras_seq>Name`, so that saved models reload without custom_objects."""
    return keras.saving.register_keras_serializable(package="keras_seq")(cls)


@register
class Linear(keras.layers.Dense):
    """`keras.layers.Dense` computed as one 2-D product: y = x W + b.

    (B, T, D) -> (B, T, units). All leading axes are folded into one, which spares the backends their batched
    product and, in training, a sum over the kernel's gradients.

    Example:

    >>> import numpy as np
    >>> from keras_seq.layers import Linear
    >>> tuple(Linear(5)(np.ones((2, 3, 4), "float32")).shape)
    (2, 3, 5)
    """

    def call(self, x, training=None):
        shape = ops.shape(x)
        y = ops.matmul(ops.reshape(x, (-1, shape[-1])), ops.cast(self.kernel, x.dtype))
        if self.use_bias:
            y = ops.add(y, ops.cast(self.bias, x.dtype))
        if self.activation is not None:
            y = self.activation(y)
        return ops.reshape(y, (*shape[:-1], self.units))


def dot(q, k):
    """q · k for every pair: (B, N, T, H), (B, N, S, H) -> (B, N, T, S)."""
    return ops.matmul(q, ops.swapaxes(k, -1, -2))


def fill(x, axis, size):
    """x with zeros at the end of an axis, up to a multiple of size."""
    widths = [(0, 0)] * len(x.shape)
    widths[axis] = (0, -ops.shape(x)[axis] % size)
    return ops.pad(x, widths)
