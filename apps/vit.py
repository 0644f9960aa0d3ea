"""Tell what is in a picture: a vision Transformer cuts it into patches, which look at each other, and answers a label.

Many to one. Trains on small pictures of clothes, or on a folder of yours with a folder of pictures for each class; tells
how often it is right on pictures it has never seen, and how far its probabilities can be trusted; shows where it
looked, and exports files that run without Python.

    python -m apps.vit train                                        # Fashion-MNIST, which comes with the app
    python -m apps.vit train --data DIR --size 64 --patch 8         # DIR/CLASS/*.jpg, or DIR/train, val, test
    python -m apps.vit train --position sinusoidal --pooling class
    python -m apps.vit train --stem none --layers 4                 # patches alone, as in the paper
    python -m apps.vit predict boot.png photo.jpg                   # a label each, and a picture of where it looked
    python -m apps.vit evaluate
    python -m apps.vit export
"""

import dataclasses
import sys
from typing import Literal

from keras_seq.app import App, Data, ExportOptions, Preview, above_zero, at_least, below_one, result_paths


@dataclasses.dataclass(frozen=True)
class Config:
    data: str = ""  # a folder with a folder of pictures (PNG, JPEG, WebP, GIF, BMP, TIFF) for each class, perhaps in train, val and test; or with IDX files; default: Fashion-MNIST
    size: int = 28  # height and width of a picture, in pixels; a multiple of --patch
    grey: bool | None = None  # see brightness only, no colours (auto: where no training picture has colours)
    patch: int = 4  # height and width of a patch
    stem: Literal["convolutions", "none"] = "convolutions"  # what sees the picture before it is cut; none: the paper's, which learns more slowly
    position: Literal["learned", "sinusoidal", "flat", "none"] = "learned"  # of a patch: learned or sinusoidal, of row and column; flat: learned, one for each patch
    pooling: Literal["mean", "class"] = "mean"  # what the answer is made of: the mean of the patches, or a class token
    dim: int = 96  # width of the vector of a patch
    layers: int = 3  # of the Transformer
    heads: int = 4  # of each attention
    mlp_dim: int = 192  # width inside its feed-forward
    dropout: float = 0.0  # of the Transformer: few epochs over many pictures need none
    shift: float = 0.07  # training pictures move by up to this share,
    shrink: float = 0.05  # become smaller,
    grow: float = 0.05  # or larger,
    rotate: float = 0.0  # turn by up to so many degrees,
    colour: float = 0.0  # change brightness, contrast and saturation a little,
    flip: bool = True  # half of them are mirrored: wrong where left and right tell classes apart, as of digits
    cutout: float = 0.0  # side of a square that is hidden, as a share of the picture's
    mixup: float = 0.0  # above 0 pictures lie over each other, 0.2 a little, 1 much
    label_smoothing: float = 0.05  # keeps the model from being too sure
    batch_size: int = 128  # pictures a step
    learning_rate: float = 2e-3  # at the end of the warm-up; it then falls along a cosine to 0
    warmup: int = 400  # steps
    weight_decay: float = 0.05  # of AdamW: pulls weights to 0
    clip: float = 1.0  # norm of the gradient, at most
    test: float = 0.1  # share of your own pictures held out for the test, where no folder is named for it
    epochs: int = 10  # passes over the training data; the schedule ends with the last
    patience: int = 0  # epochs without a better validation before training stops; 0: none, the last ones are the best

    def __post_init__(self):
        above_zero(self, "size", "patch", "dim", "layers", "heads", "mlp_dim", "batch_size", "learning_rate")
        below_one(self, "dropout", "label_smoothing")
        at_least(0, self, "mixup")
        if self.stem != "none" and self.patch % 2:
            raise ValueError(f"expected an even --patch after the stem of convolutions, got {self.patch}: or --stem none")
        if self.size % self.patch or self.dim % self.heads:
            raise ValueError(f"expected --size in whole patches and --dim in whole heads, got {self.size} in patches of "
                             f"{self.patch}, {self.dim} in {self.heads} heads: for example --size 32 --patch 4 --dim 96")


