"""Citation networks in Planetoid's raw files (Yang et al., ICML 2016): Cora, Citeseer, Pubmed.

Papers are nodes, words their features, citations the edges, topics the classes. The publishers' eight files a network
(``ind.cora.x``, …) lie in the folder ``planetoid`` of the data root. Seven of them are Python 2 pickles, and a pickle
is a program: :func:`unpickle` reads the few types that these files hold and refuses everything else.

The arrays, for n nodes, E directed edges, F features:
    x           [n, F] float32, as published (Cora, Citeseer: words present, 0 or 1; Pubmed: tf-idf)
    y           [n] int64, the class; -1 for a node that has none (Citeseer's isolated test nodes)
    edge_index  [2, E] int64, sorted; both directions of every link, once each, no self loops
    train_mask, val_mask, test_mask   [n] bool, the public split: 20 a class, 500, 1,000
"""

from __future__ import annotations

import io
import pickle
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from dlbench.data import Dataset, root
from dlbench.errors import DataDamaged

PARTS = ("x", "tx", "allx", "y", "ty", "ally", "graph", "test.index")
VALIDATION = 500  # the nodes after the training nodes, in Kipf & Welling's use of the split


def planetoid(name: str) -> Dataset:
    """The data set of one network: ``cora``, ``citeseer`` or ``pubmed``."""

    def files() -> list[Path]:
        return [root() / "planetoid" / f"ind.{name}.{part}" for part in PARTS]

    return Dataset(
        files=files,
        read=lambda: read(dict(zip(PARTS, files(), strict=True))),
        about=f"{name.capitalize()}, a citation network: put the files ind.{name}.* of github.com/kimiyoung/planetoid "
        "(folder data) into the folder planetoid of DLBENCH_DATA.",
    )


def read(files: Mapping[str, Path]) -> dict[str, np.ndarray]:
    """The arrays that the module's docstring lists, from the eight files by part.

    Nodes 0 … len(allx)-1 are the rows of ``allx``, the labelled training nodes ``x`` first. The test nodes follow:
    row i of ``tx`` is node ``test.index[i]``; a number that is missing there is an isolated node without words.
    """
    parts = {part: unpickle(files[part]) for part in PARTS if part != "test.index"}
    test = np.loadtxt(files["test.index"], dtype=np.int64, ndmin=1)
    known = parts["allx"].shape[0]
    nodes = max(known, int(test.max()) + 1)
    x = np.zeros((nodes, parts["allx"].shape[1]), np.float32)
    one_hot = np.zeros((nodes, parts["ally"].shape[1]), np.int64)
    x[:known], one_hot[:known] = parts["allx"].toarray(), parts["ally"]
    x[test], one_hot[test] = parts["tx"].toarray(), parts["ty"]

    train = np.arange(parts["y"].shape[0])
    return {
        "x": x,
        "y": np.where(one_hot.any(axis=1), one_hot.argmax(axis=1), -1),
        "edge_index": links(parts["graph"]),
        "train_mask": _mask(train, nodes),
        "val_mask": _mask(train.size + np.arange(min(VALIDATION, known - train.size)), nodes),
        "test_mask": _mask(test, nodes),
    }


def links(neighbours: Mapping[int, list[int]]) -> NDArray[np.int64]:
    """Edges [2, E], both directions of every link once, without self loops, from lists of neighbours."""
    listed = np.array([(a, b) for a, others in neighbours.items() for b in others], np.int64).reshape(-1, 2)
    listed = listed[listed[:, 0] != listed[:, 1]]
    return np.ascontiguousarray(np.unique(np.concatenate([listed, listed[:, ::-1]]), axis=0).T)


def _mask(nodes: NDArray[np.int64], count: int) -> NDArray[np.bool_]:
    mask = np.zeros(count, bool)
    mask[nodes] = True
    return mask


# ---------------------------------------------------------------------------------------------------------- pickles


class _Csr:
    """Takes the place of scipy's csr_matrix in a pickle, so that no method of scipy's runs on what the file says."""

    data: NDArray[np.float32]
    indices: NDArray[np.int32]
    indptr: NDArray[np.int32]
    _shape: tuple[int, int]

    def checked(self) -> csr_array:
        matrix = csr_array((self.data, self.indices, self.indptr), shape=self._shape)
        matrix.check_format(full_check=True)  # scipy's C code trusts the indices
        return matrix


def _reconstruct(*arguments: Any) -> np.ndarray:
    """An empty array, which the pickle then fills: numpy's own ``_reconstruct`` as every pickled array calls it."""
    return np.ndarray((0,), np.int8)


# Every name that the published files mention, and what it is read as; Python 2's and today's module paths.
_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "dtype"): np.dtype,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("scipy.sparse.csr", "csr_matrix"): _Csr,
    ("scipy.sparse._csr", "csr_matrix"): _Csr,
    ("collections", "defaultdict"): defaultdict,
    ("__builtin__", "list"): list,
    ("builtins", "list"): list,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it calls {module}.{name}, which no Planetoid file does")
        return _ALLOWED[module, name]


def unpickle(path: Path) -> Any:
    """What a Planetoid file holds: an array, a sparse matrix, or lists of neighbours.

    Raises:
        DataDamaged: the file calls for anything else (it is not run), or is no pickle, or is cut off.
    """
    content = path.read_bytes()
    try:
        value = _Unpickler(io.BytesIO(content), encoding="latin1").load()
        return value.checked() if isinstance(value, _Csr) else value
    except Exception as problem:  # a damaged pickle can raise almost anything
        raise DataDamaged(
            f"{path} was not read: {problem}. It is damaged, or not the publishers' file; get it again"
        ) from problem


CORA = planetoid("cora")
CITESEER = planetoid("citeseer")
PUBMED = planetoid("pubmed")
