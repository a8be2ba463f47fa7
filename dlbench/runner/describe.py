"""In a task of its own: import a plugin and tell what it declares, with the parameters that were asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from dlbench import data, plugins
from dlbench.declarations import declarations, experiment_class
from dlbench.errors import DataDamaged, DataMissing, PluginError, UsageError
from dlbench.models import fingerprint


def describe(payload: dict[str, Any], send: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """What is known of an experiment once it is imported.

    Args:
        payload: ``plugin`` (a Plugin), ``preset``, ``overrides`` (parameter → text or value).
        send: unused.

    Returns:
        The experiment's entry in the plan; or {"broken": reason, "details": traceback} for a plugin that cannot be
        used, {"usage": message} for parameters that do not fit.
    """
    plugin: plugins.Plugin = payload["plugin"]
    try:
        cls = experiment_class(plugin)
    except PluginError as error:
        reason, _, details = str(error).partition("\n")
        return {"broken": reason, "details": details}
    try:
        experiment = cls.preset(payload["preset"], payload["overrides"], name=plugin.name)
        datasets = list(experiment.datasets())
        models = {name: fingerprint(name, datasets) for name in experiment.brings()}
    except UsageError as error:
        return {"usage": str(error)}
    fingerprints, missing = {}, ""
    for name in datasets:
        try:
            fingerprints[name] = data.get(name).fingerprint()
        except (DataMissing, DataDamaged, PluginError) as error:
            missing = f"data set {name}: {error}"
        except UsageError as error:  # a path with options that its data does not have
            return {"usage": str(error)}
    if absent := plugins.extras_missing(plugin, cls.requires):
        missing = f"needs {', '.join(absent)}: pip install '{plugin.distribution}[{','.join(cls.requires)}]'"
    return declarations(cls) | {
        "plugin": dataclasses.asdict(plugin),
        "preset": payload["preset"],
        "parameters": dataclasses.asdict(experiment),
        "datasets": fingerprints,
        "models": models,
        "missing": missing,
        # by package, not by distribution: our own experiments come in the harness's distribution
        "code": {name: plugins.code_digest(name) for name in ("dlbench", plugin.module.partition(".")[0])},
    }
