"""One .tflite file for a phone: all signatures on one copy of the weights, builtin ops only."""

import contextlib
import re
import tempfile

from keras_seq.deploy import builtin_ops, conv, int4, rnn, signatures
from keras_seq.deploy.bytes import ByteCodec
from keras_seq.deploy.limits import FORMATS, check_formats
from keras_seq.deploy.runners import without_notes
from keras_seq.deploy.shrink import shrink


def convert_seq2seq(
    model, shapes, formats=FORMATS, beams=1, length_penalty=0.6, tokenizer_proto=None, dynamic=False
):  # fmt: skip
    """A model with `start` and `step` as .tflite files.

    Args:
        model: in float32.
        shapes: `signatures.Shapes`; all three fixed for phones and browsers, whose runtimes cannot resize.
        formats: of "f32", "f16", "int8" and "int4". int8 and int4 are dynamic: weights per row, or in blocks of 32,
            activations quantised to int8 as they come.
        beams: above 1 adds `generate_beam`.
        tokenizer_proto: bytes of the sentencepiece model; adds `text`, and `text_beam`.
        dynamic: take any batch and length of a source in all signatures but these two.

    Returns:
        dict format -> bytes, and the description of the signatures for the card.

    Raises:
        ValueError: for an unknown format, or int4 without ai-edge-quantizer.
        builtin_ops.UnsupportedOps: where an op is left that a plain runtime has no kernel for.
    """
    check_formats(formats)
    with for_phones():
        traced = shapes.open() if dynamic else shapes
        module, functions = signatures.seq2seq_module(model, traced, beams, length_penalty)
        functions |= signatures.attention(model, traced)
    if tokenizer_proto is not None:
        codec = ByteCodec(tokenizer_proto)
        module.tables = codec.tables
        functions |= texts(codec, functions, shapes)
    return convert(module, functions, formats), signatures.describe(functions)


def texts(codec, functions, shapes):
    """The signatures that write text, from text where the model reads that, of those that write tokens."""
    found = {}
    for name, search in {"text": "generate", "text_beam": "generate_beam"}.items():
        if search in functions:
            function = codec.writing(functions[search], shapes.specs())
            found[name] = function if shapes.inputs else codec.reading(function, "source", shapes.source_length)
    return found


@contextlib.contextmanager
def for_phones():
    """While this is open layers are traced in forms that the converter has builtin ops for."""
    with rnn.recurrent_loops(), conv.folded_convolutions(), shared_table():
        yield


def convert(module, functions, formats=FORMATS):
    """Concrete functions by name, over the variables that `module` tracks, as one file a format."""
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder, signatures.quiet():
        tf.saved_model.save(module, folder, signatures=functions)
        return {name: _convert(folder, list(functions), name) for name in formats}


@contextlib.contextmanager
def shared_table():
    """While this is open, embeddings are looked up in a way that the converter knows as one builtin op.

    Of a GATHER it quantises no table, and keeps a second copy for the logits that are tied to it.
    """
    from keras_seq.layers import embeddings

    kept, embeddings.lookup = embeddings.lookup, _lookup()
    try:
        yield
    finally:
        embeddings.lookup = kept


def _lookup():
    import tensorflow as tf
    from keras import ops

    from keras_seq.layers import embeddings

    @tf.function(experimental_implements="embedding_matmul", autograph=False)
    def rows(table, tokens):  # tokens of rank 1
        return tf.gather(table, tokens)

    def lookup(table, tokens, dtype, factor=None):
        table, tokens = ops.convert_to_tensor(table), embeddings.numbers(tokens)
        vectors = rows(table, tf.reshape(tokens, [-1]))
        x = ops.cast(ops.reshape(vectors, (*ops.shape(tokens), table.shape[-1])), dtype)
        if factor is None:
            return x
        # a constant would be folded into the next kernel by some signatures only, and that kernel be stored twice
        return x * tf.where(tf.expand_dims(tokens, -1) >= 0, tf.cast(factor, dtype), 0)

    return lookup


def _convert(folder, names, form):
    import tensorflow as tf
    from tensorflow.lite.python.convert import ConverterError  # not public: what `convert` raises

    converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=names)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    converter.experimental_enable_resource_variables = False
    if form in ("int8", "f16"):
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if form == "f16":
        converter.target_spec.supported_types = [tf.float16]
    try:
        with without_notes():
            content = converter.convert()
    except ConverterError as error:  # its text is the whole graph
        raise builtin_ops.UnsupportedOps(explain(str(error))) from None
    if form == "int4":
        with without_notes():
            content = int4.in_blocks(content)
    builtin_ops.check_ops(content)
    return shrink(content)


def explain(error):
    """What the converter's error says, in a few lines: the ops that have no builtin counterpart, and their places."""
    custom = " ".join(re.findall(r"Custom ops: ([^\n]*)", error))
    found = re.findall(r"""error: loc\(\w*\(?fused\["[^"]*", "([^"@]+)[^\n]*'tf\.(\w+)' op""", error)
    offending = [
        builtin_ops.Op(f"CUSTOM:{name}" if name in custom else f"CUSTOM:Flex{name}", place)
        for place, name in dict.fromkeys(found)
    ]
    if offending:
        return builtin_ops.describe(offending)
    ops = ", ".join(sorted(set(re.findall(r"tf\.\w+", error)))) or error.strip().splitlines()[-1]
    return f"Expected builtin ops only in the .tflite file; the converter cannot translate {ops}."
