"""Series from tables, their windows, the calendar's holidays; and the forecasting app, which learns a toy series."""

import csv
import datetime
import json
import math
import types

import keras
import numpy as np
import pytest

from apps import forecasting
from apps.data import FOLDER, load_traffic, traffic_pack
from keras_seq import plots
from keras_seq.data import SeriesWindows, filled, holiday_flags, read_columns, read_series, regular, repeated, seasons
from keras_seq.data.series import seconds, stamp
from keras_seq.deploy import LiteRTPredictor
from keras_seq.training import scoring, store

APP = forecasting.APP


def table(path, rows, head="time,load,price"):
    path.write_text("\n".join([head, *(",".join(map(str, row)) for row in rows)]) + "\n", encoding="utf-8")
    return path


def hour(i):
    return (datetime.datetime(2024, 1, 1) + datetime.timedelta(hours=i)).isoformat(" ", "minutes")


# ---------- reading ----------


def test_a_table_is_read_with_what_is_missing(tmp_path):
    path = table(tmp_path / "a.csv", [(hour(0), 1, 5), (hour(1), "", "nan"), (hour(3), "2.5", 7)])
    series = read_series(path)
    assert (series.names, series.step) == (["load", "price"], 3600.0)
    assert np.isnan(series.values).tolist() == [[False, False], [True, True], [False, False]]
    assert stamp(series.time[2]) == "2024-01-01 03:00"
    assert read_series(path, ["price"]).values[0] == 5
    for name, text in (("b.jsonl", '{"x": 1, "t": "a"}\n{"x": 2, "t": "b"}\n'), ("b.tsv", "x\tt\n1\ta\n2\tb\n")):
        (tmp_path / name).write_text(text)
        assert read_columns(tmp_path / name) == ["x", "t"]
        assert read_series(tmp_path / name).values.tolist() == [[1.0], [2.0]]
        assert read_series(tmp_path / name).time is None


@pytest.mark.parametrize(("rows", "options", "message"), [
    ([(hour(0), "many", 1)], {"columns": ["load"]}, "line 2: expected a number, got 'many'"),
    ([(hour(0), 1, 1), ("soon", 1, 1)], {}, "line 3: expected a time such as 2024-05-31 18:00, got 'soon'"),
    ([(hour(2), 1, 1), (hour(1), 1, 1)], {}, "line 3: expected a time not before that of the row above"),
    ([("a", "b", "c")], {}, "line 2: expected a column of numbers, got none; the columns are time, load, price"),
    ([(hour(0), 1, 1)], {"columns": ["lod"]}, "expected the column 'lod', got no such column"),
])
def test_odd_tables_are_told_by_line(tmp_path, rows, options, message):
    with pytest.raises(ValueError, match=message):
        read_series(table(tmp_path / "a.csv", rows), **options)


def test_a_row_a_step(tmp_path):
    def of(hours):
        return read_series(table(tmp_path / "a.csv", [(hour(h), h, 0) for h in hours]))

    series = regular(of([0, 1, 2, 5, 6]))
    assert [None if math.isnan(v) else v for v in series.values[:, 0]] == [0, 1, 2, None, None, 5, 6]
    assert [series.lines[i] for i in (0, 5, 6)] == [2, 5, 6]
    for hours, message in [([0, 1, 1, 2], "line 4: expected a row every 1:00:00"), ([0, 1, 2.5, 3.5, 4.5], "line 4"),
                           ([0, 1, 2, 900], "got 4 rows for 901 steps")]:
        with pytest.raises(ValueError, match=message):
            regular(of(hours))


def test_what_is_missing_is_filled_by_the_past_alone():
    values = np.arange(20.0)[:, None] % 7
    gaps = values.copy()
    gaps[[0, 9, 10, 18]] = np.nan
    one = filled(gaps, season=7)
    np.testing.assert_array_equal(one[1:], values[1:])
    assert one[0] == one[1]
    later = gaps.copy()
    later[12:] += 5
    np.testing.assert_array_equal(filled(later, 7)[:12], one[:12])
    assert filled(np.full((3, 1), np.nan)).tolist() == [[0.0]] * 3


def test_repeating_a_season():
    values = np.arange(12.0)[:, None]
    assert repeated(values, [6, 8], 5, 3)[..., 0].tolist() == [[3, 4, 5, 3, 4], [5, 6, 7, 5, 6]]
    assert seasons(900.0) == {"last value": 1, "yesterday": 96, "last week": 672}
    assert seasons(86400.0) == {"last value": 1, "last week": 7}
    assert seasons(None) == {"last value": 1}


