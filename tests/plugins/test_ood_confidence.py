"""ood_confidence: what is drawn and split, what is measured, and rules on frames whose verdict is known."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from dlbench import Context, Control
from dlbench.data.images import DIGITS
from dlbench.errors import ParameterError
from dlbench.runner.trial import measurements
from dlbench.stacking import Stack
from dlbench_plugins import networks
from dlbench_plugins.uncertainty import horse, judging, outsiders, silhouettes
from dlbench_plugins.uncertainty import ood_confidence as study
from dlbench_plugins.uncertainty.ood_confidence import OODConfidence

from .drawing import drawn

TINY = OODConfidence(pairs=2, steps=40, width=16, members=2, most=60)


def context(seed=100):
    return Context(seed=seed, loader=lambda name: DIGITS.load())


# -------------------------------------------------------------------------------------------------------- the pictures


@pytest.mark.parametrize("species", silhouettes.ANIMALS)
def test_animals_are_light_on_dark_and_each_its_own(species):
    pictures = silhouettes.animals(species, 20, 16, np.random.default_rng(0))
    assert pictures.shape == (20, 16, 16)
    assert pictures.dtype == np.float32
    assert pictures.min() == 0
    assert pictures.max() == 1
    assert 0.1 < pictures.mean() < 0.4
    assert len(np.unique(pictures.reshape(20, -1), axis=0)) == 20
    assert np.array_equal(pictures, silhouettes.animals(species, 20, 16, np.random.default_rng(0)))


def test_there_are_no_other_animals():
    with pytest.raises(ValueError, match="species is 'cow'; it must be cat, dog, horse"):
        silhouettes.animals("cow", 1, 8, np.random.default_rng(0))


def test_a_stroke_is_as_long_and_as_wide_as_it_should_be():
    """A horizontal line of length 1 and half width 0.1, with round ends: its area is 0.2 + 0.01π of the canvas's 4."""
    canvas = silhouettes._Canvas(1, 200, np.random.default_rng(0), scale=0, shift=0)
    area = canvas.stroke(-0.5, 0, 0.5, 0, 0.1).sum() * (2 / 200) ** 2
    assert area == pytest.approx(0.2 + 0.01 * math.pi, rel=0.01)
    assert canvas.ellipse(0, 0, 0.5, 0.25).sum() * 1e-4 == pytest.approx(math.pi * 0.125, rel=0.02)
    assert canvas.triangle((0, 0), (0.5, 0), (0, 0.5)).sum() * 1e-4 == pytest.approx(0.125, rel=0.02)


# ------------------------------------------------------------------------------------------------------------ the data


def test_pairs_are_drawn_once():
    pairs = outsiders.drawn_pairs(45, np.random.default_rng(0))
    assert len(set(pairs)) == 45
    assert all(a < b for a, b in pairs)


def test_no_image_serves_two_purposes():
    digits = DIGITS.load()
    numbered = {"x": np.zeros((1797, 2, 2), np.float32), "y": digits["y"]}
    numbered["x"][:, 0, 0] = np.arange(1797)
    problem = outsiders.of_classes(numbered, (3, 8), (), 10**6, np.random.default_rng(0))
    groups = [problem.train[0], problem.validation[0], problem.test[0], problem.outside["near"], problem.shown]
    numbers = [group[:, 0, 0, 0].astype(int) for group in groups]
    assert sum(map(len, numbers)) == len(set(np.concatenate(numbers).tolist())) == 1797
    of_class = [digits["y"][n] for n in numbers]
    assert all(set(y.tolist()) == {3, 8} for y in of_class[:3])
    assert all(set(y.tolist()) == set(range(10)) - {3, 8} for y in of_class[3:])
    for (_, y), known in zip((problem.train, problem.validation, problem.test), of_class, strict=False):
        assert np.array_equal(y, known == 8)


def test_published_splits_and_named_outsiders_are_kept():
    rng = np.random.default_rng(0)
    data = {f"{part}_x": rng.random((200, 3, 8, 8), np.float32) for part in ("train", "test")}
    data |= {f"{part}_y": np.arange(200) % 10 for part in ("train", "test")}
    problem = outsiders.of_classes(data, (3, 5), (7,), 15, rng)
    assert problem.outside["near"].shape == (15, 3, 8, 8)
    assert all(any(np.array_equal(x, other) for other in data["test_x"][7::10]) for x in problem.outside["near"])
    assert len(problem.test[0]) == 40
    assert len(problem.train[0]) + len(problem.validation[0]) == 40
    assert problem.scribbles.shape == problem.train[0].shape


