"""The convolutions of the clip encoder are those of Keras' Conv3D."""

import keras
import pytest
from keras import ops

from keras_seq import layers
from keras_seq.layers.clips import convolve, halve
from tests.checks import array, close, normal

B, T, H, W, C, F = 2, 5, 7, 11, 3, 13


def tensors(depth, size):
    return ops.convert_to_tensor(normal(B, T, H, W, C)), ops.convert_to_tensor(normal(depth, size, size, C, F, seed=1))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("depth", "size"), [(3, 5), (1, 3), (2, 3)])
def test_a_convolution_is_that_of_keras(depth, size, stride):
    x, kernel = tensors(depth, size)
    keras_own = keras.layers.Conv3D(F, (depth, size, size), (1, stride, stride), "same", use_bias=False)
    keras_own.build(x.shape)
    keras_own.set_weights([array(kernel)])
    whole, first = array(keras_own(x)), (depth - 1) // 2
    close(convolve(x, kernel, stride, False), whole, 1e-4)
    close(convolve(x, kernel, stride, True), whole[:, first : first + T - depth + 1], 1e-4)


@pytest.mark.parametrize("stride", [1, 2])
def test_one_frame_is_convolved_like_many(stride):
    x, kernel = tensors(3, 5)
    whole = array(convolve(x, kernel, stride, True))
    for t in range(T - 2):
        close(convolve(x[:, t : t + 3], kernel, stride, True), whole[:, t : t + 1], 1e-4)


@pytest.mark.parametrize("causal", [True, False])
def test_a_graph_computes_what_the_layer_does(causal):
    """TensorFlow rewrites a graph before it runs it, and once lost a padding before a convolution by that."""
    encoder, x = layers.ClipEncoder(5, (3, 5), (5, 3), causal=causal), normal(B, T, H, W, C)
    expected = encoder(x)
    model = keras.Sequential([encoder])
    close(model.predict(x, verbose=0), expected, 1e-4)


def test_halving_takes_the_largest():
    x = normal(B, T, 4, 6, C)
    expected = x.reshape(B, T, 2, 2, 3, 2, C).max(axis=(3, 5))
    close(halve(ops.convert_to_tensor(x)), expected)
    assert tuple(halve(ops.convert_to_tensor(normal(B, T, H, W, C))).shape) == (B, T, 4, 6, C)


@pytest.mark.parametrize(("shape", "message"), [
    ((B, T, H, W), "known H, W and C"),
    ((B, T, None, W, C), "known H, W and C"),
])
def test_what_is_no_clip_is_refused(shape, message):
    with pytest.raises(ValueError, match=message):
        layers.ClipEncoder(F).build(shape)


def test_filters_need_sizes():
    with pytest.raises(ValueError, match="a size for each"):
        layers.ClipEncoder(F, filters=(3, 5), sizes=(3,))
