"""Aleatoric and epistemic uncertainty, as networks estimate them, and how far the two estimates are kept apart.

Of an ensemble, or of passes with dropout, :func:`dlbench.uncertainty.decompose` splits the entropy. Here are the two
other estimates in use, and the error by which estimates are judged.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.special import digamma
from torch import Tensor

from dlbench.uncertainty import checks
from dlbench.uncertainty.metrics import entropy
from dlbench.uncertainty.sampling import Decomposition

GAUSSIAN_SAMPLES = 50


def dirichlet_decomposition(concentrations: ArrayLike) -> Decomposition:
    """The entropy of a Dirichlet distribution's mean, split into two (Malinin & Gales 2018), of evidential networks.

    Args:
        concentrations: [n, C], of each example's distribution over class probabilities; all above 0.

    Returns:
        Entropies [n] in nats: the mean's; the expected one, aleatoric; and their difference, the mutual information of
        label and probabilities, epistemic.

    Raises:
        ValueError: concentrations of another shape, or not above 0.
    """
    alpha = checks.matrix("concentrations", concentrations)
    if alpha.min() <= 0:
        raise ValueError(f"concentrations go down to {alpha.min():g}; they must be above 0")
    strength = alpha.sum(1, keepdims=True)
    mean = alpha / strength
    aleatoric = (mean * (digamma(strength + 1) - digamma(alpha + 1))).sum(1)
    total = entropy(mean)
    return Decomposition(total, aleatoric, np.maximum(total - aleatoric, 0))


def gaussian_logits_decomposition(
    means: Tensor, variances: Tensor, *, samples: int = GAUSSIAN_SAMPLES, seed: int = 0
) -> Decomposition:
    """Uncertainties of several networks that say how noisy each logit is (Valdenegro-Toro & Saromo Mori 2022).

    Noise in the logits of the networks' mean variance makes probabilities whose entropy is called aleatoric; noise of
    the variance of the networks' mean logits, epistemic. The two do not add up to the total, that of both noises.

    Args:
        means: [members, n, C], of each network's logits.
        variances: [members, n, C], of the logits, as each network says; not negative.
        samples: draws of noise.
        seed: of the draws, which are the same for all three.

    Raises:
        ValueError: means and variances of different shapes, not of three dimensions, or negative variances.
    """
    if means.dim() != 3 or means.shape != variances.shape or means.shape[2] < 2:
        raise ValueError(
            f"means {list(means.shape)} and variances {list(variances.shape)}; expected both [members, n, C], C from 2"
        )
    if not bool((variances >= 0).all()):
        raise ValueError(f"variances go down to {float(variances.min()):g}; they must not be negative")
    noise = torch.randn((samples, *means.shape[1:]), generator=torch.Generator().manual_seed(seed)).to(means)
    centre, aleatoric, epistemic = means.mean(0), variances.mean(0), means.var(0, correction=0)

    def entropies(variance: Tensor) -> checks.Array:
        return entropy(checks.numbers("logits", (centre + variance.sqrt() * noise).softmax(2).mean(0)))

    return Decomposition(entropies(aleatoric + epistemic), entropies(aleatoric), entropies(epistemic))


def disentanglement_error(
    size: tuple[ArrayLike, ArrayLike, ArrayLike], noise: tuple[ArrayLike, ArrayLike, ArrayLike]
) -> float:
    """How far two estimates are from each following its own cause alone: 0 at best, 0.5 if neither moves, at most 1.5.

    de Jong et al. 2024, arXiv:2408.12175: where fewer training examples cost accuracy, the epistemic estimate should
    correlate with accuracy perfectly, and negatively, and the aleatoric not at all; where label noise costs it, the
    other way about. The error is the mean distance of the four Pearson correlations from that. An estimate that does
    not move at all has no correlation, which counts as 0.

    Args:
        size: accuracies, aleatoric and epistemic uncertainties [levels], over sizes of the training data.
        noise: the same over degrees of label noise, which test labels have, too.

    Raises:
        ValueError: fewer than three levels, or lists of different lengths.
    """
    of_size, of_noise = (_correlations(name, *given) for name, given in (("size", size), ("noise", noise)))
    distances = abs(of_size[0]), abs(of_size[1] + 1), abs(of_noise[0] + 1), abs(of_noise[1])
    return sum(distances) / 4


def _correlations(name: str, *given: ArrayLike) -> tuple[float, float]:
    accuracy, aleatoric, epistemic = (checks.numbers(name, values) for values in given)
    if accuracy.ndim != 1 or len(accuracy) < 3 or not accuracy.shape == aleatoric.shape == epistemic.shape:
        shapes = ", ".join(str(list(values.shape)) for values in (accuracy, aleatoric, epistemic))
        raise ValueError(
            f"{name}: accuracies and uncertainties have shapes {shapes}; expected [levels] each, 3 or more"
        )
    return _pearson(aleatoric, accuracy), _pearson(epistemic, accuracy)


def _pearson(a: checks.Array, b: checks.Array) -> float:
    a, b = a - a.mean(), b - b.mean()
    norm = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / norm if norm > 1e-12 else 0.0
