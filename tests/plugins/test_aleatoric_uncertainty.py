"""aleatoric_uncertainty: regressors against closed forms, pairs of digits, rules on frames of known verdict."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure

from dlbench import Context, Control
from dlbench.data.images import DIGITS
from dlbench.runner.trial import measurements
from dlbench_plugins.uncertainty import aleatoric_uncertainty as study
from dlbench_plugins.uncertainty import noisy_regression as regression
from dlbench_plugins.uncertainty.aleatoric_uncertainty import AleatoricUncertainty

TINY = AleatoricUncertainty(
    sizes=(40, 80, 160), pairs=200, test_pairs=100, members=2, width=8, steps=20, image_width=16, image_steps=20
)
GRID = study.GRID


def context(seed=100):
    return Context(seed=seed, loader=lambda name: {"digits": DIGITS}[name].load())


# -------------------------------------------------------------------------------------------------------- regression


def test_noise_is_what_it_says_and_of_the_same_amount_when_flat():
    data = regression.sample(200_000, np.random.default_rng(0))
    residual, flat = (np.square(y - regression.mean(data.x)) for y in (data.y, data.flat))
    assert residual.mean() == pytest.approx(flat.mean(), rel=0.02)
    right = data.x > 0.9
    assert residual[right].mean() == pytest.approx(np.mean(regression.sd(data.x[right]) ** 2), rel=0.03)
    assert flat[right].mean() == pytest.approx(flat.mean(), rel=0.03)


def test_the_truth_scores_as_it_must():
    truth = regression.gaussian(regression.mean(GRID), regression.sd(GRID) ** 2)
    scores = regression.scores(truth, GRID)
    assert scores["slope"] == pytest.approx(1)
    assert scores["r2"] == pytest.approx(1)
    assert scores["coverage"] == pytest.approx(0.9)
    entropy = np.log(2 * np.pi * np.e * regression.sd(GRID) ** 2) / 2
    assert scores["nll"] == pytest.approx(entropy.mean())
    assert "epistemic" not in scores
    flat = regression.scores(regression.gaussian(regression.mean(GRID), np.full_like(GRID, 0.1)), GRID)
    assert flat["slope"] == pytest.approx(0, abs=1e-9)
    assert flat["r2"] == 0
    assert flat["nll"] > scores["nll"]


def test_beta_nll_has_the_gradient_of_the_likelihood_weighed_by_the_variance():
    out = torch.tensor([0.3, math.log(0.25), 0.0, 0.0], requires_grad=True)
    (of_beta,) = torch.autograd.grad(regression.beta_nll(out, torch.tensor(1.0)), out)
    likelihood = -torch.distributions.Normal(out[0], (out[1] / 2).exp()).log_prob(torch.tensor(1.0))
    (plain,) = torch.autograd.grad(likelihood, out)
    assert torch.allclose(of_beta, plain * 0.25**regression.BETA)


def test_the_evidential_likelihood_is_a_students_t():
    out = torch.tensor([0.2, 0.5, 1.0, -0.5])
    mean, nu, alpha, beta = regression.evidence(out)
    scale = torch.sqrt(beta * (1 + nu) / (nu * alpha))
    expected = -torch.distributions.StudentT(2 * alpha, mean, scale).log_prob(torch.tensor(0.9))
    regularizer = regression.EVIDENCE * 0.7 * (2 * nu + alpha)
    assert regression.evidential(out, torch.tensor(0.9)).item() == pytest.approx(
        (expected + regularizer).item(), rel=1e-5
    )


def test_pinball_is_least_at_the_quantiles():
    y = torch.linspace(0, 1, 1001)
    losses = {
        (a, b): regression.pinball(torch.tensor([0.5, a, b, 0.0]).expand(1001, 4), y).mean().item()
        for a in (0.01, 0.05, 0.1)
        for b in (0.9, 0.95, 0.99)
    }
    assert min(losses, key=losses.get) == (0.05, 0.95)


def test_what_members_say_is_split_into_noise_and_disagreement():
    out = [torch.tensor([[1.0, math.log(0.5), 0, 0]]), torch.tensor([[3.0, math.log(1.5), 0, 0]])]
    prediction = regression.read_gaussian(out)
    assert prediction.mean == pytest.approx([2.0])
    assert prediction.aleatoric == pytest.approx([1.0])
    assert prediction.epistemic == pytest.approx([2.0])
    assert prediction.high - prediction.mean == pytest.approx([regression.Z90 * math.sqrt(3)])
    assert regression.read_gaussian(out[:1]).epistemic is None


def test_residuals_make_an_interval_of_the_same_width():
    residuals = np.arange(-9.0, 10.0)  # nineteen: the 18th smallest of |r| is 9
    prediction = regression.conformal(np.zeros(3), residuals)
    assert prediction.high.tolist() == [9.0] * 3
    assert regression.conformal(np.zeros(3), residuals[:3]).high.tolist() == [9.0] * 3  # too few: the greatest
    assert regression.homoscedastic(np.zeros(3), residuals).aleatoric == pytest.approx(np.square(residuals).mean())


def test_crossed_quantiles_are_put_in_order():
    prediction = regression.read_quantiles(torch.tensor([[0.0, 1.0, -1.0, 0.0]]))
    assert prediction.low < prediction.high
    assert prediction.aleatoric == pytest.approx((1 / regression.Z90) ** 2)


def test_the_gaussian_process_is_scikit_learns():
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

    data = regression.sample(150, np.random.default_rng(3))
    ours = regression.gaussian_process(data, 150, GRID)
    kernel = ConstantKernel(1.0) * RBF(0.3) + WhiteKernel(0.1)
    theirs = GaussianProcessRegressor(kernel, random_state=0).fit(data.x[:, None], data.y)
    mean, sd = theirs.predict(GRID[:, None], return_std=True)
    assert ours.mean == pytest.approx(mean, abs=0.05)
    assert np.sqrt(ours.aleatoric + ours.epistemic) == pytest.approx(sd, rel=0.1)


def test_noise_among_neighbours_is_the_noise():
    data = regression.sample(20_000, np.random.default_rng(0))
    assert regression.scores(regression.neighbours(data, 20_000, GRID), GRID)["slope"] == pytest.approx(1, abs=0.1)


def test_arms_trained_together_end_where_each_ends_alone():
    data = regression.sample(60, np.random.default_rng(0))
    arms = [regression.Arm(loss, n) for loss, n in ((regression.beta_nll, 30), (regression.evidential, 60))]
    settings = {"width": 8, "steps": 20, "batch": 16, "rate": 0.01}
    together = regression.train(arms, data, GRID, **settings, context=context())
    for arm in arms:
        alone = regression.train([arm], data, GRID, **settings, context=context())[arm]
        assert torch.allclose(together[arm], alone, atol=1e-4)


def test_networks_find_the_noise():
    data = regression.sample(3000, np.random.default_rng(0))
    arms = [regression.Arm(loss, 3000) for loss in (regression.beta_nll, regression.pinball)]
    out = regression.train(arms, data, GRID, width=32, steps=400, batch=64, rate=1e-2, context=context())
    gaussian, quantiles = (out[arm] for arm in arms)
    for prediction in (regression.read_gaussian([gaussian]), regression.read_quantiles(quantiles)):
        assert regression.scores(prediction, GRID)["slope"] == pytest.approx(1, abs=0.4)


# ------------------------------------------------------------------------------------------------------------ pairs


@pytest.mark.parametrize("layout", study.LAYOUTS)
def test_pairs_are_of_what_they_say(layout):
    x = np.arange(10.0)[:, None, None] * np.ones((1, 2, 2))  # each image is as bright as its class
    x, y = np.repeat(x, 3, 0), np.repeat(np.arange(10), 3)
    pairs = study.pair(x, y, 1000, layout, np.random.default_rng(0))
    assert pairs.mixed.float().mean() == 0.5
    left, drawn = pairs.left.numpy(), pairs.drawn.numpy()
    if layout == "averaged":
        other = (2 * pairs.images[:, 0].numpy() - left).round().astype(int)
    else:
        assert pairs.images[:, 0].tolist() == left.tolist()  # the first two of the four columns
        other = pairs.images[:, 3].numpy().astype(int)
    assert ((other != left) == pairs.mixed.numpy()).all()
    assert ((drawn == left) | (drawn == other)).all()
    assert (drawn == left)[pairs.mixed].mean() == pytest.approx(0.5, abs=0.06)
    assert np.bincount(other, minlength=10).min() > 60


def test_pairs_are_scored_by_the_members_mean_entropy():
    pairs = study.Pairs(
        torch.zeros(4, 1), *(torch.tensor(v) for v in ([0, 0, 1, 1], [0, 0, 1, 0])), torch.tensor([0, 0, 0, 1]).bool()
    )
    sure, torn = [0.98] + [0.02 / 9] * 9, [0.5, 0.5] + [0.0] * 8
    members = np.array([[sure, sure, np.roll(sure, 1), torn]])
    scores = study.pair_scores(members, pairs)
    assert scores["auroc"] == 1
    assert scores["entropy_mixed"] == pytest.approx(math.log(2))
    assert scores["accuracy"] == 1
    assert scores["nll"] == pytest.approx(-(3 * math.log(0.98) + math.log(0.5)) / 4)
    assert study.pair_scores(np.full((2, 4, 10), 0.1), pairs)["auroc"] == 0.5


# --------------------------------------------------------------------------------------------------------- the trial


@pytest.fixture(scope="module")
def trial():
    of = context()
    return pd.DataFrame(measurements(TINY, of)), of.kept


def test_every_subject_is_measured(trial):
    rows, kept = trial
    line = rows[rows["data"] == "regression"]
    assert set(line.subject) == {*study.COLORS, "noise_among_neighbours"}
    assert (line.groupby("subject").n.nunique() == 3).all()
    assert set(rows[rows["data"] == "side_by_side"].subject) == {
        "ensemble",
        "network",
        "nearest_neighbours",
        "left_label",
    }
    assert kept["band"].shape == (3, len(GRID))
    assert {"entropy_pure", "entropy_mixed", "entropy_strange"} < set(kept)
    assert len(kept["entropy_pure"]) == 50


# --------------------------------------------------------------------------------------------------------- the rules


def frame(
    slope=1.0, change=0.0, fall=0.6, usual=None, auroc=0.95, nll=0.1, flat=0.0, left=0.05, there=1.0, accuracy=0.97
):
    """Six seeds of what an ensemble would give that learns the noise."""
    rows = []
    for seed in range(6):
        noise = 0.01 * np.random.default_rng(seed).standard_normal()
        common = {"seed": seed, "data": "regression"}
        for n, grown in ((800, 0), (3200, 1)):
            ours = {"slope": slope + noise, "aleatoric": 0.1 * (1 + grown * change + noise * grown), "nll": nll + noise}
            ours["epistemic"] = 0.01 * (1 - grown * fall)
            rows.append({**common, "subject": "ensemble", "n": n, **ours})
            same = 0.01 * (1 - grown * (fall if usual is None else usual))
            rows.append({**common, "subject": "deep_ensemble", "n": n, "epistemic": same})
            rows.append({**common, "subject": "homoscedastic", "n": n, "nll": 0.2})
            rows.append({**common, "subject": "noise_among_neighbours", "n": n, "slope": there + noise})
        rows.append(
            {"seed": seed, "data": "regression, flat noise", "subject": "ensemble", "n": 3200, "slope": flat + noise}
        )
        for layout in study.LAYOUTS:
            pairs = {"seed": seed, "data": layout, "n": 8000, "auroc": auroc + noise, "accuracy": accuracy + noise}
            rows.append({**pairs, "subject": "ensemble", "entropy_mixed": 0.7})
        rows.append({**pairs, "subject": "left_label", "entropy_mixed": left + noise / 5})
    return pd.DataFrame(rows).set_index("seed")


def outcomes(rows):
    return [claim.rule(rows).outcome for claim in AleatoricUncertainty.claims]


def test_an_ensemble_that_learns_the_noise_makes_every_claim_hold():
    assert outcomes(frame()) == ["holds"] * 10


@pytest.mark.parametrize(
    ("change", "failing"),
    [
        ({"slope": 0.6}, [0]),
        ({"slope": 1.4}, [0]),
        ({"change": -0.3}, [1]),  # what was called noise was ignorance
        ({"fall": 0.1}, [2, 3]),
        ({"usual": 0.1}, [3]),
        ({"auroc": 0.7}, [4]),
        ({"nll": 0.3}, [5]),
        ({"flat": 0.5}, [6]),
        ({"left": 0.5}, [7]),
        ({"there": 0.5}, [8]),
        ({"accuracy": 0.8}, [9]),
    ],
)
def test_what_breaks_a_rule(change, failing):
    assert [i for i, outcome in enumerate(outcomes(frame(**change))) if outcome != "holds"] == failing


def test_rules_name_each_kind_of_control_and_decide_nothing_on_few_seeds():
    kinds = [c.kind for c in AleatoricUncertainty.claims if isinstance(c, Control)]
    assert kinds == ["negative", "negative", "positive", "gate"]
    assert set(outcomes(frame().loc[:4])) == {"inconclusive"}


# ------------------------------------------------------------------------------------------------------- the picture


@pytest.mark.parametrize("rows", [pd.DataFrame(), frame().iloc[:0], frame(), frame().loc[[3]]])
@pytest.mark.parametrize("kept", [False, True])
def test_picture(rows, kept, trial):
    figure = Figure()
    TINY.plot(rows, figure, {3: trial[1], 5: trial[1]} if kept else {})
    figure.draw_without_rendering()
    assert len(figure.axes) == 3
    assert all(axes.get_xlabel() and axes.get_ylabel() for axes in figure.axes)
    assert len(figure.axes[2].patches) == (3 if kept else 0)
