"""The data that comes with the apps, and the scripts that made it. Each pack's README.md is its card."""

import functools
import gzip
import hashlib
import json
import pathlib
from typing import NamedTuple

FOLDER = pathlib.Path(__file__).parent


def load_translation(language="fr", folder=FOLDER / "translation"):
    """Pairs of English and another language from the help of LibreOffice, split by page without near copies.

    Args:
        language: One for which there is a pack; `fr` comes with the repository.
        folder: Where the packs lie.

    Returns:
        {"train": [(english, foreign), ...], "valid": [...], "test": [...]}, always in the same order.

    Raises:
        ValueError: if there is no such pack, or the file is not the one that was made.

    Example:
        >>> load_translation("fr")["test"][0]   # doctest: +SKIP
    """
    path, folder = pathlib.Path(folder) / f"en-{language}.tsv.gz", pathlib.Path(folder)
    if not path.exists():
        there = ", ".join(sorted(p.name[3:-7] for p in folder.glob("en-*.tsv.gz"))) or "none"
        raise ValueError(f"no translation pack for {language!r} (there is {there}); make it with "
                         f"`python -m apps.data.build translation --languages {language}`")
    splits = {"train": [], "valid": [], "test": []}
    for line in _lines(path, "translation"):
        name, _, english, foreign = line.split("\t")
        splits[name].append((english, foreign))
    return splits


class Rated(NamedTuple):
    """A text, the mean of its ratings (-4 to 4), and where the text is from."""

    text: str
    rating: float
    domain: str


def load_sentiment(folder=FOLDER / "sentiment"):
    """English sentences with the mean of some twenty ratings each, split without near copies across splits.

    Args:
        folder: Where the pack lies.

    Returns:
        {"train": [Rated, ...], "valid": [...], "test": [...], "imdb": [...], "yelp": [...], "amazon": [...]}, always in
        the same order. The test is of movie snippets; the last three are to test on only, and their rating of 1 or -1
        tells the sign.

    Raises:
        ValueError: if the pack is not there, or the file is not the one that was made.

    Example:
        >>> load_sentiment()["test"][0].rating   # doctest: +SKIP
    """
    splits = {}
    for line in _lines(pathlib.Path(folder) / "sentiment.tsv.gz", "sentiment"):
        name, domain, _, mean, text = line.split("\t")
        splits.setdefault(name, []).append(Rated(text, float(mean), domain))
    return splits


def load_brown(folder=FOLDER / "brown"):
    """English sentences of the Brown corpus with a tag for each word, split by file.

    Args:
        folder: Where the pack lies.

    Returns:
        {"train": [(words, tags), ...], "valid": [...], "test": [...]}, always in the same order, with the tags as published;
        `apps.data.brown_tags` maps them to fewer.

    Raises:
        ValueError: if the pack is not there, or the file is not the one that was made.

    Example:
        >>> load_brown()["test"][0][0][:3]   # doctest: +SKIP
    """
    splits = {}
    for line in _lines(pathlib.Path(folder) / "brown.tsv.gz", "brown"):
        name, _, sentence = line.split("\t")
        words, _, tags = zip(*(pair.rpartition("/") for pair in sentence.split()))
        splits.setdefault(name, []).append((list(words), list(tags)))
    return splits


class Drawn(NamedTuple):
    """Pictures of one split: uint8 (N, 64, 64, 4), the last channel opaque at 255; and of each its name and artist."""

    pictures: object
    names: list
    artists: list


def load_captioning(folder=FOLDER / "captioning"):
    """Emoji with their English names, all pictures of an emoji in one split.

    Args:
        folder: Where the pack lies.

    Returns:
        {"train": Drawn, "valid": Drawn, "test": Drawn}, always in the same order: all of one artist, then all of the
        other.

    Raises:
        ValueError: if the pack is not there, or a file is not the one that was made.

    Example:
        >>> load_captioning()["test"].names[0]   # doctest: +SKIP
    """
    import concurrent.futures

    import numpy as np

    data, _ = _several(pathlib.Path(folder), "captioning")
    rows = [line.split("\t") for line in gzip.decompress(data.pop("emoji.tsv.gz")).decode().splitlines()]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        sheets = dict(zip(data, pool.map(_tiles, data.values())))
    splits = {}
    for name in dict.fromkeys(row[0] for row in rows):
        chosen = [i for i, row in enumerate(rows) if row[0] == name]
        part = slice(chosen[0], chosen[-1] + 1)  # the splits lie one after another
        splits[name] = Drawn(
            np.concatenate([tiles[part] for tiles in sheets.values()]),
            [rows[i][2] for i in chosen] * len(sheets),
            [file.removesuffix(".webp") for file in sheets for _ in chosen],
        )
    return splits


