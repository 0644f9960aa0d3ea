"""Law 4: one loop, held to what can be counted: every sequence over six tokens, and the model's distribution."""

import collections
import contextlib
import itertools
from concurrent import futures

import keras
import numpy as np
import pytest
from keras import ops
from scipy import stats

from keras_seq import compilation, decoding, generate, kernels, layers
from keras_seq.decoding import BOS, EOS, PAD, largest, search, stream
from keras_seq.layers import core
from keras_seq.models import RecurrentSeq2Seq, TransformerSeq2Seq
from tests import checks
from tests.checks import array, close

V, L = 6, 4  # six tokens, at most four of them: few enough to write every sequence down
CODES = 31


class Mock:
    """A model whose next token depends on the source and on all that was written: logits = table[code of the history].

    The code is the state. A beam that continues another row without its state writes something else.
    """

    def __init__(self, seed=0, sharpness=1.5):
        self.table = sharpness * checks.normal(CODES, V, seed=seed)
        self.table[:, [PAD, BOS]] = -30.0  # a trained model writes neither
        self.variables = []

    def start(self, inputs, length=None):
        shift = ops.convert_to_tensor(inputs["source"])[:, :1]
        return {"shift": shift}, [{"code": ops.zeros_like(shift)}]

    def step(self, tokens, index, memory, state):
        code = (state[0]["code"] * 7 + tokens[:, -1:] + memory["shift"] + 1) % CODES
        return ops.take(ops.convert_to_tensor(self.table), code, axis=0), [{"code": code}]

    def log_p(self, shift, sequence):
        """log p of a sequence, by hand."""
        code, total, last = 0, 0.0, BOS
        for token in sequence:
            code = (code * 7 + last + shift + 1) % CODES
            row = self.table[code].astype("float64")
            total += row[token] - np.log(np.exp(row).sum())
            last = token
        return total


def source(*shifts):
    return {"source": np.array(shifts, "int32")[:, None]}


def sequences(never=(PAD, BOS)):
    """Every sequence that may be written: it ends with EOS, or is cut at L."""
    words = [token for token in range(V) if token not in (*never, EOS)]
    ended = [(*body, EOS) for n in range(L) for body in itertools.product(words, repeat=n)]
    return ended + list(itertools.product(words, repeat=L))


def cut(row):
    """A written row without its padding."""
    return tuple(int(token) for token in row if token != PAD)


def by_hand(mock, shift, penalty, written=None):
    """Every sequence with its penalised score, best first."""
    scored = [(mock.log_p(shift, s) / ((5 + len(s)) / 6) ** penalty, s) for s in written or sequences()]
    return sorted(scored, reverse=True)


# ---------- greedy and beam ----------


@pytest.mark.parametrize("seed", range(3))
def test_greedy_takes_the_likeliest_token_each_time(seed):
    mock = Mock(seed)
    tokens, score = (array(x) for x in generate(mock, source(0, 3, 8), max_length=L))
    for row, shift in enumerate((0, 3, 8)):
        written = ()
        while len(written) < L and EOS not in written:
            written += (max(range(V), key=lambda token: mock.log_p(shift, (*written, token))),)  # noqa: B023
        assert cut(tokens[row, 0]) == written
        close(score[row, 0], mock.log_p(shift, written), 1e-4)


@pytest.mark.parametrize("penalty", [0.0, 0.6, 2.0])
@pytest.mark.parametrize("seed", range(3))
def test_a_beam_as_wide_as_everything_is_brute_force(seed, penalty):
    mock, shifts, best = Mock(seed), (0, 3, 8), 11
    width = len(sequences())
    tokens, score = generate(mock, source(*shifts), max_length=L, beams=width, length_penalty=penalty, results=best)
    for row, shift in enumerate(shifts):
        expected = by_hand(mock, shift, penalty)[:best]
        assert [cut(one) for one in array(tokens)[row]] == [sequence for _, sequence in expected]
        close(array(score)[row], np.array([value for value, _ in expected]), 1e-4)


