"""The README does what it says: its commands and examples run, at a tiny size, in a copy of the checkout."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SETUP = {"pip install -e .", "pip install tox && tox"}  # what installed the package and started this very test
THEIRS = "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"  # tensorflow with numpy 2
TINY = {  # flags that make a command quick, by app and command
    "translation train": "--data eng-fra.tsv --test 20 --steps 3 --vocab-size 200 --layers 1 --dim 16 --heads 2"
    " --mlp-dim 16",
    "captioning train": "--steps 2 --width 8 --dim 16 --mlp-dim 16 --layers 1 --heads 2",
    "sentiment train": "--steps 3 --members 1 --dim 8 --units 8",
    "vit train": "--steps 2 --patch 14 --dim 16 --mlp-dim 16 --layers 1 --heads 2",
    "video train": "--steps 2 --clips 24 --filters 4 --dim 16 --units 8 --layers 1",
    "tagging train": "--steps 3 --examples 200 --dim 8 --units 8",
    "language_model train": "--steps 2 --context 16 --dim 16 --heads 2 --layers 1 --mlp-dim 16 --batch 4"
    " --vocab-size 300",
    "language_model predict": "--length 8",
    "pronunciation train": "--steps 2 --dim 16 --heads 2 --layers 1 --mlp-dim 16",
    "speech train": "--steps 2 --dim 16 --units 8 --layers 1 --longest 2",
    "forecasting train": "--steps 2 --windows 64 --context 48 --dim 8 --heads 2 --mlp-dim 8 --layers 1",
    "anomaly train": "--steps 2 --windows 256 --dim 8 --heads 2 --mlp-dim 8 --layers 1",
    "masked_lm train": "--steps 3 --layers 1 --dim 16 --heads 2 --mlp-dim 16",
    "tagging export": "--length 16",
    "translation export": "--sentences 5 --source-length 32 --max-length 16",
}


def blocks(language: str) -> list[str]:
    """Returns the contents of the README's code blocks in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    lines = [line.strip() for block in blocks("sh") for line in block.splitlines()]
    return [line for line in lines if line and not line.startswith("#") and line not in SETUP]


def tiny(command: str) -> str:
    """Returns the command with the flags that make it quick."""
    match = re.search(r"python -m apps\.(\w+ \w+)", command)
    return f"{command} {TINY.get(match[1], '')}" if match else command


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of what the commands need, with the files that the README's user would bring."""
    copy = tmp_path_factory.mktemp("checkout")
    for name in ("keras_seq", "apps"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "sentences.txt").write_text("Open the file.\nClose the window.\n", encoding="utf-8")
    (copy / "eng-fra.tsv").write_text(pairs(), encoding="utf-8")
    save_picture(copy / "cat.png")
    return copy


def save_picture(path):
    """Writes a small picture."""
    from PIL import Image

    Image.new("RGB", (40, 30), (200, 120, 40)).save(path)


def pairs() -> str:
    """Returns a small tab-separated corpus of distinct pairs."""
    verbs = {"Open": "Ouvrez", "Close": "Fermez", "Save": "Enregistrez", "Print": "Imprimez", "Copy": "Copiez"}
    nouns = {"file": "le fichier", "menu": "le menu", "page": "la page", "table": "le tableau", "image": "l'image"}
    counts = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
    rows = [
        f"{verb} the {noun} number {count}.\t{verbe} {nom} numéro {count}."
        for verb, verbe in verbs.items()
        for noun, nom in nouns.items()
        for count in counts
    ]
    return "\n".join(rows) + "\n"


def run(command, cwd, **options):
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    env = {**os.environ, "PATH": path, "PYTHONPATH": str(cwd)}
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def test_commands_run_in_the_order_of_the_page(checkout):
    for command in commands():
        printed = run(["bash", "-euo", "pipefail", "-c", tiny(command)], checkout)
        assert printed.strip(), f"{command} printed nothing"


@pytest.mark.parametrize("code", blocks("python"), ids=lambda code: code.strip().splitlines()[0])
def test_examples_run(code, checkout):
    if "APP.load()" in code:
        translator(checkout)
    runs_and_prints(code, checkout)


def runs_and_prints(code, checkout):
    """What an example's comments say that it prints is among what it prints."""
    printed = run([sys.executable, "-W", "error", "-W", THEIRS, "-c", code], checkout)
    promised = re.findall(r"print\(.*\)  # (.*)", code)
    assert not [text for text in promised if text not in printed], printed
    return printed


def translator(checkout):
    """Trains one, unless the commands of a page have."""
    if not (checkout / "saved_models" / "translation" / "config.json").exists():
        command = "python -m apps.translation train"
        run(["bash", "-c", tiny(command)], checkout)


def test_every_code_block_is_run_or_is_a_picture():
    languages = re.findall(r"^```(\w*)\n", README, re.MULTILINE)
    assert set(languages) <= {"sh", "python", ""}


def test_the_folders_of_the_layout_exist():
    names = re.findall(r"^(?:keras_seq|apps|tests)/\S*", README, re.MULTILINE)
    assert names
    for name in names:
        assert (ROOT / name).exists(), name
