"""Message passing: sums over the neighbours of every node, differentiable any number of times.

The two operators are each other's derivatives. ``aggregate`` is linear in its features, with the aggregate over the
reversed edges as its adjoint, and linear in its weights, with ``edge_dot`` as its adjoint; and ``edge_dot`` is linear
in both of its arguments, with aggregates as its adjoints. So the backward passes are made of the operators themselves.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dlbench.ops import reference
from dlbench.ops.graph import Graph, transposed
from dlbench.ops.loader import register

Csr = tuple[Tensor, Tensor, Tensor | None]  # rowptr, col, edge_id


def aggregate(x: Tensor, graph: Graph, weight: Tensor | None = None, reduce: str = "sum") -> Tensor:
    """Weighted sum over the in-neighbours of every node: ``out[i]`` sums ``weight[e] * x[source of e]`` over its edges.

    Differentiable in ``x`` and ``weight``, twice and more. A node without incoming edges gets zeros. The bits of the
    result do not depend on the number of threads. Half types are summed in float32.

    Args:
        x: features, [graph.num_src, F], of any float type.
        graph: who is summed into whom.
        weight: [graph.num_edges], in the order in which the edges were given to ``Graph``; without it, every one is 1.
        reduce: ``"sum"``, so far.

    Returns:
        [graph.num_dst, F], of the type of ``x``.

    Raises:
        TypeError: a tensor that is not of a float type, or no ``Graph``.
        ValueError: a shape, a device or a reduction that does not fit.
    """
    _check_graph(graph)
    _check_features("x", x, graph, graph.num_src)
    if weight is not None:
        _check_weight(weight, x, graph)
    if reduce != "sum":
        raise ValueError(f"reduce={reduce!r} is not there; 'sum' is, so far")
    back = _csr(graph.transpose) if x.requires_grad and torch.is_grad_enabled() else (None, None, None)
    out: Tensor = torch.ops.dlbench.aggregate(x, *_csr(graph), weight, *back, reduce)
    return out


def edge_dot(a: Tensor, b: Tensor, graph: Graph) -> Tensor:
    """The dot product of the two ends of every edge: ``out[e] = <a[target of e], b[source of e]>``.

    Differentiable in both, twice and more.

    Args:
        a: features of the targets, [graph.num_dst, F], of any float type.
        b: features of the sources, [graph.num_src, F], of the same type.
        graph: the edges.

    Returns:
        [graph.num_edges], in the order in which the edges were given to ``Graph``.

    Raises:
        TypeError: tensors that are not of one float type, or no ``Graph``.
        ValueError: a shape or a device that does not fit.
    """
    _check_graph(graph)
    _check_features("a", a, graph, graph.num_dst)
    _check_features("b", b, graph, graph.num_src)
    if a.shape[1] != b.shape[1] or a.dtype != b.dtype:
        raise ValueError(f"a is {_about(a)} and b is {_about(b)}; they need as many features, of one type")
    back = _csr(graph.transpose) if b.requires_grad and torch.is_grad_enabled() else (None, None, None)
    out: Tensor = torch.ops.dlbench.edge_dot(a, b, *_csr(graph), *back)
    return out


def _csr(graph: Graph) -> Csr:
    return graph.rowptr, graph.col, graph.edge_id


def _about(tensor: Tensor) -> str:
    return f"{tensor.dtype} {list(tensor.shape)}"


def _check_graph(graph: object) -> None:
    if not isinstance(graph, Graph):
        raise TypeError(f"graph is a {type(graph).__name__}; make one with Graph.from_edge_index or Graph.from_csr")


def _check_features(name: str, x: Tensor, graph: Graph, nodes: int) -> None:
    if not x.dtype.is_floating_point:
        raise TypeError(f"{name} is {x.dtype}; it must be of a float type")
    if x.dim() != 2 or x.shape[0] != nodes:
        raise ValueError(f"{name} has shape {list(x.shape)}; for this graph it must be [{nodes}, features]")
    if x.device != graph.device:
        raise ValueError(f"{name} is on {x.device} but the graph is on {graph.device}; try graph.to(x.device)")


def _check_weight(weight: Tensor, x: Tensor, graph: Graph) -> None:
    if not weight.dtype.is_floating_point:
        raise TypeError(f"weight is {weight.dtype}; it must be of a float type")
    if weight.shape != (graph.num_edges,):
        raise ValueError(f"weight has shape {list(weight.shape)}; for this graph it must be [{graph.num_edges}]")
    if weight.device != x.device:
        raise ValueError(f"weight is on {weight.device} but x is on {x.device}; move it there")


def _backwards(csr: Csr, back: tuple[Any, ...], num_src: int) -> Csr:
    """The transpose that was handed over, or one made now (the operators' callers may have left it out)."""
    return back if back[0] is not None else transposed(*csr, num_src)


register("aggregate", reference.aggregate)
register("edge_dot", reference.edge_dot)


@torch.library.register_fake("dlbench::aggregate")  # type: ignore[untyped-decorator]
def _(
    x: Tensor,
    rowptr: Tensor,
    col: Tensor,
    edge_id: Tensor | None,
    weight: Tensor | None,
    t_rowptr: Tensor | None,
    t_col: Tensor | None,
    t_edge_id: Tensor | None,
    reduce: str,
) -> Tensor:
    return x.new_empty(rowptr.shape[0] - 1, x.shape[1])


@torch.library.register_fake("dlbench::edge_dot")  # type: ignore[untyped-decorator]
def _(
    a: Tensor,
    b: Tensor,
    rowptr: Tensor,
    col: Tensor,
    edge_id: Tensor | None,
    t_rowptr: Tensor | None,
    t_col: Tensor | None,
    t_edge_id: Tensor | None,
) -> Tensor:
    return a.new_empty(col.shape[0])


def _aggregate_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, rowptr, col, edge_id, weight, *back, _ = inputs
    _, _, _, _, wants_weight, *_ = ctx.needs_input_grad
    ctx.num_src, ctx.weighted = x.shape[0], weight is not None
    ctx.save_for_backward(x if wants_weight else None, weight, rowptr, col, edge_id, *back)


def _aggregate_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, weight, rowptr, col, edge_id, *back = ctx.saved_tensors
    csr = (rowptr, col, edge_id)
    of_x = of_weight = None
    if ctx.needs_input_grad[0]:
        reverse = _backwards(csr, tuple(back), ctx.num_src)
        of_x = torch.ops.dlbench.aggregate(grad, *reverse, weight, *csr, "sum")
    if ctx.needs_input_grad[4]:
        of_weight = torch.ops.dlbench.edge_dot(grad.to(weight.dtype), x.to(weight.dtype), *csr, *back)
    return of_x, None, None, None, of_weight, None, None, None, None


def _edge_dot_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _edge_dot_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    a, b, rowptr, col, edge_id, *back = ctx.saved_tensors
    csr = (rowptr, col, edge_id)
    of_a = of_b = None
    if ctx.needs_input_grad[0]:
        of_a = torch.ops.dlbench.aggregate(b, *csr, grad, *back, "sum")
    if ctx.needs_input_grad[1]:
        reverse = _backwards(csr, tuple(back), b.shape[0])
        of_b = torch.ops.dlbench.aggregate(a, *reverse, grad, *csr, "sum")
    return of_a, of_b, None, None, None, None, None, None


torch.library.register_autograd("dlbench::aggregate", _aggregate_backward, setup_context=_aggregate_setup)
torch.library.register_autograd("dlbench::edge_dot", _edge_dot_backward, setup_context=_edge_dot_setup)