def test_padding_that_a_model_writes_counts_as_much_as_any_token():
    mock, written = Mock(3), sequences(never=[BOS])
    mock.table[:, PAD] = checks.normal(CODES)
    tokens, score = generate(mock, source(3), max_length=L, beams=len(written), length_penalty=1.0, results=23)
    expected = by_hand(mock, 3, 1.0, written)[:23]
    assert sum(PAD in sequence for _, sequence in expected) > 3
    for row, (_, sequence) in zip(array(tokens)[0], expected, strict=True):
        assert tuple(row) == (*sequence, *[PAD] * (L - len(sequence)))
    close(array(score)[0], np.array([value for value, _ in expected]), 1e-4)


@pytest.mark.parametrize("beams", [2, 3, 5])
def test_a_wider_beam_is_never_worse_than_brute_force_allows_and_is_sorted(beams):
    mock, shifts = Mock(7), tuple(range(11))
    tokens, score = generate(mock, source(*shifts), max_length=L, beams=beams, length_penalty=0.6, results=beams)
    tokens, score = array(tokens), array(score)
    assert np.all(np.diff(score, axis=1) <= 0)
    for row, shift in enumerate(shifts):
        scored = {sequence: value for value, sequence in by_hand(mock, shift, 0.6)}
        close(score[row], np.array([scored[cut(one)] for one in tokens[row]]), 1e-4)
        assert len({cut(one) for one in tokens[row]}) == beams


@pytest.mark.parametrize("penalty", [0.0, 2.0])
@pytest.mark.parametrize("beams", [2, 4])
def test_a_narrow_beam_keeps_the_best_at_each_step(beams, penalty):
    """By hand: of all that goes on from the kept ones, and of those that have ended, the likeliest are kept."""
    mock, shifts, length = Mock(1), tuple(range(7)), 7
    tokens, score = generate(
        mock, source(*shifts), max_length=length, beams=beams, results=beams, length_penalty=penalty
    )  # fmt: skip
    for row, shift in enumerate(shifts):
        going = [()]
        for _ in range(length):
            longer = [(*one, token) for one in going if EOS not in one for token in range(V)]
            longer += [one for one in going if EOS in one]
            going = sorted(longer, key=lambda one: -mock.log_p(shift, one))[:beams]  # noqa: B023
        expected = by_hand(mock, shift, penalty, going)
        assert [cut(one) for one in array(tokens)[row]] == [sequence for _, sequence in expected]
        close(array(score)[row], np.array([value for value, _ in expected]), 1e-4)


def test_one_beam_is_greedy_and_a_row_does_not_depend_on_its_neighbours():
    mock = Mock(1)
    together = generate(mock, source(*range(5)), max_length=L, beams=3, results=2)
    for row in range(5):
        alone = generate(mock, source(row), max_length=L, beams=3, results=2)
        close([x[0] for x in alone], [x[row] for x in together], 1e-5)
    greedy = generate(mock, source(*range(5)), max_length=L, temperature=0.0)
    close(generate(mock, source(*range(5)), max_length=L, beams=1, length_penalty=2.0), greedy, 1e-6)


def test_nothing_but_padding_follows_the_end():
    tokens = array(generate(Mock(2), source(*range(13)), max_length=7, beams=3, results=3)[0]).reshape(-1, 7)
    for row in tokens:
        ended = np.flatnonzero(row == EOS)
        assert not row[ended[0] + 1 :].any() if len(ended) else row.all()


# ---------- sampling ----------

MANY = 4001


def frequencies(**options):
    """How often each token is drawn first, and the probabilities of the model, for one source repeated many times."""
    mock = Mock(5, sharpness=1.0)
    tokens, _ = generate(mock, source(*[3] * MANY), max_length=1, **options)
    drawn = np.bincount(array(tokens).ravel(), minlength=V) / MANY
    return drawn, np.exp([mock.log_p(3, (token,)) for token in range(V)])


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_samples_follow_the_distribution(temperature):
    drawn, p = frequencies(temperature=temperature, seed=11)
    expected = p ** (1 / temperature) / (p ** (1 / temperature)).sum()
    np.testing.assert_allclose(drawn, expected, atol=4 * (0.25 / MANY) ** 0.5)  # four standard deviations
    assert (drawn > 0).sum() >= 3


