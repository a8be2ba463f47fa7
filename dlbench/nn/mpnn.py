"""Message passing with edge features, of Gilmer et al. (ICML 2017, arXiv:1704.01212)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dlbench.nn.sparse import Linear
from dlbench.ops import Graph, aggregate


class NNConv(nn.Module):
    r"""Each neighbour's features go through a matrix that a network makes of the edge's features.

    .. math::
        x'_i = W x_i + \sum_j A(e_{ij})^T x_j + b, \quad A(e) = B_0 + \sum_{k=1}^{K} h_k(e) B_k

    The last layer of that network is linear, so the sum over neighbours can be taken before it: what is made is K + 1
    sums of neighbours for each node, never a matrix for each edge.

    Neural Message Passing for Quantum Chemistry, Gilmer et al., ICML 2017, arXiv:1704.01212, section 5; "edge network".

    Args:
        in_features, out_features: F and F'.
        edge_net: h, from edge features [E, D] to [E, K].
        edge_width: K.
        root: whether W is there (the paper has a GRU instead, see :class:`MPNN`).
        bias: whether b is there.

    Shapes:
        x [n, F]; edges [E, D], in the order in which the edges were given to the graph; the result [n, F'].
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        edge_net: nn.Module,
        edge_width: int,
        root: bool = True,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.edge_net = edge_net
        self.matrices = nn.Parameter(torch.empty(edge_width + 1, in_features, out_features))  # B_0 is the last
        self.root = Linear(in_features, out_features, bias=False) if root else None
        self.bias = nn.Parameter(torch.zeros(out_features)) if bias else None
        nn.init.normal_(self.matrices, std=((edge_width + 1) * in_features) ** -0.5)  # messages vary as x does

    def forward(self, x: Tensor, graph: Graph, edges: Tensor) -> Tensor:
        """Node features [n, F'] from x [n, F] and edges [E, D]."""
        shares = nn.functional.pad(self.edge_net(edges), (0, 1), value=1.0)  # [E, K + 1]
        copies = x.unsqueeze(1).expand(-1, shares.shape[1], -1)  # [n, K + 1, F]
        out = aggregate(copies, graph, shares).flatten(1) @ self.matrices.flatten(0, 1)
        if self.root is not None:
            out = out + self.root(x)
        return out if self.bias is None else out + self.bias


class MPNN(nn.Module):
    r"""Nodes send each other messages for some steps, and a GRU takes them in.

    .. math::
        h^0_i = \mathrm{ReLU}(W x_i), \quad h^{t+1}_i = \mathrm{GRU}(h^t_i, \sum_j A(e_{ij})^T h^t_j)

    All steps share their parameters. What it returns are nodes; a readout makes graphs of them:
    :class:`~dlbench.nn.Set2Set`, or the sum, ``dlbench.ops.segment_reduce(h, rowptr)``.

    Neural Message Passing for Quantum Chemistry, Gilmer et al., ICML 2017, arXiv:1704.01212; the "enn" of its enn-s2s.
    What differs: features are widened by a linear layer instead of zeros.

    Args:
        node_features, edge_features: F and D.
        hidden: F', of the states.
        steps: T.
        edge_width: of the edge network's one hidden layer.

    Shapes:
        x [n, F]; edges [E, D]; the result [n, F'].
    """

    def __init__(
        self, node_features: int, edge_features: int, hidden: int = 64, steps: int = 3, edge_width: int = 32
    ) -> None:
        super().__init__()
        self.steps = steps
        self.embed = Linear(node_features, hidden)
        edge_net = nn.Sequential(Linear(edge_features, edge_width), nn.ReLU())
        self.conv = NNConv(hidden, hidden, edge_net, edge_width, root=False)
        self.gru = nn.GRUCell(hidden, hidden)

    def forward(self, x: Tensor, graph: Graph, edges: Tensor) -> Tensor:
        """States of the nodes, [n, F'], from x [n, F] and edges [E, D]."""
        h: Tensor = self.embed(x).relu()
        for _ in range(self.steps):
            h = self.gru(self.conv(h, graph, edges), h)
        return h
