"""The suite for plugins: what is asked for is checked, and no trial is run for what is not."""

import os

import pytest

from dlbench.errors import UsageError
from dlbench.isolate import Forkserver
from dlbench.plugins import EXPERIMENTS, Plugin
from dlbench.testing import Finding, conformance, examine


def test_a_check_that_is_none_is_refused():
    with pytest.raises(UsageError, match="checks: there is no check 'plott'; did you mean 'plot'"):
        conformance("dlbench", checks={"plott"})


def test_only_what_is_asked_for_is_checked(toys, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(toys), prepend=os.pathsep)
    monkeypatch.setenv("DLBENCH_OPS", "reference")
    started, start = [], Forkserver.start

    def noted(server, call, *payload, **limits):
        started.append(call)
        return start(server, call, *payload, **limits)

    monkeypatch.setattr(Forkserver, "start", noted)
    drifts = Plugin(EXPERIMENTS, "drifts", "toys:Drifts", "toys", "1.0")
    assert examine(drifts, checks={"silence", "trial"}) == [Finding("trial"), Finding("silence")]
    assert started.count("dlbench.testing.examine:trial_in") == 1
