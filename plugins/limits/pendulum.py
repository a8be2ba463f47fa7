"""A pendulum with and without friction, and networks that are to learn how it moves from what was seen of it.

A state is an angle and a momentum, [n, 2]; mass and length are 1. The energy is p² / 2 + PULL · (1 - cos q), and the
momentum changes by -PULL · sin q - friction · p.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from dlbench.mechanics import Hamiltonian, path

PULL = 3.0
FRICTION = 0.1
ENERGIES = (0.2, 4.0)  # of first states; from 6 on it turns over
NOISE = 0.1  # of the changes that are seen
STEP, STEPS = 0.2, 80  # of paths: over four swings


def energy(x: Tensor) -> Tensor:
    """[...]: of states [..., 2]."""
    return x[..., 1].square() / 2 + PULL * (1 - x[..., 0].cos())


def law(x: Tensor, friction: float) -> Tensor:
    """How states change in time."""
    return torch.stack([x[:, 1], -PULL * x[:, 0].sin() - friction * x[:, 1]], 1)


def states(n: int, rng: np.random.Generator) -> Tensor:
    """[n, 2]: states somewhere on their swing, with energies from ENERGIES."""
    whole = rng.uniform(*ENERGIES, n)
    lifted = whole * np.sin(rng.uniform(0, 2 * np.pi, n)) ** 2  # how much of it is not motion
    q = np.arccos(1 - lifted / PULL) * rng.choice([-1, 1], n)
    p = np.sqrt(2 * (whole - lifted)) * rng.choice([-1, 1], n)
    return torch.from_numpy(np.stack([q, p], 1)).float()


def network(lawful: bool, width: int) -> nn.Module:
    """Two hidden layers from states to their changes, or to an energy whose slopes are the changes."""
    layers = [nn.Linear(2, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh()]
    if lawful:
        return Hamiltonian(nn.Sequential(*layers, nn.Linear(width, 1, bias=False)))  # energies have no zero
    return nn.Sequential(*layers, nn.Linear(width, 2))


def fitted(
    net: nn.Module, x: Tensor, changes: Tensor, held: tuple[Tensor, Tensor], rates: Sequence[float], steps: int
) -> nn.Module:
    """The network fitted at each rate, by Adam on all states at once, rates falling to 0; the one that errs least."""
    best, least = net, float("inf")
    for rate in rates:
        fit = copy.deepcopy(net)
        adam = torch.optim.Adam(fit.parameters(), rate, fused=True)
        schedule = torch.optim.lr_scheduler.LinearLR(adam, 1.0, 1 / steps, steps)
        for _ in range(steps):
            adam.zero_grad()
            (fit(x) - changes).square().mean().backward()
            adam.step()
            schedule.step()
        with torch.no_grad():
            error = (fit(held[0]) - held[1]).square().mean().item()
        if error < least:
            best, least = fit, error
    return best


def true_energies(starts: Tensor, friction: float) -> Tensor:
    """[STEPS + 1, n]: along the paths from n states, found in smaller steps."""
    fine = 4
    return energy(path(lambda x: law(x, friction), starts.double(), step=STEP / fine, steps=STEPS * fine)[::fine])


def energy_errors(field: Callable[[Tensor], Tensor], starts: Tensor, true: Tensor) -> Tensor:
    """[STEPS + 1]: the mean error of the energy along paths, as a share of the first energy.

    An error beyond 10 counts as 10, as paths may leave all bounds.
    """
    found = energy(path(field, starts, step=STEP, steps=STEPS).double())
    return ((found - true).abs() / true[0]).nan_to_num(10.0).clamp(max=10.0).mean(1)
