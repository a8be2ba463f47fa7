"""What pytest-benchmark leaves: the JSON file of ``--benchmark-json``, read into plain data.

Items that ``pytest --dlbench=PRESET`` made carry more in ``extra_info["dlbench"]``: the measurements of an experiment's
trials with what is declared of them, an operator's bytes and flops, and the environment.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dlbench.errors import RunFolderError

INFO = "dlbench"
"""The key of ``extra_info`` under which our items keep what they know."""

INFO_SCHEMA = 1

TIME = "time"
"""What the metric is called that pytest-benchmark measures: seconds a call."""


@dataclass(frozen=True)
class Item:
    """One timed item.

    Attributes:
        experiment: the experiment's name; ``ops`` for an operator; the file for a benchmark of somebody else's.
        subject: ``trial``, the operator's name, or the test's name with its parameters.
        settings: an operator's case.
        data: seconds a call, one number a round; None where only their summary was saved.
        stats: pytest-benchmark's summary.
        device: ``cpu`` or ``cuda``.
        info: what our own items keep beside; empty for others.
        environment: facts of where it ran, as far as they are told.
    """

    experiment: str
    subject: str
    settings: Mapping[str, Any]
    data: Sequence[float] | None
    stats: Mapping[str, Any]
    device: str = "cpu"
    info: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)

    @property
    def version(self) -> int:
        """The experiment's version, 0 for what has none."""
        return int(self.info.get("version", 0))

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The experiment's parameters."""
        return dict(self.info.get("parameters", {}))

    @property
    def metrics(self) -> Mapping[str, Mapping[str, Any]]:
        """What the experiment declares of its metrics."""
        return dict(self.info.get("metrics", {}))

    @property
    def rows(self) -> Sequence[Mapping[str, Any]]:
        """The measurements of an experiment's trials, each with its ``seed``."""
        return list(self.info.get("rows", ()))


@dataclass(frozen=True)
class Benchmarks:
    """A file of pytest-benchmark's: when it was made, and its items."""

    path: Path
    when: str
    items: list[Item]


def is_benchmarks(path: Path) -> bool:
    """Whether a JSON file looks like one of pytest-benchmark's, by what it begins with or holds."""
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(document, dict) and isinstance(document.get("benchmarks"), list)


def read_benchmarks(path: Path) -> Benchmarks:
    """Read a file of pytest-benchmark's; RunFolderError, in one line, where it is none or is damaged."""
    expected = "expected the file that `pytest --benchmark-json=FILE` writes"
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise RunFolderError(f"{path}: {error.strerror}; {expected}") from None
    except ValueError as error:
        raise RunFolderError(f"{path} is no JSON ({error}); {expected}") from None
    if not isinstance(document, dict) or not isinstance(document.get("benchmarks"), list):
        raise RunFolderError(f"{path} holds no benchmarks; {expected}")
    machine = document.get("machine_info")
    facts = _machine(machine) if isinstance(machine, dict) else {}
    items = []
    for number, bench in enumerate(document["benchmarks"], 1):
        try:
            items.append(_item(bench, facts))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            said = str(error).strip("'") if not isinstance(error, KeyError) else f"it has no {error}"
            raise RunFolderError(f"{path}: benchmark {number} is damaged ({said}); {expected}") from None
    return Benchmarks(path, str(document.get("datetime", "")), items)


def _item(bench: Mapping[str, Any], facts: Mapping[str, Any]) -> Item:
    stats = dict(bench["stats"])
    data = stats.pop("data", None)
    numbers = None if data is None else [_duration(value) for value in data]
    info = bench.get("extra_info", {}).get(INFO)
    if not isinstance(info, dict):
        path, _, name = str(bench["fullname"]).partition("::")
        return Item(path if name else "", name or path, {}, numbers, stats, environment=facts)
    if info.get("schema") != INFO_SCHEMA:
        raise ValueError(f"its schema is {info.get('schema')!r}, this dlbench reads {INFO_SCHEMA}")
    _check(info)
    device, environment = str(info["device"]), {**facts, **info["environment"]}
    if info["kind"] == "op":
        settings = {"case": str(info["case"])}
        return Item("ops", str(info["op"]), settings, numbers, stats, device, info, environment)
    return Item(str(info["experiment"]), "trial", {}, numbers, stats, device, info, environment)


def _check(info: Mapping[str, Any]) -> None:
    """ValueError or TypeError unless an experiment's measurements are what we write: anybody may have made the file."""
    metrics, rows = info.get("metrics", {}), info.get("rows", [])
    if not isinstance(metrics, dict) or not all(isinstance(told, dict) for told in metrics.values()):
        raise TypeError("its metrics are no declarations")
    for row in rows:
        if not isinstance(row["seed"], int) or not isinstance(row["subject"], str):
            raise TypeError("a measurement has no seed or no subject")
        if not all(isinstance(value, str | int | float | bool) for value in row.values()):
            raise TypeError("a measurement holds more than text and numbers")
        if any(isinstance(row.get(name), str) for name in metrics):
            raise TypeError("a metric is text")


def _duration(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"it took {number} s")
    return number


def _machine(machine: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of pytest-benchmark's machine_info that ours have too, under our names."""
    cpu = machine.get("cpu")
    told = {
        "python": machine.get("python_version"),
        "platform": "-".join(str(machine[key]) for key in ("system", "release", "machine") if machine.get(key)),
        "cpu": (cpu.get("brand_raw") or cpu.get("brand")) if isinstance(cpu, dict) else machine.get("processor"),
    }
    return {name: str(value) for name, value in told.items() if value}
