"""Batches as a `tf.data.Dataset`: what all kinds of batches share."""

import itertools


def fed(batches, epoch, signature, make=None, change=None):
    """A `tf.data.Dataset` of batches: with `batches.shuffle` endless, from an epoch on; without, one epoch long.

    Args:
        batches: with `shuffle`, `steps` in an epoch, and `epoch(number)`, which yields batches.
        epoch: the first.
        signature: of a batch, see `tf.data.Dataset.from_generator`.
        make: yields the batches of an epoch in the place of `batches.epoch`.
        change: what is made of each batch, beside the training.
    """
    import tensorflow as tf

    make = make or batches.epoch

    def generate():
        for number in itertools.count(epoch) if batches.shuffle else [epoch]:
            yield from make(number)

    data = tf.data.Dataset.from_generator(generate, output_signature=signature)
    if change is not None:
        data = data.map(change, num_parallel_calls=2, deterministic=True)
    options = tf.data.Options()
    options.autotune.enabled = False  # with it an epoch now and then waits at its end for a timer
    cardinality = tf.data.INFINITE_CARDINALITY if batches.shuffle else batches.steps
    return data.apply(tf.data.experimental.assert_cardinality(cardinality)).prefetch(4).with_options(options)
