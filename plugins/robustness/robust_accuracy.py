"""How robust is this model? The worst case of each image over four attacks, and whether that can be believed.

Reference networks, two of which hide their gradients, and any model that a user brings are attacked by AutoAttack,
diagnosed, and followed over a grid of eps. What is found bounds robust accuracy from above: more steps and queries may
lower it.

An audit: it measures a model that a user brings, beside reference models that it trains itself. To be brought, a model
is an import path ``package.module:factory``; the factory takes no arguments and returns a ``torch.nn.Module`` that maps
images in [0, 1] to logits::

    dlbench run robust_accuracy --set robust_accuracy.models=mypackage.nets:build,cnn,cnn_pgd_trained

A model that is random is to be asked several times (``eot_samples``); an image has then fallen where more than half of
the answers are wrong. Rule M8 of the diagnosis says which models are.

Three measurements, none of which means much without the others:

- AutoAttack (Croce & Hein, ICML 2020): APGD on the cross-entropy and on the targeted ratio of logits, targeted FAB, and
  Square, which sees no gradient. An image counts as robust if it withstands all of them; their order says which one
  broke it first. PGD with 40 steps stands beside it, since that alone is what many papers report.
- The masking diagnosis: twenty rules that ask whether gradients lead attacks astray (:func:`dlbench.attacks.diagnose`).
  ``quick`` draws 200 noises for an image, which is less than the 1,000 at least that are advised, and ``full`` draws.
- Robust accuracy over a grid of eps, by the same attacks without FAB, which costs most and finds least.

Two references hide their gradients on purpose, and are the positive control of the diagnosis. Both are the plain
network with the same weights. ``_scaled`` has its logits multiplied by 10,000: no label changes, so it is exactly as
robust, and cross-entropy has no digits left to descend on. ``_rounded`` rounds its input to 16 steps of grey: its
gradient is zero everywhere. An audit that believed either would be worth nothing.

With ``eps = 0`` nothing may fall. Claims and controls are about the references; what is brought is measured and judged
by the rules of the diagnosis, and takes no part in them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import pandas as pd
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
    per_seed,
    where,
    within,
)
from dlbench.brought import brought, check_names
from dlbench.errors import ParameterError
from dlbench_plugins.images import CLASSES, Images, images
from dlbench_plugins.robustness.attacked import ALONG, Scaled, budgets, draw_curve, in_rows, passes
from dlbench_plugins.robustness.classifiers import Recipe, as_matrices, fit, mean, network, pgd_images

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dlbench import Artefacts, Verdict

PGD_TRAINED, SCALED, ROUNDED = "_pgd_trained", "_scaled", "_rounded"
REFERENCES = tuple(map("".join, product(("mlp", "cnn", "resnet"), ("", PGD_TRAINED, SCALED, ROUNDED))))
GREYS = 16  # steps from black to white in a rounded network's input
PGD_STEPS = 40
ENSEMBLE = ("apgd-ce", "apgd-t", "fab-t", "square")
TOLERANCE = 0.02  # of robust accuracy, in the gate on the curve
NOT_FOOLED = 0.05  # by how much a masked network may seem more robust than it is


# ------------------------------------------------------------------------------------------------------------- rules


def worst_case(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of what AutoAttack leaves at the eps of the audit."""
    return rows[(rows.attack == "worst_case") & (rows.eps > 0)]


def by_base(rows: pd.DataFrame, ending: str, rule: Callable[[pd.DataFrame, str, str], Verdict]) -> Verdict:
    """The rule (rows, plain network, its variant) for every network that has a variant of this ending."""
    variants = rows[rows.subject.isin(REFERENCES) & rows.subject.str.endswith(ending)]
    return every(variants, "subject", lambda r: rule(rows, *_names(r.subject.iloc[0], ending)))


def _names(variant: str, ending: str) -> tuple[str, str]:
    return variant.removesuffix(ending), variant


