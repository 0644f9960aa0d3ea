"""A label for a whole text, or a number: many to one.

    logits(embed(tokens), mask)     call: what is learned
    probabilities(tokens)           what is told: the logits at a temperature that was fitted on validation data
"""

import itertools

from keras import ops

from keras_seq.layers import masks
from keras_seq.layers.core import Dropout, Linear, register
from keras_seq.layers.texts import PairEmbedding, TextEncoder
from keras_seq.models.base import Configured


class Answering(Configured):
    """What every classifier shares. One has `embed`, `logits`, `dim`, and `add_temperature` called when it is built.

    Its temperature is 1 until it is fitted on validation data, and a weight, so that it is saved and exported.

    Attributes:
        dim: D of the vectors that `embed` gives.
    """

    def add_temperature(self):
        self.temperature = self.constant("temperature", (), 1.0)

    def embed(self, tokens):
        """Tokens (B, S) -> their vectors (B, S, D) and a mask (B, S) that is False at padding."""
        raise NotImplementedError

    def logits(self, x, mask):
        """Vectors (B, S, D) and their mask -> float32 logits (B, C)."""
        raise NotImplementedError

    def call(self, tokens, training=None):  # named, so that `fit` says that it trains
        return self.logits(*self.embed(tokens))

    def probabilities(self, tokens):
        """Tokens (B, S) -> (B, C), which sum to one: softmax(logits / temperature)."""
        return ops.softmax(self(tokens) / self.temperature, axis=-1)


class Classifier(Answering):
    """What both families share: an encoder of the tokens, one vector for all of them, one matrix.

    A family says which stack the encoder has. The one vector is the mean of the encoder's outputs beside their largest
    values, padding aside.

    Args:
        vocab_size: V.
        num_classes: C; 1 for a number.
        over: the stack of the encoder, see `layers.TextEncoder`.
        dim: D.
        dropout: rate on the vectors of the tokens, before the matrix, and inside the stack.
        share, forms: see `layers.TextEncoder`: tokens that read one row of the table, and how they are written.

    Call arguments:
        tokens: int32 (B, S); 0 is padding, and changes nothing.

    Returns:
        float32 logits (B, C).
    """

    def __init__(self, vocab_size, num_classes, over, dim=128, dropout=0.3, share=None, forms=None, **kwargs):
        super().__init__(**kwargs)
        self.options = {
            "vocab_size": vocab_size, "num_classes": num_classes, "dim": dim, "dropout": dropout, "share": share,
            "forms": forms,
        }  # fmt: skip
        dtype = self.dtype_policy
        self.dim = dim
        self.encoder = TextEncoder(vocab_size, dim, over, dropout, share, forms, dtype=dtype, name="encoder")
        self.dropout = Dropout(dropout, dtype=dtype)
        self.classify = Linear(num_classes, dtype="float32", name="classify")
        self.build()

    def build(self, input_shape=None):
        self.encoder.build()
        self.classify.build((None, 2 * self.encoder.width))
        self.add_temperature()

    def embed(self, tokens):
        return self.encoder.embed(tokens)

    def logits(self, x, mask):
        x = self.encoder.contextual(x, mask)
        return self.classify(self.dropout(ops.cast(pooled(x, mask), "float32")))


def pooled(x, mask):
    """The mean and the largest values over the tokens that the mask keeps, or zeros: (B, S, D), (B, S) -> (B, 2 D)."""
    keep = ops.expand_dims(mask, -1)  # (B, S, 1)
    count = ops.maximum(ops.sum(ops.cast(keep, x.dtype), axis=1), 1)
    mean = ops.sum(ops.where(keep, x, 0), axis=1) / count
    most = ops.max(ops.where(keep, x, LOW), axis=1)
    return ops.concatenate([mean, ops.where(ops.any(keep, axis=1), most, 0)], axis=-1)


LOW = -3e4  # below any output, and a number in float16 too


