"""What predictors of which one knows the worth score under a recomputed metric: rule V26.

Three answer the same made targets: a *constant* one, which says the same of every item and prefers no answer, a
*random* one, and an *oracle*. A board's protocol keeps what they score, and every verification computes it again. A
metric under which knowing nothing pays, because ties go to the first class, or under which an oracle is not the best,
because a direction or a scale is declared wrong, ranks nobody.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from dlbench import recompute
from dlbench.recompute import Array

PREDICTORS = ("constant", "random", "oracle")

_SHARES = (200, 100, 60, 40)
"""Items of each class: the first is the most frequent, so that a tie which goes to it shows."""


@lru_cache(maxsize=32)
def scores(function: str) -> dict[str, float]:
    """What each of :data:`PREDICTORS` scores under a function of :data:`dlbench.recompute.METRICS`."""
    metric = recompute.METRICS[function]
    target, outputs = _values() if function in recompute.OF_VALUES else _classes()
    return {name: metric(target, outputs[name]) for name in PREDICTORS}


def problem(name: str, declared: Mapping[str, Any]) -> str:
    """Why a metric, as it is declared, cannot rank; empty where nothing speaks against it."""
    function = declared["recomputed"]
    found = scores(function)
    told = ", ".join(f"{who} {score:.4g}" for who, score in found.items())
    better = declared.get("better")
    if better:
        sign, bound = (1, declared.get("high")) if better == "higher" else (-1, declared.get("low"))
        if any(sign * found[who] >= sign * found["oracle"] for who in ("constant", "random")):
            return f"{name}: {better} is declared better, and no oracle is the best by {function} ({told})"
        if bound is not None and math.isfinite(bound) and bound != found["oracle"]:
            return (
                f"{name}: the best that is declared is {bound:g}, and an oracle has {found['oracle']:g} by {function}"
            )
    if function not in recompute.OF_VALUES and len(set(_relabelled(function))) > 1:
        return f"{name}: by {function} ties favour some classes, so that a constant answer can pay"
    return ""


def _relabelled(function: str) -> list[float]:
    """The constant predictor's score with each class in turn being the first."""
    target, outputs = _classes()
    shifted = [(target + shift) % len(_SHARES) for shift in range(len(_SHARES))]
    return [round(recompute.METRICS[function](labels, outputs["constant"]), 9) for labels in shifted]


def _classes() -> tuple[Array, dict[str, Array]]:
    """Targets [items], and probabilities [items, classes] of each predictor."""
    classes, draw = len(_SHARES), random.Random(26).random  # the same on every Python  # noqa: S311
    target = np.repeat(np.arange(classes, dtype=float), _SHARES)
    chance = np.array([[draw() for _ in range(classes)] for _ in target])
    outputs = {
        "constant": np.full((len(target), classes), 1 / classes),
        "random": chance / chance.sum(1, keepdims=True),
        "oracle": np.eye(classes)[target.astype(int)],
    }
    return target, outputs


def _values() -> tuple[Array, dict[str, Array]]:
    """Targets [items], and values [items, 1] of each predictor."""
    target, draw = np.linspace(-1, 1, sum(_SHARES)), random.Random(26).random  # noqa: S311
    chance = np.array([[2 * draw() - 1] for _ in target])
    return target, {"constant": np.zeros((len(target), 1)), "random": chance, "oracle": target[:, None]}
