"""The layers against PyTorch Geometric's, with its weights: values and all gradients."""

import pytest
import torch

from dlbench import nn
from dlbench.ops import Graph, radius_graph

from .small_graphs import F64, assert_same, directed, normal, shaken

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("default")]  # warnings are theirs

NODES, FEATURES = 30, 6


@pytest.fixture(scope="module")
def geometric():
    return pytest.importorskip("torch_geometric.nn")


@pytest.fixture
def graph():
    return directed(NODES, 120)


@pytest.fixture
def x():
    return normal(NODES, FEATURES).requires_grad_()


def copied(pairs):
    """Ours take the values of theirs, pair by pair; then all of ours, and all of theirs."""
    with torch.no_grad():
        for ours, theirs in pairs:
            ours.copy_(theirs.reshape(ours.shape))
    return [ours for ours, _ in pairs], [theirs for _, theirs in pairs]


def share(module, name, value):
    """The value in the place of a parameter: gradients go to what it was made of."""
    delattr(module, name)
    setattr(module, name, value)


def test_gcn(geometric, graph, x):
    edge_index = graph.edge_index.unique(dim=1)
    theirs, ours = shaken(geometric.GCNConv(FEATURES, 4)), nn.GCNConv(FEATURES, 4).double()
    share(ours, "weight", theirs.lin.weight.T)
    share(ours, "bias", theirs.bias)
    looped, weight = nn.gcn_norm(Graph.from_edge_index(edge_index, NODES), F64)
    assert_same(ours(x, looped, weight), theirs(x, edge_index), [x, *theirs.parameters()])


@pytest.mark.parametrize("reduce", ["mean", "sum", "max"])
def test_sage(geometric, graph, x, reduce):
    theirs, ours = shaken(geometric.SAGEConv(FEATURES, 4, aggr=reduce)), nn.SAGEConv(FEATURES, 4, reduce).double()
    mine, other = copied(
        [
            (ours.neighbours.weight, theirs.lin_l.weight),
            (ours.root.weight, theirs.lin_r.weight),
            (ours.root.bias, theirs.lin_l.bias),
        ]
    )
    assert_same(ours(x, graph), theirs(x, graph.edge_index), [x, *mine], [x, *other])


def test_gin(geometric, graph, x):
    net = shaken(torch.nn.Sequential(torch.nn.Linear(FEATURES, 8), torch.nn.ReLU(), torch.nn.Linear(8, 4)))
    theirs, ours = geometric.GINConv(net, eps=0.3, train_eps=True).double(), nn.GINConv(net, 0.3, True).double()
    mine, other = copied([(ours.eps, theirs.eps)])
    both = [x, *net.parameters()]
    assert_same(ours(x, graph), theirs(x, graph.edge_index), both + mine, both + other)


@pytest.mark.parametrize("concat", [True, False])
def test_gat(geometric, graph, x, concat):
    edge_index = graph.edge_index[:, graph.edge_index[0] != graph.edge_index[1]]  # theirs makes every loop anew
    theirs = shaken(geometric.GATConv(FEATURES, 4, heads=3, concat=concat))
    ours = nn.GATConv(FEATURES, 4, heads=3, concat=concat).double()
    mine, other = copied(
        [
            (ours.linear.weight, theirs.lin.weight),
            (ours.attend_src, theirs.att_src),
            (ours.attend_dst, theirs.att_dst),
            (ours.bias, theirs.bias),
        ]
    )
    looped = Graph.from_edge_index(edge_index, NODES).with_self_loops()
    assert_same(ours(x, looped), theirs(x, edge_index), [x, *mine], [x, *other])


def test_appnp(geometric, x):
    edge_index = directed(NODES, 120).edge_index.unique(dim=1)
    theirs, ours = geometric.APPNP(K=5, alpha=0.15), nn.APPNP(5, 0.15)
    graph, weight = nn.gcn_norm(Graph.from_edge_index(edge_index, NODES), F64)
    assert_same(ours(x, graph, weight), theirs(x, edge_index), [x])


def test_edge_conditioned(geometric, graph, x):
    edges = normal(graph.num_edges, 3).requires_grad_()
    first, last = torch.nn.Linear(3, 5), torch.nn.Linear(5, FEATURES * 4)
    theirs = shaken(geometric.NNConv(FEATURES, 4, torch.nn.Sequential(first, torch.nn.ReLU(), last)))
    ours = nn.NNConv(FEATURES, 4, torch.nn.Sequential(first, torch.nn.ReLU()), 5).double()
    share(ours, "matrices", torch.cat([last.weight.T, last.bias[None]]).reshape(6, FEATURES, 4))
    share(ours.root, "weight", theirs.lin.weight)
    share(ours, "bias", theirs.bias)
    assert_same(ours(x, graph, edges), theirs(x, graph.edge_index, edges), [x, edges, *theirs.parameters()])


