"""Message passing: reductions over the neighbours of every node, and what edges say of their two ends.

The operators are each other's derivatives (``csrc/aggregate/aggregate_autograd.cpp``), so those that are linear can be
differentiated any number of times.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dlbench.ops import reference
from dlbench.ops.checks import check_device, check_floats, check_graph
from dlbench.ops.graph import Graph
from dlbench.ops.loader import register

REDUCTIONS = ("sum", "mean", "max", "min", "std")
NO_CSR = (None, None, None)  # of the transpose


def aggregate(x: Tensor, graph: Graph, weight: Tensor | None = None, reduce: str = "sum") -> Tensor:
    """Reduces over the in-neighbours of every node: row i is made of ``weight[e] * x[source of e]`` of its edges e.

    Differentiable in ``x`` and ``weight``: sum and mean any number of times, max and min once, their gradients going
    to the winners alone (see ``aggregate_arg``). Neither the results' bits nor the gradients' depend on the number of
    threads. Half types are widened as they are read, and summed in float32.

    A node without incoming edges gets zeros. The mean divides by the number of edges, whatever they weigh. The std is
    the population's, computed about the mean; where it is 0 its gradient is taken as 0. A NaN among the messages makes
    their max and min NaN too; infinities are numbers like others.

    Args:
        x: features, [graph.num_src, F] or [graph.num_src, heads, F], of any float type.
        graph: who is reduced into whom.
        weight: [graph.num_edges], or [graph.num_edges, heads] beside features with heads, in the order in which the
            edges were given to ``Graph``; of any float type; without it, every one is 1.
        reduce: ``"sum"``, ``"mean"``, ``"max"``, ``"min"`` or ``"std"``.

    Returns:
        [graph.num_dst, F] or [graph.num_dst, heads, F], of the type of ``x``.

    Raises:
        TypeError: a tensor that is not of a float type, or no ``Graph``.
        ValueError: a shape, a device or a reduction that does not fit.
        RuntimeError: the graph was changed in place.
    """
    if not torch.compiler.is_compiling() and (bound := getattr(graph, "_bound", None)) is not None:
        found: Tensor | None = bound.aggregate(x, weight, reduce)
        if found is not None:
            return found
    _check(x, graph, weight, reduce, REDUCTIONS)
    back, back_uneven = _transpose(graph, _wants_transpose(x, reduce))
    out: Tensor = torch.ops.dlbench.aggregate.default(
        x, *graph.csr, weight, *back, reduce, graph.is_checked, graph._uneven, back_uneven
    )
    return out


def aggregate_arg(x: Tensor, graph: Graph, weight: Tensor | None = None, reduce: str = "max") -> tuple[Tensor, Tensor]:
    """Max or min over the in-neighbours of every node, as ``aggregate`` has it, and the edge that it comes from.

    Of several edges with the same message the one with the smallest number wins; so does the first with a NaN. The
    gradient in ``x`` and ``weight`` goes to the winner alone.

    Args:
        x: features, as for ``aggregate``.
        graph: who is reduced into whom.
        weight: as for ``aggregate``.
        reduce: ``"max"`` or ``"min"``.

    Returns:
        The reduction; and the number of the winning edge for each of its elements, int64, in the order in which the
        edges were given to ``Graph``: ``graph.num_edges`` where a node has none.

    Raises:
        TypeError, ValueError, RuntimeError: as ``aggregate``.
    """
    _check(x, graph, weight, reduce, ("max", "min"))
    out, position = torch.ops.dlbench.aggregate_arg.default(
        x, *graph.csr, weight, *NO_CSR, reduce, graph.is_checked, graph._uneven
    )
    if graph.edge_id is None:
        return out, position.long()
    return out, torch.cat([graph.edge_id, graph.edge_id.new_tensor([graph.num_edges])]).long()[position]


def sddmm(a: Tensor, b: Tensor, graph: Graph) -> Tensor:
    """The dot product of the two ends of every edge: ``out[e] = <a[target of e], b[source of e]>``.

    Differentiable in both, any number of times.

    Args:
        a: features of the targets, [graph.num_dst, F] or [graph.num_dst, heads, F], of any float type.
        b: features of the sources, [graph.num_src, F] or [graph.num_src, heads, F], of the same type; under autocast
            of any float type.
        graph: the edges.

    Returns:
        [graph.num_edges] or [graph.num_edges, heads], in the order in which the edges were given to ``Graph``.

    Raises:
        TypeError: tensors that are not of one float type, or no ``Graph``.
        ValueError: a shape or a device that does not fit.
        RuntimeError: the graph was changed in place.
    """
    check_graph(graph)
    _check_features("a", a, graph, graph.num_dst)
    _check_features("b", b, graph, graph.num_src)
    if a.dtype != b.dtype and torch.is_autocast_enabled(a.device.type):
        common = torch.promote_types(a.dtype, b.dtype)
        a, b = a.to(common), b.to(common)
    if a.shape[1:] != b.shape[1:] or a.dtype != b.dtype:
        raise ValueError(f"a is {_about(a)} and b is {_about(b)}; they need as many features, of one type")
    back, back_uneven = _transpose(graph, b.requires_grad and torch.is_grad_enabled())
    out: Tensor = torch.ops.dlbench.sddmm.default(
        a, b, *graph.csr, *back, None, graph.is_checked, graph._uneven, back_uneven
    )
    return out


def _wants_transpose(x: Tensor, reduce: str) -> bool:
    needs_it = x.is_cuda or reduce not in ("max", "min")  # winners are scattered by rows on the CPU
    return needs_it and x.requires_grad and torch.is_grad_enabled()


def _transpose(graph: Graph, wanted: bool) -> tuple[tuple[Tensor | None, ...], bool | None]:
    """The graph of the reversed edges, and what is known of its rows, as the operators take them."""
    return (graph.transpose.csr, graph.transpose._uneven) if wanted else (NO_CSR, None)


def _about(tensor: Tensor) -> str:
    return f"{tensor.dtype} {list(tensor.shape)}"


def _check(x: Tensor, graph: Graph, weight: Tensor | None, reduce: str, reductions: tuple[str, ...]) -> None:
    check_graph(graph)
    _check_features("x", x, graph, graph.num_src)
    if weight is not None:
        _check_weight(weight, x, graph)
    if reduce not in reductions:
        raise ValueError(f"reduce={reduce!r} is unknown; give one of {', '.join(map(repr, reductions))}")


def _check_features(name: str, x: Tensor, graph: Graph, nodes: int) -> None:
    check_floats(name, x)
    if x.dim() not in (2, 3) or x.shape[0] != nodes:
        raise ValueError(
            f"{name} has shape {list(x.shape)}; for this graph it must be [{nodes}, features] "
            f"or [{nodes}, heads, features]"
        )
    check_device(name, x, graph)


def _check_weight(weight: Tensor, x: Tensor, graph: Graph) -> None:
    check_floats("weight", weight)
    edges = graph.num_edges
    if weight.shape != (edges,) and not (x.dim() == 3 and weight.shape == (edges, x.shape[1])):
        heads = f" or [{edges}, {x.shape[1]}]" if x.dim() == 3 else ""
        raise ValueError(f"weight has shape {list(weight.shape)}; for this graph it must be [{edges}]{heads}")
    if weight.device != x.device:
        raise ValueError(f"weight is on {weight.device} but x is on {x.device}; move it there")


def _like_rows(x: Tensor, rowptr: Tensor) -> Tensor:
    return x.new_empty(rowptr.shape[0] - 1, *x.shape[1:])


def _aggregate_fake(x: Tensor, rowptr: Tensor, *_: Any) -> Tensor:
    return _like_rows(x, rowptr)


def _aggregate_arg_fake(x: Tensor, rowptr: Tensor, col: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    return _like_rows(x, rowptr), _like_rows(x, rowptr).to(col.dtype)


def _sddmm_fake(a: Tensor, b: Tensor, rowptr: Tensor, col: Tensor, *rest: Any) -> Tensor:
    dtype = rest[4] if len(rest) > 4 else None
    return a.new_empty(col.shape[0], *a.shape[1:-1], dtype=a.dtype if dtype is None else dtype)


def _scatter_winners_fake(
    grad: Tensor,
    position: Tensor,
    rowptr: Tensor,
    col: Tensor,
    edge_id: Tensor | None,
    weight: Tensor | None,
    t_rowptr: Tensor | None,
    t_col: Tensor | None,
    t_edge_id: Tensor | None,
    num_src: int,
    checked: bool = False,
) -> Tensor:
    return grad.new_empty(num_src, *grad.shape[1:])


def _winner_dots_fake(
    grad: Tensor,
    x: Tensor,
    position: Tensor,
    rowptr: Tensor,
    col: Tensor,
    edge_id: Tensor | None,
    by_head: bool,
    checked: bool = False,
) -> Tensor:
    dtype = torch.float64 if grad.dtype == torch.float64 else torch.float32
    return grad.new_empty(col.shape[0], *grad.shape[1:2] if by_head else (), dtype=dtype)


def _csr_from_coo_fake(row: Tensor, col: Tensor, rows: int, cols: int) -> tuple[Tensor, Tensor, Tensor]:
    index = torch.int32 if max(rows, cols, row.shape[0]) <= 2**31 - 1 else torch.int64
    return tuple(row.new_empty(n, dtype=index) for n in (rows + 1, row.shape[0], row.shape[0]))  # type: ignore[return-value]


def _csr_transpose_fake(
    rowptr: Tensor, col: Tensor, edge_id: Tensor | None, num_src: int
) -> tuple[Tensor, Tensor, Tensor]:
    return col.new_empty(num_src + 1), torch.empty_like(col), torch.empty_like(col)


register("aggregate", reference.aggregate, _aggregate_fake)
register("aggregate_arg", reference.aggregate_arg, _aggregate_arg_fake)
register("sddmm", reference.sddmm, _sddmm_fake)
register("scatter_winners", reference.scatter_winners, _scatter_winners_fake)
register("winner_dots", reference.winner_dots, _winner_dots_fake)
register("csr_from_coo", reference.csr_from_coo, _csr_from_coo_fake)
register("csr_transpose", reference.csr_transpose, _csr_transpose_fake)
