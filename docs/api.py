"""Writes docs/api.md, the list of all public names, from their docstrings: python docs/api.py."""

import importlib
import inspect
import pathlib

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent
HEAD = """# All public names

What a program may import, a line each, as the docstrings have it (`help(name)` has the rest: arguments, shapes, errors,
an example). Layers have a page of their own, [layers.md](layers.md). This page is written by `python docs/api.py`.
"""
PACKAGES = {  # in the order of the page, and how a program gets at the names
    "keras_seq.models": "from keras_seq import models",
    "keras_seq.decoding": "from keras_seq import decoding, generate",
    "keras_seq.data": "from keras_seq import data",
    "keras_seq.training": "from keras_seq import training",
    "keras_seq.deploy": "from keras_seq import deploy",
    "keras_seq.plots": "from keras_seq import plots",
    "keras_seq.app": "from keras_seq import app",
    "keras_seq.demo": "from keras_seq import demo",
}
DECODING = ["generate", "generate_rows", "stream", "pad"]
CONSTANTS = {"MASK": ("keras_seq.data.masked", "The id that stands where a piece is hidden.")}


def names_of(package):
    """The public names of a package that are no modules."""
    module = importlib.import_module(package)
    names = DECODING if package == "keras_seq.decoding" else list(module.__all__)
    return [name for name in names if not inspect.ismodule(getattr(module, name))]


def about(package, name):
    """The module that a name is written in, and the first paragraph of its docstring."""
    if name in CONSTANTS:
        return CONSTANTS[name]
    found = getattr(importlib.import_module(package), name)
    return found.__module__, " ".join((inspect.getdoc(found) or "").partition("\n\n")[0].split())


def table(package):
    """The names of a package by the files that they are in."""
    files = {}
    for name in names_of(package):
        module, text = about(package, name)
        files.setdefault(module, []).append(f"| `{name}` | {text.replace('|', chr(92) + '|')} |")
    lines = ["| | |", "|---|---|"]
    for module in sorted(files):
        path = pathlib.Path(inspect.getsourcefile(importlib.import_module(module))).relative_to(ROOT).as_posix()
        title = (importlib.import_module(module).__doc__ or "").partition("\n")[0]
        lines += [f"| [{path.rpartition('/')[2]}](../{path}) | *{title}* |", *files[module]]
    return "\n".join(lines)


def page():
    """The page."""
    parts = [f"## {package}\n\n`{how}`\n\n{table(package)}\n" for package, how in PACKAGES.items()]
    return "\n".join([HEAD, *parts])


if __name__ == "__main__":
    (HERE / "api.md").write_text(page(), encoding="utf-8")
