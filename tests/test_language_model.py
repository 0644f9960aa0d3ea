"""The language model app: streams, windows and texts; and the app itself, trained, asked and exported at toy size."""

import json
import math

import numpy as np
import pytest

from apps import language_model
from apps.data import load_shakespeare, packages, shakespeare_pack
from keras_seq.data import Stream, Tokenizer, hold_out, read_documents
from keras_seq.training import text_scores, token_nats
from tests.checks import golden_cases_hold, host

# ---------- streams ----------


def test_a_pass_reads_every_token_about_once_and_labels_come_next():
    stream = Stream(np.arange(1000), batch=4, length=10)
    rows = [(inputs["target"], labels) for inputs, labels in stream.epoch(0)]
    assert len(rows) == stream.steps
    for tokens, labels in rows:
        np.testing.assert_array_equal(tokens + 1, labels)
    seen = np.concatenate([labels.ravel() for _, labels in rows])
    assert len(set(seen)) == len(seen) >= 900


def test_epochs_follow_from_the_seed_wherever_a_run_begins():
    stream = Stream(np.arange(200), batch=3, length=7, steps=5, seed=2)

    def batches(epoch, count, stream=stream):
        pairs = zip(range(count), stream.dataset(epoch))
        return [inputs["target"].numpy().tolist() for _, (inputs, _) in pairs]

    assert batches(0, 15)[10:] == batches(2, 5)
    assert batches(0, 5) != batches(0, 5, Stream(np.arange(200), 3, 7, 5, seed=3))
    begins = {row[0] for batch in batches(0, 30) for row in batch}
    assert len({begin % 7 for begin in begins}) > 1  # each pass is cut elsewhere


def test_validation_is_the_whole_text_in_order():
    stream = Stream(np.arange(100), batch=4, length=10, shuffle=False)
    labels = np.concatenate([labels.ravel() for _, labels in stream.epoch()])
    np.testing.assert_array_equal(labels, np.arange(1, 91))
    assert stream.steps == len(list(stream.dataset())) == 3


def test_a_text_shorter_than_two_pieces_is_refused():
    with pytest.raises(ValueError, match="expected at least 21 tokens, got 20"):
        Stream(np.arange(20), length=10)


# ---------- windows ----------


class Counting:
    """Foretells each token from how many stand before it in its window: log p = -that number."""

    V = 5

    def predict_on_batch(self, inputs):
        target = inputs["target"]
        p = np.exp(-1.0 - np.arange(target.shape[1]))  # (T,), of token 1
        rest = (1 - p) / (self.V - 1)
        logits = np.log(np.stack([rest, p, rest, rest, rest], axis=-1))
        return np.broadcast_to(logits, (*target.shape, self.V)).astype("float32")


@pytest.mark.parametrize("length", [2, 8, 9, 12, 13, 40])
def test_every_token_is_counted_once_with_enough_before_it(length):
    nats = token_nats(Counting(), [1] * length, context=8, batch=3)
    assert len(nats) == length - 1
    first = np.arange(1, 9)[: length - 1]
    np.testing.assert_allclose(nats[:8], first, rtol=1e-4)
    places = np.arange(len(nats) - 8) % 4  # later windows count their last four tokens
    np.testing.assert_allclose(nats[8:], 5 + places, rtol=1e-4)


def test_windows_side_by_side_begin_knowing_nothing():
    nats = token_nats(Counting(), [1] * 25, context=8, stride=8)
    np.testing.assert_allclose(nats, np.tile(np.arange(1, 9), 3), rtol=1e-4)


@pytest.mark.parametrize("stride", [9, 0, -1])
def test_no_token_is_left_out_between_windows(stride):
    with pytest.raises(ValueError, match="stride must be from 1 to context, 8"):
        token_nats(Counting(), [1] * 25, context=8, stride=stride)


def test_scores_of_a_fair_coin():
    assert text_scores([math.log(2)] * 4, 8) == {
        "nats_per_character": 0.3466, "bits_per_character": 0.5, "perplexity": 2.0,
    }  # fmt: skip


def test_nats_are_over_the_characters_that_are_foretold():
    assets = {"tokenizer.model": Tokenizer.characters(["a"]).model_proto}
    rows = [{"name": str(i), "text": "a" * i} for i in (1, 2, 4)]
    found = language_model.evaluate(language_model.Config(tokens="char"), Counting(), assets, rows)
    nats = -np.log((1 - np.exp([-1.0, -1, -2, -3])) / 4)  # each "a" is one of the four tokens that are not 1
    assert found["characters"] == 4
    assert found["nats_per_character"] == pytest.approx(nats.mean(), abs=1e-4)
    assert {name: row["characters"] for name, row in found["by_text"].items()} == {"2": 1, "4": 3}


# ---------- texts ----------


