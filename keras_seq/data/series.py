"""Series of numbers from tables: times, a row a step, what is missing, and what the calendar knows in advance."""

import datetime
import math
import typing

import numpy as np

from keras_seq.data.tables import read_columns, read_rows

MISSING = {"", "na", "n/a", "nan", "null", "none", "-"}
EPOCH = datetime.datetime(1970, 1, 1)
DAY = 86400.0  # seconds


class Series(typing.NamedTuple):
    """Numbers measured one after another.

    Attributes:
        names: of the V variables.
        values: float64 (N, V); NaN where nothing was measured.
        time: float64 (N,), seconds since 1970 by the clock on the wall; None where the table has no times.
        lines: for each row the line of the file.
        path: of the file.
    """

    names: list
    values: np.ndarray
    time: np.ndarray | None
    lines: list
    path: str

    @property
    def step(self):
        """Seconds from a row to the next: of all such the one in the middle; None without times."""
        if self.time is None or len(self.time) < 2:
            return None
        return float(np.percentile(np.diff(self.time), 50, method="lower"))

    def where(self, row):
        """`load.csv, line 7`, for a message about a row."""
        return f"{self.path}, line {self.lines[row]}"


# --- reading --------------------------------------------------------------------------------------------------------


def read_series(path, columns=(), time=""):
    """Some columns of a table as a series.

    Args:
        path: see `read_rows`: CSV, TSV or JSONL.
        columns: names; all columns of numbers when left out.
        time: the column of times, ISO 8601 or seconds since 1970; when left out, the first column if it is of no
            numbers. Times are taken as they are written: a time zone is not looked at.

    Returns:
        `Series`.

    Raises:
        ValueError: naming the line, for a cell that is no number or no time, and for times that do not rise.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "load.csv"
        >>> _ = path.write_text("time,load\\n2024-05-01 00:00,3\\n2024-05-01 01:00,\\n", encoding="utf-8")
        >>> read_series(path).values.tolist()
        [[3.0], [nan]]
    """
    names = read_columns(path)
    first = read_rows(path, names)[0]
    if not time and not is_number(first[0]):
        time = names[0]
    columns = list(columns) or [name for name, cell in zip(names, first) if name != time and is_number(cell)]
    if not columns:
        raise ValueError(f"{path}, line 2: expected a column of numbers, got none; the columns are {', '.join(names)}")
    rows = read_rows(path, [*columns, *([time] if time else [])])
    values = [[number(cell, rows, i) for cell in row[: len(columns)]] for i, row in enumerate(rows)]
    times = np.array([moment(row[-1], rows, i) for i, row in enumerate(rows)]) if time else None
    series = Series(columns, np.array(values), times, rows.lines, str(path))
    if time and (falls := np.flatnonzero(np.diff(times) < 0)).size:
        raise ValueError(f"{series.where(falls[0] + 1)}: expected a time not before that of the row above, got "
                         f"{rows[falls[0] + 1][-1]!r}; sort the rows")
    return series


def is_number(cell):
    """Whether a cell can stand in a column of numbers."""
    try:
        return cell.lower() in MISSING or math.isfinite(float(cell))
    except ValueError:
        return False


def number(cell, rows, row):
    if not is_number(cell):
        raise ValueError(f"{rows.where(row)}: expected a number, got {cell[:40]!r}; correct it, or leave it"
                         " empty")
    return math.nan if cell.lower() in MISSING else float(cell)


def moment(cell, rows, row):
    """A time as seconds since 1970."""
    try:
        return float(cell) if is_number(cell) and cell else seconds(datetime.datetime.fromisoformat(cell))
    except ValueError as error:
        raise ValueError(f"{rows.where(row)}: expected a time such as 2024-05-31 18:00, got {cell[:40]!r}; write it "
                         "so") from error


def seconds(time):
    """A datetime as seconds since 1970 by the clock on the wall."""
    return (time.replace(tzinfo=None) - EPOCH).total_seconds()


def stamp(time):
    """Seconds since 1970 as ISO 8601, without seconds where there are none."""
    return (EPOCH + datetime.timedelta(seconds=float(time))).isoformat(" ", "auto").removesuffix(":00")


# --- a row a step ---------------------------------------------------------------------------------------------------


