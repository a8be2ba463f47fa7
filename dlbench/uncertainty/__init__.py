"""How sure a model is, and whether it may be: metrics, calibration, sampled predictions, conformal sets, detectors.

Everything works on plain probabilities or logits, [n, C], of any model; :mod:`~dlbench.uncertainty.sampling` and
:mod:`~dlbench.uncertainty.detectors` alone call one.
"""

from __future__ import annotations

from dlbench.uncertainty.calibration import TemperatureScaling, VectorScaling
from dlbench.uncertainty.conformal import ConformalSets, aps_scores, conformal_quantile, lac_scores
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
from dlbench.uncertainty.disentanglement import (
    dirichlet_decomposition,
    disentanglement_error,
    gaussian_logits_decomposition,
)
from dlbench.uncertainty.laplace import LastLayerLaplace
from dlbench.uncertainty.metrics import (
    Reliability,
    accuracy,
    adaptive_calibration_error,
    area_under_risk_coverage,
    brier_score,
    draw_labels,
    expected_calibration_error,
    mutual_information,
    negative_log_likelihood,
    overconfidence,
    predictive_entropy,
    reliability,
    resampled,
)
from dlbench.uncertainty.sampling import Decomposition, decompose, ensemble, mc_dropout
from dlbench.uncertainty.sngp import SNGP, SpectralBound

__all__ = [
    "KNN",
    "ODIN",
    "SNGP",
    "ConformalSets",
    "Decomposition",
    "Detection",
    "Detectors",
    "LastLayerLaplace",
    "Mahalanobis",
    "Outputs",
    "Reliability",
    "SpectralBound",
    "TemperatureScaling",
    "VectorScaling",
    "ViM",
    "accuracy",
    "adaptive_calibration_error",
    "aps_scores",
    "area_under_risk_coverage",
    "best_setting",
    "brier_score",
    "conformal_quantile",
    "decompose",
    "detection",
    "dirichlet_decomposition",
    "disentanglement_error",
    "draw_labels",
    "energy",
    "ensemble",
    "expected_calibration_error",
    "extract",
    "gaussian_logits_decomposition",
    "lac_scores",
    "max_logit",
    "max_softmax",
    "mc_dropout",
    "mutual_information",
    "negative_log_likelihood",
    "overconfidence",
    "predictive_entropy",
    "reliability",
    "resampled",
]
