"""A run folder: written by one :class:`Writer` a process, read as a :class:`Run`."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import secrets
import socket
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlbench.errors import RunFolderError, StoreFull
from dlbench.store.records import SCHEMA, Damaged, Record, decode, encode, migrate

if TYPE_CHECKING:
    import numpy as np

_OURS = {"plan.json", "segments", "environments", "artefacts", "logs", "report", "quarantine"}
_PLANNED = {"keys": dict, "generation": int, "seeds": list}
_RESULT = {"key", "generation", "experiment", "parameters", "seed", "status", "rows", "environment", "finished"}
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


# ------------------------------------------------------------------------------------------------------------ writing


class Writer:
    """The only one who writes to a run folder, in this process.

    Every method that returns has put its data on disk; one that cannot raises StoreFull, and leaves behind nothing
    that a reader would take for a record.
    """

    def __init__(self, path: Path) -> None:
        """Make the folder, or take one that is a run already; RunFolderError for any other."""
        self.path = path
        check_folder(path)
        try:
            for name in ("segments", "environments", "artefacts", "logs"):
                (path / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunFolderError(
                f"--out {path}: {error.strerror or error}; choose a folder that can be written"
            ) from None
        host = "".join(c if c.isalnum() else "-" for c in socket.gethostname())[:32]
        self.segment = path / "segments" / f"{time.time_ns()}-{host}-{os.getpid()}-{secrets.token_hex(4)}.jsonl"
        self._descriptor: int | None = None

    def append(self, record: Record) -> None:
        """Put a record into this writer's segment: one write, checked, and fsynced."""
        line = encode(record)
        with _full_disk(self.segment):
            if self._descriptor is None:
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
                self._descriptor = os.open(self.segment, flags, 0o666)
                _sync_folder(self.segment.parent)
            before = os.fstat(self._descriptor).st_size
            try:
                if os.write(self._descriptor, line) != len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(self._descriptor)
            except OSError:
                with contextlib.suppress(OSError):  # a full disk writes half a line: take it back
                    os.ftruncate(self._descriptor, before)
                raise

    def plan(self, plan: Record) -> None:
        """Replace plan.json."""
        self._replace(self.path / "plan.json", _pretty({"schema": SCHEMA} | plan))

    def environment(self, facts: dict[str, Any]) -> str:
        """Store an environment once; returns the digest that results refer to it by."""
        data = _pretty({"schema": SCHEMA} | facts, sort_keys=True)  # equal facts, equal digest
        digest = sha256(data).hexdigest()
        self._once(self.path / "environments" / f"{digest}.json", data)
        return digest

    def artefact(self, array: np.ndarray) -> str:
        """Store an array; returns its file's name, which is its digest."""
        import numpy as np

        buffer = io.BytesIO()
        np.save(buffer, array, allow_pickle=False)
        name = f"{sha256(buffer.getvalue()).hexdigest()}.npy"
        self._once(self.path / "artefacts" / name, buffer.getvalue())
        return name

    def close(self) -> None:
        """Close the segment."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _once(self, path: Path, data: bytes) -> None:
        if not path.exists():
            self._replace(path, data)

    def _replace(self, path: Path, data: bytes) -> None:
        with _full_disk(path):
            replace_file(path, data)


def replace_file(path: Path, data: bytes) -> None:
    """Write a file so that a reader sees the old one or the new one, whole, whatever happens meanwhile."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    _sync_folder(path.parent)


def check_folder(path: Path) -> None:
    """RunFolderError unless the path is a run folder, an empty folder, or free to become one."""
    if path.is_symlink() and not path.exists():
        raise RunFolderError(f"--out {path} is a broken link; choose another folder")
    if path.exists() and not path.is_dir():
        raise RunFolderError(f"--out {path} is a file; expected a folder for the run")
    if not path.is_dir():
        return
    try:
        names = {entry.name for entry in path.iterdir()}
    except OSError as error:
        raise RunFolderError(f"--out {path}: {error.strerror}; choose a folder that can be read") from None
    if "plan.json" in names:
        read_plan(path)
    elif names - _OURS:
        other = sorted(names - _OURS)[0]
        raise RunFolderError(f"--out {path} holds something that is no run ({other}); choose an empty or a new folder")
    if not os.access(path, os.W_OK):
        raise RunFolderError(f"--out {path} is not writable; choose another folder")


