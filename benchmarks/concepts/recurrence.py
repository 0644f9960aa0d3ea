"""How much of the gradient of the last state reaches each step before it, in cells that nobody has trained."""

import numpy as np

from keras_seq import layers
from keras_seq.plots.panels import curves, grid

UNITS, DIM, LENGTH, BATCH = 32, 8, 100, 32
CELLS = {
    "SimpleRNN": ("rnn", None),
    "GRU": ("gru", None),
    "LSTM, forget bias 0": ("lstm", 0.0),
    "LSTM, forget bias 1": ("lstm", 1.0),
    "LSTM, forget bias 5": ("lstm", 5.0),
}


def encoder(cell, forget):
    """A recurrent layer, of an LSTM with the bias of its forget gate as given."""
    layer = layers.RecurrentEncoder(UNITS, cell=cell, bidirectional=False)
    layer.build((None, None, DIM))
    if forget is not None:
        bias = layer.forwards[0].cell.bias
        value = np.zeros(bias.shape, "float32")  # gates in the order of Keras: input, forget, cell, output
        value[UNITS : 2 * UNITS] = forget
        bias.assign(value)
    return layer


def slopes(layer):
    """The norm of d (v · h_T) / d x_t, averaged over a batch and random v, for distances T - t = 0, 1, ..."""
    import tensorflow as tf

    rng = np.random.default_rng(0)
    x = tf.constant(rng.normal(size=(BATCH, LENGTH, DIM)), tf.float32)
    v = rng.normal(size=(BATCH, UNITS)).astype("float32")
    with tf.GradientTape() as tape:
        tape.watch(x)
        last = tf.reduce_sum(v * layer(x)[:, -1])
    slope = tape.gradient(last, x).numpy().astype("float64")  # squares of 1e-20 are nothing in float32
    return np.linalg.norm(slope, axis=-1).mean(axis=0)[::-1]


def run():
    found = {name: slopes(encoder(*options)) for name, options in CELLS.items()}
    return {name.replace(", forget bias ", "_"): curve / curve[0] for name, curve in found.items()}


def draw(results):
    fig, (ax,) = grid(1, 1, 6.4, 3.2)
    steps = np.arange(LENGTH)
    lines = {name.replace("_", ", forget bias "): (steps, curve) for name, curve in results.items()}
    title = "Gradient that is left, against that of the last step"
    curves(ax, lines, title, "steps back in time", "share", yscale="log", ylim=(1e-26, 10))
    return fig
