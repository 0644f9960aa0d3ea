"""Pairs are read from every layout, every bad file is told with its line, and nothing held out is trained on."""

import zipfile

import pytest
import sacrebleu

from apps import translation
from keras_seq.data import fold, read_pairs, references, split_pairs

PAIRS = [("Go!", "Va !"), ("I'm here.", "Je suis là.")]


def write(path, data):
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def test_tabs_and_attributions(tmp_path):
    text = "Go!\tVa !\tCC-BY 2.0\r\nI'm  here.\tJe suis là.\tCC-BY\r\n"
    assert read_pairs(write(tmp_path / "a.tsv", text)) == PAIRS
    assert read_pairs(write(tmp_path / "b.txt", b"\xef\xbb\xbf" + text.encode())) == PAIRS


def test_header_and_columns(tmp_path):
    path = write(tmp_path / "a.tsv", "id\tenglish\tfrench\n1\tGo!\tVa !\n2\tI'm here.\tJe suis là.\n")
    assert read_pairs(path, columns=("english", "french")) == PAIRS
    assert read_pairs(path, columns=(2, 1)) == [(b, a) for a, b in PAIRS]
    assert read_pairs(write(tmp_path / "b.tsv", "source\ttarget\nGo!\tVa !\n")) == PAIRS[:1]


def test_zip_of_manythings(tmp_path):
    with zipfile.ZipFile(tmp_path / "fra-eng.zip", "w") as archive:
        archive.writestr("fra-eng/_about.txt", "about")
        archive.writestr("__MACOSX/fra-eng/._fra.txt", b"\0\1")
        archive.writestr("fra-eng/fra.txt", "Go!\tVa !\tx\nI'm here.\tJe suis là.\tx\n")
    assert read_pairs(tmp_path / "fra-eng.zip") == PAIRS


@pytest.mark.parametrize("names", [("train.en", "train.fr"), ("corpus.fr-en.fr.txt", "z.en.txt"), ("a.txt", "b.txt")])
def test_aligned_files(tmp_path, names):
    english = next((name for name in names if ".en" in name and "fr-en" not in name), names[0])
    for name in names:
        write(tmp_path / name, "\n".join(pair[name != english] for pair in PAIRS) + "\n")
    write(tmp_path / ".hidden", "x")
    if "train.en" in names:
        write(tmp_path / "test.en", "x")
        write(tmp_path / "test.fr", "y")
    assert read_pairs(tmp_path) == PAIRS


def test_unusable_lines_are_skipped_and_counted(tmp_path):
    text = "Go!\tVa !\n\nNo.\t \n" + "word " * 10_000 + "\tmot\nI'm here.\tJe suis là.\nWhat?\t\n"
    pairs = read_pairs(write(tmp_path / "a.tsv", text))
    assert pairs == PAIRS
    assert pairs.notes == ["skipped 2 lines with an empty side (first: line 3)",
                           "skipped 1 line of more than 250 words (first: line 4)"]


@pytest.mark.parametrize(("data", "message"), [
    ("", "a.tsv: the file is empty"),
    (" \n\n", "a.tsv: the file is empty"),
    ("a\tb\nc d\n", r"a.tsv, line 2: expected at least 2 columns .* found 1: 'c d'"),
    (b"a\tb\nPK\x00\x01", r"a.tsv, line 2: .*a binary file \(a zero byte\)"),
    (b"a\tb\nc\tcaf\xe9\n", r"a.tsv, line 2: .*0xe9; save the file as UTF-8"),
    ("a\tb".encode("utf-16"), "UTF-16"),
    ("word " * 10_000 + "\tmot", r"found none to use \(skipped 1 line of more than 250 words"),
    ("a\t\n", "found none to use"),
])
def test_bad_files_are_told_in_one_line(tmp_path, data, message):
    with pytest.raises(ValueError, match=message) as error:
        read_pairs(write(tmp_path / "a.tsv", data))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("columns", "message"), [
    (("english", "french"), "line 1: expected a header with the column 'english', found 'a, b'"),
    ((0, 2), "line 1: expected at least 3 columns"),
    ((0,), "expected two names or numbers"),
    ((0, -1), "numbers from 0"),
])
def test_bad_columns_are_told(tmp_path, columns, message):
    with pytest.raises(ValueError, match=message):
        read_pairs(write(tmp_path / "a.tsv", "a\tb\n"), columns=columns)


def test_bad_paths_are_told(tmp_path):
    with pytest.raises(ValueError, match="no such file or folder"):
        read_pairs(tmp_path / "nowhere.tsv")
    write(tmp_path / "a.en", "1\n2\n3\n")
    with pytest.raises(ValueError, match="expected two line-aligned files .*found a.en"):
        read_pairs(tmp_path)
    write(tmp_path / "a.fr", "1\n2\n")
    with pytest.raises(ValueError, match=r"a.fr, line 2: the file ends here, but a.en has 3 lines and a.fr has 2"):
        read_pairs(tmp_path)
    with pytest.raises(ValueError, match="leave columns out"):
        read_pairs(tmp_path, columns=(0, 1))


