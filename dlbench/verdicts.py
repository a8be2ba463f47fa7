"""The vocabulary of a claim's rule: from one value a seed to a verdict.

A rule sees a pandas frame with one row a measurement, metrics and settings as columns, indexed by seed. Picking a
column of filtered rows gives a series indexed by seed, and the functions here turn such a series into a
:class:`Verdict`::

    above(rows[rows.subject == "gcn"].accuracy, 0.7)                   # its mean is above 0.7
    above(paired(rows, "accuracy", "gcn", "mlp"), 0.10)                # gcn beats mlp by more than 10 points
    every(rows, "target", lambda r: above(r.rmse_ratio, 3.0))          # the same, for each target
    all_of(above(...), below(...))                                     # several criteria at once

A verdict is ``holds`` when the interval lies wholly on the claimed side of the threshold, ``does not hold`` when it
lies wholly on the other, ``inconclusive`` otherwise. The unit is the seed: a series with two rows for one seed is an
error in the rule, because it would count the same evidence twice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pandas as pd

Outcome = Literal["holds", "does not hold", "inconclusive", "invalid"]


@dataclass(frozen=True)
class Verdict:
    """What a rule decides, with the evidence in the unit of the measured quantity.

    ``criterion`` is what was tested, in words; ``p`` is the exact two-sided sign-flip p against the threshold (the
    TOST p for :func:`equivalent`); ``reason`` says what kept a verdict from being reached.
    """

    outcome: Outcome
    estimate: float = math.nan
    low: float = math.nan
    high: float = math.nan
    n: int = 0
    p: float = math.nan
    criterion: str = ""
    reason: str = ""


def above(values: pd.Series, threshold: float) -> Verdict:
    """The mean of values, one a seed, is above the threshold."""
    return _one_sided(values, threshold, sign=+1)


def below(values: pd.Series, threshold: float) -> Verdict:
    """The mean of values, one a seed, is below the threshold."""
    return _one_sided(values, threshold, sign=-1)


def within(values: pd.Series, low: float, high: float) -> Verdict:
    """The whole interval of the mean of values, one a seed, lies between low and high."""
    if not low < high:
        raise ValueError(f"within: low is {low:g} and high is {high:g}; low must be smaller")
    return all_of(above(values, low), below(values, high))


def equivalent(values: pd.Series, margin: float) -> Verdict:
    """The mean of values (differences, one a seed) is zero but for less than the margin: two one-sided t tests.

    It holds when TOST rejects at 5 % (the 90 % interval lies within the margins), does not hold when the 95 %
    interval lies wholly outside.
    """
    from dlbench import stats

    x = one_per_seed(values)
    interval, p = stats.t_interval(x), stats.tost(x, margin)
    outside = interval.low > margin or interval.high < -margin
    outcome: Outcome = "holds" if p < 1 - stats.LEVEL else "does not hold" if outside else "inconclusive"
    return _enough(Verdict(outcome, *interval, p=p, criterion=f"within ±{margin:g}"))


def contains(values: pd.Series, value: float, *, margin: float) -> Verdict:
    """The mean of values equals a known value (chance, say) but for less than the margin: TOST around it.

    An interval that merely covers the value would reward noise; equivalence asks for evidence of closeness.
    """
    x = one_per_seed(values)
    verdict = equivalent(x - value, margin)
    return replace(
        verdict,
        estimate=verdict.estimate + value,
        low=verdict.low + value,
        high=verdict.high + value,
        criterion=f"{value:g} ± {margin:g}",
    )


def all_of(*verdicts: Verdict) -> Verdict:
    """Every criterion at once (intersection-union: no correction for their number).

    The estimate, interval and p shown are those of the criterion that decided: the first with the weakest outcome. Of
    criteria that all hold, p is the largest.
    """
    if not verdicts:
        return Verdict("inconclusive", reason="no criterion had any measurement")
    weakest = min(verdicts, key=lambda v: _STRENGTH[v.outcome])
    p_values = [v.p for v in verdicts if not math.isnan(v.p)]
    p = max(p_values) if weakest.outcome == "holds" and p_values else weakest.p
    return replace(weakest, p=p, n=min(v.n for v in verdicts))


def every(rows: pd.DataFrame, columns: str | Sequence[str], rule: Callable[[pd.DataFrame], Verdict]) -> Verdict:
    """The rule for the rows of each value of a column (each combination, of several), all of them.

    See :func:`all_of`; the criterion says which value decided.
    """
    names = [columns] if isinstance(columns, str) else list(columns)
    verdicts = []
    for values, group in rows.groupby(names):
        verdict = rule(group)
        where = ", ".join(f"{name}={value}" for name, value in zip(names, values, strict=True))
        verdicts.append(replace(verdict, criterion=f"{verdict.criterion} at {where}"))
    return all_of(*verdicts)


# ------------------------------------------------------------------------------------- from rows to one value a seed


def where(rows: pd.DataFrame, **settings: Any) -> pd.DataFrame:
    """The rows with these values: ``where(rows, subject="softmax", severity=0)``."""
    for column, value in settings.items():
        rows = rows[rows[column] == value]
    return rows


def paired(rows: pd.DataFrame, metric: str, a: str, b: str, *, by: str = "subject") -> pd.Series:
    """Difference a − b of a metric within each seed, as a series indexed by seed.

    ``a`` and ``b`` are values of the column ``by``. Seeds that lack either are left out. Each must have one row a
    seed: filter the other settings first.
    """
    first = one_per_seed(rows.loc[rows[by] == a, metric], f"{metric} of {by}={a}")
    second = one_per_seed(rows.loc[rows[by] == b, metric], f"{metric} of {by}={b}")
    return (first - second).dropna()


def per_seed(rows: pd.DataFrame, function: Callable[[pd.DataFrame], float]) -> pd.Series:
    """One value a seed, computed from that seed's rows: a slope, a ratio, a maximum."""
    import pandas as pd

    groups = {seed: float(function(group)) for seed, group in rows.groupby(level=0)}
    return pd.Series(groups, dtype=float)


