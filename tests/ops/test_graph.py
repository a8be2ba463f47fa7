"""Graph: what it makes of edges, what it refuses, what it keeps."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import pytest
import torch

from dlbench.ops import Graph, aggregate


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


def test_its_representation_tells_its_size_not_its_numbers():
    assert repr(Graph.from_edge_index(edges((0, 1)))) == (
        "Graph(num_src=2, num_dst=2, num_edges=1, torch.int32, device='cpu')"
    )
