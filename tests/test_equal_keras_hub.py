"""Equal to keras_hub with copied weights, masks and caches: position encodings, Transformer encoder and decoder."""

import keras
import keras_hub
import numpy as np
import pytest

from benchmarks._keras_peers import copy_block
from keras_seq import layers
from keras_seq.layers import positions
from tests import checks
from tests.checks import arange, array, close, normal

pytestmark = pytest.mark.tensorflow

B, T, S, N, H, F, L = 2, 5, 7, 3, 22, 13, 2
D = N * H
KEEP_X = np.array([[True] * 3 + [False] * 2, [True] * T])
KEEP = np.array([[True] * 4 + [False] * 3, [True] * S])


# ---------- positions ----------


@pytest.mark.parametrize("dim", [7, 26])
def test_sinusoidal(dim):
    x = normal(B, T, dim)
    ours, theirs = positions.Sinusoidal(base=977.0), keras_hub.layers.SinePositionEncoding(max_wavelength=977)
    close(ours.add(x, arange(T, 11)), x + theirs(x, start_index=11))


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_rotary(scale):
    x, pos = normal(B, N, T, H), np.array([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]], "int32")
    theirs = keras_hub.layers.RotaryEmbedding(max_wavelength=977, scaling_factor=scale, sequence_axis=2)
    ours = positions.Rotary(base=977.0, scale=scale)
    close(ours.rotate(x, arange(T, 11)), theirs(x, start_index=11))
    close(ours.rotate(x, pos), theirs(x, positions=pos))


@pytest.mark.parametrize("num_heads", [3, 8, 11])
def test_alibi(num_heads):
    """Theirs counts from the last key, ours from the query: in a causal row a number that the softmax ignores."""
    ours, theirs = positions.ALiBi(), keras_hub.layers.AlibiBias()
    ours.build((None, None, D), num_heads=num_heads, head_dim=H)
    scores, zeros = normal(B, num_heads, T, T), np.zeros((B, num_heads, T, T), "float32")
    bias = array(ours.bias(None, arange(T), arange(T)))
    close(bias[:, :, -1], array(theirs(zeros))[:1, :, -1])  # the last query is where theirs counts from
    causal = np.tri(T, dtype=bool)
    weights = layers.attend(scores, zeros, causal, bias)[1]
    close(weights, keras.ops.softmax(np.where(causal, theirs(scores), -1e9), axis=-1))


# ---------- Transformers ----------


def stacks(kind, norm_first, activation, *shapes):
    """L layers of keras_hub, the normalisation that follows pre-norm layers, and our stack with the same weights."""
    theirs = [
        getattr(keras_hub.layers, kind)(F, N, activation=activation, normalize_first=norm_first) for _ in range(L)
    ]
    ours = getattr(layers, kind)(
        L, N, F, position=None, activation=activation, norm_first=norm_first, epsilon=1e-5
    )  # fmt: skip
    ours.build(*shapes)
    for i, (a, b) in enumerate(zip(theirs, ours.blocks)):
        a.build(*shapes)
        copy_block(checks.shake(a, seed=i), b)
    return theirs, (lambda x: x) if ours.norm is None else ours.norm, ours


every_form = pytest.mark.parametrize(("norm_first", "activation"), [(True, "gelu"), (False, "relu")])


@every_form
def test_transformer_encoder(norm_first, activation):
    x = 0.5 * normal(B, T, D)
    theirs, norm, ours = stacks("TransformerEncoder", norm_first, activation, (None, None, D))
    sees = np.random.default_rng(2).random((B, T, T)) < 0.6
    sees |= np.eye(T, dtype=bool)
    sees[:, :, 0] = True  # every row sees a token that is no padding
    y, maps = x, []
    for layer in theirs:
        y, weights = layer(y, padding_mask=KEEP_X, attention_mask=sees, return_attention_scores=True)
        maps.append(array(weights).transpose(0, 2, 1, 3)[KEEP_X])
    found, found_maps = ours(x, attention_mask=sees, x_mask=KEEP_X, return_attention_weights=True)
    close(array(found)[KEEP_X], array(norm(y))[KEEP_X], 2e-5)
    close([array(weights).transpose(0, 2, 1, 3)[KEEP_X] for weights in found_maps], maps, 2e-5)


@every_form
def test_transformer_decoder_and_its_cache(norm_first, activation):
    """At once, and token by token with caches, whose contents are equal too."""
    x, context = 0.5 * normal(B, T, D), 0.5 * normal(B, S, D, seed=1)
    theirs, norm, ours = stacks("TransformerDecoder", norm_first, activation, (None, None, D), (None, None, D))
    y = x
    for layer in theirs:
        y = layer(y, context, encoder_padding_mask=KEEP)
    whole = array(norm(y))
    close(ours(x, context, context_mask=KEEP), whole, 2e-5)

    memory, state = ours.start(context, KEEP, length=T)
    caches = [[np.zeros((B, 2, T, N, H), "float32"), np.zeros((B, 2, S, N, H), "float32")] for _ in theirs]
    for t in range(T):
        y = x[:, t : t + 1]
        for layer, cache in zip(theirs, caches):
            y, *cache[:] = layer(
                y, context, encoder_padding_mask=KEEP, self_attention_cache=cache[0],
                self_attention_cache_update_index=t, cross_attention_cache=cache[1],
                cross_attention_cache_update_index=None if t else 0,
            )  # fmt: skip
        found, state = ours.step(x[:, t : t + 1], t, memory, state)
        close(found, norm(y), 2e-5)
        close(array(found)[:, 0], whole[:, t], 2e-5)
    for cache, own, shared in zip(caches, state, memory["kv"]):
        for kv, theirs_kv in zip((own, shared), cache):
            close([kv["k"], kv["v"]], [array(theirs_kv)[:, i].transpose(0, 2, 1, 3) for i in range(2)], 2e-5)
