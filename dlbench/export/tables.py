"""Tables to print of each experiment, as texts: its claims with their evidence, and its leaderboard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dlbench.report import files

if TYPE_CHECKING:
    from dlbench.report import Gathered


@dataclass(frozen=True)
class Table:
    """A table of texts.

    Attributes:
        of: what it is of, ``demo``, or ``demo--run`` where there are several runs.
        title: what it shows, a line.
        columns: their heads.
        numeric: which of them are numbers.
        rows: the texts; each row has all columns.
    """

    of: str
    title: str
    columns: Sequence[str]
    numeric: Sequence[bool]
    rows: Sequence[Sequence[str]]


def claims(gathered: Gathered) -> list[Table]:
    """A table an experiment of its claims, then its controls."""
    heads = {"claim": False, "verdict": False, "estimate": True, "95 % interval": True, "criterion": False}
    heads |= {"n": True, "p": True}
    return [
        Table(
            of=section["anchor"],
            title=_line(f"{section['title']}: claims"),
            columns=list(heads),
            numeric=list(heads.values()),
            rows=[_claim(verdict) for verdict in (*section["claims"], *section["controls"])],
        )
        for section in gathered.sections()
    ]


def _claim(verdict: Mapping[str, Any]) -> list[str]:
    label = f"({verdict['label']}) " if verdict["label"] else ""
    criterion = " at ".join(part for part in (verdict["criterion"], verdict["where"]) if part)
    cells = [label + verdict["statement"], verdict["outcome"], verdict["estimate"], verdict["interval"], criterion]
    return [_line(cell) for cell in (*cells, str(verdict["n"]), verdict["p"])]


def leaderboards(gathered: Gathered) -> list[Table]:
    """A table an experiment of its subjects, best first under equal settings; those that rank nothing have none."""
    return [_leaderboard(section) for section in gathered.sections() if section["board"]]


def _leaderboard(section: Mapping[str, Any]) -> Table:
    board = section["board"]
    constant = ", ".join(f"{name}={value}" for name, value in board["constant"].items())
    others = [_metric(metric) for metric in board["others"]]
    settings = list(board["settings"])
    return Table(
        of=section["anchor"],
        title=_line(f"{section['title']}: leaderboard" + (f" ({constant})" if constant else "")),
        columns=[
            _line(head)
            for head in ("rank", "subject", *settings, _metric(board["metric"]), "95 % interval", "n", *others)
        ],
        numeric=[True, False, *(False for _ in settings), True, True, True, *(True for _ in others)],
        rows=[
            [
                _line(cell)
                for cell in (
                    row["rank"],
                    row["subject"],
                    *row["settings"],
                    row["value"],
                    row["interval"],
                    str(row["n"]),
                    *(text for text, _ in row["others"]),
                )
            ]
            for row in board["rows"]
        ],
    )


def _metric(metric: Mapping[str, str]) -> str:
    unit = f" [{metric['unit']}]" if metric["unit"] else ""
    return f"{metric['name']}{unit} {metric['arrow']}".rstrip()


def _line(text: str) -> str:
    """A text without what breaks lines or cannot be seen."""
    return files.visible(" ".join(text.split()))
