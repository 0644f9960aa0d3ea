"""What every model is."""

import keras
from keras import ops


class Model(keras.Model):
    """A `keras.Model` whose layers all hear from `fit` that it trains, on jax too.

    There Keras' `fit` runs `call` by itself, by way of `stateless_call`, and a layer to which `call` does not hand
    `training` drops nothing out. Here `stateless_call` calls the model as any other caller does.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> from keras_seq import layers, models
    >>> class Mine(models.Model):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.encoder = layers.TransformerEncoder(1, num_heads=2, mlp_dim=16, dropout=0.5)
    ...     def call(self, x, training=None):  # named, or `fit` tells nobody
    ...         return self.encoder(x)
    >>> tuple(Mine()(np.ones((2, 5, 8), "float32")).shape)
    (2, 5, 8)
    """

    def stateless_call(
        self, trainable_variables, non_trainable_variables, *args, return_losses=False, **kwargs
    ):  # fmt: skip
        variables = [*self.trainable_variables, *self.non_trainable_variables]
        mapping = list(zip(variables, [*trainable_variables, *non_trainable_variables], strict=True))
        with keras.StatelessScope(mapping, collect_losses=return_losses) as scope:
            y = self(*args, **kwargs)
            losses = self.losses if return_losses else None
        state = [scope.get_current_value(variable) for variable in self.non_trainable_variables]
        return (y, state, losses) if return_losses else (y, state)


class HasEncoder:
    """What models share that are given their encoder as a layer: it is kept in the config."""

    def get_config(self):
        encoder = keras.saving.serialize_keras_object(self.encoder)
        return {**super().get_config(), **self.options, "encoder": encoder}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        encoder = keras.saving.deserialize_keras_object(config["encoder"], custom_objects)
        return cls(**{**config, "encoder": encoder})


class HasMembers:
    """What committees share: members that learn apart, each from its own loss, and answer together.

    While it trains `call` gives the outputs of each member (B, M, ...), whose losses are averaged.
    """

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        loss = super().compute_loss
        if not training:
            return loss(x, y, y_pred, sample_weight, training)
        return sum(loss(x, y, part, sample_weight, training) for part in ops.unstack(y_pred, axis=1)) / y_pred.shape[1]

    def get_config(self):
        return {**super().get_config(), "members": [keras.saving.serialize_keras_object(m) for m in self.members]}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        members = [keras.saving.deserialize_keras_object(m, custom_objects) for m in config["members"]]
        return cls(**{**config, "members": members})
