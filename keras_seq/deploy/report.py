"""The report on exported files: what each row says, what is wrong with it, and the table that a person reads."""

import dataclasses
import pathlib
import time

import numpy as np

from keras_seq.deploy.limits import Limits, form

EXACT = ("saved_model", "f32")  # these compute what the model computes; the others are judged by the metric
OTHER = "max_difference_"  # begins what says how far an output or a signature beside the main one is from the model's


def judged(model, results, metric_name, tolerance, asked, more_is_better=True):
    """The whole report, JSON-able: whether all files passed and why not, their rows, and how they were made.

    Args:
        results: a dict for each file (and search); the model's own first.
        metric_name: None where nothing was measured.
        tolerance: how much of the metric a quantised file may lose, or `Limits`.
        asked: what else stands in the report.
        more_is_better: False where the metric counts what is wrong.
    """
    limits, sign = Limits.of(tolerance), 1 if more_is_better else -1
    reasons = [reason for row in results for reason in complaints(row, results, limits, metric_name, sign)]
    return {
        "passed": not reasons, "reasons": reasons, "metric": metric_name, "limits": dataclasses.asdict(limits), **asked,
        "model": {"class": type(model).__name__, "parameters": weights(model) // 4, "bytes": weights(model)},
        "versions": versions(), "results": results,
    }  # fmt: skip


def complaints(row, results, limits, metric_name, sign=1):
    """What is wrong with one result, as sentences; sign is -1 where less of the metric is better."""
    label, exact = describe(row), form(row["name"]) in EXACT
    if exact and row["agreement"] < limits.agreement:
        wanted = "every item" if limits.agreement == 1 else f"{limits.agreement:.1%} of the items"
        yield f"{label}: expected the model's output on {wanted}; the same on {row['agreement']:.1%}."
    if exact and row.get("sample_agreement", 1) < limits.samples:
        wanted = f"samples of the same noise on {limits.samples:.1%} of the items"
        yield f"{label}: expected the model's {wanted}; the same on {row['sample_agreement']:.1%}."
    if row.get("text_agreement", 1) < 1:
        yield f"{label}: expected `text` to do what the tokenizer does; the same on {row['text_agreement']:.1%}."
    if row["name"] == "keras":
        return
    kl, loss = limits.divergence(row["name"]), limits.loss(row["name"])
    if not row.get("mean_kl", 0) <= kl:
        yield f"{label}: expected a mean KL of at most {kl:g} from the model; got {row['mean_kl']:.2g}."
    if exact:
        for name, far in row.items():
            if name.startswith(OTHER) and not far <= limits.difference:
                what = f"`{name.removeprefix(OTHER)}`, to {limits.difference:g}"
                yield f"{label}: expected the model's {what}; got a difference of {far:.2g}."
    elif "metric" in row:
        before, after = compared(row, results)
        if not sign * (before - after) <= loss:
            went = f"{'fell' if sign > 0 else 'rose'} from {points(before)} to {points(after)}"
            yield f"{label}: {metric_name} {went}; a loss of {loss:g} is allowed."


def compared(row, results):
    """The metric before and after: on all texts against f32 where it was measured there, else against the model."""
    same = {other["name"]: other for other in results if other.get("beams") == row.get("beams")}
    if "metric_all" in row and "metric_all" in same.get("f32", {}):
        return same["f32"]["metric_all"], row["metric_all"]
    return same["keras"]["metric"], row["metric"]


def format_report(report):
    """The report as a Markdown table, with the reasons below it where it did not pass."""
    name, count = report["metric"] or "metric", report.get("all_sentences")
    columns = {
        "same output": lambda r: f"{r['agreement']:.1%}",
        "same samples": lambda r: f"{r['sample_agreement']:.1%}",
        "same from bytes": lambda r: f"{r['text_agreement']:.1%}",
        name: lambda r: points(r["metric"]),
        f"{name} on {count}": lambda r: points(r["metric_all"]),
        "MB": lambda r: f"{r['bytes'] / 1e6:.2f}",
        "of f32 weights": lambda r: f"{r['ratio']:.3f}",
        "ready in ms": lambda r: f"{r['load_ms']:.0f}",
        "ms a token": lambda r: f"{r['ms_per_token']:.3f}",
        "ms an item": lambda r: f"{r['ms_per_item']:.3f}",
        "max logit difference": lambda r: f"{r['max_logit_difference']:.1e}",
        "max difference": lambda r: f"{r['max_difference']:.1e}",
        "mean KL": lambda r: f"{r['mean_kl']:.1e}",
    }
    cells = {title: [cell(show, row) for row in report["results"]] for title, show in columns.items()}
    table = {"": [describe(row) for row in report["results"]], **{t: c for t, c in cells.items() if any(c)}}
    lines = [f"| {' | '.join(line)} |" for line in (table, *zip(*table.values()))]
    lines.insert(1, "|---" * len(table) + "|")
    verdict = "All files agree with the model" if report["passed"] else "The files do not agree with the model"
    lines += ["", f"{verdict} on {report['sentences']} {report.get('unit', 'sentences')}."]
    return "\n".join([*lines, *(f"- {reason}" for reason in report["reasons"])])


def points(metric):
    """A metric with two decimals, a small one with four."""
    return f"{metric:.2f}" if abs(metric) >= 10 else f"{metric:.4f}"


def outcome(report):
    """A report as an app's `export` returns it: with `ok`, `text` for the terminal and `page` for report.md."""
    return {"ok": report["passed"], "text": format_report(report), "page": page(report), **report}


COLUMNS = {
    "same output": "share of the items on which a file gives what the model gives",
    "same from bytes": "share of the texts on which the tokenizer in the file leads to the same",
    "of f32 weights": "size next to the model's weights in float32",
    "ready in ms": "from opening the file to its first result, the best of a few times",
    "ms a token": "one thread, one item at a time, encoder and end of text included, the best of a few times",
    "ms an item": "one thread, one item at a time, the best of a few times",
    "mean KL": "how far the distributions are from the model's, in nats, given the same text before",
}


def page(report):
    """The report as a Markdown page: `format_report`, what was allowed, what the columns say, and what was used."""
    table, limits, model = format_report(report), report["limits"], report["model"]
    columns = [f"- {title}: {meaning}" for title, meaning in COLUMNS.items() if f"| {title} |" in table]
    allowed = [
        f"- the SavedModel and f32 give the model's output on at least {limits['agreement']:.1%} of the items",
        f"- f32, f16 and int8 have a mean KL of at most {limits['kl']:g}, int4 of {limits['kl_int4']:g}",
    ]
    if report["metric"]:
        loss = f"lose at most {limits['tolerance']:g} points of {report['metric']}, int4 {limits['tolerance_int4']:g}"
        allowed.insert(1, f"- f16 and int8 {loss}")
    if "| same samples |" in table:
        allowed.insert(1, f"- they draw the model's sample on at least {limits['samples']:.1%} of the items")
    made = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    size = f"{model['parameters']:,} parameters, {model['bytes'] / 1e6:.1f} MB in float32"
    used = f"{model['class']}: {size}. Made with {made}."
    parts = ["# Exported files", table, "## What was allowed", "\n".join(allowed), "## What the columns say"]
    return "\n\n".join([*parts, "\n".join(columns), used])


def describe(row):
    """A result's name, and its search where it has one, in words."""
    if "beams" not in row:
        return row["name"]
    return f"{row['name']}, {'greedy' if row['beams'] == 1 else 'beam ' + str(row['beams'])}"


def cell(show, row):
    try:
        return show(row)
    except KeyError:  # not measured for this row
        return ""


def difference(a, b):
    """The largest difference of two arrays.

    Raises:
        ValueError: where they have not the same shape.
    """
    if np.shape(a) != np.shape(b):
        raise ValueError(f"Expected outputs of the model's shape {np.shape(a)} from a file; got {np.shape(b)}.")
    return float(np.abs(np.asarray(a, "float64") - np.asarray(b, "float64")).max(initial=0))


def log_softmax(logits):
    """In float64: the divergence of two that are nearly the same is below what float32 can tell."""
    from scipy import special

    return special.log_softmax(np.asarray(logits, "float64"), axis=-1)


def mean_kl(log_p, log_q):
    """The mean divergence of distributions along the last axis, given their logarithms."""
    return float((np.exp(log_p) * (log_p - log_q)).sum(-1).mean())


def ready(load, first, times=3):
    """What `load` returns, and the best of some times from there to the first result, in milliseconds."""
    best, runner = float("inf"), None
    for _ in range(times):
        begin = time.perf_counter()
        runner = load()
        first(runner)
        best = min(best, time.perf_counter() - begin)
    return runner, 1e3 * best


def clock(call, times=5):
    """Seconds that a call takes: the best of some."""
    best = float("inf")
    for _ in range(times):
        begin = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - begin)
    return best


def weights(model):
    """Bytes of a model's weights in float32."""
    return 4 * sum(int(np.prod(weight.shape)) for weight in model.weights)


def sized(path, model):
    """Bytes of a file, or of all files in a folder, and their ratio to the model's weights in float32."""
    path = pathlib.Path(path)
    files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
    size = sum(file.stat().st_size for file in files)
    return {"bytes": size, "ratio": size / weights(model)}


def versions():
    """The versions of what made and ran the files."""
    import importlib.metadata as metadata

    return {name: metadata.version(name) for name in ("keras", "tensorflow", "ai-edge-litert", "numpy")}
