"""Batches of rows of ids with a target each, for models that read a sequence and answer once."""

import itertools

import numpy as np

PAD, EOS, UNK = 0, 2, 3


class Labelled:
    """Rows of ids with their targets as padded batches of like length, for `fit`.

    The batches of epoch e follow from (seed, e) alone, so a resumed run sees what an unbroken one would have seen.
    Every epoch has the same number of steps.

    Args:
        rows: List of lists of ids, without EOS; or a function of the epoch that returns them, for texts that are cut
            into other pieces each time.
        targets: float32 (rows, C), what the model should answer.
        weights: float32 (rows,), how much each row counts; all the same when left out.
        batch: Rows in a batch.
        max_length: Longer rows are cut, EOS included.
        word_dropout: Share of the ids that are replaced by UNK, others in each epoch.
        shuffle: False for validation: always the same batches, once.
        seed: Of the order and of what is dropped.

    Attributes:
        steps: Batches in an epoch.

    Example:
        >>> batches = Labelled([[5, 6], [7]], [[1.0], [0.0]], shuffle=False)
        >>> tokens, targets, weights = next(batches.epoch(0))
        >>> tokens.tolist()
        [[7, 2, 0], [5, 6, 2]]
    """

    def __init__(
        self, rows, targets, weights=None, batch=64, max_length=128, word_dropout=0.0, shuffle=True, seed=0
    ):  # fmt: skip
        self._rows, self.targets = rows, np.asarray(targets, "float32")
        self.weights = np.ones(len(self.targets), "float32") if weights is None else np.asarray(weights, "float32")
        self.batch, self.max_length, self.word_dropout = batch, max_length, word_dropout
        self.shuffle, self.seed = shuffle, seed
        if not len(self.targets) == len(self.weights) == len(self.rows(0)) > 0:
            counts = [len(self.rows(0)), len(self.targets), len(self.weights)]
            raise ValueError(f"expected as many rows as targets and as weights, and at least one, got {counts}")
        self.steps = -(-len(self.targets) // batch)

    def rows(self, epoch):
        """The rows of an epoch, cut, with EOS."""
        rows = self._rows(epoch) if callable(self._rows) else self._rows
        return [[*row[: self.max_length - 1], EOS] for row in rows]

    def epoch(self, epoch=0):
        """Yields (tokens (B, S) int32, targets (B, C) float32, weights (B,) float32) of an epoch as arrays."""
        random = np.random.default_rng((self.seed, epoch))
        rows = self.rows(epoch)
        lengths = np.array([len(row) for row in rows])
        noise = random.random(len(rows)) * 3 if self.shuffle else 0  # tokens: rows of like length, not always the same
        batches = np.array_split(np.argsort(lengths + noise, kind="stable"), self.steps)
        for i in random.permutation(self.steps) if self.shuffle else range(self.steps):
            chosen = batches[i]
            tokens = padded([rows[j] for j in chosen])
            yield self.dropped(tokens, random), self.targets[chosen], self.weights[chosen]

    def dropped(self, tokens, random):
        """Tokens of which a share is unknown."""
        if not (self.shuffle and self.word_dropout):
            return tokens
        drop = (random.random(tokens.shape) < self.word_dropout) & (tokens != PAD) & (tokens != EOS)
        return np.where(drop, UNK, tokens).astype("int32")

    def dataset(self, epoch=0):
        """A `tf.data.Dataset`: with `shuffle` endless, from `epoch` on; without, one epoch long."""
        import tensorflow as tf

        def generate():
            for number in itertools.count(epoch) if self.shuffle else [epoch]:
                yield from self.epoch(number)

        spec = (tf.TensorSpec((None, None), tf.int32), tf.TensorSpec((None, *self.targets.shape[1:]), tf.float32),
                tf.TensorSpec((None,), tf.float32))
        data = tf.data.Dataset.from_generator(generate, output_signature=spec)
        options = tf.data.Options()
        options.autotune.enabled = False  # with it an epoch now and then waits at its end for a timer
        cardinality = tf.data.INFINITE_CARDINALITY if self.shuffle else self.steps
        return data.apply(tf.data.experimental.assert_cardinality(cardinality)).prefetch(4).with_options(options)


def padded(rows):
    """Rows of ids as one array (B, S), PAD after the end of each."""
    tokens = np.full((len(rows), max(map(len, rows), default=1)), PAD, "int32")
    for i, row in enumerate(rows):
        tokens[i, : len(row)] = row
    return tokens
