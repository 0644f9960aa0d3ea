"""Label every frame of a video: a Transformer or an LSTM over what small 3-D convolutions see in each frame.

Many to many, aligned: a clip in, a label for every frame out. Trains on moving digits drawn by the app, on the GRID
corpus of people who speak (it learns to read lips), or on labelled clips of yours; tells how many frames and segments
of clips it has never seen it gets right, and exports files that run without Python.

    python -m apps.video train                                  # moving digits
    python -m apps.video train --data s1                        # GRID: NAME.mpg beside NAME.align, or your own so
    python -m apps.video train --data labels.csv                # columns clip, start, end, label, in seconds
    python -m apps.video train --causal                         # for live video: no frame waits for the next
    python -m apps.video predict CLIP.mp4                       # or digits:test/3, a clip that the app draws
    python -m apps.video evaluate
    python -m apps.video export
"""

import dataclasses
from typing import Literal

from keras_seq.app import App, Data, ExportOptions, Preview, above_zero, below_one, result_paths


@dataclasses.dataclass(frozen=True)
class Config:
    data: str = ""  # labelled clips: a folder in GRID's layout or with labels.csv, or a CSV; default: moving digits
    model: Literal["transformer", "lstm"] = "lstm"  # over time; the LSTM reads both ways unless causal
    members: int = 1  # models that learn apart, each from its share of the clips of an epoch, and answer together: two with twice the --epochs are better than one, and twice as slow
    causal: bool = False  # for live video: a frame's label depends on no later frame
    height: int = 40  # of the grey frames that the model sees
    width: int = 80  # and their width: the picture is squeezed into it
    crop: str = ""  # left,top,width,height of the part of the picture to look at, in its own pixels; the lips of GRID's first speaker: 112,188,96,48
    rate: float = 25.0  # frames a second: clips of another rate are brought to it
    window: int = 75  # frames that the model sees at once; longer clips are read piece by piece
    quiet: str = "none,sil,sp"  # labels that mean nothing, as the frames without a span: all are one, named as the first
    filters: int = 16  # of the first convolution; the second has twice, the third three times as many
    dim: int = 192  # width of the vector of a frame
    layers: int = 2  # over time
    units: int = 96  # of the LSTM, each way
    heads: int = 4  # of the Transformer
    mlp_dim: int = 512  # inside its feed-forward
    dropout: float = 0.3  # clips are few
    flip: bool | None = None  # mirror half of the training clips: good for lips, not for digits (auto: for your own data)
    shift: float = 0.06  # share of the picture by which training clips move, at most
    light: float = 0.2  # by which brightness and contrast change
    stretch: float = 0.1  # share by which time runs faster or slower; the labels follow
    hide: int = 2  # times that the picture stands still for a moment
    splice: float = 0.2  # share of the clips that go on as another from where a label changes
    clips: int = 600  # moving digits to train on
    batch: int = 6  # clips a step, of each member: few, so that there are many steps
    learning_rate: float = 1.5e-3  # at the end of the warm-up; it then falls along a cosine to nearly 0
    warmup: int = 100  # steps
    label_smoothing: float = 0.1  # keeps the model from being too sure: labels are a frame or so off
    clip: float = 1.0  # norm of the gradient, at most
    epochs: int = 16  # passes over the training clips; the schedule ends with the last
    patience: int = 0  # epochs without a better validation before training stops; 0: none
    keep: Literal["best", "last"] = "last"  # weights of the best epoch in validation, whose clips are few, or of the last, where the schedule ends

    def __post_init__(self):
        above_zero(
            self, "height", "width", "rate", "window", "filters", "dim", "layers", "units", "heads", "mlp_dim", "batch",
            "clips", "members", "learning_rate",
        )
        below_one(self, "dropout", "label_smoothing")
        if self.crop and (len(self.crop.split(",")) != 4 or not self.crop.replace(",", "").isdecimal()):
            raise ValueError(f"expected --crop left,top,width,height, got {self.crop!r}: for example 80,170,160,80")


