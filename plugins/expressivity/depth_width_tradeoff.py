"""What a deep network says with few units, a shallow one may need exponentially many for (Telgarsky, COLT 2016).

The tent, t -> 1 - |1 - 2t|, takes two ReLUs. Composed with itself k times more it is a triangle wave of 2^k teeth: two
units a layer and k + 1 layers suffice. One hidden layer of m units on a line has at most m + 1 linear pieces, and the
wave has 2^(k+1). The seed moves the window in which the wave is seen, so that no kink falls on a knot by design.

- *representation*: the least number W*(k) of units with a root mean squared error of at most 0.05. Shallow: knots laid
  evenly, output weights by least squares, every width from 1 on. Deep: tents, the output layer by least squares, every
  depth from 1 on.
- *training* is another matter: nets of 385 parameters (one layer of 128, six of 8, six of 8 with residual connections),
  and narrow ones of the deep net's own shape, from random weights and from the exact ones with noise. Adam, at each of
  three rates from each of three starts; the error on validation points chooses. What is claimed of training is claimed
  of the budget of steps that it gets here, which in ``quick`` is small: 250. It meets a smooth target, but not the wave
  of two teeth (on seeds 0 to 5 the deep net's error at k = 1 is 0.19, that of the residual one 0.10), so that a claim
  which does not hold there says that the wave is not found so soon, and not that it cannot be found. On seeds 100 and
  101, at k = 1, a thousand steps at these rates brought all but the narrow nets below 0.003.

The control composes as often a smooth map that is monotone: depth in the target alone makes no gap, oscillation does.

Version 2 states that budget with the claims on training, and of which nets the control on the smooth target speaks.
No rule has changed.

``full`` trains for longer and for more k, and adds nets of 1 to 8 layers of equally many parameters on the parity of up
to 20 bits, a function of the radius in up to 20 dimensions (Eldan & Shamir 2016; Daniely 2017) and MNIST. There is no
claim about these.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import solveh_banded
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
    below,
    between,
    draw_means,
    every,
    one_of,
    per_seed,
    slope,
    where,
)
from dlbench.stacking import Stack, batches, step_at
from dlbench_plugins.networks import perceptron

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dlbench import Artefacts

CLOSE = 0.05  # root mean squared error; the best constant has 1/√12 = 0.289
RATES = (1e-3, 3e-3, 1e-2)
NOISES = (0.01, 0.1)  # of the exact weights, relative
GRID = 2**14  # cells in which linear pieces are counted
STARTS = 3  # of every net that is trained
DEPTH, WIDTH = 6, 8  # of the trained deep nets


def needed(rows: pd.DataFrame, subject: str, target: str) -> pd.DataFrame:
    """Least numbers of units, and their log2, a row for each k and seed."""
    rows = where(rows, subject=subject, target=target)
    return rows.assign(log2_needed=np.log2(rows.units_needed.where(rows.units_needed > 0)))


def is_linear(rows: pd.DataFrame) -> pd.Series:
    """R² a seed of a straight line through the deep net's parameters against k."""
    return per_seed(
        where(rows, subject="deep", target="wave"), lambda r: float(np.corrcoef(r.k, r.parameters)[0, 1] ** 2)
    )


def near(noise: float) -> str:
    """The subject that starts near the exact weights."""
    return f"exact with {noise:.0%} noise trained"


def hardest(rows: pd.DataFrame, subject: str) -> pd.DataFrame:
    """A trained subject on the wave of the most teeth that any was trained on."""
    rows = where(rows, target="wave", how="trained")
    return where(rows[rows.k == rows.k.max()], subject=subject)


