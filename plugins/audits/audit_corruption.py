"""Is the model right on images that are spoilt? (Hendrycks & Dietterich, ICLR 2019, arXiv:1903.12261.)

Images that the model has not been trained on are spoilt in sixteen ways at five severities (noise, blur, weather, what
cameras and files do, geometry: :mod:`dlbench.corruptions`), the same for every model. Reported are accuracy and
confidence by kind and severity, and, over all of them, the mean accuracy and what share of the accuracy on clean images
that is (relative robustness).

A model that knew what it cannot read would do little harm: its confidence would fall as its accuracy does. So the
second claim is about the difference of the two, and by how much it grows from one severity to the next (Ovadia et al.,
NeurIPS 2019): the least-squares slope of the means over kinds, clean images counting as severity 0.

Controls: half a step of grey off and rounded to eight bits, nothing may change. And noise of twenty times black to
white leaves nothing to see, so that a model can be right no more often than its answers, dealt out to the images at
random, would be.

Strengths are fixed and were chosen with small images in mind; numbers found here are not numbers on CIFAR-10-C. Each
image is asked about 84 times: on one core 100 of 3 × 32 × 32, spoilt and shown to a convolutional network of 11 million
operations, took 8 seconds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from dlbench import (
    Axis,
    Claim,
    Context,
    Control,
    Measurement,
    Metric,
    above,
    below,
    between,
    equivalent,
    every,
    paired,
    per_seed,
    stats,
    where,
)
from dlbench.audit import Audit, Examples, Subject
from dlbench.corruptions import CORRUPTIONS, SEVERITIES
from dlbench_plugins.shift.spoilt import ALL_NOISE, CLEAN, EIGHT_BITS, draw_map, judged, spoil

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from dlbench import Artefacts

ALL = "all"  # kinds and severities
SHOWN_AT = 3  # severity of the images on the report card
KEPT = 0.8  # of the accuracy, at severity 1
GROWTH = 0.02  # of overconfidence, a severity
ROUNDING = 0.02  # of accuracy, in the negative control
NOTHING_TO_SEE = 0.1  # of accuracy, in the positive control


def spoilt(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of the kinds of corruption, at all severities."""
    return rows[rows.kind.isin(CORRUPTIONS)]


def kept(rows: pd.DataFrame, severity: int) -> pd.Series:
    """Of one subject: accuracy at a severity, the mean over kinds, over that on clean images, one a seed."""
    accuracy = per_seed(where(spoilt(rows), severity=severity), lambda group: group.accuracy.mean())
    return (accuracy / where(rows, kind=CLEAN).accuracy).dropna()


def growth(rows: pd.DataFrame) -> pd.Series:
    """Of one subject: by how much confidence less accuracy grows from one severity to the next, one a seed."""

    def slope(group: pd.DataFrame) -> float:
        means = (group.confidence - group.accuracy).groupby(group.severity).mean()
        return stats.slope(means.index, means)

    return per_seed(rows[rows.kind.isin((CLEAN, *CORRUPTIONS))], slope)


def by_chance(said: NDArray[np.int64], y: NDArray[np.int64]) -> float:
    """How often answers would be right if they were dealt out to the images at random."""
    return float(sum((said == label).mean() * (y == label).mean() for label in np.unique(y)))


