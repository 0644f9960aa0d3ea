"""What other layers are made of: matrix products with weights or without, normalisation, dropout, and whole blocks."""

import contextlib
import contextvars
import inspect
import math
import types

import keras
from keras import ops

from keras_seq import kernels


def register(cls):
    """Register a public class under the name `keras_seq>Name`, so that saved models reload without custom_objects."""
    return keras.saving.register_keras_serializable(package="keras_seq")(cls)


class Saved(keras.layers.Layer):
    """A Keras layer whose config, made of its arguments, can hold objects: positions, functions, dtype policies."""

    def __new__(cls, *arguments, **options):
        arguments, options = keras.tree.map_structure(written, (arguments, options))
        return super().__new__(cls, *arguments, **options)  # where Keras notes them; `__init__` gets the objects

    @classmethod
    def from_config(cls, config):
        return super().from_config({name: v if name == "dtype" else read(v) for name, v in config.items()})


def written(value):
    """An argument as a config holds it; what cannot be written down, as it is: Keras then says so when it is saved."""
    plain = isinstance(value, (str, int, float, bool, type(None)))
    if plain or (inspect.isfunction(value) and value.__name__ == "<lambda>"):
        return value
    try:
        return keras.saving.serialize_keras_object(value)
    except (NotImplementedError, TypeError, ValueError):
        return value


def read(value):
    """What `written` was given, in any nest; a layer comes back without its weights, which who has it builds."""
    if isinstance(value, dict) and "class_name" in value:
        return keras.saving.deserialize_keras_object({k: v for k, v in value.items() if k != "build_config"})
    if isinstance(value, dict):
        return {k: read(v) for k, v in value.items()}
    return [read(v) for v in value] if isinstance(value, list) else value


class Layer(Saved):
    """What our layers are made of: a Keras layer whose output shapes are those of its `call`, tried out on symbols."""

    def compute_output_shape(self, *shapes, **options):
        """Shapes in, None where a size is open -> the shape of what `call` gives, or a nest of them; builds the layer.

        Options are those of `call`: with `return_attention_weights=True` the shapes of the weights come too. Shapes may
        have the names that `build` has for them, `x_shape` for `x`: so does `summary` ask.
        """

        def symbol(shape):
            return None if shape is None else keras.KerasTensor(shape, self.compute_dtype)

        named = {name for name in options if name.endswith("_shape")}
        options = {name.removesuffix("_shape"): symbol(v) if name in named else v for name, v in options.items()}
        return keras.tree.map_structure(lambda y: tuple(y.shape), self(*map(symbol, shapes), **options))

    def compute_output_spec(self, *args, **kwargs):
        return keras.Operation.compute_output_spec(self, *args, **kwargs)  # not by the shape alone, as Keras would


def at_least_one(**sizes):
    """Refuses numbers of 0 and below; None is a size that is left out."""
    for name, size in sizes.items():
        if size is not None and size < 1:
            raise ValueError(f"{name} must be at least 1; got {size}.")


def not_symbolic(layer, *tensors):
    """Refuses symbols where weights are read outside a call: a functional model would keep the numbers of today."""
    if any(isinstance(x, keras.KerasTensor) for x in tensors):
        raise ValueError(
            f"{type(layer).__name__} reads its weights in this method, which a functional model would neither train "
            "nor save; call the layer that does it all, or this inside the `call` of a layer of your own."
        )


def longer(x, axis, limit):
    """Whether an axis of x is known to have more than `limit` places.

    Where Keras tries a model of open lengths out, it is a symbol on jax, and on torch one of 83 without any numbers.
    """
    size, tried = x.shape[axis], keras.backend.backend() == "torch" and str(x.device) == "meta"
    return isinstance(size, int) and size > limit and not tried


STRIP, WIDE = 64, 4096  # columns of a matrix
FEW, SOME = {"float32": 4, "bfloat16": 16}, 64  # rows


