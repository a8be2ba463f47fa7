"""Message passing with edge features, over bonds, and its readouts, each against its formula edge by edge."""

from itertools import pairwise

import pytest
import torch

from dlbench import nn
from dlbench.ops import Graph

from .small_graphs import F64, assert_same, directed, normal, shaken, undirected

NODES, FEATURES, EDGE_FEATURES = 11, 5, 3


def per_edge(conv, x, graph, edges):
    """The convolution with a matrix for every edge."""
    shares = torch.cat([conv.edge_net(edges), torch.ones(len(edges), 1, dtype=F64)], dim=1)
    matrices = torch.einsum("ek,kio->eio", shares, conv.matrices)
    source, target = graph.edge_index
    messages = torch.einsum("ei,eio->eo", x[source], matrices)
    return torch.zeros(len(x), messages.shape[1], dtype=F64).index_add(0, target, messages)


def test_edge_conditioned_convolution_is_its_formula():
    graph, x = directed(NODES, 40), normal(NODES, FEATURES).requires_grad_()
    edges = normal(graph.num_edges, EDGE_FEATURES).requires_grad_()
    net = torch.nn.Sequential(torch.nn.Linear(EDGE_FEATURES, 6), torch.nn.Tanh())
    conv = shaken(nn.NNConv(FEATURES, 4, net, 6))
    expected = per_edge(conv, x, graph, edges) + x @ conv.root.weight.T + conv.bias
    assert_same(conv(x, graph, edges), expected, [x, edges, *conv.parameters()])


def test_message_passing_is_its_steps():
    graph, x = directed(NODES, 40), normal(NODES, FEATURES).requires_grad_()
    edges = normal(graph.num_edges, EDGE_FEATURES)
    net = shaken(nn.MPNN(FEATURES, EDGE_FEATURES, 4, steps=3, edge_width=6))
    h = net.embed(x).relu()
    for _ in range(3):
        h = net.gru(per_edge(net.conv, h, graph, edges) + net.conv.bias, h)
    assert_same(net(x, graph, edges), h, [x, *net.parameters()])


def test_edges_that_do_not_fit_are_named():
    graph, x = undirected(NODES, 20), torch.randn(NODES, FEATURES)
    bonds, edges = nn.bond_graph(graph), torch.randn(graph.num_edges + 1, EDGE_FEATURES)
    with pytest.raises(ValueError, match="edges has shape"):
        nn.MPNN(FEATURES, EDGE_FEATURES)(x, graph, edges)
    with pytest.raises(ValueError, match="edges has shape"):
        nn.DMPNN(FEATURES, EDGE_FEATURES)(x, graph, edges, bonds)
    with pytest.raises(ValueError, match="edges has shape"):
        nn.AttentiveFP(FEATURES, EDGE_FEATURES)(x, graph, edges, torch.tensor([0, NODES]))
    with pytest.raises(ValueError, match="bonds leads from 11 to 11; for this graph it must lead from its 24 edges"):
        nn.DMPNN(FEATURES, EDGE_FEATURES)(x, graph, edges[1:], graph)
    with pytest.raises(ValueError, match="reverse has shape"):
        nn.bond_graph(graph, nn.reverse_edges(graph)[1:])
    for wrong in (nn.reverse_edges(graph) + 1, torch.arange(24), torch.full((24,), -1), torch.zeros(24)):
        with pytest.raises(ValueError, match="reverse does not lead back along every edge"):
            nn.bond_graph(graph, wrong)
    with pytest.raises(TypeError, match=r"bonds is a Tensor; give the graph among the edges, bond_graph\(graph\)"):
        nn.DMPNN(FEATURES, EDGE_FEATURES)(x, graph, edges[1:], nn.reverse_edges(graph))