@dataclasses.dataclass(frozen=True)
class Predict:
    pictures: str = "timelines"  # folder for a picture of each clip with its spans; "" for none
    all: bool = False  # print the spans in which nothing is, too


@dataclasses.dataclass(frozen=True)
class Export(ExportOptions):
    tolerance: float = 0.5  # points of frame accuracy that f16 and int8 may lose on the whole test split


# --- data -----------------------------------------------------------------------------------------------------------


def data(config):
    """Batches of clips and the names of the labels, which are those of the training clips."""
    from keras_seq.data import Changes, ClipBatches, read_all

    parts = labelled(config)
    names = label_names(config, parts["train"])
    frames = {part: read_all([clip.path for clip in parts[part]], reader(config)) for part in ("train", "valid")}
    if config.data:
        read_all([clip.path for clip in parts["test"]], reader(config))  # a damaged one is named before training
    labels = {part: [numbers(config, names, *row) for row in zip(parts[part], frames[part])] for part in frames}
    flip = bool(config.data) if config.flip is None else config.flip
    changes = Changes(config.shift, config.shift, flip, config.light, config.stretch, config.hide, config.splice)
    rows = config.batch * config.members
    batches = ClipBatches(frames["train"], labels["train"], rows, config.window, changes)
    valid = ClipBatches(frames["valid"], labels["valid"], rows, config.window, shuffle=False)
    if batches.rows_each < config.members:
        raise ValueError(f"expected a clip in each batch for each of --members {config.members}, "
                         f"got {len(batches.pieces)} clips in batches of {rows}: raise --batch, or take fewer members")
    seconds = sum(map(len, frames["train"])) / config.rate
    return Data(
        batches, valid, as_examples(parts["test"]),
        assets={"labels": names, "epoch": {"steps": batches.steps}},
        facts=[
            f"{config.data or 'moving digits'}: {len(parts['train']):,} clips to train ({seconds / 60:.1f} minutes), "
            f"{len(parts['valid']):,} to validate, {len(parts['test']):,} to test",
            f"{len(names)} labels: {', '.join(names[:12])}{', ...' if len(names) > 12 else ''}",
        ],
        samples=[{**row, "frames": x} for row, x in zip(as_examples(parts["valid"]), frames["valid"])],
    )  # fmt: skip


def as_examples(clips):
    """Clips as plain data."""
    return [{"clip": clip.path, "spans": [list(span) for span in clip.spans]} for clip in clips]


def as_clips(examples):
    """What `as_examples` made, as it was."""
    from keras_seq.data import Clip, Span

    return [Clip(row["clip"], [Span(*span) for span in row["spans"]]) for row in examples]


def labelled(config):
    """{"train": [Clip, ...], "valid": ..., "test": ...}: by a hash of their names, 15 % to test, 4 % to validate."""
    import hashlib
    import math
    from pathlib import Path

    from keras_seq.data import read_clips

    if not config.data:
        return digits(config.clips)
    clips = sorted(read_clips(config.data), key=lambda clip: hashlib.sha256(Path(clip.path).stem.encode()).digest())
    if len(clips) < 3:
        raise ValueError(f"expected clips to train on, to validate and to test, got {len(clips)} in {config.data}")
    test = math.ceil(0.15 * len(clips))
    train = test + math.ceil(0.04 * len(clips))
    return {"train": clips[train:], "valid": clips[test:train], "test": clips[:test]}


def digits(count):
    """Moving digits: names of clips, and their spans."""
    from apps.data import moving_digits
    from keras_seq.data import Clip

    names = {part: [f"{moving_digits.NAME}{part}/{i}" for i in range(number)]
             for part, number in (("train", count), ("valid", 100), ("test", 200))}  # fmt: skip
    return {part: [Clip(name, moving_digits.spans(name)) for name in names[part]] for part in names}


