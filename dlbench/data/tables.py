"""CSV files as their publishers lay them out."""

from __future__ import annotations

import warnings
from pathlib import Path

import pandas as pd


def read_csv(path: Path, header: int | None) -> pd.DataFrame:
    """The table; an empty cell is NaN.

    Raises:
        ValueError: no table, or rows that are longer than the header, which pandas would shift by a column.
        OSError: the file cannot be read.
    """
    with warnings.catch_warnings(action="error", category=pd.errors.ParserWarning):
        try:
            return pd.read_csv(path, header=header, index_col=False)
        except pd.errors.ParserWarning as problem:
            raise ValueError(str(problem)) from None


def plain_or_gzipped(path: Path) -> Path:
    """The path, or that with ``.gz`` behind where only this is there."""
    compressed = path.with_name(f"{path.name}.gz")
    return compressed if compressed.is_file() and not path.is_file() else path
