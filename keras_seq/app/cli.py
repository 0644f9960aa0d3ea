"""The command line's small parts: flags from a dataclass, one-line errors, tables. Standard library only.

Example:

    @dataclasses.dataclass(frozen=True)
    class Options:
        beams: int = 4  # hypotheses kept at each step

    parser = Parser(prog="translate")
    add_flags(parser, Options)
    options = Options(**given(parser.parse_args(["--beams", "2"]), Options))
"""

import argparse
import ast
import contextlib
import dataclasses
import difflib
import inspect
import io
import math
import os
import re
import shlex
import sys
import textwrap
import tokenize
import types
import typing

from keras_seq.training import store


class UserError(ValueError):
    """Something the user can put right: printed as one line `error: expected ..., got ...: do ...`, exit code 2."""


@contextlib.contextmanager
def one_line_errors():
    """Turns a ValueError or a missing file, raised while reading what the user gave, into a UserError of one line.

    A full disk and a closed pipe are none of that. `KERAS_SEQ_DEBUG=1` keeps the traceback.
    """
    try:
        yield
    except UserError:
        raise
    except (ValueError, OSError) as error:
        if os.environ.get("KERAS_SEQ_DEBUG") or isinstance(error, BrokenPipeError) or store.is_disk_full(error):
            raise
        raise UserError(one_line(error)) from error


@contextlib.contextmanager
def entered(context):
    """Enters a context; only what that raises becomes a UserError of one line, not what is done inside."""
    with contextlib.ExitStack() as stack:
        with one_line_errors():
            stack.enter_context(context)
        yield


def open_streams() -> None:
    """Makes standard output and errors UTF-8; a stream that is closed reads and writes nothing from here on.

    Else the next file that is opened, a checkpoint perhaps, gets its number, and with it what libraries print.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="replace")


def drop_stdout() -> None:
    """Lets what is still to be printed go nowhere: its reader has gone."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def above_zero(options, *names: str) -> None:
    """Raises UserError for a flag, by its field's name, whose number is not above 0; None is no number."""
    for name in names:
        value = getattr(options, name)
        if value is not None and not value > 0:
            raise UserError(f"expected {as_option(name)} above 0, got {value}")


def at_least(least, options, *names: str) -> None:
    """Raises UserError for a flag, by its field's name, whose number is lower."""
    for name in names:
        value = getattr(options, name)
        if not value >= least:
            raise UserError(f"expected {as_option(name)} of at least {least}, got {value}")


def below_one(options, *names: str) -> None:
    """Raises UserError for a flag, by its field's name, that is no share from 0 to below 1."""
    for name in names:
        value = getattr(options, name)
        if not 0 <= value < 1:
            raise UserError(f"expected {as_option(name)} from 0 to below 1, got {value}")


