"""Pictures of attention between tokens."""

import numpy as np

from keras_seq.plots.style import GRID, INK, MUTED, SHADES, figure, headline, shades


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
    headline(fig, title)
    return fig


def map_size(cell: float, type_size: float, source_tokens: list, target_tokens: list, title: str) -> tuple:
    """Returns width and height in inches with room for the tokens, the scale and the title."""
    letter = type_size * 0.0095
    left, above = (letter * max(map(len, tokens), default=1) for tokens in (target_tokens, source_tokens))
    width = max(len(source_tokens) * cell + left + 1.1, 0.1 * len(title) + 0.2)
    return width, max(len(target_tokens) * cell + above + 0.7, 2.2)


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
