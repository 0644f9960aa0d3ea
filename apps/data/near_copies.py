"""Near copies between a training set and held-out texts, found through an index of rare character n-grams."""

import collections
import math

from keras_seq.data.pairs import fold

SIZE = 5  # characters in a gram
SIMILAR = 0.7  # Jaccard index from which two texts are near copies: about one word of ten exchanged
CONTAINED = 0.9  # share of a long held-out text's grams inside the other from which it is a near copy
LONG = 8  # words from which a held-out text counts as long
RULE = f"""A text is a near copy of a held-out text if, case, digits and punctuation aside, (a) both are equal, or
(b) the Jaccard index of their sets of {SIZE} consecutive characters is at least {SIMILAR}, or (c) the held-out text has
{LONG} words or more and at least {CONTAINED:.0%} of its {SIZE}-character sequences stand in the other."""


def grams(text):
    """The set of 5-character sequences of a folded text, with a space around it."""
    text = f" {text} "
    return {text[i:i + SIZE] for i in range(max(1, len(text) - SIZE + 1))}


def is_near(held, other):
    """Whether the folded text `other` is a near copy of the folded text `held`.

    Example:
        >>> is_near("choose the colour of the first line in it", "choose the colour of the last line in it")
        True
        >>> is_near("save", "saves")
        False
    """
    return held == other or _near(len(held.split()), grams(held), grams(other))


def _near(words, held, other):
    common = len(held & other)
    return common >= SIMILAR * (len(held) + len(other) - common) or (words >= LONG and common >= CONTAINED * len(held))


class NearCopies:
    """Held-out texts, indexed: `text in index` says whether the text is a near copy of one of them.

    If two sets share 70 % of their union, at most 30 % of the grams of either miss in the other; so among any 30 % + 1
    of the held-out text's grams one is shared. The rarest are indexed, and only texts found through them are compared.

    Args:
        held: Texts to begin with.
        vocabulary: Texts to learn from which grams are rare; by default `held`. It changes the speed and no answer.

    Example:
        >>> index = NearCopies(["Open the file in Writer."])
        >>> "open the file in Writer 2" in index, "Close the window." in index
        (True, False)
    """

    def __init__(self, held=(), vocabulary=None):
        held = list(held)
        self.counts = collections.Counter(gram for text in vocabulary or held for gram in grams(fold(text)))
        self.held, self.index = {}, collections.defaultdict(list)
        for text in held:
            self.add(text)

    def add(self, text):
        text = fold(text)
        if text not in self.held:
            self.held[text] = grams(text)
            rarest = sorted(self.held[text], key=lambda gram: (self.counts[gram], gram))
            for gram in rarest[:math.floor((1 - SIMILAR) * len(rarest) + 1e-9) + 1]:
                self.index[gram].append(text)

    def __contains__(self, text):
        text = fold(text)
        if text in self.held:
            return True
        own = grams(text)
        candidates = {other for gram in own for other in self.index.get(gram, ())}
        return any(_near(len(other.split()), self.held[other], own) for other in candidates)


def unlike(rows, side):
    """The rows of which none is a near copy of one before it, by the text on one side."""
    index, kept = NearCopies(vocabulary=[row[side] for row in rows]), []
    for row in rows:
        if row[side] not in index:
            index.add(row[side])
            kept.append(row)
    return kept


def without_near(rows, held, *sides):
    """The rows near to no held-out row on any of some sides, and how many were removed."""
    indexes = {side: NearCopies(row[side] for row in held) for side in sides}
    kept = [row for row in rows if not any(row[side] in index for side, index in indexes.items())]
    return kept, len(rows) - len(kept)
