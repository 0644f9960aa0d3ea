"""What happens around `fit()`: limits, the best weights, the progress line, previews, TensorBoard."""

import math
import shutil
import sys
import time
from pathlib import Path

import keras

from . import store
from .checkpoint import CHECKPOINT, WEIGHTS, State, size, write_checkpoint, write_weights


class Clock(keras.callbacks.Callback):
    """Counts steps and seconds into the state, stops at --steps and --minutes, refuses a loss that is not a number.

    Args:
        state: the State that is counted up.
        steps, minutes: 0 for no limit; both count from the first start of the run, over all resumes.
        command_started: `time.time()` at which the process began.
    """

    def __init__(self, state: State, steps: int, minutes: float, command_started: float):
        super().__init__()
        self.state, self.steps, self.minutes, self.command_started = state, steps, minutes, command_started

    def on_train_begin(self, logs=None):
        self.began, self.cpu_began = time.monotonic(), time.process_time()
        self.before, self.cpu_before = self.state.seconds, self.state.cpu_seconds
        self.state.stopped = ""

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch_steps = self.state.steps

    def on_train_batch_end(self, batch, logs=None):
        if self.state.first_step is None:
            self.state.first_step = time.time() - self.command_started
            self.state.cpu_first_step = time.process_time()
        self.state.steps = self.epoch_steps + batch + 1
        self.tick()
        if self.steps and self.state.steps >= self.steps:
            self.stop("steps")
        elif self.minutes and self.state.seconds >= 60 * self.minutes:
            self.stop("minutes")

    def tick(self):
        self.state.seconds = self.before + time.monotonic() - self.began
        self.state.cpu_seconds = self.cpu_before + time.process_time() - self.cpu_began

    def stop(self, reason: str):
        self.state.stopped = reason
        self.model.stop_training = True

    def on_epoch_end(self, epoch, logs=None):
        self.tick()
        bad = [name for name, value in (logs or {}).items() if not math.isfinite(value)]
        if bad:
            raise FloatingPointError(
                f"expected finite numbers, got {bad[0]} = {logs[bad[0]]} in epoch {epoch + 1}: "
                "lower the learning rate, or clip the gradient"
            )


class Showing(keras.callbacks.Callback):
    """Calls `preview(model)` after each epoch, adds its scalars to the logs and hands the rest to the next callbacks.

    Placed before Keeper, so that a scalar of the preview can be the monitored metric.
    """

    def __init__(self, preview):
        super().__init__()
        self.preview, self.shown = preview, None

    def on_epoch_end(self, epoch, logs=None):
        self.shown = self.preview(self.model)
        logs.update({name: float(value) for name, value in self.shown.scalars.items()})


class Keeper(keras.callbacks.Callback):
    """Keeps the run: at each epoch's end one commit of the checkpoint and, when they are handed on, of the weights.

    Args:
        folder: where the files go.
        state: the State that is updated.
        facts: plain data stored in the checkpoint (config and run options).
        files: {name: content or None} written beside the best weights: config, assets; None removes a stale file.
        monitor, mode: the metric that decides which weights are best, or several, of which the first that is there
            does; and "min" or "max".
        patience: epochs without a better value before training stops; 0 never stops.
        keep: "best", or "last": the weights of each epoch take the place of those before it.
    """

    def __init__(
        self, folder, state: State, facts: dict, files: dict, monitor: str | tuple, mode: str, patience: int, keep: str
    ):
        super().__init__()
        self.folder, self.state, self.facts, self.files = Path(folder), state, facts, files
        self.monitor, self.mode, self.patience, self.keep = monitor, mode, patience, keep

    def on_epoch_end(self, epoch, logs=None):
        better = self.record(epoch, logs)
        if self.patience and self.state.wait >= self.patience:
            self.state.stopped = self.state.stopped or "patience"
            self.model.stop_training = True
        kept = better or self.keep == "last"
        files = {WEIGHTS: lambda path: write_weights(path, self.model), **self.files} if kept else {}
        files[CHECKPOINT] = lambda path: write_checkpoint(path, self.model, self.state, self.facts)
        store.commit(self.folder, files, needed=size(self.model))

    def record(self, epoch: int, logs: dict) -> bool:
        """Writes the epoch into the state and says whether it is the best so far."""
        state, value = self.state, logs[self.watched(logs)]
        for name, number in logs.items():
            column = state.history.setdefault(name, [])
            column += [None] * (epoch - len(column)) + [float(number)]
        better = state.best is None or (value < state.best if self.mode == "min" else value > state.best)
        if better:
            state.best, state.best_epoch = float(value), epoch + 1
        state.epoch, state.wait = epoch + 1, 0 if better else state.wait + 1
        return better

    def watched(self, logs: dict) -> str:
        """Returns the monitored metric; the training loss where there is no validation data.

        Raises:
            ValueError: for a metric that is not there.
        """
        asked = [self.monitor] if isinstance(self.monitor, str) else self.monitor
        if found := next((name for name in asked if name in logs), "loss" if "val_loss" in asked else None):
            return found
        names = ", ".join(logs)
        raise ValueError(f"expected monitor to be one of {names}, got {self.monitor!r}: change it in App(...)")


