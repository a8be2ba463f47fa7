"""What accuracy costs to compute: networks of many widths and depths against classical learners.

Perceptrons from 4 to 256 hidden units, deeper ones and convolutional networks learn the digits and MNIST-1D, beside
logistic regression, a support vector machine with a Gaussian kernel and boosted trees. All have the same number of
tuning trials, chosen among on validation data, and the test set is used once.

Cost is counted in floating-point operations: of networks by torch's own counter (:mod:`dlbench.cost`), forward for an
answer, forward and backward for training, once with the chosen rate; of classical learners by the formulas of
:mod:`dlbench_plugins.limits.classical`. *matched* to a classical learner is the cheapest network whose validation
accuracy is at most a point below its own; where none is, the dearest of all networks stands in, so that the ratio of
their costs is too small rather than too large. The best classical learner is that of most validation accuracy. The
test error of perceptrons is fitted by scale · FLOPs^-beta, least squares of the logarithms.

Parameters, the memory of a forward pass, the time to train and to answer one example and 64 at once, and energy, where
the machine tells, stand beside. They are what this machine needed at that time, and no claim looks at time or energy:
operations are not seconds, and a classical learner is slow here because Python calls it.

Controls: a network that computes everything sixteen times over costs sixteen times as much as itself, and of networks
that learn from shuffled labels the error does not fall with their cost.

An audit, too: a trained model that a user brings is measured beside these, on the data sets of images among
``datasets_used``. It is an import path ``package.module:factory``; the factory takes no arguments and returns a
``torch.nn.Module`` that maps images in [0, 1] to logits::

    dlbench run compute_cost --set compute_cost.models=mypackage.nets:build --set compute_cost.datasets_used=mnist

``quick`` has four perceptrons, on MNIST-1D a convolutional network, too, and trains for 220 steps, less than these
could learn. ``full`` adds MNIST, more and larger networks and longer training; ``cifar10`` has CIFAR-10 with
convolutional networks of several widths, and a trained ResNet can be brought. The time to a target accuracy, as
AlgoPerf measures it, is left out.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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
    below,
    between,
    equivalent,
    every,
    one_of,
    stats,
    where,
)
from dlbench.brought import brought, check_names
from dlbench.cost import count_flops, front, measure
from dlbench.errors import ParameterError
from dlbench.stacking import Stack, batches, step_at
from dlbench_plugins.images import CLASSES
from dlbench_plugins.limits.classical import TRIALS, answers_of, learnt
from dlbench_plugins.limits.examples import Task, examples
from dlbench_plugins.limits.serving import CLOCKED, SERVED, cycled, serving
from dlbench_plugins.networks import conv_base, network, perceptron

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dlbench import Artefacts, Verdict

CLASSICAL = ("logistic", "svm", "boosting")
BEST = "best classical"
PERCEPTRON, CONVOLUTIONS, BROUGHT, OLD = "perceptron", "convolutions", "brought", "classical"  # kinds of models
COLORS = {PERCEPTRON: "#D55E00", CONVOLUTIONS: "#0072B2", BROUGHT: "#009E73", OLD: "#555555"}
RATES = (1e-2, 3e-2, 3e-3, 1e-3)  # tried in this order

POINT = 0.01  # of accuracy
DEARER = 1.0  # orders of magnitude
TIMES = 16  # that a network computes everything, as a control
KNOWS = {"digits": 0.85, "mnist": 0.9, "mnist1d": 0.4, "cifar10": 0.45}  # test accuracy of the best network


def runtime(subject: str, seconds: float, note: str) -> Reference:
    """The longest that AlgoPerf lets a training run take, on eight V100."""
    return Reference("train_seconds", seconds, "AlgoPerf v0.6", {"subject": subject, "data": "imagenet"}, note=note)


# ------------------------------------------------------------------------------------------------- rows that rules see


def orders(rows: pd.DataFrame, metric: str, baseline: str, rule_above: float = DEARER) -> Verdict:
    """On every data set: the matched network's cost over the baseline's is above so many orders of magnitude."""
    rows = where(rows, over="matched", baseline=baseline)
    return every(rows, "data", lambda r: above(np.log10(r[metric]), rule_above))


def betas(rows: pd.DataFrame, labels: str) -> pd.DataFrame:
    """The rows of what is fitted to the errors of perceptrons."""
    return where(rows, over="sweep", labels=labels)


def perceptrons(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of perceptrons and what they cost."""
    return where(rows, over="model", kind=PERCEPTRON)


