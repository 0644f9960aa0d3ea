"""Batches of clips for `fit`, each time changed a little: order and changes follow from the seed and the epoch."""

import dataclasses

import numpy as np

from keras_seq.data.feed import divided, fed, parts, sized


@dataclasses.dataclass(frozen=True)
class Changes:
    """How much a clip is changed before the model sees it, each drawn evenly from the range; all 0 changes nothing.

    Args:
        shift: share of height and width by which the picture moves, at most.
        zoom: share by which it grows or shrinks.
        flip: whether half of the clips are mirrored.
        light: by how much brightness (0 to 1) and contrast (a factor) change.
        stretch: share by which time runs faster or slower; the labels follow.
        hide: pieces of time, up to a tenth of the clip each, in which the picture stands still.
        splice: share of the clips that go on, from a moment where the label changes, as another clip does.
    """

    shift: float = 0.0
    zoom: float = 0.0
    flip: bool = False
    light: float = 0.0
    stretch: float = 0.0
    hide: int = 0
    splice: float = 0.0


class ClipBatches:
    """Clips and the labels of their frames as batches.

    Clips longer than `window` frames are cut: in training from anywhere, each time anew; otherwise into one piece after
    the other. Shorter ones are padded. Training batches are all of one size: where it does not divide the clips, some
    come twice in an epoch, fewer than there are batches.

    Args:
        clips: list of uint8 (T, H, W).
        labels: list of int (T,); a frame whose label is -1 is read, and counts for nothing.
        batch_size: Clips in a batch.
        window: Frames in a row of a batch.
        changes: `Changes` of training clips.
        seed: Of the order and the changes.
        shuffle: False for validation: always the same batches, nothing changed.

    Attributes:
        steps: Batches in an epoch.

    Raises:
        ValueError: for no clips.

    Example:
        >>> batches = ClipBatches([np.zeros((5, 4, 6), "uint8")], [[0, 0, 1, 1, 0]], batch_size=1, window=5)
        >>> inputs, labels, weights = next(batches.epoch(0))
        >>> inputs["frames"].shape, inputs["length"].tolist(), labels.tolist()
        ((1, 5, 4, 6, 1), [5], [[0, 0, 1, 1, 0]])
    """

    def __init__(self, clips, labels, batch_size=16, window=75, changes=None, seed=0, shuffle=True):
        if not len(clips):
            raise ValueError("clips: expected at least one, got none")
        self.clips, self.labels, self.batch_size, self.window = clips, labels, batch_size, window
        self.changes, self.seed, self.shuffle = changes or Changes(), seed, shuffle
        self.pieces = [(i, start) for i, clip in enumerate(clips) for start in range(0, len(clip), window)]
        self.steps, self.rows_each = divided(len(self.pieces), batch_size, shuffle)

    def epoch(self, epoch=0):
        """Yields (inputs, labels, weights): {"frames" (B, T, H, W, 1), "length" (B,)}, int32 (B, T), float32 (B, T)."""
        for inputs, *rest in self.stored(epoch):
            yield {**inputs, "frames": inputs["frames"].astype("float32") / 255}, *rest

    def stored(self, epoch):
        """The same with frames of bytes: a quarter of what is to be handed over."""
        random = np.random.default_rng((self.seed, epoch))
        order = random.permutation(len(self.pieces)) if self.shuffle else np.arange(len(self.pieces))
        for rows in parts(order, self.steps, self.rows_each):
            yield self.batch([self.row(i, random) for i in rows])

    def row(self, number, random):
        """A clip and its labels, at most `window` frames."""
        i, start = self.pieces[number]
        clip, labels = self.clips[i], np.asarray(self.labels[i])
        if self.shuffle:
            start = random.integers(max(len(clip) - self.window, 0) + 1)
        clip, labels = clip[start : start + self.window], labels[start : start + self.window]
        if not self.shuffle:
            return clip, labels
        if random.random() < self.changes.splice:
            j = random.integers(len(self.clips))
            clip, labels = spliced(clip, labels, self.clips[j], np.asarray(self.labels[j]), random)
        return changed(clip, labels, self.changes, random)

    def batch(self, rows):
        shape = len(rows), self.window
        frames = np.zeros((*shape, *rows[0][0].shape[1:], 1), "uint8")
        labels, weights = np.zeros(shape, "int32"), np.zeros(shape, "float32")
        for i, (clip, names) in enumerate(rows):
            names = np.asarray(names)
            frames[i, : len(clip), ..., 0] = clip
            labels[i, : len(clip)], weights[i, : len(clip)] = np.maximum(names, 0), names >= 0
        return {"frames": frames, "length": np.array([len(clip) for clip, _ in rows], "int32")}, labels, weights

    def dataset(self, epoch=0):
        """A `tf.data.Dataset` as that of `Bucketed`: endless with `shuffle`, otherwise one epoch long."""
        import tensorflow as tf

        frames = tf.TensorSpec((None, self.window, *self.clips[0].shape[1:], 1), tf.uint8)
        row = tf.TensorSpec((None, self.window), tf.int32), tf.TensorSpec((None, self.window), tf.float32)
        inputs = {"frames": frames, "length": tf.TensorSpec((None,), tf.int32)}

        def seen(inputs, *rest):
            return {**inputs, "frames": tf.cast(inputs["frames"], "float32") / 255}, *rest

        return fed(self, epoch, sized((inputs, *row), self.rows_each), self.stored, seen)


