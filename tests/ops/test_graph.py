"""Graph: what it makes of edges, what it refuses, what it keeps."""

from __future__ import annotations

import copy
import dataclasses
import gc
import pickle
import weakref

import numpy as np
import pytest
import torch

from dlbench.ops import Graph, aggregate, edge_softmax, gat_aggregate, sddmm, status
from dlbench.ops.graph import _is_uneven as is_uneven


def edges(*pairs):
    return torch.tensor(pairs).reshape(-1, 2).T


def test_edges_are_sorted_by_target_and_keep_their_order():
    graph = Graph.from_edge_index(edges((3, 1), (0, 1), (2, 0), (3, 1), (1, 3)))
    assert graph.rowptr.tolist() == [0, 1, 4, 4, 5]
    assert graph.col.tolist() == [2, 3, 0, 3, 1]
    assert graph.edge_id.tolist() == [2, 0, 1, 3, 4]
    assert (graph.num_src, graph.num_dst, graph.num_edges) == (4, 4, 5)
    assert graph.in_degree.tolist() == [1, 3, 0, 1]
    assert graph.col.dtype == graph.rowptr.dtype == graph.edge_id.dtype == torch.int32


def test_sorted_edges_need_no_numbers():
    assert Graph.from_edge_index(edges((3, 0), (0, 1), (2, 1))).edge_id is None


@pytest.mark.parametrize(
    ("given", "sizes"), [(None, (3, 3)), (5, (5, 5)), ((7, 3), (7, 3))], ids=["none", "one", "two"]
)
def test_numbers_of_nodes(given, sizes):
    graph = Graph.from_edge_index(edges((0, 2), (1, 1)), given)
    assert (graph.num_src, graph.num_dst) == sizes


def test_nothing_at_all():
    none = Graph.from_edge_index(torch.empty(2, 0, dtype=torch.long))
    assert (none.num_src, none.num_dst, none.num_edges) == (0, 0, 0)
    assert aggregate(torch.empty(0, 3), none).shape == (0, 3)
    assert none.transpose.rowptr.tolist() == [0]


def test_csr_is_copied():
    rowptr, col = torch.tensor([0, 1, 2], dtype=torch.int32), torch.tensor([1, 0], dtype=torch.int32)
    graph = Graph.from_csr(rowptr, col)
    rowptr.fill_(9)
    col.fill_(9)
    assert graph.rowptr.tolist() == [0, 1, 2] and graph.col.tolist() == [1, 0]
    assert (graph.num_src, graph.num_dst, graph.edge_id) == (2, 2, None)
    assert Graph.from_csr(torch.tensor([0, 1]), torch.tensor([4]), num_src=5).num_src == 5


def test_edge_index_is_copied():
    index = edges((0, 0), (1, 1)).int()
    graph = Graph.from_edge_index(index)
    index.fill_(0)
    assert graph.col.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ((edges((0, 1), (2, 5)), 3), IndexError, r"edge 1 has target 5, outside of \[0, 3\).*num_nodes"),
        ((edges((0, 1), (-1, 0)), 3), IndexError, r"edge 1 has source -1, outside of \[0, 3\)"),
        ((edges((0, 1), (-1, 0)),), IndexError, "edge 1 has source -1"),
        ((edges((4, 1)), (4, 9)), IndexError, r"edge 0 has source 4, outside of \[0, 4\)"),
        ((edges((0, 1)).float(),), TypeError, "edge_index is torch.float32; it must be int32 or int64"),
        (([[0], [1]],), TypeError, "edge_index is a list"),
        ((torch.zeros(3, 4, dtype=torch.long),), ValueError, r"edge_index has shape \[3, 4\]"),
        ((torch.zeros(4, dtype=torch.long),), ValueError, r"edge_index has shape \[4\]"),
        ((edges((0, 1)), -2), ValueError, "num_nodes=-2"),
        ((edges((0, 1)), (2, 2, 2)), ValueError, r"num_nodes is \(2, 2, 2\); give one number"),
        ((edges((0, 1)), 2.0), TypeError, "num_nodes is 2.0"),
    ],
)
def test_edge_lists_that_are_refused(arguments, error, says):
    with pytest.raises(error, match=says):
        Graph.from_edge_index(*arguments)


