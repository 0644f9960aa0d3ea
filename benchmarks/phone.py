"""Exported files against CTranslate2, ONNX Runtime and TensorFlow with the same weights: CPU milliseconds a token.

    pip install -e ".[bench]"
    python -m benchmarks phone                          # some minutes on one thread
    python -m benchmarks phone --models small --rounds 3
    python -m benchmarks phone --batch 32

One thread, one sentence at a time or so many, all rivals in turn in each round, the best round counts; it is CPU time,
which other work on the machine changes least. Before that the exact ones have to write the same tokens. Weights are
random: what they are does not change the time, and a row of zeros for the end of a text makes every sentence as long as
it may be.
"""

import argparse
import json
import os
import pathlib
import sys
import tempfile

from benchmarks import _race

os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", OMP_NUM_THREADS="1", CUDA_VISIBLE_DEVICES="-1", KERAS_BACKEND="tensorflow")

SOURCE, LENGTH, EOS, BEAMS, BEAM = 32, 64, 2, 4, ", beam 4"
SPECIAL = ["<pad>", "<s>", "</s>", "<unk>"]
MODELS = {
    "small": {"vocab_size": 4000, "dim": 256, "num_heads": 4, "num_layers": 3, "mlp_dim": 1024},
    "base": {"vocab_size": 8000, "dim": 512, "num_heads": 8, "num_layers": 6, "mlp_dim": 2048},
    "lstm": {"vocab_size": 4000, "dim": 256, "units": 512, "num_layers": 1, "attention": "dot"},
}
TRANSFORMER = (  # a file, a rival, and what share of the rival's time is asked at most
    ("f32", "CTranslate2 float32", 0.85),
    ("int8", "CTranslate2 int8", 0.75),
    ("int8, beam 4", "CTranslate2 int8, beam 4", 1.4),
    ("one step", "ONNX Runtime, one step", 1.0),
)
LSTM = (("f32", "Keras, compiled loop", 0.5), ("int8", "Keras, compiled loop", 0.15))


def random_model(name):
    """A model whose sentences do not end before they have to, and are not the same token again and again."""
    import keras

    from keras_seq import models

    keras.utils.set_random_seed(0)
    kind = models.RecurrentSeq2Seq if name == "lstm" else models.TransformerSeq2Seq
    model = kind(**MODELS[name], dropout=0.0)
    table = model.source_embedding.table.numpy()
    table[EOS] = 0
    model.source_embedding.table.assign(table)
    for weight in model.weights:
        if len(weight.shape) == 2 and weight.shape != table.shape:  # or what it reads last would decide
            weight.assign(2 * weight)
    return model


def sentences(vocab_size, batch=1, length=SOURCE):
    """Ids (B, length) of sources, their ends included."""
    import numpy as np

    ids = np.random.default_rng(0).integers(4, vocab_size, (batch, length)).astype("int32")
    ids[:, -1] = EOS
    return ids


# --- ours -------------------------------------------------------------------------------------------------------------


def exported(model, batch=1):
    """{format: .tflite} with all signatures but those of text, for so many sentences at a time."""
    from keras_seq.deploy import litert
    from keras_seq.deploy.signatures import Shapes

    return litert.convert_seq2seq(model, Shapes(batch, SOURCE, LENGTH), ("f32", "int8"), beams=BEAMS)[0]


def interpreters(contents, source):
    """{rival: function that writes all sentences} of our files."""
    from ai_edge_litert.interpreter import Interpreter

    files = {form: Interpreter(model_content=content, num_threads=1) for form, content in contents.items()}
    rivals = {}
    for form, suffix, signature in (("f32", "", "generate"), ("int8", "", "generate"), ("int8", BEAM, "generate_beam")):
        runner = files[form].get_signature_runner(signature)
        rivals[form + suffix] = lambda run=runner: run(source=source)["tokens"]
    return rivals


def compiled(model, source):
    """Keras' own loop, as `predict` of an app runs it."""
    import numpy as np

    from keras_seq.decoding import generate

    return lambda: np.array(generate(model, {"source": source}, max_length=LENGTH)[0])[:, 0]


# --- CTranslate2 ------------------------------------------------------------------------------------------------------


def translators(model, source, folder):
    """{rival: function that writes all sentences} of CTranslate2."""
    given = engines(model, folder, source)
    return {
        f"CTranslate2 {kind}{suffix}": lambda engine=given[kind], beams=beams: written(engine, source, beams, LENGTH)
        for kind, suffix, beams in (("float32", "", 1), ("int8", "", 1), ("int8", BEAM, BEAMS))
    }


def engines(model, folder, source):
    """{"float32", "int8": CTranslate2's translator}, the first of which has to score as Keras does."""
    import ctranslate2

    os.mkdir(folder)
    specification(model).save(folder)
    one = {"intra_threads": 1, "inter_threads": 1}
    found = {kind: ctranslate2.Translator(folder, compute_type=kind, **one) for kind in ("float32", "int8")}
    check_scores(model, found["float32"], source[:1], words(source[0]))
    return found


