"""compute_cost: what is trained and counted, who is matched, a model that a user brings, rules on made frames."""

import sys

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from dlbench import Context, Control
from dlbench.data.images import DIGITS
from dlbench.errors import ParameterError
from dlbench.runner.trial import measurements
from dlbench_plugins.limits import compute_cost as study
from dlbench_plugins.limits.compute_cost import BEST, CLASSICAL, ComputeCost, Model
from dlbench_plugins.limits.examples import examples

from .drawing import drawn

TINY = {
    "shapes": ("3", "5", "4-4"), "channels": (4,), "train_size": 60, "validation": 30, "tested": 80, "steps": 3,
    "batch_size": 10, "rounds": 8,
}  # fmt: skip
UNTIMED = [name for name, metric in ComputeCost.metrics.items() if not metric.timed]


def context(seed=100):
    return Context(seed=seed, loader={"digits": DIGITS.load()}.get)


@pytest.fixture(scope="module")
def trial():
    return pd.DataFrame(measurements(ComputeCost(**TINY), context()))


def model(subject="m", validation=0.5, accuracy=0.5, **costs):
    return Model(subject, study.PERCEPTRON, validation, accuracy, costs)


# --------------------------------------------------------------------------------------------------------- the trial


def test_what_is_measured(trial):
    models = trial[trial.over == "model"]
    perceptrons = ["perceptron 3", "perceptron 5", "perceptron 4-4"]
    assert models.groupby("data").subject.agg(list).to_dict() == {
        "digits": [*perceptrons, *CLASSICAL],
        "mnist1d": [*perceptrons, "convolutions 4", *CLASSICAL],
    }
    matched = trial[trial.over == "matched"]
    assert matched.groupby("data").baseline.agg(list)["digits"] == [*CLASSICAL, BEST, "itself"]
    for name, metric in ComputeCost.metrics.items():
        values = trial[name].dropna() if name in trial else pd.Series()
        assert (len(values) or name == "energy") and values.between(metric.low, metric.high).all(), name


def test_costs_by_hand(trial):
    rows = trial[(trial.over == "model") & (trial["data"] == "digits")].set_index("subject")
    assert rows.flops["perceptron 4-4"] == 2 * (64 * 4 + 4 * 4 + 4 * 10) and rows.parameters["perceptron 3"] == 235
    assert rows.flops["logistic"] == 2 * 64 * 10
    forward, into_weights, into_hidden = 2 * (64 * 3 + 3 * 10), 2 * (64 * 3 + 3 * 10), 2 * 3 * 10
    assert rows.training_flops["perceptron 3"] == 3 * 10 * (forward + into_weights + into_hidden)
    assert rows.peak_bytes["perceptron 5"] == 4 * 64 * (5 + 10)  # what goes into the last layer and what comes out
    assert (rows.counted_over_formula.dropna() == 1).all() and rows.counted_over_formula.notna().sum() == 3


def test_a_wasteful_network_costs_as_often_what_it_computes(trial):
    rows = trial[trial.baseline == "itself"]
    assert (rows.flops_ratio == study.TIMES).all() and (rows.accuracy_gap == 0).all()


def test_the_front_is_that_of_the_rows(trial):
    for _, rows in trial[trial.over == "model"].groupby("data"):
        for one in rows.itertuples():
            beaten = (rows.flops <= one.flops) & (rows.test_accuracy >= one.test_accuracy)
            beaten &= (rows.flops < one.flops) | (rows.test_accuracy > one.test_accuracy)
            assert one.on_front == float(not beaten.any())


@pytest.mark.slow
def test_the_same_seed_gives_the_same_untimed_rows(trial):
    again = pd.DataFrame(measurements(ComputeCost(**TINY), context()))
    pd.testing.assert_frame_equal(again[UNTIMED], trial[UNTIMED])


