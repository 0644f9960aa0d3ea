"""The methods of a model that writes text as graph functions with stable names and shapes.

| signature | inputs | outputs |
|---|---|---|
| `encode` | `source` (B, S) int32 | `memory_*`, `state_*`: what `start` returns, flattened |
| `decode_step` | `tokens` (B, 1) int32, `index` () int32, `memory_*`, `state_*` | `logits` (B, V), `state_*` |
| `generate` | `source` (B, S) int32 | `tokens` (B, T) int32, `scores` (B,) float32: greedy |
| `generate_beam` | `source` (B, S) int32 | the same, of the best beam; only where beams were asked for |
| `text`, `text_beam` | `utf8` (1, N) int32 | `utf8` (1, M) int32, `scores`, and the ids `source` and `tokens` |
| `attention` | `source` (B, S), `tokens` (B, T) int32 | `weights` (B, T, S) float32: where it looked for each token |

The last two are in a .tflite only; `attention` where a model attends to what it reads, and `tokens` of `generate`.

A model that reads something else has its own inputs in the place of `source`, for example `image` (B, H, W, 3) float32.
Names of nested tensors are their paths: `memory_kv_0_k`, `state_1_v`, `state_0_h`. An input and an output of
`decode_step` with the same name are the same tensor one step apart. `source` holds ids, EOS, then PAD; `tokens` of
`generate` no BOS, then ids, EOS and PAD; `decode_step` begins with BOS at index 0. `utf8` holds the bytes of a text,
then 0. A mask is int32, 1 or 0.
"""

import contextlib
import dataclasses
import logging

import numpy as np
from keras import tree

LARGEST = 2**31 - 2  # of what a model is given: ids, pixels, samples


@dataclasses.dataclass(frozen=True)
class Shapes:
    """The sizes that are fixed in an exported graph; None is a size that is known only when it runs."""

    batch: int | None = 1
    source_length: int | None = 64
    max_length: int = 64  # of what is generated, EOS included; also the length of the key and value cache
    inputs: dict | None = None  # {name: (shape without the batch axis, dtype)} of `start`; None: `source`, ids

    def open(self):
        """The same for any batch and length of a source."""
        return dataclasses.replace(self, batch=None, source_length=None)

    def specs(self):
        """What `start` reads: {name: tf.TensorSpec}."""
        return specs(self.inputs or {"source": ((self.source_length,), "int32")}, self.batch)


def check_float32(model):
    """Raises ValueError where a layer computes in another type than float32."""
    found = sorted({layer.compute_dtype for layer in model._flatten_layers()} - {"float32", None})
    if found:
        raise ValueError(
            f"Expected a model that computes in float32 to export; got layers in {found}. "
            'Call keras.config.set_dtype_policy("float32"), build the model again and load its weights.'
        )


def seq2seq_module(model, shapes, beams=1, length_penalty=0.6, **options):
    """The model's weights and its signatures, ready for `tf.saved_model.save`.

    Args:
        model: with `start` and `step`, in float32.
        shapes: `Shapes`.
        beams: above 1 adds the signature `generate_beam`.
        options: of `decoding.search`, for all that write.

    Returns:
        tf.Module that tracks the weights, and a dict of its concrete functions by name.
    """
    module = tracked(model)
    model = EmptyAtRunTime(model)
    encode, nests = _encode(model, shapes)
    signatures = {"encode": encode, "decode_step": _decode_step(model, encode, nests, shapes)}
    signatures["generate"] = _generate(model, shapes, **options)
    if beams > 1:
        options |= {"beams": beams, "length_penalty": length_penalty}
        signatures["generate_beam"] = _generate(model, shapes, **options)
    return module, signatures


def tracked(model):
    """A tf.Module that holds a model's weights: a converter leaves untracked ones uninitialised, without a word.

    Raises:
        ValueError: for a model that is not in float32, or with a weight that is no number.
    """
    import tensorflow as tf

    check_float32(model)
    check_numbers(model)
    module = tf.Module(name="model")
    module.tracked = [variable.value for variable in model.variables]
    return module


def check_numbers(model):
    """Raises ValueError where a weight is not finite: such a file would convert and answer nothing but NaN."""
    found = [weight.path for weight in model.weights if not np.isfinite(np.asarray(weight)).all()]
    if found:
        raise ValueError(
            f"Expected finite weights to export; got NaN or infinity in {', '.join(found[:3])}. "
            "Train again with a smaller learning rate or a gradient clip."
        )


class EmptyAtRunTime:
    """A model whose empty caches are made when it runs: as constants they would be stored in every signature."""

    def __init__(self, model):
        self.model, self.step = model, model.step

    def start(self, inputs, length):
        memory, state = self.model.start(inputs, length)
        return memory, tree.map_structure(lambda x: _not_folded(x, tree.flatten(inputs)[0]), state)


def flatten(prefix, nest):
    """{"memory_kv_0_k": tensor, ...} of a nest of tensors."""
    return {"_".join([prefix, *map(str, path)]): leaf for path, leaf in tree.flatten_with_path(nest)}