def one_line(error: BaseException) -> str:
    """Returns the message of an exception on one line; a file error as `No such file or directory: 'pairs.tsv'`."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.strerror}: {str(error.filename)!r}: check the path"
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split()) or type(error).__name__


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that raises UserError in one line, takes no abbreviations and keeps the help's line breaks."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, allow_abbrev=False, formatter_class=formatter, **kwargs)

    def error(self, message):
        choice = re.match(r".*invalid choice: '(.*?)' \(choose from (.*)\)", message)
        if choice:
            names = re.findall(r"\w+", choice[2])
            near = difflib.get_close_matches(choice[1], names, 1)
            hint = f": did you mean {near[0]}?" if near else ""
            message = f"expected {' or '.join(names)}, got {choice[1]!r}{hint}"
        message = message.removeprefix("argument ").replace("expected one argument", "expected a value, got none")
        raise UserError(f"{message}{'' if message.endswith('?') else ':'} `{self.prog} --help` shows what there is")

    def parse(self, argv: list[str]) -> argparse.Namespace:
        """Parses `argv`; `--batch_tokens` is read as `--batch-tokens`, an unknown flag is answered with the nearest."""
        if odd := [word for word in argv if re.search(r"[\ud800-\udfff]", word)]:  # how Python hands on other bytes
            raise UserError(f"expected UTF-8 text, got other bytes in {ascii(odd[0])}: convert it, or set LANG=C.UTF-8")
        args, unknown = self.parse_known_args(dashed(argv))
        if unknown:
            parser = self.chosen(args)
            if not unknown[0].startswith("-"):
                parser.error(f"expected a flag, got {unknown[0]!r} (a list is written a,b; what has spaces, in quotes)")
            near = difflib.get_close_matches(unknown[0].partition("=")[0], parser._option_string_actions, 1)
            parser.error(f"expected a known flag, got {unknown[0]}" + (f": did you mean {near[0]}?" if near else ""))
        return args

    def chosen(self, args: argparse.Namespace) -> "Parser":
        """Returns the parser of the sub-command that was given, or this one."""
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                return action.choices.get(getattr(args, action.dest, None), self)
        return self


def formatter(prog: str) -> argparse.HelpFormatter:
    return argparse.RawDescriptionHelpFormatter(prog, max_help_position=32, width=help_width())


def help_width() -> int:
    """Returns the width of the terminal, between 80 and 110 columns."""
    try:
        return min(max(os.get_terminal_size().columns, 80), 110)
    except OSError:
        return 110


def dashed(argv: list[str]) -> list[str]:
    """Returns `argv` with `--batch_tokens=8` written `--batch-tokens=8`; what follows `--` is left alone."""
    end = argv.index("--") if "--" in argv else len(argv)
    return [dash(word) for word in argv[:end]] + argv[end:]


def dash(word: str) -> str:
    if not word.startswith("--") or " " in word:
        return word
    flag, equals, value = word.partition("=")
    return flag.replace("_", "-") + equals + value


def add_flags(parser: argparse.ArgumentParser, cls: type, leave_out: typing.Collection[str] = ()) -> None:
    """Adds a flag for each field of a dataclass: its type, default and trailing comment become type, default and help.

    A flag that is not given leaves nothing in the namespace, so that `given` knows what the user wrote.

    Args:
        parser: an ArgumentParser or one of its groups.
        cls: a dataclass; fields are int, float, str, bool, Literal[...] or one of them `| None`.
        leave_out: fields that get no flag.
    """
    notes, hints = comments(cls), typing.get_type_hints(cls)
    for field in [field for field in dataclasses.fields(cls) if field.name not in leave_out]:
        note = notes.get(field.name, "")
        text = note if "default:" in note else f"{note} (default: {shown(field.default)})".strip()
        parser.add_argument(
            as_option(field.name),
            dest=field.name,
            default=argparse.SUPPRESS,
            help=text.replace("%", "%%"),
            **flag(hints[field.name]),
        )


def given(args: argparse.Namespace, cls: type) -> dict:
    """Returns the fields of the dataclass `cls` that the user gave as flags."""
    return {f.name: getattr(args, f.name) for f in dataclasses.fields(cls) if hasattr(args, f.name)}


def as_flags(options: object) -> str:
    """Returns the flags that make a dataclass of its defaults into `options`: ` --dim 64 --no-bias`."""
    changed = [f for f in dataclasses.fields(options) if getattr(options, f.name) != f.default]
    return "".join(f" {as_flag(f.name, getattr(options, f.name))}" for f in changed)


def as_flag(name: str, value: object) -> str:
    if isinstance(value, bool):
        return as_option(name if value else f"no_{name}")
    return f"{as_option(name)} {shlex.quote(str(value))}"


def as_option(name: str) -> str:
    """Returns the flag of a field: `--batch-tokens` of `batch_tokens`."""
    return f"--{name.replace('_', '-')}"


def shown(default: object) -> str:
    if isinstance(default, bool):
        return "on" if default else "off"
    return {None: "auto", "": "none"}.get(default, str(default))


def flag(annotation: object) -> dict:
    """Returns the arguments of `add_argument` that read a value of this type.

    Raises:
        TypeError: for a type that has no flag.
    """
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        annotation = next(a for a in typing.get_args(annotation) if a is not type(None))
    if annotation is bool:
        return {"action": argparse.BooleanOptionalAction}
    if typing.get_origin(annotation) is typing.Literal:
        options = typing.get_args(annotation)
        return {"type": one_of(options), "metavar": "|".join(map(str, options))}
    names = {int: ("a whole number", "INT"), float: ("a number", "FLOAT"), str: ("a text", "TEXT")}
    if annotation not in names:
        raise TypeError(f"expected a field of type int, float, str, bool or Literal, got {annotation}")
    what, metavar = names[annotation]
    return {"type": number(annotation, what), "metavar": metavar}


def number(kind: type, what: str):
    """Returns a converter of a flag's text to int, float or str; nan and infinity are no numbers here."""

    def convert(text):
        with contextlib.suppress(ValueError):
            value = kind(text)
            if kind is not float or math.isfinite(value):
                return value
        raise argparse.ArgumentTypeError(f"expected {what}, got {text!r}")

    return convert


