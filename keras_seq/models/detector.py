"""Which rows of a series are unlike what came before: a network that foretells or rebuilds, and a running judgement.

    start(past)         -> state
    step(rows, state)   -> scores, flags, state      for any number of rows: live, one at a time, or a whole series
"""

from keras import ops

from keras_seq.layers.core import Linear, register
from keras_seq.layers.recurrent import RecurrentDecoder, RecurrentEncoder
from keras_seq.models.base import Configured
from keras_seq.models.forecaster import level


@register
class Autoencoder(Configured):
    """Reads a window into one vector and writes it again from that, last row first: what is usual comes back.

    Args:
        context: S, rows of a window.
        num_variables: V.
        units: U, of both LSTMs: the vector that all has to pass through.
        window: whether each window is brought to mean 0 and deviation 1 by itself before it is read, and back after:
            for series whose level wanders.
        dropout: rate on what the layers read.

    Call arguments:
        inputs: {"past": (B, S, V)}, numbers around 0 of deviation 1.

    Returns:
        float32 (B, S, V), the window again.

    Reference: Srivastava et al. 2015; for anomalies: Malhotra et al. 2016.

    Example:

    >>> import numpy as np
    >>> from keras_seq import models
    >>> tuple(models.Autoencoder(5, 2, units=8)({"past": np.ones((3, 5, 2), "float32")}).shape)
    (3, 5, 2)
    """

    def __init__(self, context, num_variables, units=32, window=True, dropout=0.0, **kwargs):
        super().__init__(**kwargs, autocast=False)  # as a `Forecaster`
        self.options = {
            "context": context, "num_variables": num_variables, "units": units, "window": window, "dropout": dropout,
        }  # fmt: skip
        self.context, self.num_variables, dtype = context, num_variables, self.dtype_policy
        self.encoder = RecurrentEncoder(units, 1, "lstm", False, dropout, dtype=dtype, name="encoder")
        self.decoder = RecurrentDecoder(units, 1, "lstm", None, dtype=dtype, name="decoder")
        self.answer = Linear(num_variables, dtype="float32", name="answer")
        self.build()

    def build(self, input_shape=None):
        units = self.options["units"]
        self.encoder.build((None, None, self.num_variables))
        self.decoder.build((None, None, units), (None, None, units))
        self.answer.build((None, None, units))

    def call(self, inputs, training=None):  # named, so that `fit` says that it trains
        z = ops.cast(inputs["past"], "float32")
        m, s = level(z) if self.options["window"] else (0.0, 1.0)
        read, state = self.encoder(ops.cast((z - m) / s, self.compute_dtype), return_state=True)
        code = ops.repeat(ops.expand_dims(state[-1]["h"], 1), self.context, axis=1)  # (B, S, U)
        return ops.flip(self.answer(self.decoder(code, read, state=state)), axis=1) * s + m


BLOCK = 2048  # rows that are judged at once


