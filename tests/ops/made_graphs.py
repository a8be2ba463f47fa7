"""Graphs for the tests of operators on edges, and what their edges are in the caller's order."""

from __future__ import annotations

import torch
from hypothesis import strategies as st

from dlbench.ops import Graph


def edges_of(graph):
    """Source and target of every edge in the caller's order."""
    target = torch.repeat_interleave(torch.arange(graph.num_dst), graph.in_degree)
    number = torch.arange(graph.num_edges) if graph.edge_id is None else graph.edge_id.long()
    order = torch.empty_like(number)
    order[number] = torch.arange(graph.num_edges)
    return graph.col.long()[order], target[order]


def random_graph(edges, num_src, num_dst, seed=0, skew=1):
    random = torch.Generator().manual_seed(seed)

    def nodes(n):
        return (torch.rand(edges, generator=random) ** skew * n).long().clamp(max=n - 1)

    return Graph.from_edge_index(torch.stack([nodes(num_src), nodes(num_dst)]), (num_src, num_dst))


@st.composite
def graphs(draw):
    num_src, num_dst = draw(st.integers(0, 9)), draw(st.integers(0, 9))
    ends = st.tuples(st.integers(0, max(num_src - 1, 0)), st.integers(0, max(num_dst - 1, 0)))
    edges = draw(st.lists(ends, max_size=40)) if num_src and num_dst else []
    index = draw(st.sampled_from([torch.int32, torch.int64]))
    return Graph.from_edge_index(torch.tensor(edges, dtype=index).reshape(-1, 2).T, (num_src, num_dst))


HUB = Graph.from_edge_index(torch.stack([torch.arange(3000) % 50, torch.full((3000,), 7)]), (50, 20))
ODD = {
    "hub in": HUB,
    "hub out": Graph.from_edge_index(torch.stack([torch.full((3000,), 7), torch.arange(3000) % 50]), (20, 50)),
    "loop": Graph.from_edge_index(torch.zeros(2, 1000, dtype=torch.long)),
    "empty rows": Graph.from_csr(torch.tensor([0, 0, 0, 2, 2]), torch.tensor([0, 1])),
    "no targets": Graph.from_csr(torch.tensor([0]), torch.tensor([], dtype=torch.long), num_src=5),
    "no sources": Graph.from_csr(torch.tensor([0, 0, 0]), torch.tensor([], dtype=torch.long), num_src=0),
}


def with_threads(function, counts=(1, 2, 4)):
    """What the function gives with each number of threads."""
    before = torch.get_num_threads()
    try:
        results = []
        for count in counts:
            torch.set_num_threads(count)
            results.append(function())
        return results
    finally:
        torch.set_num_threads(before)
