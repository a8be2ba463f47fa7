"""Sets of small images for classification: scikit-learn's digits, MNIST, CIFAR-10.

All are read into the same form: images float32 in [0, 1], labels int64. Where the publishers fixed a split the names
are ``train_x, train_y, test_x, test_y``, otherwise ``x, y``.
"""

from __future__ import annotations

import gzip
import importlib.util
import math
import pickle
import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from dlbench.data import Dataset, root
from dlbench.errors import DataDamaged, DataMissing

Arrays = Mapping[str, NDArray[Any]]


# ------------------------------------------------------------------------------------------------------------ digits


def inside_scikit_learn(name: str) -> Path:
    """A data file of scikit-learn, found without importing it, which would cost 0.7 s a process."""
    spec = importlib.util.find_spec("sklearn")
    if spec is None or not spec.submodule_search_locations:
        raise DataMissing(f"{name} lies inside scikit-learn, which is not installed: pip install scikit-learn")
    return Path(spec.submodule_search_locations[0]) / "datasets" / "data" / name


def _digits_files() -> Sequence[Path]:
    return [inside_scikit_learn("digits.csv.gz")]


def _digits_read() -> Arrays:
    (path,) = _digits_files()
    try:
        table = np.loadtxt(path, delimiter=",", dtype=np.float32)  # 64 grey values, then the class
    except (OSError, EOFError, ValueError, zlib.error) as error:
        damaged(path, error)
    if table.ndim != 2 or table.shape[1] != 65:
        damaged(path, f"it holds {table.shape}, not rows of 64 pixels and a class")
    return {"x": table[:, :64].reshape(-1, 8, 8) / 16, "y": table[:, 64].astype(np.int64)}


DIGITS = Dataset(
    _digits_files,
    _digits_read,
    "Handwritten digits, x [1797, 8, 8] and y [1797], inside scikit-learn; no split is standard, and any random one "
    "has the same writers on both sides (Alpaydin & Kaynak 1998).",
)


def _digits_split_read() -> Arrays:
    x, y = _digits_read().values()
    tests = np.arange(len(x)) % 3 == 2  # not every second or fifth, as the classes follow each other in order
    ink = x.mean((1, 2))
    groups = np.array(INK)[np.searchsorted(np.quantile(ink[~tests], (1 / 3, 2 / 3)), ink)]
    parts = {"train": ~tests, "test": tests}
    return {
        f"{part}_{name}": a[rows]
        for part, rows in parts.items()
        for name, a in zip(("x", "y", "groups"), (x, y, groups), strict=True)
    }


INK = ("little ink", "some ink", "much ink")  # thirds of the training images

DIGITS_SPLIT = Dataset(
    _digits_files,
    _digits_split_read,
    "The digits, cut once: every third image tests, 599 of 1,797, so that a model which was trained before is tested "
    "on images that it did not see. Both sides have the same writers. Groups are of the ink in an image, in thirds.",
)


# ------------------------------------------------------------------------------------------------------------- MNIST

_CUT = 8_000  # of the 10,000 images of the test file: these first ones train, the rest test


def _mnist_files() -> Sequence[Path]:
    """The test files, and the training files where either is there."""
    names = {part: [f"{part}-images-idx3-ubyte.gz", f"{part}-labels-idx1-ubyte.gz"] for part in ("train", "t10k")}
    folder = root() / "mnist"
    train = [folder / name for name in names["train"]]
    return [*(train if any(path.exists() for path in train) else []), *(folder / name for name in names["t10k"])]


def _mnist_read() -> Arrays:
    files = _mnist_files()
    parts = [
        _checked(images, read_idx(images), read_idx(labels), (28, 28))
        for images, labels in zip(files[::2], files[1::2], strict=True)
    ]
    if len(parts) == 2:
        (train_x, train_y), (test_x, test_y) = parts
    else:
        x, y = parts[0]
        if len(x) <= _CUT:
            damaged(files[0], f"it holds {len(x):,} images; the cut into training and test needs more than {_CUT:,}")
        train_x, train_y, test_x, test_y = x[:_CUT], y[:_CUT], x[_CUT:], y[_CUT:]
    return {"train_x": train_x, "train_y": train_y, "test_x": test_x, "test_y": test_y}


