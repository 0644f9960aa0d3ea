"""Keras' LSTM with all that needs no loop taken out of it: the products of the inputs, and those of the gradient.

    z_t = x_t W + b for all t at once;   i, f, g, o = z_t + h_{t-1} U;   c_t = f c_{t-1} + i g;   h_t = o tanh(c_t)

The loop keeps c and the gates; the gradient's loop runs backwards and gives dz_t only, dU = sum_t h_{t-1}^T dz_t being
one product over all steps, as are those that follow from dz: dW, db and dx. Everything is (T, B, ...) in here.
"""

import keras
from keras import ops
from keras.src import backend  # not public: the one loop that all backends have, and that an export replaces

from keras_seq import kernels
from keras_seq.layers.core import biased, register, wide


class Loop(keras.layers.RNN):
    """What `keras.layers.LSTM` falls back on where there is no kernel of cuDNN: a place of its own in the bases."""

    def inner_loop(self, sequences, initial_state, mask=None, training=False):
        weights = (self.cell.kernel, self.cell.recurrent_kernel, self.cell.bias)
        kernel, recurrent, bias = (ops.cast(w, sequences.dtype) for w in weights)
        x = swap(sequences)
        shape = ops.shape(x)
        z = biased(ops.matmul(ops.reshape(x, (-1, shape[-1])), kernel), bias, training=training)
        z = ops.reshape(z, (*shape[:-1], 4 * self.units))
        keep = None if mask is None else ops.expand_dims(swap(ops.cast(mask, "bool")), -1)  # (T, B, 1)
        if not training:
            last, h, state = self.plain(z, recurrent, initial_state, keep)
            return last, swap(h), state
        y = taught(z, *initial_state, recurrent, keep, self.go_backwards)
        h, c = ops.split(y, 2, axis=-1)
        return h[-1], swap(h), [h[-1], c[-1]]

    def plain(self, z, recurrent, initial_state, keep):
        """Forwards only: Keras' own way with a mask, and its own loop, of which an export makes another."""

        def once(z, state):
            h, c, _ = tick(z, *state, recurrent)
            return h, [h, c]

        return loop(once, z, initial_state, keep, self.go_backwards)


@register
class LSTM(keras.layers.LSTM, Loop):
    """`keras.layers.LSTM`, faster on a CPU: same arguments, weights and results.

    For its tanh and sigmoid, with a bias, without dropout of its own; else Keras' own loop. On a GPU it is one kernel
    of cuDNN. On jax it is not that of Keras, which takes neither masks nor half precision and turns the outputs of
    `go_backwards` about.

    Outputs of steps that a mask leaves out before the first that a row reads mean nothing: zeros, or the first state.
    """

    def is_plain(self):
        """Whether all is as in the equations above."""
        activations = (keras.activations.tanh, keras.activations.sigmoid)
        other = self.dropout or self.recurrent_dropout or self.unroll or self.zero_output_for_mask
        return self.use_bias and not other and (self.activation, self.recurrent_activation) == activations

    def inner_loop(self, sequences, initial_state, mask=None, training=False):
        if not self.is_plain():
            return keras.layers.RNN.inner_loop(self, sequences, initial_state, mask, training)
        if kernels.recurs(sequences):
            return self.in_kernel(sequences, *initial_state, mask)
        if keras.backend.backend() == "jax":
            return Loop.inner_loop(self, sequences, initial_state, mask, training)
        return super().inner_loop(sequences, initial_state, mask, training)

    def in_kernel(self, x, h, c, mask=None):
        """`inner_loop` by a kernel that reads the first steps of each row: those to be read are moved there, and back.

        x: (B, T, D); h, c: (B, U); mask: bool (B, T), False for steps that leave the state as it is.
        """
        dtype, (batch, length) = x.dtype, x.shape[:2]
        weights = self.cell.kernel, self.cell.recurrent_kernel, self.cell.bias
        x, h, c, *weights = (ops.cast(w, "float32") for w in (x, h, c, *weights))
        if self.go_backwards:
            x, mask = ops.flip(x, axis=1), None if mask is None else ops.flip(mask, axis=1)
        if mask is None:
            y, h, c = kernels.cudnn_lstm(x, h, c, *weights, ops.full((batch,), length, dtype="int32"))
        else:
            mask = ops.cast(mask, "int32")
            read = ops.cumsum(mask, axis=1)  # steps of a row, up to each
            count = read[:, -1]
            x = rows_at(x, ops.argsort(1 - mask, axis=1))  # stable: those to be read first, in their order
            y, last, cell = kernels.cudnn_lstm(x, h, c, *weights, ops.maximum(count, 1))
            some = count[:, None] > 0
            y = rows_at(ops.concatenate([h[:, None], y], axis=1), read)  # 0 before the first
            h, c = ops.where(some, last, h), ops.where(some, cell, c)
        y, h, c = (ops.cast(part, dtype) for part in (y, h, c))
        return h, y, [h, c]


def rows_at(x, index):
    """x[b, index[b, t]]: (B, S, D), int (B, T) -> (B, T, D)."""
    batch, length, width = ops.shape(x)
    first = ops.expand_dims(length * ops.arange(batch, dtype="int32"), 1)
    return ops.take(ops.reshape(x, (-1, width)), ops.cast(index, "int32") + first, axis=0)


