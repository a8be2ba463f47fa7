"""Each rule on a bundle that is good but for one thing; and what a verification is worth."""

import json

import pytest

from dlbench.leaderboard import bundle, rules, verify
from dlbench.leaderboard.rules import RULES


@pytest.fixture
def good(submissions):
    return submissions.files()


def outcome(submissions, files, accepted=()):
    history = rules.History()
    for one in accepted:
        history.add(one, submissions.admitted["demo"])
    found = verify(submissions.put(files), submissions.admitted, history)
    for finding in found.findings:
        assert "\n" not in finding.message
        assert len(finding.message) < 400
    return found


def rejected(submissions, files, rule, says="", accepted=()):
    found = outcome(submissions, files, accepted)
    broken = {finding.rule: finding.message for finding in found.rejected}
    assert rule in broken, found.findings
    assert says in broken[rule]
    assert found.level == "rejected"
    return broken


def test_a_good_bundle_passes_every_rule(submissions, good):
    found = outcome(submissions, good)
    assert [finding.rule for finding in found.findings] == list(RULES)
    assert not found.rejected
    assert found.level == "self_reported"  # the demo's code is dirty
    assert {f.rule: f.outcome for f in found.findings}["V24"] == "flag"


def test_clean_code_is_checked(submissions, good):
    assert outcome(submissions, clean(submissions, good)).level == "checked"


ROWS = "records.jsonl"


def first(records):
    return records[0]["rows"][0]


@pytest.mark.parametrize(
    ("file", "change", "rule", "says"),
    [
        ("plan.json", lambda p: p.pop("seeds"), "V05", "'seeds' is missing"),
        ("plan.json", lambda p: p.update(seeds="0-5"), "V05", "a list"),
        ("plan.json", lambda p: p.update(experiment="con"), "V06", "con"),
        ("plan.json", lambda p: p.update(experiment="other"), "V12", "no board of other"),
        ("plan.json", lambda p: p.update(version=2), "V12", "version 2"),
        ("plan.json", lambda p: p["parameters"].update(width=128), "V12", "width is 128"),
        ("plan.json", lambda p: p["parameters"].pop("width"), "V12", "width"),
        ("plan.json", lambda p: p["metrics"]["accuracy"].update(better="lower"), "V07", "better"),
        ("plan.json", lambda p: p["metrics"]["accuracy"].update(unit="%"), "V07", "unit"),
        ("plan.json", lambda p: p["metrics"]["accuracy"].update(high="Infinity"), "V07", "high"),
        ("claim.json", lambda c: c.update(submitter="a" * 65), "V06", "submitter"),
        ("claim.json", lambda c: c.update(submitted_at="yesterday"), "V05", "submitted_at"),
        ("claim.json", lambda c: c.update(selection="test"), "V15", "test data"),
        ("claim.json", lambda c: c.update(selection="luck"), "V15", "luck"),
        ("claim.json", lambda c: c.update(tuned_trials=-1), "V15", "-1"),
        ("claim.json", lambda c: c.update(tuned_trials=40), "V15", "by nothing"),
        ("claim.json", lambda c: c.update(tuned_trials=True), "V05", "whole number"),
        ("claim.json", lambda c: c.update(mean=0.99), "V05", "mean"),
        (ROWS, lambda r: first(r).update(accuracy="high"), "V07", "no number"),
        (ROWS, lambda r: first(r).update(accuracy=True), "V07", "no number"),
        (ROWS, lambda r: first(r).update(noise=[1]), "V05", "noise"),
        (ROWS, lambda r: first(r).update(subject="x" * 300), "V06", "300 characters"),
        (ROWS, lambda r: first(r).pop("subject"), "V05", "no subject"),
        (ROWS, lambda r: first(r).update({"a b": 1}), "V05", "column"),
        (ROWS, lambda r: r.pop(2), "V09", "seed 2"),
        (ROWS, lambda r: r.append(dict(r[0])), "V09", "2 records"),
        (ROWS, lambda r: r.append(r[0] | {"seed": 9}), "V09", "seed 9"),
        (ROWS, lambda r: r[1]["rows"].pop(), "V09", "differ in their rows"),
        (ROWS, lambda r: r[0].update(seed=2**64 - 2**63), "V05", "64 bits"),
        (ROWS, lambda r: r[0].update(status="error", rows=[]), "V13", "5 trials"),
        (ROWS, lambda r: r[0].update(status="error", rows=[]), "V14", "1 trials failed"),
        (ROWS, lambda r: r[0].update(environment="0" * 64), "V05", "environment"),
    ],
)
def test_one_thing_is_wrong(submissions, good, file, change, rule, says):
    rejected(submissions, submissions.changed(good, file, change), rule, says)


