"""Pictures of which classes a model takes for which."""

import numpy as np

from keras_seq.plots.attention import escape
from keras_seq.plots.style import INK, MUTED, SHADES, figure, headline, shades


def confusion_matrix(counts, names: list[str], title: str = ""):
    """Draws how often each class was taken for which: a row a right class, a column an answer.

    The shade is the share of the row, so that rare classes are seen as well; the numbers are counts, with the share
    below where there is room.

    Args:
        counts: (C, C) array, counts[i, j] items of class i that were answered j.
        names: C texts.

    Returns: a matplotlib Figure.

    Raises:
        ValueError: when there is not a row and a column a name.

    Example:
        >>> confusion_matrix([[40, 3], [7, 50]], ["negative", "positive"]).axes[0].get_xlabel()
        'answered'
    """
    counts = np.asarray(counts)
    size = len(names)
    if counts.shape != (size, size) or not size:
        raise ValueError(f"expected counts of shape ({size}, {size}), a row and a column a name, got {counts.shape}")
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    cell = min(1.1, max(0.28, 9 / size))
    room = 0.09 * max(map(len, names))
    fig = figure(size * cell + room + 1.2, size * cell + room * (size > 4) + 1.3)
    ax = fig.add_subplot()
    ax.imshow(shares, cmap=shades(), vmin=0.0, vmax=1.0, interpolation="nearest")
    label(ax, names, min(10.0, 22 * cell))
    write(ax, counts, shares, cell)
    headline(fig, title)
    return fig


def label(ax, names: list[str], size: float) -> None:
    """Writes the names of the classes along the axes, and which axis is which."""
    names = [escape(name) for name in names]
    ax.set_xticks(range(len(names)), names, fontsize=size, color=INK, rotation=90 if len(names) > 4 else 0)
    ax.set_yticks(range(len(names)), names, fontsize=size, color=INK)
    ax.set_xlabel("answered", color=MUTED, fontsize=9)
    ax.set_ylabel("right", color=MUTED, fontsize=9)
    ax.tick_params(which="both", length=0, pad=4)
    ax.spines[:].set_visible(False)


def write(ax, counts: np.ndarray, shares: np.ndarray, cell: float) -> None:
    """Writes each count into its cell, light on dark; zeros stay empty where cells are many."""
    size = min(11.0, 17 * cell)
    for (i, j), count in np.ndenumerate(counts):
        if not count and len(counts) > 10:
            continue
        text = f"{count:,}\n{shares[i, j]:.0%}" if cell > 0.7 else f"{count}"
        color = "white" if shares[i, j] > 0.5 else SHADES[4]
        ax.text(j, i, text, ha="center", va="center", color=color, fontsize=size, linespacing=1.4)
