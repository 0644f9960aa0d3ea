"""Export: the SavedModel and the .tflite write what Keras writes, with builtin ops only, or nothing is put in place."""

import functools
import importlib.metadata
import io
import itertools
import json
import os
import subprocess
import sys
import types
import venv
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
import sentencepiece
import tensorflow as tf
from packaging.requirements import Requirement

from keras_seq import deploy
from keras_seq.decoding import generate
from keras_seq.deploy import builtin_ops, export, litert, parity, rnn, savedmodel
from keras_seq.deploy.runners import pad_sources
from keras_seq.deploy.text import TextCodec
from keras_seq.models import RecurrentSeq2Seq, TransformerSeq2Seq

ROOT = Path(__file__).parents[1]
S, T = 7, 9  # source_length, max_length
TEXTS = ["open the file", "close it", "click here to save", "Save a copy", "the end", "zq", "", "one two three four"]
POSITIONS = ("sinusoidal", "learned", "rotary", "relative", "relative_bias", "alibi")
ATTENTIONS, CELLS = ("additive", "general", "none"), ("lstm", "gru")
COMBINATIONS = [("transformer", p) for p in POSITIONS] + [(a, c) for a in ATTENTIONS for c in CELLS]
COMBINATIONS += [("additive", "rnn"), ("multi_head", "gru")]
IN_THE_LOOP = (("dot", "lstm"), ("additive", "rnn"))  # the context enters the next step; else it is added after it
WITH_BEAMS = (("transformer", "rotary"), ("additive", "lstm"))
WITH_INT8 = (*WITH_BEAMS, ("transformer", "relative"), ("general", "gru"))


