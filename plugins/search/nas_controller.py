"""A controller learns by reinforcement which networks to try. Does it find better ones than chance does?

Zoph & Le (ICLR 2017) let a recurrent network, the controller, sample the choices that describe a child network one
after another; the child is trained, its validation accuracy is the reward, and REINFORCE changes the controller. Here a
child has six choices (its kind of layer, depth, width, activation, normalisation and learning rate), 576 children in
all, of MNIST-1D and of scikit-learn's digits. Every child was really trained three times; the table of what came out
lies beside this file and says how it was made. ``--preset table`` trains them all again and searches the new table.

The controller is an LSTM of 32 units. Against it stand: *independent*, a policy that gives each slot probabilities of
its own; *random*; *evolution* (regularised); *tpe*; *local* search; *asha*, which stops children early; and *largest*,
which asks for children from the most parameters to the fewest. ``--preset automl`` adds Optuna's TPE.

Each search has 150 trainings. It is told the validation accuracy of one training of the child asked for. Its regret is
how much test accuracy, the mean of the three trainings, the child that it takes for the best lacks to the best of all.
30 searches of each method make a trial; what the seeds vary is chance in the search, as the table is one and the same:
intervals say nothing about other tables, of which ``--preset table`` makes one a seed.

Where a method has settings it got the best of six (two of them for each of three) on made landscapes of development
seeds, by mean regret over the search; nobody has searched the table for them. ``--preset tuning`` repeats that.

Two more landscapes are controls: *separable*, where every choice adds its effect and validation tells the truth; and
*noise*, where validation is drawn anew each time and means nothing. ``--preset live`` has no table: children are
trained when they are asked for, in parallel processes, and the best of all is the best that any search has found; it
has no controls, so that its claims stay open.

NAS-Bench-201, whose published results are given beside, is not searched here: its file has 2 GB.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

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
    every,
    one_of,
    stats,
    where,
)
from dlbench.errors import ParameterError
from dlbench_plugins.search.children import RECIPES, SPACE, TRAINING_SEEDS, Child, kin, trained
from dlbench_plugins.search.controllers import Controller, Independent, Recurrent
from dlbench_plugins.search.landscapes import Source, Tables, joined, made, of_table, search
from dlbench_plugins.search.live import Live
from dlbench_plugins.search.methods import (
    TPE,
    Evolution,
    InOrder,
    Local,
    Method,
    Optuna,
    Random,
    Values,
    halved,
    incumbents,
)
from dlbench_plugins.search.space import Numbers
from dlbench_plugins.search.table import Table, of_dataset, row, tables

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

    from dlbench import Artefacts, Verdict

SMALLEST = 0.001  # of differences of accuracy that count
CONTROLLER, INDEPENDENT, RANDOM, EVOLUTION = "controller", "independent", "random", "evolution"
PARZEN, LOCAL, ASHA, LARGEST, OPTUNA = "tpe", "local", "asha", "largest", "optuna"
CONTROLLERS = {CONTROLLER: Recurrent, INDEPENDENT: Independent}
OTHERS = {EVOLUTION: Evolution, PARZEN: TPE, LOCAL: Local}
Key = tuple[str, str]  # a method and its setting
MADE = ("separable", "noise", "tuning")

SETTINGS: dict[str, list[dict[str, Any]]] = {  # six each; the first was chosen
    CONTROLLER: [{"rate": rate, "entropy": bonus} for rate in (0.02, 0.01, 0.04) for bonus in (0.01, 0.003)],
    INDEPENDENT: [{"rate": rate, "entropy": bonus} for rate in (0.2, 0.1, 0.4) for bonus in (0.01, 0.003)],
    EVOLUTION: [{"population": n, "sample": n // part} for n in (20, 10, 40) for part in (2, 4)],
    PARZEN: [{"share": share, "candidates": n} for share in (0.2, 0.1, 0.3) for n in (24, 8)],
    LOCAL: [{"starts": n} for n in (3, 1, 5, 10, 20, 40)],
}
BATCH = 5  # children between two steps of a controller


# ------------------------------------------------------------------------------------------------ rows that rules see


def trained_landscapes(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of children that were really trained."""
    return rows[rows.landscape.isin(RECIPES)]


def at_the_end(rows: pd.DataFrame, method: str) -> pd.DataFrame:
    """The rows of a method after its last training."""
    rows = where(rows, subject=method)
    return rows[rows.evaluations == rows.evaluations.max()]


def lag(rows: pd.DataFrame, method: str, other: str, metric: str = "regret") -> pd.Series:
    """By how much more a method lacks than another, a seed."""
    return at_the_end(rows, method)[metric] - at_the_end(rows, other)[metric]


