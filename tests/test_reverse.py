"""The five-minute proof that models learn: strings come back reversed, by beam search, on strings never seen."""

import numpy as np
import pytest

from keras_seq.data import Bucketed
from keras_seq.decoding import generate_rows

LETTERS, LONGEST = 8, 7  # ids 4 .. 11, and words of 3 to 7 of them


def words(count, seed):
    """Distinct random words as tuples of ids."""
    random = np.random.default_rng(seed)
    found = set()
    while len(found) < count:
        found.add(tuple(random.integers(4, 4 + LETTERS, random.integers(3, LONGEST + 1)).tolist()))
    return sorted(found)


def make(family):
    from keras_seq import models

    if family == "transformer":
        return models.TransformerSeq2Seq(4 + LETTERS, 48, 4, 2, 96, position="rotary", dropout=0.0)
    return models.RecurrentSeq2Seq(4 + LETTERS, 48, 64, attention="additive", dropout=0.0)


@pytest.mark.tensorflow
@pytest.mark.parametrize("family", ["transformer", "lstm"])
def test_it_learns_to_reverse_a_string(family):
    import keras

    from keras_seq import training

    every = words(4400, seed=3)
    order = np.random.default_rng(5).permutation(len(every))
    train, test = [every[i] for i in order[:4000]], [every[i] for i in order[4000:]]
    batches = Bucketed({"source": train, "target": [word[::-1] for word in train]}, batch_tokens=1024, seed=1)
    model, epochs = make(family), 14
    schedule = training.WarmupCosine(5e-3, 50, epochs * batches.steps)
    model.compile(keras.optimizers.Adam(schedule, global_clipnorm=1.0), training.TokenCrossEntropy())
    model.fit(batches.dataset(), steps_per_epoch=batches.steps, epochs=epochs, shuffle=False, verbose=0)
    found = generate_rows(model, [list(word) for word in test], beams=2)
    right = np.mean([results[0][1] == list(word[::-1]) for results, word in zip(found, test)])
    assert right >= 0.95, f"{right:.1%} of {len(test)} unseen words came back reversed"
