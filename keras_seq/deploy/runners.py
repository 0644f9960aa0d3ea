"""Run exported files without the model: those of LiteRT need ai_edge_litert, those of a SavedModel tensorflow."""

import contextlib
import functools
import json
import os
import sys

import numpy as np

from keras_seq.deploy.bundle import CARD, VOCABULARY, read_files

PAD, BOS, EOS = 0, 1, 2  # as in keras_seq.decoding, which needs Keras
AMID = bytes(range(0x80, 0xC0))  # no character begins with one of these
BYTES_OF_AN_ID = 8  # room in `utf8`: more than any but a made-up text takes


class LiteRTFile:
    """A .tflite, its signatures, and the files that lie in it.

    Args:
        path: the file.
        num_threads: 1 is fastest for one item at a time, nearly always.
    """

    main = "predict"  # the signature that tells what the file reads

    def __init__(self, path, num_threads=1):
        from ai_edge_litert.interpreter import Interpreter

        self.path = str(path)
        with without_notes():
            self.interpreter = Interpreter(model_path=self.path, num_threads=num_threads)
            self.interpreter.allocate_tensors()
        self.signatures = self.interpreter.get_signature_list()  # {name: {"inputs": [...], "outputs": [...]}}
        self._runners = {name: self.interpreter.get_signature_runner(name) for name in self.signatures}
        self.shapes = {name: shapes_of(runner) for name, runner in self._runners.items()}  # of the inputs, with batch

    def run(self, signature, **inputs):
        """One call of a signature with numpy arrays, rows without their batch axis or with it; outputs by name."""
        shapes = self.shapes[signature]
        return self._runners[signature](**{name: fitted(name, x, shapes[name]) for name, x in inputs.items()})

    def utf8(self, text, signature):
        """A text as the bytes of a signature that reads them; too long a one is cut, a prompt at its beginning."""
        row = np.zeros(self.shapes[signature]["utf8"], "int32")
        data = text.encode()
        if "prompt" in self.signatures[signature]["outputs"]:
            data = data[-row.size :].lstrip(AMID)
        data = data[: row.size]
        row[0, : len(data)] = list(data)
        return row

    def written(self, items, signature="text"):
        """The texts that a signature gives as bytes, for items {name: array}."""
        return [spelled(self.run(signature, **item)["utf8"][0]) for item in items]

    def ids(self, texts, name):
        """Texts as rows of the input `name`, with the vocabulary that lies in the file."""
        if name == "prompt":
            before = self.card().get("before", "")
            return pad_prompts(self.tokenizer().encode([before + text for text in texts]), self.length(name))
        return pad_sources(self.tokenizer().encode(list(texts)), self.length(name))

    def length(self, name):
        """How many ids the input `name` takes; where that is open, how many the file was asked to take."""
        return self.shapes[self.main][name][1] or self.shapes["text"]["utf8"][1] // BYTES_OF_AN_ID

    def card(self):
        """The JSON card in the file: signatures, sizes, ids."""
        return json.loads(self.file(CARD))

    def tokenizer(self):
        """The sentencepiece tokenizer in the file."""
        return self._tokenizer

    @functools.cached_property
    def _tokenizer(self):
        import sentencepiece

        return sentencepiece.SentencePieceProcessor(model_proto=self.file(VOCABULARY))

    @functools.cached_property
    def _files(self):
        return read_files(self.path)

    def file(self, name):
        """The bytes of a file that lies in this one.

        Raises:
            ValueError: where there is none of that name.
        """
        if name not in self._files:
            got = sorted(self._files) or "no files"
            raise ValueError(f"Expected {name} inside {self.path}; got {got}. Export it again.")
        return self._files[name]


def spelled(row, errors="strict"):
    """The text of a row of bytes, 0 after its end; `errors` as of `bytes.decode`."""
    return bytes(row[row > 0].astype("uint8")).decode(errors=errors)


