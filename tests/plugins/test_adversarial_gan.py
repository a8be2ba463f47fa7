"""adversarial_gan: its parts against closed forms, a small run against what must be so, rules on made frames."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from torch import nn

from dlbench import Context, Control
from dlbench.data.images import DIGITS
from dlbench_plugins.robustness import adversarial_gan as study
from dlbench_plugins.robustness.adversarial_gan import AdversarialGAN, Target, trained

SMALL = {
    "attacked": 80,
    "epochs": 6,
    "generator_epochs": 4,
    "steps": 20,
    "judged": 100,
    "judge_updates": 10,
    "rounds": 1,
}
TINY = SMALL | {"models": ("mlp",), "epochs": 1, "generator_epochs": 1, "attacked": 20, "steps": 2, "judge_updates": 2}
TIMED = [name for name, metric in AdversarialGAN.metrics.items() if metric.timed]
MAKERS = ("advgan", "generator_alone", "universal")


def context(seed=0):
    return Context(seed=seed, loader=lambda name: {"digits": DIGITS}[name].load())


@pytest.fixture(scope="module")
def run():
    """The rows and artefacts of one small trial on the digits."""
    where = context()
    return pd.DataFrame(AdversarialGAN(**SMALL).trial(where)), where.kept


def linear(weights):
    """A network of one linear layer, from images [n, 1, 1, d] to logits."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(len(weights[0]), len(weights)))
    net[1].weight.data, net[1].bias.data = torch.tensor(weights), torch.zeros(len(weights))
    return net.eval()


def target(net, x, y, others=()):
    return Target("net", net, list(others), (x, y), (x, y))


# ------------------------------------------------------------------------------------------------------------- parts


def test_the_gradient_passes_the_clip():
    x = torch.tensor([-0.5, 0.25, 1.5], requires_grad=True)
    clipped = study.clip(x)
    clipped.sum().backward()
    assert clipped.tolist() == [0.0, 0.25, 1.0] and x.grad.tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("eps", [0.0, 0.1, 8 / 255, 0.3, 1.0])
def test_bounds_hold_exactly(eps):
    x = torch.rand(50, 1, 8, 8).mul(17).floor().div(16)
    direction = torch.rand(50, 1, 8, 8).mul(2).sub(1).sign()
    moved = study.moved(x, direction, eps)
    change = (moved.double() - x.double()).abs()
    assert (change <= eps).all() and (moved >= 0).all() and (moved <= 1).all()
    assert torch.equal(moved, x) if eps == 0 else change.max() > 0.999 * eps


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 7, 9)])
def test_networks_take_images_one_by_one(shape):
    maker, judge = study.generator(torch.Size(shape), 16), study.discriminator(torch.Size(shape), 16)
    x = torch.rand(3, *shape)
    with torch.no_grad():
        direction = maker(x)
        assert direction.shape == x.shape and direction.abs().max() <= 1 and judge(x).shape == (3,)
        torch.testing.assert_close(maker(x[1:2]), direction[1:2])  # whatever else stands in the batch


@pytest.mark.parametrize("name", MAKERS)
def test_against_a_linear_network_the_best_direction_is_found(name):
    """Of images of one class, that is the sign of the difference of the weights, whatever the image."""
    weights = [[1.0, -2.0, 0.5, -1.5], [-1.0, 1.0, 1.5, -0.5]]
    x, y = torch.rand(64, 1, 1, 4, generator=torch.Generator().manual_seed(0)) * 0.5 + 0.25, torch.zeros(64).long()
    settings = AdversarialGAN(generator_epochs=60, generator_batch_size=32, alpha=0.0, beta=0.0)
    net = linear(weights)
    net[1].bias.data[0] = 100.0  # out of reach, so that the hinge never rests
    maker = trained(name, target(net, x, y), 0.2, settings, context())
    best = torch.tensor(weights[1]).sub(torch.tensor(weights[0])).sign()
    with torch.no_grad():
        torch.testing.assert_close(maker(x), best.expand_as(x), atol=0.1, rtol=0)


def test_c_bounds_the_norm_softly():
    x, y = torch.full((32, 1, 1, 4), 0.5), torch.zeros(32).long()
    aim, norms = target(linear([[1.0] * 4, [-1.0] * 4]), x, y), []
    for beta in (0.0, 10.0):
        settings = AdversarialGAN(generator_epochs=100, beta=beta, c=0.25)
        with torch.no_grad():
            norms += (0.2 * trained("generator_alone", aim, 0.2, settings, context())(x[:1])).norm(dim=3).flatten()
    assert norms == [pytest.approx(0.2 * 2, rel=1e-3), pytest.approx(0.25 * 0.2 * 2, rel=0.3)]  # eps √d, and c of it


