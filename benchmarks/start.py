"""How long a person waits before an app answers: help, a wrong argument, `predict` by the model and by the file.

    python -m benchmarks start                                  # a minute; makes a model with random weights
    python -m benchmarks start --folder saved_models/translation

Each row is a process of its own, all in turns. The model is as large as that of `apps.translation`; as its weights are
random, a translation is as long as it may be.
"""

import argparse
import dataclasses
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import _race

ROOT = Path(__file__).parents[1]
ASKED = 0.5  # seconds
TEXT = "Click on the icon to open the file."
APP = "apps.translation"


def commands(folder):
    """{row: (arguments of python, exit code, whether ASKED holds)}."""
    model = ["-m", APP, "predict", TEXT, "--output", str(folder)]
    return {
        "python alone": (["-c", "pass"], 0, False),
        "python -m apps": (["-m", "apps"], 0, True),
        f"python -m {APP} --help": (["-m", APP, "--help"], 0, True),
        "train with a flag that does not exist": (["-m", APP, "train", "--dims", "3"], 2, True),
        "train with a value that is none": (["-m", APP, "train", "--dim", "wide"], 2, True),
        "predict without a model": (["-m", APP, "predict", TEXT, "--output", "/no/such/folder"], 2, True),
        "predict --exported": ([*model, "--exported"], 0, True),
        "predict --exported --beams 1": ([*model, "--exported", "--beams", "1"], 0, True),
        "predict, by the model": (model, 0, False),
    }


def timed(arguments, code):
    """CPU and wall seconds of a process.

    Raises:
        AssertionError: where it ends otherwise than it should.
    """
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    before, begin = os.times(), time.perf_counter()
    done = subprocess.run([sys.executable, *arguments], cwd=ROOT, env=env, capture_output=True, text=True)
    wall, after = time.perf_counter() - begin, os.times()
    assert done.returncode == code, f"{arguments}: expected exit code {code}, got {done.returncode}: {done.stderr}"
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return cpu, wall


def random_export(folder, pieces=4000):
    """What `train` and `export` leave of the default model, but for its weights, which are random."""
    from apps import translation
    from benchmarks import tokenizer
    from keras_seq.app.app import asset_files
    from keras_seq.app.start import start
    from keras_seq.deploy import export_seq2seq
    from keras_seq.training import store

    start()
    from keras_seq.training.checkpoint import WEIGHTS, write_weights

    proto = tokenizer.vocabulary(pieces)
    config, options = translation.Config(vocab_size=pieces), translation.Export()
    assets = {"tokenizer.model": proto, "epoch": {"steps": 1}}
    model = translation.APP.build(config, assets)
    export_seq2seq(
        model, proto, folder, options.source_length, options.max_length, beams=options.beams, length_penalty=1.0,
        formats=("int8",),
    )  # fmt: skip
    names, files = asset_files(assets)
    saved = {"app": "translation", "config": dataclasses.asdict(config), "run": {}, "assets": names}
    for name, content in {**files, "config.json": store.to_json(saved)}.items():
        (folder / name).write_bytes(content)
    write_weights(folder / WEIGHTS, model)


def measure(folder, rounds, rows=None):
    """{row: numbers in seconds}."""
    chosen = {name: found for name, found in commands(folder).items() if rows is None or name in rows}
    samples = {name: [] for name in chosen}
    for _ in range(rounds):
        for name, (arguments, code, _) in chosen.items():
            samples[name].append(timed(arguments, code))
    return {name: _race.summary(found) for name, found in samples.items()}


def table(times, folder):
    """The results as Markdown: seconds."""
    asked = {name: held for name, (_, _, held) in commands(folder).items()}
    rows = []
    for name, t in times.items():
        numbers = [f"{t[key]:.2f}" for key in ("cpu", "cpu_median", "wall", "wall_median")]
        verdict = _race.verdict(t["cpu"], ASKED if asked[name] else None)
        rows.append([f"`{name}`", *numbers, f"{ASKED}" if asked[name] else "", verdict])
    return _race.markdown(["command", "CPU s", "median", "wall s", "median", "asked at most", ""], rows)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="a trained and exported translation model")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args(argv)
    _race.threads(1)
    with tempfile.TemporaryDirectory() as made:
        folder = args.folder or Path(made)
        if not args.folder:
            random_export(folder)
        print(table(measure(folder, args.rounds), folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
