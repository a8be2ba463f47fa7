"""Edge convolution of Wang et al. (ACM TOG 2019, arXiv:1801.07829): convolution on the neighbours of points."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import linear

from dlbench.nn.sparse import Linear
from dlbench.ops import Graph, edge_conv, knn_graph


class EdgeConv(nn.Module):
    r"""Each node takes the maximum over its neighbours of a layer on where it is and where they are from there.

    .. math::
        x'_i = \max_j \mathrm{LeakyReLU}(W [x_i ; x_j - x_i] + b)

    The maximum is taken before the leaky ReLU and beside the part of :math:`x_i`, so nothing is made for every edge
    (:func:`dlbench.ops.edge_conv`). A node without neighbours gets zeros.

    Dynamic Graph CNN for Learning on Point Clouds, Wang et al., ACM TOG 2019, arXiv:1801.07829, equation 8. What
    differs: no batch normalisation inside of the maximum, which could make its function fall; put one behind the layer.

    Args:
        in_features, out_features: F and F'.
        negative_slope: of the leaky ReLU, at least 0.
        bias: whether b is there.

    Shapes:
        x [n, F]; the result [n, F'].
    """

    def __init__(self, in_features: int, out_features: int, negative_slope: float = 0.2, bias: bool = True) -> None:
        super().__init__()
        self.negative_slope = negative_slope
        self.linear = Linear(2 * in_features, out_features, bias=bias)

    def forward(self, x: Tensor, graph: Graph) -> Tensor:
        """Node features [n, F'] from x [n, F]."""
        own, apart = self.linear.weight.chunk(2, dim=1)  # W [x_i ; x_j - x_i] = (own - apart) x_i + apart x_j
        return edge_conv(linear(x, own - apart, self.linear.bias), linear(x, apart), graph, self.negative_slope)

    def extra_repr(self) -> str:
        """What stands inside the brackets of the layer's repr."""
        return f"negative_slope={self.negative_slope}"


class DynamicEdgeConv(EdgeConv):
    """An :class:`EdgeConv` whose graph joins every point to the k nearest, by the features that come in.

    A point is its own first neighbour, as in the paper's code.

    Args:
        in_features, out_features, negative_slope, bias: as for :class:`EdgeConv`.
        k: number of neighbours.

    Shapes:
        x [N, F]; rowptr [B + 1], cloud b owns the points from rowptr[b] to rowptr[b + 1]; the result [N, F'].
    """

    def __init__(
        self, in_features: int, out_features: int, k: int = 20, negative_slope: float = 0.2, bias: bool = True
    ) -> None:
        super().__init__(in_features, out_features, negative_slope, bias)
        self.k = k

    def forward(self, x: Tensor, rowptr: Tensor | None = None) -> Tensor:  # type: ignore[override]
        """Features of the points, [N, F'], from x [N, F]; all in one cloud without rowptr."""
        return super().forward(x, knn_graph(x, self.k, rowptr, loop=True))

    def extra_repr(self) -> str:
        """What stands inside the brackets of the layer's repr."""
        return f"k={self.k}, {super().extra_repr()}"
