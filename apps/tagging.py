"""Tag each word of a sentence: parts of speech, or the names of people and places; a bidirectional LSTM or a Transformer.

Many to many, aligned: a sentence in, a tag for each of its words out. Trains on the Brown corpus, or on CoNLL-U, CoNLL or
BIO files of yours; tells how often it is right, on words it has never seen too, beside what looking each word up would
reach; finds entities where the tags are B- and I-; exports files that run without Python.

    python -m apps.tagging train                                     # the Brown corpus that comes with the app
    python -m apps.tagging train --data UD_English-EWT               # a folder with train, dev and test files
    python -m apps.tagging train --data names.bio                    # or one file: B-person, I-person, O
    python -m apps.tagging predict "The cat sat." --aligned
    python -m apps.tagging evaluate
    python -m apps.tagging export

The first command takes 3 minutes on a CPU core and reaches 96.9 % of the coarse tags of files it has never seen (looking
each word up: 90.3 %); on English Web Treebank `--vocab-size 4000 --batch 32 --epochs 4` reaches 93.7 %
of the universal tags in 1.1 minutes (86.2 %).
"""

import dataclasses
import sys
from typing import Literal

from keras_seq.app import App, Block, Data, ExportOptions, Preview, above_zero, below_one


@dataclasses.dataclass(frozen=True)
class Config:
    data: str = ""  # a folder with train, dev and test files, or one file; CoNLL-U, CoNLL or BIO; default: the Brown pack
    column: str = "auto"  # of your data that holds the tags: upos, xpos, or its number; auto: upos, or the last one
    tags: Literal["coarse", "universal"] = "coarse"  # of the pack: 86 tags, or the 12 that all languages share
    pretrained: str = ""  # folder of a trained masked_lm, whose tokenizer and encoder this model begins with
    model: Literal["bilstm", "transformer"] = "bilstm"  # the family
    vocab_size: int = 8000  # pieces, case aside
    dim: int = 128  # width of the vectors of the pieces
    units: int = 128  # of the LSTM, each direction
    layers: int = 1  # of the stack
    position: Literal["sinusoidal", "learned", "rotary", "relative", "relative_bias", "alibi"] = "rotary"  # of the Transformer
    heads: int = 4  # of each attention of the Transformer
    mlp_dim: int = 256  # width inside its feed-forward
    dropout: float = 0.3  # of the vectors of the pieces and of the words
    sampling: float = 0.3  # words are cut into other pieces in each epoch, 0.1 wildly, 0.5 tamely, so that rare ones teach (0: never)
    batch: int = 64  # sentences a step
    learning_rate: float = 3e-3  # at the end of the warm-up; it then falls along a cosine to nearly 0
    warmup: int = 100  # steps
    clip: float = 1.0  # norm of the gradient, at most
    max_length: int = 128  # pieces that the model sees at once; longer sentences are read in parts
    examples: int = 0  # sentences to train on, and as many to validate, drawn with the seed (0: all)
    seed: int = 0  # the same seed gives the same run on one machine
    held: int = 2000  # sentences held out of one file for each of validation and test, a tenth at most
    epochs: int = 6  # passes over the training data; the schedule ends with the last
    patience: int = 0  # the schedule has its best at its end
    mixed_precision: bool = False  # bfloat16: good on a GPU, no faster than float32 in small models on a CPU

    def __post_init__(self):
        above_zero(
            self, "vocab_size", "dim", "units", "layers", "heads", "mlp_dim", "batch", "learning_rate", "max_length",
            "held",
        )
        below_one(self, "dropout")


@dataclasses.dataclass(frozen=True)
class Predict:
    aligned: bool | None = None  # each tag below its word, instead of word/tag on a line (auto: on a terminal)
    split: bool = True  # cut marks and endings off words; off: words stand between spaces


@dataclasses.dataclass(frozen=True)
class Export(ExportOptions):
    length: int = 64  # pieces of the longest sentence that the files read; what comes after is not tagged
    tolerance: float = 0.5  # points of accuracy that f16 and int8 may lose on the whole test split


# Data ---------------------------------------------------------------------------------------------------------------

USUAL = 1e-4  # share of the words from which an ending is one that the data writes as a word of its own


