"""Sets of molecules as their publishers write them: one SMILES a line of a CSV file, and what was measured.

A data set gives ``smiles`` [n] (text), ``line`` [n] int64 (where each stands in the file, its header being line 1)
and, where something was measured, ``y`` [n] float32. Nothing is parsed here, so that nothing can be lost here:
:mod:`dlbench.data.smiles` makes molecules of them and says which lines it could not read.
"""

from __future__ import annotations

import csv
import gzip
import importlib.util
from pathlib import Path

import numpy as np

from dlbench.data import Dataset, root
from dlbench.errors import DataDamaged, DataMissing

HALICIN = "Nc1nnc(Sc2ncc(s2)[N+]([O-])=O)s1"
"""The antibiotic that Stokes et al. (Cell 180, 2020) found in the drug repurposing hub, as it stands there."""


def read(path: Path, smiles: str | int, y: str | int | None = None) -> dict[str, np.ndarray]:
    """The arrays that the module's docstring lists, from a CSV file with a header, gzipped or not.

    Args:
        path: the file.
        smiles: the column of the SMILES, by its name or its position (from the end where negative).
        y: the column of the measured number, likewise; an empty field is NaN.

    Raises:
        DataDamaged: it is no such file: a column is not there, a line has another length, a number is none.
    """
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            header = next(reader, [])
            columns = [_position(path, header, column) for column in (smiles, y) if column is not None]
            lines, texts, values = [], [], []
            for row in reader:
                if not row:
                    continue
                if len(row) != len(header):
                    raise _damaged(path, f"line {reader.line_num} has {len(row)} fields, its header {len(header)}")
                lines.append(reader.line_num)
                texts.append(row[columns[0]].strip())
                if y is not None:
                    values.append(_number(path, reader.line_num, row[columns[1]]))
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from None
    if not texts:
        raise _damaged(path, "it holds no molecule")
    arrays = {"smiles": np.array(texts), "line": np.array(lines, dtype=np.int64)}
    return arrays if y is None else arrays | {"y": np.array(values, dtype=np.float32)}


def moleculenet(name: str) -> Dataset:
    """A set of MoleculeNet (Wu et al. 2018, arXiv:1703.00564) where PyTorch Geometric's ``MoleculeNet`` keeps it.

    That is ``DLBENCH_DATA/moleculenet/NAME/raw``. Which file and columns are its own is read from that class, so this
    needs the extra ``graphs``; ``MoleculeNet(root="…/moleculenet", name=NAME)`` fetches the file.

    Args:
        name: as PyTorch Geometric spells it, in lower case: ``esol``, ``freesolv``, ``lipo``, ``hiv``, …; only sets
            of one measured number a molecule.
    """

    def table() -> tuple[Path, int, int]:
        if importlib.util.find_spec("torch_geometric") is None:
            raise DataMissing(f"{name} is read as PyTorch Geometric keeps it: pip install 'dlbench[graphs]'")
        from torch_geometric.datasets import MoleculeNet

        _, _, file, smiles, y = MoleculeNet.names[name]
        if isinstance(y, slice):
            raise ValueError(f"{name} measures several numbers a molecule; give a set with one: esol, freesolv, …")
        return root() / "moleculenet" / name / "raw" / f"{file}.csv", smiles, y

    return Dataset(
        files=lambda: [table()[0]],
        read=lambda: read(*table()),
        about=f"MoleculeNet's {name}, which torch_geometric.datasets.MoleculeNet(root, {name!r}) fetches into the "
        "folder moleculenet of DLBENCH_DATA.",
    )


def _published(file: str, y: str | None, about: str) -> Dataset:
    def path() -> Path:
        return root() / "molecules" / file

    return Dataset(
        lambda: [path()], lambda: read(path(), "smiles", y), f"{about} Put {file} into DLBENCH_DATA/molecules."
    )


_SOURCE = "from the folder data of github.com/yangkevin2/coronavirus_data."
ECOLI = _published(
    "ecoli.csv", "activity", f"Growth inhibition of E. coli, 2,335 molecules (Stokes et al., Cell 180, 2020), {_SOURCE}"
)
REPURPOSING_HUB = _published(
    "broad_repurposing_library.csv", None, f"The Broad Institute's drug repurposing hub, 6,111 molecules, {_SOURCE}"
)
ESOL, FREESOLV, LIPO = moleculenet("esol"), moleculenet("freesolv"), moleculenet("lipo")


def _position(path: Path, header: list[str], column: str | int) -> int:
    if isinstance(column, str):
        if column not in header:
            raise _damaged(path, f"it has no column {column!r}; its header is {','.join(header)!r}")
        return header.index(column)
    if not -len(header) <= column < len(header):
        raise _damaged(path, f"it has no column {column}; its header is {','.join(header)!r}")
    return column


def _number(path: Path, line: int, text: str) -> float:
    try:
        value = float(text) if text.strip() else float("nan")
    except ValueError:
        value = float("inf")
    if abs(value) == float("inf"):
        raise _damaged(path, f"line {line} has {text!r} where a finite number is expected")
    return value


def _damaged(path: Path, why: str) -> DataDamaged:
    return DataDamaged(f"{path} is damaged ({why}); fetch it again")
