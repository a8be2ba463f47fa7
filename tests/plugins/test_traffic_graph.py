"""traffic_graph: the worlds, parts of the week, arms against known forecasts, rules on known frames, the picture."""

import numpy as np
import pandas as pd
import pytest
import torch

from dlbench import Context, Control
from dlbench_plugins.graphs import traffic_graph as study
from dlbench_plugins.graphs.forecasting import Links, mae, targets
from dlbench_plugins.graphs.traffic_graph import (
    ARMS,
    ECHO,
    LEADS,
    METR_LA,
    MINUTES,
    RING,
    STILL,
    Task,
    TrafficGraph,
    Week,
)

from .drawing import drawn

TINY = TrafficGraph(days=4, epochs=1, batch=64, stride=40, hidden=4)


@pytest.fixture(scope="module")
def task():
    return Task.of(study.made_week(np.random.default_rng(0), 4))


# ------------------------------------------------------------------------------------------------------------ worlds


def test_a_made_week_is_traffic(task):
    assert task.speed.shape == (4 * study.STEPS, study.DETECTORS)
    assert np.isnan(task.speed).mean() == pytest.approx(0.02, abs=0.004)
    hour = np.arange(len(task.speed)) % study.STEPS // 12
    assert np.nanmean(task.speed[hour == 8]) < np.nanmean(task.speed[hour == 3]) - 3  # the morning's rush
    assert (task.roads.ends[0] != task.roads.ends[1]).all()


def test_jams_spread_against_the_traffic_only_where_they_may():
    """The detector behind follows the one ahead: the correlation of what is new, half an hour later."""

    def follows(spread):
        speed = study.filled(study.made_week(np.random.default_rng(1), 8, spread=spread).speed)
        change = np.diff(speed[::3], axis=0)
        pairs = [(change[1:, i], change[:-1, (i + 1) % study.DETECTORS]) for i in range(study.DETECTORS)]
        return np.mean([np.corrcoef(*pair)[0, 1] for pair in pairs])

    assert follows(0.25) > follows(0.0) + 0.05


def test_detectors_repeat_the_next():
    speed = study.made_week(np.random.default_rng(0), 4, echo=1.0).speed
    assert np.nanstd(speed[3:, :-1] - speed[:-3, 1:]) == pytest.approx(0.5, rel=0.05)


def test_parts_follow_one_another_and_do_not_touch(task):
    steps = len(task.speed)
    for before, after in ((task.train, task.validation), (task.validation, task.test)):
        assert before[-1] + LEADS[-1] < after[0] + 1
    assert task.train[0] >= study.LENGTH - 1 and task.test[-1] + LEADS[-1] == steps - 1
    assert (task.test.size + LEADS[-1]) / steps == pytest.approx(0.2, abs=0.01)


def test_averages_know_the_training_days_only(task):
    changed = task.speed.copy()
    changed[task.validation[0] + 1 :] = 1.0
    again = Task.of(Week(changed, task.roads))
    np.testing.assert_array_equal(again.usual, task.usual)
    assert again.scale == task.scale


# -------------------------------------------------------------------------------------------------------------- arms


def forecast(subject, task, roads=None, study_=TINY):
    torch.manual_seed(0)
    return ARMS[subject].forecast(task, task.roads if roads is None else roads, study_, np.random.default_rng(0))


def test_simple_baselines_are_what_they_say(task):
    last, usual = forecast("last_value", task).forecast, forecast("history_average", task).forecast
    np.testing.assert_array_equal(last[:, 0], task.filled[task.test])
    np.testing.assert_array_equal(last[:, 11], last[:, 0])
    np.testing.assert_array_equal(usual[5, 2], task.usual[task.test[5] + 3])


def test_a_ridge_continues_a_daily_wave():
    t = np.arange(5 * study.STEPS)[:, None]
    speed = 50 + 10 * np.sin(2 * np.pi * (t / study.STEPS + np.linspace(0, 1, 5)))
    task = Task.of(Week(speed, Links(np.array([[0], [1]]), np.ones(1))))
    came = targets(speed, task.test, LEADS)
    assert (
        mae(forecast("ar_clock", task, task.roads.none()).forecast, came)
        < 0.05
        < mae(forecast("last_value", task).forecast, came)
    )


