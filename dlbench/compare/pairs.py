"""Series of two sides, a pair each, and the verdict on every pair.

Metrics are paired on seeds: mean difference with its Student-t interval, the t test that belongs to it, and the exact
sign-flip p beside. What is read off a clock (timings, and metrics that are declared ``timed``) is not paired: medians,
a distribution-free interval of their difference, and Mann and Whitney's test. A pair is worse or better where two
things agree: the test, after Holm's correction over all pairs that were tested, says that there is a difference, and
the difference reaches the metric's threshold. It is equivalent where it is shown to be smaller than the threshold, or
where all values are equal; and undecided otherwise.

The t test is what Holm adjusts, as on leaderboards, because the sign-flip p of six seeds cannot be below 0.031, so that
of two pairs none could ever be told apart.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dlbench import stats
from dlbench.compare.series import KEY
from dlbench.compare.thresholds import Threshold, find

VERDICTS = ("worse", "better", "undecided", "equivalent", "not comparable")

PAIRS = (
    *KEY,
    "unit",
    "direction",
    "timed",
    "verdict",
    "reason",
    "a",
    "b",
    "difference",
    "low",
    "high",
    "relative",
    "threshold",
    "n_a",
    "n_b",
    "n",
    "test",
    "p",
    "p_holm",
    "p_sign_flip",
    "decidable",
)
"""Columns of a comparison. ``a`` and ``b`` are means over the ``n`` shared seeds, or medians of ``n_a`` and ``n_b``
timings; ``difference`` is b - a with its 95 % interval, in the metric's unit, as is ``threshold``; ``relative`` is the
difference as a share of ``a``; ``p`` is that of the ``test``, before Holm's correction; ``decidable`` tells whether
there were seeds or rounds enough for any verdict."""

ASPECTS = ("version", "parameters", "device")
"""What two series must agree in to be comparable; any of these may be waived."""

_ALPHA = 1 - stats.LEVEL


@dataclass(frozen=True)
class _Found:
    """What was found of a pair, before Holm's correction."""

    reason: str = ""
    a: float = math.nan
    b: float = math.nan
    low: float = math.nan
    high: float = math.nan
    threshold: float = math.nan
    n_a: int = 0
    n_b: int = 0
    n: int = 0
    test: str = ""
    p: float = math.nan
    p_sign_flip: float = math.nan
    comparable: bool = False
    decidable: bool = False
    equivalent: bool = False
    agrees: bool = True
    note: str = ""

    @property
    def difference(self) -> float:
        return self.b - self.a if self.a != self.b else 0.0  # two equal infinities do not differ


def compare(
    a: pd.DataFrame,
    b: pd.DataFrame,
    *,
    thresholds: Mapping[str, Threshold] | None = None,
    despite: Collection[str] = (),
) -> pd.DataFrame:
    """Compare two frames of series, as :func:`dlbench.compare.series` makes them.

    Args:
        a: what was.
        b: what is now.
        thresholds: metric, or ``experiment.metric`` → how large a difference must be to count. Without one, any size
            does, but for timings, which need :data:`dlbench.compare.TIMING`.
        despite: those of :data:`ASPECTS` in which pairs may differ; ``device`` stands for the machine of timings too.

    Returns:
        A frame with the columns :data:`PAIRS`, a row a pair, verdicts in the order of :data:`VERDICTS`.
    """
    before, after = _by_key(a), _by_key(b)
    keys = list(dict.fromkeys([*before, *after]))
    found = []
    for key in keys:
        timed = any(bool(side[key]["timed"]) for side in (before, after) if key in side)
        limit = find(thresholds or {}, str(key[0]), str(key[3]), timed=timed)
        found.append(_pair(before.get(key), after.get(key), limit, despite))
    adjusted = stats.holm([one.p for one in found])
    tests = sum(not math.isnan(one.p) for one in found)
    records = [
        _record(key, after.get(key) or before[key], one, p_holm, tests)
        for key, one, p_holm in zip(keys, found, adjusted, strict=True)
    ]
    made = pd.DataFrame(records, columns=list(PAIRS))
    made["verdict"] = pd.Categorical(made["verdict"], categories=list(VERDICTS), ordered=True)
    made = made.sort_values("verdict", kind="stable", ignore_index=True)
    made["verdict"] = made["verdict"].astype(str)
    return made


def nothing_decidable(pairs: pd.DataFrame) -> bool:
    """Whether no pair could have got a verdict: nothing was there twice, or too few seeds and rounds of it."""
    return not bool(pairs["decidable"].any())


