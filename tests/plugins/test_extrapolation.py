"""extrapolation: stacked networks against networks alone, baselines against closed forms, and the rules."""

import io
import math

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from scipy import stats

from dlbench import Context
from dlbench_plugins.generalization import extrapolation as study
from dlbench_plugins.generalization.extrapolation import Extrapolation, Prediction, Problem, Sample, Stack

TINY = Extrapolation(targets=("linear", "absolute", "toy"), points=100, test_points=200, width=8, steps=3, batch=8)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def wave(n, seed=0):
    x = np.random.default_rng(seed).uniform(-4, 4, n)
    return Sample(x, np.sin(x))


# ------------------------------------------------------------------------------------------------------ the networks


def trained(samples, seeds, activation=torch.relu, steps=60):
    stack = Stack([study.initial(16, generator(seed)) for seed in seeds], [activation] * len(seeds), "cpu")
    stack.fit(samples, steps, batch=8, rate=0.01, generator=generator(7))
    return stack


@pytest.mark.parametrize("name", study.ACTIVATIONS)
def test_each_network_of_a_stack_trains_as_if_alone(name):
    samples, seeds = [wave(30), wave(50, 1), wave(41, 2)], [5, 6, 5]
    activation = study.ACTIVATIONS[name]
    together = trained(samples, seeds, activation).predict(study.GRID)
    for i, (sample, seed) in enumerate(zip(samples, seeds, strict=True)):
        alone = trained([sample], [seed], activation).predict(study.GRID)[0]
        np.testing.assert_allclose(together[i], alone, atol=2e-4)
    assert np.abs(together[0] - together[2]).max() > 0.01  # the sample matters


def test_networks_of_different_activations_train_side_by_side_as_if_alone():
    names, samples, seeds = list(study.ACTIVATIONS), [wave(30), wave(50, 1), wave(41, 2)], [5, 6, 5]
    stack = Stack([study.initial(16, generator(seed)) for seed in seeds], list(study.ACTIVATIONS.values()), "cpu")
    stack.fit(samples, 60, batch=8, rate=0.01, generator=generator(7))
    for name, sample, seed, mean in zip(names, samples, seeds, stack.predict(study.GRID), strict=True):
        alone = trained([sample], [seed], study.ACTIVATIONS[name]).predict(study.GRID)[0]
        np.testing.assert_allclose(mean, alone, atol=2e-4, err_msg=name)


def test_a_stack_of_one_is_the_network_that_torch_would_train():
    sample = wave(64)
    weights = study.initial(16, generator(3))
    layers = [torch.nn.Linear(1, 16), torch.nn.Linear(16, 16), torch.nn.Linear(16, 1)]
    for layer, w, b in zip(layers, weights[::2], weights[1::2], strict=True):
        layer.weight.data, layer.bias.data = w.T.clone(), b[0].clone()
    net = torch.nn.Sequential(layers[0], torch.nn.ReLU(), layers[1], torch.nn.ReLU(), layers[2])
    x = torch.tensor(sample.x / sample.x.std()).float()[:, None]
    y = torch.tensor((sample.y - sample.y.mean()) / sample.y.std()).float()[:, None]
    adam, batches = torch.optim.Adam(net.parameters()), generator(7)
    for step in range(40):
        rows = (torch.rand(8, generator=batches, dtype=torch.float64) * 64).long()
        adam.param_groups[0]["lr"] = 0.01 * (1 - step / 40)
        adam.zero_grad()
        torch.nn.functional.mse_loss(net(x[rows]), y[rows]).backward()
        adam.step()
    expected = net(x).detach()[:, 0].numpy() * sample.y.std() + sample.y.mean()
    np.testing.assert_allclose(trained([sample], [3], steps=40).predict(sample.x)[0], expected, atol=1e-4)


