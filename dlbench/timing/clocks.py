"""Clocks that pytest-benchmark can be given as its timer: functions without arguments that return seconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

Clock = Callable[[], float]


def device_clock(device: str) -> Clock:
    """The clock for what computes on a device: the CPU's own, or the GPU's events."""
    return CudaClock(device) if device.startswith("cuda") else time.perf_counter


def name_of(clock: Clock) -> str:
    """What a clock is called in a result."""
    return str(getattr(clock, "__name__", type(clock).__name__))


class CudaClock:
    """The time of a GPU's current stream, by CUDA events.

    A reading waits until all that was launched before it is done, and the work between two readings is what lies
    between their two events. The seconds are added up reading by reading: an event's distance is a float32, which
    would grow coarse over a session.
    """

    __name__ = "cuda events"

    def __init__(self, device: str) -> None:
        self.device = device
        self._last: Any = None
        self._seconds = 0.0

    def __call__(self) -> float:
        """Seconds of the stream so far."""
        import torch

        with torch.cuda.device(self.device):
            event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            event.record()
            event.synchronize()
        if self._last is not None:
            self._seconds += self._last.elapsed_time(event) / 1e3
        self._last = event
        return self._seconds


class ToldClock:
    """A clock that stands still until it is told how much time something took, which another process has measured."""

    __name__ = "in the trial's own process"

    def __init__(self) -> None:
        self._seconds = 0.0

    def __call__(self) -> float:
        """All seconds it was told of."""
        return self._seconds

    def advance(self, seconds: float) -> None:
        """What took so long is over."""
        self._seconds += seconds
