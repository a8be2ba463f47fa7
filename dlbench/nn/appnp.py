"""Predict then propagate, of Klicpera, Bojchevski & Günnemann (ICLR 2019, arXiv:1810.05997)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import dropout

from dlbench.nn.checks import check_at_least, check_nodes, check_share
from dlbench.ops import Graph, aggregate


class APPNP(nn.Module):
    r"""Spreads what a network predicted for each node over the graph, by steps of personalised PageRank.

    .. math::
        Z^{(0)} = X, \quad Z^{(k+1)} = (1 - \alpha) \hat{A} Z^{(k)} + \alpha X

    It has no parameters, so the neighbourhood grows with the steps while the network in front stays as small as it is.
    Graph and weights come from :func:`gcn_norm`.

    Predict then Propagate: Graph Neural Networks meet Personalized PageRank, Klicpera et al., ICLR 2019,
    arXiv:1810.05997, equation 4.

    Args:
        steps: K.
        alpha: share of the prediction that each step keeps.
        dropout: share of the edges that is dropped in training, other ones at every step.

    Shapes:
        x [n, F]; weight [E]; the result [n, F].
    """

    def __init__(self, steps: int = 10, alpha: float = 0.1, dropout: float = 0.0) -> None:
        super().__init__()
        check_at_least(0, steps=steps)
        check_share(alpha=alpha, dropout=dropout)
        self.steps, self.alpha, self.dropout = steps, alpha, dropout

    def forward(self, x: Tensor, graph: Graph, weight: Tensor) -> Tensor:
        """What x [n, F] is after K steps, [n, F]."""
        check_nodes(x, graph)
        out = x
        for _ in range(self.steps):
            kept = dropout(weight, self.dropout, self.training)
            out = (1 - self.alpha) * aggregate(out, graph, kept) + self.alpha * x
        return out

    def extra_repr(self) -> str:
        """What stands inside the brackets of the layer's repr."""
        return f"steps={self.steps}, alpha={self.alpha}, dropout={self.dropout}"
