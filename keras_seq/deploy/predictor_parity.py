"""Exported files of a model that predicts against the model itself, on the same items."""

import functools

import numpy as np

from keras_seq.deploy.report import OTHER, clock, difference, log_softmax, mean_kl, ready, sized
from keras_seq.deploy.runners import LiteRTPredictor, SavedModelPredictor, stack, unstack

MAIN, SAVED_MODEL = "predict", "saved_model"
CLOSE = 1e-4  # of numbers that should be the same, relative to the largest of them where that is above 1
TIED = 1e-5  # classes that are as close as this in the model's own output are one
BATCH = 32


class Judge:
    """Holds what the model answers, and compares one file at a time with it."""

    def __init__(self, model, given, items, texts, metric, timed, writes=None):
        self.model, self.given, self.items, self.texts = model, given, items, texts
        self.metric, self.timed, self.writes = metric, timed, writes
        self.functions = {name: compiled(signature) for name, signature in given.items()}
        self.expected = self.answers()
        self.first = next(iter(self.functions[MAIN](**stack(items[:1]))))
        self.classes = has_classes(self.first, self.expected)

    def answers(self):
        """What the model itself predicts for each item."""
        full = self.items + self.items[-1:] * (-len(self.items) % BATCH)  # one shape: compiled once
        parts = (self.functions[MAIN](**stack(full[i : i + BATCH])) for i in range(0, len(full), BATCH))
        return [row for part in parts for row in unstack(part)][: len(self.items)]

    def rows(self, paths):
        """A row for the model and one for each file. A SavedModel is given texts, where there are some."""
        ms = self.speed(lambda items: self.functions[MAIN](**stack(items)), self.items)
        rows = [{"name": "keras", **self.compare(self.expected), "ms_per_item": ms}]
        for name, path in paths.items():
            saved = name == SAVED_MODEL
            load, given = (SavedModelPredictor, self.texts or self.items) if saved else (LiteRTPredictor, self.items)
            rows.append({"name": name, **sized(path, self.model), **self.file(functools.partial(load, path), given)})
        return rows

    def file(self, load, given):
        """What is measured of one file."""
        runner, load_ms = ready(load, lambda runner: runner(given[:1]), times=2)
        outputs = runner(given)
        found = self.compare(outputs) | self.others(runner) | self.reads(runner, outputs) | self.spells(runner, outputs)
        return {**found, "load_ms": load_ms, "ms_per_item": self.speed(runner, given)}

    def compare(self, outputs):
        """Agreement, differences and the metric of the outputs for all items."""
        pairs = [(ours[self.first], theirs[self.first]) for ours, theirs in zip(self.expected, outputs, strict=True)]
        same = same_class if self.classes else close
        found = {
            "agreement": float(np.mean([same(*pair) for pair in pairs])),
            "max_difference": max(difference(a[name], b[name]) for a, b in zip(self.expected, outputs) for name in a),
            **{f"{OTHER}{name}": apart([(a[name], b[name]) for a, b in zip(self.expected, outputs)])
               for name in self.expected[0] if name != self.first},
        }  # fmt: skip
        if self.classes:
            found["mean_kl"] = float(np.mean([divergence(*pair, self.classes) for pair in pairs]))
        return found | ({"metric": float(self.metric(outputs))} if self.metric else {})

    def reads(self, runner, outputs):
        """For a .tflite that reads text: on how many texts the tokenizer in its graph leads to the same outputs."""
        if not self.texts or not hasattr(runner, "text"):
            return {}
        pairs = zip(outputs, runner.text(self.texts), strict=True)
        return {"text_agreement": float(np.mean([all(close(a[name], b[name]) for name in a) for a, b in pairs]))}

    def spells(self, runner, outputs):
        """Of a model that writes: on how many items the file's own text is that of its tokens."""
        if self.writes is None:
            return {}
        import sentencepiece

        tokenizer = sentencepiece.SentencePieceProcessor(model_proto=self.writes)
        wanted = tokenizer.decode([row["tokens"].tolist() for row in outputs])
        pairs = zip(wanted, runner.written(self.items), strict=True)
        return {"text_agreement": float(np.mean([a == b for a, b in pairs]))}

    def speed(self, call, items):
        """Milliseconds an item, one at a time, after a first call that compiles."""
        items = items[: self.timed]
        call(items[:1])
        return 1e3 * float(np.mean([clock(functools.partial(call, [item])) for item in items]))

    def others(self, runner):
        """How far the other signatures are from the model's, over some calls in a row."""
        return {
            f"{OTHER}{name}": follow(signature, self.functions[name], functools.partial(runner.run, name))
            for name, signature in self.given.items()
            if name != MAIN
        }


