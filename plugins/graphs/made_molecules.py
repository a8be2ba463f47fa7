"""Valence-correct random molecules of carbon, nitrogen, oxygen and fluorine, whose labels lie in their bonds.

A property that adds up atoms and what stands around them, of which a formula (C₉N₂O₂F) tells a part; and an activity
that a group of atoms gives, whatever else there is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain, combinations
from typing import Any, NamedTuple

import numpy as np

from dlbench.data.smiles import Molecules

CARBON, NITROGEN, OXYGEN, FLUORINE = range(4)
VALENCE = np.array([4, 3, 2, 1])
FREQUENCY = np.array([0.64, 0.14, 0.16, 0.06])
ELECTRONEGATIVITY = np.array([2.55, 3.04, 3.44, 3.98])  # Pauling's
CONTRIBUTION = np.array([0.15, -0.45, -0.60, 0.20])  # of an atom to the property, whatever it is bonded to
RING_SIZES = (5, 6)
NOISE = 0.1  # standard deviation of the property's noise


class Made(NamedTuple):
    """One molecule: element [n] of every atom; bonds [2, b], each once; order [b] of every bond, 1 or 2."""

    element: np.ndarray
    bonds: np.ndarray
    order: np.ndarray

    @property
    def valid(self) -> bool:
        """Whether it is one piece and no atom has more bonds than its valence."""
        used = np.bincount(self.bonds.ravel(), np.tile(self.order, 2), minlength=len(self.element))
        return bool((used <= VALENCE[self.element]).all()) and self.connected

    @property
    def connected(self) -> bool:
        """Whether every atom is reached from the first."""
        around, reached, waiting = self.neighbours(), {0}, [0]
        while waiting:
            new = {other for other, _ in around[waiting.pop()]} - reached
            reached |= new
            waiting += new
        return len(reached) == len(self.element)

    def neighbours(self) -> list[list[tuple[int, int]]]:
        """For every atom, the atoms that it is bonded to and the orders of the bonds."""
        found: list[list[tuple[int, int]]] = [[] for _ in self.element]
        for a, b, order in zip(*self.bonds.tolist(), self.order.tolist(), strict=True):
            found[a].append((b, order))
            found[b].append((a, order))
        return found


def molecule(rng: np.random.Generator) -> Made:
    """6 to 18 atoms: a tree, up to two rings of five or six, and double bonds where valences are left."""
    atoms, rings = int(rng.integers(6, 19)), int(rng.integers(0, 3))
    element = rng.choice(4, size=atoms, p=FREQUENCY)
    element[0] = CARBON
    free, bonds = [4], []
    apart = [[0]]  # bonds on the shortest way between any two atoms
    for atom, where in enumerate(rng.random(atoms - 1).tolist(), start=1):
        if sum(free) == 1 and atom < atoms - 1 and element[atom] == FLUORINE:
            element[atom] = CARBON  # fluorine here would close the last open end
        parent = picked(where, [other for other, ends in enumerate(free) if ends])
        free[parent] -= 1
        free.append(int(VALENCE[element[atom]]) - 1)
        bonds.append((parent, atom))
        ways = [steps + 1 for steps in apart[parent]]
        for row, steps in zip(apart, ways, strict=True):
            row.append(steps)
        apart.append([*ways, 0])
    for where in rng.random(rings).tolist():
        if pairs := ring_closures(apart, free):
            a, b = picked(where, pairs)
            bonds.append((a, b))
            apart = [
                [min(steps, row[a] + 1 + from_b, row[b] + 1 + from_a) for steps, from_a, from_b in ways]
                for row in apart
                for ways in [zip(row, apart[a], apart[b], strict=True)]
            ]
            free[a], free[b] = free[a] - 1, free[b] - 1
    order = [1] * len(bonds)
    for bond, chance in zip(rng.permutation(len(bonds)).tolist(), rng.random(len(bonds)).tolist(), strict=True):
        a, b = bonds[bond]
        if free[a] and free[b] and chance < 0.5:
            order[bond] = 2
            free[a], free[b] = free[a] - 1, free[b] - 1
    return Made(element, np.array(bonds).T, np.array(order))


def picked(where: float, options: list) -> Any:
    """The option at a share, 0 to 1, of the list."""
    return options[int(where * len(options))]


def ring_closures(apart: list[list[int]], free: list[int]) -> list[tuple[int, int]]:
    """Pairs of atoms with open ends between which one more bond closes a ring of five or six."""
    ends = [atom for atom, open_ends in enumerate(free) if open_ends]
    return [(a, b) for a, b in combinations(ends, 2) if apart[a][b] + 1 in RING_SIZES]


def distances(atoms: int, bonds: np.ndarray) -> np.ndarray:
    """Bonds on the shortest way between any two atoms [n, n]; infinite where there is none."""
    linked = np.eye(atoms)
    linked[bonds[0], bonds[1]] = linked[bonds[1], bonds[0]] = 1
    reached = np.eye(atoms)
    apart = np.where(reached > 0, 0.0, np.inf)
    for steps in range(1, atoms):
        reached = reached @ linked
        new = (reached > 0) & np.isinf(apart)
        if not new.any():
            break
        apart[new] = steps
    return apart


def property_of(made: Made) -> float:
    """What its atoms contribute, and more for polar bonds, less for geminal N and O, less for polar rings."""
    hetero = np.isin(made.element, (NITROGEN, OXYGEN))
    polarity = np.abs(np.diff(ELECTRONEGATIVITY[made.element[made.bonds]], axis=0)[0]) * made.order
    beside = np.zeros(len(made.element))
    np.add.at(beside, made.bonds.ravel(), hetero[made.bonds[::-1].ravel()])
    geminal = (beside * (beside - 1) / 2)[made.element == CARBON].sum()
    rings = len(made.order) - len(made.element) + 1
    return float(CONTRIBUTION[made.element].sum() + 0.5 * polarity.sum() - geminal - rings * polarity.mean())


def active(made: Made) -> bool:
    """Whether it has the group N–C–C=O: a carbonyl beside a carbon that bears a nitrogen."""
    element, around = made.element.tolist(), made.neighbours()

    def bears(atom: int, other: int, order: int) -> bool:
        return any(element[b] == other and bond == order for b, bond in around[atom])

    return any(
        element[a] == element[b] == CARBON and (bears(a, OXYGEN, 2) and bears(b, NITROGEN, 1))
        for one, two in made.bonds.T.tolist()
        for a, b in ((one, two), (two, one))
    )


def surroundings(made: Made, radius: int) -> list[list[int]]:
    """For radii 0 to ``radius``, the surrounding of every atom: Weisfeiler and Lehman's colours, bonds counted."""
    around = made.neighbours()
    found = [[hash((int(element),)) for element in made.element]]
    for _ in range(radius):
        colour = found[-1]
        found.append(
            [
                hash((colour[atom], *sorted([(order, colour[other]) for other, order in bonded])))
                for atom, bonded in enumerate(around)
            ]
        )
    return found


