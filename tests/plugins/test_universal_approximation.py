"""universal_approximation: units against closed forms, both arms, and rules on frames whose verdict is known."""

import io
import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure

from dlbench import Context
from dlbench_plugins.expressivity import universal_approximation as study
from dlbench_plugins.expressivity.universal_approximation import Problem, UniversalApproximation

TINY = UniversalApproximation(
    dims=(1, 2), widths=(4, 16), trained_dims=(1,), trained_widths=(4,), points=64, test_points=64, lbfgs_steps=5
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def fit(units, width, function, x):
    """Sup error on points between the training points x [n, d] of least squares on units of that width."""
    between = (x[1:] + x[:-1]) / 2
    h = units(torch.cat([x, between]), width, generator())
    h = torch.cat([h, torch.ones(len(h), 1).double()], dim=1)
    prediction = h[len(x) :] @ study.least_squares(h[: len(x)], function(x))
    return float((prediction - function(between)).abs().max())


# --------------------------------------------------------------------------------------------------------- the units


def test_relu_least_squares_converges_at_second_order():
    def wave(x):
        return torch.sin(math.pi * x) + 0.5 * torch.sin(3 * math.pi * x)

    x = torch.linspace(-1, 1, 1001).double()[:, None]
    widths = np.array([16, 32, 64, 128])
    errors = np.array([fit(study.relu, width, wave, x) for width in widths])
    slope = np.polyfit(np.log(widths), np.log(errors), deg=1)[0]
    assert slope == pytest.approx(-2, abs=0.15)  # piecewise linear functions on even knots
    assert errors[-1] < 0.0015  # the second derivative times h² / 8, h = 2 / 127, and no more


@pytest.mark.parametrize("dim", [1, 2, 5])
def test_square_units_span_the_polynomials_of_degree_two_and_no_more(dim):
    x = study.ball(400, dim, seed=1)
    h = torch.cat([study.square(x, 64, generator()), torch.ones(400, 1).double()], dim=1)
    assert torch.linalg.matrix_rank(h) == (dim + 1) * (dim + 2) // 2
    assert fit(study.square, 64, lambda x: 3 * x[:, :1] ** 2 - x[:, :1] + 1, x) < 1e-6
    assert fit(study.square, 64, lambda x: x[:, :1] ** 3, x) > 0.05


def test_chebyshev_polynomials_are_those_of_numpy():
    x = torch.linspace(-1, 1, 50).double()[:, None]
    expected = np.polynomial.chebyshev.chebvander(x[:, 0].numpy(), 6)[:, 1:]
    np.testing.assert_allclose(study.chebyshev(x, 6, generator()), expected, atol=1e-12)


def test_chebyshev_products_come_by_total_degree():
    x = study.ball(50, 2, seed=0)
    a, b = x.T
    expected = torch.stack([a, b, 2 * a**2 - 1, a * b, 2 * b**2 - 1], dim=1)
    torch.testing.assert_close(study.chebyshev(x, 5, generator()), expected)


def test_cubic_splines_sum_to_one_and_reproduce_cubics():
    x = torch.linspace(-1, 1, 101).double()[:, None]
    torch.testing.assert_close(study.cubic_spline(x, 9, generator()).sum(dim=1), torch.ones(101).double())
    assert fit(study.cubic_spline, 9, lambda x: x**3 - x, x) < 1e-6
    plane = study.ball(50, 2, seed=0)
    torch.testing.assert_close(study.cubic_spline(plane, 25, generator()).sum(dim=1), torch.ones(50).double())
    assert study.cubic_spline(study.ball(50, 5, seed=0), 512, generator()) is None


@pytest.mark.parametrize("name", study.UNITS)
@pytest.mark.parametrize("dim", [1, 3])
def test_units_are_one_column_each_and_depend_on_their_own_row_only(name, dim):
    x = study.ball(40, dim, seed=3)
    h = study.UNITS[name](x, 64, generator())
    assert h.shape == (40, 64) and h.isfinite().all()
    torch.testing.assert_close(study.UNITS[name](x[:10], 64, generator()), h[:10])


def test_points_fill_the_unit_ball_evenly():
    for dim in (2, 5):
        radius = study.ball(4096, dim, seed=0).norm(dim=1)
        assert radius.max() <= 1 + 1e-12
        assert float((radius < 0.5).double().mean()) == pytest.approx(0.5**dim, abs=0.01)


# ------------------------------------------------------------------------------------------------------- the problem


def test_no_continuous_function_meets_the_step():
    problem = Problem(TINY, 1, Context(seed=0))
    for prediction in (torch.zeros_like(problem.y_test), problem.targets(problem.x_test), 0.5 + 0 * problem.y_test):
        step = [row for row in problem.score(prediction, subject="x", width=1) if row["target"] == "step"]
        assert step[0]["sup_error"] >= 0.5


def test_the_same_profile_hides_in_every_dimension():
    lines = []
    for dim in (1, 2, 5):
        problem = Problem(TINY, dim, Context(seed=4))
        t = torch.linspace(-1, 1, 9).double()
        assert float(problem.direction.norm()) == pytest.approx(1)
        sign = 1 if dim > 1 else float(problem.direction[0])
        lines.append(problem.targets(sign * t[:, None] * problem.direction))
    torch.testing.assert_close(lines[0], lines[1])
    torch.testing.assert_close(lines[0], lines[2])


def test_the_rough_target_has_as_many_terms_as_the_widest_net_can_follow():
    rng = SimpleNamespace(uniform=lambda low, high, size=None: np.zeros(size) if size else 0.0)
    _, targets = study.profiles(rng, terms=5)
    t = torch.linspace(-1, 1, 7).double()
    expected = sum(0.5 ** (k + 1) * torch.cos(3**k * math.pi * t) for k in range(5))
    torch.testing.assert_close(targets["rough"](t), expected)
    assert 4 * 3**4 <= 512 < 4 * 3**5  # five terms for 512 units


# ----------------------------------------------------------------------------------------------------------- the nets


def test_training_finds_a_net_of_its_own_family():
    x = torch.linspace(-1, 1, 100).double()[:, None]
    torch.manual_seed(0)
    net = study.shallow(torch.nn.Tanh)(1, 4).double()
    study.train(net, x, torch.tanh(2 * x - 0.5), adam_steps=50, lbfgs_steps=300)
    assert float((net(x) - torch.tanh(2 * x - 0.5)).detach().abs().max()) < 0.003


@pytest.mark.parametrize("dim", [1, 5, 10])
def test_deep_nets_have_about_as_many_parameters(dim):
    count = sum(p.numel() for p in study.deep(dim, 512).parameters())
    assert count == pytest.approx(512 * (dim + 2) + 1, rel=0.05)


# ---------------------------------------------------------------------------------------------------------- the trial


def test_trial_yields_each_setting_once_and_the_same_again():
    rows = list(TINY.trial(Context(seed=1)))
    frame = pd.DataFrame(rows)
    assert not frame.duplicated(["subject", "dim", "target", "width"]).any()
    assert set(frame.subject) == {*study.UNITS, *study.NETS}
    assert np.isfinite(frame[["sup_error", "rmse"]]).all(axis=None) and (frame.rmse <= frame.sup_error).all()
    relu = frame[(frame.subject == "relu_least_squares") & (frame.dim == 2)]
    assert set(relu.parameters) == {4 * 4 + 1, 16 * 4 + 1}
    again = pd.DataFrame(list(TINY.trial(Context(seed=1))))
    pd.testing.assert_frame_equal(frame, again)


def test_trend_is_told_on_the_widest_row():
    rows = [{"target": "t", "width": w, "sup_error": 4 / w**2} for w in (8, 16, 32, 64)]
    told = list(study.with_trend(rows))
    assert told[-1]["slope"] == pytest.approx(-2) and told[-1]["width_for_eps"] == 32
    assert all("slope" not in row for row in told[:-1])
    [never] = study.with_trend([{"target": "t", "width": 8, "sup_error": 1.0}])
    assert math.isnan(never["width_for_eps"])


# ---------------------------------------------------------------------------------------------------------- the rules


def frame(error, subjects=(*study.EXISTENCE, "square_least_squares"), widths=(128, 512), slope=-1.0, seeds=6):
    rows = [
        {"seed": s, "subject": subject, "dim": 1, "target": target, "width": width, "slope": slope}
        | {"sup_error": error(width) * (1 + 0.01 * s)}
        for s in range(seeds)
        for subject in subjects
        for target in study.CONTINUOUS
        for width in widths
    ]
    return pd.DataFrame(rows).set_index("seed")


def test_existence_needs_a_small_error_and_a_steep_slope():
    assert study.exists(frame(lambda w: 1 / w)).outcome == "holds"
    assert study.exists(frame(lambda w: 0.1)).outcome == "does not hold"
    assert study.exists(frame(lambda w: 0.001, slope=-0.2)).outcome == "does not hold"
    assert study.exists(frame(lambda w: 1 / w, seeds=3)).outcome == "inconclusive"
    assert study.exists(frame(lambda w: 1 / w).iloc[:0]).outcome == "inconclusive"


def test_the_polynomial_control_fails_when_it_converges():
    assert study.plateaus(frame(lambda w: 0.3)).outcome == "holds"
    assert study.plateaus(frame(lambda w: 30 / w)).outcome == "does not hold"


def test_training_is_compared_at_its_own_width():
    given = frame(lambda w: 10 / w, study.EXISTENCE, widths=(64, 512))
    better, worse = (frame(lambda w, e=e: e, study.TRAINED, widths=(64,)) for e in (0.05, 0.5))
    assert study.training_wins(pd.concat([given, better])).outcome == "holds"
    assert study.training_wins(pd.concat([given, worse])).outcome == "does not hold"
    assert study.is_found(pd.concat([given, better])).outcome == "inconclusive"  # no net of width 64 is known to exist
    close = frame(lambda w: 0.005, study.EXISTENCE, widths=(64,))
    assert study.is_found(pd.concat([close, better])).outcome == "does not hold"


def test_plot_draws_all_some_and_nothing():
    context = Context(seed=1)
    rows = list(TINY.trial(context))
    rows = pd.DataFrame(rows, index=[1] * len(rows))
    for some, kept in ((rows, {1: context.kept}), (rows[rows.dim == 2], {}), (pd.DataFrame(), {})):
        figure = Figure()
        TINY.plot(some, figure, kept)
        figure.savefig(io.BytesIO(), format="svg")
        assert len(figure.axes) == 9 and figure.axes[0].get_ylabel() == "sup error"
