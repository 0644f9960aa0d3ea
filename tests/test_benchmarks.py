"""Benchmarks at toy size: rivals hold the same weights and agree before they are timed, and tables come out."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import _race
from benchmarks.__main__ import benchmarks
from tests.browser import chromium, needs_chromium, serving

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.tensorflow

TOY = {"vocab_size": 23, "dim": 8, "dropout": 0.1}
TRANSFORMER = {**TOY, "num_heads": 2, "num_layers": 1, "mlp_dim": 16}
RECURRENT = {**TOY, "units": 8, "attention": "dot"}


# ---------- all ----------


@pytest.mark.parametrize("name", benchmarks())
def test_every_benchmark_that_is_listed_can_be_imported(name):
    try:
        importlib.import_module(f"benchmarks.{name}")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("apps", "benchmarks", "keras_seq"):
            raise
        pytest.skip(f"{error.name} is not installed")


# ---------- the race ----------


def test_rivals_take_turns_and_the_first_step_of_each_does_not_count():
    order = []

    def rival(name):
        def run(tick):
            order.append(name)
            for _ in range(3):
                tick()

        return run

    samples = _race.race({name: rival(name) for name in "abc"}, rounds=2)
    assert "".join(order) == "abcbca"
    assert {name: len(found) for name, found in samples.items()} == {"a": 4, "b": 4, "c": 4}


def test_the_best_of_the_rivals_counts_and_what_was_missed_says_so():
    times = {name: {"cpu": ms, "cpu_median": 2 * ms} for name, ms in {"ours": 6.0, "one": 9.0, "two": 8.0}.items()}
    rows = _race.verdicts(times, [("ours", ["one", "two", "absent"], 0.7), ("ours", ["one"], 0.7), ("ours", ["x"], 1)])
    assert rows[0] == ["ours", "two", "0.75", "0.75", "0.70", "**missed**"]
    assert rows[1:] == [["ours", "one", "0.67", "0.67", "0.70", "held"]]
    assert _race.markdown(["a", "b"], [["x", 1234.56], ["y", None]]).splitlines()[2:] == ["| x | 1,234.6 |", "| y |  |"]


# ---------- a training step ----------


@pytest.mark.parametrize(("name", "options"), [("transformer", TRANSFORMER), ("lstm", RECURRENT)])
def test_a_training_step(name, options):
    """`measure` itself asserts equal counts of weights, logits and losses."""
    from benchmarks import training_step

    kind = {"transformer": "KerasHub", "lstm": "Keras"}[name]
    found = training_step.measure(name, options, kind, rows=3, length=5, steps=2, rounds=1, kinds=("f32",))
    rivals = {"ours f32", f"{kind} f32"} | ({"torch f32"} if training_step.with_torch() else set())
    assert set(found["times"]) == rivals
    assert all(numbers["cpu"] > 0 for numbers in found["times"].values())
    assert f"| {name} | ours f32 |" in training_step.table(found)


def test_other_weights_are_found_out():
    from benchmarks import training_step

    data = training_step.batch(23, 3, 5)
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        training_step.agree(training_step.ours(RECURRENT), training_step.theirs(RECURRENT), None, data)
    peer = training_step.theirs({**RECURRENT, "units": 6})
    with pytest.raises(AssertionError, match="equally many weights"):
        training_step.agree(training_step.ours(RECURRENT), peer, None, data)


# ---------- decoding ----------


def test_decoding():
    """`measure` itself asserts that all exact rivals write the same ids."""
    pytest.importorskip("ctranslate2")
    from benchmarks import decoding

    options = {**TRANSFORMER, "dropout": 0.0}
    found = decoding.measure(options, rows=2, beams=3, rounds=1, length=5)
    assert {"ours", "ours, plain", "KerasHub", "KerasHub, XLA", decoding.EXACT} <= set(found["times"])
    assert all(numbers["cpu"] > 0 for numbers in found["times"].values())
    assert "| beam 4, batch 1 | ours | CTranslate2 float32 |" in decoding.table({"beam 4, batch 1": found})
    with pytest.raises(AssertionError, match="another"):
        decoding.first_calls({"ours": lambda: [[5]], "CTranslate2 int8": lambda: [[6]], "another": lambda: [[7]]})


# ---------- the browser ----------


@needs_chromium
def test_the_browser_writes_what_the_native_runtime_does(tmp_path, monkeypatch):
    """`measure` itself asserts that the ids of f32 are the same."""
    from benchmarks import browser, phone
    from keras_seq import demo

    toy = {name: size for name, size in TRANSFORMER.items() if name != "dropout"}
    monkeypatch.setitem(phone.MODELS, "toy", toy)
    driver = chromium(tmp_path / "profile")
    try:
        with serving(demo.server(tmp_path, {}, demo.runtime_folder())) as url:
            rows = browser.measure(driver, url, "toy", tmp_path, rounds=2)
            with pytest.raises(RuntimeError, match="the browser says: .*nowhere"):
                browser.ask(driver, "throw new Error('nowhere')")
    finally:
        driver.quit()
    assert [row[1] for row in rows] == ["f32", "f32, beam 4", "int8", "int8, beam 4"]
    assert [float(row[4]) > 0 for row in rows] == [True] * 4


# ---------- the start ----------


def test_the_benchmark_of_the_start_holds_processes_to_their_exit_codes():
    from benchmarks import start

    times = start.measure("/no/such/folder", 1, ["python -m apps", "predict without a model"])
    assert [t["cpu"] > 0 for t in times.values()] == [True, True]
    assert "| `python -m apps` |" in start.table(times, "/no/such/folder")
    with pytest.raises(AssertionError, match="expected exit code 0, got 2"):
        start.timed(["-m", "apps", "train"], 0)


# ---------- the pipeline ----------


def test_the_benchmark_of_the_pipeline_trains_on_equal_batches():
    """Whatever the machine does, memory gives the batches that the pipeline gives, as often as they are asked for."""
    import keras

    from benchmarks import pipeline
    from keras_seq.data import Bucketed

    seen = {}

    class Spy(keras.Model):
        def train_step(self, data):
            now.append(data[0]["source"])
            return super().train_step(data)

        def call(self, inputs, training=None):
            return self.embedding(inputs["target"])

    rows = {key: [[5 + i % 7] * (1 + i % 5) for i in range(40)] for key in ("source", "target")}
    model = Spy()
    model.embedding = keras.layers.Embedding(13, 13)
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), run_eagerly=True)
    for name, rival in pipeline.rivals_of(model, Bucketed(rows, 30), steps=3).items():
        now = seen[name] = []
        ticks = _race.Ticks()
        rival(ticks)
        assert len(ticks.times) == 3
    assert [x.numpy().tolist() for x in seen["pipeline"]] == [x.numpy().tolist() for x in seen["memory"]]
    found = {"app": "toy", "speed": 0.9, "wall_speed": 1.0, "ms": 10.0, "memory_ms": 9.0, "padding": 0.2}
    assert pipeline.row(found)[-2:] == ["**missed**", "20.0% **missed**"]


# ---------- scale ----------


def test_the_benchmark_of_scale_tells_when_a_quality_was_reached_and_draws_it():
    from benchmarks import scale
    from keras_seq import plots

    def run(sizes, seconds):
        slow = sizes["width"] / 64
        curve = [[i * seconds / 4, 8 - i / slow] for i in range(1, 5)]
        return {"tokens_a_second": 1000 / slow, "megabytes": 10 * slow, "weights": sizes["width"], "curve": curve}

    found = scale.measure(["width"], 60.0, run)["width"]
    assert [row["loss"] for row in found] == [8 - 4 * 64 / row["size"] for row in found]
    assert [row["seconds_to_quality"] for row in found] == [60.0, None, None, None]
    assert scale.time_to(7.5, [[10.0, 8.0], [20.0, 7.0]]) == 15.0
    assert "| width D | 640 | 640 | 100 | 100 | 7.600 | not reached |" in scale.table({"width": found})
    assert plots.png(scale.plot({"width": found}))[:4] == b"\x89PNG"


# ---------- an accelerator ----------


@pytest.mark.parametrize("name", ["transformer", "lstm", "long"])
def test_the_benchmark_of_an_accelerator_runs_on_a_cpu(name):
    """Both sides have the same weights and the same loss; here in one process, and torch not compiled."""
    pytest.importorskip("torch")
    from benchmarks import gpu

    options, (rows, length) = gpu.TOYS[name], gpu.TOY_SHAPES[name]
    seen = []
    tick, model, loss, _ = gpu.train_torch(
        name, options, rows, length, 4, lambda run: seen.append(gpu.kernels_of_torch(run)), compiled=False
    )
    assert len(tick.samples()) == 3
    assert seen[0].total() > 0
    assert abs(loss - gpu.first_loss(model, *gpu.batch(name, options, rows, length))) < 1e-4


def test_work_is_counted_as_in_the_books():
    """6 operations for each weight and token, and 12 T D for full attention over T."""
    from benchmarks import gpu

    options = {"dim": 5, "num_layers": 2}
    assert gpu.work(100, "long", options, rows=3, length=7) == 3 * 7 * (600 + 12 * 1 * 7 * 5)
    assert gpu.work(100, "transformer", options, rows=3, length=7) == 3 * 7 * (600 + 12 * 5 * 7 * 5)
    assert gpu.peak_of("NVIDIA H100 80GB HBM3") == 989e12
    assert gpu.peak_of("CPU") is None


@pytest.mark.skipif(not importlib.util.find_spec("jax"), reason="needs jax")
def test_our_side_trains_through_fit_on_jax_without_tensorflow():
    code = (
        "import sys; sys.modules['tensorflow'] = None; from benchmarks import gpu; "
        "found = gpu.measure('ours', 'long', gpu.TOYS['long'], *gpu.TOY_SHAPES['long'], steps=4, profile=3); "
        "print(found['tokens_s'] > 0 and found['busy'] > sum(found['kernels'].values()), len(found['kernels']))"
    )
    env = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=env, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["True", "3"]
