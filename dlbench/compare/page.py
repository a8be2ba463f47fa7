"""A comparison as one page, in the style of the report."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from dlbench.compare.pairs import VERDICTS
from dlbench.report import bars, templates, typeset

if TYPE_CHECKING:
    from dlbench.compare.sources import Side

MOST_ROWS = 2000
"""Pairs that the page shows; the CSV file has all."""

VERDICT_ORDER = VERDICTS
SYMBOLS = {"worse": "✗", "better": "✓", "undecided": "≈", "equivalent": "=", "not comparable": "–"}


def render(before: Side, after: Side, pairs: pd.DataFrame) -> str:
    """The page of a comparison, as :func:`dlbench.compare.compare` made it of two sides."""
    compared = pairs[pairs["verdict"] != "not comparable"]
    left = pairs[pairs["verdict"] == "not comparable"]
    counts = Counter(pairs["verdict"].tolist())
    return templates.fill(
        Path(__file__).with_name("comparison.html"),
        templates.FOLDER / "page.js",  # which sorts tables
        a=before.label,
        b=after.label,
        total=len(pairs),
        counts={verdict: counts[verdict] for verdict in VERDICTS},
        symbols=SYMBOLS,
        problems=[("A", line) for line in before.problems] + [("B", line) for line in after.problems],
        rows=[_row(record) for record in compared.head(MOST_ROWS).to_dict("records")],
        compared=len(compared),
        left=_left(left),
        facts=_changed(before.facts, after.facts),
    )


def setting_text(settings: str) -> str:
    """Settings, as a series keeps them, in words: ``noise=0.5, width=64``."""
    return ", ".join(f"{name}={value}" for name, value in json.loads(settings).items())


def _row(pair: Mapping[Any, Any]) -> dict[str, Any]:
    difference, interval = typeset.estimate(pair["difference"], pair["low"], pair["high"])
    threshold = pair["threshold"]
    arrow = {"lower": "↓", "higher": "↑"}.get(pair["direction"], "")
    return {
        "verdict": pair["verdict"],
        "slug": pair["verdict"].replace(" ", "-"),
        "symbol": SYMBOLS[pair["verdict"]],
        "experiment": pair["experiment"],
        "subject": pair["subject"],
        "settings": setting_text(pair["settings"]),
        "metric": pair["metric"],
        "unit": "" if pair["unit"] == "1" else pair["unit"],
        "arrow": arrow,
        "a": typeset.number(pair["a"]),
        "b": typeset.number(pair["b"]),
        "exact": [repr(pair[name]) for name in ("a", "b", "difference")],
        "difference": difference,
        "relative": _percent(pair["relative"]),
        "interval": interval,
        "bar": bars.bar(pair["low"], pair["difference"], pair["high"], region=_harmless(pair["direction"], threshold)),
        "threshold": typeset.number(threshold, 2) if threshold else "",
        "n": f"{pair['n_a']}, {pair['n_b']}" if pair["timed"] else str(pair["n"]),
        "test": pair["test"],
        "p": typeset.p_value(pair["p_holm"]),
        "sign_flip": typeset.p_value(pair["p_sign_flip"]),
        "order": repr(pair["p_holm"]),
        "reason": pair["reason"],
    }


def _harmless(direction: str, threshold: float) -> tuple[float, float]:
    """Where a difference may lie without being a regression."""
    low = -threshold if direction != "lower" else -math.inf
    high = threshold if direction != "higher" else math.inf
    return low, high


def _percent(share: float) -> str:
    return f"{100 * share:+.1f} %".replace("-", "−") if math.isfinite(share) and share else ""


def _left(pairs: pd.DataFrame) -> list[dict[str, Any]]:
    counted = Counter(zip(pairs["experiment"], pairs["reason"], strict=True))
    return [{"experiment": name, "reason": reason, "n": n} for (name, reason), n in counted.most_common()]


def _changed(a: Mapping[str, str], b: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """The facts of the two environments that are not the same."""
    names = list(dict.fromkeys([*a, *b]))
    return [(name, a.get(name, "–"), b.get(name, "–")) for name in names if a.get(name) != b.get(name)]
