"""Sentence pairs of the user's own: read with errors that name file and line, and split without leaks."""

import hashlib
import pathlib
import re
import unicodedata
import zipfile
from typing import NamedTuple

from keras_seq.data.utf8 import utf8

MAX_WORDS = 250  # a longer side is no sentence: it is skipped, counted and told
MAX_CHARACTERS = 4000  # the same for scripts that put no spaces between words
ENGLISH = {"en", "eng", "english"}
HEADERS = ENGLISH | {"source", "target", "src", "tgt", "trg", "foreign", "left", "right", "translation", "text",
                     "french", "german", "spanish", "fr", "fra", "de", "deu", "es", "spa"}


class Pairs(list):
    """A list of `(left, right)` texts, with `notes`: sentences that say what was skipped while reading."""

    def __init__(self, pairs=(), notes=()):
        super().__init__(pairs)
        self.notes = list(notes)


class Split(NamedTuple):
    """Three lists of `(left, right)` pairs, and `notes`: sentences that say how they were made."""

    train: list
    valid: list
    test: list
    notes: list


# Reading ------------------------------------------------------------------------------------------------------------


def read_pairs(path, columns=None, further=False):
    """Sentence pairs from a file with tabs, a zip as manythings.org gives it, or a folder with two line-aligned files.

    Lines with an empty side or of more than 250 words are skipped, counted and told in `.notes`.

    Args:
        path: A text file (`left TAB right`, further columns are ignored), a `.zip` with one such file, or a folder with
            two files of equally many lines (`train.en` and `train.fr`; English comes first, else the alphabet decides).
        columns: Which two columns: numbers counted from 0, or names standing in the first line. By default the first
            two; a first line such as `source TAB target` is then taken for a header.
        further: Whether what stands in the columns after them are further right sides, each of a pair of its own.

    Returns:
        A list of `(left, right)` texts in the order of the file, with an attribute `notes` (list of str).

    Raises:
        ValueError: for a file that is missing, empty, not text, has a line without the column, or nothing to use; for
            aligned files of different length. The message is one line: file, line, what was expected, what to do.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "pairs.tsv"
        >>> _ = path.write_text("Go!\\tVa !\\nHi.\\t\\n", encoding="utf-8")
        >>> pairs = read_pairs(path)
        >>> pairs, pairs.notes
        ([('Go!', 'Va !')], ['skipped 1 line with an empty side (first: line 2)'])
    """
    path = pathlib.Path(path)
    if path.is_dir():
        if columns is not None:
            raise ValueError(f"{path}: expected one file for columns={columns!r}, found a folder; leave columns out")
        return _usable(path, _aligned(path))
    if not path.exists():
        raise ValueError(f"{path}: no such file or folder; give a .tsv, a .zip or a folder with two line-aligned files")
    name, data = _unzip(path) if zipfile.is_zipfile(path) else (path, _bytes(path))
    return _usable(name, _cells(name, _lines(name, data), columns, further))


def _bytes(path):
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error


