"""How well anomalies were found: counts by window, and the score of the Numenta Anomaly Benchmark (NAB)."""

import itertools

import numpy as np

PROBATION = 0.15  # of a series, at its beginning, in which NAB does not judge; of 5,000 rows at most
STANDARD = {"found": 1.0, "missed": 1.0, "false": 0.11}  # what NAB's standard profile weighs


def spans(flags):
    """Runs of true rows, (first, last) each.

    Example:
        >>> spans([False, True, True, False, True])
        [(1, 2), (4, 4)]
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[0], np.asarray(flags, int), [0]])))
    return [(int(first), int(end) - 1) for first, end in edges.reshape(-1, 2)]


def probation(count):
    """How many rows of a series of some length NAB leaves out."""
    return int(min(PROBATION * count, PROBATION * 5000))


def window_scores(flags, windows, skips=None):
    """Precision, recall and F1 in per cent, by window, over several series.

    A window is found if a row in it is flagged; a run of flagged rows that touches no window is one false alarm.

    Args:
        flags: list of bool (N,), one a series.
        windows: list of lists of (first, last) rows, one a series.
        skips: how many rows at the beginning of each series are not judged; none when left out.

    Example:
        >>> window_scores([[0, 1, 0, 0, 1, 1, 0, 0]], [[(3, 4), (6, 7)]])["F1"]
        50.0
    """
    found = missed = false = 0
    for rows, inside, skip in zip(flags, windows, skips or itertools.repeat(0)):
        runs = [run for run in spans(rows) if run[1] >= skip]
        hits = [any(overlap(run, window) for run in runs) for window in inside]
        found, missed = found + sum(hits), missed + len(hits) - sum(hits)
        false += sum(not any(overlap(run, window) for window in inside) for run in runs)
    outs = found + false, found + missed, found + (false + missed) / 2
    precision, recall, f1 = (100 * found / max(out, 1) for out in outs)
    return {
        "windows": found + missed, "found": found, "false alarms": false,
        "precision": round(precision, 2), "recall": round(recall, 2), "F1": round(f1, 2),
    }  # fmt: skip


def overlap(one, other):
    """Whether two runs (first, last) have a row in common."""
    return one[0] <= other[1] and other[0] <= one[1]


def nab_score(flags, windows, weights=None):
    """NAB's score over several series: 100 where every window is found at its first row, 0 where nothing is flagged.

    A window counts by its first flagged row, the more the earlier: sigma(y) as a share of sigma(-1), y from -1 at its
    beginning to 0 at its end. A flagged row outside costs sigma(y), y in widths of the window behind it, or 1 where
    there is none. sigma(y) = 2 / (1 + exp(5 y)) - 1. The first 15 % of a series (750 rows at most) are not judged.

    Args:
        flags: list of bool (N,), one a series.
        windows: list of lists of (first, last) rows, in order, one a series.
        weights: of what is found, missed and false; the standard profile when left out.

    Reference: Lavin and Ahmad 2015.

    Example:
        >>> nab_score([[0] * 20 + [1] * 80], [[(20, 99)]])
        100.0
    """
    weights = weights or STANDARD
    total = sum(series_score(rows, inside, weights) for rows, inside in zip(flags, windows))
    count = sum(map(len, windows))
    if not count:
        return float(total)
    worst, best = -weights["missed"] * count, weights["found"] * count
    return float(100 * (total - worst) / (best - worst))


def series_score(flags, windows, weights):
    """What NAB gives for one series, before it is put on the scale."""
    rows = np.flatnonzero(flags)
    rows, total = rows[rows >= probation(len(flags))], 0.0
    outside = np.ones(len(rows), bool)
    for first, last in windows:
        inside = (rows >= first) & (rows <= last)
        outside &= ~inside
        if inside.any():
            total += weights["found"] * sigma(-(last - rows[inside][0] + 1) / (last - first + 1)) / sigma(-1.0)
        else:
            total -= weights["missed"]
    return total + weights["false"] * sum(cost(row, windows) for row in rows[outside])


def cost(row, windows):
    """What a flagged row outside all windows counts, from 0 just behind a window to -1 far from any."""
    behind = [window for window in windows if window[1] < row]
    if not behind:
        return -1.0
    first, last = behind[-1]
    return sigma((row - last) / max(last - first, 1))


def sigma(y):
    """2 / (1 + exp(5 y)) - 1, and -1 far out."""
    return 2 / (1 + np.exp(5 * y)) - 1 if y <= 3 else -1.0


def best_nab_score(scores, windows, candidates=60):
    """The highest NAB score that one threshold for all series reaches: how NAB's authors choose it for every detector.

    Args:
        scores: list of float (N,), one a series.
        windows: see `nab_score`.
        candidates: how many thresholds are tried, closer together the higher they are.
    """
    shares = 1 - np.geomspace(1e-4, 0.03, candidates)
    return max(nab_score([s > t for s in scores], windows) for t in np.quantile(np.concatenate(scores), shares))


def rolling_z(values, memory=1000, floor=0.05, first=1):
    """How far each row is from the mean of the rows before it, in their deviations: (N,), the baseline of detectors.

    Args:
        values: (N, V), in deviations of the series.
        memory: how many rows before a row count.
        floor: the least deviation.
        first: rows before this one are 0.

    Example:
        >>> rolling_z(np.array([[0.0], [2.0], [1.0], [9.0]]), floor=0.0, first=2).round(2).tolist()
        [0.0, 0.0, 0.0, 9.8]
    """
    values, rows = np.asarray(values, "float64"), np.arange(len(values))
    begin = np.maximum(rows - memory, 0)
    count = np.maximum(rows - begin, 1)[:, None]

    def mean(x):
        total = np.concatenate([np.zeros((1, x.shape[1])), np.cumsum(x, axis=0)])
        return (total[rows] - total[begin]) / count

    middle = mean(values)
    spread = np.sqrt(np.maximum(mean(values**2) - middle**2, 1e-12))
    z = np.sqrt(np.mean(((values - middle) / (spread + floor)) ** 2, axis=1))
    return np.where(rows < first, 0.0, z)
