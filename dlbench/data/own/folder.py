"""A folder of pictures, a sub-folder a class; or with ``metadata.csv``, as Hugging Face's ImageFolder has it.

::

    pictures/cat/1.png            pictures/train/cat/1.png       pictures/metadata.csv: file_name,label,sex
    pictures/dog/2.png            pictures/test/dog/2.png        pictures/1.png

Classes are numbered in the order of their names. Where ``metadata.csv`` (beside the pictures, with a column file_name
that holds paths from there) has a column ``label``, or the one that ``?label=`` names, it tells the class instead.
``?group=`` names one or several columns of it, or ``groups.csv`` (columns file and group) tells each picture's group.
Files and folders whose name begins with a dot are passed over; other files that are no pictures are counted.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlbench.data.own import decoded
from dlbench.data.own.arrays import SPLITS, Arrays, Part, arranged
from dlbench.data.own.spec import Spec
from dlbench.data.own.table import combined, opened_csv
from dlbench.errors import DataDamaged, ParameterError, did_you_mean

OPTIONS = ("size", "group", "label")
ABOUT = "A folder of pictures, a sub-folder a class, perhaps in train/ and test/."
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm")
METADATA, GROUPS = "metadata.csv", "groups.csv"


def files(spec: Spec) -> Sequence[Path]:
    """The pictures and tables, in the order of their names."""
    if not spec.path.is_dir():
        return [spec.path]
    return [path for path in walked(spec.path) if _is_picture(path) or path.name in (METADATA, GROUPS)]


def read(spec: Spec) -> Arrays:
    """The pictures in the common form.

    Raises:
        DataDamaged: there are no pictures, some cannot be read, or a table does not fit them.
        ParameterError: they are of different sizes and no size is asked for, or there is no such column.
    """
    splits = {name: _listed(spec, folder) for name, folder in parts(spec.path).items()}
    paths: dict[str, decoded.Sources] = {name: found.paths for name, found in splits.items()}
    images, notes = decoded.images(paths, spec.path, spec.size())
    beside = [path for path in walked(spec.path) if "" not in splits and path.parent == spec.path]
    strange = [*(path for found in splits.values() for path in found.others), *beside]
    if others := Counter(path.suffix or path.name for path in strange if path.name not in (METADATA, GROUPS)):
        kinds = ", ".join(f"{name} ({count:,})" for name, count in others.most_common(5))
        notes.insert(0, f"passed over, as no pictures or beside the splits: {kinds}")
    classes = sorted({name for found in splits.values() for name in found.classes}) or None
    ready = {name: Part(images[name], found.labels, found.groups) for name, found in splits.items()}
    return arranged(ready, spec.path, classes=classes, notes=notes)


def parts(folder: Path) -> dict[str, Path]:
    """The folders of the splits by their names, or the folder itself under ''.

    Folders named train, test, val, … are splits where there is nothing else and they hold folders or a table.
    """
    inside = {path.name: path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")}
    if inside.keys() and inside.keys() <= SPLITS.keys():
        deeper = [path for own in inside.values() for path in own.iterdir() if not path.name.startswith(".")]
        if any(path.is_dir() or path.name == METADATA for path in deeper):
            named = {SPLITS[name]: path for name, path in inside.items()}
            if len(named) < len(inside):
                raise DataDamaged(f"{folder} has {' and '.join(inside)}, which mean the same; keep one")
            return named
    return {"": folder}


def walked(folder: Path) -> list[Path]:
    """All files below a folder but the hidden ones, in the order of their paths."""
    found = []
    for place, inside, names in os.walk(folder):
        inside[:] = sorted(name for name in inside if not name.startswith("."))
        found += [Path(place, name) for name in names if not name.startswith(".")]
    return sorted(found)


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES


@dataclass(frozen=True)
class Listing:
    """What a split's folder holds: pictures, the class of each, the group of each, all classes, and other files."""

    paths: list[Path]
    labels: NDArray[Any]
    groups: NDArray[np.str_] | None
    classes: list[str]
    others: list[Path]


def _listed(spec: Spec, folder: Path) -> Listing:
    every = walked(folder)
    paths = [path for path in every if _is_picture(path)]
    others = [path for path in every if not _is_picture(path) and path.name not in (METADATA, GROUPS)]
    if not paths:
        raise DataDamaged(f"{folder} has no pictures ({', '.join(SUFFIXES)}); other files in it: {len(others):,}")
    metadata = _rows(spec, folder, METADATA, "file_name", paths)
    groups = _groups(spec, folder, metadata, paths)
    column = spec.options.get("label", "label")
    if metadata is not None and (column in metadata or "label" in spec.options):
        labels = _column(metadata, column, folder)
        return Listing(paths, labels, groups, [], others)
    if "label" in spec.options:
        raise ParameterError(f"{folder} has no {METADATA} whose column {column!r} could tell the classes")
    if loose := [path for path in paths if path.parent == folder]:
        raise DataDamaged(
            f"{folder}: pictures that lie in no class's sub-folder: {len(loose):,}, as {loose[0].name}; give "
            f"each class a sub-folder, or add {METADATA} with the columns file_name and label"
        )
    names = [path.relative_to(folder).parts[0] for path in paths]
    classes = sorted({path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")})
    return Listing(paths, np.array(names, np.str_), groups, classes, others)


def _groups(spec: Spec, folder: Path, metadata: Any, paths: Sequence[Path]) -> NDArray[np.str_] | None:
    columns = spec.columns("group")
    if columns:
        if metadata is None:
            raise ParameterError(f"{folder} has no {METADATA} with a column {columns[0]!r} for the groups")
        for column in columns:
            _column(metadata, column, folder)
        return combined(metadata, columns)
    rows = _rows(spec, folder, GROUPS, "file", paths)
    if rows is None:
        return None
    _column(rows, "group", folder)
    return combined(rows, ["group"])


def _rows(spec: Spec, folder: Path, table: str, name: str, paths: Sequence[Path]) -> Any:
    """A table's rows in the order of the pictures, or None where there is no table.

    It lies in the split's folder, or above, and names the pictures from where it lies.
    """
    place = next((place / table for place in (folder, spec.path) if (place / table).is_file()), None)
    if place is None:
        return None
    rows = opened_csv(place)
    if name not in rows:
        raise DataDamaged(f"{place} has no column {name!r}; its columns: {', '.join(map(str, rows))}")
    rows = rows.set_index(rows[name].astype(str).str.removeprefix("./"))
    if twice := rows.index[rows.index.duplicated()].tolist():
        raise DataDamaged(f"{place} names {twice[0]!r} twice")
    wanted = [path.relative_to(place.parent).as_posix() for path in paths]
    if absent := [path for path in wanted if path not in rows.index]:
        raise DataDamaged(f"{place}: pictures without a row: {len(absent):,} of {len(wanted):,}, as {absent[0]!r}")
    if folder == place.parent and (gone := rows.index.difference(wanted).tolist()):
        raise DataDamaged(f"{place}: rows without a picture: {len(gone):,} of {len(rows):,}, as {gone[0]!r}")
    return rows.loc[wanted]


def _column(rows: Any, column: str, folder: Path) -> NDArray[Any]:
    """A column's values as labels: numbers, or text."""
    if column not in rows:
        raise ParameterError(f"{folder}: its table has no column {column!r}{did_you_mean(column, map(str, rows))}")
    if empty := int(rows[column].isna().sum()):
        raise DataDamaged(f"{folder}: column {column!r} of its table is empty in {empty:,} rows; fill or remove them")
    values: NDArray[Any] = rows[column].to_numpy()
    return values if values.dtype.kind in "biu" else values.astype(np.str_)