def unflatten(prefix, nest, named):
    """A nest like `nest` of the tensors that `flatten` would name so; `named` may hold others too."""
    return tree.pack_sequence_as(nest, [named[name] for name in flatten(prefix, nest)])


def specs(inputs, batch):
    """{name: tf.TensorSpec} of {name: (shape without the batch axis, dtype)}; a shape of None is a lone number."""
    import tensorflow as tf

    return {
        name: tf.TensorSpec(() if shape is None else (batch, *shape), dtype) for name, (shape, dtype) in inputs.items()
    }


def describe(signatures):
    """{signature: {"inputs": {name: {"shape", "dtype"}}, "outputs": {...}}}, JSON-able; None is a dynamic size."""
    return {
        name: {
            "inputs": {key: _facts(spec) for key, spec in inputs_of(function).items()},
            "outputs": {key: _facts(spec) for key, spec in sorted(function.structured_outputs.items())},
        }
        for name, function in signatures.items()
    }


def inputs_of(function):
    """{name: tf.TensorSpec} of what a concrete function reads."""
    return {spec.name: spec for spec in tree.flatten(function.structured_input_signature)}


def _not_folded(x, given):
    """Zeros as a FILL with a zero that the converter cannot know, as nothing given is as large; others as they are."""
    import tensorflow as tf

    value = tf.get_static_value(x)
    if value is None or value.any():
        return x
    return tf.fill(x.shape, tf.cast(tf.reduce_max(given) > LARGEST, x.dtype))


def _distinct(named, given):
    """Tensors by name, none of them the same as another to the converter: it would merge them, and lose their names."""
    import tensorflow as tf

    top = tf.reduce_max(given)
    nothing = [tf.cast(top > LARGEST // i, x.dtype) for i, x in enumerate(named.values(), 2)]  # 0, once it runs
    return {name: x + zero for (name, x), zero in zip(named.items(), nothing)}


def _no_booleans(named):
    """Tensors by name, masks as whole numbers: the runtime of a browser knows no booleans."""
    import tensorflow as tf

    return {name: tf.cast(x, "int32") if x.dtype == tf.bool else x for name, x in named.items()}


def _as(nest, given):
    """Tensors in the types that those of a nest have."""
    import tensorflow as tf

    return tree.map_structure(lambda like, x: tf.cast(x, like.dtype), nest, given)


def _facts(spec):
    return {"shape": list(spec.shape), "dtype": spec.dtype.name}


def trace(function, **specs):
    """The graph of `function(**tensors)`, whose inputs are named after the arguments."""
    import tensorflow as tf

    named = {name: tf.TensorSpec(spec.shape, spec.dtype, name=name) for name, spec in specs.items()}
    return tf.function(function, autograph=False).get_concrete_function(**named)


def _encode(model, shapes):
    """The function, and the nests that `start` returned while it was traced (only their structure is of use)."""
    nests = {}

    def encode(**inputs):
        nests["memory"], nests["state"] = model.start(inputs, shapes.max_length)
        state = _distinct(flatten("state", nests["state"]), tree.flatten(inputs)[0])
        return _no_booleans({**flatten("memory", nests["memory"]), **state})

    return trace(encode, **shapes.specs()), nests


def _decode_step(model, encode, nests, shapes):
    import tensorflow as tf

    def decode_step(tokens, index, **flat):
        memory, state = (_as(nest, unflatten(prefix, nest, flat)) for prefix, nest in nests.items())
        logits, state = model.step(tokens, index, memory, state)
        return {"logits": tf.squeeze(logits, 1), **_no_booleans(flatten("state", state))}

    specs = {"tokens": tf.TensorSpec((shapes.batch, 1), "int32"), "index": tf.TensorSpec((), "int32")}
    return trace(decode_step, **specs, **encode.structured_outputs)


def _generate(model, shapes, **options):
    from keras_seq.decoding import search

    def generate(**inputs):
        tokens, scores = search(model, inputs, None, max_length=shapes.max_length, **options)
        return {"tokens": tokens[:, 0], "scores": scores[:, 0]}

    return trace(generate, **shapes.specs())


def attention(model, shapes):
    """{"attention": how the last layer attends to what was read, for each token that `generate` wrote}, or nothing.

    The mean of the heads, found in one pass over all tokens.
    """
    import tensorflow as tf

    from keras_seq.decoding import BOS

    if not hasattr(model, "attention_weights"):
        return {}

    def weights(tokens, **inputs):
        target = tf.concat([tf.fill([tf.shape(tokens)[0], 1], BOS), tokens[:, :-1]], axis=1)
        found = model.attention_weights({**inputs, "target": target})
        return {} if found is None else {"weights": tf.reduce_mean(found, axis=1)}

    function = trace(weights, tokens=tf.TensorSpec((shapes.batch, shapes.max_length), "int32"), **shapes.specs())
    return {"attention": function} if function.structured_outputs else {}


@contextlib.contextmanager
def quiet():
    """Without TensorFlow's notes on assets and signatures."""
    loggers = [logging.getLogger(name) for name in ("tensorflow", "absl")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)
