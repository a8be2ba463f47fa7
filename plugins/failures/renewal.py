"""How networks are kept up with a changing world: many small ones, each in its way, trained at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dlbench import Context
from dlbench.stacking import Stack, batches, step_at

RATE = 1e-2


class Way(NamedTuple):
    """How a network is trained."""

    rate: float = RATE
    l2: float = 0.0
    elasticity: float = 0.0  # of EWC
    teacher: str = "labels"  # or "self_trained", by its own answers, or "tent", by their entropy


def network(features: int, hidden: int, classes: int) -> nn.Module:
    """A perceptron; its normalisation is what Tent adapts."""
    return nn.Sequential(nn.Linear(features, hidden), nn.LayerNorm(hidden), nn.ReLU(), nn.Linear(hidden, classes))


def train(
    nets: Sequence[nn.Module],
    x: Tensor,
    y: Tensor,
    ways: Sequence[Way],
    updates: int,
    batch: int,
    context: Context,
    *axis: str | int,
    anchor: Anchor | None = None,
) -> Stack:
    """Train networks on x [K, n, features] and y [K, n] by Adam, each in its way, all in the same order of examples."""
    device, k = x.device, len(ways)
    stack = Stack(nets).to(device)
    rate, l2, elasticity = (
        torch.tensor([getattr(way, name) for way in ways], device=device) for name in ("rate", "l2", "elasticity")
    )
    itself, tent = (
        torch.tensor([way.teacher == name for way in ways], device=device) for name in ("self_trained", "tent")
    )
    if itself.any():
        with torch.no_grad():
            y = torch.where(itself[:, None], stack.each(x).argmax(-1), y)  # its answers before this step's training
    parameters = list(stack.parameters())
    names = [name for name, _ in nets[0].named_parameters()]
    others = [p for name, p in zip(names, parameters, strict=True) if not name.startswith("1.")]
    adam = torch.optim.Adam(parameters, lr=1.0, fused=True)
    each = torch.arange(k, device=device)[:, None]
    order = context.generator("order", *axis)
    for update, rows in enumerate(batches([x.shape[1]], batch, steps=updates, generators=[order])):
        rows = rows.to(device).expand(k, -1)
        logits = stack.each(x.index_select(1, rows[0]))
        loss = stack.losses(F.cross_entropy, logits, y[each, rows])
        if tent.any():
            entropy = -(logits.softmax(-1) * logits.log_softmax(-1)).sum(-1).mean(1)
            loss = torch.where(tent, entropy, loss)
        if l2.any():
            loss = loss + l2 * sum(p.flatten(1).square().sum(1) for p in parameters)
        if anchor is not None:
            loss = loss + elasticity / 2 * anchor.pull(parameters)
        adam.zero_grad()
        loss.sum().backward()
        for p in others if tent.any() else []:
            p.grad[tent] = 0  # Tent moves the normalisation alone
        step_at(adam, (1 - update / updates) * rate)
    return stack


class Anchor(NamedTuple):
    """What EWC holds on to: weights, and how much the past's answers depend on each (the diagonal of Fisher's
    information, summed over the past's steps).
    """

    weights: list[Tensor]  # [K, ...] each
    importance: list[Tensor]

    @classmethod
    def after(
        cls, nets: Sequence[nn.Module], ways: Sequence[Way], x: Tensor, y: Tensor, before: Anchor | None
    ) -> Anchor:
        """The anchor of networks that have learnt x [n, features] and y [n], the last of the past's steps.

        Of those that are not held nothing is important.
        """
        parts = []
        for net, way in zip(nets, ways, strict=True):
            nothing = [torch.zeros_like(p) for p in net.parameters()]
            parts.append(fisher(net, x, y) if way.elasticity else nothing)
        importance = [torch.stack(of_nets) for of_nets in zip(*parts, strict=True)]
        if before is not None:
            importance = [a + b for a, b in zip(importance, before.importance, strict=True)]
        weights = [torch.stack(of_nets).detach() for of_nets in zip(*(net.parameters() for net in nets), strict=True)]
        return cls(weights, importance)

    def pull(self, parameters: Sequence[Tensor]) -> Tensor:
        """[K]: the squared distances from the weights, weighted by their importance."""
        parts = zip(parameters, self.weights, self.importance, strict=True)
        return sum((f * (p - w).square()).flatten(1).sum(1) for p, w, f in parts)


def fisher(net: nn.Module, x: Tensor, y: Tensor, examples: int = 200) -> list[Tensor]:
    """For each parameter, the mean over some examples of the squared gradient of the log likelihood of their label."""
    parameters = {name: p.detach() for name, p in net.named_parameters()}

    def loss(parameters: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(torch.func.functional_call(net, parameters, (x[None],)), y[None])

    gradients = torch.func.vmap(torch.func.grad(loss), (None, 0, 0))(parameters, x[:examples], y[:examples])
    return [gradients[name].square().mean(0) for name in parameters]


@torch.no_grad()
def answer(members: Sequence[nn.Module], x: Tensor) -> Tensor:
    """[n]: the class that is likeliest on average."""
    return torch.stack([net(x).softmax(-1) for net in members]).mean(0).argmax(-1)


def share(members: Sequence[nn.Module], x: Tensor, y: Tensor) -> float:
    """Share of right answers."""
    return float((answer(members, x) == y).double().mean())
