"""What all batches share on their way to `fit`: their memory is used again."""

import sys

import numpy as np
import pytest
import tensorflow as tf

from keras_seq.data.feed import fed


class Large:
    """Endless batches of 4 MB, each a new array."""

    shuffle, steps = True, 8

    def epoch(self, number):
        for step in range(self.steps):
            yield np.full((1024, 1024), step, "float32")


@pytest.mark.skipif(sys.platform != "linux", reason="counts the pages that Linux hands out")
def test_large_batches_get_the_pages_of_those_before():
    import resource

    def pages():
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

    batches = iter(fed(Large(), 0, tf.TensorSpec((1024, 1024), tf.float32)))
    for _ in range(16):
        next(batches)
    before = pages()
    for _ in range(50):
        next(batches)
    assert (pages() - before) / 50 < 256  # an array has 1,024
