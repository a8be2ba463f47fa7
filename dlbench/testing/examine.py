"""Run an experiment's trial in fresh processes, then hold what came out against what it declares."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlbench.isolate import Ended, Forkserver, Task
from dlbench.plugins import Broken, Plugin
from dlbench.runner.drive import TRIAL_MODULES
from dlbench.runner.plan import Request, describe_all

CHECKS = {
    "imports": "it imports, its declarations are well-formed and its presets make instances",
    "controls": "it declares a claim, a negative and a positive control",
    "trial": "a trial ends with measurements that are plain numbers in their declared ranges",
    "metrics": "every declared metric is measured, and no setting looks like a misspelt metric",
    "determinism": "the same seed gives the same measurements, times aside, and artefacts bit for bit in two processes",
    "silence": "a trial prints nothing and leaves no file behind",
    "parameters": "parameters survive the way through text, as the command line gives them",
    "claims": "rules are pure functions of the frame: same answer twice, for any row order, frame unchanged",
    "hostile": "rules and plot survive NaN, infinities and hostile names, and NaN never makes a claim hold",
    "plot": "the plot draws on full, empty and one-seed frames, labels its axes, and leaves pyplot alone",
}


@dataclass(frozen=True)
class Finding:
    """A check and what it found wrong; an empty problem means that nothing was."""

    check: str
    problem: str = ""


def examine(
    plugin: Plugin,
    preset: str = "quick",
    overrides: Mapping[str, Any] | None = None,
    *,
    checks: Collection[str] = CHECKS.keys(),
    timeout: float = 1800,
    server: Forkserver | None = None,
) -> list[Finding]:
    """Checks of an experiment, in the order of :data:`CHECKS`; one that could not be made says why.

    Args:
        plugin: the experiment.
        preset: the preset whose trial is run.
        overrides: parameter → value.
        checks: which; the trial runs a second time only for ``determinism``.
        timeout: seconds a trial, and seconds for the checks of what came out.
        server: where they run; one of its own where none is given, which takes seconds to start.
    """
    with contextlib.ExitStack() as stack:
        server = server or stack.enter_context(Forkserver())
        server.preload(*TRIAL_MODULES, "dlbench.testing.checks")
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        request = Request([plugin.name], preset, overrides={plugin.name: overrides or {}})
        [(_, told)] = describe_all([plugin], request, server)
        if isinstance(told, Broken):
            return _all_blocked(checks, "imports", f"{told}\n{told.details}".rstrip())
        if "usage" in told:
            return _all_blocked(checks, "imports", told["usage"])
        if told["missing"]:
            return _all_blocked(checks, "trial", f"it cannot run here: {told['missing']}")
        results = _trials(2 if "determinism" in checks else 1, plugin, told, server, Path(folder), timeout)
        left_behind = sorted(path.name for path in Path(folder, "work").iterdir())
        printed = Path(folder, "log-0").read_text(errors="replace")
        payload = {
            "plugin": plugin,
            "parameters": told["parameters"],
            "checks": [check for check in CHECKS if check in checks],
            "results": [_result(ended) for ended in results],
            "printed": printed,
            "left_behind": left_behind,
        }
        task = server.start("dlbench.testing.checks:check", payload, timeout=timeout)
        ended = _ends(server, [task])[task]
    if ended.how != "returned":
        return _all_blocked(checks, "claims", f"the checks ended early: {ended.reason}")
    return [Finding(check, problem) for check, problem in ended.value.items()]


def _trials(
    count: int, plugin: Plugin, told: Mapping[str, Any], server: Forkserver, folder: Path, timeout: float
) -> list[Ended]:
    """How as many trials with one seed ended, all at once."""
    (folder / "work").mkdir()
    tasks = []
    for number in range(count):
        payload = {
            "plugin": plugin,
            "parameters": told["parameters"],
            "seed": 0,
            "device": "cpu",
            "threads": server.threads,
            "datasets": list(told["datasets"]),
            "folder": str(folder / "work"),
        }
        log = folder / f"log-{number}"
        tasks.append(server.start("dlbench.testing.examine:trial_in", payload, timeout=timeout, log=log))
    ended = _ends(server, tasks)
    return [ended[task] for task in tasks]


def trial_in(payload: dict[str, Any], send: Any) -> dict[str, Any]:
    """In a task of its own: a trial in a given working folder, so that what it leaves behind can be seen."""
    import os

    from dlbench.runner.trial import trial

    os.chdir(payload["folder"])
    return trial(payload, send)


def _ends(server: Forkserver, tasks: list[Task]) -> dict[Task, Ended]:
    ended: dict[Task, Ended] = {}
    while len(ended) < len(tasks):
        ended |= {task: event for task, event in server.wait() if isinstance(event, Ended)}
    return ended


def _result(ended: Ended) -> dict[str, Any]:
    if ended.how == "returned":
        return dict(ended.value)
    return {"status": ended.how, "reason": ended.reason, "details": ended.details, "rows": [], "artefacts": {}}


def _all_blocked(checks: Collection[str], check: str, problem: str) -> list[Finding]:
    """The check that failed, and all others not made."""
    reason = f"not checked, because of {check!r}" + ("" if check in checks else f": {problem}")
    return [Finding(name, problem if name == check else reason) for name in CHECKS if name in checks]
