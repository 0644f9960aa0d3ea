"""Sounds and what is said in them: any file that ffmpeg reads at one rate, folders with transcripts, and batches."""

import csv
import hashlib
import itertools
import math
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from keras_seq.data.batches import EOS, PAD, again, shares, taught
from keras_seq.data.feed import fed
from keras_seq.data.video import ENDINGS as VIDEO
from keras_seq.data.video import read_align

ENDINGS = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a", *VIDEO)
SILENT = ("sil", "sp")  # what GRID's alignments call silence
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
FSDD = re.compile(r"([0-9])_(\w+)_([0-9]+)")  # the digit, who says it, and a number
FSDD_TEST = 5  # the recordings below this number
MOST_SECONDS = 7200
FULL = 32768  # a sample of 16 bits is less


class Spoken(NamedTuple):
    """The path of a sound, what is said in it, who says it ("" where nobody knows), and its split or ""."""

    path: str
    text: str
    speaker: str = ""
    split: str = ""


# --- what is said -------------------------------------------------------------------------------------------------


def spoken_text(text):
    """Words as they are said: small letters, without punctuation; digits stay.

    Example:
        >>> spoken_text("That's it -- don't press 1, OK?")
        "that's it don't press 1 ok"
    """
    return " ".join(word for part in re.split(r"[^\w']+", text.lower()) if (word := part.strip("'_")))


def read_spoken(folder):
    """The sounds of a folder and what is said in them.

    A folder holds one of three: `metadata.csv` with the columns path (from the folder) and text, and perhaps speaker
    and split (train, valid, test); sounds or clips `NAME.wav`, `NAME.mpg`, ... beside `NAME.align`, as the GRID corpus;
    or `DIGIT_SPEAKER_NUMBER.wav`, as the Free Spoken Digit Dataset, whose official test is the numbers 0 to 4.

    Args:
        folder: its path.

    Returns:
        [Spoken, ...] in the order of their names, or of the table.

    Raises:
        ValueError: for files that are missing or cannot be understood.

    Reference: Cooke et al. 2006 (GRID); Jackson et al. 2018 (FSDD).
    """
    folder = Path(folder).absolute()  # where the sounds are stays true in another folder
    if not folder.is_dir():
        found = "a file" if folder.exists() else "nothing"
        raise ValueError(f"expected a folder of sounds, found {found} at {folder}: check the path")
    if (folder / "metadata.csv").exists():
        return read_metadata(folder / "metadata.csv")
    sounds = {file.stem: file for file in sorted(folder.iterdir()) if file.suffix.lower() in ENDINGS}
    aligned = [name for name in sounds if (folder / f"{name}.align").exists()]
    if aligned:
        return [Spoken(str(sounds[name]), aligned_text(folder / f"{name}.align")) for name in aligned]
    digits = [digit_of(sounds[name]) for name in sounds if FSDD.fullmatch(name)]
    if not digits:
        raise ValueError(
            f"expected metadata.csv (columns path and text), NAME.align beside each sound, or sounds named "
            f"DIGIT_SPEAKER_NUMBER.wav in {folder}, found {len(sounds)} sounds and none of these"
        )
    return digits


def aligned_text(path):
    """The words of a .align file."""
    return spoken_text(" ".join(span.label for span in read_align(path) if span.label not in SILENT))


def digit_of(path):
    """A recording of FSDD."""
    digit, speaker, number = FSDD.fullmatch(path.stem).groups()
    return Spoken(str(path), DIGITS[int(digit)], speaker, "test" if int(number) < FSDD_TEST else "")


def read_metadata(path):
    """The rows of a metadata.csv."""
    with open(path, encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file)
        if missing := [name for name in ("path", "text") if name not in (rows.fieldnames or [])]:
            raise ValueError(f"expected the columns path and text in {path}, got none called {missing[0]}")
        found = []
        for row in rows:
            split = (row.get("split") or "").strip()
            if not row["path"] or split not in ("", "train", "valid", "test"):
                raise ValueError(
                    f"expected a path, and train, valid, test or nothing as split in line {rows.line_num} of {path}, "
                    f"got {row['path']!r} and {split!r}"
                )
            text = spoken_text(row["text"] or "")
            found.append(Spoken(str(path.parent / row["path"]), text, (row.get("speaker") or "").strip(), split))
    if not found:
        raise ValueError(f"expected a line for each sound in {path}, got none")
    return found


