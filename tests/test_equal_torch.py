"""Equal to torch with the same weights: recurrent stacks over packed rows, CTC of rows with lengths, Adam and AdamW.

Its Transformer layers are in test_laws_equal.py.
"""

import keras
import numpy as np
import pytest
from keras import ops

from keras_seq import layers, training
from tests import checks
from tests.checks import array, close, normal

B, T, D, U = 3, 7, 5, 6
LENGTH = np.array([T, 4, 1])
KEEP = np.arange(T) < LENGTH[:, None]


# ---------- recurrent stacks ----------


def gates(cell, w):
    """The gates along the last axis in torch's order: those of a GRU are r, z, n there, and z, r, n in Keras."""
    z, r, n = np.split(w, 3, axis=-1) if cell == "gru" else (w, [], [])
    return np.concatenate([r, z, n], axis=-1) if cell == "gru" else w


def in_torch(cell, encoder, x):
    """Outputs (B, T, 2 U), zeros at padding, and last states h (L, B, 2 U) of torch's stack with the same weights."""
    import torch

    kind = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}[cell]
    twin = kind(D, U, num_layers=2, batch_first=True, bidirectional=True)
    for i in range(2):
        for suffix, layer in (("", encoder.forwards[i]), ("_reverse", encoder.backwards[i])):
            kernel, recurrent, bias = layer.get_weights()
            biases = bias if cell == "gru" else (bias, np.zeros_like(bias))
            for name, w in zip(("weight_ih", "weight_hh", "bias_ih", "bias_hh"), (kernel.T, recurrent.T, *biases)):
                w = gates(cell, w.T).T if w.ndim == 2 else gates(cell, w)
                getattr(twin, f"{name}_l{i}{suffix}").data = torch.from_numpy(np.array(w))
    rnn = torch.nn.utils.rnn
    y, state = twin(rnn.pack_padded_sequence(torch.from_numpy(x), LENGTH.tolist(), batch_first=True))
    y = rnn.pad_packed_sequence(y, batch_first=True, total_length=T)[0]
    h = (state[0] if cell == "lstm" else state).detach().numpy()
    return y.detach().numpy(), np.concatenate([h[::2], h[1::2]], axis=-1)


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_a_padded_row_is_read_as_a_packed_one(cell):
    """Forwards to its end, and backwards from there: outputs, and the last states of both layers."""
    x = normal(B, T, D)
    encoder = checks.shake_built(layers.RecurrentEncoder(U, 2, cell), x)
    expected, last = in_torch(cell, encoder, x)
    y, states = encoder(x, return_state=True, x_mask=KEEP)
    close(array(y)[KEEP], expected[KEEP])
    close([state["h"] for state in states], list(last))


# ---------- CTC ----------


def test_the_loss_of_rows_with_lengths():
    """What a head says at padding counts for nothing: neither in the loss nor in its gradient. Also repeated tokens."""
    import torch

    vocab, length = 7, np.array([9, 8, 2, 9, 6, 3])
    labels = np.array([[1, 2, 3, 0, 0], [4, 4, 4, 0, 0], [5, 0, 0, 0, 0], [1, 1, 2, 2, 3], [6, 5, 4, 3, 2], [0] * 5])
    logits, heard = 2 * normal(6, 9, vocab), np.arange(9) < length[:, None]
    count = (labels > 0).sum(axis=1)

    def ours(x):
        padding = np.where(np.arange(vocab) == 0, 0, -layers.ctc.SURE).astype("float32")
        return layers.ctc_loss(labels, ops.where(heard[:, :, None], x, padding))

    x = torch.from_numpy(logits).requires_grad_()
    log_p, sizes = torch.log_softmax(x, -1).transpose(0, 1), map(torch.from_numpy, (labels, length, count))
    theirs = torch.nn.functional.ctc_loss(log_p, *sizes, reduction="none") / torch.from_numpy(np.maximum(count, 1))
    (slope,) = torch.autograd.grad(theirs.sum(), x)
    close(ours(ops.convert_to_tensor(logits)), theirs.detach().numpy(), 1e-4)
    close(checks.gradient(ours, logits), slope.numpy(), 1e-4)


