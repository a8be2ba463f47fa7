"""Clocks: what a trial's process tells, and a GPU's events."""

import time
from contextlib import nullcontext

import pytest
import torch

from dlbench.timing.clocks import CudaClock, ToldClock, device_clock, name_of


def test_a_cpu_has_its_own_clock():
    assert device_clock("cpu") is time.perf_counter
    assert name_of(device_clock("cpu")) == "perf_counter"


def test_a_told_clock_stands_still_until_it_is_told():
    clock = ToldClock()
    before = clock()
    assert clock() == before
    clock.advance(1.5)
    assert clock() - before == 1.5
    assert name_of(clock) == "in the trial's own process"


class Event:
    """A GPU on which everything takes a tenth of a millisecond."""

    count = 0
    waited = 0

    def __init__(self, enable_timing):
        assert enable_timing

    def record(self):
        Event.count += 1
        self.at = Event.count

    def synchronize(self):
        Event.waited += 1

    def elapsed_time(self, later):
        return torch.tensor(0.1 * (later.at - self.at), dtype=torch.float32).item()


def test_a_gpus_clock_adds_up_its_events_and_stays_fine(monkeypatch):
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
    clock = device_clock("cuda:0")
    assert isinstance(clock, CudaClock)
    assert clock() == 0.0
    readings = [clock() for _ in range(100_000)]
    assert readings[-1] == pytest.approx(10.0, rel=1e-6)
    assert readings[-1] - readings[-2] == pytest.approx(1e-4, rel=1e-5)  # one float32 from the start would be 1e-3 off
    assert Event.waited == Event.count == 100_001


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpus_clock_measures_what_runs_on_it():
    clock = device_clock("cuda")
    x = torch.randn(4096, 4096, device="cuda")
    (x @ x).sum().item()
    clock()
    start = clock()
    for _ in range(20):
        x @ x
    many = clock() - start
    start = clock()
    x @ x
    assert many > 5 * (clock() - start) > 0
