"""Training on an accelerator: our models through `fit()` on the jax backend in bfloat16, beside torch compiled.

    python -m benchmarks gpu                                    # needs jax, torch, keras and this repository
    python -m benchmarks gpu --models transformer --batch 128
    python -m benchmarks gpu --profile 20                       # and the 20 kernels of each side that take most time
    python -m benchmarks gpu --toy                              # seconds, on a CPU: does it run

A Transformer, an LSTM with attention and a decoder over long rows. torch has the same weights, autocast to bfloat16,
`torch.compile` and its fused attention. Each side trains in a process of its own, so that neither holds the other's
memory; the loss before the first step must be the same. Prints tokens a second (source and target), the share of the
chip's bfloat16 peak that the products of the model alone take, and the most memory held.
"""

import argparse
import collections
import gzip
import json
import math
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import _race

ROOT = Path(__file__).parents[1]
SIZES = {
    "transformer": {"vocab_size": 32000, "dim": 512, "num_heads": 8, "num_layers": 6, "mlp_dim": 2048, "dropout": 0.1},
    "lstm": {"vocab_size": 32000, "dim": 512, "units": 512, "attention": "dot", "dropout": 0.1},
    "long": {"vocab_size": 8000, "dim": 512, "num_heads": 8, "num_layers": 4, "mlp_dim": 2048, "dropout": 0.0},
}
SHAPES = {"transformer": (128, 64), "lstm": (128, 64), "long": (2, 8192)}  # rows and tokens of a batch
TOY = {"vocab_size": 23, "dim": 16, "dropout": 0.0}
TOYS = {
    "transformer": {**TOY, "num_heads": 2, "num_layers": 1, "mlp_dim": 32},
    "lstm": {**TOY, "units": 16, "attention": "dot"},
    "long": {**TOY, "num_heads": 2, "num_layers": 1, "mlp_dim": 32},
}
TOY_SHAPES = {"transformer": (4, 8), "lstm": (4, 8), "long": (2, 32)}
PEAKS = {"H200": 989e12, "H100 PCIe": 756e12, "H100": 989e12, "A100": 312e12, "L4": 121e12, "T4": 65e12, "4090": 165e12}
SIDES = ("ours", "torch")
EVERY = 512  # queries a block of long attention
TRACED = 4  # steps of a profile


def made(name, options):
    """Our model of a name, with weights that a seed decides."""
    import keras

    from keras_seq import models

    keras.utils.set_random_seed(0)
    if name == "long":
        chunk = min(EVERY, options["mlp_dim"])
        attention = {"name": "multi_head", "chunk": chunk}
        return models.TransformerLanguageModel(**options, attention=attention, position="sinusoidal")
    return (models.RecurrentSeq2Seq if name == "lstm" else models.TransformerSeq2Seq)(**options)


def batch(name, options, rows, length):
    """Inputs of our model and labels, without padding."""
    import numpy as np

    draws = np.random.default_rng(0).integers(3, options["vocab_size"], (3, rows, length)).astype("int32")
    inputs = {"target": draws[1]} if name == "long" else {"source": draws[0], "target": draws[1]}
    return inputs, draws[2]


def first_loss(model, inputs, labels):
    """The loss before any step."""
    import numpy as np
    from keras import ops

    from keras_seq import training

    logits = np.array(ops.cast(model(inputs, training=False), "float32"))
    return float(training.TokenCrossEntropy()(labels, logits))


def train_ours(name, options, rows, length, steps, trace=None):
    """Steps of `fit` in mixed bfloat16 on jax: ticks, weights, the first loss, memory.

    `trace` gets a function that takes `TRACED` steps more.
    """
    import jax
    import keras

    from keras_seq import training

    keras.config.set_dtype_policy("mixed_bfloat16")
    model = made(name, options)
    keras.config.set_dtype_policy("float32")
    inputs, labels = batch(name, options, rows, length)
    model.compile(training.Adam(1e-3), training.TokenCrossEntropy())
    first = first_loss(model, inputs, labels)
    tick = _race.Ticks()

    def each(step, logs):
        jax.block_until_ready(logs)
        tick()

    def forever():
        while True:
            yield inputs, labels

    def fit(steps, *callbacks):
        model.fit(forever(), steps_per_epoch=steps, verbose=0, callbacks=list(callbacks), shuffle=False)

    fit(steps, keras.callbacks.LambdaCallback(on_train_batch_end=each))
    stats = jax.devices()[0].memory_stats() or {}
    if trace is not None:
        trace(lambda: fit(TRACED))
    return tick, model, first, stats.get("peak_bytes_in_use")


