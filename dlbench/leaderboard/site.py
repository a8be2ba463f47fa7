"""The board's pages: one a board and one that lists them, static, without network; the table itself is drawn from data.

A board of ten thousand rows is a few megabytes of data, of which the page draws what is looked at: a screenful of rows
that are filtered, sorted and linked to in the browser. Where scripts do not run the page says so and links to the CSV.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from markupsafe import Markup

from dlbench.report import files, templates, typeset

if TYPE_CHECKING:
    from dlbench.leaderboard.boards import Board

FOLDER = Path(__file__).parent

COLUMNS = ("model", "settings", "value", "ci_low", "ci_high", "n", "rank", "rank_best", "rank_worst", "verification")
"""What is sent of each row, beside its link and its provenance."""

PROVENANCE = (
    "submitter",
    "submitted_at",
    "status",
    "flag",
    "device",
    "cpu",
    "dlbench",
    "plugin",
    "plugin_version",
    "torch",
    "code_url",
    "code_sha",
    "license",
    "tuned_trials",
    "selection",
    "bundle_sha256",
)


def write(board: Board) -> None:
    """Write ``site/``: index.html, and NAME.html for every board."""
    listed = []
    for name, protocol in sorted(board.protocols.items()):
        rows = board.rows[board.rows["experiment"] == name]
        active = rows[rows["status"] == "active"]
        metric = protocol.metrics[protocol.main]
        told = {
            "name": name,
            "file": f"{name}.html",
            "title": protocol.title or name,
            "rows": len(active),
            "history": len(rows) - len(active),
            "version": protocol.version,
            "metric": protocol.main,
            "description": metric.get("description", ""),
            "unit": metric.get("unit", ""),
            "better": metric.get("better", ""),
            "leader": _leader(active),
            "seeds": len(protocol.seeds),
        }
        listed.append(told)
        page = templates.fill(FOLDER / "board.html", board=told, data=_data(rows), fixed=_fixed(protocol.parameters))
        files.write(board.path / "site" / f"{name}.html", page)
    files.write(board.path / "site" / "index.html", templates.fill(FOLDER / "index.html", boards=listed))


def _fixed(parameters: Any) -> dict[str, str]:
    return {name: json.dumps(value) for name, value in parameters.items()}


def _leader(active: pd.DataFrame) -> str:
    """The first row; and how many cannot be told from it, so that none of them leads alone."""
    first = active[active["rank"] == 1]
    if first.empty:
        return ""
    estimate, interval = typeset.estimate(first["value"].iloc[0], first["ci_low"].iloc[0], first["ci_high"].iloc[0])
    ties = f", and {len(first) - 1} more that cannot be told from it" if len(first) > 1 else ""
    return f"{first['model'].iloc[0]}: {estimate} {interval}{ties}"


def _data(rows: pd.DataFrame) -> Markup:
    """The rows as JSON that cannot end the element that it stands in."""
    known = {name: _numbers(rows[name]) for name in (*COLUMNS, *PROVENANCE)}
    constant = {
        name: values[0] for name, values in known.items() if name in PROVENANCE and len(set(map(str, values))) == 1
    }
    data = {
        "ids": [str(row)[:16] for row in rows["row_id"]],
        "constant": constant,
        "columns": {name: values for name, values in known.items() if name not in constant},
    }
    text = json.dumps(data, separators=(",", ":"), allow_nan=False, default=str)
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)  # noqa: S704 - JSON without a sign that HTML would obey


def _numbers(column: pd.Series[Any]) -> list[Any]:
    """Values as JSON has them; shorter than repr, longer than anybody reads."""
    values = list(zip(map(type, column.tolist()), column.tolist(), strict=True))
    known = {key: _plain(key[1]) for key in dict.fromkeys(values)}  # most columns say few things
    return [known[key] for key in values]


def _plain(value: Any) -> Any:
    if value is None or value is pd.NA or value != value:
        return None
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, float):
        return float(f"{value:.7g}") if math.isfinite(value) else str(value)
    return files.visible(value) if isinstance(value, str) else value
