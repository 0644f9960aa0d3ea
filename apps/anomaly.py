"""Find what is unlike the rest in a series of numbers: a Transformer that foretells, or an LSTM that rebuilds.

Many to one, for every row: the rows before it in, a score out; a row above 1 is flagged. It learns from the beginning of
the series, which has to be clean, what is usual, and how large errors usually are: the threshold follows from that, not
from labels. Trains on arterial pressure that comes with the app, on a table of yours, or on a folder in the layout of the
Numenta Anomaly Benchmark (NAB), and exports files that run without Python, row by row on live data too.

    python -m apps.anomaly train                                     # arterial pressure
    python -m apps.anomaly train --model lstm --normalize train
    python -m apps.anomaly train --data machine.csv --clean 0.3      # the first 30 % are clean
    python -m apps.anomaly train --data NAB                          # data/*/*.csv and labels/combined_windows.json
    python -m apps.anomaly predict machine.csv                       # what is unusual in it, and a picture
    python -m apps.anomaly evaluate
    python -m apps.anomaly export

The first command takes a minute on a CPU core and finds the anomaly without a false alarm; a rolling z-score with its
threshold set in the same way does not. On 56 series of NAB: F1 by window 39 %, NAB score 44 (z-score: 22 %, 21), in as
long. docs/series.md has more.
"""

import dataclasses
import functools
from typing import Literal

from keras_seq.app import App, Data, ExportOptions, Preview, above_zero, below_one, result_paths


@dataclasses.dataclass(frozen=True)
class Config:
    data: str = ""  # a .csv, .tsv or .jsonl with a row a step, or a folder in NAB's layout; default: the pressure that comes with the app
    time: str = ""  # its column of times; default: the first column if it holds no numbers
    target: str = ""  # columns to watch, with commas between; default: all columns of numbers but the label
    label: str = ""  # column that is 1 where a row is unusual: only to measure by; default: is_anomaly if there is one
    clean: float = 0.15  # of a series of yours, at its beginning: what nothing unusual is in; a share, or rows; 750 rows at most of NAB's
    model: Literal["lstm", "transformer"] = "transformer"  # lstm: an autoencoder; transformer: foretells the next row
    normalize: Literal["window", "train"] = "window"  # each window by itself, where levels wander; or by the clean rows
    context: int = 96  # rows that are read
    margin: float = 1.25  # a row is flagged at so many times the highest score of the clean rows
    memory: int = 1000  # rows over which the usual size of errors is forgotten, and on which the rolling z-score looks back
    patch: int = 8  # rows that are one token of the Transformer
    dim: int = 32  # its width
    heads: int = 4  # of its attention
    mlp_dim: int = 64  # inside its feed-forward
    layers: int = 2  # of it
    units: int = 24  # of the LSTMs: all of a window has to pass through so many numbers
    dropout: float = 0.1  # clean rows are few
    batch: int = 128  # windows a step
    windows: int = 12800  # that an epoch draws
    learning_rate: float = 2e-3  # at the end of the warm-up; it then falls along a cosine to nearly 0
    warmup: int = 50  # steps
    weight_decay: float = 0.01  # of AdamW
    clip: float = 1.0  # norm of the gradient, at most
    epochs: int = 4  # passes over so many windows; the schedule ends with the last
    patience: int = 0  # the schedule has its best at its end; the best epoch is kept
    mixed_precision: bool = False  # such models are small: bfloat16 gains nothing

    def __post_init__(self):
        above_zero(
            self, "clean", "context", "margin", "memory", "patch", "dim", "heads", "mlp_dim", "units", "layers",
            "batch", "windows", "learning_rate",
        )
        below_one(self, "dropout")
        if self.model == "transformer" and self.context % self.patch:
            raise ValueError(f"expected a --context that is a multiple of --patch, got {self.context} and {self.patch}")


@dataclasses.dataclass(frozen=True)
class Predict:
    pictures: str = "anomalies"  # folder for a picture of each series, and its scores as .csv; "" for none


@dataclasses.dataclass(frozen=True)
class Export(ExportOptions):
    series: str = ""  # that the exported file is calibrated on, of a model of many; default: the first
    rows: int = 64  # that the signature `predict` judges at once
    tolerance: float = 1.0  # percent of the rows that int8 may judge otherwise, on the whole series


