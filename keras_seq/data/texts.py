"""Plain texts, one a line: what a language model learns from."""

import pathlib
import random

from keras_seq.data.tables import Rows, split_rows
from keras_seq.data.utf8 import decoded


def read_texts(path):
    """The lines of a UTF-8 file, gzipped or not, white space put in order; empty ones are left out.

    Args:
        path: A file.

    Returns:
        `Rows`, a list of texts in the order of the file.

    Raises:
        ValueError: for a file that is missing, not UTF-8 or empty.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "a.txt"
        >>> _ = path.write_text("One  line.\\n\\nAnother.\\n", encoding="utf-8")
        >>> read_texts(path)
        ['One line.', 'Another.']
    """
    path = pathlib.Path(path)
    lines = [(number, " ".join(line.split())) for number, line in enumerate(decoded(path).split("\n"), 1)]
    kept = [(number, line) for number, line in lines if line]
    if not kept:
        raise ValueError(f"{path}: expected a text on each line, got none; add some")
    return Rows([line for _, line in kept], [number for number, _ in kept], path)


def split_texts(texts, held):
    """{"train", "valid", "test"} of texts, by a hash of each, `held` for each of the last two."""
    parts = split_rows([(text,) for text in texts], held, held)
    return {name: [texts[i] for i in part] for name, part in zip(("train", "valid", "test"), parts)}


def some(rows, count, seed):
    """`count` of some rows, drawn with a seed; all of them where `count` is 0, or more than there are.

    Example:
        >>> some([1, 2, 3], 0, seed=7), len(some([1, 2, 3], 2, seed=7))
        ([1, 2, 3], 2)
    """
    return random.Random(seed).sample(rows, count) if 0 < count < len(rows) else rows
