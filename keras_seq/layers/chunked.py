"""Exact attention a block of queries at a time: memory grows with L, not with L squared, in the gradient too.

With P = softmax(Q K^T + bias) and Y = P V, and dY given, the gradient of one block of queries is

    dV += P^T dY,  dS = P (dY V^T - rowsum(dY Y)),  dQ = dS K,  dK += dS^T Q,  dbias = dS,

so that P can be computed again when it is needed, and never has to be kept.
"""

import dataclasses
import functools

import keras
from keras import ops

from keras_seq import kernels
from keras_seq.layers import masks, positions
from keras_seq.layers.core import dot, fill, unknown_zero, wide
from keras_seq.layers.loops import loop

CACHED = 1 << 21  # scores that a core has near
HIDDEN = -1e4  # added to a score, in half precision too, whose exp() is then 0
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
    if 0 in q.shape:
        return ops.zeros_like(q)
    if kernels.flashes(q.dtype, q.shape[-1] + (rule.key_mask is not None)) and can_flash(rule, position):
        return flash(q, kv["k"], kv["v"], rule.causal, rule.key_mask)
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


def can_flash(rule, position):
    """Whether `flash` computes the same: without a bias, and with a past that is what stands before."""
    return not has_bias(position) and (rule.ordered or not rule.causal)


def flash(q, k, v, causal=False, key_mask=None):
    """softmax(q k^T) v in one kernel of a GPU, whose memory grows with T + S and not with T x S, in the gradient too.

    What keys to leave out is said by a feature more of each head: 1 in the queries, and in the keys 0 or `HIDDEN`.

    Args:
        q, k, v: (B, N, T, H), (B, N, S, H), (B, N, S, H).
        causal: whether query t sees the keys up to t only.
        key_mask: bool (b, S), False for keys that nobody may attend to; None where there are none.

    Returns:
        (B, N, T, H), zeros for a query with nothing to attend to.
    """
    size = q.shape[-1]
    if key_mask is not None:
        hidden = ops.cast(ops.where(key_mask, 0.0, HIDDEN), k.dtype)[:, None, :, None]
        hidden = ops.broadcast_to(hidden, (*ops.shape(k)[:3], 1))
        more = (ops.ones_like(q[..., :1]), hidden, ops.zeros_like(hidden))
        q, k, v = (ops.concatenate(pair, axis=-1) for pair in zip((q, k, v), more))
    y = kernels.cudnn_attention(*(ops.swapaxes(fill(x, 3, 8), 1, 2) for x in (q, k, v)), causal)
    y = ops.swapaxes(y, 1, 2)[..., :size]
    if key_mask is None:
        return y
    seen = ops.cast(key_mask, "int32")
    seen = ops.cumsum(seen, axis=1) if causal else ops.sum(seen, axis=1, keepdims=True)
    return ops.where(seen[:, None, :, None] > 0, y, ops.zeros((), y.dtype))


