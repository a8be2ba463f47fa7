"""Points under way, a row each, with whatever an attack knows about them."""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from torch import Tensor

from dlbench.ops.limits import Number


@dataclass
class Rows:
    """Every tensor of it, and of the dataclasses in it, has a row for each point; what else there is holds for all."""

    job: Tensor  # [n], its place in the branch of the search
    restart: Tensor  # [n]
    points: Tensor  # [n, ...]

    def keep(self, rows: Tensor) -> None:
        """Of all rows only these [m] remain, in this order."""
        for owner, name, tensor in tensors(self):
            setattr(owner, name, tensor[rows])


def tensors(value: Any) -> list[tuple[Any, str, Tensor]]:
    """Every tensor in a dataclass, with its owner and its name there."""
    found = []
    for part in fields(value):
        inner = getattr(value, part.name)
        if isinstance(inner, Tensor):
            found.append((value, part.name, inner))
        elif is_dataclass(inner) and not isinstance(inner, type):
            found += tensors(inner)
    return found


def of(value: Number, samples: Tensor) -> Number:
    """A number, or the rows of some samples [n]."""
    return value[samples] if isinstance(value, Tensor) else value


def each(value: Number, like: Tensor) -> Number:
    """A number, or those of rows, [n] or [n, C or 1, 1, ...], in the shape and the type to go with points [n, ...]."""
    if not isinstance(value, Tensor):
        return value
    return value.to(like).view(*value.shape, *[1] * (like.dim() - value.dim()))
