"""Forecasters: units go in and out, quantiles never cross, the calendar counts, the future is not read; they reload."""

import functools
import json

import keras
import numpy as np
import pytest

from keras_seq import models, training
from keras_seq.layers.calendar import FEATURES, calendar
from keras_seq.models.forecaster import rising
from tests import checks
from tests.checks import array, close, normal

B, S, T, V, K = 3, 6, 5, 2, 1
Q = [0.1, 0.5, 0.7, 0.9]
MEAN, DEVIATION = [10.0, -3.0], [2.0, 5.0]

FAMILIES = {
    "lstm": (models.RecurrentForecaster, {"units": 7}),
    "seq2seq": (models.Seq2SeqForecaster, {"units": 7}),
    "transformer": (models.TransformerForecaster, {"patch": 3, "dim": 8, "num_heads": 2, "num_layers": 1}),
}
every_family = pytest.mark.parametrize("name", FAMILIES)


def make(name, **options):
    kind, own = FAMILIES[name]
    return kind(T, S, MEAN, DEVIATION, **{"quantiles": Q, "known": K, **own, **options})


@functools.cache
def model(name, **options):
    return checks.shake(make(name, **options))


def inputs(**changes):
    time = np.random.default_rng(1).integers(0, 10**7, (B, 1)) + 60 * np.arange(S + T)
    past = normal(B, S, V) * np.array(DEVIATION) + MEAN
    return {"past": past.astype("float32"), "time": time.astype("int32"), "known": normal(B, S + T, K), **changes}


@every_family
@pytest.mark.parametrize("options", [{}, {"window": True}, {"apart": True, "window": True}], ids=str)
def test_shapes_and_order_of_the_quantiles(name, options):
    y = array(model(name, **options)(inputs()))
    assert y.shape == (B, T, V, len(Q))
    assert (np.diff(y, axis=-1) > 0).all()


@every_family
@pytest.mark.parametrize("window", [False, True])
def test_other_units_give_the_same_forecast_in_other_units(name, window):
    one = model(name, window=window)
    factor, shift = np.array([3.0, 0.5], "float32"), np.array([-7.0, 100.0], "float32")
    kind, own = FAMILIES[name]
    mean, deviation = factor * MEAN + shift, factor * DEVIATION
    other = kind(T, S, mean.tolist(), deviation.tolist(), quantiles=Q, known=K, window=window, **own)
    other.set_weights(one.get_weights())
    other.mean.assign(mean)
    other.deviation.assign(deviation)
    given = inputs()
    expected = array(one(given)) * factor[:, None] + shift[:, None]
    close(other({**given, "past": given["past"] * factor + shift}), expected, 2e-4)


@every_family
def test_a_window_by_itself_takes_its_level_along(name):
    given, up = inputs(), np.array([50.0, -20.0], "float32")
    one = model(name, window=True)
    close(array(one({**given, "past": given["past"] + up})), array(one(given)) + up[:, None], 2e-3)


@every_family
def test_variables_apart_do_not_see_each_other(name):
    given = inputs()
    other = given["past"].copy()
    other[..., 1] += normal(B, S)
    apart, together = (model(name, **options) for options in ({"apart": True}, {}))
    moved = np.abs(array(apart({**given, "past": other})) - array(apart(given))).max(axis=(0, 1, 3))
    assert moved[0] < 1e-5 < 1e-2 < moved[1]
    assert np.abs(array(together({**given, "past": other})) - array(together(given)))[..., 0, :].max() > 1e-3


@every_family
@pytest.mark.parametrize("key", ["time", "known"])
def test_what_is_known_of_the_future_counts(name, key):
    given = inputs()
    other = given[key].copy()
    other[:, S + 2] += 61 * 7 if key == "time" else 1
    assert np.abs(array(model(name)({**given, key: other})) - array(model(name)(given)))[:, 2].max() > 1e-4


@every_family
def test_a_row_does_not_see_its_neighbours(name):
    given = inputs()
    for options in ({}, {"apart": True}):
        one = model(name, **options)
        close(one({key: x[1:2] for key, x in given.items()}), array(one(given))[1:2], 1e-4)


