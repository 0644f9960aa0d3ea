"""The captioning app learns, tells its scores, shows where it looked and exports; its pack is what its card says."""

import dataclasses
import gzip
import io
import json
import subprocess
import sys
import tarfile

import numpy as np
import pytest
import sacrebleu
from PIL import Image

from apps import captioning
from apps.captioning import APP, brief, overlap, scores, words
from apps.data import FOLDER, captioning_pack, load_captioning
from keras_seq.deploy.runners import LiteRTFile
from keras_seq.training import cider

PACK = FOLDER / "captioning"

# ---------- the scores ----------


def test_words_are_told_from_punctuation():
    assert words("flag: St. Lucia, “open” 12:30 #") == ["flag", "st", "lucia", "open", "12:30", "#"]


def test_f1_counts_each_word_as_often_as_it_stands_there():
    assert overlap(["a", "a", "b"], ["a", "b", "b", "c"]) == pytest.approx(2 * 2 / 7)
    assert overlap([], ["a"]) == overlap(["a"], []) == overlap([], []) == 0
    assert overlap(["b", "a"], ["a", "b"]) == 1


def test_the_best_reference_counts():
    rows = [(["a cat", "one red cat"], "one cat"), (["a dog"], "a dog")]
    assert brief(rows) == {"exact": 50.0, "token_f1": 90.0}
    report = scores(rows)
    assert set(report) == {"exact", "token_f1", "bleu", "bleu_signature", "cider"}
    assert "cider" not in scores(rows[1:])
    rows = [
        (["a red cat sits", "one cat sits on a mat"], "one cat sits on a mat"), (["two old dogs run"], "two dogs run"),
    ]  # fmt: skip
    streams = [["a red cat sits", "two old dogs run"], ["one cat sits on a mat", ""]]
    assert 0 < scores(rows)["bleu"] < 100 == scores(rows[:1])["bleu"]
    assert scores(rows)["bleu"] == pytest.approx(sacrebleu.corpus_bleu([row[1] for row in rows], streams).score, 1e-3)


def test_cider_by_hand():
    """Two pictures, so every word of one of them weighs log 2, and the weights cancel in each cosine."""
    same = cider([["a", "red", "cat"], ["x"]], [[["a", "red", "cat"]], [["y"]]])
    assert same == pytest.approx(10 * (3 / 4) / 2)  # n = 1, 2, 3 are equal, there is no n = 4; the other is 0
    short = cider([["two", "dogs"], ["x"]], [[["two", "old", "dogs"]], [["y"]]])
    assert short == pytest.approx(10 / 2 * (2 / np.sqrt(2 * 3)) / 4 * np.exp(-1 / 72))
    often = cider([["dog", "dog"], ["x"]], [[["dog"]], [["y"]]])
    assert often == pytest.approx(10 / 2 * (1 / 2) / 4 * np.exp(-1 / 72))  # min(2, 1) . 1 / (2 . 1)
    long = cider([[*"abcde"], ["x"]], [[[*"abcde"]], [["y"]]])
    assert long == pytest.approx(10 / 2)  # of all four lengths
    several = cider([["dog"], ["x"]], [[["dog"], ["cat"]], [["y"]]])
    assert several == pytest.approx(10 / 2 * (1 / 2) / 4)  # one of two references
    assert cider([["a"], ["a"]], [[["a"]], [["a"]]]) == 0  # a word of every picture tells nothing
    with pytest.raises(ValueError, match="references for 1 captions, got 2"):
        cider([["a"]], [[["a"]], [["b"]]])


def test_cider_is_that_of_its_authors():
    """Golden value: pycocoevalcap 1.2, `Cider().compute_score`."""
    captions = ["a red cat sits on a red mat", "two dogs run", "a dog sits"]
    references = [
        ["a red cat sits on the mat", "one cat on a mat"], ["two old dogs run fast", "two dogs run", "dogs"],
        ["a black dog sits on a mat"],
    ]  # fmt: skip
    found = cider([text.split() for text in captions], [[text.split() for text in texts] for texts in references])
    assert found == pytest.approx(3.0183548112266, rel=1e-12)


# ---------- the pack ----------


@pytest.fixture(scope="module")
def pack():
    return load_captioning()


