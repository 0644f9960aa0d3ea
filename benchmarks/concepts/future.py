"""Which input moves which output: the gradient of a decoder's outputs with respect to its inputs."""

import numpy as np

from keras_seq import layers
from keras_seq.plots.panels import grid, matrix

LENGTH, DIM = 16, 32


def field(layer, x, **options):
    """|d y_t / d x_s| for each pair: (T, S)."""
    import tensorflow as tf

    x = tf.constant(x)
    rng = np.random.default_rng(1)
    rows = []
    for t in range(LENGTH):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = tf.reduce_sum(layer(x, **options)[:, t] * rng.normal(size=DIM).astype("float32"))
        rows.append(tf.norm(tape.gradient(y, x)[0], axis=-1).numpy())
    return np.stack(rows)


def run():
    layer = layers.TransformerEncoder(2, num_heads=4, mlp_dim=64, position="rotary")
    x = np.random.default_rng(0).normal(size=(1, LENGTH, DIM)).astype("float32")
    fields = {"causal": field(layer, x, causal=True), "open": field(layer, x)}
    other = np.concatenate([x[:, :10], x[:, :6]], axis=1)
    change = np.abs(np.asarray(layer(other, causal=True) - layer(x, causal=True)))[0].max(-1)
    return {
        "fields": fields,
        "above": {name: float(np.triu(table, 1).max()) for name, table in fields.items()},
        "before": float(change[:10].max()),
        "after": float(change[10:].min()),
    }


def draw(results):
    fig, axes = grid(2, 2, 3.6, 3.0)
    titles = {"causal": "With the causal mask", "open": "Without"}
    for ax, (name, table) in zip(axes, results["fields"].items()):
        matrix(ax, np.sqrt(table), titles[name], "input s", "output t")
    return fig
