"""What pytest loads of dlbench at every start: two options and a question. All else is imported where it is asked for.

``pytest --dlbench=quick`` makes a pytest-benchmark item of every installed experiment, and of every case of every
installed operator; see :mod:`dlbench.timing`.

PYTEST_DONT_REWRITE (there is no assertion here, and looking for one takes time)
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing itself is not imported for this
    import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of ``pytest --help``."""
    group = parser.getgroup("dlbench", "installed experiments and operators as benchmarks")
    add = group.addoption
    add("--dlbench", metavar="PRESET", help="Time every installed experiment and operator at a preset: quick, or full.")
    add("--dlbench-seeds", metavar="N", help="Trials of each experiment. Default: 6 for quick, else 10.")
    add("--dlbench-device", metavar="cpu|cuda", default="cpu", help="Where they compute. Default: cpu.")


def pytest_configure(config: pytest.Config) -> None:
    """Nothing, unless it is asked for."""
    if config.getoption("dlbench") is not None:
        from dlbench.timing.collection import activate

        activate(config)
