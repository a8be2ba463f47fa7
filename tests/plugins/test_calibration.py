"""calibration: how data is split, how arms are trained, and rules on frames whose verdict is known."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure

from dlbench import Context, Control
from dlbench import uncertainty as u
from dlbench.data.images import DIGITS
from dlbench.errors import ParameterError
from dlbench.runner.trial import measurements
from dlbench_plugins.uncertainty import calibration as study
from dlbench_plugins.uncertainty.calibration import Arm, Calibration

TINY = Calibration(width=8, train_size=200, signals_train=200, signals_test=300, steps=30, passes=2, null_draws=2)


def context(seed=100):
    return Context(seed=seed, loader=lambda name: {"digits": DIGITS}[name].load())


# ------------------------------------------------------------------------------------------------------------- data


def test_splits_do_not_overlap_and_leave_a_test():
    split = Calibration().image_split(context())
    assert [len(part) for part in split] == [500, 500, 300, 300, 997, 997]
    assert split.train.shape[1:] == (1, 8, 8)
    whole = torch.cat([split.train, split.held_out, split.test]).flatten(1)
    assert torch.equal(whole.sort(0).values, torch.from_numpy(DIGITS.load()["x"]).flatten(1).sort(0).values)
    with pytest.raises(ParameterError, match="1600 and 300 of 1797 images of digits are asked for"):
        Calibration(train_size=1600).image_split(context())
    signal = TINY.signal_split(context())
    assert [len(part) for part in signal] == [200, 200, 300, 300, 300, 300]


# -------------------------------------------------------------------------------------------------------- training


def train(arms, network="mlp", steps=30):
    split = TINY.image_split(context())
    targets = torch.eye(10)[split.train_y]
    return Calibration(width=8, steps=steps).train(arms, network, split.train, targets, context()), split


def test_arms_of_one_member_differ_by_their_treatment_alone():
    nets, split = train([Arm(), Arm(member=1), Arm(smoothing=0.2), Arm(mixup=1.0), Arm()])
    p = study.probabilities(nets, split.test)
    assert p[4] == pytest.approx(p[0])
    assert all(np.abs(p[k] - p[0]).max() > 1e-3 for k in (1, 2, 3))
    alone, _ = train([Arm()])
    assert study.probabilities(alone, split.test)[0] == pytest.approx(p[0], abs=1e-4)
    assert not nets.training


def test_smoothing_leaves_less_confidence():
    nets, split = train([Arm(), Arm(smoothing=0.5)], steps=150)
    plain, smooth = study.probabilities(nets, split.test).max(2).mean(1)
    assert smooth < plain


def test_mixed_examples_are_what_they_say():
    values = torch.arange(12.0).reshape(2, 3, 2)
    mixed = study.mix(values, torch.tensor([1.0, 0.75]))
    assert torch.equal(mixed[0], values[0])
    assert mixed[1, 1].tolist() == pytest.approx((0.75 * values[1, 1] + 0.25 * values[1, 0]).tolist())
    assert mixed[1, 0].tolist() == pytest.approx((0.75 * values[1, 0] + 0.25 * values[1, 2]).tolist())


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32), (40,)])
def test_networks_take_what_there_is(shape):
    for network in ("mlp",) + (("lenet5",) if shape[-1] in (28, 32) else ()):
        net = study.build(network, torch.Size(shape), 16, 0.1)
        assert net(torch.zeros(2, *shape)).shape == (2, 10)
        assert isinstance(net[-1], torch.nn.Linear)


def test_lenet_has_its_number_of_parameters():
    assert sum(p.numel() for p in study.build("lenet5", torch.Size((1, 28, 28)), 1, 0.0).parameters()) == 61_706


# --------------------------------------------------------------------------------------------------------- the trial


@pytest.fixture(scope="module")
def trial():
    of = context()
    return pd.DataFrame(measurements(TINY, of)), of.kept


def test_every_subject_is_measured_everywhere(trial):
    rows, kept = trial
    assert set(rows.subject) == {*study.COLORS, "linear"}
    digits, signal = rows[rows["data"] == "digits"], rows[rows["data"] == study.SIGNALS]
    assert len(signal) == 9
    assert len(digits) == 8 * (1 + 7 * 5)
    assert set(digits["shift"]) == {"none", *study.SHIFTS}
    plain, cooled = (signal[signal.subject == name].iloc[0] for name in ("softmax", "temperature"))
    assert plain.accuracy == cooled.accuracy
    assert plain.excess < plain.ece
    assert set(kept) == {f"reliability_{name}" for name in ("softmax", "temperature", "ensemble")}


def test_references_name_settings_that_a_trial_has(trial):
    known = {*trial[0].columns, *Calibration.__dataclass_fields__}
    for reference in Calibration.references:
        assert set(reference.where) <= known
        assert reference.metric in Calibration.metrics


# --------------------------------------------------------------------------------------------------------- the rules


def frame(excess=0.1, over=0.1, repaired=0.02, joined=0.03, shift=0.05, travelled=0.9, linear=0.0, own=0.0, sharp=0.2):
    """Six seeds of rows with such errors; under shift, a temperature leaves a share of the network's."""
    rows = []
    for seed in range(6):
        noise = 0.001 * np.random.default_rng(seed).standard_normal()
        for data in (study.SIGNALS, "digits"):
            unshifted = {"softmax": excess + 0.02, "temperature": repaired, "ensemble": joined, "linear": linear + 0.02}
            for subject, ece in unshifted.items():
                row = {
                    "seed": seed,
                    "data": data,
                    "shift": "none",
                    "severity": 0,
                    "subject": subject,
                    "ece": ece + noise,
                }
                row |= {
                    "excess": ece - 0.02 + noise,
                    "overconfidence": (linear if subject == "linear" else over) + noise,
                }
                row["accuracy"] = (0.6 if subject == "linear" else 0.95) + noise
                rows.append(row)
                if subject == "softmax":
                    rows[-1] |= {"own_excess": own + noise, "sharp_excess": sharp + noise}
        for kind in ("blur", "occlusion"):
            heavy = excess + 0.02 + shift
            for subject, ece in (("softmax", heavy), ("temperature", travelled * heavy), ("ensemble", 0.7 * heavy)):
                rows.append(
                    {"seed": seed, "data": "digits", "shift": kind, "severity": 5, "subject": subject, "ece": ece}
                )
                rows[-1]["ece"] += noise
    return pd.DataFrame(rows).set_index("seed")


