"""What is counted of anomalies, NAB's layout and score, the pressure pack; and the app, which finds planted spikes."""

import json

import numpy as np
import pytest

from apps import anomaly
from apps.data import FOLDER, load_pressure, pressure_pack
from keras_seq import plots
from keras_seq.data import moments, read_nab
from keras_seq.data.series import stamp
from keras_seq.training import detection, store

APP = anomaly.APP


# ---------- counts and NAB's score ----------


def test_runs_of_flags():
    assert detection.spans([]) == detection.spans([0, 0]) == []
    assert detection.spans([1, 1, 0, 1]) == [(0, 1), (3, 3)]


def test_counts_by_window():
    flags = [[1, 1, 0, 0, 1, 1, 1, 0, 1, 0]]
    found = detection.window_scores(flags, [[(5, 7), (9, 9)]])
    assert (found["found"], found["false alarms"], found["precision"], found["recall"]) == (1, 2, 33.33, 50.0)
    assert detection.window_scores(flags, [[(5, 7)]], [2])["false alarms"] == 1
    assert detection.window_scores([[0] * 5], [[]])["F1"] == 0


def flagged(*rows, count=400):
    flags = np.zeros(count, bool)
    flags[list(rows)] = True
    return flags


@pytest.mark.parametrize(("rows", "expected"), [
    ([], 0.0),
    ([200], 100.0),
    ([200, 230, 299], 100.0),  # a window counts once, by its first
    ([10], 0.0),  # not judged yet
    ([299], 50 + 50 * detection.sigma(-0.01) / detection.sigma(-1)),  # found late
    ([100, 200], 100 - 11 / 2),  # a false alarm with no window before it costs 0.11 of the 2 from worst to best
    ([200, 301], 100 - 5.5 * -detection.sigma(2 / 99)),  # a little late: nearly free
], ids=str)
def test_nab_scores_of_one_window(rows, expected):
    assert detection.nab_score([flagged(*rows)], [[(200, 299)]]) == pytest.approx(expected)


def test_nab_score_over_series_and_the_best_threshold():
    scores = [np.where(flagged(200), 9.0, 0.0), np.where(flagged(70, 80), 5.0, 1.0)]
    windows = [[(200, 299)], []]
    assert detection.nab_score([s > 6 for s in scores], windows) == 100
    assert detection.nab_score([s > 2 for s in scores], windows) == pytest.approx(100 - 2 * 5.5)
    assert detection.best_nab_score(scores, windows) == 100
    assert detection.probation(400) == 60
    assert detection.probation(20_000) == 750


def test_the_rolling_z_score_is_that_of_a_loop():
    x = np.random.default_rng(0).normal(size=(60, 2))
    found = detection.rolling_z(x, memory=7, first=7)
    for t in (7, 23, 59):
        before = x[t - 7 : t]
        z = (x[t] - before.mean(axis=0)) / (before.std(axis=0) + 0.05)
        assert found[t] == pytest.approx(np.sqrt(np.mean(z**2)))
    assert not found[:7].any()


# ---------- files ----------


def nab(folder, count=300, spike=240):
    """A folder with two series in NAB's layout, one with an anomaly."""
    (folder / "data/waves").mkdir(parents=True)
    (folder / "labels").mkdir()
    for name, height in (("calm", 0), ("spiky", 8)):
        values = np.sin(np.arange(count) / 3) + 0.01 * np.arange(count)
        values[spike] += height
        rows = [f"{stamp(300.0 * i)},{v:.4f}" for i, v in enumerate(values)]
        (folder / f"data/waves/{name}.csv").write_text("\n".join(["timestamp,value", *rows]))
    window = [stamp(300.0 * (spike - 5)) + ":00.000000", stamp(300.0 * (spike + 5)) + ":00.000000"]
    labels = {"waves/calm.csv": [], "waves/spiky.csv": [window], "waves/gone.csv": []}
    (folder / "labels/combined_windows.json").write_text(json.dumps(labels))
    return folder


