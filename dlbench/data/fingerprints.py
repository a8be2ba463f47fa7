"""What is known of many files: digests of their contents, read by several threads, and what is worth remembering."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from dlbench.cache import cache_folder
from dlbench.errors import DataDamaged

THREADS = 4
STEP = 64  # files that a thread takes at once; handing them over one by one costs more than reading small ones
LARGE = 2**30  # bytes, from which on reading all again is worth avoiding
MANY = 10_000  # files; likewise
SETTLED = 2.0  # seconds after which a file that changes again surely gets another time

Item = TypeVar("Item")
Made = TypeVar("Made")


def of_files(paths: Sequence[Path], within: Path | None = None) -> str:
    """sha256 over the names and contents of files, in this order; see :func:`remembered`.

    Args:
        paths: of the files.
        within: a folder that holds them; their names are then where they lie in it.
    """

    def digest() -> str:
        whole = hashlib.sha256()
        for path, content in zip(paths, contents(paths), strict=True):
            name = path.relative_to(within).as_posix() if within else path.name
            whole.update(name.encode("utf-8", "surrogateescape") + b"\0" + content)
        return whole.hexdigest()

    return remembered(f"sha256 within {within}", paths, digest)


def contents(paths: Sequence[Path]) -> list[bytes]:
    """sha256 of each file's contents."""
    return in_threads(_content, paths)


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise DataDamaged(f"{path} cannot be read: {error.strerror or error}") from None


def in_threads(function: Callable[[Item], Made], items: Sequence[Item]) -> list[Made]:
    """What the function makes of each item; worth it where it waits for a disk or leaves Python's lock."""
    if len(items) <= STEP:
        return [function(item) for item in items]
    parts = [items[start : start + STEP] for start in range(0, len(items), STEP)]
    with ThreadPoolExecutor(THREADS) as pool:
        return [made for part in pool.map(lambda part: [function(item) for item in part], parts) for made in part]


def remembered(what: str, paths: Sequence[Path], make: Callable[[], str]) -> str:
    """What ``make`` says of files; of many or large ones it is asked once.

    Of more than a gigabyte, or ten thousand files, the answer is kept in the user's cache, and taken from there while
    no file's path, size or time of change (in nanoseconds) is another.

    Args:
        what: is asked; other questions have other answers.
        paths: of the files.
        make: answers it.
    """
    key, size, youngest = _state(what, paths)
    kept = _kept(key) if size > LARGE or len(paths) > MANY else None
    if kept is None:
        return make()
    with contextlib.suppress(OSError):
        return kept.read_text("utf-8")
    text = make()
    if time.time() - youngest > SETTLED:
        with contextlib.suppress(OSError):  # what cannot be remembered is asked again
            kept.parent.mkdir(parents=True, exist_ok=True)
            unfinished = kept.with_name(f".{kept.name}.{os.getpid()}")
            unfinished.write_text(text, "utf-8")
            unfinished.replace(kept)
    return text


def _state(what: str, paths: Sequence[Path]) -> tuple[str, int, float]:
    """A digest of the question and the files' paths, sizes and times; their bytes; the latest of the times, seconds."""
    digest, size, youngest = hashlib.sha256(what.encode("utf-8", "surrogateescape")), 0, 0
    for path in paths:
        stat = path.stat()
        digest.update(f"\0{path.absolute()}\0{stat.st_size}\0{stat.st_mtime_ns}".encode("utf-8", "surrogateescape"))
        size, youngest = size + stat.st_size, max(youngest, stat.st_mtime_ns)
    return digest.hexdigest(), size, youngest / 1e9


def _kept(key: str) -> Path | None:
    """Where an answer is kept; None for a user who has no folder to keep it in."""
    try:
        return cache_folder() / "fingerprints" / key
    except OSError:
        return None