# ---------- AdamW ----------


def clipped(kind, weights, limit):
    """Clips the gradients of torch's parameters as an option of Keras of this name does."""
    import torch

    if kind == "clipvalue":
        torch.nn.utils.clip_grad_value_(weights, limit)
    for group in {"global_clipnorm": [weights], "clipnorm": [[w] for w in weights]}.get(kind, ()):
        torch.nn.utils.clip_grad_norm_(group, limit)


@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("clip", [None, "clipnorm", "global_clipnorm", "clipvalue"])
def test_adamw_with_clipping_gathered_gradients_and_a_weight_that_does_not_decay(clip, every):
    import torch

    options = {} if clip is None else {clip: 0.5}
    if every > 1:
        options["gradient_accumulation_steps"] = every
    ours = training.AdamW(0.05, weight_decay=0.1, beta_2=0.98, epsilon=1e-9, **options)
    start, gradients = [normal(7, 5), normal(5)], [[normal(7, 5, seed=i), 3 * normal(5, seed=i)] for i in range(1, 7)]
    weights = [keras.Variable(w, name=name) for w, name in zip(start, ("kernel", "bias"))]
    ours.exclude_from_weight_decay(var_names=["bias"])
    ours.build(weights)
    for step in gradients:
        ours.apply([ops.convert_to_tensor(g) for g in step])

    params = [torch.nn.Parameter(torch.from_numpy(w.copy())) for w in start]
    groups = [{"params": params[:1], "weight_decay": 0.1}, {"params": params[1:], "weight_decay": 0.0}]
    theirs = torch.optim.AdamW(groups, lr=0.05, betas=(0.9, 0.98), eps=1e-9)
    for i in range(0, len(gradients), every):
        for weight, parts in zip(params, zip(*gradients[i : i + every])):
            weight.grad = torch.from_numpy(np.mean(parts, axis=0))
        clipped(clip, params, 0.5)
        theirs.step()
    close(weights, [weight.detach().numpy() for weight in params], 5e-5)


@pytest.mark.parametrize("kind", ["Adam", "AdamW"])
@pytest.mark.parametrize("clip", [None, "clipnorm", "global_clipnorm"])
def test_a_token_that_comes_often_in_a_batch_steps_by_the_sum_of_its_gradients(kind, clip):
    """In `fit`, where tensorflow has them apart: 8 tokens in 96 places, and a norm that is clipped at some steps."""
    import torch

    tokens, wanted = np.random.default_rng(0).integers(1, 9, (8, 12)).astype("int32"), normal(8, D, seed=1)
    limit, options = 0.12, {"epsilon": 1e-9}
    embedding = layers.TokenEmbedding(11, D, pad=None)
    model = keras.Sequential([embedding, keras.layers.Activation("tanh"), keras.layers.GlobalAveragePooling1D()])
    model.build((None, 12))
    table = torch.nn.Parameter(torch.from_numpy(array(embedding.table).copy()))
    ours = getattr(training, kind)(0.05, **options, **({clip: limit} if clip else {}))
    model.compile(ours, "mse")
    model.fit(tokens, wanted, batch_size=8, epochs=7, verbose=0)

    decay = {"weight_decay": ours.weight_decay} if kind == "AdamW" else {}
    theirs, norms = getattr(torch.optim, kind)([table], lr=0.05, eps=1e-9, **decay), []
    for _ in range(7):
        theirs.zero_grad()
        y = torch.tanh(table[torch.from_numpy(tokens).long()] * D**0.5).mean(dim=1)
        torch.nn.functional.mse_loss(y, torch.from_numpy(wanted)).backward()
        norms.append(float(table.grad.norm()))
        clipped(clip, [table], limit)
        theirs.step()
    assert min(norms) < limit < max(norms)
    close(embedding.table, table.detach().numpy(), 5e-5)
