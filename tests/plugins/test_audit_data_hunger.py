"""audit_data_hunger: networks that learn and others that cannot, what is drawn anew, rules on made frames."""

import copy

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from dlbench import Context
from dlbench.audit import Examples, Subject
from dlbench.audit.examples import Training
from dlbench.errors import NotApplicable
from dlbench_plugins.audits import audit_data_hunger as study
from dlbench_plugins.audits.audit_data_hunger import (
    COLORS,
    FOREST,
    ITSELF,
    LOGISTIC,
    SHUFFLED,
    TRUE,
    AuditDataHunger,
    fresh,
    in_turn,
    little_data,
)

from .drawing import drawn


@pytest.fixture(scope="module", autouse=True)
def small_forests():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "TREES", 5)
        yield


def blobs(n, seed=0, spread=1.0):
    """Two classes, a table of four features, the second class as often as the first."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    return (rng.normal(0, spread, (n, 4)) + 2 * y[:, None]).astype(np.float32), y.astype(np.int64)


def examples(training=240, tests=60, **more):
    x, y = blobs(tests, seed=1, **more)
    taught = Training(*blobs(training, **more), "cpu") if training else None
    return Examples(torch.from_numpy(x), torch.from_numpy(y), ("a", "b"), None, taught)


def subject(net):
    return Subject("net", net, Context(seed=0))


def mlp():
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.1), nn.Linear(8, 2))


def measured(net, shown, **changes):
    settings = {"retrain": True, "steps": 30, "rates": (1e-7, 3e-2)} | changes
    rows = list(AuditDataHunger(**settings).measure(subject(net), shown, Context(seed=0)))
    return pd.DataFrame(rows).assign(subject="net")


# -------------------------------------------------------------------------------------------------------- what is told


@pytest.fixture(scope="module")
def run():
    net = mlp().eval()
    before = copy.deepcopy(net.state_dict())
    rows = measured(net, examples())
    assert not net.training and all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    return rows


def test_all_learn_from_ever_more_examples_at_the_rate_that_is_worth_something(run):
    sizes = run[(run.over == "size") & (run.labels == TRUE)]
    assert sorted(sizes.n.unique()) == [24, 30, 60, 120, 240]
    assert (sizes.groupby("n").learner.agg(set) == set(COLORS)).all()
    assert (sizes[sizes.n == 240].accuracy > 0.9).all()  # the best there is has 0.98
    chosen = sizes[sizes.learner == ITSELF].rate
    assert (chosen == 3e-2).all() and sizes[sizes.learner != ITSELF].rate.isna().all()


def test_shuffled_labels_teach_nothing(run):
    row = run[run.labels == SHUFFLED].iloc[0]
    assert (row.n, row.learner) == (240, ITSELF) and abs(row.above_chance) < 0.15 and 0.25 < row.accuracy < 0.75


def test_each_curve_has_an_exponent(run):
    curves = run[run.over == "curve"]
    assert set(curves.learner) == set(COLORS) and curves.exponent.between(-1, 3).all() and (curves.misfit >= 0).all()


def test_a_trial_is_the_same_again():
    one, other = (measured(mlp(), examples(), steps=2, rates=(1e-2,)) for _ in range(2))
    pd.testing.assert_frame_equal(one, other)


def test_most_examples_are_a_limit():
    assert measured(nn.Linear(4, 2), examples(), steps=1, most=200, rates=(1e-2,)).n.max() == 200


class Cut(nn.Module):
    """Has weights, and lets no gradient through."""

    def __init__(self):
        super().__init__()
        self.last = nn.Linear(4, 2)

    def forward(self, x):
        return self.last(x).detach()


class Token(nn.Module):
    """Has a parameter that no reset_parameters knows."""

    def __init__(self):
        super().__init__()
        self.token = nn.Parameter(torch.zeros(4))
        self.last = nn.Linear(4, 2)

    def forward(self, x):
        return self.last(x + self.token)


@pytest.mark.parametrize(
    ("net", "shown", "changes", "why"),
    [
        (nn.Linear(4, 2), examples(), {"retrain": False}, "retraining was not allowed; dlbench audit --retrain"),
        (nn.Linear(4, 2), examples(0), {}, "no training examples"),
        (nn.Linear(4, 2), examples(150), {}, "150 training examples of 2 classes; of at least 200"),
        (Cut(), examples(), {}, "its logits have no gradient"),
        (Token(), examples(), {}, r"the model \(Token\) has weights and no reset_parameters"),
        (nn.Softmax(1), examples(), {}, "no weights to train"),
    ],
)
def test_what_cannot_be_trained_anew_does_not_apply(net, shown, changes, why):
    with pytest.raises(NotApplicable, match=why):
        measured(net, shown, **changes)


def test_fresh_weights_are_others_everywhere_and_the_same_again():
    class Attends(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(4, 1)
            self.norm = nn.BatchNorm1d(4)
            self.last = nn.Linear(4, 2).requires_grad_(False)

    net = Attends()
    with torch.no_grad():
        for value in (*net.parameters(), net.norm.running_mean):
            value.fill_(7.0)
    one, other = (fresh(subject(net), Context(seed=3)) for _ in range(2))
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())
    assert all(not (value == 7.0).any() for value in one.state_dict().values())
    assert all(value.requires_grad for value in one.parameters())
    assert all((value == 7.0).all() for value in net.parameters())


def test_beginnings_have_all_classes_as_often_as_the_whole():
    y = torch.tensor([0] * 90 + [1] * 30 + [2] * 6)
    x, classes = in_turn(y.float()[:, None], y, Context(seed=0))
    assert torch.equal(x[:, 0].long(), classes)
    assert classes[:3].unique().tolist() == [0, 1, 2]
    for n in (21, 42, 63, 126):
        assert (torch.bincount(classes[:n]) - torch.tensor([90, 30, 6]) * n / 126).abs().max() <= 1.5
    assert not torch.equal(in_turn(torch.arange(126)[:, None], y, Context(seed=1))[0][:9, 0], torch.arange(9))


# ---------------------------------------------------------------------------------------------------------- the rules


def frame(tenth=0.85, everything=0.9, others=0.86, chance=0.0, fewest=0.5):
    rows = []
    for seed in range(6):
        jitter = 0.001 * (seed % 3 - 1)
        size = {"seed": seed, "over": "size", "labels": TRUE}
        for n, accuracy in ((31, fewest), (100, tenth), (1000, everything)):
            rows.append({**size, "learner": ITSELF, "n": n, "accuracy": accuracy + jitter, "rate": 1e-3})
            rows += [{**size, "learner": name, "n": n, "accuracy": others + jitter} for name in (LOGISTIC, FOREST)]
        above = {"labels": SHUFFLED, "accuracy": 0.1, "above_chance": chance + jitter}
        rows.append({**size, "learner": ITSELF, "n": 1000, **above})
        rows.append({"seed": seed, "over": "curve", "labels": TRUE, "learner": ITSELF, "n": 0, "exponent": 0.4})
    return pd.DataFrame(rows).assign(subject="net").set_index("seed", drop=False)


@pytest.mark.parametrize(
    ("changed", "failed"),
    [
        ({}, None),
        ({"tenth": 0.7, "others": 0.7}, 0),
        ({"others": 0.95}, 1),
        ({"chance": 0.2}, 2),
        ({"fewest": 0.95}, 3),
    ],
)
def test_each_rule_can_fail(changed, failed):
    outcomes = ["holds"] * 4
    if failed is not None:
        outcomes[failed] = "does not hold"
    rows = frame(**changed)
    assert [claim.rule(rows).outcome for claim in AuditDataHunger.claims] == outcomes


def test_the_axis_is_over_the_best_learner_so_that_who_learns_nothing_is_bad_at_it():
    assert abs(little_data(frame()).mean() - 0.85 / 0.9) < 1e-3
    assert abs(little_data(frame(tenth=0.1, everything=0.1, others=0.8)).mean() - 0.125) < 2e-3


def test_the_picture_has_a_panel_a_model_and_all_learners():
    figure = drawn(AuditDataHunger(), pd.concat([frame(), frame(0.6).assign(subject="other")]), {})
    assert [axes.get_title() for axes in figure.axes] == ["net", "other"]
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == list(COLORS)
