"""The pronunciation app: its pack, its error rates, and the app itself, trained, asked and exported at toy size."""

import functools
import json

import numpy as np
import pytest

from apps import pronunciation
from apps.data import load_pronunciation, packages, pronunciation_pack
from apps.pronunciation import Config, error_rates, has_form, phoneme_ids, tokenizer_of
from keras_seq.data import Tokenizer
from keras_seq.training import edit_distance

ASSETS = {"letters": ["'", "a", "c", "t"], "phonemes": ["AE", "K", "T"]}

# ---------- pieces ----------


def test_letters_are_read_and_phonemes_written_by_one_tokenizer():
    tokenizer, ids = tokenizer_of(ASSETS), phoneme_ids(ASSETS)
    assert tokenizer.encode(["cat", "tact's"]) == [[6, 5, 7], [7, 5, 6, 7, 4, 3]]
    assert tokenizer.decode([[ids["K"], ids["AE"], ids["T"]]]) == ["K AE T"]
    assert tokenizer.vocab_size == 4 + 4 + 3


def test_the_graphs_tokenizers_do_the_same():
    import tensorflow as tf

    from keras_seq.deploy.bytes import ByteCodec
    from keras_seq.deploy.text import TextCodec

    kept = Tokenizer.characters(["to be,\n or not "])
    for tokenizer, text in ((tokenizer_of(ASSETS), "tact"), (kept, "  to\n\nbe "), (kept, "notrobe"), (kept, "")):
        ids = tokenizer.encode([text])[0]
        codec, on_bytes = TextCodec(tokenizer.model_proto), ByteCodec(tokenizer.model_proto)
        utf8 = np.zeros((1, 40), "int32")
        utf8[0, : len(text)] = list(text.encode())
        for prompt in (False, True):
            wanted = ids[-9:] if prompt else [*ids[:8], 2]
            for found in (codec.encode(tf.constant([text]), 9, prompt=prompt), on_bytes.encode(utf8, 9, prompt)):
                row = found[0].numpy().tolist()
                assert row[: len(wanted)] == wanted
                assert not any(row[len(wanted) :])
        assert on_bytes.encode(utf8, 3, prompt=True)[0].numpy().tolist() == (ids[-3:] + [0] * 3)[:3]


# ---------- error rates ----------


@pytest.mark.parametrize(("one", "other", "distance"), [("", "", 0), ("ab", "", 2), ("abc", "axc", 1), ("ab", "ba", 2)])
def test_edit_distance_counts_both_ways(one, other, distance):
    assert edit_distance(one, other) == edit_distance(other, one) == distance


@pytest.mark.parametrize("seed", range(5))
def test_edit_distance_is_its_definition(seed):
    @functools.cache
    def distance(a, b):
        if not a or not b:
            return len(a) + len(b)
        return min(distance(a[1:], b) + 1, distance(a, b[1:]) + 1, distance(a[1:], b[1:]) + (a[0] != b[0]))

    random = np.random.default_rng(seed)
    for _ in range(50):
        one, other = (tuple(random.integers(0, 3, random.integers(0, 8)).tolist()) for _ in range(2))
        assert edit_distance(one, other) == distance(one, other)


def test_of_several_pronunciations_the_nearest_counts():
    rows = [(["A B", "C D E"], "C D X"), (["A B"], "A B")]
    assert error_rates(rows) == {"phoneme_errors": 20.0, "word_errors": 50.0}
    assert error_rates([(["A"], "")]) == {"phoneme_errors": 100.0, "word_errors": 100.0}


def test_forms_of_a_word_are_known():
    assert has_form("cat's", {"cat"})
    assert has_form("cat", {"cats", "dog"})
    assert has_form("walking", {"walk"})
    assert not has_form("cat", {"catalogue", "cab"})


# ---------- the pack ----------


def test_a_word_is_in_one_split_with_all_its_pronunciations():
    pack = load_pronunciation()
    facts = json.loads((pronunciation_pack.FOLDER / "pronunciation.json").read_text())
    assert {name: len(rows) for name, rows in pack.items()} == facts["words"]
    words = [word for rows in pack.values() for word, _ in rows]
    assert len(set(words)) == len(words) == 124_926
    assert 0.09 < len(pack["test"]) / len(words) < 0.11
    assert dict(pack["train"] + pack["valid"] + pack["test"])["read"] == ["R EH1 D", "R IY1 D"]
    phonemes = {p.rstrip("012") for rows in pack.values() for _, found in rows for each in found for p in each.split()}
    assert len(phonemes) == 39


