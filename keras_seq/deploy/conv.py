"""Convolutions over time and space in a form that a phone's runtime is fast at.

LiteRT has no int8 kernel for a 3-D convolution, and no op at all for pooling over time and space. With the frames that
it sees side by side as channels, and time folded into the batch, a convolution is a 2-D one: same weights and results,
and in int8 a quarter of the weights' room and of the time (measured on x86, 24 filters of 3 x 3 x 3).
"""

import contextlib


@contextlib.contextmanager
def folded_convolutions():
    """While this is open Keras' 3-D convolutions are traced as 2-D ones, where they do not stride over time."""
    from keras.src.backend import nn  # not public: `keras.ops.conv` looks it up here and nowhere else

    kept = nn.conv

    def conv(inputs, kernel, strides=1, padding="valid", data_format=None, dilation_rate=1):
        over, dilation = ((x,) * 3 if isinstance(x, int) else tuple(x) for x in (strides, dilation_rate))
        alike = len(kernel.shape) == 5 and over[0] == 1 and dilation == (1, 1, 1) and data_format == "channels_last"
        if alike and inputs.shape[-1] == kernel.shape[-2]:  # no groups
            return folded(kept, inputs, kernel, over[1:], padding)
        return kept(inputs, kernel, strides, padding, data_format, dilation_rate)

    nn.conv = conv
    try:
        yield
    finally:
        nn.conv = kept


def folded(conv, x, kernel, strides, padding):
    """A 3-D convolution by a 2-D one: x (B, T, H, W, C) and kernel (R, P, Q, C, F) -> (B, T', H', W', F)."""
    from keras import ops

    depth, height, width, channels, filters = kernel.shape
    if padding == "same":
        x = ops.pad(x, ((0, 0), ((depth - 1) // 2, depth // 2), (0, 0), (0, 0), (0, 0)))
    batch, length = ops.shape(x)[0], ops.shape(x)[1] - depth + 1
    x = ops.concatenate([x[:, i : i + length] for i in range(depth)], axis=-1)  # (B, T', H, W, R C)
    kernel = ops.reshape(ops.transpose(kernel, (1, 2, 0, 3, 4)), (height, width, depth * channels, filters))
    y = conv(ops.reshape(x, (-1, *ops.shape(x)[2:])), kernel, strides, padding, "channels_last")  # (B T', H', W', F)
    return ops.reshape(y, (batch, length, *ops.shape(y)[1:]))
