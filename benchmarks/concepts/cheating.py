"""A language model trained without the causal mask: it copies the answer that it is shown, and has learned nothing."""

import numpy as np

from benchmarks.concepts import chain
from keras_seq.plots.panels import curves, grid

LENGTH, STEPS = 16, 400


def when_writing(net, x):
    """The loss where the future is not there yet: each token predicted from those before it alone."""
    found = [chain.losses(net(x[:, :t])[:, -1:], x[:, t : t + 1]) for t in range(2, LENGTH + 1)]
    return float(np.mean(found))


def run():
    test, results = chain.sentences(256, LENGTH + 1, seed=2), {"entropy": chain.ENTROPY, "guess": np.log(chain.WORDS)}
    results["best"] = (chain.ENTROPY * (LENGTH - 1) + results["guess"]) / LENGTH  # nothing tells what comes second
    for name, causal in (("causal", True), ("open", False)):
        net = chain.model(causal=causal)
        curve = chain.train(net, LENGTH, STEPS)
        shown = chain.losses(net(test[:, :-1]), test[:, 1:])[:, 1:].mean()
        results[name] = {"training": curve, "shown": shown, "writing": when_writing(net, test)}
    return results


def draw(results):
    fig, (left, right) = grid(2, 2, 4.2, 2.8)
    steps, labels = np.arange(10, STEPS + 1, 10), {"causal": "causal mask", "open": "no mask"}
    lines = {label: (steps, results[name]["training"]) for name, label in labels.items()}
    bound = "the best that is possible"
    lines[bound] = (steps, np.full(len(steps), results["best"]))
    curves(left, lines, "Loss in training", "step", "nats a token", dashed=(bound,), ylim=(0, 2.6))
    bars(right, results, labels)
    return fig


def bars(ax, results, labels):
    from keras_seq.plots.panels import dress
    from keras_seq.plots.style import CURVES, MUTED

    for i, name in enumerate(labels):
        values = [results[name]["shown"], results[name]["writing"]]
        drawn = ax.bar(np.arange(2) + 0.36 * (i - 0.5), values, 0.32, color=CURVES[i], label=labels[name])
        ax.bar_label(drawn, fmt="%.2f", fontsize=8, color=MUTED)
    ax.axhline(results["entropy"], color=MUTED, linewidth=1.2, linestyle=(0, (3, 3)))
    ax.set_xticks([0, 1], ["future shown,\nas in training", "future not there,\nas in writing"])
    ax.set_axisbelow(True)
    dress(ax, "Loss on new sentences")
