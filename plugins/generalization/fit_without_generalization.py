"""A network that fits its training set perfectly may err on new data hardly ever, or nearly always.

The universal approximation theorem speaks of the points that are fitted; about others it is silent. It does not predict
failure either: interpolation can be harmless (Belkin et al. 2019). So the statement is about what training error tells,
and all runs compared here have next to none:

- *bad minimum*: the same network, examples, true labels and training, from another start: weights that had first been
  trained on random labels of noisy copies of the examples (Liu, Papailiopoulos & Achlioptas, NeurIPS 2020);
- *examples*: 50 to 1400 of them, true labels;
- *random labels*: a share of the labels thrown by a die (Zhang et al., ICLR 2017), test labels true.

Beside them, regression of a noisy sine on random ReLU features of its argument's first three harmonics, by least
squares of least norm, as their number passes that of the points: *double descent*. New points are as noisy as those of
training.

Ways to generalize better (ridge, early stopping, dropout, weight decay, an ensemble) each have three settings, and so
has plain training; validation data, labelled as badly as the training data, choose. Other rates, steps and the bad
start were chosen on development seeds. Images are scikit-learn's digits; ``full`` is CIFAR-10 with a ResNet-18,
``perceptron`` CIFAR-10 with the network of Zhang et al., and training that is ours (Adam), not theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
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
    Reference,
    above,
    all_of,
    below,
    between,
    contains,
    draw_means,
    equivalent,
    one_of,
    per_seed,
    where,
)
from dlbench.noisy_labels import throw
from dlbench.stacking import Dropout, Stack, batches, rows_of, step_at
from dlbench_plugins.generalization.zhang import CHANCE, build, whiten
from dlbench_plugins.images import CLASSES, divided

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dlbench import Artefacts, Verdict

FITTED = 0.01  # training error below it counts as none
LARGE = 0.1  # a difference of test errors that nobody would shrug at
NOISE = 0.3  # standard deviation of the sine's labels
NOISY_SHARE = 0.4  # of labels thrown by a die, where the ways to generalize better are compared
RATES = (1e-3, 3e-3, 1e-2)
RATE = RATES[1]
DROPOUTS = (0.2, 0.5, 0.8)
DECAYS = (0.1, 1.0, 10.0)  # decoupled; each step shrinks the weights by this times the rate
PENALTIES = (1e-3, 1e-1, 1e1)  # of ridge regression, per example and mean square of a feature
LOOKS = 10  # at the validation data while training
METHODS = ("plain", "early stopping", "dropout", "weight decay", "ensemble", "ridge")
PLAIN, *HELPED = METHODS


def both_fit_and_differ(rows: pd.DataFrame, better: dict[str, object], worse: dict[str, object]) -> Verdict:
    """Both arms have next to no training error, and their test errors differ by far."""
    first, second = where(rows, **better), where(rows, **worse)
    return all_of(
        above(second.test_error - first.test_error, LARGE),
        below(first.train_error, FITTED),
        below(second.train_error, FITTED),
    )


def extent(rows: pd.DataFrame, column: str, end: str) -> object:
    """The least or the largest value of a setting among the networks."""
    values = rows[rows.subject == "network"][column]
    return values.min() if end == "least" else values.max()


def by_examples(rows: pd.DataFrame) -> Verdict:
    """True labels, the most and the fewest examples."""
    arms = (
        {"subject": "network", "random_share": 0.0, "examples": extent(rows, "examples", e)} for e in ("most", "least")
    )
    return both_fit_and_differ(rows, *arms)


def spread(rows: pd.DataFrame) -> pd.Series:
    """Largest less smallest test error among a seed's networks that fitted."""
    fitted = rows[(rows.task == "images") & (rows.train_error < FITTED)]
    return per_seed(fitted, lambda r: r.test_error.max() - r.test_error.min())


