"""epidemic_graph: the worlds, that nothing after T is seen, arms against known forecasts, rules on known frames."""

import numpy as np
import pandas as pd
import pytest
import torch

from dlbench import Context, Control
from dlbench.errors import ParameterError
from dlbench.ops import Graph
from dlbench_plugins.graphs import epidemic_graph as study
from dlbench_plugins.graphs.epidemic_graph import ABROAD, AHEAD, ARMS, ENGLAND, LEADS, RIDGES, SIR, STILL, EpidemicGraph

from .drawing import drawn

TINY = EpidemicGraph(days=60, first=20, every=20, epochs=1, more_epochs=1, hidden=4)


@pytest.fixture(scope="module")
def task():
    return study.made_epidemic(np.random.default_rng(0), 60)


# ------------------------------------------------------------------------------------------------------------ worlds


def test_an_epidemic_begins_in_two_regions_and_travels(task):
    assert task.cases.shape == (60, 40) and (task.cases >= 0).all() and (task.cases % 1 == 0).all()
    assert (task.cases[:3].sum(axis=0) > 0).sum() < 25 <= (task.cases.sum(axis=0) > 0).sum()
    assert (task.moves.ends[0] != task.moves.ends[1]).all()


def test_without_travel_every_region_has_its_own():
    alone = study.made_epidemic(np.random.default_rng(0), 30, travel=0.0)
    assert (alone.cases[:5].sum(axis=0) > 0).all()


def test_by_travel_alone_nobody_is_infected_at_home():
    """On the first day there are cases only where somebody comes from a region with infections."""
    abroad = study.made_epidemic(np.random.default_rng(0), 2, travel=1.0)
    hit = np.flatnonzero(abroad.cases[0])
    met = [np.isin(abroad.moves.ends[0], abroad.moves.ends[0][abroad.moves.ends[1] == region]) for region in hit]
    assert 0 < hit.size < 20 and all(m.any() for m in met)


def test_logarithms_and_back(task):
    np.testing.assert_allclose(task.to_cases(task.logs), task.cases, atol=1e-9)
    assert task.to_cases(np.full((1, 40), 1e3)).max() <= 10 * task.cases.max()
    assert task.to_cases(np.full((1, 40), -5.0)).max() == 0


def test_a_real_country_is_cut_to_days_with_movements():
    nan = np.nan
    data = {
        "cases": np.array([[1, 2], [nan, 5], [4, 6]], np.float32),
        "edge_index": np.array([[0, 0, 1], [0, 1, 0]]),
        "movement": np.array([[90, 1, 2], [80, 3, 0], [nan, nan, nan]], np.float32),
    }
    task = study.real_epidemic(data)
    np.testing.assert_array_equal(task.cases, [[1, 2], [1, 5]])  # a missing count repeats the last
    np.testing.assert_array_equal(task.moves.ends, [[0, 1], [1, 0]])
    np.testing.assert_array_equal(task.moves.weight, [[1, 2], [3, 0]])


def test_days_that_hold_no_forecast_are_refused():
    with pytest.raises(ParameterError, match="days is 70 and first is 60; no forecast fits in"):
        EpidemicGraph(days=70, first=60)


# -------------------------------------------------------------------------------------------------------------- arms


def forecast(subject, task, moves=None):
    torch.manual_seed(0)
    return ARMS[subject].start(TINY, np.random.default_rng(0))(task, task.moves if moves is None else moves)


def test_simple_baselines_are_what_they_say(task):
    cases = task.to_cases(forecast("week_average", task).logs)
    np.testing.assert_allclose(cases, np.repeat(task.cases[-7:].mean(axis=0)[None], 14, axis=0))
    np.testing.assert_array_equal(forecast("last_value", task).logs[13], task.logs[-1])


def test_a_ridge_continues_growth():
    """Cases that double every four days: logarithms rise along a line."""
    days = np.arange(50)[:, None]
    cases = np.exp(days * np.log(2) / 4 / 2 + np.linspace(0, 1, 6))
    task = study.Task(cases, study.Links(np.zeros((2, 0), int), np.zeros((50, 0))), np.ones(6))
    truth = np.log1p(np.exp((49 + np.array(LEADS))[:, None] * np.log(2) / 8 + np.linspace(0, 1, 6)))
    said = forecast("ar", task).logs
    assert np.abs(said - truth).mean() < np.abs(forecast("last_value", task).logs - truth).mean() / 3


def test_without_a_graph_a_ridge_is_the_networks_start(task):
    """Before the first step a network says what ``ar`` says."""
    still = EpidemicGraph(days=60, first=20, hidden=4, lstm_rate=1e-6, graph_rate=1e-6, epochs=1)
    for subject in ("graph_lstm", "graph"):
        said = ARMS[subject].start(still, np.random.default_rng(0))(task, task.moves).logs
        np.testing.assert_allclose(said, forecast("ar", task, task.moves.none()).logs, atol=1e-3)


