"""An expert's settings beat the library's defaults, and a search with a budget takes the expert's place.

All train MNIST-1D's published convolutions for equally many steps, in the search from one start on the same batches:

- *defaults*: Adam as ``torch.optim`` sets it, at 1e-3; and SGD as it comes, at 1e-3 without momentum, beside;
- *expert*: the recipe that the convolutions were published with, Adam at 1e-2 (Greydanus & Kobak 2024);
- *random search*: the best at validation of so many trials, each trained to the end; optimizer, rate, momentum, decay
  and whether the rate falls are drawn anew (Bergstra & Bengio 2012);
- *successive halving* with as many steps in all, which begins with more settings, and of which a third goes on from
  each rung to the next (Jamieson & Talwalkar 2016). Its first settings are those of the random search;
- with ``optuna``, *TPE* and *ASHA* as Optuna has them, in the same space with as many steps.

Settings are chosen on validation examples. Then those of defaults, expert and each search are trained anew from the
same other starts, and the mean test accuracy of these counts: the gap closed is (search - defaults) / (expert -
defaults). Regret, in the search, is against the best at validation of all that were trained to the end; what to expect
of the best of k trials is computed from all orders of them. By arithmetic sixty random trials hit the top 5 % of a
space with probability 0.954.

Negative control: where there is nothing to tune, all trials having the expert's settings and only start and batches
differing, the choice gains nothing over the mean of the trials. It is why settings are trained anew: in development the
luck of a start, which is no setting's, had passed for a gain of three points. There the starts are those of the trials,
with other batches; with three other starts chance alone had moved the mean by two points.

``quick`` has 20 trials, and for all arms alike 8 channels instead of 25, batches of 50 instead of 100 and 216 steps
instead of 8000, and halves once; so short a training favours large rates. With 162 steps, in development, the expert's
networks had not learnt enough. ``full`` has the published sizes, 60 trials, TPE and ASHA.

On images (presets ``mnist``, ``cifar10``) the network is three strided convolutions normalised by groups, and the
expert's recipe that of residual networks: SGD at 0.1 with momentum 0.9, a rate that falls, and a decay of 1e-4 in the
gradient (He et al. 2016), which with that momentum is one of 1e-3 beside it. The rate falls along a cosine, not in two
steps. A ResNet-18 itself is left out: its batch norm cannot be trained many at a time.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
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
    between,
    draw_means,
    equivalent,
    one_of,
    where,
)
from dlbench.data.mnist1d import mnist1d
from dlbench.stacking import Stack, batches
from dlbench_plugins.limits.examples import examples
from dlbench_plugins.limits.tuning import (
    Rung,
    Settings,
    Training,
    Tried,
    by_asha,
    by_tpe,
    drawn,
    expected_best,
    incumbents,
    race,
    rungs,
    spent,
)
from dlbench_plugins.networks import accuracies, conv_base, network

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dlbench import Artefacts

CLASSES = 10
EXPERT, DEFAULTS, DEFAULT_SGD = "expert", "defaults", "defaults of SGD"
RANDOM, HALVING, TPE, ASHA = "random search", "successive halving", "TPE", "ASHA"
ONE_SETTING = "one setting"
LIBRARY = {
    DEFAULTS: Settings("adam", 1e-3, 0.9, 0.0, False),
    DEFAULT_SGD: Settings("sgd", 1e-3, 0.0, 0.0, False),
}
OF_CURVES = {EXPERT: Settings("adam", 1e-2, 0.9, 0.0, False), **LIBRARY}
OF_IMAGES = {EXPERT: Settings("sgd", 0.1, 0.9, 1e-3, True), **LIBRARY}

BETTER = 0.03  # of test accuracy: the smallest difference of interest
CLOSED = 0.5  # of the gap
MATTERS = 0.1  # of test accuracy, between the chosen and the average setting of the space
KNOWS = 0.4  # the expert's; a logistic regression has 0.32


def anew(rows: pd.DataFrame, subject: str) -> pd.DataFrame:
    """The row of a subject's settings trained anew, a seed."""
    return where(rows, subject=subject, over="anew")


