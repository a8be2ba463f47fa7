"""Attacks without gradients: noise, the control of every gradient attack, and a search by queries alone."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from dlbench.attacks.modes import Model, attack_mode
from dlbench.attacks.randomness import uniform
from dlbench.attacks.search import AttackResult, Bounds, Search, check_eps


def noise(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    eps: float,
    kind: Literal["uniform", "sign"] = "uniform",
    restarts: int = 1,
    bounds: Bounds = (0.0, 1.0),
    seed: int = 0,
    sample_ids: Tensor | None = None,
) -> AttackResult:
    """Random noise of the same size as an attack, the worst of ``restarts`` draws for each sample.

    ``"uniform"`` draws from the ball, ``"sign"`` from its corners, where gradient attacks end up. The other arguments
    and the result are those of :func:`~dlbench.attacks.pgd`; a step is a draw.
    """
    check_eps(eps)
    if kind not in ("uniform", "sign"):
        raise ValueError(f"kind is {kind!r}; it must be 'uniform' or 'sign'")
    with attack_mode(model), torch.no_grad():
        search = Search(x, y, bounds=bounds, sample_ids=sample_ids)
        search.clean(model(search.x))
        for restart in range(restarts if eps > 0 else 0):
            if not search.drop_decided():
                break
            drawn = uniform(seed, restart, search.ids[search.active], x.shape[1:], x.dtype)
            drawn = _signs(drawn) if kind == "sign" else drawn
            points = search.project(search.centres + eps * drawn, eps)
            search.visit(points, model(points))
        return search.result(by_gradient=False)


def random_search(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    eps: float,
    queries: int = 200,
    bounds: Bounds = (0.0, 1.0),
    seed: int = 0,
    sample_ids: Tensor | None = None,
) -> AttackResult:
    """Square windows of ±eps at random places, kept where they help (after Andriushchenko et al., ECCV 2020).

    It uses logits only, so it tells whether a defence merely hides its gradients. x is [N, channels, height, width].
    The first query is vertical stripes; the share of the image that a window covers then falls from 0.8 to one pixel.
    The other arguments and the result are those of :func:`~dlbench.attacks.pgd`; a step is a query.
    """
    check_eps(eps)
    if x.dim() != 4:
        raise ValueError(f"x must be images [N, channels, height, width]; got {list(x.shape)}")
    channels, height, width = x.shape[1:]
    with attack_mode(model), torch.no_grad():
        search = Search(x, y, bounds=bounds, loss="margin", sample_ids=sample_ids)
        search.clean(model(search.x))
        for query in range(queries if eps > 0 else 0):
            if not search.drop_decided():
                break
            points, ids = search.x_adv[search.active], search.ids[search.active]
            if query == 0:
                stripes = _signs(uniform(seed, query, ids, (channels, 1, width), x.dtype))
                points = search.centres + eps * stripes
            else:
                covered = 0.8 * (1 - query / queries) ** 2
                side = min(max(1, round(math.sqrt(covered * height * width))), height, width)
                drawn = uniform(seed, query, ids, (2 + channels,), x.dtype)
                window = (
                    _span(drawn[:, 0], side, height)[:, None, :, None] & _span(drawn[:, 1], side, width)[:, None, None]
                )
                colour = _signs(drawn[:, 2:])[:, :, None, None]
                points = torch.where(window, search.centres + eps * colour, points)
            points = search.project(points, eps)
            search.visit(points, model(points))
        return search.result(by_gradient=False)


def _signs(drawn: Tensor) -> Tensor:
    """Uniform numbers in [-1, 1) to -1 and +1, half and half."""
    return torch.where(drawn < 0, -1.0, 1.0).to(drawn.dtype)


def _span(drawn: Tensor, side: int, length: int) -> Tensor:
    """[n, length] bool: ``side`` neighbouring cells at a place drawn in [-1, 1)."""
    first = ((drawn + 1) / 2 * (length - side + 1)).long().clamp(max=length - side)[:, None]
    cells = torch.arange(length, device=drawn.device)
    return (cells >= first) & (cells < first + side)
