"""How sure a model is, and whether it may be: metrics, calibration, sampled predictions, conformal sets.

Everything works on plain probabilities or logits, [n, C], of any model; :mod:`~dlbench.uncertainty.sampling` alone
calls one.
"""

from __future__ import annotations

from dlbench.uncertainty.calibration import TemperatureScaling, VectorScaling
from dlbench.uncertainty.conformal import ConformalSets, aps_scores, conformal_quantile, lac_scores
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

__all__ = [
    "ConformalSets",
    "Decomposition",
    "LastLayerLaplace",
    "Reliability",
    "TemperatureScaling",
    "VectorScaling",
    "accuracy",
    "adaptive_calibration_error",
    "aps_scores",
    "area_under_risk_coverage",
    "brier_score",
    "conformal_quantile",
    "decompose",
    "draw_labels",
    "ensemble",
    "expected_calibration_error",
    "lac_scores",
    "mc_dropout",
    "mutual_information",
    "negative_log_likelihood",
    "overconfidence",
    "predictive_entropy",
    "reliability",
    "resampled",
]
