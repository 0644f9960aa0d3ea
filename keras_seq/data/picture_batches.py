"""Batches of pictures with captions or labels for `fit`, each picture seen a little differently every time."""

import dataclasses
import functools
import itertools
import math

import numpy as np

from keras_seq.data.batches import taught
from keras_seq.data.feed import divided, fed, parts, sized
from keras_seq.data.images import shown
from keras_seq.data.labelled import described


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
        cutout: side of a square that becomes grey, as a share of the picture's; its middle is anywhere.

    Reference: of the last one DeVries and Taylor 2017.
    """

    shift: float = 0.0
    shrink: float = 0.0
    grow: float = 0.0
    rotate: float = 0.0
    colour: float = 0.0
    background: float = 0.0
    flip: bool = False
    cutout: float = 0.0

    @classmethod
    def of(cls, settings):
        """The changes that a dataclass of settings asks for, by fields of the same names; it may lack some."""
        names = [field.name for field in dataclasses.fields(cls) if hasattr(settings, field.name)]
        return cls(**{name: getattr(settings, name) for name in names})


class Pictures:
    """Pictures as batches; what stands beside them is the task of a member.

    The batches and the changes of epoch e follow from (seed, e), so a resumed run sees what an unbroken one would have
    seen. Training batches are all of one size: where it does not divide the pictures, some come twice in an epoch,
    fewer than there are batches. A member has `beside(rows, random)`, which gives inputs beside the picture, labels and
    weights of some rows; `spec()`, which describes them; and `joined(image, inputs)`, what a model reads.

    Args:
        pictures: uint8 (N, P, P, 4), or (N, P, P, 1), grey and opaque.
        size: height and width that the model sees.
        batch_size: pictures in a batch.
        jitter: `Jitter` of training pictures.
        seed: of the order and the changes.
        shuffle: False for validation: always the same batches, nothing changed.
    """

    def __init__(self, pictures, size, batch_size, jitter, seed, shuffle):
        self.pictures, self.size, self.batch_size = pictures, size, batch_size
        self.jitter, self.seed, self.shuffle = jitter or Jitter(), seed, shuffle
        self.steps, self.rows_each = divided(len(pictures), batch_size, shuffle)
        self.channels = 1 if pictures.shape[-1] == 1 else 3

    def rows(self, epoch):
        """Yields (row numbers, inputs, labels, weights) of each batch, without the pictures."""
        random = np.random.default_rng((self.seed, epoch))
        order = random.permutation(len(self.pictures)) if self.shuffle else np.arange(len(self.pictures))
        for rows in parts(order, self.steps, self.rows_each):
            yield rows, *self.beside(rows, random)

    def raw(self, epoch):
        """The stored pictures of each batch, inputs, labels and weights, and the seed of their changes."""
        for number, (rows, *rest) in enumerate(self.rows(epoch)):
            seed = np.array([self.seed, epoch * self.steps + number], "int32")
            yield np.asarray(self.pictures[rows]), *rest, seed

    def epoch(self, epoch=0):
        """Yields (inputs, labels, weights) of each batch as a model reads them, pictures float32 (B, size, size, C)."""
        for row in self.raw(epoch):
            yield tuple(map(as_arrays, self.seen(*row)))

    def seen(self, pictures, inputs, labels, weights, seed):
        """A batch as the model sees it, changed where it is shuffled."""
        if self.shuffle:
            image = changed(pictures, self.size, self.jitter, seed)
        else:
            image = np.stack([shown(picture, self.size) for picture in pictures])
        return self.joined(image, inputs), labels, weights

    def dataset(self, epoch=0):
        """A `tf.data.Dataset` as that of `Bucketed`: endless with `shuffle`, otherwise one epoch long."""
        import tensorflow as tf

        inputs, *rest = described(self.spec())
        if self.shuffle:
            stored = tf.TensorSpec((None, *self.pictures.shape[1:]), tf.uint8)
            row = sized((stored, inputs, *rest), self.rows_each)
            return fed(self, epoch, (*row, tf.TensorSpec((2,), tf.int32)), self.raw, self.seen)
        image = tf.TensorSpec((None, self.size, self.size, self.channels), tf.float32)
        return fed(self, epoch, (self.joined(image, inputs), *rest))


def as_arrays(part):
    """A tensor, or a dict of them, as arrays."""
    return {name: np.asarray(x) for name, x in part.items()} if isinstance(part, dict) else np.asarray(part)


class PictureBatches(Pictures):
    """Pictures and captions as batches.

    In each epoch a picture comes with one of its captions.

    Args:
        pictures, size, batch_size, jitter, seed: see `Pictures`.
        captions: for each picture a list of captions, each a list of ids without BOS and EOS.
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
        super().__init__(pictures, size, batch_size, jitter, seed, shuffle)
        self.captions = captions

    def beside(self, rows, random):
        """{"target" (B, T)}, labels (B, T) and weights (B, T) of some rows."""
        chosen = [self.captions[i][random.integers(len(self.captions[i])) if self.shuffle else 0] for i in rows]
        target, labels, weights = taught(chosen)
        return {"target": target}, labels, weights

    def spec(self):
        text = (None, None)
        return {"target": (text, "int32")}, (text, "int32"), (text, "float32")

    def joined(self, image, inputs):
        return {**inputs, "image": image}