@dataclass(frozen=True)
class DepthWidthTradeoff(Experiment):
    """Units that shallow and deep networks need for a triangle wave of 2^k teeth, and what training finds of them."""

    ks: tuple[int, ...] = between(1, 10, default=(1, 2, 3, 4, 5, 6, 7))
    trained_ks: tuple[int, ...] = between(1, 10, default=(1, 5))
    shaped_ks: tuple[int, ...] = between(1, 10, default=(5,))  # of which nets of the exact one's shape are trained
    trained_widths: tuple[int, ...] = between(1, 4096, default=(128,))  # of one hidden layer
    steps: int = between(1, 10**6, default=250)
    points: int = between(64, 10**6, default=256)  # to train with, and as many to validate
    more: tuple[str, ...] = one_of("parity", "radial", "mnist", default=())
    budget: int = between(100, 10**7, default=20_000)  # parameters of the nets on `more`
    dims: tuple[int, ...] = between(1, 100, default=(5, 10, 20))

    title = "Depth says with few units what width needs exponentially many for"
    chapter = "expressivity"
    version = 2
    sources = (
        "Telgarsky, Benefits of depth in neural networks, COLT 2016, arXiv:1602.04485",
        "Eldan & Shamir, The power of depth for feedforward neural networks, COLT 2016",
        "Daniely, Depth separation for neural networks, COLT 2017",
        "Malach & Shalev-Shwartz, Is deeper better only when shallow is good?, NeurIPS 2019",
    )
    metrics = {
        "rmse": Metric("root mean squared error on new points", better="lower", main=True, low=0),
        "units_needed": Metric(f"least number of units with an error of at most {CLOSE:g}", "units", "lower", low=1),
        "parameters": Metric("weights and biases", low=1),
        "pieces": Metric("linear pieces", low=1),
        "error": Metric(
            "share of new points on the wrong side of 1/2, or misclassified", better="lower", low=0, high=1
        ),
    }
    presets = {
        "quick": {},
        "full": {
            "trained_ks": (1, 2, 3, 4, 5, 6),
            "shaped_ks": (1, 2, 3, 4, 5, 6),
            "trained_widths": (16, 32, 64, 128, 256, 512, 1024),
            "steps": 20_000,
            "points": 4096,
            "more": ("parity", "radial", "mnist"),
        },
    }

    def datasets(self) -> tuple[str, ...]:
        return ("mnist",) if "mnist" in self.more else ()

    def trial(self, context: Context) -> Iterator[Measurement]:
        yield from self.represented(context)
        yield from self.trained(context)
        for task in self.more:
            yield from self.compared(task, context)

    # ------------------------------------------------------------------------------------------------ representation

    def represented(self, context: Context) -> Iterator[Measurement]:
        """Least shallow and deep nets for every k, the shallow ones of half as many units as pieces, and of enough."""
        for k in self.ks:
            for target in ("wave", "smooth"):
                problem = Problem(target, k, self.points, context)
                common = {"target": target, "k": k, "how": "solved"}
                yield {"subject": "shallow", **common, **problem.least_even_knots(8 * 2**k)}
                if target == "smooth":
                    continue
                yield {"subject": "deep", **common, **problem.least_tents(k + 2)}
                half = through(*problem.even_knots(2**k)).to(context.device)
                yield {"subject": "shallow, half as many units", **common, **problem.score(half)}
                yield {"subject": "shallow, a unit at each kink", **common, **problem.score(problem.knots_at_kinks())}

    # ------------------------------------------------------------------------------------------------------ training

    def trained(self, context: Context) -> Iterator[Measurement]:
        """The same nets at every rate, for all waves and the smooth target of the largest k at once."""
        waves = [Problem("wave", k, self.points, context) for k in self.trained_ks]
        all_problems = [*waves, Problem("smooth", max(self.trained_ks), self.points, context)]
        random_starts: dict[str, Callable[[], nn.Module]] = {
            **{f"shallow trained, {width} units": shallow(width) for width in self.trained_widths},
            "deep trained": deep,
            "residual trained": residual,
        }
        for subject, build in random_starts.items():
            with context.seeded("init", subject):
                nets = [build() for _ in range(STARTS)]
            yield from self.best([(subject, problem, nets) for problem in all_problems])
        for problem in waves:
            if problem.k not in self.shaped_ks:
                continue
            exact = problem.tents(problem.k + 1).float()
            with context.seeded("init", "narrow", problem.k):
                starts = {"narrow trained": [tent_shape(problem.k + 1) for _ in range(STARTS)]}
                starts |= {near(noise): [noisy(exact, noise) for _ in range(STARTS)] for noise in NOISES}
            yield from self.best([(subject, problem, nets) for subject, nets in starts.items()])

    def best(self, cells: Sequence[tuple[str, Problem, Sequence[nn.Module]]]) -> Iterator[Measurement]:
        """Each start trained at each rate, all together; of each cell's nets the best on the validation points."""
        jobs = [(problem, start, rate) for _, problem, starts in cells for start in starts for rate in RATES]
        stack = Stack([start for _, start, _ in jobs]).to(jobs[0][0].device)
        x, y = (torch.stack([problem.train[part] for problem, *_ in jobs]).float() for part in (0, 1))
        adam = torch.optim.Adam(stack.parameters(), max(RATES), fused=True)
        rates = torch.tensor([rate for *_, rate in jobs], device=x.device)
        for step in range(self.steps):
            adam.zero_grad()
            stack.losses(F.mse_loss, stack.each(x), y).sum().backward()
            step_at(adam, rates * (1 - step / self.steps))
        x, y = (torch.stack([problem.validation[part] for problem, *_ in jobs]) for part in (0, 1))
        with torch.no_grad():
            errors = (stack.double().each(x) - y).square().mean((1, 2)).view(len(cells), -1)
        for number, ((subject, problem, _), tried) in enumerate(zip(cells, errors.cpu().numpy(), strict=True)):
            setting = {"subject": subject, "target": problem.target, "k": problem.k, "how": "trained"}
            yield {**setting, **problem.score(stack[number * len(tried) + int(tried.argmin())])}

    claims = [
        Claim(
            "the units that one hidden layer needs for 2^k teeth grow exponentially: log2 rises by over 0.7 a k",
            lambda rows: above(slope(needed(rows, "shallow", "wave"), "k", "log2_needed"), 0.7),
            source="Telgarsky 2016",
        ),
        Claim(
            "the parameters that a deep net needs grow linearly (R² of a straight line)",
            lambda rows: above(is_linear(rows), 0.99),
            source="Telgarsky 2016",
        ),
        Claim(
            "with half as many units as pieces one hidden layer does hardly better than a constant: error above 0.2, "
            "from 4 teeth on",
            lambda rows: every(
                where(rows[rows.k >= 2], subject="shallow, half as many units"), "k", lambda r: above(r.rmse, 0.2)
            ),
        ),
        Claim(
            "training finds it in its budget of steps: from random weights a deep net comes within 0.05 of the wave "
            "of most teeth",
            lambda rows: below(hardest(rows, "deep trained").rmse, CLOSE),
        ),
        Claim(
            "so does one with residual connections, in as many steps",
            lambda rows: below(hardest(rows, "residual trained").rmse, CLOSE),
        ),
        Claim(
            "so does one of the exact net's own shape, in as many steps",
            lambda rows: below(hardest(rows, "narrow trained").rmse, CLOSE),
        ),
        Claim(
            "from the exact weights with 1 % noise it does, in as many steps",
            lambda rows: below(hardest(rows, near(NOISES[0])).rmse, CLOSE),
        ),
        Claim(
            "from the exact weights with 10 % noise it does, in as many steps",
            lambda rows: below(hardest(rows, near(NOISES[1])).rmse, CLOSE),
        ),
        Claim(
            "trained so from random weights a deep net has less than half the pieces of the wave of most teeth",
            lambda rows: below(hardest(rows, "deep trained").pieces / 2 ** (hardest(rows, "deep trained").k + 1), 0.5),
        ),
        Control(
            "for a smooth monotone target, composed as often, the units that one hidden layer needs hardly grow",
            lambda rows: below(slope(needed(rows, "shallow", "smooth"), "k", "log2_needed"), 0.3),
            kind="negative",
        ),
        Control(
            "a unit at each kink makes one hidden layer exact: it is the number that is wanting",
            lambda rows: every(where(rows, subject="shallow, a unit at each kink"), "k", lambda r: below(r.rmse, 1e-6)),
            kind="positive",
        ),
        Control(
            "every net of 385 parameters that is trained meets the smooth target: training works where there is "
            "little to find",
            lambda rows: every(where(rows, target="smooth", how="trained"), "subject", lambda r: below(r.rmse, CLOSE)),
            kind="positive",
        ),
        Control(
            "a least net was found for every k, by every seed",
            lambda rows: every(
                where(rows, how="solved")[lambda r: r.subject.isin(["shallow", "deep"])],
                ["subject", "target", "k"],
                lambda r: above(r.units_needed, 0.0),  # a seed without one is not counted, and six are needed
            ),
            kind="gate",
        ),
    ]

    def plot(self, rows: pd.DataFrame, figure: Figure, artefacts: Artefacts) -> None:
        figure.set_size_inches(9, 4.5)
        figure.set_layout_engine("constrained")
        left, right = figure.subplots(1, 2)
        draw_needed(left, rows)
        draw_pieces(right, rows)

    # ----------------------------------------------------------------------------------------- full: other functions

    def compared(self, task: str, context: Context) -> Iterator[Measurement]:
        """Nets of 1 to 8 hidden layers and equally many parameters."""
        for dim in self.dims if task != "mnist" else (784,):
            data = DATA[task](dim, context)
            outputs = 1 if task == "radial" else int(data.train.y.max()) + 1
            loss = F.mse_loss if task == "radial" else F.cross_entropy
            for depth in (1, 2, 4, 8):
                width = width_for(self.budget, dim, outputs, depth)
                with context.seeded("init", task, dim, depth):
                    start = perceptron([dim, *[width] * depth, outputs])
                stack = Stack([start] * len(RATES)).to(context.device)
                adam = torch.optim.Adam(stack.parameters(), max(RATES), fused=True)
                rates = torch.tensor(RATES, device=context.device)
                x, y = (part.to(context.device) for part in data.train)
                orders = [context.generator("order", task) for _ in RATES]
                for step, chosen in enumerate(batches([len(x)] * len(RATES), 128, steps=self.steps, generators=orders)):
                    adam.zero_grad()
                    stack.losses(loss, stack.each(x[chosen]), y[chosen]).sum().backward()
                    step_at(adam, rates * (1 - step / self.steps))
                scores = [
                    [data.score(stack[k], part) for part in (data.validation, data.test)] for k in range(len(RATES))
                ]
                metric = "rmse" if task == "radial" else "error"
                setting = {"subject": f"{depth} layers", "target": task, "k": dim, "how": "trained"}
                yield {**setting, metric: min(scores)[1], "parameters": parameters(start)}


