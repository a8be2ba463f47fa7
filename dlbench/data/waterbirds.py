"""Waterbirds: birds of the water and of the land, pasted before water and land (Sagawa et al., ICLR 2020).

In training 95 % of the birds are where they belong, in validation and test every kind of bird is before either ground
as often. The birds are of Caltech-UCSD Birds-200-2011, the grounds of Places.

The publishers' archive unpacks to the folder ``waterbird_complete95_forest2water2``; WILDS keeps the same tree as
``waterbirds_v1.0``. Either lies in the folder ``waterbirds`` of the data root. In it are a folder of pictures a species
and ``metadata.csv``, with the columns img_id, img_filename, y (1: a bird of the water), split (0 train, 1 validation,
2 test), place (1: before water), place_filename. (Layout and crop as in the loaders of github.com/kohpangwei/group_DRO,
data/cub_dataset.py, and github.com/p-lambda/wilds, waterbirds_dataset.py.)

The arrays, for PART in train, valid and test:
    PART_x      [n, 3, 64, 64] uint8, the middle 7/8 of the picture's width and height, as published, but smaller
    PART_y      [n] int64, 1: a bird of the water
    PART_place  [n] int64, 1: before water
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dlbench.data import Dataset, pictures, root
from dlbench.data.tables import read_csv
from dlbench.errors import DataDamaged

FOLDERS = ("waterbird_complete95_forest2water2", "waterbirds_v1.0")
SIDE = 64  # pixels
CODES = {"y": (0, 1), "split": (0, 1, 2), "place": (0, 1)}


def table() -> Path:
    """Where metadata.csv lies, or would lie."""
    found = [root() / "waterbirds" / name / "metadata.csv" for name in FOLDERS]
    return next((path for path in found if path.is_file()), found[0])


def files() -> Sequence[Path]:
    """The table, and the pictures that it names."""
    path = table()
    return [path, *(path.parent / name for name in metadata(path).img_filename)] if path.is_file() else [path]


def metadata(path: Path) -> pd.DataFrame:
    """The table's rows.

    Raises:
        DataDamaged: a column is not there, a cell is empty or has another code than those above, or a part is empty.
    """
    try:
        rows = read_csv(path, header=0)
    except (ValueError, OSError) as problem:
        raise DataDamaged(f"{path} was not read: {problem}") from problem
    if absent := [name for name in ("img_filename", *CODES) if name not in rows]:
        raise DataDamaged(f"{path} has no column {absent[0]}; expected Waterbirds' metadata.csv")
    allowed = {name: rows[name].isin(codes) for name, codes in CODES.items()} | {
        "img_filename": rows.img_filename.notna()
    }
    for name, right in allowed.items():
        if not right.all():
            line = int(np.flatnonzero(~right)[0]) + 2
            codes = " or ".join(map(str, CODES.get(name, ("a file's name",))))
            raise DataDamaged(f"{path}, line {line}: {name} is {str(rows[name].iloc[line - 2])!r}; expected {codes}")
    pictures.complete(path, rows.split)
    return rows


def read(path: Path) -> Mapping[str, NDArray[Any]]:
    """The arrays that the module's docstring lists."""
    rows = metadata(path)
    columns = {name: rows[name].to_numpy(np.int64) for name in ("y", "place")}
    paths = [path.parent / name for name in rows.img_filename]
    return pictures.by_part(paths, rows.split.to_numpy(np.int64), columns, SIDE, middle)


def middle(width: int, height: int) -> pictures.Box:
    """The part that is kept: published as a square of 256 pixels, of which the middle 224 stay."""
    return width / 16, height / 16, width * 15 / 16, height * 15 / 16


WATERBIRDS = Dataset(
    files=files,
    read=lambda: read(table()),
    about="Waterbirds: unpack waterbird_complete95_forest2water2.tar.gz (github.com/kohpangwei/group_DRO), or put "
    "WILDS' folder waterbirds_v1.0, into the folder waterbirds of DLBENCH_DATA.",
)
