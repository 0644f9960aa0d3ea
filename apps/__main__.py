"""Lists the apps with a line each: the first line of each file's docstring, read without importing it."""

import ast
import sys
from pathlib import Path


def summary(path: Path) -> str:
    """Returns the first line of a file's docstring."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0]


def listing(folder: Path = Path(__file__).parent) -> str:
    """Returns a line an app: the command and what it does."""
    apps = {p.stem: summary(p) for p in sorted(folder.glob("*.py")) if not p.stem.startswith("_")}
    width = max(map(len, apps), default=0)
    return "\n".join(f"  python -m apps.{name:<{width}}  {text}" for name, text in apps.items())


def main(argv: list[str]) -> int:
    if argv and argv[0] not in ("-h", "--help"):
        print(f"error: expected no argument, got {argv[0]}: run `python -m apps.{argv[0]} --help`", file=sys.stderr)
        return 2
    print(f"Apps: add `--help` to a line to see what it does and the flags it takes.\n\n{listing()}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