# ----------------------------------------------------------------------------------------------------------- D-MPNN


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_bonds_hear_of_all_bonds_but_their_own_way_back(steps):
    graph, x = undirected(NODES, 25), normal(NODES, FEATURES).requires_grad_()
    edges = normal(graph.num_edges, EDGE_FEATURES)
    net = shaken(nn.DMPNN(FEATURES, EDGE_FEATURES, 4, steps=steps))
    source, target = graph.edge_index
    # hears[a, b]: bond b leads to where bond a starts, and does not come from where a goes.
    hears = (source[:, None] == target[None]) & (target[:, None] != source[None])
    first = torch.cat([x[source], edges], dim=1) @ net.start.weight.T
    h = first.relu()
    for _ in range(steps - 1):
        h = (first + hears.double() @ h @ net.update.weight.T).relu()
    arriving = (torch.arange(NODES)[:, None] == target[None]).double() @ h
    expected = net.finish(torch.cat([x, arriving], dim=1)).relu()
    leaves = [x, *(p for name, p in net.named_parameters() if steps > 1 or name != "update.weight")]
    assert_same(net(x, graph, edges, nn.bond_graph(graph)), expected, leaves)


def test_without_steps_there_is_nothing_to_sum():
    with pytest.raises(ValueError, match="steps=0"):
        nn.DMPNN(3, 3, steps=0)


def test_the_way_back_of_every_edge():
    graph = undirected(NODES, 25)
    back = nn.reverse_edges(graph)
    assert torch.equal(graph.edge_index[:, back], graph.edge_index.flip(0))
    assert torch.equal(back[back], torch.arange(graph.num_edges))
    twice = Graph.from_edge_index(torch.tensor([[0, 1, 0, 1, 2], [1, 0, 1, 0, 2]]))  # double edge; loop
    assert nn.reverse_edges(twice).tolist() == [1, 0, 3, 2, 4]
    assert nn.reverse_edges(Graph.from_edge_index(torch.empty(2, 0, dtype=torch.int64), 3)).tolist() == []


def test_bonds_hear_of_parallel_ones_and_not_of_their_own_way_back():
    twice = Graph.from_edge_index(torch.tensor([[0, 1, 0, 1, 2], [1, 0, 1, 0, 2]]))  # double edge; loop
    heard = nn.bond_graph(twice).edge_index
    assert heard.T.tolist() == [[3, 0], [2, 1], [1, 2], [0, 3]]
    assert nn.bond_graph(Graph.from_edge_index(torch.empty(2, 0, dtype=torch.int64), 3)).num_edges == 0


def test_an_edge_without_its_way_back_is_named():
    with pytest.raises(ValueError, match="edge 2 has no way back; give every edge in both directions"):
        nn.reverse_edges(Graph.from_edge_index(torch.tensor([[0, 1, 1], [1, 0, 2]]), 3))
    with pytest.raises(ValueError, match="one of several edges between the same two nodes has no way back"):
        nn.reverse_edges(Graph.from_edge_index(torch.tensor([[0, 1, 1], [1, 0, 0]]), 3))


# ---------------------------------------------------------------------------------------------------------- set2set


def test_set2set_is_its_formula_graph_by_graph():
    x, rowptr = normal(15, 4).requires_grad_(), torch.tensor([0, 6, 6, 7, 15])  # the second has no nodes
    readout = shaken(nn.Set2Set(4, steps=3))
    rows = []
    for first, end in pairwise(rowptr):
        nodes, asked = x[first:end], torch.zeros(1, 8, dtype=F64)
        state = (torch.zeros(1, 4, dtype=F64),) * 2
        for _ in range(3):
            state = readout.lstm(asked, state)
            attention = (nodes @ state[0][0]).softmax(0)
            asked = torch.cat([state[0], (attention @ nodes)[None]], dim=1)
        rows.append(asked)
    assert_same(readout(x, rowptr), torch.cat(rows), [x, *readout.parameters()])


def test_set2set_does_not_see_the_order_of_the_nodes():
    x, rowptr, readout = normal(9, 4), torch.tensor([0, 9]), nn.Set2Set(4).double()
    torch.testing.assert_close(readout(x[torch.randperm(9)], rowptr), readout(x, rowptr), atol=1e-12, rtol=0)


def test_set2set_compiles_whole():
    rowptr, readout = torch.tensor([0, 6, 6, 7, 15]), nn.Set2Set(4).double()
    torch.compiler.reset()
    compiled = torch.compile(readout, fullgraph=True, backend="aot_eager")
    x = normal(15, 4).requires_grad_()
    assert_same(compiled(x, rowptr), readout(x, rowptr), [x, *readout.parameters()])


