"""From few samples, what knows the form of the classes beats a network, which has to learn it.

Two clouds of points, round and alike, a distance apart. For such clouds the nearest mean is as good a rule as any, and
errs on a share of Phi(-distance / 2) of the points once the means are known. A small network may draw any boundary, and
pays for that freedom with samples. Both see the same points of a seed.

With no distance there is nothing to learn, and at a great one nothing can go wrong: the two controls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import torch
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
    every,
    paired,
    where,
)
from numpy.typing import NDArray
from scipy.stats import norm
from torch import nn

if TYPE_CHECKING:
    import pandas as pd
    from dlbench import Artefacts
    from matplotlib.figure import Figure

Points = NDArray[np.float64]
Labels = NDArray[np.int64]
DISTANCES = 0.0, 2.0, 8.0  # between the means, in standard deviations of a cloud
FEW, MANY = 5, 500  # samples of each class
TESTED = 10_000


@dataclass(frozen=True)
class KnowingTheForm(Experiment):
    dimensions: int = between(1, 1000, default=10)
    width: int = between(1, 4096, default=32)
    draws: int = between(1, 1000, default=6)  # of training samples in a trial; from few, errors depend on which
    steps: int = between(1, 100_000, default=200)
    learning_rate: float = between(1e-6, 1.0, default=0.01)

    title = "From few samples, what knows the form of the classes beats a network"
    chapter = "example-plugin"
    sources = ("Fisher, The use of multiple measurements in taxonomic problems, Annals of Eugenics, 1936",)
    metrics = {"error": Metric("share of wrong answers", better="lower", main=True, low=0, high=1)}
    presets = {"quick": {}, "full": {"dimensions": 100, "width": 256, "draws": 20, "steps": 1000}}
    references = (
        Reference(
            "error",
            float(norm.cdf(-1)),
            "Phi(-1): the least that any rule can err on clouds two standard deviations apart",
            {"subject": "means", "distance": 2.0, "samples": MANY},
        ),
    )

    def trial(self, context: Context) -> Iterator[Measurement]:
        learners = {"means": nearest_mean, "mlp": lambda x, y: self.network(x, y, context)}
        for distance, samples in product(DISTANCES, (FEW, MANY)):
            rng = context.rng("training", samples)
            seen = [clouds(samples, distance, self.dimensions, rng) for _ in range(self.draws)]
            test_x, test_y = clouds(TESTED // 2, distance, self.dimensions, context.rng("test"))
            for subject, learn in learners.items():
                errors = [(learn(x, y)(test_x) != test_y).mean() for x, y in seen]
                yield {"subject": subject, "distance": distance, "samples": samples, "error": float(np.mean(errors))}

    def network(self, x: Points, y: Labels, context: Context) -> Callable[[Points], Labels]:
        """A rule from a small network, trained on all points at once."""
        with context.seeded("init"):
            net = nn.Sequential(nn.Linear(self.dimensions, self.width), nn.ReLU(), nn.Linear(self.width, 2))
        inputs, labels = torch.from_numpy(x).float(), torch.from_numpy(y)
        optimizer = torch.optim.Adam(net.parameters(), lr=self.learning_rate)
        for _ in range(self.steps):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(inputs), labels).backward()
            optimizer.step()

        @torch.no_grad()
        def rule(points: Points) -> Labels:
            answers: Labels = net(torch.from_numpy(points).float()).argmax(1).numpy()
            return answers

        return rule

    claims = [
        Claim(
            "from five samples a class the network errs more often, by more than a point",
            lambda rows: above(paired(where(rows, distance=2.0, samples=FEW), "error", "mlp", "means"), 0.01),
        ),
        Claim(
            "with five hundred, the nearest mean is within a point of the best that can be",
            lambda rows: below(where(rows, distance=2.0, samples=MANY, subject="means").error - norm.cdf(-1), 0.01),
            source="Fisher 1936",
        ),
        Control(
            "of one cloud that goes by two names, half of all answers are wrong",
            lambda rows: every(
                where(rows, distance=0.0), ["subject", "samples"], lambda r: contains(r.error, 0.5, margin=0.02)
            ),
            kind="negative",
        ),
        Control(
            "clouds that lie far apart are told apart from five hundred samples, but for one point in a hundred",
            lambda rows: every(where(rows, distance=8.0, samples=MANY), "subject", lambda r: below(r.error, 0.01)),
            kind="positive",
        ),
    ]

    def plot(self, rows: pd.DataFrame, figure: Figure, artefacts: Artefacts) -> None:
        """Errors over the number of samples, and the least that can be."""
        axes = figure.subplots()
        for subject, colour in (("means", "#0072B2"), ("mlp", "#D55E00")):
            mine = where(rows, subject=subject, distance=2.0) if len(rows) else rows
            errors = [where(mine, samples=samples).error if len(mine) else () for samples in (FEW, MANY)]
            draw_means(axes, (0, 1), errors, limits=(0, 1), color=colour, marker="o", label=subject)
        axes.axhline(norm.cdf(-1), color="0.5", linestyle=":", label="the best that can be")
        axes.set_xticks((0, 1), (str(FEW), str(MANY)))
        axes.set_xlabel("samples of each class")
        axes.set_ylabel("error, two standard deviations apart")
        axes.legend(frameon=False)


def clouds(samples: int, distance: float, dimensions: int, rng: np.random.Generator) -> tuple[Points, Labels]:
    """Points [2 samples, dimensions] of two standard normal clouds, the second moved along the diagonal."""
    y = np.repeat([0, 1], samples)
    x = rng.standard_normal((2 * samples, dimensions)) + distance / dimensions**0.5 * y[:, None]
    return x, y


def nearest_mean(x: Points, y: Labels) -> Callable[[Points], Labels]:
    """The rule that names the class whose mean is nearer."""
    means = np.stack([x[y == kind].mean(0) for kind in (0, 1)])
    return lambda points: ((points[:, None] - means) ** 2).sum(2).argmin(1)
