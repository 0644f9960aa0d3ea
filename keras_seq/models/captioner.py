"""Captions: a picture is read once, a text is written about it step by step, with the contract of `Seq2Seq`."""

from keras import ops

from keras_seq.layers.core import Dropout, Linear, register
from keras_seq.layers.embeddings import TokenEmbedding
from keras_seq.layers.recurrent import RecurrentDecoder
from keras_seq.layers.transformer import TransformerDecoder
from keras_seq.models.seq2seq import Writer


class Captioner(Writer):
    """What both families share. A family makes `decoder`.

    Args:
        vocab_size: V.
        encoder: the layer that gives each region of a picture its vector, (B, H, W, C) -> (B, S, D):
            `layers.ImageEncoder`, `layers.PatchEncoder`, or any other. Tokens have vectors of the same width D.
        image_shape: (H, W, C).

    Call arguments:
        inputs: {"image": (B, H, W, C) from 0 to 1, "target": int32 (B, T)}; the target begins with BOS; 0 is padding.

    Returns:
        logits (B, T, V).
    """

    parts = ("encoder",)

    def __init__(self, vocab_size, encoder, image_shape=(64, 64, 3), **kwargs):
        super().__init__(**kwargs)
        self.encoder, self.image_shape = encoder, tuple(image_shape)
        self.options = {"vocab_size": vocab_size, "image_shape": list(image_shape)}
        self.dim = encoder.compute_output_shape((None, *self.image_shape))[-1]
        self.target_embedding = TokenEmbedding(vocab_size, self.dim, dtype=self.dtype_policy, name="embedding")

    def build(self, input_shape=None):
        if not self.encoder.built:  # one that was reloaded is
            self.encoder.build((None, *self.image_shape))
        self.target_embedding.build()
        self.decoder.build((None, None, self.dim), (None, None, self.dim))

    def look(self, inputs):
        """What there is to see: context (B, S, D), and its mask (B, S) or None."""
        return self.encoder(inputs["image"]), None

    def read(self, inputs):
        return *self.look(inputs), None


@register
class TransformerCaptioner(Captioner):
    """A Transformer writes, and looks at the regions of the picture in each layer.

    Args:
        vocab_size, encoder, image_shape: see `Captioner`.
        num_heads: N.
        num_layers: L, of the decoder.
        mlp_dim: F.
        position: of the tokens: sinusoidal, learned, rotary, relative, relative_bias or alibi.
        dropout: rate.
        activation: of the feed-forward.
        norm_first: pre- or post-norm.
        max_length: of learned positions.

    Reference: Vaswani et al. 2017; of captions: Li et al. 2019.

    Example:

    >>> import numpy as np
    >>> from keras_seq import layers, models
    >>> model = models.TransformerCaptioner(23, layers.ImageEncoder(12, (8,)), (16, 16, 3), 2, 1, mlp_dim=16)
    >>> y = model({"image": np.ones((2, 16, 16, 3), "float32"), "target": np.ones((2, 5), "int32")})
    >>> tuple(y.shape)
    (2, 5, 23)
    """

    side_by_side = True

    def __init__(
        self, vocab_size, encoder, image_shape=(64, 64, 3), num_heads=4, num_layers=2, mlp_dim=512, position="rotary",
        dropout=0.1, activation="relu", norm_first=True, max_length=512, **kwargs,
    ):  # fmt: skip
        super().__init__(vocab_size, encoder, image_shape, **kwargs)
        stack = {
            "num_heads": num_heads, "num_layers": num_layers, "mlp_dim": mlp_dim, "position": position,
            "dropout": dropout, "activation": activation, "norm_first": norm_first, "max_length": max_length,
        }  # fmt: skip
        self.options |= stack
        self.decoder = TransformerDecoder(**stack, dtype=self.dtype_policy, name="decoder")
        self.build()


@register
class RecurrentCaptioner(Captioner):
    """A recurrent network writes; it begins with the mean of the regions, and looks at them for each word.

    Args:
        vocab_size, encoder, image_shape: see `Captioner`.
        units: U, of the decoder.
        num_layers: L.
        cell: rnn, gru or lstm.
        attention: additive, general, multi_head or none; dot or scaled_dot for regions of U features.
        dropout: rate.
        feed_context: whether what was looked at enters the next step (Bahdanau), not this one's output only (Luong).

    Reference: Vinyals et al. 2015; with attention: Xu et al. 2015.

    Example:

    >>> import numpy as np
    >>> from keras_seq import layers, models
    >>> model = models.RecurrentCaptioner(23, layers.PatchEncoder(12, 8, 2, 1, 16), (16, 16, 3), units=14)
    >>> y = model({"image": np.ones((2, 16, 16, 3), "float32"), "target": np.ones((2, 5), "int32")})
    >>> tuple(y.shape)
    (2, 5, 23)
    """

    def __init__(
        self, vocab_size, encoder, image_shape=(64, 64, 3), units=256, num_layers=1, cell="lstm", attention="additive",
        dropout=0.1, feed_context=False, **kwargs,
    ):  # fmt: skip
        super().__init__(vocab_size, encoder, image_shape, **kwargs)
        stack = {
            "units": units, "num_layers": num_layers, "cell": cell, "attention": attention, "dropout": dropout,
            "feed_context": feed_context,
        }  # fmt: skip
        self.options |= stack
        self.decoder = RecurrentDecoder(**stack, dtype=self.dtype_policy, name="decoder")
        self.dropout = Dropout(dropout, dtype=self.dtype_policy)
        self.to_embedding = Linear(self.dim, dtype=self.dtype_policy, name="to_embedding")
        self.build()

    def build(self, input_shape=None):
        super().build(input_shape)
        self.to_embedding.build((None, None, self.options["units"]))

    def read(self, inputs):
        regions, mask = self.look(inputs)
        mean = ops.mean(regions, axis=1) if mask is None else mean_of(regions, mask)  # (B, D)
        return regions, mask, [dict.fromkeys(self.decoder.parts, mean) for _ in self.decoder.layers]

    def vectors(self, x):
        return self.to_embedding(self.dropout(x))


def mean_of(x, mask):
    """The mean of the vectors that a mask keeps, or zeros: (B, S, D), (B, S) -> (B, D)."""
    keep = ops.cast(ops.expand_dims(mask, 2), x.dtype)
    return ops.sum(x * keep, axis=1) / ops.maximum(ops.sum(keep, axis=1), 1)
