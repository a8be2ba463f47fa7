"""What will be run: the user's request, resolved into trials with keys, before anything is written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dlbench import plugins
from dlbench.errors import PluginError, UsageError, did_you_mean
from dlbench.isolate import Ended, Forkserver, Task
from dlbench.plugins import Broken, Plugin

IMPORT_TIMEOUT = 120.0
"""Seconds that importing a plugin and fingerprinting its data may take."""


@dataclass(frozen=True)
class Request:
    """What the user asked for.

    ``overrides``: experiment → parameter → text or plain value. ``seeds`` are 0 … n-1; None takes the preset's number.
    """

    names: Sequence[str] = ()
    preset: str = "quick"
    seeds: int | None = None
    overrides: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    device: str = "cpu"


@dataclass(frozen=True)
class Trial:
    """One run of one experiment with one set of parameters, one seed, one device."""

    key: str
    experiment: str
    seed: int
    missing: str = ""  # why it cannot run: a data set or an extra that is not there


@dataclass(frozen=True)
class Plan:
    """Experiments by name (what describe.py told, and seeds and keys), and the plugins that could not be used."""

    experiments: dict[str, dict[str, Any]]
    broken: list[Broken]

    def trials(self) -> list[Trial]:
        """All trials, the first seed of every experiment before the second of any: a run that is cut short is even."""
        trials = [
            Trial(key, name, int(seed), experiment["missing"])
            for name, experiment in self.experiments.items()
            for seed, key in experiment["keys"].items()
        ]
        return sorted(trials, key=lambda trial: trial.seed)


def default_seeds(preset: str) -> int:
    """Six is the least that can reach a verdict; anything but ``quick`` takes ten."""
    return 6 if preset == "quick" else 10


def make_plan(request: Request, server: Forkserver) -> Plan:
    """Resolve a request. UsageError or PluginError for what the user can mend; a plugin nobody named is left out."""
    chosen, broken = choose(request)
    seeds = default_seeds(request.preset) if request.seeds is None else request.seeds
    experiments = {}
    for plugin, told in describe_all(chosen, request, server):
        if isinstance(told, Broken):
            if plugin.name in request.names:
                raise PluginError(f"{told}\n{told.details}".rstrip())
            broken.append(told)
            continue
        if "usage" in told:
            if request.names or plugin.name in request.overrides or "has no preset" not in told["usage"]:
                raise UsageError(told["usage"])
            broken.append(Broken(plugin, told["usage"]))
            continue
        keys = {str(seed): trial_key(plugin.name, told, seed, request.device) for seed in range(seeds)}
        experiments[plugin.name] = told | {"device": request.device, "seeds": list(range(seeds)), "keys": keys}
    if not experiments and all("has no preset" in record.reason for record in broken) and broken:
        raise UsageError(broken[0].reason)
    return Plan(experiments, broken)


def trial_key(name: str, told: Mapping[str, Any], seed: int, device: str) -> str:
    """sha256 of all that can change a trial's numbers; equal keys mean that a stored result may be served."""
    identity = {
        "experiment": name,
        "version": told["version"],
        "parameters": told["parameters"],
        "seed": seed,
        "device": device.partition(":")[0],
        "code": told["code"],
        "data": told["datasets"],
        "models": told["models"],
    }
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def choose(request: Request) -> tuple[list[Plugin], list[Broken]]:
    """The plugins that a request names, and those that cannot be used; errors as of :func:`make_plan`.

    Nothing is imported, so that a misspelt name is told at once, before a process is started.
    """
    broken: list[Broken] = []
    if request.names:
        chosen = [plugins.find(plugins.RUNNABLE, name) for name in dict.fromkeys(request.names)]
    else:
        chosen, broken = plugins.discover(plugins.EXPERIMENTS)
        if not chosen:
            raise PluginError("no experiment is installed (entry points of the group dlbench.experiments)")
    names = [plugin.name for plugin in chosen]
    for name in request.overrides:
        if name not in names:
            plugins.find(plugins.RUNNABLE, name)  # unknown: says so, with the nearest name
            raise UsageError(f"parameters are set for {name!r}, which is not among the experiments to run: {names}")
    return chosen, broken


