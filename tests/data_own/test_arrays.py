"""npz, tensors and arrays that are handed over: what is read is what was written, in one form; the rest is refused."""

import pickle
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dlbench import data
from dlbench.data import own
from dlbench.data.on_demand import OnDemand
from dlbench.data.own import arrays
from dlbench.errors import DataDamaged, ParameterError
from dlbench.models import safetensors

RNG = np.random.default_rng(0)
BYTES = RNG.integers(0, 256, (6, 5, 4), dtype=np.uint8)
BYTES.flat[:2] = 0, 255
LABELS = np.array([0, 1, 2, 0, 1, 2])


@pytest.fixture
def written(tmp_path):
    """written(x=…, y=…) → what is read of an npz with them."""

    def write(query="", **named):
        np.savez(tmp_path / "a.npz", **named)
        return data.load(f"{tmp_path}/a.npz{query}")

    return write


# --------------------------------------------------------------------------------------------------------------- npz


IMAGES = hnp.arrays(np.uint8, st.tuples(st.integers(1, 5), st.sampled_from([1, 3, 4]), st.just(6), st.integers(5, 7)))


@given(images=IMAGES, turned=st.booleans(), seed=st.integers(0, 9))
def test_images_survive_an_npz(images, turned, seed, tmp_path_factory):
    labels = np.random.default_rng(seed).integers(0, 9, len(images))
    path = tmp_path_factory.getbasetemp() / "images.npz"
    np.savez(path, x=np.moveaxis(images, 1, 3) if turned else images, y=labels)
    found = data.load(str(path))
    assert found["x"].dtype == np.float32 and found["x"].shape == images.shape and found["x"].flags.c_contiguous
    assert np.array_equal(np.round(found["x"] * 255), images) and np.array_equal(found["y"], labels)
    assert found["y"].dtype == np.int64
    assert ("notes" in found) is turned


