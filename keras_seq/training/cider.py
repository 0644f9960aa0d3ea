"""CIDEr-D, the consensus of captions: how like a caption is to what several people wrote of the same picture."""

import collections
import math

LONGEST = 4  # words in a sequence
SIGMA = 6.0  # words by which lengths may differ before it costs much


def cider(captions, references):
    """The mean over pictures of ten times the likeness of a caption to its references, where rare words count more.

    For n = 1 to 4: g(x) is the vector of counts of the sequences of n words in x, each times log(N / pictures in whose
    references it occurs). The likeness of c to r is exp(-(|c| - |r|)^2 / 72) min(g(c), g(r)) . g(r) / |g(c)| |g(r)|,
    and its mean over n and over the references is taken.

    Args:
        captions: for each of N pictures a list of words.
        references: for each picture a list of such lists.

    Returns: a number from 0 to 10.

    Raises:
        ValueError: for not as many captions as references.

    Reference: Vedantam et al. 2015.

    Example:

    >>> round(cider([["a", "red", "cat"], ["two", "dogs"]], [[["a", "red", "cat"]], [["two", "old", "dogs"]]]), 3)
    4.757
    """
    if len(captions) != len(references):
        raise ValueError(f"expected references for {len(captions)} captions, got {len(references)}")
    seen = collections.Counter(gram for texts in references for gram in {g for text in texts for g in grams(text)})
    scores = [
        sum(likeness(caption, text, seen, len(captions)) for text in texts) / len(texts)
        for caption, texts in zip(captions, references)
    ]
    return 10 * sum(scores) / max(1, len(scores))


def grams(text):
    """How often each sequence of 1 to 4 words occurs."""
    return collections.Counter(
        tuple(text[i : i + n]) for n in range(1, LONGEST + 1) for i in range(len(text) - n + 1)
    )


def weighted(text, seen, pictures):
    """For n = 1 to 4 the vector g: {sequence: count * log(N / pictures that have it)}."""
    vectors = [{} for _ in range(LONGEST)]
    for gram, count in grams(text).items():
        vectors[len(gram) - 1][gram] = count * (math.log(pictures) - math.log(max(1, seen[gram])))
    return vectors


def likeness(caption, reference, seen, pictures):
    """The mean over n of the clipped cosine, less for another length."""
    total = 0.0
    for c, r in zip(weighted(caption, seen, pictures), weighted(reference, seen, pictures)):
        norm = math.sqrt(sum(x * x for x in c.values()) * sum(x * x for x in r.values()))
        total += sum(min(x, r[gram]) * r[gram] for gram, x in c.items() if gram in r) / norm if norm else 0.0
    return total / LONGEST * math.exp(-((len(caption) - len(reference)) ** 2) / (2 * SIGMA**2))
