"""depth_width_tradeoff: exact nets, pieces counted by hand, and rules on frames whose verdict is known."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure

from dlbench import Context, Control
from dlbench.runner.trial import measurements
from dlbench_plugins.expressivity import depth_width_tradeoff as study
from dlbench_plugins.expressivity.depth_width_tradeoff import DepthWidthTradeoff, Problem

TINY = DepthWidthTradeoff(ks=(1, 2, 3), trained_ks=(1, 2), shaped_ks=(1, 2), trained_widths=(16,), steps=20, points=64)


def problem(target="wave", k=2, seed=100):
    return Problem(target, k, 256, Context(seed=seed))


# ------------------------------------------------------------------------------------------------------- the targets


@pytest.mark.parametrize("k", [1, 3])
def test_the_wave_has_two_to_the_k_teeth(k):
    of = problem(k=k)
    of.margin = 0.0
    y = of.at(torch.linspace(0, 1, 2 ** (k + 1) + 1, dtype=torch.float64)).y[:, 0]
    assert y.tolist() == [0.0, 1.0] * 2**k + [0.0]


def test_the_smooth_target_is_monotone_from_nought_to_one():
    of = problem("smooth", k=7)
    y = of.at(torch.linspace(0, 1, 1000, dtype=torch.float64)).y[:, 0]
    assert (y.diff() > 0).all()
    assert y[0] < 0.03
    assert y[-1] > 0.97


def test_the_window_is_the_same_for_every_k_and_another_for_another_seed():
    assert problem(k=1).margin == problem(k=5).margin != problem(seed=101).margin


# ---------------------------------------------------------------------------------------------------------- the nets


@pytest.mark.parametrize("k", [1, 2, 5, 7])
def test_tents_are_exact_with_two_units_a_layer(k):
    of = problem(k=k)
    net = of.tents(k + 1)
    assert of.rmse(net, of.test) < 1e-9
    assert study.units(net) == 2 * (k + 1)
    assert study.parameters(net) == 4 + 6 * k + 3
    assert study.pieces(net, "cpu") == 2 ** (k + 1)


def test_one_unit_a_kink_is_exact():
    of = problem(k=3)
    net = of.knots_at_kinks()
    assert of.rmse(net, of.test) < 1e-9
    assert study.units(net) == study.pieces(net, "cpu") == 16


@pytest.mark.parametrize("width", [1, 3, 10])
def test_even_knots_are_least_squares_on_relus(width):
    of = problem(k=2)
    x = (torch.arange(4096, dtype=torch.float64) + 0.5) / 4096
    y = of.at(x).y
    units = torch.relu(x[:, None] - torch.arange(width, dtype=torch.float64) / width)
    h = torch.cat([units, torch.ones(4096, 1, dtype=torch.float64)], 1)
    solved = h @ torch.linalg.lstsq(h, y).solution
    net = study.through(*of.even_knots(width))
    assert study.units(net) == width
    assert torch.allclose(net(x[:, None]), solved, atol=1e-6)


def test_with_half_as_many_even_knots_as_pieces_nothing_is_gained_over_a_constant():
    of = problem(k=4)
    constant = float(of.test.y.std())
    assert constant == pytest.approx(1 / math.sqrt(12), rel=0.02)
    assert of.rmse(study.through(*of.even_knots(16)), of.test) > 0.9 * constant


def test_pieces_of_nets_by_hand():
    bent = study.through(np.array([0.0, 0.3, 0.5, 1.0]), np.array([0.0, 1.0, 1.0, -2.0]))
    assert study.pieces(bent, "cpu") == 3
    assert study.pieces(study.through(np.array([0.0, 1.0]), np.array([1.0, 3.0])), "cpu") == 1
    assert bent(torch.tensor([[0.15], [0.4], [0.75]], dtype=torch.float64))[:, 0].tolist() == pytest.approx(
        [0.5, 1, -0.5]
    )


def test_the_trained_nets_have_equally_many_parameters():
    nets = (study.shallow(128)(), study.deep(), study.residual())
    assert {study.parameters(net) for net in nets} == {385}


def test_the_least_net_is_the_first_that_is_close():
    of = problem(k=2)
    least = of.least_even_knots(32)
    width = least["units_needed"]
    errors = [of.rmse(study.through(*of.even_knots(w)), of.test) for w in range(1, width + 1)]
    assert [error <= study.CLOSE for error in errors] == [False] * (width - 1) + [True]
    assert least["rmse"] == pytest.approx(errors[-1])
    assert "units_needed" not in of.least_even_knots(2)
    assert of.least_tents(5)["units_needed"] == 6
    assert "units_needed" not in of.least_tents(2)


# ------------------------------------------------------------------------------------------- other functions, in full


def test_parity_and_radius():
    signs = study.parity(5, Context(seed=100)).train
    assert set(signs.x.unique().tolist()) == {-1.0, 1.0}
    assert torch.equal(signs.y, ((signs.x < 0).sum(1) % 2 == 0).long())
    points = study.radial(7, Context(seed=100)).train
    radius = points.x.norm(dim=1)
    assert radius.max() <= 1 + 1e-6
    assert radius.mean() == pytest.approx(0.5, abs=0.01)
    assert torch.allclose(points.y[:, 0], torch.sin(3 * math.pi * radius), atol=1e-4)


def test_widths_use_the_budget_and_no_more():
    for depth in (1, 2, 4, 8):
        width = study.width_for(5000, 20, 2, depth)
        sizes = [study.parameters(study.perceptron([20, *[w] * depth, 2])) for w in (width, width + 1)]
        assert sizes[0] <= 5000 < sizes[1]


def test_other_functions_are_compared_at_equal_parameters():
    data = {"train_x": np.zeros((40, 28, 28), np.float32), "train_y": np.arange(40) % 10}
    data |= {"test_x": data["train_x"], "test_y": data["train_y"]}
    full = DepthWidthTradeoff(more=("parity", "radial", "mnist"), dims=(3,), steps=2, budget=1000)
    rows = pd.DataFrame(r for task in full.more for r in full.compared(task, Context(seed=100, loader=lambda _: data)))
    assert full.datasets() == ("mnist",)
    assert (rows.groupby("target").size() == 4).all()
    assert rows[rows.target == "radial"].rmse.notna().all()
    assert rows[rows.target != "radial"].error.notna().all()
    assert rows[rows.target != "mnist"].parameters.between(700, 1000).all()


# --------------------------------------------------------------------------------------------------------- the trial


@pytest.fixture(scope="module")
def trial():
    return measurements(TINY, Context(seed=100))


def test_every_net_is_measured(trial):
    rows = pd.DataFrame(trial)
    trained = rows[rows.how == "trained"]
    assert set(trained[trained.target == "smooth"].subject) == {
        "shallow trained, 16 units",
        "deep trained",
        "residual trained",
    }
    assert (trained[trained.target == "wave"].groupby("subject").size() == 2).all()
    assert trained.subject.nunique() == 6
    deep = rows[(rows.how == "solved") & (rows.subject == "deep")]
    assert deep.units_needed.tolist() == [4, 6, 8]


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bits(trial):
    assert measurements(TINY, Context(seed=100)) == trial


# --------------------------------------------------------------------------------------------------------- the rules


def frame(shallow=lambda k: 3 * 2**k, deep=lambda k: 2 * k + 2, smooth=lambda k: 3, half=0.28, kinks=1e-9, near=0.01,
          found=0.01, pieces=10, trained_smooth=0.01, lost=False):  # fmt: skip
    rows = []
    for seed in range(6):
        noise = 1 + 0.01 * np.random.default_rng(seed).standard_normal()

        def add(subject, target, k, how, rmse, seed=seed, noise=noise, **more):
            row = {"seed": seed, "subject": subject, "target": target, "k": k, "how": how, "rmse": rmse * noise}
            rows.append({**row, "parameters": 100, "pieces": 10, **more})

        for k in range(1, 8):
            add("shallow", "wave", k, "solved", 0.04, units_needed=math.nan if lost and k == 7 else shallow(k))
            add("shallow", "smooth", k, "solved", 0.04, units_needed=smooth(k))
            add("deep", "wave", k, "solved", 0.0, units_needed=deep(k), parameters=3 * deep(k) + 1)
            add("shallow, half as many units", "wave", k, "solved", half)
            add("shallow, a unit at each kink", "wave", k, "solved", kinks)
        for k in (1, 5):
            for subject in ("deep trained", "residual trained", "narrow trained"):
                add(subject, "wave", k, "trained", found if k == 5 else 0.01, pieces=pieces)
            for level in study.NOISES:
                add(study.near(level), "wave", k, "trained", near)
        add("deep trained", "smooth", 5, "trained", trained_smooth)
    return pd.DataFrame(rows).set_index("seed")


def outcomes(rows):
    return [claim.rule(rows).outcome for claim in DepthWidthTradeoff.claims]


def test_what_is_claimed_makes_every_rule_hold():
    assert outcomes(frame()) == ["holds"] * 13


@pytest.mark.parametrize(
    ("change", "failing"),
    [
        ({"shallow": lambda k: 4 * k}, [0]),
        ({"deep": lambda k: 2**k}, [1]),
        ({"half": 0.1}, [2]),
        ({"found": 0.25}, [3, 4, 5]),
        ({"near": 0.25}, [6, 7]),
        ({"pieces": 60}, [8]),
        ({"smooth": lambda k: 2**k}, [9]),
        ({"kinks": 0.01}, [10]),
        ({"trained_smooth": 0.2}, [11]),
        ({"lost": True}, [0, 12]),
    ],
)
def test_what_breaks_a_rule(change, failing):
    assert [i for i, outcome in enumerate(outcomes(frame(**change))) if outcome != "holds"] == failing


def test_rules_name_each_kind_of_control():
    kinds = [c.kind for c in DepthWidthTradeoff.claims if isinstance(c, Control)]
    assert kinds == ["negative", "positive", "positive", "gate"]


def test_rules_decide_nothing_on_less_than_six_seeds_or_without_scores():
    assert set(outcomes(frame().loc[:4])) == {"inconclusive"}
    assert set(outcomes(frame().assign(**dict.fromkeys(DepthWidthTradeoff.metrics, math.nan)))) == {"inconclusive"}


# ------------------------------------------------------------------------------------------------------- the picture


@pytest.mark.parametrize(
    "rows",
    [pd.DataFrame(), frame().iloc[:0], frame(), frame().loc[[3]], frame().drop(columns="pieces")],
    ids=["no columns", "no rows", "six seeds", "one seed", "a metric short"],
)
def test_picture(rows):
    figure = Figure()
    TINY.plot(rows, figure, {})
    figure.draw_without_rendering()
    assert len(figure.axes) == 2
    assert all(axes.get_xlabel() and axes.get_ylabel() for axes in figure.axes)
    if len(rows):
        assert len(figure.axes[0].lines) == 4
