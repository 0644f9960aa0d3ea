"""Export of classifiers and taggers: both files answer what Keras answers, or nothing is put in place."""

import functools
import itertools
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_seq import deploy
from keras_seq.deploy import builtin_ops, conv, predictor, predictor_parity, report, savedmodel
from keras_seq.deploy.limits import Limits
from keras_seq.layers import RecurrentEncoder, TokenEmbedding, TransformerEncoder
from keras_seq.layers.masks import padding_mask
from tests import checks
from tests.test_deploy import TEXTS, python, snapshot, tokenizer, tokenizer_proto

T, H, W, C, U, S = 5, 7, 11, 3, 37, 9
LABELS = ["silence", "one", "two"]


class Live(keras.Model):
    """A label for each frame of a clip, from it and those before."""

    def __init__(self):
        super().__init__()
        self.conv = keras.layers.Conv3D(16, (1, 3, 3), padding="same", activation="relu")
        self.cell = keras.layers.GRU(U, return_sequences=True, return_state=True)
        self.head = keras.layers.Dense(C, activation="softmax")
        self(np.zeros((1, T, H, W, 1), "float32"))

    def call(self, frames, state=None):
        x = keras.ops.mean(self.conv(frames), (2, 3))
        x, state = self.cell(x, initial_state=state)
        return self.head(x), state


class Reader(keras.Model):
    """The class of a text."""

    def __init__(self, size=34):
        super().__init__()
        self.embedding = TokenEmbedding(tokenizer().get_piece_size(), size)
        self.encoder = TransformerEncoder(1, 1, 31, "rotary")
        self.over = RecurrentEncoder(11)
        self.head = keras.layers.Dense(C, activation="softmax")
        self(np.zeros((1, S), "int32"))

    def call(self, tokens):
        mask = padding_mask(tokens)
        x = self.over(self.encoder(self.embedding(tokens), x_mask=mask), x_mask=mask)
        return self.head(keras.ops.max(keras.ops.where(mask[..., None], x, -9.0), 1))


def shaken(model):
    noise = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(weight + 0.5 * noise.normal(size=weight.shape))
    return model


def live_signatures(model):
    def step(frame, index, state_h):
        y, state = model(frame[:, None], state_h)
        return {"probabilities": y[:, 0], "state_h": state, "index": index + 1}

    def predict(frames):
        return {"probabilities": model(frames)[0]}

    one = {"frame": ((H, W, 1), "float32"), "index": (None, "int32"), "state_h": ((U,), "float32")}
    return {
        "predict": deploy.Signature(predict, {"frames": ((T, H, W, 1), "float32")}, {"frames": (None, H, W, 1)}),
        "step": deploy.Signature(step, one),
    }


def clips(count, length=T):
    return [{"frames": np.random.default_rng(i).random((length, H, W, 1)).astype("float32")} for i in range(count)]


def text_signatures(model, shape=(S,)):
    def predict(tokens):
        return {"probabilities": model(tokens)}

    return {"predict": deploy.Signature(predict, {"tokens": ((S,), "int32")}, {"tokens": shape})}


def text(texts=TEXTS):
    return {"tokenizer": tokenizer_proto(), "length": S, "texts": texts}


def accuracy(outputs):
    return 100 * float(np.mean([row["probabilities"].argmax(-1).flat[0] == i % C for i, row in enumerate(outputs)]))


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """(model, folder, report) of a model that watches or reads, exported once."""

    @functools.cache
    def export(kind):
        folder, options = tmp_path_factory.mktemp(kind), {"metric": accuracy, "tolerance": 100, "timed": 2}
        if kind == "live":
            model, inside = shaken(Live()), {"files": {"labels.json": LABELS}, "card": {"task": "toy"}}
            found = deploy.export_predictor(model, live_signatures(model), folder, clips(7), **inside, **options)
        else:
            model = shaken(Reader())
            found = deploy.export_predictor(model, text_signatures(model), folder, None, text=text(), **options)
        return model, folder, found

    return export


def forms(folder):
    return {form: deploy.LiteRTPredictor(folder / f"model_{form}.tflite") for form in ("f32", "int8")}


# ---------- what is exported answers what Keras answers ----------


