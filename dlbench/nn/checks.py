"""What layers ask of their arguments, beyond what the operators ask of theirs."""

from __future__ import annotations

from torch import Tensor

from dlbench.nn.sparse import SparseMatrix
from dlbench.ops import Graph
from dlbench.ops.checks import check_graph


def check_square(graph: Graph) -> None:
    """Raises unless the sources of the graph are its targets.

    Raises:
        TypeError: no ``Graph``.
        ValueError: two sets of nodes.
    """
    check_graph(graph)
    if graph.num_src != graph.num_dst:
        raise ValueError(
            f"this layer needs one set of nodes; this graph has {graph.num_src} sources and {graph.num_dst} targets"
        )


def check_nodes(x: Tensor | SparseMatrix, graph: Graph) -> None:
    """Raises unless the sources of the graph are its targets, and x has a row for each of them.

    Raises:
        TypeError: no ``Graph``.
        ValueError: two sets of nodes, or rows that do not fit.
    """
    check_square(graph)
    if len(x.shape) < 2 or x.shape[0] != graph.num_dst:
        raise ValueError(f"x has shape {list(x.shape)}; for this graph it must be [{graph.num_dst}, features]")
