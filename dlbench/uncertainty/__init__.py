"""How sure a network is, and how sure it should be: scores that tell unfamiliar inputs from familiar ones."""

from __future__ import annotations

from dlbench.uncertainty.detectors import (
    KNN,
    ODIN,
    Detection,
    Detectors,
    Mahalanobis,
    Outputs,
    ViM,
    best_setting,
    detection,
    energy,
    extract,
    max_logit,
    max_softmax,
)

__all__ = [
    "KNN",
    "ODIN",
    "Detection",
    "Detectors",
    "Mahalanobis",
    "Outputs",
    "ViM",
    "best_setting",
    "detection",
    "energy",
    "extract",
    "max_logit",
    "max_softmax",
]
