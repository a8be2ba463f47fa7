"""prior_knowledge: images turned, networks that cannot mind, a pendulum by hand, rules on frames of known verdict."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from dlbench import Context, Control
from dlbench.cost import parameters
from dlbench.data.images import DIGITS
from dlbench.errors import ParameterError
from dlbench.runner.trial import measurements
from dlbench_plugins.limits import pendulum
from dlbench_plugins.limits import prior_knowledge as study
from dlbench_plugins.limits.prior_knowledge import (
    AUGMENTED,
    AVERAGED,
    BOTH,
    BOTH_WAYS,
    C4,
    PLAIN,
    SAME_FLOPS,
    SAME_PARAMETERS,
    PriorKnowledge,
    Turned,
)
from dlbench_plugins.networks import Examples

from .drawing import drawn

TINY = PriorKnowledge(
    sizes=(20, 500), validation=20, width=2, steps=2, batch_size=10, observed=20, units=4, fit_steps=3
)


def context(seed=100):
    return Context(seed=seed, loader={"digits": DIGITS.load()}.get)


@pytest.fixture(scope="module")
def trial():
    of = context()
    return measurements(TINY, of), of.kept


# ------------------------------------------------------------------------------------------------------------- images


def test_parts_do_not_overlap_and_tests_are_of_every_way_up():
    task = Turned(TINY, context())
    assert [len(part.y) for part in (task.train, task.held, task.test)] == [500, 20, 1277]
    assert len(torch.cat([part.x for part in (task.train, task.held, task.test)]).unique(dim=0)) == 1797
    every, way_up = task.tests[study.TURNED], task.tests[study.WAY_UP]
    assert len(every.y) == 4 * 1277
    assert torch.equal(every.x[1277:2554], task.test.x.rot90(1, (1, 2)))
    assert way_up.y[[0, 1277, 2554, 3831]].tolist() == [0, 1, 2, 3]


def test_what_each_subject_is_trained_on():
    task = Turned(TINY, context())
    once, upright = task.part(PLAIN, study.TURNED, 20).train, task.part(PLAIN, study.UPRIGHT, 20).train
    for k in range(20):
        assert torch.equal(once.x[k], upright.x[k].rot90(int(task.ways[k]), (0, 1)))
    assert torch.equal(task.part(C4, study.TURNED, 20).train.x, once.x)
    assert torch.equal(task.part(PLAIN, study.WAY_UP, 20).train.y, task.ways[:20])
    four = task.part(AUGMENTED, study.TURNED, 20).train
    assert len(four.y) == 80 and torch.equal(four.x[60:], upright.x.rot90(3, (1, 2)))
    assert torch.equal(four.y[60:], upright.y)
    assert set(task.ways.tolist()) == {0, 1, 2, 3}


@pytest.mark.parametrize("side", [8, 28])
@pytest.mark.parametrize("kind", [PLAIN, C4])
def test_networks_shrink_images_to_one_place(kind, side):
    net = study.build(kind, side, 3)
    x = torch.randn(2, side, side)
    assert net(x).shape == (2, 10)
    assert net[:-2](x).shape[1:3] == (1, 1)
    if kind == C4:
        assert torch.allclose(net(x.rot90(1, (1, 2))), net(x), atol=1e-5)


def test_parameters_by_hand():
    """Windows of 16 pixels, then of 9 places of each way's channels, and a head."""
    assert parameters(study.build(PLAIN, 8, 2)) == 2 * 17 + 4 * (9 * 2 + 1) + 10 * 5
    assert parameters(study.build(C4, 8, 2)) == 2 * 17 + 4 * (9 * 4 * 2 + 1) + 10 * 5


def test_averages_are_the_same_whichever_way_up():
    net = study.Averaged(nn.Sequential(nn.Flatten(), nn.Linear(64, 3)))
    x = torch.randn(5, 8, 8)
    assert torch.allclose(net(x.rot90(1, (1, 2))), net(x), atol=1e-6)
    assert not torch.allclose(net.net(x.rot90(1, (1, 2))), net.net(x), atol=1e-2)


def test_every_way_up_by_hand():
    part = study.all_ways(Examples(torch.tensor([[[1, 2], [3, 4]]]), torch.tensor([7])))
    assert part.x.flatten(1).tolist() == [[1, 2, 3, 4], [2, 4, 1, 3], [4, 3, 2, 1], [3, 1, 4, 2]]
    assert part.y.tolist() == [7] * 4


# ----------------------------------------------------------------------------------------------------------- pendulum


def test_first_states_have_the_energies_asked_for():
    energies = pendulum.energy(pendulum.states(2000, np.random.default_rng(0)))
    low, high = pendulum.ENERGIES
    assert low - 1e-4 <= energies.min() < low + 0.1 and high - 0.1 < energies.max() <= high + 1e-4