def test_far_outsiders_are_shuffled_pixels_and_noise():
    problem = outsiders.of_silhouettes(20, 16, np.random.default_rng(0))
    shuffled, noise = np.split(problem.outside["far"], 2)
    test = {tuple(np.sort(image.ravel())) for image in problem.test[0]}
    assert {tuple(np.sort(image.ravel())) for image in shuffled} == test
    assert noise.mean() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(
    ("seen", "unseen"), [((3, 5), (5,)), ((3,), ()), ((3, 3), ()), ((3, 5, 7), ()), ((3, 3, 5), ())]
)
def test_two_classes_and_others_are_asked_for(seen, unseen):
    with pytest.raises(ParameterError, match="give two classes, and others"):
        OODConfidence(seen=seen, unseen=unseen)


# -------------------------------------------------------------------------------------------------------- the networks


@pytest.mark.parametrize("kind", ["mlp", "cnn"])
def test_networks_take_images_and_stack(kind):
    nets = [networks.network(kind, (3, 9, 9), 4, width=8, dropout=0.2) for _ in range(2)]
    assert Stack(nets)(torch.zeros(5, 3, 9, 9)).shape == (2, 5, 4)
    assert any(isinstance(module, nn.Dropout) for module in nets[0].modules())
    assert not any(isinstance(module, nn.Dropout) for module in networks.network(kind, (3, 9, 9), 4, width=8).modules())


def test_losses_by_hand():
    stack = Stack([nn.Linear(1, 2)])
    logits, y = torch.tensor([[[0.0, math.log(3)], [0.0, 0.0]]]), torch.tensor([[1]])
    assert study.loss("plain", stack, logits[:, :1], y).item() == pytest.approx(-math.log(0.75))
    exposed = study.loss("outlier_exposure", stack, logits, y).item()
    assert exposed == pytest.approx(-math.log(0.75) + study.EXPOSURE * math.log(2))
    sigmoids = (math.log(2) - math.log(0.75)) / 2  # of logit 0 not to be the class, of log 3 to be it
    assert study.loss("one_vs_rest", stack, logits[:, :1], y).item() == pytest.approx(sigmoids)


# ----------------------------------------------------------------------------------------------------------- the trial


@pytest.fixture(scope="module")
def trial():
    of = context()
    return pd.DataFrame(measurements(TINY, of)), of.kept


def test_every_subject_is_measured(trial):
    rows, kept = trial
    detectors = {"max_logit", "energy", "knn", "mahalanobis", "relative_mahalanobis", "vim", "odin"}
    subjects = {*study.SOFTMAX, *detectors, "one_vs_rest", "ensemble_mi", "mc_dropout_mi", "shown_both"}
    assert set(rows.subject) == subjects
    assert set(rows.data) == {"digits", "silhouettes"}
    assert set(rows.outside) == {"near", "far", "held_out", "scaled"}
    assert set(rows[rows.outside == "scaled"].scale) == set(judging.SCALES[1:])
    near = judging.at(rows).set_index("subject")
    assert near.auroc.notna().all()
    assert near.auroc["shown_both"] > 0.9
    # of two classes no temperature changes the order
    assert near.auroc["temperature"] == pytest.approx(near.auroc["msp"], abs=0.02)
    assert {"animals", "horse_probabilities", "confidences_near", "curve_msp"} <= set(kept)
    assert kept["animals"].shape == (3, 16, 16)


def test_softmax_sums_to_one_and_sigmoids_do_not(trial):
    held_out = trial[0][trial[0].outside == "held_out"]
    assert held_out[held_out.subject.isin(study.SOFTMAX)].mass_error.max() < 1e-6
    assert held_out[held_out.subject == "one_vs_rest"].mass_error.min() > 0.01


def test_references_name_settings_that_a_trial_has(trial):
    known = {*trial[0].columns, *OODConfidence.__dataclass_fields__}
    for reference in OODConfidence.references:
        assert set(reference.where) <= known
        assert reference.metric in OODConfidence.metrics
        assert reference.where["subject"] in set(trial[0].subject)
        assert 0.8 < reference.value < 1


def test_passing_is_an_roc_curve():
    curve = horse.passing(np.array([3.0, 1.0]), np.array([2.0, 0.0]))
    assert curve[0] == pytest.approx(0.5)
    assert curve[-1] == 1
    assert np.all(np.diff(curve) >= 0)


