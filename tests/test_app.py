"""An app trains, resumes, evaluates, predicts and exports; what a user does wrong is one line and loses nothing."""

import dataclasses
import errno
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from keras_seq.app import App, Preview, Run, UserError, result_paths
from keras_seq.app.commands import predicted
from keras_seq.deploy import Limits
from keras_seq.training import callbacks, checkpoint, store
from tests import toy

ROOT = Path(__file__).parents[1]
APP = toy.APP


def train(folder, *flags, app=APP):
    """Trains in float32 whatever the machine is fast at, unless `flags` say something else."""
    dtype = [] if {"--resume", "--mixed-precision"} & set(flags) else ["--no-mixed-precision"]
    return app.run(["train", "--output", str(folder), *dtype, *map(str, flags)])


def weights(folder, app=APP):
    return [np.array(v) for v in app.load(folder).model.trainable_variables]


def metrics(folder):
    return store.read_json(Path(folder) / "metrics.json")


def note(folder):
    return store.read_note(Path(folder) / "checkpoint.npz")


def assert_same(one, other):
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of an uninterrupted run of the default settings."""
    folder = tmp_path_factory.mktemp("trained") / "toy"
    assert train(folder) == 0
    return folder


@pytest.fixture
def copy(trained, tmp_path):
    """A copy of that folder, to be changed."""
    return Path(shutil.copytree(trained, tmp_path / "copy"))


# --- train ------------------------------------------------------------------------------------------------------------


def test_training_leaves_a_whole_folder(trained):
    names = {p.name for p in trained.iterdir()}
    assert names == {
        "config.json", "model.weights.h5", "labels.json", "note.bin", "test.json", "metrics.json", "README.md",
        "learning_curves.png", "weights.png", "checkpoint.npz", "logs",
    }  # fmt: skip
    assert store.read_json(trained / "config.json")["config"] == dataclasses.asdict(toy.Config())
    assert (trained / "note.bin").read_bytes() == b"\x00\xffraw"
    assert (trained / "weights.png").read_bytes()[:4] == b"\x89PNG"


def test_metrics_hold_the_numbers_of_the_training(trained):
    found = metrics(trained)
    training = found["training"]
    assert (training["epochs"], training["steps"], training["stopped_by"]) == (4, 24, "epochs")
    assert training["best"] == min(found["history"]["val_loss"])
    assert training["best_epoch"] == 1 + int(np.argmin(found["history"]["val_loss"]))
    assert {len(column) for column in found["history"].values()} == {4}
    assert training["seconds_to_first_step"] > 0
    assert training["minutes"] > 0
    assert training["cpu_minutes"] > 0
    assert training["weights"] == APP.load(trained).model.count_params()
    assert 0 <= found["test"]["accuracy"] <= 1
    assert set(found["versions"]) == {"python", "keras_seq", "keras", "tensorflow"}


def test_the_model_card_tells_the_results_and_names_only_files_that_exist(trained):
    import re

    card = (trained / "README.md").read_text(encoding="utf-8")
    assert "Tells whether the first number of a row returns" in card
    assert ":\n4 epochs, 24 steps, " in card
    assert "The rows are random numbers." in card
    assert f"accuracy  {metrics(trained)['test']['accuracy']:.4g}" in card
    assert "96 rows for training" in card
    for name in re.findall(r"^- `([^`]+)`:", card, re.MULTILINE) + re.findall(r"\]\((\w+\.png)\)", card):
        assert (trained / name).exists(), name


def test_tensorboard_gets_scalars_text_and_images(trained):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = {}
    for run in ("train", "validation"):
        events = EventAccumulator(str(next((trained / "logs").iterdir()) / run))
        events.Reload()
        found[run] = set(events.Tags()["tensors"])
    assert {"loss", "step_loss", "learning_rate"} <= found["train"]
    assert {"loss", "accuracy", "samples", "weights"} <= found["validation"]


@pytest.mark.parametrize(("every", "points"), [(1, [1, 2, 3, 4, 5]), (2, [1, 3, 5]), (50, [1])])
def test_tensorboard_gets_a_point_every_so_many_steps(every, points, tmp_path, monkeypatch):
    import keras

    state, written = checkpoint.State(), []
    board = callbacks.Board(tmp_path, state, None, None, every)
    monkeypatch.setattr(board, "scalars", lambda run, values, step: written.append(step))
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    board.set_model(model)
    for state.steps in range(1, 6):
        board.on_train_batch_end(0, {"loss": 0.0})
    assert written == points


def test_the_best_weights_are_kept_not_the_last(tmp_path):
    """A preview whose score falls after the second epoch: the weights of the second are kept, and patience ends it."""
    seen = []

    def preview(config, model, assets, examples):
        seen.append([np.array(v) for v in model.trainable_variables])
        return Preview({"score": {1: 0.1, 2: 0.9, 3: 0.5}.get(len(seen), 0.4)})

    app = dataclasses.replace(APP, preview=preview, monitor=("not_there", "score"), mode="max")
    assert train(tmp_path, "--patience", 2, "--epochs", 9, app=app) == 0
    training = metrics(tmp_path)["training"]
    assert (training["epochs"], training["best_epoch"], training["best"]) == (4, 2, 0.9)
    assert training["stopped_by"] == "patience"
    assert_same(weights(tmp_path), seen[1])


def test_keep_last_hands_on_the_weights_of_the_last_epoch(tmp_path):
    """A falling score: the best epoch is still told, the weights and the marks are the last's, resumed or not."""
    seen = []

    def preview(config, model, assets, examples):
        seen.append([np.array(v) for v in model.trainable_variables])
        return Preview({"score": 1 / len(seen)})

    app = dataclasses.replace(APP, preview=preview, monitor="score", mode="max")
    assert train(tmp_path, "--keep", "last", "--patience", 0, "--epochs", 2, app=app) == 0
    assert_same(weights(tmp_path), seen[1])
    assert train(tmp_path, "--resume", "--epochs", 3, app=app) == 0
    training = metrics(tmp_path)["training"]
    assert (training["best_epoch"], training["kept_epoch"]) == (1, 3)
    assert "the weights are those of epoch 3" in (tmp_path / "README.md").read_text()
    assert_same(weights(tmp_path), seen[3])  # two epochs, the pictures of the first run, and this


