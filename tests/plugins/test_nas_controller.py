"""nas_controller: what a trial measures on a made table, and rules on frames of known verdict."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from dlbench import Context, Control
from dlbench.data.images import DIGITS
from dlbench.errors import ParameterError
from dlbench.runner.trial import measurements
from dlbench_plugins.search import nas_controller as study
from dlbench_plugins.search.children import RECIPES, SPACE, TRAINING_SEEDS, Child
from dlbench_plugins.search.landscapes import effects
from dlbench_plugins.search.nas_controller import (
    ASHA,
    CONTROLLER,
    EVOLUTION,
    INDEPENDENT,
    LARGEST,
    LOCAL,
    OPTUNA,
    PARZEN,
    RANDOM,
    NASController,
)

from .drawing import drawn

TINY = NASController(evaluations=20, searches=3)
METHODS = {CONTROLLER, INDEPENDENT, RANDOM, EVOLUTION, PARZEN, LOCAL, LARGEST}


def table():
    """Arrays as nas_children has them, of accuracies that add up, and some noise."""
    rng = np.random.default_rng(0)
    arrays = {}
    for name in RECIPES:
        worth = 0.5 + 0.1 * effects(SPACE, 1, rng).T.clip(-4, 4)
        for field in Child._fields:
            noise = rng.standard_normal((len(SPACE), TRAINING_SEEDS))
            arrays[f"{name} {field}"] = worth + 0.01 * noise
        arrays[f"{name} parameters"] = np.tile(rng.integers(10, 1000, (len(SPACE), 1)), (1, TRAINING_SEEDS))
        arrays[f"{name} flops"] = 2 * arrays[f"{name} parameters"]
    return arrays


def context(seed=100):
    return Context(seed=seed, loader={"nas_children": table(), "digits": DIGITS.load()}.get)


@pytest.fixture(scope="module")
def trial():
    of = context()
    return measurements(TINY, of), of.kept


# ---------------------------------------------------------------------------------------------------------- the trial


def test_what_is_measured(trial):
    rows = pd.DataFrame(trial[0])
    final = rows[rows.evaluations == 20]
    assert final.groupby("landscape").subject.agg(set).to_dict() == {
        "mnist1d": METHODS | {ASHA}, "digits": METHODS | {ASHA}, "separable": METHODS, "noise": METHODS,
    }  # fmt: skip
    searched = rows[rows.evaluations.notna()]
    assert set(searched.groupby(["subject", "landscape"]).size()) == {15}
    assert (searched.regret >= 0).all()
    best = {name: table()[f"{name} test"].mean(1).max() for name in RECIPES}
    for name, most in best.items():
        of = searched[searched.landscape == name]
        assert np.allclose(of.regret + of.test_accuracy, most)
    assert final[final.subject != ASHA].reward_slope.notna().all()
    assert (final[final.subject == RANDOM].repeats == 0).all()
    for (subject, name), of in searched.groupby(["subject", "landscape"]):
        assert final[(final.subject == subject) & (final.landscape == name)].area.item() == pytest.approx(
            of.regret.mean()
        )
    tau = rows[rows.subject == "table"]
    assert len(tau) == 6 and tau.kendall_tau.between(0.5, 1).all()
    shown = rows[rows.subject == "best child"]
    assert shown.groupby("landscape").test.mean().to_dict() == pytest.approx(best)


def test_what_is_kept(trial):
    kept = trial[1]
    (name,) = [name for name in kept if name.startswith("policy digits controller")]
    assert kept[name].shape == (4, SPACE.sizes.sum())  # a step each five children
    assert all(kept[f"rewards {landscape} {RANDOM} "].shape == (20,) for landscape in TINY.landscapes)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bits(trial):
    assert repr(measurements(TINY, context())) == repr(trial[0])


def test_no_search_sees_the_test(monkeypatch):
    """Other test accuracies change no child that is asked for."""
    arrays = table()
    asked = []
    for shift in (0.0, 1.0):
        changed = {n: (shift - v if shift and n.endswith(" test") else v) for n, v in arrays.items()}
        told = {}
        monkeypatch.setattr(
            study, "conduct", lambda c, v, told=told: told.setdefault(len(told), c.copy()) is None or {}
        )
        measurements(TINY, Context(seed=100, loader={"nas_children": changed}.get))
        asked.append(told)
    assert len(asked[0]) == 28
    assert all(np.array_equal(asked[0][k], asked[1][k]) for k in asked[0])


def test_how_searches_went_by_hand():
    children = np.array([[1, 2, 1, 1], [1, 2, 3, 4]])
    values = np.array([[0.1, 0.2, 0.3, 0.4], [0.3, 0.4, 0.5, 0.6]])
    assert study.conduct(children, values) == pytest.approx({"reward_slope": 10.0, "repeats": 0.25})


def test_all_settings_are_tried_as_often():
    experiment = NASController(landscapes=("tuning",), settings="all", searches=1, evaluations=10)
    rows = pd.DataFrame(measurements(experiment, Context(seed=100)))
    final = rows[rows.evaluations == 10]
    counts = final.groupby("subject").setting.nunique()
    assert set(counts[list(study.SETTINGS)]) == {6}
    assert experiment.datasets() == ()


def test_the_table_is_made_again(monkeypatch):
    monkeypatch.setattr(study, "kin", lambda: [[0, 1], [2]])
    monkeypatch.setattr(study, "tables", lambda rows: {"digits": {
        field: table()[f"digits {field}"] for field in Child._fields}})  # fmt: skip
    small = replace(RECIPES["digits"], train=40, validation=20, steps=9, batch_size=5)
    monkeypatch.setitem(study.RECIPES, "digits", small)
    experiment = NASController(source="trained", landscapes=("digits",), evaluations=10, searches=1)
    assert experiment.datasets() == ("digits",)
    rows = pd.DataFrame(measurements(experiment, context()))
    children = rows[rows.subject == "child"]
    assert len(children) == 9 and children.rate.tolist() == [0.001] * 3 + [0.003] * 3 + [0.01] * 3
    assert children.test.between(0, 1).all() and (children.seconds > 0).all() and (children.flops > 0).all()


def test_live_is_searched_without_a_table(monkeypatch):
    class Made:
        def __init__(self, dataset, searches, seed, workers):
            self.worth = np.linspace(0, 1, len(SPACE))

        def __enter__(self):
            return self

        def __exit__(self, *problem):
            return None

        def validation(self, children):
            return self.worth[children]

        test = validation

        def best(self):
            return np.ones(2)

    monkeypatch.setattr(study, "Live", Made)
    experiment = NASController(source="live", landscapes=("digits",), evaluations=20, searches=2)
    rows = pd.DataFrame(measurements(experiment, context()))
    assert set(rows.subject) == METHODS - {LARGEST} and set(rows.landscape) == {"digits"}
    assert np.allclose(rows.regret, 1 - rows.test_accuracy)


@pytest.mark.parametrize("landscapes", [("noise",), ("mnist1d", "digits")])
def test_live_needs_one_data_set(landscapes):
    with pytest.raises(ParameterError, match="one of mnist1d or digits"):
        NASController(source="live", landscapes=landscapes)


def test_optuna_is_left_off_or_named(monkeypatch):
    pytest.importorskip("optuna")
    experiment = NASController(landscapes=("separable",), evaluations=12, searches=1, extra=(OPTUNA,))
    rows = pd.DataFrame(measurements(experiment, Context(seed=100)))
    assert OPTUNA in set(rows.subject)
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(ParameterError, match=r"dlbench\[automl\]"):
        measurements(experiment, Context(seed=100))


# ---------------------------------------------------------------------------------------------------------- the rules


def frame(slope=0.02, end=0.004, area=0.02, independent=0.004, evolution_area=0.01, random=0.008, tau=0.8,
          separable=0.001, noise_slope=0.0, noise_gain=0.0):  # fmt: skip
    rows = []
    for seed in range(6):
        noise = 1e-4 * np.random.default_rng(seed).standard_normal()
        for name in (*RECIPES, "separable", "noise"):
            of = {
                CONTROLLER: (end, area, slope), INDEPENDENT: (independent, area, slope),
                RANDOM: (random, 0.03, 0.0), EVOLUTION: (0.004, evolution_area, 0.01),
            }  # fmt: skip
            if name == "separable":
                of[CONTROLLER] = (separable, 0.01, slope)
            if name == "noise":
                of[CONTROLLER] = (random + noise_gain, 0.03, noise_slope)
            for subject, (regret, mean, rise) in of.items():
                common = {"seed": seed, "subject": subject, "landscape": name}
                jitter = noise * (1 if subject == CONTROLLER else 0.5)
                rows.append({**common, "evaluations": 10, "regret": 0.1 + noise})
                rows.append({**common, "evaluations": 150, "regret": regret + jitter, "area": mean + jitter,
                             "reward_slope": rise + jitter})  # fmt: skip
        for name in RECIPES:
            rows += [{"seed": seed, "subject": "table", "landscape": name, "training_seed": k, "kendall_tau": tau}
                     for k in range(3)]  # fmt: skip
    return pd.DataFrame(rows).set_index("seed")


def outcomes(rows):
    return [claim.rule(rows).outcome for claim in NASController.claims]


def test_what_is_claimed_makes_every_rule_hold():
    assert outcomes(frame()) == ["holds"] * 9


@pytest.mark.parametrize(
    ("change", "failing"),
    [
        ({"slope": -0.01}, [0, 6]),
        ({"end": 0.0078, "independent": 0.0078}, [1, 2]),  # 0.02 points less than random search are too few
        ({"area": 0.0295}, [3]),
        ({"independent": 0.002}, [4]),
        ({"evolution_area": 0.025}, [5]),
        ({"separable": 0.008}, [6]),
        ({"noise_slope": 0.01}, [7]),
        ({"noise_gain": -0.02, "random": 0.03}, [7]),
        ({"tau": 0.4}, [8]),
    ],
)
def test_what_breaks_a_rule(change, failing):
    assert [i for i, outcome in enumerate(outcomes(frame(**change))) if outcome != "holds"] == failing


def test_kinds_of_controls():
    kinds = [claim.kind for claim in NASController.claims if isinstance(claim, Control)]
    assert kinds == ["positive", "negative", "gate"]


def test_rules_decide_nothing_on_less_than_six_seeds():
    assert set(outcomes(frame().loc[:4])) == {"inconclusive"}


# -------------------------------------------------------------------------------------------------------- the picture


@pytest.mark.parametrize("rows", [pd.DataFrame(), frame(), frame().loc[[3]]], ids=["none", "six seeds", "one seed"])
@pytest.mark.parametrize("kept", [False, True])
def test_the_picture(rows, kept, trial):
    figure = drawn(TINY, rows, {3: trial[1]} if kept else {})
    curves, maps = figure.subfigs[0].axes, figure.subfigs[1].axes
    assert len(curves) == 4
    assert len(curves[0].lines) == (4 if len(rows) else 0)
    assert [len(axes.lines) for axes in curves[1::2]] == [4 * kept] * 2
    assert [len(axes.images) for axes in maps[:2]] == [int(kept)] * 2
