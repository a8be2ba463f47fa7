"""A classifier of cats and dogs that is shown a horse is confident, and wrong whatever it says.

Softmax gives all probability to the classes that a network knows: an image of another must be one of them, and is
often thought so with great confidence. This is the horse of the lecture, three times over:

- digits: networks of two of the ten classes, for ten drawn pairs, are shown the other eight (*near*), noise and
  images with shuffled pixels (*far*), and unseen digits made up to ten times as bright, as confidence goes to one far
  away (Hein, Andriushchenko & Bitterwolf, CVPR 2019, arXiv:1812.05720);
- silhouettes of cats and dogs, drawn by rule, and the horse;
- ``full``: CIFAR-10's cats and dogs, and its horses. ``openood``: the same, and OpenOOD's six sets for CIFAR-10, near
  and far, the mean over each. ``mnist``: pairs of MNIST's digits.

Detectors that score how familiar an input is stand beside the greatest softmax probability (MSP): some on the very
same network, others on one trained otherwise. What has a setting has four to choose from, by AUROC on scribbles that
no test contains (:mod:`dlbench_plugins.uncertainty.outsiders`); what is trained otherwise has published settings.
Outlier exposure is trained on other scribbles, so it is not among what is chosen from by scribbles. Of two classes MSP
is a function of the difference of the logits, so neither temperature nor entropy can change its order. And where a
network errs on no validation image, as with the silhouettes, no temperature is best: the likelihood rises as it falls,
down to the bound of the search. What should repair the network makes it surer there, of horses, too.

Not covered: networks of all ten classes, as OpenOOD has them, whose numbers stand here as references only. SNGP's
convolutions: its layers are fully connected here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
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
    below,
    between,
    contains,
    every,
    one_of,
    paired,
    per_seed,
)
from dlbench.data import openood
from dlbench.errors import ParameterError
from dlbench.stacking import Stack
from dlbench.uncertainty.sngp import SNGP, SpectralBound
from dlbench_plugins import networks
from dlbench_plugins.networks import train
from dlbench_plugins.uncertainty import horse, outsiders
from dlbench_plugins.uncertainty.judging import FLAGGED, SCALES, Judged, at, measured, of
from dlbench_plugins.uncertainty.outsiders import Problem

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from dlbench import Artefacts, Verdict

HIDDEN_DROPOUT = 0.2
SPECTRAL_BOUND = 0.9  # as in the authors' tutorial
EXPOSURE = 0.5  # weight of the loss on outliers (Hendrycks, Mazeika & Dietterich 2019)
SILHOUETTES, CANVAS = 150, 16  # of each animal; pixels a side

KINDS = ("plain", "dropout", "one_vs_rest", "outlier_exposure", "sngp")  # of networks that are trained
SOFTMAX = ("msp", "temperature", "mc_dropout", "ensemble", "outlier_exposure", "sngp")
TRAINED_ON_SCRIBBLES = ("outlier_exposure",)
KNOWS = {"digits": 0.97, "mnist": 0.97, "silhouettes": 0.97, "cifar10": 0.7}  # accuracy; two of CIFAR-10's are hard


def published(subject: str, near: float, far: float) -> tuple[Reference, ...]:
    """A row of OpenOOD v1.5's table for CIFAR-10 and a ResNet-18."""
    where = {"subject": subject, "dataset": "cifar10", "network": "resnet18"}
    source, note = "Zhang et al. 2023, OpenOOD v1.5", "ten classes seen; read in a copy of the table, not in the paper"
    return tuple(
        Reference("auroc", value / 100, source, {**where, "outside": outside}, note=note)
        for outside, value in (("openood_near", near), ("openood_far", far))
    )


# ------------------------------------------------------------------------------------------------- rows that rules see


def gain(rows: pd.DataFrame, subject: str, outside: str = "near") -> pd.Series:
    """AUROC over that of MSP, one a seed."""
    return paired(at(rows, outside), "auroc", subject, "msp")


def gain_of_chosen(rows: pd.DataFrame, outside: str = "near") -> pd.Series:
    """AUROC over that of MSP, of the detector that tells scribbles best in that seed."""
    rows = at(rows, outside)
    rows = rows[~rows.subject.isin([*TRAINED_ON_SCRIBBLES, "shown_both"])]

    def chosen(group: pd.DataFrame) -> float:
        by_subject = group.set_index("subject")
        if "msp" not in by_subject.index or by_subject.validation_auroc.isna().all():
            return math.nan
        return float(by_subject.auroc[by_subject.validation_auroc.idxmax()] - by_subject.auroc["msp"])

    return per_seed(rows, chosen)


