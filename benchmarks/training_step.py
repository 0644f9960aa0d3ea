"""One training step of our Transformer and LSTM through `fit()`, against KerasHub, Keras and torch, same weights.

    pip install -e ".[bench]"
    python -m benchmarks training_step                          # some minutes on one thread
    python -m benchmarks training_step --threads 2
    python -m benchmarks training_step --models lstm_500 --rounds 5

All rivals take turns; each turn is some steps, the first of which does not count. Before that all of them have to have
as many weights that learn, and to give the same logits and the same loss in float32. CPU time, which other work on the
machine changes least; wall time too. Adam without schedule and clipping; data that is always there.
"""

import argparse
import functools
import gc
import json
import sys
import time

from benchmarks import _race

BFLOAT16 = "mixed_bfloat16"
TRANSFORMER = {"vocab_size": 8000, "dim": 256, "num_heads": 4, "num_layers": 4, "mlp_dim": 1024, "dropout": 0.1}
RECURRENT = {"vocab_size": 8000, "dim": 256, "units": 256, "attention": "dot", "dropout": 0.1}
MODELS = {"transformer": TRANSFORMER, "lstm": RECURRENT, "lstm_500": {**RECURRENT, "vocab_size": 500}}
KERAS = {"transformer": "KerasHub", "lstm": "Keras", "lstm_500": "Keras"}
ASKED = {  # ours, rivals of which the best counts, and what share of its time is asked at most
    "transformer": [
        ("ours f32", ["KerasHub f32", "torch f32"], 0.75), ("ours bf16", ["KerasHub bf16", "torch bf16"], 0.6),
    ],
    "lstm": [
        ("ours f32", ["torch f32"], 0.5), ("ours bf16", ["torch bf16"], 0.6),
        ("ours f32", ["Keras f32"], None), ("ours bf16", ["Keras bf16"], None),
    ],
    "lstm_500": [
        ("ours f32", ["torch f32"], 0.9), ("ours bf16", ["torch bf16"], None),
        ("ours f32", ["Keras f32"], None), ("ours bf16", ["Keras bf16"], None),
    ],
}  # fmt: skip


def batch(vocab_size, rows, length):
    """Source, target and labels (rows, length) without padding."""
    import numpy as np

    source, target, labels = np.random.default_rng(0).integers(3, vocab_size, (3, rows, length)).astype("int32")
    return source, target, labels


def ours(options, policy="float32"):
    """One of our models, by its options, made under a policy."""
    import keras

    from keras_seq import models

    keras.config.set_dtype_policy(policy)
    try:
        kind = models.RecurrentSeq2Seq if "units" in options else models.TransformerSeq2Seq
        return kind(**options)
    finally:
        keras.config.set_dtype_policy("float32")


def theirs(options, policy="float32"):
    """The same model of KerasHub's or Keras' layers."""
    import keras

    from benchmarks import _keras_peers as peers

    keras.config.set_dtype_policy(policy)
    try:
        return (peers.KerasLSTM if "units" in options else peers.HubTransformer)(options)
    finally:
        keras.config.set_dtype_policy("float32")


def fitted(model, loss, optimizer, data, steps, any_length=False):
    """A function of `tick` that takes so many steps of `fit`, after one that compiles them; the seconds of that.

    With `any_length` the graph knows neither rows nor lengths, as where texts of any length come.
    """
    import keras
    import tensorflow as tf

    source, target, labels = data
    model.compile(optimizer(1e-3), loss)
    once = tf.data.Dataset.from_tensors(({"source": source, "target": target}, labels, labels * 0 + 1.0))
    if any_length:
        forget = functools.partial(tf.compat.v1.placeholder_with_default, shape=(None, None))
        once = once.map(lambda *batch: tf.nest.map_structure(forget, batch))
    settings = tf.data.Options()
    settings.autotune.enabled = False  # with it an epoch now and then waits at its end for a timer
    repeated = once.cache().repeat().with_options(settings)

    def run(tick, steps=steps):
        each = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: tick())
        model.fit(repeated, steps_per_epoch=steps, verbose=0, callbacks=[each], shuffle=False)

    begin = time.process_time()
    run(lambda: None, 1)
    return run, time.process_time() - begin


def torch_fitted(model, data, steps, bfloat16):
    """The same for torch."""
    import torch

    from benchmarks import _torch_peers as peers

    step = peers.trainer(model, [torch.from_numpy(x).long() for x in data], bfloat16)

    def run(tick, steps=steps):
        for _ in range(steps):
            step()
            tick()

    begin = time.process_time()
    run(lambda: None, 1)
    return run, time.process_time() - begin


def learning(weights):
    import math

    return sum(math.prod(weight.shape) for weight in weights)


