"""Equal to the references with copied weights, masks and all: Keras' attention and recurrent layers, torch's blocks.

The references in keras_hub are in test_equal_keras_hub.py, more of Keras' attention in test_laws_attention.py.
"""

import keras
import numpy as np
import pytest
from keras import ops

from keras_seq import layers
from keras_seq.layers import positions
from keras_seq.layers.recurrent import CELLS
from tests import checks
from tests.checks import array, close, normal

B, T, S, N, H, F = 2, 5, 7, 3, 11, 13
D = N * H
KEEP_X = np.array([[True] * 3 + [False] * 2, [True] * T])
KEEP = np.array([[True] * 4 + [False] * 3, [True] * S])
CAUSAL = np.tri(T, dtype=bool)


def tensors():
    """x (B, T, D) and context (B, S, D)."""
    return ops.convert_to_tensor(0.5 * normal(B, T, D)), ops.convert_to_tensor(0.5 * normal(B, S, D, seed=1))


def masked(x, keep):
    """x with a Keras mask: zeros where `keep` is False."""
    return keras.layers.Masking()(ops.where(keep[:, :, None], x, 0.0))


def flat(kernels, biases):
    """Kernels (D, N, H) and biases (N, H) of Keras side by side, as one of ours holds them."""
    return [np.concatenate([w.reshape(D, -1) for w in kernels], axis=1), np.concatenate([b.ravel() for b in biases])]


# ---------- Keras: attention, with the masks that Keras hands on ----------


def test_multi_head_attention_with_implicit_masks():
    x, context = tensors()
    theirs, ours = keras.layers.MultiHeadAttention(N, H), layers.MultiHeadAttention(N)
    theirs(x, context)
    ours(x, context)
    q, qb, k, kb, v, vb, o, ob = checks.shake(theirs).get_weights()
    ours.to_query.set_weights(flat([q], [qb]))
    ours.key_value.set_weights(flat([k, v], [kb, vb]))
    ours.out.set_weights([o.reshape(D, D), ob])
    x, context = masked(x, KEEP_X), masked(context, KEEP)
    found, expected = (array(layer(x, context)) for layer in (ours, theirs))
    close(found[KEEP_X], expected[KEEP_X])  # Keras mixes something into rows of padding; nobody reads them


@pytest.mark.parametrize("causal", [False, True])
def test_grouped_query_self_attention_with_masks(causal):
    x, _ = tensors()
    theirs = keras.layers.GroupQueryAttention(head_dim=H, num_query_heads=6, num_key_value_heads=N)
    ours = layers.MultiHeadAttention(6, head_dim=H, kv_heads=N)
    theirs(x, x)
    ours(x)
    q, qb, k, kb, v, vb, o, ob = checks.shake(theirs).get_weights()
    ours.query_key_value.set_weights(flat([q, k, v], [qb, kb, vb]))
    ours.out.set_weights([o.reshape(-1, D), ob])
    keep = ops.convert_to_tensor(KEEP_X)
    found = ours(masked(x, KEEP_X), causal=causal)
    expected = theirs(x, x, query_mask=keep, value_mask=keep, use_causal_mask=causal)  # takes no implicit ones
    close(array(found)[KEEP_X], array(expected)[KEEP_X])


@pytest.mark.parametrize("score", ["scaled_dot", "general"])
def test_attention_with_a_scale_or_an_identity_matrix(score):
    x, context = tensors()
    theirs = keras.layers.Attention(use_scale=score == "scaled_dot")
    theirs([x, context])
    theirs.set_weights([np.float32(D**-0.5)] * len(theirs.get_weights()))
    ours = layers.DotProductAttention(score)
    ours(x, context)
    if score == "general":
        ours.w.set_weights([np.eye(D, dtype="float32")])
    mask = [None, ops.convert_to_tensor(KEEP)]
    close(
        ours(x, context, context_mask=KEEP, return_attention_weights=True)[1][:, 0],
        theirs([x, context], mask=mask, return_attention_scores=True)[1],
    )
    close(ours(x, masked(context, KEEP)), theirs([x, masked(context, KEEP)], mask=mask))


