"""Fingerprints: the same whoever reads the files, and remembered where that is worth it."""

import hashlib
import os

import pytest

from dlbench.data import fingerprints
from dlbench.errors import DataDamaged


@pytest.fixture
def paths(tmp_path, monkeypatch):
    monkeypatch.setenv("DLBENCH_CACHE", str(tmp_path / "cache"))
    found = [tmp_path / name for name in ("b", "a")]
    for path in found:
        path.write_text(f"content of {path.name}")
        os.utime(path, (1, 1))
    return found


def test_it_is_the_digest_of_names_and_contents(paths):
    digest = hashlib.sha256()
    for name in ("b", "a"):
        digest.update(name.encode() + b"\0" + hashlib.sha256(f"content of {name}".encode()).digest())
    assert fingerprints.of_files(paths) == digest.hexdigest()
    assert fingerprints.of_files(paths, paths[0].parent) == digest.hexdigest()
    assert fingerprints.of_files(paths, paths[0].parent.parent) != digest.hexdigest()


def test_those_of_large_sets_are_remembered(paths, tmp_path, monkeypatch):
    readings = []
    original = fingerprints.contents
    monkeypatch.setattr(fingerprints, "contents", lambda given: readings.append(1) or original(given))
    first = fingerprints.of_files(paths)
    assert not (tmp_path / "cache").exists()
    monkeypatch.setattr(fingerprints, "LARGE", 10)
    assert [fingerprints.of_files(paths) for _ in range(3)] == [first] * 3 and len(readings) == 2
    paths[0].write_text("content of c")
    os.utime(paths[0], (2, 2))
    changed = fingerprints.of_files(paths)
    assert changed != first and len(readings) == 3
    paths[0].write_text("content of d")  # just now: whether it changes again its time might not tell
    assert fingerprints.of_files(paths) == fingerprints.of_files(paths) != changed
    assert len(readings) == 5


def test_without_a_place_to_remember_it_is_read_again(paths, tmp_path, monkeypatch):
    monkeypatch.setattr(fingerprints, "LARGE", 10)
    (tmp_path / "cache").write_text("a file, where a folder should be")
    assert fingerprints.of_files(paths) == fingerprints.of_files(paths)


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(DataDamaged, match="cannot be read: Is a directory"):
        fingerprints.contents([tmp_path])


def test_other_questions_have_other_answers(paths, monkeypatch):
    monkeypatch.setattr(fingerprints, "MANY", 1)
    assert fingerprints.remembered("a", paths, lambda: "one") == "one"
    assert fingerprints.remembered("b", paths, lambda: "two") == "two"
    assert fingerprints.remembered("a", paths, lambda: "three") == "one"
    assert fingerprints.remembered("a", paths[:1], lambda: "four") == "four"


def test_threads_keep_the_order():
    assert fingerprints.in_threads(lambda i: i * i, range(200)) == [i * i for i in range(200)]
