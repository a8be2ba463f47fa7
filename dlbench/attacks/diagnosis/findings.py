"""What a diagnosis says: one finding a rule, and all of them as a table."""

from __future__ import annotations

import html
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from torch import Tensor

from dlbench.errors import did_you_mean

if TYPE_CHECKING:
    import pandas as pd

Verdict = Literal["skip", "pass", "warn", "fail"]
SEVERITY: tuple[Verdict, ...] = ("skip", "pass", "warn", "fail")  # the later, the worse


@dataclass(frozen=True, eq=False)
class Finding:
    """What one rule found.

    Args:
        rule: ``"M1"`` to ``"M20"``.
        title: what is true where nothing is masked.
        verdict: ``"pass"``, ``"warn"``, ``"fail"``, or ``"skip"`` where the question could not be put.
        value: what was measured; NaN where there is nothing to.
        threshold: what it was held against; NaN where there is none.
        samples: [k] int64, the ids of the samples that speak against the model, also where they are too few to matter.
        advice: what to do about it, one line.
        reason: the particulars: what decided, or why the rule was skipped.
        source: where the rule comes from.
    """

    rule: str
    title: str
    verdict: Verdict
    value: float
    threshold: float
    samples: Tensor
    advice: str
    reason: str
    source: str


@dataclass(frozen=True, eq=False, repr=False)
class Diagnosis:
    """All findings, in the order of the rules; ``diagnosis["M1"]`` is one of them, ``print(diagnosis)`` shows all.

    Args:
        findings: one a rule that was asked.
        broken_by: for each attack, in the order in which they ran, the ids [k] of the samples that it was the first to
            break; empty where rule M17 was not asked.
        forwards, backwards: [N] passes that each sample was in.
    """

    findings: tuple[Finding, ...]
    broken_by: Mapping[str, Tensor]
    forwards: Tensor
    backwards: Tensor

    @property
    def verdict(self) -> Verdict:
        """The worst of the findings'."""
        return max((finding.verdict for finding in self.findings), key=SEVERITY.index)

    @property
    def failed(self) -> tuple[str, ...]:
        """The rules that failed."""
        return tuple(finding.rule for finding in self.findings if finding.verdict == "fail")

    def __getitem__(self, rule: str) -> Finding:
        by_rule = {finding.rule: finding for finding in self.findings}
        if rule not in by_rule:
            raise KeyError(f"rule {rule!r} was not asked{did_you_mean(rule, by_rule)}")
        return by_rule[rule]

    def frame(self) -> pd.DataFrame:
        """One row a rule, indexed by it; ``samples`` holds lists of ids."""
        import pandas as pd

        columns = ("verdict", "value", "threshold", "title", "samples", "reason", "advice", "source")
        rows = [[getattr(finding, column) for column in columns] for finding in self.findings]
        frame = pd.DataFrame(rows, columns=list(columns), index=[finding.rule for finding in self.findings])
        frame["samples"] = [samples.tolist() for samples in frame["samples"]]
        return frame.rename_axis("rule")

    def __str__(self) -> str:
        lines = [self._summary(), ""]
        for f in self.findings:
            lines.append(f"{f.rule:<4}{f.verdict:<6}{_number(f.value):>9}{_number(f.threshold):>9}  {f.title}")
            lines.extend(f"{'':30}{text}" for text in _particulars(f))
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{name}</th>" for name in ("rule", "verdict", "value", "threshold", "what is asked"))
        rows = []
        for f in self.findings:
            about = "<br>".join(map(html.escape, (f.title, *_particulars(f))))
            cells = (f.rule, f.verdict, _number(f.value), _number(f.threshold))
            colour = f' style="color:{_COLOURS[f.verdict]}"'
            rows.append(f"<tr{colour}>" + "".join(f"<td>{cell}</td>" for cell in (*cells, about)) + "</tr>")
        return f"<p>{html.escape(self._summary())}</p><table><tr>{head}</tr>{''.join(rows)}</table>"

    def _summary(self) -> str:
        counts = Counter(finding.verdict for finding in self.findings)
        parts = ", ".join(f"{counts[verdict]} {verdict}" for verdict in reversed(SEVERITY) if counts[verdict])
        forwards, backwards = (float(passes.double().mean()) for passes in (self.forwards, self.backwards))
        return (
            f"gradient masking: {self.verdict} ({parts}); {len(self.forwards)} samples, "
            f"{forwards:.0f} forward and {backwards:.0f} backward passes each"
        )


_COLOURS: dict[Verdict, str] = {"fail": "#b00020", "warn": "#8a5a00", "pass": "inherit", "skip": "#777"}
_SHOWN = 8  # ids in a table; a finding has all of them


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.4g}"


def _particulars(finding: Finding) -> list[str]:
    """The lines below a rule: nothing where it passed a threshold; where it did not, why, who, and what to do."""
    lines = [finding.reason] if finding.verdict != "pass" or math.isnan(finding.threshold) else []
    if finding.verdict in ("warn", "fail"):
        ids = finding.samples.tolist()
        if ids:
            listing = ", ".join(map(str, ids[:_SHOWN])) + (", …" if len(ids) > _SHOWN else "")
            lines.append(f"{len(ids)} sample{'s' * (len(ids) > 1)}: {listing}")
        lines.append(f"→ {finding.advice}")
    return lines