@pytest.mark.parametrize(
    ("rowptr", "col", "error", "says"),
    [
        ([0, 2, 1, 3], [0, 1, 2], ValueError, "rowptr falls from 2 to 1 at target 1"),
        ([0, 1, 2], [0, 1, 1], ValueError, "rowptr runs from 0 to 2; it must run from 0 to the number of edges, 3"),
        ([1, 1, 3], [0, 1, 1], ValueError, "rowptr runs from 1 to 3"),
        ([], [], ValueError, "rowptr is empty"),
        ([0, 1, 2], [0, 2], IndexError, r"edge 1 has source 2, outside of \[0, 2\).*num_src"),
        ([0, 1, 2], [-1, 0], IndexError, "edge 0 has source -1"),
        ([[0, 1]], [0], ValueError, r"rowptr has shape \[1, 2\]; it must have 1 dimension"),
        ([0.0, 1.0], [0], TypeError, "rowptr is torch.float32"),
        ([0, 1], [True], TypeError, "col is torch.bool"),
    ],
)
def test_rows_that_are_refused(rowptr, col, error, says):
    as_given = [torch.tensor(v, dtype=None if v else torch.long) for v in (rowptr, col)]
    with pytest.raises(error, match=says):
        Graph.from_csr(*as_given)


def test_the_transpose_is_made_once():
    graph = Graph.from_edge_index(edges((0, 1), (2, 1), (2, 0)), (4, 2))
    reverse = graph.transpose
    assert graph.transpose is reverse
    assert (reverse.num_src, reverse.num_dst) == (2, 4)
    assert reverse.rowptr.tolist() == [0, 1, 1, 3, 3]
    assert reverse.edge_id.tolist() == [0, 1, 2]  # the callers' numbers, rising in every row
    back = reverse.transpose
    assert back.rowptr.tolist() == graph.rowptr.tolist() and back.col.tolist() == graph.col.tolist()


def test_equal_graphs_share_nothing():
    one, two = (Graph.from_edge_index(edges((0, 1), (1, 0))) for _ in range(2))
    assert one.transpose and not two._kept and one != two and len({one, two}) == 2


def test_it_cannot_be_changed():
    graph = Graph.from_edge_index(edges((0, 1)))
    with pytest.raises(dataclasses.FrozenInstanceError):
        graph.num_src = 7


@pytest.mark.parametrize("carry", [copy.copy, copy.deepcopy, lambda g: pickle.loads(pickle.dumps(g))])
def test_copies_and_pickles_keep_the_transpose(carry):
    graph = Graph.from_edge_index(edges((0, 1), (1, 0)))
    reverse = graph.transpose
    carried = carry(graph)
    assert carried.transpose.col.tolist() == reverse.col.tolist() and "transpose" in carried._kept


def test_moving():
    graph = Graph.from_edge_index(edges((0, 1), (1, 0)))
    assert graph.transpose and graph.to("cpu") is graph
    moved = graph.to("meta")
    assert moved.device.type == moved.transpose.device.type == "meta" and moved.num_src == 2


def test_rows_of_a_power_law_are_uneven_and_those_of_a_random_graph_are_not():
    random = torch.Generator().manual_seed(0)

    def rows(lengths):
        return torch.cat([torch.zeros(1), lengths.cumsum(0)]).int()

    by_chance = torch.poisson(torch.full((999,), 4.0), random)
    for even in (torch.tensor([]), torch.zeros(5), torch.full((9,), 6.0), by_chance):
        assert not is_uneven(rows(even))
    star, zipf = torch.tensor([50.0] + [0] * 50), (500 / torch.arange(1, 400)).round()
    assert is_uneven(rows(star)) and is_uneven(rows(zipf))
    assert Graph.from_edge_index(edges((0, 1)), 9)._uneven is None  # nothing on the CPU asks


def test_its_representation_tells_its_size_not_its_numbers():
    assert repr(Graph.from_edge_index(edges((0, 1)))) == (
        "Graph(num_src=2, num_dst=2, num_edges=1, torch.int32, device='cpu')"
    )


def test_coo():
    graph = Graph.from_coo(torch.tensor([0, 4, 2]), torch.tensor([1, 1, 0]), num_src=5, num_dst=2)
    assert (graph.rowptr.tolist(), graph.col.tolist(), graph.edge_id.tolist()) == ([0, 1, 3], [2, 0, 4], [2, 0, 1])
    assert graph.edge_index.tolist() == [[0, 4, 2], [1, 1, 0]]
    assert graph.out_degree.tolist() == [1, 0, 1, 0, 1] and graph.in_degree.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("src", "dst", "error", "says"),
    [
        ([0, 1], [0], ValueError, "src has 2 edges on cpu but dst 1"),
        ([0, 5], [0, 1], IndexError, r"edge 1 has source 5, outside of \[0, 5\).*num_src"),
        ([0, 1], [0, 2], IndexError, r"edge 1 has target 2, outside of \[0, 2\).*num_dst"),
        ([0, 2**40], [0, 1], IndexError, "edge 1 has source 1099511627776"),
        ([0.0], [0], TypeError, "src is torch.float32"),
    ],
)
def test_coordinates_that_are_refused(src, dst, error, says):
    with pytest.raises(error, match=says):
        Graph.from_coo(torch.tensor(src), torch.tensor(dst), 5, 2)
    with pytest.raises(TypeError, match="give both in one type"):
        Graph.from_coo(torch.tensor([0]), torch.tensor([0]).int(), 5, 2)


