"""What experiment trackers are told: every measurement as a run of its own, with its trial's facts.

Users of a tracker sort, filter and group runs by their configuration. Of us that is a measurement: a subject, under
settings, at a seed. A trial that failed has none, and stands for itself.
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dlbench.report import files, page
from dlbench.report.frames import Measured

COSTS = ("wall_s", "cpu_s", "peak_rss_bytes")


@dataclass(frozen=True)
class Tracked:
    """A run as trackers know it.

    Attributes:
        id: the same for the same measurement, whenever it is exported.
        name: to be read.
        config: what it was measured with, a flat mapping.
        metrics: the numbers that came out; NaN and infinities among them.
    """

    id: str
    name: str
    config: Mapping[str, Any]
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Trial:
    """A trial, and the runs of its measurements.

    Attributes:
        trial: itself; its metrics are what it cost.
        measurements: a run each.
        status: ``ok``, or what became of it.
        tags: who made it, where, with which code; and why it failed.
        started: in milliseconds of Unix time.
        ended: likewise.
    """

    trial: Tracked
    measurements: Sequence[Tracked]
    status: str
    tags: Mapping[str, str]
    started: int
    ended: int


def trials(one: Measured) -> Iterator[Trial]:
    """The trials of an experiment that have a result."""
    for result in one.results:
        identity = (one.name, result.get("key"), result["finished"])
        shared: dict[str, Any] = {
            "seed": int(result["seed"]),
            "preset": one.plan.get("preset", ""),
            "device": one.plan.get("device", ""),
            "version": int(one.plan["version"]),
        }
        shared |= {f"parameters.{name}": page.value_text(value) for name, value in one.plan["parameters"].items()}
        ended = _milliseconds(str(result["finished"]))
        yield Trial(
            trial=Tracked(
                id=_digest(identity),
                name=f"{one.name}, seed {result['seed']}",
                config=shared,
                metrics={name: float(result[name]) for name in COSTS if result.get(name) is not None},
            ),
            measurements=[_measurement(one, row, result, shared, identity) for row in result["rows"]],
            status=str(result["status"]),
            tags=_tags(one, result),
            started=ended - round(1000 * float(result.get("wall_s") or 0)),
            ended=ended,
        )


def _measurement(
    one: Measured, row: Mapping[str, Any], result: Mapping[str, Any], shared: dict[str, Any], identity: Sequence[Any]
) -> Tracked:
    subject = files.visible(str(row.get("subject", "")))
    settings = {name: row[name] for name in one.settings if name in row}
    told = "".join(f", {name}={files.visible(page.value_text(value))}" for name, value in settings.items())
    return Tracked(
        id=_digest((*identity, subject, told)),
        name=f"{subject}{told}, seed {result['seed']}",
        config={"subject": subject} | {f"settings.{name}": _plain(value) for name, value in settings.items()} | shared,
        metrics={name: float(row[name]) for name in one.metrics if row.get(name) is not None},
    )


def _tags(one: Measured, result: Mapping[str, Any]) -> dict[str, str]:
    plugin = one.plan["plugin"]
    tags = {
        "dlbench.run": one.run,
        "dlbench.key": str(result.get("key", "")),
        "dlbench.status": str(result["status"]),
        "dlbench.plugin": f"{plugin['distribution']} {plugin['version']}",
        "dlbench.command": page.command(one),
    }
    facts = one.environments.get(result["environment"], {})
    tags |= {f"environment.{name}": text for name, text in page.flat(facts)}
    if result.get("reason"):
        tags["dlbench.reason"] = str(result["reason"])
    return {name: files.visible(text) for name, text in tags.items()}


def _plain(value: Any) -> Any:
    return files.visible(value) if isinstance(value, str) else value


def _digest(identity: Sequence[Any]) -> str:
    return hashlib.sha256("\0".join(map(str, identity)).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _milliseconds(finished: str) -> int:
    """A time as stores write it, in milliseconds of Unix time; 0 for what is none."""
    try:
        when = datetime.datetime.fromisoformat(finished)
    except ValueError:
        return 0
    return round(1000 * when.replace(tzinfo=when.tzinfo or datetime.UTC).timestamp())
