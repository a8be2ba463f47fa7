"""Graph isomorphism network of Xu, Hu, Leskovec & Jegelka (ICLR 2019, arXiv:1810.00826)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dlbench.ops import Graph, aggregate


class GINConv(nn.Module):
    r"""Each node adds up its neighbours' features and its own, and a network reads the sum.

    .. math::
        x'_i = h\big((1 + \epsilon) x_i + \textstyle\sum_{j \in N(i)} x_j\big)

    A sum keeps the multiset of neighbours apart where a mean or a maximum does not, so with an injective h the layers
    tell as many graphs apart as the Weisfeiler-Leman test.

    How Powerful are Graph Neural Networks?, Xu et al., ICLR 2019, arXiv:1810.00826, equation 4.1.

    Args:
        net: h, from [n, F] to [n, F'].
        eps: :math:`\epsilon`, where it starts.
        learn_eps: whether it is learned (GIN-epsilon) or stays (GIN-0, the paper's better one).

    Shapes:
        x [n, F]; weight [E] or none; the result [n, F'].
    """

    eps: Tensor

    def __init__(self, net: nn.Module, eps: float = 0.0, learn_eps: bool = False) -> None:
        super().__init__()
        self.net = net
        start = torch.tensor(float(eps))
        if learn_eps:
            self.eps = nn.Parameter(start)
        else:
            self.register_buffer("eps", start)

    def forward(self, x: Tensor, graph: Graph, weight: Tensor | None = None) -> Tensor:
        """Node features [n, F'] from x [n, F]."""
        out: Tensor = self.net((1 + self.eps) * x + aggregate(x, graph, weight))
        return out