def test_a_benchmark_is_read_with_its_windows(tmp_path):
    found = read_nab(nab(tmp_path / "nab"))
    assert {name: windows for name, _, windows in found} == {"waves/calm.csv": [], "waves/spiky.csv": [(235, 245)]}
    with pytest.raises(ValueError, match=r"expected labels/combined_windows.json beside data/, found none"):
        read_nab(tmp_path / "nab/data")
    (tmp_path / "nab/labels/combined_windows.json").write_text('{"a/b.csv": []}')
    with pytest.raises(ValueError, match="expected files such as data/a/b.csv, found none of the 1"):
        read_nab(tmp_path / "nab")
    (tmp_path / "nab/labels/combined_windows.json").write_text("{")
    with pytest.raises(ValueError, match="expected JSON"):
        read_nab(tmp_path / "nab")


def test_a_variable_that_never_changes_has_a_deviation():
    mean, deviation = moments(np.array([[0.0, 4.0], [0.0, 4.0]]))
    assert (mean.tolist(), deviation.tolist()) == ([0, 4], [1e-6, 0.04])


def test_the_pack_is_what_its_card_says(tmp_path):
    facts = json.loads((FOLDER / "pressure" / "pressure.json").read_text())
    values, labels, clean = load_pressure()
    assert {"train": clean, "test": len(values) - clean} == facts["steps"]
    assert detection.spans(labels) == [tuple(facts["anomaly"])]
    assert facts["sha256"] in (FOLDER / "pressure" / "README.md").read_text()
    with pytest.raises(ValueError, match="no such pack; .* apps.data.build pressure"):
        load_pressure(tmp_path)
    head = "timestamp,value,is_anomaly\n"
    assert pressure_pack.rows(head + "0,5.0,0\n", head + "0,5.0,0\n1,6.0,1\n") == [
        ("train", "5.0", 0), ("test", "6.0", 1)]
    with pytest.raises(ValueError, match="begins with the clean steps"):
        pressure_pack.rows(head + "0,5.0,0\n", head + "0,7.0,0\n")


@pytest.mark.parametrize("variables", [1, 9])
def test_a_detection_is_a_picture(variables):
    fig = plots.detection(np.zeros((20, variables)), np.arange(20) / 9, ["a $"] * variables, [(3, 5)],
                          np.arange(20) * 3600.0, "b $")  # fmt: skip
    assert plots.png(fig)[:4] == b"\x89PNG"
    with pytest.raises(ValueError, match="expected values"):
        plots.detection(np.zeros((20, 2)), np.zeros(19), ["a", "b"])


# ---------- the app ----------

TINY = ["--context", "16", "--patch", "8", "--dim", "8", "--heads", "2", "--layers", "1", "--units", "8",
        "--epochs", "2", "--windows", "960", "--batch", "32", "--warmup", "5", "--learning-rate",
        "0.01", "--dropout", "0"]  # fmt: skip


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """Two waves with a labelled spike in each."""
    noise = np.random.default_rng(0).normal(size=(500, 2)) * 0.05
    values = np.stack([np.sin(np.arange(500) / 4), 50 + 9 * np.cos(np.arange(500) / 7)], axis=1) + noise * [1, 9]
    values[400, 0] += 6
    values[450, 1] -= 60
    rows = [f"{i},{a:.4f},{b:.4f},{int(i in (400, 450))}" for i, (a, b) in enumerate(values)]
    path = tmp_path_factory.mktemp("anomaly") / "waves.csv"
    path.write_text("\n".join(["second,one,two,is_anomaly", *rows]))
    return path