def test_characters_lose_nothing():
    text = "  To be,\n\n or  not.\tThat "
    tokenizer = Tokenizer.characters([text])
    ids = tokenizer.encode([text])[0]
    assert len(ids) == len(text)
    assert tokenizer.decode([ids]) == [text]
    assert tokenizer.vocab_size == 4 + len(set(text))
    assert tokenizer.encode(["é"]) == [[3]]


def test_texts_of_a_folder_in_order_and_errors_that_name_the_file(tmp_path):
    (tmp_path / "b.txt").write_text("bb\r\nb")
    (tmp_path / "a.txt").write_text("a")
    assert read_documents(tmp_path) == [("a.txt", "a"), ("b.txt", "bb\nb")]
    (tmp_path / "c.txt").write_bytes(b"ok\n\xff")
    with pytest.raises(ValueError, match=r"c.txt, line 2: expected UTF-8"):
        read_documents(tmp_path)
    (tmp_path / "c.txt").write_text("\n")
    with pytest.raises(ValueError, match="got an empty file"):
        read_documents(tmp_path / "c.txt")
    with pytest.raises(ValueError, match="expected .txt files, found none"):
        read_documents(shakespeare_pack.FOLDER / "..")
    assert "".join(hold_out("x" * 37)) == "x" * 37


# ---------- the pack ----------


def test_whole_works_are_held_out_and_no_line_of_length_is_in_two_splits():
    pack = load_shakespeare()
    facts = json.loads((shakespeare_pack.FOLDER / "shakespeare.json").read_text())
    assert {name: len(rows) for name, rows in pack.items()} == facts["works"] == {"train": 36, "valid": 3, "test": 3}
    assert {k: sum(len(row["text"]) for row in rows) for k, rows in pack.items()} == facts["characters"]
    lines = {k: {x for row in rows for x in row["text"].splitlines() if len(x) > 45} for k, rows in pack.items()}
    assert len(lines["test"] & lines["train"]) <= 3 < 2000 < len(lines["test"])
    assert len(lines["valid"] & (lines["train"] | lines["test"])) <= 3


def test_the_script_keeps_works_in_modern_spelling(tmp_path, monkeypatch):
    content = {"shksprdata/texts/macbeth_gut.txt": b"A  b \r\n\r\n\r\n\r\nc", "shksprdata/texts/lear_gut.txt": b"d",
               "shksprdata/texts/lear_gut_f.txt": b"old"}  # fmt: skip
    monkeypatch.setattr(packages, "fetch", lambda *_: b"")
    monkeypatch.setattr(packages, "files", lambda _: content)
    shakespeare_pack.build(None, tmp_path)
    found = load_shakespeare(tmp_path)
    assert found == {"train": [{"name": "lear", "text": "d\n"}], "valid": [],
                     "test": [{"name": "macbeth", "text": "A b\n\nc\n"}]}  # fmt: skip
    (tmp_path / "shakespeare.jsonl.gz").write_bytes(b"other")
    with pytest.raises(ValueError, match="expected SHA-256"):
        load_shakespeare(tmp_path)


# ---------- the app ----------

TINY = ["--context", "16", "--dim", "16", "--heads", "2", "--layers", "1", "--mlp-dim", "16", "--units", "16",
        "--batch", "4", "--epoch-steps", "12", "--warmup", "2", "--vocab-size", "60", "--dropout", "0.01"]  # fmt: skip
VERSE = ["The {} is {},", "and {} is the {};", "O {}, be {}!"]
WORDS = ["sun", "moon", "sea", "king", "rose", "night", "day", "crown", "light", "storm"]


def poem(lines=400):
    random = np.random.default_rng(0)
    return "\n".join(str(random.choice(VERSE)).format(*random.choice(WORDS, 2)) for _ in range(lines)) + "\n"


@pytest.fixture(scope="module", params=[("char", "transformer"), ("subword", "lstm")], ids=lambda pair: "_".join(pair))
def trained(request, tmp_path_factory):
    """A tiny model of a poem, and the app's run of commands on its folder."""
    folder = tmp_path_factory.mktemp("language_model")
    (folder / "poem.txt").write_text(poem())
    tokens, family = request.param
    flags = ["--data", str(folder / "poem.txt"), "--tokens", tokens, "--model", family, "--epochs", "2", *TINY]

    def run(command, *argv):
        return language_model.APP.run([command, *argv, "--output", str(folder / "model")])

    assert run("train", *flags) == 0
    return run, folder / "model"


@pytest.mark.parametrize("tokens", ["char", "subword"])
def test_characters_after_the_first_token_are_counted_known_or_not(tokens):
    known, other = "to be or  not to be ", "北京"
    config = language_model.Config(tokens=tokens)
    tokenizer = Tokenizer.characters([known]) if tokens == "char" else Tokenizer.train([known] * 30, 30)
    ids = tokenizer.encode([known])[0]
    first, whole = (len(text) for text in tokenizer.decode([ids[:1], ids]))
    assert whole == (20 if tokens == "char" else 18)
    assert language_model.foretold(config, tokenizer, known) == whole - first  # no more, where a space is first
    assert language_model.foretold(config, tokenizer, known + other) == (22 if tokens == "char" else 21) - first
    assert language_model.foretold(config, tokenizer, other + known) == 20  # the first are both, or a space