# ------------------------------------------------------------------------------------------------------- the problem


class Points(NamedTuple):
    x: Tensor  # [n, inputs]
    y: Tensor  # [n, 1], or classes [n]


class Problem:
    """One target of one seed: t, in a window of [0, 1], composed k + 1 times."""

    def __init__(self, target: str, k: int, points: int, context: Context) -> None:
        self.target, self.k, self.device = target, k, context.device
        self.margin = float(context.rng("window").uniform(0, 0.02))
        self.train = self.at(torch.linspace(0, 1, points, dtype=torch.float64))
        self.validation, self.test = (
            self.at(torch.rand(n, generator=context.generator(part), dtype=torch.float64))
            for part, n in (("validation", points), ("test", 2048))
        )

        dense = self.at((torch.arange(4096, dtype=torch.float64) + 0.5) / 4096)  # what output weights are solved on
        self.dense = tuple(part[:, 0].cpu().numpy() for part in dense)

    def at(self, x: Tensor) -> Points:
        """Points [n] with the target's values there."""
        t = self.margin + (1 - 2 * self.margin) * x
        for _ in range(self.k + 1):
            t = 1 - (1 - 2 * t).abs() if self.target == "wave" else t - 0.03 * torch.sin(2 * math.pi * t)
        return Points(x[:, None].to(self.device), t[:, None].to(self.device))

    @torch.no_grad()
    def rmse(self, net: nn.Module, points: Points) -> float:
        """Root mean squared error; what comes after twelve decimals is rounding, which no seed repeats."""
        return round(float((net(points.x) - points.y).square().mean().sqrt()), 12)

    def score(self, net: nn.Module) -> dict[str, float]:
        """What is measured of every net; the error is the measure of Telgarsky's theorem."""
        with torch.no_grad():
            error = float(((net(self.test.x) > 0.5) != (self.test.y > 0.5)).double().mean())
        counts = {"parameters": parameters(net), "pieces": pieces(net, self.device)}
        return {"rmse": self.rmse(net, self.test), "error": error, **counts}

    def least_even_knots(self, widest: int) -> dict[str, float]:
        """The first width that is close, else the widest."""
        x, y = (part[:, 0].cpu().numpy() for part in self.test)
        for width in range(1, widest + 1):
            knots, values = self.even_knots(width)
            if close := np.sqrt(np.square(np.interp(x, knots, values) - y).mean()) <= CLOSE:
                break
        net = through(knots, values).to(self.device)
        return self.score(net) | ({"units_needed": units(net)} if close else {})

    def least_tents(self, deepest: int) -> dict[str, float]:
        """The first depth that is close, else the deepest."""
        for depth in range(1, deepest + 1):
            net = self.tents(depth)
            if close := self.rmse(net, self.test) <= CLOSE:
                break
        return self.score(net) | ({"units_needed": units(net)} if close else {})

    def even_knots(self, width: int) -> tuple[NDArray, NDArray]:
        """Knots [width + 1] at even distances, and the values there of the best line with kinks at them.

        One hidden layer of so many units that bend at the knots, from the first on, can be any such line, whatever its
        output weights; solved for on the basis of hats, their normal equations are tridiagonal.
        """
        x, y = self.dense
        cell = np.minimum((x * width).astype(int), width - 1)
        right = x * width - cell
        left = 1 - right

        def total(at: NDArray, weights: NDArray) -> NDArray:
            return np.bincount(at, weights, minlength=width + 1)

        diagonal = total(cell, left**2) + total(cell + 1, right**2) + 1e-12
        bands = np.array([diagonal, total(cell, left * right)])
        values = solveh_banded(bands, total(cell, left * y) + total(cell + 1, right * y), lower=True)
        return np.linspace(0, 1, width + 1), values

    def knots_at_kinks(self) -> nn.Module:
        """One hidden layer with a unit at each of the wave's kinks in the window."""
        kinks = (np.arange(1, 2 ** (self.k + 1)) / 2 ** (self.k + 1) - self.margin) / (1 - 2 * self.margin)
        knots = np.array([0.0, *kinks[(kinks > 0) & (kinks < 1)], 1.0])
        return through(knots, self.at(torch.from_numpy(knots)).y[:, 0].cpu().numpy()).to(self.device)

    def tents(self, depth: int) -> nn.Module:
        """`depth` layers of two units, max(0, t) and max(0, t - 1/2), of which 2, -4 make a tent; the output solved."""
        net = tent_shape(depth).double().to(self.device)
        layers = [layer for layer in net if isinstance(layer, nn.Linear)]
        with torch.no_grad():
            for layer in layers[:-1]:
                layer.weight.copy_(torch.tensor([[2.0, -4.0]]) if layer.in_features == 2 else torch.ones(1, 1))
                layer.bias.copy_(torch.tensor([0.0, -0.5]))
            layers[0].weight.mul_(1 - 2 * self.margin)
            layers[0].bias.add_(self.margin)
            hidden = net[:-1](self.train.x)
            h = torch.cat([hidden, torch.ones_like(hidden[:, :1])], 1)
            solution = torch.linalg.lstsq(h, self.train.y).solution[:, 0]
            layers[-1].weight.copy_(solution[None, :2])
            layers[-1].bias.copy_(solution[2:])
        return net


