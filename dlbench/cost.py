"""What a torch module costs: parameters, FLOPs, memory, latency and energy, and who is on the front of cost and error.

All of it is measured on given inputs, of any module::

    cost = measure(net, x)                       # x [n, ...]: parameters, FLOPs an example, peak memory of a pass
    latency(lambda: net(x[:1])).p95              # seconds
    with Energy() as energy:
        net(x)
    energy.joules                                # NaN where the machine does not tell

Parameters, FLOPs and memory depend on the module and the inputs alone and are the same on every machine. Times and
energy are the machine's, of that moment: they belong beside a result, not into it.
"""

from __future__ import annotations

import contextlib
import importlib
import math
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from dlbench.attacks.modes import attack_mode

POWERCAP = Path("/sys/class/powercap")


class Cost(NamedTuple):
    """What a module costs, whatever machine it runs on."""

    parameters: int
    flops: float  # of the forward pass, an example
    peak_bytes: int  # alive at once in a forward pass, without weights and inputs


def measure(net: nn.Module, x: Tensor) -> Cost:
    """What a module costs on a batch, in evaluation mode; the module is left as it was.

    Args:
        net: the module; it is called as ``net(x)``.
        x: [n, ...], on the module's device.

    Raises:
        ValueError: the batch is empty.
    """
    if x.dim() == 0 or len(x) == 0:
        raise ValueError(f"x has shape {list(x.shape)}; expected a batch of one example at least")
    with attack_mode(net), torch.no_grad():
        flops = count_flops(lambda: net(x))
        peak = peak_memory(lambda: net(x), known=[x, *net.parameters(), *net.buffers()])
    return Cost(parameters(net), flops / len(x), peak)


def parameters(net: nn.Module) -> int:
    """How many numbers a module has learnt or could learn; what is shared counts once."""
    return sum(parameter.numel() for parameter in net.parameters())


def weight_bytes(net: nn.Module) -> int:
    """Bytes of a module's parameters and buffers in memory; what is shared counts once."""
    return sum(tensor.nbytes for tensor in (*net.parameters(), *net.buffers()))


def count_flops(call: Callable[[], Any]) -> int:
    """FLOPs of what a call makes torch compute, by torch's own counter; a multiplication and an addition are two.

    Counted are products of matrices, convolutions and attention, forward and backward. What goes element by element
    (activations, normalisation, pooling, an optimizer's step) is not, nor what another library computes.
    """
    with FlopCounterMode(display=False) as counter:
        call()
    return int(counter.get_total_flops())


def peak_memory(call: Callable[[], Any], known: Sequence[Tensor] = ()) -> int:
    """Bytes of tensors that a call makes, at their most at once; what is held for a backward pass counts.

    A kernel's own scratch memory is not seen. The same on every device.

    Args:
        call: what to run.
        known: tensors that were there before, such as weights and inputs; they and their views do not count.
    """
    with _Alive(known) as alive:
        call()
    return int(alive.peak)


class Latency(NamedTuple):
    """Seconds that a call takes, over repetitions."""

    p50: float
    p95: float


def latency(
    call: Callable[[], Any], *, repeats: int = 50, warm_up: int = 5, device: torch.device | str = "cpu"
) -> Latency:
    """How long a call takes: median and 95th percentile. It must have come to its end, so CUDA is waited for.

    Args:
        call: what to time.
        repeats: how often it is timed.
        warm_up: calls before that, untimed.
        device: where it computes.

    Raises:
        ValueError: repeats is below 1 or warm_up below 0.
    """
    if repeats < 1 or warm_up < 0:
        raise ValueError(f"repeats is {repeats} and warm_up is {warm_up}; expected at least 1 and 0")
    wait = torch.cuda.synchronize if torch.device(device).type == "cuda" else _nothing
    seconds = []
    for turn in range(warm_up + repeats):
        wait()
        begin = time.perf_counter()
        call()
        wait()
        if turn >= warm_up:
            seconds.append(time.perf_counter() - begin)
    p50, p95 = np.percentile(seconds, (50, 95))
    return Latency(float(p50), float(p95))


