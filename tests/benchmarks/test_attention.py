"""Attention over edges and searches for neighbours beside what others offer for the same, run in turns.

pytest tests/benchmarks/test_attention.py -m benchmark --benchmark-enable --benchmark-columns=median,rounds

"times" in extra_info is a rival's median over ours. What one step takes beyond what was there before is measured in a
process of its own, twice: "peak_mb" of memory, in whole pages and less what the heap had free; "tensors_mb" of tensors
alive at one time, by torch's profiler. "times peak" and "times tensors" are a rival's over ours.
"""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import accumulate
from pathlib import Path

import pytest
import torch
from scipy.spatial import cKDTree

from dlbench.ops import Graph, gat_attend, knn_graph

pytestmark = [pytest.mark.benchmark, pytest.mark.filterwarnings("ignore")]  # what PyG is warned of

GRAPHS = {"Cora's shape": (2708, 13_264, 1), "ogbn-arxiv's shape": (169_343, 1_166_243, 3)}
INPUTS = 64


class Layer:
    """A graph attention layer's step, forth and back, in several hands with the same weights."""

    def __init__(self, graph, heads, features):
        nodes, edges, skew = GRAPHS[graph]
        random = torch.Generator().manual_seed(0)
        place = torch.randperm(nodes, generator=random)
        ends = (torch.rand(2, edges, generator=random) ** skew * nodes).long().clamp(max=nodes - 1)
        self.index, self.size = place[ends], (nodes, heads, features)
        self.x = torch.randn(nodes, INPUTS, generator=random, requires_grad=True)
        self.weight = (torch.randn(heads * features, INPUTS, generator=random) / INPUTS**0.5).requires_grad_()
        self.src, self.dst = (
            (torch.randn(heads, features, generator=random) / features**0.5).requires_grad_() for _ in "12"
        )
        self.graph = Graph.from_edge_index(self.index, nodes)
        self.graph.transpose  # noqa: B018  made before the clock starts
        self.rivals = {"scatter": self.by_scatter}
        try:
            from torch_geometric.nn import GATConv
        except ImportError:
            return
        conv = GATConv(INPUTS, features, heads, add_self_loops=False, bias=False)
        conv.lin.weight, conv.att_src, conv.att_dst = map(
            torch.nn.Parameter, (self.weight.detach(), self.src.detach()[None], self.dst.detach()[None])
        )
        self.rivals["GATConv"] = lambda: conv(self.x, self.index).view(self.size)

    def hidden(self):
        x = (self.x @ self.weight.T).view(self.size)
        return x, (x * self.src).sum(2), (x * self.dst).sum(2)

    def ours(self):
        return gat_attend((self.x @ self.weight.T).view(self.size), self.src, self.dst, self.graph)

    def by_scatter(self):
        x, src, dst = self.hidden()
        source, target = self.index
        score = torch.nn.functional.leaky_relu(src[source] + dst[target], 0.2)
        wide = target[:, None].expand_as(score)
        largest = score.detach().new_full(dst.shape, -torch.inf).scatter_reduce(0, wide, score.detach(), "amax")
        weight = (score - largest[target]).exp()
        total = torch.zeros_like(dst).scatter_add(0, wide, weight)
        messages = (weight / total[target]).unsqueeze(2) * x[source]
        return x.new_zeros(self.size).index_add(0, target, messages)

    def step(self, function):
        def run():
            self.x.grad = None
            function().sum().backward()

        return run


def peaks_mb(*arguments):
    done = subprocess.run(
        [sys.executable, __file__, *map(str, arguments)], capture_output=True, text=True, check=True, env=os.environ
    )
    return [float(number) for number in done.stdout.split()[-2:]]


@pytest.mark.parametrize(("heads", "features"), [(8, 8), (1, 64), (4, 64)])
@pytest.mark.parametrize("graph", GRAPHS)
def test_attention_layer(benchmark, graph, heads, features):
    from .turns import in_turns

    layer = Layer(graph, heads, features)
    for rival in layer.rivals.values():
        torch.testing.assert_close(rival(), layer.ours(), atol=1e-4, rtol=1e-4)
    peaks = {name: peaks_mb(graph, heads, features, name) for name in ("ours", *layer.rivals)}
    info = {}
    for i, kind in enumerate(("peak", "tensors")):
        info[f"{kind}_mb"] = round(peaks["ours"][i], 1)
        info |= {f"times {kind} {name}": round(peaks[name][i] / peaks["ours"][i], 2) for name in layer.rivals}
    rivals = {name: layer.step(function) for name, function in layer.rivals.items()}
    small = layer.graph.num_edges < 100_000
    info |= {"graph": graph, "heads": heads, "width": features}
    in_turns(benchmark, layer.step(layer.ours), rivals, rounds=40 if small else 5, primed=small, **info)


@pytest.mark.parametrize(("clouds", "points", "dimensions"), [(32, 1024, 3), (8, 1024, 64), (1, 20_000, 3)])
def test_neighbours(benchmark, clouds, points, dimensions, k=20):
    from .turns import in_turns

    pos, rowptr = torch.randn(clouds * points, dimensions), torch.arange(clouds + 1) * points
    batch = pos.view(clouds, points, dimensions)
    rivals = {}
    if clouds > 1:
        rivals["cdist, topk"] = lambda: torch.cdist(batch, batch).topk(k + 1, largest=False)
    if dimensions <= 3:
        workers = torch.get_num_threads()
        rivals["cKDTree"] = lambda: [cKDTree(cloud).query(cloud, k + 1, workers=workers) for cloud in batch.numpy()]
    ours = {"clouds": clouds, "points": points, "width": dimensions, "k": k}
    in_turns(benchmark, lambda: knn_graph(pos, k, rowptr), rivals, rounds=5, **ours)


def resident(field):
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise LookupError(field)


def most_alive(step):
    """Of tensors that a step makes, the most MiB that are alive at one time."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profiled:
        step()
    events = [e for e in profiled.profiler.kineto_results.events() if e.name() == "[memory]"]
    changes = [e.nbytes() for e in sorted(events, key=lambda e: e.start_ns())]
    return max(accumulate(changes)) / 2**20


if __name__ == "__main__":
    _, graph, heads, features, name = sys.argv
    layers = [Layer(shape, int(heads), int(features)) for shape in ("Cora's shape", graph)]
    steps = [layer.step(layer.ours if name == "ours" else layer.rivals[name]) for layer in layers]
    steps[0]()  # threads and libraries are there from then on
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    steps[1]()
    print(resident("VmHWM") - before, most_alive(steps[1]))
