"""Where what `predict` leaves in a folder lies."""

import itertools
import re
from pathlib import Path

UNSAFE = r'[<>:"/\\|?*\x00-\x1f]'  # in the name of a file, on one system or another


def result_paths(folder, sources, suffix):
    """A file in `folder` for a result of each source, which is a path or a name such as `traffic:2018-07-04`.

    None is a source itself, and the second of two sources with one name gets a number.

    Args:
        folder: Where the results go.
        sources: What they are made from.
        suffix: What follows the name of a source. Say more than its ending where sources end so too, as in
            `_forecast.csv`: else a result may stand where a source is that a later call reads.

    Example:
        >>> [path.name for path in result_paths("heard", ["a/x.wav", "b/x.wav", "prompts:en/yes"], ".png")]
        ['x.png', 'x_2.png', 'yes.png']
    """
    paths, taken = [], {place(source) for source in sources}
    more, _, ending = suffix.rpartition(".")
    for source in sources:
        numbers = itertools.chain([""], (f"_{number}" for number in itertools.count(2)))
        tries = (Path(folder) / f"{name_of(source)}{more}{number}.{ending}" for number in numbers)
        paths.append(next(path for path in tries if place(path) not in taken))
        taken.add(place(paths[-1]))
    return paths


def place(path):
    """What is the same for two paths to one file, also where the case of letters makes no difference."""
    return str(Path(path).resolve()).casefold()


def name_of(source):
    """The name of a source without its folder and its ending."""
    _, colon, name = str(source).partition(":")
    return re.sub(UNSAFE, "_", Path(name if colon else source).stem)
