"""Tell what comes next in a series of numbers: an LSTM, an encoder-decoder or a Transformer, with how sure it is.

Many to many: the last days in, the next hours out, each as quantiles: half of what comes lies above the middle one, a
tenth above the upper. The calendar (hour, weekday, holidays) and columns that are known in advance are read for the
hours ahead too. Trains on the traffic that comes with the app or on a table of yours with any number of variables, and
exports files that run without Python: numbers go in and come out as they are in the table.

    python -m apps.forecasting train                                       # the traffic of a motorway, the next 24 hours
    python -m apps.forecasting train --data load.csv --time date --target load --horizon 48 --context 336
    python -m apps.forecasting predict load.csv                            # what comes after the end of the file
    python -m apps.forecasting predict traffic:2018-07-04                  # a day of the pack, beside what came
    python -m apps.forecasting evaluate
    python -m apps.forecasting export

The first command takes a minute or two on a CPU core and errs by 230 cars an hour in the mean over the next 24 hours of
2018 (repeat last week: 338); `--model seq2seq --layers 1 --context 168 --epochs 4` by 221. docs/series.md has more.
"""

import dataclasses
import functools
from typing import Literal

from keras_seq.app import App, Data, ExportOptions, Preview, above_zero, below_one, result_paths


@dataclasses.dataclass(frozen=True)
class Config:
    data: str = ""  # a .csv, .tsv or .jsonl with a row a step; default: the traffic that comes with the app
    time: str = ""  # its column of times; default: the first column if it holds no numbers
    target: str = ""  # columns to forecast, with commas between; default: all columns of numbers
    known: str = ""  # columns whose numbers are known in advance, such as prices: rows after the last target may hold them
    holidays: str = ""  # country whose holidays count, such as DE or US-MN; none: no holidays; default: US-MN for the traffic
    horizon: int = 24  # rows to forecast
    context: int = 336  # rows to read before them: two weeks of hours
    split: str = "0.7,0.1,0.2"  # of your data in time, to train, validate and test: shares, or numbers of rows
    quantiles: str = "0.1,0.5,0.9"  # that are forecast, 0.5 among them
    model: Literal["lstm", "transformer", "seq2seq"] = "transformer"  # the family
    normalize: Literal["train", "window"] = "train"  # by the training rows; or each window by itself, where levels wander
    apart: bool = False  # each variable by itself, all by the same weights: better for many that have little to do with one another
    patch: int = 24  # rows that are one token of the Transformer
    dim: int = 64  # width of the Transformer
    heads: int = 4  # of its attention
    mlp_dim: int = 128  # inside its feed-forward
    units: int = 64  # of the LSTMs
    layers: int = 2  # of each stack
    dropout: float = 0.2  # years of hours are few
    batch: int = 64  # windows a step
    windows: int = 0  # that an epoch draws; 0: one for each row
    learning_rate: float = 2e-3  # at the end of the warm-up; it then falls along a cosine to nearly 0
    warmup: int = 100  # steps
    weight_decay: float = 0.01  # of AdamW
    clip: float = 1.0  # norm of the gradient, at most
    epochs: int = 10  # passes over the training windows; the schedule ends with the last
    patience: int = 0  # the schedule has its best at its end; the best epoch is kept
    mixed_precision: bool = False  # such models are small: bfloat16 gains nothing

    def __post_init__(self):
        above_zero(
            self, "horizon", "context", "patch", "dim", "heads", "mlp_dim", "units", "layers", "batch", "learning_rate",
        )
        below_one(self, "dropout")
        if self.model == "transformer" and self.context % self.patch:
            raise ValueError(f"expected a --context that is a multiple of --patch, got {self.context} and {self.patch}")
        shares = quantiles_of(self)
        if shares != sorted(set(shares)) or 0.5 not in shares or not 0 < shares[0] <= shares[-1] < 1:
            raise ValueError(f"expected --quantiles that rise from above 0 to below 1, 0.5 among them, got {self.quantiles}")
        if len(parts := numbers(self.split, "--split 0.7,0.1,0.2")) != 3 or min(parts) <= 0:
            raise ValueError(f"expected --split with three numbers above 0, such as 0.7,0.1,0.2, got {self.split!r}")


