"""What the labels of a table are: names of classes, or numbers to be told."""

import numpy as np

MANY = 20  # different whole numbers from which they are amounts and no longer names


def describe_labels(rows, task="auto"):
    """What the last cells of rows are.

    Args:
        rows: `tables.Rows`, the label last.
        task: "classes", "regression", or "auto": numbers of which some have a fraction, or of more than 20 values, are
            a regression.

    Returns:
        {"task": "classes", "names": [...] in order} or {"task": "regression"}.

    Raises:
        ValueError: naming the line, for an empty label, or one that is no number in a regression; for fewer than two
            classes or hardly a row for each.
    """
    for index, row in enumerate(rows):
        if not row[-1]:
            raise ValueError(f"{rows.where(index)}: expected a label, got an empty cell; fill it or delete the row")
    names = sorted({row[-1] for row in rows}, key=lambda name: (number(name) is None, number(name) or 0, name))
    values = [number(name) for name in names]
    amounts = None not in values and (len(names) > MANY or any(value % 1 for value in values))
    if task == "regression" or (task == "auto" and amounts):
        check_numbers(rows)
        return {"task": "regression"}
    if not 2 <= len(names) <= len(rows) / 4:
        raise ValueError(f"{rows.path}: expected at least 2 classes with some rows each, got {len(names)} different "
                         f"labels in {len(rows):,} rows; see that it is the right column")
    return {"task": "classes", "names": names}


def number(text):
    """The number that a text is, or None.

    Example:
        >>> number("2.5"), number("good"), number("inf")
        (2.5, None, None)
    """
    try:
        value = float(text)
    except ValueError:
        return None
    return value if abs(value) < float("inf") else None


def check_numbers(rows):
    for index, row in enumerate(rows):
        if number(row[-1]) is None:
            raise ValueError(f"{rows.where(index)}: expected a number, got {row[-1][:40]!r}; correct it, or take the "
                             "labels for classes")


def read_labels(rows, labels):
    """The label of each row: the number of its class, or the number itself."""
    if labels["task"] == "regression":
        return [number(row[-1]) for row in rows]
    index = {name: i for i, name in enumerate(labels["names"])}
    return [index[row[-1]] for row in rows]


def moments(values):
    """Mean and deviation of training numbers: a model learns numbers best in units of these."""
    return {"mean": float(np.mean(values)), "deviation": float(np.std(values)) or 1.0}


def targets(values, labels):
    """What a model should answer, float32 (n, C): one at the right class, or the number in units of its deviation."""
    if labels["task"] == "classes":
        return np.eye(len(labels["names"]), dtype="float32")[values]
    return ((np.asarray(values)[:, None] - labels["mean"]) / labels["deviation"]).astype("float32")
