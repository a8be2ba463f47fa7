"""Picture files of any size as arrays of one size."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from dlbench.errors import DataDamaged

UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)  # what Pillow documents that it raises
PARTS = ("train", "valid", "test")  # as both sets of pictures with groups number them
Box = tuple[float, float, float, float]  # left, upper, right, lower
Crop = Callable[[int, int], Box]  # of a width and a height


def by_part(
    paths: Sequence[Path], part: NDArray[np.int64], columns: Mapping[str, NDArray[np.int64]], side: int, crop: Crop
) -> dict[str, NDArray[Any]]:
    """The arrays ``PART_x`` of :func:`read`, and ``PART_NAME`` for each of the columns, for every part.

    Args:
        paths: [n] of the pictures.
        part: [n] of which part each is, by its number in PARTS.
        columns: by their names, each [n].
        side: of a picture, in pixels.
        crop: as :func:`read` has it.
    """
    arrays: dict[str, NDArray[Any]] = {}
    for code, name in enumerate(PARTS):
        rows = np.flatnonzero(part == code).tolist()
        arrays[f"{name}_x"] = read([paths[row] for row in rows], side, crop)
        arrays |= {f"{name}_{column}": values[rows] for column, values in columns.items()}
    return arrays


def complete(path: Path, part: ArrayLike) -> None:
    """DataDamaged where one of PARTS has no pictures; ``path`` says where that stands."""
    if empty := [name for code, name in enumerate(PARTS) if not (np.asarray(part) == code).any()]:
        raise DataDamaged(f"{path} has no pictures to {empty[0]}; get it again")


def read(paths: Sequence[Path], side: int, crop: Crop) -> NDArray[np.uint8]:
    """Pictures as bytes [n, 3, side, side], red, green and blue.

    Of each the part that ``crop(width, height)`` names is brought to side × side pixels, smoothed (bilinear, with
    antialiasing, as Pillow does it).

    Raises:
        DataDamaged: a file is no picture, or is cut off.
    """
    pictures = np.empty((len(paths), 3, side, side), np.uint8)
    for picture, path in zip(pictures, paths, strict=True):
        try:
            with Image.open(path) as file:
                whole = file.convert("RGB")
        except UNREADABLE as problem:
            raise DataDamaged(f"{path} was not read: {problem}. Get it again") from problem
        small = whole.resize((side, side), Image.Resampling.BILINEAR, box=crop(*whole.size))
        picture[:] = np.asarray(small).transpose(2, 0, 1)
    return pictures


def middle(aspect: float) -> Crop:
    """The largest part in the middle that is ``aspect`` times as wide as it is high."""

    def crop(width: int, height: int) -> Box:
        wide, high = min(width, height * aspect), min(height, width / aspect)
        left, upper = (width - wide) / 2, (height - high) / 2
        return left, upper, left + wide, upper + high

    return crop
