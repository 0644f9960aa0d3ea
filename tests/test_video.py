"""Clips, the labels of their frames, the digits that move, the timeline, and the app that learns from them."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from apps import video
from apps.data import FOLDER, load_video, moving_digits, video_pack
from keras_seq import plots
from keras_seq.data import Changes, Clip, ClipBatches, Span, frame_labels, read_clips, read_frames, runs, segment_f1
from keras_seq.data.clips import spliced
from keras_seq.data.video import at_rate, averages
from keras_seq.deploy.runners import LiteRTFile

# ---------- spans ----------


def test_spans_and_frames_are_two_ways_to_say_the_same():
    labels = list("aabbbcaaaac")
    spans = [Span(s.start / 25, s.end / 25, s.label) for s in runs(labels)]
    assert frame_labels(spans, len(labels), 25) == labels
    assert frame_labels(spans, 13, 25, none="-") == [*labels, "-", "-"]


def test_a_frame_has_the_label_of_its_middle():
    times = np.random.default_rng(3).uniform(-0.2, 1.4, (50, 2))
    for start, end in times:
        expected = ["x" if start <= (k + 0.5) / 11 < end else "none" for k in range(13)]
        assert frame_labels([(start, end, "x")], 13, 11) == expected


@pytest.mark.parametrize(("expected", "found", "f1"), [
    ("aaabbb", "aaabbb", 1.0),
    ("aaaabbbb", "aabbbbbb", 1.0),  # overlaps of 2 / 4 and 4 / 6
    ("aaaabbbb", "abbbbbbb", 0.5),  # 1 / 4 and 4 / 7
    ("aaaa", "abaa", 2 / 4),  # the flicker: three segments, one right
    ("aaaa", "bbbb", 0.0),
    ("----", "----", 1.0),
    ("--aa", "----", 0.0),
])  # fmt: skip
def test_segment_f1(expected, found, f1):
    assert segment_f1([expected], [found], ignore="-") == pytest.approx(f1)


def test_a_segment_is_compared_with_the_one_it_overlaps_most_taken_or_not():
    """The second found one lies mostly in the first expected one, which the first has taken: 4 / 10 against 1 / 8."""
    assert segment_f1(["aaaaaaaa-aaa"], ["aaa-aaaaaa--"], 0.1, "-") == pytest.approx(2 / 4)


def test_segments_are_counted_over_all_clips():
    assert segment_f1(["aa", "bb"], ["aa", "cc"]) == pytest.approx(2 * 1 / 4)


# ---------- files ----------


def write_clip(path, frames, rate=25):
    """An mp4 of grey frames (T, H, W)."""
    import av

    with av.open(str(path), "w") as file:
        stream = file.add_stream("mpeg4", rate=rate)
        stream.height, stream.width = frames.shape[1:]
        stream.bit_rate = 2_000_000
        for frame in frames:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="gray").reformat(format="yuv420p")))
        file.mux(stream.encode())


def shades(count=11, height=32, width=64):
    """Frames that grow lighter, by 20 each."""
    return np.broadcast_to((20 * np.arange(count) + 20).astype("uint8")[:, None, None], (count, height, width))


@pytest.mark.parametrize("rate", [5, 10, 20])
def test_a_clip_is_read_at_any_rate_and_size(tmp_path, rate):
    write_clip(tmp_path / "a.mp4", shades(), rate)
    frames = read_frames(tmp_path / "a.mp4", 8, 12, 10.0)
    assert frames.shape == ({5: 22, 10: 11, 20: 5}[rate], 8, 12)
    shown = ((np.arange(len(frames)) + 0.5) * rate / 10).astype(int)
    wanted = shades()[np.minimum(shown, 10), 0, 0]
    np.testing.assert_allclose(frames.mean(axis=(1, 2)), wanted, atol=6)


def test_a_part_of_the_picture_is_cut_out(tmp_path):
    frames = np.zeros((3, 32, 64), "uint8")
    frames[:, 8:24, 32:64] = 200
    write_clip(tmp_path / "a.mp4", frames)
    np.testing.assert_allclose(read_frames(tmp_path / "a.mp4", 8, 16, crop=(34, 10, 28, 12)), 200, atol=12)
    with pytest.raises(ValueError, match="another --crop"):
        read_frames(tmp_path / "a.mp4", 8, 16, crop=(40, 0, 32, 8))


def test_frames_stay_on_the_screen_until_the_next():
    frames = [(0.0, 0.1, "a"), (0.1, 0.1, "b"), (0.5, 0.1, "c")]
    assert list(at_rate(iter(frames), 10)) == [("a", 1), ("b", 4), ("c", 1)]
    assert list(at_rate(iter(frames[:1]), 1)) == [("a", 1)]  # never nothing


def test_a_picture_shrinks_by_means():
    for old, new in ((11, 5), (5, 11), (7, 7), (13, 1)):
        np.testing.assert_allclose(averages(old, new).sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(averages(7, 7), np.eye(7))
    np.testing.assert_allclose(averages(6, 3) @ np.arange(6), [0.5, 2.5, 4.5])


@pytest.mark.parametrize(("content", "message"), [
    (b"This is no film. " * 20, "no video"),
    (b"", "no video"),
    (None, "found nothing"),
])
def test_what_is_no_clip_is_told(tmp_path, content, message):
    path = tmp_path / "a.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_frames(path, 8, 16)


def test_grid_and_csv_say_the_same(tmp_path):
    for name in ("b", "a"):
        write_clip(tmp_path / f"{name}.mp4", shades(5))
        (tmp_path / f"{name}.align").write_text("0 2500 sil\n2500 5000 bin\n")
    grid = read_clips(tmp_path)
    assert [clip.spans for clip in grid] == [[(0.0, 0.1, "sil"), (0.1, 0.2, "bin")]] * 2
    table = "clip,start,end,label\n" + "".join(f"{n}.mp4,0,0.1,sil\n{n}.mp4,0.1,0.2,bin\n" for n in "ba")
    (tmp_path / "labels.csv").write_text(table)
    assert read_clips(tmp_path) == read_clips(tmp_path / "labels.csv") == grid


@pytest.mark.parametrize(("name", "content", "message"), [
    ("labels.csv", "clip,start,label\n", "none called end"),
    ("labels.csv", "clip,start,end,label\na.mp4,zero,1,x\n", "line 2"),
    ("labels.csv", "clip,start,end,label\n", "a line for each"),
    ("a.align", "0 25000\n", "line 1"),
    ("b.align", "0 25000 sil\n", "no pair"),
])
def test_labels_that_cannot_be_read_are_told(tmp_path, name, content, message):
    (tmp_path / "a.mp4").touch()
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        read_clips(tmp_path)


# ---------- batches ----------


def tagged(count=7, length=13):
    """Clips whose grey says their label."""
    random = np.random.default_rng(5)
    labels = [np.sort(random.integers(0, 5, length)) for _ in range(count)]
    return [np.repeat(np.repeat(50 * x.astype("uint8")[:, None, None], 8, 1), 12, 2) for x in labels], labels


def test_labels_follow_what_is_changed():
    clips, labels = tagged()
    changes = Changes(shift=0.2, zoom=0.2, flip=True, stretch=0.3, splice=0.5)
    batches = ClipBatches(clips, labels, 3, 13, changes)
    for inputs, found, weights in batches.epoch(1):
        np.testing.assert_allclose(inputs["frames"].max(axis=(2, 3, 4)) * 255, 50 * found, atol=1e-3)
        assert weights.mean() > 0.8  # a splice may be a little shorter


def test_an_epoch_follows_from_the_seed():
    clips, labels = tagged()
    batches = ClipBatches(clips, labels, 3, 13, Changes(0.2, 0.2, True, 0.2, 0.2, 2, 0.5))
    one, again, other = (next(batches.epoch(e))[0]["frames"] for e in (4, 4, 5))
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).max() > 0
    first = next(iter(batches.dataset(4)))[0]["frames"]
    np.testing.assert_array_equal(first, one)
    assert len(list(batches.epoch(0))) == batches.steps == 3


def test_long_clips_are_cut_and_short_ones_padded():
    clips, labels = tagged(2, 13)
    batches = ClipBatches([*clips, clips[0][:3]], [*labels, labels[0][:3]], 2, 5, shuffle=False)
    rows = [row for batch in batches.epoch() for row in zip(*batch[0].values(), *batch[1:])]
    assert [int(length) for _, length, *_ in rows] == [5, 5, 3, 5, 5, 3, 3]
    np.testing.assert_array_equal(np.concatenate([found[w > 0] for *_, found, w in rows]),
                                  np.concatenate([*labels, labels[0][:3]]))
    assert all(not frames[length:].any() for frames, length, *_ in rows)


def test_a_frame_without_a_known_label_is_read_and_counts_for_nothing():
    clips, _ = tagged(1, 5)
    inputs, found, weights = next(ClipBatches(clips, [[0, -1, 2, -1, 1]], 1, 7, shuffle=False).epoch())
    assert inputs["length"].tolist() == [5]
    assert found.tolist() == [[0, 0, 2, 0, 1, 0, 0]]
    assert weights.tolist() == [[1, 0, 1, 0, 1, 0, 0]]


def test_a_splice_joins_where_labels_change():
    (a, b), (x, y) = tagged(2)
    clip, labels = spliced(a, x, b, y, np.random.default_rng(1))
    assert len(clip) == len(labels) <= len(a)
    np.testing.assert_array_equal(clip[:, 0, 0], 50 * labels)


# ---------- the pack and its clips ----------


@pytest.fixture(scope="module")
def pack():
    return load_video()


def test_the_counts_are_those_of_the_card(pack):
    facts = json.loads((FOLDER / "video" / "digits.json").read_text())
    assert {name: len(labels) for name, (_, labels) in pack.items()} == facts["digits"]
    assert facts["sha256"] in (FOLDER / "video" / "README.md").read_text()
    assert all(set(labels.tolist()) == set(range(10)) for _, labels in pack.values())


def test_no_digit_stands_in_two_splits(pack):
    seen = [{picture.tobytes() for picture in pictures} for pictures, _ in pack.values()]
    assert sum(map(len, seen)) == len(set.union(*seen)) == sum(len(labels) for _, labels in pack.values())
    assert all(video_pack.split_of(picture) == name for name, part in zip(pack, seen) for picture in list(part)[:50])


def test_a_damaged_pack_is_told(tmp_path):
    (tmp_path / "digits.json").write_bytes((FOLDER / "video" / "digits.json").read_bytes())
    with pytest.raises(ValueError, match="python -m apps.data.build video"):
        load_video(tmp_path)
    (tmp_path / "digits.bin.gz").write_bytes((FOLDER / "video" / "digits.bin.gz").read_bytes()[:-1])
    with pytest.raises(ValueError, match="damaged or was changed"):
        load_video(tmp_path)


def test_a_clip_follows_from_its_name(pack):
    frames, labels = moving_digits.clip("digits:test/17", pack)
    again, other = (moving_digits.clip(f"digits:test/{n}", pack)[0] for n in (17, 18))
    np.testing.assert_array_equal(frames, again)
    assert frames.shape == (75, 40, 80)
    assert frames.dtype == "uint8"
    assert np.abs(frames.astype(int) - other).max() > 0
    assert 0 in labels
    assert len(set(labels.tolist())) > 2
    with pytest.raises(ValueError, match="digits:test/3"):
        moving_digits.clip("digits:other/1", pack)


# ---------- the picture ----------


@pytest.mark.parametrize("shape", [(1, 40, 80), (75, 40, 80), (300, 32, 32, 3)])
def test_a_timeline_is_a_picture(shape):
    spans = [(0.0, 1.0, "sil"), (1.0, 1.1, "a long name"), (1.1, 3.0, "$x$")]
    fig = plots.timeline(np.zeros(shape, "uint8"), {"found": spans, "expected": spans}, 3.0, ["sil"], "a $ b",
                         np.ones(shape[0]))
    assert plots.png(fig)[:4] == b"\x89PNG"


# ---------- the app ----------

TINY = ["--height", "8", "--width", "16", "--window", "11", "--filters", "2", "--dim", "8", "--units", "5",
        "--layers", "1", "--epochs", "2", "--batch", "5", "--heads", "1", "--mlp-dim", "7"]  # fmt: skip


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """Twenty-three clips that are dark, then light, and a CSV."""
    folder, lines = tmp_path_factory.mktemp("films"), ["clip,start,end,label"]
    for i in range(23):
        frames, cut = np.full((13, 16, 32), 30, "uint8"), 4 + i % 5
        frames[cut:] = 220
        write_clip(folder / f"film{i}.mp4", frames)
        lines += [f"film{i}.mp4,{cut / 25},1,light"]
    (folder / "labels.csv").write_text("\n".join(lines))
    return folder


@pytest.mark.parametrize("flags", [
    ["--model", "lstm", "--epochs", "6", "--warmup", "5", "--learning-rate", "0.01"],
    ["--causal", "--model", "transformer", "--members", "2"],
], ids=["lstm", "two_live_transformers"])  # fmt: skip
def test_the_app_learns_and_answers(films, tmp_path, capsys, monkeypatch, flags):
    monkeypatch.chdir(tmp_path)
    assert video.APP.run(["train", "--data", str(films), *TINY, *flags]) == 0
    assert video.APP.run(["evaluate"]) == 0
    assert "frame accuracy" in capsys.readouterr().out
    if "lstm" in flags:
        test = json.loads((tmp_path / "saved_models/video/metrics.json").read_text())["test"]
        assert test["frame accuracy"] > 85 > 50 > test["always quiet"]
    assert video.APP.run(["predict", "--all", str(films / "film1.mp4"), "digits:test/3"]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 2
    assert out.splitlines()[1].startswith("0.00 ")
    assert "timelines/film1.png" in err
    assert (tmp_path / "timelines" / "3.png").exists()
    if flags[0] == "--causal":
        assert video.APP.run(["export", "--tolerance", "100"]) == 0
        report = json.loads((tmp_path / "saved_models/video/report.json").read_text())
        assert all(row["max_difference_step"] < 1e-4 for row in report["results"] if row["name"] == "f32")
        card = LiteRTFile(tmp_path / "saved_models/video/model_f32.tflite").card()
        assert "the whole picture in grey from 0 to 1, 25 a second" in card["frames"]


def test_a_damaged_clip_of_the_test_is_told_before_training(films, tmp_path, capsys):
    shutil.copytree(films, tmp_path / "films")
    parts = video.labelled(video.Config(data=str(tmp_path / "films")))
    Path(parts["test"][0].path).write_bytes(b"no film")
    assert video.APP.run(["train", "--data", str(tmp_path / "films"), "--output", str(tmp_path / "model"), *TINY]) == 2
    assert "no video" in capsys.readouterr().err
    assert not list((tmp_path / "model").glob("*"))


def test_labels_that_mean_nothing_are_one():
    config = video.Config(quiet="sil,sp", rate=10.0)
    clip = Clip("a.mp4", [Span(0.0, 0.1, "sp"), Span(0.1, 0.2, "red"), Span(0.2, 0.3, "sil")])
    names = video.label_names(config, [clip])
    assert names == ["sil", "red"]
    assert video.numbers(config, names, clip, range(4)) == [0, 1, 0, 0]


@pytest.mark.parametrize("quiet", ["", " , "])
def test_frames_without_a_span_have_a_name_where_no_label_means_nothing(quiet):
    assert video.label_names(video.Config(quiet=quiet), [Clip("a.mp4", [Span(0.0, 0.1, "red")])]) == ["none", "red"]


def test_a_label_that_training_never_saw_is_never_right():
    config, assets = video.Config(rate=10.0), {"labels": ["none", "red"]}
    clip = Clip("a.mp4", [Span(0.0, 0.2, "blue"), Span(0.2, 0.3, "red"), Span(0.3, 0.4, "sil")])
    expected = video.numbers(config, assets["labels"], clip, range(5))
    assert expected == [-1, -1, 1, 0, 0]
    found = video.scores(config, assets, [expected], [[0, 0, 1, 0, 0]])
    assert found["frame accuracy"] == 60
    assert found["accuracy where something is"] == 33.33
    assert found["segment F1 (IoU 0.5, Lea et al. 2017)"] == 66.67
    assert [span.label for span in video.seconds(config, assets, expected)] == ["?", "red", "none"]


def test_long_clips_are_read_in_pieces():
    config = video.Config(window=10)
    assert video.starts(7, 10) == video.starts(10, 10) == [0]
    assert video.starts(27, 10) == [0, 5, 10, 15, 17]

    class Echo:
        def predict_on_batch(self, inputs):
            return np.repeat(inputs["frames"][:, :, 0, :1, 0] * 255, 2, -1) * [0.0, 1.0]

    for count in (1, 7, 10, 27, 30):
        clip = np.broadcast_to(np.arange(count, dtype="uint8")[:, None, None], (count, 40, 80))
        odds = video.probabilities(config, Echo(), [clip])[0]
        np.testing.assert_allclose(np.log(odds[:, 1] / odds[:, 0]), np.arange(count), atol=1e-2, rtol=1e-2)


@pytest.mark.parametrize(("flags", "message"), [
    (["--crop", "1,2"], "expected --crop"),
    (["--window", "0"], "above 0"),
    (["--members", "0"], "above 0"),
    (["--data", "nowhere"], "found nothing"),
])
def test_wrong_settings_are_told_in_a_line(tmp_path, capsys, flags, message):
    assert video.APP.run(["train", "--output", str(tmp_path), *flags]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert len(err.splitlines()) == 1
