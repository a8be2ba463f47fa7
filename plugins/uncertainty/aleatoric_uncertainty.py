"""The noise in the data can be learnt: it follows what was put in, stays with more data, and shows on mixed images.

Kendall & Gal, "What uncertainties do we need in Bayesian deep learning for computer vision?", NeurIPS 2017,
arXiv:1703.04977. Two problems whose noise is known:

- regression on a line, y = sin(2πx) + σ(x) noise with σ(x) = 0.1 + 0.4 x. Five networks of a mean and a log-variance
  (β-NLL, Seitzer et al. 2022) are an ensemble: the mean of their variances is the noise in the data (aleatoric), the
  variance of their means what is not known (epistemic). Each sees another resample of the examples, and that n
  resampled examples differ the less the larger n is comes close to making the epistemic part fall by construction. So
  an ensemble stands beside it as it is usual (*deep_ensemble*), whose members see the same examples and differ in their
  initial weights and order alone: on development seeds they agreed to within a variance of 5e-5 at every n, so smooth
  is the problem. Scores use the true mean and noise, not draws;
- two digits in one image, averaged or side by side, the label drawn from the two. Half of the pairs are of one class,
  so that a pair is ambiguous only through what it shows; the aleatoric part is the members' mean entropy.

Beside them: one such network, the same noise everywhere (homoscedastic), quantiles, split conformal intervals,
evidential regression (Amini et al. 2020), a Gaussian process; for images, one network, and nearest neighbours. All
networks of a problem have one architecture, learning rate and number of steps, which were not tuned for any of them;
what a method has of its own is as published. Homoscedastic and conformal hold a fifth of their n out. An evidential
network's split into noise and ignorance is not to be read: its likelihood fixes only what both come to (Meinert et al.
2023, arXiv:2205.10060).

Controls: where the noise is the same everywhere nothing must follow σ(x); where the label is always that of the left
digit, no pair is ambiguous; and noise among neighbours of a known mean is there to be found. ``full`` takes MNIST's
digits, larger networks and longer training; ``cifar10h`` adds networks of CIFAR-10, each of whose labels is one word,
beside the shares of about fifty people who looked at the same images. Not covered: AmbiguousMNIST, CIFAR-10N.

Version 2 measures the usual ensemble, too, and has a claim on it, by the rule that the resampled one had; that it might
not hold was known from development seeds. All else is as before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu
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
    draw_means,
    equivalent,
    every,
    one_of,
    where,
    within,
)
from dlbench import uncertainty as u
from dlbench.stacking import Stack, batches, rows_of
from dlbench_plugins import networks
from dlbench_plugins.images import CLASSES
from dlbench_plugins.uncertainty import noisy_regression as regression

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dlbench import Artefacts, Verdict

AGREED = 0.9  # of the people who looked at an image
LAYOUTS = ("averaged", "side_by_side")
GRID = np.linspace(0, 1, 201)  # where regressors are asked

COLORS = {
    "ensemble": "#0072B2",
    "deep_ensemble": "#882255",
    "heteroscedastic": "#56B4E9",
    "quantile": "#E69F00",
    "evidential": "#CC79A7",
    "gp": "#009E73",
    "homoscedastic": "#999999",
    "conformal": "#D55E00",
}


def at(rows: pd.DataFrame, subject: str, less: int = 1) -> pd.DataFrame:
    """The regression rows of a subject, one a seed, at the largest n, or at one so many times less."""
    mine = where(rows, subject=subject, data="regression")
    return mine[mine.n * less == mine.n.max()]


def change(rows: pd.DataFrame, metric: str, subject: str = "ensemble") -> pd.Series:
    """Relative change of a subject's metric from a quarter of the largest n to all of it."""
    return at(rows, subject)[metric] / at(rows, subject, less=4)[metric] - 1


def on_layouts(rows: pd.DataFrame, subject: str, rule: Callable[[pd.DataFrame], Verdict]) -> Verdict:
    """The rule for digits averaged and side by side."""
    rows = where(rows, subject=subject)
    return every(rows[rows["data"].isin(LAYOUTS)], "data", rule)


