"""The files of a bundle, from a folder or a zip file of strangers, under limits and without writing anything.

Nothing is extracted: names are never used as paths, and links are not followed. Rules V01 to V04.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import unicodedata
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from dlbench.leaderboard import strict

LARGEST = 50 * 2**20
"""Bytes of all files of a bundle together, unpacked."""

MOST_FILES = 10_000
DEEPEST = 2
RATIO = 200  # unpacked over packed
MANIFEST = "manifest.json"
FILES = re.compile(
    r"(manifest|plan|claim)\.json|records\.jsonl|environments/[0-9a-f]{64}\.json"
    r"|predictions/[a-z0-9][a-z0-9._-]{0,127}\.csv|logs/[a-z0-9][a-z0-9._-]{0,127}\.txt"
)
_HEX = re.compile(r"[0-9a-f]{64}")


class Rejected(Exception):
    """A rule that a bundle breaks, and how."""

    def __init__(self, rule: str, message: str) -> None:
        super().__init__(f"{rule}: {message}")
        self.rule, self.message = rule, message


def read(path: Path) -> dict[str, bytes]:
    """Name → bytes of every file that the manifest lists, which is every file there is.

    Raises:
        Rejected: by the first of V01 to V04 that it breaks.
        OSError: it cannot be read at all.
    """
    if path.is_dir() and not path.is_symlink():
        files = _folder(path)
    elif path.is_file() and zipfile.is_zipfile(path):
        files = _zip(path)
    elif path.exists():
        raise Rejected("V04", f"{path.name} is neither a folder nor a zip file; `dlbench leaderboard bundle` makes one")
    else:
        raise FileNotFoundError(f"there is no {path}")
    _check_manifest(files)
    return files


def digest(files: Mapping[str, bytes]) -> str:
    """A bundle's own: that of its manifest, which has those of all other files."""
    return hashlib.sha256(files[MANIFEST]).hexdigest()


def manifest(files: Mapping[str, bytes]) -> bytes:
    """The manifest of files."""
    entries = [
        {"path": name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for name, data in sorted(files.items())
    ]
    return strict.dumps({"schema_version": 1, "files": entries}, indent=1)


# ------------------------------------------------------------------------------------------------------- two kinds


def _folder(path: Path) -> dict[str, bytes]:
    """The files of a folder, none of which is a link."""
    files: dict[str, bytes] = {}
    budget = LARGEST
    for name, found in _walk(path, path):
        _check_name(name, files)
        budget -= found.stat(follow_symlinks=False).st_size
        _check_budget(budget, len(files))
        descriptor = os.open(found.path, os.O_RDONLY | os.O_NOFOLLOW)
        with os.fdopen(descriptor, "rb") as file:
            files[name] = file.read(LARGEST + 1)
    return files


def _walk(root: Path, folder: Path, depth: int = 0) -> Iterator[tuple[str, os.DirEntry[str]]]:
    if depth >= DEEPEST:
        raise Rejected("V01", f"folders are nested more than {DEEPEST - 1} deep")
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda one: one.name):
            name = Path(entry.path).relative_to(root).as_posix()
            if entry.is_symlink():
                raise Rejected("V02", f"{_shown(name)} is a link; a bundle has regular files only")
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(root, Path(entry.path), depth + 1)
            elif stat.S_ISREG(entry.stat(follow_symlinks=False).st_mode):
                yield name, entry
            else:
                raise Rejected("V02", f"{_shown(name)} is no regular file")


def _zip(path: Path) -> dict[str, bytes]:
    """The files of a zip archive, read under a budget that its own table of contents cannot change."""
    files: dict[str, bytes] = {}
    budget, packed = LARGEST, path.stat().st_size
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            _check_budget(budget, len(members) - 1)
            for member in members:
                if member.is_dir():
                    _check_path(member.filename.rstrip("/"))
                    continue
                _check_name(member.filename, files)
                if stat.S_ISLNK(member.external_attr >> 16):
                    raise Rejected("V02", f"{_shown(member.filename)} is a link; a bundle has regular files only")
                if member.flag_bits & 1:
                    raise Rejected("V01", f"{_shown(member.filename)} is encrypted")
                with archive.open(member) as file:
                    data = file.read(budget + 1)
                budget -= len(data)
                _check_budget(budget, len(files))
                files[member.filename] = data
    except (Rejected, FileNotFoundError, PermissionError):
        raise
    except Exception as error:  # zipfile and what it unpacks with raise many kinds
        raise Rejected("V01", f"the zip file is damaged: {_one_line(error)}") from None
    unpacked = LARGEST - budget
    if unpacked > 2**20 and unpacked > RATIO * packed:
        raise Rejected("V01", f"it unpacks to {unpacked / packed:.0f} times its size; at most {RATIO} are read")
    return files