def test_the_script_reads_the_dictionary(tmp_path, monkeypatch):
    lines = b"a.m. EY1 EH1 M\ncat K AE1 T # pet\ncat(2) K AE0 T\n"
    monkeypatch.setattr(packages, "fetch", lambda *_: b"")
    monkeypatch.setattr(packages, "files", lambda _: {pronunciation_pack.DICTIONARY: lines})
    pronunciation_pack.build(None, tmp_path)
    found = load_pronunciation(tmp_path)
    assert [row for rows in found.values() for row in rows] == [("cat", ["K AE1 T", "K AE0 T"])]


# ---------- the app ----------

TINY = ["--dim", "16", "--heads", "2", "--layers", "1", "--mlp-dim", "16", "--units", "16", "--batch-tokens", "128",
        "--warmup", "2", "--dropout", "0", "--learning-rate", "0.02", "--epochs", "2"]  # fmt: skip


def dictionary(path):
    """Words that are spelled as they are said."""
    random = np.random.default_rng(0)
    words = {"".join(random.choice(list("abdeg"), random.integers(2, 6))) for _ in range(300)}
    path.write_text("".join(f"{word}\t{' '.join(word.upper())}\n" for word in sorted(words)))
    return path


def test_a_line_may_have_several_pronunciations(tmp_path):
    words = [f"w{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(60)]
    path = tmp_path / "words.tsv"
    path.write_text("".join(f"{word}\t{' '.join(word)}\t\tX {word}\tY {word}\n" for word in words))
    splits, _ = pronunciation.described(Config(data=str(path)))
    assert {word: found for rows in splits.values() for word, found in rows} == {
        word: [" ".join(word), f"X {word}", f"Y {word}"] for word in words
    }


@pytest.fixture(scope="module", params=["transformer", "lstm"])
def trained(request, tmp_path_factory):
    """A tiny model, and the app's run of commands on its folder."""
    folder = tmp_path_factory.mktemp("pronunciation")
    flags = ["--data", str(dictionary(folder / "words.tsv")), "--model", request.param, *TINY]

    def run(command, *argv):
        return pronunciation.APP.run([command, *argv, "--output", str(folder / "model")])

    assert run("train", *flags) == 0
    return run, folder / "model"


@pytest.mark.tensorflow
def test_training_learns_and_tells_its_errors(trained):
    _, folder = trained
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["history"]["val_loss"][-1] < metrics["history"]["val_loss"][0]
    assert metrics["test"]["phoneme_errors"] < 100
    assert "papers" not in metrics["test"]
    assert (folder / "attention_1.png").exists()


@pytest.mark.tensorflow
def test_words_are_answered_and_odd_ones_named(trained, capsys):
    run, _ = trained
    capsys.readouterr()
    assert run("predict", "Bad", "dab") == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert run("predict", "bad", "--results", "3") == 0
    assert len(capsys.readouterr().out.split("\t")) == 6
    assert run("predict", "bad dab") == 2
    assert "expected words of fewer than 40 letters, of abdeg, got ' ' in 'bad dab'" in capsys.readouterr().err


@pytest.mark.tensorflow
def test_the_exported_files_answer_from_the_letters(trained, capsys):
    from keras_seq.deploy import LiteRTRunner

    run, folder = trained
    options = ["--source-length", "8", "--max-length", "8", "--words", "5", "--tolerance", "100", "--beams", "1"]
    assert run("export", *options) == 0, capsys.readouterr().out
    report = json.loads((folder / "report.json").read_text())
    f32 = [row for row in report["results"] if row["name"] == "f32"]
    assert all(row["agreement"] == row["text_agreement"] == 1 for row in f32)
    runner = LiteRTRunner(folder / "model_f32.tflite")
    assert runner.text(["bad"]) == runner(["bad"])
    samples = json.loads((folder / "demo.json").read_text())["samples"]
    heard = runner.text([sample["text"] for sample in samples])  # of eight phonemes at most
    assert all(sample["said"].startswith(text) for sample, text in zip(samples, heard, strict=True))
    capsys.readouterr()
    assert run("predict", "bad", " ", "dab", "--exported") == 0
    said = LiteRTRunner(folder / "model_int8.tflite").text(["bad", "dab"])
    assert capsys.readouterr().out == f"{said[0]}\n\n{said[1]}\n"
    assert run("predict", "BAD", "--exported") == 0
    assert capsys.readouterr().out == f"{said[0]}\n"
    assert run("predict", "bad2", "--exported") == 2
    assert "expected words of fewer than 8 letters, of abdeg, got '2' in 'bad2'" in capsys.readouterr().err
    assert run("predict", "bad", "--exported", "--beams", "4") == 2
    assert "expected --beams 1 with --exported, got 4" in capsys.readouterr().err
    assert run("predict", "bad", "--exported", "--results", "2") == 2
    assert "expected no --results with --exported, got 2" in capsys.readouterr().err


def test_the_papers_stand_beside_their_own_task_only():
    assert Config().data == ""
    assert not Config().stress
    assert min(pronunciation.PAPERS.values()) == 20.24
