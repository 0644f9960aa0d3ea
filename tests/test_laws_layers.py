"""Law 5: every layer and model saves, loads, composes, keeps its promises of shape, and runs in half precision."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_seq import layers, models
from keras_seq.layers import core, loops
from keras_seq.models import RecurrentSeq2Seq, TransformerSeq2Seq
from tests import checks
from tests.checks import array, close, normal

B, T, S, D, E = 2, 5, 7, 12, 11  # D is divisible by the heads


def x(length=T, dim=D, seed=0, batch=B):
    return 0.5 * normal(batch, length, dim, seed=seed)


def tokens(length=T, batch=B):
    ids = np.random.default_rng(4).integers(1, 23, (batch, length), "int32")
    ids[0, -2:] = 0
    return ids


# name: a function that makes the layer, and its inputs
LAYERS = {
    "patch_embedding": (lambda **k: layers.PatchEmbedding(13, patch=(2, 3), **k), [normal(B, 4, 9, E)]),
    "frame_embedding": (lambda **k: layers.FrameEmbedding(13, size=3, stride=2, **k), [x()]),
    "linear": (lambda **k: layers.Linear(13, activation="relu", **k), [x()]),
    "dropout": (lambda **k: layers.Dropout(0.3, **k), [x()]),
    "token_embedding": (lambda **k: layers.TokenEmbedding(23, 13, **k), [tokens()]),
    "pair_embedding": (lambda **k: layers.PairEmbedding(23, 13, 101, share=[*range(21), 5, 6], **k), [tokens()]),
    "feed_forward": (lambda **k: layers.FeedForward(13, "gelu", 0.1, **k), [x()]),
    "feed_forward_swiglu": (lambda **k: layers.FeedForward(13, "swiglu", **k), [x()]),
    "multi_head": (lambda **k: layers.MultiHeadAttention(3, position="rotary", dropout=0.1, **k), [x()]),
    "multi_head_context": (lambda **k: layers.MultiHeadAttention(4, head_dim=5, kv_heads=2, **k), [x(), x(S, E)]),
    "additive": (lambda **k: layers.AdditiveAttention(13, dropout=0.1, **k), [x(), x(S, E)]),
    "dot": (lambda **k: layers.DotProductAttention("scaled_dot", **k), [x(), x(S)]),
    "general": (lambda **k: layers.DotProductAttention("general", **k), [x(), x(S, E)]),
    "block": (lambda **k: layers.Block(3, 13, dropout=0.1, position="alibi", **k), [x()]),
    "block_cross": (lambda **k: layers.Block(3, 13, cross=True, norm="rms", activation="swiglu", **k), [x(), x(S)]),
    "encoder": (lambda **k: layers.TransformerEncoder(2, 3, 13, dropout=0.1, **k), [x()]),
    "encoder_post_norm": (
        lambda **k: layers.TransformerEncoder(1, 2, 13, {"name": "relative", "max_distance": 3}, norm_first=False, **k),
        [x()],
    ),
    "decoder": (lambda **k: layers.TransformerDecoder(2, 2, 13, "rotary", norm="rms", **k), [x(), x(S)]),
    "decoder_grouped": (lambda **k: layers.TransformerDecoder(1, 4, 13, "alibi", kv_heads=2, **k), [x(), x(S)]),
    "recurrent_encoder": (lambda **k: layers.RecurrentEncoder(13, 2, dropout=0.1, residual=True, **k), [x()]),
    "recurrent_encoder_gru": (lambda **k: layers.RecurrentEncoder(13, cell="gru", bidirectional=False, **k), [x()]),
    "recurrent_decoder": (lambda **k: layers.RecurrentDecoder(13, 2, dropout=0.1, **k), [x(), x(S, E)]),
    "recurrent_decoder_fed": (
        lambda **k: layers.RecurrentDecoder(13, 2, "gru", dropout=0.1, feed_context=True, **k),
        [x(), x(S, E)],
    ),
    "gru_decoder_general": (
        lambda **k: layers.RecurrentDecoder(13, cell="gru", attention="general", **k), [x(), x(S, E)],
    ),  # fmt: skip
    "rnn_decoder_none": (lambda **k: layers.RecurrentDecoder(13, cell="rnn", attention=None, **k), [x(), x(S, E)]),
}
every_layer = pytest.mark.parametrize("name", LAYERS)

SEQ2SEQ = {
    "transformer": lambda **k: TransformerSeq2Seq(
        vocab_size=29, dim=D, num_heads=2, num_layers=1, mlp_dim=13, position="relative_bias", dropout=0.2,
        activation="gelu", norm_first=False, max_length=17, target_vocab_size=23,
        attention={"name": "local", "window": 3}, **k,
    ),  # fmt: skip
    "lstm": lambda **k: RecurrentSeq2Seq(
        vocab_size=23, dim=13, units=14, num_layers=2, cell="gru", attention="dot", dropout=0.2, **k
    ),
}
every_model = pytest.mark.parametrize("name", SEQ2SEQ)


def seq2seq_inputs(batch=B):
    return {"source": tokens(S, batch), "target": tokens(T, batch)}


# ---------- layers ----------


@every_layer
def test_config_round_trip(name):
    make, inputs = LAYERS[name]
    checks.round_trip(make(), *inputs)


@every_layer
def test_functional_equals_eager_for_any_batch_and_length(name):
    make, inputs = LAYERS[name]
    layer = make()
    model = checks.functional_equals_eager(layer, *inputs)
    wider = [np.concatenate([one, one[:1]]) for one in inputs]
    longer = [np.concatenate([one, one[:, :2]], axis=1) for one in wider]
    for other in (wider, longer):
        close(model.predict(other, verbose=0), checks.method(layer, "__call__")(*other))


@every_layer
def test_symbolic_shapes_are_kept(name):
    make, inputs = LAYERS[name]
    checks.symbolic_shape(make(), *inputs)


@every_layer
def test_half_precision(name):
    make, inputs = LAYERS[name]
    checks.half_precision(lambda dtype: make(dtype=dtype), *inputs)


@pytest.mark.tensorflow
def test_xla_gives_the_same():
    """All layers in one graph: XLA takes about as long for one. On jax every test of `predict` compiles with it."""
    import tensorflow as tf

    made = {name: (make(), inputs) for name, (make, inputs) in LAYERS.items()}
    expected = {name: checks.shake_built(layer, *inputs)(*inputs) for name, (layer, inputs) in made.items()}

    @tf.function(jit_compile=True, autograph=False)
    def compiled():
        return {name: layer(*inputs) for name, (layer, inputs) in made.items()}

    found = compiled()
    for name, y in expected.items():
        close(found[name], y)


@every_layer
def test_dropout_is_for_training_only(name):
    make, inputs = LAYERS[name]
    layer = checks.shake_built(make(), *inputs)
    close(layer(*inputs), layer(*inputs), 0)


def test_every_layer_and_model_reloads_in_a_fresh_process(tmp_path):
    models = {name: (checks.functional(make(), *inputs), inputs) for name, (make, inputs) in LAYERS.items()}
    models |= {name: (make(), seq2seq_inputs()) for name, make in SEQ2SEQ.items()}
    for model, _ in models.values():
        checks.shake(model)
    checks.reload_in_fresh_process(models, tmp_path)


# ---------- arguments that are objects ----------


@keras.saving.register_keras_serializable(package="tests")
class Parity(layers.Position):
    """A position of somebody's own, with arguments and weights."""

    def __init__(self, size=1.0, bend=None, **kwargs):
        super().__init__(**kwargs)
        self.size, self.bend = size, keras.activations.get(bend)

    def build(self, x_shape, num_heads=1, head_dim=None):
        self.table = self.add_weight(name="table", shape=(2, x_shape[-1]), initializer="ones")

    def add(self, x, pos):
        return x + self.size * self.bend(ops.take(self.table, pos % 2, axis=0))


