"""How far stated probabilities can be trusted: expected calibration error, and what mends it: temperature and trust."""

import numpy as np

BINS = 15
FEW = 10  # rows: of fewer one alone would say how sure the model is to be


def probabilities(logits, temperature=1.0):
    """softmax(logits / temperature) along the last axis, in float64.

    Example:
        >>> probabilities([[0.0, 0.0]]).tolist()
        [[0.5, 0.5]]
    """
    z = np.asarray(logits, "float64") / temperature
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def expected_calibration_error(p, labels, bins=BINS):
    """The mean gap between how sure a model is and how often it is right: sum over bins of n_b / n |acc_b - conf_b|.

    Args:
        p: (n, C) probabilities.
        labels: (n,) the right classes.
        bins: how many bins of equal width the highest probabilities are sorted into.

    Returns:
        a number from 0 (what is said with 80 % is right in 80 of 100) to 1.

    Raises:
        ValueError: for no rows, or other shapes.

    Reference: Guo et al. 2017.

    Example:
        >>> expected_calibration_error([[0.75, 0.25]] * 4, [0, 0, 0, 1])
        0.0
    """
    p, labels = np.asarray(p, "float64"), np.asarray(labels)
    if p.ndim != 2 or labels.shape != p.shape[:1] or not len(p):
        raise ValueError(f"expected p of shape (n, C) and n labels, n > 0, got {p.shape} and {labels.shape}")
    sure, right = p.max(axis=1), p.argmax(axis=1) == labels
    which = np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], sure)  # a bin has its upper edge
    gaps = [abs(np.sum(right[which == b]) - np.sum(sure[which == b])) for b in range(bins)]
    return float(np.sum(gaps) / len(p))


def fit_temperature(logits, labels, low=0.05, high=20.0):
    """The temperature T that makes the labels likeliest under softmax(logits / T).

    The loss is convex in 1 / T; its minimum is found by halving the interval in which its slope changes sign. Choose T
    on validation data: never on the test. Where all rows are right the loss would fall with T without end, and few rows
    tell little: there T is 1.

    Args:
        logits: (n, C).
        labels: (n,) the right classes.
        low, high: bounds of T.

    Reference: Guo et al. 2017.

    Example:
        >>> round(fit_temperature([[2.0, 0.0]] * 12, [0, 0, 0, 1] * 3), 3)   # 3 of 4: log(3) is the right logit
        1.82
    """
    z, labels = np.asarray(logits, "float64"), np.asarray(labels)
    at_label = np.take_along_axis(z, labels[:, None], axis=1)[:, 0]
    if len(z) < FEW or (at_label == z.max(axis=1)).all():
        return 1.0

    def slope(inverse):  # of the loss, by the inverse of T
        return np.mean(np.sum(probabilities(z, 1 / inverse) * z, axis=1) - at_label)

    least, most = 1 / high, 1 / low
    for _ in range(60):
        middle = np.sqrt(least * most)
        least, most = (middle, most) if slope(middle) < 0 else (least, middle)
    return float(1 / np.sqrt(least * most))


def fit_trust(logits, labels, kinds, low=0.05, high=20.0):
    """How much each member of a committee counts: the trust that makes the labels likeliest at the best temperature.

    Members of one kind count the same. The loss of softmax(sum over kinds k of w_k · mean logits of k) is convex in w;
    its minimum within the bounds is found by Newton steps, halved until the loss falls. As with the temperature: choose
    it on validation data.

    Args:
        logits: (n, M, C), of each member.
        labels: (n,) the right classes.
        kinds: for each member the number of its kind, from 0.
        low, high: bounds of w.

    Returns:
        (M,), which sum to one.

    Reference: Wolpert 1992.

    Example:
        >>> right, noise = [[3.0, 0.0], [0.0, 3.0], [0.0, 3.0]], [[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]]
        >>> trust = fit_trust(np.stack([right, noise], axis=1), [0, 1, 0], [0, 1])
        >>> bool(trust[0] > trust[1]), float(trust.sum())
        (True, 1.0)
    """
    z, labels, kinds = np.asarray(logits, "float64"), np.asarray(labels), np.asarray(kinds)
    z = np.stack([z[:, kinds == kind].mean(axis=1) for kind in range(kinds.max() + 1)], axis=1)  # (n, K, C)
    at_label = z[np.arange(len(z)), :, labels]  # (n, K)

    def loss(w):
        mixed = np.einsum("k,nkc->nc", w, z)
        return np.mean(np.logaddexp.reduce(mixed, axis=1) - at_label @ w)

    w = np.full(z.shape[1], 1 / z.shape[1])
    for _ in range(30):
        p = probabilities(np.einsum("k,nkc->nc", w, z))
        mean = np.einsum("nc,nkc->nk", p, z)
        slope = (mean - at_label).mean(axis=0)
        free = ~((w <= low) & (slope > 0) | (w >= high) & (slope < 0))  # the others are held by their bounds
        curve = (np.einsum("nc,nkc,njc->kj", p, z, z) - mean.T @ mean) / len(z) + 1e-9 * np.eye(len(w))
        step = np.zeros_like(w)
        step[free] = np.linalg.solve(curve[np.ix_(free, free)], slope[free])
        tries = (np.clip(w - step / 2**i, low, high) for i in range(12))
        w = min([w, *tries], key=loss)
    trust = (w / np.bincount(kinds))[kinds]
    return trust / trust.sum()
