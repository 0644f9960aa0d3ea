"""The tokenizer inside a .tflite: UTF-8 bytes to the ids of sentencepiece, and back, by builtin ops, in time."""

import functools

import numpy as np
import pytest
import sentencepiece
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import tokenizer as corpus
from benchmarks.tokenizer import LONG, ODD, UNK, made, real, row, train
from keras_seq.deploy import builtin_ops, litert, signatures, trie
from keras_seq.deploy.bytes import ByteCodec, room

S, T, N = 64, 40, room(64)


@functools.cache
def proto():
    """A vocabulary of 8,000 pieces."""
    return corpus.vocabulary()


@functools.cache
def tokenizer():
    return sentencepiece.SentencePieceProcessor(model_proto=proto())


def files(codec, formats=("f32",), size=N, limit=S):
    """A .tflite a format with the codec alone."""
    module, utf8 = tf.Module(), tf.TensorSpec((1, size), "int32")
    module.tables = codec.tables
    functions = {
        "encode": signatures.trace(lambda utf8: {"ids": codec.encode(utf8, limit)}, utf8=utf8),
        "decode": signatures.trace(lambda ids: {"utf8": codec.decode(ids)}, ids=tf.TensorSpec((1, T), "int32")),
        "follow": signatures.trace(lambda ids: {"utf8": codec.decode(ids, True)}, ids=tf.TensorSpec((1, T), "int32")),
    }
    return litert.convert(module, functions, formats)


@pytest.fixture(scope="module")
def content():
    return files(ByteCodec(proto()), ("f32", "int8"))


def runners(content, *names):
    from ai_edge_litert.interpreter import Interpreter

    phone = Interpreter(model_content=content, num_threads=1)
    return [phone.get_signature_runner(name) for name in names or ("encode", "decode")]


@pytest.fixture(scope="module")
def phone(content):
    return runners(content["f32"])


def expected(text, limit=S, spm=None):
    return corpus.expected(text, spm or tokenizer(), limit)


def test_ids_are_those_of_sentencepiece(phone):
    """On a sample; `python -m benchmarks tokenizer` takes over ten thousand lines."""
    lines = [*real(9000)[::6], *made(500), *ODD]
    wrong = [text for text in lines if phone[0](utf8=row(text))["ids"][0].tolist() != expected(text)]
    assert not wrong
    assert sum(UNK in expected(text) for text in lines) > 200
    assert sum(len(text.encode()) > 128 for text in lines) > 200


def test_a_text_that_is_too_long_is_cut(phone):
    for text in LONG:
        inside = text.encode()[:N].decode(errors="ignore")
        assert len(inside.encode()) < len(text.encode())
        assert phone[0](utf8=row(text))["ids"][0].tolist() == expected(inside)


BROKEN = [
    b"\xff\xfe", b"\x80\x80abc", b"\xf8\x88\x80\x80\x80", b"open \xe2 the file", b"\xe2\x82b\xc3(",
    b"\xed\xa0\x80", b"\xc0\xafx", "日本".encode()[1:] + b"go", b"a" * 60 + b"\xf0\x9f\x98 the end",
]  # fmt: skip


@pytest.mark.parametrize("data", BROKEN)
def test_bytes_that_are_no_text_are_unknown(phone, data):
    found = phone[0](utf8=numbers(data))["ids"][0].tolist()
    assert found == expected(data.decode(errors="replace"))
    assert UNK in found


def test_signed_bytes_are_bytes_and_no_number_is_too_large(phone):
    text = "un café 日本語"
    signed = np.frombuffer(text.encode(), "int8")
    assert phone[0](utf8=numbers(signed))["ids"][0].tolist() == expected(text)
    for value in (256, 10**6, 2**31 - 1, -257, -(2**31)):
        phone[0](utf8=numbers([65, value, 66]))


def numbers(data):
    found = np.zeros((1, N), "int32")
    found[0, : len(data)] = list(data)
    return found