@pytest.mark.parametrize("family", ["transformer", "lstm"])
def test_the_app_finds_what_is_planted(file, tmp_path, capsys, monkeypatch, family):
    monkeypatch.chdir(tmp_path)
    flags = ["--data", str(file), "--target", "one,two", "--clean", "0.5", "--model", family]
    assert APP.run(["train", *flags, *TINY]) == 0
    found = store.read_json(tmp_path / "saved_models/anomaly/metrics.json")["test"]
    assert (found["windows"], found["recall"]) == (2, 100.0)
    assert found["false alarms"] < 10
    assert set(found["NAB score at the best threshold for it"]) == {"this model", "rolling z-score"}
    capsys.readouterr()
    assert APP.run(["predict", str(file)]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head == "first,last,score"
    spans = [tuple(map(int, line.split(",")[:2])) for line in lines]
    assert all(any(first <= row <= last for first, last in spans) for row in (400, 450))
    assert (tmp_path / "anomalies/waves_anomalies.png").exists()
    scored = (tmp_path / "anomalies/waves_anomalies.csv").read_text().splitlines()
    assert (scored[0], len(scored)) == ("row,score,flag", 501)
    assert scored[401].endswith(",1")
    assert APP.run(["export", "--rows", "32", "--tolerance", "20"]) == 0
    rows = {row["name"]: row for row in store.read_json(tmp_path / "saved_models/anomaly/report.json")["results"]}
    assert rows["f32"]["agreement"] == rows["saved_model"]["agreement"] == 1.0
    assert rows["f32"]["max_difference_step"] < 1e-3
    [sample] = store.read_json(tmp_path / "saved_models/anomaly/demo.json")["samples"]
    first = 500 - anomaly.STRETCH - 16
    assert (sample["text"], sample["windows"]) == ("waves", [[row - first] * 2 for row in (400, 450)])
    values = np.loadtxt(file, delimiter=",", skiprows=1)[first:, 1:3]
    np.testing.assert_allclose(sample["rows"], values, rtol=1e-4)


def test_a_column_may_have_a_comma_in_its_name(tmp_path, monkeypatch):
    monkeypatch.setattr(anomaly, "judge", lambda *_: lambda values, begin: values[:, 0] - 97)
    path = tmp_path / "a.csv"
    path.write_text('"one, so called",two\n' + "".join(f"{i},0\n" for i in range(100)))
    config, assets = anomaly.Config(context=24), {"series": {"names": ["one, so called"], "many": False}}
    assert anomaly.predict(config, None, assets, [str(path)], pictures="") == ["first,last,score\n99,99,2"]


def test_one_model_of_many_series(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = nab(tmp_path / "nab")
    assert APP.run(["train", "--data", str(folder), *TINY, "--epochs", "1"]) == 0
    assert store.read_json(tmp_path / "saved_models/anomaly/metrics.json")["test"]["found"] == 1
    capsys.readouterr()
    assert APP.run(["predict", str(folder / "data/waves/spiky.csv"), "--pictures", ""]) == 0
    assert any(line.startswith(stamp(300.0 * 240)) for line in capsys.readouterr().out.splitlines())
    monkeypatch.setattr(anomaly, "STRETCH", 60)
    assert APP.run(["export", "--series", "waves/spiky.csv", "--tolerance", "100", "--agreement", "0"]) == 0
    [sample] = store.read_json(tmp_path / "saved_models/anomaly/demo.json")["samples"]
    assert sample["text"] in ("waves/calm.csv", "waves/spiky.csv")  # their clean rows are the same
    assert len(sample["rows"]) == len(sample["time"]) == 60 + 16
    assert np.diff(sample["time"]).tolist() == [5] * 75
    assert APP.run(["export", "--series", "none"]) == 2
    assert "expected --series of waves/calm.csv, waves/spiky.csv, ..., got 'none'" in capsys.readouterr().err


@pytest.mark.parametrize(("flags", "message"), [
    (["--context", "50"], "expected a --context that is a multiple of --patch, got 50 and 8"),
    (["--margin", "0"], "expected --margin above 0"),
    (["--target", "weight"], "expected the column 'weight', got no such column"),
    (["--label", "odd"], "expected the column 'odd', got no such column"),
    (["--clean", "40"], "expected at least 106 clean rows at the beginning, got 40"),
])
def test_wrong_settings_are_told_in_a_line(file, tmp_path, capsys, flags, message):
    assert APP.run(["train", "--data", str(file), "--output", str(tmp_path), *flags]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert len(err.splitlines()) == 1
