"""Exported files of a model that writes text against the model itself, on the same inputs."""

import functools

import numpy as np

from keras_seq.deploy import report
from keras_seq.deploy.report import OTHER, clock, difference, log_softmax, mean_kl, ready, sized
from keras_seq.deploy.runners import BOS, PAD, LiteRTRunner, SavedModelRunner, pad_sources, stack

BATCH = 25
TEXT = {"generate": "text", "generate_beam": "text_beam"}  # the same with the tokenizer in the graph


def parity_report(
    model, paths, tokenizer_proto, items, source_length=64, max_length=64, beams=1, length_penalty=0.6,
    metric=None, metric_name="metric", tolerance=0.3, sentences=100, timed=8,
):  # fmt: skip
    """Compares every file with the model.

    The SavedModel's text and the tokens of f32 have to be the model's on each of the first `sentences` items; int8 may
    lose `tolerance` of the metric (without a metric it is only reported). On a hundred sentences a metric moves by as
    much as that through chance alone, so where there are more items, int8 is judged against f32 on all of them.

    Args:
        model: the trained model.
        paths: {"saved_model": path, "f32": path, "int8": path} or some of them.
        tokenizer_proto: bytes of the sentencepiece model.
        items: source sentences, or {name: array} each where the model reads something else; a thousand or more make a
            sound judgement of int8.
        source_length, max_length, beams, length_penalty: as they were exported.
        metric: function of a list of hypotheses, for the first so many of `items`, that returns a number; more is
            better.
        metric_name: its name in the report.
        tolerance: how much of the metric int8 may lose.
        sentences: how many of the items all files and the model are compared on.
        timed: items on which speed is measured, one at a time, best of several runs.

    Returns:
        JSON-able dict: "passed", "reasons", "model", "results" (a dict for each file and search), and what was asked.
        In a result, `agreement` is the share of items with the same output, `load_ms` the time from opening the
        file to its first result, `ms_per_token` that of one thread for LiteRT, of TensorFlow's default for the others.
    """
    import sentencepiece

    tokenizer, items = sentencepiece.SentencePieceProcessor(model_proto=tokenizer_proto), list(items)
    rows = rows_of(items, tokenizer, source_length)
    searches = sorted({1, beams})
    options = {"max_length": max_length, "length_penalty": length_penalty}
    expected = {k: reference(model, rows[:sentences], beams=k, **options) for k in searches}
    judge = Judge(tokenizer, items, rows, expected, metric, timed)
    results = [judge.model(model, k, options) for k in searches]
    for name, path in paths.items():
        found = judge.saved_model(model, path, beams) if name == "saved_model" else judge.litert(model, path, beams)
        results += [{"name": name, **sized(path, model), **row} for row in found]
    asked = {
        "sentences": len(judge.items), "all_sentences": len(items), "max_length": max_length, "beams": beams,
        **({"unit": "items"} if rows is items else {"unit": "sentences", "source_length": source_length}),
    }  # fmt: skip
    return report.judged(model, results, metric and metric_name, tolerance, asked)


def rows_of(items, tokenizer, source_length):
    """Texts as {"source": (S,)} each; other items as they are."""
    if items and isinstance(items[0], dict):
        return items
    return [{"source": row} for row in pad_sources(tokenizer.encode(items), source_length)]