def _unzip(path):
    """The name and the bytes of the one text file in a zip, beside notices such as `_about.txt`."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if _is_text(name)]
            if len(names) != 1:
                raise ValueError(f"{path}: expected one .txt or .tsv file inside the zip, found "
                                 f"{', '.join(names) or 'none'}; unpack it and give the file itself")
            return f"{path}/{names[0]}", archive.read(names[0])
    except (zipfile.BadZipFile, RuntimeError, OSError) as error:  # RuntimeError: a password is needed
        raise ValueError(f"{path}: the zip cannot be read ({error}); download it again or unpack it") from error


def _is_text(name):
    base = name.rsplit("/", 1)[-1]
    return base.lower().endswith((".txt", ".tsv")) and not base.startswith(("_", ".")) and "__MACOSX" not in name


def _lines(path, data):
    """The lines of UTF-8 bytes; only a line feed ends a line, so that numbers agree with every editor."""
    if not data.strip():
        raise ValueError(f"{path}: the file is empty; expected one sentence pair a line")
    return utf8(path, data).removesuffix("\n").replace("\r\n", "\n").split("\n")


def _cells(path, lines, columns, further):
    """Yields (line number, left, right) from lines with tabs."""
    head = [cell.strip() for cell in lines[0].split("\t")]
    named = columns is not None and any(isinstance(column, str) for column in columns)
    left, right = _numbers(path, head, (0, 1) if columns is None else columns)
    header = named or (len(head) > max(left, right) and {head[left].lower(), head[right].lower()} <= HEADERS)
    for number, line in enumerate(lines[header:], start=1 + header):
        if not line.strip():
            continue
        cells = line.split("\t")
        if len(cells) <= (last := max(left, right)):
            raise ValueError(f"{path}, line {number}: expected at least {last + 1} columns with a TAB between them, "
                             f"found {len(cells)}: {line[:40]!r}; add the missing column or delete the line")
        for cell in [cells[right], *filter(str.strip, cells[last + 1 :] if further else [])]:
            yield number, cells[left], cell


def _numbers(path, head, columns):
    """Column names, or numbers, as two numbers from 0."""
    if len(columns) != 2:
        raise ValueError(f"columns: expected two names or numbers such as (0, 1), got {columns!r}")
    for column in columns:
        if isinstance(column, str) and column not in head:
            raise ValueError(f"{path}, line 1: expected a header with the column {column!r}, found "
                             f"{', '.join(head)[:80]!r}; correct the name or give the column's number from 0")
        if not isinstance(column, str) and column < 0:
            raise ValueError(f"columns: expected numbers from 0, got {columns!r}")
    return [head.index(column) if isinstance(column, str) else column for column in columns]


def _aligned(folder):
    """Yields (line number, left, right) from two files whose lines belong together."""
    paths = _two_files(folder)
    left, right = [_lines(path, _bytes(path)) for path in paths]
    if len(left) != len(right):
        short, count = min(zip(paths, (len(left), len(right)), strict=True), key=lambda item: item[1])
        raise ValueError(f"{short}, line {count}: the file ends here, but {paths[0].name} has {len(left)} lines and "
                         f"{paths[1].name} has {len(right)}; line n of one must translate line n of the other")
    return zip(range(1, len(left) + 1), left, right, strict=True)


def _two_files(folder):
    """The two files of a folder; of several sets (train, valid, test) the one called train. English comes first."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith((".", "_")))
    if len(files) > 2:
        files = [path for path in files if path.name.startswith("train")]
    if len(files) != 2:
        names = ", ".join(sorted(path.name for path in folder.iterdir()))[:80] or "nothing"
        raise ValueError(f"{folder}: expected two line-aligned files such as train.en and train.fr, found {names}; "
                         "keep just the two in the folder")
    return sorted(files, key=lambda path: _language(path.name) not in ENGLISH)


def _language(name):
    """`en` for train.en, set.en-fr.en, train-en.txt: the last word of a file's name."""
    return re.split(r"[._-]", name.lower().removesuffix(".txt"))[-1]


def _usable(path, numbered):
    """Drops what cannot be learned from, counting it."""
    pairs, empty, long = Pairs(), [], []
    for number, *sides in numbered:
        sides = tuple(" ".join(side.split()) for side in sides)
        if not all(sides):
            empty.append(number)
        elif any(len(side) > MAX_CHARACTERS or side.count(" ") >= MAX_WORDS for side in sides):
            long.append(number)
        else:
            pairs.append(sides)
    for numbers, reason in (empty, "with an empty side"), (long, f"of more than {MAX_WORDS} words"):
        if numbers:
            pairs.notes.append(f"skipped {_count(numbers, 'line')} {reason} (first: line {numbers[0]})")
    if not pairs:
        raise ValueError(f"{path}: expected sentence pairs, one a line, found none to use"
                         f" ({'; '.join(pairs.notes) or 'no lines'}); see that each line is left TAB right")
    return pairs


def _count(items, noun):
    return f"{len(items):,} {noun}{'s' if len(items) != 1 else ''}"


# Splitting ----------------------------------------------------------------------------------------------------------


class _Letters(dict):
    """A table for str.translate that keeps letters and their marks, and turns all else into a space."""

    def __missing__(self, code):
        character = chr(code)
        self[code] = character if unicodedata.category(character)[0] in "LM" else " "
        return self[code]


