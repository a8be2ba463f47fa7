import math

import numpy as np
import pytest

from dlbench import stats
from dlbench.report import board, frames

RNG = np.random.default_rng


@pytest.fixture
def ranked(workbench):
    """ranked(values, …): the leaderboard of subjects (name → one accuracy a seed, None where it has no row)."""
    workbench.install()

    def make(values, **options):
        def rows(seed):
            return [{"subject": name, "accuracy": x[seed]} for name, x in values.items() if x[seed] is not None]

        seeds = len(next(iter(values.values())))
        (one,) = frames.measured({"r": workbench.run(seeds=seeds, rows=rows, **options)})
        return board.leaderboard([one]).set_index("model")

    return make


def test_value_and_interval_are_those_of_stats(ranked):
    values = {"a": RNG(0).normal(size=7), "b": RNG(1).normal(5, 2, size=7)}
    table = ranked(values)
    for name, x in values.items():
        estimate, low, high, n = stats.t_interval(x)
        row = table.loc[name]
        assert (row.value, row.ci_low, row.ci_high) == pytest.approx((estimate, low, high), rel=1e-12)
        assert (row.n, row.ci_method, row.estimator, row.unit_of_replication) == (n, "t", "mean", "seed")
        assert row.sd == pytest.approx(np.std(x, ddof=1))


def test_columns_of_the_standard_come_first_and_in_order(ranked):
    table = ranked({"a": [1.0] * 6}).reset_index()
    assert set(table.columns) == set(board.LEADERBOARD)
    row = table.iloc[0]
    assert (row.experiment, row.protocol_version, row.metric, row.direction, row.unit) == (
        "demo",
        1,
        "accuracy",
        "max",
        "1",
    )
    assert (row.n, row.n_planned, row.n_failed, row.seeds) == (6, 6, 0, "0-5")
    assert (row.torch, row.python, row.cpu, row.plugin, row.plugin_version) == (
        "2.13.0",
        "3.11.7",
        "Some CPU @ 2.1 GHz",
        "demo",
        "1.2",
    )
    assert (row.code_sha, row.dirty, row.verification) == ("c" * 40, True, "self_reported")
    assert row.wall_s == 4.0


def test_rows_that_cannot_be_told_apart_share_a_rank(ranked):
    noise = RNG(0).normal(0, 0.01, size=(4, 10))
    table = ranked(
        {"best": 0.9 + noise[0], "second": 0.7 + noise[1], "like_second": 0.7 + noise[2], "last": 0.5 + noise[3]}
    )
    assert table["rank"].to_dict() == {"best": 1, "second": 2, "like_second": 2, "last": 4}
    assert table.rank_best.to_dict() == table["rank"].to_dict()
    assert table.rank_worst.to_dict() == {"best": 1, "second": 3, "like_second": 3, "last": 4}
    assert table.tie_group.to_dict() == {"best": 1, "second": 2, "like_second": 2, "last": 3}
    assert table.index[0] == "best"
    assert table.index[-1] == "last"


def test_ranks_are_paired(ranked):
    """A difference that is small beside the spread over seeds, but the same on each seed, ranks."""
    common = RNG(0).normal(0, 1, size=8)
    small = RNG(1).normal(0.01, 0.001, size=8)
    table = ranked({"a": common + small, "b": common})
    assert table["rank"].to_dict() == {"a": 1, "b": 2}
    assert table.ci_low["a"] < table.value["b"]  # although the intervals overlap widely


def test_equal_rows_tie_and_constant_differences_do_not(ranked):
    x = RNG(0).normal(size=6)
    table = ranked({"a": x, "copy": x, "above": x + 0.5})
    assert table["rank"].to_dict() == {"above": 1, "a": 2, "copy": 2}


@pytest.mark.parametrize("seeds", [1, 2, 5])
def test_too_few_seeds_give_no_rank(ranked, seeds):
    table = ranked({"a": [0.9] * seeds, "b": [0.1] * seeds})
    assert table["rank"].isna().all()
    assert (table.ci_method == ("none" if seeds == 1 else "t")).all()


