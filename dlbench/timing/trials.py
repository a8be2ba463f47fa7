"""An experiment's item: trials in processes of their own, timed there."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from dlbench import plugins
from dlbench.isolate import Ended, Forkserver
from dlbench.plugins import Broken, Plugin
from dlbench.runner.drive import TRIAL_MODULES, environment
from dlbench.runner.plan import Plan, Request, describe_all
from dlbench.store.benchmarks import INFO, INFO_SCHEMA
from dlbench.timing.clocks import device_clock, name_of

if TYPE_CHECKING:
    from dlbench.timing.collection import Timed

TRIAL_TIMEOUT = 3600.0
JUDGE_TIMEOUT = 120.0


class TrialFailed(Exception):
    """A trial came to no measurements."""


def time_experiment(name: str, benchmark: Any, timed: Timed, server: Forkserver) -> None:
    """Run the trials as pytest-benchmark's rounds and leave all that is known in ``benchmark.extra_info``."""
    plugin = timed.experiments[name]
    plan = _described(plugin, benchmark, timed, server)
    server.preload(*TRIAL_MODULES)
    benchmark.group = f"dlbench: {plan['chapter']}"
    results: list[dict[str, Any]] = []

    def run() -> None:
        results.append(_trial(plan, len(results), server))
        timed.told[name].advance(results[-1]["seconds"])

    try:
        benchmark.pedantic(run, rounds=timed.seeds)
    except TrialFailed as failure:
        pytest.fail(str(failure), pytrace=False)
    verdicts = _verdicts(name, plan, results, server)
    claims = [verdict for verdict in verdicts if verdict["kind"] == "claim"]
    benchmark.extra_info[INFO] = {
        "schema": INFO_SCHEMA,
        "kind": "experiment",
        "experiment": name,
        "version": plan["version"],
        "preset": plan["preset"],
        "parameters": plan["parameters"],
        "device": plan["device"],
        "clock": results[0]["clock"],
        "cold_s": [result["cold_s"] for result in results],
        "metrics": plan["metrics"],
        "rows": [{"seed": result["seed"], **row} for result in results for row in result["rows"]],
        "verdict": f"{sum(claim['outcome'] == 'holds' for claim in claims)} of {len(claims)} claims hold",
        "verdicts": verdicts,
        "environment": _environment(name, plan, timed, server),
    }


def refuse(benchmark: Any, reason: str, *, skipped: bool = False) -> NoReturn:
    """End an item that is not timed as failed, or as skipped, and leave it out of pytest-benchmark's file.

    The fixture is used for it, or it would warn that it was not.
    """

    def outcome() -> None:
        if skipped:
            pytest.skip(reason)
        pytest.fail(reason, pytrace=False)

    benchmark.has_error = True
    benchmark.pedantic(outcome)
    raise AssertionError("an item that was refused went on")


def _described(plugin: Plugin | Broken, benchmark: Any, timed: Timed, server: Forkserver) -> dict[str, Any]:
    """The experiment's entry in a plan; a skipped item where it cannot run here, a failed one where it is broken."""
    if isinstance(plugin, Broken):
        refuse(benchmark, str(plugin))
    [(_, told)] = describe_all([plugin], Request([plugin.name], timed.preset, device=timed.device), server)
    if isinstance(told, Broken):
        refuse(benchmark, f"{told}\n{told.details}".rstrip())
    if "usage" in told:
        refuse(benchmark, told["usage"], skipped="has no preset" in told["usage"])
    if told["missing"]:
        refuse(benchmark, told["missing"], skipped=True)
    return told | {"device": timed.device, "seeds": list(range(timed.seeds))}


def _trial(plan: Mapping[str, Any], seed: int, server: Forkserver) -> dict[str, Any]:
    payload = {
        "plugin": Plugin(**plan["plugin"]),
        "parameters": plan["parameters"],
        "seed": seed,
        "device": plan["device"],
        "threads": server.threads,
        "datasets": list(plan["datasets"]),
    }
    task = server.start("dlbench.timing.trials:timed_trial", payload, timeout=TRIAL_TIMEOUT)
    ended = None
    while ended is None:
        ended = next((event for whose, event in server.wait() if whose is task and isinstance(event, Ended)), None)
    outcome = ended.value if ended.how == "returned" else {"status": ended.how, "reason": ended.reason}
    if outcome["status"] != "ok":
        details = str(outcome.get("details") or ended.details)
        raise TrialFailed(f"seed {seed}: {outcome['status']}: {outcome['reason']}\n{details}".rstrip())
    return {"seed": seed, **outcome}


def timed_trial(payload: dict[str, Any], send: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """In a task of its own: a trial, what it took, and apart from that what had to be imported and set up for it.

    Returns:
        What :func:`dlbench.runner.trial.trial` does, and ``seconds``, ``cold_s`` and the ``clock``'s name.
    """
    from dlbench.runner.trial import trial

    began = time.perf_counter()
    plugins.load_plugin(payload["plugin"])  # one that cannot be imported is the trial's to tell of
    if payload["device"].startswith("cuda"):
        import torch

        torch.zeros(1, device=payload["device"])
    clock = device_clock(payload["device"])
    start = clock()
    cold = time.perf_counter() - began
    result = trial(payload, send)
    return result | {"seconds": clock() - start, "cold_s": cold, "clock": name_of(clock)}


def _verdicts(
    name: str, plan: Mapping[str, Any], results: list[dict[str, Any]], server: Forkserver
) -> list[dict[str, Any]]:
    """The verdicts on the experiment's claims from the trials that were timed."""
    from dlbench.report.frames import Measured

    measured = Measured("", name, plan, results, {})
    missing = "" if len(results) == len(plan["seeds"]) else f"{len(plan['seeds']) - len(results)} were not timed"
    payload = {"name": name, "plan": dict(plan), "rows": measured.rows, "missing": missing}
    verdicts: list[dict[str, Any]] = server.call("dlbench.report.judge:verdicts", payload, JUDGE_TIMEOUT)
    return verdicts


def _environment(name: str, plan: Mapping[str, Any], timed: Timed, server: Forkserver) -> Mapping[str, Any]:
    owner = f"trials of {plan['plugin']['distribution']}"
    if owner not in timed.environments:
        timed.environments[owner] = environment(Plan({name: dict(plan)}, []), server)
    return timed.environments[owner]
