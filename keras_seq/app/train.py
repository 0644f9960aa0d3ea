"""The command `train`: checks, then data, model and `fit()`, then everything that `saved_models/<app>/` holds."""

import contextlib
import dataclasses
import datetime
import importlib.util
import math
import re
import sys
from pathlib import Path

from keras_seq.app import cli
from keras_seq.app.app import Data, Run, asset_files, plain_rows, round_trip, test_file
from keras_seq.app.cli import UserError, one_line_errors
from keras_seq.app.exported import SEAL
from keras_seq.app.start import command_started, device, fast_bfloat16, start, versions
from keras_seq.training import store

MAY_CHANGE = {"epochs", "steps", "minutes", "patience"}  # the only settings that a resumed run may have new
STALE = ("metrics.json", "README.md", SEAL, "learning_curves.png", "test.json")  # they tell of another model


def train_command(app, args) -> int:
    """Checks all that can be checked at once, then trains, alone in the folder."""
    folder = app.folder(args.output)
    store.settle(folder)
    note = checkpoint_note(app, folder) if args.resume else None
    config, run = settings(app, args, note)
    with one_line_errors():
        store.writable(folder)
    with cli.entered(store.alone(folder)):
        if not args.resume:
            announce(app, folder)
        return trained(app, config, run, folder, note)


def trained(app, config, run: Run, folder: Path, note: dict | None) -> int:
    """Trains and returns the exit code; a run that is stopped says how to go on."""
    try:
        train(app, config, run, folder, note)
        return 0
    except KeyboardInterrupt:
        print(f"\n{interrupted(app, folder)}", file=sys.stderr)
        return 130
    except BrokenPipeError as error:
        cli.drop_stdout()
        gone = "expected a reader of what is printed, got a closed pipe"
        raise UserError(f"{gone}: {interrupted(app, folder)}") from error
    except FloatingPointError as error:
        raise UserError(str(error)) from error


def settings(app, args, note: dict | None) -> tuple[object, Run]:
    """Returns the Config and the Run of the flags; on --resume what is not given is as it was.

    Raises:
        UserError: for a flag that differs from the run to be resumed.
    """
    chosen, own = cli.given(args, app.Config), {f.name for f in dataclasses.fields(app.Config)}
    common = cli.given(args, Run)
    if note is not None:
        for name, value in {**common, **chosen}.items():
            old = {**note["run"], **note["config"]}.get(name)
            if name not in MAY_CHANGE and value != old:
                flag = cli.as_option(name)
                was = f"expected {flag} {old} as in the run to resume, got {value}"
                raise UserError(f"{was}: leave {flag} out, or train without --resume")
        chosen, common = {**note["config"], **chosen}, {**note["run"], **common}
    with one_line_errors():
        config = app.configured(chosen, app.folder(args.output)) if note else app.Config(**chosen)
        shared = {f.name: getattr(config, f.name) for f in dataclasses.fields(Run) if f.name in own}
        chosen = {**common, **shared}
        return config, app.configured(chosen, app.folder(args.output), Run) if note else Run(**chosen)


def checkpoint_path(folder: Path) -> Path:
    return folder / "checkpoint.npz"


def checkpoint_note(app, folder: Path) -> dict:
    """Returns what a checkpoint says about its run.

    Raises:
        UserError: when there is none, it is damaged, or it is of another app.
    """
    path = checkpoint_path(folder)
    if not path.exists():
        raise UserError(f"expected a run to resume in {folder}, got none: train without --resume")
    with one_line_errors():
        note = store.read_note(path)
    app.check_own(note, folder)
    return note


def announce(app, folder: Path) -> None:
    """Says what happens to a model or an unfinished run that is already there."""
    with contextlib.suppress(UserError):  # none, a damaged one, or one of another app
        epoch = checkpoint_note(app, folder)["state"]["epoch"]
        return print(
            f"{folder} holds a run of {cli.counted(epoch, 'epoch')}: its files are replaced when the first epoch of "
            f"this one is done; `{app.command} train --resume{app.flag(folder)}` goes on with it instead"
        )
    if (folder / "config.json").exists():
        print(f"{folder} holds a trained model: its files are replaced when the first epoch of this run is done")


