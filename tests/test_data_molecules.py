"""Sets of molecules: made files in the publishers' formats, damaged ones, and the real counts where they are there."""

import gzip
import os
from pathlib import Path

import numpy as np
import pytest

from dlbench.data import molecules
from dlbench.errors import DataDamaged, DataMissing

FOLDER = Path(os.environ.get("DLBENCH_DATA", ""), "molecules")


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A folder for DLBENCH_DATA with molecules/ecoli.csv of three records, one of which is no molecule."""
    monkeypatch.setenv("DLBENCH_DATA", str(tmp_path))
    (tmp_path / "molecules").mkdir()
    path = tmp_path / "molecules" / "ecoli.csv"
    path.write_text("smiles,activity\nCCO,0\nC1CC,1\n\nc1ccccc1,1\n")
    return path


def test_records_keep_their_lines(made):
    data = molecules.ECOLI.load()
    assert data["smiles"].tolist() == ["CCO", "C1CC", "c1ccccc1"]
    assert data["line"].tolist() == [2, 3, 5] and data["line"].dtype == np.int64
    assert data["y"].tolist() == [0, 1, 1] and data["y"].dtype == np.float32


def test_a_byte_order_mark_is_no_part_of_the_header(made):
    made.write_text("\ufeffsmiles,activity\nCCO,1\n", encoding="utf-8")
    assert molecules.ECOLI.load()["smiles"].tolist() == ["CCO"]


def test_a_set_without_measurements(made):
    made.with_name("broad_repurposing_library.csv").write_text("smiles\nCCO\n")
    assert sorted(molecules.REPURPOSING_HUB.load()) == ["line", "smiles"]


def test_gzip_and_columns_by_position(tmp_path):
    path = tmp_path / "some.csv.gz"
    path.write_bytes(gzip.compress(b'name,y,smiles\n"a, b",1.5,CC\nc,,CO\n'))
    data = molecules.read(path, -1, -2)
    assert data["smiles"].tolist() == ["CC", "CO"]
    np.testing.assert_array_equal(data["y"], np.array([1.5, np.nan], dtype=np.float32))


def test_moleculenet_as_pyg_keeps_it(tmp_path, monkeypatch):
    pytest.importorskip("torch_geometric")
    monkeypatch.setenv("DLBENCH_DATA", str(tmp_path))
    folder = tmp_path / "moleculenet" / "esol" / "raw"
    with pytest.raises(DataMissing, match=r"delaney-processed\.csv is not there.*MoleculeNet"):
        molecules.ESOL.load()
    folder.mkdir(parents=True)
    (folder / "delaney-processed.csv").write_text("Compound ID,measured log solubility,smiles\nx,-0.77,CCO\n")
    data = molecules.ESOL.load()
    assert data["smiles"].tolist() == ["CCO"] and data["y"] == pytest.approx(-0.77)


def test_sets_of_several_numbers_are_refused(tmp_path, monkeypatch):
    pytest.importorskip("torch_geometric")
    monkeypatch.setenv("DLBENCH_DATA", str(tmp_path))
    with pytest.raises(ValueError, match="several numbers"):
        molecules.moleculenet("tox21").load()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("smiles,activity\nCCO,0,1\n", "line 2 has 3 fields, its header 2"),
        ("smiles,activity\nCCO,yes\n", "line 2 has 'yes' where a finite number"),
        ("smiles,activity\nCCO,-inf\n", "line 2 has '-inf' where a finite number"),
        ("smiles,active\nCCO,1\n", "no column 'activity'"),
        ("smiles,activity\n", "holds no molecule"),
        ("", "no column 'smiles'"),
    ],
)
def test_damaged_files_are_one_clear_error(made, text, words):
    made.write_text(text)
    with pytest.raises(DataDamaged, match=words):
        molecules.ECOLI.load()


def test_bytes_that_are_no_text(made):
    made.write_bytes(b"smiles,activity\n\xff\xfe,0\n")
    with pytest.raises(DataDamaged, match=r"ecoli\.csv is damaged \(UnicodeDecodeError"):
        molecules.ECOLI.load()


def test_a_missing_file_is_named(made):
    made.unlink()
    with pytest.raises(DataMissing, match=r"ecoli\.csv is not there.*coronavirus_data"):
        molecules.ECOLI.load()


def test_the_real_sets():
    if not (FOLDER / "ecoli.csv").is_file():
        pytest.skip("DLBENCH_DATA names no folder with molecules/ecoli.csv")
    screen, hub = molecules.ECOLI.load(), molecules.REPURPOSING_HUB.load()
    assert (len(screen["y"]), screen["y"].sum(), len(hub["smiles"])) == (2335, 120, 6111)
    assert molecules.HALICIN in hub["smiles"] and molecules.HALICIN not in screen["smiles"]
