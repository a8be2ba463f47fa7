"""The convolutions against dense float64 algebra: GraphSAGE, GIN, GAT, APPNP, edge and diffusion convolution."""

from itertools import pairwise

import pytest
import torch
from torch.nn.functional import leaky_relu

from dlbench import nn
from dlbench.ops import Graph, knn_graph

from .small_graphs import F64, assert_same, dense, directed, normal, shaken

NODES, FEATURES = 12, 5


@pytest.fixture
def graph():
    return directed(NODES, 40)


@pytest.fixture
def x():
    return normal(NODES, FEATURES).requires_grad_()


def leaves_of(layer, *others):
    return [*others, *layer.parameters()]


def over_neighbours(function, graph, features):
    """Row i is the function of [its edges, features], or zeros without any."""
    source, target = graph.edge_index
    rows = [source[target == i] for i in range(graph.num_dst)]
    return torch.stack([function(features[row], i) if len(row) else 0 * features[i] for i, row in enumerate(rows)])


# ------------------------------------------------------------------------------------------------ GraphSAGE and GIN


@pytest.mark.parametrize("reduce", ["sum", "mean", "max"])
def test_sage_is_its_formula(reduce, graph, x):
    layer = shaken(nn.SAGEConv(FEATURES, 4, reduce))
    summary = {"sum": lambda m, i: m.sum(0), "mean": lambda m, i: m.mean(0), "max": lambda m, i: m.max(0).values}
    near = over_neighbours(summary[reduce], graph, x)
    expected = x @ layer.root.weight.T + layer.root.bias + near @ layer.neighbours.weight.T
    assert_same(layer(x, graph), expected, leaves_of(layer, x))


def test_sage_takes_sparse_features_for_what_is_linear(graph):
    sparse = nn.SparseMatrix.from_dense(torch.ones(NODES, FEATURES))
    with pytest.raises(TypeError, match="SparseMatrix, which takes reduce='sum' or 'mean' but not 'max'"):
        nn.SAGEConv(FEATURES, 4, "max")(sparse, graph)


def test_an_unknown_reduction_is_named(graph):
    with pytest.raises(ValueError, match="reduce='median' is unknown"):
        nn.SAGEConv(FEATURES, 4, "median")(torch.ones(NODES, FEATURES), graph)


@pytest.mark.parametrize("learn_eps", [False, True])
def test_gin_is_its_formula(learn_eps, graph, x):
    layer = shaken(nn.GINConv(torch.nn.Linear(FEATURES, 4), eps=0.25, learn_eps=learn_eps))
    assert isinstance(layer.eps, torch.nn.Parameter) == learn_eps
    assert_same(layer(x, graph), layer.net((1 + layer.eps) * x + dense(graph) @ x), leaves_of(layer, x))


def test_gin_tells_multisets_apart_that_means_do_not():
    ends = torch.tensor([[0, 1, 2], [3, 4, 4]])  # node 3 has one neighbour of a kind, node 4 two
    layer = nn.GINConv(torch.nn.Identity())
    one, two = layer(torch.ones(5, 1), Graph.from_edge_index(ends, 5))[3:]
    assert one.item() == 2 and two.item() == 3


# -------------------------------------------------------------------------------------------------------------- GAT


@pytest.mark.parametrize("concat", [True, False])
def test_gat_is_its_formula(concat, graph, x):
    layer = shaken(nn.GATConv(FEATURES, 4, heads=3, concat=concat))
    h = (x @ layer.linear.weight.T).reshape(NODES, 3, 4)
    source, target = graph.edge_index
    score = leaky_relu((h * layer.attend_src).sum(-1)[source] + (h * layer.attend_dst).sum(-1)[target], 0.2)
    expected = torch.zeros(NODES, 3, 4, dtype=F64)
    for i in range(NODES):
        into = (target == i).nonzero().flatten()
        expected[i] = (score[into].softmax(0)[:, :, None] * h[source[into]]).sum(0)
    expected = (expected.flatten(1) if concat else expected.mean(1)) + layer.bias
    assert_same(layer(x, graph), expected, leaves_of(layer, x))


def test_dropout_of_attention_follows_torchs_seed_and_keeps_the_mean():
    graph = Graph.from_edge_index(torch.stack([torch.arange(2000), torch.zeros(2000, dtype=torch.int64)]), 2000)
    layer, x = nn.GATConv(1, 1, dropout=0.6), torch.ones(2000, 1)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        first, second = layer(x, graph)[0], layer(x, graph)[0]
        torch.manual_seed(0)
        again = layer(x, graph)[0]
        without = layer.eval()(x, graph)[0]
    assert first == again and first != second
    # The share of 2000 equal edges that is kept has a standard deviation of 0.011, divided by 0.4.
    torch.testing.assert_close(first, without, rtol=0.12, atol=0)


