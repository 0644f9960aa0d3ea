"""A bundle for a mobile developer: its hosts run it without this package, and answer what golden.json says."""

import json
import os
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest

from keras_seq import deploy
from keras_seq.data import cutting
from keras_seq.deploy import builtin_ops, golden, limits, litert, parity
from keras_seq.deploy.handover import CHECK, HOSTS, MEANING, ids, run, signature
from keras_seq.deploy.shrink import shrink
from keras_seq.deploy.signatures import tracked
from keras_seq.models import TransformerSeq2Seq
from tests.checks import ROOT, host
from tests.test_deploy import TEXTS, S, T, keras_tokens, sources, tokenizer, tokenizer_proto

FORMATS = limits.ALL_FORMATS
BLOCKED = ("keras_seq", "keras", "tensorflow", "sentencepiece")


@pytest.fixture(scope="module")
def model():
    """One with matrices of 32 columns for int4, and one with others."""
    keras.utils.set_random_seed(5)
    size = tokenizer().get_piece_size()
    model = TransformerSeq2Seq(size, dim=64, num_heads=2, num_layers=1, mlp_dim=47, position="rotary", dropout=0.0)
    noise = np.random.default_rng(0)
    for weight in model.weights[1:]:
        weight.assign(weight + 0.2 * noise.normal(size=weight.shape))
    return model


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    """An export in all formats."""
    folder = tmp_path_factory.mktemp("export")
    roomy = limits.Limits(100, 100, kl=9, kl_int4=9)
    options = {"formats": FORMATS, "timed": 1, "sentences": 5, "tolerance": roomy}
    report = deploy.export_checked(model, tokenizer_proto(), folder, TEXTS, S, T, **options)
    assert report["passed"], report["reasons"]
    return folder


@pytest.fixture(scope="module")
def bundle(folder, tmp_path_factory):
    return deploy.hand_over(folder, tmp_path_factory.mktemp("bundle") / "out", "A translator", "It translates.")


def runner(folder, form):
    return deploy.LiteRTRunner(folder / f"model_{form}.tflite")


# ---------- formats ----------


def test_all_formats_are_near_the_model(model, folder):
    args = [{"source": row} for row in sources()[:3]], keras_tokens(model)[:3]
    found = {form: parity.drift(model, runner(folder, form), *args)["mean_kl"] for form in FORMATS}
    assert found["f32"] < found["f16"] < found["int8"] < found["int4"]
    assert found["f16"] < 1e-5
    assert found["int8"] < 0.02
    assert found["int4"] < 0.5
    for form in FORMATS:
        found = runner(folder, form).generate(sources())
        assert runner(folder, form).text(TEXTS) == tokenizer().decode(found.tolist())
        if form in ("f32", "f16"):
            np.testing.assert_array_equal(found, keras_tokens(model))


def test_formats_are_what_their_names_say(folder):
    sizes = {form: (folder / f"model_{form}.tflite").stat().st_size for form in FORMATS}
    assert sizes["int4"] < sizes["int8"] < sizes["f16"] < sizes["f32"]
    for form in FORMATS:
        assert not any(map(builtin_ops.kind, builtin_ops.check_ops((folder / f"model_{form}.tflite").read_bytes())))
        card = runner(folder, form).card()
        assert (card["format"], card["dynamic"]) == (form, False)


def test_a_dynamic_file_takes_any_batch_and_length(model, folder, tmp_path):
    deploy.export_seq2seq(model, tokenizer_proto(), tmp_path, S, T, ("f32",), beams=2, dynamic=True)
    assert sorted(path.name for path in tmp_path.glob("*.tflite")) == ["model_f32.tflite", "model_f32_dynamic.tflite"]
    phone = runner(tmp_path, "f32_dynamic")
    expected, rows = keras_tokens(model), sources()
    for name in ("generate", "generate_beam"):
        short = [row for row in range(len(rows)) if rows[row, 5] == 0]  # of five ids at most
        for batch in (rows, rows[short][:, :5], np.pad(rows[:3], [[0, 0], [0, 4]])):
            found = phone.run(name, source=batch)["tokens"]
            alone = [phone.run(name, source=row)["tokens"][0] for row in batch]
            np.testing.assert_array_equal(found, alone)
    np.testing.assert_array_equal(phone.run("generate", source=rows)["tokens"], expected)
    assert phone(TEXTS) == phone.text(TEXTS) == tokenizer().decode(expected.tolist())
    card = phone.card()
    assert card["dynamic"]
    assert card["signatures"]["generate"]["inputs"]["source"]["shape"] == [None, None]
    with pytest.raises(ValueError, match="source of shape .1, 7.; got .2, 7."):
        runner(folder, "f32").run("generate", source=rows[:2])