def test_zips_without_a_text_are_told(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("_about.txt", "about")
    with pytest.raises(ValueError, match=r"a.zip: expected one .txt or .tsv file inside the zip, found none"):
        read_pairs(tmp_path / "a.zip")


def corpus():
    words = [a + b for a in "bcdfgh" for b in "aeiou"]
    pairs = [(f"{a} {b}.", f"{b.upper()} {a.upper()}") for a in words for b in words]
    pairs += [(f"{a.title()} {b} 7!", f"other {a} {b}") for a in words[:9] for b in words]  # near copies
    return pairs + [(f"more {a}", "BA BA") for a in words] + pairs[:11]  # one right side for many; and copies


@pytest.mark.parametrize("seed", range(5))
def test_nothing_held_out_is_trained_on(seed):
    split = split_pairs(corpus(), valid=40, test=60, seed=seed)
    for side in (0, 1):
        train, valid, test = ({fold(pair[side]) for pair in part} for part in split[:3])
        assert not train & (valid | test)
        assert not valid & test
    assert 60 <= len({left for left, _ in split.test}) <= 61
    assert set(split.train) | set(split.valid) | set(split.test) <= set(corpus())
    assert any("occur twice" in note for note in split.notes)


def test_split_is_stable_and_follows_the_seed():
    split = split_pairs(corpus(), 40, 60, seed=1)
    assert split == split_pairs(corpus(), 40, 60, seed=1)
    assert split.test != split_pairs(corpus(), 40, 60, seed=2).test
    assert set(split_pairs(corpus()[::-1], 40, 60, seed=1).test) == set(split.test)


def test_at_most_a_tenth_is_held_out_for_each():
    pairs = [(f"line {'y' * n}", f"ligne {'y' * n}") for n in range(47)]
    assert [len(part) for part in split_pairs(pairs)[:3]] == [39, 4, 4]
    assert [len(part) for part in split_pairs(pairs, valid=3, test=2)[:3]] == [42, 3, 2]


def test_dropped_pairs_are_counted():
    pairs = [(f"sentence {'x' * n}", "la même") for n in range(30)]
    pairs += [(f"line {'y' * n}", f"ligne {'y' * n}") for n in range(30)]
    split = split_pairs(pairs, valid=5, test=5)
    kept = sum(map(len, split[:3]))
    assert kept < len(pairs)
    assert f"dropped {len(pairs) - kept:,} pairs whose right side is held out with another left side" in split.notes


def test_too_few_sentences_are_told():
    with pytest.raises(ValueError, match="at least 20 different sentences"):
        split_pairs([("Go!", "Va !"), ("go", "Allez")] * 30)


def test_pairs_that_all_share_their_right_side_are_told():
    pairs = [(f"sentence {'x' * n}", "la même") for n in range(30)]
    with pytest.raises(ValueError, match="to train on, got none: the right side of each is that of a held-out"):
        split_pairs(pairs, valid=3, test=3)
    pairs += [(f"line {'y' * n}", f"ligne {'y' * n}") for n in range(3)]
    with pytest.raises(ValueError, match="expected pairs to validate on, got none"):
        split_pairs(pairs, valid=3, test=3)


def test_a_split_without_a_test_is_told(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("".join(f"line {'y' * n}\tligne {'y' * n}\n" for n in range(30)))
    with pytest.raises(ValueError, match="expected --test of at least 1, got 0"):
        translation.data(translation.Config(data=str(path), test=0))


def test_references_are_gathered_by_input():
    pairs = [("Hi.", "Salut !"), ("Hello.", "Salut !"), ("Hi.", "Bonjour.")]
    assert references(pairs) == [("Hi.", ["Salut !", "Bonjour."]), ("Hello.", ["Salut !"])]
    assert references(pairs, reverse=True) == [("Salut !", ["Hi.", "Hello."]), ("Bonjour.", ["Hi."])]


def test_bleu_and_chrf_are_of_all_sentences_and_all_references(monkeypatch):
    examples = [
        ("w " * 5, ["the cat sat on the mat", "a cat sat on a mat today"]),
        ("w " * 6, ["two dogs run in the park"]),
        ("w " * 31, ["three birds fly over the old house", "three old birds", "birds fly over a house"]),
    ]

    def report(*found):
        asked = {"cut": True, "beams": 4, "length_penalty": 1.0}

        def translate(config, model, assets, texts, **options):
            assert (texts, options) == ([source for source, _ in examples], asked)
            return [[(-1.0, text), (-2.0, "not the best")] for text in found]

        monkeypatch.setattr(translation, "translate", translate)
        return translation.evaluate(translation.Config(), None, {}, examples)

    found = report("a cat sat on a mat today", "two dogs run in the park", "birds fly over a house")
    assert (found["bleu"], found["chrf"], found["sentences"], found["beams"]) == (100, 100, 3, 4)
    assert found["by_source_words"] == {name: {"sentences": 1, "bleu": 100} for name in ("1-5", "6-10", "31+")}
    texts = ["a cat sat on the mat", "Two dogs run in the park", "three birds fly over the house"]
    found, streams = report(*texts), [[refs[i] if i < len(refs) else "" for _, refs in examples] for i in range(3)]
    assert found["bleu"] == round(sacrebleu.corpus_bleu(texts, streams).score, 2) < 90
    assert found["chrf"] == round(sacrebleu.corpus_chrf(texts, streams).score, 2) < 98
    assert found["by_source_words"]["6-10"]["bleu"] < 100  # of another case
    assert "case:mixed" in found["bleu_signature"]


def test_fold_keeps_letters_of_any_script():
    assert fold("L’été, 2024!") == fold("l'ÉTÉ") == "l été"
    assert fold("हिन्दी १") == "हिन्दी"
    assert fold("1 + 1") == "1 + 1"
