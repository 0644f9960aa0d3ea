"""What every model is."""

import keras

from keras_seq.layers.core import read, written


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

    def __setattr__(self, name, value):
        if name == "options":  # as a config holds them: Keras would take a position among them for a layer of its own
            value = keras.tree.map_structure(written, value)
        super().__setattr__(name, value)

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """A position comes back as one object for all that it is given to."""
        config = {name: value if name == "dtype" else read(value) for name, value in config.items()}
        return super().from_config(config, custom_objects)


class HasEncoder:
    """What models share that are given their encoder as a layer: it is kept in the config."""

    def get_config(self):
        encoder = keras.saving.serialize_keras_object(self.encoder)
        return {**super().get_config(), **self.options, "encoder": encoder}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        encoder = keras.saving.deserialize_keras_object(config["encoder"], custom_objects)
        return super().from_config({**config, "encoder": encoder}, custom_objects)


class HasMembers:
    """What models share that are made of others, `members`: they are kept in the config."""

    def get_config(self):
        members = [keras.saving.serialize_keras_object(member) for member in self.members]
        return {**super().get_config(), "members": members}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        members = [keras.saving.deserialize_keras_object(member, custom_objects) for member in config["members"]]
        return super().from_config({**config, "members": members}, custom_objects)
