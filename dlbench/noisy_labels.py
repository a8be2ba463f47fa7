"""Labels that are wrong: making some so, training in spite of them, and finding them.

The last two work on any classifier's logits or probabilities. A *transition matrix* says how labels go wrong: T[i, j]
is the probability that an example of class i is labelled j.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn import functional as F

from dlbench.uncertainty import checks


def throw(labels: NDArray[Any], p: float, rng: np.random.Generator, classes: int = 10) -> NDArray[Any]:
    """Each label replaced, with probability p, by the throw of a fair die.

    From the same random numbers, the labels replaced at one p are replaced, by the same throws, at every larger p.

    Args:
        labels: [n] whole numbers from 0 to classes - 1.
        p: how often, from 0 to 1. A throw can be the label that it replaces, so a share p (1 - 1/classes) is wrong.
        rng: of the die.
        classes: its sides.
    """
    replaced, thrown = rng.random(len(labels)) < p, rng.integers(classes, size=len(labels))
    return np.where(replaced, thrown, labels)


def forward_correction(logits: Tensor, labels: Tensor, transition: Tensor, *, reduction: str = "mean") -> Tensor:
    """Cross-entropy of noisy labels with what the classes would be labelled (Patrini et al., CVPR 2017).

    Its minimum is the classifier that the true labels would have given.

    Args:
        logits: [..., classes], of the true class.
        labels: [...] int64, as given.
        transition: [classes, classes], or one for each example, [..., classes, classes]; rows sum to 1.
        reduction: "mean", "sum" or "none".

    Raises:
        ValueError: the transition's last two dimensions are not the number of classes, or its rows do not sum to 1.
    """
    classes = logits.shape[-1]
    if transition.shape[-2:] != (classes, classes):
        raise ValueError(
            f"transition has shape {list(transition.shape)}; expected {classes} × {classes} for the logits"
        )
    if ((transition.sum(-1) - 1).abs() > 1e-4).any():
        raise ValueError("transition has rows that do not sum to 1; T[i, j] is the chance that class i is labelled j")
    labelled = (logits.softmax(-1).unsqueeze(-2) @ transition).squeeze(-2)
    log = labelled.clamp_min(1e-12).log().reshape(-1, classes)
    return F.nll_loss(log, labels.reshape(-1), reduction=reduction)


def confident_joint(probabilities: ArrayLike, labels: ArrayLike) -> NDArray[np.int64]:
    """Counts [classes, classes] of examples labelled i that are confidently j (Northcutt, Jiang & Chuang, JAIR 2021).

    An example is confidently of a class if its probability is at least the mean probability of that class among the
    examples so labelled; of several such classes the most probable counts, and an example with none is not counted.

    Args:
        probabilities: [n, classes], by a model that was not trained on these examples (cross-validation).
        labels: [n], as given.

    Raises:
        ValueError: shapes do not fit, a label is no class, or probabilities do not sum to 1.
    """
    p, y = _checked(probabilities, labels)
    chosen = _confident(p, y)
    counts = np.zeros((p.shape[1], p.shape[1]), dtype=np.int64)
    np.add.at(counts, (y[chosen >= 0], chosen[chosen >= 0]), 1)
    return counts


def suspects(probabilities: ArrayLike, labels: ArrayLike) -> NDArray[np.bool_]:
    """Which labels [n] are probably wrong: those confidently of another class than their label says.

    Arguments and errors are those of :func:`confident_joint`.
    """
    p, y = _checked(probabilities, labels)
    chosen = _confident(p, y)
    return np.asarray((chosen >= 0) & (chosen != y))


def _confident(p: NDArray[Any], y: NDArray[Any]) -> NDArray[np.int64]:
    """The class that each example confidently is of, or -1."""
    classes = p.shape[1]
    thresholds = np.array([p[y == k, k].mean() if (y == k).any() else np.inf for k in range(classes)])
    confident = np.where(p >= thresholds, p, -1.0)
    return np.where(confident.max(1) >= 0, confident.argmax(1), -1)


def _checked(probabilities: ArrayLike, labels: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    p = checks.probabilities(probabilities, off=1e-3)
    return p, checks.labels(labels, p.shape)
