"""The host for JavaScript in Node: it gives the answers that were written down at export, and notices others."""

import json
import shutil
import subprocess

import pytest

from keras_seq import demo, deploy
from keras_seq.demo.loopback import HOST
from keras_seq.deploy import bundle, golden
from tests.browser import NODE, needs_node
from tests.test_demo import translator
from tests.test_deploy import TEXTS

pytestmark = needs_node


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A folder as a web developer has it: the host, LiteRT.js as npm installs it, an export."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copytree(HOST, folder, dirs_exist_ok=True)
    shutil.copytree(demo.runtime_folder(), folder / "node_modules" / "@litertjs")
    model = translator(folder)
    paths = {form: folder / f"model_{form}.tflite" for form in ("f32", "int8")}
    golden.write(folder, paths, TEXTS)
    return folder, model


def node(folder, *args):
    return subprocess.run([NODE, "run.mjs", *args], cwd=folder, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("form", ["f32", "int8"])
def test_all_answers_are_those_of_the_export(project, form):
    done = node(project[0], f"model_{form}.tflite", "--check", "golden.json")
    assert done.returncode == 0, done.stderr
    count = sum(case["format"] == form for case in json.loads((project[0] / "golden.json").read_text())["cases"])
    assert done.stdout == f"model_{form}.tflite: {count} cases, 0 differences\n"
    assert not done.stderr


def test_another_answer_is_noticed(project):
    folder = project[0]
    written = json.loads((folder / "golden.json").read_text())
    case = next(case for case in written["cases"] if case["signature"] == "text" and case["outputs"]["utf8"]["data"])
    case["outputs"]["utf8"]["data"][0] += 1
    (folder / "other.json").write_text(json.dumps(written))
    done = node(folder, written["files"][case["format"]], "--check", "other.json")
    assert done.returncode == 1
    assert "utf8: expected" in done.stderr


def test_a_text_goes_in_and_a_text_comes_out(project):
    runner = deploy.LiteRTRunner(project[0] / "model_int8.tflite")
    done = node(project[0], "model_int8.tflite", "open the file")
    assert (done.stdout, done.stderr) == (runner.text(["open the file"])[0] + "\n", "")


BYTES = """
import { Model } from "./litert.mjs";
const utf8 = { shape: [1, 8] };
const model = (outputs) => ({ signatures: { text: { inputs: { utf8 }, outputs } } });
const of = (text, outputs) => [...Model.prototype.utf8.call(model(outputs), text)];
const texts = ["abcdefghij", "日本語日b", "日b", ""];
console.log(JSON.stringify([{}, { prompt: {} }].map((outputs) => texts.map((text) => of(text, outputs)))));
"""


def test_of_too_long_a_text_the_beginning_is_read_and_of_a_prompt_the_end():
    done = subprocess.run([NODE, "--input-type=module", "-e", BYTES], cwd=HOST, capture_output=True, timeout=60)
    texts, prompts = json.loads(done.stdout)
    assert [bytes(x) for x in texts] == [b"abcdefgh", "日本語日b".encode()[:8], "日b".encode(), b""]
    assert [bytes(x) for x in prompts] == [b"cdefghij", "語日b".encode(), "日b".encode(), b""]


def test_a_file_for_any_length_is_refused_in_one_line(project):
    (project[0] / "model_f32_dynamic.tflite").write_bytes(bundle.with_card(b"TFL3", {"dynamic": True}, {}))
    done = node(project[0], "model_f32_dynamic.tflite", "open the file")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: expected a file of fixed shapes, got one for any length: ")


def test_mistakes_are_one_line(project):
    for args, code in (((), 2), (("nothing.tflite", "text"), 1)):
        done = node(project[0], *args)
        assert (done.returncode, done.stderr.count("\n")) == (code, 1)
        assert done.stderr.startswith("error: ")