def words(row):
    """A row of ids, EOS at its end, as CTranslate2 reads it."""
    return [str(i) for i in row[:-1]] + ["</s>"]


def written(engine, source, beams, length):
    """Ids (B, length) that CTranslate2 writes."""
    import numpy as np

    options = {"beam_size": beams, "max_decoding_length": length, "min_decoding_length": length}
    found = [row.hypotheses[0] for row in engine.translate_batch([words(row) for row in source], **options)]
    return np.array([[int(word) if word.isdigit() else SPECIAL.index(word) for word in row] for row in found])


def check_scores(model, engine, source, words):
    """Any target has the same log-probabilities from CTranslate2 and from Keras, id by id.

    Raises:
        AssertionError: where it has not.
    """
    import numpy as np

    from keras_seq.deploy.report import log_softmax

    target = np.random.default_rng(1).integers(4, model.options["vocab_size"], 20).astype("int32")
    logits = np.array(model({"source": source, "target": np.concatenate([[1], target])[None].astype("int32")}))[0]
    ours = log_softmax(logits)[np.arange(20), target]
    theirs = engine.score_batch([words], [[str(i) for i in target]])[0].log_probs[:20]
    np.testing.assert_allclose(theirs, ours, rtol=1e-4, atol=1e-3)


def specification(model):
    """The weights of a Transformer with sinusoidal positions as CTranslate2 wants them."""
    from ctranslate2.specs import TransformerSpec

    options = model.options
    spec = TransformerSpec.from_config(options["num_layers"], options["num_heads"])
    spec.config.layer_norm_epsilon, spec.config.decoder_start_token = 1e-6, "<s>"
    table, places = model.source_embedding.table.numpy(), positions(model)
    spec.encoder.embeddings[0].weight = spec.decoder.embeddings.weight = spec.decoder.projection.weight = table
    for ours, theirs in ((model.encoder, spec.encoder), (model.decoder, spec.decoder)):
        theirs.position_encodings.encodings = places
        normalise(ours.norm, theirs.layer_norm)
        for block, layer in zip(ours.blocks, theirs.layer):
            fill(block, layer)
    words = [*SPECIAL, *map(str, range(len(SPECIAL), options["vocab_size"]))]
    spec.register_source_vocabulary(words)
    spec.register_target_vocabulary(words)
    spec.validate()
    spec.optimize()
    return spec


def positions(model):
    """The table of sinusoidal positions."""
    import numpy as np

    pos = np.arange(2 * LENGTH, dtype="int32")[None]
    return np.array(model.encoder.position.add(np.zeros((1, 2 * LENGTH, model.options["dim"]), "float32"), pos))[0]


def fill(block, layer):
    """One block's weights."""
    own, cross, forward = block.self_attention, block.cross_attention, block.feed_forward
    project([own.query_key_value, own.out], layer.self_attention)
    normalise(block.norms[0], layer.self_attention.layer_norm)
    if cross is not None:
        project([cross.to_query, cross.key_value, cross.out], layer.attention)
        normalise(block.norms[1], layer.attention.layer_norm)
    for ours, theirs in ((forward.up, layer.ffn.linear_0), (forward.down, layer.ffn.linear_1)):
        linear(ours, theirs)
    normalise(block.norms[-1], layer.ffn.layer_norm)


def project(layers, attention):
    for ours, theirs in zip(layers, attention.linear, strict=True):
        linear(ours, theirs)


def linear(ours, theirs):
    theirs.weight, theirs.bias = ours.kernel.numpy().T.copy(), ours.bias.numpy()


def normalise(ours, theirs):
    theirs.gamma, theirs.beta = ours.gamma.numpy(), ours.beta.numpy()


# --- ONNX Runtime -----------------------------------------------------------------------------------------------------


def one_step(model, content, source):
    """{rival: function that computes one step}: our file's `decode_step`, and the same graph by tf2onnx."""
    import numpy as np
    import onnxruntime
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content, num_threads=1)
    encode, step = (interpreter.get_signature_runner(name) for name in ("encode", "decode_step"))
    inputs = {**encode(source=source), "tokens": np.int32([[1]]), "index": np.int32(0)}
    inputs = {name: x for name, x in inputs.items() if name in step.get_input_details()}
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    file = onnx_step(model)
    session = onnxruntime.InferenceSession(file, settings, providers=["CPUExecutionProvider"])
    names = {value.name: value.name.removeprefix("decode_step_").partition(":")[0] for value in session.get_inputs()}
    given = {theirs: np.asarray(inputs[ours]) for theirs, ours in names.items()}
    found = step(**inputs)["logits"]
    logits = next(x for x in session.run(None, given) if x.shape == found.shape)
    np.testing.assert_allclose(logits, found, atol=1e-4)
    return {"one step": lambda: step(**inputs), "ONNX Runtime, one step": lambda: session.run(None, given)}


