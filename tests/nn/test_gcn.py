"""The graph convolution against dense float64 algebra."""

import pytest
import torch

from dlbench.nn import GCNConv, SparseMatrix, dropout, gcn_norm
from dlbench.ops import Graph


def random_edges(nodes: int, edges: int, seed: int = 0) -> torch.Tensor:
    """Directed, with duplicates, self loops and nodes without any edge."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, nodes - 3, (2, edges), generator=generator)


def dense_norm(edge_index: torch.Tensor, nodes: int) -> torch.Tensor:
    """D^-1/2 (A + I) D^-1/2 with A[target, source], and no second loop where there is one."""
    a = torch.zeros(nodes, nodes, dtype=torch.float64)
    a.index_put_((edge_index[1], edge_index[0]), torch.ones(edge_index.shape[1], dtype=torch.float64), accumulate=True)
    a += torch.diag((a.diagonal() == 0).double())
    scale = a.sum(dim=1).rsqrt()
    return scale[:, None] * a * scale


@pytest.mark.parametrize("bias", [True, False])
def test_layer_is_its_formula(bias):
    nodes, edge_index = 40, random_edges(40, 150)
    x = torch.randn(nodes, 7, dtype=torch.float64)
    conv = GCNConv(7, 5, bias=bias).double()
    if bias:
        torch.nn.init.normal_(conv.bias)
    graph, weight = gcn_norm(Graph.from_edge_index(edge_index, num_nodes=nodes), torch.float64)
    expected = dense_norm(edge_index, nodes) @ x @ conv.weight + (conv.bias if bias else 0)
    torch.testing.assert_close(conv(x, graph, weight), expected, atol=1e-10, rtol=0)


def test_gradients_are_those_of_the_formula():
    nodes, edge_index = 30, random_edges(30, 100)
    x = torch.randn(nodes, 4, dtype=torch.float64, requires_grad=True)
    conv = GCNConv(4, 3).double()
    upstream = torch.randn(nodes, 3, dtype=torch.float64)
    graph, weight = gcn_norm(Graph.from_edge_index(edge_index, num_nodes=nodes), torch.float64)
    leaves = [x, conv.weight, conv.bias]
    ours = torch.autograd.grad(conv(x, graph, weight), leaves, upstream)
    dense = torch.autograd.grad(dense_norm(edge_index, nodes) @ x @ conv.weight + conv.bias, leaves, upstream)
    for one, other in zip(ours, dense, strict=True):
        torch.testing.assert_close(one, other, atol=1e-10, rtol=0)


def test_norm_of_a_path_by_hand():
    path = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
    graph, weight = gcn_norm(Graph.from_edge_index(path, num_nodes=4), torch.float64)  # node 3 is alone
    dense = SparseMatrix(graph, weight) @ torch.eye(4, dtype=torch.float64)
    s = 6**-0.5
    expected = [[1 / 2, s, 0, 0], [s, 1 / 3, s, 0], [0, s, 1 / 2, 0], [0, 0, 0, 1]]
    torch.testing.assert_close(dense, torch.tensor(expected, dtype=torch.float64), atol=1e-15, rtol=0)


def test_norm_adds_no_second_loop():
    loops = torch.tensor([[0, 0, 1], [0, 1, 0]])
    graph, _ = gcn_norm(Graph.from_edge_index(loops, num_nodes=2))
    assert graph.num_edges == 4


def test_without_edges_it_is_a_linear_layer():
    graph, weight = gcn_norm(Graph.from_edge_index(torch.empty(2, 0, dtype=torch.int64), num_nodes=6))
    conv, x = GCNConv(3, 2), torch.randn(6, 3)
    torch.testing.assert_close(conv(x, graph, weight), x @ conv.weight + conv.bias)


def test_renaming_the_nodes_renames_the_result():
    nodes, edge_index = 25, random_edges(25, 80)
    order = torch.randperm(nodes)
    conv, x = GCNConv(4, 3).double(), torch.randn(nodes, 4, dtype=torch.float64)
    plain = conv(x, *gcn_norm(Graph.from_edge_index(edge_index, num_nodes=nodes), torch.float64))
    place = torch.argsort(order)  # node order[i] is now called i
    renamed = conv(x[order], *gcn_norm(Graph.from_edge_index(place[edge_index], num_nodes=nodes), torch.float64))
    torch.testing.assert_close(renamed, plain[order], atol=1e-12, rtol=0)


def test_norm_needs_one_set_of_nodes():
    bipartite = Graph.from_edge_index(torch.tensor([[0], [1]]), num_nodes=(2, 3))
    with pytest.raises(ValueError, match="2 sources and 3 targets"):
        gcn_norm(bipartite)


# ------------------------------------------------------------------------------------------------- sparse features


def test_sparse_features_multiply_as_dense_ones():
    x = torch.randn(9, 6) * (torch.rand(9, 6) < 0.3)
    x[4] = 0
    sparse, w = SparseMatrix.from_dense(x), torch.randn(6, 5, requires_grad=True)
    assert sparse.shape == (9, 6) and sparse.values.numel() == x.count_nonzero()
    torch.testing.assert_close(sparse @ w, x @ w)
    upstream = torch.randn(9, 5)
    torch.testing.assert_close(*(torch.autograd.grad(m @ w, w, upstream) for m in (sparse, x)))


@pytest.mark.parametrize("kind", [torch.Tensor.clone, SparseMatrix.from_dense], ids=["dense", "sparse"])
def test_dropout_keeps_its_share_and_the_mean(kind):
    x = kind(torch.ones(400, 250))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        dropped = dropout(x, 0.3, training=True)
    values = dropped.values if isinstance(dropped, SparseMatrix) else dropped
    assert set(values.unique().tolist()) == {0.0, values.max().item()}
    assert values.max().item() == pytest.approx(1 / 0.7)
    assert (values == 0).double().mean().item() == pytest.approx(0.3, abs=0.01)  # 7 standard deviations
    assert dropout(x, 0.3, training=False) is x and dropout(x, 0.0, training=True) is x
    assert not dropout(torch.tensor([1.0, torch.inf]), 1.0, training=True).any()
    with pytest.raises(ValueError, match=r"p=2 is not a share"):
        dropout(x, 2, training=True)