@given(features=hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=2), elements=st.floats(width=32)))
def test_features_survive_an_npz_whatever_they_are(features, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "features.npz"
    np.savez(path, x=features, y=np.arange(len(features)))
    assert np.array_equal(data.load(str(path))["x"], features, equal_nan=True)


@pytest.mark.parametrize(
    "keys",
    [
        ("train_x", "train_y", "test_x", "test_y"),
        ("x_train", "y_train", "x_test", "y_test"),  # Keras
        ("train_images", "train_labels", "val_images", "val_labels"),  # MedMNIST's, without its test part
        ("X_train", "Y_train", "X_test", "Y_test"),
    ],
)
def test_names_of_a_split(written, keys):
    found = written(**dict(zip(keys, (BYTES[:4], LABELS[:4], BYTES[4:], LABELS[4:, None]), strict=True)))
    assert set(found) - {"notes"} == {"train_x", "train_y", "test_x", "test_y"}
    assert found["train_x"].shape == (4, 1, 5, 4) and found["test_y"].tolist() == [1, 2]
    assert ("the validation part tests, as there is no test part" in found.get("notes", ())) is ("val_images" in keys)


def test_a_validation_part_beside_a_test_part_is_left(written):
    parts = {
        f"{part}_{key}": value
        for part in ("train", "val", "test")
        for key, value in zip("xy", (BYTES, LABELS), strict=True)
    }
    assert list(written(**parts)["notes"]) == ["the validation part is not read, as there is a test part"]


def test_one_part_alone_is_what_tests(written):
    assert set(written(test_x=BYTES, test_y=LABELS)) == {"x", "y"}
    found = written(train_x=BYTES, train_y=LABELS)
    assert list(found["notes"]) == ["there is only a training part, all of which tests"]


def test_groups_classes_and_strange_keys(written):
    found = written(x=BYTES, y=LABELS, groups=[1, 1, 2, 2, 1, 1], classes=["a", "b", "c"], when=np.arange(6))
    assert found["groups"].tolist() == ["1", "1", "2", "2", "1", "1"] and found["classes"].tolist() == ["a", "b", "c"]
    assert found["notes"].tolist() == ["'when' not read: not among the names that are known"]


def test_text_labels_are_numbered_over_both_parts(written):
    found = written(x_train=BYTES[:2], y_train=["dog", "ant"], x_test=BYTES[:2], y_test=["cat", "dog"])
    assert found["classes"].tolist() == ["ant", "cat", "dog"]
    assert (found["train_y"].tolist(), found["test_y"].tolist()) == ([2, 0], [1, 2])
    named = written(x=BYTES[:2], y=["dog", "ant"], classes=["dog", "ant", "emu"])
    assert named["y"].tolist() == [0, 1]


def test_floats_stay_what_they_are(written):
    images = RNG.random((3, 3, 8, 8))
    assert np.array_equal(written(x=images, y=[0, 1, 2])["x"], images.astype(np.float32))


def test_a_layout_can_be_said(written):
    few = np.zeros((2, 3, 5, 3), np.uint8)
    few[:, 2, 4, 1] = 255
    assert written("?layout=hwc", x=few, y=[0, 1])["x"][0, 1, 2, 4] == 1
    assert written("?layout=chw", x=few, y=[0, 1])["x"][0, 2, 4, 1] == 1


def test_large_images_stay_bytes(written, monkeypatch):
    monkeypatch.setattr(arrays, "HELD", 4 * BYTES.size - 1)
    images = written(x=BYTES, y=LABELS)["x"]
    assert isinstance(images, OnDemand) and images.shape == (6, 1, 5, 4) and len(images) == 6 and images.ndim == 4
    whole = BYTES[:, None] / np.float32(255)
    for rows in (slice(1, 5, 2), [3, 0, 3], LABELS == 1, -1):
        assert images[rows].dtype == np.float32 and np.array_equal(images[rows], whole[rows])
    assert np.array_equal(np.asarray(images), whole)
    assert len(set(images.digests())) == 6
    with pytest.raises(IndexError):
        images[[6]]


@pytest.mark.parametrize(
    ("named", "reason"),
    [
        ({"a": BYTES}, "has no x; its keys: a; expected x and y, or train_x"),
        ({"x": BYTES, "lables": LABELS}, "has no y for its x; did you mean 'labels' by 'lables'?"),
        ({"imags": BYTES, "y": LABELS}, "has no x; did you mean 'images' by 'imags'?"),
        ({"x_train": BYTES, "y_train": LABELS, "x_test": BYTES, "y_tset": LABELS}, "no test_y .*'y_test' by 'y_tset'"),
        ({"x": BYTES, "images": BYTES, "y": LABELS}, "both 'x' and 'images'"),
        ({"x": BYTES, "y": LABELS, "x_test": BYTES, "y_test": LABELS}, "beside those of test"),
        ({"x": BYTES, "y": LABELS[:5]}, "has 6 x and 5 y; expected one for each"),
        ({"x": BYTES, "y": LABELS, "groups": ["a"]}, "has 6 x and 1 groups"),
        ({"x": BYTES, "y": np.array(3)}, "has 6 x and a single y"),
        ({"x": BYTES, "y": np.eye(6)}, r"y has the shape \[6, 6\]; .*np.argmax"),
        ({"x": BYTES, "y": LABELS * 0.5}, "y is float64; expected whole numbers"),
        ({"x": BYTES, "y": list("abcabc"), "classes": ["a", "b"]}, "labels 'c' that are not among its classes"),
        ({"x": BYTES[:0], "y": LABELS[:0]}, "no rows in x"),
        ({"x": BYTES[:, :0], "y": LABELS}, "nothing in its rows"),
        ({"x": BYTES[0, 0], "y": LABELS[:4]}, r"has the shape \[4\]; expected images"),
        ({"x": BYTES[None, None], "y": [0]}, r"has the shape \[1, 1, 6, 5, 4\]"),
        ({"x": BYTES.astype(int), "y": LABELS}, "x is int64; expected images as uint8 from 0 to 255, or as floats"),
        ({"x": BYTES.astype(np.uint16), "y": LABELS}, "x is uint16; expected"),
        ({"x": BYTES.astype(np.float32), "y": LABELS}, r"values from \d to 255; expected \[0, 1\]: save them as uint8"),
        ({"x": BYTES / 255 - 0.5, "y": LABELS}, "values from -0.5 to 0.5.*undo the normalisation"),
        ({"x": BYTES * 1j, "y": LABELS}, "x is complex128"),
        ({"x": np.array(["a", "b"]), "y": [0, 1]}, "x is <U1"),
        ({"train_x": BYTES, "train_y": LABELS, "test_x": BYTES[:, :4], "test_y": LABELS}, "trains on .* tests on"),
        ({"x": np.array([[1, "a"], {}, 3], object), "y": [0, 1, 2]}, "Python objects.*could run code"),
    ],
)
def test_npz_files_that_are_refused(written, named, reason):
    with pytest.raises(DataDamaged, match=reason):
        written(**named)


@pytest.mark.parametrize(
    ("shape", "query", "reason"),
    [
        ((2, 3, 3, 3), "", "either axis may be the channels; say "),
        ((2, 5, 5, 5), "", "no axis has the 1, 3 or 4 entries"),
        ((2, 5, 5, 5), "?layout=cwh", "layout is 'cwh'; expected chw or hwc"),
    ],
)
def test_shapes_that_do_not_tell(written, shape, query, reason):
    with pytest.raises(ParameterError, match=reason):
        written(query, x=np.zeros(shape, np.uint8), y=[0, 1])


def test_files_that_are_no_npz(tmp_path):
    path = tmp_path / "a.npz"
    np.save(tmp_path / "a.npy", BYTES)
    np.savez(tmp_path / "whole.npz", x=BYTES, y=LABELS)
    whole = (tmp_path / "whole.npz").read_bytes()
    contents = {
        "one array": (tmp_path / "a.npy").read_bytes(),
        "a pickle": pickle.dumps([1]),
        "a.npz was not read": whole[: len(whole) // 2],
        "a.npz was not read: ": b"",
    }
    for reason, content in contents.items():
        path.write_bytes(content)
        with pytest.raises(DataDamaged, match=reason):
            data.load(str(path))
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("x.txt", "1 2 3")
    with pytest.raises(DataDamaged, match="has no x"):
        data.load(str(path))


# ----------------------------------------------------------------------------------------------------------- tensors


@pytest.mark.parametrize("kind", ["dict", "pair", "four", "safetensors"])
def test_tensors(tmp_path, kind):
    x, y = torch.from_numpy(BYTES), torch.from_numpy(LABELS)
    path = tmp_path / ("a.safetensors" if kind == "safetensors" else "a.pt")
    if kind == "safetensors":
        safetensors.write(path, {"x": x, "y": y}, {})
    else:
        torch.save({"dict": {"x": x, "y": y}, "pair": (x, y), "four": (x, y, x[:2], y[:2])}[kind], path)
    found = data.load(str(path))
    prefix = "train_" if kind == "four" else ""
    assert np.array_equal(found[f"{prefix}x"], BYTES[:, None] / np.float32(255))
    assert np.array_equal(found[f"{prefix}y"], LABELS)


def test_tensors_of_halves(tmp_path):
    torch.save({"x": torch.full((2, 1, 5, 5), 0.5, dtype=torch.bfloat16), "y": torch.tensor([0, 1])}, tmp_path / "a.pt")
    assert (data.load(f"{tmp_path}/a.pt")["x"] == np.float32(0.5)).all()


class Anything:
    """What only code could make again."""


@pytest.mark.parametrize(
    ("saved", "reason"),
    [
        ({"x": Anything()}, "no file of plain tensors; .* could run code"),
        ((torch.zeros(2),) * 3, r"holds 3 things; expected a dict of tensors, \(x, y\)"),
        (torch.zeros(2), "holds a Tensor"),
        ({"x": torch.zeros(2, 3)}, "has no y for its x"),
    ],
)
def test_files_of_tensors_that_are_refused(tmp_path, saved, reason):
    torch.save(saved, tmp_path / "a.pt")
    with pytest.raises(DataDamaged, match=reason):
        data.load(f"{tmp_path}/a.pt")


@pytest.mark.parametrize("name", ["a.pt", "a.safetensors"])
def test_damaged_files_of_tensors(tmp_path, name):
    (tmp_path / name).write_bytes(b"not what it says")
    with pytest.raises(DataDamaged, match=name):
        data.load(f"{tmp_path}/{name}")


# ------------------------------------------------------------------------------------------------------------ handed


def test_arrays_and_tensors_are_handed_over():
    one = own.handed(torch.from_numpy(BYTES), LABELS.tolist(), groups=list("aabbab"), classes=["a", "b", "c"])
    two = own.handed(BYTES, LABELS, groups=np.array(list("aabbab")), classes=("a", "b", "c"))
    assert set(one.load()) == {"x", "y", "groups", "classes"} and one.files() == ()
    assert np.array_equal(one.load()["x"], two.load()["x"])
    assert one.fingerprint() == two.fingerprint()
    assert own.handed(BYTES, LABELS[::-1]).fingerprint() != own.handed(BYTES, LABELS).fingerprint()


def test_what_was_trained_on_can_be_handed_over():
    found = own.handed(BYTES, LABELS, groups=list("aabbab"), train_x=BYTES[:2], train_y=[0, 2]).load()
    assert set(found) == {"train_x", "train_y", "test_x", "test_y", "test_groups"}
    assert len(found["train_x"]) == 2 and len(found["test_x"]) == 6


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"x": BYTES, "y": LABELS[:2]}, "the data has 6 x and 2 y"),
        ({"x": BYTES.astype(np.float32), "y": LABELS}, "values from 0 to 255"),
        ({"x": BYTES, "y": LABELS, "train_x": BYTES}, "no train_y for its train_x"),
    ],
)
def test_arrays_that_are_refused(given, reason):
    with pytest.raises(DataDamaged, match=reason):
        own.handed(**given)