def features_at(rows: pd.DataFrame, place: str, subject: str = "features") -> pd.Series:
    """log2 of the sine's test error a seed: where features are as many as points, at the best narrower, the widest."""
    rows = where(rows, subject=subject, task="sine")
    points = rows.examples.min()
    rows = rows[rows.examples == points]
    if place == "best narrow":
        narrow = rows[rows.width <= points / 2]
        return np.log2(narrow.test_rmse.groupby(level=0).min())
    chosen = rows[rows.width == (points if place == "threshold" else rows.width.max())]
    return np.log2(chosen.test_rmse)


def published(network: str, share: float, test_accuracy: float) -> Reference:
    """Table 1 of Zhang et al. 2017, CIFAR-10 without augmentation or weight decay, where training accuracy is 100 %."""
    setting = {"dataset": "cifar10", "network": network, "subject": "network", "examples": 50_000}
    return Reference(
        "test_error",
        round(1 - test_accuracy, 4),
        "Zhang et al. 2017, table 1",
        {**setting, "random_share": share},
        note="training error 0; SGD with momentum there, Adam here",
    )


@dataclass(frozen=True)
class FitWithoutGeneralization(Experiment):
    """Test errors of networks with next to no training error, and of a regression as it begins to interpolate."""

    dataset: str = one_of("digits", "mnist", "cifar10", default="digits")
    network: str = one_of("mlp_1x128", "mlp_1x512", "mlp_3x512", "inception", "resnet18", default="mlp_1x128")
    train_sizes: tuple[int, ...] = between(10, 50_000, default=(50, 100, 200, 400, 800, 1400))
    examples: int = between(10, 50_000, default=200)  # of all other arms
    validation: int = between(10, 50_000, default=200)
    random_shares: tuple[float, ...] = between(0.01, 1, default=(0.2, NOISY_SHARE, 0.7, 1.0))
    members: int = between(2, 20, default=3)
    steps: int = between(1, 10**6, default=400)
    pretraining_steps: int = between(1, 10**6, default=2500)
    pretraining_rate: float = between(1e-6, 1, default=RATES[-1])
    copies: int = between(1, 100, default=10)
    batch_size: int = between(1, 4096, default=40)
    points: int = between(8, 10**4, default=40)
    many_points: int = between(100, 10**6, default=4000)
    widths: tuple[int, ...] = between(1, 10**5, default=(5, 8, 12, 16, 20, 28, 36, 40, 44, 60, 100, 400, 1600))
    draws: int = between(1, 1000, default=10)

    title = "A perfect fit says nothing about new data"
    chapter = "generalization"
    sources = (
        "Zhang et al., Understanding deep learning requires rethinking generalization, ICLR 2017, arXiv:1611.03530",
        "Liu, Papailiopoulos & Achlioptas, Bad global minima exist and SGD can reach them, NeurIPS 2020",
        "Belkin, Hsu, Ma & Mandal, Reconciling modern machine-learning practice and the bias-variance trade-off, 2019",
    )
    metrics = {
        "test_error": Metric("test error, on true labels", better="lower", main=True, low=0, high=1),
        "train_error": Metric("training error, on the labels trained with", better="lower", low=0, high=1),
        "gap": Metric("test error less training error", better="lower", low=-1, high=1),
        "train_rmse": Metric("root mean squared error of regression, training points", better="lower", low=0),
        "test_rmse": Metric("root mean squared error of regression, new points", better="lower", low=0),
    }
    presets = {
        "quick": {},
        "mnist": {
            "dataset": "mnist",
            "train_sizes": (100, 400, 1600),
            "examples": 800,
            "validation": 400,
            "steps": 1000,
            "pretraining_steps": 5000,
            "pretraining_rate": 1e-3,  # at 1e-2 all units die, and the bad start fits nothing
            "batch_size": 64,
        },
        "full": {
            "dataset": "cifar10",
            "network": "resnet18",
            "train_sizes": (500, 2000, 10_000, 50_000),
            "examples": 10_000,
            "validation": 5000,
            "steps": 20_000,
            "pretraining_steps": 60_000,
            "batch_size": 128,
            "draws": 100,
        },
        "perceptron": {
            "dataset": "cifar10",
            "network": "mlp_3x512",
            "train_sizes": (500, 2000, 10_000, 50_000),
            "examples": 10_000,
            "validation": 5000,
            "steps": 60_000,
            "pretraining_steps": 60_000,
            "batch_size": 128,
            "draws": 100,
        },
    }
    references = (
        published("inception", 0.0, 0.8575),
        published("mlp_1x512", 0.0, 0.5051),
        published("mlp_3x512", 0.0, 0.5239),
    )

    def datasets(self) -> tuple[str, ...]:
        return (self.dataset,)

    def trial(self, context: Context) -> Iterator[Measurement]:
        yield from self.double_descent(context)
        images = Images(self, context)
        arms, tried = self.arms(images.bad_start()), self.tried()
        jobs = [*arms, *(job for jobs in tried.values() for job in jobs)]
        fits = {job: fit for same in (False, True) for job, fit in self.train(jobs, same, images, context)}
        for job in arms:
            yield images.row(job.subject, job.size, job.share, fits[job].classes[-1], job.die)
        for share in (0.0, NOISY_SHARE):
            for method in METHODS:
                classes = images.outcomes(method, share, tried, fits)
                chosen = min(classes, key=lambda c: images.validation_error(c, share))
                yield images.row(method, self.examples, share, chosen)

    # ------------------------------------------------------------------------------------------------ double descent

    def double_descent(self, context: Context) -> Iterator[Measurement]:
        """Random features of every width on a few points, and few of them on many."""
        sizes = {"train": self.points, "validation": 200, "test": 1000, "many": self.many_points}
        few, validation, test, many = (sine(context.rng("sine", part), n) for part, n in sizes.items())
        for train, widths in ((few, self.widths), (many, (min(self.widths),))):
            for width in widths:
                draws = [relu_features(width, context.rng("features", width, draw)) for draw in range(self.draws)]
                inputs = [[units(sample.x) for sample in (train, validation, test)] for units in draws]
                for subject, penalties in (("features", (0.0,)), ("ridge features", PENALTIES)):
                    errors = [regression(h, train, validation, test, penalties) for h in inputs]
                    # medians, as near the threshold errors have no mean to speak of
                    of_train, of_test = np.median(errors, axis=0)
                    setting = {"subject": subject, "task": "sine", "examples": len(train.x), "width": width}
                    yield {**setting, "train_rmse": of_train, "test_rmse": of_test}

    # ------------------------------------------------------------------------------------------------------ networks

    def arms(self, bad_start: nn.Module) -> list[Job]:
        """Networks that differ in their examples, their labels, or their start."""
        sizes = sorted({*self.train_sizes, self.examples})
        return [
            *(Job("network", size, 0.0) for size in sizes),
            *(Job("network", self.examples, share) for share in self.random_shares),
            *(Job(f"another die ({die})", self.examples, 1.0, die=die) for die in (1, 2)),
            Job("another start", self.examples, 0.0, member=1),
            Job("bad start", self.examples, 0.0, start=bad_start),
        ]

    def tried(self) -> dict[tuple[str, float], list[Job]]:
        """Three settings of plain training, as often as an ensemble has members, of dropout and of weight decay."""
        jobs = {}
        for share in (0.0, NOISY_SHARE):
            job = Job("", self.examples, share)
            members = range(self.members)
            jobs[PLAIN, share] = [job._replace(subject=PLAIN, rate=r, member=m) for r in RATES for m in members]
            jobs["dropout", share] = [job._replace(subject="dropout", dropout=p) for p in DROPOUTS]
            jobs["weight decay", share] = [job._replace(subject="weight decay", decay=d) for d in DECAYS]
        return jobs

    def train(self, jobs: Sequence[Job], dropout: bool, images: Images, context: Context) -> Iterator[tuple[Job, Fit]]:
        """Adam for the jobs with or without dropout, all at once; all go through their examples in the same order."""
        jobs = [job for job in jobs if bool(job.dropout) == dropout]
        device = images.x.device
        stack = Stack([job.start or images.net(job.member, job.dropout) for job in jobs]).to(device).train()
        labels = torch.stack([images.labels(job.share, job.die) for job in jobs])
        rates, decays = (
            torch.tensor([getattr(job, part) for job in jobs], device=device) for part in ("rate", "decay")
        )
        adam = torch.optim.Adam(stack.parameters(), max(RATES), fused=True)
        sizes, orders = [job.size for job in jobs], [context.generator("order") for _ in jobs]
        net = torch.arange(len(jobs), device=device)[:, None]
        looks = {round(self.steps * (i + 1) / LOOKS) for i in range(LOOKS)}
        classes = []
        with context.seeded("dropout"):
            for step, rows in enumerate(batches(sizes, self.batch_size, steps=self.steps, generators=orders), 1):
                rows = rows.to(device)
                adam.zero_grad()
                stack.losses(F.cross_entropy, stack.each(rows_of(images.x, rows)), labels[net, rows]).sum().backward()
                step_at(adam, rates)
                if decays.any():
                    shrink(stack, 1 - rates * decays)
                if step in looks:
                    context.progress(0.1 + 0.45 * (dropout + step / self.steps), f"step {step} of {len(jobs)} networks")
                    chances = images.chances(stack)
                    classes.append(chances.argmax(2))
        for k, job in enumerate(jobs):
            yield job, Fit(torch.stack(classes)[:, k], chances[k])

    claims = [
        Claim(
            "with the same examples, labels, network and training error, another start costs over 10 points of test "
            "error",
            lambda rows: both_fit_and_differ(
                rows[(rows.examples == where(rows, subject="bad start").examples.max()) & (rows.random_share == 0)],
                {"subject": "network"},
                {"subject": "bad start"},
            ),
            source="Liu et al. 2020",
        ),
        Claim("with the same training error, few examples cost over 10 points of test error", by_examples),
        Claim(
            "with the same training error, 40 % of labels thrown by a die cost over 10 points of test error",
            lambda rows: both_fit_and_differ(
                rows[rows.examples == where(rows, subject="network", random_share=NOISY_SHARE).examples.max()],
                {"subject": "network", "random_share": 0.0},
                {"subject": "network", "random_share": NOISY_SHARE},
            ),
            source="Zhang et al. 2017",
        ),
        Claim(
            "networks with a training error below 1 % have test errors more than 80 points apart",
            lambda rows: above(spread(rows), 0.8),
        ),
        Claim(
            "a better fit can be the worse model: stopped early, training on 40 % random labels fits worse by over "
            "10 points, and errs less on new data by over 10",
            lambda rows: all_of(
                above(stopped_early(rows).train_error - trained_on(rows).train_error, LARGE),
                below(stopped_early(rows).test_error - trained_on(rows).test_error, -LARGE),
            ),
        ),
        Claim(
            "on true labels nothing among ridge, early stopping, dropout, weight decay and an ensemble takes away as "
            "much as 3 points of test error",
            lambda rows: all_of(*(above(advantage(rows, method), -0.03) for method in HELPED)),
            source="Zhang et al. 2017",
        ),
        Claim(
            "double descent: where random features are as many as points, the error on new points is over twice that "
            "of the best narrower and of the widest",
            lambda rows: all_of(
                *(above(features_at(rows, "threshold") - features_at(rows, e), 1.0) for e in ("best narrow", "widest"))
            ),
            source="Belkin et al. 2019",
        ),
        Claim(
            "and the widest, which interpolate, do at least as well as the best that do not",
            lambda rows: below(features_at(rows, "widest") - features_at(rows, "best narrow"), 0.0),
            source="Belkin et al. 2019",
        ),
        Claim(
            "ridge regression has no such peak: there it errs less than 1.5 times as much as the best narrower",
            lambda rows: below(
                features_at(rows, "threshold", "ridge features") - features_at(rows, "best narrow", "ridge features"),
                float(np.log2(1.5)),
            ),
        ),
        Control(
            "where points outnumber features by far, training error tells the error on new points (ratio)",
            lambda rows: contains(crowded(rows), 1.0, margin=0.1),
            kind="negative",
        ),
        Control(
            "two starts that know nothing differ by less than 3 points of test error",
            lambda rows: equivalent(
                where(rows, subject="another start").test_error
                - where(same_as(rows, "another start"), subject="network", random_share=0.0).test_error,
                0.03,
            ),
            kind="negative",
        ),
        Control(
            "labels that a die threw are fitted",
            lambda rows: below(thrown_labels(rows).train_error.groupby(level=0).mean(), FITTED),
            kind="positive",
        ),
        Control(
            "and tell nothing: test accuracy is chance",
            lambda rows: contains(1 - thrown_labels(rows).test_error.groupby(level=0).mean(), CHANCE, margin=0.05),
            kind="positive",
        ),
    ]

    def plot(self, rows: pd.DataFrame, figure: Figure, artefacts: Artefacts) -> None:
        figure.set_size_inches(9, 4.5)
        figure.set_layout_engine("constrained")
        left, right = figure.subplots(1, 2)
        draw_descent(left, rows)
        draw_scatter(right, rows)


