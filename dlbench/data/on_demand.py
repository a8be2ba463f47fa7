"""Images that are made when they are asked for, so that a part of a large set costs that part."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


class OnDemand:
    """Looks like a float32 array [n, c, h, w] to who takes rows of it: ``images[rows]`` is one.

    Args:
        make: of row numbers, int64 [k], the images, float32 [k, c, h, w].
        shape: [n, c, h, w].
        digests: a digest of each of the n images, without making them.
    """

    def __init__(
        self,
        make: Callable[[NDArray[np.int64]], NDArray[np.float32]],
        shape: Sequence[int],
        digests: Callable[[], Sequence[bytes]],
    ) -> None:
        self.make, self.digests = make, digests
        self.shape = tuple(shape)
        self.ndim = len(self.shape)
        self.size = math.prod(self.shape)
        self.dtype = np.dtype(np.float32)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> NDArray[np.float32]:
        """The image of one row, or those of a slice, of row numbers or of a mask [n]."""
        chosen = np.arange(len(self))[rows]
        return self.make(chosen) if chosen.ndim else self.make(chosen[None])[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("images that are made on demand cannot be had without a copy")
        return self[:].astype(dtype or np.float32, copy=False)

    def __repr__(self) -> str:
        return f"OnDemand(float32 {list(self.shape)})"
