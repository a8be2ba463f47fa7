"""The page: a section an experiment, like a short paper, by chapters, after a summary of all claims."""

from __future__ import annotations

import base64
import json
import math
import re
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from dlbench import stats
from dlbench.report import bars, board, templates, timings, typeset
from dlbench.report.frames import Measured, in_words
from dlbench.report.turning import turning_point

MOST_ROWS = 200
"""Leaderboard rows of an experiment that the page shows; leaderboard.csv has all."""

MOST_FAILURES = 50

OPEN_PARAGRAPHS = 2
"""Paragraphs of an experiment's docstring that stand before the picture, what they lead to with them; the others are
folded."""

SYMBOLS = {"holds": "✓", "does not hold": "✗", "inconclusive": "≈", "invalid": "!"}
KINDS = {"negative": "negative control", "positive": "positive control", "gate": "gate"}


def sections(
    everything: Sequence[Measured],
    judgements: Sequence[Mapping[str, Any]],
    claims: pd.DataFrame,
    references: pd.DataFrame,
    leaderboard: pd.DataFrame,
    *,
    most_rows: int | None = MOST_ROWS,
) -> list[dict[str, Any]]:
    """What pages show of each experiment, in words and numbers as they are printed.

    Args:
        everything: what was measured, one for each section.
        judgements: what :func:`dlbench.report.judge.judge` returned for each.
        claims: the report's frame, as are those that follow.
        references: likewise.
        leaderboard: likewise.
        most_rows: rows of each leaderboard, the best of them; None for all.
    """
    several = len({one.run for one in everything}) > 1
    return [
        _section(
            one,
            judgement,
            _of(claims, one),
            _of(references, one),
            _of(leaderboard, one),
            figure=position,
            anchor=f"{one.name}--{one.run}" if several else one.name,
            most_rows=most_rows,
        )
        for position, (one, judgement) in enumerate(zip(everything, judgements, strict=True), 1)
    ]


def render(
    everything: Sequence[Measured],
    sections: Sequence[Mapping[str, Any]],
    claims: pd.DataFrame,
    problems: Sequence[str],
    beside: Mapping[str, str] | None = None,
    timed: pd.DataFrame | None = None,
) -> str:
    """The page of a report.

    Args:
        everything: what was measured.
        sections: what :func:`sections` made of it.
        claims: the report's frame.
        problems: what is wrong with the run folders, a line each.
        beside: file → title of other pages of the report, to link to.
        timed: the report's frame of timings.
    """
    chapters: dict[str, list[Mapping[str, Any]]] = {}
    for section in sections:
        chapters.setdefault(section["chapter"], []).append(section)
    return templates.fill(
        templates.FOLDER / "page.html",
        runs=list(dict.fromkeys([*(one.run for one in everything), *([] if timed is None else timed["run"])])),
        timings=[] if timed is None else timings.shown(timed),
        several=len({one.run for one in everything}) > 1,
        date=_date(everything),
        tally=_tally(claims),
        trials=_trials(everything),
        chapters=chapters,
        environments=_environments(everything),
        problems=problems,
        commands=[section["command"] for section in sections],
        symbols=SYMBOLS,
        beside=beside or {},
    )


def _of(frame: pd.DataFrame, one: Measured) -> list[dict[str, Any]]:
    # one by one: numpy, which compares whole columns for pandas, drops a NUL at the end of a text
    mine = [(name, run) == (one.name, one.run) for name, run in zip(frame["experiment"], frame["run"], strict=True)]
    rows = frame[np.array(mine, dtype=bool)]
    return [{str(key): value for key, value in record.items()} for record in rows.to_dict("records")]


def _date(everything: Sequence[Measured]) -> str:
    """When the last trial finished; a report made twice of one run is the same, byte for byte."""
    return max((str(result["finished"]) for one in everything for result in one.results), default="")[:16]


def _trials(everything: Sequence[Measured]) -> dict[str, Any]:
    """How many trials gave measurements, and what became of the others."""
    planned, run = sum(len(one.planned) for one in everything), sum(len(one.results) for one in everything)
    failed = Counter(result["status"] for one in everything for result in one.failed)
    return {"planned": planned, "ok": run - failed.total(), "missing": in_words(failed, planned - run)}