# ------------------------------------------------------------------------------------------------- rows that rules see


def same_as(rows: pd.DataFrame, subject: str) -> pd.DataFrame:
    """The rows with as many examples as a subject's."""
    return rows[rows.examples == where(rows, subject=subject).examples.max()]


def advantage(rows: pd.DataFrame, method: str) -> pd.Series:
    """A method's test error on true labels less plain training's; below zero where it is better."""
    rows = rows[rows.subject.isin(METHODS) & (rows.random_share == 0.0)]
    return where(rows, subject=method).test_error - where(rows, subject=PLAIN).test_error


def stopped_early(rows: pd.DataFrame) -> pd.DataFrame:
    """Early stopping on noisy labels."""
    return where(rows, subject="early stopping", random_share=NOISY_SHARE)


def trained_on(rows: pd.DataFrame) -> pd.DataFrame:
    """The network on noisy labels, until it has fitted them."""
    return where(rows, subject="network", random_share=NOISY_SHARE)


def thrown_labels(rows: pd.DataFrame) -> pd.DataFrame:
    """Networks on labels that a die threw, three dice a seed."""
    return rows[rows.subject.str.match("network|another die") & (rows.random_share == 1.0)]


def crowded(rows: pd.DataFrame) -> pd.Series:
    """Test over training error of the regression of many points on few features."""
    rows = where(rows, subject="features")
    rows = rows[rows.examples == rows.examples.max()]
    return rows.test_rmse / rows.train_rmse


