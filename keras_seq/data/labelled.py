"""Batches of rows of ids with what a model should answer: once for a row, or for each of its words."""

import numpy as np

from keras_seq.data.feed import divided, fed, sized
from keras_seq.data.tokenizer import EOS, PAD, UNK


class ByLength:
    """Rows of ids as padded batches of like length, for `fit`; what stands beside the ids is the task of a member.

    The batches of epoch e follow from (seed, e) alone, so a resumed run sees what an unbroken one would have seen.
    Every epoch has the same number of steps. Training batches have equally many rows: where that does not divide them,
    some come twice in an epoch, fewer than there are batches. A member has `form(rows, chosen, random)`, which makes a
    batch of some rows, and `spec()`, which describes it.

    Args:
        rows: List of lists of ids, without EOS; or a function of the epoch that returns as many each time, for texts
            that are cut into other pieces.
        batch: Rows in a batch, at most.
        max_length: Longer rows are cut, EOS included.
        shuffle: False for validation: always the same batches, once.
        seed: Of the order, and of what else is drawn.
    """

    def __init__(self, rows, batch, max_length, shuffle, seed):
        self._rows, self.max_length = rows, max_length
        self.batch, self.shuffle, self.seed = batch, shuffle, seed
        self.count = len(self.rows(0))
        self.steps, self.rows_each = divided(self.count, batch, shuffle)

    def rows(self, epoch):
        """The rows of an epoch, cut, with EOS."""
        rows = self._rows(epoch) if callable(self._rows) else self._rows
        return [[*row[: self.max_length - 1], EOS] for row in rows]

    def epoch(self, epoch=0):
        """Yields the batches of an epoch as arrays."""
        random = np.random.default_rng((self.seed, epoch))
        rows = self.rows(epoch)
        order = np.arange(self.count)
        noise = 0  # tokens
        if self.shuffle:
            again = random.choice(self.count, self.steps * self.rows_each - self.count, replace=False)
            order = np.append(order, again)
            noise = random.random(len(order)) * 3  # so rows of like length, and not always the same, come together
        lengths = np.array([len(rows[i]) for i in order])
        batches = np.array_split(order[np.argsort(lengths + noise, kind="stable")], self.steps)
        for i in random.permutation(self.steps) if self.shuffle else range(self.steps):
            yield self.form([rows[j] for j in batches[i]], batches[i], random)

    def dataset(self, epoch=0):
        """A `tf.data.Dataset`: with `shuffle` endless, from `epoch` on; without, one epoch long."""
        return fed(self, epoch, sized(described(self.spec()), self.rows_each))


def described(spec):
    """Tuples and dicts of (shape, type) as those of `tf.TensorSpec`."""
    import tensorflow as tf

    if isinstance(spec, dict):
        return {name: described(part) for name, part in spec.items()}
    return tf.TensorSpec(*spec) if isinstance(spec[1], str) else tuple(map(described, spec))


class Labelled(ByLength):
    """Rows of ids with a target each as padded batches of like length, for `fit`.

    Args:
        rows, batch, max_length, shuffle, seed: See `ByLength`.
        targets: float32 (rows, C), what the model should answer.
        weights: float32 (rows,), how much each row counts; all the same when left out.
        word_dropout: Share of the ids that are replaced by UNK, others in each epoch.

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
        super().__init__(rows, batch, max_length, shuffle, seed)
        self.targets, self.word_dropout = np.asarray(targets, "float32"), word_dropout
        self.weights = np.ones(len(self.targets), "float32") if weights is None else np.asarray(weights, "float32")
        if not len(self.targets) == len(self.weights) == self.count > 0:
            counts = [self.count, len(self.targets), len(self.weights)]
            raise ValueError(f"expected as many rows as targets and as weights, and at least one, got {counts}")

    def form(self, rows, chosen, random):
        """tokens (B, S) int32, targets (B, C) float32 and weights (B,) float32 of some rows."""
        return self.dropped(padded(rows), random), self.targets[chosen], self.weights[chosen]

    def spec(self):
        """The shape and the type of each part of a batch."""
        return ((None, None), "int32"), ((None, *self.targets.shape[1:]), "float32"), ((None,), "float32")

    def dropped(self, tokens, random):
        """Tokens of which a share is unknown."""
        if not (self.shuffle and self.word_dropout):
            return tokens
        drop = (random.random(tokens.shape) < self.word_dropout) & (tokens != PAD) & (tokens != EOS)
        return np.where(drop, UNK, tokens).astype("int32")


class TaggedWords(ByLength):
    """Rows of the pieces of words with a label for each word as padded batches of like length, for `fit`.

    Args:
        rows, batch, max_length, shuffle, seed: See `ByLength`. Words behind a cut are left out.
        labels: List of lists, a number a word; below 0 where the label is not known.
        parts: For each id what it is in a word, see `word_parts`.

    Attributes:
        steps: Batches in an epoch.

    Example:
        >>> batches = TaggedWords([[4, 5, 4], [4]], [[7, 8], [9]], [0, 0, 0, 2, 1, 2], shuffle=False)
        >>> tokens, labels, weights = next(batches.epoch(0))
        >>> tokens.tolist(), labels.tolist(), weights.tolist()[1]
        ([[4, 2, 0, 0], [4, 5, 4, 2]], [[9, 0, 0, 0], [7, 8, 0, 0]], [1.0, 1.0, 0.0, 0.0])
    """

    def __init__(self, rows, labels, parts, batch=64, max_length=128, shuffle=True, seed=0):
        super().__init__(rows, batch, max_length, shuffle, seed)
        self.labels, self.parts = labels, np.asarray(parts)
        if not len(labels) == self.count > 0:
            raise ValueError(f"expected as many rows as labels, at least one, got {self.count}, {len(labels)}")

    def form(self, rows, chosen, random):
        """tokens (B, S) int32, labels (B, S) int32 and weights (B, S) float32 of some rows: 0 behind the last word."""
        tokens = padded(rows)
        labels, count = np.full(tokens.shape, -1, "int32"), (self.parts[tokens] == 1).sum(axis=1)
        for row, words, i in zip(labels, count, chosen):
            row[:words] = self.labels[i][:words]
        return tokens, np.maximum(labels, 0), (labels >= 0).astype("float32")

    def spec(self):
        """The shape and the type of each part of a batch."""
        return ((None, None), "int32"), ((None, None), "int32"), ((None, None), "float32")


def padded(rows):
    """Rows of ids as one array (B, S), PAD after the end of each."""
    tokens = np.full((len(rows), max(map(len, rows), default=1)), PAD, "int32")
    for i, row in enumerate(rows):
        tokens[i, : len(row)] = row
    return tokens


def by_length(rows, batch):
    """The numbers of rows in batches of like length, the shortest first: how a model is asked about many.

    Example:
        >>> [some.tolist() for some in by_length(["good food", "food", "wine"], 2)]
        [[1, 2], [0]]
    """
    order = np.argsort([len(row) for row in rows], kind="stable")
    return [order[first : first + batch] for first in range(0, len(order), batch)]
