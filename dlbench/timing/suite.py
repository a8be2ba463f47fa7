"""The test functions of ``pytest --dlbench=PRESET``; :mod:`dlbench.timing.collection` says for what they run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from dlbench.isolate import Forkserver
from dlbench.timing import trials
from dlbench.timing.collection import NAME, Timed


@pytest.fixture(scope="session")
def dlbench_timed(pytestconfig: pytest.Config) -> Timed:
    """What was asked for."""
    timed = pytestconfig.pluginmanager.get_plugin(NAME)
    assert isinstance(timed, Timed)  # noqa: S101 - or this module would not have been collected
    return timed


@pytest.fixture(scope="session")
def dlbench_server() -> Iterator[Forkserver]:
    """Where trials run, each in a process of its own."""
    with Forkserver() as server:
        yield server


def test_experiment(experiment: str, benchmark: Any, dlbench_timed: Timed, dlbench_server: Forkserver) -> None:
    """A trial a round, each with the next seed."""
    trials.time_experiment(experiment, benchmark, dlbench_timed, dlbench_server)


def test_op(op: str, case: str, benchmark: Any, dlbench_timed: Timed) -> None:
    """Calls of an operator."""
    from dlbench.timing import calls  # which imports torch

    calls.time_op(op, case, benchmark, dlbench_timed)
