"""epidemic_graph: the worlds, that nothing after T is seen, arms against known forecasts, rules on known frames."""

import numpy as np
import pandas as pd
import pytest
import torch

from dlbench import Context, Control
from dlbench.errors import ParameterError
from dlbench.ops import Graph
from dlbench_plugins.graphs import epidemic_graph as study
from dlbench_plugins.graphs.epidemic_graph import AHEAD, ARMS, ENGLAND, LEADS, SIR, STILL, WAVE, EpidemicGraph

from .drawing import drawn

TINY = EpidemicGraph(days=60, every=40, epochs=1, hidden=4)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


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
    with pytest.raises(ParameterError, match="days is 70 and every is 60; no forecast fits in"):
        EpidemicGraph(days=70, every=60)


# -------------------------------------------------------------------------------------------------------------- arms


def forecast(subject, task, moves=None):
    torch.manual_seed(0)
    return ARMS[subject].forecast(task, task.moves if moves is None else moves, TINY, np.random.default_rng(0))


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


def test_nothing_after_the_last_day_is_seen(task):
    """The future is replaced: what is known on a day stays, and so does every forecast made then."""
    changed = study.Task(task.cases.copy(), task.moves, task.per)
    changed.cases[41:] = 1e4
    for subject in ("ar_graph", "graph_lstm", "graph"):
        said = [forecast(subject, world.until(40), world.moves.until(40)).logs for world in (task, changed)]
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


# ----------------------------------------------------------------------------------------------------------- a trial


@pytest.fixture(scope="module")
def trial():
    context = Context(seed=3)
    return pd.DataFrame(list(TINY.trial(context))), context.kept


def test_one_row_a_subject_task_and_span(trial):
    rows, kept = trial
    assert not rows.duplicated(["subject", "task", "ahead"]).any()
    assert set(rows[rows.task == SIR].subject) == set(ARMS) and set(rows.ahead) == set(AHEAD)
    assert set(rows[rows.task == STILL].subject) == {"ar", "ar_graph"} == set(rows[rows.task == WAVE].subject)
    assert rows.rmsle.notna().all() and kept["graph_lstm"].shape == (1, 14, 6)


def test_a_real_country_is_a_task():
    rng = np.random.default_rng(0)
    data = {
        "cases": rng.poisson(5, (40, 6)).astype(np.float32),
        "edge_index": np.stack([np.arange(6), (np.arange(6) + 1) % 6]),
        "movement": rng.integers(10, 100, (40, 6)).astype(np.float32),
    }
    experiment = EpidemicGraph(tasks=("england",), days=60, every=40, every_real=10, epochs=1, hidden=4)
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
        (STILL, "ar"): 0.3,
        (STILL, "ar_graph"): 0.3,
        (WAVE, "ar"): 0.5,
        (WAVE, "ar_graph"): 0.4,
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
        (6, {f"{WAVE}|ar_graph": 0.5}),
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
    assert figure.axes[1].get_title() == SIR and len(figure.legends[0].texts) == len(ARMS)


@pytest.mark.parametrize("rows", [pd.DataFrame(), frame(seeds=1), frame()[frame().subject == "graph"]])
def test_a_picture_of_little(rows):
    drawn(EpidemicGraph(), rows, {})
