"""audit_cost: a linear model by hand, models whose controls fail, tables, rules that can fail, the picture."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from dlbench import Control
from dlbench.audit import Examples
from dlbench_plugins.audits.audit_cost import AuditCost

from .audited import SIDE, changed, examples, failing, frame, linear, measured
from .drawing import drawn

AUDIT = AuditCost(repeats=5)


@pytest.fixture(scope="module")
def run():
    return measured(AUDIT, linear(), examples())[0]


def of(rows, what):
    (row,) = [row for row in rows if row["measured"] == what]
    return row


def test_a_linear_model_by_hand(run):
    found = of(run, "itself")
    assert found["parameters"] == SIDE**2 * 4 and found["flops"] == 2 * SIDE**2 * 4
    assert found["weight_bytes"] == 4 * SIDE**2 * 4
    assert found["peak_bytes"] == 4 * 64 * 4  # the logits; a flattened image is a view
    assert 0 < found["latency_1_p50"] <= found["latency_1_p95"]
    assert found["throughput"] == pytest.approx(64 / found["latency_64_p50"])
    assert of(run, "twice")["unexplained_flops"] == 0
    assert [of(run, "followed")[f"unexplained_{what}"] for what in ("flops", "parameters")] == [0, 0]


def test_what_is_read_off_a_clock_is_said_to_be():
    timed = {name for name, metric in AuditCost.metrics.items() if metric.timed}
    assert timed == {*(f"latency_{n}_{p}" for n in (1, 64) for p in ("p50", "p95")), "energy", "throughput"}
    assert not AuditCost.axes


def test_tables_cost_too_and_the_model_is_as_before():
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(size=(10, 7))).float()
    shown = Examples(x=x, y=torch.zeros(10, dtype=torch.int64), classes=("a", "b"), groups=None, training=None)
    net = nn.Sequential(nn.Linear(7, 2), nn.Dropout()).train()
    assert of(measured(AUDIT, net, shown)[0], "itself")["flops"] == 2 * 7 * 2
    assert net.training and net[0].weight.requires_grad


def test_a_cost_that_depends_on_the_batch_is_found():
    class Pairs(nn.Module):
        """Each example is compared with each."""

        def __init__(self):
            super().__init__()
            self.last = nn.Linear(SIDE**2, 4)

        def forward(self, x):
            rows = x.flatten(1)
            return self.last(rows) + (rows @ rows.T).mean(1, keepdim=True)

    rows = measured(AUDIT, Pairs(), examples())[0]
    assert of(rows, "twice")["unexplained_flops"] == 2 * SIDE**2 * (128**2 - 2 * 64**2)
    assert failing(AuditCost, frame(rows)) == [1]


def test_rules_hold_of_a_sound_model_and_each_can_fail(run):
    rows = frame(run)
    assert failing(AuditCost, rows) == []
    assert failing(AuditCost, changed(rows, {"measured": "itself"}, latency_1_p95=0.2)) == [0]
    assert failing(AuditCost, changed(rows, {"measured": "twice"}, unexplained_flops=2.0)) == [1]
    for name in ("unexplained_flops", "unexplained_parameters"):
        assert failing(AuditCost, changed(rows, {"measured": "followed"}, **{name: -1.0})) == [2]
    assert [claim.kind for claim in AuditCost.claims if isinstance(claim, Control)] == ["negative", "positive"]


def test_the_picture_has_a_point_a_batch_and_leaves_out_what_has_no_place(run):
    (axes,) = drawn(AUDIT, frame(run), {}).axes
    assert [text.get_text() for text in axes.get_legend().get_texts()][:2] == ["mine, 1 at once", "mine, 64 at once"]
    (axes,) = drawn(AUDIT, changed(frame(run), {"measured": "itself"}, flops=math.inf), {}).axes
    assert len(axes.lines) == 1  # the threshold
