"""audit_groups: groups of which it is known how they fare, and rules on made frames."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from dlbench import Context
from dlbench.audit import Examples, Subject
from dlbench.errors import NotApplicable
from dlbench_plugins.audits.audit_groups import DIE, MADE, OWN, AuditGroups, behind, behind_by_chance, worst

from .drawing import drawn


class Says(nn.Module):
    """An input's first number is the class that it is said to be of."""

    def __init__(self, classes):
        super().__init__()
        self.classes = classes

    def forward(self, x):
        return 5.0 * nn.functional.one_hot(x.flatten(1)[:, 0].long(), self.classes)


def measured(y, said, groups, classes=2, shape=(1,), **changes):
    """The rows of a model that answers so, and what it kept."""
    x = torch.zeros(len(y), *shape)
    x.flatten(1)[:, 0] = torch.tensor(said, dtype=torch.float32)
    of = None if groups is None else np.array(groups)
    shown = Examples(x, torch.tensor(y), tuple("abcdefgh"[:classes]), of, None)
    context = Context(seed=0)
    rows = list(AuditGroups(**changes).measure(Subject("net", Says(classes), context), shown, context))
    return pd.DataFrame(rows).assign(subject="net"), context


def group(rows, name, by=OWN):
    return rows[(rows.by == by) & (rows.group == name)].iloc[0]


# -------------------------------------------------------------------------------------------------------- what is told


def test_rates_are_those_of_each_group():
    y = [0, 0, 1, 1, 0, 0, 1, 1]
    said = [0, 0, 1, 1, 1, 1, 0, 1]
    rows, _ = measured(y, said, ["m"] * 4 + ["f"] * 4, throws=50)
    f, m = group(rows, "f"), group(rows, "m")
    assert (f.examples, f.accuracy, f.selection_rate, f.false_positive_rate, f.false_negative_rate) == (
        4,
        0.25,
        0.75,
        1,
        0.5,
    )
    assert (m.examples, m.accuracy, m.selection_rate, m.false_positive_rate) == (4, 1, 0.5, 0)
    sure = 1 / (1 + np.exp(-5))
    assert abs(f.overconfidence - (sure - 0.25)) < 1e-6
    everyone = rows[(rows.by == OWN) & (rows.over == "everyone")].iloc[0]
    assert (everyone.accuracy, everyone.parity, everyone.odds) == (0.625, 0.25, 1)
    assert everyone.excess_parity < 0.25
    assert len(rows[rows.by == DIE].groupby("throw")) == 50
    made = rows[rows.by == MADE].set_index("group").of_controls
    assert made.to_dict() == {"right": 1, "wrong": 0}


def test_more_classes_have_no_rates_of_two():
    rows, _ = measured([0, 1, 2, 0], [0, 1, 2, 1], ["a", "b", "a", "b"], classes=3)
    assert "parity" not in rows and "selection_rate" not in rows and group(rows, "b").accuracy == 0.5


def test_the_die_keeps_sizes():
    rows, _ = measured([0, 1] * 10, [0, 1] * 10, ["few"] * 3 + ["many"] * 17)
    sizes = rows[rows.by == DIE].groupby("group").examples.unique()
    assert sizes["few"].tolist() == [3] and sizes["many"].tolist() == [17]


def test_wrong_answers_are_shown_of_the_group_that_fares_worst_first():
    _, context = measured([0, 0, 1, 1], [0, 1, 0, 0], ["m", "m", "f", "f"], shape=(1, 2, 2))
    captions = context.kept["captions " + json.dumps(["net", "wrong, by group"])]
    assert captions.tolist() == ["f: a; is b", "f: a; is b", "m: b; is a"]


@pytest.mark.parametrize("groups", [None, [str(n) for n in range(120)]])
def test_without_groups_or_with_a_name_for_each_it_does_not_apply(groups):
    with pytest.raises(NotApplicable, match="name"):
        measured([0, 1] * 60, [0, 1] * 60, groups)


# ---------------------------------------------------------------------------------------------------------- the rules


def folds(accuracies, sizes, seeds=10, rng=None):
    """Rows of groups whose accuracy in each fold is that of so many throws, or exact."""
    rows = []
    for seed in range(seeds):
        for name, accuracy in accuracies.items():
            n = sizes[name]
            if n:
                found = rng.binomial(n, accuracy) / n if rng else accuracy
                rows.append({"seed": seed, "group": name, "examples": n, "accuracy": found, "overconfidence": 0.0})
    return pd.DataFrame(rows).assign(subject="net", by=OWN, throw=0, over="group").set_index("seed", drop=False)