def through(knots: NDArray, values: NDArray) -> nn.Module:
    """One hidden layer that goes through these values [m + 1] at these knots, linear between them, with m units."""
    slopes = np.diff(values) / np.diff(knots)
    net = shallow(len(slopes))().double()
    with torch.no_grad():
        net[0].weight.fill_(1.0)
        net[0].bias.copy_(torch.from_numpy(-knots[:-1]))
        net[2].weight.copy_(torch.from_numpy(np.diff(slopes, prepend=0.0))[None])
        net[2].bias.fill_(values[0])
    return net


def pieces(net: nn.Module, device: str) -> int:
    """Linear pieces of a net on [0, 1]; kinks in the same of GRID cells, or in two beside each other, count as one."""
    with torch.no_grad():
        values = net(torch.linspace(0, 1, GRID + 1, dtype=torch.float64, device=device)[:, None])[:, 0].cpu().numpy()
    bends = np.abs(np.diff(values, n=2)) * GRID > 1e-6
    return 1 + int(bends[0]) + int((bends[1:] & ~bends[:-1]).sum())


# -------------------------------------------------------------------------------------------------------------- nets


def shallow(width: int) -> Callable[[], nn.Sequential]:
    """One hidden layer."""
    return lambda: perceptron([1, width, 1])


