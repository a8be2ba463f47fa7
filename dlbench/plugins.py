"""Discovery through entry points: names are read from metadata, a plugin is imported only when it is asked for.

A plugin that cannot be used is a :class:`Broken` record beside the healthy ones, never an exception that stops them.
Two distributions that register one name both lose it: which of them would win is nobody's business to guess.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

from dlbench.errors import PluginError, did_you_mean

EXPERIMENTS = "dlbench.experiments"
AUDITS = "dlbench.audits"
"""Experiments on a model that a user brings; they run where they are named, and in ``dlbench audit``."""

RUNNABLE = (EXPERIMENTS, AUDITS)
MODELS = "dlbench.models"
DATASETS = "dlbench.datasets"
OPS = "dlbench.ops"
"""Operators to be timed; see :mod:`dlbench.timing`."""

GROUPS = (EXPERIMENTS, AUDITS, MODELS, DATASETS)
"""What people name on the command line."""

EVERY_GROUP = (*GROUPS, OPS)


@dataclass(frozen=True)
class Plugin:
    """An entry point: what is known of a plugin without importing it."""

    group: str
    name: str
    value: str
    distribution: str
    version: str

    @property
    def module(self) -> str:
        """The module that the entry point names."""
        return self.value.partition(":")[0].strip()


@dataclass(frozen=True)
class Broken:
    """A plugin that cannot be used, and why; ``details`` is a traceback where there is one."""

    plugin: Plugin
    reason: str
    details: str = ""

    def __str__(self) -> str:
        p = self.plugin
        return f"{p.name}: {self.reason} (entry point {p.value!r} of {p.distribution} {p.version})"


def discover(*groups: str) -> tuple[list[Plugin], list[Broken]]:
    """All plugins of one or several groups by name, and those that metadata shows cannot be used. Imports nothing."""
    found: dict[str, list[Plugin]] = {}
    registered = {plugin for group in groups for plugin in _registered().get(group, ())}
    for plugin in sorted(registered, key=lambda p: (p.name, p.distribution, p.value)):
        found.setdefault(plugin.name, []).append(plugin)
    healthy, broken = [], []
    modules: dict[str, str | None] = {}
    for same_name in found.values():
        if len(same_name) > 1:
            owners = " and ".join(f"{p.distribution} {p.version} ({p.value})" for p in same_name)
            reason = f"the name is registered more than once, by {owners}; uninstall all but one"
            broken += [Broken(plugin, reason) for plugin in same_name]
        elif problem := _unusable(same_name[0], modules):
            broken.append(Broken(same_name[0], problem))
        else:
            healthy.append(same_name[0])
    return healthy, broken


def find(group: str | tuple[str, ...], name: str) -> Plugin:
    """A plugin of a group, or of several, by name; or a PluginError: unknown (did you mean), or broken (why)."""
    groups = (group,) if isinstance(group, str) else group
    healthy, broken = discover(*groups)
    for plugin in healthy:
        if plugin.name == name:
            return plugin
    for record in broken:
        if record.plugin.name == name:
            raise PluginError(str(record))
    kind = groups[0].rpartition(".")[2].removesuffix("s")
    raise PluginError(f"there is no {kind} {name!r}{did_you_mean(name, [p.name for p in healthy])}")


def load(group: str, name: str) -> Any:
    """Import a plugin by name and return the object it registers, or raise a PluginError that tells why it cannot."""
    plugin = find(group, name)
    loaded = load_plugin(plugin)
    if isinstance(loaded, Broken):
        raise PluginError(f"{loaded}\n{loaded.details}".rstrip())
    return loaded


def load_plugin(plugin: Plugin) -> Any | Broken:
    """Import a plugin. Whatever it raises, ``sys.exit`` included, becomes a Broken record."""
    try:
        entry_point = metadata.EntryPoint(name=plugin.name, value=plugin.value, group=plugin.group)
        return entry_point.load()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a plugin may call sys.exit at import; it is broken, not in charge
        summary = f"importing it raised {type(error).__name__}: {error}"
        return Broken(plugin, summary, traceback.format_exc())


def code_digest(module: str) -> str:
    """sha256 over the Python and C++ sources of the top-level package (or the file) that holds a module; cached.

    It stands for "the code of the plugin's distribution" in a trial's key: an edit in a helper that the experiment
    imports changes it, which a hash of the experiment's own file would miss.
    """
    return _code_digest(module.partition(".")[0])


@lru_cache(maxsize=64)
def _code_digest(package: str) -> str:
    digest = hashlib.sha256()
    for path in source_files(package):
        digest.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def source_files(package: str) -> list[Path]:
    """The source files of a top-level package or module, sorted; nothing is imported."""
    spec = importlib.util.find_spec(package)
    if spec is None:
        return []
    files: set[Path] = set()
    for folder in spec.submodule_search_locations or []:
        files |= {path for path in Path(folder).rglob("*") if path.suffix in SOURCES}
    if spec.origin is not None and Path(spec.origin).suffix in SOURCES:
        files.add(Path(spec.origin))
    return sorted(files)


SOURCES = {".py", ".cpp", ".cu", ".h", ".cuh", ".inc"}


def extras_missing(plugin: Plugin, extras: Sequence[str]) -> list[str]:
    """Which requirements of the named extras of the plugin's distribution are not installed."""
    from packaging.requirements import Requirement

    missing = []
    for line in metadata.requires(plugin.distribution) or []:
        marker = (requirement := Requirement(line)).marker
        if marker is None or marker.evaluate({"extra": ""}):
            continue  # needed with or without the extra
        if any(marker.evaluate({"extra": extra}) for extra in extras):
            try:
                metadata.version(requirement.name)
            except metadata.PackageNotFoundError:
                missing.append(requirement.name)
    return missing