def test_the_law_keeps_energy_and_friction_does_not():
    starts = pendulum.states(5, np.random.default_rng(0))
    kept, lost = (pendulum.true_energies(starts, friction) for friction in (0.0, pendulum.FRICTION))
    assert kept.shape == (pendulum.STEPS + 1, 5)
    assert torch.allclose(kept, kept[:1].expand_as(kept), rtol=1e-3)
    assert (lost[-1] < 0.5 * lost[0]).all()


def test_errors_of_energy_by_hand():
    """What stands still keeps its energy; what is thrown out of all bounds counts as 10."""
    starts = torch.tensor([[1.0, 0.0], [0.5, 0.0]])
    true = pendulum.energy(starts.double()).expand(pendulum.STEPS + 1, 2)
    assert pendulum.energy_errors(torch.zeros_like, starts, true).max() == 0
    assert pendulum.energy_errors(torch.zeros_like, starts, true / 2)[1:] == pytest.approx(1.0)
    wild = pendulum.energy_errors(lambda x: 1e20 * x + 1, starts, true)
    assert wild[0] == 0 and (wild[-3:] == 10).all()


def test_held_states_choose_the_rate():
    x = pendulum.states(50, np.random.default_rng(0))
    changes = pendulum.law(x, 0.0)
    torch.manual_seed(0)
    start = pendulum.network(False, 8)

    def error(rates):
        fit = pendulum.fitted(start, x, changes, (x, changes), rates, 150)
        return (fit(x) - changes).square().mean().item()

    assert error([1e-9, 0.03, 1e-8]) == error([0.03]) < 0.5 * error([1e-9])


# --------------------------------------------------------------------------------------------------------- the trial


def test_what_is_measured(trial):
    rows = pd.DataFrame(trial[0])
    turned = rows[(rows.task == study.TURNED) & (rows.n == 500)].groupby("budget").subject.agg(set).to_dict()
    plain = {PLAIN, AUGMENTED, AVERAGED, BOTH_WAYS}
    assert turned == {BOTH: {C4}, SAME_PARAMETERS: plain, SAME_FLOPS: plain}
    assert set(rows[rows.task == study.WAY_UP].subject) == set(rows[rows.task == study.UPRIGHT].subject) == {PLAIN, C4}
    errors = rows.set_index("subject").equivariance_error.dropna()
    assert (errors[[C4, AVERAGED, BOTH_WAYS]] < 1e-5).all() and (errors[[PLAIN, AUGMENTED]] > 1e-3).all()
    assert set(rows[rows.task == study.KEPT].subject) == {study.PERCEPTRON, study.HAMILTONIAN, study.TRUE}
    needed = rows.dropna(subset="lines").groupby("subject").lines.first()
    assert needed[PLAIN] == 0 < needed[AUGMENTED] < needed[AVERAGED] < needed[C4]
    assert needed[BOTH_WAYS] == needed[AUGMENTED] + needed[AVERAGED]
    assert trial[1][f"kept {study.HAMILTONIAN} both"].shape == (pendulum.STEPS + 1,)
    way_up = rows[(rows.task == study.WAY_UP) & (rows.subject == C4)].test_accuracy
    assert way_up.item() < 0.252  # it says the same whichever way up, which is right for one at most


def test_averages_cost_four_times_as_much(trial):
    rows = pd.DataFrame(trial[0])
    rows = rows[(rows.task == study.TURNED) & (rows.n == 500) & (rows.budget == SAME_PARAMETERS)].set_index("subject")
    assert rows.flops[AVERAGED] == 4 * rows.flops[PLAIN] and rows.parameters[AVERAGED] == rows.parameters[PLAIN]


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bits(trial):
    assert repr(measurements(TINY, context())) == repr(trial[0])


def test_fixed_splits_of_larger_images():
    rng = np.random.default_rng(0)
    made = {f"{part}_x": rng.random((n, 28, 28), dtype=np.float32) for part, n in (("train", 60), ("test", 9))}
    made |= {f"{part}_y": np.arange(n) % 10 for part, n in (("train", 60), ("test", 9))}
    of = Context(seed=100, loader={"mnist": made}.get)
    settings = {"validation": 20, "width": 2, "steps": 1, "observed": 20, "units": 4, "fit_steps": 2}
    rows = pd.DataFrame(measurements(PriorKnowledge(dataset="mnist", sizes=(20, 40), **settings), of))
    assert rows.n.dropna().unique().tolist() == [20, 40]
    assert math.isclose(rows[rows.subject == C4].equivariance_error.max(), 0, abs_tol=1e-4)


