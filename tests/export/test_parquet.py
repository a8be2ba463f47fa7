"""Parquet files: the report's frames, with types, and nothing lost without a word."""

import json
import math

import pandas as pd
import pytest

from dlbench.export import export

pq = pytest.importorskip("pyarrow.parquet")


def test_the_frames_come_back(gathered, tmp_path):
    [told] = export(gathered, "parquet", tmp_path / "p")
    names = ["claims", "measurements", "trials", "references", "leaderboard"]
    assert sorted(path.stem for path in (tmp_path / "p").iterdir()) == sorted(names)
    assert all(name in told for name in names)
    for name in names:
        frame, read = getattr(gathered.tables, name), pd.read_parquet(tmp_path / "p" / f"{name}.parquet")
        assert list(read.columns) == list(frame.columns)
        assert len(read) == len(frame)
    read = pd.read_parquet(tmp_path / "p" / "measurements.parquet")
    assert read.value.tolist() == gathered.tables.measurements.value.tolist()
    assert (read.seed.dtype, read.noise.dtype) == (int, float)
    schema = pq.read_schema(tmp_path / "p" / "leaderboard.parquet")
    assert {name: str(schema.field(name).type) for name in ("value", "n", "rank", "model", "dirty", "split")} == {
        "value": "double", "n": "int64", "rank": "int64", "model": "string", "dirty": "bool", "split": "string"
    }  # fmt: skip


def test_odd_names_and_numbers_survive_or_are_told(odd, tmp_path):
    told = export(odd.gathered, "parquet", tmp_path / "p")
    table = pq.read_table(tmp_path / "p" / "measurements.parquet").to_pydict()
    accuracy = [x for x, metric in zip(table["value"], table["metric"], strict=True) if metric == "accuracy"]
    assert None not in accuracy
    assert accuracy[0] == 0.5
    assert math.isnan(accuracy[1])
    assert accuracy[2:4] == [math.inf, -math.inf]
    assert set(table["subject"]) == set(odd.names)
    assert set(table["noise"]) == {"high", "0.5"}
    assert "measurements.parquet: noise holds values of several types, all written as text" in told
    about = json.loads(pq.read_schema(tmp_path / "p" / "measurements.parquet").metadata[b"dlbench"])
    assert about == {"schema": 1, "mixed": ["noise"]}


@pytest.mark.parametrize(
    ("values", "kind", "read"),
    [
        ([1, None, 3], "int64", [1, None, 3]),
        ([1, 2.5, float("nan")], "double", [1.0, 2.5, None]),
        ([True, None], "bool", [True, None]),
        ([True, 1], "string", ["true", "1"]),
        ([2**60, 0.5], "string", [str(2**60), "0.5"]),
        (["\ud800", "x"], "string", ["\\ud800", "x"]),
        ([None, None], "null", [None, None]),
    ],
)
def test_columns_have_the_type_that_holds_all_their_values(values, kind, read):
    import io

    from dlbench.export.parquet import encode

    data, mixed = encode(pd.DataFrame({"x": pd.Series(values, dtype=object)}))
    table = pq.read_table(io.BytesIO(data))
    assert str(table.schema.field("x").type) == kind
    assert table["x"].to_pylist() == read
    assert bool(mixed) == (kind == "string" and values[0] is not None and not isinstance(values[0], str))