# ------------------------------------------------------------------------------------------------------------- a pair


def _by_key(table: pd.DataFrame) -> dict[tuple[str, ...], dict[str, Any]]:
    columns = {str(name): table[name].tolist() for name in table.columns}
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return {tuple(str(row[name]) for name in KEY): row for row in rows}


def _pair(
    a: Mapping[str, Any] | None, b: Mapping[str, Any] | None, limit: Threshold, despite: Collection[str]
) -> _Found:
    if a is None or b is None:
        return _Found(f"only in {'B' if a is None else 'A'}")
    if reason := _incomparable(a, b, despite):
        return _Found(reason)
    if a["timed"] or b["timed"]:
        return _unpaired(_numbers(a["values"]), _numbers(b["values"]), limit)
    return _paired(a, b, limit)


def _incomparable(a: Mapping[str, Any], b: Mapping[str, Any], despite: Collection[str]) -> str:
    """Why two series cannot be compared; nothing where they can."""
    for side, one in (("A", a), ("B", b)):
        if one["note"]:
            return f"{side}: {one['note']}"
    if a["unit"] != b["unit"]:
        return f"other unit: {a['unit'] or 'none'} in A, {b['unit'] or 'none'} in B"
    if int(a["version"]) != int(b["version"]) and "version" not in despite:
        return f"other version: {a['version']} in A, {b['version']} in B"
    if a["parameters"] != b["parameters"] and "parameters" not in despite:
        return f"other parameters: {_first_difference(a['parameters'], b['parameters'])}"
    if "device" in despite:
        return ""
    if a["device"] != b["device"]:
        return f"other device: {a['device'] or 'unknown'} in A, {b['device'] or 'unknown'} in B"
    if (a["timed"] or b["timed"]) and a["machine"] != b["machine"]:
        return f"other machine: {a['machine'] or 'unknown'} in A, {b['machine'] or 'unknown'} in B"
    return ""


def _first_difference(a: str, b: str) -> str:
    try:
        before, after = json.loads(a), json.loads(b)
        names = [name for name in sorted({*before, *after}) if before.get(name) != after.get(name)]
    except (TypeError, ValueError, AttributeError):
        return f"{a} in A, {b} in B"
    more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
    return f"{names[0]} is {before.get(names[0], 'not there')} in A, {after.get(names[0], 'not there')} in B{more}"


def _paired(a: Mapping[str, Any], b: Mapping[str, Any], limit: Threshold) -> _Found:
    """A metric over the seeds that both sides have."""
    _, at_a, at_b = np.intersect1d(a["seeds"], b["seeds"], return_indices=True)
    x, y = _numbers(a["values"])[at_a], _numbers(b["values"])[at_b]
    scored = ~(np.isnan(x) | np.isnan(y))
    x, y = x[scored], y[scored]
    note = _missing(len(a["seeds"]), len(b["seeds"]), len(at_a), int((~scored).sum()))
    counts: dict[str, Any] = {"n_a": len(a["seeds"]), "n_b": len(b["seeds"]), "n": len(x)}
    if len(x) < 2:
        word = "seed" if len(x) == 1 else "seeds"
        return _Found(f"{len(x) or 'no'} {word} scored on both sides" + (f"; {note}" if note else ""), **counts)
    with np.errstate(invalid="ignore"):
        difference = np.where(x == y, 0.0, y - x)
        before, after = float(x.mean()), float(y.mean())
    _, low, high, _ = stats.t_interval(difference)
    threshold = limit.of(before)
    equal = not difference.any()
    enough = len(x) >= stats.MIN_SEEDS
    few = f"equal on all {len(x)} shared seeds; " if equal else f"{len(x)} shared seeds; "
    return _Found(
        reason="" if enough else f"{few}a verdict needs at least {stats.MIN_SEEDS}",
        a=before,
        b=after,
        low=low,
        high=high,
        threshold=threshold,
        test="paired t",
        # a pair that is equal throughout has nothing to test, and takes nothing from the others
        p=math.nan if equal or not enough else _t_p(difference),
        p_sign_flip=stats.sign_flip_p(difference) if enough and np.isfinite(difference).all() else math.nan,
        comparable=True,
        decidable=enough,
        equivalent=equal or (0 < threshold < math.inf and stats.tost(difference, threshold) < _ALPHA),
        note="equal on all seeds" + (f"; {note}" if note else "") if equal and enough else note,
        **counts,
    )


