"""Attention in chunks is attention: the same values and the same gradients, without T x S numbers at any time."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_seq import kernels, layers
from keras_seq.layers import chunked as module
from keras_seq.layers import positions
from tests import checks
from tests.checks import array, close, normal
from tests.test_laws_sparse import largest, padded, tensor

B, T, S, N, H, CHUNK = 2, 11, 7, 3, 10, 3  # the last chunk is not full
D = N * H
POSITIONS = ["none", "rotary", {"name": "relative", "max_distance": 4}, "relative_bias", "alibi"]
every_position = pytest.mark.parametrize("position", POSITIONS, ids=lambda p: p if isinstance(p, str) else p["name"])


def twins(*inputs, **options):
    """The same attention in chunks and at once."""
    chunked = checks.shake_built(layers.MultiHeadAttention(N, chunk=CHUNK, **options), *inputs)
    plain = layers.MultiHeadAttention(N, **options)
    plain(*inputs)
    return chunked, checks.copy_weights(chunked, plain)


def slopes(layer, x, **options):
    """The gradients of x and of every weight, in order."""
    weights = layer.trainable_weights

    def with_weight(weight):
        def call(value):
            with keras.StatelessScope([(weight, value)]):
                return ops.sum(layer(x, **options) ** 2)

        return call

    of_x = checks.gradient(lambda x: layer(x, **options) ** 2, x)
    return [of_x, *(checks.gradient(with_weight(w), array(w)) for w in weights)]


@every_position
@pytest.mark.parametrize("causal", [False, True])
def test_equals_attention_at_once_in_value_and_gradient(position, causal):
    x, keep = 0.5 * tensor(B, T, D), padded(T)
    chunked, plain = twins(x, position=position)
    options = {"causal": causal, "x_mask": keep}
    close(chunked(x, **options), plain(x, **options), 1e-5)
    for found, expected in zip(slopes(chunked, x, **options), slopes(plain, x, **options), strict=True):
        size = np.abs(expected).max()
        assert size > 1e-3
        close(found / size, expected / size, 2e-5)


@pytest.mark.tensorflow
@pytest.mark.parametrize("causal", [False, True])
def test_heads_one_at_a_time_give_the_same(monkeypatch, causal):
    monkeypatch.setattr(module, "CACHED", 1)
    assert module.head_groups((B, N, CHUNK, H), CHUNK, T) == N
    test_equals_attention_at_once_in_value_and_gradient("rotary", causal)


def stand_in(q, k, v, causal):
    """What a kernel of cuDNN computes, (B, T, N, H)."""
    assert q.shape[-1] % 8 == k.shape[-1] % 8 == v.shape[-1] % 8 == 0
    q, k, v = (ops.swapaxes(x, 1, 2) for x in (q, k, v))
    sees = np.tril(np.ones((q.shape[2], k.shape[2]), bool)) if causal else None
    return ops.swapaxes(layers.attend(ops.matmul(q, ops.swapaxes(k, 2, 3)), v, sees)[0], 1, 2)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("causal", [False, True])
def test_the_kernel_of_a_gpu_is_given_what_makes_it_the_same(monkeypatch, causal, masked):
    monkeypatch.setattr(kernels, "flashes", lambda dtype, size: True)
    monkeypatch.setattr(kernels, "cudnn_attention", stand_in)
    monkeypatch.setattr(module, "in_blocks", None)  # nobody falls back on it
    x, keep = 0.5 * tensor(B, T, D), padded(T)
    keep[0], keep[1, :4] = False, False  # nothing to attend to: a whole row, and what stands at its beginning
    chunked, plain = twins(x, position="rotary", kv_heads=1)
    options = {"causal": causal, "x_mask": keep if masked else None}
    close(chunked(x, **options), plain(x, **options), 1e-5)
    for found, expected in zip(slopes(chunked, x, **options), slopes(plain, x, **options), strict=True):
        close(found, expected, 2e-5 * max(np.abs(expected).max(), 1.0))


@pytest.mark.parametrize(("position", "given"), [("alibi", False), ("none", True)])
def test_the_kernel_of_a_gpu_is_left_alone_with_what_it_cannot_do(monkeypatch, position, given):
    x, pos = tensor(B, T, D), np.stack([np.arange(T)[::-1]] * B).astype("int32")
    chunked, plain = twins(x, position=position)
    monkeypatch.setattr(kernels, "flashes", lambda dtype, size: True)
    monkeypatch.setattr(kernels, "cudnn_attention", None)
    options = {"causal": True, **({"q_pos": pos} if given else {})}
    close(chunked(x, **options), plain(x, **options), 1e-5)


@every_position
def test_positions_may_differ_by_row(position):
    x = 0.5 * tensor(B, T, D)
    chunked, plain = twins(x, position=position)
    pos = np.stack([np.arange(T), np.arange(T)[::-1]]).astype("int32")
    close(chunked(x, q_pos=pos, causal=True), plain(x, q_pos=pos, causal=True), 1e-5)
    one, other = (checks.gradient(lambda x, f=f: f(x, q_pos=pos) ** 2, x) for f in (chunked, plain))
    close(one, other, 1e-4)


def test_a_context_and_grouped_queries():
    x, context, keep = normal(B, T, D), normal(B, S, 13, seed=1), padded(S)
    options = {"head_dim": 4, "kv_heads": 2, "position": "relative_bias"}
    plain, chunked = (layers.MultiHeadAttention(6, chunk=c, **options) for c in (None, CHUNK))
    checks.shake_built(plain, x, context)
    chunked(x, context)
    checks.copy_weights(plain, chunked)
    close(chunked(x, context, context_mask=keep), plain(x, context, context_mask=keep), 1e-5)
    one, other = (checks.gradient(lambda c, f=f: f(x, c, context_mask=keep) ** 2, context) for f in (chunked, plain))
    close(one, other, 1e-4)


def test_a_row_with_nothing_to_attend_to_gives_zeros_and_no_slope():
    x, keep = normal(B, T, D), padded(T)
    keep[0] = False
    layer = checks.shake_built(layers.MultiHeadAttention(N, chunk=CHUNK, use_bias=False), x)
    y = array(layer(x, x_mask=keep))
    assert not y[0].any()
    assert y[1].any(-1).all()
    slope = checks.gradient(lambda x: layer(x, x_mask=keep), x)
    assert not slope[0].any()
    assert np.isfinite(slope).all()


def test_no_rows_and_no_tokens():
    layer = layers.MultiHeadAttention(N, chunk=CHUNK)
    layer(normal(B, T, D))
    for size in ((0, T), (B, 0)):
        assert tuple(layer(np.zeros((*size, D), "float32"), causal=True).shape) == (*size, D)


def test_weights_on_request_and_short_inputs_take_the_plain_path():
    x = normal(B, T, D)
    chunked, plain = twins(x)
    close(chunked(x, return_attention_weights=True), plain(x, return_attention_weights=True), 1e-6)
    mask = np.random.default_rng(1).random((B, CHUNK, CHUNK)) < 0.7
    close(chunked(x[:, :CHUNK], attention_mask=mask), plain(x[:, :CHUNK], attention_mask=mask), 1e-6)


def test_lengths_left_open_and_a_config_of_plain_data():
    x = normal(B, T, D)
    layer = layers.MultiHeadAttention(N, chunk=CHUNK, position="relative_bias")
    model = checks.functional_equals_eager(layer, x)
    close(model.predict(x[:, :5], verbose=0), layer(x[:, :5]))
    checks.round_trip(layers.MultiHeadAttention(N, chunk=CHUNK, position="rotary"), x)


def test_half_precision():
    x = normal(B, T, D)
    checks.half_precision(lambda dtype: layers.MultiHeadAttention(N, chunk=CHUNK, position="alibi", dtype=dtype), x)


def test_it_learns_inside_fit():
    """What `fit` compiles, on each backend in its own way, moves every weight, the trained bias too."""
    x = normal(8, T, D)
    model, twin = (
        keras.Sequential([keras.Input((None, D)), layers.MultiHeadAttention(N, chunk=chunk, position="relative_bias")])
        for chunk in (CHUNK, None)
    )
    checks.copy_weights(checks.shake(model), twin)
    before = model.get_weights()
    for each in (model, twin):
        each.compile(keras.optimizers.SGD(0.1), "mse")
        each.fit(x, x[:, ::-1], batch_size=4, shuffle=False, verbose=0)
    close(model.get_weights(), twin.get_weights(), 2e-5)
    assert all(np.abs(new - old).max() > 0 for new, old in zip(model.get_weights(), before))


@pytest.mark.tensorflow
def test_no_tensor_grows_with_the_square_of_the_length():
    import tensorflow as tf

    length = 4096
    layer = layers.MultiHeadAttention(2, chunk=64, position="alibi")
    layer.build((None, None, 8))

    def step(x, keep):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = tf.reduce_sum(layer(x, x_mask=keep, causal=True))
        return tape.gradient(y, x)

    spec = tf.TensorSpec((1, length, 8)), tf.TensorSpec((1, length), "bool")
    size = largest(tf.function(step).get_concrete_function(*spec).graph)
    assert 2 * 64 * length <= size < length**2 / 8


@pytest.mark.tensorflow
def test_xla_gives_the_same():
    import tensorflow as tf

    x = tensor(B, T, D)
    layer, _ = twins(x, position="relative_bias")

    def step(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = tf.reduce_sum(layer(x, causal=True) ** 2)
        return y, tape.gradient(y, x)

    close(tf.function(step, jit_compile=True)(x), step(x), 1e-4)


# ---------- what it says when it cannot ----------


def test_a_ready_mask_is_refused():
    with pytest.raises(ValueError, match="block by block"):
        layers.MultiHeadAttention(N, chunk=CHUNK)(normal(B, T, D), attention_mask=np.ones((B, T, T), bool))


class Mine(positions.Position):
    def bias(self, q, q_pos, k_pos):
        return ops.sum(q, axis=-1, keepdims=True)


@pytest.mark.parametrize(
    ("options", "match"),
    [({"dropout": 0.1}, "dropout"), ({"position": Mine()}, "RelativeBias"), ({"chunk": 0}, "1 or more")],
)
def test_options_that_cannot_be_say_what_can(options, match):
    with pytest.raises(ValueError, match=match):
        layers.MultiHeadAttention(N, **{"chunk": CHUNK, **options})
