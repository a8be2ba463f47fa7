"""What is trained on matters more than which network is trained: garbage in, garbage out.

Five fixed architectures at three learning rates are trained on data of twelve qualities: clean; labels wrong at random
(symmetric, 20 to 60 %) or each always for the next class (pair flip, 20 and 45 %); noise on the inputs; a tenth of the
examples, ten times each; half of the inputs missing; inputs and labels that are noise. Test data is clean. A validation
set of the same quality as the training data chooses the rate, as it would have to.

A two-way analysis of variance of test accuracy, quality by architecture, without the random data, gives each one's
share of the variance, eta². The list of architectures decides that number, so here it is: a linear model, perceptrons
with 16, 64 and twice 64 hidden units, and two small convolutions. Data: scikit-learn's digits and MNIST-1D.

Against wrong labels stand two repairs of the middle perceptron with as many trials: forward loss correction, which is
told how labels go wrong (Patrini et al. 2017), and confident learning, which finds wrong labels by cross-validation and
trains without them (Northcutt, Jiang & Chuang 2021). Published: 3.3 % of the labels of ten common test sets are wrong,
and at 6 % more a ResNet-18 overtakes a ResNet-50 (Northcutt et al. 2021); networks learn from 10 to 20 times as many
wrong labels as right ones if the wrong ones are symmetric (Rolnick et al. 2017). Co-teaching and ELR are left out, and
so are CIFAR-10N and Clothing1M, whose noise is people's.

``quick`` trains on 600 examples for 100 steps, which is enough for 0.94 on clean digits but for 0.3 only on MNIST-1D:
above chance, but hardly more than the 20 points that claim (b) wants some quality to cost. So (b) is judged on digits,
too, as (a) is, where a gate says that something was learnt that can be lost; that (b) does not hold everywhere says
nothing against it. The worst quality is the one of the lowest mean accuracy on the test, which flatters it a little.
Training longer, on more examples and on MNIST, is left to ``full``.

Version 2 judges (b) on digits by itself, after it was seen on seeds 0 to 5 that everywhere it does not hold, and why.
Two statements said every network where the rule takes the mean over architectures, and say so now. No rule has changed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

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
    contains,
    equivalent,
    every,
    one_of,
    per_seed,
    where,
)
from dlbench.data.mnist1d import mnist1d
from dlbench.noisy_labels import forward_correction, suspects
from dlbench.windows import Windows
from dlbench_plugins.images import CLASSES
from dlbench_plugins.networks import Examples, perceptron, tuned

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dlbench import Artefacts, Verdict

RATES = (3e-3, 1e-2, 3e-2)
FOLDS = 3  # of the cross-validation that finds wrong labels

LABEL_NOISE = {"symmetric 20 %": 0.2, "symmetric 40 %": 0.4, "symmetric 60 %": 0.6, "pair 20 %": 0.2, "pair 45 %": 0.45}
QUALITIES = ("clean", *LABEL_NOISE, "noisy inputs", "duplicates", "missing inputs")
RANDOM = "random data"
OTHERS = "other examples"
RULED = "pair 100 %"  # of one architecture
ARCHITECTURES = ("linear", "mlp 16", "mlp 64", "mlp 64-64", "convolutions")
REPAIRED = "mlp 64"
REPAIRS = ("forward correction", "confident learning")


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of the analysis of variance: every architecture at every quality."""
    return rows[rows.subject.isin(ARCHITECTURES) & rows.quality.isin(QUALITIES)]


def eta_squared(rows: pd.DataFrame) -> dict[str, float]:
    """Shares of the variance of test accuracy, of one row a cell: of quality, of architecture, and what is left.

    NaN where a cell is missing.
    """
    cells = rows.pivot(index="quality", columns="subject", values="test_accuracy").to_numpy()
    mean = cells.mean()
    total = np.square(cells - mean).sum()
    of_data = cells.shape[1] * np.square(cells.mean(1) - mean).sum() / total
    of_architecture = cells.shape[0] * np.square(cells.mean(0) - mean).sum() / total
    return {"data": of_data, "architecture": of_architecture, "interaction": 1 - of_data - of_architecture}


