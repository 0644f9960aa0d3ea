"""What comes next in a series of numbers: many variables, all steps of the horizon at once, as quantiles.

    z = (past - mu) / sigma                          scaling is part of the model: numbers go in and out as they are
    y = mu + sigma q(W z + ahead(z, known))          known: the calendar, and columns that are known in advance
"""

from keras import ops

from keras_seq.layers.calendar import FEATURES, calendar
from keras_seq.layers.core import Dropout, Linear, register
from keras_seq.layers.embeddings import FrameEmbedding
from keras_seq.layers.recurrent import RecurrentDecoder, RecurrentEncoder
from keras_seq.layers.transformer import TransformerEncoder
from keras_seq.models.base import Configured

FLAT = 1e-5  # the least variance of a window, as a share of that of the training data


class Forecaster(Configured):
    """What all families share: scaling, the calendar, a straight path from past to future, quantiles that never cross.

    A family makes `ahead`.

    Args:
        horizon: T, the steps that are forecast.
        context: S, the steps that are read.
        mean, deviation: of the training data, for each variable: lists of V numbers.
        quantiles: Q rising shares, 0.5 among them: the forecast of q is above the truth in a share q of the cases.
        calendar: whether the times of all steps are given.
        known: K, how many columns are known in advance.
        window: whether each window is brought to mean 0 and deviation 1 by itself before it is read, and its forecast
            back: for series whose level wanders.
        apart: whether each variable is read by itself, all by the same weights; otherwise together.
        dropout: rate inside the family.

    Call arguments:
        inputs: a dict of `past` (B, S, V); with a calendar `time` int32 (B, S + T), minutes since 1970; with known
            columns `known` (B, S + T, K).

    Returns:
        float32 (B, T, V, Q), in the units of `past`.

    Raises:
        ValueError: for quantiles that do not rise or without 0.5, and for means and deviations of different numbers.

    Reference: Wen et al. 2017 (quantiles of all steps at once); Kim et al. 2022 (windows); Nie et al. 2023 (variables
    apart); Zeng et al. 2023 (how far the straight path goes).
    """

    def __init__(
        self, horizon, context, mean, deviation, quantiles=(0.1, 0.5, 0.9), calendar=True, known=0, window=False,
        apart=False, dropout=0.1, **kwargs,
    ):  # fmt: skip
        super().__init__(**kwargs, autocast=False)  # half precision has no room for numbers as they come
        if len(mean) != len(deviation):
            raise ValueError(f"mean and deviation must have a number a variable; got {len(mean)} and {len(deviation)}.")
        if list(quantiles) != sorted(set(quantiles)) or 0.5 not in quantiles:
            raise ValueError(f"quantiles must rise and have 0.5 among them; got {list(quantiles)}.")
        self.options = {
            "horizon": horizon, "context": context, "mean": list(map(float, mean)),
            "deviation": list(map(float, deviation)), "quantiles": list(quantiles), "calendar": calendar,
            "known": known, "window": window, "apart": apart, "dropout": dropout,
        }  # fmt: skip
        self.horizon, self.context, self.window, self.apart = horizon, context, window, apart
        self.quantiles, self.has_calendar, self.known = list(quantiles), calendar, known
        self.variables_out = 1 if apart else len(mean)  # that a family sees
        self.beside = 1 + FEATURES * calendar + known  # numbers known of every step
        self.outputs_each = self.variables_out * len(self.quantiles)
        self.straight = Linear(horizon, kernel_initializer="zeros", dtype="float32", name="straight")

    def build(self, input_shape=None):
        self.straight.build((None, None, self.context))
        shape = (len(self.options["mean"]),)
        for name in ("mean", "deviation"):
            setattr(self, name, self.constant(name, shape, self.options[name]))
        self.build_ahead()

    def build_ahead(self):
        """Builds the layers of a family."""
        raise NotImplementedError

    def ahead(self, z, past, future):
        """z (B, S, V), what is known of the past (B, S, K') and of the future (B, T, K') -> (B, T, V Q)."""
        raise NotImplementedError

    def call(self, inputs, training=None):  # named, so that `fit` says that it trains
        z, middle, spread = self.scaled(ops.cast(inputs["past"], "float32"))
        known = self.facts(inputs, ops.shape(z)[0])
        straight = ops.swapaxes(self.straight(ops.swapaxes(z, 1, 2)), 1, 2)  # (B, T, V)
        y = self.separated(z, known) if self.apart else self.spread(z, known)  # (B, T, V, Q)
        y = rising(y, self.quantiles) + ops.expand_dims(straight, -1)
        return y * ops.expand_dims(spread, -1) + ops.expand_dims(middle, -1)

    def scaled(self, past):
        """(B, S, V) -> z, and what turns it back: mu, sigma, of the training data or of each window."""
        z = (past - self.mean) / self.deviation
        if not self.window:
            return z, self.mean, self.deviation
        m, s = level(z)
        return (z - m) / s, m * self.deviation + self.mean, s * self.deviation

    def facts(self, inputs, batch):
        """What is known of past and future, (B, S + T, K'); its first number is 1, so that it is never empty."""
        parts = [ops.ones((batch, self.context + self.horizon, 1))]
        if self.has_calendar:
            parts.append(calendar(inputs["time"]))
        if self.known:
            parts.append(ops.cast(inputs["known"], "float32"))
        return ops.concatenate(parts, axis=-1)

    def spread(self, z, known):
        """What the family says of all variables it is shown: (B, T, V, Q)."""
        z, known = (ops.cast(x, self.compute_dtype) for x in (z, known))
        y = ops.cast(self.ahead(z, known[:, : self.context], known[:, self.context :]), "float32")
        return ops.reshape(y, (-1, self.horizon, self.variables_out, len(self.quantiles)))

    def separated(self, z, known):
        """The same of each variable by itself."""
        count = z.shape[-1]
        each = ops.reshape(ops.swapaxes(z, 1, 2), (-1, self.context, 1))  # (B V, S, 1)
        y = self.spread(each, ops.repeat(known, count, axis=0))  # (B V, T, 1, Q)
        y = ops.reshape(y, (-1, count, self.horizon, len(self.quantiles)))
        return ops.swapaxes(y, 1, 2)


