"""Sets of labels that hold the true one as often as is asked for, whatever the model (split conformal prediction).

::

    sets = ConformalSets.fit(held_out_probabilities, held_out_labels, miss=0.1)
    sets(probabilities)                                                # [n, C] bool: the labels of each example's set

The promise, a share of at least 1 - miss, is over held-out and new examples together and needs them to be exchangeable:
it says nothing about a single example, nor about data that has shifted. Angelopoulos & Bates 2021, arXiv:2107.07511.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dlbench.uncertainty import checks
from dlbench.uncertainty.checks import Array

Scores = Callable[[Array], Array]  # probabilities [n, C] → how strange each label would be [n, C]


def conformal_quantile(scores: ArrayLike, miss: float) -> float:
    """The ⌈(n + 1)(1 - miss)⌉-th smallest of n scores; infinite where there are too few of them to tell.

    A new score, exchangeable with these, is not above it with a probability of at least 1 - miss. Of the absolute
    errors of a regression it is the half-width of an interval.

    Args:
        scores: [n], of held-out examples; the stranger the greater.
        miss: above 0 and below 1.

    Raises:
        ValueError: no scores, or such as are not finite, or a share out of range.
    """
    values = checks.numbers("scores", scores)
    if values.ndim != 1 or len(values) == 0:
        raise ValueError(f"scores have shape {list(values.shape)}; expected [n], at least one")
    if not 0 < miss < 1:
        raise ValueError(f"miss is {miss!r}; expected a share above 0 and below 1")
    rank = math.ceil(round((len(values) + 1) * (1 - miss), 9))  # 10 · 0.9 must not become 9.000…2, and then 10
    return float(np.partition(values, rank - 1)[rank - 1]) if rank <= len(values) else math.inf


def lac_scores(probabilities: Array) -> Array:
    """LAC: one less the probability. On average the smallest sets; some are empty (Sadinle et al. 2019)."""
    return 1 - probabilities


def aps_scores(probabilities: Array) -> Array:
    """APS: the probability of all labels at least as likely, this one too (Romano et al. 2020, without their coin).

    Sets grow with the difficulty of the example, and hold the true label somewhat more often than was asked for.
    """
    order = np.argsort(-probabilities, axis=1, kind="stable")
    up_to = np.take_along_axis(probabilities, order, axis=1).cumsum(1)
    scores = np.empty_like(up_to)
    np.put_along_axis(scores, order, up_to, axis=1)
    return scores


@dataclass(frozen=True)
class ConformalSets:
    """All labels whose score is not above a quantile."""

    scores: Scores
    quantile: float

    @classmethod
    def fit(
        cls, probabilities: ArrayLike, labels: ArrayLike, miss: float, scores: Scores = lac_scores
    ) -> ConformalSets:
        """The quantile of the scores of the true labels of held-out examples.

        Args:
            probabilities: [n, C], of held-out examples.
            labels: [n].
            miss: how often the true label may be missing, above 0 and below 1.
            scores: :func:`lac_scores`, :func:`aps_scores`, or a function of your own.

        Raises:
            ValueError: no probabilities, labels that do not fit, or a share out of range.
        """
        p = checks.probabilities(probabilities)
        y = checks.labels(labels, p.shape)
        return cls(scores, conformal_quantile(scores(p)[np.arange(len(p)), y], miss))

    def __call__(self, probabilities: ArrayLike) -> NDArray[np.bool_]:
        """[n, C]: which labels are in the set of each example.

        Raises:
            ValueError: no probabilities.
        """
        return self.scores(checks.probabilities(probabilities)) <= self.quantile
