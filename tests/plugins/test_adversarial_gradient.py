"""adversarial_gradient: its parts against closed forms, a small run against what must be so, rules on made frames."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure

from dlbench import Context, Control, attacks
from dlbench.data.images import DIGITS
from dlbench.errors import ParameterError
from dlbench_plugins.robustness import adversarial_gradient as study
from dlbench_plugins.robustness.adversarial_gradient import AdversarialGradient

SMALL = {
    "attacked": 80,
    "steps": 10,
    "restarts": 2,
    "queries": 30,
    "descent_steps": 30,
    "epochs": 6,
    "training_steps": 3,
}


def context(seed=0):
    return Context(seed=seed, loader=lambda name: {"digits": DIGITS}[name].load())


@pytest.fixture(scope="module")
def run():
    """The rows and artefacts of one small trial on the digits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    where = context()
    rows = pd.DataFrame(AdversarialGradient(**SMALL).trial(where))
    torch.set_num_threads(before)
    return rows, where.kept


def rate(rows, subject, attack, multiple):
    chosen = rows[(rows.subject == subject) & (rows.attack == attack) & (rows.multiple == multiple)]
    assert len(chosen) == 1
    return chosen.attack_success_rate.iloc[0]


# ------------------------------------------------------------------------------------------------------------- parts


