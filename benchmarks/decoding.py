"""`generate()` on tensorflow against CTranslate2, KerasHub and HF transformers with the same weights.

    pip install -e ".[bench]" transformers
    python -m benchmarks decoding                               # some minutes on one thread
    python -m benchmarks decoding --cases "greedy, batch 1" --rounds 3

A Transformer with 4 + 4 layers of 256 and 8,000 pieces reads 32 ids and writes 32, the encoder included. One thread;
all rivals in turn; CPU time, which other work on the machine changes least, and wall time. Before that all of them have
to write the same ids (of over 2,000 one in 2,000 may be another), and CTranslate2 to give a random target the same
scores; its int8 is timed for information only.

"ours" is what `generate` comes to when a shape comes often, compiled by XLA; "ours, plain" is how it begins.
"""

import argparse
import json
import os
import sys
import tempfile
import time

from benchmarks import _race, phone

LENGTH = 32
OPTIONS = {**phone.MODELS["small"], "vocab_size": 8000, "num_layers": 4}
CASES = {  # rows, beams, the share of CTranslate2's time that is asked at most
    "greedy, batch 1": (1, 1, 0.75),
    "greedy, batch 32": (32, 1, 0.8),
    "beam 4, batch 1": (1, 4, 1.0),
    "beam 4, batch 32": (32, 4, 1.0),
}
EXACT = "CTranslate2 float32"
KERAS_HUB, HUGGING_FACE = ["KerasHub", "KerasHub, XLA"], "transformers"


def models(options):
    """KerasHub's Transformer and ours with the same random weights."""
    import keras

    from benchmarks import _keras_peers as peers
    from keras_seq.models import TransformerSeq2Seq

    keras.utils.set_random_seed(0)
    options = {**options, "dropout": 0.0}
    theirs, ours = peers.HubTransformer(options), TransformerSeq2Seq(**options)
    theirs.give(ours)
    return ours, theirs


def rivals_of(model, hub, source, beams, length, folder):
    """{rival: function that writes (B, length) ids}, and lines on those that cannot take part."""
    import keras_hub
    import numpy as np
    import tensorflow as tf

    from keras_seq.decoding import generate

    def ours(jit_compile):  # eos=-1: nobody's sentences may end early
        options = {"beams": beams, "eos": -1, "jit_compile": jit_compile}
        return lambda: np.array(generate(model, {"source": source}, length, **options)[0])[:, 0]

    def hubs(jit_compile):
        sampler = keras_hub.samplers.BeamSampler(beams) if beams > 1 else keras_hub.samplers.GreedySampler()
        write = tf.function(lambda x: hub.generate(x, length, sampler), jit_compile=jit_compile)
        tensor = tf.constant(source)
        return lambda: write(tensor).numpy()

    def engines():
        found = phone.engines(model, folder, source)
        return {
            f"CTranslate2 {kind}": lambda engine=engine: phone.written(engine, source, beams, length)
            for kind, engine in found.items()
        }

    def hugging_face():
        from benchmarks import _hf_peer as peer

        theirs = peer.transformers_model(model, phone.positions(model))
        return {HUGGING_FACE: lambda: peer.written(theirs, source, beams, length)}

    rivals, notes = {"ours": ours(True), "ours, plain": ours(False)}, []
    rivals |= {name: hubs(jit) for name, jit in zip(KERAS_HUB, (False, True))}
    for others in (engines, hugging_face):
        try:
            rivals |= others()
        except ImportError as error:
            notes.append(f"left out: {error}")
    return rivals, notes


def first_calls(rivals):
    """{rival: CPU seconds of its first call}, after which all exact ones have to have written the same ids.

    Of many ids some are as likely as others but for the last bit: one in 2,000 may be another.

    Raises:
        AssertionError: where they have not.
    """
    import numpy as np

    written, seconds = {}, {}
    for name, run in rivals.items():
        begin = time.process_time()
        written[name] = np.array(run())
        seconds[name] = time.process_time() - begin
    for name, ids in written.items():
        if "int8" not in name and (ids != written["ours"]).sum() > ids.size // 2000:
            np.testing.assert_array_equal(ids, written["ours"], err_msg=name)
    return seconds


def measure(options, rows, beams, rounds, length=LENGTH):
    """{"times": {rival: numbers}, "first": {rival: CPU seconds}, "notes": [...]} of one case."""
    model, hub = models(options)
    source = phone.sentences(options["vocab_size"], rows, length)
    with tempfile.TemporaryDirectory() as folder:
        rivals, notes = rivals_of(model, hub, source, beams, length, os.path.join(folder, "peer"))
        first = first_calls(rivals)
        samples = _race.race({name: _race.once(run) for name, run in rivals.items()}, rounds)
    return {"times": {name: _race.summary(found) for name, found in samples.items()}, "first": first, "notes": notes}


def table(results):
    """The results of {case: what `measure` returns} as Markdown."""
    rows, asked = [], []
    for case, found in results.items():
        for rival, t in found["times"].items():
            rows.append([case, rival, t["cpu"], t["cpu_median"], t["wall"], t["wall_median"], found["first"][rival]])
        wanted = [("ours", [EXACT], CASES[case][2]), ("ours", KERAS_HUB, 0.4), ("ours", [HUGGING_FACE], 0.4)]
        wanted.append(("ours, plain", [EXACT], None))
        asked += [[case, *row] for row in _race.verdicts(found["times"], wanted)]
    header = ["case", "rival", "CPU ms a call", "median", "wall ms", "median", "CPU s of the first call"]
    notes = sorted({note for found in results.values() for note in found["notes"]})
    return "\n\n".join([_race.markdown(header, rows), _race.markdown(["case", *_race.VERDICTS], asked), *notes])


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--length", type=int, default=LENGTH, help="ids that are read, and that are written")
    parser.add_argument("--rounds", type=int, default=8, help="turns of each rival")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    args = parser.parse_args(argv)
    _race.threads(1)
    results = {}
    for case in args.cases:
        rows, beams, _ = CASES[case]
        results[case] = measure(OPTIONS, rows, beams, args.rounds, args.length)
        print(json.dumps({case: results[case]}), file=sys.stderr, flush=True)
    print(json.dumps(results, indent=1) if args.json else table(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