def data_over_architecture(rows: pd.DataFrame) -> pd.Series:
    """eta² of the data less that of the architecture, a seed."""
    shares = per_seed(table(rows), lambda r: eta_squared(r)["data"])
    return shares - per_seed(table(rows), lambda r: eta_squared(r)["architecture"])


def mean_accuracy(rows: pd.DataFrame, quality: str) -> pd.Series:
    """Test accuracy at a quality, a seed, over the architectures."""
    rows = where(rows[rows.subject.isin(ARCHITECTURES)], quality=quality)
    return rows.test_accuracy.groupby(level=0).mean()


def drop(rows: pd.DataFrame, quality: str) -> pd.Series:
    """Test accuracy lost against clean data, a seed, over the architectures."""
    return mean_accuracy(rows, "clean") - mean_accuracy(rows, quality)


def flips(rows: pd.DataFrame, quality: str) -> pd.Series:
    """Share of pairs of architectures, a seed, in another order on test labels as noisy as those of training."""

    def share(r: pd.DataFrame) -> float:
        clean, noisy = (r[m].to_numpy()[:, None] - r[m].to_numpy() for m in ("test_accuracy", "noisy_test_accuracy"))
        upper = np.triu_indices(len(r), 1)
        return float((clean[upper] * noisy[upper] < 0).mean()) if np.isfinite(clean + noisy).all() else math.nan

    return per_seed(where(table(rows), quality=quality), share)


def repair(rows: pd.DataFrame, method: str, quality: str) -> pd.Series:
    """Test accuracy gained by a repair over the same perceptron without."""
    rows = where(rows, quality=quality)
    return where(rows, subject=method).test_accuracy - where(rows, subject=REPAIRED).test_accuracy


def everywhere(rows: pd.DataFrame, rule: Callable[[pd.DataFrame], Verdict]) -> Verdict:
    """The rule on every data set."""
    return every(rows, "dataset", rule)


