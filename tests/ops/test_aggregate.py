"""aggregate's sum and sddmm: against dense float64, within the bound of summing in any order; and their derivatives."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from dlbench.ops import Graph, aggregate, reference, sddmm, status

from .made_graphs import edges_of, graphs, random_graph

HALF = {torch.bfloat16: 2**-8, torch.float16: 2**-11}
WIDTHS = [0, 1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 255, 256, 257, 260, 300]


def dense(graph, weight=None):
    source, target = edges_of(graph)
    weight = torch.ones(graph.num_edges, dtype=torch.float64) if weight is None else weight.double()
    matrix = torch.zeros(graph.num_dst, graph.num_src, dtype=torch.float64)
    return matrix.index_put((target, source), weight, accumulate=True)


def assert_within_bound(out, graph, x, weight=None):
    """Each row within (number of terms + 2) roundings of the sum of its terms' sizes, whatever the order of summing."""
    want = dense(graph, weight) @ x.double()
    sizes = dense(graph, None if weight is None else weight.abs()) @ x.double().abs()
    unit = torch.finfo(torch.float64 if x.dtype == torch.float64 else torch.float32).eps
    bound = (graph.in_degree + 2).unsqueeze(1) * unit * sizes + HALF.get(x.dtype, 0) * (want.abs() + 1e-3) + 1e-300
    assert out.dtype == x.dtype and out.shape == want.shape
    assert ((out.double() - want).abs() <= bound).all()


@settings(deadline=None, max_examples=150)
@given(
    graph=graphs(),
    width=st.sampled_from(WIDTHS),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.float16]),
    weighted=st.booleans(),
    seed=st.integers(0, 2**20),
)
def test_any_graph(graph, width, dtype, weighted, seed):
    torch.manual_seed(seed)
    x = torch.randn(graph.num_src, width, dtype=torch.float64).to(dtype)
    weight = torch.randn(graph.num_edges, dtype=torch.float64).to(dtype) if weighted else None
    assert_within_bound(aggregate(x, graph, weight), graph, x, weight)

    a = torch.randn(graph.num_dst, width, dtype=torch.float64).to(dtype)
    source, target = edges_of(graph)
    terms = a.double()[target] * x.double()[source]
    unit = torch.finfo(torch.float64 if dtype == torch.float64 else torch.float32).eps
    bound = (width + 1) * unit * terms.abs().sum(1) + HALF.get(dtype, 0) * (terms.sum(1).abs() + 1e-3)
    dots = sddmm(a, x, graph)
    assert dots.dtype == dtype and dots.shape == (graph.num_edges,)
    assert ((dots.double() - terms.sum(1)).abs() <= bound).all()


@pytest.mark.parametrize("serving", [torch.ops.dlbench, reference], ids=["operator", "reference"])
@pytest.mark.parametrize("index", [torch.int32, torch.int64])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("width", WIDTHS)
def test_widths(width, weighted, index, serving):
    """Through the operators themselves, which take int64 as well, and through the reference."""
    graph = random_graph(400, 23, 31, seed=width)
    x = torch.randn(23, width)
    weight = torch.randn(400) if weighted else None
    csr = [graph.rowptr.to(index), graph.col.to(index), graph.edge_id.to(index)]
    assert_within_bound(serving.aggregate(x, *csr, weight, None, None, None, "sum"), graph, x, weight)
    a = torch.randn(31, width)
    source, target = edges_of(graph)
    want = (a.double()[target] * x.double()[source]).sum(1)
    dots = serving.sddmm(a, x, *csr, None, None, None)
    torch.testing.assert_close(dots.double(), want, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    "graph",
    [
        Graph.from_edge_index(torch.stack([torch.arange(3000) % 50, torch.full((3000,), 7)]), (50, 20)),  # one hub
        Graph.from_edge_index(torch.stack([torch.full((3000,), 7), torch.arange(3000) % 50]), (20, 50)),
        Graph.from_edge_index(torch.zeros(2, 1000, dtype=torch.long)),  # one node, one loop, a thousand times
        Graph.from_csr(torch.tensor([0, 0, 0, 2, 2]), torch.tensor([0, 1])),  # empty rows, first and last
        Graph.from_csr(torch.tensor([0]), torch.tensor([], dtype=torch.long), num_src=5),
        Graph.from_csr(torch.tensor([0, 0, 0]), torch.tensor([], dtype=torch.long), num_src=0),
    ],
    ids=["hub in", "hub out", "loop", "empty rows", "no targets", "no sources"],
)
def test_odd_graphs(graph):
    x = torch.randn(graph.num_src, 33, requires_grad=True)
    weight = torch.randn(graph.num_edges, requires_grad=True)
    out = aggregate(x, graph, weight)
    assert_within_bound(out.detach(), graph, x.detach(), weight.detach())
    out.sum().backward()
    assert x.grad.shape == x.shape and weight.grad.shape == weight.shape
    assert (out[graph.in_degree == 0] == 0).all()


