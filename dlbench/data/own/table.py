"""Tables as CSV or parquet: numbers, a column to tell (``?target=``), and perhaps groups (``?group=``).

Columns that are neither the target nor a group, nor dropped (``?drop=a,b``), are the features; they must be numbers.
The target's values become classes 0 to k-1 in their order. Several group columns make their intersections.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlbench.data.own.arrays import Arrays, Part, arranged, some
from dlbench.data.own.spec import Spec
from dlbench.errors import DataDamaged, DataMissing, ParameterError, did_you_mean

OPTIONS = ("target", "group", "drop")
ABOUT = "A table with a column to tell: PATH?target=COLUMN."


def files(spec: Spec) -> Sequence[Path]:
    """The one file."""
    return [spec.path]


def read(spec: Spec) -> Arrays:
    """The table in the common form.

    Raises:
        DataDamaged: it is no table, a feature is text, or the target is empty in places or a measured number.
        ParameterError: no target is named, or a column is not there.
    """
    rows = opened_parquet(spec.path) if spec.path.suffix.lower() == ".parquet" else opened_csv(spec.path)
    rows.columns = rows.columns.map(str)
    if "target" not in spec.options:
        raise ParameterError(f"{spec.path}: say which column to tell, ?target=COLUMN; its columns: {', '.join(rows)}")
    target, groups, dropped = spec.options["target"], spec.columns("group"), spec.columns("drop")
    for column in (target, *groups, *dropped):
        if column not in rows:
            raise ParameterError(f"{spec.path} has no column {column!r}{did_you_mean(column, rows)}")
    labels, classes = _classes(rows[target], spec.path)
    features = rows.drop(columns={target, *groups, *dropped})
    if not features.shape[1]:
        raise DataDamaged(f"{spec.path} has no columns beside {', '.join((target, *groups, *dropped))}")
    part = Part(_numbers(features, spec.path), labels, combined(rows, groups) if groups else None)
    return arranged({"": part}, spec.path, classes=classes, features=list(features))


def _numbers(features: Any, path: Path) -> NDArray[np.float32]:
    from pandas.api import types

    texts = [
        name
        for name, kind in features.dtypes.items()
        if not types.is_numeric_dtype(kind) or types.is_complex_dtype(kind)
    ]
    if texts:
        raise DataDamaged(
            f"{path}: columns that are no numbers: {some(texts)}; encode them as numbers, or drop them with ?drop=a,b"
        )
    with np.errstate(over="ignore"):  # what float32 cannot hold is found as infinite
        return np.ascontiguousarray(features.to_numpy(np.float32, na_value=np.nan))


def _classes(target: Any, path: Path) -> tuple[NDArray[np.int64], list[str]]:
    """The target as numbers of classes, and what these stand for."""
    if empty := int(target.isna().sum()):
        raise DataDamaged(
            f"{path}: the target {target.name!r} is empty or NA in {empty:,} of {len(target):,} rows; remove them"
        )
    values = target.to_numpy()
    if values.dtype.kind == "f":
        if (values != np.floor(values)).any() or np.isinf(values).any():
            many = len(np.unique(values))
            raise DataDamaged(
                f"{path}: the target {target.name!r} is a measured number ({many:,} different values); expected classes"
            )
        values = values.astype(np.int64)
    if values.dtype.kind not in "biu":
        values = values.astype(np.str_)
    classes, labels = np.unique(values, return_inverse=True)
    return labels.astype(np.int64), [str(name) for name in classes]


def combined(rows: Any, columns: Sequence[str]) -> NDArray[np.str_]:
    """The group of each row: a column's value, or those of several, ``female & 30``; an empty one is ``missing``."""
    texts = [rows[column].astype(object).where(rows[column].notna(), "missing").astype(str) for column in columns]
    return np.array([" & ".join(values) for values in zip(*texts, strict=True)], np.str_)


def opened_csv(path: Path) -> Any:
    """A CSV file's rows as a pandas frame, or DataDamaged."""
    from dlbench.data.tables import read_csv

    try:
        rows = read_csv(path, header=0)
    except (ValueError, OSError, EOFError) as problem:  # pandas' own errors are ValueErrors
        raise DataDamaged(f"{path} was not read: {' '.join(str(problem).split())}") from None
    return _not_empty(rows, path)


def opened_parquet(path: Path) -> Any:
    """A parquet file's rows as a pandas frame; DataMissing without pyarrow, DataDamaged where it is no such file."""
    import pandas as pd

    try:
        import pyarrow
    except ImportError:
        raise DataMissing(f"{path}: reading parquet needs pyarrow: pip install 'dlbench[parquet]'") from None
    try:
        return _not_empty(pd.read_parquet(path, engine="pyarrow"), path)
    except (OSError, ValueError, pyarrow.ArrowException) as problem:
        raise DataDamaged(f"{path} was not read: {' '.join(str(problem).split())}") from None


def _not_empty(rows: Any, path: Path) -> Any:
    if not len(rows):
        raise DataDamaged(f"{path} has no rows")
    return rows
