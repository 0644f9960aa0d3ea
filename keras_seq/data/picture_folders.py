"""Pictures and their classes: a folder with one of pictures for each class, or the IDX files of MNIST and its kin."""

import gzip
import math
import pathlib
from typing import NamedTuple

import numpy as np

from keras_seq.data.images import drawn_by

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")
KINDS = "PNG, JPEG, WebP, GIF, BMP, TIFF"
SPLITS = ("train", "valid", "test")
IDX_IMAGES = "*images*idx3-ubyte*"


class Seen(NamedTuple):
    """Pictures of one split, paths or uint8 (N, P, P, 1), and int32 (N,) the number of the class of each."""

    pictures: object
    labels: np.ndarray


def read_labelled_pictures(folder):
    """The pictures of a folder with a folder for each class, or with IDX files, as the files split them.

    Folders of classes may lie in folders `train`, `val` (or `valid`, `validation`) and `test`; hidden files and files
    of other kinds are passed over, of which `other_files` tells how many. Of IDX files those called `train-...` are to
    train, `t10k-...` or `test-...` to test; they hold negatives, light on black, which are turned to dark on white.

    Returns:
        {split: Seen} with a split "" where the files name none, and the names of the classes in order: of folders their
        names, of IDX files "0", "1", ...

    Raises:
        ValueError: for a folder without pictures of at least two classes, a class of which all files are of other kinds
            or that training does not have, and what `read_idx` raises.

    Example:
        >>> import tempfile
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> for name in ("cat/1.png", "cat/2.png", "dog/1.jpg"):
        ...     (folder / name).parent.mkdir(exist_ok=True)
        ...     _ = (folder / name).write_bytes(b"")
        >>> parts, names = read_labelled_pictures(folder)
        >>> names, parts[""].labels.tolist()
        (['cat', 'dog'], [0, 0, 1])
    """
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder}: expected a folder with a folder of pictures for each class, or with IDX files, "
                         "got none; check the path")
    return of_idx(folder) if any(folder.glob(IDX_IMAGES)) else of_folders(folder)


def of_folders(folder):
    """{split: Seen} and the names of the classes."""
    files = files_of(folder)
    found = [row for row in files if is_picture(row[2])]
    if bare := {row[:2] for row in files} - {row[:2] for row in found}:
        split, name = min(bare)
        odd = [path.name for *row, path in files if row == [split, name]]
        raise ValueError(f"{folder}: expected pictures ({KINDS}) of each class, got none of {name!r} in "
                         f"{split or 'the folder'} but {', '.join(odd)[:80]}; convert them, or take {name!r} away")
    names = sorted({name for split, name, _ in found if split in ("", "train")})
    if len(names) < 2:
        raise ValueError(f"{folder}: expected folders of pictures ({KINDS}) for at least 2 classes, got "
                         f"{len(names)}; make a folder for each class and put its pictures there")
    if odd := next((row for row in found if row[1] not in names), None):
        raise ValueError(f"{odd[2]}: expected a class that training has too, got {odd[1]!r}; there is "
                         f"{', '.join(names)[:120]}")
    place = {name: i for i, name in enumerate(names)}
    rows = {split: [(str(path), place[name]) for s, name, path in found if s == split] for split in ("", *SPLITS)}
    return {split: Seen([path for path, _ in part], np.array([i for _, i in part], "int32"))
            for split, part in rows.items() if part}, names  # fmt: skip


def split_name(path):
    """The split that a folder is named for, or "": `val` is for validation here, where there may be a test as well."""
    name = path.name.lower()
    return {"val": "valid", "valid": "valid", "validation": "valid", "train": "train", "training": "train",
            "test": "test", "testing": "test"}.get(name, "")  # fmt: skip


def files_of(folder):
    """[(split, class, path)] of the files in the folders of classes, hidden ones left out."""
    named = {path: name for path in sorted(folder.iterdir()) if path.is_dir() and (name := split_name(path))}
    return [(split, path.name, file)
            for part, split in (named if "train" in named.values() else {folder: ""}).items()
            for path in sorted(part.iterdir()) if path.is_dir() and not path.name.startswith(".")
            for file in sorted(path.rglob("*")) if file.is_file() and not file.name.startswith(".")]  # fmt: skip


def is_picture(path):
    return path.suffix.lower() in ENDINGS


def other_files(folder):
    """How many files in the folders of classes are passed over, for they are no pictures that can be read."""
    return sum(not is_picture(path) for *_, path in files_of(pathlib.Path(folder)))