def test_holidays_of_a_country():
    times = [seconds(datetime.datetime(2024, 12, day, 23)) for day in (24, 25, 26)]
    assert holiday_flags(times, "US-MN").tolist() == [0.0, 1.0, 0.0]
    assert holiday_flags(times, "DE").tolist() == [0.0, 1.0, 1.0]
    with pytest.raises(ValueError, match="expected a country such as US, DE or US-MN, got 'XX'"):
        holiday_flags(times, "XX")


# ---------- windows ----------


def windows(**options):
    time, known = np.arange(40) * 60, np.arange(40.0)[:, None] * 2
    return SeriesWindows(np.arange(40.0)[:, None], range(5, 36), 5, 3, time=time, known=known, batch=4, **options)


def test_windows_are_what_was_and_what_came():
    for inputs, targets, weights in windows().epoch(2):
        np.testing.assert_array_equal(inputs["past"][:, -1] + 1, targets[:, 0])
        np.testing.assert_array_equal(inputs["time"][:, :5] / 60, inputs["past"][..., 0])
        np.testing.assert_array_equal(inputs["known"][:, 5:] / 2, targets)
        assert weights.min() == 1
    firsts = sorted(float(y[0, 0]) for _, targets, _ in windows().epoch(2) for y in targets)
    assert firsts == list(range(5, 36))


def test_an_epoch_follows_from_the_seed():
    one, again, other = (next(windows().epoch(e))[1] for e in (4, 4, 5))
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).max() > 0
    assert windows(per_epoch=9).steps == len(list(windows(per_epoch=9).epoch())) == 3
    with pytest.raises(ValueError, match="expected 5 rows to read and 3 to forecast in each part"):
        SeriesWindows(np.zeros((4, 1)), [], 5, 3)


@pytest.mark.tensorflow
@pytest.mark.parametrize("rebuild", [False, True])
def test_what_fit_is_given_is_the_epoch(rebuild):
    seen = np.arange(40)[:, None] % 7 > 0
    made = windows(seen=seen, rebuild=rebuild)
    for given, wanted in zip(made.dataset(4).take(made.steps), made.epoch(4), strict=True):
        given, wanted = keras.tree.flatten(given), keras.tree.flatten(wanted)
        assert [x.dtype.name for x in given] == [x.dtype.name for x in wanted]
        for one, other in zip(given, wanted, strict=True):
            np.testing.assert_array_equal(one, other)


def test_what_was_filled_in_counts_for_nothing():
    seen = np.ones((40, 2), bool)
    seen[9, 1] = seen[10:13, 0] = False
    form = {"seen": seen, "shuffle": False}
    *_, weights = next(SeriesWindows(np.zeros((40, 2)), [8], 5, 4, **form).epoch())
    assert weights.tolist() == [[[1, 1], [1, 0], [0, 1], [0, 1]]]
    *_, weights = next(SeriesWindows(np.zeros((40, 2)), [13], 5, 1, rebuild=True, **form).epoch())
    assert weights.tolist() == [[1, 0, 0, 0, 0]]


def test_scores_are_over_what_was_measured():
    found, truth = np.zeros((1, 2, 2)), np.array([[[1.0, 8.0], [3.0, 99.0]]])
    seen = np.array([[[True, True], [True, False]]])
    assert scoring.series_scores(found, truth, seen, [1.0, 4.0]) == {
        "MAE": pytest.approx(4), "scaled MSE": pytest.approx(14 / 3), "scaled MAE": pytest.approx(2)}


def test_scores_of_the_middle_the_outer_quantiles_and_what_repeating_errs():
    values = np.array([[1.0], [3.0], [5.0], [9.0], [0.0]])
    table = types.SimpleNamespace(values=values, seen=np.ones((5, 1), bool), step=None)
    config, assets = forecasting.Config(horizon=2, quantiles="0.1,0.5,0.8"), {"series": {"deviation": [2.0]}}
    found = np.array([[[[4.0, 6.0, 8.0]], [[6.0, 7.0, 8.0]]]])  # of 5 and 9
    assert forecasting.scores(config, assets, table, [2], found) == {
        "MAE": 1.5, "scaled MSE": (0.25 + 1) / 2, "scaled MAE": 0.75, "inside 0.1 to 0.8, %": 50.0,
        "repeat last value": {"MAE": 4.0, "scaled MSE": 5.0, "scaled MAE": 2.0},
    }  # fmt: skip


