"""A language that a tiny Transformer learns in seconds: each token follows from the one before the last."""

import keras
import numpy as np
from keras import ops

from keras_seq import layers

WORDS, SURE, DIM, BATCH = 8, 0.8, 32, 32
# of eight tokens one has probability 0.8, each of the others 0.2 / 7
ENTROPY = float(-SURE * np.log(SURE) - (1 - SURE) * np.log((1 - SURE) / (WORDS - 1)))


def sentences(count, length, seed):
    """int32 (B, T): x_t is f(x_{t-2}) four times in five, and any other token else; f is a permutation."""
    rng, follows = np.random.default_rng(seed), np.random.default_rng(0).permutation(WORDS)
    x = rng.integers(0, WORDS, (count, length), "int32")
    for t in range(2, length):
        expected = follows[x[:, t - 2]]
        other = (expected + rng.integers(1, WORDS, count)) % WORDS
        x[:, t] = np.where(rng.random(count) < SURE, expected, other)
    return x


def model(position="sinusoidal", causal=True, num_heads=8, **options):
    tokens = keras.Input((None,), dtype="int32")
    x = layers.TokenEmbedding(WORDS, DIM, pad=None)(tokens)
    stack = layers.TransformerEncoder(1, num_heads, mlp_dim=64, position=position, **options)
    return keras.Model(tokens, keras.layers.Dense(WORDS)(stack(x, causal=causal)))


def train(net, length, steps):
    """Losses of training to predict the token after each; the average of ten steps each."""
    x = sentences(BATCH * steps, length + 1, seed=1)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    net.compile(keras.optimizers.Adam(5e-3, global_clipnorm=1.0), loss)
    kept = Kept()
    net.fit(x[:, :-1], x[:, 1:], batch_size=BATCH, shuffle=False, verbose=0, callbacks=[kept])
    totals = np.array(kept.means) * np.arange(1, steps + 1)  # Keras tells the mean so far
    return np.diff(totals, prepend=0).reshape(-1, 10).mean(axis=1)


class Kept(keras.callbacks.Callback):
    """The loss that Keras tells after each step."""

    def __init__(self):
        super().__init__()
        self.means = []

    def on_train_batch_end(self, batch, logs=None):
        self.means.append(logs["loss"])


def losses(logits, targets):
    """-log p of each target: logits (B, T, V), targets (B, T) -> (B, T)."""
    logits = ops.convert_to_numpy(logits).astype("float64")
    logits -= logits.max(-1, keepdims=True)
    logits -= np.log(np.exp(logits).sum(-1, keepdims=True))
    return -np.take_along_axis(logits, targets[..., None], -1)[..., 0]
