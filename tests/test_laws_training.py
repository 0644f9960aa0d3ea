"""What `fit` tells a model: that it trains. Dropout drops out then, and only then."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_seq import layers, models

TOKENS = np.random.default_rng(0).integers(3, 23, (5, 7)).astype("int32")
PICTURES = np.random.default_rng(1).random((5, 16, 16, 3)).astype("float32")
PAIRS = {"source": TOKENS, "target": TOKENS}
SHOWN = {"image": PICTURES, "target": TOKENS}
DROP = {"dropout": 0.5}


def eye():
    return layers.ImageEncoder(8, widths=(5, 7))


def committee():
    members = [models.RecurrentClassifier(23, 3, 8, units=5, dropout=rate) for rate in (0.5, 0.3)]
    return models.Committee(members)


MODELS = {
    "transformer": (lambda: models.TransformerSeq2Seq(23, 8, 2, 1, 16, **DROP), PAIRS),
    "lstm": (lambda: models.RecurrentSeq2Seq(23, 8, 8, **DROP), PAIRS),
    "transformer captioner": (lambda: models.TransformerCaptioner(23, eye(), (16, 16, 3), 2, 1, 16, **DROP), SHOWN),
    "lstm captioner": (lambda: models.RecurrentCaptioner(23, eye(), (16, 16, 3), 8, **DROP), SHOWN),
    "transformer classifier": (lambda: models.TransformerClassifier(23, 3, 8, num_heads=2, mlp_dim=16, **DROP), TOKENS),
    "lstm classifier": (lambda: models.RecurrentClassifier(23, 3, 8, units=5, **DROP), TOKENS),
    "committee": (committee, TOKENS),
    "transformer tagger": (
        lambda: models.TransformerTagger(3, layers.TokenEmbedding(23, 8), num_heads=2, mlp_dim=16, **DROP), TOKENS,
    ),
    "lstm tagger": (lambda: models.RecurrentTagger(3, layers.TokenEmbedding(23, 8), units=5, **DROP), TOKENS),
}  # fmt: skip


@keras.saving.register_keras_serializable(package="tests")
class Size(keras.losses.Loss):
    """The mean square of what comes out: it differs where the outputs do."""

    def call(self, _, y):
        return ops.mean(ops.square(ops.cast(y, "float32")))


@pytest.mark.xfail(
    keras.backend.backend() == "jax",
    reason="the trainer on jax runs `call` itself, and what it says of training gets no further",
)
@pytest.mark.parametrize("name", MODELS)
def test_dropout_is_on_in_fit_and_off_elsewhere(name):
    make, inputs = MODELS[name]
    model = make()
    model.compile(keras.optimizers.SGD(0.0), Size())
    labels = np.zeros(np.shape(model(inputs)), "float32")
    training = [float(model.train_on_batch(inputs, labels)) for _ in range(3)]
    use = [float(model.test_on_batch(inputs, labels)) for _ in range(2)]
    assert len(set(training)) == 3
    if "captioner" not in name:  # training moves the averages of its batch normalisation
        assert use[0] == pytest.approx(use[1], rel=1e-6)
