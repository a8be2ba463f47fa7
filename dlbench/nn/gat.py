"""Graph attention network of Veličković et al. (ICLR 2018, arXiv:1710.10903)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dlbench.nn.checks import check_at_least, check_nodes, check_share
from dlbench.nn.sparse import Linear, SparseMatrix
from dlbench.ops import Graph, gat_attend


class GATConv(nn.Module):
    r"""Each node takes a mean of its neighbours' features, weighted by what it learned to attend to.

    .. math::
        x'_i = \big\Vert_h \sum_j \alpha_{ijh} W_h x_j + b, \quad
        \alpha_{i \cdot h} = \mathrm{softmax}_j\, \mathrm{LeakyReLU}(s_h^T W_h x_j + t_h^T W_h x_i)

    A node attends to the sources of its edges and to nothing else; the paper's attends to itself as well, for which
    give ``graph.with_self_loops()``. No tensor over edges and features is made.

    Graph Attention Networks, Veličković et al., ICLR 2018, arXiv:1710.10903, equations 1 to 6.

    Args:
        in_features, out_features: F, and F' of each head.
        heads: H.
        concat: whether the heads stand side by side, or are averaged (the paper's last layer).
        negative_slope: of the leaky ReLU.
        dropout: share of the attention that is dropped in training; drawn from torch's generator.
        bias: whether b is there.

    Shapes:
        x [n, F], dense or :class:`~dlbench.nn.SparseMatrix`; the result [n, H F'], or [n, F'] of averaged heads.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        heads: int = 1,
        concat: bool = True,
        negative_slope: float = 0.2,
        dropout: float = 0.0,
        bias: bool = True,
    ) -> None:
        super().__init__()
        check_at_least(1, in_features=in_features, out_features=out_features, heads=heads)
        check_share(dropout=dropout)
        self.heads, self.concat = heads, concat
        self.negative_slope, self.dropout = negative_slope, dropout
        self.linear = Linear(in_features, heads * out_features, bias=False)
        self.attend_src = nn.Parameter(torch.empty(heads, out_features))
        self.attend_dst = nn.Parameter(torch.empty(heads, out_features))
        self.bias = nn.Parameter(torch.empty(heads * out_features if concat else out_features)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Glorot's uniform weights, as in the paper; biases 0."""
        self.linear.reset_parameters()
        nn.init.xavier_uniform_(self.attend_src)
        nn.init.xavier_uniform_(self.attend_dst)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor | SparseMatrix, graph: Graph) -> Tensor:
        """Node features from x [n, F]."""
        check_nodes(x, graph)
        h = self.linear(x).unflatten(-1, (self.heads, -1))  # [n, H, F']
        drop = self.dropout if self.training else 0.0
        seed = int(torch.randint(2**63 - 1, ())) if drop else 0
        out = gat_attend(h, self.attend_src, self.attend_dst, graph, self.negative_slope, drop, seed)
        out = out.flatten(1) if self.concat else out.mean(1)
        return out if self.bias is None else out + self.bias

    def extra_repr(self) -> str:
        """What stands inside the brackets of the layer's repr."""
        return f"heads={self.heads}, concat={self.concat}, dropout={self.dropout}"
