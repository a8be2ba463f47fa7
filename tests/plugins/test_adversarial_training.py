"""adversarial_training: its parts against what is known, a small run against what must be so, rules on made frames."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure

from dlbench import Context, Control
from dlbench.data.images import DIGITS
from dlbench.errors import ParameterError
from dlbench_plugins.robustness import adversarial_training as study
from dlbench_plugins.robustness.adversarial_training import ARMS, AdversarialTraining, Training

SMALL = {"attacked": 80, "validated": 40, "steps": 10, "queries": 20, "epochs": 12, "training_steps": 3}
TINY = SMALL | {"epochs": 1, "attacked": 8, "validated": 4, "batch_size": 512}


def context(seed=0):
    return Context(seed=seed, loader=lambda name: {"digits": DIGITS}[name].load())


@pytest.fixture(scope="module")
def run():
    """The rows and artefacts of one small trial on the digits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    where = context()
    rows = pd.DataFrame(AdversarialTraining(**SMALL).trial(where))
    torch.set_num_threads(before)
    return rows, where.kept


def value(rows, arm, attack, metric="robust_accuracy"):
    chosen = rows[(rows.subject == arm) & (rows.attack == attack)]
    assert len(chosen) == 1
    return chosen[metric].iloc[0]


# ------------------------------------------------------------------------------------------------------------- parts


class Linear(torch.nn.Module):
    """Two classes, two pixels: the loss falls with the first pixel and rises with the second, for class 0."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor([[1.0, -1.0], [-1.0, 1.0]]))

    def forward(self, x):
        return x.flatten(1) @ self.weight.T


def trainer(arm, **changes):
    x, y = torch.full((3, 1, 1, 2), 0.5), torch.tensor([0, 1, 0])
    study = AdversarialTraining(**{"eps": 0.1, "warmup": 0.0} | changes)
    return Training(arm, Linear(), 10, (x, y), study, context()), x, y


@pytest.mark.parametrize("arm", ["fgsm", "pgd"])
def test_training_images_of_a_linear_network_are_its_worst(arm):
    training, x, y = trainer(arm, training_steps=4)
    worst = training.perturb(x, y, 0, torch.arange(3)) - x
    direction = torch.tensor([[-1.0, 1.0], [1.0, -1.0], [-1.0, 1.0]]).view_as(x)
    torch.testing.assert_close(worst, 0.1 * direction)


def test_one_step_from_a_random_point_is_the_published_one():
    """Wong et al. 2020: start anywhere in the ball, step by 1.25 eps, project; whatever that does to the loss."""
    training, x, y = trainer("fgsm_rs")
    start = study.ops.random_start(x, eps=0.1, seed=training.seed + 5, sample_ids=torch.tensor([7, 8, 9]))
    direction = torch.tensor([[-1.0, 1.0], [1.0, -1.0], [-1.0, 1.0]]).view_as(x)
    want = x + (start - x + 0.125 * direction).clamp(-0.1, 0.1)
    torch.testing.assert_close(training.perturb(x, y, 5, torch.tensor([7, 8, 9])), want)


def test_eps_grows_over_the_first_updates():
    training, x, y = trainer("fgsm", warmup=0.5)
    sizes = [float((training.perturb(x, y, update, torch.arange(3)) - x).abs().max()) for update in range(10)]
    assert sizes == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.1, *[0.1] * 5], abs=1e-6)


def test_noise_fills_the_ball_and_standard_training_changes_nothing():
    training, x, y = trainer("noise")
    noisy = torch.stack([training.perturb(x, y, update, torch.arange(3)) for update in range(200)]) - x
    assert noisy.abs().max() <= 0.1 and noisy.abs().mean() == pytest.approx(0.05, abs=0.005)
    training, x, y = trainer("standard")
    assert training.perturb(x, y, 0, torch.arange(3)) is x


@pytest.mark.parametrize(
    ("arm", "forwards", "backwards"),
    [("standard", 1, 1), ("noise", 1, 1), ("fgsm", 2, 2), ("fgsm_rs", 2, 2), ("pgd", 5, 5)],
)
def test_every_pass_is_counted(arm, forwards, backwards):
    """Of a wrapped network: its own forward passes, and the gradients that reach its images."""
    training, x, y = trainer(arm, training_steps=4)
    seen = []
    training.net.register_forward_hook(lambda net, args, out: seen.append(len(args[0])))
    training.perturb(x, y, 0, torch.arange(3))
    training.perturb(x[:1], y[:1], 1, torch.arange(1))
    cost = training.cost()
    assert (cost["forwards"], cost["backwards"]) == (forwards, backwards)
    assert sum(seen) / 4 + 1 == forwards  # the update's own pass is not run here


def test_the_clock_stands_still_while_the_network_is_looked_at(monkeypatch):
    monkeypatch.setattr(study.time, "perf_counter", iter([0.0, 3.0, 10.0, 14.0, 30.0]).__next__)
    training, *_ = trainer("fgsm", look_every=1)
    for _ in range(2):
        training.epoch_is_over()
    assert training.seconds == (3.0 - 0.0) + (14.0 - 10.0)
    assert [epoch for epoch, *_ in training.curve] == [1, 2]


def test_the_network_is_looked_at_as_often_as_wanted():
    training, *_ = trainer("pgd", look_every=3)
    for _ in range(7):
        training.epoch_is_over()
    assert [epoch for epoch, *_ in training.curve] == [3, 6]


def test_training_images_are_those_of_the_attack_of_that_name():
    """From the same random points, PGD as evaluation has it ends where training's does."""
    training, x, y = trainer("pgd", training_steps=3)
    found = study.attacks.pgd(training.net, x, y, eps=0.1, steps=3, stop="never", keep="last", seed=training.seed + 4)
    assert torch.equal(training.perturb(x, y, 4, torch.arange(3)), found.x_adv)


