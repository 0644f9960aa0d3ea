"""Files that are whole or not there: whatever moment a program is killed at, and however full the disk is.

`commit` writes a set of files as one: all of them under a temporary name, one rename that decides, then each into its
place. A program killed before the rename has changed nothing; one killed after it is finished by the next `recover`.

Example:

    commit("saved_models/demo", {"config.json": to_json({"dim": 64}), "weights.npz": lambda path: save(path)})
"""

import contextlib
import errno
import json
import os
import shutil
import zipfile
from pathlib import Path

WRITING, READY, REMOVED = ".writing", ".ready", ".removed.json"


def to_json(value: object) -> bytes:
    """Returns readable JSON; numpy numbers and arrays are written as plain ones."""
    text = json.dumps(value, indent=2, ensure_ascii=False, default=plain)
    return (text + "\n").encode()


def plain(value: object) -> object:
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"expected plain data (str, number, bool, None, lists and dicts of them), got {type(value)}")


@contextlib.contextmanager
def reading(path: Path):
    """Turns what a damaged file raises while it is read into a ValueError that names it."""
    try:
        yield
    except (FileNotFoundError, PermissionError):
        raise
    except (ValueError, TypeError, LookupError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise damaged(path, error) from error


def damaged(path: Path, error: BaseException) -> ValueError:
    """Returns an error that names a file which could not be read."""
    state = f"is damaged ({error})" if Path(path).exists() else "is missing"
    return ValueError(f"expected a whole file, got {path}, which {state}: bring it back from a copy, or train again")


def read_json(path: Path, *names: str) -> object:
    """Returns what a JSON file holds; a file that lacks one of `names` is a damaged one."""
    with reading(path):
        return having(json.loads(Path(path).read_text(encoding="utf-8")), names)


def having(content: object, names: tuple) -> object:
    """Returns what a file holds; ValueError where it has to be a dict with these names and is not."""
    held = content if isinstance(content, dict) else {}
    if lacking := [name for name in names if name not in held]:
        raise ValueError(f"without {lacking[0]!r}")
    return content


def read_note(checkpoint: Path) -> dict:
    """Returns {"state", "paths", "app", "config", "run"} of a checkpoint, without its variables."""
    return read_checkpoint(checkpoint, "state", "paths", "app", "config", "run")[0]


def read_checkpoint(checkpoint: Path, *names: str, values: bool = False) -> tuple[dict, list]:
    """Returns the note of a checkpoint, which has to hold `names`, and the values of its variables if asked for."""
    import numpy as np

    with reading(checkpoint), open(checkpoint, "rb") as file, np.load(file, allow_pickle=False) as data:
        note = having(json.loads(data["note"].tobytes()), names)
        return note, [data[f"v{i}"] for i in range(len(note["paths"]) if values else 0)]


def commit(folder: Path, files: dict, needed: int = 0) -> None:
    """Writes all files into `folder`, or none.

    Args:
        folder: created where it is missing.
        files: {name: bytes, or a function that writes to the path it is given, or None to remove the file}.
        needed: bytes that must be free before writing begins, where the caller can tell.

    Raises:
        OSError: with errno ENOSPC and a message that says what is free, when the disk is full. Nothing has changed.
    """
    folder = Path(folder)
    recover(folder)
    stage = folder / WRITING
    shutil.rmtree(stage, ignore_errors=True)
    try:
        require(folder, needed)
        stage.mkdir(parents=True)
        for name, content in files.items():
            write(stage / name, content)
        write(stage / REMOVED, to_json([name for name, content in files.items() if content is None]))
        os.rename(stage, folder / READY)  # from here on the new files count
    except BaseException as error:
        shutil.rmtree(stage, ignore_errors=True)
        if is_disk_full(error):
            raise disk_full(folder, needed) from error
        raise
    recover(folder)


def recover(folder: Path) -> None:
    """Finishes a commit whose program was killed between the deciding rename and the last move."""
    folder, ready = Path(folder), Path(folder) / READY
    if not ready.is_dir():
        return
    with contextlib.suppress(FileNotFoundError):  # another process is finishing the same commit
        for name in read_json(ready / REMOVED):
            (folder / name).unlink(missing_ok=True)
        for path in sorted(p for p in ready.rglob("*") if p.is_file() and p.name != REMOVED):
            target = folder / path.relative_to(ready)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, target)
    shutil.rmtree(ready, ignore_errors=True)


class Busy(ValueError):
    """Another program is writing into a folder."""


@contextlib.contextmanager
def alone(folder: Path):
    """Keeps others from writing into a folder meanwhile; a program that is killed keeps nobody out any more.

    Raises:
        Busy: when another program holds it.
    """
    try:
        import fcntl
    except ImportError:  # Windows has no such locks
        yield
        return
    number = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # a disk without locks
            try:
                fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise Busy(
                    f"expected a folder that no other program is writing to, got {folder}: wait for its end, or give "
                    "another --output DIR"
                ) from error
        yield
    finally:
        os.close(number)


def settle(folder: Path) -> None:
    """Recovers, unless the program whose commit it is still runs and does so itself."""
    if (Path(folder) / READY).is_dir():
        with contextlib.suppress(Busy), alone(folder):
            recover(folder)


def write(path: Path, content) -> None:
    """Writes bytes, or calls `content(path)`, and hands the file to the disk."""
    if content is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    if callable(content):
        content(path)
    else:
        path.write_bytes(content)
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def replace_folder(new: Path, folder: Path) -> None:
    """Moves what lies in the folder `new` into `folder`, each entry in one rename, over what was there."""
    for path in sorted(Path(new).iterdir()):
        target = Path(folder) / path.name
        old = target.with_name(f".old.{path.name}")
        shutil.rmtree(old, ignore_errors=True)
        if target.is_dir():  # a folder cannot be renamed over another
            os.rename(target, old)
        os.replace(path, target)
        shutil.rmtree(old, ignore_errors=True)
    shutil.rmtree(new)


def writable(folder: Path) -> None:
    """Writes and removes a probe file.

    Raises:
        ValueError: when files cannot be written in `folder`.
    """
    probe = Path(folder) / f".probe.{os.getpid()}"
    try:
        probe.parent.mkdir(parents=True, exist_ok=True)
        try:
            probe.write_bytes(b"x")
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        if is_disk_full(error):
            raise disk_full(Path(folder), 0) from error
        raise ValueError(
            f"expected a folder to write to, got {folder} ({error.strerror}): make it writable or give --output DIR"
        ) from error


def require(folder: Path, needed: int) -> None:
    """Raises OSError (ENOSPC) unless `needed` bytes are free where `folder` is or will be."""
    if free(folder) < needed:
        raise disk_full(folder, needed)


def free(folder: Path) -> int:
    """Returns the bytes free on the disk where `folder` is or will be."""
    folder = Path(folder).absolute()
    return shutil.disk_usage(next(p for p in (folder, *folder.parents) if p.exists())).free


def is_disk_full(error: BaseException) -> bool:
    """Says whether an error means a full disk; HDF5 hides the number in its text."""
    full = (errno.ENOSPC, errno.EDQUOT)
    return isinstance(error, OSError) and (error.errno in full or f"errno = {errno.ENOSPC}" in str(error))


def disk_full(folder: Path, needed: int) -> OSError:
    """Returns an error that says in one line what is needed, where that is known, and what is free."""
    need = megabytes(needed) if needed else "room"
    text = f"expected {need} free on the disk of {folder}, got {megabytes(free(folder))}: free some space"
    return OSError(errno.ENOSPC, f"{text} (the files from before are whole)")


def megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
