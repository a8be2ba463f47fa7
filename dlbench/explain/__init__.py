"""What an image classifier looked at: explanations of its answers, and measures of how far they can be trusted.

:mod:`~dlbench.explain.methods` gives attributions of any torch classifier, :mod:`~dlbench.explain.metrics` judges them.
Both are about what a model's scores do; whether people understand more by them is another question.
"""

from __future__ import annotations

from dlbench.explain.methods import (
    edges,
    grad_cam,
    gradient,
    gradient_times_input,
    guided_backpropagation,
    integrated_gradients,
    last_convolution,
    occlusion,
    smoothgrad,
)
from dlbench.explain.metrics import (
    infidelity,
    max_sensitivity,
    pixel_flipping,
    pointing_game,
    randomised,
    rank_correlation,
    relevance_mass_accuracy,
    relevance_rank_accuracy,
    road,
    top_k_agreement,
)

__all__ = [
    "edges",
    "grad_cam",
    "gradient",
    "gradient_times_input",
    "guided_backpropagation",
    "infidelity",
    "integrated_gradients",
    "last_convolution",
    "max_sensitivity",
    "occlusion",
    "pixel_flipping",
    "pointing_game",
    "randomised",
    "rank_correlation",
    "relevance_mass_accuracy",
    "relevance_rank_accuracy",
    "road",
    "smoothgrad",
    "top_k_agreement",
]