def agree(own, peer, torch_peer, data):
    """Holds counts of weights, logits and loss equal; returns {"weights", "loss"}.

    Raises:
        AssertionError: where they differ.
    """
    import keras
    import numpy as np

    from keras_seq import training

    source, target, labels = data
    inputs = {"source": source, "target": target}
    counts = {"ours": learning(own.trainable_variables), "Keras": learning(peer.trainable_variables)}
    logits = {"ours": np.array(own(inputs, training=False)), "Keras": np.array(peer(inputs, training=False))}
    if torch_peer is not None:
        import torch

        counts["torch"] = learning(torch_peer.trained())
        with torch.no_grad():
            torch_peer.eval()
            logits["torch"] = torch_peer(*(torch.from_numpy(x).long() for x in (source, target))).numpy()
    assert len(set(counts.values())) == 1, f"expected equally many weights, got {counts}"
    for name, found in logits.items():
        np.testing.assert_allclose(found, logits["ours"], atol=2e-3, err_msg=name)
    losses = [training.TokenCrossEntropy(), keras.losses.SparseCategoricalCrossentropy(from_logits=True)]
    first, second = (float(loss(labels, logits["ours"])) for loss in losses)
    np.testing.assert_allclose(first, second, rtol=1e-5)
    return {"weights": counts["ours"], "loss": first}


def with_torch():
    """Says whether torch is installed."""
    import importlib.util

    return importlib.util.find_spec("torch") is not None


def rivals_of(options, keras_name, data, steps, kinds=("f32", "bf16"), any_length=False):
    """{rival: function of tick}, {rival: CPU seconds of its first step}, and what `agree` found."""
    import keras

    from keras_seq import training

    keras.utils.set_random_seed(0)
    peer, own = theirs(options), ours(options)
    peer.give(own)
    torch_peer = None
    if with_torch():
        from benchmarks import _torch_peers as peers

        make = peers.TorchLSTM if "units" in options else peers.TorchTransformer
        torch_peer = make(own)
    found = agree(own, peer, torch_peer, data)
    rivals = {}
    for kind in kinds:
        policy = {"f32": "float32", "bf16": BFLOAT16}[kind]
        cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        how = ((same(own, ours(options, policy)), training.TokenCrossEntropy(), training.Adam),
               (same(peer, theirs(options, policy)), cross_entropy, keras.optimizers.Adam))  # fmt: skip
        for name, (model, loss, optimizer) in zip(("ours", keras_name), how):
            rivals[f"{name} {kind}"] = fitted(model, loss, optimizer, data, steps, any_length)
        if torch_peer is not None:
            rivals[f"torch {kind}"] = torch_fitted(make(own), data, steps, kind == "bf16")
    return {name: run for name, (run, _) in rivals.items()}, {name: s for name, (_, s) in rivals.items()}, found


def same(old, new):
    """A Keras model with the weights of another of the same kind."""
    new.set_weights(old.get_weights())
    return new


def measure(name, options, keras_name, rows=64, length=32, steps=3, rounds=6, **how):
    """{"times": {rival: numbers}, "first": {rival: CPU seconds}, "weights": ..., "loss": ...} of one model."""
    data = batch(options["vocab_size"], rows, length)
    rivals, first, found = rivals_of(options, keras_name, data, steps, **how)
    times = {rival: _race.summary(samples) for rival, samples in _race.race(rivals, rounds).items()}
    del rivals
    gc.collect()
    return {"model": name, "times": times, "first": first, **found}


def table(found):
    """The results of one model as Markdown."""
    rows = [
        [found["model"], rival, t["cpu"], t["cpu_median"], t["wall"], t["wall_median"], found["first"][rival]]
        for rival, t in found["times"].items()
    ]
    header = ["model", "rival", "CPU ms a step", "median", "wall ms", "median", "CPU s of the first step"]
    asked = _race.markdown(_race.VERDICTS, _race.verdicts(found["times"], ASKED[found["model"]]))
    weights, loss = found["weights"], found["loss"]
    head = f"{found['model']}: {weights:,} weights that learn in every rival, the same loss {loss:.3f}"
    return "\n\n".join([head, _race.markdown(header, rows), asked])


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=8, help="turns of each rival")
    parser.add_argument("--steps", type=int, default=4, help="of a turn, the first of which does not count")
    parser.add_argument("--any-length", action="store_true", help="the graphs of Keras know no shapes")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    args = parser.parse_args(argv)
    _race.threads(args.threads)
    if with_torch():
        import torch

        torch.set_num_threads(args.threads)
    for name in args.models:
        how = {"steps": args.steps, "rounds": args.rounds, "any_length": args.any_length}
        found = measure(name, MODELS[name], KERAS[name], **how)
        print(json.dumps(found) if args.json else f"{table(found)}\n", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