class LabelledPictures(Pictures):
    """Pictures and their classes as batches.

    Args:
        pictures, size, batch_size, jitter, seed, shuffle: see `Pictures`.
        labels: for each picture the number of its class.
        classes: how many classes there are.
        mixup: above 0 each training picture is laid over another of its batch, and the labels likewise: λ of one and
            1 - λ of the other, λ drawn from Beta(mixup, mixup). Zhang et al. 2018.

    Attributes:
        steps: batches in an epoch.

    Raises:
        ValueError: for no pictures, or not as many as labels.

    Example:
        >>> batches = LabelledPictures(np.zeros((3, 8, 8, 1), "uint8"), [0, 2, 1], 3, 8, 2, shuffle=False)
        >>> image, labels, weights = next(batches.epoch(0))
        >>> image.shape, labels.tolist(), weights.tolist()
        ((2, 8, 8, 1), [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], [1.0, 1.0])
    """

    def __init__(
        self, pictures, labels, classes, size, batch_size=64, jitter=None, mixup=0.0, seed=0, shuffle=True
    ):  # fmt: skip
        if not len(pictures) or len(pictures) != len(labels):
            raise ValueError(f"expected pictures and as many labels, got {len(pictures)} and {len(labels)}")
        super().__init__(pictures, size, batch_size, jitter, seed, shuffle)
        self.targets, self.mixup = np.eye(classes, dtype="float32")[np.asarray(labels)], mixup

    def beside(self, rows, random):
        """What each picture is mixed with, and how much of it stays; targets (B, C); weights (B,)."""
        keep = random.beta(self.mixup, self.mixup, len(rows)) if self.mixup and self.shuffle else np.ones(len(rows))
        other, keep = random.permutation(len(rows)).astype("int32"), keep.astype("float32")
        targets, share = self.targets[rows], keep[:, None]
        mixed = share * targets + (1 - share) * targets[other]
        return {"other": other, "keep": keep}, mixed, np.ones(len(rows), "float32")

    def spec(self):
        line = (None,)
        inputs = {"other": (line, "int32"), "keep": (line, "float32")}
        return inputs, ((None, self.targets.shape[1]), "float32"), (line, "float32")

    def joined(self, image, inputs):
        if not (self.mixup and self.shuffle):
            return image
        import tensorflow as tf

        keep = inputs["keep"][:, None, None, None]
        return keep * image + (1 - keep) * tf.gather(image, inputs["other"])


# Changes, on the batch ----------------------------------------------------------------------------------------------


def changed(pictures, size, jitter, seed):
    """Pictures uint8 (B, P, P, 4) moved, turned, on a background, in other light: float32 (B, size, size, 3).

    Grey ones (B, P, P, 1) are opaque and stay grey: (B, size, size, 1).
    """
    import tensorflow as tf

    random, grey = Draws(tf.shape(pictures)[0], seed), pictures.shape[-1] == 1
    matrices = transforms(pictures.shape[1], size, jitter, random)
    coloured = random.between(0, 1, 1) < jitter.background
    background = tf.where(coloured, random.between(0, 1, 1 if grey else 3), 1.0)
    light = [1 + jitter.colour * random.between(-1, 1, 1) for _ in range(3)]
    x = one_kernel()(pictures, matrices, background, *light, size)
    return cut_out(x, jitter.cutout, random) if jitter.cutout else x


@functools.cache
def one_kernel():
    """`seen_through` as one."""
    from keras_seq import kernels

    return kernels.fused(seen_through)


