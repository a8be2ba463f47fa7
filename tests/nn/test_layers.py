"""What every layer on graphs keeps: names of nodes and order of edges say nothing, and a batch is its graphs."""

import pytest
import torch

from dlbench import nn
from dlbench.ops import Graph

from .small_graphs import normal, shaken, undirected

NODES, FEATURES, EDGE_FEATURES = 14, 5, 3


def normed(layer, x, graph, edges):
    return layer(x, *nn.gcn_norm(graph, edges.dtype))


def plain(layer, x, graph, edges):
    return layer(x, graph)


def with_edges(layer, x, graph, edges):
    return layer(x, graph, edges)


def weighted(layer, x, graph, edges):
    return layer(x, graph, edges[:, 0])


def mlp():
    return torch.nn.Sequential(torch.nn.Linear(FEATURES, 6), torch.nn.Tanh(), torch.nn.Linear(6, 4))


def edge_net():
    return torch.nn.Sequential(torch.nn.Linear(EDGE_FEATURES, 6), torch.nn.Tanh())


LAYERS = {
    "GCN": (lambda: nn.GCNConv(FEATURES, 4), normed),
    "SAGE": (lambda: nn.SAGEConv(FEATURES, 4), weighted),
    "SAGE, max": (lambda: nn.SAGEConv(FEATURES, 4, "max"), plain),
    "GIN": (lambda: nn.GINConv(mlp(), learn_eps=True), weighted),
    "GAT": (lambda: nn.GATConv(FEATURES, 4, heads=3), plain),
    "GAT, averaged": (lambda: nn.GATConv(FEATURES, 4, heads=3, concat=False), plain),
    "APPNP": (lambda: torch.nn.ModuleList([nn.APPNP(3)]), lambda layer, *args: normed(layer[0], *args)),
    "NNConv": (lambda: nn.NNConv(FEATURES, 4, edge_net(), 6), with_edges),
    "MPNN": (lambda: nn.MPNN(FEATURES, EDGE_FEATURES, 4, steps=2, edge_width=6), with_edges),
    "D-MPNN": (
        lambda: nn.DMPNN(FEATURES, EDGE_FEATURES, 4),
        lambda layer, x, graph, edges: layer(x, graph, edges, nn.bond_graph(graph)),
    ),
    "EdgeConv": (lambda: nn.EdgeConv(FEATURES, 4), plain),
    "DiffusionConv": (
        lambda: nn.DiffusionConv(FEATURES, 4),
        lambda layer, x, graph, edges: layer(x, graph, nn.diffusion_norm(graph, edges[:, 0].abs())),
    ),
    "T-GCN": (lambda: nn.TGCN(FEATURES, 4), normed),
    "DCGRU": (
        lambda: nn.DCGRU(FEATURES, 4),
        lambda layer, x, graph, edges: layer(x, graph, nn.diffusion_norm(graph, edges[:, 0].abs())),
    ),
}


@pytest.fixture(params=LAYERS)
def layer(request):
    """f(x, graph, edges) of every layer, its parameters fixed; f.module is the layer."""
    make, call = LAYERS[request.param]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = shaken(make())

    def run(x, graph, edges):
        return call(module, x, graph, edges)

    run.module = module
    return run


def test_renaming_the_nodes_renames_the_result(layer):
    graph, x = undirected(NODES, 30), normal(NODES, FEATURES)
    edges, order = normal(graph.num_edges, EDGE_FEATURES), torch.randperm(NODES)
    renamed = Graph.from_edge_index(torch.argsort(order)[graph.edge_index], NODES)
    torch.testing.assert_close(layer(x[order], renamed, edges), layer(x, graph, edges)[order], atol=1e-12, rtol=0)


def test_the_order_of_the_edges_says_nothing(layer):
    graph, x = undirected(NODES, 30), normal(NODES, FEATURES)
    edges, order = normal(graph.num_edges, EDGE_FEATURES), torch.randperm(graph.num_edges)
    mixed = Graph.from_edge_index(graph.edge_index[:, order], NODES)
    torch.testing.assert_close(layer(x, mixed, edges[order]), layer(x, graph, edges), atol=1e-12, rtol=0)


def test_a_batch_is_its_graphs_one_by_one(layer):
    none = torch.empty(2, 0, dtype=torch.int64)
    graphs = [undirected(NODES, 30), Graph.from_edge_index(none, 3), Graph.from_edge_index(none, 0), undirected(9, 20)]
    xs = [normal(graph.num_dst, FEATURES, seed=i) for i, graph in enumerate(graphs)]
    edges = [normal(graph.num_edges, EDGE_FEATURES, seed=i) for i, graph in enumerate(graphs)]
    whole = layer(torch.cat(xs), Graph.batch(graphs), torch.cat(edges))
    parts = [layer(*one) for one in zip(xs, graphs, edges, strict=True)]
    torch.testing.assert_close(whole, torch.cat(parts), atol=1e-12, rtol=0)


