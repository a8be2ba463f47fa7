"""One week of METR-LA (Jagadish et al. 2014; Li et al., ICLR 2018), as T-GCN's authors publish it (Zhao et al. 2019).

207 loop detectors on the highways of Los Angeles County, 1 to 7 March 2012, the mean speed of every five minutes. The
two files ``los_speed.csv`` and ``los_adj.csv`` (or the same with ``.gz`` behind) lie in the folder ``traffic`` of the
data root.

The arrays, for T steps, n detectors, E roads:
    speed       [T, n] float32, in miles per hour; NaN where nothing was measured (the publishers write 0)
    edge_index  [2, E] int64, from detector to detector, without self loops
    weight      [E] float32, the Gaussian kernel of the distance by road
    minutes     [] int64, the length of a step
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dlbench.data import Dataset, root
from dlbench.data.tables import plain_or_gzipped, read_csv
from dlbench.errors import DataDamaged

MINUTES = 5


def files() -> list[Path]:
    """The speeds and the roads, plain or compressed; the plain names where neither is there."""
    return [plain_or_gzipped(root() / "traffic" / name) for name in ("los_speed.csv", "los_adj.csv")]


def read(speed_file: Path, adjacency_file: Path) -> dict[str, np.ndarray]:
    """The arrays that the module's docstring lists.

    Raises:
        DataDamaged: a cell is no number, a speed is negative, or the two files name different numbers of detectors.
    """
    speed = numbers(speed_file, header=0)
    adjacency = numbers(adjacency_file, header=None)
    detectors = speed.shape[1]
    if adjacency.shape != (detectors, detectors):
        raise DataDamaged(
            f"{adjacency_file} has {adjacency.shape[0]} rows and {adjacency.shape[1]} columns; expected {detectors} of "
            f"both, as many as {speed_file} has detectors"
        )
    if (bad := ~np.isfinite(adjacency) | (adjacency < 0)).any():
        row, column = np.argwhere(bad)[0]
        raise DataDamaged(f"{adjacency_file}, line {row + 1}, column {column + 1}: no weight of a road, at least 0")
    if np.isinf(speed).any():
        step, detector = np.argwhere(np.isinf(speed))[0]
        raise DataDamaged(f"{speed_file}, line {step + 2}, column {detector + 1}: an infinite speed")
    if (speed < 0).any():
        step, detector = np.argwhere(speed < 0)[0]
        raise DataDamaged(f"{speed_file}, line {step + 2}, column {detector + 1}: a speed below zero")
    np.fill_diagonal(adjacency, 0)
    source, target = adjacency.nonzero()
    return {
        "speed": np.where(speed == 0, np.nan, speed),
        "edge_index": np.stack([source, target]).astype(np.int64),
        "weight": adjacency[source, target],
        "minutes": np.array(MINUTES),
    }


def numbers(path: Path, header: int | None) -> NDArray[np.float32]:
    """A table of numbers; an empty cell is NaN."""
    try:
        return np.asarray(read_csv(path, header).to_numpy(np.float32))
    except (ValueError, OSError) as problem:
        raise DataDamaged(f"{path} was not read: {problem}. Expected a table of numbers, one column a detector") from (
            problem
        )


METR_LA_WEEK = Dataset(
    files=files,
    read=lambda: read(*files()),
    about="One week of METR-LA: put los_speed.csv and los_adj.csv of github.com/lehaifeng/T-GCN (folder data) into the "
    "folder traffic of DLBENCH_DATA.",
)
