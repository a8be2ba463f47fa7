"""The operators in plain torch: what the kernels are tested against, and what serves where there is no kernel.

Every function has the arguments of the operator of its name (``csrc/schema.inc``).
"""

from dlbench.ops.reference.aggregation import (
    aggregate,
    aggregate_arg,
    csr_from_coo,
    csr_transpose,
    scatter_winners,
    sddmm,
    winner_dots,
)
from dlbench.ops.reference.apgd import apgd_step_
from dlbench.ops.reference.attention import (
    edge_softmax,
    edge_total,
    gat_aggregate,
    gat_aggregate_backward,
    gat_attend,
    gat_attend_backward,
)
from dlbench.ops.reference.balls import l1_step_, l2_step_, project_
from dlbench.ops.reference.convolutions import winograd_conv2d
from dlbench.ops.reference.fab import fab_step_
from dlbench.ops.reference.losses import dlr_loss, margin_loss, scatter_slopes
from dlbench.ops.reference.momentum import momentum_step_
from dlbench.ops.reference.neighbours import nearest, neighbour_count
from dlbench.ops.reference.rows import compact, lp_norms
from dlbench.ops.reference.segments import segment_reduce
from dlbench.ops.reference.starts import random_start
from dlbench.ops.reference.steps import linf_step_, rounded_down

__all__ = [
    "aggregate",
    "aggregate_arg",
    "apgd_step_",
    "compact",
    "csr_from_coo",
    "csr_transpose",
    "dlr_loss",
    "edge_softmax",
    "edge_total",
    "fab_step_",
    "gat_aggregate",
    "gat_aggregate_backward",
    "gat_attend",
    "gat_attend_backward",
    "l1_step_",
    "l2_step_",
    "linf_step_",
    "lp_norms",
    "margin_loss",
    "momentum_step_",
    "nearest",
    "neighbour_count",
    "project_",
    "random_start",
    "rounded_down",
    "scatter_slopes",
    "scatter_winners",
    "sddmm",
    "segment_reduce",
    "winner_dots",
    "winograd_conv2d",
]
