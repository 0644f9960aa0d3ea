"""What `fit` tells a model: that it trains. Dropout drops out then, and only then."""

import functools
import gc
import weakref

import keras
import numpy as np
import pytest
from keras import ops

from keras_seq import kernels, layers, models
from tests import checks

TOKENS = np.random.default_rng(0).integers(3, 23, (5, 7)).astype("int32")
PICTURES = np.random.default_rng(1).random((5, 16, 16, 3)).astype("float32")
PAIRS = {"source": TOKENS, "target": TOKENS}
SHOWN = {"image": PICTURES, "target": TOKENS}
VECTORS = np.random.default_rng(2).normal(size=(5, 7, 8)).astype("float32")
DROP = {"dropout": 0.5}
LSTM = {"name": "recurrent", "units": 5}


def eye():
    return layers.ImageEncoder(8, widths=(5, 7))


def committee():
    members = [models.RecurrentClassifier(23, 3, 8, units=5, dropout=rate) for rate in (0.5, 0.3)]
    return models.Committee(members)


def functional():
    x = keras.Input((None, 8))
    return keras.Model(x, layers.TransformerEncoder(1, 2, 16, **DROP)(x))


class Own(models.Model):
    """A model as a user writes it: what it is told of training it hands on to nobody."""

    def __init__(self):
        super().__init__()
        self.encoder = layers.RecurrentEncoder(5, **DROP)
        self.batch_norm = keras.layers.BatchNormalization()

    def call(self, x, training=None):
        return self.batch_norm(self.encoder(x))


MODELS = {
    "transformer": (lambda: models.TransformerSeq2Seq(23, 8, 2, 1, 16, **DROP), PAIRS),
    "lstm": (lambda: models.RecurrentSeq2Seq(23, 8, 8, **DROP), PAIRS),
    "transformer language model": (lambda: models.TransformerLanguageModel(23, 8, 2, 1, 16, **DROP), PAIRS),
    "lstm language model": (lambda: models.RecurrentLanguageModel(23, 8, 5, **DROP), PAIRS),
    "transformer captioner": (lambda: models.TransformerCaptioner(23, eye(), (16, 16, 3), 2, 1, 16, **DROP), SHOWN),
    "lstm captioner": (lambda: models.RecurrentCaptioner(23, eye(), (16, 16, 3), 8, **DROP), SHOWN),
    "transformer classifier": (lambda: models.TransformerClassifier(23, 3, 8, num_heads=2, mlp_dim=16, **DROP), TOKENS),
    "lstm classifier": (lambda: models.RecurrentClassifier(23, 3, 8, units=5, **DROP), TOKENS),
    "committee": (committee, TOKENS),
    "bag classifier": (lambda: checks.shake(models.BagClassifier(23, 3, 101, **DROP)), TOKENS),  # zero until it learns
    "transformer tagger": (
        lambda: models.TransformerTagger(3, layers.TokenEmbedding(23, 8), num_heads=2, mlp_dim=16, **DROP), TOKENS,
    ),
    "lstm tagger": (lambda: models.RecurrentTagger(3, layers.TokenEmbedding(23, 8), units=5, **DROP), TOKENS),
    "word tagger": (lambda: models.WordTagger(3, [0, *[1, 2] * 11], LSTM, 8, **DROP), TOKENS),
    "masked language model": (lambda: models.MaskedLM(23, 8, LSTM, **DROP), {"tokens": TOKENS, "places": TOKENS % 7}),
    "functional": (functional, VECTORS),
    "a user's own": (Own, VECTORS),
}  # fmt: skip


@keras.saving.register_keras_serializable(package="tests")
class Size(keras.losses.Loss):
    """The mean square of what comes out, each feature with its own weight: that of normalised outputs would be one."""

    def call(self, _, y):
        return ops.mean(ops.square(ops.cast(y, "float32")) * ops.arange(1, y.shape[-1] + 1, dtype="float32"))


@pytest.mark.parametrize("name", MODELS)
def test_dropout_is_on_in_fit_and_off_elsewhere(name):
    make, inputs = MODELS[name]
    model = make()
    model.compile(keras.optimizers.SGD(0.0), Size())
    labels = np.zeros(np.shape(model(inputs)), "float32")
    training = [float(model.train_on_batch(inputs, labels)) for _ in range(3)]
    use = [float(model.test_on_batch(inputs, labels)) for _ in range(2)]
    assert len(set(training)) == 3
    assert use[0] == pytest.approx(use[1], rel=1e-6)


