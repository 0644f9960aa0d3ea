"""Sinusoidal encodings: which end turns fast, and that their product depends on the distance only and falls off."""

import numpy as np

from keras_seq.plots.layers import sinusoidal_table
from keras_seq.plots.panels import beside, curves, grid

DIM, LENGTH, FEATURES = 128, 512, (0, 40, 80, 126)


def run():
    table = sinusoidal_table(LENGTH, DIM).astype("float64")
    products = table @ table.T / (DIM / 2)
    rng = np.random.default_rng(0)
    wq, wk = rng.normal(size=(2, DIM, DIM)) / DIM**0.5
    mixed = (table @ wq) @ (table @ wk).T
    by_distance = [np.diagonal(products, d) for d in range(LENGTH)]
    return {
        "spread": max(np.ptp(diagonal) for diagonal in by_distance),
        "spread_after_projections": np.ptp(np.diagonal(mixed, 10)),
        "curve": [diagonal.mean() for diagonal in by_distance[:200]],
        "at": {d: by_distance[d].mean() for d in (0, 1, 10, 100, 200)},
        "turns": {i: int((np.diff(np.sign(table[1:, i])) != 0).sum()) for i in FEATURES},
        "rises": int((np.diff([diagonal.mean() for diagonal in by_distance[:200]]) > 0).sum()),
    }


def draw(results):
    fig, (left, right) = grid(2, 2, 4.6, 2.8)
    table = sinusoidal_table(100, DIM)
    lines = {f"feature {i}": (np.arange(100), table[:, i]) for i in FEATURES}
    curves(left, lines, f"Four of {DIM} features", "position")
    beside(left)
    lines = {"D = 128": (np.arange(200), results["curve"])}
    curves(right, lines, "Similarity of two positions", "distance |i - j|", "PE(i) · PE(j) / (D / 2)")
    return fig