def test_alignment_is_one_where_the_loss_is_linear_and_less_where_it_bends():
    x, y = torch.full((50, 1, 1, 2), 0.5), torch.zeros(50, dtype=torch.int64)
    assert study.alignment(Linear(), x, y, 0.1, 0) == pytest.approx(1.0)

    def ridge(points):  # the loss of class 0 falls away from the middle, whichever way one goes
        away = (points.flatten(1) - 0.5).abs().sum(1)
        return torch.stack([away, torch.zeros_like(away)], 1)

    assert study.alignment(ridge, x + 1e-3, y, 0.1, 0) == pytest.approx(0.0, abs=0.3)


# -------------------------------------------------------------------------------------------------------- small runs


def test_rows_are_complete_and_lie_in_range(run):
    rows, _ = run
    assert not rows.duplicated(["subject", "model", "attack", "eps"]).any()
    assert set(rows.subject) == set(ARMS)
    for name, metric in AdversarialTraining.metrics.items():
        values = rows[name].dropna()
        assert len(values) and values.between(metric.low, metric.high).all(), name


def test_what_must_be_so_in_any_run(run):
    rows, kept = run
    for arm in ARMS:
        clean, pgd, worst = (value(rows, arm, attack) for attack in ("none", "pgd", "worst_case"))
        assert pgd <= min(value(rows, arm, "pgd_ce"), value(rows, arm, "pgd_margin")) <= clean
        assert worst <= min(pgd, value(rows, arm, "random_search"))
        assert worst <= value(rows, arm, "half_the_effort") + 0.05
        assert value(rows, arm, "pgd_anywhere") == 0
    assert [value(rows, arm, "none", "backwards") for arm in ARMS] == [1, 1, 2, 2, 4]
    assert value(rows, "pgd", "worst_case") > value(rows, "standard", "worst_case") + 0.1
    assert {name: curve.shape for name, curve in kept.items()} == {
        f"cnn_{arm}": (SMALL["epochs"] // 5, 3) for arm in study.ATTACKS
    }


def test_all_arms_start_from_the_same_weights(monkeypatch):
    def fit(net, *args, **kwargs):
        kwargs["perturb"](torch.rand(2, 1, 8, 8), torch.tensor([0, 1]), 0, torch.arange(2))
        net.eval()

    monkeypatch.setattr(study, "fit", fit)
    rows = pd.DataFrame(AdversarialTraining(**TINY).trial(context()))
    shared = ["attack", "robust_accuracy", "gradient_alignment"]
    first, *others = (rows.loc[rows.subject == arm, shared].reset_index(drop=True) for arm in ARMS)
    for other in others:
        pd.testing.assert_frame_equal(first, other)


def test_validation_images_are_not_those_that_are_attacked(monkeypatch):
    seen = {}
    monkeypatch.setattr(study, "fit", lambda net, x, *args, **kwargs: seen.update(train=x))
    monkeypatch.setattr(study, "clean", lambda net, test, *args: seen.update(test=test[0]) or {"attack": "none"})
    monkeypatch.setattr(study, "attacked", lambda *args: [])
    monkeypatch.setattr(study.Training, "cost", lambda self: seen.update(validation=self.validation[0]) or {})
    list(AdversarialTraining(**SMALL).trial(context()))
    assert {name: len(x) for name, x in seen.items()} == {"train": 1797 - 120, "test": 80, "validation": 40}
    assert len(torch.unique(torch.cat(list(seen.values())).flatten(1), dim=0)) == 1797


@pytest.mark.slow
def test_the_same_seed_gives_the_same_rows():
    def rows(seed):
        where = context(seed)
        frame = pd.DataFrame(AdversarialTraining(**TINY).trial(where)).drop(columns="train_seconds")
        return frame, where.kept

    (first, kept), (again, kept_again), (other, _) = rows(3), rows(3), rows(4)
    pd.testing.assert_frame_equal(first, again, check_exact=True)
    assert all(np.array_equal(kept[name], kept_again[name]) for name in kept)
    assert not first.equals(other)


def test_the_full_protocol_on_made_images():
    """Three stripes of colour stand for CIFAR-10: the code is exercised, not the science."""
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=40)
    x = rng.uniform(0, 0.3, size=(40, 3, 8, 8)).astype(np.float32)
    x[np.arange(40), y] += 0.6
    made = {"train_x": x[:30], "train_y": y[:30], "test_x": x[30:], "test_y": y[30:]}
    small = {"attacked": 4, "validated": 2, "queries": 2, "epochs": 1, "batch_size": 15, "steps": 2, "restarts": 1}
    full = AdversarialTraining.preset("full", small | {"training_steps": 1})
    assert full.datasets() == ("cifar10",) and full.eps == 8 / 255
    where = Context(seed=0, loader=lambda name: {"cifar10": made}[name])
    rows = pd.DataFrame(full.trial(where))
    assert set(rows.model) == {"resnet"} and set(rows.subject) == set(ARMS)
    full.plot(rows.set_index(pd.Index([0] * len(rows), name="seed")), Figure(), {0: where.kept})


