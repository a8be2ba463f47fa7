"""A generator learns to fool a network in one forward pass, on images it never saw (AdvGAN, Xiao et al., IJCAI 2018).

AdvGAN, with and without its discriminator, is set against gradients, one perturbation for all images, and noise, all of
the same size: how often each fools two networks on held-out images, and how many images a second it makes. A larger
generator, a longer training and more data to train on (``full``: MNIST) may change the verdicts.

The lecture credits such images to a GAN from MIT. The MIT work it has in mind (Athalye et al., ICML 2018) has no GAN in
it: it is gradient descent in expectation over transformations. The GAN is AdvGAN, by Xiao, Li, Zhu, He, Liu & Song
(arXiv:1801.02610), and AdvGAN is what is measured here.

A frozen network f is attacked by x' = clip(x + eps·G(x), 0, 1). G ends in a tanh, so that |x' - x| <= eps; it is
trained once, on the training images, to make small

    E max(0, f_y(x') - max_{k≠y} f_k(x'))  +  α E (D(x') - 1)²  +  β E max(0, ‖eps·G(x)‖₂ - c)

where f are logits, the discriminator D learns to tell images (1) from perturbed ones (0), and c bounds the norm softly.
On new images G asks neither for labels nor for gradients:

- (a) it fools the network nearly as often as FGSM, one step along the gradient; noise of the same size does not;
- (b) it is at least ten times as fast as PGD with 40 steps;
- (c) its perturbations are made for their image: a single one for all images, trained on the same loss, fools less
  (Moosavi-Dezfooli et al., CVPR 2017);
- (d) the discriminator costs no success, and (e) it is worth having: what it trained is harder to tell from images. For
  (e) every attack faces a fresh discriminator, trained on its images for as long as any other's. What is asked is what
  such a network learns: grey levels that are no sixteenths give every attack on the digits away.

Success is counted over images that the network gets right unharmed, and no attack gets a second try. The positive
control asks whether a generator can be trained, applied and counted at all: with eps = 1 any image is in reach, and
without the discriminator and the norm's bound nothing but success is asked for. The public code
(mathcbc/advGAN_pytorch) keeps the network's dropout on, takes probabilities for logits, sums one loss where it averages
the others, leaves the norm's hinge out, and counts images that were wrong from the start. Here gates ask that the
network be in eval mode, that not a bit of it or of its gradients change, and that bounds hold exactly.

The gradient passes the clip as if it were not there: most pixels of a digit are black, and where G pushes those down it
would learn nothing. That, G's layer norm (G and D have one hidden layer, the paper's are convolutional), its learning
rate, its epochs and c were chosen for the generator alone, on a part of the training images, seeds 100 to 102; its
universal rival's learning rate too; for MNIST width and learning rate again, seed 100, and ``cifar10`` takes MNIST's
untried. α = β = 0.1 are the weights in the public code. eps = 0.1 is that of `adversarial_gradient`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dlbench import (
    Claim,
    Context,
    Control,
    Experiment,
    Measurement,
    Metric,
    Reference,
    above,
    all_of,
    attacks,
    below,
    between,
    draw_means,
    equivalent,
    every,
    one_of,
    ops,
    paired,
    stats,
    where,
)
from dlbench_plugins.images import CLASSES, Images, images
from dlbench_plugins.robustness.classifiers import Recipe, fit, mean, network

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.gridspec import SubplotSpec

    from dlbench import Artefacts, Verdict

MULTIPLES = (1, 2)  # of eps, at which generators are trained and everything is measured
NOISES = ("noise_uniform", "noise_sign")
Attack = Callable[[Tensor, Tensor], Tensor]  # images and labels → perturbed images


# ------------------------------------------------------------------------------------------------------------- rules


def at_each(rows: pd.DataFrame, multiples: tuple[int, ...], rule: Callable[[pd.DataFrame], Verdict]) -> Verdict:
    """The rule for every network at these multiples of eps."""
    return every(rows[rows.multiple.isin(multiples)], ["network", "multiple"], rule)


def advgan_over(rows: pd.DataFrame, other: str, metric: str = "attack_success_rate") -> pd.Series:
    """By how much AdvGAN exceeds another attack, on the same images and network."""
    return paired(rows, metric, "advgan", other)


def fools_unseen_images(rows: pd.DataFrame) -> Verdict:
    """Its success rate is 30 points above that of noise and at most 5 points below that of FGSM."""
    noise = (above(advgan_over(rows, kind), 0.30) for kind in NOISES)
    return all_of(*noise, above(advgan_over(rows, "fgsm"), -0.05))


def speed_up(rows: pd.DataFrame) -> pd.Series:
    """How many times as many images a second AdvGAN makes as PGD."""
    advgan, pgd = (where(rows, subject=name).images_per_second for name in ("advgan", "pgd"))
    return advgan / pgd


def nothing_changes(rows: pd.DataFrame) -> Verdict:
    """With eps = 0 no pixel moves and no label changes, whatever the attack."""

    def still(r: pd.DataFrame) -> Verdict:
        return all_of(below(r.attack_success_rate, 1e-9), below(r.norm, 1e-9))

    return every(where(rows, multiple=0), ["network", "subject"], still)


# -------------------------------------------------------------------------------------------------- published numbers


def challenge(attack: str, value: float) -> Reference:
    """Accuracy of the secret network of the black-box MNIST challenge under images sent in."""
    where = {"dataset": "mnist", "network": "madry_secret", "subject": attack, "eps": 0.3}
    return Reference("robust_accuracy", value, "MadryLab/mnist_challenge, black box", where, note="read in the source")


def repeat(dataset: str, value: float, note: str) -> Reference:
    """What an independent repeat of AdvGAN reached with the network's weights at hand."""
    where = {"dataset": dataset, "network": "cs787", "subject": "advgan"}
    return Reference("attack_success_rate", value, "UditanshuPandey/CS787", where, note=note)