class Energy:
    """Joules that the machine uses within a ``with`` block, by its own counters: ``joules`` afterwards.

    Of processors, with their memory where it is counted, RAPL tells through Linux's powercap, of NVIDIA's GPUs NVML, if
    the package ``nvidia-ml-py`` is there. It is what the whole machine uses, others' work included. NaN where nothing
    tells (in most containers and virtual machines), or where the counters did not move; ``sources`` says who told.

    Args:
        powercap: the folder of RAPL's counters.
    """

    def __init__(self, powercap: Path = POWERCAP) -> None:
        self._counters = [*_rapl(powercap), *_nvml()]
        self._before: list[float] = []
        self.joules = math.nan

    @property
    def sources(self) -> list[str]:
        """Names of the counters that are read."""
        return [counter.name for counter in self._counters]

    def __enter__(self) -> Energy:
        self._before = [counter.read() for counter in self._counters]
        return self

    def __exit__(self, *_: object) -> None:
        used = 0.0
        for counter, before in zip(self._counters, self._before, strict=True):
            rise = counter.read() - before
            used += rise + counter.wraps_at if rise < 0 else rise  # it starts again at 0 now and then
        self.joules = used if used > 0 else math.nan


def front(costs: ArrayLike, errors: ArrayLike) -> NDArray[np.bool_]:
    """[m] bool: nobody is better in one of cost and error and as good in the other (the Pareto front).

    Raises:
        ValueError: costs and errors [m] differ in number, or one is NaN.
    """
    cost, error = np.asarray(costs, dtype=float), np.asarray(errors, dtype=float)
    if cost.shape != error.shape or cost.ndim != 1:
        raise ValueError(f"costs {list(cost.shape)} and errors {list(error.shape)}; expected a list of each, as long")
    if np.isnan(cost).any() or np.isnan(error).any():
        raise ValueError("a cost or an error is NaN; leave it out")
    no_worse = (cost <= cost[:, None]) & (error <= error[:, None])  # [m, m]: the second than the first
    better = (cost < cost[:, None]) | (error < error[:, None])
    return np.asarray(~(no_worse & better).any(1))


# ------------------------------------------------------------------------------------------------------------ counters


class _Alive(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows which storages are alive, each once."""

    def __init__(self, known: Sequence[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._known = {tensor.untyped_storage()._cdata for tensor in known}
        self._alive: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor):
                self._note(tensor.untyped_storage())
        return made

    def _note(self, storage: torch.UntypedStorage) -> None:
        place, size = storage._cdata, storage.nbytes()
        if place in self._known or place in self._alive:
            return
        self._alive.add(place)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._gone, place, size)

    def _gone(self, place: int, size: int) -> None:
        self._alive.discard(place)
        self.now -= size


class _Counter(NamedTuple):
    name: str
    read: Callable[[], float]  # joules since some time
    wraps_at: float


def _rapl(folder: Path) -> Iterator[_Counter]:
    """Packages and their memory; their other parts are in the package's number."""
    for zone in sorted(folder.glob("intel-rapl:*")):
        with contextlib.suppress(OSError, ValueError):  # mostly not allowed to be read
            name = (zone / "name").read_text().strip()
            if not name.startswith(("package", "dram")):
                continue
            wraps_at = float((zone / "max_energy_range_uj").read_text()) / 1e6

            def read(file: Path = zone / "energy_uj") -> float:
                return float(file.read_text()) / 1e6

            read()
            yield _Counter(name, read, wraps_at)


def _nvml() -> Iterator[_Counter]:
    """One a GPU."""
    try:
        nvml = importlib.import_module("pynvml")
        nvml.nvmlInit()
        handles = [nvml.nvmlDeviceGetHandleByIndex(k) for k in range(nvml.nvmlDeviceGetCount())]
    except Exception:  # no such package, no driver: nothing tells
        return
    for k, handle in enumerate(handles):

        def read(handle: Any = handle) -> float:
            return float(nvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1e3

        with contextlib.suppress(nvml.NVMLError):  # old GPUs do not count
            read()
            yield _Counter(f"gpu {k}", read, 0.0)


def _nothing() -> None:
    pass
