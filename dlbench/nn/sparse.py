"""Sparse node features: words in a paper, one in a hundred of which occurs."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from dlbench.ops import Graph, aggregate


@dataclass(frozen=True)
class SparseMatrix:
    """A constant matrix [n, F] that multiplies dense ones: an aggregation over the graph that joins rows to columns.

    torch's own sparse product sorts the entries again at every backward step.

    Args:
        graph: F sources (columns), n targets (rows), one edge an entry.
        values: the entries, one an edge.
    """

    graph: Graph
    values: Tensor

    @classmethod
    def from_dense(cls, x: ArrayLike, device: str = "cpu") -> SparseMatrix:
        """The non-zero entries of x [n, F], as float32."""
        x = np.asarray(x, dtype=np.float32)
        row, column = x.nonzero()
        rowptr = torch.from_numpy(np.searchsorted(row, np.arange(x.shape[0] + 1)))
        graph = Graph.from_csr(rowptr.to(device), torch.from_numpy(column).to(device), num_src=x.shape[1])
        return cls(graph, torch.from_numpy(x[row, column]).to(device))

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.graph.num_dst, self.graph.num_src

    @property
    def device(self) -> torch.device:
        """Where its tensors lie."""
        return self.values.device

    def __matmul__(self, dense: Tensor) -> Tensor:
        """The product [n, K] with a dense matrix [F, K], differentiable in the latter."""
        return aggregate(dense, self.graph, self.values)


class Linear(nn.Linear):
    """``torch.nn.Linear`` that takes sparse features as well, with Glorot's uniform weights and biases 0.

    Shapes:
        x [..., F] or a :class:`SparseMatrix` [n, F]; the result [..., F'].
    """

    def reset_parameters(self) -> None:
        """Glorot's uniform weights; biases 0."""
        nn.init.xavier_uniform_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor | SparseMatrix) -> Tensor:
        """The linear map of x."""
        if isinstance(x, Tensor):
            return super().forward(x)
        out = x @ self.weight.T
        return out if self.bias is None else out + self.bias


def dropout(x: Tensor | SparseMatrix, p: float, training: bool) -> Tensor | SparseMatrix:
    """Dropout of a dense tensor, or of a sparse matrix's entries: the zeros between them stay zero anyway.

    torch's own draws from Bernoulli, which takes three times as long on a CPU as comparing uniform numbers.

    Raises:
        ValueError: ``p`` is no share, from 0 to 1.
    """
    if not 0 <= p <= 1:
        raise ValueError(f"p={p} is not a share that can be dropped; give a number from 0 to 1")
    if not training or p == 0:
        return x
    values = x.values if isinstance(x, SparseMatrix) else x
    kept = torch.where(torch.rand_like(values) >= p, values / max(1 - p, 1e-30), 0.0)
    return dataclasses.replace(x, values=kept) if isinstance(x, SparseMatrix) else kept