# ------------------------------------------------------------------------------------------------------------- rules


def _check_budget(left: int, files: int) -> None:
    """V01: it is whole, unencrypted, in reasonable proportion to its packed size, and below the limits."""
    if left < 0:
        raise Rejected("V01", f"it holds more than {LARGEST >> 20} MB")
    if files >= MOST_FILES:
        raise Rejected("V01", f"it holds more than {MOST_FILES} files")


def _check_path(name: str) -> None:
    """V02: a relative path that no system could take for another."""
    parts = name.split("/")
    if name.startswith("/") or "\\" in name or re.match(r"[A-Za-z]:", name):
        raise Rejected("V02", f"{_shown(name)} is no relative path with /")
    if any(part in ("", ".", "..") for part in parts) or "\x00" in name:
        raise Rejected("V02", f"{_shown(name)} leaves its folder or names none")
    if unicodedata.normalize("NFC", name) != name:
        raise Rejected("V02", f"{_shown(name)} is not in Unicode's normal form C")
    if len(parts) > DEEPEST:
        raise Rejected("V01", f"{_shown(name)} is nested more than {DEEPEST - 1} deep")


def _check_name(name: str, before: Mapping[str, bytes]) -> None:
    """V04: only plan.json, claim.json, records.jsonl, environments/, predictions/ and logs/; each name once (V02)."""
    _check_path(name)
    if name.casefold() in before:  # whose names are in lower case, as V04 wants them
        raise Rejected("V02", f"{_shown(name)} is there twice")
    if not FILES.fullmatch(name):
        raise Rejected(
            "V04",
            f"{_shown(name)} is no file of a bundle; those are plan.json, claim.json, records.jsonl, "
            "environments/*.json, predictions/*.csv and logs/*.txt",
        )


def _check_manifest(files: Mapping[str, bytes]) -> None:
    """V03: what is listed is there, what is there is listed, and every digest fits."""
    if MANIFEST not in files:
        raise Rejected("V03", f"there is no {MANIFEST}")
    try:
        document = strict.loads(files[MANIFEST])
    except strict.NotStrict as error:
        raise Rejected("V05", f"{MANIFEST}: {error}") from None
    entries = document.get("files") if isinstance(document, dict) else None
    listed: dict[str, str] = {}
    for entry in entries if isinstance(entries, list) else [None]:
        name, sha256 = (entry.get("path"), entry.get("sha256")) if isinstance(entry, dict) else (None, None)
        if not isinstance(name, str) or not isinstance(sha256, str) or not _HEX.fullmatch(sha256):
            raise Rejected("V03", f"{MANIFEST}: expected a list 'files' of {{path, bytes, sha256}}")
        if name in listed:
            raise Rejected("V03", f"{MANIFEST} lists {_shown(name)} twice")
        listed[name] = sha256
    present = set(files) - {MANIFEST}
    if absent := sorted(set(listed) - present):
        raise Rejected("V03", f"{MANIFEST} lists {_shown(absent[0])}, which is not there")
    if unlisted := sorted(present - set(listed)):
        raise Rejected("V03", f"{unlisted[0]} is not listed in {MANIFEST}")
    for name in sorted(present):
        if hashlib.sha256(files[name]).hexdigest() != listed[name]:
            raise Rejected("V03", f"{name} is not what {MANIFEST} says: its digest differs")
    for needed in ("plan.json", "records.jsonl", "claim.json"):
        if needed not in present:
            raise Rejected("V03", f"there is no {needed}")


def _shown(name: str) -> str:
    """A name of a stranger's, short and without what a terminal would obey."""
    return ascii(name if len(name) <= 80 else f"{name[:77]}...")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