def level(z):
    """Mean and deviation of each variable in each window: (B, S, V) -> (B, 1, V) both."""
    m = ops.mean(z, axis=1, keepdims=True)
    return m, ops.sqrt(ops.mean(ops.square(z - m), axis=1, keepdims=True) + FLAT)


def rising(raw, quantiles):
    """Any numbers (..., Q) -> numbers that rise: that of 0.5 stays, the others step away from it."""
    middle = list(quantiles).index(0.5)
    parts = ops.split(raw, len(quantiles), axis=-1)
    below, above = [parts[middle]], [parts[middle]]
    for part in parts[middle + 1 :]:
        above.append(above[-1] + ops.softplus(part))
    for part in reversed(parts[:middle]):
        below.insert(0, below[0] - ops.softplus(part))
    return ops.concatenate(below + above[1:], axis=-1)


@register
class RecurrentForecaster(Forecaster):
    """A recurrent stack reads the past; from its last state and what is known of each step come all steps.

    c = W h_S,   ahead_t = MLP[c_t; known_t]

    Args:
        horizon, context, mean, deviation, quantiles, calendar, known, window, apart, dropout: see `Forecaster`.
        units: U.
        num_layers: L.
        cell: rnn, gru or lstm.

    Reference: Wen et al. 2017.

    Example:

    >>> import numpy as np
    >>> from keras_seq import models
    >>> model = models.RecurrentForecaster(3, 7, [0.0, 5.0], [1.0, 2.0], calendar=False, units=8)
    >>> tuple(model({"past": np.ones((2, 7, 2), "float32")}).shape)
    (2, 3, 2, 3)
    """

    def __init__(
        self, horizon, context, mean, deviation, quantiles=(0.1, 0.5, 0.9), calendar=True, known=0, window=False,
        apart=False, dropout=0.1, units=64, num_layers=1, cell="lstm", **kwargs,
    ):  # fmt: skip
        super().__init__(
            horizon, context, mean, deviation, quantiles, calendar, known, window, apart, dropout, **kwargs
        )
        self.options |= {"units": units, "num_layers": num_layers, "cell": cell}
        dtype, self.units = self.dtype_policy, units
        self.encoder = RecurrentEncoder(units, num_layers, cell, False, dropout, dtype=dtype, name="encoder")
        self.steps = Linear(horizon * STEP, dtype=dtype, name="steps")
        self.mix = Linear(units, activation="relu", dtype=dtype, name="mix")
        self.answer = Linear(self.outputs_each, dtype="float32", name="answer")
        self.dropout = Dropout(dropout, dtype=dtype)
        self.build()

    def build_ahead(self):
        self.encoder.build((None, None, self.variables_out + self.beside))
        self.steps.build((None, self.units))
        self.mix.build((None, None, STEP + self.beside))
        self.answer.build((None, None, self.units))

    def ahead(self, z, past, future):
        read = self.encoder(ops.concatenate([z, past], axis=-1))[:, -1]  # (B, U)
        steps = ops.reshape(self.steps(self.dropout(read)), (-1, self.horizon, STEP))
        return self.answer(self.dropout(self.mix(ops.concatenate([steps, future], axis=-1))))


STEP = 16  # numbers that the last state says of each step


