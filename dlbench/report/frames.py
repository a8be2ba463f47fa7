"""From a run's results to pandas frames: what was measured of each experiment, the long table, the trials."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from dlbench.experiment import PREDICTIONS

if TYPE_CHECKING:
    from dlbench.store import Run

MEASUREMENTS = ("experiment", "version", "subject")
"""Columns of the long table before the settings; :data:`AFTER_SETTINGS` follow them."""

AFTER_SETTINGS = ("seed", "metric", "value", "unit", "direction", "run", "environment")

TRIALS = (
    "experiment",
    "key",
    "seed",
    "status",
    "reason",
    "attempt",
    "wall_s",
    "peak_rss_bytes",
    "cpu_s",
    "version",
    "preset",
    "device",
    "finished",
    "run",
    "environment",
)


STATUSES = {
    "error": "failed",
    "timeout": "timed out",
    "out_of_memory": "ran out of memory",
    "crashed": "crashed",
    "invalid_result": "gave no valid result",
    "skipped": "skipped",
}


@dataclass(frozen=True)
class Measured:
    """What one run measured of one experiment.

    Attributes:
        run: what the run is called, unique among the runs of a report.
        name: the experiment's.
        plan: its entry in the run's plan.
        results: the latest result of each of its trials, failed ones included, by seed.
        environments: digest → facts.
    """

    run: str
    name: str
    plan: Mapping[str, Any]
    results: Sequence[Mapping[str, Any]]
    environments: Mapping[str, Mapping[str, Any]]

    @cached_property
    def ok(self) -> list[Mapping[str, Any]]:
        """The results that hold measurements."""
        return [result for result in self.results if result["status"] == "ok"]

    @cached_property
    def metrics(self) -> list[str]:
        """Declared metrics, the main one first."""
        declared: Mapping[str, Any] = self.plan["metrics"]
        return sorted(declared, key=lambda name: not declared[name].get("main"))

    @property
    def main(self) -> str | None:
        """The metric that ranks, or None where the plan declares none."""
        return next((name for name in self.metrics if self.plan["metrics"][name].get("main")), None)

    @cached_property
    def raw(self) -> list[Mapping[str, Any]]:
        """The measurements as trials gave them, one for each of :attr:`rows`."""
        return [row for result in self.ok for row in result["rows"]]

    @cached_property
    def settings(self) -> list[str]:
        """Columns that are neither subject nor metric, in order of first appearance."""
        keys = dict.fromkeys(key for row in self.raw for key in row)
        return [key for key in keys if key != "subject" and key not in self.plan["metrics"]]

    @cached_property
    def rows(self) -> pd.DataFrame:
        """What rules and plots see: a row a measurement, indexed by seed; every declared metric is a column."""
        counts = [len(result["rows"]) for result in self.ok]
        seeds = np.repeat(np.array([result["seed"] for result in self.ok], dtype=np.int64), counts)
        columns: dict[str, Any] = {"subject": pd.Series([str(row.get("subject", "")) for row in self.raw], dtype=str)}
        columns |= {name: pd.Series([row.get(name) for row in self.raw]) for name in self.settings}
        columns |= {name: _numbers([row.get(name) for row in self.raw]) for name in self.plan["metrics"]}
        return pd.DataFrame(columns | {"seed": seeds}).set_index(pd.Index(seeds))

    @property
    def planned(self) -> list[int]:
        """The seeds that were asked for."""
        return [int(seed) for seed in self.plan["seeds"]]

    @property
    def failed(self) -> list[Mapping[str, Any]]:
        """Results that hold no measurements."""
        return [result for result in self.results if result["status"] != "ok"]

    @cached_property
    def missing(self) -> str:
        """What became of the trials that have no measurements, in words: ``2 timed out, 1 did not run``."""
        return in_words(Counter(result["status"] for result in self.failed), len(self.planned) - len(self.results))

    def facts(self) -> list[Mapping[str, Any]]:
        """The environments that its measurements come from."""
        digests = dict.fromkeys(result["environment"] for result in self.results)
        return [self.environments[digest] for digest in digests if digest in self.environments]


def in_words(counts: Mapping[str, int], pending: int = 0) -> str:
    """How often each status came, and how many trials have none: ``2 timed out, 1 did not run``."""
    parts = [f"{counts[status]} {words}" for status, words in STATUSES.items() if counts.get(status)]
    parts += [f"{count} {status}" for status, count in sorted(counts.items()) if status not in STATUSES]
    return ", ".join([*parts, f"{pending} did not run"] if pending > 0 else parts)


def measured(runs: Mapping[str, Run]) -> list[Measured]:
    """Everything that runs (by their names) have measured, in the order of their plans."""
    everything = []
    for label, run in runs.items():
        by_experiment: dict[str, list[Mapping[str, Any]]] = {name: [] for name in run.plan["experiments"]}
        for result in run.results:
            by_experiment.setdefault(result["experiment"], []).append(result)
        for name, plan in run.plan["experiments"].items():
            results = sorted(by_experiment[name], key=lambda result: int(result["seed"]))
            everything.append(Measured(label, name, plan, results, run.environments))
    return everything


def artefacts(one: Measured, run: Run, problems: list[str]) -> dict[int, dict[str, np.ndarray]]:
    """What an experiment's trials kept for pictures, by seed and name.

    Args:
        one: what was measured of it.
        run: where that was measured.
        problems: gets a line for each that cannot be read.
    """
    kept: dict[int, dict[str, np.ndarray]] = {}
    for result in one.ok:
        for name, file in (result.get("artefacts") or {}).items():
            if name.startswith(PREDICTIONS):  # which are for those who verify
                continue
            try:
                kept.setdefault(int(result["seed"]), {})[name] = run.artefact(file)
            except (OSError, ValueError) as error:
                problems.append(f"{one.name}, seed {result['seed']}: artefact {name} cannot be read: {error}")
    return kept


def measurements(everything: Sequence[Measured]) -> pd.DataFrame:
    """The long table: a row is one metric of one measurement.

    Settings keep the Python values that trials gave them (an integer stays one where other experiments lack the
    column). A metric that a measurement does not have gets no row; one that is NaN, which means unscored, does.
    """
    frames = [_long(one) for one in everything if one.ok]
    settings = list(dict.fromkeys(name for one in everything for name in one.settings))
    columns = [*MEASUREMENTS, *settings, *AFTER_SETTINGS]
    if not frames:
        return pd.DataFrame(columns=columns)
    return pd.concat(frames, ignore_index=True).reindex(columns=columns)


def _long(one: Measured) -> pd.DataFrame:
    names, declared = list(one.plan["metrics"]), one.plan["metrics"]
    present = np.array([[name in row for name in names] for row in one.raw], dtype=bool).reshape(-1, len(names))
    values = one.rows[names].to_numpy(dtype=float)
    row, metric = np.nonzero(present)  # row-major: the metrics of a measurement stand together
    counts = [len(result["rows"]) for result in one.ok]
    environments = np.repeat(_objects([result["environment"] for result in one.ok]), counts)
    columns: dict[str, Any] = {"experiment": one.name, "version": int(one.plan["version"])}
    columns |= {name: _objects([r.get(name) for r in one.raw])[row] for name in ("subject", *one.settings)}
    columns |= {
        "seed": one.rows.index.to_numpy()[row],
        "metric": _objects(names)[metric],
        "value": values[row, metric],
        "unit": _objects([declared[name].get("unit", "") for name in names])[metric],
        "direction": _objects([declared[name].get("better") or "" for name in names])[metric],
        "run": one.run,
        "environment": environments[row],
    }
    return pd.DataFrame(columns, index=np.arange(len(row)))


def trials(everything: Sequence[Measured]) -> pd.DataFrame:
    """A row a trial that has a result, whatever its status."""
    records = [{**result, "experiment": one.name, "run": one.run} for one in everything for result in one.results]
    return pd.DataFrame({name: _objects([record.get(name) for record in records]) for name in TRIALS})


def _objects(values: Sequence[Any]) -> Any:
    """An object array of Python values as they are: numpy would make all of them floats where one is."""
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _numbers(values: Sequence[Any]) -> pd.Series[float]:
    """Metric values as float64; what is absent, or is no number, is NaN."""
    return pd.Series(pd.to_numeric(pd.Series(values, dtype=object), errors="coerce"), dtype=float)