# ----------------------------------------------------------------------------------------------------------- the rules


def frame(**change):
    """Six seeds of a network that is confident of what it has never seen, and of detectors that do better."""
    setting = {"confident": 0.7, "bright": 0.99, "sum": 1e-7, "accuracy": 0.99, "held_out": 0.5, "flagged": 0.05}
    setting |= {"shown": 0.99, "ovr": 0.4, "exposed": 0.96} | dict.fromkeys(DETECTORS, 0.93) | change
    rows = []
    for seed in range(6):
        noise = 0.003 * np.random.default_rng(seed).standard_normal()
        for data in ("digits", "silhouettes"):
            for subject in (*study.SOFTMAX, "one_vs_rest", "ensemble_mi", "knn", "mahalanobis"):
                auroc = setting.get(subject, setting["exposed"] if subject == "outlier_exposure" else 0.9)
                common = {"seed": seed, "subject": subject, "data": data, "scale": 1.0}
                confident = setting["ovr"] if subject == "one_vs_rest" else setting["confident"]
                scores = {"auroc": auroc + noise * len(subject), "validation_auroc": auroc, "confident": confident}
                rows += [{**common, "outside": outside, **scores} for outside in ("near", "far")]
                held_out = {"auroc": setting["held_out"] + noise, "flagged": setting["flagged"] + noise}
                held_out |= {"accuracy": setting["accuracy"], "mass_error": setting["sum"]}
                rows.append({**common, "outside": "held_out", **held_out})
                rows.append({**common, "outside": "scaled", "scale": 10.0, "confidence": setting["bright"]})
            shown = {"subject": "shown_both", "auroc": setting["shown"], "validation_auroc": 1.0}
            rows.append({"seed": seed, "data": data, "outside": "near", "scale": 1.0, **shown})
    return pd.DataFrame(rows).set_index("seed")


DETECTORS = ("ensemble", "ensemble_mi", "knn", "mahalanobis")
HOLDS = "holds"


def outcomes(rows):
    return [claim.rule(rows).outcome for claim in OODConfidence.claims]


def test_what_makes_every_claim_hold():
    assert outcomes(frame()) == [HOLDS] * 16


@pytest.mark.parametrize(
    ("change", "failing"),
    [
        ({"sum": 0.1}, [0]),
        ({"confident": 0.45}, [1, 2]),
        ({"bright": 0.8}, [3]),
        ({"ovr": 0.8}, [4]),
        (dict.fromkeys(DETECTORS, 0.8), [5, 6, 7, 8, 9, 10]),
        ({"knn": 0.8}, [9]),
        ({"exposed": 0.8}, [11]),
        ({"held_out": 0.7}, [12]),  # training images taken for insiders
        ({"shown": 0.6}, [13]),  # classes that cannot be told at all
        ({"accuracy": 0.8}, [14]),
        ({"flagged": 0.3}, [15]),
    ],
)
def test_what_breaks_a_rule(change, failing):
    assert [i for i, outcome in enumerate(outcomes(frame(**change))) if outcome != HOLDS] == failing


def test_the_detector_is_chosen_by_scribbles_and_not_by_the_test():
    rows = frame()
    rows.loc[(rows.subject == "knn") & (rows.outside == "near"), "auroc"] = 0.99
    rows.loc[rows.subject == "mahalanobis", "validation_auroc"] = 0.95
    rows.loc[rows.subject == "outlier_exposure", "validation_auroc"] = 1.0
    gain = study.gain_of_chosen(rows)
    expected = judging.of(rows, "mahalanobis").auroc - judging.of(rows, "msp").auroc
    assert gain.to_numpy() == pytest.approx(expected.to_numpy())


def test_controls_are_of_every_kind():
    kinds = [claim.kind for claim in OODConfidence.claims if isinstance(claim, Control)]
    assert kinds == ["negative", "positive", "gate", "gate"]


def test_rules_decide_nothing_on_too_few_seeds_or_without_scores():
    assert set(outcomes(frame().loc[:3])) == {"inconclusive"}
    assert set(outcomes(frame().assign(**dict.fromkeys(OODConfidence.metrics, math.nan)))) == {"inconclusive"}


# --------------------------------------------------------------------------------------------------------- the picture


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("rows", [pd.DataFrame(), frame().iloc[:0], frame(), frame().drop(columns="auroc")])
def test_picture(rows, kept, trial):
    figure = drawn(TINY, rows, {3: trial[1]} if kept else {})
    assert len(figure.axes) == 7
