"""GraphSAGE of Hamilton, Ying & Leskovec (NeurIPS 2017, arXiv:1706.02216)."""

from __future__ import annotations

from torch import Tensor, nn

from dlbench.nn.sparse import Linear, SparseMatrix
from dlbench.ops import Graph, aggregate

LINEAR = ("sum", "mean")


class SAGEConv(nn.Module):
    r"""Each node maps its own features and a summary of its neighbours' by two linear maps of their own.

    .. math::
        x'_i = W_1 x_i + W_2 \, \mathrm{reduce}_{j \in N(i)} x_j + b

    Inductive Representation Learning on Large Graphs, Hamilton et al., NeurIPS 2017, arXiv:1706.02216, algorithm 1.
    What differs: the whole neighbourhood instead of a sample of it, and the result is not scaled to length 1. The
    paper's pooling aggregator is ``reduce="max"`` on features that went through a layer before.

    Args:
        in_features, out_features: F and F'.
        reduce: how neighbours are summarised, as in :func:`dlbench.ops.aggregate`.
        bias: whether b is there.

    Shapes:
        x [n, F], for the sum and the mean also :class:`~dlbench.nn.SparseMatrix`; weight [E] or none; the result
        [n, F'].
    """

    def __init__(self, in_features: int, out_features: int, reduce: str = "mean", bias: bool = True) -> None:
        super().__init__()
        self.reduce = reduce
        self.root = Linear(in_features, out_features, bias=bias)
        self.neighbours = Linear(in_features, out_features, bias=False)

    def forward(self, x: Tensor | SparseMatrix, graph: Graph, weight: Tensor | None = None) -> Tensor:
        """Node features [n, F'] from x [n, F]."""
        if self.reduce in LINEAR:  # features first: F' is the narrower side as a rule
            near = aggregate(self.neighbours(x), graph, weight, self.reduce)
        elif isinstance(x, SparseMatrix):
            raise TypeError(f"x is a SparseMatrix, which takes reduce='sum' or 'mean' but not {self.reduce!r}")
        else:
            near = self.neighbours(aggregate(x, graph, weight, self.reduce))
        own: Tensor = self.root(x)
        return own + near

    def extra_repr(self) -> str:
        """What stands inside the brackets of the layer's repr."""
        return f"reduce={self.reduce!r}"
