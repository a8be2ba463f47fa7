"""tuning: settings trained together against torch's own optimizers alone, races and expectations by hand, Optuna."""

import builtins
import copy
import math
from itertools import combinations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dlbench.errors import ParameterError
from dlbench_plugins.limits import tuning
from dlbench_plugins.limits.tuning import (
    Rung,
    Settings,
    Training,
    by_asha,
    by_tpe,
    drawn,
    expected_best,
    incumbents,
    race,
    rungs,
    spent,
)

SETTINGS = [
    Settings("adam", 1e-2, 0.9, 0.0, False),
    Settings("adam", 3e-3, 0.6, 0.05, True),
    Settings("sgd", 0.1, 0.9, 0.01, False),
    Settings("sgd", 0.3, 0.5, 0.0, True),
]


def problem(steps=8, seed=0):
    """A linear layer to train, examples, and batches that all share."""
    torch.manual_seed(seed)
    x, y = torch.randn(60, 5), torch.randint(3, (60,))
    return nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)), x, y, torch.randint(60, (steps, 10))


def alone(net, settings, x, y, rows):
    """The same with torch's optimizers; decay is decoupled, as in AdamW."""
    net = copy.deepcopy(net)
    if settings.optimizer == "adam":
        betas = (settings.momentum, 0.999)
        optimizer = torch.optim.AdamW(net.parameters(), settings.rate, betas, weight_decay=settings.decay)
    else:
        optimizer = torch.optim.SGD(net.parameters(), settings.rate, settings.momentum)
    for step, chosen in enumerate(rows):
        rate = settings.rate * (0.5 + 0.5 * math.cos(math.pi * step / len(rows)) if settings.falls else 1)
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        F.cross_entropy(net(x[chosen]), y[chosen]).backward()
        if settings.optimizer == "sgd":
            with torch.no_grad():
                for p in net.parameters():
                    p.mul_(1 - rate * settings.decay)
        optimizer.step()
    return net


def alike(a, b):
    return all(torch.allclose(p, q, atol=1e-5) for p, q in zip(a.parameters(), b.parameters(), strict=True))


# ------------------------------------------------------------------------------------------------------------ training


@pytest.mark.parametrize("k", range(len(SETTINGS)))
def test_each_is_trained_as_torch_would_alone(k):
    net, x, y, rows = problem()
    together = Training([net] * 4, SETTINGS, x, y, rows).to(8)
    assert alike(together.nets[k], alone(net, SETTINGS[k], x, y, rows))


def test_stopping_and_thinning_out_change_nothing():
    net, x, y, rows = problem()
    whole = Training([net] * 4, SETTINGS, x, y, rows).to(8)
    thinned = Training([net] * 4, SETTINGS, x, y, rows).to(3).only([3, 1]).to(5).to(8)
    assert thinned.settings == [SETTINGS[3], SETTINGS[1]]
    assert alike(thinned.nets[0], whole.nets[3]) and alike(thinned.nets[1], whole.nets[1])


def test_networks_with_batches_of_their_own():
    net, x, y, rows = problem()
    own = torch.stack([rows, rows.flip(0)], 1)
    both = Training([net] * 2, SETTINGS[:1] * 2, x, y, own).to(8)
    assert alike(both.nets[0], alone(net, SETTINGS[0], x, y, rows))
    assert alike(both.nets[1], alone(net, SETTINGS[0], x, y, rows.flip(0)))
    part = Training([net] * 2, SETTINGS[:1] * 2, x, y, own).to(4).only([1]).to(8)
    assert alike(part.nets[0], both.nets[1])


def test_settings_are_drawn_from_the_space():
    rng = np.random.default_rng(0)
    many = [drawn(rng) for _ in range(500)]
    assert {s.optimizer for s in many} == {"adam", "sgd"} and {s.falls for s in many} == {True, False}
    for name, low, high in (("rate", 1e-4, 1), ("momentum", 0.5, 0.99), ("decay", 1e-5, 0.1)):
        values = [getattr(s, name) for s in many]
        assert low <= min(values) < max(values) <= high
    assert np.median([s.rate for s in many]) == pytest.approx(1e-2, rel=0.5)


# ------------------------------------------------------------------------------------------------------------ searches


def test_rungs_by_hand():
    """Nine settings to 20 steps, three on to 60, one on to 180: 180 + 120 + 120 = 420; a tenth would cost 20 more."""
    assert rungs(439, 180) == [Rung(20, 9), Rung(60, 3), Rung(180, 1)]
    assert rungs(440, 180)[0] == Rung(20, 10)
    levels = rungs(3600, 180)
    assert spent(levels) <= 3600 and spent(levels[:1]) == 20 * levels[0].count
    assert rungs(3600, 180, levels=1) == [Rung(180, 20)]
    with pytest.raises(ValueError, match="too small for one training of 180"):
        rungs(179, 180)


