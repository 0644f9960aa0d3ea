"""Go on with a text: a small GPT, or an LSTM, that learns to foretell the next character or subword.

One to many. Trains on the works of Shakespeare, or on any text of yours; tells its nats and bits a character and its
perplexity on text that it has never seen, writes as you watch, and exports files that run without Python.

    python -m apps.language_model train                                 # Shakespeare, subwords
    python -m apps.language_model train --data input.txt --tokens char  # your text, character by character
    python -m apps.language_model train --model lstm
    python -m apps.language_model predict "ROMEO:"
    python -m apps.language_model predict "ROMEO:" --temperature 0.5 --length 100 --seed 3
    python -m apps.language_model evaluate
    python -m apps.language_model export

The first command takes 13 minutes on a CPU core and reaches 1.29 nats a character on plays that it has never seen.
"""

import dataclasses
from typing import Literal

from keras_seq.app import App, Data, ExportOptions, Preview, above_zero, at_least, below_one

CHARACTERS = {"char": 1, "subword": 4}  # in a token, about
HELD_OUT = {True: "the last tenth of each text, which also chose the epoch", False: "works that training never saw"}


@dataclasses.dataclass(frozen=True)
class Config:
    data: str = ""  # a text file, or a folder with .txt files, whose last tenth is held out; default: the works of Shakespeare that come with the app
    tokens: Literal["char", "subword"] = "subword"  # what is foretold: characters compare with what is published, subwords write better words
    vocab_size: int = 2000  # subwords: few, so that each is seen often
    model: Literal["transformer", "lstm"] = "transformer"  # the family
    context: int = 256  # tokens that the model looks back on, at most; a piece of training text is as long
    position: Literal["sinusoidal", "learned", "rotary", "relative", "relative_bias", "alibi"] = "rotary"  # of the Transformer
    dim: int = 192  # width of every layer of the Transformer, and of the LSTM's embeddings
    layers: int = 4  # of the Transformer
    heads: int = 3  # of each attention: 64 numbers each
    mlp_dim: int = 768  # width inside the feed-forward: four times dim, as usual
    units: int = 512  # of the LSTM, which has one layer
    dropout: float = 0.1  # of every layer: texts are small, and read many times
    batch: int = 16  # pieces a step: small steps learn more from little data
    learning_rate: float = 3e-3  # at the end of the warm-up; it then falls along a cosine to 0
    warmup: int = 100  # steps
    weight_decay: float = 0.1  # of AdamW, on matrices only
    clip: float = 1.0  # norm of the gradient, at most
    epoch_steps: int = 250  # an epoch is so many steps, wherever in the text they end: a sample is shown after each
    epochs: int = 12  # the schedule ends with the last
    patience: int = 4  # epochs without a better validation loss before training stops

    def __post_init__(self):
        above_zero(
            self, "vocab_size", "context", "dim", "layers", "heads", "mlp_dim", "units", "batch", "learning_rate",
            "epoch_steps",
        )
        below_one(self, "dropout")


@dataclasses.dataclass(frozen=True)
class Predict:
    length: int = 400  # tokens to write
    temperature: float = 0.8  # below 1 the likely is drawn more often than it is likely; 0: always the likeliest token
    top_k: int = 0  # draw from the k likeliest tokens only; 0: from all
    top_p: float = 0.95  # draw from the likeliest tokens that hold this much probability
    seed: int = 0  # of the draws: the same seed writes the same text

    def __post_init__(self):
        at_least(1, self, "length")
        at_least(0, self, "temperature", "top_k")


@dataclasses.dataclass(frozen=True)
class Export(ExportOptions):
    prompt_length: int = 64  # tokens of the prompt that the .tflite takes; of a longer one the last
    max_length: int = 64  # tokens that it writes in a call
    top_k: int = 0  # of the signature sample
    top_p: float = 0.95  # of the signature sample; its temperature is an input
    prompts: int = 50  # pieces of held-out text on which every output is compared with the model's
    tolerance: float = 0.02  # nats a character that f16 and int8 may lose on held-out text