def interrupted(app, folder: Path) -> str:
    """Returns what to say of a run that is stopped; it may be in the middle of writing an epoch's files."""
    store.recover(folder)
    if not checkpoint_path(folder).exists():
        return "stopped before the end of the first epoch: nothing was written"
    epoch = checkpoint_note(app, folder)["state"]["epoch"]
    return f"stopped: run `{app.command} train --resume{app.flag(folder)}` to go on after epoch {epoch}"


def train(app, config, run: Run, folder: Path, note: dict | None = None) -> dict:
    """Trains and writes `folder`.

    Args:
        app: the App.
        config, run: its Config and the Run.
        folder: where everything is written.
        note: of the checkpoint to resume from, or None for a new run.

    Returns: the content of metrics.json.
    """
    start(run.seed)
    if run.mixed_precision is None:
        run = dataclasses.replace(run, mixed_precision=fast_bfloat16())
    from keras_seq.training.checkpoint import State, restore, size  # imports keras: after start() has made it quiet

    with one_line_errors():
        data = app.data(config)
    data = dataclasses.replace(data, test=plain_rows(data.test), samples=plain_rows(data.samples))
    assets = round_trip(data.assets)
    model = app.build(config, assets, run.mixed_precision)
    state = State(run=datetime.datetime.now().strftime("%Y-%m-%d-%H%M%S"))
    if note is not None:
        same_assets(folder, assets)
        with one_line_errors():
            state = restore(checkpoint_path(folder), model)
    elif data.begin:
        with one_line_errors():
            data.begin(model)
    store.require(folder, size(model))
    describe(app, data, model, folder, state)
    if not finished(run, state):
        fit(run, data, model, state, callbacks(app, config, run, folder, data, assets, state))
    return finish(app, config, run, folder, data, assets, state)


def same_assets(folder: Path, assets: dict) -> None:
    """Raises UserError when a resumed run makes other assets than it did, or the best weights so far are gone."""
    for name in ("config.json", "model.weights.h5"):
        if not (folder / name).exists():
            went = f"expected {name} as in the run to resume, got none"
            raise UserError(f"{went}: bring it back from a copy, or train without --resume")
    for name, content in asset_files(assets)[1].items():
        if not (folder / name).exists() or (folder / name).read_bytes() != content:
            raise UserError(
                f"expected {name} as in the run to resume, got another: the data or a setting that it is made from has "
                "changed; train without --resume"
            )


def describe(app, data: Data, model, folder: Path, state) -> None:
    """Prints the facts of a run before it begins."""
    facts = [f"device   {device()}", *(f"data     {fact}" for fact in data.facts)]
    facts.append(f"weights  {model.count_params():,} ({model.dtype_policy.name})")
    resumed = f", resumed after epoch {state.epoch}" if state.epoch else ""
    print("\n".join([f"{app.name}: training into {folder}{resumed}", *(f"  {fact}" for fact in facts)]), flush=True)


def finished(run: Run, state) -> bool:
    """Says whether a resumed run has nothing left to do; then only its files are written again."""
    reached = {
        "steps": run.steps and state.steps >= run.steps,
        "epochs": not run.steps and state.epoch >= run.epochs,
        "minutes": run.minutes and state.seconds >= 60 * run.minutes,
        "patience": run.patience and state.wait >= run.patience,
    }
    reason = next((name for name, done in reached.items() if done), None)
    if reason and state.epoch:
        print(f"nothing left to train: --{reason} was reached after epoch {state.epoch}; give a larger one to go on")
    return bool(reason and state.epoch)


def epochs(run: Run, data: Data, state) -> int | None:
    """Returns how many epochs there are at most, or None when only --steps can tell; some may have been cut short."""
    if not run.steps:
        return run.epochs
    steps = steps_of(data)
    return state.epoch + math.ceil((run.steps - state.steps) / steps) if steps else None