def test_a_format_that_is_not_known_or_cannot_be_made_is_refused(monkeypatch, tmp_path):
    with pytest.raises(ValueError, match="Expected formats of f32, f16, int8, int4; got int3"):
        limits.check_formats(("f32", "int3"))
    monkeypatch.setattr(limits.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="ai-edge-quantizer.*pip install"):
        limits.check_formats(("int4",))


# ---------- weights ----------


def test_a_weight_has_a_value_in_the_flatbuffer_or_behind_it():
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    content = litert_of(keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="answer")]))
    assert not builtin_ops.empty_weights(content)
    file = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(content, 0))
    weight = next(t for t in file.subgraphs[0].tensors if sorted(t.shape) == [2, 4])
    buffer = file.buffers[weight.buffer]
    values, buffer.data = bytes(buffer.data), None

    def written():
        builder = flatbuffers.Builder()
        builder.Finish(file.Pack(builder), file_identifier=b"TFL3")
        return bytes(builder.Output())

    with pytest.raises(builtin_ops.UnsupportedOps, match="a value of every weight.*\\n.*track"):
        builtin_ops.check_ops(written())
    buffer.offset, buffer.size = 2**20, len(values)  # behind the flatbuffer, as a quantiser writes large models
    buffer.offset = len(written())
    assert not builtin_ops.empty_weights(written() + values)
    x = np.random.default_rng(0).normal(size=(1, 4)).astype("float32")
    np.testing.assert_array_equal(predicted(shrink(written() + values), x), predicted(content, x))


def predicted(content, x):
    from ai_edge_litert.interpreter import Interpreter

    return Interpreter(model_content=content).get_signature_runner("predict")(x=x)["y"]


def litert_of(model):
    module = tracked(model)
    function = deploy.Signature(lambda x: {"y": model(x)}, {"x": ((4,), "float32")}).traced()
    return litert.convert(module, {"predict": function}, ["f32"])["f32"]


def test_a_weight_that_is_no_number_is_refused():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="answer")])
    model.weights[0].assign(np.full((4, 2), np.nan))
    with pytest.raises(ValueError, match="finite weights.*answer/kernel"):
        tracked(model)


# ---------- the bundle ----------


def test_a_bundle_has_all_that_is_needed(bundle):
    names = {path.name for path in bundle.iterdir()}
    assert names == {
        "README.md", "card.json", "golden.json", "hosts", "report.json", "report.md",
        *(f"model_{form}.tflite" for form in FORMATS),
    }  # fmt: skip
    page = (bundle / "README.md").read_text(encoding="utf-8")
    assert page.startswith("# A translator\n\nIt translates.")
    card = json.loads((bundle / "card.json").read_text(encoding="utf-8"))
    assert not card["dynamic"]
    for name, facts in card["signatures"].items():
        assert f"### `{name}`" in page
        assert all(f"`{key}`" in page for key in (*facts["inputs"], *facts["outputs"]))
    for form in FORMATS:
        assert f"`model_{form}.tflite`" in page
    for path in ("android/SequenceModel.kt", "ios/SequenceModel.swift"):
        assert (bundle / "hosts" / path).read_text(encoding="utf-8").startswith("// Runs a .tflite of keras_seq")
    report = (bundle / "report.md").read_text(encoding="utf-8")
    assert all(f"| {form}, greedy |" in report for form in FORMATS)
    assert 'SequenceModel(assets, "model_int8.tflite")' in page


def test_every_signature_is_explained_and_every_text_of_the_card_is_there(bundle):
    page = (bundle / "README.md").read_text(encoding="utf-8")
    card = json.loads((bundle / "card.json").read_text(encoding="utf-8"))
    texts = {key: text for key, text in card.items() if isinstance(text, str)}
    assert {"utf8", "source", "tokens", "vocabulary"} < set(texts)
    assert all(f"- `{key}`: {text}" in page for key, text in texts.items() if key not in ("format", "made_by"))
    assert "- `begin`: with the mean" in ids({"begin": "with the mean", "format": "f32"})
    assert ids({"before": "\n", "text": ""}) == '- `before`: "\\n"\n- `text`: ""'
    assert ids({"tags": ["né"]}).endswith('["né"]')
    tensors = {"i": {"shape": [], "dtype": "int32"}}, {"y": {"shape": [None, 3], "dtype": "int32"}}
    page = signature("step", dict(zip(("inputs", "outputs"), tensors)))
    assert "| in | `i` | a number | int32 |\n| out | `y` | any x 3 | int32 |" in page
    assert "`Words(card).of(text)`" in ids({"words": cutting(set(), [])})
    assert {"prefill", "sample", "text_sample"} < set(MEANING)


