"""What one run measured of one experiment, as a submission: written from a run folder, read back checked.

It holds the plan, every result, failed ones included, the environments and the claim of who submits it, under a
manifest of digests. There are no means and no intervals in it.
"""

from __future__ import annotations

import contextlib
import datetime
import gc
import io
import json
import math
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dlbench import recompute
from dlbench.errors import UsageError
from dlbench.experiment import PREDICTIONS
from dlbench.leaderboard import container, strict
from dlbench.leaderboard.container import Rejected
from dlbench.leaderboard.protocol import is_id

if TYPE_CHECKING:
    from dlbench.report.frames import Measured
    from dlbench.store import Run

SCHEMA = 1
SELECTIONS = ("none", "val", "test")
LONGEST = 128  # characters of a subject
_SUBJECT = re.compile(r"[A-Za-z0-9][ -~]*")  # nothing that looks like another, and nothing that a spreadsheet runs

_PLAN = ("title", "version", "preset", "parameters", "datasets", "seeds", "device", "metrics", "plugin", "code")
_RECORD = ("seed", "status", "attempt", "reason", "rows", "environment", "finished")
_COSTS = ("wall_s", "cpu_s", "peak_rss_bytes")
_ZIPPED = (1980, 1, 1, 0, 0, 0)  # one date for all, so that equal bundles are equal files


@dataclass(frozen=True)
class Claim:
    """Who submits, and what only they can know.

    Attributes:
        submitter: their name on boards, small letters, digits, and ``. _ -`` between them.
        license: of the results, an SPDX identifier.
        code_url: where the code is, https; may be empty.
        tuned_trials: configurations that were tried before this one.
        selection: what they were chosen by: "none", "val", or "test", which boards refuse.
        extra_data: whether data beyond the protocol's was used.
        submitted_at: UTC, RFC 3339.
        reason: why a row changed, where it replaces one.
    """

    submitter: str
    license: str
    code_url: str
    tuned_trials: int
    selection: str
    extra_data: bool
    submitted_at: str
    reason: str = ""


@dataclass(frozen=True)
class Bundle:
    """A bundle that has been read: V01 to V06 hold.

    Attributes:
        digest: of its manifest, which has all other digests.
        plan: of the run, this experiment's.
        claim: who submits it.
        records: a result a trial, by seed.
        environments: digest → facts.
        predictions: file → its text.
        known: what rules have computed of it already.
    """

    digest: str
    plan: Mapping[str, Any]
    claim: Claim
    records: Sequence[Mapping[str, Any]]
    environments: Mapping[str, Mapping[str, Any]]
    predictions: Mapping[str, bytes] = field(default_factory=dict)
    known: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def experiment(self) -> str:
        """The experiment's name."""
        return str(self.plan["experiment"])

    @cached_property
    def measured(self) -> Measured:
        """It as reports see it."""
        from dlbench.report.frames import Measured

        return Measured(self.digest[:12], self.experiment, self.plan, self.records, self.environments)

    @cached_property
    def ok(self) -> list[Mapping[str, Any]]:
        """The results that hold measurements."""
        return [record for record in self.records if record["status"] == "ok"]

    @cached_property
    def cells(self) -> list[tuple[int, str, Mapping[str, Any]]]:
        """Every measurement, after its seed and its cell: its subject and settings, as text."""
        metrics = self.plan["metrics"].keys()
        known: dict[Any, str] = {}  # most cells come once a seed
        cells = []
        names: tuple[str, ...] = ()
        for record in self.ok:
            seed = record["seed"]
            for row in record["rows"]:
                if tuple(row) != names:
                    names = tuple(row)
                    which = [name for name in names if name not in metrics]
                    of = itemgetter(*which, "subject")  # one more, so that it gives a tuple
                values = of(row)
                key = (names, values, tuple(map(type, values)))
                if key not in known:
                    known[key] = canonical({name: row[name] for name in which})
                cells.append((seed, known[key], row))
        return cells

    @cached_property
    def numbers(self) -> dict[str, NDArray[np.float64]]:
        """Each metric's values in all cells; NaN where a row has none."""
        rows = [row for _, _, row in self.cells]
        return {name: np.array([row.get(name, math.nan) for row in rows], dtype=float) for name in self.plan["metrics"]}


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Without Python's collector of cycles, whose searches among a million rows, which have none, take seconds."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def canonical(value: Any) -> str:
    """A value as text that is the same for equal values."""
    return _CANONICAL.encode(value)