# -------------------------------------------------------------------------------------------------------- regression


class Sample(NamedTuple):
    x: NDArray  # [n]
    y: NDArray  # [n]


def sine(rng: np.random.Generator, n: int) -> Sample:
    """sin(2πx) with noise, x uniform in [-1, 1]."""
    x = rng.uniform(-1, 1, n)
    return Sample(x, np.sin(2 * np.pi * x) + NOISE * rng.standard_normal(n))


def relu_features(width: int, rng: np.random.Generator) -> Callable[[NDArray], NDArray]:
    """Units max(0, w·z), [n] -> [n, width], with normal w; z are the first three harmonics of x, sines and cosines.

    Of x itself, a unit would be a line with one fold, and hundreds of them were needed to pass through 40 points.
    """
    w = rng.standard_normal((6, width))

    def units(x: NDArray) -> NDArray:
        angle = np.pi * np.arange(1, 4) * x[:, None]
        return np.maximum(0.0, np.concatenate([np.sin(angle), np.cos(angle)], 1) @ w) / np.sqrt(width)

    return units


def regression(
    inputs: Sequence[NDArray], train: Sample, validation: Sample, test: Sample, penalties: Sequence[float]
) -> tuple[float, float]:
    """Errors on training and test points, of the penalty that the validation points choose."""
    fits = [least_norm(inputs[0], train.y, penalty) for penalty in penalties]
    chosen = min(fits, key=lambda fit: rmse(inputs[1] @ fit, validation.y))
    return rmse(inputs[0] @ chosen, train.y), rmse(inputs[2] @ chosen, test.y)