def test_an_int8_file_has_the_same_tokenizer(content):
    encode, decode = runners(content["int8"])
    for text in [*ODD, *made(300), *real(9000)[::20]]:
        ids = encode(utf8=row(text))["ids"]
        assert ids[0].tolist() == expected(text)
        assert written(decode, ids[0, :T]) == tokenizer().decode(ids[0, :T].tolist())


def written(decode, ids):
    found = decode(ids=ids[None])["utf8"][0]
    end = int((found > 0).sum())
    assert not found[end:].any()
    return bytes(found[:end].astype("uint8")).decode()


def test_bytes_are_the_text_of_sentencepiece(phone):
    rng = np.random.default_rng(1)
    for _ in range(500):
        ids = rng.integers(0, tokenizer().get_piece_size(), size=T).astype("int32")
        ids[rng.random(T) < 0.1] = UNK
        ids[rng.random(T) < 0.1] = tokenizer().piece_to_id("▁")
        ids[rng.integers(0, T + 1) :] = 0
        assert written(phone[1], ids) == tokenizer().decode(ids.tolist())


def test_a_text_follows_on_another_with_the_space_between_them(content):
    (follow,), first = runners(content["int8"], "follow"), tokenizer().encode("open")
    ids = np.random.default_rng(4).integers(0, tokenizer().get_piece_size(), size=(100, T)).astype("int32")
    ids[::3, 0] = tokenizer().piece_to_id("\u2581")
    found = [written(follow, row) for row in ids]
    assert found == [tokenizer().decode([*first, *row.tolist()])[len("open") :] for row in ids]
    assert 0 < sum(text.startswith(" ") for text in found) < 100


def test_a_file_has_builtin_ops_only_and_is_small(content):
    for data in content.values():
        assert not any(builtin_ops.kind(name) for name in builtin_ops.check_ops(data))
        assert len(data) < 1.5e6


def test_a_hundred_and_twenty_eight_bytes_take_a_millisecond(phone):
    text = next(text for text in real(9000) if 120 < len(text.encode()) <= 128)
    assert corpus.milliseconds(phone[0], text) < 1


# ---------- other tokenizers ----------


@pytest.mark.parametrize("options", [{"add_dummy_prefix": False}, {"remove_extra_whitespaces": False}])
def test_spaces_are_what_the_tokenizer_says(options):
    data = train(["open the file", "close it  now", " the end"] * 9, 40, **options)
    spm, size = sentencepiece.SentencePieceProcessor(model_proto=data), 70
    encode, decode = runners(files(ByteCodec(data), size=size, limit=23)["f32"])
    for text in ODD:
        assert encode(utf8=row(text, size))["ids"][0].tolist() == corpus.expected(text, spm, 23, size)
    for ids in np.random.default_rng(2).integers(0, spm.get_piece_size(), size=(50, T)).astype("int32"):
        assert written(decode, ids) == spm.decode(ids.tolist())


def test_a_tokenizer_that_it_cannot_follow_is_refused():
    with pytest.raises(ValueError, match="unigram.*model type 2"):
        ByteCodec(train(["open the file"] * 9, 30, model_type="bpe"))


# ---------- the trie ----------


@given(st.sets(st.binary(min_size=1, max_size=7).filter(lambda word: 0 not in word), min_size=1, max_size=60))
def test_a_walk_ends_where_the_word_does(words):
    words = sorted(words)
    base, check, ends = trie.double_array(words)
    places = dict(zip(words, ends))

    def walk(word):
        state = trie.ROOT
        for byte in word:
            following = base[state] + byte
            state = following if check[following] == state else trie.DEAD
        return state

    assert all(walk(word) == end for word, end in places.items())
    assert len(set(ends)) == len(words)
    beginnings = {word[:i] for word in words for i in range(1, len(word) + 1)}
    for word in beginnings:
        assert walk(word) != trie.DEAD
        for byte in (1, 7, 255):
            longer = word + bytes([byte])
            assert (walk(longer) != trie.DEAD) == (longer in beginnings)