def test_a_regulariser_of_a_layer_is_part_of_the_loss():
    model = Own()
    model.batch_norm.gamma_regularizer = keras.regularizers.L2(3.0)
    model.compile(keras.optimizers.SGD(0.0), Size())
    y = ops.stop_gradient(model(VECTORS))
    loss = float(model.test_on_batch(VECTORS, np.zeros(y.shape)))
    assert loss == pytest.approx(float(Size()(y, y)) + 30, rel=1e-5)


@pytest.mark.parametrize("name", ["Adam", "AdamW"])
def test_our_optimizers_are_those_of_keras(name):
    """Weights, moments and all, after some steps with a schedule and clipping; and from a config."""
    from keras_seq import training

    table, found = np.random.default_rng(4).normal(size=(7, 5)).astype("float32"), {}
    for library in (keras.optimizers, training):
        schedule = keras.optimizers.schedules.CosineDecay(0.1, 9)
        made = getattr(library, name)(schedule, beta_2=0.98, epsilon=1e-5, global_clipnorm=0.5)
        made = type(made).from_config(made.get_config())
        weights = [keras.Variable(table), keras.Variable(table[0])]
        made.build(weights)
        for step in range(4):
            made.apply([ops.convert_to_tensor(np.cos((step + 2) * w)) for w in (table, table[0])])
        found[library] = [np.array(ops.convert_to_numpy(v)) for v in [*weights, *made.variables]]
    for theirs, ours in zip(*found.values(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-6)
    assert np.abs(found[training][0] - table).max() > 0.1


@pytest.mark.tensorflow
@pytest.mark.parametrize("name", ["Adam", "AdamW"])
def test_fit_runs_the_kernel_of_adam(name):
    import tensorflow as tf

    from keras_seq import training

    weight = keras.Variable(np.ones((7, 5), "float32"))
    optimizer = getattr(training, name)(0.1)
    optimizer.build([weight])
    step = tf.function(lambda gradient: optimizer.apply([gradient], [weight]))
    kernels = [op.type for op in step.get_concrete_function(tf.ones((7, 5))).graph.get_operations()]
    assert kernels.count("ResourceApplyAdam") == 1


def test_cross_entropy_of_half_precision_is_near():
    """The loss of bfloat16 is float32, its gradient bfloat16, and a probability too small for its digits counts."""
    from keras_seq import training

    logits = 3 * checks.normal(2, 5, 11)
    logits[0, 0, 3] = -300
    labels = np.random.default_rng(6).integers(0, 11, (2, 5)).astype("int32")
    labels[0, 0] = 3
    half = ops.cast(logits, "bfloat16")
    ours, exact = training.TokenCrossEntropy(), ops.cast(half, "float32")
    for first in (0, 1):  # with the odd one and without
        loss = functools.partial(ours, labels[first:])
        one, other = loss(half[first:]), loss(exact[first:])
        assert keras.backend.standardize_dtype(one.dtype) == "float32"
        assert float(one) == pytest.approx(float(other), rel=2**-8)
        checks.close(checks.gradient(loss, half[first:]), checks.gradient(loss, exact[first:]), 2**-8)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_is_that_of_keras_and_so_is_its_gradient(smoothing):
    """Weighted, with logits so far apart that all but one probability is zero; the gradient is written by hand."""
    from keras_seq import training

    logits = 3 * np.random.default_rng(5).normal(size=(2, 5, 11)).astype("float32")
    logits[0, 0] *= 100
    labels = np.random.default_rng(6).integers(0, 11, (2, 5)).astype("int32")
    labels[0, :2] = [logits[0, 0].argmin(), logits[0, 1].argmax()]
    weight = np.array([[1, 2, 0, 1, 0.5]] * 2, "float32")
    kind = keras.losses.CategoricalCrossentropy
    theirs = kind(from_logits=True, label_smoothing=smoothing, reduction="mean_with_sample_weight")
    ours, one_hot = training.TokenCrossEntropy(smoothing), np.eye(11, dtype="float32")[labels]
    sides = [lambda x: ours(labels, x, weight), lambda x: theirs(one_hot, x, weight)]
    np.testing.assert_allclose(*(float(side(ops.convert_to_tensor(logits))) for side in sides), rtol=1e-6)
    checks.close(*(checks.gradient(side, logits) for side in sides), 1e-6)
    assert np.abs(checks.gradient(sides[0], logits)[0, 2]).max() == 0


def twins(kind):
    """Something with a gradient that we write by hand, and the same of Keras or without it; and what both take."""
    from keras_seq import training
    from keras_seq.layers.loops import LSTM

    x, keep = checks.normal(2, 5, 6), np.array([[True] * 5, [True, False, True, True, False]])
    if kind == "cross_entropy":
        labels = np.array([[3, 1, 0, 5, 2], [0, 0, 4, 1, 5]], "int32")
        theirs = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        return functools.partial(training.TokenCrossEntropy(), labels), functools.partial(theirs, labels), x
    if kind == "lstm":
        ours, theirs = (make(3, return_sequences=True) for make in (LSTM, keras.layers.LSTM))
        options = {"mask": keep, "training": True}
    else:
        ours, theirs = (layers.MultiHeadAttention(2, chunk=chunk, position="alibi") for chunk in (2, None))
        options = {"x_mask": keep, "causal": True}
    checks.shake_built(ours, x)
    theirs(x)
    checks.copy_weights(ours, theirs)
    return *(lambda x, f=f: ops.sum(ops.sin(f(x, **options))) for f in (ours, theirs)), x


@pytest.mark.parametrize("kind", ["cross_entropy", "lstm", "chunked"])
def test_the_gradient_of_a_gradient_is_right_or_an_error(kind):
    ours, theirs, x = twins(kind)
    v = checks.normal(*x.shape, seed=1)
    if checks.BACKEND == "torch":
        with pytest.raises(NotImplementedError, match="no second derivatives"):
            checks.second_gradient(ours, x, v)
        return
    checks.close(checks.second_gradient(ours, x, v), checks.second_gradient(theirs, x, v), 1e-5)


@pytest.mark.skipif(checks.BACKEND != "torch", reason="torch counts references")
def test_what_a_gradient_keeps_goes_with_it():
    kept = []

    @kernels.custom_gradient
    def twice(x):
        y = 2 * x
        kept.append(weakref.ref(y))
        return y, lambda dy: 2 * dy + 0 * y

    gc.disable()
    try:
        np.testing.assert_array_equal(checks.gradient(twice, np.ones(3, "float32")), 2)
        assert kept[0]() is None
    finally:
        gc.enable()


@pytest.mark.skipif(checks.BACKEND != "jax", reason="of jax")
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_goes_through_a_scan_and_a_checkpoint(smoothing):
    import jax

    from keras_seq import training

    loss, logits = training.TokenCrossEntropy(smoothing), checks.normal(3, 5, 6)
    labels = np.random.default_rng(1).integers(0, 6, (3, 5)).astype("int32")

    def in_a_scan(x, wrap):
        return jax.lax.scan(lambda total, part: (total + wrap(loss)(*part) / 3, None), 0.0, (labels, x))[0]

    expected = checks.gradient(functools.partial(loss, labels), logits)
    for wrap in (lambda f: f, jax.checkpoint):
        checks.close(checks.gradient(lambda x, wrap=wrap: in_a_scan(x, wrap), logits), expected, 1e-6)


@pytest.mark.parametrize(("warmup", "steps"), [(0, 20), (1, 20), (10, 30), (10, 10)])
def test_a_rate_rises_in_a_line_and_falls_half_a_cosine_to_its_floor(warmup, steps):
    from keras_seq import training

    rate = training.WarmupCosine(0.5, warmup, steps, floor=0.1)
    rate = type(rate).from_config(rate.get_config())
    for step in range(40):
        up, along = (step + 1) / max(warmup, 1), min(max((step - warmup) / max(steps - warmup, 1), 0), 1)
        expected = 0.5 * up if step < warmup else 0.5 * (0.1 + 0.9 * (1 + np.cos(np.pi * along)) / 2)
        assert float(rate(step)) == pytest.approx(min(expected, 0.5), rel=1e-5)
    assert float(rate(99)) == pytest.approx(0.05)
    assert float(training.WarmupCosine(0.5, warmup, steps)(99)) == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize("warmup", [0, 1, 10])
def test_a_rate_rises_to_its_peak_and_falls(warmup):
    from keras_seq import training

    rate = training.WarmupInverseSquareRoot(0.5, warmup)
    rates = np.array([float(rate(step)) for step in range(30)])
    at = max(warmup, 1) - 1
    assert rates.argmax() == at
    assert rates[at] == pytest.approx(0.5)
    assert np.all(np.diff(rates[:at]) > 0)
    assert np.all(np.diff(rates[at:]) < 0)
