"""Logits made into probabilities that can be trusted: maps of few parameters, fitted on held-out data.

::

    calibrated = TemperatureScaling.fit(held_out_logits, held_out_labels)
    probabilities = calibrated(test_logits)

Fitted on the data that the network was trained on, they would repeat its over-confidence.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, special

from dlbench.uncertainty import checks
from dlbench.uncertainty.checks import Array

LOG_TEMPERATURES = (-7.0, 7.0)  # 0.001 to 1,100; held-out data without any error would have it go to zero


@dataclass(frozen=True)
class TemperatureScaling:
    """softmax(z / T) (Guo et al. 2017): the order of the classes stays, and so does accuracy."""

    temperature: float

    @classmethod
    def fit(cls, logits: ArrayLike, labels: ArrayLike) -> TemperatureScaling:
        """The temperature of least negative log-likelihood, which has one minimum (it is convex in 1/T).

        Args:
            logits: [n, C], held out from training.
            labels: [n].

        Raises:
            ValueError: logits or labels of another shape, or not finite.
        """
        z = checks.matrix("logits", logits)
        y = checks.labels(labels, z.shape)

        def loss(log_temperature: float) -> float:
            log_p = special.log_softmax(z / np.exp(log_temperature), axis=1)
            return -float(log_p[np.arange(len(y)), y].mean())

        found = optimize.minimize_scalar(loss, bounds=LOG_TEMPERATURES, method="bounded", options={"xatol": 1e-6})
        return cls(float(np.exp(found.x)))

    def __call__(self, logits: ArrayLike) -> Array:
        """Probabilities [n, C] of logits [n, C].

        Raises:
            ValueError: logits of another shape, or not finite.
        """
        return np.asarray(special.softmax(checks.matrix("logits", logits) / self.temperature, axis=1))


@dataclass(frozen=True)
class VectorScaling:
    """softmax(w z + b), a factor and an offset a class (Guo et al. 2017): it can change what is predicted."""

    scale: Array  # [C]
    offset: Array  # [C]

    @classmethod
    def fit(cls, logits: ArrayLike, labels: ArrayLike) -> VectorScaling:
        """Scale and offset of least negative log-likelihood, from 1 and 0 by L-BFGS; the problem is convex.

        Args:
            logits: [n, C], held out from training.
            labels: [n], every class among them.

        Raises:
            ValueError: logits or labels of another shape, or not finite; or a class without an example, whose offset
                would go to minus infinity.
        """
        z = checks.matrix("logits", logits)
        y = checks.labels(labels, z.shape)
        classes = z.shape[1]
        absent = np.flatnonzero(np.bincount(y, minlength=classes) == 0)
        if len(absent):
            raise ValueError(f"no held-out example of class {absent[0]}; vector scaling needs one of every class")
        target = np.eye(classes)[y]

        def loss(parameters: Array) -> tuple[float, Array]:
            scale, offset = parameters.reshape(2, classes)
            log_p = special.log_softmax(z * scale + offset, axis=1)
            slope = (np.exp(log_p) - target) / len(z)
            return -(log_p * target).sum() / len(z), np.concatenate([(slope * z).sum(0), slope.sum(0)])

        start = np.repeat([1.0, 0.0], classes)
        found = optimize.minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 500})
        return cls(*found.x.reshape(2, classes))

    def __call__(self, logits: ArrayLike) -> Array:
        """Probabilities [n, C] of logits [n, C].

        Raises:
            ValueError: logits of another shape or number of classes, or not finite.
        """
        z = checks.matrix("logits", logits)
        if z.shape[1] != len(self.scale):
            raise ValueError(f"logits have {z.shape[1]} classes; this scaling was fitted on {len(self.scale)}")
        return np.asarray(special.softmax(z * self.scale + self.offset, axis=1))
