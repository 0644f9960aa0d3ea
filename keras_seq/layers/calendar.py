"""What a calendar knows of a moment, computed in the graph: a function without weights."""

import math

from keras import ops

DAY, YEAR = 1440, 525_949.2  # minutes; a year has 365.2425 days
FEATURES = 13  # that `calendar` makes of a moment


def calendar(minutes):
    """The place of moments in their day, week and year: sines and cosines of the day (two of each), a one for the
    weekday, Monday first, and sine and cosine of the year.

    Args:
        minutes: int32 (B, N), minutes since 1970-01-01 00:00, as the clock on the wall shows them.

    Returns:
        float32 (B, N, 13).

    Reference: Salinas et al. 2020 (time features as covariates).

    Example:

    >>> import numpy as np
    >>> from keras_seq.layers.calendar import calendar
    >>> friday_six = np.array([[1440 + 6 * 60]], "int32")  # 1970-01-02
    >>> np.array(calendar(friday_six))[0, 0, 4:11].tolist()
    [0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0]
    """
    minutes = ops.convert_to_tensor(minutes, dtype="int32")
    days = ops.floor_divide(minutes, DAY)
    day = angle(ops.cast(minutes - days * DAY, "float32"), DAY)
    year = angle(ops.cast(days, "float32"), YEAR / DAY)
    weekday = ops.one_hot(ops.mod(days + 3, 7), 7, dtype="float32")  # 1970 began on a Thursday
    waves = [ops.sin(day), ops.cos(day), ops.sin(2 * day), ops.cos(2 * day)]
    return ops.concatenate([ops.stack(waves, -1), weekday, ops.stack([ops.sin(year), ops.cos(year)], -1)], axis=-1)


def angle(x, period):
    """2 pi x / period."""
    return x * (2 * math.pi / period)
