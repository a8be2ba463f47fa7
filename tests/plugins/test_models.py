"""The reference models: what they are trained to, and that one seed gives one file."""

import pytest
import torch

from dlbench import Context
from dlbench_plugins import models as plugin

SHARED = [plugin.DIGITS_MLP, plugin.DIGITS_CNN, plugin.DIGITS_CNN_PGD, plugin.DIGITS_MLP_OVERCONFIDENT]


@pytest.mark.parametrize("model", SHARED, ids=lambda model: model.name)
def test_networks_take_digits_and_have_registered_names(model):
    from dlbench import models

    assert models.get(model.name) is model
    assert model.build()(torch.rand(2, 1, 8, 8)).shape == (2, 10)


@pytest.mark.slow
def test_what_they_are_trained_to(tmp_path, monkeypatch):
    monkeypatch.setenv("DLBENCH_CACHE", str(tmp_path))
    made = {model.name: model.train()["measured"] for model in SHARED}
    for name in ("digits_mlp", "digits_cnn", "digits_cnn_pgd"):
        assert made[name]["accuracy"] > 0.9 and made[name]["ece"] < 0.1, made
    sure = made["digits_mlp_overconfident"]
    assert sure["confidence"] - sure["accuracy"] > 0.1 and sure["ece"] > 0.1, made
    first = plugin.DIGITS_CNN.path.read_bytes()
    plugin.DIGITS_CNN.train()
    assert plugin.DIGITS_CNN.path.read_bytes() == first


def test_wrong_labels_are_a_third(monkeypatch):
    seen = {}

    def train(net, x, y, recipe, context, *, perturb=None):
        seen.update(x=x, y=y, recipe=recipe, perturb=perturb)
        net.eval()

    monkeypatch.setattr("dlbench_plugins.robustness.classifiers.fit", train)
    context = Context(seed=0)
    measured = plugin.DIGITS_MLP_OVERCONFIDENT.fit(plugin.build("mlp"), context)
    clean = torch.from_numpy(context.data("digits_split")["train_y"])
    assert measured.keys() == {"accuracy", "confidence", "ece"}
    assert seen["recipe"].weight_decay == 0 and seen["perturb"] is None
    assert float((seen["y"] != clean).double().mean()) == pytest.approx(0.9 / 3, abs=0.05)
    plugin.DIGITS_CNN_PGD.fit(plugin.build("cnn"), context)
    assert torch.equal(seen["y"], clean) and seen["perturb"] is not None
