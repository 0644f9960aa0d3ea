"""mask_report tells where a Keras mask arises, is used and is lost; it changes nothing."""

import keras
import numpy as np
import pytest

from keras_seq import layers
from tests import checks

TOKENS = np.array([[5, 7, 3, 0, 0], [2, 4, 6, 8, 9]], "int32")


def tokens_to(*stack, plus=None):
    """A functional model: an embedding, perhaps a plain addition, and layers."""
    tokens = keras.Input((None,), dtype="int32")
    x = layers.TokenEmbedding(11, 6, name="embedding")(tokens)
    x = x if plus is None else x + plus
    for layer in stack:
        x = layer(x)
    return keras.Model(tokens, x)


def verdicts(rows):
    return {row.name: row.verdict for row in rows}


def test_a_mask_that_arrives():
    model = tokens_to(
        layers.TransformerEncoder(1, 2, 7, name="encoder"),
        layers.Linear(3, name="linear"),
        keras.layers.GlobalAveragePooling1D(name="mean"),
    )
    rows = layers.mask_report(model, TOKENS)
    assert verdicts(rows) == {
        "embedding": "arises",
        "encoder": "used, passed on",
        "linear": "passed on",
        "mean": "used, ends here",
    }
    assert not any(row.lost for row in rows)


def test_a_mask_that_plain_arithmetic_drops():
    rows = layers.mask_report(tokens_to(keras.layers.LSTM(3, name="lstm"), plus=1.0), TOKENS)
    assert [(row.kind, row.verdict) for row in rows] == [
        ("TokenEmbedding", "arises"),
        ("Add", "DROPPED"),
        ("LSTM", "lost before this layer"),
    ]
    lines = str(rows).splitlines()
    assert lines[0].split() == ["layer", "class", "mask", "as"]
    assert lines[3].split(maxsplit=2) == ["lstm", "LSTM", "lost before this layer"]


class Deaf(keras.layers.Layer):
    """Knows nothing of masks."""

    def call(self, x):
        return x * 2.0


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.embedding = layers.TokenEmbedding(11, 6, name="embedding")
        self.attention = layers.MultiHeadAttention(2, name="attention")
        self.cross = layers.MultiHeadAttention(3, name="cross")
        self.deaf = Deaf(name="deaf")
        self.gru = keras.layers.GRU(3, name="gru")

    def call(self, inputs):
        source, target = self.embedding(inputs["source"]), self.embedding(inputs["target"])
        x = self.cross(self.attention(target + 0.5), source)
        return self.gru(self.deaf(self.attention(target)) + x)


def test_a_subclassed_model():
    model, batch = Subclassed(), {"source": TOKENS, "target": TOKENS[:, :3]}
    rows = layers.mask_report(model, batch)
    assert rows[3].uses == ("context_mask",)
    assert [(row.name, row.verdict) for row in rows] == [
        ("embedding", "arises"),
        ("embedding", "arises"),
        ("attention", "lost before this layer"),  # an addition in `call` is no layer: the next one tells
        ("cross", "used, ends here"),
        ("attention", "used, passed on"),
        ("deaf", "DROPPED"),
        ("gru", "lost before this layer"),
    ]


def test_depth_opens_layers_and_a_mask_handed_over_by_name_counts():
    encoder = layers.RecurrentEncoder(3, bidirectional=False, name="encoder")
    rows = layers.mask_report(tokens_to(encoder), TOKENS, depth=2)
    assert [(row.name, row.verdict) for row in rows if row.name.startswith("  ")] == [
        ("  forward_0", "used, passed on")
    ]


def test_keras_is_left_as_it_was():
    before = keras.layers.Layer.__call__, keras.Operation.__call__
    model = tokens_to(layers.Linear(3))
    expected = model(TOKENS)
    layers.mask_report(model, TOKENS)
    checks.close(model(TOKENS), expected, 1e-7)
    with pytest.raises(ValueError, match="do not fit"):
        layers.mask_report(tokens_to(layers.FrameEmbedding(3, size=7)), TOKENS)
    assert (keras.layers.Layer.__call__, keras.Operation.__call__) == before
