"""Makes the pack of clothes for the picture classifier: Fashion-MNIST, its official test as it is.

    python -m apps.data.build fashion
"""

import gzip
import hashlib
import io
import pathlib
import tempfile

import numpy as np

from apps.data import debian, packages
from keras_seq.data import read_labelled_pictures, split_labelled

ABOUT = "70,000 small grey pictures of clothes in ten classes (Fashion-MNIST), MIT"
FOLDER = pathlib.Path(__file__).parent / "fashion"
PACKAGE, VERSION = "dataset-fashion-mnist", "0.0~git20200523.55506a9-1"
CHECKSUM = "39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0"
NAMES = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]
SPLITS = ("train", "valid", "test")
VALID = 0.05  # of the training pictures
QUALITY = 50  # of the WebP of the training pictures: without loss all would be 24 MB
SIDE, COLUMNS = 28, 245


def pictures(package):
    """{split: pictures and labels} of the package's IDX files."""
    with tempfile.TemporaryDirectory() as folder:
        for path, data in debian.files(package, "-ubyte.gz"):
            (pathlib.Path(folder) / pathlib.Path(path).name).write_bytes(data)
        return split_labelled(read_labelled_pictures(folder)[0], valid=VALID)


def sheet(grey, **options):
    """Pictures uint8 (N, 28, 28, 1) in rows of 245 on one sheet, as WebP bytes."""
    from PIL import Image

    rows = -(-len(grey) // COLUMNS)
    whole = np.full((rows * COLUMNS, SIDE, SIDE), 255, "uint8")
    whole[: len(grey)] = grey[..., 0]
    whole = whole.reshape(rows, COLUMNS, SIDE, SIDE).swapaxes(1, 2).reshape(rows * SIDE, COLUMNS * SIDE)
    buffer = io.BytesIO()
    Image.fromarray(whole).save(buffer, "WEBP", method=4, **options)
    return buffer.getvalue()


def add_flags(parser):
    """The flags of `python -m apps.data.build fashion`."""
    packages.add_flags(parser, "the .deb file", "apt-get")


def build(folder=None, out=FOLDER):
    """Writes a sheet of pictures for each split, the labels, the facts and the card into `out`.

    Args:
        folder: Where the .deb file lies; None downloads it with apt-get.
        out: Folder of the pack.

    Raises:
        ValueError: where the package is not to be had, or is another one.
    """
    package = debian.fetch([PACKAGE], VERSION, folder)[PACKAGE]
    if debian.sha256(package) != CHECKSUM:
        raise ValueError(f"{PACKAGE} {VERSION}: expected SHA-256 {CHECKSUM[:16]}..., found "
                         f"{debian.sha256(package)[:16]}...; download it again")
    write(pictures(package), out)


def write(parts, out):
    """Writes the pack of {split: pictures and labels} into `out`."""
    options = {"train": {"quality": QUALITY}, "valid": {"lossless": True}, "test": {"lossless": True}}
    contents = {f"{name}.webp": sheet(parts[name].pictures, **options[name]) for name in SPLITS}
    labels = b"".join(bytes([SPLITS.index(name), label]) for name in SPLITS for label in parts[name].labels.tolist())
    contents["labels.bin.gz"] = gzip.compress(labels, 9, mtime=0)
    facts = {
        "sources": {f"{PACKAGE} {VERSION}": CHECKSUM},
        "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()},
        "bytes": {name: len(content) for name, content in contents.items()},
        "pictures": {name: len(parts[name].labels) for name in SPLITS},
        "names": NAMES,
    }
    packages.write(out, contents, "fashion.json", facts, CARD)
    print(f"fashion: {facts['pictures']}, {sum(facts['bytes'].values()):,} bytes")


CARD = f"""# Fashion pack

Fashion-MNIST: pictures of the clothes of a shop, 28 x 28 pixels, grey, in ten classes. The test is the official one,
10,000 pictures, every pixel as published.

- Source: Debian package `{PACKAGE}` {VERSION}, of https://github.com/zalandoresearch/fashion-mnist
- Copyright 2017 Zalando SE. Licence: [MIT](https://opensource.org/license/mit) (called Expat there). Cite: H. Xiao, K. Rasul
  and R. Vollgraf, Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms, arXiv 1708.07747.
- Made by `python -m apps.data.build fashion` (needs `apt-get`, or the file: `--from DIR`). Another version of Pillow may
  compress to other bytes. `load_fashion()` in `apps/data` reads the pack and checks the SHA-256 of each file, written
  in `fashion.json`.
- Form: a sheet of pictures for each split, in rows of {COLUMNS}; `labels.bin.gz` has two bytes a picture, split (0 train, 1
  valid, 2 test) and class, in the order of the sheets.
- **Changed**: the published pictures are negatives, light on black; here they are dark on white again, as they were
  photographed. The **training** pictures are compressed with loss, as WebP of quality {QUALITY}: a pixel is off by 3 of 255 in the mean.
  Those of validation and test are exact.

With the exact training pictures: install the package, and `python -m apps.vit train --data /usr/share/datasets/fashion-mnist`.

## The splits

The test is the official one. {VALID:.0%} of the official training pictures, by a hash of each, are for validation.

## Facts

"""