def test_an_sir_is_fitted_to_an_sir():
    """Deterministic waves, of regions that differ in their rate: the fit goes on as they do, others do not."""
    rate, people = np.array([0.3, 0.4, 0.5]), 8e3
    infected, susceptible, cases = np.full(3, 20.0), np.full(3, people), np.zeros((54, 3))
    for day in range(54):
        cases[day] = susceptible * -np.expm1(-rate * infected / people)
        susceptible = susceptible - cases[day]
        infected = infected * 6 / 7 + cases[day]
    known = study.Task(cases[:40], study.Links(np.zeros((2, 0), int), np.zeros((40, 0))), np.ones(3))
    errors = {
        subject: np.abs(forecast(subject, known).logs - np.log1p(cases[40:])).mean()
        for subject in ("sir_fit", "last_value", "week_average")
    }
    assert errors["sir_fit"] < 0.25 * min(errors["last_value"], errors["week_average"])


def test_nothing_after_the_last_day_is_seen(task):
    """The future is replaced: what is known on a day stays, and so does every forecast made until then."""
    changed = study.Task(task.cases.copy(), task.moves, task.per)
    changed.cases[41:] = 1e4
    for subject in ("ar_graph", "sir_fit", "graph_lstm", "graph"):
        said = []
        for world in (task, changed):
            torch.manual_seed(0)
            forecaster = ARMS[subject].start(TINY, np.random.default_rng(0))
            said.append([forecaster(world.until(last), world.moves.until(last)).logs for last in (30, 40)])
        np.testing.assert_array_equal(*said)


def test_messages_are_their_formula_a_day_a_head():
    layer = study.Messages(2, 3)
    graph = Graph.from_edge_index(torch.tensor([[0, 1, 2], [1, 2, 1]]), num_nodes=3)
    x, weight = torch.randn(3, 4, 2), torch.rand(3, 4)
    for day in range(4):
        matrix = torch.zeros(3, 3)
        matrix[[1, 2, 1], [0, 1, 2]] = weight[:, day]
        expected = (layer.own(x[:, day]) + layer.others(matrix @ x[:, day])).relu()
        torch.testing.assert_close(layer(x, graph, weight)[:, day], expected)


def test_arms_of_one_kind_have_the_same_weights(task):
    short = task.until(20)
    moves = task.moves.until(20)
    counts = {forecast("lstm", short, wiring).parameters for wiring in (moves, moves.none())}
    assert len(counts) == 1 and ARMS["lstm"].wiring == "none" and ARMS["graph_lstm"].wiring == "given"


# ------------------------------------------------------------------------------------------------------------ scores


def test_quantiles_are_those_of_errors_that_have_come():
    rng = np.random.default_rng(0)
    forecast, last_days = np.full((3, 14, 500), 5.0), np.array([20, 30, 34])
    came = forecast + rng.normal(0, 1, forecast.shape)
    quantiles = study.spread(forecast, came, last_days)
    assert np.isnan(quantiles[:, :2]).all()  # on day 30 the fourteen days after day 20 have not passed
    np.testing.assert_allclose(quantiles[:, 2, 0, 0], 5 + np.quantile(came[0, 0] - 5, study.LEVELS))


def test_the_weighted_interval_score_is_that_of_its_intervals():
    """Bracher et al.'s formula, written with intervals."""
    rng = np.random.default_rng(0)
    quantiles, came = np.sort(rng.normal(size=(7, 2, 3, 4)), axis=0), rng.normal(size=(2, 3, 4))
    score = np.abs(came - quantiles[3]) / 2
    for i, alpha in enumerate((0.05, 0.2, 0.5)):
        low, high = quantiles[i], quantiles[-1 - i]
        outside = np.maximum(low - came, 0) + np.maximum(came - high, 0)
        score += alpha / 2 * (high - low) + outside
    assert study.weighted_interval_score(quantiles, came) == pytest.approx((score / 3.5).mean())
    assert np.isnan(study.weighted_interval_score(np.full_like(quantiles, np.nan), came))


def test_the_error_of_the_peak_is_in_days():
    """A wave around day 30, forecast four days late; another region only grows and does not count."""
    day = np.arange(60.0)
    cases = np.stack([np.exp(-(((day - 30) / 6) ** 2)), day], axis=1) * 100
    task = study.Task(cases, study.Links(np.zeros((2, 0), int), np.zeros((60, 0))), np.ones(2))
    last_days, late = np.array([25]), np.stack([100 * np.exp(-(((day - 34) / 6) ** 2)), day], axis=1)
    came, said = (study.targets(x, last_days, LEADS) for x in (cases, late))
    assert study.peak_error(came, came, task, last_days) == 0
    assert 2 <= study.peak_error(said, came, task, last_days) <= 4
    assert np.isnan(study.peak_error(said[..., 1:], came[..., 1:], study.Task(cases[:, 1:], task.moves, 1), last_days))