def train_torch(name, options, rows, length, steps, trace=None, compiled=True):
    """The same of torch, with the weights of ours."""
    import torch

    from benchmarks import _torch_peers as peers

    kind = {"long": peers.TorchLanguageModel, "lstm": peers.TorchLSTM}.get(name, peers.TorchTransformer)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = made(name, options)
    inputs, labels = batch(name, options, rows, length)
    peer = kind(model).to(device)
    tensors = [torch.from_numpy(x).long().to(device) for x in (*inputs.values(), labels)]
    peer.eval()
    with torch.no_grad():
        logits = peer(*tensors[:-1]).float().flatten(0, 1)
        first = float(torch.nn.functional.cross_entropy(logits, tensors[-1].flatten()))
    del logits
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    step, tick = peers.trainer(peer, tensors, bfloat16=True, compiled=compiled), _race.Ticks()
    for _ in range(steps):
        step()
        if device == "cuda":
            torch.cuda.synchronize()
        tick()
    memory = torch.cuda.max_memory_allocated() if device == "cuda" else None
    if trace is not None:
        trace(lambda: [step() for _ in range(TRACED)])
    return tick, model, first, memory


def kernels_of_ours(run):
    """What jax' trace tells of each operation: {name: seconds}."""
    import jax

    found = collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            run()
        (file,) = Path(folder).rglob("*.trace.json.gz")
        events = json.loads(gzip.decompress(file.read_bytes()))["traceEvents"]
    for event in events:
        told = event.get("args", {})
        if "hlo_op" in told:
            names = dict.fromkeys([event["name"], told["hlo_op"], told.get("tf_op", "")])
            found[" ".join(filter(None, names))] += event["dur"] / 1e6
    return found


def kernels_of_torch(run):
    """The same of torch."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    on_gpu = torch.cuda.is_available()
    with profile(activities=[ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU]) as trace:
        run()
        if on_gpu:
            torch.cuda.synchronize()
    took = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    return collections.Counter({each.key: getattr(each, took) / 1e6 for each in trace.key_averages()})


def work(count, name, options, rows, length):
    """Floating point operations of the products of one step, forward and backward, as they are usually counted.

    Each weight meets each row once, that of the tied table where it makes the logits: 6 operations. Attention over T:
    12 T D a layer, half of that where it is causal.
    """
    layers = {"long": 0.5, "transformer": 1 + 0.5 + 1, "lstm": 1}[name] * options.get("num_layers", 1)
    return rows * length * (6 * count + 12 * layers * length * options["dim"])


def peak_of(device):
    """The chip's bfloat16 peak without sparsity, FLOP/s, by its name; None where it is not known."""
    return next((peak for name, peak in PEAKS.items() if re.search(rf"\b{re.escape(name)}\b", device)), None)


TRAIN = {"ours": train_ours, "torch": train_torch}
KERNELS = {"ours": kernels_of_ours, "torch": kernels_of_torch}


def measure(side, name, options, rows, length, steps, profile=0):
    """One side in this process: {"tokens_s", "ms", "share", "gib", "weights", "loss", "device", "first_s"}.

    With a `profile` also "busy", milliseconds of all kernels of a step, and "kernels", so many of them by their time.
    """
    if side == "torch":
        _race.torch_first()
    begin, found = time.perf_counter(), collections.Counter()
    trace = (lambda run: found.update(KERNELS[side](run))) if profile else None
    tick, model, loss, memory = TRAIN[side](name, options, rows, length, steps, trace)
    most = {kernel: 1e3 * seconds / TRACED for kernel, seconds in found.most_common(profile)}
    profiled = {"busy": 1e3 * found.total() / TRACED, "kernels": most} if profile else {}
    count = sum(math.prod(v.shape) for v in model.trainable_variables)
    samples = [wall for _, wall in tick.samples()][1:]  # the first steps compile
    best, device = min(samples), device_name()
    peak, texts = peak_of(device), 1 if name == "long" else 2
    return {
        "tokens_s": 1e3 * texts * rows * length / statistics.median(samples), "ms": statistics.median(samples),
        "best_ms": best, "share": peak and work(count, name, options, rows, length) / (best / 1e3) / peak,
        "gib": memory and memory / 2**30, "weights": count, "loss": loss, "device": device,
        "first_s": tick.times[0][1] - begin, **profiled,
    }  # fmt: skip