def test_the_discriminator_pulls_away_from_the_worst_image():
    x = torch.rand(256, 1, 1, 4, generator=torch.Generator().manual_seed(0)) * 0.2 + 0.4
    aim, made = target(linear([[1.0] * 4, [-1.0] * 4]), x, torch.zeros(256).long()), {}
    for name, alpha in (("generator_alone", 1.0), ("advgan", 0.0), ("advgan", 100.0)):
        settings = AdversarialGAN(generator_epochs=20, generator_batch_size=32, alpha=alpha, beta=0.0)
        with torch.no_grad():
            made[name, alpha] = trained(name, aim, 0.2, settings, context())(x)
    assert torch.equal(made["advgan", 0.0], made["generator_alone", 1.0])  # the same weights, images and order
    assert made["advgan", 0.0].mean() < -0.99 and made["advgan", 100.0].mean() > -0.5


def test_the_network_is_left_as_it_was():
    x, y = torch.rand(20, 1, 4, 4), torch.randint(0, 10, (20,))
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(), nn.Flatten(), nn.Linear(8, 10))
    net(x).sum().backward()  # there are gradients to disturb
    net[2].eval()
    before, modes = study.state(net), [module.training for module in net.modules()]
    trained("advgan", target(net, x, y), 0.1, AdversarialGAN(generator_epochs=2), context())
    assert [module.training for module in net.modules()] == modes
    assert study.disturbed(net.eval(), before) == 0


def test_a_disturbed_network_is_found():
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)).eval()
    before = study.state(net)
    assert study.disturbed(net, before) == 0
    net(torch.ones(1, 2)).sum().backward()
    assert study.disturbed(net, before) == 4  # four gradients, where there were none
    before = study.state(net)
    net[0].weight.data[0, 0] += 1e-6
    net[1].running_mean[0] = 1.0
    net[0].weight.grad[0, 0] += 1
    net[1].train()
    assert study.disturbed(net, before) == 4


def test_scores_count_images_that_were_right():
    net, other = linear([[1.0, 0.0], [0.0, 1.0]]), linear([[1.0, 1.0], [0.0, 1.5]])
    x = torch.tensor([[0.6, 0.5], [0.9, 0.1], [0.5, 0.6], [0.2, 0.8]]).reshape(4, 1, 1, 2)
    y = torch.tensor([0, 0, 1, 0])  # the last is wrong from the start
    x_adv = x.clone()
    x_adv[[0, 2]] = x_adv[[0, 2]].flip(3)  # the first and the third change sides, by 0.1
    row = study.scored(target(net, x, y, [other]), x_adv, 0.05)
    assert row["attack_success_rate"] == pytest.approx(2 / 3) and row["robust_accuracy"] == 0.25
    assert row["norm"] == pytest.approx(0.1) and row["l2"] == pytest.approx(0.1 * math.sqrt(2) / 2)
    assert row["outside"] == 4
    with torch.no_grad():  # the other gets the third wrong unharmed, and sees through the first
        assert (other(x[[0, 2]]).argmax(1) == y[[0, 2]]).tolist() == [True, False]
    assert row["transfer_rate"] == 0.0
    assert "transfer_rate" not in study.scored(target(net, x, y), x, 0.0)


def test_told_apart():
    x, y = torch.rand(60, 1, 4, 4) * 0.2 + 0.3, torch.zeros(60).long()
    aim = target(linear([[1.0] * 16, [-1.0] * 16]), x, y)
    settings = AdversarialGAN(judged=40, judge_updates=30)
    same = study.told_apart(lambda x, y: x, x, aim, settings, context())
    other = study.told_apart(lambda x, y: x + 0.3, x + 0.3, aim, settings, context())
    assert same == 0.5 and other == 1.0


def test_speeds_are_medians_of_turns(monkeypatch):
    now, rounds = [0.0], itertools.count()
    monkeypatch.setattr(study, "clock", lambda context: now[0])

    def takes(seconds, hiccup=0.0):
        def attack(x, y):
            now[0] += seconds + hiccup * (next(rounds) == 0)

        return attack

    test = torch.rand(10, 1), torch.zeros(10)
    found = study.speeds({"slow": takes(2.0), "fast": takes(0.5, hiccup=100.0)}, test, 3, context())
    assert found == {"slow": pytest.approx(5.0), "fast": pytest.approx(20.0)}
    assert study.pays_off(30.0, found["fast"], found["slow"]) == pytest.approx(200.0)  # 40 s of PGD, 30 + 10 s of ours
    assert study.pays_off(30.0, found["slow"], found["fast"]) == math.inf


# -------------------------------------------------------------------------------------------------------- small runs


