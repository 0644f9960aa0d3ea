"""Batches of pieces of one long row of ids, for language models."""

import numpy as np

from keras_seq.data.feed import fed


class Stream:
    """Pieces of long texts as batches, for `fit`: each id is to be foretold from those before it in its piece.

    A pass cuts the ids into pieces that begin at another place each time, and takes them in any order; an epoch is so
    many batches, wherever in a pass they stand. The batches of epoch e follow from (seed, e) alone, so a resumed run
    sees what an unbroken one would have seen.

    Args:
        ids: The ids of all texts, one after another.
        batch: Pieces in a batch.
        length: Ids of a piece, T.
        steps: Batches in an epoch; a whole pass when left out.
        shuffle: False for validation: the pieces in their order, once, the rest at the end left out.
        seed: Of the order.

    Attributes:
        steps: Batches in an epoch.

    Raises:
        ValueError: for fewer ids than two pieces have, or one without `shuffle`.

    Example:
        >>> stream = Stream(range(10, 32), batch=2, length=5, shuffle=False)
        >>> inputs, labels = next(stream.epoch(0))
        >>> inputs["target"][0].tolist(), labels[0].tolist()
        ([10, 11, 12, 13, 14], [11, 12, 13, 14, 15])
    """

    def __init__(self, ids, batch=32, length=256, steps=None, shuffle=True, seed=0):
        self.ids, self.batch, self.length = np.asarray(ids, "int32"), batch, length
        self.shuffle, self.seed = shuffle, seed
        self.pieces = (len(self.ids) - 1) // length - shuffle  # in a pass; one less, so that it can begin elsewhere
        if self.pieces < 1:
            least = (2 if shuffle else 1) * length + 1
            raise ValueError(
                f"expected at least {least:,} tokens, got {len(self.ids):,}: give more text, or a shorter context"
            )
        self.steps = steps or max(1, self.pieces // batch) if shuffle else -(-self.pieces // batch)

    def begins(self, number):
        """Where the pieces of a pass begin: (pieces,)."""
        if not self.shuffle:
            return np.arange(self.pieces) * self.length
        random = np.random.default_rng((self.seed, number))
        return random.integers(self.length) + random.permutation(self.pieces) * self.length

    def epoch(self, epoch=0):
        """Yields ({"target": (B, T) int32}, labels (B, T) int32) of an epoch as arrays."""
        size = self.steps * self.batch
        wanted = epoch * size + np.arange(size) if self.shuffle else np.arange(self.pieces)  # counted over all passes
        passes, places = np.divmod(wanted, self.pieces)
        begins = {number: self.begins(number) for number in np.unique(passes)}
        starts = np.array([begins[number][place] for number, place in zip(passes, places)])
        for i in range(0, len(starts), self.batch):
            rows = self.ids[starts[i : i + self.batch, None] + np.arange(self.length + 1)]  # (B, T + 1)
            yield {"target": rows[:, :-1]}, rows[:, 1:]

    def dataset(self, epoch=0):
        """A `tf.data.Dataset`: with `shuffle` endless, from `epoch` on; without, one epoch long."""
        import tensorflow as tf

        spec = tf.TensorSpec((self.batch if self.shuffle else None, self.length), tf.int32)  # the last is short
        return fed(self, epoch, ({"target": spec}, spec))