# IDX ----------------------------------------------------------------------------------------------------------------


def of_idx(folder):
    """{split: Seen} and the names of the classes, which are numbers."""
    parts = {}
    for images in sorted(folder.glob(IDX_IMAGES)):
        labels = images.with_name(images.name.replace("images", "labels").replace("idx3", "idx1"))
        if not labels.exists():
            raise ValueError(f"{labels}: no such file, but {images.name} is there; download both")
        pictures, numbers = 255 - read_idx(images), read_idx(labels).astype("int32")
        if pictures.ndim != 3 or pictures.shape[1] != pictures.shape[2] or numbers.shape != pictures.shape[:1]:
            raise ValueError(f"{images}: expected square pictures and as many labels, got {pictures.shape} and "
                             f"{numbers.shape}; download both files again")
        parts["train" if images.name.startswith("train") else "test"] = Seen(pictures[..., None], numbers)
    if "train" not in parts:
        raise ValueError(f"{folder}: expected train-images-idx3-ubyte (or .gz) and its labels, got none to train on; "
                         "download them")
    return parts, [str(i) for i in range(1 + max(int(part.labels.max()) for part in parts.values()))]


def read_idx(path):
    """The numbers of an IDX file of bytes, gzipped or not: uint8 of the shape that it states.

    Raises:
        ValueError: for a file that is none, or cut off.

    Reference: LeCun et al. 1998, in whose format MNIST is handed out.
    """
    data = pathlib.Path(path).read_bytes()
    try:
        data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    except (OSError, EOFError) as error:
        raise ValueError(f"{path}: expected a whole gzip file, got less ({error}); download it again") from error
    count = data[3] if len(data) > 3 else 0
    shape = tuple(np.frombuffer(data[4 : 4 + 4 * count], ">u4").astype(int).tolist())
    content = data[4 + 4 * count :]
    if data[:3] != b"\0\0\x08" or len(shape) != count or len(content) != np.prod(shape):
        raise ValueError(f"{path}: expected an IDX file of bytes, got another or a part of one ({len(data):,} bytes); "
                         "download it again")
    return np.frombuffer(content, "uint8").reshape(shape)


# Splitting ----------------------------------------------------------------------------------------------------------


def split_labelled(parts, valid=0.05, test=0.1):
    """{"train", "valid", "test"} of what `read_labelled_pictures` found: what is missing is held out by a hash.

    The hash is of a picture's bytes, or of its path's last two parts: the same pictures give the same splits. Where
    pictures are so few that none is drawn for a split, those whose hash comes first are held out. Where files name
    validation but no test, as ImageNet's do, validation is the test.

    Args:
        valid, test: shares of the training pictures to hold out where no files are named for it.

    Raises:
        ValueError: where a split would be empty.
    """
    rest = parts.get("train", parts.get(""))
    found = {name: parts[name] for name in ("valid", "test") if name in parts}
    if "test" not in found and "valid" in found:
        found = {"test": found["valid"]}
    test, valid = 0 if "test" in found else test, 0 if "valid" in found else valid
    places = np.array([share(picture) for picture in rest.pictures])
    drawn = between(places, test, test + valid)
    if not all(drawn[name].any() for name in SPLITS if name not in found):
        first, order = math.ceil(test * len(places)), np.sort(places)
        second = first + math.ceil(valid * len(places))
        drawn = between(places, order[first], order[second]) if second < len(places) else drawn
    whole = {name: found.get(name) or taken(rest, drawn[name]) for name in SPLITS}
    if empty := next((name for name in SPLITS if not len(whole[name].labels)), None):
        raise ValueError(f"expected pictures for training, validation and test, got {len(rest.labels)} in all and none "
                         f"for {empty}; add pictures, or folders train, val and test")
    return whole


def between(places, first, second):
    """Which pictures are in each split, by two borders of their places."""
    return {"test": places < first, "valid": (places >= first) & (places < second), "train": places >= second}


def taken(part, keep):
    """Some pictures of a split."""
    if isinstance(part.pictures, np.ndarray):
        return Seen(part.pictures[keep], part.labels[keep])
    return Seen([path for path, kept in zip(part.pictures, keep) if kept], part.labels[keep])


def share(picture):
    """A number from 0 to 1 that follows from a picture, or from its path."""
    path = "" if isinstance(picture, np.ndarray) else "/".join(pathlib.Path(picture).parts[-2:])
    return drawn_by(path.encode() or picture.tobytes())
