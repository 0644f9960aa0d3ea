"""The masked language model learns a toy language, fills masks and exports; other apps begin with its encoder."""

import random

import numpy as np
import pytest

from apps import masked_lm, sentiment, tagging
from keras_seq.app import pretrained
from keras_seq.data import read_texts, some, split_texts, written
from keras_seq.training import store

APP = masked_lm.APP
LAYERS = {"dim": 32, "layers": 1, "heads": 4, "mlp_dim": 64}
SIZES = ["--model", "transformer", "--dim", "32", "--layers", "1", "--heads", "4", "--mlp-dim", "64",
         "--position", "rotary"]  # fmt: skip
PAIRS = {"red": "apple", "green": "leaf", "blue": "sky", "white": "snow", "black": "coal"}

PLACES = ["Oslo", "Rome", "Paris", "Lima", "Bonn", "Cairo"]


def texts(count=300):
    draw = random.Random(0)
    for _ in range(count):
        (a, b), (c, d) = draw.sample(sorted(PAIRS.items()), 2)
        yield f"The {a} {b} lies near the {c} {d}, in {draw.choice(PLACES)}."  # a comma: each noun is a piece


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("masked_lm")
    (place / "a.txt").write_text("\n".join(texts()) + "\n", encoding="utf-8")
    flags = ["--data", str(place / "a.txt"), *SIZES, "--vocab-size", "110", "--epochs", "60", "--batch", "16",
             "--learning-rate", "0.01", "--warmup", "20", "--dropout", "0", "--hidden", "0.3",
             "--vectors", "random"]  # fmt: skip
    assert APP.run(["train", *flags, "--output", str(place / "model")]) == 0
    words = [f"{word}\tB-color\n{noun}\tO\n\n" for word, noun in PAIRS.items()]
    rows = "".join(f"{'o' * (1 + i % 31)}\tO\n{words[i % 5]}" for i in range(90))
    (place / "names.bio").write_text(rows, encoding="utf-8")
    return place


def test_hidden_words_are_told(folder):
    found = store.read_json(folder / "model" / "metrics.json")["test"]["by"]
    assert found["this model"]["accuracy"] > 10 + found["most frequent"]["accuracy"]
    assert found["this model"]["perplexity"] < found["most frequent"]["perplexity"] / 2


def test_predict_prints_the_likeliest_fillings(folder, capsys):
    asked = ["The red [MASK] lies near the green [MASK], in Oslo.", "The blue [mask] lies near the red apple, in Rome."]
    assert APP.run(["predict", *asked, "--top", "2", "--output", str(folder / "model")]) == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [len(line) for line in lines] == [2, 1]
    assert lines[0][0].startswith("apple 0.")
    assert lines[0][1].startswith("leaf 0.")
    assert lines[1][0].startswith("sky 0.")
    assert lines[0][0].count(",") == 1
    for text, message in [("no mask", "expected a text with [MASK], got none in 'no mask'"),
                          ("x " * 200 + "[MASK]", "got none in the first 128 pieces of 'x x")]:  # fmt: skip
        assert APP.run(["predict", text, "--output", str(folder / "model")]) == 2
        assert message in capsys.readouterr().err


def test_the_exported_files_agree(folder, capsys):
    out = folder / "model"
    assert APP.run(["export", "--output", str(out), "--length", "29", "--tolerance", "10"]) == 0
    rows = {row["name"]: row for row in store.read_json(out / "report.json")["results"]}
    assert rows["f32"]["agreement"] == rows["saved_model"]["agreement"] == rows["f32"]["text_agreement"] == 1.0
    assert rows["f32"]["metric"] > 20
    (out / "model_int8.tflite").unlink()  # it rounds
    asked, said = ["The red [mask] lies near the green leaf, in Oslo.", "In [MASK]."], {}
    for flags in ([], ["--exported"]):
        capsys.readouterr()
        assert APP.run(["predict", *asked, *flags, "--output", str(out)]) == 0
        said[len(flags)] = capsys.readouterr().out
    assert said[0] == said[1]
    assert said[1].startswith("apple 0.")
    samples = store.read_json(out / "demo.json")["samples"]
    assert len(samples) > 3
    assert all(sample["text"].count("[MASK]") == 1 and sample["said"] for sample in samples)
    for text, count in (("none", 0), ("[MASK] or [MASK]", 2)):
        assert APP.run(["predict", text, "--exported", "--output", str(out)]) == 2
        assert f"expected a text with one [MASK], got {count} in '{text}'" in capsys.readouterr().err


def test_questions_hide_a_word_that_is_one_piece(folder):
    assets = APP.load(folder / "model").assets
    lines = read_texts(folder / "a.txt")[:40]
    found = masked_lm.questions(assets, [*lines, "In"], 128)
    tokenizer = masked_lm.reader(assets)
    assert len(found) == 40
    for (text, piece), line in zip(found, lines):
        assert text.replace("[MASK]", tokenizer.piece(piece)[1:]).lower() == line.lower()
        assert masked_lm.MASK in tokenizer.encode([text])[0]
    assert not masked_lm.questions(assets, lines, 3)
    [(text, piece)] = masked_lm.questions(assets, ["o" * 9], 128)  # no word is a piece: any will do
    assert text.replace(" [MASK]", tokenizer.piece(piece)) == "o" * 9


