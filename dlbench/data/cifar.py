"""What others added to CIFAR-10's test images: corruptions of them, and what people take them for.

CIFAR-10-C: Hendrycks & Dietterich, ICLR 2019, arXiv:1903.12261; layout as published (zenodo.org/records/2535967).
CIFAR-10H: Peterson et al., ICCV 2019, arXiv:1908.07086; layout of github.com/jcpeterson/cifar-10h.
Both go with the images of :data:`dlbench.data.images.CIFAR10`'s test set, in its order.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlbench.data import Dataset, root
from dlbench.data.images import Arrays, damaged

TEST = 10_000  # images of CIFAR-10's test set
SEVERITIES = 5

KINDS = (  # the fifteen that benchmarks take the mean over; four others were published beside them
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "defocus_blur",
    "glass_blur",
    "motion_blur",
    "zoom_blur",
    "snow",
    "frost",
    "fog",
    "brightness",
    "contrast",
    "elastic_transform",
    "pixelate",
    "jpeg_compression",
)


# -------------------------------------------------------------------------------------------------------- CIFAR-10-C


def _cifar10_c_files() -> Sequence[Path]:
    folder = root() / "cifar10_c" / "CIFAR-10-C"
    return [folder / "labels.npy", *(folder / f"{kind}.npy" for kind in KINDS)]


def _cifar10_c_read() -> Arrays:
    """Images stay in their files until they are asked for: together they are 2.3 GB."""
    labels_path, *paths = _cifar10_c_files()
    labels = _array(labels_path, (SEVERITIES * TEST,), "u")
    if labels.max() > 9:
        damaged(labels_path, f"its labels go up to {labels.max()}, not to 9")
    if (labels.reshape(SEVERITIES, TEST) != labels[:TEST]).any():
        damaged(labels_path, "its labels are not those of the same images at each severity")
    images = {path.stem: _array(path, (SEVERITIES * TEST, 32, 32, 3), "u") for path in paths}
    return {**images, "y": labels.astype(np.int64)}


CIFAR10_C = Dataset(
    _cifar10_c_files,
    _cifar10_c_read,
    "CIFAR-10-C: of each kind of corruption bytes [50000, 32, 32, 3], CIFAR-10's test images at severities 1 to 5 one "
    "after the other, and their labels y [50000]. Unpack CIFAR-10-C.tar (zenodo.org/records/2535967) into "
    "DLBENCH_DATA/cifar10_c.",
)


# --------------------------------------------------------------------------------------------------------- CIFAR-10H


def _cifar10h_files() -> Sequence[Path]:
    return [root() / "cifar10h" / "cifar10h-probs.npy"]


def _cifar10h_read() -> Arrays:
    (path,) = _cifar10h_files()
    shares = np.array(_array(path, (TEST, 10), "f"), dtype=np.float64)
    if not (shares >= 0).all() or np.abs(shares.sum(1) - 1).max() > 1e-6:  # NaN too
        damaged(path, "its rows are not shares that sum to 1")
    return {"shares": shares}


CIFAR10H = Dataset(
    _cifar10h_files,
    _cifar10h_read,
    "CIFAR-10H: of each of CIFAR-10's test images the shares [10000, 10] of about fifty people who took it for each "
    "class. Put cifar10h-probs.npy (github.com/jcpeterson/cifar-10h, folder data) into DLBENCH_DATA/cifar10h.",
)


def _array(path: Path, shape: tuple[int, ...], kind: str) -> NDArray[Any]:
    """A .npy file's array, in the file, of a shape and a kind of type ("u": bytes, "f": floats), or DataDamaged."""
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        damaged(path, error)
    if array.shape != shape or array.dtype.kind != kind or (kind == "u" and array.dtype != np.uint8):
        damaged(
            path,
            f"it holds {array.dtype} {list(array.shape)}, not {'bytes' if kind == 'u' else 'floats'} {list(shape)}",
        )
    return array
