"""Recurrent encoder and decoder over SimpleRNN, GRU and LSTM, with any attention or none."""

import keras
from keras import ops

from keras_seq.layers import attention as attentions
from keras_seq.layers import masks
from keras_seq.layers.core import Linear, register

CELLS = {
    "rnn": (keras.layers.SimpleRNN, ("h",)),
    "gru": (keras.layers.GRU, ("h",)),
    "lstm": (keras.layers.LSTM, ("h", "c")),
}


def recurrent(cell, units, **options):
    """A Keras recurrent layer that returns its sequence and its state."""
    if cell not in CELLS:
        raise ValueError(f"cell must be one of {', '.join(CELLS)}; got {cell!r}.")
    return CELLS[cell][0](units, return_sequences=True, return_state=True, **options)


@register
class RecurrentEncoder(keras.layers.Layer):
    """A stack of recurrent layers over a sequence, forwards or both ways.

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

    Reference: Hochreiter and Schmidhuber 1997; Cho et al. 2014; both ways: Schuster and Paliwal 1997.

    Example:

    >>> import numpy as np
    >>> from keras_seq import layers
    >>> layers.RecurrentEncoder(11, cell="gru")(np.ones((2, 5, 3), "float32")).shape
    (2, 5, 22)
    """

    def __init__(
        self, units, num_layers=1, cell="lstm", bidirectional=True, dropout=0.0, residual=False, **kwargs
    ):  # fmt: skip
        super().__init__(**kwargs)
        self.supports_masking = True
        self.units, self.cell, self.bidirectional, self.residual = units, cell, bidirectional, residual
        self.forwards = [recurrent(cell, units, name=f"forward_{i}") for i in range(num_layers)]
        self.backwards = [
            recurrent(cell, units, go_backwards=True, name=f"backward_{i}") for i in range(num_layers if bidirectional else 0)
        ]
        self.dropout = keras.layers.Dropout(dropout) if dropout else None

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


@register
class RecurrentDecoder(keras.layers.Layer):
    """A stack of recurrent layers that begins with an encoder's last state and attends to its outputs.

    With attention, each output h becomes tanh(W [h; attention(h, context)]), computed for all steps at once. Without,
    the last state is all that the decoder knows of the source: the bottleneck that attention was invented for.

    Args:
        units: U.
        num_layers: L, as many as the encoder has.
        cell: "rnn", "gru" or "lstm".
        attention: "additive", "dot", "multi_head", a dict with a name and options, or None.
        dropout: rate on the input of each layer.
        residual: whether layers from the second on add their input to their output.

    Call arguments:
        x: (B, T, D), embedded target.
        context: (B, S, E), the encoder's outputs; its Keras mask is honoured.
        state: [{"h", "c"} (B, E)], the encoder's last states; zeros when left out.

    Returns:
        (B, T, U).

    Reference: Sutskever et al. 2014; Bahdanau et al. 2015; Luong et al. 2015.

    Example:

    >>> import numpy as np
    >>> from keras_seq import layers
    >>> encoder, decoder = layers.RecurrentEncoder(7), layers.RecurrentDecoder(7, attention="additive")
    >>> context, state = encoder(np.ones((2, 5, 3), "float32"), return_state=True)
    >>> decoder(np.ones((2, 4, 3), "float32"), context, state=state).shape
    (2, 4, 7)
    """

    def __init__(
        self, units, num_layers=1, cell="lstm", attention="additive", dropout=0.0, residual=False, **kwargs
    ):  # fmt: skip
        super().__init__(**kwargs)
        self.units, self.cell, self.residual = units, cell, residual
        self.layers = [recurrent(cell, units, name=f"layer_{i}") for i in range(num_layers)]
        self.attention = None if attention in (None, "none") else attentions.get(self.options(attention))
        self.dropout = keras.layers.Dropout(dropout) if dropout else None

    @staticmethod
    def options(attention):
        """A plain name with what suits a decoder: a dot product with a matrix, because the context may be wider."""
        return {"dot": {"name": "dot", "score": "general"}, "multi_head": {"name": "multi_head", "num_heads": 4}}.get(
            attention if isinstance(attention, str) else "", attention
        )

    def build(self, x_shape, context_shape):
        self.bridges = []
        for i, layer in enumerate(self.layers):
            layer.build((None, None, self.units if i else x_shape[-1]))
            self.bridges.append([self.linear(f"bridge_{i}_{s}", context_shape) for s in CELLS[self.cell][1]])
        if self.attention is not None:
            y_shape = (None, None, self.units)
            self.attention.build(y_shape, context_shape)
            width = self.units if isinstance(self.attention, attentions.MultiHeadAttention) else context_shape[-1]
            self.merge = self.linear("merge", (None, None, self.units + width))

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
            memory {"mask", "kv"} ({} without attention) and state [{"h", "c"} (B, U)].
        """
        if context_mask is None:
            context_mask = ops.ones(ops.shape(context)[:2], dtype="bool")
        memory = {}
        if self.attention is not None:
            memory = {"mask": context_mask, "kv": self.attention.project(context)}
        if state is None:
            zero = ops.zeros((ops.shape(context)[0], context.shape[-1]), dtype=self.compute_dtype)
            state = [dict.fromkeys(CELLS[self.cell][1], zero) for _ in self.layers]
        return memory, [
            {name: bridge(old[name]) for name, bridge in zip(old, bridges)} for old, bridges in zip(state, self.bridges)
        ]

    def run(self, x, index, memory, state):
        """`step` with the attention weights of the source, [{"cross"} (B, N, T, S)], as a third result."""
        states = []
        for i, (layer, old) in enumerate(zip(self.layers, state)):
            inputs = x if self.dropout is None else self.dropout(x)
            y, new = advance(layer, inputs, list(old.values()))
            x = x + y if self.residual and i else y
            states.append(dict(zip(old, new)))
        if self.attention is None:
            return x, states, []
        mask = ops.expand_dims(memory["mask"], (1, 2))
        y, weights = self.attention.attend(self.attention.query(x), memory["kv"], mask)
        return self.merge(ops.concatenate([x, y], axis=-1)), states, [{"cross": weights}]

    def step(self, x, index, memory, state):
        """Decode x (B, T, D) -> (B, T, U) and the new state; a recurrent layer needs no index."""
        return self.run(x, index, memory, state)[:2]

    def call(self, x, context, state=None, return_attention_weights=False, context_mask=None):
        x, _, maps = self.run(x, 0, *self.start(context, context_mask, state=state))
        return (x, [weights["cross"] for weights in maps]) if return_attention_weights else x


def advance(layer, x, state):
    """A recurrent layer over x (B, T, D) from a state: outputs (B, T, U) and the new state. One step is one cell."""
    if x.shape[1] == 1:
        y, state = layer.cell(ops.squeeze(x, 1), state)
        return ops.expand_dims(y, 1), state
    y, *state = layer(x, initial_state=state)
    return y, state
