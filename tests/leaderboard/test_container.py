"""Folders and zip files of strangers: every broken one is refused by its rule, and nothing is written anywhere."""

import zipfile

import pytest

from dlbench.leaderboard import container
from dlbench.leaderboard.container import Rejected


@pytest.fixture
def good(submissions):
    return submissions.files()


def zipped(path, entries, **options):
    """A zip file of (name or ZipInfo, bytes)."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries:
            archive.writestr(name, data, **options)
    return path


def refused(path, rule, says="."):
    with pytest.raises(Rejected, match=says) as error:
        container.read(path)
    assert error.value.rule == rule, str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


def test_a_folder_and_a_zip_file_are_the_same(good, submissions, tmp_path):
    path = submissions.put(good)
    folder = tmp_path / "unpacked"
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder)
    assert container.read(path) == container.read(folder)


@pytest.mark.parametrize(
    "name",
    [
        "model.safetensors",
        "model.pt",
        "code.py",
        "notebook.ipynb",
        "PLAN.json.bak",
        "predictions/X.csv",
        "environments/abc.json",
        "logs/con.exe",
    ],
)
def test_kinds_of_files_that_no_bundle_has(good, tmp_path, name):
    refused(zipped(tmp_path / "a.zip", [*good.items(), (name, b"\x80\x04")]), "V04")


def test_damaged_archives(good, submissions, tmp_path):
    data = submissions.put(good).read_bytes()
    cut = tmp_path / "cut.zip"
    for length in (10, len(data) // 2, len(data) - 1):
        cut.write_bytes(data[:length])
        with pytest.raises(Rejected) as error:
            container.read(cut)
        assert error.value.rule in ("V01", "V04")
    encrypted = bytearray(data)
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = encrypted.find(signature)
        encrypted[at + offset] |= 1
    cut.write_bytes(encrypted)
    refused(cut, "V01", "encrypted")
    for at in range(0, len(data), 97):  # a flipped bit anywhere is found, or changes nothing
        spoiled = bytearray(data)
        spoiled[at] ^= 4
        cut.write_bytes(spoiled)
        try:
            assert container.read(cut) == container.read(submissions.put(good))
        except Rejected as error:
            assert "\n" not in str(error)


def test_what_is_not_there(tmp_path):
    with pytest.raises(OSError, match="there is no"):
        container.read(tmp_path / "absent.zip")
