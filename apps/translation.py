"""Translate sentences: a Transformer, or an LSTM with or without attention, that reads one language and writes another.

Many to many, unaligned. Trains on the help pages of LibreOffice, English to French, or on any sentence pairs of yours;
tells its BLEU and chrF on sentences it has never seen, and exports files that run without Python.

    python -m apps.translation train                                # English to French
    python -m apps.translation train --reverse                      # French to English
    python -m apps.translation train --data fra-eng.zip             # your pairs: .tsv, manythings .zip, or a folder
    python -m apps.translation predict "Click on the icon to open the file."
    python -m apps.translation evaluate
    python -m apps.translation export
"""

import dataclasses
from typing import Literal

from keras_seq.app import App, Data, ExportOptions, Preview, above_zero, at_least, below_one


@dataclasses.dataclass(frozen=True)
class Config:
    data: str = ""  # sentence pairs: a .tsv, a manythings.org .zip, or a folder with two line-aligned files; default: the pack that comes with the app
    reverse: bool = False  # translate from the right language to the left: French to English
    model: Literal["transformer", "lstm"] = "transformer"  # the family; an LSTM is smaller and slower to train
    attention: Literal["additive", "dot", "none"] = "additive"  # of the LSTM; none is the bottleneck: the last state only
    feed_context: bool = False  # of the LSTM: what was attended to enters the next step too (Bahdanau); slower to train
    position: Literal["sinusoidal", "learned", "rotary", "relative", "relative_bias", "alibi"] = "rotary"  # of the Transformer; on the pack rotary learns faster than sinusoidal
    sampling: float = 0.0  # above 0 the source is cut into other pieces in each epoch, 0.1 wildly, 0.5 tamely: more to learn from little data
    vocab_size: int = 4000  # subword pieces, shared by both languages: few, so that each is seen often
    dim: int = 256  # width of every layer
    layers: int = 3  # of the encoder and of the decoder
    heads: int = 4  # of each attention
    mlp_dim: int = 1024  # width inside the feed-forward: four times dim, as usual
    dropout: float = 0.1  # of every layer: 28,000 pairs are few
    batch_tokens: int = 3072  # tokens a step, source and target: small steps learn more from little data
    learning_rate: float = 1.5e-3  # at the end of the warm-up; it then falls along a cosine to nearly 0
    warmup: int = 400  # steps
    label_smoothing: float = 0.1  # keeps the model from being too sure, as in the Transformer paper
    clip: float = 1.0  # norm of the gradient, at most
    max_length: int = 128  # tokens of a sentence; longer pairs are left out of training
    test: int = 1000  # distinct sentences held out of your own data for the test, and as many for validation, 2,000 at most; a tenth of all at most; the pack has its own
    epochs: int = 9  # passes over the training data; the schedule ends with the last
    patience: int = 4  # epochs without a better validation loss before training stops

    def __post_init__(self):
        above_zero(
            self, "vocab_size", "dim", "layers", "heads", "mlp_dim", "batch_tokens", "learning_rate", "max_length",
        )
        below_one(self, "dropout", "label_smoothing")


@dataclasses.dataclass(frozen=True)
class Predict:
    beams: int = 4  # width of the beam search; 1 is greedy
    length_penalty: float = 1.0  # above 0 favours longer translations
    temperature: float = 0.0  # above 0 draws a translation at random instead (with --beams 1)
    top_k: int = 0  # draw from the k likeliest tokens only; 0: from all
    top_p: float = 1.0  # draw from the likeliest tokens that hold this much probability
    results: int = 1  # n-best translations or samples, each after its score
    seed: int = 0  # of the draws

    def __post_init__(self):
        at_least(1, self, "beams", "results")
        at_least(0, self, "temperature", "top_k")


@dataclasses.dataclass(frozen=True)
class Export(ExportOptions):
    source_length: int = 64  # tokens of the longest source that the .tflite takes
    max_length: int = 80  # tokens of the longest translation that it writes
    beams: int = 4  # of the signature generate_beam, beside the greedy generate
    sentences: int = 100  # test sentences on which every output is compared with the model's
    tolerance: float = 0.3  # BLEU that f16 and int8 may lose on the whole test split


