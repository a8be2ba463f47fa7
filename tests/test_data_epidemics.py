"""COVID-19's tables: a made country in the publishers' format, damaged ones, and the real ones where they are there."""

import os
from pathlib import Path

import numpy as np
import pytest

from dlbench.data import epidemics
from dlbench.errors import DataDamaged, DataMissing

REAL = Path(os.environ.get("DLBENCH_DATA", ""), "covid")


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Three regions, of which nobody visits c; 2 May is missing among the cases, 3 May among the movements."""
    folder = tmp_path / "covid" / "England"
    (folder / "graphs").mkdir(parents=True)
    (folder / "england_labels.csv").write_text("name,2020-05-01,2020-05-03\nc,7,7\na,1,2\nb,3,\n")
    (folder / "graphs" / "EN_2020-05-01.csv").write_text("a,a,100.0\na,b,20.0\n")
    (folder / "graphs" / "EN_2020-05-02.csv").write_text("b,a,5.0\n")
    monkeypatch.setenv("DLBENCH_DATA", str(tmp_path))
    return folder


def test_a_made_country(made):
    data = epidemics.ENGLAND.load()
    assert data["regions"].tolist() == ["a", "b"]
    assert data["days"].astype(str).tolist() == ["2020-05-01", "2020-05-02", "2020-05-03"]
    np.testing.assert_array_equal(data["cases"], [[1, 3], [np.nan, np.nan], [2, np.nan]])
    np.testing.assert_array_equal(data["edge_index"], [[0, 0, 1], [0, 1, 0]])
    np.testing.assert_array_equal(data["movement"], [[100, 20, 0], [0, 0, 5], [np.nan, np.nan, np.nan]])


def test_no_movements_are_missing_data(made):
    for path in (made / "graphs").iterdir():
        path.unlink()
    with pytest.raises(DataMissing, match=r"EN_\*\.csv is not there.*geopanag/pandemic_tgnn"):
        epidemics.ENGLAND.load()


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("england_labels.csv", "name,2020-05-01\na,1\nb,2\na,3\n", "lists a twice"),
        ("england_labels.csv", "name,2020-05-01\na,1\n", "has no line for b"),
        ("england_labels.csv", "name,1 May\na,1\nb,2\n", "expected dates as 2020-03-13"),
        ("england_labels.csv", "name,2020-05-01\na,few\nb,2\n", "column 2 holds text"),
        ("england_labels.csv", "name,2020-05-01\na,inf\nb,2\n", "a number in it is infinite"),
        ("england_labels.csv", "", "was not read"),
        ("graphs/EN_2020-05-01.csv", "a,b\n", "it has 2 columns"),
    ],
)
def test_damaged_files(made, name, text, said):
    (made / name).write_text(text)
    with pytest.raises(DataDamaged, match=said):
        epidemics.ENGLAND.load()


@pytest.mark.parametrize(("country", "regions", "days"), [("England", 129, 61), ("France", 81, 78)])
def test_the_real_countries(country, regions, days):
    if not (REAL / country / f"{country.lower()}_labels.csv").is_file():
        pytest.skip(f"DLBENCH_DATA names no folder with covid/{country}")
    data = epidemics.epidemic(country).load()
    assert data["cases"].shape == (days, regions) and not np.isnan(data["cases"]).any()
    assert data["edge_index"].max() == regions - 1
    known = ~np.isnan(data["movement"]).any(axis=1)
    assert data["days"][known][-1] == np.datetime64("2020-05-12")  # movements end there
