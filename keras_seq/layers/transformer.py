"""Transformer blocks and stacks: one block is encoder and decoder, one call is training and decoding."""

import keras
from keras import ops

from keras_seq import kernels
from keras_seq.layers import attention as attentions
from keras_seq.layers import beams, masks, positions
from keras_seq.layers.attention import MultiHeadAttention, divide
from keras_seq.layers.core import Dropout, Layer, LayerNormalization, Linear, at_least_one, register
from keras_seq.layers.sparse import SELF_ATTENTIONS


@register
class FeedForward(Layer):
    """Two matrices with a bend between them: W2 f(W1 x); for "swiglu" W2 (silu(W1 x) * W3 x).

    (B, T, D) -> (B, T, D).

    Args:
        mlp_dim: F, the width between them.
        activation: "relu", "gelu", "swiglu" or any Keras activation.
        dropout: rate after the activation.

    Reference: Vaswani et al. 2017; swiglu: Shazeer 2020.

    Example:

    >>> import numpy as np
    >>> from keras_seq import layers
    >>> layer = layers.FeedForward(16, "swiglu")
    >>> y = layer(np.ones((2, 5, 8), "float32"))
    >>> [tuple(weight.shape) for weight in layer.weights]
    [(8, 32), (32,), (16, 8), (8,)]
    """

    def __init__(self, mlp_dim, activation="relu", dropout=0.0, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True
        at_least_one(mlp_dim=mlp_dim)
        self.mlp_dim, self.activation = int(mlp_dim), activation
        self.bend = None if activation == "swiglu" else keras.activations.get(activation)
        self.dropout = Dropout(dropout, dtype=self.dtype_policy) if dropout else None

    def build(self, x_shape):
        gated = self.activation == "swiglu"
        self.up = Linear(self.mlp_dim * (2 if gated else 1), self.bend, dtype=self.dtype_policy, name="up")
        self.down = Linear(x_shape[-1], dtype=self.dtype_policy, name="down")
        self.up.build(x_shape)
        self.down.build((None, None, self.mlp_dim))

    def call(self, x):
        x = self.up(x)
        if self.bend is None:
            gate, x = ops.split(x, 2, axis=-1)
            x = ops.silu(gate) * x
        return self.down(x if self.dropout is None else self.dropout(x))


NORMS = {"layer": LayerNormalization, "rms": keras.layers.RMSNormalization}


def normalization(norm, epsilon, dtype):
    """A LayerNorm or RMSNorm through which Keras masks pass; Keras' RMSNorm would drop them with a warning."""
    layer = NORMS[norm](epsilon=epsilon, dtype=dtype)
    layer.supports_masking = True
    return layer


@register
class Block(Layer):
    """Self-attention, attention to a memory if `cross`, feed-forward; each with a residual and a normalisation.

    norm_first: x + f(norm(x)) (easier to train); otherwise norm(x + f(x)), as in the paper.

    Args:
        num_heads: N.
        mlp_dim: F, width inside the feed-forward.
        cross: whether the block also attends to a context.
        head_dim: H; D / N when left out.
        kv_heads: key and value heads of grouped-query attention; N when left out.
        position: a position encoding for the self-attention.
        activation: of the feed-forward.
        norm: "layer" or "rms".
        norm_first: pre- or post-norm.
        dropout: rate on each sublayer's output.
        epsilon: of the normalisation.
        attention: kind of the self-attention, a name or a dict with a name and options: "multi_head",
            {"name": "multi_head", "chunk": 256}, {"name": "local", "window": 128}, ...; see `sparse.SELF_ATTENTIONS`.

    Call arguments:
        x: (B, T, D); its Keras mask is honoured, and that of the context.
        context: (B, S, E), what a cross block also attends to.
        attention_mask: bool (B, T, T) or (b, n, T, T), True = may attend, where the kind of attention takes one.
        causal: whether a token sees itself and what is before it only.
        return_attention_weights: whether to return {"self": (B, N, T, T), "cross": (B, N, T, S)} too.

    Returns:
        (B, T, D).

    Raises:
        ValueError: for an unknown norm; for a context without `cross`, or the other way round.

    Reference: Vaswani et al. 2017; pre-norm: Xiong et al. 2020.

    Example:

    >>> import numpy as np
    >>> from keras_seq import layers
    >>> y, weights = layers.Block(4, 16)(np.ones((2, 5, 8), "float32"), return_attention_weights=True)
    >>> tuple(y.shape), tuple(weights["self"].shape)
    ((2, 5, 8), (2, 4, 5, 5))
    """

    def __init__(
        self, num_heads, mlp_dim, cross=False, head_dim=None, kv_heads=None, position=None,
        activation="relu", norm="layer", norm_first=True, dropout=0.0, epsilon=1e-6, attention="multi_head", **kwargs,
    ):  # fmt: skip
        super().__init__(**kwargs)
        if norm not in NORMS:
            raise ValueError(f"norm must be one of {', '.join(NORMS)}; got {norm!r}.")
        self.supports_masking = True
        self.norm_first = norm_first
        dtype = self.dtype_policy
        self.self_attention = attentions.get(
            attention, SELF_ATTENTIONS, num_heads=num_heads, head_dim=head_dim, kv_heads=kv_heads, position=position,
            dtype=dtype,
        )  # fmt: skip
        self.cross_attention = MultiHeadAttention(num_heads, head_dim, kv_heads, dtype=dtype) if cross else None
        self.feed_forward = FeedForward(mlp_dim, activation, dtype=dtype)
        self.norms = [normalization(norm, epsilon, dtype) for _ in range(3 if cross else 2)]
        self.dropouts = [Dropout(dropout, dtype=dtype) for _ in self.norms] if dropout else None

    def build(self, x_shape, context_shape=None):
        self.self_attention.build(x_shape)
        if self.cross_attention is not None:
            self.cross_attention.build(x_shape, context_shape or x_shape)
        for layer in [self.feed_forward, *self.norms]:
            layer.build(x_shape)

    def call(
        self, x, context=None, attention_mask=None, causal=False, return_attention_weights=False,
        x_mask=None, context_mask=None, mask=None,
    ):  # fmt: skip
        if (context is None) != (self.cross_attention is None):
            raise ValueError("a block takes a context if it was made with cross=True, and only then.")
        pos, key_mask = masks.positions(ops.shape(x)[1]), masks.of_keras(x_mask, mask)
        sees = self.self_attention.make_mask(
            pos, pos, key_mask, causal, attention_mask, dense=return_attention_weights
        )  # fmt: skip
        memory = None if context is None else self.cross_attention.project(context)
        memory_mask = None if context_mask is None else ops.expand_dims(ops.cast(context_mask, "bool"), (1, 2))
        x, _, weights = self.run(x, sees, memory, memory_mask, pos, pos)
        return (x, weights) if return_attention_weights else x

    def run(self, x, sees, memory=None, memory_mask=None, q_pos=None, k_pos=None, state=None, index=None):
        """What a stack does with its blocks.

        Args:
            x: (B, T, D).
            sees: what `self_attention.make_mask` makes.
            memory: {"k", "v"} (B, N, S, H), a context projected by `cross_attention.project`.
            memory_mask: bool, broadcastable to (B, N, T, S), for the context.
            q_pos, k_pos: int32 (b, T), (b, S), positions of queries and keys of the self-attention.
            state: {"k", "v"} (B, M, L, H), keys and values so far, M = kv_heads; new ones go to `index`.
            index: position of x[:, 0] in the state.

        Returns:
            x (B, T, D), the new state (without one keys and values of x alone), and the weights {"self", "cross"}.
        """
        weights = {}

        def self_attention(x):
            nonlocal state
            q, kv = self.self_attention.heads(x, q_pos)
            state = kv if state is None else write(state, kv, index)
            y, weights["self"] = self.self_attention.attend(q, state, sees, q_pos, k_pos)
            return y

        def cross_attention(x):
            q = self.cross_attention.query(x)
            y, weights["cross"] = self.cross_attention.attend(q, memory, memory_mask)
            return y

        x = self.residual(0, x, self_attention)
        if self.cross_attention is not None:
            x = self.residual(1, x, cross_attention)
        return self.residual(-1, x, self.feed_forward), state, weights

    def residual(self, i, x, f):
        """x + f(norm(x)), or norm(x + f(x)), with dropout on f."""
        y = f(self.norms[i](x) if self.norm_first else x)
        x = x + (y if self.dropouts is None else self.dropouts[i](y))
        return x if self.norm_first else self.norms[i](x)


def write(cache, new, index):
    """Keys and values (B, N, T, H) of new positions written into a cache at `index`, whose keys may be turned."""

    def put(name, x, place):
        old, x = cache[name], ops.cast(x, cache[name].dtype)
        if old.shape[0] == 1 and kernels.in_xla():  # which writes in place where there is no axis of one row
            return ops.expand_dims(ops.slice_update(old[0], place[1:], x[0]), 0)
        return ops.slice_update(old, place, x)

    if "turned" in cache:  # (B, N, H, L)
        keys = {"turned": put("turned", ops.swapaxes(new["k"], 2, 3), (0, 0, 0, index))}
    else:
        keys = {"k": put("k", new["k"], (0, 0, index, 0))}
    return {**keys, "v": put("v", new["v"], (0, 0, index, 0))}


class Stack(Layer):
    """What encoder and decoder share: a position encoding, blocks, and a last normalisation where blocks norm first."""

    def __init__(
        self, num_layers, num_heads, mlp_dim, position="sinusoidal", max_length=512, head_dim=None, kv_heads=None,
        activation="relu", norm="layer", norm_first=True, dropout=0.0, epsilon=1e-6, attention="multi_head", **kwargs,
    ):  # fmt: skip
        super().__init__(**kwargs)
        at_least_one(num_layers=num_layers)
        self.supports_masking = True
        self.num_heads, self.kv_heads, self.head_dim = num_heads, kv_heads or num_heads, head_dim
        self.position = positions.get(position, max_length=max_length, bidirectional=not self.is_decoder)
        self.dropout = Dropout(dropout, dtype=self.dtype_policy) if dropout else None
        self.blocks = [
            Block(
                num_heads, mlp_dim, self.is_decoder, head_dim, kv_heads, self.position, activation,
                norm, norm_first, dropout, epsilon, attention, dtype=self.dtype_policy, name=f"block_{i}",
            )
            for i in range(num_layers)
        ]  # fmt: skip
        self.norm = normalization(norm, epsilon, self.dtype_policy) if norm_first else None

    is_decoder = False

    def build(self, x_shape, context_shape=None):
        self.size = self.head_dim or divide(x_shape[-1], self.num_heads)
        if not self.position.built:  # one may be given to several
            self.position.build(x_shape, num_heads=self.num_heads, head_dim=self.size)
        for block in self.blocks:
            block.build(x_shape, context_shape)
        if self.norm is not None:
            self.norm.build(x_shape)

    def make_mask(self, *args, **options):
        """The mask of the self-attention, made once for all blocks."""
        return self.blocks[0].self_attention.make_mask(*args, **options)

    def check_length(self, length):
        limit = getattr(self.position, "max_length", None)
        if limit is not None and length is not None and length > limit:
            raise ValueError(f"learned positions end at {limit}, got length {length}; train with a larger max_length.")

    def cache(self, batch, length):
        """Room for the keys and values of `length` tokens, {"k", "v"} (B, M, L, H) for each block; None for none."""
        if length is None:
            return [None] * len(self.blocks)
        empty = ops.zeros((batch, self.kv_heads, length, self.size), dtype=self.compute_dtype)
        return [{"k": empty, "v": empty} for _ in self.blocks]

    def enter(self, x, pos):
        """Add positions to embeddings (B, T, D)."""
        x = self.position.add(ops.cast(x, self.compute_dtype), pos)
        return x if self.dropout is None else self.dropout(x)

    def leave(self, x):
        return x if self.norm is None else self.norm(x)


@register
class TransformerEncoder(Stack):
    """A position encoding and L blocks in which every token sees every other: (B, T, D) -> (B, T, D).

    Args:
        num_layers: L.
        num_heads, mlp_dim, head_dim, kv_heads, activation, norm, norm_first, dropout, epsilon, attention: see `Block`.
        position: a name or a dict, see `positions.get`.
        max_length: of the learned positions.

    Call arguments:
        x: (B, T, D); its Keras mask is honoured.
        attention_mask: bool (B, T, S) or (b, n, T, S), True = may attend.
        causal: whether a token sees itself and what is before it only.
        return_attention_weights: whether to return the weights (B, N, T, T) of each layer too, as a list.

    Reference: Vaswani et al. 2017.

    Example:

    >>> import keras
    >>> from keras_seq import layers
    >>> tokens = keras.Input((None,), dtype="int32")
    >>> x = layers.TokenEmbedding(1000, 64)(tokens)
    >>> x = layers.TransformerEncoder(2, num_heads=4, mlp_dim=128, position="rotary")(x)
    >>> keras.Model(tokens, keras.layers.Dense(5)(x)).output_shape
    (None, None, 5)
    """

    def build(self, x_shape):
        super().build(x_shape)

    def call(self, x, attention_mask=None, causal=False, return_attention_weights=False, x_mask=None, mask=None):
        pos = masks.positions(ops.shape(x)[1])
        key_mask = masks.of_keras(x_mask, mask)
        sees = self.make_mask(pos, pos, key_mask, causal, attention_mask, dense=return_attention_weights)
        x, maps = self.enter(x, pos), []
        for block in self.blocks:
            x, _, weights = block.run(x, sees, q_pos=pos, k_pos=pos)
            maps.append(weights["self"])
        x = self.leave(x)
        return (x, maps) if return_attention_weights else x


@register
class TransformerDecoder(Stack):
    """L causal blocks that also attend to a context; one call for a whole target, or `start` and `step` for decoding.

    Args: as `TransformerEncoder`.

    Call arguments:
        x: (B, T, D), embedded target.
        context: (B, S, E); its Keras mask is honoured.
        return_attention_weights: whether to return the cross-attention weights (B, N, T, S) of each layer too.

    Example:

    >>> import numpy as np
    >>> from keras_seq import layers
    >>> decoder = layers.TransformerDecoder(2, num_heads=4, mlp_dim=16)
    >>> tuple(decoder(np.ones((2, 5, 8), "float32"), np.ones((2, 7, 8), "float32")).shape)
    (2, 5, 8)
    """

    is_decoder = True

    def start(self, context, context_mask=None, length=None, state=None):
        """What all steps need: the projected context, and an empty cache.

        Args:
            context: (B, S, E).
            context_mask: bool (B, S), False at padding.
            length: size of the cache, L; None for teacher forcing, which needs none.
            state: final states of an encoder; unused, recurrent decoders begin with it.

        Returns:
            memory {"mask", "kv": [{"k", "v"} (B, M, S, H)]} and state [{"k", "v"} (B, M, L, H)], one entry a layer.
        """
        if context_mask is None:
            context_mask = ops.ones(ops.shape(context)[:2], dtype="bool")
        memory = {"mask": context_mask, "kv": [block.cross_attention.project(context) for block in self.blocks]}
        self.check_length(length)
        return memory, self.cache(ops.shape(context)[0], length)

    def run(self, x, index, memory, state, past=None):
        """`step` with the attention weights {"self", "cross"} of each layer as a third result; `past`: see `beams`."""
        size = None if state[0] is None else state[0]["v"].shape[2]
        q_pos, k_pos, place, mask = beams.places(ops.shape(x)[1], index, size, past)
        sees = self.make_mask(q_pos, k_pos, causal=True, attention_mask=mask, dense=state[0] is not None)
        memory_mask = ops.expand_dims(memory["mask"], (1, 2))
        x, states, maps = self.enter(x, q_pos), [], []
        for block, kv, old in zip(self.blocks, memory["kv"], state):
            x, new, weights = block.run(x, sees, kv, memory_mask, q_pos, k_pos, old, place)
            states.append(new)
            maps.append(weights)
        return self.leave(x), states, maps

    def step(self, x, index, memory, state):
        """Decode x (B, T, D) at positions index .. index+T-1 -> (B, T, D) and the new state."""
        if isinstance(state, list):
            return self.run(x, index, memory, state)[:2]
        return beams.step(lambda x, kv, past: self.run(x, index, memory, kv, past)[:2], x, index, state)

    def call(self, x, context, return_attention_weights=False, context_mask=None):
        x, _, maps = self.run(x, 0, *self.start(context, context_mask))
        return (x, [weights["cross"] for weights in maps]) if return_attention_weights else x
