"""CelebA: faces of celebrities, whether their hair is blond, and whether they are men (Liu et al., ICCV 2015).

As Sagawa et al. (ICLR 2020) ask it: the label is ``Blond_Hair``, and what goes along with it, ``Male``: of the blond
faces few are men's. These are marks that annotators gave to pictures; they are not what anybody said of themselves.

The publishers' files lie in the folder ``celeba`` of the data root: ``list_attr_celeba.txt`` (the number of pictures,
the names of the 40 attributes, then a line a picture: its name and 1 or -1 for each), ``list_eval_partition.txt`` (a
line a picture: its name and 0 train, 1 validation or 2 test) and the folder ``img_align_celeba`` of 202,599 aligned
pictures, 178 × 218. They may also lie in the publishers' folders ``Anno``, ``Eval`` and ``Img``. (The first layout is
that of torchvision's ``CelebA``; crop as in github.com/kohpangwei/group_DRO, data/celebA_dataset.py.)

The arrays, for PART in train, valid and test; 2.5 GB in all:
    PART_x     [n, 3, 64, 64] uint8, the middle square of the picture, as published, but smaller
    PART_y     [n] int64, 1: blond
    PART_male  [n] int64, 1: marked as male
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dlbench.data import Dataset, pictures, root
from dlbench.errors import DataDamaged

SIDE = 64  # pixels
ATTRIBUTES = {"y": "Blond_Hair", "male": "Male"}


def place(folder: str, name: str) -> Path:
    """Where a file or folder lies: in the data set's folder, or in the publishers' folder within."""
    flat, nested = root() / "celeba" / name, root() / "celeba" / folder / name
    return nested if nested.exists() else flat


def tables() -> tuple[Path, Path]:
    """The attributes and the partition."""
    return place("Anno", "list_attr_celeba.txt"), place("Eval", "list_eval_partition.txt")


def files() -> Sequence[Path]:
    """The two tables, and the pictures that they name."""
    both, folder = tables(), place("Img", "img_align_celeba")
    return [*both, *(folder / name for name in rows(*both).index)] if all(path.is_file() for path in both) else both


def rows(attributes: Path, partition: Path) -> pd.DataFrame:
    """A row a picture, by its name: y, male and part, each as the module's docstring has it.

    Raises:
        DataDamaged: a table is cut off or not of this format, they do not list the same pictures, or a part is empty.
    """
    marks = _table(attributes, skiprows=1, header=0)  # one name fewer than fields: the first field is the index
    parts = _table(partition, header=None, index_col=0)
    with attributes.open(encoding="utf-8") as file:
        announced = file.readline().strip()
    if announced != str(len(marks)):
        raise DataDamaged(f"{attributes} announces {announced[:20]!r} pictures and lists {len(marks)}; get it again")
    if absent := [name for name in ATTRIBUTES.values() if name not in marks]:
        raise DataDamaged(f"{attributes} has no attribute {absent[0]}; expected CelebA's list_attr_celeba.txt")
    if list(marks.index) != list(parts.index):
        raise DataDamaged(f"{attributes} and {partition} do not list the same pictures; get both again")
    for path, columns, codes, before in (
        (attributes, marks[list(ATTRIBUTES.values())], (-1, 1), 3),
        (partition, parts, (0, 1, 2), 1),
    ):
        if columns.shape[1] == 0 or not columns.isin(codes).to_numpy().all():
            wrong = np.flatnonzero(~columns.isin(codes).all(axis=1))
            line = f", line {wrong[0] + before}" if wrong.size else ""
            raise DataDamaged(f"{path}{line}: expected {', '.join(map(str, codes[:-1]))} or {codes[-1]}; get it again")
    found = pd.DataFrame({key: (marks[name] == 1).astype(np.int64) for key, name in ATTRIBUTES.items()})
    found["part"] = parts.iloc[:, 0].astype(np.int64)
    pictures.complete(partition, found.part)
    return found


def _table(path: Path, **layout: Any) -> pd.DataFrame:
    try:
        return pd.read_csv(path, sep=r"\s+", **layout)
    except (ValueError, OSError) as problem:
        raise DataDamaged(f"{path} was not read: {str(problem).strip()}") from problem


def read() -> Mapping[str, NDArray[Any]]:
    """The arrays that the module's docstring lists."""
    everyone, folder = rows(*tables()), place("Img", "img_align_celeba")
    columns = {name: everyone[name].to_numpy() for name in ATTRIBUTES}
    paths = [folder / str(name) for name in everyone.index]
    return pictures.by_part(paths, everyone.part.to_numpy(), columns, SIDE, pictures.middle(1))


CELEBA = Dataset(
    files=files,
    read=read,
    about="CelebA (mmlab.ie.cuhk.edu.hk/projects/CelebA.html): put list_attr_celeba.txt, list_eval_partition.txt and "
    "the unpacked folder img_align_celeba into the folder celeba of DLBENCH_DATA.",
)
