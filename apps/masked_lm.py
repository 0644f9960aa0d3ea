"""Fill in what is hidden in a text: BERT, a Transformer that reads both ways; and a beginning for other apps.

Trains on the texts of the Brown corpus and of the sentiment app, without their labels, or on a file of yours: some words
are hidden, others in each epoch, and told from what stands around them. What its encoder has learned is worth most where
labels are few: the apps for sentiment and tagging begin with it.

    python -m apps.masked_lm train                                   # the texts that come with the apps
    python -m apps.masked_lm train --data texts.txt                  # a text on each line
    python -m apps.masked_lm predict "The [MASK] sat on the table."
    python -m apps.masked_lm evaluate
    python -m apps.masked_lm export

    python -m apps.tagging train --pretrained saved_models/masked_lm --model transformer --layers 3 --mlp-dim 512
"""

import dataclasses
import itertools
import re
from typing import Literal

from keras_seq.app import App, Data, ExportOptions, Preview, above_zero, at_least, below_one


@dataclasses.dataclass(frozen=True)
class Config:
    data: str = ""  # a text file in UTF-8, gzipped or not, a text on each line; default: the Brown corpus; training also reads the texts of the sentiment app, without their ratings
    model: Literal["transformer", "bilstm"] = "transformer"  # the family; both read both ways
    vocab_size: int = 8000  # pieces, case aside
    dim: int = 128  # width of the vectors
    layers: int = 3  # of the stack
    position: Literal["sinusoidal", "learned", "rotary", "relative", "relative_bias", "alibi"] = "rotary"  # of the Transformer
    heads: int = 4  # of each attention of the Transformer
    mlp_dim: int = 512  # width inside its feed-forward
    units: int = 128  # of the LSTM, each direction
    vectors: Literal["cooccurrence", "random"] = "cooccurrence"  # what those of the pieces begin with: alike where a piece has the same neighbours in the texts, or by chance
    dropout: float = 0.1  # of the vectors of the pieces
    hidden: float = 0.15  # share of the pieces that are hidden: of these 80 % masked, 10 % replaced, 10 % left
    batch: int = 64  # texts a step
    learning_rate: float = 2e-3  # at the end of the warm-up; it then falls along a cosine to nearly 0
    warmup: int = 300  # steps
    clip: float = 1.0  # norm of the gradient, at most
    max_length: int = 128  # pieces of a text; what comes after is not read
    held: int = 2000  # texts held out of your own data for each of validation and test, a tenth at most
    epochs: int = 12  # passes over the training data; the schedule ends with the last
    patience: int = 0  # the schedule has its best at its end
    mixed_precision: bool = False  # bfloat16: good on a GPU, no faster than float32 in small models on a CPU

    def __post_init__(self):
        above_zero(
            self, "vocab_size", "dim", "layers", "heads", "mlp_dim", "units", "batch", "learning_rate", "max_length",
            "held",
        )
        below_one(self, "dropout")
        if not 0 < self.hidden < 1:
            raise ValueError(f"expected --hidden between 0 and 1, got {self.hidden}: 0.15 is usual")


@dataclasses.dataclass(frozen=True)
class Predict:
    top: int = 5  # fillings of each mask

    def __post_init__(self):
        at_least(1, self, "top")


@dataclasses.dataclass(frozen=True)
class Export(ExportOptions):
    length: int = 64  # pieces of the longest text that the files read
    tolerance: float = 0.5  # points of accuracy that f16 and int8 may lose on the whole test split


# Data ---------------------------------------------------------------------------------------------------------------

HIDDEN = "[MASK]"


