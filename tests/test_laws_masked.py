"""A masked language model: padding is invisible, a hidden place sees both sides, its head is the table; it reloads."""

import functools

import keras
import numpy as np
import pytest

from keras_seq import models
from keras_seq.data import MASK, Masked
from keras_seq.data.labelled import EOS, PAD
from tests import checks
from tests.checks import array, close

B, S, V = 3, 7, 19
SHARE, FORMS = [*range(V - 2), 5, 6], [0] * (V - 2) + [1, 2]
STACKS = {
    "transformer": {"name": "transformer", "num_layers": 2, "num_heads": 2, "mlp_dim": 13, "position": "rotary"},
    "lstm": {"name": "recurrent", "units": 11},
}
every_stack = pytest.mark.parametrize("name", STACKS)
PLACES = np.array([[1, 5], [2, 0], [6, 3]], "int32")


def make(name, **options):
    return models.MaskedLM(V, 8, STACKS[name], 0.1, SHARE, FORMS, **options)


@functools.cache
def model(name):
    return checks.shake(make(name))


def tokens():
    found = np.random.default_rng(0).integers(4, V - 2, (B, S)).astype("int32")
    found[1, 4:] = 0
    return found


def told(name, tokens, places=PLACES):
    return array(model(name)({"tokens": tokens, "places": places}))


@every_stack
def test_padding_and_other_rows_are_invisible(name):
    whole = told(name, tokens())
    assert whole.shape == (B, 2, V - 2)
    close(told(name, np.pad(tokens(), ((0, 0), (0, 4)))), whole, 2e-5)
    close(told(name, tokens()[1:2, :4], PLACES[1:2]), whole[1:2], 2e-5)


@every_stack
def test_a_place_sees_both_sides_and_asking_for_others_changes_nothing(name):
    whole = told(name, tokens())
    for changed in (0, 6):
        other = tokens()
        other[0, changed] = 4 + (other[0, changed] - 3) % 10
        assert (np.abs(told(name, other) - whole)[0].max(axis=-1) > 1e-5).all()
    close(told(name, tokens(), PLACES[:, ::-1])[:, ::-1], whole, 1e-6)


@every_stack
def test_the_head_is_the_table_of_the_encoder(name):
    net, before = model(name), told(name, tokens())
    table = array(net.encoder.embedding.table)
    x = np.take_along_axis(array(net.encoder(tokens())), PLACES[..., None], axis=1)
    y = array(net.norm(net.turn(x)))
    close(before, y @ table.T + array(net.bias), 2e-5)
    assert sum(V - 2 in w.shape for w in net.weights) == 2  # the table and the bias


@every_stack
def test_all_weights_exist_before_the_first_call_and_survive_a_config(name):
    fresh = models.MaskedLM.from_config(model(name).get_config())
    before = [w.path for w in fresh.weights]
    inputs = {"tokens": tokens(), "places": PLACES}
    close(checks.copy_weights(model(name), fresh)(inputs), told(name, tokens()), 1e-6)
    assert [w.path for w in fresh.weights] == before


@every_stack
def test_logits_are_float32_whatever_the_policy(name):
    half = checks.copy_weights(model(name), make(name, dtype="mixed_bfloat16"))
    logits = half({"tokens": tokens(), "places": PLACES})
    assert keras.backend.standardize_dtype(logits.dtype) == "float32"
    close(logits, told(name, tokens()), 0.3)


# ---------- what is hidden ----------


def rows(count=200):
    random = np.random.default_rng(1)
    return [random.integers(4, 50, 1 + i % 40).tolist() for i in range(count)]


def batches(**options):
    return Masked(rows(), list(range(60)), batch=16, **options)


def hidden(epoch, **options):
    """For each hidden token what it was, and what stands there."""
    for inputs, labels, weights in batches(**options).epoch(epoch):
        now = np.take_along_axis(inputs["tokens"], inputs["places"], axis=1)
        yield from zip(labels[weights > 0].tolist(), now[weights > 0].tolist())


def test_fifteen_in_a_hundred_are_hidden_and_of_these_eighty_ten_ten():
    pairs = [pair for epoch in range(8) for pair in hidden(epoch)]
    assert len(pairs) / (8 * sum(map(len, rows()))) == pytest.approx(0.15, abs=0.02)
    masked = np.mean([now == MASK for _, now in pairs])
    same = np.mean([now == was for was, now in pairs])
    assert masked == pytest.approx(0.8, abs=0.03)
    assert same == pytest.approx(0.1, abs=0.03)
    assert {now for _, now in pairs if now != MASK} <= set(range(4, 60))


def test_what_is_not_hidden_stays_and_one_at_least_is_hidden():
    texts = {tuple(row) for row in rows()}
    for inputs, labels, weights in batches().epoch(3):
        assert (weights.sum(axis=1) >= 1).all()
        tokens = inputs["tokens"].copy()
        np.put_along_axis(tokens, inputs["places"][:, ::-1], np.where(weights > 0, labels, np.take_along_axis(
            tokens, inputs["places"], axis=1))[:, ::-1], axis=1)  # fmt: skip
        assert {tuple(row[(row != PAD) & (row != EOS)].tolist()) for row in tokens} <= texts
        assert not ((inputs["tokens"] == PAD) & (tokens != PAD)).any()


def test_each_epoch_hides_others_and_can_be_had_again():
    assert list(hidden(0)) == list(hidden(0)) != list(hidden(1))
    assert list(hidden(0, shuffle=False)) == list(hidden(0, shuffle=False))
