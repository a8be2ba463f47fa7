"""A bundle against its protocol and against what was accepted before it, rule by rule."""

from __future__ import annotations

import datetime
import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlbench import recompute, stats
from dlbench.leaderboard import bundle as bundles
from dlbench.leaderboard import conformance
from dlbench.leaderboard.bundle import Bundle, canonical, uncollected
from dlbench.leaderboard.container import Rejected
from dlbench.leaderboard.protocol import Protocol

LEVELS = ("self_reported", "checked", "recomputed", "reproduced")
"""What a row is worth: V24 was flagged; every rule passed; metrics were computed from predictions; cells were measured
again here, alike."""

RULES = {
    "V01": "its size, and that it is whole",
    "V02": "names of files",
    "V03": "the manifest",
    "V04": "kinds of files",
    "V05": "strict JSON of a known schema",
    "V06": "identifiers",
    "V07": "metrics as declared, within their bounds",
    "V08": "scales",
    "V09": "a trial for each planned seed, the same rows in each",
    "V10": "the protocol's seeds",
    "V11": "the protocol's data",
    "V12": "the protocol's version and parameters",
    "V13": "enough seeds",
    "V14": "failures",
    "V15": "tuning",
    "V16": "metrics from predictions",
    "V17": "aggregates",
    "V18": "chance",
    "V19": "nothing better than possible",
    "V20": "times",
    "V21": "whose row it is",
    "V22": "copies",
    "V23": "changes",
    "V24": "the code's revision",
    "V25": "cells measured again",
    "V26": "metrics under predictors of known worth",
}


@dataclass(frozen=True)
class Finding:
    """What became of a rule: "pass", "reject", "flag" (it stays, and is told), or "skip" (nothing to look at)."""

    rule: str
    outcome: str
    message: str = ""


@dataclass(frozen=True)
class Verification:
    """What became of all rules.

    Attributes:
        findings: one a rule, as far as it got: after a broken container or schema nothing else is looked at.
        bundle: what was read; None where it could not be.
    """

    findings: Sequence[Finding]
    bundle: Bundle | None = field(default=None, repr=False)

    @property
    def rejected(self) -> list[Finding]:
        """The rules that it breaks."""
        return [finding for finding in self.findings if finding.outcome == "reject"]

    @property
    def level(self) -> str:
        """One of LEVELS, or "rejected"."""
        if self.rejected:
            return "rejected"
        outcomes = {finding.rule: finding.outcome for finding in self.findings}
        if outcomes.get("V24") == "flag":  # nobody else can have this code
            return "self_reported"
        if outcomes.get("V25") == "pass":
            return "reproduced"
        return "recomputed" if outcomes.get("V16") == "pass" else "checked"


Rerun = Callable[[Bundle, Sequence[int]], dict[int, list[dict[str, Any]] | str]]
"""Measures cells of a bundle again: seeds → their rows, or why there are none."""


class History:
    """What a board has accepted: whose rows those are, and their numbers.

    Attributes:
        rows: (experiment, cell, parameters) → submitter and mean of the main metric.
        fingerprints: (experiment, digest of a subject's numbers) → submitter and subject.
    """

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str, str], tuple[str, float]] = {}
        self.fingerprints: dict[tuple[str, str], tuple[str, str]] = {}

    def add(self, bundle: Bundle, protocol: Protocol) -> None:
        """Remember a bundle."""
        by = bundle.claim.submitter
        self.rows |= {key: (by, mean) for key, mean in _once(_means, bundle, protocol).items()}
        for key, subject in _once(_fingerprints, bundle, protocol).items():
            self.fingerprints.setdefault(key, (by, subject))


@uncollected()
def verify(
    path: Path,
    protocols: Mapping[str, Protocol],
    history: History | None = None,
    *,
    rerun: int = 0,
    measure: Rerun | None = None,
) -> Verification:
    """Hold a bundle against the rules.

    Args:
        path: its folder or zip file.
        protocols: experiment → what its board admits, as of :func:`dlbench.leaderboard.protocol.read`.
        history: what the board has accepted.
        rerun: how many of its cells are measured again, drawn by its digest.
        measure: what does that; needed where ``rerun`` is not 0.

    Raises:
        OSError: it cannot be read.
    """
    try:
        bundle = bundles.read(path)
    except Rejected as error:
        return broken(error)
    return judge(bundle, protocols, history, rerun=rerun, measure=measure)


