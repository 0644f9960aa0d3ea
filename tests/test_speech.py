"""The speech app hears tones and writes their names, draws when, and exports; its pack is what its card says."""

import collections
import dataclasses
import itertools
import json
import wave

import numpy as np
import pytest
from PIL import Image

from apps import speech
from apps.data import FOLDER, load_speech, speech_pack
from apps.speech import APP, error_rates
from keras_seq import deploy
from keras_seq.data import (
    SoundBatches,
    Tokenizer,
    cut_at_quiet,
    read_sound,
    read_spoken,
    samples,
    split_spoken,
    spoken_text,
)

PACK = FOLDER / "speech"
TONES = {"low": 300, "mid": 900, "high": 2500}
RATE = 8000


def save(path, sound, rate=RATE):
    """Writes float (N,) or (N, channels) from -1 to 1 as a .wav."""
    sound = np.atleast_2d(np.asarray(sound).T).T
    with wave.open(str(path), "wb") as file:
        file.setnchannels(sound.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((sound * 32767).astype("<i2").tobytes())


def tone(frequency, seconds, rate=RATE):
    return 0.5 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)


def say(words, random, rate=RATE):
    """Tones with silence between them."""
    gap = np.zeros(rate // 12)
    parts = [part for word in words for part in (tone(TONES[word], random.uniform(0.12, 0.2), rate), gap)]
    return np.concatenate([gap, *parts]) + 1e-3 * random.normal(size=sum(map(len, parts)) + len(gap))


# ---------- what is read ----------


def test_any_rate_and_any_channels_become_one(tmp_path):
    save(tmp_path / "a.wav", np.stack([tone(440, 0.5, 44100), np.zeros(22050)], axis=1), 44100)
    x = samples(read_sound(tmp_path / "a.wav", 8000))
    assert abs(len(x) - 4000) < 40
    spectrum = np.abs(np.fft.rfft(x[200:3800]))
    assert abs(spectrum.argmax() * 8000 / 3600 - 440) < 4
    assert 0.15 < x.max() < 0.6  # what both channels share


@pytest.mark.parametrize(("name", "content", "message"), [
    ("none.wav", None, "found nothing"), ("text.wav", b"no sound", "damaged or no sound"),
])  # fmt: skip
def test_what_is_no_sound_is_told(tmp_path, name, content, message):
    if content:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_sound(tmp_path / name)


def test_each_layout_is_read(tmp_path):
    grid, digits, own = (tmp_path / name for name in ("grid", "digits", "own"))
    for folder in (grid, digits, own):
        folder.mkdir()
    for name in ("bbaf2n", "lost"):
        save(grid / f"{name}.wav", tone(300, 0.1))
    (grid / "bbaf2n.align").write_text("0 23750 sil\n23750 29500 bin\n29500 34000 blue\n34000 35500 sp\n")
    assert [(row.text, row.path) for row in read_spoken(grid)] == [("bin blue", str(grid / "bbaf2n.wav"))]
    for name in ("7_theo_4", "7_theo_5", "0_lucas_44", "other"):
        save(digits / f"{name}.wav", tone(300, 0.1))
    assert [row[1:] for row in read_spoken(digits)] == [("zero", "lucas", ""), ("seven", "theo", "test"),
                                                       ("seven", "theo", "")]  # fmt: skip
    save(own / "x.wav", tone(300, 0.1))
    (own / "metadata.csv").write_text('path,text,split\nx.wav,"Hello, World!",test\n')
    assert read_spoken(own)[0][1:] == ("hello world", "", "test")


def test_what_is_missing_is_told(tmp_path):
    with pytest.raises(ValueError, match="expected metadata.csv"):
        read_spoken(tmp_path)
    with pytest.raises(ValueError, match="found nothing"):
        read_spoken(tmp_path / "none")
    (tmp_path / "metadata.csv").write_text("path,words\n")
    with pytest.raises(ValueError, match="none called text"):
        read_spoken(tmp_path)
    (tmp_path / "metadata.csv").write_text("path,text,split\na.wav,hello,tests\n")
    with pytest.raises(ValueError, match="line 2"):
        read_spoken(tmp_path)


def test_sounds_that_are_all_left_out_are_told(tmp_path):
    from apps import speech

    for i in range(8):
        save(tmp_path / f"{i}.wav", tone(300, 0.3))
    rows = "".join(f"{i}.wav,far too many letters for a third of a second\n" for i in range(8))
    (tmp_path / "metadata.csv").write_text(f"path,text\n{rows}")
    with pytest.raises(ValueError, match="40 ms for each of the letters .* none such of 5 to train on"):
        speech.data(speech.Config(data=str(tmp_path)))


def test_the_official_test_is_kept_and_the_rest_held_out_by_name():
    rows = [speech_row(i) for i in range(100)]
    parts = split_spoken(rows)
    assert {name: len(part) for name, part in parts.items()} == {"test": 15, "valid": 8, "train": 77}
    assert split_spoken(rows[::-1]) == parts
    named = split_spoken([row._replace(split="test") if i < 40 else row for i, row in enumerate(rows)])
    assert sorted(named["test"]) == sorted(row._replace(split="test") for row in rows[:40])
    assert len(named["valid"]) == 8
    with pytest.raises(ValueError, match="none for train"):
        split_spoken(rows[:2])


def speech_row(i):
    from keras_seq.data import Spoken

    return Spoken(f"/sounds/{i}.wav", "two")


def test_a_long_sound_is_cut_where_it_is_quiet():
    random = np.random.default_rng(0)
    sound = np.concatenate([part for _ in range(5) for part in (random.normal(size=700), np.zeros(300))])
    parts = cut_at_quiet(sound, 1600, 50)
    np.testing.assert_array_equal(np.concatenate(parts), sound)
    assert max(map(len, parts)) <= 1600
    assert all((part[-40:] == 0).all() for part in parts[:-1])


def test_batches_come_again_and_keep_their_texts():
    sounds = [np.full(n, n, "int16") for n in range(20, 60)]
    texts = [[4 + n % 7] * (1 + n % 3) for n in range(20, 60)]
    batches = SoundBatches(sounds, texts, 400, tempo=0.2)
    one, two = (list(batches.epoch(3)) for _ in range(2))
    assert len(one) == batches.steps
    for (inputs, labels, _), (again, same, _) in zip(one, two):
        np.testing.assert_array_equal(inputs["sound"], again["sound"])
        np.testing.assert_array_equal(labels, same)
        for sound, length, ids in zip(inputs["sound"], inputs["length"], labels):
            number = round(float(sound[0] * 32768))
            assert number / 1.21 - 2 <= length <= number / 0.79 + 2
            assert ids[ids > 0].tolist() == texts[number - 20]
    assert sum(len(labels) for _, labels, _ in one) == 40
    wide = list(SoundBatches(sounds[1:], texts[1:], 540).epoch())  # of few sizes, filled with rows that weigh nothing
    assert {len(labels) for _, labels, _ in wide} <= {8, 10, 12, 14, 16, 20}
    assert sum(weights.sum() for *_, weights in wide) == 39 < sum(len(labels) for _, labels, _ in wide)
    joined = SoundBatches(sounds, texts, 400, join=1.0, most=90)
    lengths = np.concatenate([inputs["length"] for inputs, *_ in joined.epoch()])
    assert lengths.max() <= 90
    assert (lengths > 60).any()
    inputs, labels, weights = next(SoundBatches(sounds, texts, 400, written=True, shuffle=False).epoch())
    assert (inputs["target"][:, 0] == 1).all()
    np.testing.assert_array_equal(weights, labels > 0)


class Saying:
    """A model that says the same logits of whatever it hears."""

    def __init__(self, logits):
        self.logits = logits

    def predict_on_batch(self, inputs):
        return self.logits


@pytest.mark.parametrize("seed", range(3))
def test_beams_of_ctc_find_the_text_that_is_likeliest_over_all_ways_to_say_it(seed):
    logits = 1.5 * np.random.default_rng(seed).normal(size=(7, 5, 4)).astype("float32")
    rows = speech.tokens_of(speech.Config(model="ctc"), Saying(logits), None, beams=60)
    p = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    for row, odds in zip(rows.tolist(), p):
        total = collections.Counter()
        for way in itertools.product(range(4), repeat=5):
            said = tuple(token for token, _ in itertools.groupby(way) if token)
            total[said] += np.prod(odds[np.arange(5), way])
        assert tuple(token for token in row if token > 0) == total.most_common(1)[0][0]


def test_error_rates_count_what_is_put_in_left_out_and_exchanged():
    rows = [("a b c", "a x c d"), ("a", ""), ("two", "two")]
    assert error_rates(rows)["word_errors"] == 60.0  # x for b, d put in, a left out, of five
    assert error_rates(rows)["sounds_right"] == 33.33
    assert spoken_text("“Rock 'n' roll”—it's A.M.!") == "rock n roll it's a m"


def test_single_words_are_written_whole_where_each_is_said_often():
    kind, tokenizer = speech.tokens_for(speech.Config(), ["one", "two"] * 10)
    assert (kind, tokenizer.encode(["two", "three"])) == ("words", [[5], [3]])
    assert tokenizer.decode([[4], [5]]) == ["one", "two"]
    for texts in (["one", "two"] * 9, ["one two", "two"] * 10):
        kind, tokenizer = speech.tokens_for(speech.Config(), texts)
        assert kind == "letters"
        assert tokenizer.decode(tokenizer.encode(["two", "one"])) == ["two", "one"]
    assert len(tokenizer.encode(["two one"])[0]) == 7
    assert tokenizer.decode(tokenizer.encode(["two one"])) == ["two one"]
    with pytest.raises(ValueError, match="even --moment"):
        speech.Config(moment=3)


# ---------- the pack ----------


def test_the_pack_is_what_its_card_says():
    rows, sound = load_speech()
    facts = json.loads((PACK / "speech.json").read_text())
    assert {name: sum(row.split == name for row in rows) for name in facts["prompts"]} == facts["prompts"]
    assert sum(facts["bytes"].values()) < 4_000_000
    assert all(checksum in (PACK / "README.md").read_text() for checksum in facts["sha256"].values())
    assert all(row.text == spoken_text(row.text) for row in rows)
    train, valid, test = ({row.text for row in rows if row.split == name} for name in ("train", "valid", "test"))
    assert not train & test
    assert not valid & (train | test)
    for row in rows[:: len(rows) // 7]:
        x = samples(sound(row.path))
        assert 0.1 < len(x) / 16000 < 40
        assert np.abs(x).max() > 0.05, row
        assert np.abs(x[-80:]).max() < 0.3 * np.abs(x).max()  # it begins and ends where it should
    with pytest.raises(ValueError, match="expected a prompt such as prompts:"):
        sound("prompts:nobody")


def test_a_damaged_or_missing_pack_is_told(tmp_path):
    with pytest.raises(ValueError, match="no such pack"):
        load_speech(folder=tmp_path)
    (tmp_path / "speech.json").write_bytes((PACK / "speech.json").read_bytes())
    (tmp_path / "speech.tsv.gz").write_bytes(b"other")
    with pytest.raises(ValueError, match=r"speech.tsv.gz: expected SHA-256 .* restore it with git"):
        load_speech(folder=tmp_path)


def test_texts_of_prompts_are_as_said():
    text = "; notes\n\nbeep: [a tone]\nvm/press: Press 1, or #; 12 times.\njoin: <beep>\n"
    assert speech_pack.transcripts(text) == {"vm/press": "press one or pound one two times"}
    assert speech_pack.split_of("one two", 1) == speech_pack.split_of("one two three", 60) == "train"


# ---------- the app ----------

FLAGS = ["--rate", str(RATE), "--bands", "16", "--dim", "24", "--units", "16", "--layers", "1",
         "--batch-seconds", "8", "--learning-rate", "1e-2", "--warmup", "10", "--dropout", "0", "--hide", "0",
         "--heads", "2", "--mlp-dim", "32", "--writer-layers", "1", "--max-length", "12",
         "--tokens", "words"]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Sounds of one to three tones, and a table of what they are called."""
    folder, random = tmp_path_factory.mktemp("sounds"), np.random.default_rng(0)
    lines = ["path,text,speaker"]
    for i in range(150):
        words = random.choice(list(TONES), random.integers(1, 4)).tolist()
        save(folder / f"{i}.wav", say(words, random))
        lines.append(f"{i}.wav,{' '.join(words).title()}.,{'ab'[i % 2]}")
    (folder / "metadata.csv").write_text("\n".join(lines))
    return folder


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory):
    output = tmp_path_factory.mktemp("trained")
    assert APP.run(["train", "--data", str(folder), "--output", str(output), "--epochs", "10", *FLAGS]) == 0
    return output


def test_it_learns_to_hear(trained):
    test = json.loads((trained / "metrics.json").read_text())["test"]
    assert test["word_errors"] < 30
    assert set(test["by_speaker"]) == {"a", "b"}
    assert (trained / "heard_1.png").exists()


def test_evaluate_tells_the_same(trained, capsys):
    before = json.loads((trained / "metrics.json").read_text())["test"]
    assert APP.run(["evaluate", "--output", str(trained)]) == 0
    assert json.loads((trained / "metrics.json").read_text())["test"] == before
    assert "word_errors" in capsys.readouterr().out


def test_a_bad_sound_is_told_before_training(folder, tmp_path, capsys):
    rows = [f"{folder / f'{i}.wav'},low,{split}" for i, split in enumerate(["train", "valid", "valid"])]
    (tmp_path / "bad.wav").write_text("no sound")
    (tmp_path / "metadata.csv").write_text("\n".join(["path,text,split", *rows, "bad.wav,low,test"]))
    assert APP.run(["train", "--data", str(tmp_path), "--output", str(tmp_path / "out"), *FLAGS]) == 2
    assert "bad.wav" in capsys.readouterr().err.splitlines()[-1]
    assert not list(tmp_path.glob("out/*.weights.h5"))


def test_predict_writes_what_it_hears_and_draws_when(trained, tmp_path, capsys):
    random = np.random.default_rng(5)
    tones = say(TONES, random, 16000)
    save(tmp_path / "stereo.wav", np.stack([tones, tones], axis=1), 16000)
    command = ["predict", "--output", str(trained), "--pictures", str(tmp_path / "heard"), str(tmp_path / "stereo.wav")]
    assert APP.run(command) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 1
    assert len(set(out.split()) & set(TONES)) >= 2
    assert f"when what was heard: {tmp_path / 'heard' / 'stereo.png'}" in err
    with Image.open(tmp_path / "heard" / "stereo.png") as picture:
        assert picture.width > 1000
    save(tmp_path / "click.wav", tones[:80], 16000)
    assert APP.run([*command[:-1], str(tmp_path / "click.wav")]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1
    assert APP.run(["predict", "--output", str(trained), str(tmp_path / "none.wav")]) == 2
    assert "found nothing" in capsys.readouterr().err.splitlines()[-1]


def test_the_files_agree_with_the_model_and_write_text(trained, folder):
    assert APP.run(["export", "--output", str(trained), "--tolerance", "15", "--dynamic"]) == 0
    report = json.loads((trained / "report.json").read_text())
    rows = {row["name"]: row for row in report["results"]}
    assert rows["saved_model"]["agreement"] == rows["f32"]["agreement"] == rows["f32_dynamic"]["agreement"] == 1
    assert rows["saved_model"]["text_agreement"] == rows["f32"]["text_agreement"] == rows["int8"]["text_agreement"] == 1
    runner = deploy.LiteRTPredictor(trained / "model_int8.tflite")
    assert set(runner.signatures) == {"predict", "text"}
    size = runner.shapes["text"]["sound"][1]
    item = speech.item_of(read_sound(folder / "0.wav", RATE), size)
    ids = [i for i in runner([item])[0]["tokens"].tolist() if i]
    assert runner.written([item]) == runner.tokenizer().decode([ids])
    assert (trained / "model_int8.tflite").stat().st_size < (trained / "model_f32.tflite").stat().st_size


@pytest.mark.parametrize("model", ["transformer", "lstm"])
def test_a_writer_is_made_writes_and_exports(model, trained, tmp_path):
    loaded = APP.load(trained)
    config = dataclasses.replace(loaded.config, model=model, encoder="transformer" if model == "lstm" else "lstm")
    net = APP.build(config, loaded.assets)
    random = np.random.default_rng(0)
    sounds = [(32767 * say(["low", "high"], random)).astype("int16") for _ in range(3)]
    assert len(speech.heard(config, net, loaded.assets, sounds, beams=2)) == 3
    assert len(speech.picture(config, net, loaded.assets, sounds[0], "low high").axes) == 2
    if model == "transformer":
        examples = json.loads((trained / "test.json").read_text())[:5]
        options = speech.Export(formats="f32", beams=1, sounds=5)
        report = speech.export(config, net, loaded.assets, tmp_path, examples, options)
        assert report["ok"], report["text"]
        runner = deploy.LiteRTRunner(tmp_path / "model_f32.tflite")
        assert {"encode", "decode_step", "generate", "text", "attention"} <= set(runner.signatures)


def test_the_default_data_is_the_pack():
    data = speech.data(speech.Config())
    assert len(data.test) == sum(row.split == "test" for row in load_speech()[0])
    assert Tokenizer(data.assets["tokenizer.model"]).vocab_size < 40
    inputs, labels, _ = next(data.train.epoch(0))
    assert inputs["sound"].shape[0] == len(labels)
    assert np.abs(inputs["sound"]).max() <= 1
