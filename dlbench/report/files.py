r"""CSV that machines read back and spreadsheets do not execute; files that are replaced whole.

RFC 4180 with LF, UTF-8, a point in decimals. Floats are written as Python's ``repr`` and round-trip; a missing value
is an empty cell. Read with ``dtype=str, keep_default_na=False``, as a subject may be called ``NA``.

Text comes from plugins and exceptions, so two rules keep it from acting on whoever opens the file. What a terminal
would obey or a reader could not see (control characters, bidirectional overrides) is written as its escape,
``\x1b``. And text that a spreadsheet would take for a formula, because it starts with one of ``= + - @``, gets an
apostrophe in front; text that starts with an apostrophe gets another, so that taking one away restores the value.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from dlbench.errors import UsageError
from dlbench.store.run import replace_file

_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)
_FORMULA = ("=", "+", "-", "@", "\t", "\n", "'")


def visible(text: str) -> str:
    """Text with control characters (but tab and newline), bidi overrides and lone surrogates as visible escapes."""
    return _UNSEEN.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def cell(value: Any, missing: str = "") -> str:
    """A value as it stands in a CSV file."""
    if isinstance(value, str):
        text = visible(value)
        return f"'{text}" if text.startswith(_FORMULA) else text
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None or value is pd.NA or value != value:
        return missing
    return repr(value.item() if hasattr(value, "item") else value)


def safe_name(name: str) -> str:
    """A name that is safe as a file's: a plan may come from anybody."""
    if re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", name):
        return name
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def write(path: Path, text: str) -> None:
    """Replace a text file as a whole, making its folder; UsageError where that cannot be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, text.encode("utf-8"))
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}; make room, or choose another folder") from error


def csv_text(frame: pd.DataFrame, *, missing: Mapping[str, str] | None = None) -> str:
    """A frame as CSV, without its index.

    Args:
        frame: what to write.
        missing: column → what a missing value is written as; an empty cell otherwise.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([cell(name) for name in frame.columns])
    columns = [_cells(frame[name], (missing or {}).get(str(name), "")) for name in frame.columns]
    writer.writerows(zip(*columns, strict=True))
    return buffer.getvalue()


def _cells(column: pd.Series[Any], missing: str) -> list[str]:
    """A column's cells; where values repeat each is formatted once, and 1, 1.0 and True are distinct."""
    values = column.tolist()
    if column.dtype == float:
        return [missing if value != value else repr(value) for value in values]
    kinds = set(map(type, values))
    if len(kinds) == 1:
        of = {value: cell(value, missing) for value in set(values)}
        return [of[value] for value in values]
    known = {key: cell(key[1], missing) for key in set(zip(map(type, values), values, strict=True))}
    return [known[key] for key in zip(map(type, values), values, strict=True)]