def least_norm(h: NDArray, y: NDArray, penalty: float) -> NDArray:
    """Ridge regression of y on h [n, m]; of penalty 0 least squares, and of all solutions that of least norm."""
    if penalty == 0.0:
        return np.linalg.lstsq(h, y, rcond=1e-12)[0]
    n, m = h.shape
    penalty = penalty * n * np.square(h).mean()
    if m <= n:
        return np.linalg.solve(h.T @ h + penalty * np.eye(m), h.T @ y)
    return h.T @ np.linalg.solve(h @ h.T + penalty * np.eye(n), y)


def rmse(a: NDArray, b: NDArray) -> float:
    """Root mean squared difference."""
    return float(np.sqrt(np.square(a - b).mean()))


# ------------------------------------------------------------------------------------------------------------ images


class Job(NamedTuple):
    """A network to train."""

    subject: str
    size: int  # examples
    share: float  # of random labels
    die: int = 0  # that throws them
    member: int = 0  # of an ensemble: its first weights
    rate: float = RATE
    dropout: float = 0.0
    decay: float = 0.0
    start: nn.Module | None = None  # instead of the first weights


class Fit(NamedTuple):
    classes: Tensor  # [looks, all images] what was predicted at each look; the last is after the last step
    chances: Tensor  # [all images, classes] after the last step


