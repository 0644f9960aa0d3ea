"""Each exported file against the trained model, on the same sentences: agreement, the task's metric, size and speed."""

import pathlib
import time

import numpy as np

from keras_seq.deploy.runners import BOS, PAD, LiteRTRunner, SavedModelRunner, pad_sources

EXACT = ("saved_model", "f32")  # these compute what the model computes; int8 is judged by the metric
BATCH = 25


def parity_report(
    model, paths, tokenizer_proto, texts, source_length=64, max_length=64, beams=1, length_penalty=0.6,
    metric=None, metric_name="metric", tolerance=0.3, sentences=100, timed=8,
):  # fmt: skip
    """Compares every file with the model.

    The SavedModel's text and the tokens of f32 have to be the model's on each of the first `sentences` texts; int8 may
    lose `tolerance` of the metric (without a metric it is only reported). On a hundred sentences a metric moves by as
    much as that through chance alone, so where there are more texts, int8 is judged against f32 on all of them.

    Args:
        model: the trained model.
        paths: {"saved_model": path, "f32": path, "int8": path} or some of them.
        tokenizer_proto: bytes of the sentencepiece model.
        texts: source sentences; a thousand or more make a sound judgement of int8.
        source_length, max_length, beams, length_penalty: as they were exported.
        metric: function of a list of hypotheses, for the first so many of `texts`, that returns a number; more is
            better.
        metric_name: its name in the report.
        tolerance: how much of the metric int8 may lose.
        sentences: how many of the texts all files and the model are compared on.
        timed: sentences on which speed is measured, one at a time, best of several runs.

    Returns:
        JSON-able dict: "passed", "reasons", "model", "results" (a dict for each file and search), and what was asked.
        In a result, `agreement` is the share of sentences with the same output, `load_ms` the time from opening the
        file to its first result, `ms_per_token` that of one thread for LiteRT, of TensorFlow's default for the others.
    """
    import sentencepiece

    tokenizer = sentencepiece.SentencePieceProcessor(model_proto=tokenizer_proto)
    sources = pad_sources(tokenizer.encode(list(texts)), source_length)
    searches = sorted({1, beams})
    options = {"max_length": max_length, "length_penalty": length_penalty}
    expected = {k: reference(model, sources[:sentences], beams=k, **options) for k in searches}
    judge = Judge(tokenizer, texts, sources, expected, metric, timed)
    weights = 4 * sum(int(np.prod(weight.shape)) for weight in model.weights)
    results = [judge.model(model, k, options) for k in searches]
    for name, path in paths.items():
        rows = judge.saved_model(path, beams) if name == "saved_model" else judge.litert(model, path, beams)
        results += [{"name": name, **sized(path, weights), **row} for row in rows]
    reasons = [reason for row in results for reason in complaints(row, results, tolerance, metric_name)]
    return {
        "passed": not reasons, "reasons": reasons, "sentences": len(judge.texts), "all_sentences": len(texts),
        "metric": metric_name if metric else None, "tolerance": tolerance,
        "source_length": source_length, "max_length": max_length, "beams": beams,
        "model": {"class": type(model).__name__, "parameters": weights // 4, "bytes": weights},
        "versions": versions(), "results": results,
    }  # fmt: skip


class Judge:
    """Holds what all files are compared with, and measures one at a time."""

    def __init__(self, tokenizer, texts, sources, expected, metric, timed):
        count = len(expected[1])
        self.tokenizer, self.texts, self.expected = tokenizer, list(texts[:count]), expected
        self.sources, self.rest = sources[:count], sources[count:]
        self.metric, self.timed = metric, timed

    def model(self, model, beams, options):
        """The trained model itself: the row that the others are compared with."""
        from keras_seq.decoding import generate

        tokens = self.expected[beams]

        def call(i):
            return np.array(generate(model, {"source": self.sources[i : i + 1]}, beams=beams, **options)[0])

        call(0)  # compile
        return {"name": "keras", **self.compare(tokens, beams), "ms_per_token": self.speed(call, tokens)}

    def saved_model(self, path, beams):
        """One row: text in and text out. The metric is that of its own text."""
        runner, load_ms = ready(lambda: SavedModelRunner(path), lambda runner: runner(self.texts[:1]), times=1)
        found, tokens = runner(self.texts), self.expected[beams]
        same = [a == b for a, b in zip(found, self.decode(tokens))]
        row = {"beams": beams, "agreement": float(np.mean(same)), **self.score(found), "load_ms": load_ms}
        return [{**row, "ms_per_token": self.speed(lambda i: runner(self.texts[i : i + 1]), tokens)}]

    def litert(self, model, path, beams):
        """A row for each search in the file; the first also says how far the logits are from the model's."""
        first = self.sources[:1]
        runner, load_ms = ready(lambda: LiteRTRunner(path), lambda runner: runner.generate(first))
        rows = []
        for signature, k in (("generate", 1), ("generate_beam", beams)):
            if signature not in runner.signatures:
                continue
            tokens = runner.generate(self.sources, signature)
            ms = self.speed(lambda i: runner.generate(self.sources[i : i + 1], signature), tokens)  # noqa: B023
            rows.append({**self.compare(tokens, k), **self.widely(runner, signature, tokens)})
            rows[-1] |= {"load_ms": load_ms, "ms_per_token": ms}
        rows[0] |= drift(model, runner, self.sources[:4], self.expected[1][:4])
        return rows

    def compare(self, tokens, beams):
        """Agreement with the model's tokens, and the metric."""
        same = (tokens == self.expected[beams]).all(axis=1)
        return {"beams": beams, "agreement": float(same.mean()), **self.score(self.decode(tokens))}

    def widely(self, runner, signature, tokens):
        """The metric on all texts, where there are more than the model itself was asked for."""
        if self.metric is None or not len(self.rest):
            return {}
        tokens = np.concatenate([tokens, runner.generate(self.rest, signature)])
        return {"metric_all": float(self.metric(self.decode(tokens)))}

    def score(self, hypotheses):
        return {"metric": float(self.metric(hypotheses))} if self.metric else {}

    def decode(self, tokens):
        return self.tokenizer.decode(tokens.tolist())  # EOS and PAD are no text

    def speed(self, call, tokens, repeats=5):
        """Milliseconds a token: the best of some runs of each timed sentence, EOS counted, the encoder included."""
        rows = range(min(self.timed, len(self.texts)))
        best = [min(clock(lambda: call(i)) for _ in range(repeats)) for i in rows]  # noqa: B023
        return 1e3 * sum(best) / max(1, int(sum((tokens[i] != PAD).sum() for i in rows)))


def reference(model, sources, **options):
    """The model's own tokens (n, T)."""
    from keras_seq.decoding import generate

    count = -len(sources) % BATCH  # every batch of one shape: compiled once
    rows = np.concatenate([sources, np.repeat(sources[-1:], count, axis=0)])
    parts = [generate(model, {"source": rows[i : i + BATCH]}, **options)[0] for i in range(0, len(rows), BATCH)]
    return np.concatenate([np.array(part)[:, 0] for part in parts])[: len(sources)]


def drift(model, runner, sources, tokens):
    """The file's logits next to the model's, given the same target: largest difference, mean KL, same best token."""
    differences, divergences, same = [], [], []
    for source, row in zip(sources, tokens):
        length = max(1, int((row != PAD).sum()))
        target = np.concatenate([[BOS], row[:-1]]).astype("int32")  # (T,), of one shape for all
        ours = np.array(model({"source": source[None], "target": target[None]}, training=False))[0, :length]
        ours, theirs = ours.astype("float64"), runner.logits(source, target[:length]).astype("float64")
        p, q = log_softmax(ours), log_softmax(theirs)
        differences.append(np.abs(ours - theirs).max())
        divergences.append((np.exp(p) * (p - q)).sum(-1).mean())
        same.append((ours.argmax(-1) == theirs.argmax(-1)).mean())
    means = {"mean_kl": float(np.mean(divergences)), "same_best_token": float(np.mean(same))}
    return {"max_logit_difference": float(max(differences)), **means}


def log_softmax(x):
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def complaints(row, results, tolerance, metric_name):
    """What is wrong with one result, as sentences."""
    label = describe(row)
    if row["name"] in EXACT and row["agreement"] < 1:
        yield f"{label}: expected the model's output on every sentence; the same on {row['agreement']:.1%}."
    if row["name"] not in EXACT and "metric" in row:
        before, after = compared(row, results)
        if not before - after <= tolerance:
            yield f"{label}: {metric_name} fell from {before:.2f} to {after:.2f}; a loss of {tolerance:g} is allowed."


def compared(row, results):
    """The metric before and after: on all texts against f32 where it was measured there, else against the model."""
    same = {other["name"]: other for other in results if other["beams"] == row["beams"]}
    if "metric_all" in row and "f32" in same:
        return same["f32"]["metric_all"], row["metric_all"]
    return same["keras"]["metric"], row["metric"]


def format_report(report):
    """The report as a Markdown table, with the reasons below it where it did not pass."""
    name = report["metric"] or "metric"
    columns = {
        "same output": lambda r: f"{r['agreement']:.1%}",
        name: lambda r: f"{r['metric']:.2f}",
        f"{name} on {report['all_sentences']}": lambda r: f"{r['metric_all']:.2f}",
        "MB": lambda r: f"{r['bytes'] / 1e6:.2f}",
        "of f32 weights": lambda r: f"{r['ratio']:.3f}",
        "ready in ms": lambda r: f"{r['load_ms']:.0f}",
        "ms a token": lambda r: f"{r['ms_per_token']:.3f}",
        "max logit difference": lambda r: f"{r['max_logit_difference']:.1e}",
    }
    lines = ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for row in report["results"]:
        lines.append("| " + " | ".join([describe(row), *(cell(show, row) for show in columns.values())]) + " |")
    verdict = "All files agree with the model" if report["passed"] else "The files do not agree with the model"
    lines += ["", f"{verdict} on {report['sentences']} sentences.", *(f"- {reason}" for reason in report["reasons"])]
    return "\n".join(lines)


def describe(row):
    """A result's name and search in words."""
    return f"{row['name']}, {'greedy' if row['beams'] == 1 else 'beam ' + str(row['beams'])}"


def cell(show, row):
    try:
        return show(row)
    except KeyError:  # not measured for this row
        return ""


def ready(load, first, times=3):
    """What `load` returns, and the best of some times from there to the first result, in milliseconds."""
    best, runner = float("inf"), None
    for _ in range(times):
        begin = time.perf_counter()
        runner = load()
        first(runner)
        best = min(best, time.perf_counter() - begin)
    return runner, 1e3 * best


def clock(call):
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def sized(path, weights):
    """Bytes of a file, or of all files in a folder, and their ratio to the weights in float32."""
    path = pathlib.Path(path)
    files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
    size = sum(file.stat().st_size for file in files)
    return {"bytes": size, "ratio": size / weights}


def versions():
    """The versions of what made and ran the files."""
    import importlib.metadata as metadata

    return {name: metadata.version(name) for name in ("keras", "tensorflow", "ai-edge-litert", "numpy")}
