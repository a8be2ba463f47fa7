import itertools
import math
from xml.etree import ElementTree

import numpy as np
import pytest

from dlbench.errors import PluginError
from dlbench.report import frames, judge
from dlbench.verdicts import Verdict

TEMPLATE = """
from dataclasses import dataclass
import numpy as np
from dlbench import Claim, Control, Experiment, Metric, above, below

@dataclass(frozen=True)
class Odd(Experiment):
    sizes: tuple[int, ...] = (1, 2)
    title = "Odd"
    version = {version}
    metrics = {{"x": Metric(main=True, better="higher")}}
    claims = [{claims}]

    def trial(self, context):
        yield {{"subject": "s", "x": 1.0 + context.rng("x").normal(0, 0.01)}}
        context.keep("curve", np.arange(3) + context.seed)

    def plot(self, rows, figure, artefacts):
        {plot}
"""


@pytest.fixture
def judged(workbench):
    """judged(claims, …): the judgement on an experiment whose x is about 1 on each of six seeds."""

    def make(
        claims='Claim("c", lambda rows: above(rows.x, 0))', plot="figure.subplots()", version=1, plan=None, **options
    ):
        workbench.install(TEMPLATE.format(claims=claims, plot=plot, version=version), odd="Odd")
        run = workbench.run("odd", **options)
        (one,) = frames.measured({"r": run})
        artefacts = {result["seed"]: {k: run.artefact(v) for k, v in result["artefacts"].items()} for result in one.ok}
        payload = {"name": "odd", "plan": dict(one.plan) | (plan or {}), "rows": one.rows, "missing": one.missing}
        return judge.judge(payload | {"artefacts": artefacts})

    return make


CLAIM = 'Claim("c", lambda rows: above(rows.x, 0))'
FAILS = 'Claim("c", lambda rows: above(rows.x, 2))'
CONTROLS = {
    "holds": 'Control("k", lambda rows: below(rows.x, 2))',
    "does not hold": 'Control("k", lambda rows: below(rows.x, 0))',
    "inconclusive": 'Control("k", lambda rows: below(rows.x[:3], 2))',
    "invalid": 'Control("k", lambda rows: 1 / 0)',
}


@pytest.mark.parametrize(("claim", "control"), [*itertools.product([CLAIM, FAILS], CONTROLS)])
def test_controls_decide_over_claims_and_keep_their_own_verdict(judged, claim, control):
    ours, kept = judged(f"{claim}, {CONTROLS[control]}")["verdicts"]
    alone = "holds" if claim is CLAIM else "does not hold"
    outcome = {"holds": alone, "inconclusive": "inconclusive"}.get(control, "invalid")
    assert (ours["outcome"], ours["alone"], kept["outcome"]) == (outcome, alone, control)
    assert ours["n"] == 6
    assert ours["estimate"] == pytest.approx(1, abs=0.05)  # the evidence stays
    if control != "holds":
        assert "the control “k”" in ours["reason"]
        assert f"the claim would be: {alone}" in ours["reason"]


def test_the_worst_control_decides(judged):
    verdicts = judged(f"{CLAIM}, {CONTROLS['inconclusive']}, {CONTROLS['does not hold'].replace('k', 'l', 1)}")[
        "verdicts"
    ]
    assert verdicts[0]["outcome"] == "invalid"


def test_an_invalid_claim_says_its_own_reason():
    controls = [("k", Verdict("does not hold"))]
    assert judge.controlled(Verdict("invalid", reason="broken"), controls).reason == "broken"


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ("rows.nothing", "AttributeError"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("None", "TypeError: the rule of 'c' returned NoneType, not a Verdict"),
        ("exit(3)", "SystemExit: 3"),
        ("rows.drop(columns=['x', 'subject'], inplace=True) or above(rows.y, 0)", "AttributeError"),
        ("__import__('dlbench').Verdict('perhaps')", "ValueError: 'perhaps' is no outcome"),
    ],
)
def test_a_rule_that_raises_is_invalid_and_harms_no_other(judged, rule, reason):
    broken, healthy = judged(f'Claim("c", lambda rows: {rule}), {CLAIM.replace("c", "d", 1)}')["verdicts"][:2]
    assert broken["outcome"] == "invalid"
    assert reason in broken["reason"]
    assert "\n" not in broken["reason"]
    assert healthy["outcome"] == "holds"


def test_missing_trials_are_told(judged):
    (verdict,) = judged(seeds=8, status=lambda seed: {0: "timeout", 1: None}.get(seed, "ok"))["verdicts"]
    assert verdict["outcome"] == "holds"
    assert verdict["n"] == 6
    assert verdict["reason"] == "of 8 planned trials, 1 timed out, 1 did not run"