@dataclass(frozen=True)
class ExpertTuning(Experiment):
    """Test accuracy of the same network under defaults, a published recipe, and what searches of equal budgets find."""

    dataset: str = one_of("mnist1d", "mnist", "cifar10", default="mnist1d")
    train_size: int = between(20, 10**6, default=4000)
    validation: int = between(20, 10**6, default=1000)
    test_size: int = between(20, 10**6, default=2000)
    channels: int = between(1, 1024, default=8)
    steps: int = between(9, 10**6, default=216)
    batch_size: int = between(1, 4096, default=50)
    trials: int = between(2, 1000, default=20)
    levels: int = between(1, 4, default=2)  # of successive halving
    equal: int = between(2, 100, default=6)  # trials where there is nothing to tune
    starts: int = between(1, 100, default=3)  # that settings are trained from anew
    optuna: bool = False

    title = "Expert settings beat defaults, and a search with a budget closes the gap"
    chapter = "limits"
    sources = (
        "Greydanus & Kobak, Scaling down deep learning with MNIST-1D, ICML 2024, arXiv:2011.14439",
        "Bergstra & Bengio, Random search for hyper-parameter optimization, JMLR 2012",
        "Jamieson & Talwalkar, Non-stochastic best arm identification, AISTATS 2016, arXiv:1502.07943",
        "Li et al., A system for massively parallel hyperparameter tuning (ASHA), MLSys 2020, arXiv:1810.05934",
        "Bergstra et al., Algorithms for hyper-parameter optimization (TPE), NeurIPS 2011",
        "Dodge et al., Show your work: improved reporting of experimental results, EMNLP 2019, arXiv:1909.03004",
        "He et al., Deep residual learning for image recognition, CVPR 2016, arXiv:1512.03385",
    )
    metrics = {
        "test_accuracy": Metric(
            "test accuracy of the settings, or of those best at validation", "1", "higher", True, 0, 1
        ),
        "validation_accuracy": Metric("its validation accuracy", better="higher", low=0, high=1),
        "gap_closed": Metric("share of the gap between defaults and expert that is closed", better="higher"),
        "regret": Metric("test accuracy below that of the best at validation of everything trained", better="lower"),
        "expected_best": Metric(
            "test accuracy to expect of the best of so many trials", better="higher", low=0, high=1
        ),
        "gain": Metric("test accuracy of the chosen above the mean of the trials it was chosen from", better="higher"),
    }
    presets = {
        "quick": {},
        "optuna": {"optuna": True},
        "full": {
            "channels": 25,
            "batch_size": 100,
            "steps": 8000,
            "test_size": 4000,
            "trials": 60,
            "levels": 3,
            "optuna": True,
        },
        "mnist": {"dataset": "mnist", "channels": 16, "steps": 180},
        "cifar10": {
            "dataset": "cifar10",
            "train_size": 45_000,
            "validation": 5000,
            "test_size": 10_000,
            "channels": 128,
            "batch_size": 128,
            "steps": 7000,
            "trials": 60,
            "levels": 3,
            "optuna": True,
        },
    }
    references = (
        Reference(
            "test_accuracy",
            0.94,
            "Greydanus & Kobak 2024, arXiv:2011.14439",
            where={"subject": EXPERT, "over": "anew", "data": "mnist1d", "steps": 8000, "channels": 25},
            note="their convolutions, by eye on one fixed data set; ours are drawn anew by each seed",
        ),
    )

    def datasets(self) -> tuple[str, ...]:
        return () if self.dataset == "mnist1d" else (self.dataset,)

    @property
    def fixed(self) -> dict[str, Settings]:
        """The settings that nobody searches for."""
        return OF_CURVES if self.dataset == "mnist1d" else OF_IMAGES

    def trial(self, context: Context) -> Iterator[Measurement]:
        task = self.task(context)
        found, mean_of_trials = yield from self.searched(task, context)
        context.progress(0.8, "trained anew, and nothing to tune")
        same = ([self.fixed[EXPERT]], self.equal)  # whichever of such trials is chosen, its settings are the expert's
        (_, tests_anew), of_equals, (_, equals_anew) = self.several(
            [
                Repeated(list(found.values()), self.starts, ("anew", "anew")),
                Repeated(*same, ("equal", "equal")),
                Repeated(*same, ("equal", "equal anew")),
            ],
            task,
            context,
        )
        accuracies_anew = tests_anew.mean(1)
        marks = Marks(*accuracies_anew[:2])
        for subject, accuracy in zip(found, accuracies_anew, strict=True):
            gain = {"gain": accuracy - mean_of_trials} if subject == RANDOM else {}
            yield {"subject": subject, "over": "anew", **self.size, **marks.of(accuracy), **gain}
        validations, tests = (of[0] for of in of_equals)
        for over, accuracy in (("search", tests[validations.argmax()]), ("anew", equals_anew.mean())):
            gain = {"test_accuracy": accuracy, "gain": accuracy - tests.mean()}
            yield {"subject": ONE_SETTING, "over": over, **self.size, **gain}

    def searched(self, task: Task, context: Context) -> Generator[Measurement, None, tuple[dict[str, Settings], float]]:
        """How the searches go; returns everybody's settings, and the mean test accuracy of random search's trials."""
        rng, levels = context.rng("settings"), rungs(self.trials * self.steps, self.steps, levels=self.levels)
        pool = [drawn(rng) for _ in range(max(self.trials, levels[0].count))]
        settings, always = [*self.fixed.values(), *pool], len(self.fixed) + self.trials
        halved = []
        for lap in race(self.begun(settings, task, context), levels, task.validated, always=always):
            context.progress(0.6 * lap.rung.step / self.steps, f"{len(lap.alive)} settings, {lap.rung.step} steps")
            leader = lap.members[0]
            leading = Stack([lap.training.nets[lap.alive.index(leader)]])
            halved.append((leader, lap.validation[leader], float(task.tested(leading)[0])))
        test = dict(zip(lap.alive, map(float, task.tested(lap.training.nets)), strict=True))
        best = test[max(lap.alive, key=lambda k: lap.validation[k])]
        marks = Marks(test[list(self.fixed).index(EXPERT)], test[list(self.fixed).index(DEFAULTS)], best)

        def row(subject: str, trials: float, validation: float, accuracy: float, **more: float) -> Measurement:
            place = {"subject": subject, "over": "search", "trials": trials, **self.size}
            return {**place, "validation_accuracy": validation, **marks.of(accuracy), **more}

        for k, subject in enumerate(self.fixed):
            yield row(subject, 0, lap.validation[k], test[k])
        validations, tests = (
            np.array([of[k] for k in range(len(self.fixed), always)]) for of in (lap.validation, test)
        )
        for k, chosen in enumerate(incumbents(validations)):
            expected = expected_best(validations, tests, k + 1)
            yield row(RANDOM, k + 1, validations[chosen], tests[chosen], expected_best=expected)
        for k, (_, validation, accuracy) in enumerate(halved):
            yield row(HALVING, spent(levels[: k + 1]) / self.steps, validation, accuracy)
        context.keep("pool", [(s.optimizer == "adam", s.rate, a) for s, a in zip(pool, tests, strict=False)])
        found = {EXPERT: self.fixed[EXPERT], DEFAULTS: self.fixed[DEFAULTS], RANDOM: pool[int(validations.argmax())]}
        found[HALVING] = settings[halved[-1][0]]
        if self.optuna:
            context.progress(0.6, "Optuna")
            for subject, tried in self.by_optuna(levels, task, context).items():
                best_so_far = incumbents([one.validation for one in tried])
                for steps, chosen in {one.spent: k for one, k in zip(tried, best_so_far, strict=True)}.items():
                    yield row(subject, steps / self.steps, tried[chosen].validation, tried[chosen].test)
                found[subject] = tried[best_so_far[-1]].settings
        return found, float(tests.mean())

    @property
    def size(self) -> dict[str, int]:
        """What every row says of the training."""
        return {"data": self.dataset, "steps": self.steps, "channels": self.channels}

    def task(self, context: Context) -> Task:
        """Curves, or images, to train with, to choose with and to test with."""
        sizes = (self.train_size, self.validation, self.test_size)
        if self.dataset != "mnist1d":
            return Task(*examples(self.dataset, sizes[:2], self.test_size, context))
        x, y = mnist1d(sum(sizes), context.rng("data"))
        cuts = np.cumsum(sizes)[:-1]
        parts = zip(np.split(x, cuts), np.split(y, cuts), strict=True)
        return Task(
            *((torch.from_numpy(a).to(context.device), torch.from_numpy(b).to(context.device)) for a, b in parts)
        )

    def untrained(self, task: Task) -> nn.Module:
        """The network that is tuned."""
        shape = task.train[0].shape[1:]
        if self.dataset == "mnist1d":
            return conv_base(shape, CLASSES, channels=self.channels)
        return network("cnn", shape, CLASSES, width=self.channels)

    def begun(self, settings: Sequence[Settings], task: Task, context: Context) -> Training:
        """These settings from one start, all on the same batches."""
        with context.seeded("init"):
            start = self.untrained(task)
        order = context.generator("order")
        rows = batches([self.train_size], self.batch_size, steps=self.steps, generators=[order])
        return Training([start] * len(settings), settings, *task.train, torch.cat(list(rows)))

    def several(
        self, groups: Sequence[Repeated], task: Task, context: Context
    ) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """Validation and test accuracies, [settings, count] each, of every group; all are trained at once."""
        starts: list[nn.Module] = []
        settings: list[Settings] = []
        rows: list[Tensor] = []
        for group in groups:
            own = []
            for k in range(group.count):
                with context.seeded("init", group.axes[0], k):
                    own.append(self.untrained(task))
            orders = [context.generator("order", group.axes[1], k) for k in range(group.count)]
            sizes = [self.train_size] * group.count
            each = torch.stack(list(batches(sizes, self.batch_size, steps=self.steps, generators=orders)))
            rows.append(each.repeat(1, len(group.settings), 1))
            starts += own * len(group.settings)
            settings += [one for one in group.settings for _ in range(group.count)]
        nets = Training(starts, settings, *task.train, torch.cat(rows, 1)).to(self.steps).nets
        ends = np.cumsum([group.count * len(group.settings) for group in groups])[:-1]
        validation, test = (np.split(judge(nets), ends) for judge in (task.validated, task.tested))
        counts = [group.count for group in groups]
        return [(v.reshape(-1, n), t.reshape(-1, n)) for v, t, n in zip(validation, test, counts, strict=True)]

    def by_optuna(self, levels: Sequence[Rung], task: Task, context: Context) -> dict[str, list[Tried]]:
        """What Optuna's searches find with as many steps."""

        def run(settings: Sequence[Settings]) -> Training:
            return self.begun(settings, task, context)

        def judge(nets: Stack) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
            return task.validated(nets), task.tested(nets)

        seeds = [context.integer(name) % 2**31 for name in (TPE, ASHA)]
        budget = self.trials * self.steps
        return {
            TPE: by_tpe(run, judge, trials=self.trials, steps=self.steps, seed=seeds[0]),
            ASHA: by_asha(run, judge, levels=levels, budget=budget, seed=seeds[1]),
        }

    claims = [
        Claim(
            "(a) the published recipe is over 3 points better than the library's defaults",
            lambda rows: above(anew(rows, EXPERT).test_accuracy - anew(rows, DEFAULTS).test_accuracy, BETTER),
        ),
        Claim(
            "(b) no expert is needed: a random search closes over half of the gap",
            lambda rows: above(anew(rows, RANDOM).gap_closed, CLOSED),
            source="Bergstra & Bengio 2012",
        ),
        Claim(
            "(b) and so does successive halving with as many steps",
            lambda rows: above(anew(rows, HALVING).gap_closed, CLOSED),
            source="Jamieson & Talwalkar 2016",
        ),
        Control(
            "where there is nothing to tune, what was chosen, trained anew, gains nothing over the mean "
            "(within 3 points)",
            lambda rows: equivalent(anew(rows, ONE_SETTING).gain, BETTER),
            kind="negative",
        ),
        Control(
            "where there is, it does: random search's choice is over 10 points better than the mean of its trials",
            lambda rows: above(anew(rows, RANDOM).gain, MATTERS),
            kind="positive",
        ),
        Control(
            "the expert's network has learnt: test accuracy above 0.4",
            lambda rows: above(anew(rows, EXPERT).test_accuracy, KNOWS),
            kind="gate",
        ),
    ]

    def plot(self, rows: pd.DataFrame, figure: Figure, artefacts: Artefacts) -> None:
        figure.set_size_inches(11, 4.2)
        figure.set_layout_engine("constrained")
        curves, regrets, pool = figure.subplots(1, 3, width_ratios=[1.3, 1, 1])
        draw_curves(curves, rows, "test_accuracy")
        draw_curves(regrets, rows, "regret")
        draw_pool(pool, artefacts)


