"""fit_without_generalization: regression in closed form, starts and labels, and rules on frames with known verdicts."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure

from dlbench import Context, Control
from dlbench.data.images import CIFAR10, DIGITS
from dlbench.errors import ParameterError
from dlbench.runner.trial import measurements
from dlbench.stacking import Dropout
from dlbench_plugins.generalization import fit_without_generalization as study
from dlbench_plugins.generalization.fit_without_generalization import FitWithoutGeneralization, Images

TINY = FitWithoutGeneralization(
    train_sizes=(40, 120),
    examples=60,
    validation=40,
    random_shares=(0.4, 1.0),
    members=2,
    steps=60,
    pretraining_steps=40,
    copies=2,
    widths=(4, 8, 40, 100),
    many_points=1000,
    draws=3,
)


def context(seed=100):
    sets = {"digits": DIGITS, "cifar10": CIFAR10}
    return Context(seed=seed, loader=lambda name: sets[name].load())


# -------------------------------------------------------------------------------------------------------- regression


def test_least_norm_is_the_pseudo_inverse_and_ridge_its_textbook_form():
    rng = np.random.default_rng(0)
    for n, m in ((30, 7), (7, 30)):
        h, y = rng.standard_normal((n, m)), rng.standard_normal(n)
        assert np.allclose(study.least_norm(h, y, 0.0), np.linalg.pinv(h) @ y)
        penalty = 0.1 * n * np.square(h).mean()
        assert np.allclose(study.least_norm(h, y, 0.1), np.linalg.inv(h.T @ h + penalty * np.eye(m)) @ h.T @ y)


def test_as_many_units_as_points_pass_through_them():
    x, y = study.sine(np.random.default_rng(0), 20)
    units = study.relu_features(20, np.random.default_rng(1))(x)
    assert units.shape == (20, 20)
    assert (units >= 0).all()
    assert study.rmse(units @ study.least_norm(units, y, 0.0), y) < 1e-6


def test_validation_chooses_the_penalty():
    rng = np.random.default_rng(0)
    h = [rng.standard_normal((n, 5)) for n in (30, 50, 50)]
    train, validation, test = (study.Sample(rng.random(len(part)), part @ np.ones(5)) for part in h)
    assert study.regression(h, train, validation, test, (10.0, 0.0)) == pytest.approx((0, 0), abs=1e-9)


def test_the_sines_noise_is_what_is_said():
    x, y = study.sine(np.random.default_rng(0), 100_000)
    assert (y - np.sin(2 * np.pi * x)).std() == pytest.approx(study.NOISE, abs=0.005)


# ------------------------------------------------------------------------------------------------------------ images


def test_labels_to_train_and_validate_with_are_thrown_and_those_of_the_test_are_true():
    images = Images(TINY, context())
    assert images.trained == 120
    thrown, true = images.labels(1.0), images.labels(0.0)
    assert torch.equal(true, torch.from_numpy(images.y))
    assert (thrown[:120] != true[:120]).double().mean() == pytest.approx(0.9, abs=0.1)
    assert torch.equal(thrown[120:], true[120:])


def test_errors_are_of_their_part():
    images = Images(TINY, context())
    classes = images.labels(0.0).clone()
    classes[:30] = -1  # half of the examples
    classes[80:90] = -1  # a quarter of the validation's
    row = images.row("network", 60, 0.0, classes)
    assert (row["train_error"], row["test_error"], row["gap"]) == (0.5, 0.0, -0.5)
    assert images.validation_error(classes, 0.0) == 0.25


def test_a_training_set_that_leaves_nothing_to_test_is_refused():
    with pytest.raises(ParameterError, match="1797 of 1797 images of digits are asked for, and some to test with"):
        list(FitWithoutGeneralization(train_sizes=(1797,), draws=1, widths=(4,)).trial(context()))


def test_ridge_of_indicators_is_scikit_learns():
    from sklearn.linear_model import Ridge

    images = Images(TINY, context())
    ours = images.ridge(images.labels(0.0), 60, 0.1).numpy()
    x = np.pad(images.x.flatten(1).double().numpy(), ((0, 0), (0, 1)), constant_values=1.0)
    penalty = 0.1 * 60 * np.square(x[:60]).mean()
    theirs = Ridge(alpha=penalty, fit_intercept=False).fit(x[:60], np.eye(10)[images.y[:60]]).predict(x).argmax(1)
    assert (ours == theirs).mean() > 0.999


# ---------------------------------------------------------------------------------------------------------- networks


@pytest.mark.parametrize("name", ["mlp_1x128", "mlp_3x512", "inception", "resnet18"])
def test_networks_take_colour_images(name):
    assert study.network(name, (3, 28, 28), 0.2)(torch.zeros(2, 3, 28, 28)).shape == (2, 10)


def test_the_resnet_has_the_usual_number_of_parameters():
    net = study.network("resnet18", (3, 32, 32), 0.0)
    assert sum(p.numel() for p in net.parameters()) == 11_173_962  # as with batch normalization


def test_networks_differ_in_dropout_decay_and_start_and_else_are_as_alone():
    images, of = Images(TINY, context()), context()
    plain = study.Job("plain", 60, 0.0)
    jobs = [plain, plain._replace(decay=10.0), plain._replace(rate=1e-3), plain._replace(dropout=0.5)]
    fits = dict(TINY.train(jobs, False, images, of)) | dict(TINY.train(jobs, True, images, of))
    alone = dict(TINY.train([plain], False, images, of))
    assert list(fits) == jobs
    assert torch.allclose(fits[plain].chances, alone[plain].chances, atol=1e-4)
    sure = [float(fits[job].chances[:60].max(1).values.mean()) for job in jobs]
    assert sure[0] > max(sure[1:3]) + 0.05
    assert fits[plain].classes.shape == (study.LOOKS, len(images.y))


def test_dropout_leaves_out_its_share_and_keeps_the_mean():
    dropout = Dropout(0.8)
    x = dropout(torch.ones(100_000))
    assert (x == 0).double().mean() == pytest.approx(0.8, abs=0.01)
    assert x.mean() == pytest.approx(1.0, abs=0.03)
    assert torch.equal(dropout.eval()(x), x)


def test_the_bad_start_comes_from_the_common_one():
    images = Images(TINY, context())
    start, first = images.bad_start(), images.net(0)
    moved = [not torch.equal(a, b) for a, b in zip(start.parameters(), first.parameters(), strict=True)]
    assert all(moved)


# --------------------------------------------------------------------------------------------------------- the trial


@pytest.fixture(scope="module")
def trial():
    return measurements(TINY, context())


def test_every_arm_and_method_is_measured(trial):
    rows = pd.DataFrame(trial)
    images = rows[rows.task == "images"]
    assert set(images.subject) == {
        "network",
        "another die (1)",
        "another die (2)",
        "another start",
        "bad start",
        *study.METHODS,
    }
    network = images[images.subject == "network"]
    assert sorted(zip(network.examples, network.random_share, strict=True)) == [
        (40, 0.0),
        (60, 0.0),
        (60, 0.4),
        (60, 1.0),
        (120, 0.0),
    ]
    assert (images[images.subject.isin(study.METHODS)].groupby("subject").size() == 2).all()
    assert np.allclose(images.gap, images.test_error - images.train_error)
    sine = rows[rows.task == "sine"]
    assert len(sine) == 2 * (4 + 1)
    assert (sine[(sine.subject == "features") & (sine.width > 40)].train_rmse < 1e-3).all()


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bits(trial):
    assert measurements(TINY, context()) == trial


def test_publishers_splits_of_colour_images_are_kept():
    rng = np.random.default_rng(0)
    made = {f"{part}_x": rng.random((n, 3, 32, 32), np.float32) for part, n in (("train", 150), ("test", 20))}
    made |= {f"{part}_y": np.arange(n) % 10 for part, n in (("train", 150), ("test", 20))}
    of = Context(seed=100, loader=lambda name: made)
    tiny = {"train_sizes": (40,), "examples": 30, "validation": 20, "steps": 3, "pretraining_steps": 3, "draws": 1}
    experiment = FitWithoutGeneralization.preset("full", {**tiny, "network": "mlp_1x512", "widths": (5, 40)})
    images = Images(experiment, of)
    assert images.trained == 50
    assert images.x.shape == (70, 3, 28, 28)
    assert images.y[50:].tolist() == made["test_y"].tolist()
    assert {row["examples"] for row in experiment.trial(of) if row["task"] == "images"} == {30, 40}


def test_references_name_settings_that_a_trial_has(trial):
    known = {key for row in trial for key in row} | set(TINY.__dataclass_fields__)
    for reference in FitWithoutGeneralization.references:
        assert set(reference.where) <= known
        assert reference.metric in FitWithoutGeneralization.metrics


@pytest.mark.parametrize("preset", list(FitWithoutGeneralization.presets))
def test_data_sets_are_named(preset):
    experiment = FitWithoutGeneralization.preset(preset)
    assert experiment.datasets() == (experiment.dataset,)


# --------------------------------------------------------------------------------------------------------- the rules


def frame(bad=0.2, few=0.25, noisy=0.4, random=0.9, fits=0.0, early=(0.3, 0.1), help=0.0, peak=3.0, widest=0.3,
          ridge=0.35, crowded=1.0, other=0.04):  # fmt: skip
    rows = []
    for seed in range(6):
        noise = 0.002 * np.random.default_rng(seed).standard_normal()

        def image(subject, test, train=0.0, examples=400, share=0.0, seed=seed, noise=noise):
            row = {"seed": seed, "subject": subject, "task": "images", "examples": examples, "random_share": share}
            rows.append({**row, "train_error": train, "test_error": test + noise, "gap": test - train})

        def sine(subject, width, test, train=0.1, points=40, seed=seed, noise=noise):
            row = {"seed": seed, "subject": subject, "task": "sine", "examples": points, "width": width}
            rows.append({**row, "test_rmse": test * (1 + noise), "train_rmse": train})

        for examples, test in ((50, few), (400, 0.04), (1400, 0.02)):
            image("network", test, examples=examples)
        image("network", noisy, train=fits, share=0.4)
        image("network", random, train=fits, share=1.0)
        image("another die (1)", random, train=fits, share=1.0)
        image("another start", other + noise)
        image("bad start", bad, train=fits)
        for share, test in ((0.0, 0.04), (0.4, 0.4)):
            for method in study.METHODS:
                image(method, test - (help if method != "plain" else 0), share=share)
        rows[-5] |= {"train_error": early[0], "test_error": early[1]}
        for width, test in ((8, 0.35), (40, peak), (1600, widest)):
            sine("features", width, test)
            sine("ridge features", width, min(test, ridge))
        sine("features", 8, 0.3 * crowded, train=0.3, points=4000)
    return pd.DataFrame(rows).set_index("seed")


def outcomes(rows):
    return [claim.rule(rows).outcome for claim in FitWithoutGeneralization.claims]


HOLDS = "holds"


def test_what_is_claimed_makes_every_rule_hold():
    assert outcomes(frame()) == [HOLDS] * 13


@pytest.mark.parametrize(
    ("change", "failing"),
    [
        ({"bad": 0.05}, [0]),
        ({"fits": 0.05}, [0, 2, 3, 11]),
        ({"few": 0.06}, [1]),
        ({"noisy": 0.05}, [2, 4]),
        ({"random": 0.7}, [3, 12]),
        ({"early": (0.05, 0.1)}, [4]),
        ({"early": (0.3, 0.38)}, [4]),
        ({"help": 0.035}, [5]),
        ({"peak": 0.4}, [6]),
        ({"widest": 1.0}, [7]),
        ({"ridge": 3.0}, [8]),
        ({"crowded": 1.3}, [9]),
        ({"other": 0.1}, [10]),
    ],
)
def test_what_breaks_a_rule(change, failing):
    assert [i for i, outcome in enumerate(outcomes(frame(**change))) if outcome != HOLDS] == failing


def test_rules_name_each_kind_of_control():
    kinds = [c.kind for c in FitWithoutGeneralization.claims if isinstance(c, Control)]
    assert kinds == ["negative", "negative", "positive", "positive"]


def test_rules_decide_nothing_on_less_than_six_seeds_or_without_scores():
    assert set(outcomes(frame().loc[:4])) == {"inconclusive"}
    assert set(outcomes(frame().assign(**dict.fromkeys(FitWithoutGeneralization.metrics, math.nan)))) == {
        "inconclusive"
    }


# ------------------------------------------------------------------------------------------------------- the picture


@pytest.mark.parametrize(
    "rows",
    [pd.DataFrame(), frame().iloc[:0], frame(), frame().loc[[3]], frame().drop(columns="train_error")],
    ids=["no columns", "no rows", "six seeds", "one seed", "a metric short"],
)
def test_picture(rows):
    figure = Figure()
    TINY.plot(rows, figure, {})
    figure.draw_without_rendering()
    assert len(figure.axes) == 2
    assert all(axes.get_xlabel() and axes.get_ylabel() for axes in figure.axes)
    if len(rows) and "train_error" in rows:
        assert [len(points.get_offsets()) for points in figure.axes[1].collections[:2]] == [
            3 * rows.index.nunique(),
            3 * rows.index.nunique(),
        ]
