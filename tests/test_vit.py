"""The picture classifier learns, tells its scores, shows where it looked and exports; its pack is that of its card."""

import json

import numpy as np
import pytest
from PIL import Image

from apps import vit
from apps.data import FOLDER, fashion_pack, load_fashion
from apps.vit import APP
from keras_seq.data import LabelledPictures, Seen, other_files, read_labelled_pictures, read_picture, split_labelled
from keras_seq.deploy.runners import LiteRTFile

PACK = FOLDER / "fashion"

# ---------- the pack ----------


@pytest.fixture(scope="module")
def pack():
    return load_fashion()


def test_the_counts_are_those_of_the_card_and_the_test_is_the_official_one(pack):
    parts, names = pack
    facts = json.loads((PACK / "fashion.json").read_text())
    assert {name: len(labels) for name, (_, labels) in parts.items()} == facts["pictures"]
    assert facts["pictures"]["train"] + facts["pictures"]["valid"] == 60_000
    assert np.bincount(parts["test"][1]).tolist() == [1000] * 10
    assert names[parts["test"][1][0]] == "Ankle boot"  # the first of the published test
    assert sum(facts["bytes"].values()) < 15_000_000
    assert all(checksum in (PACK / "README.md").read_text() for checksum in facts["sha256"].values())


def test_clothes_are_dark_on_white_and_in_the_right_class(pack):
    pictures, labels = pack[0]["train"]
    assert np.median(pictures[:, 0, 0]) > 250
    trousers = pictures[labels == 1].mean(axis=0)[..., 0]
    assert trousers[24, 13:15].mean() > trousers[24, [9, 18]].mean()  # the gap between the legs is light


def test_a_missing_pack_is_told(tmp_path):
    with pytest.raises(ValueError, match=r"no such pack.*apps.data.build fashion"):
        load_fashion(tmp_path)


def test_the_script_writes_what_is_read(tmp_path):
    random = np.random.default_rng(0)
    parts = {name: Seen(random.integers(0, 255, (n, 28, 28, 1), "uint8"), random.integers(0, 10, n).astype("int32"))
             for name, n in (("train", 7), ("valid", 3), ("test", 5))}  # fmt: skip
    fashion_pack.write(parts, tmp_path)
    found, names = load_fashion(tmp_path)
    assert names == fashion_pack.NAMES
    for name, part in parts.items():
        np.testing.assert_array_equal(found[name][1], part.labels)
        if name != "train":
            np.testing.assert_array_equal(found[name][0], part.pictures)


# ---------- the app ----------

FLAGS = ["--size", "12", "--patch", "4", "--dim", "16", "--heads", "2", "--layers", "2", "--mlp-dim", "32",
         "--batch-size", "16", "--learning-rate", "5e-3", "--warmup", "5", "--test", "0.2",
         "--epochs", "12"]  # fmt: skip
