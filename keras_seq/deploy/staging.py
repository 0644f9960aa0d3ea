"""A folder inside a folder, for the files of one export until all are there."""

import os
import pathlib
import shutil


def stage_of(folder):
    """A new folder in `folder` for the files of this process' export; what killed ones have left goes.

    It is on the same disk, so moving a file into place is a rename: the file is the old one or the new one, never half.
    """
    folder = pathlib.Path(folder)
    for path in folder.glob(".export*"):
        if not alive(path.suffix.removeprefix(".")):
            shutil.rmtree(path, ignore_errors=True)
    stage = folder / f".export.{os.getpid()}"
    stage.mkdir(parents=True)
    return stage


def alive(pid):
    """Says whether a process runs, another than this one."""
    try:
        return pid != str(os.getpid()) and os.kill(int(pid), 0) is None
    except PermissionError:  # of another user
        return True
    except (ValueError, OSError):
        return False
