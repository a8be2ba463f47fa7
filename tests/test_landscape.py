"""Barriers, aligned neurons, top eigenvalues and surfaces, against cases that are known."""

import numpy as np
import pytest
import torch
from torch import nn

from dlbench.landscape import aligned, barrier, losses_between, surface, top_eigenvalue


def linear(*weights):
    net = nn.Linear(len(weights), 1, bias=False).double()
    with torch.no_grad():
        net.weight.copy_(torch.tensor([weights]))
    return net


def perceptron(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 9), nn.ReLU(), nn.Linear(9, 7), nn.ReLU(), nn.Linear(7, 3))


def double_well(net):
    """0 at weights of ±1, 1 at 0."""
    return ((net.weight**2 - 1) ** 2).sum()


def test_losses_between_two_wells_by_hand():
    losses = losses_between(linear(-1.0), linear(1.0), double_well, 5)
    assert losses.tolist() == pytest.approx([0, 0.75**2, 1, 0.75**2, 0])
    assert barrier(losses) == pytest.approx(1)


def test_a_convex_loss_has_no_barrier():
    losses = losses_between(linear(-1.0), linear(3.0), lambda net: net.weight.square().sum(), 5)
    assert losses.tolist() == pytest.approx([1, 0, 1, 4, 9])
    assert barrier(losses) == pytest.approx(-3)  # below the line 1, 3, 5, 7, 9 by 3, 4 and 3


def test_a_barrier_is_over_the_line_between_the_ends():
    assert barrier([0.0, 3.0, 2.0]) == pytest.approx(2.0)


def test_networks_stay_as_they_were():
    net = perceptron(0)
    before = [p.clone() for p in net.parameters()]
    x = torch.randn(20, 4)

    def loss(net):
        return net(x).square().mean()

    losses_between(net, perceptron(1), loss)
    surface(net, loss, generator=torch.Generator().manual_seed(0), points=3)
    top_eigenvalue(net, loss, generator=torch.Generator().manual_seed(0), iterations=2)
    aligned(net, perceptron(1), x)
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))


def test_a_shuffled_network_is_put_into_order_again():
    net, x = perceptron(0), torch.randn(200, 4)
    other = perceptron(0)
    with torch.no_grad():
        for here, after in ((0, 2), (2, 4)):
            order = torch.randperm(net[here].out_features)
            other[here].weight.copy_(other[here].weight[order])
            other[here].bias.copy_(other[here].bias[order])
            other[after].weight.copy_(other[after].weight[:, order])
    assert not torch.equal(other[0].weight, net[0].weight)
    found = aligned(other, net, x)
    assert torch.allclose(found(x), net(x), atol=1e-5)
    assert all(torch.equal(a, b) for a, b in zip(found.parameters(), net.parameters(), strict=True))


def test_aligning_changes_no_function():
    net, x = perceptron(0), torch.randn(50, 4)
    assert torch.allclose(aligned(net, perceptron(1), x)(x), net(x), atol=1e-5)


@pytest.mark.parametrize(("factors", "top"), [((1.0, 3.0, 2.0), 6.0), ((1.0, -4.0, 2.0), -8.0), ((0.0, 0.0, 0.0), 0.0)])
def test_the_top_eigenvalue_of_a_quadratic_form(factors, top):
    """Σ f w², whose Hessian has 2 f on its diagonal."""
    f = torch.tensor(factors, dtype=torch.float64)
    found = top_eigenvalue(
        linear(0.3, 0.2, 0.1), lambda net: (f * net.weight**2).sum(), generator=torch.Generator().manual_seed(0),
        iterations=60,
    )  # fmt: skip
    assert found == pytest.approx(top, abs=1e-6)


def test_the_top_eigenvalue_is_that_of_the_whole_hessian():
    net, x, y = perceptron(0).double(), torch.randn(30, 4).double(), torch.arange(30) % 3

    def loss(net):
        return nn.functional.cross_entropy(net(x), y)

    names = [name for name, _ in net.named_parameters()]

    def of(vector):
        parts = vector.split([p.numel() for p in net.parameters()])
        own = {n: part.view_as(p) for n, part, p in zip(names, parts, net.parameters(), strict=True)}
        return nn.functional.cross_entropy(torch.func.functional_call(net, own, (x,)), y)

    hessian = torch.autograd.functional.hessian(of, nn.utils.parameters_to_vector(net.parameters()).detach())
    values = torch.linalg.eigvalsh(hessian)
    found = top_eigenvalue(net, loss, generator=torch.Generator().manual_seed(0), iterations=300)
    assert found == pytest.approx(float(values[values.abs().argmax()]), rel=1e-3)


def test_a_surface_moves_each_row_by_its_own_length_and_no_bias():
    net = perceptron(0)
    lengths = net[0].weight.norm(dim=1)
    seen = []

    def loss(moved):
        seen.append((moved[0].weight - net[0].weight).detach().norm(dim=1))
        assert all(torch.equal(moved[k].bias, net[k].bias) for k in (0, 2, 4))
        return moved[0].weight.detach().sum()

    losses = surface(net, loss, generator=torch.Generator().manual_seed(0), reach=0.5, points=3)
    assert losses.shape == (3, 3)
    assert losses[1, 1] == pytest.approx(float(net[0].weight.detach().sum()), abs=1e-5)
    assert torch.allclose(seen[4], torch.zeros(9))
    for side in (1, 3, 5, 7):  # along one direction only
        assert torch.allclose(seen[side], 0.5 * lengths, rtol=1e-4)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: losses_between(linear(1.0), linear(1.0), double_well, 2), "points is 2"),
        (lambda: losses_between(linear(1.0), linear(1.0, 2.0), double_well), "1 and 2 parameters"),
        (lambda: barrier([1.0, 2.0]), "at least 3"),
        (lambda: barrier(np.zeros((3, 3))), r"\[3, 3\]"),
        (lambda: aligned(nn.Sequential(nn.Conv1d(1, 1, 1)), perceptron(0), torch.ones(1, 4)), "Conv1d"),
    ],
)
def test_what_is_refused(call, match):
    with pytest.raises(ValueError, match=match):
        call()
