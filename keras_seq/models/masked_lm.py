"""A masked language model: what stands behind a mask, told from both sides."""

from keras import ops

from keras_seq.layers.core import Linear, register
from keras_seq.layers.texts import TextEncoder
from keras_seq.layers.transformer import normalization
from keras_seq.models.base import Configured


@register
class MaskedLM(Configured):
    """Logits of hidden tokens: norm(gelu(W y_p)) E^T + b at each place p, E being the table of the encoder (tied).

    Args:
        vocab_size, dim, over, dropout, share, forms: of the encoder, see `layers.TextEncoder`.

    Call arguments:
        inputs: {"tokens": int32 (B, S), 0 being padding, "places": int32 (B, P), which of them to tell}.

    Returns:
        float32 logits (B, P, R), R being the rows of the table: tokens that share a row are one.

    Reference: Devlin et al. 2019; tied weights: Press and Wolf 2017.

    Example:

    >>> import numpy as np
    >>> from keras_seq import models
    >>> over = {"name": "transformer", "num_layers": 1, "num_heads": 2, "mlp_dim": 16}
    >>> model = models.MaskedLM(23, 8, over)
    >>> tuple(model({"tokens": np.ones((2, 7), "int32"), "places": np.array([[1, 2], [0, 6]])}).shape)
    (2, 2, 23)
    """

    def __init__(self, vocab_size, dim, over, dropout=0.1, share=None, forms=None, **kwargs):
        super().__init__(**kwargs)
        self.options = {
            "vocab_size": vocab_size, "dim": dim, "over": over, "dropout": dropout, "share": share, "forms": forms,
        }  # fmt: skip
        dtype = self.dtype_policy
        self.encoder = TextEncoder(vocab_size, dim, over, dropout, share, forms, dtype=dtype, name="encoder")
        self.turn = Linear(dim, activation="gelu", dtype=dtype, name="turn")
        self.norm = normalization("layer", 1e-6, dtype)
        self.build()

    def build(self, input_shape=None):
        self.encoder.build()
        self.turn.build((None, None, self.encoder.width))
        self.norm.build((None, None, self.options["dim"]))
        rows = self.encoder.embedding.vocab_size
        self.bias = self.add_weight(name="bias", shape=(rows,), initializer="zeros", dtype="float32", autocast=False)

    def call(self, inputs, training=None):  # named, so that `fit` says that it trains
        x = self.encoder(inputs["tokens"])
        places = ops.expand_dims(inputs["places"], -1)  # (B, P, 1)
        x = ops.take_along_axis(x, ops.broadcast_to(places, (*ops.shape(places)[:2], x.shape[-1])), axis=1)
        return ops.cast(self.encoder.embedding.logits(self.norm(self.turn(x))), "float32") + self.bias
