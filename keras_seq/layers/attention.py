"""Attention: softmax(score(q, k) + bias) v. The kinds differ in the score; everything else is written once."""

import dataclasses
from typing import Any

import keras
from keras import ops

from keras_seq.layers import chunked, masks, positions
from keras_seq.layers.core import Dropout, Layer, Linear, at_least_one, dot, not_symbolic, register, wide

MASKED = -1e9  # finite, so that no arithmetic on a masked score gives NaN; exp() of it is exactly 0 in float32


def attend(scores, values, mask=None, bias=None, dropout=None):
    """The one softmax of the package: weights = softmax(scores + bias) where mask, output = weights · values.

    Computed in float32 at least. A query with nothing to attend to gets zeros.

    Args:
        scores: (B, N, T, S).
        values: (B, N, S, H).
        mask: bool, broadcastable to (B, N, T, S), True = may attend.
        bias: broadcastable to (B, N, T, S), added to the scores.
        dropout: function applied to the weights in training.

    Returns:
        (B, N, T, H) and the weights (B, N, T, S), both in the dtype of `values`.

    Example:

    >>> import numpy as np
    >>> from keras_seq import layers
    >>> scores, values = np.zeros((1, 1, 2, 4), "float32"), np.ones((1, 1, 4, 3), "float32")
    >>> y, weights = layers.attend(scores, values, mask=np.array([[True, True, False, False], [False] * 4]))
    >>> np.array(weights)[0, 0].tolist()
    [[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]
    """
    scores = wide(scores)
    if bias is not None:
        scores = scores + ops.cast(bias, scores.dtype)
    if mask is not None:  # what is added is the same for all layers of a stack: computed once
        scores = scores + ops.where(mask, ops.zeros((), scores.dtype), ops.cast(MASKED, scores.dtype))
    alone = scores.shape[-1] == 1  # of one key, the softmax is 1; Keras warns of it
    weights = ops.cast(ops.ones_like(scores) if alone else ops.softmax(scores, axis=-1), values.dtype)
    y = ops.matmul(weights if dropout is None else dropout(weights), values)
    if mask is not None:
        sees = ops.any(mask, axis=-1, keepdims=True)  # (b, n, T, 1)
        zero = ops.zeros((), dtype=y.dtype)
        y, weights = ops.where(sees, y, zero), ops.where(sees, weights, zero)
    return y, weights


@dataclasses.dataclass(frozen=True, eq=False)
class Rule:
    """A mask that is not made yet, because all of it at once would take T x S: each block of queries makes its part.

    key_mask: bool (b, S), False for keys that nobody may attend to; causal: whether a query sees the past only;
    ordered: whether queries and keys are the same tokens one after the other, so that the past is what stands before;
    sees: the whole mask (b, n, T, S), where it has been made after all.
    """

    key_mask: Any = None
    causal: bool = False
    ordered: bool = False
    sees: Any = None


