"""Say how a word is spoken: an LSTM with attention, or a Transformer, that reads letters and writes phonemes.

Many to many, unaligned. Trains on the CMU Pronouncing Dictionary, or on any dictionary of yours; tells its phoneme and
word error rates on words that it has never seen beside those of the papers, and exports files that run without Python.

    python -m apps.pronunciation train                          # a Transformer
    python -m apps.pronunciation train --model lstm             # an LSTM with attention
    python -m apps.pronunciation train --model lstm --layers 2 --units 384 --dropout 0.3 --epochs 30  # larger, an hour
    python -m apps.pronunciation train --stress                 # vowels with their stress: AE1
    python -m apps.pronunciation train --data words.tsv         # yours: word TAB phonemes TAB other phonemes
    python -m apps.pronunciation predict keras
    python -m apps.pronunciation predict read --results 3
    python -m apps.pronunciation evaluate
    python -m apps.pronunciation export
"""

import dataclasses
import re
from typing import Literal

from keras_seq.app import App, Data, ExportOptions, Preview, above_zero, at_least, below_one

PAPERS = {  # word error rates without stress on CMUdict, another draw of the same test: a tenth of the words
    "bi-LSTM with alignments (Yao and Zweig 2015)": 23.55,
    "five LSTMs with attention (Toshniwal and Livescu 2016)": 20.24,
}
ENDINGS = ("'s", "s'", "s", "es", "d", "ed", "ing", "er", "ers", "ly", "'")  # of other forms of a word


@dataclasses.dataclass(frozen=True)
class Config:
    data: str = ""  # a .tsv file with a word, a tab, and its phonemes with spaces between them, on each line, and other pronunciations after further tabs; default: the CMU dictionary that comes with the app
    stress: bool = False  # write the stress of vowels too, as a speech synthesizer wants; without it figures compare with those of the papers
    model: Literal["transformer", "lstm"] = "transformer"  # the family
    attention: Literal["additive", "dot"] = "additive"  # of the LSTM
    position: Literal["sinusoidal", "learned", "rotary", "relative", "relative_bias", "alibi"] = "rotary"  # of the Transformer
    dim: int = 128  # width of every layer
    layers: int | None = None  # of the encoder and of the decoder (auto: 3 of the Transformer, 1 of the LSTM)
    heads: int = 4  # of each attention of the Transformer
    mlp_dim: int = 512  # width inside its feed-forward: four times dim, as usual
    units: int = 320  # of each layer of the LSTM
    dropout: float = 0.1  # of every layer
    batch_tokens: int = 4096  # letters and phonemes a step
    learning_rate: float = 2e-3  # at the end of the warm-up; it then falls along a cosine to 0
    warmup: int = 200  # steps
    label_smoothing: float = 0.1  # keeps the model from being too sure: many spellings have no rule
    weight_decay: float = 0.01  # of AdamW
    clip: float = 1.0  # norm of the gradient, at most
    max_length: int = 40  # letters of a word, and phonemes; longer ones are left out of training
    epochs: int = 20  # passes over the training data; the schedule ends with the last
    patience: int = 0  # the schedule has its best at its end

    def __post_init__(self):
        above_zero(self, "dim", "layers", "heads", "mlp_dim", "units", "batch_tokens", "learning_rate", "max_length")
        below_one(self, "dropout", "label_smoothing")


@dataclasses.dataclass(frozen=True)
class Predict:
    beams: int = 4  # width of the beam search; 1 is greedy
    length_penalty: float = 0.0  # above 0 favours more phonemes
    results: int = 1  # n-best pronunciations, each after its score

    def __post_init__(self):
        at_least(1, self, "beams", "results")


@dataclasses.dataclass(frozen=True)
class Export(ExportOptions):
    source_length: int = 32  # letters of the longest word that the .tflite takes, its end included
    max_length: int = 32  # phonemes that it writes, their end included
    beams: int = 4  # of the signature generate_beam, beside the greedy generate
    words: int = 200  # test words on which every output is compared with the model's
    tolerance: float = 0.5  # points of words right that f16 and int8 may lose on the whole test split


