"""Random starts, losses and row operators beside what is written in torch for the same, in turns with it.

pytest tests/benchmarks/test_rows.py -m benchmark --benchmark-enable --benchmark-columns=median,rounds
"""

from __future__ import annotations

import pytest
import torch

from dlbench.ops import compact, dlr_loss, lp_norms, random_start

from .turns import in_turns

pytestmark = pytest.mark.benchmark
SHAPES = [(128, 3, 32, 32), (64, 3, 224, 224)]


def name_of(shape):
    return "x".join(map(str, shape))


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("shape", SHAPES, ids=name_of)
def test_random_start(benchmark, shape, norm):
    """torch's generator cannot give a sample its numbers back in another batch; the L1 ball has no usual way."""
    x = torch.rand(shape)

    def linf():
        return (x + torch.empty_like(x).uniform_(-0.5, 0.5)).clamp(0, 1)

    def l2():
        v = torch.randn_like(x).flatten(1)
        v *= 0.5 * torch.rand(len(x), 1) ** (1 / v.shape[1]) / v.norm(dim=1, keepdim=True)
        return (x + v.view_as(x)).clamp(0, 1)

    def ours():
        return random_start(x, eps=0.5, norm=norm, seed=0)

    in_turns(
        benchmark, ours, {"linf": {"eager": linf}, "l2": {"eager": l2}, "l1": {}}[norm], rounds=20, shape=list(shape)
    )


@pytest.mark.parametrize("classes", [10, 1000])
def test_dlr_forth_and_back(benchmark, classes):
    z, y = torch.randn(256, classes, requires_grad=True), torch.randint(0, classes, (256,))
    rows = torch.arange(256)

    def by_sorting():  # as the attack's authors have it
        down, order = z.sort(dim=1)
        hit = (order[:, -1] == y).float()
        gap = z[rows, y] - down[:, -2] * hit - down[:, -1] * (1.0 - hit)
        return -gap / (down[:, -1] - down[:, -3] + 1e-12)

    torch.testing.assert_close(dlr_loss(z, y), by_sorting())

    def timed(loss):
        return lambda: torch.autograd.grad(loss().sum(), z)

    in_turns(benchmark, timed(lambda: dlr_loss(z, y)), {"sorting": timed(by_sorting)}, rounds=60, classes=classes)


@pytest.mark.parametrize("shape", SHAPES, ids=name_of)
def test_norms(benchmark, shape):
    a, b = torch.rand(shape), torch.rand(shape)

    def eager():
        d = (a - b).flatten(1)
        return [torch.linalg.vector_norm(d, p, 1) for p in (0, 1, 2, float("inf"))]

    in_turns(benchmark, lambda: lp_norms(a, b), {"eager": eager}, rounds=30, shape=list(shape))


@pytest.mark.parametrize("shape", SHAPES, ids=name_of)
def test_compact(benchmark, shape):
    x, y, keep = torch.rand(shape), torch.arange(shape[0]), torch.rand(shape[0]) < 0.7

    def eager():
        order = torch.argsort(~keep, stable=True)
        return keep.sum(), x[order], y[order]

    in_turns(benchmark, lambda: compact(keep, x, y), {"eager": eager}, rounds=30, shape=list(shape))