def test_scipy():
    sparse = pytest.importorskip("scipy.sparse")
    dense = torch.tensor([[0.0, 2.0, 0.0], [3.0, 0.0, 4.0]])
    x = torch.randn(3, 5)
    for form in (sparse.csr_matrix, sparse.coo_array, sparse.csc_matrix):
        graph, weight = Graph.from_scipy(form(dense.numpy()))
        torch.testing.assert_close(aggregate(x, graph, weight), dense @ x)
    with pytest.raises(TypeError, match="matrix is a Tensor"):
        Graph.from_scipy(dense)
    twice = sparse.csr_matrix(([1.0, 2.0, 3.0], [0, 0, 1], [0, 2, 3]), shape=(2, 3))
    graph, weight = Graph.from_scipy(twice)
    assert (graph.num_edges, weight.tolist(), twice.nnz) == (2, [3.0, 3.0], 3)
    with pytest.raises(ValueError, match="matrix has 1 dimensions"):
        Graph.from_scipy(sparse.coo_array(dense[0].numpy()))


def test_networkx():
    networkx = pytest.importorskip("networkx")
    directed = networkx.DiGraph([("a", "b"), ("c", "b"), ("b", "b")])
    assert Graph.from_networkx(directed).edge_index.tolist() == [[0, 1, 2], [1, 1, 1]]
    both = networkx.MultiGraph([(7, 8), (7, 8), (8, 8)])
    both.add_node(9)
    graph = Graph.from_networkx(both)
    assert graph.edge_index.tolist() == [[0, 0, 1, 1, 1], [1, 1, 1, 0, 0]] and graph.num_dst == 3
    with pytest.raises(TypeError, match="graph is a list"):
        Graph.from_networkx([])


def test_a_batch_is_of_graphs():
    with pytest.raises(TypeError, match=r"graphs\[1\] is a NoneType; give graphs"):
        Graph.batch([Graph.from_edge_index(edges((0, 1)), np.int64(2)), None])


@pytest.mark.parametrize("with_transpose", [True, False])
def test_a_batch_is_its_graphs_side_by_side(with_transpose):
    graphs = [
        Graph.from_edge_index(edges((3, 1), (0, 1), (2, 0)), 4),
        Graph.from_edge_index(torch.empty(2, 0, dtype=torch.long), 2),
        Graph.from_edge_index(edges((0, 0), (1, 2)), (2, 3)),
    ]
    if with_transpose:
        assert all(graph.transpose for graph in graphs)
    batch = Graph.batch(graphs)
    assert (batch.num_src, batch.num_dst, batch.num_edges) == (8, 9, 5) and batch.is_checked
    assert ("transpose" in batch._kept) == with_transpose
    xs, weights = [torch.randn(g.num_src, 3) for g in graphs], [torch.randn(g.num_edges) for g in graphs]
    for together, apart in (
        (
            aggregate(torch.cat(xs), batch, torch.cat(weights)),
            [aggregate(*a) for a in zip(xs, graphs, weights, strict=True)],
        ),
        (
            aggregate(torch.arange(9.0)[:, None], batch.transpose, torch.cat(weights)),
            [
                aggregate(y[:, None], g.transpose, w)
                for y, g, w in zip(torch.arange(9.0).split([4, 2, 3]), graphs, weights, strict=True)
            ],
        ),
    ):
        assert torch.equal(together, torch.cat(apart))
    with pytest.raises(ValueError, match="0 graphs"):
        Graph.batch([])


def test_self_loops_and_the_norm():
    graph = Graph.from_edge_index(edges((0, 1), (1, 1), (2, 1)), 4)
    looped = graph.with_self_loops()
    assert looped.edge_index.tolist() == [[0, 1, 2, 0, 2, 3], [1, 1, 1, 0, 2, 3]]
    assert graph.with_self_loops() is looped and looped.gcn_weight() is looped.gcn_weight()
    third = 3**-0.5
    assert looped.gcn_weight(torch.float64).tolist() == pytest.approx([third, 1 / 3, third, 1, 1, 1])
    assert graph.gcn_weight().tolist() == pytest.approx([0, 1 / 3, 0])  # nodes 0 and 2 have no incoming edge
    with pytest.raises(ValueError, match="one set of nodes; this graph has 2 sources and 3 targets"):
        Graph.from_edge_index(edges((0, 0)), (2, 3)).with_self_loops()


