"""The steps in the L2 and the L1 ball beside those of other libraries, in turns with them.

pytest tests/benchmarks/test_balls.py -m benchmark --benchmark-enable --benchmark-columns=median,rounds

What is timed is a step alone, from a given gradient, on points that earlier steps brought to the edge of the ball. The
rivals are foolbox' own methods, and torchattacks' lines (3.5.1, ``pgdl2.py``), which cannot be called without a model
around them; it has no attack in the L1 ball. None of them projects onto ball and box together. PGD for L1 of foolbox
and ART does not project at all but rescales, so that the rival there is foolbox' SparseL1DescentAttack.
"""

from __future__ import annotations

import os
import statistics
import time

import pytest
import torch

from dlbench.ops import l1_step_, l2_step_, status

pytestmark = pytest.mark.benchmark

HEAP = "warm heap" if "MALLOC_MMAP_THRESHOLD_" in os.environ else "default heap"
SHAPES = {(128, 3, 32, 32): (0.5, 12.0), (64, 3, 224, 224): (3.0, 60.0)}  # with radii that are usual there, L2 and L1


def in_turns(benchmark, ours, rivals, rounds, **info):
    """Times ``ours`` with pytest-benchmark and the rivals, {name: function}, between its rounds."""
    taken = {name: [] for name in rivals}

    def between():
        for name, rival in rivals.items():
            began = time.perf_counter()
            rival()
            taken[name].append(time.perf_counter() - began)

    benchmark.pedantic(ours, setup=between, rounds=rounds, warmup_rounds=2)
    if benchmark.stats is None:
        return
    median = benchmark.stats.stats.median
    benchmark.extra_info |= {"heap": HEAP, "implementation": status().implementation, **info}
    for name, seconds in taken.items():
        benchmark.extra_info[f"times {name}"] = round(statistics.median(seconds[2:]) / median, 2)
    print({"median_ms": round(median * 1e3, 4), **benchmark.extra_info})


def images(shape):
    """Points, a quarter of them black or white, and a gradient whose size differs from place to place."""
    random = torch.Generator().manual_seed(0)
    x = (torch.rand(shape, generator=random) * 4 / 3 - 1 / 6).clamp(0, 1)
    grad = torch.randn(shape, generator=random) * torch.randn(shape, generator=random).exp()
    return x, grad


def of_foolbox(attack, x_adv, x, grad, eps, step_size):
    import eagerpy as ep
    from foolbox.types import Bounds

    bounds = Bounds(0, 1)

    def step():
        state, centre, slope = map(ep.astensor, (x_adv, x, grad))
        moved = state + step_size * attack.normalize(slope, x=state, bounds=bounds)
        return ep.clip(attack.project(moved, centre, eps), *bounds).raw

    return step


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "x".join(map(str, shape)))
def test_l2_step(benchmark, shape):
    foolbox = pytest.importorskip("foolbox")
    x, grad = images(shape)
    eps = SHAPES[shape][0]
    x_adv = x.clone()

    def ours():
        return l2_step_(x_adv, x, grad, eps=eps, step_size=eps / 4)

    for _ in range(8):
        ours()
    start = x_adv.clone()

    def of_torchattacks():
        norms = torch.norm(grad.view(len(grad), -1), p=2, dim=1) + 1e-10
        moved = start + eps / 4 * (grad / norms.view(-1, 1, 1, 1))
        delta = moved - x
        factor = torch.min(eps / torch.norm(delta.view(len(x), -1), p=2, dim=1), torch.ones(len(x)))
        return torch.clamp(x + delta * factor.view(-1, 1, 1, 1), min=0, max=1)

    rivals = {
        "torchattacks": of_torchattacks,
        "foolbox": of_foolbox(foolbox.attacks.L2PGD(), start, x, grad, eps, eps / 4),
    }
    in_turns(benchmark, ours, rivals, rounds=20, shape=list(shape))


@pytest.mark.parametrize("sparsity", [0.01, 0.2])
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "x".join(map(str, shape)))
def test_l1_step(benchmark, shape, sparsity):
    foolbox = pytest.importorskip("foolbox")
    x, grad = images(shape)
    eps = SHAPES[shape][1]
    x_adv = x.clone()

    def ours():
        return l1_step_(x_adv, x, grad, eps=eps, step_size=eps / 4, sparsity=sparsity)

    for _ in range(8):
        ours()
    attack = foolbox.attacks.SparseL1DescentAttack(quantile=1 - sparsity)
    rivals = {"foolbox": of_foolbox(attack, x_adv.clone(), x, grad, eps, eps / 4)}
    in_turns(benchmark, ours, rivals, rounds=8, shape=list(shape), sparsity=sparsity)
