"""Batches hold every row once, correctly padded and shifted, in an order made of the seed and the epoch."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_seq.data import Bucketed
from keras_seq.data.batches import again, shares

IDS = st.lists(st.integers(4, 99), max_size=23)


def rows(count=211, seed=5):
    random = np.random.default_rng(seed)
    lengths = random.integers(0, 31, (count, 2))
    source, target = ([random.integers(4, 99, n).tolist() for n in lengths[:, side]] for side in (0, 1))
    return {"source": source, "target": target}


def unpadded(batches):
    """The sorted (source, decoder input, labels) of all rows that weigh something, without padding."""
    found = []
    for inputs, labels, weights in batches:
        taught = weights.any(axis=1)
        np.testing.assert_array_equal(weights, (labels != 0) & taught[:, None])
        for row in zip(inputs["source"][taught], inputs["target"][taught], labels[taught], strict=True):
            found.append(tuple(tuple(r[r != 0].tolist()) for r in row))
    return sorted(found)


def same(first, second):
    return all(np.array_equal(a[1], b[1]) and np.array_equal(a[0]["source"], b[0]["source"])
               for a, b in zip(first, second, strict=True))


@given(st.lists(st.tuples(IDS, IDS), min_size=1, max_size=29), st.integers(1, 400), st.booleans())
def test_every_row_comes_once(pairs, batch_tokens, shuffle):
    source, target = (list(side) for side in zip(*pairs, strict=True))
    data = Bucketed({"source": source, "target": target}, batch_tokens, shuffle=shuffle)
    expected = sorted(((*s, 2), (1, *t), (*t, 2)) for s, t in pairs)
    batches = list(data.epoch(3))
    assert unpadded(batches) == expected
    assert len(batches) == data.steps
    assert all(inputs["target"].shape == labels.shape for inputs, labels, _ in batches)


def test_batches_to_train_with_are_of_few_sizes():
    sizes = [len(labels) for epoch in range(5) for _, labels, _ in Bucketed(rows(4003), 2000).epoch(epoch)]
    assert set(sizes) <= {4, 5, 6, 7, *(unit * n for unit in (2, 4, 8, 16, 32, 64, 128) for n in (4, 5, 6, 7))}
    others = [len(labels) for _, labels, _ in Bucketed(rows(4003), 2000, shuffle=False).epoch()]
    assert len(set(sizes)) < 14 < len(set(others))


@given(st.lists(st.integers(1, 999), min_size=1, max_size=41), st.data())
def test_no_share_is_empty_however_unlike_the_rows_are(tokens, data):
    steps, order = data.draw(st.integers(1, len(tokens))), np.argsort(tokens)
    for few in (False, True):
        parts = shares(order, np.array(tokens), steps, few)
        assert len(parts) == steps
        assert all(map(len, parts))
        taught = [row for part in parts for row in part[: again(part).start]]
        assert taught == order.tolist()


def test_shares_have_about_as_many_tokens():
    tokens = np.random.default_rng(0).integers(1, 30, 997)
    sums = [tokens[part].sum() for part in shares(np.argsort(tokens), tokens, 13)]
    np.testing.assert_allclose(sums, tokens.sum() / 13, atol=30)


def test_order_follows_from_seed_and_epoch():
    one, two, three = (Bucketed(rows(), 300, seed=seed) for seed in (1, 1, 2))
    assert same(one.epoch(4), two.epoch(4))
    assert one.steps == len(list(one.epoch(9)))
    assert not same(one.epoch(4), one.epoch(5))
    assert not same(one.epoch(4), three.epoch(4))


def test_rows_may_be_cut_anew_each_epoch():
    def cut(epoch):
        return {"source": [[9] * (n % 7 + epoch % 3) for n in range(211)], "target": [[n + 4] for n in range(211)]}

    data, whole = Bucketed(cut, 300, max_length=6), [Bucketed(cut(epoch), 300) for epoch in range(3)]
    kept = [number for number in range(211) if number % 7 < 6]  # with EOS at most 6 in epoch 0
    for epoch in (2, 0, 1):
        batches = list(data.epoch(epoch))
        assert len(batches) == data.steps
        assert unpadded(batches) == [row for row in unpadded(whole[epoch].epoch(0)) if row[2][0] - 4 in kept]
    assert same(data.epoch(1), data.epoch(4)) is False
    assert unpadded(data.epoch(1)) == unpadded(data.epoch(4))


def test_padding_is_what_the_batches_have():
    data = Bucketed(rows(2003), 500, seed=1)
    sizes = [(inputs["source"].size + labels.size, (inputs["source"] != 0).sum() + weights.sum())
             for inputs, labels, weights in data.epoch(0)]
    padded, real = np.sum(sizes, axis=0)
    assert data.padding == pytest.approx(1 - real / padded)
    assert data.padding < 0.12  # source and target lengths are independent here: harder than any language
    assert padded / data.steps <= 510
    assert f"{data.padding:.1%}" in data.notes[0]


def test_datasets_go_on_where_an_epoch_ends():
    data = Bucketed(rows(), 300, seed=1)
    stream = list(data.dataset(epoch=2).take(2 * data.steps).as_numpy_iterator())
    assert same(stream, [*data.epoch(2), *data.epoch(3)])


def test_fit_sees_the_same_batches_when_it_is_resumed():
    import keras

    class Lengths(keras.Model):
        seen = ()

        def call(self, inputs):
            return keras.ops.one_hot(inputs["target"], 3)

        def train_step(self, data):
            self.seen = (*self.seen, int(data[0]["source"][0, 0]))
            return {"loss": 0.0}

    def fit(first, last):
        model, data = Lengths(), Bucketed(rows(), 300, seed=1)
        model.compile(run_eagerly=True)
        model.fit(data.dataset(first), steps_per_epoch=data.steps, initial_epoch=first, epochs=last,
                  shuffle=False, verbose=0)
        return model.seen

    assert fit(0, 3) == fit(0, 1) + fit(1, 3)


def test_without_shuffling_a_dataset_is_one_epoch():
    data = Bucketed(rows(), 300, shuffle=False)
    assert data.dataset().cardinality().numpy() == data.steps == len(list(data.dataset(epoch=4)))
    assert same(data.epoch(0), data.epoch(7))
    inputs, labels, weights = data.dataset().element_spec
    assert [tuple(s.shape) for s in (inputs["source"], inputs["target"], labels, weights)] == [(None, None)] * 4
    assert not data.dataset().options().autotune.enabled


def test_one_input_for_a_language_model():
    inputs, labels, _ = next(Bucketed({"tokens": [[5, 6]]}, 100, shifted="tokens").epoch())
    assert (inputs["tokens"].tolist(), labels.tolist()) == ([[1, 5, 6]], [[5, 6, 2]])


def test_long_rows_are_left_out_and_told():
    data = Bucketed({"source": [[5] * 9, [6], [7]], "target": [[5], [6] * 12, [7]]}, 100, max_length=10)
    assert len(unpadded(data.epoch())) == 2
    assert data.notes[1] == "left out 1 row longer than 10 tokens"


@pytest.mark.parametrize(("bad", "message"), [
    ({"source": [[4]], "target": []}, "equally many rows"),
    ({"source": [[4]]}, "'target'"),
    ({"source": [], "target": []}, "at least one row"),
    ({"source": [[4] * 50], "target": [[4]]}, "at most 20 tokens"),
])
def test_bad_rows_are_told(bad, message):
    with pytest.raises(ValueError, match=message):
        Bucketed(bad, 100, max_length=20)
