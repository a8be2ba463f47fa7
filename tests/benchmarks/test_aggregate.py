"""Reductions over neighbours beside what torch offers for the same, run in turns with it.

pytest tests/benchmarks/test_aggregate.py -m benchmark --benchmark-enable --benchmark-columns=median,rounds

"times" in extra_info is a rival's median over ours; turns.py says what else is told. The rivals are torch's product of
a sparse matrix, with and without a reduction, and messages that are gathered and scattered, as PyTorch Geometric does
it, as they are and compiled. All make fresh outputs.
"""

from __future__ import annotations

import itertools

import pytest
import torch

from dlbench.nn import GCNConv, gcn_norm
from dlbench.ops import Graph, aggregate

from .graphs import SHAPES, TINY, power_law
from .turns import in_turns

pytestmark = [
    pytest.mark.benchmark,
    pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta"),
    pytest.mark.filterwarnings("ignore:Sparse invariant checks are implicitly disabled"),
    pytest.mark.filterwarnings("ignore:scatter_reduce:UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # torch.compile warns of its own parts
]

WIDTHS = [16, 64, 128, 256]
GATHERED = 80_000_000  # elements of messages above which they say nothing new


class Rivals:
    """The same reduction of the same features in torch's ways."""

    def __init__(self, graph, width, reduce="sum"):
        # In the order of rows, as torch's CSR has its entries: so the graph is numbered as well.
        self.graph = Graph.from_csr(graph.rowptr, graph.col, num_src=graph.num_src)
        self.x = torch.randn(graph.num_src, width)
        self.weight = torch.rand(graph.num_edges)
        self.reduce = reduce
        self.source, self.target = self.graph.edge_index
        size = (graph.num_dst, graph.num_src)
        self.matrix = torch.sparse_csr_tensor(
            graph.rowptr.long(), self.source, self.weight, size, check_invariants=False
        )
        self.graph.transpose  # noqa: B018  made before the clock starts, as torch's matrix was

    def ours(self):
        return aggregate(self.x, self.graph, self.weight, self.reduce)

    def sparse(self):
        return torch.sparse.mm(self.matrix, self.x)

    def sparse_reduce(self):
        name = {"max": "amax", "min": "amin"}.get(self.reduce, self.reduce)
        return torch.sparse.mm(self.matrix, self.x, reduce=name)

    def gather(self):
        messages = self.x.index_select(0, self.source) * self.weight.unsqueeze(1)
        out = self.x.new_zeros(self.graph.num_dst, self.x.shape[1])
        if self.reduce == "sum":
            return out.index_add(0, self.target, messages)
        name = {"max": "amax", "min": "amin"}.get(self.reduce, self.reduce)
        index = self.target.unsqueeze(1).expand_as(messages)
        return out.scatter_reduce(0, index, messages, name, include_self=False)

    def all(self, wrap=lambda function: function):
        rivals = {"sparse.mm": self.sparse} if self.reduce == "sum" else {}
        rivals["sparse.mm reduce"] = self.sparse_reduce
        if self.source.numel() * self.x.shape[1] <= GATHERED:
            rivals["gather, scatter"] = self.gather
            rivals["gather, scatter, compiled"] = torch.compile(self.gather)
        want = self.ours()
        for name, rival in rivals.items():
            torch.testing.assert_close(rival(), want, atol=1e-3, rtol=1e-4, msg=lambda m, name=name: f"{name}: {m}")
        return {name: wrap(rival) for name, rival in rivals.items()}

    def backwards(self, function):
        def run():
            self.x.grad = None
            function().sum().backward()

        return run


def rounds(graph):
    """How many, and whether each side runs once before it is timed, as what takes microseconds must."""
    large = graph.num_edges > 1_000_000
    return {"rounds": 5 if large else 60, "primed": not large}


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("reduce", ["sum", "mean", "max"])
def test_forth(benchmark, reduce, name, width):
    rivals = Rivals(SHAPES[name](), width, reduce)
    edges = rivals.graph.num_edges
    least = 4 * (2 * rivals.x.numel() + 2 * edges)  # bytes with a perfect cache
    most = 4 * (edges * width + rivals.x.numel() + 2 * edges)  # and without any
    in_turns(
        benchmark, rivals.ours, rivals.all(), **rounds(rivals.graph), graph=name, width=width, reduce=reduce,
        edges=edges, least_mb=round(least / 1e6, 2), most_mb=round(most / 1e6, 2),
    )  # fmt: skip


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("reduce", ["sum", "max"])
def test_forth_and_back(benchmark, reduce, name, width):
    rivals = Rivals(SHAPES[name](), width, reduce)
    others = rivals.all(rivals.backwards)
    rivals.x.requires_grad_()
    ours = rivals.backwards(rivals.ours)
    in_turns(benchmark, ours, others, **rounds(rivals.graph), graph=name, width=width, reduce=reduce)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", SHAPES)
def test_max_with_its_winners(benchmark, name, width):
    """Forward alone, where the gradient will be wanted: both sides keep who won."""
    rivals = Rivals(SHAPES[name](), width, "max")
    others = {"sparse.mm reduce": rivals.sparse_reduce}
    rivals.x.requires_grad_()
    in_turns(benchmark, rivals.ours, others, **rounds(rivals.graph), graph=name, width=width, reduce="max")


@pytest.mark.parametrize("width", [16, 64])
@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("direction", ["forth", "forth and back"])
@pytest.mark.parametrize("reduce", ["sum", "mean", "max"])
def test_tiny(benchmark, reduce, direction, name, width):
    rivals = Rivals(TINY[name](), width, reduce)
    wrap = rivals.backwards if direction == "forth and back" else lambda function: function
    others = rivals.all(wrap)
    rivals.x.requires_grad_(direction == "forth and back")
    in_turns(
        benchmark, wrap(rivals.ours), others, 300, primed=True, graph=name, width=width, reduce=reduce,
        edges=rivals.graph.num_edges,
    )  # fmt: skip


class Epochs:
    """A training epoch of a two-layer graph convolutional network, in our hands and in PyG's, with the same weights.

    The normalised adjacency is made before the clock starts on all sides. PyG gathers and scatters where it is given a
    list of edges, and multiplies by torch's sparse matrix where it is given that.
    """

    SIZES = (128, 128, 40)  # ogbn-arxiv's features and classes

    def __init__(self):
        graph = power_law(169_343, 1_166_243)
        source, target = graph.edge_index
        self.index = torch.stack([source, target])[:, source != target]
        nodes = graph.num_dst
        self.graph, self.norm = gcn_norm(Graph.from_edge_index(self.index, nodes))
        self.graph.transpose  # noqa: B018
        self.x, self.y = torch.randn(nodes, self.SIZES[0]), torch.randint(0, self.SIZES[-1], (nodes,))

    def ours(self):
        torch.manual_seed(0)
        layers = torch.nn.ModuleList(GCNConv(*sizes) for sizes in itertools.pairwise(self.SIZES))
        return layers, lambda layer, x: layer(x, self.graph, self.norm)

    def rival(self, given):
        conv = pytest.importorskip("torch_geometric.nn").GCNConv
        layers = torch.nn.ModuleList(conv(*sizes, cached=True) for sizes in itertools.pairwise(self.SIZES))
        for layer, mine in zip(layers, self.ours()[0], strict=True):
            layer.lin.weight.data.copy_(mine.weight.T)
        return layers, lambda layer, x: layer(x, given)

    def adjacency(self):
        size = (len(self.x), len(self.x))
        ones = torch.ones(self.index.shape[1])
        return torch.sparse_coo_tensor(self.index.flip(0), ones, size, check_invariants=False).to_sparse_csr()

    def epoch(self, layers, apply):
        optimizer = torch.optim.Adam(layers.parameters())

        def run():
            optimizer.zero_grad()
            out = apply(layers[1], apply(layers[0], self.x).relu())
            torch.nn.functional.cross_entropy(out, self.y).backward()
            optimizer.step()
            return out

        return run


@pytest.mark.parametrize("given", ["edges", "matrix"])
def test_a_training_epoch(benchmark, given):
    epochs = Epochs()
    ours = epochs.epoch(*epochs.ours())
    rival = epochs.epoch(*epochs.rival(epochs.index if given == "edges" else epochs.adjacency()))
    torch.testing.assert_close(rival(), ours(), atol=1e-4, rtol=1e-3)
    in_turns(benchmark, ours, {f"PyG, {given}": rival}, rounds=3, warmup=1, graph="ogbn-arxiv's shape", width=128)


def test_a_graph_is_made(benchmark):
    graph = power_law(169_343, 1_166_243)
    index = graph.edge_index[:, torch.randperm(graph.num_edges, generator=torch.Generator().manual_seed(1))]
    benchmark.pedantic(lambda: Graph.from_edge_index(index, graph.num_dst).transpose, rounds=5, warmup_rounds=1)