def reader(config):
    """A function from the path of a clip, or the name of a drawn one, to its frames uint8 (T, H, W)."""
    from apps.data import moving_digits
    from keras_seq.data import read_frames, resize

    def read(path):
        if path.startswith(moving_digits.NAME):
            return resize(moving_digits.drawn(path)[0], config.height, config.width)
        return read_frames(path, config.height, config.width, config.rate, crop(config))

    return read


def crop(config):
    """(left, top, width, height) of the part of the picture to look at, or None."""
    return tuple(map(int, config.crop.split(","))) if config.crop else None


def quiet(config):
    """The labels that mean nothing."""
    return [name.strip() for name in config.quiet.split(",") if name.strip()] or ["none"]


def label_names(config, clips):
    """The labels, in order; the first is that of frames in which nothing is."""
    found = {span.label for clip in clips for span in clip.spans}
    return [quiet(config)[0], *sorted(found - set(quiet(config)))]


def numbers(config, names, clip, frames):
    """The label of each frame as a place in `names`: of what is quiet that of no span, -1 of what training never saw."""
    from keras_seq.data import frame_labels

    places = dict.fromkeys(quiet(config), 0) | {name: i for i, name in enumerate(names)}
    return [places.get(name, -1) for name in frame_labels(clip.spans, len(frames), config.rate, names[0])]


# --- model ----------------------------------------------------------------------------------------------------------


def model(config, assets):
    """The compiled model."""
    import keras

    from keras_seq import layers, models, training

    dtype = keras.config.dtype_policy()

    def member():
        encoder = layers.ClipEncoder(
            config.dim, [config.filters * i for i in (1, 2, 3)], causal=config.causal, dropout=config.dropout / 4,
            dtype=dtype, name="encoder",
        )  # fmt: skip
        common = {
            "num_classes": len(assets["labels"]), "encoder": encoder, "frame_shape": (config.height, config.width, 1),
            "causal": config.causal, "dropout": config.dropout, "num_layers": config.layers,
        }  # fmt: skip
        if config.model == "transformer":
            own = {"num_heads": config.heads, "mlp_dim": config.mlp_dim, "window": config.window}
            return models.TransformerTagger(**common, **own)
        return models.RecurrentTagger(**common, units=config.units)

    members = [member() for _ in range(config.members)]
    net = models.TaggerCommittee(members) if len(members) > 1 else members[0]
    schedule = training.WarmupCosine(config.learning_rate, config.warmup, config.epochs * assets["epoch"]["steps"])
    optimizer = training.AdamW(schedule, weight_decay=0.01, global_clipnorm=config.clip)
    net.compile(optimizer, training.TokenCrossEntropy(config.label_smoothing))
    return net


# --- answers --------------------------------------------------------------------------------------------------------