def test_a_row_that_lacks_a_seed_is_not_ranked(ranked):
    x = RNG(0).normal(0, 0.01, size=8)
    table = ranked({"a": 0.9 + x, "lucky": [None, *(0.95 + x[1:])], "unscored": [math.nan, *x[1:]], "b": 0.5 - x})
    assert table["rank"].isna().to_dict() == {"a": False, "lucky": True, "unscored": True, "b": False}
    assert table["rank"]["b"] == 2
    assert (table.n["lucky"], table.n["unscored"], table.seeds["lucky"]) == (7, 7, "1-7")


def test_a_failed_trial_is_counted_and_leaves_the_rest_ranked(ranked):
    x = RNG(0).normal(0, 0.01, size=8)
    table = ranked({"a": 0.9 + x, "b": 0.5 - x}, status=lambda seed: "timeout" if seed == 3 else "ok")
    assert table["rank"].to_dict() == {"a": 1, "b": 2}
    assert set(table.n) == {7}
    assert set(table.n_planned) == {8}
    assert set(table.n_failed) == {1}
    assert set(table.seeds) == {"0-2,4-7"}


def test_a_subject_without_a_competitor_has_no_rank(ranked):
    assert ranked({"alone": [0.9] * 6})["rank"].isna().all()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_is_shown_and_not_ranked(ranked, bad):
    x = RNG(0).normal(0, 0.01, size=6)
    table = ranked({"broken": [bad] * 6, "a": 0.9 + x, "b": 0.5 - x})
    assert table["rank"].isna().to_dict() == {"a": False, "b": False, "broken": True}


def test_subjects_compete_under_equal_settings(workbench):
    workbench.install()
    (one,) = frames.measured({"r": workbench.run()})
    table = board.leaderboard([one])
    assert table.settings.unique().tolist() == ['{"noise":0.0}', '{"noise":0.5}']
    assert table[table.settings == '{"noise":0.5}']["rank"].min() == 1
    assert table.row_id.is_unique
    assert table.config_sha256.nunique() == 2


def test_lower_is_better_and_no_direction(workbench):
    workbench.install()
    run = workbench.run()
    metrics = run.plan["experiments"]["demo"]["metrics"]
    metrics["accuracy"]["better"] = "lower"
    (one,) = frames.measured({"r": run})
    table = board.leaderboard([one])
    assert table.direction.unique().tolist() == ["min"]
    assert table.iloc[0]["rank"] == 1
    assert table.iloc[0].value < table.iloc[2].value
    metrics["accuracy"]["better"] = None
    (one,) = frames.measured({"r": run})
    table = board.leaderboard([one])
    assert table["rank"].isna().all()
    assert table.direction.unique().tolist() == [""]


def test_row_id_is_of_what_was_measured_not_of_the_numbers(workbench):
    workbench.install()
    ids = [
        set(board.leaderboard(frames.measured({"r": workbench.run(label=label, **options)})).row_id)
        for label, options in [("one", {}), ("two", {"seeds": 8}), ("wide", {"overrides": {"width": 128}})]
    ]
    assert ids[0] == ids[1]
    assert not ids[0] & ids[2]


def test_seed_lists():
    assert board.seed_list([]) == ""
    assert board.seed_list([3]) == "3"
    assert board.seed_list([5, 0, 1, 2, 7, 8]) == "0-2,5,7-8"


@pytest.mark.slow
def test_rank_intervals_cover_the_true_ranks():
    """Simulated: all true ranks lie in their ranges in at least 95 % of leaderboards."""
    rng, means = RNG(0), np.array([0.0, 0.3, 0.3, 1.0, 2.0])
    low = np.array([(means > m).sum() + 1 for m in means])  # a tie's true rank is any of these
    high = np.array([(means >= m).sum() for m in means])
    covered = []
    for _ in range(1000):
        ranks = board._ranks(means[:, None] + rng.normal(size=(5, 8)) + rng.normal(size=8))
        covered.append(all((ranks[:, 1] <= high) & (ranks[:, 2] >= low)))
    assert np.mean(covered) > 0.95 - 3 * math.sqrt(0.05 * 0.95 / 1000)
