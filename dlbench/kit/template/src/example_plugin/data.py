"""Bars: made images of four kinds of bars, as a data set that needs no file beside this one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from dlbench.data import Dataset
from numpy.typing import NDArray

SIDE, CLASSES = 12, 4
TRAIN, TEST = 400, 800
NOISE = 0.2  # its standard deviation; black is 0, white 1


def bars(n: int, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Images [n, SIDE, SIDE] of bars near the middle: lying, standing, falling or rising, and which of them [n]."""
    kind = rng.integers(CLASSES, size=n)
    row, column = np.indices((SIDE, SIDE)) - (SIDE - 1) / 2  # from the middle
    across = np.stack([row, column, (row - column) / 2**0.5, (row + column) / 2**0.5])[kind]
    near = np.abs(across - rng.integers(-1, 2, size=(n, 1, 1))) < 1
    image = 0.8 * near + rng.normal(0, NOISE, near.shape)
    return image.clip(0, 1).astype(np.float32), kind


def read() -> Mapping[str, NDArray[Any]]:
    """The same images each time. ``train_x`` … ``test_y`` is how dlbench names a split that is fixed."""
    rng = np.random.default_rng(0)
    (train_x, train_y), (test_x, test_y) = bars(TRAIN, rng), bars(TEST, rng)
    return {"train_x": train_x, "train_y": train_y, "test_x": test_x, "test_y": test_y}


BARS = Dataset(
    files=lambda: [Path(__file__)],  # what is fingerprinted: a change here makes stored results stale
    read=read,
    about=f"Made images of four kinds of bars, [n, {SIDE}, {SIDE}] in [0, 1].",
)
