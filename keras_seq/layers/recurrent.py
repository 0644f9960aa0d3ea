"""Recurrent encoder and decoder over SimpleRNN, GRU and LSTM, with any attention or none."""

import keras
from keras import ops

from keras_seq.layers import attention as attentions
from keras_seq.layers import masks
from keras_seq.layers.core import Dropout, Layer, Linear, at_least_one, register
from keras_seq.layers.loops import LSTM
from keras_seq.layers.positions import Position

CELLS = {
    "rnn": (keras.layers.SimpleRNN, ("h",)),
    "gru": (keras.layers.GRU, ("h",)),
    "lstm": (LSTM, ("h", "c")),
}


def recurrent(cell, units, **options):
    """A Keras recurrent layer that returns its sequence and its state."""
    if cell not in CELLS:
        raise ValueError(f"cell must be one of {', '.join(CELLS)}; got {cell!r}.")
    return CELLS[cell][0](units, return_sequences=True, return_state=True, **options)


@register
class RecurrentEncoder(Layer):
    """A stack of recurrent layers over a sequence, forwards or both ways: h_t = cell(x_t, h_{t-1}).

    On a GPU each LSTM and GRU is one cuDNN kernel where there is one, Keras' own or, for an LSTM on jax, ours; masks of
    padding at the end included.

    Args:
        units: U, of each direction.
        num_layers: L.
        cell: "rnn", "gru" or "lstm".
        bidirectional: whether each layer also reads backwards; both outputs are concatenated.
        dropout: rate on the input of each layer.
        residual: whether layers from the second on add their input (of the same size) to their output.

    Call arguments:
        x: (B, S, D); its Keras mask is honoured: padding leaves the state as it is.
        return_state: whether to return the last states too.

    Returns:
        (B, S, U), or (B, S, 2 U) both ways; and the last state of each layer: [{"h", "c"} (B, U or 2 U)].

    Raises:
        ValueError: for an unknown cell.

    Reference: Elman 1990; Hochreiter and Schmidhuber 1997; Cho et al. 2014; both ways: Schuster and Paliwal 1997.

    Example:

    >>> import numpy as np
    >>> from keras_seq import layers
    >>> tuple(layers.RecurrentEncoder(11, cell="gru")(np.ones((2, 5, 3), "float32")).shape)
    (2, 5, 22)
    """

    def __init__(
        self, units, num_layers=1, cell="lstm", bidirectional=True, dropout=0.0, residual=False, **kwargs
    ):  # fmt: skip
        super().__init__(**kwargs)
        at_least_one(num_layers=num_layers)
        self.supports_masking = True
        self.units, self.cell, self.bidirectional, self.residual = units, cell, bidirectional, residual
        dtype = self.dtype_policy
        self.forwards = [recurrent(cell, units, dtype=dtype, name=f"forward_{i}") for i in range(num_layers)]
        self.backwards = [
            recurrent(cell, units, go_backwards=True, dtype=dtype, name=f"backward_{i}")
            for i in range(num_layers if bidirectional else 0)
        ]
        self.dropout = Dropout(dropout, dtype=self.dtype_policy) if dropout else None

    def build(self, x_shape):
        width = x_shape[-1]
        for i, layer in enumerate(self.forwards):
            for each in [layer, *self.backwards[i : i + 1]]:
                each.build((None, None, width))
            width = self.units * (2 if self.bidirectional else 1)

    def call(self, x, return_state=False, x_mask=None, mask=None):
        x_mask, states = masks.of_keras(x_mask, mask), []
        for i, forward in enumerate(self.forwards):
            inputs = x if self.dropout is None else self.dropout(x)
            y, *state = forward(inputs, mask=x_mask)
            if self.bidirectional:
                back, *back_state = self.backwards[i](inputs, mask=x_mask)
                y = ops.concatenate([y, ops.flip(back, axis=1)], axis=-1)
                state = [ops.concatenate(pair, axis=-1) for pair in zip(state, back_state)]
            x = x + y if self.residual and i else y
            states.append(dict(zip(CELLS[self.cell][1], state)))
        return (x, states) if return_state else x

    def start(self, batch):
        """The state before anything was read: [{"h", "c"} (B, U)], zeros."""
        zero = ops.zeros((batch, self.units), dtype=self.compute_dtype)
        return [dict.fromkeys(CELLS[self.cell][1], zero) for _ in self.forwards]

    def step(self, x, state, x_mask=None):
        """Forwards only: go on from a state with x (B, T, D) -> (B, T, U) and the new state."""
        return sweep(self.forwards, CELLS[self.cell][1], x, state, self.dropout, self.residual, x_mask)


