"""Attention, segments and neighbours on a GPU: neighbours exactly as on the CPU, sums within rounding."""

from __future__ import annotations

import pytest
import torch

from dlbench.ops import edge_softmax, gat_aggregate, gat_attend, knn_graph, radius_graph, segment_reduce

from .made_graphs import random_graph

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here"),
    pytest.mark.usefixtures("cuda_kernels"),
]


@pytest.mark.parametrize("dropout", [0.0, 0.6])
@pytest.mark.parametrize(("heads", "width"), [(1, 1), (3, 5), (8, 8), (4, 64), (2, 130), (1, 300)])
def test_attention(heads, width, dropout):
    graph = random_graph(3000, 70, 90, skew=3)
    shapes = (70, heads, width), (70, heads), (90, heads)
    results = []
    inputs = [torch.randn(shape) for shape in shapes]
    for device in ("cpu", "cuda", "cuda"):
        there = [t.to(device).requires_grad_() for t in inputs]
        out = gat_aggregate(*there, graph.to(device), dropout=dropout, seed=3)
        results.append((out.detach(), *torch.autograd.grad(out.pow(2).sum(), there)))
    for want, got, again in zip(*results, strict=True):
        assert torch.equal(got, again)
        torch.testing.assert_close(got.cpu(), want, rtol=1e-4, atol=1e-4)


def test_attend():
    graph = random_graph(3000, 70, 70, skew=3)
    inputs = [torch.randn(shape) for shape in ((70, 4, 9), (4, 9), (4, 9))]
    results = []
    for device in ("cpu", "cuda"):
        there = [t.to(device).requires_grad_() for t in inputs]
        out = gat_attend(*there, graph.to(device), dropout=0.5, seed=3)
        results.append((out.detach(), *torch.autograd.grad(out.pow(2).sum(), there)))
    for want, got in zip(*results, strict=True):
        torch.testing.assert_close(got.cpu(), want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_softmax(dtype):
    graph, scores = random_graph(3000, 70, 90, skew=3), torch.randn(3000, 3).to(dtype)
    scores[::7] = -torch.inf
    got = edge_softmax(scores.cuda(), graph.to("cuda")).cpu()
    torch.testing.assert_close(got, edge_softmax(scores, graph))


@pytest.mark.parametrize("reduce", ["sum", "mean", "max", "min"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_segments(dtype, reduce):
    x, rowptr = torch.randn(500, 37).to(dtype), torch.tensor([0, 0, 100, 101, 101, 500])
    got = segment_reduce(x.cuda(), rowptr.cuda(), reduce).cpu()
    torch.testing.assert_close(got, segment_reduce(x, rowptr, reduce))


@pytest.mark.parametrize("lattice", [True, False])
@pytest.mark.parametrize("dimensions", [1, 3, 64, 70])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_neighbours(dtype, dimensions, lattice):
    pos = torch.randn(900, dimensions, dtype=dtype)
    pos = pos.round() if lattice else pos
    rowptr = torch.tensor([0, 400, 400, 405, 900])
    for find in (
        lambda pos, rowptr: knn_graph(pos, 11, rowptr),
        lambda pos, rowptr: radius_graph(pos, dimensions**0.5, rowptr, max_neighbours=30, loop=True),
    ):
        here, there = find(pos, rowptr), find(pos.cuda(), rowptr.cuda())
        assert torch.equal(there.rowptr.cpu(), here.rowptr) and torch.equal(there.col.cpu(), here.col)
