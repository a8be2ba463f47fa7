"""What layers ask of their arguments, beyond what the operators ask of theirs."""

from __future__ import annotations

import math

import torch
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
        TypeError: no ``Graph``, or one of torch's sparse tensors.
        ValueError: two sets of nodes, or rows that do not fit.
    """
    check_square(graph)
    if isinstance(x, Tensor) and x.layout != torch.strided:
        raise TypeError(f"x is a tensor of layout {x.layout}; give a dense one, or a dlbench.nn.SparseMatrix")
    if len(x.shape) < 2 or x.shape[0] != graph.num_dst:
        raise ValueError(f"x has shape {list(x.shape)}; for this graph it must be [{graph.num_dst}, features]")


def check_at_least(least: int, **settings: int) -> None:
    """Raises ValueError where a layer's setting is below the least that makes sense."""
    for name, value in settings.items():
        if value < least:
            raise ValueError(f"{name}={value}; it must be at least {least}")


def check_radius(**settings: float) -> None:
    """Raises ValueError where a layer's setting is no finite number from 0 on."""
    for name, value in settings.items():
        if isinstance(value, bool) or not isinstance(value, float | int) or not 0 <= value < math.inf:
            raise ValueError(f"{name}={value!r}; it must be a finite number, 0 or more")


def check_share(**settings: float) -> None:
    """Raises ValueError where a layer's setting is no share, from 0 to 1."""
    for name, value in settings.items():
        if not 0 <= value <= 1:
            raise ValueError(f"{name}={value}; it is a share and must be from 0 to 1")
