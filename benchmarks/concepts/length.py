"""Trained on 16 tokens, read on 64: the loss at each position for each position encoding."""

import numpy as np

from benchmarks.concepts import chain
from keras_seq.plots.panels import beside, curves, grid
from keras_seq.plots.style import MUTED

TRAINED, READ, STEPS, GROUP = 16, 64, 400, 8
KINDS = {
    **{name: {"position": name} for name in ("learned", "sinusoidal", "rotary", "relative_bias", "alibi")},
    "rotary_two": {"position": "rotary", "num_heads": 2},
    "rotary_local": {"position": "rotary", "attention": {"name": "local", "window": 8}},
}


NAMES = {
    "relative_bias": "relative bias (T5)", "alibi": "ALiBi", "rotary_two": "rotary, two heads",
    "rotary_local": "rotary, window of 8",
}  # fmt: skip


def by_position(position, **options):
    """The mean loss in groups of eight positions, as far as the model can read."""
    net = chain.model(position, max_length=TRAINED, **options)
    chain.train(net, TRAINED, STEPS)
    x = chain.sentences(512, READ + 1, seed=2)
    length = TRAINED if position == "learned" else READ  # learned positions end: more tokens are a ValueError
    found = chain.losses(net(x[:, :length]), x[:, 1 : length + 1])
    found[:, 0] = np.nan  # nothing tells what comes second
    return np.nanmean(found.reshape(len(x), -1, GROUP), axis=(0, 2))


def run():
    found = {name: by_position(**options) for name, options in KINDS.items()}
    ends = {name: {"inside": curve[1], "outside": curve[-1]} for name, curve in found.items()}
    return {"entropy": chain.ENTROPY, "curves": found, **ends}


def draw(results):
    fig, (ax,) = grid(1, 1, 6.4, 3.0)
    middle = np.arange(GROUP / 2, READ, GROUP)
    lines = {NAMES.get(name, name): (middle[: len(curve)], curve) for name, curve in results["curves"].items()}
    bound = "entropy of the language"
    lines[bound] = (middle, np.full(len(middle), results["entropy"]))
    curves(ax, lines, f"Trained on {TRAINED} tokens", "position", "nats a token", dashed=(bound,))
    beside(ax)
    ax.axvline(TRAINED, color=MUTED, linewidth=1, linestyle=(0, (3, 3)), zorder=0)
    return fig
