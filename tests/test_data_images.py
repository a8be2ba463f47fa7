"""The image sets: what is read from good files, and what is said about bad ones."""

import gzip
import importlib.util
import pickle
import struct
import subprocess
import sys

import numpy as np
import pytest

from dlbench.data.images import CIFAR10, DIGITS, DIGITS_SPLIT, INK, MNIST, read_idx
from dlbench.errors import DataDamaged, DataMissing

from .made_sets import Python2Pickler


def test_digits_are_scikit_learns():
    from sklearn.datasets import load_digits

    digits, ours = load_digits(), DIGITS.load()
    assert np.array_equal(ours["x"] * 16, digits.images)
    assert np.array_equal(ours["y"], digits.target)
    assert ours["x"].dtype == np.float32
    assert ours["y"].dtype == np.int64
    assert ours["x"].min() == 0
    assert ours["x"].max() == 1


def test_split_digits_are_all_of_them_once_and_grouped_by_their_ink():
    split, whole = DIGITS_SPLIT.load(), DIGITS.load()
    assert np.array_equal(split["test_x"], whole["x"][2::3]) and np.array_equal(split["test_y"], whole["y"][2::3])
    assert len(split["train_x"]) + len(split["test_x"]) == len(whole["x"])
    most = 0.0
    for group in INK:
        sizes = [(split[f"{part}_groups"] == group).mean() for part in ("train", "test")]
        assert np.allclose(sizes, 1 / 3, atol=0.05)
        ink = split["train_x"][split["train_groups"] == group].mean((1, 2))
        assert ink.min() >= most
        most = ink.max()


def test_digits_do_not_import_scikit_learn():
    code = "import sys; from dlbench.data.images import DIGITS; DIGITS.load(); print('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


def test_digits_without_scikit_learn_say_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataMissing, match="pip install scikit-learn"):
        DIGITS.load()


# ------------------------------------------------------------------------------------------------------------- MNIST


def idx(values, *, kind=8, shape=None):
    shape = values.shape if shape is None else shape
    return struct.pack(f">HBB{len(shape)}I", 0, kind, len(shape), *shape) + values.astype(np.uint8).tobytes()


@pytest.fixture
def mnist(tmp_path, monkeypatch):
    """Write a part of MNIST with n images; label i is i mod 10, and each image is filled with its index mod 256."""
    monkeypatch.setenv("DLBENCH_DATA", str(tmp_path))
    (tmp_path / "mnist").mkdir()

    def write(part, n, *, labels=None):
        index = np.arange(n)
        images = np.broadcast_to((index % 256)[:, None, None], (n, 28, 28))
        labels = index % 10 if labels is None else np.asarray(labels)
        for name, values in ((f"{part}-images-idx3-ubyte.gz", images), (f"{part}-labels-idx1-ubyte.gz", labels)):
            (tmp_path / "mnist" / name).write_bytes(gzip.compress(idx(values), compresslevel=1, mtime=0))
        return tmp_path / "mnist"

    return write


def test_mnist_test_file_alone_is_cut_in_order(mnist):
    mnist("t10k", 8_003)
    data = MNIST.load()
    assert data["train_x"].shape == (8_000, 28, 28)
    assert data["test_y"].tolist() == [0, 1, 2]
    assert np.allclose(data["test_x"][:, 0, 0] * 255, [8_000 % 256, 8_001 % 256, 8_002 % 256])
    assert data["train_x"].dtype == np.float32
    assert data["train_y"].dtype == np.int64


def test_mnist_standard_split_where_the_training_files_are_there(mnist):
    mnist("train", 12)
    alone = mnist("t10k", 5)
    data = MNIST.load()
    assert (len(data["train_x"]), len(data["test_x"])) == (12, 5)
    both = MNIST.fingerprint()
    for path in alone.glob("train-*"):
        path.unlink()
    assert MNIST.fingerprint() != both


def test_mnist_half_a_training_set_is_named_not_passed_over(mnist):
    mnist("t10k", 8_003)
    (mnist("train", 12) / "train-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataMissing, match=r"train-labels-idx1-ubyte\.gz is not there"):
        MNIST.load()


def test_mnist_missing_says_what_to_put_where(tmp_path, monkeypatch):
    monkeypatch.setenv("DLBENCH_DATA", str(tmp_path))
    with pytest.raises(DataMissing, match=r"t10k-images-idx3-ubyte\.gz is not there.*DLBENCH_DATA/mnist"):
        MNIST.load()


def test_mnist_images_and_labels_that_do_not_belong_together(mnist):
    mnist("t10k", 9_000, labels=np.zeros(8_999))
    with pytest.raises(DataDamaged, match="damaged"):
        MNIST.load()


def test_mnist_label_out_of_range(mnist):
    mnist("t10k", 8_003, labels=np.full(8_003, 10))
    with pytest.raises(DataDamaged, match="not 0 to 9"):
        MNIST.load()


def test_mnist_too_few_images_for_the_cut(mnist):
    mnist("t10k", 50)
    with pytest.raises(DataDamaged, match="more than 8,000"):
        MNIST.load()


GOOD = idx(np.arange(6).reshape(1, 2, 3))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (gzip.compress(GOOD[:-1], mtime=0), "announces 6 values and 5 follow"),
        (gzip.compress(GOOD + b"x", mtime=0), "announces 6 values and 7 follow"),
        (gzip.compress(GOOD[:9], mtime=0), "error"),
        (gzip.compress(b"", mtime=0), "error"),
        (gzip.compress(GOOD, mtime=0)[:-9], "EOFError"),
        (gzip.compress(idx(np.zeros(4), kind=13), mtime=0), "IDX file of bytes"),
        (gzip.compress(idx(np.zeros(0), shape=(2**32 - 1,) * 3), mtime=0), "announces"),
        (GOOD, "BadGzipFile"),
        (b"", "error"),
    ],
)
def test_damaged_idx_files_are_refused_with_the_reason(tmp_path, content, reason):
    path = tmp_path / "images.gz"
    path.write_bytes(content)
    with pytest.raises(DataDamaged, match=rf"images\.gz is damaged \(.*{reason}"):
        read_idx(path)


