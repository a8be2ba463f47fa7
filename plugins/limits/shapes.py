"""Pictures of which it is known what decides the class: a shape in noise, and beside it a distractor.

A picture is divided into cells of 8 x 8 pixels. One cell, drawn by lot, has the shape that names the class: one of four
signs of nine pixels in the middle five by five (``SIGNS``). Another cell has the distractor, a full square of nine
pixels at any place within it, drawn without regard to the class. Both add 1 to Gaussian noise about 0, so that the
brightness of a picture says nothing about the class. As signs are always in the middle of their cell, a classifier that
is linear in the pixels can tell them apart, too.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

CELL, SIDE, BLOCK = 8, 5, 3
SIGNS = {  # the class' number is the place in this list
    "plus": ("..#..", "..#..", "#####", "..#..", "..#.."),
    "times": ("#...#", ".#.#.", "..#..", ".#.#.", "#...#"),
    "corner": ("#....", "#....", "#....", "#....", "#####"),
    "tee": ("#####", "..#..", "..#..", "..#..", "..#.."),
}


@dataclass(frozen=True)
class Shapes:
    """So many pictures, and where what is in them is."""

    x: NDArray[np.float32]  # [n, size, size]
    y: NDArray[np.int64]  # [n], which of SIGNS
    sign: NDArray[np.bool_]  # [n, size, size]: the nine pixels of the sign
    place: NDArray[np.bool_]  # the square that it is in: what is dark there says which sign it is, too
    distractor: NDArray[np.bool_]

    def only(self, chosen: NDArray[np.int64]) -> Shapes:
        """Those of these numbers."""
        return Shapes(*(getattr(self, part.name)[chosen] for part in fields(self)))

    def without(self, mask: NDArray[np.bool_]) -> NDArray[np.float32]:
        """The pictures as they are if the sign, or the distractor, had not been drawn; the noise stays."""
        return self.x - mask.astype(np.float32)


def shapes(n: int, rng: np.random.Generator, *, cells: int = 2, noise: float = 0.3) -> Shapes:
    """Draw pictures.

    Args:
        n: how many.
        rng: of all that is drawn.
        cells: a picture is so many cells wide and high, at least 2.
        noise: its standard deviation; a sign's is 1 above it.
    """
    size = CELL * cells
    y = rng.integers(len(SIGNS), size=n)
    first = rng.integers(cells**2, size=n)
    second = (first + rng.integers(1, cells**2, size=n)) % cells**2
    corner = _corners(first, cells) + (CELL - SIDE) // 2
    other = _corners(second, cells) + rng.integers(CELL - BLOCK + 1, size=(2, n))
    sign = _drawn(corner, _patterns()[y], size)
    place = _drawn(corner, np.ones((n, SIDE, SIDE), dtype=bool), size)
    distractor = _drawn(other, np.ones((n, BLOCK, BLOCK), dtype=bool), size)
    x = noise * rng.standard_normal((n, size, size), dtype=np.float32) + (sign | distractor)
    return Shapes(x.astype(np.float32), y, sign, place, distractor)


def ideal_weights(cells: int = 2) -> NDArray[np.float32]:
    """[classes, size, size]: of the linear model that knows the signs, each less the mean of all, in every cell."""
    patterns = _patterns().astype(np.float32)
    patterns -= patterns.mean(0)
    margin = (CELL - SIDE) // 2
    cell = np.pad(patterns, ((0, 0), (margin, CELL - SIDE - margin), (margin, CELL - SIDE - margin)))
    return np.tile(cell, (1, cells, cells))


def _patterns() -> NDArray[np.bool_]:
    """[classes, SIDE, SIDE]."""
    return np.array([[[pixel == "#" for pixel in row] for row in sign] for sign in SIGNS.values()])


def _corners(cell: NDArray[np.int64], cells: int) -> NDArray[np.int64]:
    """[2, n]: the first row and column of each cell."""
    return CELL * np.stack(np.divmod(cell, cells))


def _drawn(corner: NDArray[np.int64], patterns: NDArray[np.bool_], size: int) -> NDArray[np.bool_]:
    """[n, size, size]: each pattern [n, h, w] with its first pixel at the corner [2, n]."""
    n, height, width = patterns.shape
    masks = np.zeros((n, size, size), dtype=bool)
    rows = corner[0][:, None, None] + np.arange(height)[None, :, None]
    columns = corner[1][:, None, None] + np.arange(width)[None, None, :]
    masks[np.arange(n)[:, None, None], rows, columns] = patterns
    return masks