def test_the_calls_name_the_outputs_that_a_signature_has(bundle):
    page = (bundle / "README.md").read_text(encoding="utf-8")
    assert '.text("...", listOf("scores", "source", "tokens", "utf8"))`' in page
    tags = {"text": {"inputs": {"utf8": {}}, "outputs": dict.fromkeys(("probabilities", "tokens", "words"), {})}}
    calls = run(tags, "tags.tflite")
    assert '.numbers("...", "probabilities", listOf("probabilities", "tokens", "words"))`' in calls
    assert 'output: "probabilities")`' in calls
    assert '.text("...")).probabilities.data`' in calls


def test_the_calls_of_what_reads_no_text_can_be_copied():
    whole, number = {"dtype": "int32"}, {"dtype": "float32"}
    caption = {"text": {"inputs": {"image": number}, "outputs": {"scores": number, "tokens": whole, "utf8": whole}}}
    calls = run(caption, "m.tflite")
    image = 'mapOf("image" to model.floats("image", "text", image)), listOf("scores", "tokens", "utf8"))'
    assert f'`model.letters(model.run("text", {image}.getValue("utf8"))`' in calls
    assert '`SequenceModel.letters(try model.run("text", ["image": SequenceModel.data(image)])["utf8"]!)`' in calls
    assert '`(await (await load("m.tflite")).text({ image })).text`' in calls
    assert '`Model("m.tflite").text({"image": image})`' in calls
    calls = run({"predict": {"inputs": {"x": number, "time": whole}, "outputs": {"y": number}}}, "m.tflite")
    x = 'mapOf("x" to model.floats("x", "predict", x), "time" to model.ints("time", "predict", time)), listOf("y"))'
    assert f'`model.run("predict", {x}.getValue("y").readFloat()`' in calls
    assert '["x": SequenceModel.data(x), "time": SequenceModel.data(time)])["y"]!) as [Float]`' in calls
    assert '`(await (await load("m.tflite")).run("predict", { x, time })).y.data`' in calls
    assert '`Model("m.tflite").run("predict", x=x, time=time)["y"]`' in calls
    calls = run({"predict": {"inputs": {"x": number}, "outputs": {"n": whole}}}, "m.tflite")
    assert '.getValue("n").readInt()`' in calls


def test_the_page_says_what_the_places_of_a_tensor_stand_for():
    assert ids({"tags": [",", "``"]}) == '- tags, in the order of `probabilities`: [",", "``"]'
    lines = ids({"targets": ["cars"], "known": ["holiday"], "quantiles": [0.1, 0.9], "format": "f32"})
    assert '`forecast`: ["cars"]' in lines
    assert ids({"error_mean": [0.5]}) == "- error_mean, of `begin`: [0.5]"
    assert '- columns of `known`, of the rows read and of those to come: ["holiday"]' in lines
    assert "- quantiles of `forecast`: [0.1, 0.9]" in lines


def test_the_python_host_writes_what_it_reads_from_arrays(bundle):
    model = host().Model(bundle / "model_f32.tflite")
    for text in TEXTS[:2]:
        assert model.text({"utf8": model.utf8(text)}) == model.text(text)


def test_the_page_for_mobile_developers_names_every_signature():
    page = (ROOT / "docs" / "mobile.md").read_text(encoding="utf-8")
    assert not [name for name in MEANING if f"`{name}`" not in page]
    assert all(line.strip() in page for line in CHECK.splitlines() if line.startswith("    "))


def test_a_bundle_replaces_a_bundle_and_nothing_else(folder, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="empty folder or an earlier bundle"):
        deploy.hand_over(folder, tmp_path)
    with pytest.raises(ValueError, match="got the file"):
        deploy.hand_over(folder, tmp_path / "notes.txt")
    with pytest.raises(ValueError, match="tflite files in"):
        deploy.hand_over(tmp_path, tmp_path / "new")
    made = deploy.hand_over(folder, tmp_path / "new")
    (made / "model_old.tflite").write_bytes(b"old")
    (made / "README.md").write_text("old")
    own = [made / "notes.txt", made / "hosts" / "web" / "node_modules" / "package.json"]
    for path in own:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    deploy.hand_over(folder, made)
    assert not (made / "model_old.tflite").exists()
    assert (made / "README.md").read_text(encoding="utf-8").startswith("# A model")
    assert [path.read_text() for path in own] == ["mine", "mine"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "notes.txt"]


