"""Sparse attention is full attention with its pattern as the mask; projective attention is what its formula says."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

from keras_seq import layers
from keras_seq.layers import masks, sparse
from tests import checks
from tests.checks import arange, array, close, normal

B, T, N, H, BLOCK = 2, 23, 3, 10, 3  # H is even for rotary; the last block is not full
D = N * H

MIXED = [
    {"name": "local", "window": 2}, "global", {"name": "strided", "stride": 3, "reach": 1},
    {"name": "local", "window": 5}, {"name": "random", "count": 2, "seed": 7},
]  # fmt: skip
KINDS = {
    "local": lambda **k: layers.LocalAttention(N, window=5, block=BLOCK, **k),
    "local_wide": lambda **k: layers.LocalAttention(N, window=29, **k),
    "strided": lambda **k: layers.StridedAttention(N, block=BLOCK, stride=2, reach=1, **k),
    "random": lambda **k: layers.RandomAttention(N, block=BLOCK, count=2, seed=5, **k),
    "block_sparse": lambda **k: layers.BlockSparseAttention(N, BLOCK, MIXED, **k),
}
POSITIONS = ["none", "rotary", {"name": "relative", "max_distance": 4}, "relative_bias", "alibi"]
every_kind = pytest.mark.parametrize("kind", KINDS)


def tensor(*shape, seed=0):
    return ops.convert_to_tensor(0.5 * normal(*shape, seed=seed))


def twins(kind, x, **options):
    """A sparse layer, and full attention with the same weights."""
    sparse = checks.shake_built(KINDS[kind](**options), x)
    full = layers.MultiHeadAttention(N, **options)
    full(x)
    return sparse, checks.copy_weights(sparse, full)


def same(found, expected):
    """Equal to a millionth of the largest number."""
    size = np.abs(array(expected)).max()
    close(array(found) / size, array(expected) / size, 1e-6)


def seen(layer, length, causal=False):
    """The pattern as a numpy picture (T, T), with the future hidden where causal."""
    pattern = array(layer.pattern(arange(length), arange(length), causal))[0, 0] > 0
    return pattern & np.tri(length, dtype=bool) if causal else pattern


def padded(length):
    """A key mask (B, length) that hides a hole and the end of the first row."""
    keep = np.ones((B, length), bool)
    keep[0, length - length // 3 :] = False
    keep[0, length // 4] = False
    return keep


# ---------- sparse is full attention with a mask ----------


@pytest.mark.parametrize("position", POSITIONS, ids=lambda p: p if isinstance(p, str) else p["name"])
@every_kind
def test_equals_full_attention_with_its_pattern_as_mask(kind, position):
    x, keep = tensor(B, T, D), padded(T)
    sparse, full = twins(kind, x, position=position)
    for causal in (False, True):
        mask = np.broadcast_to(seen(sparse, T, causal), (B, T, T))
        same(sparse(x, causal=causal), full(x, attention_mask=mask))
        same(sparse(x, causal=causal, x_mask=keep), full(x, attention_mask=mask & keep[:, None]))


@every_kind
def test_weights_on_request_are_those_of_full_attention(kind):
    x, keep = tensor(B, T, D), padded(T)
    sparse, full = twins(kind, x, position="alibi")
    y, weights = sparse(x, causal=True, x_mask=keep, return_attention_weights=True)
    mask = seen(sparse, T, causal=True) & keep[:, None]
    close((y, weights), full(x, attention_mask=mask, return_attention_weights=True), 1e-5)
    close(y, sparse(x, causal=True, x_mask=keep), 1e-5)


@pytest.mark.parametrize("causal", [False, True])
def test_an_output_feels_what_its_pattern_shows(causal):
    x = tensor(1, 11, D)
    sparse, _ = twins("block_sparse", x)
    found = checks.receptive_field(lambda x: sparse(x, causal=causal), array(x))
    np.testing.assert_array_equal(found, seen(sparse, 11, causal))


@pytest.mark.parametrize("kind", ["local", "block_sparse"])
def test_gradients_equal_those_of_full_attention(kind):
    x = tensor(B, T, D)
    sparse, full = twins(kind, x, position={"name": "relative", "max_distance": 4})
    mask = np.broadcast_to(seen(sparse, T), (B, T, T))
    found = checks.gradient(lambda x: sparse(x) ** 2, x)
    close(found, checks.gradient(lambda x: full(x, attention_mask=mask) ** 2, x), 5e-5)


def test_grouped_queries_share_their_keys():
    x = tensor(B, T, 24)
    options = {"head_dim": 4, "kv_heads": 3, "position": "rotary"}
    sparse = checks.shake_built(layers.LocalAttention(6, 5, BLOCK, **options), x)
    full = layers.MultiHeadAttention(6, **options)
    full(x)
    close(sparse(x), checks.copy_weights(sparse, full)(x, attention_mask=np.broadcast_to(seen(sparse, T), (B, T, T))))


def test_positions_may_differ_by_row():
    x, pos = tensor(B, T, D), np.concatenate([arange(T), arange(T)])
    for position in POSITIONS[1:]:
        sparse, _ = twins("local", x, position=position)
        close(sparse(x, q_pos=pos), sparse(x), 1e-5)


def test_a_row_with_nothing_to_attend_to_gives_zeros():
    x, keep = tensor(B, T, D), padded(T)
    keep[0] = False
    for kind in KINDS:
        sparse = checks.shake_built(KINDS[kind](use_bias=False), x)
        y = array(sparse(x, x_mask=keep))
        assert not y[0].any()
        assert y[1].any(-1).all()


@pytest.mark.parametrize("kind", KINDS)
def test_no_rows_and_no_tokens(kind):
    layer = KINDS[kind]()
    layer(tensor(B, T, D))
    for size in ((0, T), (B, 0)):
        keep = np.ones(size, bool)
        assert tuple(layer(np.zeros((*size, D), "float32"), x_mask=keep).shape) == (*size, D)


@given(st.integers(1, 17), st.integers(2, 7), st.integers(1, 11), st.booleans())
def test_any_length_any_block_any_window(length, block, window, causal):
    """In numbers: with q = k = 0 and values that are one-hot, outputs are the weights, uniform over what is seen."""
    layer = layers.LocalAttention(1, window, block)
    zero, values = np.zeros((1, 1, length, length), "float32"), np.eye(length, dtype="float32")[None, None]
    y = layer.attend_blocks(zero, {"k": zero, "v": values}, layer.make_mask(None, None, None, causal), arange(length))
    i, j = np.indices((length, length))
    sees = (abs(i - j) < window) & ((j <= i) | (not causal))
    close(y, (sees / sees.sum(-1, keepdims=True))[None, None].astype("float32"))


# ---------- the patterns ----------


def test_patterns_are_what_they_are_called():
    i, j = np.indices((T, T))
    steps = i // BLOCK - j // BLOCK
    np.testing.assert_array_equal(seen(KINDS["local"](), T), abs(i - j) < 5)
    np.testing.assert_array_equal(seen(KINDS["strided"](), T), (steps % 2 == 0) & (abs(steps) <= 2))
    first = layers.BlockSparseAttention(N, BLOCK, [{"name": "global", "count": 2}])
    np.testing.assert_array_equal(seen(first, T), j < 2 * BLOCK)


def test_random_blocks_are_whole_and_fixed_by_the_seed():
    one, same, other = (layers.RandomAttention(N, BLOCK, count=2, seed=s) for s in (5, 5, 6))
    picture = seen(one, 24)
    np.testing.assert_array_equal(picture, seen(same, 24))
    assert (picture != seen(other, 24)).any()
    blocks = picture.reshape(8, BLOCK, 8, BLOCK)
    assert (blocks == blocks[:, :1, :, :1]).all()
    assert set(blocks[:, 0, :, 0].sum(-1).tolist()) <= {1, 2}
    past = array(sparse.random(8, BLOCK, True, count=9))
    assert all(set(row) == set(range(i + 1)) for i, row in enumerate(past[:3].tolist()))


def test_a_longer_sequence_changes_no_causal_pattern():
    """What a decoder with a cache needs: the past does not depend on what is to come."""
    for make in KINDS.values():
        np.testing.assert_array_equal(seen(make(), T, True), seen(make(), 2 * T, True)[:T, :T])


def test_a_composition_is_the_union_of_its_patterns():
    for causal in (False, True):
        parts = [seen(layers.BlockSparseAttention(N, BLOCK, [p]), T, causal) for p in MIXED]
        np.testing.assert_array_equal(seen(KINDS["block_sparse"](), T, causal), np.any(parts, axis=0))


def test_no_block_is_there_twice():
    for make in KINDS.values():
        index, windows = make().blocks(8)
        for row in array(index).tolist():
            real = [i for i in row if i >= 0]
            assert len(set(real)) == len(real)
            assert set(real) <= set(range(8))
        assert index.shape == (8, len(windows))


# ---------- as a layer ----------


@every_kind
def test_lengths_left_open_and_a_config_of_plain_data(kind):
    x = normal(B, T, D)
    layer = KINDS[kind](position="relative_bias")
    model = checks.functional_equals_eager(layer, x)
    close(model.predict(x[:, :7], verbose=0), layer(x[:, :7]))
    checks.round_trip(KINDS[kind](position="rotary"), x)


def test_half_precision():
    x = normal(B, T, D)
    checks.half_precision(lambda dtype: KINDS["block_sparse"](dtype=dtype, position="alibi"), x)
    checks.half_precision(lambda dtype: layers.ProjectiveAttention(N, 5, 29, 7, dtype=dtype), x, tolerance=0.2)


ATTENTIONS = {
    "local": {"name": "local", "window": 4, "block": 3},
    "block_sparse": {"name": "block_sparse", "block": 2, "patterns": ["local", "random", "global"]},
    "chunked": {"name": "multi_head", "chunk": 3},
}


CASES = [(name, "rotary") for name in ATTENTIONS] + [("local", p) for p in layers.positions.POSITIONS if p != "rotary"]
every_case = pytest.mark.parametrize(("name", "position"), CASES, ids=["_".join(case) for case in CASES])


@every_case
def test_a_decoder_in_steps_equals_the_whole(name, position):
    decoder = layers.TransformerDecoder(2, 3, 13, position, max_length=13, attention=ATTENTIONS[name])
    x, context = normal(B, 11, 12), normal(B, 5, 12, seed=1)
    checks.a_decoder_in_steps_equals_the_whole(decoder, x, context, [1, 2, 7], length=13)
    checks.plain_config(decoder)


@every_case
def test_an_encoder_takes_a_kind_of_attention(name, position):
    x, keep = tensor(B, 11, 12), padded(11)
    encoder = layers.TransformerEncoder(2, 3, 13, position, max_length=13, attention=ATTENTIONS[name])
    y = checks.shake_built(encoder, x)(x, x_mask=keep)
    again, weights = encoder(x, x_mask=keep, return_attention_weights=True)
    close(y, again, 2e-5)
    assert [w.shape for w in weights] == [(B, 3, 11, 11)] * 2
    full = layers.TransformerEncoder(2, 3, 13, position, max_length=13)
    full(x)
    mask = np.broadcast_to(keep[:, None], (B, 11, 11))
    if name != "chunked":
        mask = mask & seen(encoder.blocks[0].self_attention, 11)
    close(y, checks.copy_weights(encoder, full)(x, attention_mask=mask), 2e-5)


def test_a_block_by_itself_takes_a_kind_of_attention():
    x, keep = tensor(B, 11, 12), padded(11)
    block = layers.Block(3, 13, attention=ATTENTIONS["local"])
    y = checks.shake_built(block, x)(x, causal=True, x_mask=keep)
    again, weights = block(x, causal=True, x_mask=keep, return_attention_weights=True)
    close(y, again, 1e-5)
    sees = seen(block.self_attention, 11, causal=True) & keep[:, None]
    np.testing.assert_array_equal(array(weights["self"])[:, 0] > 0, sees)


def largest(graph):
    """Numbers in the largest tensor of a TensorFlow graph and of the functions it calls."""
    sizes = [out.shape.num_elements() or 0 for op in graph.get_operations() for out in op.outputs]
    inside = [largest(f.graph if hasattr(f, "graph") else f) for f in getattr(graph, "_functions", {}).values()]
    return max(sizes + [size for size in inside if size])


LINEAR = {
    "local": {"window": 4},
    "strided": {"stride": 2, "reach": 1},
    "random": {"count": 2},
    "block_sparse": {"patterns": ["local", "random", "global"]},
}


@pytest.mark.tensorflow
@pytest.mark.parametrize("name", LINEAR)
def test_no_tensor_grows_with_the_square_of_the_length(name):
    import tensorflow as tf

    length = 4096
    attention = {"name": name, "block": 32, **LINEAR[name]}
    encoder = layers.TransformerEncoder(1, 2, 8, position="relative_bias", attention=attention)
    encoder.build((None, None, 8))

    def step(x, keep):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = tf.reduce_sum(encoder(x, x_mask=keep))
        return tape.gradient(y, x)

    spec = tf.TensorSpec((1, length, 8)), tf.TensorSpec((1, length), "bool")
    assert largest(tf.function(step).get_concrete_function(*spec).graph) < length**2 / 8


# ---------- what it says when it cannot ----------


def test_a_ready_mask_is_refused():
    x, mask = tensor(B, T, D), np.ones((B, T, T), bool)
    with pytest.raises(ValueError, match="block by block"):
        KINDS["local"]()(x, attention_mask=mask)
    with pytest.raises(ValueError, match="block by block"):
        layers.Block(N, 7, attention={"name": "local", "window": 3})(x, attention_mask=mask)
    with pytest.raises(ValueError, match="block by block"):
        layers.ProjectiveAttention(N, slots=5, max_length=29)(x, attention_mask=mask)


def test_a_context_is_refused():
    with pytest.raises(ValueError, match="self-attention"):
        KINDS["local"]()(tensor(B, T, D), tensor(B, 5, D))


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: layers.BlockSparseAttention(N, 3, ["diagonal"]), "strided"),
        (lambda: layers.LocalAttention(N, 0), "window"),
        (lambda: layers.RandomAttention(N, 0), "block"),
        (lambda: layers.LocalAttention(N, 3, chunk=5), "chunk"),
        (lambda: layers.TransformerEncoder(1, N, 7, attention="near"), "block_sparse"),
        (lambda: layers.ProjectiveAttention(N), "slots"),
        (lambda: layers.ProjectiveAttention(N, slots=5), "max_length"),
        (lambda: layers.ProjectiveAttention(N, slots=0, max_length=7), "slots"),
        (lambda: layers.ProjectiveAttention(N, slots=5, max_length=0), "max_length"),
        (lambda: layers.ProjectiveAttention(N, features=0), "features"),
        (lambda: layers.ProjectiveAttention(N, slots=5, max_length=7, position="alibi"), "position"),
    ],
)
def test_options_that_cannot_be_say_what_can(make, match):
    with pytest.raises(ValueError, match=match):
        make()


# ---------- projective ----------


def test_slots_are_mixtures_of_keys_and_values():
    x, keep, slots = tensor(B, T, D), padded(T), 5
    layer = layers.ProjectiveAttention(N, slots=slots, max_length=29, position="rotary")
    y, weights = checks.shake_built(layer, x)(x, x_mask=keep, return_attention_weights=True)
    q, kv = layer.heads(x, masks.positions(T))
    k, v = (
        np.einsum("bmsh,sr->bmrh", array(kv[name]) * keep[:, None, :, None], array(matrix)[:T])
        for name, matrix in (("k", layer.of_keys), ("v", layer.of_values))
    )
    heads, expected = checks.attention_in_numpy(array(q) @ k.swapaxes(2, 3), v)
    close(weights, expected)
    close(y, layer.output(ops.convert_to_tensor(heads)), 1e-4)


def test_masked_keys_are_in_no_slot():
    x, keep = tensor(B, T, D), padded(T)
    layer = checks.shake_built(layers.ProjectiveAttention(N, slots=5, max_length=29), x)
    other = ops.where(keep[:, :, None], x, 100.0)
    close(array(layer(x, x_mask=keep))[keep], array(layer(other, x_mask=keep))[keep], 1e-6)


def test_slots_on_a_context_of_open_length():
    x, context = normal(B, 5, D), normal(B, 7, D, seed=1)
    checks.functional_equals_eager(layers.ProjectiveAttention(N, slots=3, max_length=97, kv_heads=1), x, context)
    checks.round_trip(layers.ProjectiveAttention(N, slots=3, max_length=11, features=2), x, context)


def test_features_are_products_in_fewer_dimensions():
    x, few = tensor(B, T, D), 7
    layer = layers.ProjectiveAttention(N, features=few, position="alibi")
    y, weights = checks.shake_built(layer, x)(x, causal=True, return_attention_weights=True)
    q, kv = layer.heads(x, masks.positions(T))
    q, k = array(q) * H**0.5 @ array(layer.query_features), array(kv["k"]) @ array(layer.key_features)
    bias = array(layer.position.bias(None, arange(T), arange(T)))
    scores = q @ k.swapaxes(2, 3) / few**0.5 + bias
    heads, expected = checks.attention_in_numpy(scores, array(kv["v"]), np.tri(T, dtype=bool))
    close(weights, expected, 1e-4)
    close(y, layer.output(ops.convert_to_tensor(heads.astype("float32"))), 1e-4)


def test_features_as_many_as_the_head_and_no_turn_is_multi_head_attention():
    x = tensor(B, T, D)
    layer = layers.ProjectiveAttention(N, features=H)
    full = layers.MultiHeadAttention(N)
    full(x)
    for weight in checks.shake_built(layer, x)._trainable_variables:
        weight.assign(np.broadcast_to(np.eye(H, dtype="float32"), (N, H, H)))
    full.set_weights([w for w in layer.get_weights() if w.shape != (N, H, H)])
    close(layer(x, causal=True), full(x, causal=True))


def test_slots_have_no_future_and_an_end():
    layer = layers.ProjectiveAttention(N, slots=3, max_length=11)
    with pytest.raises(ValueError, match="mixes all positions"):
        layer(tensor(B, 7, D), causal=True)
    with pytest.raises(ValueError, match="max_length"):
        layers.ProjectiveAttention(N, slots=3, max_length=11)(tensor(B, 13, D))
    decoder = layers.TransformerDecoder(1, N, 7, attention={"name": "projective", "slots": 3, "max_length": 11})
    with pytest.raises(ValueError, match="mixes all positions"):
        decoder(tensor(B, 7, D), tensor(B, 5, D))


def test_an_encoder_of_slots():
    x = tensor(B, 7, D)
    encoder = layers.TransformerEncoder(1, N, 7, attention={"name": "projective", "slots": 3, "max_length": 11})
    assert keras.ops.shape(encoder(x)) == (B, 7, D)
