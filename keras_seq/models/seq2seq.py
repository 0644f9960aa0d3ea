"""Sequence to sequence: a source is read once, a target is written step by step.

    start(inputs) -> memory, state          the encoder once; keys and values of the memory once
    step(tokens, index, memory, state)      -> logits, state, for any number of tokens
    call(inputs) = step(target, 0, *start)  teacher forcing is one long step
"""

from keras import ops

from keras_seq.layers import masks
from keras_seq.layers.core import Dropout, Linear, register
from keras_seq.layers.embeddings import TokenEmbedding
from keras_seq.layers.recurrent import RecurrentDecoder, RecurrentEncoder
from keras_seq.layers.transformer import TransformerDecoder, TransformerEncoder
from keras_seq.models.base import Configured


class Writer(Configured):
    """What all models share that read something once and write tokens step by step.

    Each makes `decoder`, `target_embedding`, `options` (its arguments) and `read`.
    """

    side_by_side = False  # whether beams are tokens side by side to it, see `layers.beams`, and not rows

    def read(self, inputs):
        """What the encoder makes of inputs: context (B, S, E), its mask or None, and a first state or None."""
        raise NotImplementedError

    def start(self, inputs, length=None):
        """Read the source once.

        Args:
            inputs: a dict, for example {"source": int32 (B, S)}.
            length: how many tokens will be written at most; None for teacher forcing.

        Returns:
            memory and state, nests of tensors for `step`.
        """
        context, mask, state = self.read(inputs)
        return self.decoder.start(context, mask, length, state)

    def step(self, tokens, index, memory, state):
        """tokens int32 (B, T) at positions index .. index+T-1 -> logits (B, T, V) and the new state."""
        x, state = self.decoder.step(self.target_embedding(tokens), index, memory, state)
        return self.logits(x), state

    def logits(self, x):
        """Decoder outputs (B, T, U) -> (B, T, V)."""
        return self.target_embedding.logits(self.vectors(x))

    def vectors(self, x):
        """Decoder outputs (B, T, U) -> (B, T, D), to be compared with the vectors of all tokens."""
        return x

    def call(self, inputs, training=None):  # not named, `fit` would not say that it trains, and nothing drop out
        return self.step(inputs["target"], 0, *self.start(inputs))[0]

    def attention_weights(self, inputs):
        """How the last layer attends to the source: float32 (B, N, T, S), or None without attention."""
        x = self.target_embedding(inputs["target"])
        maps = self.decoder.run(x, 0, *self.start(inputs))[2]
        return ops.cast(maps[-1]["cross"], "float32") if maps else None


class Seq2Seq(Writer):
    """What both families share. A family makes `encoder`, `decoder` and `encode`.

    Source and target share one table of vectors, which also makes the logits, unless `target_vocab_size` is given.

    Call arguments:
        inputs: {"source": int32 (B, S), "target": int32 (B, T)}; the target begins with BOS; 0 is padding.

    Returns:
        logits (B, T, V).
    """

    def __init__(self, vocab_size, dim, target_vocab_size=None, **kwargs):
        super().__init__(**kwargs)
        self.vocab_size, self.dim, self.target_vocab_size = vocab_size, dim, target_vocab_size
        self.source_embedding = TokenEmbedding(vocab_size, dim, dtype=self.dtype_policy, name="source_embedding")
        self.target_embedding = self.source_embedding
        if target_vocab_size:
            self.target_embedding = TokenEmbedding(
                target_vocab_size, dim, dtype=self.dtype_policy, name="target_embedding"
            )

    def build(self, input_shape=None):
        x = (None, None, self.dim)
        self.source_embedding.build()
        if self.target_vocab_size:
            self.target_embedding.build()
        self.encoder.build(x)
        self.decoder.build(x, (None, None, self.context_dim))

    def encode(self, source):
        """Source tokens (B, S) -> context (B, S, E) and the encoder's last states, or None."""
        raise NotImplementedError

    def read(self, inputs):
        source = inputs["source"]
        context, state = self.encode(source)
        return context, masks.padding_mask(source), state


