"""A trained network promises more than it keeps, a shift makes it worse, and a temperature repairs most of it at home.

Guo, Pleiss, Sun & Weinberger, "On calibration of modern neural networks", ICML 2017, arXiv:1706.04599, and Ovadia et
al., "Can you trust your model's uncertainty?", NeurIPS 2019, arXiv:1906.02530. Networks are trained to the end on two
kinds of data: MNIST-1D's signals, hard enough that they are often wrong, and images, which are afterwards corrupted in
seven ways at five severities (:mod:`dlbench.corruptions`). On each test set a subject's confidence is held against its
accuracy.

The calibration error (ECE) of a few hundred examples is above zero even for a perfectly calibrated model. How far is
measured where there is no shift: labels are drawn from the predicted probabilities, and the error that such labels give
on average is taken off (``excess``).

Subjects: the plain network (``softmax``), two scalings fitted on held-out data, label smoothing (Szegedy et al. 2016),
mixup (Thulasidasan et al. 2019), MC dropout, a Laplace approximation of the last layer, a deep ensemble, and logistic
regression on twenty thousand signals, too small to memorize them and so with nothing to be over-confident about (the
negative control; on development seeds a fit to the networks' thousand was over-confident, too, with 410 weights).
A method with a setting of its own tries three, and keeps the one of least held-out log-loss; the ensemble has none.

``full`` takes MNIST and wider networks; ``cifar10`` a LeNet-5, and the files of CIFAR-10-C, all fifteen kinds. Not
covered: SWAG and SNGP.

Version 2 takes the signals and corruptions that other studies take; version 1 had made its own of both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
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
    every,
    one_of,
    paired,
    per_seed,
    where,
)
from dlbench import uncertainty as u
from dlbench.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from dlbench.data import cifar
from dlbench.data.mnist1d import mnist1d
from dlbench.errors import ParameterError
from dlbench.stacking import Dropout, Stack, batches, rows_of
from dlbench_plugins.images import CLASSES, cifar10_c, divided
from dlbench_plugins.networks import logistic_regression

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dlbench import Artefacts, Verdict

SIGNALS = "mnist1d"
CIFAR10_C = tuple(f"cifar10_c/{kind}" for kind in cifar.KINDS)  # images as its files have them
SHIFTS = ("gaussian_noise", "impulse_noise", "defocus_blur", "brightness", "contrast", "translate", "occlude")
WORST = max(SEVERITIES)
EXCESS = 0.03  # of the calibration error over its null, from which on it is said to be there

SMOOTHING = (0.02, 0.05, 0.1)  # what each method tries
MIXUP = (0.1, 0.3, 1.0)
DROPOUT = (0.1, 0.25, 0.5)
PRECISION = (0.1, 1.0, 10.0)
MANY = 20_000  # signals for a linear model: nearly fifty for each of its 410 weights

COLORS = {
    "softmax": "#D55E00",
    "temperature": "#0072B2",
    "vector_scaling": "#56B4E9",
    "label_smoothing": "#CC79A7",
    "mixup": "#E69F00",
    "mc_dropout": "#999999",
    "laplace": "#000000",
    "ensemble": "#009E73",
}
LINEAR = "linear"

Subject = Callable[[Tensor], NDArray]  # inputs [n, ...] → probabilities [n, CLASSES]


def guo(data: str, network: str, before: float, after: float) -> tuple[Reference, Reference]:
    """Two cells of table 1 of Guo et al. 2017, ECE in 15 bins."""
    source, setting = "Guo et al. 2017, table 1", {"data": data, "network": network, "severity": 0}
    return (
        Reference("ece", before, source, {"subject": "softmax", **setting}),
        Reference("ece", after, source, {"subject": "temperature", **setting}),
    )


def baselines(subject: str, ece: float, corrupted: float) -> tuple[Reference, Reference]:
    """WRN-28-10 on CIFAR-10 and on CIFAR-10-C (the mean over all its kinds and severities)."""
    source, setting = "Uncertainty Baselines, CIFAR-10 table", {"subject": subject, "network": "wrn_28_10"}
    return (
        Reference("ece", ece, source, {**setting, "data": "cifar10"}),
        Reference("ece", corrupted, source, {**setting, "data": "cifar10_c"}, note="mean over kinds and severities"),
    )


# ---------------------------------------------------------------------------------------------- rows that rules see


def unshifted(rows: pd.DataFrame, *, images: bool) -> pd.DataFrame:
    """The rows of the signals' test set, or of the images' as they are."""
    return rows[(rows.severity == 0) & ((rows["data"] != SIGNALS) == images)]


def by_severity(rows: pd.DataFrame, subject: str, severity: int) -> pd.Series:
    """ECE on images at a severity, the mean over the kinds of shift, one a seed."""
    chosen = where(rows[rows["data"] != SIGNALS], subject=subject, severity=severity)
    return per_seed(chosen, lambda group: group.ece.mean())


def ratio(rows: pd.DataFrame, subject: str) -> pd.Series:
    """ECE of a subject over that of the plain network, one a seed."""
    return where(rows, subject=subject).ece / where(rows, subject="softmax").ece


def is_overconfident(rows: pd.DataFrame) -> Verdict:
    """Whose ECE is not that of a calibrated model, and on the side of too much confidence."""
    return all_of(above(rows.excess, EXCESS), above(rows.overconfidence, 0.0))


def is_calibrated(rows: pd.DataFrame) -> Verdict:
    """Whose ECE is nearly that of a calibrated model."""
    return all_of(below(rows.excess, EXCESS), below(rows.overconfidence, EXCESS))


def on_both(rows: pd.DataFrame, rule: Callable[[pd.DataFrame], Verdict]) -> Verdict:
    """The rule for the plain network on signals and on images, unshifted."""
    return every(where(rows, subject="softmax", severity=0), "data", rule)


# ------------------------------------------------------------------------------------------------------ experiment


@dataclass(frozen=True)
class Calibration(Experiment):
    """How far confidence is from accuracy, for networks and for what is said to repair them, without and with shift."""

    images: str = one_of("digits", "mnist", "cifar10", default="digits")
    shifts: tuple[str, ...] = one_of(*CORRUPTIONS, *CIFAR10_C, default=SHIFTS)
    network: str = one_of("mlp", "lenet5", default="mlp")
    width: int = between(1, 4096, default=64)
    train_size: int = between(50, 60_000, default=500)
    signals_train: int = between(50, 10**6, default=1000)
    signals_test: int = between(100, 10**6, default=4000)
    held_out: int = between(50, 10_000, default=300)
    steps: int = between(1, 10**6, default=400)
    batch: int = between(2, 4096, default=64)
    learning_rate: float = between(1e-6, 1.0, default=1e-2)
    members: int = between(2, 100, default=5)
    passes: int = between(1, 1000, default=10)
    null_draws: int = between(1, 10_000, default=20)

    version = 2
    title = "A network is surer than it is right"
    chapter = "uncertainty"
    sources = (
        "Guo et al., On calibration of modern neural networks, ICML 2017, arXiv:1706.04599",
        "Ovadia et al., Can you trust your model's uncertainty?, NeurIPS 2019, arXiv:1906.02530",
    )
    metrics = {
        "ece": Metric("calibration error (ECE), 15 bins of equal width", better="lower", main=True, low=0, high=1),
        "excess": Metric("ECE above its mean for labels drawn from the predictions", better="lower", low=-1, high=1),
        "adaptive_ece": Metric("calibration error, 15 bins of equal number", better="lower", low=0, high=1),
        "overconfidence": Metric("mean confidence less accuracy", low=-1, high=1),
        "nll": Metric("negative log-likelihood", "nats", better="lower", low=0),
        "brier": Metric("Brier score, the sum over classes", better="lower", low=0, high=2),
        "aurc": Metric("area under the risk-coverage curve", better="lower", low=0, high=1),
        "accuracy": Metric("accuracy", better="higher", low=0, high=1),
        "own_excess": Metric("excess on labels drawn from the subject's own probabilities", low=-1, high=1),
        "sharp_excess": Metric("excess on the same labels of thrice the logits", low=-1, high=1),
    }
    presets = {
        "quick": {},
        "mnist": {"images": "mnist", "width": 128, "train_size": 5000, "held_out": 1000, "steps": 1000},
        "full": {"images": "mnist", "width": 512, "train_size": 7000, "held_out": 1000, "steps": 5000, "passes": 30},
        "cifar10": {
            "images": "cifar10",
            "shifts": CIFAR10_C,
            "network": "lenet5",
            "train_size": 45_000,
            "held_out": 5000,
            "steps": 20_000,
            "batch": 128,
            "learning_rate": 1e-3,
        },
    }
    references = (
        *guo("cifar100", "resnet_110", 0.1653, 0.0126),
        *guo("cifar100", "wide_resnet_32", 0.15, 0.0232),
        *guo("cifar100", "densenet_40", 0.1037, 0.0118),
        *guo("cifar100", "lenet5", 0.0485, 0.0202),
        *guo("cifar10", "resnet_110", 0.046, 0.0083),
        *baselines("softmax", 0.0231, 0.153),
        *baselines("mc_dropout", 0.019, 0.167),
        *baselines("ensemble", 0.010, 0.087),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if set(self.shifts) & set(CIFAR10_C) and self.images != "cifar10":
            raise ParameterError(f"calibration.shifts: CIFAR-10-C's files show cifar10; images is {self.images!r}")

    def datasets(self) -> tuple[str, ...]:
        return (self.images, *(["cifar10_c"] if set(self.shifts) & set(CIFAR10_C) else []))

    def trial(self, context: Context) -> Iterator[Measurement]:
        kinds = {SIGNALS: self.signal_split(context), self.images: self.image_split(context)}
        for name, split in kinds.items():
            context.progress(0.0 if name == SIGNALS else 0.4, f"training on {name}")
            subjects = self.subjects(name, split, context)
            yield from self.measure(name, subjects, split.test, split.test_y, context)
            if name == SIGNALS:
                for subject in ("softmax", "temperature", "ensemble"):
                    bins = u.reliability(subjects[subject](split.test), split.test_y)
                    context.keep(f"reliability_{subject}", np.array(bins))
                continue
            for shift in self.shifts:
                context.progress(0.7, f"under {shift}")
                for severity in SEVERITIES:
                    x = self.shifted(split, shift, severity, context)
                    yield from self.measure(name, subjects, x, split.test_y, context, shift, severity)

    def shifted(self, split: Split, shift: str, severity: int, context: Context) -> Tensor:
        """The test images, corrupted here or by the authors of CIFAR-10-C."""
        if shift in CIFAR10_C:
            rows = np.arange(len(split.test))
            return cifar10_c(shift.removeprefix("cifar10_c/"), severity, rows, split.test_y, context)
        return corrupt(split.test, shift, severity, generator=context.generator("shift", shift))

    def measure(
        self,
        data: str,
        subjects: Mapping[str, Subject],
        x: Tensor,
        y: Tensor,
        context: Context,
        shift: str = "none",
        severity: int = 0,
    ) -> Iterator[Measurement]:
        """A row for each subject on one test set."""
        for subject, predict in subjects.items():
            p = predict(x)
            row = {"subject": subject, "data": data, "shift": shift, "severity": severity, **scores(p, y)}
            if not severity:
                row["excess"] = self.excess(p, y, context)
            if not severity and subject == "softmax":
                own = u.draw_labels(p, context.rng("own labels", data))
                row["own_excess"] = self.excess(p, own, context)
                row["sharp_excess"] = self.excess(p**3 / (p**3).sum(1, keepdims=True), own, context)
            yield row

    def excess(self, p: NDArray, y: Tensor | NDArray, context: Context) -> float:
        """ECE above what it would be on average were the probabilities right."""
        null = u.resampled(u.expected_calibration_error, p, self.null_draws, context.rng("null"))
        return u.expected_calibration_error(p, y) - float(null.mean())

    def signal_split(self, context: Context) -> Split:
        """Training, held-out and test signals, drawn alike."""
        sizes = np.cumsum([self.signals_train, self.held_out])
        x, y = map(torch.from_numpy, mnist1d(int(sizes[-1]) + self.signals_test, context.rng("signals")))
        parts = zip(*(values.tensor_split(sizes.tolist()) for values in (x, y)), strict=True)
        return Split(*chain(*parts)).to(context.device)

    def image_split(self, context: Context) -> Split:
        """The publishers' test set where there is one; images [n, channels, height, width] in [0, 1]."""
        parts = divided(self.images, (self.train_size, self.held_out), context)
        return Split(*map(torch.from_numpy, chain(*parts))).to(context.device)

    def subjects(self, name: str, split: Split, context: Context) -> dict[str, Subject]:
        """Everything that is compared, trained and, where it has a setting, chosen on the held-out examples."""
        seen = F.one_hot(split.train_y, CLASSES).float()

        def train(arms: list[Arm], network: str) -> Stack:
            return self.train(arms, network, split.train, seen, context)

        network = "mlp" if name == SIGNALS else self.network
        groups = {
            "softmax": [Arm(member=member) for member in range(self.members)],
            "label_smoothing": [Arm(smoothing=value) for value in SMOOTHING],
            "mixup": [Arm(mixup=value) for value in MIXUP],
            "mc_dropout": [Arm(dropout=value) for value in DROPOUT],
        }
        stack = train([arm for group in groups.values() for arm in group], network)
        each = iter([stack[k] for k in range(len(stack))])
        nets = {group: list(islice(each, len(arms))) for group, arms in groups.items()}
        ensemble, plain = Stack(nets["softmax"]), nets["softmax"][0]
        held_out = logits(plain, split.held_out)
        temperature, vector = (
            scaling.fit(held_out, split.held_out_y) for scaling in (u.TemperatureScaling, u.VectorScaling)
        )
        seed = context.integer("mc dropout")
        subjects: dict[str, Subject] = {
            "softmax": partial(probabilities, plain),
            "temperature": lambda x: temperature(logits(plain, x)),
            "vector_scaling": lambda x: vector(logits(plain, x)),
            "label_smoothing": best([partial(probabilities, net) for net in nets["label_smoothing"]], split),
            "mixup": best([partial(probabilities, net) for net in nets["mixup"]], split),
            "mc_dropout": best([partial(dropped_out, net, self.passes, seed) for net in nets["mc_dropout"]], split),
            "laplace": best([laplace(plain, split.train, precision) for precision in PRECISION], split),
            "ensemble": lambda x: probabilities(ensemble, x).mean(0),
        }
        if name == SIGNALS:
            many = mnist1d(MANY, context.rng("signals of the linear model"))
            x, y = (torch.from_numpy(part).to(context.device) for part in many)
            subjects[LINEAR] = partial(probabilities, logistic_regression(x, y, CLASSES, iterations=60))
        return subjects

    def train(self, arms: list[Arm], network: str, x: Tensor, targets: Tensor, context: Context) -> Stack:
        """One network an arm, at once; those of one member start alike and see the examples in one order."""
        built = []
        for arm in arms:
            with context.seeded("init", arm.member):
                built.append(build(network, x.shape[1:], self.width, arm.dropout))
        nets = Stack(built).to(context.device).train()
        smoothing, mixup = (
            torch.tensor([getattr(arm, name) for arm in arms], device=x.device)[:, None, None]
            for name in ("smoothing", "mixup")
        )
        shares = context.rng("mixup")
        adam = torch.optim.Adam(nets.parameters(), self.learning_rate, fused=True)
        schedule = torch.optim.lr_scheduler.LinearLR(adam, 1.0, 0.0, self.steps)
        orders = [context.generator("order", arm.member) for arm in arms]
        with context.seeded("dropout"):
            for rows in batches([len(x)] * len(arms), self.batch, steps=self.steps, generators=orders):
                inputs, target = (rows_of(part, rows.to(x.device)) for part in (x, targets))
                target = target * (1 - smoothing) + smoothing / CLASSES
                if mixup.any():  # with the next of a random order, which is a random one
                    kept = [shares.beta(arm.mixup, arm.mixup) if arm.mixup else 1.0 for arm in arms]
                    share = torch.tensor(kept, device=x.device).to(x.dtype)
                    inputs, target = (mix(values, share) for values in (inputs, target))
                adam.zero_grad()
                nets.losses(F.cross_entropy, nets.each(inputs), target).sum().backward()
                adam.step()
                schedule.step()
        return nets.eval()

    claims = [
        Claim(
            "(a) on signals a network is over-confident: ECE over 0.03 above its null, and confidence above accuracy",
            lambda rows: is_overconfident(where(unshifted(rows, images=False), subject="softmax")),
            source="Guo et al. 2017",
        ),
        Claim(
            "(a) and so it is on images",
            lambda rows: is_overconfident(where(unshifted(rows, images=True), subject="softmax")),
            source="Guo et al. 2017",
        ),
        Claim(
            "(b) shift makes it worse: ECE is greater at severity 5 than without, the mean over kinds of shift",
            lambda rows: above(by_severity(rows, "softmax", WORST) - by_severity(rows, "softmax", 0), 0.0),
            source="Ovadia et al. 2019",
        ),
        Claim(
            "(c) in distribution a temperature cuts the network's ECE by more than half",
            lambda rows: below(ratio(unshifted(rows, images=False), "temperature"), 0.5),
            source="Guo et al. 2017",
        ),
        Claim(
            "(c) in distribution an ensemble cuts the network's ECE by more than half",
            lambda rows: below(ratio(unshifted(rows, images=False), "ensemble"), 0.5),
        ),
        Claim(
            "(d) a temperature does not travel: at severity 5 more than half of the network's ECE is left",
            lambda rows: above(by_severity(rows, "temperature", WORST) / by_severity(rows, "softmax", WORST), 0.5),
            source="Ovadia et al. 2019",
        ),
        Claim(
            "(d) at severity 5 an ensemble has less ECE than a temperature",
            lambda rows: below(by_severity(rows, "ensemble", WORST) - by_severity(rows, "temperature", WORST), 0.0),
            source="Ovadia et al. 2019",
        ),
        Control(
            "a linear model of the signals is not over-confident",
            lambda rows: is_calibrated(where(unshifted(rows, images=False), subject=LINEAR)),
            kind="negative",
        ),
        Control(
            "with labels drawn from its own probabilities, a network's ECE is that of the null",
            lambda rows: on_both(rows, lambda r: contains(r.own_excess, 0.0, margin=0.01)),
            kind="gate",
        ),
        Control(
            "with the same labels, thrice its logits are seen to be over-confident on signals",
            lambda rows: above(where(unshifted(rows, images=False), subject="softmax").sharp_excess, EXCESS),
            kind="positive",
        ),
        Control(
            "the network is trained: on images it is right nine times in ten, on signals more often than a linear one",
            lambda rows: all_of(
                above(where(unshifted(rows, images=True), subject="softmax").accuracy, 0.9),
                above(paired(unshifted(rows, images=False), "accuracy", "softmax", LINEAR), 0.0),
            ),
            kind="gate",
        ),
    ]

    def plot(self, rows: pd.DataFrame, figure: Figure, artefacts: Artefacts) -> None:
        """The reliability diagram on signals; ECE against the severity of shifts of images."""
        figure.set_size_inches(9, 4.2)
        figure.set_layout_engine("constrained")
        left, right = figure.subplots(1, 2)
        draw_reliability(left, artefacts)
        draw_severities(right, rows)


