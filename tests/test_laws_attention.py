"""Law 2: attention is softmax(scores) values, sees what its mask allows and nothing else, and equals its references."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

from keras_seq import layers
from keras_seq.layers import attend, attention_mask
from tests import checks
from tests.checks import arange, array, close, normal

B, T, S, N, H = 2, 5, 7, 3, 22  # H is even for rotary, and twice a prime
D = N * H

KINDS = {
    "multi_head": lambda **k: layers.MultiHeadAttention(N, **k),
    "multi_head_no_bias": lambda **k: layers.MultiHeadAttention(N, head_dim=13, use_bias=False, **k),
    "grouped_query": lambda **k: layers.MultiHeadAttention(6, head_dim=11, kv_heads=N, **k),
    "rotary": lambda **k: layers.MultiHeadAttention(N, position="rotary", **k),
    "relative": lambda **k: layers.MultiHeadAttention(N, position={"name": "relative", "max_distance": 3}, **k),
    "relative_bias": lambda **k: layers.MultiHeadAttention(N, position="relative_bias", **k),
    "alibi": lambda **k: layers.MultiHeadAttention(N, position="alibi", **k),
    "additive": lambda **k: layers.AdditiveAttention(17, **k),
    "additive_alibi": lambda **k: layers.AdditiveAttention(17, position="alibi", **k),
    "dot": lambda **k: layers.DotProductAttention("dot", **k),
    "scaled_dot": lambda **k: layers.DotProductAttention("scaled_dot", **k),
    "general": lambda **k: layers.DotProductAttention("general", **k),
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def tensors(scale=0.3):
    """x (B, T, D) and context (B, S, D)."""
    return ops.convert_to_tensor(scale * normal(B, T, D)), ops.convert_to_tensor(scale * normal(B, S, D, seed=1))


def built(kind, *inputs, **options):
    return checks.shake_built(KINDS[kind](**options), *inputs)


def some_mask(seed=3):
    """A mask (B, T, S) in which every query sees something and no row is like another."""
    mask = np.random.default_rng(seed).random((B, T, S)) < 0.5
    mask[:, :, 0] |= ~mask.any(-1)
    return mask


# ---------- the core ----------


def test_attend_equals_six_lines_of_numpy():
    scores, values, bias = normal(B, N, T, S), normal(B, N, S, H, seed=1), normal(1, N, T, S, seed=2)
    mask = some_mask()[:, None]
    found = attend(ops.convert_to_tensor(scores), ops.convert_to_tensor(values), mask, bias)
    close(found, checks.attention_in_numpy(scores + bias, values, mask))


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_row_with_nothing_to_attend_to_gives_zeros(dtype):
    scores, values = (ops.cast(x, dtype) for x in (300 * normal(B, N, T, S), normal(B, N, S, H, seed=1)))
    mask = some_mask()[:, None]
    mask[:, :, 2] = False
    y, weights = attend(scores, values, mask)
    assert {keras.backend.standardize_dtype(x.dtype) for x in (y, weights)} == {dtype}
    y, weights = array(y), array(weights)
    assert np.isfinite(y).all()
    assert not y[:, :, 2].any()
    assert not weights[:, :, 2].any()
    assert (np.abs(y).max(-1) > 0)[:, :, [0, 1, 3, 4]].all()


ROUNDING = {"float32": 1e-5, "bfloat16": 3e-2, "float16": 4e-3}
size = st.integers(1, 7)


@given(size, size, size, size, size, st.sampled_from(list(ROUNDING)), st.floats(0, 1), st.sampled_from([1, 30]))
def test_attend_is_the_formula_for_any_shape_mask_and_dtype(batch, n, t, s, h, dtype, share, scale):
    """Also where rows of the mask are empty, and where scores lie so far apart that one key takes all."""
    scores, values = (ops.cast(normal(batch, n, *shape), dtype) for shape in ((t, s), (s, h)))
    scores, mask = scores * scale, np.random.default_rng(t).random((batch, 1, t, s)) < share
    expected = checks.attention_in_numpy(array(scores).astype("float64"), array(values).astype("float64"), mask)
    found = attend(scores, values, mask)
    assert {keras.backend.standardize_dtype(x.dtype) for x in found} == {dtype}
    close(found, expected, ROUNDING[dtype])
    assert not array(found[0])[~np.broadcast_to(mask.any(-1), (batch, n, t))].any()


@given(size, size, size, st.booleans(), st.none() | size, st.booleans(), st.integers(0, 9))
def test_masks_are_all_of_their_rules(batch, t, s, causal, window, padded, start):
    q_pos, k_pos = arange(t, start), arange(s)
    keep = np.random.default_rng(s).random((batch, s)) < 0.6 if padded else None
    i, j = q_pos[0][:, None], k_pos[0]
    expected = (j <= i) | (not causal)
    expected = expected & (abs(i - j) < (window or 99)) & (True if keep is None else keep[:, None, None])
    expected = np.broadcast_to(expected, (batch, 1, t, s))
    found = attention_mask(q_pos, k_pos, keep, causal, window)
    assert (found is None) == (not causal and window is None and keep is None)
    found = np.broadcast_to(True if found is None else array(found), expected.shape)
    np.testing.assert_array_equal(found, expected)


def test_an_empty_row_has_no_gradient_and_no_nan():
    values, mask = ops.convert_to_tensor(normal(B, N, S, H)), some_mask()[:, None]
    mask[:, :, 2] = False
    slope = checks.gradient(lambda scores: attend(scores, values, mask)[0], normal(B, N, T, S))
    assert np.isfinite(slope).all()
    assert not slope[:, :, 2].any()
    assert not slope[~np.broadcast_to(mask, slope.shape)].any()


@pytest.mark.parametrize("floatx", ["float16", "float64"])
def test_the_softmax_is_as_wide_as_the_scores_whatever_keras_takes_for_floats(floatx):
    """An empty row has no NaN in its gradient, although in float16 the number of a masked score is not finite."""
    scores, values, mask = normal(B, N, T, S), ops.convert_to_tensor(normal(B, N, S, H)), some_mask()[:, None]
    mask[:, :, 2] = False
    expected = checks.gradient(lambda scores: attend(scores, values, mask)[0], scores)
    keras.config.set_floatx(floatx)
    try:
        close(checks.gradient(lambda scores: attend(scores, values, mask)[0], scores), expected, 1e-6)
    finally:
        keras.config.set_floatx("float32")


@pytest.mark.tensorflow  # elsewhere float64 is float32 in places of Keras
def test_attention_in_float64_is_exact():
    x = np.random.default_rng(0).normal(size=(B, T, 8))
    layer = layers.MultiHeadAttention(2, position="relative_bias", dtype="float64")
    y = checks.shake_built(layer, x)(x, causal=True)
    q, kv = (keras.tree.map_structure(ops.convert_to_numpy, part) for part in layer.heads(ops.convert_to_tensor(x)))
    bias = ops.convert_to_numpy(layer.position.bias(None, arange(T), arange(T)))
    scores = q @ kv["k"].swapaxes(2, 3) + bias
    heads, _ = checks.attention_in_numpy(scores, kv["v"], np.tri(T, dtype=bool))
    kernel, bias = map(ops.convert_to_numpy, layer.out.weights)
    expected = heads.swapaxes(1, 2).reshape(B, T, 8) @ kernel + bias
    np.testing.assert_allclose(ops.convert_to_numpy(y), expected, rtol=1e-12)


# ---------- every kind ----------


@every_kind
def test_equals_numpy_on_the_same_scores(kind):
    x, context = tensors()
    layer, mask = built(kind, x, context), some_mask()
    y, weights = layer(x, context, attention_mask=mask, return_attention_weights=True)
    q, kv = layer.query(x, arange(T)), layer.project(context, arange(S))
    bias = layer.position.bias(q, arange(T), arange(S))
    share = q.shape[1] // kv["k"].shape[1]
    k, v = (np.repeat(array(kv[name]), share, axis=1) for name in ("k", "v"))
    scores = array(layer.scores(q, ops.convert_to_tensor(k))) + (0 if bias is None else array(bias))
    heads, expected = checks.attention_in_numpy(scores, v, mask[:, None])
    close(weights, expected)
    close(y, layer.output(ops.convert_to_tensor(heads.astype("float32"))))


@every_kind
def test_weights_sum_to_one_where_they_may_be(kind):
    x, context = tensors()
    mask = some_mask()
    _, weights = built(kind, x, context)(x, context, attention_mask=mask, return_attention_weights=True)
    weights = array(weights)
    close(weights.sum(-1), np.ones(weights.shape[:3]))
    assert not weights[~np.broadcast_to(mask[:, None], weights.shape)].any()


@every_kind
def test_values_at_masked_keys_do_not_matter(kind):
    x, context = tensors()
    layer, keep = built(kind, x, context), np.arange(S) % 3 != 1
    other = ops.where(keep[:, None], context, ops.convert_to_tensor(1e3 * normal(B, S, D, seed=5)))
    mask = np.broadcast_to(keep, (B, T, S))
    np.testing.assert_array_equal(*(array(layer(x, c, attention_mask=mask)) for c in (context, other)))


@every_kind
def test_an_output_feels_an_input_if_and_only_if_it_may_see_it(kind):
    x, context = tensors()
    layer, mask = built(kind, x, context), some_mask()
    mask[:] = mask[:1]  # one picture for the batch
    mask[:, 3] = False
    found = checks.receptive_field(lambda c: layer(x, c, attention_mask=mask), array(context))
    np.testing.assert_array_equal(found[[0, 1, 2, 4]], mask[0, [0, 1, 2, 4]])
    assert not found[3].any()


@every_kind
def test_causal_self_attention_feels_the_past_only(kind):
    x, _ = tensors()
    layer = built(kind, x)
    found = checks.receptive_field(lambda x: layer(x, causal=True), array(x))
    np.testing.assert_array_equal(found, np.tri(T, dtype=bool))


@every_kind
def test_a_key_mask_an_attention_mask_and_a_keras_mask_say_the_same(kind):
    x, _ = tensors()
    layer, keep = built(kind, x), np.array([[True] * 3 + [False] * 2, [True] * 5])
    expected = array(layer(x, attention_mask=np.repeat(keep[:, None], T, axis=1)))
    close(layer(x, x_mask=keep), expected, 1e-6)
    marked = keras.layers.Masking()(ops.where(keep[:, :, None], x, 0.0))
    close(array(layer(marked))[keep], expected[keep], 1e-6)


@every_kind
def test_a_context_of_its_own_positions(kind):
    """Moving queries and keys together changes nothing, whatever the encoding: all of them here see distances."""
    x, context = tensors()
    layer = built(kind, x, context)
    close(layer(x, context, q_pos=arange(T, 4), k_pos=arange(S, 4)), layer(x, context), 5e-5)


# ---------- masks ----------


def test_masks_are_functions_of_positions():
    q_pos, k_pos = arange(T, 2), arange(S)
    i, j = q_pos[0][:, None], k_pos[0][None]
    keep = np.array([[True] * 4 + [False] * 3, [True] * 7])
    assert attention_mask(q_pos, k_pos) is None
    np.testing.assert_array_equal(array(attention_mask(q_pos, k_pos, causal=True))[0, 0], j <= i)
    np.testing.assert_array_equal(array(attention_mask(q_pos, k_pos, window=3))[0, 0], abs(i - j) < 3)
    both = array(attention_mask(q_pos, k_pos, keep, causal=True, window=3))[:, 0]
    np.testing.assert_array_equal(both, (j <= i) & (abs(i - j) < 3) & keep[:, None])


def test_padding_mask_is_false_at_padding():
    np.testing.assert_array_equal(array(layers.padding_mask(np.array([[5, 0, 7]]))), [[True, False, True]])


# ---------- against Keras, with copied weights ----------


def test_equals_keras_multi_head_attention_on_a_context():
    x, context = tensors()
    theirs = keras.layers.MultiHeadAttention(N, H, value_dim=H)
    theirs(x, context)
    checks.shake(theirs)
    q, qb, k, kb, v, vb, o, ob = theirs.get_weights()
    ours = layers.MultiHeadAttention(N)
    ours(x, context)
    flat = [w.reshape(D, -1) for w in (q, k, v)]
    biases = [b.ravel() for b in (qb, kb, vb)]
    set_named(ours, query=(flat[0], biases[0]), key_value=pair(flat[1:], biases[1:]), out=(o.reshape(D, D), ob))
    mask = some_mask()
    close(
        ours(x, context, attention_mask=mask, return_attention_weights=True),
        theirs(x, context, attention_mask=mask, return_attention_scores=True),
    )


@pytest.mark.parametrize("is_causal", [False, True])
def test_equals_keras_multi_head_self_attention(is_causal):
    x, _ = tensors()
    theirs = keras.layers.MultiHeadAttention(N, H)
    theirs(x, x)
    checks.shake(theirs)
    q, qb, k, kb, v, vb, o, ob = theirs.get_weights()
    ours = layers.MultiHeadAttention(N)
    ours(x)
    fused = pair([w.reshape(D, -1) for w in (q, k, v)], [b.ravel() for b in (qb, kb, vb)])
    set_named(ours, query_key_value=fused, out=(o.reshape(D, D), ob))
    close(ours(x, causal=is_causal), theirs(x, x, use_causal_mask=is_causal))


def test_equals_keras_grouped_query_attention():
    x, context = tensors()
    theirs = keras.layers.GroupQueryAttention(head_dim=11, num_query_heads=6, num_key_value_heads=N)
    theirs(x, context)
    checks.shake(theirs)
    q, qb, k, kb, v, vb, o, ob = theirs.get_weights()
    ours = layers.MultiHeadAttention(6, head_dim=11, kv_heads=N)
    ours(x, context)
    key_value = pair([w.reshape(D, -1) for w in (k, v)], [b.ravel() for b in (kb, vb)])
    set_named(ours, query=(q.reshape(D, -1), qb.ravel()), key_value=key_value, out=(o.reshape(-1, D), ob))
    mask = some_mask()
    close(ours(x, context, attention_mask=mask), theirs(x, context, attention_mask=mask))


def test_equals_keras_additive_attention():
    x, context = tensors()
    theirs = keras.layers.AdditiveAttention()
    theirs([x, context])
    checks.shake(theirs)
    ours = layers.AdditiveAttention(D)
    ours(x, context)
    same = np.eye(D, dtype="float32")
    ours.v.assign(theirs.get_weights()[0])
    set_named(ours, query=(same,), key=(same, np.zeros(D)))
    keep = np.array([[True] * 4 + [False] * 3, [True] * 7])
    close(ours(x, context, context_mask=keep), theirs([x, context], mask=[None, ops.convert_to_tensor(keep)]))


def test_equals_keras_dot_product_attention():
    x, context = tensors()
    ours, theirs = layers.DotProductAttention("dot"), keras.layers.Attention()
    keep = np.array([[True] * 4 + [False] * 3, [True] * 7])
    close(ours(x, context, context_mask=keep), theirs([x, context], mask=[None, ops.convert_to_tensor(keep)]))
    close(ours(x, causal=True), theirs([x, x], use_causal_mask=True))


def test_a_position_shifts_the_scores_of_multi_head_attention():
    """With ALiBi the scores are those without it, less the slope times the distance."""
    x, context = tensors()
    plain, biased = built("multi_head", x, context), built("alibi", x, context)
    checks.copy_weights(plain, biased)
    _, weights = biased(x, context, return_attention_weights=True)
    away = np.abs(np.subtract.outer(np.arange(T), np.arange(S)))
    bias = -np.array(layers.positions.alibi_slopes(N))[:, None, None] * away
    scores = array(plain.scores(plain.query(x), plain.project(context)["k"]))
    close(weights, checks.attention_in_numpy(scores + bias, np.zeros((B, N, S, 1)))[1])


def set_named(layer, **weights):
    """Sets the weights of sublayers by the sublayers' names."""
    found = {sublayer.name: sublayer for sublayer in layer._flatten_layers()}
    for name, values in weights.items():
        found[name].set_weights([np.asarray(value, "float32") for value in values])


def pair(kernels, biases):
    """Kernels and biases side by side, as one fused projection has them."""
    return np.concatenate(kernels, axis=1), np.concatenate(biases)


# ---------- what it says when it cannot ----------


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="multiple of num_heads"):
        layers.MultiHeadAttention(5)(normal(B, T, D))


def test_key_heads_must_divide_the_heads():
    with pytest.raises(ValueError, match="multiple of kv_heads"):
        layers.MultiHeadAttention(6, kv_heads=4)


def test_dot_product_needs_one_width():
    with pytest.raises(ValueError, match="general"):
        layers.DotProductAttention()(normal(B, T, D), normal(B, S, 13))
    assert layers.DotProductAttention("general")(normal(B, T, D), normal(B, S, 13)).shape == (B, T, 13)


def test_an_unknown_score_says_which_are_known():
    with pytest.raises(ValueError, match="scaled_dot"):
        layers.DotProductAttention("cosine")


def test_self_attention_refuses_a_context():
    x, context = tensors()
    layer = layers.MultiHeadAttention(N)
    layer(x)
    with pytest.raises(ValueError, match="context in its first call"):
        layer(x, context)
