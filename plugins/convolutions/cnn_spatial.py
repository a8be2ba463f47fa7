"""What makes a convolution good at signals and images: it looks at neighbours, with many filters, the same everywhere.

Each of the three is taken away alone. From a *fully connected* network to a *locally connected* one, whose units see
only a window, is locality; from there to a *convolution*, whose weights are the same at every place, is sharing; fewer
filters are fewer features. The three networks have the same depth, windows and no padding, which would tell them where
they are, and no pooling, which would do part of what sharing is said to. The ladder is climbed twice: with as many
parameters as the convolution has, and with as many FLOPs; a locally connected network has five times the parameters of
a convolution of the same FLOPs, and must be much narrower to have as many.

Signals are those of MNIST-1D, drawn anew for every seed, so that there are as many to train and to test with as wanted.
The presets ``mnist`` and ``cifar10`` climb the same ladder on images, with as many filters as make costs equal there: a
locally connected network of as many parameters has 4, the convolution 31 or 57.

- *Permuted*: the places of all signals in one other order. The fully connected network must not mind; a convolution and
  a mixer (Tolstikhin et al. 2021), which looks at patches, must.
- *Fewer examples*: n90 is how many a network needs for nine tenths of what the fully connected one has with all.
- *Moved*: trained on curves that always stand at one place, tested on such that stand further on; images are trained
  on where they were published, and tested pixels further to the right.
- *Consistency*: the share of answers that a signal rolled around by a few places does not change (Zhang, ICML 2019).
- *Transfer*: a linear model tells digits 5 to 9 apart from the features of a convolution trained on 0 to 4, from those
  of one that was not trained, and from the signal itself.

Every network has the same number of trials, one a learning rate, chosen on validation data. ``quick`` has one trial,
at the rate that validation data of development seeds chose for each kind of network from 0.01, 0.02, 0.04 and 0.08, and
trains for 200 steps, which leaves all far below what they can reach. ``full`` is MNIST-1D's published size and length
of training, with the published networks, among them recurrent units, which are slow, and a convolution with pooling;
``large`` has 20 000 examples.

Sharing alone brings no invariance: where all curves stand at one place in training, a convolution whose head knows
places fails like the others once they have moved by a few.

Published for CIFAR-10: fully connected networks reach 85.19 % if a penalty on the weights makes them local (Neyshabur
2020). That penalty, and ImageNet's shifts (BlurPool: consistency from 89.20 to 91.31 %), are left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

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
    draw_means,
    equivalent,
    one_of,
    where,
)
from dlbench.cost import parameters
from dlbench.errors import ParameterError
from dlbench.learning_curves import size_for
from dlbench_plugins.convolutions.ladder import (
    CONV,
    FULL,
    LADDER,
    LOCAL,
    MIXER,
    POOLED,
    PUBLISHED,
    build,
    published,
    widened,
)
from dlbench_plugins.convolutions.tasks import (
    OLD,
    OLD_CLASSES,
    PERMUTED,
    STANDING,
    Tasks,
    consistency,
    of_images,
    of_signals,
    right_share,
)
from dlbench_plugins.images import CLASSES
from dlbench_plugins.networks import Examples, as_costly, flops, logistic_regression, tuned

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dlbench import Artefacts, Verdict

SAME_PARAMETERS, SAME_FLOPS, BOTH, OWN = "parameters", "FLOPs", "both", "own"  # what a network shares with CONV
ORDERED = "in order"
TRAINED, UNTRAINED, RAW = "features, trained", "features, untrained", "signal"  # what a linear model sees
COLORS = {FULL: "#666666", LOCAL: "#D55E00", CONV: "#0072B2", MIXER: "#009E73", POOLED: "#56B4E9"}

MOVED = 6  # of 72, about half a curve; of images, pixels
ROLLED = (1, 4)  # of 40, of 28, of 32
RIDGES = (1.0, 10.0)  # trials of the linear model

RATES = {FULL: 0.02, **dict.fromkeys((LOCAL, CONV, MIXER, POOLED, *PUBLISHED), 0.04)}

STEP = 0.03  # of test accuracy: the least that a step of the ladder, and features, must bring
MANY_FILTERS = 0.1
SHUFFLE = 0.2
BUDGET = 0.03  # by how much costs may differ
LEARNT = 0.6


def recipe(subject: str, in_order: float, permuted: float) -> list[Reference]:
    """The accuracy of a network in MNIST-1D's table, with signals in order and permuted."""
    setting = {"subject": subject, "n": 4000, "steps": 8000, "batch_size": 100}
    source, note = "Greydanus & Kobak 2024, github.com/greydanus/mnist1d", "a rounded single run on 1000 test signals"
    return [
        Reference("test_accuracy", value, source, {**setting, "positions": positions}, note=note)
        for positions, value in ((ORDERED, in_order), (PERMUTED, permuted))
    ]