# ---------- the pack ----------


def test_the_pack_is_what_its_card_says(tmp_path):
    facts = json.loads((FOLDER / "traffic" / "traffic.json").read_text())
    parts = load_traffic()
    assert {name: len(part.times) for name, part in parts.items()} == facts["hours"]
    assert facts["sha256"] in (FOLDER / "traffic" / "README.md").read_text()
    times = [time for part in parts.values() for time in part.times]
    assert times == sorted(set(times))
    assert {name: part.times[0][:10] for name, part in parts.items()} == traffic_pack.STARTS
    assert min(part.volumes.min() for part in parts.values()) > 0
    with pytest.raises(ValueError, match="no such pack; .* apps.data.build traffic"):
        load_traffic(tmp_path)


def test_an_hour_with_two_kinds_of_weather_counts_once():
    text = "date_time,traffic_volume\n2016-01-01 01:00:00,7\n2016-01-01 00:00:00,5\n2016-01-01 01:00:00,7\n"
    rows = traffic_pack.hours(text + "2015-12-31 23:00:00,9\n2016-01-01 02:00:00,0\n")
    assert rows == [("2016-01-01 00:00:00", 5), ("2016-01-01 01:00:00", 7)]


# ---------- the picture ----------


@pytest.mark.parametrize("variables", [1, 9])
def test_a_forecast_is_a_picture(variables):
    found = np.sort(np.random.default_rng(0).normal(size=(5, variables, 3)))
    fig = plots.forecast(np.zeros((7, variables)), found, [0.1, 0.5, 0.9], ["a $"] * variables, found[..., 1],
                         np.arange(12) * 3600.0, "b $")  # fmt: skip
    assert plots.png(fig)[:4] == b"\x89PNG"
    assert len(fig.axes) == min(variables, 8)
    with pytest.raises(ValueError, match="expected a past"):
        plots.forecast(np.zeros((7, 2)), found, [0.5], ["a"])


# ---------- the app ----------

TINY = ["--holidays", "US", "--context", "48", "--horizon", "5", "--epochs", "3", "--batch", "16", "--learning-rate",
        "0.01", "--warmup", "5", "--dim", "8", "--heads", "2", "--mlp-dim", "11", "--units", "8", "--layers", "1",
        "--dropout", "0"]  # fmt: skip