def onnx_step(model):
    """`decode_step` as an ONNX file, made of a .tflite of it alone."""
    import tensorflow as tf
    import tf2onnx
    from keras import ops

    from keras_seq.deploy import signatures
    from keras_seq.layers import transformer

    def write(cache, new, index):  # tf2onnx knows no DYNAMIC_UPDATE_SLICE
        here = ops.reshape(ops.equal(ops.arange(LENGTH), index), (1, 1, LENGTH, 1))
        return {name: ops.where(here, new[name], cache[name]) for name in cache}

    kept, transformer.write = transformer.write, write
    try:
        module, functions = signatures.seq2seq_module(model, signatures.Shapes(1, SOURCE, LENGTH))
    finally:
        transformer.write = kept
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, signatures={"decode_step": functions["decode_step"]})
        content = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=["decode_step"]).convert()
        path = pathlib.Path(folder) / "step.tflite"  # not one of ours, in which tensors have no names
        path.write_bytes(content)
        return tf2onnx.convert.from_tflite(str(path), opset=18)[0].SerializeToString()


# --- the race ---------------------------------------------------------------------------------------------------------


def rivals_of(name, model, source, folder):
    """{rival: function}, and lines on those that cannot take part."""
    contents, notes = exported(model, len(source)), []
    rivals = {**interpreters(contents, source), "Keras, compiled loop": compiled(model, source)}
    others = [] if name == "lstm" else [lambda: translators(model, source, folder)]
    others += [] if name == "lstm" or len(source) > 1 else [lambda: one_step(model, contents["f32"], source)]
    for other in others:
        try:
            rivals |= other()
        except Exception as error:  # a peer that is not installed, or does not know an op, is told of and left out
            notes.append(f"left out: {type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}")
    return rivals, notes


def steps_alike(found, expected):
    """In how many of the first steps two arrays of ids (B, T) agree in all rows."""
    import numpy as np

    alike = (found[:, :LENGTH] == expected[:, :LENGTH]).all(axis=0)
    return int(np.argmin(np.append(alike, False)))


def agree(rivals):
    """{rival: in how many of the first steps its tokens are those of our f32 file}; exact ones have to agree on all.

    Raises:
        AssertionError: where they do not.
    """
    import numpy as np

    written = {name: np.array(run()) for name, run in rivals.items() if "step" not in name and "beam" not in name}
    same = {name: steps_alike(tokens, written["f32"]) for name, tokens in written.items()}
    for name in ("Keras, compiled loop", "CTranslate2 float32"):
        assert same.get(name, LENGTH) == LENGTH, f"{name}: the same tokens up to {same[name]} of {LENGTH} only"
    return same


def race(rivals, rounds, batch=1):
    """{rival: CPU milliseconds a token, or a step, of its best round}, a call each in turn."""
    samples = _race.race({name: _race.once(run) for name, run in rivals.items()}, rounds)
    best = {name: _race.summary(found)["cpu"] for name, found in samples.items()}
    return {name: ms / (1 if "step" in name else LENGTH * batch) for name, ms in best.items()}


def compared(name, times):
    """[(ours, rival, ratio, asked)] of those that ran."""
    pairs = LSTM if name == "lstm" else TRANSFORMER
    return [(ours, rival, times[ours] / times[rival], asked) for ours, rival, asked in pairs if rival in times]


def measure(name, rounds, batch=1):
    """All that is known of one model."""
    model = random_model(name)
    source = sentences(model.options["vocab_size"], batch)
    with tempfile.TemporaryDirectory() as folder:
        rivals, notes = rivals_of(name, model, source, os.path.join(folder, "peer"))
        same = agree(rivals)
        distinct = len(set(rivals["f32"]().ravel().tolist()))
        return {"ms": race(rivals, rounds, batch), "same": same, "distinct": distinct, "notes": notes}


def table(results):
    """The results as Markdown."""
    lines = ["| model | rival | CPU ms a token | same tokens |", "|---|---|---|---|"]
    for name, found in results.items():
        for rival, ms in found["ms"].items():
            same = f"{found['same'][rival]} of {LENGTH}" if rival in found["same"] else ""
            lines.append(f"| {name} | {rival} | {ms:.3f} | {same} |")
        lines.append(f"| {name} | | | {found['distinct']} different ones |")
    lines += ["", "| model | file | against | ratio | asked | |", "|---|---|---|---|---|---|"]
    for name, found in results.items():
        for ours, rival, ratio, asked in compared(name, found["ms"]):
            lines.append(f"| {name} | {ours} | {rival} | {ratio:.2f} | {asked} | {_race.verdict(ratio, asked)} |")
    return "\n".join(lines + ["", *(f"{name}: {note}" for name in results for note in results[name]["notes"])])


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--batch", type=int, default=1, help="sentences at a time")
    parser.add_argument("--rounds", type=int, default=8, help="of which the best counts")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    args = parser.parse_args(argv)
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    results = {}
    for name in args.models:
        results[name] = measure(name, args.rounds, args.batch)
        print(f"{name}: {json.dumps(results[name])}", file=sys.stderr, flush=True)
    print(json.dumps(results, indent=1) if args.json else table(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