def accuracy(rows: pd.DataFrame, subject: str, positions: str = ORDERED, *, budget: str = SAME_PARAMETERS) -> pd.Series:
    """Test accuracy with all training examples, a seed."""
    rows = where(rows[rows.budget.isin((budget, BOTH))], subject=subject, positions=positions, n=rows.n.max())
    return rows[rows.moved.isna()].test_accuracy if "moved" in rows else rows.test_accuracy


def step_up(rows: pd.DataFrame, better: str, worse: str, budget: str) -> Verdict:
    """One network of the ladder is more accurate than another at an equal budget."""
    return above(accuracy(rows, better, budget=budget) - accuracy(rows, worse, budget=budget), STEP)


def shuffle_drop(rows: pd.DataFrame, subject: str) -> pd.Series:
    """Test accuracy lost, a seed, where all signals have their places in another order."""
    return accuracy(rows, subject) - accuracy(rows, subject, PERMUTED)


def when_moved(rows: pd.DataFrame, subject: str, moved: int) -> pd.Series:
    """Test accuracy on curves that stand further on than those that the network was trained on, a seed."""
    return where(rows, subject=subject, positions=STANDING, moved=moved).test_accuracy


def probe_gain(rows: pd.DataFrame, over: str) -> pd.Series:
    """Accuracy on new digits that a linear model gains, a seed, from features trained on others."""
    return where(rows, subject=TRAINED).probe_accuracy - where(rows, subject=over).probe_accuracy


def costs_are_equal(rows: pd.DataFrame) -> Verdict:
    """Parameters and FLOPs differ by little from those of the convolution."""
    rows = where(rows[rows.subject.isin(LADDER)], positions=ORDERED, n=rows.n.max())
    reference = where(rows, subject=CONV, budget=BOTH)

    def off(metric: str, budget: str, subject: str) -> Verdict:
        ratio = where(rows, subject=subject, budget=budget)[metric] / reference[metric]
        return below((ratio - 1).abs(), BUDGET)

    costs = (("parameters", SAME_PARAMETERS), ("flops", SAME_FLOPS))
    return all_of(*(off(metric, budget, subject) for metric, budget in costs for subject in (FULL, LOCAL)))