def broken(error: Rejected) -> Verification:
    """The verification of what could not be read: nothing behind the first rule that it breaks was looked at."""
    before = [Finding(rule, "pass") for rule in RULES if rule < min(error.rule, "V07")]
    return Verification([*before, Finding(error.rule, "reject", error.message)])


def judge(
    bundle: Bundle,
    protocols: Mapping[str, Protocol],
    history: History | None = None,
    *,
    rerun: int = 0,
    measure: Rerun | None = None,
) -> Verification:
    """:func:`verify` of a bundle that has been read."""
    findings = [Finding(rule, "pass") for rule in RULES if rule < "V07"]
    protocol = protocols.get(bundle.experiment)
    if protocol is None:
        known = ", ".join(protocols) or "none"
        reason = f"there is no board of {bundle.experiment}; the protocols here are of {known}"
        return Verification([*findings, Finding("V12", "reject", reason)], bundle)
    for rule in RULES:
        if rule < "V07":
            continue
        if rule == "V25":
            findings.append(_again(bundle, rerun, measure))
        else:
            check = _CHECKS.get(rule)
            first = next(check(bundle, protocol, history or History()), None) if check else None
            findings.append(first or Finding(rule, *_UNASKED.get(rule, ("pass", ""))))
    return Verification(findings, bundle)


_UNASKED = {
    "V17": ("pass", "a bundle has none: means and intervals are computed here"),
}

Found = Iterator[Finding]
_Check = Callable[[Bundle, Protocol, History], Found]


# ------------------------------------------------------------------------------------------------------------- rules


def _metrics(bundle: Bundle, protocol: Protocol, _: History) -> Found:
    """V07: declared as the protocol has them, and every number within its bounds."""
    for name, declared in protocol.metrics.items():
        told = bundle.plan["metrics"].get(name)
        if told is None:
            yield Finding("V07", "reject", f"plan.json lacks the metric {name}")
            return
        for part in ("unit", "better", "main", "low", "high"):
            if told.get(part) != declared.get(part):
                yield Finding(
                    "V07", "reject", f"{name}: {part} is {told.get(part)!r}; the protocol has {declared.get(part)!r}"
                )
    for name, declared in protocol.metrics.items():
        low, high = declared.get("low", -math.inf), declared.get("high", math.inf)
        x = bundle.numbers[name]
        for seed, subject, value in _where(
            bundle, name, ~(np.isnan(x) | ((low <= x) & (x <= high)) | _per_cent(x, high))
        ):
            yield Finding("V07", "reject", f"seed {seed}, {subject}: {name} is {value:g}; expected {low:g} to {high:g}")


def _per_cent(x: NDArray[np.float64], high: float) -> NDArray[np.bool_]:
    """What is V08's to tell of."""
    return (x > 1) & (x <= 100) & (high == 1)


def _scales(bundle: Bundle, protocol: Protocol, _: History) -> Found:
    """V08: a metric from 0 to 1 is not given in per cent; nothing is rescaled."""
    for name, declared in protocol.metrics.items():
        x = bundle.numbers.get(name, np.empty(0))
        for seed, subject, value in _where(bundle, name, _per_cent(x, declared.get("high", math.inf))):
            told = f"{name} is {value:g} on a scale of 0 to 1; is it in per cent? nothing is rescaled here"
            yield Finding("V08", "reject", f"seed {seed}, {subject}: {told}")


