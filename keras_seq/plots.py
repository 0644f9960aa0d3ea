"""Pictures of training and of attention: matplotlib figures, made without a screen and without global state.

Example:

    save(learning_curves({"loss": [3.1, 2.0], "val_loss": [3.3, 2.6]}), "curves.png")
"""

import io
import math
import os
from pathlib import Path

import numpy as np

INK, MUTED, GRID = "#1f2937", "#6b7280", "#e5e7eb"
BLUE, ORANGE = "#2563eb", "#ea580c"
SHADES = ["#ffffff", "#e0e7ff", "#a5b4fc", "#6366f1", "#3730a3", "#1e1b4b"]


def figure(width: float, height: float):
    """Returns an empty matplotlib Figure with an Agg canvas."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    fig = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(fig)
    return fig


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


def attention_map(weights, source_tokens: list[str], target_tokens: list[str], title: str = ""):
    """Draws what each target token looks at: a row a target token, a column a source token, dark is much.

    The largest weight of each row is marked by a dot. Type and cells shrink for long sentences.

    Args:
        weights: (T, S) array, each row sums to one.
        source_tokens: S texts, along the top.
        target_tokens: T texts, down the side.

    Returns: a matplotlib Figure.

    Raises:
        ValueError: when the weights do not have a row a target token and a column a source token.
    """
    weights = np.asarray(weights, "float32")
    if weights.shape != (len(target_tokens), len(source_tokens)):
        raise ValueError(
            f"expected weights of shape ({len(target_tokens)} target tokens, {len(source_tokens)} source tokens), "
            f"got {weights.shape}: cut off the padding, and average over the heads"
        )
    cell = min(0.36, 14 / max(weights.shape))
    type_size = max(4.0, min(10.0, 26 * cell))
    fig = figure(*map_size(cell, type_size, source_tokens, target_tokens, title))
    ax = fig.add_subplot()
    top = float(weights.max(initial=0.01))
    image = ax.imshow(weights, cmap=shades(), vmin=0.0, vmax=top, interpolation="nearest")
    label(ax, source_tokens, target_tokens, type_size)
    mark(ax, weights, cell)
    scale(fig, ax, image, top)
    if title:
        fig.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold", color=INK)
    return fig


def map_size(cell: float, type_size: float, source_tokens: list, target_tokens: list, title: str) -> tuple:
    """Returns width and height in inches with room for the tokens, the scale and the title."""
    letter = type_size * 0.0095
    left, above = (letter * max(map(len, tokens), default=1) for tokens in (target_tokens, source_tokens))
    width = max(len(source_tokens) * cell + left + 1.1, 0.1 * len(title) + 0.2)
    return width, max(len(target_tokens) * cell + above + 0.7, 2.2)


def shades():
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("indigo", SHADES)


def label(ax, source_tokens: list[str], target_tokens: list[str], size: float) -> None:
    """Writes the tokens along the axes, and thin white lines between the cells."""
    ax.xaxis.tick_top()
    ax.set_xticks(range(len(source_tokens)), [escape(t) for t in source_tokens], rotation=90, fontsize=size, color=INK)
    ax.set_yticks(range(len(target_tokens)), [escape(t) for t in target_tokens], fontsize=size, color=INK)
    ax.set_xticks(np.arange(len(source_tokens) + 1) - 0.5, minor=True)
    ax.set_yticks(np.arange(len(target_tokens) + 1) - 0.5, minor=True)
    ax.grid(which="minor", color=GRID, linewidth=0.5)
    ax.tick_params(which="both", length=0, pad=3)
    for spine in ax.spines.values():
        spine.set_color(GRID)


def escape(token: str) -> str:
    """Returns the token as matplotlib shows it: dollars are no mathematics, sentencepiece's word mark is a dot."""
    return token.replace("$", r"\$").replace("\u2581", "\u00b7")


def mark(ax, weights: np.ndarray, cell: float) -> None:
    """Puts a small dot on the largest weight of each row, light on dark."""
    if not weights.size:
        return
    best = weights.argmax(axis=1)
    peaks = weights[np.arange(len(best)), best]
    colors = ["white" if peak > 0.5 * weights.max() else SHADES[4] for peak in peaks]
    ax.scatter(best, np.arange(len(best)), s=(cell * 72 * 0.18) ** 2, c=colors, linewidths=0)


def scale(fig, ax, image, top: float) -> None:
    """Draws the scale of the shades, about two inches high."""
    height = min(0.8, 2.0 / fig.get_figheight())
    bar = fig.colorbar(image, ax=ax, fraction=0.03, pad=0.02, shrink=height, aspect=18, ticks=[0, top / 2, top])
    bar.ax.set_yticklabels(["0", f"{top / 2:.2f}", f"{top:.2f}"])
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0, labelsize=8, colors=MUTED)
    bar.set_label("attention weight", fontsize=8, color=MUTED)


def png(fig, dpi: int = 150) -> bytes:
    """Returns a figure as PNG bytes."""
    buffer = io.BytesIO()
    fig.savefig(buffer, format="png", dpi=dpi, bbox_inches="tight", pad_inches=0.1)
    return buffer.getvalue()


def pixels(fig) -> np.ndarray:
    """Returns a figure as a (height, width, 3) uint8 array."""
    from matplotlib.image import imread

    return np.rint(imread(io.BytesIO(png(fig, dpi=100)))[..., :3] * 255).astype("uint8")


def save(fig, path) -> None:
    """Writes a figure as PNG under a temporary name and renames it: the file is whole or not there."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(png(fig))
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
