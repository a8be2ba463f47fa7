"""Whole reports: what is written, what it says when things went wrong, and that it is the same each time."""

import csv
import json
import math
import re
from html.parser import HTMLParser

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlbench import report
from dlbench.errors import DlbenchError
from dlbench.isolate import Forkserver
from dlbench.report import CLAIMS, bars, board, frames, page, published
from dlbench.report.board import LEADERBOARD
from dlbench.report.frames import Measured

FILES = {"index.html", "measurements.csv", "claims.csv", "leaderboard.csv", "trials.csv", "references.csv", "figures"}


def read(folder, name):
    with (folder / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, strict=True))


@pytest.fixture
def out(tmp_path):
    return tmp_path / "report"


def test_everything_is_written_and_the_frames_are_the_files(workbench, out):
    workbench.install()
    made = report.write(workbench.run(), out)
    assert {path.name for path in out.iterdir()} == FILES
    assert [path.name for path in (out / "figures").iterdir()] == ["demo.svg"]
    assert made.page == out / "index.html"
    for name in ("claims", "measurements", "trials", "references", "leaderboard"):
        rows, frame = read(out, name), getattr(made, name)
        assert len(rows) == len(frame) > 0
        assert list(rows[0]) == list(frame.columns)
    assert list(read(out, "claims")[0]) == list(CLAIMS)
    assert list(read(out, "leaderboard")[0]) == list(LEADERBOARD)
    assert list(read(out, "references")[0]) == list(published.REFERENCES)
    assert list(read(out, "trials")[0]) == list(frames.TRIALS)
    values = [float(row["value"]) for row in read(out, "measurements")]
    assert values == made.measurements.value.tolist()  # bit for bit


def test_claims_with_their_evidence_and_the_published_number(workbench, out):
    workbench.install()
    claims = report.write(workbench.run(seeds=8), out).claims.set_index("claim")
    first = claims.loc["a is better than b by 10 points, at every noise"]
    assert (first.verdict, first.kind, first.n, first.criterion) == ("holds", "claim", 8, "> 0.1 at noise=0.0")
    assert first.p == pytest.approx(2 / 2**8)
    assert first.p_holm == pytest.approx(3 * 2 / 2**8)
    assert math.isnan(first.reference)
    second = claims.loc["a reaches 95 % without noise"]
    assert (second.verdict, second.reference, second.reference_source) == ("does not hold", 0.96, "Somebody 2021")
    gate = claims.loc["nothing is perfect"]
    assert (gate.kind, gate.verdict) == ("gate", "holds")
    assert math.isnan(gate.p_holm)


def test_the_same_run_gives_the_same_bytes(workbench, tmp_path):
    workbench.install()
    run = workbench.run()
    written = []
    for name in ("one", "two"):
        report.write(run, tmp_path / name)
        files = [path for path in (tmp_path / name).rglob("*") if path.is_file()]
        written.append({path.relative_to(tmp_path / name): path.read_bytes() for path in files})
    assert written[0] == written[1]


def test_judged_in_a_process_of_its_own_it_is_the_same(workbench, tmp_path, monkeypatch):
    workbench.install()
    monkeypatch.setenv("PYTHONPATH", str(workbench.folder), prepend=":")
    run = workbench.run()
    report.write(run, tmp_path / "here")
    with Forkserver(preload=["pandas", "scipy.stats", "matplotlib.figure"]) as server:
        report.write(run, tmp_path / "there", call=server.call)
    for name in ("index.html", "claims.csv", "figures/demo.svg"):
        assert (tmp_path / "there" / name).read_bytes() == (tmp_path / "here" / name).read_bytes()


def test_what_a_judge_dies_of_is_the_reason_of_its_claims_only(workbench, out):
    workbench.install(demo="Demo", other="Demo")
    calls = []

    def call(function, payload, timeout):
        calls.append((function, payload["name"], timeout))
        if payload["name"] == "demo":
            raise DlbenchError("still running after its limit of 7 s")
        return report.judge.judge(payload)

    made = report.write(workbench.run("demo", "other"), out, call=call, timeout_s=7)
    assert calls == [("dlbench.report.judge:judge", name, 7) for name in ("demo", "other")]
    dead, alive = (made.claims[made.claims.experiment == name] for name in ("demo", "other"))
    assert set(dead.verdict) == {"invalid"}
    assert dead.reason.iloc[0] == "still running after its limit of 7 s"
    assert alive.verdict.iloc[0] == "holds"
    assert "There is no figure: still running" in made.page.read_text()
    assert len(made.leaderboard) == 12  # of both: the numbers stand


