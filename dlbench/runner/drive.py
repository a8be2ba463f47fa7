"""The driver's loop: start trials, hear from them, put each result on disk before telling of it."""

from __future__ import annotations

import base64
import contextlib
import io
import secrets
import signal
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from dlbench.errors import UsageError
from dlbench.isolate import Ended, Forkserver, Task, TaskFailed
from dlbench.plugins import Plugin
from dlbench.runner.display import Quiet, TimeLeft, now
from dlbench.runner.plan import Plan, Trial
from dlbench.store import Run, Writer

TRIAL_MODULES = ("torch.optim", "torch._dynamo")
"""What most trials import first thing: torch's first optimizer alone pulls in dynamo, a second of a processor.
One trial alone imports it if it needs it."""

SOME_IMPORT = (
    *("scipy.stats", "sklearn.datasets", "sklearn.ensemble", "sklearn.linear_model", "sklearn.svm"),
    *("dlbench.attacks", "dlbench.cost"),
)
"""What some trials import, for about two seconds of a processor each; worth it once in a run of many."""

MANY = 30
"""Trials from which on that is worth it."""

STATUSES = ("ok", "error", "timeout", "out_of_memory", "crashed", "skipped", "invalid_result")


@dataclass
class Summary:
    """How a run went."""

    reused: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    interrupted: bool = False

    @property
    def failed(self) -> int:
        """Trials that ran and came to no result (a skipped one did not run)."""
        return sum(count for status, count in self.statuses.items() if status not in ("ok", "skipped"))


def drive(
    plan: Plan,
    server: Forkserver,
    writer: Writer,
    facts: dict[str, Any],
    before: Run | None,
    display: Quiet,
    *,
    jobs: int,
    timeout: float,
    memory: float,
    fresh: bool = False,
) -> Summary:
    """Run what the store does not hold yet.

    Args:
        plan: what to run.
        server: where trials are started.
        writer: where results go.
        facts: the environment, see :func:`environment`.
        before: the run folder as it was, or None for a new one.
        display: who is told.
        jobs: trials at a time.
        timeout: seconds a trial.
        memory: bytes a trial's process tree.
        fresh: run everything again; earlier results stay in the store but no longer count.

    Raises:
        StoreFull: when the disk takes no more; what was written stays, running trials are killed.
    """
    known = dict(before.plan["experiments"]) if before else {}
    for name, experiment in plan.experiments.items():
        experiment["generation"] = known.get(name, {}).get("generation", 0) + int(fresh)
    writer.plan({"experiments": known | plan.experiments, "written": now()})
    held = {} if before is None or fresh else {k: r for k, r in before.by_key.items() if r["status"] == "ok"}
    trials = plan.trials()
    waiting = deque(trial for trial in trials if trial.key not in held)
    summary = Summary(reused=len(trials) - len(waiting))
    attempts = Counter(before.attempts) if before else Counter()
    display.begin(len(waiting), summary.reused, _outdated(waiting, plan, before), jobs)
    if waiting:
        loop = _Loop(plan, server, writer, facts, display, summary, attempts, jobs, timeout, memory)
        with _terminate_like_interrupt():
            try:
                loop.run(waiting)
            except KeyboardInterrupt:
                summary.interrupted = True
            finally:
                loop.kill_all()
                display.end()
    return summary


def _outdated(waiting: Iterable[Trial], plan: Plan, before: Run | None) -> int:
    """How many waiting trials have a result for the same parameters and seed, made by other code or from other data."""
    if before is None:
        return 0
    made = {
        (r["experiment"], r["seed"], repr(r["parameters"])): r["key"] for r in before.records if r["status"] == "ok"
    }
    same = [(t.experiment, t.seed, repr(plan.experiments[t.experiment]["parameters"])) for t in waiting]
    return sum(made.get(one, trial.key) != trial.key for one, trial in zip(same, waiting, strict=True))