def test_the_same_seed_gives_the_same_run_and_another_seed_another(trained, tmp_path):
    assert train(tmp_path / "same") == 0
    assert train(tmp_path / "other", "--seed", 1) == 0
    assert metrics(tmp_path / "same")["history"] == metrics(trained)["history"]
    assert metrics(tmp_path / "other")["history"] != metrics(trained)["history"]


def test_steps_end_the_run_in_the_middle_of_an_epoch_and_overrule_epochs(tmp_path):
    assert train(tmp_path, "--steps", 8, "--epochs", 1) == 0
    training = metrics(tmp_path)["training"]
    assert (training["steps"], training["epochs"], training["stopped_by"]) == (8, 2, "steps")


def test_minutes_end_the_run_at_a_batch(tmp_path, capsys):
    assert train(tmp_path, "--minutes", 0.02, "--epochs", 500, "--slow", 0.05, "--patience", 0) == 0
    training = metrics(tmp_path)["training"]
    assert training["stopped_by"] == "minutes"
    assert 0.02 <= training["minutes"] < 0.5
    assert train(tmp_path, "--resume") == 0
    assert "nothing left to train: --minutes was reached after epoch" in capsys.readouterr().out


def test_mixed_precision_trains_in_bfloat16_and_is_used_in_float32(tmp_path):
    import keras

    policies = []

    def model(config, assets):
        policies.append(keras.config.dtype_policy().name)
        return toy.model(config, assets)

    app = dataclasses.replace(APP, model=model)
    assert train(tmp_path, "--mixed-precision", "--epochs", 1, app=app) == 0
    assert policies == ["mixed_bfloat16", "float32"]  # the second is the model that is tested and handed on
    assert keras.config.dtype_policy().name == "float32"
    assert train(tmp_path, "--resume", "--epochs", 2, app=app) == 0  # on with what it was given before
    assert note(tmp_path)["run"]["mixed_precision"] is True


def test_a_loss_that_is_not_a_number_keeps_the_weights_before(tmp_path, capsys):
    def model(config, assets):
        net = toy.model(config, assets)
        net.compile("sgd", lambda y, x: x * float("nan"))
        return net

    assert train(tmp_path, app=dataclasses.replace(APP, model=model, preview=None)) == 2
    assert "error: expected finite numbers, got loss = nan in epoch 1: lower" in capsys.readouterr().err
    assert not (tmp_path / "model.weights.h5").exists()


