"""uncertainty_disentanglement: causes, losses and estimates in closed form, rules on frames whose verdict is known."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import digamma, gammaln

from dlbench import Context, Control
from dlbench.data.images import DIGITS
from dlbench.errors import ParameterError
from dlbench.runner.trial import measurements
from dlbench_plugins.uncertainty import uncertainty_disentanglement as study
from dlbench_plugins.uncertainty.uncertainty_disentanglement import BASE, CLASSES, Cell, UncertaintyDisentanglement

from .drawing import drawn

TINY = UncertaintyDisentanglement(width=16, members=2, train_size=200, test_size=200, steps=30)


def context(seed=100):
    return Context(seed=seed, loader=lambda name: DIGITS.load())


# ---------------------------------------------------------------------------------------------------------- the causes


@pytest.fixture(scope="module")
def images():
    return study.drawn("digits", 300, context())


def test_training_and_test_images_are_all_there_is(images):
    assert images.x.shape == (1497, 1, 8, 8)
    assert images.test_x.shape == (300, 1, 8, 8)
    assert sorted(images.classes) == list(range(10))


def test_scarcer_examples_are_the_first_of_more(images):
    more, fewer = (TINY.sample(images, cell, context()) for cell in (BASE, Cell("scarcity", 3)))
    assert len(more.rows) == 200
    assert np.array_equal(fewer.rows, more.rows[:25])
    assert np.array_equal(more.labels, images.y)


def test_more_noise_keeps_what_was_thrown(images):
    few, many = (TINY.sample(images, Cell("noise", level), context()) for level in (1, 5))
    assert np.array_equal(few.rows, many.rows)
    wrong = few.labels != images.y
    assert wrong.mean() == pytest.approx(0.09, abs=0.025)
    assert (many.labels != images.y).mean() == pytest.approx(0.45, abs=0.04)
    assert np.array_equal(few.labels[wrong], many.labels[wrong])


def test_unseen_classes_are_not_among_as_many_examples(images):
    sample = TINY.sample(images, Cell("unseen", 5), context())
    assert len(sample.rows) == 200
    assert set(images.y[sample.rows]) == set(images.classes[5:])


def test_a_cause_that_is_none_draws_other_examples(images):
    base, other = (TINY.sample(images, cell, context()) for cell in (BASE, Cell("placebo", 1)))
    assert len(other.rows) == len(base.rows)
    assert not np.array_equal(other.rows, base.rows)
    assert np.array_equal(other.labels, base.labels)


def test_too_many_examples_are_refused():
    with pytest.raises(ParameterError, match="1000 examples are asked for and 5 classes left out leave"):
        list(UncertaintyDisentanglement(train_size=1000).trial(context()))


# ----------------------------------------------------------------------------------------------------------- estimates


def test_the_oracle_knows_the_noise():
    """Of a die thrown half of the time: 0.55 for the class, 0.05 for each of nine others."""
    prediction = np.full((1, CLASSES), 0.1)
    found = study.oracle(prediction, np.array([2]), Cell("noise", 5))
    entropy = -(0.55 * math.log(0.55) + 0.45 * math.log(0.05))
    assert found.au == pytest.approx([entropy])
    assert found.eu == pytest.approx([math.log(10) - entropy])
    clean = study.oracle(prediction, np.array([2]), BASE)
    assert clean.au == pytest.approx([0])
    assert clean.eu == pytest.approx([math.log(10)])


def test_members_who_agree_know_all_there_is():
    answers = torch.tensor([[[1.0, 2.0, 0.0]]]).expand(4, 1, 3)
    assert study.estimate("ensemble", answers).eu == pytest.approx([0], abs=1e-9)
    assert study.estimate("ensemble", torch.tensor([[[50.0, 0.0]], [[0.0, 50.0]]])).eu == pytest.approx([math.log(2)])


def test_evidence_for_nothing_is_uncertain_both_ways():
    found = study.estimate("evidential", torch.full((1, 1, 10), -40.0))  # the Dirichlet distribution is uniform
    assert found.prediction == pytest.approx(np.full((1, 10), 0.1))
    assert found.au == pytest.approx([digamma(11) - digamma(2)])


def test_noisy_logits_without_noise_are_the_usual_loss():
    means, y = torch.randn(2, 5, CLASSES), torch.randint(CLASSES, (2, 5))
    silent = torch.cat([means, torch.full_like(means, -80.0)], -1)
    assert torch.allclose(study.noisy_logits(1)(silent, y), study.cross_entropy(1)(means, y), atol=1e-5)


def test_evidential_loss_by_hand():
    """Concentrations 1 + log 2 each: all probabilities 0.1."""
    y = torch.tensor([[3]])
    loss = study.evidence(steps=2)
    first, second = (loss(torch.zeros(1, 1, CLASSES), y).item() for _ in range(2))
    a = 1 + math.log(2)
    error = digamma(10 * a) - digamma(a)
    total = 1 + 9 * a
    divergence = gammaln(total) - 9 * gammaln(a) - gammaln(10) + 9 * (a - 1) * (digamma(a) - digamma(total))
    assert first == pytest.approx(error + 0.5 * divergence, rel=1e-5)
    assert second == pytest.approx(error + divergence, rel=1e-5)


# ----------------------------------------------------------------------------------------------------------- the trial


@pytest.fixture(scope="module")
def trial():
    return pd.DataFrame(measurements(TINY, context()))


def test_every_cell_is_measured(trial):
    assert set(trial.subject) == {*study.METHODS, "oracle"}
    cells = trial[trial.cause != "all"].groupby(["subject", "cause"])["level"].apply(sorted)
    assert all(np.allclose(levels, np.arange(6) / 5) for levels in cells)
    assert len(cells) == 5 * 4
    assert trial[trial.cause == "all"].disentanglement_error.between(0, 1.5).all()
    base = trial[(trial.level == 0) & ~trial.cause.isin(["all", "unseen"])]  # whose rows are of fewer images
    assert (base.groupby("subject").au.nunique() == 1).all()
    assert trial[(trial.cause == "unseen") & (trial.level > 0) & (trial.subject != "oracle")].auroc_eu.notna().all()


# ----------------------------------------------------------------------------------------------------------- the rules


def frame(crossed=0.9, method_crossed=None, oracle=0.0, moved=0.0, own=1.0, rank=0.9, auroc=0.05, accuracy=0.95):
    """Six seeds of estimates whose answer to the other's cause is so large a share of the right one's."""
    rows = []
    for seed in range(6):
        noise = 0.01 * np.random.default_rng(seed).standard_normal()
        for subject in (*study.METHODS, "oracle"):
            share = (method_crossed or {}).get(subject, oracle if subject == "oracle" else crossed)
            for cause in (*study.CAUSES, "placebo"):
                for level in np.arange(6) / 5:
                    right, wrong = (moved, moved) if cause == "placebo" else (own, own * (share + noise))
                    au, eu = (right, wrong) if study.CAUSES.get(cause) == "au" else (wrong, right)
                    row = {"seed": seed, "subject": subject, "cause": cause, "level": level}
                    row |= {"au": 0.2 + au * level, "eu": 0.1 + eu * level, "accuracy": accuracy}
                    row |= {"spearman": rank + noise, "auroc_au": 0.8, "auroc_eu": 0.8 + auroc + noise}
                    rows.append(row)
    return pd.DataFrame(rows).set_index("seed")


HOLDS, FAILS = "holds", "does not hold"


def outcomes(rows):
    return [claim.rule(rows).outcome for claim in UncertaintyDisentanglement.claims]


def test_estimates_that_move_together_are_not_kept_apart():
    assert outcomes(frame()) == [FAILS] * 5 + [HOLDS] * 5


def test_one_method_that_keeps_them_apart_is_enough():
    rows = frame(method_crossed={"evidential": 0.1}, rank=0.2)
    assert outcomes(rows) == [HOLDS] * 10
    assert "evidential" in UncertaintyDisentanglement.claims[0].rule(rows).criterion


@pytest.mark.parametrize(
    ("change", "failing"),
    [
        ({"auroc": -0.05}, [5]),
        ({"oracle": 0.8}, [7]),
        ({"moved": 0.9}, [8]),
        ({"accuracy": 0.3}, [9]),
        ({"own": -1.0}, [6, 7, 8]),
    ],
)
def test_what_breaks_a_rule(change, failing):
    assert [i for i, outcome in enumerate(outcomes(frame(**change))) if outcome != HOLDS][5:] == failing


def test_a_wrong_answer_is_measured_by_the_right_one():
    excess = study.over(pd.Series([0.1, -0.2, 5.0, math.nan]), pd.Series([0.5, -1.0, 10.0, 1.0]))
    assert excess[:3].tolist() == pytest.approx([-0.05, 0.5, 2.0])
    assert math.isnan(excess[3])


def test_the_worst_cause_of_the_best_method_shows():
    verdict = UncertaintyDisentanglement.claims[0].rule(frame(method_crossed={"evidential": 0.5}))
    assert "evidential" in verdict.criterion
    assert verdict.estimate == pytest.approx(0.2, abs=0.02)


def test_rules_decide_nothing_on_too_few_seeds_or_without_scores():
    assert set(outcomes(frame().loc[:3])) == {"inconclusive"}
    nothing = frame().assign(**dict.fromkeys(UncertaintyDisentanglement.metrics, math.nan))
    assert set(outcomes(nothing)) == {"inconclusive"}


def test_controls_are_of_every_kind():
    kinds = [claim.kind for claim in UncertaintyDisentanglement.claims if isinstance(claim, Control)]
    assert kinds == ["positive", "positive", "negative", "gate"]


# --------------------------------------------------------------------------------------------------------- the picture


@pytest.mark.parametrize("rows", [pd.DataFrame(), frame().iloc[:0], frame(), frame().loc[[3]]])
def test_picture(rows):
    figure = drawn(TINY, rows, {})
    assert len(figure.axes) == 6
    assert [axes.get_xlabel() for axes in figure.axes[3:]] == list(study.TURNED_UP.values())
    assert all(len(axes.lines) == (5 if len(rows) else 0) for axes in figure.axes)
