"""A sound as it is heard: its spectrogram, and below it when which token was seen in it."""

import numpy as np

from keras_seq.plots.attention import escape
from keras_seq.plots.style import GRID, INK, figure, headline, shades
from keras_seq.plots.timeline import WIDTH, scale


def heard(spectrogram, weights, tokens: list[str], seconds: float, title: str = ""):
    """Draws a spectrogram and below it, on the same axis of time, a row for each token: dark is much.

    Args:
        spectrogram: (T, M), the lowest frequency first.
        weights: (U, S): attention of each token to the moments of the sound, or its probability at each.
        tokens: U texts, from the top.
        seconds: how long the sound is.
        title: of the picture.

    Returns: a matplotlib Figure.

    Raises:
        ValueError: for weights that do not have a row a token, or a sound without a length.

    Example:
        >>> float(heard(np.zeros((10, 4)), np.zeros((2, 5)), ["a", "b"], 0.4).get_figwidth())
        12.0
    """
    spectrogram, weights = np.asarray(spectrogram), np.asarray(weights, "float32")
    if weights.ndim != 2 or len(weights) != len(tokens) or seconds <= 0:
        raise ValueError(f"expected weights with a row for each of {len(tokens)} tokens and a length above 0, "
                         f"got {weights.shape} and {seconds} s")
    row = min(0.24, 8 / max(len(tokens), 1))
    heights = [1.6, max(0.4, row * len(tokens))]
    fig = figure(WIDTH, sum(heights) + 0.5 + (0.3 if title else 0))
    axes = fig.subplots(2, 1, height_ratios=heights)
    fig.get_layout_engine().set(h_pad=0.02, hspace=0.02)
    axes[0].imshow(spectrogram.T, cmap=shades(), aspect="auto", origin="lower", extent=(0, seconds, 0, 1))
    axes[0].set_yticks([0.5], ["mel"], fontsize=9, color=INK)
    if len(tokens):
        extent = 0, seconds, len(tokens) - 0.5, -0.5
        axes[1].imshow(weights, cmap=shades(), vmin=0, aspect="auto", interpolation="nearest", extent=extent)
        for line in range(1, len(tokens)):
            axes[1].axhline(line - 0.5, color=GRID, linewidth=0.5)
    axes[1].set_yticks(range(len(tokens)), [escape(t) for t in tokens], fontsize=min(9, 40 * row), color=INK)
    scale(axes, seconds)
    headline(fig, title)
    return fig
