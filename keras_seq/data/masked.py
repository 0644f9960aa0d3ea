"""Texts with some tokens hidden, others in each epoch: what a masked language model learns from."""

import numpy as np

from keras_seq.data.casing import read
from keras_seq.data.labelled import ByLength, padded
from keras_seq.data.tokenizer import BOS, SPACE, UNK

MASK = BOS  # which has no other use in a model that does not write
ORDINARY = UNK  # ids from here on are tokens of a text
KEPT, RANDOM = 0.1, 0.1  # of the hidden tokens, how many stay as they are, and how many are replaced by any other


class Masked(ByLength):
    """Rows of ids of which some are hidden, as padded batches of like length, for `fit`.

    Of the hidden tokens 80 % are replaced by MASK, 10 % by any token, 10 % stay: which and how follows from the seed
    and the epoch, so that each epoch asks for others (dynamic masking).

    Args:
        rows, batch, max_length, shuffle, seed: See `ByLength`.
        share: For each id the row of the table that is to be told; a list of V numbers.
        hidden: Share of the tokens of a row that are hidden, one at least.

    Attributes:
        steps: Batches in an epoch.

    Reference: Devlin et al. 2019; new masks in each epoch: Liu et al. 2019.

    Example:
        >>> batches = Masked([[7, 8, 9], [5]], list(range(10)), shuffle=False)
        >>> inputs, labels, weights = next(batches.epoch(0))
        >>> sorted(inputs), inputs["tokens"].shape, labels.tolist()[0], weights.tolist()
        (['places', 'tokens'], (2, 4), [5], [[1.0], [1.0]])
    """

    def __init__(self, rows, share, hidden=0.15, batch=64, max_length=128, shuffle=True, seed=0):
        super().__init__(rows, batch, max_length, shuffle, seed)
        self.share, self.hidden = np.asarray(share), hidden

    def form(self, rows, chosen, random):
        """{"tokens" (B, S), "places" (B, P)} int32, labels (B, P) int32 and weights (B, P) float32 of some rows."""
        tokens = padded(rows)
        places, weights = hide(tokens, self.hidden, random)
        before = np.take_along_axis(tokens, places, axis=1)
        drawn = random.random(places.shape)
        other = random.integers(ORDINARY + 1, len(self.share), places.shape)
        after = np.where(drawn < KEPT, before, np.where(drawn < KEPT + RANDOM, other, MASK))
        np.put_along_axis(tokens, places, np.where(weights > 0, after, before).astype("int32"), axis=1)
        return {"tokens": tokens, "places": places}, self.share[before].astype("int32"), weights

    def spec(self):
        """The shape and the type of each part of a batch."""
        ids = (None, None), "int32"
        return {"tokens": ids, "places": ids}, ids, ((None, None), "float32")


def with_mask(proto, text="[MASK]"):
    """A sentencepiece model that reads a word of a text as MASK, for texts in which a person has hidden words.

    Args:
        proto: Bytes of a sentencepiece model, in which the id of MASK stands for nothing.
        text: The word; what stands right behind it is cut as behind any other.

    Returns:
        bytes of a model with the same ids.

    Example:
        >>> from keras_seq.data import Tokenizer
        >>> plain = Tokenizer.train(["good food and good wine."] * 10, vocab_size=30)
        >>> ids = Tokenizer(with_mask(plain.model_proto)).encode(["good [MASK]."])[0]
        >>> ids == [*plain.encode(["good"])[0], MASK, *plain.encode(["wine."])[0][-1:]]
        True
    """
    model = read(proto)
    model.pieces[MASK].piece, model.pieces[MASK].score = SPACE + text, 0.0  # no piece that was learned has as much
    model.pieces[MASK].type = model.pieces[MASK].NORMAL
    return model.SerializeToString()


def hide(tokens, share, random):
    """Which tokens of each row are hidden: places int32 (B, P), and weights float32 (B, P), 0 where a row has no more.

    Example:
        >>> places, weights = hide(np.array([[5, 6, 7, 2], [5, 2, 0, 0]]), 0.5, np.random.default_rng(0))
        >>> places.shape, weights.tolist()
        ((2, 2), [[1.0, 1.0], [1.0, 0.0]])
    """
    ordinary = tokens >= ORDINARY
    count = np.maximum(np.rint(share * ordinary.sum(axis=1)), 1)  # (B,)
    order = np.argsort(np.where(ordinary, random.random(tokens.shape), 2.0), axis=1)[:, : int(count.max())]
    weights = (np.arange(order.shape[1]) < count[:, None]) & np.take_along_axis(ordinary, order, axis=1)
    return order.astype("int32"), weights.astype("float32")