# --- changes ------------------------------------------------------------------------------------------------------


def changed(clip, labels, changes, random):
    """A clip uint8 (T, H, W) with its labels, changed at random: uint8 too, and the labels that go with it."""
    order = times(len(clip), changes, random)
    clip, labels = clip[hidden(order, changes.hide, random)], labels[order]
    clip = moved(clip, changes, random)
    if changes.flip and random.random() < 0.5:
        clip = clip[:, :, ::-1]
    if changes.light:
        mean = clip[::5].mean()  # of every fifth frame
        factor, more = 1 + changes.light * random.uniform(-1, 1), 0.5 * changes.light * random.uniform(-1, 1)
        light = (np.arange(256) - mean) * factor + mean + 255 * more  # of each brightness
        table = np.clip(np.rint(light), 0, 255).astype("uint8")
        clip = np.frombuffer(clip.tobytes().translate(table), "uint8").reshape(clip.shape)  # faster than table[clip]
    return clip, labels


def times(count, changes, random):
    """Which frame is shown at each moment when time runs faster or slower, around a moment of its own: int (T,)."""
    speed, still = 1 + changes.stretch * random.uniform(-1, 1), random.uniform(0, count)
    return np.clip(np.rint((np.arange(count) - still) * speed + still), 0, count - 1).astype(int)


def hidden(order, pieces, random):
    """The same, with the picture standing still for a few pieces of time."""
    order, longest = order.copy(), max(len(order) // 10, 1)
    for _ in range(pieces):
        start, length = random.integers(len(order)), random.integers(longest + 1)
        order[start : start + length] = order[start]
    return order


def moved(clip, changes, random):
    """The picture shifted and zoomed as a whole; what comes in from outside is the edge repeated."""
    for axis in (1, 2):
        size = clip.shape[axis]
        zoom, shift = 1 + changes.zoom * random.uniform(-1, 1), changes.shift * size * random.uniform(-1, 1)
        if changes.zoom or changes.shift:
            centre = (size - 1) / 2
            places = np.clip(np.rint((np.arange(size) - centre) / zoom + centre + shift), 0, size - 1).astype(int)
            clip = clip.take(places, axis=axis)
    return clip


def spliced(clip, labels, other, other_labels, random):
    """The clip up to a moment where its label changes, then another from the nearest moment where that one's does."""
    cuts, others = (np.flatnonzero(np.diff(x)) + 1 for x in (labels, other_labels))
    if not len(cuts) or not len(others):
        return clip, labels
    cut = random.choice(cuts)
    start = others[np.abs(others - cut).argmin()]
    left, count = len(clip) - cut, len(clip)
    clip = np.concatenate([clip[:cut], other[start : start + left]])
    labels = np.concatenate([labels[:cut], other_labels[start : start + left]])
    return clip[:count], labels[:count]