@dataclass(frozen=True)
class GarbageData(Experiment):
    """Test accuracy of five architectures trained on data of twelve qualities."""

    datasets_used: tuple[str, ...] = one_of("digits", "mnist1d", "mnist", default=("digits", "mnist1d"))
    train_size: int = between(60, 60_000, default=600)
    validation: int = between(20, 60_000, default=100)
    steps: int = between(1, 10**6, default=100)
    batch_size: int = between(1, 4096, default=32)

    title = "A model is only as good as its data"
    chapter = "generalization"
    version = 2
    sources = (
        "Northcutt, Athalye & Mueller, Pervasive label errors in test sets, NeurIPS 2021, arXiv:2103.14749",
        "Rolnick et al., Deep learning is robust to massive label noise, 2017, arXiv:1705.10694",
        "Northcutt, Jiang & Chuang, Confident learning, JAIR 2021, arXiv:1911.00068",
        "Patrini et al., Making deep neural networks robust to label noise: a loss correction approach, CVPR 2017",
        "Greydanus & Kobak, Scaling down deep learning with MNIST-1D, ICML 2024, arXiv:2011.14439",
    )
    metrics = {
        "test_accuracy": Metric("test accuracy, on true labels", better="higher", main=True, low=0, high=1),
        "noisy_test_accuracy": Metric("accuracy on test labels as noisy as the training labels", low=0, high=1),
        "train_accuracy": Metric("training accuracy, on the labels trained with", low=0, high=1),
    }
    presets = {
        "quick": {},
        "mnist": {"datasets_used": ("digits", "mnist"), "train_size": 1000, "validation": 250, "steps": 200},
        "full": {
            "datasets_used": ("digits", "mnist1d", "mnist"),
            "train_size": 1000,
            "validation": 250,
            "steps": 6000,
            "batch_size": 100,
        },
    }

    def datasets(self) -> tuple[str, ...]:
        return tuple(name for name in self.datasets_used if name != "mnist1d")

    def trial(self, context: Context) -> Iterator[Measurement]:
        for done, name in enumerate(self.datasets_used):
            context.progress(done / len(self.datasets_used), name)
            clean = self.split(name, context)
            versions = {q: spoilt(clean, q, context, name) for q in (*QUALITIES, RANDOM, OTHERS, RULED)}
            common = {quality: version for quality, version in versions.items() if quality != RULED}
            for subject in ARCHITECTURES:
                with context.seeded("init", name, subject):
                    start = build(subject, clean.train.x.shape[1:])
                own = versions if subject == REPAIRED else common
                for quality, net in self.trained(start, own, context).items():
                    yield {"subject": subject, "dataset": name, "quality": quality, **scores(net, own[quality])}
                yield {"subject": subject, "dataset": name, "quality": "no training", **scores(start, clean)}
            with context.seeded("init", name, REPAIRED):
                start = build(REPAIRED, clean.train.x.shape[1:])
            noisy = {quality: versions[quality] for quality in LABEL_NOISE}
            transitions = torch.stack([transition(quality) for quality in noisy])
            corrected = self.trained(start, noisy, context, transitions)
            cleaned = self.trained(start, self.without_suspects(start, noisy, context), context)
            for subject, nets in zip(REPAIRS, (corrected, cleaned), strict=True):
                for quality, net in nets.items():
                    yield {"subject": subject, "dataset": name, "quality": quality, **scores(net, noisy[quality])}

    def split(self, name: str, context: Context) -> Data:
        """Training, validation and test examples of a data set, and as many to train with as a control."""
        rng, n, held = context.rng("split", name), self.train_size, self.validation
        if name == "mnist1d":
            x, y = mnist1d(2 * n + held + 1000, rng)
            test = slice(2 * n + held, None)
        elif name == "digits":
            data = context.data(name)
            order = rng.permutation(len(data["x"]))
            x, y = data["x"][order], data["y"][order]
            n = min(n, (len(x) - held - 500) // 2)  # at least 500 for the test
            test = slice(2 * n + held, None)
        else:
            data = context.data(name)
            order = rng.permutation(len(data["train_x"]))[: 2 * n + held]
            x = np.concatenate([data["train_x"][order], data["test_x"]])
            y = np.concatenate([data["train_y"][order], data["test_y"]])
            test = slice(2 * n + held, None)
        x = torch.from_numpy((x - x[:n].mean()) / x[:n].std()).to(context.device)
        y = torch.from_numpy(y).to(context.device)
        parts = (slice(n), slice(n, n + held), test, slice(n + held, test.start))
        return Data(*(Examples(x[part], y[part]) for part in parts))

    def trained(
        self, start: nn.Module, versions: dict[str, Data], context: Context, transitions: Tensor | None = None
    ) -> dict[str, nn.Module]:
        """The same start trained on every version at every rate, all at once; of the rates the validation's best."""
        losses = None
        if transitions is not None:

            def losses(logits: Tensor, labels: Tensor, own: Tensor) -> Tensor:
                of_examples = transitions.to(logits)[own, None]
                return forward_correction(logits, labels, of_examples, reduction="sum") / self.batch_size

        nets = tuned(
            [start] * len(versions),
            [version.train for version in versions.values()],
            [version.validation for version in versions.values()],
            RATES,
            steps=self.steps,
            batch_size=self.batch_size,
            order=lambda: context.generator("order"),
            losses=losses,
        )
        return dict(zip(versions, nets, strict=True))

    def without_suspects(self, start: nn.Module, versions: dict[str, Data], context: Context) -> dict[str, Data]:
        """Versions without the training examples whose labels a cross-validation finds wrong."""
        size = len(next(iter(versions.values())).train.y)
        parts = torch.arange(size) % FOLDS
        folds = {
            f"{quality}/{fold}": version._replace(train=version.train.only(parts != fold))
            for quality, version in versions.items()
            for fold in range(FOLDS)
        }
        nets = self.trained(start, folds, context)
        kept = {}
        for quality, version in versions.items():
            chances = torch.empty(size, CLASSES)
            for fold in range(FOLDS):
                chances[parts == fold] = predicted(nets[f"{quality}/{fold}"], version.train.x[parts == fold]).cpu()
            wrong = torch.from_numpy(suspects(chances.numpy(), version.train.y.cpu().numpy()))
            kept[quality] = version._replace(train=version.train.only(~wrong))
        return kept

    claims = [
        Claim(
            "(a) the quality of the data explains more of test accuracy than the architecture (difference of eta²)",
            lambda rows: everywhere(rows, lambda r: above(data_over_architecture(r), 0.0)),
        ),
        Claim(
            "(a) on digits",
            lambda rows: above(data_over_architecture(where(rows, dataset="digits")), 0.0),
        ),
        Claim(
            "(b) the worst quality costs over 20 points of test accuracy, over all architectures",
            lambda rows: everywhere(rows, lambda r: above(drop_to_worst(r), 0.2)),
        ),
        Claim(
            "(b) on digits",
            lambda rows: above(drop_to_worst(where(rows, dataset="digits")), 0.2),
        ),
        Claim(
            "(c) trained on random data networks are at chance, over all architectures",
            lambda rows: everywhere(rows, lambda r: contains(mean_accuracy(r, RANDOM), 1 / CLASSES, margin=0.05)),
        ),
        Claim(
            "but labels wrong at random are nearly harmless: 20 % of them cost less than 5 points",
            lambda rows: everywhere(rows, lambda r: below(drop(r, "symmetric 20 %"), 0.05)),
            source="Rolnick et al. 2017",
        ),
        Claim(
            "it matters how labels are wrong: 45 % by rule cost more than 60 % at random",
            lambda rows: everywhere(rows, lambda r: above(drop(r, "pair 45 %") - drop(r, "symmetric 60 %"), 0.0)),
            source="Rolnick et al. 2017",
        ),
        Claim(
            "test labels as noisy as those of training change the order of over one in ten pairs of architectures, at "
            "45 % by rule",
            lambda rows: everywhere(rows, lambda r: above(flips(r, "pair 45 %"), 0.1)),
            source="Northcutt et al. 2021",
        ),
        Claim(
            "forward correction, told how labels go wrong, gains over 5 points at 45 % by rule",
            lambda rows: everywhere(rows, lambda r: above(repair(r, "forward correction", "pair 45 %"), 0.05)),
            source="Patrini et al. 2017",
        ),
        Claim(
            "confident learning gains over 5 points at 40 % at random",
            lambda rows: everywhere(rows, lambda r: above(repair(r, "confident learning", "symmetric 40 %"), 0.05)),
            source="Northcutt, Jiang & Chuang 2021",
        ),
        Control(
            "other examples of the same quality change test accuracy by less than 5 points, over all architectures",
            lambda rows: everywhere(rows, lambda r: equivalent(drop(r, OTHERS), 0.05)),
            kind="negative",
        ),
        Control(
            "if every label is that of the next class, so is nearly every answer: test accuracy is below one third of "
            "what clean data gives",
            lambda rows: everywhere(
                rows,
                lambda r: below(
                    where(r, subject=REPAIRED, quality=RULED).test_accuracy
                    - where(r, subject=REPAIRED, quality="clean").test_accuracy / 3,
                    0.0,
                ),
            ),
            kind="positive",
        ),
        Control(
            "networks that were not trained are at chance, over all architectures",
            lambda rows: everywhere(
                rows, lambda r: contains(mean_accuracy(r, "no training"), 1 / CLASSES, margin=0.05)
            ),
            kind="negative",
        ),
        Control(
            "on clean digits every architecture learns: test accuracy above 0.8",
            lambda rows: every(
                where(rows[rows.subject.isin(ARCHITECTURES)], dataset="digits", quality="clean"),
                "subject",
                lambda r: above(r.test_accuracy, 0.8),
            ),
            kind="gate",
        ),
    ]

    def plot(self, rows: pd.DataFrame, figure: Figure, artefacts: Artefacts) -> None:
        figure.set_size_inches(9, 4.5)
        figure.set_layout_engine("constrained")
        names = sorted(rows.dataset.unique()) if "dataset" in rows.columns and len(rows) else ["digits"]
        grid = figure.subplots(1, len(names) + 1, width_ratios=[*[1.0] * len(names), 0.7])
        for axes, name in zip(grid, names, strict=False):
            draw_heat(axes, rows, name)
            axes.tick_params(labelleft=axes is grid[0])
        grid[0].set_ylabel("quality of the training data")
        draw_shares(grid[-1], rows, names)


def drop_to_worst(rows: pd.DataFrame) -> pd.Series:
    """Test accuracy lost, a seed, at the quality that is worst over all seeds and architectures."""
    means = {quality: drop(rows, quality) for quality in QUALITIES if quality != "clean"}
    return max(means.values(), key=lambda lost: lost.mean())


# -------------------------------------------------------------------------------------------------------------- data


class Data(NamedTuple):
    train: Examples
    validation: Examples
    test: Examples
    others: Examples  # as good as those to train with
    noisy_test_y: Tensor | None = None  # test labels as noisy as those of training


def transition(quality: str) -> Tensor:
    """T[i, j]: the chance that class i is labelled j. Symmetric noise takes any other class, pairs the next one."""
    if quality not in (*LABEL_NOISE, RULED):
        return torch.eye(CLASSES)
    share = LABEL_NOISE.get(quality, 1.0)
    if quality.startswith("pair"):
        return (1 - share) * torch.eye(CLASSES) + share * torch.eye(CLASSES).roll(1, dims=1)
    return (1 - share) * torch.eye(CLASSES) + share * (1 - torch.eye(CLASSES)) / (CLASSES - 1)


def relabelled(y: Tensor, quality: str, rng: np.random.Generator) -> Tensor:
    """Labels drawn from the transition's rows."""
    cumulative = transition(quality).double().cumsum(1).numpy()[y.cpu().numpy()]
    drawn = (rng.random((len(y), 1)) > cumulative).sum(1).clip(max=CLASSES - 1)
    return torch.from_numpy(drawn).to(y)


def spoilt(data: Data, quality: str, context: Context, name: str) -> Data:
    """Training and validation examples of this quality; the test's stay as they are."""
    rng = context.rng("quality", name, quality)

    def spoil(part: Examples) -> Examples:
        x, y = part
        if quality == "noisy inputs":
            x = x + noise(x, rng)
        elif quality == "missing inputs":
            x = x * torch.from_numpy(rng.random(x.shape) < 0.5).to(x)
        elif quality == "duplicates":
            few = torch.arange(len(y), device=y.device) % max(1, len(y) // 10)
            x, y = x[few], y[few]
        elif quality == RANDOM:
            x, y = noise(x, rng), torch.from_numpy(rng.integers(CLASSES, size=len(y))).to(y)
        return Examples(x, relabelled(y, quality, rng))

    train = data.others if quality == OTHERS else data.train
    noisy_test_y = relabelled(data.test.y, quality, rng)
    return data._replace(train=spoil(train), validation=spoil(data.validation), noisy_test_y=noisy_test_y)


def noise(x: Tensor, rng: np.random.Generator) -> Tensor:
    """As strong as the inputs, whose standard deviation is 1."""
    return torch.from_numpy(rng.standard_normal(x.shape, dtype=np.float32)).to(x)


# -------------------------------------------------------------------------------------------------------------- nets


def build(name: str, shape: Sequence[int]) -> nn.Module:
    """An architecture for images [h, w] or curves [length]."""
    if name == "convolutions":
        first, second = (Windows(1, 8, 3, 2, 2), Windows(8, 16, 2, 1, 2)) if len(shape) == 2 else (
            Windows(1, 8, 5, 3, 1), Windows(8, 16, 3, 2, 1))  # fmt: skip
        body = nn.Sequential(nn.Unflatten(-1, (shape[-1], 1)), first, nn.ReLU(), second, nn.ReLU(), nn.Flatten())
        features = body(torch.zeros(1, *shape)).shape[1]
        return nn.Sequential(body, nn.Linear(features, CLASSES))
    hidden = [int(width) for width in name.removeprefix("mlp ").split("-")] if name != "linear" else []
    return nn.Sequential(nn.Flatten(), *perceptron([math.prod(shape), *hidden, CLASSES]))


@torch.no_grad()
def predicted(net: nn.Module, x: Tensor) -> Tensor:
    """Probabilities [n, classes]."""
    return torch.cat([net(part).softmax(1) for part in x.split(2000)])


def scores(net: nn.Module, data: Data) -> dict[str, float]:
    """On the labels trained with, on true test labels, and on test labels as noisy as those trained with."""

    def right(answers: Tensor, labels: Tensor) -> float:
        return float((answers == labels).double().mean())

    answers = predicted(net, data.test.x).argmax(1)
    row = {"train_accuracy": right(predicted(net, data.train.x).argmax(1), data.train.y)}
    row["test_accuracy"] = right(answers, data.test.y)
    if data.noisy_test_y is not None:
        row["noisy_test_accuracy"] = right(answers, data.noisy_test_y)
    return row


# ----------------------------------------------------------------------------------------------------------- picture


def draw_heat(axes: Axes, rows: pd.DataFrame, name: str) -> None:
    """Mean test accuracy, quality by architecture, and of the repairs."""
    subjects, qualities = (*ARCHITECTURES, *REPAIRS), (*QUALITIES, RANDOM)
    if {"subject", "dataset", "quality", "test_accuracy"} <= set(rows.columns):
        means = where(rows, dataset=name).pivot_table(index="quality", columns="subject", values="test_accuracy")
        cells = means.reindex(index=qualities, columns=subjects).to_numpy(dtype=float)
        best = np.nanmax(cells, initial=1e-9)  # each data set has its own colours, as one is much harder
        axes.imshow(cells, vmin=0, vmax=best, cmap="viridis", aspect="auto")
        for i, j in np.argwhere(np.isfinite(cells)):
            color = "black" if cells[i, j] > 0.6 * best else "white"
            axes.text(j, i, f"{100 * cells[i, j]:.0f}", ha="center", va="center", fontsize=7, color=color)
    axes.set_xticks(range(len(subjects)), subjects, rotation=60, ha="right", fontsize=7)
    axes.set_yticks(range(len(qualities)), qualities, fontsize=7)
    axes.set_title(f"{name}: test accuracy (%)", fontsize=9)
    axes.set(xlabel="what is trained")


def draw_shares(axes: Axes, rows: pd.DataFrame, names: Sequence[str]) -> None:
    """eta² of data, architecture and their interaction, with intervals over seeds."""
    from dlbench import stats

    parts = {"data": "#0072B2", "architecture": "#D55E00", "interaction": "#999999"}
    if {"subject", "dataset", "quality", "test_accuracy"} <= set(rows.columns):
        for i, (part, color) in enumerate(parts.items()):
            for j, name in enumerate(names):
                of_part = per_seed(table(where(rows, dataset=name)), lambda r, part=part: eta_squared(r)[part])
                mean, low, high, n = stats.t_interval(of_part)
                place = j + 0.27 * (i - 1)
                axes.bar(place, mean, 0.25, color=color, label=part if j == 0 else None)
                if n > 1:
                    axes.vlines(place, low, high, color="black", linewidth=1)
        axes.legend(fontsize="x-small", frameon=False, loc="upper right")
    axes.set_xticks(range(len(names)), names, fontsize=8)
    axes.set_yticks(np.linspace(0, 1, 6))
    axes.set(ylabel="share of the variance, eta²", ylim=(0, 1.25), xlabel="data set")
