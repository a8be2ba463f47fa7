"""corruption_shift: a tiny trial, a model that a user brings, what variants are trained on, rules on made frames."""

import sys

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure

from dlbench import Context, Control
from dlbench.corruptions import CORRUPTIONS, SEVERITIES
from dlbench.data.images import DIGITS
from dlbench.errors import ParameterError
from dlbench.runner.trial import measurements
from dlbench_plugins.shift import corruption_shift as study
from dlbench_plugins.shift.corruption_shift import CorruptionShift

TINY = {"steps": 20, "tested": 60, "width": 8, "members": 2}
KINDS = list(CORRUPTIONS)
HELD_OUT = study.held_out(KINDS)


def context(seed=100):
    return Context(seed=seed, loader=lambda name: {"digits": DIGITS}[name].load())


@pytest.fixture(scope="module")
def trial():
    of = context()
    return pd.DataFrame(measurements(CorruptionShift(**TINY), of)), of.kept


# --------------------------------------------------------------------------------------------------------- the trial


def test_every_model_sees_every_kind_at_every_severity(trial):
    rows, kept = trial
    for name in CorruptionShift().models:
        mine = rows[rows.subject == name]
        assert len(mine) == len(KINDS) * len(SEVERITIES) + 1 + len(SEVERITIES) + 1 + 1
        assert not mine.duplicated(["kind", "severity"]).any()
    for name, metric in CorruptionShift.metrics.items():
        values = rows[name].dropna()
        assert len(values) and values.between(metric.low, metric.high).all(), name
    assert kept["examples"].shape == (16, 3, 1, 8, 8)


def test_sums_are_those_of_the_rows(trial):
    rows = trial[0].set_index("subject")
    summed = rows[rows.kind == "all"]
    assert summed.mce["mlp"] == 1 and summed.relative_mce["mlp"] in (
        1,
        pytest.approx(1),
        pytest.approx(np.nan, nan_ok=True),
    )
    corrupted = rows[rows.kind.isin(KINDS)]
    for name in ("mlp_noise", "cnn"):
        by_kind = [(1 - corrupted.loc[[of]].groupby("kind").accuracy.mean()) for of in (name, "mlp")]
        ratio = by_kind[0] / by_kind[1]
        assert summed.mce[name] == pytest.approx(ratio.mean())
        assert summed.mce_held_out[name] == pytest.approx(ratio[list(HELD_OUT)].mean())
        clean = rows[rows.kind == "none"].accuracy[name]
        assert summed.mean_accuracy[name] == pytest.approx(corrupted.accuracy[name].mean())
        assert summed.relative_robustness[name] == pytest.approx(corrupted.accuracy[name].mean() / clean)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_rows():
    small = CorruptionShift(**TINY | {"models": ("mlp", "mlp_noise"), "steps": 3, "tested": 10})
    first, again, other = (repr(measurements(small, context(seed))) for seed in (100, 100, 101))
    assert first == again != other


def test_arms_start_alike_and_see_the_same_images_and_noise_spoils_half_of_a_batch(monkeypatch):
    seen = {}

    def train(stack, sizes, orders, losses, *, batch_size, **_):
        seen["weights"] = [stack[k][1].weight for k in range(len(stack))]
        seen["orders"] = [order.initial_seed() for order in orders]
        rows = torch.arange(batch_size).expand(len(stack), -1)
        monkeypatch.setattr(stack, "each", lambda batch: seen.update(batch=batch) or torch.zeros(*batch.shape[:2], 10))
        losses(rows)

    monkeypatch.setattr(study, "train", train)
    x, y = torch.full((40, 1, 8, 8), 0.5), torch.zeros(40, dtype=torch.int64)
    predict = CorruptionShift(members=2, batch_size=10).fit("mlp", (x, y), context())
    assert set(predict) == {"mlp", "mlp_noise", "mlp_augmented", "mlp_ensemble"}
    first, second, noise, augmented = seen["weights"]
    assert torch.equal(first, noise) and torch.equal(first, augmented) and not torch.equal(first, second)
    assert seen["orders"][0] == seen["orders"][2] == seen["orders"][3] != seen["orders"][1]
    changed = (seen["batch"] != 0.5).flatten(2).any(2)
    assert not changed[:2].any() and not changed[:, 5:].any() and changed[2, :5].all()
    assert (x == 0.5).all()


