"""nas_vs_experts: equal parameters, recipes against training by hand, and rules on frames of known verdict."""

import copy

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional as F

from dlbench import Context, Control
from dlbench.cost import parameters
from dlbench.runner.trial import measurements
from dlbench.stacking import batches
from dlbench_plugins.networks import as_costly
from dlbench_plugins.search import nas_vs_experts as study
from dlbench_plugins.search.children import SPACE
from dlbench_plugins.search.nas_vs_experts import (
    AGAIN,
    CONV_BASE,
    EXPERTS,
    FOUND,
    LENET,
    PERCEPTRON,
    PUBLISHED,
    PUBLISHED_SIZE,
    SEARCHED,
    NASvsExperts,
)

from .drawing import drawn
from .test_nas_controller import table

TINY = NASvsExperts(
    sizes=(0, 1300, PUBLISHED_SIZE), evaluations=10, train_size=40, validation=20, test=30, steps=3, published_steps=4,
    published_batch=100,
)  # fmt: skip
CONVOLUTIONS = {"layer": "conv 5", "depth": 2, "width": 16, "activation": "relu", "norm": "layer", "rate": 0.01}


def context(seed=100):
    return Context(seed=seed, loader={"nas_children": table()}.get)


@pytest.fixture(scope="module")
def trial():
    return measurements(TINY, context())


# ------------------------------------------------------------------------------------------------------------- parts


def test_signals_are_the_trials_own():
    task = TINY.task(context())
    assert [part[0].shape for part in task] == [(1, 40, 40), (1, 20, 40), (1, 30, 40)]
    assert float(task.train[0].std(correction=0)) == pytest.approx(1, abs=1e-4)


def test_perceptrons_have_starts_of_their_own_number():
    recipe, make = study.Recipe(SEARCHED, (0.01,), 3, 64, falls=True), study.makers(CONVOLUTIONS, (40,))
    runs = [TINY.run(context(), name, make[name], 1300, recipe, {}) for name in (PERCEPTRON, AGAIN, CONV_BASE)]
    assert [len(run.nets) for run in runs] == [8, 8, 2] == [len(set(run.orders)) for run in runs]
    starts = {tuple(net[1].weight.flatten()[:3].tolist()) for run in runs[:2] for net in run.nets}
    assert len(starts) == 16


def test_lenet_has_the_published_layers():
    """Parameters of LeNet-5 in one dimension: 5 -> 6, 6 x 5 -> 16, 7 x 16 -> 120 -> 84 -> 10."""
    net = study.lenet((40,), 120)
    assert parameters(net) == 36 + (30 + 1) * 16 + 113 * 120 + 121 * 84 + 85 * 10
    assert net(torch.zeros(2, 40)).shape == (2, 10)


@pytest.mark.parametrize(("dataset", "shape"), [("mnist", (1, 28, 28)), ("cifar10", (3, 32, 32))])
def test_for_images_lenet_has_the_parameters_that_are_judged(dataset, shape):
    """LeNet-5: 5 x 5 -> 6, 6 x 5 x 5 -> 16, 16 x 5 x 5 -> 120 -> 84 -> 10 (all maps connected)."""
    net = study.lenet(shape, 120)
    first = (25 * shape[0] + 1) * 6
    assert parameters(net) == first + 151 * 16 + 401 * 120 + 121 * 84 + 85 * 10 == study.LENET_SIZE[dataset]
    assert net(torch.zeros(2, *shape)).shape == (2, 10)


@pytest.mark.parametrize("shape", [(40,), (1, 28, 28)])
@pytest.mark.parametrize("size", [1300, PUBLISHED_SIZE, 9000])
@pytest.mark.parametrize("subject", [FOUND, CONV_BASE, LENET, PERCEPTRON])
def test_widths_come_as_close_as_they_can(subject, size, shape):
    counts = [parameters(study.makers(CONVOLUTIONS, shape)[subject](width)) for width in range(1, 130)]
    width = as_costly(lambda width: width, lambda width: counts[width - 1], size)  # a network is its width
    assert abs(counts[width - 1] - size) == min(abs(n - size) for n in counts)


def test_at_the_published_size_conv_base_is_as_published():
    make = study.makers(CONVOLUTIONS, (40,))[CONV_BASE]
    net = make(as_costly(make, parameters, PUBLISHED_SIZE))
    assert parameters(net) == PUBLISHED_SIZE and net[1].out_channels == 25


def test_the_found_network_is_the_best_by_validation_of_what_was_asked_for():
    arrays = table()
    arrays["mnist1d validation"] = np.arange(3.0 * len(SPACE)).reshape(-1, 3)  # the later, the better
    arrays["mnist1d seconds"] = np.full((len(SPACE), 3), 2.0)
    choices, seconds = NASvsExperts(evaluations=100).found(Context(seed=100, loader={"nas_children": arrays}.get))
    assert choices["layer"] == "conv 7" and seconds == 2.0 * 3 * 100