def in_blocks(attend, q, kv, rule, position, q_pos, k_pos, size):
    """`attend_in_chunks` in one loop, in which each block sees all keys."""
    tables = [ops.reshape(w, w.shape) for w in position.weights] if has_bias(position) else []  # tensors, not variables
    key_mask = [] if rule.key_mask is None else [ops.cast(rule.key_mask, "bool")]
    length = ops.shape(q)[2]
    q, q_pos, k_pos = fill(q, 2, size), fill(q_pos, 1, size), ops.convert_to_tensor(k_pos)
    groups = 1 if has_bias(position) else head_groups(q.shape, size, kv["k"].shape[2])

    def apart(x):
        return ops.split(x, groups, axis=1)

    def shown(q, q_pos, k_pos, key_mask, tables):
        """The mask and the bias of the queries of a block."""
        mask = masks.attention_mask(q_pos, k_pos, *key_mask, causal=rule.causal)
        return mask, bias(position, tables, q, q_pos, k_pos)

    @kernels.custom_gradient
    def run(q, k, v, q_pos, k_pos, *rest):
        ks, vs, tables_ = apart(k), apart(v), rest[len(key_mask) :]
        known = (k_pos, rest[: len(key_mask)], tables_)

        def forward(block, before):
            q, q_pos = block
            q = q + before[0]
            seen = shown(q, q_pos, *known)
            y = [attend(dot(q, k), v, *seen)[0] for q, k, v in zip(apart(q), ks, vs)]
            return ops.concatenate(y, axis=1), [after(y, q.dtype)]

        y = joined(loop(forward, (blocks(q, 2, size), blocks(q_pos, 1, size)), [ops.zeros((), q.dtype)])[1])

        def backward(less, block, state):
            q, y, dy, q_pos = block
            before, *total = state
            q, dy = q + before, dy + before
            mean = ops.cast(ops.sum(wide(dy) * wide(y), axis=-1, keepdims=True), dy.dtype)
            more = ops.concatenate([dy, mean], axis=-1)
            seen, heads = shown(q, q_pos, *known), zip(*map(apart, (q, dy, more)), ks, vs, less)
            found = [slopes(attend, *each, *seen) for each in heads]
            dq, dtables = bias_slopes(position, tables_, found[0][0], q, q_pos, k_pos)
            dq = dq + ops.concatenate([wide(each[1]) for each in found], axis=1)
            parts = [x for each in found for x in each[2:]]
            total = [each + ops.cast(part, each.dtype) for each, part in zip(total, [*parts, *dtables])]
            return dq, [after([dq, *total], q.dtype), *total]

        def gradient(dy):
            begin = [*(x for pair in zip(ks, vs) for x in pair), *tables_]
            begin = [ops.zeros((), q.dtype), *(ops.zeros_like(x, dtype="float32") for x in begin)]
            parts = [*(blocks(x, 2, size) for x in (q, y, ops.cast(dy, q.dtype))), blocks(q_pos, 1, size)]
            less = apart(ops.concatenate([v, -ops.ones_like(v[..., :1])], axis=-1))
            _, dq, (_, *total) = loop(functools.partial(backward, less), parts, begin)
            dk, dv = (ops.concatenate(total[i : 2 * groups : 2], axis=1) for i in (0, 1))
            given = zip((joined(dq), dk, dv, *total[2 * groups :]), (q, k, v, *tables_))
            dq, dk, dv, *dtables = [ops.cast(dx, x.dtype) for dx, x in given]
            return (dq, dk, dv, *[None] * (2 + len(key_mask)), *dtables)

        return y, gradient

    return run(q, kv["k"], kv["v"], q_pos, k_pos, *key_mask, *tables)[:, :, :length]


def after(done, dtype):
    """0, for a block to add so that it does not begin before all this is done: else tensorflow begins many at once."""
    return unknown_zero(ops.concatenate([ops.ravel(x[..., :1, :1]) for x in done], axis=0), dtype)


def head_groups(shape, size, keys):
    """In how many groups of heads a block is computed, for queries (B, N, T, H) and so many keys.

    On a CPU the scores of a group should fit into its cache, elsewhere all heads are computed at once.
    """
    batch, heads = shape[:2]
    if not (isinstance(keys, int) and kernels.on_cpu()):
        return 1
    most = max(CACHED // ((batch or 1) * size * keys), 1)  # heads of a group
    return next(n for n in range(1, heads + 1) if heads % n == 0 and heads // n <= most)


def slopes(attend, q, dy, more, k, v, less, mask, bias):
    """dS, dQ, dK and dV of a block of queries (B, N, T, H), given its dY.

    `more` is [dY, rowsum(dY Y)] and `less` is [V, -1]: their product is what P multiplies, in one pass less over it.
    """
    p = attend(dot(q, k), v, mask, bias)[1]
    ds = wide(p) * wide(dot(more, less))
    near = ops.cast(ds, q.dtype)
    return ds, ops.matmul(near, k), turned_product(near, q), turned_product(p, dy)


def turned_product(a, b):
    """a^T b: (B, N, T, S), (B, N, T, H) -> (B, N, S, H)."""
    return ops.matmul(ops.transpose(a, (0, 1, 3, 2)), b)


def blocks(x, axis, size):
    """All blocks of an axis, in a new first axis."""
    shape = list(ops.shape(x))
    shape[axis : axis + 1] = [shape[axis] // size, size]
    others = [i for i in range(len(shape)) if i != axis]
    return ops.transpose(ops.reshape(x, shape), (axis, *others))


def joined(x):
    """Blocks (number, B, N, size, H) of heads (B, N, T, H)."""
    number, batch, heads, size, width = ops.shape(x)
    return ops.reshape(ops.transpose(x, (1, 2, 0, 3, 4)), (batch, heads, number * size, width))


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