def test_gradients_are_finite_and_reach_every_parameter(layer):
    graph, x = undirected(NODES, 30), normal(NODES, FEATURES).requires_grad_()  # two of its nodes have no edges
    out = layer(x, graph, normal(graph.num_edges, EDGE_FEATURES))
    leaves = [x, *layer.module.parameters()]
    for grad in torch.autograd.grad(out, leaves, normal(*out.shape, seed=1)):
        assert grad.isfinite().all() and grad.abs().sum() > 0


@pytest.mark.parametrize("name", ["GCN", "GAT", "MPNN", "EdgeConv", "DCGRU"])
def test_compiles_whole(name):
    make, call = LAYERS[name]
    graph, x = undirected(NODES, 30), normal(NODES, FEATURES)
    module, edges = make().double(), normal(graph.num_edges, EDGE_FEATURES)
    expected = call(module, x, graph, edges)  # what is kept with the graph is there from here on
    torch.compiler.reset()
    compiled = torch.compile(lambda: call(module, x, graph, edges), fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(), expected, atol=1e-12, rtol=0)


def test_bonds_compile_whole_once_it_is_known_which_hear_of_which():
    graph, x = undirected(NODES, 30), normal(NODES, FEATURES)
    module, edges = nn.DMPNN(FEATURES, EDGE_FEATURES, 4).double(), normal(graph.num_edges, EDGE_FEATURES)
    args = (x, graph, edges, nn.bond_graph(graph))
    torch.compiler.reset()
    compiled = torch.compile(lambda: module(*args), fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(), module(*args), atol=1e-12, rtol=0)


def test_rows_that_do_not_fit_are_named(layer):
    graph = undirected(NODES, 30)
    edges = normal(graph.num_edges, EDGE_FEATURES)
    with pytest.raises(ValueError, match=rf"x has shape \[13, 5\]; for this graph it must be \[{NODES}, features\]"):
        layer(normal(NODES - 1, FEATURES), graph, edges)


def test_sparse_tensors_of_torch_are_refused(layer):
    graph = undirected(NODES, 30)
    with pytest.raises(TypeError, match=r"layout torch\.sparse_coo; give a dense one, or a dlbench\.nn\.SparseMatrix"):
        layer(normal(NODES, FEATURES).to_sparse(), graph, normal(graph.num_edges, EDGE_FEATURES))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.APPNP(steps=-1), "steps=-1; it must be at least 0"),
        (lambda: nn.APPNP(alpha=1.5), r"alpha=1\.5; it is a share"),
        (lambda: nn.GATConv(3, 4, heads=0), "heads=0; it must be at least 1"),
        (lambda: nn.GATConv(3, 4, dropout=-0.1), r"dropout=-0\.1; it is a share"),
        (lambda: nn.DiffusionConv(3, 4, steps=-1), "steps=-1; it must be at least 0"),
    ],
)
def test_settings_that_make_no_sense_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_weights_of_walks_are_one_row_a_direction():
    graph = undirected(NODES, 30)
    with pytest.raises(ValueError, match=rf"weight has shape \[{graph.num_edges}\].*must be \[2, {graph.num_edges}\]"):
        nn.DiffusionConv(FEATURES, 4)(normal(NODES, FEATURES), graph, normal(graph.num_edges))


def test_two_sets_of_nodes_are_refused(layer):
    graph = Graph.from_edge_index(torch.tensor([[0, 1], [0, 0]]), (NODES, 1))  # one target would broadcast
    with pytest.raises(ValueError, match="one set of nodes; this graph has 14 sources and 1 targets"):
        layer(normal(NODES, FEATURES), graph, normal(2, EDGE_FEATURES))


@pytest.mark.parametrize("name", ["GCN", "SAGE", "GAT"])
def test_sparse_features_give_what_dense_ones_give(name):
    make, call = LAYERS[name]
    module, graph = make(), undirected(NODES, 30)
    x = torch.randn(NODES, FEATURES) * (torch.rand(NODES, FEATURES) < 0.4)
    edges = torch.rand(graph.num_edges, EDGE_FEATURES)
    sparse = nn.SparseMatrix.from_dense(x)
    torch.testing.assert_close(call(module, sparse, graph, edges), call(module, x, graph, edges))


@pytest.mark.parametrize("name", ["GCN", "DiffusionConv", "T-GCN", "DCGRU"])
def test_many_signals_on_one_graph_are_each_by_itself(name):
    make, call = LAYERS[name]
    module, graph = shaken(make()), undirected(NODES, 30)
    x, edges = normal(NODES, 3, FEATURES), normal(graph.num_edges, EDGE_FEATURES)
    one_by_one = [call(module, x[:, b], graph, edges) for b in range(3)]
    torch.testing.assert_close(call(module, x, graph, edges), torch.stack(one_by_one, 1), atol=1e-12, rtol=0)