def data(config):
    """Sentence pairs as batches of ids, and the tokenizer learned from the training pairs."""
    from apps.data import load_translation
    from keras_seq.data import Tokenizer, read_pairs, references, split_pairs

    if config.data:
        at_least(1, config, "test")
        pairs = read_pairs(config.data)
        split = split_pairs(pairs, valid=min(config.test, 2000), test=config.test)
        train, valid, test, notes = split.train, split.valid, split.test, pairs.notes + split.notes
    else:
        pack = load_translation()
        train, valid, test = pack["train"], pack["valid"], pack["test"]
        notes = [f"LibreOffice help: {len(train):,} pairs to train, {len(valid):,} to validate, {len(test):,} to test"]
    tokenizer = Tokenizer.train([text for pair in train for text in pair], config.vocab_size)
    batches = bucketed(config, tokenizer, train, config.sampling)
    return Data(
        batches, bucketed(config, tokenizer, valid, shuffle=False), references(test, config.reverse),
        assets={"tokenizer.model": tokenizer.model_proto, "epoch": {"steps": batches.steps}},
        facts=[*notes, *batches.notes, f"{tokenizer.vocab_size:,} pieces"],
        samples=references(valid, config.reverse)[:100],
    )  # fmt: skip


def bucketed(config, tokenizer, pairs, sample=0.0, **options):
    """Batches of pairs; with `sample` the source is cut into other pieces each epoch."""
    from keras_seq.data import Bucketed

    source, target = list(zip(*pairs))[:: -1 if config.reverse else 1]
    written = tokenizer.encode(target)

    def rows(epoch):
        return {"source": tokenizer.encode(source, sample, seed=epoch), "target": written}

    return Bucketed(rows if sample else rows(0), config.batch_tokens, max_length=config.max_length, **options)


def model(config, assets):
    """The compiled model."""
    from keras_seq import models, training

    size = tokenizer_of(assets).vocab_size
    if config.model == "transformer":
        net = models.TransformerSeq2Seq(
            size, config.dim, config.heads, config.layers, config.mlp_dim, config.position, config.dropout,
            max_length=2 * config.max_length,
        )  # fmt: skip
    else:
        net = models.RecurrentSeq2Seq(
            size, config.dim, config.dim, config.layers, attention=config.attention, dropout=config.dropout,
            feed_context=config.feed_context,
        )  # fmt: skip
    schedule = training.WarmupCosine(config.learning_rate, config.warmup, config.epochs * assets["epoch"]["steps"])
    optimizer = training.Adam(schedule, beta_2=0.98, global_clipnorm=config.clip)
    net.compile(optimizer, training.TokenCrossEntropy(config.label_smoothing))
    return net


def tokenizer_of(assets):
    from keras_seq.data import Tokenizer

    return Tokenizer(assets["tokenizer.model"])


def translate(config, model, assets, texts, cut=False, **options):
    """For each text a list of (score, translation), the best first; with `cut` of its beginning where it is too long.

    Raises:
        ValueError: for a text that is longer than the model reads, without `cut`.
    """
    from keras_seq.decoding import generate_rows

    tokenizer = tokenizer_of(assets)
    rows = tokenizer.encode(texts)
    rows = [row[: config.max_length - 1] for row in rows] if cut else rows
    for text, row in zip(texts, rows):
        if len(row) >= config.max_length:
            raise ValueError(
                f"expected texts of fewer than {config.max_length} tokens, got {len(row):,} in {text[:40]!r}...: "
                "split it into sentences"
            )
    found = generate_rows(model, rows, **options)
    return [[(score, tokenizer.decode([ids])[0]) for score, ids in results] for results in found]


def predict(config, model, assets, texts, **options):
    """Translations of texts; with `results` above 1, of each all that were asked, after their scores."""
    if options.get("temperature"):
        options["beams"] = 1
    found = translate(config, model, assets, texts, **options)
    if options.get("results", 1) == 1:
        return [results[0][1] for results in found]
    return [[part for score, text in results for part in (f"{score:.3f}", text)] for results in found]


WORDS = {"1-5": 5, "6-10": 10, "11-20": 20, "21-30": 30, "31+": 10**9}  # groups of sources by their length


def evaluate(config, model, assets, examples):
    """BLEU and chrF of beam search, in all and by the length of the source, where a bottleneck shows."""
    texts = [source for source, _ in examples]
    found = translate(config, model, assets, texts, cut=True, beams=4, length_penalty=1.0)  # too long: a bad translation
    rows = [(text, references, results[0][1]) for text, (_, references), results in zip(texts, examples, found)]
    groups = {name: [] for name in WORDS}
    for row in rows:
        groups[next(name for name, most in WORDS.items() if len(row[0].split()) <= most)].append(row)
    by_length = {
        name: {"sentences": len(group), "bleu": scores(group)["bleu"]} for name, group in groups.items() if group
    }
    return scores(rows) | {"sentences": len(rows), "beams": 4, "by_source_words": by_length}


