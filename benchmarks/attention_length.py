"""Time and memory of attention over the length: full, in chunks, sparse, projective, and others' beside them.

    python -m benchmarks attention_length                       # minutes on one thread
    python -m benchmarks attention_length --lengths 512 2048 4096 --kinds full chunked torch

One self-attention layer with 8 heads of 64, batch 1, float32, one thread, its projections included; each row runs in a
process of its own. `products` is what cannot be spared: the same matrix products, no softmax between them. Ours run on
the backend of KERAS_BACKEND; `jax` and `jax_chunked` are ours on jax. Times are CPU milliseconds of the best run.
Memory is how far the peak of the process rises above what it was before the first run; a small layer may hide in
memory that was there already.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

HEADS, DIM = 8, 512
KINDS = {
    "full": ("multi_head", {}),
    "chunked": ("multi_head", {"chunk": 256}),
    "local": ("local", {"window": 128}),
    "strided": ("strided", {"block": 64, "stride": 4, "reach": 2}),
    "random": ("random", {"block": 64, "count": 4}),
    "block_sparse": ("block_sparse", {"block": 64}),
    "projective": ("projective", {"slots": 256, "max_length": 8192}),
    "projective_features": ("projective", {"features": 16}),
}
JAX = {"jax": KINDS["full"], "jax_chunked": KINDS["chunked"]}
PEERS = {"products": "tensorflow", "keras": "tensorflow", "torch": "torch", **dict.fromkeys(JAX, "jax")}  # backends


def made(kind):
    """A layer: x (1, L, D) -> (1, L, D)."""
    if kind in ("products", "keras", "torch"):
        return globals()[f"{kind}_layer"]()
    from keras_seq.layers import attention, sparse

    name, options = (KINDS | JAX)[kind]
    return attention.get({"name": name, **options}, sparse.SELF_ATTENTIONS, num_heads=HEADS)


def products_layer():
    """The matrix products of attention alone: projections, scores, and scores times values."""
    from keras_seq import layers

    class Products(layers.MultiHeadAttention):
        def attend(self, q, kv, *_):
            return self.output(self.scores(q, kv["k"]) @ kv["v"]), None

    return Products(HEADS)


def keras_layer():
    import keras

    layer = keras.layers.MultiHeadAttention(HEADS, DIM // HEADS)
    return lambda x: layer(x, x)


def torch_layer():
    """torch's projections around its scaled_dot_product_attention."""
    import torch

    into, out = torch.nn.Linear(DIM, 3 * DIM), torch.nn.Linear(DIM, DIM)

    def attend(x):
        q, k, v = into(x).reshape(*x.shape[:2], 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        y = torch.nn.functional.scaled_dot_product_attention(q, k, v)
        return out(y.transpose(1, 2).reshape(x.shape))

    return attend


def compiled(layer, backward):
    """A function of x, compiled where the backend can: the layer, or the gradient of its summed squares."""
    import keras

    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        def slope(x):
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = tf.reduce_sum(layer(x) ** 2)
            return tape.gradient(y, x)

        return tf.function(slope if backward else layer)
    if backend == "jax":
        import jax

        function = jax.jit(jax.grad(lambda x: (layer(x) ** 2).sum()) if backward else layer)
        return lambda x: function(x).block_until_ready()
    import torch

    def torch_slope(x):
        x = x.detach().requires_grad_()
        return torch.autograd.grad((layer(x) ** 2).sum(), x)

    return torch_slope if backward else torch.no_grad()(layer)


def one_thread():
    """Keeps every backend to one thread, before anything has run."""
    os.environ.update(OMP_NUM_THREADS="1", XLA_FLAGS="--xla_cpu_multi_thread_eigen=false", TF_CPP_MIN_LOG_LEVEL="3")
    os.environ.update(MKL_NUM_THREADS="1")
    if os.environ.get("KERAS_BACKEND", "tensorflow") == "tensorflow":
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)


def peak():
    """The most memory that the process has held, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def best(function, x, runs):
    """CPU milliseconds of the best of some runs, and MB that the first of them added to the peak."""
    before, times = peak(), []
    function(x)
    added = peak() - before
    for _ in range(runs):
        start = time.process_time()
        function(x)
        times.append(time.process_time() - start)
    return round(1e3 * min(times), 1), round(added)


def measure(kind, length, runs):
    """Forward, then forward and backward: (ms, MB) each."""
    one_thread()
    import numpy as np
    from keras import ops

    layer = made(kind)
    x = ops.convert_to_tensor(np.random.default_rng(0).normal(size=(1, length, DIM)).astype("float32"))
    layer(x[:, :1])
    start = peak()
    forward = best(compiled(layer, False), x, runs)
    milliseconds, _ = best(compiled(layer, True), x, runs)
    return [*forward, milliseconds, round(peak() - start)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    every = [*KINDS, *PEERS]
    parser.add_argument("--kinds", nargs="+", choices=every, default=every)
    parser.add_argument("--lengths", nargs="+", type=int, default=[512, 2048, 8192])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", action="store_true", help='print {kind: {length: {"forward_ms": ...}}} instead')
    parser.add_argument("--only", action="store_true", help="measure one kind and length here, print a list")
    args = parser.parse_args()
    if args.only:
        print(json.dumps(measure(args.kinds[0], args.lengths[0], args.runs)))
        return
    if args.json:
        print(json.dumps({
            kind: {length: dict(zip(NUMBERS, in_own_process(kind, length, args.runs))) for length in args.lengths}
            for kind in args.kinds
        }))  # fmt: skip
        return
    print("| kind | L | forward ms | MB | forward + backward ms | MB |\n|---|---|---|---|---|---|", flush=True)
    for length in args.lengths:
        for kind in args.kinds:
            numbers = in_own_process(kind, length, args.runs)
            print("|", " | ".join(map(str, [kind, length, *numbers])), "|", flush=True)


NUMBERS = ("forward_ms", "forward_mb", "both_ms", "both_mb")


def in_own_process(kind, length, runs):
    """`measure` in a process whose memory nothing else has used."""
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    env |= {"KERAS_BACKEND": PEERS[kind]} if kind in PEERS else {}
    job = [sys.executable, __file__, "--only", "--kinds", kind, "--lengths", str(length), "--runs", str(runs)]
    done = subprocess.run(job, env=env, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
