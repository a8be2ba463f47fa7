"""The operators in plain torch: what the kernels are tested against, and what serves where there is no kernel.

Every function has the arguments of the operator of its name (``csrc/schema.inc``).
"""

from dlbench.ops.reference.aggregation import aggregate, edge_dot
from dlbench.ops.reference.apgd import apgd_step_
from dlbench.ops.reference.steps import linf_step_, rounded_down

__all__ = ["aggregate", "apgd_step_", "edge_dot", "linf_step_", "rounded_down"]