# -------------------------------------------------------------------------------------------------------- experiment


@dataclass(frozen=True)
class AdversarialGAN(Experiment):
    dataset: str = one_of("digits", "mnist", "cifar10", default="digits")
    models: tuple[str, ...] = one_of("mlp", "cnn", "resnet", default=("mlp", "cnn"))
    eps: float = between(1e-4, 0.5, default=0.1)
    attacked: int = between(1, 10_000, default=200)  # held-out images
    steps: int = between(1, 1000, default=40)  # of PGD
    epochs: int = between(1, 1000, default=10)  # of the networks
    batch_size: int = between(1, 10_000, default=128)
    lr: float = between(1e-6, 10, default=0.1)
    augment: bool = False
    width: int = between(1, 100_000, default=128)  # of the hidden layer of G and of D
    generator_epochs: int = between(1, 10_000, default=20)
    generator_batch_size: int = between(1, 10_000, default=128)
    generator_lr: float = between(1e-6, 1, default=1e-2)
    alpha: float = between(0, 1000, default=0.1)
    beta: float = between(0, 1000, default=0.1)
    c: float = between(0, 1, default=0.7)  # as a share of the ball's largest norm, eps·√d
    judged: int = between(1, 10_000, default=400)  # training images of the fresh discriminator that each attack faces
    judge_updates: int = between(1, 10_000, default=200)
    rounds: int = between(1, 1000, default=5)  # of timing

    title = "A trained generator fools a network in one forward pass"
    chapter = "robustness"
    version = 2  # the positive control is a generator that is asked for success alone
    sources = (
        "Xiao et al., Generating adversarial examples with adversarial networks, IJCAI 2018, arXiv:1801.02610",
        "Athalye et al., Synthesizing robust adversarial examples, ICML 2018, arXiv:1707.07397 (MIT; no GAN)",
        "Carlini & Wagner, Towards evaluating the robustness of neural networks, 2017, arXiv:1608.04644",
        "Mao et al., Least squares generative adversarial networks, ICCV 2017, arXiv:1611.04076",
        "Moosavi-Dezfooli et al., Universal adversarial perturbations, CVPR 2017, arXiv:1610.08401",
        "Madry et al., Towards deep learning models resistant to adversarial attacks, ICLR 2018, arXiv:1706.06083",
    )
    metrics = {
        "attack_success_rate": Metric(
            "share of the images a network gets right that fool it", better="higher", main=True, low=0, high=1
        ),
        "robust_accuracy": Metric("share of all images that a network still gets right", better="lower", low=0, high=1),
        "ratio_to_pgd": Metric("success rate over that of PGD", better="higher", low=0),
        "transfer_rate": Metric("of the images that fool it, those that fool another", better="higher", low=0, high=1),
        "training_success_rate": Metric("success rate on the images it was trained on", low=0, high=1),
        "told_apart": Metric("accuracy of a discriminator, images against perturbed", better="lower", low=0, high=1),
        "norm": Metric("largest change of a pixel", better="lower", low=0, high=1),
        "l2": Metric("mean Euclidean norm of the change", better="lower", low=0),
        "outside": Metric("pixels outside the ball or the range of a pixel", unit="pixels", better="lower", low=0),
        "images_per_second": Metric("perturbed images made", unit="examples/s", better="higher", low=0, timed=True),
        "images_to_pay_off": Metric(
            "images after which its training has paid off against PGD", "examples", better="lower", timed=True
        ),
        "clean_accuracy": Metric("of the network, on images as they are", low=0, high=1),
        "disturbed": Metric("parts of the network that the attacks have changed", unit="parts", better="lower", low=0),
    }
    presets = {
        "quick": {},
        "full": {
            "dataset": "mnist",
            "eps": 0.3,
            "attacked": 2000,
            "width": 1024,
            "generator_lr": 1e-3,
            "judged": 2000,
            "rounds": 20,
        },
        "cifar10": {
            "dataset": "cifar10",
            "models": ("resnet",),
            "eps": 8 / 255,
            "attacked": 2000,
            "epochs": 30,
            "augment": True,
            "width": 1024,
            "generator_lr": 1e-3,
            "judged": 2000,
            "rounds": 20,
        },
    }
    references = (
        challenge("advgan", 0.9276),
        challenge("pgd_on_three_copies", 0.9354),
        challenge("fgsm", 0.9608),
        challenge("pgd", 0.9681),
        repeat("mnist", 0.88, "the lowest that it gives; read in the source"),
        repeat("mnist", 0.94, "the highest that it gives; read in the source"),
        repeat("cifar10", 0.846, "read in the source"),
    )

    def datasets(self) -> tuple[str, ...]:
        return (self.dataset,)

    def trial(self, context: Context) -> Iterator[Measurement]:
        train, test = images(self.dataset, self.attacked, context)
        nets = {}
        for model in self.models:
            with context.seeded("init", model):
                nets[model] = network(model, train[0].shape[1:]).to(context.device)
            fit(nets[model], *train, Recipe(self.epochs, self.batch_size, self.lr, augment=self.augment), context)
        for done, (model, net) in enumerate(nets.items()):
            context.progress(done / len(nets), f"attacks on {model}")
            target = Target(model, net, [other for other in nets.values() if other is not net], train, test)
            before = state(net)
            rows = list(measured(target, self, context))
            gates = {"disturbed": disturbed(net, before), "clean_accuracy": mean(right(net, *test))}
            for row in rows:
                yield {"network": model, **row, **gates}

    claims = [
        Claim(
            "on images it never saw, one forward pass of AdvGAN at eps fools the network: its success rate is more "
            "than 30 points above that of noise, and at most 5 points below that of FGSM",
            lambda rows: at_each(rows, (1,), fools_unseen_images),
            source="Xiao et al. 2018",
        ),
        Claim(
            "the same at twice eps",
            lambda rows: at_each(rows, (2,), fools_unseen_images),
            source="Xiao et al. 2018",
        ),
        Claim(
            "AdvGAN makes at least ten times as many images a second as PGD with 40 steps, its training not counted",
            lambda rows: at_each(rows, MULTIPLES, lambda r: above(speed_up(r), 10)),
            source="Xiao et al. 2018",
        ),
        Claim(
            "AdvGAN's perturbations are made for their image: one perturbation for all is more than 5 points behind",
            lambda rows: at_each(rows, MULTIPLES, lambda r: above(advgan_over(r, "universal"), 0.05)),
        ),
        Claim(
            "the discriminator costs no success: without it the generator's success rate is within 5 points",
            lambda rows: at_each(rows, MULTIPLES, lambda r: equivalent(advgan_over(r, "generator_alone"), 0.05)),
        ),
        Claim(
            "the discriminator makes what is perturbed at eps harder to tell from images, by more than 5 points",
            lambda rows: at_each(rows, (1,), lambda r: below(advgan_over(r, "generator_alone", "told_apart"), -0.05)),
        ),
        Control("with eps = 0 nothing changes", nothing_changes, kind="negative"),
        Control(
            "where any image is in reach (eps = 1) and nothing but success is asked for, a generator fools the network "
            "on 95 % of the images",
            lambda rows: every(
                where(rows, subject="generator_anywhere"), "network", lambda r: above(r.attack_success_rate, 0.95)
            ),
            kind="positive",
        ),
        Control(
            "the networks are trained: 90 % of the clean images right",
            lambda rows: at_each(where(rows, subject="pgd"), (1,), lambda r: above(r.clean_accuracy, 0.9)),
            kind="gate",
        ),
        Control(
            "every attack keeps to the ball and to the range of a pixel, exactly",
            lambda rows: every(rows, ["network", "subject", "multiple"], lambda r: below(r.outside, 1e-9)),
            kind="gate",
        ),
        Control(
            "the networks are in eval mode, and not a bit of their weights, statistics and gradients has changed",
            lambda rows: at_each(where(rows, subject="pgd"), (1,), lambda r: below(r.disturbed, 1e-9)),
            kind="gate",
        ),
        Control(
            "PGD is no weaker than FGSM",
            lambda rows: at_each(
                rows, MULTIPLES, lambda r: above(paired(r, "attack_success_rate", "pgd", "fgsm"), -0.02)
            ),
            kind="gate",
        ),
    ]

    def plot(self, rows: pd.DataFrame, figure: Figure, artefacts: Artefacts) -> None:
        """An image of each class, what AdvGAN adds and what comes of it; below, success against speed."""
        figure.set_size_inches(9, 7)
        upper, lower = figure.add_gridspec(2, 1, height_ratios=(4, 3.4), left=0.08, right=0.99, top=0.96, bottom=0.15)
        draw_images(figure, upper, self, artefacts)
        draw_speed(figure, lower, self, rows)