def test_sizes_go_up():
    with pytest.raises(ParameterError, match="smallest to the largest"):
        PriorKnowledge(sizes=(500, 50))


# --------------------------------------------------------------------------------------------------------- the rules


def frame(c4=0.95, plain=0.85, augmented=0.9, wide=0.9, averaged=0.88, both=0.91, ratio=100.0, drift=10.0,
          wide_drift=10.0, way_up=0.25, wrong=0.2, upright=0.95, true=0.001):  # fmt: skip
    rows = []
    for seed in range(6):
        noise = 0.002 * np.random.default_rng(seed).standard_normal()

        def add(subject, budget, task, seed=seed, **values):
            rows.append({"seed": seed, "subject": subject, "budget": budget, "task": task, **values})

        for n, less in ((50, 0.2), (500, 0.0)):
            images = {"task": study.TURNED, "n": n}
            add(C4, BOTH, test_accuracy=c4 - less + noise, equivariance_error=1e-6, **images)
            add(PLAIN, SAME_PARAMETERS, test_accuracy=plain - less, equivariance_error=0.3, **images)
            error = ratio * 1e-6 * (1 + noise)
            add(AUGMENTED, SAME_PARAMETERS, test_accuracy=augmented - less, equivariance_error=error, **images)
            add(AVERAGED, SAME_PARAMETERS, test_accuracy=averaged - less, equivariance_error=1e-7, **images)
            add(BOTH_WAYS, SAME_PARAMETERS, test_accuracy=both - less, equivariance_error=1e-7, **images)
        add(AUGMENTED, SAME_FLOPS, study.TURNED, n=500, test_accuracy=wide, equivariance_error=0.2)
        add(C4, BOTH, study.WAY_UP, n=500, test_accuracy=way_up + noise)
        add(PLAIN, SAME_PARAMETERS, study.WAY_UP, n=500, test_accuracy=0.85)
        add(C4, BOTH, study.UPRIGHT, n=500, test_accuracy=upright + noise)
        add(PLAIN, SAME_PARAMETERS, study.UPRIGHT, n=500, test_accuracy=0.95)
        for task, at_parameters, at_flops in ((study.KEPT, drift, wide_drift), (study.LOST, wrong, 0.2)):
            add(study.HAMILTONIAN, BOTH, task, energy_error=0.01 * (1 + noise))
            add(study.PERCEPTRON, SAME_PARAMETERS, task, energy_error=0.01 * at_parameters)
            add(study.PERCEPTRON, SAME_FLOPS, task, energy_error=0.01 * at_flops)
            add(study.TRUE, BOTH, task, energy_error=true * (1 + noise))
    return pd.DataFrame(rows).set_index("seed")


def outcomes(rows):
    return [claim.rule(rows).outcome for claim in PriorKnowledge.claims]


def test_what_is_claimed_makes_every_rule_hold():
    assert outcomes(frame()) == ["holds"] * 11


@pytest.mark.parametrize(
    ("change", "failing"),
    [
        ({"plain": 0.94}, [0]),
        ({"augmented": 0.94}, [1]),
        ({"wide": 0.94}, [2]),
        ({"averaged": 0.94}, [3]),
        ({"both": 0.94}, [3]),
        ({"ratio": 5.0}, [4]),
        ({"drift": 2.0}, [5]),
        ({"wide_drift": 2.0}, [5]),
        ({"way_up": 0.8}, [6]),
        ({"wrong": 1.5}, [7]),
        ({"upright": 0.99}, [8]),
        ({"true": 0.02}, [9]),
        ({"augmented": 0.7}, [10]),
    ],
)
def test_what_breaks_a_rule(change, failing):
    assert [i for i, outcome in enumerate(outcomes(frame(**change))) if outcome != "holds"] == failing


def test_kinds_of_controls():
    kinds = [claim.kind for claim in PriorKnowledge.claims if isinstance(claim, Control)]
    assert kinds == ["positive", "positive", "negative", "gate", "gate"]


def test_rules_decide_nothing_on_less_than_six_seeds():
    assert set(outcomes(frame().loc[:4])) == {"inconclusive"}


# ------------------------------------------------------------------------------------------------------- the picture


@pytest.mark.parametrize("rows", [pd.DataFrame(), frame(), frame().loc[[3]]], ids=["none", "six seeds", "one seed"])
@pytest.mark.parametrize("kept", [False, True])
def test_the_picture(rows, kept, trial):
    figure = drawn(TINY, rows, {3: trial[1]} if kept else {})
    assert [len(axes.lines) for axes in figure.axes[2:]] == [3 * kept] * 2
    assert len(figure.axes[0].lines) == (6 if len(rows) else 0)