def _cells(bundle: Bundle, _: Protocol, __: History) -> Found:
    """V09: every planned seed has one record and no other has; all that measured have the same rows, each once."""
    seeds = [record["seed"] for record in bundle.records]
    planned = bundle.plan["seeds"]
    for seed in planned:
        if seeds.count(seed) == 0:
            yield Finding("V09", "reject", f"seed {seed} is planned, and has no record")
        elif seeds.count(seed) > 1:
            yield Finding("V09", "reject", f"seed {seed} has {seeds.count(seed)} records; expected one")
    for seed in seeds:
        if seed not in planned:
            yield Finding("V09", "reject", f"seed {seed} has a record, and is not planned")
    by_seed: dict[int, list[str]] = {record["seed"]: [] for record in bundle.ok}
    for seed, cell, _row in bundle.cells:
        by_seed[seed].append(cell)
    first: tuple[int, set[str]] | None = None
    for seed, cells in by_seed.items():
        distinct = set(cells)
        if len(distinct) < len(cells):
            twice = next(cell for cell, count in Counter(cells).items() if count > 1)
            yield Finding("V09", "reject", f"seed {seed} has two rows for {twice[:120]}")
        if not cells:
            yield Finding("V09", "reject", f"seed {seed} is ok and has no rows")
        first = first or (seed, distinct)
        if odd := sorted(first[1] ^ distinct):
            yield Finding("V09", "reject", f"seeds {first[0]} and {seed} differ in their rows: {odd[0][:120]}")


def _seeds(bundle: Bundle, protocol: Protocol, _: History) -> Found:
    """V10: the planned seeds are those of the protocol, whole numbers from 0 on."""
    planned = bundle.plan["seeds"]
    if not all(isinstance(seed, int) and not isinstance(seed, bool) and seed >= 0 for seed in planned):
        yield Finding("V10", "reject", "a planned seed is no whole number from 0 on")
    elif sorted(planned) != sorted(protocol.seeds):
        from dlbench.report.board import seed_list

        yield Finding(
            "V10", "reject", f"seeds {seed_list(planned) or 'none'}; the protocol has {seed_list(protocol.seeds)}"
        )


def _data(bundle: Bundle, protocol: Protocol, _: History) -> Found:
    """V11: the data sets and their fingerprints are those of the protocol."""
    if bundle.plan["datasets"] != protocol.datasets:
        told, wanted = (
            ", ".join(f"{name} {str(digest)[:12]}" for name, digest in sorted(sets.items())) or "none"
            for sets in (bundle.plan["datasets"], protocol.datasets)
        )
        yield Finding("V11", "reject", f"data {told}; the protocol has {wanted}")


def _terms(bundle: Bundle, protocol: Protocol, _: History) -> Found:
    """V12: the experiment's version is the protocol's, and so are all parameters that it does not leave free."""
    if bundle.plan["version"] != protocol.version:
        yield Finding("V12", "reject", f"version {bundle.plan['version']}; the protocol is of {protocol.version}")
    told, wanted = (
        {name: canonical(value) for name, value in parameters.items() if name not in protocol.free}
        for parameters in (bundle.plan["parameters"], protocol.parameters)
    )
    for name in sorted(told.keys() | wanted.keys()):
        mine, theirs = (values.get(name, "absent") for values in (told, wanted))
        if mine != theirs:
            yield Finding("V12", "reject", f"{name} is {mine[:60]}; the protocol has {theirs[:60]}")


def _enough(bundle: Bundle, _: Protocol, __: History) -> Found:
    """V13: enough trials gave measurements for a verdict."""
    if len(bundle.ok) < stats.MIN_SEEDS:
        yield Finding("V13", "reject", f"{len(bundle.ok)} trials gave measurements; expected {stats.MIN_SEEDS} or more")


def _failures(bundle: Bundle, protocol: Protocol, _: History) -> Found:
    """V14: no more trials failed than the protocol allows; failed ones are in the bundle."""
    failed = [record for record in bundle.records if record["status"] != "ok"]
    if len(failed) > protocol.most_failed:
        yield Finding("V14", "reject", f"{len(failed)} trials failed; the protocol allows {protocol.most_failed}")


def _tuning(bundle: Bundle, _: Protocol, __: History) -> Found:
    """V15: how many configurations were tried and what chose among them is told; never the test data."""
    claim = bundle.claim
    if claim.tuned_trials < 0:
        yield Finding("V15", "reject", f"tuned_trials is {claim.tuned_trials}; expected a number from 0 on")
    if claim.selection not in bundles.SELECTIONS:
        yield Finding(
            "V15", "reject", f"selection is {claim.selection[:32]!r}; expected {', '.join(bundles.SELECTIONS)}"
        )
    elif claim.selection == "test":
        yield Finding("V15", "reject", "it was selected on test data; choose by validation data and run it again")
    elif claim.tuned_trials and claim.selection == "none":
        yield Finding("V15", "reject", f"{claim.tuned_trials} configurations were tried, selected by nothing")