def test_a_network_of_the_stack_is_as_if_trained_alone():
    experiment, of = ComputeCost(**TINY | {"trials": 1}), context()
    task = examples("mnist1d", (60, 30), 80, of).scaled()
    spec = experiment.specs("mnist1d")[1]
    with of.seeded("init", "mnist1d", spec.subject):
        net = spec.build((40,))
    adam = torch.optim.Adam(net.parameters(), study.RATES[0])
    for step, (rows,) in enumerate(study.batches([60], 10, steps=3, generators=[of.generator("order", "mnist1d")])):
        adam.param_groups[0]["lr"] = study.RATES[0] * (1 - step / 3)
        adam.zero_grad()
        nn.functional.cross_entropy(net(task.train.x[rows]), task.train.y[rows]).backward()
        adam.step()
    found, _ = experiment.train(spec, "mnist1d", task, task.with_shuffled_labels(of), of)
    for ours, theirs in zip(found.net.parameters(), net.parameters(), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)


def test_only_the_ends_of_the_sweep_see_shuffled_labels():
    experiment, of = ComputeCost(**TINY), context()
    task = examples("mnist1d", (60, 30), 80, of).scaled()
    shuffled = task.with_shuffled_labels(of)
    ends = [experiment.train(spec, "mnist1d", task, shuffled, of)[1] for spec in experiment.specs("mnist1d")]
    assert [end is not None for end in ends] == [True, False, True, False]


# -------------------------------------------------------------------------------------------------------- summing up


def test_the_cheapest_network_within_a_point_is_matched_and_the_dearest_where_none_is():
    nets = [model("a", 0.50, flops=10), model("b", 0.795, flops=100), model("c", 0.9, flops=1000)]
    assert study.matched(nets, model(validation=0.8), "flops").subject == "b"
    assert study.matched(nets, model(validation=0.81), "flops").subject == "c"
    assert study.matched(nets, model(validation=0.95), "flops").subject == "c"
    assert study.matched(nets[:2], model(validation=0.95), "flops").subject == "b"


def test_ratios_and_who_is_the_best_by_hand():
    nets = [model("a", 0.7, 0.6, flops=10, training_flops=50), model("b", 0.9, 0.8, flops=100, training_flops=20)]
    old = [
        model("logistic", 0.7, 0.65, flops=5, training_flops=10),
        model("svm", 0.9, 0.9, flops=1000, training_flops=1),
    ]
    rows = {row["baseline"]: row for row in ComputeCost().of_matched(nets, old, "digits")}
    assert rows["logistic"]["flops_ratio"] == 2 and rows["logistic"]["training_ratio"] == 2
    assert rows["logistic"]["accuracy_gap"] == pytest.approx(-0.05)
    assert rows[BEST]["flops_ratio"] == rows["svm"]["flops_ratio"] == 0.1 and rows[BEST]["training_ratio"] == 20
    assert rows[BEST]["found"] is True


def test_a_sweep_by_hand():
    nets = [model(accuracy=1 - 0.8 * f**-0.5, flops=f) for f in (4.0, 16.0, 64.0)]
    [row] = ComputeCost().of_sweep(nets, "true", "digits")
    assert row["beta"] == pytest.approx(0.5)
    assert row["flops_per_point"] == pytest.approx(60 / 30)  # errors 0.4 and 0.1


# ------------------------------------------------------------------------------------------------------------- audit


def test_a_model_that_a_user_brings(tmp_path, monkeypatch):
    source = "from torch import nn\n\n\ndef build():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"
    (tmp_path / "costnets.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    experiment = ComputeCost(**TINY | {"models": ("costnets:build",), "datasets_used": ("digits",)})
    rows = pd.DataFrame(measurements(experiment, context()))
    sys.modules.pop("costnets")
    mine = rows[rows.subject == "costnets:build"].iloc[0]
    assert mine.flops == 1280 and mine.parameters == 650 and mine.kind == study.BROUGHT
    assert mine.latency_1_p50 > 0 and np.isnan(mine.training_flops)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shapes": ("64",)}, "two at least"),
        ({"shapes": ("64", "a-b")}, "each like '64'"),
        ({"models": ("resnet",)}, "neither a registered model"),
        ({"models": ("nets:build",), "datasets_used": ("mnist1d",)}, "no images to show"),
    ],
)
def test_what_cannot_be(change, message):
    with pytest.raises(ParameterError, match=message):
        ComputeCost(**change)


