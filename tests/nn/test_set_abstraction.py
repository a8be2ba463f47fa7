"""Set abstraction: farthest points against a loop, balls against dense distances, and what sets must not see."""

from itertools import pairwise

import pytest
import torch

from dlbench import nn

from .small_graphs import F64, assert_same, normal, shaken


def one_by_one(cloud, count):
    """Farthest points of one cloud, numbers, each distance computed by itself."""
    centre = cloud.mean(0)
    chosen = [max(range(len(cloud)), key=lambda i: (cloud[i] - centre).norm().item())]
    while len(chosen) < min(count, len(cloud)):
        left = [i for i in range(len(cloud)) if i not in chosen]
        chosen.append(max(left, key=lambda i: min((cloud[i] - cloud[j]).norm().item() for j in chosen)))
    return chosen


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_the_farthest_points_of_clouds_of_many_sizes(dimensions):
    pos, rowptr = normal(40, dimensions), torch.tensor([0, 3, 3, 4, 25, 40])
    chosen, clouds = nn.farthest_points(pos, 8, rowptr)
    expected = [[a + i for i in one_by_one(pos[a:b], 8)] if b > a else [] for a, b in pairwise(rowptr.tolist())]
    assert clouds.tolist() == [0, 3, 3, 4, 12, 20]  # clouds with fewer points give all of them
    assert chosen.tolist() == [i for one in expected for i in one]
    assert nn.farthest_points(pos, 8)[0].tolist() == one_by_one(pos, 8)  # one cloud


def test_farthest_points_by_hand():
    line = torch.tensor([[0.0], [1.0], [2.0], [10.0], [4.0]])  # of mean 3.4
    assert nn.farthest_points(line, 4)[0].tolist() == [3, 0, 4, 2]


@pytest.mark.parametrize("of", ["float32", "a grid", "copies"])
def test_the_positions_chosen_are_those_of_the_set(of):
    pos = torch.randn(60, 3)
    if of == "a grid":  # ties nearly everywhere
        pos = torch.cartesian_prod(*[torch.arange(4.0)] * 3)
    elif of == "copies":
        pos = torch.cat([pos, pos[:20]])
    expected = pos[nn.farthest_points(pos, 16)[0]]
    for seed in range(5):
        again = pos[torch.randperm(len(pos), generator=torch.Generator().manual_seed(seed))]
        assert torch.equal(again[nn.farthest_points(again, 16)[0]], expected)


def test_copies_are_chosen_last_and_nobody_twice():
    pos = torch.tensor([[0.0, 0], [1, 0], [0, 0], [1, 0], [0, 3]])
    chosen, _ = nn.farthest_points(pos, 5)
    assert chosen.sort().values.tolist() == [0, 1, 2, 3, 4]
    assert len(pos[chosen[:3]].unique(dim=0)) == 3
    assert nn.farthest_points(torch.ones(4, 3), 3)[0].unique().numel() == 3  # all in one place


def test_no_points_and_no_clouds():
    assert [part.tolist() for part in nn.farthest_points(torch.empty(0, 3), 4)] == [[], [0, 0]]
    assert [part.tolist() for part in nn.farthest_points(torch.empty(0, 3), 4, torch.tensor([0]))] == [[], [0]]


@pytest.mark.parametrize(
    ("pos", "count", "rowptr", "words"),
    [
        (torch.randn(5, 3), 0, None, "count=0"),
        (torch.randn(5), 2, None, "pos has shape"),
        (torch.full((5, 3), torch.nan), 2, None, "not finite"),
        (torch.randn(5, 3), 2, torch.tensor([0, 4]), "rowptr must rise"),
        (torch.randn(5, 3), 2, torch.tensor([0, 4, 3, 5]), "rowptr must rise"),
    ],
)
def test_what_is_no_cloud_is_refused_in_words(pos, count, rowptr, words):
    with pytest.raises(ValueError, match=words):
        nn.farthest_points(pos, count, rowptr)


# -------------------------------------------------------------------------------------------------------- the layer


def small(most=None, in_features=4):
    return shaken(nn.SetAbstraction(in_features, (8, 6), samples=5, radius=1.2, most=most))


