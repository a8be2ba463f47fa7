"""``pytest --dlbench=PRESET`` in projects of their own, run as a user runs it."""

import json
import os

import pytest

pytest_plugins = ["pytester"]

EXPERIMENTS = '''
import sys, time
from dataclasses import dataclass
from dlbench import Claim, Control, Experiment, Metric, above, below

METRICS = {"score": Metric("what is scored", better="higher", main=True), "taken": Metric("time", unit="s", timed=True)}

@dataclass(frozen=True)
class Calm(Experiment):
    """Scores."""
    width: int = 8
    title = "It scores"
    chapter = "toys"
    metrics = METRICS
    presets = {"quick": {"width": 4}, "full": {}}
    claims = [Claim("it scores", lambda rows: above(rows.score, 1.0)),
              Claim("it scores much", lambda rows: above(rows.score, 9.0)),
              Control("it does not score too much", lambda rows: below(rows.score, 10.0))]

    def trial(self, context):
        time.sleep(0.05)
        yield {"subject": "a", "score": 2.0 + context.seed / 100, "taken": 0.05 + context.seed / 1e4}

@dataclass(frozen=True)
class Raises(Calm):
    def trial(self, context):
        yield {"subject": "a", "score": 1.0}
        raise RuntimeError("the cable is loose")

@dataclass(frozen=True)
class NoData(Calm):
    def datasets(self):
        return ("no_such_data",)
'''

OPS = """
from dlbench.timing import Case

def double(preset):
    def prepare(device):
        values = list(range(1000))
        return lambda: [2 * value for value in values]
    return [Case("1000", prepare, moved=16_000, flops=1000)] if preset == "quick" else []

def unprepared(preset):
    raise KeyError(preset)
"""

ENTRY_POINTS = """[dlbench.experiments]
toy_calm = toy_experiments:Calm
toy_raises = toy_experiments:Raises
toy_no_data = toy_experiments:NoData
toy_broken = toy_missing:Nothing

[dlbench.ops]
toy_double = toy_ops:double
toy_unprepared = toy_ops:unprepared
"""


@pytest.fixture
def project(pytester, monkeypatch):
    """A folder with a test of its own, where the toys are installed; its ``run`` is a pytest of a user's."""
    site = pytester.mkdir("site")
    info = site / "toys-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toys\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    (site / "toy_experiments.py").write_text(EXPERIMENTS)
    (site / "toy_ops.py").write_text(OPS)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH")])))
    monkeypatch.setenv("DLBENCH_OPS", "reference")
    for ours in ("PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER"):  # it is no worker, where this test runs in one
        monkeypatch.delenv(ours, raising=False)
    pytester.makepyfile(test_own="def test_own(tmp_path):\n    assert tmp_path.is_dir()\n")
    pytester.makeini("[pytest]\ntestpaths = .\nnorecursedirs = site\n")
    return pytester


def run(project, *arguments):
    return project.runpytest_subprocess("-p", "no:cacheprovider", *arguments, timeout=300)


def test_experiments_and_operators_are_items_with_all_that_is_known(project):
    project.makeini("[pytest]\npython_functions = check_*\nnorecursedirs = site\nfilterwarnings = error\n")
    done = run(
        project, "--dlbench=quick", "-k", "toy_calm or toy_double", "--benchmark-json=b.json", "--strict-markers"
    )
    done.assert_outcomes(passed=2, deselected=done.parseoutcomes()["deselected"])
    done.stdout.fnmatch_lines(["dlbench: preset quick, * experiments at 6 seeds, * operators, on cpu"])
    document = json.loads((project.path / "b.json").read_text())
    items = {bench["fullname"]: bench for bench in document["benchmarks"]}
    calm, double = items["dlbench::test_experiment[toy_calm]"], items["dlbench::test_op[toy_double-1000]"]
    assert (calm["group"], double["group"]) == ("dlbench: toys", "dlbench operators")

    about = calm["extra_info"]["dlbench"]
    assert calm["stats"]["rounds"] == 6
    assert all(0.05 <= seconds < 5 for seconds in calm["stats"]["data"])
    assert (about["parameters"], about["version"], about["clock"]) == ({"width": 4}, 1, "perf_counter")
    assert [row["seed"] for row in about["rows"]] == list(range(6))
    assert [row["score"] for row in about["rows"]] == [2.0 + seed / 100 for seed in range(6)]
    assert [verdict["outcome"] for verdict in about["verdicts"]] == ["holds", "does not hold", "holds"]
    assert about["verdict"] == "1 of 2 claims hold"
    assert len(about["cold_s"]) == 6 and min(about["cold_s"]) > 0
    assert about["environment"]["threads"] == 1
    assert about["environment"]["code"]["toys"]["version"] == "1.0"

    told = double["extra_info"]["dlbench"]
    assert (told["bytes"], told["flops"]) == (16_000, 1000)
    assert told["gflop_per_s"] == pytest.approx(1000 / double["stats"]["median"] / 1e9)
    assert told["cold_s"] > 0

    from dlbench.compare import compare, read

    pairs = compare(read(project.path / "b.json").series, read(project.path / "b.json").series)
    found = {(pair.experiment, pair.subject, pair.metric): pair.verdict for pair in pairs.itertuples()}
    assert found["toy_calm", "a", "score"] == "equivalent"
    assert set(found) == {
        ("toy_calm", "a", "score"),
        ("toy_calm", "a", "taken"),
        ("toy_calm", "trial", "time"),
        ("ops", "toy_double", "time"),
    }


