"""What is one kernel where a graph of tensorflow knows all shapes gives what it gives in many operations."""

import functools
import os
import re
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_seq import kernels, training
from keras_seq.layers import core, loops
from tests.checks import array, close, normal, shake

pytestmark = pytest.mark.tensorflow

LABELS = np.random.default_rng(0).integers(0, 11, (5, 7)).astype("int32")
MASK = np.arange(7) < np.array([[7], [3], [1], [5], [7]])


def loss(smoothing, dtype):
    return functools.partial(training.TokenCrossEntropy(smoothing), LABELS), []


def of_layer(make, dtype, **options):
    layer = make(dtype=dtype)
    layer.build((None, None, 11))
    shake(layer, 7)
    return functools.partial(layer, training=True, **options), [weight.value for weight in layer.trainable_weights]


lstm = functools.partial(loops.LSTM, 13, return_sequences=True)
FUSED = {  # what it is of, how many kernels stand in its graph, the gradient's too, and how many where shapes are open
    "norm": (functools.partial(of_layer, core.LayerNormalization), 2, 0),
    "loss": (functools.partial(loss, 0.0), 1, 1),
    "loss, smooth": (functools.partial(loss, 0.1), 1, 1),
    "lstm": (functools.partial(of_layer, lstm), 2, 2),
    "lstm, masked": (functools.partial(of_layer, lstm, mask=MASK), 2, 2),
    "lstm, backwards": (functools.partial(of_layer, functools.partial(lstm, go_backwards=True)), 2, 2),
}
fused = pytest.mark.parametrize("name", FUSED)


def slopes(name, dtype):
    """A function of x (B, T, 11): y and its gradients for x and the weights; the numbers of kernels of `FUSED`."""
    import tensorflow as tf

    make, *counts = FUSED[name]
    run, weights = make(dtype)

    def function(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = run(x)
            size = tf.reduce_sum(tf.sin(tf.cast(y, "float32")))
        return [y, *tape.gradient(size, [x, *weights])]

    return function, *counts


def compiled(function, *args):
    """How many functions XLA compiles in the graph of a function."""
    library = function.get_concrete_function(*args).graph.as_graph_def().library.function
    return sum(f.attr["_XlaMustCompile"].b for f in library if "_XlaMustCompile" in f.attr)


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
@fused
def test_a_kernel_gives_what_its_operations_give(name, dtype):
    import tensorflow as tf

    function, count, _ = slopes(name, dtype)
    x = tf.cast(3 * normal(5, 7, 11), keras.DTypePolicy(dtype).compute_dtype)
    graph = tf.function(function, autograph=False)
    assert compiled(graph, x) == count
    for one, other in zip(map(array, graph(x)), map(array, function(x))):  # of bfloat16 each rounds in other places
        assert np.linalg.norm(one - other) <= (1e-5 if dtype == "float32" else 2**-6) * np.linalg.norm(other)


@fused
def test_open_shapes_are_compiled_where_few_come_or_it_takes_no_time(name):
    import tensorflow as tf

    function, _, count = slopes(name, "float32")
    graph = tf.function(function, autograph=False, input_signature=[tf.TensorSpec((None, None, 11))])
    assert compiled(graph) == count
    x = 3 * normal(5, 7, 11)
    close(graph(x), function(tf.constant(x)))


def test_kernels_stand_in_what_xla_compiles_whole():
    import tensorflow as tf

    function, *_ = slopes("norm", "float32")
    x = tf.constant(3 * normal(5, 7, 11))
    close(tf.function(function, autograph=False, jit_compile=True)(x), function(x))


def test_only_a_graph_has_kernels():
    import tensorflow as tf

    met = []

    @kernels.fused
    def twice(x):
        met.append(kernels.fuses(x))
        return 2 * x

    x = normal(3, 4)
    close(twice(x), 2 * x)
    assert met == [False]
    assert array(tf.function(twice)(x)).shape == (3, 4)
    assert met == [False, True]


WIDTHS = """
import os, tensorflow as tf
from keras_seq import kernels
tf.function(lambda x: kernels.fused(lambda y: tf.tanh(y) * y)(x), autograph=False)(tf.ones((5, 7)))
print(os.environ["XLA_FLAGS"])
"""


@pytest.mark.parametrize("asked", ["", " --xla_cpu_prefer_vector_width=128"])
def test_vectors_are_wide_unless_who_runs_it_says_how_wide(asked, tmp_path):
    flags, cpu = f"--xla_dump_to={tmp_path}{asked}", Path("/proc/cpuinfo")
    command, env = [sys.executable, "-c", WIDTHS], os.environ | {"XLA_FLAGS": flags}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == flags  # as before
    (options,) = tmp_path.glob("module_0001*debug_options")
    wide = "512" if cpu.exists() and "avx512_bf16" in cpu.read_text() else "256"
    assert re.findall(r"xla_cpu_prefer_vector_width: (\d+)", options.read_text()) == ["128" if asked else wide]


THREADS = """
import os, threading
import tensorflow as tf
from keras_seq import kernels
threads = [threading.Thread(target=kernels.wide_vectors) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(os.environ.get("XLA_FLAGS"))
"""


@pytest.mark.parametrize("asked", [None, "--xla_cpu_prefer_vector_width=128"])
def test_flags_are_left_as_they_were_by_threads_that_come_at_once(asked):
    env = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    env |= {"XLA_FLAGS": asked} if asked else {}
    done = subprocess.run([sys.executable, "-c", THREADS], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(asked)
    assert not done.stderr.count("Traceback")