@pytest.mark.parametrize("k", [1, 2, 3])
def test_top_k_draws_the_k_likeliest_and_all_of_them(k):
    drawn, p = frequencies(temperature=1.0, top_k=k, seed=12)
    kept = np.sort(np.argsort(-p)[:k])
    np.testing.assert_array_equal(np.flatnonzero(drawn), kept)
    np.testing.assert_allclose(drawn[kept], p[kept] / p[kept].sum(), atol=4 * (0.25 / MANY) ** 0.5)


@pytest.mark.parametrize("top_p", [0.05, 0.5, 0.8, 0.95])
def test_top_p_draws_the_fewest_tokens_that_hold_the_probability(top_p):
    drawn, p = frequencies(temperature=1.0, top_p=top_p, seed=13)
    order = np.argsort(-p)
    needed = int(np.searchsorted(np.cumsum(p[order]), top_p)) + 1
    np.testing.assert_array_equal(np.flatnonzero(drawn), np.sort(order[:needed]))


def kept(p, temperature, k, top_p):
    """The distribution that is drawn from: of p (V,) at a temperature the k likeliest, of these the nucleus."""
    q = p ** (1 / temperature)
    order = np.argsort(-q)
    q[order[k or V :]] = 0
    q /= q.sum()
    q[order[np.searchsorted(np.cumsum(q[order]), top_p) + 1 :]] = 0
    return q / q.sum()


def written(mock, shift, length, options, begun=(), p=1.0):
    """Every sequence that may be drawn, and its probability."""
    if len(begun) == length or EOS in begun:
        return {begun: p}
    logs = [mock.log_p(shift, (*begun, token)) - mock.log_p(shift, begun) for token in range(V)]
    found = {}
    for token, share in enumerate(kept(np.exp(logs), *options)):
        if share > 1e-9:
            found |= written(mock, shift, length, options, (*begun, token), p * share)
    return found


@pytest.mark.parametrize("options", [(1.0, 0, 1.0), (0.7, 3, 1.0), (1.4, 0, 0.8), (1.3, 3, 0.9)], ids=str)
def test_whole_sequences_follow_the_distribution(options):
    """With temperature, top_k and top_p at once: chi-square of the counts, and nothing else is drawn."""
    mock, count = Mock(5, sharpness=1.0), 10_007
    temperature, k, top_p = options
    tokens, _ = generate(mock, source(3), 3, temperature=temperature, top_k=k, top_p=top_p, results=count, seed=7)
    drawn = collections.Counter(map(cut, array(tokens)[0]))
    p = written(mock, 3, 3, options)
    assert set(drawn) <= set(p)
    often = [sequence for sequence in p if p[sequence] * count > 5]
    counts = np.array([drawn[sequence] for sequence in often] + [count - sum(drawn[s] for s in often)])
    expected = count * np.array([p[s] for s in often] + [1 - sum(p[s] for s in often) + 1e-9])
    assert np.sum((counts - expected) ** 2 / expected) < stats.chi2.ppf(0.999, len(often))


def test_a_score_is_the_probability_of_what_was_written():
    mock = Mock(4)
    tokens, score = generate(mock, source(2, 9), max_length=L, temperature=1.3, results=5, seed=3)
    for row, shift in enumerate((2, 9)):
        close(array(score)[row], np.array([mock.log_p(shift, cut(one)) for one in array(tokens)[row]]), 1e-4)


def test_the_seed_makes_the_text():
    def text(seed):
        return array(generate(Mock(4), source(*range(7)), max_length=L, temperature=1.0, results=3, seed=seed)[0])

    np.testing.assert_array_equal(text(1), text(1))
    assert (text(1) != text(2)).any()


def test_top_k_of_one_is_greedy():
    mock = Mock(6)
    drawn, _ = generate(mock, source(*range(7)), max_length=L, temperature=5.0, top_k=1, results=2)
    greedy, _ = generate(mock, source(*range(7)), max_length=L)
    close(drawn, np.repeat(array(greedy), 2, axis=1))


@pytest.mark.parametrize("options", [{}, {"top_k": 3}, {"top_p": 0.9}], ids=str)
@pytest.mark.parametrize("temperature", [1e-4, 1e-12, 1e-50])
def test_the_colder_the_more_it_is_greedy(temperature, options):
    mock = Mock(6)
    mock.table -= 20  # all below 0
    drawn = generate(mock, source(*range(7)), max_length=L, temperature=temperature, **options)
    close(drawn, generate(mock, source(*range(7)), max_length=L), 1e-4)


