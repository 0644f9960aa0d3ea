"""Masks are functions of positions: boolean, True = may attend, broadcastable to (B, N, T, S)."""

from keras import ops


def positions(length, start=0):
    """Positions `start, start + 1, ...` of one row.

    Args:
        length: number of positions T, an int or an int32 scalar.
        start: first position, an int or an int32 scalar.

    Returns:
        int32 (1, T).
    """
    return ops.expand_dims(ops.arange(length, dtype="int32"), 0) + start


def padding_mask(tokens, pad=0):
    """True where a token is not padding: (B, S) bool for tokens (B, S).

    Example:

    >>> import numpy as np
    >>> from keras_seq import layers
    >>> np.array(layers.padding_mask(np.array([[5, 7, 0]]))).tolist()
    [[True, True, False]]
    """
    return ops.not_equal(tokens, pad)


def of_keras(x_mask, mask):
    """The mask (B, T) of x: Keras fills `mask` where x is the only tensor of a call, `x_mask` where it is not."""
    return mask if x_mask is None else x_mask


def attention_mask(q_pos, k_pos, key_mask=None, causal=False, window=None):
    """Which query may attend to which key, from their positions alone.

    Args:
        q_pos: int32 (b, T), positions of the queries; b is 1 or B.
        k_pos: int32 (b, S), positions of the keys.
        key_mask: bool (b, S), False for keys that nobody may attend to (padding).
        causal: a query sees keys at its own position and before.
        window: a query sees keys less than `window` positions away.

    Returns:
        bool (b, 1, T, S), or None when everything may be seen.

    Example:

    >>> import numpy as np
    >>> from keras_seq.layers import masks
    >>> pos = masks.positions(3)
    >>> np.array(masks.attention_mask(pos, pos, causal=True)[0, 0]).astype(int).tolist()
    [[1, 0, 0], [1, 1, 0], [1, 1, 1]]
    """
    q, k = ops.expand_dims(q_pos, (1, 3)), ops.expand_dims(k_pos, (1, 2))  # (b, 1, T, 1), (b, 1, 1, S)
    rules = []
    if causal:
        rules.append(q >= k)
    if window is not None:
        rules.append(ops.abs(q - k) < window)
    if key_mask is not None:
        rules.append(ops.expand_dims(ops.cast(key_mask, "bool"), (1, 2)))
    return combine(*rules)


def combine(*masks):
    """All of several masks at once; None stands for "everything may be seen"."""
    present = [mask for mask in masks if mask is not None]
    if not present:
        return None
    result = present[0]
    for mask in present[1:]:
        result = ops.logical_and(result, mask)
    return result