def test_good_idx_file(tmp_path):
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(GOOD, mtime=0))
    assert read_idx(path).tolist() == [[[0, 1, 2], [3, 4, 5]]]


# ---------------------------------------------------------------------------------------------------------- CIFAR-10


@pytest.fixture
def cifar10(tmp_path, monkeypatch):
    monkeypatch.setenv("DLBENCH_DATA", str(tmp_path))
    folder = tmp_path / "cifar10" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for i, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        data = np.full((2, 3072), i, np.uint8)
        data[1] = np.repeat([10, 20, 30], 1024)  # red plane, green plane, blue plane
        with (folder / name).open("wb") as file:
            Python2Pickler(file).dump({b"data": data, b"labels": [i, 9], b"filenames": [b"a.png", b"b.png"]})
    return folder


def test_cifar10_batches(cifar10):
    raw = (cifar10 / "data_batch_1").read_bytes()
    assert b"cnumpy.core.multiarray\n" in raw  # as in the publishers' files
    assert b"_codecs" not in raw
    data = CIFAR10.load()
    assert data["train_x"].shape == (10, 3, 32, 32)
    assert data["test_x"].shape == (2, 3, 32, 32)
    assert data["train_x"].dtype == np.float32
    assert data["train_y"].tolist() == [0, 9, 1, 9, 2, 9, 3, 9, 4, 9]
    assert data["test_y"].tolist() == [5, 9]
    assert np.allclose(data["test_x"][1, :, 31, 31] * 255, [10, 20, 30])


def test_cifar10_as_torchvision_reads_it(cifar10):
    """The batches that torchvision makes of the same files, where torchvision can be imported."""
    datasets = pytest.importorskip("torchvision.datasets", exc_type=Exception)

    class Unchecked(datasets.CIFAR10):
        def _check_integrity(self):
            return True  # the files are made here, so their checksums are not the publishers'

        def _load_meta(self):
            self.classes = [str(i) for i in range(10)]

    theirs = Unchecked(cifar10.parent, train=True)
    ours = CIFAR10.load()
    assert np.allclose(ours["train_x"].transpose(0, 2, 3, 1) * 255, theirs.data)
    assert ours["train_y"].tolist() == theirs.targets


def test_cifar10_refuses_a_batch_that_brings_code_along(cifar10, tmp_path):
    class Mischief:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    (cifar10 / "data_batch_3").write_bytes(pickle.dumps({"data": Mischief(), "labels": []}, protocol=2))
    with pytest.raises(DataDamaged, match=r"data_batch_3 is damaged .*which image batches do not need"):
        CIFAR10.load()
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "batch",
    [
        {"data": np.zeros((2, 3072), np.uint8), "labels": [1]},
        {"data": np.zeros((2, 3072), np.float32), "labels": [1, 2]},
        {"data": np.zeros((1, 3072), np.uint8), "labels": [11]},
        {"data": np.zeros((1, 3071), np.uint8), "labels": [1]},
        {"labels": [1]},
        [],
    ],
)
def test_cifar10_refuses_what_is_not_a_batch(cifar10, batch):
    with (cifar10 / "test_batch").open("wb") as file:
        Python2Pickler(file).dump(batch)
    with pytest.raises(DataDamaged, match="test_batch is damaged"):
        CIFAR10.load()


def test_cifar10_truncated(cifar10):
    path = cifar10 / "data_batch_2"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataDamaged, match="data_batch_2 is damaged"):
        CIFAR10.load()


def test_the_split_of_the_digits_is_fixed_and_covers_all_classes_alike():
    from dlbench.data.images import DIGITS, DIGITS_SPLIT

    whole, split = DIGITS.load(), DIGITS_SPLIT.load()
    assert split["train_x"].shape == (1198, 8, 8) and split["test_x"].shape == (599, 8, 8)
    assert (split["test_x"] == whole["x"][2::3]).all() and (split["train_y"][:4] == whole["y"][[0, 1, 3, 4]]).all()
    shares = [np.bincount(split[part]) / len(split[part]) for part in ("train_y", "test_y")]
    assert abs(shares[0] - shares[1]).max() < 0.02