@functools.cache
def tokenizer_proto():
    """A sentencepiece model of some 60 pieces."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS[:5] * 9), model_writer=model, vocab_size=67, hard_vocab_limit=False, minloglevel=2,
        pad_id=0, bos_id=1, eos_id=2, unk_id=3, normalization_rule_name="identity",
    )  # fmt: skip
    return model.getvalue()


@functools.cache
def tokenizer():
    return sentencepiece.SentencePieceProcessor(model_proto=tokenizer_proto())


def make(family, kind):
    """A small model with weights large enough that what it writes depends on what it reads."""
    vocab = tokenizer().get_piece_size()
    keras.utils.set_random_seed(5)
    if family == "transformer":
        model = TransformerSeq2Seq(vocab, dim=36, num_heads=2, num_layers=1, mlp_dim=47, position=kind, max_length=11)
    else:
        inside, units = (family, kind) in IN_THE_LOOP, 16 if family == "multi_head" else 14
        model = RecurrentSeq2Seq(vocab, 36, units, num_layers=1, attention=family, cell=kind, feed_context=inside)
    noise = np.random.default_rng(0)
    for weight in model.weights[1:]:  # all but the embedding
        weight.assign(weight + 0.5 * noise.normal(size=weight.shape))
    return model


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """(model, paths) of a combination, exported once, on what seems to be a machine with cuDNN."""
    from keras.src import backend

    def kernel(*args, **options):
        raise AssertionError("an export asks for the fused kernel of a GPU.")

    @functools.cache
    def export(family, kind):
        model = make(family, kind)
        beams = 3 if (family, kind) in WITH_BEAMS else 1
        formats = litert.FORMATS if (family, kind) in WITH_INT8 else ("f32",)
        folder, options = tmp_path_factory.mktemp(f"{family}_{kind}"), {"beams": beams, "card": {"task": "toy"}}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(backend, "lstm", kernel)
            patch.setattr(backend, "gru", kernel)
            return model, deploy.export_seq2seq(model, tokenizer_proto(), folder, S, T, formats, **options)

    return export


def sources():
    return pad_sources(tokenizer().encode(TEXTS), S)


def keras_tokens(model, beams=1):
    return np.array(generate(model, {"source": sources()}, max_length=T, beams=beams)[0])[:, 0]


def keras_text(model, beams=1):
    return tokenizer().decode(keras_tokens(model, beams).tolist())


# ---------- what every combination does ----------


@pytest.mark.parametrize(("family", "kind"), COMBINATIONS)
def test_all_exports_write_what_keras_writes(exported, family, kind):
    model, paths = exported(family, kind)
    beams = 3 if (family, kind) in WITH_BEAMS else 1
    phone, saved = deploy.LiteRTRunner(paths["f32"]), deploy.SavedModelRunner(paths["saved_model"])
    assert len(np.unique(keras_tokens(model), axis=0)) > 3  # the model does read its source
    np.testing.assert_array_equal(phone.generate(sources()), keras_tokens(model))
    np.testing.assert_array_equal(saved.generate(sources(), S), keras_tokens(model, beams))
    assert saved(TEXTS) == keras_text(model, beams)
    assert phone(TEXTS) == keras_text(model)
    assert phone.text(TEXTS) == keras_text(model)
    if beams > 1:
        assert phone.text(TEXTS, "text_beam") == keras_text(model, beams)
        np.testing.assert_array_equal(phone.generate(sources(), "generate_beam"), keras_tokens(model, beams))


@pytest.mark.parametrize(("family", "kind"), COMBINATIONS)
def test_decode_step_gives_the_logits_of_teacher_forcing(exported, family, kind):
    model, paths = exported(family, kind)
    args = [{"source": row} for row in sources()[:3]], keras_tokens(model)[:3]
    for runner in (deploy.LiteRTRunner(paths["f32"]), deploy.SavedModelRunner(paths["saved_model"])):
        exact = parity.drift(model, runner, *args)
        assert exact["max_logit_difference"] < 2e-5
        assert exact["same_best_token"] == 1
    if "int8" in paths:
        rough = parity.drift(model, deploy.LiteRTRunner(paths["int8"]), *args)
        assert rough["max_logit_difference"] > 1e-5  # it is quantised
        assert rough["mean_kl"] < 0.02


@pytest.mark.parametrize(("family", "kind"), COMBINATIONS)
def test_files_hold_builtin_ops_only(exported, family, kind):
    paths = exported(family, kind)[1]
    for form in set(paths) & set(litert.FORMATS):
        ops = builtin_ops.check_ops(paths[form].read_bytes())
        assert ops["WHILE"]
        assert ops["EMBEDDING_LOOKUP"]
        assert not any(builtin_ops.kind(name) for name in ops)


def test_what_is_equal_is_stored_once(exported):
    from ai_edge_litert import schema_py_generated as schema

    content = exported("transformer", "rotary")[1]["int8"].read_bytes()
    model = schema.Model.GetRootAsModel(content, 0)
    graphs = [model.Subgraphs(i) for i in range(model.SubgraphsLength())]
    tensors = [graph.Tensors(i) for graph in graphs for i in range(graph.TensorsLength())]
    scaled = [t.Quantization() for t in tensors if t.Quantization() and t.Quantization().ScaleLength()]
    tables = {q._tab.Pos: q.ScaleAsNumpy().tobytes() for q in scaled}
    assert len(scaled) > 2 * len(tables) == 2 * len(set(tables.values()))
    ops = [graph.Operators(i) for graph in graphs for i in range(graph.OperatorsLength())]
    for parts in (ops, tensors):  # as tables; the loops of `generate` are in `text` too
        assert len({part._tab.Pos for part in parts}) < 0.9 * len(parts)
    weights = [model.Buffers(t.Buffer()) for t in tensors if t.Type() == schema.TensorType.INT8]
    assert len(weights) > 20
    assert not any(b._tab.Vector(b._tab.Offset(4)) % 16 for b in weights)  # read as they lie


@pytest.mark.parametrize("combination", WITH_BEAMS)
def test_each_weight_is_stored_once(exported, combination):
    """A factor that the converter folds into a kernel in some signatures only would store it twice."""
    from ai_edge_litert import schema_py_generated as schema

    trained, paths = exported(*combination)
    content = schema.Model.GetRootAsModel(paths["f32"].read_bytes(), 0)
    held = [content.Buffers(i).DataLength() for i in range(content.BuffersLength())]
    for shape in {tuple(w.shape) for w in trained.weights if len(w.shape) == 2}:
        count = sum(tuple(w.shape) in (shape, shape[::-1]) for w in trained.weights)
        same_size = sum(np.prod(w.shape) == np.prod(shape) for w in trained.weights)
        assert count <= sum(size == 4 * np.prod(shape) for size in held) <= same_size, shape


# ---------- names and shapes that hosts rely on ----------


def shapes(details):
    return {name: (tuple(d["shape"]), np.dtype(d["dtype"]).name) for name, d in details.items()}


def check_signatures(path, memory, state, vocab):
    runner = deploy.LiteRTRunner(path)
    found = {name: runner.interpreter.get_signature_runner(name) for name in runner.signatures}
    source, result = {"source": ((1, S), "int32")}, {"tokens": ((1, T), "int32"), "scores": ((1,), "float32")}
    step = {"tokens": ((1, 1), "int32"), "index": ((), "int32")}
    assert shapes(found["encode"].get_input_details()) == source
    assert shapes(found["encode"].get_output_details()) == memory | state
    assert shapes(found["decode_step"].get_input_details()) == step | memory | state
    assert shapes(found["decode_step"].get_output_details()) == {"logits": ((1, vocab), "float32")} | state
    for name in set(found) & {"generate", "generate_beam"}:
        assert shapes(found[name].get_input_details()) == source
        assert shapes(found[name].get_output_details()) == result
    pieces = [tokenizer().id_to_piece(i).replace("\u2581", " ") for i in range(4, vocab)]
    widest = max(len(piece.encode()) for piece in [*pieces, " \u2047 "])
    for name in ("text", "text_beam"):
        assert shapes(found[name].get_input_details()) == {"utf8": ((1, 8 * S), "int32")}
        utf8 = {"utf8": ((1, T * widest), "int32")}
        assert shapes(found[name].get_output_details()) == utf8 | source | result
    assert shapes(found["attention"].get_output_details()) == {"weights": ((1, T, S), "float32")}
    assert sorted(found) == ["attention", "decode_step", "encode", "generate", "generate_beam", "text", "text_beam"]
    assert sorted(runner.card()["signatures"]) == sorted(found)


def test_signatures_of_a_transformer(exported):
    _, paths = exported("transformer", "rotary")
    memory = {f"memory_kv_0_{n}": ((1, 2, S, 18), "float32") for n in "kv"} | {"memory_mask": ((1, S), "int32")}
    state = {f"state_0_{n}": ((1, 2, T, 18), "float32") for n in "kv"}
    for form in litert.FORMATS:
        check_signatures(paths[form], memory, state, tokenizer().get_piece_size())


def test_signatures_of_an_lstm(exported):
    _, paths = exported("additive", "lstm")
    memory = {f"memory_kv_{n}": ((1, 1, S, 14), "float32") for n in "kv"} | {"memory_mask": ((1, S), "int32")}
    state = {f"state_0_{n}": ((1, 14), "float32") for n in "hc"}
    check_signatures(paths["f32"], memory, state, tokenizer().get_piece_size())


@pytest.mark.parametrize("kind", WITH_BEAMS)
def test_attention_is_that_of_the_model(exported, kind):
    model, paths = exported(*kind)
    runner, source = deploy.LiteRTRunner(paths["f32"]), sources()[:1]
    read = runner.run("text", utf8=runner.utf8(TEXTS[0], "text"))
    assert read["source"].tolist() == source.tolist()
    assert read["tokens"].tolist() == runner.generate(source).tolist()
    target = np.concatenate([[[1]], read["tokens"][:, :-1]], axis=1)
    expected = np.array(model.attention_weights({"source": source, "target": target})).mean(axis=1)
    found = runner.run("attention", source=source, tokens=read["tokens"])["weights"]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    items, tokens = [{"source": row} for row in sources()[:3]], keras_tokens(model)[:3]
    assert parity.looks(model, runner, items, tokens)["max_difference_attention"] < 1e-5
    for other in (0.3, np.nan):  # one that has looked elsewhere at one item of three is seen
        given = iter([0, other, 0])
        run = lambda name, **inputs: {"weights": runner.run(name, **inputs)["weights"] + next(given)}  # noqa: E731, B023
        fake = types.SimpleNamespace(signatures=runner.signatures, run=run)
        found = parity.looks(model, fake, items, tokens)["max_difference_attention"]
        assert found == pytest.approx(other, abs=1e-5, nan_ok=True)


def test_signatures_of_the_saved_model_take_any_batch_and_length(exported):
    model, paths = exported("transformer", "sinusoidal")
    saved = deploy.SavedModelRunner(paths["saved_model"])
    assert sorted(saved.signatures) == ["decode_step", "encode", "generate", "generate_ids"]
    memory = saved.run("encode", source=sources()[:5, :3])
    state = {name: memory.pop(name) for name in list(memory) if name.startswith("state_")}
    found = saved.run("decode_step", tokens=np.ones((5, 1), "int32"), index=np.int32(0), **memory, **state)
    expected = model({"source": sources()[:5, :3], "target": np.ones((5, 2), "int32")})[:, 0]
    np.testing.assert_allclose(found["logits"], expected, atol=1e-5)
    assert saved.run("generate", texts=np.array([], object))["text"].shape == (0,)


def test_a_long_source_is_cut_and_ends_in_eos(exported):
    _, paths = exported("transformer", "sinusoidal")
    long = "open the file and close it " * 20
    ids = tokenizer().encode(long)
    row = pad_sources([ids], S)[0]
    assert row.tolist() == ids[: S - 1] + [2]
    codec = TextCodec(tokenizer_proto())
    assert codec.encode(tf.constant([long]), S).numpy().tolist() == [row.tolist()]
    saved = deploy.SavedModelRunner(paths["saved_model"])
    assert saved([long]) == tokenizer().decode(saved.generate([ids], S).tolist())
    assert deploy.LiteRTRunner(paths["f32"])([long]) == saved([long])


# ---------- processes that have less installed ----------


def python(code, *argv, executable=sys.executable):
    env = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONPATH": str(ROOT) if "keras_seq" in code[:40] else ""}
    done = subprocess.run(
        [executable, "-c", code, *map(str, argv)], cwd="/", env=env, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


SAVED = """
import importlib.util, json, sys
import tensorflow as tf
loaded = tf.saved_model.load(sys.argv[1])
found = loaded.signatures["generate"](texts=tf.constant(json.loads(sys.argv[2])))["text"].numpy()
assert not any(map(importlib.util.find_spec, ("keras_seq", "sentencepiece", "tensorflow_text")))
print(json.dumps([text.decode() for text in found]))
"""

TFLITE = """from keras_seq.deploy import LiteRTRunner
import json, sys
found = LiteRTRunner(sys.argv[1])(json.loads(sys.argv[2]))
assert not {"keras", "tensorflow"} & set(sys.modules)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def clean_python(tmp_path_factory):
    """The python of a new virtual environment in which tensorflow is, with what it requires and nothing else."""
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder)
    site = next(folder.glob("lib/python*/site-packages"))
    for found in required("tensorflow"):
        for top in {file.parts[0] for file in found.files} - {"..", "__pycache__"}:
            if not (site / top).exists():
                (site / top).symlink_to(found.locate_file(top))
    return folder / "bin" / "python"


