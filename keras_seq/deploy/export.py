"""From a trained model to the files that leave the house: built aside, checked, and only then put in place."""

import contextlib
import json
import os
import pathlib
import shutil

from keras_seq.deploy import bundle, litert, report, savedmodel
from keras_seq.deploy.signatures import Shapes, check_float32

FORMATS = litert.FORMATS
SAVED_MODEL, REPORT = "saved_model", "report.json"
STAGING = ".export"


def export_seq2seq(
    model, tokenizer_proto, folder, source_length=64, max_length=64, formats=FORMATS, beams=1, length_penalty=0.6,
    card=None,
):  # fmt: skip
    """Writes the SavedModel and one .tflite a format, without checking them against the model.

    Args:
        model: a trained sequence-to-sequence model, in float32.
        tokenizer_proto: bytes of its sentencepiece model.
        folder: where the files go; those of an earlier export are replaced when all new ones are there.
        source_length: ids of the longest source, EOS included; longer ones are cut to source_length - 1 and EOS.
        max_length: ids of the longest output, EOS included.
        formats: of "f32", "int8".
        beams: above 1 the .tflite also gets `generate_beam`, and the SavedModel searches with that many.
        length_penalty: of the beam search.
        card: JSON-able facts about the model for the card in the file.

    Returns:
        {"saved_model": path, "f32": path, ...}

    Raises:
        ValueError: for a model that is not in float32, or a tokenizer that cannot be put in a graph.
        UnsupportedOps: where a .tflite would need more than builtin ops.
    """
    search = {"beams": beams, "length_penalty": length_penalty}
    with staged(folder) as (staging, publish):
        paths = build(model, tokenizer_proto, staging, source_length, max_length, formats, card, search)
        publish()
    return {name: pathlib.Path(folder) / path.name for name, path in paths.items()}


def export_checked(
    model, tokenizer_proto, folder, texts, source_length=64, max_length=64, formats=FORMATS, beams=1,
    length_penalty=0.6, card=None, metric=None, metric_name="metric", tolerance=0.3, sentences=100, timed=8,
):  # fmt: skip
    """`export_seq2seq`, and each file compared with the model on `texts` before it is put in place.

    Args: as `export_seq2seq` and `report.parity_report`.

    Returns:
        the report, which also lies in `report.json`. Where `report["passed"]` is False, no file was replaced.
    """
    search = {"beams": beams, "length_penalty": length_penalty}
    with staged(folder) as (staging, publish):
        paths = build(model, tokenizer_proto, staging, source_length, max_length, formats, card, search)
        found = report.parity_report(
            model, paths, tokenizer_proto, texts, source_length, max_length, **search,
            metric=metric, metric_name=metric_name, tolerance=tolerance, sentences=sentences, timed=timed,
        )  # fmt: skip
        (staging / REPORT).write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        if found["passed"]:
            publish()
    return found


def build(model, tokenizer_proto, folder, source_length, max_length, formats, card, search):
    """Writes all files into `folder`; returns their paths by name."""
    check_float32(model)
    folder = pathlib.Path(folder)
    paths = {"saved_model": folder / SAVED_MODEL}
    savedmodel.save_seq2seq(model, tokenizer_proto, paths["saved_model"], source_length, max_length, **search)
    shapes = Shapes(batch=1, source_length=source_length, max_length=max_length)
    files, described = litert.convert_seq2seq(model, shapes, formats, **search)
    for name, content in files.items():
        facts = describe_file(name, shapes, search, described, card)
        paths[name] = folder / f"model_{name}.tflite"
        paths[name].write_bytes(bundle.with_card(content, tokenizer_proto, facts))
    return paths


def describe_file(form, shapes, search, described, card):
    """What `card.json` in the file says."""
    from keras_seq.decoding import BOS, EOS, PAD, UNK

    return {
        **(card or {}),
        "made_by": "keras_seq",
        "format": form,
        "source_length": shapes.source_length,
        "max_length": shapes.max_length,
        **search,
        "ids": {"pad": PAD, "bos": BOS, "eos": EOS, "unk": UNK},
        "source": "ids of the text, cut to source_length - 1, then eos, then pad",
        "tokens": "ids of the result without bos, then eos, then pad",
        "vocabulary": bundle.VOCABULARY,
        "signatures": described,
    }


@contextlib.contextmanager
def staged(folder):
    """An empty folder inside `folder`, and a function that moves all that is in it into place.

    The staging folder is on the same disk, so each move is a rename: a file is the old one or the new one, never half.
    """
    folder = pathlib.Path(folder)
    staging = folder / STAGING
    shutil.rmtree(staging, ignore_errors=True)  # what a killed export left
    staging.mkdir(parents=True)

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
