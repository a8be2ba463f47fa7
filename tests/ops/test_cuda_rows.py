"""Starts, losses and row operators on a GPU give what they give on the CPU: bit by bit, but for the order of sums."""

from __future__ import annotations

import math

import pytest
import torch

from dlbench.ops import compact, dlr_loss, lp_norms, margin_loss, random_start

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here"),
    pytest.mark.usefixtures("cuda_kernels"),
]
SHAPES = [(0, 3), (3, 0), (5,), (4, 1), (3, 1030), (2, 3, 5, 7), (3, 3, 64, 64), (2, 200_003)]


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_starts_bits(shape, dtype, norm):
    x = torch.rand(shape, dtype=dtype)
    ids = torch.arange(shape[0]) * 2**40 - 3
    for layout in (torch.contiguous_format, torch.channels_last) if x.dim() == 4 else (torch.contiguous_format,):
        x = x.contiguous(memory_format=layout)
        boxes = [(0.0, 1.0)] if x.dim() == 1 else [(0.0, 1.0), (0.25, torch.rand(shape[1]) / 2 + 0.5)]
        for eps in (0.3, torch.rand(shape[0])):
            for lower, upper in boxes:
                settings = {"norm": norm, "seed": 2**63 + 5, "restart": 7}
                want = random_start(x, eps=eps, sample_ids=ids, lower=lower, upper=upper, **settings)
                eps_there, upper_there = (v.cuda() if isinstance(v, torch.Tensor) else v for v in (eps, upper))
                got = random_start(
                    x.cuda(), eps=eps_there, sample_ids=ids.cuda(), lower=lower, upper=upper_there, **settings
                )
                assert torch.equal(got.cpu(), want) and got.stride() == want.stride()


def test_a_radius_that_is_none_makes_nan():
    eps = torch.tensor([0.1, -0.1, math.nan, math.inf], device="cuda")
    for norm in ("linf", "l2", "l1"):
        got = random_start(torch.rand(4, 9, device="cuda"), eps=eps, norm=norm, seed=0)
        assert got.isnan().all(1).tolist() == [False, True, True, True]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("classes", [4, 10, 31, 32, 33, 1000])
def test_the_losses_bits(classes, dtype):
    z = (torch.randn(77, classes) * 2).round(decimals=1).to(dtype)  # with ties
    z[::9, 3] = math.nan
    z[1::9, 1] = -math.inf
    y, t = torch.randint(0, classes, (2, 77))
    for loss in (margin_loss, dlr_loss, lambda z, y: dlr_loss(z, y, target=t.to(z.device))):
        results = []
        for device in ("cpu", "cuda"):
            there = z.to(device).requires_grad_()
            value = loss(there, y.to(device))
            results.append((value.detach().cpu(), torch.autograd.grad(value.sum(), there)[0].cpu()))
        for a, b in zip(*results, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)


def test_a_label_that_is_no_class_makes_nan():
    y = torch.tensor([0, 5, -1], device="cuda")
    assert margin_loss(torch.rand(3, 5, device="cuda"), y).isnan().tolist() == [False, True, True]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", SHAPES)
def test_norms(shape, dtype):
    a, b = (torch.randn(shape).to(dtype) for _ in "ab")
    for other in (None, b):
        want = lp_norms(a, other)
        got = [lp_norms(a.cuda(), None if other is None else other.cuda()).cpu() for _ in range(2)]
        assert torch.equal(*got) and torch.equal(got[0][:, [0, 3]], want[:, [0, 3]])
        torch.testing.assert_close(got[0], want, rtol=1e-12, atol=0)


@pytest.mark.parametrize("n", [0, 1, 31, 32, 33, 1023, 1024, 1025, 5000])
def test_compact(n):
    keep = torch.rand(n) < 0.6
    tensors = [torch.rand(n, 3), torch.arange(n), torch.rand(n, 8) < 0.5, torch.rand(n, 3, 4, 4)]
    tensors.append(tensors[-1].contiguous(memory_format=torch.channels_last))
    want = compact(keep, *tensors)
    got = compact(keep.cuda(), *(t.cuda() for t in tensors))
    assert all(torch.equal(a.cpu(), b) and a.stride() == b.stride() for a, b in zip(got, want, strict=True))


def test_all_of_it_in_a_graph():
    x, z = torch.rand(50, 3, 8, 8, device="cuda"), torch.randn(50, 10, device="cuda")
    y = torch.randint(0, 10, (50,), device="cuda")

    def run():
        start = random_start(x, eps=0.1, norm="l2", seed=3)
        loss = dlr_loss(z, y)
        return lp_norms(start, x), *compact(loss > 0, start, loss, y)

    want = run()
    recorded = torch.cuda.CUDAGraph()
    with torch.cuda.graph(recorded):
        got = run()
    recorded.replay()
    assert all(map(torch.equal, got, want))
