"""robust_accuracy: a small audit against what must be so, models that users bring, rules on made frames."""

import sys

import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure

from dlbench import Context, Control, attacks
from dlbench.attacks.ensemble import ATTACKS, VERSIONS
from dlbench.data.images import DIGITS
from dlbench.errors import ParameterError
from dlbench_plugins.robustness import robust_accuracy as study
from dlbench_plugins.robustness.robust_accuracy import RobustAccuracy

SMALL = {"attacked": 20, "diagnosed": 10, "steps": 5, "target_classes": 2, "queries": 20, "restarts": 2}
SMALL |= {"epochs": 3, "training_steps": 1, "eps_grid": (0.0, 0.1, 0.2)}
MLPS = ("mlp", "mlp_pgd_trained", "mlp_scaled", "mlp_rounded")
SHAPE = torch.Size([1, 8, 8])
SOURCE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.last = nn.Linear(64, 10)

    def forward(self, x):
        return self.last(x.flatten(1))

def build():
    return Net()

class Noisy(Net):
    def forward(self, x):
        return super().forward(nn.functional.dropout(x, 0.2))

def noisy():
    return Noisy()
"""


def context(seed=0):
    return Context(seed=seed, loader=lambda name: {"digits": DIGITS}[name].load())


def audit(models, seed=0, **changes):
    """The rows of one small trial, on one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    rows = list(RobustAccuracy(**SMALL | changes, models=models).trial(context(seed)))
    torch.set_num_threads(before)
    return rows


@pytest.fixture(scope="module")
def run():
    return pd.DataFrame(audit(MLPS))


