"""One hidden layer comes as close as one likes to any continuous function on a compact set (Cybenko 1989).

The theorem (Cybenko 1989; Hornik 1991; for exactly the activations that are not polynomials, Leshno et al. 1993) says
that a good net exists; it says neither how wide it is nor that training finds it. So there are two arms:

- *least squares*: hidden units are laid out without a look at the target, and only the output layer is solved for.
  The net is there, whatever training would make of it: a constructive upper bound on the best error.
- *trained*: Adam, then L-BFGS, on all weights of the same architecture and the same points: what training finds.

Targets are ridge functions f(x) = g(w·x) on the unit ball of R^d, with w a direction drawn by the seed: the same g
hides in every dimension, so that curves of different d differ in d only. The error is the largest over a dense set of
points apart from the training points; for d >= 2 that set (scrambled Sobol) is sparse, and its maximum a lower bound.
Outside of the compact set the theorem is silent; that is the experiment ``extrapolation``.

No subject is tuned: the only length scale is the spacing 2 / width^(1/d) of as many units laid on a grid.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain, combinations_with_replacement, count, islice
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from dlbench import (
    Claim,
    Context,
    Control,
    Experiment,
    Metric,
    above,
    all_of,
    below,
    between,
    every,
    paired,
    slope,
    where,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dlbench import Artefacts, Measurement, Verdict

EPS = 0.01  # "close", for targets of amplitude about 1
CONTINUOUS = ("smooth", "kink", "rough")
EXISTENCE = ("relu_least_squares", "tanh_least_squares")
TRAINED = ("relu_trained", "tanh_trained")
SPANNED = 128  # more x² units than a polynomial of degree 2 has coefficients, (d+1)(d+2)/2, for every d <= 10


def exists(rows: pd.DataFrame, subjects: tuple[str, ...] = EXISTENCE) -> Verdict:
    """At the largest width: sup error below EPS on every continuous target, and it fell faster than width^-1/2."""
    rows = rows[rows.subject.isin(subjects) & rows.target.isin(CONTINUOUS)]
    return each(widest(rows), lambda r: all_of(below(r.sup_error, EPS), below(r.slope, -0.5)))


def is_found(rows: pd.DataFrame) -> Verdict:
    """At the largest trained width, where as many given units come within EPS of a target, so do the trained ones.

    Elsewhere no net of that width is known to exist, and training would be blamed for what it cannot find.
    """
    rows = rows[rows.target.isin(CONTINUOUS) & (rows.width == rows[rows.subject.isin(TRAINED)].width.max())]
    verdicts = []
    for trained, given in zip(TRAINED, EXISTENCE, strict=True):
        for target, group in rows.groupby("target"):
            if where(group, subject=given).sup_error.mean() < EPS:
                verdict = below(where(group, subject=trained).sup_error, EPS)
                place = f"{verdict.criterion} at target={target}, subject={trained}"
                verdicts.append(replace(verdict, criterion=place))
    return all_of(*verdicts)


def step_is_missed(rows: pd.DataFrame) -> Verdict:
    """A continuous function is off by half the step's height at least, at the jump."""
    rows = rows[rows.subject.isin(EXISTENCE) & (rows.target == "step")]
    return each(widest(rows), lambda r: above(r.sup_error, 0.45))


def training_wins(rows: pd.DataFrame) -> Verdict:
    """At equal width the trained units' error is below that of the given units, on every continuous target."""
    rows = rows[rows.target.isin(CONTINUOUS) & (rows.width == rows[rows.subject.isin(TRAINED)].width.max())]
    logs = rows.assign(log_error=np.log10(rows.sup_error))

    def wins(r: pd.DataFrame) -> Verdict:
        pairs = zip(TRAINED, EXISTENCE, strict=True)
        return all_of(*(below(paired(r, "log_error", trained, given), 0.0) for trained, given in pairs))

    return every(logs, "target", wins)


def plateaus(rows: pd.DataFrame) -> Verdict:
    """Once x² units span their polynomials, the sup error stays above EPS and falls at less than half the claimed rate.

    Not exactly level: wider nets are fitted to more points.
    """
    rows = rows[(rows.subject == "square_least_squares") & rows.target.isin(CONTINUOUS) & (rows.width >= SPANNED)]
    logs = rows.assign(log_width=np.log(rows.width), log_error=np.log(rows.sup_error))

    def stays(r: pd.DataFrame) -> Verdict:
        return all_of(above(widest(r).sup_error, EPS), above(slope(r, "log_width", "log_error"), -0.25))

    return every(logs, "dim", lambda r: every(r, "target", stays))