def test_a_new_run_replaces_a_model_when_its_first_epoch_is_done(copy, capsys):
    (copy / "report.json").write_text("{}")
    before = {p: p.read_bytes() for p in copy.iterdir() if p.is_file()}

    def preview(config, model, assets, examples):
        raise KeyboardInterrupt

    assert train(copy, "--units", 3, app=dataclasses.replace(APP, preview=preview)) == 130
    printed = capsys.readouterr()
    assert "holds a run of 4 epochs: its files are replaced when the first epoch of this one is done" in printed.out
    assert {p: p.read_bytes() for p in copy.iterdir() if p.is_file()} == before
    assert train(copy, "--units", 3, "--epochs", 1) == 0
    assert store.read_json(copy / "config.json")["config"]["units"] == 3
    card = (copy / "README.md").read_text(encoding="utf-8")
    assert f"`python -m tests.toy train --units 3 --epochs 1 --no-mixed-precision --output {copy}`" in card
    assert not (copy / "report.json").exists()  # it told of the model before
    assert note(copy)["state"]["epoch"] == 1


# --- resume -----------------------------------------------------------------------------------------------------------


def start(folder, *flags):
    """Starts a training in a fresh process."""
    argv = [sys.executable, "-m", "tests.toy", "train", "--no-mixed-precision", "--output", str(folder)]
    argv += map(str, flags)
    return subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def into_a_closed_pipe(*flags):
    """Runs a command as `... | head -1` does when `head` has gone; what Python holds back comes at the very end."""
    reader, writer = os.pipe()
    os.close(reader)
    argv = [sys.executable, "-m", "tests.toy", *map(str, flags)]
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(argv, cwd=ROOT, env=env, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    return done


def wait_for(path, process):
    for _ in range(3000):
        if path.exists():
            return
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    raise AssertionError(f"{path} did not come")


def test_a_run_killed_in_an_epoch_ends_with_the_weights_of_one_that_was_not(trained, tmp_path):
    with start(tmp_path, "--slow", 0.3) as process:
        wait_for(tmp_path / "checkpoint.npz", process)
        time.sleep(0.7)  # into the middle of the second epoch or a later one
        process.send_signal(signal.SIGKILL)
    done = note(tmp_path)["state"]["epoch"]
    assert 1 <= done < 4
    APP.load(tmp_path)  # what it left is a whole model
    assert train(tmp_path, "--resume") == 0
    assert_same(weights(tmp_path), weights(trained))
    one, other = metrics(tmp_path), metrics(trained)
    for name in one["history"]:
        np.testing.assert_allclose(one["history"][name], other["history"][name], atol=1e-6)
    for name in ("epochs", "steps", "best_epoch"):
        assert one["training"][name] == other["training"][name]
    a, b = (np.load(f / "checkpoint.npz") for f in (tmp_path, trained))
    for name in set(a.files) - {"note"}:  # the optimizer's variables and the seeds of dropout too
        np.testing.assert_allclose(a[name], b[name], atol=1e-6)


def test_weights_go_back_into_the_layers_they_came_from(tmp_path):
    import keras

    def model(*names):
        made = keras.Sequential([keras.Input((3,)), *(keras.layers.Dense(3, name=name) for name in names)])
        made.compile("adam", "mse")
        return made

    for names in (("first", "second"), (None, None)):  # those without a name get numbers
        before, again = model(*names), model(*names)
        checkpoint.write_checkpoint(tmp_path / "c.npz", before, checkpoint.State(epoch=3), {})
        assert checkpoint.restore(tmp_path / "c.npz", again).epoch == 3
        assert_same(before.get_weights(), again.get_weights())
        with pytest.raises(ValueError, match="other names or shapes"):
            checkpoint.restore(tmp_path / "c.npz", model("second", "first"))


def test_ctrl_c_says_how_to_go_on_and_patience_is_counted_over_both(tmp_path, capsys):
    """Scores fall from the first epoch on: with patience 3 the run ends after the fourth, interrupted or not."""
    scores = iter([0.9, 0.5, KeyboardInterrupt, 0.4, 0.3, 0.2, 0.1])

    def preview(config, model, assets, examples):
        score = next(scores)
        if score is KeyboardInterrupt:
            raise score
        return Preview({"score": score})

    app = dataclasses.replace(APP, preview=preview, monitor="score", mode="max")
    assert train(tmp_path, "--epochs", 9, app=app) == 130
    command = f"python -m tests.toy train --resume --output {tmp_path}"
    assert f"stopped: run `{command}` to go on after epoch 2" in capsys.readouterr().err
    kept = weights(tmp_path)
    assert train(tmp_path, "--resume", app=app) == 0
    training = metrics(tmp_path)["training"]
    assert (training["epochs"], training["best_epoch"], training["stopped_by"]) == (4, 1, "patience")
    assert_same(weights(tmp_path), kept)


def test_ctrl_c_in_the_first_epoch_leaves_nothing(tmp_path, capsys):
    def preview(config, model, assets, examples):
        raise KeyboardInterrupt

    assert train(tmp_path / "new", app=dataclasses.replace(APP, preview=preview)) == 130
    assert "before the end of the first epoch" in capsys.readouterr().err
    assert not (tmp_path / "new" / "model.weights.h5").exists()


def test_a_terminated_run_says_how_to_go_on(tmp_path):
    with start(tmp_path, "--slow", 0.3) as process:
        wait_for(tmp_path / "checkpoint.npz", process)
        process.terminate()
        error = process.communicate()[1]
    assert process.returncode == 130
    assert f"stopped: run `python -m tests.toy train --resume --output {tmp_path}`" in error
    assert "Traceback" not in error
    assert not (tmp_path / ".writing").exists()


def test_a_training_whose_output_nobody_reads_any_more_is_no_success(tmp_path):
    done = into_a_closed_pipe("train", "--output", tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: expected a reader of what is printed, got a closed pipe: stopped")
    assert done.stderr.count("\n") == 1


def test_a_finished_run_can_be_given_more_epochs(copy, capsys):
    assert train(copy, "--resume") == 0
    assert "nothing left to train: --epochs was reached after epoch 4" in capsys.readouterr().out
    assert train(copy, "--resume", "--epochs", 5) == 0
    assert metrics(copy)["training"]["epochs"] == 5
    assert store.read_json(copy / "metrics.json")["history"]["loss"][:4] == metrics(copy)["history"]["loss"][:4]


def test_new_weights_of_a_resumed_run_remove_what_tells_of_the_old_ones(copy):
    def preview(config, model, assets, examples):
        if note(copy)["state"]["epoch"] == 5:
            raise KeyboardInterrupt
        return Preview({"score": 1.0})

    app = dataclasses.replace(APP, preview=preview, monitor="score", mode="max")
    assert train(copy, "--resume", "--epochs", 9, app=app) == 130
    assert note(copy)["state"]["best_epoch"] == 5
    assert not {"metrics.json", "README.md", "learning_curves.png"} & {path.name for path in copy.iterdir()}
    assert train(copy, "--resume", "--epochs", 5) == 0  # nothing left to train: they are written
    assert metrics(copy)["training"]["best_epoch"] == 5


def test_steps_are_counted_and_not_the_epochs_that_they_cut_short(tmp_path):
    """6 steps an epoch: 8 end in the second one, and 24 in the fifth, as two were not run to their end."""
    assert train(tmp_path, "--steps", 8) == 0
    assert train(tmp_path, "--resume", "--steps", 24) == 0
    training = metrics(tmp_path)["training"]
    assert (training["steps"], training["epochs"], training["stopped_by"]) == (24, 5, "steps")


def test_the_card_of_a_resumed_run_states_its_own_limits_and_folder(tmp_path):
    """Also where no better weights were found: the score falls from the first epoch on."""
    seen = []

    def preview(config, model, assets, examples):
        seen.append(0)
        return Preview({"score": 1 / len(seen)})

    app, folder = dataclasses.replace(APP, preview=preview, monitor="score", mode="max"), tmp_path / "a folder"
    assert train(folder, "--epochs", 1, "--patience", 0, app=app) == 0
    assert train(folder, "--resume", "--epochs", 2, app=app) == 0
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "train --epochs 2 --patience 0" in card
    assert "--epochs 1" not in card
    assert card.count(f"--output '{folder}'") == 3  # of train, evaluate and export
    assert store.read_json(folder / "config.json")["config"]["epochs"] == 2


@pytest.mark.parametrize("flags", [["--units", "3"], ["--seed", "5"], ["--no-bias"], ["--mixed-precision"]])
def test_a_setting_other_than_that_of_the_run_is_named(flags, trained, capsys):
    assert train(trained, "--resume", *flags) == 2
    error = capsys.readouterr().err
    assert f"expected {flags[0].replace('--no-', '--')} " in error
    assert "as in the run to resume" in error


def test_data_that_changed_since_is_an_error(copy, capsys):
    def data(config):
        return dataclasses.replace(toy.data(config), assets={"labels": ["returns", "new"], "note.bin": b"\x00\xffraw"})

    assert train(copy, "--resume", "--epochs", 5, app=dataclasses.replace(APP, data=data)) == 2
    assert "expected labels.json as in the run to resume, got another" in capsys.readouterr().err


def cut_off(path):
    path.write_bytes(path.read_bytes()[:-9])


def emptied(path):
    path.write_bytes(b"")


@pytest.mark.parametrize("spoil", [cut_off, emptied, Path.unlink])
@pytest.mark.parametrize("name", ["config.json", "model.weights.h5", "labels.json", "checkpoint.npz"])
def test_a_damaged_file_is_named_and_a_new_training_goes_over_it(name, spoil, copy, capsys):
    spoil(copy / name)
    command = ["predict", "1 2 3 4 5 6 1"] if name != "checkpoint.npz" else ["train", "--resume"]
    assert APP.run([*command, "--output", str(copy)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert name in error or f"no trained model in {copy}" in error or f"run to resume in {copy}" in error
    if name == "checkpoint.npz":
        assert train(copy, "--steps", 1) == 0


def test_evaluate_names_a_damaged_test_set_and_writes_damaged_metrics_again(copy, capsys):
    emptied(copy / "metrics.json")
    assert APP.run(["evaluate", "--output", str(copy)]) == 0
    assert 0 <= metrics(copy)["test"]["accuracy"] <= 1
    emptied(copy / "test.json")
    assert APP.run(["evaluate", "--output", str(copy)]) == 2
    assert f"got {copy / 'test.json'}, which is damaged" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["config.json", "model.weights.h5"])
def test_a_run_whose_best_weights_are_gone_is_not_resumed(name, copy, capsys):
    (copy / name).unlink()
    assert train(copy, "--resume", "--epochs", 5) == 2
    assert f"expected {name} as in the run to resume, got none" in capsys.readouterr().err
    assert note(copy)["state"]["epoch"] == 4


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"app": "other"}, "got one of other"),
        ({"run": 1}, "got a difference in 'new'"),
        ({"state": 1}, "code has changed"),
    ],
)
def test_a_run_of_another_app_or_a_newer_version_is_not_resumed(part, message, copy, capsys):
    facts = {**note(copy), **{k: v if k == "app" else {**note(copy)[k], "new": v} for k, v in part.items()}}
    with np.load(copy / "checkpoint.npz") as data:
        arrays = dict(data)
    np.savez(copy / "checkpoint.npz", **{**arrays, "note": np.frombuffer(store.to_json(facts), "uint8")})
    assert train(copy, "--resume", "--epochs", 5) == 2
    assert message in capsys.readouterr().err
    assert train(copy, "--steps", 1) == 0
    assert ("goes on with it instead" in capsys.readouterr().out) == ("app" not in part)


