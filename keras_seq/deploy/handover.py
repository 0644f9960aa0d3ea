"""The bundle: one folder with all that a mobile developer needs, who has no Python and no word with the trainer."""

import functools
import json
import os
import pathlib
import shutil

from keras_seq.deploy import bundle

HOSTS = pathlib.Path(__file__).parent / "hosts"
BESIDE = ("report.md", "report.json", bundle.GOLDEN)
NAMES = {  # lists in a card of what stands in a tensor
    "tags": "tags, in the order of `probabilities`",
    "targets": "targets, in the order of `past` and of `forecast`",
    "known": "columns of `known`, of the rows read and of those to come",
    "quantiles": "quantiles of `forecast`",
    "variables": "columns of `rows`",
    "error_mean": "error_mean, of `begin`",
    "error_variance": "error_variance, of `begin`",
}
MEANING = {
    "text": "bytes of a text in, the same out or what the model says of it; the tokenizer is inside",
    "text_beam": "the same by beam search: better and slower",
    "text_sample": "the same, drawn by the `noise` from 0 to 1 that you hand over: the higher `temperature`, the freer",
    "predict": "the answer in one call",
    "step": "one frame or row and the state in, its answer and the new state out: for live input",
    "generate": "what is read in, ids of the text out: the whole loop in one call",
    "generate_beam": "the same by beam search",
    "sample": "the same, drawn as by `text_sample`",
    "attention": "what was read and the ids of `generate` in, where the model looked for each of them out",
    "encode": "what is read in, memory and state for `decode_step` out",
    "prefill": "a prompt in, memory and state for `decode_step` out, and `memory_first`, the id that it begins with",
    "decode_step": "one id and the state in, the logits of the next id and the new state out: to stream or to sample",
}


