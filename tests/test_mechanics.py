"""Energies that are kept, and paths against known ones."""

import math

import torch
from torch import nn

from dlbench.mechanics import Hamiltonian, path


class Spring(nn.Module):
    """H = (q² + p²) / 2."""

    def forward(self, x):
        return x.square().sum(1, keepdim=True) / 2


def test_a_spring_goes_around():
    field = Hamiltonian(Spring())
    x = torch.tensor([[1.0, 0.0], [0.0, 2.0]], dtype=torch.float64)
    assert torch.allclose(field(x), torch.tensor([[0.0, -1.0], [2.0, 0.0]], dtype=torch.float64))
    way = path(field, x, step=math.pi / 100, steps=50)
    assert way.shape == (51, 2, 2)
    assert torch.allclose(way[-1], torch.tensor([[0.0, -1.0], [2.0, 0.0]], dtype=torch.float64), atol=1e-7)


def test_any_learnt_energy_is_kept_along_its_path():
    torch.manual_seed(0)
    field = Hamiltonian(nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 1))).double()
    x = torch.randn(5, 4, dtype=torch.float64)
    way = path(field, x, step=0.05, steps=40)
    assert torch.allclose(field.energy(way[-1]), field.energy(x), atol=1e-6)
    assert not torch.allclose(way[-1], x, atol=1e-2)


def test_its_weights_can_be_learnt():
    torch.manual_seed(0)
    field = Hamiltonian(nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 1)))
    x = torch.randn(50, 2)
    wanted = torch.stack([x[:, 1], -x[:, 0]], 1)
    adam = torch.optim.Adam(field.parameters(), 0.03)
    losses = []
    for _ in range(100):
        adam.zero_grad()
        loss = (field(x) - wanted).square().mean()
        loss.backward()
        adam.step()
        losses.append(loss.item())
    assert losses[-1] < 0.05 * losses[0]