@register
class TransformerClassifier(Classifier):
    """A Transformer over the tokens.

    Args:
        vocab_size, num_classes, dim, dropout, share, forms: see `Classifier`.
        num_heads: N.
        num_layers: L.
        mlp_dim: F.
        position: sinusoidal, learned, rotary, relative, relative_bias or alibi.
        activation: of the feed-forward.
        max_length: of learned positions.

    Reference: Vaswani et al. 2017; Devlin et al. 2019.

    Example:

    >>> import numpy as np
    >>> from keras_seq import models
    >>> model = models.TransformerClassifier(23, 3, dim=8, num_heads=2, num_layers=1, mlp_dim=16)
    >>> tuple(model(np.ones((2, 5), "int32")).shape)
    (2, 3)
    """

    def __init__(
        self, vocab_size, num_classes, dim=128, dropout=0.3, share=None, num_heads=4, num_layers=2, mlp_dim=256,
        position="sinusoidal", activation="gelu", max_length=512, forms=None, **kwargs,
    ):  # fmt: skip
        own = {
            "num_heads": num_heads, "num_layers": num_layers, "mlp_dim": mlp_dim, "position": position,
            "activation": activation, "max_length": max_length,
        }  # fmt: skip
        over = {"name": "transformer", **own, "dropout": dropout}
        super().__init__(vocab_size, num_classes, over, dim, dropout, share, forms, **kwargs)
        self.options |= own


@register
class RecurrentClassifier(Classifier):
    """A recurrent stack over the tokens, forwards or both ways.

    Args:
        vocab_size, num_classes, dim, dropout, share, forms: see `Classifier`.
        units: U, of each direction.
        num_layers: L.
        cell: rnn, gru or lstm.
        bidirectional: whether it reads both ways.

    Reference: Hochreiter and Schmidhuber 1997; both ways: Graves and Schmidhuber 2005.

    Example:

    >>> import numpy as np
    >>> from keras_seq import models
    >>> model = models.RecurrentClassifier(23, 3, dim=8, units=5)
    >>> tuple(model(np.ones((2, 5), "int32")).shape)
    (2, 3)
    """

    def __init__(
        self, vocab_size, num_classes, dim=128, dropout=0.3, share=None, units=128, num_layers=1, cell="lstm",
        bidirectional=True, forms=None, **kwargs,
    ):  # fmt: skip
        own = {"units": units, "num_layers": num_layers, "cell": cell, "bidirectional": bidirectional}
        over = {"name": "recurrent", **own, "dropout": dropout if num_layers > 1 else 0.0}
        super().__init__(vocab_size, num_classes, over, dim, dropout, share, forms, **kwargs)
        self.options |= own


@register
class BagClassifier(Answering):
    """Each token votes for the classes, and so does each pair of neighbours: a linear model of the bag of both.

    logits = b + 3 / sqrt(n) · sum over the n tokens s of v_s, the votes of `layers.PairEmbedding`, which begin at zero.
    It learns in seconds what single words and short phrases say, and errs elsewhere than a network does: a good member
    of a `Committee`.

    Args:
        vocab_size: V.
        num_classes: C; 1 for a number.
        buckets: of the pairs' votes, see `layers.PairEmbedding`.
        dropout: rate on the votes.
        share: see `layers.TextEncoder`.

    Call arguments:
        tokens: int32 (B, S); 0 is padding, and changes nothing.

    Returns:
        float32 logits (B, C).

    Raises:
        ValueError: for less than one bucket, or a list of another length.

    Reference: Wang and Manning 2012; Joulin et al. 2017.

    Example:

    >>> import numpy as np
    >>> from keras_seq import models
    >>> model = models.BagClassifier(23, 3, buckets=101)
    >>> tuple(model(np.ones((2, 5), "int32")).shape)
    (2, 3)
    """

    def __init__(self, vocab_size, num_classes, buckets=2**18, dropout=0.3, share=None, **kwargs):
        super().__init__(**kwargs)
        self.options = {
            "vocab_size": vocab_size, "num_classes": num_classes, "buckets": buckets, "dropout": dropout,
            "share": share,
        }  # fmt: skip
        self.dim = num_classes
        self.votes = PairEmbedding(vocab_size, num_classes, buckets, share, dtype=self.dtype_policy, name="votes")
        self.dropout = Dropout(dropout, dtype=self.dtype_policy)
        self.build()

    def build(self, input_shape=None):
        self.votes.build()
        kept = {"dtype": "float32", "autocast": False}
        self.bias = self.add_weight(name="bias", shape=(self.dim,), initializer="zeros", **kept)
        self.add_temperature()

    def embed(self, tokens):
        return self.votes(tokens), masks.padding_mask(tokens)

    def logits(self, x, mask):
        keep = ops.cast(ops.expand_dims(mask, -1), "float32")  # (B, S, 1)
        total = ops.sum(ops.cast(self.dropout(x), "float32") * keep, axis=1)
        return total * (SCALE * ops.rsqrt(ops.maximum(ops.sum(keep, axis=1), 1))) + self.bias


