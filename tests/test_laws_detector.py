"""Detectors: any split equals the whole, the future is invisible, units do not matter, what is odd stands out."""

import functools

import keras
import numpy as np
import pytest
from keras import ops

from keras_seq import models
from keras_seq.models import detector as module
from tests import checks
from tests.checks import array, close, normal

B, S, N, V = 2, 6, 11, 3

NETWORKS = {
    "transformer": lambda: models.TransformerForecaster(
        1, S, [0.0] * V, [1.0] * V, calendar=False, window=True, patch=3, dim=8, num_heads=2, num_layers=1),
    "autoencoder": lambda: models.Autoencoder(S, V, units=7),
}  # fmt: skip
every_network = pytest.mark.parametrize("name", NETWORKS)
CLEAN = normal(97, V, seed=3) * [1.0, 5.0, 0.1] + [0.0, 30.0, -2.0]
MOMENTS = CLEAN.mean(axis=0), CLEAN.std(axis=0)


@functools.cache
def detector(name):
    keras.utils.set_random_seed(1)
    made = models.Detector(checks.shake(NETWORKS[name]()), S, V, memory=13)
    made.calibrate(CLEAN, *MOMENTS)
    return made


def rows():
    return (normal(B, S + N, V, seed=4) * MOMENTS[1] + MOMENTS[0]).astype("float32")


def in_pieces(model, x, cuts):
    state, found = model.start(ops.convert_to_tensor(x[:, :S])), []
    for first, last in checks.pieces(N, cuts):
        scores, flags, state = model.step(ops.convert_to_tensor(x[:, S + first : S + last]), state)
        np.testing.assert_array_equal(array(flags), array(scores) > 1)
        found.append(array(scores))
    return np.concatenate(found, axis=1), state


@every_network
def test_any_split_equals_the_whole(name):
    whole, end = in_pieces(detector(name), rows(), ())
    assert whole.shape == (B, N)
    for cuts in (range(1, N), (2, 3, 8)):
        found, state = in_pieces(detector(name), rows(), cuts)
        close(found, whole, 1e-4)
        close(state["variance"], end["variance"], 1e-4)
        close(state["past"], rows()[:, -S:])


@every_network
def test_a_long_series_is_judged_a_block_at_a_time(name, monkeypatch):
    whole, end = in_pieces(detector(name), rows(), ())
    monkeypatch.setattr(module, "BLOCK", 4)
    judged, judge = [], models.Detector.judge

    def counted(self, x, state):
        judged.append(x.shape[1])
        return judge(self, x, state)

    monkeypatch.setattr(models.Detector, "judge", counted)
    found, state = in_pieces(detector(name), rows(), ())
    assert judged == [4, 4, 3]
    close(found, whole, 1e-4)
    close(state["variance"], end["variance"], 1e-4)


@every_network
def test_running_means_are_those_of_a_loop(name):
    x, expected = normal(B, N, V), [normal(B, V, seed=9)]
    for t in range(N):
        expected.append(expected[-1] + (x[:, t] - expected[-1]) / 13)
    close(detector(name).running(ops.convert_to_tensor(x), ops.convert_to_tensor(expected[0])), np.stack(expected, 1))


@every_network
def test_the_future_is_invisible_and_a_jump_is_seen(name):
    x, (before, _) = rows(), in_pieces(detector(name), rows(), ())
    x[0, S + 5, 1] += 40 * MOMENTS[1][1]
    after, _ = in_pieces(detector(name), x, ())
    close(after[0, :5], before[0, :5], 1e-6)
    close(after[1], before[1], 1e-6)
    assert after[0, 5] > 1
    assert after[0].argmax() == 5


@every_network
def test_other_units_do_not_matter(name):
    model, factor, shift = detector(name), np.array([10.0, 0.5, 3.0]), np.array([1.0, -4.0, 0.0])
    before, _ = in_pieces(model, rows(), ())
    model.calibrate(CLEAN * factor + shift, MOMENTS[0] * factor + shift, MOMENTS[1] * factor)
    after, _ = in_pieces(model, (rows() * factor + shift).astype("float32"), ())
    model.calibrate(CLEAN, *MOMENTS)
    close(after, before, 1e-3)


@every_network
@pytest.mark.parametrize("margin", [0.5, 1.0, 2.0])
def test_the_threshold_is_a_margin_over_the_clean_rows(name, margin):
    model = detector(name)
    model.calibrate(CLEAN, *MOMENTS, margin)
    e = model.errors(ops.convert_to_tensor(CLEAN[None], "float32"))
    highest = array(ops.max(model.far(e - model.error_mean, model.error_variance) / model.threshold))
    model.calibrate(CLEAN, *MOMENTS)
    assert highest == pytest.approx(1 / margin, rel=1e-3)
    with pytest.raises(ValueError, match="at least 8 clean rows, got 7"):
        model.calibrate(CLEAN[:7], *MOMENTS)


def test_the_autoencoder_passes_all_through_its_vector():
    """Every row of the window that it writes depends on every row of the one that it reads, and on no other window."""
    model, x = checks.shake(NETWORKS["autoencoder"]()), normal(B, S, V)
    whole = array(model({"past": x}))
    assert whole.shape == (B, S, V)
    for row in (0, S - 1):
        other = x.copy()
        other[0, row] += 1
        moved = np.abs(array(model({"past": other})) - whole).max(axis=2)
        assert (moved[0] > 1e-5).all()
        assert moved[1].max() < 1e-6


@every_network
def test_a_config_makes_the_same_model_again(name):
    twin = checks.copy_weights(detector(name), checks.plain_config(detector(name)))
    close(in_pieces(twin, rows(), ())[0], in_pieces(detector(name), rows(), ())[0], 1e-5)
