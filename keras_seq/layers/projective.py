"""Projective attention: what attention costs is cut by learned projections, of the sequence or of the features."""

import keras
from keras import ops

from keras_seq.layers.attention import MultiHeadAttention, Rule, rule_only
from keras_seq.layers.chunked import has_bias
from keras_seq.layers.core import at_least_one, dot, longer, not_symbolic, register


@register
class ProjectiveAttention(MultiHeadAttention):
    """Multi-head attention after a projection of the keys and values along S, of queries and keys along H, or of both.

    Of the sequence (Linformer): softmax(Q (E^T K)^T / sqrt(H)) (F^T V) with E, F (max_length, slots), shared by the
    heads: S keys become `slots` mixtures of keys, so that memory is O(T slots). Masked keys are zero in every mixture.
    A mixture holds the whole sequence, the future too: there is no causal form.

    Of the features: softmax(Q A (K B)^T / sqrt(features)) V with A, B (H, features) for each head: scores cost less,
    and everything else is full attention.

    Args:
        num_heads: N.
        slots: into how many the sequence is projected; None leaves it.
        max_length: of the sequence, needed with slots; on torch see `Learned`.
        features: into how many dimensions query and key heads are projected; None leaves them.
        head_dim, kv_heads, position, dropout, use_bias: see `MultiHeadAttention`.

    Returns:
        As `Attention`; with slots the weights are (B, N, T, slots).

    Raises:
        ValueError: for neither slots nor features; with slots, for causal=True, an attention_mask, a position that acts
            on the scores (a slot has no position), or a sequence longer than max_length.

    Reference: Wang et al. 2020.

    Example:

    >>> import numpy as np
    >>> from keras_seq import layers
    >>> layer = layers.ProjectiveAttention(2, slots=3, max_length=11)
    >>> y, weights = layer(np.ones((1, 7, 8), "float32"), return_attention_weights=True)
    >>> tuple(y.shape), tuple(weights.shape)
    ((1, 7, 8), (1, 2, 7, 3))
    """

    def __init__(self, num_heads, slots=None, max_length=None, features=None, **kwargs):
        super().__init__(num_heads, **kwargs)
        at_least_one(slots=slots, max_length=max_length, features=features)
        self.slots, self.max_length, self.features = slots, max_length, features
        if slots is None and features is None:
            raise ValueError("ProjectiveAttention needs slots and max_length, or features; got neither.")
        if slots is not None and max_length is None:
            raise ValueError("slots need max_length, the longest sequence that will come; got None.")
        if slots is not None and has_bias(self.position):
            kind = type(self.position).__name__
            raise ValueError(f"a slot has no position, so {kind} cannot act on its scores; use another position.")
        if self.chunk is not None:
            raise ValueError("chunk is for full attention; projective attention has no need of it: leave it out.")

    def build(self, x_shape, context_shape=None):
        super().build(x_shape, context_shape)
        if self.slots is not None:
            shape = (self.max_length, self.slots)
            self.of_keys, self.of_values = self.matrix("of_keys", shape), self.matrix("of_values", shape)
        if self.features is not None:
            shape = (self.num_heads, self.size, self.features)
            self.query_features = self.matrix("query_features", shape)
            self.key_features = self.matrix("key_features", shape)

    def matrix(self, name, shape):
        """A projection that keeps the size of what it projects."""
        start = keras.initializers.RandomNormal(stddev=shape[-2] ** -0.5)
        return self.add_weight(name=name, shape=shape, initializer=start)

    def make_mask(self, q_pos, k_pos, key_mask=None, causal=False, attention_mask=None, dense=False):
        if self.slots is None:
            return super().make_mask(q_pos, k_pos, key_mask, causal, attention_mask, dense)
        rule_only(attention_mask, "ProjectiveAttention with slots")
        if causal:
            raise ValueError(
                "ProjectiveAttention with slots cannot be causal: each slot mixes all positions, the future too; "
                "use features, LocalAttention or MultiHeadAttention(chunk=...) in a decoder."
            )
        return Rule(key_mask)

    def attend(self, q, kv, attention_mask=None, q_pos=None, k_pos=None):
        if self.slots is None:
            return super().attend(q, kv, attention_mask, q_pos, k_pos)
        rule = Rule() if attention_mask is None else attention_mask
        if not isinstance(rule, Rule):
            rule_only(rule, "ProjectiveAttention with slots")
        short = {"k": self.shorten(kv["k"], self.of_keys, rule), "v": self.shorten(kv["v"], self.of_values, rule)}
        return super().attend(q, short)

    def shorten(self, heads, matrix, rule):
        """(B, M, S, H) -> (B, M, slots, H), without masked keys."""
        not_symbolic(self, heads)
        if longer(heads, 2, self.max_length):
            raise ValueError(f"slots were made for {self.max_length} tokens, got {heads.shape[2]}; raise max_length.")
        if rule.key_mask is not None:
            heads = ops.where(ops.cast(rule.key_mask, "bool")[:, None, :, None], heads, ops.zeros((), heads.dtype))
        matrix = ops.take(ops.cast(matrix, heads.dtype), ops.arange(ops.shape(heads)[2], dtype="int32"), axis=0)
        return ops.einsum("bmsh,sr->bmrh", heads, matrix)

    def scores(self, q, k):
        if self.features is None:
            return super().scores(q, k)
        not_symbolic(self, q, k)
        scale = (self.size / self.features) ** 0.5  # queries come divided by sqrt(H)
        a, b = (ops.cast(w, q.dtype) for w in (self.query_features, self.key_features))
        return dot(ops.matmul(q * scale, a), ops.matmul(k, b))