def test_a_model_that_changed_since_is_an_error(copy, capsys):
    def model(config, assets):
        return toy.model(dataclasses.replace(config, units=3), assets)

    assert train(copy, "--resume", "--epochs", 5, app=dataclasses.replace(APP, model=model)) == 2
    assert "its code has changed" in capsys.readouterr().err


# --- what can go wrong ------------------------------------------------------------------------------------------------


def test_a_full_disk_in_the_second_epoch_keeps_the_first(tmp_path, monkeypatch, capsys):
    real, calls = callbacks.write_checkpoint, []

    def full(path, *rest):
        calls.append(path)
        if len(calls) == 2:
            path.write_bytes(b"half")
            raise OSError(28, "No space left on device")
        real(path, *rest)

    monkeypatch.setattr(callbacks, "write_checkpoint", full)
    assert train(tmp_path) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: expected ")
    assert "free some space" in error
    assert error.count("\n") == 1
    assert note(tmp_path)["state"]["epoch"] == 1
    assert not list(tmp_path.glob(".*"))
    APP.load(tmp_path)
    assert train(tmp_path, "--resume", "--epochs", 2) == 0


def test_a_disk_without_room_is_known_before_training(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(store, "free", lambda folder: 1000)
    assert train(tmp_path) == 2
    assert "got 0.0 MB: free some space" in capsys.readouterr().err


def test_a_bug_keeps_its_traceback(tmp_path):
    def data(config):
        raise KeyError("a bug")

    with pytest.raises(KeyError, match="a bug"):
        train(tmp_path, app=dataclasses.replace(APP, data=data))


def test_what_a_reader_says_is_one_line(tmp_path, capsys):
    def data(config):
        raise ValueError("expected two columns in pairs.tsv, got one in line 3: separate them by a TAB")

    assert train(tmp_path, app=dataclasses.replace(APP, data=data)) == 2
    assert (
        capsys.readouterr().err
        == "error: expected two columns in pairs.tsv, got one in line 3: separate them by a TAB\n"
    )


def test_a_model_of_another_app_or_another_config_is_an_error(copy, capsys):
    assert dataclasses.replace(APP, name="other").run(["predict", "--output", str(copy), "1"]) == 2
    assert "expected a model of the app other" in capsys.readouterr().err
    saved = store.read_json(copy / "config.json")
    saved["config"]["gone"] = 1
    store.commit(copy, {"config.json": store.to_json(saved)})
    with pytest.raises(UserError, match="'gone'"):
        APP.load(copy)


def test_run_limits_are_checked():
    with pytest.raises(UserError, match="--patience of at least 0, got -1"):
        Run(patience=-1)


def test_a_model_that_is_not_built_is_the_authors_error():
    import keras

    app = dataclasses.replace(APP, model=lambda config, assets: keras.Sequential([keras.layers.Dense(2)]))
    with pytest.raises(TypeError, match="built and compiled"):
        app.build(toy.Config(), {})


def test_an_app_of_five_names_needs_no_more(tmp_path, capsys):
    app = App(
        "toy", toy.Config, lambda c: dataclasses.replace(toy.data(c), valid=None, test=()), toy.model, toy.predict
    )
    assert train(tmp_path, "--epochs", 1, app=app) == 0
    assert metrics(tmp_path)["test"] == {}
    assert not (tmp_path / "test.json").exists()
    assert app.run(["evaluate", "--output", str(tmp_path)]) == 2
    assert "it has none" in capsys.readouterr().err


# --- predict, evaluate, export ----------------------------------------------------------------------------------------

ROWS = ["1 2 3 4 5 6 7", "", "3 3 3 3 3 3 3"]


def predict(folder, *argv, app=APP):
    return app.run(["predict", "--output", str(folder), *argv])


def stdin_of(monkeypatch, content: bytes):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


def test_predict_prints_a_line_an_example(trained, tmp_path, monkeypatch, capsys):
    assert predict(trained, *ROWS) == 0
    wanted = capsys.readouterr().out
    assert wanted.count("\n") == 3
    assert wanted.split("\n")[1] == ""
    assert set(wanted.split()) <= {"new", "returns"}
    path = tmp_path / "rows.txt"
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(ROWS).encode())  # as an editor on Windows writes it
    assert predict(trained, "--input", str(path)) == 0
    assert capsys.readouterr().out == wanted
    stdin_of(monkeypatch, "\n".join(ROWS).encode())
    assert predict(trained, "-", app=dataclasses.replace(APP, batch=1)) == 0
    assert capsys.readouterr().out == wanted


