import math

import numpy as np
import pytest

from dlbench import stats
from dlbench.report import frames, published


@pytest.fixture
def one(workbench):
    workbench.install()
    (measured,) = frames.measured({"r": workbench.run(seeds=8, overrides={"noises": (0.0, 0.5)})})
    return measured


def reference(**facts):
    return {"metric": "accuracy", "value": 0.88, "source": "s", "where": {}, "sd": None, "n": None, "note": ""} | facts


def test_z_with_and_without_the_published_spread(one):
    where = {"subject": "a", "noise": 0.0}
    ours = one.rows[(one.rows.subject == "a") & (one.rows.noise == 0)].accuracy
    se2 = ours.var(ddof=1) / len(ours)
    told = published.compare(one, reference(where=where, sd=0.01, n=10))
    assert told["z"] == pytest.approx((ours.mean() - 0.88) / math.sqrt(se2 + 0.01**2 / 10))
    assert told["z_covers"] == "both"
    assert (told["value"], told["low"], told["high"], told["n"]) == pytest.approx(stats.t_interval(ours))
    told = published.compare(one, reference(where=where, sd=0.01))
    assert told["z"] == pytest.approx((ours.mean() - 0.88) / math.sqrt(se2))
    assert told["z_covers"] == "ours"


@pytest.mark.parametrize(
    ("where", "rows"),
    [
        ({}, 48),
        ({"subject": "a"}, 16),
        ({"subject": "a", "noise": 0}, 8),
        ({"subject": "a", "noise": 0.9}, 0),
        ({"subject": "a", "noise": "0.0"}, 0),
        ({"subject": ["a"]}, 0),
        ({"width": 64}, 48),  # a parameter
        ({"width": 256}, 0),
        ({"noises": (0.0, 0.5)}, 48),
        ({"nonsense": 1}, 0),
    ],
)
def test_rows_of_the_published_setting(one, where, rows):
    assert len(published.matching(one, where)) == rows


def test_several_rows_a_seed_count_once(one):
    assert published.compare(one, reference(where={"subject": "a"}))["n"] == 8


def test_what_does_not_match_is_listed_without_numbers_of_ours(one):
    table = published.references([one])
    assert table.n.tolist() == [8, 8, 0]
    assert table.claim.tolist() == ["a reaches 95 % without noise", "", ""]
    last = table.iloc[2]
    assert np.isnan([last.value, last.low, last.high, last.z]).all()
    assert (last.reference, last.note, last["where"]) == (0.99, "from a figure", "subject=a, noise=0.9")


def test_a_metric_that_is_not_there(one):
    assert published.compare(one, reference(metric="nonsense"))["n"] == 0