# ---------------------------------------------------------------------------------------------------------- networks


def generator(shape: torch.Size, width: int) -> nn.Module:
    """An untrained generator from images [n, *shape] to directions in [-1, 1].

    What is added to an image does not depend on its batch: the norm is over the image's own features.
    """
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(shape.numel(), width),
        nn.LayerNorm(width),
        nn.ReLU(),
        nn.Linear(width, shape.numel()),
        nn.Tanh(),
        nn.Unflatten(1, shape),
    )


class Universal(nn.Module):
    """One direction for all images of a shape."""

    def __init__(self, shape: torch.Size) -> None:
        super().__init__()
        self.raw = nn.Parameter(torch.zeros(shape))

    def forward(self, x: Tensor) -> Tensor:
        return self.raw.tanh().expand_as(x)


def discriminator(shape: torch.Size, width: int) -> nn.Module:
    """An untrained discriminator from images [n, *shape] to scores [n]."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(shape.numel(), width), nn.LeakyReLU(0.2), nn.Linear(width, 1), nn.Flatten(0)
    )


# ---------------------------------------------------------------------------------------------------------- training


@dataclass(frozen=True)
class Target:
    """A network under attack, the other networks that its perturbed images are shown to, and the images."""

    name: str
    net: nn.Module
    others: list[nn.Module]
    train: Images
    test: Images


def trained(name: str, target: Target, eps: float, study: AdversarialGAN, context: Context) -> nn.Module:
    """A module from images to directions, trained against a network: "advgan", "generator_alone" or "universal".

    The generators of the first two start from the same weights, and all see the same images in the same order. The
    network is frozen and in eval mode.
    """
    x, y = target.train
    shape = x.shape[1:]
    with context.seeded("init", "generator"):
        maker = (Universal(shape) if name == "universal" else generator(shape, study.width)).to(x.device)
    with context.seeded("init", "discriminator"):
        critic = discriminator(shape, study.width).to(x.device)
    # one weight alone moves a pixel of the universal perturbation, hundreds together a pixel of a generator's
    learn = optimizer(maker, study.generator_lr * (10 if name == "universal" else 1))
    learn_critic = optimizer(critic, study.generator_lr)
    bound = study.c * eps * math.sqrt(shape.numel())
    order = context.generator("order", "generator")
    with attacks.attack_mode(target.net), attacks.input_grad_only(target.net):
        for _ in range(study.generator_epochs):
            for chosen in torch.randperm(len(x), generator=order).split(study.generator_batch_size):
                batch, labels = x[chosen], y[chosen]
                change = eps * maker(batch)
                perturbed = clip(batch + change)
                loss = F.relu(-ops.margin_loss(target.net(perturbed), labels)).mean()
                loss = loss + study.beta * F.relu(change.flatten(1).norm(dim=1) - bound).mean()
                if name == "advgan":
                    step(learn_critic, (critic(batch) - 1).square().mean() + critic(perturbed.detach()).square().mean())
                    with attacks.input_grad_only(critic):
                        loss = loss + study.alpha * (critic(perturbed) - 1).square().mean()
                step(learn, loss)
    return maker


def optimizer(module: nn.Module, lr: float) -> torch.optim.Optimizer:
    """Adam, an update in one kernel."""
    return torch.optim.Adam(module.parameters(), lr, fused=True)


def step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """One update down the gradient of a loss."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def clip(x: Tensor) -> Tensor:
    """Clipped to [0, 1], through which the gradient passes as if it were not."""
    return x + (x.clamp(0, 1) - x).detach()


