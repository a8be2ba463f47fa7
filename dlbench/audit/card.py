"""A model's report card: its value on every axis beside other models', what it was found wanting in, and examples."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dlbench import stats
from dlbench.audit import judge
from dlbench.audit.subject import CAPTIONS, SHOWN
from dlbench.report import files
from dlbench.report.frames import Measured
from dlbench.report.judge import one_line

Call = Callable[[str, dict[str, Any], float], dict[str, Any]]
Artefacts = Mapping[str, Mapping[int, Mapping[str, NDArray[Any]]]]
"""audit → seed → name → array."""

JUDGE_TIMEOUT = 120.0
MOST_SAMPLES = 12

AXES = ("audit", "axis", "subject", "value", "low", "high", "n", "about", "reason", "doubt")
FOLDS = ("audit", "axis", "subject", "seed", "value")
VERDICTS = ("audit", "claim", "kind", "subject", "verdict", "estimate", "low", "high", "n", "criterion", "reason")
NUMBERS = ("audit", "metric", "subject", "value", "low", "high", "n", "unit", "better", "about")


@dataclass(frozen=True)
class Sample:
    """An image that an audit keeps of the model, and the line below it."""

    audit: str
    title: str
    image: NDArray[np.uint8]  # [channels, height, width]
    caption: str


class Weakness(NamedTuple):
    """Something that a model was found wanting in."""

    audit: str  # where the evidence is
    text: str


@dataclass(frozen=True)
class Card:
    """What audits found of one model.

    Attributes:
        subject: what the model is called.
        facts: what is known of the measurement, name → text.
        axes: a row an axis and model; ``value`` is from 0, the worst, to 1, the best, with its interval over ``n``
            parts of the examples; ``doubt`` names a control of the audit that did not hold for the model.
        folds: the values behind the axes, a row a part of the examples.
        verdicts: a row a claim or control and model.
        numbers: a row a metric and model, of audits that have no axis, such as cost.
        samples: images that the model fails on, the worst first.
        missing: audit → why it measured nothing.
        findings: what was found in the data before anything was measured, a line each.
    """

    subject: str
    facts: Mapping[str, str]
    axes: pd.DataFrame
    folds: pd.DataFrame
    verdicts: pd.DataFrame
    numbers: pd.DataFrame
    samples: Sequence[Sample]
    missing: Mapping[str, str]
    findings: Sequence[str] = field(default_factory=tuple)

    @property
    def references(self) -> list[str]:
        """The models that stand beside it."""
        return [name for name in dict.fromkeys(self.axes.subject) if name != self.subject]

    @property
    def own(self) -> pd.DataFrame:
        """Its rows of :attr:`axes` that have a value."""
        return self.axes[(self.axes.subject == self.subject) & self.axes.value.notna()]

    @cached_property
    def weaknesses(self) -> list[Weakness]:
        """What is wrong with the model, in sentences: claims that do not hold, then axes on which another is better.

        A model counts as better where the interval of the difference, over the same parts of the examples, says so.
        """
        mine = self.verdicts[(self.verdicts.subject == self.subject) & (self.verdicts.kind == "claim")]
        found = []
        for row in mine[mine.verdict == "does not hold"].itertuples():
            where = row.criterion.partition(" at ")[2].removeprefix(f"subject={self.subject}").strip(", ")
            number = interval(row.estimate, row.low, row.high) + (f" at {where}" if where else "")
            found.append(Weakness(row.audit, f"refuted: {row.claim} ({number})"))
        for row in self.own.sort_values("value").itertuples():
            if best := self._better(row.audit, row.axis):
                here = self.axes[(self.axes.audit == row.audit) & (self.axes.axis == row.axis)].set_index("subject")
                theirs = here.loc[best]
                values = interval(row.value, row.low, row.high), interval(theirs.value, theirs.low, theirs.high)
                found.append(Weakness(row.audit, f"on {row.axis} it has {values[0]}, and {best} {values[1]}"))
        return found

    def _better(self, audit: str, axis: str) -> str:
        """Of the models that are better on an axis, part by part of the examples, the best; nothing if none is."""
        here = self.folds[(self.folds.audit == audit) & (self.folds.axis == axis)]
        values = here.pivot(index="seed", columns="subject", values="value")
        ahead = values.sub(values[self.subject], axis=0)
        certain = [name for name in self.references if name in ahead and stats.t_interval(ahead[name]).low > 0]
        return max(certain, key=lambda name: float(values[name].mean()), default="")

    def write(self, folder: Path, report: str = "") -> Path:
        """Write card.html, axes.csv, folds.csv, verdicts.csv and numbers.csv; returns the page's path.

        Args:
            folder: where to, made if it is not there.
            report: the file of the full report beside it, to link to.
        """
        from dlbench.audit import page

        for name in ("axes", "folds", "verdicts", "numbers"):
            files.write(folder / f"{name}.csv", files.csv_text(getattr(self, name)))
        files.write(folder / page.FILE, page.render(self, report))
        return folder / page.FILE

    def _repr_html_(self) -> str:
        """In a notebook: the picture, and what is weak."""
        from dlbench.audit import page

        return page.summary(self)


def make(
    everything: Sequence[Measured],
    artefacts: Artefacts,
    subject: str,
    *,
    facts: Mapping[str, str],
    findings: Sequence[str] = (),
    missing: Mapping[str, str] | None = None,
    call: Call | None = None,
) -> Card:
    """A card of what audits have measured.

    Args:
        everything: one for each audit.
        artefacts: what their trials kept.
        subject: the model that the card is of; the others are references.
        facts: see :class:`Card`.
        findings: likewise.
        missing: audits that were not made, and why.
        call: what runs the plugins' rules, isolated; None runs them in this process.
    """
    axes: list[dict[str, Any]] = []
    verdicts: list[dict[str, Any]] = []
    numbers: list[dict[str, Any]] = []
    folds: list[dict[str, Any]] = []
    absent = dict(missing or {})
    for one in everything:
        why = next((str(result["reason"]) for result in one.failed), "it did not run")
        if not one.ok:
            absent[one.name] = why
            continue
        if len(one.ok) < len(one.planned):
            absent[one.name] = f"{len(one.planned) - len(one.ok)} of {len(one.planned)} parts of the examples: {why}"
        payload = {"name": one.name, "plan": dict(one.plan), "rows": one.rows, "missing": one.missing}
        try:
            found = judge.judge(payload) if call is None else call("dlbench.audit.judge:judge", payload, JUDGE_TIMEOUT)
        except Exception as error:  # whatever a plugin does, the rest of the card stands
            absent[one.name] = f"it cannot be judged: {one_line(error)}"
            continue
        doubts = _doubts(found["verdicts"])
        axes += [
            {"audit": one.name} | record | {"doubt": doubts.get(record["subject"], "")} for record in found["axes"]
        ]
        folds += [
            {"audit": one.name, "axis": record["axis"], "subject": record["subject"], "seed": seed, "value": value}
            for record in found["axes"]
            for seed, value in record["folds"].items()
        ]
        verdicts += [
            {"audit": one.name, "claim": record["statement"], "verdict": record["outcome"]} | record
            for record in found["verdicts"]
        ]
        if not found["axes"]:
            numbers += _numbers(one)
    return Card(
        subject=subject,
        facts=facts,
        axes=pd.DataFrame(axes, columns=list(AXES)),
        folds=pd.DataFrame(folds, columns=list(FOLDS)),
        verdicts=pd.DataFrame(verdicts, columns=list(VERDICTS)),
        numbers=pd.DataFrame(numbers, columns=list(NUMBERS)),
        samples=list(_samples(artefacts, subject)),
        missing=absent,
        findings=findings,
    )


def _doubts(verdicts: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Subject → a control that does not hold for it, or is open, in words."""
    return {
        verdict["subject"]: f"a control of it {_VERBS.get(verdict['outcome'], 'is invalid')}: {verdict['statement']}"
        for verdict in verdicts
        if verdict["kind"] != "claim" and verdict["outcome"] != "holds"
    }


