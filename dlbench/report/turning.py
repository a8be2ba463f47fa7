"""What would change a verdict: another mean with the same spread, or more seeds with the same mean."""

from __future__ import annotations

import math

from dlbench import stats
from dlbench.report.typeset import numbers

MOST_SEEDS = 1000
"""Beyond so many nobody wants to know how many exactly."""


def turning_point(
    outcome: str, estimate: float, low: float, high: float, n: int, region: tuple[float, float] | None
) -> str:
    """A clause on what would change a verdict; empty where its numbers alone did not decide.

    Args:
        outcome: the verdict.
        estimate: the mean over seeds.
        low: where its 95 % Student-t interval begins.
        high: where that ends.
        n: seeds.
        region: where the whole interval must lie for the claim to hold.
    """
    if region is None or n < stats.MIN_SEEDS or not (math.isfinite(low) and math.isfinite(high) and low < high):
        return ""
    half = (high - low) / 2
    inside, outside = region[0] < low and high < region[1], high < region[0] or low > region[1]
    if outcome == "inconclusive" and not inside and not outside:
        seeds = seeds_to_decide(estimate, half, n, region)
        return f"with this mean and spread about {seeds} seeds would decide" if seeds else ""
    if outcome == "holds" and inside:
        return f"with this spread a mean {_beyond(region, half)} would leave it open"
    if outcome == "does not hold" and outside:
        return f"with this spread it would take a mean {_within(region, half)}"
    return ""


def seeds_to_decide(estimate: float, half: float, n: int, region: tuple[float, float]) -> str:
    """How many seeds until the interval leaves the nearest edge outside; empty where the mean lies on that edge."""
    distance = min(abs(estimate - edge) for edge in region if math.isfinite(edge))
    sd = half * math.sqrt(n) / stats.t_factor(n)
    if distance < 1e-9 * sd:
        return ""
    for seeds in range(n + 1, MOST_SEEDS + 1):
        if stats.t_factor(seeds) * sd / math.sqrt(seeds) < distance:
            return str(seeds)
    return f"more than {MOST_SEEDS}"


def _within(region: tuple[float, float], half: float) -> str:
    """Where the mean must lie for the interval to lie in the region, in words."""
    low, high = region[0] + half, region[1] - half
    texts = numbers([low, high], half)
    if math.isinf(high):
        return f"above {texts[0]}"
    if math.isinf(low):
        return f"below {texts[1]}"
    return f"between {texts[0]} and {texts[1]}" if low < high else "of less spread"


def _beyond(region: tuple[float, float], half: float) -> str:
    """Where the mean must lie for the interval to leave the region, in words."""
    low, high = region[0] + half, region[1] - half
    texts = numbers([low, high], half)
    if math.isinf(high):
        return f"below {texts[0]}"
    return f"above {texts[1]}" if math.isinf(low) else f"below {texts[0]} or above {texts[1]}"
