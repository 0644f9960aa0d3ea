"""Batches of pictures with captions for `fit`, each picture seen a little differently every time."""

import dataclasses
import itertools
import math

import numpy as np

from keras_seq.data.images import shown

PAD, BOS, EOS = 0, 1, 2


@dataclasses.dataclass(frozen=True)
class Jitter:
    """How much a picture is changed before the model sees it, each drawn evenly from the range; all 0 changes nothing.

    Args:
        shift: share of height and width by which it moves, at most.
        shrink, grow: shares by which it becomes smaller or larger, at most.
        rotate: degrees, either way.
        colour: by how much brightness (0 to 1), contrast and saturation (factors) change.
        background: share of pictures that get a background of any colour in place of white.
        flip: whether half of the pictures are mirrored.
    """

    shift: float = 0.0
    shrink: float = 0.0
    grow: float = 0.0
    rotate: float = 0.0
    colour: float = 0.0
    background: float = 0.0
    flip: bool = False


class PictureBatches:
    """Pictures and captions as batches.

    The batches and the changes of epoch e follow from (seed, e), so a resumed run sees what an unbroken one would have
    seen. In each epoch a picture comes once, with one of its captions.

    Args:
        pictures: uint8 (N, P, P, 4).
        captions: for each picture a list of captions, each a list of ids without BOS and EOS.
        size: height and width that the model sees.
        batch_size: pictures in a batch.
        jitter: `Jitter` of training pictures.
        seed: of the order and the changes.
        shuffle: False for validation: always the same batches, the first caption, nothing changed.

    Attributes:
        steps: batches in an epoch.

    Raises:
        ValueError: for no pictures, or not as many as captions.

    Example:
        >>> batches = PictureBatches(np.zeros((3, 8, 8, 4), "uint8"), [[[5]], [[6, 7]], [[8]]], 8, 2, shuffle=False)
        >>> inputs, labels, weights = next(batches.epoch(0))
        >>> inputs["image"].shape, inputs["target"].tolist(), labels.tolist()
        ((2, 8, 8, 3), [[1, 5, 0], [1, 6, 7]], [[5, 2, 0], [6, 7, 2]])
    """

    def __init__(self, pictures, captions, size, batch_size=64, jitter=None, seed=0, shuffle=True):
        if not len(pictures) or len(pictures) != len(captions):
            raise ValueError(f"expected pictures and as many captions, got {len(pictures)} and {len(captions)}")
        self.pictures, self.captions, self.size, self.batch_size = pictures, captions, size, batch_size
        self.jitter, self.seed, self.shuffle = jitter or Jitter(), seed, shuffle
        self.steps = -(-len(pictures) // batch_size)

    def rows(self, epoch):
        """Yields (row numbers, inputs, labels, weights) of each batch, without the pictures."""
        random = np.random.default_rng((self.seed, epoch))
        order = random.permutation(len(self.pictures)) if self.shuffle else np.arange(len(self.pictures))
        for rows in np.array_split(order, self.steps):
            chosen = [self.captions[i][random.integers(len(self.captions[i])) if self.shuffle else 0] for i in rows]
            both = np.zeros((len(rows), max(map(len, chosen)) + 2), "int32")
            for line, ids in zip(both, chosen):
                line[: len(ids) + 2] = [BOS, *ids, EOS]
            labels = both[:, 1:]
            target = np.where(labels == PAD, PAD, both[:, :-1])
            yield rows, {"target": target}, labels, (labels != PAD).astype("float32")

    def raw(self, epoch):
        """As `epoch`, with the pictures as they are stored; beside them the seed of their changes."""
        for number, (rows, inputs, *rest) in enumerate(self.rows(epoch)):
            seed = np.array([self.seed, epoch * self.steps + number], "int32")
            yield {**inputs, "image": np.asarray(self.pictures[rows])}, *rest, seed

    def epoch(self, epoch=0):
        """Yields (inputs, labels, weights): {"image" (B, size, size, 3), "target" (B, T)}, (B, T), (B, T)."""
        for inputs, labels, weights, seed in self.raw(epoch):
            yield {**inputs, "image": np.asarray(self.view(inputs["image"], seed))}, labels, weights

    def view(self, pictures, seed):
        """Stored pictures as the model sees them, changed where they are shuffled."""
        if self.shuffle:
            return changed(pictures, self.size, self.jitter, seed)
        return np.stack([shown(picture, self.size) for picture in pictures])

    def dataset(self, epoch=0):
        """A `tf.data.Dataset` as that of `Bucketed`: endless with `shuffle`, otherwise one epoch long."""
        import tensorflow as tf

        text = tf.TensorSpec((None, None), tf.int32)
        stored = tf.TensorSpec((None, *self.pictures.shape[1:]), tf.uint8)
        row = {"target": text, "image": stored}, text, tf.TensorSpec((None, None), tf.float32)
        if self.shuffle:
            row = (*row, tf.TensorSpec((2,), tf.int32))
            data = tf.data.Dataset.from_generator(lambda: self.onwards(epoch), output_signature=row)
            data = data.map(self.changed_row, num_parallel_calls=2, deterministic=True)
        else:
            row[0]["image"] = tf.TensorSpec((None, self.size, self.size, 3), tf.float32)
            data = tf.data.Dataset.from_generator(lambda: self.epoch(epoch), output_signature=row)
        options = tf.data.Options()
        options.autotune.enabled = False  # with it an epoch now and then waits at its end for a timer
        cardinality = tf.data.INFINITE_CARDINALITY if self.shuffle else self.steps
        return data.apply(tf.data.experimental.assert_cardinality(cardinality)).prefetch(4).with_options(options)

    def onwards(self, epoch):
        """The stored batches of an epoch and of all that follow."""
        return (batch for number in itertools.count(epoch) for batch in self.raw(number))

    def changed_row(self, inputs, labels, weights, seed):
        return {**inputs, "image": changed(inputs["image"], self.size, self.jitter, seed)}, labels, weights


# Changes, on the batch ----------------------------------------------------------------------------------------------


def changed(pictures, size, jitter, seed):
    """Pictures uint8 (B, P, P, 4) moved, turned, on a background, in other light: float32 (B, size, size, 3)."""
    import tensorflow as tf

    random = Draws(tf.shape(pictures)[0], seed)
    rgba = tf.cast(pictures, "float32") / 255
    alpha = rgba[..., 3:]
    moved = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.concat([rgba[..., :3] * alpha, alpha], -1),  # premultiplied: no dark edges
        transforms=transforms(pictures.shape[1], size, jitter, random), output_shape=[size, size],
        interpolation="BILINEAR", fill_mode="CONSTANT", fill_value=0.0,
    )  # fmt: skip
    coloured = random.between(0, 1, 1) < jitter.background
    background = tf.where(coloured, random.between(0, 1, 3), 1.0)[:, None, None]
    x = moved[..., :3] + (1 - moved[..., 3:]) * background
    return tf.clip_by_value(lit(x, jitter.colour, random), 0.0, 1.0)