@dataclass(frozen=True)
class AleatoricUncertainty(Experiment):
    """What regressors and classifiers of known noise take for noise, as the data grow, beside simpler methods."""

    sizes: tuple[int, ...] = between(20, 10**6, default=(100, 800, 3200))
    images: str = one_of("digits", "mnist", default="digits")
    pairs: int = between(100, 10**6, default=8000)
    test_pairs: int = between(100, 10**6, default=1000)
    members: int = between(2, 100, default=5)
    width: int = between(1, 1024, default=32)
    steps: int = between(1, 10**6, default=500)
    image_width: int = between(1, 4096, default=128)
    image_steps: int = between(1, 10**6, default=500)
    batch: int = between(1, 10**6, default=64)
    learning_rate: float = between(1e-6, 1.0, default=1e-2)
    people: str = one_of("none", "cifar10h", default="none")  # whose doubts are held against networks' as well
    people_width: int = between(4, 4096, default=128)
    people_steps: int = between(1, 10**6, default=8000)

    title = "The noise in the data can be learnt"
    chapter = "uncertainty"
    version = 2
    sources = (
        "Kendall & Gal, What uncertainties do we need in Bayesian deep learning?, NeurIPS 2017, arXiv:1703.04977",
        "Seitzer et al., On the pitfalls of heteroscedastic uncertainty estimation, ICLR 2022, arXiv:2203.09168",
    )
    metrics = {
        "nll": Metric("expected negative log-likelihood of a new observation", "nats", better="lower", main=True),
        "slope": Metric("slope of the predicted on the true variance of the noise"),
        "r2": Metric("R² of the predicted on the true variance of the noise", better="higher", low=0, high=1),
        "aleatoric": Metric("mean predicted variance of the noise", low=0),
        "epistemic": Metric("mean predicted variance of the mean", low=0),
        "coverage": Metric("share of new observations in their 90 % interval", low=0, high=1),
        "auroc": Metric("mixed against pure images, by aleatoric entropy", better="higher", low=0, high=1),
        "entropy_mixed": Metric("aleatoric entropy of pairs of two classes", "nats", low=0),
        "entropy_pure": Metric("aleatoric entropy of pairs of one class", "nats", low=0),
        "accuracy": Metric("accuracy on pairs of one class", better="higher", low=0, high=1),
    }
    presets = {
        "quick": {},
        "mnist": {"images": "mnist", "pairs": 20_000, "image_width": 256, "image_steps": 1500, "test_pairs": 2000},
        "full": {
            "sizes": (100, 200, 400, 800, 1600, 3200),
            "images": "mnist",
            "pairs": 50_000,
            "width": 64,
            "steps": 10_000,
            "image_width": 512,
            "image_steps": 5000,
            "batch": 128,
            "learning_rate": 2e-3,
        },
        "cifar10h": {"people": "cifar10h"},
    }
    references = (
        Reference(
            "nll",
            0.833,
            "Uncertainty Baselines, CIFAR-100 table",
            {"subject": "heteroscedastic", "data": "cifar100"},
            note="WRN-28-10; without the heteroscedastic layer 0.875",
        ),
    )

    def datasets(self) -> tuple[str, ...]:
        return (self.images, *(["cifar10", self.people] if self.people != "none" else []))

    def trial(self, context: Context) -> Iterator[Measurement]:
        context.progress(0.0, "regression")
        for subject, n, prediction in self.regressors(context):
            data = "regression, flat noise" if subject == "flat" else "regression"
            name = "ensemble" if subject == "flat" else subject
            yield {"subject": name, "data": data, "n": n, **regression.scores(prediction, GRID)}
            if subject == "ensemble" and n == max(self.sizes):
                context.keep("band", np.array(prediction[:3]))
        for i, layout in enumerate(LAYOUTS):
            context.progress(0.5 + 0.25 * i, f"digits, {layout}")
            yield from self.classifiers(layout, context)
        if self.people != "none":
            context.progress(0.9, "what people see")
            yield from self.beside_people(context)

    def regressors(self, context: Context) -> Iterator[tuple[str, int, regression.Prediction]]:
        """Subject, how many examples it saw, and what it predicts on GRID."""
        largest = max(self.sizes)
        data = regression.sample(largest, context.rng("regression"))
        fitted = {n: int(n * regression.SHARE_FITTED) for n in self.sizes}
        Arm, members = regression.Arm, range(self.members)
        ensembles = {n: [Arm(regression.beta_nll, n, member, resampled=True) for member in members] for n in self.sizes}
        usual = {n: [Arm(regression.beta_nll, n, member) for member in members] for n in self.sizes}
        flat = [Arm(regression.beta_nll, largest, member, resampled=True, flat=True) for member in members]
        alone = [Arm(loss, n) for loss in (regression.pinball, regression.evidential) for n in self.sizes]
        ensembled = chain(*ensembles.values(), *usual.values())
        arms = [*ensembled, *flat, *alone, *(Arm(regression.squared, fitted[n]) for n in self.sizes)]
        out = regression.train(
            arms,
            data,
            np.concatenate([GRID, data.x]),
            width=self.width,
            steps=self.steps,
            batch=self.batch,
            rate=self.learning_rate,
            context=context,
        )
        on_grid = {arm: values[: len(GRID)] for arm, values in out.items()}
        for n in self.sizes:
            yield "ensemble", n, regression.read_gaussian([on_grid[arm] for arm in ensembles[n]])
            yield "deep_ensemble", n, regression.read_gaussian([on_grid[arm] for arm in usual[n]])
            yield "heteroscedastic", n, regression.read_gaussian([on_grid[usual[n][0]]])
            yield "quantile", n, regression.read_quantiles(on_grid[Arm(regression.pinball, n)])
            yield "evidential", n, regression.read_evidence(on_grid[Arm(regression.evidential, n)])
            means = out[Arm(regression.squared, fitted[n])][:, 0].numpy()
            held_out = slice(fitted[n], n)
            residuals = data.y[held_out] - means[len(GRID) :][held_out]
            yield "homoscedastic", n, regression.homoscedastic(means[: len(GRID)], residuals)
            yield "conformal", n, regression.conformal(means[: len(GRID)], residuals)
            yield "gp", n, regression.gaussian_process(data, n, GRID)
            yield "noise_among_neighbours", n, regression.neighbours(data, n, GRID)
        yield "flat", largest, regression.read_gaussian([on_grid[arm] for arm in flat])

    def classifiers(self, layout: str, context: Context) -> Iterator[Measurement]:
        """Networks of labels drawn from the pair, one of labels that are always the left digit's, and neighbours."""
        train, test = self.image_pairs(layout, context)
        labels, members = [train.drawn] * self.members, list(range(self.members))
        if layout == "side_by_side":  # only there is a left
            labels, members = [*labels, train.left], [*members, 0]
        stack = self.train(train.images.to(context.device), torch.stack(labels).to(context.device), members, context)
        strange = test.images[:, torch.randperm(test.images.shape[1], generator=context.generator("shuffle"))]
        with torch.no_grad():
            p, of_strange = (
                stack(x.to(context.device)).double().softmax(-1).cpu().numpy() for x in (test.images, strange)
            )
        ensemble = p[: self.members]
        found = {"ensemble": ensemble, "network": p[:1], "nearest_neighbours": soft_labels(train, test)[None]}
        if layout == "side_by_side":
            found["left_label"] = p[-1:]
        for subject, answers in found.items():
            yield {"subject": subject, "data": layout, "n": self.pairs, **pair_scores(answers, test)}
        if layout == "averaged":
            entropy = u.decompose(ensemble).aleatoric
            context.keep("entropy_pure", entropy[~test.mixed.numpy()])
            context.keep("entropy_mixed", entropy[test.mixed.numpy()])
            context.keep("entropy_strange", u.decompose(of_strange[: self.members]).aleatoric)

    def train(self, x: Tensor, labels: Tensor, members: list[int], context: Context) -> Stack:
        """A network for each row of the labels [K, n] of the same images x [n, pixels], from its member's weights."""
        nets = []
        for member in members:
            with context.seeded("init", member):
                layers = [nn.Linear(x.shape[1], self.image_width), nn.ReLU(), nn.Linear(self.image_width, CLASSES)]
                nets.append(nn.Sequential(*layers))
        stack = Stack(nets).to(context.device)
        adam = torch.optim.Adam(stack.parameters(), self.learning_rate, fused=True)
        schedule = torch.optim.lr_scheduler.LinearLR(adam, 1.0, 0.0, self.image_steps)
        orders = [context.generator("order", member) for member in members]
        for rows in batches([len(x)] * len(nets), self.batch, steps=self.image_steps, generators=orders):
            rows = rows.to(context.device)
            adam.zero_grad()
            stack.losses(F.cross_entropy, stack.each(rows_of(x, rows)), labels.gather(1, rows)).sum().backward()
            adam.step()
            schedule.step()
        return stack

    def beside_people(self, context: Context) -> Iterator[Measurement]:
        """Networks of CIFAR-10's labels, one an image, and how their doubts go with those of fifty people an image."""
        data, shares = context.data("cifar10"), context.data(self.people)["shares"]
        x, y, test = (torch.from_numpy(data[name]) for name in ("train_x", "train_y", "test_x"))
        nets = []
        for member in range(self.members):
            with context.seeded("init of cifar10", member):
                nets.append(networks.network("cnn", x.shape[1:], CLASSES, width=self.people_width))
        stack = Stack(nets).to(context.device)
        networks.train(
            stack,
            [len(x)] * self.members,
            [context.generator("order of cifar10", member) for member in range(self.members)],
            lambda rows: stack.losses(
                F.cross_entropy, stack.each(x[rows].to(context.device)), y[rows].to(context.device)
            ),
            steps=self.people_steps,
            batch_size=128,
            learning_rate=1e-3,
        )
        with torch.no_grad():
            parts = [stack(part.to(context.device)).double().softmax(-1).cpu() for part in test.split(500)]
        p = torch.cat(parts, 1).numpy()
        for subject, answers in (("ensemble", p), ("network", p[:1]), ("people", shares[None])):
            yield {"subject": subject, "data": self.people, "n": len(x), **soft_scores(answers, shares)}

    def image_pairs(self, layout: str, context: Context) -> tuple[Pairs, Pairs]:
        """Of other images for training than for the test."""
        data = context.data(self.images)
        if "train_x" in data:
            parts = [(data[f"{part}_x"], data[f"{part}_y"]) for part in ("train", "test")]
        else:
            train, test = np.split(context.rng("split").permutation(len(data["x"])), [2 * len(data["x"]) // 3])
            parts = [(data["x"][part], data["y"][part]) for part in (train, test)]
        rngs = (context.rng("pairs", layout, part) for part in ("train", "test"))
        sizes = (self.pairs, self.test_pairs)
        train, test = (pair(*part, size, layout, rng) for part, size, rng in zip(parts, sizes, rngs, strict=True))
        return train, test

    claims = [
        Claim(
            "(a) the predicted variance of the noise follows the true one: slope within 0.8 and 1.2",
            lambda rows: within(at(rows, "ensemble").slope, 0.8, 1.2),
            source="Kendall & Gal 2017",
        ),
        Claim(
            "(b) it stays when the data grow fourfold: a relative change of less than 15 %",
            lambda rows: equivalent(change(rows, "aleatoric"), 0.15),
            source="Kendall & Gal 2017",
        ),
        Claim(
            "(b) while what is not known falls by more than 30 % (relative change)",
            lambda rows: below(change(rows, "epistemic"), -0.3),
            source="Kendall & Gal 2017",
        ),
        Claim(
            "(b) and so it does where an ensemble's members all see the same examples",
            lambda rows: below(change(rows, "epistemic", "deep_ensemble"), -0.3),
        ),
        Claim(
            "(c) aleatoric entropy tells images of two classes from images of one: AUROC above 0.8, in both layouts",
            lambda rows: on_layouts(rows, "ensemble", lambda r: above(r.auroc, 0.8)),
        ),
        Claim(
            "it is worth having: the ensemble's expected log-loss is below that of the same noise everywhere",
            lambda rows: below(at(rows, "ensemble").nll - at(rows, "homoscedastic").nll, 0.0),
        ),
        Control(
            "where the noise is the same everywhere, the predicted variance does not follow σ(x)² (slope)",
            lambda rows: contains(where(rows, data="regression, flat noise").slope, 0.0, margin=0.2),
            kind="negative",
        ),
        Control(
            "where the label is always the left digit's, images of two classes have little aleatoric entropy",
            lambda rows: below(where(rows, subject="left_label").entropy_mixed, 0.2),
            kind="negative",
        ),
        Control(
            "the noise is there to be found: among neighbours of a known mean the slope is within 0.8 and 1.2",
            lambda rows: within(at(rows, "noise_among_neighbours").slope, 0.8, 1.2),
            kind="positive",
        ),
        Control(
            "the classifiers are trained: nine in ten pairs of one class are recognised, in both layouts",
            lambda rows: on_layouts(rows, "ensemble", lambda r: above(r.accuracy, 0.9)),
            kind="gate",
        ),
    ]

    def plot(self, rows: pd.DataFrame, figure: Figure, artefacts: Artefacts) -> None:
        """What the ensemble takes for noise, for one seed; both uncertainties against n; entropies of images."""
        figure.set_size_inches(11, 3.8)
        figure.set_layout_engine("constrained")
        band, growth, entropies = figure.subplots(1, 3)
        kept = next(iter(artefacts.values()), {})
        draw_band(band, kept.get("band"))
        draw_growth(growth, rows)
        draw_entropies(entropies, artefacts)


def soft_scores(members: NDArray, shares: NDArray) -> dict[str, float]:
    """Of members' probabilities [K, n, C] against the shares [n, C] of people who took an image for each class.

    A new observation is one more person's word; that of the people themselves has their entropy as its log-loss, and
    what another loses beyond it is its Kullback-Leibler divergence. An image is mixed where a tenth disagree.
    """
    nll = -(shares * np.log(np.maximum(members.mean(0), 1e-12))).sum(1)
    return {**entropies(members, shares.max(1) <= AGREED), "nll": float(nll.mean())}


def entropies(members: NDArray, mixed: NDArray) -> dict[str, float]:
    """Aleatoric entropy of mixed images and of the others, and how well it tells them apart."""
    aleatoric = u.decompose(members).aleatoric
    above_pure = mannwhitneyu(aleatoric[mixed], aleatoric[~mixed]).statistic
    return {
        "auroc": float(above_pure / (mixed.sum() * (~mixed).sum())),
        "entropy_mixed": float(aleatoric[mixed].mean()),
        "entropy_pure": float(aleatoric[~mixed].mean()),
    }


# ------------------------------------------------------------------------------------------------------------ pairs


class Pairs(NamedTuple):
    """Two digits an image, half of them of one class."""

    images: Tensor  # [n, pixels], in [0, 1]
    left: Tensor  # [n], the class of one
    drawn: Tensor  # [n], that of one of both, by the throw of a coin
    mixed: Tensor  # [n] bool, of two classes


def pair(x: NDArray, y: NDArray, n: int, layout: str, rng: np.random.Generator) -> Pairs:
    """Pairs of images [m, h, w]: averaged, or side by side."""
    first = rng.integers(len(x), size=n)
    order = np.argsort(y, kind="stable")
    start, count = np.searchsorted(y[order], np.arange(CLASSES)), np.bincount(y, minlength=CLASSES)
    offset = np.where(np.arange(n) % 2, rng.integers(1, CLASSES, size=n), 0)  # every other pair is of two classes
    other = (y[first] + offset) % CLASSES
    second = order[start[other] + (rng.random(n) * count[other]).astype(int)]
    a, b = x[first], x[second]
    images = (a + b) / 2 if layout == "averaged" else np.concatenate([a, b], 2)
    drawn = np.where(rng.random(n) < 0.5, y[first], other)
    flat = torch.from_numpy(images.reshape(n, -1).astype(np.float32))
    return Pairs(flat, *(torch.from_numpy(values) for values in (y[first], drawn, offset > 0)))


def soft_labels(train: Pairs, test: Pairs, k: int = 15) -> NDArray:
    """[n, CLASSES]: shares of the drawn labels of the k nearest training pairs and of one of all classes alike."""
    near = torch.cdist(test.images, train.images).topk(k, largest=False).indices
    return ((F.one_hot(train.drawn[near], CLASSES).double().sum(1) + 1 / CLASSES) / (k + 1)).numpy()


def pair_scores(members: NDArray, test: Pairs) -> dict[str, float]:
    """Of probabilities [members, n, CLASSES]; the log-loss is that of a label drawn from the pair."""
    mixed, p = test.mixed.numpy(), members.mean(0)
    return {
        **entropies(members, mixed),
        "accuracy": u.accuracy(p[~mixed], test.left[~test.mixed]),
        "nll": u.negative_log_likelihood(p, test.drawn),
    }


# ---------------------------------------------------------------------------------------------------------- picture


def draw_band(axes: Axes, band: NDArray | None) -> None:
    """The ensemble's mean with two standard deviations of its noise, and the true ones."""
    axes.plot(GRID, regression.mean(GRID), "k:", label="true mean, ± 2 σ(x)")
    for sign in (-2, 2):
        axes.plot(GRID, regression.mean(GRID) + sign * regression.sd(GRID), "k:", linewidth=1)
    if band is not None:
        mean, aleatoric, epistemic = band
        half = 2 * np.sqrt(aleatoric)
        axes.plot(GRID, mean, color=COLORS["ensemble"], label="ensemble")
        axes.fill_between(GRID, mean - half, mean + half, color=COLORS["ensemble"], alpha=0.2, linewidth=0)
        half = 2 * np.sqrt(epistemic)
        axes.fill_between(GRID, mean - half, mean + half, color=COLORS["ensemble"], alpha=0.6, linewidth=0)
    axes.set(xlabel="x", ylabel="y", title="noise that grows with x", ylim=(-2.6, 2.0))
    axes.legend(fontsize="small", frameon=False, loc="upper right")


def draw_growth(axes: Axes, rows: pd.DataFrame) -> None:
    """Aleatoric (solid) and epistemic (dashed) variance against the number of examples."""
    axes.axhline(regression.MEAN_VARIANCE, color="black", linestyle=":", linewidth=1)
    if {"data", "n", "aleatoric", "epistemic"} <= set(rows.columns):
        shown = rows[rows["data"] == "regression"]
        for subject, color in COLORS.items():
            mine = shown[shown.subject == subject]
            for metric, style in (("aleatoric", "-"), ("epistemic", "--")):
                by_n = dict(iter(mine.groupby("n")[metric]))
                label = subject if metric == "aleatoric" else None
                draw_means(axes, by_n, by_n.values(), log=True, color=color, linestyle=style, label=label)
    axes.set(
        xscale="log", yscale="log", xlabel="training examples", ylabel="variance", title="noise (—), ignorance (- -)"
    )
    axes.set_ylim(5e-5, 0.5)  # room for the legend
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize="x-small", frameon=False, ncols=2, loc="lower left")


def draw_entropies(axes: Axes, artefacts: Artefacts) -> None:
    """Of averaged digits, all seeds together."""
    bins = np.linspace(0, np.log(CLASSES), 40)
    for name, label, color in (
        ("entropy_pure", "two of one class", "#0072B2"),
        ("entropy_mixed", "of two classes", "#D55E00"),
        ("entropy_strange", "pixels shuffled", "#999999"),
    ):
        found = [kept[name] for kept in artefacts.values() if name in kept]
        if found:
            axes.hist(
                np.concatenate(found), bins, density=True, histtype="step", linewidth=1.4, color=color, label=label
            )
    axes.axvline(np.log(2), color="black", linestyle=":", linewidth=1, label="log 2, a coin's")
    axes.set(xlabel="aleatoric entropy (nats)", ylabel="density", title="two digits averaged")
    axes.legend(fontsize="small", frameon=False, loc="upper right")
