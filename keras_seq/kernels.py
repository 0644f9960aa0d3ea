"""Kernels of a backend that Keras does not reach: the same results in less time."""

import functools
import os
import threading
from pathlib import Path

import keras
from keras import ops

IMPOSSIBLE = 700.0  # -log p of what cannot be, about what Keras gives


def fused(function=None, rows=False):
    """A function of tensors as one kernel on a CPU, in a graph of tensorflow that knows all shapes; elsewhere as it is.

    For many small operations or passes over memory, which become few; products and sums over the last axis are better
    off outside. XLA compiles it once for each shape, in one or two tenths of a second: for open shapes, of which each
    batch may bring another, it would be at work without end. On a GPU it asks for parts of CUDA that may be missing.

    Args:
        function: of tensors, numbers and names; None for a decorator with what follows.
        rows: whether the first axis may be open: where it has few sizes, as the rows of batches do, or for what is
            compiled in some hundredths of a second.

    Returns:
        The function; its `fuses` says whether it is one kernel for tensors.

    Example:

    >>> import numpy as np
    >>> from keras_seq.kernels import fused
    >>> float(np.sum(fused(lambda x, y: x * y + 1)(np.ones(3), np.ones(3))))
    6.0
    """

    if function is None:
        return functools.partial(fused, rows=rows)

    @functools.cache
    def compiled():
        import tensorflow as tf

        wide_vectors()
        return tf.function(function, autograph=False, jit_compile=True)

    @functools.wraps(function)
    def run(*args):
        return compiled()(*args) if run.fuses(*args) else function(*args)

    run.fuses = functools.partial(fuses, rows=rows)
    return run


def fuses(*args, rows=False):
    """Whether `fused` makes one kernel for these arguments."""
    if not on_cpu():
        return False
    import tensorflow as tf

    if tf.executing_eagerly():
        return False
    return all(x.shape[rows:].is_fully_defined() for x in args if tf.is_tensor(x))


ALONE = threading.Lock()  # for who changes what the whole process sees


def wide_vectors():
    """Has XLA take vectors of 512 bits, on a CPU that does not slow down for them: one with AVX512_BF16.

    Its own choice is 256 bits, with which a product of one row gets half of what the cache could give. It reads its
    flags when it compiles for the first time in a process; if it has, or who runs it asks for another width, it is so.
    """
    with ALONE:
        ask_for_wide_vectors()


@functools.cache
def ask_for_wide_vectors():
    cpu = Path("/proc/cpuinfo")
    if not (on_cpu() and cpu.exists() and "avx512_bf16" in cpu.read_text(errors="replace")):
        return
    import tensorflow as tf

    asked = os.environ.get("XLA_FLAGS")
    os.environ["XLA_FLAGS"] = f"--xla_cpu_prefer_vector_width=512 {asked or ''}"
    try:
        with tf.init_scope():
            tf.function(tf.identity, jit_compile=True)(0.0)
    finally:  # not for other libraries, nor for other processes: an XLA that does not know a flag breaks off
        os.environ.pop("XLA_FLAGS", None)
        if asked is not None:
            os.environ["XLA_FLAGS"] = asked


def on_cpu():
    """Whether tensorflow works, on a CPU."""
    return keras.backend.backend() == "tensorflow" and device() == "cpu"