def required(name, known=()):
    """A distribution and all that it requires here, extras aside."""
    found = {name: importlib.metadata.distribution(name)}
    for line in found[name].requires or []:
        wanted = Requirement(line)
        if wanted.name not in {*known, *found} and (wanted.marker is None or wanted.marker.evaluate({"extra": ""})):
            found |= {part.name: part for part in required(wanted.name, {*known, *found})}
    return list(found.values())


@pytest.mark.parametrize(("family", "kind"), [("transformer", "rotary"), ("none", "gru")])
def test_a_saved_model_needs_tensorflow_alone(exported, clean_python, family, kind):
    model, paths = exported(family, kind)
    beams = 3 if (family, kind) in WITH_BEAMS else 1
    found = python(SAVED, paths["saved_model"], json.dumps(TEXTS), executable=clean_python)
    assert found == keras_text(model, beams)


def test_saved_model_cli_shows_the_signatures(exported):
    path = exported("additive", "lstm")[1]["saved_model"]
    command = [sys.executable, "-m", "tensorflow.python.tools.saved_model_cli", "show", "--dir", str(path), "--all"]
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, timeout=600)  # on a busy machine
    assert done.returncode == 0, done.stderr
    for name in ("generate", "generate_ids", "encode", "decode_step"):
        assert f"signature_def['{name}']" in done.stdout
    assert b"Cudnn" not in (path / "saved_model.pb").read_bytes()  # trained on a GPU or not, it runs on a CPU


