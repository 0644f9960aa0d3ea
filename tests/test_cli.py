"""Flags from a dataclass, errors in one line, tables; and that all of it comes before Keras is imported."""

import dataclasses
import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest

from apps import forecasting
from keras_seq.app import UserError, cli
from tests import toy

ROOT = Path(__file__).parents[1]


@dataclasses.dataclass(frozen=True)
class Base:
    seed: int = 0  # same seed, same run


@dataclasses.dataclass(frozen=True)
class Options(Base):
    model: Literal["transformer", "lstm"] = "transformer"  # what translates
    layers: Literal[1, 2, 3] = 2
    batch_tokens: int = 4096  # tokens in a batch, 100 % of them real
    rate: float = 1e-3  # the peak of the schedule
    data: str | None = None  # a file of pairs
    name: str = "a # b"  # a comment after a string with a hash
    tie: bool = True  # one table


def parse(*argv):
    parser = cli.Parser(prog="demo")
    cli.add_flags(parser, Options)
    return cli.given(parser.parse(list(argv)), Options)


def test_nothing_given_leaves_nothing():
    assert parse() == {}


def test_values_have_the_types_of_the_fields():
    argv = "--model lstm --layers 3 --batch-tokens 1_000 --rate 2e-4 --data x.tsv --no-tie --seed 5"
    wanted = {"model": "lstm", "layers": 3, "batch_tokens": 1000, "rate": 2e-4, "data": "x.tsv", "tie": False}
    assert parse(*argv.split()) == {**wanted, "seed": 5}


@pytest.mark.parametrize("flag", ["--batch-tokens=7", "--batch_tokens=7"])
def test_dashes_and_underscores_are_one(flag):
    assert parse(flag) == {"batch_tokens": 7}


def test_words_after_two_dashes_and_sentences_are_left_alone():
    assert cli.dashed(["--a_b", "--x_y z", "--", "--c_d"]) == ["--a-b", "--x_y z", "--", "--c_d"]


def test_the_comment_of_a_field_is_its_help():
    assert cli.comments(Options) == {
        "seed": "same seed, same run",
        "model": "what translates",
        "batch_tokens": "tokens in a batch, 100 % of them real",
        "rate": "the peak of the schedule",
        "data": "a file of pairs",
        "name": "a comment after a string with a hash",
        "tie": "one table",
    }
    parser = cli.Parser(prog="demo")
    cli.add_flags(parser, Options, leave_out={"seed"})
    text = parser.format_help()
    assert "--batch-tokens INT" in text
    assert "100 % of them real (default: 4096)" in text
    assert "transformer|lstm" in text
    assert "--tie, --no-tie" in text
    assert "--seed" not in text


def test_a_comment_that_says_what_its_default_stands_for_is_left_alone():
    parser = cli.Parser(prog="forecasting")
    cli.add_flags(parser, forecasting.Config)
    text = " ".join(parser.format_help().split())
    assert "default: US-MN for the traffic --horizon" in text


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("--model gru", "--model: expected transformer or lstm, got 'gru': `demo --help`"),
        ("--layers 4", "--layers: expected 1 or 2 or 3, got '4'"),
        ("--batch-tokens many", "--batch-tokens: expected a whole number, got 'many'"),
        ("--batch-tokens 1.5", "--batch-tokens: expected a whole number, got '1.5'"),
        ("--rate nan", "--rate: expected a number, got 'nan'"),
        ("--rate", "--rate: expected a value, got none"),
        ("--batchtokens 3", "expected a known flag, got --batchtokens: did you mean --batch-tokens?"),
        ("--rat 3", "expected a known flag, got --rat: did you mean --rate?"),
        ("--rate 3 4", "expected a flag, got '4' (a list is written a,b; what has spaces, in quotes)"),
    ],
)
def test_a_wrong_flag_is_one_line_that_says_what_to_do(argv, message):
    with pytest.raises(cli.UserError) as caught:
        parse(*argv.split())
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_field_without_a_flag_is_the_authors_error():
    with pytest.raises(TypeError, match="Literal"):
        cli.flag(dict[str, int])