def _missing(n_a: int, n_b: int, shared: int, unscored: int) -> str:
    parts = [f"{count} seeds only in {side}" for count, side in ((n_a - shared, "A"), (n_b - shared, "B")) if count]
    return ", ".join([*parts, *([f"{unscored} unscored"] if unscored else [])])


def _t_p(difference: NDArray[np.float64]) -> float:
    """Two-sided p of the paired t test; NaN where a difference is infinite."""
    from scipy import special

    n = difference.size
    if not np.isfinite(difference).all():
        return math.nan
    mean, sem = float(difference.mean()), float(difference.std(ddof=1)) / math.sqrt(n)
    if sem == 0:
        return 0.0 if mean else 1.0
    return float(2 * special.stdtr(n - 1, -abs(mean) / sem))


def _unpaired(x: NDArray[np.float64], y: NDArray[np.float64], limit: Threshold) -> _Found:
    """What is read off a clock: two samples."""
    x, y = x[~np.isnan(x)], y[~np.isnan(y)]
    counts: dict[str, Any] = {"n_a": x.size, "n_b": y.size, "n": min(x.size, y.size)}
    if not (x.size and y.size):
        return _Found(f"no value in {'B' if x.size else 'A'}", **counts)
    # both intervals hold at 97.5 %, so that both do together at 95 %
    level = 1 - _ALPHA / 2
    before, after = stats.median_interval(x, level), stats.median_interval(y, level)
    low, high = after.low - before.high, after.high - before.low
    threshold = limit.of(before.estimate)
    least = 2 / math.comb(x.size + y.size, x.size) if x.size + y.size < 64 else 0.0
    decidable = least < _ALPHA
    p, rises = _mann_whitney(x, y) if decidable else (math.nan, 0.0)
    difference = after.estimate - before.estimate
    return _Found(
        reason="" if decidable else f"{x.size} and {y.size} values; no test of so few can tell (p ≥ {least:.2g})",
        a=before.estimate,
        b=after.estimate,
        low=low,
        high=high,
        threshold=threshold,
        test="Mann-Whitney",
        p=p,
        comparable=True,
        decidable=decidable,
        equivalent=-threshold < low and high < threshold,
        agrees=rises * difference >= 0,
        **counts,
    )


def _mann_whitney(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float]:
    """Two-sided p, and whether y tends to be larger (positive) or smaller than x."""
    from scipy.stats import mannwhitneyu

    if x.min() == x.max() == y.min() == y.max():
        return 1.0, 0.0
    u, p = mannwhitneyu(y, x, alternative="two-sided")
    return float(p), float(u - x.size * y.size / 2)


def _numbers(values: Any) -> NDArray[np.float64]:
    return np.asarray(values, dtype=float)


# ------------------------------------------------------------------------------------------------------------ verdicts


def _record(key: Sequence[str], about: Mapping[str, Any], found: _Found, p_holm: float, tests: int) -> dict[str, Any]:
    direction = str(about["direction"])
    verdict, reason = _verdict(found, direction, p_holm, tests)
    told = "; ".join(part for part in (reason, found.note) if part)
    relative = found.difference / abs(found.a) if found.a else math.nan
    return (
        dict(zip(KEY, key, strict=True))
        | {name: getattr(found, name) for name in PAIRS if hasattr(found, name)}
        | {"unit": about["unit"], "direction": direction, "timed": bool(about["timed"])}
        | {"verdict": verdict, "reason": told, "relative": relative, "p_holm": p_holm}
    )


def _verdict(found: _Found, direction: str, p_holm: float, tests: int) -> tuple[str, str]:
    """(verdict, why it is no other)."""
    if not found.comparable:
        return "not comparable", found.reason
    if not found.decidable:
        return "undecided", found.reason
    if found.equivalent:
        return "equivalent", ""
    if math.isnan(p_holm):
        return "undecided", "values that are not finite"
    if p_holm >= _ALPHA:
        several = f", Holm over {tests} pairs" if tests > 1 else ""
        return "undecided", f"cannot be told from chance (p = {p_holm:.2g}{several})"
    if abs(found.difference) < found.threshold or not found.difference or not found.agrees:
        return "undecided", f"a difference, but not shown to be above or below the threshold {found.threshold:.3g}"
    if not direction:
        return "undecided", "it differs, and neither way is declared better"
    gained = found.difference > 0 if direction == "higher" else found.difference < 0
    return ("better" if gained else "worse"), ""