def device_name():
    """The accelerator's name, or CPU."""
    try:
        asked = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        found = subprocess.run(asked, capture_output=True, text=True)
    except FileNotFoundError:
        return "CPU"
    return found.stdout.splitlines()[0].strip() if found.returncode == 0 and found.stdout.strip() else "CPU"


def in_own_process(side, name, args):
    """`measure` where no other library holds the memory."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "KERAS_BACKEND": "jax", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    env |= {"JAX_PLATFORMS": "cpu"} if side == "torch" else {}  # there jax only makes the weights
    job = [sys.executable, "-m", "benchmarks.gpu", "--only", side, "--models", name, "--steps", str(args.steps)]
    job += ["--toy"] if args.toy else []
    job += ["--batch", str(args.batch)] if args.batch else []
    job += ["--profile", str(args.profile)] if args.profile else []
    done = subprocess.run(job, env=env, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{side} {name}: {done.stderr[-4000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def sizes(name, args):
    """Options, rows and length of a model."""
    rows, length = (TOY_SHAPES if args.toy else SHAPES)[name]
    return (TOYS if args.toy else SIZES)[name], args.batch or rows, length


def table(found):
    """Markdown of {model: {side: numbers}}."""
    header = ["model", "side", "tokens a second", "ms a step", "share of the bf16 peak", "GiB at most", "s to step 1"]
    rows = []
    for name, sides in found.items():
        for side, n in sides.items():
            share = None if n["share"] is None else f"{n['share']:.1%}"
            rows.append([name, side, f"{n['tokens_s']:,.0f}", n["ms"], share, n["gib"], n["first_s"]])
        if len(sides) == 2:
            ratio = sides["ours"]["tokens_s"] / sides["torch"]["tokens_s"]
            rows.append([name, "ours / torch", f"{ratio:.2f}", *[None] * 4])
    device = next(iter(next(iter(found.values())).values()))["device"]
    return f"{device}, bfloat16\n\n{_race.markdown(header, rows)}"


def profiles(found):
    """Where the time of a step went, for each model and side of {model: {side: numbers}}."""
    for name, sides in found.items():
        for side, n in sides.items():
            yield f"\n{name}, {side}: kernels {n['busy']:.2f} of the {n['ms']:.2f} ms of a step"
            yield from (f"{ms:9.3f} ms  {kernel[:150]}" for kernel, ms in n["kernels"].items())


def agree(sides):
    """Raises AssertionError where the sides have not the same weights and the same loss before the first step."""
    ours, theirs = sides["ours"], sides["torch"]
    assert ours["weights"] == theirs["weights"], f"expected equally many weights, got {sides}"
    assert abs(ours["loss"] - theirs["loss"]) < 0.02 * theirs["loss"], f"expected the same loss, got {sides}"


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--steps", type=int, default=30, help="of which the first two do not count")
    parser.add_argument("--batch", type=int, help="rows of a batch, instead of the benchmark's own")
    parser.add_argument("--profile", type=int, default=0, help="how many kernels of a step to list (default: none)")
    parser.add_argument("--toy", action="store_true", help="tiny sizes, to see whether it runs")
    parser.add_argument("--only", choices=SIDES, help="measure one side here, print JSON")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    args = parser.parse_args(argv)
    if args.only:
        (name,) = args.models
        print(json.dumps(measure(args.only, name, *sizes(name, args), args.steps, args.profile)))
        return 0
    found = {}
    for name in args.models:
        found[name] = {side: in_own_process(side, name, args) for side in args.sides}
        if len(args.sides) == 2:
            agree(found[name])
        print(f"{name}: {json.dumps(found[name])}", file=sys.stderr, flush=True)
    print(json.dumps(found, indent=1) if args.json else table(found))
    if args.profile and not args.json:
        print(*profiles(found), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