# ----------------------------------------------------------------------------------------------------------- a trial


@pytest.fixture(scope="module")
def trial():
    context = Context(seed=3)
    return pd.DataFrame(list(TINY.trial(context))), context.kept


def test_one_row_a_subject_task_and_span(trial):
    rows, kept = trial
    assert not rows.duplicated(["subject", "task", "ahead"]).any()
    assert set(rows[rows.task == SIR].subject) == set(ARMS) and set(rows.ahead) == set(AHEAD)
    assert set(rows[rows.task == STILL].subject) == set(RIDGES) == set(rows[rows.task == ABROAD].subject)
    assert rows.rmsle.notna().all() and rows.wis.notna().all() and (rows.peak.notna() == (rows.ahead == 14)).all()
    assert kept["forecast"].shape == (2, 14, 3) and kept["quantiles"].shape == (7, 2, 14, 3)


def test_a_real_country_is_a_task():
    rng = np.random.default_rng(0)
    data = {
        "cases": rng.poisson(5, (40, 6)).astype(np.float32),
        "edge_index": np.stack([np.arange(6), (np.arange(6) + 1) % 6]),
        "movement": rng.integers(10, 100, (40, 6)).astype(np.float32),
    }
    experiment = EpidemicGraph(tasks=("england",), days=60, first=40, every_real=10, epochs=1, hidden=4)
    assert experiment.datasets() == ("covid_england",)
    rows = pd.DataFrame(list(experiment.trial(Context(seed=0, loader={"covid_england": data}.get))))
    assert set(rows[rows.task == ENGLAND].subject) == set(ARMS)


# ------------------------------------------------------------------------------------------------------------- rules


def frame(seeds=8, **changed):
    """Rows over the next week: (task, subject) → error."""
    errors = {
        (SIR, "last_value"): 0.45,
        (SIR, "week_average"): 0.46,
        (SIR, "ar"): 0.40,
        (SIR, "ar_graph"): 0.36,
        (SIR, "ar_shuffled"): 0.40,
        (SIR, "lstm"): 0.41,
        (SIR, "graph_lstm"): 0.35,
        (SIR, "graph_lstm_shuffled"): 0.41,
        (SIR, "graph"): 0.38,
        (STILL, "ar_graph"): 0.3,
        (STILL, "ar_shuffled"): 0.3,
        (ABROAD, "ar"): 0.5,
        (ABROAD, "ar_graph"): 0.4,
        (ABROAD, "ar_shuffled"): 0.45,
    } | {tuple(key.split("|")): value for key, value in changed.items()}
    rng = np.random.default_rng(0)
    rows = [
        {"seed": seed, "task": task, "subject": subject, "ahead": 7, "rmsle": value + rng.normal(0, 0.002)}
        for seed in range(seeds)
        for (task, subject), value in errors.items()
    ]
    return pd.DataFrame(rows).set_index("seed")


def test_everything_holds_where_it_should():
    assert [claim.rule(frame()).outcome for claim in EpidemicGraph.claims] == ["holds"] * len(EpidemicGraph.claims)
    kinds = {claim.kind for claim in EpidemicGraph.claims if isinstance(claim, Control)}
    assert kinds == {"negative", "positive", "gate"}


@pytest.mark.parametrize(
    ("claim", "changed"),
    [
        (0, {f"{SIR}|ar_shuffled": 0.3}),
        (1, {f"{SIR}|lstm": 0.3}),
        (2, {f"{SIR}|graph": 0.3}),
        (3, {f"{SIR}|graph_lstm_shuffled": 0.3}),
        (4, {f"{SIR}|week_average": 0.3}),
        (5, {f"{STILL}|ar_graph": 0.25}),
        (6, {f"{ABROAD}|ar": 0.4}),
        (6, {f"{ABROAD}|ar_shuffled": 0.35}),
        (7, {f"{SIR}|ar": 0.5}),
    ],
)
def test_each_rule_says_no(claim, changed):
    assert EpidemicGraph.claims[claim].rule(frame(**changed)).outcome == "does not hold"


def test_real_countries_count_too():
    rows = frame()
    other = rows[rows.task == SIR].assign(task=ENGLAND)
    worse = other.assign(rmsle=np.where(other.subject == "graph_lstm", 0.9, other.rmsle))
    assert EpidemicGraph.claims[1].rule(pd.concat([rows, worse])).outcome == "does not hold"


# ----------------------------------------------------------------------------------------------------------- picture


def test_the_picture(trial):
    figure = drawn(EpidemicGraph(), frame(), {0: trial[1]})
    assert SIR in [axes.get_title() for axes in figure.axes]
    assert len(figure.legends[0].texts) == len(set(frame().subject))


@pytest.mark.parametrize("rows", [pd.DataFrame(), frame(seeds=1), frame()[frame().subject == "graph"]])
def test_a_picture_of_little(rows):
    drawn(EpidemicGraph(), rows, {})