def test_test_accuracies_choose_nothing():
    arrays = table()
    arrays["mnist1d test"] = 1 - arrays["mnist1d test"]
    other = Context(seed=100, loader={"nas_children": arrays}.get)
    assert TINY.found(other)[0] == TINY.found(context())[0]


def test_chosen_networks_are_as_if_trained_alone():
    """Two runs of one shape, one rate falling and one not, in one stack, from two starts each."""
    task = TINY.task(context())
    torch.manual_seed(0)
    nets, orders = [study.lenet((40,), 20), study.lenet((40,), 20)], [5, 6]
    recipes = [study.Recipe(SEARCHED, (0.001, 0.03), 6, 8, falls=True), study.Recipe(PUBLISHED, (0.01,), 6, 8, False)]
    ours = list(study.trained([study.Run(nets, orders, recipe, {"at": recipe.name}) for recipe in recipes], task))
    assert [row["at"] for row in ours] == [SEARCHED, PUBLISHED]
    for recipe, row in zip(recipes, ours, strict=True):
        of_rates = {rate: alone(nets, orders, rate, recipe.falls, task) for rate in recipe.rates}
        validation, test = max(of_rates.values(), key=lambda of: of[0])
        assert of_rates[row["rate"]] == (validation, test)
        assert (row["validation_accuracy"], row["test_accuracy"]) == pytest.approx((validation, test))
        assert row["parameters"] == parameters(nets[0])


def alone(nets, orders, rate, falls, task):
    """Mean accuracies, in validation and test, of networks trained one by one."""
    right = []
    x, y = (of[0] for of in task.train)
    for start, seed in zip(nets, orders, strict=True):
        net = copy.deepcopy(start)
        adam = torch.optim.Adam(net.parameters(), lr=rate)
        for step, rows in enumerate(batches([40], 8, steps=6, generators=[torch.Generator().manual_seed(seed)])):
            adam.param_groups[0]["lr"] = rate * (1 - step / 6 if falls else 1)
            adam.zero_grad()
            F.cross_entropy(net(x[rows[0]]), y[rows[0]]).backward()
            adam.step()
        right.append([float((net(x[0]).argmax(1) == y[0]).double().mean()) for x, y in (task.validation, task.test)])
    return tuple(np.mean(right, 0))


# ---------------------------------------------------------------------------------------------------------- the trial


def made_digits() -> dict[str, np.ndarray]:
    """Images like those of MNIST, and labels that can be read off them: the brightest row of pixels."""
    rng = np.random.default_rng(5)
    parts = {}
    for part, n in (("train", 90), ("test", 50)):
        y = rng.integers(0, 10, n)
        x = 0.2 * rng.random((n, 28, 28), dtype=np.float32)
        x[np.arange(n), 2 * y + 4] = 1
        parts |= {f"{part}_x": x, f"{part}_y": y}
    return parts


def test_on_images_what_was_found_on_small_ones_is_tried():
    arrays, size = table(), study.LENET_SIZE["mnist"]
    arrays["digits validation"] = np.arange(3.0 * len(SPACE)).reshape(-1, 3)  # the later, the better: convolutions
    settings = {"dataset": "mnist", "sizes": (size,), "train_size": 60, "validation": 30, "test": 40}
    small = NASvsExperts(**settings, evaluations=100, steps=3, published_steps=3)
    assert small.datasets() == ("nas_children", "mnist")
    images = Context(seed=100, loader={"nas_children": arrays, "mnist": made_digits()}.get)
    task = small.task(images)
    assert [part[0].shape for part in task] == [(1, n, 1, 28, 28) for n in (60, 30, 40)]
    assert abs(float(task.train[0].mean())) < 1e-5 and float(task.train[0].std(correction=0)) == pytest.approx(1)
    rows = pd.DataFrame(measurements(small, images))
    assert rows.groupby("recipe").subject.agg(set).to_dict() == {
        SEARCHED: {FOUND, *EXPERTS, PERCEPTRON, AGAIN},
        PUBLISHED: {FOUND, CONV_BASE},
    }
    assert rows[rows.subject == FOUND].child.str.startswith("layer conv 7, depth 3").all()
    assert rows.parameters.between(0.95 * size, 1.05 * size).all()


@pytest.mark.parametrize(("dataset", "shape"), [("mnist", (1, 28, 28)), ("cifar10", (3, 32, 32))])
@pytest.mark.parametrize("layer", SPACE.slots["layer"])
def test_at_the_judged_size_every_child_can_have_as_many_parameters(dataset, shape, layer):
    size = study.LENET_SIZE[dataset]
    for depth in SPACE.slots["depth"]:
        make = study.makers({**CONVOLUTIONS, "layer": layer, "depth": depth}, shape)
        for subject in (FOUND, PERCEPTRON, CONV_BASE, LENET):
            count = parameters(make[subject](as_costly(make[subject], parameters, size)))
            assert 0.9 < count / size < 1.1, (subject, depth, count)


