"""Tensors in ``.pt`` or ``.safetensors``: named as arrays in ``.npz`` are, or a tuple of two or four."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dlbench.data.own.arrays import Arrays, from_names
from dlbench.data.own.spec import Spec
from dlbench.errors import DataDamaged

OPTIONS = ("layout",)
ABOUT = "Tensors of torch.save or safetensors: x and y, or train_x, train_y, test_x and test_y."
TUPLES = {2: ("x", "y"), 4: ("train_x", "train_y", "test_x", "test_y")}


def files(spec: Spec) -> Sequence[Path]:
    """The one file."""
    return [spec.path]


def read(spec: Spec) -> Arrays:
    """Its tensors in the common form; see :func:`~dlbench.data.own.arrays.from_names`."""
    found = _safe(spec.path) if spec.path.suffix.lower() == ".safetensors" else _saved(spec.path)
    return from_names({name: _array(value) for name, value in found.items()}, spec.path, spec.options.get("layout"))


def _safe(path: Path) -> Mapping[str, Tensor]:
    from dlbench.models import safetensors

    try:
        return safetensors.read(path)[0]
    except OSError as error:
        raise DataDamaged(f"{path} was not read: {error.strerror or error}") from None


def _saved(path: Path) -> Mapping[str, Any]:
    """What ``torch.save`` wrote, as long as it is tensors and containers."""
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise DataDamaged(
            f"{path} is no file of plain tensors; others are not opened, as they could run code: save a dict of "
            "tensors, torch.save({'x': x, 'y': y}, path)"
        ) from None
    except Exception as error:  # a damaged file can raise anything
        raise DataDamaged(f"{path} was not read: {' '.join(str(error).split())[:200]}") from None
    if isinstance(found, list | tuple) and len(found) in TUPLES:
        found = dict(zip(TUPLES[len(found)], found, strict=True))
    if not isinstance(found, Mapping):
        held = f"{len(found)} things" if isinstance(found, list | tuple) else f"a {type(found).__name__}"
        raise DataDamaged(
            f"{path} holds {held}; expected a dict of tensors, (x, y) or (train_x, train_y, test_x, test_y)"
        )
    return {str(name): value for name, value in found.items()}


def _array(value: Any) -> NDArray[Any]:
    """A tensor as an array; a list, as of names, too."""
    if isinstance(value, Tensor):
        value = value.detach()
        value = (value.float() if value.dtype == torch.bfloat16 else value).numpy()
    array: NDArray[Any] = np.asarray(value)
    return array
