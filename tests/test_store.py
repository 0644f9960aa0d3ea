"""Files are whole or not there, at whatever moment the program is killed and however full the disk is."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from keras_seq.training import store

ROOT = Path(__file__).parents[1]
OLD = {"a.json": b"old a", "deep/b.bin": b"old b", "stale.txt": b"old c"}
NEW = {"a.json": b"new a", "deep/b.bin": b"new b", "d.bin": b"new d"}
KILLED = """
import os, sys
from keras_seq.training import store

def killed_at(name, count=[0]):
    real = getattr(store.os, name)
    def call(*args, **keywords):
        count[0] += 1
        if count[0] == int(sys.argv[2]):
            os._exit(9)
        return real(*args, **keywords)
    setattr(store.os, name, call)

for name in ("rename", "replace", "fsync"):
    killed_at(name)
files = {"a.json": b"new a", "deep/b.bin": b"new b", "d.bin": lambda path: path.write_bytes(b"new d")}
store.commit(sys.argv[1], {**files, "stale.txt": None})
"""


def contents(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()}


def filled(folder):
    store.commit(folder, OLD)
    return folder


def test_a_commit_writes_replaces_and_removes(tmp_path):
    store.commit(filled(tmp_path), {**NEW, "stale.txt": None})
    assert contents(tmp_path) == NEW


@pytest.mark.parametrize("moment", range(1, 10))
def test_a_commit_killed_at_any_call_is_old_or_new_as_a_whole(moment, tmp_path):
    filled(tmp_path)
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), str(moment)], cwd=ROOT, env=env)
    store.recover(tmp_path)
    found = {name: content for name, content in contents(tmp_path).items() if not name.startswith(".writing")}
    decided = 5  # four files handed to the disk, then the rename that decides
    assert done.returncode == (9 if moment <= decided + 3 else 0)
    assert found == (OLD if moment <= decided else NEW)
    store.commit(tmp_path, {**NEW, "stale.txt": None})  # what the killed one left is cleared away
    assert contents(tmp_path) == NEW


@pytest.mark.parametrize("text", ["No space left on device", "Can't write data (errno = 28, error message = 'full')"])
def test_a_full_disk_leaves_the_old_files_and_says_what_is_free(text, tmp_path):
    def full(path):
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, text) if text.startswith("No") else OSError(text)

    filled(tmp_path)
    with pytest.raises(OSError, match="free some space") as caught:
        store.commit(tmp_path, {"a.json": b"new a", "d.bin": full}, needed=7)
    assert caught.value.errno == errno.ENOSPC
    assert store.is_disk_full(caught.value)
    assert contents(tmp_path) == OLD


def test_too_little_room_is_known_before_anything_is_written(tmp_path):
    with pytest.raises(OSError, match="expected 1,000,000,000.0 MB free on the disk"):
        store.commit(tmp_path / "new", {"a": b""}, needed=10**15)
    assert contents(tmp_path) == {}


def test_another_error_keeps_its_kind_and_the_old_files(tmp_path):
    with pytest.raises(TypeError):
        store.commit(filled(tmp_path), {"a.json": b"new a", "d.bin": 3})
    assert contents(tmp_path) == OLD


def test_a_folder_that_cannot_be_written_is_an_error_that_says_so(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(ValueError, match="expected a folder to write to, got .*: make it writable or give --output"):
        store.writable(tmp_path / "file" / "model")
    store.writable(tmp_path / "fresh")
    assert contents(tmp_path) == {"file": b"no folder"}


def test_a_reader_finishes_a_commit_only_when_its_writer_has_gone(tmp_path):
    ready = tmp_path / store.READY
    ready.mkdir()
    for name, content in {store.REMOVED: b"[]", "a.json": b"new a"}.items():
        (ready / name).write_bytes(content)
    with store.alone(tmp_path):
        store.settle(tmp_path)
        assert ready.is_dir()
    store.settle(tmp_path)
    assert contents(tmp_path) == {"a.json": b"new a"}


def test_a_full_disk_keeps_no_probe_file(tmp_path, monkeypatch):
    def write_bytes(path, content):
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    with pytest.raises(OSError, match="the files from before are whole"):
        store.writable(tmp_path)
    assert not list(tmp_path.iterdir())


def test_folders_replace_folders_and_leave_the_rest(tmp_path):
    new, place = tmp_path / "new", filled(tmp_path / "place")
    store.commit(new, {"deep/x.bin": b"x", "a.json": b"a"})
    store.replace_folder(new, place)
    assert contents(place) == {"a.json": b"a", "deep/x.bin": b"x", "stale.txt": b"old c"}
    assert not new.exists()


def test_json_takes_numpy_and_paths_and_refuses_the_rest():
    import numpy as np

    value = {"a": np.float32(0.5), "b": np.arange(2), "c": Path("x"), "d": "é"}
    assert store.json.loads(store.to_json(value)) == {"a": 0.5, "b": [0, 1], "c": "x", "d": "é"}
    assert "é".encode() in store.to_json(value)
    with pytest.raises(TypeError, match="expected plain data"):
        store.to_json({"a": object()})
