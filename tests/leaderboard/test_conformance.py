"""Rule V26: predictors of known worth score what they should, or the board says that its metric can be gamed."""

import json

import pytest

from dlbench import recompute
from dlbench.errors import UsageError
from dlbench.leaderboard import conformance, verify

from .conftest import PREDICTING, Submissions

LOWER = {"better": "lower", "low": 0.0, "high": float("inf")}
DECLARED = {
    name: ({"better": "higher", "low": 0.0, "high": 1.0} if name == "accuracy" else LOWER) | {"recomputed": name}
    for name in recompute.METRICS
}


@pytest.mark.parametrize("name", sorted(recompute.METRICS))
def test_our_own_functions_conform(name):
    assert conformance.problem(name, DECLARED[name]) == ""
    scores = conformance.scores(name)
    assert scores["oracle"] == (1.0 if name == "accuracy" else 0.0)


def test_what_knowing_nothing_scores():
    assert conformance.scores("accuracy")["constant"] == 0.25  # though half of the items are of the first class
    assert conformance.scores("accuracy")["random"] == pytest.approx(0.25, abs=0.05)
    assert conformance.scores("brier")["constant"] == pytest.approx(0.75)
    assert conformance.scores("mean_absolute_error")["constant"] == pytest.approx(0.5, abs=0.01)


def first_wins(target, output):
    """Accuracy as ``argmax`` gives it: of a tie the first class counts."""
    return float((output.argmax(1) == target).mean())


@pytest.fixture
def gamed(monkeypatch):
    """An installation whose accuracy gives ties to the first class."""
    conformance.scores.cache_clear()
    monkeypatch.setitem(recompute.METRICS, "accuracy", first_wins)
    yield
    conformance.scores.cache_clear()


@pytest.mark.usefixtures("gamed")
def test_ties_that_favour_a_class_are_found():
    assert conformance.scores("accuracy")["constant"] == 0.5
    assert "ties favour some classes" in conformance.problem("accuracy", DECLARED["accuracy"])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"better": "lower", "low": 0.0}, "no oracle is the best"),
        ({"high": 100.0}, "the best that is declared is 100, and an oracle has 1"),
        ({"recomputed": "error_rate"}, "no oracle is the best by error_rate"),
    ],
)
def test_wrong_declarations_are_found(change, says):
    assert says in conformance.problem("accuracy", DECLARED["accuracy"] | change)


@pytest.fixture
def submissions(tmp_path, workbench):
    return Submissions(tmp_path / "place", workbench, PREDICTING)


def v26(submissions, path):
    [finding] = [f for f in verify(path, submissions.admitted).findings if f.rule == "V26"]
    return finding.outcome, finding.message


def test_a_protocol_keeps_the_scores_and_verification_asks_again(submissions):
    file = submissions.board / "protocols" / "demo.json"
    assert json.loads(file.read_text())["conformance"] == {"accuracy": conformance.scores("accuracy")}
    path = submissions.put(submissions.files())
    assert v26(submissions, path) == ("pass", "")
    told = json.loads(file.read_text())
    told["conformance"]["accuracy"]["constant"] = 0.5
    file.write_text(json.dumps(told))
    outcome, message = v26(submissions, path)
    assert outcome == "reject"
    assert message == "accuracy: the constant predictor scores 0.25 here, and 0.5 in the protocol"
    del told["conformance"]  # as older ones are
    file.write_text(json.dumps(told))
    assert v26(submissions, path) == (
        "skip", "the protocol does not tell what an oracle scores in accuracy; write it again"
    )  # fmt: skip


def test_a_board_whose_metric_can_be_gamed_takes_nothing(submissions, request):
    path = submissions.put(submissions.files())
    request.getfixturevalue("gamed")
    outcome, message = v26(submissions, path)
    assert outcome == "reject"
    assert "ties favour some classes" in message
    with pytest.raises(UsageError, match=r"ties favour some classes.*mend"):
        submissions.protocol()


def test_nothing_beats_an_oracle(submissions):
    file = submissions.board / "protocols" / "demo.json"
    told = json.loads(file.read_text())
    told["ceiling"] = "NaN"
    told["conformance"]["accuracy"]["oracle"] = 0.5
    file.write_text(json.dumps(told))
    found = verify(submissions.put(submissions.files()), submissions.admitted)
    assert "nothing is better than 0.5" in {f.rule: f.message for f in found.rejected}["V19"]