def test_the_counts_are_those_of_the_card(pack):
    facts = json.loads((PACK / "captioning.json").read_text())
    assert {name: len(split.names) for name, split in pack.items()} == {k: 2 * n for k, n in facts["emoji"].items()}
    assert sum(facts["emoji"].values()) == 3786
    assert sum(facts["bytes"].values()) < 10_000_000
    assert all(checksum in (PACK / "README.md").read_text() for checksum in facts["sha256"].values())
    for split in pack.values():
        assert split.pictures.shape == (len(split.names), 64, 64, 4)
        assert split.artists.count("google") == split.artists.count("twitter")


def test_no_emoji_is_in_two_splits_and_each_has_a_picture_of_each_artist(pack):
    sets = [set(split.names) for split in pack.values()]
    assert sum(map(len, sets)) == len(set.union(*sets)) == 3786
    for split in pack.values():
        half = len(split.names) // 2
        assert split.names[:half] == split.names[half:]
        assert (split.pictures[..., 3].max(axis=(1, 2)) > 200).all()


def test_names_go_with_their_pictures(pack):
    everything = {(n, a): p for s in pack.values() for n, a, p in zip(s.names, s.artists, s.pictures)}
    for artist in captioning_pack.ARTISTS:
        hearts = (everything[f"{colour} heart", artist] for colour in ("red", "blue"))
        red, blue = (heart[20:40, 24:40].mean(axis=(0, 1)) for heart in hearts)
        assert red[0] > 150 > 100 > red[2]
        assert blue[2] > 150 > 110 > blue[0]


def test_a_damaged_or_missing_pack_is_told(tmp_path):
    with pytest.raises(ValueError, match="no such pack"):
        load_captioning(tmp_path)
    (tmp_path / "captioning.json").write_bytes((PACK / "captioning.json").read_bytes())
    (tmp_path / "emoji.tsv.gz").write_bytes(b"other")
    with pytest.raises(ValueError, match=r"emoji.tsv.gz: expected SHA-256 .* restore it with git"):
        load_captioning(tmp_path)


