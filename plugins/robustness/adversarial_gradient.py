"""A small step along the gradient on the input makes a network err (Szegedy et al. 2014; Goodfellow et al. 2015).

Attacks along the gradient are set against noise of the same size, on networks trained on clean images and, as a
control, on attacked ones. What counts is how many of the images that a network gets right are lost at a fixed eps. A
larger eps would change the verdicts, and so would networks trained to withstand it (``adversarial_training``).

Weights and label stay fixed; the image x moves to raise the loss, within |x' - x| <= eps in every pixel:

- (a) it flips most predictions;
- (b) random noise of the same size does not, so it is the direction that does it, not the size;
- (c) it can be steered towards a class chosen beforehand.

FGSM takes one step of length eps along the gradient's sign; PGD (Madry et al., ICLR 2018) takes many, inside the ball,
from several random starts, and counts the worst. Noise gets as many tries as PGD gets starts. Networks trained on PGD's
images, with the same initial weights and the same order of images, are the positive control.

What is counted: success over the images that the network gets right as they stand, and robust accuracy over all. How
far the nearest adversarial image is, is told by where the curve of success over eps crosses one half, and by FAB (Croce
& Hein, ICML 2020) and DeepFool (Moosavi-Dezfooli et al., CVPR 2016), which look for it from each image; how far in the
Euclidean norm, by DeepFool and the attack of Carlini & Wagner (2017). These, and SPSA (Uesato et al., ICML 2018), which
estimates gradients from as many queries as the random search has, are baselines: no claim is about them.

The networks are in eval mode, images stay in [0, 1]. A defence may look strong only because it hides its gradients;
four gates ask for that (Athalye et al. 2018): more steps must not help it, half the steps must find nearly as much,
with eps as large as the range of a pixel nothing may survive, and an attack by queries alone must not be stronger.

How small is small? The digits have 8x8 pixels of 17 grey levels: eps = 0.1 is 1.6 levels, and one sees it. It is the
largest eps of the grid at which one draw of noise of either kind costs less than 5 points of accuracy, on seeds 100 to
105; that rule asks nothing of the attack, and on MNIST's seeds 100 and 101 it gives 0.15. The claims are tested there,
and (a) and (c) again at twice that. No arm is tuned: one learning rate and one number of epochs serve all networks,
trained on images or on PGD's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

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
    every,
    one_of,
    paired,
)
from dlbench.errors import ParameterError
from dlbench_plugins.images import CLASSES, images
from dlbench_plugins.robustness.classifiers import Recipe, as_matrices, fit, mean, network, pgd_images

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dlbench import Artefacts, Verdict

NOISES = {"noise_uniform": "uniform", "noise_sign": "sign"}
PGD_TRAINED = "_pgd_trained"  # what the name of a network trained on PGD's images ends in
TOLERANCE = 0.02  # of the success rate, in the gates: two of 100 images
NEAR = 4  # of the nine other classes, to which FAB looks for a nearest image; all nine move the median by 0.3 %
DIRECTIONS = 8  # in which SPSA looks in a step
STRIDE = 0.4  # in the Euclidean norm, about the length of C&W's first step whatever the size of an image


# ------------------------------------------------------------------------------------------------------------- rules


def each_network(rows: pd.DataFrame, rule: Callable[[pd.DataFrame], Verdict]) -> Verdict:
    """The rule for every network that was trained on clean images."""
    return every(rows[~rows.subject.str.endswith(PGD_TRAINED)], "subject", rule)


def success(rows: pd.DataFrame, attack: str, multiple: float) -> pd.Series:
    """The success rate of an attack at a multiple of eps."""
    return rows[(rows.attack == attack) & (rows.multiple == multiple)].attack_success_rate


def stronger(rows: pd.DataFrame, attack: str, than: str) -> pd.Series:
    """By how much one attack's success rate at eps exceeds another's, on the same images and network."""
    return paired(rows[rows.multiple == 1], "attack_success_rate", attack, than, by="attack")


def noise_does_little(rows: pd.DataFrame) -> Verdict:
    """At eps: PGD's success rate is 30 points above that of noise, of which one draw costs 5 points at most."""
    noisy = rows[(rows.multiple == 1) & rows.attack.isin(NOISES)]
    return all_of(
        *(above(stronger(rows, "pgd", than=noise), 0.30) for noise in NOISES),
        every(noisy, "attack", lambda r: below(r.one_draw_cost, 0.05)),
    )