# --- data -----------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Watched:
    """A series with what is known of it."""

    name: str
    names: list  # of its variables
    values: object  # float64 (N, V), nothing missing
    time: object  # float64 (N,), or None
    windows: list  # (first, last) rows that are labelled unusual
    clean: int  # rows at the beginning

    @property
    def moments(self):
        from keras_seq.data import moments

        return moments(self.values[: self.clean])

    @property
    def scaled(self):
        mean, deviation = self.moments
        return (self.values - mean) / deviation


def data(config):
    """Windows of the clean rows, each series brought to mean 0 and deviation 1; the last fifth validates."""
    import numpy as np

    from keras_seq.data import SeriesWindows

    series = watched(config)
    offsets = np.cumsum([0, *(len(s.values) for s in series)])
    train, valid = [], []
    for one, offset in zip(series, offsets):
        edge = max(config.context + 1, int(0.8 * one.clean))
        train += range(offset + config.context, offset + edge)
        valid += range(offset + edge, offset + one.clean)
    form = {"context": config.context, "horizon": 1, "batch": config.batch, "rebuild": config.model == "lstm"}
    values = np.clip(np.concatenate([s.scaled for s in series]), -LARGEST, LARGEST)
    batches = SeriesWindows(values, train, **form, per_epoch=config.windows)
    test = [{"series": s.name, "windows": s.windows} for s in sorted(series, key=lambda s: not s.windows)]
    facts = [
        f"{config.data or 'arterial pressure'}: {len(series)} series of {len(series[0].names)} variables, "
        f"{offsets[-1]:,} rows, {len(train):,} clean windows to train, {len(valid):,} to validate",
        f"{sum(len(s.windows) for s in series)} labelled windows, to measure by alone",
    ]
    return Data(
        batches, SeriesWindows(values, valid, **form, shuffle=False), test,
        assets={"series": {"names": series[0].names, "many": len(series) > 1}, "epoch": {"steps": batches.steps}},
        facts=facts, samples=test[:1],
    )  # fmt: skip


LARGEST = 50.0  # deviations: what is farther out would teach nothing but its size


@functools.lru_cache(maxsize=2)
def watched(config):
    """The series of the pack, of a table or of a folder."""
    from pathlib import Path

    if not config.data:
        series = pack()
    elif Path(config.data).is_dir():
        series = of_nab(config)
    else:
        series = [of_table(config, config.data)]
    for one in series:
        if one.clean < config.context + 10:
            raise ValueError(f"{one.name}: expected at least {config.context + 10} clean rows at the beginning, got "
                             f"{one.clean}: give a smaller --context or a larger --clean")
    return series


def pack():
    from apps.data import load_pressure
    from keras_seq.training.detection import spans

    values, labels, clean = load_pressure()
    return [Watched("pressure", ["pressure"], values[:, None], None, spans(labels), clean)]


def of_nab(config):
    """The series of a benchmark's folder; clean is what NAB does not judge."""
    from keras_seq.data import filled, read_nab
    from keras_seq.training.detection import probation

    return [Watched(name, series.names, filled(series.values), series.time, windows, probation(len(series.values)))
            for name, series, windows in read_nab(config.data)]


def of_table(config, path, targets=()):
    """The series of a table, its targets as given or as --target names them, with the windows of its label."""
    from pathlib import Path

    from keras_seq.data import filled, read_columns, read_series
    from keras_seq.training.detection import spans

    columns = read_columns(path)
    label = config.label or ("is_anomaly" if "is_anomaly" in columns else "")
    targets = list(targets) or [name.strip() for name in config.target.split(",") if name.strip()]
    targets = targets or [name for name in read_series(path, (), config.time).names if name != label]
    series = read_series(path, [*targets, *([label] if label in columns or config.label else [])], config.time)
    values, count = filled(series.values), len(targets)
    clean = int(config.clean if config.clean > 1 else config.clean * len(values))
    windows = spans(values[:, count] > 0) if values.shape[1] > count else []
    return Watched(Path(path).stem, targets, values[:, :count], series.time, windows, min(clean, len(values)))


# --- model ----------------------------------------------------------------------------------------------------------


def model(config, assets):
    """The compiled model."""
    from keras_seq import models, training

    count, window = len(assets["series"]["names"]), config.normalize == "window"
    if config.model == "lstm":
        network, loss = models.Autoencoder(config.context, count, config.units, window, config.dropout), "mean_absolute_error"
    else:
        network = models.TransformerForecaster(
            1, config.context, [0.0] * count, [1.0] * count, calendar=False, window=window, dropout=config.dropout,
            patch=config.patch, dim=config.dim, num_heads=config.heads, num_layers=config.layers, mlp_dim=config.mlp_dim,
        )  # fmt: skip
        loss = training.Pinball(network.quantiles)
    net = models.Detector(network, config.context, count, config.memory)
    schedule = training.WarmupCosine(config.learning_rate, config.warmup, config.epochs * assets["epoch"]["steps"])
    net.compile(training.AdamW(schedule, weight_decay=config.weight_decay, global_clipnorm=config.clip), loss)
    return net


