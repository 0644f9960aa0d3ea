"""From a picture to a vector for each of its regions, row by row: a residual network, or patches and attention."""

import keras
from keras import ops

from keras_seq.layers import positions
from keras_seq.layers.core import BatchNormalization, Dropout, Linear, Saved, register
from keras_seq.layers.embeddings import PatchEmbedding
from keras_seq.layers.transformer import TransformerEncoder, normalization


class RegionEncoder(Saved):
    """What both encoders of pictures share: known sizes, and `grid`, which says where a region lies."""

    def sizes(self, x_shape):
        """(H, W, C) of pictures (B, H, W, C)."""
        if len(x_shape) != 4 or None in x_shape[1:]:
            name = type(self).__name__
            raise ValueError(f"{name} expects pictures (B, H, W, C) with known H, W and C; got {tuple(x_shape)}.")
        return tuple(x_shape[1:])

    def grid(self, height, width):
        """Rows and columns of the regions of a picture."""
        raise NotImplementedError

    def compute_output_shape(self, x_shape):
        rows, columns = self.grid(*self.sizes(x_shape)[:2])
        return x_shape[0], rows * columns, self.dim

    def convolution(self, name, channels, wide, size=3, strides=1):
        """A convolution without a bias, and the normalisation that has one."""
        conv = keras.layers.Conv2D(
            wide, size, strides, "same", use_bias=False, kernel_initializer="he_normal", data_format="channels_last",
            dtype=self.dtype_policy, name=name,
        )  # fmt: skip
        norm = BatchNormalization(momentum=0.9, dtype=self.dtype_policy, name=f"{name}_norm")
        conv.build((None, None, None, channels))
        norm.build((None, None, None, wide))
        return [conv, norm]


def convolved(pair, x):
    """What `RegionEncoder.convolution` makes of x."""
    convolution, norm = pair
    return norm(convolution(x))


