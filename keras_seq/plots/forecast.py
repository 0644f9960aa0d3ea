"""What was, what is forecast with how much doubt, and what came."""

import numpy as np

from keras_seq.plots.panels import bare, name
from keras_seq.plots.style import BLUE, GRID, INK, MUTED, figure, headline

ROW, WIDTH = 2.1, 10.0  # inches
MOST = 8  # variables that one figure holds


def forecast(past, found, quantiles, names, truth=None, time=None, title: str = ""):
    """Draws a panel a variable: the end of the past, the forecast with its quantiles as bands, and the truth.

    Args:
        past: (S, V) array; as much of its end as three times the horizon is drawn.
        found: (T, V, Q) array.
        quantiles: Q numbers, 0.5 among them; the others are the edges of bands.
        names: V texts; the first eight are drawn.
        truth: (T, V) array, NaN where nothing was measured; None where it is still to come.
        time: (S + T,) seconds since 1970; None counts rows from the first that is forecast.
        title: of the picture.

    Returns: a matplotlib Figure.

    Raises:
        ValueError: for arrays that do not belong together.

    Example:
        >>> forecast(np.zeros((5, 1)), np.zeros((3, 1, 1)), [0.5], ["load"]).axes[0].get_title(loc="left")
        'load'
    """
    past, found = np.asarray(past, "float64"), np.asarray(found, "float64")
    if found.ndim != 3 or found.shape[1:] != (len(names), len(quantiles)) or past.shape[1:] != (len(names),):
        raise ValueError(f"expected a past (S, {len(names)}) and a forecast (T, {len(names)}, {len(quantiles)}), got "
                         f"{past.shape} and {found.shape}")
    before = min(len(past), 3 * len(found))
    x = moments(time, len(past), len(found))
    shown = min(len(names), MOST)
    fig = figure(WIDTH, ROW * shown + 0.5 + (0.3 if title else 0))
    axes = fig.subplots(shown, 1, sharex=True, squeeze=False)[:, 0]
    for i, ax in enumerate(axes):
        was, now = past[-before:, i], x[len(past) - 1 :]
        ax.plot(x[len(past) - before : len(past)], was, color=MUTED, linewidth=1.3, label="before")
        doubt(ax, now, was[-1], found[:, i], quantiles)
        if truth is not None:
            ax.plot(now[1:], np.asarray(truth)[:, i], color=INK, linewidth=1.3, label="truth")
        ax.axvline(now[0], color=GRID, linewidth=1.0, zorder=0)
        dress(ax, names[i], time is not None)
    axes[-1].set_xlabel("" if time is not None else "rows", color=MUTED, fontsize=9)
    axes[0].legend(fontsize=8, labelcolor=INK, frameon=False, ncols=6, loc="lower right", bbox_to_anchor=(1.0, 1.0))
    headline(fig, title)
    return fig


def moments(time, past: int, ahead: int):
    """Returns what the axis shows: dates, or rows with 0 for the first that is forecast."""
    if time is None:
        return np.arange(-past, ahead)
    return (np.asarray(time, "float64") * 1e3).astype("int64").astype("datetime64[ms]")


def doubt(ax, x, last: float, found: np.ndarray, quantiles) -> None:
    """Draws the forecast from the last value on, a band for each pair of quantiles around the middle one."""
    lines = np.concatenate([np.full((1, len(quantiles)), last), found])
    middle = list(quantiles).index(0.5)
    for low in range(min(middle, len(quantiles) - 1 - middle)):
        high = len(quantiles) - 1 - low
        share = f"{100 * (quantiles[high] - quantiles[low]):.0f} %"
        ax.fill_between(x, lines[:, low], lines[:, high], color=BLUE, alpha=0.16, linewidth=0, label=share)
    ax.plot(x, lines[:, middle], color=BLUE, linewidth=1.8, label="forecast")


def dress(ax, title: str, dates: bool) -> None:
    """The look of a panel over time."""
    if dates:
        from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

        locator = AutoDateLocator()
        ax.xaxis.set_major_locator(locator)
        ax.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    name(ax, title)
    bare(ax)
    ax.margins(x=0.01)
