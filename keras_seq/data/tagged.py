"""Sentences with a tag for each word: CoNLL-U, the columns of CoNLL, and BIO files; errors name file and line."""

import pathlib
import re
from typing import NamedTuple

from keras_seq.data.tables import Rows, split_rows
from keras_seq.data.utf8 import decoded

CONLLU = 10  # columns
COLUMNS = {"upos": 3, "xpos": 4}  # of CoNLL-U that hold tags
NAMES = {  # what the files of a split are called: words of their names, in order of preference
    "train": ("train", "training"),
    "valid": ("dev", "valid", "validation", "val", "testa"),
    "test": ("test", "testb"),
}


class Tagged(NamedTuple):
    """A sentence: its words, and a tag for each."""

    words: list
    tags: list


# Files --------------------------------------------------------------------------------------------------------------


def read_tagged(path, column="auto"):
    """Sentences with a tag for each word.

    CoNLL-U has ten columns between tabs; ranges of tokens (`1-2`) and empty nodes (`1.1`) are no tokens. In other files
    each line is a word and its columns, between tabs or between spaces, the word first and the tag last; BIO files are
    such. An empty line ends a sentence. Comments (`# ...`) and `-DOCSTART-` lines are skipped.

    Args:
        path: A file in UTF-8, gzipped or not.
        column: `upos` or `xpos` of CoNLL-U, or the number of a column, from 1; auto: `upos`, or the last column.

    Returns:
        `Rows`, a list of `Tagged` in the order of the file; `rows.where(i)` names the line where sentence i begins.

    Raises:
        ValueError: for a file that is missing, empty or not UTF-8, a line with too few or too many columns, a column
            that is not there, and an empty tag. The message is one line: file, line, what was expected, what to do.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "a.bio"
        >>> _ = path.write_text("Anna\\tB-person\\nslept\\tO\\n\\nRain\\tO\\n", encoding="utf-8")
        >>> read_tagged(path)
        [Tagged(words=['Anna', 'slept'], tags=['B-person', 'O']), Tagged(words=['Rain'], tags=['O'])]
    """
    path = pathlib.Path(path)
    lines = decoded(path).split("\n")
    form, rows, begins, open_ = None, [], [], False
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("-DOCSTART-"):
            open_ = False
            continue
        if form is None and not line.startswith("# "):
            form = Form(path, number, line, column)
        pair = form.pair(number, line) if form else None
        if pair and not open_:
            rows.append(Tagged([], []))
            begins.append(number)
            open_ = True
        if pair:
            for part, new in zip(rows[-1], pair):
                part.append(new)
    if not rows:
        raise ValueError(f"{path}: expected a word and its tag on each line, got none; add some")
    return Rows(rows, begins, path)


class Form:
    """How the lines of a file are to be read, from its first line with a word."""

    def __init__(self, path, number, line, column):
        self.path, self.separator = path, "\t" if "\t" in line.strip() else None
        cells = self.cells(line)
        self.conllu = len(cells) == CONLLU and self.separator == "\t" and re.match(r"\d+[-.\d]*$", cells[0])
        self.width, self.word = len(cells), 1 if self.conllu else 0
        if self.width < 2:
            raise ValueError(f"{path}, line {number}: expected a word and its tag with a tab or a space between, got "
                             f"{line[:40]!r}; each line is a word")
        self.tag = self.place(column)

    def place(self, column):
        """The index of the column that holds the tags."""
        if column == "auto":
            return COLUMNS["upos"] if self.conllu else self.width - 1
        if self.conllu and column in COLUMNS:
            return COLUMNS[column]
        if column.isdecimal() and self.word < int(column) - 1 < self.width:
            return int(column) - 1
        names = "upos, xpos or the number of a column" if self.conllu else "the number of a column"
        raise ValueError(f"{self.path}: expected {names}, from {self.word + 2} to {self.width}, got {column!r}; give "
                         "the one with the tags")

    def cells(self, line):
        return line.rstrip("\n").split(self.separator)

    def pair(self, number, line):
        """The word and the tag of a line; None for one that holds no token."""
        cells = self.cells(line)
        if len(cells) != self.width:
            if line.startswith("#"):
                return None
            raise ValueError(f"{self.path}, line {number}: expected {self.width} columns as in the first line, got "
                             f"{len(cells)}: {line[:40]!r}; complete the line, or put an empty one between sentences")
        if self.conllu and not cells[0].isdecimal():
            return self.no_token(number, cells[0])
        word, tag = cells[self.word].strip(), cells[self.tag].strip()
        if not word or tag in ("", "_"):
            raise ValueError(f"{self.path}, line {number}: expected a word and its tag, got {word!r} and {tag!r}; fill "
                             "the line, or choose another column")
        return word, tag

    def no_token(self, number, index):
        """None for the line of a range of tokens or of an empty node."""
        if not re.fullmatch(r"\d+-\d+|\d+\.\d+", index):
            raise ValueError(f"{self.path}, line {number}: expected the number of a token, got {index[:40]!r}; correct "
                             "it")


def read_parts(path, column="auto", held=2000):
    """The splits of a folder, by the names of its files, or of one file, by a hash of each sentence.

    Args:
        path: A folder with a file to train on and one to test, and one to validate or a tenth of the training
            sentences is taken: `en-train.conllu`, `dev.txt`, `eng.testb`; or a file.
        column: See `read_tagged`.
        held: Sentences held out for each of validation and test where there is no file for them, a tenth at most.

    Returns:
        {"train": [Tagged, ...], "valid": [...], "test": [...]}.

    Raises:
        ValueError: where there is no file for a split, or more than one; and what `read_tagged` raises.
    """
    path = pathlib.Path(path)
    if not path.is_dir():
        rows = read_tagged(path, column)
        return dict(zip(("train", "valid", "test"), parted(rows, held, held)))
    files = {name: named(path, name) for name in NAMES}
    parts = {name: read_tagged(file, column) for name, file in files.items() if file}
    if not files["valid"]:
        parts["train"], parts["valid"], _ = parted(parts["train"], held, 0)
    return parts


def named(folder, split):
    """The one file of a split in a folder; None for validation, which need not be there."""
    files = [file for file in sorted(folder.iterdir()) if file.is_file()]
    for word in NAMES[split]:
        found = [file for file in files if word in re.findall(r"[a-z]+", file.name.lower())]
        if len(found) > 1:
            names = ", ".join(file.name for file in found)
            raise ValueError(f"{folder}: expected one file called {word}, got {names}; move the others elsewhere")
        if found:
            return found[0]
    if split == "valid":
        return None
    names = ", ".join(file.name for file in files)[:120] or "none"
    raise ValueError(f"{folder}: expected a file called {' or '.join(NAMES[split])}, got {names}; name it so, or give "
                     "one file")


def parted(rows, valid, test):
    """Sentences to train, to validate and to test; equal ones are in one split."""
    texts = [(" ".join(row.words),) for row in rows]
    return [[rows[i] for i in part] for part in split_rows(texts, valid, test)]
