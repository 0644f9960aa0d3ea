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

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """A position comes back as one object for all that it is given to."""
        config = {name: value if name == "dtype" else read(value) for name, value in config.items()}
        return super().from_config(config, custom_objects)


class Configured(Model):
    """What all models here are: their config is made of their arguments, `options` and `parts`.

    Attributes:
        options: {argument: value} of plain data and positions.
        parts: the arguments that are layers or models, or lists of them, and attributes of the same names.
    """

    parts = ()

    def __setattr__(self, name, value):
        if name == "options":  # as a config holds them: Keras would take a position among them for a layer of its own
            value = keras.tree.map_structure(written, value)
        super().__setattr__(name, value)

    def constant(self, name, shape, value):
        """A weight in float32 that training leaves alone: what is fitted to data is assigned to it."""
        first = keras.initializers.Constant(value)
        return self.add_weight(
            name=name, shape=shape, initializer=first, trainable=False, dtype="float32", autocast=False
        )

    def get_config(self):
        parts = {name: keras.saving.serialize_keras_object(getattr(self, name)) for name in self.parts}
        return {**super().get_config(), **self.options, **parts}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        parts = {name: keras.saving.deserialize_keras_object(config[name], custom_objects) for name in cls.parts}
        return super().from_config({**config, **parts}, custom_objects)
