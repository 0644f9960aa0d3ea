"""Golden cases: what each exported file answers to a few inputs, so that a host in any language can check itself.

    {
     "tolerance": {"f32": 0.0001, "int8": 0.05},         of floats, times the largest expected one if that is above 1
     "files": {"f32": "model_f32.tflite", ...},
     "cases": [
      {"format": "f32", "signature": "text", "about": "emoji",
       "text": "😀 ok",                                    where the signature reads `utf8`: what that was made of
       "inputs": {name: TENSOR}, "outputs": {name: TENSOR}}, ...]
    }

    TENSOR  {"dtype": "int32", "shape": [1, 512], "data": [79, 112]}   row by row; zeros at the end are left out
            {..., "data": [...], "repeat": true}                       data again and again until the shape is full
            {..., "data": [...], "every": 7}                           of a large output: its numbers 0, 7, 14, ...
            {"case": 3, "output": "state_0_k"}                         of an input: what cases[3] returned so called

Integers and booleans (0 and 1) have to be equal; so what is drawn (`sample`) has cases of f32 and f16 only. The calls
of a stream (`decode_step`, `step`) stand in their order.
"""

import json
import pathlib

import numpy as np

from keras_seq.deploy.bundle import GOLDEN
from keras_seq.deploy.runners import BOS, LiteRTFile, LiteRTRunner, pad_sources

TOLERANCE = {"f32": 1e-4, "f16": 1e-3, "int8": 0.05, "int4": 0.05}
EXACT, DRAWN = ("f32", "f16", "f32_dynamic", "f16_dynamic"), "noise"  # a runtime that rounds otherwise draws otherwise
LARGE = 64  # numbers: of larger outputs of floats a sample is kept
CYCLE = 251  # a prime: noise that is small to store and that any language can repeat
CALLS = 3  # of a stream
STREAMS = ("decode_step", "step")  # signatures that are called again with the state that they returned
LATER = (*STREAMS, "attention")  # signatures that read what others returned
ODD = {
    "nothing": "",
    "spaces": "   ",
    "emoji": "😀 ok 👩\u200d🚀",
    "Chinese, Japanese, Korean": "日本語 中文 한국어",
    "combining marks": "e\u0301 a\u0308 n\u0303",
    "longer than the file reads": "open the file, then close it. " * 60,
}
PROMPT = {"longer than the file reads, which cuts a character": "😀" * 600 + " open the file"}  # the end counts


def write(folder, paths, items, texts=()):
    """Writes golden.json for the .tflite files among `paths`.

    Args:
        folder: where it goes.
        paths: {format: path of a .tflite}; other files are passed over.
        items: what the model reads, as {name: array} each without a batch axis, or texts.
        texts: some texts, where the model reads texts and `items` are none.
    """
    files = {form: pathlib.Path(path) for form, path in paths.items() if str(path).endswith(".tflite")}
    texts = list(texts or [item for item in items if isinstance(item, str)])
    cases = []
    for form, path in files.items():
        record(Recorder(opened(path), form, cases), list(items)[:2], texts[:2])
    head = {
        "tolerance": {form: TOLERANCE[form.partition("_")[0]] for form in files},
        "files": {form: path.name for form, path in files.items()},
    }
    lines = ",\n".join(f"  {json.dumps(case, ensure_ascii=False)}" for case in cases)
    text = json.dumps(head, indent=1).removesuffix("\n}") + f',\n "cases": [\n{lines}\n ]\n}}\n'
    (folder / GOLDEN).write_text(text, encoding="utf-8")


def opened(path):
    """The file with what runs it, which depends on what it is for."""
    file = LiteRTFile(path)
    return LiteRTRunner(path) if LiteRTRunner.main in file.signatures else file


def record(recorder, items, texts):
    """The cases of one file: whole items, then streams, then texts."""
    rows, numbers = [recorder.item(item, i) for i, item in enumerate(items)], {}
    for name in recorder.inputs:
        if name not in LATER and "utf8" not in recorder.inputs[name]:
            numbers[name] = [recorder.add(name, row, f"item {i}") for i, row in enumerate(rows, 1)][0]
    if "attention" in recorder.inputs:
        recorder.add("attention", rows[0], "item 1", recorder.links(numbers["generate"], {"tokens"}))
    if "decode_step" in recorder.inputs:
        begin, written = numbers.get("encode", numbers.get("prefill")), recorder.found[numbers["generate"]]["tokens"][0]
        first = recorder.found[begin].get("memory_first", [[BOS]])[0][0]
        recorder.stream("decode_step", begin, [first, *written])
    if "step" in recorder.inputs:
        recorder.stream("step")
    for name in recorder.inputs:
        if "utf8" in recorder.inputs[name]:
            odd = ODD | PROMPT if "prompt" in recorder.file.signatures[name]["outputs"] else ODD
            for about, text in {**{f"text {i}": text for i, text in enumerate(texts, 1)}, **odd}.items():
                recorder.add(name, {**rows[0], "utf8": recorder.file.utf8(text, name)}, about, text=text)


