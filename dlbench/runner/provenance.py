"""Where numbers come from: hardware, software, and the code's revisions, gathered before the first trial."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from dlbench import plugins

_PACKAGES = ("torch", "numpy", "scipy", "pandas", "scikit-learn", "matplotlib")


def environment(payload: dict[str, Any], send: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """The environment of this process, in a task of its own so that looking at a GPU harms nobody.

    Args:
        payload: ``code``: {distribution: top-level package}, ``threads``, ``heap``, ``device``.
        send: unused.
    """
    import psutil

    from dlbench import ops

    status = ops.status()
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": cpu_name(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": psutil.virtual_memory().total,
        "threads": payload["threads"],
        "heap": payload["heap"],
        "packages": {name: _version(name) for name in _PACKAGES},
        "ops": {"implementation": status.implementation, "reason": status.reason},
        "gpu": _gpus() if payload["device"].startswith("cuda") else [],
        "code": {name: code_state(name, package) for name, package in payload["code"].items()},
    }


def cpu_name() -> str:
    """The processor's model name."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def code_state(distribution: str, package: str) -> dict[str, Any]:
    """Version, git revision and dirty flag of a distribution; None where no revision can be known.

    An editable install is looked up in place. An installed copy remembers where it came from (direct_url.json): a
    commit, or a local checkout, which counts as dirty when the copy's files differ from it.
    """
    state: dict[str, Any] = {"version": _version(distribution), "revision": None, "dirty": None}
    state["digest"] = plugins.code_digest(package)
    sources = plugins.source_files(package)
    if not sources:
        return state
    revision, dirty = _git(Path(os.path.commonpath([path.parent for path in sources])))
    if revision is None:
        origin = _direct_url(distribution)
        if "vcs_info" in origin:
            revision, dirty = origin["vcs_info"].get("commit_id"), False
        elif origin.get("url", "").startswith("file://"):
            folder = Path(unquote(urlparse(origin["url"]).path))
            revision, dirty = _git(folder)
            dirty = dirty or not _contents(sources) <= _contents(folder.rglob("*"))
    return state | {"revision": revision, "dirty": dirty if revision else None}


def _git(folder: Path) -> tuple[str | None, bool | None]:
    """(revision, dirty) of the tracked files of a folder; (None, None) outside of git."""

    def git(*arguments: str) -> str | None:
        command = ["git", "-C", str(folder), *arguments]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=20, stdin=subprocess.DEVNULL)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    if not folder.is_dir() or not git("ls-files", "."):  # a virtual environment inside a checkout is not the checkout
        return None, None
    return git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--", "."))


def _direct_url(distribution: str) -> dict[str, Any]:
    try:
        text = metadata.distribution(distribution).read_text("direct_url.json")
        return dict(json.loads(text)) if text else {}
    except (metadata.PackageNotFoundError, ValueError):
        return {}


def _contents(paths: Any) -> set[str]:
    return {hashlib.sha256(p.read_bytes()).hexdigest() for p in paths if p.suffix in plugins.SOURCES and p.is_file()}


def _gpus() -> list[Mapping[str, Any]]:
    import torch

    if not torch.cuda.is_available():
        return []
    properties = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    driver = _nvidia_driver()
    return [
        {"name": p.name, "memory_bytes": p.total_memory, "cuda": torch.version.cuda, "driver": driver}
        for p in properties
    ]


def _nvidia_driver() -> str:
    try:
        return Path("/sys/module/nvidia/version").read_text().strip()
    except OSError:
        return ""


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""
