"""Experiments and operators as items of a pytest session."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import pytest

from dlbench import plugins
from dlbench.plugins import OPS, Broken, Plugin
from dlbench.timing.cases import Case
from dlbench.timing.clocks import Clock, ToldClock, device_clock

NAME = "dlbench-timing"


def activate(config: pytest.Config) -> None:
    """Add the items to a session; pytest.UsageError, in one line, where that cannot be."""
    preset = config.getoption("dlbench")
    if not config.pluginmanager.hasplugin("benchmark"):
        raise pytest.UsageError(
            f"--dlbench={preset} needs pytest-benchmark, which is not there; pip install pytest-benchmark"
        )
    device = config.getoption("dlbench_device")
    if device.partition(":")[0] not in ("cpu", "cuda"):
        raise pytest.UsageError(f"--dlbench-device={device}: expected cpu, cuda, or cuda with a number, as cuda:0")
    if device.startswith("cuda") and (problem := _cuda_problem(device)):
        raise pytest.UsageError(f"--dlbench-device={device}: {problem}; use --dlbench-device=cpu")
    timed = Timed(preset, _seeds(config, preset), device)
    config.pluginmanager.register(timed, NAME)


def _seeds(config: pytest.Config, preset: str) -> int:
    from dlbench.runner.plan import default_seeds

    given = config.getoption("dlbench_seeds")
    if given is None:
        return default_seeds(preset)
    if not given.isdigit() or not 1 <= int(given) <= 10_000:
        raise pytest.UsageError(f"--dlbench-seeds={given}: expected a whole number from 1 to 10000")
    return int(given)


def _cuda_problem(device: str) -> str:
    from dlbench.cli.run import cuda_problem

    return cuda_problem({"device": device}, None)


class Timed:
    """What was asked for, and what there is to time: the plugin that holds a session's items together."""

    def __init__(self, preset: str, seeds: int, device: str) -> None:
        self.preset = preset
        self.seeds = seeds
        self.device = device
        self.environments: dict[str, Mapping[str, Any]] = {}
        """Distribution → the facts of where its items run, gathered once."""

    @cached_property
    def experiments(self) -> dict[str, Plugin | Broken]:
        """Every installed experiment by name; nothing is imported."""
        healthy, broken = plugins.discover(plugins.EXPERIMENTS)
        found: dict[str, Plugin | Broken] = {record.plugin.name: record for record in broken}
        return dict(sorted((found | {plugin.name: plugin for plugin in healthy}).items()))

    @cached_property
    def told(self) -> dict[str, ToldClock]:
        """A clock for each experiment, which its trials tell how long they took."""
        return {name: ToldClock() for name in self.experiments}

    @cached_property
    def ops(self) -> dict[str, tuple[Plugin, dict[str, Case]] | Broken]:
        """Every installed operator by name, with its cases by theirs."""
        healthy, broken = plugins.discover(OPS)
        found: dict[str, tuple[Plugin, dict[str, Case]] | Broken] = {record.plugin.name: record for record in broken}
        return dict(sorted((found | {plugin.name: self._cases(plugin) for plugin in healthy}).items()))

    def _cases(self, plugin: Plugin) -> tuple[Plugin, dict[str, Case]] | Broken:
        loaded = plugins.load_plugin(plugin)
        if isinstance(loaded, Broken):
            return loaded
        try:
            return plugin, {case.name: case for case in loaded(self.preset)}
        except Exception as error:  # one operator's cases must not stop the others'
            return Broken(plugin, f"its cases for preset {self.preset!r} raised {type(error).__name__}: {error}")

    @cached_property
    def clock(self) -> Clock:
        """The clock that operators are timed with; one for all, as pytest-benchmark finds out how fine it is."""
        return device_clock(self.device)

    # -------------------------------------------------------------------------------------------------------- hooks

    def pytest_report_header(self) -> str:
        """A line at the top of the session."""
        cases = sum(1 if isinstance(found, Broken) else len(found[1]) for found in self.ops.values())
        return (
            f"dlbench: preset {self.preset}, {len(self.experiments)} experiments at {self.seeds} seeds, "
            f"{cases} cases of {len(self.ops)} operators, on {self.device}"
        )

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, session: pytest.Session, items: list[pytest.Item]) -> None:
        """Items behind the project's own, before -k and -m choose among all of them."""
        items.extend(_items(session))

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """A test for each experiment and each case, in our own suite."""
        if not isinstance(metafunc.definition.parent, Suite):
            return
        if "experiment" in metafunc.fixturenames:
            values = [
                pytest.param(name, id=name, marks=pytest.mark.benchmark(timer=clock, group="dlbench experiments"))
                for name, clock in self.told.items()
            ]
            metafunc.parametrize("experiment", values)
        if "op" in metafunc.fixturenames:
            metafunc.parametrize(("op", "case"), list(self._op_parameters()))

    def _op_parameters(self) -> Iterator[Any]:
        for op, found in self.ops.items():
            marks = pytest.mark.benchmark(timer=self.clock, group="dlbench operators")
            for case in [""] if isinstance(found, Broken) else found[1]:
                yield pytest.param(op, case, id=f"{op}-{case}".rstrip("-"), marks=marks)


class Suite(pytest.Module):
    """Our test functions as a module of the session, whatever its files and functions are called by configuration."""

    def funcnamefilter(self, name: str) -> bool:
        """Our functions are tests in every project."""
        return name.startswith("test_")

    def classnamefilter(self, name: str) -> bool:
        """There are no classes of tests."""
        return False


def _items(session: pytest.Session) -> Iterator[pytest.Item]:
    from pathlib import Path

    from dlbench.timing import suite

    module = Suite.from_parent(session, path=Path(suite.__file__), name="dlbench", nodeid="dlbench")
    module.obj = suite
    return session.genitems(module)