# --- answers --------------------------------------------------------------------------------------------------------


def calibrated(config, model, series):
    """The model, told what is usual in a series by its clean rows."""
    model.calibrate(series.values[: series.clean], *series.moments, config.margin)
    return model


ROWS = 512  # judged at once


def judge(config, model):
    """A function of values (N, V), and where to begin, that scores every row after; what comes before has 0."""
    import numpy as np

    from keras_seq import compilation

    step = compilation.compile(lambda rows, state: model.step(rows, state)[::2], model.variables)

    def scores(values, begin):
        begin, found = max(begin, config.context), np.zeros(len(values), "float32")
        state = model.start(np.asarray(values[None, begin - config.context : begin], "float32"))
        for first in range(begin, len(values), ROWS):
            rows = np.asarray(values[first : first + ROWS], "float32")
            full = np.concatenate([rows, np.repeat(rows[-1:], ROWS - len(rows), axis=0)])  # one shape: compiled once
            answer, state = step(full[None], state)
            found[first : first + len(rows)] = np.asarray(answer)[0, : len(rows)]
        return found

    return scores


def predict(config, model, assets, texts, pictures="anomalies"):
    """For each file its runs of flagged rows as lines of CSV: the first, the last, the highest score."""
    import sys
    from pathlib import Path

    from keras_seq import plots
    from keras_seq.app import Block

    results, scores = [], judge(config, model)
    for path, to in zip(texts, result_paths(pictures, texts, "_anomalies.png")):
        one = pack()[0] if path == "pressure" and not config.data else of_table(config, path, assets["series"]["names"])
        if assets["series"]["many"]:
            calibrated(config, model, one)
        if len(one.values) <= config.context:
            raise ValueError(f"{path}: expected more than {config.context} rows, got {len(one.values)}")
        found = scores(one.values, one.clean if assets["series"]["many"] else config.context)
        results.append(Block(as_csv(one, found)))
        if pictures:
            plots.save(plots.detection(one.values, found, one.names, one.windows, one.time, Path(path).name), to)
            to.with_suffix(".csv").write_text(every_row(one, found), encoding="utf-8")
            print(f"{path}: {to} and {to.with_suffix('.csv').name}", file=sys.stderr)
    return results


def when(series, row):
    """The time of a row, or its number from 0."""
    from keras_seq.data import stamp

    return str(row) if series.time is None else stamp(series.time[row])


def as_csv(series, scores):
    """Runs of flagged rows, a line each."""
    from keras_seq.training.detection import spans

    lines = [f"{when(series, first)},{when(series, last)},{scores[first : last + 1].max():.4g}"
             for first, last in spans(scores > 1)]  # fmt: skip
    return "\n".join(["first,last,score", *lines])


def every_row(series, scores):
    """The score of each row, a line each."""
    head = f"{'row' if series.time is None else 'time'},score,flag"
    lines = [f"{when(series, row)},{score:.4g},{int(score > 1)}" for row, score in enumerate(scores)]
    return "\n".join([head, *lines]) + "\n"


def evaluate(config, model, assets, examples):
    """What was found by window, NAB's score, and both of a rolling z-score with its threshold set in the same way."""
    from keras_seq.training import detection

    wanted = {row["series"]: [tuple(window) for window in row["windows"]] for row in examples}
    series = [one for one in watched(config) if one.name in wanted]
    windows, skips = [wanted[one.name] for one in series], [one.clean for one in series]
    scores = judge(config, model)
    found = []
    for one in series:
        calibrated(config, model, one)
        found.append(scores(one.values, one.clean))
    z = [detection.rolling_z(one.scaled, config.memory, model.floor, config.context) for one in series]
    limits = [config.margin * max(part[: one.clean].max(), 1e-6) for part, one in zip(z, series)]
    judged = [part / limit for part, limit in zip(z, limits)]
    best = {"this model": detection.best_nab_score(found, windows),
            "rolling z-score": max(detection.best_nab_score(x, windows) for x in (z, judged))}  # fmt: skip
    return {
        "series": len(series), "rows": sum(len(one.values) - one.clean for one in series),
        **summary(found, windows, skips), "rolling z-score": summary(judged, windows, skips),
        "NAB score at the best threshold for it": best,
    }  # fmt: skip


