"""Trained on adversarial images a network becomes robust, at a price; trained on one step's, it may only seem so.

Five ways to train are compared by accuracy on clean images, robust accuracy, and the gradients that they cost. One step
overfits where eps is large (Andriushchenko & Flammarion, NeurIPS 2020): a smaller eps may change the verdicts on it.

Five ways to train, from the same weights, on the same images in the same order, with as many updates: on the images as
they are, on images with uniform noise, or on those of an attack on the network as it is, within |x' - x| <= eps:

    fgsm       one step of length eps, from the image (Goodfellow et al., ICLR 2015)
    fgsm_rs    one step of length 1.25 eps, from a random point of the ball (Wong, Rice & Kolter, ICLR 2020)
    pgd        several steps from a random point (Madry et al., ICLR 2018)

- (a) PGD training makes robust what standard training leaves defenceless;
- (b) it costs accuracy on clean images, and several gradients an update;
- (c) FGSM-RS gets as far for one gradient more than standard training;
- (d) FGSM training overfits: the network withstands the very step it was trained on, and falls to PGD. The random start
  is to keep FGSM-RS from that. And the overfitted network, which is no longer linear where the step looks, should show
  it in gradients that turn between an image and a random point beside it (Andriushchenko & Flammarion, NeurIPS 2020).

Noise of the same eps is the negative control: it is as large, costs no gradient, and must not make robust.

Robust accuracy is that of the worst case, image by image: the share of images that are right as they stand, withstand
every random start of PGD on both losses, cross-entropy and margin, and withstand Square Attack (Andriushchenko et al.,
ECCV 2020). A network that hides its gradients cannot be judged by them alone, and Square asks queries only; what PGD
and Square find alone stands beside the worst case. Gates ask the rest (Athalye et al. 2018): half the steps and half
the queries find nearly as much, one step finds no more, and where any image is in reach nothing survives.

On the digits, eps = 0.25 is the largest of 0.05, 0.1, ..., 0.3 at which PGD training keeps 90 % of the clean images
right on each of seeds 100 to 105; that rule asks nothing of the other arms. For all of them eps grows over the first
half of the updates: with full eps from the start PGD training left the network near chance on one of those seeds. The
learning rate and the batch are those of ``adversarial_gradient``; the epochs are more, as robustness comes late.

Not covered: other losses (TRADES), regularizers (GradAlign itself), early stopping, and more data.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

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
    where,
)
from dlbench_plugins.images import Images, images
from dlbench_plugins.robustness.classifiers import Recipe, as_matrices, fit, mean, network

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dlbench import Artefacts, Verdict

ARMS = ("standard", "noise", "fgsm", "fgsm_rs", "pgd")
TOLERANCE = 0.02  # of robust accuracy, in the gates

# ------------------------------------------------------------------------------------------------------------- rules


def each_model(rows: pd.DataFrame, rule: Callable[[pd.DataFrame], Verdict]) -> Verdict:
    """The rule for the arms of every network."""
    return every(rows, "model", rule)


def accuracy(rows: pd.DataFrame, arm: str, attack: str) -> pd.Series:
    """Of a trained network, the share of images that are right under an attack ("none": as they stand)."""
    return where(rows, subject=arm, attack=attack).robust_accuracy


def gain(rows: pd.DataFrame, attack: str, arm: str, over: str) -> pd.Series:
    """By how much accuracy under an attack is higher for one way to train than for another."""
    return paired(where(rows, attack=attack), "robust_accuracy", arm, over)


def only_seems(rows: pd.DataFrame, arm: str, beside: str = "worst_case") -> pd.Series:
    """Accuracy under the one-step attack less accuracy under another."""
    return paired(where(rows, subject=arm), "robust_accuracy", "fgsm", beside, by="attack")


def excess(rows: pd.DataFrame, arm: str) -> pd.Series:
    """By how much more a network only seems robust than one that PGD trained, which any weaker attack flatters too."""
    return only_seems(rows, arm) - only_seems(rows, "pgd")


def as_good_and_cheaper(rows: pd.DataFrame) -> Verdict:
    """FGSM-RS is as robust as PGD training but for 5 points, for less than half of its gradients."""
    one, many = (where(rows, subject=arm, attack="none").backwards for arm in ("fgsm_rs", "pgd"))
    return all_of(equivalent(gain(rows, "worst_case", "fgsm_rs", over="pgd"), 0.05), below(one / many, 0.5))


def overfits(rows: pd.DataFrame) -> Verdict:
    """After FGSM training one step leaves 20 points that fall in the worst case, 10 more than after PGD training."""
    return all_of(above(only_seems(rows, "fgsm"), 0.20), above(excess(rows, "fgsm"), 0.10))


def effort_is_spent(rows: pd.DataFrame) -> Verdict:
    """The worst case is no weaker than one step or half the effort, nor much stronger than the latter."""

    def converged(r: pd.DataFrame) -> Verdict:
        left = paired(r, "robust_accuracy", "half_the_effort", "worst_case", by="attack")
        return all_of(
            above(only_seems(r, r.subject.iloc[0]), -TOLERANCE), above(left, -TOLERANCE), below(left, TOLERANCE)
        )

    return every(rows, ["model", "subject"], converged)


def are_trained(rows: pd.DataFrame) -> Verdict:
    """Standard training gets 90 % of the clean images right, every other at least half: none has given up."""
    clean = where(rows, attack="none")
    return all_of(
        each_model(where(clean, subject="standard"), lambda r: above(r.robust_accuracy, 0.9)),
        every(clean, ["model", "subject"], lambda r: above(r.robust_accuracy, 0.5)),
    )


# -------------------------------------------------------------------------------------------------- published numbers


def published(subject: str, source: str, *, eps: float = 8 / 255, note: str = "", **robust: float) -> list[Reference]:
    """Accuracy on CIFAR-10 by attack ("none": on clean images) of a network that is not ours."""
    setting = {"dataset": "cifar10", "subject": subject}
    return [
        Reference(
            "robust_accuracy",
            value,
            source,
            setting | {"attack": attack, "eps": 0.0 if attack == "none" else eps},
            note=f"{note}read in the source",
        )
        for attack, value in robust.items()
    ]


def autoattack(subject: str, clean: float, reported: float, worst: float, **setting: Any) -> list[Reference]:
    """A row of AutoAttack's table: what the authors of a network reported, and what AutoAttack left of it."""
    source = "fra31/auto-attack, CIFAR-10 Linf table"
    return published(subject, source, **setting, none=clean, reported=reported, autoattack=worst)