@pytest.fixture
def mynets(tmp_path, monkeypatch):
    """A user's module, importable as ``mynets``."""
    (tmp_path / "mynets.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("mynets", None)


# -------------------------------------------------------------------------------------------------------- small runs


def test_rows_are_complete_and_lie_in_range(run):
    assert set(run.columns) == {"subject", "attack", "eps", "rule", *RobustAccuracy.metrics}
    assert not run.duplicated(["subject", "attack", "eps", "rule"]).any()
    for name, metric in RobustAccuracy.metrics.items():
        values = run[name].dropna()
        assert len(values) and values.between(metric.low, metric.high).all(), name
    for _, rows in run.groupby("subject"):
        assert list(rows[rows.attack == "diagnosis"]["rule"]) == ["all", *(f"M{i}" for i in range(1, 21))]
        assert list(rows[rows.attack == "curve"].eps) == [0.0, 0.1, 0.2]


def test_every_image_has_one_fate(run):
    for _, rows in run.groupby("subject"):
        worst = study.worst_case(rows).robust_accuracy.item()
        assert rows.broken_first.sum() + worst == pytest.approx(1)
        assert worst <= study.worst_case(rows).robust_accuracy_8bit.item()


def test_masked_networks_fool_pgd_and_nobody_else(run):
    rows = run.set_index("subject")
    worst, pgd = study.worst_case(rows).robust_accuracy, rows[rows.attack == "pgd"].robust_accuracy
    clean = rows[rows.attack == "none"].robust_accuracy
    assert clean["mlp_scaled"] == clean["mlp"] and pgd["mlp_scaled"] > pgd["mlp"]
    assert abs(worst["mlp_scaled"] - worst["mlp"]) <= 0.05 and worst["mlp_rounded"] < pgd["mlp_rounded"]
    verdict = rows[(rows.attack == "diagnosis") & (rows["rule"] == "M5")].verdict
    assert verdict["mlp_scaled"] == verdict["mlp_rounded"] == 2 and verdict["mlp"] == 0


def test_what_is_rounded_to_8_bits():
    class Above(torch.nn.Module):
        """Class 1 where the pixel is above 100.4 steps of grey."""

        def forward(self, x):
            return torch.cat([torch.zeros_like(x), x - 100.4 / 255], 1)

    x, y = torch.full((1, 1), 100 / 255), torch.tensor([0])
    for eps, withstands in ((0.45 / 255, True), (2 / 255, False)):  # 100.45 becomes 100, 102 remains
        found = attacks.pgd(Above(), x, y, eps=eps, random_start=False, steps=1)
        assert found.success.all()
        assert study.withstands_in_8_bits(Above(), y, found).tolist() == [withstands]


@pytest.mark.slow
def test_the_same_seed_gives_the_same_rows():
    first, again, other = (audit(("mlp",), seed) for seed in (3, 3, 4))
    assert repr(first) == repr(again) != repr(other)


def test_l2():
    rows = pd.DataFrame(audit(("mlp_pgd_trained",), norm="l2", eps=0.5, eps_grid=(0.0, 0.5)))
    curve = rows[rows.attack == "curve"].robust_accuracy
    assert len(curve) == 2 and curve.is_monotonic_decreasing


# ------------------------------------------------------------------------------------------------------------ models


def test_masked_references_share_the_plain_weights(monkeypatch):
    monkeypatch.setattr(study, "fit", lambda *args, **kwargs: None)
    names = ("mlp_scaled", "mlp_rounded", "mlp", "mlp_pgd_trained")
    x = torch.rand(5, *SHAPE)
    nets = study.references(RobustAccuracy(models=names), (x, torch.zeros(5)), context())
    assert tuple(nets) == names and nets["mlp_scaled"].net is nets["mlp_rounded"].net is nets["mlp"]
    assert nets["mlp_pgd_trained"] is not nets["mlp"]
    torch.testing.assert_close(nets["mlp_pgd_trained"](x), nets["mlp"](x))  # same initial weights
    torch.testing.assert_close(nets["mlp_scaled"](x), 1e4 * nets["mlp"](x))
    grey = torch.tensor([[0.03, 0.04, 0.5, 1.0]])
    assert study.Rounded(torch.nn.Identity())(grey).tolist() == [[0.0, 0.0625, 0.5, 1.0]]


def test_a_model_that_a_user_brings(mynets):
    rows = pd.DataFrame(audit(("mynets:build", "mlp")))
    assert list(rows.subject.unique()) == ["mynets:build", "mlp"]
    brought = rows[rows.subject == "mynets:build"]
    assert len(brought) == 32 and brought[brought.attack == "curve"].robust_accuracy.is_monotonic_decreasing
    m15 = brought[brought["rule"] == "M15"].verdict
    assert (m15 <= 1).all()
    frame = rows.assign(seed=0).set_index("seed")
    for claim in RobustAccuracy.claims:
        assert claim.rule(frame).outcome != "holds"  # of one seed


def test_a_random_model_is_asked_several_times(mynets):
    rows = pd.DataFrame(audit(("mynets:noisy",), eot_samples=5, eps=0.2, eps_grid=(0.0, 0.2)))
    assert rows[rows["rule"] == "M8"].verdict.iloc[0] == 2
    counted = rows[rows.attack.isin(["pgd", "worst_case"])]
    assert len(counted) == 3 and (counted.forwards * SMALL["attacked"] / 5).round(6).mod(1).eq(0).all()
    clean, worst = (rows[rows.attack == attack].robust_accuracy.iloc[0] for attack in ("none", "worst_case"))
    assert worst <= clean + 0.2  # by draws of its own


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"models": ("vgg",)}, "'vgg' is neither a reference .* nor an import path 'package.module:factory'"),
        ({"models": ("my/nets.py:build",)}, "neither"),
        ({"models": ("cnn", "cnn")}, "none twice"),
        ({"models": ()}, "at least one"),
        ({"eps": 0.15}, r"need 0 and eps \(0.15\)"),
        ({"eps_grid": (0.1, 0.2)}, "need 0"),
        ({"norm": "l1"}, "one of linf, l2"),
    ],
)
def test_impossible_parameters(wrong, message):
    with pytest.raises(ParameterError, match=message):
        RobustAccuracy(**wrong)


def test_official_budgets():
    full = RobustAccuracy.preset("full")
    assert full.datasets() == ("mnist",) and full.norm == "linf"
    given = study.budgets(full, study.ENSEMBLE)
    assert given["attacks"] == VERSIONS["standard"] == study.ENSEMBLE
    for name in study.ENSEMBLE:
        budget = {setting: value for setting, value in ATTACKS[name][1].items() if setting != "loss"}
        assert given[name.replace("-", "_")] == budget


# ------------------------------------------------------------------------------------------------------------- rules

NAMES = ("cnn", "cnn_pgd_trained", "cnn_scaled", "cnn_rounded")
HOLDING = {
    "cnn": {"none": 0.97, "pgd": 0.42, "worst_case": 0.4, "curve": 0.405, "verdict": 1.0},
    "cnn_pgd_trained": {"none": 0.95, "pgd": 0.74, "worst_case": 0.7, "curve": 0.705, "verdict": 1.0},
    "cnn_scaled": {"none": 0.97, "pgd": 0.95, "worst_case": 0.4, "curve": 0.41, "verdict": 2.0},
    "cnn_rounded": {"none": 0.97, "pgd": 0.95, "worst_case": 0.41, "curve": 0.9, "verdict": 2.0},
}


