"""A Gaussian over the weights of a network's last layer, and what it makes of the predictions.

::

    posterior = LastLayerLaplace.fit(features, net[-1].weight, net[-1].bias, precision=1.0)
    probabilities = posterior(test_features)

where features are what enters the last layer. The Laplace approximation (MacKay 1992; Daxberger et al. 2021,
arXiv:2106.14806) puts the Gaussian on the weights that training found, with the curvature of the loss there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import linalg, special

from dlbench.uncertainty import checks
from dlbench.uncertainty.checks import Array


@dataclass(frozen=True)
class LastLayerLaplace:
    """The weights with a bias as their last column, [C, d + 1], and the covariance of those of each class."""

    weight: Array  # [C, d + 1]
    covariance: Array  # [C, d + 1, d + 1]

    @classmethod
    def fit(cls, features: ArrayLike, weight: Any, bias: Any, precision: float) -> LastLayerLaplace:
        """The posterior under a Gaussian prior: the Hessian of the whole training loss, plus the precision.

        The loss is cross-entropy, whose Hessian in the last layer does not depend on the labels. All of it is inverted,
        at a cost that is cubic in C (d + 1).

        Args:
            features: [n, d], the training examples as they enter the last layer.
            weight: [C, d] of that layer.
            bias: [C] of that layer.
            precision: of the prior, one over the variance of a weight; above 0.

        Raises:
            ValueError: shapes that do not belong together, or a precision that is not above 0.
        """
        if not precision > 0:
            raise ValueError(f"precision is {precision!r}; expected a number above 0")
        w, offset = checks.numbers("weight", weight), checks.numbers("bias", bias)
        if w.ndim != 2 or len(w) < 2 or offset.shape != w.shape[:1]:
            raise ValueError(
                f"weight {list(w.shape)} and bias {list(offset.shape)} do not fit; expected [C, d] and [C], C >= 2"
            )
        w = np.column_stack([w, offset])
        x = _with_one(features, w)
        p = special.softmax(x @ w.T, axis=1)
        classes, size = w.shape
        hessian = np.empty((classes, size, classes, size))
        for a in range(classes):
            for b in range(a, classes):
                curvature = p[:, a] * ((a == b) - p[:, b])
                hessian[a, :, b] = hessian[b, :, a] = (x * curvature[:, None]).T @ x
        whole = hessian.reshape(classes * size, -1)
        whole[np.diag_indices_from(whole)] += precision
        inverse = linalg.inv(whole, check_finite=False, assume_a="pos").reshape(classes, size, classes, size)
        return cls(w, np.stack([inverse[c, :, c] for c in range(classes)]))

    def __call__(self, features: ArrayLike) -> Array:
        """Probabilities [n, C] of features [n, d]: softmax(z / √(1 + π/8 var z)), the probit approximation, by class.

        Raises:
            ValueError: features of another shape, or not finite.
        """
        x = _with_one(features, self.weight)
        variance = np.stack([((x @ of_class) * x).sum(1) for of_class in self.covariance], axis=1)
        return np.asarray(special.softmax(x @ self.weight.T / np.sqrt(1 + np.pi / 8 * variance), axis=1))


def _with_one(features: ArrayLike, weight: Array) -> Array:
    x = checks.numbers("features", features)
    if x.ndim != 2 or len(x) == 0 or x.shape[1] != weight.shape[1] - 1:
        raise ValueError(f"features have shape {list(x.shape)}; expected [n, {weight.shape[1] - 1}]")
    return np.column_stack([x, np.ones(len(x))])
