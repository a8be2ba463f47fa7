"""Data sets that Hugging Face's datasets saved to disk."""

import numpy as np
import pytest

from dlbench import data
from dlbench.data import own
from dlbench.errors import DataDamaged, ParameterError

datasets = pytest.importorskip("datasets")

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 5, 4, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A data set with two splits, saved."""
    from PIL import Image

    features = datasets.Features(
        {
            "picture": datasets.Image(),
            "kind": datasets.ClassLabel(names=["cat", "dog"]),
            "sex": datasets.Value("string"),
            "grid": datasets.Array2D((2, 2), "uint8"),
            "age": datasets.Value("int64"),
        }
    )
    rows = {
        "picture": [Image.fromarray(pixels) for pixels in PIXELS],
        "kind": [0, 1, 1, 0, 1, 0],
        "sex": ["f", None, "m", "f", "m", "f"],
        "grid": [[[i, 1], [2, 255]] for i in range(6)],
        "age": [3, 3, 4, 4, 3, 3],
    }
    whole = datasets.Dataset.from_dict(rows, features=features)
    folder = tmp_path_factory.mktemp("saved")
    parts = {"train": whole.select(range(4)), "validation": whole.select(range(4, 6))}
    datasets.DatasetDict(parts).save_to_disk(folder / "split")
    whole.save_to_disk(folder / "whole")
    whole.remove_columns(["kind", "picture", "grid"]).save_to_disk(folder / "poor")
    return folder


def test_splits_and_columns_are_found(saved):
    before = data.get(f"{saved}/split").fingerprint()
    found = data.load(f"{saved}/split?image=picture&group=sex")
    expected = PIXELS.transpose(0, 3, 1, 2) / np.float32(255)
    assert np.array_equal(found["train_x"], expected[:4]) and np.array_equal(found["test_x"], expected[4:])
    assert found["train_y"].tolist() == [0, 1, 1, 0] and found["classes"].tolist() == ["cat", "dog"]
    assert found["train_groups"].tolist() == ["f", "missing", "m", "f"]
    assert found["notes"].tolist() == ["the validation part tests, as there is no test part"]
    assert data.get(f"{saved}/split").fingerprint() == before != data.get(f"{saved}/whole").fingerprint()


def test_columns_are_named(saved):
    found = data.load(f"{saved}/whole?image=grid&label=age")
    assert found["x"].shape == (6, 1, 2, 2) and found["x"][3, 0, 0, 0] == np.float32(3) / 255
    assert found["y"].tolist() == [3, 3, 4, 4, 3, 3] and "classes" not in found
    assert data.load(f"{saved}/whole?image=picture&size=3x3")["x"].shape == (6, 3, 3, 3)


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("whole", r"Image or Array3D or Array2D: picture, grid; say \?image=COLUMN, one of picture \(Image\), kind"),
        ("poor", r"none; say \?image=COLUMN, one of sex \(string\), age \(int64\)"),
        ("whole?image=pictur", "no column 'pictur'; did you mean 'picture'?"),
        ("whole?image=picture&group=sx", "no column 'sx'; did you mean 'sex'?"),
        ("poor?image=age", r"type ClassLabel: none; say \?label=COLUMN"),
    ],
)
def test_columns_that_are_not_clear(saved, query, reason):
    with pytest.raises(ParameterError, match=reason):
        data.load(f"{saved}/{query}")


def test_columns_of_the_wrong_kind(saved):
    with pytest.raises(DataDamaged, match="sex"):
        data.load(f"{saved}/whole?image=sex&label=kind")
    with pytest.raises(DataDamaged, match="'sex' is empty in 1 of 6 rows"):
        data.load(f"{saved}/whole?image=picture&label=sex")


def test_a_damaged_data_set(tmp_path):
    (tmp_path / "dataset_info.json").write_text("{")
    with pytest.raises(DataDamaged, match="was not read"):
        data.load(f"{tmp_path}/")


def test_copies_are_found_by_the_files_contents(saved, monkeypatch):
    from dlbench.data.own import decoded

    monkeypatch.setattr(decoded, "HELD", 10)
    found = data.load(f"{saved}/whole?image=picture")
    assert len(set(found["x"].digests())) == 6
    assert not any("copies" in finding.text for finding in own.findings(found))