def minutes(subject: str, value: float, note: str) -> Reference:
    """Time to train on CIFAR-10, on the authors' GPU."""
    setting = {"dataset": "cifar10", "subject": subject}
    source = "locuslab/fast_adversarial"
    return Reference("train_seconds", 60 * value, source, setting, note=f"{note}; read in the source")


# -------------------------------------------------------------------------------------------------------- experiment


@dataclass(frozen=True)
class AdversarialTraining(Experiment):
    dataset: str = one_of("digits", "mnist", "cifar10", default="digits")
    models: tuple[str, ...] = one_of("mlp", "cnn", "resnet", default=("cnn",))
    eps: float = between(1e-4, 0.5, default=0.25)
    attacked: int = between(1, 10_000, default=300)  # held-out images
    validated: int = between(1, 10_000, default=100)  # others, for the curves over training; nothing is chosen by them
    steps: int = between(2, 1000, default=40)
    restarts: int = between(1, 100, default=2)  # for each of the two losses
    queries: int = between(2, 10_000, default=1000)  # of Square
    epochs: int = between(1, 1000, default=35)
    batch_size: int = between(1, 10_000, default=128)
    lr: float = between(1e-6, 10, default=0.1)
    training_steps: int = between(1, 100, default=5)  # of PGD, for each batch
    warmup: float = between(0, 1, default=0.5)  # share of the updates over which eps grows
    look_every: int = between(1, 1000, default=5)  # epochs, for the curves over training
    augment: bool = False

    title = "Training on adversarial images makes robust, at a price; one step alone may only seem to"
    chapter = "robustness"
    version = 3  # training asks for gradients alone; fewer points of the curves over it
    sources = (
        "Madry et al., Towards deep learning models resistant to adversarial attacks, ICLR 2018, arXiv:1706.06083",
        "Wong, Rice & Kolter, Fast is better than free: revisiting adversarial training, ICLR 2020, arXiv:2001.03994",
        "Andriushchenko & Flammarion, Understanding and improving fast adversarial training, NeurIPS 2020",
        "Andriushchenko et al., Square Attack: a query-efficient black-box adversarial attack, ECCV 2020",
        "Zhang et al., Theoretically principled trade-off between robustness and accuracy (TRADES), ICML 2019",
        "Athalye, Carlini & Wagner, Obfuscated gradients give a false sense of security, ICML 2018, arXiv:1802.00420",
    )
    metrics = {
        "robust_accuracy": Metric("right whatever the attack tried", better="higher", main=True, low=0, high=1),
        "forwards": Metric("forward passes of an image, per update", "passes", better="lower", low=1),
        "backwards": Metric("gradients of an image, per update", "passes", better="lower", low=1),
        "train_seconds": Metric("time to train", "s", better="lower", low=0, timed=True),
        "gradient_alignment": Metric(
            "cosine between the gradients at an image and at a random point beside it", better="higher", low=-1, high=1
        ),
    }
    presets = {
        "quick": {},
        "mnist": {"dataset": "mnist", "eps": 0.3, "attacked": 1000, "validated": 500, "restarts": 5, "look_every": 1},
        "full": {
            "dataset": "cifar10",
            "models": ("resnet",),
            "eps": 8 / 255,
            "attacked": 1000,
            "validated": 500,
            "steps": 50,
            "restarts": 5,
            "queries": 2000,
            "epochs": 30,
            "training_steps": 7,
            "warmup": 0.0,
            "look_every": 1,
            "augment": True,
        },
    }
    references = (
        *published("wrn_28_10", "RobustBench, CIFAR-10 Linf leaderboard", none=0.9478, autoattack=0.0),
        *autoattack("madry_2018", 0.8714, 0.4704, 0.4404),
        *autoattack("wong_2020", 0.8334, 0.4606, 0.4321, note="trained as fgsm_rs; "),
        *autoattack("rice_2020", 0.8534, 0.58, 0.5342),
        *autoattack("engstrom_2019", 0.8703, 0.5329, 0.4925),
        *autoattack("trades", 0.8492, 0.5643, 0.5308, eps=0.031, note="Zhang et al. 2019; "),
        *published(
            "fgsm_overfitted", "MTandHJ/PyTorch-Robust", none=0.8823, fgsm=0.5475, pgd_10=0.0004, autoattack=0.0
        ),
        minutes("wong_2020", 12, "trained as fgsm_rs, 46.1 % robust"),
        minutes("pgd_7", 4966, "in the same table; 45.8 % robust"),
    )

    def datasets(self) -> tuple[str, ...]:
        return (self.dataset,)

    def trial(self, context: Context) -> Iterator[Measurement]:
        (x, y), (held_x, held_y) = images(self.dataset, self.attacked + self.validated, context)
        test = held_x[: self.attacked], held_y[: self.attacked]
        validation = held_x[self.attacked :], held_y[self.attacked :]
        recipe = Recipe(self.epochs, self.batch_size, self.lr, augment=self.augment)
        cells = list(product(self.models, ARMS))
        for done, (model, arm) in enumerate(cells):
            context.progress(done / len(cells), f"{model}, {arm} training")
            with context.seeded("init", model):  # all arms start from the same weights
                net = network(model, x.shape[1:]).to(context.device)
            training = Training(arm, net, recipe.updates(len(x)), validation, self, context)
            fit(net, x, y, recipe, context, perturb=training.perturb, after_epoch=training.epoch_is_over)
            if arm in ATTACKS:
                context.keep(f"{model}_{arm}", np.array(training.curve).reshape(-1, 3))
            net = as_matrices(net, x.shape[1:])
            yield {"subject": arm, "model": model} | clean(net, test, self, context) | training.cost()
            for row in attacked(net, test, self, context):
                yield {"subject": arm, "model": model, **row}

    claims = [
        Claim(
            "(a) training on PGD's images raises robust accuracy at eps by more than 20 points",
            lambda rows: each_model(rows, lambda r: above(gain(r, "worst_case", "pgd", over="standard"), 0.20)),
            source="Madry et al. 2018",
        ),
        Claim(
            "(b) it costs more than one point of accuracy on clean images",
            lambda rows: each_model(rows, lambda r: above(gain(r, "none", "standard", over="pgd"), 0.01)),
            source="Madry et al. 2018; Zhang et al. 2019",
        ),
        Claim(
            "(c) one step from a random start (FGSM-RS) trains to the robust accuracy of PGD training within 5 points, "
            "for less than half of the gradients",
            lambda rows: each_model(rows, as_good_and_cheaper),
            source="Wong et al. 2020",
        ),
        Claim(
            "(d) trained on one step from the image itself (FGSM), a network only seems robust: one step leaves it "
            "more than 20 points that fall in the worst case, and 10 more than after PGD training",
            lambda rows: each_model(rows, overfits),
            source="Wong et al. 2020",
        ),
        Claim(
            "(d) a random start keeps one step from that: FGSM-RS leaves less than 10 points more than PGD training",
            lambda rows: each_model(rows, lambda r: below(excess(r, "fgsm_rs"), 0.10)),
            source="Wong et al. 2020",
        ),
        Claim(
            "(d) a search by queries alone exposes it: it leaves more than 10 points fewer than the one step",
            lambda rows: each_model(rows, lambda r: above(only_seems(r, "fgsm", beside="random_search"), 0.10)),
            source="Athalye et al. 2018",
        ),
        Claim(
            "(d) its gradients give it away: their alignment is more than 0.1 below that of PGD training",
            lambda rows: each_model(
                rows, lambda r: above(paired(where(r, attack="none"), "gradient_alignment", "pgd", "fgsm"), 0.1)
            ),
            source="Andriushchenko & Flammarion 2020",
        ),
        Control(
            "training with noise of the same eps does not make robust: less than 5 points more than standard training",
            lambda rows: each_model(rows, lambda r: below(gain(r, "worst_case", "noise", over="standard"), 0.05)),
            kind="negative",
        ),
        Control(
            "standard training leaves the network defenceless: PGD takes more than 50 points of its accuracy",
            lambda rows: each_model(
                rows, lambda r: above(accuracy(r, "standard", "none") - accuracy(r, "standard", "pgd"), 0.5)
            ),
            kind="positive",
        ),
        Control(
            "the networks are trained: 90 % of the clean images right, 50 % for the robust", are_trained, kind="gate"
        ),
        Control(
            "the worst case has converged: one step finds no more, half the steps and queries nearly as much",
            effort_is_spent,
            kind="gate",
        ),
        Control(
            "where any image is in reach (eps = 1), nothing survives",
            lambda rows: every(
                where(rows, attack="pgd_anywhere"), ["model", "subject"], lambda r: below(r.robust_accuracy, 0.01)
            ),
            kind="gate",
        ),
    ]

    def plot(self, rows: pd.DataFrame, figure: Figure, artefacts: Artefacts) -> None:
        """Robust against clean accuracy of each arm; beside it, what FGSM and PGD leave standing over training."""
        figure.set_size_inches(9, 4.5)
        plane, *panels = figure.subplots(1, 4, width_ratios=(2.2, 1, 1, 1))
        draw_plane(plane, rows, self)
        for axes, arm in zip(panels, ATTACKS, strict=True):
            draw_training(axes, arm, self.models[0], artefacts)
        panels[0].set_ylabel("accuracy under attack, validation images", fontsize=9)
        for axes in panels[1:]:
            axes.tick_params(labelleft=False)
        figure.tight_layout()


