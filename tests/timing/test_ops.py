"""The cases of our operators: every operator has one, each runs, and what it says of itself adds up."""

import inspect

import pytest

from dlbench import ops as operators
from dlbench import plugins
from dlbench.timing import Case
from dlbench.timing import ops as cases

NAMES = [plugin.name for plugin in plugins.discover(plugins.OPS)[0] if plugin.distribution == "dlbench"]


def test_every_operator_is_registered_to_be_timed():
    public = {name for name in operators.__all__ if inspect.isfunction(getattr(operators, name))}
    assert set(NAMES) == public - {"load", "release_memory", "status"}
    assert plugins.discover(plugins.OPS)[1] == []


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setitem(cases.IMAGES, "tiny", (4, 3, 5, 5))
    monkeypatch.setitem(cases.LOGITS, "tiny", (6, 4))
    monkeypatch.setitem(cases.GRAPHS, "tiny", (20, 3, 8))
    monkeypatch.setitem(cases.CLOUDS, "tiny", (2, 20))
    monkeypatch.setitem(cases.MAPS, "tiny", (2, 3, 5, 6))


@pytest.mark.parametrize("name", NAMES)
def test_a_case_runs_again_and_again(name, tiny):
    make = plugins.load(plugins.OPS, name)
    [case] = make("tiny")
    assert isinstance(case, Case)
    call = case.prepare("cpu")
    for _ in range(3):
        call()
    assert case.moved > 0
    assert case.flops is None or case.flops >= 0
    assert make("no such preset") == []
    [quick], [full] = make("quick"), make("full")
    assert quick.moved < full.moved


def test_bytes_are_those_of_the_arrays(tiny):
    [case] = cases.linf_step_("tiny")
    assert case.moved == 4 * 4 * (4 * 3 * 5 * 5)  # three arrays read, one written, of float32
    [case] = cases.aggregate("tiny")
    features, weights, graph = 2 * 20 * 8, 60, 21 + 60
    assert case.moved == 4 * (features + weights + graph)
    assert case.flops == 2 * 60 * 8


@pytest.mark.parametrize("name", ["l2_step_", "l1_step_", "project_"])
def test_a_projecting_step_has_something_to_project_each_time(name, tiny):
    [case] = getattr(cases, name)("tiny")
    call = case.prepare("cpu")
    first = call().clone()
    assert (call() == first).all()