@register
class Seq2SeqForecaster(Forecaster):
    """An encoder reads the past; a decoder goes through what is known of the future and attends to what was read.

    Args:
        horizon, context, mean, deviation, quantiles, calendar, known, window, apart, dropout: see `Forecaster`.
        units: U, of both.
        num_layers: L, of both.
        cell: rnn, gru or lstm.
        attention: of the decoder to the past, or None; see `RecurrentDecoder`.

    Reference: Sutskever et al. 2014; Luong et al. 2015; Wen et al. 2017.

    Example:

    >>> import numpy as np
    >>> from keras_seq import models
    >>> model = models.Seq2SeqForecaster(3, 7, [0.0], [1.0], units=8)
    >>> time = np.arange(10, dtype="int32")[None] * 60
    >>> tuple(model({"past": np.ones((1, 7, 1), "float32"), "time": time}).shape)
    (1, 3, 1, 3)
    """

    def __init__(
        self, horizon, context, mean, deviation, quantiles=(0.1, 0.5, 0.9), calendar=True, known=0, window=False,
        apart=False, dropout=0.1, units=64, num_layers=1, cell="lstm", attention="scaled_dot", **kwargs,
    ):  # fmt: skip
        super().__init__(
            horizon, context, mean, deviation, quantiles, calendar, known, window, apart, dropout, **kwargs
        )
        self.options |= {"units": units, "num_layers": num_layers, "cell": cell, "attention": attention}
        dtype, self.units = self.dtype_policy, units
        self.encoder = RecurrentEncoder(units, num_layers, cell, False, dropout, dtype=dtype, name="encoder")
        self.decoder = RecurrentDecoder(units, num_layers, cell, attention, dropout, dtype=dtype, name="decoder")
        self.answer = Linear(self.outputs_each, dtype="float32", name="answer")
        self.dropout = Dropout(dropout, dtype=dtype)
        self.build()

    def build_ahead(self):
        self.encoder.build((None, None, self.variables_out + self.beside))
        self.decoder.build((None, None, STEP + self.beside), (None, None, self.units))
        self.answer.build((None, None, self.units))
        self.steps = self.add_weight(name="steps", shape=(1, self.horizon, STEP), initializer="glorot_uniform")

    def ahead(self, z, past, future):
        context, state = self.encoder(ops.concatenate([z, past], axis=-1), return_state=True)
        steps = ops.repeat(ops.cast(self.steps, z.dtype), ops.shape(z)[0], axis=0)
        y = self.decoder(ops.concatenate([steps, future], axis=-1), context, state=state)
        return self.answer(self.dropout(y))


@register
class TransformerForecaster(Forecaster):
    """A Transformer over patches: those of the past, and for each of the future a token of what is known of it.

    Args:
        horizon, context, mean, deviation, quantiles, calendar, known, window, apart, dropout: see `Forecaster`.
        patch: P, steps in a patch; S is a multiple of it.
        dim: D.
        num_heads: N.
        num_layers: L.
        mlp_dim: F.
        position: sinusoidal, learned, rotary, relative, relative_bias or alibi.

    Raises:
        ValueError: for a context that is no multiple of the patch.

    Reference: Nie et al. 2023.

    Example:

    >>> import numpy as np
    >>> from keras_seq import models
    >>> model = models.TransformerForecaster(5, 6, [0.0], [1.0], calendar=False, patch=3, dim=8, num_heads=2)
    >>> tuple(model({"past": np.ones((2, 6, 1), "float32")}).shape)
    (2, 5, 1, 3)
    """

    def __init__(
        self, horizon, context, mean, deviation, quantiles=(0.1, 0.5, 0.9), calendar=True, known=0, window=False,
        apart=False, dropout=0.1, patch=24, dim=64, num_heads=4, num_layers=2, mlp_dim=128, position="learned",
        **kwargs,
    ):  # fmt: skip
        super().__init__(
            horizon, context, mean, deviation, quantiles, calendar, known, window, apart, dropout, **kwargs
        )
        if context % patch:
            raise ValueError(f"the context must be a multiple of the patch; got {context} and {patch}.")
        self.options |= {
            "patch": patch, "dim": dim, "num_heads": num_heads, "num_layers": num_layers, "mlp_dim": mlp_dim,
            "position": position,
        }  # fmt: skip
        dtype, self.patch, self.dim = self.dtype_policy, patch, dim
        self.read = FrameEmbedding(dim, patch, dtype=dtype, name="read")
        self.ask = FrameEmbedding(dim, patch, dtype=dtype, name="ask")
        self.patches = -(-horizon // patch)  # of the future
        self.over = TransformerEncoder(
            num_layers, num_heads, mlp_dim, position, context // patch + self.patches, activation="gelu",
            dropout=dropout, dtype=dtype, name="over",
        )  # fmt: skip
        self.answer = Linear(patch * self.outputs_each, dtype="float32", name="answer")
        self.build()

    def build_ahead(self):
        self.read.build((None, None, self.variables_out + self.beside))
        self.ask.build((None, None, self.beside))
        self.over.build((None, None, self.dim))
        self.answer.build((None, None, self.dim))

    def ahead(self, z, past, future):
        future = ops.pad(future, ((0, 0), (0, self.patches * self.patch - self.horizon), (0, 0)))
        tokens = [self.read(ops.concatenate([z, past], axis=-1)), self.ask(future)]
        y = self.over(ops.concatenate(tokens, axis=1))[:, -self.patches :]
        y = ops.reshape(self.answer(y), (-1, self.patches * self.patch, self.outputs_each))
        return y[:, : self.horizon]