@dataclasses.dataclass(frozen=True)
class Predict:
    forecasts: str = "forecasts"  # folder for a picture and a .csv of each forecast; "" for none


@dataclasses.dataclass(frozen=True)
class Export(ExportOptions):
    tolerance: float = 1.0  # hundredths of a deviation that the mean error of int8 may grow by, on the whole test split


# --- data -----------------------------------------------------------------------------------------------------------

TRAFFIC = "traffic:"  # what a forecast of the pack is asked for by


def numbers(text, example):
    """Numbers with commas between."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise ValueError(f"expected numbers with commas between, as in {example}, got {text!r}") from error


def quantiles_of(config):
    return numbers(config.quantiles, "--quantiles 0.1,0.5,0.9")


def names_of(text):
    """Names with commas between."""
    return [name.strip() for name in text.split(",") if name.strip()]


def data(config):
    """Windows of the training rows, and what is fitted on them: mean and deviation of each variable."""
    from keras_seq.data import SeriesWindows, moments

    table = rows_of(config, config.data)
    bounds = borders(config, table)
    mean, deviation = moments(table.values[: bounds[0]])
    assets = {"series": {
        "targets": table.names, "mean": mean, "deviation": deviation, "step": table.step, "known": columns_known(config),
    }}  # fmt: skip
    starts = [range(max(first, config.context), last - config.horizon + 1)
              for first, last in zip([0, *bounds], bounds)]  # fmt: skip
    form = {"context": config.context, "horizon": config.horizon, "batch": config.batch, **table.inputs()}
    batches = SeriesWindows(table.values, starts[0], **form, per_epoch=config.windows or None)
    valid = SeriesWindows(table.values, starts[1], **form, shuffle=False)
    SeriesWindows(table.values, starts[2], **form)  # says so where no window fits
    assets["epoch"] = {"steps": batches.steps}
    missing = 100 * (1 - table.seen.mean())
    facts = [
        f"{config.data or 'traffic'}: {len(table.names)} variables, {bounds[0]:,} rows to train, "
        f"{bounds[1] - bounds[0]:,} to validate, {bounds[2] - bounds[1]:,} to test; {missing:.1f} % were missing",
        f"{config.context} rows are read, {config.horizon} forecast: {len(starts[0]):,} windows to train, "
        f"{len(starts[1]):,} to validate, {len(starts[2]):,} to test",
    ]
    some = [starts[1][i * (len(starts[1]) - 1) // 19] for i in range(20)]
    return Data(batches, valid, [{"row": row} for row in starts[2]], assets, facts, [{"row": row} for row in some])


def columns_known(config):
    """The names of what is known in advance beside the calendar."""
    return names_of(config.known) + (["holiday"] if country(config) else [])


def country(config):
    """The country whose holidays count; "" for none."""
    return "" if config.holidays == "none" else config.holidays or ("" if config.data else "US-MN")


@dataclasses.dataclass
class Table:
    """Rows without gaps: targets, where they were measured, times, and what is known in advance."""

    names: list
    values: object  # float64 (N, V), gaps filled in
    seen: object  # bool (N, V)
    time: object  # float64 (N,) seconds, or None
    known: object  # float64 (N, K), or None
    step: float | None
    parts: list  # rows to train, validate and test, where the data says so

    def inputs(self):
        """What windows are made of beside the values."""
        import numpy as np

        minutes = None if self.time is None else np.floor(self.time / 60)
        return {"seen": self.seen, "time": minutes, "known": self.known}


@functools.lru_cache(maxsize=8)
def rows_of(config, path, step=None, targets=()):
    """The rows of a file, or of the pack for ""; NaN in a target is filled in by what came before it."""
    import numpy as np

    from keras_seq.data import filled, holiday_flags, regular, seasons

    series, parts = read(config, path, targets) if path else pack()
    if step and series.time is None:
        raise ValueError(f"{path}: expected a column of times as in training, got none; make it the first")
    if step and series.step and abs(series.step - step) > 0.01 * step:
        raise ValueError(f"{path}: expected a row every {step:g} seconds as in training, got one every {series.step:g}")
    series = regular(series)
    count = len(series.names) - len(names_of(config.known))
    season = max(seasons(series.step).values())
    values, seen = filled(series.values[:, :count], season), ~np.isnan(series.values[:, :count])
    known = [filled(series.values[:, count:])] if names_of(config.known) else []
    if country(config):
        if series.time is None:
            raise ValueError(f"{path}: expected a column of times for --holidays, got none; name it with --time")
        known.append(holiday_flags(series.time, country(config))[:, None])
    known = np.concatenate(known, axis=1) if known else None
    return Table(series.names[:count], values, seen, series.time, known, series.step, parts)


def read(config, path, targets=()):
    """The series of a file: its targets, as given or as --target names them, then what is known in advance."""
    from keras_seq.data import read_series

    known, targets = names_of(config.known), targets or names_of(config.target)
    if known and not targets:
        found = read_series(path, (), config.time).names
        targets = [name for name in found if name not in known]
    return read_series(path, [*targets, *known], config.time), []


def pack():
    """The series of the traffic that comes with the app, and how many rows of it are for what."""
    import datetime

    import numpy as np

    from apps.data import load_traffic
    from keras_seq.data import Series
    from keras_seq.data.series import seconds

    parts = load_traffic()
    times = [time for part in parts.values() for time in part.times]
    time = np.array([seconds(datetime.datetime.fromisoformat(t)) for t in times])
    values = np.concatenate([part.volumes for part in parts.values()])[:, None]
    first = [seconds(datetime.datetime.fromisoformat(parts[name].times[0])) for name in ("valid", "test")]
    rows = [round((t - time[0]) / 3600) for t in (*first, time[-1] + 3600)]
    return Series(["traffic_volume"], values, time, [0] * len(time), "traffic"), rows


def borders(config, table):
    """The rows at which training, validation and test end."""
    if table.parts:
        return table.parts
    parts = numbers(config.split, "--split")
    rows = [int(part) for part in parts] if max(parts) > 1 else [int(part * len(table.values)) for part in parts]
    if sum(rows) > len(table.values):
        raise ValueError(f"expected --split of at most the {len(table.values):,} rows of {config.data}, got {sum(rows):,}")
    return [rows[0], rows[0] + rows[1], sum(rows)]


# --- model ----------------------------------------------------------------------------------------------------------


def model(config, assets):
    """The compiled model."""
    from keras_seq import models, training

    facts, quantiles = assets["series"], quantiles_of(config)
    common = {
        "horizon": config.horizon, "context": config.context, "mean": facts["mean"], "deviation": facts["deviation"],
        "quantiles": quantiles, "calendar": facts["step"] is not None, "known": len(facts["known"]),
        "window": config.normalize == "window", "apart": config.apart, "dropout": config.dropout,
        "num_layers": config.layers,
    }  # fmt: skip
    if config.model == "transformer":
        net = models.TransformerForecaster(
            **common, patch=config.patch, dim=config.dim, num_heads=config.heads, mlp_dim=config.mlp_dim
        )
    else:
        family = {"lstm": models.RecurrentForecaster, "seq2seq": models.Seq2SeqForecaster}[config.model]
        net = family(**common, units=config.units)
    schedule = training.WarmupCosine(config.learning_rate, config.warmup, config.epochs * assets["epoch"]["steps"])
    optimizer = training.AdamW(schedule, weight_decay=config.weight_decay, global_clipnorm=config.clip)
    net.compile(optimizer, training.Pinball(quantiles, facts["deviation"]))
    return net


# --- answers --------------------------------------------------------------------------------------------------------


def windows(config, table, starts):
    """`SeriesWindows` of a table at some rows."""
    from keras_seq.data import SeriesWindows

    return SeriesWindows(table.values, starts, config.context, config.horizon, batch=256, shuffle=False, **table.inputs())


def answers(config, model, table, starts):
    """Forecasts that begin at some rows: (W, T, V, Q)."""
    import numpy as np

    batches = windows(config, table, starts).epoch()
    return np.concatenate([model.predict_on_batch(inputs) for inputs, *_ in batches])


def predict(config, model, assets, texts, forecasts="forecasts"):
    """For each file what comes after its end, as lines of CSV; a picture and a file of each."""
    import sys
    from pathlib import Path

    from keras_seq import plots
    from keras_seq.app import Block

    results = []
    for path, to in zip(texts, result_paths(forecasts, texts, "_forecast.png")):
        table, start = at_the_end(config, assets, path)
        found = answers(config, model, table, [start])[0]
        results.append(Block(as_csv(config, table, start, found)))
        if forecasts:
            plots.save(picture(config, table, start, found, Path(path).name), to)
            to.with_suffix(".csv").write_text(results[-1] + "\n", encoding="utf-8")
            print(f"{path}: {to} and {to.with_suffix('.csv').name}", file=sys.stderr)
    return results


def at_the_end(config, assets, path):
    """The rows of a file with room for those that come after its last target, and the first of these."""
    import numpy as np

    if path.startswith(TRAFFIC):
        return of_the_pack(config, path)
    facts = assets["series"]
    table = rows_of(config, path, facts["step"], tuple(facts["targets"]))
    start = int(np.flatnonzero(table.seen.any(axis=1))[-1]) + 1
    if start < config.context:
        raise ValueError(f"{path}: expected at least {config.context} rows up to the last one with a number, got {start}")
    return longer(config, table, start + config.horizon, path), start


def of_the_pack(config, path):
    """The rows of the pack, and that of a time in it."""
    import datetime

    from keras_seq.data.series import seconds, stamp

    table = rows_of(dataclasses.replace(config, data=""), "")
    first, last = (stamp(table.time[i]) for i in (config.context, -config.horizon))
    try:
        start = round((seconds(datetime.datetime.fromisoformat(path[len(TRAFFIC) :])) - table.time[0]) / table.step)
    except ValueError:
        start = -1
    if config.data or not config.context <= start <= len(table.values) - config.horizon:
        raise ValueError(f"expected a FILE, or for a model of the pack a time from {TRAFFIC}{first} to {TRAFFIC}{last}, got "
                         f"{path!r}")
    return table, start


def longer(config, table, count, path):
    """A table with at least so many rows: times go on, holidays follow, what else is known has to be there."""
    import numpy as np

    from keras_seq.data import holiday_flags

    more = count - len(table.values)
    if more <= 0:
        return table
    if names_of(config.known):
        raise ValueError(f"{path}: expected {config.horizon} rows after the last target with {config.known}, got "
                         f"{config.horizon - more}; add them, and leave their targets empty")
    time = table.time if table.time is None else np.append(table.time, table.time[-1] + table.step * np.arange(1, more + 1))
    known = table.known if table.known is None else holiday_flags(time, country(config))[:, None]
    values = np.concatenate([table.values, np.repeat(table.values[-1:], more, axis=0)])
    seen = np.concatenate([table.seen, np.zeros((more, table.seen.shape[1]), bool)])
    return dataclasses.replace(table, values=values, seen=seen, time=time, known=known)


def as_csv(config, table, start, found):
    """A line a row: the time, and each target with its quantiles."""
    import csv
    import io

    from keras_seq.data import stamp

    quantiles, text = quantiles_of(config), io.StringIO()
    heads = [name if q == 0.5 else f"{name}_{q:g}" for name in table.names for q in quantiles]
    lines = csv.writer(text, lineterminator="\n")  # puts a name with a comma in quotes
    lines.writerow(["time" if table.time is not None else "row", *heads])
    for i, row in enumerate(found.reshape(len(found), -1)):
        when = start + i + 1 if table.time is None else stamp(table.time[start + i])
        lines.writerow([when, *(f"{value:.6g}" for value in row)])
    return text.getvalue().rstrip("\n")


def picture(config, table, start, found, title):
    """A forecast after what came before it, and with what came where that is known."""
    import numpy as np

    from keras_seq import plots

    before, after = slice(start - config.context, start), slice(start, start + config.horizon)
    truth = np.where(table.seen[after], table.values[after], np.nan)
    time = None if table.time is None else table.time[before.start : after.stop]
    return plots.forecast(table.values[before], found, quantiles_of(config), table.names,
                          truth if table.seen[after].any() else None, time, title)  # fmt: skip


def evaluate(config, model, assets, examples):
    """Errors of the middle forecast, how often the truth lies between the outer ones, and what repeating would err."""
    table, starts = rows_of(config, config.data), [row["row"] for row in examples]
    return {"windows": len(starts), **scores(config, assets, table, starts, answers(config, model, table, starts))}


def scores(config, assets, table, starts, found):
    """Errors in units of the table, of the deviation, and of the baselines, over all that was measured."""
    from keras_seq.data import repeated, seasons
    from keras_seq.training import scoring

    quantiles, deviation = quantiles_of(config), assets["series"]["deviation"]
    truth, seen = over(table.values, starts, config.horizon), over(table.seen, starts, config.horizon)
    middle = found[..., quantiles.index(0.5)]
    inside = (truth >= found[..., 0]) & (truth <= found[..., -1])
    result = scoring.series_scores(middle, truth, seen, deviation)
    result[f"inside {quantiles[0]:g} to {quantiles[-1]:g}, %"] = 100 * float(inside[seen].mean())
    for name, season in seasons(table.step).items():
        again = scoring.series_scores(repeated(table.values, starts, config.horizon, season), truth, seen, deviation)
        result[f"repeat {name}"] = again
    return result


def over(values, starts, horizon):
    """What follows some rows, (W, T, V)."""
    import numpy as np

    return values[np.asarray(starts)[:, None] + np.arange(horizon)]


def preview(config, model, assets, examples):
    """What an epoch has brought on some validation windows, and how two of them look."""
    table, starts = rows_of(config, config.data), [row["row"] for row in examples]
    found = answers(config, model, table, starts)
    shown = scores(config, assets, table, starts, found)
    chosen = sorted({len(starts) // 3, 2 * len(starts) // 3})
    figures = {f"forecast {n}": picture(config, table, starts[i], found[i], "") for n, i in enumerate(chosen, 1)}
    return Preview({"val_mae": shown["MAE"]}, [], figures)


# --- export ---------------------------------------------------------------------------------------------------------


def export(config, model, assets, folder, examples, options):
    """SavedModel and .tflite, each compared with the model on every test window."""
    import numpy as np

    from keras_seq import deploy

    table, starts = rows_of(config, config.data), [row["row"] for row in examples]
    inputs, _, _ = windows(config, table, starts).window(starts)
    items = [{name: x[i] for name, x in inputs.items()} for i in range(len(starts))]
    truth, seen = over(table.values, starts, config.horizon), over(table.seen, starts, config.horizon)
    quantiles, facts = quantiles_of(config), assets["series"]
    middle = quantiles.index(0.5)

    def metric(outputs):
        wrong = np.abs(np.stack([row["forecast"][..., middle] for row in outputs]) - truth) / facts["deviation"]
        return -100 * float(wrong[seen].mean())

    given = {name: (x.shape, str(x.dtype)) for name, x in items[0].items()}
    report = deploy.export_predictor(
        model, {"predict": deploy.Signature(lambda **inputs: {"forecast": model(inputs)}, given)}, folder, items,
        metric=metric, metric_name="minus mean error in % of the deviation", **options.settings(),
        card={"app": "forecasting", "config": dataclasses.asdict(config), **facts, "quantiles": quantiles, **CARD},
    )  # fmt: skip
    return deploy.outcome(report)


def demo(config, model, assets, examples):
    """Of the page: some windows of the test rows, and what came after them."""
    import numpy as np

    from keras_seq.demo import few, rounded

    starts = [row["row"] for row in few(examples)]
    table = rows_of(config, config.data)
    inputs, _, _ = windows(config, table, starts).window(starts)
    plain = {name: x.tolist() if x.dtype.kind == "i" else rounded(x) for name, x in inputs.items()}
    names = [str(np.datetime64(int(table.time[i]), "s"))[:16].replace("T", " ") if table.time is not None else
             f"row {i}" for i in starts]  # fmt: skip
    came = rounded(over(table.values, starts, config.horizon))
    rows = [dict(zip(plain, each)) for each in zip(*plain.values())]
    return {"samples": [{"text": name, **row, "came": after} for name, row, after in zip(names, rows, came)]}


CARD = {  # what the file says of its inputs
    "past": "the last rows of the targets, as they are in the table, nothing missing",
    "time": "of these rows and of those to come: minutes since 1970-01-01 00:00 by the clock on the wall",
    "forecast": "rows to come, targets, quantiles",
}


APP = App(
    "forecasting", Config, data, model, predict, evaluate, preview, export,
    predict_options=Predict, export_options=Export, demo=demo, example="FILE", batch=1, shown=1000,
    about="The pack's traffic is that of one motorway, 2016 to 2018; the test is 2018.",
)  # fmt: skip

if __name__ == "__main__":
    APP.main()