def test_a_race_by_hand():
    """Judged by their numbers: of settings 2 to 7, which are halved, the highest get on; 0 to 2 are there anyway."""
    net, x, y, rows = problem(9)
    settings = [Settings("sgd", 0.01 * (k + 1), 0.5, 0.0, False) for k in range(8)]
    training = Training([net] * 8, settings, x, y, rows)
    marks = {0.01 * (k + 1): mark for k, mark in enumerate([9, 9, 5, 1, 7, 3, 6, 2])}
    laps = []
    seen = iter([[0, 1, 2, 3, 4, 5, 6, 7], [0, 1, 2, 4, 6], [0, 1, 2, 4]])

    def judge(nets):
        return np.array([marks[settings[k].rate] for k in next(seen)])

    for lap in race(training, [Rung(1, 6), Rung(3, 2), Rung(9, 1)], judge, always=3):
        laps.append((lap.training.step, lap.alive, lap.members))
        assert [s.rate for s in lap.training.settings] == [settings[k].rate for k in lap.alive]
    assert laps == [
        (1, [0, 1, 2, 3, 4, 5, 6, 7], [4, 6, 2, 5, 7, 3]), (3, [0, 1, 2, 4, 6], [4, 6]), (9, [0, 1, 2, 4], [4])
    ]  # fmt: skip


def test_expected_best_is_the_mean_over_all_draws():
    rng = np.random.default_rng(0)
    validation, test = rng.random(6), rng.random(6)
    validation[4] = validation[1]  # a tie, which the first wins
    for k in range(1, 7):
        draws = [test[max(chosen, key=lambda i: (validation[i], -i))] for chosen in combinations(range(6), k)]
        assert expected_best(validation, test, k) == pytest.approx(np.mean(draws))
    with pytest.raises(ValueError, match="expected 1 to 6"):
        expected_best(validation, test, 7)


def test_incumbents_by_hand():
    assert incumbents([0.2, 0.5, 0.5, 0.1, 0.9]).tolist() == [0, 1, 1, 1, 4]


# -------------------------------------------------------------------------------------------------------------- Optuna


def judge_of(x, y):
    def judge(nets):
        with torch.no_grad():
            right = (nets(x).argmax(2) == y).double().mean(1).numpy()
        return right, right

    return judge


def test_without_optuna_one_line_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "optuna":
            raise ImportError("No module named 'optuna'")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ParameterError, match=r"needs Optuna .*dlbench\[automl\]"):
        by_tpe(None, None, trials=2, steps=3, seed=0)


def test_tpe_keeps_to_its_budget_and_repeats_itself():
    pytest.importorskip("optuna")
    net, x, y, rows = problem()

    def run(settings):
        return Training([net] * len(settings), settings, x, y, rows)

    found, again = (by_tpe(run, judge_of(x, y), trials=10, steps=8, seed=3) for _ in range(2))
    assert [one.spent for one in found] == [8 * k for k in range(1, 11)]
    assert found == again and len({one.settings for one in found}) == 10


def test_asha_stops_most_and_counts_their_steps():
    pytest.importorskip("optuna")
    net, x, y, rows = problem(9)
    begun = []

    def run(settings):
        begun.extend(settings)
        return Training([net] * len(settings), settings, x, y, rows)

    levels = [Rung(1, 9), Rung(3, 3), Rung(9, 1)]
    found = by_asha(run, judge_of(x, y), levels=levels, budget=120, seed=0, together=6)
    assert 0 < len(found) < len(begun)
    assert len(begun) <= found[-1].spent <= 9 * len(begun)
    assert {one.settings for one in found} <= set(begun)


def test_the_library_s_defaults_are_the_library_s():
    """What the experiment calls defaults is what torch.optim sets."""
    from dlbench_plugins.limits.expert_tuning import DEFAULT_SGD, DEFAULTS, LIBRARY

    layer = nn.Linear(1, 1)
    adam, sgd = torch.optim.Adam(layer.parameters()).defaults, torch.optim.SGD(layer.parameters()).defaults
    assert LIBRARY[DEFAULTS] == Settings("adam", adam["lr"], adam["betas"][0], adam["weight_decay"], False)
    assert LIBRARY[DEFAULT_SGD] == Settings("sgd", sgd["lr"], sgd["momentum"], sgd["weight_decay"], False)
    assert adam["betas"][1] == 0.999 and tuning.OPTIMIZERS == ("adam", "sgd")
