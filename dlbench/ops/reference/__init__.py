"""The operators in plain torch: what the kernels are tested against, and what serves where there is no kernel.

Every function has the arguments of the operator of its name (``csrc/schema.inc``).
"""

from dlbench.ops.reference.aggregation import aggregate, edge_dot
from dlbench.ops.reference.balls import l1_step_, l2_step_, project_
from dlbench.ops.reference.steps import linf_step_, rounded_down

__all__ = [
    "aggregate",
    "edge_dot",
    "l1_step_",
    "l2_step_",
    "linf_step_",
    "project_",
    "rounded_down",
]
