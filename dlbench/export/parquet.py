"""The report's frames as Parquet files: typed columns, for pandas, Polars, DuckDB, R."""

from __future__ import annotations

import io
import json
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from dlbench.errors import UsageError
from dlbench.export import library
from dlbench.report import Tables, files
from dlbench.store.run import replace_file

if TYPE_CHECKING:
    from dlbench.report import Gathered

SCHEMA = 1


def write(gathered: Gathered, out: Path) -> list[str]:
    """Write a file a frame; of timings only where there are any."""
    library("pyarrow")
    names = [field.name for field in fields(Tables) if field.name != "timings" or len(gathered.tables.timings)]
    told = []
    for name in names:
        data, mixed = encode(getattr(gathered.tables, name), unscored=("value",) if name == "measurements" else ())
        try:
            replace_file(out / f"{name}.parquet", data)
        except OSError as error:
            raise UsageError(f"cannot write {out}: {error.strerror}; make room, or choose another folder") from error
        told += [f"{name}.parquet: {column} holds values of several types, all written as text" for column in mixed]
    return [f"{', '.join(f'{name}.parquet' for name in names)} in {out}", *told]


def encode(frame: pd.DataFrame, unscored: tuple[str, ...] = ()) -> tuple[bytes, list[str]]:
    """A frame as the bytes of a Parquet file, and the columns that had to become text.

    What is absent is null. In the columns ``unscored`` a NaN was measured, and stays one.
    """
    pa, pq = library("pyarrow"), library("pyarrow.parquet")
    columns: dict[str, Any] = {}
    mixed = []
    for name in frame.columns:
        plain = [value.item() if hasattr(value, "item") else value for value in frame[name].tolist()]
        values = [None if _absent(value) and name not in unscored else value for value in plain]
        kinds = {type(value) for value in values if value is not None}
        if kinds <= {int, float} and any(isinstance(value, int) and abs(value) > 2**53 for value in values):
            kinds.add(str)  # no float holds it
        array_type = _type(pa, kinds or ({float} if frame[name].dtype == float else set()))
        if array_type is None:
            mixed.append(str(name))
            values = [value if value is None or isinstance(value, str) else files.cell(value) for value in values]
            array_type = pa.string()
        if array_type == pa.string():
            values = [None if value is None else _encodable(value) for value in values]
        columns[_encodable(str(name))] = pa.array(values, type=array_type, from_pandas=False)
    about = json.dumps({"schema": SCHEMA, "mixed": mixed})
    table = pa.table(columns).replace_schema_metadata({"dlbench": about})
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue(), mixed


def _absent(value: Any) -> bool:
    return value is None or value is pd.NA or value != value


def _type(pa: Any, kinds: set[type]) -> Any:
    """The column's type, or None where no one type holds all values."""
    if not kinds:
        return pa.null()
    for one, made in (({bool}, pa.bool_()), ({str}, pa.string()), ({int}, pa.int64()), ({int, float}, pa.float64())):
        if kinds <= one:
            return made
    return None


def _encodable(text: str) -> str:
    """Text as UTF-8 can hold it: lone surrogates as their escapes."""
    return text.encode("utf-8", "backslashreplace").decode()
