"""Noise in the data and ignorance of the network are two uncertainties; do two estimates tell them apart?

A lecture names them aleatoric and epistemic, and networks are made to estimate both. Here each has a cause that is
turned up in six levels, all else being equal:

- *noise*: labels thrown by a die, up to half of them; the aleatoric estimate (AU) should rise, the epistemic (EU) stay;
- *scarcity*: fewer and fewer training examples, down to a thirty-second; EU should rise, and AU stay;
- *unseen*: classes left out of training, up to five of ten, with as many examples; EU should rise, and AU stay.

What an estimate answers is the slope of its mean over test images, in nats, from the lowest level to the highest; of
unseen classes, over test images of the five that are left out one by one, as the others only get easier. The wrong
estimate's answer to a cause should be less than 0.3 of the right one's; the rule looks at the difference, in nats, as
the ratio of two answers explodes where the right one is small. Four pairs of estimates are asked, each with one
decomposition:

- an ensemble, and dropout left on: expected entropy and mutual information (Depeweg et al. 2018), which add up;
- Gaussian logits, with dropout left on (Kendall & Gal 2017; Valdenegro-Toro & Saromo Mori 2022), which do not;
- an evidential network: expected entropy and mutual information of its Dirichlet distribution (Sensoy et al. 2018).

Beside them stands an oracle, the positive control, that knows what labels are thrown: its AU is the true entropy of the
label, its EU how far the ensemble's prediction is from the truth (Kullback-Leibler), the part of its expected loss that
more knowledge would take away. The negative control is a cause that is none: other training examples, as many.

The rule takes the best of the four pairs and does not correct for having four; it can so be too kind to them, not too
hard. Mucsányi, Kirchhof & Oh (NeurIPS 2024, arXiv:2402.19460) found none among 19 methods that keeps the two apart.
Not covered: SNGP and DDU, and the ImageNet tasks of that paper; ``full`` is CIFAR-10.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from dlbench import (
    Claim,
    Context,
    Control,
    Experiment,
    Measurement,
    Metric,
    Verdict,
    above,
    all_of,
    below,
    between,
    draw_means,
    every,
    one_of,
    slope,
)
from dlbench.errors import ParameterError
from dlbench.noisy_labels import throw
from dlbench.stacking import Stack, rows_of
from dlbench.uncertainty import decompose, detection
from dlbench.uncertainty.disentanglement import (
    dirichlet_decomposition,
    disentanglement_error,
    gaussian_logits_decomposition,
)
from dlbench_plugins.images import CLASSES, images
from dlbench_plugins.networks import network, train

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from dlbench import Artefacts

LEVELS = 6
NOISE_STEP = 0.1  # of labels thrown, from one level to the next
CROSS = 0.3  # of the own answer
ALIKE = 0.5  # Spearman's rank correlation of AU and EU

# cause: which estimate answers it rightly
CAUSES = {"noise": "au", "scarcity": "eu", "unseen": "eu"}
ESTIMATES = ("au", "eu")
METHODS = ("ensemble", "mc_dropout", "gaussian_logits", "evidential")
DROPOUT = 0.2
PASSES = 20
LOGIT_SAMPLES = 8  # draws of noisy logits a training example (Kendall & Gal 2017, eq. 12)


# ------------------------------------------------------------------------------------------------- rows that rules see


def answer(rows: pd.DataFrame, subject: str, cause: str, estimate: str) -> pd.Series:
    """How an estimate's mean changes, in nats, from the lowest to the highest level of a cause; one a seed."""
    return slope(rows[(rows.subject == subject) & (rows.cause == cause)], "level", estimate)


def excess(rows: pd.DataFrame, subject: str, cause: str) -> pd.Series:
    """The size of the wrong estimate's answer to a cause less 0.3 of the right one's, in nats."""
    own = CAUSES[cause]
    return over(answer(rows, subject, cause, "eu" if own == "au" else "au"), answer(rows, subject, cause, own))


def over(wrong: pd.Series, right: pd.Series) -> pd.Series:
    """By how much |wrong| exceeds its share of the right; their ratio would explode where the right one is small."""
    return wrong.abs() - CROSS * right


