"""Speech to text: CTC, which tells a token or nothing at each moment, and writers that attend to the sound.

    CTCRecognizer: call(inputs) -> logits of each moment; tokens(logits) -> what they say
    others: the contract of `Seq2Seq`, start, step and call
"""

from keras import ops

from keras_seq.layers.core import Linear, register
from keras_seq.layers.ctc import CTCHead, ctc_loss, ctc_tokens
from keras_seq.models.base import Configured
from keras_seq.models.captioner import RecurrentCaptioner, TransformerCaptioner


@register
class CTCRecognizer(Configured):
    """A token, or the blank, for each moment of a sound; trained by `training.CTC`, without knowing when what is said.

    What the encoder's convolutions make of each moment is asked first, y' = softmax(W' x), and the stack is told the
    answer: it reads x + U y'. While it trains, the first answer has a loss too. It knows no more than a moment, so it
    has to listen, where the stack could go on for long counting the words that are likely.

    Args:
        vocab_size: V; the blank is 0, the padding of texts.
        encoder: `layers.SoundEncoder`, or another with `local` and `contextual`.
        dropout: rate before the matrices.
        early: weight of the loss of the first answer; 0 for none, and nothing told.

    Call arguments:
        inputs: {"sound": (B, N) from -1 to 1, "length": int32 (B,), how many of the samples are no padding}.

    Returns:
        float32 logits (B, T, V), T as of the encoder; moments of padding say the blank. While it trains (B, 2, T, V),
        the first answer after the last.

    Reference: Graves et al. 2006; the first answer: Lee and Watanabe 2021, told: Nozaki and Komatsu 2021.

    Example:

    >>> import numpy as np
    >>> from keras_seq import layers, models
    >>> encoder = layers.SoundEncoder(12, {"name": "recurrent", "units": 5}, rate=8000)
    >>> model = models.CTCRecognizer(23, encoder)
    >>> logits = model({"sound": np.zeros((2, 8000), "float32"), "length": np.array([8000, 4000])})
    >>> tuple(logits.shape), tuple(model.tokens(logits).shape)
    ((2, 27, 23), (2, 27))
    """

    parts = ("encoder",)

    def __init__(self, vocab_size, encoder, dropout=0.1, early=0.5, **kwargs):
        super().__init__(**kwargs)
        self.encoder, self.early = encoder, early
        self.options = {"vocab_size": vocab_size, "dropout": dropout, "early": early}
        dtype = self.dtype_policy
        self.classify = CTCHead(vocab_size, dropout, dtype=dtype, name="classify")
        self.first = CTCHead(vocab_size, dropout, dtype=dtype, name="first") if early else None
        self.tell = Linear(encoder.dim, use_bias=False, dtype=dtype, name="tell") if early else None
        self.build()

    def build(self, input_shape=None):
        if not self.encoder.built:  # one that was reloaded is
            self.encoder.build((None, None))
        self.classify.build((None, None, self.encoder.width))
        if self.early:
            self.first.build((None, None, self.encoder.dim))
            self.tell.build((None, None, self.options["vocab_size"]))

    def call(self, inputs, training=None):  # `training` is named, so that `fit` says that it trains
        x, moments = self.encoder.local(inputs["sound"], inputs["length"])
        if not self.early:
            return self.classify(self.encoder.contextual(x, moments), moments)
        first = self.first(x, moments)
        x = x + self.tell(ops.cast(ops.softmax(first), x.dtype))
        last = self.classify(self.encoder.contextual(x, moments), moments)
        return ops.stack([last, first], axis=1) if training else last

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        loss = super().compute_loss
        if len(y_pred.shape) == 3:
            return loss(x, y, y_pred, sample_weight, training)
        last, first = ops.unstack(y_pred, axis=1)
        return loss(x, y, last, sample_weight, training) + self.early * loss(x, y, first, sample_weight, training)

    @staticmethod
    def tokens(logits):
        """What logits (B, T, V) say, by `layers.ctc_tokens`: int32 (B, T)."""
        return ctc_tokens(logits)