@pytest.mark.parametrize("most", [None, 3])
@pytest.mark.parametrize("training", [True, False])
def test_it_is_a_pointnet_on_every_ball(training, most):
    layer = small(most).train(training)
    x, pos, rowptr = (
        normal(30, 4).requires_grad_(),
        normal(30, 3, seed=1).requires_grad_(),
        torch.tensor([0, 3, 12, 30]),
    )
    out, left, clouds = layer(x, pos, rowptr)
    chosen, expected_clouds = nn.farthest_points(pos, 5, rowptr)
    assert torch.equal(clouds, expected_clouds) and torch.equal(left, pos[chosen])
    cloud = torch.bucketize(torch.arange(30), rowptr[1:], right=True)
    apart = torch.cdist(pos.detach()[chosen], pos.detach()).masked_fill(cloud[chosen][:, None] != cloud, torch.inf)
    balls = [row.argsort()[: int((row <= 1.2).sum())][:most] for row in apart]
    grouped = torch.cat([torch.cat([x[ball], pos[ball] - pos[i]], 1) for i, ball in zip(chosen, balls, strict=True)])
    parts = layer.net(grouped).split([len(ball) for ball in balls])
    assert min(map(len, balls)) < max(map(len, balls))  # the radius does something
    assert_same(out, torch.stack([part.amax(0) for part in parts]), [x, pos, *layer.parameters()])


def test_the_order_of_points_and_their_copies_say_nothing():
    layer, x, pos = small().eval(), normal(20, 4), normal(20, 3, seed=1)
    rowptr, order = torch.tensor([0, 20]), torch.randperm(20)
    out, left, _ = layer(x, pos, rowptr)
    again, left_again, _ = layer(x[order], pos[order], rowptr)
    assert torch.equal(left_again, left)
    torch.testing.assert_close(again, out, atol=1e-12, rtol=0)
    few, full = pos[:3], pos[:3].repeat(4, 1)  # of copies all are chosen when there are no others
    once, twice = layer(x[:3], few, torch.tensor([0, 3]))[0], layer(x[:3].repeat(4, 1), full, torch.tensor([0, 12]))[0]
    torch.testing.assert_close(twice[:3].sort(0).values, once.sort(0).values, atol=1e-12, rtol=0)


def test_moving_a_cloud_moves_only_where_its_points_are():
    layer, x, pos = small().eval(), normal(20, 4), normal(20, 3, seed=1)
    out, left, _ = layer(x, pos, torch.tensor([0, 20]))
    moved, left_moved, _ = layer(x, pos + 5, torch.tensor([0, 20]))
    torch.testing.assert_close(moved, out, atol=1e-9, rtol=0)
    torch.testing.assert_close(left_moved, left + 5, atol=1e-12, rtol=0)


def test_clouds_are_each_by_itself_and_may_be_small():
    layer, x, pos, rowptr = small().eval(), normal(20, 4), normal(20, 3, seed=1), torch.tensor([0, 3, 4, 20])
    alone = [layer(x[a:b], pos[a:b], torch.tensor([0, b - a])) for a, b in pairwise(rowptr)]
    out, left, clouds = layer(x, pos, rowptr)
    torch.testing.assert_close(out, torch.cat([one for one, _, _ in alone]), atol=1e-12, rtol=0)
    assert torch.equal(left, torch.cat([at for _, at, _ in alone])) and clouds.tolist() == [0, 3, 4, 9]


def test_bare_positions_and_what_does_not_fit():
    bare, pos, rowptr = small(in_features=0), normal(20, 3), torch.tensor([0, 20])
    assert bare(None, pos, rowptr)[0].shape == (5, 6)
    for layer, x in ((bare, normal(20, 4)), (small(), None), (small(), normal(19, 4)), (small(), normal(20, 3))):
        with pytest.raises(ValueError, match="beside this pos it must be"):
            layer(x, pos, rowptr)
    with pytest.raises(ValueError, match="samples=0"):
        nn.SetAbstraction(0, (4,), samples=0, radius=1.0)
    assert "radius=1.2" in repr(bare) and pos.dtype == F64


@pytest.mark.parametrize("scale", [2.0**100, 2.0**-100])
def test_neither_large_nor_small_units_matter(scale):
    pos = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(nn.farthest_points(pos * scale, 4)[0], nn.farthest_points(pos, 4)[0])


@pytest.mark.parametrize("radius", [-1.0, float("nan"), float("inf"), "a", True])
def test_a_radius_is_a_number(radius):
    with pytest.raises(ValueError, match="radius="):
        nn.SetAbstraction(0, [8], 8, radius)


def test_positions_have_the_dimensions_of_the_layer():
    with pytest.raises(ValueError, match=r"pos has shape \[9, 2\]; this layer needs \[N, 3\]"):
        nn.SetAbstraction(0, [8], 8, 1.0)(None, torch.randn(9, 2), torch.tensor([0, 9]))
