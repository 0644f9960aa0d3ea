"""Patches and frames: what is cut where, one vector each, and which of them hold padding."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_seq import layers
from tests import checks
from tests.checks import array, close, normal

B, D, C = 2, 11, 3
PICTURE, CLIP, SERIES = (B, 6, 10, C), (B, 4, 6, 10, C), (B, 13, C)
LAYERS = {
    "square": (lambda **k: layers.PatchEmbedding(D, 2, **k), PICTURE),
    "oblong": (lambda **k: layers.PatchEmbedding(D, (3, 5), **k), PICTURE),
    "frame_by_frame": (lambda **k: layers.PatchEmbedding(D, 2, **k), CLIP),
    "tubes": (lambda **k: layers.PatchEmbedding(D, (2, 3, 5), **k), CLIP),
    "windows": (lambda **k: layers.FrameEmbedding(D, 5, **k), SERIES),
    "overlapping": (lambda **k: layers.FrameEmbedding(D, 5, 2, **k), SERIES),
    "gaps": (lambda **k: layers.FrameEmbedding(D, 2, 5, **k), SERIES),
}
every_layer = pytest.mark.parametrize("name", LAYERS)


def built(name):
    make, shape = LAYERS[name]
    x = normal(*shape)
    return checks.shake_built(make(), x), x


# ---------- every layer ----------


@every_layer
def test_round_trip_functional_and_open_shapes(name):
    make, shape = LAYERS[name]
    x = normal(*shape)
    checks.round_trip(make(), x)
    model = checks.functional_equals_eager(make(), x)
    assert model.output_shape == (None, None, D)
    fixed = keras.Input(shape[1:])
    assert make()(fixed).shape[1] == make()(x).shape[1]
    more = np.concatenate([x, x], axis=1)
    assert model([more]).shape == make()(more).shape


@pytest.mark.parametrize("name", ["tubes", "overlapping"])
def test_half_precision(name):
    make, shape = LAYERS[name]
    checks.half_precision(lambda dtype: make(dtype=dtype), 0.3 * normal(*shape))


def test_they_come_back_in_a_fresh_process(tmp_path):
    models = {}
    for name in ("tubes", "overlapping"):
        make, shape = LAYERS[name]
        models[name] = checks.functional(make(), normal(*shape)), [normal(*shape)]
    checks.reload_in_fresh_process(models, tmp_path)


# ---------- patches ----------


SIDES = {"square": (2, 2), "oblong": (3, 5), "frame_by_frame": (1, 2, 2), "tubes": (2, 3, 5)}


@pytest.mark.parametrize(("name", "sides"), SIDES.items())
def test_a_patch_is_a_piece_of_the_picture_row_by_row(name, sides):
    layer, x = built(name)
    kernel, bias = layer.linear.get_weights()
    rows = []
    for at in np.ndindex(*(size // side for size, side in zip(x.shape[1:], sides))):
        piece = x[(slice(None), *(slice(i * side, (i + 1) * side) for i, side in zip(at, sides)))]
        rows.append(piece.reshape(B, -1) @ kernel + bias)
    close(layer(x), np.stack(rows, axis=1))


@pytest.mark.parametrize(
    ("patch", "shape", "says"),
    [
        (4, (B, 8, 10, C), "8 x 10 cannot be cut into patches of 4 x 4"),
        ((3, 2, 2), CLIP, "4 x 6 x 10 cannot be cut into patches of 3 x 2 x 2"),
        ((2, 2, 2), PICTURE, r"patch=\(2, 2, 2\)"),
        (2, SERIES, "expects"),
    ],
)
def test_what_cannot_be_cut(patch, shape, says):
    with pytest.raises(ValueError, match=says):
        layers.PatchEmbedding(D, patch)(normal(*shape))


# ---------- frames ----------


@pytest.mark.parametrize(("name", "size", "stride"), [("windows", 5, 5), ("overlapping", 5, 2), ("gaps", 2, 5)])
def test_a_window_is_a_row_of_frames(name, size, stride):
    layer, x = built(name)
    kernel, bias = layer.get_weights()
    starts = range(0, x.shape[1] - size + 1, stride)
    rows = [x[:, i : i + size].reshape(B, -1) @ kernel.reshape(-1, D) + bias for i in starts]
    close(layer(x), np.stack(rows, axis=1))


@pytest.mark.parametrize("name", ["windows", "overlapping", "gaps"])
def test_a_mask_keeps_the_windows_that_the_row_alone_has(name):
    layer, x = built(name)
    lengths = [7, 13]
    keep = np.arange(13) < np.array(lengths)[:, None]
    marked = keras.layers.Masking()(np.where(keep[..., None], x, 0).astype("float32"))
    y = layer(marked)
    kept = array(layer.compute_mask(marked, ops.convert_to_tensor(keep)))
    assert kept.shape == y.shape[:2]
    for row, length in enumerate(lengths):
        alone = array(layer(x[row : row + 1, :length]))[0]
        np.testing.assert_array_equal(kept[row], np.arange(y.shape[1]) < len(alone))
        close(array(y)[row][kept[row]], alone)


def test_what_follows_gets_the_shorter_mask():
    """A padded series gives what the series alone gives, through a functional model with Keras' masks."""
    series = keras.Input((None, C))
    x = layers.FrameEmbedding(D, 3, 2)(keras.layers.Masking()(series))
    model = checks.shake(keras.Model(series, keras.layers.GRU(5)(x)))
    row = normal(1, 7, C)
    close(model(np.pad(row, ((0, 0), (0, 4), (0, 0)))), model(row))


def test_windows_that_do_not_fit():
    with pytest.raises(ValueError, match="do not fit into 4 frames"):
        layers.FrameEmbedding(D, 5)(normal(B, 4, C))
    with pytest.raises(ValueError, match="at least 1"):
        layers.FrameEmbedding(D, 5, 0)


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("size", [23, 64, 4200])
@pytest.mark.parametrize("rows", [1, 4, 5, 64, 65, None])
def test_a_table_for_a_loop_gives_the_same_logits(rows, size, dtype):
    embedding, x = layers.TokenEmbedding(size, 8, dtype=dtype), checks.normal(rows or 5, 8)
    embedding.build()
    x = ops.cast(x, embedding.compute_dtype)
    y = embedding.looped(rows)(x)
    assert tuple(y.shape) == (rows or 5, size)
    close(ops.cast(y, "float32"), ops.cast(embedding.product(x), "float32"), 1e-6 if dtype == "float32" else 2e-2)
