"""Recurrent stacks: padding is invisible, any split equals the whole, attention in the loop is the paper's formula."""

import math

import keras
import numpy as np
import pytest
from keras import ops

from keras_seq import kernels, layers
from keras_seq.layers.recurrent import CELLS
from keras_seq.layers.recurrent import recurrent as make
from keras_seq.models import RecurrentSeq2Seq
from tests import checks
from tests.checks import array, close, normal

jax_only = pytest.mark.skipif(checks.BACKEND != "jax", reason="a kernel of jax")
B, T, S, D, U, E, V = 2, 5, 7, 3, 11, 13, 23


def tensor(*shape, seed=0):
    return ops.convert_to_tensor(normal(*shape, seed=seed))


# ---------- the encoder ----------

ENCODERS = {
    "rnn": {"cell": "rnn"},
    "gru_residual": {"cell": "gru", "num_layers": 2, "residual": True},
    "lstm_one_way": {"cell": "lstm", "num_layers": 3, "bidirectional": False, "residual": True},
}


@pytest.mark.parametrize("name", ENCODERS)
def test_an_encoder_reads_no_padding(name):
    """Outputs and last states of a padded row are those of the row alone, whatever stands in the padding."""
    encoder, x = layers.RecurrentEncoder(U, **ENCODERS[name]), normal(B, T, D)
    checks.shake_built(encoder, x)
    y, state = encoder(x[:1, :3], return_state=True)
    keep = np.array([[True] * 3 + [False] * 2, [True] * T])
    padded_y, padded_state = encoder(x, return_state=True, x_mask=keep)
    close(padded_y[:1, :3], y)
    close([part[:1] for part in keras.tree.flatten(padded_state)], state)
    x[0, 3:] = 0
    close(encoder(keras.layers.Masking()(x), return_state=True)[0], padded_y)  # the mask that Keras hands on


@pytest.mark.parametrize("name", ENCODERS)
def test_a_text_of_one_token_may_be_padding(name):
    encoder, x = layers.RecurrentEncoder(U, **ENCODERS[name]), normal(B, 1, D)
    checks.shake_built(encoder, x)
    _, state = encoder(x[1:], return_state=True)
    _, padded = encoder(x, return_state=True, x_mask=np.array([[False], [True]]))
    close([part[1:] for part in keras.tree.flatten(padded)], state)
    assert not any(np.any(array(part[:1])) for part in keras.tree.flatten(padded))


@pytest.mark.parametrize("steps", [1, 3])
def test_a_step_over_padding_leaves_the_state(steps):
    encoder, x = layers.RecurrentEncoder(U, **ENCODERS["lstm_one_way"]), normal(B, steps, D)
    checks.shake_built(encoder, x)
    state = [{name: normal(B, U) for name in old} for old in encoder.start(B)]
    _, alone = encoder.step(x[1:], [{name: part[1:] for name, part in old.items()} for old in state])
    _, padded = encoder.step(x, state, np.array([[False] * steps, [True] * steps]))
    for part, expected, old in zip(*map(keras.tree.flatten, (padded, alone, state))):
        close(part[1:], expected)
        np.testing.assert_array_equal(array(part[:1]), old[:1])


def test_a_residual_layer_adds_its_input():
    encoder, x = layers.RecurrentEncoder(U, 2, "gru", residual=True), normal(B, T, D)
    checks.shake_built(encoder, x)
    first = layers.RecurrentEncoder(U, 1, "gru")
    first(x)
    first.set_weights(encoder.forwards[0].get_weights() + encoder.backwards[0].get_weights())
    second = layers.RecurrentEncoder(U, 1, "gru")
    second(first(x))
    second.set_weights(encoder.forwards[1].get_weights() + encoder.backwards[1].get_weights())
    close(encoder(x), first(x) + second(first(x)))


def test_dropout_is_for_training_only():
    x, context = normal(B, T, D), normal(B, S, E)
    encoder = layers.RecurrentEncoder(U, dropout=0.5)
    decoder = layers.RecurrentDecoder(U, 2, dropout=0.5, feed_context=True)
    for layer, inputs in ((encoder, [x]), (decoder, [x, context])):
        close(layer(*inputs), layer(*inputs), 1e-6)
        close(layer(*inputs, training=False), layer(*inputs), 1e-6)
        one, other = (array(layer(*inputs, training=True)) for _ in range(2))
        assert np.abs(one - other).max() > 1e-3