# ---------------------------------------------------------------------------------------------------------- training


class Attack(NamedTuple):
    """Steps of a length, in eps, from a random point of the ball or from the image itself."""

    steps: int
    length: float
    random_start: bool = True


ATTACKS: dict[str, Callable[[int], Attack]] = {  # arm → (steps of PGD) → what it is trained on
    "fgsm": lambda steps: Attack(1, 1.0, random_start=False),
    "fgsm_rs": lambda steps: Attack(1, 1.25),
    "pgd": lambda steps: Attack(steps, 2.5 / steps),
}


class Training:
    """One way to train a network: what it makes of the images, what that has cost, and how robust the network became.

    Args:
        arm: one of ARMS.
        net: the network that is being trained.
        updates: how many there will be; eps grows over the first of them.
        validation: images and labels that the network is looked at with during training.
        study: gives eps, steps, and how often to look.
        context: gives the seed, which is the same for all arms.
    """

    def __init__(
        self,
        arm: str,
        net: nn.Module,
        updates: int,
        validation: Images,
        study: AdversarialTraining,
        context: Context,
    ) -> None:
        self.arm, self.net, self.validation, self.study = arm, net, validation, study
        self.growing = max(1.0, study.warmup * updates)  # updates until eps has its full size
        self.seed, self.seconds = context.integer("training attack"), 0.0
        self.images = self.passes = 0  # of an image, forward and back
        self.epochs = 0
        self.curve: list[tuple[int, float, float]] = []  # after so many epochs, accuracy under FGSM and under PGD
        self.began = self.now()

    def perturb(self, batch: Tensor, labels: Tensor, update: int, ids: Tensor) -> Tensor:
        """The images to train on: the last point of the attack, as published, whether or not it is the worst."""
        self.images += len(batch)
        if self.arm == "standard":
            return batch
        eps = self.study.eps * min(1.0, (update + 1) / self.growing)
        drawn = {"eps": eps, "seed": self.seed + update, "sample_ids": ids.to(batch.device)}
        if self.arm == "noise":
            return ops.random_start(batch, **drawn)
        attack = ATTACKS[self.arm](self.study.training_steps)
        points = ops.random_start(batch, **drawn) if attack.random_start else batch.clone()
        net = as_matrices(self.net, batch.shape[1:])
        with attacks.attack_mode(net):
            for _ in range(attack.steps):
                loss = F.cross_entropy(net(points.requires_grad_()), labels, reduction="sum")
                (slope,) = torch.autograd.grad(loss, points)
                ops.linf_step_(points.detach_(), batch, slope, eps=eps, step_size=attack.length * eps)
        self.passes += attack.steps * len(batch)
        return points

    def epoch_is_over(self) -> None:
        """Look at the network now and then, off the clock."""
        self.seconds += self.now() - self.began
        self.epochs += 1
        if self.arm in ATTACKS and self.epochs % self.study.look_every == 0:
            x, y = self.validation
            net = as_matrices(self.net, x.shape[1:])
            one = attacks.fgsm(net, x, y, eps=self.study.eps)
            many = attacks.pgd(net, x, y, eps=self.study.eps, steps=10)
            self.curve.append((self.epochs, one.robust_accuracy, many.robust_accuracy))
        self.began = self.now()

    def cost(self) -> dict[str, float]:
        """Passes of an image per update, the update's own among them, and the time of all of training."""
        return {
            "forwards": 1 + self.passes / self.images,
            "backwards": 1 + self.passes / self.images,
            "train_seconds": self.seconds,
        }

    def now(self) -> float:
        """Seconds on a clock, once the device has done what it was asked to do."""
        device = next(self.net.parameters()).device
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter()