def split_spoken(rows, valid=0.08, test=0.15):
    """{"train": [Spoken, ...], "valid": ..., "test": ...}: as they are named, the others by a hash of their names.

    Args:
        rows: [Spoken, ...].
        valid, test: shares that are held out where no row is named so.

    Raises:
        ValueError: where a split would be empty.
    """
    order = sorted(rows, key=lambda row: hashlib.sha256(Path(row.path).stem.encode()).digest())
    parts = {name: [row for row in order if row.split == name] for name in ("test", "valid", "train")}
    rest, count = [row for row in order if not row.split], len(order)
    for name, share in (("test", test), ("valid", valid)):
        if not parts[name]:
            held = math.ceil(share * count)
            parts[name], rest = rest[:held], rest[held:]
    parts["train"] += rest
    if empty := [name for name, part in parts.items() if not part]:
        raise ValueError(f"expected sounds to train on, to validate and to test, got none for {empty[0]} of {count}")
    return parts


# --- sounds -------------------------------------------------------------------------------------------------------


def read_sound(path, rate=16000):
    """The sound of a file, of any rate and number of channels, also that of a video.

    Args:
        path: of a file that ffmpeg reads.
        rate: samples a second to make.

    Returns:
        int16 (N,), the mean of the channels.

    Raises:
        ValueError: for a file that is missing, has no sound, is damaged, or is longer than two hours.
    """
    import av

    if not Path(path).is_file():
        raise ValueError(f"expected a file with sound, found nothing at {path}: check the path")
    parts, resampler = [], av.AudioResampler("s16", "mono", rate)
    try:
        with av.open(str(path)) as file:
            if not file.streams.audio:
                raise ValueError(f"expected a file with sound, got {path} without any: give another")
            for frame in itertools.chain(file.decode(file.streams.audio[0]), [None]):  # None: what is left over
                parts += [part.to_ndarray().reshape(-1) for part in resampler.resample(frame)]
                if len(parts) % 1000 == 0 and sum(map(len, parts)) > MOST_SECONDS * rate:
                    raise ValueError(f"expected a sound of less than two hours, got a longer one: cut {path}")
    except av.FFmpegError as error:
        raise ValueError(f"expected a file with sound, got {path}, damaged or no sound ({error.strerror})") from error
    if not sum(map(len, parts)):
        raise ValueError(f"expected a file with sound, got {path} without a sample: record it again")
    return np.concatenate(parts)


def samples(sound):
    """int16 (N,) as float32 from -1 to 1."""
    return sound.astype("float32") / FULL