def kept_apart(rows: pd.DataFrame, subject: str, causes: Sequence[str]) -> Verdict:
    """The wrong estimate answers each of the causes with less than 0.3 of the right one's answer; the worst shows."""
    verdicts = [named(below(excess(rows, subject, cause), 0.0), f"{subject}, {cause}") for cause in causes]
    return all_of(*sorted(verdicts, key=lambda v: -v.estimate))


def best(verdicts: Sequence[Verdict]) -> Verdict:
    """Some method: the strongest outcome, and of equals the least estimate."""
    strength = {"holds": 0, "inconclusive": 1, "does not hold": 2}
    return min(verdicts, key=lambda v: (strength.get(v.outcome, 3), v.estimate if v.n else np.inf))


def some(rows: pd.DataFrame, *causes: str) -> Verdict:
    """Some method keeps the two apart, whichever of the causes is turned up."""
    return best([kept_apart(rows, subject, causes) for subject in METHODS])


def named(verdict: Verdict, what: str) -> Verdict:
    """With what it is about."""
    return Verdict(**{**vars(verdict), "criterion": f"{verdict.criterion} ({what})"})


def unlike(rows: pd.DataFrame) -> Verdict:
    """Some method ranks the test images of clean training differently by AU and by EU."""
    clean = rows[(rows.cause == "noise") & (rows.level == 0)]
    return best([named(below(clean[clean.subject == s].spearman, ALIKE), s) for s in METHODS])


def tells_unseen(rows: pd.DataFrame) -> Verdict:
    """Of every method: AUROC of unseen classes by EU over that by AU, half of the classes being unseen."""
    unseen = rows[(rows.cause == "unseen") & (rows.level == 1) & rows.subject.isin(METHODS)]
    return every(unseen, "subject", lambda r: above(r.auroc_eu - r.auroc_au, 0.0))


def answers_itself(rows: pd.DataFrame) -> Verdict:
    """The ensemble's right estimate answers each cause."""
    return all_of(*(above(answer(rows, "ensemble", cause, own), 0.0) for cause, own in CAUSES.items()))


def placebo(rows: pd.DataFrame) -> Verdict:
    """A cause that is none moves neither estimate of the ensemble by 0.3 of its answer to its own cause."""
    own = {"au": "noise", "eu": "scarcity"}
    return all_of(
        *(
            below(over(answer(rows, "ensemble", "placebo", e), answer(rows, "ensemble", own[e], e)), 0.0)
            for e in ESTIMATES
        )
    )


