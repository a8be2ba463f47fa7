"""In a task of its own: the checks themselves. Each returns the problem it found, or an empty text."""

from __future__ import annotations

import base64
import dataclasses
import difflib
import io
import math
import sys
import traceback
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from dlbench import parameters
from dlbench.declarations import experiment_class
from dlbench.experiment import Control, Experiment
from dlbench.report.frames import Measured
from dlbench.verdicts import Verdict, judged

SEEDS = 6


def check(payload: dict[str, Any], send: Callable[[dict[str, Any]], None]) -> dict[str, str]:
    """Checks by name with the problem that each found; see :data:`dlbench.testing.CHECKS` for what they ask.

    Args:
        payload: ``plugin``, ``parameters``, the ``checks`` to make, the ``results`` of trials with the same seed (two
            for ``determinism``), what the first ``printed``, and the files ``left_behind``.
        send: unused.
    """
    cls = experiment_class(payload["plugin"])
    experiment = cls(**payload["parameters"])
    results = payload["results"]
    first = results[0]
    frame = frame_of(cls, first)
    arrays = {name: np.load(io.BytesIO(base64.b64decode(npy))) for name, npy in first["artefacts"].items()}
    artefacts = dict.fromkeys(range(SEEDS), arrays)
    found: dict[str, Callable[[], str]] = {
        "imports": lambda: "",
        "controls": lambda: controls(cls),
        "trial": lambda: trial(first),
        "metrics": lambda: metrics(cls, first["rows"]),
        "determinism": lambda: determinism(cls, *results),
        "silence": lambda: silence(payload["printed"], payload["left_behind"]),
        "parameters": lambda: text_parameters(experiment, payload["plugin"].name),
        "claims": lambda: claims(cls, frame),
        "hostile": lambda: hostile(experiment, frame, artefacts),
        "plot": lambda: plot(experiment, frame, artefacts),
    }
    return {name: _guarded(found[name]) for name in payload["checks"]}


def frame_of(cls: type[Experiment], result: Mapping[str, Any]) -> pd.DataFrame:
    """The frame that rules and plot would see if six seeds had given these numbers."""
    plan = {"metrics": {name: dataclasses.asdict(metric) for name, metric in cls.metrics.items()}}
    results = [dict(result) | {"seed": seed} for seed in range(SEEDS)]
    return Measured("run", "experiment", plan, results, {}).rows


def leave(figure: Figure) -> None:
    """As it is."""


def lay_out(figure: Figure) -> None:
    """Many mistakes show only then. It takes longer than drawing, so not every picture is laid out."""
    figure.draw_without_rendering()


def drawn(experiment: Experiment, rows: pd.DataFrame, artefacts: Any) -> Figure:
    """The picture, not laid out yet."""
    figure = Figure()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        experiment.plot(rows.copy(), figure, artefacts)
    return figure


def controls(cls: type[Experiment]) -> str:
    """A study has a claim, a negative control and a positive one."""
    kinds = {claim.kind if isinstance(claim, Control) else "claim" for claim in cls.claims}
    missing = sorted({"claim", "negative", "positive"} - kinds)
    return f"it declares no {' and no '.join(missing)} (Claim, Control(kind=...))" if missing else ""


def trial(result: dict[str, Any]) -> str:
    """The trial came to measurements."""
    return "" if result["status"] == "ok" else f"{result['status']}: {result['reason']}\n{result['details']}".rstrip()


def metrics(cls: type[Experiment], rows: list[dict[str, Any]]) -> str:
    """Declared metrics against yielded ones."""
    scored = {key for row in rows for key, value in row.items() if key in cls.metrics and value == value}
    expected = {name for name, metric in cls.metrics.items() if not metric.optional}
    if unscored := sorted(expected - scored):
        return f"metrics {unscored} are declared and never measured"
    settings = {key for row in rows for key in row if key not in cls.metrics and key != "subject"}
    for setting in sorted(settings):
        if close := difflib.get_close_matches(setting, cls.metrics, n=1, cutoff=0.85):
            return f"the setting {setting!r} looks like the metric {close[0]!r}, misspelt"
    return ""


def determinism(cls: type[Experiment], first: dict[str, Any], second: dict[str, Any]) -> str:
    """Two runs of one seed agree bit for bit, but for what is read off a clock."""
    timed = {name for name, metric in cls.metrics.items() if metric.timed}
    if len(first["rows"]) != len(second["rows"]):
        return f"one seed gave {len(first['rows'])} measurements, then {len(second['rows'])}"
    for one, other in zip(first["rows"], second["rows"], strict=True):
        for key in sorted((one.keys() | other.keys()) - timed):
            if repr(one.get(key)) != repr(other.get(key)):
                return f"one seed gave {key}={one.get(key)!r}, then {other.get(key)!r}, for subject {one['subject']!r}"
    names = [name for name in first["artefacts"] if first["artefacts"][name] != second["artefacts"].get(name)]
    return f"artefacts {names} differ between two runs of one seed" if names else ""