def slope(rows: pd.DataFrame, x: str, y: str) -> pd.Series:
    """Least-squares slope of column y on column x within each seed."""
    from dlbench import stats

    return per_seed(rows, lambda group: stats.slope(group[x], group[y]))


def rank_correlation(rows: pd.DataFrame, x: str, y: str) -> pd.Series:
    """Spearman's rank correlation of columns x and y within each seed: ±1 where y rises or falls all the way."""
    import warnings

    from scipy.stats import spearmanr

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a constant column, whose correlation is NaN
        return per_seed(rows, lambda group: spearmanr(group[x], group[y], nan_policy="omit").statistic)


def one_per_seed(values: pd.Series, what: str = "the series") -> pd.Series:
    """The values, sorted by seed, after making sure that no seed appears twice."""
    if values.index.has_duplicates:
        seed = values.index[values.index.duplicated()][0]
        count = int((values.index == seed).sum())
        raise ValueError(
            f"{what} has {count} rows for seed {seed}; a verdict needs one value a seed: "
            "filter the settings, or reduce with per_seed"
        )
    return values.sort_index().astype(float)


_STRENGTH: dict[Outcome, int] = {"invalid": 0, "does not hold": 1, "inconclusive": 2, "holds": 3}


def _one_sided(values: pd.Series, threshold: float, sign: int) -> Verdict:
    from dlbench import stats

    x = one_per_seed(values)
    interval = stats.t_interval(x)
    near, far = (interval.low, interval.high) if sign > 0 else (-interval.high, -interval.low)
    limit = sign * threshold
    outcome: Outcome = "holds" if near > limit else "does not hold" if far < limit else "inconclusive"
    criterion = f"{'>' if sign > 0 else '<'} {threshold:g}"
    return _enough(Verdict(outcome, *interval, p=stats.sign_flip_p(x - threshold), criterion=criterion))


def _enough(verdict: Verdict) -> Verdict:
    """Below the least number of seeds nothing is decided."""
    from dlbench import stats

    if verdict.n >= stats.MIN_SEEDS:
        return verdict
    reason = f"{verdict.n} seeds; a verdict needs at least {stats.MIN_SEEDS}"
    return replace(verdict, outcome="inconclusive", reason=reason)


def judged(verdict: Any, statement: str) -> Verdict:
    """A rule's return value, which must be a verdict."""
    if not isinstance(verdict, Verdict):
        raise TypeError(f"the rule of {statement!r} returned {type(verdict).__name__}, not a Verdict")
    return verdict