@pytest.mark.parametrize("kind", ["live", "text"])
def test_every_file_agrees(exported, kind):
    _, folder, found = exported(kind)
    assert found["passed"], found["reasons"]
    assert json.loads((folder / "report.json").read_text()) == found
    rows = {row["name"]: row for row in found["results"]}
    assert list(rows) == ["keras", "saved_model", "f32", "int8"]
    for name, row in rows.items():
        assert row["metric"] == rows["keras"]["metric"] or name == "int8"
        assert row["ms_per_item"] > 0
        assert row["agreement"] == 1 or name == "int8"
        assert (row["max_difference"] < 2e-5) == (name != "int8")
        assert row["mean_kl"] < 0.02
        assert row.get("text_agreement") == (1 if kind == "text" and name in ("f32", "int8") else None)
    assert 0 < rows["int8"]["ratio"] < rows["f32"]["ratio"]
    table = deploy.format_report(found)
    assert "| int8 |" in table
    assert "ms an item" in table
    assert "ms a token" not in table


def test_files_hold_builtin_ops_only_and_no_convolution_that_stays_float(exported):
    ops = builtin_ops.check_ops((exported("live")[1] / "model_int8.tflite").read_bytes())
    assert ops["CONV_2D"]
    assert not ops["CONV_3D"]
    assert builtin_ops.check_ops((exported("text")[1] / "model_f32.tflite").read_bytes())["EMBEDDING_LOOKUP"]


def test_the_numbers_are_those_of_the_model(exported):
    model, folder, _ = exported("live")
    expected = np.array(model(np.stack([item["frames"] for item in clips(3)]))[0])
    for runner in (forms(folder)["f32"], deploy.SavedModelPredictor(folder / "saved_model")):
        np.testing.assert_allclose([row["probabilities"] for row in runner(clips(3))], expected, atol=1e-5)


def test_steps_with_their_state_are_the_whole(exported):
    model, folder, found = exported("live")
    clip = clips(1)[0]["frames"]
    expected = np.array(model(clip[None])[0])[0]
    for runner in (forms(folder)["f32"], deploy.SavedModelPredictor(folder / "saved_model")):
        state, rows = {"state_h": np.zeros((1, U), "float32"), "index": np.int32(0)}, []
        for frame in clip:
            state = runner.run("step", frame=frame[None], **state)
            rows.append(state.pop("probabilities")[0])
        assert state["index"] == T
        np.testing.assert_allclose(rows, expected, atol=1e-5)
    assert all(row["max_difference_step"] < (1 if row["name"] == "int8" else 1e-4) for row in found["results"][1:])


def test_a_saved_model_takes_any_batch_and_open_length(exported):
    model, folder, _ = exported("live")
    saved = deploy.SavedModelPredictor(folder / "saved_model", batch=2)
    found = saved(clips(3, T + 2))
    np.testing.assert_allclose(found[2]["probabilities"], model(clips(3, T + 2)[2]["frames"][None])[0][0], atol=1e-5)


def test_a_saved_model_reads_texts_and_a_tflite_tokens(exported):
    model, folder, _ = exported("text")
    saved, phone = deploy.SavedModelPredictor(folder / "saved_model"), forms(folder)["f32"]
    texts = ["open the file", "", "zq the end " * 9, "日本 the"]
    tokens = phone.ids(texts, "tokens")
    expected = np.array(model(tokens))
    assert len(np.unique(expected.round(3), axis=0)) == 4
    for rows in (saved(texts), phone(texts), phone.text(texts)):
        np.testing.assert_allclose([row["probabilities"] for row in rows], expected, atol=1e-5)
    np.testing.assert_allclose(saved.run("predict_ids", tokens=tokens)["probabilities"], expected, atol=1e-5)


def test_a_dynamic_int8_file_is_as_small_as_the_fixed_one(tmp_path):
    tokens = keras.Input((None,), dtype="int32")
    x = keras.layers.GlobalAveragePooling1D()(TokenEmbedding(tokenizer().get_piece_size(), 2000)(tokens))
    model = keras.Model(tokens, keras.layers.Dense(C, activation="softmax")(x))
    found = predictor.converted(model, text_signatures(model, (None,)), ("f32", "int8"), text(), None, False)[0]
    opened = predictor.converted(model, text_signatures(model, (None,)), ("f32", "int8"), text(), None, True)[0]
    assert {form: len(data) for form, data in opened.items()} == pytest.approx(
        {form: len(data) for form, data in found.items()}, rel=0.05
    )


