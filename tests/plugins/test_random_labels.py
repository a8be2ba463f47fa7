"""random_labels: the die, the subjects against closed forms, and rules on frames whose verdict is known."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure

from dlbench import Context, Control
from dlbench.data.images import CIFAR10, DIGITS, MNIST
from dlbench.errors import ParameterError
from dlbench.noisy_labels import throw
from dlbench.runner.trial import measurements
from dlbench_plugins.generalization import random_labels as study
from dlbench_plugins.generalization import zhang
from dlbench_plugins.generalization.random_labels import RandomLabels

TINY = RandomLabels(corruption=(0.0, 1.0), regularized_corruption=(1.0,), train_size=60, batch_size=20, epochs=40)


def context(seed=0):
    sets = {"digits": DIGITS, "mnist": MNIST, "cifar10": CIFAR10}
    return Context(seed=seed, loader=lambda name: sets[name].load())


# ----------------------------------------------------------------------------------------------------------- the die


@pytest.mark.parametrize("p", [0.0, 0.2, 0.5, 1.0])
def test_a_die_throws_the_right_label_once_in_ten(p):
    labels = np.random.default_rng(1).integers(10, size=200_000)
    thrown = throw(labels, p, context().rng("die"))
    assert (thrown != labels).mean() == pytest.approx(p * 0.9, abs=0.005)
    assert np.bincount(thrown, minlength=10) / len(thrown) == pytest.approx(0.1, abs=0.005)


def test_what_is_thrown_at_one_p_stays_so_at_every_larger_p():
    labels = np.full(1000, -1)  # whatever differs from -1 was thrown
    few, many, every = (throw(labels, p, context().rng("die")) for p in (0.3, 0.7, 1.0))
    assert 0 < (few != -1).sum() < (many != -1).sum() < (every != -1).sum() == 1000
    assert np.array_equal(few[few != -1], many[few != -1])
    assert np.array_equal(many[many != -1], every[many != -1])


# ---------------------------------------------------------------------------------------------------------- the data


def test_seeds_split_digits_anew_and_without_overlap():
    digits = DIGITS.load()
    indexed = {"x": np.arange(1797.0, dtype=np.float32)[:, None, None] * np.eye(2, dtype=np.float32), "y": digits["y"]}
    (x, y, _, test_y), (_, other_y, _, _) = (study.split(indexed, 300, context(seed).rng("split")) for seed in (0, 1))
    assert x.shape == (300, 1, 2, 2)
    assert len(test_y) == 1497
    assert np.array_equal(np.sort(np.concatenate([y, test_y])), np.sort(digits["y"]))
    assert not np.array_equal(y, other_y)


def test_the_publishers_split_is_kept():
    data = {"train_x": np.random.default_rng(0).random((20, 4, 4), np.float32), "train_y": np.arange(20)}
    data |= {"test_x": data["train_x"][:3], "test_y": np.array([7, 8, 9])}
    _, y, test, test_y = study.split(data, 15, context().rng("split"))
    assert len(set(y.tolist())) == 15
    assert len(test) == 3
    assert test_y.tolist() == [7, 8, 9]
    assert len(study.split(data, 10**6, context().rng("split"))[1]) == 20


def test_a_training_set_that_leaves_nothing_to_test_is_refused():
    with pytest.raises(ParameterError, match="1797 of 1797 examples leave none"):
        list(RandomLabels(train_size=1797).trial(context()))


def test_whitened_images_have_mean_zero_and_deviation_one():
    images = np.random.default_rng(0).random((5, 3, 32, 32), np.float32)
    images[4] = 0.5  # nothing on it
    white = zhang.whiten(images)
    assert white.shape == (5, 3, 28, 28)
    flat = white.flatten(1).double()
    assert torch.allclose(flat.mean(1), torch.zeros(5, dtype=torch.double), atol=1e-5)
    assert torch.allclose(flat[:4].std(1, correction=0), torch.ones(4, dtype=torch.double), atol=1e-5)
    assert torch.equal(white[4], torch.zeros(3, 28, 28))
    centre = torch.from_numpy(images[0, :, 2:30, 2:30])
    assert torch.allclose(white[0], (centre - centre.mean()) / centre.std(correction=0), atol=1e-5)


def test_one_shuffle_for_all_images_and_noise_like_them():
    rng = np.random.default_rng(0)
    train, test = (torch.from_numpy(rng.random((n, 2, 3, 3), np.float32)) for n in (4, 2))
    x, test_x = study.inputs("shuffled", train, test, context().rng("inputs"))
    pixel = {value: i for i, value in enumerate(train[0, 0].flatten().tolist())}
    order = [pixel[value] for value in x[0, 0].flatten().tolist()]
    assert order != sorted(order)
    assert torch.equal(test_x.flatten(2), test.flatten(2)[..., order])
    assert torch.equal(x.flatten(2), train.flatten(2)[..., order])
    noise, _ = study.inputs("gaussian", torch.zeros(500, 1, 8, 8), test, context().rng("inputs"))
    assert noise.mean() == pytest.approx(0, abs=0.02)
    assert noise.std() == pytest.approx(1, abs=0.02)
    assert study.inputs("images", train, test, context().rng("inputs"))[0] is train


# ------------------------------------------------------------------------------------------------------ the subjects


@pytest.mark.parametrize(
    ("network", "parameters"),
    [
        ("mlp_1x512", 1_209_866),
        ("mlp_3x512", 1_735_178),
        ("inception", 1_649_402 + 1_712),  # torch's batch normalization scales each of its 1,712 channels besides
    ],
)
def test_networks_have_the_papers_numbers_of_parameters(network, parameters):
    net = zhang.build(network, (3, 28, 28), "")
    assert sum(p.numel() for p in net.parameters()) == parameters


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 28, 28)])
@pytest.mark.parametrize("network", study.NETWORKS)
def test_networks_take_every_data_set(network, shape):
    assert zhang.build(network, shape, "dropout")(torch.zeros(2, *shape)).shape == (2, 10)


def test_a_fully_connected_network_cannot_notice_a_shuffle_of_the_pixels():
    net = zhang.build("mlp_2x512", (1, 8, 8), "")
    x = torch.randn(5, 1, 8, 8)
    before = net(x)
    shuffled, _ = study.inputs("shuffled", x, x, context().rng("inputs"))
    order, _ = study.inputs("shuffled", torch.arange(64.0).view(1, 1, 8, 8), x, context().rng("inputs"))
    with torch.no_grad():
        net[1].weight.copy_(net[1].weight[:, order.flatten().long()])
    assert torch.allclose(net(shuffled), before, atol=1e-5)


def test_all_networks_of_a_seed_start_from_the_same_weights(monkeypatch):
    nets = []
    monkeypatch.setattr(RandomLabels, "train", lambda self, net, *_: nets.append(net))
    for regularizer in ("", *study.REGULARIZERS):
        TINY.fit(f"mlp_2x512+{regularizer}", torch.zeros(3, 1, 8, 8), torch.zeros(3), context())
    first, *others = [list(net.parameters()) for net in nets]
    assert all(torch.equal(a, b) for other in others for a, b in zip(first, other, strict=True))


def test_accuracy_is_taken_without_noise_and_dropout():
    for regularizer in ("dropout", "input_noise"):
        net = zhang.build("mlp_1x512", (1, 8, 8), regularizer)
        x = torch.randn(50, 1, 8, 8)
        assert not torch.equal(net(x), net(x))
        predict = study.classifier(net)
        assert torch.equal(predict(x), predict(x))


def noise_and_labels(n, features=64):
    rng = np.random.default_rng(n)
    x = torch.from_numpy(rng.standard_normal((n, 1, 1, features), dtype=np.float32))
    return x, torch.from_numpy(rng.integers(10, size=n))


def test_a_linear_model_fits_random_labels_only_of_fewer_examples_than_inputs():
    """Fewer affinely independent points than dimensions can be labelled at will (Cover 1965)."""
    few, many = noise_and_labels(40), noise_and_labels(1000)
    assert study.accuracy(study.fit_linear(*few), *few) == 1.0
    assert study.accuracy(study.fit_linear(*many), *many) < 0.5


def test_the_linear_model_is_logistic_regression():
    from sklearn.linear_model import LogisticRegression

    x, y = noise_and_labels(500, features=10)
    theirs = LogisticRegression(C=1e8, tol=1e-8, max_iter=1000).fit(x.flatten(1).numpy(), y.numpy())
    agree = study.fit_linear(x, y)(x).numpy() == theirs.predict(x.flatten(1).numpy())
    assert agree.mean() > 0.99  # but for ties in single precision


def test_the_nearest_neighbour_is_the_nearest():
    x, y = noise_and_labels(300)
    assert torch.equal(study.nearest(x, x), torch.arange(300))
    assert study.nearest(x[:7] + 0.01, x).tolist() == list(range(7))
    assert study.accuracy(RandomLabels().fit("nearest_neighbour", x, y, context()).predict, x, y) == 1.0


# ------------------------------------------------------------------------------------------------------ the training


def test_training_ends_with_the_epoch_that_fits_every_label():
    x, y = noise_and_labels(60)
    fit = TINY.fit("mlp_2x512", x, y, context())
    steps = 3 * len(fit.losses)  # 60 examples in batches of 20
    assert study.accuracy(fit.predict, x, y) == 1.0
    assert len(fit.losses) < TINY.epochs
    assert 0 < fit.steps_to_99 <= steps
    assert fit.steps_to_99 % 3 == 0
    assert fit.losses[0] == pytest.approx(math.log(10), abs=0.3)  # nothing is known at first
    assert fit.losses[-1] < fit.losses[0]


def test_what_is_never_fitted_counts_the_whole_budget():
    x, y = noise_and_labels(60)
    fit = TINY.fit("mlp_2x512", torch.zeros_like(x), y, context())  # equal inputs cannot have different labels
    assert len(fit.losses) == TINY.epochs
    assert fit.steps_to_99 == 3 * TINY.epochs


def test_sgd_follows_the_papers_schedule(monkeypatch):
    rates = []

    class Recorded(torch.optim.SGD):
        def step(self, closure=None):
            rates.append((self.param_groups[0]["lr"], self.param_groups[0]["momentum"]))
            return super().step(closure)

    monkeypatch.setattr(torch.optim, "SGD", Recorded)
    x, y = noise_and_labels(60)
    RandomLabels(optimizer="sgd", epochs=3, batch_size=60).fit("mlp_2x512", x, y, context())
    assert np.allclose(rates, [(0.01, 0.9), (0.0095, 0.9), (0.009025, 0.9)])


# --------------------------------------------------------------------------------------------------------- the trial


@pytest.fixture(scope="module")
def trial():
    of = context(seed=100)
    return measurements(TINY, of), of.kept


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bits(trial):
    again = context(seed=100)
    assert measurements(TINY, again) == trial[0]
    assert all(np.array_equal(again.kept[name], kept) for name, kept in trial[1].items())


def test_every_subject_is_measured(trial):
    rows = pd.DataFrame(trial[0])
    subjects = {"mlp_2x512", "linear", "nearest_neighbour", *(f"mlp_2x512+{name}" for name in study.REGULARIZERS)}
    assert set(rows.subject) == subjects
    assert set(rows.inputs) == {"images", "shuffled", "gaussian"}
    images = rows[(rows.inputs == "images") & (rows.subject == "mlp_2x512")].set_index("corruption")
    assert images.train_accuracy.tolist() == [1.0, 1.0]
    assert images.test_accuracy[0.0] > 0.7
    assert images.test_accuracy[1.0] < 0.3
    assert images.wrong_labels[0.0] == 0
    assert set(trial[1]) == {study.curve(kind, p) for kind, p in study.CURVES}


def test_references_name_settings_that_a_trial_has(trial):
    known = {key for row in trial[0] for key in row} | set(TINY.__dataclass_fields__)
    full = RandomLabels.preset("full")
    for reference in RandomLabels.references:
        assert set(reference.where) <= known
        assert reference.metric in RandomLabels.metrics
        assert reference.where["subject"] in study.NETWORKS
        assert all(getattr(full, key) == reference.where[key] for key in ("dataset", "train_size", "optimizer"))


@pytest.mark.parametrize("preset", list(RandomLabels.presets))
def test_data_sets_are_named(preset):
    experiment = RandomLabels.preset(preset)
    assert experiment.datasets() == (experiment.dataset,)


# --------------------------------------------------------------------------------------------------------- the rules


def frame(network_train=1.0, learnt=0.0, linear=0.5, neighbour=1.0, steps=lambda p: 10 + 50 * p, right=0.1):
    """Six seeds of what a network would give that memorizes, and on top of chance has learnt so much at p = 1."""
    rows = []
    for seed in range(6):
        noise = 0.01 * np.random.default_rng(seed).standard_normal()
        for p in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0):
            common = {"seed": seed, "inputs": "images", "corruption": p, "wrong_labels": p * (1 - right) + noise * p}
            test = 0.95 - 0.85 * p + learnt * p + noise
            for subject, train in (("mlp_2x512", network_train), ("linear", linear), ("nearest_neighbour", neighbour)):
                rows.append({"subject": subject, "train_accuracy": train, "test_accuracy": test, **common})
            rows[-3]["steps_to_99"] = steps(p)
    return pd.DataFrame(rows).set_index("seed")


def outcomes(rows):
    return [claim.rule(rows).outcome for claim in RandomLabels.claims]


HOLDS, FAILS = "holds", "does not hold"


def test_a_memorizer_makes_every_claim_hold():
    assert outcomes(frame()) == [HOLDS] * 9


@pytest.mark.parametrize(
    ("change", "failing"),
    [
        ({"network_train": 0.9}, [0]),
        ({"learnt": 0.2}, [1]),  # a network that sees through the die
        ({"learnt": 0.85}, [1, 2, 3]),
        ({"steps": lambda p: 60 - 50 * p}, [4, 5]),
        ({"steps": lambda p: 10 if p == 0 else 60 - 5 * p}, [5]),  # harder than true labels, not ever harder
        ({"linear": 1.0}, [6]),  # fewer examples than inputs
        ({"neighbour": 0.5}, [7]),
        ({"right": 0.0}, [8]),  # a die that never throws the right label
    ],
)
def test_what_breaks_a_rule(change, failing):
    assert [i for i, outcome in enumerate(outcomes(frame(**change))) if outcome != HOLDS] == failing


def test_rules_name_each_kind_of_control():
    assert [c.kind for c in RandomLabels.claims if isinstance(c, Control)] == ["negative", "positive", "gate"]


def test_rules_decide_nothing_on_less_than_six_seeds_or_without_scores():
    assert set(outcomes(frame().loc[:4])) == {"inconclusive"}
    assert set(outcomes(frame().assign(**dict.fromkeys(RandomLabels.metrics, math.nan)))) == {"inconclusive"}


def test_steps_that_never_change_have_no_trend():
    assert outcomes(frame(steps=lambda p: 7))[5] == "inconclusive"


# ------------------------------------------------------------------------------------------------------- the picture


@pytest.mark.parametrize(
    "rows",
    [pd.DataFrame(), frame().iloc[:0], frame(), frame().loc[[3]], frame().drop(columns="train_accuracy")],
    ids=["no columns", "no rows", "six seeds", "one seed", "a metric short"],
)
@pytest.mark.parametrize("kept", [False, True])
def test_picture(rows, kept, trial):
    figure = Figure()
    TINY.plot(rows, figure, {3: trial[1], 5: trial[1]} if kept else {})
    figure.draw_without_rendering()
    assert len(figure.axes) == 2
    assert all(axes.get_xlabel() and axes.get_ylabel() for axes in figure.axes)
    drawn = len(figure.axes[1].lines)
    assert drawn == (12 if kept else 0)  # four curves of two seeds, and their means
