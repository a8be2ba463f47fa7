"""How large a difference must be to matter: absolute, or a share of what it was before."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from dlbench.errors import UsageError, did_you_mean


@dataclass(frozen=True)
class Threshold:
    """A difference in a metric's unit, or, if ``relative``, as a share of its value before (0.05 is 5 %)."""

    value: float
    relative: bool = False

    def of(self, before: float) -> float:
        """In the metric's unit, for a metric that was ``before``."""
        return self.value * abs(before) if self.relative else self.value

    def __str__(self) -> str:
        return f"{100 * self.value:g} %" if self.relative else f"{self.value:g}"


TIMING = Threshold(0.05, relative=True)
"""What is read off a clock must change by this much, unless told otherwise; two runs of one program differ by less."""

NONE = Threshold(0.0)
"""Without a threshold every difference that can be told from chance counts."""


def threshold(text: str) -> Threshold:
    """``0.01`` or ``5%``; UsageError for anything else."""
    number = text.strip().removesuffix("%").strip()
    relative = text.strip().endswith("%")
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise UsageError(f"threshold {text!r}: expected a number from 0, or a share such as 5%")
    return Threshold(value / 100 if relative else value, relative)


def parse(texts: Sequence[str]) -> dict[str, Threshold]:
    """``METRIC=VALUE`` or ``EXPERIMENT.METRIC=VALUE`` texts, as ``--threshold`` takes them."""
    thresholds = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (equals and name.strip()):
            raise UsageError(f"--threshold {text!r}: expected METRIC=VALUE, for example accuracy=0.01 or time=10%")
        thresholds[name.strip()] = threshold(value)
    return thresholds


def check_names(thresholds: Mapping[str, Threshold], known: Iterable[tuple[str, str]]) -> None:
    """UsageError for a threshold of a metric that none of the (experiment, metric) pairs has."""
    pairs = set(known)
    names = {metric for _, metric in pairs} | {f"{experiment}.{metric}" for experiment, metric in pairs}
    for name in thresholds:
        if name not in names:
            hint = did_you_mean(name, names if "." in name else {metric for _, metric in pairs})
            raise UsageError(f"--threshold {name}: neither side has such a metric{hint}")


def find(thresholds: Mapping[str, Threshold], experiment: str, metric: str, *, timed: bool) -> Threshold:
    """The threshold that holds for a metric: the experiment's own, the metric's, or the default."""
    default = TIMING if timed else NONE
    return thresholds.get(f"{experiment}.{metric}", thresholds.get(metric, default))