def test_a_vector_autoregression_finds_who_repeats_whom():
    """Detector 1 shows what detector 0 showed three steps ago, and no road says so."""
    rng = np.random.default_rng(0)
    speed = 50 + rng.normal(0, 5, (6 * study.STEPS, 2))
    speed[3:, 1] = speed[:-3, 0]
    speed[rng.random(speed.shape) < 0.02] = np.nan
    task = Task.of(Week(speed, Links(np.empty((2, 0), np.int64), np.empty(0))))
    came = targets(speed, task.test, LEADS)
    said = forecast("var", task).forecast
    assert mae(said[:, 2, 1], came[:, 2, 1]) < 0.3 * mae(said[:, 2, 0], came[:, 2, 0])
    assert mae(said[:, 11], came[:, 11]) == pytest.approx(5 * np.sqrt(2 / np.pi), rel=0.1)


def test_a_vector_autoregression_bears_a_detector_that_never_varies():
    rng = np.random.default_rng(0)
    speed = 50 + rng.normal(0, 5, (4 * study.STEPS, 3))
    speed[:, 1], speed[:, 2] = 50.1, 64.0
    said = forecast("var", Task.of(Week(speed, Links(np.empty((2, 0), np.int64), np.empty(0))))).forecast
    np.testing.assert_allclose(said[..., 1:], np.broadcast_to([50.1, 64.0], said[..., 1:].shape))
    assert np.isfinite(said).all()


def test_stid_knows_who_and_when_and_no_roads(task):
    net = study.STID(3, 4)
    torch.nn.init.normal_(net.out.weight)
    x, later = torch.randn(12, 1, 1, 2).expand(12, 3, 2, 2), torch.randn(1, 1, 13).expand(3, 2, 13)
    said = net(x, later, torch.tensor([8, 20]), None, None)
    assert said.shape == (3, 2, 12) and len(said.flatten(0, 1).unique(dim=0)) == 6  # of one and the same hour
    np.testing.assert_array_equal(forecast("stid", task).forecast, forecast("stid", task, task.roads.none()).forecast)


def test_nothing_after_the_origin_is_seen(task):
    """What comes after an origin is replaced: the forecast made there stays, bit for bit."""
    cut = 40
    changed = task.speed.copy()
    changed[task.test[cut] + 1 :] = 1.0
    again = Task.of(Week(changed, task.roads))
    for subject in ("last_value", "history_average", "ar_roads", "var", "dcgru", "tgcn", "stid"):
        np.testing.assert_array_equal(
            forecast(subject, again).forecast[: cut + 1], forecast(subject, task).forecast[: cut + 1]
        )


def test_networks_start_alike_and_say_at_first_that_all_stays(task):
    untrained = TrafficGraph(days=4, epochs=1, stride=100, learning_rate=1e-6, hidden=4)
    for subject in ("dcgru", "tgcn", "stid"):
        said = forecast(subject, task, study_=untrained).forecast
        np.testing.assert_allclose(said, forecast("last_value", task).forecast, atol=0.02)
    counts = {forecast("dcgru", task, roads).parameters for roads in (task.roads, task.roads.none())}
    assert len(counts) == 1


def test_bad_travel_times():
    assert study.bad_share(np.array([50.0, 50, 50, 50]), np.array([50.0, 61, 39, np.nan])) == pytest.approx(2 / 3)


# ----------------------------------------------------------------------------------------------------------- a trial


@pytest.fixture(scope="module")
def trial():
    context = Context(seed=3)
    return pd.DataFrame(list(TINY.trial(context))), context.kept


def test_one_row_a_subject_task_and_horizon(trial):
    rows, kept = trial
    assert not rows.duplicated(["subject", "task", "minutes"]).any()
    assert set(rows[rows.task == RING].subject) == set(ARMS) - {"tgcn"}
    assert set(rows[rows.task == STILL].subject) == {"ar_clock", "ar_roads"}
    assert set(rows.minutes) == set(MINUTES) and kept["speed"].shape == (study.STEPS, study.DETECTORS)
    first = rows[rows.minutes == 15]
    assert (first.rmse >= first.mae).all() and (first.mae_until <= first.mae + 0.2).all()


def test_roads_are_worth_what_the_worlds_make_them(trial):
    spared = {
        name: study.paired(group[group.minutes == 15].set_index(pd.Index([0] * 2)), "mae", "ar_clock", "ar_roads")[0]
        for name, group in trial[0][trial[0].task.isin([STILL, ECHO])].groupby("task")
    }
    assert abs(spared[STILL]) < 0.1 and spared[ECHO] > 0.5


