"""Noise, the control of every attack: it asks the model for nothing."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from dlbench.attacks import checks
from dlbench.attacks.checks import Bounds
from dlbench.attacks.modes import Model, attack_mode
from dlbench.attacks.randomness import signs, uniform
from dlbench.attacks.search import AttackResult, Search


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
    checks.samples(x, y, bounds)
    checks.whole(restarts=restarts)
    checks.one_of(("uniform", "sign"), kind=kind)
    eps = checks.radius(eps)
    with attack_mode(model, x.device), torch.no_grad():
        search = Search(x, y, bounds=bounds, sample_ids=sample_ids)
        search.clean(model(search.x.clone()))  # a model may write to what it is given
        for restart in range(restarts if eps > 0 else 0):
            if not search.drop_decided():
                break
            drawn = uniform(seed, restart, search.ids[search.active], x.shape[1:], x.dtype)
            drawn = signs(drawn) if kind == "sign" else drawn
            points = search.project(search.centres + eps * drawn, eps)
            search.visit(points, model(points.clone()))
        return search.result(by_gradient=False)
