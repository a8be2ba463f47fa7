"""CIFAR-10-C, CIFAR-10H and OpenOOD's sets: what is read from files of their format, and what is said of bad ones."""

import numpy as np
import pytest
from PIL import Image

from dlbench.data import openood
from dlbench.data.cifar import CIFAR10_C, CIFAR10H, KINDS
from dlbench.data.images import CIFAR10
from dlbench.data.openood import OPENOOD_CIFAR10
from dlbench.errors import DataDamaged, DataMissing

from . import made_sets


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("DLBENCH_DATA", str(tmp_path))
    return tmp_path


@pytest.fixture
def rng():
    return np.random.default_rng(0)


# -------------------------------------------------------------------------------------------------------- CIFAR-10-C


def test_corrupted_images_are_those_of_the_test_set_in_its_order(folder, rng):
    tests = made_sets.cifar10(folder, rng)
    made_sets.cifar10_c(folder, tests)
    clean, corrupted = CIFAR10.load(), CIFAR10_C.load()
    assert set(corrupted) == {"y", *KINDS}
    assert len(KINDS) == 15
    for severity, left in enumerate((0.9, 0.75, 0.6, 0.45, 0.3)):
        rows = slice(10_000 * severity, 10_000 * severity + len(clean["test_y"]))
        assert np.array_equal(corrupted["y"][rows], clean["test_y"])
        images = corrupted["frost"][rows].transpose(0, 3, 1, 2) / 255
        assert np.abs(images - left * clean["test_x"]).max() < 1 / 255
    assert isinstance(corrupted["fog"], np.memmap)


def test_a_kind_that_is_not_there_is_named(folder, rng):
    place = made_sets.cifar10_c(folder, made_sets.cifar10(folder, rng))
    (place / "snow.npy").unlink()
    with pytest.raises(DataMissing, match=r"snow.npy is not there. .*CIFAR-10-C.tar"):
        CIFAR10_C.load()


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((10, 32, 32, 3), np.uint8), r"uint8 \[10, 32, 32, 3\], not bytes \[50000, 32, 32, 3\]"),
        (np.zeros((10, 3), np.float32), r"float32 \[10, 3\], not bytes"),
    ],
)
def test_a_kind_of_another_shape_is_damaged(folder, rng, array, message):
    place = made_sets.cifar10_c(folder, made_sets.cifar10(folder, rng))
    np.save(place / "fog.npy", array)
    with pytest.raises(DataDamaged, match=r"fog.npy is damaged \(it holds " + message):
        CIFAR10_C.load()


def test_a_file_that_was_cut_and_labels_that_are_none(folder, rng):
    place = made_sets.cifar10_c(folder, made_sets.cifar10(folder, rng))
    whole = (place / "labels.npy").read_bytes()
    (place / "labels.npy").write_bytes(whole[:1000])
    with pytest.raises(DataDamaged, match=r"labels.npy is damaged"):
        CIFAR10_C.load()
    np.save(place / "labels.npy", np.arange(50_000).astype(np.uint8) % 9)
    with pytest.raises(DataDamaged, match="not those of the same images at each severity"):
        CIFAR10_C.load()
    np.save(place / "labels.npy", np.full(50_000, 10, np.uint8))
    with pytest.raises(DataDamaged, match="its labels go up to 10, not to 9"):
        CIFAR10_C.load()


# --------------------------------------------------------------------------------------------------------- CIFAR-10H


def test_peoples_shares(folder, rng):
    path = made_sets.cifar10h(folder, rng)
    shares = CIFAR10H.load()["shares"]
    assert shares.shape == (10_000, 10)
    assert np.array_equal(shares, np.load(path))
    for wrong in (2 * shares, np.where(shares == shares.max(), np.nan, shares)):
        np.save(path, wrong)
        with pytest.raises(DataDamaged, match="its rows are not shares that sum to 1"):
            CIFAR10H.load()
    np.save(path, np.round(50 * shares).astype(int))
    with pytest.raises(DataDamaged, match=r"it holds int64 \[10000, 10\], not floats"):
        CIFAR10H.load()
    path.write_bytes(b"no array")
    with pytest.raises(DataDamaged, match="is damaged"):
        CIFAR10H.load()


# ----------------------------------------------------------------------------------------------------------- OpenOOD


def as_openood_does(image):
    """Resize(32) and CenterCrop(32) of torchvision, on Pillow's images, written out."""
    width, height = image.size
    short = min(width, height)
    image = image.convert("RGB").resize((32 * width // short, 32 * height // short), Image.Resampling.BILINEAR)
    left, upper = (round((side - 32) / 2) for side in image.size)
    return np.asarray(image.crop((left, upper, left + 32, upper + 32))).transpose(2, 0, 1)


def test_images_are_brought_to_size_as_openood_does(folder, rng):
    place = made_sets.openood_cifar10(folder, rng)
    sets = OPENOOD_CIFAR10.load()
    assert list(sets) == ["cifar100", "tin", "mnist", "svhn", "texture", "places365"]
    for name, images in sets.items():
        assert images.shape == (6, 3, 32, 32)
        assert images.dtype == np.uint8
        for path, image in zip(openood.paths(name), images, strict=True):
            assert place in path.parents
            assert np.abs(image.astype(int) - as_openood_does(Image.open(path))).max() <= 1  # rounded once, not twice
    first = np.asarray(Image.open(openood.paths("svhn")[0])).transpose(2, 0, 1)
    assert np.array_equal(sets["svhn"][0], first)


def test_what_is_not_there_or_no_image_is_named(folder, rng):
    with pytest.raises(DataMissing, match=r"test_cifar100.txt is not there. .*benchmark_imglist"):
        OPENOOD_CIFAR10.load()
    made_sets.openood_cifar10(folder, rng)
    before = OPENOOD_CIFAR10.fingerprint()
    broken = openood.paths("tin")[2]
    whole = broken.read_bytes()
    broken.write_bytes(whole[:200])
    assert OPENOOD_CIFAR10.fingerprint() != before
    with pytest.raises(DataDamaged, match=r"2.png was not read"):
        OPENOOD_CIFAR10.load()
    broken.unlink()
    with pytest.raises(DataMissing, match=r"2.png is not there"):
        OPENOOD_CIFAR10.load()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("", "it is empty"),
        ("svhn/a.png\n", "image 1 of it is not a path and a label"),
        ("../a.png 1\n", "image 1 of it"),
    ],
)
def test_a_list_that_is_none(folder, rng, lines, message):
    made_sets.openood_cifar10(folder, rng)
    openood.listed("svhn").write_text(lines)
    with pytest.raises(DataDamaged, match=message):
        OPENOOD_CIFAR10.load()