def test_structural_similarity():
    a = torch.rand(5, 1, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(study.ssim(a, a), torch.ones(5, dtype=torch.float64))
    assert (study.ssim(a, 1 - a) < 0).all()
    m = a.flatten(1).mean(1)
    brighter = (2 * m * (m + 0.1) + 1e-4) / (m**2 + (m + 0.1) ** 2 + 1e-4)  # only the term of the means is left
    torch.testing.assert_close(study.ssim(a, a + 0.1), brighter)


def test_eps_at_which_half_are_fooled():
    assert study.half_fooled([(0.0, 0.0), (0.1, 0.25), (0.2, 0.75)]) == pytest.approx(0.15)
    assert study.half_fooled([(0.0, 0.0), (0.1, 0.6), (0.2, 0.55)]) == pytest.approx(0.1 * 0.5 / 0.6)
    assert math.isnan(study.half_fooled([(0.0, 0.0), (0.1, 0.4)]))


def test_how_far_the_nearest_adversarial_image_is():
    """On a linear network: the margin over the 1-norm of the weights' difference."""
    net = torch.nn.Linear(2, 2)
    net.weight.data, net.bias.data = torch.tensor([[3.0, 1.0], [0.0, 0.0]]), torch.tensor([-2.0, 0.0])
    x = torch.tensor([[0.6, 0.5], [0.7, 0.5], [0.9, 0.5], [0.2, 0.2]])
    exact = (3 * x[:, 0] + x[:, 1] - 2).abs() / 4
    settings = {"eps": 1.0, "steps": 10, "stop": "never"}
    found = attacks.fab(net, x, torch.zeros(4, dtype=torch.int64), **settings)  # the last is wrong as it stands
    assert found.clean_correct.tolist() == [True, True, True, False]
    assert study.median_distance(found) == pytest.approx(float(exact[1]), rel=1e-2)
    fixed = attacks.fab(lambda points: net(0 * points + x[:1]), x[:3], torch.zeros(3, dtype=torch.int64), **settings)
    assert study.median_distance(fixed) == math.inf
    wrong = attacks.fab(net, x, torch.tensor([1, 1, 1, 0]), **settings)
    assert math.isnan(study.median_distance(wrong))


def test_transfer_counts_images_that_both_networks_get_right():
    first, other = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    for net, weight in ((first, [[1.0, 0.0], [0.0, 1.0]]), (other, [[1.0, 1.0], [0.0, 1.5]])):
        net.weight.data, net.bias.data = torch.tensor(weight), torch.zeros(2)
    x, y = torch.tensor([[0.6, 0.5], [0.9, 0.1], [0.5, 0.6]]), torch.tensor([0, 0, 1])
    result = attacks.pgd(first, x, y, eps=0.1, stop="never")  # flips the first and the third
    assert result.success.tolist() == [True, False, True]
    with torch.no_grad():  # the other gets the third wrong from the start, and is not fooled by the first
        assert (other(x).argmax(1) == y).tolist() == [True, True, False]
        assert study.transferred(result, [other], x, y) == 0.0
    assert study.transferred(result, [first], x, y) == 1.0


def test_both_arms_start_from_the_same_weights(monkeypatch):
    monkeypatch.setattr(study, "fit", lambda *args, **kwargs: None)
    rows = pd.DataFrame(AdversarialGradient(**SMALL | {"models": ("mlp",)}).trial(context()))
    shared = ["attack", "multiple", "robust_accuracy", "norm"]
    arms = [rows[rows.subject == name] for name in ("mlp", "mlp_pgd_trained")]
    arms[0] = arms[0][~arms[0].attack.isin(["pgd_targeted", "pgd_greatest_loss"])]
    pd.testing.assert_frame_equal(*(arm[shared].reset_index(drop=True) for arm in arms))


# -------------------------------------------------------------------------------------------------------- small runs


def test_rows_are_complete_and_lie_in_range(run):
    rows, _ = run
    assert not rows.duplicated(["subject", "attack", "eps"]).any()
    assert set(rows.columns) == {"subject", "attack", "eps", "multiple", *AdversarialGradient.metrics}
    for name, metric in AdversarialGradient.metrics.items():
        values = rows[name].dropna()
        assert len(values) and values.between(metric.low, metric.high).all(), name
    assert sorted(rows[rows.attack == "pgd"].eps.unique()) == [0.0, 0.02, 0.05, 0.1, 0.2, 0.3]


def test_the_effect_is_there_and_noise_has_it_not(run):
    rows, _ = run
    for model in ("mlp", "cnn"):
        assert rate(rows, model, "pgd", 2) > 0.8
        for noise in study.NOISES:
            assert rate(rows, model, "pgd", 1) - rate(rows, model, noise, 1) > 0.2
        assert rate(rows, model, "pgd_targeted", 2) < rate(rows, model, "pgd", 2)
        assert rate(rows, model, "pgd", 1) - rate(rows, model + "_pgd_trained", "pgd", 1) > 0.05


def test_controls_of_one_run(run):
    rows, _ = run
    still = rows[(rows.multiple == 0) & (rows.attack != "none")]
    assert (still.attack_success_rate == 0).all() and (still.norm == 0).all() and len(still) == 16
    assert (rows[rows.attack == "pgd_anywhere"].attack_success_rate == 1).all()
    tried = rows[rows.norm.notna()]
    assert (tried.norm <= tried.eps + 1e-12).all()
    for subject in rows.subject.unique():
        curve = rows[(rows.subject == subject) & (rows.attack == "pgd")].sort_values("eps").robust_accuracy
        assert curve.is_monotonic_decreasing


def test_the_nearest_images_are_about_where_the_curve_crosses_one_half(run):
    rows, _ = run
    for subject in rows.subject.unique():
        mine = rows[rows.subject == subject]
        nearest, crossing = mine[mine.attack == "fab"].nearest_norm, mine.median_norm.dropna()
        assert len(nearest) == len(crossing) == 1
        assert nearest.iloc[0] == pytest.approx(crossing.iloc[0], rel=0.2)
        by = mine.set_index("attack")
        assert mine.nearest_norm.notna().sum() == mine.nearest_l2.notna().sum() == 2
        assert 0.95 < by.nearest_norm["deepfool"] / nearest.iloc[0] < 1.3
        assert 0.8 < by.nearest_l2["cw"] / by.nearest_l2["deepfool_l2"] < 1.3
        assert by.nearest_l2["deepfool_l2"] > by.nearest_norm["deepfool"]


def test_spsa_spends_the_queries_that_it_is_given(run):
    rows, _ = run
    for queries in (1, 3, 7, 30, 200, 2000):
        spent = study.within(queries)
        cost = spent["steps"] * (2 * spent["samples"] + 1)
        assert cost <= max(queries, 3) and cost > queries / 2
    for subject in ("mlp", "cnn"):
        assert rate(rows, subject, "spsa", 1) <= rate(rows, subject, "pgd", 1) + 0.02


def test_what_is_kept_is_one_fooled_image(run):
    _, kept = run
    for model in ("mlp", "cnn"):
        before, after = kept[f"{model}_images"]
        assert before.shape == (1, 8, 8) and 0 < np.abs(after - before).max() <= 0.1 + 1e-7
        labels = kept[f"{model}_labels"]
        assert labels[0] != labels[1] and (kept[f"{model}_confidence"] > 0.1).all()


@pytest.mark.slow
def test_the_same_seed_gives_the_same_rows():
    tiny = AdversarialGradient(**SMALL | {"models": ("mlp",), "epochs": 1, "attacked": 10})
    first, again, other = (list(tiny.trial(context(seed))) for seed in (3, 3, 4))
    assert repr(first) == repr(again) != repr(other)


def test_mnist_is_asked_at_an_eps_of_its_own():
    mnist = AdversarialGradient.preset("mnist")
    assert mnist.datasets() == ("mnist",) and mnist.eps == 0.15
    assert {mnist.multiple(eps) for eps in mnist.eps_grid} >= {0.0, 1.0, 2.0}


def test_the_full_protocol_on_made_images():
    """Three stripes of colour stand for CIFAR-10: the code is exercised, not the science."""
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=40)
    x = rng.uniform(0, 0.3, size=(40, 3, 12, 12)).astype(np.float32)
    x[np.arange(40), y] += 0.6
    made = {"train_x": x[:30], "train_y": y[:30], "test_x": x[30:], "test_y": y[30:]}
    small = {
        "attacked": 4,
        "queries": 2,
        "descent_steps": 2,
        "epochs": 1,
        "batch_size": 15,
        "steps": 2,
        "restarts": 1,
        "training_steps": 1,
    }
    full = AdversarialGradient.preset("full", small)
    assert full.datasets() == ("cifar10",) and full.eps == 8 / 255
    where = Context(seed=0, loader=lambda name: {"cifar10": made}[name])
    rows = pd.DataFrame(full.trial(where))
    assert set(rows.subject) == {"resnet", "resnet_pgd_trained"}
    assert {0, 1, 2} <= set(rows.multiple) and "transfer_rate" not in rows  # there is no second network
    full.plot(rows.set_index(pd.Index([0] * len(rows), name="seed")), Figure(), {0: where.kept})


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"eps_grid": (0.0, 0.1)}, "2 eps"), ({"eps": 0.15}, r"0, eps \(0.15\)"), ({"models": ("vgg",)}, "one of")],
)
def test_impossible_parameters(wrong, message):
    with pytest.raises(ParameterError, match=message):
        AdversarialGradient(**wrong)


