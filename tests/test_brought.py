"""Models that users bring by import path: what is taken, and what is told of those that are not."""

import sys

import pytest
import torch

from dlbench import Context
from dlbench.brought import brought
from dlbench.errors import ParameterError
from dlbench.models.spec import is_path

SHAPE = torch.Size([1, 8, 8])
SOURCE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, classes=10):
        super().__init__()
        self.last = nn.Linear(64, classes)

    def forward(self, x):
        return self.last(x.flatten(1))

def build():
    return Net()

def seven():
    return Net(7)

def pair():
    net = Net()
    net.forward = lambda x: (x, x)
    return net

def coloured():
    return nn.Conv2d(3, 10, 8)

def text():
    return "a network"

def needs(width):
    return Net()

number = 3
"""


def context(seed=0):
    return Context(seed=seed)


@pytest.fixture
def mynets(tmp_path, monkeypatch):
    """A user's module, importable as ``mynets``."""
    (tmp_path / "mynets.py").write_text(SOURCE)
    (tmp_path / "broken.py").write_text("import torch\nraise RuntimeError('no weights\\nhere')\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("mynets", None)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.b:c", True), ("a:c", True), ("a.b", False), ("a/b.py:c", False), ("a:", False), (":c", False), ("cnn", False)],
)
def test_what_an_import_path_is(name, expected):
    assert is_path(name) == expected


def test_drawn_weights_depend_on_the_seed_alone(mynets):
    one, again, other = (brought("mynets:build", SHAPE, 10, context(seed)).last.weight for seed in (0, 0, 1))
    assert torch.equal(one, again) and not torch.equal(one, other)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nowhere.nets:build", r"'nowhere.nets' cannot be imported \(ModuleNotFoundError.*PYTHONPATH"),
        ("broken:build", r"cannot be imported \(RuntimeError: no weights\)"),
        ("mynets:bild", "no 'bild'; did you mean 'build'"),
        ("mynets:number", "of type int, which cannot be called; expected a function without arguments"),
        ("mynets:text", "returned str; it must return a torch.nn.Module"),
        ("mynets:needs", "failed .TypeError.*without arguments"),
        ("mynets:seven", r"returned \[2, 7\] for float32 images \[2, 1, 8, 8\].*expected logits \[2, 10\]"),
        ("mynets:pair", r"returned tuple for float32 images"),
        ("mynets:coloured", r"cannot take float32 images \[2, 1, 8, 8\] in \[0, 1\] \(RuntimeError"),
    ],
)
def test_bad_models_are_told_in_one_line(mynets, path, message):
    with pytest.raises(ParameterError, match=message) as caught:
        brought(path, SHAPE, 10, context())
    assert "\n" not in str(caught.value) and repr(path) in str(caught.value)
