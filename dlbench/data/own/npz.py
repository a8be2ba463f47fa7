"""Arrays in numpy's ``.npz``: ``x, y``, or ``train_x, …, test_y``, or ``x_train, …`` as Keras has them."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dlbench.data.own.arrays import Arrays, from_names
from dlbench.data.own.spec import Spec
from dlbench.errors import DataDamaged

OPTIONS = ("layout",)
ABOUT = "Arrays of numpy's .npz: x and y, or train_x, train_y, test_x and test_y."


def files(spec: Spec) -> Sequence[Path]:
    """The one file."""
    return [spec.path]


def read(spec: Spec) -> Arrays:
    """Its arrays in the common form; see :func:`~dlbench.data.own.arrays.from_names`."""
    try:
        file = np.load(spec.path, allow_pickle=False)
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise DataDamaged(f"{spec.path} holds one array; expected several with names: np.savez(path, x=x, y=y)")
        with file:
            named = {name: file[name] for name in file.files}
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error, KeyError) as error:
        raise DataDamaged(f"{spec.path} was not read: {_reason(error)}") from None
    return from_names(named, spec.path, spec.options.get("layout"))


def _reason(error: Exception) -> str:
    said = " ".join(str(error).split())
    if "allow_pickle" in said or "pickled" in said:
        return "it holds Python objects or is a pickle, which is not opened, as it could run code; save plain arrays"
    return said or type(error).__name__
