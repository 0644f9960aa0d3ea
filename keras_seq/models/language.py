"""Language models: what stands before is read at once, what follows is written step by step.

    start({"prompt": ...}, length)          -> memory, state    the prompt in one call
    step(tokens, index, memory, state)      -> logits, state    index counts from the end of the prompt
    call({"target": ...})                   teacher forcing, with a prompt before it or without one
"""

from keras import ops

from keras_seq.layers import beams, masks
from keras_seq.layers.core import Dropout, Linear, register
from keras_seq.layers.embeddings import TokenEmbedding
from keras_seq.layers.recurrent import RecurrentEncoder
from keras_seq.layers.transformer import TransformerEncoder
from keras_seq.models.seq2seq import Writer


class LanguageModel(Writer):
    """What both families share. A family makes `over`, a stack over time, `empty`, `prefill` and `run`.

    Prompts of several lengths stand in one batch, with PAD after the end of each. The last token of a prompt is the
    first that `step` is given, as BOS is where there is no prompt: it is `memory["first"]`.

    Call arguments:
        inputs: {"target": int32 (B, T)}, and maybe "prompt": int32 (B, S), of at least one token each.

    Returns:
        logits (B, T, V): of what follows each token of the target.
    """

    def __init__(self, vocab_size, dim, dropout, **kwargs):
        super().__init__(**kwargs)
        self.dim = dim
        self.target_embedding = TokenEmbedding(vocab_size, dim, pad=None, dtype=self.dtype_policy, name="embedding")
        self.dropout = Dropout(dropout, dtype=self.dtype_policy)

    def build(self, input_shape=None):
        self.target_embedding.build()
        self.over.build((None, None, self.dim))

    def start(self, inputs, length=None):
        """Read the prompt, all but its last token.

        Args:
            inputs: {"prompt": int32 (B, S)}; without a prompt {"target": int32 (B, T)}, for its batch size.
            length: how many tokens will be written at most; None for teacher forcing.

        Returns:
            memory {"first": int32 (B, 1), "read": bool (B, S)}, {} without a prompt, and a state, for `step`.
        """
        prompt = inputs.get("prompt")
        if prompt is None:
            return {}, self.empty(ops.shape(inputs["target"])[0], length)
        prompt, pos = ops.cast(prompt, "int32"), masks.positions(ops.shape(prompt)[1])
        last = ops.sum(ops.cast(masks.padding_mask(prompt), "int32"), axis=1, keepdims=True) - 1  # (B, 1)
        read = pos < last
        first = ops.sum(ops.where(ops.equal(pos, last), prompt, 0), axis=1, keepdims=True)
        length = ops.shape(inputs["target"])[1] if length is None else length
        return {"first": first, "read": read}, self.prefill(self.target_embedding(prompt), read, length)

    def step(self, tokens, index, memory, state):
        x, state = self.run(self.target_embedding(tokens), index, memory, state)
        return self.logits(x), state

    def empty(self, batch, length):
        """The state before anything was read."""
        raise NotImplementedError

    def prefill(self, x, read, length):
        """The state after x (B, S, D) where `read` (B, S), with room for `length` more."""
        raise NotImplementedError

    def run(self, x, index, memory, state):
        """The stack over time: x (B, T, D) at index .. index+T-1 after the prompt -> (B, T, E) and the new state."""
        raise NotImplementedError

    def vectors(self, x):
        return self.dropout(x)

    def attention_weights(self, inputs):
        """None: there is no source to look at."""
        return None


