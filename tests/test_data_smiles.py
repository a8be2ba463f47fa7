"""SMILES as arrays: against hand-counted molecules, and what cannot be read."""

import numpy as np
import pytest

from dlbench.data import smiles
from dlbench.data.smiles import ELEMENTS, Molecules


def parsed(*texts):
    pytest.importorskip("rdkit")
    molecules, _, unread = smiles.parse(texts, range(len(texts)))
    assert not unread
    return molecules


def test_what_cannot_be_read_is_told_by_line_and_lost_nowhere(capfd):
    pytest.importorskip("rdkit")
    molecules, kept, unread = smiles.parse(["CCO", "C1CC", "", "c1ccccc1", "C(C)(C)(C)(C)C"], [2, 3, 4, 5, 9])
    assert len(molecules) == 2 and kept.tolist() == [0, 3]
    assert unread == [(3, "C1CC"), (4, ""), (9, "C(C)(C)(C)(C)C")]
    assert capfd.readouterr() == ("", "")


def test_features_of_ethanol_and_benzene():
    graphs = smiles.featurised(parsed("CCO", "c1ccccc1"))
    assert graphs.atom_ptr.tolist() == [0, 3, 9] and graphs.bond_ptr.tolist() == [0, 2, 8]
    assert graphs.atoms.shape == (9, smiles.ATOM_FEATURES)
    elements = graphs.atoms[:, : len(ELEMENTS)].argmax(axis=1)
    assert [ELEMENTS[e] for e in elements] == [6, 6, 8, 6, 6, 6, 6, 6, 6]
    assert graphs.atoms[:, -2].tolist() == [0] * 3 + [1] * 6  # aromatic
    np.testing.assert_allclose(graphs.atoms[2, -1], 0.15999, atol=1e-4)
    single, _, _, aromatic, _, ring = graphs.bond_features.T
    assert single.tolist() == [1, 1] + [0] * 6 and aromatic.tolist() == ring.tolist() == [0, 0] + [1] * 6


def test_an_unusual_atom_and_one_without_bonds():
    graphs = smiles.featurised(parsed("[U]", "[Na+].[Cl-]"))
    assert graphs.atoms[0, len(ELEMENTS)] == 1 and graphs.bonds.shape == (2, 0)
    assert graphs.bond_features.shape == (0, smiles.BOND_FEATURES)
    with pytest.raises(ValueError, match="no molecules"):
        smiles.featurised([])


def test_taking_molecules_is_making_them_again():
    molecules = parsed("CCO", "[Na+]", "c1ccccc1", "CC(=O)N")
    taken = smiles.featurised(molecules).take(np.array([3, 1, 0, 3]))
    again = smiles.featurised([molecules[i] for i in (3, 1, 0, 3)])
    for name in ("atoms", "bonds", "bond_features", "atom_ptr", "bond_ptr"):
        np.testing.assert_array_equal(getattr(taken, name), getattr(again, name))


def test_directed_bonds_go_there_and_back():
    two = ([[0.0]] * 2, [[0], [1]], [[1.0]])
    graphs = Molecules.of([two, two])
    assert graphs.edge_index().tolist() == [[0, 2, 1, 3], [1, 3, 0, 2]]


def test_salts_charges_and_stereo_make_no_other_drug():
    keys = smiles.identities(parsed("CC(=O)O", "CC(=O)[O-].[Na+]", "C[C@H](N)C(=O)O", "C[C@@H](N)C(=O)O", "CCO"))
    assert keys[0] == keys[1] and keys[2] == keys[3] and len(set(keys)) == 3


def test_scaffolds_and_their_split():
    assert smiles.scaffolds(parsed("Cc1ccccc1", "OCc1ccccc1C", "CCO")).tolist() == ["c1ccccc1", "c1ccccc1", ""]
    rng = np.random.default_rng(0)
    scaffold = np.array(["big"] * 20 + [f"s{i // 2}" for i in range(80)])
    sets = smiles.scaffold_split(scaffold, rng, (0.8, 0.1, 0.1))
    assert [len(chosen) for chosen in sets] == [80, 10, 10]
    assert sorted(np.concatenate(sets).tolist()) == list(range(100)) and set(range(20)) <= set(sets[0].tolist())
    names = [set(scaffold[chosen]) for chosen in sets]
    assert not names[0] & names[1] and not names[0] & names[2] and not names[1] & names[2]
    with pytest.raises(ValueError, match="100 molecules with 1 scaffolds, the largest of 100, split into 0, 0, 100"):
        smiles.scaffold_split(np.array([""] * 100), rng, (0.8, 0.1, 0.1))


def test_fingerprints_tell_surroundings():
    bits = smiles.morgan(parsed("CCO", "OCC", "CCN"), bits=256)
    assert bits.shape == (3, 256) and (bits[0] == bits[1]).all() and (bits[0] != bits[2]).any()