def test_set2set(geometric, x):
    theirs, ours = shaken(geometric.aggr.Set2Set(FEATURES, 4)), nn.Set2Set(FEATURES, 4).double()
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    mine, other = copied([(getattr(ours.lstm, name), getattr(theirs.lstm, f"{name}_l0")) for name in names])
    rowptr = torch.tensor([0, 4, 5, 20, NODES])
    batch = torch.repeat_interleave(torch.arange(4), rowptr.diff())
    assert_same(ours(x, rowptr), theirs(x, batch), [x, *mine], [x, *other])


def test_edge_convolution(geometric, graph, x):
    layer = shaken(nn.EdgeConv(FEATURES, 4))
    theirs = geometric.EdgeConv(torch.nn.Sequential(layer.linear, torch.nn.LeakyReLU(0.2)), aggr="max")
    assert_same(layer(x, graph), theirs(x, graph.edge_index), [x, *layer.parameters()])


def test_pointnet(geometric):
    net = shaken(nn.PointNet(3, 5, point_widths=(8, 16), cloud_widths=(), dropout=0.0))
    theirs = geometric.MLP(
        [3, 8, 16], plain_last=False, dropout=0.0
    ).double()  # linear, norm, ReLU: as net.point has it
    leaves, other = [], []
    for i, (linear, norm, _) in enumerate(net.point):
        mine, his = copied(
            [
                (theirs.lins[i].weight, linear.weight),
                (theirs.lins[i].bias, linear.bias),
                (theirs.norms[i].module.weight, norm.weight),
                (theirs.norms[i].module.bias, norm.bias),
            ]
        )
        leaves, other = leaves + his, other + mine
    pos = normal(40, 3).requires_grad_()
    rowptr = torch.tensor([0, 10, 11, 40])
    batch = torch.repeat_interleave(torch.arange(3), rowptr.diff())
    expected = net.last(geometric.global_max_pool(theirs(pos), batch))
    assert_same(net(pos, rowptr), expected, [pos, *leaves], [pos, *other])


def test_set_abstraction(geometric):
    layer = shaken(nn.SetAbstraction(FEATURES, (8, 5), samples=6, radius=1.1))
    theirs = geometric.PointNetConv(nn.SetAbstraction(FEATURES, (8, 5), 6, 1.1).net.double(), add_self_loops=False)
    mine, other = copied(list(zip(theirs.local_nn.parameters(), layer.net.parameters(), strict=True)))
    x, pos = normal(40, FEATURES).requires_grad_(), normal(40, 3, seed=1).requires_grad_()
    rowptr = torch.tensor([0, 10, 11, 40])
    chosen, _ = nn.farthest_points(pos, 6, rowptr)
    source, target = radius_graph(pos, 1.1, rowptr, loop=True).edge_index
    ball = torch.stack([source, target])[:, torch.isin(target, chosen)]
    ball[1] = torch.full((40,), -1).index_copy(0, chosen, torch.arange(len(chosen)))[ball[1]]
    expected = theirs((x, None), (pos, pos[chosen]), ball)
    assert_same(layer(x, pos, rowptr)[0], expected, [x, pos, *other], [x, pos, *mine])


@pytest.mark.parametrize("steps", [1, 3])
def test_attentive_fp(geometric, graph, x, steps):
    theirs = shaken(geometric.AttentiveFP(FEATURES, 8, 5, edge_dim=3, num_layers=steps, num_timesteps=2))
    ours = nn.AttentiveFP(FEATURES, 3, 8, steps, rounds=2, bonds_sent=False).double()
    pairs = [
        (ours.embed.weight, theirs.lin1.weight),
        (ours.embed.bias, theirs.lin1.bias),
        (ours.bonded.weight, theirs.gate_conv.lin1.weight),
        (ours.attend_src, theirs.gate_conv.att_l),
        (ours.attend_dst, theirs.gate_conv.att_r),
        (ours.message.weight, theirs.gate_conv.lin2.weight),
        (ours.bias, theirs.gate_conv.bias),
    ]
    for gat, conv in zip([*ours.convs, ours.pool], [*theirs.atom_convs, theirs.mol_conv], strict=True):
        pairs += [(gat.linear.weight, conv.lin.weight), (gat.bias, conv.bias)]
        pairs += [(gat.attend_src, conv.att_src), (gat.attend_dst, conv.att_dst)]
    their_grus = [theirs.gru, *theirs.atom_grus, theirs.mol_gru]
    for gru, other in zip([*ours.grus, ours.pool_gru], their_grus, strict=True):
        pairs += list(zip(gru.parameters(), other.parameters(), strict=True))
    mine, other = copied(pairs)
    assert len(mine) == len(list(ours.parameters()))
    edges, rowptr = normal(graph.num_edges, 3, seed=1).requires_grad_(), torch.tensor([0, 4, 5, 20, NODES])
    batch = torch.repeat_interleave(torch.arange(4), rowptr.diff())
    out = torch.nn.functional.linear(ours(x, graph, edges, rowptr), theirs.lin2.weight, theirs.lin2.bias)
    assert_same(out, theirs(x, graph.edge_index, edges, batch), [x, edges, *mine], [x, edges, *other])
