"""Picture files of any size as arrays of one size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dlbench.errors import DataDamaged

Box = tuple[float, float, float, float]  # left, upper, right, lower


def read(paths: Sequence[Path], side: int, crop: Callable[[int, int], Box]) -> NDArray[np.uint8]:
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
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as problem:  # as Pillow documents
            raise DataDamaged(f"{path} was not read: {problem}. Get it again") from problem
        small = whole.resize((side, side), Image.Resampling.BILINEAR, box=crop(*whole.size))
        picture[:] = np.asarray(small).transpose(2, 0, 1)
    return pictures
