"""A network fits labels thrown by a die as well as true ones, so fitting says nothing about learning (Zhang 2017).

Zhang, Bengio, Hardt, Recht & Vinyals, "Understanding deep learning requires rethinking generalization", ICLR 2017,
arXiv:1611.03530. With probability p each training label is replaced by the throw of a fair die, once and for all; the
test labels stay true. The network is trained until it fits every training label. As p rises from 0 to 1:

- (a) it still fits, and at p = 1 its test accuracy is chance;
- (b) in between test accuracy falls;
- (c) fitting takes more steps.

A die with k sides throws the right label in one case of k, so at p a share p(1 - 1/k) of the labels is wrong. A linear
model cannot fit them (the negative control; it could with fewer examples than inputs), and the nearest neighbour
always does (the positive control). Three regularizers stand beside the plain network, and two other inputs beside the
images: the same shuffle of the pixels for all of them, which a fully connected network cannot notice, and Gaussian
noise. Nothing here is tuned, for any subject: learning rates are the usual or the published ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
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
    contains,
    draw_means,
    one_of,
    rank_correlation,
    slope,
)
from dlbench.errors import ParameterError
from dlbench.noisy_labels import throw
from dlbench_plugins.generalization.zhang import CHANCE, build, whiten
from dlbench_plugins.images import CLASSES
from dlbench_plugins.networks import logistic_regression

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dlbench import Artefacts

FITTED = 0.99
# Of a net that learnt nothing, test accuracy is the share of right throws among the training labels near the test
# images, so its noise is the die's: at least sqrt(0.1 · 0.9 / 300) = 0.017 a seed, and 0.028 on seeds 100 to 105, as
# many test images share a neighbour. 0.05 lets six such seeds decide, and is little next to the 0.94 of true labels.
MARGIN = 0.05
# Spearman's rank correlation: with six values of p, one swap of neighbours leaves 0.94, two leave 0.89.
MONOTONE = 0.9

NETWORKS = ("mlp_1x512", "mlp_2x512", "mlp_3x512", "inception")
REGULARIZERS = ("weight_decay", "dropout", "input_noise")
CURVES = {  # inputs, corruption → what the picture calls the loss curve
    ("images", 0.0): "true labels",
    ("images", 1.0): "random labels",
    ("shuffled", 0.0): "true labels, shuffled pixels",
    ("gaussian", 1.0): "random labels, Gaussian inputs",
}


def published(network: str, corruption: float, metric: str, value: float, note: str) -> Reference:
    """A cell of table 1 of the paper: no augmentation, no weight decay."""
    setting = {"dataset": "cifar10", "train_size": 50_000, "optimizer": "sgd"}
    where = {"subject": network, "inputs": "images", "corruption": corruption, **setting}
    return Reference(metric, value, "Zhang et al. 2017, table 1", where, note=f"at the end of training; {note}")


IN_SOURCE, IN_COPY = "read in the paper", "read in a copy of the table, not in the paper"


@dataclass(frozen=True)
class RandomLabels(Experiment):
    """Train and test accuracy of a network, and steps to fit, against the share of labels thrown by a die."""

    dataset: str = one_of("digits", "mnist", "cifar10", default="digits")
    network: str = one_of(*NETWORKS, default="mlp_2x512")
    corruption: tuple[float, ...] = between(0, 1, default=(0.0, 0.2, 0.4, 0.6, 0.8, 1.0))
    regularized_corruption: tuple[float, ...] = between(0, 1, default=(0.0, 1.0))
    train_size: int = between(50, 60_000, default=300)
    optimizer: str = one_of("adam", "sgd", default="adam")
    batch_size: int = between(1, 4096, default=50)
    epochs: int = between(1, 1000, default=600)

    title = "A network fits labels thrown by a die"
    chapter = "generalization"
    sources = (
        "Zhang et al., Understanding deep learning requires rethinking generalization, ICLR 2017, arXiv:1611.03530",
    )
    metrics = {
        "train_accuracy": Metric("training accuracy, on the labels trained with", better="higher", low=0, high=1),
        "test_accuracy": Metric("test accuracy, on true labels", better="higher", main=True, low=0, high=1),
        "steps_to_99": Metric("steps until 99 % of the training labels are fitted; all, if never", "steps", "lower"),
        "wrong_labels": Metric("share of the training labels that are wrong", low=0, high=1),
    }
    presets = {
        "quick": {},
        "mnist": {"dataset": "mnist", "train_size": 8000, "batch_size": 100},
        "full": {
            "dataset": "cifar10",
            "network": "mlp_3x512",
            "regularized_corruption": (0.0, 0.2, 0.4, 0.6, 0.8, 1.0),
            "train_size": 50_000,
            "optimizer": "sgd",
            "batch_size": 128,  # not in the paper; that of the first author's demonstration
            "epochs": 300,
        },
    }
    references = (
        published("inception", 0.0, "train_accuracy", 1.0, IN_SOURCE),
        published("inception", 0.0, "test_accuracy", 0.8575, IN_SOURCE),
        published("inception", 1.0, "train_accuracy", 1.0, IN_SOURCE),
        published("inception", 1.0, "test_accuracy", 0.0978, IN_SOURCE),
        published("mlp_3x512", 0.0, "train_accuracy", 1.0, IN_SOURCE),
        published("mlp_3x512", 0.0, "test_accuracy", 0.5239, IN_SOURCE),
        published("mlp_3x512", 1.0, "train_accuracy", 1.0, IN_COPY),
        published("mlp_1x512", 0.0, "train_accuracy", 1.0, IN_SOURCE),
        published("mlp_1x512", 0.0, "test_accuracy", 0.5051, IN_SOURCE),
        published("mlp_1x512", 1.0, "train_accuracy", 0.9934, IN_COPY),
    )

    def datasets(self) -> tuple[str, ...]:
        return (self.dataset,)

    def trial(self, context: Context) -> Iterator[Measurement]:
        train, train_y, test, test_y = split(context.data(self.dataset), self.train_size, context.rng("split"))
        test_y = torch.from_numpy(test_y).to(context.device)
        cells = list(self.cells())
        for done, (subject, kind, p) in enumerate(cells):
            context.progress(done / len(cells), f"{subject} on {kind} at p = {p:g}")
            x, test_x = (i.to(context.device) for i in inputs(kind, train, test, context.rng("inputs", kind)))
            thrown = throw(train_y, p, context.rng("die"))
            y = torch.from_numpy(thrown).to(context.device)
            fit = self.fit(subject, x, y, context)
            if subject == self.network and (kind, p) in CURVES:
                context.keep(curve(kind, p), np.array(fit.losses))
            yield {
                "subject": subject,
                "inputs": kind,
                "corruption": p,
                "train_accuracy": accuracy(fit.predict, x, y),
                "test_accuracy": accuracy(fit.predict, test_x, test_y),
                "wrong_labels": float((thrown != train_y).mean()),
                **({"steps_to_99": fit.steps_to_99} if fit.steps_to_99 else {}),
            }

    def cells(self) -> Iterator[tuple[str, str, float]]:
        """What is fitted: subject, inputs, p."""
        yield from product((self.network, "linear", "nearest_neighbour"), ("images",), self.corruption)
        regularized = (f"{self.network}+{name}" for name in REGULARIZERS)
        yield from product(regularized, ("images",), self.regularized_corruption)
        yield from ((self.network, kind, p) for kind, p in CURVES if kind != "images")

    def fit(self, subject: str, x: Tensor, y: Tensor, context: Context) -> Fit:
        """Fit a subject. All networks of a seed start from the same weights and see the examples in the same order."""
        if subject == "nearest_neighbour":
            return Fit(lambda queries: y[nearest(queries, x)])
        if subject == "linear":
            return Fit(fit_linear(x, y))
        network, _, regularizer = subject.partition("+")
        with context.seeded("init"):
            net = build(network, x.shape[1:], regularizer).to(context.device)
        with context.seeded("regularizer"):
            return self.train(net, x, y, regularizer, context.generator("order"))

    def train(self, net: nn.Module, x: Tensor, y: Tensor, regularizer: str, order: torch.Generator) -> Fit:
        """Epochs until every training label is fitted, looked at after each epoch, without dropout or noise."""
        weight_decay = 5e-4 if regularizer == "weight_decay" else 0.0
        if self.optimizer == "adam":
            optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, weight_decay=weight_decay, fused=True)
            decay = 1.0
        else:  # as in the paper, appendix A
            lr = 0.1 if self.network == "inception" else 0.01
            optimizer = torch.optim.SGD(net.parameters(), lr, momentum=0.9, weight_decay=weight_decay, fused=True)
            decay = 0.95
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, decay)
        predict = classifier(net)
        losses: list[float] = []
        steps = steps_to_99 = 0
        for _ in range(self.epochs):
            net.train()
            total = torch.zeros((), device=x.device)
            for batch in torch.randperm(len(x), generator=order).to(x.device).split(self.batch_size):
                loss = F.cross_entropy(net(x[batch]), y[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                total += loss.detach() * len(batch)
                steps += 1
            schedule.step()
            losses.append(total.item() / len(x))
            fitted = accuracy(predict, x, y)
            if fitted >= FITTED and not steps_to_99:
                steps_to_99 = steps
            if fitted == 1.0:
                break
        return Fit(predict, losses, steps_to_99 or steps)

    claims = [
        Claim(
            "(a) trained on labels that a die threw, the network fits at least 99 % of them",
            lambda rows: above(at(rows, 1.0).train_accuracy, FITTED),
        ),
        Claim(
            "(a) and has learnt nothing: its test accuracy is chance",
            lambda rows: contains(at(rows, 1.0).test_accuracy, CHANCE, margin=MARGIN),
        ),
        Claim(
            "(b) test accuracy falls with the share of random labels, by more than 20 points in all",
            lambda rows: all_of(
                above(at(rows, 0.0).test_accuracy - at(rows, 1.0).test_accuracy, 0.2),
                below(slope(network_rows(rows), "corruption", "test_accuracy"), 0.0),
            ),
        ),
        Claim(
            "(b) and it falls all the way (rank correlation)",
            lambda rows: below(rank_correlation(network_rows(rows), "corruption", "test_accuracy"), -MONOTONE),
        ),
        Claim(
            "(c) random labels take more steps to fit than true ones (ratio)",
            lambda rows: above(at(rows, 1.0).steps_to_99 / at(rows, 0.0).steps_to_99, 1.0),
        ),
        Claim(
            "(c) and the steps rise all the way with the share of random labels (rank correlation)",
            lambda rows: above(rank_correlation(network_rows(rows), "corruption", "steps_to_99"), MONOTONE),
        ),
        Control(
            "a linear model cannot fit labels thrown by a die",
            lambda rows: below(at(rows, 1.0, "linear").train_accuracy, 0.9),
            kind="negative",
        ),
        Control(
            "the nearest neighbour fits labels thrown by a die",
            lambda rows: above(at(rows, 1.0, "nearest_neighbour").train_accuracy, FITTED),
            kind="positive",
        ),
        Control(
            "the die is fair: of the labels it threw one in ten is right",
            lambda rows: contains(at(rows, 1.0).wrong_labels, 1 - CHANCE, margin=MARGIN),
            kind="gate",
        ),
    ]

    def plot(self, rows: pd.DataFrame, figure: Figure, artefacts: Artefacts) -> None:
        figure.set_size_inches(9, 4.5)
        left, right = figure.subplots(1, 2)
        plot_accuracy(left, rows)
        plot_losses(right, artefacts)
        figure.tight_layout()


# ------------------------------------------------------------------------------------------------- rows that rules see


def network_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """The unregularized network on images, at every p."""
    return rows[rows.subject.isin(NETWORKS) & (rows.inputs == "images")]


def at(rows: pd.DataFrame, corruption: float, subject: str | None = None) -> pd.DataFrame:
    """One row a seed: the network's (or another subject's) on images at this p."""
    chosen = network_rows(rows) if subject is None else rows[(rows.subject == subject) & (rows.inputs == "images")]
    return chosen[chosen.corruption == corruption]


# -------------------------------------------------------------------------------------------------------------- data


def split(
    data: Mapping[str, np.ndarray], size: int, rng: np.random.Generator
) -> tuple[Tensor, np.ndarray, Tensor, np.ndarray]:
    """Training images and labels, at most `size`, and test images and labels; images [n, channels, h, w].

    The publishers' split where there is one, of which the seed draws the training examples; else the seed splits.
    """
    if "train_x" in data:
        order = rng.permutation(len(data["train_x"]))[:size]
        parts = (data["train_x"][order], data["train_y"][order], data["test_x"], data["test_y"])
    else:
        order = rng.permutation(len(data["x"]))
        if size >= len(order):
            raise ParameterError(f"random_labels.train_size: {size} of {len(order)} examples leave none for the test")
        parts = tuple(data[key][part] for part in (order[:size], order[size:]) for key in "xy")
    x, y, test_x, test_y = parts
    return whiten(x), y, whiten(test_x), test_y


def inputs(kind: str, train: Tensor, test: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """The images, or the images with one shuffle of the pixels for all, or noise with the images' mean and variance."""
    if kind == "gaussian":
        noise = [rng.standard_normal(part.shape, dtype=np.float32) for part in (train, test)]
        return torch.from_numpy(noise[0]), torch.from_numpy(noise[1])
    if kind == "shuffled":
        order = torch.from_numpy(rng.permutation(train.shape[-2] * train.shape[-1]))
        return train.flatten(2)[..., order].view_as(train), test.flatten(2)[..., order].view_as(test)
    return train, test


