"""A graph in the form in which the operators read it: compressed rows, one a target, checked once."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

INDICES = (torch.int32, torch.int64)
INT32_MAX = 2**31 - 1


@dataclass(frozen=True, eq=False)
class Graph:
    """Directed edges from sources to targets. Make one with ``from_edge_index`` or ``from_csr``, which check it.

    Duplicate edges, self loops, different numbers of sources and targets, no nodes and no edges are all legal. What
    belongs to edges (weights) is always given in the order in which the edges were given here.

    Attributes:
        rowptr: [num_dst + 1]; target i owns the positions from rowptr[i] to rowptr[i + 1].
        col: [num_edges]; the source at every position. int32 where the numbers fit.
        num_src: number of sources.
        edge_id: [num_edges]; the caller's number of the edge at every position, or None where that is the position.
    """

    rowptr: Tensor
    col: Tensor
    num_src: int
    edge_id: Tensor | None = None
    # Not functools.cached_property: torch.compile cannot see through the lock that it holds before Python 3.12.
    _kept: dict[str, Graph] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def from_csr(cls, rowptr: Tensor, col: Tensor, num_src: int | None = None) -> Graph:
        """A graph from compressed rows; the tensors are copied.

        Args:
            rowptr: [num_dst + 1], rising from 0 to the number of edges; int32 or int64.
            col: [num_edges], the source of every edge, edges in the order of their targets.
            num_src: number of sources; as many as targets where it is not given.

        Raises:
            TypeError: not tensors of integers.
            ValueError: a shape that does not fit, or a rowptr that falls.
            IndexError: a source out of range.
        """
        _check_indices("rowptr", rowptr, 1)
        _check_indices("col", col, 1)
        if rowptr.device != col.device:
            raise ValueError(f"rowptr is on {rowptr.device} but col is on {col.device}; give both on one device")
        if len(rowptr) == 0:
            raise ValueError("rowptr is empty; for n targets it has n + 1 entries, the first of them 0")
        first, last = rowptr[0].item(), rowptr[-1].item()
        if (first, last) != (0, len(col)):
            raise ValueError(
                f"rowptr runs from {first} to {last}; it must run from 0 to the number of edges, {len(col)}"
            )
        falls = (rowptr[1:] < rowptr[:-1]).nonzero()
        if len(falls):
            row = int(falls[0])
            raise ValueError(f"rowptr falls from {rowptr[row]} to {rowptr[row + 1]} at target {row}; it must not fall")
        num_src = len(rowptr) - 1 if num_src is None else _node_count("num_src", num_src)
        _check_range(col, "source", num_src, "num_src")
        index = _index_type(num_src, len(col))
        return cls(rowptr.to(index, copy=True).contiguous(), col.to(index, copy=True).contiguous(), num_src)

    @classmethod
    def from_edge_index(cls, edge_index: Tensor, num_nodes: int | tuple[int, int] | None = None) -> Graph:
        """A graph from a list of edges, in PyTorch Geometric's convention.

        Args:
            edge_index: [2, num_edges], sources in row 0 and targets in row 1, in any order; int32 or int64.
            num_nodes: number of nodes, or (number of sources, number of targets); one more than the largest number of a
                node where it is not given.

        Raises:
            TypeError: not a tensor of integers.
            ValueError: a shape that does not fit.
            IndexError: a node out of range.
        """
        _check_indices("edge_index", edge_index, 2)
        if edge_index.shape[0] != 2:
            raise ValueError(f"edge_index has shape {list(edge_index.shape)}; it must be [2, edges], sources on top")
        source, target = edge_index
        edges = len(source)
        if num_nodes is None:
            num_nodes = int(edge_index.max()) + 1 if edges else 0
        if isinstance(num_nodes, tuple):
            num_src, num_dst = (_node_count("num_nodes", n) for n in num_nodes)
        else:
            num_src = num_dst = _node_count("num_nodes", num_nodes)
        _check_range(source, "source", num_src, "num_nodes")
        _check_range(target, "target", num_dst, "num_nodes")

        index = _index_type(max(num_src, num_dst), edges)
        col, target = source.to(index, copy=True).contiguous(), target.to(index).contiguous()
        edge_id = None
        if not bool((target[1:] >= target[:-1]).all()):
            target, order = torch.sort(target, stable=True)
            col, edge_id = col[order], order.to(index)
        return cls(_row_pointers(target, num_dst), col, num_src, edge_id)

    @property
    def num_dst(self) -> int:
        """Number of targets."""
        return self.rowptr.shape[0] - 1

    @property
    def num_edges(self) -> int:
        """Number of edges."""
        return self.col.shape[0]

    @property
    def device(self) -> torch.device:
        """Where its tensors lie."""
        return self.col.device

    @property
    def in_degree(self) -> Tensor:
        """Number of edges into every target, [num_dst], int64."""
        return self.rowptr.diff().long()

    @property
    def transpose(self) -> Graph:
        """The graph of the reversed edges, numbered as before. Made at first use and kept."""
        if "transpose" not in self._kept:
            rowptr, col, edge_id = transposed(self.rowptr, self.col, self.edge_id, self.num_src)
            self._kept["transpose"] = Graph(rowptr, col, self.num_dst, edge_id)
        return self._kept["transpose"]

    def to(self, device: torch.device | str) -> Graph:
        """This graph on a device, with its transpose if that was made; itself if it is there already."""
        here = torch.empty(0, device=device).device  # "cuda" is some cuda:0
        if here == self.device:
            return self
        edge_id = None if self.edge_id is None else self.edge_id.to(here)
        moved = Graph(self.rowptr.to(here), self.col.to(here), self.num_src, edge_id)
        moved._kept.update((name, graph.to(here)) for name, graph in self._kept.items())
        return moved

    def __repr__(self) -> str:
        return (
            f"Graph(num_src={self.num_src}, num_dst={self.num_dst}, num_edges={self.num_edges}, "
            f"{self.col.dtype}, device={str(self.device)!r})"
        )


def transposed(rowptr: Tensor, col: Tensor, edge_id: Tensor | None, num_src: int) -> tuple[Tensor, Tensor, Tensor]:
    """Rowptr, col and edge_id of the reversed edges; the sort is stable, so that they are the same everywhere."""
    source, order = torch.sort(col, stable=True)
    numbers = order.to(col.dtype) if edge_id is None else edge_id[order]
    return _row_pointers(source, num_src), targets(rowptr, col)[order], numbers


def targets(rowptr: Tensor, col: Tensor) -> Tensor:
    """The target at every position."""
    rows = torch.arange(rowptr.shape[0] - 1, dtype=rowptr.dtype, device=rowptr.device)
    return torch.repeat_interleave(rows, rowptr.diff(), output_size=col.shape[0])


def _row_pointers(sorted_rows: Tensor, rows: int) -> Tensor:
    """Where each row begins among sorted row numbers, and where the last one ends."""
    wanted = torch.arange(rows + 1, dtype=sorted_rows.dtype, device=sorted_rows.device)
    return torch.searchsorted(sorted_rows, wanted, out_int32=sorted_rows.dtype == torch.int32)


def _index_type(nodes: int, edges: int) -> torch.dtype:
    return torch.int32 if max(nodes, edges) <= INT32_MAX else torch.int64


def _node_count(name: str, count: int) -> int:
    if isinstance(count, bool) or not isinstance(count, int):
        raise TypeError(f"{name} is {count!r}; it must be an int")
    if count < 0:
        raise ValueError(f"{name}={count} is not a number of nodes; it must be at least 0")
    return count


def _check_indices(name: str, indices: Tensor, dim: int) -> None:
    if not isinstance(indices, Tensor):
        raise TypeError(f"{name} is a {type(indices).__name__}; give a tensor, as torch.as_tensor makes one")
    if indices.dtype not in INDICES:
        raise TypeError(f"{name} is {indices.dtype}; it must be int32 or int64")
    if indices.dim() != dim:
        raise ValueError(f"{name} has shape {list(indices.shape)}; it must have {dim} dimension{'s' * (dim > 1)}")


def _check_range(nodes: Tensor, kind: str, count: int, name: str) -> None:
    outside = ((nodes < 0) | (nodes >= count)).nonzero()
    if len(outside):
        edge = int(outside[0])
        raise IndexError(
            f"edge {edge} has {kind} {nodes[edge]}, outside of [0, {count}); correct it, or give more nodes with {name}"
        )
