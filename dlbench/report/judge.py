"""An experiment's rules and picture, run on its measurements: the only part of a report that runs a plugin's code.

:func:`judge` takes and returns plain data, so that it can run in a process of its own with a time limit.
"""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, get_args

from dlbench import declarations, parameters, plugins, stats
from dlbench.errors import DlbenchError, PluginError
from dlbench.experiment import Claim, Experiment
from dlbench.report.files import visible
from dlbench.verdicts import Outcome, Verdict, judged

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

HEAVIEST_SVG = 512 << 10
"""Bytes of a picture beyond which the page shows it as PNG: a scatter of 20 000 points is 2 MB of SVG."""

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's colours, which the colour-blind can tell apart."""

STYLE: dict[str, Any] = {
    "svg.fonttype": "path",  # the glyphs are in the file: it looks the same where the font is not
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": "medium",
    "legend.frameon": False,
    "figure.figsize": (9.0, 4.5),
}


NO_PICTURE: dict[str, Any] = {"svg": None, "png": None, "plot_error": ""}


def judge(payload: Mapping[str, Any], send: Callable[[dict[str, Any]], None] | None = None) -> dict[str, Any]:
    """Evaluate an experiment's claims and draw its picture.

    Args:
        payload: ``name``; ``plan``, the experiment's entry in the run's plan; ``rows``, the measurements of its ok
            trials, indexed by seed; ``artefacts``, seed → name → array; ``missing``, what became of the other trials;
            ``picture``, False where none is wanted.
        send: unused; isolated tasks are given it.

    Returns:
        ``verdicts``: for each claim of the plan its outcome and numbers, ``alone`` being the outcome before controls;
        ``changed``: whether the plugin's code is another than the one that measured;
        ``svg``, and ``png`` (base64) in place of an SVG too heavy for a page; ``plot_error``.

    Raises:
        PluginError: the plugin is not there, is broken, or is another version than the one that was measured.
    """
    plan = payload["plan"]
    cls = measured_class(payload["name"], plan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # means of nothing, infinities: the verdicts tell of them
        verdicts = _verdicts(cls, plan, payload["rows"], payload["missing"])
        picture = _picture(cls, payload) if payload.get("picture", True) else dict(NO_PICTURE)
    return {"verdicts": verdicts, "changed": _changed(plan)} | picture


def verdicts(payload: Mapping[str, Any], send: Callable[[dict[str, Any]], None] | None = None) -> list[dict[str, Any]]:
    """The verdicts alone, of the same payload but for the artefacts; see :func:`judge`."""
    cls = measured_class(payload["name"], payload["plan"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _verdicts(cls, payload["plan"], payload["rows"], payload["missing"])


def measured_class(name: str, plan: Mapping[str, Any]) -> type[Experiment]:
    """The class that measured; its entry point must be registered here, as a run folder may come from anybody."""
    plugin = plugins.find(plugins.RUNNABLE, name)
    if plugin.value != plan["plugin"]["value"]:
        raise PluginError(f"{name}: the run measured {plan['plugin']['value']!r}, installed is {plugin.value!r}")
    cls = declarations.experiment_class(plugin)
    if cls.version != plan["version"]:
        raise PluginError(
            f"{name} was measured in version {plan['version']}, installed is version {cls.version}; run it again"
        )
    return cls


def _changed(plan: Mapping[str, Any]) -> bool:
    plugin = plan["plugin"]
    measured = plan.get("code", {}).get(plugin["distribution"])
    return measured not in (None, plugins.code_digest(plugin["value"].partition(":")[0]))


# ---------------------------------------------------------------------------------------------------------- verdicts


def _verdicts(cls: type[Experiment], plan: Mapping[str, Any], rows: pd.DataFrame, missing: str) -> list[dict[str, Any]]:
    claims = list(plan["claims"])
    rules = {claim.statement: claim for claim in cls.claims}
    alone = [_evaluate(rules.get(claim["statement"]), rows, missing) for claim in claims]
    controls = [
        (claim["statement"], verdict) for claim, verdict in zip(claims, alone, strict=True) if claim["kind"] != "claim"
    ]
    final = [
        controlled(verdict, controls) if claim["kind"] == "claim" else verdict
        for claim, verdict in zip(claims, alone, strict=True)
    ]
    return [
        {
            "statement": claim["statement"],
            "kind": claim["kind"],
            "outcome": verdict.outcome,
            "alone": before.outcome,
            "estimate": verdict.estimate,
            "low": verdict.low,
            "high": verdict.high,
            "n": verdict.n,
            "p": verdict.p,
            "criterion": verdict.criterion,
            "reason": _with_missing(verdict, len(plan["seeds"]), missing),
        }
        for claim, verdict, before in zip(claims, final, alone, strict=True)
    ]


def _evaluate(claim: Claim | None, rows: pd.DataFrame, missing: str) -> Verdict:
    """A rule's verdict; whatever a rule raises makes it invalid."""
    if claim is None:
        return Verdict("invalid", reason="the installed plugin no longer states this")
    if rows.empty:
        return Verdict("inconclusive", reason="there is no measurement")
    try:
        verdict = judged(claim.rule(rows.copy()), claim.statement)
        if verdict.outcome not in get_args(Outcome):
            raise ValueError(f"{verdict.outcome!r} is no outcome")
        estimate, low, high, p = map(float, (verdict.estimate, verdict.low, verdict.high, verdict.p))
        return replace(verdict, estimate=estimate, low=low, high=high, p=p, n=int(verdict.n))
    except (Exception, SystemExit) as error:
        return Verdict("invalid", reason=f"its rule raised {one_line(error)}")


def controlled(verdict: Verdict, controls: Sequence[tuple[str, Verdict]]) -> Verdict:
    """A claim's verdict once the experiment's controls (statement, verdict) are known."""
    alone = f"alone, the claim would be: {verdict.outcome}"
    for outcomes, verb in ((("does not hold", "invalid"), "invalid"), (("inconclusive",), "inconclusive")):
        for statement, control in controls:
            if control.outcome in outcomes and verdict.outcome not in ("invalid", verb):
                says = "is " + control.outcome if control.outcome != "does not hold" else control.outcome
                reason = f"the control “{statement}” {says}; {alone}"
                return replace(verdict, outcome=verb, reason=_joined(reason, verdict.reason))  # type: ignore[arg-type]
    return verdict


def _with_missing(verdict: Verdict, planned: int, missing: str) -> str:
    if verdict.n >= planned or not missing:
        return verdict.reason
    return _joined(verdict.reason, f"of {planned} planned trials, {missing}")


def _joined(*reasons: str) -> str:
    return "; ".join(reason for reason in reasons if reason)


def one_line(error: BaseException) -> str:
    """An exception as one line of at most 300 characters; our own need no name, their messages are made to be read."""
    first = next(iter(str(error).strip().splitlines()), "")
    return (first if isinstance(error, DlbenchError) else f"{type(error).__name__}: {first}")[:300].rstrip(": ")


# ----------------------------------------------------------------------------------------------------------- picture


def _picture(cls: type[Experiment], payload: Mapping[str, Any]) -> dict[str, Any]:
    """The experiment's plot as SVG with the same bytes each time, or why there is none."""
    import matplotlib
    from cycler import cycler
    from matplotlib.figure import Figure

    plan, name = payload["plan"], payload["name"]
    style = STYLE | {"svg.hashsalt": name, "axes.prop_cycle": cycler(color=PALETTE)}
    if payload["rows"].empty:
        return NO_PICTURE | {"plot_error": "there is no measurement to draw"}
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # the user's matplotlibrc is for the user's own figures
        matplotlib.rcParams.update(style)  # type: ignore[arg-type]
        try:
            instance = cls(**parameters.configure(cls, plan["parameters"], name=name))
            figure = Figure()
            instance.plot(payload["rows"].copy(), figure, payload["artefacts"])
            svg = visible(_render(figure, "svg").decode())  # a control character in a label is no XML
            png = _render(figure, "png") if len(svg) > HEAVIEST_SVG else None
        except (Exception, SystemExit) as error:
            return NO_PICTURE | {"plot_error": one_line(error)}
    return NO_PICTURE | {"svg": svg, "png": base64.b64encode(png).decode() if png else None}


def _render(figure: Figure, kind: str) -> bytes:
    buffer = io.BytesIO()
    metadata = {"Date": None} if kind == "svg" else {}
    figure.savefig(buffer, format=kind, metadata=metadata, bbox_inches="tight", dpi=160)
    return buffer.getvalue()


def failed(plan: Mapping[str, Any], reason: str) -> dict[str, Any]:
    """What :func:`judge` would return where it could not run at all."""
    nan = float("nan")
    verdicts = [
        {"statement": claim["statement"], "kind": claim["kind"], "outcome": "invalid", "alone": "invalid"}
        | {"estimate": nan, "low": nan, "high": nan, "n": 0, "p": nan, "criterion": "", "reason": reason}
        for claim in plan["claims"]
    ]
    return {"verdicts": verdicts, "changed": False, "svg": None, "png": None, "plot_error": reason}


def holm(verdicts: Sequence[Mapping[str, Any]]) -> list[float]:
    """Holm's adjustment of the p values of the claims among verdicts; NaN for controls."""
    return stats.holm([v["p"] if v["kind"] == "claim" else float("nan") for v in verdicts])
