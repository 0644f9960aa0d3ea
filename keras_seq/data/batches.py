"""Batches of rows of like length, in an order that is a function of the seed and the epoch alone."""

import numpy as np

from keras_seq.data.feed import fed
from keras_seq.data.tokenizer import BOS, EOS, PAD

CELL = 1.1  # rows whose labels differ in length by less than this factor may stand in one batch
NOISE = 1  # and those whose sources do by less than this power of it come in any order


class Bucketed:
    """Rows of ids as padded batches of like length and of about equal size, for `fit`.

    Each epoch lays the rows out by length, with noise so that other rows come together every time, cuts them where
    equal shares of the tokens end, and shuffles the batches, which have few numbers of rows. So every epoch has the
    same number of steps; to fill one batch, some of its rows may stand in it twice, without weight. Nothing is
    remembered from one to the next: the batches of epoch e follow from (seed, e), and a resumed run sees what an
    unbroken one would have seen.

    Args:
        rows: {key: list of lists of ids}, equally many for each key, without BOS and EOS. For translation the keys are
            `source` and `target`. Or a function of the epoch that returns this, for rows that are cut into other
            pieces each time; epoch 0 then says which rows are too long, and how many batches there are.
        batch_tokens: Tokens in a batch, padding included, on average: rows x the sum of the longest of each key.
        seed: Of the order.
        shuffle: False for validation: always the same batches, once.
        max_length: Rows with more tokens (EOS included) under a key are left out; `notes` says how many.
        shifted: The key that is predicted: its input is BOS + ids and its labels are ids + EOS; `tokens` for a language
            model. Other keys get ids + EOS.

    Attributes:
        steps: Batches in an epoch.
        padding: Share of the tokens of epoch 0 that are padding, from the real batches; other epochs differ little.
        notes: Sentences to print before training.

    Raises:
        ValueError: for no rows, or not equally many for each key.

    Example:
        >>> batches = Bucketed({"source": [[5, 6], [7]], "target": [[8], [9, 4]]}, batch_tokens=100)
        >>> inputs, labels, weights = next(batches.epoch(0))
        >>> inputs["source"].shape, inputs["target"][:, 0].tolist(), labels.shape
        ((2, 3), [1, 1], (2, 3))
    """

    def __init__(self, rows, batch_tokens=4096, seed=0, shuffle=True, max_length=None, shifted="target"):
        self.seed, self.shuffle, self.shifted = seed, shuffle, shifted
        self._rows, self._laid_out = rows, {}
        lengths = self._columns(0).lengths
        self._kept = np.flatnonzero((lengths <= (max_length or np.inf)).all(axis=1))
        if not len(self._kept):
            raise ValueError(
                f"rows: expected at least one row of at most {max_length} tokens, got none out of {len(lengths)}"
            )
        tokens = size = int(lengths[self._kept].sum())
        for _ in range(2):  # without padding, then with it
            self.steps = min(len(self._kept), -(-size // batch_tokens))
            size = int(sum(len(rows) * lengths[rows].max(axis=0).sum() for rows in self._batches(0, lengths)))
        self.padding = 1 - tokens / size
        self.notes = self._notes(len(lengths) - len(self._kept), max_length)

    def _columns(self, epoch):
        """The rows of an epoch; the last ones made are kept."""
        epoch = epoch if callable(self._rows) else 0
        if epoch not in self._laid_out:
            self._laid_out = {epoch: Columns(self._rows(epoch) if callable(self._rows) else self._rows, self.shifted)}
        return self._laid_out[epoch]

    def _batches(self, epoch, lengths):
        """The row numbers of each batch of an epoch: rows in order of length, in parts of about as many tokens."""
        random = np.random.default_rng((self.seed, epoch))
        order = self._kept[self._order(lengths[self._kept], random if self.shuffle else None)]
        batches = shares(order, lengths.sum(axis=1), self.steps, few=self.shuffle)
        return [batches[i] for i in random.permutation(self.steps)] if self.shuffle else batches

    def _order(self, lengths, random):
        """Rows by cells of the last key's length, inside a cell by the other lengths, up and down in turns."""
        draw = (lambda *shape: np.full(shape, 0.5)) if random is None else (lambda *shape: random.random(shape))
        logs = np.log(lengths) / np.log(CELL)  # (rows, keys)
        cells = np.floor(logs[:, -1] + draw(1))
        noisy = logs[:, :-1].sum(axis=1) + NOISE * draw(len(logs))
        return np.lexsort((np.where(cells % 2, noisy, -noisy), cells))

    def epoch(self, epoch=0):
        """Yields (inputs, labels, weights) of an epoch as arrays: {key: (B, T) int32}, (B, T) int32, (B, T) float32."""
        columns = self._columns(epoch)
        for rows in self._batches(epoch, columns.lengths):
            inputs = {key: _padded(*column, rows) for key, column in columns.flat.items()}
            inputs[self.shifted], labels, weights = shifted(inputs[self.shifted])
            weights[again(rows)] = 0
            yield inputs, labels, weights

    def dataset(self, epoch=0):
        """A `tf.data.Dataset` for `fit(..., steps_per_epoch=batches.steps, initial_epoch=epoch, shuffle=False)`.

        With `shuffle` it is endless: it begins with `epoch` and goes on with the ones after, each `steps` batches long.
        Without, it is one epoch long.
        """
        import tensorflow as tf

        spec = tf.TensorSpec((None, None), tf.int32)
        inputs = dict.fromkeys(self._columns(0).flat, spec)
        return fed(self, epoch, (inputs, spec, tf.TensorSpec((None, None), tf.float32)))

    def _notes(self, dropped, max_length):
        notes = [f"{len(self._kept):,} rows in {self.steps:,} batches, {self.padding:.1%} of the tokens are padding"]
        if dropped:
            notes.append(f"left out {dropped:,} row{'s' * (dropped > 1)} longer than {max_length} tokens")
        return notes


class Columns:
    """The rows of an epoch: {key: all its rows one after another, and where each begins}, and their lengths.

    `lengths` is (rows, keys), EOS included.
    """

    def __init__(self, rows, shifted):
        if shifted not in rows or len({len(column) for column in rows.values()}) != 1:
            counts = {key: len(column) for key, column in rows.items()}
            raise ValueError(f"rows: expected a key {shifted!r} and equally many rows for each key, got {counts}")
        self.lengths = np.array([[len(row) + 1 for row in column] for column in rows.values()]).T
        self.flat = {key: _flat(column, key == shifted) for key, column in rows.items()}


def _flat(column, shifted):
    """All rows one after another in one array, and where each begins, with one more for the end."""
    begin = [BOS] if shifted else []
    flat = np.array([token for row in column for token in (*begin, *row, EOS)], np.int32)
    starts = np.cumsum([0] + [len(row) + 1 + len(begin) for row in column])
    return flat, starts


def _padded(flat, starts, rows):
    """Rows as one array (B, T), PAD after the end of each."""
    lengths = starts[rows + 1] - starts[rows]
    columns = np.arange(lengths.max())
    index = np.minimum(starts[rows][:, None] + columns, len(flat) - 1)  # (B, T)
    return np.where(columns < lengths[:, None], flat[index], PAD).astype(np.int32)


def taught(texts):
    """What a model that writes reads and should write, for lists of ids: BOS + ids, ids + EOS (B, T); and its weights.

    Example:
        >>> [x.tolist() for x in taught([[5], [6, 7]])]
        [[[1, 5, 0], [1, 6, 7]], [[5, 2, 0], [6, 7, 2]], [[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]]]
    """
    return shifted(_padded(*_flat(texts, True), np.arange(len(texts))))


def shifted(both):
    """The same for int32 (B, T + 1), BOS + ids + EOS, then PAD."""
    labels = both[:, 1:]
    return np.where(labels == PAD, PAD, both[:, :-1]), labels, (labels != PAD).astype(np.float32)


def shares(order, tokens, steps, few=False):
    """Row numbers in so many parts of about equally many tokens, given those of each row.

    With `few` the parts are of few sizes, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20 and so on, for which some rows of the last
    may come `again`: the steps of an LSTM are kernels that are compiled for each number of rows.

    Example:
        >>> [len(part) for part in shares(np.arange(100), np.ones(100), 4, few=True)]
        [24, 24, 24, 28]
    """
    ends = share_ends(np.cumsum(tokens[order]), steps)
    if not few:
        return np.split(order, ends)
    parts, begin = [], 0
    for end in map(int, ends):
        parts.append(order[begin : begin + round_size(end - begin)])
        begin += len(parts[-1])
    rest = order[begin:]
    return [*parts, np.resize(rest, -round_size(-len(rest)))]


def again(rows):
    """Those numbers of a part of `shares` that fill it only, as a slice: they are to weigh nothing."""
    return slice(len(np.unique(rows)), None)


def round_size(size):
    """The next smaller number of three binary digits; of a negative one, too.

    Example:
        >>> [round_size(size) for size in (7, 9, 23, -23)]
        [7, 8, 20, -24]
    """
    unit = 1 << max(abs(size).bit_length() - 3, 0)
    return size // unit * unit


def share_ends(tokens, steps):
    """Where `steps` shares of about equal size end, none of them empty, given the cumulated tokens of the rows."""
    number = np.arange(1, steps)
    cuts = np.searchsorted(tokens, tokens[-1] / steps * number)
    cuts = np.maximum.accumulate(np.maximum(cuts - number, 0)) + number
    return np.minimum(cuts, len(tokens) - steps + number)