# ----------------------------------------------------------------------------------------------------------- attacks


def clean(net: nn.Module, test: Images, study: AdversarialTraining, context: Context) -> dict[str, Any]:
    """Accuracy on the images as they are, and how alike the gradients beside them are."""
    x, y = test
    with torch.no_grad():
        right = net(x).argmax(1) == y
    return {
        "attack": "none",
        "eps": 0.0,
        "robust_accuracy": mean(right),
        "gradient_alignment": alignment(net, x, y, study.eps, context.integer("alignment")),
    }


def attacked(net: nn.Module, test: Images, study: AdversarialTraining, context: Context) -> Iterator[dict[str, Any]]:
    """All attacks on one network; the same random starts and windows for every network."""
    x, y = test
    seed = context.integer("attack")

    def pgd(loss: str, eps: float, steps: int, among: Tensor | None = None) -> Tensor:
        """What withstands PGD on a loss, among all images or these."""
        settings = {"eps": eps, "steps": steps, "restarts": study.restarts, "seed": seed, "rewrite": "off"}
        return withstands(attacks.pgd(net, x, y, loss=loss, mask=among, **settings), among)

    def both(eps: float, steps: int) -> Tensor:
        """What withstands PGD on either loss; the second attacks what the first has left."""
        return pgd("margin", eps, steps, among=pgd("ce", eps, steps))

    def search(queries: int, among: Tensor | None = None) -> Tensor:
        """What withstands Square, among all images or these."""
        settings = {"eps": study.eps, "queries": queries, "seed": seed, "rewrite": "off"}
        return withstands(attacks.square(net, x, y, mask=among, **settings), among)

    by_loss = {f"pgd_{loss}": pgd(loss, study.eps, study.steps) for loss in ("ce", "margin")}
    worst_pgd, searched = by_loss["pgd_ce"] & by_loss["pgd_margin"], search(study.queries)
    tried = by_loss | {
        "fgsm": withstands(attacks.fgsm(net, x, y, eps=study.eps)),
        "pgd": worst_pgd,
        "random_search": searched,
        "worst_case": worst_pgd & searched,
        "half_the_effort": search(study.queries // 2, among=both(study.eps, study.steps // 2)),
    }
    for attack, standing in tried.items():
        yield {"attack": attack, "eps": study.eps, "robust_accuracy": mean(standing)}
    yield {"attack": "pgd_anywhere", "eps": 1.0, "robust_accuracy": mean(both(1.0, study.steps))}


def withstands(result: attacks.AttackResult, among: Tensor | None = None) -> Tensor:
    """Which images [n] are right as they stand and after the attack, of those that it was to attack."""
    standing = result.clean_correct & ~result.success
    return standing if among is None else standing & among


def alignment(net: nn.Module, x: Tensor, y: Tensor, eps: float, seed: int) -> float:
    """Mean cosine between the gradients of the loss at x and at a random point of the ball around it.

    1 where the loss is linear there, so that one step finds what many would (Andriushchenko & Flammarion 2020).
    """
    slopes = []
    with attacks.input_grad_only(net):
        for points in (x.clone(), ops.random_start(x, eps=eps, seed=seed)):
            loss = F.cross_entropy(net(points.requires_grad_()), y, reduction="sum")
            slopes.append(torch.autograd.grad(loss, points)[0].flatten(1))
    return float(F.cosine_similarity(*slopes).double().mean())


# ----------------------------------------------------------------------------------------------------------- picture

STYLES = {  # arm → colour, what it is called
    "standard": ("#000000", "clean images"),
    "noise": ("#56B4E9", "uniform noise"),
    "fgsm": ("#D55E00", "FGSM"),
    "fgsm_rs": ("#E69F00", "FGSM-RS"),
    "pgd": ("#009E73", "PGD"),
}
MARKERS = {"mlp": "s", "cnn": "o", "resnet": "D"}


def draw_plane(axes: Axes, rows: pd.DataFrame, study: AdversarialTraining) -> None:
    """Robust against clean accuracy with 95 % intervals; a dotted line leads to what FGSM alone would show."""
    from dlbench import stats

    known = {"subject", "model", "attack", "robust_accuracy"} <= set(rows.columns)
    for (arm, (colour, name)), model in product(STYLES.items(), study.models if known else ()):
        mine = where(rows, subject=arm, model=model)
        clean, one, worst = (stats.t_interval(accuracy(mine, arm, attack)) for attack in ("none", "fgsm", "worst_case"))
        if not worst.n:
            continue
        x, y = clean.estimate, worst.estimate
        axes.plot([x, x], [y, one.estimate], color=colour, linewidth=0.8, linestyle=":")
        axes.plot(x, one.estimate, MARKERS[model], color=colour, markerfacecolor="none", markersize=6)
        axes.plot(x, y, MARKERS[model], color=colour, markersize=7, label=label(name, model, mine, study))
        if worst.n > 1:
            axes.hlines(y, *np.clip([clean.low, clean.high], 0, 1), color=colour)
            axes.vlines(x, *np.clip([worst.low, worst.high], 0, 1), color=colour)
    axes.plot([], [], "o", color="0.4", markerfacecolor="none", label="the same, under FGSM alone")
    axes.set_ylim(-0.03, 1.03)
    axes.set_xlabel("accuracy on clean images", fontsize=9)
    axes.set_ylabel(f"robust accuracy, eps = {study.eps:.2g}", fontsize=9)
    axes.legend(fontsize=7.5, frameon=False, title="trained on (gradients an update)", title_fontsize=8)


def label(name: str, model: str, rows: pd.DataFrame, study: AdversarialTraining) -> str:
    """What an arm is called in the legend, with what it costs."""
    gradients = where(rows, attack="none").backwards.mean() if "backwards" in rows.columns else math.nan
    of = f", {model.upper()}" if len(study.models) > 1 else ""
    return f"{name}{of} ({gradients:.2g})"


def draw_training(axes: Axes, arm: str, model: str, artefacts: Artefacts) -> None:
    """Accuracy under FGSM (dashed) and PGD (solid) over the epochs of one arm: seeds thin, their mean thick."""
    colour, name = STYLES[arm]
    curves = [kept[f"{model}_{arm}"] for kept in artefacts.values() if f"{model}_{arm}" in kept]
    for column, (attack, dashes) in enumerate({"FGSM": "--", "PGD": "-"}.items()):
        epochs = curves[0][:, 0] if curves else np.empty(0)
        together = np.array([curve[:, 1 + column] for curve in curves]).T  # [epochs, seeds]
        axes.plot([], [], color=colour, linestyle=dashes, label=f"under {attack}")
        axes.plot(epochs, together, color=colour, linestyle=dashes, linewidth=0.4, alpha=0.5)
        draw_means(axes, epochs, together, limits=(0, 1), band=True, color=colour, linestyle=dashes, linewidth=2)
    axes.set_ylim(-0.03, 1.03)
    axes.set_title(f"{name} training", fontsize=9)
    axes.set_xlabel("epoch", fontsize=9)
    axes.legend(fontsize=7.5, frameon=False, loc="upper left")