@register
class TransformerLanguageModel(LanguageModel):
    """A Transformer in which every token sees itself and those before it.

    Args:
        vocab_size: V.
        dim: D.
        num_heads: N.
        num_layers: L.
        mlp_dim: F.
        position: sinusoidal, learned, rotary, relative, relative_bias or alibi.
        dropout: rate.
        activation: of the feed-forward.
        norm: "layer" or "rms".
        norm_first: pre- or post-norm.
        max_length: of learned positions.
        attention: kind of the self-attention, see `layers.Block`.

    Reference: Radford et al. 2019 (GPT-2); rotary positions: Su et al. 2021.

    Example:

    >>> import numpy as np
    >>> from keras_seq import generate, models
    >>> model = models.TransformerLanguageModel(vocab_size=23, dim=8, num_heads=2, num_layers=1, mlp_dim=16)
    >>> tuple(model({"target": np.ones((2, 5), "int32")}).shape)
    (2, 5, 23)
    >>> tokens, _ = generate(model, {"prompt": np.array([[5, 6, 7], [8, 9, 0]], "int32")}, max_length=4)
    >>> tuple(tokens.shape)
    (2, 1, 4)
    """

    side_by_side = True

    def __init__(
        self, vocab_size, dim=256, num_heads=4, num_layers=4, mlp_dim=1024, position="rotary", dropout=0.1,
        activation="gelu", norm="layer", norm_first=True, max_length=512, attention="multi_head", **kwargs,
    ):  # fmt: skip
        super().__init__(vocab_size, dim, dropout, **kwargs)
        stack = {
            "num_layers": num_layers, "num_heads": num_heads, "mlp_dim": mlp_dim, "position": position,
            "dropout": dropout, "activation": activation, "norm": norm, "norm_first": norm_first,
            "max_length": max_length, "attention": attention,
        }  # fmt: skip
        self.options = {"vocab_size": vocab_size, "dim": dim, **stack}
        self.over = TransformerEncoder(**stack, dtype=self.dtype_policy, name="over")
        self.build()

    def empty(self, batch, length):
        self.over.check_length(length)
        return self.over.cache(batch, length)

    def prefill(self, x, read, length):
        pos = masks.positions(ops.shape(x)[1])
        self.over.check_length(x.shape[1] + length if isinstance(x.shape[1], int) else length)
        _, state = self.through(x, pos, pos, read, [None] * len(self.over.blocks))
        return [beams.grown(kv, length) for kv in state]

    def run(self, x, index, memory, state):
        if not isinstance(state, list):  # beams
            return beams.step(lambda x, kv, past: self.written(x, index, memory, kv, past), x, index, state)
        if state[0] is None:
            pos = masks.positions(ops.shape(x)[1], index)
            return self.through(x, pos, pos, None, state)
        return self.written(x, index, memory, state)

    def written(self, x, index, memory, state, past=None):
        """x (B, T, D) of tokens that follow what is in the caches, or that stand side by side: see `beams`.

        What is written stands after the longest prompt of the batch, and counts on from the end of its own.
        """
        length, size = ops.shape(x)[1], ops.shape(state[0]["v"])[2]
        if "read" not in memory:
            q_pos, k_pos, place, sees = beams.places(length, index, size, past)
            return self.through(x, q_pos, k_pos, None, state, place, sees)
        read = memory["read"]  # (B, S)
        batch, before = ops.shape(read)
        q_pos, k_pos, place, sees = beams.places(length, index, size - before, past)
        ends = ops.sum(ops.cast(read, "int32"), axis=1, keepdims=True)  # (B, 1)
        prompt = ops.broadcast_to(masks.positions(before), (batch, before))
        k_pos = ops.concatenate([prompt, ends + k_pos], axis=1)
        known = ops.concatenate([read, ops.ones((batch, size - before), dtype="bool")], axis=1)
        if sees is not None:
            sees = ops.concatenate([ops.ones((batch, length, before), dtype="bool"), sees], axis=2)
        return self.through(x, ends + q_pos, k_pos, known, state, before + place, sees)

    def through(self, x, q_pos, k_pos, known, state, index=None, mask=None):
        """All blocks: x (B, T, D) -> (B, T, D), and of each block {"k", "v"}."""
        sees = self.over.make_mask(q_pos, k_pos, known, causal=True, attention_mask=mask, dense=index is not None)
        x, states = self.over.enter(x, q_pos), []
        for block, old in zip(self.over.blocks, state):
            x, new, _ = block.run(x, sees, q_pos=q_pos, k_pos=k_pos, state=old, index=index)
            states.append(new)
        return self.over.leave(x), states


@register
class RecurrentLanguageModel(LanguageModel):
    """A recurrent stack: all that it knows of what stands before is its state.

    Args:
        vocab_size: V.
        dim: D, size of the embeddings.
        units: U.
        num_layers: L.
        cell: rnn, gru or lstm.
        dropout: rate.
        residual: whether layers from the second on add their input to their output.

    Reference: Mikolov et al. 2010; LSTM: Sundermeyer et al. 2012; tied embeddings: Press and Wolf 2017.

    Example:

    >>> import numpy as np
    >>> from keras_seq import models
    >>> model = models.RecurrentLanguageModel(vocab_size=23, dim=8, units=12)
    >>> tuple(model({"target": np.ones((2, 5), "int32")}).shape)
    (2, 5, 23)
    """

    def __init__(
        self, vocab_size, dim=256, units=512, num_layers=2, cell="lstm", dropout=0.1, residual=False, **kwargs
    ):  # fmt: skip
        super().__init__(vocab_size, dim, dropout, **kwargs)
        stack = {"units": units, "num_layers": num_layers, "cell": cell, "dropout": dropout, "residual": residual}
        self.options = {"vocab_size": vocab_size, "dim": dim, **stack}
        self.over = RecurrentEncoder(**stack, bidirectional=False, dtype=self.dtype_policy, name="over")
        self.to_embedding = Linear(dim, dtype=self.dtype_policy, name="to_embedding") if units != dim else None
        self.build()

    def build(self, input_shape=None):
        super().build(input_shape)
        if self.to_embedding is not None:
            self.to_embedding.build((None, None, self.over.units))

    def empty(self, batch, length):
        return self.over.start(batch)

    def prefill(self, x, read, length):
        return self.over.step(x, self.over.start(ops.shape(x)[0]), x_mask=read)[1]

    def run(self, x, index, memory, state):
        return self.over.step(x, state)

    def vectors(self, x):
        return super().vectors(x if self.to_embedding is None else self.to_embedding(x))
