"""Small tables that lie inside scikit-learn: wine, breast cancer (which class) and diabetes (which number).

All are ``x`` float64 [n, features], as measured, and ``y`` [n], int64 classes or float64 numbers; no split is standard.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlbench.data import Dataset
from dlbench.data.images import damaged, inside_scikit_learn

Arrays = Mapping[str, NDArray[Any]]


def _wine_files() -> Sequence[Path]:
    return [inside_scikit_learn("wine_data.csv")]


def _breast_cancer_files() -> Sequence[Path]:
    return [inside_scikit_learn("breast_cancer.csv")]


def _diabetes_files() -> Sequence[Path]:
    return [inside_scikit_learn(f"diabetes_{part}.csv.gz") for part in ("data_raw", "target")]


def _classes(path: Path, features: int) -> Arrays:
    """A header, then rows of features and a class."""
    table = _numbers(path, delimiter=",", skiprows=1)
    if table.ndim != 2 or table.shape[1] != features + 1:
        damaged(path, f"it holds {table.shape}, not rows of {features} features and a class")
    return {"x": table[:, :-1], "y": table[:, -1].astype(np.int64)}


def _wine_read() -> Arrays:
    return _classes(_wine_files()[0], features=13)


def _breast_cancer_read() -> Arrays:
    return _classes(_breast_cancer_files()[0], features=30)


def _diabetes_read() -> Arrays:
    table, target = _diabetes_files()
    x, y = _numbers(table), _numbers(target)
    if x.ndim != 2 or x.shape[1] != 10:
        damaged(table, f"it holds {x.shape}, not rows of 10 features")
    if y.shape != x.shape[:1]:
        damaged(target, f"it holds {y.shape}, not a number for each of {len(x)} rows")
    return {"x": x, "y": y}


def _numbers(path: Path, **layout: Any) -> NDArray[np.float64]:
    try:
        return np.loadtxt(path, **layout)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        damaged(path, error)


WINE = Dataset(
    _wine_files,
    _wine_read,
    "13 chemical measurements of 178 Italian wines and which of three growers each is of, inside scikit-learn "
    "(Aeberhard & Forina, UCI 1992).",
)
BREAST_CANCER = Dataset(
    _breast_cancer_files,
    _breast_cancer_read,
    "30 measurements of the cell nuclei of 569 breast masses, and whether each is benign (1), inside scikit-learn "
    "(Street, Wolberg & Mangasarian, UCI 1995).",
)
DIABETES = Dataset(
    _diabetes_files,
    _diabetes_read,
    "Age, sex, body mass index, blood pressure and six blood values of 442 patients, and how their diabetes progressed "
    "in a year, inside scikit-learn (Efron et al., Annals of Statistics 2004).",
)
