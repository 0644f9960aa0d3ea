"""Adam in one pass over each weight."""

import keras
from keras import ops

from keras_seq.layers.core import register


class Fused:
    """What makes an Adam of Keras' faster on tensorflow.

    m += (1 - b1) (g - m), v += (1 - b2) (g^2 - v), w -= a m / (sqrt(v) + e) is one kernel there, that reads and writes
    each number once; Keras makes a dozen passes of it. Elsewhere, with amsgrad, and under a `tf.distribute` strategy it
    is Keras' own.

    The gradient of a table, rows that each belong to a token, is summed by token first, as on jax and torch. Keras on
    tensorflow squares those rows one by one, for the norms that it clips by and, without a global one, for v: a token
    that comes n times in a batch then takes steps that are up to sqrt(n) times too long.
    """

    def apply(self, grads, trainable_variables=None):
        super().apply([summed(gradient) for gradient in grads], trainable_variables)

    def update_step(self, gradient, variable, learning_rate):
        if keras.backend.backend() != "tensorflow" or self.amsgrad or not fused(variable, gradient):
            super().update_step(gradient, variable, learning_rate)
            return
        import tensorflow as tf

        index = self._get_variable_index(variable)
        m, v = self._momentums[index], self._velocities[index]
        step = ops.cast(self.iterations + 1, variable.dtype)
        rates = [ops.cast(rate, variable.dtype) for rate in (learning_rate, self.beta_1, self.beta_2, self.epsilon)]
        lr, beta1, beta2, epsilon = rates
        tf.raw_ops.ResourceApplyAdam(
            var=plain(variable).handle, m=m.value.handle, v=v.value.handle, beta1_power=ops.power(beta1, step),
            beta2_power=ops.power(beta2, step), lr=lr, beta1=beta1, beta2=beta2, epsilon=epsilon,
            grad=ops.cast(gradient, variable.dtype),
        )  # fmt: skip


@register
class Adam(Fused, keras.optimizers.Adam):
    """`keras.optimizers.Adam`, faster on tensorflow: same arguments and state, and on all backends the same results.

    Reference: Kingma and Ba 2015.

    Example:

    >>> import keras
    >>> from keras_seq import training
    >>> model = keras.Sequential([keras.layers.Dense(3)])
    >>> model.compile(training.Adam(1e-3, global_clipnorm=1.0), "mse")
    """


@register
class AdamW(Fused, keras.optimizers.AdamW):
    """`keras.optimizers.AdamW`, faster on tensorflow: same arguments and state, and on all backends the same results.

    Reference: Loshchilov and Hutter 2019.

    Example:

    >>> import keras
    >>> from keras_seq import training
    >>> model = keras.Sequential([keras.layers.Dense(3)])
    >>> model.compile(training.AdamW(1e-3, weight_decay=0.01), "mse")
    """


def summed(gradient):
    """A gradient as one tensor: tensorflow gives that of a table as rows and their numbers."""
    if keras.backend.backend() != "tensorflow":
        return gradient
    import tensorflow as tf

    if not isinstance(gradient, tf.IndexedSlices):
        return gradient
    return tf.math.unsorted_segment_sum(gradient.values, gradient.indices, gradient.dense_shape[0])


def plain(variable):
    """The tensorflow variable of a Keras one; `fit` hands over those of tensorflow."""
    return variable.value if isinstance(variable, keras.Variable) else variable


def fused(variable, gradient):
    """Whether the kernel can be used: a plain variable in float32 and a gradient that is a tensor."""
    import tensorflow as tf

    held = not tf.distribute.has_strategy() and hasattr(plain(variable), "handle")
    return held and isinstance(gradient, tf.Tensor) and keras.backend.standardize_dtype(variable.dtype) == "float32"