def _tally(claims: pd.DataFrame) -> dict[str, Any]:
    """How many claims came to which verdict, and how many that hold keep p < 0.05 with Holm over all of them."""
    ours = claims[claims["kind"] == "claim"]
    adjusted = pd.Series(stats.holm(ours["p"].astype(float).tolist()), index=ours.index, dtype=float)
    counts = {outcome: int((ours["verdict"] == outcome).sum()) for outcome in SYMBOLS}
    firm = int(((ours["verdict"] == "holds") & (adjusted < 1 - stats.LEVEL)).sum())
    return {"claims": len(ours), "counts": counts, "holds": counts["holds"], "firm": firm}


# ---------------------------------------------------------------------------------------------------------- a section


def _section(
    one: Measured,
    judgement: Mapping[str, Any],
    claims: Sequence[Mapping[str, Any]],
    references: Sequence[Mapping[str, Any]],
    leaderboard: Sequence[Mapping[str, Any]],
    *,
    figure: int,
    anchor: str,
    most_rows: int | None,
) -> dict[str, Any]:
    plan = one.plan
    published = [_published(reference) for reference in references]
    by_claim = {reference["claim"]: reference for reference in published if reference["claim"] and reference["n"]}
    sources = {claim["statement"]: claim.get("source", "") for claim in plan["claims"]}
    verdicts = [
        _verdict(claim) | {"published": by_claim.get(claim["claim"]), "source": typeset.prose(sources[claim["claim"]])}
        for claim in claims
    ]
    abstract, method = typeset.opening(typeset.paragraphs(plan.get("doc", "")), OPEN_PARAGRAPHS)
    ours = [verdict for verdict in verdicts if verdict["kind"] == "claim"]
    return {
        "anchor": anchor,
        "name": one.name,
        "run": one.run,
        "title": plan["title"] or one.name,
        "chapter": plan.get("chapter") or "other",
        "version": plan["version"],
        "preset": plan.get("preset", ""),
        "device": plan.get("device", ""),
        "seeds": board.seed_list(one.planned).replace("-", "–"),
        "planned": len(one.planned),
        "ok": len(one.ok),
        "missing": one.missing,
        "abstract": abstract,
        "method": method,
        "figure": _figure(judgement, figure, plan["title"] or one.name),
        "claims": ours,
        "controls": [verdict for verdict in verdicts if verdict["kind"] != "claim"],
        "holds": sum(verdict["outcome"] == "holds" for verdict in ours),
        "firm": sum(verdict["outcome"] == "holds" and verdict["p_holm"] < 1 - stats.LEVEL for verdict in ours),
        "published": [reference for reference in published if reference["n"]],
        "unmatched": [reference for reference in published if not reference["n"]],
        "board": _board(one, leaderboard, most_rows),
        "parameters": {name: value_text(value) for name, value in plan["parameters"].items()},
        "sources": [typeset.prose(source) for source in plan.get("sources", ())],
        "failures": [_failure(result) for result in one.failed[:MOST_FAILURES]],
        "failed": len(one.failed),
        "cost": _cost(one),
        "command": command(one),
    }


def printed(claim: Mapping[str, Any]) -> dict[str, Any]:
    """What pages show of a verdict, of an experiment or of one subject: a row of claims in words."""
    estimate, interval = typeset.estimate(claim["estimate"], claim["low"], claim["high"])
    criterion, *where = claim["criterion"].split(" at ")
    return {
        "statement": claim["claim"],
        "kind": claim["kind"],
        "label": KINDS.get(claim["kind"], ""),
        "outcome": claim["verdict"],
        "slug": claim["verdict"].replace(" ", "-"),
        "symbol": SYMBOLS[claim["verdict"]],
        "estimate": estimate,
        "interval": interval,
        "n": claim["n"],
        "criterion": criterion.replace("-", "−"),
        "where": ", ".join(where),
        "reason": claim["reason"],
    }


def _verdict(claim: Mapping[str, Any]) -> dict[str, Any]:
    region = bars.wanted(claim["criterion"].partition(" at ")[0])
    return printed(claim) | {
        "exact": f"{claim['estimate']!r} [{claim['low']!r}, {claim['high']!r}]",
        "p": typeset.p_value(claim["p"]),
        "p_holm": claim["p_holm"],
        "p_adjusted": typeset.p_value(claim["p_holm"]),
        "turning": turning_point(
            claim["verdict"], claim["estimate"], claim["low"], claim["high"], int(claim["n"]), region
        ),
        "bar": bars.bar(claim["low"], claim["estimate"], claim["high"], region=region),
    }


