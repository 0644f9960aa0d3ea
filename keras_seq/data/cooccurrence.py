"""Tokens as vectors by the company they keep: a beginning for models that read text."""

import itertools

import numpy as np

CHUNK = 20_000  # rows counted at a time
SMOOTHING = 0.75  # exponent of how often a token is a neighbour: rare neighbours tell less than they seem to


def cooccurrence_vectors(rows, size, dim, window=5):
    """A vector for each token, alike for tokens that stand beside the same ones: rows of U sqrt(S), of length 1.

    U S W' is the best likeness of rank D of a matrix that holds how much more often than by chance b stands near a:
    max(0, log p(a, b) / (p(a) p'(b))), where a neighbour at distance d counts 1 / d and p' is p to the power of 0.75.

    Args:
        rows: lists of tokens, the texts.
        size: V, of tokens.
        dim: D. A matrix with fewer parts than that leaves the rest of each vector at zero.
        window: the largest distance of a neighbour.

    Returns:
        float32 (V, D), each row of length 1; zeros for a token that has no neighbours.

    Reference: Levy and Goldberg 2014; Levy, Goldberg and Dagan 2015.

    Example:
        >>> vectors = cooccurrence_vectors([[1, 2, 5], [1, 3, 5], [2, 4], [3, 4]], size=6, dim=2)
        >>> bool(np.allclose(vectors[2], vectors[3], atol=1e-5)), vectors[0].tolist()
        (True, [0.0, 0.0])
    """
    import scipy.sparse
    import scipy.sparse.linalg

    counts = near(rows, size, window).tocoo()
    often = np.asarray(counts.sum(axis=1)).ravel()
    expected = often**SMOOTHING
    expected /= max(expected.sum(), 1e-12)
    told = np.maximum(np.log(counts.data / (often[counts.row] * expected[counts.col])), 0)
    matrix = scipy.sparse.csr_array((told, (counts.row, counts.col)), shape=(size, size), dtype="float32")
    matrix.eliminate_zeros()
    vectors = np.zeros((size, dim), "float32")
    if matrix.nnz:
        left, strength, _ = scipy.sparse.linalg.svds(matrix, k=min(dim, size - 1), random_state=0)
        vectors[:, : len(strength)] = left * np.sqrt(strength)
        vectors[np.diff(matrix.indptr) == 0] = 0  # they come as nearly that
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def near(rows, size, window):
    """How often each token stands near each other one, weighed by 1 / distance: a sparse (V, V)."""
    import scipy.sparse

    total, rows = scipy.sparse.csr_array((size, size)), iter(rows)
    while chunk := [np.asarray(row, "int64") for row in itertools.islice(rows, CHUNK)]:
        for distance in range(1, window + 1):
            a = np.concatenate([row[:-distance] for row in chunk])
            b = np.concatenate([row[distance:] for row in chunk])
            both = np.concatenate([a, b]), np.concatenate([b, a])
            total = total + scipy.sparse.csr_array((np.full(2 * len(a), 1 / distance), both), shape=(size, size))
    return total
