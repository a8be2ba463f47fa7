"""audit_robustness: a linear model, of which the truth is known; a masked one; rules that can fail; the picture."""

import warnings

import pandas as pd
import pytest
import torch
from torch import nn

from dlbench import Context, Control
from dlbench.audit import Subject
from dlbench_plugins.audits.audit_robustness import AuditRobustness

from .audited import changed, examples, failing, frame, linear, measured
from .drawing import drawn

SMALL = AuditRobustness(
    eps=0.05, steps=10, target_classes=3, queries=20, diagnosed=10, pgd_steps=10, restarts=2, draws=10
)


class Stepped(nn.Module):
    """A model that sees sixteen steps of grey: no gradient passes."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net((16 * x).round() / 16)


def robust(net, x, y, eps):
    """Share that a linear model gets right whatever happens in the ball, which no image here leaves the bounds in."""
    weight, logits = net[1].weight, net(x)
    apart = (weight[y][:, None] - weight).abs().sum(2)  # L1 norms [n, classes]
    margin = logits.gather(1, y[:, None]) - logits
    holds = (margin > eps * apart) | (torch.arange(logits.shape[1]) == y[:, None])
    return float(holds.all(1).double().mean())


@pytest.fixture(scope="module")
def run():
    return measured(SMALL, linear(), examples())


def test_of_a_linear_model_the_curve_is_the_truth(run):
    shown, net = examples(), linear()
    curve = {row["eps"]: row["robust_accuracy"] for row in run[0] if row["attack"] == "curve"}
    assert list(curve) == [0.0, 0.025, 0.05, 0.1]
    with torch.no_grad():
        assert curve == pytest.approx({eps: robust(net, shown.x, shown.y, eps) for eps in curve})
    assert 0 < curve[0.05] < curve[0.0] == 1


def test_rows_are_complete_and_what_is_kept_are_pictures(run):
    rows, kept = frame(run[0]), run[1]
    asked = rows[(rows.attack == "diagnosis") & (rows.index == 0)]
    assert list(asked[asked.logits == "own"]["rule"]) == ["all", *(f"M{i}" for i in range(1, 21))]
    assert list(asked[asked.logits == "scaled"]["rule"]) == ["all", "M5", "M6"]
    for name, metric in AuditRobustness.metrics.items():
        values = rows[name].dropna()
        assert len(values) and values.between(metric.low, metric.high).all(), name
    (pictures,), (captions,) = ([kept[name] for name in kept if name.startswith(of)] for of in ("shown", "captions"))
    assert pictures.shape[1:] == (1, 6, 6) and len(pictures) == len(captions)
    eps = [float(caption.rpartition(" ")[2]) for caption in captions]
    assert (
        eps == sorted(eps) and set(eps) <= {0.025, 0.05, 0.1} and all(caption[0] != caption[4] for caption in captions)
    )


def test_a_model_that_hides_its_gradient_keeps_its_number_and_is_said_to(run):
    rows, _ = measured(SMALL, Stepped(linear()), examples())
    (of,) = [row for row in rows if row["attack"] == "worst_case"]
    assert of["masked"] == 1 and of["robust_accuracy"] > 0
    assert failing(AuditRobustness, frame(rows))[0] == 0
    (of,) = [row for row in run[0] if row["attack"] == "worst_case"]
    assert of["masked"] == 0


def test_two_classes_are_enough_and_nothing_is_warned_of():
    shown, net, context = examples(classes=2), linear(2), Context(seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        curve = SMALL.curve(Subject("mine", net, context), shown.x, shown.y, 2, context)
    with torch.no_grad():
        assert curve.robust_accuracy[2] == pytest.approx(robust(net, shown.x, shown.y, 0.05))


def test_a_model_that_comes_in_training_mode_is_asked_in_evaluation_mode():
    shown, context = examples(), Context(seed=0)
    net = nn.Sequential(nn.BatchNorm2d(1), linear()).train()
    diagnosis = SMALL.diagnosis(Subject("mine", net, context), shown.x, shown.y, context, ("M15",))
    assert diagnosis.verdict == "pass" and net.training


def test_rules_hold_of_a_sound_model_and_each_can_fail(run):
    rows = frame(run[0])
    assert failing(AuditRobustness, rows) == []
    at_eps, scaled = {"attack": "worst_case"}, {"logits": "scaled", "rule": "all"}
    assert failing(AuditRobustness, changed(rows, at_eps, masked=1.0)) == [0]
    assert failing(AuditRobustness, changed(rows, at_eps, robust_accuracy=0.4)) == [1]
    assert failing(AuditRobustness, changed(rows, {"attack": "curve", "eps": 0.0}, robust_accuracy=0.9)) == [2]
    assert failing(AuditRobustness, changed(rows, scaled, verdict=1.0)) == [3]
    kinds = [claim.kind for claim in AuditRobustness.claims if isinstance(claim, Control)]
    assert kinds == ["negative", "positive"]


def test_claims_are_about_every_subject(run):
    rows = frame(run[0])
    other = changed(rows, {"attack": "worst_case"}, masked=1.0).assign(subject="other")
    assert failing(AuditRobustness, pd.concat([rows, other])) == [0]


def test_the_axis_is_what_is_left_at_eps(run):
    (axis,) = AuditRobustness.axes
    (left,) = [row["robust_accuracy"] for row in run[0] if row["attack"] == "worst_case"]
    assert axis.rule(frame(run[0])).tolist() == [left] * 6


def test_the_picture_has_a_curve_a_model_and_a_square_a_rule(run):
    curves, rules = drawn(SMALL, frame(run[0]), {}).axes
    assert [text.get_text() for text in curves.get_legend().get_texts()] == ["mine", "eps = 0.05"]
    assert rules.images[0].get_array().shape == (1, 19)  # M19 is skipped