def test_without_measurements_nothing_is_decided(judged):
    (verdict,) = judged(status=lambda seed: "crashed")["verdicts"]
    assert verdict["outcome"] == "inconclusive"
    assert verdict["reason"] == "there is no measurement; of 6 planned trials, 6 crashed"
    assert math.isnan(verdict["estimate"])


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_decide_nothing(judged, bad):
    (verdict,) = judged(rows=lambda seed: [{"subject": "s", "x": bad}])["verdicts"]
    assert verdict["outcome"] == "inconclusive"


def test_another_version_than_was_measured_is_not_judged(judged):
    with pytest.raises(PluginError, match="measured in version 1, installed is version 2; run it again"):
        judged(version=2, plan={"version": 1})


def test_only_what_is_registered_is_imported(judged):
    """A run folder may come from anybody; its plan must not make us import a module of its choice."""
    plugin = {"distribution": "demo", "version": "1", "value": "antigravity:fly"}
    with pytest.raises(PluginError, match="the run measured 'antigravity:fly'"):
        judged(plan={"plugin": plugin})


def test_a_plugin_that_is_gone(judged):
    with pytest.raises(PluginError, match="there is no experiment 'gone'"):
        judge.measured_class("gone", {})


def test_a_claim_that_the_plugin_no_longer_states(judged):
    claims = [{"statement": "old", "kind": "claim", "source": "", "reference": None}]
    (verdict,) = judged(plan={"claims": claims})["verdicts"]
    assert (verdict["outcome"], verdict["reason"]) == ("invalid", "the installed plugin no longer states this")


# ----------------------------------------------------------------------------------------------------------- picture


def test_a_picture_has_the_same_bytes_each_time(judged):
    plot = "figure.subplots().plot(rows.index, rows.x, 'o', label='a < b'); figure.axes[0].set_xlabel('x [s]')"
    first, second = judged(plot=plot)["svg"], judged(plot=plot)["svg"]
    assert first == second
    assert first.startswith("<?xml")
    assert "<dc:date>" not in first
    assert "<text" not in first  # glyphs are paths: no font is needed


def test_plots_get_artefacts_and_parameters_in_their_own_types(judged):
    plot = "figure.text(0, 0, str(sorted(artefacts[2]['curve']))); assert isinstance(self.sizes, tuple)"
    told = judged(plot=plot)
    assert told["plot_error"] == ""
    assert told["svg"]


def test_a_picture_is_xml_whatever_its_labels_hold(judged):
    told = judged(plot="figure.subplots().set_title('\\x1b[31m -- ]]> \\ufffe <script>\\u202e &amp;')")
    assert told["plot_error"] == ""
    ElementTree.fromstring(told["svg"])


@pytest.mark.parametrize("plot", ["raise ValueError('no\\nlines')", "exit(1)", "figure.savefig('/nowhere/x.png')"])
def test_a_plot_that_fails_is_a_message(judged, plot):
    told = judged(plot=plot)
    assert told["svg"] is None
    assert told["plot_error"].partition(":")[0] in ("ValueError", "SystemExit", "FileNotFoundError")
    assert "\n" not in told["plot_error"]
    assert told["verdicts"][0]["outcome"] == "holds"


def test_a_heavy_picture_is_shown_as_png(judged):
    told = judged(plot="figure.subplots().scatter(*np.random.default_rng(0).normal(size=(2, 20_000)))")
    assert len(told["svg"]) > judge.HEAVIEST_SVG
    assert len(told["png"]) < judge.HEAVIEST_SVG


def test_plots_do_not_see_what_another_has_set(judged):
    import matplotlib

    before = matplotlib.rcParams["lines.linewidth"]
    judged(plot="import matplotlib; matplotlib.rcParams['lines.linewidth'] = 77; figure.subplots()")
    assert matplotlib.rcParams["lines.linewidth"] == before


def test_holm_counts_claims_only():
    verdicts = [{"kind": kind, "p": p} for kind, p in [("claim", 0.01), ("gate", 0.001), ("claim", 0.04)]]
    adjusted = judge.holm(verdicts)
    assert adjusted[0] == pytest.approx(0.02)
    assert np.isnan(adjusted[1])
    assert adjusted[2] == pytest.approx(0.04)


def test_failed_gives_every_claim_the_reason():
    plan = {"claims": [{"statement": "c", "kind": "claim"}, {"statement": "k", "kind": "gate"}]}
    told = judge.failed(plan, "killed")
    assert [verdict["outcome"] for verdict in told["verdicts"]] == ["invalid"] * 2
    assert told["plot_error"] == "killed"
