"""The operators of ``dlbench::``: steps of attacks, and reductions over the neighbours of a graph's nodes.

Importing this loads them. The first import on a machine compiles them, once, unless they came compiled; without a
compiler they run in plain torch. ``status()`` tells which it is and why.
"""

from dlbench.ops.loader import OpsError, OpsWarning, Status, load, release_memory, status

load()

from dlbench.ops.aggregation import aggregate, aggregate_arg, sddmm  # noqa: E402  they register with operators that exist by now
from dlbench.ops.apgd import ApgdState, apgd_step_  # noqa: E402
from dlbench.ops.attention import edge_softmax, gat_aggregate, gat_attend  # noqa: E402
from dlbench.ops.balls import l1_step_, l2_step_, project_  # noqa: E402
from dlbench.ops.convolutions import WinogradKernels, winograd_conv2d  # noqa: E402
from dlbench.ops.edge_conv import edge_conv  # noqa: E402
from dlbench.ops.fab import fab_step_  # noqa: E402
from dlbench.ops.graph import Graph  # noqa: E402
from dlbench.ops.losses import dlr_loss, margin_loss  # noqa: E402
from dlbench.ops.momentum import momentum_step_  # noqa: E402
from dlbench.ops.neighbours import knn_graph, radius_graph  # noqa: E402
from dlbench.ops.perturb import linf_step_  # noqa: E402
from dlbench.ops.rows import compact, lp_norms  # noqa: E402
from dlbench.ops.segments import segment_reduce  # noqa: E402
from dlbench.ops.starts import random_start  # noqa: E402

__all__ = [
    "ApgdState",
    "Graph",
    "OpsError",
    "OpsWarning",
    "Status",
    "WinogradKernels",
    "aggregate",
    "aggregate_arg",
    "apgd_step_",
    "compact",
    "dlr_loss",
    "edge_conv",
    "edge_softmax",
    "fab_step_",
    "gat_aggregate",
    "gat_attend",
    "knn_graph",
    "l1_step_",
    "l2_step_",
    "linf_step_",
    "load",
    "lp_norms",
    "margin_loss",
    "momentum_step_",
    "project_",
    "radius_graph",
    "random_start",
    "release_memory",
    "sddmm",
    "segment_reduce",
    "status",
    "winograd_conv2d",
]
