"""Networks that know that energy is kept, and paths along what networks say (Greydanus, Dzamba & Yosinski 2019)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


class Hamiltonian(nn.Module):
    r"""Motion from a learnt energy: :math:`\dot q = ∂H/∂p`, :math:`\dot p = -∂H/∂q`, so that H is kept.

    Hamiltonian neural networks, Greydanus et al., NeurIPS 2019, arXiv:1906.01563.

    Args:
        energy: from states [n, 2 d], places before momenta, to [n, 1].

    Shapes:
        [n, 2 d] to [n, 2 d].
    """

    def __init__(self, energy: nn.Module) -> None:
        super().__init__()
        self.energy = energy

    def forward(self, x: Tensor) -> Tensor:
        """How states change in time."""
        # As a view, because what watches modules, as torch's counter of FLOPs does, cannot watch a leaf.
        slope = torch.func.grad(lambda x: self.energy(x.view_as(x)).sum())(x)
        of_place, of_momentum = slope.chunk(2, dim=-1)
        return torch.cat([of_momentum, -of_place], dim=-1)


@torch.no_grad()
def path(field: Callable[[Tensor], Tensor], x: Tensor, *, step: float, steps: int) -> Tensor:
    """[steps + 1, n, d]: where states [n, d] go, by the method of Runge and Kutta of fourth order.

    Args:
        field: how states change in time, [n, d] to [n, d].
        x: where they start.
        step: in time.
        steps: how many.
    """
    way = [x]
    for _ in range(steps):
        a = field(x)
        b = field(x + step / 2 * a)
        c = field(x + step / 2 * b)
        d = field(x + step * c)
        x = x + step / 6 * (a + 2 * b + 2 * c + d)
        way.append(x)
    return torch.stack(way)
