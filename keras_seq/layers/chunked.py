"""Exact attention a block of queries at a time: memory grows with L, not with L squared, in the gradient too.

With P = softmax(Q K^T + bias) and Y = P V, and dY given, the gradient of one block of queries is

    dV += P^T dY,  dS = P (dY V^T - rowsum(dY Y)),  dQ = dS K,  dK += dS^T Q,  dbias = dS,

so that P can be computed again when it is needed, and never has to be kept.
"""

import dataclasses

import keras
from keras import ops

from keras_seq.layers import masks, positions
from keras_seq.layers.core import dot, fill

PARTS = 4  # of a causal attention: the queries of each see no keys behind it, which spares 3/8 of all scores


def attend_in_chunks(attend, q, kv, rule, position, q_pos, k_pos, size):
    """softmax(q k^T + bias) v where the rule allows, for `size` queries at a time; the gradient computes it again.

    Args:
        attend: the core, `attention.attend`.
        q, kv: (B, N, T, H), and {"k", "v"} (B, N, S, H).
        rule: with key_mask (b, S) or None, and causal; each block makes its mask from them and the positions.
        position: its bias is added to the scores.
        q_pos, k_pos: int32 (b, T), (b, S).
        size: queries in a block.

    Returns:
        (B, N, T, H).

    Reference: Rabe and Staats 2021.
    """
    length = q.shape[2]
    if not (rule.causal and rule.ordered and isinstance(length, int)):
        return in_blocks(attend, q, kv, rule, position, q_pos, k_pos, size)
    blocks = -(-length // size)
    ends = sorted({min(length, -(-blocks * part // PARTS) * size) for part in range(1, PARTS + 1)})
    y = []
    for begin, end in zip([0, *ends], ends):
        past = dataclasses.replace(rule, key_mask=None if rule.key_mask is None else rule.key_mask[:, :end])
        known = {name: part[:, :, :end] for name, part in kv.items()}
        here = slice(begin, end)
        y.append(in_blocks(attend, q[:, :, here], known, past, position, q_pos[:, here], k_pos[:, :end], size))
    return ops.concatenate(y, axis=2)


def in_blocks(attend, q, kv, rule, position, q_pos, k_pos, size):
    """`attend_in_chunks` in one loop, in which each block sees all keys."""
    tables = [ops.reshape(w, w.shape) for w in position.weights] if has_bias(position) else []  # tensors, not variables
    key_mask = [] if rule.key_mask is None else [ops.cast(rule.key_mask, "bool")]
    length = ops.shape(q)[2]
    q, q_pos, k_pos = fill(q, 2, size), fill(q_pos, 1, size), ops.convert_to_tensor(k_pos)
    number = ops.shape(q)[2] // size

    def block(i, q, k, v, q_pos, k_pos, key_mask, tables):
        """The outputs and weights of the queries of block i; `q` here is only theirs."""
        q_pos = rows(q_pos, 1, i, size)
        mask = masks.attention_mask(q_pos, k_pos, *key_mask, causal=rule.causal)
        return attend(dot(q, k), v, mask, bias(position, tables, q, q_pos, k_pos))

    @ops.custom_gradient
    def run(q, k, v, q_pos, k_pos, *rest):
        key_mask_, tables_ = rest[: len(key_mask)], rest[len(key_mask) :]
        known = (k, v, q_pos, k_pos, key_mask_, tables_)

        def forward(i, y):  # outputs take the place of their queries: no block begins before the last one is done
            return put(y, block(i, rows(y, 2, i, size), *known)[0], i, size)

        y = ops.fori_loop(0, number, forward, q)
        kept = ops.stop_gradient(y)

        def backward(i, carried):  # and here slopes take the place of queries
            both, dk, dv, *dtables = carried
            q_i, dy_i = ops.split(rows(both, 2, i, size), 2, axis=-1)
            y_i = rows(kept, 2, i, size)
            p = block(i, q_i, *known)[1]
            ds = slope_of_scores(p, dot(dy_i, v), y_i, dy_i)
            near = ops.cast(ds, q.dtype)
            dq, found = bias_slopes(position, tables_, ds, q_i, rows(q_pos, 1, i, size), k_pos)
            dq = dq + ops.cast(ops.matmul(near, k), "float32")
            dk, dv = add(dk, turned_product(near, q_i)), add(dv, turned_product(p, dy_i))
            return (put(both, dq, i, size), dk, dv, *(add(*pair) for pair in zip(dtables, found)))

        def gradient(*args, upstream=None):
            dy = args[0] if upstream is None else upstream  # torch gives it by name, after the arguments
            both = ops.concatenate([q, ops.cast(dy, q.dtype)], axis=-1)  # (B, N, T, 2 H)
            zeros = [ops.zeros_like(x, dtype="float32") for x in (k, v, *tables_)]
            both, dk, dv, *dtables = ops.fori_loop(0, number, backward, (both, *zeros))
            given = [ops.cast(dx, x.dtype) for dx, x in zip((dk, dv, *dtables), (k, v, *tables_))]
            return (both[..., : q.shape[-1]], *given[:2], *[None] * (2 + len(key_mask)), *given[2:])

        return y, gradient

    return run(q, kv["k"], kv["v"], q_pos, k_pos, *key_mask, *tables)[:, :, :length]


def turned_product(a, b):
    """a^T b: (B, N, T, S), (B, N, T, H) -> (B, N, S, H)."""
    return ops.matmul(ops.transpose(a, (0, 1, 3, 2)), b)


def slope_of_scores(p, dp, y, dy):
    """Through the softmax: dS = P (dP - rowsum(dY Y)), float32 (B, N, T, S)."""
    p, dp, y, dy = (ops.cast(x, "float32") for x in (p, dp, y, dy))
    return p * (dp - ops.sum(dy * y, axis=-1, keepdims=True))


def add(total, part):
    return total + ops.cast(part, total.dtype)


def rows(x, axis, i, size):
    """Block i of x: `size` entries of an axis."""
    start, shape = [0] * len(x.shape), list(ops.shape(x))
    start[axis], shape[axis] = i * size, size
    return ops.slice(x, start, shape)


def put(x, block, i, size):
    """x (B, N, T, H) with block i replaced."""
    return ops.slice_update(x, (0, 0, i * size, 0), ops.cast(block, x.dtype))


# ---------- biases and their gradients ----------


def has_bias(position):
    return type(position).bias is not positions.Position.bias


def bias(position, tables, q, q_pos, k_pos):
    """The bias as a function of the position's weights, given as tensors: gradients are ours to make."""
    if not tables:
        return position.bias(q, q_pos, k_pos)
    with keras.StatelessScope(zip(position.weights, tables), initialize_variables=False):
        return position.bias(q, q_pos, k_pos)


def bias_slopes(position, tables, ds, q, q_pos, k_pos):
    """What dbias = dS (B, N, T, S) means for q (B, N, T, H), and for each table of the position."""
    return BIAS_SLOPES[type(position)](position, tables, ds, q, q_pos, k_pos) if has_bias(position) else (0.0, [])


def constant(position, tables, ds, q, q_pos, k_pos):
    """ALiBi: nothing is trained."""
    return 0.0, []


def of_buckets(position, tables, ds, q, q_pos, k_pos):
    """T5, bias = table[bucket]: each bucket gets the sum of the slopes of its pairs."""
    distance = positions.distance(q_pos, k_pos)
    index = positions.bucket(distance, position.num_buckets, position.max_distance, position.bidirectional)
    index = ops.broadcast_to(index, ops.shape(ds[:, 0]))
    return 0.0, [sum_by(index, ds, position.num_buckets)]


def of_distances(position, tables, ds, q, q_pos, k_pos):
    """Shaw, bias = q · table[distance]: slopes summed by query and distance, (B, T, R, N), are all that is needed."""
    count, limit = 2 * position.max_distance + 1, position.max_distance
    batch, _, length, _ = ops.shape(ds)
    index = ops.clip(positions.distance(q_pos, k_pos), -limit, limit) + limit  # (b, T, S)
    row = ops.reshape(ops.arange(batch * length, dtype="int32"), (batch, length, 1))
    sums = sum_by(row * count + index, ds, batch * length * count)
    sums = ops.reshape(sums, (batch, length, count, -1))
    table = ops.cast(tables[0], "float32")
    return ops.einsum("btrn,rh->bnth", sums, table), [ops.einsum("btrn,bnth->rh", sums, ops.cast(q, "float32"))]


def sum_by(index, ds, count):
    """Slopes (B, N, T, S) summed by their index (B, T, S): (count, N)."""
    data = ops.reshape(ops.transpose(ds, (0, 2, 3, 1)), (-1, ds.shape[1]))
    return ops.segment_sum(data, ops.reshape(index, (-1,)), num_segments=count)


BIAS_SLOPES = {
    positions.ALiBi: constant,
    positions.RelativeBias: of_buckets,
    positions.Relative: of_distances,
}


def check(chunk, dropout, position):
    """Raises where attention in chunks could not be exact."""
    if not isinstance(chunk, int) or chunk < 1:
        raise ValueError(f"chunk must be a number of queries, 1 or more, or None; got {chunk!r}.")
    if dropout:
        raise ValueError(f"attention in chunks has no dropout on its weights; got {dropout}: use 0 or chunk=None.")
    if has_bias(position) and type(position) not in BIAS_SLOPES:
        known = ", ".join(kind.__name__ for kind in BIAS_SLOPES)
        raise ValueError(
            f"attention in chunks knows the gradient of these biases only: {known}; got {type(position).__name__}: "
            "use chunk=None."
        )
