"""Batches as a `tf.data.Dataset`: what all kinds of batches share."""

import ctypes
import itertools
import sys

import numpy as np


def fed(batches, epoch, signature, make=None, change=None, together=1):
    """A `tf.data.Dataset` of batches: with `batches.shuffle` endless, from an epoch on; without, one epoch long.

    Args:
        batches: with `shuffle`, `steps` in an epoch, and `epoch(number)`, which yields batches.
        epoch: the first.
        signature: of a batch, see `tf.data.Dataset.from_generator`.
        make: yields the batches of an epoch in the place of `batches.epoch`.
        change: what is made of each batch, beside the training.
        together: batches of one shape that are handed over at once, which spares small ones most of the way.
    """
    import tensorflow as tf

    make = make or batches.epoch

    def generate():
        keep_blocks()
        for number in itertools.count(epoch) if batches.shuffle else [epoch]:
            yield from make(number)

    if together == 1:
        data = tf.data.Dataset.from_generator(generate, output_signature=signature)
    else:
        wider = tf.nest.map_structure(lambda spec: tf.TensorSpec((None, *spec.shape), spec.dtype), signature)
        data = tf.data.Dataset.from_generator(lambda: blocks(generate(), together), output_signature=wider)
        data = data.flat_map(lambda *block: tf.data.Dataset.from_tensor_slices(block))
    if change is not None:
        data = data.map(change, num_parallel_calls=2, deterministic=True)
    options = tf.data.Options()
    options.autotune.enabled = False  # with it an epoch now and then waits at its end for a timer
    cardinality = tf.data.INFINITE_CARDINALITY if batches.shuffle else batches.steps
    return data.apply(tf.data.experimental.assert_cardinality(cardinality)).prefetch(4).with_options(options)


def divided(count, batch, equal):
    """How many batches of at most `batch` rows there are, and the rows of each if all are to be of one size, or None.

    Example:
        >>> divided(23, 7, True)
        (4, 6)
    """
    steps = -(-count // batch)
    return steps, -(-count // steps) if equal else None


def parts(order, steps, rows=None):
    """Row numbers in so many parts: of about one size, or all of `rows`, for which the first may come once more.

    Graphs whose batches are all of one size know it, and some operations are faster so.

    Example:
        >>> parts(np.array([4, 0, 3, 1, 2]), 2, 3).tolist()
        [[4, 0, 3], [1, 2, 4]]
    """
    return np.array_split(order, steps) if rows is None else np.resize(order, (steps, rows))


def sized(signature, rows):
    """The signature of batches that have so many rows each."""
    import tensorflow as tf

    return tf.nest.map_structure(lambda spec: tf.TensorSpec((rows, *spec.shape[1:]), spec.dtype), signature)


def keep_blocks(size=1 << 25):
    """Has malloc keep freed blocks of up to `size` bytes, at most 32 MiB, for who asks next, where it is glibc's.

    That is its own habit; but each iterator over a generator that tensorflow makes limits it to 128 KiB for the whole
    process, and every larger array is then given back to the system and its next one comes as new pages: with clips
    7,000 pages a step, a tenth of its time.
    """
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)):
        mallopt(-3, size)  # M_MMAP_THRESHOLD of malloc.h
        mallopt(-1, 2 * size)  # M_TRIM_THRESHOLD, twice as much as malloc has it


def blocks(batches, count):
    """Yields up to `count` batches of one shape at a time as one, with an axis more.

    Example:
        >>> [block["x"].shape for block in blocks([{"x": np.zeros(n)} for n in (3, 3, 3, 2)], 2)]
        [(2, 3), (1, 3), (1, 2)]
    """
    import tensorflow as tf

    for _, same in itertools.groupby(batches, lambda batch: [array.shape for array in tf.nest.flatten(batch)]):
        while block := list(itertools.islice(same, count)):
            yield tf.nest.map_structure(lambda *arrays: np.stack(arrays), *block)
