"""How many layers a feed-forward has, what it sees, and how much of a block it is."""

import numpy as np

from keras_seq import layers

DIM, WIDTH = 64, 256


def size(layer):
    return int(sum(np.prod(weight.shape) for weight in layer.trainable_weights))


def run():
    x = np.random.default_rng(0).normal(size=(1, 7, DIM)).astype("float32")
    plain, gated = layers.FeedForward(WIDTH), layers.FeedForward(WIDTH, "swiglu")
    block = layers.Block(4, WIDTH)
    for layer in (plain, gated, block):
        layer(x)
    other = x.copy()
    other[:, 3] += 1.0
    moved = np.abs(np.asarray(plain(other)) - np.asarray(plain(x)))[0].max(-1) > 0
    return {
        "matrices": sum(len(weight.shape) == 2 for weight in plain.weights),
        "gated_matrices": sum(len(weight.shape) == 2 for weight in gated.weights) + 1,  # W1 and W3 lie side by side
        "share": 100 * size(block.feed_forward) / size(block),
        "moved": int(moved.sum()),
    }
