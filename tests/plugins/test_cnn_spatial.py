"""cnn_spatial: networks by hand, equal costs, the tasks, and rules on frames whose verdict is known."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from dlbench import Context, Control
from dlbench.cost import parameters
from dlbench.errors import ParameterError
from dlbench.runner.trial import measurements
from dlbench_plugins.convolutions import cnn_spatial as study
from dlbench_plugins.convolutions.cnn_spatial import CNNSpatial
from dlbench_plugins.convolutions.ladder import (
    CONV,
    FULL,
    LADDER,
    LOCAL,
    MIXER,
    POOLED,
    PUBLISHED,
    build,
    published,
    widened,
)
from dlbench_plugins.convolutions.tasks import MOVES, OLD, PIXELS, consistency, of_images, of_signals, right_share
from dlbench_plugins.networks import Examples, as_costly, flops

from .drawing import drawn

TINY = CNNSpatial(
    sizes=(20, 60), validation=20, tested=100, filters=4, fewer=(1, 2), steps=2, batch_size=10, probed=50,
)  # fmt: skip


def context(seed=100):
    return Context(seed=seed)


# ----------------------------------------------------------------------------------------------------------- networks


@pytest.mark.parametrize("kind", [*LADDER, MIXER, POOLED])
def test_networks_take_signals(kind):
    assert build(kind, [40], 6, 10)(torch.zeros(3, 40)).shape == (3, 10)


def test_parameters_by_hand():
    """Windows of 5, 3, 3 inputs at 18, 8 and 3 places; a window's weights and one bias, once or at every place."""
    assert parameters(build(CONV, [40], 2, 10)) == 2 * 6 + 2 * 7 + 2 * 7 + 10 * 7
    assert parameters(build(LOCAL, [40], 2, 10)) == 18 * 12 + 8 * 14 + 3 * 14 + 70
    assert parameters(build(FULL, [40], 2, 10)) == 2 * 41 + 2 * 3 + 2 * 3 + 10 * 3
    assert parameters(build(POOLED, [40], 2, 10)) == 12 + 14 + 14 + 10 * 3


def test_flops_by_hand():
    products = 18 * 5 * 2 + 8 * 6 * 2 + 3 * 6 * 2 + 6 * 10
    assert flops(build(CONV, [40], 2, 10), [40]) == flops(build(LOCAL, [40], 2, 10), [40]) == 2 * products
    assert flops(build(FULL, [40], 2, 10), [40]) == 2 * (80 + 4 + 4 + 20)


@pytest.mark.parametrize(("budget", "width"), [(1, 1), (2, 1), (11, 3), (13, 4), (100, 10)])
def test_the_width_that_costs_most_nearly_as_much(budget, width):
    assert as_costly(lambda width: width, lambda width: width**2, budget) == width


@pytest.mark.parametrize("kind", [CONV, FULL])
def test_a_widened_network_is_the_narrow_one_and_remains_so(kind):
    torch.manual_seed(0)
    narrow = build(kind, [40], 2, 10)
    wide = widened(narrow, build(kind, [40], 5, 10))
    x, y = torch.randn(30, 40), torch.arange(30) % 10
    assert torch.allclose(wide(x), narrow(x), atol=1e-6)
    for net in (narrow, wide):
        adam = torch.optim.Adam(net.parameters(), 0.01)
        for _ in range(5):
            adam.zero_grad()
            nn.functional.cross_entropy(net(x), y).backward()
            adam.step()
    assert torch.allclose(wide(x), narrow(x), atol=1e-4)


def test_the_mean_over_places_makes_a_convolution_invariant():
    """Far from the ends a curve can move by the product of the strides, 8, and nothing changes."""
    x = torch.zeros(1, 120)
    x[0, 48:52] = torch.randn(4)
    shared, own = build(POOLED, [120], 3, 10), build(CONV, [120], 3, 10)
    assert torch.allclose(shared(x), shared(x.roll(8, 1)), atol=1e-5)
    assert not torch.allclose(own(x), own(x.roll(8, 1)), atol=1e-2)


