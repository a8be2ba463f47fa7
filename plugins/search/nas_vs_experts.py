"""Is a network that a search found better than those that people designed, at the same size, recipe and tuning?

The *found* network is the best that the controller of ``nas_controller`` came upon: of three searches on the table of
MNIST-1D children, 150 trainings each, the child with the largest validation accuracy. Against it stand two networks
made by hand: *conv_base*, the three strided convolutions that MNIST-1D was published with, and *lenet*, LeNet-5 (LeCun
et al. 1998) in one dimension. All have the same number of parameters, as their widths are scaled to it. They are
trained by the recipe that the search used, on data that no search has seen, from the same number of starts (perceptrons
from more), at the same learning rates, of which validation chooses one; 4000 more signals test it, once. Accuracies are
means over the starts.

On images (presets ``mnist``, ``cifar10``) the found network is moved from small data to larger, as those of Zoph et al.
were: it is the best of the table's children on scikit-learn's digits, which have 8 × 8 pixels and are not of MNIST.
conv_base has its like in two dimensions; lenet is LeNet-5 with all maps connected, plain pooling and ReLUs, and its
61,706 parameters (for MNIST) are the size at which all are judged: with fewer, a fully connected network cannot come
close to a size. ``mnist`` learns from 6000 digits for 500 steps, at the same two rates and from as many starts as
``quick``; ``cifar10`` from 45,000 images, as long as ``full``.

As gains of searched networks are often gains of their recipe, both the found network and conv_base are also trained as
conv_base was published: Adam at 0.01 throughout, without tuning.

*perceptron* is a positive control: it is known to be worse. *perceptron again* is the same from other starts in another
order. That negative control was to be a second lenet, but after so few steps two starts of a convolutional network
still differ by 5 points (those of a perceptron by 1), which no number of starts that fits in ``quick`` averages out,
so that intervals are wide. Perceptrons, which are cheap, are trained from eight starts each; from two, which version 1
had, their comparison came out undecided (eight were tried on seeds from 100 on).

``quick`` takes as many parameters as conv_base was published with, the two larger rates of four, two starts, less than
half of the search's steps, and as few for the published recipe, in batches of 64 as for the others. ``full`` also takes
a quarter of the parameters, four times as many, and as many as the found network has, all four rates, and trains for
6000 steps, or 8000 with batches of 100 as published. NAS-Bench-201 is left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
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
    equivalent,
    every,
    one_of,
    stats,
    where,
)
from dlbench.cost import parameters
from dlbench.data.mnist1d import mnist1d
from dlbench.stacking import Stack
from dlbench_plugins.images import CLASSES, divided
from dlbench_plugins.networks import as_costly, conv_base, flops, perceptron
from dlbench_plugins.search.children import SPACE, TRAINING_SEEDS, Part, accuracies, build, fit
from dlbench_plugins.search.controllers import Recurrent
from dlbench_plugins.search.landscapes import Tables, of_table, search
from dlbench_plugins.search.methods import incumbents
from dlbench_plugins.search.nas_controller import BATCH, CONTROLLER, SETTINGS
from dlbench_plugins.search.table import of_dataset

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dlbench import Artefacts

FOUND, CONV_BASE, LENET, PERCEPTRON, AGAIN = "found", "conv_base", "lenet", "perceptron", "perceptron again"
EXPERTS = (CONV_BASE, LENET)
KINDS = ((FOUND,), (CONV_BASE,), (LENET,), (PERCEPTRON, AGAIN))  # each of one shape
SEARCHED, PUBLISHED = "of the search", "published"  # recipes
MARGIN = 0.005  # of test accuracy that counts
PUBLISHED_SIZE = 5210  # parameters of conv_base as published
LENET_SIZE = {"mnist": 61_706, "cifar10": 62_006}  # of lenet with 120 units
JUDGED = (PUBLISHED_SIZE, *LENET_SIZE.values())  # on curves, and on each data set of images
SEEN_BY_LENET = 32  # height and width of what it sees, with a margin of zeros


class Recipe(NamedTuple):
    """How networks are trained; validation chooses among the rates, which fall to 0 or stay."""

    name: str
    rates: Sequence[float]
    steps: int
    batch_size: int
    falls: bool


class Run(NamedTuple):
    """One network from several starts, each with the seed of the order of its examples, by a recipe."""

    nets: Sequence[nn.Module]
    orders: Sequence[int]
    recipe: Recipe
    setting: dict[str, Any]


class Task(NamedTuple):
    """Examples [1, n, *shape] and labels [1, n]."""

    train: Part
    validation: Part
    test: Part


# ------------------------------------------------------------------------------------------------ rows that rules see


def gain(rows: pd.DataFrame, subject: str, other: str, *, recipe: str = SEARCHED) -> pd.Series:
    """Test accuracy of one network less that of another, a seed."""
    rows = where(rows, recipe=recipe)
    return where(rows, subject=subject).test_accuracy - where(rows, subject=other).test_accuracy


def at_judged_size(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of networks with as many parameters as conv_base was published with, on images as LeNet-5 has."""
    return rows[rows["size"].isin(JUDGED)]