def _several(folder, name):
    """The files of a pack of several, {name: bytes}, and its facts."""
    facts = _facts(folder / f"{name}.json", name)
    return {file: _bytes(folder / file, expected) for file, expected in facts["sha256"].items()}, facts


def _tiles(sheet, size=64, mode="RGBA"):
    """The pictures on a sheet, row by row: uint8 (N, size, size, channels)."""
    import io

    import numpy as np
    from PIL import Image

    pixels = np.asarray(Image.open(io.BytesIO(sheet)).convert(mode))  # (rows * size, columns * size, channels)
    rows, columns = (side // size for side in pixels.shape[:2])
    return pixels.reshape(rows, size, columns, size, -1).swapaxes(1, 2).reshape(rows * columns, size, size, -1)


def load_fashion(folder=FOLDER / "fashion"):
    """Fashion-MNIST, dark on white: clothes in ten classes; the test is the official one.

    Args:
        folder: Where the pack lies.

    Returns:
        {"train": (pictures uint8 (N, 28, 28, 1), classes int32 (N,)), "valid": ..., "test": ...}, always in the same
        order, and the ten names.

    Raises:
        ValueError: if the pack is not there, or a file is not the one that was made.

    Example:
        >>> load_fashion()[1][0]   # doctest: +SKIP
        'T-shirt/top'
    """
    import numpy as np

    data, facts = _several(pathlib.Path(folder), "fashion")
    rows = np.frombuffer(gzip.decompress(data["labels.bin.gz"]), "uint8").reshape(-1, 2)
    parts = {}
    for i, name in enumerate(("train", "valid", "test")):
        labels = rows[rows[:, 0] == i, 1].astype("int32")
        parts[name] = _tiles(data[f"{name}.webp"], 28, "L")[: len(labels)], labels
    return parts, facts["names"]


def load_video(folder=FOLDER / "video"):
    """Handwritten digits, from which `apps.data.moving_digits` draws clips; no picture stands in two splits.

    Args:
        folder: Where the pack lies.

    Returns:
        {"train": (pictures uint8 (N, 28, 28), digits uint8 (N,)), "valid": ..., "test": ...}, always in the same order.

    Raises:
        ValueError: if the pack is not there, or the file is not the one that was made.

    Example:
        >>> load_video()["test"][1][:3]   # doctest: +SKIP
    """
    import numpy as np

    data = _unzipped(pathlib.Path(folder) / "digits.bin.gz", "video")
    rows = np.frombuffer(data, "uint8").reshape(-1, 2 + 28 * 28)
    parts = {name: rows[rows[:, 0] == i] for i, name in enumerate(("train", "valid", "test"))}
    return {name: (part[:, 2:].reshape(-1, 28, 28), part[:, 1]) for name, part in parts.items()}


def load_shakespeare(folder=FOLDER / "shakespeare"):
    """The plays and poems of Shakespeare, whole works held out.

    Args:
        folder: Where the pack lies.

    Returns:
        {"train": [{"name", "text"}, ...], "valid": [...], "test": [...]}, always in the same order.

    Raises:
        ValueError: if the pack is not there, or the file is not the one that was made.

    Example:
        >>> load_shakespeare()["test"][0]["name"]   # doctest: +SKIP
    """
    splits = {"train": [], "valid": [], "test": []}
    for line in _lines(pathlib.Path(folder) / "shakespeare.jsonl.gz", "shakespeare"):
        row = json.loads(line)
        splits[row.pop("split")].append(row)
    return splits


def load_pronunciation(folder=FOLDER / "pronunciation"):
    """English words with their pronunciations, split by word.

    Args:
        folder: Where the pack lies.

    Returns:
        {"train": [(word, [pronunciation, ...]), ...], "valid": [...], "test": [...]}, in the order of the alphabet. A
        pronunciation is phonemes with a space between them; a vowel ends on the digit of its stress.

    Raises:
        ValueError: if the pack is not there, or the file is not the one that was made.

    Example:
        >>> load_pronunciation()["test"][0]   # doctest: +SKIP
    """
    splits = {"train": [], "valid": [], "test": []}
    for line in _lines(pathlib.Path(folder) / "pronunciation.tsv.gz", "pronunciation"):
        name, word, *pronunciations = line.split("\t")
        splits[name].append((word, pronunciations))
    return splits


class Hours(NamedTuple):
    """Hours of one split: times as ISO 8601, and float64 (N,) how many cars came by."""

    times: list
    volumes: object


def load_traffic(folder=FOLDER / "traffic"):
    """Cars an hour on a motorway, split by time; hours that were not counted are not there.

    Args:
        folder: Where the pack lies.

    Returns:
        {"train": Hours, "valid": Hours, "test": Hours}, one after the other in time.

    Raises:
        ValueError: if the pack is not there, or the file is not the one that was made.

    Example:
        >>> load_traffic()["test"].times[0]   # doctest: +SKIP
    """
    import numpy as np

    splits = {}
    for line in _lines(pathlib.Path(folder) / "traffic.tsv.gz", "traffic"):
        name, time, volume = line.split("\t")
        splits.setdefault(name, []).append((time, float(volume)))
    return {name: Hours([t for t, _ in rows], np.array([v for _, v in rows])) for name, rows in splits.items()}


def load_pressure(folder=FOLDER / "pressure"):
    """Arterial pressure with one labelled anomaly.

    Args:
        folder: Where the pack lies.

    Returns:
        (pressure float64 (N,), label int64 (N,) of 0 and 1, how many steps at the beginning are clean and for training).

    Raises:
        ValueError: if the pack is not there, or the file is not the one that was made.

    Example:
        >>> load_pressure()[2]   # doctest: +SKIP
        1200
    """
    import numpy as np

    rows = [line.split("\t") for line in _lines(pathlib.Path(folder) / "pressure.tsv.gz", "pressure")]
    clean = sum(name == "train" for name, *_ in rows)
    return np.array([float(value) for _, value, _ in rows]), np.array([int(label) for *_, label in rows]), clean


def load_speech(rate=16000, folder=FOLDER / "speech"):
    """Spoken prompts with their texts, split by text.

    Args:
        rate: Samples a second to make.
        folder: Where the pack lies.

    Returns:
        [`keras_seq.data.Spoken`, ...] with their splits, in the order of their names, which begin with `prompts:`; and a
        function of such a name that gives its sound, int16 (N,).

    Raises:
        ValueError: if the pack is not there, or a file is not the one that was made; for a name that it has not.

    Example:
        >>> load_speech()[0][0].text   # doctest: +SKIP
    """
    from apps.data import speech_pack
    from keras_seq.data import Spoken

    path = pathlib.Path(folder) / "speech.json"
    sums = _facts(path, "speech")["sha256"]
    text = gzip.decompress(_bytes(path.with_name("speech.tsv.gz"), sums["speech.tsv.gz"])).decode("utf-8")
    rows = {speech_pack.NAME + name: (split, int(begin), int(size), said)
            for split, name, begin, size, said in (line.split("\t") for line in text.splitlines())}  # fmt: skip

    def sound(name):
        if name not in rows:
            raise ValueError(f"expected a prompt such as {next(iter(rows))}, got {name}: see speech.tsv.gz")
        _, begin, size, _ = rows[name]
        whole = _decoded(str(path.with_name("speech.ogg")), sums["speech.ogg"], rate)
        return whole[begin * rate // speech_pack.RATE : (begin + size) * rate // speech_pack.RATE]

    return [Spoken(name, said, "", split) for name, (split, *_, said) in rows.items()], sound


@functools.lru_cache(maxsize=1)
def _decoded(path, checksum, rate):
    """The samples of a sound file whose SHA-256 is the expected one."""
    from keras_seq.data import read_sound

    _bytes(pathlib.Path(path), checksum)
    return read_sound(path, rate)


def _lines(path, name):
    """The lines of a gzipped file of text of the pack of that name."""
    return _unzipped(path, name).decode("utf-8").splitlines()


def _unzipped(path, name):
    """What is in a gzipped file of the pack of that name, which are the bytes that its facts name."""
    facts = _facts(path.with_name(path.name.partition(".")[0] + ".json"), name)
    return gzip.decompress(_bytes(_there(path, name), facts["sha256"]))


def _facts(path, name):
    """The facts of the pack of that name."""
    return json.loads(_there(path, name).read_text(encoding="utf-8"))


def _there(path, name):
    """The path of a file, which is to be there."""
    if not path.exists():
        raise ValueError(f"{path}: no such pack; restore it with git, or make it with `python -m apps.data.build {name}`")
    return path


def _bytes(path, expected):
    """The bytes of a file whose SHA-256 is the expected one."""
    data = path.read_bytes() if path.exists() else b""
    found = hashlib.sha256(data).hexdigest()
    if found != expected:
        raise ValueError(f"{path}: expected SHA-256 {expected[:16]}..., found {found[:16]}...; the file is damaged or "
                         "was changed: restore it with git, or make it anew with `python -m apps.data.build`")
    return data