def test_more_attacked_images_than_there_are():
    with pytest.raises(ParameterError, match="1797 images"):
        list(AdversarialGradient(attacked=2000).trial(context()))


# ------------------------------------------------------------------------------------------------------------- rules


def made_rows(**changes):
    """Eight seeds of rows under which everything holds, but for an attack's success rate on the plain network."""
    rates = {"pgd": 0.7, "fgsm": 0.65, "noise_sign": 0.05, "noise_uniform": 0.02, "pgd_half_the_steps": 0.69}
    rates |= {"random_search": 0.6, "pgd_targeted": 0.6}
    hardened = {"pgd": 0.3, "fgsm": 0.28, "pgd_half_the_steps": 0.3, "random_search": 0.2}
    rows = []
    for seed in range(8):
        jitter = 0.001 * (seed - 3.5)
        for subject in ("mlp", "mlp_pgd_trained"):
            here = rates | (hardened if subject.endswith("trained") else changes)
            here = {name: value + jitter for name, value in here.items()}
            base = {"seed": seed, "subject": subject}
            rows.append(base | {"attack": "none", "multiple": 0.0, "robust_accuracy": 0.96 + jitter})
            rows.append(base | {"attack": "pgd_anywhere", "multiple": 10.0, "attack_success_rate": 1.0})
            for name, value in here.items():
                zero = {"attack": name, "multiple": 0.0, "attack_success_rate": 0.0, "norm": 0.0}
                one = {"attack": name, "multiple": 1.0, "attack_success_rate": value, "norm": 0.1}
                two = one | {"multiple": 2.0}
                cost = {"one_draw_cost": value / 2} if name in study.NOISES else {}
                rows += [base | zero, base | one | cost, base | two]
    return pd.DataFrame(rows).set_index("seed")