def training_helps(rows: pd.DataFrame) -> Verdict:
    """PGD's success rate at eps falls by more than 10 points for a network trained on PGD's images."""
    at_eps = rows[(rows.multiple == 1) & (rows.attack == "pgd")]

    def falls(plain: pd.DataFrame) -> Verdict:
        name = plain.subject.iloc[0]
        return above(paired(at_eps, "attack_success_rate", name, name + PGD_TRAINED), 0.10)

    return each_network(at_eps, falls)


def nothing_changes(rows: pd.DataFrame) -> Verdict:
    """With eps = 0 no pixel moves and no label changes, whatever the attack."""

    def still(r: pd.DataFrame) -> Verdict:
        return all_of(below(r.attack_success_rate, 1e-9), below(r.norm, 1e-9))

    tried = rows[(rows.multiple == 0) & (rows.attack != "none")]
    return every(tried, "subject", lambda r: every(r, "attack", still))


def steps_do_not_help_the_defender(rows: pd.DataFrame) -> Verdict:
    """PGD is no weaker than one step or half its steps, nor much stronger than the latter: it has converged."""

    def converged(r: pd.DataFrame) -> Verdict:
        gained = stronger(r, "pgd", than="pgd_half_the_steps")
        return all_of(
            above(stronger(r, "pgd", than="fgsm"), -TOLERANCE), above(gained, -TOLERANCE), below(gained, TOLERANCE)
        )

    return every(rows, "subject", converged)


# -------------------------------------------------------------------------------------------------- published numbers


def published(value: float, source: str, metric: str = "robust_accuracy", note: str = "", **where: Any) -> Reference:
    """A number, and the columns and parameters that a run must share with it."""
    return Reference(metric, value, source, where, note=note or "read in the source")


def robustbench(network: str, value: float, clean: float) -> Reference:
    """Robust accuracy to AutoAttack at 8/255."""
    note = f"AutoAttack, {clean:.2%} on clean images; read in the source"
    where = {"dataset": "cifar10", "subject": network, "attack": "autoattack", "eps": 8 / 255}
    return published(value, "RobustBench, CIFAR-10 Linf leaderboard", note=note, **where)


MADRY = {"subject": "madry_pgd_trained", "attack": "best"}
BEST = "the strongest attack that was sent in; read in the source"


def madry(dataset: str, value: float, eps: float, attack: str, steps: int = 1, restarts: int = 1) -> Reference:
    """Robust accuracy of the published networks of the challenges."""
    where = {"dataset": dataset, "subject": "madry_pgd_trained", "attack": attack, "eps": eps}
    return published(value, f"MadryLab/{dataset}_challenge", **where, steps=steps, restarts=restarts)


def goodfellow(network: str, metric: str, value: float) -> Reference:
    """FGSM at eps = 0.25 on MNIST."""
    where = {"dataset": "mnist", "subject": network, "attack": "fgsm", "eps": 0.25}
    return published(value, "Goodfellow et al. 2015, arXiv:1412.6572, section 4", metric, "read in the source", **where)


# -------------------------------------------------------------------------------------------------------- experiment


