"""Tables as CSV and parquet."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dlbench import data
from dlbench.errors import DataDamaged, ParameterError

PEOPLE = pd.DataFrame(
    {
        "age": [20, 30, 40, 50],
        "hours": [40.5, np.nan, 12.0, 0.0],
        "member": [True, False, True, False],
        "sex": ["f", "m", None, "f"],
        "region": [1, 2, 1, 2],
        "income": [">50", "<=50", ">50", "<=50"],
    }
)


@pytest.fixture
def people(tmp_path):
    PEOPLE.to_csv(tmp_path / "people.csv", index=False)
    return str(tmp_path / "people.csv")


def test_a_table(people):
    found = data.load(f"{people}?target=income&group=sex&drop=region")
    assert found["features"].tolist() == ["age", "hours", "member"]
    assert found["x"].dtype == np.float32
    expected = np.array([[20, 40.5, 1], [30, np.nan, 0], [40, 12, 1], [50, 0, 0]], np.float32)
    assert np.array_equal(found["x"], expected, equal_nan=True)
    assert found["classes"].tolist() == ["<=50", ">50"] and found["y"].tolist() == [1, 0, 1, 0]
    assert found["groups"].tolist() == ["f", "m", "missing", "f"]


def test_several_group_columns_make_their_intersections(people):
    found = data.load(f"{people}?target=income&group=sex,region")
    assert found["groups"].tolist() == ["f & 1", "m & 2", "missing & 1", "f & 2"]
    assert "region" not in found["features"]


@pytest.mark.parametrize(
    ("values", "classes"),
    [
        ([10, 9, 100, 9], ["9", "10", "100"]),
        ([1.0, 0.0, 2.0, 1.0], ["0", "1", "2"]),
        ([True, False, True, True], ["False", "True"]),
        (["b", "a", "c", "a"], ["a", "b", "c"]),
    ],
)
def test_the_targets_values_are_classes_in_their_order(tmp_path, values, classes):
    pd.DataFrame({"x": [1, 2, 3, 4], "y": values}).to_csv(tmp_path / "t.csv", index=False)
    found = data.load(f"{tmp_path}/t.csv?target=y")
    assert found["classes"].tolist() == classes
    assert [classes[i] for i in found["y"]] == [str(int(v)) if type(v) is float else str(v) for v in values]


@given(
    features=hnp.arrays(np.float32, st.tuples(st.integers(1, 6), st.integers(1, 4)), elements=st.floats(width=32)),
    seed=st.integers(0, 99),
)
def test_numbers_survive_a_csv(features, seed, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "numbers.csv"
    labels = np.random.default_rng(seed).choice(["cat", "dog", "emu"], len(features))
    pd.DataFrame(features).assign(kind=labels).to_csv(path, index=False)
    found = data.load(f"{path}?target=kind")
    assert np.array_equal(found["x"], features, equal_nan=True)
    assert np.array_equal(found["classes"][found["y"]], labels)
    assert found["classes"].tolist() == sorted(set(labels.tolist()))


@pytest.mark.parametrize(
    ("query", "error", "reason"),
    [
        (
            "",
            ParameterError,
            r"say which column to tell, \?target=COLUMN; its columns: age, hours, member, sex, region",
        ),
        ("?target=incme", ParameterError, "no column 'incme'; did you mean 'income'?"),
        ("?target=income&group=sx", ParameterError, "no column 'sx'; did you mean 'sex'?"),
        ("?target=income&drop=none", ParameterError, "no column 'none'"),
        ("?target=income", DataDamaged, r"no numbers: sex; encode .* or drop them with \?drop="),
        ("?target=sex", DataDamaged, "target 'sex' is empty or NA in 1 of 4 rows"),
        ("?target=region&drop=age,hours,member,sex,income", DataDamaged, "no columns beside region, age"),
    ],
)
def test_tables_that_are_refused(people, query, error, reason):
    with pytest.raises(error, match=reason):
        data.load(people + query)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "No columns to parse"),
        ("a,y\n", "has no rows"),
        ("a,y\n1,2,3\n", "was not read"),
        ('a,y\n"1,2\n', "was not read"),
        ("a,y\n1,0.5\n2,0.7\n", r"target 'y' is a measured number \(2 different values\)"),
        ("a,y\n1,inf\n2,1\n", "is a measured number"),
    ],
)
def test_files_that_are_no_tables(tmp_path, content, reason):
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(DataDamaged, match=reason):
        data.load(f"{tmp_path}/t.csv?target=y")


def test_text_of_another_encoding(tmp_path):
    (tmp_path / "t.csv").write_bytes("größe,y\n1,0\n".encode("latin1"))
    with pytest.raises(DataDamaged, match="utf-8"):
        data.load(f"{tmp_path}/t.csv?target=y")


def test_parquet(tmp_path):
    pytest.importorskip("pyarrow")
    path = tmp_path / "people.parquet"
    frame = PEOPLE.astype({"age": "Int64", "income": "category"})
    frame.loc[1, "age"] = pd.NA
    frame.to_parquet(path)
    found = data.load(f"{path}?target=income&group=sex")
    assert np.isnan(found["x"][1]).tolist() == [True, True, False, False]
    assert found["classes"].tolist() == ["<=50", ">50"] and found["y"].tolist() == [1, 0, 1, 0]
    assert found["groups"].tolist() == ["f", "m", "missing", "f"]
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataDamaged, match=r"people\.parquet was not read"):
        data.load(f"{path}?target=income")
