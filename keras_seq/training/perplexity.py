"""How well a language model foretells a text: nats a token, each foretold from enough of what stands before it."""

import math

import numpy as np


def token_nats(model, ids, context=256, stride=None, batch=16):
    """-log p of each token of a text but the first, from up to `context` tokens before it.

    Windows of `context` tokens slide over the text, `stride` apart, and of each only the tokens that no window before
    it had are counted. So every token but those of the first window has at least context - stride tokens before it;
    with stride = context the windows lie side by side, and each begins knowing nothing.

    Args:
        model: a language model.
        ids: the tokens of one text, at least two.
        context: T, tokens that the model reads at once.
        stride: tokens from one window to the next; half of `context` when left out.
        batch: windows a call.

    Returns:
        float64 (len(ids) - 1,).

    Raises:
        ValueError: for a stride that would leave tokens out.
    """
    ids, stride = np.asarray(ids, "int32"), max(1, context // 2) if stride is None else stride
    if not 0 < stride <= context:
        raise ValueError(f"stride must be from 1 to context, {context}; got {stride}.")
    begins = np.arange(0, max(1, len(ids) - 1 - context + stride), stride)
    rows = np.pad(ids, (0, context + 1))[begins[:, None] + np.arange(context + 1)]  # (windows, T + 1)
    found = np.concatenate([window_nats(model, rows[i : i + batch], batch) for i in range(0, len(rows), batch)])
    new = np.concatenate([found[0], found[1:, context - stride :].ravel()])
    return new[: len(ids) - 1].astype("float64")


def window_nats(model, rows, batch):
    """-log p of each token of rows (M, T + 1) but the first: (M, T); M is at most `batch`."""
    full = np.concatenate([rows, np.repeat(rows[-1:], batch - len(rows), axis=0)])  # one shape: compiled once
    logits = model.predict_on_batch({"target": full[:, :-1]})[: len(rows)].astype("float32")  # (M, T, V)
    top = logits.max(axis=-1)
    total = np.log(np.exp(logits - top[..., None]).sum(axis=-1)) + top
    return total - np.take_along_axis(logits, rows[:, 1:, None], axis=-1)[..., 0]


def text_scores(nats, characters):
    """Nats and bits a character, and perplexity a token, of a text of so many characters.

    Example:
        >>> text_scores([math.log(2), math.log(8)], 4)
        {'nats_per_character': 0.6931, 'bits_per_character': 1.0, 'perplexity': 4.0}
    """
    each = float(np.sum(nats)) / characters
    return {
        "nats_per_character": round(each, 4),
        "bits_per_character": round(each / math.log(2), 4),
        "perplexity": round(math.exp(float(np.mean(nats))), 4),
    }