@dataclass(frozen=True)
class UncertaintyDisentanglement(Experiment):
    """How aleatoric and epistemic estimates answer label noise, scarce data and unseen classes."""

    dataset: str = one_of("digits", "mnist", "cifar10", default="digits")
    network: str = one_of("mlp", "cnn", default="mlp")
    width: int = between(4, 4096, default=32)
    depth: int = between(1, 10, default=2)  # of the perceptron
    members: int = between(2, 100, default=10)
    train_size: int = between(64, 50_000, default=600)
    test_size: int = between(50, 10_000, default=500)
    steps: int = between(1, 10**6, default=150)
    batch_size: int = between(1, 4096, default=32)
    learning_rate: float = between(1e-6, 1.0, default=1e-2)

    title = "Noise and ignorance are two uncertainties, which networks do not keep apart"
    chapter = "uncertainty"
    sources = (
        "Mucsányi, Kirchhof & Oh, Benchmarking uncertainty disentanglement, NeurIPS 2024, arXiv:2402.19460",
        "de Jong et al., Measuring uncertainty disentanglement error in classification, 2024, arXiv:2408.12175",
        "Kendall & Gal, What uncertainties do we need in Bayesian deep learning?, NeurIPS 2017, arXiv:1703.04977",
        "Sensoy, Kaplan & Kandemir, Evidential deep learning, NeurIPS 2018, arXiv:1806.01768",
    )
    metrics = {
        "disentanglement_error": Metric("disentanglement error (de Jong 2024)", "1", "lower", main=True, low=0),
        "au": Metric("mean aleatoric estimate of the test images that the cause concerns", "nats"),
        "eu": Metric("mean epistemic estimate of the test images that the cause concerns", "nats"),
        "accuracy": Metric("accuracy on test labels as noisy as those of training", better="higher", low=0, high=1),
        "spearman": Metric("rank correlation of AU and EU over test images", low=-1, high=1),
        "auroc_eu": Metric("AUROC of seen against unseen classes by EU", better="higher", low=0, high=1),
        "auroc_au": Metric("AUROC of seen against unseen classes by AU", better="lower", low=0, high=1),
    }
    presets = {
        "quick": {},
        "mnist": {
            "dataset": "mnist",
            "width": 128,
            "train_size": 2000,
            "test_size": 1000,
            "steps": 400,
            "learning_rate": 3e-3,
        },
        "full": {
            "dataset": "cifar10",
            "network": "cnn",
            "width": 128,
            "train_size": 20_000,
            "test_size": 10_000,
            "steps": 8000,
            "batch_size": 128,
            "learning_rate": 1e-3,
        },
    }

    def datasets(self) -> tuple[str, ...]:
        return (self.dataset,)

    def trial(self, context: Context) -> Iterator[Measurement]:
        images = drawn(self.dataset, self.test_size, context)
        cells = [BASE, *(Cell(cause, level) for cause in (*CAUSES, "placebo") for level in range(1, LEVELS))]
        samples = [self.sample(images, cell, context) for cell in cells]
        for done, method in enumerate(METHODS):
            context.progress(done / len(METHODS), f"{method}, {len(cells)} times")
            found = dict(zip(cells, self.estimates(method, images, samples, context), strict=True))
            yield from measured(method, images, found, context)
            if method == "ensemble":
                known = {cell: oracle(of_cell.prediction, images.test_y, cell) for cell, of_cell in found.items()}
                yield from measured("oracle", images, known, context)

    def sample(self, images: Images, cell: Cell, context: Context) -> Sample:
        """A cell's training examples and labels. Fewer are the first of more, and a label once thrown stays so."""
        order = context.rng("examples", *([cell.level] if cell.cause == "placebo" else [])).permutation(len(images.y))
        allowed = order[~np.isin(images.y[order], cell.unseen(images))]
        if len(allowed) < self.train_size:
            raise ParameterError(
                f"uncertainty_disentanglement.train_size: {self.train_size} examples are asked for and "
                f"{LEVELS - 1} classes left out leave {len(allowed)}"
            )
        size = self.train_size >> cell.level if cell.cause == "scarcity" else self.train_size
        return Sample(allowed[:size], throw(images.y, cell.thrown, context.rng("die")))

    def estimates(self, method: str, images: Images, samples: Sequence[Sample], context: Context) -> list[Estimates]:
        """What networks of a method, trained on each sample, make of the test images."""
        members = self.members if method == "ensemble" else 1
        dropout = DROPOUT if method in ("mc_dropout", "gaussian_logits") else 0.0
        outputs = 2 * CLASSES if method == "gaussian_logits" else CLASSES
        owners = [(i, member) for i in range(len(samples)) for member in range(members)]
        nets = []
        for _, member in owners:
            with context.seeded("init", member):  # the same for every cell
                shape = {"width": self.width, "depth": self.depth}
                nets.append(network(self.network, images.x.shape[1:], outputs, **shape, dropout=dropout))
        stack = Stack(nets).to(context.device)
        owner = torch.tensor([[i] for i, _ in owners])
        places = pad_sequence([torch.from_numpy(sample.rows) for sample in samples], batch_first=True)
        labels = torch.from_numpy(np.stack([sample.labels for sample in samples]))
        loss = LOSSES[method](self.steps)

        def losses(rows: Tensor) -> Tensor:
            rows = places[owner, rows]
            return loss(stack.each(rows_of(images.x, rows.to(context.device))), labels[owner, rows].to(context.device))

        with context.seeded("noise", method):
            train(
                stack,
                [len(samples[i].rows) for i, _ in owners],
                [context.generator("order", member) for _, member in owners],
                losses,
                steps=self.steps,
                batch_size=self.batch_size,
                learning_rate=self.learning_rate,
            )
            answers = asked(stack, images.test_x, PASSES if dropout else 1).unflatten(1, (len(samples), members))
        # [passes, cells, members, n, outputs]; either passes or members are one
        return [estimate(method, of_cell.flatten(0, 1)) for of_cell in answers.unbind(1)]

    claims = [
        Claim(
            "some method keeps noise and ignorance apart: whichever of the three causes is turned up, the wrong "
            "estimate answers with less than 0.3 of the right one",
            lambda rows: some(rows, *CAUSES),
        ),
        Claim(
            "for some method the epistemic estimate stays when labels get noisy",
            lambda rows: some(rows, "noise"),
        ),
        Claim(
            "for some method the aleatoric estimate stays when data gets scarce",
            lambda rows: some(rows, "scarcity"),
        ),
        Claim(
            "for some method the aleatoric estimate stays when classes are unseen",
            lambda rows: some(rows, "unseen"),
        ),
        Claim(
            "for some method the two estimates are ranked differently over test images: rank correlation below 0.5",
            unlike,
        ),
        Claim(
            "with every method the epistemic estimate tells unseen classes better than the aleatoric (AUROC)",
            tells_unseen,
        ),
        Control(
            "the ensemble's right estimate answers each cause",
            answers_itself,
            kind="positive",
        ),
        Control(
            "an oracle that knows the labels' noise keeps the two apart, by the same rule",
            lambda rows: kept_apart(rows, "oracle", tuple(CAUSES)),
            kind="positive",
        ),
        Control(
            "other training examples, as many, move neither estimate of the ensemble",
            placebo,
            kind="negative",
        ),
        Control(
            "the ensemble has learnt the classes: accuracy above 0.5 on clean data, of chance 0.1",
            lambda rows: above(
                rows[(rows.subject == "ensemble") & (rows.cause == "noise") & (rows.level == 0)].accuracy, 0.5
            ),
            kind="gate",
        ),
    ]

    def plot(self, rows: pd.DataFrame, figure: Figure, artefacts: Artefacts) -> None:
        """Estimates against causes; where the estimate should answer, the panel is shaded."""
        figure.set_size_inches(9, 5.2)
        figure.set_layout_engine("constrained")
        grid = figure.subplots(2, len(CAUSES), sharex="col", sharey="row")
        names = {"au": "aleatoric estimate (nats)", "eu": "epistemic estimate (nats)"}
        for row, estimate_name in zip(grid, ESTIMATES, strict=True):
            for axes, cause in zip(row, CAUSES, strict=True):
                own = CAUSES[cause] == estimate_name
                axes.set_facecolor("#E8F1E4" if own else "white")
                axes.set_title("should answer" if own else "should stay", fontsize=8)
                axes.tick_params(labelsize=7)
                if {"subject", "cause", "level", estimate_name} <= set(rows.columns):
                    for subject, (label, color, style) in LINES.items():
                        mine = rows[(rows.subject == subject) & (rows.cause == cause)]
                        levels = dict(iter(mine.groupby("level")[estimate_name]))
                        draw_means(
                            axes, levels, levels.values(), band=True, color=color, label=label, linewidth=1.3, **style
                        )
            row[0].set_ylabel(names[estimate_name], fontsize=8)
        shown = rows.eu.dropna() if "eu" in rows.columns else np.empty(0)
        if len(shown) and np.isfinite(shown).all() and (shown > 0).any():
            grid[1, 0].set_yscale("log")  # the oracle's ignorance of classes never seen is a hundred times the others'
        for axes, cause in zip(grid[1], CAUSES, strict=True):
            axes.set_xlabel(TURNED_UP[cause], fontsize=8)
            axes.set_xticks(np.arange(LEVELS) / (LEVELS - 1), [self.tick(cause, level) for level in range(LEVELS)])
        handles, labels = grid[0, 0].get_legend_handles_labels()
        if handles:
            figure.legend(handles, labels, loc="outside lower center", ncols=5, fontsize=8, frameon=False)

    def tick(self, cause: str, level: int) -> str:
        """What a level of a cause is."""
        if cause == "scarcity":
            return str(self.train_size >> level)
        return f"{NOISE_STEP * level:.1f}" if cause == "noise" else str(level)