# ---------- the real models ----------


def models():
    transformer = TransformerSeq2Seq(vocab_size=23, dim=18, num_heads=3, num_layers=2, mlp_dim=13, position="rotary")
    return {"transformer": transformer, "lstm": RecurrentSeq2Seq(vocab_size=23, dim=13, units=22)}


@pytest.mark.parametrize("name", ["transformer", "lstm"])
def test_greedy_agrees_with_teacher_forcing(name):
    """Each written token is the likeliest one when the model reads what was written before it."""
    model = checks.shake(models()[name])
    batch = {"source": np.random.default_rng(2).integers(4, 23, (3, 7), "int32")}
    tokens, score = (array(x) for x in generate(model, batch, max_length=11))
    target = np.concatenate([np.full((3, 1), BOS, "int32"), tokens[:, 0, :-1]], axis=1)
    logits = array(model({**batch, "target": target}))
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    written = tokens[:, 0] != PAD
    np.testing.assert_array_equal(logits.argmax(-1)[written], tokens[:, 0][written])
    close(score[:, 0], np.sum(log_p.max(-1) * written, axis=-1), 1e-4)


@pytest.mark.parametrize("name", ["transformer", "lstm"])
def test_beam_scores_are_those_of_teacher_forcing(name):
    model = checks.shake(models()[name])
    batch = {"source": np.random.default_rng(2).integers(4, 23, (3, 7), "int32")}
    tokens, score = (array(x) for x in generate(model, batch, max_length=5, beams=3, results=3, length_penalty=0.0))
    for beam in range(3):
        target = np.concatenate([np.full((3, 1), BOS, "int32"), tokens[:, beam, :-1]], axis=1)
        logits = array(model({**batch, "target": target}))
        log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        gains = np.take_along_axis(log_p, tokens[:, beam, :, None], axis=-1)[..., 0]
        close(score[:, beam], np.sum(gains * (tokens[:, beam] != PAD), axis=-1), 1e-4)


BLOCKS = {"name": "block_sparse", "block": 2, "patterns": ["local", "random", "global"]}
SIDE_BY_SIDE = {
    **{name: {"position": name} for name in layers.positions.POSITIONS},
    "local": {"attention": {"name": "local", "window": 3, "block": 2}},
    "block_sparse": {"attention": BLOCKS},
    "features": {"attention": {"name": "projective", "features": 4}},
    "chunked": {"attention": {"name": "multi_head", "chunk": 3}},
    "post_norm": {"norm_first": False},
}


@pytest.mark.parametrize("name", SIDE_BY_SIDE)
def test_beams_side_by_side_write_what_rows_of_their_own_write(name):
    options = {"dim": 18, "num_heads": 3, "num_layers": 2, "mlp_dim": 13, "max_length": 32} | SIDE_BY_SIDE[name]
    model = checks.shake(TransformerSeq2Seq(vocab_size=23, **options))
    inputs = {"source": np.random.default_rng(2).integers(4, 23, (3, 7), "int32")}
    checks.beams_side_by_side(model, inputs, max_length=7)


@pytest.mark.parametrize("size", [5, 64, 200, 1024, 1500])
@pytest.mark.parametrize("k", [1, 4])
def test_the_largest_of_groups_are_the_largest_of_all(size, k):
    logits = checks.normal(7, size, seed=size)
    logits[1] = np.round(logits[1])  # many are equal: the first counts
    logits[2] = -np.inf
    logits[2, -k:] = -1e9
    found, tokens = largest(ops.convert_to_tensor(logits), k)
    order = np.argsort(-logits, axis=1, kind="stable")[:, :k]
    if keras.backend.backend() != "torch":  # which takes any of equal ones
        np.testing.assert_array_equal(array(tokens), order)
    np.testing.assert_array_equal(array(found), np.take_along_axis(logits, order, axis=1))
    np.testing.assert_array_equal(array(found), np.take_along_axis(logits, array(tokens), axis=1))