@dataclasses.dataclass(frozen=True)
class Predict:
    top: int = 1  # labels to print of each picture, with their probabilities
    negative: bool = False  # the pictures are light on black, as those of MNIST and its kin are handed out
    maps: str = "attention"  # folder for the pictures of where the model looked; "" makes none

    def __post_init__(self):
        at_least(1, self, "top")


@dataclasses.dataclass(frozen=True)
class Export(ExportOptions):
    tolerance: float = 0.5  # points of accuracy that f16 and int8 may lose on the whole test split


# Data ---------------------------------------------------------------------------------------------------------------


def data(config):
    """Pictures and their classes as batches."""
    from keras_seq.data import Jitter, LabelledPictures

    parts, names, what = labelled(config)
    if grey_only(config, parts["train"][0]):
        parts = {name: (in_grey(pictures), classes) for name, (pictures, classes) in parts.items()}
    (train, labels), valid = parts["train"], parts["valid"]
    form = {"classes": len(names), "size": config.size, "batch_size": config.batch_size}
    batches = LabelledPictures(train, labels, jitter=Jitter.of(config), mixup=config.mixup, **form)
    channels = 1 if train.shape[-1] == 1 else 3
    counts = ", ".join(f"{len(classes):,} {name}" for name, (_, classes) in parts.items())
    return Data(
        batches, LabelledPictures(*valid, shuffle=False, **form), examples(parts["test"], "test"),
        assets={"labels": {"names": names, "channels": channels}, "epoch": {"steps": batches.steps}},
        facts=[f"{what}: {counts}", f"{len(names)} classes, {'grey' if channels == 1 else 'colour'}, {batches.steps:,} batches"],
        samples=examples(valid, "valid"),
    )  # fmt: skip


def labelled(config):
    """{split: (pictures uint8 (N, P, P, 4) or (N, P, P, 1), classes)}, the names of the classes, and what it is."""
    from apps.data import load_fashion
    from keras_seq.data import other_files, read_labelled_pictures, read_pictures, split_labelled

    if not config.data:
        return *load_fashion(), "Fashion-MNIST, training pictures compressed"
    found, names = read_labelled_pictures(config.data)
    parts = split_labelled(found, valid=config.test / 2, test=config.test)
    if not isinstance(parts["train"].pictures, list):
        return {name: tuple(part) for name, part in parts.items()}, known(parts, names), f"IDX files of {config.data}"
    stored = config.size * 8 // 7  # a little larger than what is seen, so that growing shows more
    read = {name: (read_pictures(part.pictures, stored), part.labels) for name, part in parts.items()}
    others = f", {count:,} files of other kinds passed over" if (count := other_files(config.data)) else ""
    return read, names, f"pictures of {config.data}{others}"


def known(parts, names):
    """The names of Fashion-MNIST's classes where its test is that of the files, which name none."""
    import numpy as np

    from apps.data import load_fashion

    pack, clothes = load_fashion()
    return clothes if np.array_equal(pack["test"][0], parts["test"].pictures) else names


def grey_only(config, pictures):
    """Whether the model sees no colours."""
    if config.grey is not None or pictures.shape[-1] == 1:
        return config.grey is not False
    return all((picture[..., :3] == picture[..., :1]).all() for picture in pictures)


def in_grey(pictures):
    """Pictures uint8 (N, P, P, 4) on white in grey: (N, P, P, 1)."""
    import numpy as np

    from keras_seq.data import grey, shown

    if pictures.shape[-1] == 1:
        return pictures
    return np.stack([np.rint(255 * grey(shown(picture, len(picture)))).astype("uint8") for picture in pictures])


def examples(part, name):
    """What is evaluated: {"image", "label", "set"}."""
    return [{"image": picture, "label": int(label), "set": name} for picture, label in zip(*part)]


# Model --------------------------------------------------------------------------------------------------------------