@dataclass
class _Loop:
    plan: Plan
    server: Forkserver
    writer: Writer
    facts: dict[str, Any]
    display: Quiet
    summary: Summary
    attempts: Counter[str]
    jobs: int
    timeout: float
    memory: float
    running: dict[Task, Trial] = field(default_factory=dict)

    def run(self, waiting: deque[Trial]) -> None:
        """Until nothing waits and nothing runs."""
        if len(waiting) > 1:
            self.server.preload(*TRIAL_MODULES, *(SOME_IMPORT if len(waiting) >= MANY else ()))
        self.session = f"{now()}-{secrets.token_hex(3)}"
        self.environment = self.writer.environment(self.facts)
        left = TimeLeft(self.jobs)
        while waiting or self.running:
            while waiting and len(self.running) < self.jobs:
                trial = waiting.popleft()
                if trial.missing:
                    self._finish(trial, Ended("skipped"), {"status": "skipped", "reason": trial.missing})
                else:
                    self._start(trial)
            for task, event in self.server.wait() if self.running else ():
                trial = self.running[task]
                if not isinstance(event, Ended):
                    with contextlib.suppress(KeyError, TypeError, ValueError):  # it may come from anywhere in the trial
                        self.display.progress(trial, float(event["progress"]), str(event["note"]))
                    continue
                del self.running[task]
                left.finished(trial, event.wall_s)
                running = [(t, task.seconds) for task, t in self.running.items()]
                self.display.remaining(left.estimate(list(waiting), running))
                self._finish(trial, event, _outcome(event))

    def kill_all(self) -> None:
        """Kill what still runs; nothing of it is stored."""
        for task in self.running:
            self.server.kill(task)

    def _start(self, trial: Trial) -> None:
        experiment = self.plan.experiments[trial.experiment]
        payload = {
            "plugin": Plugin(**experiment["plugin"]),
            "parameters": experiment["parameters"],
            "seed": trial.seed,
            "device": experiment["device"],
            "threads": self.server.threads,
            "datasets": list(experiment["datasets"]),
        }
        self.attempts[trial.key] += 1
        self.writer.append({"kind": "start", "key": trial.key, "attempt": self.attempts[trial.key], "at": now()})
        log = self.writer.path / "logs" / f"{trial.experiment}-{trial.seed}-{trial.key[:12]}.txt"
        task = self.server.start(
            "dlbench.runner.trial:trial", payload, timeout=self.timeout, memory=self.memory, log=log
        )
        self.running[task] = trial
        self.display.started(trial)

    def _finish(self, trial: Trial, ended: Ended, outcome: dict[str, Any]) -> None:
        experiment = self.plan.experiments[trial.experiment]
        artefacts = {name: self._artefact(data) for name, data in outcome.pop("artefacts", {}).items()}
        record = {
            "kind": "result",
            "key": trial.key,
            "generation": experiment["generation"],
            "experiment": trial.experiment,
            "version": experiment["version"],
            "preset": experiment["preset"],
            "parameters": experiment["parameters"],
            "seed": trial.seed,
            "device": experiment["device"],
            "rows": [],
            "details": "",
            **outcome,
            "artefacts": artefacts,
            "attempt": self.attempts[trial.key],
            "wall_s": ended.wall_s,
            "cpu_s": ended.cpu_s,
            "peak_rss_bytes": ended.peak_rss_bytes,
            "environment": self.environment,
            "run": self.session,
            "finished": now(),
        }
        self.writer.append(record)
        self.summary.statuses[record["status"]] += 1
        self.display.finished(trial, record)

    def _artefact(self, data: str) -> str:
        import numpy as np

        return self.writer.artefact(np.load(io.BytesIO(base64.b64decode(data)), allow_pickle=False))


def environment(plan: Plan, server: Forkserver) -> dict[str, Any]:
    """Where the plan's numbers will come from; UsageError where trials could not run at all (``DLBENCH_OPS``, say)."""
    code = {"dlbench": "dlbench"}
    for experiment in plan.experiments.values():
        plugin = Plugin(**experiment["plugin"])
        if plugin.distribution != "dlbench":
            code[plugin.distribution] = plugin.module.partition(".")[0]
    payload = {
        "code": code,
        "threads": server.threads,
        "heap": server.facts["heap"],
        "device": next((experiment["device"] for experiment in plan.experiments.values()), "cpu"),
    }
    try:
        return dict(server.call("dlbench.runner.provenance:environment", payload, timeout=120))
    except TaskFailed as error:
        raise UsageError(str(error)) from None


def _outcome(ended: Ended) -> dict[str, Any]:
    """A result's status, reason and rows from how its task ended."""
    if ended.how == "returned":
        if isinstance(ended.value, dict) and ended.value.get("status") in STATUSES:
            return dict(ended.value)
        return {"status": "crashed", "reason": "what it returned is no result"}
    status = {"raised": "error", "log_full": "error"}.get(ended.how, ended.how)
    return {"status": status, "reason": ended.reason, "details": ended.details}


@contextlib.contextmanager
def _terminate_like_interrupt() -> Iterator[None]:
    """SIGTERM ends a run as cleanly as Ctrl-C does."""

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
