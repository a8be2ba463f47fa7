"""dlbench: what deep networks can and cannot do, as experiments with verdicts.

``from dlbench import Experiment, Claim, Metric`` and what else an author needs (all of it in
:mod:`dlbench.experiment`); ``from dlbench import ops, attacks, nn`` for the operators, the attacks and the layers.
Nothing heavy is imported before it is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dlbench import attacks, data, models, nn, ops, stats
    from dlbench.experiment import (
        Artefacts,
        Axis,
        Claim,
        Context,
        Control,
        Experiment,
        Measurement,
        Metric,
        Reference,
        Verdict,
        above,
        all_of,
        below,
        between,
        contains,
        draw_means,
        equivalent,
        every,
        one_of,
        paired,
        per_seed,
        rank_correlation,
        slope,
        where,
        within,
    )

__all__ = [
    "Artefacts",
    "Axis",
    "Claim",
    "Context",
    "Control",
    "Experiment",
    "Measurement",
    "Metric",
    "Reference",
    "Verdict",
    "above",
    "all_of",
    "attacks",
    "below",
    "between",
    "contains",
    "data",
    "draw_means",
    "equivalent",
    "every",
    "models",
    "nn",
    "one_of",
    "ops",
    "paired",
    "per_seed",
    "rank_correlation",
    "slope",
    "stats",
    "where",
    "within",
]


_MODULES = ("attacks", "data", "models", "nn", "ops", "stats")


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"dlbench.{name}")
    if name == "__version__":
        from importlib.metadata import version

        return version("dlbench")
    if name in __all__:
        value = getattr(importlib.import_module("dlbench.experiment"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'dlbench' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
