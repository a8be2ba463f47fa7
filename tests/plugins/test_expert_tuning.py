"""expert_tuning: what is measured and how, rules on frames whose verdict is known, the picture."""

import math

import numpy as np
import pandas as pd
import pytest

from dlbench import Context, Control
from dlbench.runner.trial import measurements
from dlbench_plugins.limits import expert_tuning as study
from dlbench_plugins.limits.expert_tuning import (
    DEFAULTS,
    EXPERT,
    HALVING,
    ONE_SETTING,
    RANDOM,
    ExpertTuning,
    Marks,
    Repeated,
)

from .drawing import drawn

TINY = ExpertTuning(
    train_size=60, validation=40, test_size=50, channels=2, steps=9, batch_size=5, trials=3, equal=2, starts=2
)  # fmt: skip


def context(seed=100):
    return Context(seed=seed)


@pytest.fixture(scope="module")
def trial():
    of = context()
    return measurements(TINY, of), of.kept


# ---------------------------------------------------------------------------------------------------------- the trial


def test_parts_do_not_overlap():
    task = TINY.task(context())
    assert [(tuple(x.shape), len(y)) for x, y in task] == [((60, 40), 60), ((40, 40), 40), ((50, 40), 50)]
    assert len(np.unique(np.concatenate([x.numpy() for x, _ in task]), axis=0)) == 150


def of_images(channels):
    """The study on made images, and its context."""
    made = context()
    x, y = np.random.default_rng(0).random((200, 9, 9), np.float32), np.arange(200) % 10
    data = {"x": x if channels == 1 else np.stack([x] * 3, 1), "y": y}
    object.__setattr__(made, "data", lambda name: data)
    return ExpertTuning(**{**vars(TINY), "dataset": "mnist", "channels": 4}), made


@pytest.mark.parametrize("channels", [1, 3])
def test_images_take_the_place_of_curves(channels):
    images, made = of_images(channels)
    task = images.task(made)
    assert [tuple(x.shape) for x, _ in task] == [(n, channels, 9, 9) for n in (60, 40, 50)]
    assert len(np.unique(np.concatenate([x.flatten(1).numpy() for x, _ in task]), axis=0)) == 150
    assert images.untrained(task)(task.test[0]).shape == (50, 10)
    rows = pd.DataFrame(measurements(images, made))
    assert set(rows.data) == {"mnist"} and {EXPERT, DEFAULTS, RANDOM, HALVING} < set(rows.subject)


def test_the_recipe_of_residual_networks_decays_as_much_beside_the_gradient_as_within():
    """SGD with momentum 0.9: what a gradient of decay 1e-4 adds up to over all steps to come is ten times as much."""
    recipe = study.OF_IMAGES[EXPERT]
    assert recipe.decay == pytest.approx(1e-4 / (1 - recipe.momentum))
    assert ExpertTuning().fixed[EXPERT].optimizer == "adam" and of_images(1)[0].fixed[EXPERT].optimizer == "sgd"


def test_marks_by_hand():
    marks = Marks(expert=0.8, defaults=0.4, best=0.9)
    assert marks.of(0.7) == pytest.approx({"test_accuracy": 0.7, "gap_closed": 0.75, "regret": 0.2})
    assert math.isnan(Marks(0.4, 0.4).of(0.5)["gap_closed"])


def test_what_is_measured(trial):
    rows, kept = pd.DataFrame(trial[0]), trial[1]
    search = rows[rows.over == "search"]
    assert search[search.subject == RANDOM].trials.tolist() == [1, 2, 3]
    assert search[search.subject == HALVING].trials.is_monotonic_increasing
    assert search[search.subject == HALVING].trials.max() <= 3
    best = search[search.subject == RANDOM].validation_accuracy
    assert best.is_monotonic_increasing
    again = rows[rows.over == "anew"].set_index("subject")
    assert set(again.index) == {EXPERT, DEFAULTS, RANDOM, HALVING, ONE_SETTING}
    assert kept["pool"].shape == (3, 3)
    assert kept["pool"][:, 2].mean() == pytest.approx(
        search[(search.subject == RANDOM) & (search.trials == 1)].expected_best.iloc[0]
    )


def test_several_starts_are_the_same_for_all_settings_and_differ_among_themselves():
    task = TINY.task(context())
    one = study.OF_CURVES[EXPERT]
    frozen = one._replace(rate=0.0)  # the accuracy of the start itself
    groups = [
        Repeated([one, one], 3, ("anew", "anew")),
        Repeated([frozen], 3, ("anew", "other")),
        Repeated([frozen], 3, ("anew", "anew")),
    ]
    (validation, test), (_, other), (_, anew) = TINY.several(groups, task, context())
    assert validation.shape == test.shape == (2, 3)
    assert np.array_equal(test[0], test[1])
    assert np.array_equal(other, anew)
    assert len(set(anew[0])) > 1


