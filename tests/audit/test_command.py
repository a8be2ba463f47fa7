"""``dlbench audit`` as a user runs it: a module in the working folder, data in a file."""

import contextlib
import json
import os
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from dlbench.isolate import Forkserver

SOURCE = """
from torch import nn

class Bright(nn.Module):
    def forward(self, x):
        return 4 * x.flatten(1)[:, :3]

def build():
    return Bright()

def flat():
    return nn.Flatten()
"""


def bring(folder, bright):
    """The folder, with a module ``nets`` and a file ``bright.npz`` in it."""
    (folder / "nets.py").write_text(SOURCE)
    x, y = bright
    np.savez(folder / "bright.npz", x=x, y=y)
    return folder


@pytest.fixture
def brought(tmp_path, bright):
    """Both in the folder where the test's dlbench runs."""
    return bring(tmp_path, bright)


@pytest.fixture(scope="module")
def refusing(tmp_path_factory, bright):
    """Both in a folder where nothing is written, and one server for all commands that are refused."""
    folder = bring(tmp_path_factory.mktemp("refusing"), bright)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
        with Forkserver() as server:
            yield SimpleNamespace(folder=folder, server=server)


def test_a_card_is_made_and_the_same_command_resumes(dlbench, brought):
    command = ("audit", "nets:build", "--data", "bright.npz", "--only", "audit_calibration", "--out", "o", "--seeds", 2)
    done = dlbench(*command, "--name", "mine", "--json", timeout=600)
    assert done.status == 0, done.err
    told = json.loads(done.out)
    axes = {row["axis"]: row for row in told["axes"]}
    x, y = np.load(brought / "bright.npz").values()
    right = (x.reshape(300, -1)[:, :3].argmax(1) == y).mean()
    assert axes["accuracy"]["value"] == pytest.approx(right) and axes["accuracy"]["subject"] == "mine"
    page = brought / told["card"]
    assert page.name == "card.html" and "Report card: mine" in page.read_text()
    assert (page.parent / "index.html").is_file() and len(pd.read_csv(page.parent / "axes.csv")) == 2

    again = dlbench(*command, "--name", "mine", timeout=600)
    assert again.status == 0 and "audit_calibration seed" not in again.err + again.out, again.err
    assert "accuracy" in again.out and "Report card: " in again.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nets:build",), "--data is needed: the name of a data set"),
        (("nets:biuld", "--data", "bright.npz"), "did you mean 'build'"),
        (("nets:flat", "--data", "bright.npz"), "expected logits [2, 3]"),
        (("nets:build", "--data", "bright.npz", "--mean", "0.5"), "1 means and 0 standard deviations"),
        (("nets:build", "--data", "bright.npz", "--weights", "w.pt"), "w.pt is no safetensors file"),
        (("nets:build", "--data", "bright.npz", "--only", "audit_calibrating"), "did you mean 'audit_calibration'"),
        (("nets:build", "--data", "digits", "--group", "sex"), "--group is for files"),
        (("nets:build", "--data", "bright.npz", "--seeds", "1"), "--seeds 1: expected 2 at least"),
        (("digits_maens",), "did you mean 'digits_means'"),
    ],
)
def test_what_cannot_be_audited_is_one_line_and_leaves_nothing(refusing, dlbench_here, monkeypatch, arguments, message):
    monkeypatch.setattr("dlbench.isolate.Forkserver", lambda threads: contextlib.nullcontext(refusing.server))
    monkeypatch.chdir(refusing.folder)
    monkeypatch.setattr(sys, "path", list(sys.path))  # to which the command adds
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
    done = dlbench_here("audit", *arguments, "--out", "o")
    said = done.err.strip()
    assert done.status == 2 and message in said and "\n" not in said, said
    left = {path.name for path in refusing.folder.iterdir()} - {"__pycache__"}  # Python's, of the module
    assert left == {"nets.py", "bright.npz"}
