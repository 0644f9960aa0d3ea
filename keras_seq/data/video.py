"""Clips and the labels of their frames: files to grey frames at one rate and size."""

import concurrent.futures
import csv
import math
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from keras_seq.data.spans import Span

ENDINGS = (".mpg", ".mpeg", ".mkv", ".mp4", ".mov", ".avi", ".webm", ".gif")
GRID_RATE = 25_000  # the unit of a .align file: 1/25000 s
MOST_FRAMES = 200_000  # two hours at 25 frames a second
COLUMNS = ["clip", "start", "end", "label"]


class Clip(NamedTuple):
    """The path of a clip and its labelled spans, in seconds."""

    path: str
    spans: list


# --- what is labelled ---------------------------------------------------------------------------------------------


def read_clips(path):
    """The labelled clips of a folder in the layout of the GRID corpus, or of a CSV.

    A folder holds `NAME.mpg` (or .mkv, .mp4, ...) beside `NAME.align`, whose lines are `start end label` in 1/25000 s.
    A CSV has the columns clip, start, end, label: a path relative to the CSV, seconds, and a name.

    Args:
        path: of the folder or the CSV; a folder with `labels.csv` is read by it.

    Returns:
        [Clip, ...] in the order of their names.

    Raises:
        ValueError: for files that are missing or cannot be understood.

    Reference: Cooke et al. 2006 (GRID).
    """
    path = Path(path).absolute()  # where the clips are stays true in another folder
    if path.is_dir():
        table = path / "labels.csv"
        return read_table(table) if table.exists() else read_grid(path)
    if not path.exists():
        raise ValueError(f"expected a folder of clips or a CSV, found nothing at {path}: check the path")
    return read_table(path)


def read_grid(folder):
    videos = {file.stem: file for file in sorted(folder.iterdir()) if file.suffix.lower() in ENDINGS}
    aligned = {file.stem: file for file in sorted(folder.glob("*.align"))}
    both = sorted(videos.keys() & aligned.keys())
    if not both:
        raise ValueError(
            f"expected clips beside their labels in {folder} (NAME.mpg and NAME.align, or labels.csv), "
            f"found {len(videos)} clips and {len(aligned)} .align files and no pair of them"
        )
    return [Clip(str(videos[name]), read_align(aligned[name])) for name in both]


def read_align(path):
    """The spans of a .align file, in seconds."""
    spans = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line.strip():
            try:
                start, end, label = line.split()
                spans.append(Span(int(start) / GRID_RATE, int(end) / GRID_RATE, label))
            except ValueError as error:
                raise ValueError(f"expected `start end label` in line {number} of {path}, got {line!r}") from error
    return spans


def read_table(path):
    found = {}
    with open(path, encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file)
        if missing := [name for name in COLUMNS if name not in (rows.fieldnames or [])]:
            raise ValueError(f"expected the columns {', '.join(COLUMNS)} in {path}, got none called {missing[0]}")
        for row in rows:
            try:
                span = Span(float(row["start"]), float(row["end"]), row["label"].strip())
            except (ValueError, TypeError, AttributeError) as error:
                raise ValueError(
                    f"expected seconds and a label in line {rows.line_num} of {path}, got {row}"
                )  from error
            found.setdefault(str(path.parent / row["clip"]), []).append(span)
    if not found:
        raise ValueError(f"expected a line for each labelled span in {path}, got none")
    return [Clip(name, found[name]) for name in sorted(found)]


# --- frames -------------------------------------------------------------------------------------------------------


def read_frames(path, height, width, rate=25.0, crop=None):
    """The grey frames of a video file, at one size and rate whatever it was made with.

    Args:
        path: of a video that ffmpeg reads.
        height, width: of the frames to make; the picture is squeezed into them.
        rate: frames a second to make: frames are repeated or left out.
        crop: (left, top, width, height) of the part of the picture to read, in its own pixels; None for all of it.

    Returns:
        uint8 (T, height, width).

    Raises:
        ValueError: for a file that is missing, no video, damaged, empty or longer than two hours.
    """
    if not Path(path).is_file():
        raise ValueError(f"expected a video file, found nothing at {path}: check the path")
    shrink, found = Shrink(height, width, crop), []
    for frame, times in at_rate(decode(path), rate):
        found += [shrink(frame)] * times if times else []
        if len(found) > MOST_FRAMES:
            most = MOST_FRAMES / rate / 60
            raise ValueError(f"expected a clip of less than {most:.0f} minutes, got a longer one: cut {path}")
    return np.stack(found)


