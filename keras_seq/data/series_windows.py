"""Windows of a series as batches for `fit`: what is read, and what comes after it."""

import numpy as np

from keras_seq.data.feed import fed


class SeriesWindows:
    """Windows of a series with what follows each, as batches.

    The batches of epoch e follow from (seed, e) alone, so a resumed run sees what an unbroken one would have seen.

    Args:
        values: float (N, V), nothing missing: see `filled`.
        starts: the rows at which a forecast may begin; each has `context` rows before it and `horizon` from it on.
        context: S, rows that are read.
        horizon: T, rows that are forecast.
        seen: bool (N, V), False where a value was filled in: it counts for nothing as a target.
        time: int32 (N,), minutes since 1970; None without a calendar.
        known: float (N, K), columns that are known in advance; None without.
        batch: windows in a batch.
        rebuild: whether the target is what is read, (B, S, V), and not what comes after it.
        per_epoch: how many windows an epoch draws; each once when left out.
        shuffle: False for validation: always the same batches, once.
        seed: of the order.

    Attributes:
        steps: batches in an epoch.

    Raises:
        ValueError: where no window fits.

    Example:
        >>> windows = SeriesWindows(np.arange(6.0)[:, None], [2, 3], context=2, horizon=3, shuffle=False)
        >>> inputs, targets, weights = next(windows.epoch(0))
        >>> inputs["past"][..., 0].tolist(), targets[..., 0].tolist()
        ([[0.0, 1.0], [1.0, 2.0]], [[2.0, 3.0, 4.0], [3.0, 4.0, 5.0]])
    """

    def __init__(
        self, values, starts, context, horizon, seen=None, time=None, known=None, batch=64, rebuild=False,
        per_epoch=None, shuffle=True, seed=0,
    ):  # fmt: skip
        self.values, self.starts = np.asarray(values, "float32"), np.asarray(starts, "int64")
        seen = np.ones(self.values.shape, "float32") if seen is None else np.asarray(seen, "float32")
        self.weights = seen.min(axis=-1) if rebuild else seen
        self.time = None if time is None else np.asarray(time, "int32")
        self.known = None if known is None else np.asarray(known, "float32")
        self.context, self.horizon, self.batch, self.shuffle, self.seed = context, horizon, batch, shuffle, seed
        if not len(self.starts):
            raise ValueError(f"expected {context} rows to read and {horizon} to forecast in each part, got none that "
                             "long; give more rows, or a smaller --context or --horizon")
        self.rebuild = rebuild
        self.count = per_epoch or len(self.starts)
        self.steps = -(-self.count // batch)

    def window(self, starts):
        """(inputs, targets (B, T, V), weights (B, T, V)) of the windows that begin their forecast at some rows.

        Where windows are rebuilt: (inputs, (B, S, V), (B, S)).
        """
        span = np.arange(-self.context, 0) if self.rebuild else np.arange(self.horizon)
        ahead = np.asarray(starts)[:, None] + span
        return self.inputs(starts), self.values[ahead], self.weights[ahead]

    def inputs(self, starts):
        """What a forecaster reads: {"past" (B, S, V), "time" (B, S + T), "known" (B, S + T, K)}."""
        rows = np.asarray(starts)[:, None] + np.arange(-self.context, self.horizon)
        inputs = {"past": self.values[rows[:, : self.context]]}
        for name, column in (("time", self.time), ("known", self.known)):
            if column is not None:
                inputs[name] = column[rows]
        return inputs

    def epoch(self, epoch=0):
        """Yields the batches of an epoch, as `window` gives them."""
        random = np.random.default_rng((self.seed, epoch))
        rounds = -(-self.count // len(self.starts)) if self.shuffle else 0
        order = np.concatenate([random.permutation(self.starts) for _ in range(rounds)] or [self.starts])
        for first in range(0, self.count, self.batch):
            yield self.window(order[first : min(first + self.batch, self.count)])

    def dataset(self, epoch=0):
        """A `tf.data.Dataset`: with `shuffle` endless, from `epoch` on; without, one epoch long."""
        import tensorflow as tf

        one = self.window(self.starts[:1])
        spec = tf.nest.map_structure(lambda x: tf.TensorSpec((None, *x.shape[1:]), x.dtype), one)
        return fed(self, epoch, spec, together=16)
