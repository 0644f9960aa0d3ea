"""From clips to a vector for each frame: convolutions over time and space, causal in time when asked."""

import keras
from keras import ops

from keras_seq.layers import masks
from keras_seq.layers.core import BatchNormalization, Linear, Saved, not_symbolic, register


@register
class ClipEncoder(Saved):
    """A vector for each frame of a clip, from the frame and a few around it: 3-D convolutions, then one matrix.

    Each frame is first brought to mean 0 and variance 1, so that its light does not matter. Each convolution sees
    `depth` frames and is followed by batch normalisation, ReLU and a pooling of 2 x 2 over space (all but the last), so
    time keeps its length. With `causal` the frames that it sees are this one and those before it.

    Args:
        dim: D.
        filters: of each convolution.
        sizes: height and width that each convolution sees.
        depth: frames that each convolution sees, R.
        stride: of the first convolution, over space.
        causal: whether a frame's vector depends on no later frame.
        dropout: rate, of whole feature maps after each convolution.

    Call arguments:
        x: (B, T, H, W, C); its Keras mask is honoured: padding is as if there were no frame.

    Returns:
        (B, T, D).

    Raises:
        ValueError: for not as many sizes as filters, or for anything but (B, T, H, W, C) with known H, W and C.

    Reference: Tran et al. 2015; over lips: Assael et al. 2016.

    Example:

    >>> import numpy as np
    >>> from keras_seq import layers
    >>> tuple(layers.ClipEncoder(11, filters=(3, 5), sizes=(5, 3))(np.ones((2, 7, 16, 24, 1), "float32")).shape)
    (2, 7, 11)
    """

    def __init__(
        self, dim, filters=(24, 48, 72), sizes=(5, 3, 3), depth=3, stride=2, causal=False, dropout=0.0, **kwargs
    ):  # fmt: skip
        super().__init__(**kwargs)
        if len(filters) != len(sizes) or depth < 1:
            raise ValueError(
                f"ClipEncoder expects a size for each of its filters and a depth of at least 1; "
                f"got filters={filters}, sizes={sizes}, depth={depth}."
            )
        self.supports_masking = True
        self.dim, self.filters, self.sizes, self.depth, self.stride = dim, tuple(filters), tuple(sizes), depth, stride
        self.causal = causal
        self.dropout = None
        if dropout:
            self.dropout = keras.layers.SpatialDropout3D(dropout, "channels_last", dtype=self.dtype_policy)

    def build(self, x_shape):
        if len(x_shape) != 5 or None in x_shape[2:]:
            raise ValueError(f"ClipEncoder expects clips (B, T, H, W, C) with known H, W and C; got {tuple(x_shape)}.")
        self.grids, self.kernels, self.norms = [], [], []  # grids: (H, W, C) that each convolution reads
        height, width, channels = x_shape[2:]
        for i, (filters, size) in enumerate(zip(self.filters, self.sizes)):
            self.grids.append((height, width, channels))
            shape = (self.depth, size, size, channels, filters)
            self.kernels.append(self.add_weight(name=f"kernel_{i}", shape=shape, initializer="he_normal"))
            self.norms.append(self.normalization(f"norm_{i}", (None,) * 4 + (filters,)))
            shrink = (1 if i else self.stride) * (1 if i == len(self.filters) - 1 else 2)
            height, width, channels = -(-height // shrink), -(-width // shrink), filters
        self.volume = height * width * channels
        self.linear = Linear(self.dim, dtype=self.dtype_policy, name="linear")
        self.linear.build((None, None, self.volume))
        self.last_norm = self.normalization("last_norm", (None, None, self.dim))

    def normalization(self, name, shape):
        """Over the batch: what never moves, like a face, is the mean and goes; what moves is brought to one size."""
        layer = BatchNormalization(momentum=0.9, dtype=self.dtype_policy, name=name)
        layer.build(shape)
        return layer

    def start(self, batch):
        """The state before a clip: for each convolution the R - 1 frames before, zeros (B, R - 1, H, W, C)."""
        return [ops.zeros((batch, self.depth - 1, *grid), dtype=self.compute_dtype) for grid in self.grids]

    def step(self, x, state):
        """The next frames (B, T, H, W, C) -> (B, T, D) and the new state; causal encoders only."""
        return self.run(x, state)

    def call(self, x, x_mask=None, mask=None):
        return self.run(x, None, masks.of_keras(x_mask, mask))[0]

    def run(self, x, state=None, mask=None):
        not_symbolic(self, x)
        x, length, states = ops.cast(even(x), self.compute_dtype), ops.shape(x)[1], []
        state = self.start(ops.shape(x)[0]) if self.causal and state is None else state
        keep = None if mask is None else ops.reshape(ops.cast(mask, x.dtype), (-1, length, 1, 1, 1))
        for i, (kernel, norm) in enumerate(zip(self.kernels, self.norms)):
            x = x if keep is None else x * keep
            if self.causal:
                x = ops.concatenate([state[i], x], axis=1)
                states.append(x[:, length:])
            x = ops.relu(norm(convolve(x, ops.cast(kernel, x.dtype), 1 if i else self.stride, self.causal)))
            x = x if i == len(self.kernels) - 1 else halve(x)
            x = x if self.dropout is None else self.dropout(x)
        return self.last_norm(self.linear(ops.reshape(x, (-1, length, self.volume)))), states

    def compute_output_shape(self, x_shape):
        return (*x_shape[:2], self.dim)


def even(x):
    """Frames (B, T, H, W, C) in float32 with mean 0 and variance 1; an even grey is 0."""
    x = ops.cast(x, "float32")
    x = x - ops.mean(x, axis=(2, 3, 4), keepdims=True)
    return x * ops.rsqrt(ops.mean(ops.square(x), axis=(2, 3, 4), keepdims=True) + 1e-4)


def convolve(x, kernel, stride, inside):
    """3-D convolution that reaches over the edges of space with zeros.

    Args:
        x: (B, T, H, W, C).
        kernel: (R, P, Q, C, F).
        stride: over space, s.
        inside: whether it stays between the first and the last frame, or reaches over the edges of time too.

    Returns:
        (B, T, H / s, W / s, F), sizes rounded up; if `inside` with R - 1 frames less.
    """
    # No ops.pad here: in a TensorFlow graph on a CPU, padding before a 3-D convolution and a normalisation gets lost.
    depth = kernel.shape[0]
    if inside and x.shape[1] == depth:
        return convolve_one(x, kernel, stride)
    y = ops.conv(x, kernel, (1, stride, stride), "same", data_format="channels_last")
    first = (depth - 1) // 2
    return y[:, first : first + ops.shape(x)[1] - depth + 1] if inside else y


def convolve_one(x, kernel, stride):
    """The one frame inside R, as in a live step: a 2-D convolution with the frames side by side as channels."""
    depth, height, width, channels, filters = kernel.shape
    x = ops.concatenate([x[:, i] for i in range(depth)], axis=-1)  # (B, H, W, R C)
    kernel = ops.reshape(ops.transpose(kernel, (1, 2, 0, 3, 4)), (height, width, depth * channels, filters))
    return ops.expand_dims(ops.conv(x, kernel, stride, "same", data_format="channels_last"), 1)


def halve(x):
    """The largest of each 2 x 2 places: (B, T, H, W, C) -> (B, T, H / 2, W / 2, C), rounded up."""
    shape = ops.shape(x)
    y = ops.max_pool(ops.reshape(x, (-1, *shape[2:])), 2, 2, "same", "channels_last")
    return ops.reshape(y, (*shape[:2], *y.shape[1:]))
