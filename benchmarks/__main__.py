"""Lists the benchmarks with a line each, and runs one: python -m benchmarks phone [flags]."""

import runpy
import sys
from pathlib import Path

from apps.__main__ import summary

HERE = Path(__file__).parent


def benchmarks() -> dict[str, Path]:
    """Returns {name: file}; a folder with a `__main__.py` is one too."""
    files = {path.stem: path for path in HERE.glob("*.py") if not path.stem.startswith("_")}
    return dict(sorted({**files, **{path.parent.name: path for path in HERE.glob("*/__main__.py")}}.items()))


def listing() -> str:
    """Returns a line a benchmark: the command and what it measures."""
    found = benchmarks()
    width = max(map(len, found), default=0)
    return "\n".join(f"  python -m benchmarks {name:<{width}}  {summary(path)}" for name, path in found.items())


def main(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help"):
        print(f'Benchmarks: add `--help` to a line to see its flags. `pip install -e ".[bench]"` first.\n\n{listing()}')
        return 0
    if argv[0] not in benchmarks():
        print(f"error: expected one of {', '.join(benchmarks())}, got {argv[0]!r}", file=sys.stderr)
        return 2
    sys.argv = [f"python -m benchmarks {argv[0]}", *argv[1:]]
    runpy.run_module(f"benchmarks.{argv[0]}", run_name="__main__", alter_sys=False)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