def data(config):
    """Words and pronunciations as batches of ids, and the pieces of both from the training words."""
    splits, note = described(config)
    train, valid, test = splits["train"], splits["valid"], splits["test"]
    letters = sorted({letter for word, _ in train for letter in word})
    phonemes = sorted({phoneme for _, found in train for each in found for phoneme in each.split()})
    assets = {"letters": letters, "phonemes": phonemes}
    batches = bucketed(config, assets, train)
    known = {word for word, _ in train}
    return Data(
        batches, bucketed(config, assets, valid, shuffle=False),
        [{"word": word, "pronunciations": found, "form": has_form(word, known)} for word, found in test],
        assets={**assets, "epoch": {"steps": batches.steps}},
        facts=[note, *batches.notes, f"{len(letters)} letters, {len(phonemes)} phonemes"],
        samples=[{"word": word, "pronunciations": found, "form": False} for word, found in valid],
    )  # fmt: skip


def described(config):
    """{split: [(word, [pronunciation, ...])]}, and a line to print about them."""
    if config.data:
        from keras_seq.data import read_pairs, split_pairs

        pairs = read_pairs(config.data, further=True)
        split = split_pairs([(word.lower(), said) for word, said in pairs], valid=2000, test=len(pairs) // 10)
        splits = {"train": grouped(split.train), "valid": grouped(split.valid), "test": grouped(split.test)}
    else:
        from apps.data import load_pronunciation

        splits = load_pronunciation()
    if not config.stress:
        splits = {name: [(word, without_stress(found)) for word, found in rows] for name, rows in splits.items()}
    counts = ", ".join(f"{len(rows):,} {name}" for name, rows in splits.items())
    return splits, f"{config.data or 'CMU dictionary'}: words: {counts}"


def grouped(pairs):
    """[(word, pronunciation)] as [(word, [pronunciation, ...])]."""
    found = {}
    for word, said in pairs:
        found.setdefault(word, []).append(said)
    return list(found.items())


def without_stress(pronunciations):
    """Pronunciations without the digits of their vowels, each once.

    Example:
        >>> without_stress(["R EH1 D", "R EH0 D", "R IY1 D"])
        ['R EH D', 'R IY D']
    """
    return list(dict.fromkeys(re.sub(r"\d", "", said) for said in pronunciations))


def has_form(word, known):
    """Whether another form of a word is among the known ones.

    Example:
        >>> has_form("cats", {"cat"}), has_form("walk", {"walking"}), has_form("keras", {"cat"})
        (True, True, False)
    """
    shorter = [word.removesuffix(ending) for ending in ENDINGS if word.endswith(ending)]
    return not known.isdisjoint([*shorter, *(word + ending for ending in ENDINGS)])


def bucketed(config, assets, rows, **options):
    """Batches of words and pronunciations, one row for each pronunciation."""
    from keras_seq.data import Bucketed

    tokenizer, ids = tokenizer_of(assets), phoneme_ids(assets)
    words = tokenizer.encode([word for word, found in rows for _ in found])
    said = [[ids[phoneme] for phoneme in each.split() if phoneme in ids] for _, found in rows for each in found]
    return Bucketed({"source": words, "target": said}, config.batch_tokens, max_length=config.max_length, **options)


def tokenizer_of(assets):
    """One table of pieces, as there is one in an exported file: letters to read, phonemes to write."""
    from keras_seq.data import Tokenizer

    return Tokenizer.of_pieces([*assets["letters"], *(f" {each}" for each in assets["phonemes"])], keep_spaces=False)


def phoneme_ids(assets):
    return {phoneme: 4 + len(assets["letters"]) + i for i, phoneme in enumerate(assets["phonemes"])}


def model(config, assets):
    """The compiled model."""
    from keras_seq import models, training

    size = tokenizer_of(assets).vocab_size
    if config.model == "transformer":
        net = models.TransformerSeq2Seq(
            size, config.dim, config.heads, config.layers or 3, config.mlp_dim, config.position, config.dropout,
            max_length=2 * config.max_length,
        )  # fmt: skip
    else:
        net = models.RecurrentSeq2Seq(
            size, config.dim, config.units, config.layers or 1, attention=config.attention, dropout=config.dropout
        )
    schedule = training.WarmupCosine(config.learning_rate, config.warmup, config.epochs * assets["epoch"]["steps"])
    optimizer = training.AdamW(schedule, config.weight_decay, beta_2=0.98, global_clipnorm=config.clip)
    optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias", "table"])
    net.compile(optimizer, training.TokenCrossEntropy(config.label_smoothing))
    return net


def pronounce(config, model, assets, words, **options):
    """For each word a list of (score, phonemes), the best first.

    Raises:
        ValueError: for a word with a letter that no training word has, or one that is too long.
    """
    from keras_seq.decoding import generate_rows

    words = in_letters(words, assets["letters"], config.max_length)
    tokenizer = tokenizer_of(assets)
    found = generate_rows(model, tokenizer.encode(words), config.max_length, batch=256, **options)
    return [[(score, tokenizer.decode([ids])[0]) for score, ids in results] for results in found]


def in_letters(words, letters, limit):
    """Words in small letters.

    Raises:
        ValueError: for a letter that is none of `letters`, and for a word of `limit` letters or more.
    """
    words = [word.lower() for word in words]
    for word in words:
        odd = sorted(set(word) - set(letters))
        if odd or len(word) >= limit:
            got = f"{odd[0]!r} in {word[:40]!r}" if odd else f"{len(word)} letters"
            what = f"words of fewer than {limit} letters, of {''.join(letters)}"
            raise ValueError(f"expected {what}, got {got}: give one word a line")
    return words


def reads(card, words):
    """Words as an exported file wants them."""
    return in_letters(words, card["letters"], card["source_length"])


def predict(config, model, assets, words, **options):
    """The phonemes of words; with `results` above 1, of each all that were asked, after their scores."""
    found = pronounce(config, model, assets, words, **options)
    if options.get("results", 1) == 1:
        return [results[0][1] for results in found]
    return [[part for score, said in results for part in (f"{score:.3f}", said)] for results in found]


def evaluate(config, model, assets, examples):
    """Phoneme and word error rates of beam search, on all words and on those of which no other form was learned."""
    fitting = readable(assets, examples, config.max_length)
    found = pronounce(config, model, assets, [row["word"] for row in fitting], beams=4, length_penalty=0.0)
    said = {row["word"]: results[0][1] for row, results in zip(fitting, found)}
    rows = [(row["pronunciations"], said.get(row["word"], "")) for row in examples]
    groups = {name: [pair for row, pair in zip(examples, rows) if row["form"] == form]
              for name, form in {"another form was learned": True, "no form was learned": False}.items()}  # fmt: skip
    papers = {} if config.data or config.stress else {"papers": {k: {"word_errors": v} for k, v in PAPERS.items()}}
    by_form = {name: {"words": len(group), **error_rates(group)} for name, group in groups.items() if group}
    return {**error_rates(rows), "words": len(rows), "beams": 4, "by_form": by_form, **papers}


def readable(assets, examples, longest):
    """The examples whose words are of known letters, and short enough; a test word that is not is a wrong answer."""
    letters = set(assets["letters"])
    return [row for row in examples if len(row["word"]) < longest and letters.issuperset(row["word"])]


def error_rates(rows):
    """Per cent of phonemes and of words that are wrong; of several pronunciations the nearest counts.

    Args:
        rows: list of ([pronunciation, ...], pronunciation found).

    Example:
        >>> error_rates([(["R EH D", "R IY D"], "R IY D"), (["K AE T"], "K AE")])
        {'phoneme_errors': 16.67, 'word_errors': 50.0}
    """
    from keras_seq.training import edit_distance

    nearest = [min((edit_distance(found.split(), each.split()), -len(each.split())) for each in wanted)
               for wanted, found in rows]  # fmt: skip
    errors, phonemes = sum(wrong for wrong, _ in nearest), -sum(length for _, length in nearest)
    words = sum(wrong > 0 for wrong, _ in nearest)
    return {"phoneme_errors": round(100 * errors / phonemes, 2), "word_errors": round(100 * words / len(rows), 2)}


def preview(config, model, assets, examples):
    """What an epoch has brought: error rates of greedy search, three words, and where the first looked."""
    found = [results[0][1] for results in pronounce(config, model, assets, [row["word"] for row in examples])]
    rows = [(row["word"], row["pronunciations"], said) for row, said in zip(examples, found)]
    step = max(1, len(rows) // 3)
    texts = [f"{word}  wanted {' or '.join(wanted)}  got {said}" for word, wanted, said in rows[::step][:3]]
    rates = {f"val_{name}": value for name, value in error_rates([row[1:] for row in rows]).items()}
    return Preview(rates, texts, attention_figures(model, assets, rows[::step][:3]))


def attention_figures(model, assets, rows):
    """Which letter each phoneme looked at, mean over the heads."""
    import numpy as np

    from keras_seq import decoding, plots

    tokenizer, ids, figures = tokenizer_of(assets), phoneme_ids(assets), {}
    for number, (word, _, said) in enumerate(rows, 1):
        said = [phoneme for phoneme in said.split() if phoneme in ids]
        source = decoding.pad([[*tokenizer.encode([word])[0], decoding.EOS]])
        target = decoding.pad([[decoding.BOS, *(ids[phoneme] for phoneme in said)]])
        weights = np.array(model.attention_weights({"source": source, "target": target}))[0].mean(axis=0)  # (T, S)
        figures[f"attention {number}"] = plots.attention_map(weights, [*word, "</s>"], [*said, "</s>"])
    return figures


def export(config, model, assets, folder, examples, options):
    """SavedModel and .tflite, each compared with the model on test words."""
    from keras_seq import deploy

    chosen = readable(assets, examples, options.source_length)
    report = deploy.export_checked(
        model, tokenizer_of(assets).model_proto, folder, [row["word"] for row in chosen],
        options.source_length, options.max_length, beams=options.beams, length_penalty=0.0,
        card={
            "app": "pronunciation", "config": dataclasses.asdict(config), "text": "a word in small letters",
            "letters": assets["letters"],
        },
        metric=lambda found: words_right([(row["pronunciations"], said) for row, said in zip(chosen, found)]),
        metric_name="% of words right", **options.settings(), sentences=options.words,
    )  # fmt: skip
    return deploy.outcome(report)


def words_right(rows):
    return 100 - error_rates(rows)["word_errors"]


def demo(config, model, assets, examples):
    """Of the page: some test words with what the model says greedily, which is what the page's file does."""
    from keras_seq.demo import few

    chosen = few(readable(assets, examples, config.max_length))
    found = pronounce(config, model, assets, [row["word"] for row in chosen])
    return {
        "reads": {"kind": "text", "label": "Word", "hint": "Type a word"},
        "shows": {"kind": "text", "label": "How it is spoken"},
        "samples": [{"text": row["word"], "said": results[0][1], "wanted": " or ".join(row["pronunciations"])}
                    for row, results in zip(chosen, found)],
    }  # fmt: skip


APP = App(
    "pronunciation", Config, data, model, predict, evaluate, preview, export,
    predict_options=Predict, export_options=Export, example="WORD", reads=reads, demo=demo,
    monitor="val_word_errors",
    about="The dictionary is CMUdict (Carnegie Mellon University, BSD style): General American, with many names.",
)  # fmt: skip

if __name__ == "__main__":
    APP.main()