def one_of(options: tuple):
    """Returns a converter that accepts the given options only."""

    def convert(text):
        for option in options:
            if str(option) == text:
                return option
        raise argparse.ArgumentTypeError(f"expected {' or '.join(map(str, options))}, got {text!r}")

    return convert


def comments(cls: type) -> dict[str, str]:
    """Returns {field: its trailing comment} of a dataclass and its bases, read from the source."""
    found = {}
    for base in reversed(cls.__mro__):
        if dataclasses.is_dataclass(base):
            found |= comments_of(base)
    return found


def comments_of(cls: type) -> dict[str, str]:
    try:
        source = textwrap.dedent(inspect.getsource(cls))
    except (OSError, TypeError):  # a class made in an interactive session has no source: no help text then
        return {}
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    notes = {token.start[0]: token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT}
    fields = [node for node in ast.parse(source).body[0].body if isinstance(node, ast.AnnAssign)]
    return {node.target.id: notes[node.end_lineno] for node in fields if node.end_lineno in notes}


def table(report: dict, indent: str = "  ") -> str:
    """Returns a report as aligned text: a line a value, and a grid for a dict of dicts or a list of dicts."""
    lines, scalars = [], {k: v for k, v in report.items() if not isinstance(v, (dict, list))}
    width = max(map(len, scalars), default=0)
    lines += [f"{indent}{name:<{width}}  {cell(value)}" for name, value in scalars.items()]
    for name, value in report.items():
        if name not in scalars:
            lines += [f"{indent}{name}", *nested(value, indent + "  ")]
    return "\n".join(lines)


def nested(value: dict | list, indent: str) -> list[str]:
    rows = value if isinstance(value, dict) else dict(enumerate(value, 1))
    if rows and all(isinstance(row, dict) for row in rows.values()):
        return grid(rows, indent) if flat(rows) else [table({k: v}, indent) for k, v in rows.items()]
    if isinstance(value, dict):
        return table(value, indent).splitlines()
    return [indent + cell(item) for item in value]


def flat(rows: dict) -> bool:
    return not any(isinstance(v, (dict, list)) for row in rows.values() for v in row.values())


def grid(rows: dict[object, dict], indent: str) -> list[str]:
    """Returns the lines of a grid with a row a key and a column a key of the inner dicts."""
    heads = list(dict.fromkeys(head for row in rows.values() for head in row))
    body = [["", *heads]] + [[str(k), *(cell(row.get(head, "")) for head in heads)] for k, row in rows.items()]
    widths = [max(map(len, column)) for column in zip(*body)]
    return [
        indent + "  ".join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:]))]).rstrip()
        for line in body
    ]


def counted(number: int, what: str) -> str:
    """Returns `1 epoch`, or `1,200 epochs`."""
    return f"{number:,} {what}{'s' * (number != 1)}"


def cell(value: object) -> str:
    """Returns a value as it stands in a table: 41.2345 as 41.23, 0.012345 as 0.01234, True as yes."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.2f}" if abs(value) >= 1 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
