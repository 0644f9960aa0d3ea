"""What a test says of a model that answers once: of classes and of numbers, in plain data."""

import collections

import numpy as np

from keras_seq.training.calibration import expected_calibration_error

MOST = 12  # classes of which a confusion is still read as a table


def class_scores(p, labels):
    """Accuracy and mean F1 in per cent, log loss, and the expected calibration error in 15 bins.

    The mean F1 is over the classes that are among the labels or the answers: of others nothing is known.

    Args:
        p: (n, C) probabilities.
        labels: (n,) the right classes.

    Example:
        >>> class_scores([[0.9, 0.1], [0.2, 0.8]], [0, 0])["accuracy"]
        50.0
    """
    p, labels = np.asarray(p, "float64"), np.asarray(labels)
    counts = confusion(labels, p.argmax(axis=1), p.shape[1])
    met = counts.sum(axis=0) + counts.sum(axis=1)  # how often as an answer and as a label
    f1 = 2 * np.diag(counts)[met > 0] / met[met > 0]
    at_label = p[np.arange(len(p)), labels]
    return {
        "accuracy": round(100 * float(np.mean(p.argmax(axis=1) == labels)), 2),
        "macro_f1": round(100 * float(f1.mean()), 2),
        "log_loss": float(-np.mean(np.log(np.maximum(at_label, 1e-12)))),
        "calibration_error": expected_calibration_error(p, labels),
    }


def number_scores(values, labels):
    """Mean error, its root mean square, and R2, the share of the variance that is told.

    Of labels without variance it is 1 where all values are right, else 0.

    Example:
        >>> {name: round(score, 3) for name, score in number_scores([1.0, 2.0], [1.0, 4.0]).items()}
        {'mae': 1.0, 'rmse': 1.414, 'r2': 0.111}
    """
    wrong = np.asarray(values, "float64") - np.asarray(labels)
    square, variance = np.mean(wrong**2), np.var(labels)
    told = 1 - square / variance if variance else square == 0
    return {"mae": float(np.mean(np.abs(wrong))), "rmse": float(square**0.5), "r2": float(told)}


def series_scores(found, truth, seen, deviation):
    """Mean error of forecasts; and as papers give it, of numbers divided by their deviation: mean square and mean.

    Args:
        found, truth: (W, T, V).
        seen: bool (W, T, V), False where nothing was measured.
        deviation: (V,), of the training data.

    Example:
        >>> series_scores(np.zeros((1, 2, 1)), np.full((1, 2, 1), 4.0), np.ones((1, 2, 1), bool), [2.0])
        {'MAE': 4.0, 'scaled MSE': 4.0, 'scaled MAE': 2.0}
    """
    wrong = np.asarray(found, "float64") - truth
    scaled = (wrong / np.asarray(deviation))[seen]
    mean, square, told = np.mean(np.abs(wrong[seen])), np.mean(scaled**2), np.mean(np.abs(scaled))
    return {"MAE": float(mean), "scaled MSE": float(square), "scaled MAE": float(told)}


def confusion(labels, answers, classes):
    """How many items of each class (row) were answered as which (column): (C, C).

    Example:
        >>> confusion([0, 0, 1], [0, 1, 1], 2).tolist()
        [[1, 1], [0, 1]]
    """
    counts = np.zeros((classes, classes), int)
    np.add.at(counts, (np.asarray(labels), np.asarray(answers)), 1)
    return counts


def most_confused(rights, found, most=20):
    """Counts (C, C) of the tags that are taken for others most often, and their names: what a picture has room for.

    Args:
        rights, found: lists of lists of tags.
        most: C at most.

    Example:
        >>> counts, names = most_confused([["a", "b"]], [["b", "b"]])
        >>> counts.tolist(), names
        ([[0, 1], [0, 1]], ['a', 'b'])
    """
    pairs = [pair for rows in zip(rights, found, strict=True) for pair in zip(*rows, strict=True)]
    wrong = collections.Counter(tag for pair in pairs if pair[0] != pair[1] for tag in pair)
    names = sorted({tag for pair in pairs for tag in pair}, key=lambda tag: (-wrong[tag], tag))[:most]
    places = {name: i for i, name in enumerate(sorted(names))}
    inside = [(places[a], places[b]) for a, b in pairs if a in places and b in places]
    return confusion(*zip(*inside), len(names)), sorted(names)


def entity_scores(rights, found):
    """How well entities were found, in per cent: a span counts where its begin, its end and its type are right.

    Args:
        rights, found: lists of lists of tags, B-type, I-type or O.

    Returns:
        {"precision", "recall", "F1"} of all, and {type: the same with how many there are}.

    Raises:
        ValueError: where `seqeval` is not installed.

    Reference: Tjong Kim Sang and De Meulder 2003; by `seqeval`, Nakayama 2018.

    Example:
        >>> entity_scores([["B-person", "I-person", "O"]], [["B-person", "O", "O"]])[0]["F1"]
        0.0
    """
    try:
        from seqeval.metrics import classification_report
    except ImportError as error:
        raise ValueError("expected the package seqeval to count entities, got none: `pip install --use-pep517 "
                         "seqeval`") from error
    if all(tag == "O" for tags in (*rights, *found) for tag in tags):  # of which seqeval takes means, and warns
        return {"precision": 0.0, "recall": 0.0, "F1": 0.0}, {}
    rows = classification_report(rights, found, output_dict=True, zero_division=0)
    scores = {name: {"precision": 100 * float(row["precision"]), "recall": 100 * float(row["recall"]),
                     "F1": 100 * float(row["f1-score"]), "entities": int(row["support"])} for name, row in rows.items()}
    totals = {name: value for name, value in scores["micro avg"].items() if name != "entities"}
    return totals, {name: row for name, row in scores.items() if not name.endswith(" avg")}


def confusion_table(counts, names):
    """{"confusion": {right class: {answered class: items}}}, or nothing where classes are many: it is printed."""
    if len(names) > MOST:
        return {}
    return {"confusion": {name: dict(zip(names, map(int, row))) for name, row in zip(names, counts)}}