@contextlib.contextmanager
def _full_disk(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StoreFull(f"{path}: {error.strerror}; make room and give the same command again") from error
        raise RunFolderError(f"{path}: {error.strerror}; what was written before stays") from error


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _pretty(document: Record, *, sort_keys: bool = False) -> bytes:
    return (json.dumps(document, indent=1, sort_keys=sort_keys, default=str) + "\n").encode()


# ------------------------------------------------------------------------------------------------------------ reading


@dataclass(frozen=True)
class Run:
    """A run as read from disk.

    Attributes:
        path: its folder.
        plan: what was planned; experiments by name, each with its trials' keys.
        records: every result that could be read, oldest first.
        attempts: trial key → how often it was started.
        environments: digest → facts.
        problems: what is damaged, a line each.
    """

    path: Path
    plan: Record
    records: list[Record]
    attempts: Counter[str] = field(default_factory=Counter)
    environments: dict[str, Record] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @cached_property
    def by_key(self) -> dict[str, Record]:
        """Trial key → the result that counts: the first ok one since the last --fresh, else the last attempt."""
        chosen: dict[str, Record] = {}
        for record in self.records:
            planned = self.plan["experiments"].get(record["experiment"])
            if planned is None or record["generation"] < planned["generation"]:
                continue  # made before a --fresh run
            before = chosen.get(record["key"])
            if before is None or before["status"] != "ok":
                chosen[record["key"]] = record
        return chosen

    @property
    def results(self) -> list[Record]:
        """The results of the planned trials, in the plan's order; trials without one are absent."""
        keys = [key for experiment in self.plan["experiments"].values() for key in experiment["keys"].values()]
        return [self.by_key[key] for key in keys if key in self.by_key]

    @property
    def nondeterministic(self) -> list[str]:
        """Keys under which different measurements are stored, times aside: the same trial gave two answers."""
        first: dict[tuple[str, str], Record] = {}
        keys = []
        for record in self.records:
            if record["status"] == "ok":
                before = first.setdefault((record["key"], record["environment"]), record)
                if before is not record and self._untimed(before) != self._untimed(record):
                    keys.append(record["key"])
        return sorted(set(keys))

    def _untimed(self, result: Record) -> str:
        """A result's rows as text (in which NaN equals NaN), without the metrics that are read off a clock."""
        planned = self.plan["experiments"].get(result["experiment"], {})
        timed = {name for name, metric in planned.get("metrics", {}).items() if metric.get("timed")}
        return json.dumps([{key: value for key, value in row.items() if key not in timed} for row in result["rows"]])

    def artefact(self, name: str) -> np.ndarray:
        """A stored array by its file's name; ValueError if it is not what its name says."""
        import numpy as np

        data = (self.path / "artefacts" / Path(name).name).read_bytes()
        if sha256(data).hexdigest() != Path(name).stem:
            raise ValueError(f"artefact {name} is damaged: its checksum does not fit")
        array: np.ndarray = np.load(io.BytesIO(data), allow_pickle=False)
        return array


def read(path: Path) -> Run:
    """Read a run folder; damaged records become ``problems``. RunFolderError if it is none, or a newer one."""
    plan = read_plan(path)
    problems: list[str] = []
    everything: list[Record] = []
    for segment in sorted((path / "segments").glob("*.jsonl")):
        everything += _read_segment(segment, problems)
    records = sorted((r for r in everything if r["kind"] == "result"), key=lambda record: str(record["finished"]))
    attempts = Counter(str(record["key"]) for record in everything if record["kind"] == "start")
    environments = {}
    for file in sorted((path / "environments").glob("*.json")):
        try:
            environments[file.stem] = _load_json(file)
        except (ValueError, OSError) as error:
            problems.append(f"environments/{file.name}: {error}")
    return Run(path, plan, records, attempts, environments, problems)


def read_plan(path: Path) -> Record:
    """plan.json of a run folder."""
    file = path / "plan.json"
    if not path.is_dir():
        raise RunFolderError(f"there is no run folder {path}; `dlbench run` makes one")
    if not file.is_file():
        raise RunFolderError(f"{path} is no run folder: it has no plan.json")
    try:
        plan = _load_json(file)
    except (ValueError, OSError) as error:
        raise RunFolderError(f"{file} is damaged ({error}); delete it and give the run's command again") from None
    experiments = plan.get("experiments")
    if not isinstance(experiments, dict):
        raise RunFolderError(f"{file} is damaged (no experiments in it); delete it and give the run's command again")
    for name, experiment in experiments.items():
        if not isinstance(experiment, dict) or not all(
            isinstance(experiment.get(part), kind) for part, kind in _PLANNED.items()
        ):
            raise RunFolderError(f"{file} is damaged (at {name!r}); delete it and give the run's command again")
    return plan


def _load_json(file: Path) -> Record:
    try:
        document = json.loads(file.read_bytes())
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    if not isinstance(document, dict):
        raise ValueError("it holds no object")
    return migrate(document, str(file))


def _read_segment(segment: Path, problems: list[str]) -> list[Record]:
    try:
        data = segment.read_bytes()
    except OSError as error:
        problems.append(f"segments/{segment.name}: {error.strerror}")
        return []
    *lines, tail = data.split(b"\n")
    records = []
    for number, line in enumerate(lines, 1):
        try:
            record = decode(line)
            kind = record.get("kind")
            if not (kind == "result" and record.keys() >= _RESULT) and not (kind == "start" and "key" in record):
                raise Damaged("it is neither a result nor a start")
            records.append(record)
        except (Damaged, ValueError, RecursionError) as error:
            problems.append(f"segments/{segment.name} line {number} is damaged ({error}); its trial will run again")
    if tail:  # a write that a kill or a full disk cut short: never a record
        problems.append(f"segments/{segment.name} ends in a torn line of {len(tail)} bytes; its trial will run again")
    return records
