"""The driver of every app: flags from a dataclass; train, predict, evaluate and export; the files they leave.

An app is a file of plain functions; `App` does what is the same for all of them.

Example:

    @dataclasses.dataclass(frozen=True)
    class Config:
        dim: int = 64  # width of the model

    def data(config): return Data(train, valid, test, assets={"words": [...]})
    def model(config, assets): return a compiled keras.Model
    def predict(config, model, assets, texts): return [a readable result for each text]

    APP = App("demo", Config, data, model, predict)
    if __name__ == "__main__":
        APP.main()

Neither tensorflow nor keras is imported before a command needs it, so that help and errors come at once.
"""

import collections.abc
import dataclasses
import importlib.util
import json
import os
import shlex
import signal
import sys
from pathlib import Path
from typing import Literal

from keras_seq.app.cli import UserError, at_least, drop_stdout, one_line, one_line_errors, open_streams
from keras_seq.training import store

MAX_TEST_BYTES = 20_000_000  # larger test sets are not copied beside the model: `evaluate` reads the data again


@dataclasses.dataclass
class Data:
    """What an app's `data(config)` returns.

    Args:
        train: a `tf.data.Dataset` of one epoch, or an object whose `.dataset(epoch)` gives the batches of that epoch
            and of those after it, and whose `.steps` is the number of batches in each: then a resumed run sees the
            same data.
        valid: the same for validation, or None.
        test: raw test examples, in the app's own shape; plain data is stored beside the model.
        assets: {name: bytes or plain data} that the model needs again, made from the training split only: bytes are
            written to the file of that name, plain data to `<name>.json`.
        facts: lines printed before training: counts, share of padding.
        samples: raw validation examples for the preview of each epoch; the first test examples where there are none.
        begin: a function of the model, called before a new run begins: it brings weights from elsewhere. Or None.
    """

    train: object
    valid: object = None
    test: collections.abc.Sequence = ()
    assets: dict = dataclasses.field(default_factory=dict)
    facts: list = dataclasses.field(default_factory=list)
    samples: collections.abc.Sequence = ()
    begin: collections.abc.Callable | None = None


@dataclasses.dataclass
class Preview:
    """What an app's `preview(...)` shows of a model: scalars by name, lines of text, matplotlib figures by name."""

    scalars: dict = dataclasses.field(default_factory=dict)
    texts: list = dataclasses.field(default_factory=list)
    figures: dict = dataclasses.field(default_factory=dict)


class Block(str):
    """A result of `predict` that is printed with its line breaks; others take one line."""


@dataclasses.dataclass(frozen=True)
class Run:
    """The flags of `train` that every app has; a field of the same name in the app's Config sets another default."""

    epochs: int = 20  # passes over the training data, at most
    steps: int = 0  # optimizer steps in all, instead of --epochs (0: no such limit)
    minutes: float = 0.0  # stop cleanly after so many minutes of training (0: no limit)
    patience: int = 3  # epochs without a better validation before training stops (0: never stops early)
    keep: Literal["best", "last"] = "best"  # weights of the best epoch in validation, or of the last
    seed: int = 0  # the same seed gives the same run on one machine
    mixed_precision: bool | None = None  # train in bfloat16, weights in float32 (auto: where the hardware is fast)

    def __post_init__(self):
        at_least(1, self, "epochs")
        at_least(0, self, "steps", "minutes", "patience", "seed")


@dataclasses.dataclass
class Trained:
    """A trained model, loaded: its config, the keras.Model in float32, its assets, the folder it came from, its App.

    Example:

        trained = APP.load()
        trained.predict(["Open the file."], beams=1)
    """

    config: object
    model: object
    assets: dict
    folder: Path
    app: "App | None" = None

    def predict(self, texts: collections.abc.Iterable[str], **options) -> list:
        """Returns a result for each text, as the command `predict` makes them; options are its flags: `beams=1`.

        Raises:
            UserError: for what the command refuses.
            TypeError: for an option that it does not have.
        """
        from keras_seq.app.commands import answered

        chosen = self.app.predict_options
        with one_line_errors():
            return answered(self, list(texts), chosen(**options) if chosen or options else None)

    def save(self, folder: str | Path) -> None:
        """Writes the model as it is now into a folder, which every command then takes as `--output`.

        What told of earlier weights there (scores, pictures, exported files, a run to resume) goes or counts no more.

        Raises:
            UserError: when another program writes into the folder.
        """
        from keras_seq.app.train import STALE
        from keras_seq.training.checkpoint import CHECKPOINT, WEIGHTS, write_weights

        kept = ["config.json", *asset_files(self.assets)[0].values(), "test.json"]
        files = {name: (self.folder / name).read_bytes() for name in kept if (self.folder / name).exists()}
        files[WEIGHTS] = lambda path: write_weights(path, self.model)
        with one_line_errors():
            store.writable(Path(folder))
            with store.alone(Path(folder)):
                store.commit(Path(folder), {**dict.fromkeys((*STALE, CHECKPOINT)), **files})