def repeated_product(matrix, rows, turned=False):
    """x (R, D) -> x W (R, N) as a loop takes it again and again on a CPU: a function made once, of W (D, N).

    For 2 to `FEW` rows W is cut into strips of `STRIP` columns, (N / STRIP, D, STRIP): what XLA reads at a time then
    lies side by side, where in (D, N) each row of 64 columns is far from the next; a third less time. For up to `SOME`
    rows of float32 XLA is led to faster code, see `kernels.product_of_some`; in other cases a wide matrix is up to a
    tenth faster in parts.

    Args:
        matrix: W, (D, N), or (N, D) if `turned`, which one row is multiplied with as it is.
        rows: R, where it is known.
        turned: whether N comes first.
    """
    rows, dtype = rows if isinstance(rows, int) else 0, keras.backend.standardize_dtype(matrix.dtype)
    if rows == 1 and turned:
        return lambda x: kernels.product_turned(x, matrix)
    if 1 < rows <= FEW.get(dtype, 0) and (turned or matrix.shape[1] % STRIP == 0):
        return product_in_strips(matrix, turned)
    matrix = ops.transpose(matrix) if turned else matrix
    if 1 < rows <= SOME and dtype == "float32":
        return lambda x: kernels.product_of_some(x, matrix)
    parts = [matrix[:, i : i + WIDE] for i in range(0, matrix.shape[1], WIDE)]
    return lambda x: ops.concatenate([ops.matmul(x, part) for part in parts], axis=-1)


def product_in_strips(matrix, turned):
    """`repeated_product` with strips, made in ways in which XLA copies the matrix no more than once."""
    width = matrix.shape[0 if turned else 1]
    if turned:  # a loop, for a table is too wide to write down all its strips
        matrix, places = fill(matrix, 0, STRIP), ops.arange(0, width, STRIP, dtype="int32")
        strips = ops.map(lambda i: ops.transpose(ops.slice(matrix, (i, 0), (STRIP, matrix.shape[1]))), places)
    else:
        strips = ops.stack([matrix[:, i : i + STRIP] for i in range(0, width, STRIP)])

    def product(x):
        y = ops.matmul(ops.broadcast_to(x, (strips.shape[0], *ops.shape(x))), strips)
        return ops.reshape(ops.swapaxes(y, 0, 1), (-1, strips.shape[0] * STRIP))[:, :width]

    return product


NOTHING = types.MappingProxyType({})
LOOPED = contextvars.ContextVar("looped", default=NOTHING)  # layer -> what it made; not in layers: threads share them


@contextlib.contextmanager
def for_loop(model, rows):
    """Within, layers multiply with what they make of their weights here, once, for a loop whose steps have such rows.

    Args:
        model: whose layers with `looped(rows)` are asked for such a product, where a compiler drops what no step needs.
        rows: how many a step has.
    """
    every = model._flatten_layers() if isinstance(model, keras.Layer) and kernels.device() == "cpu" else []
    made = {layer: layer.looped(rows) for layer in every if layer.built and hasattr(layer, "looped")}
    before = LOOPED.set(made)
    try:
        yield
    finally:
        LOOPED.reset(before)


def product(layer):
    """`layer.product`, or what stands in for it within `for_loop`."""
    return LOOPED.get().get(layer, layer.product)


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

    def product(self, x):
        """x W for x (R, D)."""
        return ops.matmul(x, ops.cast(self.kernel, x.dtype))

    def looped(self, rows):
        """`product` within `for_loop`."""
        return repeated_product(ops.cast(self.kernel, self.compute_dtype), rows)

    def call(self, x, training=None):
        shape = ops.shape(x)
        y = product(self)(ops.reshape(x, (-1, shape[-1])))
        activation = self.activation
        if self.use_bias:
            bent = activation is keras.activations.relu
            y, activation = biased(y, self.bias, bent, training), None if bent else activation
        shape = (*shape[:-1], self.units)
        if training and activation is keras.activations.gelu:
            return gelu(ops.reshape(y, shape))
        if activation is not None:
            y = activation(y)
        return ops.reshape(y, shape)


def biased(x, bias, bent=False, training=False):
    """x + bias, (M, U) and (U,); only where that is positive, if `bent`.

    In training with half precision the gradient of the bias is a product, and so a sum in float32: the gradient that
    tensorflow has for biases adds row to row in bfloat16, and of 2,048 rows loses a tenth, of 8,192 more than a half.
    """

    def add(x, bias):
        y = ops.add(x, bias)
        return ops.relu(y) if bent else y

    @ops.custom_gradient
    def run(x, bias):
        y = add(x, bias)

        def gradient(dy):
            dx = straight(dy, y) if bent else dy
            return dx, total(dx)

        return y, gradient

    half = keras.backend.backend() == "tensorflow" and x.dtype in ("bfloat16", "float16")
    return (run if training and half else add)(x, ops.cast(bias, x.dtype))