# ----------------------------------------------------------------------------------------------------------- attacks


@torch.no_grad()
def moved(x: Tensor, direction: Tensor, eps: float) -> Tensor:
    """Moved by eps·direction in [-eps, eps], and clipped; |x' - x| <= eps and 0 <= x' <= 1 hold exactly."""
    return ops.project_(torch.add(x, direction, alpha=eps), x, eps=eps, norm="linf")


def by_generator(maker: nn.Module, eps: float) -> Attack:
    """One forward pass, which needs no labels."""

    @torch.no_grad()
    def attack(x: Tensor, y: Tensor) -> Tensor:
        return moved(x, maker(x), eps)

    return attack


def by_noise(kind: str, eps: float, context: Context) -> Attack:
    """One draw from the ball ("noise_uniform") or from its corners ("noise_sign"), where gradient attacks end up."""

    def attack(x: Tensor, y: Tensor) -> Tensor:
        drawn = 2 * torch.rand(x.shape, generator=context.generator("noise")) - 1
        return moved(x, (drawn if kind == "noise_uniform" else torch.where(drawn < 0, -1.0, 1.0)).to(x), eps)

    return attack


def all_attacks(
    net: nn.Module, makers: Mapping[str, nn.Module], eps: float, study: AdversarialGAN, context: Context
) -> dict[str, Attack]:
    """Every arm, by name."""
    by_makers = {name: by_generator(maker, eps) for name, maker in makers.items()}
    by_noises = {kind: by_noise(kind, eps, context) for kind in NOISES}
    return by_makers | by_gradient(net, eps, study, context) | by_noises


