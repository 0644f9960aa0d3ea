"""Write down what is said: convolutions and an LSTM or a Transformer listen; CTC, or a writer with attention, writes.

Many to many, unaligned: a sound in, text out. Trains on the spoken prompts that come with the app, on the GRID corpus,
on the Free Spoken Digit Dataset, or on sounds and transcripts of yours; tells how many words and letters of sounds that
it has never heard are wrong, and exports files that run without Python: a wave in, text out.

    python -m apps.speech train                                     # prompts of a telephone exchange
    python -m apps.speech train --data s1                           # GRID: NAME.mpg or .wav beside NAME.align
    python -m apps.speech train --data recordings                   # FSDD: 3_theo_17.wav
    python -m apps.speech train --data DIR                          # metadata.csv: columns path and text
    python -m apps.speech train --model transformer                 # a writer with attention; or lstm
    python -m apps.speech predict FILE.wav                          # of any rate; and a picture of when what was heard
    python -m apps.speech evaluate
    python -m apps.speech export
"""

import dataclasses
import functools
import sys
from typing import Literal

from keras_seq.app import App, Data, ExportOptions, Preview, above_zero, at_least, below_one, result_paths

OFTEN = 10  # times: a word that training says as often can be a token


@dataclasses.dataclass(frozen=True)
class Config:
    data: str = ""  # a folder with metadata.csv, in the layout of GRID, or of FSDD; default: the prompts that come with the app
    model: Literal["ctc", "transformer", "lstm"] = "ctc"  # what writes: CTC, or a Transformer or an LSTM with attention
    encoder: Literal["lstm", "transformer"] = "lstm"  # what listens, after the convolutions; the LSTM hears both ways
    rate: int = 16000  # samples a second: sounds of another rate are brought to it
    bands: int = 64  # of frequency
    tokens: Literal["words", "letters", "auto"] = "auto"  # what is written at a time; auto: words where each sound is of one word that training says ten times or more. Of several words letters are learned much sooner: in words CTC hears the first and the last, and guesses those between
    moment: int = 4  # frames of 10 ms to each moment at which something can be said; even. Few moments leave no room to say all at once
    dim: int = 192  # width of the convolutions
    layers: int = 2  # of what listens
    units: int = 160  # of each LSTM, each way
    heads: int = 4  # of each attention
    mlp_dim: int = 640  # inside a Transformer's feed-forward
    writer_layers: int = 2  # of the Transformer that writes; the LSTM has one
    attention: Literal["additive", "general", "multi_head"] = "additive"  # of the LSTM that writes
    early: float = 0.5  # weight of the loss of what CTC hears before the LSTM or the Transformer: it has to listen, and cannot count words
    ctc: float = 0.5  # weight of the CTC loss by which the encoder of a writer learns too
    dropout: float = 0.1  # of every part
    hide: int = 2  # stretches of time, and of frequency, that are hidden from training sounds
    time: float = 0.04  # the longest of them, as a share of the time: longer ones hide whole letters
    band: float = 0.25  # and of the bands
    tempo: float = 0.1  # share by which training sounds run faster or slower, at most
    join: float | None = None  # share of the training sounds after which another is said (auto: half of the prompts, of which many are one word)
    longest: float = 12.0  # seconds: longer sounds are left out of training, and cut where it is quiet when they are to be read
    batch_seconds: float = 24.0  # of sound in a step: few, so that there are many steps
    learning_rate: float = 2e-3  # at the end of the warm-up; it then falls along a cosine to nearly 0
    warmup: int = 200  # steps
    weight_decay: float = 0.01  # of AdamW
    label_smoothing: float = 0.1  # of a writer: keeps it from being too sure
    clip: float = 1.0  # norm of the gradient, at most
    max_length: int = 192  # tokens of a text, at most
    epochs: int = 40  # passes over the training sounds; the schedule ends with the last
    patience: int = 0  # the schedule has its best at its end
    keep: Literal["best", "last"] = "last"  # weights of the best epoch in validation, whose sounds are few, or of the last, where the schedule ends
    mixed_precision: bool = False  # bfloat16: good on a GPU

    def __post_init__(self):
        above_zero(
            self, "rate", "bands", "dim", "layers", "units", "heads", "mlp_dim", "writer_layers", "longest",
            "batch_seconds", "learning_rate", "max_length",
        )
        below_one(self, "dropout", "label_smoothing")
        if self.moment % 2 or self.moment < 2:
            raise ValueError(f"expected an even --moment of at least 2, got {self.moment}")