class Listening:
    """What makes a captioner of pictures write what it hears.

    While it trains, the encoder also learns by CTC, with a share of the loss: attention is slow to find by itself that
    speech and text run the same way.
    """

    def __init__(self, *arguments, ctc=0.5, **options):
        self.share = ctc  # `build` needs it, which is called at the end of what comes now
        super().__init__(*arguments, **options)
        self.options = {name: value for name, value in self.options.items() if name != "image_shape"} | {"ctc": ctc}

    def build(self, input_shape=None):
        super().build(input_shape)
        self.blanks = None
        if self.share:
            self.blanks = CTCHead(self.options["vocab_size"], dtype=self.dtype_policy, name="blanks")
            self.blanks.build((None, None, self.dim))

    def look(self, inputs):
        return self.encoder.hear(inputs["sound"], inputs["length"])

    def call(self, inputs, training=None):
        context, moments, state = self.read(inputs)
        if training and self.blanks is not None:
            said = ops.cast(inputs["target"], "int32")[:, 1:]  # without BOS; 0 after the end
            self.add_loss(self.share * ops.mean(ctc_loss(said, self.blanks(context, moments))))
        return self.step(inputs["target"], 0, *self.decoder.start(context, moments, None, state))[0]


@register
class TransformerRecognizer(Listening, TransformerCaptioner):
    """A Transformer writes, and attends to the sound in each layer.

    Args:
        vocab_size: V.
        encoder: `layers.SoundEncoder`, or another with `hear`; tokens have vectors of its width D.
        num_heads, num_layers, mlp_dim, position, dropout, activation, norm_first, max_length: of the decoder, see
            `TransformerCaptioner`.
        ctc: weight of the loss by which the encoder also learns; 0 for none.

    Call arguments:
        inputs: {"sound": (B, N) from -1 to 1, "length": int32 (B,), "target": int32 (B, T)}; the target begins with
            BOS; 0 is padding.

    Returns:
        logits (B, T, V).

    Reference: Dong et al. 2018; with CTC: Watanabe et al. 2017.

    Example:

    >>> import numpy as np
    >>> from keras_seq import layers, models
    >>> encoder = layers.SoundEncoder(12, {"name": "recurrent", "units": 6}, rate=8000)
    >>> model = models.TransformerRecognizer(23, encoder, num_heads=2, num_layers=1, mlp_dim=16)
    >>> sound = {"sound": np.zeros((2, 8000), "float32"), "length": np.array([8000, 4000])}
    >>> tuple(model({**sound, "target": np.ones((2, 5), "int32")}).shape)
    (2, 5, 23)
    """

    def __init__(
        self, vocab_size, encoder, num_heads=4, num_layers=2, mlp_dim=512, position="rotary", dropout=0.1,
        activation="relu", norm_first=True, max_length=512, ctc=0.5, **kwargs,
    ):  # fmt: skip
        super().__init__(
            vocab_size, encoder, (None,), num_heads, num_layers, mlp_dim, position, dropout, activation, norm_first,
            max_length, ctc=ctc, **kwargs,
        )  # fmt: skip


@register
class RecurrentRecognizer(Listening, RecurrentCaptioner):
    """A recurrent network writes; it attends to the sound for each token.

    Args:
        vocab_size: V.
        encoder: `layers.SoundEncoder`, or another with `hear`; tokens have vectors of its width D.
        units, num_layers, cell, attention, dropout, feed_context: of the decoder, see `RecurrentCaptioner`.
        ctc: weight of the loss by which the encoder also learns; 0 for none.

    Call arguments:
        inputs: {"sound": (B, N) from -1 to 1, "length": int32 (B,), "target": int32 (B, T)}; the target begins with
            BOS; 0 is padding.

    Returns:
        logits (B, T, V).

    Reference: Chan et al. 2016; with CTC: Watanabe et al. 2017.

    Example:

    >>> import numpy as np
    >>> from keras_seq import layers, models
    >>> encoder = layers.SoundEncoder(12, {"name": "recurrent", "units": 6}, rate=8000)
    >>> model = models.RecurrentRecognizer(23, encoder, units=14)
    >>> sound = {"sound": np.zeros((2, 8000), "float32"), "length": np.array([8000, 4000])}
    >>> tuple(model({**sound, "target": np.ones((2, 5), "int32")}).shape)
    (2, 5, 23)
    """

    def __init__(
        self, vocab_size, encoder, units=256, num_layers=1, cell="lstm", attention="additive", dropout=0.1,
        feed_context=False, ctc=0.5, **kwargs,
    ):  # fmt: skip
        super().__init__(
            vocab_size, encoder, (None,), units, num_layers, cell, attention, dropout, feed_context, ctc=ctc, **kwargs
        )