def device():
    """What tensorflow or jax work on, "cpu" or "gpu" (or another, of jax); None on torch, which compiles nothing."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return "gpu" if tf.config.get_visible_devices("GPU") else "cpu"
    if keras.backend.backend() == "jax":
        import jax

        return jax.default_backend()
    return None


def custom_gradient(function):
    """`ops.custom_gradient` for a function of tensors that gives y and a function of dy: the slope of each tensor.

    On torch that function may keep y, whose memory is given back all the same, and a second derivative is an error:
    it would miss what was kept.
    """
    if keras.backend.backend() != "torch":
        return ops.custom_gradient(function)
    import torch

    def run(*args):
        y, gradient = function(*args)

        def once(*args, upstream):
            if torch.is_grad_enabled():
                raise NotImplementedError("no second derivatives here on torch: leave out create_graph=True")
            return gradient(upstream)

        return y.detach(), once  # the tensor that is given back will know `once`: kept there too, it would never go

    return ops.custom_gradient(run)


def flashes(dtype, size):
    """Whether there is a kernel for heads of this size: on a GPU, with jax, in half precision."""
    half = dtype in ("bfloat16", "float16")
    return keras.backend.backend() == "jax" and device() == "gpu" and half and size <= 128


def cudnn_attention(q, k, v, causal):
    """softmax(q k^T) v for (B, T, N, H), (B, S, N, H) and the same, where it `flashes`; 8 has to divide H.

    Reference: Dao et al. 2022.
    """
    import jax

    return jax.nn.dot_product_attention(q, k, v, scale=1.0, is_causal=causal, implementation="cudnn")


def recurs(x):
    """Whether there is a kernel for an LSTM over x: on a GPU, with jax, where all sizes are known."""
    known = all(isinstance(size, int) for size in x.shape)
    return keras.backend.backend() == "jax" and device() == "gpu" and x.dtype != "float64" and known


def cudnn_lstm(x, h, c, kernel, recurrent, bias, lengths):
    """An LSTM over the first steps of each row, as Keras' with the same weights, where it `recurs`.

    Args:
        x: (B, T, D), float32 like all but the lengths.
        h, c: (B, U), the first state.
        kernel, recurrent, bias: (D, 4 U), (U, 4 U), (4 U,).
        lengths: int32 (B,), 1 or more.

    Returns:
        The outputs (B, T, U), zeros behind the end of a row, and the last h and c (B, U).

    Reference: Appleyard et al. 2016.
    """
    from jax.experimental import rnn

    weights = [ops.transpose(kernel), ops.transpose(recurrent), bias, ops.zeros_like(bias)]
    weights = ops.concatenate([ops.ravel(w) for w in weights], axis=0)
    sizes = {"input_size": x.shape[-1], "hidden_size": h.shape[-1], "num_layers": 1}
    y, h, c = rnn.lstm(x, h[None], c[None], weights, lengths, **sizes, dropout=0.0, bidirectional=False)
    return y, h[0], c[0]


def in_xla():
    """Whether what tensorflow traces now is compiled by XLA as a whole."""
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf
    from tensorflow.python.ops import control_flow_util

    return control_flow_util.GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph())


def product_of_some(x, y):
    """x y of (M, D), (D, N) in float32 on a CPU for 5 to 64 rows, without a gradient.

    XLA's own code (YNNPACK, in tensorflow 2.21) reads y again for every five rows. Where x is turned it takes Eigen's
    instead, in down to half of the time; the barrier is there so that it does not turn x back.
    """
    if not in_xla():
        return ops.matmul(x, y)
    import tensorflow as tf
    from tensorflow.compiler.tf2xla.python import xla

    return tf.matmul(xla.optimization_barrier(tf.transpose(x))[0], y, transpose_a=True)


def product_turned(x, y):
    """x y^T of (..., M, D), (..., N, D), for which tensorflow, given a transpose and a product, turns y on its own."""
    if keras.backend.backend() != "tensorflow":
        return ops.matmul(x, ops.swapaxes(y, -1, -2))
    import tensorflow as tf

    return tf.matmul(x, y, transpose_b=True)


def batch_normalized(x, gamma, beta, epsilon):
    """y = n gamma + beta over all axes of x but the last, the mean and the variance (C,); None without such a kernel.

    On tensorflow for x of less than 64 bits: one op, and one for its gradient, where Keras makes eight passes over x.
    In float32, unless 16 divides the channels: where it does not, bfloat16 takes 40 times as long on a CPU.
    """
    if keras.backend.backend() != "tensorflow" or x.dtype == "float64":
        return None
    import tensorflow as tf

    rows = tf.reshape(x, (-1, 1, 1, x.shape[-1]))
    rows = tf.cast(rows, "float32") if x.shape[-1] % 16 else rows
    y, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=rows, scale=gamma, offset=beta, mean=[], variance=[], epsilon=epsilon, is_training=True
    )
    count = tf.cast(tf.shape(rows)[0], variance.dtype)
    y = tf.cast(tf.reshape(y, tf.shape(x)), x.dtype)
    return y, mean, variance * (count - 1) / count  # the op divides by one less


def ctc_loss(labels, logits, count):
    """The CTC loss (B,) of labels int32 (B, U), `count` (B,) of each row; 0 is the blank; None without such a kernel.

    On tensorflow, where XLA does not compile: one op, a sixth of the time of Keras' loop over moments. Labels that do
    not fit into the moments have a loss of `IMPOSSIBLE` and no gradient.
    """
    if keras.backend.backend() != "tensorflow" or in_xla():
        return None
    import tensorflow as tf

    nothing = tf.equal(count, 0)  # which the op refuses: it gets a token there, and what comes out is not taken
    labels = tf.pad(labels, ((0, 0), (0, 1))) + tf.cast(nothing[:, None], "int32")
    place = tf.where(tf.range(tf.shape(labels)[1]) < tf.maximum(count, 1)[:, None])  # of each label
    last = tf.concat([logits[..., 1:], logits[..., :1]], axis=-1)  # to the op the blank is the last
    batch, moments = tf.unstack(tf.shape(logits)[:2])
    loss = tf.raw_ops.CTCLoss(
        inputs=tf.transpose(last, (1, 0, 2)), labels_indices=place, labels_values=tf.gather_nd(labels, place) - 1,
        sequence_length=tf.fill([batch], moments), ignore_longer_outputs_than_inputs=True,
    ).loss  # fmt: skip
    again = tf.equal(labels[:, 1:], labels[:, :-1]) & tf.not_equal(labels[:, 1:], 0)  # a blank has to stand between
    fits = count + tf.reduce_sum(tf.cast(again, "int32"), axis=1) <= moments
    blanks = tf.reduce_sum(tf.reduce_logsumexp(logits, axis=-1) - logits[..., 0], axis=1)
    return tf.where(nothing, blanks, tf.where(fits, loss, IMPOSSIBLE))
