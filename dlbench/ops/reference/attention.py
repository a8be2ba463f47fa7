"""Softmax over the edges of every target, and attention with it, in plain torch: every edge's message is made.

Rows are taken by index_select: its derivative adds up in order, that of x[i] does not.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dlbench.ops.graph import targets
from dlbench.ops.reference.starts import MASK, philox


def _accumulable(x: Tensor) -> Tensor:
    """Half types are summed in float."""
    return x if x.dtype == torch.float64 else x.float()


def _by_rows(values: Tensor, edge_id: Tensor | None) -> Tensor:
    return values if edge_id is None else values.index_select(0, edge_id)


def _by_edges(values: Tensor, edge_id: Tensor | None) -> Tensor:
    return values if edge_id is None else torch.empty_like(values).index_copy_(0, edge_id.long(), values)


def _sum_of_rows(values: Tensor, rows: Tensor, count: int) -> Tensor:
    return values.new_zeros(count, *values.shape[1:]).index_add_(0, rows, values)


def _normalisers(scores: Tensor, rows: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The largest score of every row, 0 where there is none above -inf, and the inverse of the sum of exponentials."""
    largest = scores.new_full((count, scores.shape[1]), -torch.inf)
    largest = largest.scatter_reduce(0, rows.long()[:, None].expand_as(scores), scores, "amax")
    largest = torch.where(largest == -torch.inf, 0, largest).detach()  # no weight depends on it
    total = _sum_of_rows((scores - largest[rows]).exp(), rows, count)
    none = total == 0
    return largest, torch.where(none, 0, 1 / torch.where(none, 1, total))  # 1 / 0 has no derivative to multiply by 0


def edge_softmax(scores: Tensor, rowptr: Tensor, edge_id: Tensor | None, checked: bool = False) -> Tensor:
    """Softmax over the edges of every target; see ``csrc/attention/edge_softmax.h``."""
    rows, ordered = targets(rowptr, scores, checked), _by_rows(_accumulable(scores), edge_id)
    largest, inverse = _normalisers(ordered, rows, rowptr.numel() - 1)
    return _by_edges((ordered - largest[rows]).exp() * inverse[rows], edge_id).to(scores.dtype)


def edge_total(values: Tensor, rowptr: Tensor, edge_id: Tensor | None, checked: bool = False) -> Tensor:
    """At every edge the sum over all edges of its target; see ``csrc/attention/edge_softmax.h``."""
    rows, ordered = targets(rowptr, values, checked), _by_rows(_accumulable(values), edge_id)
    total = _sum_of_rows(ordered, rows, rowptr.numel() - 1)
    return _by_edges(total[rows], edge_id).to(values.dtype)


