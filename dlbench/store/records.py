"""One record is one line of JSON that ends with a checksum of all that stands before it.

::

    {"schema": 1, "kind": "result", ..., "crc": "89abcdef"}

Numbers are JSON numbers, and NaN, Infinity and -Infinity (which Python's json reads and writes) stay what they are.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from typing import Any

from dlbench.errors import RunFolderError

SCHEMA = 1
"""Raised when a record's meaning changes; :data:`MIGRATIONS` then gets the step from the version before."""

Record = dict[str, Any]

MIGRATIONS: dict[int, Callable[[Record], Record]] = {}
"""schema n → a pure function that makes a record of schema n + 1 of it."""

_TAIL = len(', "crc": "00000000"}')


class Damaged(ValueError):
    """A line that is not a record, or whose checksum does not fit."""


def encode(record: Record) -> bytes:
    """A record as a line, newline included."""
    body = json.dumps({"schema": SCHEMA} | record, ensure_ascii=True)[:-1].encode()
    return body + f', "crc": "{zlib.crc32(body):08x}"}}\n'.encode()


def decode(line: bytes) -> Record:
    """The record of a line (without its newline), migrated to the current schema; Damaged if it is not one."""
    body, tail = line[:-_TAIL], line[-_TAIL:]
    if tail != f', "crc": "{zlib.crc32(body):08x}"}}'.encode():
        raise Damaged("its checksum does not fit")
    record: Record = json.loads(body + b"}")
    if b"\\ud" in body:  # half a character, as of a file's name that is no UTF-8: no table can hold it
        record = json.loads(json.dumps(record, ensure_ascii=False).encode("utf-8", "replace"))
    return migrate(record, "a record")


def migrate(document: Record, what: str) -> Record:
    """A document of any known schema as the current one; RunFolderError for a newer one."""
    version = document.get("schema")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise RunFolderError(f"{what} has schema {version!r}; expected a whole number from 1 to {SCHEMA}")
    if version > SCHEMA:
        raise RunFolderError(
            f"{what} has schema {version}, this dlbench reads up to {SCHEMA}; update dlbench to read this run"
        )
    while version < SCHEMA:
        document = MIGRATIONS[version](document)
        version += 1
        document["schema"] = version
    return document