def seen_through(pictures, matrices, background, brightness, contrast, saturation, size):
    """Pictures uint8 (B, P, P, C) moved by matrices (B, 2, 3), on backgrounds (B, C), in other light: (B, S, S, C).

    x, which is colours + (1 - opacity) background, becomes mean + contrast (grey + saturation (x - grey) - mean) +
    (brightness - 1) / 2. But for the mean all of it is linear in a pixel's numbers: one matrix for each picture.
    """
    import tensorflow as tf

    planes, channels = moved(pictures, matrices, size), background.shape[-1]
    background, brightness, contrast, saturation = (
        x[:, None] for x in (background, brightness, contrast, saturation)
    )  # (B, 1, C), and (B, 1, 1) each
    placed = tf.concat([tf.eye(channels, batch_shape=tf.shape(background)[:1]), -background], axis=1)  # (B, C + 1, C)
    light = contrast * (saturation * np.eye(channels, dtype="float32") + (1 - saturation) / channels)  # (B, C, C)
    means = tf.reduce_mean(planes, axis=2)[:, None] @ placed + background  # (B, 1, C)
    mean = tf.reduce_mean(means, axis=-1, keepdims=True)
    rest = background @ light + mean * (1 - contrast) + 0.5 * (brightness - 1)
    x = tf.reduce_sum(planes[:, :, None] * (placed @ light)[..., None], axis=1) + tf.transpose(rest, (0, 2, 1))
    x = tf.transpose(tf.clip_by_value(x, 0.0, 1.0), (0, 2, 1))
    return tf.reshape(x, (-1, size, size, channels))


def moved(pictures, matrices, size):
    """Each place of the result between four stored pixels: colours times opacity, and opacity, (B, C + 1, S * S).

    From 0 to 1; edges that are moved by a fraction stay bright. Outside of a picture there is nothing.
    """
    import tensorflow as tf

    count, stored = tf.shape(pictures)[0], pictures.shape[1]
    pixels = pictures if pictures.shape[-1] == 1 else tf.bitcast(pictures, "int32")  # all numbers of one in one
    pixels, first = tf.reshape(pixels, (-1,)), stored**2 * tf.range(count)[:, None]
    down, along = np.indices((size, size), "float32").reshape(2, -1)
    rows = (tf.split(row, 3, axis=1) for row in tf.unstack(matrices, axis=1))
    x, y = (tf.clip_by_value(a * along + b * down + c, -1.0, stored) for a, b, c in rows)  # (B, S * S) each
    left, top = tf.floor(x), tf.floor(y)
    planes = []
    for i, j in itertools.product((0, 1), (0, 1)):
        share = (1 - tf.abs(left + i - x)) * (1 - tf.abs(top + j - y))
        column, row = tf.cast(left, "int32") + i, tf.cast(top, "int32") + j
        inside = (column >= 0) & (column < stored) & (row >= 0) & (row < stored)
        place = first + stored * tf.clip_by_value(row, 0, stored - 1) + tf.clip_by_value(column, 0, stored - 1)
        planes.append(premultiplied(tf.gather(pixels, place), tf.where(inside, share, 0.0)))
    return tf.stack([tf.add_n(plane) for plane in zip(*planes)], axis=1)


def premultiplied(pixels, share):
    """Colours times opacity, and opacity, of so large a share of pixels: uint8, which is grey, or four in an int32."""
    import tensorflow as tf

    if pixels.dtype == "uint8":
        return tf.cast(pixels, "float32") / 255 * share, share
    *colours, opacity = (
        tf.cast(tf.bitwise.bitwise_and(tf.bitwise.right_shift(pixels, shift), 255), "float32") / 255
        for shift in (0, 8, 16, 24)
    )
    opacity *= share
    return *(colour * opacity for colour in colours), opacity


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
    """For each picture the matrix that takes (x, y, 1) in the result to a place in the stored picture: (B, 2, 3)."""
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
    return tf.reshape(tf.stack([c * mirror, -s * mirror, left, s, c, top], axis=1), (-1, 2, 3))


def cut_out(x, share, random):
    """Pictures (B, S, S, C) with a grey square, `share` of their side wide, whose middle is anywhere."""
    import tensorflow as tf

    size = x.shape[1]
    middle, places = random.between(0, size, 2), tf.range(size, dtype="float32") + 0.5
    near = tf.abs(places - middle[..., None]) < share * size / 2  # (B, 2, S)
    hidden = near[:, 0, :, None] & near[:, 1, None, :]
    return tf.where(hidden[..., None], 0.5, x)