def _recomputed(bundle: Bundle, protocol: Protocol, _: History) -> Found:
    """V16: what the protocol can compute from predictions is what the rows say, and every row has them."""
    functions = {name: metric["recomputed"] for name, metric in protocol.metrics.items() if metric.get("recomputed")}
    if unknown := sorted(set(functions.values()) - set(recompute.METRICS)):
        yield Finding("V16", "flag", f"this dlbench computes no {unknown[0]}")
        return
    if not functions:
        yield Finding("V16", "skip", "the protocol computes no metric from predictions")
        return
    without = 0
    files = {(record["seed"], cell): file for record in bundle.ok for cell, file in record["predictions"].items()}
    for seed, cell, row in bundle.cells:
        wanted = functions.keys() & row.keys()
        if (seed, cell) not in files:
            without += bool(wanted)
            continue
        try:
            table = recompute.read(bundle.predictions[files[seed, cell]])
            again = {name: recompute.METRICS[functions[name]](table[:, 0], table[:, 1:]) for name in sorted(wanted)}
        except (recompute.NotPredictions, IndexError) as error:
            yield Finding("V16", "reject", f"{files[seed, cell]}: {' '.join(str(error).split())[:200]}")
            return
        for name, value in again.items():
            if not math.isclose(value, row[name], rel_tol=1e-9, abs_tol=1e-9):
                told = f"{name} is {row[name]:.9g}, from the predictions it is {value:.9g}"
                yield Finding("V16", "reject", f"seed {seed}, {cell[:80]}: {told}")
    if not files:
        yield Finding("V16", "skip", "it has no predictions, so that its numbers are as the trials gave them")
    elif without:
        yield Finding("V16", "flag", f"{without} measurements have no predictions")


def _chance(bundle: Bundle, protocol: Protocol, _: History) -> Found:
    """V18: where no number of the main metric changes from seed to seed, there are not as many trials as seeds."""
    first: dict[str, float] = {}
    steady = len(bundle.ok) > 1 and all(
        row[protocol.main] == first.setdefault(cell, row[protocol.main])
        for _seed, cell, row in bundle.cells
        if protocol.main in row
    )
    if first and steady:
        yield Finding("V18", "flag", f"{protocol.main} is the same on every seed, in every row")


def _ceiling(bundle: Bundle, protocol: Protocol, _: History) -> Found:
    """V19: no number is better than the best possible, which is what an oracle scores where that is known."""
    oracles = {name: known["oracle"] for name, known in protocol.conformance.items() if "oracle" in known}
    for name, limit in ({protocol.main: protocol.ceiling} | oracles).items():
        better = protocol.metrics.get(name, {}).get("better")
        if not better:
            continue
        sign, x = 1 if better == "higher" else -1, bundle.numbers.get(name, np.empty(0))
        for seed, subject, value in _where(bundle, name, sign * x > sign * limit + 1e-12):
            told = f"{name} is {value:g}; nothing is better than {limit:g}"
            yield Finding("V19", "reject", f"seed {seed}, {subject}: {told}")


def _conformance(_: Bundle, protocol: Protocol, __: History) -> Found:
    """V26: by what V16 computes, predictors of known worth rank as they should and score what the protocol has."""
    known = {name: metric for name, metric in protocol.metrics.items() if metric.get("recomputed") in recompute.METRICS}
    for name, metric in known.items():
        if problem := conformance.problem(name, metric):
            yield Finding("V26", "reject", problem)
        now = conformance.scores(metric["recomputed"])
        for who, then in protocol.conformance.get(name, {}).items():
            if not math.isclose(now.get(who, math.nan), then, rel_tol=1e-9, abs_tol=1e-9):
                told = f"{now.get(who, math.nan):.9g} here, and {then:.9g} in the protocol"
                yield Finding("V26", "reject", f"{name}: the {who} predictor scores {told}")
    if not known:
        yield Finding("V26", "skip", "no metric is computed from predictions; `dlbench check` asks this of the plugin")
    elif unknown := sorted(known.keys() - protocol.conformance.keys()):
        yield Finding(
            "V26", "skip", f"the protocol does not tell what an oracle scores in {unknown[0]}; write it again"
        )


