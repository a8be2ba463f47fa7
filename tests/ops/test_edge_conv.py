"""edge_conv: against a tensor with a value for every edge."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import leaky_relu

from dlbench.ops import Graph, edge_conv, knn_graph

from .made_graphs import ODD, edges_of, graphs, random_graph, with_threads


def by_edges(u, v, graph, negative_slope=None):
    """A value for every edge; differentiable by torch."""
    source, target = edges_of(graph)
    values = u[target] + v[source]
    if negative_slope is not None:
        values = leaky_relu(values, negative_slope)
    empty = values.new_zeros(graph.num_dst, u.shape[1])
    return empty.scatter_reduce(0, target[:, None].expand_as(values), values, "amax", include_self=False)


@settings(max_examples=60)
@given(
    graph=graphs(),
    width=st.sampled_from([0, 1, 3, 16, 17, 65]),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.float16]),
    slope=st.sampled_from([None, 0.0, 0.2, 1.5]),
    seed=st.integers(0, 999),
)
def test_any_graph(graph, width, dtype, slope, seed):
    torch.manual_seed(seed)
    u, v = torch.randn(graph.num_dst, width).to(dtype), torch.randn(graph.num_src, width).to(dtype)
    out = edge_conv(u, v, graph, slope)
    assert out.dtype == dtype
    assert torch.equal(out, by_edges(u, v, graph, slope))  # rounding does not fall either


@pytest.mark.parametrize("slope", [None, 0.2])
def test_derivatives(slope):
    graph = random_graph(60, 9, 12)
    u = torch.randn(12, 5, dtype=torch.float64, requires_grad=True)
    v = torch.randn(9, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda u, v: edge_conv(u, v, graph, slope), (u, v))
    grad = torch.randn(12, 5, dtype=torch.float64)
    got = torch.autograd.grad(edge_conv(u, v, graph, slope), (u, v), grad)
    torch.testing.assert_close(got, torch.autograd.grad(by_edges(u, v, graph, slope), (u, v), grad))


def test_of_equals_the_smallest_edge_number_gets_the_derivative():
    graph = Graph.from_edge_index(torch.tensor([[2, 0, 1], [0, 0, 0]]), (3, 1))
    v = torch.zeros(3, 1, requires_grad=True)
    edge_conv(torch.ones(1, 1), v, graph).sum().backward()
    assert v.grad.flatten().tolist() == [0.0, 0.0, 1.0]


@pytest.mark.parametrize("name", ODD)
def test_odd_graphs(name):
    graph = ODD[name]
    u, v = torch.randn(graph.num_dst, 5, requires_grad=True), torch.randn(graph.num_src, 5, requires_grad=True)
    out = edge_conv(u, v, graph, 0.2)
    assert torch.equal(out, by_edges(u, v, graph, 0.2))
    assert (out[graph.in_degree == 0] == 0).all()
    out.sum().backward()
    assert (u.grad[graph.in_degree == 0] == 0).all() and v.grad.isfinite().all()


def test_threads_do_not_change_a_bit():
    graph = knn_graph(torch.randn(2000, 3), 20)
    u, v = torch.randn(2000, 32, requires_grad=True), torch.randn(2000, 32, requires_grad=True)

    def everything():
        out = edge_conv(u, v, graph, 0.2)
        return out, *torch.autograd.grad(out.pow(2).sum(), (u, v))

    first, *others = with_threads(everything)
    for other in others:
        assert all(map(torch.equal, other, first))


def test_refusals_say_what_was_given():
    graph = Graph.from_edge_index(torch.tensor([[0, 1], [1, 2]]))
    u = torch.zeros(3, 4)
    for arguments, error, says in [
        ((u, u, None), TypeError, "graph is a NoneType"),
        ((u[:2], u, graph), ValueError, r"u has shape \[2, 4\]; .* must be \[3, features\]"),
        ((u, u[:, :2], graph), ValueError, r"v has shape \[3, 2\]; .* must be \[3, 4\]"),
        ((u, u.double(), graph), TypeError, "u is torch.float32 but v is torch.float64"),
        ((u, u, graph, -0.1), ValueError, "negative_slope=-0.1 makes a function that falls"),
        ((u, u, graph, float("nan")), ValueError, "negative_slope=nan"),
    ]:
        with pytest.raises(error, match=says):
            edge_conv(*arguments)
