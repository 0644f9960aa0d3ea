"""Text encoders and word taggers: padding is invisible, a word is the mean of its pieces, all reloads."""

import functools

import keras
import numpy as np
import pytest

from keras_seq import layers, models
from tests import checks
from tests.checks import array, close, normal

B, S, V, C = 3, 7, 19, 5
PARTS = [0, 0, 0, 2] + [1, 2, 1] * 5
SHARE, FORMS = [*range(V - 2), 5, 6], [0, 1] * 9 + [2]
STACKS = {
    "transformer": {"name": "transformer", "num_layers": 2, "num_heads": 2, "mlp_dim": 13, "position": "rotary"},
    "lstm": {"name": "recurrent", "units": 11},
}
every_stack = pytest.mark.parametrize("name", STACKS)


def make(name, **options):
    return models.WordTagger(C, PARTS, STACKS[name], dim=8, share=SHARE, forms=FORMS, **options)


@functools.cache
def model(name):
    return checks.shake(make(name))


def tokens():
    """Pieces of seven, two and three words, the last row with an unknown character in its first."""
    return np.array([[4, 6, 7, 9, 10, 12, 13], [4, 5, 6, 2, 0, 0, 0], [4, 3, 3, 6, 9, 11, 2]], "int32")


COUNTS = [7, 2, 3]


@functools.cache
def whole(name):
    return array(model(name)(tokens()))


@every_stack
def test_padding_is_invisible(name):
    wider = array(model(name)(np.pad(tokens(), ((0, 0), (0, 4)))))
    assert wider.shape == (B, S + 4, C)
    for row, other, count in zip(wider, whole(name), COUNTS):
        close(row[:count], other[:count], 2e-5)
    close(array(model(name)(tokens()[1:2, :4]))[0, :2], whole(name)[1, :2], 2e-5)


@every_stack
def test_a_word_is_the_mean_of_its_pieces(name):
    net = model(name)
    pieces = array(net.encoder(tokens()))
    first = array(net.classify(pieces[2:, :3].mean(axis=1, keepdims=True)))[0, 0]
    close(first, whole(name)[2, 0], 2e-5)
    assert np.array(net.words(tokens())).tolist() == COUNTS


@every_stack
def test_a_word_sees_its_neighbours_and_no_other_row(name):
    other = tokens()
    other[0, 6] = 16
    moved = np.abs(array(model(name)(other)) - whole(name)).max(axis=-1)
    assert (moved[0] > 1e-5).all()
    assert moved[1:].max() == 0


@every_stack
def test_tokens_that_share_a_row_differ_by_their_form_alone(name):
    net, twin = model(name), tokens()
    twin[1, 0] = V - 2  # shares row 5, in another form
    base = tokens()
    base[1, 0] = 5
    x, y = (array(net.encoder.embed(t)[0])[1, 0] for t in (twin, base))
    table = array(net.encoder.form.table) * 8**0.5
    close(x - y, table[FORMS[V - 2]] - table[FORMS[5]], 1e-5)
    assert net.encoder.embedding.table.shape == (V - 2, 8)


@every_stack
def test_all_weights_exist_before_the_first_call_and_survive_a_config(name):
    net = model(name)
    fresh = models.WordTagger.from_config(net.get_config())
    before = [w.path for w in fresh.weights]
    close(checks.copy_weights(net, fresh)(tokens()), whole(name), 1e-6)
    assert [w.path for w in fresh.weights] == before


@every_stack
def test_logits_are_float32_whatever_the_policy(name):
    half = make(name, dtype="mixed_bfloat16")
    logits = checks.copy_weights(model(name), half)(tokens())
    assert keras.backend.standardize_dtype(logits.dtype) == "float32"
    for row, other, count in zip(array(logits), whole(name), COUNTS):
        close(row[:count], other[:count], 0.3)


@pytest.mark.tensorflow
def test_taggers_reload_in_a_fresh_process(tmp_path):
    def inside(net):
        x = keras.Input((None,), dtype="int32")
        return keras.Model([x], net(x))

    checks.reload_in_fresh_process({name: (inside(model(name)), [tokens()]) for name in STACKS}, tmp_path)


@every_stack
def test_an_encoder_is_a_layer_as_others_are(name):
    encoder = layers.TextEncoder(V, 8, STACKS[name], share=SHARE, forms=FORMS)
    checks.round_trip(encoder, tokens())
    assert tuple(encoder(tokens()).shape) == (B, S, encoder.width)
    np.testing.assert_array_equal(array(encoder.compute_mask(tokens())), tokens() != 0)


def test_pooling_is_that_of_a_loop():
    x, found = normal(B, S, 3), np.zeros((B, S, 3), "float32")
    for row, ids, out in zip(x, tokens(), found):
        words = []
        for vector, i in zip(row, ids):
            if PARTS[i] == 1:
                words.append([])
            if PARTS[i]:
                words[-1].append(vector)
        out[: len(words)] = [np.mean(word, axis=0) for word in words]
    close(layers.WordPooling(PARTS)(x, tokens()), found, 1e-6)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="forms must have a row for each of the 19 tokens; got 2"):
        layers.TextEncoder(V, 8, STACKS["lstm"], forms=[0, 1])
    with pytest.raises(ValueError, match="over must have a name, one of transformer, recurrent; got"):
        layers.TextEncoder(V, 8, {"units": 5})