def describe_all(
    chosen: Sequence[Plugin], request: Request, server: Forkserver
) -> list[tuple[Plugin, dict[str, Any] | Broken]]:
    """describe.py for each plugin, each in a task of its own, all at once."""
    running: dict[Task, Plugin] = {}
    for plugin in chosen:
        payload = {"plugin": plugin, "preset": request.preset, "overrides": request.overrides.get(plugin.name, {})}
        task = server.start("dlbench.runner.describe:describe", payload, timeout=IMPORT_TIMEOUT)
        running[task] = plugin
    told: dict[str, dict[str, Any] | Broken] = {}
    while len(told) < len(chosen):
        for task, event in server.wait():
            if not isinstance(event, Ended):
                continue
            plugin = running[task]
            if event.how != "returned":
                told[plugin.name] = Broken(plugin, f"importing it: {event.reason}", event.details)
            elif "broken" in event.value:
                reason = event.value["broken"].removeprefix(f"{plugin.name}: ").partition(" (entry point ")[0]
                told[plugin.name] = Broken(plugin, reason, event.value["details"])
            else:
                told[plugin.name] = event.value
    return [(plugin, told[plugin.name]) for plugin in chosen]


def parse_overrides(texts: Sequence[str]) -> dict[str, dict[str, Any]]:
    """``NAME.PARAM=VALUE`` texts, as ``--set`` takes them."""
    overrides: dict[str, dict[str, Any]] = {}
    for text in texts:
        target, equals, value = text.partition("=")
        name, dot, parameter = target.partition(".")
        if not (equals and dot and name and parameter):
            raise UsageError(f"--set {text!r}: expected NAME.PARAM=VALUE, for example extrapolation.width=256")
        overrides.setdefault(name.strip(), {})[parameter.strip()] = value
    return overrides


def read_config(path: str) -> dict[str, Any]:
    """A TOML file of settings for ``dlbench run``: top-level options, and a table of parameters an experiment.

    ::

        preset = "quick"
        seeds = 10
        [extrapolation]
        width = 256
    """
    import tomllib
    from pathlib import Path

    try:
        document = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: {error}") from None
    except UnicodeDecodeError:
        raise UsageError(f"--config {path}: it is not UTF-8 text") from None
    except RecursionError:
        raise UsageError(f"--config {path}: its lists are nested too deep") from None
    except (OSError, ValueError) as error:  # the latter of numbers with thousands of digits, or a NUL in the path
        raise UsageError(f"--config {path}: {getattr(error, 'strerror', None) or error}") from None
    options = {key: value for key, value in document.items() if not isinstance(value, dict)}
    for key, value in options.items():
        if key not in CONFIG_OPTIONS:
            raise UsageError(f"{path}: unknown key {key!r}{did_you_mean(key, CONFIG_OPTIONS)}")
        kind = CONFIG_OPTIONS[key]
        if not isinstance(value, kind) or isinstance(value, bool) != (kind is bool):
            raise UsageError(f"{path}: {key} is {value!r}; expected {_KINDS[kind]}")
    if not all(isinstance(name, str) for name in options.get("experiments", [])):
        raise UsageError(f"{path}: experiments is {options['experiments']!r}; expected a list of names")
    tables = {key: value for key, value in document.items() if isinstance(value, dict)}
    return {"options": options, "overrides": tables}


def locate(path: str, message: str) -> str:
    """Where in a config file the parameter stands that an error message begins with: ``FILE, line N: ``, or nothing."""
    from pathlib import Path

    table = ""
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), 1):
        if line.strip().startswith("["):
            table = line.strip().strip("[]").strip()
        key = line.partition("=")[0].strip()
        if key and message.startswith(f"{table}.{key}"):
            return f"{path}, line {number}: "
    return ""


CONFIG_OPTIONS: dict[str, Any] = {
    "experiments": list,
    "preset": str,
    "seeds": int,
    "device": str,
    "jobs": int,
    "threads": int,
    "timeout": int | float,
    "memory": int | float,
    "out": str,
}
_KINDS = {list: "a list of names", str: "text", int: "a whole number", int | float: "a number", bool: "true or false"}