def test_what_cannot_be_timed_says_why_and_stops_nothing(project):
    done = run(project, "--dlbench=quick", "--dlbench-seeds=2", "-k", "toy or own", "--benchmark-json=b.json", "-rs")
    outcomes = done.parseoutcomes()
    assert {name: count for name, count in outcomes.items() if name != "deselected"} == {
        "passed": 3,
        "failed": 3,
        "skipped": 1,
    }
    done.stdout.fnmatch_lines_random(
        [
            "*seed 0: error: RuntimeError: the cable is loose (toy_experiments.py:*",
            "*toy_broken: its module 'toy_missing' is not installed (entry point 'toy_missing:Nothing' of toys 1.0)*",
            "*toy_unprepared: its cases for preset 'quick' raised KeyError: 'quick' (entry point * of toys 1.0)*",
            "SKIPPED*data set no_such_data: *",
        ]
    )
    document = json.loads((project.path / "b.json").read_text())
    assert [bench["name"] for bench in document["benchmarks"]] == [
        "test_experiment[toy_calm]",
        "test_op[toy_double-1000]",
    ]
    verdicts = document["benchmarks"][0]["extra_info"]["dlbench"]["verdicts"]
    assert {verdict["outcome"] for verdict in verdicts} == {"inconclusive"}  # two seeds decide nothing


def test_it_runs_beside_xdist_where_nothing_is_timed(project):
    done = run(project, "--dlbench=quick", "-k", "toy_calm or toy_double or own", "-n", "2")
    assert done.parseoutcomes()["passed"] == 3
    done.stderr.fnmatch_lines(["*Benchmarks are automatically disabled because xdist plugin is active*"])


HEAVY = [
    "torch",
    "numpy",
    "pandas",
    "scipy",
    "click",
    "rich",
    "dlbench.experiment",
    "dlbench.plugins",
    "dlbench.timing",
]


def test_nothing_happens_and_nothing_is_imported_where_it_is_not_asked_for(project):
    project.makeconftest(
        f"import sys\ndef pytest_sessionfinish():\n    print('HEAVY', sorted(set(sys.modules) & set({HEAVY!r})))\n"
        "    print('LOADED', 'dlbench.pytest_plugin' in sys.modules)\n"
    )
    done = run(project, "-s")
    done.assert_outcomes(passed=1)
    done.stdout.fnmatch_lines(["*HEAVY []*", "LOADED True"])


def test_without_pytest_benchmark_it_is_one_clear_line(project):
    done = run(project, "--dlbench=quick", "-p", "no:benchmark")
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    assert [line for line in done.errlines if line.strip()] == [
        "ERROR: --dlbench=quick needs pytest-benchmark, which is not there; pip install pytest-benchmark"
    ]
    assert run(project, "-p", "no:benchmark").ret == pytest.ExitCode.OK


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("--dlbench-seeds=many", "--dlbench-seeds=many: expected a whole number from 1 to 10000"),
        ("--dlbench-seeds=0", "--dlbench-seeds=0: expected a whole number from 1"),
        ("--dlbench-device=tpu", "--dlbench-device=tpu: expected cpu, cuda, or cuda with a number"),
    ],
)
def test_a_wrong_option_is_one_clear_line(option, says):
    from types import SimpleNamespace

    from dlbench.timing.collection import activate

    options = {"dlbench": "quick", "dlbench_seeds": None, "dlbench_device": "cpu"}
    name, value = option.removeprefix("--").split("=")
    options[name.replace("-", "_")] = value
    config = SimpleNamespace(getoption=options.get, pluginmanager=SimpleNamespace(hasplugin=lambda _: True))
    with pytest.raises(pytest.UsageError) as error:
        activate(config)
    assert str(error.value).startswith(says)
    assert "\n" not in str(error.value)