@dataclass(frozen=True)
class CNNSpatial(Experiment):
    """Test accuracy of networks with locality, filters and sharing taken away in turn, at equal budgets."""

    dataset: str = one_of("mnist1d", "mnist", "cifar10", default="mnist1d")
    sizes: tuple[int, ...] = between(20, 10**6, default=(200, 1000, 8000))  # training examples, from few to many
    validation: int = between(20, 10**6, default=500)
    tested: int = between(100, 10**6, default=4000)
    filters: int = between(2, 1024, default=25)
    fewer: tuple[int, ...] = between(1, 1024, default=(1, 2, 4, 8))
    compared: tuple[str, ...] = one_of(MIXER, POOLED, *PUBLISHED, default=(MIXER,))
    factors: tuple[float, ...] = between(1e-6, 1e6, default=(1.0,))  # learning rates tried, as multiples of RATES
    steps: int = between(1, 10**6, default=200)
    batch_size: int = between(1, 4096, default=40)
    probed: int = between(50, 10**6, default=1000)  # examples of the linear models

    title = "Convolutions are good because they are local, many and the same everywhere"
    chapter = "convolutions"
    sources = (
        "Neyshabur, Towards learning convolutions from scratch, NeurIPS 2020, arXiv:2007.13657",
        "Greydanus & Kobak, Scaling down deep learning with MNIST-1D, ICML 2024, arXiv:2011.14439",
        "Zhang, Making convolutional networks shift-invariant again, ICML 2019, arXiv:1904.11486",
        "Li, Zhang & Arora, Why are convolutional nets more sample-efficient than fully-connected nets?, ICLR 2021, "
        "arXiv:2010.08515",
        "Tolstikhin et al., MLP-Mixer, NeurIPS 2021, arXiv:2105.01601",
    )
    metrics = {
        "test_accuracy": Metric("test accuracy", better="higher", main=True, low=0, high=1),
        "n90": Metric("training examples for nine tenths of the fully connected network's best", better="lower", low=0),
        "shift_consistency": Metric("share of answers that a roll leaves as they are", better="higher", low=0, high=1),
        "probe_accuracy": Metric("accuracy of a linear model on new digits", better="higher", low=0, high=1),
        "parameters": Metric("parameters", better="lower", low=0),
        "flops": Metric("multiplications and additions for one signal", better="lower", low=0),
    }
    presets = {
        "quick": {},
        "full": {
            "sizes": (250, 1000, 4000),
            "validation": 1000,
            "tested": 10_000,
            "compared": (MIXER, POOLED, *PUBLISHED),
            "factors": (0.075, 0.25, 0.75),
            "steps": 8000,
            "batch_size": 100,
        },
        "large": {
            "sizes": (200, 1000, 5000, 20_000),
            "validation": 1000,
            "compared": (MIXER, POOLED),
            "factors": (0.075, 0.25, 0.75),
            "steps": 4000,
            "batch_size": 100,
        },
        "mnist": {
            "dataset": "mnist",
            "sizes": (200, 1000, 6000),
            "validation": 1000,
            "tested": 3000,
            "filters": 31,
            "compared": (MIXER, POOLED),
            "factors": (0.1,),
            "steps": 400,
        },
        "cifar10": {
            "dataset": "cifar10",
            "sizes": (1000, 5000, 45_000),
            "validation": 5000,
            "tested": 10_000,
            "filters": 57,
            "compared": (MIXER, POOLED),
            "factors": (0.025, 0.075, 0.25),
            "steps": 8000,
            "batch_size": 100,
        },
    }
    references = (
        *recipe("logistic", 0.32, 0.32),
        *recipe("mlp", 0.68, 0.68),
        *recipe("cnn", 0.94, 0.56),
        *recipe("gru", 0.91, 0.57),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if list(self.sizes) != sorted(set(self.sizes)):
            raise ParameterError(f"sizes is {self.sizes}; expected each once, from the smallest to the largest")
        if not self.fewer or max(self.fewer) >= self.filters or 1 not in self.fewer:
            raise ParameterError(f"fewer is {self.fewer}; expected 1 and others, less than the {self.filters} filters")
        if self.dataset != "mnist1d" and set(self.compared) & set(PUBLISHED):
            raise ParameterError(
                f"compared is {self.compared}; the published networks are for signals, dataset=mnist1d"
            )

    def datasets(self) -> tuple[str, ...]:
        return () if self.dataset == "mnist1d" else (self.dataset,)

    def trial(self, context: Context) -> Iterator[Measurement]:
        counts = (self.sizes, self.validation, self.tested, self.probed, context)
        examples = of_signals(*counts) if self.dataset == "mnist1d" else of_images(self.dataset, *counts)
        shape = examples.shape
        convolution = build(CONV, shape, self.filters, CLASSES)
        costs = {SAME_PARAMETERS: parameters, SAME_FLOPS: lambda net: flops(net, shape)}
        few = [f"n={size}" for size in self.sizes]
        all_of_them = few[-1]
        arms = [(CONV, BOTH, self.filters, [*few, PERMUTED, STANDING, OLD_CLASSES])]
        for budget, tasks in ((SAME_PARAMETERS, [*few, PERMUTED, STANDING]), (SAME_FLOPS, [all_of_them])):
            for subject in (FULL, LOCAL):
                arms.append((subject, budget, self.width_of(subject, costs[budget], convolution, shape), tasks))
        for subject in self.compared:
            budget = OWN if subject in PUBLISHED else SAME_PARAMETERS
            width = 0 if subject in PUBLISHED else self.width_of(subject, parameters, convolution, shape)
            standing = [STANDING] if subject == POOLED else []
            arms.append((subject, budget, width, [all_of_them, PERMUTED, *standing]))

        learnt: dict[tuple[str, str], list[float]] = {}
        for done, (subject, budget, width, tasks) in enumerate(arms):
            context.progress(done / (len(arms) + 1), f"{subject}, as many {budget}")
            start = self.start(subject, width, shape, context)
            nets = dict(zip(tasks, self.trained(subject, [start] * len(tasks), tasks, examples, context), strict=True))
            common = {"subject": subject, "budget": budget, "filters": width}
            cost = {"parameters": parameters(start), "flops": flops(start, shape)}
            for task, net in nets.items():
                if task in few:
                    right = right_share(net, examples.test)
                    learnt.setdefault((subject, budget), []).append(right)
                    size = self.sizes[few.index(task)]
                    yield {**common, "positions": ORDERED, "n": size, "test_accuracy": right, **cost}
                elif task == PERMUTED:
                    right = right_share(net, examples.permuted_test)
                    yield {**common, "positions": PERMUTED, "n": self.sizes[-1], "test_accuracy": right, **cost}
                elif task == STANDING:
                    for moved, part in examples.moved.items():
                        right = right_share(net, part)
                        row = {**common, "positions": STANDING, "n": self.sizes[-1], "moved": moved}
                        yield {**row, "test_accuracy": right}
            for rolled in ROLLED:
                kept = consistency(nets[all_of_them], examples.test.x, rolled)
                yield {**common, "positions": ORDERED, "rolled": rolled, "shift_consistency": kept}
            if OLD_CLASSES in nets:
                yield from self.transfer(start, nets[OLD_CLASSES], examples)

        target = 0.9 * learnt[FULL, SAME_PARAMETERS][-1]
        for (subject, budget), curve in learnt.items():
            if len(curve) == len(self.sizes):
                enough = size_for(self.sizes, curve, target)
                yield {"subject": subject, "budget": budget, "n90": enough if math.isfinite(enough) else math.nan}
        context.progress(0.9, "fewer filters")
        yield from self.with_fewer_filters(examples, all_of_them, context)

    def width_of(self, subject: str, cost, convolution: nn.Module, shape: Sequence[int]) -> int:  # type: ignore[no-untyped-def]
        """How wide a network must be to cost what the convolution does."""
        return as_costly(lambda width: build(subject, shape, width, CLASSES), cost, cost(convolution))

    def start(self, subject: str, width: int, shape: Sequence[int], context: Context) -> nn.Module:
        """An untrained network."""
        with context.seeded("init", subject, width):
            if subject in PUBLISHED:
                return published(subject, shape[0], CLASSES)
            return build(subject, shape, width, CLASSES)

    def trained(
        self, subject: str, starts: Sequence[nn.Module], tasks: Sequence[str], examples: Tasks, context: Context
    ) -> list[nn.Module]:
        """Each network on its task, at the rate that its validation data choose."""
        return tuned(
            starts,
            [examples.train[task] for task in tasks],
            [examples.held[task] for task in tasks],
            [factor * RATES[subject] for factor in self.factors],
            steps=self.steps,
            batch_size=self.batch_size,
            order=lambda: context.generator("order"),
        )

    def with_fewer_filters(self, examples: Tasks, task: str, context: Context) -> Iterator[Measurement]:
        """Convolutions of few filters, as wide as the widest of them so that they are one stack."""
        shape = examples.shape
        narrow = [self.start(CONV, width, shape, context) for width in self.fewer]
        starts = [widened(net, build(CONV, shape, max(self.fewer), CLASSES)) for net in narrow]
        nets = self.trained(CONV, starts, [task] * len(starts), examples, context)
        for net, start, width in zip(nets, narrow, self.fewer, strict=True):
            row = {"subject": CONV, "budget": OWN, "filters": width, "positions": ORDERED, "n": self.sizes[-1]}
            cost = {"parameters": parameters(start), "flops": flops(start, shape)}
            yield {**row, "test_accuracy": right_share(net, examples.test), **cost}

    def transfer(self, start: nn.Module, net: nn.Module, examples: Tasks) -> Iterator[Measurement]:
        """New classes told apart by linear models, each with as many trials."""
        held, train, test = examples.new_classes
        for subject, features in ((TRAINED, net[0]), (UNTRAINED, start[0]), (RAW, nn.Flatten())):  # type: ignore[index]
            with torch.no_grad():
                seen = [features.to(part.x.device)(part.x) for part in (held, train, test)]
            mean, sd = seen[1].mean(0), seen[1].std(0).clamp_min(1e-6)
            x, train_x, test_x = ((part - mean) / sd for part in seen)
            models = [
                logistic_regression(train_x, train.y, CLASSES - OLD, iterations=30, ridge=ridge) for ridge in RIDGES
            ]
            best = max(models, key=lambda model: right_share(model, Examples(x, held.y)))
            yield {"subject": subject, "probe_accuracy": right_share(best, Examples(test_x, test.y))}

    claims = [
        *(
            Claim(
                f"({letter}) {what}: at equal {budget} the {better} network gains over 3 points on the {worse} one",
                lambda rows, better=better, worse=worse, budget=budget: step_up(rows, better, worse, budget),
            )
            for letter, what, better, worse in (("a", "locality", LOCAL, FULL), ("c", "sharing", CONV, LOCAL))
            for budget in (SAME_PARAMETERS, SAME_FLOPS)
        ),
        Claim(
            "(b) many filters (25 for signals) gain over 10 points on one, which is a smaller network, too",
            lambda rows: above(accuracy(rows, CONV) - filters_of(rows, 1), MANY_FILTERS),
        ),
        Claim(
            "it is the neighbourhood that counts: with permuted places the convolution loses over 20 points",
            lambda rows: above(shuffle_drop(rows, CONV), SHUFFLE),
            source="Greydanus & Kobak 2024",
        ),
        Claim(
            "trained where curves or images stand still, the convolution keeps over 3 points more than the locally "
            "connected network when they move by six places, which is half a curve's length",
            lambda rows: above(when_moved(rows, CONV, MOVED) - when_moved(rows, LOCAL, MOVED), STEP),
        ),
        Claim(
            "(d) features of other digits transfer: a linear model gains over 3 points on the signal and on features "
            "of an untrained convolution",
            lambda rows: all_of(*(above(probe_gain(rows, over), STEP) for over in (RAW, UNTRAINED))),
        ),
        Control(
            "the fully connected network has no notion of places: permuted ones change it by less than 3 points",
            lambda rows: equivalent(shuffle_drop(rows, FULL), STEP),
            kind="negative",
        ),
        Control(
            "moving matters: trained where curves or images stand still, the fully connected network loses over 20 "
            "points when they move by six places",
            lambda rows: above(when_moved(rows, FULL, 0) - when_moved(rows, FULL, MOVED), SHUFFLE),
            kind="positive",
        ),
        Control("parameters and FLOPs of each ladder differ by less than 3 %", costs_are_equal, kind="gate"),
        Control(
            "the convolution has learnt: test accuracy over 0.6",
            lambda rows: above(accuracy(rows, CONV), LEARNT),
            kind="gate",
        ),
    ]

    def plot(self, rows: pd.DataFrame, figure: Figure, artefacts: Artefacts) -> None:
        figure.set_size_inches(12, 3.6)
        figure.set_layout_engine("constrained")
        bars, order, curve, moves = figure.subplots(1, 4, width_ratios=[1.2, 1.0, 1.0, 1.0])
        draw_ladder(bars, rows)
        draw_order(order, rows)
        draw_curves(curve, rows)
        draw_moves(moves, rows)
        for axes in (bars, order, curve, moves):
            axes.set_ylim(0, 1)
            axes.set_ylabel("test accuracy", fontsize=8)
            axes.tick_params(labelsize=7)


def filters_of(rows: pd.DataFrame, filters: int) -> pd.Series:
    """Test accuracy of the convolution with this many filters, a seed."""
    return where(rows, subject=CONV, budget=OWN, filters=filters).test_accuracy


# ----------------------------------------------------------------------------------------------------------- picture


def drawable(rows: pd.DataFrame, *columns: str) -> bool:
    """All that a part of the picture needs was measured."""
    return {"subject", "budget", "positions", "n", "test_accuracy", *columns} <= set(rows.columns)


def draw_bars(axes: Axes, place: float, values: pd.Series, color: str, **style: object) -> None:
    """A bar of the mean with its interval over seeds."""
    from dlbench import stats

    if not len(values):
        return
    mean, low, high, n = stats.t_interval(values)
    axes.bar(place, mean, 0.8, color=color, **style)  # type: ignore[arg-type]
    axes.text(place, 0.02, f"{100 * mean:.0f}", ha="center", fontsize=7, color="white")
    if n > 1:
        axes.vlines(place, low, high, color="black", linewidth=1)


def draw_ladder(axes: Axes, rows: pd.DataFrame) -> None:
    """Accuracy from fully connected to convolution at both budgets, and of convolutions of fewer filters."""
    places, names = [], []
    if drawable(rows):
        for group, budget in enumerate((SAME_PARAMETERS, SAME_FLOPS)):
            for k, subject in enumerate(LADDER):
                draw_bars(axes, 4 * group + k, accuracy(rows, subject, budget=budget), COLORS[subject])
                places.append(4 * group + k)
                names.append(subject)
            axes.text(4 * group + 1, 0.97, f"equal\n{budget}", ha="center", va="top", fontsize=8)
        for k, filters in enumerate(sorted(where(rows, subject=CONV, budget=OWN).filters.unique())):
            draw_bars(axes, 8 + k, filters_of(rows, filters), "#7FB8DA")
            places.append(8 + k)
            names.append(f"convolution, {filters:g}")
        axes.text(9.5, 0.97, "fewer\nfilters", ha="center", va="top", fontsize=8)
    axes.set_xticks(places, names, rotation=60, ha="right")
    axes.set_title("locality, sharing, filters", fontsize=9)


def draw_order(axes: Axes, rows: pd.DataFrame) -> None:
    """Accuracy with places in order and permuted."""
    if drawable(rows):
        subjects = [s for s in COLORS if len(accuracy(rows, s, PERMUTED))]
        for k, subject in enumerate(subjects):
            draw_bars(axes, 2.5 * k, accuracy(rows, subject), COLORS[subject])
            draw_bars(axes, 2.5 * k + 1, accuracy(rows, subject, PERMUTED), COLORS[subject], alpha=0.5, hatch="//")
        axes.set_xticks([2.5 * k + 0.5 for k in range(len(subjects))], subjects, rotation=60, ha="right")
    axes.set_title("in order | permuted", fontsize=9)


def draw_curves(axes: Axes, rows: pd.DataFrame) -> None:
    """Accuracy against training examples."""
    if drawable(rows):
        for subject in LADDER:
            mine = where(rows[rows.budget.isin((SAME_PARAMETERS, BOTH))], subject=subject, positions=ORDERED)
            sizes = sorted(mine.n.dropna().unique())
            samples = [where(mine, n=n).test_accuracy for n in sizes]
            draw_means(axes, sizes, samples, limits=(0, 1), color=COLORS[subject], marker="o", ms=3, label=subject)
        axes.legend(fontsize="x-small", frameon=False, loc="upper left")
        axes.set_xscale("log")
        sizes = sorted(where(rows, subject=CONV, positions=ORDERED, budget=BOTH).n.dropna().unique())
        axes.set_xticks(sizes, [f"{size:g}" for size in sizes])
        axes.set_xticks([], minor=True)
    axes.set_xlabel("training examples", fontsize=8)
    axes.set_title("fewer examples, equal parameters", fontsize=9)


def draw_moves(axes: Axes, rows: pd.DataFrame) -> None:
    """Accuracy on curves that stand further on than in training."""
    if drawable(rows, "moved"):
        for subject in (*LADDER, POOLED):
            mine = where(rows, subject=subject, positions=STANDING)
            moves = sorted(mine.moved.dropna().unique())
            samples = [where(mine, moved=moved).test_accuracy for moved in moves]
            draw_means(axes, moves, samples, limits=(0, 1), color=COLORS[subject], marker="o", ms=3)
    axes.axhline(1 / CLASSES, color="black", linewidth=0.8, linestyle=":")
    axes.set_xlabel("moved by this many places (curves: of 72)", fontsize=8)
    axes.set_title("trained where they stand still", fontsize=9)