def load(i):
    """A daily wave whose height is that of the price."""
    return 100 + (5 + i // 24 % 2) * math.sin(2 * math.pi * i / 24)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    rows = [(hour(i), f"{load(i):.4f}", 5 + i // 24 % 2) for i in range(600) if i % 50]
    return table(tmp_path_factory.mktemp("series") / "load.csv", rows)


@pytest.mark.parametrize("flags", [
    ["--model", "transformer"], ["--model", "seq2seq", "--known", "price", "--target", "load"],
    ["--model", "lstm", "--apart", "--normalize", "window"],
], ids=["transformer", "seq2seq", "lstm"])  # fmt: skip
def test_the_app_learns_and_answers(file, tmp_path, capsys, monkeypatch, flags):
    monkeypatch.chdir(tmp_path)
    assert APP.run(["train", "--data", str(file), *TINY, *flags]) == 0
    found = store.read_json(tmp_path / "saved_models/forecasting/metrics.json")["test"]
    assert found["windows"] == 115
    assert found["scaled MAE"] < 0.3 < found["repeat last value"]["scaled MAE"]
    capsys.readouterr()
    more = "".join(f"{hour(i)},,{5 + i // 24 % 2}\n" for i in range(600, 605))
    (tmp_path / "next.csv").write_text(file.read_text() + (more if "--known" in flags else ""))
    assert APP.run(["predict", "next.csv"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.startswith("time,load_0.1,load,load_0.9")
    assert [line.split(",")[0] for line in lines] == [hour(i) for i in range(600, 605)]
    assert all(abs(float(line.split(",")[2]) - load(600 + i)) < 4 for i, line in enumerate(lines))
    assert (tmp_path / "forecasts/next_forecast.csv").read_text().splitlines() == [head, *lines]
    assert (tmp_path / "forecasts/next_forecast.png").exists()
    if "--known" in flags:
        assert APP.run(["predict", str(file)]) == 2
        assert "expected 5 rows after the last target with price, got 0" in capsys.readouterr().err
    if "lstm" in flags:
        return
    assert APP.run(["export", "--tolerance", "20"]) == 0
    rows = {row["name"]: row for row in store.read_json(tmp_path / "saved_models/forecasting/report.json")["results"]}
    assert rows["f32"]["agreement"] == rows["saved_model"]["agreement"] == 1.0
    samples = store.read_json(tmp_path / "saved_models/forecasting/demo.json")["samples"]
    answer = LiteRTPredictor(tmp_path / "saved_models/forecasting/model_f32.tflite")
    for sample in samples:
        given = {name: np.float32(sample[name]) for name in answer.shapes["predict"]}
        [found] = answer([given | {"time": np.int32(sample["time"])}])
        assert np.abs(found["forecast"][:, 0, 1] - np.array(sample["came"])[:, 0]).max() < 4
    assert len({sample["text"] for sample in samples}) == 6


def test_a_column_may_have_a_comma_in_its_name(tmp_path):
    path = table(tmp_path / "a.csv", [(hour(i), i, 2) for i in range(40)], 'time,"load, in all",price')
    config = forecasting.Config(data=str(path), context=24, horizon=2)
    rows = forecasting.rows_of(config, str(path))
    assets = {"series": {"targets": rows.names, "step": rows.step}}
    found, start = forecasting.at_the_end(config, assets, str(path))
    assert (found.names, start) == (["load, in all", "price"], 40)
    head, *lines = forecasting.as_csv(config, found, start, np.ones((2, 2, 3))).splitlines()
    assert next(csv.reader([head]))[:3] == ["time", "load, in all_0.1", "load, in all"]
    assert lines == [f"{hour(i)},1,1,1,1,1,1" for i in (40, 41)]


@pytest.mark.parametrize(("flags", "message"), [
    (["--context", "50"], "expected a --context that is a multiple of --patch, got 50 and 24"),
    (["--quantiles", "0.9,0.1"], "expected --quantiles that rise"),
    (["--quantiles", "a"], "expected numbers with commas between, as in --quantiles 0.1,0.5,0.9, got 'a'"),
    (["--split", "0.5,0.5"], "expected --split with three numbers above 0"),
    (["--split", "500,50,500"], "expected --split of at most the 599 rows"),
    (["--target", "weight"], "expected the column 'weight', got no such column"),
    (["--holidays", "XX"], "expected a country"),
    (["--horizon", "0"], "expected --horizon above 0"),
    (["--horizon", "80"], "expected 336 rows to read and 80 to forecast in each part"),
])
def test_wrong_settings_are_told_in_a_line(file, tmp_path, capsys, flags, message):
    assert APP.run(["train", "--data", str(file), "--output", str(tmp_path), *flags]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert len(err.splitlines()) == 1


def test_a_day_of_the_pack_and_files_that_do_not_fit(file, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert APP.run(["train", *TINY, "--steps", "2", "--windows", "32", "--output", "m"]) == 0
    capsys.readouterr()
    assert APP.run(["predict", "traffic:2018-07-04", "--output", "m", "--forecasts", ""]) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("2018-07-04 00:00,")
    short = table(tmp_path / "short.csv", [(hour(i), i, 1) for i in range(30)], "time,traffic_volume,price")
    quarter = [(f"2024-01-0{1 + i // 96} {i // 4 % 24:02d}:{15 * (i % 4):02d}", i, 1) for i in range(300)]
    table(tmp_path / "quarter.csv", quarter, "time,traffic_volume,price")
    table(tmp_path / "timeless.csv", [(i, 1) for i in range(400)], "traffic_volume,price")
    for given, message in [
        ("timeless.csv", "timeless.csv: expected a column of times as in training, got none; make it the first"),
        ("traffic:2010-01-01", "a time from traffic:2016-01-03 00:00 to traffic:2018-09-30 19:00"),
        ("traffic:soon", "got 'traffic:soon'"),
        (str(short), "expected at least 48 rows up to the last one with a number, got 30"),
        ("quarter.csv", "expected a row every 3600 seconds as in training, got one every 900"),
        (str(file), "expected the column 'traffic_volume'"),
        ("none.csv", "cannot be read"),
    ]:
        assert APP.run(["predict", given, "--output", "m"]) == 2
        err = capsys.readouterr().err
        assert message in err
        assert len(err.splitlines()) == 1
