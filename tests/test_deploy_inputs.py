"""Export of models that read something else than text and write text: the same files, the same laws."""

import io
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_seq import deploy
from keras_seq.data.images import fit, shown
from keras_seq.decoding import generate
from keras_seq.deploy import builtin_ops, parity
from keras_seq.deploy.runners import stack
from keras_seq.layers import PatchEmbedding, TokenEmbedding, TransformerDecoder
from tests import checks
from tests.test_deploy import shapes, snapshot, tokenizer, tokenizer_proto

H, W, T, D = 8, 12, 7, 36
INPUTS = {"image": ((H, W, 3), "float32")}


class Captioner(keras.Model):
    """A picture's patches, and a decoder that attends to them."""

    def __init__(self):
        super().__init__()
        self.patches, self.embedding = PatchEmbedding(D, 4), TokenEmbedding(tokenizer().get_piece_size(), D)
        self.decoder = TransformerDecoder(1, 2, 47, position="rotary")
        self.patches.build((None, H, W, 3))
        self.embedding.build()
        self.decoder.build((None, None, D), (None, None, D))
        self.built = True

    def start(self, inputs, length=None):
        return self.decoder.start(self.patches(inputs["image"]), None, length, None)

    def step(self, tokens, index, memory, state):
        x, state = self.decoder.step(self.embedding(tokens), index, memory, state)
        return self.embedding.logits(x), state

    def call(self, inputs):
        return self.step(inputs["target"], 0, *self.start(inputs))[0]


def pictures(count=7):
    return [{"image": x} for x in 10 * np.random.default_rng(2).random((count, H, W, 3), "float32") - 5]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """(model, folder, report)"""
    keras.utils.set_random_seed(3)
    model, noise = Captioner(), np.random.default_rng(0)
    for weight in model.weights[1:]:
        weight.assign(weight + 0.5 * noise.normal(size=weight.shape))
    folder = tmp_path_factory.mktemp("captioner")
    options = {"max_length": T, "beams": 3, "inputs": INPUTS, "sentences": 5, "timed": 1, "files": {"more.json": [1]}}
    options["raw"] = {"pictures": lambda pictures: {"image": 5 * deploy.decode_pictures(pictures, 12)[:, 2:10]}}
    metric = {"metric": lambda texts: float(len(texts)), "metric_name": "texts"}
    return model, folder, deploy.export_checked(model, tokenizer_proto(), folder, pictures(), **options, **metric)


def tokens(model, beams):
    return np.array(generate(model, stack(pictures()), max_length=T, beams=beams)[0])[:, 0]


def test_both_files_write_what_keras_writes(exported):
    model, folder, report = exported
    assert report["passed"], report["reasons"]
    assert (report["sentences"], report["all_sentences"]) == (5, 7)
    assert [row.get("metric_all") for row in report["results"]] == [None, None, None, 7, 7, 7, 7]
    phone, saved = deploy.LiteRTRunner(folder / "model_f32.tflite"), deploy.SavedModelRunner(folder / "saved_model")
    greedy, beam = tokens(model, 1), tokens(model, 3)
    assert len(np.unique(greedy, axis=0)) > 3  # the model does look at its picture
    np.testing.assert_array_equal(phone.generate(pictures()), greedy)
    np.testing.assert_array_equal(phone.generate(pictures(), "generate_beam"), beam)
    assert phone(pictures()) == phone.text(pictures()) == tokenizer().decode(greedy.tolist())
    assert saved(pictures()) == phone.text(pictures(), "text_beam") == tokenizer().decode(beam.tolist())
    assert parity.drift(model, phone, pictures(2), greedy)["max_logit_difference"] < 1e-4


def test_golden_cases_hold(exported):
    checks.golden_cases_hold(exported[1])


def test_names_and_shapes(exported):
    folder = exported[1]
    for form in ("f32", "int8"):
        runner = deploy.LiteRTRunner(folder / f"model_{form}.tflite")
        written = ["generate", "generate_beam", "text", "text_beam"]
        assert sorted(runner.signatures) == ["decode_step", "encode", *written]
        for name in ("encode", *written):
            found = runner.interpreter.get_signature_runner(name)
            assert shapes(found.get_input_details()) == {"image": ((1, H, W, 3), "float32")}
        card = runner.card()
        assert card["max_length"] == T
        assert "source_length" not in card
        assert json.loads(runner.file("more.json")) == [1]
        assert builtin_ops.check_ops((folder / f"model_{form}.tflite").read_bytes())["WHILE"]
    saved = deploy.SavedModelRunner(folder / "saved_model")
    assert sorted(saved.signatures) == ["decode_step", "encode", "generate", "generate_ids", "generate_pictures"]
    assert saved.run("generate", image=np.ones((5, H, W, 3), "float32"))["text"].shape == (5,)


def test_another_model_does_not_pass_and_replaces_nothing(exported):
    model, folder, _ = exported
    before, kept = snapshot(folder), model.weights[0].numpy()
    built = {"saved_model": folder / "saved_model", "f32": folder / "model_f32.tflite"}
    model.weights[0].assign(-kept)
    try:
        found = deploy.parity_report(model, built, tokenizer_proto(), pictures(), max_length=T, timed=1)
    finally:
        model.weights[0].assign(kept)
    assert [reason.split(",")[0] for reason in found["reasons"]] == [*["saved_model"] * 2, *["f32"] * 3]
    assert snapshot(folder) == before


# ---------- bytes of pictures ----------


def encoded(form, mode, size):
    """A picture with soft shapes, as uint8 (H, W, 4) and as a file."""
    x, y = np.meshgrid(*(np.linspace(0, 3, n) for n in size))
    layers = [np.sin(k * x + y) * 120 + 127 for k in (1, 2, 3)] + [np.cos(x - y) * 120 + 127]
    picture = Image.fromarray(np.stack(layers, -1).astype("uint8")).convert(mode)
    file = io.BytesIO()
    picture.save(file, form, **({"quality": 95} if form == "JPEG" else {"lossless": True} if form == "WEBP" else {}))
    return file.getvalue()


@pytest.mark.parametrize(
    ("form", "mode"), [("PNG", "RGBA"), ("PNG", "L"), ("JPEG", "RGB"), ("WEBP", "RGBA"), ("GIF", "RGB"), ("BMP", "RGB")]
)
def test_a_graph_sees_pictures_as_python_does(form, mode):
    for size in ((24, 24), (37, 23), (11, 19)):
        data = encoded(form, mode, size)
        with Image.open(io.BytesIO(data)) as picture:
            expected = shown(fit(picture.convert("RGBA"), 24), 24)
        found = deploy.decode_pictures(tf.constant([data]), 24)[0]
        assert np.abs(found - expected).max() < (0.08 if form == "JPEG" else 0.02)  # rounding; another JPEG decoder


def test_a_saved_model_captions_the_bytes_of_pictures(exported):
    saved = deploy.SavedModelRunner(exported[1] / "saved_model")
    data = [encoded("PNG", "RGBA", (12, 12)), encoded("JPEG", "RGB", (30, 20))]
    image = 5 * deploy.decode_pictures(tf.constant(data), 12)[:, 2:10]
    expected = saved.run("generate", image=image)
    found = saved.run("generate_pictures", pictures=np.array(data, object))
    assert found["text"].tolist() == expected["text"].tolist()
