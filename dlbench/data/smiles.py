"""SMILES to molecules as arrays, by RDKit (the extra ``molecules``): graphs, fingerprints, scaffolds, identities.

Features as in D-MPNN's table (Yang et al. 2019, arXiv:1904.01561), without those of chirality and of double bonds'
sides: they say nothing where a set's SMILES carry none, as that of the E. coli screen.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dlbench.errors import DataMissing

ELEMENTS = (5, 6, 7, 8, 9, 11, 14, 15, 16, 17, 19, 34, 35, 53)  # B C N O F Na Si P S Cl K Se Br I; others share a place
MOST_BONDS, MOST_HYDROGENS, CHARGES = 6, 4, (-1, 0, 1)

HYBRIDISATIONS = (2, 3, 4, 6, 7)  # RDKit's numbers of sp, sp2, sp3, sp3d, sp3d2
BONDS = (1, 2, 3, 12)  # RDKit's numbers of single, double, triple, aromatic

ATOM_FEATURES = sum(1 + n for n in (len(ELEMENTS), MOST_BONDS, len(CHARGES), MOST_HYDROGENS, len(HYBRIDISATIONS))) + 2
BOND_FEATURES = len(BONDS) + 2


@dataclass(frozen=True)
class Molecules:
    """M molecules as graphs, one after the other; every bond once.

    Attributes:
        atoms: [N, features] float32.
        bonds: [2, B] int64, the two atoms of every bond, numbered within their molecule.
        bond_features: [B, features] float32.
        atom_ptr: [M + 1] int64; molecule m owns the atoms from atom_ptr[m] to atom_ptr[m + 1].
        bond_ptr: [M + 1] int64; the same of bonds.
    """

    atoms: NDArray[np.float32]
    bonds: NDArray[np.int64]
    bond_features: NDArray[np.float32]
    atom_ptr: NDArray[np.int64]
    bond_ptr: NDArray[np.int64]

    @classmethod
    def of(cls, graphs: Sequence[tuple[Any, Any, Any]]) -> Molecules:
        """From (atoms [n, features], bonds [2, b], bond_features [b, features]) of each; at least one."""
        atoms, bonds, features = (list(parts) for parts in zip(*graphs, strict=True))
        return cls(
            np.concatenate(atoms).astype(np.float32),
            np.concatenate(bonds, axis=1).astype(np.int64),
            np.concatenate(features).astype(np.float32),
            np.cumsum([0, *map(len, atoms)]),
            np.cumsum([0, *map(len, features)]),
        )

    def __len__(self) -> int:
        return len(self.atom_ptr) - 1

    def take(self, chosen: NDArray[np.int64]) -> Molecules:
        """These molecules, in this order."""
        atoms, atom_ptr = _rows(self.atom_ptr, chosen)
        bonds, bond_ptr = _rows(self.bond_ptr, chosen)
        return Molecules(self.atoms[atoms], self.bonds[:, bonds], self.bond_features[bonds], atom_ptr, bond_ptr)

    def edge_index(self) -> NDArray[np.int64]:
        """Directed bonds [2, 2B], atoms numbered through; bond b forward is edge b and backward edge B + b."""
        forward = self.bonds + np.repeat(self.atom_ptr[:-1], np.diff(self.bond_ptr))
        return np.concatenate([forward, forward[::-1]], axis=1)


class Unread(NamedTuple):
    """A SMILES that is no molecule, and where it stands."""

    line: int
    smiles: str


def parse(smiles: Sequence[str], lines: Sequence[int]) -> tuple[list[Any], NDArray[np.int64], list[Unread]]:
    """RDKit's molecules, their positions among ``smiles``, and what could not be read: nothing is lost in silence.

    A molecule without atoms, which RDKit accepts, could not be read either.
    """
    chem = _rdkit()
    molecules, kept, unread = [], [], []
    with _quiet():
        for i, (text, line) in enumerate(zip(smiles, lines, strict=True)):
            molecule = chem.MolFromSmiles(str(text))
            if molecule is None or molecule.GetNumAtoms() == 0:
                unread.append(Unread(int(line), str(text)))
            else:
                molecules.append(molecule)
                kept.append(i)
    return molecules, np.array(kept, dtype=np.int64), unread


def featurised(molecules: Sequence[Any]) -> Molecules:
    """Graphs with the features of the module's docstring."""
    if not molecules:
        raise ValueError("featurised: there are no molecules; give one at least")
    atoms, atom_counts, bonds, bond_counts = [], [], [], []
    for molecule in molecules:
        atoms += [_atom(atom) for atom in molecule.GetAtoms()]
        bonds += [_bond(bond) for bond in molecule.GetBonds()]
        atom_counts.append(molecule.GetNumAtoms())
        bond_counts.append(molecule.GetNumBonds())
    element, degree, charge, hydrogens, hybridisation, aromatic, mass = np.array(atoms).T
    atom_features = [
        *(_one_hot(element, ELEMENTS), _one_hot(degree, range(MOST_BONDS)), _one_hot(charge, CHARGES)),
        *(_one_hot(hydrogens, range(MOST_HYDROGENS)), _one_hot(hybridisation, HYBRIDISATIONS)),
        *(aromatic[:, None], mass[:, None] / 100),
    ]
    begin, end, kind, conjugated, ring = np.array(bonds, dtype=np.int64).reshape(-1, 5).T
    bond_features = [kind[:, None] == np.array(BONDS), conjugated[:, None], ring[:, None]]
    return Molecules(
        np.concatenate(atom_features, axis=1).astype(np.float32),
        np.stack([begin, end]),
        np.concatenate(bond_features, axis=1).astype(np.float32),
        np.cumsum([0, *atom_counts]),
        np.cumsum([0, *bond_counts]),
    )


