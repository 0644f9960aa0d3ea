"""Rows of the user's own: CSV, TSV and JSONL with named columns; errors name file and line."""

import csv
import io
import json
import pathlib
import re

from keras_seq.data.pairs import by_hash, fold
from keras_seq.data.utf8 import decoded

FORMATS = {".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
SEPARATORS = ",;\t|"
LONGEST = 10_000_000  # characters of one cell


class Rows(list):
    """A list of tuples of texts, a cell for each column asked for, and `lines`: where in the file each row begins."""

    def __init__(self, rows, lines, path):
        super().__init__(rows)
        self.lines, self.path = list(lines), path

    def where(self, index):
        """`reviews.csv, line 7`, for a message about a row."""
        return f"{self.path}, line {self.lines[index]}"


# Reading ------------------------------------------------------------------------------------------------------------


def read_rows(path, columns):
    """Some columns of a table, by their names.

    CSV follows RFC 4180 with a comma, semicolon, tab or bar between the cells; a cell in quotes may have line breaks.
    TSV has no quotes: each line is a row. JSONL has an object on each line. White space around a cell goes. Blank lines
    are skipped.

    Args:
        path: A .csv, .tsv, .jsonl or .ndjson file in UTF-8. The first line of CSV and TSV names the columns.
        columns: Names of columns.

    Returns:
        `Rows`, a list of tuples of texts, in the order of the file; `rows.where(i)` names the line of row i.

    Raises:
        ValueError: for a file that is missing, empty, not UTF-8 or of another kind, a column that is not there, and a
            row with too few or too many cells. The message is one line: file, line, what was expected, what to do.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "reviews.csv"
        >>> _ = path.write_text('id,text,label\\n1,"Good, cheap",yes\\n', encoding="utf-8")
        >>> read_rows(path, ["text", "label"])
        [('Good, cheap', 'yes')]
    """
    path, form = pathlib.Path(path), form_of(path)
    text = decoded(path)
    picked, numbers, rows = (by_key if form == "jsonl" else by_place), [], []
    for number, cells in picked(path, RECORDS[form](path, text), list(columns)):
        numbers.append(number)
        rows.append(tuple(" ".join(cell.split()) for cell in cells))
    if not rows:
        raise ValueError(f"{path}: expected rows below the names of the columns, got none; add some")
    return Rows(rows, numbers, path)


def read_columns(path):
    """The names of a table's columns.

    Raises:
        ValueError: as `read_rows` does.
    """
    path, form = pathlib.Path(path), form_of(path)
    _, head = next(RECORDS[form](path, decoded(path)), (1, []))
    return [name.strip() for name in head]


def form_of(path):
    """What a table is written in, by the ending of its file: csv, tsv or jsonl."""
    ending = pathlib.Path(path).suffix
    if ending.lower() not in FORMATS:
        raise ValueError(f"{path}: expected a file that ends on {', '.join(FORMATS)}, got {ending or 'no ending'!r}; "
                         "rename or convert it")
    return FORMATS[ending.lower()]


def of_csv(path, text):
    """Yields (line number, cells) of a CSV text, the names of the columns first."""
    first = re.sub(r'"[^"]*"', "", text.lstrip("\n").partition("\n")[0])  # without names in quotes
    separator = max(SEPARATORS, key=first.count)
    limit = csv.field_size_limit(LONGEST)
    try:
        reader, begins = csv.reader(io.StringIO(text), delimiter=separator, strict=True), 1
        for cells in reader:
            if cells:
                yield begins, cells
            begins = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(f"{path}, line {begins}: expected cells with {separator!r} between them, got a row that "
                         f"cannot be read ({error}); close quotes, and double them inside a cell") from error
    finally:
        csv.field_size_limit(limit)


def of_tsv(path, text):
    """Yields (line number, cells) of a TSV text, the names of the columns first."""
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield number, line.split("\t")


def by_place(path, records, columns):
    """Yields (line number, cells of the columns) of records of which the first names the columns."""
    number, head = next(records, (1, []))
    picked = indices(path, number, head, columns)
    for number, cells in records:
        yield number, pick(path, number, cells, head, picked)


def indices(path, number, head, columns):
    """Where among the names of the columns some stand."""
    head = [name.strip() for name in head]
    for column in columns:
        if head.count(column) != 1:
            problem = "no such column" if column not in head else f"{head.count(column)} of that name"
            raise ValueError(f"{path}, line {number}: expected the column {column!r}, got {problem}; the columns are "
                             f"{', '.join(head)[:120] or 'none'}")
    return [head.index(column) for column in columns]


def pick(path, number, cells, head, picked):
    """Some cells of a row, which has to have as many as the first line."""
    if len(cells) != len(head):
        cure = "complete the row" if len(cells) < len(head) else "put a cell with separators in it in quotes"
        raise ValueError(f"{path}, line {number}: expected {len(head)} cells as in the first line, got {len(cells)}; "
                         f"{cure}, or delete the row")
    return [cells[i] for i in picked]


def of_jsonl(path, text):
    """Yields (line number, {key: value}) of a text with a JSON object on each line."""
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield number, parsed(path, number, line)


def by_key(path, records, columns):
    """Yields (line number, values of the columns) of records that name them all."""
    for number, row in records:
        yield number, [cell(path, number, row, column) for column in columns]


RECORDS = {"csv": of_csv, "tsv": of_tsv, "jsonl": of_jsonl}


def parsed(path, number, line):
    try:
        row = json.loads(line)
    except ValueError as error:
        raise ValueError(f"{path}, line {number}: expected a JSON object, got {line[:40]!r} ({error}); each line is an "
                         "object of its own") from error
    if not isinstance(row, dict):
        raise ValueError(f"{path}, line {number}: expected a JSON object, got {line[:40]!r}; each line is an object of "
                         "its own")
    return row


def cell(path, number, row, column):
    """A value as text; true and false stay as JSON writes them."""
    if column not in row:
        raise ValueError(f"{path}, line {number}: expected the key {column!r}, got "
                         f"{', '.join(row)[:120] or 'none'}; correct the name or the line")
    value = row[column]
    if value is None or isinstance(value, (dict, list)):
        raise ValueError(f"{path}, line {number}: expected a text or a number as {column!r}, got "
                         f"{json.dumps(value)[:40]}; fill it or delete the line")
    return value if isinstance(value, str) else json.dumps(value)


# Splitting ----------------------------------------------------------------------------------------------------------


def split_rows(rows, valid=1000, test=1000, seed=0):
    """Splits rows by their first cell, a text: texts that are equal after `fold` go to one split.

    The place of a text is chosen by a hash of it and the seed. One that makes up more than a fifth of the rows is to
    train, for a part that is held out would be hardly more than it.

    Args:
        rows: List of tuples, each with a text first.
        valid, test: How many rows to hold out for each; at most a tenth of them are.
        seed: Another seed, another split.

    Returns:
        Three lists of indices of rows: to train, to validate, to test.

    Raises:
        ValueError: for fewer than 20 different texts, or where each makes up more than a fifth of all that are rarer.
    """
    groups = {}
    for index, (text, *_) in enumerate(rows):
        groups.setdefault(fold(text), []).append(index)
    if len(groups) < 20:
        raise ValueError("expected at least 20 texts to train, validate and test on that differ in more than case, "
                         f"digits and punctuation, got {len(groups)}; add more rows")
    train, left = [], len(rows)
    for key in sorted(groups, key=lambda key: -len(groups[key])):
        if 5 * len(groups[key]) <= left:
            break
        left -= len(groups[key])
        train += groups.pop(key)
    if not groups:
        raise ValueError("expected texts to validate and test on, got some so often that nothing is left beside them; "
                         f"leave out what repeats of the {len(rows)} rows")
    order = by_hash(groups, seed)
    parts = []
    for wanted in (test, valid):
        part = []
        while len(part) < min(wanted, max(left // 10, 1)):
            part += groups[order.pop(0)]
        parts.append(sorted(part))
    return sorted([*train, *(index for key in order for index in groups[key])]), parts[1], parts[0]