def test_groups_trained_at_once_are_what_each_is_alone():
    task = TINY.task(context())
    groups = [
        Repeated([study.OF_CURVES[EXPERT]], 2, ("anew", "anew")),
        Repeated([study.OF_CURVES[EXPERT]], 3, ("one", "two")),
    ]
    together = TINY.several(groups, task, context())
    for group, found in zip(groups, together, strict=True):
        (alone,) = TINY.several([group], task, context())
        assert np.abs(np.array(found) - np.array(alone)).max() <= 1 / 40  # of the fewest examples, one, by rounding


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bits(trial):
    assert repr(measurements(TINY, context())) == repr(trial[0])


def test_without_a_rung_halving_is_a_random_search():
    """One level only: as many settings as trials, the same ones, the same choice."""
    rows = pd.DataFrame(measurements(ExpertTuning(**{**vars(TINY), "levels": 1}), context()))
    rows = rows[rows.over == "anew"].set_index("subject")
    assert rows.test_accuracy[HALVING] == rows.test_accuracy[RANDOM]


def test_optuna_adds_its_arms(trial):
    pytest.importorskip("optuna")
    rows = pd.DataFrame(measurements(ExpertTuning(**{**vars(TINY), "optuna": True}), context()))
    again = rows[rows.over == "anew"].set_index("subject").test_accuracy
    assert {study.TPE, study.ASHA} < set(again.index)
    without = pd.DataFrame(trial[0])
    without = without[without.over == "anew"].set_index("subject").test_accuracy
    assert again[without.index].to_dict() == without.to_dict()  # the others are what they were


# ---------------------------------------------------------------------------------------------------------- the rules


def frame(expert=0.6, defaults=0.4, random=0.58, halving=0.55, luck=0.0, gain=0.3):
    rows = []
    for seed in range(6):
        noise = 0.004 * np.random.default_rng(seed).standard_normal()
        marks = Marks(expert, defaults)
        size = {"seed": seed, "steps": 9, "channels": 2}
        for subject, accuracy in ((EXPERT, expert), (DEFAULTS, defaults), (RANDOM, random), (HALVING, halving)):
            for over in ("search", "anew"):
                row = {**size, "subject": subject, "over": over, **marks.of(accuracy + noise), "gain": math.nan}
                trials = (1, 20) if over == "search" and subject == RANDOM else (20,)
                for k in trials:
                    rows.append({**row, "trials": k if over == "search" else math.nan, "expected_best": random})
                if subject == RANDOM and over == "anew":
                    rows[-1]["gain"] = gain + noise
        for over, more in (("search", 0.05), ("anew", luck)):
            rows.append({**size, "subject": ONE_SETTING, "over": over, "test_accuracy": expert, "gain": more + noise})
    return pd.DataFrame(rows).set_index("seed")


def outcomes(rows):
    return [claim.rule(rows).outcome for claim in ExpertTuning.claims]


def test_what_is_claimed_makes_every_rule_hold():
    assert outcomes(frame()) == ["holds"] * 6


@pytest.mark.parametrize(
    ("change", "failing"),
    [
        ({"expert": 0.42, "random": 0.42, "halving": 0.42}, [0]),
        ({"random": 0.45}, [1]),
        ({"halving": 0.45}, [2]),
        ({"luck": 0.05}, [3]),
        ({"gain": 0.05}, [4]),
        ({"expert": 0.3, "defaults": 0.1, "random": 0.3, "halving": 0.3}, [5]),
    ],
)
def test_what_breaks_a_rule(change, failing):
    assert [i for i, outcome in enumerate(outcomes(frame(**change))) if outcome != "holds"] == failing


def test_kinds_of_controls_and_too_few_seeds():
    assert [c.kind for c in ExpertTuning.claims if isinstance(c, Control)] == ["negative", "positive", "gate"]
    assert set(outcomes(frame().loc[:4])) == {"inconclusive"}


# -------------------------------------------------------------------------------------------------------- the picture


@pytest.mark.parametrize("rows", [pd.DataFrame(), frame().iloc[:0], frame(), frame().loc[[3]]])
@pytest.mark.parametrize("kept", [False, True])
def test_the_picture(rows, kept, trial):
    figure = drawn(TINY, rows, {3: trial[1]} if kept else {})
    assert len(figure.axes) == 3
    assert bool(figure.axes[0].lines) == bool(len(rows))
    assert bool(figure.axes[2].collections) == kept
