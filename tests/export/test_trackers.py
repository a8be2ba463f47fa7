"""Files of experiment trackers, written and read by the trackers' own libraries."""

import importlib.util
import json
import math
import sys

import pytest

from dlbench import export, report
from dlbench.errors import UsageError
from dlbench.export import tracked


@pytest.mark.parametrize("kind", ["parquet", "mlflow", "wandb"])
def test_an_extra_that_is_missing_is_one_line(kind, gathered, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    extra = export.EXTRAS[kind][0]
    with pytest.raises(UsageError, match=rf"--to {kind} needs .*: pip install 'dlbench\[{extra}\]'") as error:
        export.export(gathered, kind, tmp_path / "out")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_library_that_breaks_at_import_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "broken_library", None)
    with pytest.raises(UsageError, match="broken_library cannot be imported"):
        export.library("broken_library")


def test_a_measurement_is_a_run_with_its_configuration(gathered):
    trials = list(tracked.trials(gathered.measured[0]))
    assert [trial.status for trial in trials] == ["ok"] * 6 + ["timeout"]
    first = trials[0]
    assert [run.name for run in first.measurements][:2] == ["a, noise=0.0, seed 0", "b, noise=0.0, seed 0"]
    run, row = first.measurements[0], gathered.measured[0].raw[0]
    assert run.metrics == {"accuracy": row["accuracy"], "seconds": row["seconds"]}
    assert run.config == {
        "subject": "a", "settings.noise": 0.0, "seed": 0, "preset": "quick", "device": "cpu", "version": 1,
        "parameters.noises": "0.0,0.5", "parameters.width": "64",
    }  # fmt: skip
    assert first.ended - first.started == 1500
    assert first.trial.metrics["wall_s"] == 1.5
    assert first.tags["environment.demo"] == "1.2, revision cccccccccccc, modified"
    assert trials[-1].measurements == []
    assert trials[-1].tags["dlbench.reason"] == "it went wrong at seed 6"
    ids = [run.id for trial in trials for run in (trial.trial, *trial.measurements)]
    assert len(set(ids)) == len(ids)
    assert ids == [run.id for t in tracked.trials(gathered.measured[0]) for run in (t.trial, *t.measurements)]


@pytest.fixture
def small(workbench):
    """Three trials: one with two subjects of odd names and numbers, one that failed, one like the first."""
    workbench.install()
    rows = [
        {"subject": "a/b ü\x1b", "noise": "high", "accuracy": math.nan, "seconds": math.inf},
        {"subject": "=1+1", "noise": 0.5, "accuracy": 0.25, "seconds": -math.inf},
    ]
    return report.gather(
        workbench.run(rows=lambda seed: rows, seeds=3, status=lambda seed: "error" if seed == 1 else "ok")
    )


@pytest.mark.slow
def test_mlflow(small, tmp_path):
    mlflow = pytest.importorskip("mlflow")
    pytest.importorskip("alembic")
    out = tmp_path / "tracked"
    told = export.export(small, "mlflow", out)
    assert told[0].startswith("7 runs in ")
    assert told[1] == "4 infinite numbers are tags, as MLflow has no such metric"
    assert [path.name for path in out.iterdir()] == ["mlflow.db"]
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{out / 'mlflow.db'}")
    [experiment] = [e for e in client.search_experiments() if e.name == "demo"]
    assert "| a is better than b by 10 points" in experiment.tags["mlflow.note.content"]
    runs = client.search_runs([experiment.experiment_id])
    trials = {run.info.run_id: run for run in runs if "mlflow.parentRunId" not in run.data.tags}
    assert sorted(run.info.status for run in trials.values()) == ["FAILED", "FINISHED", "FINISHED"]
    assert {run.data.metrics["peak_rss_bytes"] for run in trials.values()} == {300 * 2**20}
    measured = [run for run in runs if run.info.run_id not in trials]
    assert {run.data.tags["mlflow.parentRunId"] for run in measured} < set(trials)
    one = next(run for run in measured if run.data.params["subject"] == "=1+1")
    assert (one.data.metrics, one.data.tags["infinite.seconds"]) == ({"accuracy": 0.25}, "-inf")
    assert (one.data.params["settings.noise"], one.data.params["parameters.width"]) == ("0.5", "64")
    other = next(run for run in measured if run.data.params["subject"] == r"a/b ü\x1b")
    assert math.isnan(other.data.metrics["accuracy"])
    assert export.export(small, "mlflow", out)[0].startswith("0 runs in ")  # it has them already


def records(path):
    """What an offline run's file holds, kind by kind: a log as LevelDB's, of protocol buffers, after 7 bytes."""
    from wandb.proto import wandb_internal_pb2

    data, at, whole, found = path.read_bytes(), 7, b"", {}
    while at + 7 <= len(data):
        if (left := 32768 - at % 32768) < 7:  # no header crosses a block's end
            at += left
            continue
        size, part = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        whole += data[at + 7 : at + 7 + size]
        at += 7 + size
        if part in (1, 4):  # all of a record, or its last part
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            kind, whole = record.WhichOneof("record_type"), b""
            found.setdefault(kind, []).append(getattr(record, kind))
    return found


@pytest.mark.slow
def test_wandb(small, tmp_path):
    pytest.importorskip("wandb")
    import psutil

    before = set(psutil.Process().children(recursive=True))
    out = tmp_path / "offline"
    [told] = export.export(small, "wandb", out)
    assert told.startswith("5 runs in ")
    assert set(psutil.Process().children(recursive=True)) <= before  # the library's process has ended
    runs = {}
    for path in out.rglob("*.wandb"):
        found = records(path)
        [run] = found["run"]
        config = {item.key: json.loads(item.value_json) for item in run.config.update}
        history = {
            item.nested_key[0] if item.nested_key else item.key: item.value_json for item in found["history"][0].item
        }
        runs[run.display_name] = (run, config, history, found["exit"][0].exit_code)
    failed = runs["demo, seed 1 (error)"]
    assert failed[3] == 1
    assert failed[0].notes == "it went wrong at seed 1"
    run, config, history, code = runs["=1+1, noise=0.5, seed 0"]
    assert (run.project, run.run_group, code) == ("demo", "=1+1, noise=0.5", 0)
    assert (config["subject"], config["settings"], config["parameters"]["width"]) == ("=1+1", {"noise": 0.5}, "64")
    assert (json.loads(history["accuracy"]), json.loads(history["trial/wall_s"])) == (0.25, 1.5)
    assert float(json.loads(history["seconds"])) == -math.inf
    odd = runs[r"a/b ü\x1b, noise=high, seed 0"]
    assert math.isnan(float(json.loads(odd[2]["accuracy"])))
    assert run.run_id == next(r.measurements[1].id for r in tracked.trials(small.measured[0]))
    with pytest.raises(UsageError, match="holds offline runs already"):
        export.export(small, "wandb", out)