def made_rows(**changes):
    """Eight seeds of rows under which everything holds, but for changes: ``cnn={"pgd": 0.3}``."""
    rows = []
    for seed in range(8):
        jitter = 0.001 * (seed - 3.5)
        for subject in NAMES:
            numbers = HOLDING[subject] | changes.get(subject, {})
            clean = numbers["none"] + jitter
            for attack, eps, value in (
                ("none", 0.0, clean),
                ("worst_case", 0.0, clean + numbers.get("still", 0.0)),
                ("pgd", 0.1, numbers["pgd"] + 2 * jitter),
                ("worst_case", 0.1, numbers["worst_case"] + jitter),
                ("curve", 0.0, clean + numbers.get("start", 0.0)),
                ("curve", 0.1, numbers["curve"] + 2 * jitter),
                ("curve", 0.2, numbers.get("end", 0.1 + 300 * jitter**2)),
            ):
                rows.append({"seed": seed, "subject": subject, "attack": attack, "eps": eps, "robust_accuracy": value})
            told = {"seed": seed, "subject": subject, "attack": "diagnosis", "eps": 0.1}
            rows += [told | {"rule": rule, "verdict": numbers["verdict"]} for rule in ("all", "M5")]
    return pd.DataFrame(rows).set_index("seed")


def failing(frame):
    return {claim.statement for claim in RobustAccuracy.claims if claim.rule(frame).outcome != "holds"}


def test_every_rule_can_hold():
    assert failing(made_rows()) == set()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"cnn_pgd_trained": {"pgd": 0.705}}, ["overestimates"]),
        ({"cnn_pgd_trained": {"pgd": 0.6, "worst_case": 0.5, "curve": 0.5}}, ["(b)"]),
        ({"cnn_scaled": {"pgd": 0.5}}, ["(c)"]),
        ({"cnn": {"still": -0.01}}, ["eps = 0"]),
        ({"cnn_rounded": {"still": 0.01}}, ["eps = 0"]),
        ({"cnn_scaled": {"verdict": 1.0}}, ["are caught"]),
        ({"cnn_rounded": {"worst_case": 0.5}}, ["are caught"]),
        ({"cnn_pgd_trained": {"verdict": 2.0}}, ["worst verdict of the diagnosis"]),
        ({"cnn": {"start": 0.02}}, ["the curve"]),
        ({"cnn": {"end": 0.6}}, ["the curve"]),
        ({"cnn": {"curve": 0.45}}, ["the curve"]),
        ({"cnn_pgd_trained": {"curve": 0.65}}, ["the curve"]),
        ({"cnn": {"none": 0.8}}, ["are trained"]),
    ],
)
def test_each_rule_can_fail(changes, words):
    failed = failing(made_rows(**changes))
    assert len(failed) == len(words) and all(any(word in statement for statement in failed) for word in words), failed


def test_a_model_that_is_brought_takes_no_part_in_the_claims():
    rows = made_rows()
    foreign = rows[rows.subject == "cnn"].assign(subject="mynets:build_pgd_trained", verdict=2.0)
    foreign["robust_accuracy"] = range(len(foreign))  # a curve that rises
    assert failing(pd.concat([rows, foreign])) == set()


def test_kinds_of_controls():
    kinds = [claim.kind for claim in RobustAccuracy.claims if isinstance(claim, Control)]
    assert kinds == ["negative", "positive", "gate", "gate", "gate"]


# ----------------------------------------------------------------------------------------------------------- picture


def test_the_picture(run):
    frame = pd.concat([run.assign(seed=seed) for seed in range(3)]).set_index("seed")
    figure = Figure()
    RobustAccuracy(models=MLPS).plot(frame, figure, {})
    curves, bars = figure.axes
    assert "eps" in curves.get_xlabel() and curves.get_ylabel() == "robust accuracy"
    assert sum(len(line.get_xdata()) == 3 for line in curves.lines) == 4
    ends = {}
    for patch in bars.patches:
        ends[patch.get_y()] = max(ends.get(patch.get_y(), 0), patch.get_x() + patch.get_width())
    assert len(ends) == 4 and all(end == pytest.approx(1) for end in ends.values())
    assert [label.get_text() for label in bars.get_yticklabels()] == list(MLPS)


@pytest.mark.parametrize("rows", [pd.DataFrame(), pd.DataFrame({"subject": ["cnn"], "attack": ["pgd"]}, index=[0])])
def test_the_picture_of_nothing(rows):
    figure = Figure()
    RobustAccuracy(models=("cnn", "mypackage.nets:build")).plot(rows, figure, {})
    figure.canvas.draw()
    assert len(figure.axes) == 2


def test_published_numbers_name_metrics_that_exist():
    for reference in RobustAccuracy.references:
        metric = RobustAccuracy.metrics[reference.metric]
        assert metric.low <= reference.value <= metric.high and "read in" in reference.note