def test_without_weights_whole_numbers_are_exact():
    graph = random_graph(5000, 100, 100)
    x = torch.randint(-100, 100, (100, 40)).float()
    assert torch.equal(aggregate(x, graph).double(), dense(graph) @ x.double())


def test_threads_do_not_change_a_bit():
    graph = random_graph(60_000, 2000, 3000, skew=4)
    x, a, weight = torch.randn(2000, 70), torch.randn(3000, 70), torch.randn(60_000)
    threads = torch.get_num_threads()
    results = []
    try:
        for n in (1, 2, 3, 7):
            torch.set_num_threads(n)
            results.append((aggregate(x, graph), aggregate(x, graph, weight), sddmm(a, x, graph)))
    finally:
        torch.set_num_threads(threads)
    for result in results[1:]:
        assert all(map(torch.equal, result, results[0]))


@pytest.mark.parametrize(
    "view",
    [lambda t: t.T.contiguous().T, lambda t: t.repeat(1, 2)[:, : t.shape[1]], lambda t: t.repeat_interleave(2, 0)[::2]],
    ids=["transposed", "columns", "rows"],
)
def test_views(view):
    graph = random_graph(300, 20, 20)
    x, weight = torch.randn(20, 19), torch.randn(300)
    want = aggregate(x, graph, weight)
    assert torch.equal(aggregate(view(x), graph, weight), want)
    assert torch.equal(aggregate(x, graph, weight.repeat_interleave(2)[::2]), want)
    expanded = torch.randn(1, 19).expand(20, 19)
    assert torch.equal(aggregate(expanded, graph), aggregate(expanded.contiguous(), graph))


def test_specials_reach_their_targets_and_no_others():
    graph = Graph.from_edge_index(torch.tensor([[0, 1, 2, 2], [0, 0, 1, 2]]))
    x = torch.ones(3, 37)
    x[1] = float("nan")
    out = aggregate(x, graph)
    assert out[0].isnan().all() and (out[1:] == 1).all()


def test_weights_come_in_the_callers_order():
    graph = Graph.from_edge_index(torch.tensor([[0, 1, 2], [2, 1, 0]]))
    weight = torch.tensor([2.0, 3.0, 5.0], requires_grad=True)
    x = torch.tensor([[1.0], [10.0], [100.0]])
    out = aggregate(x, graph, weight)
    assert out.flatten().tolist() == [500.0, 30.0, 2.0]
    out.sum().backward()
    assert weight.grad.tolist() == [1.0, 10.0, 100.0]


def test_the_reversed_graph_is_the_adjoint():
    graph = random_graph(500, 40, 30)
    x, y = torch.randn(40, 8, dtype=torch.float64), torch.randn(30, 8, dtype=torch.float64)
    weight = torch.randn(500, dtype=torch.float64)
    forth = (aggregate(x, graph, weight) * y).sum()
    torch.testing.assert_close(forth, (x * aggregate(y, graph.transpose, weight)).sum())
    torch.testing.assert_close(forth, (weight * sddmm(y, x, graph)).sum())