@keras.saving.register_keras_serializable(package="tests")
def cube(x):
    return x * x * x


def parity():
    return Parity(0.3, keras.activations.tanh)


# name: a function that makes a layer, and its inputs
OBJECTS = {
    "activation": (lambda **k: layers.FeedForward(13, keras.activations.gelu, **k), [x()]),
    "own_activation": (lambda **k: layers.FeedForward(13, cube, **k), [x()]),
    "numpy": (lambda **k: layers.Block(np.int64(3), np.int64(13), kv_heads=np.int64(1), **k), [x()]),
    "position": (lambda **k: layers.MultiHeadAttention(3, position=layers.Rotary(base=100.0), **k), [x()]),
    "position_with_weights": (lambda **k: layers.MultiHeadAttention(3, position=layers.Relative(2), **k), [x()]),
    "local": (lambda **k: layers.LocalAttention(3, 3, position=layers.RelativeBias(), **k), [x()]),
    "additive": (lambda **k: layers.AdditiveAttention(13, position=layers.Relative(2), **k), [x(), x(S, E)]),
    "dot": (lambda **k: layers.DotProductAttention(position=layers.ALiBi(), **k), [x(), x(S)]),
    "block": (
        lambda **k: layers.Block(
            3, 13, activation=cube, attention={"name": "multi_head", "position": layers.Relative(2)}, **k
        ),
        [x()],
    ),
    "encoder": (lambda **k: layers.TransformerEncoder(2, 3, 13, layers.Learned(97), activation=cube, **k), [x()]),
    "encoder_own": (lambda **k: layers.TransformerEncoder(2, 3, 13, parity(), **k), [x()]),
    "decoder": (lambda **k: layers.TransformerDecoder(2, 2, 13, parity(), **k), [x(), x(S)]),
    "recurrent_decoder_heads": (
        lambda **k: layers.RecurrentDecoder(
            12, attention={"name": "multi_head", "num_heads": 2, "position": layers.Position()}, **k
        ),
        [x(), x(S, E)],
    ),
    "pictures": (
        lambda **k: layers.PatchEncoder(
            12, num_layers=1, num_heads=2, mlp_dim=13, stem=(4, 4), position=layers.Learned2D(3, 2), **k
        ),
        [normal(B, 16, 24, 3)],
    ),
    "sound": (
        lambda **k: layers.SoundEncoder(
            12,
            {"name": "transformer", "num_layers": 1, "num_heads": 2, "mlp_dim": 13, "position": parity()},
            rate=8000, **k,
        ),
        [normal(B, 2000)],
    ),
    "text": (
        lambda **k: layers.TextEncoder(
            23, 12, {"name": "transformer", "num_layers": 1, "num_heads": 2, "mlp_dim": 13, "position": parity()}, **k
        ),
        [tokens()],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", [*OBJECTS, *LAYERS])
def test_a_layer_with_objects_as_arguments_is_saved_and_cloned(name, tmp_path):
    """Those of `OBJECTS`, and all with a policy of dtypes."""
    make, inputs = (OBJECTS | LAYERS)[name]
    for options in ({}, {"dtype": keras.DTypePolicy("mixed_bfloat16")}):
        symbols = [keras.Input(batch_shape=one.shape, dtype=one.dtype) for one in inputs]
        layer = make(**options)
        model = checks.shake(keras.Model(symbols, layer(*symbols)))
        checks.plain_config(layer)
        model.save(tmp_path / "model.keras")
        for twin in (keras.models.load_model(tmp_path / "model.keras"), keras.models.clone_model(model)):
            twin.set_weights(model.get_weights())
            assert twin.layers[-1].dtype_policy == layer.dtype_policy
            assert not set(map(id, twin.weights)) & set(map(id, model.weights))
            close(checks.method(twin, "__call__")(inputs), checks.method(model, "__call__")(inputs), 0)


def test_plain_arguments_stay_plain_in_a_config():
    attention = {"name": "local", "window": 3}
    position = {"name": "relative", "max_distance": 3}
    config = layers.TransformerEncoder(1, 2, 13, position, attention=attention).get_config()
    assert config["position"] == position
    assert (config["attention"], config["activation"], config["norm_first"]) == (attention, "relu", True)


def test_what_no_config_can_hold_is_said_when_it_is_saved():
    layer = layers.FeedForward(13, lambda x: x)
    layer(x())
    with pytest.raises(NotImplementedError, match="non-serializable"):
        layer.get_config()


def test_a_position_may_be_shared():
    position = layers.Learned(97)
    first, second = (layers.TransformerEncoder(1, 2, 13, position) for _ in range(2))
    second(first(x()))
    assert len(position.weights) == 1


# ---------- masks that Keras hands on ----------


def embedded(layer, *context):
    """The functional model of token ids -> embedding -> layer, whose padding only the Keras mask tells of."""
    ids = [keras.Input((None,), dtype="int32") for _ in range(1 + len(context))]
    embedding = layers.TokenEmbedding(23, D)
    return checks.shake(keras.Model(ids, layer(*(embedding(one) for one in ids))))


PADDED = ["multi_head", "block", "encoder", "encoder_post_norm", "recurrent_encoder", "recurrent_encoder_gru"]


@pytest.mark.parametrize("name", PADDED)
def test_padding_is_invisible_through_a_keras_mask(name):
    model, ids = embedded(LAYERS[name][0]()), tokens()
    wider = np.pad(ids, ((0, 0), (0, 3)))
    keep = ids != 0
    close(model.predict(wider, verbose=0)[:, :T][keep], model.predict(ids, verbose=0)[keep], 2e-5)


WITH_CONTEXT = ["multi_head_context", "additive", "dot", "general", "block_cross", "decoder", "recurrent_decoder"]


@pytest.mark.parametrize("name", WITH_CONTEXT)
def test_padding_of_the_context_is_invisible_through_a_keras_mask(name):
    model, ids, context = embedded(LAYERS[name][0](), 1), tokens()[1:] % 22 + 1, tokens(S)[:1]
    wider = np.pad(context, ((0, 0), (0, 3)))
    close(model.predict([ids, wider], verbose=0), model.predict([ids, context], verbose=0), 2e-5)


def test_the_mask_is_handed_on():
    h = layers.TransformerEncoder(1, 2, 13)(layers.TokenEmbedding(23, D)(tokens()))
    np.testing.assert_array_equal(array(h._keras_mask), tokens() != 0)


# ---------- one by one ----------


def test_linear_is_a_keras_dense():
    ours, theirs = layers.Linear(13, activation="tanh"), keras.layers.Dense(13, activation="tanh")
    expected = checks.shake_built(theirs, x())(x())
    ours(x())
    close(checks.copy_weights(theirs, ours)(x()), expected)


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_dropout_keeps_the_mean_and_draws_anew(dtype):
    layer, ones = layers.Dropout(0.3, seed=5, dtype=dtype), np.ones((101, 103), "float32")
    first, second = (array(layer(ones, training=True)).astype("float32") for _ in range(2))
    dropped = (first == 0).mean()
    assert abs(dropped - 0.3) < 0.02
    assert abs(first.mean() - 1) < 0.02
    assert set(np.unique(first).round(2)) == {0.0, np.float32(1.43)}
    assert abs((first == second).mean() - (0.3**2 + 0.7**2)) < 0.02  # as often as two that know nothing of each other
    assert abs((first[1:] == first[:-1]).mean() - (0.3**2 + 0.7**2)) < 0.02
    assert (array(layer(ones)) == 1).all()


@pytest.mark.tensorflow  # the draws move a state, which jax.grad alone does not carry out
def test_the_gradient_of_dropout_goes_where_its_output_comes_from():
    layer, x = layers.Dropout(0.3, seed=5), np.ones((11, 13), "float32")
    kept = array(layer(x, training=True))
    layer.random.state.assign(layers.Dropout(0.3, seed=5).random.state)
    close(checks.gradient(lambda x: ops.sum(layer(x, training=True)), x), kept)


@pytest.mark.tensorflow  # the only backend that compiles open shapes
def test_dropout_of_any_length():
    """`fit` compiles for sizes that it does not know, all but the last."""
    import tensorflow as tf

    layer = layers.Dropout(0.5)
    drop = tf.function(lambda x: layer(x, training=True), input_signature=[tf.TensorSpec((None, None, 5))])
    assert {float(y) for y in array(drop(np.ones((11, 13, 5), "float32"))).ravel()} == {0.0, 2.0}


def test_the_bits_of_dropout_know_nothing_of_each_other():
    """Nor of those of the next draw, nor of where they stand: the hash mixes a counter."""
    layer = layers.Dropout(0.3, seed=5)
    first, second = (array(layer.draw(100_003)).view("uint8") for _ in range(2))
    bits = np.stack([np.unpackbits(draw).reshape(-1, 32) for draw in (first, second)], axis=1).reshape(-1, 64)
    bits = np.concatenate([bits[1:], bits[:-1]], axis=1) - 0.5  # beside those of the draw before
    assert np.abs(bits.mean(axis=0)).max() < 0.01
    likeness = 4 * bits.T @ bits / len(bits) - np.eye(128)
    assert np.abs(likeness).max() < 0.02


@pytest.mark.tensorflow  # elsewhere it is that of Keras
@pytest.mark.parametrize(
    ("dtype", "options"),
    [
        *((dtype, {}) for dtype in ("float32", "mixed_bfloat16", "float64", "float16", "bfloat16")),
        *(("float32", options) for options in ({"center": False}, {"scale": False}, {"axis": 1}, {"axis": 2})),
    ],
)
@pytest.mark.parametrize("name", ["LayerNormalization", "BatchNormalization"])
@pytest.mark.parametrize("size", [13, 16])
def test_normalization_is_that_of_keras_and_so_are_its_gradients(name, dtype, options, size):
    """The gradient in training is written by hand, or an op's; the moving mean and variance move as they would."""
    import tensorflow as tf

    found, moved = [], []
    for kind in (getattr(core, name), getattr(keras.layers, name)):
        layer = kind(epsilon=1e-5, dtype=dtype, **options)
        layer.build((None, 7, size))
        checks.shake(layer, 7)
        given = tf.constant(3 * checks.normal(5, 7, size) + 2)
        with tf.GradientTape() as tape:
            tape.watch(given)
            y = layer(given, training=True)
            total = tf.reduce_sum(tf.cast(y, "float32") * checks.normal(5, 7, size, seed=1))
        found.append([y, *tape.gradient(total, [given, *(weight.value for weight in layer.trainable_weights)])])
        moved.append(layer.non_trainable_weights)
    close(*found, 1e-5 if dtype == "float32" else 2**-7)
    close(*moved, 1e-5)
    assert layer.compute_dtype == found[0][0].dtype.name


@pytest.mark.tensorflow
@pytest.mark.parametrize("options", [{"synchronized": True}, {"renorm": True}])
def test_batch_normalization_leaves_to_keras_what_its_kernel_does_not_know(options, monkeypatch):
    monkeypatch.delattr("keras_seq.kernels.batch_normalized")
    given = 3 * checks.normal(5, 7, 13) + 2
    layer, theirs = core.BatchNormalization(**options), keras.layers.BatchNormalization(**options)
    close(layer(given, training=True), theirs(given, training=True))
    close(layer.weights, theirs.weights)


@pytest.mark.tensorflow  # elsewhere the two are one
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("name", ["gelu", "rotary"])
def test_what_is_written_anew_for_training_is_what_it_stands_for(name, graph, dtype):
    import tensorflow as tf

    if name == "gelu":
        layer, rest = layers.Linear(8, name, autocast=False), []
    else:
        layer, rest = layers.Rotary(), [np.arange(T)[None] + 3]
    given, weights = tf.constant(3 * normal(B, 3, T, 8), dtype), normal(B, 3, T, 8, seed=1)
    layer.build(given.shape)

    def slope(given, training):
        with tf.GradientTape() as tape:
            tape.watch(given)
            y = tf.cast(layer(given, *rest, training=training), "float32")
            total = tf.reduce_sum(y * weights)
        return y, tf.cast(tape.gradient(total, given), "float32")

    run = tf.function(slope, autograph=False) if graph else slope
    close(run(given, True), slope(given, False), 2**-4 if dtype == "bfloat16" else 2e-6)


@pytest.mark.tensorflow  # whose own gradient of a bias adds row to row in bfloat16
@pytest.mark.parametrize(("kind", "activation"), [(layers.Linear, None), (layers.Linear, "relu"), (loops.LSTM, "tanh")])
@pytest.mark.parametrize("graph", [False, True])
def test_the_gradient_of_a_bias_loses_no_rows_in_half_precision(kind, activation, graph):
    import tensorflow as tf

    found, x = [], tf.constant(checks.normal(1024, 4, 3), "bfloat16")
    for dtype in ("float32", "mixed_bfloat16"):
        layer = kind(5, activation, dtype=dtype)
        layer.build((None, None, 3))
        checks.shake(layer)

        def slope(x, layer=layer):
            with tf.GradientTape() as tape:
                y = tf.reduce_sum(tf.cast(layer(x, training=True), "float32"))
            return tape.gradient(y, layer.trainable_weights[-1].value)

        found.append(array((tf.function(slope, autograph=False) if graph else slope)(x)))
    assert np.linalg.norm(found[1] - found[0]) < 2**-6 * np.linalg.norm(found[0])


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_dropout_refuses_rates_outside(rate):
    with pytest.raises(ValueError, match="from 0 to below 1"):
        layers.Dropout(rate)


def test_token_embedding_is_a_table_read_both_ways():
    layer = checks.shake_built(layers.TokenEmbedding(23, 13), tokens())
    table = layer.get_weights()[0]
    close(layer(tokens()), table[tokens()] * 13**0.5)
    h = x(dim=13)
    close(layer.logits(ops.convert_to_tensor(h)), h @ table.T, 2e-5)


@pytest.mark.parametrize("shape", [(None, None), (B, T)])
def test_logits_of_a_functional_model_are_tied(shape, tmp_path):
    """After training, saving and cloning: what is read once, while a model of fixed sizes is made, stays as it was."""
    ids = keras.Input(batch_shape=shape, dtype="int32")
    embedding, turn = layers.TokenEmbedding(23, 13), layers.Linear(13)
    model = keras.Model(ids, embedding.logits(turn(embedding(ids))))
    assert model.output_shape == (*shape, 23)
    model.compile(keras.optimizers.SGD(1.0), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    before = array(embedding.table)
    model.fit(tokens(), tokens(), batch_size=B, verbose=0)
    assert (np.abs(array(embedding.table) - before) > 0)[1:].any(axis=1).all()  # logits teach the rows of all tokens
    expected = embedding.logits(turn(embedding(tokens())))
    assert model.output._keras_mask is not None
    model.save(tmp_path / "model.keras")
    for twin in (keras.models.load_model(tmp_path / "model.keras"), keras.models.clone_model(model)):
        twin.set_weights(model.get_weights())
        assert len(twin.weights) == 3
        close(twin.predict(tokens(), batch_size=B, verbose=0), expected)


SYMBOL, PICTURES = keras.KerasTensor((B, 2, T, 8)), keras.KerasTensor((B, T, 8, 8, 1))
READS = {
    "learned": lambda: built(layers.Learned(17)).add(SYMBOL, checks.arange(T)),
    "learned_2d": lambda: built(layers.Learned2D(5, 3)).add(SYMBOL, checks.arange(T)),
    "relative": lambda: built(layers.Relative(3)).bias(SYMBOL, checks.arange(T), checks.arange(T)),
    "relative_bias": lambda: built(layers.RelativeBias()).bias(SYMBOL, keras.KerasTensor((1, T), "int32"), None),
    "additive": lambda: built(layers.AdditiveAttention()).scores(SYMBOL, SYMBOL),
    "slots": lambda: built(layers.ProjectiveAttention(2, 3, 17)).attend(SYMBOL, {"k": SYMBOL, "v": SYMBOL}),
    "features": lambda: built(layers.ProjectiveAttention(2, features=3)).scores(SYMBOL, SYMBOL),
    "clip": lambda: built(layers.ClipEncoder(D, (3,), (3,)), (B, T, 8, 8, 1)).step(PICTURES, None),
}


def built(layer, shape=(B, T, 16)):
    layer.build(shape)
    return layer


@pytest.mark.parametrize("name", READS)
def test_weights_that_no_functional_model_would_have_are_not_read(name):
    with pytest.raises(ValueError, match="reads its weights"):
        READS[name]()


SHORT = {
    "learned": lambda: layers.TransformerEncoder(1, 2, 13, "learned", max_length=11),
    "learned_2d": lambda: layers.TransformerEncoder(1, 2, 13, {"name": "learned_2d", "columns": 4, "rows": 3}),
    "slots": lambda: layers.ProjectiveAttention(2, slots=3, max_length=11),
}


@pytest.mark.parametrize("name", SHORT)
def test_what_knows_few_lengths_goes_into_a_model_of_any(name):
    """Keras tries such a model out with symbols on jax, with 83 and 89 tokens on torch."""
    layer = SHORT[name]()
    model = checks.functional_equals_eager(layer, x())
    assert model.output_shape == (None, None, D)
    for longer in (lambda: model([x(13)]), lambda: layer(x(13))):
        with pytest.raises(ValueError, match="got 13"):
            longer()


TOKENS = {
    "token_embedding": lambda **k: layers.TokenEmbedding(997, 13, **k),
    "pair_embedding": lambda **k: layers.PairEmbedding(997, 13, 101, **k),
    "text_encoder": lambda **k: layers.TextEncoder(
        997, 13, {"name": "recurrent", "units": 3}, share=[*range(996), 5], forms=[0, 1] * 498 + [0], **k
    ),
}


@pytest.mark.parametrize("name", TOKENS)
def test_tokens_may_be_floats(name):
    """As of Keras' own embedding: an `Input` without a dtype and a strategy of tensorflow make them that."""
    model = keras.Sequential([keras.Input((None,)), TOKENS[name](dtype="mixed_bfloat16")])
    ids = np.array([[991, 996, 515, 0, 0]])
    close(checks.shake(model)(ids.astype("float32")), model.layers[0](ids))


@pytest.mark.parametrize("name", TOKENS)
@pytest.mark.parametrize("dtype", ["uint8", "int16", "int64"])
def test_tokens_may_be_integers_of_any_kind(name, dtype):
    layer, ids = TOKENS[name](), np.array([[91, 96, 115, 0, 0]], "int32")
    layer(ids)
    checks.shake(layer)
    close(layer(ids.astype(dtype)), layer(ids), 0)


@pytest.mark.parametrize("activation", ["relu", "swiglu"])
def test_feed_forward_is_its_formula(activation):
    layer = checks.shake_built(layers.FeedForward(13, activation), x())
    up, b, down, c = layer.get_weights()
    h = x() @ up + b
    gate, h = (h[..., :13], h[..., 13:]) if activation == "swiglu" else (None, np.maximum(h, 0))
    h = h if gate is None else gate / (1 + np.exp(-gate)) * h
    close(layer(x()), h @ down + c)


CELLS = {"rnn": keras.layers.SimpleRNN, "gru": keras.layers.GRU, "lstm": keras.layers.LSTM}


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("both", [False, True])
def test_recurrent_encoder_is_keras_own(cell, both):
    """Two layers, with padding, against the same made of keras.layers; weights come in the same order."""
    ours = layers.RecurrentEncoder(13, 2, cell, bidirectional=both)
    keep = tokens() != 0
    checks.shake_built(ours, x())
    y, states = ours(x(), x_mask=keep, return_state=True)
    h, each = x(), len(ours.weights) // (4 if both else 2)
    for i in range(2):
        weights = [weights_of(ours, name, i, each) for name in ("forward", "backward")]
        h, *state = keras_layer(CELLS[cell], both, h, weights)(h, mask=keep)
    close(array(y)[keep], array(h)[keep])
    last = list(states[-1].values())
    half = len(state) // 2
    expected = [np.concatenate([array(f), array(b)], -1) for f, b in zip(state[:half], state[half:])] if both else state
    assert len(last) == len(expected)
    for one, other in zip(last, expected):
        close(one, other)


OPTIONS = [
    {}, {"activation": "relu"}, {"recurrent_activation": "hard_sigmoid"}, {"use_bias": False}, {"unroll": True},
    {"zero_output_for_mask": True}, {"dropout": 0.5, "seed": 1}, {"recurrent_dropout": 0.5, "seed": 1},
]  # fmt: skip


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_an_lstm_takes_the_options_of_keras(options, training):
    ours, theirs = (kind(13, return_sequences=True, **options) for kind in (loops.LSTM, keras.layers.LSTM))
    for layer in (ours, theirs):
        layer.build(x().shape)
    checks.copy_weights(checks.shake(theirs), ours)
    found, expected = (layer(x(), mask=tokens() != 0, training=training) for layer in (ours, theirs))
    close(found, expected)


def weights_of(layer, direction, i, each):
    """The weights of one direction of one layer, by name; [] where there is none."""
    found = [w for w in layer.weights if f"/{direction}_{i}/" in w.path]
    assert len(found) in (0, each)
    return [array(w) for w in found]


def keras_layer(kind, both, h, weights):
    layer = kind(13, return_sequences=True, return_state=True)
    if both:
        layer = keras.layers.Bidirectional(layer)
    layer(ops.convert_to_tensor(h))
    layer.set_weights(weights[0] + weights[1])
    return layer


@pytest.mark.parametrize("residual", [False, True])
def test_residuals_begin_with_the_second_layer(residual):
    layer = layers.RecurrentEncoder(13, 2, bidirectional=False, residual=residual)
    y = array(checks.shake_built(layer, x())(x()))
    first = layer.forwards[0](x())[0]
    second = layer.forwards[1](first)[0]
    close(y, array(second) + (array(first) if residual else 0))


@pytest.mark.parametrize("norm_first", [False, True])
def test_a_block_is_the_equation_of_its_paper(norm_first):
    block = checks.shake_built(layers.Block(3, 13, cross=True, norm_first=norm_first), x(), x(S, seed=1))
    h, context = ops.convert_to_tensor(x()), ops.convert_to_tensor(x(S, seed=1))
    expected = h
    attends = lambda z: block.cross_attention(z, context)  # noqa: E731
    for norm, f in zip(block.norms, [block.self_attention, attends, block.feed_forward]):
        expected = expected + f(norm(expected)) if norm_first else norm(expected + f(expected))
    close(block(h, context), expected)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: layers.RecurrentEncoder(13, cell="mgu"), "rnn, gru, lstm"),
        (lambda: layers.Block(3, 13, norm="batch"), "layer, rms"),
        (lambda: layers.RecurrentDecoder(13, attention="hard")(x(), x(S)), "additive"),
        (lambda: layers.TransformerEncoder(1, 5, 13)(x()), "multiple of num_heads"),
        (lambda: RecurrentSeq2Seq(23, units=13), "even"),
        (
            lambda: layers.RecurrentDecoder(12, attention={"name": "multi_head", "num_heads": 2, "position": "rotary"}),
            "positions",
        ),
        (lambda: layers.TransformerEncoder(0, 3, 13), "num_layers must be at least 1; got 0"),
        (lambda: layers.PairEmbedding(19, 0, 7), "dim must be at least 1; got 0"),
        (lambda: TransformerSeq2Seq(23, 12, num_layers=-1), "num_layers must be at least 1; got -1"),
        (lambda: layers.RecurrentEncoder(13, 0), "num_layers"),
        (lambda: layers.RecurrentDecoder(13, 0), "num_layers"),
        (lambda: layers.MultiHeadAttention(0), "num_heads"),
        (lambda: layers.MultiHeadAttention(4, kv_heads=0), "kv_heads"),
        (lambda: layers.MultiHeadAttention(4, head_dim=-3), "head_dim"),
        (lambda: layers.AdditiveAttention(0), "units"),
        (lambda: layers.ProjectiveAttention(3, features=0), "features"),
        (lambda: layers.StridedAttention(3, 2, stride=0, reach=1), "stride"),
        (lambda: layers.RandomAttention(3, 2, count=0), "count"),
        (lambda: layers.FeedForward(0), "mlp_dim"),
        (lambda: layers.TokenEmbedding(0, 13), "vocab_size"),
        (lambda: layers.TokenEmbedding(23, 0), "dim"),
        (lambda: layers.PatchEmbedding(0), "dim"),
        (lambda: layers.FrameEmbedding(0, 3), "dim"),
        (lambda: layers.PatchEmbedding(3, 0), "patch must be at least 1; got 0"),
        (lambda: layers.PatchEmbedding(3, (2, -1, 4)), "patch must be at least 1; got -1"),
        (lambda: layers.FrameEmbedding(3, 0), "size must be at least 1; got 0"),
        (lambda: layers.Rotary(scale=0), "scale must be above 0"),
        (lambda: layers.Rotary(base=-1.0), "base and scale must be above 0; got -1.0"),
        (lambda: layers.LogMel(0), "bands must be at least 1"),
        (lambda: layers.SpecAugment(-1), "count of 0 or more"),
        (lambda: layers.SpecAugment(time=1.5), "shares from 0 to 1; got 2, 1.5"),
        (lambda: layers.SpecAugment(band=-0.1), "shares from 0 to 1"),
        (lambda: layers.Learned(0), "max_length"),
        (lambda: layers.Sinusoidal2D(0), "columns"),
    ],
)
def test_what_cannot_be_is_said(make, says):
    with pytest.raises(ValueError, match=says):
        make()