@lru_cache(maxsize=1)
def _registered() -> Mapping[str, tuple[Plugin, ...]]:
    """The plugins of every group of ours, from one look at what is installed."""
    owners: dict[int, tuple[str, str]] = {}  # a distribution reads its metadata each time that it is asked
    found: dict[str, list[Plugin]] = {}
    everything = metadata.entry_points()
    for group in EVERY_GROUP:
        for entry_point in everything.select(group=group):
            owner = entry_point.dist
            if owner is not None and id(owner) not in owners:
                owners[id(owner)] = owner.name, str(owner.version)
            name, version = owners.get(id(owner), ("unknown", "unknown"))
            found.setdefault(group, []).append(Plugin(group, entry_point.name, entry_point.value, name, version))
    return {group: tuple(plugins) for group, plugins in found.items()}


def _unusable(plugin: Plugin, modules: dict[str, str | None]) -> str | None:
    """Why a plugin cannot be used, as far as its name, its entry point and its files tell; None if nothing speaks.

    Args:
        plugin: which.
        modules: those that were looked up before, with what is wrong with them; many plugins share one.
    """
    if not plugin.name.isidentifier() or not plugin.name.islower() or len(plugin.name) > 64:
        return "its name must be a lower-case Python identifier of at most 64 characters"
    module, _, attribute = plugin.value.partition(":")
    if not attribute:
        return "its entry point must have the form 'package.module:Name'"
    if module not in modules:
        modules[module] = _absent(module)
    return modules[module]


def _absent(module: str) -> str | None:
    """Why a module cannot be imported, as far as its files tell."""
    top, *rest = module.strip().split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError) as error:
        return f"its module {top!r} cannot be looked up: {error}"
    if spec is None:
        return f"its module {top!r} is not installed"
    if not rest or spec.submodule_search_locations is None:
        return None
    stems = [Path(folder, *rest) for folder in spec.submodule_search_locations]
    if not any(
        stem.with_suffix(".py").is_file() or stem.is_dir() or list(stem.parent.glob(f"{stem.name}.*")) for stem in stems
    ):
        return f"there is no module {module!r}"
    return None