def test_published_networks_have_their_published_numbers_of_parameters():
    counts = {kind: parameters(published(kind, 40, 10)) for kind in PUBLISHED}
    assert counts == {"logistic": 410, "mlp": 15_210, "cnn": 5210, "gru": 5134}


# -------------------------------------------------------------------------------------------------------------- tasks


def test_tasks():
    signals = of_signals(TINY.sizes, 20, 100, 50, context())
    assert [len(signals.train[f"n={size}"].y) for size in TINY.sizes] == [20, 60]
    assert torch.equal(signals.train["n=20"].x, signals.train["n=60"].x[:20])
    permuted, ordered = signals.train[study.PERMUTED].x, signals.train["n=60"].x
    assert not torch.equal(permuted, ordered) and torch.equal(permuted.sort(1)[0], ordered.sort(1)[0])
    order = [int((column == ordered.T).all(1).nonzero()) for column in permuted.T]
    assert torch.equal(signals.permuted_test.x, signals.test.x[:, order])
    assert signals.train["old classes"].y.max() < OLD
    held, train, test = signals.new_classes
    assert all(set(part.y.tolist()) <= set(range(5)) for part in (held, train, test))
    assert len(test.y) == int((signals.test.y >= OLD).sum())
    assert set(signals.moved) == set(MOVES)


IMAGES = np.random.default_rng(0).random((300, 28, 28), np.float32), np.arange(300) % 10


def of_made_images(channels, tested=100):
    x, y = IMAGES
    made = context()
    data = {"x": x} if channels == 1 else {"x": np.stack([x, 2 * x, 3 * x], 1)}
    object.__setattr__(made, "data", lambda name: {**data, "y": y})
    return of_images("made", (20, 60), 30, tested, 50, made)


@pytest.mark.parametrize("channels", [1, 3])
def test_tasks_of_images(channels):
    images = of_made_images(channels)
    assert images.shape == (channels, 28, 28) and len(images.test.y) == 100
    assert torch.equal(images.train[study.STANDING].x, images.train["n=60"].x)
    assert list(images.moved) == list(PIXELS)
    assert torch.equal(images.moved[0].x, images.test.x)
    moved = images.moved[4].x
    assert torch.equal(moved[..., 4:], images.test.x[..., :-4]) and moved[..., :4].abs().max() == 0
    mixed, ordered = images.permuted_test.x, images.test.x
    assert not torch.equal(mixed, ordered)
    assert torch.equal(mixed.flatten(2).sort(2)[0], ordered.flatten(2).sort(2)[0])
    if channels == 3:  # the channels of a pixel stay together
        assert torch.equal(mixed[:, 1], 2 * mixed[:, 0])
    assert len(of_made_images(1, tested=10**6).test.y) == 300 - 90


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32)])
@pytest.mark.parametrize("kind", [*LADDER, MIXER, POOLED])
def test_networks_take_images(kind, shape):
    assert build(kind, shape, 3, 10)(torch.zeros(2, *shape)).shape == (2, 10)


def test_windows_of_images_are_those_of_a_convolution_by_torch():
    net = build(CONV, (3, 32, 32), 4, 10)
    own = nn.Conv2d(3, 4, 5, stride=2)
    weight = net[0][1].weights.weight.detach().view(4, 5, 5, 3)
    with torch.no_grad():  # of what a window shows, the last dimension comes first
        own.weight.copy_(weight.permute(0, 3, 2, 1))
        own.bias.zero_()
    x = torch.randn(2, 3, 32, 32)
    assert torch.allclose(net[0][1](net[0][0](x)).movedim(-1, 1), own(x), atol=1e-5)