def attention_mask(edges: Tensor, heads: int, dropout: float, seed: int) -> Tensor:
    """0 where an edge's attention is dropped in a head, 1 / (1 - dropout) where not: [len(edges), heads], float64."""
    edges = edges.long()[:, None].expand(-1, (heads + 3) // 4)
    blocks = torch.arange(edges.shape[1], device=edges.device).expand_as(edges)
    words = philox((edges & MASK, edges >> 32, blocks, torch.zeros_like(edges)), seed)
    kept = torch.stack(words, -1).flatten(1)[:, :heads] >= int(dropout * 2**32)
    return kept.double() / (1 - dropout)


class _Attention:
    """What both directions of gat_aggregate compute at every edge, in the order of rows."""

    def __init__(
        self,
        score_src: Tensor,
        score_dst: Tensor,
        rowptr: Tensor,
        col: Tensor,
        edge_id: Tensor | None,
        negative_slope: float,
        dropout: float,
        seed: int,
        checked: bool,
    ) -> None:
        self.rows, self.count = targets(rowptr, col, checked), rowptr.numel() - 1
        raw = score_src.index_select(0, col) + score_dst.index_select(0, self.rows)
        self.slope = torch.where(raw > 0, 1.0, raw.new_full((), negative_slope))
        self.scores = torch.where(raw > 0, raw, raw * negative_slope)
        edges = torch.arange(len(col), device=col.device) if edge_id is None else edge_id
        self.mask = attention_mask(edges, raw.shape[1], dropout, seed).to(raw.dtype)

    def weights(self, largest: Tensor, inverse: Tensor) -> Tensor:
        return (self.scores - largest[self.rows]).exp() * inverse.index_select(0, self.rows)


def gat_aggregate(
    x: Tensor,
    score_src: Tensor,
    score_dst: Tensor,
    rowptr: Tensor,
    col: Tensor,
    edge_id: Tensor | None,
    t_rowptr: Tensor | None,
    t_col: Tensor | None,
    t_edge_id: Tensor | None,
    negative_slope: float,
    dropout: float,
    seed: int,
    checked: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Sum of the neighbours' features by their attention; see ``csrc/attention/gat.h``."""
    features = _accumulable(x)
    scores = score_src.to(features.dtype), score_dst.to(features.dtype)
    at = _Attention(*scores, rowptr, col, edge_id, negative_slope, dropout, seed, checked)
    largest, inverse = _normalisers(at.scores, at.rows, at.count)
    messages = (at.weights(largest, inverse) * at.mask).unsqueeze(2) * features.index_select(0, col)
    return _sum_of_rows(messages, at.rows, at.count).to(x.dtype), largest, inverse.detach()


def gat_aggregate_backward(
    grad: Tensor,
    x: Tensor,
    score_src: Tensor,
    score_dst: Tensor,
    largest: Tensor,
    inverse: Tensor,
    rowptr: Tensor,
    col: Tensor,
    edge_id: Tensor | None,
    t_rowptr: Tensor,
    t_col: Tensor,
    t_edge_id: Tensor | None,
    negative_slope: float,
    dropout: float,
    seed: int,
    checked: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of gat_aggregate's features and scores; see ``csrc/attention/gat.h``."""
    features = _accumulable(x)
    grad = grad.to(features.dtype)
    scores = score_src.to(features.dtype), score_dst.to(features.dtype)
    at = _Attention(*scores, rowptr, col, edge_id, negative_slope, dropout, seed, checked)
    weights, arriving = at.weights(largest, inverse), grad[at.rows]
    of_x = _sum_of_rows((weights * at.mask).unsqueeze(2) * arriving, col, x.shape[0])
    of_weights = at.mask * (arriving * features[col]).sum(2)
    of_scores = weights * (of_weights - _sum_of_rows(weights * of_weights, at.rows, at.count)[at.rows]) * at.slope
    of_src = _sum_of_rows(of_scores, col, x.shape[0])
    of_dst = _sum_of_rows(of_scores, at.rows, at.count)
    return of_x.to(x.dtype), of_src.to(score_src.dtype), of_dst.to(score_dst.dtype)


def gat_attend(
    x: Tensor,
    attend_src: Tensor,
    attend_dst: Tensor,
    rowptr: Tensor,
    col: Tensor,
    edge_id: Tensor | None,
    t_rowptr: Tensor | None,
    t_col: Tensor | None,
    t_edge_id: Tensor | None,
    negative_slope: float,
    dropout: float,
    seed: int,
    checked: bool = False,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """gat_aggregate by scores that are dot products; through the dispatcher, for a GPU has a kernel for that."""
    features = _accumulable(x)
    score_src, score_dst = ((features * by.to(features.dtype)).sum(2) for by in (attend_src, attend_dst))
    graph = (rowptr, col, edge_id, t_rowptr, t_col, t_edge_id)
    attended = torch.ops.dlbench.gat_aggregate(x, score_src, score_dst, *graph, negative_slope, dropout, seed, checked)
    out, largest, inverse = attended
    return out, score_src.detach(), score_dst.detach(), largest, inverse


def gat_attend_backward(
    grad: Tensor,
    x: Tensor,
    attend_src: Tensor,
    attend_dst: Tensor,
    score_src: Tensor,
    score_dst: Tensor,
    largest: Tensor,
    inverse: Tensor,
    rowptr: Tensor,
    col: Tensor,
    edge_id: Tensor | None,
    t_rowptr: Tensor,
    t_col: Tensor,
    t_edge_id: Tensor | None,
    negative_slope: float,
    dropout: float,
    seed: int,
    checked: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of gat_attend's features and of what their heads are multiplied by."""
    features = _accumulable(x)
    graph = (rowptr, col, edge_id, t_rowptr, t_col, t_edge_id)
    of_x, *of_scores = torch.ops.dlbench.gat_aggregate_backward(
        grad, features, score_src, score_dst, largest, inverse, *graph, negative_slope, dropout, seed, checked
    )
    of_attend = []
    for of_score, by in zip(of_scores, (attend_src, attend_dst), strict=True):
        of_x = of_x + of_score.unsqueeze(2) * by.to(features.dtype)
        of_attend.append((of_score.unsqueeze(2) * features).sum(0).to(by.dtype))
    return of_x.to(x.dtype), of_attend[0], of_attend[1]
