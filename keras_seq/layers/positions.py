"""Order is data: a position encoding is a function of int32 positions, given to a model through one of three hooks."""

import inspect
import math

import keras
import numpy as np
from keras import ops

from keras_seq import kernels
from keras_seq.layers.core import Saved, at_least_one, longer, not_symbolic, read, register, wide


def small():
    """How position tables begin: near zero, so that they do not drown the tokens."""
    return keras.initializers.RandomNormal(stddev=0.02)


@register
class Position(Saved):
    """No position at all, and the base of every encoding: three hooks, each with a neutral default.

    Every model calls all three; an encoding overrides one. Positions `pos` are int32 (b, T), b being 1 or B.

    Example:

    >>> from keras_seq import layers
    >>> type(layers.positions.get("rotary")).__name__
    'Rotary'
    """

    def build(self, x_shape, num_heads=1, head_dim=None):
        """Make the weights for a residual stream (B, T, D) and N = num_heads heads of size H = head_dim."""

    def add(self, x, pos):
        """x (B, T, D) with the encoding of pos added: sinusoidal and learned encodings, after the embedding."""
        return x

    def rotate(self, x, pos):
        """Query or key heads (B, N, T, H), rotated by an angle that grows with pos: rotary encoding."""
        return x

    def bias(self, q, q_pos, k_pos):
        """What is added to the scores, (b, N, T, S) or None, from scaled query heads q (B, N, T, H)."""
        return None


