"""Kernels of a backend that Keras does not reach: the same results in less time."""

import functools

import keras


def fused(function):
    """A function of tensors as one kernel on a CPU, in a graph of tensorflow that knows all shapes; elsewhere as it is.

    For many small operations or passes over memory, which become few; products and sums over the last axis are better
    off outside. XLA compiles it once for each shape, in about a tenth of a second: for open shapes, of which each batch
    may bring another, it would be at work without end. On a GPU it asks for parts of CUDA that may be missing.

    Example:

    >>> import numpy as np
    >>> from keras_seq.kernels import fused
    >>> float(np.sum(fused(lambda x, y: x * y + 1)(np.ones(3), np.ones(3))))
    6.0
    """

    @functools.cache
    def compiled():
        import tensorflow as tf

        return tf.function(function, autograph=False, jit_compile=True)

    @functools.wraps(function)
    def run(*args):
        return compiled()(*args) if fuses(*args) else function(*args)

    return run


def fuses(*args):
    """Whether `fused` makes one kernel for these arguments."""
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    if tf.executing_eagerly() or tf.config.get_visible_devices("GPU"):
        return False
    return all(x.shape.is_fully_defined() for x in args if tf.is_tensor(x))


def batch_normalized(x, gamma, beta, epsilon):
    """y = n gamma + beta over all axes of x but the last, the mean and the variance (C,); None without such a kernel.

    On tensorflow for x of less than 64 bits: one op, and one for its gradient, where Keras makes eight passes over x.
    In float32: on a CPU that op takes up to 30 times as long in bfloat16.
    """
    if keras.backend.backend() != "tensorflow" or x.dtype == "float64":
        return None
    import tensorflow as tf

    rows = tf.cast(tf.reshape(x, (-1, 1, 1, x.shape[-1])), "float32")
    y, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=rows, scale=gamma, offset=beta, mean=[], variance=[], epsilon=epsilon, is_training=True
    )
    count = tf.cast(tf.shape(rows)[0], variance.dtype)
    y = tf.cast(tf.reshape(y, tf.shape(x)), x.dtype)
    return y, mean, variance * (count - 1) / count  # the op divides by one less
