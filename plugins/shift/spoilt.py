"""Test images spoilt, and what a model makes of them, as studies and audits of corruptions show it."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from dlbench import uncertainty as u
from dlbench import where
from dlbench.corruptions import SEVERITIES, corrupt

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CLEAN, EIGHT_BITS, ALL_NOISE = "none", "eight_bits", "all_noise"  # what else is shown
SD_OF_ALL_NOISE = 20  # times black to white


def spoil(x: Tensor, kind: str, severity: int, generator: torch.Generator) -> Tensor:
    """Test images as a kind leaves them: one of the corruptions, or what clean images and controls are."""
    if kind == CLEAN:
        return x
    if kind == EIGHT_BITS:  # up to half a step of grey off for each severity, and rounded
        grey = 255 * x + severity * (torch.rand(x.shape, generator=generator) - 0.5).to(x)
        return (grey.round() / 255).clamp(0, 1)
    if kind == ALL_NOISE:
        return (x + SD_OF_ALL_NOISE * torch.randn(x.shape, generator=generator).to(x)).clamp(0, 1)
    return corrupt(x, kind, severity, generator=generator)


def judged(probabilities: NDArray[np.float64], y: Tensor) -> dict[str, float]:
    """Accuracy, mean confidence and calibration error."""
    labels = y.cpu().numpy()
    return {
        "accuracy": u.accuracy(probabilities, labels),
        "confidence": float(probabilities.max(1).mean()),
        "ece": u.expected_calibration_error(probabilities, labels),
    }


def draw_map(
    axes: Axes, rows: pd.DataFrame, name: str, kinds: Sequence[str], *, trained_on: Collection[str] = ()
) -> None:
    """Accuracy in per cent of one model by kind and severity; framed are the kinds that it was trained with."""
    from matplotlib.patches import Rectangle

    grid = np.full((len(kinds), 1 + len(SEVERITIES)), math.nan)
    if {"subject", "kind", "severity", "accuracy"} <= set(rows.columns):
        mine = where(rows, subject=name)
        means = mine.groupby(["kind", "severity"]).accuracy.mean()
        grid[:, 0] = where(mine, kind=CLEAN).accuracy.mean()
        for row, kind in enumerate(kinds):
            grid[row, 1:] = [means.get((kind, severity), math.nan) for severity in SEVERITIES]
    axes.imshow(grid, cmap="viridis", vmin=0, vmax=1, aspect="auto")
    for (row, column), value in np.ndenumerate(grid):
        if np.isfinite(value):
            color = "black" if value > 0.6 else "white"
            axes.text(column, row, f"{100 * value:.0f}", color=color, fontsize=6.5, ha="center", va="center")
    for kind in set(trained_on) & set(kinds):
        corner = (0.5, kinds.index(kind) - 0.5)
        axes.add_patch(Rectangle(corner, len(SEVERITIES), 1, fill=False, edgecolor="#D55E00", linewidth=1.6))
    axes.set_yticks([])
    axes.set_xticks(range(1 + len(SEVERITIES)), ["clean", *map(str, SEVERITIES)], fontsize=6.5)
    axes.set_xlabel("severity", fontsize=8)
    axes.set_title(name.replace(":", ":\n").replace("_", " "), fontsize=9)