def on_each(rows: pd.DataFrame, rule: Callable[[pd.DataFrame], Verdict]) -> Verdict:
    """The rule on every data set."""
    return every(trained_landscapes(rows), "landscape", rule)


def published(subject: str, data: str, accuracy: float, sd: float | None = None, note: str = "") -> Reference:
    """A result on NAS-Bench-201, test accuracy of the cell found."""
    setting = {"subject": subject, "landscape": f"nasbench201_{data}"}
    n = 500 if sd is not None else None
    return Reference("test_accuracy", accuracy / 100, "Dong & Yang 2020, NAS-Bench-201", setting,
                     sd=None if sd is None else sd / 100, n=n, note=note)  # fmt: skip


@dataclass(frozen=True)
class NASController(Experiment):
    """Regret of test accuracy against trainings, of a controller and of seven other ways of searching."""

    source: str = one_of("shipped", "trained", "live", default="shipped")
    landscapes: tuple[str, ...] = one_of(*RECIPES, *MADE, default=(*RECIPES, "separable", "noise"))
    evaluations: int = between(10, 10_000, default=150)
    searches: int = between(1, 10_000, default=30)  # of each method, on each landscape
    settings: str = one_of("chosen", "all", default="chosen")
    extra: tuple[str, ...] = one_of(OPTUNA, default=())
    longer: int = between(1, 1000, default=1)  # times as many steps, of children trained here
    workers: int = between(1, 256, default=2)  # processes that train, live

    title = "A controller network learns to design networks"
    chapter = "search"
    sources = (
        "Zoph & Le, Neural architecture search with reinforcement learning, ICLR 2017, arXiv:1611.01578",
        "Dong & Yang, NAS-Bench-201, ICLR 2020, arXiv:2001.00326",
        "Real et al., Regularized evolution for image classifier architecture search, AAAI 2019, arXiv:1802.01548",
        "Li & Talwalkar, Random search and reproducibility for NAS, UAI 2019, arXiv:1902.07638",
        "White, Nolen & Savani, Exploring the loss landscape in neural architecture search, UAI 2021, arXiv:2005.02960",
        "Bergstra et al., Algorithms for hyper-parameter optimization, NeurIPS 2011",
        "Li et al., A system for massively parallel hyperparameter tuning, MLSys 2020, arXiv:1810.05934",
    )
    metrics = {
        "regret": Metric("test accuracy that the best child found lacks to the best of all", "1", "lower", True, 0, 1),
        "area": Metric("mean regret over the whole search", better="lower", low=0, high=1),
        "test_accuracy": Metric("test accuracy of the best child found, the mean of trainings", low=0, high=1),
        "reward_slope": Metric("by how much rewards rise in 100 trainings", better="higher"),
        "repeats": Metric("share of trainings of a child that had been trained before", low=0, high=1),
        "kendall_tau": Metric("rank correlation of validation, one training, and test, their mean", low=-1, high=1),
        "validation": Metric("validation accuracy of a training", low=0, high=1),
        "validation_ninth": Metric("the same after a ninth of the steps", low=0, high=1),
        "validation_third": Metric("the same after a third of the steps", low=0, high=1),
        "test": Metric("test accuracy of a training", low=0, high=1),
        "parameters": Metric("parameters of a child", low=1),
        "flops": Metric("of one answer of a child", "FLOP", low=1),
        "seconds": Metric("CPU time of a training", "s", "lower", low=0, timed=True),
    }
    presets = {
        "quick": {},
        "table": {"source": "trained"},
        "live": {"source": "live", "landscapes": ("digits",), "evaluations": 30, "searches": 3},
        "tuning": {"landscapes": ("tuning",), "settings": "all"},
        "automl": {"extra": (OPTUNA,)},
        "full": {"source": "trained", "longer": 10, "evaluations": 300, "searches": 100},
    }
    references = (
        published(RANDOM, "cifar10", 93.70, 0.36),
        published(CONTROLLER, "cifar10", 93.85, 0.37, "REINFORCE; a hand-made ResNet 93.97, the best cell 94.37"),
        published("ResNet", "cifar10", 93.97),
        published(CONTROLLER, "cifar100", 71.71, 1.09),
        published(CONTROLLER, "imagenet16", 45.24, 1.18),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.source == "live" and (len(self.landscapes) != 1 or self.landscapes[0] not in RECIPES):
            wanted = " or ".join(RECIPES)
            raise ParameterError(f"landscapes is {self.landscapes}; live, children are trained on one of {wanted}")

    @property
    def real(self) -> list[str]:
        """The data sets to search."""
        return [name for name in self.landscapes if name in RECIPES]

    def datasets(self) -> tuple[str, ...]:
        if self.source == "shipped":
            return ("nas_children",) if self.real else ()
        return ("digits",) if "digits" in self.real else ()

    def trial(self, context: Context) -> Iterator[Measurement]:
        if self.source == "live":
            with Live(self.real[0], self.searches, context.seed, self.workers) as live:
                yield from self.compared(self.real, live, self.methods(self.searches, context), {}, context)
            return
        known: dict[str, Table] = {}
        if self.source == "shipped":
            known = {name: of_dataset(context.data("nas_children"), name) for name in self.real}
        elif self.real:
            trainings = list(self.children(context))
            yield from ({"subject": "child", **training} for training in trainings)
            known = tables(trainings)
        for name, table in known.items():
            for seed in range(TRAINING_SEEDS):
                tau = kendall_tau(table["validation"][:, seed], table["test"].mean(1))
                yield {"subject": "table", "landscape": name, "training_seed": seed, "kendall_tau": tau}
                best = int(table["test"].mean(1).argmax())
                became = Child(*(float(table[field][best, seed]) for field in Child._fields))
                yield {"subject": "best child", **row(name, best, seed, became)}
        landscapes = {name: of_table(table, self.searches) for name, table in known.items()}
        for name in self.landscapes:
            if name in MADE:
                landscapes[name] = made(name, SPACE, self.searches, context.rng("landscape", name))
        landscape = joined(list(landscapes.values()))
        methods = self.methods(len(landscape.worth), context)
        methods[LARGEST, ""] = InOrder(SPACE, len(landscape.worth), context.rng(LARGEST), order=landscape.order)
        halving = {}
        for name in known:
            order = np.tile(np.arange(len(SPACE)), (self.searches, 1))
            order = context.rng("search", ASHA, name).permuted(order, axis=1)
            halving[name] = halved(landscapes[name].seen, order, budget=self.evaluations)
        source = Tables(landscape, context.rng("jitter"))
        yield from self.compared(list(landscapes), source, methods, halving, context)

    def children(self, context: Context) -> Iterator[dict[str, Any]]:
        """Every child of the data sets, trained: a row a training, as in the table."""
        groups = [(name, group) for name in self.real for group in kin()]
        for done, (name, group) in enumerate(groups):
            context.progress(0.95 * done / len(groups), f"children on {name}")
            recipe = replace(RECIPES[name], steps=self.longer * RECIPES[name].steps)
            for child, seed, became in trained(name, recipe, group, range(TRAINING_SEEDS), context):
                yield row(name, child, seed, became)

    def methods(self, searches: int, context: Context) -> dict[Key, Method]:
        """All methods but those that need a table, for as many searches."""
        methods: dict[Key, Method] = {}
        for name, settings in SETTINGS.items():
            for setting in settings if self.settings == "all" else settings[:1]:
                text = ", ".join(f"{key} {value:g}" for key, value in setting.items())
                if name in CONTROLLERS:
                    generator = context.generator("search", name)
                    methods[name, text] = CONTROLLERS[name](SPACE, searches, generator, batch=BATCH, **setting)
                else:
                    methods[name, text] = OTHERS[name](SPACE, searches, context.rng("search", name), **setting)
        methods[RANDOM, ""] = Random(SPACE, searches, context.rng("search", RANDOM))
        if OPTUNA in self.extra:
            methods[OPTUNA, ""] = Optuna(SPACE, searches, context.rng("search", OPTUNA))
        return methods

    def compared(
        self,
        landscapes: Sequence[str],
        source: Source,
        methods: dict[Key, Method],
        halving: dict[str, Numbers],
        context: Context,
    ) -> Iterator[Measurement]:
        """All methods search, on each landscape in turn; what they found, and what halving had found by then."""
        children, values = search(source, list(methods.values()), self.evaluations, context.progress)
        found = {key: incumbents(children[k], values[k]) for k, key in enumerate(methods)}
        if halving:  # of the landscapes that are searched first
            found[ASHA, ""] = np.zeros_like(children[0])
            found[ASHA, ""][: len(halving) * self.searches] = np.concatenate(list(halving.values()))
        counts = np.unique(np.linspace(0, self.evaluations, 16, dtype=int)[1:])
        worth = np.stack([source.test(np.stack([of[:, n - 1] for of in found.values()])) for n in counts], axis=2)
        regret = source.best()[:, None] - worth  # [methods, searches, counts]
        for number, name in enumerate(landscapes):
            mine = slice(number * self.searches, (number + 1) * self.searches)
            for k, (subject, setting) in enumerate(found):
                if subject == ASHA and name not in halving:
                    continue
                lost, got = regret[k, mine].mean(0), worth[k, mine].mean(0)
                common = {"subject": subject, "landscape": name, "setting": setting}
                for n, more, accuracy in zip(counts[:-1], lost[:-1], got[:-1], strict=True):
                    yield {**common, "evaluations": n, "regret": more, "test_accuracy": accuracy}
                final = {"regret": lost[-1], "test_accuracy": got[-1], "area": lost.mean()}
                if subject != ASHA:
                    final |= conduct(children[k, mine], values[k, mine])
                    context.keep(f"rewards {name} {subject} {setting}", values[k, mine].mean(0))
                yield {**common, "evaluations": self.evaluations, **final}
            for (subject, setting), method in methods.items():
                if isinstance(method, Controller):
                    policy = np.stack(method.probabilities)[:, mine].mean(1)  # [steps, choices]
                    context.keep(f"policy {name} {subject} {setting}", policy)

    claims = [
        Claim(
            "(a) the controller learns: the children that it asks for get better from training to training",
            lambda rows: on_each(rows, lambda r: above(at_the_end(r, CONTROLLER).reward_slope, 0.0)),
            source="Zoph & Le 2017",
        ),
        Claim(
            "(b) after as many trainings it has found better children than random search, by over 0.1 points",
            lambda rows: on_each(rows, lambda r: below(lag(r, CONTROLLER, RANDOM), -SMALLEST)),
            source="Zoph & Le 2017; not so by Li & Talwalkar 2019",
        ),
        Claim(
            "(b) on MNIST-1D",
            lambda rows: below(lag(where(rows, landscape="mnist1d"), CONTROLLER, RANDOM), -SMALLEST),
        ),
        Claim(
            "(b) and so it has on the way, by mean regret over the whole search",
            lambda rows: on_each(rows, lambda r: below(lag(r, CONTROLLER, RANDOM, "area"), -SMALLEST)),
        ),
        Claim(
            "(c) choosing one after another is as good as choosing each on its own, or better: regret is at most 0.1 "
            "points larger",
            lambda rows: on_each(rows, lambda r: below(lag(r, CONTROLLER, INDEPENDENT), SMALLEST)),
        ),
        Claim(
            "regularised evolution finds good children faster than the controller: less mean regret over the search",
            lambda rows: on_each(rows, lambda r: above(lag(r, CONTROLLER, EVOLUTION, "area"), 0.0)),
            source="Real et al. 2019",
        ),
        Control(
            "where choices add up and validation tells the truth the controller learns, and beats random search by "
            "over 0.1 points",
            lambda rows: all_of(
                above(at_the_end(where(rows, landscape="separable"), CONTROLLER).reward_slope, 0.0),
                below(lag(where(rows, landscape="separable"), CONTROLLER, RANDOM), -SMALLEST),
            ),
            kind="positive",
        ),
        Control(
            "where validation is noise the controller's rewards stay (±0.2 points in 100 trainings), and it is no "
            "better and no worse than random search (±1 point)",
            lambda rows: all_of(
                equivalent(at_the_end(where(rows, landscape="noise"), CONTROLLER).reward_slope, 0.002),
                equivalent(lag(where(rows, landscape="noise"), CONTROLLER, RANDOM), 0.01),
            ),
            kind="negative",
        ),
        Control(
            "validation accuracy of one training ranks children much like mean test accuracy: Kendall's tau is above "
            "0.5",
            lambda rows: every(
                where(rows, subject="table"),
                "landscape",
                lambda r: above(r.kendall_tau.groupby(level=0).mean(), 0.5),
            ),
            kind="gate",
        ),
    ]  # fmt: skip

    def plot(self, rows: pd.DataFrame, figure: Figure, artefacts: Artefacts) -> None:
        figure.set_size_inches(11, 8)
        figure.set_layout_engine("constrained")
        names = self.real or [self.landscapes[0]]
        top, bottom = figure.subfigures(2, 1, height_ratios=[1.0, 1.1])
        panels = top.subplots(1, 2 * len(names), width_ratios=[1.4, 1.0] * len(names), squeeze=False)[0]
        for axes, name in zip(panels[::2], names, strict=True):
            draw_regret(axes, rows, name)
        for axes, name in zip(panels[1::2], names, strict=True):
            draw_rewards(axes, artefacts, name)
        for axes in panels[:2]:
            if axes.get_legend_handles_labels()[0]:
                axes.legend(fontsize="x-small", frameon=False)
        image = None
        maps = bottom.subplots(1, len(names), squeeze=False)[0]
        for axes, name in zip(maps, names, strict=True):
            image = draw_policy(axes, artefacts, name, steps=max(1, self.evaluations // BATCH)) or image
            axes.tick_params(labelleft=axes is maps[0])
        if image is not None:
            bottom.colorbar(image, ax=list(maps), label="probability in the controller", pad=0.01)


# -------------------------------------------------------------------------------------------------------------- parts


def kendall_tau(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Kendall's tau-b of two rankings [n]."""
    from scipy.stats import kendalltau

    return float(kendalltau(a, b).statistic)


def conduct(children: Numbers, values: Values) -> dict[str, float]:
    """How searches of one method went, [searches, evaluations] both: whether rewards rose, how often it repeated."""
    again = [1 - len(np.unique(of)) / len(of) for of in children]
    return {"reward_slope": 100 * stats.slope(np.arange(values.shape[1]), values.mean(0)), "repeats": np.mean(again)}


# ------------------------------------------------------------------------------------------------------------ picture

COLORS = {
    CONTROLLER: "#D55E00",
    INDEPENDENT: "#E69F00",
    RANDOM: "#000000",
    EVOLUTION: "#0072B2",
    PARZEN: "#56B4E9",
    LOCAL: "#009E73",
    ASHA: "#CC79A7",
    LARGEST: "#999999",
    OPTUNA: "#7B3FA0",
}


def kept_of(artefacts: Artefacts, beginning: str) -> list[NDArray[np.float64]]:
    """What each seed kept under the first name with this beginning: of a method, its chosen setting."""
    found = []
    for kept in artefacts.values():
        found += [array for name, array in kept.items() if name.startswith(beginning + " ")][:1]
    return found


def draw_regret(axes: Axes, rows: pd.DataFrame, name: str) -> None:
    """Regret against trainings, of each method."""
    if {"landscape", "evaluations", "regret"} <= set(rows.columns):
        rows = where(rows, landscape=name)
        for method, color in COLORS.items():
            mine = where(rows, subject=method).groupby("evaluations").regret
            samples = {count: 100 * values.groupby(level=0).mean() for count, values in mine}
            wide = 2.0 if method in (CONTROLLER, RANDOM) else 1.0
            draw_means(axes, samples, samples.values(), limits=(0, 100), band=True, color=color, label=method,
                       linewidth=wide)  # fmt: skip
    axes.set_title(f"{name}: what the best child found lacks", fontsize=9)
    axes.set(xlabel="trainings", ylabel="regret of test accuracy (points)")
    means = np.concatenate([np.asarray(line.get_ydata(), dtype=float) for line in axes.lines] or [np.empty(0)])
    if np.isfinite(means).any():  # bands of the first trainings are wide
        axes.set_ylim(0, 1.1 * max(means[np.isfinite(means)].max(), SMALLEST))


def draw_rewards(axes: Axes, artefacts: Artefacts, name: str) -> None:
    """Mean validation accuracy of the children asked for, ten at a time."""
    for method in (CONTROLLER, INDEPENDENT, EVOLUTION, RANDOM):
        kept = kept_of(artefacts, f"rewards {name} {method}")
        if kept:
            mean = np.mean(kept, axis=0)
            bins = [mean[i : i + 10].mean() for i in range(0, len(mean), 10)]
            axes.plot(10 * np.arange(len(bins)) + 5, bins, color=COLORS[method], label=method)
    axes.set_title(f"{name}: children asked for", fontsize=9)
    axes.set(xlabel="trainings", ylabel="validation accuracy")


def draw_policy(axes: Axes, artefacts: Artefacts, name: str, *, steps: int) -> AxesImage | None:
    """The probability of each choice, the mean over searches and seeds, from the first step to the last."""
    kept = kept_of(artefacts, f"policy {name} {CONTROLLER}")
    image = None
    if kept:
        image = axes.imshow(np.mean(kept, axis=0).T, vmin=0, vmax=1, cmap="viridis", aspect="auto",
                            interpolation="nearest", extent=(0, steps * BATCH, len(LABELS) - 0.5, -0.5))  # fmt: skip
    for edge in np.cumsum(SPACE.sizes)[:-1]:
        axes.axhline(edge - 0.5, color="white", linewidth=1.5)
    axes.set_yticks(range(len(LABELS)), LABELS, fontsize=7)
    axes.set_title(f"{name}: what the controller chooses", fontsize=9)
    axes.set(xlabel="trainings", xlim=(0, steps * BATCH), ylim=(len(LABELS) - 0.5, -0.5))
    return image


LABELS = [f"{slot} {choice}" for slot, choices in SPACE.slots.items() for choice in choices]
