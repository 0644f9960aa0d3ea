"""Classifiers: padding and neighbours are invisible, every token is seen, case may be shared; they save and reload."""

import functools
import itertools

import keras
import numpy as np
import pytest
from keras import ops

from keras_seq import layers, models
from tests import checks
from tests.checks import array, close

B, S, V, C = 3, 7, 19, 5

MODELS = {
    "transformer": (models.TransformerClassifier, {"num_heads": 2, "num_layers": 1, "mlp_dim": 13}),
    "transformer_rotary": (models.TransformerClassifier, {"num_heads": 2, "num_layers": 2, "position": "rotary"}),
    "lstm": (models.RecurrentClassifier, {"units": 11, "bidirectional": False}),
    "bilstm": (models.RecurrentClassifier, {"units": 11, "num_layers": 2}),
    "shared": (models.RecurrentClassifier, {"units": 11, "cell": "gru", "share": [*range(V - 2), 5, 6]}),
    "forms": (models.TransformerClassifier, {"num_heads": 2, "num_layers": 1, "forms": [0, 1] * 9 + [2]}),
}
MODELS = {name: (kind, {"dim": 8, **own}) for name, (kind, own) in MODELS.items()}
MODELS["bag"] = (models.BagClassifier, {"buckets": 101})
COMMITTEE = ("transformer", "bag", "lstm")  # their vectors have different widths
EVERY = [*MODELS, "committee"]

every_model = pytest.mark.parametrize("name", EVERY)


def make(name, **options):
    """A classifier, or a committee of all families."""
    if name == "committee":
        return models.Committee([make(member, **options) for member in COMMITTEE], **options)
    kind, own = MODELS[name]
    return kind(V, C, **own, **options)


@functools.cache
def model(name):
    return checks.shake(make(name))


def tokens():
    found = np.random.default_rng(0).integers(1, V - 2, (B, S)).astype("int32")
    found[0, 3:] = 0
    return found


@functools.cache
def whole(name):
    return array(checks.call(model(name), tokens()))


@every_model
def test_logits_are_float32_whatever_the_policy(name):
    half = make(name, dtype="mixed_bfloat16")
    logits = checks.copy_weights(model(name), half)(tokens())
    assert keras.backend.standardize_dtype(logits.dtype) == "float32"
    assert {w.dtype for w in half.weights} <= {"float32", "uint32", "int64"}  # the last two: seeds of the dropout
    close(logits, whole(name), 0.3)


@every_model
def test_padding_is_invisible(name):
    wider = np.pad(tokens(), ((0, 0), (0, 4)))
    close(checks.call(model(name), wider), whole(name), 2e-5)


@every_model
def test_a_row_does_not_see_its_neighbours(name):
    close(checks.call(model(name), tokens()[:1, :3]), whole(name)[:1], 2e-5)


@every_model
def test_every_token_is_seen_and_their_order_too(name):
    for place in (0, S - 1):
        other = tokens()
        other[1, place] = 3 if other[1, place] != 3 else 4
        moved = np.abs(array(checks.call(model(name), other)) - whole(name)).max(axis=1)
        assert moved[1] > 1e-4
        assert moved[2] == 0
    close_to = tokens()
    close_to[1] = close_to[1, ::-1]
    assert np.abs(array(checks.call(model(name), close_to)) - whole(name))[1].max() > 1e-4


@every_model
def test_a_row_of_padding_alone_gives_numbers(name):
    assert np.isfinite(array(model(name)(np.zeros((2, 3), "int32")))).all()


def test_tokens_that_share_a_row_are_one():
    twin = tokens()
    twin[1, 2], base = V - 1, tokens()
    base[1, 2] = 6
    close(model("shared")(twin), model("shared")(base), 1e-6)
    assert model("shared").encoder.embedding.table.shape == (V - 2, 8)


@every_model
def test_probabilities_sum_to_one_and_follow_the_temperature(name):
    net = model(name)
    try:
        net.temperature.assign(2.0)
        p = array(net.probabilities(tokens()))
        close(p.sum(axis=1), np.ones(B))
        close(p, ops.softmax(whole(name) / 2.0, axis=-1))
    finally:
        net.temperature.assign(1.0)


@every_model
def test_logits_of_embedded_tokens_are_those_of_the_tokens(name):
    close(model(name).logits(*model(name).embed(tokens())), whole(name), 1e-6)


