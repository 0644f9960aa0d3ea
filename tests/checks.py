"""The laws that every member of a family obeys, as plain functions; tests/test_laws_*.py apply them.

A law raises AssertionError where it is broken. Sizes are distinct primes, so that a swapped axis cannot pass.
"""

import functools
import itertools
import json
import os
import runpy
import subprocess
import sys
import types
from pathlib import Path

import keras
import numpy as np
from keras import ops

from keras_seq import compilation, generate

ROOT = Path(__file__).parents[1]
BACKEND = keras.backend.backend()


# ---------- numbers in and out ----------


def normal(*shape, seed=0):
    """Standard normal float32 numbers, the same on every backend."""
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def arange(length, start=0):
    """Positions int32 (1, length)."""
    return np.arange(start, start + length, dtype="int32")[None]


def array(x):
    """A tensor of any dtype and backend as numpy; half precision becomes float32."""
    x = ops.convert_to_tensor(x)
    return ops.convert_to_numpy(ops.cast(x, "float32") if "float" in keras.backend.standardize_dtype(x.dtype) else x)


def close(a, b, tolerance=1e-5):
    """Same structure, same shapes, same numbers; or fail."""
    a, b = keras.tree.flatten(a), keras.tree.flatten(b)
    assert len(a) == len(b), f"{len(a)} tensors against {len(b)}"
    for one, other in zip(a, b):
        np.testing.assert_allclose(array(one), array(other), rtol=tolerance, atol=tolerance)


def shake(layer, seed=0):
    """Gives every weight of a layer or model a random value, so that no zero or one hides a mistake."""
    rng = np.random.default_rng(seed)
    for weight in layer.trainable_weights:
        weight.assign(rng.normal(size=weight.shape, scale=0.3).astype("float32"))
    return layer


def copy_weights(source, target):
    """Copies by order; shapes have to match."""
    target.set_weights(source.get_weights())
    return target


# ---------- calls ----------


@functools.cache
def method(model, name, *options):
    """A method of a model, whose last arguments are the options.

    On jax it is compiled as a whole, as in `fit` and `generate`: to compile op by op takes ten times as long.
    """

    def function(*args):
        return getattr(model, name)(*args, *options)

    return compilation.jit(function, model.variables) if BACKEND == "jax" else function


def call(model, inputs):
    """model(inputs), see `method`."""
    return method(model, "__call__")(inputs)


# ---------- gradients on three backends ----------


def gradient(function, x):
    """d sum(function(x)) / dx as numpy, for a function of one float tensor."""
    x = ops.convert_to_tensor(x)
    if BACKEND == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(x)
            total = ops.sum(function(x))
        return array(tape.gradient(total, x, unconnected_gradients="zero"))
    if BACKEND == "jax":
        import jax

        return array(jax.grad(lambda x: ops.sum(function(x)))(x))
    import torch

    x = x.detach().clone().requires_grad_()
    with torch.enable_grad():
        (found,) = torch.autograd.grad(ops.sum(function(x)), x, allow_unused=True, materialize_grads=True)
    return array(found.detach())


def second_gradient(function, x, v):
    """d (v · gradient of function at x) / dx as numpy, for a function of one float tensor that gives a number."""
    x = ops.convert_to_tensor(x)
    if BACKEND == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as inner:
                inner.watch(x)
                y = function(x)
            along = tf.reduce_sum(inner.gradient(y, x) * v)
        return array(outer.gradient(along, x))
    if BACKEND == "jax":
        import jax

        return array(jax.grad(lambda x: ops.sum(jax.grad(function)(x) * v))(x))
    import torch

    x = x.detach().clone().requires_grad_()
    with torch.enable_grad():
        (found,) = torch.autograd.grad(function(x), x, create_graph=True)
        return array(torch.autograd.grad((found * ops.convert_to_tensor(v)).sum(), x)[0])


def receptive_field(function, x):
    """Which input s moves which output t: bool (T, S) for function: (B, S, D) -> (B, T, E)."""
    length = function(ops.convert_to_tensor(x)).shape[1]
    rows = [gradient(lambda x, t=t: function(x)[:, t] ** 2, x) for t in range(length)]
    return np.stack([np.any(np.abs(row) > 0, axis=(0, 2)) for row in rows])


# ---------- attention ----------


def attention_in_numpy(scores, values, mask=None):
    """softmax(scores) values, one query at a time: (B, N, T, S), (B, N, S, H) -> (B, N, T, H), (B, N, T, S)."""
    weights = np.zeros_like(scores)
    for b, n, t in np.ndindex(*scores.shape[:3]):
        sees = np.ones(scores.shape[3], bool) if mask is None else np.broadcast_to(mask, scores.shape)[b, n, t]
        e = np.where(sees, np.exp(scores[b, n, t] - scores[b, n, t].max()), 0)
        weights[b, n, t] = e / e.sum() if sees.any() else 0
    return weights @ values, weights


