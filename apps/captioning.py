"""Say what is in a picture: a small network looks at it, a Transformer or an LSTM with attention writes a line.

One to many. Trains on emoji and their names, each drawn by two artists, or on pictures and captions of yours; tells how
often it names emoji that it has never seen, shows where it looked for each word, and exports files that run without
Python.

    python -m apps.captioning train                                 # emoji
    python -m apps.captioning train --data DIR --flip               # your pictures with captions.csv, or COCO's layout
    python -m apps.captioning train --encoder vit --model lstm
    python -m apps.captioning predict cat.png photo.jpg             # a caption each, and a picture of where it looked
    python -m apps.captioning evaluate
    python -m apps.captioning export
"""

import dataclasses
import sys
from typing import Literal

from keras_seq.app import App, Data, ExportOptions, Preview, above_zero, at_least, below_one, result_paths


@dataclasses.dataclass(frozen=True)
class Config:
    data: str = ""  # a folder with pictures and captions.csv (columns picture and caption), or with COCO's annotations; default: the emoji that come with the app
    encoder: Literal["cnn", "vit"] = "cnn"  # what looks: a residual network, or patches and attention, which wants more data
    model: Literal["transformer", "lstm"] = "transformer"  # what writes
    attention: Literal["additive", "general", "multi_head"] = "additive"  # of the LSTM
    size: int = 48  # height and width of a picture, in pixels; a multiple of 8
    vocab_size: int = 2000  # pieces of words: few names, so that most words are a piece of their own
    dim: int = 192  # width of regions and of words
    width: int = 32  # channels of the first stage of the network, which works on the largest maps; the next two have 3 and 6 times as many
    depth: int = 1  # residual blocks of a stage, or twice the layers of the vit
    layers: int = 2  # of the writer
    heads: int = 4  # of each attention
    mlp_dim: int = 512  # width inside the feed-forward
    dropout: float = 0.2  # of regions and writer
    shift: float = 0.08  # training pictures move by up to this share,
    shrink: float = 0.2  # become smaller,
    grow: float = 0.1  # or larger,
    rotate: float = 10.0  # turn by up to so many degrees,
    colour: float = 0.1  # change brightness, contrast and saturation a little,
    background: float = 0.5  # and this share of them gets a background of any colour in place of white
    flip: bool = False  # mirror half of them: good for photographs, wrong where captions tell left from right
    batch_size: int = 64  # pictures a step
    learning_rate: float = 1e-3  # at the end of the warm-up; it then falls along a cosine to 0
    warmup: int = 300  # steps
    weight_decay: float = 0.02  # of AdamW: pulls weights to 0, against learning pictures by heart
    label_smoothing: float = 0.1  # keeps the model from being too sure
    clip: float = 1.0  # norm of the gradient, at most
    max_length: int = 40  # pieces of a caption, at most; longer ones are left out of training
    test: float = 0.1  # share of your own pictures held out for the test, where the files name none
    epochs: int = 46  # passes over the training data; the schedule ends with the last
    patience: int = 0  # epochs without a better validation before training stops; 0: none
    keep: Literal["best", "last"] = "last"  # weights of the best epoch in validation, whose pictures are few, or of the last, where the schedule ends

    def __post_init__(self):
        above_zero(
            self, "size", "vocab_size", "dim", "width", "depth", "layers", "heads", "mlp_dim", "batch_size",
            "learning_rate", "max_length",
        )
        below_one(self, "dropout", "label_smoothing")


@dataclasses.dataclass(frozen=True)
class Predict:
    beams: int = 4  # width of the beam search; 1 is greedy
    length_penalty: float = 1.0  # above 0 favours longer captions
    maps: str = "attention"  # folder for the pictures of where the model looked; "" makes none

    def __post_init__(self):
        at_least(1, self, "beams")