# ------------------------------------------------------------------------------------------------------------ parts


class Split(NamedTuple):
    """Inputs [n, ...] and classes [n]: trained on, chosen and scaled by, and tested once."""

    train: Tensor
    train_y: Tensor
    held_out: Tensor
    held_out_y: Tensor
    test: Tensor
    test_y: Tensor

    def to(self, device: str) -> Split:
        return Split(*(part.to(device) for part in self))


class Arm(NamedTuple):
    """How one network is trained."""

    member: int = 0  # whose weights it starts from
    smoothing: float = 0.0  # share of the label that goes to all classes alike
    mixup: float = 0.0  # both parameters of the Beta distribution of the share kept; 0 for none
    dropout: float = 0.0


def build(network: str, shape: torch.Size, width: int, dropout: float) -> nn.Sequential:
    """An untrained classifier of inputs of a shape; its last layer is linear."""
    if network == "lenet5":  # LeCun et al. 1998, with ReLU and maxima; dropout only where the features end
        side = (shape[-1] - 12) // 4 if shape[-1] > 30 else (shape[-1] - 8) // 4
        layers = [
            nn.Conv2d(shape[0], 6, 5, padding=0 if shape[-1] > 30 else 2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(16 * side * side, 120),
            nn.ReLU(),
            nn.Linear(120, 84),
            nn.ReLU(),
            Dropout(dropout),
            nn.Linear(84, CLASSES),
        ]
        return nn.Sequential(*layers)
    inputs = int(np.prod(shape))
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, width), nn.ReLU(), Dropout(dropout), nn.Linear(width, CLASSES))


