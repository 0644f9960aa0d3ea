"""How speed, memory and the time to a quality grow with more data, width and length, each from once to ten times.

    python -m benchmarks scale                                  # twelve trainings, about half an hour of one core
    python -m benchmarks scale --axes width --seconds 60
    python -m benchmarks scale --plot scale.png

A Transformer language model on the works of Shakespeare; everything but the one size stays as it is, the tokens of a
step too. Each training is a process of its own with one thread and so many CPU seconds of training, whose validation
loss is measured every few seconds, outside of that time; the time to quality is when it first was what the smallest
training reached at its end. Memory is what the process grew by while it trained.
"""

import argparse
import json
import math
import subprocess
import sys
import time

from benchmarks import _race

TOKENS = 2560  # of a step
AXES = {  # {axis: (unit, values)}
    "data": ("share of the text", (0.1, 0.2, 0.5, 1.0)),
    "width": ("width D", (64, 128, 320, 640)),
    "length": ("tokens of a row", (128, 256, 640, 1280)),
}
BASE = {"data": 1.0, "width": 128, "length": 128}
ROWS = ("tokens_a_second", "megabytes", "loss", "seconds_to_quality")
TITLES = {"tokens_a_second": "tokens a CPU second", "megabytes": "memory, MB", "loss": "validation loss, nats a token",
          "seconds_to_quality": "CPU seconds to the first one's quality"}  # fmt: skip


# --- one training, in a process of its own ----------------------------------------------------------------------------


def train(sizes, seconds, layers=2, checks=16):
    """One training of so many CPU seconds.

    Args:
        sizes: {"data", "width", "length"}.
        seconds: CPU time of the training's steps, evaluation and the first, compiling step aside.
        layers: of the Transformer.
        checks: how often the validation loss is measured.

    Returns:
        {"tokens_a_second", "megabytes", "weights", "curve": [[CPU seconds, validation loss], ...]}.
    """
    import resource

    from apps import language_model
    from keras_seq.app.start import start

    start()
    width, length = sizes["width"], sizes["length"]
    config = language_model.Config(
        context=length, batch=TOKENS // length, dim=width, heads=max(width // 64, 1), mlp_dim=4 * width, layers=layers,
        learning_rate=2e-3, warmup=50, epochs=100, epoch_steps=1000,
    )  # fmt: skip
    data = language_model.data(config)
    data.train.ids = data.train.ids[: int(len(data.train.ids) * sizes["data"])]
    data.train.pieces = (len(data.train.ids) - 1) // length - 1
    model = language_model.model(config, data.assets)
    held = [batch for batch, _ in zip(data.valid.epoch(), range(16))]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    spent, steps, curve = 0.0, 0, []
    for epoch in range(config.epochs):
        for inputs, labels in data.train.epoch(epoch):
            begin = time.process_time()
            model.train_on_batch(inputs, labels)
            spent, steps = spent + (time.process_time() - begin) * (steps > 0), steps + 1
            if spent >= (len(curve) + 1) * seconds / checks:
                curve.append([spent, held_loss(model, held)])
            if spent >= seconds:
                grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
                return {"tokens_a_second": (steps - 1) * TOKENS / spent, "megabytes": grown / 1024,
                        "weights": model.count_params(), "curve": curve}  # fmt: skip
    raise AssertionError(f"{config.epochs} epochs took less than {seconds} seconds")


def held_loss(model, batches):
    """The mean loss of batches."""
    model.reset_metrics()
    for batch in batches:
        loss = model.test_on_batch(*batch)  # the mean of all since the reset
    model.reset_metrics()
    return float(loss)


# --- all of them ------------------------------------------------------------------------------------------------------


def child(sizes, seconds):
    """`train` in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.scale", "--one", json.dumps(sizes), "--seconds", str(seconds)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure(axes, seconds, run=child):
    """{axis: [{"size", "tokens_a_second", "megabytes", "seconds_to_quality", "loss", ...}]}, the smallest first."""
    known, found = {}, {}
    for axis in axes:
        found[axis] = []
        for size in AXES[axis][1]:
            sizes = {**BASE, axis: size}
            key = json.dumps(sizes)
            if key not in known:
                known[key] = run(sizes, seconds)
                print(f"{key}: {json.dumps({k: v for k, v in known[key].items() if k != 'curve'})}", file=sys.stderr)
            found[axis].append({"size": size, **known[key]})
        wanted = found[axis][0]["curve"][-1][1]
        for row in found[axis]:
            row["loss"] = row["curve"][-1][1]
            row["seconds_to_quality"] = time_to(wanted, row["curve"])
    return found


def time_to(wanted, curve):
    """The CPU seconds at which a loss was first reached, between two measurements by a straight line; None if never.

    >>> time_to(3.0, [[10.0, 4.0], [20.0, 2.0]])
    15.0
    """
    before = [0.0, math.inf]
    for at, loss in curve:
        if loss <= wanted:
            share = 1.0 if math.isinf(before[1]) or loss == before[1] else (before[1] - wanted) / (before[1] - loss)
            return before[0] + share * (at - before[0])
        before = [at, loss]
    return None


def table(found):
    """The results as Markdown."""
    header = ["axis", "size", "weights", *TITLES.values()]
    lines = []
    for axis, rows in found.items():
        for row in rows:
            numbers = [f"{row[name]:,.0f}" for name in ("weights", "tokens_a_second", "megabytes")]
            quality = "not reached" if row["seconds_to_quality"] is None else row["seconds_to_quality"]
            lines.append([AXES[axis][0], f"{row['size']:g}", *numbers, f"{row['loss']:.3f}", quality])
    return _race.markdown(header, lines)


def plot(found):
    """A column an axis: speed, memory, the last loss, and the time to quality where it was reached."""
    from keras_seq.plots import panels

    fig, axes = panels.grid(len(ROWS) * len(found), len(found), 3.4, 2.0)
    for column, (axis, rows) in enumerate(found.items()):
        sizes = [row["size"] for row in rows]
        for line, name in enumerate(ROWS):
            ax = axes[line * len(found) + column]
            points = [(row["size"], row[name]) for row in rows if row[name] is not None]
            panels.curves(ax, {f"_{name}": tuple(zip(*points))}, TITLES[name], AXES[axis][0], xscale="log")
            ax.set_xlim(sizes[0] / 1.2, sizes[-1] * 1.2)
            ax.set_ylim(0, 1.15 * max(value for _, value in points))
            ax.set_xticks(sizes, [f"{size:g}" for size in sizes])
            ax.minorticks_off()
    return fig


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--axes", nargs="+", choices=AXES, default=list(AXES))
    parser.add_argument("--seconds", type=float, default=120, help="CPU time of each training (default: %(default)s)")
    parser.add_argument("--plot", metavar="FILE", help="write a picture of it, a PNG")
    parser.add_argument("--one", type=json.loads, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    _race.threads(1)
    if args.one:
        print(json.dumps(train(args.one, args.seconds)))
        return 0
    found = measure(args.axes, args.seconds)
    if args.plot:
        from keras_seq import plots

        plots.save(plot(found), args.plot, colors=32)
    print(table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