@dataclass(frozen=True)
class AuditCorruption(Audit):
    tested: int = between(1, 10_000, default=200)  # images of a fold at most

    title = "Is the model right on images that are spoilt?"
    takes = ("images",)
    sources = (
        "Hendrycks & Dietterich, Benchmarking neural network robustness to common corruptions, ICLR 2019, "
        "arXiv:1903.12261",
        "Mu & Gilmer, MNIST-C, 2019, arXiv:1906.02337",
        "Ovadia et al., Can you trust your model's uncertainty?, NeurIPS 2019, arXiv:1906.02530",
    )
    metrics = {
        "accuracy": Metric("share of right answers", better="higher", low=0, high=1),
        "confidence": Metric("mean probability of the likeliest class", low=0, high=1 + 1e-6),
        "ece": Metric("expected calibration error, 15 bins", better="lower", low=0, high=1),
        "mean_accuracy": Metric("accuracy over all kinds and severities", better="higher", main=True, low=0, high=1),
        "relative_robustness": Metric("the same over accuracy on clean images", better="higher", low=0, optional=True),
        "by_chance": Metric("share right if answers were dealt out at random", low=0, high=1),
    }
    presets = {"quick": {}, "full": {"tested": 1000}}

    def measure(self, subject: Subject, shown: Examples, context: Context) -> Iterator[Measurement]:
        few = shown.few(self.tested, context.rng("tested"))
        x, y = few.x, few.y
        clean = self.row(subject, x, y, CLEAN, 0, context)
        yield clean
        yield self.row(subject, x, y, EIGHT_BITS, 1, context)
        yield self.row(subject, x, y, ALL_NOISE, max(SEVERITIES), context)

        found = [self.row(subject, x, y, kind, level, context) for kind, level in product(CORRUPTIONS, SEVERITIES)]
        yield from found
        mean = float(np.mean([row["accuracy"] for row in found]))
        relative = mean / clean["accuracy"] if clean["accuracy"] else math.nan
        yield {"kind": ALL, "mean_accuracy": mean, "relative_robustness": relative}
        accuracy = pd.DataFrame(found).groupby("kind", sort=False).accuracy.mean()
        self.worst(subject, shown, x, y, str(accuracy.idxmin()), context)

    @staticmethod
    def row(subject: Subject, x: Tensor, y: Tensor, kind: str, severity: int, context: Context) -> Measurement:
        p = subject.probabilities(spoil(x, kind, severity, context.generator("test", kind)))
        chance = by_chance(p.argmax(1), np.asarray(y.cpu()))
        return {"kind": kind, "severity": severity, **judged(p, y), "by_chance": chance}

    @staticmethod
    def worst(subject: Subject, shown: Examples, x: Tensor, y: Tensor, kind: str, context: Context) -> None:
        """Of the kind that it bears least, keep what it is wrong about and right when clean, the surest first."""
        seen = spoil(x, kind, SHOWN_AT, context.generator("test", kind))
        p, truth = subject.probabilities(seen), y.tolist()
        said, right = p.argmax(1), subject.right(x, y)
        rows = [row for row in np.argsort(-p.max(1), kind="stable") if right[row] and said[row] != truth[row]]
        captions = [
            f"{shown.classes[truth[row]]} → {shown.classes[said[row]]} at {p[row].max():.0%}; {kind.replace('_', ' ')}"
            for row in rows
        ]
        subject.show("spoilt as it can bear least", seen[rows], captions)

    claims = [
        Claim(
            f"at severity 1 it keeps at least {KEPT:.0%} of its accuracy, over all kinds",
            lambda rows: every(rows, "subject", lambda r: above(kept(r, 1), KEPT)),
        ),
        Claim(
            "its confidence falls with severity as its accuracy does: the difference grows by less than "
            f"{100 * GROWTH:g} points a severity",
            lambda rows: every(rows, "subject", lambda r: below(growth(r), GROWTH)),
            source="Ovadia et al. 2019",
        ),
        Control(
            f"half a step of grey off, and rounded to eight bits, accuracy changes by less than {100 * ROUNDING:g} "
            "points",
            lambda rows: every(
                rows,
                "subject",
                lambda r: equivalent(paired(r, "accuracy", EIGHT_BITS, CLEAN, by="kind"), ROUNDING),
            ),
            kind="negative",
        ),
        Control(
            "noise of twenty times black to white leaves what answers dealt out at random would get right, but for "
            f"{100 * NOTHING_TO_SEE:g} points",
            lambda rows: every(
                where(rows, kind=ALL_NOISE),
                "subject",
                lambda r: equivalent(r.accuracy - r.by_chance, NOTHING_TO_SEE),
            ),
            kind="positive",
        ),
    ]
    axes = [
        Axis(
            "corruptions",
            lambda rows: where(rows, kind=ALL).mean_accuracy,
            "accuracy over sixteen kinds of spoilt images at five severities",
        ),
    ]

    def plot(self, rows: pd.DataFrame, figure: Figure, artefacts: Artefacts) -> None:
        """Each model's accuracy by kind and severity."""
        names = list(dict.fromkeys(rows.subject)) if len(rows) else list(self.models)
        figure.set_size_inches(1.8 + 1.6 * len(names), 6)
        maps = figure.subplots(1, len(names), squeeze=False)[0]
        for axes, name in zip(maps, names, strict=True):
            draw_map(axes, rows, str(name), tuple(CORRUPTIONS))
        maps[0].set_yticks(range(len(CORRUPTIONS)), [kind.replace("_", " ") for kind in CORRUPTIONS], fontsize=8)
        maps[0].set_ylabel("kind of corruption", fontsize=8)
        figure.supxlabel("numbers: accuracy in per cent", fontsize=8)
        figure.tight_layout(w_pad=0.4)