@pytest.mark.parametrize(("preset", "shape"), [("mnist", (1, 28, 28)), ("cifar10", (3, 32, 32))])
def test_ladders_on_images_cost_the_same(preset, shape):
    filters = CNNSpatial.presets[preset]["filters"]
    convolution = build(CONV, shape, filters, 10)
    for cost in (parameters, lambda net: flops(net, shape)):
        for kind in (LOCAL, FULL):
            width = as_costly(lambda width, kind=kind: build(kind, shape, width, 10), cost, cost(convolution))
            assert cost(build(kind, shape, width, 10)) == pytest.approx(cost(convolution), rel=study.BUDGET)


def test_a_roll_changes_no_answer_of_a_network_that_does_not_look():
    net = nn.Sequential(nn.Linear(40, 10))
    nn.init.zeros_(net[0].weight)
    assert consistency(net, torch.randn(9, 40), 3) == 1.0
    first = nn.Linear(40, 2)
    with torch.no_grad():
        first.weight.zero_()
        first.bias.zero_()
        first.weight[1, 0] = 1.0  # the answer is whether the first number is above 0
    x = -torch.ones(4, 40)
    x[:2, -1] = 1.0  # of two, the last becomes the first
    assert consistency(first, x, 1) == 0.5
    assert right_share(first, Examples(x, torch.tensor([0, 0, 0, 1]))) == 0.75


# --------------------------------------------------------------------------------------------------------- the trial


@pytest.fixture(scope="module")
def trial():
    return measurements(TINY, context())


def test_what_is_measured(trial):
    rows = pd.DataFrame(trial)
    ladder = rows[(rows.positions == study.ORDERED) & (rows.n == 60)].groupby("budget").subject.agg(list).to_dict()
    assert ladder[study.BOTH] == [CONV] and ladder[study.SAME_FLOPS] == [FULL, LOCAL]
    assert ladder[study.SAME_PARAMETERS] == [FULL, LOCAL, MIXER]
    own = rows[(rows.budget == study.OWN)]
    assert own.filters.tolist() == [1, 2] and own.parameters.tolist() == [54, 110]
    standing = rows[rows.positions == study.STANDING].groupby("subject").moved.agg(list)
    assert standing.to_dict() == {subject: list(MOVES) for subject in LADDER}
    probes = rows.dropna(subset="probe_accuracy").subject.tolist()
    assert probes == [study.TRAINED, study.UNTRAINED, study.RAW]
    assert set(rows[rows.positions == study.PERMUTED].subject) == {*LADDER, MIXER}
    assert rows.shift_consistency.notna().sum() == 6 * len(study.ROLLED)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bits(trial):
    assert repr(measurements(TINY, context())) == repr(trial)


def test_published_networks_are_measured_where_asked_for():
    tiny = CNNSpatial(**{**TINY.__dict__, "compared": ("gru", "cnn", POOLED), "steps": 1})
    rows = pd.DataFrame(measurements(tiny, context()))
    for subject in ("gru", "cnn"):
        assert set(rows[rows.subject == subject].positions) == {study.ORDERED, study.PERMUTED}
    assert study.STANDING in set(rows[rows.subject == POOLED].positions)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"sizes": (60, 20)}, "smallest to the largest"),
        ({"fewer": (1, 25)}, "less than the 25"),
        ({"dataset": "mnist", "compared": ("gru",)}, "for signals"),
    ],
)
def test_settings_that_cannot_be(change, match):
    with pytest.raises(ParameterError, match=match):
        CNNSpatial(**change)


# --------------------------------------------------------------------------------------------------------- the rules