def regular(series):
    """A series with a row for each step: rows that are not there become rows of NaN.

    Raises:
        ValueError: naming the line, for two rows of one time, a row that is off the step, or steps of too many kinds.

    Example:
        >>> series = Series(["load"], np.array([[1.0], [2.0], [4.0]]), np.array([0.0, 60.0, 180.0]), [2, 3, 4], "a.csv")
        >>> regular(series).values[:, 0].tolist()
        [1.0, 2.0, nan, 4.0]
    """
    step = series.step
    if step is None or step >= 28 * DAY:  # months are not of one length
        return series
    if step == 0:
        raise ValueError(f"{series.where(1)}: expected times that rise, got one twice; leave a row a time")
    exact = (series.time - series.time[0]) / step
    places = np.rint(exact).astype(int)
    odd = np.flatnonzero((np.abs(exact - places) > 0.01) | (np.diff(places, prepend=-1) < 1))
    if odd.size:
        raise ValueError(f"{series.where(odd[0])}: expected a row every {datetime.timedelta(seconds=step)}, got "
                         f"{stamp(series.time[odd[0]])}; give rows of one step, a row a time")
    if places[-1] >= 20 * len(places):
        raise ValueError(f"{series.path}: expected a row every {datetime.timedelta(seconds=step)}, got "
                         f"{len(places):,} rows for {places[-1] + 1:,} steps; leave out what lies far apart")
    values = np.full((places[-1] + 1, series.values.shape[1]), np.nan)
    values[places] = series.values
    lines = np.searchsorted(places, np.arange(len(values)))
    time = series.time[0] + step * np.arange(len(values))
    return series._replace(values=values, time=time, lines=[series.lines[i] for i in lines])


def seasons(step):
    """How many rows a repetition takes: {"last value": 1, "yesterday": ..., "last week": ...}, as far as `step` allows.

    Example:
        >>> seasons(3600.0)
        {'last value': 1, 'yesterday': 24, 'last week': 168}
    """
    spans = {"yesterday": DAY, "last week": 7 * DAY} if step else {}
    found = {name: round(span / step) for name, span in spans.items() if span >= 2 * step and not span % step}
    return {"last value": 1, **found}


def filled(values, season=1):
    """What is missing, by what came before it alone: the value a season earlier, else the last; no future is seen.

    Missing values before the first that was measured become that one.

    Args:
        values: (N, V) with NaN.
        season: rows.

    Example:
        >>> filled(np.array([[1.0], [2.0], [3.0], [np.nan]]), season=2)[:, 0].tolist()
        [1.0, 2.0, 3.0, 2.0]
    """
    values = np.array(values, "float64")
    for column in values.T:
        known = np.flatnonzero(~np.isnan(column))
        column[: known[0] if known.size else None] = column[known[0]] if known.size else 0.0
        for row in np.flatnonzero(np.isnan(column)):
            column[row] = column[row - season] if row >= season else column[row - 1]
    return values


def moments(values):
    """Mean and deviation of each variable, (V,) both; that of one that never changes is a hundredth of its size.

    Example:
        >>> moments(np.array([[1.0, 5.0], [3.0, 5.0]]))[1].tolist()
        [1.0, 0.05]
    """
    deviation = np.std(values, axis=0)
    still = np.maximum(0.01 * np.abs(values).max(axis=0), 1e-6)
    return np.mean(values, axis=0), np.where(deviation > 0, deviation, still)


def repeated(values, starts, horizon, season):
    """Forecasts that repeat the last season before each start: (W, T, V).

    Example:
        >>> repeated(np.array([[1.0], [2.0], [3.0]]), [3], 3, 2)[0, :, 0].tolist()
        [2.0, 3.0, 2.0]
    """
    rows = np.asarray(starts)[:, None] - season + np.arange(horizon) % season
    return values[np.maximum(rows, 0)]


# --- the calendar ---------------------------------------------------------------------------------------------------


def holiday_flags(time, country):
    """1.0 for times on a public holiday of a country, "US", or a part of it, "US-MN"; else 0.0: (N,).

    Raises:
        ValueError: for a country that is not known.

    Example:
        >>> holiday_flags([seconds(datetime.datetime(2024, 7, 4, 12))], "US").tolist()
        [1.0]
    """
    import holidays

    days = [(EPOCH + datetime.timedelta(seconds=float(t))).date() for t in time]
    name, _, part = country.partition("-")
    try:
        known = holidays.country_holidays(name, subdiv=part or None, years={day.year for day in days})
    except NotImplementedError as error:
        raise ValueError(f"expected a country such as US, DE or US-MN, got {country!r}: {error}") from error
    return np.array([float(day in known) for day in days])
