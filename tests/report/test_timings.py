"""Files of pytest-benchmark's in a report: their timings in a table of their own and in the long one."""

import csv
import json

import pytest

from dlbench import report
from dlbench.report import timings
from dlbench.store.benchmarks import read_benchmarks

METRICS = {"accuracy": {"unit": "1", "better": "higher"}}
EXPERIMENT = {
    "schema": 1,
    "kind": "experiment",
    "experiment": "sketch",
    "version": 3,
    "parameters": {},
    "device": "cpu",
    "cold_s": [0.5, 0.7, 0.6],
    "metrics": METRICS,
    "rows": [{"seed": seed, "subject": "net", "noise": 0.5, "accuracy": 0.9 + seed / 100} for seed in range(3)],
    "verdict": "1 of 2 claims hold",
    "environment": {},
}
OP = {"schema": 1, "kind": "op", "op": "lp_norms", "case": "4x5", "device": "cuda", "environment": {}}
OP |= {"bytes": 80, "flops": 140, "gb_per_s": 40.0, "gflop_per_s": 70.0, "cold_s": 0.25}


@pytest.fixture
def file(tmp_path):
    def bench(name, data, info=None, **stats):
        extra = {"dlbench": info} if info else {}
        return {"name": name, "fullname": f"tests/test_a.py::{name}", "extra_info": extra, "stats": stats | data}

    rounds = {"data": [2e-9, 2e-9, 3e-9, 1e-9, 2e-9, 2e-9, 4e-9]}
    benches = [
        bench("e", {"data": [1.0, 2.0, 3.0]}, EXPERIMENT, min=1.0, iqr=1.0),
        bench("o", rounds, OP, min=1e-9, iqr=1e-9),
        bench("test_theirs", {}, median=0.5, rounds=9, min=0.25, iqr=0.5),
    ]
    path = tmp_path / "bench.json"
    path.write_text(json.dumps({"benchmarks": benches, "datetime": "2026-11-24", "machine_info": {}}))
    return read_benchmarks(path)


def test_a_row_an_item(file):
    table = timings.timings({"bench.json": file}).set_index("subject")
    assert list(table.columns) == [name for name in timings.TIMINGS if name != "subject"]
    trial, op, theirs = table.loc["trial"], table.loc["lp_norms"], table.loc["test_theirs"]
    assert (trial.experiment, trial.version, trial["median"], trial.n) == ("sketch", 3, 2.0, 3)
    assert (trial.cold_s, trial.verdict) == (0.6, "1 of 2 claims hold")
    assert (op["median"], op.low, op.high, op.bytes, op.gb_per_s, op.cold_s) == (2e-9, 1e-9, 4e-9, 80, 40.0, 0.25)
    assert (theirs.experiment, theirs["median"], theirs.n, theirs["min"]) == ("tests/test_a.py", 0.5, 9, 0.25)
    assert theirs.low != theirs.low


def test_timings_and_metrics_land_in_one_table(workbench, file, tmp_path):
    workbench.install()
    run = workbench.run()
    plain = report.write(run, tmp_path / "plain")
    made = report.write(run, tmp_path / "timed", benchmarks=[file])
    assert not (tmp_path / "plain" / "timings.csv").exists()
    assert "Timings" not in plain.page.read_text()
    with (tmp_path / "timed" / "measurements.csv").open(newline="") as text:
        rows = list(csv.DictReader(text))
    assert len(rows) == len(made.measurements) == len(plain.measurements) + 3 + 3
    ours, added = rows[: len(plain.measurements)], rows[len(plain.measurements) :]
    with (tmp_path / "plain" / "measurements.csv").open(newline="") as text:
        before = list(csv.DictReader(text))
    assert [{name: row[name] for name in before[0]} for row in ours] == before
    assert [(row["experiment"], row["subject"], row["seed"], row["metric"], row["value"]) for row in added] == [
        ("sketch", "net", "0", "accuracy", "0.9"),
        ("sketch", "net", "1", "accuracy", "0.91"),
        ("sketch", "net", "2", "accuracy", "0.92"),
        ("sketch", "trial", "", "time", "2.0"),
        ("ops", "lp_norms", "", "time", "2e-09"),
        ("tests/test_a.py", "test_theirs", "", "time", "0.5"),
    ]
    assert added[4]["case"] == "4x5"
    assert {row["run"] for row in added} == {"bench.json"}
    page = made.page.read_text()
    assert "Timings" in page
    assert "1 of 2 claims hold" in page
    assert "timings.csv" in page


def test_a_file_alone_makes_a_report(dlbench, file):
    done = dlbench("report", file.path)
    assert done.status == 0, done.err
    out = file.path.with_name("bench-report")
    assert "test_theirs" in (out / "index.html").read_text()
    assert len((out / "timings.csv").read_text().splitlines()) == 4
    wrong = dlbench("report", out / "timings.csv")
    assert (wrong.status, wrong.err.count("\n")) == (2, 1)
    assert "is no JSON" in wrong.err