@every_family
def test_the_straight_path_is_straight(name):
    """With all other weights at zero the middle forecast is a matrix times the past."""
    one = make(name)
    for weight in one.trainable_weights:
        weight.assign(np.zeros(weight.shape))
    kernel = normal(S, T)
    one.straight.kernel.assign(kernel)
    given = inputs()
    z = (given["past"] - MEAN) / DEVIATION
    expected = np.einsum("bsv,st->btv", z, kernel) * DEVIATION + MEAN
    close(array(one(given))[..., Q.index(0.5)], expected, 1e-4)


@every_family
def test_without_calendar_and_known_columns(name):
    one = checks.shake(make(name, calendar=False, known=0))
    assert array(one({"past": inputs()["past"]})).shape == (B, T, V, len(Q))


@every_family
def test_a_config_makes_the_same_model_again(name):
    one = model(name, apart=True)
    twin = checks.plain_config(one)
    close(checks.copy_weights(one, twin)(inputs()), one(inputs()), 1e-5)
    assert json.loads(json.dumps(one.get_config()))["quantiles"] == Q


def test_models_reload_in_a_fresh_process(tmp_path):
    checks.reload_in_fresh_process({name: (model(name), inputs()) for name in ("seq2seq", "transformer")}, tmp_path)


@every_family
def test_half_precision(name):
    half = checks.copy_weights(model(name), make(name, dtype="mixed_bfloat16"))
    found = half(inputs())
    assert keras.backend.standardize_dtype(found.dtype) == "float32"
    close(array(found) / 10, array(model(name)(inputs())) / 10, 0.15)


@pytest.mark.parametrize(("options", "message"), [
    ({"quantiles": [0.1, 0.9]}, "0.5 among them"),
    ({"quantiles": [0.5, 0.1]}, "must rise"),
    ({"deviation": [1.0]}, "a number a variable; got 2 and 1"),
])
def test_odd_settings_are_told(options, message):
    with pytest.raises(ValueError, match=message):
        models.RecurrentForecaster(**{"horizon": T, "context": S, "mean": MEAN, "deviation": DEVIATION, **options})
    with pytest.raises(ValueError, match="multiple of the patch; got 6 and 4"):
        make("transformer", patch=4)


def test_quantiles_rise_around_the_middle():
    raw = normal(7, len(Q)) * 5
    found = array(rising(raw, Q))
    assert (np.diff(found) > 0).all()
    np.testing.assert_array_equal(found[:, 1], raw[:, 1])


def test_the_calendar_knows_day_week_and_year():
    minutes = np.array([[0, 90, 1440, 7 * 1440 + 90, 365 * 1440, -1440]], "int32")
    found = array(calendar(minutes))[0]
    assert found.shape == (6, FEATURES)
    assert (found[:, 4:11].sum(axis=-1) == 1).all()
    assert found[:, 4:11].argmax(axis=-1).tolist() == [3, 3, 4, 3, 4, 2]  # Thursday was the first
    close(found[1, :11], found[3, :11])
    close(found[0, 11:], found[4, 11:], 0.01)
    assert np.abs(found[0] - found[1])[:4].max() > 0.3


def test_the_pinball_loss_is_least_at_the_quantile():
    y = np.arange(101, dtype="float32").reshape(101, 1, 1)
    guesses = np.arange(0, 101, 5)
    for q in (0.1, 0.5, 0.9):
        losses = [float(training.Pinball([q])(y, np.full((101, 1, 1, 1), g, "float32"))) for g in guesses]
        assert guesses[int(np.argmin(losses))] == pytest.approx(100 * q, abs=5)
    half, scaled = training.Pinball([0.5]), training.Pinball([0.5], [4.0])
    close(half(y, 0 * y[..., None]), y.mean())
    close(scaled(y, 0 * y[..., None]), y.mean() / 4)
    weights = (y < 50).astype("float32")
    close(half(y, 0 * y[..., None], sample_weight=weights), y[y < 50].mean())
    assert float(training.Pinball.from_config(scaled.get_config())(y, 0 * y[..., None])) == pytest.approx(12.5)