@dataclass(frozen=True)
class AdversarialGradient(Experiment):
    dataset: str = one_of("digits", "mnist", "cifar10", default="digits")
    models: tuple[str, ...] = one_of("mlp", "cnn", "resnet", default=("mlp", "cnn"))
    eps: float = between(1e-4, 0.5, default=0.1)  # where the claims are tested
    eps_grid: tuple[float, ...] = between(0, 1, default=(0.0, 0.02, 0.05, 0.1, 0.2, 0.3))
    attacked: int = between(1, 10_000, default=100)  # held-out images
    steps: int = between(2, 1000, default=40)
    restarts: int = between(1, 100, default=5)
    queries: int = between(1, 10_000, default=200)
    descents: int = between(1, 100, default=5)  # of C&W, with a weight of the wrong label each
    descent_steps: int = between(1, 10_000, default=40)
    epochs: int = between(1, 1000, default=10)
    batch_size: int = between(1, 10_000, default=128)
    lr: float = between(1e-6, 10, default=0.1)
    training_steps: int = between(1, 100, default=5)  # of PGD, for each batch of the networks trained on its images
    augment: bool = False

    title = "A small step along the input's gradient changes what a network sees"
    chapter = "robustness"
    version = 3  # DeepFool, C&W and SPSA are among the attacks; the numbers of the others are those of version 2
    sources = (
        "Szegedy et al., Intriguing properties of neural networks, ICLR 2014, arXiv:1312.6199",
        "Goodfellow, Shlens & Szegedy, Explaining and harnessing adversarial examples, ICLR 2015, arXiv:1412.6572",
        "Moosavi-Dezfooli, Fawzi & Frossard, DeepFool, CVPR 2016, arXiv:1511.04599",
        "Carlini & Wagner, Towards evaluating the robustness of neural networks, IEEE S&P 2017, arXiv:1608.04644",
        "Madry et al., Towards deep learning models resistant to adversarial attacks, ICLR 2018, arXiv:1706.06083",
        "Athalye, Carlini & Wagner, Obfuscated gradients give a false sense of security, ICML 2018, arXiv:1802.00420",
        "Uesato et al., Adversarial risk and the dangers of evaluating against weak attacks, 2018, arXiv:1802.05666",
        "Croce & Hein, Minimally distorted adversarial examples (FAB), ICML 2020, arXiv:1907.02044",
        "Croce et al., RobustBench, 2021, arXiv:2010.09670",
    )
    metrics = {
        "robust_accuracy": Metric("right whatever the attack tried", better="higher", main=True, low=0, high=1),
        "attack_success_rate": Metric("of the images the network gets right", better="lower", low=0, high=1),
        "one_draw_cost": Metric("accuracy lost to one draw of noise", better="lower", low=0, high=1),
        "norm": Metric("largest change of a pixel", low=0, high=1),
        "wrong_confidence": Metric("mean probability given to the wrong class", better="lower", low=0, high=1),
        "transfer_rate": Metric(
            "of the fooling images, share that fools the other networks", better="lower", low=0, high=1
        ),
        "ssim": Metric("structural similarity to the image", low=-1, high=1),
        "median_norm": Metric("eps at which half of the images are fooled", better="higher", low=0),
        "nearest_norm": Metric(
            "median distance to the nearest adversarial image that was found", better="higher", low=0
        ),
        "nearest_l2": Metric("the same in the Euclidean norm", better="higher", low=0),
    }
    presets = {
        "quick": {},
        "full": {
            "dataset": "cifar10",
            "models": ("resnet",),
            "eps": 8 / 255,
            "eps_grid": (0.0, 2 / 255, 4 / 255, 8 / 255, 16 / 255, 32 / 255),
            "attacked": 1000,
            "queries": 2000,
            "descents": 9,
            "descent_steps": 200,
            "epochs": 30,
            "training_steps": 7,
            "augment": True,
        },
        "mnist": {
            "dataset": "mnist",
            "eps": 0.15,
            "eps_grid": (0.0, 0.05, 0.1, 0.15, 0.3),
            "attacked": 300,
            "queries": 1000,
        },
    }
    references = (
        robustbench("wrn_28_10", 0.0000, clean=0.9478),
        robustbench("wong_2020", 0.4321, clean=0.8334),
        robustbench("engstrom_2019", 0.4925, clean=0.8703),
        robustbench("rice_2020", 0.5342, clean=0.8534),
        robustbench("bartoldson_2024_wrn_94_16", 0.7371, clean=0.9368),
        madry("cifar10", 0.5555, 8 / 255, "fgsm"),
        madry("cifar10", 0.4704, 8 / 255, "pgd", steps=20),
        madry("cifar10", 0.4521, 8 / 255, "pgd", steps=20, restarts=10),
        published(0.4395, "MadryLab/cifar10_challenge", note=BEST, **MADRY, dataset="cifar10", eps=8 / 255),
        madry("mnist", 0.9636, 0.3, "fgsm"),
        madry("mnist", 0.9252, 0.3, "pgd", steps=100),
        madry("mnist", 0.8962, 0.3, "pgd", steps=100, restarts=50),
        published(0.8800, "MadryLab/mnist_challenge", note=BEST, **MADRY, dataset="mnist", eps=0.3),
        goodfellow("softmax", "robust_accuracy", 1 - 0.999),
        goodfellow("softmax", "wrong_confidence", 0.793),
        goodfellow("maxout", "robust_accuracy", 1 - 0.894),
        goodfellow("maxout", "wrong_confidence", 0.976),
        published(1 - 0.8715, "Goodfellow et al. 2015", dataset="cifar10", subject="maxout", attack="fgsm", eps=0.1),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not {0, 1, 2} <= {self.multiple(eps) for eps in self.eps_grid}:
            raise ParameterError(
                f"eps_grid is {self.eps_grid}; claims and controls need 0, eps ({self.eps:g}) and 2 eps"
            )

    def datasets(self) -> tuple[str, ...]:
        return (self.dataset,)

    def multiple(self, eps: float) -> float:
        """How many times the eps of the claims: what rules filter by, whatever the data set."""
        return round(eps / self.eps, 9)

    def trial(self, context: Context) -> Iterator[Measurement]:
        (x, y), test = images(self.dataset, self.attacked, context)
        recipe = Recipe(self.epochs, self.batch_size, self.lr, augment=self.augment)
        nets = {}
        for model in self.models:
            for name in (model, model + PGD_TRAINED):
                with context.seeded("init", model):  # the two arms start from the same weights
                    net = network(model, x.shape[1:]).to(context.device)
                perturb = None if name == model else pgd_images(net, context, self.eps, self.training_steps)
                fit(net, x, y, recipe, context, perturb=perturb)
                nets[name] = as_matrices(net, x.shape[1:])
                context.progress(len(nets) / len(self.models) / 3, f"{name} is trained")
        for name, net in nets.items():
            for row in measured(name, net, nets, test, self, context):
                yield {"subject": name, **row}

    claims = [
        Claim(
            "a perturbation of size eps along the input's gradient flips most predictions",
            lambda rows: each_network(rows, lambda r: above(success(r, "pgd", 1), 0.5)),
            source="Szegedy et al. 2014; Goodfellow et al. 2015",
            reference=references[0],
        ),
        Claim(
            "at twice eps it flips most predictions",
            lambda rows: each_network(rows, lambda r: above(success(r, "pgd", 2), 0.5)),
        ),
        Claim(
            "random noise of the same size does not: PGD's success rate is more than 30 points higher, "
            "at an eps where noise costs less than 5 points of accuracy",
            lambda rows: each_network(rows, noise_does_little),
        ),
        Claim(
            "a class chosen beforehand is reached for most images at eps",
            lambda rows: each_network(rows, lambda r: above(success(r, "pgd_targeted", 1), 0.5)),
        ),
        Claim(
            "a class chosen beforehand is reached for most images at twice eps",
            lambda rows: each_network(rows, lambda r: above(success(r, "pgd_targeted", 2), 0.5)),
        ),
        Control("with eps = 0 nothing changes", nothing_changes, kind="negative"),
        Control(
            "training on PGD's images lowers its success rate by more than 10 points", training_helps, kind="positive"
        ),
        Control(
            "the networks are trained: 90 % of the clean images right",
            lambda rows: each_network(rows[rows.attack == "none"], lambda r: above(r.robust_accuracy, 0.9)),
            kind="gate",
        ),
        Control(
            "more steps do not help the defender, and PGD has converged", steps_do_not_help_the_defender, kind="gate"
        ),
        Control(
            "where any image is in reach (eps = 1), nothing survives",
            lambda rows: every(
                rows, "subject", lambda r: above(r[r.attack == "pgd_anywhere"].attack_success_rate, 0.99)
            ),
            kind="gate",
        ),
        Control(
            "a search by queries alone is not stronger than PGD",
            lambda rows: every(rows, "subject", lambda r: below(stronger(r, "random_search", than="pgd"), TOLERANCE)),
            kind="gate",
        ),
    ]

    def plot(self, rows: pd.DataFrame, figure: Figure, artefacts: Artefacts) -> None:
        """Robust accuracy against eps for each network; beside it an image, its perturbation and the result."""
        figure.set_size_inches(9, 4.5)
        shown = self.models[:2]
        widths = [6 / len(shown)] * len(shown) + [1, 1, 1]
        grid = figure.add_gridspec(
            len(shown), len(widths), width_ratios=widths, left=0.07, right=0.99, top=0.91, bottom=0.23, wspace=0.1
        )
        for column, model in enumerate(shown):
            axes = figure.add_subplot(grid[:, column])
            draw_curves(axes, rows, model, self)
            axes.tick_params(labelleft=column == 0)
            axes.set_ylabel("robust accuracy" if column == 0 else "")
            panels = [figure.add_subplot(grid[column, len(shown) + i]) for i in range(3)]
            draw_triptych(panels, model, self.eps, artefacts)
        figure.legend(*axes.get_legend_handles_labels(), loc="lower center", ncols=3, frameon=False, fontsize=8)


# ----------------------------------------------------------------------------------------------------------- attacks


def measured(
    name: str,
    net: nn.Module,
    nets: Mapping[str, nn.Module],
    test: tuple[Tensor, Tensor],
    study: AdversarialGradient,
    context: Context,
) -> Iterator[Measurement]:
    """All attacks on one network; the same random starts, noise and targets for every network."""
    x, y = test
    seed = {what: context.integer("attack", what) for what in ("pgd", "noise", "targeted", "search", "spsa")}
    # The model is asked as it is: the same seed gives the same bits.
    pgd = {"steps": study.steps, "restarts": study.restarts, "seed": seed["pgd"], "rewrite": "off"}

    curve = []
    for eps in sorted(study.eps_grid):
        at = {"eps": eps, "multiple": study.multiple(eps)}
        yield {"attack": "fgsm", **at, **scored(net, x, fgsm := attacks.fgsm(net, x, y, eps=eps)), **seen(net, x, fgsm)}
        for noise, kind in NOISES.items():
            drawn = attacks.noise(net, x, y, eps=eps, kind=kind, restarts=study.restarts, seed=seed["noise"])
            one_draw = drawn.clean_correct & (drawn.first_step == 1)
            yield {"attack": noise, **at, **scored(net, x, drawn), "one_draw_cost": mean(one_draw)}
        worst = attacks.pgd(net, x, y, eps=eps, **pgd)
        yield {"attack": "pgd", **at, **scored(net, x, worst)}
        curve.append((eps, worst.attack_success_rate))

    accuracy = mean(worst.clean_correct)
    yield {
        "attack": "none",
        "eps": 0.0,
        "multiple": 0.0,
        "robust_accuracy": accuracy,
        "median_norm": half_fooled(curve),
    }

    at = {"eps": study.eps, "multiple": 1.0}
    fewer = attacks.pgd(net, x, y, eps=study.eps, **pgd | {"steps": study.steps // 2})
    yield {"attack": "pgd_half_the_steps", **at, **scored(net, x, fewer)}
    asked = attacks.square(net, x, y, eps=study.eps, queries=study.queries, seed=seed["search"], rewrite="off")
    yield {"attack": "random_search", **at, **scored(net, x, asked)}
    estimated = attacks.spsa(net, x, y, eps=study.eps, seed=seed["spsa"], rewrite="off", **within(study.queries))
    yield {"attack": "spsa", **at, **scored(net, x, estimated)}
    found = attacks.fab(net, x, y, eps=1.0, steps=study.steps // 2, target_classes=NEAR, stop="never")
    yield {"attack": "fab", "eps": 1.0, "multiple": study.multiple(1.0), "nearest_norm": median_distance(found)}
    found = attacks.deepfool(net, x, y, norm="linf", rewrite="off")
    yield {"attack": "deepfool", "eps": 1.0, "multiple": study.multiple(1.0), "nearest_norm": median_distance(found)}
    yield {"attack": "deepfool_l2", "nearest_l2": median_distance(attacks.deepfool(net, x, y, rewrite="off"))}
    rate = 2 * STRIDE / math.sqrt(x[0].numel())
    descents = {"steps": study.descent_steps, "searches": study.descents}
    found = attacks.cw(net, x, y, learning_rate=rate, initial_c=0.1, **descents)
    yield {"attack": "cw", "nearest_l2": median_distance(found)}
    anywhere = attacks.pgd(net, x, y, eps=1.0, **pgd)
    yield {"attack": "pgd_anywhere", "eps": 1.0, "multiple": study.multiple(1.0), **scored(net, x, anywhere)}

    if not name.endswith(PGD_TRAINED):
        others = [other for key, other in nets.items() if key != name and not key.endswith(PGD_TRAINED)]
        # one other class for each image
        step = torch.from_numpy(context.rng("targets").integers(1, CLASSES, len(y))).to(y.device)
        target = (y + step) % CLASSES
        for eps in (eps for eps in study.eps_grid if study.multiple(eps) in (1, 2)):
            at = {"eps": eps, "multiple": study.multiple(eps)}
            led = attacks.pgd(net, x, y, eps=eps, target=target, **pgd | {"seed": seed["targeted"]})
            yield {"attack": "pgd_targeted", **at, **scored(net, x, led)}
            # to the greatest loss, past the first success, which lies just behind the boundary and looks unsure
            far = attacks.pgd(net, x, y, eps=eps, stop="never", **pgd | {"restarts": 1})
            transfer = {"transfer_rate": transferred(far, others, x, y)} if others else {}
            yield {"attack": "pgd_greatest_loss", **at, **scored(net, x, far), **seen(net, x, far), **transfer}
            if study.multiple(eps) == 1:
                keep_example(context, name, net, x, far)


def within(queries: int) -> dict[str, int]:
    """SPSA's settings that spend so many queries, two of them on x, or a few less; and five at least."""
    samples = min(DIRECTIONS, max((queries - 3) // 2, 1))
    return {"samples": samples, "steps": max((queries - 2) // (2 * samples + 1), 1)}


def scored(net: nn.Module, x: Tensor, result: attacks.AttackResult) -> dict[str, float]:
    """What every attack is measured by."""
    return {
        "robust_accuracy": result.robust_accuracy,
        "attack_success_rate": result.attack_success_rate,
        "norm": float((result.x_adv - x).abs().max()),
    }


@torch.no_grad()
def seen(net: nn.Module, x: Tensor, result: attacks.AttackResult) -> dict[str, float]:
    """How sure the network is of the wrong class, and how alike the images are, where the attack fooled it."""
    fooled = result.clean_correct & result.success
    if not fooled.any():
        return {}
    confidence = net(result.x_adv[fooled]).softmax(1).amax(1)
    return {
        "wrong_confidence": float(confidence.double().mean()),
        "ssim": float(ssim(x[fooled], result.x_adv[fooled]).double().mean()),
    }


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Structural similarity [n] of images [n, ...] in [0, 1] (Wang et al. 2004), the whole image being its window."""
    a, b = a.flatten(1), b.flatten(1)
    c1, c2 = 0.01**2, 0.03**2
    mean_a, mean_b = a.mean(1), b.mean(1)
    covariance = ((a - mean_a[:, None]) * (b - mean_b[:, None])).mean(1)
    variances = a.var(1, correction=0) + b.var(1, correction=0)
    alike = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    return alike / ((mean_a**2 + mean_b**2 + c1) * (variances + c2))


@torch.no_grad()
def transferred(result: attacks.AttackResult, others: list[nn.Module], x: Tensor, y: Tensor) -> float:
    """Of the images that fool their own network and that the other gets right unharmed, the share that fools it too."""
    rates = []
    for other in others:
        shared = result.clean_correct & result.success & (other(x).argmax(1) == y)
        rates.append(mean(other(result.x_adv[shared]).argmax(1) != y[shared]))
    return float(np.mean(rates))


def median_distance(result: attacks.AttackResult) -> float:
    """To what an attack found, over the images that the network gets right; infinite where it found nothing."""
    found = torch.where(result.success, result.norm, torch.inf)[result.clean_correct]
    return float(found.quantile(0.5, interpolation="lower")) if len(found) else math.nan


def half_fooled(curve: list[tuple[float, float]]) -> float:
    """Where success rates over a rising eps cross one half, on straight lines between points; NaN if nowhere."""
    eps, rates = np.array(curve).T
    rates = np.maximum.accumulate(rates)
    return float(np.interp(0.5, rates, eps)) if rates[-1] >= 0.5 else math.nan


@torch.no_grad()
def keep_example(context: Context, name: str, net: nn.Module, x: Tensor, result: attacks.AttackResult) -> None:
    """Keep the first image that was fooled, before and after, with the labels and the network's confidence in them."""
    fooled = (result.clean_correct & result.success).nonzero()
    if len(fooled):
        pair = torch.cat([x[fooled[0]], result.x_adv[fooled[0]]])
        confidence, labels = net(pair).softmax(1).max(1)
        context.keep(f"{name}_images", pair)
        context.keep(f"{name}_labels", labels)
        context.keep(f"{name}_confidence", confidence)


# ----------------------------------------------------------------------------------------------------------- picture

LINES = {  # attack, whether on the network trained on PGD's images → colour, dashes, name
    ("noise_sign", False): ("#0072B2", "-", "random signs, worst draw"),
    ("noise_uniform", False): ("#56B4E9", "--", "uniform noise, worst draw"),
    ("pgd", True): ("#009E73", "-", "PGD, network trained on PGD's images"),
    ("fgsm", False): ("#E69F00", "--", "FGSM"),
    ("pgd", False): ("#D55E00", "-", "PGD"),
}


def draw_curves(axes: Axes, rows: pd.DataFrame, model: str, study: AdversarialGradient) -> None:
    """Robust accuracy against eps with 95 % intervals over seeds."""
    for (attack, trained), (colour, dashes, label) in LINES.items():
        axes.plot([], [], color=colour, linestyle=dashes, label=label)
        if not {"subject", "attack", "eps", "robust_accuracy"} <= set(rows.columns):
            continue
        subject = model + PGD_TRAINED * trained
        line = rows[(rows.subject == subject) & (rows.attack == attack)].groupby("eps").robust_accuracy
        by_eps = dict(iter(line))
        style = {"color": colour, "ls": dashes, "marker": "o", "markersize": 3}
        draw_means(axes, by_eps.keys(), by_eps.values(), limits=(0, 1), band=True, **style)
    largest = max(study.eps_grid)
    axes.axvline(study.eps, color="0.6", linewidth=0.8, linestyle=":", zorder=0, label="eps of the claims")
    axes.set_xlim(-0.03 * largest, 1.03 * largest)
    axes.set_ylim(-0.03, 1.03)
    axes.set_title(model.upper(), fontsize=10)
    axes.set_xlabel("eps (grey level, black 0, white 1)", fontsize=9)


def draw_triptych(panels: list[Axes], model: str, eps: float, artefacts: Artefacts) -> None:
    """The first fooled image of the lowest seed: as it was, what was added, and what came out."""
    kept = [artefacts[seed] for seed in sorted(artefacts) if f"{model}_images" in artefacts[seed]]
    for axes in panels:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set(visible=bool(kept), color="0.4", linewidth=0.5)  # white pixels end where the page begins
    if not kept:
        return
    before, after = kept[0][f"{model}_images"]
    labels, confidence = kept[0][f"{model}_labels"], kept[0][f"{model}_confidence"]
    titles = [
        f"{model.upper()}: {labels[0]}\n{confidence[0]:.0%} sure",
        f"change, ×{0.5 / eps:.0f}\nat most {eps:.2g}",
        f"{labels[1]}\n{confidence[1]:.0%} sure",
    ]
    shown = [before, 0.5 + (after - before) * 0.5 / eps, after]
    for axes, image, title in zip(panels, shown, titles, strict=True):
        axes.imshow(image.transpose(1, 2, 0).clip(0, 1).squeeze(), cmap="gray", vmin=0, vmax=1)
        axes.set_title(title, fontsize=8)