def data(config):
    """Texts as batches with hidden pieces, and the tokenizer learned from the training texts.

    Each text is read as a person writes it and with a space around each mark, in turns, so that the encoder knows both.
    """
    from keras_seq.data import Masked, Tokenizer, any_case, shared_rows, spaced

    parts = texts(config)
    words = [spaced(row) for _, row in parts["train"]]
    plain = [text for text, _ in parts["train"]]
    pieces = Tokenizer.train([text.lower() for text in (*plain, *words)], config.vocab_size)
    tokenizer = Tokenizer(any_case(pieces.model_proto))
    views = [tokenizer.encode(plain), tokenizer.encode(words)]
    share = shared_rows(tokenizer.model_proto)

    def rows(epoch):
        return [both[(i + epoch) % 2] for i, both in enumerate(zip(*views))]

    form = {"share": share, "hidden": config.hidden, "batch": config.batch, "max_length": config.max_length}
    batches = Masked(rows, **form)
    held = {name: [text for text, _ in parts[name]] for name in ("valid", "test")}
    return Data(
        batches, Masked(tokenizer.encode(held["valid"]), **form, shuffle=False), held["test"],
        assets={"tokenizer.model": tokenizer.model_proto, "epoch": {"steps": batches.steps},
                "counts": counts(views[0], share)},
        facts=[f"{len(plain):,} texts to train, {len(held['valid']):,} to validate, {len(held['test']):,} to test",
               f"{sum(map(len, views[0])):,} pieces to train, of {pieces.vocab_size:,}, case aside"],
        samples=held["valid"][:1000],
        begin=(lambda model: begun(model, views[0], share)) if config.vectors == "cooccurrence" else None,
    )  # fmt: skip


def begun(model, rows, share):
    """Gives the vectors of the pieces that were read what their neighbours tell; others stay as they were drawn."""
    import numpy as np

    from keras_seq.data import cooccurrence_vectors

    table, share = model.encoder.embedding.table, np.asarray(share)
    vectors = cooccurrence_vectors((share[row] for row in rows if row), *table.shape)
    table.assign(np.where(np.any(vectors, axis=1, keepdims=True), vectors, table.numpy()))


def texts(config):
    """{"train": [(text, its words), ...], "valid": ..., "test": ...}."""
    from keras_seq.data import read_texts, split_texts, split_words, written

    if config.data:
        parts = split_texts(read_texts(config.data), config.held)
        return {name: [(text, split_words(text)) for text in part] for name, part in parts.items()}
    from apps.data import load_brown, load_sentiment

    parts = {name: [(written(words), words) for words, _ in part] for name, part in load_brown().items()}
    rated = [row.text for row in load_sentiment()["train"] if row.domain != "words"]
    return {**parts, "train": [*parts["train"], *((text, split_words(text)) for text in rated)]}


def counts(rows, share):
    """How often each row of the table is read."""
    import numpy as np

    return np.bincount(np.array(share)[[i for row in rows for i in row]], minlength=max(share) + 1).tolist()


# Model --------------------------------------------------------------------------------------------------------------


def model(config, assets):
    """The compiled model."""
    import keras

    from keras_seq import models, training
    from keras_seq.app import pretrained
    from keras_seq.data import case_forms, shared_rows

    share, forms = shared_rows(assets["tokenizer.model"]), case_forms(assets["tokenizer.model"])
    net = models.MaskedLM(
        len(share), config.dim, pretrained.stack(config), config.dropout, share, forms,
        dtype=keras.config.dtype_policy(),
    )  # fmt: skip
    schedule = training.WarmupCosine(config.learning_rate, config.warmup, config.epochs * assets["epoch"]["steps"])
    optimizer = training.AdamW(schedule, weight_decay=0.01, global_clipnorm=config.clip)
    net.compile(optimizer, training.TokenCrossEntropy())
    return net


# Answers ------------------------------------------------------------------------------------------------------------


def predict(config, model, assets, texts, top=5):
    """For each text the likeliest fillings of its masks, each with its probability."""
    from keras_seq.data.labelled import padded
    from keras_seq.training import calibration

    tokenizer = reader(assets)
    rows = [masked(tokenizer, text, config.max_length) for text in texts]
    spots = [[i for i, token in enumerate(row) if token == MASK] for row in rows]
    odds = calibration.probabilities(model.predict_on_batch({"tokens": padded(rows), "places": padded(spots)}))
    return [[fillings(tokenizer.piece, p, top) for p in row[: len(mine)]] for row, mine in zip(odds, spots)]


