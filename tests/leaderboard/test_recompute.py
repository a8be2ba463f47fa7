"""Metrics from predictions: hand-computed cases, scikit-learn's, and bundles whose rows say something else."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from dlbench import recompute
from dlbench.leaderboard import verify

from .conftest import PREDICTING, Submissions

TARGET = np.array([0.0, 1.0, 2.0, 1.0])
OUTPUT = np.array([[0.7, 0.2, 0.1], [0.4, 0.4, 0.2], [0.1, 0.1, 0.8], [0.1, 0.6, 0.3]])


def test_by_hand():
    assert recompute.accuracy(TARGET, OUTPUT) == 0.875  # the tie counts half
    assert recompute.accuracy(TARGET, np.array([[0.0], [1.0], [1.0], [0.0]])) == 0.5
    assert recompute.error_rate(TARGET, OUTPUT) == 0.125
    assert recompute.brier(TARGET[:1], OUTPUT[:1]) == pytest.approx(0.09 + 0.04 + 0.01)
    assert recompute.log_loss(TARGET[:1], np.array([[0.0, 1.0]])) == np.inf
    assert recompute.mean_absolute_error(TARGET, np.zeros((4, 1))) == 1.0
    assert recompute.root_mean_squared_error(TARGET, np.zeros((4, 1))) == pytest.approx(np.sqrt(1.5))


def test_as_scikit_learn_has_them():
    assert recompute.log_loss(TARGET, OUTPUT) == pytest.approx(metrics.log_loss(TARGET, OUTPUT))
    values = OUTPUT[:, :1]
    assert recompute.mean_absolute_error(TARGET, values) == pytest.approx(metrics.mean_absolute_error(TARGET, values))


def test_a_tie_is_half_an_answer_whichever_class_is_first():
    uniform = np.full((4, 2), 0.5)
    for target in (np.zeros(4), np.ones(4)):
        assert recompute.accuracy(target, uniform) == 0.5


@pytest.mark.parametrize("function", [recompute.accuracy, recompute.log_loss, recompute.brier])
@pytest.mark.parametrize("target", [-1.0, 3.0, 0.5])
def test_a_target_must_be_a_class(function, target):
    with pytest.raises(recompute.NotPredictions, match="no class of 0 to 2"):
        function(np.array([0.0, target]), OUTPUT[:2])


@given(
    st.integers(1, 4).flatmap(
        lambda k: st.lists(
            st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=k + 1, max_size=k + 1), min_size=1
        )
    )
)
def test_files_come_back_to_the_bit(rows):
    table = np.array(rows)
    assert (recompute.read(recompute.write(table)) == table).all()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "header"),
        (b"target;output_0\n1;1\n", "header"),
        (b"target,output_0\n", "no predictions"),
        (b"target,output_0\n1\n", "2 finite"),
        (b"target,output_0\n1,nan\n", "2 finite"),
        (b"target,output_0\n1,=HYPERLINK()\n", "no number"),
        (b"target,output_0\n1,\xff\n", "ASCII"),
        (b'target,output_0\n1,"1\n', "number|finite"),
    ],
)
def test_other_files_are_refused(data, says):
    with pytest.raises(recompute.NotPredictions, match=says):
        recompute.read(data)


@pytest.fixture
def submissions(tmp_path, workbench):
    return Submissions(tmp_path / "place", workbench, PREDICTING)


def clean(submissions, files):
    name = next(key for key in files if key.startswith("environments/"))
    return submissions.changed(files, name, lambda facts: facts["code"]["demo"].update(dirty=False))


def test_rows_are_computed_again(submissions):
    files = clean(submissions, submissions.files())
    assert verify(submissions.put(files), submissions.admitted).level == "recomputed"

    def boast(records):
        records[0]["rows"][0]["accuracy"] += 0.01

    found = verify(submissions.put(submissions.changed(files, "records.jsonl", boast)), submissions.admitted)
    assert "from the predictions it is" in {f.rule: f.message for f in found.rejected}["V16"]


def test_predictions_must_be_of_rows(submissions):
    files = clean(submissions, submissions.files())
    stray = verify(submissions.put(files | {"predictions/x.csv": b"target,output_0\n1,1\n"}), submissions.admitted)
    assert stray.rejected[0].rule == "V16"
    damaged = files | {"predictions/seed0-0.csv": b"target,output_0\n1,x\n"}
    assert "no number" in verify(submissions.put(damaged), submissions.admitted).rejected[0].message

    def fewer(records):
        records[0]["predictions"].popitem()

    some = submissions.changed(files, "records.jsonl", fewer)
    records = [json.loads(line) for line in some["records.jsonl"].splitlines()]
    named = {file for record in records for file in record["predictions"].values()}
    some = {name: data for name, data in some.items() if name in named or not name.startswith("predictions/")}
    found = verify(submissions.put(some), submissions.admitted)
    assert {f.rule: f.outcome for f in found.findings}["V16"] == "flag"
    assert found.level == "checked"
