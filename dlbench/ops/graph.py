"""A graph in the form in which the operators read it: compressed rows, one a target, checked once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dlbench.ops.loader import bound

INDICES = (torch.int32, torch.int64)
INT32_MAX = 2**31 - 1

Csr = tuple[Tensor, Tensor, Tensor | None]  # rowptr, col, edge_id


@dataclass(frozen=True, eq=False)
class Graph:
    """Directed edges from sources to targets. Make one with a method ``from_...``, which checks what it is given.

    Duplicate edges, self loops, different numbers of sources and targets, no nodes and no edges are all legal. What
    belongs to edges (weights) is always given in the order in which the edges were given here.

    What is derived from a graph is made at first use and kept with it, and nowhere else. So its tensors must not be
    changed in place; where one is, the next operator says so.

    Attributes:
        rowptr: [num_dst + 1]; target i owns the positions from rowptr[i] to rowptr[i + 1].
        col: [num_edges]; the source at every position. int32 where the numbers fit.
        num_src: number of sources.
        edge_id: [num_edges]; the caller's number of the edge at every position, rising in every row; None where that is
            the position.
    """

    rowptr: Tensor
    col: Tensor
    num_src: int
    edge_id: Tensor | None = None
    # Not functools.cached_property: torch.compile cannot see through the lock that it holds before Python 3.12.
    _kept: dict[str, Any] = field(default_factory=dict, init=False, repr=False)
    # The tensors and how often each was changed in place when they were checked, as far as torch counts it (not in
    # inference mode); None in a graph that was put together by hand.
    _versions: tuple[tuple[Tensor, int], ...] | None = field(default=None, init=False, repr=False)
    # The same for the extension, whose ``aggregate`` it has.
    _bound: Any = field(default=None, init=False, repr=False)
    # Whether its rows differ much in length, by which kernels of a GPU are chosen; None where nobody looked. Not by how
    # much: torch.compile would compile anew for every number.
    _uneven: bool | None = field(default=None, init=False, repr=False)

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
        _check_rising(rowptr, len(col))
        num_src = len(rowptr) - 1 if num_src is None else _node_count("num_src", num_src)
        _check_range(col, "source", num_src, "num_src")
        index = _index_type(num_src, len(col))
        return cls(rowptr.to(index, copy=True).contiguous(), col.to(index, copy=True).contiguous(), num_src)._vouched()

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
        if num_nodes is None:
            num_nodes = int(edge_index.max()) + 1 if edge_index.numel() else 0
        if isinstance(num_nodes, tuple):
            if len(num_nodes) != 2:
                raise ValueError(f"num_nodes is {num_nodes}; give one number, or those of sources and of targets")
            num_src, num_dst = (_node_count("num_nodes", n) for n in num_nodes)
        else:
            num_src = num_dst = _node_count("num_nodes", num_nodes)
        return cls._from_ends(source, target, num_src, num_dst, "num_nodes", "num_nodes")

    @classmethod
    def from_coo(cls, src: Tensor, dst: Tensor, num_src: int, num_dst: int) -> Graph:
        """A graph from the sources and the targets of its edges.

        Args:
            src: [num_edges], in any order; int32 or int64.
            dst: [num_edges], of the same type.
            num_src: number of sources.
            num_dst: number of targets.

        Raises:
            TypeError: not tensors of integers of one type.
            ValueError: a shape that does not fit.
            IndexError: a node out of range.
        """
        _check_indices("src", src, 1)
        _check_indices("dst", dst, 1)
        if src.shape != dst.shape or src.device != dst.device:
            raise ValueError(
                f"src has {len(src)} edges on {src.device} but dst {len(dst)} on {dst.device}; give both ends of each"
            )
        if src.dtype != dst.dtype:
            raise TypeError(f"src is {src.dtype} but dst is {dst.dtype}; give both in one type")
        num_src, num_dst = _node_count("num_src", num_src), _node_count("num_dst", num_dst)
        return cls._from_ends(src, dst, num_src, num_dst, "num_src", "num_dst")

    @classmethod
    def _from_ends(cls, src: Tensor, dst: Tensor, num_src: int, num_dst: int, src_name: str, dst_name: str) -> Graph:
        try:
            rowptr, col, edge_id = torch.ops.dlbench.csr_from_coo(dst, src, num_dst, num_src)
        except IndexError:
            _check_range(src, "source", num_src, src_name)
            _check_range(dst, "target", num_dst, dst_name)
            raise
        in_order = bool((dst[1:] >= dst[:-1]).all())
        return cls(rowptr, col, num_src, None if in_order else edge_id)._vouched()

    @classmethod
    def from_scipy(cls, matrix: Any) -> tuple[Graph, Tensor]:
        """The graph of a sparse matrix A and its entries, so that ``aggregate(x, graph, weight)`` is A @ x.

        Args:
            matrix: any scipy sparse matrix or array of two dimensions, targets by sources. Entries that are stored
                twice are added up, as scipy does; stored zeros stay edges.

        Returns:
            The graph, its edges in the order of the CSR form; and the entries, [num_edges].

        Raises:
            TypeError: no sparse matrix of scipy.
            ValueError: an array of other than two dimensions.
        """
        if not hasattr(matrix, "tocsr"):
            raise TypeError(f"matrix is a {type(matrix).__name__}; give a sparse matrix of scipy")
        if matrix.ndim != 2:
            raise ValueError(f"matrix has {matrix.ndim} dimensions; give one of targets by sources")
        csr = matrix.tocsr(copy=True)
        csr.sum_duplicates()
        graph = cls.from_csr(torch.as_tensor(csr.indptr), torch.as_tensor(csr.indices), num_src=csr.shape[1])
        return graph, torch.as_tensor(csr.data)

    @classmethod
    def from_networkx(cls, graph: Any) -> Graph:
        """A graph of networkx, its nodes numbered in their order there; undirected edges go both ways.

        Edges are numbered as ``graph.edges`` lists them; of an undirected graph, all backward ones follow all forward
        ones, without second copies of the self loops.

        Args:
            graph: a ``Graph``, ``DiGraph``, ``MultiGraph`` or ``MultiDiGraph``.

        Raises:
            TypeError: no graph of networkx.
        """
        if not hasattr(graph, "is_directed"):
            raise TypeError(f"graph is a {type(graph).__name__}; give a graph of networkx")
        number = {node: i for i, node in enumerate(graph.nodes)}
        ends = torch.tensor([(number[u], number[v]) for u, v in graph.edges()], dtype=torch.int64).reshape(-1, 2).T
        if not graph.is_directed():
            ends = torch.cat([ends, ends[:, ends[0] != ends[1]].flip(0)], dim=1)
        return cls.from_edge_index(ends, len(number))

    @classmethod
    def batch(cls, graphs: Sequence[Graph]) -> Graph:
        """Graphs side by side as one, nodes and edges numbered one graph after the other.

        Raises:
            TypeError: something that is no graph.
            ValueError: no graphs, or graphs on several devices.
        """
        graphs = list(graphs)
        for number, graph in enumerate(graphs):
            _check_part(number, graph)
        if len({graph.device for graph in graphs}) != 1:
            raise ValueError(f"{len(graphs)} graphs on {len({g.device for g in graphs})} devices; give some, on one")
        edges = torch.tensor([graph.num_edges for graph in graphs])
        rows, sources = (torch.tensor([getattr(g, name) for g in graphs]) for name in ("num_dst", "num_src"))
        index = _index_type(int(max(rows.sum(), sources.sum())), int(edges.sum()))

        def shifted(parts: list[Tensor], by: Tensor, sizes: Tensor) -> Tensor:
            shift = (by.cumsum(0) - by).to(parts[0].device).repeat_interleave(sizes.to(parts[0].device))
            return (torch.cat(parts) + shift).to(index)

        rowptr = shifted([graph.rowptr[1:] for graph in graphs], edges, rows)
        col = shifted([graph.col for graph in graphs], sources, edges)
        edge_id = None
        if any(graph.edge_id is not None for graph in graphs):
            edge_id = shifted([graph._numbers for graph in graphs], edges, edges)
        whole = cls(torch.cat([rowptr.new_zeros(1), rowptr]), col, int(sources.sum()), edge_id)
        if all("transpose" in graph._kept for graph in graphs):
            whole._kept["transpose"] = cls.batch([graph.transpose for graph in graphs])
        return whole._vouched() if all(graph.is_checked for graph in graphs) else whole

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
    def csr(self) -> Csr:
        """rowptr, col, edge_id: the graph as the operators of ``torch.ops.dlbench`` take it."""
        return self.rowptr, self.col, self.edge_id

    @property
    def is_checked(self) -> bool:
        """Whether its numbers are known to be in range, so that operators need not look.

        Raises:
            RuntimeError: one of its tensors was changed in place since.
        """
        if self._versions is None or torch.compiler.is_compiling():
            return self._versions is not None
        back = self._kept.get("transpose")
        for tensor, version in self._versions if back is None else (*self._versions, *(back._versions or ())):
            if tensor._version != version:
                raise RuntimeError(
                    "a tensor of this graph was changed in place, but what is derived from it is kept; make a new Graph"
                )
        return True

    @property
    def in_degree(self) -> Tensor:
        """Number of edges into every target, [num_dst], int64."""
        return self.rowptr.diff().long()

    @property
    def out_degree(self) -> Tensor:
        """Number of edges out of every source, [num_src], int64."""
        return torch.bincount(self.col, minlength=self.num_src)

    @property
    def edge_index(self) -> Tensor:
        """Sources above targets in the order in which the edges were given, [2, num_edges], int64."""
        ends = torch.stack([self.col, targets(self.rowptr, self.col, self.is_checked)]).long()
        return ends if self.edge_id is None else torch.zeros_like(ends).index_copy(1, self.edge_id.long(), ends)

    @property
    def transpose(self) -> Graph:
        """The graph of the reversed edges, numbered as before. Made at first use and kept."""
        if "transpose" not in self._kept:
            rowptr, col, edge_id = torch.ops.dlbench.csr_transpose(*self.csr, self.num_src)
            reverse = Graph(rowptr, col, self.num_dst, edge_id)
            self._kept["transpose"] = reverse._vouched() if self.is_checked else reverse
            self._tie()
        kept: Graph = self._kept["transpose"]
        return kept

    def with_self_loops(self) -> Graph:
        """This graph with a self loop at every node that has none; they are the last edges. Made once and kept.

        Raises:
            ValueError: the sources are not the targets.
        """
        self._check_square("self loops need")
        if "with_self_loops" not in self._kept:
            ends = self.edge_index
            nodes = torch.arange(self.num_dst, device=self.device)
            lonely = nodes[~torch.isin(nodes, ends[0, ends[0] == ends[1]])]
            looped = torch.cat([ends, lonely.expand(2, -1)], dim=1)
            self._kept["with_self_loops"] = Graph.from_edge_index(looped, self.num_dst)
        kept: Graph = self._kept["with_self_loops"]
        return kept

    def gcn_weight(self, dtype: torch.dtype = torch.float32) -> Tensor:
        r"""The symmetric norm of the edges, :math:`1 / \sqrt{d_i d_j}`, [num_edges]. Made once and kept.

        Degrees count incoming edges. An edge from a node that has none weighs 0.

        Raises:
            TypeError: ``dtype`` is no float type.
            ValueError: the sources are not the targets.
        """
        self._check_square("this norm needs")
        if not dtype.is_floating_point:
            raise TypeError(f"dtype is {dtype}; the norms of edges are fractions, so give a float type")
        name = f"gcn_weight, {dtype}"
        if name not in self._kept:
            source, target = self.edge_index
            degree = self.in_degree
            scale = degree.double().rsqrt().masked_fill(degree == 0, 0)
            self._kept[name] = (scale[source] * scale[target]).to(dtype)
        kept: Tensor = self._kept[name]
        return kept

    def reordered(self) -> Reordered:
        """The same graph with its nodes numbered so that neighbours are near each other, by reverse Cuthill-McKee.

        Pays on graphs whose features do not fit in the processor's cache. Made once and kept.

        Raises:
            ValueError: the sources are not the targets.
        """
        self._check_square("another order needs")
        if "reordered" not in self._kept:
            from scipy.sparse import csr_matrix
            from scipy.sparse.csgraph import reverse_cuthill_mckee

            rowptr, col = self.rowptr.cpu().numpy(), self.col.cpu().numpy()
            matrix = csr_matrix((torch.ones(self.num_edges).numpy(), col, rowptr), (self.num_dst, self.num_src))
            order = torch.as_tensor(reverse_cuthill_mckee(matrix).copy()).long().to(self.device)
            place = torch.empty_like(order)
            place[order] = torch.arange(len(order), device=self.device)
            self._kept["reordered"] = Reordered(Graph.from_edge_index(place[self.edge_index], self.num_dst), order)
        kept: Reordered = self._kept["reordered"]
        return kept

    def to(self, device: torch.device | str) -> Graph:
        """This graph on a device, with what is kept of it; itself if it is there already."""
        here = torch.empty(0, device=device).device  # "cuda" is some cuda:0
        if here == self.device:
            return self
        edge_id = None if self.edge_id is None else self.edge_id.to(here)
        moved = Graph(self.rowptr.to(here), self.col.to(here), self.num_src, edge_id)
        moved._kept.update((name, what.to(here)) for name, what in self._kept.items())
        if here.type == "cuda" and not torch.compiler.is_compiling():  # looked at here, a GPU need not be waited for
            object.__setattr__(moved, "_uneven", _is_uneven(self.rowptr) if self._uneven is None else self._uneven)
        return moved._vouched() if self.is_checked else moved

    def _vouched(self) -> Graph:
        """This graph, its numbers known to be in range."""
        if not torch.compiler.is_compiling():
            tensors = [t for t in self.csr if t is not None and not t.is_inference()]
            object.__setattr__(self, "_versions", tuple((t, t._version) for t in tensors))
            if self._uneven is None and self.rowptr.is_cuda:
                object.__setattr__(self, "_uneven", _is_uneven(self.rowptr))
            object.__setattr__(self, "_bound", bound(*self.csr, self.num_src, self._uneven))
            self._tie()
        return self

    def _tie(self) -> None:
        """Makes the transpose known to the extension, where both are."""
        reverse = self._kept.get("transpose")
        if self._bound is not None and reverse is not None and reverse._bound is not None:
            self._bound.set_back(reverse._bound)

    @property
    def _numbers(self) -> Tensor:
        """The caller's number of the edge at every position."""
        if self.edge_id is not None:
            return self.edge_id
        return torch.arange(self.num_edges, dtype=self.col.dtype, device=self.device)

    def _check_square(self, what: str) -> None:
        if self.num_src != self.num_dst:
            raise ValueError(
                f"{what} one set of nodes; this graph has {self.num_src} sources and {self.num_dst} targets"
            )

    def __getstate__(self) -> dict[str, Any]:
        """All there is, unless it was changed in place."""
        return self.__dict__ | {"_versions": () if self.is_checked else None, "_bound": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Copies count their changes from new."""
        self.__dict__.update(state)
        if self._versions is not None:
            self._vouched()

    def __repr__(self) -> str:
        return (
            f"Graph(num_src={self.num_src}, num_dst={self.num_dst}, num_edges={self.num_edges}, "
            f"{self.col.dtype}, device={str(self.device)!r})"
        )


class Reordered(NamedTuple):
    """A graph in another order of its nodes; its edges are numbered as before.

    ``r.restored(aggregate(r.arranged(x), r.graph, weight))`` is ``aggregate(x, graph, weight)``.

    Attributes:
        graph: the graph in the new order.
        order: [num_nodes], int64; the old number of every node.
    """

    graph: Graph
    order: Tensor

    def arranged(self, x: Tensor) -> Tensor:
        """What belongs to nodes, in the new order."""
        return x[self.order]

    def restored(self, x: Tensor) -> Tensor:
        """What belongs to nodes, back in the old order."""
        return torch.zeros_like(x).index_copy(0, self.order, x)

    def to(self, device: torch.device | str) -> Reordered:
        """The same on a device."""
        return Reordered(self.graph.to(device), self.order.to(device))


def targets(rowptr: Tensor, col: Tensor, checked: bool = True) -> Tensor:
    """The target at every position; unless somebody vouches for the rows they are checked, where there are numbers.

    By what they say memory is shared out, and what is wrong would be written elsewhere.
    """
    if not checked and type(rowptr) is Tensor and not torch.compiler.is_compiling():
        _check_rising(rowptr, col.shape[0])
    rows = torch.arange(rowptr.shape[0] - 1, dtype=rowptr.dtype, device=rowptr.device)
    return torch.repeat_interleave(rows, rowptr.diff(), output_size=col.shape[0])


def _is_uneven(rowptr: Tensor) -> bool:
    """Whether the lengths of rows deviate from their mean by more than it, as those of power laws do.

    Lengths of a random graph deviate by the root of their mean. Threads that share a warp wait for the longest of their
    rows: of n independent lengths with mean m and deviation s, for at most m + s (n - 1) / sqrt(2n - 1) on average
    (Hartley & David, Ann. Math. Stat. 25, 1954; Gumbel, same volume), 1.6 m of two rows and 2.8 m of eight where s = m.
    Merrill & Garland (see ``csrc/aggregate/split.h``) measure unevenness by s / m, too; that rows are merged where it
    is above 1 is a guess, which no GPU has measured.
    """
    lengths = rowptr.diff().double()  # whose sums are integers, the same on every device
    return bool(len(lengths) * lengths.square().sum() > 2 * lengths.sum().square())


def _index_type(nodes: int, edges: int) -> torch.dtype:
    return torch.int32 if max(nodes, edges) <= INT32_MAX else torch.int64


def _check_part(number: int, graph: object) -> None:
    if not isinstance(graph, Graph):
        raise TypeError(f"graphs[{number}] is a {type(graph).__name__}; give graphs, as Graph.from_edge_index makes")


def _node_count(name: str, count: object) -> int:
    if isinstance(count, bool) or not isinstance(count, Integral):  # numpy's integers are as good
        raise TypeError(f"{name} is {count!r}; it must be an int")
    nodes = int(count)
    if nodes < 0:
        raise ValueError(f"{name}={count} is not a number of nodes; it must be at least 0")
    return nodes


def _check_indices(name: str, indices: Tensor, dim: int) -> None:
    if not isinstance(indices, Tensor):
        raise TypeError(f"{name} is a {type(indices).__name__}; give a tensor, as torch.as_tensor makes one")
    if indices.dtype not in INDICES:
        raise TypeError(f"{name} is {indices.dtype}; it must be int32 or int64")
    if indices.dim() != dim:
        raise ValueError(f"{name} has shape {list(indices.shape)}; it must have {dim} dimension{'s' * (dim > 1)}")


def _check_rising(rowptr: Tensor, edges: int) -> None:
    if len(rowptr) == 0:
        raise ValueError("rowptr is empty; for n targets it has n + 1 entries, the first of them 0")
    first, last = rowptr[0].item(), rowptr[-1].item()
    if (first, last) != (0, edges):
        raise ValueError(f"rowptr runs from {first} to {last}; it must run from 0 to the number of edges, {edges}")
    falls = (rowptr[1:] < rowptr[:-1]).nonzero()
    if len(falls):
        row = int(falls[0])
        raise ValueError(f"rowptr falls from {rowptr[row]} to {rowptr[row + 1]} at target {row}; it must not fall")


def _check_range(nodes: Tensor, kind: str, count: int, name: str) -> None:
    outside = ((nodes < 0) | (nodes >= count)).nonzero()
    if len(outside):
        edge = int(outside[0])
        raise IndexError(
            f"edge {edge} has {kind} {nodes[edge]}, outside of [0, {count}); correct it, or give more nodes with {name}"
        )