TURNED_UP = {
    "noise": "share of labels thrown by a die",
    "scarcity": "training examples",
    "unseen": "classes left out of training",
}
LINES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "ensemble": ("ensemble", "#0072B2", {}),
    "mc_dropout": ("dropout left on", "#D55E00", {}),
    "gaussian_logits": ("Gaussian logits", "#009E73", {}),
    "evidential": ("evidential", "#CC79A7", {}),
    "oracle": ("oracle", "#000000", {"linestyle": ":"}),
}

# -------------------------------------------------------------------------------------------------------------- data


@dataclass(frozen=True)
class Cell:
    """A cause, and how far it is turned up."""

    cause: str
    level: int

    @property
    def thrown(self) -> float:
        """Share of labels thrown by a die."""
        return NOISE_STEP * self.level if self.cause == "noise" else 0.0

    def unseen(self, images: Images) -> NDArray:
        """Classes that are left out of training."""
        return images.classes[: self.level if self.cause == "unseen" else 0]


BASE = Cell("base", 0)


class Images(NamedTuple):
    """Training and test images, and the order in which classes are left out."""

    x: Tensor  # [n, channels, h, w]
    y: NDArray
    test_x: Tensor
    test_y: NDArray
    classes: NDArray


class Sample(NamedTuple):
    """Which training images, and labels of all of them."""

    rows: NDArray
    labels: NDArray


