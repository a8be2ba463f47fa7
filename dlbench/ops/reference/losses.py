"""Losses of classifiers that attacks raise, in plain torch."""

from __future__ import annotations

import math

import torch
from torch import Tensor

Loss = tuple[Tensor, Tensor, Tensor]  # loss [n], places [n, k], slopes [n, k]


def margin_loss(logits: Tensor, y: Tensor) -> Loss:
    """Best other logit minus the label's own; see ``csrc/perturb/losses/losses.h``."""
    _check_range("y", y, logits.shape[1])
    z, order = _ranked(logits)
    places = torch.stack([y, _best_other(order, y)], 1)
    ones = torch.ones_like(z[:, 0])
    return _loss(z, y, z.gather(1, places).diff().squeeze(1), places, torch.stack([-ones, ones], 1))


def dlr_loss(logits: Tensor, y: Tensor, target: Tensor | None) -> Loss:
    """Difference of logits ratio; see ``csrc/perturb/losses/losses.h``."""
    _check_range("y", y, logits.shape[1])
    z, order = _ranked(logits)
    if target is None:
        other, far = _best_other(order, y), order[:, 2:3]
    else:
        _check_range("target", target, logits.shape[1])
        other, far = target, order[:, 2:4]
    places = torch.cat([torch.stack([y, other, order[:, 0]], 1), far], 1)
    own, others, first, *last = z.gather(1, places).unbind(1)
    spread = first - (last[0] if target is None else 0.5 * (last[0] + last[1])) + 1e-12
    loss = (others - own) / spread
    of_spread = loss / spread
    slopes = [-1 / spread, 1 / spread, -of_spread, *(of_spread / len(last) for _ in last)]
    return _loss(z, y, loss, places, torch.stack(slopes, 1))


def scatter_slopes(places: Tensor, slopes: Tensor, grad: Tensor, classes: int) -> Tensor:
    """The gradient of losses; see ``csrc/perturb/losses/losses.h``."""
    _check_range("places", places, classes)
    out = slopes.new_zeros(len(slopes), classes)
    for j in range(slopes.shape[1]):
        out.scatter_add_(1, places[:, j : j + 1], slopes[:, j : j + 1] * grad[:, None])
    return out


def _ranked(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Logits in a type to compute with, and classes by falling logit, among equal ones the lower index first."""
    z = logits if logits.dtype == torch.float64 else logits.float()
    return z, torch.sort(z, dim=1, descending=True, stable=True).indices


def _best_other(order: Tensor, y: Tensor) -> Tensor:
    return torch.where(order[:, 0] == y, order[:, 1], order[:, 0])


def _loss(z: Tensor, y: Tensor, loss: Tensor, places: Tensor, slopes: Tensor) -> Loss:
    """NaN, at y's place, for rows with a NaN."""
    nan = z.isnan().any(1)
    return (
        loss.masked_fill(nan, math.nan),
        torch.where(nan[:, None], y[:, None], places),
        slopes.masked_fill(nan[:, None], math.nan),
    )


def _check_range(name: str, indices: Tensor, classes: int) -> None:
    if ((indices < 0) | (indices >= classes)).any():
        raise IndexError(f"{name} has numbers outside of the classes [0, {classes})")