def test_what_is_measured(trial):
    rows = pd.DataFrame(trial)
    assert rows.groupby(["size", "recipe"]).subject.agg(set).to_dict() == {
        (0, SEARCHED): {FOUND, *EXPERTS},
        (1300, SEARCHED): {FOUND, *EXPERTS},
        (PUBLISHED_SIZE, SEARCHED): {FOUND, *EXPERTS, PERCEPTRON, AGAIN},
        (PUBLISHED_SIZE, PUBLISHED): {FOUND, CONV_BASE},
    }
    for _, of in rows.groupby("size"):
        assert of.parameters.max() / of.parameters.min() < 1.2
    assert (rows[rows.subject == FOUND].search_seconds > 0).all()
    assert rows[rows.subject == FOUND].child.nunique() == 1
    assert set(rows[rows.recipe == PUBLISHED].rate) == {0.01} and set(rows[rows.recipe == PUBLISHED].steps) == {4}
    for name, metric in NASvsExperts.metrics.items():
        values = rows[name].dropna()
        assert len(values) and values.between(metric.low, metric.high).all(), name


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bits(trial):
    assert repr(measurements(TINY, context())) == repr(trial)


# ---------------------------------------------------------------------------------------------------------- the rules


def frame(found=0.75, small=0.65, conv=0.70, lenet=0.66, perceptron=0.5, again=0.5, found_published=0.72,
          conv_published=0.60):  # fmt: skip
    rows = []
    for seed in range(6):
        noise = 5e-4 * np.random.default_rng(seed).standard_normal()
        sized = {
            (1300, SEARCHED): {FOUND: small, CONV_BASE: 0.60, LENET: 0.55},
            (PUBLISHED_SIZE, SEARCHED): {FOUND: found, CONV_BASE: conv, LENET: lenet, PERCEPTRON: perceptron,
                                         AGAIN: again},
            (PUBLISHED_SIZE, PUBLISHED): {FOUND: found_published, CONV_BASE: conv_published},
        }  # fmt: skip
        for (size, recipe), subjects in sized.items():
            for subject, accuracy in subjects.items():
                jitter = noise * (1 if subject in (FOUND, AGAIN) else 0.5)
                rows.append({"seed": seed, "subject": subject, "size": size, "recipe": recipe, "parameters": size,
                             "flops": 10 * size, "test_accuracy": accuracy + jitter})  # fmt: skip
    return pd.DataFrame(rows).set_index("seed")


def outcomes(rows):
    return [claim.rule(rows).outcome for claim in NASvsExperts.claims]


def test_what_is_claimed_makes_every_rule_hold():
    assert outcomes(frame()) == ["holds"] * 9


@pytest.mark.parametrize(
    ("change", "failing"),
    [
        ({"small": 0.603}, [0]),
        ({"conv": 0.748}, [0, 1]),
        ({"lenet": 0.748}, [0, 2]),
        ({"found_published": 0.603}, [3]),
        ({"conv_published": 0.69}, [4]),
        ({"perceptron": 0.699, "again": 0.699}, [5]),
        ({"again": 0.53}, [6]),
        ({"lenet": 0.35}, [7]),
    ],
)
def test_what_breaks_a_rule(change, failing):
    assert [i for i, outcome in enumerate(outcomes(frame(**change))) if outcome != "holds"] == failing


def test_kinds_of_controls():
    kinds = [claim.kind for claim in NASvsExperts.claims if isinstance(claim, Control)]
    assert kinds == ["positive", "negative", "gate", "gate"]


def test_networks_of_other_sizes_are_noticed():
    rows = frame()
    rows.loc[(rows.subject == FOUND) & (rows["size"] == PUBLISHED_SIZE), "parameters"] = 5900
    assert outcomes(rows)[-1] == "does not hold" and outcomes(rows)[:-1] == outcomes(frame())[:-1]


def test_rules_decide_nothing_on_less_than_six_seeds():
    assert set(outcomes(frame().loc[:4])) == {"inconclusive"}


# -------------------------------------------------------------------------------------------------------- the picture


@pytest.mark.parametrize("rows", [pd.DataFrame(), frame(), frame().loc[[3]]], ids=["none", "six seeds", "one seed"])
def test_the_picture(rows):
    dots, sizes = drawn(TINY, rows, {}).axes
    assert sizes.get_xlabel() == "parameters"
    assert len(sizes.lines) == (5 if len(rows) else 0)
    assert (len(dots.lines) > 7) == bool(len(rows))


def test_networks_of_one_size_are_drawn_against_their_flops():
    _, costs = drawn(TINY, frame().query("size == 5210"), {}).axes
    assert len(costs.lines) == 5 and costs.get_xlabel() == "FLOPs of one answer"