@register
class Detector(Configured):
    """A network and what is usual of its errors: a row is judged by how far its error is from those of late.

    m, s^2: running mean and variance of the errors, a share 1 / memory of each new one

    Before it judges it is calibrated on clean rows of the series, see `calibrate`: mu, sigma, the first m and s, and
    the threshold are weights.

    Args:
        network: of numbers around 0 of deviation 1: a `Forecaster` of horizon 1 without calendar, or an `Autoencoder`.
        context: S, rows that it reads.
        num_variables: V.
        memory: rows over which m and s forget.
        floor: the least deviation of errors, in deviations of the series.

    Call arguments:
        inputs: what the network reads; `fit` trains it.

    Reference: Malhotra et al. 2015, 2016; running errors: Ahmad et al. 2017.

    Example:

    >>> import numpy as np
    >>> from keras_seq import models
    >>> detector = models.Detector(models.Autoencoder(5, 2, units=8), 5, 2)
    >>> rows = np.random.default_rng(0).normal(size=(40, 2)).astype("float32")
    >>> detector.calibrate(rows[:30], [0.0, 0.0], [1.0, 1.0])
    >>> scores, flags, state = detector.step(rows[None, 30:], detector.start(rows[None, 25:30]))
    >>> tuple(scores.shape)
    (1, 10)
    """

    parts = ("network",)

    def __init__(self, network, context, num_variables, memory=1000, floor=0.05, **kwargs):
        super().__init__(**kwargs)
        self.options = {"context": context, "num_variables": num_variables, "memory": memory, "floor": floor}
        self.network, self.context, self.num_variables = network, context, num_variables
        self.memory, self.floor = memory, floor
        self.build()

    def build(self, input_shape=None):
        for name, value in (("mean", 0.0), ("deviation", 1.0), ("error_mean", 0.0), ("error_variance", 1.0)):
            setattr(self, name, self.constant(name, (self.num_variables,), value))
        self.threshold = self.constant("threshold", (), 1.0)

    @property
    def rebuilds(self):
        """Whether the network gives back what it reads, and does not foretell what comes next."""
        return isinstance(self.network, Autoencoder)

    def call(self, inputs, training=None):
        return self.network(inputs)

    def errors(self, rows):
        """Rows (B, S + N, V) -> the errors of the last N, (B, N, V)."""
        z = (ops.cast(rows, "float32") - self.mean) / self.deviation
        count = z.shape[1] - self.context
        first = 1 if self.rebuilds else 0  # its window ends with the row that is judged
        places = ops.expand_dims(ops.arange(count), 1) + ops.arange(first, first + self.context)  # (N, S)
        windows = ops.take(z, ops.reshape(places, (-1,)), axis=1)  # (B, N S, V)
        found = self.network({"past": ops.reshape(windows, (-1, self.context, self.num_variables))})
        found = found[:, -1] if self.rebuilds else found[:, 0, :, found.shape[-1] // 2]  # (B N, V)
        return z[:, self.context :] - ops.reshape(ops.cast(found, "float32"), (-1, count, self.num_variables))

    def start(self, past):
        """The state before the first row that is judged, after past (B, S, V): {"past", "mean", "variance"}."""
        batch = ops.shape(past)[0]
        spread = [ops.repeat(ops.expand_dims(x, 0), batch, axis=0) for x in (self.error_mean, self.error_variance)]
        return {"past": past, "mean": spread[0], "variance": spread[1]}

    def step(self, rows, state):
        """Rows (B, N, V) -> scores (B, N), flags (B, N) of 0 and 1, and the new state."""
        found = []
        for i in range(0, max(rows.shape[1], 1), BLOCK):
            scores, state = self.judge(rows[:, i : i + BLOCK], state)
            found.append(scores)
        scores = ops.concatenate(found, axis=1) if len(found) > 1 else scores
        return scores, ops.cast(scores > 1, "float32"), state

    def judge(self, rows, state):
        """The scores of so many rows that a matrix of N x N is small, and the new state."""
        seen = ops.concatenate([state["past"], rows], axis=1)
        e = self.errors(seen)
        means = self.running(e, state["mean"])  # (B, N + 1, V): before each row, and after the last
        off = e - means[:, :-1]
        variances = self.running(ops.square(off), state["variance"])
        scores = self.far(off, variances[:, :-1]) / self.threshold
        state = {"past": seen[:, -self.context :], "mean": means[:, -1], "variance": variances[:, -1]}
        return scores, state

    def far(self, off, variance):
        """The size of errors (B, N, V) in deviations: (B, N)."""
        return ops.sqrt(ops.mean(ops.square(off / (ops.sqrt(variance) + self.floor)), axis=-1))

    def running(self, x, before):
        """m_0 = before, m_{t+1} = m_t + (x_t - m_t) / memory, all at once: x (B, N, V) -> (B, N + 1, V)."""
        count, keep = x.shape[1], 1 - 1 / self.memory
        t, s = ops.expand_dims(ops.arange(count + 1), 1), ops.arange(count)
        ago = ops.cast(ops.maximum(t - 1 - s, 0), "float32")
        share = ops.where(s < t, keep**ago / self.memory, 0.0)  # (N + 1, N)
        old = keep ** ops.cast(t, "float32")  # (N + 1, 1)
        return ops.expand_dims(before, 1) * old + ops.einsum("ts,bsv->btv", share, x)

    def calibrate(self, rows, mean, deviation, margin=1.25):
        """Sets what is usual by clean rows; the threshold is margin times the highest score among them.

        Args:
            rows: (N, V), N above S.
            mean, deviation: (V), of the series.
            margin: above 1 spares alarms, below 1 finds more.

        Raises:
            ValueError: for too few rows.
        """
        if len(rows) < self.context + 2:
            raise ValueError(f"expected at least {self.context + 2} clean rows, got {len(rows)}; give more")
        self.mean.assign(mean)
        self.deviation.assign(deviation)
        rows = ops.cast(ops.convert_to_tensor(rows), "float32")[None]
        last = rows.shape[1] - self.context
        parts = [self.errors(rows[:, i : i + BLOCK + self.context]) for i in range(0, last, BLOCK)]
        e = ops.concatenate(parts, axis=1)
        self.error_mean.assign(ops.mean(e, axis=(0, 1)))
        self.error_variance.assign(ops.var(e, axis=(0, 1)))
        self.threshold.assign(margin * ops.max(self.far(e - self.error_mean, self.error_variance)) + 1e-6)
