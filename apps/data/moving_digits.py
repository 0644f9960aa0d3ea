"""Moving digits: clips drawn from real handwritten digits, with a label for every frame.

The digits are handwriting; that they move is synthetic. One after the other crosses the picture on a bent path, behind
posts that stand in front, in noise. A frame is labelled with the digit of which a third or more of the ink is to be
seen, otherwise with "none".
"""

import functools
import hashlib

import numpy as np

LABELS = ("none", *"0123456789")
HEIGHT, WIDTH, FRAMES, RATE = 40, 80, 75, 25.0
SEEN = 1 / 3  # share of its ink that makes a digit visible
NAME = "digits:"  # what `digits:test/3` begins with: the name of a clip that lies in no file


def clip(name, digits):
    """The clip of a name, always the same.

    Args:
        name: "digits:train/17": split and number.
        digits: {"train": (images uint8 (N, 28, 28), labels (N,)), ...}, of `load_video`.

    Returns:
        frames uint8 (75, 40, 80) and labels int (75,), places in `LABELS`.

    Raises:
        ValueError: for another name.

    Example:
        >>> frames, labels = clip("digits:test/3", load_video())   # doctest: +SKIP
    """
    split, _, number = name.removeprefix(NAME).partition("/")
    if split not in digits or not number.isdecimal():
        raise ValueError(f"expected a clip like {NAME}test/3 ({', '.join(digits)}), got {name!r}")
    random = np.random.default_rng(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]))
    return draw(*digits[split], random)


@functools.lru_cache(maxsize=10_000)
def drawn(name):
    """The clip of a name, from the pack that comes with the app; kept, as it is asked for again."""
    return clip(name, pack())


@functools.cache
def pack():
    from apps.data import load_video

    return load_video()


def spans(name):
    """The labelled spans of a drawn clip, in seconds."""
    from keras_seq.data import Span, runs

    labels = (LABELS[place] for place in drawn(name)[1])
    return [Span(span.start / RATE, span.end / RATE, span.label) for span in runs(labels)]


def draw(images, classes, random):
    """A clip of some of these digits: frames and labels."""
    ink, labels = np.zeros((FRAMES, HEIGHT, WIDTH), "float32"), np.zeros(FRAMES, int)
    post, grey = posts(random)
    start = random.integers(0, 10)
    while start < FRAMES:
        count, i = int(random.integers(14, 30)), random.integers(len(images))
        drawn = crossing(images[i], count, random)[: FRAMES - start]
        whole = drawn.sum(axis=(1, 2)).max()
        seen = (drawn * ~post).sum(axis=(1, 2)) >= SEEN * whole
        ink[start : start + len(drawn)] = drawn
        labels[start : start + len(drawn)][seen] = classes[i] + 1
        start += count + int(random.integers(0, 8))
    ramp = np.linspace(*random.uniform(20, 110, 2), WIDTH)
    scene = np.where(post, grey, ramp + ink * random.uniform(0.4, 0.6))
    scene = scene + random.normal(0, random.uniform(4, 22), scene.shape)
    return np.clip(scene, 0, 255).astype("uint8"), labels


def posts(random):
    """Where something stands in front of the digits, bool (H, W), and its grey."""
    columns = np.arange(WIDTH)
    post = np.zeros(WIDTH, bool)
    for _ in range(random.integers(0, 3)):
        left = random.integers(WIDTH)
        post |= (columns >= left) & (columns < left + random.integers(5, 16))
    return np.broadcast_to(post, (HEIGHT, WIDTH)), random.uniform(20, 160)


def crossing(image, count, random):
    """A digit on its way through the picture: float32 (count, H, W), 0 to 255."""
    size = int(random.integers(20, 34))
    rows = (np.arange(size) * 28 / size).astype(int)
    image = image[rows][:, rows].astype("float32")
    t = np.linspace(0, 1, count)
    left, right = random.uniform(-0.8, 0.3) * size, WIDTH - random.uniform(0.2, 1.3) * size
    x = left + (right - left) * (t if random.random() < 0.5 else 1 - t)
    y = (HEIGHT - size) * random.uniform(0, 1) + random.uniform(0, 6) * np.sin(6 * t + random.uniform(0, 6))
    wide = np.zeros((count, HEIGHT + 2 * size, WIDTH + 2 * size), "float32")
    for frame, top, side in zip(wide, (y + size).astype(int), (x + size).astype(int)):
        top = min(max(top, 0), HEIGHT + size)
        frame[top : top + size, side : side + size] = image
    return wide[:, size : size + HEIGHT, size : size + WIDTH]
