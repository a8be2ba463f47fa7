"""Error falls as a power of the number of training examples, and networks are said to need more of them.

A perceptron, the strided convolutions of MNIST-1D's authors (images: a small convolutional network) and, in ``full``, a
gated recurrent network learn from n examples, n in steps of a logarithm; beside them logistic regression, nearest
neighbours, a support vector machine with a Gaussian kernel and boosted trees. Every learner has the same number of
tuning trials at every n. Validation data choose among them, as many as there are for training but no more than
``validation``; the test set is used once. Larger training sets contain the smaller ones, classes in turn, so that 50
examples are five a class. *best network* and *best classical* are the learners of most validation accuracy over all
sizes. Chosen anew at each size, from development seeds, they were those of the best luck in fifty examples.

Test error is fitted by scale · n^-exponent + floor (:mod:`dlbench.learning_curves`), with the floor and without, for a
floor takes from the exponent what it explains itself. n90 is the number of examples at which a curve reaches 90 % of
the accuracy of the best classical learner with most data; what never does counts as needing all, so a ratio is too
small rather than too large. MNIST-1D's templates are moved around, which convolutions expect and nobody else; claims
are stated for each architecture.

Controls: from shuffled labels nothing is learnt however many they are, and made curves of known exponent, with the
noise that as large a test set has, give it back.

``quick`` is MNIST-1D from 50 to 2000 examples, two trials each, narrow convolutions and 300 steps at rates that fall to
0: enough for a perceptron, while convolutions gain some ten points by training on, so that they are judged too hard
rather than too kindly. ``full`` goes to 20,000, trains 8000 steps, as published, and has the recurrent network, whose
40 steps in turn are ten times as slow. ``mnist`` and ``cifar10`` are of images. *augmented* is the convolutional
network on what has been moved about (and mirrored, of CIFAR-10); it is not in ``quick``. Where ``features`` names the
factory, ``package.module:factory``, of a pre-trained module, images in [0, 1] → features [n, d], *pre-trained* is
logistic regression on these. ImageNet is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
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
    all_of,
    below,
    between,
    contains,
    draw_means,
    equivalent,
    every,
    one_of,
    where,
)
from dlbench.brought import module_from
from dlbench.errors import ParameterError
from dlbench.learning_curves import PowerLaw, fit_power_law, size_for
from dlbench.models.spec import is_path
from dlbench.stacking import Stack, batches, step_at
from dlbench_plugins.images import CLASSES
from dlbench_plugins.limits.classical import CLASSICAL, TRIALS, Answers, answers_of, learnt
from dlbench_plugins.limits.examples import Chosen, Examples, Task, examples
from dlbench_plugins.networks import conv_base, network, perceptron
from dlbench_plugins.recurrent import GRU

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dlbench import Artefacts, Verdict

MLP, CNN, GATED, AUGMENTED = "mlp", "cnn", "gru", "augmented"
NETWORKS = (MLP, CNN, GATED, AUGMENTED)
PRETRAINED = "pre-trained"
BEST_NETWORK, BEST_CLASSICAL = "best network", "best classical"
COMPARED = {MLP: "perceptrons", CNN: "convolutions"}
SHUFFLED = (MLP, "logistic")  # who learn from shuffled labels, too
SHUFFLES = 4  # orders of them, whose mean counts: which few labels a learner sees moves its accuracy by points
COLORS = {
    MLP: "#D55E00",
    CNN: "#0072B2",
    GATED: "#009E73",
    AUGMENTED: "#56B4E9",
    PRETRAINED: "#000000",
    "logistic": "#999999",
    "neighbours": "#CC79A7",
    "svm": "#E69F00",
    "boosting": "#7A5C3E",
}

RATES = (1e-2, 3e-2, 3e-3, 1e-3)  # tried in this order

FEW = 10 * CLASSES  # examples
SHARE = 0.9  # of the accuracy of the best classical learner with most data
MADE = ((0.25, 2.0, 0.0), (0.5, 4.0, 0.05))  # exponents, scales and floors of made curves
DRAWS = 20  # of each
WELL_FITTED = 0.05  # of the error
KNOWS = {  # test accuracy with most data: of a network, of logistic regression
    "mnist1d": (0.4, 0.2),
    "mnist": (0.85, 0.8),
    "cifar10": (0.35, 0.2),
}


def published(subject: str, accuracy: float) -> Reference:
    """On the published 4000 curves."""
    setting = {"subject": subject, "data": "mnist1d", "labels": "true", "n": 4000, "steps": 8000}
    return Reference("test_accuracy", accuracy, "Greydanus & Kobak 2024, table 1", setting)


# ------------------------------------------------------------------------------------------------- rows that rules see


def curves(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of learners' accuracies from true labels."""
    return where(rows, over="size", labels="true")


