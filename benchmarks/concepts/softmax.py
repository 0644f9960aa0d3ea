"""Random queries and keys, their scores divided by sqrt(d) or not: the weights, and the slope through the softmax."""

import numpy as np
from keras import ops

from keras_seq import layers
from keras_seq.plots.panels import curves, grid

KEYS, BATCH, SIZES = 32, 256, (1, 4, 16, 64, 256, 1024)
SCORES = {"plain": "dot", "scaled": "scaled_dot"}


def weights(score, size):
    """Attention weights (B, S) of random standard normal vectors of a size."""
    rng = np.random.default_rng(0)
    q, k = rng.normal(size=(BATCH, 1, size)), rng.normal(size=(BATCH, KEYS, size))
    layer = layers.DotProductAttention(score)
    _, found = layer(q.astype("float32"), k.astype("float32"), return_attention_weights=True)
    return ops.convert_to_numpy(found)[:, 0, 0].astype("float64")


def slope(p):
    """|diag(p) - p p^T|, the norm of d softmax / d scores."""
    square, cube = (p**2).sum(-1), (p**3).sum(-1)
    return np.sqrt(np.maximum(square - 2 * cube + square**2, 0))


def run():
    found = {name: {size: weights(score, size) for size in SIZES} for name, score in SCORES.items()}
    return {
        name: {
            "largest": {size: p.max(-1).mean() for size, p in sizes.items()},
            "slope": {size: np.median(slope(p)) for size, p in sizes.items()},
        }
        for name, sizes in found.items()
    }


def draw(results):
    fig, axes = grid(2, 2, 4.2, 2.8)
    titles = {"largest": "Largest of 32 weights (mean)", "slope": "Slope through the softmax (median)"}
    labels = {"plain": "q · k", "scaled": "q · k / sqrt(d)"}
    for ax, (what, title) in zip(axes, titles.items()):
        lines = {labels[name]: (SIZES, list(found[what].values())) for name, found in results.items()}
        curves(ax, lines, title, "size d of q and k", xscale="log", yscale="log" if what == "slope" else "linear")
    return fig
