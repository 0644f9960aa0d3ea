"""Kernels of a backend that Keras does not reach: the same results in less time."""

import keras


def batch_normalized(x, gamma, beta, epsilon):
    """y = n gamma + beta over all axes of x but the last, the mean and the variance (C,); None without such a kernel.

    On tensorflow for x of less than 64 bits: one op, and one for its gradient, where Keras makes eight passes over x.
    """
    if keras.backend.backend() != "tensorflow" or x.dtype == "float64":
        return None
    import tensorflow as tf

    rows = tf.reshape(x, (-1, 1, 1, x.shape[-1]))
    y, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=rows, scale=gamma, offset=beta, mean=[], variance=[], epsilon=epsilon, is_training=True
    )
    count = tf.cast(tf.shape(rows)[0], variance.dtype)
    return tf.reshape(y, tf.shape(x)), mean, variance * (count - 1) / count  # the op divides by one less