POSITIONS = {"learned": "learned_2d", "sinusoidal": "sinusoidal_2d", "flat": "learned", "none": None}
STEMS = {"convolutions": (24, 48), "none": ()}  # channels


def model(config, assets):
    """The compiled model."""
    import keras

    from keras_seq import layers, models, training

    dtype, labels = keras.config.dtype_policy(), assets["labels"]
    encoder = layers.PatchEncoder(
        config.dim, config.patch, config.heads, config.layers, config.mlp_dim, config.dropout,
        POSITIONS[config.position], config.pooling == "class", STEMS[config.stem], dtype=dtype, name="encoder",
    )  # fmt: skip
    shape = config.size, config.size, labels["channels"]
    net = models.PictureClassifier(len(labels["names"]), encoder, shape, config.dropout)
    schedule = training.WarmupCosine(config.learning_rate, config.warmup, config.epochs * assets["epoch"]["steps"])
    optimizer = training.AdamW(schedule, config.weight_decay, global_clipnorm=config.clip)
    optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias", "table", "row", "column", "whole"])
    net.compile(optimizer, keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=config.label_smoothing))
    return net


def seen(config, assets, pictures):
    """Pictures uint8 (P, P, 4) or (P, P, 1) as the model sees them: float32 (N, size, size, C)."""
    import numpy as np

    from keras_seq.data import grey, shown

    images = np.stack([shown(np.asarray(picture, "uint8"), config.size) for picture in pictures])
    return grey(images) if images.shape[-1] > assets["labels"]["channels"] else images