def widest(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of the largest width."""
    return rows[rows.width == rows.width.max()]


def each(rows: pd.DataFrame, rule: Callable[[pd.DataFrame], Verdict]) -> Verdict:
    """The rule for every subject, dimension and target."""
    return every(rows, "subject", lambda s: every(s, "dim", lambda d: every(d, "target", rule)))


@dataclass(frozen=True)
class UniversalApproximation(Experiment):
    """Sup error of one-hidden-layer nets against width, for d = 1, 2, 5 and targets from smooth to discontinuous."""

    dims: tuple[int, ...] = between(1, 10, default=(1, 2, 5))
    widths: tuple[int, ...] = between(4, 16384, default=(4, 8, 16, 32, 64, 128, 256, 512))
    trained_dims: tuple[int, ...] = between(1, 10, default=(1, 5))
    trained_widths: tuple[int, ...] = between(4, 16384, default=(64,))
    points: int = between(64, 2**20, default=512)  # training points, at least
    points_per_unit: int = between(1, 64, default=4)  # and at least so many for each unit
    test_points: int = between(64, 2**20, default=2048)
    adam_steps: int = between(0, 10**6, default=50)
    lbfgs_steps: int = between(0, 10**6, default=100)

    title = "One hidden layer approximates any continuous function, at a price in width"
    chapter = "expressivity"
    sources = (
        "Cybenko, Approximation by superpositions of a sigmoidal function, 1989",
        "Hornik, Approximation capabilities of multilayer feedforward networks, 1991",
        "Leshno et al., Multilayer feedforward networks with a nonpolynomial activation function, 1993",
        "Barron, Universal approximation bounds for superpositions of a sigmoidal function, 1993",
    )
    metrics = {
        "sup_error": Metric("largest error off the training points", better="lower", main=True, low=0.0),
        "rmse": Metric("root mean squared error off the training points", better="lower", low=0.0),
        "slope": Metric("log-log slope of the sup error on width", better="lower"),
        "width_for_eps": Metric(f"least width with a sup error below {EPS:g}", unit="units", better="lower", low=1),
        "parameters": Metric("free parameters", low=1),
    }
    presets = {
        "quick": {},
        "full": {
            "dims": (1, 2, 5, 10),
            "widths": tuple(2**k for k in range(2, 15)),
            "trained_dims": (1, 2, 5, 10),
            "trained_widths": (16, 64, 256, 1024),
            "points": 4096,
            "test_points": 2**16,
            "adam_steps": 1000,
            "lbfgs_steps": 2000,
        },
    }

    def trial(self, context: Context) -> Iterator[Measurement]:
        for dim in self.dims:
            problem = Problem(self, dim, context)
            for name, units in UNITS.items():
                yield from with_trend(solved(name, units, problem))
            for name, build in NETS.items() if dim in self.trained_dims else ():
                yield from with_trend(trained(name, build, problem))

    claims = [
        Claim(
            "in one dimension a hidden layer of ReLU or tanh units comes within 0.01 of every continuous target",
            lambda rows: exists(rows[rows.dim == 1]),
            source="Cybenko 1989; Leshno et al. 1993",
        ),
        Claim(
            "in two dimensions too, at these widths, with units laid out without a look at the target",
            lambda rows: exists(rows[rows.dim == 2]),
        ),
        Claim(
            "in five dimensions and more too, at these widths, with units laid out without a look at the target",
            lambda rows: exists(rows[rows.dim >= 5]),
        ),
        Claim(
            "training finds it: in one dimension Adam and L-BFGS come within 0.01 where as many given units do",
            lambda rows: is_found(rows[rows.dim == 1]),
        ),
        Claim(
            "in one dimension trained units come closer than as many given ones",
            lambda rows: training_wins(rows[rows.dim == 1]),
        ),
        Claim(
            "in five dimensions trained units come closer than as many given ones",
            lambda rows: training_wins(rows[rows.dim == 5]),
            source="Barron 1993",
        ),
        Control("x² units, a polynomial, stop improving", plateaus, kind="negative"),
        Control(
            "a step is never met: the sup error stays above 0.45",
            step_is_missed,
            kind="negative",
        ),
        Control(
            "cubic splines, known to converge, come within 0.01 of every continuous target in one dimension",
            lambda rows: exists(rows[rows.dim == 1], ("cubic_spline",)),
            kind="positive",
        ),
    ]

    def plot(self, rows: pd.DataFrame, figure: Figure, artefacts: Artefacts) -> None:
        """Error against width for each target, in the least and in the most dimensions; beside it, the fits."""
        figure.set_size_inches(9, 4.5)
        figure.set_layout_engine("constrained")
        left, right = figure.subfigures(1, 2, width_ratios=(3, 1.1))
        dims, widest = ([min(rows["dim"]), max(rows["dim"])], max(rows.width)) if len(rows) else ([1, 5], 512)
        grid = left.subplots(2, len(CONTINUOUS), sharex=True, sharey=True)
        for line, dim in zip(grid, dims, strict=True):
            for axes, target in zip(line, CONTINUOUS, strict=True):
                if len(rows):
                    draw_errors(axes, rows[(rows["dim"] == dim) & (rows.target == target)])
                axes.set(
                    xscale="log", yscale="log", xlim=(3, 1.5 * widest), ylim=(2e-5, 10), title=f"{target}, d = {dim}"
                )
                axes.axhline(EPS, color="grey", linewidth=0.8, linestyle=":")
            line[0].set(ylabel="sup error")
        for axes in grid[-1]:
            axes.set(xlabel="hidden units or coefficients")
        handles = {label: h for axes in grid.flat for h, label in zip(*axes.get_legend_handles_labels(), strict=True)}
        if handles:
            left.legend(handles.values(), handles, loc="outside lower center", ncols=5, fontsize=6.5, frameon=False)
        draw_fits(right.subplots(len(CONTINUOUS), 1, sharex=True), next(iter(artefacts.values()), {}))
        for axes in [*grid.flat, *right.axes]:
            axes.tick_params(labelsize=7)
            axes.title.set_fontsize(8)
            axes.xaxis.label.set_fontsize(8)
            axes.yaxis.label.set_fontsize(8)


# ------------------------------------------------------------------------------------------------------ the problem


class Problem:
    """The targets of one seed in d dimensions, on training and on test points of the unit ball."""

    def __init__(self, experiment: UniversalApproximation, dim: int, context: Context) -> None:
        self.experiment, self.dim, self.context = experiment, dim, context
        # as many terms of the Weierstrass function as the widest net can follow with four units a period
        terms = 1 + int(math.log(max(experiment.widths) / 4, 3))
        jump, self.profiles = profiles(context.rng("data"), terms)  # the same in every dimension
        direction = torch.as_tensor(context.rng("direction", dim).standard_normal(dim))
        self.direction = direction * direction[0].sign() / direction.norm()
        self.seed = context.integer("train points", dim)

        n = experiment.test_points
        x = ball(n, dim, context.integer("test points", dim)) if dim > 1 else torch.linspace(-1, 1, n).double()[:, None]
        # The point on the jump, twice: the step has two limits there, 0 and 1. A finite grid would pass the jump by.
        self.x_test = torch.cat([x, jump * self.direction.expand(2, dim)]).to(context.device)
        self.y_test = self.targets(self.x_test)
        self.y_test[-2:, list(self.profiles).index("step")] = torch.tensor([0.0, 1.0])
        if dim == 1:
            context.keep("t", self.x_test[:, 0] * self.direction)
            context.keep("target", self.y_test)

    def targets(self, x: Tensor) -> Tensor:
        """[n, d] -> [n, targets]"""
        t = x @ self.direction.to(x)
        return torch.stack([g(t) for g in self.profiles.values()], dim=1)

    def training(self, width: int) -> tuple[Tensor, Tensor]:
        """Points and targets for a net of that width, the same whether it is solved or trained."""
        n = max(self.experiment.points, self.experiment.points_per_unit * width)
        if self.dim == 1:  # Chebyshev's points, on which polynomials converge too
            x = torch.cos(math.pi * (torch.arange(n).double() + 0.5) / n)[:, None]
        else:
            x = ball(n, self.dim, self.seed)
        x = x.to(self.context.device)
        return x, self.targets(x)

    def score(self, prediction: Tensor, **row: str | int) -> Iterator[Measurement]:
        """A row for each target that was predicted, [n, targets]."""
        if self.dim == 1 and row["width"] == min(self.experiment.trained_widths):
            self.context.keep(str(row["subject"]), prediction)
        error = prediction - self.y_test[:, : prediction.shape[1]]
        rmse, sup_error = error.square().mean(dim=0).sqrt().tolist(), error.abs().amax(dim=0).tolist()
        for i, target in enumerate(list(self.profiles)[: prediction.shape[1]]):
            yield {**row, "dim": self.dim, "target": target, "sup_error": sup_error[i], "rmse": rmse[i]}


def profiles(rng: np.random.Generator, terms: int) -> tuple[float, dict[str, Callable[[Tensor], Tensor]]]:
    """Where the jump is, and functions g(t) on [-1, 1]; shifts are drawn, so that no kink falls on a knot by design."""
    first, second, *phases = rng.uniform(0, 2 * math.pi, size=2 + terms)
    centre = rng.uniform(-0.3, 0.3)
    return centre, {
        "smooth": lambda t: torch.sin(math.pi * t + first) + 0.5 * torch.sin(3 * math.pi * t + second),
        "kink": lambda t: (t - centre).abs(),
        # Weierstrass with a = 1/2 and b = 3 (Hölder exponent log 2 / log 3 = 0.63), cut off
        "rough": lambda t: sum(0.5 ** (k + 1) * torch.cos(3**k * math.pi * t + p) for k, p in enumerate(phases)),
        "step": lambda t: (t > centre).to(t),
    }


def ball(n: int, dim: int, seed: int) -> Tensor:
    """Scrambled Sobol points in the unit ball, [n, dim]: a direction from normal quantiles, and a radius."""
    u = torch.quasirandom.SobolEngine(dim + 1, scramble=True, seed=seed % 2**32).draw(n, dtype=torch.float64)
    normal = torch.erfinv((2 * u[:, 1:] - 1).clamp(-1 + 1e-12, 1 - 1e-12))
    return normal / normal.norm(dim=1, keepdim=True) * u[:, :1] ** (1 / dim)


def with_trend(rows: Iterable[Measurement]) -> Iterator[Measurement]:
    """The rows of one subject; those of the largest width get the slope over all widths, and the width for EPS."""
    by_target: dict[str, list[Measurement]] = {}
    for row in rows:
        by_target.setdefault(row["target"], []).append(row)
    for group in by_target.values():
        widths, errors = [r["width"] for r in group], [r["sup_error"] for r in group]
        if len(group) > 1:
            group[-1]["slope"] = float(np.polyfit(np.log(widths), np.log(errors), deg=1)[0])
        group[-1]["width_for_eps"] = min((r["width"] for r in group if r["sup_error"] < EPS), default=math.nan)
        yield from group


# ----------------------------------------------------------------- the first arm: given units, a solved output layer

Units = Callable[[Tensor, int, torch.Generator], Tensor | None]  # x [n, d], width -> [n, width]


def solved(name: str, units: Units, problem: Problem) -> Iterator[Measurement]:
    """Least squares on given units; one factorisation serves all targets."""
    for width in problem.experiment.widths:
        x, y = problem.training(width)
        h = units(torch.cat([x, problem.x_test]), width, problem.context.generator("units", problem.dim, width))
        if h is None:  # too few units for this dimension
            continue
        h = torch.cat([h, torch.ones_like(h[:, :1])], dim=1)
        prediction = h[len(x) :] @ least_squares(h[: len(x)], y)
        inner = problem.dim + 1 if name in HIDDEN else 0  # weights and bias of a hidden unit
        yield from problem.score(prediction, subject=name, width=width, parameters=width * (1 + inner) + 1)


def least_squares(h: Tensor, y: Tensor) -> Tensor:
    """Coefficients [m, k] of h [n, m] on y [n, k], with a ridge too small to see but for redundant units.

    By QR of the stacked problem, because the normal equations would square the condition number.
    """
    m = h.shape[1]
    ridge = 1e-6 * h.norm() * torch.eye(m, dtype=h.dtype, device=h.device)
    return torch.linalg.lstsq(torch.cat([h, ridge]), torch.cat([y, y.new_zeros(m, y.shape[1])]), driver="gels").solution


def spacing(width: int, dim: int) -> float:
    """Distance between neighbours when `width` units lie on a grid over [-1, 1]^d: the one length scale."""
    return 2 / width ** (1 / dim)


def centres(width: int, dim: int, generator: torch.Generator) -> Tensor:
    """Evenly spread points, [width, d]."""
    if dim == 1:
        return torch.linspace(-1, 1, width, dtype=torch.float64)[:, None]
    return ball(width, dim, int(torch.randint(2**31, (), generator=generator)))


def folds(x: Tensor, width: int, generator: torch.Generator) -> Tensor:
    """u·(x - c), [n, width]: unit directions u, and planes to bend along that pass through evenly spread points c."""
    c = centres(width, x.shape[1], generator)
    u = torch.randn(c.shape, generator=generator, dtype=x.dtype)
    u *= u[:, :1].sign() / u.norm(dim=1, keepdim=True)  # half of the sphere: u and -u bend along the same planes
    return torch.addmm(-(u * c).sum(dim=1).to(x), x, u.T.to(x))


def relu(x: Tensor, width: int, generator: torch.Generator) -> Tensor:
    """max(0, z), piecewise linear."""
    return folds(x, width, generator).relu_()


def tanh(x: Tensor, width: int, generator: torch.Generator) -> Tensor:
    """As steep as the units are close: one has bent when the next begins."""
    return folds(x, width, generator).div_(spacing(width, x.shape[1])).tanh_()


def square(x: Tensor, width: int, generator: torch.Generator) -> Tensor:
    """z², the polynomial that the theorem leaves out."""
    return folds(x, width, generator).square_()


def random_fourier(x: Tensor, width: int, generator: torch.Generator) -> Tensor:
    """cos(ω·x + φ) with Gaussian ω (Rahimi & Recht 2007)."""
    omega = torch.randn(x.shape[1], width, generator=generator, dtype=x.dtype) / spacing(width, x.shape[1])
    phase = 2 * math.pi * torch.rand(width, generator=generator, dtype=x.dtype)
    return torch.addmm(phase.to(x), x, omega.to(x)).cos_()


def kernel(x: Tensor, width: int, generator: torch.Generator) -> Tensor:
    """A Gaussian kernel at `width` centres: kernel ridge on a subset of regressors."""
    c = centres(width, x.shape[1], generator).to(x)
    return torch.cdist(x, c).square_().div_(-2 * spacing(width, x.shape[1]) ** 2).exp_()


def chebyshev(x: Tensor, width: int, generator: torch.Generator) -> Tensor:
    """Products of Chebyshev polynomials T_k(x_j) = cos(k arccos x_j): after 1, the first `width` by total degree."""
    dim = x.shape[1]
    by_degree = chain.from_iterable(combinations_with_replacement(range(dim), degree) for degree in count(1))
    degrees = torch.tensor([[product.count(j) for j in range(dim)] for product in islice(by_degree, width)])
    angle, k = x.clamp(-1, 1).arccos(), torch.arange(int(degrees.max()) + 1).to(x)
    return math.prod(torch.cos(k * angle[:, j, None])[:, degrees[:, j]] for j in range(dim))  # type: ignore[return-value]


def cubic_spline(x: Tensor, width: int, generator: torch.Generator) -> Tensor | None:
    """Cubic B-splines on evenly spaced knots; in more dimensions their products, as many a side as `width` allows."""
    side = int(width ** (1 / x.shape[1]) + 1e-9)
    if side < 4:
        return None
    h = 2 / (side - 3)
    t = ((x[:, :, None] + 1 + h - h * torch.arange(side).to(x)) / h).abs()  # [n, d, side]
    basis = (torch.relu(2 - t) ** 3 - 4 * torch.relu(1 - t) ** 3) / 6
    product = basis[:, 0]
    for j in range(1, x.shape[1]):
        product = (product[:, :, None] * basis[:, j, None, :]).flatten(1)
    return product


HIDDEN: dict[str, Units] = {"relu_least_squares": relu, "tanh_least_squares": tanh, "square_least_squares": square}
UNITS: dict[str, Units] = HIDDEN | {
    "chebyshev": chebyshev,
    "cubic_spline": cubic_spline,
    "random_fourier": random_fourier,
    "kernel_ridge": kernel,
}

# ------------------------------------------------------------------------- the second arm: all weights are trained

Builder = Callable[[int, int], nn.Sequential]  # d, width -> net


def trained(name: str, build: Builder, problem: Problem) -> Iterator[Measurement]:
    """A net for each continuous target, from the same initial weights."""
    experiment, context = problem.experiment, problem.context
    for width in experiment.trained_widths:
        x, y = problem.training(width)
        predictions = []
        for column in range(len(CONTINUOUS)):
            with context.seeded("init", name, problem.dim, width):
                net = build(problem.dim, width).double().to(context.device)
            train(net, x, y[:, [column]], experiment.adam_steps, experiment.lbfgs_steps)
            predictions.append(net(problem.x_test).detach())
        parameters = sum(p.numel() for p in net.parameters())
        yield from problem.score(torch.cat(predictions, dim=1), subject=name, width=width, parameters=parameters)


def train(net: nn.Module, x: Tensor, y: Tensor, adam_steps: int, lbfgs_steps: int) -> None:
    """Least mean squared error, full batch, float64: Adam into a basin, L-BFGS down to its bottom."""

    def loss() -> Tensor:
        net.zero_grad()
        value = (net(x) - y).square().mean()
        value.backward()
        return value

    adam = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(adam_steps):
        adam.step(loss)
    parameters = list(net.parameters())
    exact = {"tolerance_grad": 0.0, "tolerance_change": 0.0}  # the number of steps is the budget
    torch.optim.LBFGS(parameters, max_iter=lbfgs_steps, history_size=10, line_search_fn="strong_wolfe", **exact).step(
        loss
    )


def shallow(activation: type[nn.Module]) -> Builder:
    """One hidden layer, as PyTorch initialises it."""
    return lambda dim, width: nn.Sequential(nn.Linear(dim, width), activation(), nn.Linear(width, 1))


def deep(dim: int, width: int) -> nn.Sequential:
    """Three hidden ReLU layers with about as many parameters as one of `width`."""
    budget = width * (dim + 2) + 1  # 2k² + (d+4)k + 1 for three layers of k
    k = round((math.sqrt((dim + 4) ** 2 + 8 * (budget - 1)) - (dim + 4)) / 4)
    inner = [nn.Linear(dim, k), nn.ReLU(), nn.Linear(k, k), nn.ReLU(), nn.Linear(k, k), nn.ReLU()]
    return nn.Sequential(*inner, nn.Linear(k, 1))


NETS: dict[str, Builder] = {
    "relu_trained": shallow(nn.ReLU),
    "tanh_trained": shallow(nn.Tanh),
    "deep_relu_trained": deep,
}

# -------------------------------------------------------------------------------------------------------- the picture

STYLES = {
    "relu_least_squares": {"color": "#0072B2", "marker": "."},
    "tanh_least_squares": {"color": "#D55E00", "marker": "."},
    "square_least_squares": {"color": "#009E73", "marker": "."},
    "chebyshev": {"color": "#E69F00", "linewidth": 0.8},
    "cubic_spline": {"color": "#000000", "linewidth": 0.8},
    "random_fourier": {"color": "#CC79A7", "linewidth": 0.8},
    "kernel_ridge": {"color": "#56B4E9", "linewidth": 0.8},
    "relu_trained": {"color": "#0072B2", "marker": "o", "linestyle": "--"},
    "tanh_trained": {"color": "#D55E00", "marker": "o", "linestyle": "--"},
    "deep_relu_trained": {"color": "#0072B2", "marker": "D", "markerfacecolor": "white", "linestyle": "--"},
}


def draw_errors(axes: Axes, rows: pd.DataFrame) -> None:
    """Geometric mean over seeds of the sup error against width, with its 95 % interval."""
    from dlbench import stats

    for subject, style in STYLES.items():
        widths = {width: group.sup_error for width, group in rows[rows.subject == subject].groupby("width")}
        if not widths:
            continue
        mean, low, high, _ = zip(*(stats.log_t_interval(errors) for errors in widths.values()), strict=True)
        axes.plot(list(widths), mean, label=subject.replace("_", " "), **{"markersize": 4, **style})
        if max(len(errors) for errors in widths.values()) > 1:
            whiskers = [np.subtract(mean, low), np.subtract(high, mean)]
            axes.errorbar(list(widths), mean, whiskers, fmt="none", color=style["color"], linewidth=0.8)


def draw_fits(axes: Iterable[Axes], kept: Mapping[str, np.ndarray]) -> None:
    """One seed's targets in one dimension, with the given and the trained units of equal number on top."""
    for i, (ax, target) in enumerate(zip(axes, CONTINUOUS, strict=True)):
        ax.set(title=f"{target}: fits of equal width", ylabel="g(t)")
        if "t" in kept:
            ax.plot(kept["t"][:-2], kept["target"][:-2, i], color="#BBBBBB", linewidth=3, label="target")
        for subject, color in (("relu_least_squares", "#0072B2"), ("relu_trained", "#000000")):
            if subject in kept:
                label = subject.replace("_", " ")
                ax.plot(kept["t"][:-2], kept[subject][:-2, i], color=color, linewidth=0.8, label=label)
    ax.set(xlabel="t")
    if ax.lines:
        ax.legend(fontsize=6, frameon=False)