def deep() -> nn.Module:
    """As many parameters as one hidden layer of 128."""
    return perceptron([1, *[WIDTH] * DEPTH, 1])


def tent_shape(depth: int) -> nn.Sequential:
    """The shape of the exact net of so many layers."""
    return perceptron([1, *[2] * depth, 1])


def residual() -> nn.Module:
    """The deep net with connections around each layer from the second to the last hidden one."""
    inner = [Around(nn.Sequential(nn.ReLU(), nn.Linear(WIDTH, WIDTH))) for _ in range(DEPTH - 1)]
    return nn.Sequential(nn.Linear(1, WIDTH), *inner, nn.ReLU(), nn.Linear(WIDTH, 1))


class Around(nn.Module):
    """A module's output on top of its input."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        return x + self.module(x)

    def stacked(self, x: Tensor, run: Callable[[nn.Module, Tensor], Tensor]) -> Tensor:
        """The same of a stack's networks."""
        return x + run(self.module, x)


def noisy(net: nn.Module, noise: float) -> nn.Module:
    """A copy, each of its parameters multiplied by a normal variable of mean 1."""
    from copy import deepcopy

    other = deepcopy(net)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1 + noise * torch.randn(parameter.shape, dtype=parameter.dtype).to(parameter.device))
    return other