@dataclasses.dataclass
class App:
    """A recipe with its commands.

    Args:
        name: also the folder of `saved_models/` that everything is written to.
        Config: frozen dataclass; each field has a default and a trailing comment, its help.
        data: `data(config) -> Data`.
        model: `model(config, assets) -> compiled keras.Model`, built.
        predict: `predict(config, model, assets, texts, **options) -> list`, a readable result for each text; an
            iterator of texts is printed piece by piece, as it comes.
        evaluate: `evaluate(config, model, assets, examples) -> dict` of plain data, or None.
        preview: `preview(config, model, assets, examples) -> Preview`, called after each epoch, or None.
        export: `export(config, model, assets, folder, examples, options) -> report`, a dict of plain data that writes
            its files into `folder`; `report["ok"]` false means that the export failed, `report["text"]` is what the
            terminal shows of it and `report["page"]` what report.md holds, where that is more. Or None.
        read: `read(config, path) -> examples`, for `evaluate --input FILE`, or None.
        demo: `demo(config, model, assets, examples) -> dict`, called at export: what `keras_seq.demo` says a page may
            show beside what the exported file tells of itself. Or None: a plain page.
        reads: `reads(card, texts) -> texts` as an exported file wants them, ValueError for odd ones; or None.
        tells: `tells(file, text, outputs) -> result`, what an exported file (a `deploy.runners.LiteRTFile`) answers to
            a text, as `predict` shows it; None where it writes a text or tells a label.
        predict_options, export_options: dataclasses whose fields become flags, like those of Config.
        monitor, mode: the metric (of `fit`, or a scalar of the preview) that says which weights are best, or several,
            of which the first that is there does; "min" or "max".
        about: Markdown for the end of the model card: origin and licence of the data, limits.
        shown: test examples whose figures a training leaves; only a few where each has a figure of its own.
        batch: texts handed to `predict` at once.
        example: what `predict` takes, in a word: TEXT, WORD, PICTURE or CLIP; the last two are paths of files. Of TEXT
            and WORD the exported file can answer `predict --exported`.
    """

    name: str
    Config: type
    data: collections.abc.Callable
    model: collections.abc.Callable
    predict: collections.abc.Callable
    evaluate: collections.abc.Callable | None = None
    preview: collections.abc.Callable | None = None
    export: collections.abc.Callable | None = None
    read: collections.abc.Callable | None = None
    demo: collections.abc.Callable | None = None
    reads: collections.abc.Callable | None = None
    tells: collections.abc.Callable | None = None
    predict_options: type | None = None
    export_options: type | None = None
    monitor: str | tuple[str, ...] = "val_loss"
    mode: str = "min"
    about: str = ""
    shown: int = 3
    batch: int = 64
    example: str = "TEXT"

    @property
    def command(self) -> str:
        """How a person starts the app: `python -m apps.translation`."""
        spec = getattr(sys.modules["__main__"], "__spec__", None)
        module = self.Config.__module__
        return f"python -m {spec.name if module == '__main__' and spec else module}"

    @property
    def doc(self) -> str:
        """The docstring of the app's file: what it does, examples, the time it takes and the result to expect."""
        return (sys.modules[self.Config.__module__].__doc__ or self.name).strip()

    def main(self, argv: list[str] | None = None) -> None:
        """Runs a command line and exits: 0 done, 1 an export that failed its check, 2 a user's error, 130 stopped."""
        open_streams()
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: what is half done is cleared away
        code = self.run(sys.argv[1:] if argv is None else argv)
        if code and "tensorflow" in sys.modules:  # Python's own end waits, now and then for ever, for data being made
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            os._exit(code)
        sys.exit(code)

    def run(self, argv: list[str]) -> int:
        """Runs a command line and returns the exit code; a user's error is one line on stderr."""
        try:
            try:
                return self.obey(argv)
            finally:
                sys.stdout.flush()
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        except ModuleNotFoundError as error:
            name = (error.name or "keras_seq").partition(".")[0]
            if name in ("keras_seq", "apps") or importlib.util.find_spec(name):  # it is there: a bug
                raise
            got = f"expected the Python package {name}, got none"
            print(f"error: {got}: run `pip install -e .` where setup.py lies", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            print("\nstopped", file=sys.stderr)
            return 130
        except BrokenPipeError:  # `... | head` has read enough
            drop_stdout()
            return 0
        except OSError as error:
            if not store.is_disk_full(error):
                raise
            print(f"error: {one_line(error)}", file=sys.stderr)
            return 2

    def obey(self, argv: list[str]) -> int:
        """Runs the command that a command line names; without one prints the help."""
        from keras_seq.app.commands import COMMANDS, parser

        args = parser(self).parse(argv)
        if args.command is None:
            parser(self).print_help()
            return 0
        return COMMANDS[args.command].run(self, args) or 0

    def folder(self, output: str | Path | None = None) -> Path:
        """Returns the folder of the model.

        Raises:
            UserError: for an empty text, such as a shell's variable that is not set: no other model is meant by it.
        """
        if output == "":
            raise UserError("expected --output DIR, got an empty one: name a folder, or leave --output out")
        return Path(output) if output else Path("saved_models") / self.name

    def build(self, config: object, assets: dict, mixed_precision: bool = False):
        """Returns the app's model, made under the float32 or the mixed_bfloat16 policy; float32 rules afterwards."""
        import keras

        keras.config.set_dtype_policy("mixed_bfloat16" if mixed_precision else "float32")
        try:
            with one_line_errors():
                model = self.model(config, assets)
        finally:
            keras.config.set_dtype_policy("float32")
        if not model.built or not model.compiled:
            raise TypeError(f"expected model() to return a built and compiled keras.Model, got {model}: call it once")
        return model

    def load(self, folder: str | Path | None = None) -> Trained:
        """Loads the trained model of `folder` (default `saved_models/<name>`), in float32.

        Raises:
            UserError: when there is none, or it was trained by another app or an older Config.
        """
        folder = self.folder(folder)
        saved = self.settings(folder)
        config, assets = self.configured(saved["config"], folder), load_assets(folder, saved["assets"])
        model = self.build(config, assets)
        from keras_seq.training.checkpoint import WEIGHTS, read_weights  # imports keras

        with one_line_errors():
            read_weights(folder / WEIGHTS, model)
        return Trained(config, model, assets, folder, self)

    def settings(self, folder: Path) -> dict:
        """Returns the config.json of a trained model."""
        store.settle(folder)
        if not (folder / "config.json").exists():
            raise UserError(f"no trained model in {folder}: run `{self.command} train{self.flag(folder)}` first")
        with one_line_errors():
            saved = store.read_json(folder / "config.json", "app", "config", "assets")
        self.check_own(saved, folder)
        return saved

    def check_own(self, saved: dict, folder: Path) -> None:
        """Raises UserError where what was saved in `folder` is of another app."""
        if saved["app"] != self.name:
            raise UserError(f"expected a model of the app {self.name} in {folder}, got one of {saved['app']}")

    def flag(self, folder: Path) -> str:
        """Returns ` --output DIR` where it is not the default."""
        return "" if folder == self.folder() else f" --output {shlex.quote(str(folder))}"

    def configured(self, saved: dict, folder: Path, cls: type | None = None) -> object:
        """Returns the Config, or another dataclass, of saved fields."""
        cls = cls or self.Config
        own = {field.name for field in dataclasses.fields(cls)}
        odd = sorted(own ^ set(saved))
        if odd:
            raise UserError(
                f"expected the settings {', '.join(sorted(own))} in {folder}, got a difference in {odd[0]!r}: "
                f"it was trained by another version of this app; run `{self.command} train` again"
            )
        with one_line_errors():
            return cls(**saved)


def load_assets(folder: Path, names: dict[str, str]) -> dict:
    """Returns the assets of a model: bytes of a file, or the data of a .json."""
    with one_line_errors():
        return {
            name: store.read_json(folder / file) if file != name else (folder / file).read_bytes()
            for name, file in names.items()
        }


def asset_files(assets: dict) -> tuple[dict[str, str], dict[str, bytes]]:
    """Returns {asset: file name} and {file name: content}."""
    names = {name: name if isinstance(value, bytes) else f"{name}.json" for name, value in assets.items()}
    return names, {names[k]: v if isinstance(v, bytes) else store.to_json(v) for k, v in assets.items()}


def round_trip(assets: dict) -> dict:
    """Returns the assets as `load` will return them: tuples as lists, numpy numbers as plain ones."""
    return {k: v if isinstance(v, bytes) else json.loads(store.to_json(v)) for k, v in assets.items()}


def test_file(examples: collections.abc.Sequence) -> dict[str, bytes]:
    """Returns {"test.json": ...}, or nothing when the examples are no plain data or too large."""
    content = rows_json(examples)
    return {"test.json": content} if examples and content and len(content) <= MAX_TEST_BYTES else {}


def rows_json(examples: collections.abc.Sequence) -> bytes | None:
    """Returns a line of JSON an example, or None when the examples are no plain data."""
    try:
        rows = [json.dumps(row, ensure_ascii=False) for row in examples]
    except TypeError:
        return None
    return ("[\n" + ",\n".join(rows) + "\n]\n").encode()


def plain_rows(examples: collections.abc.Sequence) -> list:
    """Returns the examples as they come back from test.json: tuples as lists; other than plain data is left alone."""
    content = rows_json(examples)
    return list(examples) if content is None else json.loads(content)