SCALE = 3.0  # of votes: it lets them grow, at a learning rate that suits networks, as fast as they have to


@register
class Committee(Answering):
    """Classifiers that learn apart and answer together: logits = sum_m trust_m z_m. Their mistakes partly cancel.

    The trust in all members is the same, 1 / M, until it is fitted on validation data, see
    `training.calibration.fit_trust`; like the temperature it is a weight that is not trained.

    Args:
        members: classifiers of the same classes, of one kind or several.

    Attributes:
        trust: (M,), how much each member counts.
        kinds: for each member the number of its class: members of one kind deserve the same trust.

    Call arguments:
        tokens: int32 (B, S); 0 is padding.

    Returns:
        float32 logits (B, C); while it trains (B, M, C), those of each member, whose losses are averaged.

    Reference: Hansen and Salamon 1990; trust fitted on held-out data: Wolpert 1992.

    Example:

    >>> import numpy as np
    >>> from keras_seq import models
    >>> model = models.Committee([models.RecurrentClassifier(23, 3, dim=8, units=5) for _ in range(2)])
    >>> tuple(model(np.ones((2, 5), "int32")).shape)
    (2, 3)
    """

    parts = ("members",)

    def __init__(self, members, **kwargs):
        super().__init__(**kwargs)
        self.options, self.members = {}, list(members)
        self.dim = sum(member.dim for member in self.members)
        classes = list(dict.fromkeys(map(type, self.members)))
        self.kinds = [classes.index(type(member)) for member in self.members]
        count = len(self.members)
        self.trust = self.constant("trust", (count,), 1 / count)
        self.add_temperature()
        self.built = True

    def embed(self, tokens):
        """Tokens (B, S) -> the vectors of all members side by side (B, S, D), and the mask (B, S)."""
        vectors, marks = zip(*(member.embed(tokens) for member in self.members))
        return ops.concatenate(vectors, axis=-1), marks[0]

    def each(self, x, mask):
        """What `embed` gives -> the logits of each member (B, M, C)."""
        ends = list(itertools.accumulate(member.dim for member in self.members))
        parts = zip(self.members, ops.split(x, ends[:-1], axis=-1))
        return ops.stack([member.logits(part, mask) for member, part in parts], axis=1)

    def logits(self, x, mask):
        return ops.sum(self.each(x, mask) * ops.expand_dims(self.trust, -1), axis=1)

    def call(self, tokens, training=False):
        return self.each(*self.embed(tokens)) if training else super().call(tokens)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        loss = super().compute_loss
        if len(y_pred.shape) == 2:
            return loss(x, y, y_pred, sample_weight, training)
        return sum(loss(x, y, part, sample_weight, training) for part in ops.unstack(y_pred, axis=1)) / y_pred.shape[1]