@pytest.mark.tensorflow
def test_training_learns_and_says_what_is_held_out(trained):
    _, folder = trained
    metrics = json.loads((folder / "metrics.json").read_text())
    test, history = metrics["test"], metrics["history"]
    assert history["val_loss"][-1] < history["val_loss"][0]
    assert test["held_out"].startswith("the last tenth")
    assert test["characters"] == pytest.approx(len(poem()) / 10, abs=9)  # the first token aside
    assert test["nats_per_character"] < test["in_blocks"] + 0.1
    assert test["bits_per_character"] == pytest.approx(test["nats_per_character"] / math.log(2), abs=1e-3)


@pytest.mark.tensorflow
def test_text_is_written_as_it_comes_and_the_seed_makes_it(trained, capsys, monkeypatch):
    run, _ = trained
    capsys.readouterr()

    def text(*argv):
        assert run("predict", "The sun", "--length", "40", *argv) == 0
        return capsys.readouterr().out

    assert text().startswith("The sun")
    assert text("--seed", "1") == text("--seed", "1") != text("--seed", "2")
    assert text("--temperature", "0") == text("--temperature", "0", "--seed", "7")
    shown = []
    monkeypatch.setattr("builtins.print", lambda *args, **_: shown.append(args))
    text()
    assert len(shown) > 4


@pytest.mark.tensorflow
def test_what_the_text_never_had_is_named(trained, capsys):
    run, _ = trained
    assert run("predict", "Grüße") == 2
    assert "expected characters that the training text has, got 'G'" in capsys.readouterr().err
    assert run("predict", "The sun", "--length", "0") == 2
    assert "expected --length of at least 1" in capsys.readouterr().err


@pytest.mark.tensorflow
def test_the_exported_files_write_what_the_model_writes(trained, capsys):
    from keras_seq.deploy import LiteRTRunner

    run, folder = trained
    options = ["--prompt-length", "8", "--max-length", "6", "--prompts", "5", "--tolerance", "0.5"]
    assert run("export", *options) == 0, capsys.readouterr().out
    report = json.loads((folder / "report.json").read_text())
    by_name = {row["name"]: row for row in report["results"]}
    for name in ("saved_model", "f32"):
        assert by_name[name]["agreement"] == by_name[name]["sample_agreement"] == 1
    assert by_name["f32"]["metric"] == pytest.approx(by_name["keras"]["metric"], abs=1e-4)
    assert by_name["f32"]["max_logit_difference"] < 1e-3
    runner = LiteRTRunner(folder / "model_f32.tflite")
    capsys.readouterr()
    lines = "The sun is", "O sea, be"
    assert run("predict", *lines, "--temperature", "0", "--length", "6") == 0
    expected = capsys.readouterr().out
    (folder / "model_int8.tflite").rename(folder / "int8.tflite")  # whose likeliest token may be another
    assert run("predict", *lines, "--exported") == 0
    assert capsys.readouterr().out == expected
    (folder / "int8.tflite").rename(folder / "model_int8.tflite")
    samples = json.loads((folder / "demo.json").read_text())["samples"]
    assert samples
    assert {sample["text"] for sample in samples} < set(poem().splitlines())
    assert set(runner.signatures) == {"prefill", "decode_step", "generate", "sample", "text", "text_sample"}
    long = "The sun is moon,\nand king is the rose;\nThe s"
    assert runner([long]) == runner.text([long]) == runner([long[-20:]])  # of a longer prompt the last ids
    longer = "O sea, be moon!\n" * 50 + "日" * 9 + long[-17:]  # the last 64 bytes begin in the middle of a character
    assert [host().Model(runner.path).text(longer)] == runner.text([longer]) == runner([longer])
    golden_cases_hold(folder)
    cases = json.loads((folder / "golden.json").read_text(encoding="utf-8"))["cases"]
    names = {form: {case["signature"] for case in cases if case["format"] == form} for form in ("f32", "int8")}
    assert names["f32"] - names["int8"] == {"sample", "text_sample"}  # a draw on the edge falls as the runtime rounds


def test_the_report_tells_of_a_loss_where_less_is_better():
    from keras_seq.deploy.limits import Limits
    from keras_seq.deploy.report import complaints

    rows = [{"name": "keras", "agreement": 1, "metric": 1.5}, {"name": "int8", "agreement": 0.9, "metric": 1.6}]
    assert list(complaints(rows[1], rows, Limits(0.02), "nats", -1)) == [
        "int8: nats rose from 1.5000 to 1.6000; a loss of 0.02 is allowed."
    ]
    assert not list(complaints({**rows[1], "metric": 1.4}, rows, Limits(0.02), "nats", -1))
