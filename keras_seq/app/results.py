"""Where what `predict` leaves in a folder lies."""

import itertools
import re
from pathlib import Path

UNSAFE = r'[<>:"/\\|?*\x00-\x1f]'  # in the name of a file, on one system or another
taken = {}  # by which source of this process: `predict` is handed few sources at once


def result_path(folder, source, suffix):
    """The file for a result of a source, which is a path or a name such as `traffic:2018-07-04`.

    It is never the source itself, and the second of two sources with one name gets a number.

    Args:
        folder: Where the result goes.
        source: What it is made from.
        suffix: What follows the name of the source. Say more than its ending where sources end so too, as in
            `_forecast.csv`: else a result may stand where a source is that is yet to be read.

    Example:
        >>> [result_path("heard", name, ".png").name for name in ("a/x.wav", "b/x.wav", "a/x.wav", "prompts:en/yes")]
        ['x.png', 'x_2.png', 'x.png', 'yes.png']
    """
    own, (more, _, ending) = Path(source).absolute(), suffix.rpartition(".")
    _, colon, name = str(source).partition(":")
    name = re.sub(UNSAFE, "_", Path(name if colon else source).stem) + more
    for number in itertools.count(1):
        path = Path(folder) / f"{name}{f'_{number}' * (number > 1)}.{ending}"
        itself = own.exists() and path.exists() and own.samefile(path)
        if not itself and taken.setdefault(str(path.absolute()).casefold(), own) == own:
            return path
