"""The commands of an app: their flags, and predict, evaluate and export; `train` and `demo` have files of their own."""

import collections.abc
import contextlib
import dataclasses
import itertools
import json
import shutil
import sys
from pathlib import Path

from keras_seq.app import cli
from keras_seq.app.app import Block, Run, Trained
from keras_seq.app.cli import UserError, one_line_errors
from keras_seq.app.demo import demo_command, demo_flags, write_page
from keras_seq.app.exported import SEAL, answering
from keras_seq.app.start import start
from keras_seq.app.train import train_command
from keras_seq.deploy.handover import check_place, hand_over
from keras_seq.deploy.staging import stage_of
from keras_seq.training import store


@dataclasses.dataclass(frozen=True)
class Command:
    """A sub-command: a line of help, a function that adds its flags and one that runs it."""

    help: str
    flags: collections.abc.Callable
    run: collections.abc.Callable


def parser(app) -> cli.Parser:
    """Returns the parser of an app's command line."""
    top = cli.Parser(prog=app.command, description=app.doc)
    commands = top.add_subparsers(dest="command", title="commands", metavar="COMMAND")
    for name, command in COMMANDS.items():
        sub = commands.add_parser(name, help=command.help, description=f"{app.name}: {command.help}")
        command.flags(app, sub)
        sub.add_argument("--output", metavar="DIR", help=f"folder of the model (default: {app.folder()})")
    return top


# --- train ------------------------------------------------------------------------------------------------------------


def train_flags(app, sub) -> None:
    own = {field.name for field in dataclasses.fields(app.Config)}
    cli.add_flags(sub.add_argument_group("settings of this app"), app.Config)
    group = sub.add_argument_group("the run")
    cli.add_flags(group, Run, leave_out=own)
    group.add_argument("--resume", action="store_true", help="go on from the last finished epoch of a stopped run")


# --- predict ----------------------------------------------------------------------------------------------------------


def predict_flags(app, sub) -> None:
    sub.add_argument("texts", nargs="*", metavar=app.example, help="one or more; `-` reads them from stdin, one a line")
    sub.add_argument("--input", metavar="FILE", help=f"a file with a {app.example} on each line")
    if app.example in ("TEXT", "WORD"):  # an exported file opens no other one
        sub.add_argument("--exported", action="store_true", help="let the exported file answer: at once, no tensorflow")
    sub.set_defaults(exported=False)
    if app.predict_options:
        cli.add_flags(sub.add_argument_group("options"), app.predict_options)


def predict_command(app, args) -> None:
    """Prints one line for each example, or what is written of it piece by piece, and nothing else, on stdout."""
    if bool(args.texts) == bool(args.input):
        got = f"{app.example} and --input" if args.texts else "nothing"
        raise UserError(f'expected {app.example}, `-` or --input FILE, got {got}: run `{app.command} predict "..."`')
    folder, options = app.folder(args.output), options_of(app.predict_options, args)
    app.settings(folder)  # no model: say so before Keras is imported
    chunks = batches(lines(args), app.batch)
    first = list(itertools.islice(chunks, 1))  # an unreadable file: the same
    if args.exported:
        given = cli.given(args, app.predict_options) if app.predict_options else {}
        answers = answering(app, folder, given)
    else:
        start()
        answers = of_model(app, app.load(folder), options)
    for chunk in itertools.chain(first, chunks):
        for result in predicted(answers, chunk):
            show(result)


def of_model(app, trained: Trained, options) -> collections.abc.Callable:
    """Returns a function from texts to the results of the trained model."""
    keywords = dataclasses.asdict(options) if options else {}
    return lambda texts: app.predict(trained.config, trained.model, trained.assets, texts, **keywords)


def answered(trained: Trained, texts: list[str], options) -> list:
    """Returns the results of all texts, as many handed over at once as the app likes."""
    answers, size = of_model(trained.app, trained, options), trained.app.batch
    chunks = [texts[begin : begin + size] for begin in range(0, len(texts), size)]
    return [result for chunk in chunks for result in predicted(answers, chunk)]


def predicted(answers: collections.abc.Callable, texts: list[str]) -> list:
    """Returns a result a text; an empty text has an empty one."""
    full = [text for text in texts if text.strip()]
    with one_line_errors():
        results = answers(full) if full else []
    if len(results) != len(full):
        raise TypeError(f"expected {len(full)} results of predict(), got {len(results)}")
    rest = iter(results)
    return [next(rest) if text.strip() else "" for text in texts]


def show(result: object) -> None:
    """Prints a result: pieces of text as they come, anything else on a line."""
    if not isinstance(result, collections.abc.Iterator):
        print(as_line(result), flush=sys.stdout.isatty())
        return
    with one_line_errors():
        for piece in result:
            print(piece, end="", flush=True)
    print()


def as_line(result: object) -> str:
    """Returns a result on one line: the parts of a list between tabs, a dict as JSON; a Block on its own lines."""
    if isinstance(result, Block):
        return str(result)
    if isinstance(result, (list, tuple)):
        return "\t".join(map(as_line, result))
    if isinstance(result, dict):
        return json.dumps(result, ensure_ascii=False, default=store.plain)
    return " ".join(str(result).splitlines())


def lines(args) -> collections.abc.Iterator[str]:
    """Yields the examples of the command line, of stdin or of a file."""
    if args.input:
        with one_line_errors(), open(args.input, "rb") as file:
            yield from decoded(file, args.input)
    elif args.texts == ["-"]:
        yield from decoded(sys.stdin.buffer, "stdin")
    else:
        yield from args.texts


