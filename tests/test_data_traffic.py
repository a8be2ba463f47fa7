"""METR-LA's week: a made table in the publishers' format, damaged ones, and the real one where it is there."""

import gzip
import os
from pathlib import Path

import numpy as np
import pytest

from dlbench.data import traffic
from dlbench.errors import DataDamaged, DataMissing

REAL = Path(os.environ.get("DLBENCH_DATA", ""), "traffic")

SPEED = "11,12,13\n64.5,0,30\n60,55,0\n"  # two steps of three detectors; a zero was not measured
ROADS = "1,0.5,0\n0,1,0\n0.25,0,1\n"


@pytest.fixture
def made(tmp_path, monkeypatch):
    folder = tmp_path / "traffic"
    folder.mkdir()
    (folder / "los_speed.csv").write_text(SPEED)
    (folder / "los_adj.csv").write_text(ROADS)
    monkeypatch.setenv("DLBENCH_DATA", str(tmp_path))
    return folder


def test_a_made_week(made):
    data = traffic.METR_LA_WEEK.load()
    np.testing.assert_array_equal(data["speed"], np.float32([[64.5, np.nan, 30], [60, 55, np.nan]]))
    np.testing.assert_array_equal(data["edge_index"], [[0, 2], [1, 0]])
    np.testing.assert_array_equal(data["weight"], np.float32([0.5, 0.25]))
    assert data["minutes"] == 5


def test_compressed_files_are_read_too(made):
    plain = traffic.METR_LA_WEEK.load()
    for path in list(made.iterdir()):
        with gzip.open(f"{path}.gz", "wt") as file:
            file.write(path.read_text())
        path.unlink()
    for name, value in traffic.METR_LA_WEEK.load().items():
        np.testing.assert_array_equal(value, plain[name])


def test_a_missing_file_is_named(made):
    (made / "los_adj.csv").unlink()
    with pytest.raises(DataMissing, match=r"los_adj\.csv is not there.*lehaifeng/T-GCN"):
        traffic.METR_LA_WEEK.load()


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("los_speed.csv", SPEED.replace("30", "fast"), "fast.*Expected a table of numbers"),
        ("los_speed.csv", SPEED.replace("55", "-1"), "line 3, column 2: a speed below zero"),
        ("los_speed.csv", SPEED.replace("55", "inf"), "line 3, column 2: an infinite speed"),
        ("los_speed.csv", "a,b\n1,2,3\n4,5,6\n", "was not read: Length of header"),
        ("los_speed.csv", "", "was not read"),
        ("los_adj.csv", ROADS.replace("0.5", "-0.5"), "line 1, column 2: no weight of a road"),
        ("los_adj.csv", ROADS.replace("0.5", ""), "line 1, column 2: no weight of a road"),
        ("los_adj.csv", "1,0\n0,1\n", "2 rows and 2 columns; expected 3 of both"),
    ],
)
def test_damaged_files(made, name, text, said):
    (made / name).write_text(text)
    with pytest.raises(DataDamaged, match=said):
        traffic.METR_LA_WEEK.load()


def test_the_real_week():
    if not any(REAL.glob("los_speed.csv*")):
        pytest.skip("DLBENCH_DATA names no folder with traffic/los_speed.csv")
    data = traffic.METR_LA_WEEK.load()
    assert data["speed"].shape == (2016, 207) and not np.isnan(data["speed"]).any()  # the publishers filled its gaps
    assert data["edge_index"].shape == (2, 2833 - 207)
    assert data["weight"].min() > 0 and data["weight"].max() <= 1
