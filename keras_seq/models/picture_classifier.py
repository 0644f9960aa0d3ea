"""A label for a picture: many regions to one answer."""

from keras import ops

from keras_seq.layers.core import Dropout, Linear, register
from keras_seq.layers.images import attention_rollout
from keras_seq.models.classifier import Answering


@register
class PictureClassifier(Answering):
    """An encoder of the regions of a picture, one vector for all of them, one matrix: a vision Transformer.

    The one vector is the class token where the encoder has one, else the mean of the regions.

    Args:
        num_classes: C.
        encoder: the layer that gives each region of a picture its vector, (B, H, W, C) -> (B, S, D):
            `layers.PatchEncoder`, `layers.ImageEncoder`, or any other.
        image_shape: (H, W, C).
        dropout: rate on the one vector.

    Call arguments:
        image: (B, H, W, C), pictures from 0 to 1.

    Returns:
        float32 logits (B, C).

    Reference: Dosovitskiy et al. 2021; the mean in place of a class token: Beyer et al. 2022.

    Example:

    >>> import numpy as np
    >>> from keras_seq import layers, models
    >>> encoder = layers.PatchEncoder(12, patch=4, num_heads=2, num_layers=1, mlp_dim=16, class_token=True)
    >>> model = models.PictureClassifier(3, encoder, (16, 16, 1))
    >>> tuple(model(np.ones((2, 16, 16, 1), "float32")).shape)
    (2, 3)
    """

    parts = ("encoder",)

    def __init__(self, num_classes, encoder, image_shape=(32, 32, 3), dropout=0.0, **kwargs):
        super().__init__(**kwargs)
        self.encoder, self.image_shape = encoder, tuple(image_shape)
        self.options = {"num_classes": num_classes, "image_shape": list(image_shape), "dropout": dropout}
        self.dropout = Dropout(dropout, dtype=self.dtype_policy)
        self.classify = Linear(num_classes, dtype="float32", name="classify")
        self.build()

    def build(self, input_shape=None):
        shape = (None, *self.image_shape)
        if not self.encoder.built:  # one that was reloaded is
            self.encoder.build(shape)
        self.classify.build((None, self.encoder.compute_output_shape(shape)[-1]))
        self.add_temperature()

    @property
    def has_class_token(self):
        return getattr(self.encoder, "class_token", False)

    def embed(self, image):
        """Pictures (B, H, W, C) -> the vectors of their regions (B, S, D), none of which is padding."""
        return self.encoder(image), None

    def logits(self, x, mask=None):
        x = x[:, -1] if self.has_class_token else ops.mean(x, axis=1)
        return self.classify(self.dropout(ops.cast(x, "float32")))

    def looks(self, image):
        """Where the answer comes from: for an encoder that can return its attention weights.

        Args:
            image: (B, H, W, C).

        Returns:
            float32 (B, S) and (B, N, S), each a share of the regions that sums to one: attention rollout over all
            layers, and the weights of the heads of the last layer.
        """
        _, weights = self.encoder(image, return_attention_weights=True)
        both = attention_rollout(weights), ops.cast(weights[-1], "float32")  # (B, S', S'), (B, N, S', S')
        if not self.has_class_token:
            return tuple(ops.mean(x, axis=-2) for x in both)
        seen = (x[..., -1, :-1] for x in both)  # what the class token sees, itself aside
        return tuple(x / ops.sum(x, axis=-1, keepdims=True) for x in seen)