def test_a_saved_model_reads_no_text_at_all(tmp_path):
    model = Reader()
    savedmodel.save_predictor(model, text_signatures(model, (None,)), tmp_path, text())
    saved = deploy.SavedModelPredictor(tmp_path)
    assert saved.run("predict", texts=np.array([], object))["probabilities"].shape == (0, C)
    assert saved.run("predict", texts=np.array(["", "open the file"], object))["probabilities"].shape == (2, C)


SAVED = """
import json, sys
import tensorflow as tf
found = tf.saved_model.load(sys.argv[1]).signatures["predict"](texts=tf.constant(json.loads(sys.argv[2])))
assert not {"keras_seq", "sentencepiece", "tensorflow_text"} & set(sys.modules)
print(json.dumps(found["probabilities"].numpy().tolist()))
"""


def test_a_saved_model_needs_tensorflow_alone(exported):
    _, folder, _ = exported("text")
    expected = [row["probabilities"] for row in forms(folder)["f32"](TEXTS)]
    np.testing.assert_allclose(python(SAVED, folder / "saved_model", json.dumps(TEXTS)), expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["live", "text"])
def test_golden_cases_hold(exported, kind):
    folder = exported(kind)[1]
    checks.golden_cases_hold(folder)
    cases = json.loads((folder / "golden.json").read_text(encoding="utf-8"))["cases"]
    assert {case["signature"] for case in cases} == {"predict", "step" if kind == "live" else "text"}


def test_the_host_streams(exported):
    model, folder, _ = exported("live")
    step, clip = checks.host().Model(folder / "model_f32.tflite").stream(), clips(1)[0]["frames"]
    found = [step(frame=frame[None])["probabilities"][0] for frame in clip]
    np.testing.assert_allclose(found, np.array(model(clip[None])[0])[0], atol=1e-5)


def test_card_and_files_travel_inside(exported):
    for runner in forms(exported("live")[1]).values():
        card = runner.card()
        assert card["task"] == "toy"
        assert card["signatures"]["predict"]["inputs"] == {"frames": {"shape": [1, T, H, W, 1], "dtype": "float32"}}
        assert sorted(card["signatures"]["step"]["outputs"]) == ["index", "probabilities", "state_h"]
        assert json.loads(runner.file("labels.json")) == LABELS
        with pytest.raises(ValueError, match="Expected tokenizer.model inside .*labels.json"):
            runner.tokenizer()
    assert forms(exported("text")[1])["int8"].file("tokenizer.model") == tokenizer_proto()


# ---------- what does not pass is not put in place ----------


def linear():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    return model, {"predict": deploy.Signature(lambda x: {"values": model(x)}, {"x": ((4,), "float32")})}


def rows(count=5):
    return [{"x": row} for row in np.random.default_rng(0).normal(size=(count, 4)).astype("float32")]


def test_a_regression_is_judged_by_its_numbers(tmp_path):
    model, given = linear()
    good = deploy.export_predictor(model, given, tmp_path, rows(), timed=1)
    assert good["passed"]
    assert good["metric"] is None
    assert "mean_kl" not in good["results"][0]
    before, falling = snapshot(tmp_path), itertools.count(90, -10)
    metric = {"metric": lambda _: next(falling), "metric_name": "R2"}
    bad = deploy.export_predictor(model, given, tmp_path, rows(), **metric, timed=1)
    assert bad["reasons"] == ["int8: R2 fell from 90.00 to 60.00; a loss of 0.5 is allowed."]
    assert snapshot(tmp_path) == before


def test_another_model_than_the_exported_one_does_not_pass(tmp_path):
    model, given = linear()
    deploy.export_predictor(model, given, tmp_path, rows(), formats=("f32",), timed=1)
    paths = {"saved_model": tmp_path / "saved_model", "f32": tmp_path / "model_f32.tflite"}
    shaken(model)
    found = predictor_parity.Judge(model, given, rows(), None, None, 1).rows(paths)
    assert [row["agreement"] for row in found] == [1, 0, 0]