def logits(model, images):
    """What the model answers to float32 (N, size, size, C): float32 (N, K)."""
    import numpy as np

    parts = np.array_split(images, -(-len(images) // 256))
    return np.concatenate([model.predict_on_batch(part) for part in parts])


def chances(model, images):
    """The probability of each class: (N, K)."""
    from keras_seq.training import calibration

    return calibration.probabilities(logits(model, images), float(model.temperature))


# Answers ------------------------------------------------------------------------------------------------------------


def predict(config, model, assets, paths, top=1, negative=False, maps=""):
    """For each path the likeliest labels and their probabilities; where the model looked goes into a PNG in `maps`."""
    from keras_seq import plots
    from keras_seq.data import read_picture, shown

    def positive(image):
        return 1 - image if negative else image

    images, answers = positive(seen(config, assets, [read_picture(path, config.size) for path in paths])), []
    targets = result_paths(maps, paths, "_attention.png")
    for path, image, p, target in zip(paths, images, chances(model, images), targets):
        best = p.argsort()[::-1][: max(1, top)]
        answers.append([part for i in best for part in (assets["labels"]["names"][i], f"{p[i]:.3f}")])
        if maps:
            title, large = f"{answers[-1][0]} {p[best[0]]:.0%}", 8 * config.size
            sharp = positive(shown(read_picture(path, large), large))  # for the eye, in colour
            plots.save(attention_figure(config, model, image, title, sharp), target)
            print(f"where the model looked: {target}", file=sys.stderr)
    return answers


def attention_figure(config, model, image, title, sharp=None):
    """The picture lit where the answer comes from: through all layers, and where each head of the last one looked."""
    import numpy as np

    from keras_seq import plots

    whole, heads = (np.array(x)[0] for x in model.looks(image[None]))
    maps = np.concatenate([whole[None], heads]).reshape(-1, *model.encoder.grid(config.size, config.size))
    names = ["\u2581all layers", *(f"\u2581head {i}" for i in range(1, len(maps)))]
    colours = np.repeat(image, 3, -1) if image.shape[-1] == 1 else image
    return plots.attention_over_picture(colours if sharp is None else sharp, maps, names, title)


# Evaluation ---------------------------------------------------------------------------------------------------------


def evaluate(config, model, assets, examples):
    """How often the label is right, what the probabilities are worth, and what each class is taken for."""
    from keras_seq.training import scoring

    names, labels = assets["labels"]["names"], [row["label"] for row in examples]
    p = chances(model, seen(config, assets, [row["image"] for row in examples]))
    counts = scoring.confusion(labels, p.argmax(axis=1), len(names))
    return {"pictures": len(labels), **scoring.class_scores(p, labels), **scoring.confusion_table(counts, names)}


def preview(config, model, assets, examples):
    """Scores, the confusion and where it looked; of validation pictures the temperature, kept with the weights."""
    from keras_seq import plots
    from keras_seq.training import calibration, scoring

    names, labels = assets["labels"]["names"], [row["label"] for row in examples]
    images = seen(config, assets, [row["image"] for row in examples])
    found = logits(model, images)
    if examples[0]["set"] == "valid":
        model.temperature.assign(calibration.fit_temperature(found, labels))
    p = calibration.probabilities(found, float(model.temperature))
    counts = scoring.confusion(labels, p.argmax(axis=1), len(names))
    figures = {"confusion": plots.confusion_matrix(counts, names)}
    texts = []
    for i, (image, label, row) in enumerate(list(zip(images, labels, p))[:3], 1):
        answer = f"{names[row.argmax()]} {row.max():.0%}"
        texts.append(f"wanted  {names[label]}\ngot     {answer}")
        figures[f"attention {i}"] = attention_figure(config, model, image, answer)
    return Preview({f"val_{name}": value for name, value in scoring.class_scores(p, labels).items()}, texts, figures)


# Export -------------------------------------------------------------------------------------------------------------


def export(config, model, assets, folder, examples, options):
    """SavedModel and .tflite, each compared with the model on every test picture."""
    from keras_seq import deploy

    images = seen(config, assets, [row["image"] for row in examples])
    rights = [row["label"] for row in examples]

    def metric(outputs):
        right = sum(int(row["probabilities"].argmax()) == label for row, label in zip(outputs, rights))
        return 100 * right / len(rights)

    def decoded(pictures):
        import tensorflow as tf

        image = deploy.decode_pictures(pictures, config.size)
        return {"image": tf.image.rgb_to_grayscale(image) if images.shape[-1] == 1 else image}

    answer = deploy.Signature(
        lambda image: {"probabilities": model.probabilities(image)}, {"image": (images.shape[1:], "float32")}
    )
    report = deploy.export_predictor(
        model, {"predict": answer}, folder, [{"image": image} for image in images], metric=metric,
        metric_name="accuracy", raw={"pictures": decoded},
        card={"app": "vit", "config": dataclasses.asdict(config), "labels": assets["labels"],
              **deploy.picture_card(images.shape[-1])}, **options.settings(),
    )  # fmt: skip
    return deploy.outcome(report)


def demo(config, model, assets, examples):
    """Of the page: a test picture of each class with the model's own answer."""
    import numpy as np

    from keras_seq.demo import png

    names, first = assets["labels"]["names"], {}
    for row in examples:
        first.setdefault(row["label"], row)
    chosen = [first[label] for label in sorted(first)][:10]
    images = seen(config, assets, [row["image"] for row in chosen])
    pictures = np.rint(255 * images).astype("uint8")
    return {
        "shows": {"kind": "labels", "label": "What it is"},
        "samples": [{"picture": png(picture[..., 0] if picture.shape[-1] == 1 else picture),
                     "said": [names[p.argmax()], float(p.max())], "wanted": names[row["label"]]}
                    for picture, p, row in zip(pictures, chances(model, images), chosen)],
    }  # fmt: skip


APP = App(
    "vit", Config, data, model, predict, evaluate, preview, export, demo=demo, predict_options=Predict,
    export_options=Export, monitor="val_accuracy", mode="max", shown=10**6, example="PICTURE",
    about="The pictures are Fashion-MNIST (Zalando SE, MIT): 28 x 28 pixels, grey, one garment each on white. A model "
    "trained on them knows ten kinds of clothes, and calls whatever else it is shown one of them.",
)  # fmt: skip

if __name__ == "__main__":
    APP.main()