# ---------- models ----------


@every_model
def test_a_model_keeps_its_config(name):
    """Keras would record the defaults: every option here differs from its default."""
    model = SEQ2SEQ[name]()
    twin = type(model).from_config(model.get_config())
    assert twin.get_config() == model.get_config()
    assert type(model).from_config(SEQ2SEQ[name](dtype="mixed_bfloat16").get_config()).compute_dtype == "bfloat16"
    assert [w.shape for w in twin.weights] == [w.shape for w in model.weights]
    checks.shake(model)
    close(checks.copy_weights(model, twin)(seq2seq_inputs()), model(seq2seq_inputs()), 1e-6)


@every_model
def test_a_model_has_a_summary(name):
    lines = []
    SEQ2SEQ[name]().summary(print_fn=lambda line, **_: lines.append(line))
    decoder = next(line for line in "".join(lines).splitlines() if "Decoder" in line)
    assert f"(None, None, {12 if name == 'transformer' else 14})" in decoder


# name: a function that makes a model of a position with weights
WITH_POSITION = {
    "seq2seq": (lambda p: TransformerSeq2Seq(23, D, 2, 1, 13, position=p), seq2seq_inputs()),
    "language": (lambda p: models.TransformerLanguageModel(23, D, 2, 1, 13, position=p), {"target": tokens()}),
    "classifier": (
        lambda p: models.TransformerClassifier(23, 3, D, num_heads=2, num_layers=1, mlp_dim=13, position=p), tokens(),
    ),
    "tagger": (
        lambda p: models.TransformerTagger(3, layers.TokenEmbedding(23, D), num_heads=2, num_layers=1, mlp_dim=13,
                                           position=p),
        tokens(),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WITH_POSITION)
def test_a_model_given_a_position_is_saved_and_cloned(name, tmp_path):
    make, inputs = WITH_POSITION[name]
    model = checks.shake(make(layers.Learned(97)))
    whole = checks.call(model, inputs)
    model.save(tmp_path / "model.keras")
    close(checks.call(keras.models.load_model(tmp_path / "model.keras"), inputs), whole, 1e-6)
    close(checks.call(checks.copy_weights(model, keras.models.clone_model(model)), inputs), whole, 1e-6)


@every_model
def test_weights_load_into_a_fresh_model(name, tmp_path):
    model, twin = checks.shake(SEQ2SEQ[name]()), SEQ2SEQ[name]()
    model.save_weights(tmp_path / "model.weights.h5")
    twin.load_weights(tmp_path / "model.weights.h5")
    close(twin(seq2seq_inputs()), model(seq2seq_inputs()), 1e-6)


@every_model
def test_a_model_in_half_precision(name):
    full, half = SEQ2SEQ[name](dtype="float32"), SEQ2SEQ[name](dtype="mixed_bfloat16")
    checks.shake(full)
    found = checks.copy_weights(full, half)(seq2seq_inputs())
    assert {w.dtype for w in half.trainable_weights} == {"float32"}
    assert keras.backend.standardize_dtype(found.dtype) == "bfloat16"
    close(found, full(seq2seq_inputs()), 0.3)


@every_model
def test_a_model_learns_by_fit(name):
    """Eight pairs, learned by heart: the loss falls to a tenth. Dropout would make that a matter of luck."""
    model = type(SEQ2SEQ[name]()).from_config({**SEQ2SEQ[name]().get_config(), "dropout": 0.0})
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.02), loss)
    batch = seq2seq_inputs(8)
    labels = np.concatenate([batch["target"][:, 1:], np.full((8, 1), 2, "int32")], axis=1)
    losses = model.fit(batch, labels, batch_size=8, epochs=60, verbose=0).history["loss"]
    assert losses[-1] < losses[0] / 10