class Attention(Layer):
    """What all attention layers share; a kind defines `query`, `project`, `scores` and `output`.

    Heads are (B, N, T, H) throughout; layers with one head have N = 1.

    Call arguments:
        x: (B, T, D), what attends.
        context: (B, S, E), what is attended to; x itself when left out.
        attention_mask: bool (B, T, S) or (b, n, T, S), True = may attend.
        q_pos: int32 (b, T), positions of x; 0, 1, ... when left out.
        k_pos: int32 (b, S), positions of the context; 0, 1, ... when left out.
        causal: whether a query sees keys up to its own position only.
        return_attention_weights: whether to return the weights too.

    Returns:
        (B, T, D'), and with `return_attention_weights` also the weights (B, N, T, S).
    """

    def __init__(self, position=None, dropout=0.0, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True
        self.position = positions.get(position)
        self.dropout = Dropout(dropout, dtype=self.dtype_policy) if dropout else None

    def build_position(self, x_shape, num_heads, head_dim):
        """Make the position's weights, unless a stack that shares it among its layers has made them."""
        if not self.position.built:
            self.position.build(x_shape, num_heads=num_heads, head_dim=head_dim)

    def query(self, x, q_pos=None):
        """x (B, T, D) -> query heads (B, N, T, H), scaled and rotated."""
        raise NotImplementedError

    def project(self, context, k_pos=None):
        """context (B, S, E) -> {"k", "v"}, key and value heads (B, N, S, H): what a cache holds."""
        raise NotImplementedError

    def scores(self, q, k):
        """(B, N, T, H), (B, N, S, H) -> (B, N, T, S)."""
        raise NotImplementedError

    def heads(self, x, pos=None):
        """Self-attention: x (B, T, D) -> query heads and {"k", "v"} of the same tokens."""
        return self.query(x, pos), self.project(x, pos)

    def output(self, y):
        """Heads (B, N, T, H) -> (B, T, D')."""
        return merge_heads(y)

    def make_mask(self, q_pos, k_pos, key_mask=None, causal=False, attention_mask=None, dense=False):
        """What `attend` takes as its mask: bool (b, n, T, S), None, or a `Rule`. A stack makes it once for its layers.

        q_pos, k_pos: positions; one tensor as both says that they ascend.
        dense: the weights are asked for, or queries are few: T x S numbers are welcome.
        """
        return masks.combine(per_head(attention_mask), masks.attention_mask(q_pos, k_pos, key_mask, causal))

    def attend(self, q, kv, attention_mask=None, q_pos=None, k_pos=None):
        """Query heads, key and value heads, what `make_mask` made -> output (B, T, D') and weights (B, N, T, S)."""
        bias = self.position.bias(q, q_pos, k_pos)
        k = kv["k"] if "k" in kv else ops.swapaxes(kv["turned"], 2, 3)  # turned twice, and so not at all
        y, weights = attend(self.scores(q, k), kv["v"], attention_mask, bias, self.dropout)
        return self.output(y), weights

    def call(
        self, x, context=None, attention_mask=None, q_pos=None, k_pos=None, causal=False,
        return_attention_weights=False, x_mask=None, context_mask=None, mask=None,
    ):  # fmt: skip
        key_mask = masks.of_keras(x_mask, mask) if context is None else context_mask
        given = q_pos is not None
        q_pos = q_pos if given else masks.positions(ops.shape(x)[1])
        if context is None:
            k_pos = ops.copy(q_pos) if given else q_pos  # see `make_mask`
            q, kv = self.heads(x, q_pos)
        else:
            k_pos = masks.positions(ops.shape(context)[1]) if k_pos is None else k_pos
            q, kv = self.query(x, q_pos), self.project(context, k_pos)
        sees = self.make_mask(q_pos, k_pos, key_mask, causal, attention_mask, dense=return_attention_weights)
        y, weights = self.attend(q, kv, sees, q_pos, k_pos)
        return (y, weights) if return_attention_weights else y


def per_head(mask):
    """A mask (B, T, S) for every head: (B, 1, T, S). Masks with an axis for heads, and rules, stay as they are."""
    return ops.expand_dims(mask, 1) if len(getattr(mask, "shape", ())) == 3 else mask


def rule_only(attention_mask, what):
    """Refuses a ready mask where masks are made block by block."""
    if attention_mask is not None:
        raise ValueError(
            f"{what} makes its mask block by block, from positions, causal=True and key masks (x_mask, context_mask); "
            "it got an attention_mask: leave it out, or use a MultiHeadAttention without chunk."
        )


def split_heads(x, num_heads):
    """(B, T, N*H) -> (B, N, T, H)."""
    batch, length, width = ops.shape(x)
    return ops.transpose(ops.reshape(x, (batch, length, num_heads, width // num_heads)), (0, 2, 1, 3))


def merge_heads(x):
    """(B, N, T, H) -> (B, T, N*H)."""
    batch, heads, length, size = ops.shape(x)
    return ops.reshape(ops.transpose(x, (0, 2, 1, 3)), (batch, length, heads * size))


@register
class MultiHeadAttention(Attention):
    """N dot products side by side: softmax(Q K^T / sqrt(H)) V on N projections, then one projection back.

    Queries, keys and values of self-attention come from one matrix product, keys and values of a context from one.

    Args:
        num_heads: N.
        head_dim: H; D / N when left out.
        kv_heads: number of key and value heads, each shared by N / kv_heads queries (grouped-query attention).
        position: rotary, relative, relative_bias, alibi: see `positions.get`.
        dropout: rate on the weights.
        use_bias: whether the projections have biases.
        chunk: number of queries computed at a time, so that memory grows with L and not with L squared, forwards and
            backwards; the result is the same. Causal calls of a known length spare 3/8 of the scores. On a GPU with jax
            and half precision one kernel of cuDNN does all that, where the position adds no bias. None computes all at
            once, and so do calls that return the weights.

    Raises:
        ValueError: for sizes below 1; if D is not divisible by num_heads while head_dim is left out, or num_heads not
            by kv_heads; with chunk, for dropout, for an attention_mask, and for a position whose gradient is unknown
            there.

    Reference: Vaswani et al. 2017; grouped queries: Ainslie et al. 2023; chunks: Rabe and Staats 2021.

    Example:

    >>> import numpy as np
    >>> from keras_seq import layers
    >>> x, context = np.ones((2, 5, 8), "float32"), np.ones((2, 7, 8), "float32")
    >>> y, weights = layers.MultiHeadAttention(4)(x, context, return_attention_weights=True)
    >>> tuple(y.shape), tuple(weights.shape)
    ((2, 5, 8), (2, 4, 5, 7))
    """

    def __init__(
        self, num_heads, head_dim=None, kv_heads=None, position=None, dropout=0.0, use_bias=True, chunk=None, **kwargs
    ):  # fmt: skip
        super().__init__(position, dropout, **kwargs)
        at_least_one(num_heads=num_heads, head_dim=head_dim, kv_heads=kv_heads)
        self.chunk = chunk
        if chunk is not None:
            chunked.check(chunk, dropout, self.position)
        self.num_heads, self.head_dim = num_heads, head_dim
        self.kv_heads, self.use_bias = kv_heads or num_heads, use_bias
        if num_heads % self.kv_heads:
            raise ValueError(f"num_heads must be a multiple of kv_heads; got {num_heads} and {kv_heads}.")

    def build(self, x_shape, context_shape=None):
        self.size = self.head_dim or divide(x_shape[-1], self.num_heads)
        q, kv = self.num_heads * self.size, 2 * self.kv_heads * self.size
        self.is_self = context_shape is None
        if self.is_self:
            self.query_key_value = self.linear("query_key_value", q + kv, x_shape)
        else:
            self.to_query = self.linear("query", q, x_shape)
            self.key_value = self.linear("key_value", kv, context_shape)
        self.out = self.linear("out", x_shape[-1], (None, None, q))
        self.build_position(x_shape, self.num_heads, self.size)

    def linear(self, name, width, shape):
        """A built projection onto `width` features."""
        layer = Linear(int(width), use_bias=self.use_bias, dtype=self.dtype_policy, name=name)
        layer.build(shape)
        return layer

    def heads(self, x, pos=None):
        if not self.is_self:
            return super().heads(x, pos)
        n, m = self.num_heads, self.kv_heads
        qkv = split_heads(self.query_key_value(x), n + 2 * m)  # (B, N + 2M, T, H)
        q, k, v = ops.split(qkv, 3 if n == m else (n, n + m), axis=1)  # torch has to read the numbers of a tuple
        return self.rotate_query(q, pos), {"k": self.position.rotate(k, pos), "v": v}

    def query(self, x, q_pos=None):
        self.check_cross()
        return self.rotate_query(split_heads(self.to_query(x), self.num_heads), q_pos)

    def project(self, context, k_pos=None):
        self.check_cross()
        k, v = ops.split(split_heads(self.key_value(context), 2 * self.kv_heads), 2, axis=1)
        return {"k": self.position.rotate(k, k_pos), "v": v}

    def check_cross(self):
        if self.is_self:
            raise ValueError("This attention was built for x alone; give a context in its first call to attend to one.")

    def rotate_query(self, q, q_pos):
        """q / sqrt(H), rotated: scores are then plain products."""
        return self.position.rotate(q * self.size**-0.5, q_pos)

    def scores(self, q, k):
        return dot(q, k)

    def share(self, kv):
        """Key and value heads, each repeated for the queries that share it: (B, M, S, H) -> (B, N, S, H)."""
        times = self.num_heads // self.kv_heads
        return kv if times == 1 else {name: ops.repeat(heads, times, axis=1) for name, heads in kv.items()}

    def make_mask(self, q_pos, k_pos, key_mask=None, causal=False, attention_mask=None, dense=False):
        if self.chunk is None or dense or self.fits(q_pos.shape[1]):
            return super().make_mask(q_pos, k_pos, key_mask, causal, attention_mask, dense)
        rule_only(attention_mask, "Attention in chunks")
        return Rule(key_mask, causal, ordered=q_pos is k_pos)

    def fits(self, length):
        """Whether one chunk holds all queries. Of a length that is a symbol (jax, in models) only shapes are asked."""
        return length is not None and (not isinstance(length, int) or length <= self.chunk)

    def attend(self, q, kv, attention_mask=None, q_pos=None, k_pos=None):
        kv = self.share(kv)
        if not isinstance(attention_mask, Rule):
            return super().attend(q, kv, attention_mask, q_pos, k_pos)
        y = chunked.attend_in_chunks(attend, q, kv, attention_mask, self.position, q_pos, k_pos, self.chunk)
        return self.output(y), None

    def output(self, y):
        return self.out(merge_heads(y))


def divide(dim, num_heads):
    """The size of a head, H = D / N."""
    if dim % num_heads:
        raise ValueError(f"dim must be a multiple of num_heads; got dim={dim} and num_heads={num_heads}.")
    return dim // num_heads


@register
class AdditiveAttention(Attention):
    """One head with a small network as its score: score(q, k) = v · tanh(W q + U k + b); values are the context itself.

    Args:
        units: size of W q and U k; D when left out.
        position: an encoding that acts on the scores.
        dropout: rate on the weights.

    Reference: Bahdanau et al. 2015.

    Example:

    >>> import numpy as np
    >>> from keras_seq import layers
    >>> x, context = np.ones((2, 5, 8), "float32"), np.ones((2, 7, 3), "float32")
    >>> tuple(layers.AdditiveAttention(11)(x, context).shape)
    (2, 5, 3)
    """

    def __init__(self, units=None, position=None, dropout=0.0, **kwargs):
        super().__init__(position, dropout, **kwargs)
        at_least_one(units=units)
        self.units = units

    def build(self, x_shape, context_shape=None):
        units = self.units or x_shape[-1]
        self.w = Linear(units, use_bias=False, dtype=self.dtype_policy, name="query")
        self.w.build(x_shape)
        self.u = Linear(units, dtype=self.dtype_policy, name="key")
        self.u.build(context_shape or x_shape)
        self.v = self.add_weight(name="score", shape=(units,), initializer=keras.initializers.RandomUniform(-0.1, 0.1))
        self.build_position(x_shape, 1, units)

    def query(self, x, q_pos=None):
        return self.position.rotate(ops.expand_dims(self.w(x), 1), q_pos)

    def project(self, context, k_pos=None):
        return {"k": self.position.rotate(ops.expand_dims(self.u(context), 1), k_pos), "v": ops.expand_dims(context, 1)}

    def scores(self, q, k):
        not_symbolic(self, q, k)
        energy = ops.tanh(ops.expand_dims(q, 3) + ops.expand_dims(k, 2))  # (B, 1, T, S, U)
        return ops.einsum("bntsu,u->bnts", energy, ops.cast(self.v, energy.dtype))


@register
class DotProductAttention(Attention):
    """One head whose score is a product of x and the context; values are the context itself.

    Args:
        score: "dot" q · k, "scaled_dot" q · k / sqrt(D), or "general" q · W k, for contexts of any size.
        position: an encoding that acts on the scores.
        dropout: rate on the weights.

    Raises:
        ValueError: for another score, or for sizes of x and context that differ where there is no W between them.

    Reference: Luong et al. 2015.

    Example:

    >>> import numpy as np
    >>> from keras_seq import layers
    >>> x, context = np.ones((2, 5, 8), "float32"), np.ones((2, 7, 3), "float32")
    >>> tuple(layers.DotProductAttention("general")(x, context).shape)
    (2, 5, 3)
    """

    def __init__(self, score="dot", position=None, dropout=0.0, **kwargs):
        super().__init__(position, dropout, **kwargs)
        if score not in ("dot", "scaled_dot", "general"):
            raise ValueError(f'score must be "dot", "scaled_dot" or "general"; got {score!r}.')
        self.score = score

    def build(self, x_shape, context_shape=None):
        context_shape = context_shape or x_shape
        if self.score == "general":
            self.w = Linear(x_shape[-1], use_bias=False, dtype=self.dtype_policy, name="key")
            self.w.build(context_shape)
        elif x_shape[-1] != context_shape[-1]:
            raise ValueError(
                f'score="{self.score}" needs x and context of one size; got {x_shape[-1]} and {context_shape[-1]}: '
                'use score="general".'
            )
        self.size = x_shape[-1]
        self.build_position(x_shape, 1, self.size)

    def query(self, x, q_pos=None):
        x = x * self.size**-0.5 if self.score == "scaled_dot" else x
        return self.position.rotate(ops.expand_dims(x, 1), q_pos)

    def project(self, context, k_pos=None):
        key = self.w(context) if self.score == "general" else context
        return {"k": self.position.rotate(ops.expand_dims(key, 1), k_pos), "v": ops.expand_dims(context, 1)}

    def scores(self, q, k):
        return dot(q, k)


ATTENTIONS = {"additive": AdditiveAttention, "dot": DotProductAttention, "multi_head": MultiHeadAttention}


def get(attention, kinds=ATTENTIONS, **defaults):
    """An attention layer from its name, or a dict with a name and its options.

    Raises:
        ValueError: for an unknown name.
    """
    options = {"name": attention} if isinstance(attention, str) else dict(attention)
    name = options.pop("name", None)
    if name not in kinds:
        raise ValueError(f"attention must be one of {', '.join(kinds)}; got {name!r}.")
    return kinds[name](**(defaults | options))
