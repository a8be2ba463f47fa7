"""What a small made run comes to, gathered once for all tests of exports."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest

from dlbench import report

from ..workbench import workbench

__all__ = ["workbench"]

ODD = [
    "<b>&</b>",
    "50% _of_ {x}^2 ~ $1 #1 \\end",
    "[a] *b* `c` | d",
    "ε ≥ 10⁻³, naïve",
    "字",
    "=1+1",
    "\x1b[31mred",
    "NA",
]
"""Names of subjects that mean something to those who print them."""


def odd_rows(seed):
    """Measurements of odd subjects, of which some are no finite numbers."""
    numbers = [math.nan, math.inf, -math.inf]
    return [
        {"subject": name, "noise": 0.5 if k else "high", "accuracy": (0.5, *numbers)[min(k, 3)], "seconds": 1.0 + seed}
        for k, name in enumerate(ODD)
    ]


@pytest.fixture
def gathered(workbench):
    """A run of the demo, whose last trial failed."""
    workbench.install()
    return report.gather(workbench.run(seeds=7, status=lambda seed: "timeout" if seed == 6 else "ok"))


@pytest.fixture
def odd(workbench):
    """A run with :func:`odd_rows`."""
    workbench.install()
    return SimpleNamespace(gathered=report.gather(workbench.run(rows=odd_rows)), names=ODD)
