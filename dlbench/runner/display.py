"""What the user sees while a run goes on: a bar and a line a running trial on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.progress import TaskID

    from dlbench.runner.plan import Trial


class Quiet:
    """Says nothing; the base of the others."""

    def begin(self, to_run: int, reused: int, outdated: int, jobs: int) -> None:
        """The run starts: so many trials to run, so many in the store already, so many there from other code."""

    def started(self, trial: Trial) -> None:
        """A trial's process was started."""

    def progress(self, trial: Trial, fraction: float, note: str) -> None:
        """A running trial tells how far it is."""

    def finished(self, trial: Trial, record: dict[str, Any]) -> None:
        """A trial's result is on disk."""

    def remaining(self, seconds: float | None) -> None:
        """An estimate of the time left."""

    def end(self) -> None:
        """The run is over."""


class Plain(Quiet):
    """A line a finished trial."""

    def __init__(self, file: TextIO | None = None) -> None:
        self.file = file or sys.stderr
        self.done = self.total = 0
        self.left: float | None = None

    def begin(self, to_run: int, reused: int, outdated: int, jobs: int) -> None:
        """Announce the run."""
        self.total = to_run
        self._say(f"{to_run} trials to run{stored(reused, outdated)}, {jobs} at a time")

    def finished(self, trial: Trial, record: dict[str, Any]) -> None:
        """One line: count, experiment, seed, status, seconds, and the reason if it failed."""
        self.done += 1
        left = f", about {duration(self.left)} left" if self.left is not None and self.done < self.total else ""
        self._say(f"[{self.done}/{self.total}] {summary(trial, record)}{left}")

    def remaining(self, seconds: float | None) -> None:
        """Remember the estimate for the next line."""
        self.left = seconds

    def _say(self, text: str) -> None:
        print(text, file=self.file, flush=True)


class Terminal(Quiet):
    """rich's progress display: one bar for the run, one line a running trial."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

        self.bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=Console(stderr=True),
            transient=True,
        )
        self.lines: dict[str, TaskID] = {}
        self.statuses: Counter[str] = Counter()

    def begin(self, to_run: int, reused: int, outdated: int, jobs: int) -> None:
        """Draw the run's bar."""
        self.bars.start()
        self.run = self.bars.add_task("trials", total=to_run, note=stored(reused, outdated).removeprefix(", "))

    def started(self, trial: Trial) -> None:
        """Add the trial's line."""
        self.lines[trial.key] = self.bars.add_task(f"  {trial.experiment} seed {trial.seed}", total=1.0, note="")

    def progress(self, trial: Trial, fraction: float, note: str) -> None:
        """Move the trial's line."""
        self.bars.update(self.lines[trial.key], completed=fraction, note=printable(note))

    def finished(self, trial: Trial, record: dict[str, Any]) -> None:
        """Take the trial's line away, move the run's bar, and tell of a failure."""
        if trial.key in self.lines:
            self.bars.remove_task(self.lines.pop(trial.key))
        if record["status"] != "ok":
            self.bars.console.print(summary(trial, record), markup=False, highlight=False)
        self.bars.advance(self.run)

    def remaining(self, seconds: float | None) -> None:
        """Show the estimate beside the run's bar."""
        self.bars.update(self.run, note="" if seconds is None else f"about {duration(seconds)} left")

    def end(self) -> None:
        """Clear the display."""
        self.bars.stop()


class TimeLeft:
    """Estimates what is left from the mean time of each experiment's finished trials."""

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs
        self.seconds: dict[str, list[float]] = {}

    def finished(self, trial: Trial, wall_s: float) -> None:
        """Learn from a finished trial."""
        self.seconds.setdefault(trial.experiment, []).append(wall_s)

    def estimate(self, waiting: list[Trial], running: list[tuple[Trial, float]]) -> float | None:
        """Seconds left given waiting trials and running ones with the seconds they have taken; None if unknown yet."""
        known = {name: sum(times) / len(times) for name, times in self.seconds.items()}
        if not known:
            return None
        usual = sum(known.values()) / len(known)
        work = sum(known.get(trial.experiment, usual) for trial in waiting)
        work += sum(max(0.0, known.get(trial.experiment, usual) - elapsed) for trial, elapsed in running)
        return work / self.jobs


def choose(*, quiet: bool) -> Quiet:
    """The display that fits: nothing, a terminal's, or plain lines."""
    if quiet:
        return Quiet()
    return Terminal() if sys.stderr.isatty() else Plain()


def stored(reused: int, outdated: int) -> str:
    """What the store holds of the planned trials, and what it holds that cannot be served."""
    text = f", {reused} in the store already" if reused else ""
    if outdated:
        text += f", {outdated} of them again because code or data changed (`dlbench report` only redraws)"
    return text


def summary(trial: Trial, record: dict[str, Any]) -> str:
    """One finished trial in one printable line."""
    reason = f": {printable(record['reason'])}" if record["reason"] else ""
    return f"{trial.experiment} seed {trial.seed} {record['status']} after {duration(record['wall_s'])}{reason}"


def printable(text: str) -> str:
    """Text from a plugin as one line without control characters (a terminal would obey them)."""
    return "".join(c if c.isprintable() else " " for c in text)[:500]


def duration(seconds: float) -> str:
    """Seconds as a person says them: 0.4 s, 12 s, 3 min 20 s, 2 h 5 min."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def now() -> str:
    """This moment, RFC 3339 in UTC with microseconds: sorts as text."""
    seconds, nanoseconds = divmod(time.time_ns(), 10**9)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{nanoseconds // 1000:06d}Z"
