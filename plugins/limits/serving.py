"""How long answers take on this machine, one at a time and many at once, as experiments on cost measure it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from dlbench import Metric
from dlbench.cost import Energy, latency

SERVED = (1, 64)  # examples at once
REPEATS = 20  # of a timing

CLOCKED = {
    **{
        f"latency_{n}_{p}": Metric(f"time to answer {n} at once, {text}", "s", "lower", low=0, timed=True)
        for n in SERVED
        for p, text in (("p50", "median"), ("p95", "95th percentile"))
    },
    "energy": Metric(
        "energy an answer, of the whole machine, 64 at once", "J", "lower", low=0, timed=True, optional=True
    ),
}
"""The metrics that :func:`serving` gives."""


def cycled(x: Tensor, n: int) -> Tensor:
    """The first n examples; where there are fewer, from the beginning again."""
    return x[torch.arange(n, device=x.device) % len(x)]


def serving(answers: Callable[[Tensor], Any], x: Tensor, *, repeats: int = REPEATS) -> dict[str, float]:
    """Times to answer so many at once, and the energy an answer where the machine tells."""
    found = {}
    for n in SERVED:
        part = cycled(x, n)
        timed = latency(lambda part=part: answers(part), repeats=repeats, warm_up=2, device=x.device)
        found |= {f"latency_{n}_{name}": value for name, value in timed._asdict().items()}
    energy = Energy()
    if energy.sources:
        with energy:
            for _ in range(repeats):
                answers(part)
    return {**found, "energy": energy.joules / (repeats * max(SERVED))}
