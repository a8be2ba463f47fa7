"""Cells of a bundle measured again, by the experiment that is installed here: rule V25."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dlbench.errors import PluginError, UsageError
from dlbench.leaderboard.bundle import Bundle


def measure(bundle: Bundle, seeds: Sequence[int]) -> dict[int, list[dict[str, Any]] | str]:
    """Rows of each seed, or why there are none; each trial runs isolated, as those of ``dlbench run`` do."""
    from dlbench import plugins
    from dlbench.isolate import Forkserver
    from dlbench.leaderboard import strict

    try:
        plugin = plugins.find(plugins.RUNNABLE, bundle.experiment)
    except (PluginError, UsageError) as error:
        return dict.fromkeys(seeds, " ".join(str(error).split()))
    overrides = {name: tuple(v) if isinstance(v, list) else v for name, v in bundle.plan["parameters"].items()}
    found: dict[int, list[dict[str, Any]] | str] = {}
    with Forkserver() as server:
        asked = {"plugin": plugin, "preset": bundle.plan["preset"], "overrides": overrides}
        told = server.call("dlbench.runner.describe:describe", asked, 600)
        for problem in ("broken", "usage", "missing"):
            if told.get(problem):
                return dict.fromkeys(seeds, str(told[problem]))
        if told["version"] != bundle.plan["version"]:
            return dict.fromkeys(seeds, f"version {told['version']} is installed, it is of {bundle.plan['version']}")
        for seed in seeds:
            payload = {
                "plugin": plugin,
                "parameters": told["parameters"],
                "seed": seed,
                "device": bundle.plan["device"],
                "threads": server.threads,
                "datasets": list(told["datasets"]),
            }
            result = server.call("dlbench.runner.trial:trial", payload, 3600)
            metrics = bundle.plan["metrics"]
            found[seed] = (
                [{k: strict.number(v) if k in metrics else v for k, v in row.items()} for row in result["rows"]]
                if result["status"] == "ok"
                else f"{result['status']}: {result['reason']}"
            )
    return found