def silence(printed: str, left_behind: list[str]) -> str:
    """Nothing printed, nothing written."""
    if left_behind:
        return f"the trial left files behind: {left_behind}; keep arrays with context.keep"
    lines = printed.strip().splitlines()
    return f"the trial printed {lines[0]!r}" + (" and more" if len(lines) > 1 else "") if lines else ""


def text_parameters(experiment: Experiment, name: str) -> str:
    """Each parameter written as text and read back is itself."""
    for field in dataclasses.fields(experiment):
        value = getattr(experiment, field.name)
        text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
        back = parameters.configure(type(experiment), {field.name: text}, name=name)[field.name]
        if back != value:
            return f"--set {name}.{field.name}={text} gives {back!r}, not {value!r}"
    return ""


def claims(cls: type[Experiment], frame: pd.DataFrame) -> str:
    """Rules are pure."""
    for claim in cls.claims:
        before = frame.copy(deep=True)
        try:
            verdict = judged(claim.rule(frame), claim.statement)
        except Exception as error:
            return f"the rule of {claim.statement!r} raised {_told(error)}"
        if verdict.n == 0:
            return (
                f"the rule of {claim.statement!r} sees no rows: does it filter for a subject or setting never yielded?"
            )
        if not frame.equals(before):
            return f"the rule of {claim.statement!r} changed the frame it was given"
        if not _same(verdict, judged(claim.rule(frame), claim.statement)):
            return f"the rule of {claim.statement!r} gave two answers for one frame"
        shuffled = frame.sample(frac=1.0, random_state=0)
        if not _same(verdict, judged(claim.rule(shuffled), claim.statement)):
            return f"the rule of {claim.statement!r} depends on the order of the rows"
    return ""


def hostile(experiment: Experiment, frame: pd.DataFrame, artefacts: Any) -> str:
    """NaN, infinities and hostile names break nothing and prove nothing."""
    names = list(experiment.metrics)
    unscored = frame.copy()
    unscored[names] = math.nan
    for claim in experiment.claims:
        verdict = judged(claim.rule(unscored), claim.statement)
        if verdict.outcome == "holds":
            return f"{claim.statement!r} holds on a frame where every metric is NaN"
    infinite = frame.copy()
    infinite[names] = math.inf
    strange = frame.copy()
    strange["subject"] = "<script>alert(1)</script>"
    for what, rows, end in (
        ("NaN", unscored, leave),
        ("infinite metrics", infinite, lay_out),
        ("a hostile subject", strange, leave),
    ):
        if problem := _drawing_fails(experiment, rows, artefacts, end):
            return f"plot fails on {what}: {problem}"
    return ""


def plot(experiment: Experiment, frame: pd.DataFrame, artefacts: Any) -> str:
    """The picture on full, empty and one-seed frames."""
    empty = frame.iloc[:0]
    for what, rows, kept, end in (
        ("an empty frame", empty, {}, lay_out),
        ("one seed", frame[frame.seed == 0], {0: artefacts[0]}, leave),
        ("no artefacts", frame, {}, leave),
    ):
        if problem := _drawing_fails(experiment, rows, kept, end):
            return f"plot fails on {what}: {problem}"
    try:
        figure = drawn(experiment, frame, artefacts)
        figure.savefig(io.BytesIO(), format="svg")
    except Exception as error:
        return f"plot fails on the full frame: {_told(error)}"
    if not figure.axes:
        return "plot draws nothing"
    if not any(axes.get_xlabel() and axes.get_ylabel() for axes in figure.axes):
        return "no axes of the plot has both of its axes labelled"
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot and pyplot.get_fignums():
        return "plot opens figures through pyplot; draw on the figure it is given"
    return ""


def _same(one: Verdict, other: Verdict) -> bool:
    """Equal but for rounding: sums depend on the order of their terms."""
    if (one.outcome, one.n) != (other.outcome, other.n):
        return False
    numbers = [(getattr(one, name), getattr(other, name)) for name in ("estimate", "low", "high", "p")]
    return all(np.isclose(a, b, rtol=1e-6, atol=1e-12, equal_nan=True) for a, b in numbers)


def _drawing_fails(experiment: Experiment, rows: pd.DataFrame, artefacts: Any, end: Callable[[Figure], None]) -> str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            end(drawn(experiment, rows, artefacts))
    except Exception as error:
        return _told(error)
    return ""


def _guarded(check: Callable[[], str]) -> str:
    try:
        return check()
    except Exception as error:
        return f"it raised {_told(error)}"


def _told(error: Exception) -> str:
    where = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({where.filename.rpartition('/')[2]}:{where.lineno})"
