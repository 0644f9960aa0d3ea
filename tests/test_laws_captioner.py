"""Captioners and their encoders: any split equals the whole, pictures stay apart, places count, all reloads."""

import keras
import numpy as np
import pytest

from keras_seq import generate, layers, models
from keras_seq.decoding import BOS, EOS
from tests import checks
from tests.checks import array, close

B, T, V, D = 2, 7, 23, 12
CNN, VIT = (13, 19, 3), (10, 15, 3)  # two stages leave 4 x 5 regions, patches of 5 leave 2 x 3


def cnn():
    return layers.ImageEncoder(D, widths=(5, 8), dropout=0.1)


def vit():
    return layers.PatchEncoder(D, patch=5, num_heads=3, num_layers=2, mlp_dim=17, dropout=0.1)


def transformer(encoder, shape, **options):
    return models.TransformerCaptioner(V, encoder, shape, num_heads=3, num_layers=2, mlp_dim=17, **options)


def recurrent(encoder, shape, **options):
    return models.RecurrentCaptioner(V, encoder, shape, units=11, **options)


MODELS = {
    "cnn_transformer": lambda: transformer(cnn(), CNN),
    "vit_transformer": lambda: transformer(vit(), VIT, position="sinusoidal"),
    "cnn_lstm": lambda: recurrent(cnn(), CNN),
    "vit_gru": lambda: recurrent(vit(), VIT, cell="gru", num_layers=2, attention="general"),
    "cnn_bahdanau": lambda: recurrent(cnn(), CNN, feed_context=True, dropout=0.0),
}
every_model = pytest.mark.parametrize("name", MODELS)
made = {}


def model(name):
    """The model with shaken weights, its inputs and its logits; made once."""
    if name not in made:
        net = checks.shake(MODELS[name]())
        rng = np.random.default_rng(5)
        target = rng.integers(4, V, (B, T), "int32")
        target[:, 0] = BOS
        inputs = {"image": rng.random((B, *net.image_shape), "float32"), "target": target}
        made[name] = net, inputs, array(checks.call(net, inputs))
    return made[name]


@every_model
@pytest.mark.parametrize("cuts", [[*range(1, T)], [1, 4]], ids=str)
def test_split_anywhere_equals_whole(name, cuts):
    checks.split_anywhere_equals_whole(*model(name), cuts)


@every_model
def test_the_future_is_invisible(name):
    checks.future_is_invisible(*model(name), at=4)


@every_model
def test_each_row_sees_its_own_picture_and_no_other(name):
    net, inputs, whole = model(name)
    other = {**inputs, "image": inputs["image"].copy()}
    other["image"][0, 3:7, 2:9] = 1 - other["image"][0, 3:7, 2:9]
    moved = np.abs(array(checks.call(net, other)) - whole).max(axis=(1, 2))
    assert moved[0] > 1e-4
    assert moved[1] < 1e-5
    close(whole[:1], checks.call(net, {key: value[:1] for key, value in inputs.items()}), 2e-5)


@every_model
def test_attention_is_a_distribution_over_the_regions(name):
    net, inputs, _ = model(name)
    weights = array(net.attention_weights(inputs))
    rows, columns = net.encoder.grid(*net.image_shape[:2])
    assert weights.shape[0] == B
    assert weights.shape[2:] == (T, rows * columns)
    close(weights.sum(-1), np.ones(weights.shape[:3]))


@every_model
def test_its_config_makes_it_again(name):
    checks.config_makes_it_again(*model(name))


def test_saved_models_reload_in_a_fresh_process(tmp_path):
    checks.reload_in_fresh_process({name: model(name)[:2] for name in ("cnn_transformer", "vit_gru")}, tmp_path)


@pytest.mark.parametrize("name", ["cnn_transformer", "cnn_lstm"])
def test_greedy_agrees_with_teacher_forcing(name):
    net, inputs, _ = model(name)
    tokens, score = (array(x) for x in generate(net, {"image": inputs["image"]}, max_length=11))
    target = np.concatenate([np.full((B, 1), BOS, "int32"), tokens[:, 0, :-1]], axis=1)
    logits = array(net({**inputs, "target": target}))
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    ends = tokens[:, 0] == EOS
    written = np.cumsum(ends, axis=1) - ends == 0  # with shaken weights PAD may be a word like any other
    np.testing.assert_array_equal(logits.argmax(-1)[written], tokens[:, 0][written])
    close(score[:, 0], np.sum(log_p.max(-1) * written, axis=-1), 1e-4)


@pytest.mark.tensorflow
def test_fit_drops_out_and_normalises():
    """Keras' `fit` says that it trains only to a model whose `call` has the argument `training`."""
    net = transformer(cnn(), CNN, dropout=0.5)
    moving = [weight for weight in net.non_trainable_weights if "moving_mean" in weight.path]
    inputs = model("cnn_transformer")[1]
    close(net(inputs), net(inputs), 0)
    assert np.abs(array(net(inputs, training=True)) - array(net(inputs, training=True))).max() > 1e-3
    net.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    net.fit(inputs, inputs["target"], verbose=0)
    assert moving
    assert all(np.abs(array(weight)).max() > 0 for weight in moving)


# ---------- the encoders by themselves ----------

ENCODERS = {"cnn": (cnn, CNN), "vit": (vit, VIT)}


@pytest.mark.parametrize("name", ENCODERS)
def test_an_encoder_is_a_layer_like_any_other(name):
    make, shape = ENCODERS[name]
    x = np.random.default_rng(3).random((B, *shape), "float32")
    layer = checks.shake_built(make(), x)
    checks.round_trip(layer, x)
    assert checks.array(layer(x)).shape == layer.compute_output_shape(x.shape)
    pictures = keras.Input(shape)
    close(keras.Model(pictures, layer(pictures))(x), layer(x), 1e-6)


@pytest.mark.parametrize("name", ENCODERS)
def test_an_encoder_tells_places_apart(name):
    make, shape = ENCODERS[name]
    layer = checks.shake_built(make(), np.zeros((1, *shape), "float32"))
    y = array(layer(np.full((1, *shape), 0.5, "float32")))[0]
    assert np.abs(y[0] - y[1]).max() > 1e-3


def test_normalisation_learns_from_training_only():
    layer = cnn()
    x = np.random.default_rng(3).random((5, *CNN), "float32")
    before = array(layer(x))
    close(layer(x, training=False), before, 1e-6)
    layer(x, training=True)
    assert np.abs(array(layer(x)) - before).max() > 1e-4


@pytest.mark.parametrize("shape", [(2, 10, 15), (2, None, 15, 3)])
@pytest.mark.parametrize("make", [cnn, vit])
def test_other_than_pictures_of_known_size_are_refused(make, shape):
    with pytest.raises(ValueError, match="known H, W and C"):
        make().build(shape)


@pytest.mark.tensorflow
def test_gradients_reach_every_weight():
    for name in MODELS:
        checks.gradients_reach_every_weight(*model(name)[:2], training=True)
