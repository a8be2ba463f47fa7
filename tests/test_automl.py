"""The push button: its ensembles by hand, its folds, preparation of any table, and searches that find what is there."""

import numpy as np
import pandas as pd
import pytest

from dlbench import automl
from dlbench.automl import FAMILIES, Preparation, PushButton, drawn, folds, mixed, model, selection

QUICK = ("linear", "neighbours", "svm")


def blobs(n=90, classes=3, seed=0):
    """Two features, a cloud a class; the third is noise."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    return np.stack([4.0 * np.cos(2 * y), 4.0 * np.sin(2 * y), 0.0 * y], 1) + rng.standard_normal((n, 3)), y


# ---------------------------------------------------------------------------------------------------------- ensembles


def test_selection_by_hand():
    """Of numbers -1 and 3 for a truth of 0: the first three times and the second once."""
    weights = selection([np.array([[-1.0]]), np.array([[3.0]])], np.array([[0.0]]), rounds=10)
    assert weights.tolist() == [0.75, 0.25]


def test_of_one_round_selection_takes_the_best_and_those_with_nan_are_left_out():
    outputs = [np.array([[0.5]]), np.array([[np.nan]]), np.array([[0.1]])]
    assert selection(outputs, np.array([[0.0]]), rounds=1).tolist() == [0, 0, 1]
    with pytest.raises(ValueError, match="without NaN"):
        selection(outputs[1:2], np.array([[0.0]]))


def test_rounds_that_do_not_help_do_not_count():
    """The best is right already; a second member would only draw it away."""
    weights = selection([np.array([[0.0]]), np.array([[1.0]])], np.array([[0.0]]), rounds=5)
    assert weights.tolist() == [1, 0]


def test_mixed_leaves_out_those_without_weight():
    members = np.array([[[1.0]], [[np.nan]], [[4.0]]])
    assert mixed(members, np.array([2 / 3, 0, 1 / 3])) == pytest.approx(np.array([[2.0]]))
    assert mixed(members, np.array([1.0])).tolist() == [[1.0]]  # of a search's first trials


# -------------------------------------------------------------------------------------------------------------- folds


def test_folds_have_like_shares_of_each_class():
    y = np.repeat([0, 1, 2], [30, 9, 6])
    fold = folds(y, 3, np.random.default_rng(0))
    assert [np.bincount(fold[y == c]).tolist() for c in range(3)] == [[10] * 3, [3] * 3, [2] * 3]


def test_folds_of_numbers_are_spread():
    y = np.random.default_rng(0).standard_normal(300)
    fold = folds(y, 3, np.random.default_rng(1))
    assert np.bincount(fold).tolist() == [100] * 3
    assert np.ptp([y[fold == k].mean() for k in range(3)]) < 0.05


# -------------------------------------------------------------------------------------------------------- preparation


def test_preparation_by_hand():
    table = pd.DataFrame({
        "gap": [1.0, 3.0, np.nan, 5.0], "same": [7, 7, 7, 7], "word": ["b", "a", "b", None], "yes": [True, False] * 2
    })  # fmt: skip
    ready = Preparation().fit(table)
    x = ready.transform(table)["none"]
    assert x.tolist() == [[1, 0, 0, 1, 0, 1], [3, 0, 1, 0, 1, 0], [3, 1, 0, 1, 0, 1], [5, 0, 0, 0, 1, 0]]
    other = pd.DataFrame({"gap": [np.nan], "same": [9], "word": ["never seen"], "yes": [True]})
    assert ready.transform(other)["none"].tolist() == [[3, 1, 0, 0, 0, 1]]


def test_scalings():
    x = np.array([[0.0, 1.0], [2.0, 5.0]])
    ready = Preparation().fit(pd.DataFrame(x)).transform(pd.DataFrame(x))
    assert ready["standard"].tolist() == [[-1, -1], [1, 1]]
    assert ready["squashed"] == pytest.approx(np.arcsinh(ready["standard"]))


def test_a_table_that_says_nothing_is_still_one():
    ready = Preparation().fit(pd.DataFrame({"a": [np.nan, np.nan], "b": ["x", "x"]}))
    assert ready.transform(pd.DataFrame({"a": [1.0], "b": ["y"]}))["none"].tolist() == [[0.0]]


# ------------------------------------------------------------------------------------------------------------- models


@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_learns(family, task):
    x, y = blobs()
    answers = y if task == "classification" else x[:, 0]
    button = PushButton(task, budget=2, families=(family,), trees=10, seed=1).fit(x, answers)
    assert [trial.failure for trial in button.trials] == ["", ""]
    assert button.trials[0].loss < 0.4
    other, truth = blobs(seed=1)
    said = button.predict(other)
    if task == "classification":
        assert (said == truth).mean() > 0.9
        chances = button.predict_proba(other)
        assert chances.shape == (90, 3) and chances.sum(1) == pytest.approx(np.ones(90))
    else:
        assert np.corrcoef(said, other[:, 0])[0, 1] > 0.9


@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize("family", FAMILIES)
def test_settings_are_scikit_learns(family, task):
    settings = drawn(family, task, 5, np.random.default_rng(0))
    assert settings.pop("scaling") in ("none", "standard", "squashed")
    made = model(family, task, settings)
    assert {name: made.get_params()[name] for name in settings} == settings


# ------------------------------------------------------------------------------------------------------- the pipeline


def test_words_and_gaps_are_welcome():
    rng = np.random.default_rng(0)
    word = rng.choice(["red", "green", "blue"], 120)
    table = pd.DataFrame({"word": word, "number": np.where(rng.random(120) < 0.2, np.nan, rng.random(120))})
    button = PushButton(budget=4, families=QUICK).fit(table[:80], np.where(word == "red", "stop", "go")[:80])
    assert button.classes.tolist() == ["go", "stop"]
    assert (button.predict(table[80:]) == np.where(word == "red", "stop", "go")[80:]).all()


def test_numbers_come_back_in_their_unit():
    x = np.random.default_rng(0).standard_normal((60, 2))
    button = PushButton("regression", budget=3, families=("linear",)).fit(x, 1000 + 50 * x[:, 0])
    assert button.predict(x) == pytest.approx(1000 + 50 * x[:, 0], abs=5)


def test_a_search_begins_like_a_smaller_one_and_repeats_itself():
    x, y = blobs()
    small, large, again = (PushButton(budget=b, families=QUICK, seed=3).fit(x, y) for b in (4, 6, 6))
    assert [t.loss for t in small.trials] == [t.loss for t in large.trials[:4]]
    assert np.array_equal(large.predict_proba(x), again.predict_proba(x))
    assert [t.settings for t in large.trials[:3]] == [{"scaling": "standard"}] * 3
    assert large.weights.sum() == pytest.approx(1)


def test_members_are_of_the_ensemble_or_of_all():
    x, y = blobs()
    button = PushButton(budget=4, families=QUICK, rounds=1).fit(x, y)
    assert np.isfinite(button.members(x)).all(axis=(1, 2)).tolist() == (button.weights > 0).tolist()
    assert np.isfinite(button.members(x, all_trials=True)).all()


def test_held_out_answers_are_not_of_models_that_saw_them():
    """Of labels that are noise, one nearest neighbour knows those that it saw, and half of the others."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((300, 5)), rng.integers(2, size=300)
    button = PushButton(budget=1, families=("neighbours",)).fit(x, y)
    assert (button.trials[0].held_out.argmax(1) == y).mean() == pytest.approx(0.5, abs=0.1)
    assert button.trials[0].loss > 0.5