def test_a_tflite_needs_no_keras(exported):
    model, paths = exported("transformer", "rotary")
    assert python(TFLITE, paths["f32"], json.dumps(TEXTS)) == keras_text(model)


@pytest.mark.parametrize("name", ["f32", "int8"])
def test_files_ask_for_no_newer_runtime_than_they_need(exported, name):
    """LiteRT 1.1 runs them: of its kernels FULLY_CONNECTED has version 12 and no other that they use one above 4."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAsModel(exported("transformer", "rotary")[1][name].read_bytes(), 0)
    codes = [model.OperatorCodes(i) for i in range(model.OperatorCodesLength())]
    linear = schema.BuiltinOperator.FULLY_CONNECTED
    assert max(code.Version() for code in codes if code.BuiltinCode() == linear) <= 12
    assert max(code.Version() for code in codes if code.BuiltinCode() != linear) <= 4


# ---------- text ----------


ODD = [
    "", " ", "  ", "a", " the   end ", "zzz q zz", "日本 open 日本", "😀😀 ok 😀", "e\u0301 the", "x▁y", "▁", "the▁ ",
    "a\tb\nc", "<s> </s> <unk>", "a\u00a0b", "OPEN THE FILE", "the the the the",
]  # fmt: skip


def test_the_graph_has_the_ids_of_sentencepiece():
    rng = np.random.default_rng(0)
    random = ["".join(rng.choice(list("thefil opn zé日😀"), size=rng.integers(0, 30))) for _ in range(300)]
    codec = TextCodec(tokenizer_proto())
    found = codec.pieces(tf.constant(ODD + TEXTS + random)).to_list()
    assert found == tokenizer().encode(ODD + TEXTS + random)
    assert [row for row in found if 3 in row]  # unknown characters are among them


def test_the_graph_writes_the_text_of_sentencepiece():
    ids = np.random.default_rng(1).integers(0, tokenizer().get_piece_size(), size=(300, 5)).astype("int32")
    codec = TextCodec(tokenizer_proto())
    found = [text.decode() for text in codec.decode(tf.constant(ids)).numpy()]
    assert found == tokenizer().decode(ids.tolist())
    first = tokenizer().encode("open")
    found = [text.decode() for text in codec.decode(tf.constant(ids), follows=True).numpy()]
    assert found == [tokenizer().decode([*first, *row])[len("open") :] for row in ids.tolist()]
    assert any(text.startswith(" ") for text in found)


def test_the_graph_refuses_a_tokenizer_it_cannot_follow():
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS * 9), model_writer=model, vocab_size=40, hard_vocab_limit=False, minloglevel=2,
        model_type="bpe", normalization_rule_name="nmt_nfkc",
    )  # fmt: skip
    with pytest.raises(ValueError, match="unigram.*model type 2, a normalisation rule"):
        TextCodec(model.getvalue())


# ---------- recurrent layers ----------


RECURRENT = {
    "lstm": lambda **k: keras.layers.LSTM(5, **k),
    "gru": lambda **k: keras.layers.GRU(5, **k),
    "gru_before": lambda **k: keras.layers.GRU(5, reset_after=False, **k),
    "rnn": lambda **k: keras.layers.SimpleRNN(5, **k),
    "stack": lambda **k: keras.layers.RNN([keras.layers.LSTMCell(3), keras.layers.GRUCell(5)], **k),
    "zeros": lambda **k: keras.layers.LSTM(5, zero_output_for_mask=True, **k),
}


@pytest.mark.parametrize("kind", RECURRENT)
def test_the_loop_equals_that_of_keras(kind):
    x = np.random.default_rng(0).normal(size=(3, 7, 2)).astype("float32")
    mask = np.arange(7)[None] < np.array([[7], [4], [0]])
    for sequences, backwards, given in itertools.product((True, False), (True, False), (mask, None)):
        layer = RECURRENT[kind](return_sequences=sequences, return_state=True, go_backwards=backwards)
        expected = keras.tree.flatten(layer(x, mask=given))
        with rnn.recurrent_loops():
            found = keras.tree.flatten(tf.function(lambda x: layer(x, mask=given))(x))  # noqa: B023
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-6)


def test_the_loop_converts_with_any_batch_and_length():
    layer = keras.layers.Bidirectional(keras.layers.LSTM(5, return_sequences=True))
    layer.build((None, None, 2))
    module = tf.Module()
    module.tracked = [variable.value for variable in layer.weights]
    spec = tf.TensorSpec((None, None, 2), name="x")
    with rnn.recurrent_loops():
        function = tf.function(lambda x: {"y": layer(x)}, autograph=False).get_concrete_function(x=spec)
    content = litert.convert(module, {"predict": function}, ["f32"])["f32"]
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(model_content=content).get_signature_runner("predict")
    for batch, length in ((3, 7), (1, 11)):
        x = np.random.default_rng(0).normal(size=(batch, length, 2)).astype("float32")
        np.testing.assert_allclose(runner(x=x)["y"], layer(x), atol=1e-6)


def test_keras_gets_its_loop_and_its_lookup_back():
    from keras.src import backend

    from keras_seq.layers import embeddings

    before = backend.rnn, backend.lstm, backend.gru, embeddings.lookup
    during = []
    with pytest.raises(ZeroDivisionError), rnn.recurrent_loops(), litert.shared_table():
        during.append(backend.rnn is rnn.while_rnn and embeddings.lookup is not before[-1]) or 1 / 0
    assert during == [True]
    assert (backend.rnn, backend.lstm, backend.gru, embeddings.lookup) == before


# ---------- what may not be in a file ----------


def function_of(body, module=None):
    """A module and the concrete function of x (1, 4) -> {"y": body(x)}."""

    def named(x):
        with tf.name_scope("culprit"):
            return {"y": body(x)}

    function = tf.function(named, autograph=False).get_concrete_function(x=tf.TensorSpec((1, 4), name="x"))
    return module or tf.Module(), {"predict": function}


def test_a_flex_op_is_named_with_its_place():
    module, functions = function_of(tf.math.erf)
    expected = r"builtin ops only.*FlexErf \(.*culprit.*\)\.\nFlex: .*gelu"
    with pytest.raises(deploy.UnsupportedOps, match=expected) as error:
        litert.convert(module, functions)
    assert "Some ops are not supported" not in str(error.value)


def test_a_variable_is_named_with_what_to_do():
    module = tf.Module()
    module.count = tf.Variable(tf.zeros((1, 4)))
    module, functions = function_of(lambda x: module.count.assign_add(x), module)
    with pytest.raises(deploy.UnsupportedOps, match=r"(?s)builtin ops only.*(VAR_HANDLE|[Vv]ariable)"):
        litert.convert(module, functions)


def test_custom_ops_are_told_from_flex_ops():
    names = ["CUSTOM:FlexErf", "CUSTOM:mine", "READ_VARIABLE"]
    text = builtin_ops.describe([builtin_ops.Op(name, place) for name, place in zip(names, "abc")])
    assert text.splitlines()[0].endswith("; got FlexErf (a); READ_VARIABLE (c); mine (b).")
    assert [line.split(":")[0] for line in text.splitlines()[1:]] == ["Custom", "Flex", "Variable"]


def test_an_untracked_weight_does_not_get_into_a_file_uninitialised(monkeypatch):
    from keras_seq.deploy import signatures

    model = make("transformer", "sinusoidal")
    whole = signatures.seq2seq_module

    def forgetful(*args):
        module, functions = whole(*args)
        module.tracked = []
        return module, functions

    monkeypatch.setattr(signatures, "seq2seq_module", forgetful)
    with pytest.raises((deploy.UnsupportedOps, AssertionError)):
        litert.convert_seq2seq(model, signatures.Shapes(1, S, T), ["f32"])


def test_bad_requests_are_refused(tmp_path):
    model = make("transformer", "sinusoidal")
    with pytest.raises(ValueError, match="f32, f16, int8, int4; got int3"):
        deploy.export_seq2seq(model, tokenizer_proto(), tmp_path, S, T, formats=("f32", "int3"))
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        mixed = make("transformer", "sinusoidal")
    finally:
        keras.config.set_dtype_policy("float32")
    with pytest.raises(ValueError, match="float32 to export; got layers in .*bfloat16"):
        deploy.export_seq2seq(mixed, tokenizer_proto(), tmp_path, S, T)
    assert list(tmp_path.iterdir()) == []


# ---------- the file as it is handed on ----------


def test_card_and_vocabulary_lie_in_the_file(exported):
    _, paths = exported("transformer", "rotary")
    for form in litert.FORMATS:
        with zipfile.ZipFile(paths[form]) as archive:
            assert archive.read("tokenizer.model") == tokenizer_proto()
            card = json.loads(archive.read("card.json"))
        assert (card["task"], card["format"], card["source_length"], card["max_length"]) == ("toy", form, S, T)
        assert card["signatures"]["generate"]["inputs"] == {"source": {"shape": [1, S], "dtype": "int32"}}


def test_the_same_model_gives_the_same_file(exported, tmp_path):
    _, paths = exported("none", "gru")
    again = deploy.export_seq2seq(make("none", "gru"), tokenizer_proto(), tmp_path, S, T, ["f32"], card={"task": "toy"})
    assert again["f32"].read_bytes() == paths["f32"].read_bytes()


# ---------- the report ----------


def snapshot(folder):
    return {p.relative_to(folder): p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()}


def test_a_checked_export_passes_and_a_worse_one_replaces_nothing(tmp_path):
    model = make("none", "lstm")
    options = {"source_length": S, "max_length": T, "beams": 2, "timed": 2, "sentences": 5}
    good = deploy.export_checked(
        model, tokenizer_proto(), tmp_path, TEXTS, **options, metric=lambda texts: 50.0 + len(texts), metric_name="BLEU"
    )
    assert good["passed"], good["reasons"]
    assert json.loads((tmp_path / "report.json").read_text()) == good
    written = sorted(path.name for path in tmp_path.iterdir())
    assert written == [
        "golden.json", "model_f32.tflite", "model_int8.tflite", "report.json", "report.md", "saved_model",
    ]  # fmt: skip
    names = [(row["name"], row["beams"]) for row in good["results"]]
    assert names == [("keras", 1), ("keras", 2), ("saved_model", 2), *itertools.product(litert.FORMATS, (1, 2))]
    for row in good["results"]:
        assert row["metric"] == 55  # of the first sentences, and of all where a phone's file is judged
        assert row.get("metric_all") == (58 if row["name"] in litert.FORMATS else None)
        assert row["ms_per_token"] > 0
        if row["name"] != "int8":
            assert row["agreement"] == 1
    table = deploy.format_report(good)
    assert "| int8, beam 2 |" in table
    assert "All files agree" in table

    before, falling = snapshot(tmp_path), itertools.count(90, -10)
    options |= {"beams": 1, "formats": ["int8"], "sentences": 100}
    bad = deploy.export_checked(model, tokenizer_proto(), tmp_path, TEXTS, **options, metric=lambda _: next(falling))
    assert not bad["passed"]
    assert bad["reasons"] == ["int8, greedy: metric fell from 90.00 to 70.00; a loss of 0.3 is allowed."]
    assert bad["reasons"][0] in deploy.format_report(bad)
    assert snapshot(tmp_path) == before


def test_another_model_than_the_exported_one_does_not_pass(exported):
    model, paths = exported("none", "gru")
    other = make("none", "gru")
    other.weights[0].assign(-other.weights[0])
    found = deploy.parity_report(other, paths, tokenizer_proto(), TEXTS, S, T, timed=1)
    assert not found["passed"]
    assert [reason.split(",")[0] for reason in found["reasons"]] == ["saved_model", "saved_model", "f32", "f32"]
    for reason in found["reasons"][1::2]:
        assert "a mean KL of at most 0.02" in reason  # what `decode_step` foretells
    assert deploy.parity_report(model, {"f32": paths["f32"]}, tokenizer_proto(), TEXTS, S, T, timed=1)["passed"]


def test_exports_at_once_leave_each_other_alone(tmp_path, monkeypatch):
    other = tmp_path / f".export.{os.getppid()}"
    other.mkdir()
    (other / "half").write_text("written")
    seen = []
    monkeypatch.setattr(export, "build", lambda model, proto, to, *_: seen.append(to) or {})
    deploy.export_seq2seq(None, b"", tmp_path)
    assert str(os.getpid()) in seen[0].name
    assert (other / "half").read_text() == "written"
    assert list(tmp_path.iterdir()) == [other]


def test_an_export_that_fails_leaves_the_earlier_files(tmp_path, monkeypatch):
    deploy.export_seq2seq(make("none", "gru"), tokenizer_proto(), tmp_path, S, T, formats=("f32",))
    before = snapshot(tmp_path)
    (tmp_path / ".export").mkdir()  # as a killed export would leave it
    (tmp_path / ".export" / "half").write_text("written")
    monkeypatch.setattr(litert, "convert_seq2seq", lambda *_, **__: 1 / 0)
    monkeypatch.setattr(savedmodel, "save_seq2seq", lambda *_, **__: None)
    with pytest.raises(ZeroDivisionError):
        deploy.export_seq2seq(make("none", "gru"), tokenizer_proto(), tmp_path, S, T)
    assert snapshot(tmp_path) == before