_VERBS = {"does not hold": "does not hold", "inconclusive": "is inconclusive"}


def _numbers(one: Measured) -> Iterator[dict[str, Any]]:
    """The mean of each metric of each subject over the seeds, of its rows that have no settings beside it."""
    rows = one.rows
    for metric, declared in one.plan["metrics"].items():
        for subject, mine in rows[rows[metric].notna()].groupby("subject", sort=False):
            firsts = mine[~mine.index.duplicated()]  # the first row of a seed is the model as it is
            value, low, high, n = stats.t_interval(firsts[metric])
            about = {"unit": declared["unit"], "better": declared["better"] or "", "about": declared["description"]}
            yield {"audit": one.name, "metric": metric, "subject": subject, "value": value} | {
                "low": low,
                "high": high,
                "n": n,
                **about,
            }


def _samples(artefacts: Artefacts, subject: str) -> Iterator[Sample]:
    """What trials kept of the subject: under each title the first of every seed, then the second, up to so many."""
    for audit, by_seed in artefacts.items():
        piles: dict[str, list[list[Sample]]] = {}
        for arrays in by_seed.values():
            for name, images in arrays.items():
                if not name.startswith(SHOWN):
                    continue
                named, title = json.loads(name.removeprefix(SHOWN))
                captions = arrays.get(CAPTIONS + name.removeprefix(SHOWN), [""] * len(images))
                if named == subject:
                    pile = [Sample(audit, title, i, str(c)) for i, c in zip(images, captions, strict=False)]
                    piles.setdefault(title, []).append(pile)
        for under in piles.values():
            dealt = [pile[k] for k in range(max(map(len, under))) for pile in under if k < len(pile)]
            yield from dealt[:MOST_SAMPLES]


def interval(value: float, low: float, high: float) -> str:
    """A number with its interval, as printed."""
    return f"{value:.3g} [{low:.3g}, {high:.3g}]"