def complaints(name, sign=1, **row):
    """What the report says of a file that is as the model but for this."""
    same = {"agreement": 1.0, "metric": 60.0}
    rows = [{"name": "keras", **same}, {"name": "f32", **same, "metric_all": 50.0}, {"name": name, **same, **row}]
    return list(report.complaints(rows[-1], rows, Limits(2, 4, kl=0.1, kl_int4=0.3), "metric", sign))


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("saved_model", {"agreement": 1.0}, {"agreement": 0.99}),
        ("f32_dynamic", {"sample_agreement": 0.9}, {"sample_agreement": 0.89}),
        ("int8", {"text_agreement": 1.0, "agreement": 0.1}, {"text_agreement": 0.99}),
        ("f32", {"mean_kl": 0.09}, {"mean_kl": 0.11}),
        ("f16", {"mean_kl": 0.09}, {"mean_kl": float("nan")}),
        ("int8_dynamic", {"mean_kl": 0.09}, {"mean_kl": 0.11}),
        ("int4_dynamic", {"mean_kl": 0.29}, {"mean_kl": 0.31}),
        ("int8", {"metric": 58.0}, {"metric": 57.9}),
        ("int8", {"metric": 99.0}, {"metric": float("nan")}),
        ("int4", {"metric": 56.0}, {"metric": 55.9}),
        ("int8", {"metric": 0.0, "metric_all": 48.0}, {"metric": 60.0, "metric_all": 47.9}),  # where all were asked
        ("f32", {"max_difference_step": 9e-4}, {"max_difference_step": 2e-3}),
        ("saved_model", {"max_difference": 1.0}, {"max_difference_step": float("nan")}),
        ("int8", {"max_difference_step": 1.0}, {"max_difference_step": 1.0, "metric": 0.0}),
    ],
)
def test_a_file_that_is_too_far_from_the_model_is_named(name, good, bad):
    assert not complaints(name, **good)
    assert [found.partition(":")[0] for found in complaints(name, **bad)] == [name]


def test_where_less_is_better_more_is_a_loss():
    assert not complaints("int8", sign=-1, metric=0.0)
    (found,) = complaints("int8", sign=-1, metric=62.5)
    assert found == "int8: metric rose from 60.00 to 62.50; a loss of 2 is allowed."
    rows = [{"name": "keras", "metric": 1.0}, {"name": "int8", "metric": 3.5}]
    assert report.judged(linear()[0], rows, "nats", 2, {})["passed"]
    assert not report.judged(linear()[0], rows, "nats", 2, {}, more_is_better=False)["passed"]


@pytest.mark.parametrize(("wrong", "far"), [(0.0, 0.0), (0.5, 0.5), (float("nan"), float("nan"))])
def test_a_stream_is_followed_with_its_state(wrong, far):
    """The state is handed on: what is wrong once there is one is seen, and so is what is no number."""

    def run(x, h, off=0.0):
        return {"y": x * 0 + h[:, :1] * (1 + off), "h": h + 1}

    signature = deploy.Signature(run, {"x": ((1,), "float32"), "h": ((2,), "float32")})
    found = predictor_parity.follow(signature, run, functools.partial(run, off=wrong))
    assert found == pytest.approx(far, nan_ok=True)


def test_a_step_that_does_otherwise_does_not_pass(tmp_path):
    model, given = linear()
    traces = itertools.count(1)
    given["step"] = deploy.Signature(lambda x: {"y": x * next(traces)}, {"x": ((4,), "float32")})
    found = deploy.export_predictor(model, given, tmp_path, rows(), formats=("f32",), timed=1)
    assert [reason.partition("; got")[0] for reason in found["reasons"]] == [
        f"{name}: expected the model's `step`, to 0.001" for name in ("saved_model", "f32")
    ]
    assert not list(tmp_path.iterdir())