def of_best_network(rows: pd.DataFrame) -> Verdict:
    """On every data set the network that validation data prefer knows it."""
    rows = where(rows, over="best network")
    return every(rows, "data", lambda r: above(r.test_accuracy, KNOWS[r["data"].iloc[0]]))


# -------------------------------------------------------------------------------------------------------- experiment


@dataclass(frozen=True)
class ComputeCost(Experiment):
    """Test error, floating-point operations, memory, time and energy of networks and of classical learners."""

    models: tuple[str, ...] = ()  # that a user brings
    datasets_used: tuple[str, ...] = one_of("digits", "mnist1d", "mnist", "cifar10", default=("digits", "mnist1d"))
    shapes: tuple[str, ...] = ("4", "32", "256", "32-32")  # hidden units of the perceptrons' layers
    channels: tuple[int, ...] = between(4, 4096, default=(16,))  # of convolutional networks
    trials: int = between(1, TRIALS, default=2)  # of every model
    train_size: int = between(CLASSES, 10**6, default=900)
    validation: int = between(CLASSES, 10**5, default=300)
    tested: int = between(10, 10**6, default=2500)  # of images, those that are left
    steps: int = between(1, 10**6, default=220)
    batch_size: int = between(1, 4096, default=50)
    rounds: int = between(8, 10_000, default=12)  # of boosting

    title = "A little more accuracy costs orders of magnitude more computing"
    chapter = "limits"
    sources = (
        "Thompson et al., The computational limits of deep learning, 2020, arXiv:2007.05558",
        "Dahl et al., Benchmarking neural network training algorithms (AlgoPerf), 2023, arXiv:2306.07179",
        "Greydanus & Kobak, Scaling down deep learning with MNIST-1D, ICML 2024, arXiv:2011.14439",
    )
    metrics = {
        "test_accuracy": Metric("test accuracy", "1", "higher", True, 0, 1),
        "parameters": Metric("numbers that are learnt or kept", better="lower", low=0),
        "flops": Metric("operations an answer", "FLOP", "lower", low=0),
        "training_flops": Metric("operations of one training", "FLOP", "lower", low=0),
        "peak_bytes": Metric("tensors at once in a forward pass of 64", "B", "lower", low=0),
        "on_front": Metric("1 for no other model is as accurate and cheaper", better="higher", low=0, high=1),
        "counted_over_formula": Metric("counted operations of a perceptron over twice its weights"),
        "flops_ratio": Metric("operations an answer of the matched network over the baseline's", better="lower", low=0),
        "training_ratio": Metric("operations of training, the same", better="lower", low=0),
        "accuracy_gap": Metric("test accuracy of the matched network less the baseline's"),
        "beta": Metric("exponent of operations in the error", better="higher"),
        "flops_per_point": Metric(
            "more operations for a point of accuracy, from the least to the best", "FLOP", optional=True
        ),
        "train_seconds": Metric("time of one training", "s", "lower", low=0, timed=True),
        **CLOCKED,
    }
    presets = {
        "quick": {},
        "full": {
            "datasets_used": ("digits", "mnist1d", "mnist"),
            "shapes": ("4", "16", "64", "256", "1024", "64-64", "256-256", "64-64-64-64", "256-256-256-256"),
            "channels": (8, 16, 32, 64),
            "trials": 4,
            "train_size": 1000,
            "steps": 6000,
            "batch_size": 100,
            "rounds": 200,
        },
        "cifar10": {
            "datasets_used": ("cifar10",),
            "shapes": ("64", "256", "1024", "1024-1024"),
            "channels": (32, 64, 128, 256, 512),
            "trials": 3,
            "train_size": 40_000,
            "validation": 5000,
            "tested": 10_000,
            "steps": 20_000,
            "batch_size": 128,
            "rounds": 200,
        },
    }
    references = (
        runtime("resnet50", 66_159, "to an error of 0.22569"),
        runtime("vit", 69_768, "a vision transformer"),
        Reference(
            "parameters",
            36.5e6,
            "Uncertainty Baselines, CIFAR-10 table",
            {"subject": "wrn_28_10", "data": "cifar10"},
            note="WRN-28-10; trained for 1.2 hours on 8 TPUv2",
        ),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.shapes) < 2 or not all(re.fullmatch(r"[1-9]\d*(-[1-9]\d*)*", shape) for shape in self.shapes):
            raise ParameterError(f"shapes is {self.shapes}; expected two at least, each like '64' or '64-64'")
        check_names(self.models, [])
        if self.models and set(self.datasets_used) == {"mnist1d"}:
            raise ParameterError("models: MNIST-1D has no images to show them; take a data set that has")

    def brings(self) -> list[str]:
        return list(self.models)

    def datasets(self) -> tuple[str, ...]:
        return tuple(name for name in self.datasets_used if name != "mnist1d")

    def trial(self, context: Context) -> Iterator[Measurement]:
        for done, name in enumerate(self.datasets_used):
            context.progress(done / len(self.datasets_used), name)
            seen = examples(name, (self.train_size, self.validation), self.tested, context)
            task = seen.scaled()
            shuffled = task.with_shuffled_labels(context)
            networks = [self.train(spec, name, task, shuffled, context) for spec in self.specs(name)]
            nets = [found for found, _ in networks]
            old = [found for subject in CLASSICAL for found in [self.fit(subject, task.flat())]]
            foreign = []
            if name != "mnist1d":
                foreign = [self.of_user(path, seen, context) for path in self.models]
            yield from self.of_models([*nets, *old, *foreign], name)
            yield from self.of_matched(nets, old, name)
            yield from self.of_sweep([one for one in nets if one.kind == PERCEPTRON], "true", name)
            yield from self.of_sweep([one for _, one in networks if one is not None], "shuffled", name)
            yield from self.of_control(nets[0], task, name)
            best = max(nets, key=lambda one: one.validation)
            yield {"subject": best.subject, "data": name, "over": "best network", "test_accuracy": best.accuracy}

    def specs(self, name: str) -> list[Spec]:
        """The networks that are trained; digits of 8 x 8 pixels are too small for convolutions."""
        hidden = [tuple(int(width) for width in shape.split("-")) for shape in self.shapes]
        return [
            *(Spec(f"perceptron {shape}", PERCEPTRON, of) for shape, of in zip(self.shapes, hidden, strict=True)),
            *(Spec(f"convolutions {width}", CONVOLUTIONS, (width,)) for width in self.channels if name != "digits"),
        ]

    # ------------------------------------------------------------------------------------------------------- learning

    def train(self, spec: Spec, name: str, task: Task, shuffled: Task, context: Context) -> tuple[Model, Model | None]:
        """A network at every rate, at once and from one start, and of the ends of the sweep one on shuffled labels."""
        with context.seeded("init", name, spec.subject):
            start = spec.build(task.train.x.shape[1:])
        widths = [one.widths for one in self.specs(name) if one.kind == PERCEPTRON]
        at_an_end = spec.kind == PERCEPTRON and spec.widths in (min(widths, key=sum), max(widths, key=sum))
        tasks = [task] * self.trials + [shuffled] * at_an_end
        stack = Stack([start] * len(tasks)).to(context.device)
        rates = [*RATES[: self.trials], RATES[0]][: len(tasks)]
        highest = torch.tensor(rates, device=context.device)
        x, y = task.train.x, torch.stack([one.train.y for one in tasks])
        adam = torch.optim.Adam(stack.parameters(), max(rates), fused=True)
        generators = [context.generator("order", name) for _ in tasks]
        begin = time.perf_counter()
        drawn = batches([len(x)] * len(tasks), self.batch_size, steps=self.steps, generators=generators)
        for step, rows in enumerate(drawn):
            rows = rows.to(context.device)
            adam.zero_grad()
            stack.losses(F.cross_entropy, stack.each(x[rows]), y.gather(1, rows)).sum().backward()
            step_at(adam, highest * (1 - step / self.steps))
        seconds = (time.perf_counter() - begin) / len(tasks)
        stack.eval()
        nets = [stack[k] for k in range(len(tasks))]
        best, validation = task.best([answers_of(net) for net in nets[: self.trials]], len(x))
        a_batch, labels = x[: self.batch_size], task.train.y[: self.batch_size]
        a_step = count_flops(lambda: F.cross_entropy(nets[best](a_batch), labels).backward())
        costs = {"training_flops": float(a_step) * self.batch_size / len(labels) * self.steps, "train_seconds": seconds}
        if spec.kind == PERCEPTRON:
            costs["formula"] = 2.0 * sum(p.numel() for p in start.parameters() if p.dim() == 2)
        found = Model.of_module(spec.subject, spec.kind, nets[best], task, validation, costs)
        if len(tasks) == self.trials:
            return found, None
        return found, found._replace(accuracy=task.test.right(answers_of(nets[-1])))

    def fit(self, subject: str, task: Task) -> Model:
        """A classical learner in every setting."""
        begin = time.perf_counter()
        settings = learnt(subject, *task.train, trials=self.trials, rounds=self.rounds)
        seconds = (time.perf_counter() - begin) / self.trials
        best, validation = task.best([one.answers for one in settings], len(task.train.y))
        one = settings[best]
        costs = {"parameters": one.parameters, "flops": one.an_answer, "training_flops": one.training}
        served = serving(one.answers, task.test.x)
        return Model(
            subject, OLD, validation, task.test.right(one.answers), {**costs, "train_seconds": seconds, **served}
        )

    def of_user(self, path: str, task: Task, context: Context) -> Model:
        """A model that a user brings, on images in [0, 1]; how it was trained is not known."""
        net = brought(path, task.test.x.shape[1:], CLASSES, context).eval()
        _, validation = task.best([answers_of(net)], len(task.validation.y))
        return Model.of_module(path, BROUGHT, net, task, validation, {})

    # ------------------------------------------------------------------------------------------------------ summing up

    def of_models(self, models: Sequence[Model], name: str) -> Iterator[Measurement]:
        """A row for each model: what it costs and what it knows."""
        on_front = front([one.costs["flops"] for one in models], [1 - one.accuracy for one in models])
        for one, first in zip(models, on_front, strict=True):
            costs = dict(one.costs)
            formula = costs.pop("formula", None)
            yield {
                "subject": one.subject,
                "data": name,
                "over": "model",
                "kind": one.kind,
                "test_accuracy": one.accuracy,
                "on_front": float(first),
                **costs,
                **({"counted_over_formula": costs["flops"] / formula} if formula else {}),
            }

    def of_matched(self, nets: Sequence[Model], old: Sequence[Model], name: str) -> Iterator[Measurement]:
        """A row for each classical learner: the cheapest network that matches it, over it."""
        best = max(old, key=lambda one: one.validation)
        for baseline, one in (*((model.subject, model) for model in old), (BEST, best)):
            cheapest = {metric: matched(nets, one, metric) for metric in ("flops", "training_flops")}
            yield {
                "subject": "networks",
                "data": name,
                "over": "matched",
                "baseline": baseline,
                "found": any(net.validation >= one.validation - POINT for net in nets),
                "flops_ratio": cheapest["flops"].costs["flops"] / one.costs["flops"],
                "training_ratio": cheapest["training_flops"].costs["training_flops"] / one.costs["training_flops"],
                "accuracy_gap": cheapest["flops"].accuracy - one.accuracy,
            }

    def of_sweep(self, models: Sequence[Model], labels: str, name: str) -> Iterator[Measurement]:
        """How the error falls with the operations of an answer."""
        flops = [one.costs["flops"] for one in models]
        errors = [max(1 - one.accuracy, 0.5 / self.tested) for one in models]
        least, best = min(models, key=lambda one: one.costs["flops"]), max(models, key=lambda one: one.accuracy)
        more = best.costs["flops"] - least.costs["flops"]
        gained = 100 * (best.accuracy - least.accuracy)
        yield {
            "subject": "perceptrons",
            "data": name,
            "over": "sweep",
            "labels": labels,
            "beta": -stats.slope(np.log(flops), np.log(errors)),
            "flops_per_point": more / gained if gained > 0 else math.nan,
        }

    def of_control(self, model: Model, task: Task, name: str) -> Iterator[Measurement]:
        """A network that computes everything many times over, matched to itself."""
        assert model.net is not None  # noqa: S101  # of a network that was trained here
        wasteful = Model.of_module("wasteful", model.kind, Repeated(model.net, TIMES), task, model.validation, {})
        cheapest = matched([wasteful], model, "flops")
        yield {
            "subject": "wasteful",
            "data": name,
            "over": "matched",
            "baseline": "itself",
            "flops_ratio": cheapest.costs["flops"] / model.costs["flops"],
            "accuracy_gap": cheapest.accuracy - model.accuracy,
        }

    claims = [
        Claim(
            "(a) to serve: of the networks within a point of the best classical learner the cheapest takes over ten "
            "times its operations an answer (orders of magnitude)",
            lambda rows: orders(rows, "flops_ratio", BEST),
        ),
        Claim(
            "(a) and of those within a point of logistic regression",
            lambda rows: orders(rows, "flops_ratio", "logistic"),
        ),
        Claim(
            "(b) to train: the cheapest to train takes over ten times the operations of the best classical learner",
            lambda rows: orders(rows, "training_ratio", BEST),
        ),
        Claim(
            "(b) and over ten times those of logistic regression",
            lambda rows: orders(rows, "training_ratio", "logistic"),
        ),
        Claim(
            "(c) the error of perceptrons falls as a power of their operations, by an exponent between 0 and 1",
            lambda rows: every(
                betas(rows, "true"), "data", lambda r: all_of(above(r.beta, 0.0), below(r.beta, 1.0))
            ),
            source="Thompson et al. 2020",
        ),
        Control(
            "from shuffled labels the error does not fall with the operations: the exponent is within 0.02 of 0",
            lambda rows: every(betas(rows, "shuffled"), "data", lambda r: equivalent(r.beta, 0.02)),
            kind="negative",
        ),
        Control(
            "a network that computes everything sixteen times over is found to cost over ten times as much as itself",
            lambda rows: orders(rows, "flops_ratio", "itself"),
            kind="positive",
        ),
        Control(
            "counted operations of perceptrons are two for each weight",
            lambda rows: every(
                perceptrons(rows), ["data", "subject"], lambda r: below((r.counted_over_formula - 1).abs(), 1e-9)
            ),
            kind="gate",
        ),
        Control(
            "the best network has learnt: test accuracy over 0.85 on digits (MNIST 0.9, MNIST-1D 0.4, CIFAR-10 0.45)",
            of_best_network,
            kind="gate",
        ),
    ]  # fmt: skip

    def plot(self, rows: pd.DataFrame, figure: Figure, artefacts: Artefacts) -> None:
        names = list(self.datasets_used)
        figure.set_size_inches(4 * len(names) + 4, 4.6)
        figure.set_layout_engine("constrained")
        *panels, times = figure.subplots(1, len(names) + 1)
        shown = {"over", "kind", "flops", "test_accuracy"} <= set(rows.columns)
        models = where(rows, over="model") if shown else rows.iloc[:0]
        for axes, name in zip(panels, names, strict=True):
            draw_errors(axes, models[models["data"] == name] if shown else models)
            axes.set_title(name, fontsize=9)
        panels[0].set_ylabel("test error")
        draw_times(times, models)