def test_more_held_out_images_than_there_are():
    with pytest.raises(ParameterError, match="1797 images"):
        list(AdversarialTraining(attacked=1700, validated=200).trial(context()))


# ------------------------------------------------------------------------------------------------------------- rules

HOLDING = {  # arm → clean, under FGSM, PGD and queries alone, and in the worst case
    "standard": {"none": 0.98, "fgsm": 0.05, "pgd": 0.01, "random_search": 0.03, "worst_case": 0.01},
    "noise": {"none": 0.98, "fgsm": 0.08, "pgd": 0.02, "random_search": 0.05, "worst_case": 0.02},
    "fgsm": {"none": 0.93, "fgsm": 0.60, "pgd": 0.05, "random_search": 0.10, "worst_case": 0.04},
    "fgsm_rs": {"none": 0.95, "fgsm": 0.60, "pgd": 0.49, "random_search": 0.55, "worst_case": 0.47},
    "pgd": {"none": 0.93, "fgsm": 0.58, "pgd": 0.50, "random_search": 0.55, "worst_case": 0.48},
}
GRADIENTS = {"standard": 1.0, "noise": 1.0, "fgsm": 2.0, "fgsm_rs": 2.0, "pgd": 6.0}
ALIGNMENT = {"standard": 0.8, "noise": 0.8, "fgsm": 0.3, "fgsm_rs": 0.7, "pgd": 0.8}


def made_rows(changes=(), gradients=(), alignment=()):
    """Eight seeds of rows under which everything holds, but for {(arm, attack): accuracy}."""
    rows = []
    for seed in range(8):
        jitter = 0.001 * (seed - 3.5)
        for arm, accuracies in HOLDING.items():
            base = {"seed": seed, "subject": arm, "model": "cnn"}
            here = accuracies | {"half_the_effort": accuracies["worst_case"], "pgd_anywhere": 0.0}
            here |= {attack: new for (who, attack), new in dict(changes).items() if who == arm}
            for attack, accuracy in here.items():
                rows.append(
                    base | {"attack": attack, "robust_accuracy": accuracy + jitter * (attack != "pgd_anywhere")}
                )
            rows[-len(here)] |= {
                "backwards": (GRADIENTS | dict(gradients))[arm],
                "gradient_alignment": (ALIGNMENT | dict(alignment))[arm] + jitter,
            }
    return pd.DataFrame(rows).set_index("seed")