def outcomes(rows):
    return [claim.rule(rows).outcome for claim in Calibration.claims]


def test_what_the_papers_found_makes_every_claim_hold():
    assert outcomes(frame()) == ["holds"] * 11


@pytest.mark.parametrize(
    ("change", "failing"),
    [
        ({"excess": 0.02, "repaired": 0.01, "joined": 0.01, "shift": 0.2}, [0, 1]),
        ({"over": -0.1}, [0, 1]),  # off, but through modesty
        ({"shift": -0.05}, [2]),
        ({"repaired": 0.1}, [3]),
        ({"joined": 0.1}, [4]),
        ({"travelled": 0.3}, [5, 6]),
        ({"linear": 0.1}, [7]),
        ({"own": 0.05}, [8]),  # the null is wrong
        ({"sharp": 0.01}, [9]),
    ],
)
def test_what_breaks_a_rule(change, failing):
    assert [i for i, outcome in enumerate(outcomes(frame(**change))) if outcome != "holds"] == failing


def test_an_untrained_network_is_noticed():
    rows = frame()
    rows.loc[rows["data"] == "digits", "accuracy"] = 0.5
    assert outcomes(rows)[10] == "does not hold"


def test_rules_name_each_kind_of_control_and_decide_nothing_on_few_seeds():
    assert [c.kind for c in Calibration.claims if isinstance(c, Control)] == ["negative", "gate", "positive", "gate"]
    assert set(outcomes(frame().loc[:4])) == {"inconclusive"}


# ------------------------------------------------------------------------------------------------------- the picture


@pytest.mark.parametrize("rows", [pd.DataFrame(), frame().iloc[:0], frame(), frame().loc[[3]]])
@pytest.mark.parametrize("kept", [False, True])
def test_picture(rows, kept, trial):
    figure = Figure()
    TINY.plot(rows, figure, {3: trial[1], 5: trial[1]} if kept else {})
    figure.draw_without_rendering()
    assert len(figure.axes) == 2
    assert all(axes.get_xlabel() and axes.get_ylabel() for axes in figure.axes)
    assert len(figure.axes[0].lines) == (4 if kept else 1)


def test_an_overconfident_answer_is_seen_as_one():
    p = np.tile([0.9, *[0.1 / 9] * 9], (1000, 1))
    y = np.where(np.arange(1000) % 2, 0, 1)
    assert study.scores(p, torch.from_numpy(y))["overconfidence"] == pytest.approx(0.4)
    assert TINY.excess(p, y, context()) == pytest.approx(0.4, abs=0.02)
    own = u.draw_labels(p, np.random.default_rng(0))
    assert math.isclose((own == 0).mean(), 0.9, abs_tol=0.03)
