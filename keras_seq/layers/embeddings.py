"""From tokens, pictures and sound to vectors, and back to tokens."""

import math

import keras
from keras import ops

from keras_seq.layers import masks
from keras_seq.layers.core import Layer, Linear, Saved, at_least_one, product, register, repeated_product


def numbers(tokens):
    """Tokens as integers that no sum overflows: Keras hands over floats where no Input says what they are."""
    whole = keras.backend.standardize_dtype(tokens.dtype) in ("int32", "int64")
    return tokens if whole else ops.cast(tokens, "int32")


def lookup(table, tokens, dtype, factor=None):
    """Rows of a table (V, D) by number, times a factor if there is one: tokens (B, T) -> (B, T, D)."""
    x = ops.cast(ops.take(table, numbers(tokens), axis=0), dtype)
    return x if factor is None else x * factor


@register
class TokenEmbedding(Layer):
    """A vector for each token, times sqrt(D); `logits` reads the same table backwards (tied weights).

    Passes on a Keras mask that is False at padding.

    Args:
        vocab_size: V.
        dim: D.
        pad: the number of the padding token; None when there is none.

    Call arguments:
        tokens: int32 (B, T).
        x: (B, T, D), in place of tokens: what `logits` calls with in a functional model.

    Returns:
        (B, T, D); (B, T, V) for x.

    Reference: Press and Wolf 2017.

    Example:

    >>> import numpy as np
    >>> from keras_seq import layers
    >>> embedding = layers.TokenEmbedding(11, 4)
    >>> x = embedding(np.array([[5, 7, 0]]))
    >>> tuple(x.shape), tuple(embedding.logits(x).shape)
    ((1, 3, 4), (1, 3, 11))
    """

    def __init__(self, vocab_size, dim, pad=0, **kwargs):
        super().__init__(**kwargs)
        at_least_one(vocab_size=vocab_size, dim=dim)
        self.autocast = False  # in half precision most numbers of tokens are others
        self.vocab_size, self.dim, self.pad = vocab_size, dim, pad

    def build(self, tokens_shape=None):
        normal = keras.initializers.RandomNormal(stddev=self.dim**-0.5)
        self.table = self.add_weight(name="table", shape=(self.vocab_size, self.dim), initializer=normal)

    def call(self, tokens, x=None, mask=None):
        return self.logits(x) if tokens is None else lookup(self.table, tokens, self.compute_dtype, self.dim**0.5)

    def logits(self, x):
        """x (B, T, D) -> (B, T, V), the product of x with every token's vector."""
        if isinstance(x, keras.KerasTensor):
            return self(None, x)  # a call, so that a functional model reads the table anew each time
        shape = ops.shape(x)
        return ops.reshape(product(self)(ops.reshape(x, (-1, self.dim))), (*shape[:-1], self.vocab_size))

    def product(self, x):
        """x (R, D) with the table turned, (R, V)."""
        return ops.matmul(x, ops.transpose(ops.cast(self.table, x.dtype)))

    def looped(self, rows):
        """`product` within `core.for_loop`."""
        return repeated_product(ops.cast(self.table, self.compute_dtype), rows, turned=True)

    def compute_mask(self, tokens, mask=None):
        if tokens is None:
            return mask
        return None if self.pad is None else masks.padding_mask(tokens, self.pad)


