"""A model in one line of text: what may stand behind its import path."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from dlbench import Context
from dlbench.brought import module_from
from dlbench.errors import ParameterError
from dlbench.models import safetensors
from dlbench.models.spec import Spec, is_path, label, parse
from tests.audit.conftest import Bright

finite = st.floats(allow_nan=False, allow_infinity=False)
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(st.lists(st.tuples(finite, finite.filter(lambda x: x > 0)), max_size=4), text, text)
def test_a_spec_comes_back_from_its_text(channels, weights, name):
    mean, std = ([pair[k] for pair in channels] for k in (0, 1))
    spec = Spec("a.b:c", weights, tuple(mean), tuple(std), name)
    assert parse(str(spec)) == spec and is_path(str(spec))


def test_what_it_is_called():
    assert label("cnn") == "cnn" and label("a.b:c") == "a.b:c"
    assert label("a.b:c?weights=/x/y.safetensors") == "a.b:c (y.safetensors)"
    assert label("a.b:c?weights=/x/y.safetensors&name=mine") == "mine"


@pytest.mark.parametrize(
    ("given_text", "message"),
    [
        ("a.b:c?mena=1", "no option 'mena'; did you mean 'mean'"),
        ("a.b:c?mean=1", "1 means and 0 standard deviations"),
        ("a.b:c?mean=1&std=0", "expected numbers above 0"),
        ("a.b:c?mean=x&std=1", "mean is 'x'; expected a number for each channel"),
        ("a.b:c?mean=nan&std=1", "expected a number"),
        ("a.b:c?name=", "without a value"),
        ("a.b:c?name=a&name=b", "2 times"),
        ("a b:c", "no import path"),
    ],
)
def test_what_cannot_be_one(given_text, message):
    with pytest.raises(ParameterError, match=message):
        parse(given_text)


def test_weights_and_normalisation_reach_the_model(tmp_path):
    file = tmp_path / "w.safetensors"
    safetensors.write(file, {"sure": torch.tensor(7.0)}, {})
    spec = f"tests.audit.toys:build?weights={file}&mean=0.5,0.25&std=2,4"
    net = module_from(spec, "models", Context(seed=0))
    x = torch.rand(3, 2, 4, 4)
    normal = (x - torch.tensor([0.5, 0.25]).reshape(1, 2, 1, 1)) / torch.tensor([2.0, 4.0]).reshape(1, 2, 1, 1)
    assert torch.equal(net(x), Bright(7.0)(normal))
    digest = parse(spec).digest()
    safetensors.write(file, {"sure": torch.tensor(8.0)}, {})
    assert parse(spec).digest() != digest and parse("tests.audit.toys:build").digest() == ""


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("none.safetensors", "No such file"),
        ("net.pt", "net.pt is no safetensors file, which alone cannot run anything"),
        ("torn.safetensors", "is no whole safetensors file"),
        ("other.safetensors", "does not fit the model"),
    ],
)
def test_weights_that_cannot_be_used(tmp_path, file, message):
    (tmp_path / "net.pt").write_bytes(b"\x80\x04")
    (tmp_path / "torn.safetensors").write_bytes(b"\xff" * 9)
    safetensors.write(tmp_path / "other.safetensors", nn.Linear(2, 2).state_dict(), {})
    with pytest.raises(ParameterError, match=message) as caught:
        module_from(f"tests.audit.toys:build?weights={tmp_path / file}", "models", Context(seed=0))
    assert "\n" not in str(caught.value)
