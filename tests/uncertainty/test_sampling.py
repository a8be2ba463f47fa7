"""Dropout at test time, ensembles, and what their entropy is made of."""

import numpy as np
import pytest
import torch
from torch import nn

from dlbench import uncertainty as u


def net():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [nn.Linear(3, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 4)]
        return nn.Sequential(*layers)


X = torch.linspace(-1, 1, 15).reshape(5, 3)


def test_dropout_is_on_and_all_else_is_off():
    model = net().train()
    model[3].eval()
    statistics = model[1].running_mean.clone()
    samples = u.mc_dropout(model, X, samples=7)
    assert samples.shape == (7, 5, 4)
    assert torch.allclose(samples.sum(-1), torch.ones(7, 5))
    assert len(samples[:, 0, 0].unique()) > 1
    assert torch.equal(model[1].running_mean, statistics)
    assert [m.training for m in model] == [True, True, True, False, True]  # as it was


def test_the_mean_of_many_samples_is_near_the_prediction_without_dropout():
    last = nn.Sequential(nn.Dropout(0.1), nn.Linear(3, 2))
    mean = u.mc_dropout(last, X, samples=2000).mean(0)
    assert torch.allclose(mean, u.ensemble([last], X)[0], atol=0.02)


def test_samples_depend_on_the_seed_alone():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = u.mc_dropout(net(), X, 3, seed=5)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(1)
    assert torch.equal(u.mc_dropout(net(), X, 3, seed=5), first)
    assert not torch.equal(u.mc_dropout(net(), X, 3, seed=6), first)


def test_modes_come_back_after_an_error():
    model = net().train()
    with pytest.raises(RuntimeError):
        u.mc_dropout(model, X[:, :2])
    assert all(m.training for m in model)


def test_an_ensemble_is_its_members():
    models = [net().train(), net().eval()]
    found = u.ensemble(models, X)
    assert found.shape == (2, 5, 4)
    assert torch.equal(found[0], found[1])  # of the same weights, and both evaluated
    assert torch.allclose(found[0], net().eval()(X).softmax(1))
    assert models[0].training
    assert not models[1].training


def test_many_inputs_are_taken_in_parts(monkeypatch):
    whole = u.ensemble([net()], X)
    monkeypatch.setattr("dlbench.uncertainty.sampling.BATCH", 2)
    assert torch.allclose(u.ensemble([net()], X), whole)


def test_the_two_parts_make_the_whole():
    members = u.mc_dropout(net(), X, 9)
    total, aleatoric, epistemic = u.decompose(members)
    assert total == pytest.approx(aleatoric + epistemic)
    assert total == pytest.approx(u.predictive_entropy(members.mean(0)), abs=1e-6)
    agreed = u.decompose(np.full((3, 2, 4), 0.25))
    assert agreed.aleatoric == pytest.approx(np.log(4))
    assert agreed.epistemic == pytest.approx(0)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="no dropout layer with a rate above 0"):
        u.mc_dropout(nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.0)), X)
    with pytest.raises(ValueError, match="samples is 0"):
        u.mc_dropout(net(), X, 0)
    with pytest.raises(ValueError, match="none was given"):
        u.ensemble([], X)
    with pytest.raises(ValueError, match=r"returned \[5, 3, 1\] for 5 inputs"):
        u.ensemble([nn.Unflatten(1, (3, 1))], X)
