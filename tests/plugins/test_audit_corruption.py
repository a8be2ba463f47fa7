"""audit_corruption: what is measured of a made model, sums by hand, rules that can fail, the picture."""

import numpy as np
import pytest
import torch
from torch import nn

from dlbench import Control
from dlbench.corruptions import CORRUPTIONS, SEVERITIES
from dlbench_plugins.audits import audit_corruption as audit
from dlbench_plugins.audits.audit_corruption import AuditCorruption

from .audited import changed, examples, failing, frame, linear, measured
from .drawing import drawn

KINDS = len(CORRUPTIONS) * len(SEVERITIES)


@pytest.fixture(scope="module")
def run():
    return measured(AuditCorruption(), linear(), examples())


def made():
    """What a model yields that is right as often as it says, and a little less so with every severity."""
    conditions = [("none", 0), ("eight_bits", 1), *((kind, level) for kind in CORRUPTIONS for level in SEVERITIES)]
    rows = [
        {"kind": kind, "severity": level, "accuracy": 0.9 - 0.05 * level, "confidence": 0.9 - 0.05 * level}
        for kind, level in conditions
    ]
    rows[1] |= {"accuracy": 0.9}
    rows.append({"kind": "all_noise", "severity": 5, "accuracy": 0.26, "confidence": 0.5, "by_chance": 0.25})
    rows.append({"kind": "all", "mean_accuracy": 0.75, "relative_robustness": 0.75 / 0.9})
    return frame([{"subject": "made", **row} for row in rows])


def test_every_kind_is_seen_at_every_severity_and_sums_are_those_of_the_rows(run):
    rows = frame(run[0]).loc[[0]]
    spoilt = audit.spoilt(rows)
    assert len(spoilt) == KINDS and not spoilt.duplicated(["kind", "severity"]).any()
    assert len(rows) == KINDS + 4
    (summed,) = [row for row in run[0] if row["kind"] == "all"]
    assert summed["mean_accuracy"] == pytest.approx(spoilt.accuracy.mean())
    clean = rows[rows.kind == "none"].accuracy.item()
    assert clean == 1 and summed["relative_robustness"] == pytest.approx(spoilt.accuracy.mean() / clean)
    for name, metric in AuditCorruption.metrics.items():
        values = rows[name].dropna()
        assert len(values) and values.between(metric.low, metric.high).all(), name


def test_what_is_kept_are_images_of_the_worst_kind_that_are_wrong_only_there(run):
    rows, kept = frame(run[0]).loc[[0]], run[1]
    worst = audit.spoilt(rows).groupby("kind").accuracy.mean().idxmin()
    (captions,) = [kept[name] for name in kept if name.startswith("captions")]
    assert len(captions) and all(caption.endswith(worst.replace("_", " ")) for caption in captions)
    assert all(caption[0] != caption[4] for caption in captions)


def test_a_model_that_looks_at_nothing_keeps_all_that_it_has():
    class Constant(nn.Module):
        def forward(self, x):
            return torch.tensor([1.0, 0, 0, 0]).expand(len(x), 4)

    rows, kept = measured(AuditCorruption(tested=20), Constant(), examples())
    (summed,) = [row for row in rows if row["kind"] == "all"]
    assert summed["relative_robustness"] == pytest.approx(1) and not kept
    assert failing(AuditCorruption, frame(rows)) == []
    (noise,) = [row for row in rows if row["kind"] == "all_noise"]
    assert noise["by_chance"] == noise["accuracy"]


def test_a_model_that_is_never_right_has_no_relative_robustness():
    shown = examples()
    net = nn.Sequential(linear(), nn.Linear(4, 4, bias=False))
    with torch.no_grad():
        net[1].weight.copy_(-torch.eye(4))  # the least likely first
    rows, kept = measured(AuditCorruption(), net, shown)
    (summed,) = [row for row in rows if row["kind"] == "all"]
    assert np.isnan(summed["relative_robustness"]) and not kept


def test_by_chance_by_hand():
    said, y = np.array([0, 0, 0, 1]), np.array([0, 0, 1, 2])
    assert audit.by_chance(said, y) == pytest.approx(0.75 * 0.5 + 0.25 * 0.25)


def test_rules_hold_of_a_sound_model_and_each_can_fail():
    rows = made()
    assert audit.kept(rows, 1).tolist() == pytest.approx([0.85 / 0.9] * 6)
    assert audit.growth(rows).tolist() == pytest.approx([0] * 6)
    assert failing(AuditCorruption, rows) == []
    assert failing(AuditCorruption, changed(rows, {"severity": 1}, accuracy=0.7, confidence=0.7)) == [0, 2]
    sure = rows.assign(confidence=np.where(rows.severity > 0, 0.9 - 0.02 * rows.severity, rows.confidence))
    assert audit.growth(sure).tolist() == pytest.approx([0.03] * 6)
    assert failing(AuditCorruption, sure) == [1]
    assert failing(AuditCorruption, changed(rows, {"kind": "eight_bits"}, accuracy=0.87)) == [2]
    assert failing(AuditCorruption, changed(rows, {"kind": "all_noise"}, accuracy=0.4)) == [3]
    kinds = [claim.kind for claim in AuditCorruption.claims if isinstance(claim, Control)]
    assert kinds == ["negative", "positive"]


def test_the_axis_is_the_mean_over_kinds_and_severities():
    (axis,) = AuditCorruption.axes
    assert axis.rule(made()).tolist() == [0.75] * 6


def test_the_picture_has_a_map_a_model(run):
    figure = drawn(AuditCorruption(), frame(run[0]), {})
    (axes,) = figure.axes
    assert axes.images[0].get_array().shape == (16, 6) and axes.get_title() == "mine"
