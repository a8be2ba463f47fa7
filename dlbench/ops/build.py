"""Compiles the extension on first use, once for all processes of a user, into the user's cache.

A folder of the cache is named after the identity of the build that it holds. Whoever does not find it compiles in a
private folder beside it and moves the finished one into place, so that nobody ever sees half a library. The lock is the
kernel's (flock): it dies with its holder, and the next builder clears away what a killed one left.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from dlbench.cache import cache_folder
from dlbench.ops import recipe
from dlbench.ops.recipe import LIBRARY, Identity

ABOUT_SECONDS = 120
LIMIT_SECONDS = 900
REMEMBER_SECONDS = 24 * 3600  # what broke a build may have been passing, such as a full disk


class BuildError(RuntimeError):
    """Why there is no library; its text is one clause that can follow "because"."""


class Built(NamedTuple):
    """A library that can be loaded."""

    library: Path
    origin: str  # "built on first use" or "temporary", which the one who loads it removes


def mismatch(library: Path, identity: Identity, keys: tuple[str, ...]) -> str | None:
    """What a library was made for that this process is not; None where they agree. The library is not touched."""
    try:
        made = json.loads(recipe.sidecar(library).read_text())
    except (OSError, ValueError):
        return "nothing beside it says what it was built for"
    for key in keys:
        if made.get(key) != identity[key]:
            return f"it was built for {key} {made.get(key)}, and this is {identity[key]}"
    return None


def obtain(root: Path, identity: Identity, insist: bool = False) -> Built:
    """The library of this identity, from the cache or compiled now.

    Args:
        root: the folder of the sources.
        identity: what it must be built for, see ``recipe.identity``.
        insist: try again although the last try failed with this compiler.

    Raises:
        BuildError: it cannot be had.
    """
    try:
        place = cache_folder() / "ops" / _key(identity)
        if not _compiled(place, identity):
            command = _compiler()
            place.parent.mkdir(parents=True, exist_ok=True)
            with _locked(place):
                if not _compiled(place, identity):  # another process may have built it while this one waited
                    _build_in_cache(place, root, identity, command, insist)
    except OSError as error:
        return _build_for_this_process(root, identity, error)
    return Built(place / LIBRARY, "built on first use")


def _key(identity: Identity) -> str:
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]
    return f"torch-{identity['torch']}-{identity['python']}-{digest}"


def _beside(place: Path, suffix: str) -> Path:
    return place.with_name(place.name + suffix)


def _compiled(place: Path, identity: Identity) -> bool:
    return (place / LIBRARY).is_file() and mismatch(place / LIBRARY, identity, tuple(identity)) is None


def _compiler() -> str:
    """The compiler and its version, or an error that says what is missing."""
    command = recipe.compiler()
    if command is None:
        wanted = os.environ.get("CXX") or "c++"
        raise BuildError(f"there is no C++ compiler ({wanted}) on the PATH; install g++ or clang, or set CXX")
    if not recipe.has_python_headers():
        raise BuildError("Python's headers (Python.h) are missing; install python3-dev or python3-devel")
    try:
        says = subprocess.run([command, "--version"], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        raise BuildError(f"the C++ compiler {command} does not run: {error}") from error
    return f"{command}: {says.stdout.partition(chr(10))[0]}"


@contextmanager
def _locked(place: Path) -> Iterator[None]:
    import fcntl

    with _beside(place, ".lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say("another process is compiling the operators; waiting for it ...")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build_in_cache(place: Path, root: Path, identity: Identity, command: str, insist: bool) -> None:
    stamp, log = _beside(place, ".failed.json"), _beside(place, ".log")
    if not insist and (reason := _remembered(stamp, command)):
        raise BuildError(f"{reason} (remembered; DLBENCH_OPS=native tries again)")
    for leftover in place.parent.glob(place.name + ".building-*"):  # its builder is dead: the lock is ours
        shutil.rmtree(leftover, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=place.name + ".building-", dir=place.parent))
    try:
        _compile(folder, root, identity, log)
        if place.exists():  # damaged, else nothing would have been compiled
            shutil.rmtree(place)
        folder.replace(place)
        stamp.unlink(missing_ok=True)
    except BuildError as error:
        stamp.write_text(json.dumps({"compiler": command, "reason": str(error)}, indent=1) + "\n")
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remembered(stamp: Path, command: str) -> str | None:
    """Why the last try failed, if this compiler made it and it was not long ago."""
    try:
        failure = json.loads(stamp.read_text())
        recent = time.time() - stamp.stat().st_mtime < REMEMBER_SECONDS
    except (OSError, ValueError):
        return None
    return str(failure.get("reason")) if recent and failure.get("compiler") == command else None


def _build_for_this_process(root: Path, identity: Identity, error: OSError) -> Built:
    _say(f"its cache cannot be used ({error}); set DLBENCH_CACHE to a folder that can")
    folder = Path(tempfile.mkdtemp(prefix="dlbench-ops-"))
    try:
        _compile(folder, root, identity, folder / "log")
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return Built(folder / LIBRARY, "temporary")


def _compile(folder: Path, root: Path, identity: Identity, log: Path) -> None:
    """Compiles and tests in a process of its own, so that neither a crash nor a second torch extension touches this."""
    _say(f"compiling its operators for torch {identity['torch']} (once, about {ABOUT_SECONDS} s) ...")
    kind = "cuda" if identity["with_cuda"] else "cpu"
    command = [sys.executable, "-P", str(recipe.__file__), str(folder), str(root), kind]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with log.open("w") as output:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,  # so that ending it ends its compilers too
        )
        try:
            code = child.wait(LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            raise BuildError(f"compiling took more than {LIMIT_SECONDS} s; the log is {log}") from None
        finally:
            if child.poll() is None:
                with suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
                child.wait()
    if code != 0:
        raise BuildError(f"compiling failed: {_telling_line(log, code)}; the log is {log}")


def _telling_line(log: Path, code: int) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    telling = [line for line in lines if "error:" in line] or lines[-1:] or ["no output"]
    return f"{telling[0]} (exit code {code})"


def _say(line: str) -> None:
    print("dlbench: " + line, file=sys.stderr, flush=True)