def cifar10(subject: str, error: float, sd: float | None = None) -> Reference:
    """A published test error on CIFAR-10, in percent."""
    setting = {"subject": subject, "data": "cifar10"}
    spread = None if sd is None else sd / 100
    return Reference("test_accuracy", 1 - error / 100, "Li & Talwalkar 2019, table 1", setting, sd=spread)


@dataclass(frozen=True)
class NASvsExperts(Experiment):
    """Test accuracy of a searched network and of networks made by hand, at equal parameters, recipe and tuning."""

    dataset: str = one_of("mnist1d", "mnist", "cifar10", default="mnist1d")
    sizes: tuple[int, ...] = between(0, 10**7, default=(PUBLISHED_SIZE,))  # parameters; 0: the found network's
    evaluations: int = between(10, 10_000, default=150)  # trainings of a search
    train_size: int = between(20, 10**6, default=3000)
    validation: int = between(20, 10**6, default=500)
    test: int = between(20, 10**6, default=4000)
    starts: int = between(1, 100, default=2)
    control_starts: int = between(1, 100, default=8)  # of perceptrons
    rates: tuple[float, ...] = between(1e-6, 1.0, default=(0.01, 0.03))
    steps: int = between(1, 10**6, default=120)
    published_steps: int = between(1, 10**6, default=120)
    published_batch: int = between(1, 10**4, default=64)

    version = 3  # a gate asks for equal parameters
    title = "Networks that a search designed beat those that experts designed"
    chapter = "search"
    sources = (
        "Zoph, Vasudevan, Shlens & Le, Learning transferable architectures, CVPR 2018, arXiv:1707.07012",
        "Li & Talwalkar, Random search and reproducibility for NAS, UAI 2019, arXiv:1902.07638",
        "Greydanus & Kobak, Scaling down deep learning with MNIST-1D, ICML 2024, arXiv:2011.14439",
        "LeCun et al., Gradient-based learning applied to document recognition, Proceedings of the IEEE 1998",
    )
    metrics = {
        "test_accuracy": Metric("test accuracy", "1", "higher", True, 0, 1),
        "validation_accuracy": Metric("validation accuracy at the chosen rate", better="higher", low=0, high=1),
        "parameters": Metric("parameters", better="lower", low=1),
        "flops": Metric("of one answer", "FLOP", "lower", low=1),
        "rate": Metric("learning rate that validation chose", low=0),
        "search_seconds": Metric("CPU time of all trainings that the search asked for", "s", "lower", low=0),
    }
    presets = {
        "quick": {},
        "full": {
            "sizes": (0, 1300, PUBLISHED_SIZE, 20_000),
            "train_size": 4000,
            "validation": 1000,
            "rates": SPACE.slots["rate"],
            "steps": 6000,
            "published_steps": 8000,
            "published_batch": 100,
        },
        "mnist": {
            "dataset": "mnist",
            "sizes": (LENET_SIZE["mnist"],),
            "train_size": 6000,
            "validation": 1500,
            "test": 10_000,
            "steps": 500,
            "published_steps": 500,
            "published_batch": 100,
        },
        "cifar10": {
            "dataset": "cifar10",
            "sizes": (LENET_SIZE["cifar10"],),
            "train_size": 45_000,
            "validation": 5000,
            "test": 10_000,
            "rates": SPACE.slots["rate"],
            "steps": 6000,
            "published_steps": 8000,
            "published_batch": 100,
        },
    }
    references = (
        Reference(
            "test_accuracy",
            0.94,
            "Greydanus & Kobak 2024",
            {"dataset": "mnist1d", "subject": CONV_BASE, "recipe": PUBLISHED, "steps": 8000, "size": PUBLISHED_SIZE},
            note="rounded, one run, 1000 test signals",
        ),
        Reference(
            "test_accuracy",
            0.9905,
            "LeCun et al. 1998",
            {"dataset": "mnist", "subject": LENET, "recipe": SEARCHED, "size": LENET_SIZE["mnist"]},
            note="60,000 digits, 20 passes; its maps were connected in part, its units no ReLUs; fewer digits here",
        ),
        cifar10("Shake-Shake, by hand", 2.56),
        cifar10("PyramidNet, by hand", 2.31),
        cifar10("NASNet-A", 2.65),
        cifar10("AmoebaNet-B", 2.55, 0.05),
        cifar10("ENAS", 2.89),
        cifar10("random search", 3.29, 0.15),
    )

    def datasets(self) -> tuple[str, ...]:
        return ("nas_children",) if self.dataset == "mnist1d" else ("nas_children", self.dataset)

    def trial(self, context: Context) -> Iterator[Measurement]:
        choices, seconds = self.found(context)
        task = self.task(context)
        of_search = Recipe(SEARCHED, self.rates, self.steps, 64, falls=True)
        by_authors = Recipe(PUBLISHED, (0.01,), self.published_steps, self.published_batch, falls=False)
        for done, size in enumerate(self.sizes):
            context.progress(done / len(self.sizes), f"{size} parameters")
            make = makers(choices, task.train[0].shape[2:])
            target = size or parameters(make[FOUND](choices["width"]))
            subjects = make if size in JUDGED else (FOUND, *EXPERTS)
            for kind in KINDS:
                setting = {"size": size, **({"child": described(choices)} if kind == (FOUND,) else {})}
                runs = [self.run(context, s, make[s], target, of_search, setting) for s in kind if s in subjects]
                if size in JUDGED and kind[0] in (FOUND, CONV_BASE):
                    runs.append(self.run(context, kind[0], make[kind[0]], target, by_authors, setting))
                for _, alike in groupby(runs, lambda run: (run.recipe.steps, run.recipe.batch_size)):
                    for row in trained(list(alike), task):
                        yield {**row, "search_seconds": seconds} if kind == (FOUND,) else row

    def run(
        self,
        context: Context,
        subject: str,
        make: Callable[[int], nn.Module],
        target: int,
        recipe: Recipe,
        setting: dict[str, Any],
    ) -> Run:
        """A subject with about ``target`` parameters, from the same starts by every recipe."""
        width, nets = as_costly(make, parameters, target), []
        starts = range(self.control_starts if subject in (PERCEPTRON, AGAIN) else self.starts)
        for start in starts:
            with context.seeded("init", subject, start):
                nets.append(make(width))
        setting = {"subject": subject, "recipe": recipe.name, "steps": recipe.steps, **setting}
        return Run(nets, [context.integer("order", subject, start) for start in starts], recipe, setting)

    def found(self, context: Context) -> tuple[dict[str, Any], float]:
        """What the best child of three searches takes, one on each training seed, and the CPU seconds they cost."""
        table = of_dataset(context.data("nas_children"), "mnist1d" if self.dataset == "mnist1d" else "digits")
        source = Tables(of_table(table, TRAINING_SEEDS), context.rng("unused"))
        generator = context.generator("search")
        controller = Recurrent(SPACE, TRAINING_SEEDS, generator, batch=BATCH, **SETTINGS[CONTROLLER][0])
        (children,), (values,) = search(source, [controller], self.evaluations, lambda share, note: None)
        best = incumbents(children, values)[values.max(1).argmax(), -1]
        return SPACE.choices(int(best)), float(table["seconds"][children, np.arange(TRAINING_SEEDS)[:, None]].sum())

    def task(self, context: Context) -> Task:
        """Examples that no search has seen, of mean 0 and deviation 1 over those to train with."""
        sizes = (self.train_size, self.validation)
        if self.dataset == "mnist1d":
            x, y = mnist1d(sum(sizes) + self.test, context.rng("signals"))
            parts = list(zip(np.split(x, np.cumsum(sizes)), np.split(y, np.cumsum(sizes)), strict=True))
        else:
            parts = divided(self.dataset, sizes, context)
            parts[-1] = tuple(of[: self.test] for of in parts[-1])
        mean, sd = parts[0][0].mean(), parts[0][0].std()
        tensors = ((torch.from_numpy((x - mean) / sd), torch.from_numpy(y)) for x, y in parts)
        return Task(*((x[None].to(context.device), y[None].to(context.device)) for x, y in tensors))

    claims = [
        Claim(
            "at equal parameters, recipe and tuning the found network beats every one made by hand by over 0.5 points",
            lambda rows: every(
                rows,
                "size",
                lambda r: every(
                    r[r.subject.isin(EXPERTS)],
                    "subject",
                    lambda e: above(
                        (
                            where(r, subject=FOUND, recipe=SEARCHED).test_accuracy
                            - where(e, recipe=SEARCHED).test_accuracy
                        ).dropna(),
                        MARGIN,
                    ),
                ),
            ),
            source="Zoph et al. 2018",
        ),
        Claim(
            "it beats conv_base, at the size that is judged",
            lambda rows: above(gain(at_judged_size(rows), FOUND, CONV_BASE), MARGIN),
        ),
        Claim(
            "it beats lenet, at that size",
            lambda rows: above(gain(at_judged_size(rows), FOUND, LENET), MARGIN),
        ),
        Claim(
            "it beats conv_base trained as conv_base was published",
            lambda rows: above(gain(at_judged_size(rows), FOUND, CONV_BASE, recipe=PUBLISHED), MARGIN),
        ),
        Claim(
            "the recipe does more than the search: conv_base gains more from the recipe of the search than the found "
            "network is ahead of it",
            lambda rows: above(
                gain_of_recipe(at_judged_size(rows), CONV_BASE) - gain(at_judged_size(rows), FOUND, CONV_BASE), 0.0
            ),
            source="Li & Talwalkar 2019",
        ),
        Control(
            "conv_base beats a perceptron with as many parameters by over 0.5 points",
            lambda rows: above(gain(at_judged_size(rows), CONV_BASE, PERCEPTRON), MARGIN),
            kind="positive",
        ),
        Control(
            "a perceptron from other starts is as good: within 2 points",
            lambda rows: equivalent(gain(at_judged_size(rows), AGAIN, PERCEPTRON), 0.02),
            kind="negative",
        ),
        Control(
            "networks of all designs have learnt: test accuracy over 0.4, at the size that is judged",
            lambda rows: every(
                where(at_judged_size(rows)[at_judged_size(rows).subject.isin((FOUND, *EXPERTS))], recipe=SEARCHED),
                "subject",
                lambda r: above(r.test_accuracy, 0.4),
            ),
            kind="gate",
        ),
        Control(
            "parameters are equal: all within 10 % of the size that is judged",
            lambda rows: every(
                at_judged_size(rows),
                ["subject", "recipe"],
                lambda r: all_of(above(r.parameters / r["size"], 0.9), below(r.parameters / r["size"], 1.1)),
            ),
            kind="gate",
        ),
    ]  # fmt: skip

    def plot(self, rows: pd.DataFrame, figure: Figure, artefacts: Artefacts) -> None:
        figure.set_size_inches(9, 4)
        figure.set_layout_engine("constrained")
        dots, sizes = figure.subplots(1, 2, width_ratios=[1.2, 1.0])
        draw_pairs(dots, rows)
        draw_sizes(sizes, rows)