@pytest.mark.parametrize("cell", ["gru", *(["lstm"] if checks.BACKEND != "jax" else [])])  # where we have our own
def test_keras_is_asked_for_its_fused_kernel(cell, monkeypatch):
    """With padding, dropout and in both directions; it is cuDNN's where there is one. A loop of our own has none."""
    from keras.src import backend

    def kernel(*args, **options):
        asked.append(options["go_backwards"])
        raise NotImplementedError

    asked, x, context = [], normal(B, T, D), normal(B, S, E)
    encoder = layers.RecurrentEncoder(U, 2, cell, dropout=0.1)
    after, inside = (layers.RecurrentDecoder(U, 2, cell, dropout=0.1, feed_context=fed) for fed in (False, True))
    monkeypatch.setattr(backend, cell, kernel)
    encoder(x, x_mask=np.ones((B, T), bool), training=True)
    assert asked == [False, True] * 2
    after(x, context, training=True)
    assert asked[4:] == [False] * 2
    inside(x, context, training=True)
    assert len(asked) == 6


GAPS = {"whole": None, "padded": [[True] * 3 + [False] * 2, [True, False] + [True] * 3], "empty": [[False] * T] * B}


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("gaps", ["whole", "padded"])
def test_our_lstm_is_that_of_keras_with_another_loop(gaps, backwards):
    """Outputs, last states, and the gradients of inputs, first states and weights, which we write by hand."""
    x, h, c = tensor(B, T, D), tensor(B, U, seed=1), tensor(B, U, seed=2)
    keep = None if gaps == "whole" else np.array(GAPS[gaps])
    keep = keep[:, ::-1].copy() if gaps == "padded" and backwards else keep
    options = {"return_sequences": True, "return_state": True, "go_backwards": backwards}
    theirs, ours = keras.layers.LSTM(U, use_cudnn=False, **options), make("lstm", U, go_backwards=backwards)
    ours.use_cudnn = False
    checks.shake_built(theirs, x)
    ours.build((None, None, D))
    ours.set_weights(theirs.get_weights())
    close(ours(x, initial_state=[h, c], mask=keep), theirs(x, initial_state=[h, c], mask=keep))

    def score(layer, flat):
        """Something of every output, of x, h, c and the weights, one after another in `flat`."""
        shapes = [(B, T, D), (B, U), (B, U), (D, 4 * U), (U, 4 * U), (4 * U,)]
        parts = ops.split(flat, np.cumsum([math.prod(shape) for shape in shapes])[:-1].tolist())
        x, h, c, *weights = (ops.reshape(part, shape) for part, shape in zip(parts, shapes))
        with keras.StatelessScope(list(zip(layer.trainable_variables, weights))):
            y, *state = layer(x, initial_state=[h, c], mask=keep, training=True)
        return ops.sum(ops.sin(3 * y)) + sum(ops.sum(ops.cos(part)) for part in state)

    flat = np.concatenate([array(part).ravel() for part in (x, h, c, *theirs.get_weights())])
    close(checks.gradient(lambda z: score(ours, z), flat), checks.gradient(lambda z: score(theirs, z), flat))


@jax_only
@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("gaps", GAPS)
def test_the_kernel_of_a_gpu_is_given_what_makes_it_that_of_keras(gaps, backwards, monkeypatch):
    """With jax's own description of the kernel in its place."""
    from jax.experimental import rnn

    def described(x, h, c, weights, lengths, dropout, bidirectional, **sizes):
        asked.append(lengths)
        parts = rnn.unpack_lstm_weights(weights, *sizes.values(), bidirectional)
        return rnn.lstm_ref(x, h, c, *parts, lengths, *sizes.values(), dropout, bidirectional)

    asked = []
    monkeypatch.setattr(kernels, "recurs", lambda x: True)
    monkeypatch.setattr(rnn, "lstm", described)
    test_our_lstm_is_that_of_keras_with_another_loop(gaps, backwards)
    assert asked
    half = make("lstm", U, go_backwards=backwards, dtype="mixed_bfloat16")
    assert {keras.backend.standardize_dtype(part.dtype) for part in half(tensor(B, T, D))} == {"bfloat16"}


# ---------- attention in the loop ----------

IN_THE_LOOP = {
    "lstm_additive": {},
    "gru_dot_residual": {"cell": "gru", "attention": "dot", "num_layers": 3, "residual": True},
    "rnn_scaled_dot": {"cell": "rnn", "attention": "scaled_dot", "num_layers": 2},
    "lstm_general": {"attention": {"name": "dot", "score": "general"}, "num_layers": 2},
    "gru_multi_head": {"cell": "gru", "attention": {"name": "multi_head", "num_heads": 3, "head_dim": 2}},
}
in_the_loop = pytest.mark.parametrize("name", IN_THE_LOOP)
made = {}


