"""From long tables to series: the values that one metric of one subject took in one setting."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

KEY = ("experiment", "subject", "settings", "metric")
"""What two series must agree in to be a pair."""

SERIES = (*KEY, "version", "parameters", "device", "machine", "unit", "direction", "timed", "seeds", "values", "note")
"""Columns of a frame of series. ``settings`` and ``parameters`` are JSON with sorted keys; ``seeds`` is an integer
array, or None where values belong to rounds of one program; ``note`` says why there are no values."""

_MEASURED = ("experiment", "subject", "metric", "seed", "value")
_ABOUT = {
    "version": 0,
    "parameters": "{}",
    "device": "",
    "machine": "",
    "unit": "",
    "direction": "",
    "timed": False,
}
_BESIDE = {"run", "environment"}


def series(measurements: pd.DataFrame) -> pd.DataFrame:
    """The series of a long table whose rows are one metric of one measurement, as ``measurements.csv`` is.

    Args:
        measurements: columns experiment, subject, metric, seed, value; if they are there, version, parameters (text),
            device, machine, unit, direction ("higher", "lower" or nothing) and timed are used and run and environment
            left aside. Every other column is a setting, and an empty cell of it a setting that the row does not have.

    Raises:
        ValueError: a column is missing, or a seed has two rows in one series.
    """
    if missing := [name for name in _MEASURED if name not in measurements.columns]:
        raise ValueError(f"a table of measurements needs the columns {list(_MEASURED)}; it lacks {missing}")
    known = {*_MEASURED, *_ABOUT, *_BESIDE}
    settings = [str(name) for name in measurements.columns if name not in known]
    table = pd.DataFrame({name: measurements[name].tolist() for name in ("experiment", "subject", "metric")}, dtype=str)
    table["settings"] = [canonical(_present(row)) for row in _records(measurements, settings)]
    columns = {name: measurements[name].tolist() for name in _ABOUT if name in measurements.columns}
    seeds = measurements["seed"].to_numpy(dtype=np.int64)
    values = pd.to_numeric(measurements["value"], errors="coerce").to_numpy(dtype=float)
    records = []
    for key, places in table.groupby(list(KEY), sort=False).indices.items():
        if len(set(mine := seeds[places].tolist())) < len(mine):
            twice = next(seed for seed in mine if mine.count(seed) > 1)
            raise ValueError(f"{_named(key)}: {mine.count(twice)} rows for seed {twice}; one is expected")
        about = {name: columns[name][places[0]] if name in columns else default for name, default in _ABOUT.items()}
        order = places[np.argsort(seeds[places], kind="stable")]
        records.append(dict(zip(KEY, key, strict=True)) | about | {"seeds": seeds[order], "values": values[order]})
    return frame([record | {"note": ""} for record in records])


def frame(records: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """A frame of series from records with all of :data:`SERIES`."""
    made = pd.DataFrame({name: _column([record[name] for record in records]) for name in SERIES})
    made["direction"] = [text if text in ("higher", "lower") else "" for text in made["direction"]]
    made["timed"] = [str(value).lower() == "true" for value in made["timed"]]
    return made


def canonical(values: Mapping[str, Any]) -> str:
    """Values as JSON that is equal where they are: keys sorted, 1 and 1.0 the same, lists for tuples."""
    return json.dumps({str(key): _plain(value) for key, value in values.items()}, sort_keys=True, default=str)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return {str(key): _plain(item) for key, item in value.items()} if isinstance(value, dict) else value


def _records(table: pd.DataFrame, names: Sequence[str]) -> list[dict[str, Any]]:
    columns = [table[name].tolist() for name in names]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)] if names else [{}] * len(table)


def _present(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value is not None and value == value and value != ""}


def _named(key: Sequence[Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in zip(KEY, key, strict=True) if value != "{}")


def _column(values: Sequence[Any]) -> Any:
    column = np.empty(len(values), dtype=object)
    for place, value in enumerate(values):  # not all at once: numpy would make one array of equally long ones
        column[place] = value
    return column