def drawn(dataset: str, test_size: int, context: Context) -> Images:
    """So many test images, and all others to train with."""
    (x, y), (test_x, test_y) = images(dataset, test_size, context)
    return Images(x, y.cpu().numpy(), test_x, test_y.cpu().numpy(), context.rng("classes").permutation(CLASSES))


# ------------------------------------------------------------------------------------------------------------ methods


class Estimates(NamedTuple):
    """Of each test image."""

    prediction: NDArray  # [n, classes]
    au: NDArray  # [n]
    eu: NDArray  # [n]


def asked(stack: Stack, x: Tensor, passes: int) -> Tensor:
    """[passes, networks, n, outputs] of images [n, ...]; several passes with dropout left on."""
    stack.train(passes > 1)
    with torch.no_grad():
        answers = [torch.cat([stack(part) for part in x.split(500)], 1) for _ in range(passes)]
    stack.eval()
    return torch.stack(answers)


def estimate(method: str, answers: Tensor) -> Estimates:
    """What a method makes of answers [passes or members, n, outputs]."""
    if method == "evidential":
        alpha = concentrations(answers[0]).double().cpu().numpy()
        split = dirichlet_decomposition(alpha)
        return Estimates(alpha / alpha.sum(1, keepdims=True), split.aleatoric, split.epistemic)
    if method == "gaussian_logits":
        means, variances = mean_and_variance(answers.double().cpu())
        split = gaussian_logits_decomposition(means, variances)
        return Estimates(means.mean(0).softmax(1).numpy(), split.aleatoric, split.epistemic)
    members = answers.double().softmax(2).cpu().numpy()
    split = decompose(members)
    return Estimates(members.mean(0), split.aleatoric, split.epistemic)


def oracle(prediction: NDArray, y: NDArray, cell: Cell) -> Estimates:
    """The true entropy of the label, and the divergence of a prediction from the label's true distribution."""
    truth = np.eye(CLASSES)[y] * (1 - cell.thrown) + cell.thrown / CLASSES
    log_truth = np.log(np.where(truth > 0, truth, 1))
    log_prediction = np.log(prediction.clip(1e-12))
    return Estimates(prediction, -(truth * log_truth).sum(1), (truth * (log_truth - log_prediction)).sum(1))


