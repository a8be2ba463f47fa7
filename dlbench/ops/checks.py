"""What operators on graphs ask of their arguments."""

from __future__ import annotations

import torch
from torch import Tensor

from dlbench.ops.graph import Graph

FLOATS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def check_graph(graph: object) -> None:
    """Raises TypeError unless it is a ``Graph``."""
    if not isinstance(graph, Graph):
        raise TypeError(f"graph is a {type(graph).__name__}; make one with Graph.from_edge_index or Graph.from_csr")


def check_unchanged(graph: Graph) -> None:
    """Raises TypeError unless it is a ``Graph``, RuntimeError where it was changed in place."""
    check_graph(graph)
    graph.is_checked  # noqa: B018  asking raises


def check_floats(name: str, tensor: object) -> None:
    """Raises TypeError unless it is a tensor of a float type."""
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name} is a {type(tensor).__name__}; give a tensor, as torch.as_tensor makes one")
    if tensor.dtype not in FLOATS:
        raise TypeError(f"{name} is {tensor.dtype}; it must be float64, float32, bfloat16 or float16")


def check_on_graph(name: str, tensor: Tensor, graph: Graph, rows: int, *rest: int | str) -> None:
    """Raises unless the tensor is of a float type, of shape [rows, *rest] (a word stands for any number), and there.

    Raises:
        TypeError: not a tensor of a float type.
        ValueError: another shape, or another device than the graph's.
    """
    check_floats(name, tensor)
    wanted = (rows, *rest)
    fits = tensor.dim() == len(wanted) and all(
        isinstance(want, str) or have == want for have, want in zip(tensor.shape, wanted, strict=True)
    )
    if not fits:
        shape = ", ".join(map(str, wanted))
        raise ValueError(f"{name} has shape {list(tensor.shape)}; for this graph it must be [{shape}]")
    check_device(name, tensor, graph)


def check_device(name: str, tensor: Tensor, graph: Graph) -> None:
    """Raises ValueError unless the tensor is where the graph is."""
    if tensor.device != graph.device:
        raise ValueError(f"{name} is on {tensor.device} but the graph is on {graph.device}; try graph.to(x.device)")
