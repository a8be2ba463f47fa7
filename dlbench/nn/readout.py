"""From the nodes of graphs to one row a graph: set2set of Vinyals, Bengio & Kudlur (ICLR 2016, arXiv:1511.06391)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dlbench.ops import Graph, aggregate, edge_softmax, sddmm
from dlbench.ops.segments import check_segments


class Set2Set(nn.Module):
    r"""An LSTM asks each graph's nodes a question, takes in the answer, and asks again.

    .. math::
        q_t = \mathrm{LSTM}(q^*_{t-1}), \quad a_{it} = \mathrm{softmax}_i(x_i \cdot q_t), \quad
        q^*_t = [q_t ; \textstyle\sum_i a_{it} x_i]

    Order Matters: Sequence to Sequence for Sets, Vinyals et al., ICLR 2016, arXiv:1511.06391, equations 3 to 7.

    Args:
        features: F.
        steps: how many questions.

    Shapes:
        x [N, F]; rowptr [B + 1], graph b owns the nodes from rowptr[b] to rowptr[b + 1]; the result [B, 2 F].
    """

    def __init__(self, features: int, steps: int = 3) -> None:
        super().__init__()
        self.features, self.steps = features, steps
        self.lstm = nn.LSTMCell(2 * features, features)

    def forward(self, x: Tensor, rowptr: Tensor) -> Tensor:
        """One row a graph, [B, 2 F], from x [N, F]."""
        check_segments("x", x, rowptr)
        # An edge from every node to its graph: attention over a set is attention over a target's edges.
        nodes = torch.arange(x.shape[0], dtype=rowptr.dtype, device=x.device)
        if torch.compiler.is_compiling():  # what from_csr checks depends on numbers; operators look by themselves
            members = Graph(rowptr, nodes, num_src=x.shape[0])
        else:
            members = Graph.from_csr(rowptr, nodes, num_src=x.shape[0])
        asked = x.new_zeros(members.num_dst, 2 * self.features)
        state = (x.new_zeros(members.num_dst, self.features),) * 2
        for _ in range(self.steps):
            state = self.lstm(asked, state)
            query = state[0]
            attention = edge_softmax(sddmm(query, x, members), members)
            asked = torch.cat([query, aggregate(x, members, attention)], dim=1)
        return asked

    def extra_repr(self) -> str:
        """What stands inside the brackets of the layer's repr."""
        return f"{self.features}, steps={self.steps}"