@pytest.mark.parametrize("shape", [(40,), (1, 8, 8), (3, 32, 32)])
def test_networks_answer(shape):
    for spec in ComputeCost(**TINY).specs("mnist1d"):
        assert spec.build(shape)(torch.zeros(2, *shape)).shape == (2, 10)


# --------------------------------------------------------------------------------------------------------- the rules


def frame(serve=100.0, logistic=100.0, train=100.0, train_logistic=100.0, beta=0.2, shuffled=0.0, itself=16.0,
          counted=1.0, knows=0.95):  # fmt: skip
    rows = []
    for seed in range(6):
        noise = 0.002 * np.random.default_rng(seed).standard_normal()
        for data in ("digits", "mnist1d"):
            common = {"seed": seed, "data": data}
            for baseline, served, trained in ((BEST, serve, train), ("logistic", logistic, train_logistic)):
                ratios = {"flops_ratio": served * (1 + noise), "training_ratio": trained * (1 + noise)}
                rows.append({**common, "subject": "networks", "over": "matched", "baseline": baseline, **ratios})
            of = {"over": "matched", "baseline": "itself", "flops_ratio": itself}
            rows.append({**common, "subject": "wasteful", **of})
            for labels, value in (("true", beta), ("shuffled", shuffled)):
                of = {"over": "sweep", "labels": labels, "beta": value + noise}
                rows.append({**common, "subject": "perceptrons", **of})
            rows.append({**common, "subject": "perceptron 4", "over": "best network", "test_accuracy": knows + noise})
            for k, width in enumerate((4, 16)):
                of = {"over": "model", "kind": study.PERCEPTRON, "counted_over_formula": counted}
                of |= {"flops": 100.0 * width, "test_accuracy": 0.8 + 0.1 * k, "latency_1_p50": 1e-4}
                rows.append({**common, "subject": f"perceptron {width}", **of})
            of = {"over": "model", "kind": study.OLD, "flops": 300.0, "test_accuracy": 0.85, "latency_1_p50": 1e-3}
            rows.append({**common, "subject": "svm", **of})
    return pd.DataFrame(rows).set_index("seed")


def outcomes(rows):
    return [claim.rule(rows).outcome for claim in ComputeCost.claims]


def test_what_is_claimed_makes_every_rule_hold():
    assert outcomes(frame()) == ["holds"] * 9


@pytest.mark.parametrize(
    ("change", "failing"),
    [
        ({"serve": 2.0}, [0]),
        ({"logistic": 5.0}, [1]),
        ({"train": 0.5}, [2]),
        ({"train_logistic": 9.0}, [3]),
        ({"beta": 1.2}, [4]),
        ({"beta": -0.1}, [4]),
        ({"shuffled": 0.05}, [5]),
        ({"itself": 1.0}, [6]),
        ({"counted": 1.01}, [7]),
        ({"knows": 0.8}, [8]),
    ],
)
def test_what_breaks_a_rule(change, failing):
    assert [i for i, outcome in enumerate(outcomes(frame(**change))) if outcome != "holds"] == failing


def test_kinds_of_controls():
    kinds = [claim.kind for claim in ComputeCost.claims if isinstance(claim, Control)]
    assert kinds == ["negative", "positive", "gate", "gate"]


def test_no_rule_looks_at_what_is_timed():
    timed = [name for name, metric in ComputeCost.metrics.items() if metric.timed]
    rows = frame().drop(columns=[name for name in timed if name in frame()])
    assert outcomes(rows) == ["holds"] * 9


def test_rules_decide_nothing_on_less_than_six_seeds():
    assert set(outcomes(frame().loc[:4])) == {"inconclusive"}


# ------------------------------------------------------------------------------------------------------- the picture


@pytest.mark.parametrize("rows", [pd.DataFrame(), frame(), frame().loc[[3]]], ids=["none", "six seeds", "one seed"])
def test_the_picture(rows):
    digits, curves, times = drawn(ComputeCost(), rows, {}).axes
    models = 3 if len(rows) else 0
    assert len(digits.texts) == len(curves.texts) == models
    assert len(times.lines) == 2 * models