def cut_at_quiet(sound, most, step=160):
    """A long sound in pieces of at most `most` samples, each cut at the quietest place of the second half before that.

    Args:
        sound: (N,).
        most: samples of a piece.
        step: samples over which it has to be quiet.

    Example:
        >>> [len(part) for part in cut_at_quiet(np.r_[np.ones(70), np.zeros(20), np.ones(60)], 100, 10)]
        [85, 65]
    """
    parts = []
    while len(sound) > most:
        half = np.abs(sound[most // 2 : most].astype("float32"))
        level = half[: len(half) // step * step].reshape(-1, step).sum(axis=1)
        quiet = np.flatnonzero(level == level.min())
        cut = most // 2 + int(quiet[len(quiet) // 2]) * step + step // 2 if len(level) else most
        parts, sound = [*parts, sound[:cut]], sound[cut:]
    return [*parts, sound]


class SoundBatches:
    """Sounds and the ids of their texts as batches of like length, each time said a little faster or slower.

    The batches and the changes of epoch e follow from (seed, e), so a resumed run sees what an unbroken one would have
    seen.

    Args:
        sounds: list of int16 (N,).
        texts: for each the ids of what is said, without BOS and EOS.
        batch_samples: samples in a batch, padding aside, on average.
        written: whether the model writes: its input `target` is BOS + ids, its labels ids + EOS, as of `Bucketed`. Else
            the labels are the ids alone, for CTC.
        tempo: share by which training sounds run faster or slower, and higher or lower, at most.
        join: share of the training sounds after which another is said,
        most: as long as both have no more samples than that.
        seed: of the order and the changes.
        shuffle: False for validation: always the same batches, nothing changed.

    Attributes:
        steps: batches in an epoch.

    Raises:
        ValueError: for no sounds, or not as many as texts.

    Reference: tempo: Ko et al. 2015.

    Example:
        >>> batches = SoundBatches([np.ones(5, "int16"), np.ones(3, "int16")], [[7, 8], [9]], 100, shuffle=False)
        >>> inputs, labels, weights = next(batches.epoch(0))
        >>> inputs["sound"].shape, inputs["length"].tolist(), labels.tolist()
        ((2, 5), [3, 5], [[9, 0], [7, 8]])
    """

    def __init__(
        self, sounds, texts, batch_samples, written=False, tempo=0.0, join=0.0, most=math.inf, seed=0, shuffle=True
    ):  # fmt: skip
        if not len(sounds) or len(sounds) != len(texts):
            raise ValueError(f"expected sounds and as many texts, got {len(sounds)} and {len(texts)}")
        self.sounds, self.texts, self.written, self.tempo, self.join = sounds, texts, written, tempo, join
        self.most, self.seed, self.shuffle = most, seed, shuffle
        self.lengths = np.array([len(sound) for sound in sounds])
        self.steps = min(len(sounds), max(1, round(self.lengths.sum() / batch_samples)))

    def epoch(self, epoch=0):
        """Yields (inputs, labels, weights): {"sound" (B, N), "length" (B,)}, int32 (B, U), float32 (B,) or (B, U)."""
        random = np.random.default_rng((self.seed, epoch))
        noisy = self.lengths * (1 + 0.2 * random.random(len(self.lengths))) if self.shuffle else self.lengths
        order = np.argsort(noisy, kind="stable")
        batches = shares(order, self.lengths, self.steps, few=self.shuffle)
        for i in random.permutation(self.steps) if self.shuffle else range(self.steps):
            inputs, labels, weights = self.batch([self.row(j, random) for j in batches[i]])
            weights[again(batches[i])] = 0
            yield inputs, labels, weights

    def row(self, number, random):
        """A sound and the ids of its text."""
        sound, ids = self.sounds[number], self.texts[number]
        if not self.shuffle:
            return sound, ids
        if random.random() < self.join:
            other = random.integers(len(self.sounds))
            if len(sound) + len(self.sounds[other]) <= self.most:
                sound, ids = np.concatenate([sound, self.sounds[other]]), [*ids, *self.texts[other]]
        return faster(sound, 1 + self.tempo * random.uniform(-1, 1)), ids

    def batch(self, rows):
        sounds, texts = zip(*rows)
        length = np.array([len(sound) for sound in sounds], "int32")
        sound = np.zeros((len(rows), length.max()), "float32")
        for line, each in zip(sound, sounds):
            line[: len(each)] = samples(each)
        inputs, (target, labels, weights) = {"sound": sound, "length": length}, taught(texts)
        if self.written:
            return {**inputs, "target": target}, labels, weights
        labels = np.where(labels == EOS, PAD, labels)[:, : max(labels.shape[1] - 1, 1)]
        return inputs, labels, np.ones(len(rows), "float32")

    def dataset(self, epoch=0):
        """A `tf.data.Dataset` as that of `Bucketed`: endless with `shuffle`, otherwise one epoch long."""
        import tensorflow as tf

        ids = tf.TensorSpec((None, None), tf.int32)
        inputs = {"sound": tf.TensorSpec((None, None), tf.float32), "length": tf.TensorSpec((None,), tf.int32)}
        if self.written:
            inputs["target"] = ids
        weights = tf.TensorSpec((None, None) if self.written else (None,), tf.float32)
        return fed(self, epoch, (inputs, ids, weights))


def faster(sound, speed):
    """A sound int16 (N,) that runs so many times as fast."""
    place = np.arange(0, len(sound) - 1, speed)
    return np.interp(place, np.arange(len(sound)), sound).astype("int16") if len(place) else sound
