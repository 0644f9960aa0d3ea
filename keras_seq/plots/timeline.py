"""A clip with its labelled spans under the frames."""

import hashlib
import math

import numpy as np

from keras_seq.plots.style import GRID, INK, MUTED, figure, headline

WIDTH = 12.0  # inches
COLORS = [
    "#2563eb", "#ea580c", "#059669", "#9333ea", "#db2777", "#0891b2", "#65a30d", "#b45309", "#4f46e5", "#be123c",
    "#0f766e", "#7c3aed", "#c2410c", "#1d4ed8", "#15803d", "#a21caf",
]  # fmt: skip


def timeline(frames, rows: dict, seconds: float, quiet=(), title: str = "", sure=None):
    """Draws frames of a clip side by side and below them, on one axis of time, rows of labelled spans.

    Args:
        frames: (T, H, W) or (T, H, W, C) array; as many of them are drawn as fit.
        rows: {"found": [(start, end, label), ...], "expected": [...]}, in seconds, a row each, from the top.
        seconds: how long the clip is.
        quiet: labels that are drawn pale and without their name: silence.
        title: of the picture.
        sure: (T,) array of 0 to 1, drawn as a line under the rows: how sure the model is of each frame's label.

    Returns: a matplotlib Figure.

    Raises:
        ValueError: for a clip without a frame or a length.

    Example:
        >>> figure = timeline(np.zeros((10, 4, 8)), {"found": [(0.0, 0.2, "a"), (0.2, 0.4, "b")]}, 0.4)
        >>> float(figure.get_figwidth())
        12.0
    """
    frames = np.asarray(frames)
    if not len(frames) or seconds <= 0:
        raise ValueError(f"expected frames and a length above 0, got {len(frames)} frames, {seconds} s: check the clip")
    strip, height = film(frames)
    heights = [height, *[0.42] * len(rows), *([0.4] if sure is not None else [])]
    fig = figure(WIDTH, sum(heights) + 0.5 + (0.3 if title else 0))
    axes = fig.subplots(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    fig.get_layout_engine().set(h_pad=0.02, hspace=0.02)
    axes[0].imshow(strip, cmap="gray", vmin=0, vmax=strip.max() or 1, aspect="auto", extent=(0, seconds, 0, 1))
    axes[0].set_axis_off()
    for ax, (name, spans) in zip(axes[1:], rows.items()):
        bar(ax, name, spans, seconds, quiet)
    if sure is not None:
        certainty(axes[-1], sure, seconds)
    scale(axes, seconds)
    headline(fig, title)
    return fig


def film(frames: np.ndarray) -> tuple[np.ndarray, float]:
    """Returns evenly chosen frames side by side, with thin white gaps, and the height they have at full width."""
    height, width = frames.shape[1:3]
    count = max(1, min(len(frames), round(WIDTH / (0.9 * width / height)), 16))
    places = ((np.arange(count) + 0.5) * len(frames) / count).astype(int)
    gap = max(1, width // 30)
    white = np.full((height, gap, *frames.shape[3:]), frames.max() or 1, frames.dtype)
    parts = [part for place in places for part in (frames[place], white)][:-1]
    strip = np.concatenate(parts, axis=1)
    return np.squeeze(strip), min(WIDTH * height / strip.shape[1], 3.0)


def bar(ax, name: str, spans: list, seconds: float, quiet) -> None:
    """Draws spans as coloured boxes with their names, as far as those have room."""
    for start, end, label in spans:
        pale = label in quiet
        face = GRID if pale else color(label)
        ax.broken_barh([(start, end - start)], (0.08, 0.84), facecolor=face, edgecolor="white")
        room = (end - start) / seconds * WIDTH * 72  # points
        size = min(10.0, 1.6 * room / max(len(label), 1))
        if not pale and size >= 5:
            text = label.replace("$", r"\$")
            ax.text((start + end) / 2, 0.47, text, ha="center", va="center", fontsize=size, color="white", clip_on=True)
    ax.set_ylim(0, 1)
    ax.set_yticks([0.5], [name], fontsize=9, color=INK)


def color(label: str) -> str:
    """Returns the colour of a label, the same in every picture."""
    return COLORS[hashlib.sha256(label.encode()).digest()[0] % len(COLORS)]


def certainty(ax, sure, seconds: float) -> None:
    """Draws how sure the model is, as a filled line."""
    middle = (np.arange(len(sure)) + 0.5) * seconds / len(sure)
    ax.fill_between(middle, np.asarray(sure, "float32"), color=GRID, linewidth=0)
    ax.plot(middle, sure, color=MUTED, linewidth=1)
    ax.set_ylim(0, 1.05)
    ax.set_yticks([0.5], ["sure"], fontsize=9, color=INK)


def scale(axes, seconds: float) -> None:
    """Gives all panels one axis of time and writes it under the last."""
    step = next((s for s in (0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800) if seconds / s <= 16), 3600)
    ticks = np.arange(math.floor(seconds / step + 1e-6) + 1) * step
    for ax in axes:
        ax.set_xlim(0, seconds)
        ax.set_xticks([])
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
    labels = [f"{t:g} s" if step < 60 else f"{t / 60:g} min" for t in ticks]
    axes[-1].set_xticks(ticks, labels, fontsize=8, color=MUTED)
    axes[-1].tick_params(axis="x", length=3, color=GRID)
