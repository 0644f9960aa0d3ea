"""Does the input pipeline limit training: `fit` with the real batches against `fit` with the same ones from memory.

    python -m benchmarks pipeline                               # every app with its own data; minutes
    python -m benchmarks pipeline --apps translation tagging --steps 30

Both sides compute the same batches, which may differ in size from one to the next, with the model and the settings that
`train` takes by default; the time that memory takes is that of no pipeline at all. Both take turns. Where batches hold
padding, its share of an epoch is told too.
"""

import argparse
import dataclasses
import importlib
import sys
from pathlib import Path

from benchmarks import _race

APPS = sorted(p.stem for p in (Path(__file__).parents[1] / "apps").glob("*.py") if not p.stem.startswith("_"))
SPEED, PADDING = 0.95, 0.10  # asked: at least, at most


def prepared(name, settings=None, mixed_precision=None):
    """An app's model and training data, made as `train` makes them; whether in bfloat16; and the padding's share."""
    from keras_seq.app.app import round_trip
    from keras_seq.app.start import fast_bfloat16, start

    start()
    app = importlib.import_module(f"apps.{name}").APP
    config = dataclasses.replace(app.Config(), **(settings or {}))
    data = app.data(config)
    mixed = fast_bfloat16() if mixed_precision is None else mixed_precision
    return app.build(config, round_trip(data.assets), mixed), data.train, getattr(data.train, "padding", None)


def rivals_of(model, source, steps):
    """{"pipeline", "memory"}: functions of `tick` that take so many steps of `fit`."""
    import keras
    import tensorflow as tf

    from keras_seq.app.train import batches

    options = tf.data.Options()
    options.autotune.enabled = False  # with it an epoch now and then waits at its end for a timer
    real = batches(source, 0)
    kept = real.take(steps).cache().with_options(options)
    for _ in kept:  # fills the cache
        pass

    def rival(dataset):
        def run(tick):
            each = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: tick())
            model.fit(dataset, steps_per_epoch=steps, verbose=0, callbacks=[each], shuffle=False)

        return run

    return {"pipeline": rival(real), "memory": rival(kept.repeat())}


def measure(name, steps=20, rounds=4, settings=None, mixed_precision=None):
    """{"app", "speed" by CPU time, "wall_speed", "ms", "memory_ms", "padding"} of one app: means of all steps."""
    model, source, padding = prepared(name, settings, mixed_precision)
    rivals = rivals_of(model, source, steps)
    _race.race(rivals, 1)  # compiles, and every shape has been seen
    samples = _race.race(rivals, rounds)
    means = {rival: [sum(times) / len(times) for times in zip(*found)] for rival, found in samples.items()}
    (cpu, wall), (memory, memory_wall) = means["pipeline"], means["memory"]
    speeds = {"speed": memory / cpu, "wall_speed": memory_wall / wall}
    return {"app": name, **speeds, "ms": cpu, "memory_ms": memory, "padding": padding}


def row(found):
    """A line of the table."""
    padding = found["padding"]
    share = "" if padding is None else f"{padding:.1%}{'' if padding <= PADDING else ' **missed**'}"
    verdict = "held" if found["speed"] >= SPEED else "**missed**"
    return [found["app"], found["ms"], found["memory_ms"], f"{found['speed']:.2f}", f"{found['wall_speed']:.2f}",
            f"{SPEED}", verdict, share]  # fmt: skip


HEADER = ["app", "CPU ms a step", "from memory", "speed", "by wall time", "asked at least", "", "padding"]


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--apps", nargs="+", choices=APPS, default=APPS)
    parser.add_argument("--steps", type=int, default=20, help="of a turn, the first of which does not count")
    parser.add_argument("--rounds", type=int, default=4)
    args = parser.parse_args(argv)
    _race.threads(1)
    rows = []
    for name in args.apps:
        rows.append(row(measure(name, args.steps, args.rounds)))
        print(_race.markdown(HEADER, rows).splitlines()[-1], file=sys.stderr, flush=True)
    print(_race.markdown(HEADER, rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