def summary(scores, windows, skips):
    """Counts by window and NAB's score of scores above 1."""
    from keras_seq.training import detection

    flags = [part > 1 for part in scores]
    return {**detection.window_scores(flags, windows, skips), "NAB score": detection.nab_score(flags, windows)}


def preview(config, model, assets, examples):
    """How one series looks; the calibration on it is kept with the weights."""
    from keras_seq import plots

    one = next(s for s in watched(config) if s.name == examples[0]["series"])
    found = judge(config, calibrated(config, model, one))(one.values, one.clean)
    return Preview({}, [], {"scores": plots.detection(one.values, found, one.names, one.windows, one.time, one.name)})


# --- export ---------------------------------------------------------------------------------------------------------


def export(config, model, assets, folder, examples, options):
    """SavedModel and .tflite of the model as it is calibrated on a series, each compared with it on all of its rows."""
    import numpy as np

    from keras_seq import deploy

    one = chosen(config, options.series or examples[0]["series"])
    calibrated(config, model, one)
    context, rows, count = config.context, options.rows, len(one.names)

    def whole(rows):
        scores, flags, _ = model.step(rows[:, context:], model.start(rows[:, :context]))
        return {"score": scores, "flag": flags}

    def step(row, **state):
        scores, flags, state = model.step(row[:, None], state)
        return {"score": scores[:, 0], "flag": flags[:, 0], **state}

    state = {"past": ((context, count), "float32"), "mean": ((count,), "float32"), "variance": ((count,), "float32")}
    given = {
        "predict": deploy.Signature(whole, {"rows": ((context + rows, count), "float32")}),
        "step": deploy.Signature(step, {"row": ((count,), "float32"), **state}),
    }
    starts = range(0, len(one.values) - context - rows + 1, rows)
    items = [{"rows": one.values[i : i + context + rows].astype("float32")} for i in starts]
    truth = np.stack([np.asarray(whole(item["rows"][None])["flag"])[0] for item in items])
    report = deploy.export_predictor(
        model, given, folder, items,
        metric=lambda outputs: 100 * float(np.mean(truth == np.stack([row["flag"] for row in outputs]))),
        metric_name="rows judged as by the model, %", **options.settings(),
        card={"app": "anomaly", "config": dataclasses.asdict(config), **facts(model, one), **CARD},
    )  # fmt: skip
    return deploy.outcome(report)


def demo(config, model, assets, examples):
    """Of the page: a stretch of the series that the file is calibrated on, with what is labelled unusual in it."""
    import numpy as np

    from keras_seq.demo import rounded

    one = next(one for one in watched(config) if np.allclose(one.moments[0], model.mean, rtol=1e-4))
    middle = one.windows[0][0] if one.windows else one.clean
    first = max(0, min(middle - STRETCH // 2, len(one.values) - STRETCH - config.context))
    rows = one.values[first : first + STRETCH + config.context]
    windows = [[a - first, b - first] for a, b in one.windows if first <= a and b < first + len(rows)]
    minutes = {} if one.time is None else {"time": [int(t // 60) for t in one.time[first : first + len(rows)]]}
    return {"samples": [{"text": one.name, "rows": rounded(rows), "windows": windows, **minutes}]}


STRETCH = 480  # rows that a page judges


def chosen(config, name):
    """The series of a name."""
    series = {one.name: one for one in watched(config)}
    if name not in series:
        raise ValueError(f"expected --series of {', '.join(list(series)[:3])}, ..., got {name!r}")
    return series[name]


def facts(model, series):
    """What a file says of its calibration; `step` begins with the last two of them."""
    import numpy as np

    numbers = {name: np.asarray(getattr(model, name)) for name in ("mean", "deviation", "error_mean", "error_variance")}
    return {"series": series.name, "variables": series.names, **{k: v.tolist() for k, v in numbers.items()}}


CARD = {  # what the file says of its inputs
    "rows": "as they are in the table, oldest first: those to read, then those to judge",
    "past": "for `step`: the last rows before this one",
    "begin": "`step` begins with `mean` = error_mean and `variance` = error_variance, and gives back what it needs next",
    "score": "above 1 is flagged",
}


APP = App(
    "anomaly", Config, data, model, predict, evaluate, preview, export,
    predict_options=Predict, export_options=Export, demo=demo, example="FILE", batch=1, shown=1,
    about="The pack has one anomaly in one series: it shows that the parts work, not how good they are. NAB tells more.",
)  # fmt: skip

if __name__ == "__main__":
    APP.main()