def honest(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of references that do not hide their gradients."""
    return rows[rows.subject.isin(REFERENCES) & ~rows.subject.str.endswith((SCALED, ROUNDED))]


def overestimate(rows: pd.DataFrame) -> pd.Series:
    """Of one subject: robust accuracy against PGD alone less that against the worst case."""
    return paired(
        pd.concat([where(rows, attack="pgd"), worst_case(rows)]), "robust_accuracy", "pgd", "worst_case", by="attack"
    )


def more_robust(rows: pd.DataFrame, a: str, b: str) -> pd.Series:
    """By how much robust accuracy in the worst case is higher for one subject than for another."""
    return paired(worst_case(rows), "robust_accuracy", a, b)


def severity(rows: pd.DataFrame) -> pd.Series:
    """The worst verdict of the diagnosis of one subject: 0 pass, 1 warn, 2 fail."""
    return where(rows, attack="diagnosis", rule="all").verdict


def nothing_falls(rows: pd.DataFrame) -> Verdict:
    """At eps = 0 what withstands is what is right as it stands, image for image."""
    still = rows[rows.subject.isin(REFERENCES) & (rows.eps == 0) & rows.attack.isin(("none", "worst_case"))]

    def same(r: pd.DataFrame) -> Verdict:
        return below(paired(r, "robust_accuracy", "none", "worst_case", by="attack").abs(), 1e-9)

    return every(still, "subject", same)


def is_caught(rows: pd.DataFrame) -> Verdict:
    """Of each masked network some rule fails, and AutoAttack finds it 5 points more robust than it is at the most."""

    def caught(r: pd.DataFrame, plain: str, masked: str) -> Verdict:
        seems = more_robust(r, masked, plain)
        return all_of(above(severity(where(r, subject=masked)), 1.5), below(seems, NOT_FOOLED))

    return all_of(*(by_base(rows, ending, caught) for ending in (SCALED, ROUNDED)))


def nothing_is_masked(rows: pd.DataFrame) -> Verdict:
    """Of references that do not hide their gradients, the worst verdict is below the middle of warning and failure.

    On average over seeds: queries break one image in 100 by luck now and then, and rule M2 forgives none.
    """
    return every(where(honest(rows), attack="diagnosis", rule="all"), "subject", lambda r: below(severity(r), 1.5))


def curve_is_sound(rows: pd.DataFrame) -> Verdict:
    """It begins at clean accuracy, never rises, and at eps tells the same as AutoAttack but for 2 points.

    Not asked of masked networks, where what is found depends on Square's luck.
    """

    def sound(r: pd.DataFrame) -> Verdict:
        curve = where(r, attack="curve").sort_values("eps")
        start = where(curve, eps=0).robust_accuracy
        at_eps = where(curve, eps=worst_case(r).eps.max()).robust_accuracy
        rises = per_seed(curve, lambda one: one.robust_accuracy.diff().max()).clip(lower=0)
        return all_of(
            below((start - where(r, attack="none").robust_accuracy).abs(), 1e-9),
            below(rises, 1e-9),
            within(at_eps - worst_case(r).robust_accuracy, -TOLERANCE, TOLERANCE),
        )

    return every(honest(rows), "subject", sound)


def are_trained(rows: pd.DataFrame) -> Verdict:
    """90 % of the clean images right, half for those trained on PGD's images."""

    def trained(r: pd.DataFrame) -> Verdict:
        return above(r.robust_accuracy, 0.5 if r.subject.iloc[0].endswith(PGD_TRAINED) else 0.9)

    return every(where(rows[rows.subject.isin(REFERENCES)], attack="none"), "subject", trained)


# -------------------------------------------------------------------------------------------------- published numbers


def published(subject: str, worst: float, source: str, note: str = "", **setting: Any) -> Reference:
    """What AutoAttack left of a published network; on CIFAR-10 at 8/255 where nothing else is said."""
    where = {"dataset": "cifar10", "norm": "linf", "eps": 8 / 255} | setting
    note = f"{note}; read in the source" if note else "read in the source"
    return Reference("robust_accuracy", worst, source, where | {"subject": subject, "attack": "worst_case"}, note=note)


def autoattack(subject: str, clean: float, reported: float, worst: float, **setting: Any) -> Reference:
    """A row of the authors' table, with what the makers of the network had reported."""
    note = f"{clean:.2%} on clean images, {reported:.2%} reported"
    return published(subject, worst, "fra31/auto-attack, CIFAR-10 Linf table", note, **setting)


def robustbench(subject: str, clean: float, worst: float, norm: str = "linf", eps: float = 8 / 255) -> Reference:
    """A row of RobustBench's leaderboards for CIFAR-10."""
    return published(subject, worst, "RobustBench, CIFAR-10", f"{clean:.2%} on clean images", norm=norm, eps=eps)


# -------------------------------------------------------------------------------------------------------- experiment


@dataclass(frozen=True)
class RobustAccuracy(Experiment):
    models: tuple[str, ...] = ("cnn", "cnn_pgd_trained", "cnn_scaled", "cnn_rounded")
    dataset: str = one_of("digits", "digits_split", "mnist", "cifar10", default="digits")
    norm: str = one_of("linf", "l2", default="linf")
    eps: float = between(1e-4, 100, default=0.1)
    eps_grid: tuple[float, ...] = between(0, 100, default=(0.0, 0.1, 0.2, 0.3))
    attacked: int = between(1, 10_000, default=100)  # held-out images
    diagnosed: int = between(1, 10_000, default=100)  # of those at most
    restarts: int = between(2, 100, default=10)  # of the diagnosis' PGD; with 5, queries still find one image in 100
    noise_draws: int = between(1, 100_000, default=200)  # of the diagnosis, for each image
    steps: int = between(1, 1000, default=20)  # of APGD and FAB; official: 100
    target_classes: int = between(1, CLASSES - 1, default=4)  # of targeted APGD and FAB; official: 9
    queries: int = between(1, 100_000, default=300)  # of Square; official: 5000
    eot_samples: int = between(1, 1000, default=1)  # answers to each question, for models that are random; official: 20
    epochs: int = between(1, 1000, default=10)  # this and below: of the references' training
    batch_size: int = between(1, 10_000, default=128)
    lr: float = between(1e-6, 10, default=0.1)
    training_steps: int = between(1, 100, default=5)  # of PGD, for each batch of those trained on its images
    augment: bool = False

    title = "Robust is what withstands the worst attack on each sample, if no gradient is hidden"
    chapter = "robustness"
    version = 2  # `quick` draws less noise in the diagnosis, and has no eps = 0.05
    sources = (
        "Croce & Hein, Reliable evaluation of adversarial robustness (AutoAttack), ICML 2020, arXiv:2003.01690",
        "Athalye, Carlini & Wagner, Obfuscated gradients give a false sense of security, ICML 2018, arXiv:1802.00420",
        "Carlini et al., On evaluating adversarial robustness, 2019, arXiv:1902.06705",
        "Tramèr et al., On adaptive attacks to adversarial example defenses, NeurIPS 2020, arXiv:2002.08347",
        "Croce et al., RobustBench, 2021, arXiv:2010.09670",
    )
    metrics = {
        "robust_accuracy": Metric("right whatever the attack tried", better="higher", main=True, low=0, high=1),
        "robust_accuracy_8bit": Metric(
            "the same with adversarial images rounded to 8 bits", better="higher", low=0, high=1
        ),
        "broken_first": Metric("share of the images that this attack was the first to break", low=0, high=1),
        "verdict": Metric("of a rule of the diagnosis: 0 pass, 1 warn, 2 fail", better="lower", low=0, high=2),
        "finding": Metric("what the rule measured"),
        "forwards": Metric("forward passes of an image", "passes", low=0),
        "backwards": Metric("gradients of an image", "passes", low=0),
    }
    presets = {
        "quick": {},
        "full": {
            "dataset": "mnist",
            "eps": 0.3,
            "eps_grid": (0.0, 0.1, 0.2, 0.3, 0.4),
            "attacked": 1000,
            "diagnosed": 1000,
            "noise_draws": 1000,
            "steps": 100,
            "target_classes": 9,
            "queries": 5000,
            "training_steps": 10,
        },
        "cifar10": {
            "dataset": "cifar10",
            "models": ("resnet", "resnet_pgd_trained", "resnet_scaled", "resnet_rounded"),
            "eps": 8 / 255,
            "eps_grid": (0.0, 2 / 255, 4 / 255, 8 / 255, 16 / 255),
            "attacked": 1000,
            "diagnosed": 1000,
            "noise_draws": 1000,
            "steps": 100,
            "target_classes": 9,
            "queries": 5000,
            "epochs": 30,
            "training_steps": 7,
            "augment": True,
        },
    }
    references = (
        robustbench("bartoldson_2024_wrn_94_16", 0.9368, 0.7371),
        robustbench("meansparse", 0.9360, 0.7310),
        robustbench("wrn_28_10", 0.9478, 0.0000),
        robustbench("wang_2023", 0.9554, 0.8497, norm="l2", eps=0.5),
        autoattack("carmon_2019", 0.8969, 0.625, 0.5953),
        autoattack("rice_2020", 0.8534, 0.58, 0.5342),
        autoattack("trades", 0.8492, 0.5643, 0.5308, eps=0.031),
        autoattack("engstrom_2019", 0.8703, 0.5329, 0.4925),
        autoattack("madry_2018", 0.8714, 0.4704, 0.4404),
        autoattack("wong_2020", 0.8334, 0.4606, 0.4321),
        autoattack("xiao_2020", 0.7928, 0.524, 0.1850),
        autoattack("jin_rinard_2020", 0.9084, 0.7122, 0.0135),
        autoattack("mustafa_2019", 0.8916, 0.3232, 0.0028),
        autoattack("chan_2020", 0.9379, 0.155, 0.0026),
        published("madry_pgd_trained", 0.8850, "MadryLab/mnist_challenge", dataset="mnist", eps=0.3),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_names(self.models, REFERENCES)
        if not self.models or len(set(self.models)) < len(self.models):
            raise ParameterError(f"models is {self.models}; name at least one, and none twice")
        if not {0, self.eps} <= set(self.eps_grid):
            raise ParameterError(f"eps_grid is {self.eps_grid}; controls need 0 and eps ({self.eps:g}) among them")

    def datasets(self) -> tuple[str, ...]:
        return (self.dataset,)

    def brings(self) -> list[str]:
        return [name for name in self.models if name not in REFERENCES]

    def trial(self, context: Context) -> Iterator[Measurement]:
        train, test = images(self.dataset, self.attacked, context)
        shape = test[0].shape[1:]
        nets = {name: brought(name, shape, CLASSES, context) for name in self.brings()}  # before hours of work
        nets |= references(self, train, context)
        for done, name in enumerate(self.models):
            context.progress((1 + done) / (1 + len(nets)), name)
            for row in audited(nets[name], test, self, context):
                yield {"subject": name, **row}

    claims = [
        Claim(
            "(a) PGD with 40 steps alone overestimates the robust accuracy of a network trained on PGD's images by "
            "more than one point",
            lambda rows: by_base(
                rows, PGD_TRAINED, lambda r, _, trained: above(overestimate(where(r, subject=trained)), 0.01)
            ),
            source="Croce & Hein 2020",
        ),
        Claim(
            "(b) in the worst case a network trained on PGD's images keeps more than 20 points more than the plain one",
            lambda rows: by_base(
                rows, PGD_TRAINED, lambda r, plain, trained: above(more_robust(r, trained, plain), 0.2)
            ),
            source="Madry et al. 2018",
        ),
        Claim(
            "(c) logits of 10,000 times the size make a network seem more than 20 points more robust to PGD than it is",
            lambda rows: by_base(rows, SCALED, lambda r, _, scaled: above(overestimate(where(r, subject=scaled)), 0.2)),
            source="Carlini et al. 2019; Croce & Hein 2020",
        ),
        Control("with eps = 0 robust accuracy is clean accuracy, exactly", nothing_falls, kind="negative"),
        Control(
            "networks that hide their gradients are caught: a rule of the diagnosis fails, and AutoAttack takes them "
            "for less than 5 points more robust than the same network that hides nothing",
            is_caught,
            kind="positive",
        ),
        Control(
            "for the other references the worst verdict of the diagnosis is nearer to a warning than to a failure, on "
            "average",
            nothing_is_masked,
            kind="gate",
        ),
        Control(
            "the curve begins at clean accuracy, never rises, and agrees with AutoAttack at eps within 2 points",
            curve_is_sound,
            kind="gate",
        ),
        Control(
            "the references are trained: 90 % of the clean images right, 50 % where trained on PGD's",
            are_trained,
            kind="gate",
        ),
    ]

    def plot(self, rows: pd.DataFrame, figure: Figure, artefacts: Artefacts) -> None:
        """Robust accuracy against eps; beside it, for each model, which attack broke how many of its images first."""
        figure.set_size_inches(10, 4.5)
        curves, bars = figure.subplots(1, 2, width_ratios=(1, 1.1))
        draw_curves(curves, rows, self)
        draw_bars(bars, rows, self)
        figure.tight_layout()


# ------------------------------------------------------------------------------------------------------------ models


class Rounded(nn.Module):
    """A network that sees its input in 16 steps of grey: no gradient passes."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net((GREYS * x).round() / GREYS)


def references(study: RobustAccuracy, train: Images, context: Context) -> dict[str, nn.Module]:
    """The reference models that are named; the masked ones wrap the plain one, which is trained once."""
    x, y = train
    recipe = Recipe(study.epochs, study.batch_size, study.lr, augment=study.augment)
    trained: dict[str, nn.Module] = {}
    named: dict[str, nn.Module] = {}
    for name in (name for name in study.models if name in REFERENCES):
        base, _, variant = name.partition("_")
        key = name if variant == "pgd_trained" else base
        if key not in trained:
            with context.seeded("init", base):  # all variants start from the same weights
                net = network(base, x.shape[1:]).to(context.device)
            perturb = None if key == base else pgd_images(net, context, study.eps, study.training_steps, study.norm)
            fit(net, x, y, recipe, context, perturb=perturb)
            trained[key] = as_matrices(net, x.shape[1:])
        wrap = {"scaled": Scaled, "rounded": Rounded}.get(variant)
        named[name] = wrap(trained[key]).eval() if wrap else trained[key]
    return named


# ------------------------------------------------------------------------------------------------------------- audit


def audited(net: nn.Module, test: Images, study: RobustAccuracy, context: Context) -> Iterator[dict[str, Any]]:
    """Everything that is measured on one model; the same random starts and windows for every model."""
    x, y = test
    # faster forms of a model may change the last bits from run to run
    exact = {"norm": study.norm, "seed": context.integer("attack"), "rewrite": "off", "eot_samples": study.eot_samples}
    correct = attacks.pgd(net, x, y, eps=0.0, **exact).clean_correct
    yield {"attack": "none", "eps": 0.0, "robust_accuracy": mean(correct), "broken_first": mean(~correct)}

    pgd = attacks.pgd(net, x, y, eps=study.eps, steps=PGD_STEPS, **exact)
    yield {"attack": "pgd", "eps": study.eps, "robust_accuracy": pgd.robust_accuracy} | passes(pgd)

    for eps in (0.0, study.eps):
        worst = attacks.autoattack(net, x, y, eps=eps, **budgets(study, ENSEMBLE), **exact)
        yield (
            {"attack": "worst_case", "eps": eps, "robust_accuracy": worst.robust_accuracy}
            | passes(worst)
            | {"robust_accuracy_8bit": mean(withstands_in_8_bits(net, y, worst))}
        )
    for number, attack in enumerate(ENSEMBLE):
        yield {"attack": attack, "eps": study.eps, "broken_first": mean(worst.broken_by == number)}

    along = budgets(study, ALONG)
    curve = attacks.robustness_curve(net, x, y, study.eps_grid, attack=attacks.autoattack, **along, **exact)
    for eps, accuracy in zip(curve.eps, curve.robust_accuracy, strict=True):
        yield {"attack": "curve", "eps": eps, "robust_accuracy": accuracy}
    yield from diagnosed(net, test, study, context)


@torch.no_grad()
def withstands_in_8_bits(net: nn.Module, y: Tensor, worst: attacks.AttackResult) -> Tensor:
    """[N] bool: right, and not broken, or right again once the image that broke it is rounded to 255 steps of grey."""
    with attacks.attack_mode(net):
        right_again = net((255 * worst.x_adv).round() / 255).argmax(1) == y
    return worst.clean_correct & (~worst.success | right_again)


def diagnosed(net: nn.Module, test: Images, study: RobustAccuracy, context: Context) -> Iterator[dict[str, Any]]:
    """The diagnosis in rows."""
    x, y = (part[: study.diagnosed] for part in test)
    efforts = {"restarts": study.restarts, "queries": study.queries, "noise_draws": study.noise_draws}
    seed = context.integer("diagnosis")
    diagnosis = attacks.diagnose(net, x, y, eps=study.eps, norm=study.norm, **efforts, seed=seed)
    for row in in_rows(diagnosis):
        yield {"attack": "diagnosis", "eps": study.eps, **row}


# ----------------------------------------------------------------------------------------------------------- picture

FATES = {  # attack, or what is left → colour, name
    "none": ("#999999", "wrong as it stands"),
    "apgd-ce": ("#D55E00", "APGD, cross-entropy"),
    "apgd-t": ("#E69F00", "APGD, targeted"),
    "fab-t": ("#F0E442", "FAB, targeted"),
    "square": ("#CC79A7", "Square"),
    "worst_case": ("#009E73", "robust"),
}


def draw_curves(axes: Axes, rows: pd.DataFrame, study: RobustAccuracy) -> None:
    """Robust accuracy over eps with 95 % intervals, and what PGD alone and the worst case say at eps."""
    needed = {"subject", "attack", "eps", "robust_accuracy"} <= set(rows.columns)
    for number, name in enumerate(study.models if needed else ()):
        mine = where(rows, subject=name)
        colour = draw_curve(axes, mine, name, number)
        for marker, found in (("x", where(mine, attack="pgd")), ("*", worst_case(mine))):
            draw_means(axes, [study.eps], [found.robust_accuracy], color=colour, marker=marker, markersize=8, ls="")
    for marker, label in (("x", f"PGD-{PGD_STEPS} alone"), ("*", "worst case")):
        axes.plot([], [], color="0.3", marker=marker, linestyle="", label=label)
    axes.axvline(study.eps, color="0.6", linewidth=0.8, linestyle=":", zorder=0)
    axes.set_ylim(-0.03, 1.03)
    axes.set_xlabel(f"eps ({'L2' if study.norm == 'l2' else 'grey level, black 0, white 1'})", fontsize=9)
    axes.set_ylabel("robust accuracy", fontsize=9)
    axes.legend(fontsize=7, frameon=False)


def draw_bars(axes: Axes, rows: pd.DataFrame, study: RobustAccuracy) -> None:
    """Of each model's images, the share that was wrong from the start, that each attack broke first, that is robust."""
    from matplotlib.patches import Patch

    needed = {"subject", "attack", "eps", "robust_accuracy", "broken_first"} <= set(rows.columns)
    left = dict.fromkeys(study.models, 0.0)
    for fate, (colour, _) in FATES.items():
        for name in study.models if needed else ():
            mine = where(rows, subject=name)
            if fate == "worst_case":
                share = worst_case(mine).robust_accuracy.mean()
            else:
                share = where(mine, attack=fate).broken_first.mean()
            if pd.notna(share):
                axes.barh(study.models.index(name), share, left=left[name], color=colour, height=0.7)
                left[name] += share
    axes.set_yticks(range(len(study.models)), [name.replace(":", ":\n") for name in study.models], fontsize=8)
    axes.set_ylim(len(study.models) - 0.5, -0.5)  # in the order given, from the top
    axes.set_xlim(0, 1)
    axes.set_xlabel(f"share of images at eps = {study.eps:.2g}", fontsize=9)
    axes.set_ylabel("model", fontsize=9)
    fates = [Patch(color=colour, label=label) for colour, label in FATES.values()]
    axes.legend(handles=fates, fontsize=7, frameon=False, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))