@register
class RecurrentDecoder(Layer):
    """A stack of recurrent layers that begins with an encoder's last state and attends to its outputs.

    s_t = cell(x_t, s_{t-1}), c_t = attention(s_t, context), y_t = tanh(W [s_t; c_t]): attention after the loop, for all
    steps at once (Luong). With `feed_context` it is in the loop: s_t = cell([x_t; c_{t-1}], s_{t-1}), c_0 being that of
    the first state (Bahdanau); no cuDNN kernel does this. Without attention the last state is all that the decoder
    knows of the source: the bottleneck that attention was invented for.

    Args:
        units: U.
        num_layers: L, as many as the encoder has.
        cell: "rnn", "gru" or "lstm".
        attention: "additive", "dot" or "scaled_dot" (for a context of U features), "general" (of any), "multi_head",
            {"name", options}, or None.
        dropout: rate on the input of each layer.
        residual: whether layers from the second on add their input to their output.
        feed_context: whether the context found at a step enters the next one.

    Call arguments:
        x: (B, T, D), embedded target.
        context: (B, S, E), the encoder's outputs; its Keras mask is honoured.
        state: [{"h", "c"} (B, E)], the encoder's last states; zeros when left out.
        return_attention_weights: whether to return [(B, N, T, S)] too, an empty list without attention.

    Returns:
        (B, T, U).

    Raises:
        ValueError: for an unknown cell or attention, or one with a position; for `feed_context` without attention, or
            with one that has a dropout of its own, which a loop cannot draw on every backend.

    Reference: Sutskever et al. 2014; Bahdanau et al. 2015; Luong et al. 2015.

    Example:

    >>> import numpy as np
    >>> from keras_seq import layers
    >>> encoder, decoder = layers.RecurrentEncoder(7), layers.RecurrentDecoder(7, attention="additive")
    >>> context, state = encoder(np.ones((2, 5, 3), "float32"), return_state=True)
    >>> tuple(decoder(np.ones((2, 4, 3), "float32"), context, state=state).shape)
    (2, 4, 7)
    """

    def __init__(
        self, units, num_layers=1, cell="lstm", attention="additive", dropout=0.0, residual=False, feed_context=False,
        **kwargs,
    ):  # fmt: skip
        super().__init__(**kwargs)
        at_least_one(num_layers=num_layers)
        self.supports_masking = True
        self.units, self.cell, self.residual, self.feed_context = units, cell, residual, feed_context
        dtype = self.dtype_policy
        self.layers = [recurrent(cell, units, dtype=dtype, name=f"layer_{i}") for i in range(num_layers)]
        self.attention = None if attention in (None, "none") else attentions.get(self.options(attention), dtype=dtype)
        self.dropout = Dropout(dropout, dtype=self.dtype_policy) if dropout else None
        if self.attention is not None and type(self.attention.position) is not Position:
            raise ValueError("the attention of a recurrent decoder knows no positions; make it without one.")
        if feed_context and self.attention is None:
            raise ValueError("feed_context=True needs an attention to find a context with; got attention=None.")
        if feed_context and self.attention.dropout is not None:
            raise ValueError("feed_context=True takes no dropout inside the attention; use the dropout of the decoder.")

    @staticmethod
    def options(attention):
        """A plain name as a name and options; "dot" and "additive" are names already."""
        return {
            "general": {"name": "dot", "score": "general"},
            "scaled_dot": {"name": "dot", "score": "scaled_dot"},
            "multi_head": {"name": "multi_head", "num_heads": 4},
        }.get(attention if isinstance(attention, str) else "", attention)

    def build(self, x_shape, context_shape):
        self.bridges, self.widths = [], [self.units] * len(self.layers)  # widths: of what a step feeds to each layer
        if not isinstance(self.attention, attentions.MultiHeadAttention):
            self.widths[0] = context_shape[-1]
        for i, layer in enumerate(self.layers):
            first = x_shape[-1] + (self.widths[0] if self.feed_context else 0)
            layer.build((None, None, self.units if i else first))
            self.bridges.append([self.linear(f"bridge_{i}_{s}", context_shape) for s in self.parts])
        if self.attention is not None:
            self.attention.build((None, None, self.units), context_shape)
            self.merge = self.linear("merge", (None, None, self.units + self.widths[0]))

    @property
    def parts(self):
        """The names of a state in the order of Keras: never that of a dict, which jax sorts."""
        return CELLS[self.cell][1]

    def linear(self, name, shape):
        layer = Linear(self.units, activation="tanh", dtype=self.dtype_policy, name=name)
        layer.build(shape)
        return layer

    def start(self, context, context_mask=None, length=None, state=None):
        """The projected context, and a first state made of the encoder's last one.

        Args:
            context: (B, S, E).
            context_mask: bool (B, S), False at padding.
            length: unused; Transformers need the size of their cache.
            state: [{"h", "c"} (B, E)], the encoder's last states; zeros when left out.

        Returns:
            memory {"mask", "kv"} ({} without attention) and state [{"h", "c"} (B, U)]; with `feed_context` followed by
            {"context"} (B, E), which is (B, U) for multi-head attention.
        """
        if context_mask is None:
            context_mask = ops.ones(ops.shape(context)[:2], dtype="bool")
        memory = {}
        if self.attention is not None:
            memory = {"mask": context_mask, "kv": self.attention.project(context)}
        if state is None:
            zero = ops.zeros((ops.shape(context)[0], context.shape[-1]), dtype=self.compute_dtype)
            state = [dict.fromkeys(self.parts, zero) for _ in self.layers]
        state = [
            {name: bridge(old[name]) for name, bridge in zip(self.parts, bridges)}
            for old, bridges in zip(state, self.bridges)
        ]
        return memory, [*state, self.found(state, memory)] if self.feed_context else state

    def run(self, x, index, memory, state):
        """`step` with the attention weights of the source, [{"cross"} (B, N, T, S)], as a third result."""
        if self.feed_context:
            x, state = self.loop(x, memory, state)
        else:
            x, state = sweep(self.layers, self.parts, x, state, self.dropout, self.residual)
        if self.attention is None:
            return x, state, []
        context, weights = self.look(x, memory)
        if self.feed_context:
            state = [*state, {"context": context[:, -1]}]
        return self.merge(ops.concatenate([x, context], axis=-1)), state, [{"cross": weights}]

    def look(self, x, memory):
        """What x (B, T, U) finds in the source: contexts (B, T, E) and weights (B, N, T, S)."""
        mask = ops.expand_dims(memory["mask"], (1, 2))
        y, weights = self.attention.attend(self.attention.query(x), memory["kv"], mask)
        return ops.cast(y, self.compute_dtype), weights

    def found(self, state, memory):
        """The part of a state that the other parts look up: {"context"} (B, E)."""
        return {"context": ops.squeeze(self.look(ops.expand_dims(self.top(state), 1), memory)[0], 1)}

    def top(self, state):
        """The output of the stack, which is the state h of its last layer, or of all of them where each adds to it."""
        return sum(part["h"] for part in state) if self.residual else state[-1]["h"]

    def loop(self, x, memory, state):
        """Step by step, all layers at once, each with the context found before it: as `sweep`, in Keras' own loop."""
        noise, x = self.noise(x), x if self.dropout is None else self.dropout(x)
        if x.shape[1] == 1:
            state = self.tick(x[:, 0], state, noise)
            return ops.expand_dims(self.top(state), 1), state

        def once(x, flat):
            state = self.tick(x, self.unflatten(flat), noise)
            return self.top(state), self.flatten([*state, self.found(state, memory)])

        sizes = [self.units] * len(self.layers) * len(self.parts) + self.widths[:1]
        cell = Step(once, self.units, sizes, self.compute_dtype)
        rnn = keras.layers.RNN(cell, return_sequences=True, return_state=True, dtype=self.dtype_policy)
        y, *flat = rnn(x, initial_state=self.flatten(state))
        return y, self.unflatten(flat)[:-1]

    def noise(self, x):
        """Dropout for what a step feeds to each layer, [(B, width)]: drawn before the loop, the same at every step."""
        if self.dropout is None:
            return None
        return [self.dropout(ops.ones((ops.shape(x)[0], width), dtype=self.compute_dtype)) for width in self.widths]

    def tick(self, x, state, noise):
        """One step of every layer: x (B, D) -> the new states of the layers."""
        (*state, fed), states = state, []
        for i, (layer, old) in enumerate(zip(self.layers, state)):
            inputs = x if i else fed["context"]
            inputs = inputs if noise is None else inputs * noise[i]
            inputs = inputs if i else ops.concatenate([x, inputs], axis=-1)
            y, new = layer.cell(inputs, [old[name] for name in self.parts])
            x = x + y if self.residual and i else y
            states.append(dict(zip(self.parts, new)))
        return states

    def flatten(self, state):
        """A state as the flat list that Keras' loop carries."""
        return [part[name] for part in state[:-1] for name in self.parts] + [state[-1]["context"]]

    def unflatten(self, flat):
        n = len(self.parts)
        layers = [dict(zip(self.parts, flat[i : i + n])) for i in range(0, len(flat) - 1, n)]
        return [*layers, {"context": flat[-1]}]

    def step(self, x, index, memory, state):
        """Decode x (B, T, D) -> (B, T, U) and the new state; a recurrent layer needs no index."""
        return self.run(x, index, memory, state)[:2]

    def call(self, x, context, state=None, return_attention_weights=False, context_mask=None):
        x, _, maps = self.run(x, 0, *self.start(context, context_mask, state=state))
        return (x, [weights["cross"] for weights in maps]) if return_attention_weights else x


class Step:
    """A function (x (B, D), states) -> (y (B, U), states) as the cell of a `keras.layers.RNN`: it has no weights."""

    def __init__(self, call, output_size, state_size, compute_dtype):
        self.call, self.output_size, self.state_size, self.compute_dtype = call, output_size, state_size, compute_dtype

    def __call__(self, x, states):
        return self.call(x, states)


def sweep(layers, parts, x, state, dropout=None, residual=False, mask=None):
    """Layer by layer, all steps at once: x (B, T, D) -> (B, T, U) and the new state; where mask is False it stays."""
    states = []
    for i, (layer, old) in enumerate(zip(layers, state)):
        y, new = advance(layer, x if dropout is None else dropout(x), [old[name] for name in parts], mask)
        x = x + y if residual and i else y
        states.append(dict(zip(parts, new)))
    return x, states


def advance(layer, x, state, mask=None):
    """A recurrent layer over x (B, T, D) from a state: outputs (B, T, U) and the new state. One step is one cell."""
    if x.shape[1] == 1 and mask is None:
        y, state = layer.cell(ops.squeeze(x, 1), state)
        return ops.expand_dims(y, 1), state
    y, *state = layer(x, initial_state=state, mask=mask)
    return y, state