def inputs(name):
    """x (B, T, D) and context (B, S, E); a plain product needs a context of U features."""
    return tensor(B, T, D), tensor(B, S, U if "dot" in name else E, seed=1)


def decoder(name):
    if name not in made:
        layer = layers.RecurrentDecoder(U, feed_context=True, **IN_THE_LOOP[name])
        made[name] = checks.shake_built(layer, *inputs(name))
    return made[name]


KEEP = np.array([[True] * 4 + [False] * 3, [True] * S])


@in_the_loop
def test_the_context_in_the_loop_is_the_formula_of_the_paper(name):
    """s_t = f(s_{t-1}, x_t, c_t) with c_t = attention(s_{t-1}, h), written step by step with the public layers."""
    layer, (x, context) = decoder(name), inputs(name)
    parts = CELLS[layer.cell][1]
    nothing = ops.zeros((B, context.shape[-1]))
    states = [{part: bridge(nothing) for part, bridge in zip(parts, bridges)} for bridges in layer.bridges]
    h = sum(s["h"] for s in states) if layer.residual else states[-1]["h"]

    def attention(h):
        return layer.attention(h[:, None], context, context_mask=KEEP, return_attention_weights=True)

    rows, maps = [], []
    for t in range(T):
        h = ops.concatenate([x[:, t], attention(h)[0][:, 0]], axis=-1)
        for i, (recurrent, state) in enumerate(zip(layer.layers, states)):
            y, new = recurrent.cell(h, [state[part] for part in parts])
            h, states[i] = (h + y if layer.residual and i else y), dict(zip(parts, new))
        found, weights = attention(h)
        rows.append(array(layer.merge(ops.concatenate([h[:, None], found], axis=-1))))
        maps.append(array(weights))
    y, weights = layer(x, context, context_mask=KEEP, return_attention_weights=True)
    close(y, np.concatenate(rows, axis=1), 2e-5)
    close(weights, [np.concatenate(maps, axis=2)], 2e-5)


@in_the_loop
@pytest.mark.parametrize("cuts", [[1, 2, 3, 4], [2]], ids=str)
def test_split_anywhere_equals_whole(name, cuts):
    layer, (x, context) = decoder(name), inputs(name)
    memory, state = layer.start(context, ops.convert_to_tensor(KEEP))
    assert [sorted(part) for part in state] == [sorted(CELLS[layer.cell][1])] * len(layer.layers) + [["context"]]
    whole, end = layer.step(x, 0, memory, state)
    rows = []
    for first, last in checks.pieces(T, cuts):
        y, state = layer.step(x[:, first:last], first, memory, state)
        rows.append(array(y))
    close(np.concatenate(rows, axis=1), whole, 2e-5)
    close([layer.flatten(state)], [layer.flatten(end)], 2e-5)


@in_the_loop
def test_the_future_and_the_padding_are_invisible_and_the_context_is_felt(name):
    layer, (x, context) = decoder(name), (array(y) for y in inputs(name))
    whole = array(layer(x, context, context_mask=KEEP))
    other = np.where(KEEP[..., None], context, 5.0).astype("float32")
    np.testing.assert_array_equal(array(layer(x, other, context_mask=KEEP)), whole)
    later = x.copy()
    later[:, 3:] += 1
    moved = np.abs(array(layer(later, context, context_mask=KEEP)) - whole).max(axis=(0, 2))
    assert not moved[:3].any()
    assert (moved[3:] > 1e-4).all()
    memory, state = layer.start(ops.convert_to_tensor(context))
    fed = [*state[:-1], {"context": state[-1]["context"] + 1.0}]
    first, second = (array(layer.step(x[:, :1], 0, memory, s)[0]) for s in (state, fed))
    assert np.abs(first - second).max() > 1e-4


@in_the_loop
def test_round_trip_functional_and_open_shapes(name):
    made.pop(name, None)
    layer, given = decoder(name), [array(y) for y in inputs(name)]
    checks.round_trip(layer, *given)
    model = checks.functional_equals_eager(layer, *given)
    assert model.output_shape == (None, None, U)
    made.pop(name)


def test_half_precision():
    def make(dtype):
        return layers.RecurrentDecoder(U, 2, feed_context=True, dtype=dtype)

    checks.half_precision(make, 0.5 * normal(B, T, D), 0.5 * normal(B, S, E, seed=1))


