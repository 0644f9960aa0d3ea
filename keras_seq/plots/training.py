"""Pictures of a training run."""

import math

from keras_seq.plots.style import BLUE, GRID, INK, MUTED, ORANGE, figure


def learning_curves(history: dict[str, list[float]], best: int | None = None):
    """Draws a panel a metric over the epochs: training and validation together.

    Args:
        history: {"loss": [...], "val_loss": [...], ...}, a value an epoch (None where there was none).
        best: the epoch, counted from 1, whose weights were kept; marked by a line.

    Returns: a matplotlib Figure.

    Raises:
        ValueError: for a history without a single value.
    """
    names = [name for name in history if not (name.startswith("val_") and name[4:] in history) and drawn(history[name])]
    if not names:
        raise ValueError(f"expected a history with at least one value, got {history!r}: train for an epoch first")
    validated = any(name.startswith("val_") for name in history)
    columns = min(len(names), 3)
    rows = math.ceil(len(names) / columns)
    fig = figure(0.4 + 4.2 * columns, 0.3 + 2.9 * rows)
    for number, name in enumerate(names):
        ax = fig.add_subplot(rows, columns, number + 1)
        if f"val_{name}" in history or not validated:
            curve(ax, history[name], "training", BLUE)
        if f"val_{name}" in history or validated:  # a metric without a pair is of the validation data
            curve(ax, history.get(f"val_{name}", history[name]), "validation", ORANGE)
        panel(ax, name.removeprefix("val_").replace("_", " "), best)
    return fig


def drawn(values: list) -> list[tuple[int, float]]:
    """Returns the points (epoch from 1, value) that can be drawn."""
    return [(i, v) for i, v in enumerate(values, 1) if v is not None and math.isfinite(v)]


def curve(ax, values: list, label: str | None, color: str) -> None:
    x, y = zip(*drawn(values)) if drawn(values) else ((), ())
    marker = "o" if len(x) <= 30 else None
    ax.plot(x, y, color=color, label=label, linewidth=2, marker=marker, markersize=4, solid_capstyle="round")


def panel(ax, title: str, best: int | None) -> None:
    from matplotlib.ticker import MaxNLocator

    ax.set_title(title, loc="left", fontsize=11, fontweight="bold", color=INK)
    ax.set_xlabel("epoch", color=MUTED, fontsize=9)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    ax.grid(axis="y", color=GRID, linewidth=0.8)
    ax.tick_params(colors=MUTED, labelsize=9, length=0)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.spines["bottom"].set_color(GRID)
    if best is not None:
        ax.axvline(best, color=MUTED, linewidth=1, linestyle=(0, (3, 3)), label="kept", zorder=0)
    if ax.get_legend_handles_labels()[0]:
        ax.legend(frameon=False, fontsize=9, labelcolor=INK)
