"""Run folders, files of pytest-benchmark's, and folders with both."""

import json
import shutil

import pytest

from dlbench import compare
from dlbench.errors import RunFolderError, UsageError

from .conftest import METRICS, bench


def rows(seed):
    return [{"subject": "net", "noise": 0.5, "accuracy": 0.8 + seed / 100, "seconds": 1.0 + seed, "depth": 3.0}]


INFO = {
    "schema": 1,
    "kind": "experiment",
    "experiment": "demo",
    "version": 1,
    "parameters": {"width": 64},
    "device": "cpu",
    "metrics": METRICS,
    "rows": [{"seed": seed, **row} for seed in range(6) for row in rows(seed)],
    "environment": {"cpu": "Some CPU @ 2.1 GHz", "threads": 1},
}


def test_a_run_and_the_same_from_a_benchmark_are_the_same(make_run, make_file):
    run = compare.read(make_run("a", rows))
    file = compare.read(make_file("b.json", bench("demo", [1.0] * 6, info=INFO)))
    assert run.series.metric.tolist() == ["accuracy", "depth", "seconds"]
    assert run.series.timed.tolist() == [False, False, True]
    assert run.series.machine[0] == "Some CPU @ 2.1 GHz, 1 threads"
    assert sorted(file.series.metric) == ["accuracy", "depth", "seconds", "time"]
    pairs = compare.compare(run.series, file.series).set_index("metric")
    assert pairs.verdict.to_dict() == {
        "accuracy": "equivalent",
        "depth": "equivalent",
        "seconds": "undecided",
        "time": "not comparable",
    }
    assert pairs.loc["accuracy"].n == 6


def test_a_folder_with_both_has_the_measurements_once(make_run, make_file, tmp_path):
    folder = make_run("a", rows)
    make_file("a/bench.json", bench("demo", [1.0] * 6, info=INFO), bench("test_other", [2.0] * 9))
    both = compare.read(folder)
    assert sorted(zip(both.series.experiment, both.series.metric, strict=True)) == [
        ("demo", "accuracy"),
        ("demo", "depth"),
        ("demo", "seconds"),
        ("demo", "time"),
        ("tests/test_steps.py", "time"),
    ]
    above = tmp_path / "above"
    shutil.copytree(folder, above / "quick")
    assert len(compare.read(above).series) == 3
    shutil.copytree(folder, above / "again")
    with pytest.raises(UsageError, match="has accuracy of demo net twice; give one of the two"):
        compare.read(above)


def test_operators_and_somebody_elses_benchmarks(make_file):
    op = {"schema": 1, "kind": "op", "op": "lp_norms", "case": "128x3072", "device": "cuda:0"}
    op |= {"bytes": 100, "flops": 5, "environment": {"gpu": [{"name": "A GPU"}]}}
    side = compare.read(make_file("b.json", bench("x", [1.0] * 5, info=op), bench("test_a[64]", median=2.0)))
    mine, other = (side.series.iloc[i] for i in range(2))
    assert (mine.experiment, mine.subject, mine.settings) == ("ops", "lp_norms", '{"case": "128x3072"}')
    assert (mine.device, mine.machine, mine["values"].tolist()) == ("cuda", "A GPU", [1.0] * 5)
    assert (other.experiment, other.subject) == ("tests/test_steps.py", "test_a[64]")
    pairs = compare.compare(side.series, side.series).set_index("subject")
    assert pairs.loc["lp_norms"].verdict == "undecided"  # five rounds each have no interval
    assert pairs.loc["test_a[64]"].reason == "A: its rounds were not saved; give --benchmark-save-data"


def test_failed_trials_are_told(make_run):
    side = compare.read(make_run("a", rows, failed=[1, 2]))
    assert side.problems == ["demo: 2 timed out"]
    assert side.facts["torch"] == "2.13.0"
    assert side.facts["demo revision"] == "a" * 40


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "is no JSON"),
        ("[]", "holds no benchmarks"),
        ('{"benchmarks": {}}', "holds no benchmarks"),
        ('{"benchmarks": [1]}', "benchmark 1 is damaged"),
        ('{"benchmarks": [{"fullname": "a"}]}', "it has no 'stats'"),
        (json.dumps({"benchmarks": [bench("a", [1.0, None])]}), "benchmark 1 is damaged"),
        (json.dumps({"benchmarks": [bench("a", [float("nan")])]}), "it took nan s"),
        (json.dumps({"benchmarks": [bench("a", info={"schema": 9})]}), "its schema is 9, this dlbench reads 1"),
        (json.dumps({"benchmarks": [bench("a", info={"schema": 1})]}), "is damaged"),
        (json.dumps({"benchmarks": [bench("a", info=INFO | {"rows": [{"subject": "a"}]})]}), "it has no 'seed'"),
        (json.dumps({"benchmarks": [bench("a", info=INFO | {"rows": [{"seed": 0, "subject": []}]})]}), "no subject"),
        (json.dumps({"benchmarks": [bench("a", info=INFO | {"metrics": 3})]}), "no declarations"),
    ],
)
def test_a_damaged_file_is_one_clear_line(tmp_path, content, says):
    path = tmp_path / "bench.json"
    path.write_text(content)
    with pytest.raises(RunFolderError, match=says) as error:
        compare.read(path)
    assert "\n" not in str(error.value)
    assert "pytest --benchmark-json=FILE" in str(error.value)


def test_a_folder_with_nothing_in_it_and_no_folder(tmp_path):
    with pytest.raises(RunFolderError, match="holds neither a run"):
        compare.read(tmp_path)
    with pytest.raises(RunFolderError, match=r"there is no .*; give a run folder"):
        compare.read(tmp_path / "nothing")