COLOURS = {"red": (230, 20, 20), "green": (20, 200, 20), "blue": (20, 20, 230)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Squares of three colours, a folder a colour."""
    folder, random = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (folder / name).mkdir()
        for i in range(50):
            picture = Image.new("RGB", (14, 14), "white")
            x, y = random.integers(0, 6, 2).tolist()
            picture.paste(colour, (x, y, x + 8, y + 8))
            picture.save(folder / name / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory):
    output = tmp_path_factory.mktemp("trained")
    flags = ["--data", str(folder), "--output", str(output), "--pooling", "class", "--mixup", "0.1", "--cutout", "0.2"]
    assert APP.run(["train", *flags, *FLAGS]) == 0
    return output


def test_it_learns_colours_and_tells_every_score(trained):
    test = json.loads((trained / "metrics.json").read_text())["test"]
    assert test["accuracy"] > 90
    assert set(test) == {"pictures", "accuracy", "macro_f1", "log_loss", "calibration_error", "confusion"}
    assert {"confusion.png", "attention_1.png"} <= {path.name for path in trained.iterdir()}


def test_predict_prints_a_label_and_draws_where_it_looked(trained, folder, tmp_path, capsys):
    (tmp_path / "bad.png").write_text("no picture")
    paths = [str(folder / "red" / "0.png"), str(folder / "blue" / "0.png")]
    assert APP.run(["predict", "--output", str(trained), "--maps", str(tmp_path / "maps"), "--top", "2", *paths]) == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [row[0] for row in rows] == ["red", "blue"]
    assert all(float(row[1]) > float(row[3]) for row in rows)
    with Image.open(tmp_path / "maps" / "0_attention.png") as picture:
        assert picture.width > 300
    assert APP.run(["predict", "--output", str(trained), "--maps", "", str(tmp_path / "bad.png")]) == 2
    assert "bad.png: expected a picture" in capsys.readouterr().err


def test_the_files_agree_with_the_model_and_read_files_of_pictures(trained, folder):
    assert APP.run(["export", "--output", str(trained), "--tolerance", "10"]) == 0
    report = json.loads((trained / "report.json").read_text())
    assert {row["name"]: row["agreement"] for row in report["results"] if row["name"] in ("saved_model", "f32")} == {
        "saved_model": 1.0, "f32": 1.0}  # fmt: skip
    assert "red, green and blue from 0 to 1" in LiteRTFile(trained / "model_f32.tflite").card()["image"]
    import tensorflow as tf

    loaded = tf.saved_model.load(str(trained / "saved_model"))
    paths = [folder / name / f"{i}.png" for name in COLOURS for i in range(5)]
    files = tf.constant([path.read_bytes() for path in paths])
    odds = loaded.signatures["predict_pictures"](pictures=files)["probabilities"].numpy()
    app = APP.load(trained)
    images = vit.seen(app.config, app.assets, [read_picture(path, app.config.size) for path in paths])
    np.testing.assert_allclose(odds, vit.chances(app.model, images), atol=0.02)
    page = json.loads((trained / "demo.json").read_text())
    assert [sample["wanted"] for sample in page["samples"]] == sorted(COLOURS)


@pytest.mark.parametrize("position", ["learned", "sinusoidal", "flat", "none"])
@pytest.mark.parametrize("pooling", ["mean", "class"])
def test_every_kind_is_made_and_looks(position, pooling):
    config = vit.Config(position=position, pooling=pooling, dim=8, heads=2, layers=1, mlp_dim=8)
    net = APP.build(config, {"labels": {"names": ["a", "b"], "channels": 1}, "epoch": {"steps": 3}})
    image = np.random.default_rng(0).random((28, 28, 1), "float32")
    assert net.predict_on_batch(image[None]).shape == (1, 2)
    assert len(vit.attention_figure(config, net, image, "a").axes) == 4  # the picture, all layers, two heads


def test_grey_pictures_are_seen_in_grey(tmp_path):
    for name, value in (("dark", 30), ("light", 200)):
        (tmp_path / name).mkdir()
        for i in range(30):
            Image.new("L", (10, 10), value + i).save(tmp_path / name / f"{i}.png")
    (tmp_path / "dark" / "notes.txt").touch()
    config = vit.Config(data=str(tmp_path), size=8)
    data = vit.data(config)
    assert "1 files of other kinds passed over: " in data.facts[0]
    assert data.assets["labels"]["channels"] == 1
    image = data.test[0]["image"]
    np.testing.assert_allclose(vit.seen(config, data.assets, [image]).mean() * 255, image.mean(), atol=1)
    colour = vit.data(vit.Config(data=str(tmp_path), size=8, grey=False))
    assert colour.assets["labels"]["channels"] == 3


@pytest.mark.parametrize("flags", [["--size", "30"], ["--dim", "30"], ["--layers", "0"]])
def test_sizes_that_do_not_fit_are_told(flags, tmp_path, capsys):
    assert APP.run(["train", "--output", str(tmp_path), *flags]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


# ---------- folders and files ----------


def write_idx(path, array):
    shape = np.array(array.shape, ">u4").tobytes()
    path.write_bytes(b"\0\0\x08" + bytes([array.ndim]) + shape + array.tobytes())


def test_idx_files_are_read_as_positives_and_split_by_a_hash(tmp_path):
    random = np.random.default_rng(0)
    stored = {name: random.integers(0, 255, (n, 6, 6), "uint8") for name, n in (("train", 200), ("t10k", 9))}
    for name, pictures in stored.items():
        write_idx(tmp_path / f"{name}-images-idx3-ubyte", pictures)
        write_idx(tmp_path / f"{name}-labels-idx1-ubyte", np.arange(len(pictures), dtype="uint8") % 3)
    found, names = read_labelled_pictures(tmp_path)
    assert names == ["0", "1", "2"]
    np.testing.assert_array_equal(found["test"].pictures[..., 0], 255 - stored["t10k"])
    parts = split_labelled(found, valid=0.2)
    assert len(parts["test"].labels) == 9
    assert 20 < len(parts["valid"].labels) < 60
    assert len(parts["valid"].labels) + len(parts["train"].labels) == 200
    half = Seen(found["train"].pictures[::2], found["train"].labels[::2])
    again = split_labelled({"train": half, "test": found["test"]}, valid=0.2)
    both = {picture.tobytes() for picture in parts["train"].pictures} & {p.tobytes() for p in again["valid"].pictures}
    assert not both  # a picture's split does not depend on the others
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03")
    with pytest.raises(ValueError, match="t10k-images-idx3-ubyte: expected an IDX file"):
        read_labelled_pictures(tmp_path)


@pytest.mark.parametrize("count", [5, 24, 60])
def test_few_pictures_are_enough_for_three_splits(count):
    for seed in range(20):
        paths = [f"{seed}/{i}.png" for i in range(count)]
        parts = split_labelled({"": Seen(paths, np.zeros(count, "int32"))})
        assert sorted(path for part in parts.values() for path in part.pictures) == sorted(paths)
        assert all(len(part.pictures) for part in parts.values())
    with pytest.raises(ValueError, match="got 2 in all and none for"):
        split_labelled({"": Seen(paths[:2], np.zeros(2, "int32"))})


def test_pictures_of_other_kinds_are_told(tmp_path):
    for name in ["a/1.tif", "a/2.BMP", "a/3.heic", "b/4.png", "b/notes.txt", "c/5.heic", "c/6.heic"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(ValueError, match="got none of 'c' in the folder but 5.heic, 6.heic; convert them, or"):
        read_labelled_pictures(tmp_path)
    (tmp_path / "c" / "7.tiff").write_bytes(b"")
    found, names = read_labelled_pictures(tmp_path)
    assert (names, found[""].labels.tolist(), other_files(tmp_path)) == (["a", "b", "c"], [0, 0, 1, 2], 4)


def test_folders_named_for_splits_are_honoured(tmp_path):
    files = "train/a/1.png train/a/2.png train/b/1.png val/a/3.jpg test/b/4.webp train/b/notes.txt"
    for name in files.split():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found, names = read_labelled_pictures(tmp_path)
    assert names == ["a", "b"]
    assert {k: part.labels.tolist() for k, part in found.items()} == {"train": [0, 0, 1], "valid": [0], "test": [1]}
    assert split_labelled(found)["valid"].pictures == [str(tmp_path / "val" / "a" / "3.jpg")]
    del found["test"]
    assert split_labelled(found, valid=0.5)["test"] == found["valid"]
    (tmp_path / "test" / "c").mkdir()
    (tmp_path / "test" / "c" / "5.png").write_bytes(b"")
    with pytest.raises(ValueError, match="a class that training has too, got 'c'"):
        read_labelled_pictures(tmp_path)
    with pytest.raises(ValueError, match="at least 2 classes, got 0"):
        read_labelled_pictures(tmp_path / "val" / "a")
    with pytest.raises(ValueError, match="expected a folder"):
        read_labelled_pictures(tmp_path / "gone")


# ---------- batches ----------


def grey_pictures(count=6, size=8):
    return np.random.default_rng(1).integers(0, 255, (count, size, size, 1), "uint8")


def test_mixup_lays_pictures_and_labels_over_each_other_alike():
    labels = np.arange(6)
    plain = {int(y.argmax()): x for x, y in zip(*next(LabelledPictures(grey_pictures(), labels, 6, 8, 6).epoch(0))[:2])}
    image, targets, weights = next(LabelledPictures(grey_pictures(), labels, 6, 8, 6, mixup=1.0).epoch(0))
    np.testing.assert_allclose(targets.sum(axis=1), 1, atol=1e-6)
    assert ((targets > 0).sum(axis=1) == 2).any()
    expected = [sum(y[i] * plain[i] for i in range(6)) for y in targets]
    np.testing.assert_allclose(image, expected, atol=1e-5)
    assert weights.tolist() == [1] * 6


def test_a_labelled_dataset_goes_on_as_the_whole_and_validation_is_untouched():
    from keras_seq.data import Jitter

    batches = LabelledPictures(grey_pictures(), np.arange(6), 6, 8, 4, Jitter(shift=0.2, cutout=0.5), mixup=0.5, seed=3)
    whole = list(batches.dataset(0).take(4).as_numpy_iterator())[2:]
    for a, b in zip(whole, batches.dataset(1).take(2).as_numpy_iterator(), strict=True):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_array_equal(x, y)
    still = LabelledPictures(grey_pictures(), np.arange(6), 6, 8, 4, mixup=0.5, shuffle=False)
    found = np.concatenate([image for image, *_ in still.dataset().as_numpy_iterator()])
    np.testing.assert_array_equal(found, grey_pictures() / np.float32(255))


def test_cutout_hides_a_square_and_nothing_else():
    from keras_seq.data import Jitter

    plain = next(LabelledPictures(grey_pictures(1, 10), [0], 1, 10, 1).epoch(0))[0]
    batches, areas = LabelledPictures(grey_pictures(1, 10), [0], 1, 10, 1, Jitter(cutout=0.4)), []
    for epoch in range(8):
        image = next(batches.epoch(epoch))[0]
        hidden = image == 0.5
        np.testing.assert_array_equal(image[~hidden], plain[~hidden])
        rows, columns = (np.flatnonzero(hidden[0, ..., 0].any(axis=axis)) for axis in (1, 0))
        assert hidden[0, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].all()
        areas.append(hidden.sum())
    assert max(areas) == 16