MASK, EOS = 1, 2  # the ids of what is hidden, and of the end of a text


def reader(assets):
    """The tokenizer of texts in which words are hidden."""
    from keras_seq.data import Tokenizer, with_mask

    return Tokenizer(with_mask(assets["tokenizer.model"], HIDDEN))


def apart(text):
    """A text whose masks are words: in capitals, with a space before each."""
    return re.sub(rf"\s*{re.escape(HIDDEN)}", f" {HIDDEN}", text, flags=re.IGNORECASE).strip()


def masked(tokenizer, text, limit):
    """The ids of a text with masks.

    Raises:
        ValueError: for a text without one, or so long that none of them is read.
    """
    ids = tokenizer.encode([apart(text)])[0][: limit - 1]
    if MASK not in ids:
        got = f"none in the first {limit} pieces of" if HIDDEN in apart(text) else "none in"
        raise ValueError(f"expected a text with {HIDDEN}, got {got} {text[:60]!r}: write {HIDDEN} where a word is hidden")
    return [*ids, EOS]


def fillings(piece, p, top):
    """`man 0.21, boy 0.08`, by the piece of each id: what goes on with the word before is written with a hyphen."""
    best = [int(i) for i in p.argsort()[::-1] if i > EOS + 1][:top]
    return ", ".join(f"{shown(piece(i))} {p[i]:.3f}" for i in best)


def shown(piece):
    return piece[1:] or "_" if piece.startswith("\u2581") else f"-{piece}"


# Evaluation ---------------------------------------------------------------------------------------------------------


def evaluate(config, model, assets, examples):
    """Per cent of the hidden pieces that are told, and the perplexity, beside those of telling the most frequent ones."""
    import numpy as np

    from keras_seq.training import calibration

    hits, logs, plain = [], [], []
    frequent = np.array(assets["counts"]) + 1.0  # none of them is impossible
    for inputs, labels, weights in hidden(config, assets, examples):
        kept = weights > 0
        p, labels = calibration.probabilities(model.predict_on_batch(inputs)[kept]), labels[kept]
        hits += (p.argmax(axis=-1) == labels).tolist()
        logs += np.log(p[np.arange(len(labels)), labels] + 1e-12).tolist()
        plain += labels.tolist()
    by_count = np.log(frequent / frequent.sum())[plain]
    return {
        "texts": len(examples), "hidden pieces": len(hits),
        "by": {"this model": {"accuracy": 100 * float(np.mean(hits)), "perplexity": float(np.exp(-np.mean(logs)))},
               "most frequent": {"accuracy": 100 * float(np.mean(np.array(plain) == frequent.argmax())),
                                 "perplexity": float(np.exp(-by_count.mean()))}},
    }  # fmt: skip


def hidden(config, assets, examples):
    """Batches of texts with hidden pieces, always the same ones."""
    from keras_seq.data import Masked, Tokenizer, shared_rows

    proto = assets["tokenizer.model"]
    form = {"hidden": config.hidden, "max_length": config.max_length, "shuffle": False}
    return Masked(Tokenizer(proto).encode(examples), shared_rows(proto), **form).epoch(0)


def preview(config, model, assets, examples):
    """Scores, and three texts with a word hidden."""
    found = evaluate(config, model, assets, examples)["by"]["this model"]
    asked = [text for text, _ in questions(assets, examples[:30], config.max_length)][:3]
    answers = predict(config, model, assets, asked, top=3) if asked else []
    lines = [f"{text}\n  {'  |  '.join(answer)}" for text, answer in zip(asked, answers)]
    return Preview({f"val_masked_{name}": value for name, value in found.items()}, lines)