def mix(values: Tensor, share: Tensor) -> Tensor:
    """[K, batch, ...]: each example, and its share [K] less than 1 of the one before it."""
    share = share.view(-1, *[1] * (values.dim() - 1))
    return share * values + (1 - share) * values.roll(1, 1)


def best(tried: Sequence[Subject], split: Split) -> Subject:
    """Of one method with several settings, the one of least held-out log-loss."""
    return min(tried, key=lambda predict: u.negative_log_likelihood(predict(split.held_out), split.held_out_y))


def laplace(net: nn.Sequential, train: Tensor, precision: float) -> Subject:
    """The last layer's posterior under a prior of this precision."""
    body, last = net[:-1], net[-1]
    posterior = u.LastLayerLaplace.fit(logits(body, train), last.weight, last.bias, precision)
    return lambda x: posterior(logits(body, x))


def dropped_out(net: nn.Module, passes: int, seed: int, x: Tensor) -> NDArray:
    """The mean of passes with dropout."""
    return u.mc_dropout(net, x, passes, seed).double().mean(0).cpu().numpy()


@torch.no_grad()
def logits(net: nn.Module, x: Tensor) -> NDArray:
    """What a module, or a stack of them, makes of x, in double precision."""
    return torch.cat([net(part) for part in x.split(2000)], -2).double().cpu().numpy()