def test_what_was_compiled_sees_new_weights():
    model = models()["transformer"]
    batch = {"source": np.array([[5, 6, 7, 2]], "int32")}
    first = array(generate(model, batch, max_length=5)[1])
    checks.shake(model)
    assert np.abs(array(generate(model, batch, max_length=5)[1]) - first).max() > 1e-3


def test_what_was_compiled_sees_new_variables():
    model = checks.shake(models()["transformer"])
    batch = {"source": np.array([[5, 6, 7, 2]], "int32")}
    options = {"max_length": 5, "eos": -1}
    generate(model, batch, **options)
    lora = [layer for layer in model._flatten_layers() if isinstance(layer, layers.Linear)]
    for layer in lora:
        layer.enable_lora(2)
        layer.lora_kernel_b.assign(checks.normal(*layer.lora_kernel_b.shape))
    for found, expected in zip(generate(model, batch, **options), search(model, batch, **options)):
        close(found, expected, 1e-4)


def test_a_model_is_traced_once_for_each_shape():
    mock = Counting()
    for shift in range(3):
        generate(mock, source(shift, 4), max_length=L, beams=2)
    assert mock.traced == (3 if keras.backend.backend() == "torch" else 1)  # torch compiles nothing


class Counting(Mock):
    """Counts how often it is traced."""

    def __init__(self):
        super().__init__()
        self.traced = 0

    def start(self, inputs, length=None):
        self.traced += 1
        return super().start(inputs, length)


@pytest.mark.tensorflow
def test_a_shape_that_comes_often_is_compiled_by_xla(monkeypatch):
    monkeypatch.setattr(compilation, "PATIENCE", 2)
    mock = Counting()
    traced = []
    for shifts in [(0, 4)] * 4 + [(0, 4, 5)] * 2:
        tokens, scores = generate(mock, source(*shifts), max_length=L, beams=2)
        traced.append(mock.traced)
    assert traced == [1, 1, 2, 2, 3, 3]
    plain = generate(mock, source(0, 4, 5), max_length=L, beams=2, jit_compile=False)
    for found, expected in zip(generate(mock, source(0, 4, 5), max_length=L, beams=2, jit_compile=True), plain):
        close(found, expected, 1e-5)


@pytest.mark.tensorflow
def test_what_xla_cannot_compile_goes_on_as_a_graph(monkeypatch):
    import tensorflow as tf

    monkeypatch.setattr(compilation, "PATIENCE", 1)
    words = compilation.graph(lambda x: (x + 1, tf.strings.length(tf.strings.as_string(x))), [], "auto")
    for _ in range(3):
        x, lengths = words(tf.constant([9, 99]))
        assert array(x).tolist() == [10, 100]
        assert array(lengths).tolist() == [1, 2]
    with pytest.raises(tf.errors.InvalidArgumentError):
        compilation.graph(lambda x: tf.strings.length(tf.strings.as_string(x)), [], True)(tf.constant([9]))


@pytest.mark.tensorflow
@pytest.mark.parametrize("name", ["transformer", "lstm"])
@pytest.mark.parametrize("options", [{}, {"beams": 3, "results": 2}, {"temperature": 1.0, "top_k": 5}], ids=str)
@pytest.mark.parametrize("rows", [1, 3])
def test_xla_writes_the_same(name, options, rows):
    model = checks.shake(models()[name])
    batch = {"source": np.random.default_rng(2).integers(4, 23, (rows, 7), "int32")}
    plain, xla = (generate(model, batch, max_length=5, jit_compile=jit, **options) for jit in (False, True))
    np.testing.assert_array_equal(array(xla[0]), array(plain[0]))
    close(xla[1], plain[1], 1e-4)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"beams": 0}, "beams must be at least 1"),
        ({"max_length": 0}, "max_length must be at least 1"),
        ({"results": 2}, "raise beams"),
        ({"temperature": -1.0}, "temperature must be 0 or more"),
        ({"temperature": 1.0, "top_p": 0.0}, "top_p in"),
        ({"temperature": 1.0, "beams": 2}, "draws nothing"),
        ({"temperature": 1.0, "top_k": -1}, "top_k must be at least 0"),
        ({"jit_compile": "always"}, "jit_compile must be True, False or"),
        ({"jit_compile": 1}, "jit_compile must be True, False or"),
    ],
)
def test_options_that_do_not_fit_together(options, says):
    with pytest.raises(ValueError, match=says):
        generate(Mock(), source(1), **options)