def outcomes(frame):
    return {claim.statement: claim.rule(frame).outcome for claim in AdversarialGradient.claims}


def failing(frame):
    return {statement for statement, outcome in outcomes(frame).items() if outcome != "holds"}


def test_every_rule_can_hold():
    assert failing(made_rows()) == set()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"pgd": 0.4, "fgsm": 0.4, "pgd_half_the_steps": 0.4, "random_search": 0.3}, ["flips most", "flips most"]),
        ({"noise_sign": 0.5}, ["random noise"]),
        ({"noise_uniform": 0.12}, ["random noise"]),
        ({"pgd_targeted": 0.2}, ["chosen beforehand", "chosen beforehand"]),
        ({"pgd_half_the_steps": 0.6}, ["more steps"]),
        ({"pgd_half_the_steps": 0.8}, ["more steps"]),
        ({"fgsm": 0.8}, ["more steps"]),
        ({"random_search": 0.8}, ["queries"]),
    ],
)
def test_each_rule_can_fail(changes, words):
    failed = failing(made_rows(**changes))
    if "pgd" in changes:  # the defence then gains nothing either
        failed = {statement for statement in failed if "training" not in statement}
    assert len(failed) == len(words) and all(any(word in statement for statement in failed) for word in words), failed


def test_controls_catch_what_must_not_be():
    moved = made_rows()
    moved.loc[(moved.multiple == 0) & (moved.attack == "fgsm"), "norm"] = 0.1
    survived = made_rows()
    survived.loc[survived.attack == "pgd_anywhere", "attack_success_rate"] = 0.9
    untrained = made_rows()
    untrained.loc[untrained.attack == "none", "robust_accuracy"] = 0.8
    for frame, word in ((moved, "eps = 0"), (survived, "nothing survives"), (untrained, "are trained")):
        (failed,) = failing(frame)
        assert word in failed
    kinds = [claim.kind for claim in AdversarialGradient.claims if isinstance(claim, Control)]
    assert kinds == ["negative", "positive", "gate", "gate", "gate", "gate"]


# ----------------------------------------------------------------------------------------------------------- picture


def test_the_picture(run):
    rows, kept = run
    frame = pd.concat([rows.assign(seed=seed) for seed in range(3)]).set_index("seed")
    figure = Figure()
    AdversarialGradient().plot(frame, figure, {1: kept})
    curves, images = figure.axes[0], [axes for axes in figure.axes if axes.images]
    assert len(images) == 6 and "eps" in curves.get_xlabel() and curves.get_ylabel() == "robust accuracy"
    drawn = [line for line in curves.lines if len(line.get_xdata()) == 6]
    assert len(drawn) == 5 and len(curves.collections) == 5


@pytest.mark.parametrize("rows", [pd.DataFrame(), pd.DataFrame({"subject": ["mlp"], "attack": ["pgd"]}, index=[0])])
def test_the_picture_of_nothing(rows):
    figure = Figure()
    AdversarialGradient().plot(rows, figure, {})
    figure.canvas.draw()


def test_published_numbers_name_metrics_that_exist():
    for reference in AdversarialGradient.references:
        metric = AdversarialGradient.metrics[reference.metric]
        assert metric.low <= reference.value <= metric.high and "read in" in reference.note
