"""How a network turns out hangs on the learning rate, the scale of its weights, its depth and chance.

A frozen grid, the same for all and fixed before anything was looked at: eleven learning rates from 1e-4 to 10; SGD,
SGD with momentum 0.9 and Adam; five scales of the first weights from a quarter to four times those of He et al. (those
of PyTorch's default are at 0.41, Glorot's at 0.7); several depths. The grid decides the numbers, which are to be read
with it. Subjects:

- *plain*: perceptrons of ReLUs;
- *norm+skip*: the same number of layers of the same width, each but the first with a layer normalisation before it and
  an identity around it;
- *logistic*: multinomial logistic regression, whose loss is convex, on the same grid without depths.

All settings of a subject start from the same draw, scaled, and see the same batches at rates that fall to 0. Near the
best are those whose test accuracy is at most a point below that of the setting that validation data choose; failed are
those below twice chance; diverged are those whose training loss ends as no number or above both where it began and that
of a constant answer.

``over`` says what a row sums up: the whole grid, one depth, one optimizer. The chosen setting of the shallowest plain
networks and that of the logistic regression are trained again, from several starts in two orders each.

Between these runs the loss is followed along straight lines (Frankle et al., ICML 2020): from other starts; from those
with neurons aligned first, as a barrier that goes away with their arbitrary order is none; from the same start in
another order; and, as a control, to the same network with its neurons shuffled. Sharpness is the top eigenvalue of the
Hessian at the chosen settings, before and after training; the picture's surface is that of Li et al. 2018.

``quick`` has three of the scales and the ends of the depths, 2 and 16 hidden layers, and trains small networks for few
steps, so that rates that are merely slow count as much as those that are too fast, for the convex control, too.
That rates fall, and its batches of 32, come from development seeds, where plain networks had not learnt the digits
otherwise. ``full`` has all of the grid and trains for much longer. ResNets on CIFAR-10 are left out.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

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
    above,
    all_of,
    below,
    between,
    draw_means,
    every,
    one_of,
    paired,
    where,
)
from dlbench.data.mnist1d import mnist1d
from dlbench.errors import ParameterError
from dlbench.landscape import aligned, barrier, losses_between, reorder, surface, top_eigenvalue
from dlbench.stacking import Stack, batches, step_at
from dlbench_plugins.images import CLASSES, divided
from dlbench_plugins.networks import accuracies, perceptron

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.contour import ContourSet
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

    from dlbench import Artefacts, Verdict

RATES = tuple(10 ** (-4 + k / 2) for k in range(11))
OPTIMIZERS = ("sgd", "momentum", "adam")
PLAIN, NORM_SKIP, LOGISTIC = "plain", "norm+skip", "logistic"
SUBJECTS = (PLAIN, NORM_SKIP, LOGISTIC)
COLORS = {PLAIN: "#D55E00", NORM_SKIP: "#0072B2", LOGISTIC: "#666666"}

NEAR = 0.01  # of test accuracy
FAILED = 2 / CLASSES
KNOWS = {  # test accuracy that the chosen setting must reach
    "digits": {PLAIN: 0.85, NORM_SKIP: 0.85, LOGISTIC: 0.85},
    "mnist": {PLAIN: 0.85, NORM_SKIP: 0.85, LOGISTIC: 0.85},
    "mnist1d": {PLAIN: 0.4, NORM_SKIP: 0.4, LOGISTIC: 0.2},
}
LONG = {"depths": (2, 4, 8, 16), "width": 64, "steps": 2000, "batch_size": 64, "scales": (0.25, 0.5, 1.0, 2.0, 4.0)}
JUDGED = 300  # training examples that losses are taken on
POINTS = 11  # on a way between two networks
ROUNDING = 1e-4  # of a loss; a convex one has no barrier above it


def over_grid(rows: pd.DataFrame, subject: str) -> pd.DataFrame:
    """The rows of a subject over all its settings."""
    return where(rows, subject=subject, over="grid")


def rise(rows: pd.DataFrame, way: str) -> pd.Series:
    """By how much the convex loss rises above the line between its ends, a seed; where it sags, not at all."""
    return on_the_way(rows, LOGISTIC, way).clip(lower=0)


def on_the_way(rows: pd.DataFrame, subject: str, way: str) -> pd.Series:
    """The barrier of this subject on one kind of way, a seed."""
    return where(rows, subject=subject, over="ways", way=way).barrier


def deepest(rows: pd.DataFrame, subject: str) -> pd.DataFrame:
    """The rows of a subject at the largest depth, over all other settings."""
    rows = where(rows, subject=subject, over="depth")
    return rows[rows.depth == rows.depth.max()]


def knows(rows: pd.DataFrame) -> Verdict:
    """The chosen setting of every subject has learnt its data set."""
    return every(
        where(rows, over="grid"),
        ["data", "subject"],
        lambda r: above(r.test_accuracy, KNOWS[r["data"].iloc[0]][r.subject.iloc[0]]),
    )


@dataclass(frozen=True)
class OptimizationSensitivity(Experiment):
    """Share of a frozen grid that is near its best, how much of it fails, barriers between runs, and sharpness."""

    dataset: str = one_of("digits", "mnist1d", "mnist", default="digits")
    train_size: int = between(20, 60_000, default=800)
    validation: int = between(20, 60_000, default=300)
    depths: tuple[int, ...] = between(1, 64, default=(2, 16))  # hidden layers, from few to many
    scales: tuple[float, ...] = between(1e-3, 1e3, default=(0.25, 1.0, 4.0))  # of He et al.'s first weights
    width: int = between(2, 4096, default=16)
    steps: int = between(1, 10**6, default=110)
    batch_size: int = between(1, 4096, default=32)
    starts: int = between(2, 100, default=6)
    iterations: int = between(1, 1000, default=10)  # for an eigenvalue
    resolution: int = between(3, 101, default=11)  # of the loss surface

    title = "Whether a network learns hangs on settings that a convex model hardly feels"
    chapter = "limits"
    version = 2  # claim (d) is of what chance moves more than it moves the convex control, which it moves, too
    sources = (
        "He et al., Delving deep into rectifiers, ICCV 2015, arXiv:1502.01852",
        "Frankle et al., Linear mode connectivity and the lottery ticket hypothesis, ICML 2020, arXiv:1912.05671",
        "Li et al., Visualizing the loss landscape of neural nets, NeurIPS 2018, arXiv:1712.09913",
        "Li et al., Convergent learning: do different neural networks learn the same representations?, ICLR 2016",
        "Picard, Torch.manual_seed(3407) is all you need, 2021, arXiv:2109.08203",
    )
    metrics = {
        "share_near_best": Metric("share of settings within a point of the best", "1", "higher", True, 0, 1),
        "failure_rate": Metric("share of settings below twice chance", better="lower", low=0, high=1),
        "divergence_rate": Metric("share of settings whose loss grew", better="lower", low=0, high=1),
        "test_accuracy": Metric("test accuracy of the chosen setting", "1", "higher", low=0, high=1),
        "seed_sd": Metric("standard deviation of test accuracy over runs of one setting", better="lower", low=0),
        "seed_range": Metric("largest less smallest test accuracy over these runs", better="lower", low=0, high=1),
        "barrier": Metric("training loss on the way above the line between its ends", "nats", "lower"),
        "top_eigenvalue": Metric("eigenvalue of the Hessian of largest size"),
    }
    presets = {
        "quick": {},
        "full": {"dataset": "mnist", "train_size": 5000, "validation": 1000, **LONG},
        "mnist1d": {"dataset": "mnist1d", "train_size": 4000, "validation": 1000, **LONG},
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("depths", "scales"):
            values = getattr(self, name)
            if list(values) != sorted(set(values)):
                raise ParameterError(f"{name} is {values}; expected each once, from the smallest to the largest")

    def datasets(self) -> tuple[str, ...]:
        return () if self.dataset == "mnist1d" else (self.dataset,)

    @property
    def grid(self) -> tuple[int, int, int]:
        """How many optimizers, rates and scales."""
        return len(OPTIMIZERS), len(RATES), len(self.scales)

    def trial(self, context: Context) -> Iterator[Measurement]:
        task = self.split(context)
        arms = [(subject, depth) for subject in SUBJECTS for depth in (self.depths if subject != LOGISTIC else (0,))]
        outcomes: dict[str, list[Outcome]] = {subject: [] for subject in SUBJECTS}
        for done, (subject, depth) in enumerate(arms):
            context.progress(0.9 * done / len(arms), f"{subject}, {depth} hidden layers")
            with context.seeded("init", subject, depth):
                start = self.build(subject, depth, task.train.x.shape[1])
            outcome = self.trained(start, task, context)
            outcomes[subject].append(outcome)
            common = {"subject": subject, "data": self.dataset, "depth": depth}
            yield {**common, "over": "depth", **summary([outcome])}
            for when, net in (("before", outcome.started), ("after", outcome.chosen)):
                value = top_eigenvalue(
                    net, task.judged, generator=context.generator("eigenvalue"), iterations=self.iterations
                )
                yield {**common, "over": "curvature", "when": when, "top_eigenvalue": value}
            if depth == max(self.depths):
                seen = surface(
                    outcome.chosen, task.judged, generator=context.generator("surface"), points=self.resolution
                )
                context.keep(f"surface {subject}", seen)
        for subject, found in outcomes.items():
            common = {"subject": subject, "data": self.dataset}
            yield {**common, "over": "grid", **summary(found)}
            for k, name in enumerate(OPTIMIZERS):
                yield {**common, "over": "optimizer", "optimizer": name, **summary(found, np.s_[k : k + 1])}
            context.keep(f"accuracy {subject}", np.stack([outcome.test for outcome in found]).astype(np.float32))
        context.progress(0.9, "runs of one setting")
        for subject, depth in ((PLAIN, self.depths[0]), (LOGISTIC, 0)):
            yield from self.repeated(subject, depth, outcomes[subject][0], task, context)

    def split(self, context: Context) -> Task:
        """Training, validation and test examples, as vectors; inputs of mean 0 and deviation 1 over all."""
        sizes = (self.train_size, self.validation)
        if self.dataset == "mnist1d":
            x, y = mnist1d(sum(sizes) + 2000, context.rng("split"))
            cuts = np.cumsum(sizes)
            parts = list(zip(np.split(x, cuts), np.split(y, cuts), strict=True))
        else:
            parts = divided(self.dataset, sizes, context)
        mean, sd = parts[0][0].mean(), parts[0][0].std()
        tensors = ((torch.from_numpy((x - mean) / sd).flatten(1), torch.from_numpy(y)) for x, y in parts)
        return Task(*(Examples(x.to(context.device), y.to(context.device)) for x, y in tensors))

    def build(self, subject: str, depth: int, features: int) -> nn.Sequential:
        """An untrained network whose weights have the standard deviation of He et al., and no biases yet."""
        if subject == NORM_SKIP:
            blocks = [Block(self.width) for _ in range(depth - 1)]
            net = nn.Sequential(nn.Linear(features, self.width), *blocks, nn.Linear(self.width, CLASSES))
        else:
            net = perceptron([features, *[self.width] * depth, CLASSES])
        for layer in net.modules():
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)
        return net

    def trained(self, start: nn.Sequential, task: Task, context: Context) -> Outcome:
        """Every setting of the grid from one draw of weights, all at once."""
        scaled_starts = [scaled(start, scale) for scale in self.scales]
        stack = Stack(scaled_starts * (len(OPTIMIZERS) * len(RATES))).to(context.device)
        with torch.no_grad():
            before = task.losses(stack)
        rates = torch.tensor(RATES, device=context.device).repeat_interleave(len(self.scales))
        order = context.generator("order")
        rows = (rows[0] for rows in batches([len(task.train.y)], self.batch_size, steps=self.steps, generators=[order]))
        descend(stack, [(kind, rates) for kind in OPTIMIZERS], rows, task, steps=self.steps, shared=True)
        with torch.no_grad():
            after = task.losses(stack)
            validation, test = (accuracies(stack, *part) for part in (task.validation, task.test))
        grew = ~(after <= before.clamp_min(math.log(CLASSES)))  # true of what is no number, too
        best = int(validation.argmax())
        return Outcome(
            *(values.reshape(self.grid) for values in (validation, test, grew.cpu().numpy())),
            started=scaled_starts[best % len(self.scales)].to(context.device),
            chosen=stack[best],
        )

    def repeated(
        self, subject: str, depth: int, outcome: Outcome, task: Task, context: Context
    ) -> Iterator[Measurement]:
        """The chosen setting from several starts in two orders each, and the loss on the ways between these runs."""
        kind, rate, scale = np.unravel_index(outcome.validation.argmax(), self.grid)
        runs = [(start, order) for start in range(self.starts) for order in range(2)]
        nets = []
        for start, _ in runs:
            with context.seeded("start", subject, start):
                net = self.build(subject, depth, task.train.x.shape[1])
            nets.append(scaled(net, self.scales[scale]))
        stack = Stack(nets).to(context.device)
        orders = [context.generator("order", *run) for run in runs]
        rows = batches([len(task.train.y)] * len(runs), self.batch_size, steps=self.steps, generators=orders)
        rates = torch.full((len(runs),), RATES[rate], device=context.device)
        descend(stack, [(OPTIMIZERS[kind], rates)], rows, task, steps=self.steps, shared=False)
        with torch.no_grad():
            right = accuracies(stack, *task.test)
        common = {"subject": subject, "data": self.dataset, "depth": depth}
        yield {**common, "over": "seeds", "seed_sd": float(right.std(ddof=1)), "seed_range": float(np.ptp(right))}

        ends = [stack[k] for k in range(len(stack))]
        firsts, again = ends[::2], ends[1::2]
        others = firsts[1:] + firsts[:1]
        ways = {"other start": (firsts, others), "other order": (firsts, again)}
        if subject == PLAIN:
            rng = context.generator("shuffle")
            ways["aligned"] = (firsts, [aligned(b, a, task.train.x) for a, b in zip(firsts, others, strict=True)])
            ways["shuffled copy"] = (firsts, [shuffled(net, rng) for net in firsts])
        for way, pairs in ways.items():
            followed = np.stack([losses_between(a, b, task.judged, POINTS) for a, b in zip(*pairs, strict=True)])
            yield {**common, "over": "ways", "way": way, "barrier": float(np.mean([barrier(one) for one in followed]))}
            context.keep(f"way {subject} {way}", followed)

    claims = [
        Claim(
            "(a) over the whole grid, the share of settings within a point of the best is over 20 points larger for "
            "logistic regression than for plain networks",
            lambda rows: above(
                over_grid(rows, LOGISTIC).share_near_best - over_grid(rows, PLAIN).share_near_best, 0.2
            ),
        ),
        Claim(
            "(b) runs of one setting from other starts are separated by a barrier of the training loss",
            lambda rows: above(on_the_way(rows, PLAIN, "other start"), 0.0),
            source="Frankle et al. 2020",
        ),
        Claim(
            "(b) and still so after their neurons have been aligned",
            lambda rows: above(on_the_way(rows, PLAIN, "aligned"), 0.0),
        ),
        Claim(
            "(c) at the largest depth, plain networks fail in over 30 points more of the settings than those with "
            "normalisation and skips",
            lambda rows: above(deepest(rows, PLAIN).failure_rate - deepest(rows, NORM_SKIP).failure_rate, 0.3),
        ),
        Claim(
            "(d) start and order alone move test accuracy at the best setting, from the worst run to the best, by over "
            "a point more than they move logistic regression's",
            lambda rows: above(paired(where(rows, over="seeds"), "seed_range", PLAIN, LOGISTIC), NEAR),
            source="Picard 2021",
        ),
        Control(
            "logistic regression, whose loss is convex, has no barrier: the loss rises by no more than rounding",
            lambda rows: all_of(*(below(rise(rows, way), ROUNDING) for way in ("other start", "other order"))),
            kind="negative",
        ),
        Control(
            "from a network to itself with shuffled neurons there is a barrier of over 0.1 nats",
            lambda rows: above(on_the_way(rows, PLAIN, "shuffled copy"), 0.1),
            kind="positive",
        ),
        Control(
            "the chosen setting of every subject has learnt: test accuracy over 0.85 (MNIST-1D: 0.4, logistic 0.2)",
            knows,
            kind="gate",
        ),
    ]  # fmt: skip

    def plot(self, rows: pd.DataFrame, figure: Figure, artefacts: Artefacts) -> None:
        figure.set_size_inches(11, 6.4)
        figure.set_layout_engine("constrained")
        top, bottom = figure.subfigures(2, 1, height_ratios=[1.0, 1.0])
        maps = top.subplots(1, 5)
        image = None
        for axes, (subject, place) in zip(maps, PANELS, strict=True):
            image = draw_heat(axes, artefacts, subject, place)
            depth = f", {self.depths[place]} layers" if subject != LOGISTIC else ""
            axes.set_title(subject + depth, fontsize=9)
            names = [f"{name} ×{scale:g}" for name in OPTIMIZERS for scale in self.scales]
            axes.set_yticks(range(len(names)), names, fontsize=6.5)
            axes.tick_params(labelleft=axes is maps[0])
        maps[0].set_ylabel("optimizer, scale of the first weights", fontsize=8)
        if image is not None:
            top.colorbar(image, ax=maps, label="test accuracy", pad=0.01)
        ways, shares, plain, skip = bottom.subplots(1, 4)
        for axes in (ways, shares, plain, skip):
            axes.tick_params(labelsize=7)
        draw_ways(ways, artefacts)
        draw_shares(shares, rows, self.depths)
        image = draw_surfaces((plain, skip), artefacts, max(self.depths))
        if image is not None:
            bottom.colorbar(image, ax=(plain, skip), label="training loss, nats", pad=0.01, format="%.3g")


# -------------------------------------------------------------------------------------------------------------- parts


class Examples(NamedTuple):
    x: Tensor  # [n, features]
    y: Tensor  # [n]


class Task(NamedTuple):
    train: Examples
    validation: Examples
    test: Examples

    def judged(self, net: nn.Module) -> Tensor:
        """The loss of a network on some of the training examples."""
        return F.cross_entropy(net(self.train.x[:JUDGED]), self.train.y[:JUDGED])

    def losses(self, stack: Stack) -> Tensor:
        """The same of each network of a stack."""
        targets = self.train.y[:JUDGED]
        return stack.losses(F.cross_entropy, stack(self.train.x[:JUDGED]), targets.expand(len(stack), -1))


class Outcome(NamedTuple):
    """What became of a grid, optimizers by rates by scales, from one draw of weights."""

    validation: NDArray[np.float64]  # accuracy
    test: NDArray[np.float64]
    grew: NDArray[np.bool_]  # the loss, or it is no number
    started: nn.Module  # the chosen setting, before and after training
    chosen: nn.Module


class Block(nn.Module):
    """x + linear(relu(normalised x))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.linear = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.linear(F.relu(self.norm(x)))