def test_what_is_no_model_is_named():
    with pytest.raises(ValueError, match="a model with start, step and variables; got Linear"):
        generate(layers.Linear(3), source(1))
    mock = Mock()
    del mock.variables
    with pytest.raises(ValueError, match="variables; got Mock"):
        generate(mock, source(1))


@pytest.mark.parametrize(
    "options", [{"ids": []}, {"piece": 8}, {"piece": 9}, {"piece": 0}], ids=lambda options: str(*options.items())
)
def test_a_stream_needs_a_prompt_and_room_for_it(options):
    with pytest.raises(ValueError, match="expected a prompt, and pieces of 1 to context - 1 tokens"):
        next(stream(Mock(), **{"ids": [3], "length": 4, "context": 8} | options))


def test_rows_of_any_length_are_given_back_in_their_order_from_few_shapes(monkeypatch):
    model = checks.shake(models()["transformer"])
    rows = [np.random.default_rng(n).integers(4, 23, n).tolist() for n in (7, 3, 11, 5, 9, 12, 1)]
    shapes = set()

    def counted(model, inputs, max_length, **options):
        shapes.add(inputs["source"].shape[1])
        return generate(model, inputs, max_length, **options)

    monkeypatch.setattr(decoding, "generate", counted)
    found = decoding.generate_rows(model, rows, max_length=5, batch=2)
    assert shapes == {8, 16}
    for row, results in zip(rows, found, strict=True):
        tokens, scores = (array(x) for x in generate(model, {"source": np.array([[*row, EOS]], "int32")}, 5))
        (score, ids), *_ = results
        close(np.array(score), scores[0, 0], 1e-4)
        assert ids == [token for token in cut(tokens[0, 0]) if token != EOS]


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize(("rows", "beams"), [(1, 1), (2, 1), (1, 3), (9, 2), (33, 2)])
def test_what_layers_make_for_a_loop_changes_nothing(rows, beams, jit_compile):
    model = TransformerSeq2Seq(vocab_size=70, dim=64, num_heads=2, num_layers=1, mlp_dim=128, dropout=0.0)
    inputs = {"source": np.random.default_rng(rows).integers(3, 70, (rows, 5)).astype("int32")}
    options = {"max_length": 6, "beams": beams, "results": beams, "eos": -1}
    tokens, scores = search(model, inputs, once=False, **options)
    found = generate(model, inputs, jit_compile=jit_compile, **options)
    np.testing.assert_array_equal(array(found[0]), array(tokens))
    close(found[1], scores, 1e-4)


def test_what_layers_make_for_a_loop_is_for_that_loop_alone():
    """Neither after it, whatever ended it, nor in another thread."""
    model = TransformerSeq2Seq(vocab_size=70, dim=64, num_heads=2, num_layers=1, mlp_dim=128)
    able = [layer for layer in model._flatten_layers() if hasattr(layer, "looped")]
    assert len(able) > 9

    def made():
        return [layer for layer in able if core.product(layer) != layer.product]

    with contextlib.suppress(KeyError), core.for_loop(model, 3):
        assert made() == (able if kernels.device() == "cpu" else [])
        with futures.ThreadPoolExecutor(1) as other:
            assert not other.submit(made).result()
        raise KeyError
    assert not made()


def test_a_layer_without_weights_makes_nothing_for_a_loop():
    linear = layers.Linear(5)
    with core.for_loop(keras.Sequential([linear]), 3):
        assert tuple(linear(np.ones((3, 4), "float32")).shape) == (3, 5)


def test_threads_may_share_a_model():
    model = checks.shake(models()["transformer"])
    inputs = {"source": np.random.default_rng(2).integers(4, 23, (3, 7), "int32")}
    with futures.ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda length: array(generate(model, inputs, length)[0]), [5, 6, 7, 8]))
    longest = array(generate(model, inputs, 9)[0])
    for tokens in found:
        np.testing.assert_array_equal(tokens, longest[:, :, : tokens.shape[2]])
