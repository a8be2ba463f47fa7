"""Reports: a run in; frames, CSV files and one self-contained page out.

``write`` makes ``measurements.csv``, ``trials.csv``, ``claims.csv``, ``references.csv``, ``leaderboard.csv``,
``figures/*.svg``, ``index.html`` and, where the run measured any of them, ``limitations.html``; with files of
pytest-benchmark's beside, ``timings.csv``. A report made twice of the same run is the same, byte for byte. ``gather``
makes the frames alone, for those who export them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from dlbench.report import board, files, frames, judge, limitations, page, published, timings
from dlbench.report.frames import Measured

if TYPE_CHECKING:
    from dlbench.store import Run
    from dlbench.store.benchmarks import Benchmarks

__all__ = ["Gathered", "Report", "Tables", "gather", "write"]

Call = Callable[[str, dict[str, Any], float], dict[str, Any]]
"""Runs "module:function" on a payload, within so many seconds, in a process of its own."""

CLAIMS = (
    "experiment",
    "claim",
    "kind",
    "verdict",
    "estimate",
    "low",
    "high",
    "n",
    "p",
    "criterion",
    "reason",
    "reference",
    "reference_source",
    "p_holm",
    "alone",
    "n_planned",
    "run",
)


@dataclass(frozen=True)
class Tables:
    """The frames of a report.

    ``claims`` has a row a claim and control: ``verdict`` with its evidence, ``alone`` the verdict before controls were
    looked at, ``p_holm`` the p value after Holm's correction for the experiment's claims.
    """

    claims: pd.DataFrame
    measurements: pd.DataFrame
    trials: pd.DataFrame
    references: pd.DataFrame
    leaderboard: pd.DataFrame
    timings: pd.DataFrame


@dataclass(frozen=True)
class Report(Tables):
    """What a report holds; each frame is the CSV file of its name."""

    path: Path

    @property
    def page(self) -> Path:
        """The page to open."""
        return self.path / "index.html"


@dataclass(frozen=True)
class Gathered:
    """What reports and exports are made of.

    Attributes:
        measured: each experiment of each run.
        judgements: for each of them, what :func:`dlbench.report.judge.judge` found.
        problems: what is wrong with the run folders, a line each.
        tables: the frames.
    """

    measured: Sequence[Measured]
    judgements: Sequence[Mapping[str, Any]]
    problems: Sequence[str]
    tables: Tables

    def sections(self, most_rows: int | None = None) -> list[dict[str, Any]]:
        """Each experiment in words and numbers as they are printed; see :func:`dlbench.report.page.sections`."""
        tables = self.tables
        return page.sections(
            self.measured, self.judgements, tables.claims, tables.references, tables.leaderboard, most_rows=most_rows
        )


def gather(
    runs: Run | Sequence[Run],
    *,
    call: Call | None = None,
    timeout_s: float = 120.0,
    benchmarks: Sequence[Benchmarks] = (),
    pictures: bool = False,
) -> Gathered:
    """Judge one run, or several side by side, and make the frames; nothing is written.

    Args:
        runs: as read by :func:`dlbench.store.read`.
        call: what runs the plugins' rules and plots, isolated; None runs them in this process.
        timeout_s: seconds that the rules and the plot of one experiment may take.
        benchmarks: files of pytest-benchmark's, as read by :func:`dlbench.store.benchmarks.read_benchmarks`.
        pictures: draw each experiment's.
    """
    named = _named(list(runs) if isinstance(runs, Sequence) else [runs])
    timed = _timed(benchmarks, named)
    everything = frames.measured(named)
    problems = [problem for label, run in named.items() for problem in _problems(label, run, several=len(named) > 1)]
    judgements = [_judged(one, named[one.run], call, timeout_s, problems, pictures=pictures) for one in everything]
    problems += [
        f"{one.name}: the code of {one.plan['plugin']['distribution']} has changed since it was measured; "
        "the verdicts are those of its rules now"
        for one, judgement in zip(everything, judgements, strict=True)
        if judgement["changed"]
    ]
    references = published.references(everything)
    tables = Tables(
        claims=_claims(everything, judgements, references),
        measurements=timings.joined(frames.measurements(everything), timed),
        trials=frames.trials(everything),
        references=references,
        leaderboard=board.leaderboard(everything),
        timings=timings.timings(timed),
    )
    return Gathered(everything, judgements, problems, tables)


def write(
    runs: Run | Sequence[Run],
    out: Path,
    *,
    call: Call | None = None,
    timeout_s: float = 120.0,
    benchmarks: Sequence[Benchmarks] = (),
) -> Report:
    """Make the report of one run, or of several side by side.

    Args:
        runs: as read by :func:`dlbench.store.read`.
        out: the folder that the files go to; each is replaced as a whole.
        call: see :func:`gather`, as for those that follow.
        timeout_s: likewise.
        benchmarks: likewise.
    """
    gathered = gather(runs, call=call, timeout_s=timeout_s, benchmarks=benchmarks, pictures=True)
    everything, tables = gathered.measured, gathered.tables
    report = Report(path=out, **vars(tables))
    unscored = {"value": "nan"}  # which is not the same as absent
    files.write(out / "measurements.csv", files.csv_text(report.measurements, missing=unscored))
    for name in ("claims", "trials", "references", "leaderboard", *(["timings"] if benchmarks else [])):
        files.write(out / f"{name}.csv", files.csv_text(getattr(report, name)))
    several = len({one.run for one in everything}) > 1
    for one, judgement in zip(everything, gathered.judgements, strict=True):
        if judgement["svg"]:
            name = f"{one.name}--{one.run}" if several else one.name
            files.write(out / "figures" / f"{files.safe_name(name)}.svg", judgement["svg"])
    sections = gathered.sections(page.MOST_ROWS)
    beside = {}
    if text := limitations.render(sections, report.page.name):
        files.write(out / limitations.FILE, text)
        beside[limitations.FILE] = "The lecture's nine limitations in one table"
    files.write(
        report.page, page.render(everything, sections, report.claims, gathered.problems, beside, report.timings)
    )
    return report


def _named(runs: Sequence[Run]) -> dict[str, Run]:
    """Runs by what they are called: their folder's name, with a number where two are called the same."""
    named: dict[str, Run] = {}
    for run in runs:
        named[_free(run.path.resolve().name or "run", named)] = run
    return named


