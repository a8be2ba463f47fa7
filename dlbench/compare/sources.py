"""What ``dlbench compare`` is given: a run folder, a JSON file of pytest-benchmark's, or a folder with both."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dlbench import store
from dlbench.compare.series import KEY, canonical, frame, series
from dlbench.errors import RunFolderError, UsageError
from dlbench.report import frames
from dlbench.report.frames import Measured
from dlbench.store.benchmarks import TIME, Item, is_benchmarks, read_benchmarks


@dataclass(frozen=True)
class Side:
    """One of the two that are compared.

    Attributes:
        label: what it was given as.
        series: its frame of series.
        facts: the environment that its numbers come from, flat; a fact with several values has them all.
        problems: what is damaged or has no measurements, a line each.
    """

    label: str
    series: pd.DataFrame
    facts: Mapping[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def read(path: Path | str) -> Side:
    """Read a side; UsageError, in one line, where there is nothing to compare.

    A folder may hold a run, runs in folders of their own, and files of pytest-benchmark's, all at its top. Where a
    file repeats an experiment that a run has, the run's measurements count and the file's timings.
    """
    path = Path(path)
    folders, files = _found(path)
    runs = {str(folder): store.read(folder) for folder in folders}
    everything = frames.measured(runs)
    benchmarks = [read_benchmarks(file) for file in files]
    items = [item for one in benchmarks for item in one.items]
    damaged = [problem for run in runs.values() for problem in run.problems]
    return Side(
        label=str(path),
        series=_joined(path, everything, items),
        facts=_facts(everything, items),
        problems=damaged + [f"{one.name}: {one.missing}" for one in everything if one.missing],
    )


def _found(path: Path) -> tuple[list[Path], list[Path]]:
    """The run folders and the files of pytest-benchmark's at a path."""
    if path.is_file():
        return [], [path]
    if not path.is_dir():
        raise RunFolderError(f"there is no {path}; give a run folder, or the JSON file of pytest-benchmark")
    inside = sorted(path.iterdir())
    runs = [path] if (path / "plan.json").is_file() else [one for one in inside if (one / "plan.json").is_file()]
    files = [one for one in inside if one.suffix == ".json" and one.name != "plan.json" and is_benchmarks(one)]
    if not runs and not files:
        raise RunFolderError(
            f"{path} holds neither a run (plan.json) nor a JSON file of pytest-benchmark; `dlbench run --out {path}` "
            "makes the one, `pytest --benchmark-json=FILE` the other"
        )
    return runs, files


def _of_run(one: Measured) -> pd.DataFrame:
    """What a run measured of one experiment."""
    table = frames.measurements([one])
    timed = {name for name, metric in one.plan["metrics"].items() if metric.get("timed")}
    return table.assign(
        parameters=canonical(one.plan.get("parameters", {})),
        device=_kind(one.plan.get("device", "cpu")),
        machine=", ".join(dict.fromkeys(_machine(facts) for facts in one.facts())),
        timed=[name in timed for name in table["metric"]],
    )


def _of_item(item: Item) -> pd.DataFrame:
    """The measurements that an item keeps of its trials, as a long table."""
    declared = item.metrics
    records = []
    for row in item.rows:
        settings = {key: value for key, value in row.items() if key not in declared}
        for name, told in declared.items():
            if name in row:
                about = {"unit": told.get("unit", ""), "direction": told.get("better"), "timed": told.get("timed")}
                records.append(settings | {"metric": name, "value": row[name], **about})
    return pd.DataFrame(records).assign(experiment=item.experiment, **_about(item)) if records else pd.DataFrame()


def _timing(item: Item) -> pd.DataFrame:
    """The rounds of an item as a series."""
    record = {
        "experiment": item.experiment,
        "subject": item.subject,
        "settings": canonical(item.settings),
        "metric": TIME,
        "unit": "s",
        "direction": "lower",
        "timed": True,
        "seeds": None,
        "values": np.asarray(item.data or [], dtype=float),
        "note": "" if item.data is not None else "its rounds were not saved; give --benchmark-save-data",
    }
    return frame([record | _about(item)])


def _about(item: Item) -> dict[str, Any]:
    return {
        "version": item.version,
        "parameters": canonical(item.parameters),
        "device": _kind(item.device),
        "machine": _machine(item.environment),
    }


def _joined(path: Path, everything: Sequence[Measured], items: Sequence[Item]) -> pd.DataFrame:
    """All series. What a file repeats of a run is left out; nothing else may be there twice."""
    by_runs = [series(_of_run(one)) for one in everything if one.ok]
    by_files = [series(table) for item in items if len(table := _of_item(item))]
    timings = [_timing(item) for item in items]
    key = list(KEY)
    measured = set(zip(*(pd.concat(by_runs)[name] for name in key), strict=True)) if by_runs else set()
    new = [part[[one not in measured for one in zip(*(part[name] for name in key), strict=True)]] for part in by_files]
    parts = [part for part in (*by_runs, *new, *timings) if len(part)]
    joined = pd.concat(parts, ignore_index=True) if parts else frame([])
    if len(twice := joined[joined.duplicated(key)]):
        first = twice.iloc[0]
        raise UsageError(f"{path} has {first.metric} of {first.experiment} {first.subject} twice; give one of the two")
    return joined


def _facts(everything: Sequence[Measured], items: Sequence[Item]) -> dict[str, str]:
    told = [facts for one in everything for facts in one.facts()] + [item.environment for item in items]
    values: dict[str, dict[str, None]] = {}
    for facts in told:
        for name, value in _flat(facts):
            values.setdefault(name, {})[value] = None
    return {name: " and ".join(distinct) for name, distinct in values.items()}


def _flat(facts: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    flat: list[tuple[str, str]] = []
    for key, value in facts.items():
        if key == "schema" and not prefix:
            continue
        if isinstance(value, Mapping):
            flat += _flat(value, "" if key in ("packages", "code") else f"{prefix}{key} ".replace("  ", " "))
        elif value not in (None, "", []):
            flat.append((f"{prefix}{key}", value if isinstance(value, str) else json.dumps(value, default=str)))
    return flat


def _machine(facts: Mapping[str, Any]) -> str:
    """What decides how fast a program is: the GPUs, or the processor and the threads that were used."""
    gpus = facts.get("gpu") or []
    names = [str(gpu.get("name", "")) for gpu in gpus if isinstance(gpu, Mapping)]
    if names:
        return ", ".join(names)
    threads = f", {facts['threads']} threads" if facts.get("threads") else ""
    return f"{facts.get('cpu', '')}{threads}"


def _kind(device: Any) -> str:
    return str(device).partition(":")[0]