def frame(local=(0.6, 0.65), full=(0.5, 0.5), conv=0.8, one=0.2, permuted=0.5, full_permuted=0.5, keeps=0.3,
          full_moved=0.1, probe=0.8, raw=0.5, untrained=0.6, cost=100):  # fmt: skip
    rows = []
    budgets = (study.SAME_PARAMETERS, study.SAME_FLOPS)
    for seed in range(6):
        noise = 0.002 * np.random.default_rng(seed).standard_normal()

        def add(subject, seed=seed, **values):
            rows.append({"seed": seed, "subject": subject, **values})

        for n, less in ((200, 0.1), (8000, 0.0)):
            common = {"positions": study.ORDERED, "n": n}
            price = {"parameters": 100, "flops": 100}
            at = {**common, **price}
            add(CONV, budget=study.BOTH, filters=25, test_accuracy=conv - less + noise, **at)
            for budget, of_local, of_full in zip(budgets, local, full, strict=True):
                add(LOCAL, budget=budget, filters=10, test_accuracy=of_local - less, **{**at, "parameters": cost})
                add(FULL, budget=budget, filters=10, test_accuracy=of_full - less, **at)
        common = {"positions": study.PERMUTED, "n": 8000}
        add(CONV, budget=study.BOTH, filters=25, test_accuracy=permuted + noise, **common)
        add(FULL, budget=study.SAME_PARAMETERS, filters=10, test_accuracy=full_permuted + noise, **common)
        add(CONV, budget=study.OWN, filters=1, positions=study.ORDERED, n=8000, test_accuracy=one + noise)
        for subject, still, moved in ((CONV, 0.9, keeps), (LOCAL, 0.9, 0.15), (FULL, 0.9, full_moved)):
            for move, right in ((0, still), (study.MOVED, moved)):
                standing = {"positions": study.STANDING, "n": 8000, "moved": move, "budget": study.SAME_PARAMETERS}
                add(subject, test_accuracy=right + noise, **standing)
        for subject, right in ((study.TRAINED, probe), (study.RAW, raw), (study.UNTRAINED, untrained)):
            add(subject, probe_accuracy=right + (noise if subject == study.TRAINED else 0))
    return pd.DataFrame(rows).set_index("seed")


def outcomes(rows):
    return [claim.rule(rows).outcome for claim in CNNSpatial.claims]


def test_what_is_claimed_makes_every_rule_hold():
    assert outcomes(frame()) == ["holds"] * 12


@pytest.mark.parametrize(
    ("change", "failing"),
    [
        ({"local": (0.51, 0.65)}, [0]),
        ({"local": (0.6, 0.51)}, [1]),
        ({"local": (0.79, 0.65)}, [2]),
        ({"local": (0.6, 0.79)}, [3]),
        ({"one": 0.75}, [4]),
        ({"permuted": 0.7}, [5]),
        ({"keeps": 0.16}, [6]),
        ({"raw": 0.79}, [7]),
        ({"untrained": 0.79}, [7]),
        ({"full_permuted": 0.4}, [8]),
        ({"full_moved": 0.8}, [9]),
        ({"cost": 110}, [10]),
        ({"conv": 0.55, "one": 0.1, "permuted": 0.1, "local": (0.51, 0.51), "full": (0.4, 0.4)}, [8, 11]),
    ],
)
def test_what_breaks_a_rule(change, failing):
    assert [i for i, outcome in enumerate(outcomes(frame(**change))) if outcome != "holds"] == failing


def test_kinds_of_controls():
    kinds = [claim.kind for claim in CNNSpatial.claims if isinstance(claim, Control)]
    assert kinds == ["negative", "positive", "gate", "gate"]


def test_rules_decide_nothing_on_less_than_six_seeds():
    assert set(outcomes(frame().loc[:4])) == {"inconclusive"}


# ------------------------------------------------------------------------------------------------------- the picture


@pytest.mark.parametrize("rows", [pd.DataFrame(), frame(), frame().loc[[3]]], ids=["none", "six seeds", "one seed"])
def test_the_picture(rows):
    figure = drawn(TINY, rows, {})
    assert len(figure.axes) == 4
    if len(rows):
        assert len(figure.axes[0].patches) == 7 and len(figure.axes[2].lines) == 3