def test_what_does_not_fit_together():
    with pytest.raises(ValueError, match="needs an attention"):
        layers.RecurrentDecoder(U, attention=None, feed_context=True)
    with pytest.raises(ValueError, match="no dropout inside the attention"):
        layers.RecurrentDecoder(U, attention={"name": "additive", "dropout": 0.1}, feed_context=True)
    with pytest.raises(ValueError, match="rnn, gru, lstm"):
        layers.RecurrentEncoder(U, cell="elman")


# ---------- in a model ----------


def seq2seq(**options):
    return RecurrentSeq2Seq(**{"vocab_size": V, "dim": 5, "units": 14, "feed_context": True, "dropout": 0.1} | options)


def batch():
    return checks.source_and_target(V, B, S, T)


def test_a_model_keeps_the_laws_of_decoders():
    model = checks.shake(seq2seq(num_layers=2))
    whole = array(checks.call(model, batch()))
    checks.split_anywhere_equals_whole(model, batch(), whole, [1, 3])
    checks.padding_is_invisible(model, batch(), whole)
    checks.future_is_invisible(model, batch(), whole, at=3)
    assert model.attention_weights(batch()).shape == (B, 1, T, S)


def test_a_model_comes_back_in_a_fresh_process(tmp_path):
    model = checks.shake(seq2seq())
    assert type(model).from_config(model.get_config()).decoder.feed_context
    checks.reload_in_fresh_process({"feed": (model, batch())}, tmp_path)


@pytest.mark.parametrize("cell", ["rnn", "lstm"])  # Keras compiles the first with XLA
def test_a_model_learns(cell):
    model = seq2seq(cell=cell)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.03), loss)
    history = model.fit(batch(), batch()["target"], epochs=9, verbose=0).history["loss"]
    assert history[-1] < 0.8 * history[0]


@pytest.mark.tensorflow
def test_gradients_reach_every_weight():
    import tensorflow as tf

    model = checks.shake(seq2seq(num_layers=2, dropout=0.0))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(batch()) ** 2)
    slopes = tape.gradient(loss, [w.value for w in model.trainable_variables])
    assert all(s is not None and np.any(tf.convert_to_tensor(s)) for s in slopes)


@pytest.mark.tensorflow
def test_a_model_on_the_phone_writes_what_keras_writes():
    from ai_edge_litert.interpreter import Interpreter

    from keras_seq.decoding import generate
    from keras_seq.deploy import builtin_ops, litert
    from keras_seq.deploy.signatures import Shapes

    model = checks.shake(seq2seq(num_layers=2, cell="gru"))
    source = np.random.default_rng(3).integers(4, V, (5, S), "int32")
    content = litert.convert_seq2seq(model, Shapes(1, S, T), ["f32"], beams=2)[0]["f32"]
    assert not any(builtin_ops.kind(name) for name in builtin_ops.check_ops(content))
    phone = Interpreter(model_content=content)
    for name, beams in (("generate", 1), ("generate_beam", 2)):
        run = phone.get_signature_runner(name)
        expected = array(generate(model, {"source": source}, max_length=T, beams=beams)[0])[:, 0]
        assert len(np.unique(expected, axis=0)) > 1
        np.testing.assert_array_equal(np.concatenate([run(source=row[None])["tokens"] for row in source]), expected)
    step = phone.get_signature_runner("decode_step").get_input_details()
    assert tuple(step["state_2_context"]["shape"]) == (1, 14)


@jax_only
def test_no_kernel_of_keras_is_asked_on_a_gpu(monkeypatch):
    """That of jax reads float32 only, and says so too late for Keras to go on without it."""
    layer, x = make("lstm", 7, dtype="mixed_bfloat16"), normal(2, 5, 3)
    expected = layer(x)[0]

    def lstm(*args, **kwargs):
        raise ValueError("Unknown output type bfloat16")

    monkeypatch.setattr(keras.src.backend, "lstm", lstm)
    with pytest.raises(ValueError, match="bfloat16"):
        keras.layers.LSTM(7, dtype="mixed_bfloat16")(x)
    np.testing.assert_array_equal(array(layer(x)[0]), array(expected))


@pytest.mark.tensorflow
def test_the_loop_of_a_whole_target_converts_too():
    """Keras' own loop holds ops that no phone has; `recurrent_loops` puts another in its place."""
    import tensorflow as tf

    from keras_seq.deploy import rnn

    layer, (x, context) = decoder("lstm_additive"), inputs("lstm_additive")
    with rnn.recurrent_loops():
        close(tf.function(lambda x: layer(x, context), autograph=False)(x), layer(x, context), 2e-5)