class Judge:
    """Holds what all files are compared with, and measures one at a time."""

    def __init__(self, tokenizer, items, rows, expected, metric, timed):
        count = len(expected[1])
        self.tokenizer, self.items, self.expected = tokenizer, items[:count], expected
        self.rows, self.rest = rows[:count], rows[count:]
        self.followed = self.rows[:4], expected[1][:4]
        self.metric, self.timed = metric, timed

    def model(self, model, beams, options):
        """The trained model itself: the row that the others are compared with."""
        from keras_seq.decoding import generate

        tokens = self.expected[beams]

        def call(i):
            return np.array(generate(model, stack(self.rows[i : i + 1]), beams=beams, **options)[0])

        call(0)  # compile
        return {"name": "keras", **self.compare(tokens, beams), "ms_per_token": self.speed(call, tokens)}

    def saved_model(self, model, path, beams):
        """One row: item in and text out. The metric is that of its own text."""
        runner, load_ms = ready(lambda: SavedModelRunner(path), lambda runner: runner(self.items[:1]), times=1)
        found, tokens = runner(self.items), self.expected[beams]
        same = [a == b for a, b in zip(found, self.decode(tokens))]
        row = {"beams": beams, "agreement": float(np.mean(same)), **self.score(found)}
        speed = self.speed(lambda i: runner(self.items[i : i + 1]), tokens)
        return [{**row, **drift(model, runner, *self.followed), "load_ms": load_ms, "ms_per_token": speed}]

    def litert(self, model, path, beams):
        """A row for each search in the file; the first also says how far the logits are from the model's."""
        first = self.rows[:1]
        runner, load_ms = ready(lambda: LiteRTRunner(path), lambda runner: runner.generate(first))
        rows = []
        for signature, k in zip(TEXT, (1, beams)):
            if signature not in runner.signatures:
                continue
            tokens = runner.generate(self.rows, signature)
            ms = self.speed(lambda i: runner.generate(self.rows[i : i + 1], signature), tokens)  # noqa: B023
            rows.append({**self.compare(tokens, k), **self.widely(runner, signature, tokens)})
            rows[-1] |= {**self.text(runner, TEXT[signature], tokens), "load_ms": load_ms, "ms_per_token": ms}
        rows[0] |= drift(model, runner, *self.followed) | looks(model, runner, *self.followed)
        return rows

    def compare(self, tokens, beams):
        """Agreement with the model's tokens, and the metric."""
        same = (tokens == self.expected[beams]).all(axis=1)
        return {"beams": beams, "agreement": float(same.mean()), **self.score(self.decode(tokens))}

    def text(self, runner, signature, tokens):
        """On how many items the tokenizer in the graph leads to the same text."""
        if signature not in runner.signatures:
            return {}
        pairs = zip(runner.text(self.items, signature), self.decode(tokens), strict=True)
        return {"text_agreement": float(np.mean([a == b for a, b in pairs]))}

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
        rows = range(min(self.timed, len(self.items)))
        best = [clock(functools.partial(call, i), repeats) for i in rows]
        return 1e3 * sum(best) / max(1, int(sum((tokens[i] != PAD).sum() for i in rows)))


def reference(model, rows, **options):
    """The model's own tokens (n, T)."""
    from keras_seq.decoding import generate

    full = rows + rows[-1:] * (-len(rows) % BATCH)  # every batch of one shape: compiled once
    parts = [generate(model, stack(full[i : i + BATCH]), **options)[0] for i in range(0, len(full), BATCH)]
    return np.concatenate([np.array(part)[:, 0] for part in parts])[: len(rows)]


def drift(model, runner, rows, tokens):
    """The file's logits next to the model's, given the same target: largest difference, mean KL, same best token."""
    differences, divergences, same = [], [], []
    for item, row in zip(rows, tokens):
        length, inputs = max(1, int((row != PAD).sum())), taught(item, row)
        ours = np.array(model(inputs, training=False))[0, :length]
        theirs = runner.logits(item, inputs["target"][0, :length])
        differences.append(np.abs(ours - theirs).max())
        divergences.append(mean_kl(log_softmax(ours), log_softmax(theirs)))
        same.append((ours.argmax(-1) == theirs.argmax(-1)).mean())
    means = {"mean_kl": float(np.mean(divergences)), "same_best_token": float(np.mean(same))}
    return {"max_logit_difference": float(max(differences)), **means}


def looks(model, runner, rows, tokens):
    """How far the file's signature `attention` is from the model's weights, where it has one."""
    if "attention" not in runner.signatures:
        return {}
    ours = [np.array(model.attention_weights(taught(item, row))).mean(1) for item, row in zip(rows, tokens)]
    theirs = [runner.run("attention", tokens=row, **item)["weights"] for item, row in zip(rows, tokens)]
    return {f"{OTHER}attention": float(np.max([difference(*pair) for pair in zip(ours, theirs)]))}  # NaN stays


def taught(item, tokens):
    """A batch of what the model reads to foretell these tokens (T,): of one shape for all."""
    return stack([{**item, "target": np.concatenate([[BOS], tokens[:-1]]).astype("int32")}])