# ---------- layers ----------


def plain_config(layer):
    """A layer's config survives JSON, and gives the same config again."""
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(layer)))
    twin = keras.saving.deserialize_keras_object(config)
    assert type(twin) is type(layer)
    assert json.loads(json.dumps(keras.saving.serialize_keras_object(twin))) == config
    return twin


def round_trip(layer, *inputs, **options):
    """A layer made again from its config, with the weights copied, computes the same."""
    expected = shake_built(layer, *inputs, **options)(*inputs, **options)
    twin = plain_config(layer)
    twin(*inputs, **options)
    close(copy_weights(layer, twin)(*inputs, **options), expected, 1e-6)


def shake_built(layer, *inputs, **options):
    """Builds a layer by a call, then gives it random weights."""
    layer(*inputs, **options)
    return shake(layer)


def functional(layer, *inputs, **options):
    """The functional model around a layer: batch and every length left open."""
    symbols = [keras.Input(open_shape(x), dtype=x.dtype) for x in inputs]
    return keras.Model(symbols, layer(*symbols, **options))


def open_shape(x):
    """The shape of x without its batch, with the lengths of (B, T, D) and (B, T) left open."""
    return (None, *x.shape[2:])


def functional_equals_eager(layer, *inputs, **options):
    """A layer inside a functional model, run by `predict`, computes what it computes when called."""
    model = functional(layer, *inputs, **options)
    shake(model)
    close(model.predict(list(inputs), verbose=0), layer(*inputs, **options))
    return model


def symbolic_shape(layer, *inputs, **options):
    """The shape promised for open sizes is the shape that comes, whatever the batch and length."""
    shapes = [x.shape for x in inputs]
    assert layer.compute_output_shape(*shapes) == tuple(layer(*inputs, **options).shape)
    open_shapes = [(None, *open_shape(x)) for x in inputs]
    model = functional(layer, *inputs, **options)
    assert layer.compute_output_shape(*open_shapes) == tuple(model.output_shape)
    for promise, y in zip(model.outputs, keras.tree.flatten(layer(*inputs, **options))):
        assert len(promise.shape) == len(y.shape)
        assert all(p in (None, n) for p, n in zip(promise.shape, y.shape)), f"{promise.shape} against {y.shape}"
        assert promise.shape[-1] is None or promise.shape[-1] == y.shape[-1]


def half_precision(make, *inputs, tolerance=0.1):
    """`make(dtype)` in mixed bfloat16: float32 weights, bfloat16 out, near the float32 result."""
    full, half = make("float32"), make("mixed_bfloat16")
    for layer in (full, half):
        layer(*(keras.KerasTensor(x.shape, str(x.dtype)) for x in inputs))  # builds it
    copy_weights(shake(full), half)
    expected, found = (method(layer, "__call__")(*inputs) for layer in (full, half))
    assert {w.dtype for w in half.trainable_weights} <= {"float32"}
    assert {keras.backend.standardize_dtype(y.dtype) for y in keras.tree.flatten(found)} == {"bfloat16"}
    close(found, expected, tolerance)


def config_makes_it_again(model, inputs, whole):
    """A model made from the config of another, with its weights, gives the logits `whole`; each weight has its name."""
    fresh = type(model).from_config(model.get_config())
    before = [weight.path for weight in fresh.weights]
    close(copy_weights(model, fresh)(inputs), whole, 1e-6)
    assert [weight.path for weight in fresh.weights] == before
    assert len(set(before)) == len(before)


def gradients_reach_every_weight(model, inputs, training=False):
    """What is trained is used: no weight has a gradient that is zero by construction. On tensorflow."""
    import tensorflow as tf

    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(inputs, training=training) ** 2)
    weights = model.trainable_variables
    slopes = tape.gradient(loss, [w.value for w in weights])
    assert not [w.path for w, s in zip(weights, slopes) if s is None or not np.any(ops.convert_to_numpy(s))]


RELOAD = """
import sys
from pathlib import Path
import numpy as np
import keras
import keras_seq.layers, keras_seq.models
for path in sorted(Path(sys.argv[1]).glob("*.keras")):
    with np.load(path.with_suffix(".npz")) as saved:
        inputs = {name: saved[name] for name in saved}
    model = keras.models.load_model(path)
    y = model(list(inputs.values()) if "x0" in inputs else inputs)
    np.save(path.with_suffix(".npy"), keras.ops.convert_to_numpy(keras.tree.flatten(y)[0]))
"""


