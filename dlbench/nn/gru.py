"""Recurrent networks on graphs: a GRU whose linear maps look at the neighbours (T-GCN, DCRNN)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from dlbench.nn.diffusion import DiffusionConv
from dlbench.nn.gcn import GCNConv
from dlbench.ops import Graph


class GraphGRU(nn.Module):
    r"""A gated recurrent unit at every node, its linear maps replaced by a convolution on the graph.

    .. math::
        r, u = \sigma(\mathrm{conv}_1([x ; h])), \quad c = \tanh(\mathrm{conv}_2([x ; r \odot h])), \quad
        h' = u \odot h + (1 - u) \odot c

    One call is one step in time::

        h = None
        for x in series:  # [T, n, F]
            h = cell(x, graph, weight, h)

    Args:
        in_features, hidden: F and H.
        conv: makes a layer from the numbers of features that go in and come out; its forward takes x, graph, weight.

    Shapes:
        x [n, F], or [n, B, F] for B series on one graph; weight, what the convolution takes; h and the result [n, H] or
        [n, B, H].
    """

    def __init__(self, in_features: int, hidden: int, conv: Callable[[int, int], nn.Module]) -> None:
        super().__init__()
        self.hidden = hidden
        self.gates = conv(in_features + hidden, 2 * hidden)
        self.candidate = conv(in_features + hidden, hidden)
        nn.init.ones_(self.gates.bias)  # type: ignore[arg-type]  # memory is kept at first, as both papers' code has it

    def forward(self, x: Tensor, graph: Graph, weight: Tensor, h: Tensor | None = None) -> Tensor:
        """The next state of every node, from x, and from the last state h: zeros where it is not given."""
        if h is None:
            h = x.new_zeros(*x.shape[:-1], self.hidden)
        reset, update = self.gates(torch.cat([x, h], dim=-1), graph, weight).sigmoid().chunk(2, dim=-1)
        candidate = self.candidate(torch.cat([x, reset * h], dim=-1), graph, weight).tanh()
        out: Tensor = update * h + (1 - update) * candidate
        return out


class TGCN(GraphGRU):
    """The :class:`GraphGRU` of graph convolutions; graph and weights come from :func:`gcn_norm`.

    T-GCN: A Temporal Graph Convolutional Network for Traffic Prediction, Zhao et al., IEEE T-ITS 2020,
    arXiv:1811.05320; as its authors' code has it, where the state goes through the convolution too.
    """

    def __init__(self, in_features: int, hidden: int) -> None:
        super().__init__(in_features, hidden, GCNConv)


class DCGRU(GraphGRU):
    """The :class:`GraphGRU` of diffusion convolutions; weights come from :func:`diffusion_norm`.

    Diffusion Convolutional Recurrent Neural Network, Li et al., ICLR 2018, arXiv:1707.01926, section 2.3.

    Args:
        in_features, hidden: F and H.
        steps: K of the diffusion.
    """

    def __init__(self, in_features: int, hidden: int, steps: int = 2) -> None:
        super().__init__(in_features, hidden, lambda into, out: DiffusionConv(into, out, steps))
