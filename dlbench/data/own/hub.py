"""Data sets that Hugging Face's ``datasets`` saved to disk (extra ``datasets``).

The column of pictures and that of labels are found by their feature types, Image and ClassLabel (whose names become the
classes), or named: ``?image=…&label=…``. ``?group=`` names one or several columns. Splits are train and test, or
validation where there is no test.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlbench.data.own import decoded
from dlbench.data.own.arrays import SPLITS, Arrays, Part, arranged, features_or_images
from dlbench.data.own.spec import Spec
from dlbench.data.own.table import combined
from dlbench.errors import DataDamaged, DataMissing, ParameterError, did_you_mean

OPTIONS = ("image", "label", "group", "size", "layout")
ABOUT = "A data set that Hugging Face's datasets saved to disk."


def files(spec: Spec) -> Sequence[Path]:
    """All files in the folder."""
    return sorted(path for path in spec.path.rglob("*") if path.is_file() and not path.name.startswith("."))


def read(spec: Spec) -> Arrays:
    """The pictures in the common form.

    Raises:
        DataMissing: the package is not installed.
        DataDamaged: it is no whole data set, or its pictures cannot be used.
        ParameterError: it is not clear which columns are meant, or there is no such column.
    """
    splits = _splits(spec.path)
    first = next(iter(splits.values()))
    image = _chosen(spec, "image", first.features, "Image", "Array3D", "Array2D")
    label = _chosen(spec, "label", first.features, "ClassLabel")
    groups = spec.columns("group")
    for column in groups:
        _known(column, first.features, spec.path)
    images, notes = _images(spec, splits, image)
    classes = getattr(first.features[label], "names", None)
    parts = {}
    for name, rows in splits.items():
        frame = rows.select_columns(groups).to_pandas() if groups else None
        parts[name] = Part(images[name], _labels(rows, label, spec.path), combined(frame, groups) if groups else None)
    return arranged(parts, spec.path, classes=classes, notes=notes)


def _splits(path: Path) -> dict[str, Any]:
    """The splits by their names in the common form; the whole under '' where there are none."""
    try:
        import datasets
    except ImportError:
        raise DataMissing(f"{path}: reading it needs datasets: pip install 'dlbench[datasets]'") from None
    try:
        found = datasets.load_from_disk(path)
    except Exception as error:  # of whatever the package meets in damaged files
        raise DataDamaged(f"{path} was not read: {' '.join(str(error).split())[:200]}") from None
    if not isinstance(found, dict):
        return {"": found}
    known = {SPLITS[name]: rows for name, rows in found.items() if name in SPLITS}
    if len(found) == 1:
        return {"": next(iter(found.values()))}
    if not known:
        raise DataDamaged(f"{path} has the splits {', '.join(found)}; expected train and test, or validation")
    return known


def _chosen(spec: Spec, option: str, features: Any, *kinds: str) -> str:
    """The column that an option names, or the only one of these feature types."""
    if option in spec.options:
        return _known(spec.options[option], features, spec.path)
    found = [name for name, feature in features.items() if type(feature).__name__ in kinds]
    if len(found) != 1:
        listed = ", ".join(f"{name} ({_kind(feature)})" for name, feature in features.items())
        raise ParameterError(
            f"{spec.path}: columns of type {' or '.join(kinds)}: {', '.join(found) or 'none'}; say "
            f"?{option}=COLUMN, one of {listed}"
        )
    return str(found[0])


def _known(column: str, features: Any, path: Path) -> str:
    if column not in features:
        raise ParameterError(f"{path} has no column {column!r}{did_you_mean(column, features)}")
    return column


def _kind(feature: Any) -> str:
    return (
        str(getattr(feature, "dtype", type(feature).__name__))
        if type(feature).__name__ == "Value"
        else type(feature).__name__
    )


@dataclass(frozen=True)
class Encoded:
    """Pictures as the files' contents that a column holds, read as they are asked for."""

    rows: Any
    column: str

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> Path | bytes:
        picture = self.rows[row][self.column]
        if picture is None:
            return b""  # which is no picture
        content = picture["bytes"]
        return content if content is not None else Path(picture["path"])


def _images(spec: Spec, splits: dict[str, Any], column: str) -> tuple[dict[str, Any], list[str]]:
    from datasets import Image

    if isinstance(next(iter(splits.values())).features[column], Image):
        encoded = {
            name: Encoded(rows.select_columns([column]).cast_column(column, Image(decode=False)), column)
            for name, rows in splits.items()
        }
        return decoded.images(dict(encoded), spec.path, spec.size())
    images, notes = {}, []
    for name, rows in splits.items():
        try:
            values = np.asarray(rows.with_format("numpy", columns=[column])[:][column])
        except ValueError as error:
            raise DataDamaged(f"{spec.path}: column {column!r} is no array of numbers ({error})") from None
        images[name], turned = features_or_images(values, f"{spec.path}: {column}", spec.options.get("layout"))
        notes += turned
    return images, notes


def _labels(rows: Any, column: str, path: Path) -> NDArray[Any]:
    values = rows.select_columns([column]).to_pandas()[column]
    if empty := int(values.isna().sum()):
        raise DataDamaged(f"{path}: column {column!r} is empty in {empty:,} of {len(values):,} rows; remove them")
    labels: NDArray[Any] = values.to_numpy()
    return labels if labels.dtype.kind in "biuf" else labels.astype(np.str_)
