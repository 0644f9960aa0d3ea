"""A SavedModel with text in and text out, which loads with tensorflow alone.

| signature | inputs | outputs |
|---|---|---|
| `generate` | `texts` (B,) string | `text` (B,) string, `scores` (B,) float32 |
| `generate_ids` | `source` (B, S) int32 | `tokens` (B, T) int32, `scores` (B,) float32 |
| `encode`, `decode_step` | as in `keras_seq.deploy.signatures` | |

B and S are whatever comes; T is fixed at export. A longer source than `source_length` is cut to `source_length` - 1 ids
and EOS, as it is for the phone. `generate` and `generate_ids` search with the beams that the export was asked for.
"""

from keras_seq.deploy import rnn, signatures


def save_seq2seq(model, tokenizer_proto, path, source_length=64, max_length=64, beams=1, length_penalty=0.6):
    """Writes a SavedModel to the folder `path`.

    Args:
        model: with `start` and `step`, in float32.
        tokenizer_proto: bytes of the sentencepiece model that both sides use.
        path: a folder that does not exist yet.
        source_length: ids of the longest source, EOS included.
        max_length: ids of the longest output, EOS included.
        beams: 1 is greedy.

    Example:
        >>> loaded = tf.saved_model.load("saved_model")
        >>> loaded.signatures["generate"](texts=tf.constant(["Open the file."]))["text"]
    """
    import tensorflow as tf

    from keras_seq.deploy.text import TextCodec

    shapes = signatures.Shapes(batch=None, source_length=None, max_length=max_length)
    with rnn.recurrent_loops(rnn=None):  # Keras' own loop, which every TensorFlow runs, without cuDNN
        module, functions = signatures.seq2seq_module(model, shapes, beams, length_penalty)
    functions["generate_ids"] = functions.pop("generate_beam", functions["generate"])
    codec = TextCodec(tokenizer_proto)
    module.table = codec.table
    functions["generate"] = _text_function(codec, functions["generate_ids"], source_length)
    with signatures.quiet():
        tf.saved_model.save(module, str(path), signatures=functions)


def _text_function(codec, search, source_length):
    import tensorflow as tf

    def generate(texts):
        found = search(source=codec.encode(texts, source_length))
        return {"text": codec.decode(found["tokens"]), "scores": found["scores"]}

    spec = tf.TensorSpec((None,), "string", name="texts")
    return tf.function(generate, autograph=False).get_concrete_function(texts=spec)