_CANONICAL = json.JSONEncoder(sort_keys=True, default=str)


# ---------------------------------------------------------------------------------------------------------- writing


def write(run: Run, experiment: str, claim: Claim, out: Path) -> str:
    """Write a bundle as a zip file, or as a folder where ``out`` does not end in .zip; returns its digest.

    Raises:
        UsageError: the run has not finished this experiment, or ``out`` is there already.
    """
    if experiment not in run.plan["experiments"]:
        raise UsageError(
            f"{run.path} has no experiment {experiment!r}; it has {', '.join(run.plan['experiments']) or 'none'}"
        )
    plan = run.plan["experiments"][experiment]
    results = {int(result["seed"]): result for result in run.results if result["experiment"] == experiment}
    if absent := [seed for seed in plan["seeds"] if seed not in results]:
        raise UsageError(
            f"{run.path}: {len(absent)} of {len(plan['seeds'])} trials of {experiment} have not run; give the run's "
            "command again"
        )
    if out.exists() or out.is_symlink():
        raise UsageError(f"{out} is there already; choose another name")
    told = {name: plan[name] for name in _PLAN} | {"experiment": experiment, "schema_version": SCHEMA}
    told["plugin"] = {key: plan["plugin"][key] for key in ("distribution", "version")}
    files = {"plan.json": strict.dumps(told, indent=1), "claim.json": strict.dumps(vars(claim), indent=1)}
    lines = []
    for seed in plan["seeds"]:
        result = results[seed]
        kept = {name: file for name, file in (result.get("artefacts") or {}).items() if name.startswith(PREDICTIONS)}
        predictions = {}
        for number, (name, file) in enumerate(sorted(kept.items())):
            path = f"predictions/seed{seed}-{number}.csv"
            files[path] = recompute.write(run.artefact(file))
            predictions[name.removeprefix(PREDICTIONS)] = path
        record = {name: result.get(name) for name in (*_RECORD, *_COSTS)} | {"predictions": predictions}
        lines.append(strict.dumps(record))
        facts = run.environments.get(result["environment"])
        if facts is None:
            raise UsageError(f"{run.path}: the environment of seed {seed} is missing; run it again")
        files[f"environments/{result['environment']}.json"] = strict.dumps(facts, indent=1)
    files["records.jsonl"] = b"".join(lines)
    if (size := sum(map(len, files.values()))) > container.LARGEST:
        raise UsageError(f"the bundle would hold {size >> 20} MB; at most {container.LARGEST >> 20} are admitted")
    files[container.MANIFEST] = container.manifest(files)
    _put(files, out)
    return container.digest(files)


