"""Paths with options in the place of a data set's name."""

import re

import numpy as np
import pytest

from dlbench import data
from dlbench.data import own
from dlbench.data.own import spec
from dlbench.errors import DataMissing, ParameterError, PluginError


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("digits", False),
        ("cifar10_c", False),
        ("pictures", False),
        ("./pictures", True),
        ("a/b", True),
        ("/a", True),
        ("t.csv", True),
        ("t.CSV?target=y", True),
        ("t.csv.gz", True),
        ("t.parquet", True),
        ("x.npz", True),
        ("x.pt", True),
        ("x.safetensors", True),
        ("digits?x=a/b.npz", False),  # what stands behind the ? is no part of the path
    ],
)
def test_what_is_a_path(name, path):
    assert own.is_path(name) is path


def test_options_are_those_of_a_url():
    found = spec.parsed("a b/t%20.csv?target=a+b%26c&group=sex,age")
    assert str(found.path) == "a b/t%20.csv"
    assert found.options == {"target": "a b&c", "group": "sex,age"}
    assert found.columns("group") == ["sex", "age"] and found.columns("drop") == []


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("t.csv?target", "not of the form option=value"),
        ("t.csv?target=", "not of the form option=value"),
        ("t.csv?target=a&target=b", "gives 'target' twice"),
        ("t.csv?taget=a", "without an option 'taget'; did you mean 'target'?"),
        ("x.npz?target=a", r"without an option 'target' \(known: layout\)"),
        ("./pictures?target=a", "without an option 'target'.* size"),
        ("?target=a", "names no path"),
    ],
)
def test_options_that_cannot_be(name, reason):
    with pytest.raises(ParameterError, match=reason):
        own.opened(name)


@pytest.mark.parametrize(
    ("given", "size"), [("8x9", (8, 9)), ("8×9", (8, 9)), ("8", None), ("0x8", None), ("8x9x3", None)]
)
def test_a_size_is_height_by_width(given, size):
    asked = spec.parsed(f"./p?size={given}")
    if size is None:
        with pytest.raises(ParameterError, match="expected HxW"):
            asked.size()
    else:
        assert asked.size() == size


def test_absolute_keeps_the_options(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert own.absolute("a/../t.csv?target=y") == f"{tmp_path}/t.csv?target=y"
    assert own.absolute("/a/t.csv") == "/a/t.csv"


def test_a_path_stands_where_a_name_does(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("a.npz", x=np.zeros((3, 2, 2), np.uint8), y=[0, 1, 1])
    assert data.load("a.npz")["y"].tolist() == [0, 1, 1]
    assert data.get("a.npz").files() == [spec.parsed("a.npz").path]


@pytest.mark.parametrize("name", ["./nowhere", "nowhere.npz", "nowhere.csv?target=a", "nowhere.pt"])
def test_what_is_not_there_is_missing(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataMissing, match=r"nowhere.* is not there\. "):
        data.load(name)


def test_a_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(ParameterError, match=r"neither a folder nor a file that ends in \.npz, "):
        own.opened(f"{tmp_path}/notes.txt")


def test_a_folder_that_is_named_as_a_data_set_is_pointed_at(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()
    for name in ("pictures", "pictures?size=8x8"):
        with pytest.raises(PluginError, match=rf"no dataset '{re.escape(name)}'.*say \./{re.escape(name)}$"):
            data.get(name)
