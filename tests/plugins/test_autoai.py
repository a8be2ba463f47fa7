"""autoai: the arms, the forests, ranks by hand, and rules on frames whose verdict is known."""

import math
import sys
import types

import numpy as np
import pandas as pd
import pytest

from dlbench import Context, Control
from dlbench.data.images import DIGITS
from dlbench.data.tabular import BREAST_CANCER, DIABETES, WINE
from dlbench.errors import ParameterError
from dlbench.runner.trial import measurements
from dlbench_plugins.search import autoai as study
from dlbench_plugins.search.autoai import AutoAI, Table

from .drawing import drawn

DATA = {
    "wine": WINE.load(),
    "breast_cancer": BREAST_CANCER.load(),
    "digits": DIGITS.load(),
    "diabetes": DIABETES.load(),
}
TINY = AutoAI(
    tables=("digits", "diabetes"), most=60, held_out=40, budget=2, families=("linear", "svm"), expert_trees=10
)


def context(seed=100):
    return Context(seed=seed, loader=DATA.get)


# ------------------------------------------------------------------------------------------------------------- tables


@pytest.mark.parametrize("name", study.DATASETS)
def test_parts_do_not_overlap(name):
    table = AutoAI().split(name, context())
    assert len(table.y) == min(300, 3 * len(DATA[name]["y"]) // 5)
    assert len(table.test_y) == min(500, len(DATA[name]["y"]) - len(table.y))
    together = np.concatenate([table.x, table.test_x])
    assert len(np.unique(together, axis=0)) == len(together)
    assert table.task == ("regression" if name == "diabetes" else "classification")


def test_scores_by_hand():
    x, y = np.zeros((4, 1)), np.array([0, 1, 1, 1])
    table = Table("classification", x, y, x, y)
    assert table.score(table.constant()) == 0.75
    numbers = Table("regression", x, np.array([1.0, 3.0]), x, np.array([0.0, 2.0]))
    assert numbers.constant().tolist() == [2.0] * 2
    assert numbers.score(numbers.constant()) == -1.0  # twice the variance of 1
    assert numbers.score(np.array([0.0, 2.0])) == 1.0


def test_arms_are_as_large_as_said_and_biased_is_biased():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((400, 3)) * [10, 1, 1] + [0, 5, 5]
    x[:, 1] += x[:, 0] / 10
    picked = {arm: study.chosen(x, arm, np.random.default_rng(1)) for arm in (study.TENTH, study.HALF, study.BIASED)}
    assert {arm: len(rows) for arm, rows in picked.items()} == {study.TENTH: 40, study.HALF: 200, study.BIASED: 200}
    assert all(len(set(rows)) == len(rows) for rows in picked.values())
    places = study.first_component(x)
    assert places.mean() == pytest.approx(0, abs=1e-9) and places.std() == pytest.approx(1)
    assert abs(places[picked[study.HALF]].mean()) < 0.15
    assert places[picked[study.BIASED]].mean() > 0.5


def test_a_deviation_makes_as_much_likelier_as_said():
    """Of two examples one deviation to either side, one is drawn: the further with exp(4) to 1."""
    x = np.array([[-1.0], [1.0]])
    drawn_first = [study.chosen(x, study.BIASED, np.random.default_rng(k)).tolist() == [1] for k in range(2000)]
    odds = math.exp(2 * study.BIAS)
    assert np.mean(drawn_first) == pytest.approx(odds / (1 + odds), abs=0.01)


def test_one_feature_is_the_answer():
    table = study.one_feature(np.random.default_rng(0))
    assert table.score((table.test_x[:, 3] > 0).astype(int)) == 1
    assert 0.4 < table.score(table.constant()) < 0.6


def test_the_first_forest_is_the_library_s_and_the_best_is_chosen_out_of_the_bag(monkeypatch):
    from sklearn.ensemble import RandomForestClassifier

    made = []

    def model(family, task, settings=None, *, random_state=0):
        made.append(RandomForestClassifier(random_state=random_state, **(settings or {})))
        return made[-1]

    monkeypatch.setattr(study, "model", model)
    bad = iter([{"scaling": "none", "max_depth": 1}] * 2)
    monkeypatch.setattr(study, "drawn", lambda *args: next(bad))
    experiment = AutoAI(budget=3)
    table = experiment.split("digits", context())
    default, tuned = experiment.forests("digits", table, context())
    assert [len(forest.estimators_) for forest in made] == [100, 25, 25]
    assert [forest.max_depth for forest in made] == [None, 1, 1]
    assert np.array_equal(default, tuned)  # stumps are worse
    alone = RandomForestClassifier(random_state=made[0].random_state).fit(table.x, table.y)
    assert np.array_equal(default, alone.predict(table.test_x))


def test_flaml_absent_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "flaml.automl", None)
    table = study.one_feature(np.random.default_rng(0))
    with pytest.raises(ParameterError, match=r"autoai\.flaml needs FLAML .*flaml\[automl\]"):
        study.flaml_answers(table, 2, 0)


def test_flaml_is_given_the_budget_in_trials(monkeypatch):
    """A stand-in with FLAML's interface."""
    asked = {}

    class AutoML:
        def fit(self, x, y, **options):
            asked.update(options)
            self.answer = y[0]

        def predict(self, x):
            return [self.answer] * len(x)

    monkeypatch.setitem(sys.modules, "flaml", types.ModuleType("flaml"))
    module = types.ModuleType("flaml.automl")
    module.AutoML = AutoML
    monkeypatch.setitem(sys.modules, "flaml.automl", module)
    table = study.one_feature(np.random.default_rng(0))
    assert study.flaml_answers(table, 7, 3).shape == table.test_y.shape
    assert asked["max_iter"] == 7 and asked["time_budget"] == -1 and asked["task"] == "classification"


