"""The operators beside what torch offers for the same, their rivals run in turns with them.

pytest tests/benchmarks/test_ops.py -m benchmark --benchmark-enable --benchmark-columns=median,rounds

"times" in extra_info is a rival's median over ours; turns.py says what else is told.
"""

from __future__ import annotations

import pytest
import torch

from dlbench.ops import Graph, aggregate

from .turns import in_turns

pytestmark = pytest.mark.benchmark


def power_law(nodes, edges, seed=0):
    """A few nodes with many edges, numbered in no order."""
    random = torch.Generator().manual_seed(seed)
    place = torch.randperm(nodes, generator=random)
    ends = (torch.rand(2, edges, generator=random) ** 3 * nodes).long().clamp(max=nodes - 1)
    return Graph.from_edge_index(place[ends], nodes)


GRAPHS = {
    "Cora's shape": lambda: Graph.from_edge_index(torch.randint(0, 2708, (2, 13_264)), 2708),
    "ogbn-arxiv's shape": lambda: power_law(169_343, 1_166_243),
}


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")
@pytest.mark.parametrize("direction", ["forth", "forth and back"])
@pytest.mark.parametrize("width", [16, 64, 128, 256])
@pytest.mark.parametrize("name", GRAPHS)
def test_weighted_sum(benchmark, name, width, direction):
    graph = GRAPHS[name]()
    large = graph.num_edges > 100_000
    target = torch.repeat_interleave(torch.arange(graph.num_dst), graph.in_degree)
    source = graph.col.long()
    csr_weight = torch.rand(graph.num_edges)  # in the order of rows, as torch's CSR has it
    graph = Graph(graph.rowptr, graph.col, graph.num_src)
    size = (graph.num_dst, graph.num_src)
    matrix = torch.sparse_csr_tensor(graph.rowptr.long(), source, csr_weight, size, check_invariants=False)
    x = torch.randn(graph.num_src, width, requires_grad=direction != "forth")
    graph.transpose  # noqa: B018  made before the clock starts, as torch's matrix was

    def timed(function):
        def run():
            if direction == "forth":
                return function()
            x.grad = None
            return function().sum().backward()

        return run

    def gather():
        return x.new_zeros(graph.num_dst, width).index_add(0, target, x[source] * csr_weight.unsqueeze(1))

    ours = timed(lambda: aggregate(x, graph, csr_weight))
    rivals = {"sparse.mm": timed(lambda: torch.sparse.mm(matrix, x))}
    if not (large and width > 64):  # messages of gigabytes say nothing new
        rivals["gather, index_add_"] = timed(gather)
    with torch.no_grad():
        torch.testing.assert_close(aggregate(x, graph, csr_weight), matrix @ x, atol=1e-3, rtol=1e-4)
    in_turns(benchmark, ours, rivals, rounds=5 if large else 40, graph=name, width=width, edges=graph.num_edges)


def test_a_graph_is_made(benchmark):
    graph = power_law(169_343, 1_166_243)
    index = torch.stack([graph.col.long(), torch.repeat_interleave(torch.arange(graph.num_dst), graph.in_degree)])
    index = index[:, torch.randperm(graph.num_edges, generator=torch.Generator().manual_seed(1))]
    benchmark.pedantic(lambda: Graph.from_edge_index(index, graph.num_dst).transpose, rounds=5, warmup_rounds=1)