def _figure(judgement: Mapping[str, Any], number: int, title: str) -> dict[str, Any]:
    svg, png = judgement["svg"], judgement["png"]
    if not svg:
        return {"src": "", "error": judgement["plot_error"]}
    data = png or base64.b64encode(svg.encode()).decode()
    size = re.search(r'viewBox="0 0 ([0-9.]+) ([0-9.]+)"', svg[:2000])
    width, height = (round(float(size[1])), round(float(size[2]))) if size else (648, 324)
    kind = "image/png" if png else "image/svg+xml"
    return {
        "src": Markup(f"data:{kind};base64,{data}"),  # noqa: S704 - base64
        "number": number,
        "alt": f"Plot of the measurements: {title}",
        "width": width,
        "height": height,
    }


def _published(reference: Mapping[str, Any]) -> dict[str, Any]:
    estimate, interval = typeset.estimate(reference["value"], reference["low"], reference["high"])
    sd, n = reference["reference_sd"], reference["reference_n"]
    spread = f" ± {typeset.number(sd)}" if sd is not None and sd == sd else ""
    of = f" (n = {n:.0f})" if n is not None and n == n else ""
    return {
        "claim": reference["claim"],
        "metric": reference["metric"],
        "where": reference["where"],
        "value": typeset.number(reference["reference"]) + spread + of,
        "source": typeset.prose(reference["reference_source"]),
        "note": reference["note"],
        "n": reference["n"],
        "ours": estimate,
        "interval": interval,
        "z": typeset.number(reference["z"], 2),
        "z_covers": reference["z_covers"],
    }


def _failure(result: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "seed": result["seed"],
        "status": str(result["status"]).replace("_", " "),
        "attempt": result.get("attempt", 1),
        "reason": result.get("reason", ""),
        "details": result.get("details", ""),
    }


def _cost(one: Measured) -> str:
    if not one.ok:
        return ""
    frame = pd.DataFrame({"wall": [r.get("wall_s") for r in one.ok], "rss": [r.get("peak_rss_bytes") for r in one.ok]})
    wall, memory = frame.astype(float).median()
    return f"{typeset.seconds(wall)} and {typeset.bytes_(memory)} a trial (median)"


# -------------------------------------------------------------------------------------------------------- leaderboard


def _board(one: Measured, leaderboard: Sequence[Mapping[str, Any]], most_rows: int | None) -> dict[str, Any] | None:
    """The leaderboard as the page shows it: subject, settings, the main metric with its interval, the others' means."""
    if not leaderboard or one.main is None:
        return None
    declared = one.plan["metrics"]
    better = declared[one.main].get("better")
    shown = list(leaderboard)
    if most_rows is not None and len(shown) > most_rows:
        sign = -1.0 if better == "higher" else 1.0
        shown = sorted(shown, key=lambda row: sign * row["value"] if row["value"] == row["value"] else math.inf)
        shown = shown[:most_rows]
    others = [name for name in one.metrics if name != one.main]
    constant, varying = _by_variety([json.loads(row["settings"]) for row in shown], one.settings)
    means = board.means(one)
    domain = bars.domain_of([row[key] for row in shown for key in ("ci_low", "ci_high", "value")])
    rows = []
    for row in shown:
        estimate, interval = typeset.estimate(row["value"], row["ci_low"], row["ci_high"])
        settings = json.loads(row["settings"])
        mean = means[row["model"], row["settings"]]
        ranked = row["rank"] is not None and row["rank"] == row["rank"]
        rows.append(
            {
                "rank": _ranks(row) if ranked else "",
                "order": row["rank"] if ranked else "",
                "subject": row["model"],
                "settings": [value_text(settings[name]) if name in settings else "" for name in varying],
                "value": estimate,
                "exact": repr(row["value"]) if row["value"] == row["value"] else "",
                "interval": interval,
                "bar": bars.bar(row["ci_low"], row["value"], row["ci_high"], domain=domain),
                "sd": typeset.number(row["sd"], 2),
                "n": row["n"],
                "others": [(typeset.number(mean[name]), repr(mean[name])) for name in others],
            }
        )
    return {
        "settings": varying,
        "constant": constant,
        "metric": _metric(one.main, declared[one.main]),
        "others": [_metric(name, declared[name]) for name in others],
        "rows": rows,
        "ranked": any(row["rank"] for row in rows),
        "total": len(leaderboard),
        "why_unranked": _why_unranked(one, better),
    }