def hand_over(folder, to, title="A model", about=""):
    """Writes the bundle of an export.

    Args:
        folder: that of the export: .tflite files, report and golden cases.
        to: the bundle; an earlier bundle is replaced, but for what others have put there, any other folder has to be
            empty.
        title, about: the head of its README.md.

    Returns:
        the path of the bundle.

    Raises:
        ValueError: where there is no .tflite in `folder`, or something else in `to`.
    """
    folder, to = pathlib.Path(folder), pathlib.Path(to).resolve()
    files = sorted(folder.glob("*.tflite"))
    if not files:
        raise ValueError(f"Expected .tflite files in {folder} for a bundle; got none.")
    check_place(to, folder)
    partial = to.with_name(to.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for path in [*files, *(folder / name for name in BESIDE)]:
        shutil.copy2(path, partial)
    shutil.copytree(HOSTS, partial / "hosts", ignore=shutil.ignore_patterns("__pycache__", "node_modules"))
    cards = {path.name: json.loads(bundle.read_files(path)[bundle.CARD]) for path in files}
    (partial / bundle.CARD).write_bytes(bundle.as_json(next(iter(main(cards).values()))) + b"\n")
    (partial / "README.md").write_text(readme(cards, files, title, about), encoding="utf-8")
    for path in to.glob("model_*.tflite"):
        path.unlink()
    move(partial, to)
    return to


def move(folder, to):
    """Moves each file of a folder to its place in another; what else lies there stays."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        target = to / path.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(path, target)
    shutil.rmtree(folder)


def check_place(to, folder):
    """Raises ValueError where the bundle of what lies in `folder` may not be written."""
    place, to = pathlib.Path(to).resolve(), pathlib.Path(to)
    if to.exists() and not to.is_dir():
        raise ValueError(f"Expected a folder for the bundle; got the file {to}.")
    if place in (pathlib.Path(folder).resolve() / "file").parents:
        raise ValueError(f"Expected a folder of its own for the bundle; got {to}, where the model lies.")
    names = {path.name for path in to.iterdir()} if to.is_dir() else set()
    trained = "config.json" in names or any(name.endswith(".weights.h5") for name in names)
    if names and (trained or not names >= {bundle.CARD, bundle.GOLDEN, HOSTS.name}):
        got = "a trained model" if trained else "other files"
        raise ValueError(f"Expected an empty folder or an earlier bundle in {to}; got {got}. Choose another.")


def main(cards):
    """The cards of the files with fixed shapes."""
    return {name: card for name, card in cards.items() if not card.get("dynamic")} or cards


def readme(cards, files, title, about):
    """What the bundle says to a mobile developer."""
    card = next(iter(main(cards).values()))
    found = card["signatures"]
    parts = [
        f"# {title}", about,
        "Everything here runs on the device, offline. One file is enough: weights, vocabulary and card are inside.",
        file_table(cards, files),
        "## Signatures", *(signature(name, found[name]) for name in MEANING if name in found),
        *(signature(name, found[name]) for name in sorted(set(found) - set(MEANING))),
        "Address signatures and tensors by name, as their order is not stable. Shapes are fixed: fill up with zeros.",
        ids(card), "## Run it", NEEDS, run(found, preferred(cards)), "## Check it", CHECK,
    ]  # fmt: skip
    return "\n\n".join(part for part in parts if part) + "\n"


def file_table(cards, files):
    """The files, their sizes and what each is for."""
    use = {
        "f32": "exact; the reference", "int8": "the one to ship: a quarter of the size, faster, good in browsers",
        "f16": "half the size, nearly exact; slower than f32 on a CPU",
        "int4": "the smallest; loses a little, slow in browsers",
    }  # fmt: skip
    lines = ["| file | MB | |", "|---|---|---|"]
    for path in files:
        card = cards[path.name]
        note = use[card["format"]] + "; any batch and length, so not for browsers and Kotlin" * card.get("dynamic", 0)
        lines.append(f"| `{path.name}` | {path.stat().st_size / 1e6:.1f} | {note} |")
    return "\n".join(lines)


def signature(name, facts):
    """A signature's section: what it does, and a table of what goes in and out."""
    lines = [f"### `{name}`", MEANING.get(name, ""), ""]
    lines += ["| | name | shape | type |", "|---|---|---|---|"]
    for where, tensors in (("in", facts["inputs"]), ("out", facts["outputs"])):
        for key, tensor in sorted(tensors.items()):
            shape = " x ".join("any" if size is None else str(size) for size in tensor["shape"]) or "a number"
            lines.append(f"| {where} | `{key}` | {shape} | {tensor['dtype']} |")
    return "\n".join(lines)


def ids(card):
    """What the card says of the values."""
    texts = {key: text for key, text in card.items() if isinstance(text, str) and key not in ("format", "made_by")}
    lines = [f"- `{key}`: {text if text and text.isprintable() else json.dumps(text)}" for key, text in texts.items()]
    if "ids" in card:
        lines.append("- ids: " + ", ".join(f"{name} {number}" for name, number in card["ids"].items()))
    if labels := card.get("labels"):
        names = labels.get("names") if isinstance(labels, dict) else labels
        lines += [f"- labels, in the order of `probabilities`: {', '.join(map(str, names))}"] if names else []
    lists = {what: card[key] for key, what in NAMES.items() if card.get(key)}
    lines += [f"- {what}: {json.dumps(names, ensure_ascii=False)}" for what, names in lists.items()]
    return "\n".join([*lines, *([WORDS] if "words" in card else [])])


def preferred(cards):
    """The file to ship."""
    names = list(main(cards))
    return next((name for name in names if cards[name]["format"] == "int8"), names[0])


def run(found, file):
    """The calls of each platform for this model."""
    name = next(name for name in ("text", "predict", "generate", *found) if name in found)
    inputs, outputs = found[name]["inputs"], found[name]["outputs"]
    examples = {
        (True, True): TEXT_CALLS, (True, False): NUMBERS, (False, True): WRITES, (False, False): CALLS,
    }["utf8" in inputs, "utf8" in outputs]  # fmt: skip
    first = next(key for key in outputs if key != "tokens")
    kinds = {key: KINDS.get(facts.get("dtype"), FLOATS) for key, facts in {**inputs, **outputs}.items()}
    kotlin = (f'"{key}" to model.{kinds[key][0]}("{key}", "SIGNATURE", {key})' for key in inputs)
    _, read, kind = kinds[first]
    words = {
        "KOTLIN": ", ".join(kotlin), "SWIFT": ", ".join(f'"{key}": SequenceModel.data({key})' for key in inputs),
        "PYTHON": ", ".join(f"{key}={key}" for key in inputs), "JSON": ", ".join(f'"{key}": {key}' for key in inputs),
        "READ": read, "TYPE": kind, "SIGNATURE": name, "INPUTS": ", ".join(inputs),
        "ALL": ", ".join(f'"{key}"' for key in outputs), "OUTPUT": first, "FILE": file,
    }  # fmt: skip
    return functools.reduce(lambda text, word: text.replace(word, words[word]), words, examples)


WORDS = r"""
`text` reads words and marks with a space between. Each host cuts plain text into these, by the card's `words`:
`model.words(text)` in Python and JavaScript, on Android `Words(card).of(text)` with the text of `card.json`, on iOS
`try Words(card: card).of(text)` with its data. For another language, the function `words` of `hosts/python/host.py` has
the rule."""

FLOATS = ("floats", "readFloat", "Float")  # how Kotlin writes and reads such numbers, and their name in Swift
KINDS = {"float32": FLOATS, "int32": ("ints", "readInt", "Int32")}
NEEDS = """\
At the head of each host stands what it needs: a line for Gradle, a Swift package, `npm install @litertjs/core@2.5.3`,
`pip install ai-edge-litert numpy`. JavaScript begins with `import { load } from "./hosts/web/litert.mjs"`, Python with
`import sys; sys.path.append("hosts/python"); from host import Model`."""

TEXT_CALLS = """\
- Android, [hosts/android](hosts/android): `SequenceModel(assets, "FILE").text("...", listOf(ALL))`
- iOS, [hosts/ios](hosts/ios): `try SequenceModel(path: path).text("...")`
- Web and Node, [hosts/web](hosts/web): `(await (await load("FILE")).text("...")).text`
- Python, [hosts/python](hosts/python): `python hosts/python/host.py FILE "..."`"""

NUMBERS = """\
- Android, [hosts/android](hosts/android): `SequenceModel(assets, "FILE").numbers("...", "OUTPUT", listOf(ALL))`
- iOS, [hosts/ios](hosts/ios): `try SequenceModel(path: path).numbers("...", output: "OUTPUT")`
- Web and Node, [hosts/web](hosts/web): `(await (await load("FILE")).text("...")).OUTPUT.data`
- Python, [hosts/python](hosts/python): `python hosts/python/host.py FILE "..."`"""

WRITES = """\
With the numbers of INPUTS row by row:

- Android, [hosts/android](hosts/android): `val model = SequenceModel(assets, "FILE")`, then
  `model.letters(model.run("SIGNATURE", mapOf(KOTLIN), listOf(ALL)).getValue("utf8"))`
- iOS, [hosts/ios](hosts/ios): `let model = try SequenceModel(path: path)`, then
  `SequenceModel.letters(try model.run("SIGNATURE", [SWIFT])["utf8"]!)`
- Web and Node, [hosts/web](hosts/web): `(await (await load("FILE")).text({ INPUTS })).text`
- Python, [hosts/python](hosts/python): `Model("FILE").text({JSON})`"""

CALLS = """\
With the numbers of INPUTS row by row:

- Android, [hosts/android](hosts/android): `val model = SequenceModel(assets, "FILE")`, then
  `model.run("SIGNATURE", mapOf(KOTLIN), listOf(ALL)).getValue("OUTPUT").READ()`
- iOS, [hosts/ios](hosts/ios): `let model = try SequenceModel(path: path)`, then
  `SequenceModel.array(try model.run("SIGNATURE", [SWIFT])["OUTPUT"]!) as [TYPE]`
- Web and Node, [hosts/web](hosts/web): `(await (await load("FILE")).run("SIGNATURE", { INPUTS })).OUTPUT.data`
- Python, [hosts/python](hosts/python): `Model("FILE").run("SIGNATURE", PYTHON)["OUTPUT"]`"""

CHECK = """\
`golden.json` holds what each file answers to a few inputs, of texts odd ones too: nothing, emoji, Chinese, too much.
Run them on your device once; `python hosts/python/host.py --check` does it here and is easy to translate. `report.md`
says how near each file is to the trained model, how large and how fast it is.

    TENSOR  {"dtype": "int32", "shape": [1, 512], "data": [79, 112]}   row by row; zeros at the end are left out
            {..., "data": [...], "repeat": true}                       data again and again until the shape is full
            {..., "data": [...], "every": 7}                           of a large output: its numbers 0, 7, 14, ...
            {"case": 3, "output": "state_0_k"}                         of an input: what cases[3] returned so called

Floats may differ by `tolerance`, times the largest expected one if that is above 1; all else has to be equal."""