@kernels.fused(rows=True)
def straight(dy, y):
    """The gradient before a bend whose result is y."""
    return ops.where(y > 0, dy, ops.zeros((), dy.dtype))


def total(x):
    """Sum over the rows of (M, D), in float32: a product, which is faster than `ops.sum`."""
    return ops.squeeze(ops.matmul(ops.ones((1, ops.shape(x)[0]), x.dtype), x), 0)


def total_when_fused(x):
    """The same for what may be a kernel, in which `ops.sum` is faster."""
    return ops.cast(ops.sum(ops.cast(x, "float32"), axis=0), x.dtype) if kernels.fuses(x) else total(x)


def gelu(x):
    """`keras.activations.gelu` to train with: on tensorflow, whose erfc is slow, in a third of the time."""
    if keras.backend.backend() != "tensorflow":
        return keras.activations.gelu(x)

    @ops.custom_gradient
    def run(x):
        y, slope = bell(x)
        return y, lambda dy: dy * slope

    return run(x)


@kernels.fused(rows=True)
def bell(x):
    """y = x P(x) and its slope P(x) + x p(x), for the normal distribution P and its density p."""
    z = wide(x)
    share = 0.5 * (1 + ops.erf(z * 0.5**0.5))
    slope = share + z * ops.exp(-0.5 * z * z) * (2 * math.pi) ** -0.5
    return ops.cast(z * share, x.dtype), ops.cast(slope, x.dtype)


def wide(x):
    """x in float32, or as it is if that is wider."""
    return ops.cast(x, keras.backend.result_type(x.dtype, "float32"))


@register
class LayerNormalization(keras.layers.LayerNormalization):
    """`keras.layers.LayerNormalization`, faster in training on tensorflow: same arguments, weights and results.

    Faster of the last axis, with gamma and beta in float32.
    """

    def call(self, inputs, training=None):
        if not training or keras.backend.backend() != "tensorflow" or not is_plain(self, inputs, *self.axis):
            return super().call(inputs)
        return normalized(inputs, self.gamma, self.beta, self.epsilon, self.compute_dtype)


def is_plain(layer, x, *axes):
    """Whether a layer normalises x over or along its last axis, with gamma and beta in float32."""
    weights = (layer.gamma, layer.beta)
    return axes in ((-1,), (len(x.shape) - 1,)) and all(w is not None and w.dtype == "float32" for w in weights)


def normalized(x, gamma, beta, epsilon, dtype):
    """y = n gamma + beta, n = (x - mean) / sqrt(variance + epsilon) over the last axis, for x (..., D).

    In float32 and in few passes over x, and so its gradient: dx = (dn - mean dn - n mean(n dn)) / sqrt(variance +
    epsilon), where dn = dy gamma.
    """
    size = x.shape[-1]

    @ops.custom_gradient
    def run(x, gamma, beta):
        shape = ops.shape(x)
        x = ops.reshape(x, (-1, size))
        y, *seen = standard(x, gamma, beta, epsilon, dtype)

        def gradient(dy):
            dx, *others = standard_gradient(ops.reshape(dy, (-1, size)), x, *seen, gamma)
            return ops.reshape(dx, shape), *others

        return ops.reshape(y, shape), gradient

    return run(x, ops.copy(gamma), ops.copy(beta))  # tensors: variables would be asked for a gradient of their own


@kernels.fused
def standard(x, gamma, beta, epsilon, dtype):
    """y of x (M, D), the mean and 1 / sqrt(variance + epsilon) (M, 1)."""
    share = ops.ones((x.shape[-1], 1)) / x.shape[-1]  # a product with it is a mean, and fast
    z = ops.cast(x, "float32")
    mean = ops.matmul(z, share)
    n = z - mean
    scale = ops.rsqrt(ops.matmul(n * n, share) + epsilon)
    return ops.cast(n * scale * gamma + beta, dtype), mean, scale


@kernels.fused
def standard_gradient(dy, x, mean, scale, gamma):
    """dx (M, D), dgamma and dbeta (D,)."""
    n = (ops.cast(x, "float32") - mean) * scale
    slope = ops.cast(dy, "float32")
    n_dy = n * slope
    share = ops.expand_dims(gamma / x.shape[-1], 1)  # a product with it is the mean of what gamma multiplies
    dx = scale * (slope * gamma - ops.matmul(slope, share) - n * ops.matmul(n_dy, share))
    return ops.cast(dx, x.dtype), total_when_fused(n_dy), total_when_fused(slope)