def _by_variety(settings: Sequence[Mapping[str, Any]], names: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """The settings that are the same in all rows, with their value; and the names of the others."""
    values = {name: {json.dumps(row.get(name)) for row in settings} for name in names}
    constant = {name: value_text(settings[0].get(name)) for name in names if len(values[name]) == 1}
    return constant, [name for name in names if name not in constant]


def _ranks(row: Mapping[str, Any]) -> str:
    best, worst = int(row["rank_best"]), int(row["rank_worst"])
    return str(best) if best == worst else f"{best}–{worst}"


def _why_unranked(one: Measured, better: str | None) -> str:
    if better is None:
        return "the main metric has no better direction"
    if len(one.ok) < stats.MIN_SEEDS:
        return f"ranks need at least {stats.MIN_SEEDS} seeds"
    return "no two rows share their settings and are complete"


def _metric(name: str, declared: Mapping[str, Any]) -> dict[str, str]:
    unit = declared.get("unit", "1")
    arrow = {"lower": "↓", "higher": "↑"}.get(declared.get("better") or "", "")
    better = {"↓": "lower is better", "↑": "higher is better"}.get(arrow, "")
    return {
        "name": name,
        "unit": "" if unit == "1" else unit,
        "arrow": arrow,
        "help": "; ".join(part for part in (declared.get("description", ""), better) if part),
    }


# ----------------------------------------------------------------------------------------------------- the run's facts


def command(one: Measured) -> str:
    """The command that measures an experiment again, as far as the plan tells."""
    words = ["dlbench", "run", one.name]
    preset = one.plan.get("preset")
    words += ["--preset", str(preset)] if preset else []
    words += ["--seeds", str(len(one.planned))] if one.planned == list(range(len(one.planned))) else []
    words += ["--device", str(one.plan["device"])] if one.plan.get("device") else []
    defaults = {field["name"]: field["default"] for field in one.plan.get("fields", ())}
    preset_values = one.plan.get("presets", {}).get(preset, {})
    for name, value in one.plan["parameters"].items():
        if name in defaults and value_text(value) != value_text(preset_values.get(name, defaults[name])):
            words += ["--set", f"{one.name}.{name}={value_text(value)}"]
    return shlex.join(words)


def value_text(value: Any) -> str:
    """A parameter or setting as the command line takes it."""
    if isinstance(value, list | tuple):
        return ",".join(value_text(item) for item in value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return "none" if value is None else str(value)


def _environments(everything: Sequence[Measured]) -> dict[str, dict[str, str]]:
    """Digest → the facts of each environment that results refer to, flat."""
    used: dict[str, Mapping[str, Any]] = {}
    for one in everything:
        for result in one.results:
            digest = result["environment"]
            used.setdefault(digest, one.environments.get(digest, {}))
    return {digest: dict(flat(facts)) for digest, facts in used.items()}


def flat(facts: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Facts of an environment, nested ones under both names, as texts."""
    found: list[tuple[str, str]] = []
    for key, value in facts.items():
        if key == "schema" and not prefix:
            continue
        if key == "code" and isinstance(value, Mapping):
            found += [(name, _code_state(state)) for name, state in value.items()]
        elif isinstance(value, Mapping):
            found += flat(value, "" if key == "packages" else f"{prefix}{key} ")
        elif key.endswith("_bytes") and isinstance(value, int):
            found.append((f"{prefix}{key.removesuffix('_bytes')}", typeset.bytes_(value)))
        elif value not in (None, "", []):
            found.append((f"{prefix}{key}", value_text(value)))
    return found


def _code_state(state: Mapping[str, Any]) -> str:
    """``1.2, revision 0123456789ab, modified``."""
    revision = state.get("revision")
    parts = [
        state.get("version"),
        f"revision {revision[:12]}" if revision else "",
        "modified" if state.get("dirty") else "",
    ]
    return ", ".join(part for part in parts if part)