def test_bad_requests_are_refused(tmp_path):
    model, given = linear()
    with pytest.raises(ValueError, match="signature called predict; got .'answer'"):
        deploy.export_predictor(model, {"answer": given["predict"]}, tmp_path, rows())
    with pytest.raises(ValueError, match="'tokens'.*got .*'x'"):
        deploy.export_predictor(model, given, tmp_path, None, text=text())
    with pytest.raises(ValueError, match="f32, f16, int8, int4; got int3"):
        deploy.export_predictor(model, given, tmp_path, rows(), formats=("int3",))
    assert not list(tmp_path.iterdir())


def test_classes_that_are_as_good_are_the_same():
    ours = np.array([[0.5, 0.5, 0.0]])
    assert predictor_parity.same_class(ours, np.array([[0.4, 0.6, 0.0]]))
    assert not predictor_parity.same_class(ours, np.array([[0.3, 0.3, 0.4]]))
    with pytest.raises(ValueError, match="shape .1, 3. from a file; got .1, 2."):
        report.difference(ours, ours[:, :2])


# ---------- convolutions ----------


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("strides", [1, (1, 2, 3)])
def test_a_folded_convolution_is_the_same(padding, strides):
    x = np.random.default_rng(0).normal(size=(2, T, H, W, 3)).astype("float32")
    layer = keras.layers.Conv3D(5, (4, 3, 2), strides=strides, padding=padding)
    expected = layer(x)
    with conv.folded_convolutions():
        graph = tf.function(layer, autograph=False).get_concrete_function(tf.constant(x))
        np.testing.assert_allclose(graph(tf.constant(x)), expected, atol=1e-5)
        other = keras.layers.Conv3D(3, 2, strides=2, groups=3)
        assert tuple(other(x).shape) == (2, 2, 3, 5, 3)  # one that cannot be folded
    kinds = {op.type for op in graph.graph.get_operations()}
    assert "Conv2D" in kinds
    assert "Conv3D" not in kinds


def test_an_output_beside_the_first_is_judged_too(tmp_path):
    model, given = linear()
    first, traces = given["predict"].function, itertools.count(0)

    def predict(x):
        made = next(traces)
        return {**first(x), "off": x * (1 + made), "which": tf.cast(x > made, "int32"), "same": tf.cast(x > 0, "int32")}

    given["predict"] = deploy.Signature(predict, given["predict"].inputs)
    found = deploy.export_predictor(model, given, tmp_path, rows(), formats=("f32",), timed=1)
    assert [reason.partition(", to")[0] for reason in found["reasons"]] == [
        f"{name}: expected the model's `{output}`" for name in ("saved_model", "f32") for output in ("off", "which")
    ]


@pytest.mark.parametrize(
    ("ours", "theirs", "far"),
    [
        ([2.0, 4.0], [2.0, 5.0], 0.25),
        ([2.0, 4.0], [2.0, np.nan], np.nan),
        ([2, 4, 7, 7], [2, 4, 7, 8], 0.25),
        ([True, False], [True, True], 0.5),
    ],
)
def test_numbers_are_apart_by_their_difference_and_choices_by_their_share(ours, theirs, far):
    same, other = np.array(ours), np.array(theirs)
    assert predictor_parity.apart([(same, same), (same, same)]) == 0
    expected = far if same.dtype.kind == "f" else far / 2  # the largest, or the share of both
    assert predictor_parity.apart([(same, same), (same, other)]) == pytest.approx(expected, nan_ok=True)


def test_the_divergence_of_what_is_nearly_the_same_is_told():
    """Of logits that differ in the last digit it is some 1e-14; in float32 it would be noise, of either sign."""
    ours = np.random.default_rng(0).normal(size=(50, 4000)).astype("float32")
    found = predictor_parity.divergence(ours, np.nextafter(ours, np.float32(9)), "logits")
    assert 0 < found < 1e-12
    p = np.array([[0.5, 0.25, 0.25]], "float32")
    q = np.array([[0.25, 0.25, 0.5]], "float32")
    assert predictor_parity.divergence(p, q, "probabilities") == pytest.approx(0.25 * np.log(2))
    rounded = [(p * x).astype("float32") for x in (1 + 1e-6, 1 - 1e-6)]  # sums that float32 gives
    assert 0 <= predictor_parity.divergence(*rounded, "probabilities") < 1e-12
    assert predictor_parity.divergence(np.log(p) + 3, np.log(q) - 1, "logits") == pytest.approx(0.25 * np.log(2))
