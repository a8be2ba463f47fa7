"""A space of choices made one after another, and every child in it by number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]


class Space:
    """Slots, each with its choices. A child takes one choice a slot; children are numbered, the last slot fastest.

    Attributes:
        slots: name → choices.
        sizes: [slots], how many choices each has.
        codes: [children, slots], the choice that each child takes in each slot.
        neighbours: [children, m], the children that differ from each in one slot.
    """

    def __init__(self, slots: Mapping[str, Sequence[Any]]) -> None:
        self.slots = dict(slots)
        self.sizes = np.array([len(choices) for choices in slots.values()])
        self.codes = np.stack(np.unravel_index(np.arange(self.sizes.prod()), self.sizes), axis=1)
        changed = [
            np.where(np.arange(len(self.sizes)) == slot, (self.codes + by) % self.sizes, self.codes)
            for slot, size in enumerate(self.sizes)
            for by in range(1, size)
        ]
        self.neighbours = np.stack([self.numbers(codes) for codes in changed], axis=1)

    def __len__(self) -> int:
        return len(self.codes)

    def numbers(self, codes: Numbers) -> Numbers:
        """The numbers [...] of children given by their codes [..., slots]."""
        return np.asarray(np.ravel_multi_index(tuple(np.moveaxis(codes, -1, 0)), tuple(self.sizes)))

    def choices(self, child: int) -> dict[str, Any]:
        """Slot → what a child takes there."""
        picked = zip(self.slots.items(), self.codes[child], strict=True)
        return {name: choices[code] for (name, choices), code in picked}
