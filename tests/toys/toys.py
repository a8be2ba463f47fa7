"""Experiments for tests: one that is healthy, and one for each way in which a trial can go wrong."""

import os
import sys
import time
from dataclasses import dataclass

from dlbench import Claim, Control, Experiment, Metric, Reference, above, below, between, paired

METRICS = {
    "score": Metric("what is scored", better="higher", main=True, low=0.0, high=10.0),
    "loss": Metric("what is lost", unit="nats", better="lower"),
}


@dataclass(frozen=True)
class Healthy(Experiment):
    """Treatment beats placebo, by construction."""

    effect: float = between(-5.0, 5.0, default=1.0)
    sleep: float = 0.0
    rows: int = between(1, 100_000, default=1)

    title = "Treatment beats placebo"
    chapter = "toys"
    metrics = METRICS
    presets = {"quick": {}, "full": {"effect": 2.0}}
    references = (Reference("score", 4.0, "A paper, table 1", {"subject": "placebo"}, sd=0.1, n=5),)
    claims = (
        Claim("treatment beats placebo", lambda rows: above(paired(rows, "score", "treatment", "placebo"), 0.2)),
        Control("placebo does nothing", lambda rows: below(rows[rows.subject == "placebo"].score, 9.0)),
        Control("the scale is used", lambda rows: above(rows[rows.subject == "placebo"].score, 0.1), kind="positive"),
    )

    def trial(self, context):
        time.sleep(self.sleep)
        noise = context.rng("data").normal(scale=0.05, size=2)
        for step in range(self.rows):
            context.progress(step / self.rows, f"row {step}")
            extra = {"step": step} if self.rows > 1 else {}
            yield {"subject": "placebo", "score": 4.0 + noise[0], "loss": float("nan"), **extra}
            yield {"subject": "treatment", "score": 4.0 + self.effect + noise[1], "loss": 0.5, **extra}
        context.keep("noise", noise)

    def plot(self, rows, figure, artefacts):
        axes = figure.add_subplot()
        axes.set_xlabel("seed")
        axes.set_ylabel("score")
        if len(rows):
            axes.scatter(rows.seed, rows.score)


@dataclass(frozen=True)
class Toy(Experiment):
    title = "A toy"
    chapter = "toys"
    metrics = METRICS
    claims = (Claim("the score is above 1", lambda rows: above(rows.score, 1.0)),)

    def plot(self, rows, figure, artefacts):
        figure.add_subplot()


@dataclass(frozen=True)
class Raises(Toy):
    def trial(self, context):
        yield {"subject": "a", "score": 1.0}
        raise RuntimeError("the cable\nis loose")


@dataclass(frozen=True)
class Exits(Toy):
    def trial(self, context):
        sys.exit(0)
        yield


@dataclass(frozen=True)
class Hangs(Toy):
    def trial(self, context):
        while True:
            time.sleep(0.01)
        yield


@dataclass(frozen=True)
class Segfaults(Toy):
    def trial(self, context):
        os.kill(os.getpid(), 11)
        yield


@dataclass(frozen=True)
class Hoards(Toy):
    def trial(self, context):
        hoard = []
        while True:
            hoard.append(bytearray(50_000_000))
        yield


@dataclass(frozen=True)
class Tensors(Toy):
    def trial(self, context):
        import torch

        yield {"subject": "a", "score": torch.tensor(1.0)}


@dataclass(frozen=True)
class Outside(Toy):
    def trial(self, context):
        yield {"subject": "a", "score": 97.0}


@dataclass(frozen=True)
class Twice(Toy):
    def trial(self, context):
        yield {"subject": "a", "score": 1.0}
        yield {"subject": "a", "score": 2.0}


@dataclass(frozen=True)
class Nothing(Toy):
    def trial(self, context):
        return iter(())


@dataclass(frozen=True)
class Daemon(Toy):
    """Leaves a process behind, in a session of its own."""

    def trial(self, context):
        import subprocess

        child = subprocess.Popen(["sleep", "987"], start_new_session=True)
        yield {"subject": "a", "score": 1.0, "pid": child.pid}


@dataclass(frozen=True)
class Chatters(Toy):
    def trial(self, context):
        print("\x1b[31mto stdout")
        os.system("echo from a child")
        yield {"subject": "<script>alert(1)</script>", "score": 1.5}


@dataclass(frozen=True)
class NoData(Toy):
    def datasets(self):
        return ("no_such_data",)

    def trial(self, context):
        yield {"subject": "a", "score": len(context.data("no_such_data"))}


@dataclass(frozen=True)
class Drifts(Toy):
    """Not deterministic: the conformance suite must find it."""

    def trial(self, context):
        yield {"subject": "a", "score": time.time() % 1}


@dataclass(frozen=True)
class Clocked(Toy):
    """Reads a clock, and says so."""

    metrics = METRICS | {"taken": Metric("time it took", unit="s", better="lower", timed=True)}

    def trial(self, context):
        yield {"subject": "a", "score": 1.0, "loss": 1.0, "taken": time.time() % 1}