def by_gradient(net: nn.Module, eps: float, study: AdversarialGAN, context: Context) -> dict[str, Attack]:
    """FGSM, and PGD from one random start: until it succeeds, which is fast, and to the greatest loss.

    A first success lies just behind the boundary, where it fools no other network.
    """
    pgd = {"eps": eps, "steps": study.steps, "seed": context.integer("pgd"), "rewrite": "off"}  # the same to the bit
    return {
        "fgsm": lambda x, y: attacks.fgsm(net, x, y, eps=eps).x_adv,
        "pgd": lambda x, y: attacks.pgd(net, x, y, **pgd).x_adv,
        "pgd_greatest_loss": lambda x, y: attacks.pgd(net, x, y, **pgd, stop="never").x_adv,
    }


# ------------------------------------------------------------------------------------------------------- measurement


def measured(target: Target, study: AdversarialGAN, context: Context) -> Iterator[Measurement]:
    """All attacks on one network at each multiple of eps, and at 0 with what was trained last."""
    for multiple in MULTIPLES:
        eps = multiple * study.eps
        makers, took = {}, {}
        for name in ("advgan", "generator_alone", "universal"):
            began = clock(context)
            makers[name] = trained(name, target, eps, study, context)
            took[name] = clock(context) - began
        arms = all_attacks(target.net, makers, eps, study, context)
        x_adv = {name: attack(*target.test) for name, attack in arms.items()}
        keep_examples(context, f"{target.name}_{multiple}", target, x_adv["advgan"])
        best = success_rate(target.net, *target.test, x_adv["pgd"])
        timed = {name: attack for name, attack in arms.items() if name != "pgd_greatest_loss"}
        speed = speeds(timed, target.test, study.rounds, context)
        for name, attack in arms.items():
            row = scored(target, x_adv[name], eps)
            row["ratio_to_pgd"] = row["attack_success_rate"] / best if best else math.nan
            row["told_apart"] = told_apart(attack, x_adv[name], target, study, context) if multiple == 1 else math.nan
            row["images_per_second"] = speed.get(name, math.nan)
            if name in makers:
                seen = [part[: study.attacked] for part in target.train]
                row["training_success_rate"] = success_rate(target.net, *seen, attack(*seen))
                row["images_to_pay_off"] = pays_off(took[name], speed[name], speed["pgd"])
            yield {"subject": name, "eps": eps, "multiple": multiple, **row}

    for name, attack in all_attacks(target.net, makers, 0.0, study, context).items():
        yield {"subject": name, "eps": 0.0, "multiple": 0, **scored(target, attack(*target.test), 0.0)}
    # the norm's hinge trades success for smallness, and so may stay below 1 however well the rest works
    anywhere = by_generator(trained("generator_alone", target, 1.0, replace(study, beta=0.0), context), 1.0)
    row = scored(target, anywhere(*target.test), 1.0)
    yield {"subject": "generator_anywhere", "eps": 1.0, "multiple": 1 / study.eps, **row}


