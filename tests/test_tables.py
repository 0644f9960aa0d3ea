"""Tables are read by the names of their columns; errors name file and line; equal texts stay in one split."""

import json

import numpy as np
import pytest

from keras_seq.data import any_case, fold, labels, read_columns, read_rows, shared_rows, split_rows
from keras_seq.data.labelled import EOS, PAD, UNK, Labelled
from keras_seq.data.tokenizer import Tokenizer

ROWS = [("Good, cheap", "yes"), ('He said "no" twice', "no"), ("Übel – très bien", "yes")]


def write(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def quoted(cell):
    return '"' + cell.replace('"', '""') + '"'


FILES = {
    "comma.csv": "id,label,text\n" + "".join(f"7,{label},{quoted(text)}\n" for text, label in ROWS),
    "windows.csv": "\ufefftext;label\r\n" + "".join(f"{quoted(text)};{label}\r\n" for text, label in ROWS),
    "tabs.tsv": "text\tlabel\n\n" + "".join(f"{text}\t{label}\n" for text, label in ROWS),
    "lines.jsonl": "".join(json.dumps({"label": label, "text": text}) + "\n\n" for text, label in ROWS),
    "escaped.ndjson": "".join(
        json.dumps({"text": t, "label": y, "n": [1]}, ensure_ascii=False) + "\n" for t, y in ROWS
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_each_form_gives_the_same_rows(tmp_path, name):
    assert read_rows(write(tmp_path, name, FILES[name]), ["text", "label"]) == ROWS


def test_a_quoted_cell_may_have_line_breaks_and_lines_are_counted_through_it(tmp_path):
    path = write(tmp_path, "a.csv", 'text,label\n"one\n two",1\n\nthree,\n')
    rows = read_rows(path, ["label", "text"])
    assert rows == [("1", "one two"), ("", "three")]
    assert rows.where(1) == f"{path}, line 5"


HEADS = {
    "quoted.tsv": '"text"\tlabel\nb\t2\n',
    "blank.jsonl": '\n\n{"text": "b", "label": 2}\n',
    "broken.csv": 'label,"text\n(English)"\n2,b\n',
    "blank.csv": "\n\ntext,label\nb,2\n",
    "blank.tsv": "\ntext\tlabel\nb\t2\n",
    "comma.csv": '"text, English, short";label\nb;2\n',
}


@pytest.mark.parametrize("name", HEADS)
def test_the_columns_that_are_named_are_those_that_are_read(tmp_path, name):
    path = write(tmp_path, name, HEADS[name])
    columns = read_columns(path)
    rows = read_rows(path, sorted(columns))
    assert len(columns) == 2
    assert set(rows[0]) == {"b", "2"}
    assert rows.where(0).endswith(f"line {HEADS[name].count(chr(10))}")


def test_numbers_of_json_are_texts(tmp_path):
    path = write(tmp_path, "a.jsonl", '{"text": "a", "label": 2.5}\n{"text": 3, "label": true}')
    rows = read_rows(path, ["text", "label"])
    assert rows == [("a", "2.5"), ("3", "true")]


@pytest.mark.parametrize(("name", "content", "message"), [
    ("a.csv", "text,stars\na,1\n", r"a\.csv, line 1: expected the column 'label', got no such column; .* text, stars"),
    ("a.csv", "text,label,label\na,1,1\n", r"line 1: expected the column 'label', got 2 of that name"),
    ("a.csv", "text,label\na,1\n\nb, c,1\n", r"line 4: expected 2 cells as in the first line, got 3; put .* in quotes"),
    ("a.csv", "text,label\na\n", r"line 2: expected 2 cells as in the first line, got 1; complete the row"),
    ("a.csv", 'text,label\na,1\n"b,1\nc,2\n', r"line 3: expected cells with ',' between them"),
    ("a.csv", "text,label\n", r"expected rows below the names of the columns, got none"),
    ("a.csv", "", r"line 1: expected the column 'text', got no such column; the columns are none"),
    ("a.tsv", "text\tlabel\na\t1\t2\n", r"line 2: expected 2 cells"),
    ("a.csv", b"text,label\ngood,1\nb\xe4d,0\n", r"line 3: expected UTF-8 text, got the byte 0xe4; save the file"),
    ("a.csv", "text,label\na,1\n".encode("utf-16"), r"line 1: expected UTF-8 text, got UTF-16"),
    ("a.csv", b"text,label\na,1\nPK\x00\x01,2\n", r"line 3: expected text, got a binary file"),
    ("a.jsonl", '{"text": "a", "label": 1}\n{"text": "b"}\n', r"line 2: expected the key 'label', got text; correct"),
    ("a.jsonl", '{"text": "a", "label": null}\n', r"line 1: expected a text or a number as 'label', got null"),
    ("a.jsonl", '{"text": "a"\n', r"line 1: expected a JSON object"),
    ("a.jsonl", "[1, 2]\n", r"line 1: expected a JSON object, got '\[1, 2\]'"),
    ("a.xlsx", "text,label\n", r"expected a file that ends on \.csv, \.tsv, .*, got '\.xlsx'; rename or convert"),
])  # fmt: skip
def test_what_is_wrong_is_told_in_one_line(tmp_path, name, content, message):
    with pytest.raises(ValueError, match=message) as found:
        read_rows(write(tmp_path, name, content), ["text", "label"])
    assert "\n" not in str(found.value)


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(ValueError, match="cannot be read .No such file"):
        read_rows(tmp_path / "none.csv", ["text"])


# ---------- labels ----------


def table(tmp_path, values):
    return read_rows(write(tmp_path, "a.csv", "text,label\n" + "".join(f"t{i},{v}\n" for i, v in enumerate(values))),
                     ["text", "label"])  # fmt: skip


def test_labels_are_classes_or_numbers(tmp_path):
    def task(values, task="auto"):
        return labels.describe_labels(table(tmp_path, values), task)

    assert task(["b", "a"] * 9) == {"task": "classes", "names": ["a", "b"]}
    assert task([2, 10, 1] * 9) == {"task": "classes", "names": ["1", "2", "10"]}
    assert task([0.5, 1] * 9) == {"task": "regression"}
    assert task(range(30)) == {"task": "regression"}
    assert task([1, 2] * 9, "regression") == {"task": "regression"}
    assert task([0.5, 1] * 9, "classes")["names"] == ["0.5", "1"]


@pytest.mark.parametrize(("values", "task", "message"), [
    (["a"] * 9, "auto", "expected at least 2 classes with some rows each, got 1"),
    (list("abcdefghi"), "classes", "got 9 different labels in 9 rows"),
    (["1", "", "2"], "auto", "line 3: expected a label, got an empty cell"),
    (["1", "2", "x"], "regression", "line 4: expected a number, got 'x'"),
])  # fmt: skip
def test_odd_labels_are_told(tmp_path, values, task, message):
    with pytest.raises(ValueError, match=message):
        labels.describe_labels(table(tmp_path, values), task)


def test_targets_of_numbers_are_in_units_of_their_deviation():
    kind = {"task": "regression", **labels.moments([1.0, 3.0])}
    np.testing.assert_allclose(labels.targets([1.0, 3.0, 2.0], kind), [[-1], [1], [0]])
    assert labels.targets([1, 0], {"task": "classes", "names": ["a", "b"]}).tolist() == [[0, 1], [1, 0]]


# ---------- splits and batches ----------


def test_equal_texts_stay_in_one_split_wherever_they_stand():
    rows = [(f"text {chr(97 + i % 23)}{'!' * (i % 2)}", str(i)) for i in range(97)]
    parts = split_rows(rows, valid=11, test=7)
    assert sorted(i for part in parts for i in part) == list(range(97))
    texts = [{fold(rows[i][0]) for i in part} for part in parts]
    assert not texts[0] & (texts[1] | texts[2])
    assert not texts[1] & texts[2]
    assert [len(part) >= 7 for part in parts] == [True] * 3
    assert split_rows(rows, valid=11, test=7) == parts != split_rows(rows, valid=11, test=7, seed=1)


def test_too_few_texts_are_refused():
    with pytest.raises(ValueError, match="at least 20 texts .* differ in more than case, .* got 1"):
        split_rows([("a", "1")] * 100)


@pytest.mark.parametrize("seed", range(20))
def test_a_text_that_makes_up_much_of_the_rows_is_to_train(seed):
    rare = [(f"text {letter}",) for letter in "abcdefghijklmnopqrst"]
    train, valid, test = split_rows([*rare, *[("ok",)] * 500, *[("fine",)] * 60], seed=seed)
    assert (len(train), len(valid), len(test)) == (576, 2, 2)


def test_texts_that_all_repeat_much_are_refused():
    with pytest.raises(ValueError, match="leave out what repeats of the [0-9]+ rows"):
        split_rows([(f"text {chr(97 + i)}",) for i in range(20) for _ in range(int(1.3**i))])


def batches(**options):
    rows = [[4 + i] * (1 + i % 5) for i in range(23)]
    return Labelled(rows, np.arange(23)[:, None], batch=7, **options)


def test_every_row_comes_in_an_epoch_with_its_target():
    made = batches()
    assert len(list(made.epoch(3))) == made.steps == 4
    for tokens, targets, _ in made.epoch(3):
        assert (tokens[:, 0] == 4 + targets[:, 0]).all()
        assert ((tokens == EOS).sum(axis=1) == 1).all()
        assert ((tokens != PAD).sum(axis=1) == 2 + targets[:, 0] % 5).all()
    seen = [t for _, targets, _ in made.epoch(3) for t in targets[:, 0]]
    assert sorted(set(seen)) == list(range(23))
    assert [len(targets) for _, targets, _ in made.epoch(3)] == [6] * 4  # of equal size: one row comes twice
    assert [spec.shape[0] for spec in made.dataset().element_spec] == [6] * 3
    assert sum(len(targets) for _, targets, _ in batches(shuffle=False).epoch()) == 23


def test_it_is_not_always_the_same_row_that_comes_twice():
    made = batches()
    rows = [[t for _, targets, _ in made.epoch(e) for t in targets[:, 0].astype(int)] for e in range(9)]
    twice = {np.bincount(row).argmax() for row in rows}
    assert len(twice) > 3


def test_epochs_differ_and_each_can_be_had_again():
    def order(epoch):
        return [t for _, targets, _ in batches(word_dropout=0.5).epoch(epoch) for t in targets[:, 0]]

    assert order(0) == order(0) != order(1)
    assert [t for _, targets, _ in batches(shuffle=False).epoch() for t in targets[:, 0]][:5] == [0, 5, 10, 15, 20]


def test_words_are_dropped_and_long_rows_are_cut():
    tokens = np.concatenate([t.ravel() for t, _, _ in batches(word_dropout=0.4).epoch()])
    assert 0.2 < np.mean(tokens[tokens > EOS] == UNK) < 0.6
    assert max(t.shape[1] for t, _, _ in batches(max_length=3).epoch()) == 3


def test_a_dataset_goes_on_from_any_epoch():
    made = batches()
    found = [t.numpy() for t, _, _ in made.dataset(2).take(2 * made.steps)]
    expected = [t for epoch in (2, 3) for t, _, _ in made.epoch(epoch)]
    assert all((a == b).all() for a, b in zip(found, expected, strict=True))


def test_rows_and_targets_have_to_be_equally_many():
    with pytest.raises(ValueError, match=r"got \[1, 2, 2\]"):
        Labelled([[5]], [[1.0], [0.0]])


# ---------- case ----------


def test_all_cases_share_the_rows_of_one():
    texts = ["a very good film, and a fine one", "not a good film – très mauvais", "the finest of films"] * 9
    small = Tokenizer.train(texts, 90)
    proto = any_case(small.model_proto)
    tokenizer, rows = Tokenizer(proto), shared_rows(proto)
    assert max(rows) == small.vocab_size - 1
    assert rows[: small.vocab_size] == list(range(small.vocab_size))
    for text in set(texts):
        for form in (text, text.upper(), text.title(), text.capitalize()):
            assert [[rows[i] for i in ids] for ids in tokenizer.encode([form])] == small.encode([form.lower()])
            assert tokenizer.decode(tokenizer.encode([form])) == [form]
