"""Collections in the layout of the Numenta Anomaly Benchmark: series, and windows in which each is unusual."""

import json
import pathlib

import numpy as np

from keras_seq.data.series import moment, read_series

LABELS = "combined_windows.json"


class _Place:
    """Where a time of the labels stands, for a message."""

    def __init__(self, path, name):
        self.path, self.name = path, name

    def where(self, row):
        return f"{self.path}, {self.name}"


def read_nab(folder):
    """The series of a folder with their windows.

    The folder holds `data/GROUP/NAME.csv`, each with the columns timestamp and value, and
    `labels/combined_windows.json`, {"GROUP/NAME.csv": [[first time, last time], ...]}. Series that the labels name and
    the folder lacks are left out.

    Args:
        folder: of the benchmark.

    Returns:
        [("GROUP/NAME.csv", `Series`, [(first row, last row), ...])], by name.

    Raises:
        ValueError: where there are no labels, or no series of theirs.

    Reference: Lavin and Ahmad 2015.
    """
    folder = pathlib.Path(folder)
    path = next(iter(sorted(folder.rglob(LABELS))), None)
    if path is None:
        raise ValueError(f"{folder}: expected labels/{LABELS} beside data/, found none; give the benchmark's folder")
    try:
        labels = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: expected JSON, got {error}; restore the file") from error
    there = {name: folder / "data" / name for name in sorted(labels) if (folder / "data" / name).exists()}
    if not there:
        raise ValueError(f"{folder}: expected files such as data/{next(iter(labels), 'GROUP/NAME.csv')}, found none of "
                         f"the {len(labels)} that {path.name} names; give the folder of the benchmark")
    read = {name: read_series(file) for name, file in there.items()}
    return [(name, series, rows_of(series, labels[name], _Place(path, name))) for name, series in read.items()]


def rows_of(series, windows, place):
    """Windows between times as (first, last) rows."""
    found = []
    for window in windows:
        first, last = (moment(time, place, 0) for time in window)
        rows = np.flatnonzero((series.time >= first) & (series.time <= last))
        if rows.size:
            found.append((int(rows[0]), int(rows[-1])))
    return sorted(found)