class Draws:
    """Random numbers for each picture of a batch: the same for the same seed."""

    def __init__(self, count, seed):
        self.count, self.seed, self.number = count, seed, 0

    def between(self, low, high, width):
        """(B, width), even in [low, high)."""
        import tensorflow as tf

        self.number += 1
        seed = tf.stack([self.seed[0] * 1000 + self.number, self.seed[1]])
        return tf.random.stateless_uniform((self.count, width), seed, low, high)


def transforms(stored, size, jitter, random):
    """For each picture the rows of the matrix that takes a place in the result to one in the stored picture: (B, 8)."""
    import tensorflow as tf

    angle = random.between(-1, 1, 1)[:, 0] * math.radians(jitter.rotate)
    zoom = random.between(1 - jitter.shrink, 1 + jitter.grow + 1e-9, 1)[:, 0]
    mirror = 1 - 2 * tf.cast(random.between(0, 1, 1)[:, 0] < 0.5 * jitter.flip, "float32")
    step = stored / size / zoom  # stored pixels for one of the result
    c, s = tf.cos(angle) * step, tf.sin(angle) * step
    shift = random.between(-1, 1, 2) * jitter.shift * stored
    to, at = (size - 1) / 2, (stored - 1) / 2
    left = at - (c * to - s * to) * mirror + shift[:, 0]
    top = at - (s * to + c * to) + shift[:, 1]
    zero = tf.zeros_like(c)
    return tf.stack([c * mirror, -s * mirror, left, s, c, top, zero, zero], axis=1)


def lit(x, amount, random):
    """Pictures (B, S, S, 3) brighter or darker, with more or less contrast and colour."""
    import tensorflow as tf

    brightness, contrast, saturation = (
        1 + amount * random.between(-1, 1, 1)[:, None, None] for _ in range(3)
    )  # (B, 1, 1, 1) each
    grey = tf.reduce_mean(x, axis=-1, keepdims=True)
    x = grey + (x - grey) * saturation
    mean = tf.reduce_mean(x, axis=(1, 2, 3), keepdims=True)
    return mean + (x - mean) * contrast + 0.5 * (brightness - 1)
