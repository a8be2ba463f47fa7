"""Models by name: who may be one, what is told of those that may not, and those that are trained here."""

import dataclasses
import json
import sys

import pytest
import torch
from torch import nn

from dlbench import Context, models, plugins
from dlbench.brought import brought, check_names
from dlbench.errors import ParameterError, PluginError
from dlbench.models import safetensors
from dlbench.models.trained import HEADER
from dlbench.runner.describe import describe
from dlbench.runner.plan import trial_key

SHAPE = torch.Size([1, 8, 8])
SOURCE = '''
from functools import partial

from torch import nn

from dlbench.models import Model
from dlbench.models.trained import Trained


def net():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


def plain():
    """A function with an attribute.

    More of it.
    """
    return net()


plain.dataset = "digits_split"
MADE = Model(build=net, dataset="digits_split", about="made")
NAMELESS = net
NUMBER = 3


def fit(net, context):
    return {"accuracy": 0.5}


def fails(net, context):
    raise RuntimeError("no luck")


kept = partial(Trained, build=net, dataset="digits_split", fit=fit)
KEPT = kept(name="kept")
MISNAMED = kept(name="other")
FAILS = kept(name="fails", fit=fails)
'''
VALUES = {
    "plain": "mymodels:plain",
    "made": "mymodels:MADE",
    "nameless": "mymodels:NAMELESS",
    "number": "mymodels:NUMBER",
    "kept": "mymodels:KEPT",
    "misnamed": "mymodels:MISNAMED",
    "fails": "mymodels:FAILS",
    "gone": "nowhere:MODEL",
}


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder with a distribution that registers models."""
    site = tmp_path / "site"
    (site / "mymodels-1.0.dist-info").mkdir(parents=True)
    (site / "mymodels-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: mymodels\nVersion: 1.0\n")
    lines = [f"{name} = {value}" for name, value in VALUES.items()]
    (site / "mymodels-1.0.dist-info" / "entry_points.txt").write_text("\n".join(["[dlbench.models]", *lines]) + "\n")
    (site / "mymodels.py").write_text(SOURCE)
    monkeypatch.setenv("DLBENCH_CACHE", str(tmp_path / "cache"))
    return site


@pytest.fixture
def registered(site, monkeypatch):
    """The same in this process."""
    monkeypatch.syspath_prepend(site)
    plugins._registered.cache_clear()
    yield
    plugins._registered.cache_clear()
    sys.modules.pop("mymodels", None)


# -------------------------------------------------------------------------------------------------------------- names


def test_a_model_or_a_function_with_a_data_set(registered):
    assert isinstance(models.get("made")(), nn.Module)
    plain = models.get("plain")
    assert (plain.dataset, plain.about) == ("digits_split", "A function with an attribute.")
    assert {"made", "gone", "digits_mlp"} <= set(models.names())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nameless", "object of type function; expected a factory without arguments that has the name of its data set"),
        ("number", "of type int"),
        ("misnamed", "calls itself 'other'"),
        ("gone", "'nowhere' is not installed"),
        ("mad", "did you mean 'made'"),
        ("kept", "model 'kept' is not trained yet; make it with: dlbench models train kept"),
    ],
)
def test_what_cannot_be_one_is_told_in_one_line(registered, name, message):
    with pytest.raises(PluginError, match=message) as caught:
        models.get(name)()
    assert "\n" not in str(caught.value)


def test_audits_take_names_where_they_take_import_paths(registered):
    check_names(["cnn", "made", "mymodels:net", "gone"], ["cnn"])
    with pytest.raises(ParameterError, match=r"'mode' is neither a reference \(cnn\) nor a registered model .*made"):
        check_names(["mode"], ["cnn"])
    one, again = (brought("made", SHAPE, 10, Context(seed=3))[1].weight for _ in range(2))
    assert torch.equal(one, again)
    with pytest.raises(ParameterError, match=r"'made' returned \[2, 10\].*expected logits \[2, 7\]"):
        brought("made", SHAPE, 7, Context(seed=0))
    with pytest.raises(PluginError, match="dlbench models train kept"):
        brought("kept", SHAPE, 10, Context(seed=0))


def test_what_a_trial_key_knows_of_a_model(registered):
    assert models.fingerprint("made", ["digits_split"]) == plugins.code_digest("mymodels")
    assert models.fingerprint("mymodels.part:net", ["cifar10"]) == plugins.code_digest("mymodels")
    with pytest.raises(ParameterError, match=r"'made' was made for the data set 'digits_split', and 'digits' is"):
        models.fingerprint("made", ["digits"])
    with pytest.raises(PluginError, match="not trained yet"):
        models.fingerprint("kept", ["digits_split"])
    models.get("kept").train()
    assert len(models.fingerprint("kept", ["digits_split"])) == 128  # of code, and of weights


def test_trained_again_to_other_weights_it_is_measured_again(registered):
    plugin = plugins.find(plugins.EXPERIMENTS, "robust_accuracy")

    def key():
        overrides = {"models": "cnn,kept", "dataset": "digits_split"}
        told = describe({"plugin": plugin, "preset": "quick", "overrides": overrides}, print)
        assert told["models"].keys() == {"kept"}
        return trial_key("robust_accuracy", told, 0, "cpu")

    kept = models.get("kept")
    kept.train()
    first = key()
    assert key() == first
    dataclasses.replace(kept, seed=1).train()
    assert key() != first


# ------------------------------------------------------------------------------------------------------------ trained


def test_training_is_repeatable_and_tells_how_it_was_made(registered):
    model = models.get("kept")
    made = model.train()
    content = model.path.read_bytes()
    assert made == model.made() and made["measured"] == {"accuracy": 0.5}
    assert made["command"] == "dlbench models train kept" and made["seed"] == 0
    assert made["code"].keys() == {"dlbench", "mymodels"} and made["code"]["mymodels"]["version"] == "1.0"
    assert made["data"].keys() == {"digits_split"} and made["software"].keys() == {"torch", "numpy", "python"}
    model.train()
    assert model.path.read_bytes() == content
    net = model()
    assert not net.training and torch.equal(net[1].weight, model()[1].weight)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "no whole safetensors file"),
        (lambda path: safetensors.write(path, {}, {}), "does not tell how it was made"),
        (lambda path: safetensors.write(path, {}, {HEADER: "[]"}), "holds version None of None"),
        (
            lambda path: safetensors.write(path, {}, {HEADER: json.dumps({"model": "kept", "version": 1})}),
            r"Missing key\(s\) in state_dict",
        ),
        (
            lambda path: safetensors.write(path, {}, {HEADER: json.dumps({"model": "kept", "version": 2})}),
            "is at version 1, and .* holds version 2 of 'kept'",
        ),
    ],
)
def test_files_that_are_not_to_be_trusted(registered, change, message):
    model = models.get("kept")
    model.train()
    change(model.path)
    with pytest.raises(PluginError, match=message) as caught:
        model()
    assert str(caught.value).endswith("make it with: dlbench models train kept") and "\n" not in str(caught.value)


def test_a_cache_that_cannot_be_written(registered, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DLBENCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(PluginError, match="set DLBENCH_CACHE to a folder that can be written"):
        models.get("kept").train()


# ------------------------------------------------------------------------------------------------------- command line


def test_the_command_line(dlbench_here, registered, site, monkeypatch):
    def said(*arguments):
        done = dlbench_here(*arguments)
        return done.status, done.out + done.err

    cache = site.parent / "cache"
    status, text = said("models", "train", "kept")
    assert status == 0 and "kept: trained; accuracy 0.500" in text and str(cache / "models") in text, text
    assert "left out: model 'nameless'" in text
    assert "kept: is there" in said("models", "train", "kept")[1]
    status, text = said("models", "train", "made")
    assert status == 2 and "model 'made' is not one that dlbench trains" in text
    status, text = said("models", "train", "fails")
    assert status == 2 and "training it raised RuntimeError: no luck" in text
    assert "no model 'mad'; did you mean 'made'" in said("models", "train", "mad")[1]
    assert said("models")[0] == 2 and "Usage" not in said("models")[1]

    shown = json.loads(said("show", "kept", "--json")[1])
    assert shown["kind"] == "models" and shown["made"]["measured"] == {"accuracy": 0.5}
    status, text = said("show", "kept")
    assert status == 0 and "data set: digits_split" in text and "accuracy: 0.5" in text
    assert "is not trained yet; make it with" in said("show", "fails")[1]
    assert "every third image tests" in said("show", "digits_split")[1]
    monkeypatch.setenv("DLBENCH_DATA", "")
    assert "set it" in said("show", "mnist")[1]
    status, text = said("show", "nobody")
    assert status == 2 and "there is no experiment, model or data set 'nobody'" in text


def test_an_audit_is_told_before_it_begins(dlbench, site):
    audit = ["run", "robust_accuracy", "--out", "o", "--set"]
    wrong_data = dlbench(*audit, "robust_accuracy.models=made", plugins=site)
    assert wrong_data.status == 2 and "made for the data set 'digits_split'" in wrong_data.err
    untrained = dlbench(
        *audit, "robust_accuracy.models=kept", "--set", "robust_accuracy.dataset=digits_split", plugins=site
    )
    assert untrained.status == 2 and untrained.err.strip().endswith("make it with: dlbench models train kept")
    assert not (site.parent / "o").exists()
