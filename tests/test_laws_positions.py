"""Law 1: a position encoding is a function of positions: sliced, moved or batched, it follows the numbers."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

from keras_seq import layers
from keras_seq.layers import positions
from tests import checks
from tests.checks import arange, array, close, normal

B, N, T, S, H = 2, 3, 7, 11, 26  # H is even for rotary, and twice a prime
D = N * H
NAMES = *positions.POSITIONS, *positions.GRIDS
SIZES = {"max_length": 31, "rows": 7, "columns": 5}
OF_DISTANCE = ("rotary", "relative", "relative_bias", "alibi")  # these see i - j, not i and j


def make(name, **options):
    position = positions.get({"name": name, **options}, **SIZES)
    position.build((None, None, D), num_heads=N, head_dim=H)
    return checks.shake(position)


def add(position, x, pos):
    return array(position.add(ops.convert_to_tensor(x), pos))


def rotate(position, x, pos):
    return array(position.rotate(ops.convert_to_tensor(x), pos))


def scores(position, q, k, q_pos, k_pos):
    """What the encoding makes of one product of heads: (B, N, T, S)."""
    product = rotate(position, q, q_pos) @ rotate(position, k, k_pos).swapaxes(2, 3)
    bias = position.bias(ops.convert_to_tensor(q), q_pos, k_pos)
    return product if bias is None else product + array(bias)


@pytest.mark.parametrize("name", NAMES)
@given(st.integers(0, T - 1), st.integers(1, T), st.integers(0, S - 1), st.integers(1, S))
def test_a_slice_is_encoded_like_the_whole(name, i, i_size, j, j_size):
    position, t, s = make(name), slice(i, i + i_size), slice(j, j + j_size)
    x, q, k = normal(B, T, D), normal(B, N, T, H, seed=1), normal(B, N, S, H, seed=2)
    q_pos, k_pos = arange(T, 5), arange(S)
    close(add(position, x[:, t], q_pos[:, t]), add(position, x, q_pos)[:, t], 1e-6)
    whole = scores(position, q, k, q_pos, k_pos)
    close(scores(position, q[:, :, t], k[:, :, s], q_pos[:, t], k_pos[:, s]), whole[:, :, t, s])


@pytest.mark.parametrize("name", NAMES)
def test_each_row_may_have_positions_of_its_own(name):
    position = make(name)
    x, q, k = normal(B, T, D), normal(B, N, T, H, seed=1), normal(B, N, S, H, seed=2)
    q_pos = np.concatenate([arange(T, 3), arange(T)[:, ::-1]])
    k_pos = np.concatenate([arange(S), arange(S, 13)])
    together = add(position, x, q_pos), scores(position, q, k, q_pos, k_pos)
    for b in range(B):
        row = slice(b, b + 1)
        close(add(position, x[row], q_pos[row]), together[0][row], 1e-6)
        close(scores(position, q[row], k[row], q_pos[row], k_pos[row]), together[1][row])


@pytest.mark.parametrize("name", OF_DISTANCE)
@pytest.mark.parametrize("moved", [1, 19])
def test_relative_encodings_see_the_distance_only(name, moved):
    position, q, k = make(name), normal(B, N, T, H), normal(B, N, S, H, seed=1)
    here, there = (scores(position, q, k, arange(T, 2 + m), arange(S, m)) for m in (0, moved))
    close(here, there, 2e-5)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "none"])
def test_an_encoding_tells_positions_apart(name):
    position = make(name)
    x, q, k = normal(1, 1, D), normal(1, N, 1, H, seed=1), normal(1, N, 1, H, seed=2)
    at = {p: (add(position, x, arange(1, p)), scores(position, q, k, arange(1, p), arange(1))) for p in (1, 4)}
    assert max(np.abs(a - b).max() for a, b in zip(at[1], at[4])) > 1e-3


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_hooks_keep_the_dtype(name, dtype):
    position = positions.get({"name": name}, **SIZES)
    position.build((None, None, D), num_heads=N, head_dim=H)
    x, q = ops.cast(normal(B, T, D), dtype), ops.cast(normal(B, N, T, H), dtype)
    assert keras.backend.standardize_dtype(position.add(x, arange(T)).dtype) == dtype
    assert keras.backend.standardize_dtype(position.rotate(q, arange(T)).dtype) == dtype


@pytest.mark.parametrize("name", NAMES)
def test_config_round_trip(name):
    checks.plain_config(make(name))


@pytest.mark.parametrize("name", OF_DISTANCE)
def test_heads_may_be_larger_or_smaller_than_a_share_of_the_width(name):
    """In attention and in a stack: what an encoding makes for a head has the size of a head."""
    x = normal(B, T, 12)
    for head_dim in (2, 6):
        options = {"head_dim": head_dim, "position": name}
        assert layers.MultiHeadAttention(N, **options)(x).shape == x.shape
        assert layers.TransformerEncoder(1, N, 5, **options)(x).shape == x.shape


# ---------- one by one, against the papers ----------


@pytest.mark.parametrize("dim", [7, 26])
def test_sinusoidal_is_the_formula_of_the_paper(dim):
    angle = [[p / 10000 ** (2 * (i // 2) / dim) for i in range(dim)] for p in range(T)]
    paper = np.where(np.arange(dim) % 2, np.cos(angle), np.sin(angle))
    close(positions.sinusoid(arange(T), dim), paper[None])


def test_sinusoidal_turns_fastest_in_the_first_features():
    waves = array(positions.sinusoid(arange(2), 26))[0]
    turned = np.abs(waves[1] - waves[0]).reshape(13, 2).max(-1)
    assert np.all(np.diff(turned) < 0)


@pytest.mark.parametrize("dim", [7, 26])
def test_sinusoidal_2d_is_the_encoding_of_the_row_beside_that_of_the_column(dim):
    rows, columns = np.divmod(arange(T, 9), 5)
    found = add(positions.Sinusoidal2D(columns=5), np.zeros((1, T, dim), "float32"), arange(T, 9))
    halves = positions.sinusoid(rows, dim - dim // 2), positions.sinusoid(columns, dim // 2)
    close(found, np.concatenate([array(half) for half in halves], axis=-1))


def test_learned_2d_has_a_vector_a_row_and_one_a_column():
    position = make("learned_2d")
    found = array(position.add(ops.zeros((1, 35, D)), arange(35))).reshape(7, 5, D)
    assert [tuple(w.shape) for w in position.weights] == [(7, D // 2), (5, D // 2)]
    close(found[..., : D // 2], np.broadcast_to(array(position.row)[:, None], (7, 5, D // 2)))
    close(found[..., D // 2 :], np.broadcast_to(array(position.column), (7, 5, D // 2)))
    with pytest.raises(ValueError, match="end with 7 rows of 5, got 36 tokens"):
        position.add(ops.zeros((1, 36, D)), arange(36))


def test_rotary_is_a_rotation():
    x = normal(B, N, T, H)
    close(np.linalg.norm(rotate(make("rotary"), x, arange(T, 9)), axis=-1), np.linalg.norm(x, axis=-1))


def test_rotary_is_multiplication_by_unit_complex_numbers():
    x, half = normal(B, N, T, H), H // 2
    z = x[..., :half] + 1j * x[..., half:]
    z = z * np.exp(1j * arange(T)[0][:, None] * 10000.0 ** (-np.arange(half) / half))
    close(rotate(make("rotary"), x, arange(T)), np.concatenate([z.real, z.imag], -1))


def test_rotary_with_a_scale_reads_positions_divided_by_it():
    x = normal(B, N, T, H)
    close(rotate(make("rotary", scale=3.0), x, 3 * arange(T)), rotate(make("rotary"), x, arange(T)))


def test_rotary_asks_for_an_even_head():
    with pytest.raises(ValueError, match="even"):
        rotate(make("rotary"), normal(B, N, T, 7), arange(T))


def test_relative_adds_a_trained_key_for_the_clipped_distance():
    position, q = make("relative", max_distance=3), normal(B, N, T, H)
    table = array(position.table)
    r = [[table[np.clip(j - i, -3, 3) + 3] for j in range(S)] for i in range(T)]
    close(position.bias(ops.convert_to_tensor(q), arange(T), arange(S)), np.einsum("bnth,tsh->bnts", q, r))


# Worked out by hand from the paper: 32 buckets, half of them for each direction, eight exact, then logarithmic steps to
# 128, whose limits are 8 * 16 ** (k / 8) = 8, 11.3, 16, 22.6, 32, 45.3, 64, 90.5.
T5 = [*range(8), *[8] * 4, *[9] * 4, *[10] * 7, *[11] * 9, *[12] * 14, *[13] * 18, *[14] * 27, *[15] * 60]


def test_bucket_is_the_table_of_the_t5_paper():
    away = np.arange(len(T5), dtype="int32")
    np.testing.assert_array_equal(array(positions.bucket(-away)), T5)
    np.testing.assert_array_equal(array(positions.bucket(away))[1:], np.array(T5[1:]) + 16)


@pytest.mark.parametrize(("num_buckets", "away", "expected"), [(4, 20, 3), (64, 40, 48)])
def test_a_step_that_begins_at_a_whole_number_begins_there(num_buckets, away, expected):
    """Of 2 and 32 buckets to 200 and 50, from 2 and 32 on: 2 * 10 is half the way to 200, 40 half of that to 50."""
    limit = {4: 200, 64: 50}[num_buckets]

    def buckets(delta):
        return positions.bucket(delta, num_buckets, limit, bidirectional=False)

    if checks.BACKEND == "jax":  # as in `fit`
        import jax

        buckets = jax.jit(buckets)
    assert array(buckets(-arange(away + 1)))[0, away] == expected


def test_bucket_of_one_direction_spends_all_buckets_on_the_past():
    away = np.arange(200, dtype="int32")
    past = array(positions.bucket(-away, bidirectional=False))
    np.testing.assert_array_equal(past[:16], away[:16])
    assert sorted(set(past.tolist())) == list(range(32))
    assert not array(positions.bucket(away, bidirectional=False)).any()


@pytest.mark.parametrize(
    ("num_heads", "slopes"),
    [(2, [2**-4, 2**-8]), (8, [2.0**-i for i in range(1, 9)]), (3, [2**-4, 2**-8, 2**-2])],
)
def test_alibi_slopes(num_heads, slopes):
    assert positions.alibi_slopes(num_heads) == slopes


def test_alibi_is_a_straight_line():
    bias = array(make("alibi").bias(normal(B, N, T, H), arange(T, 4), arange(S)))
    away = np.abs(np.subtract.outer(np.arange(4, 4 + T), np.arange(S)))
    close(bias[0], -np.array(positions.alibi_slopes(N))[:, None, None] * away)


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("relative", {"max_distance": -1}, "0 or more"),
        ("relative_bias", {"num_buckets": 3}, "at least 4"),
        ("relative_bias", {"num_buckets": 1, "bidirectional": False}, "at least 2"),
        ("relative_bias", {"max_distance": 8}, "more than 8"),
    ],
)
def test_sizes_that_cannot_be(name, options, says):
    with pytest.raises(ValueError, match=says):
        positions.get({"name": name, **options})


@pytest.mark.parametrize("both", [True, False])
def test_the_smallest_number_of_buckets_works(both):
    position = positions.RelativeBias(num_buckets=4 if both else 2, max_distance=2, bidirectional=both)
    index = array(positions.bucket(arange(9, -4), position.num_buckets, 2, both))[0]
    np.testing.assert_array_equal(index, [1, 1, 1, 1, 0, 3, 3, 3, 3] if both else [1, 1, 1, 1, 0, 0, 0, 0, 0])


def test_unknown_name_says_which_are_known():
    with pytest.raises(ValueError, match="sinusoidal.*learned.*rotary"):
        positions.get("rotatory")


def test_a_position_passes_through_get():
    position = make("rotary")
    assert positions.get(position) is position
    assert type(positions.get(None)) is positions.Position
