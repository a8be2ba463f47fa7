"""The operators beside what torch offers for the same, their rivals run in turns with them.

pytest tests/benchmarks/test_ops.py -m benchmark --benchmark-enable --benchmark-columns=median,rounds

Each test times our operator; before every round each rival runs once, so that all meet the same machine. "times" in
extra_info is a rival's median over ours. A large fresh output costs page faults unless the heap is kept warm, so the
regime is told too; MALLOC_MMAP_THRESHOLD_ and MALLOC_TRIM_THRESHOLD_ of 4294967296 in the environment make it warm.
"""

from __future__ import annotations

import os
import statistics
import time

import pytest
import torch

from dlbench.ops import Graph, aggregate, linf_step_, status

pytestmark = pytest.mark.benchmark

HEAP = "warm heap" if "MALLOC_MMAP_THRESHOLD_" in os.environ else "default heap"


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


@pytest.mark.parametrize("shape", [(128, 3, 32, 32), (64, 3, 224, 224)], ids=lambda shape: "x".join(map(str, shape)))
def test_step(benchmark, shape):
    x = torch.rand(shape)
    x_adv, grad, sums = x.clone(), torch.randn(shape), torch.empty(shape)

    def eager():
        out = x_adv + 2 / 255 * grad.sign()
        return torch.clamp(x + torch.clamp(out - x, -8 / 255, 8 / 255), 0, 1)

    def plain_pass():  # three tensors read, one written
        return torch.addcmul(x, x_adv, grad, out=sums)

    def ours():
        return linf_step_(x_adv, x, grad, eps=8 / 255, step_size=2 / 255)

    torch.testing.assert_close(eager(), ours(), atol=1e-6, rtol=0)
    in_turns(benchmark, ours, {"eager": eager, "plain pass": plain_pass}, rounds=60, shape=list(shape))


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
