"""The look that all pictures share, and the ways a figure becomes bytes, pixels or a file."""

import io
import os
from pathlib import Path

import numpy as np

INK, MUTED, GRID = "#1f2937", "#6b7280", "#e5e7eb"
BLUE, ORANGE = "#2563eb", "#ea580c"
CURVES = [BLUE, ORANGE, "#059669", "#9333ea", "#db2777", "#0891b2", "#65a30d", "#92400e"]
SHADES = ["#ffffff", "#e0e7ff", "#a5b4fc", "#6366f1", "#3730a3", "#1e1b4b"]


def figure(width: float, height: float):
    """Returns an empty matplotlib Figure with an Agg canvas."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    fig = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(fig)
    return fig


def headline(fig, title: str, size: float = 11) -> None:
    """Writes the title of a figure, if it has one, above its left edge; dollars are no mathematics."""
    if title:
        fig.suptitle(title.replace("$", r"\$"), x=0.01, ha="left", fontsize=size, fontweight="bold", color=INK)


def shades():
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("indigo", SHADES)


def diverging():
    """Blue below zero, white at zero, orange above."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("diverging", ["#1e3a8a", BLUE, "#ffffff", ORANGE, "#7c2d12"])


def png(fig, dpi: int = 150, colors: int | None = None) -> bytes:
    """Returns a figure as PNG bytes; with `colors`, of that many at most, which makes it a third of the size."""
    buffer = io.BytesIO()
    fig.savefig(buffer, format="png", dpi=dpi, bbox_inches="tight", pad_inches=0.1)
    return buffer.getvalue() if colors is None else palette(buffer, colors)


def palette(buffer, colors: int) -> bytes:
    """Returns a PNG made again with a palette."""
    from PIL import Image

    small, image = io.BytesIO(), Image.open(buffer).convert("RGB")
    image = image.quantize(colors, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    image.save(small, format="png", optimize=True)
    return small.getvalue()


def pixels(fig) -> np.ndarray:
    """Returns a figure as a (height, width, 3) uint8 array."""
    from matplotlib.image import imread

    return np.rint(imread(io.BytesIO(png(fig, dpi=100)))[..., :3] * 255).astype("uint8")


def save(fig, path, colors: int | None = None) -> None:
    """Writes a figure as PNG under a temporary name and renames it: the file is whole or not there."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(png(fig, colors=colors))
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
