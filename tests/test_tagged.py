"""Tagged sentences are read from three kinds of files, with errors that name the line; words are cut sensibly."""

import gzip
import json
import subprocess

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.data import load_brown
from keras_seq.data import (
    Tagged,
    TaggedWords,
    Tokenizer,
    any_case,
    cutting,
    in_words,
    read_parts,
    read_tagged,
    spaced,
    split_words,
    windows,
    word_parts,
    written,
)
from keras_seq.data.labelled import EOS, PAD
from keras_seq.deploy.handover import HOSTS
from tests.browser import NODE, needs_node
from tests.checks import host

WORDS_OF_HOST = host().words

SENTENCES = [Tagged(["The", "cat", "did", "n't", "sit"], ["DET", "NOUN", "AUX", "PART", "VERB"]),
             Tagged(["#", "Rain"], ["SYM", "NOUN"])]  # fmt: skip


def conllu(rows):
    """CoNLL-U with a comment, a range of tokens and an empty node."""
    for row in rows:
        yield "# text = " + " ".join(row.words)
        yield "\t".join(["1-2", "of several", *"________"])
        for i, (word, tag) in enumerate(zip(*row), 1):
            yield "\t".join([str(i), word, "_", tag, tag.lower(), *"_____"])
        yield "\t".join(["1.1", "left", *"________"])
        yield ""


def columns(rows, separator, *more):
    yield "-DOCSTART- -X- O O"
    yield ""
    for row in rows:
        yield from (separator.join([word, *more, tag]) for word, tag in zip(*row))
        yield separator.strip(" ")


FILES = {
    "a.conllu": "\n".join(conllu(SENTENCES)),
    "windows.conllu": "\ufeff" + "\r\n".join(conllu(SENTENCES)),
    "a.bio": "\n".join(columns(SENTENCES, "\t")),
    "eng.testa": "\n".join(columns(SENTENCES, " ", "X", "I-NP")),
    "a.conllu.gz": gzip.compress("\n".join(conllu(SENTENCES)).encode()),
}


