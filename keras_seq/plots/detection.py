"""A series with the windows in which it is unusual, what was flagged, and the score that decided."""

import numpy as np

from keras_seq.plots.forecast import MOST, WIDTH, dress, moments
from keras_seq.plots.style import BLUE, INK, MUTED, ORANGE, figure, headline

FLAG, CEILING = "#dc2626", 4.0  # colour of what was flagged; scores above this are drawn at it
ROW = 1.7  # inches


def detection(values, scores, names, windows=(), time=None, title: str = ""):
    """Draws the variables of a series, with windows shaded and flagged rows marked, and below them the score.

    Args:
        values: (N, V) array.
        scores: (N,) array; a row above 1 is flagged.
        names: V texts; the first eight are drawn.
        windows: (first, last) rows that are labelled unusual.
        time: (N,) seconds since 1970; None counts rows.
        title: of the picture.

    Returns: a matplotlib Figure.

    Raises:
        ValueError: for arrays that do not belong together.

    Example:
        >>> len(detection(np.zeros((5, 2)), np.zeros(5), ["a", "b"], [(1, 2)]).axes)
        3
    """
    values, scores = np.asarray(values, "float64"), np.asarray(scores, "float64")
    if values.shape != (len(scores), len(names)):
        raise ValueError(f"expected values ({len(scores)}, {len(names)}), got {values.shape}")
    x = np.arange(len(scores)) if time is None else moments(time, 0, 0)
    shown, flagged = min(len(names), MOST), scores > 1
    fig = figure(WIDTH, ROW * (shown + 0.7) + 0.5 + (0.3 if title else 0))
    axes = fig.subplots(shown + 1, 1, sharex=True, height_ratios=[1.0] * shown + [0.7])
    for i, ax in enumerate(axes[:-1]):
        ax.plot(x, values[:, i], color=BLUE, linewidth=0.9)
        ax.plot(x[flagged], values[flagged, i], ".", color=FLAG, markersize=5, label="flagged", zorder=3)
        dress(ax, names[i], time is not None)
    axes[-1].plot(x, np.minimum(scores, CEILING), color=MUTED, linewidth=0.9)
    axes[-1].axhline(1.0, color=FLAG, linewidth=1.0, linestyle=(0, (3, 3)))
    axes[-1].set_ylim(0, CEILING * 1.05)
    dress(axes[-1], "score, flagged above 1", time is not None)
    for ax in axes:
        for number, (first, last) in enumerate(windows):
            label = "labelled unusual" if number == 0 else None
            ax.axvspan(x[first], x[last], color=ORANGE, alpha=0.18, linewidth=0, label=label, zorder=0)
    axes[0].legend(fontsize=8, labelcolor=INK, frameon=False, ncols=2, loc="lower right", bbox_to_anchor=(1.0, 1.0))
    axes[-1].set_xlabel("" if time is not None else "rows", color=MUTED, fontsize=9)
    headline(fig, title)
    return fig
