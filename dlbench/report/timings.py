"""Timings by pytest-benchmark in a report: a table of their own, and rows of the long table beside the measurements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from dlbench import stats
from dlbench.report import typeset
from dlbench.store.benchmarks import TIME, Benchmarks, Item

TIMINGS = (
    "experiment",
    "version",
    "subject",
    "case",
    "metric",
    "unit",
    "direction",
    "median",
    "low",
    "high",
    "min",
    "iqr",
    "n",
    "cold_s",
    "bytes",
    "flops",
    "gb_per_s",
    "gflop_per_s",
    "verdict",
    "device",
    "run",
)
"""Columns of ``timings.csv``: ``median`` of ``n`` rounds with its distribution-free 95 % interval, in seconds a call;
``cold_s`` is the first call, or the median of what trials had to import and set up."""


def timings(named: Mapping[str, Benchmarks]) -> pd.DataFrame:
    """A row an item of these files, by what they are called."""
    records = [_timing(item) | {"run": run} for run, one in named.items() for item in one.items]
    return pd.DataFrame(records, columns=list(TIMINGS))


def joined(measurements: pd.DataFrame, named: Mapping[str, Benchmarks]) -> pd.DataFrame:
    """The long table with the items' median times, and the measurements of items that no run has measured.

    A time belongs to no seed. Without files the table stays as it is.
    """
    if not named:
        return measurements
    measured = set(measurements["experiment"])
    records = [
        record | {"run": run}
        for run, one in named.items()
        for item in one.items
        for record in [*([] if item.experiment in measured else _measured(item)), _as_measurement(item)]
    ]
    columns = [*measurements.columns[:3], *_settings(measurements, records), *measurements.columns[-7:]]
    rows = [{str(name): value for name, value in row.items()} for row in measurements.to_dict("records")] + records
    table = pd.DataFrame({name: pd.Series([row.get(name) for row in rows], dtype=object) for name in columns})
    return table.astype({"value": float})


def shown(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The table as the page prints it."""
    return [_shown(row) for row in table.to_dict("records")]


def _timing(item: Item) -> dict[str, Any]:
    median, low, high, n = _median(item)
    cold = item.info.get("cold_s")
    return {
        "experiment": item.experiment,
        "version": item.version,
        "subject": item.subject,
        "case": item.settings.get("case", ""),
        "metric": TIME,
        "unit": "s",
        "direction": "lower",
        "median": median,
        "low": low,
        "high": high,
        "min": item.stats.get("min"),
        "iqr": item.stats.get("iqr"),
        "n": n,
        "cold_s": pd.Series(cold, dtype=float).median() if cold is not None else None,
        **{name: item.info.get(name) for name in ("bytes", "flops", "gb_per_s", "gflop_per_s")},
        "verdict": item.info.get("verdict", ""),
        "device": item.device,
    }


def _median(item: Item) -> tuple[float, float, float, int]:
    """Of the rounds; where these were not saved, the saved median without an interval."""
    if item.data is not None:
        return stats.median_interval(item.data)
    return float(item.stats["median"]), float("nan"), float("nan"), int(item.stats["rounds"])


def _as_measurement(item: Item) -> dict[str, Any]:
    about = {"experiment": item.experiment, "version": item.version, "subject": item.subject, **item.settings}
    return about | {"metric": TIME, "value": _median(item)[0], "unit": "s", "direction": "lower"}


def _measured(item: Item) -> list[dict[str, Any]]:
    declared = item.metrics
    about = {"experiment": item.experiment, "version": item.version}
    return [
        about
        | {key: value for key, value in row.items() if key not in declared}
        | {"metric": name, "value": row[name], "unit": told.get("unit", ""), "direction": told.get("better") or ""}
        for row in item.rows
        for name, told in declared.items()
        if name in row
    ]


def _settings(measurements: pd.DataFrame, records: Sequence[Mapping[str, Any]]) -> list[str]:
    fixed = {*measurements.columns[:3], *measurements.columns[-7:]}
    names = [*measurements.columns, *(name for record in records for name in record)]
    return [str(name) for name in dict.fromkeys(names) if name not in fixed]


def _shown(row: Mapping[Any, Any]) -> dict[str, Any]:
    scale, unit = _scale(row["median"])
    estimate, interval = typeset.estimate(*(scale * row[name] for name in ("median", "low", "high")))
    return {
        "experiment": row["experiment"],
        "subject": row["subject"],
        "case": row["case"],
        "median": f"{estimate} {unit}",
        "exact": repr(row["median"]),
        "interval": interval,
        "cold": _time(row["cold_s"]),
        "cold_exact": "" if row["cold_s"] is None else repr(row["cold_s"]),
        "n": row["n"],
        "gb_per_s": _rate(row["gb_per_s"]),
        "gflop_per_s": _rate(row["gflop_per_s"]),
        "verdict": row["verdict"],
        "device": row["device"],
        "run": row["run"],
    }


def _rate(value: float | None) -> str:
    return "" if value is None or value != value else typeset.number(value, 3)


def _scale(seconds: float) -> tuple[float, str]:
    return next(((scale, unit) for scale, unit in ((1, "s"), (1e3, "ms")) if seconds * scale >= 1), (1e6, "µs"))


def _time(seconds: float | None) -> str:
    if seconds is None or seconds != seconds:
        return ""
    scale, unit = _scale(seconds)
    return f"{typeset.number(scale * seconds, 3)} {unit}"