def write(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("name", FILES)
def test_each_form_gives_the_same_sentences(tmp_path, name):
    rows = read_tagged(write(tmp_path, name, FILES[name]))
    assert rows == SENTENCES
    assert rows.where(1).startswith(f"{tmp_path / name}, line ")


def test_another_column_can_be_asked_for(tmp_path):
    path = write(tmp_path, "a.conllu", FILES["a.conllu"])
    assert read_tagged(path, "xpos")[1].tags == read_tagged(path, "5")[1].tags == ["sym", "noun"]
    assert read_tagged(write(tmp_path, "a.txt", FILES["eng.testa"]), "2")[0].tags == ["X"] * 5


@pytest.mark.parametrize(("name", "content", "column", "message"), [
    ("a.bio", "a\tO\nb\n", "auto", "line 2: expected 2 columns as in the first line, got 1: 'b'; complete the line"),
    ("a.bio", "a\tO\n\n\tO\n", "auto", "line 3: expected a word and its tag, got '' and 'O'"),
    ("a.bio", "word\n", "auto", "line 1: expected a word and its tag with a tab or a space between, got 'word'"),
    ("a.bio", "a\tO\n", "3", "expected the number of a column, from 2 to 2, got '3'"),
    ("a.bio", "a\tO\n", "upos", "expected the number of a column"),
    ("a.bio", "\n# a comment\n", "auto", "expected a word and its tag on each line, got none"),
    ("a.conllu", FILES["a.conllu"].replace("3\tdid", "x\tdid"), "auto", "line 5: expected the number of a token, got "),
    ("a.conllu", FILES["a.conllu"].replace("DET", "_"), "auto", "line 3: expected a word and its tag, got 'The' and "),
    ("a.conllu", FILES["a.conllu"], "1", "expected upos, xpos or the number of a column, from 3 to 10, got '1'"),
    ("a.txt", b"a\tO\n\xff\tO\n", "auto", "line 2: expected UTF-8 text, got the byte 0xff"),
    ("a.gz", gzip.compress(b"a\tO\n" * 99, mtime=0)[:-5], "auto", "expected a whole gzipped file, got a damaged one"),
])  # fmt: skip
def test_errors_name_the_line(tmp_path, name, content, column, message):
    with pytest.raises(ValueError, match=".*") as error:
        read_tagged(write(tmp_path, name, content), column)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_folder_is_split_by_the_names_of_its_files(tmp_path):
    files = {"wnut17train.conll": "abc", "emerging.dev.conll": "d", "en-test.conll": "e", "LICENSE": ""}
    for name, words in files.items():
        write(tmp_path, name, "\n".join(f"{word}\tO\n" for word in words))
    parts = read_parts(tmp_path)
    assert {name: [row.words[0] for row in rows] for name, rows in parts.items()} == {
        "train": ["a", "b", "c"], "valid": ["d"], "test": ["e"]}  # fmt: skip
    write(tmp_path, "train.old", "x\tO\n")
    with pytest.raises(ValueError, match="expected one file called train, got train.old, wnut17train.conll; move"):
        read_parts(tmp_path)
    (tmp_path / "train.old").unlink()
    (tmp_path / "en-test.conll").unlink()
    with pytest.raises(ValueError, match="expected a file called test or testb, got LICENSE, emerging.dev.conll"):
        read_parts(tmp_path)


def test_a_folder_without_validation_gives_some_of_what_it_trains_on(tmp_path):
    words = {name: [f"{name} {chr(97 + i % 26)}{'x' * (i // 26)}" for i in range(100)] for name in ("train", "test")}
    for name, texts in words.items():
        write(tmp_path, f"{name}.conll", "".join(f"{text.replace(' ', '')}\tO\n\n" for text in texts))
    parts = {name: [row.words[0] for row in rows] for name, rows in read_parts(tmp_path).items()}
    assert [len(parts[name]) for name in ("train", "valid", "test")] == [90, 10, 100]
    assert {word[:5] for word in parts["train"] + parts["valid"]} == {"train"}
    assert len({*parts["train"], *parts["valid"]}) == 100
    assert {word[:4] for word in parts["test"]} == {"test"}


def test_one_file_is_split_by_its_sentences(tmp_path):
    rows = "".join(f"{chr(97 + i % 25) * (1 + i % 50)}\tO\n\n" for i in range(200))
    parts = read_parts(write(tmp_path, "a.bio", rows))
    words = {name: {row.words[0] for row in part} for name, part in parts.items()}
    assert sum(map(len, parts.values())) == 200
    assert not words["train"] & (words["valid"] | words["test"])
    assert len(parts["valid"]) == len(parts["test"]) == 20


# ---------- words ----------


@pytest.mark.parametrize(("text", "known", "clitics", "words"), [
    ("The cat sat.", {}, [], "The|cat|sat|."),
    ("The cat sat .", {}, [], "The|cat|sat|."),
    ('"Well," he said (at 10:30), "it\'s $3,000.50..."', {}, [],
     '"|Well|,|"|he|said|(|at|10:30|)|,|"|it\'s|$|3,000.50|...|"'),
    ('He said "no".', {"``"}, [], "He|said|``|no|''|."),
    ("Mr. Day's term-end vote -- isn't it?", {"Mr."}, ["n't", "'s"], "Mr.|Day|'s|term-end|vote|--|is|n't|it|?"),
    ("Day's vote", {"Day's"}, ["'s"], "Day's|vote"),
    ("see https://a.org/b?c=1, @me #x a.b@c.de U.S. troops", {}, [],
     "see|https://a.org/b?c=1|,|@me|#x|a.b@c.de|U.S.|troops"),
    ("日本 é😀", {}, [], "日本|é|😀"),
    ("  ", {}, [], ""),
])  # fmt: skip
def test_plain_text_becomes_words(text, known, clitics, words):
    assert split_words(text, known, clitics) == (words.split("|") if words else [])


@given(st.text())
def test_no_character_is_lost(text):
    assert "".join(split_words(text)) == "".join(text.split())
    assert split_words(" ".join(split_words(text)), set(split_words(text))) == split_words(text)


ODD = [
    "He said \"no\", Mr. Smith; didn't he?",
    "a.m. U.S. e.g.. Jan.5 x.", "10:30 \u00b2\u00bd \u0664,\u0665 \u4e09.5 \u2167",
    "e\u0301 \u00e9\u200b\ufeffx a\u2581b \u1c7e", "\u0130'S I'LL can\u2019t '' `` ... -- @me #x a_b+c@d.e",
    "\x1c\x85\u2028",
]  # fmt: skip


def plain_texts():
    """Odd texts, and sentences as people write them."""
    return [*ODD, *(written(words) for words, _ in load_brown()["test"][::40])]


def rules():
    """Words that are known, and clitics."""
    known = {"Mr.", "Jan.", "``", "''", "Day's", "3-4.", "can't", "o'clock", "...", "etc."}
    return [(set(), []), (known, ["n't", "'s", "'ll", "\u2019t"]), ({*known, '"'}, ["'s"])]


@pytest.mark.parametrize(("known", "clitics"), rules())
@given(text=st.text() | st.text(alphabet="aMr.Jn'st\"-3/,@# "))
def test_a_card_says_how_words_are_cut(known, clitics, text):
    rule = cutting(known, clitics)
    expected = [word.replace("\u2581", "_") for word in split_words(text, known, clitics)]
    assert WORDS_OF_HOST(text, **rule) == expected
    less = {*rule["whole"], *(["``"] if rule["quotes"] else [])}
    assert split_words(text, less, clitics) == split_words(text, known, clitics)


WORDS_OF_WEB = """
import { readFileSync } from "node:fs";
import { words } from "./litert.mjs";
const { texts, rule } = JSON.parse(readFileSync(0));
console.log(JSON.stringify(texts.map((text) => words(text, rule))));
"""


@needs_node
@pytest.mark.parametrize(("known", "clitics"), rules())
def test_javascript_cuts_words_the_same(known, clitics):
    texts, rule = plain_texts(), cutting(known, clitics)
    command = [NODE, "--input-type=module", "-e", WORDS_OF_WEB]
    given = json.dumps({"texts": texts, "rule": rule})
    done = subprocess.run(command, input=given, cwd=HOSTS / "web", capture_output=True, text=True, timeout=60)
    assert not done.stderr
    assert json.loads(done.stdout) == [WORDS_OF_HOST(text, **rule) for text in texts]


@needs_node
def test_javascript_refuses_a_card_without_its_pattern():
    command, rule = [NODE, "--input-type=module", "-e", WORDS_OF_WEB], cutting(set(), [])
    del rule["unicode_pattern"]
    given = json.dumps({"texts": ["a b"], "rule": rule})
    done = subprocess.run(command, input=given, cwd=HOSTS / "web", capture_output=True, text=True, timeout=60)
    assert "got an older one: export again" in done.stderr


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer(any_case(Tokenizer.train(["the cats sat, and the cat ran – so they say"] * 20, 60).model_proto))


@given(st.lists(st.text(min_size=1).filter(str.strip), min_size=1))
def test_every_word_has_its_pieces(tokenizer, words):
    parts = word_parts(tokenizer.model_proto)
    [ids] = tokenizer.encode([spaced(words)])
    assert len(in_words(ids, parts)) == len(words) == len(spaced(words).split(" "))
    assert [i for word in in_words(ids, parts) for i in word] == ids
    rows = windows(ids, parts, 7)
    assert max(map(len, rows)) <= 7
    assert sum(len(in_words(row, parts)) for row in rows) == len(words)


def test_batches_hold_the_labels_of_the_words_that_are_read(tokenizer):
    texts = ["the cats", "THE CAT SAT , and", "xyzzy the xyzzy"]
    rows, parts = tokenizer.encode(texts), np.array(word_parts(tokenizer.model_proto))
    labels = [[10, 11], [20, 21, 22, -1, 24], [30, 31, 32]]
    made = TaggedWords(rows, labels, parts, batch=2, max_length=100)
    found = {}
    for tokens, wanted, weights in made.epoch(1):
        assert wanted.shape == weights.shape == tokens.shape
        assert (tokens[:, 0] != PAD).all()
        assert (np.sum(tokens == EOS, axis=1) == 1).all()
        for row, places, counted in zip(tokens, wanted, weights):
            assert counted.sum() == (parts[row] == 1).sum() - (places[0] == 20)
            found[int(places[0])] = places[counted > 0].tolist()
    assert found == {10: [10, 11], 20: [20, 21, 22, 24], 30: [30, 31, 32]}
    short = next(TaggedWords(rows[:1], labels[:1], parts, max_length=len(rows[0])).epoch(0))
    assert short[0][0, -1] == EOS
    assert short[2].sum() == (parts[rows[0][:-1]] == 1).sum()
    with pytest.raises(ValueError, match="as many rows as labels, at least one, got 3, 1"):
        TaggedWords(rows, labels[:1], parts)