def data(config):
    """Sentences as batches, the tokenizer and the tags of the training sentences, and each word's most frequent tag."""
    from keras_seq.app import pretrained
    from keras_seq.data import TaggedWords, spaced, word_parts

    parts = sentences(config)
    texts = {part: [spaced(row.words) for row in parts[part]] for part in ("train", "valid")}
    tokenizer = pretrained.tokenizer(config, texts["train"])
    tags = sorted({tag for row in parts["train"] for tag in row.tags})
    places = {tag: i for i, tag in enumerate(tags)}
    labels = {part: [[places.get(tag, -1) for tag in row.tags] for row in parts[part]] for part in texts}

    def cut(epoch):
        return tokenizer.encode(texts["train"], sample=config.sampling, seed=epoch)

    form = {"parts": word_parts(tokenizer.model_proto), "batch": config.batch, "max_length": config.max_length}
    batches = TaggedWords(cut if config.sampling else cut(0), labels["train"], **form)
    valid = TaggedWords(tokenizer.encode(texts["valid"]), labels["valid"], **form, shuffle=False)
    words = {part: sum(len(row.words) for row in rows) for part, rows in parts.items()}
    return Data(
        batches, valid, [row._asdict() for row in parts["test"]],
        assets={"tokenizer.model": tokenizer.model_proto, "tags": tags, "epoch": {"steps": batches.steps},
                "lexicon": lexicon(parts["train"], places)},
        facts=[f"{len(rows):,} sentences, {words[part]:,} words: {part}" for part, rows in parts.items()]
        + [f"{len(tags)} tags: {', '.join(tags[:12])}{', ...' if len(tags) > 12 else ''}"],
        samples=[row._asdict() for row in parts["valid"][:1000]], begin=pretrained.begin(config),
    )  # fmt: skip


def sentences(config):
    """{"train": [Tagged, ...], "valid": ..., "test": ...}, as many to train and to validate as were asked for."""
    from keras_seq.data import read_parts, some

    parts = read_parts(config.data, config.column, config.held) if config.data else brown(config)
    return parts | {part: some(parts[part], config.examples, config.seed) for part in ("train", "valid")}


def brown(config):
    """The pack, with the tags that were asked for."""
    from apps.data import brown_tags, load_brown
    from keras_seq.data import Tagged

    name = getattr(brown_tags, config.tags)
    return {part: [Tagged(words, [name(tag) for tag in tags]) for words, tags in rows]
            for part, rows in load_brown().items()}  # fmt: skip


def lexicon(rows, places):
    """For each word the place of its most frequent tag, what words seen once mostly are, and endings that stand alone."""
    import collections

    from keras_seq.data.words import CLITICS

    counts = collections.defaultdict(collections.Counter)
    for row in rows:
        for word, tag in zip(row.words, row.tags):
            counts[word][places[tag]] += 1
    once = collections.Counter(next(iter(tags)) for tags in counts.values() if tags.total() == 1)
    words = {word: tags.most_common(1)[0][0] for word, tags in counts.items()}
    least = USUAL * sum(tags.total() for tags in counts.values())
    clitics = [end for end in CLITICS if end in counts and counts[end].total() >= least]
    return {"words": words, "other": (once or collections.Counter(words.values())).most_common(1)[0][0], "clitics": clitics}


# Model --------------------------------------------------------------------------------------------------------------


def model(config, assets):
    """The compiled model."""
    import keras

    from keras_seq import models, training
    from keras_seq.app import pretrained
    from keras_seq.data import case_forms, shared_rows, word_parts

    proto = assets["tokenizer.model"]
    net = models.WordTagger(
        len(assets["tags"]), word_parts(proto), pretrained.stack(config), config.dim, config.dropout,
        shared_rows(proto), case_forms(proto), dtype=keras.config.dtype_policy(),
    )  # fmt: skip
    schedule = training.WarmupCosine(config.learning_rate, config.warmup, config.epochs * assets["epoch"]["steps"])
    net.compile(training.Adam(schedule, global_clipnorm=config.clip), training.TokenCrossEntropy())
    return net


# Answers ------------------------------------------------------------------------------------------------------------