def mean_and_variance(outputs: Tensor) -> tuple[Tensor, Tensor]:
    """Of the logits, each [..., classes], from outputs [..., 2 · classes]."""
    means, raw = outputs.chunk(2, -1)
    return means, F.softplus(raw)


def concentrations(outputs: Tensor) -> Tensor:
    """Of the Dirichlet distribution: one, and the evidence for each class."""
    return 1 + F.softplus(outputs)


Loss = Callable[[Tensor, Tensor], Tensor]  # outputs [K, batch, …] and labels [K, batch] → [K]


def cross_entropy(steps: int) -> Loss:
    """The usual one."""
    return lambda outputs, y: Stack.losses(F.cross_entropy, outputs, y)


def noisy_logits(steps: int) -> Loss:
    """Cross-entropy of the mean probability under Gaussian noise in the logits (Kendall & Gal 2017, eq. 12)."""

    def loss(outputs: Tensor, y: Tensor) -> Tensor:
        means, variances = mean_and_variance(outputs)
        noise = torch.randn((LOGIT_SAMPLES, *means.shape)).to(means)
        log_p = F.log_softmax(means + variances.sqrt() * noise, -1)
        right = log_p.gather(-1, y.expand(LOGIT_SAMPLES, *y.shape)[..., None])[..., 0]
        return -(torch.logsumexp(right, 0) - math.log(LOGIT_SAMPLES)).mean(-1)

    return loss


def evidence(steps: int) -> Loss:
    """Expected cross-entropy, and evidence for wrong classes, at first for nothing (Sensoy et al. 2018, eq. 4)."""
    calls = 0

    def loss(outputs: Tensor, y: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        alpha, truth = concentrations(outputs), F.one_hot(y, CLASSES)
        error = torch.digamma(alpha.sum(-1)) - (truth * torch.digamma(alpha)).sum(-1)
        wrong = truth + (1 - truth) * alpha
        total = wrong.sum(-1)
        divergence = torch.lgamma(total) - torch.lgamma(wrong).sum(-1) - math.lgamma(CLASSES)
        divergence = divergence + ((wrong - 1) * (torch.digamma(wrong) - torch.digamma(total)[..., None])).sum(-1)
        return (error + calls / steps * divergence).mean(-1)

    return loss


LOSSES: dict[str, Callable[[int], Loss]] = {
    "ensemble": cross_entropy,
    "mc_dropout": cross_entropy,
    "gaussian_logits": noisy_logits,
    "evidential": evidence,
}

# ----------------------------------------------------------------------------------------------------------- measures


def measured(subject: str, images: Images, found: Mapping[Cell, Estimates], context: Context) -> Iterator[Measurement]:
    """A row a cause and level, and the disentanglement error of all."""
    curves: dict[str, list[tuple[float, float, float]]] = {}
    for cause in (*CAUSES, "placebo"):
        for level in range(LEVELS):
            cell = Cell(cause, level) if level else BASE
            prediction, au, eu = found[cell]
            labels = throw(images.test_y, cell.thrown, context.rng("test die"))
            concerned = np.isin(images.test_y, images.classes[: LEVELS - 1]) | (cause != "unseen")
            row = {
                "au": float(au[concerned].mean()),
                "eu": float(eu[concerned].mean()),
                "accuracy": float((prediction.argmax(1) == labels).mean()),
            }
            curves.setdefault(cause, []).append((row["accuracy"], row["au"], row["eu"]))
            if np.ptp(au) > 0 and np.ptp(eu) > 0:
                row["spearman"] = float(spearmanr(au, eu).statistic)
            unseen = np.isin(images.test_y, cell.unseen(images))
            if unseen.any():
                row["auroc_eu"] = detection(-eu[~unseen], -eu[unseen]).auroc
                row["auroc_au"] = detection(-au[~unseen], -au[unseen]).auroc
            yield {"subject": subject, "cause": cause, "level": level / (LEVELS - 1), **row}
    size, noise = (tuple(zip(*curves[cause], strict=True)) for cause in ("scarcity", "noise"))
    error = disentanglement_error(size, noise)
    yield {"subject": subject, "cause": "all", "level": 0.0, "disentanglement_error": error}