@dataclasses.dataclass(frozen=True)
class Predict:
    beams: int = 8  # width of the beam search; 1 is greedy
    pictures: str = "heard"  # folder for a picture of each sound: its spectrogram, and when what was heard; "" for none

    def __post_init__(self):
        at_least(1, self, "beams")


@dataclasses.dataclass(frozen=True)
class Export(ExportOptions):
    seconds: float = 0.0  # of sound that the .tflite takes (0: as long as the longest training sound)
    beams: int = 4  # of the signature generate_beam of a writer, beside the greedy generate
    sounds: int = 100  # test sounds on which every output of a writer is compared with the model's
    tolerance: float = 0.5  # points of words right that f16 and int8 may lose on the whole test split


# --- data -----------------------------------------------------------------------------------------------------------


USES = {"train": "train on", "valid": "validate on"}


def data(config):
    """Batches of sounds, and the tokens of the training texts."""
    from keras_seq.data import SoundBatches

    parts, what = described(config)
    kind, tokenizer = tokens_for(config, [row.text for row in parts["train"]])
    sounds = {part: read_rows(config, rows) for part, rows in parts.items()}  # the test too: one that is bad is told now
    written = config.model != "ctc"
    most, average = round(config.longest * config.rate), config.batch_seconds * config.rate
    encoder, kept = encoder_of(config), {}
    for part in ("train", "valid"):
        heard = sounds[part]
        texts = tokenizer.encode([row.text for row in parts[part]])
        fits = [i for i, (sound, ids) in enumerate(zip(heard, texts))
                if ids and len(sound) <= most and fits_into(ids, int(encoder.steps(len(sound)) / (1 + config.tempo)))
                and len(ids) < config.max_length]  # fmt: skip
        if not fits:
            raise ValueError(f"expected sounds of at most --longest {config.longest:g} seconds, and of {10 * config.moment} ms for "
                             f"each of the {kind} said in them, got none such of {len(heard)} to {USES[part]}: raise "
                             "--longest, take a smaller --moment, or look at texts and sounds")
        kept[part] = [heard[i] for i in fits], [texts[i] for i in fits]
    join = (0.0 if config.data else 0.5) if config.join is None else config.join
    batches = SoundBatches(*kept["train"], average, written, config.tempo, join, most)
    seconds = sum(map(len, kept["train"][0])) / config.rate
    left_out = len(sounds["train"]) - len(kept["train"][0])
    return Data(
        batches, SoundBatches(*kept["valid"], average, written, shuffle=False), [row._asdict() for row in parts["test"]],
        assets={
            "tokenizer.model": tokenizer.model_proto,
            "epoch": {"steps": batches.steps, "seconds": max(map(len, kept["train"][0])) / config.rate},
        },
        facts=[
            f"{what}: {len(parts['train']):,} sounds to train ({seconds / 60:.1f} minutes), "
            f"{len(parts['valid']):,} to validate, {len(parts['test']):,} to test",
            f"{tokenizer.vocab_size - 4:,} {kind}, {batches.steps:,} batches"
            + (f"; {left_out} sounds too long or too fast left out" if left_out else ""),
        ],
        samples=[row._asdict() for row in parts["valid"]],
    )  # fmt: skip


def tokens_for(config, texts):
    """"words" or "letters", and the tokenizer of those in texts."""
    import collections

    from keras_seq.data import Tokenizer

    counts = collections.Counter(word for text in texts for word in text.split())
    kind = config.tokens
    if kind == "auto":
        single = all(" " not in text for text in texts)
        kind = "words" if single and counts and min(counts.values()) >= OFTEN else "letters"
    if kind == "letters":
        return kind, Tokenizer.characters(texts)
    return kind, Tokenizer.of_words(sorted(counts))


def described(config):
    """{split: [Spoken, ...]}, and what they are."""
    from keras_seq.data import read_spoken, split_spoken

    if config.data:
        return split_spoken(read_spoken(config.data)), config.data
    from apps.data import load_speech

    rows = load_speech(config.rate)[0]
    return split_spoken(rows), "spoken prompts"