MANY = 2**31 - 1


def loop(once, x, states, keep=None, backwards=False):
    """Keras' loop over x (T, B, D), or a nest of such: last output (B, U), outputs (T, B, U), last states.

    Where no mask is given, Keras takes the second axis of x for the most steps there can be; hence a number.
    """
    steps = keras.tree.flatten(x)[0].shape[0] or MANY
    return backend.rnn(once, x, list(states), backwards, keep, time_major=True, input_length=steps)


def swap(x):
    """(B, T, ...) to (T, B, ...), and back."""
    return ops.swapaxes(x, 0, 1)


def tick(z, h, c, recurrent):
    """One step: the new h and c (B, U), and the gates i, f, g, o."""
    h, c, gates = cell(z + ops.matmul(h, recurrent), c)
    return ops.cast(h, z.dtype), ops.cast(c, z.dtype), gates


def cell(z, c):
    """What `tick` makes of the sum of both products; in float32 at least, which is faster on a CPU than bfloat16."""
    z, c = wide(z), wide(c)
    i, f, g, o = ops.split(z, 4, axis=-1)
    i, f, g, o = ops.sigmoid(i), ops.sigmoid(f), ops.tanh(g), ops.sigmoid(o)
    c = f * c + i * g
    return o * ops.tanh(c), c, (i, f, g, o)


def taught(z, h, c, recurrent, keep=None, backwards=False):
    """The states h and c of all steps side by side, (T, B, 2 U), in the order in which they are made.

    Args:
        z: (T, B, 4 U).
        h, c: (B, U), the first state.
        recurrent: U, (U, 4 U).
        keep: bool (T, B, 1) or None; where it is False the state stays.
        backwards: whether the last step comes first.
    """
    size = h.shape[-1]
    flip = (lambda x: ops.flip(x, axis=0)) if backwards else (lambda x: x)

    @kernels.custom_gradient
    def run(z, h, c, recurrent, *keep):
        def once(now, state):
            z, *keep = now
            made, *state = forth(z, ops.matmul(state[0], recurrent), *state, *keep)
            return made, state

        made = loop(once, (z, *keep), [h, c])[1]  # (T, B, 6 U)
        y, gates = ops.split(made, [2 * size], axis=-1)
        before = ops.concatenate([ops.expand_dims(ops.concatenate([h, c], axis=-1), 0), y[:-1]], axis=0)
        turned = ops.transpose(recurrent)

        def gradient(dy):
            zero = ops.zeros_like(h)
            steps = ops.reshape(ops.arange(ops.shape(z)[0], dtype="int32"), (-1, 1, 1))  # turned about in place of z
            seen = (ops.cast(dy, z.dtype), gates, y, before, *keep)

            def once(now, slopes):
                now = [x[now[0, 0]] for x in seen]
                dz, dh, dc = back(*slopes, *now)
                return dz, [*stay(now[4:], [ops.matmul(dz, turned)], [dh]), dc]

            _, dz, (dh, dc) = loop(once, steps, [zero, zero], backwards=True)
            dz = ops.flip(dz, axis=0)
            h_before = ops.reshape(before[:, :, :size], (-1, size))
            du = ops.matmul(ops.transpose(h_before), ops.reshape(dz, (-1, 4 * size)))
            return (dz, dh, dc, du, *[None] * len(keep))

        return y, gradient

    return run(flip(z), h, c, recurrent, *([] if keep is None else [flip(keep)]))


@kernels.fused(rows=True)
def forth(z, product, h, c, *keep):
    """The new h and c and the gates side by side (B, 6 U), and h and c (B, U); `product` is that of h and U."""
    *new, gates = cell(z + product, c)
    h, c = stay(keep, new, (wide(h), wide(c)))
    made = ops.concatenate([h, c, *gates], axis=-1)
    return [ops.cast(x, z.dtype) for x in (made, h, c)]


@kernels.fused(rows=True)
def back(dh, dc, dy, gates, y, before, *keep):
    """dz (B, 4 U), dh and what dy adds to it, and dc of the step before, given dh and dc of the step after (B, U)."""
    size, dtype = dh.shape[-1], dh.dtype
    dh, dc, dy, gates, y, before = map(wide, (dh, dc, dy, gates, y, before))
    dh, dc = (slope + part for slope, part in zip((dh, dc), ops.split(dy, 2, axis=-1)))
    i, f, g, o = ops.split(gates, 4, axis=-1)
    t = ops.tanh(y[:, size:])
    through = dc + dh * o * (1 - t * t)  # what reaches c, from outside and from h
    di, df, dg, do = through * g, through * before[:, size:], through * i, dh * t
    dz = [di * i * (1 - i), df * f * (1 - f), dg * (1 - g * g), do * o * (1 - o)]
    dz, dc = stay(keep, (ops.concatenate(dz, axis=-1), through * f), (0.0, dc))
    return [ops.cast(x, dtype) for x in (dz, dh, dc)]


def stay(keep, new, old):
    """New values where a row is to be read, the old ones elsewhere; `keep` is empty, or one mask (B, 1)."""
    return [ops.where(keep[0], *pair) for pair in zip(new, old)] if keep else list(new)
