"""What the benchmarks share: threads, rivals that take turns, medians and best runs, tables."""

import contextlib
import importlib
import os
import statistics
import time


def threads(count):
    """Keeps tensorflow, torch, jax and what lies under them to so many threads; call it before any has run."""
    os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="-1", OMP_NUM_THREADS=str(count))
    os.environ.update(TF_NUM_INTRAOP_THREADS=str(count), TF_NUM_INTEROP_THREADS="1")
    torch_first()


def torch_first():
    """Loads the compiler of torch with CUDA, which crashes where tensorflow is loaded already."""
    with contextlib.suppress(ImportError):
        importlib.import_module("triton")


class Ticks:
    """Notes the time at each call; what lies between two calls is one sample."""

    def __init__(self):
        self.times = []

    def __call__(self):
        self.times.append((time.process_time(), time.perf_counter()))

    def samples(self):
        """[(CPU milliseconds, wall milliseconds)], one less than there were calls."""
        return [(1e3 * (b[0] - a[0]), 1e3 * (b[1] - a[1])) for a, b in zip(self.times, self.times[1:])]


def once(run):
    """A rival of `race` of one call."""

    def timed(tick):
        tick()
        run()
        tick()

    return timed


def race(rivals, rounds):
    """Rivals in turn, in each round the next one first, as machines slow down and recover.

    Args:
        rivals: {name: function of a `tick` that it calls after each of its steps}.
        rounds: number of turns.

    Returns:
        {name: [(CPU milliseconds, wall milliseconds)]}, a sample for each step but the first of a turn.
    """
    samples, names = {name: [] for name in rivals}, list(rivals)
    for turn in range(rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            tick = Ticks()
            rivals[name](tick)
            samples[name] += tick.samples()
    return samples


def summary(samples):
    """{"cpu": best, "cpu_median": ..., "wall": ..., "wall_median": ...} of samples of `race`."""
    cpu, wall = zip(*samples)
    numbers = {"cpu": min(cpu), "cpu_median": statistics.median(cpu)}
    return {**numbers, "wall": min(wall), "wall_median": statistics.median(wall)}


def markdown(header, rows):
    """A Markdown table; numbers get one decimal, None stays empty."""

    def cell(value):
        return "" if value is None else f"{value:,.1f}" if isinstance(value, float) else str(value)

    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(cell, row))} |" for row in lines)


def verdict(ratio, most):
    """Whether a ratio is what was asked at most; "" where nothing was."""
    return "" if most is None else "held" if ratio <= most else "**missed**"


def verdicts(times, asked):
    """The rows of what was asked: ours, rival, the ratio of best and of median CPU times, asked at most, held or not.

    Args:
        times: {name: what `summary` returns}.
        asked: [(ours, [rivals], at most or None)]; the best of the rivals that ran counts.
    """
    rows = []
    for ours, rivals, most in asked:
        present = [name for name in rivals if name in times]
        if ours not in times or not present:
            continue
        best = min(present, key=lambda name: times[name]["cpu"])
        ratio, median = (times[ours][key] / times[best][key] for key in ("cpu", "cpu_median"))
        asked = "" if most is None else f"{most:.2f}"
        rows.append([ours, best, f"{ratio:.2f}", f"{median:.2f}", asked, verdict(ratio, most)])
    return rows


VERDICTS = ["ours", "against", "ratio of the best", "ratio of the medians", "asked at most", ""]
