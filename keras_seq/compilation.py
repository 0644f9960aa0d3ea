"""Compile a function of tensors for the backend in use: the one place that knows all three."""

import collections

import keras

from keras_seq import kernels

PATIENCE = 30  # calls of the same shapes, after which the seconds that XLA takes to compile begin to pay


def compile(function, variables, jit_compile=False):
    """`tf.function`, `jax.jit`, or plain torch without gradients.

    Args:
        function: of nests of tensors.
        variables: the Keras variables that it reads. jax.jit takes them as an argument, so that training after the
            first call is seen.
        jit_compile: whether tensorflow compiles by XLA, which takes seconds for each new shape; "auto" does so for
            shapes that have come `PATIENCE` times, unless there is an op that XLA does not know.
    """
    return {"tensorflow": graph, "jax": jit, "torch": eager}[keras.backend.backend()](function, variables, jit_compile)


def graph(function, variables, jit_compile=False):
    import tensorflow as tf

    plain = tf.function(function, reduce_retracing=True, autograph=False)
    if jit_compile is False:
        return plain
    calls, compiled, refused = collections.Counter(), {}, set()

    def by_xla(shapes, *args):
        if shapes not in compiled:  # looked up here, a function is found a quarter of a millisecond sooner
            kernels.wide_vectors()
            xla = tf.function(function, autograph=False, jit_compile=True)
            compiled[shapes] = xla.get_concrete_function(*args)
        return compiled[shapes](*args)

    def run(*args):
        named = keras.tree.flatten_with_path(args)
        shapes = tuple((name, tuple(x.shape), x.dtype) for name, x in named if x is not None)
        if jit_compile is True:
            return by_xla(shapes, *args)
        calls[shapes] += 1
        if calls[shapes] > PATIENCE and shapes not in refused:
            try:
                return by_xla(shapes, *args)
            except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError):  # an op that XLA does not know
                refused.add(shapes)
        return plain(*args)

    return run


def jit(function, variables, jit_compile=True):
    import jax

    @jax.jit
    def pure(values, *args):
        with keras.StatelessScope(state_mapping=list(zip(variables, values))):
            return function(*args)

    return lambda *args: pure([variable.value for variable in variables], *args)


def eager(function, variables, jit_compile=False):
    import torch

    return torch.no_grad()(function)