def brightest(rows: pd.DataFrame) -> pd.Series:
    """Mean confidence of the network on unseen images ten times as bright, one a seed."""
    scaled = rows[(rows.outside == "scaled") & (rows.data != "silhouettes") & (rows.subject == "msp")]
    return scaled[scaled.scale == max(SCALES)].confidence


def knows(rows: pd.DataFrame) -> Verdict:
    """The network's accuracy on held-out images is what that data allows."""
    rows = rows[(rows.subject == "msp") & (rows.outside == "held_out")]
    return every(rows, "data", lambda r: above(r.accuracy, KNOWS[r["data"].iloc[0]]))


def sums_to_one(rows: pd.DataFrame) -> Verdict:
    """Of every subject with a softmax, on everything it was shown."""
    rows = rows[rows.subject.isin(SOFTMAX) & (rows.outside == "held_out")]
    return every(rows, ["data", "subject"], lambda r: below(r.mass_error, 1e-6))


@dataclass(frozen=True)
class OODConfidence(Experiment):
    """How confident networks are of what they have never seen, and how well detectors tell it."""

    dataset: str = one_of("digits", "mnist", "cifar10", default="digits")
    pairs: int = between(1, 45, default=10)
    seen: tuple[int, ...] = between(0, 9, default=())  # two classes, in place of drawn pairs
    unseen: tuple[int, ...] = between(0, 9, default=())  # and what is shown; all others if empty
    network: str = one_of("mlp", "cnn", default="mlp")
    width: int = between(4, 4096, default=64)
    members: int = between(2, 100, default=5)
    steps: int = between(1, 10**6, default=120)
    batch_size: int = between(1, 4096, default=32)
    learning_rate: float = between(1e-6, 1.0, default=3e-3)
    most: int = between(10, 10**6, default=300)  # near outsiders of a network, and of each foreign set
    foreign: str = one_of("none", "openood_cifar10", default="none")  # sets that are shown as well

    title = "A classifier of cats and dogs is sure what a horse is"
    chapter = "uncertainty"
    sources = (
        "Nguyen, Yosinski & Clune, Deep neural networks are easily fooled, CVPR 2015, arXiv:1412.1897",
        "Hendrycks & Gimpel, A baseline for detecting misclassified and out-of-distribution examples, ICLR 2017",
        "Hein et al., Why ReLU networks yield high-confidence predictions far away from the training data, CVPR 2019",
        "Zhang et al., OpenOOD v1.5, 2023, arXiv:2306.09301",
    )
    metrics = {
        "auroc": Metric("AUROC, insiders being positive", better="higher", main=True, low=0, high=1),
        "aupr_in": Metric("average precision, insiders being positive", better="higher", low=0, high=1),
        "aupr_out": Metric("average precision, outsiders being positive", better="higher", low=0, high=1),
        "fpr95": Metric("share of outsiders that pass where 95 % of insiders do", better="lower", low=0, high=1),
        "confident": Metric("share of outsiders with a confidence above 0.9", better="lower", low=0, high=1),
        "confidence": Metric("mean confidence of outsiders", better="lower", low=0, high=1 + 1e-6),
        "accuracy": Metric("accuracy on held-out images of the classes seen", better="higher", low=0, high=1),
        "flagged": Metric("share of held-out images below the threshold of 5 %", better="lower", low=0, high=1),
        "validation_auroc": Metric("AUROC on the scribbles that settings are chosen by", "1", "higher", low=0, high=1),
        "mass_error": Metric("greatest distance of an input's summed probabilities from 1", better="lower", low=0),
    }
    presets = {
        "quick": {},
        "mnist": {"dataset": "mnist", "pairs": 5, "width": 128, "steps": 400, "batch_size": 64, "learning_rate": 1e-3},
        "full": {
            "dataset": "cifar10",
            "seen": (3, 5),
            "unseen": (7,),
            "network": "cnn",
            "width": 128,
            "steps": 8000,
            "batch_size": 128,
            "learning_rate": 1e-3,
            "most": 1000,
        },
    }
    presets["openood"] = {**presets["full"], "foreign": "openood_cifar10"}
    references = (
        *published("msp", 88.03, 90.73),
        *published("energy", 87.58, 91.21),
        *published("mahalanobis", 84.20, 89.72),
        *published("relative_mahalanobis", 89.80, 92.20),
        *published("vim", 88.68, 93.48),
        *published("knn", 90.64, 92.96),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.foreign != "none" and self.dataset != "cifar10":
            raise ParameterError(f"foreign is {self.foreign!r}, made for cifar10; dataset is {self.dataset!r}")
        if self.seen and (not len(self.seen) == len(set(self.seen)) == 2 or set(self.seen) & set(self.unseen)):
            raise ParameterError(f"seen is {self.seen} and unseen is {self.unseen}; give two classes, and others")

    def datasets(self) -> tuple[str, ...]:
        return (self.dataset, *([self.foreign] if self.foreign != "none" else []))

    def trial(self, context: Context) -> Iterator[Measurement]:
        collections = {
            self.dataset: self.problems(context),
            "silhouettes": [outsiders.of_silhouettes(SILHOUETTES, CANVAS, context.rng("silhouettes"))],
        }
        for data, problems in collections.items():
            nets = {}
            for done, kind in enumerate(KINDS):
                context.progress(done / len(KINDS), f"{kind} networks on {data}")
                nets[kind] = self.fit(kind, problems, "mlp" if data == "silhouettes" else self.network, context)
            judged = []
            for i, problem in enumerate(problems):
                judges = {kind: of_problems[i] for kind, of_problems in nets.items()}
                judged.append(Judged(problem, judges, context))
            for subject in judged[0].answers:
                rows = list(measured(data, subject, judged))
                yield from (*rows, *over_sets(rows))
            horse.keep(data, judged, context)

    def problems(self, context: Context) -> list[Problem]:
        """One a pair of classes."""
        pairs = [self.seen] if self.seen else outsiders.drawn_pairs(self.pairs, context.rng("pairs"))
        data = context.data(self.dataset)
        problems = [
            outsiders.of_classes(data, pair, self.unseen, self.most, context.rng("problem", *map(int, pair)))
            for pair in pairs
        ]
        if self.foreign == "none":
            return problems
        sets = context.data(self.foreign)
        return [
            outsiders.with_foreign(problem, sets, self.most, context.rng("foreign", problem.name))
            for problem in problems
        ]

    # ------------------------------------------------------------------------------------------------------- training

    def fit(self, kind: str, problems: Sequence[Problem], network: str, context: Context) -> list[list[nn.Module]]:
        """Networks of a kind for each problem, trained at once; of plain ones as many as an ensemble has members."""
        owners = [(i, member) for i in range(len(problems)) for member in range(self.members if kind == "plain" else 1)]
        nets = []
        for i, member in owners:
            with context.seeded("init", problems[i].name, member):  # the same for every kind
                nets.append(self.build(kind, network, problems[i]))
        stack = Stack(nets).to(context.device)
        names = [name for name, _ in nets[0].named_parameters()]
        hidden = [w for name, w in zip(names, stack.parameters(), strict=True) if name.startswith("blocks.")]
        x, y, outliers = (
            torch.from_numpy(np.concatenate(parts)).to(context.device)
            for parts in zip(*((*problem.train, problem.scribbles) for problem in problems), strict=True)
        )
        starts = np.cumsum([0, *(len(problem.train[0]) for problem in problems)])
        first = torch.tensor([[starts[i]] for i, _ in owners])

        def losses(rows: Tensor) -> Tensor:
            chosen = (first + rows).to(context.device)
            inputs = x[chosen]
            if kind == "outlier_exposure":
                inputs = torch.cat([inputs, outliers[chosen]], 1)
            return loss(kind, stack, stack.each(inputs), y[chosen])

        with context.seeded("dropout"):
            train(
                stack,
                [len(problems[i].train[0]) for i, _ in owners],
                [context.generator("order", problems[i].name, member) for i, member in owners],
                losses,
                steps=self.steps,
                batch_size=self.batch_size,
                learning_rate=self.learning_rate,
                after_step=SpectralBound([w for w in hidden if w.dim() == 3], SPECTRAL_BOUND),  # of SNGP alone
            )
        fitted: list[list[nn.Module]] = [[] for _ in problems]
        for k, (i, _) in enumerate(owners):
            net = stack[k]
            if isinstance(net, SNGP):
                net.fit_variance(torch.from_numpy(problems[i].train[0]).to(context.device))
            fitted[i].append(net)
        return fitted

    def build(self, kind: str, network: str, problem: Problem) -> nn.Module:
        """An untrained network from images to two logits."""
        shape = problem.train[0].shape[1:]
        if kind == "sngp":
            return SNGP(math.prod(shape), 2, width=self.width, length_scale=typical_distance(problem.train[0]))
        dropout = HIDDEN_DROPOUT if kind == "dropout" else 0.0
        return networks.network(network, shape, 2, width=self.width, dropout=dropout)

    claims = [
        Claim(
            "(a) softmax gives all its probability to the classes seen, whatever the input: it sums to 1 within 1e-6",
            sums_to_one,
        ),
        Claim(
            "(b) of images of classes never seen, more than half are given a confidence above 0.9",
            lambda rows: above(of(rows, "msp").confident, 0.5),
        ),
        Claim(
            "(b) so are horses by a network of cats and dogs",
            lambda rows: above(of(rows, "msp", silhouettes=True).confident, 0.5),
        ),
        Claim(
            "(b) far away confidence goes to one: above 0.95 for unseen images ten times as bright",
            lambda rows: above(brightest(rows), 0.95),
            source="Hein et al. 2019",
        ),
        Claim(
            "one-vs-rest sigmoids, which need not sum to 1, are confident of fewer unseen images than softmax",
            lambda rows: below(paired(at(rows), "confident", "one_vs_rest", "msp"), 0.0),
        ),
        Claim(
            "(c) the detector that tells scribbles best tells unseen classes better than MSP (AUROC)",
            lambda rows: above(gain_of_chosen(rows), 0.0),
        ),
        Claim(
            "(c) and tells noise and shuffled pixels better than MSP (AUROC)",
            lambda rows: above(gain_of_chosen(rows, "far"), 0.0),
        ),
        *(
            Claim(statement, lambda rows, subject=subject: above(gain(rows, subject), 0.0))
            for subject, statement in (
                ("ensemble", "(c) an ensemble tells unseen classes better than MSP (AUROC)"),
                ("ensemble_mi", "(c) so does what its members disagree about, their mutual information"),
                ("knn", "(c) so does the distance to the nearest features of training images"),
                ("mahalanobis", "(c) so does the Mahalanobis distance of features"),
                ("outlier_exposure", "outlier exposure to scribbles tells unseen classes better than MSP (AUROC)"),
            )
        ),
        Control(
            "no detector tells held-out images of the classes seen from others of them",
            lambda rows: every(at(rows, "held_out"), "subject", lambda r: contains(r.auroc, 0.5, margin=0.05)),
            kind="negative",
        ),
        Control(
            "unseen classes can be told: by the nearest neighbours of one who is shown images of both",
            lambda rows: above(of(rows, "shown_both").auroc, 0.95),
            kind="positive",
        ),
        Control(
            "the networks know the classes they were shown: accuracy above 0.97 (of CIFAR-10's cats and dogs 0.7)",
            knows,
            kind="gate",
        ),
        Control(
            "held-out images are flagged as often as the threshold says",
            lambda rows: contains(of(rows, "msp", "held_out").flagged, FLAGGED, margin=0.03),
            kind="gate",
        ),
    ]

    def plot(self, rows: pd.DataFrame, figure: Figure, artefacts: Artefacts) -> None:
        """The horse and what networks make of it; below, confidences, ROC curves and the probe far away."""
        horse.draw(rows, figure, artefacts)


# ---------------------------------------------------------------------------------------------------------- networks


def typical_distance(x: NDArray[np.float32]) -> float:
    """The median distance of training images, of the first 200: the kernel's usual length scale."""
    flat = torch.from_numpy(x[:200]).flatten(1)
    return float(torch.pdist(flat).median())


def over_sets(rows: Sequence[Measurement]) -> Iterator[Measurement]:
    """Of one subject's rows the means over OpenOOD's near sets, and over its far ones, where it was shown them."""
    for outside, names in (("openood_near", openood.NEAR), ("openood_far", openood.FAR)):
        of_sets = [row for row in rows if row["outside"] in names]
        if of_sets:
            means = {key: np.mean([row[key] for row in of_sets]) for key in ("auroc", "aupr_in", "aupr_out", "fpr95")}
            yield {**{key: of_sets[0][key] for key in ("subject", "data", "scale")}, "outside": outside, **means}


def loss(kind: str, stack: Stack, logits: Tensor, y: Tensor) -> Tensor:
    """[K]: cross-entropy; of sigmoids for one-vs-rest; and of outliers, the second half, to equal probabilities."""
    if kind == "one_vs_rest":
        return stack.losses(F.binary_cross_entropy_with_logits, logits, F.one_hot(y, 2).to(logits))
    inside = stack.losses(F.cross_entropy, logits[:, : y.shape[1]], y)
    if kind != "outlier_exposure":
        return inside
    outside = logits[:, y.shape[1] :]
    return inside + EXPOSURE * stack.losses(F.cross_entropy, outside, torch.full_like(outside, 0.5))