def identity(made: Made) -> int:
    """The same for the same molecule, however its atoms are numbered."""
    return hash(tuple(sorted(chain.from_iterable(surroundings(made, 4)))))


def fingerprints(molecules: Iterable[Made], radii: Sequence[int], places: int = 512) -> dict[int, np.ndarray]:
    """For each radius, counts of surroundings up to it, hashed into places: [n, places] float32."""
    found = [surroundings(made, max(radii)) for made in molecules]
    tables = {}
    for radius in radii:
        colours = [np.array([*chain.from_iterable(one[: radius + 1])]) % places for one in found]
        tables[radius] = np.stack([np.bincount(one, minlength=places) for one in colours]).astype(np.float32)
    return tables


def formulas(molecules: list[Made]) -> np.ndarray:
    """How many atoms of each element: [n, 4] float32. Hydrogens are left out: their number tells of bonds."""
    return np.stack([np.bincount(made.element, minlength=4) for made in molecules]).astype(np.float32)


def graphs(molecules: list[Made]) -> Molecules:
    """As a network reads them: an atom is its element and no more, a bond its order."""
    one_hot, orders = np.eye(4), np.eye(2)
    return Molecules.of([(one_hot[made.element], made.bonds, orders[made.order - 1]) for made in molecules])


def distinct(rng: np.random.Generator, molecules: int) -> dict[int, Made]:
    """Molecules, no two the same, by their identity."""
    found: dict[int, Made] = {}
    while len(found) < molecules:
        made = molecule(rng)
        found.setdefault(identity(made), made)
    return found


def library(rng: np.random.Generator, molecules: int, share: float) -> dict[int, Made]:
    """The same, of which a share is active: drawn one by one, and kept while there is room."""
    room = {True: round(share * molecules), False: molecules - round(share * molecules)}
    found: dict[int, Made] = {}
    while any(room.values()):
        made = molecule(rng)
        kind = active(made)
        if room[kind] and (key := identity(made)) not in found:
            found[key] = made
            room[kind] -= 1
    return found