def decoded(file, name: str) -> collections.abc.Iterator[str]:
    for number, line in enumerate(file, 1):
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise UserError(f"expected UTF-8 text, got other bytes in line {number} of {name}: convert it") from error


def batches(texts: collections.abc.Iterator[str], size: int) -> collections.abc.Iterator[list[str]]:
    """Yields lists of at most `size` texts; a person at a terminal gets an answer a line."""
    chunk, size = [], 1 if sys.stdin and sys.stdin.isatty() else size
    for text in texts:
        chunk.append(text)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def options_of(cls: type | None, args):
    """Returns the options dataclass filled from the flags, or None."""
    if cls is None:
        return None
    with one_line_errors():
        return cls(**cli.given(args, cls))


# --- evaluate ---------------------------------------------------------------------------------------------------------


def evaluate_flags(app, sub) -> None:
    if app.read:
        sub.add_argument("--input", metavar="FILE", help="evaluate on this file, and leave metrics.json as it is")


def evaluate_command(app, args) -> None:
    """Prints the metrics of the test split, and keeps them in metrics.json."""
    if app.evaluate is None:
        raise UserError(f"expected an app with an evaluation, got {app.name}: it has none")
    folder, given = app.folder(args.output), getattr(args, "input", None)
    app.settings(folder)
    if given is None:
        checked_writable(folder)
    start()
    trained = app.load(folder)
    metrics = evaluated(app, trained, examples(app, trained, given))
    if given is None:
        kept = {}
        with contextlib.suppress(FileNotFoundError, ValueError):  # a damaged one is written anew
            kept = store.read_json(folder / "metrics.json", "training")
        try:
            with store.alone(folder):
                store.commit(folder, {"metrics.json": store.to_json({**kept, "test": metrics})})
        except store.Busy:  # perhaps the training itself: it writes them at its end
            print(f"metrics.json stays as it is: another program is writing into {folder}", file=sys.stderr)
    print(cli.table(metrics))


def evaluated(app, trained: Trained, rows) -> dict:
    """Returns the app's metrics as plain data."""
    with one_line_errors():
        metrics = app.evaluate(trained.config, trained.model, trained.assets, rows)
    return json.loads(store.to_json(metrics))


def examples(app, trained: Trained, path: str | None = None) -> list:
    """Returns the examples of a file, those kept at training, or those that the app's data gives again."""
    with one_line_errors():
        if path is not None:
            return app.read(trained.config, Path(path))
        kept = trained.folder / "test.json"
        return store.read_json(kept) if kept.exists() else app.data(trained.config).test


def checked_writable(folder: Path) -> None:
    with one_line_errors():
        store.writable(folder)


# --- export -----------------------------------------------------------------------------------------------------------


def export_flags(app, sub) -> None:
    if app.export_options:
        cli.add_flags(sub.add_argument_group("options"), app.export_options)


def export_command(app, args) -> int:
    """Writes the exported files and report.json beside the model; a failed check leaves them in export_failed/."""
    if app.export is None:
        raise UserError(f"expected an app with an export, got {app.name}: it has none")
    folder, options = app.folder(args.output), options_of(app.export_options, args)
    app.settings(folder)
    if bundle := getattr(options, "bundle", ""):
        with one_line_errors():
            check_place(bundle, folder)
    checked_writable(folder)
    with cli.entered(store.alone(folder)):  # else new weights may come while files are made of those before
        return exported(app, folder, options)


def exported(app, folder: Path, options) -> int:
    """Exports the model of a folder and returns the exit code."""
    start()
    trained = app.load(folder)
    stage = stage_of(folder)
    try:
        return publish(app, trained, stage, options)
    except OSError as error:
        if store.is_disk_full(error):
            raise store.disk_full(folder, 0) from error
        raise
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def publish(app, trained: Trained, stage: Path, options) -> int:
    """Exports into `stage`, moves the files to their place and returns the exit code."""
    rows = examples(app, trained)
    with one_line_errors():
        report = app.export(trained.config, trained.model, trained.assets, stage, rows, options)
    write_page(app, trained, stage, rows)
    ok = bool(report.get("ok", True))
    text, page = report.pop("text", None), report.pop("page", None)
    text = text or cli.table(json.loads(store.to_json(report)))
    (stage / SEAL).write_bytes(store.to_json(report))
    (stage / "report.md").write_text((page or text) + "\n", encoding="utf-8")
    place = trained.folder if ok else trained.folder / "export_failed"
    place.mkdir(exist_ok=True)
    for path in [place / SEAL, *place.glob("model_*.tflite")]:  # of an earlier export, perhaps in more formats
        path.unlink(missing_ok=True)
    store.replace_folder(stage, place)
    print(text)
    if ok and getattr(options, "bundle", ""):
        with one_line_errors():
            hand_over(place, options.bundle, f"keras_seq: {app.name}", app.doc.partition("\n\n")[0])
        print(f"the bundle for a mobile developer is in {options.bundle}; it begins with README.md")
    if not ok:
        message = f"error: expected files that agree with the model, got the differences above: see {place}"
        print(message, file=sys.stderr)
    return 0 if ok else 1


COMMANDS = {
    "train": Command("train the model and write it to the folder", train_flags, train_command),
    "predict": Command("apply the trained model, a line an example", predict_flags, predict_command),
    "evaluate": Command("measure the trained model on the test split", evaluate_flags, evaluate_command),
    "export": Command("write the files that a phone or a server runs, and check them", export_flags, export_command),
    "demo": Command("show a page that runs the exported file in your browser", demo_flags, demo_command),
}
