"""What a test says of a model that answers once: of classes and of numbers, in plain data."""

import numpy as np

from keras_seq.training.calibration import expected_calibration_error

MOST = 12  # classes of which a confusion is still read as a table


def class_scores(p, labels):
    """Accuracy and mean F1 in per cent, log loss, and the expected calibration error in 15 bins.

    Args:
        p: (n, C) probabilities.
        labels: (n,) the right classes.

    Example:
        >>> class_scores([[0.9, 0.1], [0.2, 0.8]], [0, 0])["accuracy"]
        50.0
    """
    p, labels = np.asarray(p, "float64"), np.asarray(labels)
    counts = confusion(labels, p.argmax(axis=1), p.shape[1])
    f1 = 2 * np.diag(counts) / np.maximum(counts.sum(axis=0) + counts.sum(axis=1), 1)
    at_label = p[np.arange(len(p)), labels]
    return {
        "accuracy": round(100 * float(np.mean(p.argmax(axis=1) == labels)), 2),
        "macro_f1": round(100 * float(f1.mean()), 2),
        "log_loss": float(-np.mean(np.log(np.maximum(at_label, 1e-12)))),
        "calibration_error": expected_calibration_error(p, labels),
    }


def number_scores(values, labels):
    """Mean error, its root mean square, and R2, the share of the variance that is told.

    Example:
        >>> number_scores([1.0, 2.0], [1.0, 4.0])
        {'mae': 1.0, 'rmse': 1.4142135623730951, 'r2': 0.1111111111111111}
    """
    wrong = np.asarray(values, "float64") - np.asarray(labels)
    told = 1 - np.mean(wrong**2) / max(np.var(labels), 1e-12)
    return {"mae": float(np.mean(np.abs(wrong))), "rmse": float(np.mean(wrong**2) ** 0.5), "r2": float(told)}


def confusion(labels, answers, classes):
    """How many items of each class (row) were answered as which (column): (C, C).

    Example:
        >>> confusion([0, 0, 1], [0, 1, 1], 2).tolist()
        [[1, 1], [0, 1]]
    """
    counts = np.zeros((classes, classes), int)
    np.add.at(counts, (np.asarray(labels), np.asarray(answers)), 1)
    return counts


def confusion_table(counts, names):
    """{"confusion": {right class: {answered class: items}}}, or nothing where classes are many: it is printed."""
    if len(names) > MOST:
        return {}
    return {"confusion": {name: dict(zip(names, map(int, row))) for name, row in zip(names, counts)}}