def data(config):
    """Pieces of text as batches of ids, and the tokenizer learned from the training text."""
    from keras_seq.data import Stream, Tokenizer

    splits, notes = described(config)
    train, valid = (texts_of(splits[name]) for name in ("train", "valid"))
    if config.tokens == "char":
        tokenizer = Tokenizer.characters(train)
    else:
        tokenizer = Tokenizer.train([paragraph for text in train for paragraph in cut(text)], config.vocab_size)

    def stream(texts, **options):
        ids = [i for row in tokenizer.encode(texts) for i in row]
        return Stream(ids, config.batch, config.context, **options)

    batches = stream(train, steps=config.epoch_steps)
    seen = config.epochs * config.epoch_steps * config.batch * config.context / len(batches.ids)
    return Data(
        batches, stream(valid, shuffle=False), splits.get("test", splits["valid"]),
        assets={"tokenizer.model": tokenizer.model_proto},
        facts=[*notes, f"{tokenizer.vocab_size:,} tokens, {len(batches.ids):,} in training, read {seen:.1f} times"],
        samples=splits["valid"],
    )  # fmt: skip


def described(config):
    """{split: [{"name", "text"}]}, and lines to print about them."""
    if config.data:
        from keras_seq.data import hold_out, read_documents

        parts = [(name, *hold_out(text)) for name, text in read_documents(config.data)]
        splits = {
            "train": [{"name": name, "text": text} for name, text, _ in parts],
            "valid": [{"name": name, "text": text} for name, _, text in parts],
        }
        note = f"{config.data}: the last tenth is held out, for validation and for the figures below"
    else:
        from apps.data import load_shakespeare

        splits = load_shakespeare()
        note = "Shakespeare: whole works are held out, some for validation and others for the test"
    counts = [f"{sum(len(row['text']) for row in rows):,} to {name}" for name, rows in splits.items()]
    return splits, [note, f"characters: {', '.join(counts)}"]


def texts_of(rows):
    return [row["text"] for row in rows]


def cut(text, size=1000):
    """A text in pieces, for the tokenizer to learn from: it counts sentences by the thousand."""
    return [text[i : i + size] for i in range(0, len(text), size)]


def model(config, assets):
    """The compiled model."""
    from keras_seq import models, training

    size = tokenizer_of(assets).vocab_size
    if config.model == "transformer":
        net = models.TransformerLanguageModel(
            size, config.dim, config.heads, config.layers, config.mlp_dim, config.position, config.dropout,
            activation="relu", max_length=config.context,
        )  # fmt: skip
    else:
        net = models.RecurrentLanguageModel(size, config.dim, config.units, 1, dropout=config.dropout)
    schedule = training.WarmupCosine(config.learning_rate, config.warmup, config.epochs * config.epoch_steps)
    optimizer = training.AdamW(schedule, config.weight_decay, beta_2=0.99, global_clipnorm=config.clip)
    optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias", "table"])
    net.compile(optimizer, training.TokenCrossEntropy())
    return net


def tokenizer_of(assets):
    from keras_seq.data import Tokenizer

    return Tokenizer(assets["tokenizer.model"])


def predict(config, model, assets, texts, **options):
    """For each text an iterator of the text and what follows it.

    Raises:
        ValueError: for a character that the training text does not have.
    """
    from keras_seq.decoding import UNK

    tokenizer = tokenizer_of(assets)
    for text in texts:
        if unknown := [character for character in text if UNK in tokenizer.encode([character])[0]]:
            raise ValueError(f"expected characters that the training text has, got {unknown[0]!r} in {text[:40]!r}")
    return [written(config, model, tokenizer, begun(tokenizer, text), **options) for text in texts]


def begun(tokenizer, text):
    """The ids of a text that begins on a line of its own, where the training text has lines."""
    return tokenizer.encode([line_break(tokenizer) + text])[0]


