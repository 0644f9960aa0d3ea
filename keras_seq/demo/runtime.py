"""LiteRT.js, which runs a .tflite in a browser: fetched once from npm, checked, and kept in the user's cache."""

import os
import pathlib
import sys
import tempfile

from keras_seq.data import packages

VERSION = "2.5.3"
PACKAGES = {  # where its files go: what npm calls it, and the checksum of its archive
    "core": ("@litertjs/core", "a97660833e9e7e1063c95e12016718881240b14f7438728a2f62785e912d30fd"),
    "wasm-utils": ("@litertjs/wasm-utils", "ce2a1f8379c067be49e59752e5a7f40db6be09f6e497f0f11e59f17b515366a7"),
}
BUILDS = "litert_wasm_internal", "litert_wasm_compat_internal"  # with relaxed SIMD, and for browsers that have none
FILES = {
    "core": ["package.json", "dist/index.js", *(f"wasm/{build}.{end}" for build in BUILDS for end in ("js", "wasm"))],
    "wasm-utils": ["package.json", "dist/index.js"],
}


def runtime_folder(given=None):
    """The folder with LiteRT.js; fetched from npm where it is not in the cache yet.

    Args:
        given: A folder with the two packages as npm hands them out (.tgz), for a machine without network.

    Raises:
        ValueError: where it is neither in the cache nor to be had.
    """
    folder = cache() / f"litertjs-{VERSION}"
    if not whole(folder):
        if given is None:
            print(f"fetching LiteRT.js {VERSION} from npm, once: 12 MB", file=sys.stderr, flush=True)
        contents = {place: packages.files(archive(name, sha256, given)) for place, (name, sha256) in PACKAGES.items()}
        keep(folder, {f"{place}/{file}": contents[place][file] for place in FILES for file in FILES[place]})
    return folder


def whole(folder):
    """Whether every file is there: an earlier version may have kept fewer."""
    return all((folder / place / file).exists() for place in FILES for file in FILES[place])


def archive(name, sha256, given):
    return packages.fetch("npm", name, VERSION, sha256, given, flag="--runtime")


def cache():
    """Where this user's programs keep what they can fetch again."""
    own = {"win32": os.environ.get("LOCALAPPDATA"), "darwin": "~/Library/Caches"}.get(sys.platform)
    return pathlib.Path(os.environ.get("XDG_CACHE_HOME") or own or "~/.cache").expanduser() / "keras_seq"


def keep(folder, contents):
    """Writes files into a new folder that is there whole or not at all; what was there before goes."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as stage:
        new = pathlib.Path(stage) / folder.name
        for name, data in contents.items():
            (new / name).parent.mkdir(parents=True, exist_ok=True)
            (new / name).write_bytes(data)
        if folder.is_dir() and not whole(folder):
            os.rename(folder, pathlib.Path(stage) / "before")
        try:
            os.rename(new, folder)
        except OSError:
            if not folder.is_dir():  # where it is one, another command was quicker
                raise