def reload_in_fresh_process(models, folder):
    """Saves {name: (model, inputs)}, loads all of them in a new Python without custom_objects, compares the outputs.

    `inputs` is a dict of arrays as a model with named inputs takes it, or a list.
    """
    for name, (model, inputs) in models.items():
        model.save(folder / f"{name}.keras")
        named = inputs if isinstance(inputs, dict) else {f"x{i}": x for i, x in enumerate(inputs)}
        np.savez(folder / f"{name}.npz", **named)
    env = {**os.environ, "PYTHONPATH": str(ROOT), "KERAS_BACKEND": BACKEND}
    done = subprocess.run([sys.executable, "-c", RELOAD, str(folder)], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    for name, (model, inputs) in models.items():
        close(np.load(folder / f"{name}.npy"), keras.tree.flatten(model(inputs))[0])


# ---------- decoders ----------


def source_and_target(vocab_size, batch, source_length, target_length):
    """Inputs of a sequence-to-sequence model, whose first source ends early and is padded."""
    rng = np.random.default_rng(1)
    source = rng.integers(4, vocab_size, (batch, source_length), "int32")
    target = rng.integers(4, vocab_size, (batch, target_length), "int32")
    source[0, 3:] = 0
    target[:, 0] = 1
    return {"source": source, "target": target}


def pieces(length, cuts):
    """Splits 0..length at the cuts: [(0, cut), (cut, ...), ...]."""
    return list(itertools.pairwise([0, *sorted(cuts), length]))


def in_steps(model, inputs, cuts, length=None):
    """Logits of the target read in pieces, the state handed from one to the next."""
    target = inputs["target"]
    memory, state = method(model, "start", length or target.shape[1])(inputs)
    logits = []
    for first, last in pieces(target.shape[1], cuts):
        piece, state = method(model, "step")(target[:, first:last], first, memory, state)
        logits.append(array(piece))
    return np.concatenate(logits, axis=1)


def split_anywhere_equals_whole(model, inputs, whole, cuts, length=None, tolerance=2e-5):
    """Training is the long case of decoding: reading in pieces gives the logits `whole` of reading at once."""
    close(in_steps(model, inputs, cuts, length), whole, tolerance)


def a_decoder_in_steps_equals_the_whole(decoder, x, context, cuts, length=None, tolerance=2e-5):
    """The same of a layer: x (B, T, D) at once, and in pieces with the state handed on."""
    decoder.build(x.shape, context.shape)
    shake(decoder)
    memory, state = method(decoder, "start", None, length)(context)
    rows = []
    for first, last in pieces(x.shape[1], cuts):
        y, state = method(decoder, "step")(x[:, first:last], first, memory, state)
        rows.append(array(y))
    close(np.concatenate(rows, axis=1), method(decoder, "__call__")(x, context), tolerance)


class Rows:
    """A model to which beams are rows, with caches of their own that are put into order."""

    def __init__(self, model):
        self.start, self.step, self.variables = model.start, model.step, model.variables


def beams_side_by_side(model, inputs, max_length, beams=4):
    """A model to which beams are tokens side by side writes what it writes where they are rows."""
    assert model.side_by_side
    found, rows = (generate(m, inputs, max_length, beams=beams, results=beams, eos=-1) for m in (model, Rows(model)))
    np.testing.assert_array_equal(array(found[0]), array(rows[0]))
    close(found[1], rows[1], 1e-4)


def padding_is_invisible(model, inputs, whole, more=3, tolerance=2e-5):
    """Padding after the source changes no logit."""
    wider = {**inputs, "source": np.pad(inputs["source"], ((0, 0), (0, more)))}
    close(call(model, wider), whole, tolerance)


def future_is_invisible(model, inputs, whole, at):
    """Another token at position `at` of the target changes no logit before it, and some logit from there on.

    `whole` is what `call` gives: no two ways of computing it agree to the last bit.
    """
    changed = {**inputs, "target": inputs["target"].copy()}
    changed["target"][:, at] = np.where(changed["target"][:, at] == 5, 6, 5)
    after = array(call(model, changed))
    np.testing.assert_array_equal(whole[:, :at], after[:, :at])
    assert np.abs(whole[:, at:] - after[:, at:]).max() > 1e-4


# ---------- exported files ----------


@functools.cache
def host():
    """The Python host of a bundle as a module."""
    path = ROOT / "keras_seq" / "deploy" / "hosts" / "python" / "host.py"
    return types.SimpleNamespace(**runpy.run_path(str(path), run_name="host"))


def golden_cases_hold(folder):
    """The files of an export answer what its golden.json says."""
    count, failed = host().check(folder)
    assert count
    assert not failed, failed
