"""The look that all pictures share, and the ways a figure becomes bytes, pixels or a file."""

import io
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


def shades():
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("indigo", SHADES)


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
