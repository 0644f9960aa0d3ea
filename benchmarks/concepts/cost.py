"""Time and memory of attention over the length, measured by benchmarks/attention_length.py."""

import json
import subprocess
import sys
from pathlib import Path

from keras_seq.plots.panels import beside, curves, grid

SCRIPT = Path(__file__).parents[1] / "attention_length.py"
LENGTHS = (1024, 2048, 4096)
NAMES = {
    "full": "full", "chunked": "full, in chunks", "local": "local", "strided": "strided", "random": "random",
    "block_sparse": "block sparse", "projective": "projective, slots", "projective_features": "projective, features",
}  # fmt: skip


def run():
    command = [sys.executable, str(SCRIPT), "--json", "--runs", "2", "--kinds", *NAMES, "--lengths", *map(str, LENGTHS)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found = json.loads(done.stdout)
    ratios = {
        kind: {what: each["4096"][what] / max(each["1024"][what], 0.1) for what in each["4096"]}
        for kind, each in found.items()
    }
    return {"table": table(found), "kinds": found, "ratios": ratios}


def table(found):
    """A row a kind: time and memory of forward and backward, for each length."""
    columns = [(what, length) for what in ("both_ms", "both_mb") for length in map(str, LENGTHS)]
    head = ["attention", *(f"{what[-2:].replace('mb', 'MB')}, L {length}" for what, length in columns)]
    return [head, *([NAMES[kind], *(round(each[n][what]) for what, n in columns)] for kind, each in found.items())]


def draw(results):
    fig, axes = grid(2, 2, 4.6, 3.2)
    titles = {"both_ms": "CPU ms, forward and backward", "both_mb": "Peak memory, MB"}
    for ax, (what, title) in zip(axes, titles.items()):
        lines = {
            NAMES[kind]: ([int(length) for length in found], [max(1, row[what]) for row in found.values()])
            for kind, found in results["kinds"].items()
        }
        curves(ax, lines, title, "length L", xscale="log", yscale="log")
        ax.set_xticks(LENGTHS, LENGTHS)
        ax.minorticks_off()
    axes[0].get_legend().remove()
    beside(axes[1])
    return fig