# --------------------------------------------------------------------------------------------------------------- parts


class Repeated(NamedTuple):
    """Settings that are each trained from the same starts, on the same batches."""

    settings: list[Settings]
    count: int  # of starts, each with its own batches
    axes: tuple[str, str]  # of the streams that starts and batches are drawn from


class Task(NamedTuple):
    train: tuple[Tensor, Tensor]  # curves [n, 40] or images [n, channels, height, columns], and classes [n]
    validation: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]

    def validated(self, nets: Stack) -> NDArray[np.float64]:
        """Validation accuracy of each network."""
        return accuracies(nets, *self.validation)

    def tested(self, nets: Stack) -> NDArray[np.float64]:
        """Test accuracy of each network."""
        return accuracies(nets, *self.test)


class Marks(NamedTuple):
    """Test accuracies that others are measured by."""

    expert: float
    defaults: float
    best: float = math.nan

    def of(self, accuracy: float) -> dict[str, float]:
        """The metrics of a test accuracy; no gap is closed where there is none, and no regret without a best."""
        gap = self.expert - self.defaults
        closed = (accuracy - self.defaults) / gap if gap > 0 else math.nan
        return {"test_accuracy": accuracy, "gap_closed": closed, "regret": self.best - accuracy}


# ------------------------------------------------------------------------------------------------------------- picture