class Stepping:
    """What both kinds of files that write text can do: foretell it a token at a time."""

    def logits(self, item, target):
        """Logits (T, V) of the model inputs `target` (T,), by `encode` and `decode_step`, as a streaming host would."""
        memory = self.run("encode" if "encode" in self.signatures else "prefill", **self.named(item))
        state = {name: memory.pop(name) for name in list(memory) if name.startswith("state_")}
        memory = {name: value for name, value in memory.items() if name in self.shapes["decode_step"]}
        logits = []
        for index, token in enumerate(target):
            found = self.run("decode_step", tokens=np.int32([[token]]), index=np.int32(index), **memory, **state)
            logits.append(found.pop("logits")[0])
            state = found
        return np.array(logits)


class LiteRTRunner(Stepping, LiteRTFile):
    """Runs a .tflite that writes text.

    Example:

        runner = LiteRTRunner("saved_models/translation/model_int8.tflite")
        runner(["Open the file."])  # ['Ouvrez le fichier.']
    """

    main = "generate"

    def __call__(self, items, signature="generate"):
        """Texts, or items {name: array}, to texts, with the vocabulary that lies in the file."""
        items = list(items)
        rows = items if items and isinstance(items[0], dict) else self.read(items)
        tokens, tokenizer = self.generate(rows, signature), self.tokenizer()
        if "prompt" in self.shapes[self.main]:
            return following(tokenizer, [row["prompt"] for row in rows], tokens)
        return tokenizer.decode(tokens.tolist())  # EOS and PAD are no text

    def read(self, texts):
        """Texts as items: the source of what is written, or a prompt."""
        name = "prompt" if "prompt" in self.shapes[self.main] else "source"
        return [{name: row} for row in self.ids(texts, name)]

    def text(self, items, signature="text"):
        """`self(items)` with the tokenizer that is in the graph; `text_beam` for the beam search."""
        given = [item if isinstance(item, dict) else {"utf8": self.utf8(item, signature)} for item in items]
        return self.written(given, signature)

    def generate(self, items, signature="generate"):
        """Items {name: array}, or rows of source ids (without EOS or PAD, or with them), to rows of tokens (n, T)."""
        tokens = [self.run(signature, **self.named(item))["tokens"][0] for item in items]
        return np.array(tokens, "int32").reshape(len(tokens), -1)

    def named(self, item):
        """An item as the inputs of `generate` and `encode`."""
        if isinstance(item, dict):
            return item
        return {"source": pad_sources([item], self.length("source"))}


class LiteRTPredictor(LiteRTFile):
    """Runs a .tflite that predicts: items or texts to named outputs.

    Example:

        predictor = LiteRTPredictor("saved_models/sentiment/model_int8.tflite")
        predictor(["A moving film."])  # [{'probabilities': array([0.02, 0.98], dtype=float32)}]
    """

    def __call__(self, items):
        """Items {name: array}, or texts where the file reads tokens, to {name: array} each, without the batch axis."""
        items = list(items)
        if items and isinstance(items[0], str):
            items = [{"tokens": row} for row in self.ids(items, "tokens")]
        return [{name: x[0] for name, x in self.run("predict", **item).items()} for item in items]

    def text(self, texts):
        """`self(texts)` with the tokenizer that is in the graph."""
        found = [self.run("text", utf8=self.utf8(text, "text")) for text in texts]
        return [{name: x[0] for name, x in outputs.items()} for outputs in found]


class SavedModelFile:
    """A SavedModel and its signatures.

    Args:
        path: the folder.
        batch: rows a call.
    """

    def __init__(self, path, batch=32):
        import tensorflow as tf

        self.batch = batch
        self.loaded = tf.saved_model.load(str(path))
        self.signatures = self.loaded.signatures
        self.shapes = {name: reads(signature) for name, signature in self.signatures.items()}

    def run(self, signature, **inputs):
        """One call of a signature; outputs by name, as numpy arrays."""
        import tensorflow as tf

        found = self.signatures[signature](**{name: tf.constant(value) for name, value in inputs.items()})
        return {name: value.numpy() for name, value in found.items()}

    def batches(self, items, name):
        """Texts or items as the inputs of one call after the other; texts are called `name`."""
        items = list(items)
        for part in (items[i : i + self.batch] for i in range(0, len(items), self.batch)):
            yield {name: np.array(part, object)} if isinstance(part[0], str) else stack(part)

    def written(self, items):
        """The texts that `generate` gives for texts or items."""
        found = [self.run("generate", **inputs)["text"] for inputs in self.batches(items, "texts")]
        return [text.decode() for part in found for text in part]


