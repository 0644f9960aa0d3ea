"""One query and one key at all pairs of positions: rotary scores depend on i - j only, those of added waves do not."""

import numpy as np

from keras_seq.plots.layers import sinusoidal_table, turn
from keras_seq.plots.panels import grid, matrix

SIZE, LENGTH, FAR = 64, 48, 1000


def scores():
    """{"rotary", "added"}: (L, L) scores of the same two vectors, at positions i (rows) and j."""
    q, k = np.random.default_rng(0).normal(size=(2, SIZE)).astype("float32")
    turned = [turn(np.tile(x, (LENGTH + FAR, 1))).astype("float64") for x in (q, k)]
    added = [x + sinusoidal_table(LENGTH + FAR, SIZE).astype("float64") for x in (q, k)]
    return {name: a @ b.T / SIZE**0.5 for name, (a, b) in {"rotary": turned, "added": added}.items()}


def run():
    found = {}
    for name, table in scores().items():
        near = table[:LENGTH, :LENGTH]
        found[name] = {
            "spread": max(np.ptp(np.diagonal(near, d)) for d in range(1 - LENGTH, LENGTH)),
            "shifted": np.abs(table[FAR:, FAR:] - near).max(),
            "range": np.ptp(near),
        }
    return found


def draw(results):
    fig, axes = grid(2, 2, 3.6, 3.0)
    titles = {"rotary": "Rotary: q and k are turned", "added": "Sinusoidal: waves are added"}
    for ax, (name, table) in zip(axes, scores().items()):
        matrix(ax, table[:LENGTH, :LENGTH], titles[name], "position of k", "position of q")
    return fig
