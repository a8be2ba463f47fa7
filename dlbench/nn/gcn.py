"""Graph convolution of Kipf & Welling (ICLR 2017, arXiv:1609.02907)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dlbench.nn.sparse import SparseMatrix
from dlbench.ops import Graph, aggregate


class GCNConv(nn.Module):
    r"""Each node takes a weighted mean of its neighbours' features, its own among them, through one linear map.

    .. math::
        X' = \hat{D}^{-1/2} \hat{A} \hat{D}^{-1/2} X W + b

    with :math:`\hat{A} = A + I` and the diagonal :math:`\hat{D}_{ii} = \sum_j \hat{A}_{ij}`.

    The normalised graph comes from :func:`gcn_norm`, once for all layers and steps::

        graph, weight = gcn_norm(Graph.from_edge_index(edge_index, num_nodes=n))
        hidden = conv(x, graph, weight).relu()

    Semi-Supervised Classification with Graph Convolutional Networks, Kipf & Welling, ICLR 2017, arXiv:1609.02907,
    equation 2.

    Args:
        in_features, out_features: F and F'.
        bias: whether b is there (the paper's own code has none).

    Shapes:
        x [n, F], dense or :class:`~dlbench.nn.SparseMatrix`, or [n, B, F] for B signals on one graph; weight [E]; the
        result [n, F'] or [n, B, F'].
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(in_features, out_features))
        self.bias = nn.Parameter(torch.empty(out_features)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Glorot's uniform weights, as in the paper; biases 0."""
        nn.init.xavier_uniform_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor | SparseMatrix, graph: Graph, weight: Tensor) -> Tensor:
        """Node features [n, F'] from x [n, F]."""
        out = aggregate(x @ self.weight, graph, weight)  # features first: F' is the narrower side as a rule
        return out if self.bias is None else out + self.bias

    def extra_repr(self) -> str:
        """What stands inside the brackets of the layer's repr."""
        return f"{self.weight.shape[0]}, {self.weight.shape[1]}, bias={self.bias is not None}"


def gcn_norm(graph: Graph, dtype: torch.dtype = torch.float32) -> tuple[Graph, Tensor]:
    r"""The graph with a self loop at every node, and the weights :math:`1 / \sqrt{\hat{d}_i \hat{d}_j}` of its edges.

    A node that has a self loop already gets no second one. Degrees count incoming edges, loops among them, so none
    is zero.

    Args:
        graph: n nodes, E edges, the same nodes as sources and targets.
        dtype: of the weights.

    Returns:
        The graph with its loops, and its weights [E + number of added loops].

    Raises:
        ValueError: the sources are not the targets.
    """
    looped = graph.with_self_loops()
    return looped, looped.gcn_weight(dtype)