def sinusoid(pos, dim, base=10000.0):
    """PE(pos, 2i) = sin(pos / base^(2i/dim)), PE(pos, 2i+1) = cos of the same: float32 (b, T, dim) for pos (b, T)."""
    i = np.arange(dim)
    frequency = np.power(base, -2.0 * (i // 2) / dim).astype("float32")  # (dim,) the first is the highest
    angle = ops.multiply(ops.expand_dims(ops.cast(pos, "float32"), -1), frequency)
    return ops.where(i % 2 == 0, ops.sin(angle), ops.cos(angle))


@register
class Sinusoidal(Position):
    """Fixed waves added to the embedding; defined for any length.

    PE(pos, 2i) = sin(pos / base^(2i/D)), PE(pos, 2i+1) = cos(pos / base^(2i/D)); the first features turn fastest.

    Args:
        base: ratio between the longest and the shortest wave, 10000 in the paper.

    Reference: Vaswani et al. 2017.

    Example:

    >>> import numpy as np
    >>> from keras import ops
    >>> from keras_seq import layers
    >>> x = layers.positions.Sinusoidal().add(ops.zeros((1, 1, 4)), layers.masks.positions(1))
    >>> np.array(x)[0, 0].tolist()
    [0.0, 1.0, 0.0, 1.0]
    """

    def __init__(self, base=10000.0, **kwargs):
        super().__init__(**kwargs)
        self.base = base

    def add(self, x, pos):
        return x + ops.cast(sinusoid(pos, x.shape[-1], self.base), x.dtype)


@register
class Learned(Position):
    """A trained vector for each position, added to the embedding. It knows no position from `max_length` on.

    Args:
        max_length: number of positions in the table; on torch 89 or more beside grouped queries (`kv_heads`) in models
            whose length is left open, which Keras tries out with that.

    Raises:
        ValueError: for more tokens than positions.

    Reference: Gehring et al. 2017.

    Example:

    >>> from keras import ops
    >>> from keras_seq import layers
    >>> position = layers.Learned(max_length=11)
    >>> position.build((None, None, 4))
    >>> tuple(position.add(ops.zeros((2, 7, 4)), layers.masks.positions(7)).shape)
    (2, 7, 4)
    """

    def __init__(self, max_length, **kwargs):
        super().__init__(**kwargs)
        at_least_one(max_length=max_length)
        self.max_length = max_length

    def build(self, x_shape, num_heads=1, head_dim=None):
        self.table = self.add_weight(name="table", shape=(self.max_length, x_shape[-1]), initializer=small())

    def add(self, x, pos):
        not_symbolic(self, x, pos)
        if longer(pos, 1, self.max_length):
            raise ValueError(
                f"learned positions end at {self.max_length}, got {pos.shape[1]} tokens; raise max_length."
            )
        return x + ops.cast(ops.take(self.table, pos, axis=0), x.dtype)


class Grid(Position):
    """What encodings of pictures share: tokens lie row by row, so row = pos // columns, column = pos % columns."""

    def __init__(self, columns, **kwargs):
        super().__init__(**kwargs)
        at_least_one(columns=columns)
        self.columns = columns

    def places(self, pos):
        """Positions (b, T) as rows and columns, each (b, T)."""
        return pos // self.columns, pos % self.columns


@register
class Sinusoidal2D(Grid):
    """Fixed waves of the row beside fixed waves of the column: PE(pos) = [PE(row), PE(column)], D/2 features each.

    Tokens lie row by row: row = pos // columns, column = pos % columns. Defined for any number of rows.

    Args:
        columns: tokens in a row.
        base: ratio between the longest and the shortest wave.

    Reference: Vaswani et al. 2017; for the rows and columns of a picture: Carion et al. 2020.

    Example:

    >>> import numpy as np
    >>> from keras import ops
    >>> from keras_seq import layers
    >>> x = layers.Sinusoidal2D(columns=3).add(ops.zeros((1, 4, 4)), layers.masks.positions(4))
    >>> [f"{value:.2f}" for value in np.array(x)[0, 3]]  # row 1, column 0
    ['0.84', '0.54', '0.00', '1.00']
    """

    def __init__(self, columns, base=10000.0, **kwargs):
        super().__init__(columns, **kwargs)
        self.base = base

    def add(self, x, pos):
        dim, (row, column) = x.shape[-1], self.places(pos)
        waves = sinusoid(row, dim - dim // 2, self.base), sinusoid(column, dim // 2, self.base)
        return x + ops.cast(ops.concatenate(waves, axis=-1), x.dtype)


@register
class Learned2D(Grid):
    """A trained vector for each row beside one for each column, D/2 features each: [R_row, C_column], added.

    Tokens lie row by row: row = pos // columns, column = pos % columns. It knows no position from rows * columns on.

    Args:
        columns: tokens in a row.
        rows: number of rows.

    Raises:
        ValueError: for more tokens than places.

    Reference: Dosovitskiy et al. 2021, appendix D.4.

    Example:

    >>> from keras import ops
    >>> from keras_seq import layers
    >>> position = layers.Learned2D(columns=3, rows=2)
    >>> position.build((None, None, 4))
    >>> tuple(position.row.shape), tuple(position.column.shape)
    ((2, 2), (3, 2))
    """

    def __init__(self, columns, rows, **kwargs):
        super().__init__(columns, **kwargs)
        self.rows = rows

    def build(self, x_shape, num_heads=1, head_dim=None):
        dim = x_shape[-1]
        self.row = self.add_weight(name="row", shape=(self.rows, dim - dim // 2), initializer=small())
        self.column = self.add_weight(name="column", shape=(self.columns, dim // 2), initializer=small())

    def add(self, x, pos):
        not_symbolic(self, x, pos)
        if longer(pos, 1, self.rows * self.columns):
            raise ValueError(
                f"learned positions end with {self.rows} rows of {self.columns}, got {pos.shape[1]} tokens; make more "
                "rows."
            )
        row, column = self.places(pos)
        table = ops.concatenate([ops.take(self.row, row, axis=0), ops.take(self.column, column, axis=0)], axis=-1)
        return x + ops.cast(table, x.dtype)


@register
class Rotary(Position):
    """Queries and keys turned by an angle proportional to their position: their product depends on i - j only.

    With a = x[:H/2], b = x[H/2:], angle_i = pos / scale / base^(2i/H):
    rotate(x) = [a cos - b sin, a sin + b cos].

    Args:
        base: ratio between the slowest and the fastest rotation.
        scale: positions are divided by it (2.0 reads twice the trained length with the trained angles).

    Raises:
        ValueError: for an odd head size, or a base or scale of 0 or less.

    Reference: Su et al. 2021; scaled positions: Chen et al. 2023.

    Example:

    >>> import numpy as np
    >>> from keras_seq import layers
    >>> x = layers.Rotary().rotate(np.array([[[[1.0, 0.0]]]], "float32"), np.array([[1]]))
    >>> [f"{value:.2f}" for value in np.array(x).ravel()]  # cos(1) and sin(1)
    ['0.54', '0.84']
    """

    def __init__(self, base=10000.0, scale=1.0, **kwargs):
        super().__init__(autocast=False, **kwargs)
        if not (base > 0 and scale > 0):
            raise ValueError(f"base and scale must be above 0; got {base} and {scale}.")
        self.base, self.scale = base, scale

    def rotate(self, x, pos):
        if not self.built:  # by itself, in no attention
            self.build(x.shape)
        return self(x, pos)  # a call, in which Keras tells whether it trains

    def call(self, x, pos, training=None):
        size = x.shape[-1]
        if size % 2:
            raise ValueError(f"Rotary positions need an even head_dim, got {size}; choose other num_heads or dim.")
        frequency = np.power(self.base, -np.arange(0, size, 2) / size).astype("float32") / self.scale
        angle = ops.multiply(ops.cast(ops.expand_dims(pos, (1, 3)), "float32"), frequency)  # (b, 1, T, H/2)
        cos, sin = ops.cos(angle), ops.sin(angle)
        if not (training and rotated_at_once.fuses(x)):
            return rotated(x, ops.cast(cos, x.dtype), ops.cast(sin, x.dtype))

        @ops.custom_gradient
        def run(x):
            return rotated_at_once(x, cos, sin), lambda dy: rotated_at_once(dy, cos, -sin)

        return run(x)


def rotated(x, cos, sin):
    """[a cos - b sin, a sin + b cos] for the halves a and b of x (..., H), cos and sin being (..., H/2)."""
    a, b = ops.split(x, 2, axis=-1)
    return ops.concatenate([a * cos - b * sin, a * sin + b * cos], axis=-1)


@kernels.fused(rows=True)
def rotated_at_once(x, cos, sin):
    """The same, in float32 at least."""
    z = wide(x)
    return ops.cast(rotated(z, ops.cast(cos, z.dtype), ops.cast(sin, z.dtype)), x.dtype)


def distance(q_pos, k_pos):
    """How far each key lies after each query: int32 (b, T, S) of k_pos - q_pos."""
    return ops.expand_dims(k_pos, 1) - ops.expand_dims(q_pos, 2)


@register
class Relative(Position):
    """A trained key vector for each clipped distance: score(i, j) = q_i · (k_j + r_clip(j - i)).

    Args:
        max_distance: distances are clipped to [-max_distance, max_distance].

    Raises:
        ValueError: for a negative max_distance.

    Reference: Shaw et al. 2018 (its term on the keys).

    Example:

    >>> import numpy as np
    >>> from keras_seq import layers
    >>> layer = layers.MultiHeadAttention(2, position={"name": "relative", "max_distance": 3})
    >>> _ = layer(np.ones((1, 7, 8), "float32"))
    >>> tuple(layer.position.table.shape)
    (7, 4)
    """

    def __init__(self, max_distance=16, **kwargs):
        super().__init__(**kwargs)
        if max_distance < 0:
            raise ValueError(f"max_distance must be 0 or more; got {max_distance}.")
        self.max_distance = max_distance

    def build(self, x_shape, num_heads=1, head_dim=None):
        shape = (2 * self.max_distance + 1, head_dim or x_shape[-1] // num_heads)
        self.table = self.add_weight(name="table", shape=shape, initializer=small())

    def bias(self, q, q_pos, k_pos):
        not_symbolic(self, q, q_pos, k_pos)
        clipped = ops.clip(distance(q_pos, k_pos), -self.max_distance, self.max_distance) + self.max_distance
        r = ops.cast(ops.take(self.table, clipped, axis=0), q.dtype)  # (b, T, S, H)
        if r.shape[0] == 1:
            return ops.einsum("bnth,tsh->bnts", q, ops.squeeze(r, 0))
        return ops.einsum("bnth,btsh->bnts", q, r)


ROUND = 1 + 4e-7  # a compiler may divide a little less exactly, and a step may begin at a whole number


def bucket(delta, num_buckets=32, max_distance=128, bidirectional=True):
    """Number the distances delta = k_pos - q_pos: near ones exactly, far ones in logarithmic steps (T5).

    Args:
        delta: int32 of any shape.
        num_buckets: buckets in all; half of them for keys after the query when `bidirectional`.
        max_distance: all distances from here on share the last bucket.
        bidirectional: False when keys after the query are masked anyway: they fall into bucket 0.

    Returns:
        int32 of the same shape, from 0 to num_buckets - 1.

    Reference: Raffel et al. 2020.
    """
    offset = 0
    if bidirectional:
        num_buckets //= 2
        offset = ops.cast(delta > 0, "int32") * num_buckets
    away = ops.abs(delta) if bidirectional else ops.maximum(-delta, 0)
    exact = num_buckets // 2
    ratio = ops.log(ops.cast(ops.maximum(away, exact), "float32") / exact) / math.log(max_distance / exact)
    far = exact + ops.cast(ratio * ((num_buckets - exact) * ROUND), "int32")
    return offset + ops.where(away < exact, away, ops.minimum(far, num_buckets - 1))


@register
class RelativeBias(Position):
    """A trained number for each head and bucketed distance, added to the score.

    Args:
        num_buckets: how many distances are told apart.
        max_distance: all distances from here on are one.
        bidirectional: False in causal decoders, which then spend every bucket on the past.

    Raises:
        ValueError: for fewer than four buckets (two in one direction), or a max_distance that near ones reach already.

    Reference: Raffel et al. 2020 (T5).

    Example:

    >>> import numpy as np
    >>> from keras_seq import layers
    >>> layer = layers.MultiHeadAttention(2, position={"name": "relative_bias", "num_buckets": 6})
    >>> _ = layer(np.ones((1, 7, 8), "float32"))
    >>> tuple(layer.position.table.shape)
    (6, 2)
    """

    def __init__(self, num_buckets=32, max_distance=128, bidirectional=True, **kwargs):
        super().__init__(**kwargs)
        self.num_buckets, self.max_distance, self.bidirectional = num_buckets, max_distance, bidirectional
        exact = num_buckets // (4 if bidirectional else 2)  # distances with a bucket of their own
        if exact < 1 or max_distance <= exact:
            raise ValueError(
                f"num_buckets must be at least {4 if bidirectional else 2} and max_distance more than {exact}, the "
                f"distances told apart exactly; got num_buckets={num_buckets} and max_distance={max_distance}."
            )

    def build(self, x_shape, num_heads=1, head_dim=None):
        self.table = self.add_weight(name="table", shape=(self.num_buckets, num_heads), initializer=small())

    def bias(self, q, q_pos, k_pos):
        not_symbolic(self, q_pos, k_pos)
        index = bucket(distance(q_pos, k_pos), self.num_buckets, self.max_distance, self.bidirectional)
        return ops.transpose(ops.take(self.table, index, axis=0), (0, 3, 1, 2))  # (b, N, T, S)


def alibi_slopes(num_heads):
    """2^(-8 i / N) for i = 1..N; for other N than powers of two, the paper's mix of the two neighbouring powers."""
    power = 2 ** math.floor(math.log2(num_heads))
    slopes = [2.0 ** (-8.0 * (i + 1) / power) for i in range(power)]
    return slopes + [2.0 ** (-8.0 * (i + 0.5) / power) for i in range(0, num_heads - power)]


@register
class ALiBi(Position):
    """Each head loses a fixed slope for each step of distance: score(i, j) - slope_n |i - j|; nothing is trained.

    Reference: Press et al. 2022.

    Example:

    >>> import numpy as np
    >>> from keras_seq import layers
    >>> position, pos = layers.ALiBi(), layers.masks.positions(3)
    >>> position.build((None, None, 8), num_heads=2)
    >>> np.array(position.bias(None, pos, pos))[0, 0, 2, :2].tolist()
    [-0.125, -0.0625]
    """

    def build(self, x_shape, num_heads=1, head_dim=None):
        self.slopes = np.array(alibi_slopes(num_heads), "float32").reshape(1, -1, 1, 1)

    def bias(self, q, q_pos, k_pos):
        away = ops.cast(ops.abs(distance(q_pos, k_pos)), "float32")
        return ops.multiply(-ops.expand_dims(away, 1), self.slopes)  # (b, N, T, S)


POSITIONS = {
    "none": Position, "sinusoidal": Sinusoidal, "learned": Learned, "rotary": Rotary,
    "relative": Relative, "relative_bias": RelativeBias, "alibi": ALiBi,
}  # fmt: skip
GRIDS = {"sinusoidal_2d": Sinusoidal2D, "learned_2d": Learned2D}  # of pictures, whose tokens lie row by row


def get(position, **defaults):
    """A Position from its name, a dict with a name and its options, None, a Position itself, or its config.

    Args:
        position: "sinusoidal", {"name": "relative", "max_distance": 8}, None or a Position.
        defaults: options that an encoding takes if it knows them (max_length, bidirectional, rows, columns).

    Raises:
        ValueError: for an unknown name.
    """
    if isinstance(position, Position):
        return position
    if isinstance(position, dict) and "class_name" in position:
        return read(position)
    options = {"name": position or "none"} if not isinstance(position, dict) else dict(position)
    name = options.pop("name", None)
    kinds = POSITIONS | GRIDS
    if name not in kinds:
        raise ValueError(f"position must be one of {', '.join(kinds)}; got {name!r}.")
    known = inspect.signature(kinds[name].__init__).parameters
    return kinds[name](**{k: v for k, v in defaults.items() if k in known} | options)

