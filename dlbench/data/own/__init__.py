"""The user's own data: images as a folder, npz, tensors or a Hugging Face data set; tables as CSV or parquet.

Wherever a data set's name is taken, a path may stand: ``PATH``, or ``PATH?target=COLUMN&group=COLUMN`` with options
(the query of a URL). A path holds a ``/`` or ends in a suffix that is known; a registered name is an identifier.

==========================  ====================  ==========================================================
what                        options               module
==========================  ====================  ==========================================================
a folder of pictures        size, group, label    :mod:`~dlbench.data.own.folder`: a sub-folder a class
``.npz``                    layout                :mod:`~dlbench.data.own.npz`: x, y, or train_x, …, test_y
``.pt``, ``.safetensors``   layout                :mod:`~dlbench.data.own.tensors`: the same names, or a tuple
``datasets.save_to_disk``   image, label, group,  :mod:`~dlbench.data.own.hub`: columns by their feature types
                            size
``.csv``, ``.parquet``      target, group, drop   :mod:`~dlbench.data.own.table`: numbers, and a column to tell
==========================  ====================  ==========================================================

All are read into one form: ``train_x, train_y, test_x, test_y`` where the data has a split, otherwise ``x, y``. Images
are float32 [n, c, h, w] in [0, 1] (of a large folder an :class:`~dlbench.data.on_demand.OnDemand`, which decodes the
rows that are asked for), tables float32 [n, features], labels int64 [n]. Beside them, where there are: ``classes``
text [classes], ``features`` text [features], ``groups`` text [n] (or ``train_groups``, ``test_groups``), ``notes``
text: what was decided in reading. :func:`findings` says what is wrong with them before anything is computed.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from dlbench.data import Dataset
from dlbench.data.own.arrays import Arrays, from_names
from dlbench.data.own.checks import Finding, findings
from dlbench.data.own.spec import ARRAYS, SUFFIXES, TABLES, TENSORS, Spec, absolute, is_path, parsed
from dlbench.errors import ParameterError

__all__ = ["Finding", "absolute", "findings", "handed", "is_path", "opened"]


def opened(name: str) -> Dataset:
    """The data at a path; nothing is read yet.

    Raises:
        ParameterError: a file of another kind, or an option that is not one of this kind of data's.
    """
    spec = parsed(name)
    kind = _kind(spec)
    spec = spec.checked(kind.OPTIONS)
    folder = spec.path if spec.path.is_dir() else None
    return Dataset(files=partial(kind.files, spec), read=partial(kind.read, spec), about=kind.ABOUT, within=folder)


def _kind(spec: Spec) -> ModuleType:
    """The module that reads it, each of which has OPTIONS, ABOUT, files(spec) and read(spec)."""
    name = spec.path.name.lower()
    if spec.path.is_dir():
        saved = any((spec.path / marker).is_file() for marker in ("dataset_info.json", "dataset_dict.json"))
        kind = "hub" if saved else "folder"
    else:
        kind = next((module for suffixes, module in _SUFFIXES.items() if name.endswith(suffixes)), "folder")
    if kind == "folder" and spec.path.is_file():
        raise ParameterError(f"{spec.path} is neither a folder nor a file that ends in {', '.join(SUFFIXES)}")
    return importlib.import_module(f"{__name__}.{kind}")


_SUFFIXES = {ARRAYS: "npz", TENSORS: "tensors", TABLES: "table"}


@dataclass(frozen=True)
class Handed(Dataset):
    """Arrays that are in memory already."""

    arrays: Mapping[str, Any] = field(default_factory=dict)

    def fingerprint(self) -> str:
        """sha256 over the arrays' names, shapes and contents."""
        digest = hashlib.sha256()
        for name, array in sorted(self.arrays.items()):
            array = np.ascontiguousarray(array)
            digest.update(f"{name}\0{array.dtype.str}{array.shape}\0".encode() + array.data.tobytes())
        return digest.hexdigest()


def handed(
    x: ArrayLike,
    y: ArrayLike,
    groups: ArrayLike | None = None,
    classes: Sequence[str] | None = None,
    train_x: ArrayLike | None = None,
    train_y: ArrayLike | None = None,
) -> Dataset:
    """A data set of arrays or tensors.

    Args:
        x: what to test on: images [n, h, w], [n, c, h, w] or [n, h, w, c], uint8 or floats in [0, 1]; or features
            [n, d].
        y: the class of each, [n], numbers or names.
        groups: to which group each belongs, [n].
        classes: names of the classes 0, 1, ….
        train_x: what the model was trained on, where that is to be had.
        train_y: the class of each.

    Raises:
        DataDamaged: an array has another shape, dtype or range, or another length than the others.
        ParameterError: the shape does not tell which axis the channels are.
    """
    prefix = "test_" if train_x is not None or train_y is not None else ""
    given = {f"{prefix}x": x, f"{prefix}y": y, f"{prefix}groups": groups, "classes": classes}
    given |= {"train_x": train_x, "train_y": train_y}
    named = {name: _array(values) for name, values in given.items() if values is not None}
    arrays: Arrays = from_names(named, "the data")
    return Handed(files=tuple, read=lambda: arrays, about="Arrays given from Python.", arrays=arrays)


def _array(values: Any) -> Any:
    """A tensor as an array, wherever it lies."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        values = values if str(values.dtype) != "torch.bfloat16" else values.float()  # which numpy does not have
    return np.asarray(values)
