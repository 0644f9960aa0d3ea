"""The hosts for Android and iOS: compiled, they answer what golden.json says; the runtime beneath them is ours.

Their LiteRT runs on phones alone. In its place stands phone/*/: the few classes that a host calls, with the same
signatures, which ask this process on their standard output for what Python's LiteRT answers.
"""

import contextlib
import json
import shutil
import subprocess

import numpy as np
import pytest

from keras_seq.data import cutting
from keras_seq.deploy import golden
from keras_seq.deploy.handover import HOSTS
from tests.checks import ROOT, host
from tests.test_demo import classifier, translator
from tests.test_deploy import TEXTS
from tests.test_tagged import WORDS_OF_HOST, plain_texts, rules

STUBS = ROOT / "tests" / "phone"
TOOLS = {"kotlin": ("kotlinc", "java"), "swift": ("swiftc",)}
ANDROID, IOS = (sorted((HOSTS / name).iterdir()) for name in ("android", "ios"))


def kotlin(folder):
    """The command that runs the Kotlin host."""
    to = folder / "host.jar"
    sources = [*ANDROID, *sorted((STUBS / "kotlin").glob("*.kt"))]
    compiled("kotlinc", *sources, "-Werror", "-include-runtime", "-d", to)
    return ["java", "-cp", to, "MainKt"]


def swift(folder):
    """The command that runs the Swift host."""
    stub, to = STUBS / "swift" / "TensorFlowLite.swift", folder / "host"
    module = ("-module-name", "TensorFlowLite", "-parse-as-library", "-emit-library", "-static", "-emit-module")
    compiled("swiftc", *module, "-emit-module-path", folder, stub, "-o", folder / "libTensorFlowLite.a")
    sources = [*IOS, STUBS / "swift" / "main.swift"]
    compiled("swiftc", "-warnings-as-errors", *sources, "-I", folder, "-L", folder, "-lTensorFlowLite", "-o", to)
    return [to]


