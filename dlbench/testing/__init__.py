"""The conformance suite for plugins: one import, one line, in the plugin's own tests.

::

    from dlbench.testing import conformance

    TestConformance = conformance("my-distribution")

pytest then shows one test for each experiment of the distribution and each check; ``dlbench check NAME`` runs the same
checks from the command line. Every experiment's trial really runs, twice, each time in a fresh process.

Where that takes long, a second class can make some of the checks apart, marked so that it runs less often::

    TestConformance = conformance("my-distribution", checks=CHECKS.keys() - {"plot"})
    TestPictures = pytest.mark.slow(conformance("my-distribution", checks={"plot"}))
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from dlbench import plugins
from dlbench.errors import UsageError, did_you_mean
from dlbench.isolate import Forkserver
from dlbench.runner.drive import MANY, SOME_IMPORT
from dlbench.testing.examine import CHECKS, Finding, examine

__all__ = ["CHECKS", "Finding", "conformance", "examine"]


def conformance(
    distribution: str,
    *,
    preset: str = "quick",
    overrides: Mapping[str, Mapping[str, Any]] | None = None,
    checks: Collection[str] = CHECKS.keys(),
    groups: Sequence[str] = plugins.RUNNABLE,
) -> type:
    """A test class for pytest with one test for each experiment of an installed distribution and each check.

    Args:
        distribution: its name, as pip knows it.
        preset: the preset whose trial is run.
        overrides: experiment → parameter → value, to make a trial short.
        checks: which of :data:`CHECKS`; without ``determinism`` a trial runs only once.
        groups: entry-point groups; both those of studies and of audits, if none is given.

    Raises:
        UsageError: there is no such check.
    """
    import pytest

    for name in checks:
        if name not in CHECKS:
            raise UsageError(f"checks: there is no check {name!r}{did_you_mean(name, CHECKS)}")
    healthy, broken = plugins.discover(*groups)
    mine = [plugin for plugin in healthy if plugin.distribution == distribution]
    reasons = {record.plugin.name: str(record) for record in broken if record.plugin.distribution == distribution}

    found: dict[str, Mapping[str, Finding]] = {}

    def findings(name: str, server: Forkserver) -> Mapping[str, Finding]:
        if name not in found:
            [plugin] = [plugin for plugin in mine if plugin.name == name]
            told = examine(plugin, preset, (overrides or {}).get(name, {}), checks=checks, server=server)
            found[name] = {finding.check: finding for finding in told}
        return found[name]

    class Conformance:
        @pytest.fixture(scope="class")
        @classmethod
        def server(cls) -> Iterator[Forkserver]:
            """Where the trials of all experiments run."""
            with Forkserver() as server:
                if len(mine) >= MANY:
                    server.preload(*SOME_IMPORT)
                yield server

        def test_registered(self) -> None:
            """The distribution registers experiments, and none of them is broken or clashes."""
            assert not reasons, "\n".join(reasons.values())
            assert mine, f"{distribution} registers no experiment (entry points of {' or '.join(groups)})"

        @pytest.mark.parametrize("check", [check for check in CHECKS if check in checks])
        @pytest.mark.parametrize("experiment", [plugin.name for plugin in mine])
        def test_experiment(self, experiment: str, check: str, server: Forkserver) -> None:
            """One check of one experiment."""
            finding = findings(experiment, server)[check]
            assert not finding.problem, finding.problem

    return Conformance