@pytest.mark.peers
def test_flaml_itself():
    pytest.importorskip("flaml.automl")
    table = study.one_feature(np.random.default_rng(0))
    assert table.score(study.flaml_answers(table, 5, 0)) > 0.8


# ---------------------------------------------------------------------------------------------------------- the trial


@pytest.fixture(scope="module")
def trial():
    return measurements(TINY, context())


def test_what_is_measured(trial):
    rows = pd.DataFrame(trial)
    assert set(rows.subject) == {
        study.PUSH_BUTTON, study.SINGLE, study.TUNED, study.CONSTANT, "default forest", "default linear",
        "default neighbours", "default svm",
    }  # fmt: skip
    button = rows[(rows.subject == study.PUSH_BUTTON) & (rows.dataset == "digits")]
    assert button[button.arm == study.ALL].trials.tolist() == [1, 2]
    assert set(button.arm) == {study.ALL, study.TENTH, study.HALF, study.BIASED, study.SHUFFLED}
    assert set(rows[rows.dataset == study.ONE_FEATURE].subject) == {study.PUSH_BUTTON}
    full = rows[rows.dataset != study.ONE_FEATURE].groupby(["dataset", "subject"]).normalised.first()
    assert full.xs(study.CONSTANT, level=1).tolist() == [0, 0]
    assert full.xs(study.TUNED, level=1).tolist() == [1, 1]


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bits(trial):
    assert repr(measurements(TINY, context())) == repr(trial)


@pytest.mark.parametrize("preset", list(AutoAI.presets))
def test_data_sets_are_named(preset):
    assert AutoAI.preset(preset).datasets() == study.DATASETS


# ---------------------------------------------------------------------------------------------------------- the rules


def frame(
    button=1.05, single=1.02, default=0.95, tenth=0.7, half=1.0, biased=0.8, shuffled=-0.05, found=0.99, gains=0.7
):
    rows = []
    for seed in range(6):
        noise = 0.005 * np.random.default_rng(seed).standard_normal()
        for name in study.DATASETS:

            def add(subject, value, arm=study.ALL, trials=8, seed=seed, name=name, noise=noise):
                known = {study.CONSTANT: 0.0, study.TUNED: 1.0}
                normalised = known.get(subject, value + noise)
                score = 0.1 + gains * normalised
                row = {"seed": seed, "subject": subject, "dataset": name, "arm": arm, "trials": trials}
                rows.append({**row, "normalised": normalised, "score": score})

            add(study.CONSTANT, 0.0, trials=0)
            add(study.TUNED, 1.0)
            for family in ("linear", "neighbours", "svm"):
                add(f"default {family}", 0.8, trials=0)
            add("default forest", default, trials=0)
            for trials in (1, 8):
                add(study.PUSH_BUTTON, button - 0.02 * (8 - trials), trials=trials)
                add(study.SINGLE, single - 0.02 * (8 - trials), trials=trials)
            arms = {study.TENTH: tenth, study.HALF: half, study.BIASED: biased, study.SHUFFLED: shuffled}
            for arm, value in arms.items():
                add(study.PUSH_BUTTON, value, arm)
        row = {"seed": seed, "subject": study.PUSH_BUTTON, "dataset": study.ONE_FEATURE, "arm": study.ALL, "trials": 8}
        rows.append({**row, "normalised": math.nan, "score": found + noise})
    return pd.DataFrame(rows).set_index("seed")


def outcomes(rows):
    return [claim.rule(rows).outcome for claim in AutoAI.claims]


def test_what_is_claimed_makes_every_rule_hold():
    assert outcomes(frame()) == ["holds"] * 8


@pytest.mark.parametrize(
    ("change", "failing"),
    [
        ({"default": 1.1}, [0]),
        ({"button": 0.98, "default": 0.9, "single": 0.95}, [1]),
        ({"tenth": 1.1}, [2]),
        ({"biased": 1.05}, [3]),
        ({"single": 1.1}, [4]),
        ({"shuffled": 0.3}, [5]),
        ({"found": 0.9}, [6]),
        ({"gains": 0.3}, [7]),
    ],
)
def test_what_breaks_a_rule(change, failing):
    assert [i for i, outcome in enumerate(outcomes(frame(**change))) if outcome != "holds"] == failing


def test_kinds_of_controls_and_too_few_seeds():
    assert [c.kind for c in AutoAI.claims if isinstance(c, Control)] == ["negative", "positive", "gate"]
    assert set(outcomes(frame().loc[:4])) == {"inconclusive"}


# -------------------------------------------------------------------------------------------------------- the picture


def test_ranks_by_hand():
    ranks, tables = study.mean_ranks(frame())
    assert tables == 4
    assert ranks.to_dict() == {
        study.PUSH_BUTTON: 1, study.TUNED: 2, "default forest": 3, "default linear": 5, "default neighbours": 5,
        "default svm": 5, study.CONSTANT: 7,
    }  # fmt: skip


def test_the_critical_difference_is_demsar_s():
    """Of four classifiers q is 2.569 at the 5 % level (his table 5)."""
    assert study.critical_difference(4, 14) == pytest.approx(2.569 * math.sqrt(4 * 5 / (6 * 14)), abs=2e-3)


@pytest.mark.parametrize("rows", [pd.DataFrame(), frame().iloc[:0], frame(), frame().loc[[3]]])
def test_the_picture(rows):
    figure = drawn(AutoAI(), rows, {})
    assert len(figure.axes) == 3
    assert bool(figure.axes[0].lines) == bool(len(rows))
