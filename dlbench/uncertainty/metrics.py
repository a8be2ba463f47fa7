"""How far predicted probabilities can be trusted: calibration errors, proper scores, selective risk, entropies.

All take probabilities [n, C], arrays or tensors, and labels [n]; logits are refused. The confidence of a prediction is
the probability of its likeliest class. Logarithms are natural.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dlbench.uncertainty import checks
from dlbench.uncertainty.checks import Array

BINS = 15  # as in Guo et al. 2017


class Reliability(NamedTuple):
    """The bins of a reliability diagram; what is empty is left out."""

    share: Array  # [bins], of the examples; adds up to 1
    confidence: Array  # [bins], its mean
    accuracy: Array  # [bins]


def reliability(probabilities: ArrayLike, labels: ArrayLike, bins: int = BINS) -> Reliability:
    """Accuracy against confidence in bins of equal width, each without its lower edge and with its upper one.

    Raises:
        ValueError: no probabilities, labels that do not fit, or less than one bin.
    """
    confidence, right = _judged(probabilities, labels)
    of = np.ceil(confidence * _whole(bins)).astype(int) - 1
    return _binned(of.clip(0, bins - 1), confidence, right)


def expected_calibration_error(probabilities: ArrayLike, labels: ArrayLike, bins: int = BINS) -> float:
    """ECE: the mean over examples of ``|accuracy - confidence|`` of their bin (Naeini et al. 2015, Guo et al. 2017).

    It is biased upwards where bins hold few examples: a perfectly calibrated model has a positive one, which
    :func:`resampled` gives.

    Raises:
        ValueError: see :func:`reliability`.
    """
    return _gap(reliability(probabilities, labels, bins))


def adaptive_calibration_error(probabilities: ArrayLike, labels: ArrayLike, bins: int = BINS) -> float:
    """ECE with bins of equally many examples, in the order of their confidence (Nguyen & O'Connor 2015).

    Raises:
        ValueError: see :func:`reliability`.
    """
    confidence, right = _judged(probabilities, labels)
    of = np.empty(len(confidence), dtype=int)
    for number, part in enumerate(np.array_split(np.argsort(confidence, kind="stable"), _whole(bins))):
        of[part] = number
    return _gap(_binned(of, confidence, right))


def overconfidence(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Mean confidence less accuracy: above 0 where a model promises more than it keeps.

    Raises:
        ValueError: no probabilities, or labels that do not fit.
    """
    confidence, right = _judged(probabilities, labels)
    return float(confidence.mean() - right.mean())


def accuracy(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Share of examples whose likeliest class is their label; of several equally likely ones, the first counts.

    Raises:
        ValueError: no probabilities, or labels that do not fit.
    """
    return float(_judged(probabilities, labels)[1].mean())


def negative_log_likelihood(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Mean of -log p(label); what was called impossible counts as the smallest normal number, 708 nats.

    Raises:
        ValueError: no probabilities, or labels that do not fit.
    """
    p = checks.probabilities(probabilities)
    of_label = p[np.arange(len(p)), checks.labels(labels, p.shape)]
    return float(-np.log(of_label.clip(np.finfo(np.float64).tiny)).mean())


def brier_score(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Mean over examples of the squared distance of the probabilities to the one-hot label, 0 to 2 (Brier 1950).

    Raises:
        ValueError: no probabilities, or labels that do not fit.
    """
    p = checks.probabilities(probabilities)
    of_label = p[np.arange(len(p)), checks.labels(labels, p.shape)]
    return float((np.square(p).sum(1) - 2 * of_label + 1).mean())


def area_under_risk_coverage(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """AURC: the error among the k most confident examples, averaged over k = 1 ... n (Geifman et al. 2019).

    Examples of equal confidence count as if in random order, so that theirs does not matter.

    Raises:
        ValueError: no probabilities, or labels that do not fit.
    """
    confidence, right = _judged(probabilities, labels)
    _, of, count = np.unique(-confidence, return_inverse=True, return_counts=True)
    wrong = np.repeat(np.bincount(of, 1 - right) / count, count)  # most confident first, ties with their mean
    return float((wrong.cumsum() / np.arange(1, len(wrong) + 1)).mean())


def resampled(
    metric: Callable[[ArrayLike, ArrayLike], float], probabilities: ArrayLike, draws: int, rng: np.random.Generator
) -> Array:
    """[draws]: a metric's values were the model perfectly calibrated: with labels drawn from its own probabilities.

    Their mean is the bias of a calibration error at this number of examples, and their quantiles are a test of
    calibration (consistency resampling, Bröcker & Smith 2007; Vaicenavicius et al. 2019).

    Raises:
        ValueError: no probabilities, or less than one draw.
    """
    p = checks.probabilities(probabilities)
    if draws < 1:
        raise ValueError(f"draws is {draws}; expected at least 1")
    return np.array([metric(p, draw_labels(p, rng)) for _ in range(draws)])


def draw_labels(probabilities: ArrayLike, rng: np.random.Generator) -> NDArray[np.int64]:
    """Labels [n] drawn from probabilities [n, C], which are calibrated with respect to them.

    Raises:
        ValueError: no probabilities.
    """
    up_to = checks.probabilities(probabilities).cumsum(1)[:, :-1]  # the last is 1, but for rounding
    return np.asarray((rng.random((len(up_to), 1)) > up_to).sum(1))


# --------------------------------------------------------------------------------------------------------- entropies


def predictive_entropy(probabilities: ArrayLike) -> Array:
    """[n]: entropy of the probabilities [n, C] of each example; of an ensemble, pass the mean over its members.

    Raises:
        ValueError: no probabilities.
    """
    return entropy(checks.probabilities(probabilities))


def mutual_information(members: ArrayLike) -> Array:
    """[n]: between label and member, for probabilities [members, n, C]: how far the members disagree (BALD).

    It is the entropy of their mean less the mean of their entropies, and 0 where all say the same.

    Raises:
        ValueError: members that are not of that shape, or no probabilities.
    """
    p = checks.members(members)
    information: Array = np.maximum(entropy(p.mean(0)) - entropy(p).mean(0), 0)  # rounding can leave it below zero
    return information


def entropy(p: Array) -> Array:
    """Over the last axis, unchecked; 0 log 0 is 0."""
    return np.asarray(-(p * np.log(np.where(p > 0, p, 1))).sum(-1))


# ------------------------------------------------------------------------------------------------------------- parts


def _judged(probabilities: ArrayLike, labels: ArrayLike) -> tuple[Array, Array]:
    """Confidence [n] of each prediction, and whether it is right [n], 0 or 1."""
    p = checks.probabilities(probabilities)
    top = p.argmax(1)
    return p[np.arange(len(p)), top], (top == checks.labels(labels, p.shape)).astype(np.float64)


def _binned(of: Array, confidence: Array, right: Array) -> Reliability:
    count = np.bincount(of)
    filled = count > 0
    count = count[filled]
    means = (np.bincount(of, values)[filled] / count for values in (confidence, right))
    return Reliability(count / len(of), *means)


def _gap(bins: Reliability) -> float:
    return float((bins.share * np.abs(bins.accuracy - bins.confidence)).sum())


def _whole(bins: int) -> int:
    if bins < 1:
        raise ValueError(f"bins is {bins}; expected at least 1")
    return bins