def _timed(benchmarks: Sequence[Benchmarks], runs: Collection[str]) -> dict[str, Benchmarks]:
    """Files of pytest-benchmark's by theirs, which no run has."""
    named: dict[str, Benchmarks] = {}
    for one in benchmarks:
        named[_free(one.path.name, [*runs, *named])] = one
    return named


def _free(name: str, taken: Collection[str]) -> str:
    label, number = name, 1
    while label in taken:
        number += 1
        label = f"{name}-{number}"
    return label


def _problems(label: str, run: Run, *, several: bool) -> list[str]:
    """What is damaged in a run, and each trial of which it holds two different answers, a line each."""
    keys = set(run.nondeterministic)
    unsteady = [
        f"{name}, seed {seed}: run twice in one environment, it gave different measurements"
        for name, experiment in run.plan["experiments"].items()
        for seed, key in experiment["keys"].items()
        if key in keys
    ]
    return [f"{label}: {problem}" if several else problem for problem in [*run.problems, *unsteady]]


def _judged(
    one: Measured, run: Run, call: Call | None, timeout_s: float, problems: list[str], *, pictures: bool
) -> dict[str, Any]:
    """The judgement on an experiment; where it cannot be made, all its claims are invalid and say why."""
    payload = {
        "name": one.name,
        "plan": dict(one.plan),
        "rows": one.rows,
        "artefacts": frames.artefacts(one, run, problems) if pictures else {},
        "missing": one.missing,
        "picture": pictures,
    }
    try:
        if call is None:
            return judge.judge(payload)
        return call("dlbench.report.judge:judge", payload, timeout_s)
    except Exception as error:  # whatever a plugin does, the rest of the report stands
        return judge.failed(one.plan, judge.one_line(error))


def _claims(
    everything: Sequence[Measured], judgements: Sequence[Mapping[str, Any]], references: pd.DataFrame
) -> pd.DataFrame:
    matched = references[references["n"] > 0]
    shown = {
        (row["run"], row["experiment"], row["claim"]): row for row in matched[matched["claim"] != ""].to_dict("records")
    }
    records = []
    for one, judgement in zip(everything, judgements, strict=True):
        verdicts = judgement["verdicts"]
        for verdict, adjusted in zip(verdicts, judge.holm(verdicts), strict=True):
            reference = shown.get((one.run, one.name, verdict["statement"]), {})
            records.append(
                {name: verdict.get(name) for name in CLAIMS}
                | {
                    "experiment": one.name,
                    "claim": verdict["statement"],
                    "verdict": verdict["outcome"],
                    "reference": reference.get("reference"),
                    "reference_source": reference.get("reference_source", ""),
                    "p_holm": adjusted,
                    "n_planned": len(one.planned),
                    "run": one.run,
                }
            )
    return pd.DataFrame(records, columns=list(CLAIMS))