# -------------------------------------------------------------------------------------------------------------- parts


class Spec(NamedTuple):
    """A network to train."""

    subject: str
    kind: str
    widths: tuple[int, ...]

    def build(self, shape: Sequence[int]) -> nn.Module:
        """Untrained, for curves [length] or images [channels, height, width]."""
        if self.kind == PERCEPTRON:
            return nn.Sequential(nn.Flatten(), *perceptron([math.prod(shape), *self.widths, CLASSES]))
        if len(shape) == 1:
            return conv_base(shape, CLASSES, channels=self.widths[0])
        return network("cnn", shape, CLASSES, width=self.widths[0])


class Model(NamedTuple):
    """What was learnt, what it knows and what it costs: values of metrics, and ``formula``, of a perceptron."""

    subject: str
    kind: str
    validation: float
    accuracy: float
    costs: dict[str, Any]
    net: nn.Module | None = None

    @classmethod
    def of_module(
        cls, subject: str, kind: str, net: nn.Module, task: Task, validation: float, costs: dict[str, Any]
    ) -> Model:
        """Of a torch module, measured."""
        x = task.test.x
        served = cycled(x, max(SERVED))
        cost = measure(net, served)
        counted = {"parameters": cost.parameters, "flops": cost.flops, "peak_bytes": cost.peak_bytes}
        answers = answers_of(net)
        return cls(
            subject, kind, validation, task.test.right(answers), {**costs, **counted, **serving(answers, served)}, net
        )


