"""Published numbers beside ours: only where rows of the same setting exist, with how far apart the two are."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from dlbench import stats
from dlbench.report.frames import Measured

REFERENCES = (
    "experiment",
    "claim",
    "metric",
    "where",
    "reference",
    "reference_sd",
    "reference_n",
    "reference_source",
    "note",
    "value",
    "low",
    "high",
    "n",
    "z",
    "z_covers",
    "run",
)


def references(everything: Sequence[Measured]) -> pd.DataFrame:
    """A row a published number, of an experiment or (``claim`` says which) of a claim.

    ``value, low, high, n`` are our mean over seeds with its t interval; n is 0 where no rows match. ``z`` is
    ``(ours − theirs) / sqrt(SE² + sd²/n)``; ``z_covers`` says whose noise is in the denominator: ``both``, or ``ours``
    where the publication gives no spread.
    """
    records = [
        {"experiment": one.name, "claim": claim, "run": one.run} | compare(one, reference)
        for one in everything
        for claim, reference in _declared(one.plan)
    ]
    return pd.DataFrame(records, columns=list(REFERENCES))


def _declared(plan: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for claim in plan["claims"]:
        if claim.get("reference"):
            yield claim["statement"], claim["reference"]
    for reference in plan["references"]:
        yield "", reference


def compare(one: Measured, reference: Mapping[str, Any]) -> dict[str, Any]:
    """Our measurements of what a reference states, and z."""
    rows = matching(one, reference["where"])
    metric = reference["metric"]
    ours = rows[metric].groupby(level=0).mean() if metric in one.plan["metrics"] else pd.Series(dtype=float)
    with np.errstate(invalid="ignore"):  # infinities have no interval
        estimate, low, high, n = stats.t_interval(ours.to_numpy())
    bounded = n >= 2
    z, covers = _z(ours.dropna().to_numpy(), reference)
    return {
        "metric": metric,
        "where": ", ".join(f"{key}={value}" for key, value in reference["where"].items()),
        "reference": float(reference["value"]),
        "reference_sd": reference.get("sd"),
        "reference_n": reference.get("n"),
        "reference_source": reference["source"],
        "note": reference.get("note", ""),
        "value": estimate,
        "low": low if bounded else math.nan,
        "high": high if bounded else math.nan,
        "n": n,
        "z": z,
        "z_covers": covers,
    }


def matching(one: Measured, where: Mapping[str, Any]) -> pd.DataFrame:
    """The rows of the published setting: its keys are columns of the rows, or parameters of the experiment."""
    rows, parameters = one.rows, one.plan["parameters"]
    keep = np.ones(len(rows), dtype=bool)
    for key, wanted in where.items():
        if key in rows.columns:
            keep &= (rows[key].astype(object) == wanted).to_numpy() if np.isscalar(wanted) else False
        else:
            keep &= key in parameters and _plain(parameters[key]) == _plain(wanted)
    return rows[keep]


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, list | tuple) else value


def _z(ours: Any, reference: Mapping[str, Any]) -> tuple[float, str]:
    if ours.size < 2 or not np.isfinite(ours).all():
        return math.nan, ""
    sd, n = reference.get("sd"), reference.get("n")
    known = sd is not None and bool(n)
    variance = ours.var(ddof=1) / ours.size + (float(sd) ** 2 / int(n) if sd is not None and n else 0.0)
    difference = float(ours.mean()) - float(reference["value"])
    rounding = 1e-12 * max(1.0, float(np.abs(ours).max()))
    if variance <= rounding**2:  # a deterministic subject on one split, no published spread: there is no scale for z
        return math.nan, ""
    return difference / math.sqrt(variance), "both" if known else "ours"