@register
class BatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization`, faster in training on tensorflow: same arguments, weights and results.

    Faster over all axes but the last, with gamma and beta in float32.
    """

    def call(self, inputs, training=None, mask=None):
        made = None
        own = self.synchronized or self.renorm or not is_plain(self, inputs, self.axis)
        if training and self.trainable and mask is None and not own:
            made = kernels.batch_normalized(inputs, self.gamma, self.beta, self.epsilon)
        if made is None:
            return super().call(inputs, training=training, mask=mask)
        y, *new = made
        for moving, value in zip((self.moving_mean, self.moving_variance), new):
            moving.assign(moving * self.momentum + ops.stop_gradient(value) * (1 - self.momentum))
        return y


@register
class Dropout(Layer):
    """Zeros at random while training, what is left grows by as much: y = x m / P(m = 1).

    Of any shape. Random numbers cost more than all else in dropout: here only a key is drawn, of which a hash makes a
    byte for each element, so the rate is the nearest multiple of 1/256.

    Args:
        rate: share of the elements that become zero, from 0 to below 1.
        seed: of the draws; None for another each time.

    Raises:
        ValueError: for a rate outside.

    Reference: Srivastava et al. 2014; counters through a hash: Salmon et al. 2011; the hash: Appleby 2011, MurmurHash3.

    Example:

    >>> import numpy as np
    >>> from keras_seq.layers import Dropout
    >>> y = Dropout(0.5, seed=1)(np.ones((3, 100), "float32"), training=True)
    >>> sorted(set(np.array(y).ravel().tolist()))
    [0.0, 2.0]
    """

    def __init__(self, rate, seed=None, **kwargs):
        super().__init__(**kwargs)
        if not 0 <= rate < 1:
            raise ValueError(f"Dropout expects a rate from 0 to below 1; got {rate}.")
        self.supports_masking = True
        self.rate = rate
        self.least = min(round(256 * rate), 255)  # a byte below it drops its element
        self.random = keras.random.SeedGenerator(seed) if self.least else None
        self.built = True

    def call(self, x, training=None):
        if not training or not self.least:
            return x
        size = ops.size(x)
        draws = ops.expand_dims(self.draw((size + 3) // 4), 1)  # `view` wants to know the last axis when it compiles
        drawn = ops.reshape(ops.view(draws, "uint8"), (-1,))[:size]
        keep = ops.reshape(drawn, ops.shape(x)) >= ops.cast(self.least, "uint8")
        return x * (ops.cast(keep, x.dtype) * ops.cast(256 / (256 - self.least), x.dtype))

    def draw(self, size):
        """Random bits, int32 (size,): 0, 1, ... beside a random key, mixed so that each bit depends on all."""
        first, second = ops.unstack(keras.random.randint((2,), -(2**31), 2**31 - 1, dtype="int32", seed=self.random), 2)
        x = (ops.arange(size, dtype="int32") + first) * -1640531535
        for shift, factor in ((16, -2048144789), (13, -1028477387)):
            x = (fold(x, shift) + second) * factor
        return fold(x, 16)


def fold(x, shift):
    """x ^ (x >> shift) for the bits of an int32."""
    moved = ops.bitwise_and(ops.bitwise_right_shift(x, shift), 2 ** (32 - shift) - 1)
    return ops.bitwise_xor(x, moved)


def dot(q, k):
    """q · k for every pair: (B, N, T, H), (B, N, S, H) -> (B, N, T, S)."""
    if q.shape[0] == q.shape[2] == 1 and kernels.in_xla():  # of one query alone, for which k need not be turned
        return kernels.product_turned(q, k)
    return ops.matmul(q, ops.swapaxes(k, -1, -2))


def unknown_zero(x, dtype):
    """0, which no compiler knows to be 0: what is computed with it is not stored in an exported file."""
    return ops.cast(ops.max(x) > 1e30, dtype)


def fill(x, axis, size):
    """x with zeros at the end of an axis, up to a multiple of size."""
    widths = [(0, 0)] * len(x.shape)
    widths[axis] = (0, -ops.shape(x)[axis] % size)
    return ops.pad(x, widths)
