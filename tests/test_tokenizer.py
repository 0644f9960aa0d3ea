"""The tokenizer gives texts back, is the same each time, and has the same ids inside a TensorFlow graph."""

import pytest

from keras_seq.data import Tokenizer

TEXTS = [f"{verb} the {noun} number {n}, please!" for verb in ("Open", "Close", "Print") for noun in
         ("File", "window", "Tableau été") for n in range(20)]


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train(TEXTS, vocab_size=80)


def test_text_comes_back_with_case_and_punctuation(tokenizer):
    texts = ["Print the File number 7, please!", "please The Tableau été!"]
    assert tokenizer.decode(tokenizer.encode(texts)) == texts
    assert tokenizer.decode([]) == [] == tokenizer.encode([])


def test_special_ids(tokenizer):
    ids = tokenizer.encode(["Open the 漢字 window"])[0]
    assert ids.count(3) == 1
    assert min(ids) >= 3
    assert tokenizer.decode([[1, *tokenizer.encode(["the window"])[0], 2, 0, 0]]) == ["the window"]
    assert max(map(max, tokenizer.encode(TEXTS))) < tokenizer.vocab_size <= 80


def test_digits_stand_alone(tokenizer):
    assert [piece for piece in tokenizer.pieces("the 19") if piece.strip("▁").isdigit()] == ["1", "9"]


def test_training_twice_gives_the_same_bytes(tokenizer):
    assert Tokenizer.train(iter(TEXTS), vocab_size=80).model_proto == tokenizer.model_proto


def test_ids_in_a_graph_are_the_same(tokenizer):
    tensorflow_text = pytest.importorskip("tensorflow_text")
    texts = TEXTS[::7] + ["  two  spaces ", "unseen Ω words", "", "tab\there"]
    inside = tensorflow_text.SentencepieceTokenizer(model=tokenizer.model_proto)
    assert inside.tokenize(texts).to_list() == tokenizer.encode(texts)
    assert [t.decode() for t in inside.detokenize(inside.tokenize(texts[:3])).numpy()] == texts[:3]


def test_sampling_varies_with_the_seed_and_keeps_the_text(tokenizer):
    first, again, other = (tokenizer.encode(TEXTS, sample=0.1, seed=seed) for seed in (3, 3, 4))
    assert first == again != other
    assert tokenizer.decode(other) == TEXTS


def test_bad_input_is_told():
    with pytest.raises(ValueError, match="expected the bytes of a sentencepiece model"):
        Tokenizer(b"nonsense")
    with pytest.raises(ValueError, match="no tokenizer of 5 pieces"):
        Tokenizer.train(TEXTS, vocab_size=5)
    with pytest.raises(ValueError, match="from 0 texts"):
        Tokenizer.train([" "], vocab_size=50)
