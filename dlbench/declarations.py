"""An experiment's class, imported from its plugin, checked, and told as plain data."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from dlbench import parameters, plugins
from dlbench.errors import PluginError, UsageError
from dlbench.experiment import Axis, Claim, Control, Experiment, Metric, Reference


def declarations(cls: type[Experiment]) -> dict[str, Any]:
    """The facts that an experiment's class declares, as plain data."""
    return {
        "title": cls.title,
        "chapter": cls.chapter,
        "version": cls.version,
        "doc": documentation(cls),
        "sources": list(cls.sources),
        "metrics": {name: dataclasses.asdict(metric) for name, metric in cls.metrics.items()},
        "claims": [
            {
                "statement": claim.statement,
                "kind": claim.kind if isinstance(claim, Control) else "claim",
                "source": claim.source,
                "reference": _reference(claim.reference) if claim.reference else None,
            }
            for claim in cls.claims
        ],
        "references": [_reference(reference) for reference in cls.references],
        "axes": [{"name": axis.name, "about": axis.about} for axis in cls.axes],
        "requires": list(cls.requires),
        "presets": {name: dict(values) for name, values in cls.presets.items()},
        "fields": parameters.describe(cls),
    }


def documentation(cls: type[Experiment]) -> str:
    """What an experiment's author says of it: its docstring, and its module's.

    A docstring of one paragraph stands behind that of its module, if it is the module's only experiment; a longer one
    is the whole story. A dataclass without any makes up its signature, which says nothing.
    """
    own = inspect.cleandoc(cls.__doc__ or "")
    if own.startswith(f"{cls.__name__}("):
        own = ""
    module = inspect.getmodule(cls)
    about = inspect.cleandoc(getattr(module, "__doc__", None) or "")
    if "\n\n" in own or (own and not _is_alone(cls, module)):
        return own
    return "\n\n".join(filter(None, (about, own if own not in about else "")))


def unknown_recomputations(metrics: Mapping[str, Metric]) -> list[str]:
    """A line for each metric that says it can be computed from predictions by a function that is not there."""
    named = {name: metric.recomputed for name, metric in metrics.items() if metric.recomputed}
    if not named:
        return []
    from dlbench.recompute import METRICS

    return [
        f"metric {name} is recomputed by {function!r}; expected one of {', '.join(METRICS)}"
        for name, function in named.items()
        if function not in METRICS
    ]


def _is_alone(cls: type[Experiment], module: ModuleType | None) -> bool:
    """Whether a module defines no other experiment."""
    others = (other for other in vars(module).values() if isinstance(other, type) and issubclass(other, Experiment))
    return not any(other is not cls and other.__module__ == cls.__module__ for other in others)


def experiment_class(plugin: plugins.Plugin) -> type[Experiment]:
    """Import an experiment and check its declarations; PluginError, with a traceback below its first line."""
    loaded = plugins.load_plugin(plugin)
    if isinstance(loaded, plugins.Broken):
        raise PluginError(f"{loaded}\n{loaded.details}")
    if problems := declaration_problems(loaded):
        raise PluginError(str(plugins.Broken(plugin, "; ".join(problems))))
    return loaded  # type: ignore[no-any-return]


def declaration_problems(cls: Any) -> list[str]:
    """What is wrong with an experiment's class, in words; empty if nothing is."""
    if not (isinstance(cls, type) and issubclass(cls, Experiment)):
        return [f"{cls!r} is not a subclass of dlbench.Experiment"]
    problems = []
    if "__dataclass_params__" not in vars(cls):
        problems.append(f"decorate {cls.__name__} with @dataclass(frozen=True)")
    if not cls.title:
        problems.append("it has no title")
    if not isinstance(cls.version, int) or cls.version < 1:
        problems.append(f"version is {cls.version!r}; expected a whole number from 1")
    if wrong := [name for name, metric in cls.metrics.items() if not isinstance(metric, Metric)]:
        problems.append(f"metrics {wrong} are not Metric objects")
    elif (mains := [name for name, metric in cls.metrics.items() if metric.main]) and len(mains) > 1:
        problems.append(f"metrics {mains} are all main; only one can rank")
    elif not mains:
        problems.append("no metric is main; give one Metric(..., main=True)")
    problems += unknown_recomputations(cls.metrics) if not wrong else []
    problems += [f"claim {claim!r} is not a Claim" for claim in cls.claims if not isinstance(claim, Claim)]
    problems += [f"axis {axis!r} is not an Axis" for axis in cls.axes if not isinstance(axis, Axis)]
    problems += [f"reference {r!r} is not a Reference" for r in cls.references if not isinstance(r, Reference)]
    if "quick" not in cls.presets:
        problems.append("it has no preset 'quick'")
    for name in cls.presets:
        try:
            cls.preset(name)
        except UsageError as error:
            problems.append(str(error))
        except TypeError as error:  # a parameter without a default, a dataclass that is not one
            problems.append(f"preset {name} makes no instance: {error}")
    return problems


def _reference(reference: Reference) -> dict[str, Any]:
    return dataclasses.asdict(reference) | {"where": dict(reference.where)}