def gain_of_recipe(rows: pd.DataFrame, subject: str) -> pd.Series:
    """Test accuracy by the recipe of the search less that by the published one, a seed."""
    rows = where(rows, subject=subject)
    return where(rows, recipe=SEARCHED).test_accuracy - where(rows, recipe=PUBLISHED).test_accuracy


# -------------------------------------------------------------------------------------------------------------- parts


def makers(choices: dict[str, Any], shape: Sequence[int]) -> dict[str, Callable[[int], nn.Module]]:
    """Subject → a network of a given width, for examples of a shape."""
    features = math.prod(shape)
    return {
        FOUND: lambda width: build({**choices, "width": width}, shape),
        CONV_BASE: lambda width: conv_base(shape, CLASSES, channels=width),
        LENET: lambda width: lenet(shape, width),
        **dict.fromkeys(
            (PERCEPTRON, AGAIN),
            lambda width: nn.Sequential(nn.Flatten(), *perceptron([features, width, width, CLASSES])),
        ),
    }


def lenet(shape: Sequence[int], width: int) -> nn.Sequential:
    """LeNet-5 with ReLUs, all maps connected and plain pooling, for images, or in one dimension.

    A width of 120 gives its 6 and 16 channels and its 120 and 84 units. Images get a margin of zeros, here their mean.
    """
    first, second, fourth = (max(1, round(width * of / 120)) for of in (6, 16, 84))
    channels, *lengths = shape if len(shape) == 3 else (1, *shape)
    layers: list[nn.Module]
    if len(lengths) == 1:
        layers = [nn.Unflatten(1, (1, *shape))]
        layers += [nn.Conv1d(1, first, 5), nn.ReLU(), nn.AvgPool1d(2)]
        layers += [nn.Conv1d(first, second, 5), nn.ReLU(), nn.AvgPool1d(2)]
    else:
        margin, lengths = (SEEN_BY_LENET - lengths[0]) // 2, [SEEN_BY_LENET] * 2
        layers = [nn.Conv2d(channels, first, 5, padding=margin), nn.ReLU(), nn.AvgPool2d(2)]
        layers += [nn.Conv2d(first, second, 5), nn.ReLU(), nn.AvgPool2d(2)]
    places = math.prod(((length - 4) // 2 - 4) // 2 for length in lengths)
    return nn.Sequential(*layers, nn.Flatten(), *perceptron([places * second, width, fourth, CLASSES]))


def described(choices: dict[str, Any]) -> str:
    """A child in words, without the width and the rate, which are chosen anew."""
    return ", ".join(f"{slot} {choice}" for slot, choice in choices.items() if slot not in ("width", "rate"))


def trained(runs: Sequence[Run], task: Task) -> Iterator[dict[str, Any]]:
    """What runs of one shape come to at the rates that validation chooses, in the mean over their starts."""
    device, recipe = task.train[1].device, runs[0].recipe
    fits = [(run, rate, start) for run in runs for rate in run.recipe.rates for start in range(len(run.nets))]
    stack = Stack([run.nets[start] for run, _, start in fits]).to(device)
    own = torch.zeros(len(fits), dtype=torch.int64, device=device)
    rates = torch.tensor([rate for _, rate, _ in fits], device=device)
    falls = torch.tensor([float(run.recipe.falls) for run, _, _ in fits], device=device)
    orders = [torch.Generator().manual_seed(run.orders[start]) for run, _, start in fits]
    for _ in fit(stack, rates, task.train, own, orders, steps=recipe.steps, batch_size=recipe.batch_size,
                 schedule=lambda share: 1 - share * falls):  # fmt: skip
        pass
    validation, first = accuracies(stack, task.validation, own), 0
    for run in runs:
        tried, starts = len(run.recipe.rates), len(run.nets)
        of_rates = validation[first : first + tried * starts].view(tried, starts).mean(1)
        best = int(of_rates.argmax())
        chosen = Stack([stack[first + best * starts + start] for start in range(starts)])
        yield {
            **run.setting,
            "test_accuracy": float(accuracies(chosen, task.test, own[:starts]).mean()),
            "validation_accuracy": float(of_rates[best]),
            "parameters": parameters(run.nets[0]),
            "flops": flops(run.nets[0], task.train[0].shape[2:]),
            "rate": run.recipe.rates[best],
        }
        first += tried * starts


# ------------------------------------------------------------------------------------------------------------ picture

COLORS = {FOUND: "#D55E00", CONV_BASE: "#0072B2", LENET: "#009E73", PERCEPTRON: "#999999", AGAIN: "#CC79A7"}


def draw_pairs(axes: Axes, rows: pd.DataFrame) -> None:
    """Test accuracy of each seed, joined from network to network, with the published number of parameters."""
    arms = [
        (FOUND, SEARCHED), (CONV_BASE, SEARCHED), (LENET, SEARCHED), (PERCEPTRON, SEARCHED), (AGAIN, SEARCHED),
        (FOUND, PUBLISHED), (CONV_BASE, PUBLISHED),
    ]  # fmt: skip
    if {"size", "subject", "recipe"} <= set(rows.columns):
        rows = at_judged_size(rows)
        values = {arm: where(rows, subject=arm[0], recipe=arm[1]).test_accuracy for arm in arms}
        for part in (arms[:5], arms[5:]):
            places = [arms.index(arm) for arm in part]
            for seed in rows.index.unique():
                axes.plot(places, [100 * values[arm].get(seed, np.nan) for arm in part], color="#cccccc", linewidth=0.8)
        for place, (arm, of) in enumerate(values.items()):
            axes.plot([place] * len(of), 100 * of, "o", markersize=4, color=COLORS[arm[0]])
            if len(of) > 1:
                mean, low, high, _ = stats.t_interval(100 * of)
                axes.errorbar(place + 0.2, mean, [[mean - low], [high - mean]], fmt="_", color=COLORS[arm[0]])
    axes.axvline(4.5, color="black", linewidth=0.6)
    axes.set_xticks(range(len(arms)), [arm[0] for arm in arms], rotation=40, ha="right", fontsize=8)
    axes.set_xlim(-0.5, len(arms) - 0.3)
    axes.set_title("recipe of the search, and as published", fontsize=9)
    axes.set_ylabel("test accuracy (%)")


def draw_sizes(axes: Axes, rows: pd.DataFrame) -> None:
    """Mean test accuracy against parameters, or against FLOPs where all have as many, by the recipe of the search."""
    cost = "parameters"
    if {"size", "subject", "recipe"} <= set(rows.columns):
        cost = "parameters" if rows["size"].nunique() > 1 else "flops"
        for subject, color in COLORS.items():
            mine = where(rows, subject=subject, recipe=SEARCHED)
            if not len(mine):
                continue
            means = mine.groupby("size")[[cost, "test_accuracy"]].mean().sort_values(cost)
            axes.plot(means[cost], 100 * means.test_accuracy, "o-", color=color, label=subject, markersize=4)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize="x-small", frameon=False)
    axes.set_title("the recipe of the search", fontsize=9)
    if cost == "parameters":
        axes.set_xscale("log")
    axes.set(xlabel=cost if cost == "parameters" else "FLOPs of one answer", ylabel="test accuracy (%)")