@pytest.mark.parametrize(
    ("file", "data", "rule"),
    [
        ("plan.json", b"[]", "V05"),
        ("records.jsonl", b"{}\n", "V05"),
        ("records.jsonl", b"\xff\xfe\n", "V05"),
    ],
)
def test_files_that_are_no_documents(submissions, good, file, data, rule):
    rejected(submissions, good | {file: data}, rule)


def read(submissions, files):
    return bundle.read(submissions.put(files, "accepted.zip"))


def test_a_row_is_replaced_by_its_submitter_only(submissions, good):
    accepted = [read(submissions, good)]
    later = {"submitted_at": "2026-11-26T00:00:00Z"}
    mine = submissions.changed(good, "claim.json", lambda c: c.update(later))
    assert not outcome(submissions, mine, accepted).rejected
    theirs = submissions.changed(good, "claim.json", lambda c: c.update(later, submitter="other"))
    rejected(submissions, theirs, "V21", "somebody", accepted)


def test_a_change_needs_a_reason(submissions, good):
    accepted = [read(submissions, good)]

    def better(records):
        for record in records:
            record["rows"][0]["accuracy"] -= 0.01

    changed = submissions.changed(good, ROWS, better)
    rejected(submissions, changed, "V23", "--reason", accepted)
    told = submissions.changed(changed, "claim.json", lambda c: c.update(reason="a leak was mended"))
    assert not outcome(submissions, told, accepted).rejected


def clean(submissions, files):
    """The same, of code without changes beside its revision."""
    name = next(key for key in files if key.startswith("environments/"))
    return submissions.changed(files, name, lambda facts: facts["code"]["demo"].update(dirty=False))


def test_what_is_measured_again(submissions, good):
    path = submissions.put(clean(submissions, good))
    records = [json.loads(line) for line in good[ROWS].splitlines()]

    def honest(_, seeds):
        return {seed: records[seed]["rows"] for seed in seeds}

    def worse(_, seeds):
        return {s: [row | {"accuracy": row["accuracy"] - 0.05} for row in records[s]["rows"]] for s in seeds}

    found = verify(path, submissions.admitted, rerun=2, measure=honest)
    assert found.level == "reproduced"
    assert found.findings == verify(path, submissions.admitted, rerun=2, measure=honest).findings
    assert verify(path, submissions.admitted, rerun=2, measure=worse).level == "rejected"
    failing = verify(path, submissions.admitted, rerun=1, measure=lambda _, seeds: dict.fromkeys(seeds, "timeout"))
    assert "cannot be measured again: timeout" in failing.rejected[0].message


def test_cells_are_drawn_by_the_digest(submissions, good):
    made = read(submissions, good)
    assert rules.drawn(made, 6) == [0, 1, 2, 3, 4, 5]
    assert len(rules.drawn(made, 2)) == 2
    assert rules.drawn(made, 2) == rules.drawn(made, 2)


def test_no_plugin_is_imported(submissions, good, monkeypatch):
    from dlbench import plugins

    admitted, path = submissions.admitted, submissions.put(good)
    with monkeypatch.context() as patch:
        patch.setattr(plugins, "load_plugin", lambda *_: pytest.fail("a plugin was imported"))
        patch.setattr(plugins, "_registered", lambda *_: pytest.fail("plugins were looked up"))
        assert not verify(path, admitted).rejected
