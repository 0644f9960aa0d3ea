"""What a masked language model is worth where labels are few: from scratch and from its encoder, on the same examples.

    python -m apps.masked_lm train
    python -m benchmarks.few_labels                                       # 500 examples, five seeds, two apps
    python -m benchmarks.few_labels --pretrained saved_models/masked_lm --examples 200 --seeds 3 --apps tagging

Every run of a seed has the same labelled examples to train and to validate on, and the whole test split. Three models:
the one of the app's defaults from scratch, the encoder's family and sizes from scratch, and the same begun with the
encoder. The learning rate of each is the best of some on the validation examples of the first seed.
"""

import argparse
import contextlib
import io
import json
import pathlib
import sys
import tempfile

import numpy as np

from keras_seq.app.cli import as_option
from keras_seq.app.pretrained import SIZES

APPS = {  # what is measured of each, and where it stands in metrics.json
    "tagging": ("accuracy of Brown's coarse tags", lambda test: test["by"]["this model"]["accuracy"]),
    "sentiment": ("accuracy of film reviews", lambda test: test["accuracy"]),
}
SCORE = {"tagging": "val_score", "sentiment": "val_accuracy"}
FLAGS = ["--batch", "16", "--warmup", "50", "--epochs", "12", "--patience", "0", "--no-mixed-precision"]
OWN = {"tagging": [], "sentiment": ["--members", "1", "--buckets", "0"]}


def conditions(pretrained):
    """{what is compared: its flags}."""
    config = json.loads((pathlib.Path(pretrained) / "config.json").read_text(encoding="utf-8"))["config"]
    sizes = [part for name in SIZES[config["model"]] for part in (as_option(name), str(config[name]))]
    return {"default": [], "same sizes": sizes, "pretrained": [*sizes, "--pretrained", str(pretrained)]}


def run(app, flags):
    """The metrics of one training."""
    import importlib

    recipe = importlib.import_module(f"apps.{app}").APP
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()) as printed:
        if recipe.run(["train", *FLAGS, *OWN[app], *flags, "--output", folder]):
            raise SystemExit(printed.getvalue())
        return json.loads((pathlib.Path(folder) / "metrics.json").read_text(encoding="utf-8"))


def best_rate(app, flags, rates):
    """The learning rate with the best validation score at its kept epoch, and its metrics."""
    found = {rate: run(app, [*flags, "--learning-rate", rate, "--seed", "0"]) for rate in rates}

    def score(rate):
        return found[rate]["history"][SCORE[app]][found[rate]["training"]["best_epoch"] - 1]

    best = max(found, key=score)
    return best, found[best]


def compared(app, pretrained, examples, seeds, rates):
    """Rows (condition, learning rate, scores by seed, CPU minutes)."""
    for name, flags in conditions(pretrained).items():
        flags = [*flags, "--examples", str(examples)]
        rate, first = best_rate(app, flags, rates)
        runs = [first, *(run(app, [*flags, "--learning-rate", rate, "--seed", str(s)]) for s in range(1, seeds))]
        scores = [APPS[app][1](metrics["test"]) for metrics in runs]
        yield name, rate, scores, float(np.mean([metrics["training"]["cpu_minutes"] for metrics in runs]))


def line(name, rate, scores, minutes):
    each = " ".join(f"{score:6.2f}" for score in scores)
    return f"{name:12}{rate:>8}{np.mean(scores):10.2f} ± {np.std(scores):4.2f}   {each}   {minutes:.2f}"


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pretrained", default="saved_models/masked_lm", metavar="DIR", help="default: %(default)s")
    parser.add_argument("--examples", type=int, default=500, help="labelled ones (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--rates", default="0.0005,0.001,0.003", help="to choose from (default: %(default)s)")
    parser.add_argument("--apps", default=",".join(APPS), help="default: %(default)s")
    args = parser.parse_args(argv)
    for app in args.apps.split(","):
        print(f"{app}: {APPS[app][0]}, {args.examples} examples\n"
              f"{'':12}{'rate':>8}{'mean':>10} {'':6}   by seed, CPU minutes a run", flush=True)
        for row in compared(app, args.pretrained, args.examples, args.seeds, args.rates.split(",")):
            print(line(*row), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
