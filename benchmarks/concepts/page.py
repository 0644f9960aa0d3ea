"""Numbers into a page: what stands between <!-- path format --> and <!-- / --> comes from the results."""

import json
import re

import numpy as np

MARKER = re.compile(r"(<!-- ([\w.+-]+)(?: (\S+))? -->)(.*?)(<!-- / -->)", re.DOTALL)


def fill(text, results):
    """The page with every marked number replaced; a result that is not there yet leaves what stands there.

    <!-- softmax.scaled.64 .2f -->0.31<!-- / --> is format(results["softmax"]["scaled"]["64"], ".2f"); a list of rows is
    a table, whose first row is its head; a text is a paragraph. No other marker may begin a line: Markdown would take
    the line for a block of HTML.
    """

    def replace(match):
        head, path, form, old, tail = match.groups()
        value = find(results, path)
        return match[0] if value is None else head + shown(value, form or "") + tail

    return MARKER.sub(replace, text)


def find(results, path):
    """results["a"]["b"] for "a.b"; None where the experiment has not run.

    Raises:
        KeyError: for a path that a result does not have.
    """
    name, *keys = path.split(".")
    value = results.get(name)
    for key in keys if value is not None else ():
        value = value[int(key)] if isinstance(value, list) else value[key]
    return value


def shown(value, form):
    if isinstance(value, (list, str)):
        return "\n\n" + (value if isinstance(value, str) else table(value)) + "\n\n"
    if not form.endswith("e"):
        return format(value, form)
    return format(value, ".2g") if value == 0 or 0.01 <= abs(value) < 1000 else power_of_ten(format(value, form))


def power_of_ten(text):
    """3e-21 as 3 · 10⁻²¹."""
    digits, power = text.split("e")
    raised = str(int(power)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{digits} · 10{raised}"


def table(rows):
    """A Markdown table; numbers stand to the right."""
    head, *body = [[str(cell) for cell in row] for row in rows]
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def rounded(value):
    """Numbers to four digits, so that the stored results stay small and readable."""
    if isinstance(value, dict):
        return {str(key): rounded(each) for key, each in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [rounded(each) for each in value]
    if isinstance(value, (float, np.floating)):
        return float(f"{value:.4g}")
    return int(value) if isinstance(value, np.integer) else value


def dump(results):
    """JSON with an experiment's curves on one line each."""
    text = json.dumps(results, indent=1, ensure_ascii=False)
    return re.sub(r"\[[^\[\]{}]*\]", lambda match: re.sub(r"\s+", " ", match[0]), text) + "\n"