# ---------- Keras: recurrent layers ----------


@pytest.mark.parametrize("cell", CELLS)
def test_recurrent_encoder_equals_the_layer_of_keras(cell):
    x, _ = tensors()
    ours = checks.shake_built(layers.RecurrentEncoder(F, cell=cell, bidirectional=False), x)
    theirs = CELLS[cell][0](F, return_sequences=True, return_state=True)
    theirs(x)
    theirs.set_weights(ours.get_weights())
    y, (state,) = ours(masked(x, KEEP_X), return_state=True)
    close([y, *(state[part] for part in CELLS[cell][1])], theirs(masked(x, KEEP_X)))


@pytest.mark.parametrize("cell", CELLS)
def test_both_ways_equals_bidirectional_of_keras(cell):
    x, _ = tensors()
    ours = checks.shake_built(layers.RecurrentEncoder(F, cell=cell), x)
    theirs = keras.layers.Bidirectional(CELLS[cell][0](F, return_sequences=True, return_state=True))
    theirs(x)
    theirs.set_weights(ours.get_weights())
    y, (state,) = ours(masked(x, KEEP_X), return_state=True)
    expected, *theirs_state = theirs(masked(x, KEEP_X))
    close(array(y)[KEEP_X], array(expected)[KEEP_X])  # at padding Keras writes zeros, where both ways meet
    each = len(theirs_state) // 2  # h and c of one way, then of the other
    for i, part in enumerate(CELLS[cell][1]):
        close(state[part], ops.concatenate([theirs_state[i], theirs_state[each + i]], axis=-1))


@pytest.mark.parametrize("cell", CELLS)
def test_recurrent_decoder_equals_the_layer_of_keras_begun_with_a_state(cell):
    x, context = tensors()
    ours = checks.shake_built(layers.RecurrentDecoder(F, cell=cell, attention=None), x, context)
    theirs = CELLS[cell][0](F, return_sequences=True)
    theirs(x)
    theirs.set_weights(ours.layers[0].get_weights())
    last = {part: ops.convert_to_tensor(normal(B, D, seed=i)) for i, part in enumerate(CELLS[cell][1])}
    begin = []
    for part, bridge in zip(CELLS[cell][1], ours.bridges[0]):
        kernel, bias = bridge.get_weights()
        begin.append(ops.convert_to_tensor(np.tanh(array(last[part]) @ kernel + bias)))
    close(ours(x, context, state=[last]), theirs(x, initial_state=begin))


# ---------- torch: Transformer layers ----------


def shaken(module, seed=0):
    """A torch layer with random weights, and these by name."""
    import torch

    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for weight in module.parameters():
            weight.copy_(torch.from_numpy(rng.normal(size=tuple(weight.shape), scale=0.3).astype("float32")))
    return module, {name: weight.detach().numpy() for name, weight in module.named_parameters()}


def from_torch(block, w):
    """Copies the weights w of a torch layer into a Block; torch keeps kernels transposed, and q, k, v in one."""
    block.self_attention.query_key_value.set_weights([w["self_attn.in_proj_weight"].T, w["self_attn.in_proj_bias"]])
    block.self_attention.out.set_weights([w["self_attn.out_proj.weight"].T, w["self_attn.out_proj.bias"]])
    if block.cross_attention is not None:
        kernel, bias = w["multihead_attn.in_proj_weight"].T, w["multihead_attn.in_proj_bias"]
        block.cross_attention.to_query.set_weights([kernel[:, :D], bias[:D]])
        block.cross_attention.key_value.set_weights([kernel[:, D:], bias[D:]])
        out = "multihead_attn.out_proj"
        block.cross_attention.out.set_weights([w[f"{out}.weight"].T, w[f"{out}.bias"]])
    for ours, theirs in ((block.feed_forward.up, "linear1"), (block.feed_forward.down, "linear2")):
        ours.set_weights([w[f"{theirs}.weight"].T, w[f"{theirs}.bias"]])
    for i, norm in enumerate(block.norms):
        norm.set_weights([w[f"norm{i + 1}.weight"], w[f"norm{i + 1}.bias"]])