class Repeated(nn.Module):
    """A module that is computed so many times, to answer once."""

    def __init__(self, net: nn.Module, times: int) -> None:
        super().__init__()
        self.net = net
        self.times = times

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([self.net(x) for _ in range(self.times)])[0]


def matched(nets: Sequence[Model], one: Model, metric: str) -> Model:
    """The cheapest network within a point of one's validation accuracy; if none is, the dearest of all."""

    def price(net: Model) -> float:
        return float(net.costs[metric])

    enough = [net for net in nets if net.validation >= one.validation - POINT]
    return min(enough, key=price) if enough else max(nets, key=price)


# ----------------------------------------------------------------------------------------------------------- picture


def draw_errors(axes: Axes, rows: pd.DataFrame) -> None:
    """Error against operations an answer, both logarithmic; the front of the means, and the perceptrons' power law."""
    axes.set_xlabel("operations an answer")
    axes.tick_params(which="both", labelsize=7)
    rows = rows[(rows.test_accuracy < 1) & (rows.flops < math.inf)] if len(rows) else rows
    points: dict[str, list[tuple[float, float]]] = {}
    for (kind, subject), group in rows.groupby(["kind", "subject"]) if len(rows) else ():
        flops, errors = group.flops.mean(), 1 - group.test_accuracy
        interval = stats.t_interval(errors)
        color = COLORS.get(kind, "#000000")
        if interval.n > 1:
            axes.vlines(flops, max(interval.low, 1e-4), interval.high, color=color, linewidth=1.2)
        label = kind if kind not in points and kind != OLD else None
        axes.plot(flops, interval.estimate, "s" if kind == OLD else "o", color=color, markersize=5, label=label)
        text = subject if kind == OLD else subject.split()[-1]
        axes.annotate(text, (flops, interval.estimate), (4, 3), textcoords="offset points", fontsize=7, color=color)
        points.setdefault(kind, []).append((flops, interval.estimate))
    if not points:
        return
    axes.set_xscale("log")
    axes.set_yscale("log")
    swept = points.get(PERCEPTRON, [])
    if len(swept) > 1:
        flops, errors = np.log(np.transpose(swept))
        beta = -stats.slope(flops, errors)
        ends = np.array([flops.min(), flops.max()])
        line = np.exp(errors.mean() - beta * (ends - flops.mean()))
        axes.plot(np.exp(ends), line, ":", color=COLORS[PERCEPTRON], label=f"FLOPs^-{beta:.2f}")
    everyone = np.array(sorted(point for of_kind in points.values() for point in of_kind))
    first = everyone[front(everyone[:, 0], everyone[:, 1])]
    axes.step(
        first[:, 0], first[:, 1], where="post", color="#999999", linewidth=1, zorder=0, label="front of the means"
    )
    axes.margins(x=0.18)
    axes.legend(fontsize=7, loc="best")
    axes.yaxis.set_major_formatter("{x:g}")
    if everyone[:, 1].max() < 10 * everyone[:, 1].min():
        axes.yaxis.set_minor_formatter("{x:g}")


def draw_times(axes: Axes, rows: pd.DataFrame) -> None:
    """What an answer takes on this machine, alone (filled) and one of 64 (hollow)."""
    axes.set_xlabel("operations an answer")
    axes.set_ylabel("seconds an answer, here, median")
    axes.tick_params(which="both", labelsize=7)
    drawn = set()
    for n in SERVED:
        column = f"latency_{n}_p50"
        if column not in rows.columns:
            continue
        mine = rows[(rows[column] > 0) & (rows[column] < math.inf) & (rows.flops > 0) & (rows.flops < math.inf)]
        for (kind, _, _), group in mine.groupby(["kind", "subject", "data"]):
            label = f"{kind}, {n} at once" if (kind, n) not in drawn else None
            drawn.add((kind, n))
            color = COLORS.get(kind, "#000000")
            face = color if n == SERVED[0] else "none"
            marker = "s" if kind == OLD else "o"
            seconds = group[column].mean() / n
            axes.plot(group.flops.mean(), seconds, marker, color=color, markerfacecolor=face, markersize=5, label=label)
    if drawn:
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.legend(fontsize=6.5, loc="best")