@register
class TransformerSeq2Seq(Seq2Seq):
    """Transformer encoder and decoder.

    Args:
        vocab_size: V, of the source, and of the target unless that has its own.
        dim: D.
        num_heads: N.
        num_layers: L, of the encoder and of the decoder.
        mlp_dim: F.
        position: sinusoidal, learned, rotary, relative, relative_bias or alibi, in both stacks.
        dropout: rate.
        activation: of the feed-forward.
        norm_first: pre- or post-norm.
        max_length: of learned positions.
        target_vocab_size: for a target with a vocabulary of its own.
        attention: kind of the self-attention of both stacks, see `layers.Block`; with slots, projective attention has
            no causal form and is refused by the decoder.

    Reference: Vaswani et al. 2017.

    Example:

    >>> import numpy as np
    >>> from keras_seq import models
    >>> model = models.TransformerSeq2Seq(vocab_size=23, dim=8, num_heads=2, num_layers=1, mlp_dim=16)
    >>> y = model({"source": np.ones((2, 7), "int32"), "target": np.ones((2, 5), "int32")})
    >>> tuple(y.shape)
    (2, 5, 23)
    """

    side_by_side = True

    def __init__(
        self, vocab_size, dim=256, num_heads=4, num_layers=3, mlp_dim=1024, position="sinusoidal", dropout=0.1,
        activation="relu", norm_first=True, max_length=512, target_vocab_size=None, attention="multi_head", **kwargs,
    ):  # fmt: skip
        super().__init__(vocab_size, dim, target_vocab_size, **kwargs)
        self.options = {
            "vocab_size": vocab_size, "dim": dim, "num_heads": num_heads, "num_layers": num_layers, "mlp_dim": mlp_dim,
            "position": position, "dropout": dropout, "activation": activation, "norm_first": norm_first,
            "max_length": max_length, "target_vocab_size": target_vocab_size, "attention": attention,
        }  # fmt: skip
        stack = {
            "num_layers": num_layers, "num_heads": num_heads, "mlp_dim": mlp_dim, "position": position,
            "dropout": dropout, "activation": activation, "norm_first": norm_first, "max_length": max_length,
            "attention": attention, "dtype": self.dtype_policy,
        }  # fmt: skip
        self.encoder = TransformerEncoder(**stack, name="encoder")
        self.decoder = TransformerDecoder(**stack, name="decoder")
        self.context_dim = dim
        self.build()

    def encode(self, source):
        return self.encoder(self.source_embedding(source), x_mask=masks.padding_mask(source)), None


@register
class RecurrentSeq2Seq(Seq2Seq):
    """Recurrent encoder and decoder, with or without attention.

    Args:
        vocab_size: V, of the source, and of the target unless that has its own.
        dim: D, size of the embeddings.
        units: U, of the decoder; each direction of the encoder has U / 2 when bidirectional.
        num_layers: L.
        cell: rnn, gru or lstm.
        attention: additive, dot, general, scaled_dot, multi_head or none.
        bidirectional: whether the encoder reads both ways.
        dropout: rate.
        target_vocab_size: for a target with a vocabulary of its own.
        feed_context: whether the context found at a step enters the next one (Bahdanau), not its output only (Luong).

    Reference: Sutskever et al. 2014; Bahdanau et al. 2015; Luong et al. 2015.

    Example:

    >>> import numpy as np
    >>> from keras_seq import models
    >>> model = models.RecurrentSeq2Seq(vocab_size=23, dim=8, units=12, attention="dot")
    >>> y = model({"source": np.ones((2, 7), "int32"), "target": np.ones((2, 5), "int32")})
    >>> tuple(y.shape)
    (2, 5, 23)
    """

    def __init__(
        self, vocab_size, dim=256, units=256, num_layers=1, cell="lstm", attention="additive",
        bidirectional=True, dropout=0.1, target_vocab_size=None, feed_context=False, **kwargs,
    ):  # fmt: skip
        super().__init__(vocab_size, dim, target_vocab_size, **kwargs)
        self.options = {
            "vocab_size": vocab_size, "dim": dim, "units": units, "num_layers": num_layers, "cell": cell,
            "attention": attention, "bidirectional": bidirectional, "dropout": dropout,
            "target_vocab_size": target_vocab_size, "feed_context": feed_context,
        }  # fmt: skip
        if bidirectional and units % 2:
            raise ValueError(f"units must be even when both directions share them; got {units}.")
        each = units // 2 if bidirectional else units
        dtype = self.dtype_policy
        self.encoder = RecurrentEncoder(each, num_layers, cell, bidirectional, dropout, dtype=dtype, name="encoder")
        self.decoder = RecurrentDecoder(
            units, num_layers, cell, attention, dropout, feed_context=feed_context, dtype=dtype, name="decoder"
        )
        self.dropout = Dropout(dropout, dtype=dtype)
        self.to_embedding = Linear(dim, dtype=dtype, name="to_embedding") if units != dim else None
        self.context_dim = units
        self.build()

    def build(self, input_shape=None):
        super().build(input_shape)
        if self.to_embedding is not None:
            self.to_embedding.build((None, None, self.options["units"]))

    def encode(self, source):
        x = self.source_embedding(source)
        return self.encoder(x, return_state=True, x_mask=masks.padding_mask(source))

    def vectors(self, x):
        x = self.dropout(x)
        return x if self.to_embedding is None else self.to_embedding(x)
