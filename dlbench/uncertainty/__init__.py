"""How sure a model is, and whether it may be: metrics, calibration, sampled predictions, conformal sets, detectors.

Everything works on plain probabilities or logits, [n, C], of any model; :mod:`~dlbench.uncertainty.sampling` and
:mod:`~dlbench.uncertainty.detectors` alone call one.
"""

from __future__ import annotations

from dlbench.uncertainty.calibration import TemperatureScaling, VectorScaling
from dlbench.uncertainty.conformal import ConformalSets, adaptive, conformal_quantile, least_ambiguous
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
from dlbench.uncertainty.laplace import LastLayerLaplace
from dlbench.uncertainty.metrics import (
    Reliability,
    accuracy,
    adaptive_calibration_error,
    area_under_risk_coverage,
    brier_score,
    expected_calibration_error,
    mutual_information,
    negative_log_likelihood,
    overconfidence,
    predictive_entropy,
    reliability,
    resampled,
)
from dlbench.uncertainty.sampling import Decomposition, decompose, ensemble, mc_dropout

__all__ = [
    "KNN",
    "ODIN",
    "ConformalSets",
    "Decomposition",
    "Detection",
    "Detectors",
    "LastLayerLaplace",
    "Mahalanobis",
    "Outputs",
    "Reliability",
    "TemperatureScaling",
    "VectorScaling",
    "ViM",
    "accuracy",
    "adaptive",
    "adaptive_calibration_error",
    "area_under_risk_coverage",
    "best_setting",
    "brier_score",
    "conformal_quantile",
    "decompose",
    "detection",
    "energy",
    "ensemble",
    "expected_calibration_error",
    "extract",
    "least_ambiguous",
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