def test_predict_takes_the_apps_options(trained, capsys):
    assert predict(trained, ROWS[0], "--threshold", "1e6", "--both") == 0
    assert capsys.readouterr().out == "new\tNEW\n"


def test_a_result_belongs_to_its_text_and_none_may_be_missing():
    assert predicted(lambda texts: [text.upper() for text in texts], ["a", " ", "b", ""]) == ["A", "", "B", ""]
    with pytest.raises(TypeError, match="expected 2 results of predict.., got 1"):
        predicted(lambda texts: texts[:1], ["a", "", "b"])


def test_predict_of_nothing_prints_nothing(trained, monkeypatch, capsys):
    stdin_of(monkeypatch, b"")
    assert predict(trained, "-") == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"1 2 3\n", "expected 7 numbers in a row, got 3"), (b"1 1 1 1 1 1 1\n\xff\n", "in line 2 of")],
)
def test_predict_says_what_is_wrong_with_a_file(content, message, trained, tmp_path, capsys):
    (tmp_path / "rows.txt").write_bytes(content)
    assert predict(trained, "--input", str(tmp_path / "rows.txt")) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert predict(trained, "--input", str(tmp_path / "gone.txt")) == 2
    assert "No such file or directory" in capsys.readouterr().err


def test_predict_into_a_closed_pipe_is_quiet(trained):
    """`predict ... | head -1` on more than a pipe holds."""
    done = into_a_closed_pipe("predict", "--output", trained, "1 2 3 4 5 6 7")
    assert (done.returncode, done.stderr) == (0, "")