@register
class PatchEmbedding(Saved):
    """Pictures cut into patches that do not overlap, each a vector: y_n = W flatten(patch_n) + b, row by row.

    Positions are not added: that is the task of what comes after.

    Args:
        dim: D.
        patch: height and width of a patch, (P, Q), for clips after its number of frames, (R, P, Q); one number is a
            square patch, one frame deep.

    Call arguments:
        x: pictures (B, H, W, C), or clips (B, T, H, W, C).

    Returns:
        (B, H/P * W/Q, D), or (B, T/R * H/P * W/Q, D).

    Raises:
        ValueError: if x is neither, or if its sizes are no multiples of the patch's.

    Reference: Dosovitskiy et al. 2021; clips: Arnab et al. 2021.

    Example:

    >>> import numpy as np
    >>> from keras_seq import layers
    >>> tuple(layers.PatchEmbedding(11, patch=4)(np.ones((2, 8, 12, 3), "float32")).shape)
    (2, 6, 11)
    >>> tuple(layers.PatchEmbedding(11, patch=(2, 4, 4))(np.ones((2, 6, 8, 12, 3), "float32")).shape)
    (2, 18, 11)
    """

    def __init__(self, dim, patch=16, **kwargs):
        super().__init__(**kwargs)
        at_least_one(dim=dim, patch=patch if isinstance(patch, int) else min(patch))
        self.dim, self.patch = dim, patch

    def sides(self, x_shape):
        """The patch as one size for each axis of x between the first and the last, which it has to divide."""
        sizes = x_shape[1:-1]
        sides = (1,) * (len(sizes) - 2) + (self.patch,) * 2 if isinstance(self.patch, int) else tuple(self.patch)
        if len(sizes) not in (2, 3) or len(sides) != len(sizes):
            raise ValueError(
                f"PatchEmbedding expects (B, H, W, C) with a patch (P, Q), or (B, T, H, W, C) with a patch (R, P, Q); "
                f"got {tuple(x_shape)} and patch={self.patch}."
            )
        if any(size is not None and size % side for size, side in zip(sizes, sides)):
            raise ValueError(f"{times(sizes)} cannot be cut into patches of {times(sides)}; crop, pad or resize first.")
        return sides

    def build(self, x_shape):
        volume = math.prod(self.sides(x_shape)) * x_shape[-1]
        self.linear = Linear(self.dim, dtype=self.dtype_policy, name="linear")
        self.linear.build((None, None, volume))

    def call(self, x):
        sides, (batch, *sizes, channels) = self.sides(x.shape), ops.shape(x)
        axes = range(1, 2 * len(sides), 2)
        cut = [part for size, side in zip(sizes, sides) for part in (size // side, side)]
        x = ops.reshape(x, (batch, *cut, channels))  # (B, H/P, P, W/Q, Q, C)
        x = ops.transpose(x, (0, *axes, *(axis + 1 for axis in axes), 2 * len(sides) + 1))  # (B, H/P, W/Q, P, Q, C)
        return self.linear(ops.reshape(x, (batch, -1, math.prod(sides) * channels)))

    def compute_output_shape(self, x_shape):
        sides, sizes = self.sides(x_shape), x_shape[1:-1]
        patches = None if None in sizes else math.prod(size // side for size, side in zip(sizes, sides))
        return x_shape[0], patches, self.dim


def times(sizes):
    """(8, 12) as "8 x 12"."""
    return " x ".join(map(str, sizes))


@register
class FrameEmbedding(Saved):
    """Audio features or a series, window by window: y_t = W [x_{tR}; ...; x_{tR + size - 1}] + b, R being the stride.

    A Keras mask is shortened: a window is kept if it holds no padding. What a window holds, and how many are kept, then
    does not depend on how far its row was padded.

    Args:
        dim: D.
        size: frames in a window, K.
        stride: frames from one window to the next; `size` when left out, so that windows do not overlap.

    Call arguments:
        x: (B, T, C).

    Returns:
        (B, T', D), T' = (T - size) // stride + 1.

    Raises:
        ValueError: if size or stride is less than 1, or if x is shorter than a window.

    Reference: Radford et al. 2023 (overlapping windows of a spectrogram); Nie et al. 2023 (patches of a series).

    Example:

    >>> import numpy as np
    >>> from keras_seq import layers
    >>> tuple(layers.FrameEmbedding(11, size=5, stride=2)(np.ones((2, 13, 3), "float32")).shape)
    (2, 5, 11)
    """

    def __init__(self, dim, size, stride=None, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True
        at_least_one(dim=dim, size=size, stride=stride)
        self.dim, self.size, self.stride = dim, size, size if stride is None else stride

    def build(self, x_shape):
        shape = (self.size, x_shape[-1], self.dim)
        self.kernel = self.add_weight(name="kernel", shape=shape, initializer="glorot_uniform")
        self.bias = self.add_weight(name="bias", shape=(self.dim,), initializer="zeros")

    def windows(self, length):
        """T' for T; None for None."""
        if length is None:
            return None
        if length < self.size:
            raise ValueError(f"windows of size={self.size} do not fit into {length} frames; pad, or take smaller ones.")
        return (length - self.size) // self.stride + 1

    def call(self, x):
        self.windows(x.shape[1])
        kernel, bias = ops.cast(self.kernel, x.dtype), ops.cast(self.bias, x.dtype)
        return ops.conv(x, kernel, self.stride, "valid", data_format="channels_last") + bias

    def compute_mask(self, x, mask=None):
        if mask is None:
            return None
        padding = ops.expand_dims(ops.cast(ops.logical_not(mask), "float32"), -1)
        return ops.squeeze(ops.max_pool(padding, self.size, self.stride, "valid", "channels_last"), -1) < 0.5

    def compute_output_shape(self, x_shape):
        return x_shape[0], self.windows(x_shape[1]), self.dim
