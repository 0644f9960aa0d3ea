"""The report on exported files: what each row says, what is wrong with it, and the table that a person reads."""

import pathlib
import time

import numpy as np

EXACT = ("saved_model", "f32")  # these compute what the model computes; int8 is judged by the metric


def judged(model, results, metric_name, tolerance, asked, more_is_better=True):
    """The whole report, JSON-able: whether all files passed and why not, their rows, and how they were made.

    Args:
        results: a dict for each file (and search); the model's own first.
        metric_name: None where nothing was measured.
        tolerance: how much of the metric a quantised file may lose.
        asked: what else stands in the report.
        more_is_better: False where the metric counts what is wrong.
    """
    sign = 1 if more_is_better else -1
    reasons = [reason for row in results for reason in complaints(row, results, tolerance, metric_name, sign)]
    return {
        "passed": not reasons, "reasons": reasons, "metric": metric_name, "tolerance": tolerance, **asked,
        "model": {"class": type(model).__name__, "parameters": weights(model) // 4, "bytes": weights(model)},
        "versions": versions(), "results": results,
    }  # fmt: skip


def complaints(row, results, tolerance, metric_name, sign=1):
    """What is wrong with one result, as sentences; sign is -1 where less of the metric is better."""
    label = describe(row)
    if row["name"] in EXACT and row["agreement"] < 1:
        yield f"{label}: expected the model's output on every item; the same on {row['agreement']:.1%}."
    if row["name"] in EXACT and row.get("sample_agreement", 1) < 1:
        yield f"{label}: expected the same samples of the same noise; the same on {row['sample_agreement']:.1%}."
    if row.get("text_agreement", 1) < 1:
        yield f"{label}: expected `text` to do what the tokenizer does; the same on {row['text_agreement']:.1%}."
    if row["name"] not in EXACT and "metric" in row:
        before, after = compared(row, results)
        if not sign * (before - after) <= tolerance:
            went = f"{'fell' if sign > 0 else 'rose'} from {points(before)} to {points(after)}"
            yield f"{label}: {metric_name} {went}; a loss of {tolerance:g} is allowed."


def compared(row, results):
    """The metric before and after: on all texts against f32 where it was measured there, else against the model."""
    same = {other["name"]: other for other in results if other.get("beams") == row.get("beams")}
    if "metric_all" in row and "f32" in same:
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


def log_softmax(x):
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


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
