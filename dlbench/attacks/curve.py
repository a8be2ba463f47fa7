"""Robust accuracy over a grid of radii for the price of one attack: what falls at one radius falls at larger ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dlbench.attacks import checks
from dlbench.attacks.gradient import perturb
from dlbench.attacks.modes import Model
from dlbench.attacks.search import AttackResult


@dataclass(frozen=True, eq=False)
class RobustnessCurve:
    """Robust accuracy at each radius of a grid.

    Args:
        eps: the radii, rising.
        robust_accuracy: one for each.
        broken_at: [N] the least radius of the grid at which a sample fell; 0 where the model is wrong on x itself,
            infinity where it withstood all.
        x_adv: [N, ...] the point that broke a sample, or the worst at the largest radius.
        forwards, backwards: [N] passes over all radii.
    """

    eps: tuple[float, ...]
    robust_accuracy: tuple[float, ...]
    broken_at: Tensor
    x_adv: Tensor
    forwards: Tensor
    backwards: Tensor

    @property
    def median(self) -> float:
        """The radius at which half of the samples that the model gets right have fallen; infinity if none is."""
        right = self.broken_at[self.broken_at > 0]
        return float(right.double().quantile(0.5, interpolation="higher")) if len(right) else float("nan")


def robustness_curve(
    model: Model,
    x: Tensor,
    y: Tensor,
    eps_grid: Iterable[float],
    *,
    attack: Callable[..., AttackResult] = perturb,
    **settings: Any,
) -> RobustnessCurve:
    """Attack at each radius, smallest first, only what has withstood the smaller ones.

    A point inside a ball is inside every larger one, so the curve cannot rise. ``settings`` go to ``attack``;
    those with a number for each sample go with their samples.

    Raises:
        ValueError: an empty grid, or a radius that is none.
    """
    grid = sorted({float(eps) for eps in eps_grid})
    if not grid:
        raise ValueError("eps_grid is empty; give at least one radius")
    for eps in grid:
        checks.radius(eps)
    if not len(x):
        raise ValueError("x has no samples: there is no share of them to draw a curve of")
    open_samples = torch.ones(len(x), dtype=torch.bool, device=x.device)
    broken_at = torch.full((len(x),), torch.inf, dtype=torch.float64, device=x.device)
    x_adv, forwards, backwards = x.detach().clone(), torch.zeros_like(y), torch.zeros_like(y)
    ids = settings.pop("sample_ids", None)
    ids = torch.arange(len(x), device=x.device) if ids is None else ids
    accuracy = []
    for eps in grid:
        left = open_samples.nonzero().squeeze(1)
        if len(left):
            own = {name: value[left] if _by_sample(value, x) else value for name, value in settings.items()}
            found = attack(model, x[left], y[left], eps=eps, sample_ids=ids[left], **own)
            fell = found.success | ~found.clean_correct
            broken_at[left[fell]] = eps * found.clean_correct[fell].double()
            x_adv[left], open_samples[left] = found.x_adv, ~fell
            forwards[left] += found.forwards
            backwards[left] += found.backwards
        accuracy.append(float(open_samples.double().mean()))
    return RobustnessCurve(tuple(grid), tuple(accuracy), broken_at, x_adv, forwards, backwards)


def _by_sample(value: Any, x: Tensor) -> bool:
    """Whether a setting has a number for each sample, such as a target or a mask."""
    return isinstance(value, Tensor) and value.dim() == 1 and len(value) == len(x)
