"""optimization_sensitivity: the grid against training alone, what is summed up, rules on frames of known verdict."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional as F

from dlbench import Context, Control
from dlbench.data.images import DIGITS
from dlbench.errors import ParameterError
from dlbench.runner.trial import measurements
from dlbench.stacking import batches
from dlbench_plugins.limits import optimization_sensitivity as study
from dlbench_plugins.limits.optimization_sensitivity import (
    LOGISTIC,
    NORM_SKIP,
    OPTIMIZERS,
    PLAIN,
    RATES,
    OptimizationSensitivity,
    Outcome,
)

from .drawing import drawn

TINY = OptimizationSensitivity(
    train_size=40, validation=20, depths=(1, 3), scales=(0.5, 2.0), width=5, steps=4, batch_size=8, starts=2,
    iterations=2, resolution=3,
)  # fmt: skip


def context(seed=100):
    return Context(seed=seed, loader={"digits": DIGITS.load()}.get)


@pytest.fixture(scope="module")
def trial():
    of = context()
    return measurements(TINY, of), of.kept


# --------------------------------------------------------------------------------------------------------------- data


def test_parts_do_not_overlap_and_are_vectors():
    task = TINY.split(context())
    assert [len(part.y) for part in task] == [40, 20, 1737]
    assert task.train.x.shape == (40, 64)
    assert len(torch.cat([part.x for part in task]).unique(dim=0)) == 1797
    assert float(task.train.x.std(correction=0)) == pytest.approx(1, abs=1e-4)


def test_curves_and_fixed_splits():
    curves = OptimizationSensitivity(dataset="mnist1d", train_size=40, validation=20)
    assert curves.datasets() == ()
    assert [part.x.shape for part in curves.split(context())] == [(40, 40), (20, 40), (2000, 40)]
    rng = np.random.default_rng(0)
    made = {f"{part}_x": rng.random((n, 28, 28), dtype=np.float32) for part, n in (("train", 70), ("test", 9))}
    made |= {f"{part}_y": np.arange(n) % 10 for part, n in (("train", 70), ("test", 9))}
    images = OptimizationSensitivity(dataset="mnist", train_size=40, validation=20)
    task = images.split(Context(seed=100, loader={"mnist": made}.get))
    assert [part.x.shape for part in task] == [(40, 784), (20, 784), (9, 784)]
    assert task.test.y.tolist() == list(range(9))


# ----------------------------------------------------------------------------------------------------------- networks


@pytest.mark.parametrize(("subject", "depth", "layers"), [(PLAIN, 3, 4), (NORM_SKIP, 3, 4), (LOGISTIC, 0, 1)])
def test_networks_have_as_many_layers(subject, depth, layers):
    net = TINY.build(subject, depth, 64)
    linear = [m for m in net.modules() if isinstance(m, torch.nn.Linear)]
    assert len(linear) == layers and net(torch.zeros(2, 64)).shape == (2, 10)
    assert all((layer.bias == 0).all() for layer in linear)


def test_plain_and_norm_skip_have_as_many_parameters():
    counts = [sum(p.numel() for p in TINY.build(s, 3, 64).parameters()) for s in (PLAIN, NORM_SKIP)]
    assert counts[0] == counts[1]


def test_a_block_that_says_nothing_is_the_identity():
    block = study.Block(5)
    torch.nn.init.zeros_(block.linear.weight)
    torch.nn.init.zeros_(block.linear.bias)
    x = torch.randn(3, 5)
    assert torch.equal(block(x), x)


def test_first_weights_are_as_large_as_he_et_al_say_and_are_scaled():
    torch.manual_seed(0)
    net = OptimizationSensitivity(width=400).build(PLAIN, 1, 64)
    assert float(net[0].weight.detach().std()) == pytest.approx((2 / 64) ** 0.5, rel=0.03)
    assert torch.equal(study.scaled(net, 4.0)[0].weight, 4 * net[0].weight)


def test_shuffling_changes_the_order_and_no_function():
    net = TINY.build(PLAIN, 2, 64)
    other = study.shuffled(net, torch.Generator().manual_seed(1))
    x = torch.randn(7, 64)
    assert not torch.equal(other[0].weight, net[0].weight)
    assert torch.allclose(other(x), net(x), atol=1e-5)


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("rate", [RATES[3], RATES[4]])
def test_a_setting_of_the_grid_is_as_if_trained_alone(kind, rate):
    task = TINY.split(context())
    torch.manual_seed(0)
    net = TINY.build(PLAIN, 2, 64)
    stack = study.Stack([net] * (3 * len(RATES)))
    rows = [b[0] for b in batches([40], 8, steps=5, generators=[torch.Generator().manual_seed(1)])]
    study.descend(stack, [(k, torch.tensor(RATES)) for k in OPTIMIZERS], iter(rows), task, steps=5, shared=True)
    alone = (torch.optim.Adam if kind == "adam" else torch.optim.SGD)(
        net.parameters(), lr=rate, **({"momentum": 0.9} if kind == "momentum" else {})
    )
    for step, chosen in enumerate(rows):
        alone.param_groups[0]["lr"] = rate * (1 - step / 5)
        alone.zero_grad()
        F.cross_entropy(net(task.train.x[chosen]), task.train.y[chosen]).backward()
        alone.step()
    ours = stack[OPTIMIZERS.index(kind) * len(RATES) + RATES.index(rate)]
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(ours.parameters(), net.parameters(), strict=True))


# --------------------------------------------------------------------------------------------------------- the trial


def test_what_is_measured(trial):
    rows = pd.DataFrame(trial[0])
    assert rows[rows.over == "depth"].groupby("subject").depth.agg(list).to_dict() == {
        PLAIN: [1, 3], NORM_SKIP: [1, 3], LOGISTIC: [0],
    }  # fmt: skip
    assert (rows.over == "grid").sum() == 3 and (rows.over == "optimizer").sum() == 9
    assert len(rows[rows.over == "curvature"]) == 10 and len(rows[rows.over == "seeds"]) == 2
    ways = rows[rows.over == "ways"].groupby("subject").way.agg(set)
    assert ways[PLAIN] == {"other start", "other order", "aligned", "shuffled copy"}
    assert ways[LOGISTIC] == {"other start", "other order"}
    assert (rows[(rows.over == "ways") & (rows.subject == LOGISTIC)].barrier < study.ROUNDING).all()
    for name, metric in OptimizationSensitivity.metrics.items():
        values = rows[name].dropna()
        assert len(values) and values.between(metric.low, metric.high).all(), name
    kept = trial[1]
    assert kept[f"accuracy {PLAIN}"].shape == (2, 3, 11, 2) and kept[f"accuracy {LOGISTIC}"].shape == (1, 3, 11, 2)
    assert kept[f"surface {PLAIN}"].shape == kept[f"surface {NORM_SKIP}"].shape == (3, 3)
    assert kept[f"way {PLAIN} other start"].shape == (2, study.POINTS)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bits(trial):
    assert repr(measurements(TINY, context())) == repr(trial[0])


def test_settings_that_explode_have_grown():
    task = TINY.split(context())
    torch.manual_seed(2)  # of most draws all neurons die, and the loss is that of a constant answer
    outcome = TINY.trained(TINY.build(PLAIN, 3, 64), task, context())
    assert outcome.grew[0, -1].any() and not outcome.grew[0, 0].any()  # SGD at 10 and at 1e-4


def test_what_is_summed_up_by_hand():
    """Validation chooses the second, 0.9 in the test; near are 0.9, 0.895 and what chance made better, 0.95."""
    none = torch.nn.Identity()
    first = Outcome(np.array([[0.8, 0.9]]), np.array([[0.95, 0.9]]), np.array([[False, True]]), none, none)
    second = Outcome(np.array([[0.7, 0.1]]), np.array([[0.895, 0.1]]), np.array([[False, False]]), none, none)
    assert study.summary([first, second]) == pytest.approx(
        {"share_near_best": 0.75, "failure_rate": 0.25, "divergence_rate": 0.25, "test_accuracy": 0.9}
    )


@pytest.mark.parametrize("change", [{"depths": (4, 2)}, {"depths": (2, 2)}, {"scales": (1.0, 0.5)}])
def test_grids_go_up(change):
    with pytest.raises(ParameterError, match="smallest to the largest"):
        OptimizationSensitivity(**change)


# --------------------------------------------------------------------------------------------------------- the rules


def frame(convex=0.6, net=0.2, start=0.5, aligned=0.2, plain_fails=0.9, skip_fails=0.3, spread=0.03, 
          convex_barrier=-0.1, shuffled=1.0, accuracy=0.95):  # fmt: skip
    rows = []
    for seed in range(6):
        noise = 0.002 * np.random.default_rng(seed).standard_normal()
        for subject, share, fails in ((PLAIN, net, plain_fails), (NORM_SKIP, 0.3, skip_fails), (LOGISTIC, convex, 0.2)):
            common = {"seed": seed, "subject": subject, "data": "digits"}
            summed = {"share_near_best": share + noise, "failure_rate": 0.4, "test_accuracy": accuracy + noise}
            rows.append({**common, "over": "grid", **summed})
            for depth in (2, 16) if subject != LOGISTIC else (0,):
                rows.append({**common, "over": "depth", "depth": depth, "failure_rate": fails + noise})
        ways = {(PLAIN, "other start"): start, (PLAIN, "other order"): start, (PLAIN, "aligned"): aligned}
        ways |= {(PLAIN, "shuffled copy"): shuffled}
        ways |= {(LOGISTIC, "other start"): convex_barrier, (LOGISTIC, "other order"): convex_barrier}
        for (subject, way), height in ways.items():
            row = {"seed": seed, "subject": subject, "data": "digits", "over": "ways", "way": way}
            rows.append({**row, "barrier": height + abs(noise) / 100})
        seeds = {"seed": seed, "data": "digits", "over": "seeds", "seed_range": spread + noise}
        rows += [{**seeds, "subject": PLAIN}, {**seeds, "subject": LOGISTIC, "seed_range": 0.015}]
    return pd.DataFrame(rows).set_index("seed")


def outcomes(rows):
    return [claim.rule(rows).outcome for claim in OptimizationSensitivity.claims]


def test_what_is_claimed_makes_every_rule_hold():
    assert outcomes(frame()) == ["holds"] * 8


@pytest.mark.parametrize(
    ("change", "failing"),
    [
        ({"convex": 0.3}, [0]),
        ({"start": -0.1}, [1]),
        ({"aligned": -0.1}, [2]),
        ({"skip_fails": 0.7}, [3]),
        ({"spread": 0.005}, [4]),
        ({"convex_barrier": 0.01}, [5]),
        ({"shuffled": 0.02}, [6]),
        ({"accuracy": 0.8}, [7]),
    ],
)
def test_what_breaks_a_rule(change, failing):
    assert [i for i, outcome in enumerate(outcomes(frame(**change))) if outcome != "holds"] == failing


def test_kinds_of_controls():
    kinds = [claim.kind for claim in OptimizationSensitivity.claims if isinstance(claim, Control)]
    assert kinds == ["negative", "positive", "gate"]


def test_rules_decide_nothing_on_less_than_six_seeds():
    assert set(outcomes(frame().loc[:4])) == {"inconclusive"}


# ------------------------------------------------------------------------------------------------------- the picture


@pytest.mark.parametrize("rows", [pd.DataFrame(), frame(), frame().loc[[3]]], ids=["none", "six seeds", "one seed"])
@pytest.mark.parametrize("kept", [False, True])
def test_the_picture(rows, kept, trial):
    figure = drawn(TINY, rows, {3: trial[1]} if kept else {})
    maps, curves = figure.subfigs[0].axes, figure.subfigs[1].axes
    assert [len(axes.images) for axes in maps[:5]] == [int(kept)] * 5
    assert len(curves) == 4 + kept
    assert len(curves[0].lines) == (len(study.WAYS) if kept else 0)