def units(net: nn.Module) -> int:
    """Hidden units."""
    return sum(layer.out_features for layer in net.modules() if isinstance(layer, nn.Linear)) - 1


def parameters(net: nn.Module) -> int:
    """Weights and biases."""
    return sum(p.numel() for p in net.parameters())


# ----------------------------------------------------------------------------------------- other functions, for `full`


class Data(NamedTuple):
    train: Points
    validation: Points
    test: Points

    @staticmethod
    @torch.no_grad()
    def score(net: nn.Module, points: Points) -> float:
        """Root mean squared error, or the share misclassified."""
        x, y = (part.to(next(net.parameters()).device) for part in points)
        outputs = net(x)
        if y.is_floating_point():
            return float((outputs - y).square().mean().sqrt())
        return float((outputs.argmax(1) != y).double().mean())


def parity(dim: int, context: Context) -> Data:
    """Whether an even number of signs is negative."""

    def draw(part: str, n: int) -> Points:
        signs = torch.randint(2, (n, dim), generator=context.generator("parity", dim, part)) * 2 - 1
        return Points(signs.float(), (signs.prod(1) > 0).long())

    return Data(draw("train", 100_000), draw("validation", 5000), draw("test", 10_000))


def radial(dim: int, context: Context) -> Data:
    """sin(3πr), the radius r uniform in [0, 1] and the direction, too."""

    def draw(part: str, n: int) -> Points:
        generator = context.generator("radial", dim, part)
        direction = F.normalize(torch.randn(n, dim, generator=generator), dim=1)
        radius = torch.rand(n, 1, generator=generator)
        return Points(radius * direction, torch.sin(3 * math.pi * radius))

    return Data(draw("train", 100_000), draw("validation", 5000), draw("test", 10_000))


