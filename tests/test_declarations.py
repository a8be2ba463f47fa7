"""What is told of an experiment: its docstring, its module's, or both."""

import importlib
import sys

import pytest

from dlbench import Metric
from dlbench.declarations import documentation, unknown_recomputations
from dlbench.testing import checks

HEADER = "from dataclasses import dataclass\nfrom dlbench import Experiment\n"
CLASS = "@dataclass(frozen=True)\nclass {name}(Experiment):\n    {doc}\n    x: int = 1\n"


@pytest.fixture
def defined(tmp_path, monkeypatch):
    """defined(module's docstring, {class: its docstring}) → the module."""
    monkeypatch.syspath_prepend(tmp_path)

    def make(module, classes):
        bodies = [CLASS.format(name=name, doc=repr(doc) if doc else "pass") for name, doc in classes.items()]
        (tmp_path / "documented.py").write_text("\n".join([repr(module), HEADER, *bodies]))
        importlib.invalidate_caches()
        return importlib.import_module("documented")

    yield make
    sys.modules.pop("documented", None)


@pytest.mark.parametrize(
    ("module", "own", "told"),
    [
        ("The method.\n\nAt length.", "", "The method.\n\nAt length."),
        ("The method.\n\nAt length.", "What it measures.", "The method.\n\nAt length.\n\nWhat it measures."),
        ("The method.", "A whole\n    story.\n\n    Of its own.", "A whole\nstory.\n\nOf its own."),
        ("", "What it measures.", "What it measures."),
        ("The same.", "The same.", "The same."),
        ("", "", ""),
    ],
)
def test_one_experiment_of_a_module(defined, module, own, told):
    assert documentation(defined(module, {"Only": own}).Only) == told


def test_several_experiments_speak_for_themselves(defined):
    module = defined("A room of studies.", {"First": "The first.", "Second": ""})
    assert documentation(module.First) == "The first."
    assert documentation(module.Second) == "A room of studies."


def test_what_metrics_are_recomputed_by_must_be_there():
    metrics = {"a": Metric("x", recomputed="accuracy"), "b": Metric("y", recomputed="acuracy"), "c": Metric("z")}
    (problem,) = unknown_recomputations(metrics)
    assert "b is recomputed by 'acuracy'" in problem
    assert "accuracy" in problem


def test_what_is_declared_is_measured_unless_it_is_optional():
    class Declared:
        metrics = {"time": Metric(), "energy": Metric(optional=True), "accuracy": Metric()}

    rows = [{"subject": "a", "time": 1.0, "accuracy": 0.5, "energy": float("nan")}]
    assert checks.metrics(Declared, rows) == ""
    assert "['accuracy']" in checks.metrics(Declared, [{"subject": "a", "time": 1.0, "accuracy": float("nan")}])
