"""What a board admits of an experiment: its version and metrics, the seeds, the parameters, the data.

Made from the installed plugin by whoever keeps the board, and read ever after without it, so that a submission never
brings its own rules.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from dlbench import recompute, stats
from dlbench.errors import UsageError
from dlbench.leaderboard import strict

SCHEMA = 1
ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_WINDOWS = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?")


def is_id(text: object) -> bool:
    """Whether it can name an experiment or a submitter: on every system a safe name of a file."""
    return isinstance(text, str) and bool(ID.fullmatch(text)) and ".." not in text and not _WINDOWS.fullmatch(text)


@dataclass(frozen=True)
class Protocol:
    """The terms of a board.

    Attributes:
        experiment: its name.
        version: of the experiment; others are refused.
        metrics: name → its declaration (unit, better, low, high, main, timed).
        seeds: exactly those that a submission has run.
        parameters: what they must be, but for those that are free.
        free: parameters that a submission may choose, such as an audit's ``models``.
        datasets: name → fingerprint.
        most_failed: trials that may have failed.
        epsilon: a change of the main metric of a row, by the same submitter, beyond which a reason must be given.
        ceiling: the best value of the main metric that is possible; NaN where there is none.
        conformance: what a constant, a random and an oracle predictor score, for each metric that is computed from
            predictions; see :mod:`dlbench.leaderboard.conformance`.
    """

    experiment: str
    version: int
    metrics: Mapping[str, Mapping[str, Any]]
    seeds: tuple[int, ...]
    parameters: Mapping[str, Any]
    free: tuple[str, ...] = ()
    datasets: Mapping[str, str] = field(default_factory=dict)
    most_failed: int = 0
    epsilon: float = 0.001
    ceiling: float = math.nan
    title: str = ""
    conformance: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @cached_property
    def main(self) -> str:
        """The metric that ranks."""
        return next(name for name, metric in self.metrics.items() if metric.get("main"))

    @property
    def timed(self) -> bool:
        """Whether the board ranks by a clock, so that devices are not compared."""
        return bool(self.metrics[self.main].get("timed"))

    def dumps(self) -> bytes:
        """The protocol as the JSON of its file."""
        return strict.dumps({"schema_version": SCHEMA} | asdict(self), indent=1)


def of_experiment(name: str, *, preset: str, seeds: int, overrides: Mapping[str, Any], free: tuple[str, ...]) -> bytes:
    """The file of a protocol for an installed experiment.

    Args:
        name: the experiment's.
        preset: its parameters are the board's.
        seeds: 0 to this less one.
        overrides: parameters that differ from the preset's.
        free: parameters that submissions may choose.

    Raises:
        UsageError: no such experiment, preset or parameter; too few seeds; no metric that ranks, or one under which an
            oracle would not be the best; missing data.
    """
    from dlbench import plugins
    from dlbench.leaderboard import conformance
    from dlbench.runner.describe import describe

    if not is_id(name):
        raise UsageError(f"{name!r} cannot name a board; expected small letters, digits, and . _ - between them")
    told = describe(
        {"plugin": plugins.find(plugins.RUNNABLE, name), "preset": preset, "overrides": dict(overrides)}, print
    )
    for problem in ("broken", "usage", "missing"):
        if told.get(problem):
            raise UsageError(f"{name}: {told[problem]}")
    if seeds < stats.MIN_SEEDS:
        raise UsageError(f"{seeds} seeds are too few for a board; expected {stats.MIN_SEEDS} or more")
    if unknown := sorted(set(free) - set(told["parameters"])):
        raise UsageError(f"{name} has no parameter {unknown[0]!r}; it has {', '.join(told['parameters'])}")
    metrics = told["metrics"]
    ranking = [metric for metric in metrics.values() if metric.get("main") and metric.get("better")]
    if not ranking:
        raise UsageError(f"{name} declares no main metric with a direction, so that nothing can be ranked by it")
    recomputed = {key: metric for key, metric in metrics.items() if metric.get("recomputed") in recompute.METRICS}
    if problem := next(filter(None, map(conformance.problem, recomputed, recomputed.values())), ""):
        raise UsageError(f"{name}: {problem}; mend the metric's declaration")
    best = ranking[0]["high"] if ranking[0]["better"] == "higher" else ranking[0]["low"]
    return Protocol(
        experiment=name,
        version=int(told["version"]),
        metrics=metrics,
        seeds=tuple(range(seeds)),
        parameters={key: value for key, value in told["parameters"].items() if key not in free},
        free=free,
        datasets=told["datasets"],
        ceiling=float(best) if math.isfinite(best) else math.nan,
        title=str(told["title"]),
        conformance={key: conformance.scores(metric["recomputed"]) for key, metric in recomputed.items()},
    ).dumps()


def read(folder: Path) -> dict[str, Protocol]:
    """Every protocol of a board's folder, by experiment; UsageError for one that cannot be read."""
    return {
        protocol.experiment: protocol
        for protocol in (_read(file) for file in sorted((folder / "protocols").glob("*.json")))
    }


def _read(file: Path) -> Protocol:
    try:
        document = strict.loads(file.read_bytes())
        if document.get("schema_version") != SCHEMA or isinstance(document["schema_version"], bool):
            raise ValueError(f"schema_version is {document.get('schema_version')!r}; expected {SCHEMA}")
        values = {key: value for key, value in document.items() if key != "schema_version"}
        metrics = {
            name: metric | {bound: strict.number(metric[bound]) for bound in ("low", "high")}
            for name, metric in values["metrics"].items()
        }
        numbers = {name: strict.number(values[name]) for name in ("epsilon", "ceiling")}
        lists = {name: tuple(values[name]) for name in ("seeds", "free")}
        conformance = {
            name: {who: strict.number(score) for who, score in known.items()}
            for name, known in values.get("conformance", {}).items()
        }
        return Protocol(**(values | lists | numbers | {"metrics": metrics, "conformance": conformance}))
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UsageError(
            f"{file} is no protocol ({' '.join(str(error).split())}); `dlbench leaderboard protocol` writes one"
        ) from None