def outcomes(frame):
    return {claim.statement: claim.rule(frame).outcome for claim in AdversarialTraining.claims}


def failing(frame):
    return sorted(statement for statement, outcome in outcomes(frame).items() if outcome != "holds")


def test_every_rule_can_hold():
    assert failing(made_rows()) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({("standard", "worst_case"): 0.5, ("standard", "half_the_effort"): 0.5}, ["(a)", "one step finds no more"]),
        ({("standard", "pgd"): 0.5}, ["defenceless"]),
        ({("pgd", "none"): 0.975}, ["(b)"]),
        (
            {("fgsm_rs", "fgsm"): 0.5, ("fgsm_rs", "worst_case"): 0.41, ("fgsm_rs", "half_the_effort"): 0.41},
            ["(c)"],
        ),
        ({("fgsm", "fgsm"): 0.20}, ["(d) trained", "exposes"]),
        ({("pgd", "fgsm"): 0.97}, ["(d) trained"]),
        ({("fgsm", "random_search"): 0.55}, ["exposes"]),
        ({("fgsm_rs", "fgsm"): 0.75}, ["(d) a random start"]),
        ({("noise", "worst_case"): 0.08, ("noise", "half_the_effort"): 0.08}, ["noise"]),
        ({("fgsm", "none"): 0.4}, ["are trained"]),
        ({("standard", "none"): 0.85}, ["(b)", "are trained"]),
        ({("noise", "half_the_effort"): 0.06}, ["one step finds no more"]),
        ({("noise", "half_the_effort"): -0.02}, ["one step finds no more"]),
        ({("fgsm", "fgsm"): 0.01}, ["(d) trained", "exposes", "one step finds no more"]),
        ({("pgd", "pgd_anywhere"): 0.05}, ["nothing survives"]),
    ],
)
def test_each_rule_can_fail(changes, words):
    failed = failing(made_rows(changes))
    assert len(failed) == len(words) and all(any(word in statement for statement in failed) for word in words), failed


def test_a_price_as_high_as_pgds_and_gradients_that_give_nothing_away():
    [dear] = failing(made_rows(gradients={"fgsm_rs": 4.0}))
    [straight] = failing(made_rows(alignment={"fgsm": 0.75}))
    assert "(c)" in dear and "give it away" in straight


def test_every_network_must_pass():
    frame = made_rows()
    other = made_rows({("pgd", "worst_case"): 0.15, ("pgd", "half_the_effort"): 0.15}).assign(model="mlp")
    assert any("(a)" in statement for statement in failing(pd.concat([frame, other])))


def test_controls_of_every_kind():
    kinds = [claim.kind for claim in AdversarialTraining.claims if isinstance(claim, Control)]
    assert kinds == ["negative", "positive", "gate", "gate", "gate"]


# ----------------------------------------------------------------------------------------------------------- picture


def test_the_picture(run):
    rows, kept = run
    frame = pd.concat([rows.assign(seed=seed) for seed in range(3)]).set_index("seed")
    figure = Figure()
    AdversarialTraining().plot(frame, figure, dict.fromkeys(range(3), kept))
    plane, *panels = figure.axes
    assert [len(axes.lines) for axes in panels] == [2 * (1 + 3 + 1)] * 3  # for each attack: legend, three seeds, mean
    assert {text.get_text().split(" (")[0] for text in plane.get_legend().texts} >= {"clean images", "FGSM", "PGD"}
    assert "clean" in plane.get_xlabel() and "robust" in plane.get_ylabel()
    marks = {line.get_xydata()[0].round(6).tolist()[1] for line in plane.lines if len(line.get_xdata()) == 1}
    assert {round(value(rows, arm, attack), 6) for arm in ARMS for attack in ("fgsm", "worst_case")} <= marks


@pytest.mark.parametrize("rows", [pd.DataFrame(), pd.DataFrame({"subject": ["pgd"], "model": ["cnn"]}, index=[0])])
def test_the_picture_of_nothing(rows):
    figure = Figure()
    AdversarialTraining().plot(rows, figure, {})
    figure.canvas.draw()


def test_published_numbers_name_metrics_that_exist():
    for reference in AdversarialTraining.references:
        metric = AdversarialTraining.metrics[reference.metric]
        assert metric.low <= reference.value <= metric.high and "read in" in reference.note
        assert not math.isnan(reference.value)
