"""What all tests share: the command line as a user runs it, and throw-away plugin distributions."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import hypothesis
import pytest

# Two cores, often busy: no example may fail for being slow, and small tensors are not worth waking a second thread.
hypothesis.settings.register_profile("dlbench", deadline=None)
hypothesis.settings.load_profile("dlbench")
os.environ.setdefault("OMP_NUM_THREADS", "1")

TOYS = Path(__file__).parent / "toys"


@pytest.fixture
def distribution(tmp_path):
    """distribution(name, {entry point: value}, {file: source}) → a folder for PYTHONPATH with it installed."""

    def make(name="toys", experiments=None, files=None, version="1.0", folder=None):
        site = folder or tmp_path / f"site-{name}"
        info = site / f"{name}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        lines = [f"{entry} = {value}" for entry, value in (experiments or {}).items()]
        (info / "entry_points.txt").write_text("[dlbench.experiments]\n" + "\n".join(lines) + "\n")
        for file, source in (files or {}).items():
            path = site / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(source)
        return site

    return make


@pytest.fixture
def toys(distribution):
    """A folder with the toy experiments installed; an experiment's name is its class' in lower case."""
    source = (TOYS / "toys.py").read_text()
    names = (
        "Healthy Raises Exits Hangs Segfaults Hoards Tensors Outside Twice Nothing Daemon Chatters NoData "
        "Drifts Clocked"
    )
    return distribution("toys", {name.lower(): f"toys:{name}" for name in names.split()}, {"toys.py": source})


@pytest.fixture
def environment(tmp_path):
    """environment(*folders) → the variables for a dlbench that finds the distributions in these folders."""

    def make(*folders, **more):
        path = [*map(str, folders), *filter(None, [os.environ.get("PYTHONPATH")])]
        return os.environ | {"PYTHONPATH": os.pathsep.join(path), "DLBENCH_OPS": "reference", "NO_COLOR": "1"} | more

    return make


@pytest.fixture
def dlbench(tmp_path, environment):
    """dlbench(*arguments, plugins=folder) → its status, output and errors, run in an empty folder as a user would."""

    def run(*arguments, plugins=(), timeout=120, **more):
        folders = [plugins] if isinstance(plugins, Path) else plugins
        done = subprocess.run(
            [sys.executable, "-P", "-m", "dlbench", *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=environment(*folders, **more),
            stdin=subprocess.DEVNULL,
            timeout=timeout,
        )
        return SimpleNamespace(status=done.returncode, out=done.stdout, err=done.stderr)

    return run