def test_an_uninstalled_plugin_leaves_the_tables(workbench, out):
    workbench.install()
    run = workbench.run()
    workbench.install(something_else="Demo")
    made = report.write(run, out)
    assert set(made.claims.verdict) == {"invalid"}
    assert "there is no experiment 'demo'" in made.claims.reason.iloc[0]
    assert len(made.leaderboard) == 6


@pytest.mark.parametrize("status", ["error", "timeout", None])
def test_a_run_without_any_measurement(workbench, out, status):
    workbench.install()
    made = report.write(workbench.run(status=lambda seed: status), out)
    assert made.measurements.empty
    assert made.leaderboard.empty
    assert set(made.claims.verdict) == {"inconclusive"}
    text = made.page.read_text()
    assert "0 of 6 trials gave measurements" in text
    if status:
        assert "6 trials without measurements" in text
        assert "it went wrong at seed 5" in text


def test_an_empty_run(workbench, out):
    workbench.install()
    run = workbench.run()
    run.plan["experiments"].clear()
    made = report.write(run, out)
    assert made.claims.empty
    assert "This run has no experiment" in made.page.read_text()
    assert read(out, "claims") == []


def test_one_seed(workbench, out):
    workbench.install()
    made = report.write(workbench.run(seeds=1), out)
    assert set(made.claims.verdict) == {"inconclusive"}
    assert "a verdict needs at least 6" in made.claims.reason.iloc[0]
    assert made.leaderboard["ci_low"].isna().all()
    assert {row["ci_low"] for row in read(out, "leaderboard")} == {""}
    assert "ranks need at least 6 seeds" in made.page.read_text()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_none(workbench, out, bad):
    workbench.install()
    rows = [{"subject": s, "noise": 0.0, "accuracy": bad, "seconds": bad} for s in "abc"]
    made = report.write(workbench.run(rows=lambda seed: rows), out)
    assert "holds" not in set(made.claims[made.claims.kind == "claim"].verdict)
    assert {row["value"] for row in read(out, "measurements")} == {repr(bad)}
    assert made.page.exists()


HOSTILE = [
    "<script>alert(1)</script>",
    '=HYPERLINK("http://evil")',
    "NA",
    "\x1b[31mred",
    "abc\u202egpj.exe",
    "x" * 300,
    '"><img src=x onerror=alert(1)>',
    "{{ 7 * 7 }}{% raw %}",
    "字" * 40,
]


def test_hostile_names_and_texts(workbench, out):
    workbench.install()

    def rows(seed):
        return [{"subject": text, "noise": text, "accuracy": 0.1, "seconds": 1.0} for text in HOSTILE]

    run = workbench.run(rows=rows, seeds=7, status=lambda seed: "ok" if seed else "error")
    plan = run.plan["experiments"]["demo"]
    script = HOSTILE[0]
    plan |= {"title": script, "chapter": script, "doc": script, "sources": [script], "preset": script}
    plan["parameters"]["width"] = script
    plan["references"][0] |= {"source": script, "note": script, "metric": script}
    run.records[0]["reason"] = run.records[0]["details"] = script
    run.environments[run.records[0]["environment"]]["cpu"] = script
    run.problems.append(script)
    made = report.write(run, out)
    text = made.page.read_text(encoding="utf-8")
    assert text.count("<script") == 1  # our own
    assert "<img src=x" not in text
    assert "{{ 7 * 7 }}" in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert text.count("&lt;script&gt;alert(1)") > 10
    subjects = {row["subject"] for row in read(out, "measurements")}
    assert {"NA", "'" + HOSTILE[1], HOSTILE[0], "\\x1b[31mred", HOSTILE[5]} < subjects
    assert pd.read_csv(out / "measurements.csv", dtype=str, keep_default_na=False).subject.nunique() == len(HOSTILE)


class Tags(HTMLParser):
    """What a page consists of: (tag, its attributes' names), and where its links lead."""

    def __init__(self, text):
        super().__init__()
        self.found, self.links = [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, tuple(name for name, _ in attributes)))
        self.links += [value for name, value in attributes if name in ("href", "src", "action")]