def tagged(config, model, assets, sentences):
    """The tags of sentences, lists of words: a list of lists."""
    from keras_seq.data import Tokenizer, by_length, in_words, spaced, windows, word_parts
    from keras_seq.data.labelled import EOS, padded

    parts = word_parts(assets["tokenizer.model"])
    rows = Tokenizer(assets["tokenizer.model"]).encode([spaced(words) for words in sentences])
    pieces = [(i, window) for i, row in enumerate(rows) for window in windows(row, parts, config.max_length - 1)]
    found = [None] * len(pieces)
    for some in by_length([window for _, window in pieces], 64):
        answers = model.predict_on_batch(padded([[*pieces[i][1], EOS] for i in some])).argmax(axis=-1)
        for i, row in zip(some, answers):
            found[i] = row[: len(in_words(pieces[i][1], parts))]
    tags = [[] for _ in sentences]
    for (i, _), row in zip(pieces, found):
        tags[i] += [assets["tags"][place] for place in row]
    return tags


def predict(config, model, assets, texts, aligned=None, split=True):
    """For each text its words, each with its tag; where the tags are of entities, these in brackets."""
    from keras_seq.data import split_words

    words = assets["lexicon"]["words"]
    rows = [split_words(text, words, assets["lexicon"]["clitics"]) if split else text.split() for text in texts]
    return [shown(assets, *row, aligned) for row in zip(rows, tagged(config, model, assets, rows))]


def shown(assets, words, tags, aligned=None):
    """Words with their tags; `aligned`: these below them, as on a terminal."""
    if sys.stdout.isatty() if aligned is None else aligned:
        return Block(below(words, tags))
    return bracketed(words, tags) if entities(assets) else paired(words, tags)


def entities(assets):
    """Whether the tags are those of spans: B-person, I-person, O."""
    return all(tag == "O" or tag[:2] in ("B-", "I-") for tag in assets["tags"])


def reads(card, texts):
    """Texts as an exported file wants them.

    Raises:
        ValueError: for a file that does not say how.
    """
    from keras_seq.data import spaced, split_words

    if "words" not in card:
        raise ValueError("expected a file that says how its texts are cut into words, got an older one: export again")
    rule = card["words"]
    known = {*rule["whole"], *(["``"] if rule["quotes"] else [])}
    return [spaced(split_words(text, known, rule["clitics"])) for text in texts]


def tells(file, text, outputs):
    """What an exported file says of a text that it has read."""
    card = file.card()
    words = text.split()[: int(outputs["words"])]
    return shown(card, words, [card["tags"][place] for place in outputs["probabilities"].argmax(axis=-1)])


def paired(words, tags):
    """`The/at cat/nn sat/vbd ./.`"""
    return " ".join(f"{word}/{tag}" for word, tag in zip(words, tags))


def bracketed(words, tags):
    """`[Anna Day](person) slept`"""
    shown, before = [], "O"
    for word, tag in zip(words, tags):
        if tag != "O" and (tag[:2] == "B-" or tag[2:] != before[2:]):
            shown.append([tag[2:], word])
        elif tag != "O":
            shown[-1].append(word)
        else:
            shown.append(["", word])
        before = tag
    return " ".join(f"[{' '.join(words)}]({name})" if name else words[0] for name, *words in shown)


def below(words, tags, width=100):
    """Each tag below its word; a long sentence goes on below, after an empty line."""
    lines = [["", ""]]
    for word, tag in zip(words, tags):
        room = max(len(word), len(tag)) + 2
        if len(lines[-1][0]) + room > width and lines[-1][0]:
            lines.append(["", ""])
        lines[-1] = [line + text.ljust(room) for line, text in zip(lines[-1], (word, tag))]
    return "\n\n".join("\n".join(line.rstrip() for line in pair) for pair in lines) + "\n"


# Evaluation ---------------------------------------------------------------------------------------------------------


def evaluate(config, model, assets, examples):
    """Percent of the words that are right, of all and of those never seen, beside looking words up; F1 of entities."""
    rights, found = [row["tags"] for row in examples], tagged(config, model, assets, [row["words"] for row in examples])
    known, other = assets["lexicon"]["words"], assets["lexicon"]["other"]
    looked_up = [[assets["tags"][known.get(word, other)] for word in row["words"]] for row in examples]
    new = [[word not in known for word in row["words"]] for row in examples]
    count = sum(map(len, rights))
    scores = {
        "sentences": len(examples), "words": count, "words never seen": f"{100 * sum(map(sum, new)) / count:.1f} %",
        "by": {"this model": right(rights, found, new), "most frequent tag": right(rights, looked_up, new)},
    }  # fmt: skip
    if entities(assets):
        from keras_seq.training import scoring

        totals, by_type = scoring.entity_scores(rights, found)
        scores["by"]["this model"] |= totals
        scores["by"]["most frequent tag"] |= scoring.entity_scores(rights, looked_up)[0]
        scores["entities"] = by_type
    return scores


