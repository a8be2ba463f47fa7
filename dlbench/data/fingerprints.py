"""Digests of files' contents, read by several threads; those of more than a gigabyte are remembered."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dlbench.cache import cache_folder
from dlbench.errors import DataDamaged

THREADS = 4
REMEMBERED = 2**30  # bytes, from which on reading all again is worth avoiding
SETTLED = 2.0  # seconds after which a file that changes again surely gets another time


def of_files(paths: Sequence[Path], within: Path | None = None) -> str:
    """sha256 over the names and contents of files, in this order.

    Of more than a gigabyte it is kept in the user's cache, and taken from there while no file's path, size or time of
    change (in nanoseconds) is another.

    Args:
        paths: of the files.
        within: a folder that holds them; their names are then where they lie in it.
    """
    key, size, youngest = _state(paths)
    kept = _kept(key) if size > REMEMBERED else None
    if kept is not None:
        with contextlib.suppress(OSError):
            return kept.read_text("ascii")
    digest = hashlib.sha256()
    for path, content in zip(paths, contents(paths), strict=True):
        name = path.relative_to(within).as_posix() if within else path.name
        digest.update(name.encode() + b"\0" + content)
    if kept is not None and time.time() - youngest > SETTLED:
        with contextlib.suppress(OSError):  # what cannot be remembered is read again
            kept.parent.mkdir(parents=True, exist_ok=True)
            unfinished = kept.with_name(f".{kept.name}.{os.getpid()}")
            unfinished.write_text(digest.hexdigest(), "ascii")
            unfinished.replace(kept)
    return digest.hexdigest()


def contents(paths: Sequence[Path]) -> Sequence[bytes]:
    """sha256 of each file's contents."""
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(_content, paths))


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise DataDamaged(f"{path} cannot be read: {error.strerror or error}") from None


def _state(paths: Sequence[Path]) -> tuple[str, int, float]:
    """A digest of the files' paths, sizes and times of change; their bytes; the latest of these times, in seconds."""
    digest, size, youngest = hashlib.sha256(), 0, 0
    for path in paths:
        stat = path.stat()
        digest.update(f"{path.absolute()}\0{stat.st_size}\0{stat.st_mtime_ns}\0".encode("utf-8", "surrogateescape"))
        size, youngest = size + stat.st_size, max(youngest, stat.st_mtime_ns)
    return digest.hexdigest(), size, youngest / 1e9


def _kept(key: str) -> Path | None:
    """Where a fingerprint is kept; None for a user who has no folder to keep it in."""
    try:
        return cache_folder() / "fingerprints" / key
    except OSError:
        return None
