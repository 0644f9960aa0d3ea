"""The sentiment app learns a toy table, explains its answers, and exports files that agree; its pack does not leak."""

import json
import random
import re

import numpy as np
import pytest

from apps import sentiment
from apps.data import FOLDER, load_sentiment, packages, sentiment_pack
from apps.data.near_copies import NearCopies
from keras_seq.data import fold
from keras_seq.plots import confusion_matrix, png
from keras_seq.training import calibration, scoring, store

APP = sentiment.APP
GOOD, BAD = ["great", "lovely", "fine"], ["awful", "dull", "poor"]
PLAIN = ["the", "film", "was", "then", "with", "some", "people"]


def sentences(count=240):
    """Rows (text, class, number): one word tells the class, and the number."""
    draw = random.Random(0)
    for i in range(count):
        words, kind = [draw.choice(PLAIN) for _ in range(5)], draw.choice(["bad", "good", "none"])
        if kind != "none":
            words.insert(draw.randrange(5), draw.choice(GOOD if kind == "good" else BAD))
        yield f"{' '.join(words)} {i}", kind, {"bad": -1.5, "good": 2.5, "none": 0.25}[kind] + draw.random() / 9


TINY = ["--vocab-size=90", "--buckets=1009", "--dim=16", "--units=11", "--dropout=0.1", "--word-dropout=0",
        "--batch=16", "--epochs=9", "--learning-rate=0.02", "--warmup=5", "--no-mixed-precision"]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a table of classes and numbers, and a model trained on the classes."""
    place = tmp_path_factory.mktemp("sentiment")
    rows = "".join(f"{number},{kind},{text}\n" for text, kind, number in sentences())
    (place / "a.csv").write_text("num,label,text\n" + rows, encoding="utf-8")
    flags = ["--data", str(place / "a.csv"), "--model", "lstm", "--members", "2", *TINY]
    assert APP.run(["train", *flags, "--output", str(place / "model")]) == 0
    return place


@pytest.fixture(scope="module")
def trained(folder):
    return APP.load(folder / "model")


def metrics(folder):
    return store.read_json(folder / "metrics.json")["test"]


def test_classes_are_learned_and_their_chances_are_true(folder, trained):
    found = metrics(folder / "model")
    assert found["accuracy"] > 90
    assert 0 <= found["calibration_error"] < 0.25
    assert sum(sum(row.values()) for row in found["confusion"].values()) == found["texts"] == 24
    assert (folder / "model" / "confusion.png").read_bytes()[:4] == b"\x89PNG"
    assert float(trained.model.temperature) != 1.0
    first, second, bag = np.array(trained.model.trust)
    assert first == second != bag
    assert first + second + bag == pytest.approx(1.0)


def test_predict_tells_label_chance_and_words(folder, capsys):
    texts = ["The film was AWFUL 😀 then", "some lovely people"]
    flags = ["--output", str(folder / "model"), "--explain", "--all"]
    assert APP.run(["predict", *texts, *flags]) == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [row[0] for row in rows] == ["bad", "good"]
    for (label, chance, chances, words), text, telling in zip(rows, texts, ("AWFUL", "lovely")):
        assert max(json.loads(chances).values()) == pytest.approx(float(chance), abs=1e-3)
        assert json.loads(chances)[label] == max(json.loads(chances).values())
        weights = dict(re.findall(r"(\S+)\(([+-]\d\.\d\d)\)", words))
        assert list(weights) == text.split()
        assert max(weights, key=lambda word: float(weights[word])) == telling


def test_a_terminal_gets_colours_unless_it_wants_none(trained, monkeypatch):
    def explained():
        return sentiment.explained(trained.config, trained.model, trained.assets, "some dull film")

    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert re.sub(r"\x1b\[[\d;]*m", "", explained()) == "some dull film" != explained()
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in explained()


def test_the_weights_of_words_add_up_to_one_and_miss_none(trained):
    words = sentiment.weighed(trained.config, trained.model, trained.assets, "great, lovely — and 10 日本 people")
    assert " ".join(word for word, _ in words) == "great, lovely — and 10 日本 people"
    assert 0 < sum(abs(weight) for _, weight in words) < 1.0001


def test_a_long_text_is_read_from_its_beginning(trained):
    long = "lovely " * 10_000
    label, _, words = sentiment.predict(trained.config, trained.model, trained.assets, [long], explain=True)[0]
    assert label == "good"
    assert 10 < len(words.split()) < 200
    assert words.endswith(" ...")


def test_the_exported_files_agree(folder, trained, capsys):
    out = ["--output", str(folder / "model")]
    assert APP.run(["export", *out, "--length", "19", "--tolerance", "5"]) == 0
    report = store.read_json(folder / "model" / "report.json")
    rows = {row["name"]: row for row in report["results"]}
    assert {"keras", "saved_model", "f32", "int8"} <= set(rows)
    assert rows["f32"]["agreement"] == rows["saved_model"]["agreement"] == 1.0
    assert rows["f32"]["max_difference"] < 1e-4  # pairs fall into the same buckets
    from keras_seq.deploy import SavedModelPredictor

    found = SavedModelPredictor(folder / "model" / "saved_model")(["some LOVELY people"])[0]["probabilities"]
    expected = sentiment.logits(trained.config, trained.model, trained.assets, ["some LOVELY people"])
    p = calibration.probabilities(expected, float(trained.model.temperature))
    np.testing.assert_allclose(np.ravel(found), p[0], atol=1e-5)
    answers = []
    for flags in ([], ["--exported"]):
        capsys.readouterr()
        assert APP.run(["predict", "some LOVELY people", *flags, *out]) == 0
        answers.append(capsys.readouterr().out.split("\t"))
    (label, chance), (read, rough) = answers
    assert read == label
    assert abs(float(rough) - float(chance)) < 0.05  # int8


def test_numbers_are_learned_too(folder, capsys):
    out = ["--output", str(folder / "numbers")]
    flags = ["--data", str(folder / "a.csv"), "--label-column", "num", "--model", "transformer", "--members", "1"]
    assert APP.run(["train", *flags, *TINY, "--learning-rate", "0.005", "--heads", "2", *out]) == 0
    assert set(metrics(folder / "numbers")) == {"set", "texts", "mae", "rmse", "r2"}
    assert metrics(folder / "numbers")["mae"] < 1.0  # the median answers with 1.25
    capsys.readouterr()
    assert APP.run(["predict", "some lovely people", *out]) == 0
    assert -3 < float(capsys.readouterr().out) < 4


def test_what_a_user_does_wrong_is_one_line(folder, capsys):
    path = folder / "a.csv"
    for flags, message in [
        (["--text-column", "body"], "line 1: expected the column 'body', got no such column; the columns are num,"),
        (["--label-column", "label", "--task", "regression"], "line 2: expected a number"),
        (["--test", "0"], "expected --test of at least 1, got 0"),
        (["--label-column", "text"], "expected at least 2 classes with some rows each, got 240 different labels"),
    ]:
        assert APP.run(["train", "--data", str(path), "--output", str(folder / "none"), *flags]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert len(error.splitlines()) == 1


# ---------- scores, calibration and its picture ----------


def test_scores_of_classes_are_known_by_hand_and_a_class_that_is_not_there_counts_for_nothing():
    p = [[0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.2, 0.7, 0.1]]
    assert scoring.class_scores(p, [0, 1, 1]) == {
        "accuracy": 66.67, "macro_f1": 66.67, "log_loss": pytest.approx(-np.log(0.8 * 0.3 * 0.7) / 3),
        "calibration_error": pytest.approx((0.2 + 0.6 + 0.3) / 3),
    }
    assert scoring.class_scores(p, [0, 2, 1])["macro_f1"] == 55.56  # no answer is the third, but a label


def test_scores_of_numbers_are_known_by_hand():
    wanted = {"mae": 4 / 3, "rmse": (8 / 3) ** 0.5, "r2": -1 / 3}
    assert scoring.number_scores([1, 2, 6], [1, 4, 4]) == pytest.approx(wanted)
    assert [scoring.number_scores(found, [3, 3])["r2"] for found in ([3, 3], [3, 4])] == [1, 0]


def test_the_temperature_is_that_of_the_least_loss():
    draw = np.random.default_rng(0)
    z = draw.normal(size=(997, 3)) * 3
    labels = np.array([draw.choice(3, p=p) for p in calibration.probabilities(z, 2.0)])
    found = calibration.fit_temperature(z, labels)

    def loss(t):
        return -np.mean(np.log(calibration.probabilities(z, t)[np.arange(997), labels]))

    assert min((found * 0.9, found, found * 1.1), key=loss) == found
    assert found == pytest.approx(2.0, rel=0.15)
    error = calibration.expected_calibration_error
    assert error(calibration.probabilities(z, found), labels) < 0.05 < error(calibration.probabilities(z), labels)


def test_the_temperature_is_left_where_nothing_tells_it():
    z = np.tile([[2.0, 0.0]], (12, 1))
    assert calibration.fit_temperature(z, [0] * 12) == 1  # all are right: the surer the better, without end
    assert calibration.fit_temperature(z[:9], [0] * 8 + [1]) == 1
    assert calibration.fit_temperature(z, [0] * 11 + [1]) < 0.9


def test_trust_is_that_of_the_least_loss_and_the_same_in_a_kind():
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 3, 997)
    z = draw.normal(size=(997, 4, 3))
    z[np.arange(997), :, labels] += [1.0, 1.0, 1.0, 0.5]  # three that are as good, one that knows less

    def loss(trust):
        mixed = np.einsum("nmc,m->nc", z, trust)
        p = calibration.probabilities(mixed, calibration.fit_temperature(mixed, labels))
        return -np.mean(np.log(p[np.arange(997), labels]))

    found = calibration.fit_trust(z, labels, [0, 0, 0, 1])
    assert found[0] == found[1] == found[2] > found[3] > 0.05
    assert found.sum() == pytest.approx(1.0)
    for other in (0.02, -0.02):
        assert loss(found) < loss(found + other * np.array([1, 1, 1, -3]))


def test_a_member_that_knows_nothing_is_hardly_trusted():
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 2, 997)
    z = draw.normal(size=(997, 2, 2))
    z[np.arange(997), :, labels] += [1.0, -2.0]
    found = calibration.fit_trust(z, labels, [0, 1])
    assert 0 < found[1] < 0.1 < found[0]


def test_the_calibration_error_of_a_model_that_is_too_sure():
    p = np.array([[1.0, 0.0]] * 5)
    assert calibration.expected_calibration_error(p, [0, 0, 0, 0, 1]) == pytest.approx(0.2)
    with pytest.raises(ValueError, match=r"got \(0,\) and \(0,\)"):
        calibration.expected_calibration_error([], [])


def test_a_bin_of_the_calibration_error_has_its_upper_edge():
    """By hand from the paper, five bins: (0.4, 0.6] has 2 of which 1 is right, (0.6, 0.8] has 2, (0.8, 1] one."""
    sure = np.array([0.6, 0.6, 0.8, 0.7, 1.0])
    p = np.stack([sure, 1 - sure], axis=1)
    found = calibration.expected_calibration_error(p, [0, 1, 1, 0, 0], bins=5)
    assert found == pytest.approx((abs(1 - 1.2) + abs(1 - 1.5) + abs(1 - 1.0)) / 5)


@pytest.mark.parametrize("size", [1, 2, 13])
def test_confusions_are_drawn(size):
    counts = np.arange(size * size).reshape(size, size)
    assert png(confusion_matrix(counts, [f"class ${i}" for i in range(size)], "title"))[:4] == b"\x89PNG"
    with pytest.raises(ValueError, match="a row and a column a name"):
        confusion_matrix(counts, ["a"] * (size + 1))


# ---------- the pack ----------


@pytest.fixture(scope="module")
def pack():
    return load_sentiment()


def test_the_counts_are_those_of_the_card(pack):
    facts = json.loads((FOLDER / "sentiment" / "sentiment.json").read_text())
    assert {name: len(rows) for name, rows in pack.items()} == facts["texts"]
    assert facts["sha256"] in (FOLDER / "sentiment" / "README.md").read_text()
    assert {row.domain for row in pack["test"]} == {"movies"}
    for name in sentiment_pack.OUTSIDE:
        assert sorted({row.rating for row in pack[name]}) == [-1.0, 1.0]
        assert sum(row.rating for row in pack[name]) == 0


def test_no_text_stands_in_two_splits(pack):
    held = {fold(row.text) for name in ("test", *sentiment_pack.OUTSIDE) for row in pack[name]}
    valid = {fold(row.text) for row in pack["valid"]}
    assert not held & valid
    assert not {fold(row.text) for row in pack["train"]} & (held | valid)


def test_no_training_text_is_a_near_copy_of_a_test_text(pack):
    held = [row.text for name in ("test", "amazon") for row in pack[name][::29]]
    index = NearCopies(held)
    assert not [row.text for row in pack["train"][::5] if row.text in index]


def test_texts_are_clean_and_rated(pack):
    for row in (row for rows in pack.values() for row in rows):
        assert row.text == sentiment_pack.clean(row.text) != ""
        assert -4 <= row.rating <= 4


def test_sentences_of_a_review_stay_together():
    assert len({sentiment_pack.split_of("products", f"7_{i}") for i in range(50)}) == 1
    assert {sentiment_pack.split_of("movies", str(i)) for i in range(200)} == {"train", "valid", "test"}
    assert {sentiment_pack.split_of("words", str(i)) for i in range(200)} == {"train"}


def test_a_missing_or_damaged_pack_is_told(tmp_path):
    with pytest.raises(ValueError, match="no such pack; .* apps.data.build sentiment"):
        load_sentiment(tmp_path)
    for name in ("sentiment.json", "sentiment.tsv.gz"):
        (tmp_path / name).write_bytes((FOLDER / "sentiment" / name).read_bytes()[: -1 if name.endswith("gz") else None])
    with pytest.raises(ValueError, match="damaged or was changed"):
        load_sentiment(tmp_path)


def test_packages_are_asked_for_and_checked(tmp_path):
    with pytest.raises(ValueError, match="expected vaderSentiment-3.3.2.tar.gz in .*, found no such file"):
        sentiment_pack.build(tmp_path)
    (tmp_path / "vaderSentiment-3.3.2.tar.gz").write_bytes(b"something else")
    with pytest.raises(ValueError, match="expected SHA-256 5d7c06e0.*; download it again"):
        packages.fetch("pip", *sentiment_pack.RATED, tmp_path)