@torch.no_grad()
def shrink(stack: Stack, factors: Tensor) -> None:
    """Multiply the weights of each network by its factor."""
    for parameter in stack.parameters():
        parameter.mul_(factors.view(-1, *[1] * (parameter.ndim - 1)))


class Images:
    """One seed's images: first those to train with, whose last validate, then those to test with."""

    def __init__(self, experiment: FitWithoutGeneralization, context: Context) -> None:
        self.experiment, self.context = experiment, context
        self.trained = max(*experiment.train_sizes, experiment.examples + experiment.validation)
        parts = divided(experiment.dataset, [self.trained], context)
        x, self.y = (np.concatenate(values) for values in zip(*parts, strict=True))
        self.x = whiten(x).to(context.device)

    def labels(self, share: float, die: int = 0) -> Tensor:
        """Labels of all images; those to train and validate with thrown by a die with this probability."""
        thrown = throw(self.y[: self.trained], share, self.context.rng("die", die))
        return torch.from_numpy(np.concatenate([thrown, self.y[self.trained :]])).to(self.x.device)

    def net(self, member: int, dropout: float = 0.0) -> nn.Module:
        """A network as drawn at first; the same for all arms, but another for each member of an ensemble."""
        with self.context.seeded("init", member):
            return network(self.experiment.network, self.x.shape[1:], dropout)

    def bad_start(self) -> nn.Module:
        """The common start, trained on noisy copies of the examples, each with a label of its own thrown by a die.

        A third of the pixels of a copy are set to the mean.
        """
        experiment, rng = self.experiment, self.context.rng("bad start")
        x = self.x[: experiment.examples].repeat(experiment.copies, 1, 1, 1)
        x = x * torch.from_numpy(rng.random(x.shape, dtype=np.float32) > 1 / 3).to(x)
        y = torch.from_numpy(rng.integers(CLASSES, size=len(x))).to(x.device)
        net = self.net(0).train()
        adam = torch.optim.Adam(net.parameters(), experiment.pretraining_rate, fused=True)
        order = [self.context.generator("bad order")]
        for rows in batches([len(x)], experiment.batch_size, steps=experiment.pretraining_steps, generators=order):
            adam.zero_grad()
            F.cross_entropy(net(x[rows[0]]), y[rows[0]]).backward()
            adam.step()
        return net

    @torch.no_grad()
    def chances(self, stack: Stack) -> Tensor:
        """[K, all images, classes], in parts of a size that fits anywhere."""
        stack.eval()
        chances = torch.cat([stack(part).softmax(2) for part in self.x.split(2000)], 1)
        stack.train()
        return chances

    def outcomes(
        self, method: str, share: float, tried: Mapping[tuple[str, float], Sequence[Job]], fits: Mapping[Job, Fit]
    ) -> list[Tensor]:
        """What each setting of a method predicts, of early stopping at each look."""
        first = [fits[job] for job in tried.get((method, share), tried[PLAIN, share]) if job.member == 0]
        if method == "early stopping":
            return [classes for fit in first for classes in fit.classes]
        if method == "ensemble":
            members = [[fits[job].chances for job in tried[PLAIN, share] if job.rate == rate] for rate in RATES]
            return [torch.stack(chances).mean(0).argmax(1) for chances in members]
        if method == "ridge":
            return [self.ridge(self.labels(share), self.experiment.examples, penalty) for penalty in PENALTIES]
        return [fit.classes[-1] for fit in first]

    def ridge(self, labels: Tensor, n: int, penalty: float) -> Tensor:
        """Classes of all images by ridge regression of indicators on pixels and a constant."""
        x = F.pad(self.x.flatten(1), (0, 1), value=1.0).double().cpu().numpy()
        indicators = F.one_hot(labels[:n].cpu(), CLASSES).double().numpy()
        return torch.from_numpy((x @ least_norm(x[:n], indicators, penalty)).argmax(1)).to(self.x.device)

    def validation_error(self, classes: Tensor, share: float) -> float:
        """On the last of the images to train with, labelled like them."""
        part = slice(self.trained - self.experiment.validation, self.trained)
        return float((classes[part] != self.labels(share)[part]).double().mean())

    def row(self, subject: str, size: int, share: float, classes: Tensor, die: int = 0) -> Measurement:
        """A measurement from the predicted classes of all images."""
        wrong = (classes != self.labels(share, die)).double()
        train, test = float(wrong[:size].mean()), float(wrong[self.trained :].mean())
        setting = {"subject": subject, "task": "images", "examples": size, "random_share": share}
        return {**setting, "train_error": train, "test_error": test, "gap": test - train}