def fitting(assets, examples, longest):
    """The examples whose source has at most so many ids."""
    rows = tokenizer_of(assets).encode([source for source, _ in examples])
    return [example for example, row in zip(examples, rows) if len(row) <= longest]


def scores(rows):
    """Corpus BLEU and chrF, cased and detokenised, with sacrebleu's signatures.

    Args:
        rows: list of (source, [reference, ...], hypothesis).
    """
    from sacrebleu.metrics import BLEU, CHRF

    most = max(len(references) for _, references, _ in rows)
    streams = [[refs[i] if i < len(refs) else None for _, refs, _ in rows] for i in range(most)]
    hypotheses = [hypothesis for _, _, hypothesis in rows]
    report = {}
    for name, metric in (("bleu", BLEU()), ("chrf", CHRF())):
        report[name] = round(metric.corpus_score(hypotheses, streams).score, 2)
        report[f"{name}_signature"] = str(metric.get_signature())
    return report


def preview(config, model, assets, examples):
    """What an epoch has brought: BLEU of greedy translations, three of them, and where the first looked."""
    short = fitting(assets, examples, config.max_length - 1)
    found = [results[0][1] for results in translate(config, model, assets, [source for source, _ in short])]
    rows = [(source, refs, hypothesis) for (source, refs), hypothesis in zip(short, found)]
    texts = [f"{source}\n  wanted  {refs[0]}\n  got     {hypothesis}" for source, refs, hypothesis in rows[:3]]
    return Preview({"val_bleu": scores(rows)["bleu"]}, texts, attention_figures(model, assets, rows[:3]))


def attention_figures(model, assets, rows):
    """Attention maps of some translations: which source piece each written piece looked at, mean over the heads."""
    import numpy as np

    from keras_seq import decoding, plots

    tokenizer, figures = tokenizer_of(assets), {}
    for number, (source, _, hypothesis) in enumerate(rows, 1):
        ids, written = tokenizer.encode([source, hypothesis])
        inputs = {"source": decoding.pad([[*ids, decoding.EOS]]), "target": decoding.pad([[decoding.BOS, *written]])}
        weights = model.attention_weights(inputs)
        if weights is not None:
            weights = np.array(weights)[0].mean(axis=0)  # (T, S)
            pieces = [[*tokenizer.pieces(text), "</s>"] for text in (source, hypothesis)]
            figures[f"attention {number}"] = plots.attention_map(weights, *pieces)
    return figures


def export(config, model, assets, folder, examples, options):
    """SavedModel and .tflite, each compared with the model on test sentences."""
    from keras_seq import deploy

    chosen = fitting(assets, examples, options.source_length - 1)
    report = deploy.export_checked(
        model, assets["tokenizer.model"], folder, [source for source, _ in chosen],
        options.source_length, options.max_length, beams=options.beams, length_penalty=1.0,
        card={"app": "translation", "config": dataclasses.asdict(config)},
        metric=lambda found: scores([(s, r, h) for (s, r), h in zip(chosen, found)])["bleu"],
        metric_name="BLEU", sentences=options.sentences, **options.settings(),
    )  # fmt: skip
    return deploy.outcome(report)


def demo(config, model, assets, examples):
    """Of the page: some test sentences with the model's own greedy translation, which is what the page's file writes."""
    from keras_seq.demo import few

    short = [example for example in examples if 4 <= len(example[0].split()) <= 14 and example[0].endswith((".", "?"))]
    chosen = few(short)
    found = translate(config, model, assets, [source for source, _ in chosen], beams=1)
    languages = ["Sentence", "Translation"] if config.data else ["English", "French"][:: -1 if config.reverse else 1]
    return {
        **({} if config.data else {"title": " to ".join(languages)}),
        "reads": {"kind": "text", "label": languages[0], "hint": "Type a sentence"},
        "shows": {"kind": "text", "label": languages[1]},
        "samples": [{"text": source, "said": results[0][1], "wanted": wanted[0]}
                    for (source, wanted), results in zip(chosen, found)],
    }  # fmt: skip


APP = App(
    "translation", Config, data, model, predict, evaluate, preview, export, demo=demo,
    predict_options=Predict, export_options=Export,
    about="The pack comes from the help of LibreOffice (MPL-2.0): technical prose, and little of anything else.",
)  # fmt: skip

if __name__ == "__main__":
    APP.main()
