"""What the harness costs: answering, and starting a trial.

pytest tests/benchmarks/test_harness.py -m benchmark --benchmark-enable
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dlbench.isolate import Forkserver

pytestmark = pytest.mark.benchmark


@pytest.mark.parametrize("arguments", [["--help"], ["list"]], ids=" ".join)
def test_the_command_line_answers(benchmark, arguments):
    """Whole process: interpreter, imports, answer."""
    command = [sys.executable, "-P", "-m", "dlbench", *arguments]
    benchmark.pedantic(
        subprocess.run, [command], {"stdout": subprocess.DEVNULL, "check": True}, rounds=20, warmup_rounds=2
    )


def test_a_trial_starts(benchmark, monkeypatch):
    """From asking for a fresh process to the first result that torch computed in it."""
    folders = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, folders)))
    with Forkserver() as server:
        call = ["harness_tasks:first_torch_result", {}]
        result = benchmark.pedantic(server.call, call, rounds=50, warmup_rounds=3)
    assert result == 3.0