def test_norms_of_half_types_are_of_exact_degrees():
    """A degree above 65,504 has no float16, but its root has."""
    star = Graph.from_coo(torch.arange(70_000), torch.zeros(70_000, dtype=torch.int64), 70_000, 70_000)
    weight = star.gcn_weight(torch.float16)
    assert weight[0].item() == pytest.approx(1 / 70_000, rel=0.01)
    with pytest.raises(TypeError, match=r"dtype is torch\.int64"):
        star.gcn_weight(torch.int64)


def test_numbers_of_edges_that_repeat_are_refused():
    if status().implementation != "native":
        pytest.skip("the reference reads them as they are")
    graph = Graph(torch.tensor([0, 2, 3]), torch.tensor([0, 1, 0]), 3, torch.tensor([0, 2, 0]))
    with pytest.raises(ValueError, match="edge_id 0 at position 2 is another edge's"):
        sddmm(torch.ones(2, 4), torch.ones(3, 4), graph)


def test_another_order_is_undone():
    pytest.importorskip("scipy")
    graph = Graph.from_edge_index(torch.randint(0, 40, (2, 90), generator=torch.Generator().manual_seed(3)), 40)
    x, weight = torch.randn(40, 6), torch.randn(90)
    other = graph.reordered()
    assert graph.reordered() is other and other.order.sort().values.tolist() == list(range(40))
    assert torch.equal(other.restored(aggregate(other.arranged(x), other.graph, weight)), aggregate(x, graph, weight))


def test_a_change_in_place_is_noticed():
    graph = Graph.from_edge_index(edges((0, 1), (2, 1), (2, 0)), 3)
    for name in ("rowptr", "col", "edge_id"):
        changed = copy.deepcopy(graph)
        getattr(changed, name)[0] = 0
        with pytest.raises(RuntimeError, match="changed in place"):
            aggregate(torch.ones(3, 2), changed)
        with pytest.raises(RuntimeError, match="changed in place"):
            gat_aggregate(torch.ones(3, 1, 2), torch.ones(3, 1), torch.ones(3, 1), changed)
        with pytest.raises(RuntimeError, match="changed in place"):
            edge_softmax(torch.ones(3), changed)
        with pytest.raises(RuntimeError, match="changed in place"):
            pickle.dumps(changed)
    with torch.inference_mode():
        inner = Graph.from_edge_index(edges((0, 1), (2, 1)), 3)
        assert inner.is_checked and aggregate(torch.ones(3, 2), inner).shape == (3, 2)


def test_one_put_together_by_hand_is_checked_at_every_use():
    graph = Graph(torch.tensor([0, 1, 2]), torch.tensor([0, 9]), 2)
    assert not graph.is_checked
    if status().implementation == "native":
        with pytest.raises(IndexError, match="col 9"):
            aggregate(torch.ones(2, 2), graph)
    torn = Graph(torch.tensor([0, 100_000, 1]), torch.tensor([0, 1]), 2)
    with pytest.raises(ValueError, match="rowptr"):
        torn.edge_index  # noqa: B018
    for operator in (
        lambda: aggregate(torch.ones(2, 2), torn),
        lambda: gat_aggregate(torch.ones(2, 1, 2), torch.ones(2, 1), torch.ones(2, 1), torn),
        lambda: edge_softmax(torch.ones(2), torn),
    ):
        with pytest.raises(ValueError, match="rowptr"):
            operator()


def test_a_transpose_that_was_changed_is_not_used():
    graph = Graph.from_edge_index(edges((0, 1), (2, 1), (0, 2)), 3)
    graph.transpose.col[0] = 2**30
    x = torch.ones(3, 1, 2, requires_grad=True)
    with pytest.raises(RuntimeError, match="changed in place"):
        aggregate(x, graph)
    with pytest.raises(RuntimeError, match="changed in place"):
        gat_aggregate(x, torch.ones(3, 1), torch.ones(3, 1), graph)


def test_half_a_transpose_is_none():
    csr = [torch.tensor([0, 1, 2]), torch.tensor([0, 1]), None]
    x, score = torch.ones(2, 1, 2, requires_grad=True), torch.ones(2, 1)
    half = csr[0], None, None
    for out in (
        torch.ops.dlbench.aggregate(x, *csr, None, *half, "sum"),
        torch.ops.dlbench.gat_aggregate(x, score, score, *csr, *half, 0.2, 0.0, 0)[0],
    ):
        assert torch.autograd.grad(out.sum(), x)[0].tolist() == [[[1.0, 1.0]], [[1.0, 1.0]]]


def test_a_hundred_graphs_leave_nothing_behind():
    x = torch.ones(3, 2, requires_grad=True)
    alive = []
    for _ in range(100):
        graph = Graph.from_edge_index(edges((0, 1), (2, 1)), 3)
        aggregate(x, graph).sum().backward()
        alive.append(weakref.ref(graph))
        del graph
    gc.collect()
    assert not any(ref() for ref in alive)
