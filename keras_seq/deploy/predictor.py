"""Export of models that answer in one call: classifiers, taggers, forecasters, and frame by frame for live input."""

import collections.abc
import dataclasses

from keras_seq.deploy import bundle, export, limits, litert, report, savedmodel, signatures
from keras_seq.deploy.bytes import ByteCodec
from keras_seq.deploy.predictor_parity import MAIN, Judge
from keras_seq.deploy.runners import pad_sources

TEXT = {  # what the card of a model that reads text says
    "tokens": "ids of the text, cut to length - 1, then eos, then pad",
    "utf8": "bytes of the text, then 0",
    "vocabulary": bundle.VOCABULARY,
}
WRITTEN = {  # and of one that writes it
    "tokens": "ids of the text, then pad",
    "utf8": TEXT["utf8"],
    "vocabulary": bundle.VOCABULARY,
}


@dataclasses.dataclass(frozen=True)
class Signature:
    """A function of an exported file: what it computes, and the names and shapes of what it reads.

    An output with the name of an input is state: it is given back at the next call.

    Args:
        function: named tensors, each with a batch axis, -> {name: tensor}. By the first output classes are told.
        inputs: {name: (shape without the batch axis, dtype)}; a shape of None is a lone number, without a batch axis.
        open_shapes: {name: shape} of inputs that may have other sizes in a SavedModel, None where any; a .tflite is
            fixed. The batch is always open there.

    Example:

        Signature(lambda frames: {"probabilities": model(frames)}, {"frames": ((20, 32, 32, 1), "float32")})
        Signature(step, {"frame": ((32, 32, 1), "float32"), "h": ((64,), "float32"), "index": (None, "int32")})
    """

    function: collections.abc.Callable
    inputs: dict
    open_shapes: dict = dataclasses.field(default_factory=dict)

    def traced(self, batch=1, fixed=True):
        """The function as a graph; its shapes are those of a .tflite if `fixed`."""
        shapes = {} if fixed else self.open_shapes
        inputs = {name: (shapes.get(name, shape), dtype) for name, (shape, dtype) in self.inputs.items()}
        return signatures.trace(self.function, **signatures.specs(inputs, batch))


def export_predictor(
    model, given, folder, items, *, metric=None, metric_name="metric", tolerance=0.5, formats=limits.FORMATS,
    card=None, files=None, text=None, writes=None, raw=None, timed=8, dynamic=False,
):  # fmt: skip
    """Writes a SavedModel and one .tflite a format, each compared with the model before it is put in place.

    The SavedModel and f32 have to agree with the model on every item: in the best class (the first output's last axis
    holds probabilities or is called `logits`), else in every number, to 1e-4; and in the numbers of other outputs and
    signatures, to 1e-3. int8 may lose `tolerance` of the metric.

    Args:
        model: whose weights the signatures use, in float32.
        given: {"predict": Signature, ...}; others than `predict` are compared on noise, over a few calls in a row.
        folder: where the files go; those of an earlier export are replaced when all new ones passed.
        items: {name: array} each for `predict`, without a batch axis: the whole test split. None with `text`.
        metric: function of a list of {name: array}, the outputs for each item, that returns points; more is better.
        metric_name: its name in the report.
        tolerance: how many points a quantised file may lose, or `limits.Limits`, which say more.
        formats: of "f32", "f16", "int8", "int4"; the last one needs ai-edge-quantizer.
        card: JSON-able facts about the model for the card in the file.
        files: {name: bytes, or what JSON can hold} that travel inside each .tflite.
        text: for a model that reads text as its one input `tokens` (S,), ids, EOS, then PAD: {"tokenizer": bytes of a
            sentencepiece model, "length": S, "texts": the test texts}. The SavedModel then takes texts, and a .tflite
            has `text` too, which takes their bytes `utf8`.
        writes: for a model whose `predict` gives, all at once, `tokens` (T,) of a text, PAD after its end: bytes of the
            sentencepiece model whose ids they are. The SavedModel then has `generate` too, which gives `text`, and a
            .tflite has `text`, which gives its bytes `utf8`; both read what `predict` reads.
        raw: {name: function of strings (B,) that gives what `predict` reads}, as of `export_checked`: `predict_NAME`.
        timed: items on which speed is measured, one at a time.
        dynamic: also write `model_FORMAT_dynamic.tflite`, which takes any batch and the open shapes of the signatures.

    Returns:
        the report, which also lies in `report.json`. Where `report["passed"]` is False, no file was replaced.

    Raises:
        ValueError: for a model that is not in float32, a tokenizer that cannot be put in a graph, or no `predict`.
        UnsupportedOps: where a .tflite would need more than builtin ops.
    """
    check(given, text, writes)
    texts = list(text["texts"]) if text else None
    items = items_of(text) if text and items is None else list(items)

    def judged(paths):
        rows = Judge(model, given, items, texts, metric, timed, writes).rows(paths)
        return report.judged(model, rows, metric and metric_name, tolerance, {"sentences": len(items), "unit": "items"})

    what = formats, card, files or {}, text, writes, raw, dynamic
    return export.checked(folder, lambda to: build(model, given, to, *what), judged, items, texts or ())


