"""Plain text of the user's own: files read with errors that name file and line, and a part held out."""

import pathlib

from keras_seq.data.utf8 import decoded


def read_documents(path):
    """A text file, or all .txt files of a folder and its folders, in the order of their names.

    Args:
        path: A file in UTF-8, or a folder.

    Returns:
        List of (name, text).

    Raises:
        ValueError: for a path that is missing, a folder without .txt files, a file that is empty or not UTF-8.

    Example:
        >>> import pathlib, tempfile
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> _ = (folder / "b.txt").write_text("Go!"), (folder / "a.txt").write_text("To be")
        >>> read_documents(folder)
        [('a.txt', 'To be'), ('b.txt', 'Go!')]
    """
    path = pathlib.Path(path)
    if not path.is_dir():
        return [(path.name, full(path))]
    files = sorted(each for each in path.rglob("*.txt") if each.is_file())
    if not files:
        raise ValueError(f"{path}: expected .txt files, found none; give the file itself, or a folder with some")
    return [(str(each.relative_to(path)), full(each)) for each in files]


def full(path):
    """The text of a file that has some."""
    text = decoded(path)
    if not text.strip():
        raise ValueError(f"{path}: expected text, got an empty file; fill or delete it")
    return text


def hold_out(text, share=0.1):
    """The text without its last part, and that part: no character is in both.

    Example:
        >>> hold_out("0123456789")
        ('012345678', '9')
    """
    cut = int(len(text) * (1 - share))
    return text[:cut], text[cut:]
