"""Run exported files without the model: `LiteRTRunner` needs ai_edge_litert, `SavedModelRunner` tensorflow."""

import json

import numpy as np

from keras_seq.deploy.bundle import CARD, VOCABULARY, read_files

PAD, BOS, EOS = 0, 1, 2  # as in keras_seq.decoding, which needs Keras


class LiteRTRunner:
    """Runs the signatures of a .tflite of `keras_seq.deploy.litert`.

    Args:
        path: the file.
        num_threads: 1 is fastest for one sentence at a time, nearly always.

    Example:
        >>> runner = LiteRTRunner("saved_models/translation/export/model_int8.tflite")
        >>> runner(["Open the file."])
        ['Ouvrez le fichier.']
    """

    def __init__(self, path, num_threads=1):
        from ai_edge_litert.interpreter import Interpreter

        self.path = str(path)
        self.interpreter = Interpreter(model_path=self.path, num_threads=num_threads)
        self.signatures = self.interpreter.get_signature_list()  # {name: {"inputs": [...], "outputs": [...]}}
        self._runners = {name: self.interpreter.get_signature_runner(name) for name in self.signatures}
        self.source_length = int(self._runners["generate"].get_input_details()["source"]["shape"][1])

    def __call__(self, texts, signature="generate"):
        """Texts to texts, with the vocabulary that lies in the file."""
        tokenizer = self.tokenizer()
        rows = self.generate(tokenizer.encode(list(texts)), signature)
        return tokenizer.decode(rows.tolist())  # EOS and PAD are no text

    def generate(self, sources, signature="generate"):
        """Rows of source ids (without EOS or PAD, or with them) to rows of tokens (n, T)."""
        rows = pad_sources(sources, self.source_length)
        tokens = [self.run(signature, source=row)["tokens"][0] for row in rows]
        return np.array(tokens, "int32").reshape(len(tokens), -1)

    def run(self, signature, **inputs):
        """One call of a signature with numpy arrays, rows without their batch axis or with it; outputs by name."""
        runner = self._runners[signature]
        shapes = {name: details["shape"] for name, details in runner.get_input_details().items()}
        return runner(**{name: np.asarray(value).reshape(shapes[name]) for name, value in inputs.items()})

    def logits(self, source, target):
        """Logits (T, V) of the model inputs `target` (T,), by `encode` and `decode_step`, as a streaming host would."""
        memory = self.run("encode", source=source)
        state = {name: memory.pop(name) for name in list(memory) if name.startswith("state_")}
        memory = {name: value for name, value in memory.items() if name in self.signatures["decode_step"]["inputs"]}
        logits = []
        for index, token in enumerate(target):
            found = self.run("decode_step", tokens=np.int32([token]), index=np.int32(index), **memory, **state)
            logits.append(found.pop("logits")[0])
            state = found
        return np.array(logits)

    def card(self):
        """The JSON card in the file: signatures, sizes, ids."""
        return json.loads(self._file(CARD))

    def tokenizer(self):
        """The sentencepiece tokenizer in the file."""
        import sentencepiece

        return sentencepiece.SentencePieceProcessor(model_proto=self._file(VOCABULARY))

    def _file(self, name):
        files = read_files(self.path)
        if name not in files:
            raise ValueError(f"Expected {name} inside {self.path}; got {sorted(files) or 'no files'}. Export it again.")
        return files[name]


class SavedModelRunner:
    """Runs a SavedModel of `keras_seq.deploy.savedmodel`: texts in, texts out.

    Args:
        path: the folder.
        batch: rows a call.
    """

    def __init__(self, path, batch=32):
        import tensorflow as tf

        self.batch = batch
        self.loaded = tf.saved_model.load(str(path))
        self.signatures = self.loaded.signatures

    def __call__(self, texts):
        texts = list(texts)
        parts = [texts[i : i + self.batch] for i in range(0, len(texts), self.batch)]
        found = [self.run("generate", texts=np.array(part, object))["text"] for part in parts]
        return [text.decode() for part in found for text in part]

    def generate(self, sources, source_length=None):
        """Rows of source ids to rows of tokens (n, T)."""
        longest = max((len(row) for row in sources), default=0) + 1
        rows = pad_sources(sources, source_length or longest)
        parts = [rows[i : i + self.batch] for i in range(0, len(rows), self.batch)]
        return np.concatenate([self.run("generate_ids", source=part)["tokens"] for part in parts])

    def run(self, signature, **inputs):
        """One call of a signature; outputs by name, as numpy arrays."""
        import tensorflow as tf

        found = self.signatures[signature](**{name: tf.constant(value) for name, value in inputs.items()})
        return {name: value.numpy() for name, value in found.items()}


def pad_sources(sources, length):
    """Rows of ids to (n, length): cut to length - 1, then EOS, then PAD. An EOS and PAD that are there stay one."""
    rows = np.full((len(sources), length), PAD, "int32")
    for row, ids in zip(rows, sources):
        ids = until_eos(ids)[: length - 1]
        row[: len(ids)] = ids
        row[len(ids)] = EOS
    return rows


def until_eos(row):
    """The ids before EOS or PAD, as a list."""
    ids = [int(i) for i in row]
    ends = [ids.index(i) for i in (EOS, PAD) if i in ids]
    return ids[: min(ends)] if ends else ids