class SavedModelRunner(Stepping, SavedModelFile):
    """Runs a SavedModel that writes text: texts, or items {name: array}, in, texts out."""

    def __call__(self, items):
        return self.written(items)

    def named(self, item):
        """An item as the inputs of `encode`."""
        return stack([item])

    def generate(self, sources, source_length=None):
        """Rows of source ids to rows of tokens (n, T)."""
        longest = max((len(row) for row in sources), default=0) + 1
        rows = pad_sources(sources, source_length or longest)
        parts = [rows[i : i + self.batch] for i in range(0, len(rows), self.batch)]
        return np.concatenate([self.run("generate_ids", source=part)["tokens"] for part in parts])


class SavedModelPredictor(SavedModelFile):
    """Runs a SavedModel that predicts: items, or texts, in, {name: array} each out."""

    def __call__(self, items):
        return [row for inputs in self.batches(items, "texts") for row in unstack(self.run("predict", **inputs))]


def reads(signature):
    """{name: shape} of what a signature of a SavedModel reads; None is a size that may be any."""
    return {name: tuple(spec.shape) for name, spec in signature.structured_input_signature[1].items()}


def shapes_of(runner):
    """{name: shape} of what a signature reads; None is a size that may be any."""
    return {name: shape_of(details) for name, details in runner.get_input_details().items()}


def shape_of(details):
    shape = details["shape"] if details.get("shape_signature") is None else details["shape_signature"]
    return tuple(None if size < 0 else int(size) for size in shape)


def fitted(name, x, shape):
    """An array with its batch axis.

    Raises:
        ValueError: where it has not the shape that a signature reads: the interpreter would quietly resize.
    """
    x = np.asarray(x)
    x = x if x.ndim == len(shape) else x[None]
    if len(shape) != x.ndim or any(size not in (None, found) for size, found in zip(shape, x.shape)):
        raise ValueError(f"Expected {name} of shape {shape}; got {x.shape}.")
    return x


def stack(items):
    """[{name: array}] as {name: array with a batch axis}."""
    return {name: np.stack([item[name] for item in items]) for name in items[0]}


def unstack(outputs):
    """{name: array with a batch axis} as [{name: array}]."""
    return [dict(zip(outputs, row)) for row in zip(*outputs.values())]


def pad_sources(sources, length):
    """Rows of ids to (n, length): cut to length - 1, then EOS, then PAD. An EOS and PAD that are there stay one."""
    rows = np.full((len(sources), length), PAD, "int32")
    for row, ids in zip(rows, sources):
        ids = until_eos(ids)[: length - 1]
        row[: len(ids)] = ids
        row[len(ids)] = EOS
    return rows


def pad_prompts(prompts, length):
    """Rows of ids to (n, length): of each the last `length`, then PAD."""
    rows = np.full((len(prompts), length), PAD, "int32")
    for row, ids in zip(rows, prompts):
        ids = ids[-length:]
        row[: len(ids)] = ids
    return rows


def following(tokenizer, prompts, tokens):
    """The texts of rows of tokens as they follow on their prompts, rows of ids: with the space that may be between."""
    begun = tokenizer.decode([[int(i) for i in row] for row in prompts])
    whole = tokenizer.decode([[int(i) for i in (*first, *row)] for first, row in zip(prompts, tokens)])
    return [text[len(first) :] for first, text in zip(begun, whole)]


def until_eos(row):
    """The ids before EOS or PAD, as a list."""
    ids = [int(i) for i in row]
    ends = [ids.index(i) for i in (EOS, PAD) if i in ids]
    return ids[: min(ends)] if ends else ids


@contextlib.contextmanager
def without_notes():
    """Holds back what C++ libraries write to stderr, for which they have no switch: an error comes as an exception."""
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
