"""A label for each word of a text that was cut into pieces."""

from keras_seq.layers.core import Dropout, Linear, register
from keras_seq.layers.texts import TextEncoder, WordPooling
from keras_seq.models.base import Configured


@register
class WordTagger(Configured):
    """Pieces of a text to a label for each of its words: an encoder over the pieces, their mean in a word, one matrix.

    Args:
        num_classes: C.
        parts: for each token what it is in a word, see `layers.WordPooling`; a list of V numbers.
        over: the stack of the encoder, see `layers.TextEncoder`.
        dim: D.
        dropout: rate on the vectors of the tokens, and before the matrix.
        share, forms: see `layers.TextEncoder`.

    Call arguments:
        tokens: int32 (B, S); 0 is padding, and changes nothing.

    Returns:
        float32 logits (B, S, C), those of the words in their order; what comes after the last word means nothing.

    Reference: the pieces of a word: Devlin et al. 2019; both ways: Ling et al. 2015.

    Example:

    >>> import numpy as np
    >>> from keras_seq import models
    >>> model = models.WordTagger(7, [0, 1, 2], {"name": "recurrent", "units": 5}, dim=8)
    >>> tuple(model(np.array([[1, 2, 1, 0]])).shape)
    (1, 4, 7)
    """

    def __init__(self, num_classes, parts, over, dim=128, dropout=0.3, share=None, forms=None, **kwargs):
        super().__init__(**kwargs)
        self.options = {
            "num_classes": num_classes, "parts": parts, "over": over, "dim": dim, "dropout": dropout, "share": share,
            "forms": forms,
        }  # fmt: skip
        dtype = self.dtype_policy
        self.encoder = TextEncoder(len(parts), dim, over, dropout, share, forms, dtype=dtype, name="encoder")
        self.pooling = WordPooling(parts, dtype=dtype, name="pooling")
        self.dropout = Dropout(dropout, dtype=dtype)
        self.classify = Linear(num_classes, dtype="float32", name="classify")
        self.build()

    def build(self, input_shape=None):
        self.encoder.build()
        self.classify.build((None, None, self.encoder.width))

    def call(self, tokens, training=None):  # named, so that `fit` says that it trains
        return self.classify(self.dropout(self.pooling(self.encoder(tokens), tokens)))

    def words(self, tokens):
        """How many words there are: tokens (B, S) -> int32 (B,)."""
        return self.pooling.count(tokens)