@torch.no_grad()
def scaled(net: nn.Sequential, scale: float) -> nn.Sequential:
    """A copy whose weight matrices are larger by this factor."""
    net = copy.deepcopy(net)
    for layer in net.modules():
        if isinstance(layer, nn.Linear):
            layer.weight.mul_(scale)
    return net


def shuffled(net: nn.Sequential, generator: torch.Generator) -> nn.Sequential:
    """The same function of a perceptron, the neurons of its hidden layers in another order."""
    net = copy.deepcopy(net)
    linear = [layer for layer in net if isinstance(layer, nn.Linear)]
    for layer, following in pairwise(linear):
        reorder(layer, following, torch.randperm(layer.out_features, generator=generator).to(layer.weight.device))
    return net


def descend(
    stack: Stack, parts: Sequence[tuple[str, Tensor]], rows: Iterator[Tensor], task: Task, *, steps: int, shared: bool
) -> None:
    """Train a stack, part by part of it with an optimizer and each network's rate, which falls to 0.

    ``rows`` are the examples of each step's batch: [batch] if all networks share it, otherwise [networks, batch].
    """
    optimizers, views, first = [], [], 0
    for kind, rates in parts:
        part = slice(first, first + len(rates))
        mine = [(nn.Parameter(p.data[part]), p) for p in stack.parameters()]  # of the same memory
        optimizers.append((optimizer(kind, [view for view, _ in mine]), rates))
        views += [(view, p, part) for view, p in mine]
        first = part.stop
    for step, chosen in enumerate(rows):
        chosen = chosen.to(task.train.y.device)
        x, y = task.train.x[chosen], task.train.y[chosen]
        logits = stack(x) if shared else stack.each(x)
        losses = stack.losses(F.cross_entropy, logits, y.expand(len(stack), -1))
        stack.zero_grad()
        losses.sum().backward()
        for view, parameter, part in views:
            view.grad = parameter.grad[part]
        for taken, rates in optimizers:
            step_at(taken, rates * (1 - step / steps))


