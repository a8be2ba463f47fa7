"""What most pictures are made of: means over seeds with their 95 % intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_means(
    axes: Axes,
    x: Iterable[float],
    samples: Iterable[Sequence[float]],
    *,
    log: bool = False,
    limits: tuple[float, float] = (-math.inf, math.inf),
    band: bool = False,
    color: str,
    **style: Any,
) -> None:
    """Draw the mean of each sample with its 95 % interval over seeds, from left to right.

    Args:
        axes: what to draw on.
        x: the abscissa of each sample.
        samples: for each x, one value a seed; NaN is left out, and an x without values is not drawn.
        log: take geometric means, for errors, ratios and times, which must be positive (others are left out).
        limits: what the quantity can be; an interval is cut there (0 and 1 for an accuracy).
        band: draw the intervals as a band along the line instead of as whiskers.
        color: of the line and its intervals.
        style: passed to ``axes.plot`` for the line (``label``, ``linestyle``, ``marker``, …).
    """
    import numpy as np

    from dlbench import stats

    points = []
    for at, sample in zip(x, samples, strict=True):
        values = np.asarray(sample, dtype=float)
        values = values[(values > 0) if log else ~np.isnan(values)]
        if values.size:
            mean, low, high, n = stats.log_t_interval(values) if log else stats.t_interval(values)
            interval = (low, high) if n > 1 else (mean, mean)  # one seed has no interval
            points.append((at, mean, *np.clip(interval, *limits)))
    if not points:
        return
    at, mean, low, high = np.transpose(sorted(points))
    axes.plot(at, mean, color=color, **style)
    if band:
        axes.fill_between(at, low, high, color=color, alpha=0.2, linewidth=0)
    else:
        axes.vlines(at, low, high, color=color, linewidth=1.2)
