"""garbage_data: the qualities, the analysis of variance by hand, and rules on frames whose verdict is known."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure

from dlbench import Context, Control
from dlbench.data.images import DIGITS
from dlbench.runner.trial import measurements
from dlbench_plugins.generalization import garbage_data as study
from dlbench_plugins.generalization.garbage_data import Data, GarbageData
from dlbench_plugins.networks import Examples

TINY = GarbageData(train_size=60, validation=20, steps=3, batch_size=10)


def context(seed=100):
    return Context(seed=seed, loader={"digits": DIGITS.load()}.get)


# -------------------------------------------------------------------------------------------------------------- data


@pytest.mark.parametrize("name", TINY.datasets_used)
def test_parts_do_not_overlap(name):
    data = TINY.split(name, context())
    assert [len(part.y) for part in data[:2]] == [60, 20]
    assert len(data.others.y) == 60
    every = torch.cat([part.x.flatten(1) for part in data[:4]])
    assert len(every.unique(dim=0)) == len(every)
    assert data.train.x.std(correction=0) == pytest.approx(1, abs=1e-4)


def test_on_digits_five_hundred_are_left_for_the_test():
    data = GarbageData(train_size=1000, validation=250).split("digits", context())
    assert len(data.test.y) == 501
    assert len(data.train.y) == len(data.others.y) == 523


@pytest.mark.parametrize(("quality", "share"), study.LABEL_NOISE.items())
def test_labels_go_wrong_as_said(quality, share):
    rows = study.transition(quality)
    assert torch.allclose(rows.sum(1), torch.ones(10))
    assert torch.allclose(rows.diagonal(), torch.full((10,), 1 - share))
    y = torch.arange(100_000) % 10
    drawn = study.relabelled(y, quality, np.random.default_rng(0))
    assert (drawn != y).double().mean() == pytest.approx(share, abs=0.01)
    if quality.startswith("pair"):
        assert set(((drawn - y) % 10).tolist()) == {0, 1}


def test_clean_labels_stay_and_those_of_pairs_by_rule_become_the_next():
    y = torch.arange(10)
    assert torch.equal(study.relabelled(y, "clean", np.random.default_rng(0)), y)
    assert torch.equal(study.relabelled(y, study.RULED, np.random.default_rng(0)), (y + 1) % 10)


def test_qualities_spoil_training_and_validation_and_never_the_test():
    of = context()
    clean = TINY.split("digits", of)
    for quality in (*study.QUALITIES, study.RANDOM, study.OTHERS, study.RULED):
        data = study.spoilt(clean, quality, of, "digits")
        assert data.test is clean.test
        changed = [not torch.equal(data.train.x, clean.train.x), not torch.equal(data.train.y, clean.train.y)]
        labels = quality in study.LABEL_NOISE or quality == study.RULED
        inputs = quality in ("noisy inputs", "missing inputs")
        assert changed == {True: [inputs, labels]}.get(inputs or labels or quality == "clean", [True, True])
    missing = study.spoilt(clean, "missing inputs", of, "digits").train.x
    assert ((missing == 0) | (missing == clean.train.x)).all()
    assert (missing == 0).double().mean() == pytest.approx(0.5, abs=0.03)
    twice = study.spoilt(clean, "duplicates", of, "digits").train
    assert len(twice.x.flatten(1).unique(dim=0)) == 6
    assert study.spoilt(clean, study.OTHERS, of, "digits").train.y.tolist() == clean.others.y.tolist()


# -------------------------------------------------------------------------------------------------------------- nets


@pytest.mark.parametrize("shape", [(8, 8), (28, 28), (40,)])
@pytest.mark.parametrize("name", study.ARCHITECTURES)
def test_architectures_take_images_and_curves(name, shape):
    assert study.build(name, shape)(torch.zeros(3, *shape)).shape == (3, 10)


def test_suspects_are_left_out(monkeypatch):
    of = context()
    clean = TINY.split("digits", of)
    version = study.spoilt(clean, "pair 20 %", of, "digits")
    wrong = version.train.y != clean.train.y
    monkeypatch.setattr(study, "suspects", lambda chances, labels: wrong.numpy())
    kept = TINY.without_suspects(study.build("mlp 64", (8, 8)), {"pair 20 %": version}, of)["pair 20 %"]
    assert torch.equal(kept.train.y, clean.train.y[~wrong])
    assert torch.equal(kept.validation.y, version.validation.y)


def test_the_validation_chooses_the_rate(monkeypatch):
    """Labels can be learnt at the largest rate only, as there are few steps."""
    x = torch.eye(10).repeat(8, 1)
    part = Examples(x, torch.arange(10).repeat(8))
    data = Data(part, part, part, part)
    experiment = GarbageData(steps=60, batch_size=20)
    net = experiment.trained(study.build("linear", (10,)), {"clean": data}, context())["clean"]
    assert study.scores(net, data)["test_accuracy"] == 1.0
    assert net[1].weight.abs().max() > 0.3  # at a rate of 1e-3 no weight gets this far


# --------------------------------------------------------------------------------------------------------- the trial


@pytest.fixture(scope="module")
def trial():
    return measurements(TINY, context())


def test_every_cell_is_measured(trial):
    rows = pd.DataFrame(trial)
    plain = rows[rows.subject.isin(study.ARCHITECTURES)]
    assert set(plain.dataset) == {"digits", "mnist1d"}
    cells = plain.groupby(["dataset", "subject"]).quality.agg(set)
    common = {*study.QUALITIES, study.RANDOM, study.OTHERS, "no training"}
    assert all(own == common | ({study.RULED} if s == study.REPAIRED else set()) for (_, s), own in cells.items())
    repairs = rows[rows.subject.isin(study.REPAIRS)]
    assert len(repairs) == 2 * 2 * len(study.LABEL_NOISE)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bits(trial):
    assert repr(measurements(TINY, context())) == repr(trial)


@pytest.mark.parametrize("preset", list(GarbageData.presets))
def test_data_sets_are_named(preset):
    experiment = GarbageData.preset(preset)
    assert set(experiment.datasets()) == set(experiment.datasets_used) - {"mnist1d"}


# --------------------------------------------------------------------------------------------------------- the rules


def test_eta_squared_by_hand():
    """Cells 0, 2; 4, 6: means of data 1 and 5, of architectures 2 and 4; of 20 data have 16 and architectures 4."""
    cells = {
        ("clean", "linear"): 0.0,
        ("clean", "mlp 16"): 0.2,
        ("pair 45 %", "linear"): 0.4,
        ("pair 45 %", "mlp 16"): 0.6,
    }
    rows = pd.DataFrame([{"quality": q, "subject": s, "test_accuracy": a} for (q, s), a in cells.items()])
    shares = study.eta_squared(rows)
    assert shares == pytest.approx({"data": 0.8, "architecture": 0.2, "interaction": 0.0})
    assert math.isnan(study.eta_squared(rows.iloc[1:])["data"])


def frame(spread=0.02, worst=0.4, random=0.1, symmetric=0.02, sixty=0.3, flips=True, gain=0.1, other=0.0, ruled=0.05,
          untrained=0.1, clean=0.9):  # fmt: skip
    rows = []
    for seed in range(6):
        noise = 0.002 * np.random.default_rng(seed).standard_normal()
        lost = dict.fromkeys(study.QUALITIES, 0.05) | {"clean": 0.0, "symmetric 20 %": symmetric}
        lost |= {"symmetric 60 %": sixty, "pair 45 %": worst}
        for name in ("digits", "mnist1d"):

            def add(subject, quality, accuracy, noisy=math.nan, seed=seed, name=name, noise=noise):
                row = {"seed": seed, "subject": subject, "dataset": name, "quality": quality, "train_accuracy": 1.0}
                rows.append({**row, "test_accuracy": accuracy + noise, "noisy_test_accuracy": noisy})

            for i, subject in enumerate(study.ARCHITECTURES):
                for quality, less in lost.items():
                    accuracy = clean + spread * (i - 2) / 2 - less
                    add(subject, quality, accuracy, -accuracy + 1 if flips else accuracy)
                add(subject, study.RANDOM, random)
                add(subject, study.OTHERS, clean + other)
                add(subject, "no training", untrained)
            add(study.REPAIRED, study.RULED, ruled)
            for method in study.REPAIRS:
                for quality in study.LABEL_NOISE:
                    add(method, quality, clean - lost[quality] + gain)
    return pd.DataFrame(rows).set_index("seed")


def outcomes(rows):
    return [claim.rule(rows).outcome for claim in GarbageData.claims]


def test_what_is_claimed_makes_every_rule_hold():
    assert outcomes(frame()) == ["holds"] * 14


@pytest.mark.parametrize(
    ("change", "failing"),
    [
        ({"spread": 0.8, "clean": 0.55}, [0, 1, 13]),
        ({"worst": 0.1, "sixty": 0.08}, [2, 3]),
        ({"random": 0.2}, [4]),
        ({"symmetric": 0.08}, [5]),
        ({"sixty": 0.5}, [6]),
        ({"flips": False}, [7]),
        ({"gain": 0.01}, [8, 9]),
        ({"other": -0.1}, [10]),
        ({"ruled": 0.5}, [11]),
        ({"untrained": 0.3}, [12]),
        ({"clean": 0.7}, [13]),
    ],
)
def test_what_breaks_a_rule(change, failing):
    assert [i for i, outcome in enumerate(outcomes(frame(**change))) if outcome != "holds"] == failing


def test_rules_name_each_kind_of_control():
    kinds = [c.kind for c in GarbageData.claims if isinstance(c, Control)]
    assert kinds == ["negative", "positive", "negative", "gate"]


def test_rules_decide_nothing_on_less_than_six_seeds_or_without_scores():
    assert set(outcomes(frame().loc[:4])) == {"inconclusive"}
    assert set(outcomes(frame().assign(**dict.fromkeys(GarbageData.metrics, math.nan)))) == {"inconclusive"}


# ------------------------------------------------------------------------------------------------------- the picture


@pytest.mark.parametrize(
    "rows",
    [pd.DataFrame(), frame().iloc[:0], frame(), frame().loc[[3]], frame().drop(columns="test_accuracy")],
    ids=["no columns", "no rows", "six seeds", "one seed", "a metric short"],
)
def test_picture(rows):
    figure = Figure()
    TINY.plot(rows, figure, {})
    figure.draw_without_rendering()
    assert all(axes.get_xlabel() and axes.get_ylabel() for axes in figure.axes[:1])
    if len(rows) and "test_accuracy" in rows:
        assert len(figure.axes) == 3
        assert len(figure.axes[0].texts) == 10 * 5 + 5 * 2
        assert len(figure.axes[2].patches) == 6
