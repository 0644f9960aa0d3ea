"""Which cell learns to remember the first of 40 frames: four classes, then noise, then the question."""

import keras
import numpy as np

from benchmarks.concepts.recurrence import DIM, encoder
from keras_seq.plots.panels import curves, grid

LENGTH, CLASSES, BATCH, STEPS, EVERY = 40, 4, 64, 400, 20
CELLS = {"SimpleRNN": ("rnn", None), "LSTM, forget bias 1": ("lstm", 1.0), "LSTM, forget bias 5": ("lstm", 5.0)}


def frames(count, seed):
    """Noise (B, T, D) whose first frame is one of four vectors, and which one."""
    rng = np.random.default_rng(seed)
    x, label = rng.normal(size=(count, LENGTH, DIM), scale=0.5), rng.integers(0, CLASSES, count)
    x[:, 0] = 2 * np.eye(DIM)[label]
    return x.astype("float32"), label.astype("int32")


def accuracy(cell, forget):
    """Test accuracy after every 20 steps of training."""
    x = keras.Input((LENGTH, DIM))
    model = keras.Model(x, keras.layers.Dense(CLASSES)(encoder(cell, forget)(x)[:, -1]))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(2e-3, global_clipnorm=1.0), loss, metrics=["accuracy"])
    train, test, found = frames(BATCH * EVERY, 1), frames(512, 2), []
    for epoch in range(STEPS // EVERY):
        train = frames(BATCH * EVERY, epoch + 3)
        model.fit(*train, batch_size=BATCH, verbose=0)
        found.append(model.evaluate(*test, batch_size=512, verbose=0)[1])
    return found


def run():
    found = {name.replace(", forget bias ", "_"): accuracy(*options) for name, options in CELLS.items()}
    return {"curves": found, "best": {name: 100 * max(curve) for name, curve in found.items()}}


def draw(results):
    fig, (ax,) = grid(1, 1, 6.4, 2.8)
    steps = np.arange(EVERY, STEPS + 1, EVERY)
    lines = {name.replace("_", ", forget bias "): (steps, np.multiply(y, 100)) for name, y in results["curves"].items()}
    lines["guessing"] = (steps, np.full(len(steps), 100 / CLASSES))
    title = f"The first of {LENGTH} frames, remembered"
    curves(ax, lines, title, "training step", "% right", dashed=("guessing",), ylim=(0, 105))
    return fig