def check(given, text, writes=None):
    """Raises ValueError for signatures that cannot be exported."""
    if text and writes:
        raise ValueError("Expected a model that reads text or one that writes it; got both. Use export_checked for it.")
    if MAIN not in given:
        raise ValueError(f"Expected a signature called {MAIN}; got {sorted(given)}. Name the main one so.")
    expected = {"tokens": ((text["length"],), "int32")} if text else None
    found = {name: (tuple(shape), dtype) for name, (shape, dtype) in given[MAIN].inputs.items()} if text else None
    if found != expected:
        raise ValueError(f"Expected {MAIN} of a model that reads text to have the inputs {expected}; got {found}.")


def items_of(text):
    """Test texts as items."""
    import sentencepiece

    tokenizer = sentencepiece.SentencePieceProcessor(model_proto=text["tokenizer"])
    return [{"tokens": row} for row in pad_sources(tokenizer.encode(list(text["texts"])), text["length"])]


def build(model, given, folder, formats, card, files, text, writes, raw, dynamic):
    """Writes all files into `folder`; returns their paths by name."""
    limits.check_formats(formats)
    path = folder / export.SAVED_MODEL
    savedmodel.save_predictor(model, given, path, text, raw, writes)
    facts = card or {}
    if text or writes:
        files = {**files, bundle.VOCABULARY: text["tokenizer"] if text else writes}
        facts = {**facts, **(TEXT if text else WRITTEN)}
    paths = {export.SAVED_MODEL: path}
    for is_open in (False, True)[: 1 + dynamic]:
        paths |= export.write(folder, *converted(model, given, formats, text, writes, is_open), facts, files, is_open)
    return paths


def converted(model, given, formats, text, writes, dynamic):
    """{format: bytes} and the description of the signatures; what reads or writes bytes is of fixed shapes."""
    module, fixed = signatures.tracked(model), not dynamic
    with litert.for_phones():
        functions = {name: each.traced(batch=1 if fixed else None, fixed=fixed) for name, each in given.items()}
        reads = functions[MAIN] if fixed or not text else given[MAIN].traced()  # of an open one no table is quantised
        if writes:
            codec = ByteCodec(writes)
            specs = signatures.specs(given[MAIN].inputs, 1)
            module.tables, functions["text"] = codec.tables, codec.writing(given[MAIN].traced(), specs)
    if text:
        codec = ByteCodec(text["tokenizer"])
        module.tables, functions["text"] = codec.tables, codec.reading(reads, "tokens", text["length"])
    return litert.convert(module, functions, formats), signatures.describe(functions)
