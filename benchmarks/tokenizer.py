"""The tokenizer inside a .tflite against sentencepiece, on real and made-up lines: are all ids equal, and how fast.

    python -m benchmarks tokenizer                 # over 10,000 lines, half a minute
    python -m benchmarks tokenizer --lines 2000
"""

import argparse
import io
import sys
import time

import numpy as np

EOS, UNK = 2, 3
BYTES, IDS = 512, 64  # of a text, at most
ODD = [
    "", " ", "  ", "a", " the   end ", "zzz q zz", "日本 open 日本", "😀😀 ok 😀", "e\u0301 the", "x▁y", "▁", "▁▁a",
    "the▁ ", " ▁ x ▁ ▁  ", "a\tb\nc", "<s> </s> <unk>", "a\u00a0b", "OPEN THE FILE", "the the the the", "a" * 20,
    "👨\u200d👩\u200d👧 family", "한국어 텍스트", "\u200bzero", "\U0010ffff", "\x7f\x01", "y\u0308a\u0308ffin\u0327",
    "مرحبا بالعالم", "🏳\ufe0f\u200d🌈" * 9, "…" * 70, "日" * 170,
]  # fmt: skip
LONG = ["open the file " * 50, "日本" * 200, "😀 " * 150, "a" + "é" * 400, "👩\u200d🚀" * 100, "e\u0301" * 300]


def real(count):
    """So many lines of the translation pack, most of them not those that the vocabulary is made of."""
    from apps.data import load_translation

    pack = load_translation()
    held = [text for split in ("valid", "test") for pair in pack[split] for text in pair]
    return (held + [text for pair in pack["train"][:700] for text in pair])[:count]


def made(count):
    """Lines of letters that seldom stand together, in pieces and out of them."""
    rng = np.random.default_rng(0)
    letters = list("thefil opn zé日本語😀▁  éàô\u0301\t.,:;'’«»—") + ["the ", "file", "  ", "👩\u200d🚀", "ß"]
    return ["".join(rng.choice(letters, size=rng.integers(0, 60))) for _ in range(count)]


def vocabulary(size=8000):
    """The bytes of a sentencepiece model of so many pieces."""
    from apps.data import load_translation

    return train([text for pair in load_translation()["train"][:9000] for text in pair], size)


def train(texts, size, **options):
    """A unigram model as the apps train it."""
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_writer=model, vocab_size=size, hard_vocab_limit=False, minloglevel=2,
        pad_id=0, bos_id=1, eos_id=EOS, unk_id=UNK, normalization_rule_name="identity",
        seed_sentencepiece_size=40000, **options,
    )  # fmt: skip
    return model.getvalue()


def codec_file(proto):
    """A .tflite with the reading half of the tokenizer alone."""
    import tensorflow as tf

    from keras_seq.deploy import litert, signatures
    from keras_seq.deploy.bytes import ByteCodec

    codec, module = ByteCodec(proto), tf.Module()
    module.tables = codec.tables
    spec = tf.TensorSpec((1, BYTES), "int32")
    function = signatures.trace(lambda utf8: {"ids": codec.encode(utf8, IDS)}, utf8=spec)
    return litert.convert(module, {"encode": function}, ["int8"])["int8"]


def row(text, size=BYTES):
    """A text as a signature reads it."""
    data = text.encode()[:size]
    return np.array([[*data, *[0] * (size - len(data))]], "int32")


def expected(text, tokenizer, limit=IDS, size=BYTES):
    """What sentencepiece makes of the bytes that fit."""
    ids = tokenizer.encode(text.encode()[:size].decode(errors="ignore"))[: limit - 1]
    return [*ids, EOS, *[0] * (limit - 1 - len(ids))]


def milliseconds(run, text, times=50):
    """The best of some runs of a text."""
    best, given = float("inf"), row(text)
    for _ in range(times):
        begin = time.perf_counter()
        run(utf8=given)
        best = min(best, time.perf_counter() - begin)
    return 1e3 * best


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=10_500, help="a quarter of them made up; the odd ones come on top")
    parser.add_argument("--pieces", type=int, default=8000, help="of the vocabulary")
    args = parser.parse_args(argv)
    import sentencepiece
    from ai_edge_litert.interpreter import Interpreter

    proto = vocabulary(args.pieces)
    tokenizer, content = sentencepiece.SentencePieceProcessor(model_proto=proto), codec_file(proto)
    run = Interpreter(model_content=content, num_threads=1).get_signature_runner("encode")
    lines = [*real(args.lines - args.lines // 4), *made(args.lines // 4), *ODD, *LONG]
    wrong = [text for text in lines if run(utf8=row(text))["ids"][0].tolist() != expected(text, tokenizer)]
    text = next(text for text in lines if 120 < len(text.encode()) <= 128)
    equal = len(lines) - len(wrong)
    print(f"{equal:,} of {len(lines):,} lines equal, {milliseconds(run, text):.2f} ms for 128 bytes, "
          f"{len(content) / 1e6:.2f} MB with {tokenizer.get_piece_size():,} pieces")  # fmt: skip
    for text in wrong[:5]:
        print(f"  other ids: {text!r}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