def test_the_published_week_is_a_task():
    made = study.made_week(np.random.default_rng(0), 4)
    data = {"speed": made.speed.astype(np.float32), "edge_index": made.roads.ends, "weight": made.roads.weight}
    experiment = TrafficGraph(tasks=("metr_la",), networks=("tgcn",), days=4, epochs=1, stride=80, hidden=4)
    assert experiment.datasets() == ("metr_la_week",)
    rows = pd.DataFrame(list(experiment.trial(Context(seed=0, loader={"metr_la_week": data}.get))))
    for reference in TrafficGraph.references:
        matching = rows[np.logical_and.reduce([rows[key] == value for key, value in reference.where.items()])]
        assert len(matching) == 1 and matching[reference.metric].notna().all()


# ------------------------------------------------------------------------------------------------------------- rules


def frame(seeds=8, **changed):
    """Rows of the three worlds: (task, subject) → error at 15 and 60 minutes."""
    errors = {
        (RING, "last_value"): (2.4, 4.8),
        (RING, "history_average"): (2.7, 2.7),
        (RING, "ar_clock"): (1.95, 2.7),
        (RING, "ar_roads"): (1.78, 2.65),
        (RING, "ar_shuffled"): (1.94, 2.7),
        (RING, "var"): (1.9, 2.6),
        (RING, "stid"): (1.9, 2.5),
        (RING, "dcgru"): (1.75, 2.4),
        (RING, "dcgru_alone"): (1.9, 2.5),
        (RING, "dcgru_shuffled"): (1.88, 2.5),
        (STILL, "ar_clock"): (1.9, 2.5),
        (STILL, "ar_roads"): (1.9, 2.5),
        (ECHO, "ar_clock"): (2.2, 2.3),
        (ECHO, "ar_roads"): (0.8, 2.2),
    } | {tuple(key.split("|")): value for key, value in changed.items()}
    rng = np.random.default_rng(0)
    rows = [
        {"seed": seed, "task": task, "subject": subject, "minutes": minutes, "mae": value + rng.normal(0, 0.005)}
        for seed in range(seeds)
        for (task, subject), values in errors.items()
        for minutes, value in zip((15, 60), values, strict=True)
    ]
    return pd.DataFrame(rows).set_index("seed")


def test_everything_holds_where_it_should():
    assert [claim.rule(frame()).outcome for claim in TrafficGraph.claims] == ["holds"] * len(TrafficGraph.claims)
    kinds = {claim.kind for claim in TrafficGraph.claims if isinstance(claim, Control)}
    assert kinds == {"negative", "positive", "gate"}


@pytest.mark.parametrize(
    ("claim", "changed"),
    [
        (0, {f"{RING}|ar_shuffled": (1.7, 2.7)}),
        (1, {f"{RING}|dcgru_shuffled": (1.7, 2.5)}),
        (2, {f"{RING}|ar_clock": (1.7, 2.7)}),
        (3, {f"{RING}|stid": (1.7, 2.5)}),
        (3, {f"{RING}|var": (1.7, 2.5)}),
        (4, {f"{RING}|dcgru_alone": (1.9, 2.3)}),
        (5, {f"{RING}|ar_roads": (1.9, 2.3)}),
        (6, {f"{STILL}|ar_roads": (1.8, 2.5)}),
        (7, {f"{ECHO}|ar_roads": (2.1, 2.3)}),
        (8, {f"{RING}|history_average": (1.9, 1.9)}),
    ],
)
def test_each_rule_says_no(claim, changed):
    assert TrafficGraph.claims[claim].rule(frame(**changed)).outcome == "does not hold"


def test_metr_la_counts_too():
    rows = frame()
    other = rows[rows.task == RING].assign(task=METR_LA)
    worse = other.assign(mae=np.where(other.subject == "dcgru", 9.0, other.mae))
    assert TrafficGraph.claims[1].rule(pd.concat([rows, other])).outcome == "holds"
    assert TrafficGraph.claims[1].rule(pd.concat([rows, worse])).outcome == "does not hold"


# ----------------------------------------------------------------------------------------------------------- picture


def test_the_picture(trial):
    figure = drawn(TrafficGraph(), frame(), {0: trial[1]})
    assert RING in [axes.get_title() for axes in figure.axes]
    assert len(figure.legends[0].texts) == 10


@pytest.mark.parametrize("rows", [pd.DataFrame(), frame(seeds=1), frame()[frame().subject == "dcgru"]])
def test_a_picture_of_little(rows):
    drawn(TrafficGraph(), rows, {})