def npm_package(files):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(f"package/{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def one_colour(colour):
    buffer = io.BytesIO()
    Image.new("RGBA", (64, 64), colour).save(buffer, "PNG")
    return buffer.getvalue()


def test_the_script_joins_pictures_and_names(tmp_path, monkeypatch):
    signs = {f"1f{i:03x}": (i, 0, 255 - i) for i in range(70)}
    listing = json.dumps([
        {"unified": f"{code.upper()}-FE0F", "image": f"{code}.png",
         "skin_variations": {"1F3FB": {"unified": f"{code.upper()}-1F3FB", "image": f"{code}-t.png"}} if not i else {}}
        for i, code in enumerate(signs)]).encode()  # fmt: skip
    pictures = {f"{code}.png": one_colour(colour) for code, colour in signs.items()}
    pictures["1f000-t.png"] = one_colour("red")
    packages = {
        name: npm_package({"emoji.json": listing, **{f"img/{artist}/64/{k}": v for k, v in pictures.items()}})
        for artist, (name, *_) in captioning_pack.ARTISTS.items()
    }
    names = {"annotations": {chr(int(code, 16)): {"tts": [f"sign {code}"]} for code in signs},
             "annotationsDerived": {"\U0001f000\U0001f3fb": {"tts": ["sign: light"]}}}  # fmt: skip
    for kind, (name, *_) in captioning_pack.NAMES.items():
        content = json.dumps({kind: {"annotations": names[kind]}}).encode()
        packages[name] = npm_package({f"{kind}/en/annotations.json": content})
    monkeypatch.setattr("apps.data.packages.fetch", lambda client, name, *rest: packages[name])
    captioning_pack.build(None, tmp_path)
    found = load_captioning(tmp_path)
    assert sum(len(split.names) for split in found.values()) == 142
    for split in found.values():
        for name, picture in zip(split.names, split.pictures):
            if name != "sign: light":
                np.testing.assert_allclose(picture[32, 32], (*signs[name.split()[1]], 255), atol=8)
    rows = [line.split("\t") for line in gzip.decompress((tmp_path / "emoji.tsv.gz").read_bytes()).decode().split("\n")]
    assert {row[0] for row in rows if row[0]} == set(captioning_pack.SPLITS)


def test_the_script_says_which_files_it_needs(tmp_path):
    command = [sys.executable, "-m", "apps.data.build", "captioning", "--from", str(tmp_path)]
    done = subprocess.run(command, cwd=FOLDER.parents[1], capture_output=True, text=True)
    assert done.returncode == 2
    assert "npm pack" in done.stderr
    assert len(done.stderr.splitlines()) == 1


# ---------- the app ----------

COLOURS = {"red": (230, 20, 20), "green": (20, 200, 20), "blue": (20, 20, 230)}
FLAGS = ["--size", "16", "--dim", "24", "--width", "8", "--heads", "2", "--mlp-dim", "32", "--layers", "1",
         "--vocab-size", "40", "--batch-size", "16", "--learning-rate", "3e-3", "--warmup", "10", "--dropout", "0",
         "--max-length", "13", "--colour", "0", "--background", "0", "--test", "0.2"]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures of a square or a bar in three colours, each with two captions."""
    folder, random = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    lines = ["picture,caption"]
    for i in range(180):
        colour, shape = list(COLOURS)[i % 3], ("square", "bar")[i // 3 % 2]
        picture = Image.new("RGB", (20, 20), "white")
        x, y = random.integers(1, 8, 2).tolist()
        picture.paste(COLOURS[colour], (x, y, x + 10, y + (10 if shape == "square" else 3)))
        picture.save(folder / f"{i}.png")
        lines += [f"{i}.png,a {colour} {shape}", f"{i}.png,one {shape}: {colour}"]
    (folder / "captions.csv").write_text("\n".join(lines))
    return folder


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory):
    output = tmp_path_factory.mktemp("trained")
    assert APP.run(["train", "--data", str(folder), "--output", str(output), "--epochs", "8", *FLAGS]) == 0
    return output


def test_it_learns_how_captions_are_made_and_tells_every_score(trained):
    test = json.loads((trained / "metrics.json").read_text())["test"]
    assert test["token_f1"] > 50
    assert 0 < test["cider"] <= 10
    assert set(test["by_group"]) == {"known words"}
    assert (trained / "attention_1.png").exists()


def test_evaluate_tells_the_same(trained, capsys):
    before = json.loads((trained / "metrics.json").read_text())["test"]
    assert APP.run(["evaluate", "--output", str(trained)]) == 0
    assert json.loads((trained / "metrics.json").read_text())["test"] == before
    assert "token_f1" in capsys.readouterr().out


def test_predict_prints_a_caption_and_draws_where_it_looked(trained, folder, tmp_path, capsys):
    (tmp_path / "bad.png").write_text("no picture")
    paths = [str(folder / "0.png"), str(folder / "1.png"), str(tmp_path / "bad.png")]
    assert APP.run(["predict", "--output", str(trained), "--maps", str(tmp_path / "maps"), *paths]) == 2
    out, err = capsys.readouterr()
    first, second = out.splitlines()
    assert first
    assert second
    assert "bad.png: expected a picture" in err.splitlines()[-1]
    assert f"where the model looked: {tmp_path / 'maps' / '0_attention.png'}" in err
    with Image.open(tmp_path / "maps" / "1_attention.png") as picture:
        assert picture.width > 300
    assert APP.run(["predict", "--output", str(trained), "--maps", "", paths[0]]) == 0
    assert capsys.readouterr().out.splitlines() == [first]


def test_the_files_agree_with_the_model(trained):
    assert APP.run(["export", "--output", str(trained), "--pictures", "7", "--beams", "2", "--tolerance", "15"]) == 0
    report = json.loads((trained / "report.json").read_text())
    assert {row["name"]: row["agreement"] for row in report["results"] if row["name"] in ("saved_model", "f32")} == {
        "saved_model": 1.0, "f32": 1.0}  # fmt: skip
    assert (trained / "model_int8.tflite").stat().st_size < (trained / "model_f32.tflite").stat().st_size
    assert "red, green and blue from 0 to 1" in LiteRTFile(trained / "model_f32.tflite").card()["image"]


@pytest.mark.parametrize(("encoder", "model"), [("vit", "transformer"), ("cnn", "lstm")])
def test_every_family_is_made_and_writes(encoder, model, trained):
    config = dataclasses.replace(APP.load(trained).config, encoder=encoder, model=model)
    assets = APP.load(trained).assets
    net = APP.build(config, assets)
    images = np.random.default_rng(0).random((3, 16, 16, 3), "float32")
    found = captioning.captions_of(config, net, assets, images, beams=2)
    assert len(found) == 3
    assert captioning.attention_figure(config, net, assets, images[0], "a red bar").axes


def test_both_artists_are_told_apart_in_the_default_data():
    data = captioning.data(captioning.Config())
    groups = [example["groups"] for example in data.test]
    assert sum("google" in group for group in groups) == sum("twitter" in group for group in groups) == 359
    share = sum("new words" in group for group in groups) / len(groups)
    assert 0.25 < share < 0.4
