"""Keras' recurrent loop in a form that a phone's runtime has builtin ops for.

`keras.layers.RNN` and its family run on `backend.rnn`, which keeps its outputs in a TensorArray; the LiteRT converter
has no builtin op for that. `while_rnn` has the same arguments and the same results and writes each output into a plain
tensor instead. `recurrent_loops` puts it in Keras' place while a model is traced, and puts Keras' own back.
"""

import contextlib

from keras import tree

from keras_seq.layers.core import unknown_zero


def while_rnn(
    step_function,
    inputs,
    initial_states,
    go_backwards=False,
    mask=None,
    constants=None,
    unroll=False,
    input_length=None,
    time_major=False,
    zero_output_for_mask=False,
    return_all_outputs=True,
):
    """Keras' `backend.rnn` as one `tf.while_loop` over tensors of fixed rank: same arguments, same results.

    `unroll` and `input_length` are accepted and not needed: a loop is always right, and a length that is shorter than
    the inputs never reaches this function from a Keras layer.

    Args:
        step_function: `(inputs (B, ...), states) -> (output (B, U), new states)`.
        inputs: a tensor (B, T, ...) or a nest of them; (T, B, ...) if `time_major`.
        initial_states: a nest of tensors (B, ...).
        mask: (B, T), (B, T, 1) or None; where it is False, the states stay as they are.

    Returns:
        The last output (B, U), the outputs (B, T, U) - or (B, 1, U) unless `return_all_outputs` - and the last states.
    """
    import tensorflow as tf
    from keras import ops

    inputs = inputs if time_major else tree.map_structure(_swap, inputs)  # (T, B, ...)
    steps = ops.shape(tree.flatten(inputs)[0])[0]
    keeps = _time_first(mask, time_major)  # (T, B, 1) or None
    constants = tuple(constants or ())

    def advance(i, previous, states):
        t = steps - 1 - i if go_backwards else i
        now = tree.map_structure(lambda x: tf.gather(x, t), inputs)
        packed = tree.pack_sequence_as(initial_states, states)
        output, new = step_function(now, tuple(packed) + constants)
        new = tree.flatten(new)
        if keeps is None:
            return output, new
        keep = tf.gather(keeps, t)  # (B, 1)
        other = tf.zeros_like(output) if zero_output_for_mask else previous
        return _where(keep, output, other), [_where(keep, a, b) for a, b in zip(new, states)]

    def body(i, previous, outputs, states):
        output, states = advance(i, previous, states)
        written = ops.slice_update(outputs, [i if return_all_outputs else 0] + [0] * len(output.shape), output[None])
        return i + 1, output, tf.ensure_shape(written, outputs.shape), states

    states = [tf.convert_to_tensor(state) for state in tree.flatten(initial_states)]
    first = _zeros_of_output(step_function, inputs, initial_states, constants)  # (B, U)
    zero = unknown_zero(tree.flatten(inputs)[0], first.dtype.name)
    outputs = tf.fill([steps if return_all_outputs else 1, *ops.shape(first)], zero)
    loop = (tf.constant(0), first, outputs, states)
    _, last, outputs, states = tf.while_loop(lambda i, *_: i < steps, body, loop)
    return last, outputs if time_major else _swap(outputs), tree.pack_sequence_as(initial_states, states)


@contextlib.contextmanager
def recurrent_loops(rnn=while_rnn):
    """While this is open Keras' recurrent layers run on `rnn`, and never on cuDNN; `rnn=None` keeps Keras' own loop.

    A graph that was traced on a machine with a GPU would otherwise hold cuDNN's op, and not run without one.
    """
    from keras.src import backend  # not public: the layers look the loop up here and nowhere else

    names = ("rnn", "lstm", "gru")
    if missing := [name for name in names if not hasattr(backend, name)]:
        raise RuntimeError(f"Expected keras.src.backend to have {missing}; this version of Keras is not supported.")
    kept = {name: getattr(backend, name) for name in names}
    backend.lstm = backend.gru = _no_kernel
    backend.rnn = rnn or kept["rnn"]
    try:
        yield
    finally:
        for name, function in kept.items():
            setattr(backend, name, function)


def _no_kernel(*_args, **_kwargs):
    raise NotImplementedError("No fused kernel in an exported graph.")  # the layers answer this with `backend.rnn`


def _swap(x):
    """(B, T, ...) to (T, B, ...), and back."""
    from keras import ops

    return ops.transpose(x, [1, 0, *range(2, len(x.shape))])


def _time_first(mask, time_major):
    import tensorflow as tf

    if mask is None:
        return None
    mask = tf.cast(mask, "bool")
    mask = mask if len(mask.shape) > 2 else tf.expand_dims(mask, -1)
    return mask if time_major else _swap(mask)


def _where(keep, a, b):
    """`tf.where` with keep (B, 1) for tensors of any rank."""
    import tensorflow as tf

    for _ in range(len(a.shape) - len(keep.shape)):
        keep = tf.expand_dims(keep, -1)
    return tf.where(keep, a, b)


def _zeros_of_output(step_function, inputs, initial_states, constants):
    """Zeros of the output's shape; the step traced for it is dead code that the converter removes."""
    import tensorflow as tf

    now = tree.map_structure(lambda x: x[0], inputs)
    return tf.zeros_like(step_function(now, tuple(initial_states) + constants)[0])