def test_a_bundle_never_takes_the_place_of_a_model(folder, tmp_path, monkeypatch):
    """The folder of an exported model has golden.json too."""
    model = shutil.copytree(folder, tmp_path / "some" / "model")
    for place in (model, tmp_path / "some"):
        with pytest.raises(ValueError, match="where the model lies"):
            deploy.hand_over(model, place)
    other = deploy.hand_over(folder, tmp_path / "other")
    for name in ("config.json", "model.weights.h5"):
        (other / name).write_text("of a model")
        with pytest.raises(ValueError, match="got a trained model"):
            deploy.hand_over(folder, other)
        (other / name).unlink()
    (other / "card.json").unlink()
    with pytest.raises(ValueError, match="got other files"):
        deploy.hand_over(folder, other)
    assert len(list(other.iterdir())) == 9
    (here := tmp_path / "here").mkdir()
    monkeypatch.chdir(here)
    assert deploy.hand_over(folder, ".") == here.resolve()
    assert (here / "card.json").exists()


# ---------- the Python host ----------

BLOCK = f"""
import runpy, sys
class Block:
    def find_spec(name, path=None, target=None):
        if name.split(".")[0] in {BLOCKED!r}:
            raise ImportError(name + " is not here")
sys.meta_path.insert(0, Block)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def python(*argv):
    """The exit code and the lines of the host in a process that has neither this package nor TensorFlow."""
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [sys.executable, "-c", BLOCK, *map(str, argv)]
    done = subprocess.run(command, cwd="/", env=env, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout.splitlines(), done.stderr


def test_the_host_checks_itself_without_this_package(bundle):
    code, lines, errors = python(bundle / "hosts/python/host.py", "--check")
    cases = json.loads((bundle / "golden.json").read_text(encoding="utf-8"))["cases"]
    assert (code, lines) == (0, [f"{len(cases)} cases, 0 differences"]), errors
    assert {case["signature"] for case in cases} == {"encode", "decode_step", "generate", "text", "attention"}
    assert {case["about"] for case in cases} >= set(golden.ODD)
    assert {case["format"] for case in cases} == set(FORMATS)
    assert (bundle / "golden.json").stat().st_size < 40_000 * len(FORMATS)


def test_the_host_writes_what_ours_writes(bundle):
    code, lines, errors = python(bundle / "hosts/python/host.py", bundle / "model_f32.tflite", *TEXTS[:4], "")
    assert (code, lines) == (0, [*runner(bundle, "f32").text(TEXTS[:4]), ""]), errors


def test_the_host_tells_what_differs(bundle, tmp_path):
    found = json.loads((bundle / "golden.json").read_text(encoding="utf-8"))
    places = {case["signature"]: i for i, case in enumerate(found["cases"]) if case["format"] == "f32"}
    found["cases"][places["text"]]["outputs"]["utf8"]["data"] = [65]
    found["cases"][places["encode"]]["outputs"]["memory_kv_0_k"]["data"][1] += 0.5
    found["cases"][places["generate"]]["outputs"]["tokens"]["shape"] = [1, 5]
    for path in bundle.glob("*.tflite"):
        os.symlink(path, tmp_path / path.name)
    (tmp_path / "golden.json").write_text(json.dumps(found))
    count, failed = host().check(tmp_path)
    assert count == len(found["cases"])
    assert len(failed) == 3
    assert any("encode" in line and "memory_kv_0_k differs by" in line for line in failed)
    assert any("text" in line and "utf8 differs" in line for line in failed)
    assert any("tokens has the shape [1, 9] instead of [1, 5]" in line for line in failed)


def test_a_host_needs_nothing_of_this_package():
    source = (HOSTS / "python" / "host.py").read_text(encoding="utf-8")
    imported = [line.split()[1].split(".")[0] for line in source.splitlines() if line.startswith(("import ", "from "))]
    assert set(imported) <= {*sys.stdlib_module_names, "numpy", "ai_edge_litert"}


# ---------- numbers in JSON ----------


@pytest.mark.parametrize("kind", ["float32", "int32", "bool"])
def test_an_array_survives_json(kind):
    rng = np.random.default_rng(0)
    for shape in ((), (1,), (3, 5), (2, 300)):
        for x in (rng.normal(size=shape) * 100, np.zeros(shape), rng.random(shape) < 0.1):
            x = np.asarray(x, kind)
            stored = json.loads(json.dumps(golden.packed(x)))
            found = host().array(stored, [])
            assert found.dtype == x.dtype
            np.testing.assert_array_equal(found, x)
    cycle = golden.noise(np.zeros((2, 700)), 1)
    assert len(golden.packed(cycle)["data"]) == golden.CYCLE
    np.testing.assert_array_equal(host().array(golden.packed(cycle), []), cycle)


def test_a_large_output_is_sampled():
    x = np.random.default_rng(0).normal(size=(1, 4, 1000)).astype("float32")
    stored = golden.sampled(x)
    assert len(stored["data"]) <= 2 * golden.LARGE
    assert host().compare(x, stored, 1e-6) is None
    x[0, 0, stored["every"]] += 1
    assert "differs by" in host().compare(x, stored, 1e-6)
