"""COMPAS: a made table in the publishers' format, damaged ones, and the real one where it is there."""

import gzip
import os
from pathlib import Path

import numpy as np
import pytest

from dlbench import groups
from dlbench.data import compas
from dlbench.errors import DataDamaged, DataMissing

REAL = Path(os.environ.get("DLBENCH_DATA", ""), "compas")

# As the publishers' table, two columns appear twice; the first is the one that counts.
MADE = """id,sex,age,race,juv_fel_count,decile_score,juv_misd_count,juv_other_count,priors_count,\
days_b_screening_arrest,c_charge_degree,is_recid,decile_score,score_text,priors_count,two_year_recid
1,Male,69,Other,0,1,0,0,0,-1,F,0,9,Low,9,0
2,Female,24,Caucasian,1,8,2,3,4,,M,1,9,High,9,1
3,Male,30,African-American,0,5,0,0,1,31,F,1,9,Medium,9,1
4,Male,30,African-American,0,5,0,0,1,0,F,-1,9,Medium,9,0
5,Male,30,Caucasian,0,5,0,0,1,-30,O,1,9,Medium,9,0
6,Male,30,Caucasian,0,5,0,0,1,30,M,1,9,Medium,9,1
7,Male,30,Caucasian,0,-1,0,0,1,30,M,1,9,N/A,9,1
"""


@pytest.fixture
def made(tmp_path, monkeypatch):
    path = tmp_path / "compas" / "compas-scores-two-years.csv"
    path.parent.mkdir()
    path.write_text(MADE)
    monkeypatch.setenv("DLBENCH_DATA", str(tmp_path))
    return path


def test_a_made_table(made):
    data = compas.COMPAS.load()
    assert data["decile_score"].tolist() == [1, 8, 5, 5, 5, 5, -1]
    assert data["priors_count"].tolist() == [0, 4, 1, 1, 1, 1, 1]
    assert data["race"][:3].tolist() == ["Other", "Caucasian", "African-American"]
    assert data["score_text"].tolist() == ["Low", "High", "Medium", "Medium", "Medium", "Medium", "N/A"]
    assert data["two_year_recid"].tolist() == [0, 1, 1, 0, 0, 1, 1]
    # not known when, too late, not known whether, an ordinary traffic offence, and no score are left out
    assert data["kept"].tolist() == [True, False, False, False, False, True, False]
    assert all(len(column) == 7 and column.dtype != object for column in data.values())


def test_a_compressed_file_is_read_too(made):
    plain = compas.COMPAS.load()
    with gzip.open(f"{made}.gz", "wt") as file:
        file.write(MADE)
    made.unlink()
    for name, value in compas.COMPAS.load().items():
        np.testing.assert_array_equal(value, plain[name])


def test_a_missing_file_is_named(made):
    made.unlink()
    with pytest.raises(DataMissing, match=r"compas-scores-two-years\.csv is not there.*propublica/compas-analysis"):
        compas.COMPAS.load()


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("race,", "rase,", "has no column race"),
        ("1,Male,69", "1,Male,old", "line 2: age is 'old'; expected a whole number"),
        ("1,Male,69", "1,Male,", "line 2: age is 'nan'"),
        ("Low,9,0", "Low,9,2", "line 2: two_year_recid is neither 0 nor 1"),
        (MADE, "", "was not read"),
    ],
)
def test_damaged_files(made, before, after, said):
    made.write_text(MADE.replace(before, after, 1))
    with pytest.raises(DataDamaged, match=said):
        compas.COMPAS.load()


def test_the_real_table_gives_the_publishers_rates():
    if not any(REAL.glob("compas-scores-two-years.csv*")):
        pytest.skip("DLBENCH_DATA names no folder with compas/compas-scores-two-years.csv")
    data = compas.COMPAS.load()
    assert len(data["age"]) == 7214
    assert data["kept"].sum() == 6172  # what their notebook says
    high = data["score_text"] != "Low"
    for rate, black, white in ((groups.false_positive_rate, 44.8, 23.5), (groups.false_negative_rate, 28.0, 47.7)):
        rates = groups.by_group(rate, data["race"], data["two_year_recid"], high)
        assert round(100 * rates["African-American"], 1) == pytest.approx(black)
        assert round(100 * rates["Caucasian"], 1) == pytest.approx(white)
