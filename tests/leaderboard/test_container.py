"""Folders and zip files of strangers: every broken one is refused by its rule, and nothing is written anywhere."""

import io
import os
import stat
import struct
import tarfile
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
    "name", ["../../x", "/etc/x", "C:\\x", "C:x", "a\\b", "./plan.json", "logs/../x", "environments//x", "logs/./a.txt"]
)
def test_names_that_lead_elsewhere(good, tmp_path, name):
    path = zipped(tmp_path / "a.zip", [*good.items(), (name, b"")])
    before = set(tmp_path.parent.rglob("*"))
    refused(path, "V02")
    assert set(tmp_path.parent.rglob("*")) == before  # nothing was written, here or above


@pytest.mark.parametrize(
    "name",
    [
        "model.safetensors",
        "model.pt",
        "model.pt2",
        "weights.so",
        "code.py",
        "notebook.ipynb",
        "data.npz",
        "config.yaml",
        "PLAN.json.bak",
        "predictions/X.csv",
        "environments/abc.json",
        "logs/con.exe",
    ],
)
def test_kinds_of_files_that_no_bundle_has(good, tmp_path, name):
    refused(zipped(tmp_path / "a.zip", [*good.items(), (name, b"\x80\x04")]), "V04")


def test_twins(good, tmp_path):
    with pytest.warns(UserWarning, match="Duplicate name"):
        path = zipped(tmp_path / "a.zip", [*good.items(), ("plan.json", b"{}")])
    refused(path, "V02", "twice")
    refused(zipped(tmp_path / "b.zip", [*good.items(), ("PLAN.JSON", b"{}")]), "V02", "twice")
    refused(zipped(tmp_path / "c.zip", [*good.items(), ("logs/e\u0301.txt", b"")]), "V02", "normal form")


def test_links(good, submissions, tmp_path):
    entry = zipfile.ZipInfo("logs/a.txt")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    refused(zipped(tmp_path / "a.zip", [*good.items(), (entry, b"/etc/passwd")]), "V02", "link")
    folder = tmp_path / "folder"
    with zipfile.ZipFile(submissions.put(good)) as archive:
        archive.extractall(folder)
    (folder / "logs").mkdir()
    (folder / "logs" / "a.txt").symlink_to("/etc/passwd")
    refused(folder, "V02", "link")
    (folder / "logs" / "a.txt").unlink()
    os.mkfifo(folder / "logs" / "a.txt")  # reading it would wait for ever
    refused(folder, "V02", "regular")


def test_bombs(good, tmp_path, monkeypatch):
    refused(zipped(tmp_path / "a.zip", [*good.items(), ("logs/a.txt", bytes(container.LARGEST + 1))]), "V01", "50 MB")
    refused(zipped(tmp_path / "b.zip", [*good.items(), ("logs/a.txt", bytes(30 * 2**20))]), "V01", "times its size")
    monkeypatch.setattr(container, "MOST_FILES", 20)
    many = [(f"logs/{i}.txt", b"") for i in range(30)]
    refused(zipped(tmp_path / "c.zip", [*good.items(), *many]), "V01", "20 files")
    refused(zipped(tmp_path / "d.zip", [*good.items(), ("a/" * 200 + "x.json", b"")]), "V01", "nested")
    deep = tmp_path / "deep"
    (deep / ("a/" * 100)).mkdir(parents=True)
    refused(deep, "V01", "nested")


def test_a_size_that_lies(good, tmp_path):
    """The table of contents says that a file is small: what comes out of it counts, and its checksum."""
    path = zipped(tmp_path / "a.zip", [*good.items(), ("logs/a.txt", bytes(2**20))])
    data = bytearray(path.read_bytes())
    at = data.rfind(b"PK\x01\x02")
    data[at + 24 : at + 28] = struct.pack("<I", 3)  # its size, unpacked
    path.write_bytes(data)
    refused(path, "V01", "damaged")


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


def test_other_archives(tmp_path):
    path = tmp_path / "a.zip"
    with tarfile.open(path, "w") as archive:
        entry = tarfile.TarInfo("plan.json")
        entry.type, entry.linkname = tarfile.LNKTYPE, "/etc/passwd"
        archive.addfile(entry, io.BytesIO())
    refused(path, "V04", "neither a folder nor a zip")
    path.write_bytes(b"\x80\x04\x95")
    refused(path, "V04")
    with pytest.raises(OSError, match="there is no"):
        container.read(tmp_path / "absent.zip")


def test_the_manifest(good, tmp_path):
    def spoiled(change):
        return zipped(tmp_path / "a.zip", list(change(dict(good)).items()))

    refused(spoiled(lambda files: {k: v for k, v in files.items() if k != "manifest.json"}), "V03", "no manifest")
    refused(spoiled(lambda files: files | {"plan.json": b"{}"}), "V03", "digest differs")
    refused(spoiled(lambda files: files | {"logs/a.txt": b""}), "V03", "not listed")
    refused(spoiled(lambda files: {k: v for k, v in files.items() if k != "claim.json"}), "V03", "not there")
    refused(spoiled(lambda files: files | {"manifest.json": b'{"files": 3}'}), "V03", "expected a list")
    refused(spoiled(lambda files: files | {"manifest.json": b"[NaN]"}), "V05", "NaN")
    without = {k: v for k, v in good.items() if k not in ("claim.json", "manifest.json")}
    refused(spoiled(lambda _: without | {"manifest.json": container.manifest(without)}), "V03", "no claim.json")