class Recorder:
    """Runs a file and keeps what goes in and what comes out.

    Args:
        file: LiteRTFile.
        form: its format.
        cases: list that the cases are added to.
    """

    def __init__(self, file, form, cases):
        self.file, self.form, self.cases = file, form, cases
        runners = {name: file.interpreter.get_signature_runner(name) for name in file.signatures}
        inputs = {name: runner.get_input_details() for name, runner in runners.items()}
        self.inputs = {name: found for name, found in inputs.items() if form in EXACT or DRAWN not in found}
        self.found = {}  # {number of a case: its outputs, in full}

    def add(self, signature, inputs, about, links=None, **more):
        """Runs a case and keeps it; returns its number. `links` are inputs to be read from earlier cases."""
        number, details = len(self.cases), self.inputs[signature]
        typed = {name: np.asarray(x, details[name]["dtype"]) for name, x in inputs.items() if name in details}
        linked = {name: self.found[link["case"]][link["output"]] for name, link in (links or {}).items()}
        found = self.file.run(signature, **typed, **linked)
        self.cases.append({
            "format": self.form, "signature": signature, "about": about, **more,
            "inputs": {**{name: packed(x) for name, x in typed.items()}, **(links or {})},
            "outputs": {name: sampled(found[name]) for name in sorted(found)},
        })  # fmt: skip
        self.found[number] = found
        return number

    def stream(self, signature, begin=None, tokens=()):
        """Calls in a row; the state is that of the last call, at first of the case `begin`, or zeros."""
        names, last = set(self.inputs[signature]), begin
        states = names & set(self.file.signatures[signature]["outputs"])
        links = {} if begin is None else self.links(begin, names)
        for call in range(CALLS):
            given = {name: self.fresh(signature, name, call, name in states) for name in names - set(links)}
            if tokens:
                given["tokens"] = np.array([[tokens[call]]])
            last = self.add(signature, given, f"call {call + 1}", links)
            links = links | self.links(last, states)

    def links(self, number, names):
        """The outputs of a case that are called so, as inputs of another."""
        return {name: {"case": number, "output": name} for name in sorted(names & set(self.found[number]))}

    def fresh(self, signature, name, call, state):
        """What an input of a stream is given: zeros for a state, the call's number for a whole number, else noise."""
        details = self.inputs[signature][name]
        zeros = np.zeros(details["shape"], details["dtype"])
        if state:
            return zeros
        return noise(zeros, call) if zeros.dtype.kind == "f" else zeros + call

    def item(self, item, number):
        """An item as arrays with a batch axis; a large one of floats becomes noise, which takes little room."""
        if isinstance(item, str):
            return {"source": pad_sources(self.file.tokenizer().encode([item]), self.file.length("source"))}
        arrays = {name: np.asarray(x)[None] if np.ndim(x) else np.asarray(x) for name, x in item.items()}
        return {name: noise(x, number) if x.dtype.kind == "f" and x.size > CYCLE else x for name, x in arrays.items()}


def noise(x, number):
    """Numbers from 0 to 1 of the shape of x, the same again after each 251; others for each number."""
    cycle = ((97 + number) * np.arange(CYCLE) % CYCLE / CYCLE).round(3)
    return np.resize(cycle, x.shape).astype("float32")


def packed(x):
    """An array as JSON: without the zeros at its end, and once only what repeats."""
    flat, head = x.reshape(-1), {"dtype": x.dtype.name, "shape": list(x.shape)}
    if x.size > CYCLE and x.any() and (np.resize(flat[:CYCLE], x.size) == flat).all():
        return {**head, "data": plain(flat[:CYCLE]), "repeat": True}
    return {**head, "data": plain(flat[: np.flatnonzero(flat)[-1] + 1] if x.any() else flat[:0])}


def sampled(x):
    """An output as JSON; of a large one of floats every so many numbers."""
    if x.dtype.kind != "f" or x.size <= LARGE:
        return packed(x)
    every = x.size // LARGE
    return {"dtype": x.dtype.name, "shape": list(x.shape), "data": plain(x.reshape(-1)[::every]), "every": every}


def plain(x):
    """Numbers that JSON reads back as they are, in as few digits as their type needs."""
    return [float(str(number)) for number in x] if x.dtype.kind == "f" else x.astype(int).tolist()