def test_errors_of_readers_become_one_line(tmp_path):
    with pytest.raises(cli.UserError, match="^expected pairs got nothing$"), cli.one_line_errors():
        raise ValueError("expected pairs\n  got nothing\n")
    with pytest.raises(cli.UserError, match="No such file or directory: '.*gone.tsv'"), cli.one_line_errors():
        (tmp_path / "gone.tsv").read_text()
    with pytest.raises(KeyError), cli.one_line_errors():
        raise KeyError("a bug keeps its traceback")


def test_debugging_keeps_the_traceback(monkeypatch):
    monkeypatch.setenv("KERAS_SEQ_DEBUG", "1")
    with pytest.raises(ValueError, match="inside") as caught, cli.one_line_errors():
        raise ValueError("inside")
    assert not isinstance(caught.value, cli.UserError)


def test_a_table_aligns_scalars_and_grids():
    report = {"bleu": 42.123, "tiny": 0.00123456, "n": 12345, "ok": True, "by_length": {"1-5": {"n": 7, "bleu": 51.0}}}
    assert cli.table(report).splitlines() == [
        "  bleu  42.12",
        "  tiny  0.001235",
        "  n     12,345",
        "  ok    yes",
        "  by_length",
        "         n   bleu",
        "    1-5  7  51.00",
    ]
    assert "deep" in cli.table({"a": {"b": {"deep": {"c": 1}}}, "l": ["x", "y"], "e": {}, "none": None})


def test_flags_written_from_options_make_these_options_again():
    import shlex

    options = Options(model="lstm", rate=2e-4, data="my pairs.tsv", tie=False)
    assert cli.as_flags(Options()) == ""
    assert cli.as_flags(options) == " --model lstm --rate 0.0002 --data 'my pairs.tsv' --no-tie"
    assert Options(**parse(*shlex.split(cli.as_flags(options)))) == options


# --- the command line, without Keras ----------------------------------------------------------------------------------


def stop(*argv, cwd=ROOT):
    """Runs the toy app in a fresh Python; returns the exit code, stdout, stderr and the slow modules it imported."""
    slow = {"tensorflow", "keras", "matplotlib", "numpy"}
    code = (
        "import atexit, runpy, sys\n"
        f"atexit.register(lambda: print('slow:', *sorted({slow!r} & set(sys.modules)), file=sys.stderr))\n"
        "sys.argv[0] = 'toy'\nrunpy.run_module('tests.toy', run_name='__main__', alter_sys=True)"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code, *argv], cwd=cwd, env=env, capture_output=True, text=True)
    errors, _, imported = done.stderr.rstrip("\n").rpartition("slow:")
    return done.returncode, done.stdout, errors, imported.split()


def test_help_shows_the_docstring_and_the_commands():
    code, out, err, slow = stop("--help")
    assert (code, err, slow) == (0, "", [])
    assert "seconds; accuracy above chance" in out
    for command in ("train", "predict", "evaluate", "export"):
        assert command in out


def test_help_of_train_shows_settings_and_run():
    code, out, _, slow = stop("train", "--help")
    assert (code, slow) == (0, [])
    assert "width of the recurrent layer (default: 5)" in out
    assert out.count("--epochs INT") == 2  # once in the usage, once with the app's own default
    assert "passes over the rows (default: 4)" in out
    assert "--mixed-precision" in out
    assert "--resume" in out


@pytest.mark.parametrize(("example", "there"), [("TEXT", True), ("WORD", True), ("PICTURE", False), ("FILE", False)])
def test_exported_files_answer_texts_alone(example, there, capsys):
    app = dataclasses.replace(toy.APP, example=example)
    with pytest.raises(SystemExit):
        app.run(["predict", "--help"])
    assert ("--exported" in capsys.readouterr().out) == there