def right(rights, found, new):
    """Accuracy in per cent, of all words and of those never seen."""
    pairs = [(a == b, fresh) for rows in zip(rights, found, new) for a, b, fresh in zip(*rows, strict=True)]
    return {"accuracy": percent([same for same, _ in pairs]),
            "of words never seen": percent([same for same, fresh in pairs if fresh])}  # fmt: skip


def percent(rights):
    """How many of some flags are true."""
    return 100 * sum(rights) / max(len(rights), 1)


def preview(config, model, assets, examples):
    """F1 of entities, or accuracy; three sentences, and which tags are taken for which."""
    from keras_seq import plots
    from keras_seq.training import scoring

    rights, found = [row["tags"] for row in examples], tagged(config, model, assets, [row["words"] for row in examples])
    if entities(assets):
        score = scoring.entity_scores(rights, found)[0]["F1"]
    else:
        score = percent([a == b for rows in zip(rights, found) for a, b in zip(*rows, strict=True)])
    show = bracketed if entities(assets) else paired
    lines = [show(row["words"], tags) for row, tags in zip(examples[:3], found)]
    counts, names = scoring.most_confused(rights, found)
    return Preview({"val_score": score}, lines, {"confusion": plots.confusion_matrix(counts, names)})


# Export -------------------------------------------------------------------------------------------------------------


def export(config, model, assets, folder, examples, options):
    """SavedModel and .tflite, each compared with the model on every test sentence."""
    from keras import ops

    from keras_seq import deploy
    from keras_seq.data import cutting, spaced

    places = {tag: i for i, tag in enumerate(assets["tags"])}
    rights = [[places.get(tag, -1) for tag in row["tags"]] for row in examples]

    def answer(tokens):
        return {"probabilities": ops.softmax(model(tokens), axis=-1), "words": model.words(tokens)}

    def accuracy(outputs):
        return percent([label == place for row, labels in zip(outputs, rights)
                        for label, place in zip(labels[: int(row["words"])], row["probabilities"].argmax(axis=-1))])

    report = deploy.export_predictor(
        model, {"predict": deploy.Signature(answer, {"tokens": ((options.length,), "int32")})}, folder, None,
        metric=accuracy, metric_name="accuracy of the words read", **options.settings(),
        card={"app": "tagging", "config": dataclasses.asdict(config), "tags": assets["tags"],
              "words": cutting(assets["lexicon"]["words"], assets["lexicon"]["clitics"]),
              "text": "words and marks with a space between, as in `It works .`, cut as `words` here says; row i of "
              "`probabilities` is that of word i, the output `words` says how many were read"},
        files={"tags.json": assets["tags"]},
        text={"tokenizer": assets["tokenizer.model"], "length": options.length,
              "texts": [spaced(row["words"]) for row in examples]},
    )  # fmt: skip
    return deploy.outcome(report)


def demo(config, model, assets, examples):
    """Of the page: some test sentences, as a person writes them."""
    from keras_seq.data import written
    from keras_seq.demo import few

    short = [row["words"] for row in examples if 5 <= len(row["words"]) <= 12]
    return {
        "reads": {"kind": "text", "label": "Text", "hint": "Type a sentence"},
        "shows": {"kind": "tags", "label": "Its words", "quiet": ["O"]},
        "samples": [{"text": written(words)} for words in few(short)],
    }


APP = App(
    "tagging", Config, data, model, predict, evaluate, preview, export,
    predict_options=Predict, export_options=Export, demo=demo, reads=reads, tells=tells,
    monitor="val_score", mode="max", shown=10**6,
    about="Brown: W. N. Francis and H. Kucera, American English of 1961; redistribution permitted, NLTK's index says for "
          "non-commercial use.",
)  # fmt: skip

if __name__ == "__main__":
    APP.main()
