"""Picture classifiers: pictures stay apart, places count, what they look at sums to one; they save and reload."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_seq import layers, models
from tests import checks
from tests.checks import array, close

B, C, D, SHAPE = 2, 3, 12, (10, 15, 3)  # patches of 5: 2 x 3

MODELS = {
    "mean": {"position": "sinusoidal_2d"},
    "class": {"position": "learned_2d", "class_token": True},
    "flat": {"position": "learned", "class_token": True},
    "rotary": {"position": "rotary"},
    "cnn": None,
}
every_model = pytest.mark.parametrize("name", MODELS)
VITS = [name for name in MODELS if name != "cnn"]
made = {}


def make(name, **options):
    own = MODELS[name]
    if own is None:
        return models.PictureClassifier(C, layers.ImageEncoder(D, widths=(5, 8), **options), SHAPE, **options)
    encoder = layers.PatchEncoder(D, patch=5, num_heads=3, num_layers=2, mlp_dim=17, **own, **options)
    return models.PictureClassifier(C, encoder, SHAPE, **options)


def model(name):
    """The model with shaken weights, pictures and their logits; made once."""
    if name not in made:
        net = checks.shake(make(name))
        image = np.random.default_rng(5).random((B, *SHAPE), "float32")
        made[name] = net, image, array(checks.call(net, image))
    return made[name]


@every_model
def test_a_picture_does_not_see_its_neighbours(name):
    net, image, whole = model(name)
    close(checks.call(net, image[1:]), whole[1:], 2e-5)


@every_model
def test_places_count(name):
    net, image, whole = model(name)
    turned = np.concatenate([image[:, 5:], image[:, :5]], axis=1)  # the two rows of patches in the other order
    assert np.abs(array(checks.call(net, turned)) - whole).max() > 1e-4


def test_without_positions_patches_are_a_set():
    net = checks.shake(models.PictureClassifier(C, layers.PatchEncoder(D, 5, 3, 1, 17, position=None), SHAPE))
    image = np.random.default_rng(5).random((B, *SHAPE), "float32")
    turned = np.concatenate([image[:, 5:], image[:, :5]], axis=1)
    close(net(turned), array(net(image)), 2e-5)


@every_model
def test_probabilities_follow_the_temperature_and_logits_are_float32(name):
    net, image, whole = model(name)
    try:
        net.temperature.assign(2.0)
        close(net.probabilities(image), ops.softmax(whole / 2.0, axis=-1))
    finally:
        net.temperature.assign(1.0)
    half = checks.copy_weights(net, make(name, dtype="mixed_bfloat16"))(image)
    assert keras.backend.standardize_dtype(half.dtype) == "float32"


@every_model
def test_a_config_makes_it_again(name):
    net, image, whole = model(name)
    fresh = type(net).from_config(net.get_config())
    close(checks.copy_weights(net, fresh)(image), whole, 1e-6)


@pytest.mark.tensorflow
@every_model
def test_gradients_reach_every_weight(name):
    net, image, _ = model(name)
    checks.gradients_reach_every_weight(net, image)


@pytest.mark.parametrize("name", VITS)
def test_what_is_looked_at_sums_to_one(name):
    net, image, _ = model(name)
    whole, heads = (array(x) for x in net.looks(image))
    assert whole.shape == (B, 6)
    assert heads.shape == (B, 3, 6)
    close(whole.sum(axis=-1), np.ones(B))
    close(heads.sum(axis=-1), np.ones((B, 3)))


def test_the_class_token_alone_answers_where_there_is_one():
    net, image, whole = model("class")
    x, _ = net.embed(image)
    assert tuple(x.shape) == (B, 7, D)
    close(net.classify(x[:, -1]), whole, 1e-5)
    assert net.encoder.compute_output_shape((None, *SHAPE)) == (None, 7, D)


def test_rollout_is_the_product_of_its_paper():
    random = np.random.default_rng(0)
    weights = [random.dirichlet(np.ones(5), (B, 3, 5)).astype("float32") for _ in range(3)]
    expected = np.eye(5)
    for layer in weights:
        expected = (layer.mean(axis=1) + np.eye(5)) / 2 @ expected
    found = array(layers.attention_rollout([ops.convert_to_tensor(layer) for layer in weights]))
    close(found, expected)
    close(found.sum(axis=-1), np.ones((B, 5)))


@pytest.mark.tensorflow
def test_models_compose_and_reload_in_a_fresh_process(tmp_path):
    def inside(net):
        x = keras.Input(SHAPE)
        return keras.Model([x], net(x))

    checks.reload_in_fresh_process({name: (inside(model(name)[0]), [model(name)[1]]) for name in MODELS}, tmp_path)