def test_relu_networks_are_straight_far_out_and_tanh_networks_flat():
    far = np.linspace(1e4, 2e4, 50)
    assert study.straightness(far, trained([wave(50)], [0]).predict(far)[0]) > 1 - 1e-6
    assert np.ptp(trained([wave(50)], [0], torch.tanh).predict(far)[0]) < 1e-5


# ------------------------------------------------------------------------------------------------------- the problem


def test_data_is_limited_to_the_support_but_for_its_hole():
    x_test = np.linspace(-7, 7, 100)
    problem = Problem("square", 1000, x_test, Context(seed=0))
    x = problem.limited.x
    assert (np.abs(x) <= 4).all() and not ((x > 1) & (x < 2.5)).any()
    assert len(x) == pytest.approx(1000 * 6.5 / 14, rel=0.1) and len(problem.repaired.x) == 1000
    toy = Problem("toy", 2600, x_test, Context(seed=0))
    assert len(toy.limited.x) == 1000
    assert ((toy.limited.x > 1) & (toy.limited.x < 2.5)).any() and np.abs(toy.limited.x).max() <= 4
    noise = toy.limited.y * 128 - toy.limited.x**3  # the toy's own units
    assert noise.std() == pytest.approx(3, rel=0.1)


@pytest.mark.parametrize("target", study.TARGETS)
def test_a_perfect_prediction_errs_by_the_noise_everywhere(target):
    x_test = np.random.default_rng(0).uniform(-7, 7, 20_000)
    problem = Problem(target, 100, x_test, Context(seed=0))
    truth = problem.function(problem.x_new)
    assert np.ptp(truth[np.abs(problem.x_new) <= 4]) == pytest.approx(1, abs=0.01)
    scores = problem.score(Prediction(truth, np.full(len(truth), study.NOISE)))
    assert scores["ratio"] == pytest.approx(1, abs=0.03) and scores["hole_ratio"] == pytest.approx(1, abs=0.05)
    assert scores["rmse_inside"] == pytest.approx(study.NOISE, rel=0.03)
    assert scores["coverage_inside"] == pytest.approx(0.9, abs=0.01)
    assert scores["coverage_outside"] == pytest.approx(0.9, abs=0.01)
    straight = target in ("linear", "absolute")
    assert (scores["ray_r2"] == pytest.approx(1)) == straight


def test_a_constant_has_no_straightness():
    assert math.isnan(study.straightness(np.arange(5.0), np.ones(5)))


# ----------------------------------------------------------------------------------------------------- the baselines


def test_gaussian_process_has_the_greatest_evidence_and_its_posterior():
    rng = np.random.default_rng(0)
    x = rng.uniform(-3, 3, 40)
    sample = Sample(x, np.sin(x) + 0.1 * rng.standard_normal(40))
    y = (sample.y - sample.y.mean()) / sample.y.std()

    def kernel(a, b):
        return np.exp(-np.square(a - b) / 2)

    noises = np.geomspace(0.01, 1, 25)
    within = kernel(x[:, None], x)
    evidence = [stats.multivariate_normal(np.zeros(40), within + s**2 * np.eye(40)).logpdf(y) for s in noises]
    noise = noises[int(np.argmax(evidence))]
    inverse = np.linalg.inv(within + noise**2 * np.eye(40))
    new = np.linspace(-5, 5, 9)
    k = kernel(new[:, None], x)
    found = study.gaussian_process(sample, new, [kernel])
    np.testing.assert_allclose(found.mean, sample.y.mean() + sample.y.std() * k @ inverse @ y, atol=1e-8)
    variance = 1 + noise**2 - np.einsum("ij,jk,ik->i", k, inverse, k)
    np.testing.assert_allclose(found.sd, sample.y.std() * np.sqrt(variance), atol=1e-8)