def now() -> str:
    """The time, UTC, RFC 3339, to the second."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _put(files: Mapping[str, bytes], out: Path) -> None:
    """A zip file that is equal for equal files; or a folder. Made beside, and renamed when it is whole."""
    from dlbench.store.run import replace_file

    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        if out.suffix == ".zip":
            buffer = io.BytesIO()
            with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
                for name, data in sorted(files.items()):
                    entry = zipfile.ZipInfo(name, date_time=_ZIPPED)
                    entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
                    archive.writestr(entry, data)
            replace_file(out, buffer.getvalue())
            return
        beside = out.with_name(f".{out.name}.part")
        for name, data in files.items():
            (beside / name).parent.mkdir(parents=True, exist_ok=True)
            (beside / name).write_bytes(data)
        beside.rename(out)
    except OSError as error:
        raise UsageError(f"cannot write {out}: {error.strerror}; make room, or choose another place") from error


# ---------------------------------------------------------------------------------------------------------- reading


def read(path: Path) -> Bundle:
    """A bundle of a stranger's; Rejected by the first of V01 to V06 that it breaks, OSError where it cannot be read."""
    files = container.read(path)
    plan = _document(files, "plan.json")
    _fields(
        "plan.json",
        plan,
        {
            "experiment": is_id,
            "title": str,
            "version": int,
            "preset": str,
            "parameters": dict,
            "datasets": dict,
            "seeds": list,
            "device": str,
            "metrics": dict,
            "plugin": dict,
            "code": dict,
        },
    )
    for name in ("distribution", "version"):
        _fields("plan.json, plugin", plan["plugin"], {name: str})
    plan = plan | {"metrics": {name: _metric(name, metric) for name, metric in plan["metrics"].items()}}
    claim = _document(files, "claim.json", schema=False)
    _fields(
        "claim.json",
        claim,
        {
            "submitter": is_id,
            "license": str,
            "code_url": _is_url,
            "tuned_trials": int,
            "selection": str,
            "extra_data": bool,
            "submitted_at": _is_time,
            "reason": str,
        },
    )
    if extra := sorted(set(claim) - set(Claim.__dataclass_fields__)):
        raise Rejected("V05", f"claim.json has {extra[0]!r}, which no claim has")
    environments = {
        name.removeprefix("environments/").removesuffix(".json"): _document(files, name, schema=False)
        for name in sorted(files)
        if name.startswith("environments/")
    }
    records = [
        _record(number, line, plan["metrics"], environments)
        for number, line in enumerate(files["records.jsonl"].splitlines(), 1)
    ]
    predictions = {name: data for name, data in files.items() if name.startswith("predictions/")}
    named = [file for record in records for file in record["predictions"].values()]
    if odd := sorted(set(named) ^ set(predictions)):
        raise Rejected("V16", f"{str(odd[0])[:80]} is not there, or of no row")
    return Bundle(container.digest(files), plan, Claim(**claim), records, environments, predictions)


def _document(files: Mapping[str, bytes], name: str, *, schema: bool = True) -> dict[str, Any]:
    try:
        document = strict.loads(files[name])
    except strict.NotStrict as error:
        raise Rejected("V05", f"{name}: {error}") from None
    if not isinstance(document, dict):
        raise Rejected("V05", f"{name} holds no object")
    if schema:
        version = document.get("schema_version")
        if version != SCHEMA or not isinstance(version, int) or isinstance(version, bool):
            raise Rejected("V05", f"{name}: schema_version is {version!r}; this dlbench reads {SCHEMA}")
    return document


def _fields(what: str, document: Mapping[str, Any], kinds: Mapping[str, Any]) -> None:
    """V05 and V06: every field is there, of its type, or passes its check."""
    for name, kind in kinds.items():
        if name not in document:
            raise Rejected("V05", f"{what}: {name!r} is missing")
        value = document[name]
        if isinstance(kind, type):
            if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
                raise Rejected("V05", f"{what}: {name} is {str(value)[:48]!r}; expected {_KINDS[kind]}")
        elif not kind(value):
            raise Rejected("V06" if kind is is_id else "V05", f"{what}: {name} is {str(value)[:48]!r}; {_MEANT[kind]}")


def _is_url(text: object) -> bool:
    return text == "" or (
        isinstance(text, str) and text.startswith("https://") and len(text) <= 500 and " " not in text
    )


def _is_time(text: object) -> bool:
    try:
        datetime.datetime.strptime(str(text), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=datetime.UTC)
    except ValueError:
        return False
    return True