_LETTERS = _Letters()


def fold(text):
    """`text` without case, digits and punctuation: what near copies have in common.

    Example:
        >>> fold("Tom's 3 cats!") == fold("TOM S CATS")
        True
    """
    folded = text.casefold()
    return " ".join(folded.translate(_LETTERS).split()) or folded


def split_pairs(pairs, valid=1000, test=1000, seed=0):
    """Splits pairs so that nothing held out is seen in training, in either direction of translation.

    All translations of one left sentence, and of its near copies (equal after `fold`), go to one split, chosen by a
    hash of the sentence and the seed: the same sentence lands in the same place whatever else is in the file. A pair
    whose right side (folded) stands in the test is dropped from training and validation, and likewise for validation.

    Args:
        pairs: List of `(left, right)` texts, English on the left where there is English.
        valid: How many distinct left sentences to hold out for validation; at most a tenth of them are.
        test: The same for the test.
        seed: Another seed, another split.

    Returns:
        A `Split` of three lists of pairs, and notes to print.

    Raises:
        ValueError: for fewer than 20 distinct left sentences, and where what is dropped leaves a split empty.
    """
    groups = {}
    for left, right in dict.fromkeys(pairs):
        groups.setdefault(fold(left), []).append((left, right))
    if len(groups) < 20:
        raise ValueError(f"expected at least 20 different sentences to train, validate and test on, got {len(groups)}; "
                         "add more pairs")
    order = by_hash(groups, seed)
    tested, order = _take(groups, order, min(test, len(groups) // 10))
    validated, order = _take(groups, order, min(valid, len(groups) // 10))
    validated, clash = _without(validated, tested)
    trained, clashes = _without([pair for key in order for pair in groups[key]], tested + validated)
    if not trained or (valid and not validated):
        raise ValueError(f"expected pairs to {'validate' if trained else 'train'} on, got none: the right side of each "
                         "is that of a held-out pair too; add pairs with other right sides")
    return Split(trained, validated, tested, _split_notes(pairs, trained, validated, tested, clash + clashes))


def by_hash(texts, seed):
    """Texts in the order of a hash of each and the seed."""
    return sorted(texts, key=lambda text: hashlib.blake2b(f"{seed} {text}".encode(), digest_size=8).digest())


def _take(groups, order, wanted):
    """Whole groups from the front until `wanted` distinct left sentences are there; and the keys left over."""
    taken, sentences, index = [], 0, 0
    while sentences < wanted:
        taken += groups[order[index]]
        sentences += len({left for left, _ in groups[order[index]]})
        index += 1
    return taken, order[index:]


def _without(pairs, held):
    """The pairs whose right side is no near copy of a held-out one, and how many were dropped."""
    seen = {fold(right) for _, right in held}
    kept = [pair for pair in pairs if fold(pair[1]) not in seen]
    return kept, len(pairs) - len(kept)


def _split_notes(pairs, train, valid, test, dropped):
    parts = [f"{len(part):,} pairs ({len({left for left, _ in part}):,} sentences) to {verb}"
             for part, verb in ((train, "train"), (valid, "validate"), (test, "test"))]
    notes = [", ".join(parts)]
    if len(pairs) > (distinct := len(set(pairs))):
        notes.append(f"dropped {len(pairs) - distinct:,} pairs that occur twice")
    if dropped:
        notes.append(f"dropped {dropped:,} pairs whose right side is held out with another left side")
    return notes


def references(pairs, reverse=False):
    """What BLEU needs: for each distinct input all its translations, `[(source, [reference, ...]), ...]`.

    Args:
        pairs: List of `(left, right)` texts.
        reverse: Translate from right to left.

    Example:
        >>> references([("Hi.", "Salut !"), ("Hello.", "Salut !")], reverse=True)
        [('Salut !', ['Hi.', 'Hello.'])]
    """
    found = {}
    for pair in pairs:
        source, target = reversed(pair) if reverse else pair
        found.setdefault(source, []).append(target)
    return list(found.items())