def probabilities(config, model, clips):
    """Of each frame of clips uint8 (T, H, W) the probability of every label: a list of float32 (T, C).

    A clip longer than the window is read in pieces that overlap by half; of two answers for a frame the one that saw
    more around it counts.
    """
    from keras_seq.training import calibration

    pieces = [(i, start) for i, clip in enumerate(clips) for start in starts(len(clip), config.window)]
    found = [None] * len(clips)
    for first in range(0, len(pieces), 16):
        some = pieces[first : first + 16]
        logits = model.predict_on_batch(batch(config, [clips[i][s : s + config.window] for i, s in some]))
        answers = calibration.probabilities(logits).astype("float32")
        for (i, start), answer in zip(some, answers):
            count = min(len(clips[i]) - start, config.window)
            lead = (config.window // 4 if not config.causal else config.window // 2) if start else 0
            found[i] = joined(found[i], answer[lead:count], start + lead)
    return found


def starts(count, window):
    """Where the pieces of a clip begin: half a window apart, the last one at the end."""
    return [*range(0, max(count - window, 0), max(window // 2, 1)), max(count - window, 0)]


def joined(before, answer, start):
    """Answers up to `start`, then those of the next piece."""
    import numpy as np

    return answer if before is None else np.concatenate([before[:start], answer])


def batch(config, pieces):
    """Pieces of clips, at most a window long, as the model reads them."""
    import numpy as np

    frames = np.zeros((len(pieces), config.window, config.height, config.width, 1), "float32")
    for row, piece in zip(frames, pieces):
        row[: len(piece), ..., 0] = piece / np.float32(255)
    return {"frames": frames, "length": np.array([len(piece) for piece in pieces], "int32")}


def predict(config, model, assets, texts, pictures="timelines", all=False):
    """For each clip its labelled spans, `start end label`, in seconds; and a picture of each."""
    import sys
    from pathlib import Path

    from keras_seq import plots

    results = []
    for path, frames, to in zip(texts, map(reader(config), texts), result_paths(pictures, texts, ".png")):
        odds = probabilities(config, model, [frames])[0]
        spans = seconds(config, assets, odds.argmax(axis=-1))
        if pictures:
            plots.save(picture(config, frames, {"found": spans}, Path(path).name, odds.max(axis=-1)), to)
            print(f"{path}: {to}", file=sys.stderr)
        shown = [span for span in spans if all or span.label not in quiet(config)]
        results.append([f"{span.start:.2f} {span.end:.2f} {span.label}" for span in shown] or quiet(config)[0])
    return results


UNKNOWN = "?"  # what a picture calls a label that training never saw


def seconds(config, assets, places):
    """The labels of frames as spans in seconds."""
    from keras_seq.data import Span, runs

    spans = runs(assets["labels"][place] if place >= 0 else UNKNOWN for place in places)
    return [Span(span.start / config.rate, span.end / config.rate, span.label) for span in spans]


def picture(config, frames, rows, title, sure):
    from keras_seq import plots

    return plots.timeline(frames, rows, len(frames) / config.rate, quiet(config), title, sure)


def evaluate(config, model, assets, examples):
    """Percent of the frames that are right, in all and where something is to be seen, and F1 of the segments."""
    from keras_seq.data import read_all

    clips = as_clips(examples)
    frames = read_all([clip.path for clip in clips], reader(config))
    expected = [numbers(config, assets["labels"], *row) for row in zip(clips, frames)]
    found = [odds.argmax(axis=-1) for odds in probabilities(config, model, frames)]
    return scores(config, assets, expected, found) | {"clips": len(clips), "frames in all": sum(map(len, frames))}


def scores(config, assets, expected, found):
    """Accuracies and segment F1 in percent, of labels as places, a list a clip."""
    from keras_seq.data import aligned_scores

    nothing = [i for i, name in enumerate(assets["labels"]) if name in quiet(config)]
    found = aligned_scores(expected, found, nothing)
    return {
        "frame accuracy": found["all"],
        "accuracy where something is": found["speaking"],
        "segment F1 (IoU 0.5, Lea et al. 2017)": found["f1"],
        "always quiet": found["quiet"],
    }


def preview(config, model, assets, examples):
    """What an epoch has brought on validation clips, and how the first of them look."""
    from pathlib import Path

    clips, read = as_clips(examples), reader(config)
    frames = [row["frames"] if "frames" in row else read(row["clip"]) for row in examples]
    expected = [numbers(config, assets["labels"], *row) for row in zip(clips, frames)]
    odds = probabilities(config, model, frames)
    found = scores(config, assets, expected, [row.argmax(axis=-1) for row in odds])
    scalars = {"val_frames": found["frame accuracy"], "val_speech": found["accuracy where something is"]}
    figures = {}
    for number, (clip, picture_of, wanted, row) in enumerate(zip(clips[:3], frames, expected, odds), 1):
        rows = {"found": seconds(config, assets, row.argmax(axis=-1)), "expected": seconds(config, assets, wanted)}
        name = Path(clip.path).name
        figures[f"timeline {number}"] = picture(config, picture_of, rows, name, row.max(axis=-1))
    return Preview(scalars, [], figures)


# --- export ---------------------------------------------------------------------------------------------------------


def export(config, model, assets, folder, examples, options):
    """SavedModel and .tflite, each compared with the model on all test clips."""
    import numpy as np
    from keras import ops

    from keras_seq import deploy

    clips, read = as_clips(examples), reader(config)
    frames = [read(clip.path)[: config.window] for clip in clips]  # the first window of longer clips
    expected = [numbers(config, assets["labels"], *row) for row in zip(clips, frames)]
    shape = config.height, config.width, 1

    def whole(frames, length):
        return {"probabilities": ops.softmax(model({"frames": frames, "length": length}))}

    inputs = {"frames": ((config.window, *shape), "float32"), "length": ((), "int32")}
    given = {"predict": deploy.Signature(whole, inputs)}
    if config.causal:
        given["step"] = live(model, shape, deploy.Signature)
    items = [{name: np.squeeze(x, 0) for name, x in batch(config, [clip]).items()} for clip in frames]
    part = f"the part {config.crop} (left, top, width, height)" if config.crop else "the whole picture"
    note = f"{part} in grey from 0 to 1, {config.rate:g} a second, squeezed; then 0, length says how many"
    report = deploy.export_predictor(
        model, given, folder, items,
        metric=lambda outputs: accuracy(expected, [row["probabilities"] for row in outputs]),
        metric_name="frame accuracy", **options.settings(),
        card={"app": "video", "config": dataclasses.asdict(config), "labels": assets["labels"], "frames": note},
        files={"labels.json": assets["labels"]},
    )  # fmt: skip
    return deploy.outcome(report)


def live(model, shape, signature):
    """The signature `step`: a frame, its number and the state before it -> probabilities and the state after it."""
    from keras import ops, tree

    start = model.start(1)
    names = ["_".join(map(str, path)) for path, _ in tree.flatten_with_path(start)]

    def step(frame, index, **state):
        state = tree.pack_sequence_as(start, [state[name] for name in names])
        logits, state = model.step(ops.expand_dims(frame, 1), index, state)
        return {"probabilities": ops.softmax(ops.squeeze(logits, 1)), **dict(zip(names, tree.flatten(state)))}

    parts = {name: (tuple(part.shape[1:]), "float32") for name, part in zip(names, tree.flatten(start))}
    return signature(step, {"frame": (shape, "float32"), "index": (None, "int32"), **parts})


def accuracy(expected, odds):
    """Percent of the frames that are right."""
    import numpy as np

    right = [row[: len(labels)].argmax(axis=-1) == labels for labels, row in zip(expected, odds)]
    return 100 * float(np.concatenate(right).mean())


def demo(config, model, assets, examples):
    """Of the page: some test clips with the labels that the model itself gives their frames."""
    from keras_seq.demo import few, strip

    chosen, read = few(examples, 5), reader(config)
    clips = [read(row["clip"])[: config.window] for row in chosen]
    found = [seconds(config, assets, odds.argmax(axis=-1)) for odds in probabilities(config, model, clips)]
    return {
        "reads": {"kind": "clip", "rate": config.rate, **({"crop": crop(config)} if config.crop else {})},
        "shows": {"kind": "spans", "label": "What is in each frame", "quiet": quiet(config)},
        "samples": [{**strip(frames), "said": spans, "wanted": row["spans"]}
                    for row, frames, spans in zip(chosen, clips, found)],
    }  # fmt: skip


APP = App(
    "video", Config, data, model, predict, evaluate, preview, export, demo=demo,
    predict_options=Predict, export_options=Export, monitor="val_frames", mode="max", example="CLIP", batch=1,
    about="Moving digits are handwriting (MIT) whose motion is synthetic. GRID: Cooke et al. 2006, CC BY 4.0.",
)  # fmt: skip

if __name__ == "__main__":
    APP.main()
