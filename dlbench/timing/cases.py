"""What there is to say of an operator that is timed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Case:
    """An operator on arguments of one size.

    Args:
        name: tells the operator's cases apart: ``128x3x32x32``.
        prepare: takes a device, makes the arguments there, and gives a function without arguments to be timed. It is
            called many times in a row, so that what is changed in place must not change what a call costs.
        moved: bytes that must be read and written at the least, each array once.
        flops: floating-point additions, multiplications, divisions and comparisons at the least; None where their
            number depends on the data.
    """

    name: str
    prepare: Callable[[str], Callable[[], Any]]
    moved: int
    flops: int | None