COLORS = {RANDOM: "#0072B2", HALVING: "#D55E00", TPE: "#009E73", ASHA: "#CC79A7"}
MARKS = {EXPERT: ("black", "-"), DEFAULTS: ("#999999", "--"), DEFAULT_SGD: ("#999999", ":")}


def draw_curves(axes: Axes, rows: pd.DataFrame, metric: str) -> None:
    """The best so far of each search, against what it has spent, with intervals over seeds."""
    if {"subject", "over", "trials", metric} <= set(rows.columns):
        for subject, color in COLORS.items():
            mine = where(rows, subject=subject, over="search")
            groups = [(trials, group) for trials, group in mine.groupby("trials")]
            style = {"color": color, "band": subject == RANDOM, "marker": "" if subject == RANDOM else "o"}
            if groups:
                places, found = [trials for trials, _ in groups], [group[metric].to_numpy() for _, group in groups]
                draw_means(axes, places, found, label=subject, markersize=4, **style)
            if subject == RANDOM and metric == "test_accuracy" and "expected_best" in rows and groups:
                expected = [group.expected_best.mean() for _, group in groups]
                axes.plot(places, expected, color=color, linestyle=":", label="random search, over all orders")
        for subject, (color, line) in MARKS.items():
            mine = where(rows, subject=subject, over="search")
            if len(mine):
                axes.axhline(mine[metric].mean(), color=color, linestyle=line, linewidth=1.2, label=subject)
        if metric == "test_accuracy" and axes.lines:
            low, high = axes.get_ylim()
            axes.set_ylim(low, high + 0.4 * (high - low))
            axes.legend(fontsize=7, frameon=False, loc="upper center", ncols=2)
    axes.set_title("best so far" if metric == "test_accuracy" else "regret", fontsize=9)
    axes.set_xlabel("budget, in trainings to the end", fontsize=8)
    axes.set_ylabel(metric.replace("_", " "), fontsize=8)
    axes.tick_params(labelsize=7)


def draw_pool(axes: Axes, artefacts: Artefacts) -> None:
    """All trials of the random search, of all seeds."""
    pools = [kept["pool"] for kept in artefacts.values() if "pool" in kept]
    if pools:
        adam, rate, accuracy = np.concatenate(pools).T
        for chosen, label, color in ((adam == 1, "Adam", "#0072B2"), (adam == 0, "SGD", "#E69F00")):
            axes.scatter(rate[chosen], accuracy[chosen], s=12, color=color, alpha=0.7, linewidths=0, label=label)
        axes.set_xscale("log")
        axes.set_ylim(0, 1.15)
        axes.legend(fontsize=7, frameon=False, loc="upper center", ncols=2)
    axes.set_title("trials of the random search", fontsize=9)
    axes.set_xlabel("learning rate", fontsize=8)
    axes.set_ylabel("test accuracy", fontsize=8)
    axes.tick_params(labelsize=7)