_KINDS = {str: "a text", int: "a whole number", dict: "an object", list: "a list", bool: "true or false"}
_MEANT: dict[Any, str] = {
    is_id: "expected small letters, digits, and . _ - between them, at most 64",
    _is_url: "expected an https address or nothing",
    _is_time: "expected a time as 2026-01-31T12:00:00Z",
}


def _metric(name: str, metric: Any) -> dict[str, Any]:
    if not isinstance(metric, dict) or not name.isidentifier():
        raise Rejected("V05", f"plan.json: metric {name[:48]!r} is none")
    try:
        return metric | {bound: strict.number(metric.get(bound)) for bound in ("low", "high")}
    except strict.NotStrict as error:
        raise Rejected("V05", f"plan.json: metric {name[:48]}: {error}") from None


def _record(number: int, line: bytes, metrics: Mapping[str, Any], environments: Mapping[str, Any]) -> Mapping[str, Any]:
    what = f"records.jsonl line {number}"
    try:
        record = strict.loads(line)
    except strict.NotStrict as error:
        raise Rejected("V05", f"{what}: {error}") from None
    if not isinstance(record, dict):
        raise Rejected("V05", f"{what} holds no object")
    _fields(what, record, {"seed": int, "status": str, "rows": list, "environment": str, "finished": str})
    if record["environment"] not in environments:
        raise Rejected("V05", f"{what}: its environment is not among environments/")
    for name in _COSTS:
        value = record.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or value < 0):
            raise Rejected("V20", f"{what}: {name} is {str(value)[:32]}; expected a number from 0 on")
    predictions = record.get("predictions", {})
    if not isinstance(predictions, dict) or not all(isinstance(file, str) for file in predictions.values()):
        raise Rejected("V05", f"{what}: predictions are {str(predictions)[:48]!r}; expected cell → file")
    return record | {"rows": _rows(what, record["rows"], metrics), "predictions": predictions}


def _rows(what: str, rows: Sequence[Any], metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The measurements of a record; nearly all have the names and types of the one before, and are as they are."""
    made: list[dict[str, Any]] = []
    names: list[str] = []
    subjects: set[str] = set()
    kinds: tuple[type, ...] = ()
    for row in rows:
        if (
            type(row) is dict
            and list(row) == names
            and tuple(map(type, row.values())) == kinds
            and row["subject"] in subjects
        ):
            made.append(row)
            continue
        checked = _row(what, row, metrics)
        names, kinds = list(checked), tuple(map(type, row.values()))
        if any(kind is not float for name, kind in zip(names, kinds, strict=True) if name in metrics):
            names = []  # its numbers have to be converted, and so have the next one's
        subjects.add(checked["subject"])
        made.append(checked)
    return made


def _row(what: str, row: Any, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """A measurement: a subject, settings of plain values, numbers of metrics."""
    if not isinstance(row, dict) or not isinstance(row.get("subject"), str) or not row["subject"]:
        raise Rejected("V05", f"{what}: a row has no subject")
    if len(row["subject"]) > LONGEST:
        raise Rejected("V06", f"{what}: a subject has {len(row['subject'])} characters; at most {LONGEST}")
    if not _SUBJECT.fullmatch(row["subject"]):
        raise Rejected(
            "V06",
            f"{what}: the subject is {row['subject']!a}; expected a name that begins with a letter or a digit, in "
            "printable ASCII",
        )
    made: dict[str, Any] = {}
    for name, value in row.items():
        if not name.isidentifier():
            raise Rejected("V05", f"{what}: {name[:48]!r} cannot be a column")
        if name in metrics:
            try:
                made[name] = strict.number(value)
            except strict.NotStrict as error:
                raise Rejected("V07", f"{what}: {name}: {error}") from None
        elif isinstance(value, str | int | float | bool):
            made[name] = value
        else:
            raise Rejected("V05", f"{what}: {name} is {str(value)[:48]!r}; expected a number or a text")
    return made
