"""Tells whether the first number of a row returns: a tiny app for the tests.

python -m tests.toy train        # seconds; accuracy above chance
"""

import dataclasses
import os
import time
from typing import Literal

from keras_seq import app
from keras_seq.app import App, Data, Preview

LENGTH = 7


@dataclasses.dataclass(frozen=True)
class Config:
    units: int = 5  # width of the recurrent layer
    cell: Literal["gru", "simple"] = "gru"  # the recurrence
    dropout: float = 0.25  # share of the features that is dropped
    rows: int = 96  # training rows
    slow: float = 0.0  # seconds that each batch waits
    bias: bool = True  # a bias in the last layer
    epochs: int = 4  # passes over the rows

    def __post_init__(self):
        if self.units < 1:
            raise ValueError(f"expected --units of at least 1, got {self.units}: give a larger one")


class Batches:
    """Batches of generated rows in an order that depends on the epoch only."""

    def __init__(self, x, y, size, slow=0.0):
        self.x, self.y, self.size, self.slow = x, y, size, slow
        self.steps = len(x) // size

    def rows(self, epoch):
        import numpy as np

        while True:
            order = np.random.default_rng(epoch).permutation(len(self.x))
            for i in range(self.steps):
                time.sleep(self.slow)
                some = order[i * self.size : (i + 1) * self.size]
                yield self.x[some], self.y[some]
            epoch += 1

    def dataset(self, epoch=0):
        import tensorflow as tf

        spec = tf.TensorSpec((None, LENGTH), "int32"), tf.TensorSpec((None,), "float32")
        return tf.data.Dataset.from_generator(lambda: self.rows(epoch), output_signature=spec)


def data(config):
    import numpy as np

    x = np.random.default_rng(3).integers(1, 12, (config.rows + 64, LENGTH)).astype("int32")
    y = (x[:, 1:] == x[:, :1]).any(axis=1).astype("float32")
    n = config.rows
    test = [{"row": row.tolist(), "label": int(label)} for row, label in zip(x[n + 32 :], y[n + 32 :])]
    train, valid = Batches(x[:n], y[:n], 16, config.slow), Batches(x[n : n + 32], y[n : n + 32], 16)
    assets = {"labels": ["new", "returns"], "note.bin": b"\x00\xffraw"}
    return Data(train, valid, test, assets, [f"{n} rows for training, {len(test)} for the test"])


def model(config, assets):
    import keras

    x = inputs = keras.Input((LENGTH,), dtype="int32")
    x = keras.layers.Embedding(13, 8)(x)
    cell = keras.layers.GRU if config.cell == "gru" else keras.layers.SimpleRNN
    x = keras.layers.Dropout(config.dropout)(cell(config.units)(x))
    x = keras.layers.Dense(1, use_bias=config.bias, dtype="float32")(x)
    net = keras.Model(inputs, x)
    rate = keras.optimizers.schedules.ExponentialDecay(0.03, 10, 0.9)
    net.compile(keras.optimizers.Adam(rate), keras.losses.BinaryCrossentropy(from_logits=True))
    return net


def scores(model, rows):
    import numpy as np

    return np.asarray(model(np.asarray(rows, "int32")))[:, 0]


def predict(config, model, assets, texts, threshold=0.0, both=False):
    rows = [[int(word) for word in text.split()] for text in texts]
    if any(len(row) != LENGTH for row in rows):
        raise ValueError(f"expected {LENGTH} numbers in a row, got {min(map(len, rows))}: write them with spaces")
    names = [assets["labels"][int(score > threshold)] for score in scores(model, rows)]
    return [[name, name.upper()] for name in names] if both else names


def evaluate(config, model, assets, examples):
    import numpy as np

    guesses = scores(model, [e["row"] for e in examples]) > 0
    right = guesses == np.array([e["label"] for e in examples])
    return {"accuracy": right.mean(), "by_label": {"all": {"rows": len(right), "right": int(right.sum())}}}


def preview(config, model, assets, examples):
    from keras_seq import plots

    guesses = scores(model, [e["row"] for e in examples[:3]])
    texts = [f"{e['row']} -> {guess:.2f}" for e, guess in zip(examples, guesses)]
    figures = {"weights": plots.attention_map([[0.25, 0.75]], ["a", "b"], ["c"])}
    return Preview({"accuracy": evaluate(config, model, assets, examples)["accuracy"]}, texts, figures)


@dataclasses.dataclass(frozen=True)
class PredictOptions:
    threshold: float = 0.0  # score above which the first number returns
    both: bool = False  # print two columns


@dataclasses.dataclass(frozen=True)
class ExportOptions(app.ExportOptions):
    tolerance: float = 7.0  # points
    agree: bool = True  # whether the check passes


def export(config, model, assets, folder, examples, options):
    (folder / "toy.bin").write_bytes(os.urandom(7))
    (folder / "toy_saved").mkdir()
    (folder / "toy_saved" / "part.bin").write_bytes(b"part")
    return {"ok": options.agree, "examples": len(examples), "files": {"toy.bin": {"bytes": 7}}}


def read(config, path):
    lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
    return [{"row": [int(n) for n in line[:-1]], "label": int(line[-1])} for line in lines]


APP = App(
    "toy",
    Config,
    data,
    model,
    predict,
    evaluate,
    preview,
    export,
    read,
    predict_options=PredictOptions,
    export_options=ExportOptions,
    about="The rows are random numbers.",
)

if __name__ == "__main__":
    APP.main()