def line_break(tokenizer):
    """What stands before a text: nothing where the training text has no lines."""
    from keras_seq.decoding import UNK

    return "" if UNK in tokenizer.encode(["\n"])[0] else "\n"


def written(config, model, tokenizer, ids, length, **options):
    """Yields the text of ids and of what the model writes after them, piece by piece."""
    from keras_seq.decoding import stream

    piece = min(32 // CHARACTERS[config.tokens], config.context // 2)  # tokens that appear at once
    shown = tokenizer.decode([ids])[0]
    yield shown.removeprefix("\n")
    for new in stream(model, ids, length, config.context, piece, **options):
        ids = ids + new
        text = tokenizer.decode([ids])[0]
        yield text[len(shown) :]
        shown = text


def evaluate(config, model, assets, examples):
    """Nats and bits a character and perplexity of held-out text: in a sliding window, and as others report it."""
    import numpy as np

    from keras_seq.training import text_scores, token_nats

    tokenizer, by_text, sliding, blocks = tokenizer_of(assets), {}, [], []
    for row in examples:
        ids = tokenizer.encode([row["text"]])[0]
        if len(ids) < 2:
            continue  # of one token alone nothing is foretold
        sliding.append(token_nats(model, ids, config.context))
        blocks.append(token_nats(model, ids, config.context, stride=config.context))
        characters = foretold(config, tokenizer, row["text"])
        by_text[row["name"]] = {"characters": characters, **text_scores(sliding[-1], characters)}
    count = sum(scores["characters"] for scores in by_text.values())
    in_blocks = text_scores(np.concatenate(blocks), count)
    return {
        "held_out": HELD_OUT[bool(config.data)], "characters": count, **text_scores(np.concatenate(sliding), count),
        "context_of_a_token": f"{config.context // 2} or more", "in_blocks": in_blocks["nats_per_character"],
        **({"by_text": by_text} if len(by_text) > 1 else {}),
    }  # fmt: skip


def foretold(config, tokenizer, text):
    """How many characters of a text are foretold, known or not: those after its first token; subwords make one space of
    several, and put one before the text.
    """
    first = len(tokenizer.pieces(text)[0])
    return len(text) - first if config.tokens == "char" else 1 + len(" ".join(filter(None, text.split(" ")))) - first


def preview(config, model, assets, examples):
    """What an epoch has brought: a sample after the first line of the held-out text."""
    tokenizer, line = tokenizer_of(assets), examples[0]["text"].strip().partition("\n")[0][:60]
    options = dataclasses.asdict(Predict(length=240 // CHARACTERS[config.tokens]))
    return Preview(texts=["".join(written(config, model, tokenizer, begun(tokenizer, line), **options))])


def export(config, model, assets, folder, examples, options):
    """SavedModel and .tflite, each compared with the model on held-out text."""
    from keras_seq import deploy

    report = deploy.export_language_model(
        model, assets["tokenizer.model"], folder, texts_of(examples), prompt_length=options.prompt_length,
        max_length=options.max_length, top_k=options.top_k, top_p=options.top_p, **options.settings(),
        before=line_break(tokenizer_of(assets)), prompts=options.prompts,
        card={"app": "language_model", "config": dataclasses.asdict(config)},
    )  # fmt: skip
    return deploy.outcome(report)


def demo(config, model, assets, examples):
    """Of the page: short lines of the held-out text to begin with."""
    from keras_seq.demo import few

    lines = [line.strip() for text in texts_of(examples) for line in text.splitlines()]
    return {
        "reads": {"kind": "text", "label": "How it begins", "hint": "Begin a text"},
        "shows": {"kind": "text", "label": "How it goes on"},
        "samples": [{"text": line} for line in few([line for line in lines if 12 <= len(line) <= 48])],
    }


APP = App(
    "language_model", Config, data, model, predict, evaluate, preview, export,
    predict_options=Predict, export_options=Export, demo=demo,
    about="A small model of one author: it knows his words and his verse, and nothing of the world.",
)  # fmt: skip

if __name__ == "__main__":
    APP.main()