def laws(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of what is fitted to them, of each learner."""
    rows = where(rows, over="curve")
    return rows[rows.subject.isin((*NETWORKS, *CLASSICAL))]


def falls_behind(rows: pd.DataFrame, subject: str) -> Verdict:
    """At each size of ten examples a class and below, the best classical learner is ahead of this one."""
    rows = curves(rows)

    def ahead(r: pd.DataFrame) -> Verdict:
        return above(where(r, subject=BEST_CLASSICAL).test_accuracy - where(r, subject=subject).test_accuracy, 0.0)

    return every(rows[rows.n <= FEW], "n", ahead)


def doublings(rows: pd.DataFrame, subject: str) -> pd.Series:
    """How often a learner's data are the double of what the best classical one needs, a seed."""
    return np.log2(where(rows, over="curve", subject=subject).data_ratio)


def difference_of_exponents(rows: pd.DataFrame) -> pd.Series:
    """The exponent of convolutions less that of perceptrons, without a floor."""
    rows = where(rows, over="curve")
    return where(rows, subject=CNN).exponent - where(rows, subject=MLP).exponent


def with_most(rows: pd.DataFrame, subject: str) -> pd.Series:
    """A learner's test accuracy with most data, a seed."""
    rows = curves(rows)
    return where(rows, subject=subject, n=rows.n.max()).test_accuracy


def found_again(rows: pd.DataFrame) -> Verdict:
    """The exponent of a made curve: above its floor, and without one where it has none."""
    exponent, floor = rows.made_exponent.iloc[0], rows.made_floor.iloc[0]
    fits = [rows.exponent_over_floor, *([] if floor else [rows.exponent])]
    return all_of(*(contains(fit, exponent, margin=0.05) for fit in fits))


def gained(rows: pd.DataFrame) -> Verdict:
    """From shuffled labels: accuracy with most data less that with fewest, of each who learns from them."""
    rows = where(rows, over="size", labels="shuffled")

    def none(r: pd.DataFrame) -> Verdict:
        return equivalent(where(r, n=r.n.max()).test_accuracy - where(r, n=r.n.min()).test_accuracy, 0.03)

    return every(rows, "subject", none)


def knows(rows: pd.DataFrame) -> Verdict:
    """With most data every network has learnt, and so has logistic regression."""
    rows = curves(rows)
    rows = rows[(rows.n == rows.n.max()) & rows.subject.isin((*NETWORKS, "logistic"))]
    return every(
        rows,
        ["data", "subject"],
        lambda r: above(r.test_accuracy, KNOWS[r["data"].iloc[0]][r.subject.iloc[0] == "logistic"]),
    )


# -------------------------------------------------------------------------------------------------------- experiment


@dataclass(frozen=True)
class DataHunger(Experiment):
    """Test accuracy by the number of training examples, of networks and of classical learners, and its power laws."""

    dataset: str = one_of("mnist1d", "mnist", "cifar10", default="mnist1d")
    sizes: tuple[int, ...] = between(CLASSES, 10**6, default=(50, 100, 250, 700, 2000))
    networks: tuple[str, ...] = one_of(*NETWORKS, default=(MLP, CNN))
    trials: int = between(1, TRIALS, default=2)  # of every learner at every size
    validation: int = between(CLASSES, 10**5, default=500)  # at most
    tested: int = between(10, 10**6, default=2500)  # where tests are drawn, and of images that are published for it
    width: int = between(4, 4096, default=64)  # of the perceptron's two layers
    channels: int = between(4, 1024, default=16)  # of the convolutions
    hidden: int = between(1, 1024, default=6)  # of the recurrent network, as published
    steps: int = between(1, 10**6, default=300)
    batch_size: int = between(1, 4096, default=50)
    rounds: int = between(8, 10_000, default=12)  # of boosting
    features: str = ""  # the factory of a pre-trained module

    title = "Networks need more data than classical methods do"
    chapter = "limits"
    version = 2  # the negative control is the mean of four orders of the labels; with one it was undecided
    sources = (
        "Hestness et al., Deep learning scaling is predictable, empirically, 2017, arXiv:1712.00409",
        "Greydanus & Kobak, Scaling down deep learning with MNIST-1D, ICML 2024, arXiv:2011.14439",
        "Oliver et al., Realistic evaluation of deep semi-supervised learning, NeurIPS 2018 (sizes of validation sets)",
    )
    metrics = {
        "test_accuracy": Metric("test accuracy", "1", "higher", True, 0, 1),
        "validation_accuracy": Metric("validation accuracy of what was chosen", "1", "higher", low=0, high=1),
        "exponent": Metric("exponent of n in the error, without a floor", better="higher"),
        "exponent_over_floor": Metric("exponent of n in the error above a floor", better="higher"),
        "floor": Metric("error that no data takes away", better="lower", low=0),
        "misfit": Metric("how far the power law with a floor is off, root mean square", better="lower", low=0),
        "n90": Metric("examples for 90 % of the accuracy of the best classical learner", better="lower", low=0),
        "data_ratio": Metric("the same over those of the best classical learner", better="lower", low=0),
    }
    presets = {
        "quick": {},
        "full": {
            "sizes": (50, 100, 200, 400, 800, 1500, 2500, 4000, 9000, 20_000),
            "networks": NETWORKS,
            "trials": 4,
            "validation": 2000,
            "tested": 10_000,
            "width": 100,
            "channels": 25,
            "steps": 8000,
            "batch_size": 100,
            "rounds": 200,
        },
        "mnist": {
            "dataset": "mnist",
            "sizes": (50, 100, 200, 400, 800, 1500, 3000, 6000),
            "networks": (MLP, CNN, AUGMENTED),
            "tested": 2000,
            "channels": 32,
            "steps": 1000,
            "rounds": 50,
        },
        "cifar10": {
            "dataset": "cifar10",
            "sizes": (50, 100, 250, 600, 1500, 4000, 10_000, 40_000),
            "networks": (MLP, CNN, AUGMENTED),
            "trials": 3,
            "validation": 5000,
            "tested": 10_000,
            "width": 512,
            "channels": 256,
            "steps": 20_000,
            "batch_size": 128,
            "rounds": 200,
        },
    }
    references = (published("logistic", 0.32), published(MLP, 0.68), published(CNN, 0.94), published(GATED, 0.91))

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.sizes) < 3 or any(a >= b for a, b in pairwise(self.sizes)):
            raise ParameterError(f"sizes is {self.sizes}; expected three at least, from the smallest to the largest")
        if self.features and not is_path(self.features):
            raise ParameterError(f"features is {self.features!r}; expected an import path 'package.module:factory'")
        if self.features and self.dataset == "mnist1d":
            raise ParameterError("features: MNIST-1D has no images; choose another data set")

    def datasets(self) -> tuple[str, ...]:
        return () if self.dataset == "mnist1d" else (self.dataset,)

    def trial(self, context: Context) -> Iterator[Measurement]:
        counts = self.sizes[-1], min(self.sizes[-1], self.validation)
        images = examples(self.dataset, counts, self.tested, context)
        task = images.scaled()
        shuffled = [task.with_shuffled_labels(context, draw) for draw in range(SHUFFLES)]
        found: dict[str, list[Chosen]] = {}
        learners = [*self.networks, *CLASSICAL, *([PRETRAINED] if self.features else [])]
        for done, subject in enumerate(learners):
            context.progress(done / len(learners), subject)
            arms = [(task, n) for n in self.sizes]
            ends = (self.sizes[0], self.sizes[-1]) if subject in SHUFFLED else ()
            arms += [(other, n) for n in ends for other in shuffled]
            if subject == PRETRAINED:
                seen = images.seen_by(module_from(self.features, "features", context)).scaled()
                chosen = self.fit("logistic", [(seen, n) for _, n in arms])
            elif subject in NETWORKS:
                chosen = self.train(subject, arms, context)
            else:
                chosen = self.fit(subject, arms)
            found[subject], others = chosen[: len(self.sizes)], chosen[len(self.sizes) :]
            rows = [("true", n, one) for n, one in zip(self.sizes, found[subject], strict=True)]
            rows += [
                ("shuffled", n, Chosen(*np.mean(others[k * SHUFFLES : (k + 1) * SHUFFLES], axis=0).tolist()))
                for k, n in enumerate(ends)
            ]
            for labels, n, one in rows:
                yield {**self.setting(subject), "over": "size", "labels": labels, "n": n, **one._asdict()}
        for subject, members in ((BEST_NETWORK, self.networks), (BEST_CLASSICAL, CLASSICAL)):
            best = max(members, key=lambda name: sum(one.validation_accuracy for one in found[name]))
            found[subject] = found[best]
            for n, one in zip(self.sizes, found[best], strict=True):
                yield {**self.setting(subject), "over": "size", "labels": "true", "n": n, **one._asdict()}
        yield from self.of_curves(found)
        yield from self.of_made_curves(context)

    # ------------------------------------------------------------------------------------------------------- learning

    def build(self, subject: str, shape: Sequence[int]) -> nn.Module:
        """An untrained network for curves [length] or images [channels, height, width]."""
        features = int(np.prod(shape))
        if subject == MLP:
            return nn.Sequential(nn.Flatten(), *perceptron([features, self.width, self.width, CLASSES]))
        if subject == GATED:
            steps = shape[-2] if len(shape) == 3 else shape[0]
            gated = GRU(features // steps, self.hidden)
            return nn.Sequential(InSteps(), gated, nn.Flatten(), nn.Linear(2 * steps * self.hidden, CLASSES))
        if len(shape) == 1:
            return conv_base(shape, CLASSES, channels=self.channels)
        return network("cnn", shape, CLASSES, width=self.channels)

    def train(self, subject: str, arms: Sequence[Arm], context: Context) -> list[Chosen]:
        """A network for every arm, at every rate, all at once and from one start."""
        tasks, sizes = zip(*arms, strict=True)
        with context.seeded("init", subject):
            start = self.build(subject, tasks[0].train.x.shape[1:])
        trials = len(RATES[: self.trials])
        stack = Stack([start] * (len(arms) * trials)).to(context.device)
        highest = torch.tensor(RATES[:trials], device=context.device).repeat(len(arms))
        adam = torch.optim.Adam(stack.parameters(), max(RATES[:trials]), fused=True)
        x = tasks[0].train.x  # the same in all
        y = torch.stack([task.train.y for task in tasks]).repeat_interleave(trials, 0)
        each = [n for n in sizes for _ in range(trials)]
        orders = [context.generator("order", n) for n in each]
        moves = context.generator("moves")
        for step, rows in enumerate(batches(each, self.batch_size, steps=self.steps, generators=orders)):
            rows = rows.to(context.device)
            seen = x[rows]
            if subject == AUGMENTED:
                seen = moved(seen.flatten(0, 1), moves, mirror=self.dataset == "cifar10").view_as(seen)
            adam.zero_grad()
            stack.losses(F.cross_entropy, stack.each(seen), y.gather(1, rows)).sum().backward()
            step_at(adam, highest * (1 - step / self.steps))
        stack.eval()
        nets = [answers_of(stack[k]) for k in range(len(stack))]
        return [task.choose(nets[k * trials : (k + 1) * trials], n) for k, (task, n) in enumerate(arms)]

    def fit(self, subject: str, arms: Sequence[Arm]) -> list[Chosen]:
        """A classical learner for every arm."""
        flat = [(task.flat(), n) for task, n in arms]
        return [task.choose(self.answers(subject, task.train.first(n)), n) for task, n in flat]

    def answers(self, subject: str, train: Examples) -> list[Answers]:
        """A classical learner's in each of its settings."""
        return [one.answers for one in learnt(subject, *train, trials=self.trials, rounds=self.rounds)]

    # --------------------------------------------------------------------------------------------------- summing up

    def setting(self, subject: str) -> Measurement:
        """What all rows of a learner say."""
        return {"subject": subject, "data": self.dataset, "steps": self.steps}

    def of_curves(self, found: dict[str, list[Chosen]]) -> Iterator[Measurement]:
        """A row for each learner: its power laws, and what data it needs."""
        curves = {name: [one.test_accuracy for one in chosen] for name, chosen in found.items()}
        target = SHARE * curves[BEST_CLASSICAL][-1]
        needed = {name: min(size_for(self.sizes, curve, target), self.sizes[-1]) for name, curve in curves.items()}
        for name, curve in curves.items():
            yield {
                **self.setting(name),
                "over": "curve",
                **fitted(self.sizes, 1 - np.array(curve), self.tested),
                "n90": needed[name],
                "data_ratio": needed[name] / needed[BEST_CLASSICAL],
            }

    def of_made_curves(self, context: Context) -> Iterator[Measurement]:
        """Power laws whose errors are counted in as large a test: a row for each, of means over some draws."""
        rng = context.rng("made")
        for exponent, scale, floor in MADE:
            errors = PowerLaw(scale, exponent, floor, 0.0)(self.sizes).clip(max=1)
            laws = [
                fitted(self.sizes, rng.binomial(self.tested, errors) / self.tested, self.tested) for _ in range(DRAWS)
            ]
            means = {name: float(np.mean([law[name] for law in laws])) for name in laws[0]}
            yield {"subject": "made curve", "over": "made", "made_exponent": exponent, "made_floor": floor, **means}

    claims = [
        Claim(
            "(a) the error of every learner falls as a power of n: the exponent is above 0, with a floor and without",
            lambda rows: every(
                laws(rows), "subject", lambda r: all_of(above(r.exponent, 0.0), above(r.exponent_over_floor, 0.0))
            ),
            source="Hestness et al. 2017",
        ),
        Claim(
            "(a) and a power law describes it: with a floor it misses the errors by less than 5 %",
            lambda rows: every(laws(rows), "subject", lambda r: below(r.misfit, WELL_FITTED)),
            source="Hestness et al. 2017",
        ),
        Claim(
            "(a) whose exponent does not depend on the architecture: convolutions' and perceptrons' differ by less "
            "than 0.1",
            lambda rows: equivalent(difference_of_exponents(rows), 0.1),
            source="Hestness et al. 2017",
        ),
        *(
            Claim(
                f"(b) with ten examples a class or fewer the best classical learner is ahead of {name}",
                lambda rows, subject=subject: falls_behind(rows, subject),
            )
            for subject, name in COMPARED.items()
        ),
        *(
            Claim(
                f"(c) {name} need more data than the best classical learner for 90 % of its accuracy with most data, "
                "in doublings",
                lambda rows, subject=subject: above(doublings(rows, subject), 0.0),
            )
            for subject, name in COMPARED.items()
        ),
        Claim(
            "(d) with most data the best network is ahead of the best classical learner",
            lambda rows: above(with_most(rows, BEST_NETWORK) - with_most(rows, BEST_CLASSICAL), 0.0),
        ),
        Control(
            "from shuffled labels more data teach nothing: accuracy with most is within 3 points of that with fewest",
            gained,
            kind="negative",
        ),
        Control(
            "the exponents of made curves are found again, without a floor and above one, within 0.05",
            lambda rows: every(where(rows, over="made"), "made_exponent", found_again),
            kind="positive",
        ),
        Control(
            "with most data all have learnt: test accuracy over 0.4, of logistic regression over 0.2 (MNIST: 0.85 and "
            "0.8, CIFAR-10: 0.35 and 0.2)",
            knows,
            kind="gate",
        ),
    ]  # fmt: skip

    def plot(self, rows: pd.DataFrame, figure: Figure, artefacts: Artefacts) -> None:
        figure.set_size_inches(11, 4.8)
        figure.set_layout_engine("constrained")
        errors, exponents, needs = figure.subplots(1, 3, width_ratios=(1.7, 1, 1))
        draw_curves(errors, rows)
        draw_summary(exponents, rows, "exponent", "exponent of n in the error, without a floor")
        draw_summary(needs, rows, "n90", "examples for 90 % of the accuracy that\nthe best classical learner ends at")
        if len(needs.lines):
            needs.set_xscale("log")
            needs.xaxis.set_minor_formatter("{x:g}")
        for axes in (exponents, needs):
            axes.tick_params(labelleft=axes is exponents)


# -------------------------------------------------------------------------------------------------------------- parts


Arm = tuple[Task, int]  # and how many examples of it are trained on


def fitted(sizes: Sequence[int], errors: NDArray[np.float64], tested: int) -> dict[str, float]:
    """Power laws without and with a floor; no error is taken for less than half an example."""
    errors = errors.clip(0.5 / tested)
    law = fit_power_law(sizes, errors)
    return {
        "exponent": fit_power_law(sizes, errors, floor=False).exponent,
        "exponent_over_floor": law.exponent,
        "floor": law.floor,
        "misfit": law.misfit,
    }


class InSteps(nn.Module):
    """Curves [n, length] as one number a step, images [n, channels, height, width] as one row a step."""

    def forward(self, x: Tensor) -> Tensor:
        return x.unsqueeze(2) if x.dim() == 2 else x.transpose(1, 2).flatten(2)


def moved(x: Tensor, generator: torch.Generator, *, mirror: bool) -> Tensor:
    """Curves [n, length] or images [n, channels, height, width], moved by up to an eighth, each by its own.

    What moves in is what moves out on the other side of a curve, and the darkest there is in an image. Half of the
    images are mirrored, if asked for.
    """
    n = len(x)
    places = []
    for size in x.shape[1:] if x.dim() == 2 else x.shape[2:]:
        by = torch.randint(-(size // 8), size // 8 + 1, (n, 1), generator=generator)
        places.append((torch.arange(size) + by).to(x.device))
    each = torch.arange(n, device=x.device)
    if x.dim() == 2:
        return x[each[:, None], places[0] % x.shape[1]]
    rows, columns = places
    if mirror:
        turned = (torch.rand(n, 1, generator=generator) < 0.5).to(x.device)
        columns = torch.where(turned, columns.flip(1), columns)
    inside = [(place >= 0) & (place < size) for place, size in zip((rows, columns), x.shape[2:], strict=True)]
    rows, columns = rows.clamp(0, x.shape[2] - 1), columns.clamp(0, x.shape[3] - 1)
    seen = x[each[:, None, None], :, rows[:, :, None], columns[:, None, :]].movedim(3, 1)
    return torch.where((inside[0][:, :, None] & inside[1][:, None, :])[:, None], seen, x.min())


# ----------------------------------------------------------------------------------------------------------- picture


def draw_curves(axes: Axes, rows: pd.DataFrame) -> None:
    """Error against n, both logarithmic, and the power law with a floor that is fitted to the mean over seeds."""
    axes.set_xlabel("training examples")
    axes.set_ylabel("test error")
    mine = curves(rows) if {"over", "labels"} <= set(rows.columns) else rows.iloc[:0]
    mine = mine[mine.test_accuracy < 1] if len(mine) else mine
    for subject, color in COLORS.items():
        by_size = dict(list(where(mine, subject=subject).groupby("n"))) if len(mine) else {}
        errors = [(1 - group.test_accuracy).to_numpy() for group in by_size.values()]
        if len(by_size) < 3:
            continue
        style = "o" if subject in NETWORKS else "s"
        draw_means(
            axes, by_size, errors, log=True, color=color, marker=style, markersize=4, linestyle="", label=subject
        )
        means = [float(error.mean()) for error in errors]
        if min(means) > 0:
            n = np.geomspace(min(by_size), max(by_size), 60)
            axes.plot(n, fit_power_law(list(by_size), means)(n), color=color, linewidth=1.2)
    if axes.lines:
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.legend(fontsize=8, title="with fitted power laws", title_fontsize=8, loc="lower left")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("{x:g}")
    axes.tick_params(which="both", labelsize=7)


def draw_summary(axes: Axes, rows: pd.DataFrame, metric: str, label: str) -> None:
    """A metric of each learner's curve, with its interval over seeds."""
    from dlbench import stats

    mine = where(rows, over="curve") if "over" in rows.columns else rows
    subjects = [name for name in COLORS if "subject" in mine.columns and (mine.subject == name).any()]
    for place, subject in enumerate(subjects):
        values = where(mine, subject=subject)[metric]
        values = values[np.isfinite(values)]
        if not len(values):
            continue
        interval = stats.t_interval(values)
        if interval.n > 1:
            axes.hlines(place, interval.low, interval.high, color=COLORS[subject])
        axes.plot(values, np.full(len(values), place), ".", color=COLORS[subject], alpha=0.4, markersize=4)
        axes.plot(interval.estimate, place, "o" if subject in NETWORKS else "s", color=COLORS[subject], markersize=6)
    axes.set_yticks(range(len(subjects)), subjects, fontsize=8)
    axes.set_ylim(max(len(subjects), 1) - 0.5, -0.5)
    axes.set_xlabel(label, fontsize=8)
    axes.tick_params(axis="x", labelsize=7)