def test_rows_are_complete_and_lie_in_range(run):
    rows, _ = run
    assert not rows.duplicated(["subject", "network", "multiple"]).any()
    assert set(rows.columns) == {"subject", "network", "eps", "multiple", *AdversarialGAN.metrics}
    for name, metric in AdversarialGAN.metrics.items():
        values = rows[name].dropna()
        assert len(values) and values.between(metric.low, metric.high).all(), name
    everywhere = rows.groupby("subject").size()
    assert (everywhere.drop("generator_anywhere") == 6).all() and len(everywhere) == 9


def test_the_effect_is_there_and_noise_has_it_not(run):
    rows, _ = run
    at = rows[rows.multiple == 2].set_index(["network", "subject"]).attack_success_rate
    for network in ("mlp", "cnn"):
        assert at[network, "generator_alone"] > 0.3 > at[network, "noise_uniform"]
        assert at[network, "pgd"] > 0.8
    assert (rows[rows.subject == "generator_anywhere"].attack_success_rate > 0.5).all()


def test_controls_of_one_run(run):
    rows, _ = run
    still = rows[rows.multiple == 0]
    assert (still.attack_success_rate == 0).all() and (still.norm == 0).all() and len(still) == 16
    assert (rows.outside == 0).all() and (rows.disturbed == 0).all() and (rows.norm <= rows.eps).all()
    assert (rows[rows.multiple == 1].norm > 0.09).all()
    assert rows.clean_accuracy.nunique() <= 2


def test_what_is_kept_is_an_image_of_each_class(run):
    _, kept = run
    for name in ("mlp_1", "mlp_2", "cnn_1", "cnn_2"):
        before, after = kept[f"{name}_images"]
        assert before.shape == (10, 1, 8, 8) and np.abs(after - before).max() <= 0.1 * int(name[-1]) + 1e-7
        assert kept[f"{name}_labels"][0].tolist() == list(range(10))
    assert np.array_equal(kept["mlp_1_images"][0], kept["mlp_2_images"][0])


@pytest.mark.slow
def test_the_same_seed_gives_the_same_rows():
    tiny = AdversarialGAN(**TINY)
    first, again, other = (pd.DataFrame(tiny.trial(context(seed))).drop(columns=TIMED) for seed in (3, 3, 4))
    pd.testing.assert_frame_equal(first, again, check_exact=True)
    assert not first.equals(other)


def test_the_generators_see_no_held_out_image(monkeypatch):
    seen = []
    monkeypatch.setattr(
        study, "trained", lambda name, target, *rest: seen.append(target) or trained(name, target, *rest)
    )
    tiny = AdversarialGAN(**TINY)
    list(tiny.trial(context()))
    train, test = ({image.numpy().tobytes() for image in x} for x in (seen[0].train[0], seen[0].test[0]))
    assert len(seen) == 7 and len(test) == 20 and not train & test


@pytest.mark.parametrize(("dataset", "shape"), [("mnist", (12, 12)), ("cifar10", (3, 6, 6))])
def test_the_full_protocol_on_made_images(dataset, shape):
    """A bright corner or another stands for a class: the code is exercised, not the science."""
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=24)
    x = rng.uniform(0, 0.3, size=(24, *shape)).astype(np.float32)
    x[np.arange(24), ..., y] += 0.6
    made = {"train_x": x[:20], "train_y": y[:20], "test_x": x[20:], "test_y": y[20:]}
    small = {
        "attacked": 6,
        "width": 32,
        "epochs": 1,
        "generator_epochs": 1,
        "steps": 2,
        "judge_updates": 2,
        "rounds": 1,
    }
    models = ("mlp", "cnn") if dataset == "mnist" else ("resnet",)
    full = AdversarialGAN.preset("full" if dataset == "mnist" else dataset, small)
    assert full.models == models and full.datasets() == (dataset,) and full.generator_lr == 1e-3
    where = Context(seed=0, loader=lambda name: {dataset: made}[name])
    rows = pd.DataFrame(full.trial(where))
    assert set(rows.network) == set(models) and (rows.outside == 0).all() and (rows.disturbed == 0).all()
    assert ("transfer_rate" in rows) == (len(models) > 1)
    full.plot(rows.set_index(pd.Index([0] * len(rows), name="seed")), Figure(), {0: where.kept})


# ------------------------------------------------------------------------------------------------------------- rules