def test_vectors_begin_with_what_the_neighbours_tell(folder):
    sizes = {**LAYERS, "vocab_size": 110}
    config = masked_lm.Config(data=str(folder / "a.txt"), **sizes)
    data = masked_lm.data(config)
    model = masked_lm.model(config, data.assets)
    drawn = model.encoder.embedding.table.numpy()
    data.begin(model)
    vectors = model.encoder.embedding.table.numpy()
    known = np.array(data.assets["counts"])[: len(vectors)] > 0
    changed = np.any(vectors != drawn, axis=1)
    assert changed[known].mean() > 0.9
    assert not changed[~known].any()
    assert np.allclose(np.linalg.norm(vectors[changed], axis=1), 1, atol=1e-5)  # as those that are drawn, on average
    assert masked_lm.data(masked_lm.Config(data=str(folder / "a.txt"), vectors="random", **sizes)).begin is None


# ---------- a beginning for others ----------


def recipe(app, folder, **given):
    """An app's config, its data and its model, begun with the encoder."""
    sizes = {"model": "transformer", **LAYERS, "position": "rotary"}
    config = app.Config(pretrained=str(folder / "model"), **{**sizes, **given})
    return config, app.data(config)


def encoder_weights(folder):
    trained = APP.load(folder / "model")
    return [np.array(w) for w in trained.model.encoder.trainable_weights], trained.assets["tokenizer.model"]


def test_a_tagger_begins_with_the_encoder_and_its_tokenizer(folder):
    weights, proto = encoder_weights(folder)
    config, data = recipe(tagging, folder, data=str(folder / "names.bio"))
    assert data.assets["tokenizer.model"] == proto
    model = tagging.model(config, data.assets)
    data.begin(model)
    for own, theirs in zip(model.encoder.trainable_weights, weights, strict=True):
        np.testing.assert_array_equal(own, theirs)


def test_each_member_of_a_committee_does(folder, tmp_path):
    (tmp_path / "a.tsv").write_text("text\tlabel\n" + "".join(
        f"{text}\t{'yes' if 'red' in text else 'no'}\n" for text in texts(90)), encoding="utf-8")  # fmt: skip
    weights, _ = encoder_weights(folder)
    config, data = recipe(sentiment, folder, data=str(tmp_path / "a.tsv"), members=2)
    model = sentiment.model(config, data.assets)
    data.begin(model)
    *members, bag = model.members
    assert len(members) == 2
    assert not hasattr(bag, "encoder")
    for member in members:
        for own, theirs in zip(member.encoder.trainable_weights, weights, strict=True):
            np.testing.assert_array_equal(own, theirs)


def test_a_pretrained_tagger_trains_and_is_loaded_without_its_beginning(folder, capsys):
    out = folder / "tagger"
    flags = ["--data", str(folder / "names.bio"), "--pretrained", str(folder / "model"), *SIZES, "--epochs", "2"]
    assert tagging.APP.run(["train", *flags, "--examples", "40", "--batch", "8", "--output", str(out)]) == 0
    assert "40 sentences" in capsys.readouterr().out
    kept = folder / "model"
    kept.rename(folder / "away")
    try:
        assert tagging.APP.run(["predict", "red apple", "--output", str(out)]) == 0
    finally:
        (folder / "away").rename(kept)


def test_other_sizes_are_refused_with_the_flags_that_fit(folder, tmp_path, capsys):
    for flags, message in [
        ([*SIZES, "--dim", "16", "--layers", "2"], f"got --dim 16, --layers 2: add {' '.join(SIZES)}"),
        ([], "got --model bilstm, --dim 128"),
        (["--pretrained", str(tmp_path)], "expected a trained model that reads text in"),
    ]:  # fmt: skip
        given = ["train", "--data", str(folder / "names.bio"), "--pretrained", str(folder / "model"), *flags]
        assert tagging.APP.run([*given, "--output", str(tmp_path / "out")]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert len(error.splitlines()) == 1


def test_weights_of_another_shape_are_refused(folder):
    from keras_seq import models

    other = models.MaskedLM(110, 8, {"name": "transformer", "num_layers": 1, "num_heads": 2, "mlp_dim": 16})
    with pytest.raises(ValueError, match="expected the weights of an encoder of this size in"):
        pretrained.load(other, folder / "model")


# ---------- texts ----------


def test_texts_are_lines_and_equal_ones_are_in_one_split(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffOne  two\r\n\r\nthree\r\n".encode())
    assert read_texts(path) == ["One two", "three"]
    assert read_texts(path).where(1) == f"{path}, line 3"
    path.write_text("\n \n")
    with pytest.raises(ValueError, match="expected a text on each line, got none"):
        read_texts(path)
    parts = split_texts([chr(97 + i % 25) * (1 + i % 50) for i in range(200)], 1000)
    assert not set(parts["train"]) & set(parts["valid"] + parts["test"])
    assert {name: len(part) for name, part in parts.items()} == {"train": 160, "valid": 20, "test": 20}


def test_some_rows_follow_from_the_seed():
    rows = list(range(100))
    assert some(rows, 10, 1) == some(rows, 10, 1) != some(rows, 10, 2)
    assert len(set(some(rows, 10, 1))) == 10
    assert some(rows, 0, 1) == some(rows, 100, 1) == rows


@pytest.mark.parametrize(("words", "text"), [
    ("`` No '' , he said ( twice ) .", '"No", he said (twice).'),
    ('He said " no " and went .', 'He said "no" and went.'),
    ("She did n't pay $ 3 : 5 % more !", "She didn't pay $3: 5% more!"),
])  # fmt: skip
def test_words_are_written_as_a_person_does(words, text):
    assert written(words.split()) == text
