"""Samples for a page, as text that JSON can hold: pictures and sounds as addresses that hold them themselves."""

import base64
import io
import wave

import numpy as np


def few(rows, count=6):
    """Some of many rows, far from each other.

    Example:
        >>> few(list(range(60)))
        [5, 15, 25, 35, 45, 55]
    """
    step = max(1, len(rows) // count)
    return rows[step // 2 :: step][:count]


def rounded(numbers):
    """Numbers as lists, of six digits each.

    Example:
        >>> rounded(np.array([[1 / 3, 2e6]]))
        [[0.333333, 2000000.0]]
    """
    return np.vectorize(lambda number: float(f"{number:.6g}"), otypes=[float])(numbers).tolist()


def png(picture):
    """A picture uint8 (H, W), (H, W, 3) or (H, W, 4) as a `data:` address of a PNG.

    Example:
        >>> png(np.zeros((2, 3), "uint8"))[:22]
        'data:image/png;base64,'
    """
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.asarray(picture, "uint8")).save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def strip(frames):
    """Frames uint8 (T, H, W) as one picture, each below the one before it.

    Example:
        >>> strip(np.zeros((5, 2, 3), "uint8"))["count"]
        5
    """
    frames = np.asarray(frames, "uint8")
    return {"frames": png(frames.reshape(-1, frames.shape[2])), "count": len(frames)}


def wav(sound, rate):
    """A sound int16 (N,) of `rate` samples a second as a `data:` address of a WAV.

    Example:
        >>> wav(np.zeros(3, "int16"), 8000)[:22]
        'data:audio/wav;base64,'
    """
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes(np.asarray(sound, "<i2").tobytes())
    return f"data:audio/wav;base64,{base64.b64encode(buffer.getvalue()).decode()}"
