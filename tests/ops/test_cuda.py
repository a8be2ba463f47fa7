"""The operators on a GPU give what they give on the CPU: the steps bit by bit, sums within rounding and repeatably."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from dlbench.ops import (
    ApgdState,
    Graph,
    aggregate,
    aggregate_arg,
    apgd_step_,
    l1_step_,
    l2_step_,
    linf_step_,
    momentum_step_,
    project_,
    sddmm,
)

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here"),
    pytest.mark.usefixtures("cuda_kernels"),
]


@pytest.mark.parametrize("gradient", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("state", [torch.float32, torch.float64])
@pytest.mark.parametrize("n", [0, 1, 7, 1000, 100_003])
def test_the_steps_bits(n, state, gradient):
    x = torch.rand(n + 1, dtype=state)[1:]  # misaligned
    x_adv, grad = (x + 0.05 * torch.randn(n).to(state)).clamp(0, 1), torch.randn(n).to(gradient)
    grad[::5] = float("nan")
    grad[::7] = 0
    on_gpu = [t.cuda() for t in (x_adv, x, grad)]
    want = linf_step_(x_adv, x, grad, eps=8 / 255, step_size=2 / 255)
    assert torch.equal(linf_step_(*on_gpu, eps=8 / 255, step_size=2 / 255).cpu(), want)


def test_the_steps_bits_at_extremes():
    values = torch.tensor([0.0, -0.0, 1e-45, -1e-45, 3e38, -3e38, float("inf"), float("nan"), 0.5, 1 / 3])
    x, x_adv = (t.flatten().contiguous() for t in torch.meshgrid(values, values, indexing="ij"))
    for eps in (0.0, 1e-45, 0.1, 3e38):
        want = linf_step_(x_adv.clone(), x, x_adv, eps=eps, step_size=0.1, lower=-float("inf"), upper=float("inf"))
        got = linf_step_(
            x_adv.cuda(), x.cuda(), x_adv.cuda(), eps=eps, step_size=0.1, lower=-float("inf"), upper=float("inf")
        ).cpu()
        assert torch.equal(got.isnan(), want.isnan())
        assert torch.equal(got.nan_to_num(0).view(torch.int32), want.nan_to_num(0).view(torch.int32))


@pytest.mark.parametrize("gradient", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("state", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (300, 7), (5, 3, 64, 64), (2, 3, 41, 43)], ids=str)
@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("by_channel", [False, True])
def test_the_bits_of_auto_pgd(shape, state, gradient, order, by_channel):
    if (order == torch.channels_last or by_channel) and len(shape) != 4:
        pytest.skip("only images have channels")
    x = torch.rand(shape, dtype=state)
    eps = torch.tensor([0.05, 0.1, 0.2]).view(3, 1, 1) if by_channel else 8 / 255
    here = ApgdState.start(x.contiguous(memory_format=order), gradient)
    there = ApgdState.start(here.x_adv.cuda(), gradient)
    tallies = [torch.zeros(len(x), 4, dtype=torch.int64, device=device) for device in ("cpu", "cuda")]
    for k in range(8):
        grad, loss = torch.randn(shape).to(gradient), torch.randn(len(x))
        grad.view(-1)[::5], grad.view(-1)[::7] = float("nan"), 0
        settings = {"eps": eps, "momentum": 0.25 * (k > 0), "since_checkpoint": 3 * (k in (3, 6))}
        apgd_step_(here, x, grad, loss, **settings, tally=tallies[0])
        apgd_step_(there, x.cuda(), grad.cuda(), loss.cuda(), **settings, tally=tallies[1])
    assert torch.equal(*(tally.cpu() for tally in tallies))
    for field in dataclasses.fields(here):
        on_cpu, on_gpu = getattr(here, field.name), getattr(there, field.name).cpu()
        assert torch.equal(on_gpu.nan_to_num(7), on_cpu.nan_to_num(7)), field.name


@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (300, 7), (5, 3, 64, 64), (2, 3, 41, 43)], ids=str)
@pytest.mark.parametrize("state", [torch.float32, torch.float64])
def test_auto_pgd_in_the_l2_ball(shape, state):
    x = torch.rand(shape, dtype=state)
    bounds = {"upper": torch.linspace(0.8, 1, shape[1], dtype=state)}
    here = ApgdState.start(x)
    for k in range(8):
        there = ApgdState(*(getattr(here, field.name).cuda() for field in dataclasses.fields(here)))
        grad, loss = torch.randn(shape, dtype=state), torch.randn(len(x))
        settings = {"eps": 0.5, "momentum": 0.25 * (k > 0), "since_checkpoint": 3 * (k in (3, 6)), "norm": "l2"}
        apgd_step_(here, x, grad, loss, **settings, **bounds)
        apgd_step_(there, x.cuda(), grad.cuda(), loss.cuda(), **settings, **bounds)
        for field in dataclasses.fields(here):
            on_cpu, on_gpu = getattr(here, field.name), getattr(there, field.name).cpu()
            torch.testing.assert_close(on_gpu, on_cpu, rtol=0, atol=4 * torch.finfo(state).eps, equal_nan=True)


BALLS = {
    "l2 step": lambda a, x, g, **more: l2_step_(a, x, g, eps=1.5, step_size=0.5, **more),
    "l1 step": lambda a, x, g, **more: l1_step_(a, x, g, eps=4.0, step_size=1.5, sparsity=0.1, **more),
    "l2 projection": lambda a, x, g, **more: project_(a, x, eps=0.5, norm="l2", **more),
    "l1 projection": lambda a, x, g, **more: project_(a, x, eps=2.0, norm="l1", **more),
}


# a warp, a block, a cluster of eight blocks where there are clusters, and what fits in none
@pytest.mark.parametrize(
    "shape", [(0, 3, 2, 2), (9, 1, 1, 1), (5, 3, 7, 5), (4, 3, 32, 32), (3, 3, 224, 224), (2, 3, 500, 500)]
)
@pytest.mark.parametrize("state", [torch.float32, torch.float64])
@pytest.mark.parametrize("op", BALLS)
def test_steps_in_balls(op, state, shape):
    random = torch.Generator().manual_seed(0)
    x = (torch.rand(shape, generator=random, dtype=state) * 1.5 - 0.25).clamp(0, 1)
    x_adv = (x + 0.1 * torch.randn(shape, generator=random, dtype=state)).clamp(0, 1)
    grad = torch.randn(shape, generator=random)
    bounds = {"lower": torch.tensor([0.0, -0.1, 0.0])[: shape[1]], "upper": torch.tensor([1.0, 1.0, 1.1])[: shape[1]]}
    for gradient in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
        for layout in (torch.contiguous_format, torch.channels_last):
            for more in ({}, bounds):
                a, c, g = (t.to(memory_format=layout) for t in (x_adv, x, grad.to(gradient)))
                got = [BALLS[op](a.cuda(), c.cuda(), g.cuda(), **more) for _ in range(2)]
                assert torch.equal(*got)  # from run to run
                want = BALLS[op](a.clone(), c, g, **more)
                torch.testing.assert_close(got[0].cpu(), want, rtol=0, atol=4 * torch.finfo(state).eps)


@pytest.mark.parametrize("gradient", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("state", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(0, 3, 2, 2), (5, 3, 7, 5), (3, 3, 100, 101)])
def test_a_momentum_step(shape, state, gradient):
    x = torch.rand(shape, dtype=state)
    x_adv, momentum = (x + 0.05 * torch.randn(shape, dtype=state)).clamp(0, 1), torch.randn(shape, dtype=state) / 1e4
    grad, eps, upper = torch.randn(shape).to(gradient), torch.rand(shape[0]) / 9, torch.tensor([1.0, 0.9, 0.8])
    there = [t.cuda() for t in (x_adv, x, grad, momentum)]
    here = [x_adv, x, grad, momentum]
    for tensors in (here, there):
        momentum_step_(*tensors, eps=eps, step_size=0.03, decay=0.9, upper=upper)
    for got, want in zip(there, here, strict=True):
        torch.testing.assert_close(got.cpu(), want, rtol=torch.finfo(state).eps, atol=1e-12)


def test_a_step_in_a_ball_is_recorded_in_a_graph_and_tallies():
    x = torch.rand(4, 3, 224, 224, device="cuda")
    grad = torch.randn_like(x)
    grad[1, 0, :2] = float("nan")
    eps, tally = torch.tensor([1.0, 2.0, 3.0, 4.0], device="cuda"), torch.zeros(4, 4, dtype=torch.int64, device="cuda")
    state = x.clone()
    for op in (l2_step_, l1_step_):
        op(state, x, grad, eps=eps, step_size=0.5)
        recorded = torch.cuda.CUDAGraph()
        with torch.cuda.graph(recorded):
            op(state, x, grad, eps=eps, step_size=0.5, tally=tally)
        state.copy_(x)
        recorded.replay()
        assert torch.equal(state, op(x.clone(), x, grad, eps=eps, step_size=0.5))
    assert tally[:, 3].tolist() == [0, 2 * 2 * 224, 0, 0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("width", [0, 1, 3, 4, 16, 30, 64, 100, 128, 129, 600])
def test_sums_and_dots(width, dtype):
    graph = Graph.from_edge_index(torch.randint(0, 50, (2, 2000)), (60, 50))
    x, a = torch.randn(60, width).to(dtype), torch.randn(50, width).to(dtype)
    weight = torch.randn(2000).to(dtype)
    there = graph.to("cuda")
    tolerance = {torch.float32: 1e-4, torch.float64: 1e-12, torch.bfloat16: 0.1}[dtype]
    for w in (None, weight):
        want = aggregate(x, graph, w)
        got = [aggregate(x.cuda(), there, None if w is None else w.cuda()) for _ in range(2)]
        assert torch.equal(*got)
        torch.testing.assert_close(got[0].cpu(), want, atol=tolerance, rtol=tolerance)
    dots = [sddmm(a.cuda(), x.cuda(), there) for _ in range(2)]
    assert torch.equal(*dots)
    torch.testing.assert_close(dots[0].cpu(), sddmm(a, x, graph), atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("edges", [300, 20_000])  # of which 20,000 cut every row into chunks
@pytest.mark.parametrize("shape", [(1,), (16,), (129,), (3, 8), (2, 5)])
@pytest.mark.parametrize("reduce", ["sum", "mean", "max", "min", "std"])
def test_reductions(reduce, shape, edges):
    graph = Graph.from_edge_index(torch.randint(0, 20, (2, edges)), (30, 24))  # some rows are empty
    x = torch.randint(-9, 10, (30, *shape)).float()  # with ties
    weight = torch.randint(-2, 3, (edges, *shape[:-1])).float()
    there = graph.to("cuda")
    got = [aggregate(x.cuda(), there, weight.cuda(), reduce) for _ in range(2)]
    assert torch.equal(*got)
    torch.testing.assert_close(got[0].cpu(), aggregate(x, graph, weight, reduce), atol=1e-3, rtol=1e-4)
    if reduce in ("max", "min"):
        _, arg = aggregate_arg(x, graph, weight, reduce)
        assert torch.equal(aggregate_arg(x.cuda(), there, weight.cuda(), reduce)[1].cpu(), arg)


LENGTHS = {
    "short": [2, 0, 3, 1] * 500,
    "a hub among short ones": [2, 0, 3] * 200 + [20_000] + [1, 0, 0] * 90,
    "about a share or a chunk": [126, 127, 128, 129, 511, 512, 513, 1100] * 4,
    "none": [0] * 700,
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [(1,), (7,), (64,), (300,), (3, 8)], ids=str)
@pytest.mark.parametrize("lengths", LENGTHS)
def test_rows_by_themselves_and_merged(lengths, shape, dtype):
    lengths, random = torch.tensor(LENGTHS[lengths]), torch.Generator().manual_seed(0)
    edges = int(lengths.sum())
    rowptr = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
    graph = Graph.from_csr(rowptr, torch.randint(50, (edges,), generator=random), 50)

    def run(device, x, weight, reduce, uneven):
        operator = torch.ops.dlbench.aggregate_arg if reduce in ("max", "min") else torch.ops.dlbench.aggregate
        csr = graph.rowptr.to(device), graph.col.to(device), None
        out = operator(x.to(device), *csr, weight.to(device), None, None, None, reduce, True, uneven)
        return [t.cpu() for t in (out if isinstance(out, tuple) else [out])]

    x = torch.randint(-1, 2, (50, *shape), generator=random).to(dtype)
    weight = torch.randint(-1, 2, (edges, *shape[:-1]), generator=random).to(dtype)
    for reduce in ("sum", "mean", "max", "min"):
        want = run("cpu", x, weight, reduce, None)
        for uneven in (False, True, None):  # sums of such integers are exact in any order
            for got, wanted in zip(run("cuda", x, weight, reduce, uneven), want, strict=True):
                assert torch.equal(got, wanted)
    x = torch.randn(50, *shape, generator=random).to(dtype)
    for uneven in (False, True):
        assert torch.equal(*(run("cuda", x, weight, "sum", uneven)[0] for _ in "12"))


def test_a_graph_on_a_gpu_knows_whether_its_rows_are_uneven():
    hub = torch.stack([torch.arange(3000) % 50, torch.full((3000,), 7)])
    ring = torch.stack([torch.arange(50), torch.arange(50).roll(1)])
    for ends, uneven in ((hub, True), (ring, False)):
        moved, made = Graph.from_edge_index(ends, 50).to("cuda"), Graph.from_edge_index(ends.cuda(), 50)
        assert moved._uneven is made._uneven is uneven
    assert moved.transpose._uneven is False
    assert Graph.from_edge_index(hub, 50).to("cuda").transpose._uneven is False  # of the 50 sources each has 60 edges


@pytest.mark.parametrize("shape", [(1,), (33,), (3, 8), (2, 5)])
@pytest.mark.parametrize("reduce", ["max", "min"])
def test_winners_get_the_same_gradients_as_on_the_cpu_and_the_same_bits_again(reduce, shape):
    graph = Graph.from_edge_index(torch.randint(0, 20, (2, 600)), (30, 24))  # some rows are empty, some edges twice
    x, weight = torch.randint(-9, 10, (30, *shape)).float(), torch.randint(-2, 3, (600, *shape[:-1])).float()
    grad = torch.randint(-9, 10, (24, *shape)).float()  # sums of integers are exact in any order

    def gradients(device):
        leaves = [t.detach().to(device).requires_grad_() for t in (x, weight)]
        out = aggregate(leaves[0], graph.to(device), leaves[1], reduce)
        return torch.autograd.grad(out, leaves, grad.to(device))

    first, second = gradients("cuda"), gradients("cuda")
    for got, again, want in zip(first, second, gradients("cpu"), strict=True):
        assert torch.equal(got, again) and torch.equal(got.cpu(), want)


def test_derivatives():
    graph = Graph.from_edge_index(torch.randint(0, 5, (2, 14)), (6, 5)).to("cuda")
    x = torch.randn(6, 3, dtype=torch.float64, device="cuda", requires_grad=True)
    weight = torch.randn(14, dtype=torch.float64, device="cuda", requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, w: aggregate(x, graph, w), (x, weight))
    assert torch.autograd.gradgradcheck(lambda x, w: aggregate(x, graph, w), (x, weight))


def test_it_runs_in_the_current_stream_and_in_a_graph():
    x = torch.rand(10_000, device="cuda")
    state, grad = x.clone(), torch.randn(10_000, device="cuda")
    linf_step_(state, x, grad, eps=0.1, step_size=0.01)
    state.copy_(x)
    recorded = torch.cuda.CUDAGraph()
    with torch.cuda.graph(recorded):
        linf_step_(state, x, grad, eps=0.1, step_size=0.01)
    state.copy_(x)
    recorded.replay()
    want = linf_step_(x.clone(), x, grad, eps=0.1, step_size=0.01)
    assert torch.equal(state, want)