def test_baselines_go_where_they_must_outside():
    x = np.random.default_rng(0).uniform(-4, 4, 200)
    line = Sample(x, 0.5 * x + 1)
    far = np.array([100.0])
    assert study.gp_linear(line, far).mean[0] == pytest.approx(51, rel=1e-3)
    assert study.gp_rbf(line, far).mean[0] == pytest.approx(line.y.mean(), abs=1e-6)
    assert study.nearest_neighbours(line, far).mean[0] == pytest.approx(np.sort(line.y)[-15:].mean())
    cubic = Sample(x, x**3)
    np.testing.assert_allclose(study.polynomial_ridge(cubic, x).mean, x**3, atol=0.1)


def test_an_ensemble_is_as_sure_as_its_members_agree():
    flat = np.zeros((5, len(study.GRID)))
    sample = Sample(np.linspace(-4, 4, 50), np.tile([0.2, -0.2], 25))
    agreed = study.ensemble(flat, sample)
    np.testing.assert_allclose(agreed.sd, 0.2)
    torn = study.ensemble(flat + np.arange(5)[:, None], sample)
    np.testing.assert_allclose(torn.mean, 2)
    np.testing.assert_allclose(torn.sd**2, 2.5 + 4 + 0.04)  # spread, and the error that the sample shows


# ---------------------------------------------------------------------------------------------------------- the trial


def test_trial_yields_each_setting_once_and_the_same_again():
    frame = pd.DataFrame(list(TINY.trial(Context(seed=1))))
    assert not frame.duplicated(["subject", "target", "data"]).any()
    assert set(frame.subject) == {*study.NETWORKS, *study.BASELINES, "relu_ensemble"}
    assert set(frame[frame["data"] == "repaired"].subject) == set(study.NETWORKS)
    assert (frame.ratio == frame.rmse_outside / frame.rmse_inside).all()
    pd.testing.assert_frame_equal(frame, pd.DataFrame(list(TINY.trial(Context(seed=1)))))


# ---------------------------------------------------------------------------------------------------------- the rules


def frame(ratio, r2=1.0, inside=0.024, targets=("linear", "absolute", "cubic")):
    rows = [
        {"seed": s, "subject": subject, "target": target, "data": data, "ray_r2": r2, "rmse_inside": inside}
        | {"ratio": (1.0 if data == "repaired" else ratio(target)) * (1 + 0.01 * s)}
        for s in range(6)
        for subject in study.NETWORKS
        for target in targets
        for data in ("limited", "repaired")
    ]
    return pd.DataFrame(rows).set_index("seed")


def test_one_target_that_extrapolates_decides_against_the_claim():
    assert study.goes_straight(frame(lambda target: 1 if target == "linear" else 20)).outcome == "holds"
    xu = frame(lambda target: 20 if target == "cubic" else 1)
    assert study.goes_straight(xu).outcome == "does not hold"
    assert study.errs_outside(xu[xu.target != "absolute"], "relu_mlp").outcome == "holds"
    assert study.goes_straight(frame(lambda target: 20, r2=0.9)).outcome == "does not hold"


def test_repair_needs_a_good_fit_inside_too():
    assert study.is_repaired(frame(lambda target: 20)).outcome == "holds"
    assert study.is_repaired(frame(lambda target: 20, inside=0.3)).outcome == "does not hold"


def test_linear_control_reads_the_networks_that_saw_the_support_only():
    [control] = [c for c in Extrapolation.claims if getattr(c, "kind", "") == "negative"]
    assert control.rule(frame(lambda target: 1)).outcome == "holds"
    assert control.rule(frame(lambda target: 9)).outcome == "does not hold"


def test_plot_draws_all_some_and_nothing():
    context = Context(seed=1)
    rows = list(TINY.trial(context))
    rows = pd.DataFrame(rows, index=[1] * len(rows))
    one = rows[rows.subject == "gp_rbf"]
    for some, kept in ((rows, {1: context.kept}), (one, {}), (pd.DataFrame(), {})):
        figure = Figure()
        TINY.plot(some, figure, kept)
        figure.savefig(io.BytesIO(), format="svg")
        assert figure.axes[-2].get_xlabel() == "distance to the nearest training point"
