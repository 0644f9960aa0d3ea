"""Pictures of every kind are read or refused with a reason; batches of them follow from seed and epoch."""

import io
import json
import zlib

import numpy as np
import pytest
from PIL import Image

from keras_seq import plots
from keras_seq.data import (
    Jitter,
    PictureBatches,
    read_captions,
    read_picture,
    read_pictures,
    shown,
    split_captions,
)

SIZE = 11
RED = (255, 0, 0)


def saved(folder, name, mode="RGB", size=(17, 17), colour=RED, **options):
    picture = Image.new("RGB", size, colour).convert(mode)
    picture.save(folder / name, **options)
    return folder / name


# ---------- reading ----------


@pytest.mark.parametrize(
    ("name", "mode"),
    [("a.png", "RGB"), ("a.png", "P"), ("a.jpg", "RGB"), ("a.jpg", "CMYK"), ("a.webp", "RGB"), ("a.gif", "P"),
     ("a.bmp", "RGB"), ("a.bmp", "P"), ("a.tif", "RGB"), ("a.tiff", "CMYK"), ("a.tif", "RGBA"),
     ("a.png", "RGBA"), ("upper.PNG", "RGB"), ("no_ending", "RGB")],
)  # fmt: skip
def test_every_kind_is_read(name, mode, tmp_path):
    path = saved(tmp_path, name, mode, format=None if "." in name else "PNG")
    picture = read_picture(path, SIZE)
    assert picture.shape == (SIZE, SIZE, 4)
    assert picture.dtype == np.uint8
    np.testing.assert_allclose(picture.reshape(-1, 4), np.tile([255, 0, 0, 255], (SIZE**2, 1)), atol=3)


def test_grey_and_sixteen_bits_keep_their_brightness(tmp_path):
    saved(tmp_path, "grey.png", "L", colour=(100, 100, 100))
    Image.fromarray(np.full((5, 5), 100 * 257, "uint16")).save(tmp_path / "deep.png")
    Image.fromarray(np.full((5, 5), 100 * 257, "uint16")).save(tmp_path / "deep.tif")
    for name in ("grey.png", "deep.png", "deep.tif"):
        np.testing.assert_allclose(read_picture(tmp_path / name, SIZE)[..., :3], 100, atol=1)


def test_a_picture_of_fractions_is_refused(tmp_path):
    Image.fromarray(np.full((5, 5), 0.5, "float32")).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=r"a\.tif: expected a picture of whole numbers .* got one of mode F"):
        read_picture(tmp_path / "a.tif", SIZE)


def test_the_first_frame_of_an_animation_is_read(tmp_path):
    frames = [Image.new("RGB", (17, 17), colour) for colour in (RED, (0, 0, 255))]
    for name in ("a.gif", "a.webp"):
        options = {"lossless": True} if name == "a.webp" else {}
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], **options)
        assert read_picture(tmp_path / name, SIZE)[5, 5].tolist() == [255, 0, 0, 255]