def steps_of(data: Data) -> int | None:
    """Returns how many batches an epoch of training has, or None where that is not known."""
    return getattr(data.train, "steps", None)


def fit(run: Run, data: Data, model, state, callbacks: list) -> None:
    """Calls `model.fit` with the callbacks that keep, show and limit the run."""
    model.fit(
        batches(data.train, state.epoch),
        initial_epoch=state.epoch,
        epochs=epochs(run, data, state) or sys.maxsize,
        steps_per_epoch=steps_of(data),
        shuffle=False,  # the batches come in their own order
        validation_data=whole(data.valid) if data.valid is not None else None,
        callbacks=callbacks,
        verbose=0,
    )
    state.stopped = state.stopped or "epochs"


def batches(source, epoch: int):
    """Returns the tf.data.Dataset that begins at an epoch."""
    return source.dataset(epoch=epoch) if hasattr(source, "dataset") else source


def whole(source):
    """Returns one epoch of a source, the same each time."""
    return source.dataset(epoch=0).take(source.steps) if hasattr(source, "dataset") else source


def callbacks(app, config, run: Run, folder: Path, data: Data, assets: dict, state) -> list:
    """Returns them in the order in which they need each other's results."""
    from keras_seq import plots
    from keras_seq.training.callbacks import Board, Clock, Keeper, Progress, Showing

    facts = settings_of(app, config, run)
    files = {**dict.fromkeys(STALE), **config_file(facts, assets), **asset_files(assets)[1], **test_file(data.test)}
    showing = Showing(lambda model: app.preview(config, model, assets, samples(data))) if app.preview else None
    keeper = Keeper(folder, state, facts, files, app.monitor, app.mode, run.patience, run.keep)
    progress = Progress(state, epochs(run, data, state), steps_of(data), showing)
    board = Board(folder / "logs" / state.run, state, showing, plots.pixels) if tensorboard() else None
    clock = Clock(state, run.steps, run.minutes, command_started())
    return [callback for callback in (clock, showing, board, keeper, progress) if callback is not None]


def settings_of(app, config, run: Run) -> dict:
    """Returns what the checkpoint and config.json say of a run."""
    return {"app": app.name, "config": dataclasses.asdict(config), "run": dataclasses.asdict(run)}


def config_file(settings: dict, assets: dict) -> dict[str, bytes]:
    """Returns {"config.json": ...}: the settings, and the files of the assets."""
    return {"config.json": store.to_json({**settings, "assets": asset_files(assets)[0]})}


def samples(data: Data) -> list:
    """Returns the examples of the preview."""
    return data.samples or data.test[:100]


def tensorboard() -> bool:
    """Says whether TensorBoard's logs can be written."""
    if importlib.util.find_spec("tensorboard"):
        return True
    print("  logs     none: `pip install tensorboard` to get them")
    return False


# --- after fit --------------------------------------------------------------------------------------------------------


def finish(app, config, run: Run, folder: Path, data: Data, assets: dict, state) -> dict:
    """Loads the best weights as a user will, tests them, and writes metrics.json, the pictures and the model card.

    config.json came with those weights: a resumed run, whose limits may be others, may have found no better ones.
    """
    from keras_seq import plots
    from keras_seq.app.commands import evaluated, examples
    from keras_seq.training.card import model_card

    trained = dataclasses.replace(app.load(folder), config=config)
    test = evaluated(app, trained, examples(app, trained)) if app.evaluate and data.test else {}
    metrics = {"test": test, **numbers(run, state, trained.model)}
    pictures = {"learning_curves.png": plots.png(plots.learning_curves(state.history, best=kept_epoch(run, state)))}
    pictures |= {f"{file_name(k)}.png": plots.png(v) for k, v in figures(app, trained, data).items()}
    facts = card_facts(app, run, data, metrics, trained)
    card = model_card(facts, list(asset_files(trained.assets)[1]), list(pictures))
    files = {"metrics.json": store.to_json(metrics), "README.md": card.encode(), **pictures}
    files |= config_file(settings_of(app, config, run), assets)
    store.commit(folder, files, needed=sum(map(len, files.values())) + 100_000)
    print(summary(app, metrics, folder))
    return metrics


