"""The experiments of docs/concepts.md: python -m benchmarks.concepts [--draw] [name ...].

Each one is run, its results go to docs/concepts.json, its picture to docs/images/, and its numbers into the page,
between markers. `--draw` draws the pictures and fills the page from the results that are there. About five minutes
on one thread, most of them for the experiment `cost`.
"""

import argparse
import importlib
import json
import os
from pathlib import Path

from benchmarks.concepts import page

DOCS = Path(__file__).parents[2] / "docs"
EXPERIMENTS = {
    "gradient": "recurrence", "memory": "memory", "softmax": "softmax", "waves": "waves", "rotation": "rotation",
    "future": "future", "cheating": "cheating", "length": "length", "feed_forward": "feed_forward",
    "bottleneck": "bottleneck", "cost": "cost",
}  # fmt: skip


def main():
    parser = argparse.ArgumentParser(prog="python -m benchmarks.concepts", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"experiments out of {', '.join(EXPERIMENTS)}; all when left out")
    parser.add_argument("--draw", action="store_true", help="run nothing; pictures and page from the stored results")
    parser.add_argument("--bottleneck", type=Path, help='a JSON file with BLEU by length: {"additive": {"1-5": 40.1}}')
    parser.add_argument("--docs", type=Path, default=DOCS, help="folder of the page (default: docs)")
    args = parser.parse_args()
    if set(args.names) - set(EXPERIMENTS):
        parser.error(f"expected names out of {', '.join(EXPERIMENTS)}; got {' '.join(args.names)}")
    os.environ.update(OMP_NUM_THREADS="1", TF_NUM_INTRAOP_THREADS="1", TF_NUM_INTEROP_THREADS="1")

    store = args.docs / "concepts.json"
    results = json.loads(store.read_text(encoding="utf-8")) if store.exists() else {}
    if args.bottleneck:
        from benchmarks.concepts import bottleneck

        results["bottleneck"] = bottleneck.read(args.bottleneck)
    for name in args.names or EXPERIMENTS:
        work(name, results, args.docs, args.draw)
        store.write_text(page.dump(results), encoding="utf-8")
    text = args.docs / "concepts.md"
    text.write_text(page.fill(text.read_text(encoding="utf-8"), results), encoding="utf-8")


def work(name, results, docs, draw_only):
    """One experiment: its results, and its picture if it has one."""
    from keras_seq.plots.style import save

    module = importlib.import_module(f"benchmarks.concepts.{EXPERIMENTS[name]}")
    if hasattr(module, "run") and not draw_only:
        import keras

        keras.utils.set_random_seed(7)
        results[name] = page.rounded(module.run())
        print(name, "done", flush=True)
    if hasattr(module, "draw") and name in results:
        save(module.draw(results[name]), docs / "images" / f"{name}.png", colors=200)


if __name__ == "__main__":
    main()
