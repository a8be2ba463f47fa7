"""Is the model right, and is it as often right as it says? (Guo et al., ICML 2017, arXiv:1706.04599.)

Measured on examples that the model has not been trained on: accuracy; the expected calibration error with 15 bins, and
what of it is more than chance, as a model that were perfectly calibrated has an error too where bins hold few examples
(consistency resampling, Bröcker & Smith 2007); whether it promises more or less than it keeps; and how well its
confidence sorts right answers from wrong ones (AURC, which should be far below the error rate).

``repaired`` is what is left of the calibration error once the logits are divided by a temperature that is fitted on one
half of the examples and judged on the other. If that is little, it is the way to mend the model.

Controls: with labels that are drawn from the model's own probabilities nothing but chance may be left of the error;
with logits times a thousand and labels that are none of its answers, almost everything must be. A fold of fewer than
20 examples says nothing of any of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

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
    where,
)
from dlbench import uncertainty as u
from dlbench.audit import Audit, Examples, Subject

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from dlbench import Artefacts

SURE = 1000.0  # times the logits, in the positive control
FEWEST = 20  # examples
DRAWN = 20  # sets of labels in the negative control
MARGIN = 0.03  # of the calibration error above chance, in claim and negative control


def own(rows: pd.DataFrame) -> pd.DataFrame:
    """What the model says of the true labels."""
    return where(rows, labels="own")


@dataclass(frozen=True)
class AuditCalibration(Audit):
    draws: int = between(10, 10_000, default=100)

    title = "Is the model right, and as often as it says?"
    sources = ("Guo, Pleiss, Sun & Weinberger, On calibration of modern neural networks, ICML 2017, arXiv:1706.04599",)
    metrics = {
        "accuracy": Metric("share of right answers", better="higher", low=0, high=1),
        "examples": Metric("how many there are in the fold", low=0),
        "excess_ece": Metric("calibration error above that of chance", better="lower", main=True),
        "ece": Metric("expected calibration error", better="lower", low=0, high=1),
        "overconfidence": Metric("mean confidence less accuracy", low=-1, high=1),
        "nll": Metric("negative log-likelihood", "nats", better="lower", low=0),
        "aurc": Metric("error among the surest, averaged over how many", better="lower", low=0, high=1),
        "repaired": Metric("the same as excess_ece, after temperature scaling", better="lower", optional=True),
    }
    presets = {"quick": {}, "full": {"draws": 1000}}

    def measure(self, subject: Subject, shown: Examples, context: Context) -> Iterator[Measurement]:
        logits, y = np.asarray(subject.logits(shown.x).double().cpu()), shown.labels
        p = softmax(logits)
        judged, fitted = np.arange(len(y)) % 2 == 0, np.arange(len(y)) % 2 == 1
        repaired = u.TemperatureScaling.fit(logits[fitted], y[fitted])(logits[judged])
        left = u.expected_calibration_error(repaired, y[judged]) - self.by_chance(repaired, context)
        by_chance = self.by_chance(p, context)
        yield scores(p, y, by_chance) | {"labels": "own", "repaired": left, "examples": len(y)}
        rng = context.rng("drawn")
        drawn = [scores(p, u.draw_labels(p, rng), by_chance) for _ in range(DRAWN)]
        yield {name: float(np.mean([one[name] for one in drawn])) for name in drawn[0]} | {"labels": "drawn"}
        sure = softmax(SURE * logits)
        never = (sure.argmax(1) + 1) % sure.shape[1]
        yield scores(sure, never, self.by_chance(sure, context)) | {"labels": "wrong"}
        self.worst(subject, shown, p)

    def by_chance(self, p: NDArray[np.float64], context: Context) -> float:
        """The calibration error that these probabilities would have if they were right."""
        return float(u.resampled(u.expected_calibration_error, p, self.draws, context.rng("resampled")).mean())

    @staticmethod
    def worst(subject: Subject, shown: Examples, p: NDArray[np.float64]) -> None:
        """Keep those that it was wrong about, the surest first."""
        said = p.argmax(1)
        wrong = [row for row in np.argsort(-p.max(1), kind="stable") if said[row] != shown.labels[row]]
        captions = [
            f"{shown.classes[said[row]]} at {p[row].max():.0%}; is {shown.classes[shown.labels[row]]}" for row in wrong
        ]
        subject.show("wrong, and sure of it", shown.x[wrong], captions)

    claims = [
        Claim(
            f"its confidence can be believed: the calibration error is less than {MARGIN:g} above that of chance",
            lambda rows: every(own(rows), "subject", lambda r: below(r.excess_ece, MARGIN)),
        ),
        Claim(
            f"it does not promise more than it keeps, by more than {MARGIN:g}",
            lambda rows: every(own(rows), "subject", lambda r: below(r.overconfidence, MARGIN)),
        ),
        Claim(
            f"a temperature would do: after scaling, the error is less than {MARGIN:g} above that of chance",
            lambda rows: every(own(rows), "subject", lambda r: below(r.repaired, MARGIN)),
        ),
        Control(
            "with labels drawn from its own probabilities, chance is all that is left of the error",
            lambda rows: every(where(rows, labels="drawn"), "subject", lambda r: equivalent(r.excess_ece, MARGIN)),
            kind="negative",
        ),
        Control(
            "made sure of itself and always wrong, its error is above 0.3",
            lambda rows: every(where(rows, labels="wrong"), "subject", lambda r: above(r.excess_ece, 0.3)),
            kind="positive",
        ),
        Control(
            f"a fold has at least {FEWEST} examples",
            lambda rows: every(own(rows), "subject", lambda r: above(r.examples, FEWEST - 0.5)),
            kind="gate",
        ),
    ]
    axes = [
        Axis(
            "accuracy",
            lambda rows: own(rows).accuracy,
            "share of right answers on clean examples",
            examples=lambda rows: own(rows).examples,
        ),
        Axis(
            "calibration",
            lambda rows: 1 - own(rows).excess_ece,
            "1 less the calibration error above that of chance",
        ),
    ]

    def plot(self, rows: pd.DataFrame, figure: Figure, artefacts: Artefacts) -> None:
        """How sure each model is, and how often right: on the diagonal where it may be believed."""
        axes = figure.subplots()
        mine = own(rows) if len(rows) else rows
        for name, one in mine.groupby("subject", sort=False) if len(mine) else ():
            confidence = one.accuracy + one.overconfidence
            axes.errorbar(
                confidence.mean(),
                one.accuracy.mean(),
                xerr=confidence.std(),
                yerr=one.accuracy.std(),
                fmt="o",
                capsize=3,
                label=str(name).replace("$", r"\$"),
            )
        low = min(0.9, *axes.get_xlim(), *axes.get_ylim())
        axes.plot([low, 1], [low, 1], color="0.6", linestyle=":")
        axes.set_xlabel("mean confidence")
        axes.set_ylabel("accuracy")
        axes.legend()


def scores(p: NDArray[np.float64], y: NDArray[np.int64], by_chance: float) -> Measurement:
    """What is measured of probabilities [n, classes] and labels [n]."""
    ece = u.expected_calibration_error(p, y)
    return {
        "accuracy": u.accuracy(p, y),
        "ece": ece,
        "excess_ece": ece - by_chance,
        "overconfidence": u.overconfidence(p, y),
        "nll": u.negative_log_likelihood(p, y),
        "aurc": u.area_under_risk_coverage(p, y),
    }


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities [n, classes]."""
    p = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(p / p.sum(1, keepdims=True))