# ---------------------------------------------------------------------------------------------------------- subjects

Predict = Callable[[Tensor], Tensor]  # inputs [n, channels, h, w] → classes [n]


class Fit(NamedTuple):
    predict: Predict
    losses: Sequence[float] = ()  # mean training loss of each epoch
    steps_to_99: int = 0  # 0: not a matter of steps


def accuracy(predict: Predict, x: Tensor, y: Tensor) -> float:
    """Share of right answers, in parts of a size that fits anywhere."""
    right = sum((predict(part) == of).sum() for part, of in zip(x.split(2000), y.split(2000), strict=True))
    return int(right) / len(y)


def classifier(net: nn.Module) -> Predict:
    """The net's most likely class, without dropout or noise."""

    def predict(x: Tensor) -> Tensor:
        net.eval()
        with torch.inference_mode():
            return net(x).argmax(1)

    return predict


def nearest(queries: Tensor, x: Tensor) -> Tensor:
    """Index of the nearest of the x [n, ...] to each query [m, ...]."""
    return torch.cdist(queries.flatten(1), x.flatten(1)).argmin(1)


def fit_linear(x: Tensor, y: Tensor) -> Predict:
    """Multinomial logistic regression."""
    return classifier(nn.Sequential(nn.Flatten(), logistic_regression(x.flatten(1), y, CLASSES, iterations=100)))


