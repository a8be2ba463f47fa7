"""Reductions over the neighbours of a graph's nodes in plain torch, whose own autograd differentiates them."""

from __future__ import annotations

import torch
from torch import Tensor

from dlbench.ops.graph import targets


def _accumulable(x: Tensor) -> Tensor:
    """Half types are summed in float."""
    return x if x.dtype == torch.float64 else x.float()


def _messages(x: Tensor, col: Tensor, edge_id: Tensor | None, weight: Tensor | None) -> Tensor:
    """What every position's edge sends, [edges, F] or [edges, heads, F]."""
    messages = _accumulable(x).index_select(0, col)
    if weight is None:
        return messages
    scale = (weight if edge_id is None else weight.index_select(0, edge_id)).to(messages.dtype)
    return messages * scale.reshape(scale.shape + (1,) * (messages.dim() - scale.dim()))


def _rows_like(values: Tensor, rowptr: Tensor) -> Tensor:
    return values.new_zeros(rowptr.shape[0] - 1, *values.shape[1:])


def _counts(rowptr: Tensor, like: Tensor) -> Tensor:
    """The number of edges of every row, at least 1, to divide rows by."""
    counts = rowptr.diff().clamp_min(1).to(like.dtype)
    return counts.reshape(-1, *(1,) * (like.dim() - 1))


def _mean(messages: Tensor, rowptr: Tensor, target: Tensor) -> Tensor:
    return _rows_like(messages, rowptr).index_add(0, target, messages) / _counts(rowptr, messages)


def _std(messages: Tensor, rowptr: Tensor, target: Tensor) -> Tensor:
    deviations = messages - _mean(messages, rowptr, target).index_select(0, target)
    variance = _mean(deviations * deviations, rowptr, target)
    flat = variance == 0
    return variance.masked_fill(flat, 1).sqrt().masked_fill(flat, 0)


def _winners(messages: Tensor, rowptr: Tensor, target: Tensor, reduce: str) -> Tensor:
    """The first position with the extremum of its row, or with NaN where that is the extremum; edges in empty rows."""
    index = target.long().reshape(-1, *(1,) * (messages.dim() - 1)).expand_as(messages)
    extremum = _rows_like(messages, rowptr).scatter_reduce(0, index, messages, "a" + reduce, include_self=False)
    best = extremum.index_select(0, target)
    edges = messages.shape[0]
    place = torch.arange(edges, device=messages.device).reshape(index.shape[:1] + (1,) * (messages.dim() - 1))
    place = torch.where((messages == best) | (messages.isnan() & best.isnan()), place, edges)
    none = torch.full(extremum.shape, edges, dtype=torch.int64, device=messages.device)
    return none.scatter_reduce(0, index, place, "amin")


def aggregate(
    x: Tensor,
    rowptr: Tensor,
    col: Tensor,
    edge_id: Tensor | None,
    weight: Tensor | None,
    t_rowptr: Tensor | None,
    t_col: Tensor | None,
    t_edge_id: Tensor | None,
    reduce: str,
    checked: bool = False,
    uneven: bool | None = None,
    t_uneven: bool | None = None,
) -> Tensor:
    """Sum, mean, max, min or std of the messages into every target; see ``csrc/aggregate/aggregate.h``."""
    if reduce in ("max", "min"):
        out, _ = aggregate_arg(x, rowptr, col, edge_id, weight, None, None, None, reduce)
        return out
    messages, target = _messages(x, col, edge_id, weight), targets(rowptr, col, checked)
    if reduce == "sum":
        return _rows_like(messages, rowptr).index_add(0, target, messages).to(x.dtype)
    return (_mean if reduce == "mean" else _std)(messages, rowptr, target).to(x.dtype)


def aggregate_arg(
    x: Tensor,
    rowptr: Tensor,
    col: Tensor,
    edge_id: Tensor | None,
    weight: Tensor | None,
    t_rowptr: Tensor | None,
    t_col: Tensor | None,
    t_edge_id: Tensor | None,
    reduce: str,
    checked: bool = False,
    uneven: bool | None = None,
) -> tuple[Tensor, Tensor]:
    """Max or min, and the position that it comes from."""
    messages, target = _messages(x, col, edge_id, weight), targets(rowptr, col, checked)
    position = _winners(messages.detach(), rowptr, target, reduce)
    nothing = messages.new_zeros(1, *messages.shape[1:])
    out = torch.cat([messages, nothing]).gather(0, position)
    return out.to(x.dtype), position.to(col.dtype)


def sddmm(
    a: Tensor,
    b: Tensor,
    rowptr: Tensor,
    col: Tensor,
    edge_id: Tensor | None,
    t_rowptr: Tensor | None,
    t_col: Tensor | None,
    t_edge_id: Tensor | None,
    dtype: torch.dtype | None = None,
    checked: bool = False,
    uneven: bool | None = None,
    t_uneven: bool | None = None,
) -> Tensor:
    """Dot product of the ends of every edge; see ``csrc/aggregate/sddmm.h``."""
    ends = _accumulable(a).index_select(0, targets(rowptr, col, checked)), _accumulable(b).index_select(0, col)
    dots = (ends[0] * ends[1]).sum(-1).to(a.dtype if dtype is None else dtype)
    return dots if edge_id is None else torch.zeros_like(dots).index_copy(0, edge_id.long(), dots)