@dataclasses.dataclass(frozen=True)
class Export(ExportOptions):
    beams: int = 4  # of the signature generate_beam, beside the greedy generate
    pictures: int = 100  # test pictures on which every output is compared with the model's
    tolerance: float = 0.5  # points of token F1 that f16 and int8 may lose on the whole test split


def data(config):
    """Pictures and captions as batches, and the tokenizer learned from the training captions."""
    from keras_seq.data import Jitter, PictureBatches, Tokenizer

    splits, notes = described(config)
    (pictures, captions, _), valid = splits["train"], splits["valid"]
    tokenizer = Tokenizer.train([text for texts in captions for text in texts], config.vocab_size)
    known = {word for texts in captions for text in texts for word in words(text)}
    jitter = Jitter.of(config)

    def batches(pictures, captions, **options):
        rows = [[ids for ids in tokenizer.encode(texts) if len(ids) < config.max_length] for texts in captions]
        kept = [i for i, ids in enumerate(rows) if ids]
        pictures = pictures if len(kept) == len(rows) else pictures[kept]
        return PictureBatches(pictures, [rows[i] for i in kept], config.size, config.batch_size, **options)

    train = batches(pictures, captions, jitter=jitter)
    return Data(
        train, batches(*valid[:2], shuffle=False), examples(splits["test"], known),
        assets={"tokenizer.model": tokenizer.model_proto, "epoch": {"steps": train.steps}},
        facts=[*notes, f"{tokenizer.vocab_size:,} pieces, {len(known):,} words, {train.steps:,} batches"],
        samples=examples(valid, known)[:: max(1, len(valid[0]) // 150)],
    )  # fmt: skip


def described(config):
    """{split: (pictures uint8 (N, P, P, 4), [[caption, ...]], [group])}, and lines to print about them."""
    if not config.data:
        from apps.data import load_captioning

        pack = load_captioning()
        splits = {k: (v.pictures, [[name] for name in v.names], v.artists) for k, v in pack.items()}
        what = "emoji by two artists, none of them in two splits"
    else:
        from keras_seq.data import read_captions, read_pictures, split_captions

        parts = split_captions(read_captions(config.data), valid=config.test / 2, test=config.test)
        stored = config.size * 4 // 3  # a little larger than what is seen, so that growing shows more
        splits = {
            k: (read_pictures([row.path for row in rows], stored), [row.captions for row in rows], None)
            for k, rows in parts.items()
        }
        what = f"pictures of {config.data}"
    counts = ", ".join(f"{len(captions):,} {name}" for name, (_, captions, _) in splits.items())
    return splits, [f"{what}: {counts}"]


def examples(split, known):
    """What is evaluated: {"image", "captions", "groups"}; known says whether training has all the words of a caption."""
    pictures, captions, groups = split
    found = []
    for i, (picture, texts) in enumerate(zip(pictures, captions)):
        seen = any(set(words(text)) <= known for text in texts)
        own = [groups[i]] if groups else []
        found.append({"image": picture, "captions": texts, "groups": [*own, "known words" if seen else "new words"]})
    return found


def words(text):
    """The words that scores are counted in: lower case, without punctuation.

    Example:
        >>> words("woman: medium-dark skin tone, red hair")
        ['woman', 'medium-dark', 'skin', 'tone', 'red', 'hair']
    """
    return [word for part in text.lower().split() if (word := part.strip(":,.;!?()“”\"")) or (word := part)]


def model(config, assets):
    """The compiled model."""
    from keras_seq import layers, models, training

    size = tokenizer_of(assets).vocab_size
    shape, drop = (config.size, config.size, 3), {"dropout": config.dropout}
    if config.encoder == "cnn":
        encoder = layers.ImageEncoder(config.dim, [config.width * k for k in (1, 3, 6)], config.depth, **drop)
    else:
        encoder = layers.PatchEncoder(config.dim, 8, config.heads, 2 * config.depth + 2, config.mlp_dim, **drop)
    if config.model == "transformer":
        net = models.TransformerCaptioner(
            size, encoder, shape, config.heads, config.layers, config.mlp_dim, max_length=config.max_length, **drop
        )
    else:
        net = models.RecurrentCaptioner(
            size, encoder, shape, config.dim, config.layers, attention=config.attention, **drop
        )
    schedule = training.WarmupCosine(config.learning_rate, config.warmup, config.epochs * assets["epoch"]["steps"])
    optimizer = training.AdamW(schedule, config.weight_decay, beta_2=0.98, global_clipnorm=config.clip)
    optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias", "places"])
    net.compile(optimizer, training.TokenCrossEntropy(config.label_smoothing))
    return net


def tokenizer_of(assets):
    from keras_seq.data import Tokenizer

    return Tokenizer(assets["tokenizer.model"])


def captions_of(config, model, assets, images, **options):
    """The best caption of each picture; images are float32 (N, size, size, 3)."""
    import numpy as np

    from keras_seq.decoding import generate

    found, batch = [], min(64, len(images))
    for begin in range(0, len(images), batch):
        chosen = images[begin : begin + batch]
        full = np.concatenate([chosen, np.repeat(chosen[-1:], batch - len(chosen), axis=0)])  # one shape: compiled once
        tokens, _ = generate(model, {"image": full}, config.max_length, **options)
        found += np.asarray(tokens)[: len(chosen), 0].tolist()
    return tokenizer_of(assets).decode([[i for i in ids if i > 2] for ids in found])


def seen(config, examples):
    """The pictures of examples as the model sees them: float32 (N, size, size, 3)."""
    import numpy as np

    from keras_seq.data import shown

    return np.stack([shown(example["image"], config.size) for example in examples])


def predict(config, model, assets, paths, maps="", **options):
    """A caption for each path; where the model looked for each word goes into a PNG in the folder `maps`."""
    import numpy as np

    from keras_seq import plots
    from keras_seq.data import read_picture, shown

    images = np.stack([shown(read_picture(path, config.size), config.size) for path in paths])
    found = captions_of(config, model, assets, images, **options)
    for path, image, caption, target in zip(paths, images, found, result_paths(maps, paths, "_attention.png")):
        if maps:
            sharp = shown(read_picture(path, 4 * config.size), 4 * config.size)
            plots.save(attention_figure(config, model, assets, image, caption, sharp), target)
            print(f"where the model looked: {target}", file=sys.stderr)
    return found


def attention_figure(config, model, assets, image, caption, sharp=None):
    """The picture once for each word of its caption, lit where the model looked."""
    import numpy as np

    from keras_seq import decoding, plots

    tokenizer = tokenizer_of(assets)
    target = decoding.pad([[decoding.BOS, *tokenizer.encode([caption])[0]]])
    weights = np.array(model.attention_weights({"image": image[None], "target": target}))[0].mean(axis=0)  # (T, S)
    grid = model.encoder.grid(config.size, config.size)
    return plots.attention_over_picture(
        image if sharp is None else sharp, weights[:-1].reshape(-1, *grid), tokenizer.pieces(caption), caption
    )


def evaluate(config, model, assets, examples):
    """Exact match, token F1, BLEU, and CIDEr where there are several references: in all and by group."""
    found = captions_of(config, model, assets, seen(config, examples), beams=4, length_penalty=1.0)
    rows = [(example["captions"], caption, example["groups"]) for example, caption in zip(examples, found)]
    names = sorted({name for *_, groups in rows for name in groups})
    groups = {name: [row for row in rows if name in row[2]] for name in names}
    by_group = {k: {"pictures": len(v), **brief(v)} for k, v in groups.items()}
    return scores(rows) | {"pictures": len(rows), "beams": 4, "by_group": by_group}


def brief(rows):
    """Percentages: captions that are exactly a reference, and the mean F1 of their words with the best reference."""
    exact = [caption in references for references, caption, *_ in rows]
    best = [max(overlap(words(caption), words(text)) for text in references) for references, caption, *_ in rows]
    return {"exact": round(100 * sum(exact) / len(rows), 2), "token_f1": round(100 * sum(best) / len(rows), 2)}


def overlap(found, wanted):
    """F1 of two lists of words, each word as often as it stands there.

    Example:
        >>> overlap(["woman", "running"], ["woman", "running", "fast", "away"])
        0.6666666666666666
    """
    rest = list(wanted)
    same = sum(rest.remove(word) is None for word in found if word in rest)
    return 2 * same / max(1, len(found) + len(wanted))


def scores(rows):
    """`brief`, corpus BLEU with sacrebleu's signature, and CIDEr-D where a picture has several references.

    Args:
        rows: list of ([reference, ...], caption, ...).
    """
    from sacrebleu.metrics import BLEU

    from keras_seq.training import cider

    most = max(len(references) for references, *_ in rows)
    streams = [[refs[i] if i < len(refs) else None for refs, *_ in rows] for i in range(most)]
    bleu = BLEU()
    report = brief(rows) | {"bleu": round(bleu.corpus_score([caption for _, caption, *_ in rows], streams).score, 2)}
    report["bleu_signature"] = str(bleu.get_signature())
    if most > 1:
        report["cider"] = round(cider([words(row[1]) for row in rows], [[*map(words, row[0])] for row in rows]), 3)
    return report


def preview(config, model, assets, examples):
    """What an epoch has brought: greedy captions of some pictures, and where the first was looked at."""
    found = captions_of(config, model, assets, seen(config, examples))
    rows = [(example["captions"], caption) for example, caption in zip(examples, found)]
    step = max(1, len(rows) // 3)
    texts = [f"wanted  {references[0]}\ngot     {caption}" for references, caption in rows[::step][:3]]
    figures = {
        f"attention {i}": attention_figure(config, model, assets, image, caption)
        for i, (image, caption) in enumerate(zip(seen(config, examples[::step][:3]), found[::step]), 1)
    }
    return Preview({f"val_{name}": value for name, value in brief(rows).items()}, texts, figures)


def export(config, model, assets, folder, examples, options):
    """SavedModel and .tflite, each compared with the model on test pictures."""
    from keras_seq import deploy

    items = [{"image": image} for image in seen(config, examples)]
    report = deploy.export_checked(
        model, assets["tokenizer.model"], folder, items, max_length=config.max_length, beams=options.beams, length_penalty=1.0,
        inputs={"image": ((config.size, config.size, 3), "float32")},
        card={"app": "captioning", "config": dataclasses.asdict(config), **deploy.picture_card()},
        metric=lambda found: brief([(e["captions"], caption) for e, caption in zip(examples, found)])["token_f1"],
        metric_name="token F1", sentences=options.pictures, **options.settings(),
    )  # fmt: skip
    return deploy.outcome(report)


def demo(config, model, assets, examples):
    """Of the page: some test pictures with the model's own greedy caption."""
    from keras_seq.demo import few, png

    chosen = few(examples, 8)
    found = captions_of(config, model, assets, seen(config, chosen))
    return {
        "shows": {"kind": "text", "label": "Caption"},
        "samples": [{"picture": png(example["image"]), "said": caption, "wanted": example["captions"][0]}
                    for example, caption in zip(chosen, found)],
    }  # fmt: skip


APP = App(
    "captioning", Config, data, model, predict, evaluate, preview, export, demo=demo,
    predict_options=Predict, export_options=Export, monitor="val_token_f1", mode="max", batch=1, example="PICTURE",
    about="The pictures are emoji: Noto (Apache-2.0) and Twemoji (CC BY 4.0), the names are of Unicode CLDR "
    "(Unicode-3.0). A model trained on them knows emoji, and of photographs nothing.",
)  # fmt: skip

if __name__ == "__main__":
    APP.main()