@register
class ImageEncoder(RegionEncoder):
    """A residual network in a few stages, each half as high and wide as the one before; then one vector a region.

    The first convolution and each stage after the first halve the picture; a stage is `depth` blocks x + f(x) of two
    3 x 3 convolutions with batch normalisation. A learned vector for each place is added to the regions, for a decoder
    that looks at them has to know left from right.

    Args:
        dim: D.
        widths: channels of each stage.
        depth: blocks of a stage.
        dropout: rate on the regions.

    Call arguments:
        x: (B, H, W, C), pictures from 0 to 1.

    Returns:
        (B, S, D), S = H / 2^n * W / 2^n regions for n stages, rounded up, row by row.

    Raises:
        ValueError: for anything but (B, H, W, C) with known H, W and C.

    Reference: He et al. 2016.

    Example:

    >>> import numpy as np
    >>> from keras_seq import layers
    >>> tuple(layers.ImageEncoder(11, widths=(8, 12))(np.ones((2, 16, 24, 3), "float32")).shape)
    (2, 24, 11)
    """

    def __init__(self, dim, widths=(48, 96, 192), depth=1, dropout=0.0, **kwargs):
        super().__init__(**kwargs)
        self.dim, self.widths, self.depth = dim, tuple(widths), depth
        self.dropout = Dropout(dropout, dtype=self.dtype_policy) if dropout else None

    def grid(self, height, width):
        scale = 2 ** len(self.widths)
        return -(-height // scale), -(-width // scale)

    def build(self, x_shape):
        height, width, channels = self.sizes(x_shape)
        self.down, self.blocks = [], []
        for i, wide in enumerate(self.widths):
            self.down.append(self.convolution(f"down_{i}", channels, wide, size=3 if i else 5, strides=2))
            pairs = [[self.convolution(f"block_{i}_{j}_{k}", wide, wide) for k in range(2)] for j in range(self.depth)]
            self.blocks.append(pairs)
            channels = wide
        rows, columns = self.grid(height, width)
        self.project = Linear(self.dim, dtype=self.dtype_policy, name="project")
        self.project.build((None, None, channels))
        self.norm = normalization("layer", 1e-6, self.dtype_policy)
        self.norm.build((None, None, self.dim))
        normal = keras.initializers.RandomNormal(stddev=0.02)
        self.places = self.add_weight(name="places", shape=(rows * columns, self.dim), initializer=normal)

    def call(self, x):
        x = ops.cast(x, self.compute_dtype) * 2 - 1
        for down, blocks in zip(self.down, self.blocks):
            x = ops.relu(convolved(down, x))
            for first, second in blocks:
                x = ops.relu(x + convolved(second, ops.relu(convolved(first, x))))
        x = self.project(ops.reshape(x, (ops.shape(x)[0], -1, x.shape[-1])))  # (B, S, D)
        x = self.norm(x) + ops.cast(self.places, x.dtype)
        return x if self.dropout is None else self.dropout(x)


@register
class PatchEncoder(RegionEncoder):
    """A vision Transformer: the picture is cut into patches, which then look at each other.

    Args:
        dim: D.
        patch: height and width of a patch.
        num_heads: N.
        num_layers: L.
        mlp_dim: F.
        dropout: rate.
        position: of the patches: "learned", a vector for each; "learned_2d" or "sinusoidal_2d", of row and column; or
            any other of `positions.get`.
        class_token: whether a learned vector that stands for the whole picture looks on, below the last row: it has
            position S.
        stem: channels of convolutions of 3 x 3, with batch normalisation, that see the picture before it is cut; each
            after the first halves it, and a patch of what is left is as much smaller. With them it learns faster.

    Call arguments:
        x: (B, H, W, C), pictures from 0 to 1.
        return_attention_weights: whether to return the weights (B, N, S', S') of each layer too, as a list.

    Returns:
        (B, S', D), S' = S = H / patch * W / patch regions, row by row; with a class token S' = S + 1, it is the last.

    Raises:
        ValueError: for anything but (B, H, W, C) with known sizes that are multiples of the patch's, or for a patch
            that the stem does not divide.

    Reference: Dosovitskiy et al. 2021; with a stem: Xiao et al. 2021.

    Example:

    >>> import numpy as np
    >>> from keras_seq import layers
    >>> encoder = layers.PatchEncoder(12, patch=8, num_heads=2, num_layers=1, mlp_dim=16)
    >>> tuple(encoder(np.ones((2, 16, 24, 3), "float32")).shape)
    (2, 6, 12)
    """

    def __init__(
        self, dim, patch=8, num_heads=4, num_layers=4, mlp_dim=512, dropout=0.0, position="learned", class_token=False,
        stem=(), **kwargs,
    ):  # fmt: skip
        super().__init__(**kwargs)
        self.dim, self.patch, self.position, self.class_token = dim, patch, position, class_token
        self.stem, self.shrunk = tuple(stem), 2 ** max(0, len(stem) - 1)
        if patch % self.shrunk:
            raise ValueError(f"{len(stem)} convolutions expect a patch of a multiple of {self.shrunk}; got {patch}.")
        self.cut = PatchEmbedding(dim, patch // self.shrunk, dtype=self.dtype_policy, name="cut")
        self.stack_options = dict(
            num_layers=num_layers, num_heads=num_heads, mlp_dim=mlp_dim, dropout=dropout, activation="gelu",
            dtype=self.dtype_policy, name="stack",
        )  # fmt: skip

    def grid(self, height, width):
        return height // self.patch, width // self.patch

    def compute_output_shape(self, x_shape):
        batch, count, dim = super().compute_output_shape(x_shape)
        return batch, count + self.class_token, dim

    def build(self, x_shape):
        height, width, channels = self.sizes(x_shape)
        rows, columns = self.grid(height, width)
        if height % self.patch or width % self.patch:
            size, patch = f"{height} x {width}", self.patch
            raise ValueError(f"{size} cannot be cut into patches of {patch} x {patch}; crop, pad or resize first.")
        self.see = []
        for i, wide in enumerate(self.stem):
            self.see.append(self.convolution(f"stem_{i}", channels, wide, strides=2 if i else 1))
            channels = wide
        self.cut.build((None, height // self.shrunk, width // self.shrunk, channels))
        count = rows * columns + self.class_token
        if self.class_token:
            normal = keras.initializers.RandomNormal(stddev=0.02)
            self.whole = self.add_weight(name="whole", shape=(self.dim,), initializer=normal)
        place = positions.get(self.position, max_length=count, rows=rows + self.class_token, columns=columns)
        self.stack = TransformerEncoder(position=place, **self.stack_options)
        self.stack.build((None, count, self.dim))

    def call(self, x, return_attention_weights=False):
        x = ops.cast(x, self.compute_dtype) * 2 - 1
        for pair in self.see:
            x = ops.relu(convolved(pair, x))
        x = self.cut(x)  # (B, S, D)
        if self.class_token:
            whole = ops.broadcast_to(ops.cast(self.whole, x.dtype), (ops.shape(x)[0], 1, self.dim))
            x = ops.concatenate([x, whole], axis=1)
        return self.stack(x, return_attention_weights=return_attention_weights)


def attention_rollout(weights):
    """How much each output of a stack is made of each of its inputs: the product of (A_l + I) / 2 over the layers.

    A_l is the mean of the heads of layer l, and I stands for the residual, by which a token goes on as it is.

    Args:
        weights: list of (B, N, T, T), one a layer, the first layer first.

    Returns:
        float32 (B, T, T); rows sum to one.

    Reference: Abnar and Zuidema 2020.

    Example:

    >>> import numpy as np
    >>> from keras_seq import layers
    >>> np.array(layers.attention_rollout([np.full((1, 2, 2, 2), 0.5)] * 2))[0].tolist()
    [[0.625, 0.375], [0.375, 0.625]]
    """
    product = None
    for layer in weights:
        mean = ops.mean(ops.cast(layer, "float32"), axis=1)  # (B, T, T)
        step = (mean + ops.eye(mean.shape[-1])) / 2
        product = step if product is None else ops.matmul(step, product)
    return product
