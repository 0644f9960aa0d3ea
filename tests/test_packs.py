"""The packs are what their cards say, and their splits do not leak; the script that makes them keeps its rules."""

import io
import json
import subprocess
import sys
import tarfile

import pytest

from apps.data import FOLDER, load_translation, translation_pack
from apps.data.near_copies import NearCopies, grams, is_near
from keras_seq.data import fold

PACK = FOLDER / "translation"


@pytest.fixture(scope="module")
def pack():
    return load_translation("fr")


def test_the_counts_are_those_of_the_card(pack):
    facts = json.loads((PACK / "en-fr.json").read_text())
    assert {name: len(pairs) for name, pairs in pack.items()} == facts["pairs"]
    assert facts["sha256"] in (PACK / "README.md").read_text()
    assert 1000 < len(pack["test"]) < 2000 < 25_000 < len(pack["train"])


@pytest.mark.parametrize("side", [0, 1])
def test_no_text_stands_in_two_splits(pack, side):
    train, valid, test = ({fold(pair[side]) for pair in pack[name]} for name in ("train", "valid", "test"))
    assert not train & (valid | test)
    assert not valid & test


def test_no_training_text_is_a_near_copy(pack):
    held = [fold(english) for english, _ in pack["test"][::197]]
    sets = {text: grams(text) for text in (fold(english) for english, _ in pack["train"])}
    for text in held:
        own = grams(text)
        close = [other for other, theirs in sets.items() if 2 * len(own & theirs) > len(own | theirs)]
        assert not [other for other in close if is_near(text, other)]


def test_texts_are_clean(pack):
    for english, french in (pair for pairs in pack.values() for pair in pairs):
        assert english == translation_pack.clean(english)
        assert french == translation_pack.clean(french)
        assert translation_pack.unfit(english, french) is None


def test_the_index_of_near_copies_agrees_with_comparing_all(pack):
    held, others = ([english for english, _ in pack["train"][start::151]] for start in (0, 1))
    index, folded = NearCopies(held), [fold(text) for text in held]
    slow = [any(is_near(text, fold(other)) for text in folded) for other in others]
    assert [other in index for other in others] == slow
    assert 0 < sum(slow) < len(slow)


@pytest.mark.parametrize(("held", "other", "near"), [
    ("open the file menu", "Open the File Menu 2", True),
    ("choose the colour of the first line in the table", "choose the colour of the last line in the table", True),
    ("click here to open the next window of all", "please wait, then click here to open the next window of all", True),
    ("insert rows", "select insert rows and press the button", False),
    ("choose the colour of the line", "choose the size of the page", False),
])
def test_what_a_near_copy_is(held, other, near):
    assert is_near(fold(held), fold(other)) is near


def test_damaged_and_missing_packs_are_told(tmp_path):
    with pytest.raises(ValueError, match=r"no translation pack for 'xx' \(there is fr\).*--languages xx"):
        load_translation("xx")
    (tmp_path / "en-fr.json").write_text((PACK / "en-fr.json").read_text())
    (tmp_path / "en-fr.tsv.gz").write_bytes((PACK / "en-fr.tsv.gz").read_bytes()[:-1])
    with pytest.raises(ValueError, match="damaged or was changed"):
        load_translation("fr", tmp_path)


def member(name, data):
    return f"{name:<16}{'0':<32}{len(data):<10}`\n".encode() + data + b"\n" * (len(data) % 2)


def package(language, page):
    """The bytes of a tiny .deb with sixty pages of help."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:xz") as tar:
        for n in range(60):
            info = tarfile.TarInfo(f"./usr/share/libreoffice/help/{language}/text/guide/page{n}.html")
            info.size = len(data := page(n).encode())
            tar.addfile(info, io.BytesIO(data))
    return b"!<arch>\n" + member("debian-binary", b"2.0\n") + member("data.tar.xz", buffer.getvalue())


def debs(folder):
    number = translation_pack.VERSION.split(":")[1]
    words = {n: chr(97 + n % 26) * 6 + chr(97 + n // 26) * 5 for n in range(60)}
    for language, verb in (("en-us", "Push"), ("fr", "Appuyez sur")):
        data = package(language, lambda n, verb=verb: (
            f'<html><body><h1 id="hd_1">LibreOffice</h1><p id="par_1">{verb} {words[n]}<br>now\u00a0: '
            f'<span class="switchinline"><span class="MAC">Command</span><span>Ctrl</span></span>.</p>'
            f'<p id="par_2">{verb} everywhere always</p><p id="par_3" class="code">{verb} = 1</p></body></html>'))
        (folder / f"libreoffice-help-{language}_{number}_all.deb").write_bytes(data)


def test_a_pack_is_made_the_same_way_twice(tmp_path):
    pytest.importorskip("lxml")
    debs(tmp_path)
    for out in ("one", "two"):
        translation_pack.build(["fr"], tmp_path, tmp_path / out)
    assert (tmp_path / "one/en-fr.tsv.gz").read_bytes() == (tmp_path / "two/en-fr.tsv.gz").read_bytes()
    pairs = [pair for part in load_translation("fr", tmp_path / "one").values() for pair in part]
    assert pairs.count(("Push everywhere always", "Appuyez sur everywhere always")) == 1
    assert ("Push aaaaaaaaaaa now : Ctrl.", "Appuyez sur aaaaaaaaaaa now : Ctrl.") in pairs
    assert len(pairs) == 61


def test_the_script_says_how_to_get_the_packages(tmp_path):
    pytest.importorskip("lxml")
    command = [sys.executable, "-m", "apps.data.build", "translation", "--from", str(tmp_path)]
    done = subprocess.run(command, cwd=FOLDER.parents[1], capture_output=True, text=True)
    assert done.returncode == 2
    assert "apt-get download libreoffice-help-en-us=" in done.stderr
    assert len(done.stderr.splitlines()) == 1
