"""Diffusion convolution of Li, Yu, Shahabi & Liu (ICLR 2018, arXiv:1707.01926)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dlbench.nn.checks import check_at_least, check_nodes
from dlbench.ops import Graph, aggregate


class DiffusionConv(nn.Module):
    r"""Random walks of up to K steps, with the edges and against them, each through a matrix of its own.

    .. math::
        X' = X W_0 + \sum_{k=1}^{K} (P_+^k X W_k + P_-^k X W_{K+k}) + b

    with :math:`P_+` the means over in-neighbours and :math:`P_-` those over out-neighbours. The weights come from
    :func:`diffusion_norm`, once for all layers and steps::

        weight = diffusion_norm(graph, distances)
        out = conv(x, graph, weight)

    Diffusion Convolutional Recurrent Neural Network, Li et al., ICLR 2018, arXiv:1707.01926, equation 2; of the two
    terms of no step one is enough.

    Args:
        in_features, out_features: F and F'.
        steps: K.
        bias: whether b is there.

    Shapes:
        x [n, F], or [n, B, F] for B signals on one graph; weight [2, E]; the result [n, F'] or [n, B, F'].
    """

    def __init__(self, in_features: int, out_features: int, steps: int = 2, bias: bool = True) -> None:
        super().__init__()
        check_at_least(0, steps=steps)
        self.steps = steps
        self.weight = nn.Parameter(torch.empty((1 + 2 * steps) * in_features, out_features))  # W_0 on top
        self.bias = nn.Parameter(torch.empty(out_features)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Glorot's uniform weights; biases 0."""
        nn.init.xavier_uniform_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor, graph: Graph, weight: Tensor) -> Tensor:
        """Node features [n, F'] from x [n, F]."""
        check_nodes(x, graph)
        if weight.shape != (2, graph.num_edges):
            raise ValueError(
                f"weight has shape {list(weight.shape)}; for this graph it must be [2, {graph.num_edges}], "
                "as diffusion_norm gives it"
            )
        walks = [x]
        for way, share in zip((graph, graph.transpose), weight, strict=True):
            here = x
            for _ in range(self.steps):
                here = aggregate(here, way, share)
                walks.append(here)
        out = torch.cat(walks, dim=-1) @ self.weight
        return out if self.bias is None else out + self.bias

    def extra_repr(self) -> str:
        """What stands inside the brackets of the layer's repr."""
        return f"steps={self.steps}, bias={self.bias is not None}"


def diffusion_norm(graph: Graph, weight: Tensor | None = None) -> Tensor:
    """The weights of the edges, [2, E], as shares of those into their targets and of those out of their sources.

    Args:
        graph: n nodes, E edges.
        weight: [E], at least 0, in the order in which the edges were given to the graph; 1 each where it is not given.

    Raises:
        ValueError: weights of another shape.
    """
    source, target = graph.edge_index
    weight = torch.ones(graph.num_edges, device=graph.device) if weight is None else weight
    ones = weight.new_ones(max(graph.num_src, graph.num_dst), 1)
    arriving = aggregate(ones[: graph.num_src], graph, weight)[target, 0]
    leaving = aggregate(ones[: graph.num_dst], graph.transpose, weight)[source, 0]
    total = torch.stack([arriving, leaving])
    return weight / total.masked_fill(total == 0, 1)  # where all edges of a node weigh 0, so do their shares