def morgan(molecules: Sequence[Any], radius: int = 2, bits: int = 2048) -> NDArray[np.uint8]:
    """Morgan fingerprints [n, bits] (Rogers & Hahn 2010): which surroundings of which atoms occur, hashed."""
    _rdkit()
    from rdkit.Chem import rdFingerprintGenerator

    generator = rdFingerprintGenerator.GetMorganGenerator(radius=radius, fpSize=bits)
    return np.stack([generator.GetFingerprintAsNumPy(molecule) for molecule in molecules])


def scaffolds(molecules: Sequence[Any]) -> NDArray[np.str_]:
    """Murcko scaffold [n] of each: its rings and what joins them, as SMILES without stereo; empty without rings."""
    _rdkit()
    from rdkit.Chem.Scaffolds import MurckoScaffold

    smiles: Any = MurckoScaffold.MurckoScaffoldSmiles
    with _quiet():
        return np.array([smiles(mol=molecule, includeChirality=False) for molecule in molecules])


def identities(molecules: Sequence[Any]) -> NDArray[np.str_]:
    """What two records of one drug share [n]: the first block of the InChIKey of the largest part.

    Salts, protons and stereochemistry make no difference to it, so rather too much counts as a duplicate than too
    little. Where InChI gives no key the canonical SMILES stands for it.
    """
    chem = _rdkit()
    found = []
    with _quiet():
        for molecule in molecules:
            parts = chem.GetMolFrags(molecule, asMols=True)
            # Of parts of one size the last in the alphabet, whatever the order of the atoms.
            largest = max(parts, key=lambda part: (part.GetNumHeavyAtoms(), chem.MolToSmiles(part)), default=molecule)
            key = chem.MolToInchiKey(largest).partition("-")[0]
            found.append(key or chem.MolToSmiles(largest, isomericSmiles=False))
    return np.array(found)


def scaffold_split(
    scaffold: NDArray[np.str_], rng: np.random.Generator, shares: tuple[float, float, float]
) -> tuple[NDArray[np.int64], ...]:
    """Training, validation and test molecules that have no scaffold in common (chemprop's balanced scaffold split).

    Scaffolds that would fill more than half of the validation or the test set come first, and so train; the others
    follow in random order, each going whole into the first set that has room.

    Raises:
        ValueError: a set stays empty, as where most molecules have one scaffold, or none, in common.
    """
    _, inverse = np.unique(scaffold, return_inverse=True)
    groups = np.split(np.argsort(inverse, kind="stable"), np.cumsum(np.bincount(inverse))[:-1])
    room = [share * len(scaffold) for share in shares]
    big = [group for group in groups if len(group) > min(room[1:]) / 2]
    small = [group for group in groups if len(group) <= min(room[1:]) / 2]
    sets: tuple[list[int], ...] = ([], [], [])
    for group in big + [small[i] for i in rng.permutation(len(small))]:
        fits = [i for i in (0, 1) if len(sets[i]) + len(group) <= room[i]]
        sets[fits[0] if fits else 2].extend(group)
    if not all(sets):
        sizes, largest = ", ".join(str(len(chosen)) for chosen in sets), max(map(len, groups), default=0)
        raise ValueError(
            f"{len(scaffold)} molecules with {len(groups)} scaffolds, the largest of {largest}, "
            f"split into {sizes}; a set that is empty teaches and tells nothing: split at random instead"
        )
    return tuple(np.array(chosen, dtype=np.int64) for chosen in sets)


def _rows(ptr: NDArray[np.int64], chosen: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows that the chosen segments own, and where each segment begins among them."""
    sizes = np.diff(ptr)[chosen]
    starts = np.concatenate([[0], np.cumsum(sizes)])
    return np.arange(starts[-1]) + np.repeat(ptr[chosen] - starts[:-1], sizes), starts


def _one_hot(values: NDArray[Any], options: Sequence[int]) -> NDArray[np.bool_]:
    """One place an option, and a last one for anything else: [n, options + 1]."""
    known = values[:, None] == np.array(options)
    return np.concatenate([known, ~known.any(axis=1, keepdims=True)], axis=1)


def _atom(atom: Any) -> tuple[float, ...]:
    return (
        *(atom.GetAtomicNum(), atom.GetTotalDegree(), atom.GetFormalCharge(), atom.GetTotalNumHs()),
        *(int(atom.GetHybridization()), atom.GetIsAromatic(), atom.GetMass()),
    )


def _bond(bond: Any) -> tuple[int, ...]:
    ends = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
    return (*ends, int(bond.GetBondType()), bond.GetIsConjugated(), bond.IsInRing())


def _rdkit() -> Any:
    if importlib.util.find_spec("rdkit") is None:
        raise DataMissing("SMILES are read by RDKit, which is not installed: pip install 'dlbench[molecules]'")
    from rdkit import Chem

    return Chem


def _quiet() -> Any:
    """RDKit writes what it thinks of a molecule to the process's own error stream; what matters is returned."""
    from rdkit import rdBase

    return rdBase.BlockLogs()