def compiled(*command):
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module", params=[kotlin, swift], ids=lambda make: make.__name__)
def command(request, tmp_path_factory):
    """How a host is started; a test is passed over where its compiler is not installed."""
    missing = [name for name in TOOLS[request.param.__name__] if not shutil.which(name)]
    if missing:
        pytest.skip(f"{missing[0]} is not installed")
    return request.param(tmp_path_factory.mktemp(request.param.__name__))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An export of a translator."""
    folder = tmp_path_factory.mktemp("export")
    translator(folder)
    golden.write(folder, {form: folder / f"model_{form}.tflite" for form in ("f32", "int8")}, TEXTS)
    return folder


class Phone:
    """A host that runs; `model` of the Python host answers for its LiteRT.

    Args:
        command: how it is started.
        model: what runs the signatures.
    """

    def __init__(self, command, model):
        self.model = model
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.stdout.close()
        assert self.process.wait(60) == 0

    def ask(self, *line):
        """What the host answers to a line; meanwhile it may ask for what LiteRT knows."""
        self.say("|".join(line))
        while (answer := self.process.stdout.readline().rstrip("\n")).startswith("?"):
            self.say("|".join(self.litert(*answer[1:].split("|"))))
        assert answer.startswith("="), answer
        return answer[1:]

    def say(self, line):
        self.process.stdin.write(line + "\n")

    def litert(self, what, signature, *given):
        """NAME:SHAPE=HEX of each tensor that a signature has or returns."""
        runner = self.model.runners[signature]
        details = runner.get_input_details()
        if what != "run":
            found = details if what == "inputs" else runner.get_output_details()
            return [f"{name}:{shape(x['shape'])}=" for name, x in found.items()]
        given = {name: bytes.fromhex(data) for name, data in (tensor.split("=") for tensor in given)}
        arrays = {name: np.frombuffer(data, details[name]["dtype"]) for name, data in given.items()}
        inputs = {name: x.reshape(details[name]["shape"]) for name, x in arrays.items()}
        found = self.model.run(signature, **inputs)
        return [f"{name}:{shape(x.shape)}={x.tobytes().hex()}" for name, x in found.items()]

    def text(self, text, signature="text"):
        answer = self.ask("text", signature, ",".join(self.model.signatures[signature]["outputs"]), hexed(text))
        return bytes.fromhex(answer).decode()

    def numbers(self, text, output, signature="text"):
        outputs = ",".join(self.model.signatures[signature]["outputs"])
        return list(map(float, self.ask("numbers", signature, outputs, hexed(text), output).split(",")))

    def words(self, text, card):
        return bytes.fromhex(self.ask("words", "", "", hexed(json.dumps(card)), hexed(text))).decode()

    def utf8(self, text, signature="text"):
        outputs = ",".join(self.model.signatures[signature]["outputs"])
        return np.array([self.ask("utf8", signature, outputs, hexed(text)).split(",")], "int32")

    def run(self, signature, **inputs):
        """{name: array} of a call of `run`."""
        details = self.model.runners[signature].get_output_details()
        given = [f"{kind(name, x.dtype)}={shape(x.reshape(-1))}" for name, x in inputs.items()]
        outputs = ",".join(kind(name, x["dtype"]) for name, x in details.items())
        found = dict(tensor.split("=") for tensor in self.ask("run", signature, outputs, *given).split("|"))
        arrays = {name: np.array(numbers.split(","), details[name]["dtype"]) for name, numbers in found.items()}
        return {name: x.reshape(details[name]["shape"]) for name, x in arrays.items()}


def shape(numbers):
    return ",".join(map(str, numbers))


def kind(name, dtype):
    return f"{name}:{'float' if np.dtype(dtype).kind == 'f' else 'int'}"


def hexed(text):
    return text.encode().hex()


def test_all_answers_are_those_of_the_export(command, folder, monkeypatch):
    python = host()
    model, phones = python.Model, contextlib.ExitStack()
    with phones, monkeypatch.context() as patch:
        patch.setitem(python.check.__globals__, "Model", lambda path: phones.enter_context(Phone(command, model(path))))
        count, failed = python.check(folder)
    assert not failed
    assert count == len(json.loads((folder / golden.GOLDEN).read_text(encoding="utf-8"))["cases"])


def test_a_text_goes_in_and_a_text_comes_out(command, folder):
    model = host().Model(folder / "model_f32.tflite")
    with Phone(command, model) as phone:
        for text in (*TEXTS[:4], *golden.ODD.values()):
            assert phone.text(text) == model.text(text)


def test_a_text_goes_in_and_numbers_come_out(command, tmp_path):
    classifier(tmp_path)
    model = host().Model(tmp_path / "model_f32.tflite")
    with Phone(command, model) as phone:
        for text in (*TEXTS[:2], ""):
            expected = model.text(text)["probabilities"].reshape(-1)
            np.testing.assert_allclose(phone.numbers(text, "probabilities"), expected, rtol=1e-6)


@pytest.mark.parametrize(("known", "clitics"), rules())
def test_a_text_is_cut_into_words_as_in_training(command, known, clitics):
    card = {"labels": [1, -2.5, None], "words": cutting(known, clitics)}
    with Phone(command, None) as phone:
        for text in plain_texts():
            assert phone.words(text, card) == " ".join(WORDS_OF_HOST(text, **card["words"]))


class Prompts:
    """Stands for a model that goes on with a text of eight bytes."""

    def __init__(self, *outputs):
        self.signatures = {"text": {"outputs": list(outputs)}}
        self.runners = {"text": self}

    def get_input_details(self):
        return {"utf8": {"shape": [1, 8], "dtype": "int32"}}

    def get_output_details(self):
        return {name: {"shape": [1, 3], "dtype": "int32"} for name in self.signatures["text"]["outputs"]}


def test_of_too_long_a_text_the_beginning_is_read_and_of_a_prompt_the_end(command):
    texts = ["abcdefghij", "日本語日b", "日b", ""]
    for outputs, expected in ((["utf8"], [b"abcdefgh", "日本語日b".encode()[:8]]),
                              (["utf8", "prompt"], [b"cdefghij", "語日b".encode()])):  # fmt: skip
        with Phone(command, Prompts(*outputs)) as phone:
            found = [bytes(phone.utf8(text)[0].astype("uint8")).rstrip(b"\0") for text in texts]
        assert found == [*expected, "日b".encode(), b""]


def test_the_kotlin_host_gives_back_the_memory_of_a_call(command, folder):
    """LiteRT for Kotlin has no finaliser: a buffer that is not closed is lost for ever."""
    if command[0] != "java":
        pytest.skip("Swift frees what no one holds")
    with Phone(command, host().Model(folder / "model_f32.tflite")) as phone:
        before = phone.ask("open")
        phone.text(TEXTS[0])
        phone.numbers(TEXTS[0], "scores")
        assert phone.ask("open") == before