@pytest.mark.parametrize("rowptr", [[0, 4, 3, 9], [0, 4, 8], [1, 9]])
def test_set2set_needs_rows_that_fit(rowptr):
    with pytest.raises(ValueError, match="rowptr"):
        nn.Set2Set(4)(torch.randn(9, 4), torch.tensor(rowptr))


# ------------------------------------------------------------------------------------------------------ Attentive FP


def attend(values, scores):
    """The sum of some rows by their attention, or zeros."""
    return scores.softmax(0) @ values if len(values) else values.new_zeros(values.shape[1])


def leaky(x):
    return torch.nn.functional.leaky_relu(x, 0.01)


@pytest.mark.parametrize(("start", "bonds_sent"), [("sum", True), ("mean", False)])
def test_attentive_fp_is_its_formula_atom_by_atom(start, bonds_sent):
    graph, x = directed(NODES, 40), normal(NODES, FEATURES).requires_grad_()  # its last two nodes have no edges
    edges, rowptr = normal(graph.num_edges, EDGE_FEATURES).requires_grad_(), torch.tensor([0, 4, 5, NODES])
    net = shaken(nn.AttentiveFP(FEATURES, EDGE_FEATURES, 4, 2, 2, start, bonds_sent))
    source, target = graph.edge_index
    h = leaky(net.embed(x))
    contexts = []
    for v in range(NODES):
        into = target == v
        joined = leaky(torch.cat([h[source[into]], edges[into]], 1) @ net.bonded.weight.T)
        scores = leaky(joined @ net.attend_src[0] + h[v] @ net.attend_dst[0])
        sent = joined if bonds_sent else h[source[into]]
        contexts.append(attend(sent @ net.message.weight.T, scores) + net.bias)
    h = net.grus[0](torch.nn.functional.elu(torch.stack(contexts)), h).relu()
    h = net.grus[1](torch.nn.functional.elu(net.convs[0](h, graph)), h).relu()
    molecules = []
    for a, b in pairwise(rowptr):
        out, values = getattr(h[a:b], start)(0).relu(), h[a:b] @ net.pool.linear.weight.T
        for _ in range(2):
            asked = net.pool.linear.weight @ out @ net.pool.attend_dst[0]
            context = attend(values, leaky(values @ net.pool.attend_src[0] + asked)) + net.pool.bias
            out = net.pool_gru(torch.nn.functional.elu(context), out).relu()
        molecules.append(out)
    assert_same(net(x, graph, edges, rowptr), torch.stack(molecules), [x, edges, *net.parameters()])


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"start": "max"}, "'sum' or the 'mean'"), ({"bond_features": -1}, "bond_features=-1"), ({"steps": 0}, "steps=0")],
)
def test_attentive_fp_refuses_what_makes_no_sense(settings, words):
    with pytest.raises(ValueError, match=words):
        nn.AttentiveFP(**{"atom_features": 4, "bond_features": 2, "hidden": 8} | settings)


def test_attentive_fp_knows_no_order_of_atoms_and_a_batch_is_its_molecules():
    graph, x = undirected(NODES, 25), normal(NODES, FEATURES)
    edges, net = normal(graph.num_edges, EDGE_FEATURES), shaken(nn.AttentiveFP(FEATURES, EDGE_FEATURES, 16))
    whole = torch.tensor([0, NODES])
    out = net(x, graph, edges, whole)
    place = torch.randperm(NODES)
    renamed = Graph.from_edge_index(place.argsort()[graph.edge_index], NODES)
    torch.testing.assert_close(net(x[place], renamed, edges, whole), out, atol=1e-12, rtol=0)
    twice = Graph.batch([graph, graph])
    both = net(torch.cat([x, x]), twice, torch.cat([edges, edges]), torch.tensor([0, NODES, 2 * NODES]))
    torch.testing.assert_close(both, torch.cat([out, out]), atol=1e-12, rtol=0)
    assert not torch.allclose(net(x, graph, edges.flip(0), whole), out)  # it does read bonds
