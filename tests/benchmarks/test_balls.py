"""Steps in the L2 and the L1 ball, and with momentum, beside those of other libraries, in turns with them.

pytest tests/benchmarks/test_balls.py -m benchmark --benchmark-enable --benchmark-columns=median,rounds

What is timed is a step alone, from a given gradient, on points that earlier steps brought to the edge of the ball. The
rivals are foolbox' own methods, and torchattacks' lines (3.5.1, ``pgdl2.py`` and ``mifgsm.py``), which cannot be called
without a model around them; it has no attack in the L1 ball. None of them projects onto ball and box together. PGD for
L1 of foolbox and ART does not project at all but rescales, so that the rival there is foolbox' SparseL1DescentAttack.
"""

from __future__ import annotations

import pytest
import torch

from dlbench.ops import l1_step_, l2_step_, momentum_step_

from .turns import in_turns

pytestmark = pytest.mark.benchmark

SHAPES = {(128, 3, 32, 32): (0.5, 12.0), (64, 3, 224, 224): (3.0, 60.0)}  # with radii that are usual there, L2 and L1


def images(shape):
    """Points, a quarter of them black or white, and a gradient whose size differs from place to place."""
    random = torch.Generator().manual_seed(0)
    x = (torch.rand(shape, generator=random) * 4 / 3 - 1 / 6).clamp(0, 1)
    grad = torch.randn(shape, generator=random) * torch.randn(shape, generator=random).exp()
    return x, grad


def of_foolbox(attack, x_adv, x, grad, eps, step_size):
    import eagerpy as ep
    from foolbox.types import Bounds

    bounds = Bounds(0, 1)

    def step():
        state, centre, slope = map(ep.astensor, (x_adv, x, grad))
        moved = state + step_size * attack.normalize(slope, x=state, bounds=bounds)
        return ep.clip(attack.project(moved, centre, eps), *bounds).raw

    return step


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "x".join(map(str, shape)))
def test_l2_step(benchmark, shape):
    foolbox = pytest.importorskip("foolbox")
    x, grad = images(shape)
    eps = SHAPES[shape][0]
    x_adv = x.clone()

    def ours():
        return l2_step_(x_adv, x, grad, eps=eps, step_size=eps / 4)

    for _ in range(8):
        ours()
    start = x_adv.clone()

    def of_torchattacks():
        norms = torch.norm(grad.view(len(grad), -1), p=2, dim=1) + 1e-10
        moved = start + eps / 4 * (grad / norms.view(-1, 1, 1, 1))
        delta = moved - x
        factor = torch.min(eps / torch.norm(delta.view(len(x), -1), p=2, dim=1), torch.ones(len(x)))
        return torch.clamp(x + delta * factor.view(-1, 1, 1, 1), min=0, max=1)

    rivals = {
        "torchattacks": of_torchattacks,
        "foolbox": of_foolbox(foolbox.attacks.L2PGD(), start, x, grad, eps, eps / 4),
    }
    in_turns(benchmark, ours, rivals, rounds=20, primed=True, shape=list(shape))


@pytest.mark.parametrize("sparsity", [0.01, 0.2])
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "x".join(map(str, shape)))
def test_l1_step(benchmark, shape, sparsity):
    foolbox = pytest.importorskip("foolbox")
    x, grad = images(shape)
    eps = SHAPES[shape][1]
    x_adv = x.clone()

    def ours():
        return l1_step_(x_adv, x, grad, eps=eps, step_size=eps / 4, sparsity=sparsity)

    for _ in range(8):
        ours()
    attack = foolbox.attacks.SparseL1DescentAttack(quantile=1 - sparsity)
    rivals = {"foolbox": of_foolbox(attack, x_adv.clone(), x, grad, eps, eps / 4)}
    in_turns(benchmark, ours, rivals, rounds=8, primed=True, shape=list(shape), sparsity=sparsity)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "x".join(map(str, shape)))
def test_momentum_step(benchmark, shape):
    x, grad = images(shape)
    start, x_adv, momentum = x.clone(), x.clone(), torch.zeros(shape)
    eps, alpha = 8 / 255, 2 / 255

    def ours():
        return momentum_step_(x_adv, x, grad, momentum, eps=eps, step_size=alpha)

    def of_torchattacks():
        g = grad / torch.mean(torch.abs(grad), dim=(1, 2, 3), keepdim=True)
        g = g + momentum * 1.0
        moved = start + alpha * g.sign()
        return g, torch.clamp(x + torch.clamp(moved - x, min=-eps, max=eps), min=0, max=1)

    in_turns(benchmark, ours, {"torchattacks": of_torchattacks}, rounds=20, primed=True, shape=list(shape))