def mnist(dim: int, context: Context) -> Data:
    """The publishers' split; a tenth of the training images validates."""
    data = context.data("mnist")
    x, test_x = (torch.from_numpy(data[part]).flatten(1) for part in ("train_x", "test_x"))
    y, test_y = (torch.from_numpy(data[part]) for part in ("train_y", "test_y"))
    order = torch.from_numpy(context.rng("split").permutation(len(x)))
    held = order[: len(x) // 10]
    rest = order[len(held) :]
    return Data(Points(x[rest], y[rest]), Points(x[held], y[held]), Points(test_x, test_y))


DATA: dict[str, Callable[[int, Context], Data]] = {"parity": parity, "radial": radial, "mnist": mnist}


def width_for(budget: int, inputs: int, outputs: int, depth: int) -> int:
    """The largest width of `depth` hidden layers with no more parameters than the budget, at least 1."""

    def used(width: int) -> int:
        return (inputs + 1) * width + (depth - 1) * (width + 1) * width + (width + 1) * outputs

    return max(1, next(width for width in count(1) if used(width) > budget) - 1)


# ----------------------------------------------------------------------------------------------------------- picture


def draw_needed(axes: Axes, rows: pd.DataFrame) -> None:
    """W* against k."""
    if len(rows) and {"subject", "target", "k", "units_needed"} <= set(rows.columns):
        lines = (
            ("shallow", "wave", "one hidden layer, wave", {"color": "#0072B2", "marker": "o"}),
            ("deep", "wave", "deep, wave", {"color": "#D55E00", "marker": "s"}),
            ("shallow", "smooth", "one hidden layer, smooth target", {"color": "#009E73", "marker": "^"}),
        )
        for subject, target, label, style in lines:
            by_k = dict(iter(where(rows, subject=subject, target=target).groupby("k").units_needed))
            draw_means(axes, by_k, by_k.values(), log=True, label=label, markersize=4, **style)
        ks = np.array(sorted(rows[rows.target == "wave"].k.unique()))
        axes.plot(ks, 2.0 ** (ks + 1), ":", color="black", linewidth=0.8, label="pieces of the wave")
    axes.set(xlabel="k, the wave has 2^k teeth", ylabel=f"least units with an error below {CLOSE:g}")
    axes.set_yscale("log", base=2)
    if axes.lines:
        axes.legend(fontsize="x-small", frameon=False, loc="upper left")


def draw_pieces(axes: Axes, rows: pd.DataFrame) -> None:
    """Linear pieces against parameters, of the least nets and of trained ones."""
    if {"subject", "target", "how", "parameters", "pieces"} <= set(rows.columns):
        rows = rows[np.isfinite(rows.parameters) & np.isfinite(rows.pieces)]
    else:
        rows = rows.iloc[:0]
    if len(rows):
        waves = rows[rows.target == "wave"]
        solved = waves[waves.how == "solved"]
        for subject, label, color in (("shallow", "one hidden layer", "#0072B2"), ("deep", "deep", "#D55E00")):
            by_k = where(solved, subject=subject).groupby("k")[["parameters", "pieces"]].mean()
            if len(by_k):
                axes.plot(
                    by_k.parameters, by_k.pieces, "o-", color=color, markersize=4, label=f"{label}, least for a k"
                )
        trained = waves[waves.how == "trained"]
        groups = (
            ("one hidden layer, trained", trained.subject.str.startswith("shallow"), "#0072B2", "x"),
            ("deep, trained", trained.subject == "deep trained", "#D55E00", "x"),
            ("residual, trained", trained.subject == "residual trained", "#CC79A7", "+"),
            ("narrow, trained", trained.subject == "narrow trained", "#E69F00", "x"),
        )
        for label, chosen, color, marker in groups:
            group = trained[chosen]
            if group.empty:
                continue
            axes.scatter(group.parameters, group.pieces, s=25, color=color, marker=marker, linewidth=1, label=label)
    axes.set(xlabel="parameters", ylabel="linear pieces", xscale="log")
    axes.set_yscale("log", base=2)
    axes.set_ylim(0.7, 2**12)  # room for the legend
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize="x-small", frameon=False, loc="upper center")