def test_nobody_trains_on_what_is_held_out():
    assert not set(HELD_OUT) & set(study.TRAINED_ON[study.AUGMENTED]) and len(HELD_OUT) == 10
    assert not set(study.UNSEEN_NOISE) & set(study.TRAINED_ON[study.NOISE])
    assert {CORRUPTIONS[kind].family for kind in HELD_OUT} == {c.family for c in CORRUPTIONS.values()}
    assert set(study.NOISE_AND_BLUR) & set(CORRUPTIONS) == {
        *("gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "motion_blur", "zoom_blur")
    }


def test_an_ensemble_averages_probabilities():
    class Says(torch.nn.Module):
        def __init__(self, number):
            super().__init__()
            self.number = number

        def forward(self, x):
            return torch.nn.functional.one_hot(torch.full((len(x),), self.number), 10) * 1000.0

    answer = study.of_members([Says(1), Says(3)])(torch.zeros(700, 1, 2, 2))
    assert answer.shape == (700, 10)
    assert np.allclose(answer, [0, 0.5, 0, 0.5, *[0] * 6])


def test_controls_change_as_much_as_they_say():
    x = torch.rand(50, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    generator = context().generator("test")
    assert study.spoil(x, study.CLEAN, 0, generator) is x
    grey = study.spoil(x, study.EIGHT_BITS, 5, generator)
    assert 1 / 255 < (grey - x).abs().max() <= 3.01 / 255
    assert torch.allclose(255 * grey, (255 * grey).round(), atol=1e-4)
    noise = study.spoil(x, study.ALL_NOISE, 5, generator)
    assert ((noise == 0) | (noise == 1)).float().mean() > 0.95


# ------------------------------------------------------------------------------------------------------------ models


def test_a_model_that_a_user_brings(tmp_path, monkeypatch):
    source = "from torch import nn\n\n\ndef build():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"
    (tmp_path / "shiftnets.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    small = CorruptionShift(**TINY | {"models": ("shiftnets:build",), "baseline": "shiftnets:build", "tested": 20})
    rows = pd.DataFrame(measurements(small, context()))
    sys.modules.pop("shiftnets")
    assert set(rows.subject) == {"shiftnets:build"} and rows[rows.kind == "all"].mce.item() == 1
    frame = rows.assign(seed=0).set_index("seed")
    assert {claim.rule(frame).outcome for claim in CorruptionShift.claims} == {"inconclusive"}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"models": ("mlp", "vgg")}, "'vgg' is neither a reference .* nor an import path 'package.module:factory'"),
        ({"models": ("mlp", "mlp")}, "none twice"),
        ({"models": ("cnn",)}, "baseline is 'mlp'; expected one of models"),
        ({"models": ()}, "baseline"),
    ],
)
def test_impossible_parameters(wrong, message):
    with pytest.raises(ParameterError, match=message):
        CorruptionShift(**wrong)


@pytest.mark.parametrize("preset", list(CorruptionShift.presets))
def test_data_sets_are_named(preset):
    experiment = CorruptionShift.preset(preset)
    assert experiment.datasets() == (experiment.dataset, *([] if preset != "cifar10" else ["cifar10_c"]))
    assert experiment.dataset in study.KNOWS


def test_references_name_metrics_and_columns(trial):
    for reference in CorruptionShift.references:
        assert reference.metric in CorruptionShift.metrics
        assert set(reference.where) <= set(trial[0].columns) | {"baseline"}


# ------------------------------------------------------------------------------------------------------------- rules

GOOD = {"drop": 0.08, "noise": 0.06, "augmented": 0.06, "ensemble": 0.01, "sure": 0.5, "bits": 0.0, "chance": 0.1}
GOOD |= {"clean": 0.97, "blur": 1.0, "ece": 0.05}