def tags_with(text):
    """Of a page where every text of others is this one."""
    metric = {"description": text, "unit": text, "better": "higher", "main": True}
    reference = {"metric": "x", "value": 1.0, "source": text, "where": {}, "note": text, "sd": None, "n": None}
    claims = [{"statement": text, "kind": "claim", "source": text, "reference": reference}]
    claims.append({"statement": text + "2", "kind": "gate", "source": text, "reference": None})
    plan = {
        "title": text,
        "doc": text,
        "chapter": text,
        "version": 1,
        "preset": text,
        "device": text,
        "seeds": [0, 1, 2],
    }
    plan |= {"metrics": {"x": metric}, "claims": claims, "references": [reference], "sources": [text]}
    plan |= {"parameters": {text: text}, "plugin": {"distribution": text, "version": text}}
    ok = {
        "status": "ok",
        "rows": [{"subject": text, "setting": text, "x": 1.0}],
        "environment": "e",
        "finished": text,
    }
    failed = {"status": "error", "reason": text, "details": text, "rows": [], "environment": "e", "finished": text}
    one = Measured(text, text, plan, [ok | {"seed": 0}, ok | {"seed": 1}, failed | {"seed": 2}], {"e": {text: text}})
    judgement = report.judge.failed(plan, text)
    for verdict in judgement["verdicts"]:
        verdict |= {"criterion": text, "estimate": 1.0}
    references = published.references([one])
    claims = report._claims([one], [judgement], references)
    sections = page.sections([one], [judgement], claims, references, board.leaderboard([one]))
    return Tags(page.render([one], sections, claims, [text]))


@pytest.fixture(scope="module")
def plain():
    """The page where every text of others is a word."""
    return tags_with("plain")


@settings(max_examples=40)
@given(
    text=st.text(max_size=40)
    | st.sampled_from([*HOSTILE, "\0", "<!--", "]]>", "&lt;", "</style>", "</title>", "`<b>`"])
)
def test_no_text_of_others_becomes_markup(plain, text):
    made = tags_with(text)
    known = {attributes for tag, attributes in plain.found} | {("href", "rel"), ()}
    assert {tag for tag, _ in made.found} <= {tag for tag, _ in plain.found} | {
        "a",
        "code",
        "pre",
        "p",
        "ul",
        "li",
        "svg",
    }
    assert {attributes for _, attributes in made.found} <= known
    assert sum(tag == "script" for tag, _ in made.found) == 1
    assert all(link.startswith(("#", "data:,", "https://")) for link in made.links)


def test_a_name_cannot_leave_the_folder(workbench, out):
    workbench.install()
    run = workbench.run()
    run.plan["experiments"]["../../evil"] = run.plan["experiments"].pop("demo")
    for record in run.records:
        record["experiment"] = "../../evil"

    def call(function, payload, timeout):
        return report.judge.judge({**payload, "name": "demo"})

    report.write(run, out, call=call)
    assert len(list((out / "figures").iterdir())) == 1
    assert {path.name for path in out.parent.iterdir()} == {"report", "quick", "site"}


def test_several_runs_stand_side_by_side(workbench, out):
    workbench.install()
    runs = [workbench.run(label="first"), workbench.run(label="second", overrides={"width": 256})]
    made = report.write(runs, out)
    assert made.measurements.run.unique().tolist() == ["first", "second"]
    assert {path.name for path in (out / "figures").iterdir()} == {"demo--first.svg", "demo--second.svg"}
    text = made.page.read_text()
    assert 'id="demo--first"' in text
    assert 'id="demo--second"' in text
    assert made.leaderboard.row_id.is_unique
    assert "--set demo.width=256" in text


def test_runs_of_one_name_are_told_apart(workbench, out, tmp_path):
    workbench.install()
    run = workbench.run()
    assert report.write([run, run], out).trials.run.unique().tolist() == ["quick", "quick-2"]


def test_artefacts_that_cannot_be_read_are_a_problem(workbench, out):
    workbench.install(KEEPS, demo="Keeps")
    run = workbench.run()
    next((run.path / "artefacts").iterdir()).write_bytes(b"damaged")
    text = report.write(run, out).page.read_text()
    assert "artefact curve cannot be read" in text