def made_rows(**changes):
    """Eight seeds of rows under which everything holds, but for what is changed: attack → metrics."""
    rates = {
        "advgan": 0.6,
        "generator_alone": 0.61,
        "universal": 0.3,
        "fgsm": 0.62,
        "pgd": 0.7,
        "pgd_greatest_loss": 0.7,
    }
    rates |= {"noise_sign": 0.05, "noise_uniform": 0.02}
    rows = []
    for seed, network in itertools.product(range(8), ("mlp", "cnn")):
        jitter = 0.001 * (seed - 3.5)
        base = {"seed": seed, "network": network, "outside": 0.0, "disturbed": 0.0, "clean_accuracy": 0.95 + jitter}
        for name, rate in rates.items():
            still = {"subject": name, "multiple": 0.0, "attack_success_rate": 0.0, "norm": 0.0}
            speed = {"pgd": 1e3, "fgsm": 2e4}.get(name, 1e5) * (1 + jitter)
            one = {"attack_success_rate": rate + jitter * (name == "advgan"), "norm": 0.1, "images_per_second": speed}
            one |= {"subject": name, "told_apart": 0.8 + jitter if name == "advgan" else 0.95}
            one |= changes.get(name, {})
            rows += [base | still, base | one | {"multiple": 1.0}, base | one | {"multiple": 2.0}]
        anywhere = {"subject": "generator_anywhere", "multiple": 10.0, "attack_success_rate": 0.99, "norm": 1.0}
        rows.append(base | anywhere | changes.get("generator_anywhere", {}))
    return pd.DataFrame(rows).set_index("seed")


def failing(frame):
    return [claim.statement for claim in AdversarialGAN.claims if claim.rule(frame).outcome != "holds"]


def test_every_rule_can_hold():
    assert failing(made_rows()) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"noise_sign": {"attack_success_rate": 0.35}}, ["one forward pass", "the same at twice"]),
        ({"fgsm": {"attack_success_rate": 0.66}}, ["one forward pass", "the same at twice"]),
        ({"pgd": {"images_per_second": 2e4}}, ["ten times"]),
        ({"universal": {"attack_success_rate": 0.57}}, ["made for their image"]),
        ({"generator_alone": {"attack_success_rate": 0.67}}, ["costs no success"]),
        ({"generator_alone": {"attack_success_rate": 0.53}}, ["costs no success"]),
        ({"generator_alone": {"told_apart": 0.82}}, ["harder to tell"]),
        ({"generator_anywhere": {"attack_success_rate": 0.9}}, ["where any image is in reach"]),
        ({"pgd": {"attack_success_rate": 0.5}}, ["no weaker than FGSM"]),
        ({"universal": {"outside": 1.0}}, ["exactly"]),
        ({"pgd": {"disturbed": 1.0}}, ["not a bit"]),
        ({"pgd": {"clean_accuracy": 0.85}}, ["are trained"]),
    ],
)
def test_each_rule_can_fail(changes, words):
    failed = failing(made_rows(**changes))
    assert len(failed) == len(words) and all(word in text for word, text in zip(words, failed, strict=True)), failed


def test_controls_catch_what_must_not_be():
    moved = made_rows()
    moved.loc[(moved.multiple == 0) & (moved.subject == "noise_sign"), "norm"] = 0.1
    (failed,) = failing(moved)
    assert "eps = 0" in failed
    kinds = [claim.kind for claim in AdversarialGAN.claims if isinstance(claim, Control)]
    assert kinds == ["negative", "positive", "gate", "gate", "gate", "gate"]


# ----------------------------------------------------------------------------------------------------------- picture


def test_the_picture(run):
    rows, kept = run
    frame = pd.concat([rows.assign(seed=seed) for seed in range(3)]).set_index("seed")
    figure = Figure()
    AdversarialGAN().plot(frame, figure, {1: kept})
    images, panels = ([axes for axes in figure.axes if bool(axes.images) == wanted] for wanted in (True, False))
    assert len(images) == 40 and [axes.get_title() for axes in panels] == ["MLP", "CNN"]
    fooled = sum(axes.spines["left"].get_linewidth() > 1 for axes in images)
    labels = [kept[f"mlp_{multiple}_labels"] for multiple in (1, 2)]
    assert fooled == sum((after != before).sum() for before, after in labels)
    for axes in panels:
        points = {round(float(y), 9) for line in axes.lines for y in line.get_ydata()}
        shown = rows[(rows.network == axes.get_title().lower()) & rows.images_per_second.notna()]
        assert axes.get_xscale() == "log" and points == set(shown.attack_success_rate.round(9))


@pytest.mark.parametrize("rows", [pd.DataFrame(), pd.DataFrame({"subject": ["pgd"], "network": ["mlp"]}, index=[0])])
def test_the_picture_of_nothing(rows):
    figure = Figure()
    AdversarialGAN().plot(rows, figure, {})
    figure.canvas.draw()
    assert len(figure.axes) == 2


def test_published_numbers_name_metrics_that_exist():
    for reference in AdversarialGAN.references:
        metric = AdversarialGAN.metrics[reference.metric]
        assert metric.low <= reference.value <= metric.high and "read in" in reference.note
