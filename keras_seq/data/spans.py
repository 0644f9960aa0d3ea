"""Labelled spans of time, the labels of frames, and the score of one against the other. Pure functions."""

import itertools
from typing import NamedTuple


class Span(NamedTuple):
    """From `start` to `end`, in seconds or in frames, there is `label`."""

    start: float
    end: float
    label: str


def frame_labels(spans, count, rate, none="none"):
    """The label of each of `count` frames: that of the span in which the middle of the frame lies, or `none`.

    Where spans overlap, the last one counts.

    Args:
        spans: of (start, end, label), in seconds.
        count: T.
        rate: frames a second.
        none: label of frames in no span.

    Returns:
        list of T labels.

    Example:
        >>> frame_labels([(0.0, 0.1, "a"), (0.1, 0.3, "b")], 5, rate=10)
        ['a', 'b', 'b', 'none', 'none']
    """
    labels = [none] * count
    for start, end, label in spans:
        first, last = (min(max(-int(-(rate * time - 0.5) // 1), 0), count) for time in (start, end))  # rounded up
        labels[first:last] = [label] * (last - first)
    return labels


def runs(labels):
    """Equal labels in a row as spans of frames.

    Example:
        >>> runs("aab")
        [Span(start=0, end=2, label='a'), Span(start=2, end=3, label='b')]
    """
    found, start = [], 0
    for label, group in itertools.groupby(labels):
        end = start + sum(1 for _ in group)
        found.append(Span(start, end, label))
        start = end
    return found


def iou(a, b):
    """Overlap of two spans: the time that both share over the time that either has."""
    shared = min(a.end, b.end) - max(a.start, b.start)
    return max(shared, 0) / (max(a.end, b.end) - min(a.start, b.start)) if shared > 0 else 0.0


def aligned_scores(expected, found, quiet=()):
    """How well sequences of labels agree, in percent.

    Args:
        expected, found: lists of sequences of labels, a label a frame.
        quiet: labels that mean nothing.

    Returns:
        {"all": accuracy over all frames, "speaking": over those where an expected label means something, "f1":
        `segment_f1`, "quiet": share of the frames where it means nothing, which is what always saying so would reach}.
    """
    pairs = [pair for rows in zip(expected, found, strict=True) for pair in zip(*rows, strict=True)]
    spoken = [pair for pair in pairs if pair[0] not in quiet]
    f1 = segment_f1([list(row) for row in expected], [list(row) for row in found], 0.5, quiet)
    return {"all": equal(pairs), "speaking": equal(spoken), "f1": round(100 * f1, 2),
            "quiet": round(100 - 100 * len(spoken) / max(len(pairs), 1), 2)}


def equal(pairs):
    """Percent of the pairs that are of equals."""
    return round(100 * sum(bool(a == b) for a, b in pairs) / max(len(pairs), 1), 2)


def segment_f1(expected, found, least=0.5, ignore=()):
    """F1 of the segments: what the eye sees of a timeline, where accuracy over frames forgives a flicker.

    A found segment is right if the one of its label that it overlaps most was expected with an IoU of `least` or more,
    and no segment before it has taken that one. F1 = 2 right / (found + expected), over all sequences together.

    Args:
        expected, found: lists of sequences of labels, a label a frame.
        least: the IoU.
        ignore: labels whose segments do not count: silence.

    Returns:
        F1 between 0 and 1; 1 where there is nothing to find and nothing was found.

    Reference: Lea et al. 2017 (F1@50, there the mean over sequences); over all together: Farha and Gall 2019.

    Example:
        >>> segment_f1(["aaabbb"], ["aaaabb"])
        1.0
        >>> round(segment_f1(["aaabbb"], ["ababbb"]), 2)  # of a, b, a and b the last one is right
        0.33
    """
    right = total = 0
    for truth, guess in zip(expected, found, strict=True):
        wanted, got = ([span for span in runs(labels) if span.label not in ignore] for labels in (truth, guess))
        total += len(wanted) + len(got)
        taken = set()
        for span in got:
            alike = [other for other in wanted if other.label == span.label]
            best = max(alike, key=lambda other: iou(other, span), default=None)
            if best is not None and iou(best, span) >= least:
                taken.add(best)
        right += len(taken)
    return 2 * right / total if total else 1.0