KEEPS = """
from dataclasses import dataclass
import numpy as np
from dlbench import Experiment, Metric

@dataclass(frozen=True)
class Keeps(Experiment):
    title = "Keeps"
    metrics = {"x": Metric(main=True)}

    def trial(self, context):
        yield {"subject": "s", "x": 1.0}
        context.keep("curve", np.arange(3) + context.seed)
"""


def test_a_trial_with_two_answers_is_a_problem(workbench, out):
    workbench.install()
    run = workbench.run()
    again = json.loads(json.dumps(run.records[0]))
    again["rows"][0]["accuracy"] += 0.1
    run.records.append(again)
    assert (
        "demo, seed 0: run twice in one environment, it gave different measurements"
        in report.write(run, out).page.read_text()
    )


def test_rules_that_have_changed_since_are_a_problem(workbench, out):
    workbench.install()
    run = workbench.run()
    assert "has changed since" not in report.write(run, out).page.read_text()
    run.plan["experiments"]["demo"]["code"]["demo"] = "0" * 64
    text = report.write(run, out).page.read_text()
    assert "demo: the code of demo has changed since it was measured; the verdicts are those of its rules now" in text


def test_a_large_leaderboard_is_cut_in_the_page_only(workbench, out):
    workbench.install()
    count = page.MOST_ROWS + 50

    def rows(seed):
        return [{"subject": f"m{i}", "noise": i % 3, "accuracy": i / count, "seconds": 1.0} for i in range(count)]

    made = report.write(workbench.run(rows=rows), out)
    text = made.page.read_text()
    assert len(read(out, "leaderboard")) == count
    assert f"the best {page.MOST_ROWS} of {count} rows by accuracy" in text
    assert f">m{count - 1}<" in text
    assert ">m0<" not in text


def test_how_to_measure_it_again(workbench, out):
    workbench.install()
    run = workbench.run(overrides={"noises": (0.0, 0.25), "width": 128})
    text = report.write(run, out).page.read_text()
    command = "dlbench run demo --preset quick --seeds 6 --device cpu --set demo.noises=0.0,0.25 --set demo.width=128"
    assert command in text


def test_what_the_page_says(workbench, out):
    workbench.install()
    text = report.write(
        workbench.run(seeds=8, status=lambda seed: "timeout" if seed == 7 else "ok"), out
    ).page.read_text()
    assert "<title>1 of 3 claims hold · quick · dlbench</title>" in text
    assert "7 of 8 trials gave measurements" in text
    assert re.search(r"<h4>Verdicts .*1 of 3 hold", text)
    assert "Published numbers for other settings (1)" in text
    assert 'href="https://arxiv.org/abs/2009.11848"' in text
    assert 'content="default-src &#39;none&#39;; style-src &#39;sha256-' in text
    assert "<code>sgd</code>" in text
    assert "1.2, revision cccccccccccc, modified" in text
    assert not re.search(r"\son[a-z]+=|\sstyle=", re.sub(r'src="data:[^"]*"', "", text))  # nothing inline


@pytest.mark.parametrize(
    ("criterion", "region"),
    [
        ("> 3", (3, math.inf)),
        ("< -0.5 at target=sine", (-math.inf, -0.5)),
        ("within ±0.02", (-0.02, 0.02)),
        ("0.1 ± 0.02", (pytest.approx(0.08), pytest.approx(0.12))),
        ("> 1e-05", (1e-5, math.inf)),
        ("something else", None),
        ("> much", None),
        ("", None),
    ],
)
def test_where_a_criterion_wants_the_interval(criterion, region):
    assert bars.wanted(criterion) == region


def test_bars_stay_inside_their_box():
    for low, estimate, high in [
        (0, 1, 2),
        (-math.inf, 1, math.inf),
        (1, 1, 1),
        (math.nan, 0, math.nan),
        (-1e300, 0, 1e300),
    ]:
        for region in (None, (0.5, math.inf), (-math.inf, 5), (-2, 2)):
            numbers = re.findall(
                r'(?:cx|x|width)="([-\d.]+)"|[MH]([-\d.]+)', bars.bar(low, estimate, high, region=region)
            )
            assert numbers
            assert all(0 <= float(a or b) <= bars._WIDTH for a, b in numbers)
    assert bars.bar(math.nan, math.nan, math.nan) == ""
