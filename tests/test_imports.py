"""Imports point one way: layers -> models -> decoding, deploy -> app -> apps; and help comes before Keras does."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted(p.relative_to(ROOT) for top in ("keras_seq", "apps") for p in (ROOT / top).rglob("*.py"))
APPS = sorted(p.stem for p in (ROOT / "apps").glob("*.py") if not p.stem.startswith("_"))

# What each part of the package may import of the package. Every part may import itself.
MAY_IMPORT = {
    "kernels": set(),  # as compilation: what knows a backend
    "layers": {"kernels"},
    "models": {"layers"},
    "compilation": {"kernels"},  # knows every backend
    "decoding": {"kernels", "layers", "models", "compilation"},
    "deploy": {"layers", "models", "decoding"},
    "data": {"kernels"},
    "training": {"kernels", "layers"},
    "plots": {"layers", "training"},
    "demo": {"data"},
    "app": {"layers", "models", "decoding", "deploy", "data", "demo", "training", "plots"},
}
BACKEND_FREE = {"layers", "models", "decoding"}  # they train on jax and torch: keras and numpy only
LIGHT = {"app", "data", "demo", "__init__"}  # they answer --help: no keras while they are imported
SLOW = {"keras", "keras_hub", "tensorflow", "tensorflow_text", "jax", "torch", "matplotlib", "ai_edge_litert"}


def part(path: Path) -> str:
    """Returns `layers` for keras_seq/layers/masks.py and `app` for keras_seq/app.py."""
    return path.parts[1].removesuffix(".py")


def resolve(node: ast.ImportFrom, path: Path) -> str:
    """Returns the absolute module that `from ... import` names in the file `path`."""
    if not node.level:
        return node.module
    package = list(path.parent.parts[: len(path.parent.parts) - node.level + 1])
    return ".".join(package + ([node.module] if node.module else []))


def imported(node: ast.AST, path: Path) -> list[str]:
    """Returns the dotted names that one import statement reads."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [f"{resolve(node, path)}.{alias.name}" for alias in node.names]
    return []


def names(path: Path, whole: bool) -> list[str]:
    """Returns all names a file imports, or (`whole=False`) only those it imports when it is itself imported."""
    found, todo = [], ast.parse((ROOT / path).read_text(encoding="utf-8")).body
    while todo:
        node = todo.pop()
        if whole or not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            found += imported(node, path)
            todo += ast.iter_child_nodes(node)
    return found


def heads(path: Path, whole: bool) -> set[str]:
    return {name.split(".")[0] for name in names(path, whole)}


@pytest.mark.parametrize("path", [p for p in FILES if p.parts[0] == "keras_seq"], ids=str)
def test_the_package_imports_one_way(path):
    here = part(path)
    inside = {n.split(".")[1] for n in names(path, whole=True) if n.startswith("keras_seq.")}
    if here != "__init__":
        assert inside - {here, "__version__"} <= MAY_IMPORT[here]
    assert "apps" not in heads(path, whole=True)


@pytest.mark.parametrize("path", [p for p in FILES if part(p) in BACKEND_FREE], ids=str)
def test_backend_free_parts_import_keras_and_numpy_only(path):
    foreign = heads(path, whole=True) - set(sys.stdlib_module_names)
    assert foreign <= {"keras", "numpy", "keras_seq"}


@pytest.mark.parametrize("path", FILES, ids=str)
def test_tensorflow_is_imported_where_it_is_used(path):
    assert not {"tensorflow", "tensorflow_text", "keras_hub"} & heads(path, whole=False)


@pytest.mark.parametrize("path", [p for p in FILES if p.parts[0] == "apps" or part(p) in LIGHT], ids=str)
def test_what_answers_help_imports_nothing_slow(path):
    assert not SLOW & heads(path, whole=False)


@pytest.mark.parametrize("path", [p for p in FILES if p.parts[0] == "apps"], ids=str)
def test_apps_never_import_each_other(path):
    others = {n.split(".")[1] for n in names(path, whole=True) if n.startswith("apps.")} - {"data", part(path)}
    assert path.name == "__main__.py" or not others


def run(code: str, *argv: str) -> list[str]:
    """Runs `code` in a fresh Python and returns the last line it printed, as words."""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code, *argv], cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1].split()


AFTER = f"print('slow:', *sorted(set(sys.modules) & {SLOW!r}))"
HELP = f"""
import runpy, sys
sys.argv = ["help", "--help"]
try:
    runpy.run_module(sys.orig_argv[-1], run_name="__main__")
except SystemExit as stop:
    assert not stop.code, stop.code
{AFTER}
"""


@pytest.mark.parametrize("app", ["apps", *(f"apps.{name}" for name in APPS)])
def test_help_comes_before_keras(app):
    assert run(HELP, app) == ["slow:"]


def test_the_package_itself_imports_nothing_slow():
    assert run(f"import sys, keras_seq, keras_seq.app, keras_seq.data; dir(keras_seq); {AFTER}") == ["slow:"]


def test_every_public_name_loads():
    import keras_seq

    for name in keras_seq.__all__:
        assert getattr(keras_seq, name) is not None
