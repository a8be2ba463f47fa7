"""FLOPs, memory and energy by hand; what is measured of any module; the front of cost and error."""

import math
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from dlbench import cost


def test_a_perceptron_by_hand():
    net = nn.Sequential(nn.Linear(40, 100), nn.ReLU(), nn.Linear(100, 10)).train()
    found = cost.measure(net, torch.zeros(64, 40))
    assert found.parameters == 40 * 100 + 100 + 100 * 10 + 10
    assert found.flops == 2 * (40 * 100 + 100 * 10)
    assert found.peak_bytes == 4 * 64 * 200  # what goes into the ReLU and what comes out of it
    assert net.training


def test_a_convolution_by_hand():
    net = nn.Conv2d(3, 8, 5, stride=2, padding=2)
    found = cost.measure(net, torch.zeros(2, 3, 16, 16))
    assert found.flops == 2 * 8 * 8 * 8 * 3 * 25 and found.parameters == 8 * 3 * 25 + 8
    assert found.peak_bytes == 4 * 2 * 8 * 64


def test_an_example_costs_the_same_in_every_batch_and_computing_twice_costs_twice():
    class Twice(nn.Module):
        def __init__(self, net):
            super().__init__()
            self.net = net

        def forward(self, x):
            self.net(x)
            return self.net(x)

    net = nn.Linear(6, 4)
    assert cost.measure(net, torch.zeros(1, 6)).flops == cost.measure(net, torch.zeros(9, 6)).flops == 48
    assert cost.measure(Twice(net), torch.zeros(9, 6)) == (28, 96, 4 * 9 * 4 * 2 // 2)


def test_weights_that_are_shared_count_once():
    layer = nn.Linear(5, 5)
    net = nn.Sequential(layer, nn.ReLU(), layer)
    assert cost.parameters(net) == 30 and cost.measure(net, torch.zeros(2, 5)).flops == 100
    assert cost.weight_bytes(net) == 4 * 30


def test_buffers_are_weights_and_half_precision_is_half_of_them():
    net = nn.BatchNorm1d(5)
    assert cost.weight_bytes(net) == 4 * 4 * 5 + 8  # the number of batches is an int64
    assert cost.weight_bytes(nn.Linear(5, 5).half()) == 2 * 30


def test_the_backward_pass_counts():
    layer = nn.Linear(7, 3)
    x = torch.zeros(5, 7)
    forward = 2 * 5 * 7 * 3
    assert cost.count_flops(lambda: layer(x)) == forward
    assert cost.count_flops(lambda: layer(x).sum().backward()) == 2 * forward  # of the weights alone
    assert cost.count_flops(lambda: layer(x.clone().requires_grad_()).sum().backward()) == 3 * forward


def test_memory_that_is_freed_and_views_and_what_is_held_for_backward():
    x = torch.zeros(1000)

    def chain():
        y = x
        for _ in range(10):
            y = y + 1
        return y

    assert cost.peak_memory(chain, known=[x]) == 8000  # two at once
    assert cost.peak_memory(lambda: x.view(10, 100).t(), known=[x]) == 0
    layers = nn.Sequential(*[nn.Linear(10, 10) for _ in range(10)])
    inputs = torch.zeros(100, 10)
    with torch.no_grad():
        least = cost.peak_memory(lambda: layers(inputs), known=[inputs, *layers.parameters()])
    held = cost.peak_memory(lambda: layers(inputs), known=[inputs, *layers.parameters()])
    assert held == 10 * 4000 and least == 2 * 4000


def test_an_empty_batch_is_an_error():
    with pytest.raises(ValueError, match="one example at least"):
        cost.measure(nn.Linear(2, 2), torch.zeros(0, 2))


def test_latency_is_that_of_the_call():
    calls = []

    def call():
        calls.append(time.sleep(0.05 if len(calls) == 1 else 0.002))

    found = cost.latency(call, repeats=9, warm_up=2)
    assert len(calls) == 11 and 0.002 <= found.p50 <= found.p95
    with pytest.raises(ValueError, match="repeats is 0"):
        cost.latency(call, repeats=0)


def rapl(folder, zones):
    for name, (kind, energy) in zones.items():
        zone = folder / name
        zone.mkdir(exist_ok=True)
        (zone / "name").write_text(kind + "\n")
        (zone / "energy_uj").write_text(f"{energy}\n")
        (zone / "max_energy_range_uj").write_text("100000000\n")


def test_energy_of_packages_and_their_memory(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    before = {"intel-rapl:0": ("package-0", 99_000_000), "intel-rapl:0:0": ("core", 5), "intel-rapl:0:1": ("dram", 10)}
    rapl(tmp_path, before)
    energy = cost.Energy(tmp_path)
    assert energy.sources == ["package-0", "dram"]
    with energy:
        after = {"intel-rapl:0": ("package-0", 2_000_000), "intel-rapl:0:0": ("core", 9_000_000)}
        rapl(tmp_path, after | {"intel-rapl:0:1": ("dram", 500_010)})
    assert energy.joules == pytest.approx(3 + 0.5)  # the package's counter began again at 100 J


def test_energy_of_gpus(tmp_path, monkeypatch):
    told = iter([1000, 1000, 3500])
    monkeypatch.setitem(
        sys.modules,
        "pynvml",
        SimpleNamespace(
            nvmlInit=lambda: None,
            nvmlDeviceGetCount=lambda: 1,
            nvmlDeviceGetHandleByIndex=lambda k: k,
            nvmlDeviceGetTotalEnergyConsumption=lambda handle: next(told),
            NVMLError=RuntimeError,
        ),
    )
    with cost.Energy(tmp_path) as energy:
        pass
    assert energy.sources == ["gpu 0"] and energy.joules == pytest.approx(2.5)


def test_where_nothing_tells_energy_is_no_number(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with cost.Energy(tmp_path / "nowhere") as energy:
        pass
    assert energy.sources == [] and math.isnan(energy.joules)


def test_the_front_by_hand():
    costs = [1, 2, 2, 3, 4, 1]
    errors = [0.5, 0.3, 0.4, 0.3, 0.1, 0.5]
    assert cost.front(costs, errors).tolist() == [True, True, False, False, True, True]
    assert cost.front([], []).tolist() == []
    with pytest.raises(ValueError, match="NaN"):
        cost.front([1.0], [np.nan])
    with pytest.raises(ValueError, match="as long"):
        cost.front([1.0], [1.0, 2.0])