def network(name: str, shape: Sequence[int], dropout: float) -> nn.Module:
    """A network for images of a shape [channels, h, w]; dropout comes before the last layer."""
    layers = list(resnet18(shape[0]) if name == "resnet18" else build(name, shape, "").children())
    layers[-2] = Dropout(dropout) if dropout else nn.Identity()
    return nn.Sequential(*layers)


def resnet18(channels: int) -> Iterator[nn.Module]:
    """ResNet-18 for small images (a first filter of 3×3, no pooling after it), with group normalization.

    Batch normalization would let the examples of a batch, and so the arms' sizes, take part in what is predicted.
    """
    yield from (nn.Conv2d(channels, 64, 3, padding=1, bias=False), nn.GroupNorm(32, 64), nn.ReLU())
    channels = 64
    for filters, stride in ((64, 1), (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1)):
        yield from (Residual(channels, filters, stride), nn.ReLU())
        channels = filters
    yield from (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Identity(), nn.Linear(channels, CLASSES))


class Residual(nn.Module):
    """Two convolutions of 3×3 beside the identity, or beside one of 1×1 where the shape changes."""

    def __init__(self, channels: int, filters: int, stride: int) -> None:
        super().__init__()
        first = nn.Conv2d(channels, filters, 3, stride, padding=1, bias=False)
        second = nn.Conv2d(filters, filters, 3, padding=1, bias=False)
        self.body = nn.Sequential(first, nn.GroupNorm(32, filters), nn.ReLU(), second, nn.GroupNorm(32, filters))
        same = channels == filters and stride == 1
        beside = nn.Sequential(nn.Conv2d(channels, filters, 1, stride, bias=False), nn.GroupNorm(32, filters))
        self.side = nn.Identity() if same else beside

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + self.side(x)