def test_the_worst_group_is_chosen_by_other_folds_and_so_its_value_is_not_too_low():
    rng = np.random.default_rng(0)
    names = [f"g{n}" for n in range(12)]
    estimates, minima = [], []
    for _ in range(30):
        rows = folds(dict.fromkeys(names, 0.8), dict.fromkeys(names, 6), rng=rng)
        estimates.append(worst(rows, "accuracy", better="higher").mean())
        minima.append(rows.groupby("group").accuracy.mean().min())
    assert abs(np.mean(estimates) - 0.8) < 0.04  # though all are equal,
    assert np.mean(minima) < 0.74  # the least mean is far below


def test_a_group_that_is_worse_is_found():
    rows = folds({"a": 0.9, "b": 0.9, "c": 0.5}, {"a": 20, "b": 15, "c": 5}, rng=np.random.default_rng(1))
    assert abs(worst(rows, "accuracy", better="higher").mean() - 0.5) < 0.1
    assert abs(behind(rows).mean() - (0.85 - 0.5)) < 0.1


def test_small_groups_are_not_ranked_and_one_group_is_no_comparison():
    rows = folds({"a": 0.9, "b": 0.8, "tiny": 0.0}, {"a": 20, "b": 10, "tiny": 2})
    assert (worst(rows, "accuracy", better="higher") == 0.8).all()
    assert worst(rows[rows.group != "b"], "accuracy", better="higher").empty
    assert behind(rows[rows.group != "b"]).empty


def test_a_group_may_be_absent_from_folds():
    rows = folds({"a": 0.9, "b": 0.6}, {"a": 20, "b": 10})
    rows = rows[(rows.group != "b") | (rows.seed > 4)]
    found = worst(rows, "accuracy", better="higher")
    assert found.index.tolist() == [5, 6, 7, 8, 9] and (found == 0.6).all()


def test_overconfidence_is_worst_where_it_is_greatest():
    rows = folds({"a": 0.9, "b": 0.9}, {"a": 9, "b": 9})
    rows.loc[rows.group == "b", "overconfidence"] = 0.2
    assert (worst(rows, "overconfidence", better="lower") == 0.2).all()


def frame(worse=0.9, over=0.0, die=0.9, made=0.0):
    def division(by, second, throw=0):
        rows = folds({"a": 0.9, "b": second}, {"a": 10, "b": 10}).assign(by=by, throw=throw)
        rows = rows.assign(accuracy=rows.accuracy + 0.001 * (rows.seed % 3 - 1))
        return rows if by == OWN else rows.rename(columns={"accuracy": "of_controls"})

    own = division(OWN, worse)
    own.loc[own.group == "b", "overconfidence"] = over
    return pd.concat([own, division(MADE, made), *(division(DIE, die, throw) for throw in range(3))])


@pytest.mark.parametrize(
    ("changed", "outcomes"),
    [
        ({}, ["holds"] * 4),
        ({"worse": 0.7}, ["does not hold", "holds", "holds", "holds"]),
        ({"over": 0.1}, ["holds", "does not hold", "holds", "holds"]),
        ({"die": 0.7}, ["holds", "holds", "does not hold", "holds"]),
        ({"made": 0.9}, ["holds", "holds", "holds", "does not hold"]),
    ],
)
def test_each_rule_can_fail(changed, outcomes):
    rows = frame(**changed)
    assert [claim.rule(rows).outcome for claim in AuditGroups.claims] == outcomes


def test_the_mean_over_throws_is_what_counts():
    rows = frame()
    rows.loc[(rows.by == DIE) & (rows.throw == 0) & (rows.group == "b"), "of_controls"] = 0.6
    assert abs(behind_by_chance(rows).mean() - 0.15 / 3) < 0.01


def test_the_picture_has_all_groups_with_their_numbers():
    rows = frame(worse=0.7).assign(false_positive_rate=0.1)
    figure = drawn(AuditGroups(), pd.concat([rows, rows.assign(subject="other")]), {})
    assert [axes.get_xlabel() for axes in figure.axes] == ["accuracy", "false positives"]
    assert sorted(text.get_text() for text in figure.axes[0].get_yticklabels()) == ["a (100)", "b (100)"]