# ----------------------------------------------------------------------------------------------------------- picture


def plot_accuracy(axes: Axes, rows: pd.DataFrame) -> None:
    """Training (solid) and test (dashed) accuracy against p."""
    axes.plot([0, 1], [1, CHANCE], ":", color="black", label="share of right labels")
    if {"subject", "inputs", "corruption"} <= set(rows.columns):
        rows = rows[rows.inputs == "images"]
        subjects = {"nearest neighbour": ["nearest_neighbour"], "linear model": ["linear"], "network": NETWORKS}
        for (label, names), color in zip(subjects.items(), ("#009E73", "#D55E00", "#0072B2"), strict=True):
            chosen = rows[rows.subject.isin(names)]
            broad = 4 if label == "nearest neighbour" else 1.5  # where it lies under the network's
            plot_by_p(axes, chosen, "train_accuracy", marker="o", lw=broad, color=color, label=f"{label}, train")
            plot_by_p(axes, chosen, "test_accuracy", marker="s", ls="--", color=color, label=f"{label}, test")
        for name, color in zip(REGULARIZERS, ("#CC79A7", "#E69F00", "#56B4E9"), strict=True):
            chosen = rows[rows.subject.str.endswith(f"+{name}")]
            if chosen.corruption.nunique() > 2:  # at the ends it would lie on the network's
                plot_by_p(axes, chosen, "test_accuracy", marker="s", ls="--", color=color, label=f"{name}, test")
    axes.set(xlabel="p, share of labels thrown by a die", ylabel="accuracy", ylim=(0, 1.05))
    axes.legend(fontsize="x-small", frameon=False, loc="lower left")