def made_rows(**changes):
    """Six seeds under which everything holds, but for changes; accuracy falls by ``drop`` a severity."""
    of = GOOD | changes
    rows = []
    for seed in range(6):
        jitter = 0.001 * (seed - 2.5)
        for network in ("mlp", "cnn"):
            for ending, gain in (("", 0.0), *((f"_{name}", of[name]) for name in ("noise", "augmented", "ensemble"))):
                common = {"seed": seed, "subject": network + ending, "data": "digits", "ece": 0.02}
                clean = of["clean"] + jitter
                rows.append(common | {"kind": "none", "severity": 0, "accuracy": clean, "confidence": clean})
                for severity in SEVERITIES:
                    grey = clean - of["bits"]
                    rows.append(common | {"kind": "eight_bits", "severity": severity, "accuracy": grey})
                    for kind in KINDS:
                        loss = of["drop"] * severity * (of["blur"] if kind == "motion_blur" else 1)
                        seen = {"accuracy": clean - loss + gain, "confidence": clean - of["sure"] * loss}
                        seen["ece"] = 0.02 + of["ece"] * severity + jitter * severity
                        rows.append(common | {"kind": kind, "severity": severity} | seen)
                rows.append(common | {"kind": "all_noise", "severity": 5, "accuracy": of["chance"] + jitter})
                rows.append({"seed": seed, "subject": network + ending, "data": "digits", "kind": "all", "mce": 1.0})
    return pd.DataFrame(rows).set_index("seed")


def failing(frame):
    return [number for number, claim in enumerate(CorruptionShift.claims) if claim.rule(frame).outcome != "holds"]


def test_every_rule_can_hold():
    assert failing(made_rows()) == []


@pytest.mark.parametrize(
    ("changes", "numbers"),
    [
        ({"blur": 0.0}, [0]),  # one kind that harms no more at severity 5 than at 1
        ({"drop": 0.01, "noise": 0.001, "augmented": 0.02, "ensemble": 0.001}, [1]),
        ({"noise": -0.01}, [2]),
        ({"augmented": 0.01}, [3]),
        ({"ensemble": -0.01}, [4]),
        ({"sure": 1.5}, [5]),
        ({"ece": -0.01}, [6]),
        ({"bits": 0.02}, [7]),
        ({"chance": 0.3}, [8]),
        ({"clean": 0.85}, [9]),
    ],
)
def test_each_rule_can_fail(changes, numbers):
    assert failing(made_rows(**changes)) == numbers


def test_what_is_lost_and_gained_by_hand():
    rows = made_rows()
    mlp = rows[rows.subject == "mlp"]
    assert study.lost(mlp, "accuracy").tolist() == pytest.approx([0.4] * 6)
    assert study.unseen_noise(rows, "mlp_noise", "mlp").tolist() == pytest.approx([0.06] * 6)
    errors = np.array([1 - (0.97 - 0.0025) + 0.08 * s for s in SEVERITIES])  # of the first seed, of every kind
    expected = (errors - 0.06).sum() / errors.sum()
    assert study.relative_error(rows, "mlp_augmented", "mlp", HELD_OUT)[0] == pytest.approx(expected)


def test_a_missing_kind_makes_no_ratio():
    rows = made_rows()
    rows = rows[rows.kind != "fog"]
    assert study.relative_error(rows, "mlp_augmented", "mlp", HELD_OUT).isna().all()
    assert failing(rows) == [3, 4]


def test_models_that_are_brought_take_no_part_in_the_claims():
    rows = made_rows()
    foreign = rows[rows.subject == "mlp"].assign(subject="my.nets:build", accuracy=0.5)
    assert failing(pd.concat([rows, foreign])) == []


def test_kinds_of_controls():
    kinds = [claim.kind for claim in CorruptionShift.claims if isinstance(claim, Control)]
    assert kinds == ["negative", "positive", "gate"]


# ----------------------------------------------------------------------------------------------------------- picture


@pytest.mark.parametrize("rows", [pd.DataFrame(), made_rows().loc[[3]]])
@pytest.mark.parametrize("kept", [False, True])
def test_the_picture(rows, kept, trial):
    figure = Figure()
    CorruptionShift().plot(rows, figure, {3: trial[1]} if kept else {})
    figure.draw_without_rendering()
    strip, *maps = figure.axes
    assert len(maps) == 7 and len(strip.images) == (48 if kept else 0)
    assert [label.get_text() for label in strip.get_yticklabels()][:2] == ["gaussian noise", "shot noise"]
    written = [text.get_text() for text in maps[0].texts]
    assert len(written) == (96 if len(rows) else 0)
    assert {len(axes.patches) for axes in maps} == {0, 1, 6}
