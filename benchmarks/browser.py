"""Exported files in a browser (LiteRT.js in Chromium) against the same files run natively: milliseconds a token.

    pip install -e ".[bench,test]"; apt-get install chromium-driver
    python -m benchmarks browser
    python -m benchmarks browser --models small --rounds 20

One sentence at a time, native and browser in turn in each round, both on one thread, the best round counts. It is wall
time, for a page can ask for no other: run it on a machine with nothing else to do. The models are those of `phone`. In
f32 the browser has to write the ids that the native runtime writes; of int8 the table says how many it does, for their
sums are rounded differently and random weights are soon of two minds.
"""

import argparse
import pathlib
import sys
import tempfile
import time

from benchmarks import _race, phone

ASKED = 2  # int8: at most twice native
SIGNATURES = {"": "generate", phone.BEAM: "generate_beam"}
LOAD = """
const [form] = arguments;
const { load } = await import("/host/litert.mjs");
const begin = performance.now();
window.model?.delete();
window.model = await load(`/model/model_${form}.tflite`, "/runtime/core/wasm/");
return performance.now() - begin;
"""
RUN = """
const [signature, source] = arguments;
const begin = performance.now();
const { tokens } = await window.model.run(signature, { source });
return { ms: performance.now() - begin, tokens: Array.from(tokens.data) };
"""


def ask(driver, script, *args):
    """What a script in the page returns, which may wait for what it does.

    Raises:
        RuntimeError: what the page says of it.
    """
    last = "const last = arguments[arguments.length - 1];"  # what ends the wait
    run = f"(async function () {{ {script} }})(...arguments).then(last, (error) => last({{ error: String(error) }}));"
    found = driver.execute_async_script(last + run, *args)
    if isinstance(found, dict) and "error" in found:
        raise RuntimeError(f"the browser says: {found['error']}")
    return found


def row(name, form, suffix, ms, same, loading):
    """A row of the table.

    Raises:
        AssertionError: where a file of f32 writes other ids in the browser.
    """
    assert form != "f32" or same == phone.LENGTH, f"{name}, f32{suffix}: the browser writes {same} ids as native does"
    native, browser = (min(ms[where]) / phone.LENGTH for where in ("native", "browser"))
    ratio, asked = browser / native, ASKED if form == "int8" and not suffix else None
    cells = [f"{native:.3f}", f"{browser:.3f}", f"{ratio:.2f}", asked, _race.verdict(ratio, asked)]
    return [name, form + suffix, *cells, f"{same} of {phone.LENGTH}", f"{loading:.0f}"]


def measure(driver, url, name, folder, rounds):
    """[row] of one model."""
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter

    model = phone.random_model(name)
    source, rows = phone.sentences(model.options["vocab_size"]), []
    for form, content in phone.exported(model).items():
        (folder / f"model_{form}.tflite").write_bytes(content)
        driver.get(url)
        loading = ask(driver, LOAD, form)
        interpreter = Interpreter(model_content=content, num_threads=1)
        for suffix, signature in SIGNATURES.items():
            runner, ms = interpreter.get_signature_runner(signature), {"native": [], "browser": []}
            for _ in range(rounds):
                begin = time.perf_counter()
                expected = runner(source=source)["tokens"]
                ms["native"].append(1e3 * (time.perf_counter() - begin))
                found = ask(driver, RUN, signature, source[0].tolist())
                ms["browser"].append(found["ms"])
            same = phone.steps_alike(np.reshape(found["tokens"], expected.shape), expected)
            rows.append(row(name, form, suffix, ms, same, loading))
            print(rows[-1], file=sys.stderr, flush=True)
    return rows


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=phone.MODELS, default=list(phone.MODELS))
    parser.add_argument("--rounds", type=int, default=12, help="of which the best counts")
    args = parser.parse_args(argv)
    _race.threads(1)
    from keras_seq import demo
    from tests.browser import chromium, serving

    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        driver = chromium(folder / "profile")
        driver.set_script_timeout(600)
        try:
            with serving(demo.server(folder, {}, demo.runtime_folder())) as url:
                rows = [row for name in args.models for row in measure(driver, url, name, folder, args.rounds)]
        finally:
            driver.quit()
    header = ["native, ms a token", "browser, ms a token", "ratio", "asked at most", "", "same ids", "loading, ms"]
    print(_race.markdown(["model", "file", *header], rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