# ------------------------------------------------------------------------------------------------------------ APPNP


def test_appnp_is_its_steps(graph, x):
    looped, weight = nn.gcn_norm(graph, F64)
    expected = x
    for _ in range(4):
        expected = 0.8 * dense(looped, weight) @ expected + 0.2 * x
    assert_same(nn.APPNP(4, alpha=0.2)(x, looped, weight), expected, [x])


def test_appnp_comes_to_personalised_pagerank(graph, x):
    looped, weight = nn.gcn_norm(graph, F64)
    weight = weight / 2  # so that it converges for edges in one direction, too
    limit = 0.2 * torch.linalg.solve(torch.eye(NODES, dtype=F64) - 0.8 * dense(looped, weight), x)
    torch.testing.assert_close(nn.APPNP(300, alpha=0.2)(x, looped, weight), limit, atol=1e-9, rtol=0)


def test_appnp_drops_edges_in_training_alone(graph, x):
    layer = nn.APPNP(2, dropout=0.5)
    looped, weight = nn.gcn_norm(graph, F64)
    assert not torch.equal(layer(x, looped, weight), layer(x, looped, weight))
    layer.eval()
    assert torch.equal(layer(x, looped, weight), nn.APPNP(2)(x, looped, weight))


# -------------------------------------------------------------------------------------------------- edge convolution


@pytest.mark.parametrize("bias", [True, False])
def test_edge_convolution_is_the_one_over_all_edges(bias, graph, x):
    layer = shaken(nn.EdgeConv(FEATURES, 4, bias=bias))

    def widest(near, i):
        pairs = torch.cat([x[i].expand_as(near), near - x[i]], dim=1)
        return leaky_relu(layer.linear(pairs), 0.2).max(0).values

    source, target = graph.edge_index
    rows = [widest(x[source[target == i]], i) if (target == i).any() else torch.zeros(4).double() for i in range(NODES)]
    assert_same(layer(x, graph), torch.stack(rows), leaves_of(layer, x))


def test_dynamic_edge_convolution_makes_its_graph_cloud_by_cloud():
    layer = shaken(nn.DynamicEdgeConv(3, 4, k=3))
    pos, rowptr = normal(20, 3), torch.tensor([0, 12, 12, 14, 20])
    clouds = [pos[a:b] for a, b in pairwise(rowptr)]
    fixed = nn.EdgeConv(3, 4).double()
    fixed.load_state_dict(layer.state_dict())
    parts = [fixed(cloud, knn_graph(cloud, 3, loop=True)) for cloud in clouds]
    assert torch.equal(layer(pos, rowptr), torch.cat(parts))
    assert torch.equal(layer(clouds[0]), parts[0])


# --------------------------------------------------------------------------------------------- diffusion convolution


def walks(graph, weight):
    """Row-normalised A^T and A: means over in-neighbours, and over out-neighbours."""
    a = dense(graph, weight)
    return [m / m.sum(1, keepdim=True).where(m.sum(1, keepdim=True) > 0, 1) for m in (a, a.T)]


def test_diffusion_convolution_is_its_formula(graph, x):
    layer, weight = shaken(nn.DiffusionConv(FEATURES, 4, steps=3)), normal(graph.num_edges).abs()
    powers = [x, *(torch.linalg.matrix_power(p, k) @ x for p in walks(graph, weight) for k in (1, 2, 3))]
    w = layer.weight.reshape(7, FEATURES, 4)
    expected = sum(z @ m for z, m in zip(powers, w, strict=True)) + layer.bias
    assert_same(layer(x, graph, nn.diffusion_norm(graph, weight)), expected, leaves_of(layer, x))


def test_shares_of_edges_add_up_to_one(graph):
    shares = nn.diffusion_norm(graph)
    source, target = graph.edge_index
    for share, ends, degree in ((shares[0], target, graph.in_degree), (shares[1], source, graph.out_degree)):
        total = torch.zeros(NODES).index_add(0, ends, share)
        torch.testing.assert_close(total, (degree > 0).float())


def test_edges_that_weigh_nothing_have_no_share(graph):
    weight = torch.zeros(graph.num_edges, requires_grad=True)
    shares = nn.diffusion_norm(graph, weight)
    assert (shares == 0).all() and torch.autograd.grad(shares.sum(), weight)[0].isfinite().all()
    with pytest.raises(ValueError, match="weight has shape"):
        nn.diffusion_norm(graph, weight[1:])