def in_torch(module, *tensors, **masks):
    """What a torch layer gives, in numpy. Its masks are True where nothing may be seen, ours where something may."""
    import torch

    def there(x):
        return torch.from_numpy(np.array(x))

    y = module(*(there(array(x)) for x in tensors), **{name: there(~mask) for name, mask in masks.items()})
    return y.detach().cpu().numpy()


every_form = pytest.mark.parametrize(("norm_first", "activation"), [(True, "relu"), (False, "gelu")])


@every_form
@pytest.mark.parametrize("causal", [False, True])
def test_block_equals_the_encoder_layer_of_torch(norm_first, activation, causal):
    torch = pytest.importorskip("torch")

    options = {"dropout": 0.0, "activation": activation, "batch_first": True, "norm_first": norm_first}
    theirs, weights = shaken(torch.nn.TransformerEncoderLayer(D, N, F, **options))
    ours = layers.Block(N, F, activation=activation, norm_first=norm_first, epsilon=1e-5)
    x, _ = tensors()
    ours(x)
    from_torch(ours, weights)
    sees = np.broadcast_to(CAUSAL if causal else True, (T, T))
    expected = in_torch(theirs, x, src_mask=sees, src_key_padding_mask=KEEP_X)
    found = array(ours(x, attention_mask=np.broadcast_to(sees, (B, T, T)), x_mask=KEEP_X))
    close(found[KEEP_X], expected[KEEP_X], 2e-5)


@every_form
def test_cross_block_equals_the_decoder_layer_of_torch(norm_first, activation):
    torch = pytest.importorskip("torch")

    options = {"dropout": 0.0, "activation": activation, "batch_first": True, "norm_first": norm_first}
    theirs, weights = shaken(torch.nn.TransformerDecoderLayer(D, N, F, **options))
    ours = layers.Block(N, F, cross=True, activation=activation, norm_first=norm_first, epsilon=1e-5)
    x, context = tensors()
    ours(x, context)
    from_torch(ours, weights)
    expected = in_torch(theirs, x, context, tgt_mask=CAUSAL, memory_key_padding_mask=KEEP)
    found = ours(x, context, causal=True, context_mask=KEEP)
    close(found, expected, 2e-5)


# ---------- the buckets of T5 ----------

# One direction, by hand from the paper: of 32 buckets the first 16 hold one distance each, 0 .. 15. The other 16 divide
# 16 .. 128 evenly in the logarithm: bucket 16 + k begins at the distance 16 (128/16) ** (k/16) = 16 * 2 ** (3k/16):
#     k      0      1      2      3      4      5      6      7
#     begin  16.00  18.22  20.75  23.63  26.91  30.64  34.90  39.74
#     k      8      9      10     11     12     13     14     15
#     begin  45.25  51.54  58.69  66.83  76.11  86.67  98.70  112.40
# A distance is a whole number, so they begin at 16, 19, 21, 24, 27, ...; from 113 on all fall into the last.
BEGIN = [16, 19, 21, 24, 27, 31, 35, 40, 46, 52, 59, 67, 77, 87, 99, 113]


def test_bucket_of_one_direction_is_the_table_of_the_t5_paper():
    table = [away if away < 16 else 15 + sum(away >= begin for begin in BEGIN) for away in range(200)]
    assert table[:16] == [*range(16)]
    assert [table.index(16 + k) for k in range(16)] == BEGIN
    away = np.arange(200, dtype="int32")
    np.testing.assert_array_equal(array(positions.bucket(-away, bidirectional=False)), table)
    assert not array(positions.bucket(away, bidirectional=False)).any()
