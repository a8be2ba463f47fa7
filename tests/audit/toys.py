"""Audits and models for tests, importable by name."""

from __future__ import annotations

import time
from dataclasses import dataclass

from dlbench import Axis, Claim, Control, Metric, above, below, every
from dlbench.audit import Audit
from dlbench.errors import NotApplicable
from tests.audit.conftest import Bright


def build():
    """A model that reads the brightest pixel."""
    return Bright()


def unsure():
    """The same, less sure."""
    return Bright(0.0)


@dataclass(frozen=True)
class Right(Audit):
    """Is it right?"""

    title = "Is it right?"
    metrics = {"accuracy": Metric("share of right answers", better="higher", main=True)}

    def measure(self, subject, shown, context):
        right = subject.right(shown.x, shown.y)
        subject.show("wrong", shown.x[right == 0], [f"is {label}" for label in shown.labels[right == 0]])
        yield {"accuracy": float(right.mean())}

    claims = [
        Claim(
            "it is right more often than 80 %", lambda rows: every(rows, "subject", lambda r: above(r.accuracy, 0.8))
        ),
        Control("it is not always right", lambda rows: every(rows, "subject", lambda r: below(r.accuracy, 0.999))),
    ]
    axes = [
        Axis("accuracy", lambda rows: rows.accuracy, "share of right answers"),
        Axis("raises", lambda rows: rows.nothing, ""),
        Axis("too large", lambda rows: 2 + rows.accuracy, ""),
    ]

    def plot(self, rows, figure, artefacts):
        figure.subplots().plot(rows.accuracy)


@dataclass(frozen=True)
class OfImages(Right):
    """Images alone."""

    takes = ("images",)


@dataclass(frozen=True)
class Cannot(Right):
    """It lacks something."""

    def measure(self, subject, shown, context):
        raise NotApplicable("the sun does not shine")
        yield {}


@dataclass(frozen=True)
class Sure(Right):
    """It lacks something with one of the models."""

    def measure(self, subject, shown, context):
        if subject.probabilities(shown.x).max() < 0.5:
            raise NotApplicable("it is never sure")
        yield from super().measure(subject, shown, context)


@dataclass(frozen=True)
class Half(Right):
    """Some parts fail."""

    def measure(self, subject, shown, context):
        if context.seed > 2:
            raise NotApplicable("only the first")
        yield from super().measure(subject, shown, context)


@dataclass(frozen=True)
class Doubtful(Right):
    """Its control does not hold."""

    claims = [Control("it is never right", lambda rows: every(rows, "subject", lambda r: below(r.accuracy, 0.5)))]


@dataclass(frozen=True)
class Fails(Right):
    """It has a mistake."""

    def measure(self, subject, shown, context):
        raise RuntimeError("no luck")
        yield {}


@dataclass(frozen=True)
class Costs(Right):
    """Numbers without a best."""

    metrics = {
        "bytes": Metric("bytes of weights", "B", better="lower", main=True),
        "seconds": Metric("seconds", "s", timed=True),
    }
    claims = []
    axes = []

    def measure(self, subject, shown, context):
        begin = time.perf_counter()
        subject.logits(shown.x)
        yield {"bytes": 4.0, "seconds": time.perf_counter() - begin}
        yield {"bytes": 400.0, "times": 100}


@dataclass(frozen=True)
class Retrains(Right):
    """It trains, where that is allowed, as all its presets do when they are asked for by name."""

    retrain: bool = False

    presets = {"quick": {"retrain": True}, "full": {"retrain": True}}

    def measure(self, subject, shown, context):
        if not self.retrain:
            raise NotApplicable("retraining was not allowed")
        yield {"accuracy": 1.0}