@torch.no_grad()
def right(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Which images [n] the network gets right."""
    return net(x).argmax(1) == y


def success_rate(net: nn.Module, x: Tensor, y: Tensor, x_adv: Tensor) -> float:
    """Share of the images a network gets right that fool it once perturbed; NaN if it gets none right."""
    before = right(net, x, y)
    return mean(~right(net, x_adv[before], y[before]))


def scored(target: Target, x_adv: Tensor, eps: float) -> dict[str, float]:
    """What every attack is measured by on the held-out images, whose changes are computed in double precision."""
    x, y = target.test
    before, after = right(target.net, x, y), right(target.net, x_adv, y)
    change = x_adv.double() - x.double()
    row = {
        "attack_success_rate": success_rate(target.net, x, y, x_adv),
        "robust_accuracy": mean(before & after),
        "norm": float(change.abs().max()),
        "l2": float(change.flatten(1).norm(dim=1).mean()),
        "outside": float(((change.abs() > eps) | (x_adv < 0) | (x_adv > 1)).sum()),
    }
    if target.others:  # of the images that fool the network, those that the other gets right unharmed
        fooled = before & ~after
        rates = [success_rate(other, x[fooled], y[fooled], x_adv[fooled]) for other in target.others]
        row["transfer_rate"] = float(np.mean(rates))
    return row


def told_apart(attack: Attack, x_adv: Tensor, target: Target, study: AdversarialGAN, context: Context) -> float:
    """Accuracy with which a fresh discriminator tells held-out images from what an attack has made of them, ``x_adv``.

    It learns from training images and what the attack makes of those. All are images that the network gets right:
    gradient attacks leave the others as they are.
    """
    x, y = (part[: study.judged] for part in target.train)
    known = right(target.net, x, y)
    x, y = x[known], y[known]
    shown, sign = torch.cat([x, attack(x, y)]), torch.ones(2 * len(x), device=x.device)
    sign[len(x) :] = -1
    with context.seeded("init", "judge"):
        judge = discriminator(x.shape[1:], study.width).to(x.device)
    learn = optimizer(judge, study.generator_lr)
    for _ in range(study.judge_updates):
        step(learn, F.softplus(-sign * judge(shown)).mean())
    asked = right(target.net, *target.test)
    with torch.no_grad():
        return (mean(judge(target.test[0][asked]) > 0) + mean(judge(x_adv[asked]) <= 0)) / 2


def speeds(arms: Mapping[str, Attack], test: Images, rounds: int, context: Context) -> dict[str, float]:
    """Images a second of each attack on all held-out images at once: medians over rounds of turns in random order."""
    taken: dict[str, list[float]] = {name: [] for name in arms}
    for turn in range(rounds):
        for name in context.rng("turns", turn).permutation(list(arms)):  # what ran before leaves its mark in the caches
            began = clock(context)
            arms[name](*test)
            taken[name].append(clock(context) - began)
    return {name: len(test[0]) / median(seconds) for name, seconds in taken.items()}


def pays_off(training: float, speed: float, other: float) -> float:
    """How many images must be made until training (in seconds) has cost less than another attack's lower speed."""
    saved = 1 / other - 1 / speed
    return training / saved if saved > 0 else math.inf


def clock(context: Context) -> float:
    """Seconds, once the device has done what it was given."""
    if context.device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter()


def state(net: nn.Module) -> list[Tensor | None]:
    """Copies of a network's parameters and buffers, and of the parameters' gradients where there are any."""
    tensors = [*net.parameters(), *net.buffers(), *(parameter.grad for parameter in net.parameters())]
    return [None if tensor is None else tensor.detach().clone() for tensor in tensors]


def disturbed(net: nn.Module, before: list[Tensor | None]) -> int:
    """How many tensors of a network are not what they were, to the bit, and how many of its modules are in training."""
    pairs = zip(before, state(net), strict=True)
    changed = sum(a is not b if a is None or b is None else not torch.equal(a, b) for a, b in pairs)
    return changed + sum(module.training for module in net.modules())


@torch.no_grad()
def keep_examples(context: Context, name: str, target: Target, x_adv: Tensor) -> None:
    """Keep the first image of each class that the network gets right, before and after, and both labels."""
    x, y = target.test
    shown = right(target.net, x, y)
    firsts = [(shown & (y == label)).nonzero()[:1, 0] for label in range(CLASSES)]
    chosen = torch.cat(firsts)
    if len(chosen):
        context.keep(f"{name}_images", torch.stack([x[chosen], x_adv[chosen]]))
        context.keep(f"{name}_labels", torch.stack([y[chosen], target.net(x_adv[chosen]).argmax(1)]))


# ----------------------------------------------------------------------------------------------------------- picture

FOOLED = "#D55E00"
ARMS = {  # attack → colour, marker, name
    "advgan": (FOOLED, "o", "AdvGAN"),
    "generator_alone": ("#E69F00", "s", "its generator, trained alone"),
    "universal": ("#CC79A7", "D", "one perturbation for all"),
    "pgd": ("#0072B2", "^", "PGD"),
    "fgsm": ("#56B4E9", "v", "FGSM"),
    "noise_sign": ("#444444", "X", "random signs"),
    "noise_uniform": ("#999999", "P", "uniform noise"),
}


def draw_images(figure: Figure, place: SubplotSpec, study: AdversarialGAN, artefacts: Artefacts) -> None:
    """A column for an image of each class, from the lowest seed that kept any; framed where the network is fooled."""
    kept = [
        (model, artefacts[seed])
        for model in study.models
        for seed in sorted(artefacts)
        if all(f"{model}_{multiple}_labels" in artefacts[seed] for multiple in MULTIPLES)
    ]
    if not kept:
        return
    model, arrays = kept[0]
    near, far = (arrays[f"{model}_{multiple}_images"] for multiple in MULTIPLES)
    near_labels, far_labels = (arrays[f"{model}_{multiple}_labels"] for multiple in MULTIPLES)
    gain = 0.5 / study.eps
    rows = (
        ("image", near[0], near_labels[0]),
        (f"change, ×{gain:.2g}", 0.5 + gain * (near[1] - near[0]), None),
        (f"result,\neps = {study.eps:.2g}", near[1], near_labels[1]),
        (f"result,\neps = {2 * study.eps:.2g}", far[1], far_labels[1]),
    )
    heading = f"AdvGAN against the {model.upper()}: held-out images, and below each what the network sees"
    figure.suptitle(heading, x=0.08, ha="left", fontsize=9)
    grid = place.subgridspec(len(rows), len(near[0]), wspace=0.1, hspace=0.3)
    for row, (title, shown, labels) in enumerate(rows):
        for column, image in enumerate(shown):
            axes = figure.add_subplot(grid[row, column], xticks=[], yticks=[])
            fooled = labels is not None and labels[column] != near_labels[0, column]
            colour = FOOLED if fooled else "0.4"
            axes.imshow(image.transpose(1, 2, 0).squeeze().clip(0, 1), cmap="gray", vmin=0, vmax=1)
            axes.spines[:].set(visible=True, color=colour, linewidth=2 if fooled else 0.5)
            axes.set_xlabel("" if labels is None else labels[column], color=colour, fontsize=8, labelpad=1)
            if column == 0:
                axes.set_ylabel(title, rotation=0, ha="right", va="center", fontsize=8)


def draw_speed(figure: Figure, place: SubplotSpec, study: AdversarialGAN, rows: pd.DataFrame) -> None:
    """Success against speed, a panel for each network."""
    grid = place.subgridspec(1, len(study.models), wspace=0.06)
    axes = None
    for column, model in enumerate(study.models):
        axes = figure.add_subplot(grid[column], sharex=axes, xscale="log", ylim=(-0.04, 1.04), xlabel="images a second")
        axes.set_title(model.upper(), fontsize=9)
        axes.tick_params(labelleft=column == 0)
        axes.set_ylabel("success rate" if column == 0 else "")
        axes.grid(color="0.93", linewidth=0.6)
        for arm, (colour, marker, label) in ARMS.items():
            axes.plot([], [], marker, color=colour, label=label)
            if {"subject", "network", "multiple", "images_per_second", "attack_success_rate"} <= set(rows.columns):
                draw_arm(axes, where(rows, subject=arm, network=model), colour, marker)
    axes.plot([], [], "o", color="0.4", markerfacecolor="white", label="hollow: at twice eps")
    figure.legend(*axes.get_legend_handles_labels(), loc="lower center", ncols=4, frameon=False, fontsize=8)


def draw_arm(axes: Axes, rows: pd.DataFrame, colour: str, marker: str) -> None:
    """One attack on one network, filled at eps and hollow at twice eps, with 95 % intervals over seeds."""
    rows = rows[np.isfinite(rows.images_per_second) & (rows.images_per_second > 0)]
    for multiple, fill in zip(MULTIPLES, (colour, "white"), strict=True):
        here = where(rows, multiple=multiple)
        if len(here):
            speed, slowest, fastest, n = stats.log_t_interval(here.images_per_second)
            style = {"color": colour, "marker": marker, "markersize": 6, "markerfacecolor": fill}
            draw_means(axes, [speed], [here.attack_success_rate], limits=(0, 1), **style)
            if n > 1:
                axes.hlines(here.attack_success_rate.mean(), slowest, fastest, color=colour, linewidth=1.2, zorder=1)
