"""Attention over the edges of a graph: a softmax over every target's edges, and the sum over neighbours by it.

``edge_softmax`` is made of two operators, of which the second is its own adjoint (a sum over all edges of a target,
told to each of them), so that it can be differentiated any number of times. ``gat_aggregate`` is one fused operator: it
keeps two numbers for each node and head and computes the attention again where its derivative needs it. ``gat_attend``
is the same with the scores that the network's paper has, which it makes of the features itself.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dlbench.ops import reference
from dlbench.ops.checks import check_floats, check_on_graph, check_unchanged
from dlbench.ops.graph import Graph
from dlbench.ops.loader import register


def edge_softmax(scores: Tensor, graph: Graph) -> Tensor:
    """Softmax over the edges of every target: those that lead to one node sum to 1.

    Differentiable any number of times. A score of ``-inf`` gives 0, also where all scores of a target are ``-inf``; a
    NaN or ``inf`` makes its target's results NaN. Half types are computed in float32. The bits of the result do not
    depend on the number of threads.

    Args:
        scores: [graph.num_edges] or [graph.num_edges, H], of any float type, in the order in which the edges were given
            to ``Graph``.
        graph: which edges lead to one target.

    Returns:
        Like ``scores``.

    Raises:
        TypeError: scores that are not of a float type, or no ``Graph``.
        ValueError: a shape or a device that does not fit.
        RuntimeError: the graph was changed in place.
    """
    check_unchanged(graph)
    check_floats("scores", scores)
    check_on_graph("scores", scores, graph, graph.num_edges, *["heads"][: scores.dim() - 1])
    columns = scores if scores.dim() == 2 else scores.unsqueeze(1)
    out: Tensor = torch.ops.dlbench.edge_softmax(columns, graph.rowptr, graph.edge_id, graph.is_checked)
    return out.reshape(scores.shape)


def gat_aggregate(
    x: Tensor,
    score_src: Tensor,
    score_dst: Tensor,
    graph: Graph,
    negative_slope: float = 0.2,
    dropout: float = 0.0,
    seed: int = 0,
) -> Tensor:
    r"""Sum over the in-neighbours of every node by their attention, as in a graph attention network.

    .. math::
        out_{ih} = \sum_j \alpha_{ijh} x_{jh}, \quad
        \alpha_{i \cdot h} = \mathrm{softmax}_j\, \mathrm{LeakyReLU}(score\_src_{jh} + score\_dst_{ih})

    Differentiable once in ``x`` and both scores. Nothing of the size edges times features is ever made; for the
    derivative two numbers are kept for each target and head. A node without incoming edges gets zeros, and so does one
    whose edges all score ``-inf``. Half types are computed in float32. The bits depend neither on the number of threads
    nor, on a GPU, on the run.

    With ``dropout`` every edge's attention is dropped in every head by itself, after the softmax, and what is kept is
    divided by 1 - dropout. Who is dropped is a function of the seed, the edge's number and the head alone
    (Philox4x32-10; Salmon et al., SC 2011): give another seed at every step.

    Graph Attention Networks, Veličković et al., ICLR 2018, arXiv:1710.10903, equations 3 and 4.

    Args:
        x: features of the sources, [graph.num_src, H, F], of any float type.
        score_src: the sources' part of the score, [graph.num_src, H].
        score_dst: the targets' part of the score, [graph.num_dst, H].
        graph: who attends to whom.
        negative_slope: of the leaky ReLU.
        dropout: share of the attention that is dropped, in [0, 1).
        seed: of the dropout; any integer, modulo 2^64.

    Returns:
        [graph.num_dst, H, F], of the type of ``x``.

    Raises:
        TypeError: tensors that are not of a float type, or no ``Graph``.
        ValueError: a shape, a device or a number that does not fit.
        RuntimeError: the graph was changed in place.
        NotImplementedError: at a second derivative, which ``edge_softmax`` and ``aggregate`` together have, or a
            forward one; the reference has both.
    """
    check_unchanged(graph)
    check_on_graph("x", x, graph, graph.num_src, "heads", "features")
    heads = x.shape[1]
    check_on_graph("score_src", score_src, graph, graph.num_src, heads)
    check_on_graph("score_dst", score_dst, graph, graph.num_dst, heads)
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout={dropout} is not a share that can be dropped; give a number in [0, 1)")
    grads = x.requires_grad or score_src.requires_grad or score_dst.requires_grad
    back = graph.transpose if grads and torch.is_grad_enabled() else None
    out: Tensor
    out, _, _ = torch.ops.dlbench.gat_aggregate(
        x,
        score_src,
        score_dst,
        graph.rowptr,
        graph.col,
        graph.edge_id,
        *((None, None, None) if back is None else (back.rowptr, back.col, back.edge_id)),
        float(negative_slope),
        float(dropout),
        (seed + 2**63) % 2**64 - 2**63,
        graph.is_checked,
    )
    return out


def gat_attend(
    x: Tensor,
    attend_src: Tensor,
    attend_dst: Tensor,
    graph: Graph,
    negative_slope: float = 0.2,
    dropout: float = 0.0,
    seed: int = 0,
) -> Tensor:
    r"""Sum over the in-neighbours of every node by their attention, scored by the features themselves.

    It is :func:`gat_aggregate` with

    .. math::
        score\_src_{jh} = \sum_f x_{jhf}\, attend\_src_{hf}, \quad score\_dst_{ih} = \sum_f x_{ihf}\, attend\_dst_{hf}

    and saves, forth and back, what these sums write and read again as tensors as large as ``x``. All else is as there.

    Args:
        x: features of the nodes, [n, H, F], of any float type.
        attend_src: what the features of an edge's source are multiplied by, [H, F].
        attend_dst: the same for its target, [H, F].
        graph: who attends to whom, among n nodes.
        negative_slope: of the leaky ReLU.
        dropout: share of the attention that is dropped, in [0, 1).
        seed: of the dropout; any integer, modulo 2^64.

    Returns:
        [n, H, F], of the type of ``x``.

    Raises:
        TypeError: tensors that are not of a float type, or no ``Graph``.
        ValueError: a shape, a device or a number that does not fit, or a graph with more sources than targets.
        RuntimeError: the graph was changed in place.
        NotImplementedError: as ``gat_aggregate``.
    """
    check_unchanged(graph)
    check_on_graph("x", x, graph, graph.num_src, "heads", "features")
    if graph.num_src != graph.num_dst:
        raise ValueError(
            f"the graph leads from {graph.num_src} nodes to {graph.num_dst} others; give one among the nodes of x, or "
            "make the scores yourself, for gat_aggregate"
        )
    for name, by in (("attend_src", attend_src), ("attend_dst", attend_dst)):
        check_floats(name, by)
        if by.shape != x.shape[1:] or by.device != x.device:
            raise ValueError(
                f"{name} has shape {list(by.shape)} on {by.device}; it must be [heads, features] as in x, "
                f"{list(x.shape[1:])} on {x.device}"
            )
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout={dropout} is not a share that can be dropped; give a number in [0, 1)")
    grads = x.requires_grad or attend_src.requires_grad or attend_dst.requires_grad
    back = graph.transpose if grads and torch.is_grad_enabled() else None
    out: Tensor = torch.ops.dlbench.gat_attend(
        x,
        attend_src,
        attend_dst,
        graph.rowptr,
        graph.col,
        graph.edge_id,
        *((None, None, None) if back is None else (back.rowptr, back.col, back.edge_id)),
        float(negative_slope),
        float(dropout),
        (seed + 2**63) % 2**64 - 2**63,
        graph.is_checked,
    )[0]
    return out


register("edge_softmax", reference.edge_softmax)
register("edge_total", reference.edge_total)


@torch.library.register_fake("dlbench::edge_softmax")  # type: ignore[untyped-decorator]
def _(scores: Tensor, rowptr: Tensor, edge_id: Tensor | None, checked: bool = False) -> Tensor:
    return torch.empty_like(scores, memory_format=torch.contiguous_format)


@torch.library.register_fake("dlbench::edge_total")  # type: ignore[untyped-decorator]
def _(values: Tensor, rowptr: Tensor, edge_id: Tensor | None, checked: bool = False) -> Tensor:
    return torch.empty_like(values, memory_format=torch.contiguous_format)


def _gat_aggregate_fake(
    x: Tensor, score_src: Tensor, score_dst: Tensor, rowptr: Tensor, *_: Any
) -> tuple[Tensor, Tensor, Tensor]:
    targets, heads, features = rowptr.shape[0] - 1, x.shape[1], x.shape[2]
    real = torch.float64 if x.dtype == torch.float64 else torch.float32
    largest, inverse = (x.new_empty(targets, heads, dtype=real) for _ in range(2))
    return x.new_empty(targets, heads, features), largest, inverse


def _gat_aggregate_backward_fake(
    grad: Tensor, x: Tensor, score_src: Tensor, score_dst: Tensor, *_: Any
) -> tuple[Tensor, Tensor, Tensor]:
    of_x, of_src, of_dst = (t.new_empty(t.shape) for t in (x, score_src, score_dst))
    return of_x, of_src, of_dst


def _gat_attend_fake(x: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    real = torch.float64 if x.dtype == torch.float64 else torch.float32
    score_src, score_dst, largest, inverse = (x.new_empty(x.shape[:2], dtype=real) for _ in range(4))
    return x.new_empty(x.shape), score_src, score_dst, largest, inverse


def _gat_attend_backward_fake(
    grad: Tensor, x: Tensor, attend_src: Tensor, attend_dst: Tensor, *_: Any
) -> tuple[Tensor, Tensor, Tensor]:
    of_x, of_src, of_dst = (t.new_empty(t.shape) for t in (x, attend_src, attend_dst))
    return of_x, of_src, of_dst


def _softmax_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(output, *inputs[1:3])
    ctx.checked = inputs[3]


def _softmax_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    out, rowptr, edge_id = ctx.saved_tensors
    real = torch.float64 if out.dtype == torch.float64 else torch.float32
    share, arriving = out.to(real), grad.to(real)
    total = torch.ops.dlbench.edge_total(share * arriving, rowptr, edge_id, ctx.checked)
    return (share * (arriving - total)).to(out.dtype), None, None, None


def _total_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[1:3])
    ctx.checked = inputs[3]


def _total_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    return torch.ops.dlbench.edge_total(grad, *ctx.saved_tensors, ctx.checked), None, None, None


torch.library.register_autograd("dlbench::edge_softmax", _softmax_backward, setup_context=_softmax_setup)
torch.library.register_autograd("dlbench::edge_total", _total_backward, setup_context=_total_setup)
register("gat_aggregate", reference.gat_aggregate, _gat_aggregate_fake)
register("gat_aggregate_backward", reference.gat_aggregate_backward, _gat_aggregate_backward_fake)
register("gat_attend", reference.gat_attend, _gat_attend_fake)
register("gat_attend_backward", reference.gat_attend_backward, _gat_attend_backward_fake)