@pytest.mark.parametrize("size", [(1, 1), (300, 3), (3, 300)])
def test_a_picture_of_any_shape_stands_whole_in_the_middle(size, tmp_path):
    picture = read_picture(saved(tmp_path, "a.png", size=size), SIZE)
    assert picture[SIZE // 2, SIZE // 2].tolist() == [255, 0, 0, 255]
    assert (picture[0, 0, 3] == 0) == (size != (1, 1))
    np.testing.assert_array_equal(shown(picture, SIZE)[SIZE // 2, SIZE // 2], [1, 0, 0])
    if size != (1, 1):
        np.testing.assert_array_equal(shown(picture, SIZE, (0, 255, 0))[0, 0], [0, 1, 0])


def test_what_is_up_for_the_camera_is_up(tmp_path):
    picture = Image.new("RGB", (20, 20), RED)
    picture.paste((0, 0, 255), (0, 0, 20, 10))
    exif = Image.Exif()
    exif[0x0112] = 3  # turned by half
    picture.save(tmp_path / "a.png", exif=exif)
    assert read_picture(tmp_path / "a.png", SIZE)[-1, 5].tolist() == [0, 0, 255, 255]


def bad_files():
    whole = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (60, 60, 3), "uint8")
    Image.fromarray(noise).save(whole, "PNG")
    data = whole.getvalue()
    head = b"IHDR" + (60_000).to_bytes(4, "big") * 2 + data[24:29]
    huge = data[:12] + head + zlib.crc32(head).to_bytes(4, "big") + data[33:]
    svg = b"<svg xmlns='http://www.w3.org/2000/svg'/>"
    return {"text": (b"hello, I am text", "another kind of file"), "svg": (svg, "another kind of file"),
            "empty": (b"", "another kind of file"), "cut off": (data[: len(data) // 2], "whole picture"),
            "huge": (huge, "100 million pixels")}  # fmt: skip


@pytest.mark.parametrize("kind", bad_files())
def test_what_is_no_picture_is_told_in_one_line(kind, tmp_path):
    content, message = bad_files()[kind]
    (tmp_path / "bad.png").write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_picture(tmp_path / "bad.png", SIZE)
    assert str(caught.value).startswith(f"{tmp_path / 'bad.png'}: ")
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder_are_told(tmp_path):
    with pytest.raises(ValueError, match="no such file"):
        read_picture(tmp_path / "gone.png", SIZE)
    with pytest.raises(ValueError, match="Is a directory|Permission"):
        read_picture(tmp_path, SIZE)


def test_many_pictures_are_the_single_ones_wherever_they_are_kept(tmp_path, monkeypatch):
    paths = [saved(tmp_path, f"{i}.png", colour=(20 * i, 0, 0)) for i in range(7)]
    in_memory = read_pictures(paths, SIZE)
    monkeypatch.setattr("keras_seq.data.images.IN_MEMORY", 0)
    on_disk = read_pictures(paths, SIZE)
    assert isinstance(on_disk, np.memmap)
    np.testing.assert_array_equal(in_memory, on_disk)
    np.testing.assert_array_equal(in_memory[3], read_picture(paths[3], SIZE))


# ---------- captions ----------


def write_table(folder, text):
    for name in ("one.png", "two.png"):
        saved(folder, name)
    (folder / "captions.csv").write_text(text, encoding="utf-8")
    return folder


def test_a_table_gives_several_captions_a_picture(tmp_path):
    rows = read_captions(write_table(tmp_path, 'image;caption\none.png;a cat\ntwo.png;"a; dog"\none.png;one  cat\n'))
    assert [(row.path, row.captions, row.split) for row in rows] == [
        (str(tmp_path / "one.png"), ["a cat", "one cat"], ""), (str(tmp_path / "two.png"), ["a; dog"], "")]  # fmt: skip


def test_a_table_may_name_the_splits(tmp_path):
    rows = read_captions(write_table(tmp_path, "picture,caption,split\none.png,a,train\ntwo.png,b,test\n"))
    assert [row.split for row in rows] == ["train", "test"]


@pytest.mark.parametrize(
    ("text", "message"),
    [("picture,caption\none.png,\n", "captions.csv, line 2: .*empty cell"),
     ("picture,caption\nthree.png,a\n", "three.png: no such picture"),
     ("picture,words\none.png,a\n", "expected the column 'caption'"),
     ("picture,caption,split\none.png,a,train\none.png,b,test\n", "line 3: expected the split 'train' as before")],
)  # fmt: skip
def test_mistakes_in_a_table_are_told(text, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        read_captions(write_table(tmp_path, text))


def coco(folder, split="val2017", count=3):
    (folder / split).mkdir(parents=True)
    (folder / "annotations").mkdir(exist_ok=True)
    for i in range(count):
        saved(folder / split, f"{split}{i:03}.jpg")
    images = [{"id": 70 + i, "file_name": f"{split}{i:03}.jpg", "width": 17} for i in range(count)]
    captions = [{"id": 10 * i + j, "image_id": 70 + i, "caption": f"Picture {i},\nsaid {j}.\n"}
                for j in range(2) for i in range(count)]  # fmt: skip
    content = {"info": {}, "licenses": [], "images": images, "annotations": captions}
    (folder / "annotations" / f"captions_{split}.json").write_text(json.dumps(content))


def test_the_layout_of_coco_is_read_and_its_validation_is_the_test(tmp_path):
    coco(tmp_path, "train2017", 41)
    coco(tmp_path)
    rows = read_captions(tmp_path)
    assert len(rows) == 44
    parts = split_captions(rows, valid=0.2)
    assert [row.captions for row in parts["test"]] == [[f"Picture {i}, said {j}." for j in range(2)] for i in range(3)]
    assert all("train2017" in row.path for row in parts["train"] + parts["valid"])


def test_files_that_are_not_cocos_are_told(tmp_path):
    coco(tmp_path)
    (tmp_path / "annotations" / "captions_val2017.json").write_text('{"images": [{}]}')
    with pytest.raises(ValueError, match="expected COCO's captions"):
        read_captions(tmp_path)
    with pytest.raises(ValueError, match="expected captions.csv, or"):
        read_captions(tmp_path / "val2017")
    with pytest.raises(ValueError, match="expected a folder"):
        read_captions(tmp_path / "gone")


def test_a_split_is_of_pictures_and_follows_from_their_names(tmp_path):
    (tmp_path / "captions.csv").write_text(
        "picture,caption\n" + "".join(f"{i}.png,text {j}\n" for j in range(2) for i in range(97)))  # fmt: skip
    for i in range(97):
        (tmp_path / f"{i}.png").touch()
    rows = read_captions(tmp_path)
    parts, again = split_captions(rows), split_captions(rows[::-1])
    assert sum(map(len, parts.values())) == 97
    assert all(sorted(parts[name]) == sorted(again[name]) for name in parts)
    assert 3 < len(parts["test"]) < 20
    with pytest.raises(ValueError, match="add pictures"):
        split_captions(rows[:2])


# ---------- batches ----------

CAPTIONS = [[[5, 6]], [[7], [8, 9, 10]], [[11]], [[12]], [[13]]]


def pictures(count=5, size=8):
    return np.random.default_rng(0).integers(0, 255, (count, size, size, 4), "uint8")


def same(one, other, atol=0.0):
    for a, b in zip(one, other, strict=True):
        assert a[0].keys() == b[0].keys()
        for x, y in zip([*a[0].values(), *a[1:]], [*b[0].values(), *b[1:]], strict=True):
            np.testing.assert_allclose(x, y, rtol=0, atol=atol)


JITTER = Jitter(0.1, 0.2, 0.1, 10, 0.1, 0.5, True)


def test_an_epoch_has_every_picture_and_follows_from_its_number():
    batches = PictureBatches(pictures(), CAPTIONS, 6, 2, JITTER)
    first = list(batches.epoch(0))
    assert batches.steps == len(first) == 3
    starts = [int(line[0]) for _, labels, _ in first for line in labels]
    assert {8 if token == 7 else token for token in starts} == {5, 8, 11, 12, 13}
    assert [len(labels) for _, labels, _ in first] == [2, 2, 2]  # one comes twice
    whole = next(PictureBatches(pictures(), CAPTIONS, 6, 5, JITTER).epoch(0))[1][:, 0].tolist()
    assert sorted(8 if token == 7 else token for token in whole) == [5, 8, 11, 12, 13]
    same(first, batches.epoch(0))
    assert any(a[1].tolist() != b[1].tolist() for a, b in zip(first, batches.epoch(1)))
    drawn = {tuple(map(int, line)) for e in range(9) for _, labels, _ in batches.epoch(e) for line in labels}
    assert {7, 8} <= {line[0] for line in drawn}


def test_a_dataset_that_begins_later_goes_on_as_the_whole():
    batches = PictureBatches(pictures(), CAPTIONS, 6, 2, JITTER, seed=3)
    whole = batches.dataset(0).take(7).as_numpy_iterator()
    later = batches.dataset(1).take(4).as_numpy_iterator()
    same(list(whole)[3:], later)
    same(batches.dataset(1).take(3).as_numpy_iterator(), batches.epoch(1), 1e-6)  # in a dataset it is one kernel


def test_validation_is_what_a_user_sees():
    batches = PictureBatches(pictures(), CAPTIONS, 6, 2, JITTER, shuffle=False)
    found = np.concatenate([inputs["image"] for inputs, *_ in batches.dataset().as_numpy_iterator()])
    np.testing.assert_array_equal(found, np.stack([shown(picture, 6) for picture in pictures()]))


def test_without_jitter_pictures_stay_as_they_are():
    batches = PictureBatches(pictures(1), CAPTIONS[:1], 8, 1)
    (inputs, *_), = batches.epoch(0)
    np.testing.assert_allclose(inputs["image"][0], shown(pictures(1)[0], 8), atol=1e-5)


@pytest.mark.parametrize("jitter", [{"flip": True}, {"rotate": 20.0}, {"shift": 0.3}, {"shrink": 0.5}, {"colour": 0.5},
                                    {"background": 1.0}])  # fmt: skip
def test_each_change_changes_pictures_within_their_range(jitter):
    plain = PictureBatches(pictures(1), CAPTIONS[:1], 8, 1)
    batches = PictureBatches(pictures(1), CAPTIONS[:1], 8, 1, Jitter(**jitter))
    before = next(plain.epoch(0))[0]["image"]
    found = [next(batches.epoch(e))[0]["image"] for e in range(7)]
    assert all(image.min() >= 0 and image.max() <= 1 for image in found)
    assert max(np.abs(image - before).max() for image in found) > 0.05
    if jitter == {"flip": True}:
        mirrored = [np.abs(image - before[:, :, ::-1]).max() < 1e-5 for image in found]
        assert 0 < sum(mirrored) < 7
        assert all(np.abs(image - before).max() < 1e-5 for image, m in zip(found, mirrored) if not m)


def test_shrinking_keeps_the_middle_in_the_middle():
    dot = np.zeros((1, 9, 9, 4), "uint8")
    dot[0, 3:6, 3:6] = [0, 0, 0, 255]
    batches = PictureBatches(dot, CAPTIONS[:1], 9, 1, Jitter(shrink=0.3, rotate=30, flip=True))
    for epoch in range(5):
        image = 1 - next(batches.epoch(epoch))[0]["image"][0, ..., 0]
        middle = (image.sum(0) @ np.arange(9) / image.sum(), image.sum(1) @ np.arange(9) / image.sum())
        np.testing.assert_allclose(middle, 4, atol=0.05)


def test_captions_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="as many captions, got 5 and 4"):
        PictureBatches(pictures(), CAPTIONS[:4], 8)


# ---------- the plot ----------


def test_attention_is_drawn_word_by_word():
    weights = np.random.default_rng(0).random((3, 2, 5))
    pieces = ["\u2581red", "dish", "\u2581cat"]
    figure = plots.attention_over_picture(np.zeros((20, 50, 3)), weights, pieces, "reddish $")
    titles = [ax.get_title() for ax in figure.axes]
    assert titles == ["the picture", "reddish", "cat"]
    assert plots.pixels(figure).std() > 1


def test_a_grey_picture_is_lit_in_amber_where_it_was_looked_at():
    from keras_seq.plots.pictures import lit

    weight = np.zeros((3, 3), "float32")
    weight[0, 2] = 1
    found = lit(np.full((30, 30, 3), 0.8, "float32"), weight)
    assert np.ptp(found[2, 27]) > 0.3
    assert np.ptp(found[27, 2]) < 1e-6


def test_what_was_looked_at_keeps_its_colour():
    from keras_seq.plots.pictures import enlarged, lit, share

    weight = np.zeros((3, 3), "float32")
    weight[0, 2] = 1
    image = np.broadcast_to(np.array([1.0, 0.0, 0.0], "float32"), (30, 30, 3))
    seen = lit(image, weight)
    np.testing.assert_allclose(seen[2, 27], [1, 0, 0], atol=1e-3)
    assert np.ptp(seen[27, 2]) < 1e-6
    assert share(weight) == 1
    np.testing.assert_allclose(enlarged(np.ones((2, 3)), 7, 11), 1)


def test_maps_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="expected weights of shape"):
        plots.attention_over_picture(np.zeros((4, 4, 3)), np.ones((2, 4)), ["a", "b"])