def _times(bundle: Bundle, _: Protocol, __: History) -> Found:
    """V20: trials end after 2020 and before they were submitted, and take no negative time (which reading refuses)."""
    submitted = bundle.claim.submitted_at
    for record in bundle.records:
        finished = record["finished"]
        try:
            when = datetime.datetime.fromisoformat(finished)
        except ValueError:
            yield Finding("V20", "reject", f"seed {record['seed']} finished at {finished[:40]!r}, which is no time")
            continue
        if when.tzinfo is None or when.year < 2020 or when > datetime.datetime.fromisoformat(submitted):
            yield Finding("V20", "reject", f"seed {record['seed']} finished at {finished[:40]}, submitted {submitted}")


def _owner(bundle: Bundle, protocol: Protocol, history: History) -> Found:
    """V21: a row is replaced only by those who submitted it."""
    if not history.rows:
        return
    for key in _once(_means, bundle, protocol):
        by, _ = history.rows.get(key, (bundle.claim.submitter, 0.0))
        if by != bundle.claim.submitter:
            yield Finding("V21", "reject", f"{key[1][:80]} is a row of {by}; only they replace it")


def _copies(bundle: Bundle, protocol: Protocol, history: History) -> Found:
    """V22: two names for one thing; a subject's numbers on all seeds are its fingerprint."""
    if not history.fingerprints:
        return
    for key, subject in _once(_fingerprints, bundle, protocol).items():
        by, other = history.fingerprints.get(key, ("", subject))
        if other != subject:
            yield Finding("V22", "reject", f"{subject[:80]} has the numbers of {other[:80]}, submitted by {by}")


def _changes(bundle: Bundle, protocol: Protocol, history: History) -> Found:
    """V23: a row changes for a reason."""
    if not history.rows or bundle.claim.reason.strip():
        return
    for key, after in _once(_means, bundle, protocol).items():
        _, before = history.rows.get(key, ("", after))
        if abs(after - before) > protocol.epsilon:
            told = f"{key[1][:80]} was {before:.4g} and is {after:.4g}; say why with --reason"
            yield Finding("V23", "reject", told)


def _revision(bundle: Bundle, _: Protocol, __: History) -> Found:
    """V24: all code has a revision and no changes beside it. Whether it can be had at code_url is not looked up."""
    for facts in bundle.environments.values():
        code = facts.get("code")
        for name, told in sorted(code.items()) if isinstance(code, dict) else [("the code", {})]:
            if not isinstance(told, dict) or not told.get("revision") or told.get("dirty"):
                what = "has changes beside its revision" if isinstance(told, dict) and told.get("dirty") else "has none"
                yield Finding("V24", "flag", f"revision: {name} {what}; its rows stay self-reported")


def _again(bundle: Bundle, rerun: int, measure: Rerun | None) -> Finding:
    """V25: some cells, which the bundle's own digest draws, measured again here."""
    if not rerun or measure is None:
        return Finding("V25", "skip", "no cell was measured again; --rerun does")
    seeds = drawn(bundle, rerun)
    timed = {name for name, metric in bundle.plan["metrics"].items() if metric.get("timed")}
    metrics = bundle.plan["metrics"]
    for seed, rows in measure(bundle, seeds).items():
        if isinstance(rows, str):
            return Finding("V25", "reject", f"seed {seed} cannot be measured again: {rows}")
        then = {cell: row for one, cell, row in bundle.cells if one == seed}
        now = {canonical({name: row[name] for name in row.keys() - metrics.keys()}): row for row in rows}
        if then.keys() != now.keys():
            return Finding("V25", "reject", f"seed {seed}: other rows came out: {sorted(then.keys() ^ now.keys())[0]}")
        for cell, row in then.items():
            for name in sorted(row.keys() & metrics.keys() - timed):
                again = now[cell].get(name, math.nan)
                if not _alike(row[name], again, _spread(bundle, cell, name)):
                    told = f"{name} is {row[name]:g} in the bundle and {again:g} here"
                    return Finding("V25", "reject", f"seed {seed}, {cell[:80]}: {told}")
    return Finding("V25", "pass", f"seeds {', '.join(map(str, seeds))} came out alike")


