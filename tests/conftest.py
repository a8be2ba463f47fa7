"""What all tests share: the command line as a user runs it, and throw-away plugin distributions."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import hypothesis
import pytest

from dlbench.cli import main

# Two cores, often busy: no example may fail for being slow, and small tensors are not worth waking a second thread.
hypothesis.settings.register_profile("dlbench", deadline=None)
hypothesis.settings.load_profile("dlbench")
os.environ.setdefault("OMP_NUM_THREADS", "1")

TOYS = Path(__file__).parent / "toys"


@pytest.fixture
def distribution(tmp_path):
    """distribution(name, {entry point: value}, {file: source}) → a folder for PYTHONPATH with it installed."""

    def make(name="toys", experiments=None, files=None, version="1.0", folder=None):
        return installed(folder or tmp_path / f"site-{name}", name, experiments, files, version)

    return make


def installed(site, name, experiments=None, files=None, version="1.0"):
    """The folder ``site`` with a distribution installed in it."""
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


@pytest.fixture
def toys(tmp_path):
    """A folder with the toy experiments installed; an experiment's name is its class' in lower case."""
    return with_toys(tmp_path / "site-toys")


def with_toys(site):
    """The folder ``site`` with the toy experiments installed in it."""
    source = (TOYS / "toys.py").read_text()
    names = (
        "Healthy Raises Exits Hangs Segfaults Hoards Tensors Outside Twice Nothing Daemon Chatters NoData "
        "Drifts Clocked"
    )
    return installed(site, "toys", {name.lower(): f"toys:{name}" for name in names.split()}, {"toys.py": source})


def environment_of(*folders, **more):
    """The variables for a dlbench that finds the distributions in these folders."""
    path = [*map(str, folders), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(path), "DLBENCH_OPS": "reference", "NO_COLOR": "1"} | more


@pytest.fixture
def environment():
    """environment(*folders) → the variables for a dlbench that finds the distributions in these folders."""
    return environment_of


def dlbench_in(cwd, *arguments, folders=(), timeout=120, **more):
    """The status, output and errors of a dlbench, run in ``cwd`` as a user would."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "dlbench", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment_of(*folders, **more),
        stdin=subprocess.DEVNULL,
        timeout=timeout,
    )
    return SimpleNamespace(status=done.returncode, out=done.stdout, err=done.stderr)


@pytest.fixture
def dlbench(tmp_path):
    """dlbench(*arguments, plugins=folder) → its status, output and errors, run in an empty folder as a user would."""

    def run(*arguments, plugins=(), **more):
        return dlbench_in(tmp_path, *arguments, folders=[plugins] if isinstance(plugins, Path) else plugins, **more)

    return run


@pytest.fixture
def dlbench_here(tmp_path, monkeypatch, capsys):
    """The same in this process, which has imported torch and pandas already; for commands that start no other."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        done = capsys.readouterr()
        return SimpleNamespace(status=ended.value.code, out=done.out, err=done.err)

    return run


@pytest.fixture(scope="session")
def calm_run(tmp_path_factory):
    """What the command said that ran the toy ``healthy``, and its run folder, which nobody is to change."""
    folder = tmp_path_factory.mktemp("calm")
    site = with_toys(folder / "site-toys")
    done = dlbench_in(folder, "run", "healthy", "--jobs", 2, "--out", "o", "--json", "--quiet", folders=[site])
    return SimpleNamespace(done=done, out=folder / "o")


@pytest.fixture
def calm(calm_run, tmp_path):
    """A run folder ``o`` of the toy ``healthy`` at six seeds, in the folder where the test's dlbench runs."""
    shutil.copytree(calm_run.out, tmp_path / "o")
    return tmp_path / "o"