def optimizer(kind: str, parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
    """One of OPTIMIZERS, at a rate that is scaled for each network."""
    if kind == "adam":
        return torch.optim.Adam(parameters, lr=RATES[-1], fused=True)
    return torch.optim.SGD(parameters, lr=RATES[-1], momentum=0.9 if kind == "momentum" else 0.0, fused=True)


def summary(outcomes: Sequence[Outcome], part: slice = np.s_[:]) -> dict[str, float]:
    """Shares of the settings, of all these grids or the same part of each, and the accuracy of the chosen one."""
    validation, test, grew = (
        np.concatenate([getattr(outcome, name)[part].ravel() for outcome in outcomes])
        for name in ("validation", "test", "grew")
    )
    chosen = float(test[validation.argmax()])
    return {
        "share_near_best": float((test >= chosen - NEAR).mean()),
        "failure_rate": float((test < FAILED).mean()),
        "divergence_rate": float(grew.mean()),
        "test_accuracy": chosen,
    }


# ------------------------------------------------------------------------------------------------------------ picture

PANELS = ((LOGISTIC, 0), (PLAIN, 0), (PLAIN, -1), (NORM_SKIP, 0), (NORM_SKIP, -1))  # and which depth
WAYS = {
    (PLAIN, "other start"): ("plain, other start", "#D55E00", "-"),
    (PLAIN, "aligned"): ("the same, aligned", "#E69F00", "-"),
    (PLAIN, "other order"): ("plain, other order", "#CC79A7", "-"),
    (PLAIN, "shuffled copy"): ("plain, shuffled copy", "#000000", ":"),
    (LOGISTIC, "other start"): ("logistic, other start", "#666666", "--"),
}


def seeds_mean(artefacts: Artefacts, name: str) -> NDArray[np.float64] | None:
    """The mean over seeds of what trials kept under a name, or None where none did."""
    found = [kept[name] for kept in artefacts.values() if name in kept]
    return np.mean(found, axis=0) if found else None


def draw_heat(axes: Axes, artefacts: Artefacts, subject: str, place: int) -> AxesImage | None:
    """Mean test accuracy of a grid: rates from left to right, scales within optimizers from top to bottom."""
    accuracies, image = seeds_mean(artefacts, f"accuracy {subject}"), None
    if accuracies is not None:
        cells = accuracies[place].transpose(0, 2, 1).reshape(-1, len(RATES))
        image = axes.imshow(cells, vmin=0, vmax=1, cmap="viridis", aspect="auto")
        for k in (1, 2):
            axes.axhline(k * len(cells) / len(OPTIMIZERS) - 0.5, color="white", linewidth=1.5)
    axes.set_xticks(range(0, len(RATES), 2), [f"{rate:g}" for rate in RATES[::2]], fontsize=7, rotation=60)
    axes.set_xlabel("learning rate", fontsize=8)
    return image


def draw_ways(axes: Axes, artefacts: Artefacts) -> None:
    """Mean training loss along the ways."""
    for (subject, way), (label, color, line) in WAYS.items():
        followed = seeds_mean(artefacts, f"way {subject} {way}")
        if followed is not None:
            places = np.linspace(0, 1, followed.shape[1])
            axes.plot(places, followed.mean(0), color=color, linestyle=line, label=label)
    if axes.lines:
        low, high = axes.get_ylim()
        axes.set_ylim(low, high + 0.55 * (high - low))  # room for the legend
        axes.legend(fontsize=6.5, frameon=False, loc="upper center", ncols=1)
    axes.set_title("from one run to another", fontsize=9)
    axes.set_xlabel("share of the way", fontsize=8)
    axes.set_ylabel("training loss, nats", fontsize=8)


def draw_shares(axes: Axes, rows: pd.DataFrame, depths: Sequence[int]) -> None:
    """Failures by depth, with intervals over seeds, and the share near the best in the legend."""
    if {"subject", "over", "depth", "failure_rate"} <= set(rows.columns):
        for subject in SUBJECTS:
            mine = where(rows, subject=subject, over="depth")
            near = where(rows, subject=subject, over="grid").share_near_best.mean()
            label = f"{subject}: {100 * near:.0f} % near best"
            if subject == LOGISTIC:
                axes.axhline(mine.failure_rate.mean(), color=COLORS[subject], linestyle="--", label=label)
                continue
            found = [where(mine, depth=depth).failure_rate.to_numpy() for depth in depths]
            style = {"color": COLORS[subject], "marker": "o", "markersize": 4, "label": label}
            draw_means(axes, range(len(depths)), found, limits=(0, 1), **style)
        axes.legend(fontsize=6.5, frameon=False, loc="upper left")
    axes.set_xticks(range(len(depths)), [str(depth) for depth in depths], fontsize=7)
    axes.set_ylim(0, 1.3)
    axes.set_title("settings that fail", fontsize=9)
    axes.set_xlabel("hidden layers", fontsize=8)
    axes.set_ylabel("share below twice chance", fontsize=8)


def draw_surfaces(panels: Sequence[Axes], artefacts: Artefacts, depth: int) -> ContourSet | None:
    """The loss around the chosen deepest networks of one seed, in the same colours."""
    names, image = (PLAIN, NORM_SKIP), None
    seeds = [s for s, kept in sorted(artefacts.items()) if all(f"surface {name}" in kept for name in names)]
    for axes, name in zip(panels, names, strict=True):
        if seeds:
            losses = np.nan_to_num(artefacts[seeds[0]][f"surface {name}"], nan=1e6, posinf=1e6)
            places = np.linspace(-1, 1, len(losses))
            levels = np.geomspace(0.02, 20, 16)
            image = axes.contourf(places, places, losses.clip(0.0201, 19.9), levels, norm="log", cmap="magma")
            axes.plot(0, 0, "w+")
        axes.set_title(f"loss around {name}, {depth} layers", fontsize=9)
        axes.set_xlabel("relative move of the weights", fontsize=8)
    return image
