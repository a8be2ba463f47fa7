"""Distances and boxes."""

import pytest
import torch

from dlbench.attacks import geometry


@pytest.mark.parametrize("shape", [(5,), (3, 2, 2)])
def test_distances_are_those_of_the_flat_samples_in_double(shape):
    a, b = torch.rand(2, 7, *shape)
    difference = (a.double() - b.double()).flatten(1)
    linf, l2 = (geometry.distance(a, b, norm) for norm in ("linf", "l2"))
    assert torch.equal(linf, difference.abs().amax(1))
    torch.testing.assert_close(l2, difference.square().sum(1).sqrt())
    assert geometry.distance(a[:0], b[:0], "l2").shape == (0,)


def test_a_box_is_one_for_all_or_one_a_channel():
    x = torch.rand(4, 3, 2, 2)
    lower, upper = geometry.box((-1.0, 2.0), x)
    assert (lower.expand_as(x) == -1).all() and (upper.expand_as(x) == 2).all()
    lower, upper = geometry.box((torch.tensor([-1.0, -2.0, -3.0]), torch.ones(3)), x)
    assert torch.equal(lower.expand_as(x)[1, :, 0, 1], torch.tensor([-1.0, -2.0, -3.0]))
    assert geometry.box((0.0, 1.0), torch.rand(4, 9, dtype=torch.float64))[0].dtype == torch.float64
