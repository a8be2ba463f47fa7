"""Tables in Markdown, as GitHub and CommonMark with tables read it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dlbench.export import tables
from dlbench.export.tables import Table
from dlbench.report import files

if TYPE_CHECKING:
    from dlbench.report import Gathered

_MARKS = re.compile(r"[\\`*_\[\]<>|~$&#]")


def write(gathered: Gathered, out: Path) -> list[str]:
    """Write claims.md and leaderboard.md."""
    pages = {"claims.md": tables.claims(gathered), "leaderboard.md": tables.leaderboards(gathered)}
    for name, made in pages.items():
        files.write(out / name, "\n".join(f"## {text(table.title)}\n\n{render(table)}" for table in made))
    return [f"{' and '.join(pages)} in {out}, {sum(map(len, pages.values()))} tables"]


def render(table: Table) -> str:
    """A table; its columns are padded, so that the source reads, too."""
    lines = [[text(cell) for cell in line] for line in (table.columns, *table.rows)]
    widths = [max(3, *(len(line[k]) for line in lines)) for k in range(len(table.columns))]
    rule = ["-" * (width - 1) + (":" if right else "-") for width, right in zip(widths, table.numeric, strict=True)]
    return "".join(_row(line, widths, table.numeric) for line in (lines[0], rule, *lines[1:]))


def text(plain: str) -> str:
    """A text that Markdown shows as it is."""
    return _MARKS.sub(r"\\\g<0>", plain)


def _row(cells: Sequence[str], widths: Sequence[int], numeric: Sequence[bool]) -> str:
    padded = (
        cell.rjust(width) if right else cell.ljust(width)
        for cell, width, right in zip(cells, widths, numeric, strict=True)
    )
    return f"| {' | '.join(padded)} |\n"