@pytest.mark.parametrize("width", [0, 1, 3])
@pytest.mark.parametrize("transposed", [True, False])
def test_derivatives(width, transposed):
    """Once and twice; with the transpose handed over, as the function does, and without, as others may call it."""
    graph = random_graph(14, 4, 5, seed=3)
    csr = [graph.rowptr, graph.col, graph.edge_id]
    other = graph.transpose
    back = [other.rowptr, other.col, other.edge_id] if transposed else [None] * 3
    x = torch.randn(4, width, dtype=torch.float64, requires_grad=True)
    a = torch.randn(5, width, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(14, dtype=torch.float64, requires_grad=True)

    def weighted(x, weight):
        return torch.ops.dlbench.aggregate(x, *csr, weight, *back, "sum")

    def plain(x):
        return torch.ops.dlbench.aggregate(x, *csr, None, *back, "sum")

    def dots(a, x):
        return torch.ops.dlbench.sddmm(a, x, *csr, *back)

    for function, inputs in ((weighted, (x, weight)), (plain, (x,)), (dots, (a, x))):
        assert torch.autograd.gradcheck(function, inputs)
        assert torch.autograd.gradgradcheck(function, inputs)


def test_the_second_derivative_is_not_nought():
    graph = random_graph(14, 4, 5)
    x = torch.randn(4, 3, requires_grad=True)
    weight = torch.randn(14, requires_grad=True)
    (first,) = torch.autograd.grad(aggregate(x, graph, weight).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad((first**2).sum(), weight)
    assert second.abs().max() > 0


class Seen(TorchDispatchMode):
    """What the sums under it were told of their rows, and of the transpose's."""

    def __init__(self):
        super().__init__()
        self.told = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function is torch.ops.dlbench.aggregate.default:
            self.told.append((*args, *[None] * 12)[10:12])
        return function(*args, **kwargs or {})


def test_what_is_known_of_rows_reaches_the_kernels_of_every_derivative():
    if status().implementation != "native":
        pytest.skip("the reference serves")
    graph = random_graph(14, 4, 5)
    object.__setattr__(graph, "_uneven", True)
    object.__setattr__(graph.transpose, "_uneven", False)
    graph.transpose._vouched(), graph._vouched()  # the extension is told as well
    x = torch.randn(4, 3, requires_grad=True)
    weight, a = torch.randn(14, requires_grad=True), torch.randn(5, 3, requires_grad=True)
    forward, back = (True, False), (False, True)
    for run, told in {
        lambda: aggregate(x, graph).sum(): [forward, back],
        lambda: aggregate(x, graph, weight).sum(): [forward, back],
        lambda: aggregate(x, graph, weight, "std").sum(): [forward] * 3 + [back] * 2,
        lambda: sddmm(a, x, graph).sum(): [forward, back],
    }.items():
        with Seen() as seen:
            run().backward()
        assert seen.told == told
    raw = torch.ops.dlbench.aggregate.default
    with Seen() as seen:  # of a transpose that is made on the way nobody knows
        raw(x, *graph.csr, None, None, None, None, "sum", True, True).sum().backward()
    assert seen.told == [(True, None), (None, True)]


def test_only_wanted_derivatives_are_computed():
    graph = random_graph(14, 4, 5)
    x, weight = torch.randn(4, 3), torch.randn(14, requires_grad=True)
    aggregate(x, graph, weight).sum().backward()
    assert weight.grad is not None and "transpose" not in graph._kept
    with torch.no_grad():
        aggregate(x.requires_grad_(), graph)
    assert "transpose" not in graph._kept
    aggregate(x, graph).sum().backward()
    assert x.grad is not None and "transpose" in graph._kept


def test_weights_more_precise_than_features():
    """Half features with float32 weights: the weights' gradient keeps their precision."""
    graph = random_graph(200, 20, 20)
    x = torch.randn(20, 64).bfloat16()
    weight = torch.rand(200, requires_grad=True)
    out = aggregate(x, graph, weight)
    assert out.dtype == torch.bfloat16
    out.float().sum().backward()
    source, _ = edges_of(graph)
    torch.testing.assert_close(weight.grad, x.float()[source].sum(1), rtol=1e-5, atol=1e-4)


def test_refusals_say_what_was_given():
    graph = Graph.from_edge_index(torch.tensor([[0, 1], [1, 2]]))
    x = torch.zeros(3, 4)
    for arguments, error, says in [
        ((x, None), TypeError, "graph is a NoneType"),
        ((x.long(), graph), TypeError, "x is torch.int64"),
        ((x[:2], graph), ValueError, r"x has shape \[2, 4\]; for this graph it must be \[3, features\] or"),
        ((x[0], graph), ValueError, r"x has shape \[4\]"),
        ((x.to("meta"), graph), ValueError, "x is on meta but the graph is on cpu"),
        ((x, graph, torch.zeros(3)), ValueError, r"weight has shape \[3\]; for this graph it must be \[2\]"),
        ((x, graph, torch.zeros(2, dtype=torch.int64)), TypeError, "weight is torch.int64"),
        ((x, graph, torch.zeros(2, 4)), ValueError, r"weight has shape \[2, 4\]; for this graph it must be \[2\]"),
        ((x.unsqueeze(1), graph, torch.zeros(2, 4)), ValueError, r"it must be \[2\] or \[2, 1\]"),
        ((x, graph, None, "median"), ValueError, "reduce='median' is unknown; give one of 'sum', 'mean'"),
    ]:
        with pytest.raises(error, match=says):
            aggregate(*arguments)
    with pytest.raises(ValueError, match="as many features"):
        sddmm(x, x[:, :2], graph)


def test_the_raw_operator_reads_nothing_outside():
    if status().implementation != "native":
        pytest.skip("the reference serves")
    x, good = torch.zeros(3, 4), (torch.tensor([0, 1, 2]), torch.tensor([0, 2]), None)
    weight = torch.ones(2)
    for (rowptr, col, edge_id), error, says in [
        ((good[0], torch.tensor([0, 3]), None), IndexError, r"col 3 at position 1 is outside of \[0, 3\)"),
        ((good[0], torch.tensor([-1, 0]), None), IndexError, "col -1 at position 0"),
        ((*good[:2], torch.tensor([0, 2])), IndexError, "edge_id 2 at position 1"),
        ((torch.tensor([0, 3, 2]), good[1], None), ValueError, "rowptr must rise from 0 to the number of edges, 2"),
        ((torch.tensor([0, 1, 3]), good[1], None), ValueError, "rowptr must rise"),
        ((torch.tensor([1, 1, 2]), good[1], None), ValueError, "rowptr must rise"),
        ((torch.tensor([], dtype=torch.long), good[1], None), ValueError, "rowptr must have shape"),
        ((good[0].int(), good[1], None), TypeError, "col is Long but rowptr is Int"),
        ((good[0].float(), good[1], None), TypeError, "rowptr must be int32 or int64"),
        ((*good[:2], torch.tensor([0])), ValueError, "edge_id must have shape"),
    ]:
        with pytest.raises(error, match=says):
            torch.ops.dlbench.aggregate(x, rowptr, col, edge_id, weight, None, None, None, "sum")
        with pytest.raises(error, match=says):
            torch.ops.dlbench.sddmm(x[:2], x, rowptr, col, edge_id, None, None, None)
    with pytest.raises(ValueError, match="weight must have shape"):
        torch.ops.dlbench.aggregate(x, *good, torch.ones(3), None, None, None, "sum")
    with pytest.raises(ValueError, match="reduce must be 'sum', 'mean'"):
        torch.ops.dlbench.aggregate(x, *good, None, None, None, None, "median")
    with pytest.raises(ValueError, match="'sum' has no winners"):
        torch.ops.dlbench.aggregate_arg(x, *good, None, None, None, None, "sum")
    for position in (torch.full((2, 4), 2), torch.full((2, 4), -1)):
        with pytest.raises(IndexError, match="position"):
            torch.ops.dlbench.scatter_winners(x[:2], position, *good, None, None, None, None, 3)
        with pytest.raises(IndexError, match="position"):
            torch.ops.dlbench.winner_dots(x[:2], x, position, *good, False)
    with pytest.raises(ValueError, match="a must have a row for each"):
        torch.ops.dlbench.sddmm(x, x, *good, None, None, None)
