"""Pictures of attention over a picture."""

import math

import numpy as np

from keras_seq.plots.style import GRID, INK, MUTED, figure, headline

COLUMNS = 6  # panels in a row, at most
PALE = 0.9  # brightness of what was not looked at
AMBER = np.array([1.0, 0.72, 0.35], "float32")  # the light on a grey picture, which has no colours to keep


def attention_over_picture(image, weights, pieces: list[str], title: str = ""):
    """Draws the picture once for each word: in colour where the model looked, pale elsewhere.

    A word's pieces, marked as sentencepiece does, are drawn as one. In each panel the place looked at most has full
    colour; how much of the attention lies on the brightest quarter of the places stands below, 25 % being none.

    Args:
        image: (H, W, 3), from 0 to 1.
        weights: (T, rows, columns), one map a piece.
        pieces: T texts, of which the first of each word begins with U+2581.
        title: the caption.

    Returns: a matplotlib Figure.

    Raises:
        ValueError: when the weights do not have a map a piece.
    """
    weights = np.asarray(weights, "float32")
    if weights.ndim != 3 or len(weights) != len(pieces):
        raise ValueError(f"expected weights of shape ({len(pieces)} pieces, rows, columns), got {weights.shape}")
    words, maps = by_word(weights, pieces)
    count = len(words) + 1
    columns = min(count, COLUMNS)
    rows = math.ceil(count / columns)
    fig = figure(1.75 * columns, 2.15 * rows + (0.45 if title else 0))
    axes = [fig.add_subplot(rows, columns, i + 1) for i in range(count)]
    panel(axes[0], image, "the picture", "", MUTED)
    for ax, word, weight in zip(axes[1:], words, maps):
        panel(ax, lit(image, weight), word, f"{share(weight):.0%}", INK)
    headline(fig, title, 12)
    return fig


def by_word(weights, pieces):
    """Words, and of each the mean map of its pieces."""
    starts = [i for i, piece in enumerate(pieces) if i == 0 or piece.startswith("\u2581")]
    ends = [*starts[1:], len(pieces)]
    words = ["".join(pieces[a:b]).replace("\u2581", " ").strip() for a, b in zip(starts, ends)]
    return words, [weights[a:b].mean(axis=0) for a, b in zip(starts, ends)]


def share(weight):
    """The share of the attention on the quarter of the places that has most of it."""
    ordered = np.sort(weight.ravel())[::-1]
    return float(ordered[: max(1, len(ordered) // 4)].sum() / max(ordered.sum(), 1e-9))


def lit(image, weight):
    """The picture in colour where the weight is large, fading to a pale grey; a grey picture is lit in amber."""
    image = np.asarray(image, "float32")
    light = enlarged(weight / max(float(weight.max()), 1e-9), *image.shape[:2])[..., None]
    grey = image.mean(axis=-1, keepdims=True)
    pale = PALE + (1 - PALE) * grey
    if np.ptp(image, axis=-1).max() < 0.02:
        image = image * AMBER
    return np.clip(light * image + (1 - light) * (0.75 * pale + 0.25 * grey), 0, 1)


def enlarged(weight, height, width):
    """A small map (rows, columns) at the size of the picture, smooth between the middles of the places."""
    for axis, size in enumerate((height, width)):
        count = weight.shape[axis]
        at = np.clip((np.arange(size) + 0.5) * count / size - 0.5, 0, count - 1)
        low = np.minimum(at.astype(int), max(count - 2, 0))
        part = (at - low).reshape((-1, 1) if axis == 0 else (1, -1))
        part = 0.5 - 0.5 * np.cos(np.pi * part)  # no edges where the slope changes
        high = np.minimum(low + 1, count - 1)
        weight = (1 - part) * weight.take(low, axis) + part * weight.take(high, axis)
    return weight


def panel(ax, image, word: str, note: str, color: str) -> None:
    ax.imshow(image, vmin=0, vmax=1, interpolation="antialiased")
    ax.set_title(word.replace("$", r"\$"), fontsize=11, color=color, pad=4)
    ax.set_xlabel(note, fontsize=8, color=MUTED, labelpad=2)
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_color(GRID)
