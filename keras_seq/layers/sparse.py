"""Sparse attention: the sequence is cut into blocks, and each block of queries sees a few blocks of keys.

A pattern says which, as a function of the number of blocks; everything else is written once. Memory is O(L) times the
blocks seen, and the result is that of full attention with the pattern as its mask.
"""

import functools

import numpy as np
from keras import ops

from keras_seq.layers import masks
from keras_seq.layers.attention import MultiHeadAttention, Rule, attend, rule_only
from keras_seq.layers.core import at_least_one, dot, register
from keras_seq.layers.projective import ProjectiveAttention

FAR = 2**30  # a window that every distance is inside of

# ---------- patterns: (number of blocks, size of a block, causal) -> int32 (n, m), the blocks seen or -1 ----------


def local(n, block, causal, window):
    """Blocks with a token less than `window` away; which tokens of them is decided token by token."""
    halo = -(-(window - 1) // block)
    return around(n, np.arange(-halo, 1 if causal else halo + 1))


def strided(n, block, causal, stride, reach):
    """The own block and every stride-th one from it, at most `reach` of them on a side."""
    return around(n, stride * np.arange(-reach, 1 if causal else reach + 1))


def random(n, block, causal, count=1, seed=0):
    """At most `count` random blocks: of those up to the own one where causal, of all otherwise."""
    row = ops.arange(n, dtype="int32")
    numbers = ops.take(ops.convert_to_tensor(dice(count, seed)), ops.mod(row, len(dice(count, seed))), axis=0)
    return ops.mod(numbers, ops.expand_dims(row, 1) + 1 if causal else n)


def everywhere(n, block, causal, count=1):
    """The first `count` blocks, which every query sees."""
    return within(n, ops.add(ops.zeros((n, 1), dtype="int32"), np.arange(count, dtype="int32")))


PATTERNS = {"local": local, "strided": strided, "random": random, "global": everywhere}


def around(n, steps):
    """Blocks at the given steps from the own one."""
    return within(n, ops.add(ops.arange(n, dtype="int32")[:, None], steps.astype("int32")))


def within(n, index):
    """Blocks before the first and after the last are none."""
    return ops.where(ops.logical_and(index >= 0, index < n), index, -1)


@functools.cache
def dice(count, seed):
    """Numbers that do not change with the number of blocks; rows begin again after 997."""
    return np.random.default_rng(seed).integers(0, 2**31 - 1, (997, count), "int32")


# ---------- the mechanism ----------


@register
class SparseAttention(MultiHeadAttention):
    """Multi-head self-attention in which blocks of queries see some blocks of keys: softmax(Q K_j^T / sqrt(H)) V_j.

    K_j, V_j are the key and value blocks of block j's pattern, gathered: (B, N, n, m w, H) for n blocks of w = `block`
    tokens that see m blocks each. Any length will do: it is padded to whole blocks. The weights are the same as those
    of `MultiHeadAttention`, and so is the result with `pattern` as its mask. Calls that return the attention weights,
    and steps of a decoder with a cache, use that mask; all others never hold T x T numbers.

    Args:
        num_heads: N.
        block: w, tokens in a block.
        patterns: [{"name": ..., options}], whose union is seen:
            {"name": "local", "window": 128} tokens less than `window` away,
            {"name": "strided", "stride": 4, "reach": 2} every stride-th block, at most `reach` on a side,
            {"name": "random", "count": 2, "seed": 0} random blocks; without causal they also depend on the length,
            {"name": "global", "count": 1} the first blocks.
        head_dim, kv_heads, position, dropout, use_bias: see `MultiHeadAttention`.

    Call arguments: as `Attention`, without context and attention_mask; positions, where given, count from 0.

    Raises:
        ValueError: for an unknown pattern, a context, or an attention_mask (key masks and causal are honoured).

    Example:

    >>> import numpy as np
    >>> from keras_seq import layers
    >>> near, far = {"name": "local", "window": 2}, {"name": "strided", "stride": 2, "reach": 1}
    >>> layer, pos = layers.SparseAttention(2, block=2, patterns=[near, far]), layers.masks.positions(7)
    >>> tuple(layer(np.ones((1, 7, 8), "float32")).shape)
    (1, 7, 8)
    >>> np.array(layer.pattern(pos, pos))[0, 0, 0].astype(int).tolist()
    [1, 1, 0, 0, 1, 1, 0]
    """

    def __init__(self, num_heads, block, patterns, **kwargs):
        super().__init__(num_heads, **kwargs)
        if self.chunk is not None:
            raise ValueError("chunk is for full attention; sparse attention has no need of it: leave it out.")
        if not isinstance(block, int) or block < 1:
            raise ValueError(f"block must be a number of tokens, 1 or more; got {block!r}.")
        self.block = block
        self.patterns = sorted((known(pattern) for pattern in patterns), key=lambda p: -p.get("window", FAR))

    def build(self, x_shape, context_shape=None):
        if context_shape is not None:
            raise ValueError(f"{type(self).__name__} is self-attention; use MultiHeadAttention for a context.")
        super().build(x_shape)

    def blocks(self, n, causal=False):
        """The key blocks that each of n query blocks sees: int32 (n, m), -1 for none; n may be a tensor.

        No block is there twice. Also the window of each column, (m,): how near a key has to be, token by token.
        """
        index, windows = [], []
        for pattern in self.patterns:  # whole blocks first, then wide windows: of repeated blocks the first one counts
            options = {key: value for key, value in pattern.items() if key != "name"}
            index.append(PATTERNS[pattern["name"]](n, self.block, causal, **options))
            windows += [pattern.get("window", FAR)] * index[-1].shape[1]
        index = ops.concatenate(index, axis=1)
        same = ops.expand_dims(index, 2) == ops.expand_dims(index, 1)  # (n, m, m)
        repeated = ops.any(ops.logical_and(same, np.tri(len(windows), k=-1, dtype=bool)), axis=2)
        return ops.where(repeated, -1, index), np.array(windows, "int32")

    def pattern(self, q_pos, k_pos, causal=False):
        """The pattern as a mask: bool (b, 1, T, S) for positions (b, T), (b, S).

        causal: whether it is for causal attention, which draws its random blocks from the past; the rule that hides
        the future is masks.py's and not in here.
        """
        index, windows = self.blocks(count(ops.shape(k_pos)[1], self.block), causal)
        index = ops.take(index, q_pos // self.block, axis=0)  # (b, T, m)
        there = ops.expand_dims(k_pos // self.block, 1)  # (b, 1, S)
        sees = None
        for column, window in enumerate(windows.tolist()):
            hit = ops.expand_dims(ops.equal(index[:, :, column, None], there), 1)
            hit = masks.combine(hit, None if window == FAR else masks.attention_mask(q_pos, k_pos, window=window))
            sees = hit if sees is None else ops.logical_or(sees, hit)
        return sees

    def make_mask(self, q_pos, k_pos, key_mask=None, causal=False, attention_mask=None, dense=False):
        if not dense:
            rule_only(attention_mask, type(self).__name__)
            return Rule(key_mask, causal)
        full = super().make_mask(q_pos, k_pos, key_mask, causal, attention_mask)
        return Rule(sees=masks.combine(self.pattern(q_pos, k_pos, causal), full))

    def attend(self, q, kv, attention_mask=None, q_pos=None, k_pos=None):
        rule = Rule() if attention_mask is None else attention_mask
        if not isinstance(rule, Rule):
            rule_only(rule, type(self).__name__)
        if rule.sees is not None:
            return super().attend(q, kv, rule.sees, q_pos, k_pos)
        q_pos = masks.positions(ops.shape(q)[2]) if q_pos is None else q_pos
        return self.output(self.attend_blocks(q, self.share(kv), rule, q_pos)), None

    def attend_blocks(self, q, kv, rule, pos):
        """Self-attention heads (B, N, T, H) at positions (b, T) -> (B, N, T, H)."""
        if 0 in q.shape:
            return ops.zeros_like(q)
        batch, heads, length, size = ops.shape(q)
        n = count(length, self.block)
        index, windows = self.blocks(n, rule.causal)
        q, q_pos = cut(q, 2, self.block), cut(pos, 1, self.block)  # (B, N, n, w, H), (b, n, w)
        k, v = (gather(cut(kv[name], 2, self.block), index, 2) for name in ("k", "v"))  # (B, N, n, m w, H)
        k_pos = gather(q_pos, index, 1)  # (b, n, m w)
        mask = self.block_mask(index, windows, rule, q_pos, k_pos, length)
        scores = dot(q, k)  # (B, N, n, w, m w)
        y, _ = attend(scores, v, mask, self.block_bias(q, q_pos, k_pos), self.dropout)
        return ops.reshape(y, (batch, heads, n * self.block, size))[:, :, :length]

    def block_mask(self, index, windows, rule, q_pos, k_pos, length):
        """The rule of masks.py on the positions of each block, and only keys that exist: (B or b, 1, n, w, m w)."""
        real = ops.ones((1, length), dtype="bool") if rule.key_mask is None else rule.key_mask
        real = gather(cut(ops.cast(real, "int32"), 1, self.block), index, 1) > 0  # (B or 1, n, m w)
        real = ops.logical_and(real, ops.repeat(index >= 0, self.block, axis=1))
        window = None if windows.min() == FAR else ops.convert_to_tensor(np.repeat(windows, self.block))  # (m w,)
        sees = masks.attention_mask(rows(q_pos), rows(k_pos), causal=rule.causal, window=window)
        if sees is not None:  # (n b, 1, w, m w)
            sees = ops.reshape(sees, (*ops.shape(q_pos)[1::-1], 1, *ops.shape(sees)[2:]))
            sees = ops.transpose(sees, (1, 2, 0, 3, 4))  # (b, 1, n, w, m w)
        return masks.combine(sees, real[:, None, :, None, :])

    def block_bias(self, q, q_pos, k_pos):
        """The position's bias in each block: (B or b, N, n, w, m w) or None."""
        _, heads, n, w, size = ops.shape(q)
        each = ops.reshape(ops.transpose(q, (2, 0, 1, 3, 4)), (n * ops.shape(q_pos)[0], -1, w, size))
        bias = self.position.bias(each, rows(q_pos), rows(k_pos))
        if bias is None:
            return None
        bias = ops.reshape(bias, (n, -1, heads, w, ops.shape(k_pos)[2]))
        return ops.transpose(bias, (1, 2, 0, 3, 4))


def known(pattern):
    """A pattern as a dict with a known name; a plain name will do where its options have defaults."""
    pattern = {"name": pattern} if isinstance(pattern, str) else dict(pattern)
    if pattern.get("name") not in PATTERNS:
        raise ValueError(f"a pattern must be one of {', '.join(PATTERNS)}; got {pattern.get('name')!r}.")
    return pattern


def count(length, block):
    """How many blocks hold `length` tokens."""
    return -(-length // block)


def cut(x, axis, size):
    """An axis cut into blocks, the last one filled with zeros: (..., L, ...) -> (..., n, size, ...)."""
    shape = ops.shape(x)  # not `fill`: jax has to know the number of blocks of a length that is open
    n = count(shape[axis], size)
    widths = [(0, 0)] * len(shape)
    widths[axis] = (0, n * size - shape[axis])
    return ops.reshape(ops.pad(x, widths), (*shape[:axis], n, size, *shape[axis + 1 :]))


def gather(x, index, axis):
    """The blocks that each block sees, one after the other: (..., n, w, ...) -> (..., n, m w, ...)."""
    x = ops.take(x, ops.maximum(index, 0), axis=axis)  # (..., n, m, w, ...)
    shape = ops.shape(x)
    return ops.reshape(x, (*shape[: axis + 1], shape[axis + 1] * shape[axis + 2], *shape[axis + 3 :]))


def rows(pos):
    """Positions of all blocks as rows: (b, n, w) -> (n b, w)."""
    return ops.reshape(ops.transpose(pos, (1, 0, 2)), (-1, ops.shape(pos)[2]))


# ---------- the kinds ----------


@register
class LocalAttention(SparseAttention):
    """Self-attention to what is near: query i sees key j if |i - j| < window.

    (B, T, D) -> (B, T, D); memory O(T window).

    Args:
        num_heads: N.
        window: a token sees itself and `window - 1` others on each side.
        block: tokens computed together; the window when left out.
        head_dim, kv_heads, position, dropout, use_bias: see `MultiHeadAttention`.

    Reference: Parmar et al. 2018; Beltagy et al. 2020.

    Example:

    >>> import numpy as np
    >>> from keras_seq import layers
    >>> tuple(layers.LocalAttention(2, window=3)(np.ones((1, 7, 8), "float32")).shape)
    (1, 7, 8)
    """

    def __init__(self, num_heads, window, block=None, **kwargs):
        if not isinstance(window, int) or window < 1:
            raise ValueError(f"window must be a number of tokens, 1 or more; got {window!r}.")
        super().__init__(num_heads, block or window, [{"name": "local", "window": window}], **kwargs)


@register
class StridedAttention(SparseAttention):
    """Self-attention to every stride-th block: a query in block i sees blocks i - stride, i, i + stride, ...

    (B, T, D) -> (B, T, D); memory O(T block reach).

    Args:
        num_heads: N.
        block: tokens in a block.
        stride: how many blocks on the next one lies.
        reach: how many of them on each side, so that the cost of a token does not grow with the length.
        head_dim, kv_heads, position, dropout, use_bias: see `MultiHeadAttention`.

    Reference: Child et al. 2019.

    Example:

    >>> import numpy as np
    >>> from keras_seq import layers
    >>> tuple(layers.StridedAttention(2, block=2, stride=2, reach=1)(np.ones((1, 7, 8), "float32")).shape)
    (1, 7, 8)
    """

    def __init__(self, num_heads, block, stride, reach, **kwargs):
        at_least_one(stride=stride)
        super().__init__(num_heads, block, [{"name": "strided", "stride": stride, "reach": reach}], **kwargs)


@register
class RandomAttention(SparseAttention):
    """Self-attention to a few random blocks, drawn once from a seed: query block i sees blocks j_1(i) .. j_r(i).

    (B, T, D) -> (B, T, D); memory O(T block count). Causal attention draws from the blocks up to the own one, so that
    a longer sequence changes nothing; otherwise the draw is from all blocks of the length at hand.

    Args:
        num_heads: N.
        block: tokens in a block.
        count: r; a block drawn twice counts once.
        seed: of the draw.
        head_dim, kv_heads, position, dropout, use_bias: see `MultiHeadAttention`.

    Reference: Zaheer et al. 2020.

    Example:

    >>> import numpy as np
    >>> from keras_seq import layers
    >>> tuple(layers.RandomAttention(2, block=2, count=2)(np.ones((1, 7, 8), "float32")).shape)
    (1, 7, 8)
    """

    def __init__(self, num_heads, block, count=1, seed=0, **kwargs):
        at_least_one(count=count)
        super().__init__(num_heads, block, [{"name": "random", "count": count, "seed": seed}], **kwargs)


@register
class BlockSparseAttention(SparseAttention):
    """Self-attention to the union of several patterns; by default BigBird's: near, a few at random, and the first.

    (B, T, D) -> (B, T, D). Every token sees the first block; that block sees no more than the others do.

    Args:
        num_heads: N.
        block: tokens in a block.
        patterns: see `SparseAttention`; {"name": "local"} alone takes `block` for its window.
        head_dim, kv_heads, position, dropout, use_bias: see `MultiHeadAttention`.

    Reference: Zaheer et al. 2020.

    Example:

    >>> import numpy as np
    >>> from keras_seq import layers
    >>> layer = layers.BlockSparseAttention(2, block=2, patterns=["local", {"name": "random", "count": 2}, "global"])
    >>> tuple(layer(np.ones((1, 7, 8), "float32")).shape)
    (1, 7, 8)
    """

    def __init__(self, num_heads, block, patterns=("local", "random", "global"), **kwargs):
        patterns = [known(pattern) for pattern in patterns]
        patterns = [{"window": block, **p} if p["name"] == "local" else p for p in patterns]
        super().__init__(num_heads, block, patterns, **kwargs)


# What a Transformer's blocks take as `attention`.
SELF_ATTENTIONS = {
    "multi_head": MultiHeadAttention, "local": LocalAttention, "strided": StridedAttention, "random": RandomAttention,
    "block_sparse": BlockSparseAttention, "projective": ProjectiveAttention,
}  # fmt: skip
