"""Pictures and their captions: PNG, JPEG, WebP, GIF, BMP or TIFF, a folder with captions.csv, and COCO's own layout."""

import concurrent.futures
import hashlib
import json
import pathlib
import struct
import tempfile
import warnings
from typing import NamedTuple

import numpy as np

from keras_seq.data.tables import read_rows

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
MAX_PIXELS = 100_000_000
IN_MEMORY = 1_000_000_000  # bytes of pictures; more are kept in a temporary file
WHITE = (255, 255, 255)
PICTURE, CAPTION = ("picture", "image", "file", "filename", "file_name"), ("caption", "text", "name")


class Described(NamedTuple):
    """A picture's path, its captions, and the split that the files name: "train", "valid", "test" or ""."""

    path: str
    captions: list
    split: str = ""


# Pictures -----------------------------------------------------------------------------------------------------------


def read_picture(path, size):
    """One picture as uint8 (size, size, 4), whole and in the middle; what it does not cover is transparent.

    Of an animation the first frame is taken; a camera's note on which way is up is followed.

    Args:
        path: of a PNG, JPEG, WebP, GIF, BMP or TIFF file.
        size: height and width of the result.

    Raises:
        ValueError: for a file that is missing, no such picture, of fractions, damaged, or of over 100 million pixels.
    """
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's notes on size and on odd metadata
            with Image.open(path, formats=FORMATS) as picture:
                check_size(path, picture.size)
                picture.draft("RGB", (2 * size, 2 * size))  # a JPEG is read at a fraction of its size
                if picture.mode in ("F", "LAB"):
                    raise ValueError(f"{path}: expected a picture of whole numbers in grey or RGB, got one of mode "
                                     f"{picture.mode}; convert it")
                return fit(ImageOps.exif_transpose(eight_bits(picture)), size)
    except FileNotFoundError as error:
        raise ValueError(f"{path}: no such file; give the path of a picture") from error
    except Image.UnidentifiedImageError as error:
        raise ValueError(f"{path}: expected a picture (PNG, JPEG, WebP, GIF, BMP or TIFF), got another kind of file; "
                         "convert it to one of these") from error
    except Image.DecompressionBombError as error:
        raise ValueError(too_large(path, "many more")) from error
    except (OSError, SyntaxError, EOFError, IndexError, struct.error) as error:
        reason = getattr(error, "strerror", None) or error or type(error).__name__
        raise ValueError(f"{path}: expected a whole picture, got one that cannot be read ({reason}); open it in an "
                         "image editor and save it again") from error


def check_size(path, size):
    if size[0] * size[1] > MAX_PIXELS:
        raise ValueError(too_large(path, f"{size[0]} x {size[1]}"))


def too_large(path, got):
    return f"{path}: expected a picture of at most {MAX_PIXELS // 10**6} million pixels, got {got}; make it smaller"


def eight_bits(picture):
    """A picture of 16 bits a pixel, which Pillow would cut off at 255, as one of 8."""
    from PIL import Image

    if not picture.mode.startswith("I"):
        return picture
    return Image.fromarray((np.asarray(picture, "float32") / 257).clip(0, 255).astype("uint8"))


