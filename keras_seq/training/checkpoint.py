"""The state of a run as files: one .npz that a killed run continues from, and the weights that are handed on."""

import contextlib
import dataclasses
import math
import re
from pathlib import Path

import keras
import numpy as np

from . import store

CHECKPOINT, WEIGHTS = "checkpoint.npz", "model.weights.h5"


@dataclasses.dataclass
class State:
    """Where a run stands at the end of an epoch; with the variables, all that a resumed run needs."""

    run: str = ""  # name of the run: its folder under logs/
    epoch: int = 0  # epochs finished
    steps: int = 0  # optimizer steps made
    best: float | None = None  # best value of the monitored metric
    best_epoch: int = 0  # counted from 1
    wait: int = 0  # epochs since then
    seconds: float = 0.0  # wall clock spent in fit
    cpu_seconds: float = 0.0
    first_step: float | None = None  # seconds from the command to the end of the first training step
    cpu_first_step: float | None = None  # CPU seconds of it: what an idle machine with one core would need at most
    stopped: str = ""  # why the run ended: "", "epochs", "steps", "minutes" or "patience"
    history: dict = dataclasses.field(default_factory=dict)


def variables(model: keras.Model) -> list:
    """Returns every variable that training changes: weights, seeds of the random generators, the optimizer's."""
    model.optimizer.build(model.trainable_variables)
    return [*model.variables, *model.optimizer.variables]


def array(variable) -> np.ndarray:
    """Returns a variable's value; bfloat16, which numpy has not, as the float32 that holds it exactly."""
    value = keras.ops.convert_to_numpy(variable)
    return value.astype("float32") if value.dtype.name == "bfloat16" else value


def write_checkpoint(path: Path, model: keras.Model, state: State, facts: dict) -> None:
    """Writes the variables, the state and `facts` (config, run options) as one .npz."""
    arrays = {f"v{i}": array(v) for i, v in enumerate(variables(model))}
    paths = [v.path for v in variables(model)]
    note = store.to_json({"state": dataclasses.asdict(state), "paths": paths, **facts})
    with open(path, "wb") as file:
        np.savez(file, note=np.frombuffer(note, "uint8"), **arrays)


def restore(path: Path, model: keras.Model) -> State:
    """Puts the variables of a checkpoint into `model` and its optimizer and returns the state.

    Raises:
        ValueError: when the file is damaged, or the model has other variables than the checkpoint.
    """
    (note, values), own = store.read_checkpoint(path, "state", "paths", values=True), variables(model)
    count = len(model.variables)  # those of the optimizer follow them, one for one
    known = {field.name for field in dataclasses.fields(State)}
    same_names = known >= set(note["state"]) and names(note["paths"][:count]) == names(v.path for v in own[:count])
    if not same_names or [v.shape for v in own] != [v.shape for v in values]:
        raise ValueError(
            f"expected the {len(values)} variables of {path}, got a model with {len(own)} variables or other names or "
            "shapes: its code has changed; train without --resume"
        )
    for variable, value in zip(own, values):
        variable.assign(value)
    return State(**note["state"])


def names(paths) -> list:
    """Returns what stays of paths when a model is made again: neither its own name nor numbers that Keras gives out."""
    return [re.sub(r"_\d+(?=/|$)", "", path.partition("/")[2]) for path in paths]


def write_weights(path: Path, model: keras.Model) -> None:
    """Writes the weights alone: Keras' own `save_weights` adds the optimizer's variables, twice as many again."""
    with without_optimizer(model):
        model.save_weights(path)


def read_weights(path: Path, model: keras.Model) -> None:
    """Reads what `write_weights` wrote, into a compiled model too.

    Raises:
        ValueError: when the file is missing or damaged, or of a model with other variables.
    """
    try:
        with without_optimizer(model):
            model.load_weights(path)
    except OSError as error:
        raise store.damaged(path, error) from error


@contextlib.contextmanager
def without_optimizer(model: keras.Model):
    optimizer, model.optimizer = model.optimizer, None
    try:
        yield
    finally:
        model.optimizer = optimizer


def size(model: keras.Model) -> int:
    """Returns the bytes that one commit of checkpoint and best weights takes, with a little room."""
    weights = sum(math.prod(v.shape) * 4 for v in model.variables)
    return weights + sum(math.prod(v.shape) * 4 for v in variables(model)) + 1_000_000
