"""A SavedModel with text in and text out, which loads with tensorflow alone.

Of a model that writes text:

| signature | inputs | outputs |
|---|---|---|
| `generate` | `texts` (B,) string | `text` (B,) string, `scores` (B,) float32 |
| `generate_ids` | `source` (B, S) int32 | `tokens` (B, T) int32, `scores` (B,) float32 |
| `encode`, `decode_step` | as in `keras_seq.deploy.signatures` | |

B and S are whatever comes; T is fixed at export. A longer source than `source_length` is cut to `source_length` - 1 ids
and EOS, as it is for the phone. `generate` and `generate_ids` search with the beams that the export was asked for. A
model that reads something else than text has its own inputs in the place of `texts` and `source`.

Of a model that predicts, its own signatures; where it reads text, `predict` takes `texts` (B,) string and `predict_ids`
takes `tokens` (B, S) int32; where it writes text, `generate` gives `text` (B,) string beside the rest. Either may also
take its input raw, as bytes of files: `generate_pictures` reads `pictures` (B,) string, where the export was told how.
"""

from keras_seq.deploy import rnn, signatures


def save_seq2seq(
    model, tokenizer_proto, path, source_length=64, max_length=64, beams=1, length_penalty=0.6, inputs=None,
    raw=None,
):  # fmt: skip
    """Writes a SavedModel of a model that writes text to the folder `path`.

    Args:
        model: with `start` and `step`, in float32.
        tokenizer_proto: bytes of the sentencepiece model that both sides use.
        path: a folder that does not exist yet.
        source_length: ids of the longest source, EOS included.
        max_length: ids of the longest output, EOS included.
        beams: 1 is greedy.
        inputs: {name: (shape without the batch axis, dtype)} of what is read instead of text.
        raw: {name: function of strings (B,) that gives `inputs`}; adds `generate_NAME`, which takes them.

    Example:

        loaded = tf.saved_model.load("saved_model")
        loaded.signatures["generate"](texts=tf.constant(["Open the file."]))["text"]  # string (1,)
    """
    from keras_seq.deploy.text import TextCodec

    shapes = signatures.Shapes(batch=None, source_length=None, max_length=max_length, inputs=inputs)
    with for_servers():
        module, functions = signatures.seq2seq_module(model, shapes, beams, length_penalty)
    functions["generate_ids"] = ids = functions.pop("generate_beam", functions["generate"])
    codec = TextCodec(tokenizer_proto)
    written = writing(codec, ids, ["scores"])
    functions["generate"] = written if inputs else reading(codec, written, "source", source_length)
    functions |= _raw("generate", functions["generate"], raw)
    save(module, functions, path, codec)


def save_predictor(model, given, path, text=None, raw=None, writes=None):
    """Writes a SavedModel of a model that predicts to the folder `path`.

    Args:
        model: whose weights the signatures use, in float32.
        given: {name: `predictor.Signature`}.
        path: a folder that does not exist yet.
        text: {"tokenizer": bytes of a sentencepiece model, "length": S} where `predict` reads `tokens` (S,).
        raw: {name: function of strings (B,) that gives what `predict` reads}; adds `predict_NAME`, which takes them.
        writes: bytes of a sentencepiece model, where `predict` gives `tokens` of a text.
    """
    from keras_seq.deploy.text import TextCodec

    module = signatures.tracked(model)
    with for_servers():
        functions = {name: signature.traced(batch=None, fixed=False) for name, signature in given.items()}
    functions |= _raw("predict", functions["predict"], raw)
    if writes:
        codec, predict = TextCodec(writes), functions["predict"]
        functions["generate"] = writing(codec, predict, predict.structured_outputs)
        return save(module, functions, path, codec)
    if not text:
        return save(module, functions, path)
    functions["predict_ids"], codec = functions["predict"], TextCodec(text["tokenizer"])
    functions["predict"] = reading(codec, functions["predict_ids"], "tokens", text["length"])
    return save(module, functions, path, codec)


def for_servers():
    """While this is open layers are traced with Keras' own loop, which every TensorFlow runs, without cuDNN."""
    return rnn.recurrent_loops(rnn=None)


def save(module, functions, path, codec=None):
    """Concrete functions by name, over the variables that `module` tracks, as a SavedModel."""
    import tensorflow as tf

    module.table = codec and codec.table
    with signatures.quiet():
        tf.saved_model.save(module, str(path), signatures=functions)


def writing(codec, function, kept, follows=False):
    """A function that gives `tokens` as one that gives `text`, beside what is kept of the rest."""

    def text(**given):
        found = function(**given)
        return {**{name: found[name] for name in kept}, "text": codec.decode(found["tokens"], follows)}

    return signatures.trace(text, **signatures.inputs_of(function))


def reading(codec, function, name, limit, prompt=False, before=""):
    """A function that reads `name`, ids, as one that reads `texts` (B,), string; other inputs stay as they are.

    `before` is put before every text.
    """
    import tensorflow as tf

    others = signatures.inputs_of(function)
    exact = others.pop(name).shape[1]  # None: as long as the longest text

    def of_texts(texts, **given):
        ids = codec.encode(tf.strings.join([before, texts]) if before else texts, limit, exact, prompt)
        if exact is None:  # of no text too there is a step that a recurrent layer can take
            ids = tf.pad(ids, [[0, 0], [0, tf.cast(tf.equal(tf.size(texts), 0), "int32")]])
        return dict(function(**{name: ids}, **given))

    return signatures.trace(of_texts, texts=_strings(), **others)


def _raw(main, function, raw):
    """For each of `raw` the signature `main` that reads the strings of that name."""

    def reading(name, read):
        return signatures.trace(lambda **given: dict(function(**read(given[name]))), **{name: _strings()})

    return {f"{main}_{name}": reading(name, read) for name, read in (raw or {}).items()}


def _strings():
    import tensorflow as tf

    return tf.TensorSpec((None,), "string")
