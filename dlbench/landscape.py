"""What the loss of a network looks like around its weights, and between those of two networks.

Everything here takes plain modules and a ``loss``, a function of a network that gives a scalar tensor. Networks that
are given stay as they are.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

Loss = Callable[[nn.Module], Tensor]


@torch.no_grad()
def losses_between(first: nn.Module, second: nn.Module, loss: Loss, points: int = 11) -> NDArray[np.float64]:
    """Losses [points] on the straight line from the weights of one network to those of another, ends included.

    Raises:
        ValueError: there are fewer than 3 points, or the networks have other numbers of parameters.
    """
    if points < 3:
        raise ValueError(f"points is {points}; expected at least 3, both ends and one between them")
    a, b = (parameters_to_vector(net.parameters()) for net in (first, second))
    if a.shape != b.shape:
        raise ValueError(f"networks of {len(a)} and {len(b)} parameters; give two of one architecture")
    return _losses(first, [torch.lerp(a, b, t) for t in np.linspace(0, 1, points)], loss)


def barrier(losses: ArrayLike) -> float:
    """By how much the loss on the way rises above the straight line between its ends, at the worst place.

    Of losses [points] at equal distances. At most 0 if the loss is convex on the way (Frankle et al., ICML 2020).
    """
    way = np.asarray(losses, dtype=float)
    if way.ndim != 1 or len(way) < 3:
        raise ValueError(f"losses have shape {list(way.shape)}; expected [points], with at least 3 points")
    return float((way - np.linspace(way[0], way[-1], len(way)))[1:-1].max())


@torch.no_grad()
def aligned(net: nn.Sequential, to: nn.Sequential, x: Tensor) -> nn.Sequential:
    """The same function as ``net``, its hidden units in the order that fits those of another network best.

    Layer by layer, units are matched so that the correlations of their outputs on x [n, ...] sum to the most (Li et
    al., Convergent learning, 2016).

    Args:
        net: linear layers and what acts on each feature alone, such as ReLUs; flattening before the first.
        to: a network of the same layers.
        x: examples.

    Raises:
        ValueError: layers that are none of these.
    """
    known = (nn.Linear, nn.ReLU, nn.Tanh, nn.Sigmoid, nn.GELU, nn.Flatten, nn.Identity)
    strange = [type(layer).__name__ for layer in (*net, *to) if not isinstance(layer, known)]
    if strange:
        raise ValueError(f"a layer is a {strange[0]}; only linear layers and activations can be aligned")
    net = copy.deepcopy(net)
    linear = [(number, layer) for number, layer in enumerate(net) if isinstance(layer, nn.Linear)]
    for (_, layer), (end, following) in pairwise(linear):
        theirs, mine = (_normalised(other[:end](x)) for other in (to, net))
        _, order = linear_sum_assignment((theirs.T @ mine).cpu().numpy(), maximize=True)
        reorder(layer, following, torch.from_numpy(order).to(layer.weight.device))
    return net


@torch.no_grad()
def reorder(layer: nn.Linear, following: nn.Linear, order: Tensor) -> None:
    """Put the units of a linear layer in another order [units], and the weights of the layer that they feed with them.

    With activations between the two that act on each unit alone, the function of both stays.
    """
    layer.weight.copy_(layer.weight[order])
    if layer.bias is not None:
        layer.bias.copy_(layer.bias[order])
    following.weight.copy_(following.weight[:, order])


def top_eigenvalue(net: nn.Module, loss: Loss, *, generator: torch.Generator, iterations: int = 20) -> float:
    """The eigenvalue of the largest size of the loss' Hessian, by power iteration; its sharpness where that is > 0."""
    parameters = [p for p in net.parameters() if p.requires_grad]
    gradient = parameters_to_vector(torch.autograd.grad(loss(net), parameters, create_graph=True))
    direction = torch.randn(len(gradient), generator=generator, dtype=gradient.dtype).to(gradient.device)
    value = 0.0
    for _ in range(iterations):
        direction = direction / direction.norm()
        product = torch.autograd.grad(gradient, parameters, direction, retain_graph=True, materialize_grads=True)
        turned = torch.cat([part.reshape(-1) for part in product])
        value = float(direction @ turned)
        if not turned.any():
            break
        direction = turned
    return value


@torch.no_grad()
def surface(
    net: nn.Module, loss: Loss, *, generator: torch.Generator, reach: float = 1.0, points: int = 15
) -> NDArray[np.float64]:
    """Losses [points, points] on a plane through the weights, in its middle; ``reach`` is how far it goes each way.

    Its two directions are random, and each row of a weight matrix moves by as much as it is long, so that networks of
    other scales can be compared; biases stay (Li et al., Visualizing the loss landscape, NeurIPS 2018).
    """
    middle = parameters_to_vector(net.parameters())
    directions = []
    for _ in range(2):
        parts = []
        for p in net.parameters():
            part = torch.zeros_like(p)
            if p.dim() > 1:
                part = torch.randn(p.shape, generator=generator, dtype=p.dtype).to(p.device)
                lengths = [w.flatten(1).norm(dim=1).view(-1, *[1] * (p.dim() - 1)) for w in (p, part)]
                part = part * lengths[0] / lengths[1]
            parts.append(part.reshape(-1))
        directions.append(torch.cat(parts))
    steps = np.linspace(-reach, reach, points).tolist()
    plane = [middle + a * directions[0] + b * directions[1] for a in steps for b in steps]
    return _losses(net, plane, loss).reshape(points, points)


def _losses(net: nn.Module, places: Sequence[Tensor], loss: Loss) -> NDArray[np.float64]:
    net = copy.deepcopy(net)
    found = []
    for place in places:
        vector_to_parameters(place, net.parameters())
        found.append(float(loss(net)))
    return np.array(found)


def _normalised(features: Tensor) -> Tensor:
    """[n, features] of mean 0 and length 1, or 0 where they never change."""
    centred = features - features.mean(0)
    lengths: Tensor = torch.linalg.vector_norm(centred, dim=0)
    return centred / lengths.clamp_min(1e-12)
