"""Figures of several panels: who may attend to whom, tables of numbers, curves."""

import math

import numpy as np

from keras_seq.plots.style import CURVES, GRID, INK, MUTED, SHADES, diverging, figure, shades

CELL = 2.35  # inches, the side of a small panel


def patterns(masks: dict[str, np.ndarray], columns: int = 4):
    """Draws masks: a row a query, a column a key, dark where the query may attend to the key.

    Args:
        masks: {"title": bool (T, S)}.
        columns: panels in a row.

    Returns: a matplotlib Figure.
    """
    fig, axes = grid(len(masks), columns, CELL, CELL + 0.25)
    for number, (ax, (title, mask)) in enumerate(zip(axes, masks.items())):
        cells(ax, np.asarray(mask, "float32"), shades(), 0.0, 1.35)
        name(ax, title)
        ax.set_xlabel("key", color=MUTED, fontsize=8, labelpad=2)
        if number % columns == 0:
            ax.set_ylabel("query", color=MUTED, fontsize=8, labelpad=2)
    return fig


def cells(ax, table: np.ndarray, colors, low: float, high: float):
    """Draws a table as cells with white lines between them, as long as there are not too many."""
    image = ax.imshow(table, cmap=colors, vmin=low, vmax=high, interpolation="nearest", aspect="auto")
    if max(table.shape) <= 40:
        for size, lines in zip(table.shape, (ax.axhline, ax.axvline)):
            for edge in range(1, size):
                lines(edge - 0.5, color=GRID, linewidth=0.4)
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_color(SHADES[1])
    return image


def matrix(ax, table, title: str = "", across: str = "", down: str = "", ticks: bool = True) -> None:
    """Draws numbers as shades, with a scale: from white where none is negative, else blue to orange around zero."""
    table = np.asarray(table, "float32")
    signed = table.min() < 0
    top = float(np.abs(table).max()) or 1.0
    image = cells(ax, table, diverging() if signed else shades(), -top if signed else 0.0, top)
    name(ax, title)
    ax.set_xlabel(across, color=MUTED, fontsize=8, labelpad=2)
    ax.set_ylabel(down, color=MUTED, fontsize=8, labelpad=2)
    if ticks:
        ax.set_xticks([0, table.shape[1] - 1])
        ax.set_yticks([0, table.shape[0] - 1])
        ax.tick_params(colors=MUTED, labelsize=8, length=0, pad=2)
    bar = ax.figure.colorbar(image, ax=ax, fraction=0.046, pad=0.03, aspect=22, shrink=0.9)
    bar.locator = max_ticks(3)
    bar.update_ticks()
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0, labelsize=7, colors=MUTED)


def curves(ax, lines: dict, title: str = "", across: str = "", along: str = "", dashed: tuple = (), **scales) -> None:
    """Draws {"label": (x, y)}, each in its color; labels that begin with "_" stay out of the legend.

    Args:
        across, along: what the axes hold.
        dashed: labels whose lines are thin, grey and dashed: what the others are compared with.
        scales: xscale, yscale, xlim, ylim.
    """
    colors = iter(CURVES * 9)
    for label, (x, y) in lines.items():
        if label in dashed:
            ax.plot(x, y, color=MUTED, linewidth=1.2, linestyle=(0, (3, 3)), label=label, zorder=1)
            continue
        marker = "o" if len(x) <= 12 else None
        ax.plot(x, y, color=next(colors), label=label, linewidth=1.8, marker=marker, markersize=4, zorder=2)
    ax.set(**scales)
    dress(ax, title, across, along)


def dress(ax, title: str, across: str = "", along: str = "") -> None:
    """The look of a panel with curves."""
    name(ax, title)
    ax.set_xlabel(across, color=MUTED, fontsize=9)
    ax.set_ylabel(along, color=MUTED, fontsize=9)
    bare(ax)
    if ax.get_legend_handles_labels()[0]:
        ax.legend(fontsize=8, labelcolor=INK, handlelength=1.6, framealpha=0.85, edgecolor="none")


def bare(ax) -> None:
    """Leaves of the frame of a panel the axis at the bottom, and faint lines across."""
    ax.grid(axis="y", color=GRID, linewidth=0.8)
    ax.tick_params(which="both", colors=MUTED, labelsize=8, length=0)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.spines["bottom"].set_color(GRID)


def beside(ax) -> None:
    """Puts the legend to the right of a panel, where it hides no curve."""
    ax.legend(fontsize=8, labelcolor=INK, handlelength=1.6, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))


def name(ax, title: str) -> None:
    ax.set_title(title, loc="left", fontsize=10, fontweight="bold", color=INK)


def grid(count: int, columns: int, width: float, height: float) -> tuple:
    """Returns a figure and `count` axes, in rows of `columns`; width and height are those of a panel, in inches."""
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    fig = figure(columns * width, rows * height)
    return fig, [fig.add_subplot(rows, columns, number + 1) for number in range(count)]


def max_ticks(count: int):
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(count)
