"""knn_graph and radius_graph: against a sort of all distances, on points whose distances are exact."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dlbench.ops import knn_graph, radius_graph

from .made_graphs import with_threads

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]


def rows(graph):
    """The sources of every target, in their order."""
    assert graph.edge_id is None and graph.num_src == graph.num_dst
    return [graph.col[begin:end].tolist() for begin, end in pairwise(graph.rowptr.tolist())]


def sorted_neighbours(pos, rowptr=None, loop=False):
    """[(squared distance, number)] of all others in the cloud of every point, sorted; in float64."""
    out = []
    for begin, end in pairwise([0, len(pos)] if rowptr is None else rowptr.tolist()):
        cloud = pos[begin:end].double()
        distances, order = torch.sort((cloud[:, None] - cloud).pow(2).sum(2), stable=True)
        for i in range(end - begin):
            row = zip(distances[i].tolist(), (order[i] + begin).tolist(), strict=True)
            out.append([(d, j) for d, j in row if loop or j != begin + i])
    return out


def wanted(pos, rowptr=None, loop=False, k=None, r=None):
    all_of_them = sorted_neighbours(pos, rowptr, loop)
    return [[j for d, j in row if r is None or d <= r * r][:k] for row in all_of_them]


@settings(max_examples=40)
@given(
    sizes=st.lists(st.sampled_from([0, 1, 2, 5, 30, 70, 130]), min_size=1, max_size=3),
    dimensions=st.sampled_from([0, 1, 2, 3, 5, 16, 64]),
    k=st.sampled_from([0, 1, 2, 7, 20, 200]),
    dtype=st.sampled_from(DTYPES),
    loop=st.booleans(),
    seed=st.integers(0, 999),
)
def test_on_lattices_ties_go_to_the_smaller_number(sizes, dimensions, k, dtype, loop, seed):
    """Small whole numbers: distances are exact, most of them equal, and points coincide."""
    random = torch.Generator().manual_seed(seed)
    pos = torch.randint(-2, 3, (sum(sizes), dimensions), generator=random).to(dtype)
    rowptr = torch.tensor([0, *sizes]).cumsum(0)
    assert rows(knn_graph(pos, k, rowptr, loop)) == wanted(pos, rowptr, loop, k=k)
    most = None if k == 0 else k
    for r in (0.0, 1.0, 2.5):
        assert rows(radius_graph(pos, r, rowptr, most, loop)) == wanted(pos, rowptr, loop, k=most, r=r)
    whole = rowptr.new_tensor([0, len(pos)])
    assert rows(knn_graph(pos, k, loop=loop)) == wanted(pos, whole, loop, k=k)


@pytest.mark.parametrize("dimensions", [1, 3, 10, 64])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_real_points(dtype, dimensions):
    """No farther than the truth but for the rounding of sums, and the nearest first."""
    torch.manual_seed(0)
    pos = torch.randn(700, dimensions, dtype=dtype)
    graph = knn_graph(pos, 15)
    got = (pos.double()[graph.col.long().reshape(700, 15)] - pos.double()[:, None]).pow(2).sum(2)
    want = torch.tensor([[d for d, _ in row[:15]] for row in sorted_neighbours(pos)], dtype=torch.float64)
    tolerance = 70 * torch.finfo(dtype).eps
    torch.testing.assert_close(got, want, rtol=tolerance, atol=0)
    assert len({*map(tuple, graph.col.reshape(700, 15).sort(1).values.tolist())}) <= 700
    assert (graph.col.reshape(700, 15) != torch.arange(700)[:, None]).all()


def test_large_coordinates_keep_their_small_differences():
    """Where |a|^2 - 2ab + |b|^2 has lost all digits."""
    pos = 1e4 + torch.arange(64).reshape(-1, 1) / 64 * torch.ones(3)
    assert rows(knn_graph(pos, 2))[10] == [9, 11]


def test_far_points_whose_squared_distance_overflows_are_neighbours_all_the_same():
    pos = torch.tensor([[-3e38], [0.0], [3e38]])
    assert rows(knn_graph(pos, 2)) == [[1, 2], [0, 2], [0, 1]]


def test_coinciding_points():
    pos = torch.zeros(5, 3)
    assert rows(knn_graph(pos, 2)) == [[1, 2], [0, 2], [0, 1], [0, 1], [0, 1]]
    assert rows(knn_graph(pos, 2, loop=True)) == [[0, 1]] * 5
    assert rows(radius_graph(pos, 0.0, max_neighbours=1)) == [[1], [0], [0], [0], [0]]


def test_a_batch_is_its_clouds_side_by_side():
    pos, rowptr = torch.randn(500, 3), torch.tensor([0, 120, 120, 121, 500])
    whole = rows(knn_graph(pos, 9, rowptr)), rows(radius_graph(pos, 0.7, rowptr))
    parts = [], []
    for begin, end in pairwise(rowptr.tolist()):
        cloud = pos[begin:end]
        for part, graph in zip(parts, (knn_graph(cloud, 9), radius_graph(cloud, 0.7)), strict=True):
            part.extend([begin + j for j in row] for row in rows(graph))
    assert whole == parts


def test_points_may_be_renumbered():
    pos, place = torch.randn(300, 3), torch.randperm(300)
    got = rows(knn_graph(pos[place], 6))
    want = rows(knn_graph(pos, 6))
    assert [[place[j].item() for j in row] for row in got] == [want[i] for i in place.tolist()]


def test_threads_do_not_change_the_answer():
    pos, rowptr = torch.randn(3001, 5), torch.tensor([0, 1500, 1510, 3001])

    def everything():
        return [t for g in (knn_graph(pos, 7, rowptr), radius_graph(pos, 0.8, rowptr)) for t in (g.rowptr, g.col)]

    first, *others = with_threads(everything)
    for other in others:
        assert all(map(torch.equal, other, first))


def test_views_and_gradients():
    pos = torch.randn(50, 3)
    want = rows(knn_graph(pos, 4))
    assert rows(knn_graph(pos.T.contiguous().T.requires_grad_(), 4)) == want
    assert knn_graph(pos, 4).col.dtype == torch.int32


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_opcheck():
    pos, clouds = torch.randn(9, 3), torch.tensor([0, 4, 9])
    torch.library.opcheck(torch.ops.dlbench.neighbour_count.default, (pos, clouds, 1.0, False))
    torch.library.opcheck(torch.ops.dlbench.nearest.default, (pos, clouds, torch.arange(10) * 2, 18, True))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_it_is_compiled_whole():
    torch._dynamo.reset()
    function = torch.compile(lambda pos: knn_graph(pos * 2, 4).col + 1, fullgraph=True, backend="aot_eager")
    pos = torch.randn(40, 3)
    assert torch.equal(function(pos), knn_graph(pos * 2, 4).col + 1)


def test_refusals_say_what_was_given():
    pos = torch.randn(10, 3)
    nan, inf = pos.clone(), pos.clone()
    nan[4, 1], inf[7, 2] = torch.nan, -torch.inf
    for function, arguments, error, says in [
        (knn_graph, (nan, 3), ValueError, "pos has nan at point 4, coordinate 1; every number must be finite"),
        (radius_graph, (inf, 1.0), ValueError, "pos has -inf at point 7, coordinate 2"),
        (knn_graph, (pos.int(), 3), TypeError, "pos is torch.int32"),
        (knn_graph, (pos[0], 3), ValueError, r"pos has shape \[3\]; it must be \[points, dimensions\]"),
        (knn_graph, (pos, -1), ValueError, "k=-1 is not a number of neighbours"),
        (knn_graph, (pos, 2.0), TypeError, "k is 2.0; it must be an int"),
        (knn_graph, (pos, 2, torch.tensor([0, 9])), ValueError, "rowptr must rise from 0 to the number of points, 10"),
        (knn_graph, (pos, 2, torch.tensor([0, 6, 5, 10])), ValueError, "rowptr must rise"),
        (knn_graph, (pos, 2, [0, 10]), TypeError, "rowptr is a list"),
        (radius_graph, (pos, -1.0), ValueError, "r=-1.0 is not a radius"),
        (radius_graph, (pos, float("nan")), ValueError, "r=nan is not a radius"),
        (radius_graph, (pos, 1.0, None, -2), ValueError, "max_neighbours=-2"),
        (radius_graph, (pos, 1.0, None, 3, True, pos[0]), TypeError, "targets is torch.float32; it must be a tensor"),
        (radius_graph, (pos, 1.0, None, 3, True, torch.tensor(3)), ValueError, r"targets has shape \[\] on cpu"),
        (radius_graph, (pos, 1.0, None, 3, True, torch.tensor([3, 10])), IndexError, "targets has 10; points are numb"),
        (radius_graph, (pos, 1.0, None, 3, True, torch.tensor([-1])), IndexError, "targets has -1"),
    ]:
        with pytest.raises(error, match=says):
            function(*arguments)


@pytest.mark.parametrize("most", [None, 4])
def test_only_targets_get_neighbours(most):
    pos, rowptr, targets = torch.randn(300, 3), torch.tensor([0, 120, 120, 300]), torch.tensor([7, 3, 299, 150])
    whole = rows(radius_graph(pos, 0.8, rowptr, most))
    some = rows(radius_graph(pos, 0.8, rowptr, most, targets=targets.int()))
    assert some == [row if i in targets.tolist() else [] for i, row in enumerate(whole)]
    assert radius_graph(pos, 0.8, targets=targets[:0]).num_edges == 0


def test_targets_are_a_tensor():
    with pytest.raises(TypeError, match="targets is a list; it must be a tensor of int32 or int64"):
        radius_graph(torch.rand(5, 3), 0.4, targets=[1, 2])
