import math

import numpy as np
import pytest

from dlbench.report import frames

SECOND = """
from dataclasses import dataclass
from dlbench import Claim, Experiment, Metric, above

@dataclass(frozen=True)
class Second(Experiment):
    title = "Depth"
    metrics = {"loss": Metric(unit="nat", better="lower", main=True), "steps": Metric(unit="steps")}

    def trial(self, context):
        yield {"subject": "net", "depth": 1, "flag": True, "loss": 0.5, "steps": 3}
        yield {"subject": "net", "depth": 2, "loss": float("nan")}
        yield {"subject": "NA", "metric_kind": "x", "loss": float("inf"), "steps": -0.0}
"""


@pytest.fixture
def everything(workbench):
    workbench.install()
    both = workbench.run("demo", seeds=2)
    workbench.install(SECOND, second="Second")
    second = workbench.run("second", seeds=2, label="other")
    return frames.measured({"one": both, "two": second})


def test_rules_see_a_row_a_measurement_with_every_declared_metric(everything):
    rows = everything[0].rows
    assert list(rows.columns) == ["subject", "noise", "accuracy", "seconds", "seed"]
    assert rows.index.name is None
    assert rows.index.tolist() == [0] * 6 + [1] * 6 == rows.seed.tolist()
    assert rows.accuracy.dtype == rows.seconds.dtype == float
    second = everything[1].rows
    assert second.steps.isna().tolist() == [False, True, False] * 2  # absent is NaN
    assert second.subject.tolist() == ["net", "net", "NA"] * 2


def test_rows_of_nothing_have_the_declared_columns(workbench):
    workbench.install()
    (one,) = frames.measured({"r": workbench.run(seeds=3, status=lambda seed: "error")})
    assert list(one.rows.columns) == ["subject", "accuracy", "seconds", "seed"]
    assert one.rows.empty
    assert one.missing == "3 failed"
    assert frames.measurements([one]).empty


def test_the_long_table(everything):
    table = frames.measurements(everything)
    assert list(table.columns) == [
        *("experiment", "version", "subject"),
        *("noise", "depth", "flag", "metric_kind"),
        *("seed", "metric", "value", "unit", "direction", "run", "environment"),
    ]
    assert len(table) == 2 * 6 * 2 + 2 * (2 + 1 + 2)  # a metric that is not there has no row; an unscored one has
    second = table[table.experiment == "second"]
    assert second[second.metric == "loss"].value.iloc[:3].tolist()[::2] == [0.5, math.inf]
    assert second[second.metric == "loss"].value.isna().tolist() == [False, True, False] * 2
    assert set(second.unit) == {"nat", "steps"}
    assert set(second.direction) == {"lower", ""}
    assert set(table.run) == {"one", "two"}
    depth = second.depth.iloc[0]
    assert depth == 1
    assert isinstance(depth, int)  # not 1.0, although the other experiment has no depth


def test_the_metrics_of_a_measurement_stand_together(everything):
    table = frames.measurements(everything[:1])
    assert table.metric.iloc[:4].tolist() == ["accuracy", "seconds"] * 2
    wide = everything[0].rows
    assert np.array_equal(table[table.metric == "accuracy"].value, wide.accuracy)


def test_trials_have_a_row_each_whatever_their_status(workbench):
    workbench.install()
    statuses = ["ok", "timeout", "crashed", None, "out_of_memory", "ok"]
    (one,) = frames.measured({"r": workbench.run(status=statuses.__getitem__)})
    table = frames.trials([one])
    assert table.status.tolist() == ["ok", "timeout", "crashed", "out_of_memory", "ok"]
    assert table.reason.iloc[1] == "it went wrong at seed 1"
    first = ["experiment", "key", "seed", "status", "reason", "attempt", "wall_s", "peak_rss_bytes"]
    assert list(table.columns[:8]) == first
    assert one.missing == "1 timed out, 1 ran out of memory, 1 crashed, 1 did not run"