class Progress(keras.callbacks.Callback):
    """One line an epoch; on a terminal a bar that moves while it runs.

    Args:
        state: the State that Clock and Keeper fill.
        epochs: how many there will be at most, None when only --steps or --minutes end the run.
        steps: batches of an epoch, None when it is not known.
        showing: the Showing whose texts are printed below the line, or None.
    """

    def __init__(self, state: State, epochs: int | None, steps: int | None, showing: Showing | None, out=None):
        super().__init__()
        self.state, self.epochs, self.steps, self.showing = state, epochs, steps, showing
        self.out = out or sys.stdout
        self.bar = self.out.isatty()

    def on_epoch_begin(self, epoch, logs=None):
        self.began = self.drawn = time.monotonic()
        self.last = 0

    def on_train_batch_end(self, batch, logs=None):
        now = time.monotonic()
        if self.bar and now - self.drawn > 0.2:
            self.drawn = now
            rate = (batch + 1) / (now - self.began)
            self.draw(f"{self.head(self.state.epoch)}  {self.meter(batch + 1)}  loss {float(logs['loss']):.3f}", rate)

    def draw(self, text: str, rate: float):
        left = f"  {clock((self.steps - self.last) / rate)} left" if self.steps else ""
        line = f"{text}  {rate:.1f} steps/s{left}"
        width = shutil.get_terminal_size().columns - 1
        self.out.write("\r" + line[:width].ljust(width))
        self.out.flush()

    def meter(self, done: int) -> str:
        self.last = done
        if not self.steps:
            return f"{done} steps"
        filled = 24 * min(done, self.steps) // self.steps
        return f"{'━' * filled}{'·' * (24 - filled)} {done}/{self.steps}"

    def head(self, epoch: int) -> str:
        return f"epoch {epoch + 1}" + (f"/{self.epochs}" if self.epochs else "")

    def on_epoch_end(self, epoch, logs=None):
        if self.bar:
            self.out.write("\r" + " " * (shutil.get_terminal_size().columns - 1) + "\r")
        numbers = "  ".join(f"{name} {value:.4g}" for name, value in logs.items())
        best = "  best" if self.state.best_epoch == epoch + 1 else ""
        print(f"{self.head(epoch)}  {numbers}  {clock(self.state.seconds)}{best}", file=self.out)
        for text in self.showing.shown.texts if self.showing else ():
            print("    " + text.replace("\n", "\n    "), file=self.out)
        self.out.flush()


def clock(seconds: float) -> str:
    """Returns 75 seconds as 1:15."""
    minutes, seconds = divmod(int(seconds), 60)
    return f"{minutes}:{seconds:02}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"


class Board(keras.callbacks.Callback):
    """Writes for TensorBoard: losses, metrics and the learning rate as scalars, previews as text and images.

    `train/` and `validation/` are two runs, so that TensorBoard draws their curves into one panel.

    Args:
        folder: the run's folder under logs/.
        state, showing: as in Progress.
        pixels: a function from a figure of the preview to its (height, width, 3) uint8 array.
        every: steps between two points of the training loss and the learning rate.
    """

    def __init__(self, folder: Path, state: State, showing: Showing | None, pixels, every: int = 50):
        super().__init__()
        self.folder, self.state, self.showing, self.pixels, self.every = Path(folder), state, showing, pixels, every

    def on_train_begin(self, logs=None):
        import tensorflow as tf

        self.summary = tf.summary
        runs = ("train", "validation")
        self.writers = {name: tf.summary.create_file_writer(str(self.folder / name)) for name in runs}

    def on_train_batch_end(self, batch, logs=None):
        if (self.state.steps - 1) % self.every == 0:
            rate = keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)
            self.scalars("train", {"step_loss": logs["loss"], "learning_rate": rate}, self.state.steps)

    def on_epoch_end(self, epoch, logs=None):
        shown = self.showing.shown if self.showing else None
        extra = set(shown.scalars) if shown else set()
        valid = {k.removeprefix("val_"): v for k, v in logs.items() if k.startswith("val_") or k in extra}
        self.scalars("validation", valid, epoch + 1)
        self.scalars("train", {k: v for k, v in logs.items() if not k.startswith("val_") and k not in extra}, epoch + 1)
        if shown:
            self.preview(shown, epoch + 1)
        for writer in self.writers.values():
            writer.flush()

    def scalars(self, run: str, values: dict, step: int):
        with self.writers[run].as_default():
            for name, value in values.items():
                self.summary.scalar(name, float(value), step=step)

    def preview(self, shown, step: int):
        with self.writers["validation"].as_default():
            if shown.texts:
                self.summary.text("samples", "\n\n".join(f"    {t}" for t in shown.texts), step=step)
            for name, figure in shown.figures.items():
                self.summary.image(name, self.pixels(figure)[None], step=step)

    def on_train_end(self, logs=None):
        for writer in self.writers.values():
            writer.close()
