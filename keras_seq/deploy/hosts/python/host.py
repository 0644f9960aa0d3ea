"""Runs an exported .tflite with ai-edge-litert and numpy alone, and checks files against golden.json.

    pip install ai-edge-litert numpy
    python host.py --check                                      # every file of this bundle
    python host.py ../../model_int8.tflite                      # its signatures
    python host.py ../../model_int8.tflite "Open the file."     # where the model reads text
"""

import argparse
import itertools
import json
import pathlib
import re
import sys
import zipfile

import numpy as np
from ai_edge_litert.interpreter import Interpreter

AMID = bytes(range(0x80, 0xC0))  # no character begins with one of these
BUNDLE = pathlib.Path(__file__).resolve().parents[2]


class Model:
    """An exported file.

    Args:
        path: the .tflite.
        threads: 1 is fastest for one item at a time, nearly always.

    Example:
        >>> model = Model("model_int8.tflite")
        >>> model.text("Open the file.")
        'Ouvrez le fichier.'
    """

    def __init__(self, path, threads=1):
        self.path = pathlib.Path(path)
        self.interpreter = Interpreter(model_path=str(path), num_threads=threads)
        self.signatures = self.interpreter.get_signature_list()  # {name: {"inputs": [...], "outputs": [...]}}
        self.runners = {name: self.interpreter.get_signature_runner(name) for name in self.signatures}

    def run(self, signature, **inputs):
        """One call, numpy arrays in and out, by name."""
        return self.runners[signature](**inputs)

    def text(self, given, signature="text"):
        """What the model makes of a text, or of {name: array}: a text, or {name: array} where it does not write one."""
        reads = isinstance(given, str)
        outputs = self.run(signature, **({"utf8": self.utf8(given, signature)} if reads else given))
        if "utf8" not in outputs:
            return outputs
        letters = outputs["utf8"][0]
        nothing = reads and not given.strip()
        return "" if nothing else bytes(letters[letters > 0].astype("uint8")).decode(errors="replace")

    def words(self, text):
        """The words and marks of a text, where the card has `words`: `text` wants them with a space between.

        Example:
            >>> model.text(" ".join(model.words("It works.")))["words"]
            array([3], dtype=int32)
        """
        return words(text, **self.card()["words"])

    def utf8(self, text, signature="text"):
        """A text as the signature reads it: int32 (1, N), its bytes, then 0; of too long a prompt the last N."""
        size = self.inputs(signature)["utf8"]["shape"][1]
        data = text.encode()
        if "prompt" in self.signatures[signature]["outputs"]:
            data = data[-size:].lstrip(AMID)
        data = data[:size]
        return np.array([[*data, *[0] * (size - len(data))]], "int32")

    def stream(self, signature="step", **state):
        """A function that calls the signature again and again and hands its state on; the state is zeros at first.

        Example:
            >>> step = model.stream()
            >>> for i, frame in enumerate(frames):
            ...     print(step(frame=frame[None], index=np.int32(i))["probabilities"])
        """
        details = self.inputs(signature)
        names = set(details) & set(self.signatures[signature]["outputs"])
        state = {name: np.zeros(details[name]["shape"], details[name]["dtype"]) for name in names} | state

        def call(**inputs):
            outputs = self.run(signature, **inputs, **state)
            state.update({name: outputs[name] for name in names})
            return {name: x for name, x in outputs.items() if name not in names}

        return call

    def inputs(self, signature):
        """{name: details} of what a signature reads."""
        return self.runners[signature].get_input_details()

    def card(self):
        """What the file says of itself: its sizes, its signatures, how it was trained."""
        with zipfile.ZipFile(self.path) as archive:
            return json.loads(archive.read("card.json"))


def words(text, pattern, whole, clitics, quotes, **_):
    """The words and marks of a text, cut as a card's `words` says."""
    whole, found, marks = set(whole), [], itertools.cycle(["``", "''"])
    for chunk in text.split():
        first = len(found)
        for word in [chunk] if chunk in whole else re.findall(pattern, chunk):
            ends = () if word in whole else clitics
            size = next((len(end) for end in ends if word.lower().endswith(end) and len(word) > len(end)), 0)
            if word == "." and len(found) > first and found[-1] + "." in whole:
                found[-1] += "."
            else:
                found += [word[:-size], word[-size:]] if size else [word]
    return [next(marks) if quotes and word == '"' else word.replace("\u2581", "_") for word in found]


# --- golden.json ------------------------------------------------------------------------------------------------------


def check(folder):
    """Runs the cases of golden.json; returns the number that passed, and a line for each that did not."""
    golden = json.loads((folder / "golden.json").read_text(encoding="utf-8"))
    models = {name: Model(folder / file) for name, file in golden["files"].items()}
    results, failed = [], []
    for case in golden["cases"]:
        model, name = models[case["format"]], case["signature"]
        inputs = {key: array(given, results) for key, given in case["inputs"].items()}
        if "text" in case and (model.utf8(case["text"], name) != inputs["utf8"]).any():
            failed.append(f"{case['format']} {name} {case['about']}: other bytes of the text")
        results.append(model.run(name, **inputs))
        for key, expected in case["outputs"].items():
            if problem := compare(results[-1][key], expected, golden["tolerance"][case["format"]]):
                failed.append(f"{case['format']} {name} {case['about']}: {key} {problem}")
    return len(results), failed


def array(given, results):
    """An input of golden.json as an array."""
    if "case" in given:
        return results[given["case"]][given["output"]]
    data, size = np.array(given["data"], given["dtype"]), int(np.prod(given["shape"]))
    data = np.resize(data, size) if given.get("repeat") else np.pad(data, (0, size - data.size))
    return data.reshape(given["shape"])


def compare(found, expected, tolerance):
    """What is wrong with an output; None where it is as expected."""
    if list(found.shape) != expected["shape"]:
        return f"has the shape {list(found.shape)} instead of {expected['shape']}"
    found = found.reshape(-1)[:: expected.get("every", 1)]
    wanted = array({**expected, "shape": [found.size]}, [])
    if found.dtype.kind != "f":
        return None if (found == wanted).all() else "differs"
    distance = float(np.abs(found - wanted).max(initial=0))
    allowed = tolerance * max(1.0, float(np.abs(wanted).max(initial=0)))
    return None if distance <= allowed else f"differs by {distance:.2g}, more than {allowed:.2g}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", help="a .tflite")
    parser.add_argument("texts", nargs="*", help="what it is to read")
    parser.add_argument("--signature", default="text", help="text or text_beam")
    parser.add_argument("--check", action="store_true", help="compare the files of the bundle with golden.json")
    parser.add_argument("--bundle", default=BUNDLE, type=pathlib.Path, help="the folder of golden.json")
    args = parser.parse_args()
    if args.check:
        count, failed = check(args.bundle)
        print(*failed, f"{count} cases, {len(failed)} differences", sep="\n")
        return 1 if failed else 0
    if not args.model:
        parser.error("expected a .tflite or --check")
    model = Model(args.model)
    for text in args.texts:
        print(model.text(text, args.signature))
    if not args.texts:
        print(json.dumps(model.card()["signatures"], indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