def decode(path):
    """Yields (time in seconds, how long it is shown, grey uint8 (H, W)) of each frame.

    Raises:
        ValueError: for a file without a picture that moves, or damaged.
    """
    import av
    from av.video.reformatter import VideoReformatter

    convert, count, time = VideoReformatter(), 0, 0.0
    try:
        with av.open(str(path)) as file:
            if not file.streams.video:
                kinds = ", ".join(sorted({stream.type for stream in file.streams})) or "nothing"
                raise ValueError(f"expected a video, got {path} with {kinds} only: give a file with a picture")
            stream = file.streams.video[0]
            lasts = 1 / float(stream.average_rate or stream.guessed_rate or 25)
            for frame in file.decode(stream):
                time = count * lasts if frame.time is None else float(frame.time)
                grey = convert.reformat(frame, format="gray").to_ndarray()
                yield time, lasts, np.rot90(grey, round(frame.rotation / 90)) if frame.rotation else grey
                count += 1
    except av.FFmpegError as error:
        where = f" after {time:.2f} s" if count else ""
        raise ValueError(f"expected a video file, got {path}, damaged{where} or no video ({error.strerror})") from error
    if not count:
        raise ValueError(f"expected a video with frames, got {path} without one: record it again")


def at_rate(frames, rate):
    """Yields (frame, how often it is shown) at a steady rate: each moment has the frame that is on the screen then.

    Args:
        frames: yields (time, how long it is shown, frame).
        rate: frames a second.
    """
    count, first, held = 0, None, None
    for time, lasts, frame in frames:
        first = time if first is None else first
        if held is not None:
            until = max(frames_until(min(time - first, MOST_FRAMES / rate + 1), rate), count)  # times may jump
            yield held, until - count
            count = until
        held, end = frame, time - first + lasts
    yield held, max(frames_until(end, rate) - count, 0 if count else 1)


def frames_until(time, rate):
    """How many frames have their middle before a time."""
    return math.ceil(time * rate - 0.5 - 1e-6)


def resize(frames, height, width):
    """Grey frames uint8 (T, H, W) at another size."""
    shrink = Shrink(height, width)
    return np.stack([shrink(frame) for frame in frames])


class Shrink:
    """Pictures (H, W) to one size: each new place is the mean of what it covers, as two matrix products."""

    def __init__(self, height, width, crop=None):
        self.height, self.width, self.crop = height, width, crop
        self.matrices = {}

    def __call__(self, picture):
        if self.crop:
            left, top, width, height = self.crop
            if top + height > picture.shape[0] or left + width > picture.shape[1]:
                raise ValueError(
                    f"expected a picture of at least {left + width} x {top + height} to crop {self.crop} from, "
                    f"got {picture.shape[1]} x {picture.shape[0]}: give another --crop"
                )
            picture = picture[top : top + height, left : left + width]
        rows, columns = self.matrix(picture.shape[0], self.height), self.matrix(picture.shape[1], self.width)
        return np.rint(rows @ picture.astype("float32") @ columns.T).astype("uint8")

    def matrix(self, old, new):
        if (old, new) not in self.matrices:
            self.matrices[old, new] = averages(old, new)
        return self.matrices[old, new]


def averages(old, new):
    """float32 (new, old): how much of each old place each new one covers; rows sum to one.

    Example:
        >>> averages(3, 2).astype("float64").round(2).tolist()
        [[0.67, 0.33, 0.0], [0.0, 0.33, 0.67]]
    """
    edges = np.arange(new + 1) * old / new
    place = np.arange(old)
    overlap = np.minimum(edges[1:, None], place + 1) - np.maximum(edges[:-1, None], place)
    return (np.maximum(overlap, 0) * new / old).astype("float32")


def read_all(paths, read):
    """`read(path)` of many clips, a few at a time: decoding lets other threads run."""
    with concurrent.futures.ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        return list(pool.map(read, paths))
