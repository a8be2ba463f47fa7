"""Intervals as small drawings beside their numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

_CRITERION = re.compile(r"(?:(?P<sign>[<>]) |within ±|(?P<center>\S+) ± )(?P<number>\S+)")


def wanted(criterion: str) -> tuple[float, float] | None:
    """The region in which a criterion of :mod:`dlbench.verdicts` wants the interval: ``> 3`` is (3, inf)."""
    if not (match := _CRITERION.match(criterion)):
        return None
    try:
        number, center = float(match["number"]), float(match["center"] or 0)
    except ValueError:
        return None
    if match["sign"]:
        return (number, math.inf) if match["sign"] == ">" else (-math.inf, number)
    return center - number, center + number


_WIDTH, _HEIGHT, _MARGIN = 132, 18, 6


def bar(
    low: float,
    estimate: float,
    high: float,
    *,
    region: tuple[float, float] | None = None,
    domain: tuple[float, float] | None = None,
) -> Markup:
    """An interval as a small drawing: where it should lie is shaded, its threshold is a line."""
    domain = domain or domain_of([low, estimate, high, *(region or ())])
    if domain is None or math.isnan(estimate):
        return Markup("")

    def at(value: float) -> float:
        share = (value - domain[0]) / (domain[1] - domain[0]) if math.isfinite(value) else float(value > 0)
        return round(_MARGIN + min(max(share, 0.0), 1.0) * (_WIDTH - 2 * _MARGIN), 1)

    middle, shapes = _HEIGHT / 2, []
    if region:
        left = at(region[0]) if math.isfinite(region[0]) else 0
        right = at(region[1]) if math.isfinite(region[1]) else _WIDTH
        shapes.append(f'<rect class="wanted" x="{left}" y="0" width="{right - left:.1f}" height="{_HEIGHT}"/>')
    shapes.append(f'<path class="axis" d="M0 {middle}H{_WIDTH}"/>')
    for edge in region or ():
        if math.isfinite(edge):
            shapes.append(f'<path class="edge" d="M{at(edge)} 0V{_HEIGHT}"/>')
    if not (math.isnan(low) or math.isnan(high)):
        left, right = at(low), at(high)
        caps = [f"M{x} {middle - 3}v6" for x, value in ((left, low), (right, high)) if math.isfinite(value)]
        shapes.append(f'<path class="ci" d="M{left} {middle}H{right}{"".join(caps)}"/>')
    shapes.append(f'<circle class="dot" cx="{at(estimate)}" cy="{middle}" r="3.5"/>')
    inside = "".join(shapes)
    return Markup(  # noqa: S704 - numbers only
        f'<svg class="bar" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}" '
        f'aria-hidden="true">{inside}</svg>'
    )


def domain_of(values: Sequence[Any]) -> tuple[float, float] | None:
    """The range of a drawing that shows all the finite ones of these values; None if there are none."""
    finite = [float(value) for value in values if value is not None and math.isfinite(value)]
    if not finite:
        return None
    low, high = min(finite), max(finite)
    margin = 0.12 * (high - low) or abs(high) or 1.0
    return low - margin, high + margin