def compiled(signature):
    """The signature's function in the model's own process: arrays to arrays."""
    import tensorflow as tf

    function = tf.function(signature.function, autograph=False)

    def run(**inputs):
        tensors = {name: tf.constant(x, signature.inputs[name][1]) for name, x in inputs.items()}
        return {name: x.numpy() for name, x in function(**tensors).items()}

    return run


def has_classes(name, outputs):
    """"logits" or "probabilities" where the last axis of an output is a choice, otherwise None."""
    if name == "logits":
        return name
    x = np.array([row[name] for row in outputs])
    sums_to_one = x.ndim > 1 and x.shape[-1] > 1 and (x >= 0).all() and np.allclose(x.sum(-1), 1, atol=1e-3)
    return "probabilities" if sums_to_one else None


def follow(signature, ours, theirs, calls=4):
    """The largest `relative` difference of two ways to run a signature: a few calls, state given back, else noise."""
    inputs = {name: (() if shape is None else (1, *shape), dtype) for name, (shape, dtype) in signature.inputs.items()}
    outputs = ours(**{name: np.zeros(shape, dtype) for name, (shape, dtype) in inputs.items()})
    states = [{name: np.zeros_like(x) for name, x in outputs.items() if name in inputs}] * 2
    noise, largest = np.random.default_rng(0), 0.0
    for _ in range(calls):
        drawn = {name: np.asarray(noise.random(shape), dtype) for name, (shape, dtype) in inputs.items()}
        found = [run(**{**drawn, **state}) for run, state in zip((ours, theirs), states)]
        largest = np.max([largest, *(relative(found[0][name], found[1][name]) for name in found[0])])  # NaN stays
        states = [{name: x for name, x in outputs.items() if name in inputs} for outputs in found]
    return float(largest)


def same_class(ours, theirs):
    """Whether the best class is the model's at each place, or one that the model holds for as good."""
    chosen = np.take_along_axis(ours, theirs.argmax(-1)[..., None], -1)[..., 0]
    return bool((ours.max(-1) - chosen <= TIED).all())


def relative(ours, theirs):
    """The largest difference, relative to the largest number of ours where that is above 1."""
    return difference(ours, theirs) / max(1.0, np.abs(ours).max(initial=0))


def apart(pairs):
    """How far outputs are from the model's: numbers by the largest `relative` difference, choices by the share."""
    if pairs[0][0].dtype.kind == "f":
        return float(np.max([relative(ours, theirs) for ours, theirs in pairs]))  # NaN stays
    return float(np.mean([np.mean(ours != theirs) for ours, theirs in pairs]))


def close(ours, theirs):
    """Whether all numbers are the same but for rounding."""
    return relative(ours, theirs) <= CLOSE


def divergence(ours, theirs, kind):
    """Mean KL of the model's distributions from a file's."""
    if kind == "logits":
        return mean_kl(log_softmax(ours), log_softmax(theirs))
    return mean_kl(*map(log_of, (ours, theirs)))


def log_of(probabilities):
    """Their logarithms, in float64, in which they sum to 1; none is below that of 1e-12."""
    p = np.maximum(np.asarray(probabilities, "float64"), 1e-12)
    return np.log(p / p.sum(axis=-1, keepdims=True))