def scatter_winners(
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
    """Every target's gradient at its winners' sources: the derivative of max and min by features."""
    wide, winner = _accumulable(grad).flatten(1), _filled(position, rowptr, col).flatten(1)
    if weight is not None:
        wide = wide * _winners_weights(weight, winner, edge_id, grad).to(wide.dtype)
    source = torch.cat([col.long(), col.new_full((1,), num_src, dtype=torch.int64)])[winner]
    out = wide.new_zeros(num_src + 1, wide.shape[1]).scatter_add_(0, source, wide)  # the last row is the empty rows'
    return out[:-1].reshape(num_src, *grad.shape[1:]).to(grad.dtype)


def _filled(position: Tensor, rowptr: Tensor, col: Tensor) -> Tensor:
    """The winners' positions, in empty rows the number of edges whatever is written there."""
    full = (rowptr.diff() > 0).reshape(-1, *(1,) * (position.dim() - 1))
    return position.long().where(full, col.shape[0])


def _numbers(edge_id: Tensor | None, winner: Tensor, edges: int) -> Tensor:
    """The edge at every winner's position, which is the number of edges where there is none."""
    return winner if edge_id is None else torch.cat([edge_id.long(), edge_id.new_full((1,), edges).long()])[winner]


def _winners_weights(weight: Tensor, winner: Tensor, edge_id: Tensor | None, like: Tensor) -> Tensor:
    """The weight of the edge at every winner's position, 0 where there is none."""
    weight = torch.cat([weight, weight.new_zeros(1, *weight.shape[1:])])
    edge = _numbers(edge_id, winner, weight.shape[0] - 1)
    return weight[edge] if weight.dim() == 1 else weight[edge, _heads(like)]


def _heads(x: Tensor) -> Tensor:
    """The head of each of the features, flattened."""
    return torch.arange(x.shape[1], device=x.device).repeat_interleave(x.shape[2])


def winner_dots(
    grad: Tensor,
    x: Tensor,
    position: Tensor,
    rowptr: Tensor,
    col: Tensor,
    edge_id: Tensor | None,
    by_head: bool,
    checked: bool = False,
) -> Tensor:
    """What each edge won, times its target's gradient: the derivative of max and min by weights."""
    wide, winner = _accumulable(grad).flatten(1), _filled(position, rowptr, col).flatten(1)
    edges, heads = col.shape[0], grad.shape[1] if by_head else 1
    sources = torch.cat([x.to(wide.dtype).flatten(1), wide.new_zeros(1, wide.shape[1])])
    source = torch.cat([col.long(), col.new_full((1,), x.shape[0], dtype=torch.int64)])[winner]
    won = wide * sources.gather(0, source)
    edge = _numbers(edge_id, winner, edges)
    place = edge * heads + _heads(grad) if by_head else edge
    out = wide.new_zeros((edges + 1) * heads).scatter_add_(0, place.flatten(), won.flatten())[: edges * heads]
    return out.reshape(edges, heads) if by_head else out


def csr_from_coo(row: Tensor, col: Tensor, rows: int, cols: int) -> tuple[Tensor, Tensor, Tensor]:
    """Compressed rows of edges in any order, which they keep in each row; see ``csrc/aggregate/csr_build.h``."""
    index = torch.int32 if max(rows, cols, row.shape[0]) <= 2**31 - 1 else torch.int64
    for name, ends, count in (("row", row, rows), ("col", col, cols)):
        if bool(((ends < 0) | (ends >= count)).any()):
            raise IndexError(f"{name} has numbers outside of [0, {count})")
    ordered, order = torch.sort(row, stable=True)
    return row_pointers(ordered, rows).to(index), col[order].to(index), order.to(index)


def csr_transpose(rowptr: Tensor, col: Tensor, edge_id: Tensor | None, num_src: int) -> tuple[Tensor, Tensor, Tensor]:
    """Compressed rows of the reversed edges, numbered as before, numbers rising in each row."""
    target = targets(rowptr, col, checked=False)
    if edge_id is not None:
        at = edge_id.long()
        col, target = torch.zeros_like(col).index_copy(0, at, col), torch.zeros_like(col).index_copy(0, at, target)
    source, order = torch.sort(col, stable=True)
    return row_pointers(source, num_src), target[order], order.to(col.dtype)


def row_pointers(sorted_rows: Tensor, rows: int) -> Tensor:
    """Where each row begins among sorted row numbers, and where the last one ends."""
    wanted = torch.arange(rows + 1, dtype=sorted_rows.dtype, device=sorted_rows.device)
    return torch.searchsorted(sorted_rows, wanted, out_int32=sorted_rows.dtype == torch.int32)
