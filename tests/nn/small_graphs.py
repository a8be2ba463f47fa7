"""Graphs for the tests of layers, and their dense matrices."""

from __future__ import annotations

import torch

from dlbench.ops import Graph

F64 = torch.float64


def undirected(nodes: int, links: int, seed: int = 0) -> Graph:
    """Every edge in both directions, in mixed order; the last two nodes have none."""
    random = torch.Generator().manual_seed(seed)
    ends = torch.randint(0, max(nodes - 2, 1), (2, links), generator=random)
    ends = ends[:, ends[0] < ends[1]].unique(dim=1)
    ends = torch.cat([ends, ends.flip(0)], dim=1)
    return Graph.from_edge_index(ends[:, torch.randperm(ends.shape[1], generator=random)], nodes)


def directed(nodes: int, edges: int, seed: int = 0) -> Graph:
    """Duplicates and self loops among its edges; the last two nodes have none."""
    random = torch.Generator().manual_seed(seed)
    return Graph.from_edge_index(torch.randint(0, nodes - 2, (2, edges), generator=random), nodes)


def dense(graph: Graph, weight: torch.Tensor | None = None) -> torch.Tensor:
    """The matrix A[target, source] of the edges' weights, or of their numbers."""
    weight = torch.ones(graph.num_edges, dtype=F64) if weight is None else weight
    source, target = graph.edge_index
    return torch.zeros(graph.num_dst, graph.num_src, dtype=F64).index_put((target, source), weight, accumulate=True)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    """Standard normal float64."""
    return torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


def shaken(layer: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """The layer in float64, none of its parameters where it started: biases of 0 hide what they do."""
    random = torch.Generator().manual_seed(seed)
    layer = layer.double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(torch.randn(parameter.shape, dtype=F64, generator=random), alpha=0.3)
    return layer


def assert_same(ours: torch.Tensor, theirs: torch.Tensor, leaves: list, their_leaves: list | None = None) -> None:
    """Values and gradients agree, the latter in leaves of one and the other."""
    torch.testing.assert_close(ours, theirs, atol=1e-10, rtol=1e-9)
    upstream = normal(*ours.shape, seed=99)
    pairs = zip(
        torch.autograd.grad(ours, leaves, upstream),
        torch.autograd.grad(theirs, leaves if their_leaves is None else their_leaves, upstream),
        strict=True,
    )
    for one, other in pairs:
        torch.testing.assert_close(one, other.reshape(one.shape), atol=1e-10, rtol=1e-9)