def read_idx(path: Path) -> NDArray[np.uint8]:
    """A gzipped IDX file of bytes as an array.

    The format: two zero bytes, the type (8: unsigned byte), the number of dimensions, each dimension as a big-endian
    uint32, then the values.

    Raises:
        DataDamaged: it is not such a file, or too short, or too long.
    """
    try:
        with gzip.open(path) as file:
            zeros, kind, ndim = struct.unpack(">HBB", file.read(4))
            if zeros != 0 or kind != 8 or not 1 <= ndim <= 3:
                damaged(path, "it does not begin as an IDX file of bytes in one to three dimensions does")
            shape = struct.unpack(f">{ndim}I", file.read(4 * ndim))
            values = file.read()
    except (OSError, EOFError, zlib.error, struct.error) as error:
        damaged(path, error)
    if len(values) != math.prod(shape):
        damaged(path, f"its header announces {math.prod(shape):,} values and {len(values):,} follow")
    return np.frombuffer(values, np.uint8).reshape(shape)


MNIST = Dataset(
    _mnist_files,
    _mnist_read,
    "MNIST, images [n, 28, 28], as the four gzipped IDX files of its publishers (train-images-idx3-ubyte.gz, …) in "
    "DLBENCH_DATA/mnist. With the two t10k files alone, the first 8,000 images train and the last 2,000 test.",
)


# ---------------------------------------------------------------------------------------------------------- CIFAR-10

_CIFAR10_TRAIN = tuple(f"data_batch_{i}" for i in range(1, 6))


def _cifar10_files() -> Sequence[Path]:
    folder = root() / "cifar10" / "cifar-10-batches-py"
    return [folder / name for name in (*_CIFAR10_TRAIN, "test_batch")]


def _cifar10_read() -> Arrays:
    *train, test = (_cifar10_batch(path) for path in _cifar10_files())
    return {
        "train_x": np.concatenate([x for x, _ in train]),
        "train_y": np.concatenate([y for _, y in train]),
        "test_x": test[0],
        "test_y": test[1],
    }


def _cifar10_batch(path: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    try:
        with path.open("rb") as file:
            batch = _ArraysOnly(file, encoding="latin1").load()  # written by Python 2, whose text was bytes
        x, y = np.asarray(batch["data"]), np.asarray(batch["labels"])
    except Exception as error:  # a damaged pickle can raise anything
        damaged(path, error)
    x, y = _checked(path, x, y, (3 * 32 * 32,))
    return x.reshape(-1, 3, 32, 32), y


class _ArraysOnly(pickle.Unpickler):
    """Unpickles numpy arrays and plain containers; a file that names anything else to call is refused.

    torchvision reads the same files with plain ``pickle.load`` behind a checksum. This needs no torchvision, which
    many an installation of torch cannot import, and runs nothing that a file brings along.
    """

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in (("numpy", "ndarray"), ("numpy", "dtype")):
            return getattr(np, name)
        if name == "_reconstruct" and module in ("numpy.core.multiarray", "numpy._core.multiarray"):
            return np.ndarray.__reduce__(np.empty(0))[0]  # wherever this numpy keeps it
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which image batches do not need")


CIFAR10 = Dataset(
    _cifar10_files,
    _cifar10_read,
    "CIFAR-10, images [n, 3, 32, 32], in its publishers' Python version: unpack cifar-10-python.tar.gz "
    "(cs.toronto.edu/~kriz/cifar.html) into DLBENCH_DATA/cifar10.",
)


# ----------------------------------------------------------------------------------------------------- what all need


def _checked(path: Path, x: NDArray[Any], y: NDArray[Any], shape: tuple[int, ...]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Images of bytes [n, *shape] and labels 0 to 9 [n] in the common form, or DataDamaged."""
    if x.dtype != np.uint8 or y.dtype.kind not in "iu" or y.ndim != 1 or x.shape != (len(y), *shape):
        damaged(path, f"it holds {x.dtype} {x.shape} and labels {y.dtype} {y.shape}, not n × {shape} bytes, n labels")
    if not ((y >= 0) & (y <= 9)).all():
        damaged(path, f"its labels are {y.min()} to {y.max()}, not 0 to 9")
    return x.astype(np.float32) / np.float32(255), y.astype(np.int64)


def damaged(path: Path, why: object) -> NoReturn:
    """DataDamaged, saying of which file and why."""
    reason = f"{type(why).__name__}: {why}" if isinstance(why, Exception) else why
    raise DataDamaged(f"{path} is damaged ({reason}); fetch it again") from None