def test_one_is_told_from_many():
    assert [cli.counted(n, "epoch") for n in (0, 1, 1200)] == ["0 epochs", "1 epoch", "1,200 epochs"]


def test_no_command_prints_the_help():
    code, out, _, slow = stop()
    assert (code, slow) == (0, [])
    assert "COMMAND" in out


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("trian", "did you mean train?"),
        ("train --units few", "--units: expected a whole number, got 'few'"),
        ("train --units 0", "expected --units of at least 1, got 0: give a larger one"),
        ("train --epochs 0", "expected --epochs of at least 1, got 0"),
        ("train --resume", "expected a run to resume in saved_models/toy, got none"),
        ("predict", "expected TEXT, `-` or --input FILE, got nothing"),
        ("predict 3", "no trained model in saved_models/toy: run `python -m tests.toy train` first"),
        ("predict --output other 3", "run `python -m tests.toy train --output other` first"),
        ("evaluate", "no trained model in saved_models/toy"),
        ("export", "no trained model in saved_models/toy"),
        ("export --formats f32,int3", "formats of f32, f16, int8, int4; got int3"),
        ("export --agreement 101", "expected --agreement from 0 to 100, got 101"),
        ("export --kl-int4 -1", "expected --kl-int4 of at least 0, got -1"),
        ("train --output=", "expected --output DIR, got an empty one: name a folder, or leave --output out"),
        ("predict caf\udce9", r"expected UTF-8 text, got other bytes in 'caf\udce9': convert it"),
        ("train --output /dev/null/x", "expected a folder to write to, got /dev/null/x"),
    ],
)
def test_a_users_error_is_one_line_with_code_2_before_keras(argv, message, tmp_path):
    code, out, err, slow = stop(*argv.split(), cwd=tmp_path)
    assert (code, out, slow) == (2, "", [])
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert message in err


@pytest.mark.parametrize("name", [path.stem for path in (ROOT / "apps").glob("[!_]*.py")])
def test_every_setting_of_an_app_has_its_help(name):
    app = importlib.import_module(f"apps.{name}").APP
    for options in filter(None, [app.Config, app.predict_options, app.export_options]):
        silent = {field.name for field in dataclasses.fields(options)} - cli.comments(options).keys()
        assert not silent, f"{options.__name__} of apps/{name}.py"


SIZES = {
    *("batch", "batch_size", "batch_tokens", "batch_seconds", "dim", "layers", "heads", "units", "mlp_dim"),
    *("max_length", "context", "vocab_size", "learning_rate", "members", "epoch_steps"),
}


@pytest.mark.parametrize("name", [path.stem for path in (ROOT / "apps").glob("[!_]*.py")])
def test_sizes_of_an_app_are_above_zero_and_dropout_is_a_share(name):
    config = importlib.import_module(f"apps.{name}").APP.Config
    sizes = SIZES & {field.name for field in dataclasses.fields(config)}
    assert {"dim", "layers", "learning_rate"} <= sizes
    for field, value in [(size, value) for size in sizes for value in (0, -3)] + [("dropout", 1), ("dropout", -0.1)]:
        with pytest.raises(UserError, match=f"expected {cli.as_option(field)} (above 0|from 0 to below 1), got"):
            config(**{field: value})


def test_a_users_config_is_checked_before_a_folder_is_made(tmp_path):
    assert toy.APP.run(["train", "--units", "-3", "--output", str(tmp_path / "new")]) == 2
    assert not (tmp_path / "new").exists()


def test_the_apps_are_listed_without_importing_them(tmp_path):
    from apps.__main__ import listing, main

    (tmp_path / "demo.py").write_text('"""Shows a thing.\n\nMore.\n"""\nraise SystemExit("imported")\n')
    (tmp_path / "_hidden.py").write_text('"""Not an app."""\n')
    assert listing(tmp_path) == "  python -m apps.demo  Shows a thing."
    assert main(["demo"]) == 2