def test_an_export_into_a_closed_pipe_writes_its_files(copy):
    done = into_a_closed_pipe("export", "--output", copy)
    assert (done.returncode, done.stderr) == (0, "")
    assert (copy / "report.json").exists()


def test_a_package_that_is_not_installed_is_named(trained, capsys):
    def missing(name):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    app = dataclasses.replace(APP, predict=lambda *_, **__: missing("no_such_package.part"))
    assert predict(trained, ROWS[0], app=app) == 2
    expected = "error: expected the Python package no_such_package, got none: run `pip install -e .`"
    assert capsys.readouterr().err.startswith(expected)
    app = dataclasses.replace(APP, predict=lambda *_, **__: missing("keras_seq.gone"))
    with pytest.raises(ModuleNotFoundError):
        predict(trained, ROWS[0], app=app)


def test_closed_streams_are_empty_ones(trained):
    argv = [sys.executable, "-m", "tests.toy", "predict", "-", "--output", str(trained)]
    done = subprocess.run(["sh", "-c", 'exec "$@" <&- >&-', "sh", *argv], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("command", ["predict", "evaluate", "export"])
def test_ctrl_c_is_no_traceback(command, copy, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    app = dataclasses.replace(APP, **{command: interrupted})
    words = ["1 2 3 4 5 6 7"] if command == "predict" else []
    assert app.run([command, "--output", str(copy), *words]) == 130
    assert capsys.readouterr().err == "\nstopped\n"
    assert not list(copy.glob(".export*"))


def test_evaluate_repeats_the_test_of_the_training(copy, capsys):
    before = metrics(copy)
    store.commit(copy, {"metrics.json": store.to_json({**before, "test": {}})})
    assert APP.run(["evaluate", "--output", str(copy)]) == 0
    assert metrics(copy) == before
    assert "by_label" in capsys.readouterr().out


def test_evaluate_on_a_file_leaves_the_metrics(copy, tmp_path, capsys):
    before = metrics(copy)
    (tmp_path / "rows.txt").write_text("1 2 3 4 5 6 7 0\n3 3 3 3 3 3 3 1\n")
    assert APP.run(["evaluate", "--output", str(copy), "--input", str(tmp_path / "rows.txt")]) == 0
    assert "all     2" in capsys.readouterr().out
    assert metrics(copy) == before


def test_export_writes_the_files_and_the_report(copy, capsys):
    for _ in range(2):  # again over its own files
        assert APP.run(["export", "--output", str(copy)]) == 0
    assert (copy / "toy_saved" / "part.bin").read_bytes() == b"part"
    assert json.loads((copy / "report.json").read_text())["examples"] == 32
    assert not list(copy.glob(".*"))
    assert "toy.bin" in capsys.readouterr().out


def test_a_loaded_model_answers_as_the_command_does(trained, capsys):
    assert predict(trained, *ROWS, "--both") == 0
    printed = capsys.readouterr().out.splitlines()
    loaded = APP.load(trained)
    assert ["\t".join(row) for row in loaded.predict(ROWS, both=True)] == printed
    assert loaded.predict(["", *ROWS]) == ["", *(line.partition("\t")[0] for line in printed)]
    assert dataclasses.replace(APP, batch=1).load(trained).predict(iter(ROWS)) == loaded.predict(ROWS)
    with pytest.raises(UserError, match="expected 7 numbers"):
        loaded.predict(["1 2"])
    with pytest.raises(TypeError, match="beam"):
        loaded.predict(ROWS, beam=3)
    bare = dataclasses.replace(APP, predict_options=None).load(trained)
    assert bare.predict(ROWS) == loaded.predict(ROWS)


def test_a_loaded_model_that_was_changed_is_saved_for_the_commands(trained, tmp_path, capsys):
    loaded, folder = APP.load(trained), tmp_path / "new"
    for variable in loaded.model.trainable_variables:
        variable.assign(variable * 0.5)
    loaded.save(folder)
    assert {path.name for path in folder.iterdir()} == {
        "config.json", "model.weights.h5", "labels.json", "note.bin", "test.json",
    }  # fmt: skip
    assert_same(weights(folder), [0.5 * each for each in weights(trained)])
    assert APP.run(["evaluate", "--output", str(folder)]) == 0
    assert "accuracy" in capsys.readouterr().out
    shutil.copy2(trained / "checkpoint.npz", folder)
    (folder / "report.json").write_text("{}")  # of an export
    APP.load(folder).save(folder)
    assert {path.name for path in folder.iterdir()} == {
        "config.json", "model.weights.h5", "labels.json", "note.bin", "test.json",
    }  # fmt: skip
    with store.alone(folder), pytest.raises(UserError, match="no other program"):
        loaded.save(folder)


def test_an_exported_file_that_is_not_there_cannot_answer(copy, capsys):
    assert predict(copy, ROWS[0], "--exported") == 2
    assert f"error: no exported file in {copy}: run `" in capsys.readouterr().err


def test_an_export_counts_until_there_are_new_weights(copy, capsys):
    for flags in (("--keep", "last", "--epochs", 1), ("--resume", "--epochs", 2)):
        assert APP.run(["export", "--output", str(copy)]) == 0
        (copy / "model_f32.tflite").write_bytes(b"")
        before = (copy / "model.weights.h5").read_bytes()
        assert train(copy, *flags) == 0
        assert (copy / "model.weights.h5").read_bytes() != before
        capsys.readouterr()
        assert predict(copy, ROWS[0], "--exported") == 2
        expected = f"got those of an earlier one: run `{APP.command} export --output {copy}` again"
        assert expected in capsys.readouterr().err


def test_what_writes_is_alone_in_a_folder_and_what_reads_is_not(copy, capsys):
    before = metrics(copy)
    with store.alone(copy):
        for command in ("train", "export"):
            assert APP.run([command, "--output", str(copy)]) == 2
            error = capsys.readouterr().err
            assert error == (
                f"error: expected a folder that no other program is writing to, got {copy}: wait for its end, or give "
                "another --output DIR\n"
            )
        assert APP.run(["evaluate", "--output", str(copy)]) == 0
        assert "metrics.json stays as it is" in capsys.readouterr().err
        assert predict(copy, ROWS[0]) == 0
    assert metrics(copy) == before
    assert APP.run(["evaluate", "--output", str(copy)]) == 0


def test_exports_at_once_leave_each_other_alone(copy):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    running, left = [copy / f".export.{pid}" for pid in (os.getppid(), gone.pid)]
    for path in (running, left, copy / ".export", copy / f".export.{os.getpid()}"):
        path.mkdir()
    assert APP.run(["export", "--output", str(copy)]) == 0
    assert list(copy.glob(".export*")) == [running]


def test_a_full_disk_at_export_is_told_as_one(copy, capsys):
    def export(*_):
        raise OSError(errno.ENOSPC, "No space left on device", "model_f32.tflite")

    app = dataclasses.replace(APP, export=export)
    assert app.run(["export", "--output", str(copy)]) == 2
    assert "(the files from before are whole)" in capsys.readouterr().err
    assert not list(copy.glob(".export*"))


def test_an_export_leaves_no_file_of_the_one_before(copy):
    for name in ("model_int8.tflite", "model_f32_dynamic.tflite"):
        (copy / name).write_bytes(b"")
    assert APP.run(["export", "--output", str(copy), "--no-agree"]) == 1
    assert len(list(copy.glob("*.tflite"))) == 2
    assert APP.run(["export", "--output", str(copy)]) == 0
    assert not list(copy.glob("*.tflite"))


def test_a_bundle_is_asked_for_in_a_place_where_nothing_else_is(copy, tmp_path, capsys):
    (copy / "golden.json").write_text("{}")  # as an exported model has
    for place in (copy, copy / "logs" / "..", copy.parent):
        assert APP.run(["export", "--output", str(copy), "--bundle", str(place)]) == 2
        assert "where the model lies" in capsys.readouterr().err.lower()
    other = Path(shutil.copytree(copy, tmp_path / "other"))
    assert APP.run(["export", "--output", str(copy), "--bundle", str(other)]) == 2
    assert "got a trained model" in capsys.readouterr().err
    assert (other / "model.weights.h5").exists()
    assert not (copy / "toy.bin").exists()
    assert APP.run(["export", "--output", str(copy), "--bundle", str(tmp_path / "new")]) == 2
    assert "expected .tflite files" in capsys.readouterr().err.lower()
    assert not (tmp_path / "new").exists()


def test_options_of_export_are_those_of_the_library():
    found = APP.export_options(formats=" int8, f32,int8", dynamic=True, agreement=99.5).settings()
    assert found == {"formats": ("int8", "f32"), "dynamic": True, "tolerance": Limits(7.0, agreement=0.995)}


def test_an_export_that_disagrees_exits_1_and_keeps_the_good_one(copy, capsys):
    assert APP.run(["export", "--output", str(copy)]) == 0
    good = (copy / "toy.bin").read_bytes()
    assert APP.run(["export", "--output", str(copy), "--no-agree"]) == 1
    assert (copy / "toy.bin").read_bytes() == good
    assert (copy / "export_failed" / "toy.bin").read_bytes() != good
    assert "export_failed" in capsys.readouterr().err


def test_a_result_never_takes_the_place_of_its_source_or_of_another_result(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("load.csv").write_text("mine")
    assert result_paths(".", ["load.csv"], ".csv") == [Path("load_2.csv")]
    assert result_paths(".", [str(tmp_path / "load.csv")], "_forecast.csv") == [Path("load_forecast.csv")]
    hours = [f"traffic:2018-07-04 {hour:02d}:00" for hour in (5, 6)]
    names = [path.name for path in result_paths("out", hours, ".png")]
    assert names == ["2018-07-04 05_00.png", "2018-07-04 06_00.png"]
    names = [path.name for path in result_paths("out", ["a/x.wav", "b/X.wav", "C:/c/x.wav"], "_attention.png")]
    assert names == ["x_attention.png", "X_attention_2.png", "x_attention_3.png"]