def fit(picture, size):
    """A Pillow picture in the middle of a transparent square: uint8 (size, size, 4)."""
    from PIL import Image

    scale = size / max(picture.size)
    width, height = (max(1, round(side * scale)) for side in picture.size)
    if picture.mode == "CMYK":
        picture = picture.convert("RGB")
    picture = picture.convert("RGBA").resize((width, height), Image.Resampling.BICUBIC, reducing_gap=3.0)
    square = Image.new("RGBA", (size, size))
    square.paste(picture, ((size - width) // 2, (size - height) // 2))
    return np.array(square)


def shown(picture, size, background=WHITE):
    """A picture uint8 (P, P, 4) as a model sees it: on a background, float32 (size, size, 3) from 0 to 1.

    A grey one (P, P, 1) is opaque and stays grey: (size, size, 1).

    Example:
        >>> shown(np.zeros((8, 8, 4), "uint8"), 4).shape, float(shown(np.zeros((8, 8, 4), "uint8"), 4).min())
        ((4, 4, 3), 1.0)
    """
    from PIL import Image

    if picture.shape[-1] == 1:
        opaque = np.pad(np.repeat(picture, 3, -1), ((0, 0), (0, 0), (0, 1)), constant_values=255)
        return shown(opaque, size, background)[..., :1]
    if len(picture) != size:
        picture = fit(Image.fromarray(np.asarray(picture, "uint8")), size)
    rgba = np.asarray(picture, "float32") / 255
    alpha = rgba[..., 3:]
    return rgba[..., :3] * alpha + (1 - alpha) * np.asarray(background, "float32") / 255


def drawn_by(content):
    """A number from 0 to 1 that follows from bytes: the same ones are always in the same split."""
    return int.from_bytes(hashlib.sha256(content).digest()[:4]) / 2**32


def grey(image):
    """Colours float (..., 3) as brightness (..., 1), by the weights of ITU-R BT.601.

    Example:
        >>> grey(np.array([[1.0, 0.0, 0.0]])).tolist()
        [[0.299]]
    """
    image = np.asarray(image)
    return image @ np.array([[0.299], [0.587], [0.114]], image.dtype)


def read_pictures(paths, size):
    """Many pictures as uint8 (N, size, size, 4); more than a gigabyte of them lies in a temporary file, not in memory.

    Raises:
        ValueError: as `read_picture`.
    """
    shape = len(paths), size, size, 4
    if np.prod(shape, dtype="int64") > IN_MEMORY:
        with tempfile.TemporaryFile() as file:  # has no name; its room is free again when the array is gone
            pictures = np.memmap(file, "uint8", "w+", shape=shape)
    else:
        pictures = np.empty(shape, "uint8")
    with concurrent.futures.ThreadPoolExecutor() as pool:
        for i, picture in enumerate(pool.map(lambda path: read_picture(path, size), paths)):
            pictures[i] = picture
    return pictures


# Captions -----------------------------------------------------------------------------------------------------------


def read_captions(folder):
    """Pictures and captions of a folder: its captions.csv, or COCO's own JSON files.

    captions.csv has the columns `picture` (a path from the folder) and `caption`; a picture with several captions has
    several rows; a third column `split` may say train, valid or test. COCO: `captions_*.json` in the folder or in its
    `annotations`, and the pictures in folders named as the second part of that name: `captions_val2017.json` and
    `val2017/`. Those of val and test are not trained on.

    Returns:
        list of `Described`, in the order of the files.

    Raises:
        ValueError: for a folder without either, a picture that is not there, and what `read_rows` raises.

    Example:
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> _ = (folder / "cat.png").write_bytes(b"")
        >>> _ = (folder / "captions.csv").write_text("picture,caption\\ncat.png,a cat\\ncat.png,one cat\\n")
        >>> read_captions(folder)[0].captions
        ['a cat', 'one cat']
    """
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder}: expected a folder with pictures and captions.csv, or with COCO's files, got none")
    table = folder / "captions.csv"
    files = sorted([*folder.glob("captions_*.json"), *folder.glob("annotations/captions_*.json")])
    if not table.exists() and not files:
        raise ValueError(f"{folder}: expected captions.csv, or COCO's annotations/captions_*.json, got neither; "
                         "write a captions.csv with the columns picture and caption")
    found = of_table(table) if table.exists() else [row for file in files for row in of_coco(file, folder)]
    if missing := next((row.path for row in found if not pathlib.Path(row.path).exists()), None):
        raise ValueError(f"{missing}: no such picture, but {folder} has a caption for it; add it or delete the caption")
    return found


def of_table(path):
    """The rows of captions.csv, one for each picture."""
    head = path.read_text(encoding="utf-8", errors="replace").partition("\n")[0].lstrip("\ufeff")
    names = {cell.strip().strip('"') for mark in ",;\t|" for cell in head.split(mark)}
    columns = [next((name for name in known if name in names), known[0]) for known in (PICTURE, CAPTION)]
    rows, captions, splits = read_rows(path, [*columns, *(["split"] if "split" in names else [])]), {}, {}
    for i, (file, caption, *split) in enumerate(rows):
        if not file or not caption:
            raise ValueError(f"{rows.where(i)}: expected a picture and a caption, got an empty cell; fill it")
        name = split_named(split[0]) if split else ""
        if splits.setdefault(file, name) != name:
            raise ValueError(f"{rows.where(i)}: expected the split {splits[file]!r} as before for {file}, got {name!r}")
        captions.setdefault(file, []).append(caption)
    return [Described(str(path.parent / file), texts, splits[file]) for file, texts in captions.items()]


def of_coco(path, folder):
    """The pictures of one of COCO's caption files."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        images = {image["id"]: image["file_name"] for image in content["images"]}
        captions = {number: [] for number in images}
        for row in content["annotations"]:
            captions[row["image_id"]].append(" ".join(row["caption"].split()))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: expected COCO's captions ('images' and 'annotations'), got something else "
                         f"({error}); download it again") from error
    name = path.stem.removeprefix("captions_")
    place = next((p for p in (folder / name, folder / "images" / name, folder / "images") if p.is_dir()), folder)
    return [Described(str(place / images[i]), texts, split_named(name)) for i, texts in captions.items() if texts]


def split_named(name):
    """"test" for val2017, "train" for train2017 or training: what is named for validation is the best test there is."""
    name = name.strip().lower()
    if name in ("valid", "validation"):
        return "valid"
    return "test" if name.startswith(("val", "test")) else "train" if name.startswith("train") else ""


def split_captions(rows, valid=0.05, test=0.1):
    """Rows of `read_captions` as {"train", "valid", "test"}: as the files say, the rest by a hash of the file's name.

    Args:
        valid, test: shares to hold out, where no row is named for it.

    Raises:
        ValueError: where a split would be empty.
    """
    named = {row.split for row in rows}
    test = 0 if "test" in named else test
    valid = 0 if "valid" in named else valid
    parts = {"train": [], "valid": [], "test": []}
    for row in rows:
        share = drawn_by(pathlib.Path(row.path).name.encode())
        drawn = "test" if share < test else "valid" if share < test + valid else "train"
        parts[row.split if row.split in ("valid", "test") else drawn].append(row)
    if empty := next((name for name, part in parts.items() if not part), None):
        raise ValueError(f"expected pictures for training, validation and test, got {len(rows)} in all and none for "
                         f"{empty}; add pictures, or a column split to captions.csv")
    return parts
