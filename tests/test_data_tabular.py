"""The tables inside scikit-learn, against its own loaders, and damaged ones."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from dlbench.data import images, tabular
from dlbench.errors import DataDamaged


@pytest.mark.parametrize(
    ("ours", "theirs", "options"),
    [
        (tabular.WINE, "load_wine", {}),
        (tabular.BREAST_CANCER, "load_breast_cancer", {}),
        (tabular.DIABETES, "load_diabetes", {"scaled": False}),
    ],
)
def test_tables_are_scikit_learns(ours, theirs, options):
    from sklearn import datasets

    x, y = getattr(datasets, theirs)(return_X_y=True, **options)
    data = ours.load()
    assert np.array_equal(data["x"], x) and np.array_equal(data["y"], y)
    assert data["y"].dtype == (np.float64 if options else np.int64)


@pytest.mark.parametrize(
    ("dataset", "files", "reason"),
    [
        (tabular.WINE, {"wine_data.csv": "2,13,a,b\n1,2,3\n4,5,6\n"}, "not rows of 13 features and a class"),
        (tabular.BREAST_CANCER, {"breast_cancer.csv": "2,30,a,b\n1,two\n"}, "two"),
        (tabular.DIABETES, {"diabetes_data_raw.csv.gz": "1 2\n3 4\n", "diabetes_target.csv.gz": "1\n"}, "10 features"),
        (
            tabular.DIABETES,
            {"diabetes_data_raw.csv.gz": "1 2 3 4 5 6 7 8 9 0\n" * 3, "diabetes_target.csv.gz": "1\n2\n"},
            "not a number for each of 3 rows",
        ),
    ],
)  # fmt: skip
def test_damaged_tables_are_refused_with_the_reason(dataset, files, reason, tmp_path, monkeypatch):
    for name, text in files.items():
        (tmp_path / name).write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    for module in (images, tabular):
        monkeypatch.setattr(module, "inside_scikit_learn", lambda name: Path(tmp_path, name))
    with pytest.raises(DataDamaged, match=reason):
        dataset.load()
