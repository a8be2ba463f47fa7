"""Planetoid's files: Cora's known counts, a made network in the same format, and pickles that must not run."""

import os
import pickle
import pickletools
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from dlbench.data import planetoid
from dlbench.errors import DataDamaged, DataMissing

CORA_FILES = Path(os.environ.get("DLBENCH_DATA", ""), "planetoid")


@pytest.fixture(scope="module")
def cora():
    if not (CORA_FILES / "ind.cora.graph").is_file():
        pytest.skip("DLBENCH_DATA names no folder with planetoid/ind.cora.*")
    return planetoid.CORA.load()


def test_cora_has_the_counts_of_the_field(cora):
    assert cora["x"].shape == (2708, 1433) and cora["x"].dtype == np.float32
    assert set(np.unique(cora["x"])) == {0.0, 1.0}
    assert cora["edge_index"].shape == (2, 2 * 5278)
    np.testing.assert_array_equal(np.bincount(cora["y"]), [351, 217, 418, 818, 426, 298, 180])


def test_cora_lists_5429_links_before_deduplication(cora):
    lists = planetoid.unpickle(CORA_FILES / "ind.cora.graph")
    assert sum(map(len, lists.values())) == 2 * 5429


def test_cora_edges_go_both_ways_once_without_loops(cora):
    source, target = cora["edge_index"]
    assert (source != target).all()
    forward, backward = set(zip(source, target, strict=True)), set(zip(target, source, strict=True))
    assert forward == backward and len(forward) == source.size


def test_cora_public_split(cora):
    train, val, test = (cora[f"{part}_mask"] for part in ("train", "val", "test"))
    assert (train.sum(), val.sum(), test.sum()) == (140, 500, 1000)
    assert not (train & val).any() and not (train & test).any() and not (val & test).any()
    np.testing.assert_array_equal(np.bincount(cora["y"][train]), [20] * 7)
    same = cora["y"][cora["edge_index"][0]] == cora["y"][cora["edge_index"][1]]
    assert same.mean() == pytest.approx(0.81, abs=0.001)  # test rows in another order would bring this to chance


# ------------------------------------------------------------------------------------------------- a made network


def as_python_2_would(value) -> bytes:
    """A pickle with the module names of the published files (protocol 3: in 2, Python 3 spells bytes by a call)."""
    text = pickle.dumps(value, protocol=3)
    for today, then in (
        (b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"),
        (b"cscipy.sparse._csr\n", b"cscipy.sparse.csr\n"),
        (b"cbuiltins\n", b"c__builtin__\n"),
    ):
        text = text.replace(today, then)
    return text


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Eight nodes, two classes; nodes 5 and 7 are the test nodes, listed as 7, 5; node 6 is isolated."""
    x = np.arange(1, 16, dtype=np.float32).reshape(5, 3)
    labels = np.eye(2, dtype=np.int32)[[0, 1, 0, 1, 1]]
    graph = defaultdict(list, {0: [1, 1, 0], 1: [0], 2: [3], 3: [4, 7], 4: [3], 5: [0], 7: [3]})
    contents = {
        "allx": sparse.csr_matrix(x),
        "x": sparse.csr_matrix(x[:2]),
        "tx": sparse.csr_matrix(np.array([[0, 0, 70], [50, 0, 0]], np.float32)),
        "ally": labels,
        "y": labels[:2],
        "ty": np.array([[1, 0], [0, 1]], np.int32),
        "graph": graph,
    }
    folder = tmp_path / "planetoid"
    folder.mkdir()
    for part, value in contents.items():
        (folder / f"ind.citeseer.{part}").write_bytes(as_python_2_would(value))
    (folder / "ind.citeseer.test.index").write_text("7\n5\n")
    monkeypatch.setenv("DLBENCH_DATA", str(tmp_path))
    return folder


def test_a_made_network_with_an_isolated_test_node(made):
    data = planetoid.CITESEER.load()
    np.testing.assert_array_equal(data["x"][5:], [[50, 0, 0], [0, 0, 0], [0, 0, 70]])
    np.testing.assert_array_equal(data["y"], [0, 1, 0, 1, 1, 1, -1, 0])
    np.testing.assert_array_equal(data["edge_index"], [[0, 0, 1, 2, 3, 3, 3, 4, 5, 7], [1, 5, 0, 3, 2, 4, 7, 3, 0, 3]])
    np.testing.assert_array_equal(np.flatnonzero(data["train_mask"]), [0, 1])
    np.testing.assert_array_equal(np.flatnonzero(data["val_mask"]), [2, 3, 4])
    np.testing.assert_array_equal(np.flatnonzero(data["test_mask"]), [5, 7])


def test_todays_module_names_are_read_too(made):
    (made / "ind.citeseer.allx").write_bytes(
        pickle.dumps(sparse.csr_matrix(np.eye(5, 3, dtype=np.float32)), protocol=4)
    )
    np.testing.assert_array_equal(planetoid.CITESEER.load()["x"][:5], np.eye(5, 3))


def test_a_missing_file_is_named(made):
    (made / "ind.citeseer.ty").unlink()
    with pytest.raises(DataMissing, match=r"ind\.citeseer\.ty is not there.*kimiyoung/planetoid"):
        planetoid.CITESEER.load()


# ------------------------------------------------------------------------------------------------- hostile pickles


class Bomb:
    def __reduce__(self):
        return (os.mkdir, ("ran",))


def test_a_hostile_pickle_is_refused_and_not_run(made, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (made / "ind.citeseer.graph").write_bytes(pickle.dumps({0: [Bomb()]}, protocol=2))
    with pytest.raises(DataDamaged, match=r"ind\.citeseer\.graph was not read: it calls (posix|nt)\.mkdir"):
        planetoid.CITESEER.load()
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["builtins eval", "numpy.testing._private.utils runstring", "numpy load"])
def test_names_beside_the_listed_ones_are_refused(tmp_path, name):
    path = tmp_path / "ind.cora.x"
    module, function = name.split()
    path.write_bytes(b"\x80\x02c" + f"{module}\n{function}\n".encode() + b"U\x031+1\x85R.")
    assert any(op.name == "GLOBAL" for op, *_ in pickletools.genops(path.read_bytes()))
    with pytest.raises(DataDamaged, match=f"it calls {module}.{function}"):
        planetoid.unpickle(path)


def test_indices_outside_the_matrix_are_refused(tmp_path):
    matrix = sparse.csr_matrix(np.eye(3, dtype=np.float32))
    matrix.indices[1] = 1_000_000  # scipy's toarray would write there
    path = tmp_path / "ind.cora.x"
    path.write_bytes(as_python_2_would(matrix))
    with pytest.raises(DataDamaged, match=r"was not read: .*ind(ex|ices)"):
        planetoid.unpickle(path)


def test_a_cut_off_file_is_a_clear_error(made):
    whole = (made / "ind.citeseer.allx").read_bytes()
    (made / "ind.citeseer.allx").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataDamaged, match=r"allx was not read: .*get it again"):
        planetoid.CITESEER.load()