@functools.lru_cache(maxsize=4096)
def sound_of(path, rate):
    """The sound int16 (N,) of a file, or of a prompt by its name; a quarter of a second at least, or silence follows."""
    import numpy as np

    from apps.data import load_speech, speech_pack
    from keras_seq.data import read_sound

    sound = load_speech(rate)[1](path) if path.startswith(speech_pack.NAME) else read_sound(path, rate)
    return np.pad(sound, (0, max(rate // 4 - len(sound), 0)))


def read_rows(config, rows):
    """The sounds of rows of `Spoken`, or of dicts of them."""
    from keras_seq.data import read_all

    paths = [row["path"] if isinstance(row, dict) else row.path for row in rows]
    return read_all(paths, lambda path: sound_of(path, config.rate))


def fits_into(ids, moments):
    """Whether CTC can say ids in so many moments: one each, and a blank between two that are the same."""
    return len(ids) + sum(a == b for a, b in zip(ids, ids[1:])) <= moments


# --- model ----------------------------------------------------------------------------------------------------------


def encoder_of(config):
    """What listens."""
    import keras

    from keras_seq import layers

    if config.encoder == "lstm":
        over = {"name": "recurrent", "units": config.units, "num_layers": config.layers, "dropout": config.dropout}
    else:
        over = {
            "name": "transformer", "num_layers": config.layers, "num_heads": config.heads, "mlp_dim": config.mlp_dim,
            "position": "rotary", "dropout": config.dropout, "activation": "gelu",
        }  # fmt: skip
    return layers.SoundEncoder(
        config.dim, over, config.rate, config.bands, strides=(2, config.moment // 2, 1), dropout=config.dropout, hide=config.hide, time=config.time,
        band=config.band, dtype=keras.config.dtype_policy(), name="encoder",
    )  # fmt: skip


def model(config, assets):
    """The compiled model."""
    from keras_seq import models, training

    size, encoder, drop = tokenizer_of(assets).vocab_size, encoder_of(config), {"dropout": config.dropout}
    if config.model == "ctc":
        net, loss = models.CTCRecognizer(size, encoder, early=config.early, **drop), training.CTC()
    elif config.model == "transformer":
        net = models.TransformerRecognizer(
            size, encoder, config.heads, config.writer_layers, config.mlp_dim, max_length=config.max_length,
            ctc=config.ctc, **drop,
        )  # fmt: skip
    else:
        net = models.RecurrentRecognizer(
            size, encoder, 2 * config.units, attention=config.attention, ctc=config.ctc, **drop
        )
    if config.model != "ctc":
        loss = training.TokenCrossEntropy(config.label_smoothing)
    schedule = training.WarmupCosine(config.learning_rate, config.warmup, config.epochs * assets["epoch"]["steps"])
    optimizer = training.AdamW(schedule, config.weight_decay, beta_2=0.98, global_clipnorm=config.clip)
    optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias", "table"])
    net.compile(optimizer, loss)
    return net


def tokenizer_of(assets):
    from keras_seq.data import Tokenizer

    return Tokenizer(assets["tokenizer.model"])


# --- answers --------------------------------------------------------------------------------------------------------


def heard(config, model, assets, sounds, beams=1):
    """The texts of sounds int16 (N,); long ones are read in pieces."""
    from keras_seq.data import by_length

    pieces = [(i, part) for i, sound in enumerate(sounds) for part in pieces_of(config, sound)]
    found = [None] * len(pieces)
    for chosen in by_length([part for _, part in pieces], 16):
        rows = tokens_of(config, model, batch(config, [pieces[i][1] for i in chosen]), beams)
        for i, ids in zip(chosen, rows):
            found[i] = ids
    texts = [[] for _ in sounds]
    for (i, _), text in zip(pieces, texts_of(assets, found)):
        texts[i] += [text.strip()] if text.strip() else []
    return [" ".join(parts) for parts in texts]


def pieces_of(config, sound):
    """A sound, or a long one in pieces that the model reads."""
    from keras_seq.data import cut_at_quiet

    return cut_at_quiet(sound, round(config.longest * config.rate), config.rate // 100)


def batch(config, sounds):
    """Sounds as the model reads them, padded to half seconds, so that few shapes are compiled."""
    import numpy as np

    from keras_seq.data import samples

    step = config.rate // 2
    x = np.zeros((len(sounds), max(1, -(-max(map(len, sounds)) // step)) * step), "float32")
    for line, sound in zip(x, sounds):
        line[: len(sound)] = samples(sound)
    return {"sound": x, "length": np.array([len(sound) for sound in sounds], "int32")}


def tokens_of(config, model, inputs, beams):
    """The ids that the model hears in a batch, rows (B, T)."""
    import numpy as np
    from keras import ops

    from keras_seq.decoding import generate

    if config.model != "ctc":
        return np.asarray(generate(model, inputs, config.max_length, beams=beams, length_penalty=1.0)[0])[:, 0]
    logits = model.predict_on_batch(inputs)
    if beams == 1:
        return np.asarray(model.tokens(logits))
    length = np.full(len(logits), logits.shape[1], "int32")
    return np.asarray(ops.ctc_decode(logits, length, "beam_search", beam_width=beams)[0])[0]


def predict(config, model, assets, paths, beams=8, pictures="heard"):
    """The text of each file; a picture of when what was heard goes into the folder `pictures`."""
    from keras_seq import plots

    sounds = [sound_of(path, config.rate) for path in paths]
    found = heard(config, model, assets, sounds, beams)
    for sound, text, target in zip(sounds, found, result_paths(pictures, paths, ".png")):
        if pictures:
            plots.save(picture(config, model, assets, sound, text), target)
            print(f"when what was heard: {target}", file=sys.stderr)
    return found


def picture(config, model, assets, sound, text):
    """The spectrogram of a sound, and below it when its tokens were heard; of a long one the first piece."""
    import numpy as np

    from keras_seq import decoding, plots
    from keras_seq.training import calibration

    tokenizer = tokenizer_of(assets)
    first = pieces_of(config, sound)[0]
    text = text if len(first) == len(sound) else heard(config, model, assets, [first])[0]
    inputs, ids = batch(config, [first]), tokenizer.encode([text])[0]
    spectrogram, mask = (np.asarray(x)[0] for x in model.encoder.picture(inputs["sound"], inputs["length"]))
    moments = model.encoder.steps(len(first))
    if config.model == "ctc":
        ids = list(dict.fromkeys(ids))
        p = calibration.probabilities(model.predict_on_batch(inputs))[0]
        weights = p[:moments, ids].T
        tokens = [tokenizer.piece(i) for i in ids]
    else:
        target = decoding.pad([[decoding.BOS, *ids]])
        weights = np.array(model.attention_weights({**inputs, "target": target}))[0].mean(axis=0)[:, :moments]
        tokens = [*(tokenizer.piece(i) for i in ids), "</s>"]
    return plots.heard(spectrogram[mask], weights, tokens, len(first) / config.rate, text)


def evaluate(config, model, assets, examples):
    """Word and character error rates, and the share of sounds that are wholly right: in all and by speaker."""
    found = heard(config, model, assets, read_rows(config, examples), beams=8)
    rows = [(row["text"], text, row["speaker"]) for row, text in zip(examples, found)]
    speakers = sorted({speaker for *_, speaker in rows})
    groups = {name: [row for row in rows if row[2] == name] for name in speakers if len(speakers) > 1}
    by_speaker = {name: {"sounds": len(part), **error_rates(part)} for name, part in groups.items()}
    return error_rates(rows) | {"sounds": len(rows), "beams": 8} | ({"by_speaker": by_speaker} if groups else {})


def error_rates(rows):
    """Words and characters put in, left out or exchanged, per cent of those said; and sounds wholly right, per cent.

    Args:
        rows: list of (text said, text found, ...).

    Example:
        >>> error_rates([("bin blue at a", "bin blue at e"), ("two", "two")])
        {'word_errors': 20.0, 'character_errors': 6.25, 'sounds_right': 50.0}
    """
    from keras_seq.training import edit_distance

    counts = [[edit_distance(split(found), split(wanted)) for wanted, found, *_ in rows] for split in (str.split, list)]
    sizes = [sum(len(split(wanted)) for wanted, *_ in rows) for split in (str.split, list)]
    words, characters = (round(100 * sum(wrong) / max(1, size), 2) for wrong, size in zip(counts, sizes))
    right = round(100 * sum(wanted == found for wanted, found, *_ in rows) / len(rows), 2)
    return {"word_errors": words, "character_errors": characters, "sounds_right": right}


def preview(config, model, assets, examples):
    """What an epoch has brought: error rates of the likeliest text, some texts, and when what was heard in two."""
    sounds = read_rows(config, examples)
    found = heard(config, model, assets, sounds)
    rows = [(row["text"], text) for row, text in zip(examples, found)]
    step = max(1, len(rows) // 3)
    texts = [f"wanted  {wanted}\ngot     {text}" for wanted, text in rows[::step][:3]]
    figures = {f"heard {i}": picture(config, model, assets, sound, text)
               for i, (sound, text) in enumerate(list(zip(sounds, found))[::step][:2], 1)}  # fmt: skip
    return Preview({f"val_{name}": value for name, value in error_rates(rows).items()}, texts, figures)


# --- export ---------------------------------------------------------------------------------------------------------


def export(config, model, assets, folder, examples, options):
    """SavedModel and .tflite, each compared with the model on test sounds."""
    from keras_seq import deploy

    size = round((options.seconds or assets["epoch"]["seconds"]) * config.rate)
    pairs = [pair for pair in zip(examples, read_rows(config, examples)) if len(pair[1]) <= size]
    if not pairs:
        raise ValueError(f"expected --seconds to hold a test sound, got {size / config.rate:.2f}: give more")
    items, wanted = [item_of(sound, size) for _, sound in pairs], [row["text"] for row, _ in pairs]
    inputs = {"sound": ((size,), "float32"), "length": ((), "int32")}
    card = {"app": "speech", "config": dataclasses.asdict(config), "rate": config.rate,
            "sound": f"samples of one channel from -1 to 1, {config.rate} a second, then 0; length says how many"}  # fmt: skip
    common = {"card": card, "metric_name": "% of words right", **options.settings()}
    if config.model == "ctc":
        report = deploy.export_predictor(
            model, {"predict": deploy.Signature(whole(model), inputs, {"sound": (None,)})}, folder, items,
            metric=lambda outputs: words_right(wanted, texts_of(assets, [row["tokens"] for row in outputs])),
            writes=assets["tokenizer.model"], **common,
        )  # fmt: skip
    else:
        report = deploy.export_checked(
            model, assets["tokenizer.model"], folder, items, max_length=config.max_length, beams=options.beams,
            length_penalty=1.0, inputs=inputs, metric=lambda found: words_right(wanted, found),
            sentences=options.sounds, **common,
        )  # fmt: skip
    return deploy.outcome(report)


def item_of(sound, size):
    """A sound as an exported file reads it."""
    import numpy as np

    from keras_seq.data import samples

    x = np.zeros(size, "float32")
    x[: len(sound)] = samples(sound)
    return {"sound": x, "length": np.int32(len(sound))}


def whole(model):
    """The signature `predict` of a model that hears by CTC."""
    from keras import ops

    def predict(sound, length):
        logits = model({"sound": sound, "length": length})
        return {"probabilities": ops.softmax(logits), "tokens": model.tokens(logits)}

    return predict


def texts_of(assets, rows):
    """Rows of ids, PAD after the end, as texts."""
    return tokenizer_of(assets).decode([[int(i) for i in ids if i > 2] for ids in rows])


def words_right(wanted, found):
    """100 less the word error rate."""
    return 100 - error_rates(list(zip(wanted, found)))["word_errors"]


def demo(config, model, assets, examples):
    """Of the page: some test sounds with the likeliest text of the model itself."""
    from keras_seq.demo import few, wav

    chosen = few(examples)
    sounds = read_rows(config, chosen)
    return {
        "reads": {"kind": "sound", "rate": config.rate},
        "samples": [{"sound": wav(sound, config.rate), "said": text, "wanted": row["text"]}
                    for row, sound, text in zip(chosen, sounds, heard(config, model, assets, sounds))],
    }  # fmt: skip


APP = App(
    "speech", Config, data, model, predict, evaluate, preview, export, demo=demo,
    predict_options=Predict, export_options=Export, monitor="val_word_errors", example="FILE", batch=1,
    about="The prompts: Allison Smith for Asterisk, CC BY-SA 3.0. GRID: Cooke et al. 2006, CC BY 4.0.",
)  # fmt: skip

if __name__ == "__main__":
    APP.main()
