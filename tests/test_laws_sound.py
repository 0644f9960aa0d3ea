"""Sound: the spectrogram is Fourier's, volume and padding do not matter, CTC counts every way, recognizers write."""

import itertools

import keras
import numpy as np
import pytest
from keras import ops

from keras_seq import generate, layers, models, training
from keras_seq.decoding import BOS
from keras_seq.layers.sound import begun, hertz, mel
from tests import checks
from tests.checks import array, close

B, N, T, V, RATE = 2, 4009, 7, 23, 8000
LENGTH = np.array([N, 2311], "int32")
STACKS = {
    "lstm": {"name": "recurrent", "units": 6},
    "transformer": {"name": "transformer", "num_layers": 1, "num_heads": 2, "mlp_dim": 13},
}


def sound(seed=3):
    """Noise (B, N), the second row padded with zeros."""
    x = np.random.default_rng(seed).normal(size=(B, N), scale=0.1).astype("float32")
    return np.where(np.arange(N) < LENGTH[:, None], x, 0)


def encoder(over="lstm", **options):
    return layers.SoundEncoder(12, STACKS[over], rate=RATE, bands=13, **options)


# ---------- the spectrogram ----------


@pytest.mark.parametrize("hop", [80, 67, 100, 200, 230])  # of windows of 200 samples
def test_a_spectrogram_is_what_fourier_and_the_triangles_say(hop):
    layer, x = layers.LogMel(bands=11, rate=RATE, hop=hop / RATE), sound()
    frames = np.stack([x[:, t * hop : t * hop + 200] for t in range((N - 200) // hop + 1)], axis=1)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(200) + 0.5) / 200)
    energy = np.abs(np.fft.rfft(frames * window, 256)) ** 2
    edges, frequency = hertz(np.linspace(0, mel(4000), 13)), np.arange(129) * RATE / 256
    triangles = [np.interp(frequency, edges[i : i + 3], [0, 1, 0]) for i in range(11)]
    close(layer(x), np.log(np.maximum(energy @ np.transpose(triangles), 1e-8)), 1e-4)


def test_a_spectrogram_has_the_shape_it_promises_and_says_what_is_too_short():
    layer, x = layers.LogMel(bands=11, rate=RATE), sound()
    checks.round_trip(layer, x)
    assert tuple(layer(x).shape) == layer.compute_output_shape(x.shape) == (B, 48, 11)
    assert layer.compute_output_shape((None, None)) == (None, None, 11)
    with pytest.raises(ValueError, match="200 samples does not fit into 199"):
        layer(x[:, :199])
    with pytest.raises(ValueError, match="got 0 and 0"):
        layers.LogMel(rate=10)


def test_a_sound_of_open_length_goes_into_a_model():
    layer, wave = layers.LogMel(bands=11, rate=RATE, window=0.032, hop=0.016), keras.Input((None,))
    model = keras.Model(wave, layer(wave))
    assert model.output_shape == (None, None, 11)
    close(model.predict(sound(), verbose=0), layer(sound()))


@pytest.mark.parametrize("size", [1, 255, 256, 257, 701])
def test_samples_count_up_to_the_length(size):
    length = np.array([0, 1, min(size, 255), min(size, 256), size], "int32")
    np.testing.assert_array_equal(array(begun(size, length)), np.arange(size) < length[:, None])


def test_what_is_hidden_is_some_of_it_and_only_in_training():
    layer, x = layers.SpecAugment(2, time=0.2, band=0.3, seed=1), np.ones((7, 50, 20), "float32")
    close(layer(x), x, 0)
    hidden = array(layer(x, training=True)) == 0
    times, tones = hidden.all(axis=2), hidden.all(axis=1)
    np.testing.assert_array_equal(hidden, times[:, :, None] | tones[:, None])
    assert times.sum(axis=1).max() <= 2 * 11
    assert tones.sum(axis=1).max() <= 2 * 7
    assert 0 < hidden.mean() < 0.7
    assert len({row.tobytes() for row in hidden}) > 1


@pytest.mark.parametrize(("size", "longest"), [(7, 0.5), (20, 0.3)])
def test_every_place_may_be_hidden_and_both_ends_alike(size, longest):
    """As often as the middle of a place lies in a stretch whose width, and then whose begin, are drawn evenly."""
    count = 40_009
    hidden = array(layers.SpecAugment(1, longest, 0, seed=2)(np.ones((count, size, 1), "float32"), training=True)) == 0
    width = (np.arange(1000) + 0.5) / 1000 * longest
    begin = (np.arange(1000) + 0.5)[:, None] / 1000 * (1 - width)
    place = (np.arange(size) + 0.5) / size
    expected = [np.mean((begin <= x) & (x < begin + width)) for x in place]
    np.testing.assert_allclose(hidden.mean(axis=(0, 2)), expected, atol=4 * (0.25 / count) ** 0.5)
    np.testing.assert_allclose(expected, expected[::-1], atol=2e-3)
    assert min(expected) == pytest.approx(expected[0])
    assert expected[0] > 0.02


# ---------- the encoder ----------


@pytest.mark.parametrize("over", STACKS)
def test_padding_is_silence_that_nobody_hears(over):
    layer = encoder(over)
    layer.build()
    checks.shake(layer)
    x, mask = (array(part) for part in layer.hear(sound(), LENGTH))
    assert mask.sum(axis=1).tolist() == [layer.steps(n) for n in LENGTH.tolist()]
    noisy = np.pad(sound(), ((0, 0), (0, 501)))
    noisy[1, LENGTH[1] :] = 0.7
    wider, more = (array(part) for part in layer.hear(noisy, LENGTH))
    assert more.sum() == mask.sum()
    for i, n in enumerate(mask.sum(axis=1)):
        close(wider[i, :n], x[i, :n], 2e-5)
    alone, _ = layer.hear(sound()[1:, : LENGTH[1]])
    close(alone[0], x[1, : mask[1].sum()], 2e-5)


def test_volume_does_not_matter():
    layer = encoder()
    x, mask = (array(part) for part in layer.picture(sound(), LENGTH))
    assert x.min() >= -2
    assert x[mask].max() == 2
    close(array(layer.picture(3 * sound(), LENGTH)[0])[mask], x[mask], 1e-3)


def test_an_encoder_is_a_layer_like_any_other():
    layer, x = encoder(), sound()
    checks.round_trip(layer, x)
    assert tuple(layer(x).shape) == layer.compute_output_shape(x.shape)
    assert tuple(layer(np.zeros((1, 1), "float32")).shape)[1] > 0  # the shortest sound


# ---------- CTC ----------


def collapsed(way):
    return [token for token, _ in itertools.groupby(way) if token]


def test_the_loss_counts_every_way_to_say_it():
    logits = np.random.default_rng(0).normal(size=(3, 4, 3)).astype("float32")
    labels = np.array([[1, 2], [2, 2], [1, 0]], "int32")
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    for row, (wanted, odds) in enumerate(zip(labels, p)):
        wanted = [token for token in wanted.tolist() if token]
        ways = [way for way in itertools.product(range(3), repeat=4) if collapsed(way) == wanted]
        total = sum(np.prod(odds[np.arange(4), way]) for way in ways)
        close(layers.ctc_loss(labels, logits)[row], -np.log(total) / len(wanted), 1e-4)


@pytest.mark.parametrize("kernel", [pytest.param(True, marks=pytest.mark.tensorflow), False])
def test_labels_that_do_not_fit_teach_nothing(kernel, monkeypatch):
    """One that just fits, none, one too many, and one that lacks room for the blank between two that are the same."""
    if not kernel:
        monkeypatch.setattr("keras_seq.kernels.ctc_loss", lambda *args: None)
    logits = np.random.default_rng(3).normal(size=(4, 3, 5)).astype("float32")
    labels = np.array([[1, 2, 1, 0], [0, 0, 0, 0], [1, 2, 3, 4], [3, 3, 1, 0]], "int32")
    close(layers.ctc_loss(labels, logits)[2:], np.array([700 / 4, 700 / 3]))
    slope = checks.gradient(lambda x: layers.ctc_loss(ops.convert_to_tensor(labels), x), logits)
    assert np.isfinite(slope).all()
    assert (np.abs(slope).max((1, 2)) > 0).tolist() == [True, True, False, False]


@pytest.mark.skipif(checks.BACKEND != "tensorflow", reason="a kernel of tensorflow")
def test_the_kernel_of_the_loss_is_that_of_keras(monkeypatch):
    """Of texts of any length, none, one that just fits and one that does not; and so its gradient. XLA has none."""
    import tensorflow as tf

    random = np.random.default_rng(3)
    logits = random.normal(size=(5, 7, 9)).astype("float32")
    labels = np.array([[1, 2, 0, 0, 0, 0], [0] * 6, [3, 3, 3, 3, 0, 0], [3] * 6, [8, 1, 8, 0, 0, 0]], "int32")
    weight = np.array([1, 2, 3, 4, 5], "float32")

    def weighted(x):
        return ops.sum(layers.ctc_loss(ops.convert_to_tensor(labels), x) * weight)

    found, slope = array(layers.ctc_loss(labels, logits)), checks.gradient(weighted, logits)
    close(weighted(logits), tf.function(weighted, jit_compile=True)(logits), 1e-4)
    monkeypatch.setattr("keras_seq.kernels.ctc_loss", lambda *args: None)
    close(found, layers.ctc_loss(labels, logits), 1e-4)
    assert found[3] > 50
    close(slope, checks.gradient(weighted, logits), 1e-4)


def test_what_is_said_is_without_repetitions_and_blanks():
    best = np.random.default_rng(0).integers(0, 3, (5, 11))
    found = array(layers.ctc_tokens(np.eye(3, dtype="float32")[best]))
    for row, ids in zip(best.tolist(), found.astype(int).tolist()):
        said = collapsed(row)
        assert ids == said + [0] * (11 - len(said))


# ---------- the models ----------


MODELS = {
    "ctc": lambda: models.CTCRecognizer(V, encoder("transformer")),
    "transformer": lambda: models.TransformerRecognizer(V, encoder(), num_heads=2, num_layers=2, mlp_dim=17),
    "lstm": lambda: models.RecurrentRecognizer(V, encoder("transformer"), units=11),
}
made = {}


def model(name):
    """The model with shaken weights, its inputs and its logits; made once."""
    if name not in made:
        net = checks.shake(MODELS[name]())
        target = np.random.default_rng(5).integers(4, V, (B, T), "int32")
        target[:, 0] = BOS
        inputs = {"sound": sound(), "length": LENGTH}
        inputs |= {} if name == "ctc" else {"target": target}
        made[name] = net, inputs, array(checks.call(net, inputs))
    return made[name]


@pytest.mark.parametrize("name", ["transformer", "lstm"])
def test_split_anywhere_equals_whole(name):
    checks.split_anywhere_equals_whole(*model(name), [1, 4])


@pytest.mark.parametrize("name", ["transformer", "lstm"])
def test_the_future_is_invisible(name):
    checks.future_is_invisible(*model(name), at=4)


@pytest.mark.parametrize("name", MODELS)
def test_more_padding_changes_nothing(name):
    net, inputs, whole = model(name)
    wider = array(checks.call(net, {**inputs, "sound": np.pad(inputs["sound"], ((0, 0), (0, 800)))}))
    close(wider[:, : whole.shape[1]], whole, 2e-5)
    if name == "ctc":
        assert (wider[:, whole.shape[1] :].argmax(-1) == 0).all()


@pytest.mark.parametrize("name", ["transformer", "lstm"])
def test_attention_is_a_distribution_over_what_is_no_padding(name):
    net, inputs, _ = model(name)
    weights = array(net.attention_weights(inputs))
    close(weights.sum(-1), np.ones(weights.shape[:3]))
    assert weights[1, :, :, net.encoder.steps(int(LENGTH[1])) :].max() == 0


@pytest.mark.parametrize("name", MODELS)
def test_its_config_makes_it_again(name):
    checks.config_makes_it_again(*model(name))


def test_saved_models_reload_in_a_fresh_process(tmp_path):
    checks.reload_in_fresh_process({name: model(name)[:2] for name in ("ctc", "transformer")}, tmp_path)


def test_a_writer_writes_until_it_ends():
    net, inputs, _ = model("transformer")
    heard = {name: inputs[name] for name in ("sound", "length")}
    tokens, scores = generate(net, heard, max_length=5, beams=2)
    assert tuple(tokens.shape) == (B, 1, 5)
    assert np.isfinite(array(scores)).all()


def answers(net, x, length):
    """The first and the last answer."""
    return net.first(*net.encoder.local(x, length)), net({"sound": x, "length": length})


def test_the_first_answer_knows_only_what_is_near():
    net = checks.shake(models.CTCRecognizer(V, encoder(hide=0), dropout=0.0))
    x = np.tile(sound()[:1, :2400], (1, 2))
    other = x.copy()
    other[0, :600] *= -0.5  # the loudest place stays
    other[0, 0] = x[0, 0]
    length = np.array([x.shape[1]], "int32")
    first, last = zip(*([array(answer) for answer in answers(net, each, length)] for each in (x, other)))
    far = first[0].shape[1] // 2
    assert np.abs(first[0] - first[1])[0, :4].max() > 1e-3
    assert np.abs(last[0] - last[1])[0, far:].max() > 1e-5
    close(first[0][0, far:], first[1][0, far:], 1e-5)
    assert tuple(net({"sound": x, "length": length}, training=True).shape) == (1, 2, *last[0].shape[1:])
    plain = models.CTCRecognizer(V, encoder(hide=0), dropout=0.0, early=0.0)
    assert array(plain({"sound": x, "length": length}, training=True)).ndim == 3


@pytest.mark.tensorflow
@pytest.mark.parametrize("name", MODELS)
def test_gradients_reach_every_weight(name):
    net, inputs, _ = model(name)
    if name == "ctc":
        return checks.gradients_reach_every_weight(net, inputs)
    import tensorflow as tf

    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(net(inputs, training=True) ** 2) + sum(net.losses)
    slopes = tape.gradient(loss, [w.value for w in net.trainable_variables])
    assert not [w.path for w, s in zip(net.trainable_variables, slopes) if s is None or not np.any(array(s))]


def test_the_encoder_of_a_writer_learns_by_ctc_only_while_it_trains():
    net, inputs, _ = model("lstm")
    net(inputs)
    assert not net.losses
    net(inputs, training=True)
    (loss,) = net.losses
    assert float(ops.convert_to_numpy(loss)) > 0
    without = models.RecurrentRecognizer(V, encoder(), units=11, ctc=0.0)
    without(inputs, training=True)
    assert not without.losses
    assert not [weight.path for weight in without.weights if "blanks" in weight.path]


def test_fit_learns_a_token_that_is_said():
    net = models.CTCRecognizer(5, encoder(hide=0), dropout=0.0)
    net.compile(keras.optimizers.Adam(0.01), training.CTC())
    inputs = {"sound": sound(), "length": LENGTH}
    losses = net.fit(inputs, np.array([[3, 4], [4, 0]], "int32"), epochs=6, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