@every_model
def test_all_weights_exist_before_the_first_call_and_survive_a_config(name):
    net = model(name)
    fresh = type(net).from_config(net.get_config())
    before = [w.path for w in fresh.weights]
    close(checks.copy_weights(net, fresh)(tokens()), whole(name), 1e-6)
    assert [w.path for w in fresh.weights] == before


@pytest.mark.tensorflow
def test_models_compose_and_reload_in_a_fresh_process(tmp_path):
    def inside(net):
        x = keras.Input((None,), dtype="int32")
        return keras.Model([x], net(x))

    checks.reload_in_fresh_process({name: (inside(model(name)), [tokens()]) for name in EVERY}, tmp_path)


def test_pooling_ignores_padding():
    from keras_seq.models.classifier import pooled

    x, mask = checks.normal(B, S, 3), tokens() != 0
    found = array(pooled(ops.convert_to_tensor(x), ops.convert_to_tensor(mask)))
    expected = [np.concatenate([row[keep].mean(axis=0), row[keep].max(axis=0)]) for row, keep in zip(x, mask)]
    close(found, np.stack(expected), 1e-6)


def test_a_share_of_another_length_is_refused():
    for kind in (models.RecurrentClassifier, models.BagClassifier):
        with pytest.raises(ValueError, match="a row for each of the 19 tokens; got 3"):
            kind(V, C, share=[0, 1, 2])


def test_the_parts_are_the_packages_own_layers():
    assert isinstance(model("transformer").encoder.over, layers.TransformerEncoder)
    assert isinstance(model("bilstm").encoder.over, layers.RecurrentEncoder)


def test_a_committee_answers_with_the_mean_until_it_trusts_some_more_and_learns_member_by_member():
    net = model("committee")
    each = np.stack([array(member(tokens())) for member in net.members], axis=1)
    close(whole("committee"), each.mean(axis=1), 1e-6)
    assert array(net(tokens(), training=True)).shape == (B, 3, C)
    net.compile("sgd", "mse")
    y = checks.normal(B, C)
    loss = net.compute_loss(None, y, ops.convert_to_tensor(each))
    close(loss, np.mean((each - y[:, None]) ** 2), 1e-5)
    close(net.compute_loss(None, y, ops.convert_to_tensor(each[:, 0])), np.mean((each[:, 0] - y) ** 2), 1e-5)
    assert net.kinds == [0, 1, 2]
    close(net.trust, np.full(3, 1 / 3))
    try:
        net.trust.assign([0.5, 0.2, 0.3])
        close(net(tokens()), np.einsum("m,bmc->bc", [0.5, 0.2, 0.3], each), 1e-5)
    finally:
        net.trust.assign(np.full(3, 1 / 3))
    assert models.Committee([net.members[1], net.members[0], net.members[1]]).kinds == [0, 1, 0]


def test_a_bag_is_the_sum_of_the_votes_of_its_tokens_and_pairs():
    net = model("bag")
    table = array(net.votes.table).reshape(-1, C)
    for row, found in zip(tokens(), whole("bag")):
        row = [0, *row[row > 0].tolist()]
        pairs = [V + (40503 * a + b) % 101 for a, b in itertools.pairwise(row)]
        expected = 3 / np.sqrt(len(pairs)) * table[row[1:] + pairs].sum(axis=0) + array(net.bias)
        close(found, expected, 1e-5)


@pytest.mark.parametrize("rows", [8000, 53_019, 53_021, 1_000_003])
def test_buckets_are_whole_numbers_within_int32_whatever_the_vocabulary(rows):
    layer = layers.PairEmbedding(rows, 2, buckets=2**18)
    ids = np.array([[rows - 1, rows - 1, 1, rows // 2]], "int32")
    expected = [(layer.factor * a + b) % 2**18 for a, b in itertools.pairwise([0, *ids[0].tolist()])]
    assert array(layer.bucket(ops.convert_to_tensor(ids)))[0].tolist() == expected
    assert layer.factor * (rows - 1) + rows - 1 < 2**31


def test_buckets_are_used_evenly():
    layer, ids = layers.PairEmbedding(8000, 2, buckets=2**14), np.arange(8000)
    before, after = ids[:128, None].repeat(128, 1), ids[None, :128].repeat(128, 0)  # the most frequent: 2**14 pairs
    used = len(np.unique((before * layer.factor + after) % layer.buckets))
    assert used > 0.63 * 2**14  # as many as chance would


def test_no_bucket_is_refused():
    with pytest.raises(ValueError, match="at least 1; got 0"):
        models.BagClassifier(V, C, buckets=0)