# ----------------------------------------------------------------------------------------------------------- picture


def draw_descent(axes: Axes, rows: pd.DataFrame) -> None:
    """Errors of the regression against the number of features, and where these are as many as the points."""
    if {"task", "width", "test_rmse", "train_rmse"} <= set(rows.columns):
        rows = rows[(rows.task == "sine")]
        rows = rows[rows.examples == rows.examples.min()]
        lines = (
            ("features", "train_rmse", "least norm, training points", {"color": "#0072B2", "ls": "--", "marker": "s"}),
            ("features", "test_rmse", "least norm, new points", {"color": "#0072B2", "marker": "o"}),
            ("ridge features", "test_rmse", "ridge, new points", {"color": "#D55E00", "marker": "o"}),
        )
        for subject, metric, label, style in lines:
            by_width = dict(iter(rows[(rows.subject == subject) & (rows[metric] > 1e-4)].groupby("width")[metric]))
            draw_means(axes, by_width, by_width.values(), log=True, label=label, markersize=3, **style)
        for points in rows.examples.unique():
            axes.axvline(points, color="grey", linewidth=0.8)
            axes.text(
                points * 1.05,
                0.97,
                "as many features\nas points",
                va="top",
                fontsize="x-small",
                color="grey",
                transform=axes.get_xaxis_transform(),
            )
    axes.axhline(NOISE, color="black", linewidth=0.8, linestyle=":", label="noise of the labels")
    axes.set(xlabel="random ReLU features", ylabel="root mean squared error", xscale="log", yscale="log")
    axes.set(title="a noisy sine: double descent", ylim=(1e-2, None))
    axes.legend(fontsize="x-small", frameon=False, loc="lower right")


def draw_scatter(axes: Axes, rows: pd.DataFrame) -> None:
    """Test against training error, a point a network and seed; training errors on a scale that opens up zero."""
    if {"task", "train_error", "test_error"} <= set(rows.columns):
        rows = rows[rows.task == "images"]
        own = rows[rows.subject.str.match("network|another die")]
        most = own.random_share.eq(0.0)
        groups = (
            ("true labels, 50 to 1400 examples", own[most], "#0072B2", "o"),
            ("random labels", own[~most], "#D55E00", "s"),
            ("true labels, bad start", rows[rows.subject == "bad start"], "#000000", "*"),
            ("other methods", rows[rows.subject.isin(HELPED)], "#009E73", "^"),
        )
        for label, group, color, marker in groups:
            axes.scatter(
                group.train_error,
                group.test_error,
                s=22,
                color=color,
                marker=marker,
                alpha=0.7,
                label=label,
                linewidth=0,
            )
    axes.axvspan(-0.001, FITTED, color="#EEEEEE", zorder=0)
    axes.set_xscale("symlog", linthresh=FITTED, linscale=1.0)
    axes.set(
        xlabel="training error", ylabel="test error", ylim=(0, 1), xlim=(-0.001, 1), title="images: test against train"
    )
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize="x-small", frameon=False, loc="upper right")