def probabilities(net: nn.Module, x: Tensor) -> NDArray:
    """The softmax of the logits of a network [n, CLASSES] or of a stack [K, n, CLASSES]."""
    return torch.from_numpy(logits(net, x)).softmax(-1).numpy()


def scores(p: NDArray, y: Tensor) -> dict[str, float]:
    """The metrics that need no null."""
    return {
        "ece": u.expected_calibration_error(p, y),
        "adaptive_ece": u.adaptive_calibration_error(p, y),
        "overconfidence": u.overconfidence(p, y),
        "nll": u.negative_log_likelihood(p, y),
        "brier": u.brier_score(p, y),
        "aurc": u.area_under_risk_coverage(p, y),
        "accuracy": u.accuracy(p, y),
    }


# ---------------------------------------------------------------------------------------------------------- picture


def draw_reliability(axes: Axes, artefacts: Artefacts) -> None:
    """Accuracy against confidence, bins of all seeds as one; a dot's area is the bin's share, 0.001 or more."""
    axes.plot([0, 1], [0, 1], color="black", linestyle=":", linewidth=1, label="confidence = accuracy")
    for subject in ("softmax", "temperature", "ensemble"):
        found = [kept[f"reliability_{subject}"] for kept in artefacts.values() if f"reliability_{subject}" in kept]
        if not found:
            continue
        share, confidence, accuracy = np.concatenate(found, axis=1)
        of = np.ceil(confidence * u.metrics.BINS).astype(int)
        weight = np.bincount(of, share)
        filled = weight > 1e-3 * len(found)
        x, y = (np.bincount(of, share * values)[filled] / weight[filled] for values in (confidence, accuracy))
        axes.plot(x, y, color=COLORS[subject], linewidth=1, label=subject)
        axes.scatter(x, y, 4 + 150 * weight[filled] / len(found), color=COLORS[subject], linewidths=0)
    axes.set(xlabel="confidence", ylabel="accuracy", xlim=(0.1, 1.02), ylim=(0, 1.02), title="signals")
    axes.legend(fontsize="small", frameon=False, loc="upper left")


def draw_severities(axes: Axes, rows: pd.DataFrame) -> None:
    """ECE on images, the mean over kinds of shift, with its 95 % interval over seeds."""
    if {"data", "severity", "ece"} <= set(rows.columns):
        shown = rows[rows["data"] != SIGNALS]
        for i, (subject, color) in enumerate(COLORS.items()):
            mine = shown[shown.subject == subject]
            levels = sorted(mine.severity.unique())
            samples = [mine[mine.severity == level].groupby(level=0).ece.mean().to_numpy() for level in levels]
            place = np.array(levels) + 0.05 * (i - 3.5)
            draw_means(axes, place, samples, color=color, marker="o", markersize=3, label=subject.replace("_", " "))
    axes.set(xlabel="severity of the shift (mean over its kinds)", ylabel="calibration error (ECE)", title="images")
    axes.set_ylim(bottom=0)
    if axes.lines:
        axes.legend(fontsize="small", frameon=False, loc="upper left")