def plot_by_p(axes: Axes, rows: pd.DataFrame, metric: str, **style: Any) -> None:
    """A metric's mean at each p with its 95 % interval over seeds."""
    levels = dict(iter(rows.groupby("corruption")[metric])) if metric in rows.columns else {}
    draw_means(axes, levels.keys(), levels.values(), limits=(0, 1), markersize=4, **style)


def plot_losses(axes: Axes, artefacts: Artefacts) -> None:
    """Training loss by epoch: the seeds thin, their geometric mean and its interval until the first has fitted all."""
    styles = (("#0072B2", "-"), ("#D55E00", "-"), ("#56B4E9", "--"), ("#CC79A7", "-"))
    for ((kind, p), label), (color, style) in zip(CURVES.items(), styles, strict=True):
        curves = [kept[curve(kind, p)] for kept in artefacts.values() if curve(kind, p) in kept]
        if not curves:
            continue
        for losses in curves:
            axes.plot(np.arange(len(losses)) + 1, losses, style, color=color, linewidth=0.5, alpha=0.5)
        together = np.array([losses[: min(map(len, curves))] for losses in curves]).T
        together[~np.isfinite(together)] = np.nan  # training may diverge
        epochs = np.arange(len(together)) + 1
        draw_means(axes, epochs, together, log=True, band=True, color=color, ls=style, lw=2, label=label)
    axes.set(xlabel="epoch", ylabel="training loss (nats)", yscale="log")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize="x-small", frameon=False)


def curve(kind: str, p: float) -> str:
    """Under which name a loss curve is kept for the picture."""
    return f"loss_{kind}_{p:g}"
