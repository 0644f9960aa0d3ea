"""From a trained model to the files that leave the house: built aside, checked, and only then put in place."""

import contextlib
import functools
import os
import pathlib
import shutil

from keras_seq.deploy import bundle, golden, limits, litert, parity, savedmodel
from keras_seq.deploy.report import page
from keras_seq.deploy.signatures import Shapes, check_float32
from keras_seq.deploy.staging import stage_of

FORMATS = limits.FORMATS
SAVED_MODEL, REPORT, PAGE = "saved_model", "report.json", "report.md"


def export_seq2seq(
    model, tokenizer_proto, folder, source_length=64, max_length=64, formats=FORMATS, beams=1, length_penalty=0.6,
    card=None, inputs=None, files=None, raw=None, dynamic=False,
):  # fmt: skip
    """Writes the SavedModel and one .tflite a format of a model that writes text, without checking them against it.

    Args:
        model: a trained model with `start` and `step`, in float32.
        tokenizer_proto: bytes of its sentencepiece model.
        folder: where the files go; those of an earlier export are replaced when all new ones are there.
        source_length: ids of the longest source, EOS included; longer ones are cut to source_length - 1 and EOS.
        max_length: ids of the longest output, EOS included.
        formats: of "f32", "f16", "int8", "int4"; the last one needs ai-edge-quantizer.
        beams: above 1 the .tflite also gets `generate_beam`, and the SavedModel searches with that many.
        length_penalty: of the beam search.
        card: JSON-able facts about the model for the card in the file.
        inputs: {name: (shape without the batch axis, dtype)} of what `start` reads, where that is no text: for a
            picture {"image": ((64, 64, 3), "float32")}.
        files: {name: bytes, or what JSON can hold} that travel inside each .tflite too.
        raw: {name: function of strings (B,) that gives `inputs`}, TensorFlow ops, for the SavedModel: with
            {"pictures": lambda pictures: {"image": deploy.decode_pictures(pictures, 64)}} it has `generate_pictures`.
        dynamic: also write `model_FORMAT_dynamic.tflite`, which takes any batch and any length of a source.

    Returns:
        {"saved_model": path, "f32": path, ...}

    Raises:
        ValueError: for a model that is not in float32, or a tokenizer that cannot be put in a graph.
        UnsupportedOps: where a .tflite would need more than builtin ops.
    """
    shapes = Shapes(1, source_length, max_length, inputs)
    search = {"beams": beams, "length_penalty": length_penalty}
    with staged(folder) as (staging, publish):
        paths = build(model, tokenizer_proto, staging, shapes, formats, card, files, raw, search, dynamic)
        publish()
    return {name: pathlib.Path(folder) / path.name for name, path in paths.items()}


def export_checked(
    model, tokenizer_proto, folder, items, source_length=64, max_length=64, formats=FORMATS, beams=1,
    length_penalty=0.6, card=None, metric=None, metric_name="metric", tolerance=0.3, sentences=100, timed=8,
    inputs=None, files=None, raw=None, dynamic=False,
):  # fmt: skip
    """`export_seq2seq`, and each file compared with the model on `items` before it is put in place.

    Args: as `export_seq2seq` and `parity_report`; items are texts, or {name: array} each where `inputs` are given.

    Returns:
        the report, which also lies in `report.json`. Where `report["passed"]` is False, no file was replaced.
    """
    shapes = Shapes(1, source_length, max_length, inputs)
    search = {"beams": beams, "length_penalty": length_penalty}
    judge = functools.partial(
        parity.parity_report, model, tokenizer_proto=tokenizer_proto, items=items, source_length=source_length,
        max_length=max_length, **search, metric=metric, metric_name=metric_name, tolerance=tolerance,
        sentences=sentences, timed=timed,
    )  # fmt: skip
    what = shapes, formats, card, files, raw, search, dynamic
    return checked(folder, lambda to: build(model, tokenizer_proto, to, *what), judge, items)


def checked(folder, build, judge, items, texts=()):
    """Files that `build(staging)` writes, put into `folder` if they pass what `judge(paths)` reports.

    Beside them lie the report, for programs and for people, and golden cases made of the first items and texts.
    """
    with staged(folder) as (staging, publish):
        paths = build(staging)
        report = judge(paths)
        (staging / REPORT).write_bytes(bundle.as_json(report) + b"\n")
        (staging / PAGE).write_text(page(report) + "\n", encoding="utf-8")
        golden.write(staging, paths, items, texts)
        if report["passed"]:
            publish()
    return report


def build(model, tokenizer_proto, folder, shapes, formats, card, files, raw, search, dynamic):
    """Writes all files into `folder`; returns their paths by name."""
    limits.check_formats(formats)
    check_float32(model)
    path = folder / SAVED_MODEL
    savedmodel.save_seq2seq(
        model, tokenizer_proto, path, shapes.source_length, shapes.max_length, **search, inputs=shapes.inputs,
        raw=raw,
    )  # fmt: skip
    facts = {**(card or {}), **describe(shapes, search)}
    files = {**(files or {}), bundle.VOCABULARY: tokenizer_proto}
    paths, more = {SAVED_MODEL: path}, {**search, "tokenizer_proto": tokenizer_proto}
    for is_open in (False, True)[: 1 + dynamic]:
        found = litert.convert_seq2seq(model, shapes, formats, **more, dynamic=is_open)
        paths |= write(folder, *found, facts, files, is_open)
    return paths


def write(folder, contents, described, card, files, dynamic=False):
    """One .tflite a format, with a card and other files inside; returns their paths by name."""
    paths = {}
    for form, content in contents.items():
        name = form + limits.DYNAMIC * dynamic
        facts = {**card, "signatures": described, "made_by": "keras_seq", "format": form, "dynamic": dynamic}
        paths[name] = folder / f"model_{name}.tflite"
        paths[name].write_bytes(bundle.with_card(content, facts, files))
    return paths


def describe(shapes, search):
    """What `card.json` in the file says of a model that writes text."""
    from keras_seq.decoding import BOS, EOS, PAD, UNK

    text = "ids of the text, cut to source_length - 1, then eos, then pad"
    source = {} if shapes.inputs else {"source_length": shapes.source_length, "source": text}
    return {
        **source,
        "max_length": shapes.max_length,
        **search,
        "ids": {"pad": PAD, "bos": BOS, "eos": EOS, "unk": UNK},
        "tokens": "ids of the result without bos, then eos, then pad",
        "utf8": "bytes of a text, then 0",
        "vocabulary": bundle.VOCABULARY,
    }


@contextlib.contextmanager
def staged(folder):
    """An empty folder inside `folder`, and a function that moves all that is in it into place."""
    folder, staging = pathlib.Path(folder), stage_of(folder)

    def publish():
        for path in sorted(staging.iterdir()):
            replace(path, folder / path.name)

    try:
        yield staging, publish
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def replace(new, old):
    """Puts `new` where `old` is; a folder cannot be renamed over another, so that one steps aside first."""
    if not (new.is_dir() and old.exists()):
        os.replace(new, old)
        return
    aside = new.parent / f"{old.name}.old"
    os.replace(old, aside)
    os.replace(new, old)
    shutil.rmtree(aside)
