"""Compile a function of tensors for the backend in use: the one place that knows all three."""

import keras


def compile(function, variables):
    """`tf.function`, `jax.jit`, or plain torch without gradients.

    Args:
        function: of nests of tensors.
        variables: the Keras variables that it reads. jax.jit takes them as an argument, so that training after the
            first call is seen.
    """
    return {"tensorflow": graph, "jax": jit, "torch": eager}[keras.backend.backend()](function, variables)


def graph(function, variables):
    import tensorflow as tf

    return tf.function(function, reduce_retracing=True, autograph=False)


def jit(function, variables):
    import jax

    @jax.jit
    def pure(values, *args):
        with keras.StatelessScope(state_mapping=list(zip(variables, values))):
            return function(*args)

    return lambda *args: pure([variable.value for variable in variables], *args)


def eager(function, variables):
    import torch

    return torch.no_grad()(function)