def questions(assets, texts, limit):
    """Texts with a piece hidden, each with that piece: [(text, id), ...].

    A word in the middle where one is a piece, else any piece whose place a mask can take; a text without is left out.
    """
    from keras_seq.data import shared_rows

    tokenizer, share, found = reader(assets), shared_rows(assets["tokenizer.model"]), []
    for ids in tokenizer.encode(texts):
        ids = ids[: limit - 1]
        if len(ids) < 5:
            continue
        pieces = [*map(tokenizer.piece, ids), "\u2581"]
        word = [a[0] == "\u2581" and a[1:].isalpha() and not b[0].isalpha() for a, b in itertools.pairwise(pieces)]
        for place in sorted(range(len(ids)), key=lambda i: (not word[i], abs(2 * i + 1 - len(ids)))):
            row = [*ids[:place], MASK, *ids[place + 1 :]]
            [asked] = tokenizer.decode([row])
            if tokenizer.encode([asked])[0] == row:
                found.append((asked, int(share[ids[place]])))
                break
    return found


def reads(card, texts):
    """Texts as an exported file wants them.

    Raises:
        ValueError: for a text with no mask, or with several.
    """
    texts = [apart(text) for text in texts]
    for text in texts:
        if (count := text.count(HIDDEN)) != 1:
            raise ValueError(f"expected a text with one {HIDDEN}, got {count} in {text[:60]!r}: the file tells one word")
    return texts


def tells(file, text, outputs):
    """What an exported file says of a text."""
    return [fillings(file.tokenizer().id_to_piece, outputs["probabilities"], Predict().top)]


# Export -------------------------------------------------------------------------------------------------------------


def export(config, model, assets, folder, examples, options):
    """SavedModel and .tflite, each compared with the model on `questions` of the test texts."""
    from keras import ops

    from keras_seq import deploy

    found = questions(assets, examples, options.length)
    if not found:
        raise ValueError(f"expected a test text of five pieces or more, got none in {len(examples)}: give more with --data")
    texts, labels = zip(*found)

    def answer(tokens):
        length = tokens.shape[1] or ops.shape(tokens)[1]
        place = ops.min(ops.where(ops.equal(tokens, MASK), ops.arange(length, dtype="int32"), length - 1), axis=1)
        logits = model({"tokens": tokens, "places": ops.expand_dims(place, 1)})
        return {"probabilities": ops.softmax(ops.squeeze(logits, 1), axis=-1)}

    def accuracy(outputs):
        return 100 * sum(int(row["probabilities"].argmax()) == i for row, i in zip(outputs, labels)) / len(labels)

    inputs = {"tokens": ((options.length,), "int32")}
    report = deploy.export_predictor(
        model, {"predict": deploy.Signature(answer, inputs, {"tokens": (None,)})}, folder, None,
        metric=accuracy, metric_name="% of hidden words", **options.settings(),
        card={"app": "masked_lm", "config": dataclasses.asdict(config), "hidden": HIDDEN,
              "text": f"with {HIDDEN} in the place of a word, a space before it; of several the first is told",
              "probabilities": "of each piece of the vocabulary in lower case"},
        text={"tokenizer": reader(assets).model_proto, "length": options.length, "texts": texts},
    )  # fmt: skip
    return deploy.outcome(report)


def demo(config, model, assets, examples):
    """Of the page: some test texts with a word hidden, and what the model says."""
    from keras_seq.demo import few

    short = [text for text in examples if 5 <= len(text.split()) <= 14]
    asked = [text for text, _ in questions(assets, few(short), config.max_length)]
    said = predict(config, model, assets, asked, top=1) if asked else []
    return {
        "title": "Masked language model",
        "reads": {"kind": "text", "label": "Text", "hint": f"Write {HIDDEN} in the place of a word"},
        "shows": {"kind": "pieces", "label": "What is hidden"},
        "samples": [{"text": text, "said": answer[0]} for text, answer in zip(asked, said)],
    }


APP = App(
    "masked_lm", Config, data, model, predict, evaluate, preview, export,
    predict_options=Predict, export_options=Export, demo=demo, reads=reads, tells=tells,
    about="Brown: W. N. Francis and H. Kucera, American English of 1961; redistribution permitted, NLTK's index says for "
          "non-commercial use.",
)  # fmt: skip

if __name__ == "__main__":
    APP.main()
