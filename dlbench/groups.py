"""Any metric by group, and how unequal the groups are: of plain arrays, so of any model's decisions.

::

    rates = by_group(false_positive_rate, groups, labels, decisions)     # ByGroup: a value and a count for each group
    rates.values, rates.worst(better="lower"), rates.gap
    demographic_parity_difference(decisions, groups)
    equalized_odds_difference(labels, decisions, groups)

A metric is any function of arrays whose first dimension runs over people: ``by_group(error, groups, y, scores)`` hands
it the rows of one group after the other. The rates below are of two classes, of which 1 is the decision in question (a
loan, a high risk). A rate that a group does not have, as nobody in it is of the class concerned, is NaN, and a gap that
would need it is NaN too: an unknown is not equal.

Names and definitions are the field's: Hardt, Price & Srebro, "Equality of opportunity in supervised learning", NeurIPS
2016, arXiv:1610.02413, and the greatest difference between any two groups, as Fairlearn has it. Which of them is fair
is not said here; where base rates differ, no classifier that errs can satisfy all at once (Chouldechova 2017,
arXiv:1703.00056; Kleinberg et al. 2016, arXiv:1609.05807).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class ByGroup:
    """A metric's value in each group.

    Args:
        names: [G], the groups, sorted.
        counts: [G] int64, how many are in each.
        values: [G] float64, the metric there; NaN where it is not defined.
    """

    names: NDArray[Any]
    counts: NDArray[np.int64]
    values: NDArray[np.float64]

    @property
    def gap(self) -> float:
        """Greatest less smallest value; NaN if a group has none."""
        return float(self.values.max() - self.values.min())

    def worst(self, *, better: Literal["higher", "lower"]) -> tuple[Any, float]:
        """The group with the worst value and that value; groups without one are passed over."""
        if np.isnan(self.values).all():
            return self.names[0], math.nan
        pick = np.nanargmin if better == "higher" else np.nanargmax
        place = int(pick(self.values))
        return self.names[place], float(self.values[place])

    def __getitem__(self, name: Any) -> float:
        """The value of the group of that name."""
        place = np.flatnonzero(self.names == name)
        if not place.size:
            raise KeyError(f"no group {name!r}; there are {', '.join(map(str, self.names))}")
        return float(self.values[place[0]])


def by_group(metric: Callable[..., float], groups: ArrayLike, *arrays: ArrayLike) -> ByGroup:
    """The metric of each group's rows.

    Args:
        metric: takes as many arrays as are given and returns a number.
        groups: [n], the group of each row: numbers or text. For combinations, give each a name of its own.
        arrays: [n, ...] each, what the metric is of.

    Raises:
        ValueError: there is no row, or an array has another number of rows than there are groups.
    """
    of = np.asarray(groups)
    rows = [np.asarray(array) for array in arrays]
    if of.ndim != 1 or not of.size:
        raise ValueError(f"groups has shape {list(of.shape)}; expected [n], the group of each of n rows, with n > 0")
    for number, array in enumerate(rows):
        if array.shape[:1] != of.shape:
            raise ValueError(f"array {number} has shape {list(array.shape)}; expected {of.size} rows, as groups has")
    names, place, counts = np.unique(of, return_inverse=True, return_counts=True)
    values = [float(metric(*(array[place == g] for array in rows))) for g in range(len(names))]
    return ByGroup(names, counts.astype(np.int64), np.array(values, dtype=np.float64))


# ------------------------------------------------------------------------------------------------------------ rates


def accuracy(labels: ArrayLike, decisions: ArrayLike) -> float:
    """Share of decisions that are right; of any number of classes. Labels and decisions are [n]."""
    y, d = np.asarray(labels), np.asarray(decisions)
    if y.shape != d.shape or y.ndim != 1:
        raise ValueError(f"labels {list(y.shape)} and decisions {list(d.shape)}; expected [n] for both")
    return _share(y == d)


def selection_rate(decisions: ArrayLike) -> float:
    """Share that is decided 1."""
    return _share(_binary(decisions, "decisions"))


def true_positive_rate(labels: ArrayLike, decisions: ArrayLike) -> float:
    """Of those of class 1, the share that is decided 1."""
    y, d = _two(labels, decisions)
    return _share(d[y])


def false_positive_rate(labels: ArrayLike, decisions: ArrayLike) -> float:
    """Of those of class 0, the share that is decided 1."""
    y, d = _two(labels, decisions)
    return _share(d[~y])


def false_negative_rate(labels: ArrayLike, decisions: ArrayLike) -> float:
    """Of those of class 1, the share that is decided 0."""
    return 1 - true_positive_rate(labels, decisions)


# ------------------------------------------------------------------------------------------------------ differences


def demographic_parity_difference(decisions: ArrayLike, groups: ArrayLike) -> float:
    """Greatest less smallest selection rate of the groups: 0 where as many of each are decided 1."""
    return by_group(selection_rate, groups, decisions).gap


def equal_opportunity_difference(labels: ArrayLike, decisions: ArrayLike, groups: ArrayLike) -> float:
    """Greatest less smallest true positive rate of the groups."""
    return by_group(true_positive_rate, groups, labels, decisions).gap


def equalized_odds_difference(labels: ArrayLike, decisions: ArrayLike, groups: ArrayLike) -> float:
    """The greater of the differences in true and in false positive rate; NaN if either is."""
    gaps = (by_group(rate, groups, labels, decisions).gap for rate in (true_positive_rate, false_positive_rate))
    return float(np.max(list(gaps)))


def _two(labels: ArrayLike, decisions: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    y, d = _binary(labels, "labels"), _binary(decisions, "decisions")
    if y.shape != d.shape:
        raise ValueError(f"labels {list(y.shape)} and decisions {list(d.shape)}; expected as many of both")
    return y, d


def _binary(values: ArrayLike, name: str) -> NDArray[np.bool_]:
    array = np.asarray(values)
    if array.ndim != 1:
        raise ValueError(f"{name} has shape {list(array.shape)}; expected [n]")
    if wrong := [value for value in np.unique(array) if value not in (0, 1)]:
        raise ValueError(f"{name} holds {wrong[0]!r}; expected 0 and 1 only. Of scores, make decisions first")
    return array.astype(bool)


def _share(flags: NDArray[np.bool_]) -> float:
    return float(flags.mean()) if flags.size else math.nan