def test_a_trial_that_fails_is_told_and_left_out(monkeypatch):
    def broken(family, *args, **kwargs):
        if family == "svm":
            raise RuntimeError("no room")
        return model(family, *args, **kwargs)

    monkeypatch.setattr(automl, "model", broken)
    x, y = blobs()
    button = PushButton(budget=3, families=QUICK).fit(x, y)
    assert [trial.failure for trial in button.trials] == ["", "", "RuntimeError: no room"]
    assert button.weights[2] == 0 and (button.predict(x) == y).mean() > 0.9
    with pytest.raises(ValueError, match=r"all 2 trials failed, the first with RuntimeError: no room"):
        PushButton(budget=2, families=("svm",)).fit(x, y)


def test_a_class_that_a_fold_lacks_has_no_chance_there():
    x, y = blobs()
    y[:1] = 7
    button = PushButton(budget=3, families=QUICK).fit(x, y)
    assert button.classes.tolist() == [0, 1, 2, 7]
    assert np.isfinite(button.predict_proba(x)).all()
    assert not any(trial.failure for trial in button.trials)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "ranking"}, "'classification' or 'regression'"),
        ({"families": ("trees",)}, "no family 'trees'"),
        ({"families": ()}, "no family was given"),
        ({"budget": 0}, "budget is 0"),
        ({"folds": 1}, "folds is 1"),
        ({"rounds": 0}, "rounds is 0"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        PushButton(**options)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.zeros((9, 2)), np.zeros(8), "9 rows"),
        (np.zeros((2, 2, 2)), np.arange(2), r"expected \[n, features\]"),
        (np.zeros((5, 2)), np.arange(5), "too few"),
        (np.zeros((9, 2)), np.ones(9), "two classes"),
        (np.zeros((9, 0)), np.ones(9), r"expected \[n, features\]"),
    ],
)
def test_bad_tables(x, y, message):
    with pytest.raises(ValueError, match=message):
        PushButton(budget=1, families=("linear",)).fit(x, y)


def test_bad_questions():
    x, y = blobs()
    with pytest.raises(ValueError, match="call fit first"):
        PushButton().predict(x)
    with pytest.raises(ValueError, match="no finite numbers"):
        PushButton("regression", families=("linear",)).fit(x, np.where(y == 1, np.nan, 1.0))
    button = PushButton("regression", budget=1, families=("linear",)).fit(x, x[:, 0])
    with pytest.raises(ValueError, match="2 columns; 3 were fitted"):
        button.predict(x[:, :2])
    with pytest.raises(ValueError, match="for regression"):
        button.predict_proba(x)