def figures(app, trained, data: Data) -> dict:
    """Returns the preview's figures of the first test examples."""
    if not app.preview or not data.test:
        return {}
    return app.preview(trained.config, trained.model, trained.assets, data.test[: app.shown]).figures


def file_name(name: str) -> str:
    return re.sub(r"[^\w.-]+", "_", name).strip("_.") or "figure"


def kept_epoch(run: Run, state) -> int:
    """Returns the epoch, counted from 1, whose weights are handed on."""
    return state.epoch if run.keep == "last" else state.best_epoch


def numbers(run: Run, state, model) -> dict:
    """Returns what metrics.json says of the training."""
    training = {
        "epochs": state.epoch,
        "steps": state.steps,
        "best_epoch": state.best_epoch,
        "best": state.best,
        "kept_epoch": kept_epoch(run, state),
        "stopped_by": state.stopped or "epochs",
        "minutes": round(state.seconds / 60, 3),
        "cpu_minutes": round(state.cpu_seconds / 60, 3),
        "seconds_to_first_step": round(state.first_step, 2) if state.first_step else None,
        "cpu_seconds_to_first_step": round(state.cpu_first_step, 2) if state.cpu_first_step else None,
        "weights": model.count_params(),
        "seed": run.seed,
        "mixed_precision": run.mixed_precision,
        "device": device(),
    }
    return {"training": training, "history": state.history, "versions": versions()}


def card_facts(app, run: Run, data: Data, metrics: dict, trained) -> dict:
    """Returns what the model card says, by the names in its template."""
    training, own = metrics["training"], {field.name for field in dataclasses.fields(trained.config)}
    rest = {f.name: f.default for f in dataclasses.fields(Run) if f.name in own}  # the Config's flags say these
    return {
        **training,
        "epochs": cli.counted(training["epochs"], "epoch"),
        "steps": cli.counted(training["steps"], "step"),
        "name": app.name,
        "summary": app.doc.partition("\n")[0],
        "date": datetime.date.today().isoformat(),
        "command": app.command,
        "flags": cli.as_flags(trained.config) + cli.as_flags(dataclasses.replace(run, **rest)),
        "output": app.flag(trained.folder),
        "cpu": f"{training['cpu_minutes']:.1f}",
        "minutes": f"{training['minutes']:.1f}",
        "weights": f"{training['weights']:,}",
        "data": "\n".join(f"- {fact}" for fact in data.facts) or "See the app's file.",
        "test": f"{len(data.test):,}",
        "note": "" if app.read is None else " (`evaluate --input FILE` measures on others)",
        "results": cli.table(metrics["test"], indent="") or "no evaluation",
        "module": app.command.removeprefix("python -m "),
        "folder": trained.folder.as_posix(),
        "config": cli.table(dataclasses.asdict(trained.config), indent=""),
        "versions": ", ".join(f"{name} {version}" for name, version in metrics["versions"].items()),
        "about": app.about,
    }


def summary(app, metrics: dict, folder: Path) -> str:
    """Returns the last lines of a training: the result and what can be done with it."""
    training, flag = metrics["training"], app.flag(folder)
    done = f"{cli.counted(training['epochs'], 'epoch')}, {cli.counted(training['steps'], 'step')}"
    lines = [
        f"stopped by --{training['stopped_by']} after {done}, {training['minutes']:.1f} minutes; "
        f"the weights of epoch {training['kept_epoch']} are kept",
        *(["test", cli.table(metrics["test"])] if metrics["test"] else []),
        f"everything is in {folder}; next:",
        f'  {app.command} predict{flag} "..."',
        *([f"  {app.command} export{flag}"] if app.export else []),
    ]
    return "\n".join(lines)
