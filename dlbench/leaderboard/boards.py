"""From the bundles in a board's folder to its table and its pages: a pure function of them, byte for byte.

Every bundle is held against the rules again, in the order in which they were submitted; one that breaks a rule stops
the build, so that a board never shows what its folder does not support.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from dlbench.errors import UsageError
from dlbench.leaderboard import bundle as bundles
from dlbench.leaderboard import protocol as protocols
from dlbench.leaderboard import strict
from dlbench.leaderboard.bundle import Bundle, uncollected
from dlbench.leaderboard.container import Rejected
from dlbench.leaderboard.protocol import Protocol
from dlbench.leaderboard.rules import LEVELS, History, judge
from dlbench.report import board, files

RUNS = ("row_id", "experiment", "model", "settings", "seed", "metric", "value", "status")
STATUSES = ("active", "superseded", "flagged", "withdrawn")
_BESIDE = (".verified.json", ".note.json")


@dataclass(frozen=True)
class Board:
    """What a board's folder comes to.

    Attributes:
        path: the folder.
        rows: the leaderboard, as in leaderboard.csv; those that compete are ranked, history stays below them.
        runs: the main metric of every row on every seed, as in runs.csv.
        protocols: experiment → what it admits.
    """

    path: Path
    rows: pd.DataFrame
    runs: pd.DataFrame
    protocols: Mapping[str, Protocol]

    @property
    def page(self) -> Path:
        """The page to open."""
        return self.path / "site" / "index.html"


@uncollected()
def build(path: Path) -> Board:
    """Make leaderboard.csv, runs.csv and site/ of a board's protocols and bundles.

    Raises:
        UsageError: the folder is no board, or holds a bundle that breaks a rule.
    """
    from dlbench.leaderboard import site

    admitted = protocols.read(path)
    if not admitted:
        raise UsageError(
            f"{path} has no protocols/*.json; `dlbench leaderboard protocol NAME --board {path}` writes one"
        )
    accepted = read(path, admitted)
    rows = _rows(accepted, admitted)
    made = Board(path, _shown(rows), _runs(rows), admitted)
    files.write(path / "leaderboard.csv", files.csv_text(made.rows))
    files.write(path / "runs.csv", files.csv_text(made.runs))
    site.write(made)
    return made


@dataclass(frozen=True)
class Accepted:
    """A bundle of a board, and what it is worth."""

    bundle: Bundle
    level: str
    verified_by: str
    status: str
    flag: str


@uncollected()
def read(path: Path, admitted: Mapping[str, Protocol]) -> list[Accepted]:
    """The bundles of a board, oldest first; UsageError by the first that breaks a rule."""
    found: list[tuple[Bundle, Path]] = []
    for file in sorted((path / "bundles").iterdir()) if (path / "bundles").is_dir() else []:
        if file.name.startswith(".") or file.name.endswith(_BESIDE):
            continue
        try:
            found.append((bundles.read(file), file))
        except Rejected as error:
            raise UsageError(f"{file}: {error}; take it out of the board") from None
    found.sort(key=lambda one: (one[0].claim.submitted_at, one[0].digest))
    accepted: list[Accepted] = []
    history = History()
    for bundle, file in found:
        verification = judge(bundle, admitted, history)
        if verification.rejected:
            first = verification.rejected[0]
            raise UsageError(f"{file}: {first.rule}: {first.message}; take it out of the board")
        level, by = _reproduced(file, bundle, verification.level)
        status, flag = _note(file)
        accepted.append(Accepted(bundle, level, by, status, flag))
        history.add(bundle, admitted[bundle.experiment])
    return accepted


def _reproduced(file: Path, bundle: Bundle, level: str) -> tuple[str, str]:
    """The level, and who found it, where a verification of this very bundle lies beside it."""
    told = _beside(file, ".verified.json", ("bundle_sha256", "level", "verified_by"))
    if told and told["bundle_sha256"] == bundle.digest and told["level"] in LEVELS:
        return str(told["level"]), str(told["verified_by"])
    return level, ""


def _note(file: Path) -> tuple[str, str]:
    """What whoever keeps the board has to say of a bundle."""
    told = _beside(file, ".note.json", ("status", "reason"))
    if not told:
        return "active", ""
    if told["status"] not in STATUSES:
        raise UsageError(f"{file.name}.note.json: status is {told['status']!r}; expected one of {', '.join(STATUSES)}")
    return str(told["status"]), str(told["reason"])


def _beside(file: Path, suffix: str, needed: Sequence[str]) -> dict[str, Any] | None:
    name = file.with_name(file.name + suffix)
    if not name.is_file():
        return None
    try:
        told = strict.loads(name.read_bytes())
        if not isinstance(told, dict) or any(not isinstance(told.get(key), str) for key in needed):
            raise ValueError(f"expected the texts {', '.join(needed)}")
    except (OSError, ValueError) as error:
        raise UsageError(f"{name}: {error}") from None
    return told


# -------------------------------------------------------------------------------------------------------------- rows


def _rows(accepted: Sequence[Accepted], admitted: Mapping[str, Protocol]) -> pd.DataFrame:
    """All rows with their scores, best first within competitors."""
    frames = [frame for one in accepted if (frame := _of(one)) is not None]
    if not frames:
        return pd.DataFrame(columns=[*board.LEADERBOARD, "scores", "planned"])
    rows = pd.concat([frame.astype(object) for frame in frames], ignore_index=True)
    rows["status"] = _statuses(rows)
    ranked = []
    for (name, _), mine in rows.groupby(["experiment", "protocol_version"], sort=True):
        by = ["settings", *(["device"] if admitted[str(name)].timed else [])]
        active = mine[mine["status"] == "active"]
        if len(active):
            ranked.append(board.ranked(active, by))
        ranked.append(mine[mine["status"] != "active"].sort_values([*by, "submitted_at"], kind="stable"))
    return pd.concat(ranked, ignore_index=True)


def _of(one: Accepted) -> pd.DataFrame | None:
    rows = board.scored(one.bundle.measured)
    if rows is None:
        return None
    claim = one.bundle.claim
    told = {
        "code_url": claim.code_url,
        "tuned_trials": claim.tuned_trials,
        "selection": claim.selection,
        "extra_data": claim.extra_data,
        "track": "open" if claim.extra_data else "closed",
        "submitter": claim.submitter,
        "submitted_at": claim.submitted_at,
        "license": claim.license,
        "bundle_sha256": one.bundle.digest,
        "verification": one.level,
        "verified_by": one.verified_by,
        "status": one.status,
        "flag": one.flag,
    }
    rows = rows.assign(**told, planned=[one.bundle.measured.planned] * len(rows))
    return rows.assign(row_id=board.row_ids(rows))  # the track is part of it


def _statuses(rows: pd.DataFrame) -> pd.Series[str]:
    """What each row is: of one identity the last that was submitted is active, the others are history."""
    status = rows["status"].copy()
    live = rows[status == "active"]
    status[live.index[live.duplicated("row_id", keep="last")]] = "superseded"
    return status


def _shown(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.reindex(columns=[name for name in board.LEADERBOARD if name != "run"])


def _runs(rows: pd.DataFrame) -> pd.DataFrame:
    """One line a row and planned seed, with the main metric; without a value where the trial failed."""
    named = ("row_id", "experiment", "model", "settings")
    columns = zip(*(rows[name].tolist() for name in (*named, "metric", "planned", "scores")), strict=True)
    records = [
        (*row, seed, metric, value, "failed" if value != value else "ok")
        for *row, metric, planned, scores in columns
        for seed, value in zip(planned, scores, strict=True)
    ]
    return pd.DataFrame(records, columns=list(RUNS))