def drawn(bundle: Bundle, count: int) -> list[int]:
    """So many seeds of trials that gave measurements, drawn by the bundle's digest."""
    order = sorted(
        (record["seed"] for record in bundle.ok),
        key=lambda seed: hashlib.sha256(f"{bundle.digest} {seed}".encode()).hexdigest(),
    )
    return sorted(order[:count])


def _alike(was: float, now: float, spread: float) -> bool:
    """Equal but for rounding; or, of another kind of processor, within what the seeds scatter by."""
    if was != was or now != now:
        return was != was and now != now
    return was == now or abs(was - now) <= max(1e-6 * max(abs(was), abs(now)), 0.1 * spread)


def _spread(bundle: Bundle, cell: str, metric: str) -> float:
    """The standard deviation over seeds of one metric of one cell."""
    numbers = (row.get(metric, math.nan) for _, other, row in bundle.cells if other == cell)
    values = [value for value in numbers if math.isfinite(value)]
    mean = sum(values) / len(values) if values else 0.0
    return math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1)) if len(values) > 1 else 0.0


_CHECKS: dict[str, _Check] = {
    "V07": _metrics,
    "V08": _scales,
    "V09": _cells,
    "V10": _seeds,
    "V11": _data,
    "V12": _terms,
    "V13": _enough,
    "V14": _failures,
    "V15": _tuning,
    "V16": _recomputed,
    "V18": _chance,
    "V19": _ceiling,
    "V20": _times,
    "V21": _owner,
    "V22": _copies,
    "V23": _changes,
    "V24": _revision,
    "V26": _conformance,
}


# ------------------------------------------------------------------------------------------------- what rules look at


def _where(bundle: Bundle, name: str, which: NDArray[np.bool_]) -> Iterator[tuple[int, str, float]]:
    """Seed, subject and value of the cells that are true."""
    for index in np.flatnonzero(which):
        seed, _, row = bundle.cells[index]
        yield seed, row["subject"], row[name]


def _once(of: Callable[[Bundle, Protocol], dict[Any, Any]], bundle: Bundle, protocol: Protocol) -> dict[Any, Any]:
    """What several rules look at; a bundle remembers it."""
    key = (of.__name__, protocol.main)
    if key not in bundle.known:
        bundle.known[key] = of(bundle, protocol)
    known: dict[Any, Any] = bundle.known[key]
    return known


def _means(bundle: Bundle, protocol: Protocol) -> dict[tuple[str, str, str], float]:
    """(experiment, cell, parameters) → the mean of the main metric."""
    parameters = canonical(bundle.plan["parameters"])
    values: dict[str, list[float]] = {}
    for (_seed, cell, _row), value in zip(bundle.cells, _main(bundle, protocol), strict=True):
        values.setdefault(cell, []).extend([value] if value == value else [])
    return {
        (bundle.experiment, cell, parameters): sum(numbers) / len(numbers)
        for cell, numbers in values.items()
        if numbers
    }


def _fingerprints(bundle: Bundle, protocol: Protocol) -> dict[tuple[str, str], str]:
    """(experiment, digest of a subject's numbers in all settings on all seeds) → it; without chance it has none."""
    by_subject: dict[str, list[Any]] = {}
    settings: dict[str, str] = {}  # of each cell: what is left of it without its subject
    for (seed, cell, row), value in zip(bundle.cells, _main(bundle, protocol), strict=True):
        if protocol.main in row:
            if cell not in settings:
                settings[cell] = cell.replace(canonical(row["subject"]), "", 1)
            by_subject.setdefault(row["subject"], []).append((seed, settings[cell], value))
    return {
        (bundle.experiment, hashlib.sha256(repr(sorted(numbers)).encode()).hexdigest()): subject
        for subject, numbers in by_subject.items()
        if len({value for _, _, value in numbers}) > 2
    }


def _main(bundle: Bundle, protocol: Protocol) -> list[float]:
    """The main metric of every cell; NaN where it has none."""
    numbers = bundle.numbers.get(protocol.main)
    return [math.nan] * len(bundle.cells) if numbers is None else numbers.tolist()
