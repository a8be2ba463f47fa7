"""The leaderboard: a row is a subject under one combination of settings, by the experiment's main metric.

Subjects compete under equal settings, so ranks are given within each combination of settings, and only to rows that
scored on every seed on which any row of the combination did, at least :data:`dlbench.stats.MIN_SEEDS` of them. A row
without a competitor has no rank.

``rank`` is 1 plus the number of rows whose paired difference beats it after Holm's correction over all pairs of the
combination; so rows that cannot be told apart share a rank. ``rank_best`` and ``rank_worst`` bound the rank that the
true means would give, at 95 % simultaneously: 1 plus the rows that beat it, and the number of rows less those that it
beats (Mogstad et al., Review of Economic Studies 2024). A bootstrap over as few seeds as we have would not keep that
promise. A ``tie_group`` is a row and those after it that it does not beat.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from dlbench import stats
from dlbench.report.frames import Measured

SCHEMA = 1

RANKED_AT_MOST = 1000
"""Rows of one combination of settings beyond which no ranks are given: the pairs would be half a million."""

# fmt: off
LEADERBOARD = (
    "schema_version", "row_id", "experiment", "protocol_version", "track", "dataset", "dataset_sha256", "split",
    "model", "model_sha256", "params", "config_sha256", "metric", "unit", "direction", "value", "estimator",
    "ci_low", "ci_high", "ci_level", "ci_method", "unit_of_replication", "sd", "n", "n_planned", "n_failed", "seeds",
    "rank", "rank_best", "rank_worst", "tie_group", "score_norm",
    "wall_s", "device_s", "peak_rss_bytes", "peak_dev_bytes", "energy_J",
    "device", "device_count", "cpu", "env_sha256", "dlbench", "plugin", "plugin_version", "torch", "python",
    "accel_runtime", "code_url", "code_sha", "dirty", "determinism", "tuned_trials", "selection", "extra_data",
    "submitter", "submitted_at", "license", "bundle_sha256", "verification", "verified_by", "status", "flag",
    "settings", "run",
)
IDENTITY = (
    "experiment", "protocol_version", "track", "dataset", "dataset_sha256", "split", "model", "model_sha256",
    "config_sha256", "metric",
)
# fmt: on
"""Columns, in order; what a run alone cannot know stays empty. ``row_id`` hashes the identity columns."""

_AT_ONCE = 2**18
"""Differences of rows that are in memory at one time."""

RANKS = ("rank", "rank_best", "rank_worst", "tie_group")

_TIMES = {"s", "J", "examples/s"}
"""Units whose numbers belong to a device, which is then part of a row's identity."""


def leaderboard(everything: Sequence[Measured]) -> pd.DataFrame:
    """One row an experiment, subject and combination of settings; best first within each combination."""
    boards = [board for one in everything if (board := _board(one)) is not None]
    if not boards:
        return pd.DataFrame(columns=list(LEADERBOARD))
    return pd.concat([board.astype(object) for board in boards], ignore_index=True).reindex(columns=list(LEADERBOARD))


def means(one: Measured) -> dict[tuple[str, str], dict[str, float]]:
    """(subject, settings as in the column) → each metric's mean over seeds."""
    firsts, group = _groups(one)
    values = one.rows[one.metrics].groupby(group).mean().to_dict("records")
    return {_key(one, row): value for row, value in zip(firsts, values, strict=True)}


def _board(one: Measured) -> pd.DataFrame | None:
    rows = scored(one)
    return None if rows is None else ranked(rows, ["order"])


def scored(one: Measured) -> pd.DataFrame | None:
    """The rows of an experiment without their ranks, in the order in which they were measured.

    Beside the leaderboard's columns they have ``scores``, the main metric on each of the planned seeds, and ``order``,
    the number of their combination of settings. None where nothing was measured, or no metric ranks.
    """
    if one.main is None or one.rows.empty:
        return None
    firsts, group = _groups(one)
    values = np.full((len(firsts), len(one.planned)), np.nan)
    values[group, pd.Index(one.planned).get_indexer(one.rows.index)] = one.rows[one.main].to_numpy()
    mean, low, high, sd, n = _intervals(values)
    settings = [_canonical(_settings(one, row)) for row in firsts]
    parameters = one.plan["parameters"]
    configs = {text: _sha256({"parameters": parameters, "settings": json.loads(text)}) for text in set(settings)}
    board = pd.DataFrame(
        {
            "model": [row.get("subject", "") for row in firsts],
            "settings": settings,
            "config_sha256": [configs[text] for text in settings],
            "value": mean,
            "ci_low": low,
            "ci_high": high,
            "ci_method": np.where(n >= 2, "t", "none"),
            "sd": sd,
            "n": n,
            "seeds": _seed_lists(~np.isnan(values), one.planned),
            "scores": list(values),
        }
    )
    board["order"] = pd.factorize(board["settings"])[0]
    for name, value in _constants(one).items():
        board[name] = value
    board["row_id"] = row_ids(board)
    return board


def row_ids(board: pd.DataFrame) -> list[str]:
    """The digest of each row's identity: :data:`IDENTITY`, and the device where the metric is a time."""
    timed = board["unit"].iloc[0] in _TIMES
    identity = [*IDENTITY, "device"] if timed else list(IDENTITY)
    rows = zip(*(board[name].tolist() for name in identity), strict=True)
    return [_sha256(dict(zip(identity, row, strict=True))) for row in rows]


def ranked(rows: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Rows with their ranks among those that are equal in the columns ``by``, best first within them.

    Args:
        rows: of :func:`scored`, of one experiment or of several bundles of it; all have scores on the same seeds.
        by: what competitors have in common.
    """
    direction = rows["direction"].iloc[0]
    if not direction:
        return rows
    sign = 1.0 if direction == "max" else -1.0
    goodness = sign * np.stack(rows["scores"].tolist())
    ranks = np.full((len(rows), len(RANKS)), None, dtype=object)
    for competitors in rows.groupby(list(by), sort=False).indices.values():
        if 2 <= len(competitors) <= RANKED_AT_MOST:
            ranks[competitors] = _ranks(goodness[competitors])
    rows = rows.assign(goodness=np.nan_to_num(sign * rows["value"].to_numpy(dtype=float), nan=-np.inf))
    rows[list(RANKS)] = ranks
    return rows.sort_values([*by, "goodness"], ascending=[True] * len(by) + [False], kind="stable")


def _groups(one: Measured) -> tuple[list[Mapping[str, Any]], NDArray[np.integer[Any]]]:
    """The first measurement of each subject under each combination of settings; and to which of them each row belongs.

    A trial has one row for a subject and settings: that is checked when it runs.
    """
    group = one.rows.groupby(["subject", *one.settings], sort=False, dropna=False).ngroup().to_numpy()
    return [one.raw[row] for row in np.unique(group, return_index=True)[1]], group


def _settings(one: Measured, row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in one.settings if name in row}


def _key(one: Measured, row: Mapping[str, Any]) -> tuple[str, str]:
    return str(row.get("subject", "")), _canonical(_settings(one, row))


class _Intervals(NamedTuple):
    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    sd: NDArray[np.float64]
    n: NDArray[np.integer[Any]]


def _intervals(values: NDArray[np.float64]) -> _Intervals:
    """:func:`dlbench.stats.t_interval` of each row of values [rows, seeds], all at once; NaN where it is unbounded."""
    frame = pd.DataFrame(values.T)
    with np.errstate(invalid="ignore", over="ignore"):
        n = frame.count().to_numpy()
        mean, sd = frame.mean().to_numpy(), frame.std(ddof=1).to_numpy()
        half = stats.t_factor(np.maximum(n, 2)) * sd / np.sqrt(np.maximum(n, 1))
        return _Intervals(mean, mean - half, mean + half, sd, n)


def _ranks(values: NDArray[np.float64]) -> NDArray[Any]:
    """:data:`RANKS` [rows, 4] of values [rows, seeds], higher is better; None for the rows that are not ranked."""
    scored = ~np.isnan(values)
    seeds = scored.any(axis=0)
    ranked = np.flatnonzero(scored[:, seeds].all(axis=1) & np.isfinite(values[:, seeds]).all(axis=1))
    ranks = np.full((len(values), len(RANKS)), None, dtype=object)
    if seeds.sum() < stats.MIN_SEEDS or ranked.size < 2:
        return ranks
    complete = values[ranked][:, seeds]
    beats = _beats(complete)
    best = 1 + beats.sum(axis=0)
    worst = len(ranked) - beats.sum(axis=1)
    ranks[ranked] = np.column_stack([best, best, worst, _tie_groups(complete.mean(axis=1), beats)]).astype(object)
    return ranks


def _beats(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """beats[i, j]: row i of values [rows, seeds] is above row j by paired t tests, Holm over all pairs, at 5 %."""
    k, n = values.shape
    difference, p = np.empty((k, k)), np.ones((k, k))
    step = max(1, _AT_ONCE // values.size)
    for start in range(0, k, step):
        d = values[start : start + step, None] - values
        mean = d.mean(axis=2)
        se = d.std(axis=2, ddof=1) / math.sqrt(n)
        with np.errstate(divide="ignore", invalid="ignore"):
            p[start : start + step] = np.where(mean == 0, 1.0, 2 * special.stdtr(n - 1, -np.abs(mean) / se))
        difference[start : start + step] = mean
    upper = np.triu_indices(k, 1)
    adjusted = np.ones((k, k))
    adjusted[upper] = stats.holm(p[upper].tolist())
    significant = np.minimum(adjusted, adjusted.T) < 1 - stats.LEVEL
    return significant & (difference > 0)


def _tie_groups(means: NDArray[np.float64], beats: NDArray[np.bool_]) -> NDArray[np.integer[Any]]:
    order = np.argsort(-means, kind="stable")
    groups, group, first = np.empty(len(means), dtype=np.int64), 1, order[0]
    for row in order:
        if beats[first, row]:
            group, first = group + 1, row
        groups[row] = group
    return groups


def _constants(one: Measured) -> dict[str, Any]:
    """The columns that are the same for all rows of an experiment."""
    metric, plugin, facts = one.plan["metrics"][one.main], one.plan["plugin"], one.facts()
    digests = sorted({result["environment"] for result in one.ok})
    datasets: Mapping[str, str] = one.plan.get("datasets") or {}
    code = [fact.get("code", {}) for fact in facts]
    gpus = [fact.get("gpu") or [] for fact in facts]
    device = str(one.plan.get("device", ""))
    return {
        "schema_version": SCHEMA,
        "experiment": one.name,
        "protocol_version": int(one.plan["version"]),
        "track": "",
        "dataset": "+".join(datasets),
        "dataset_sha256": _sha256(datasets) if len(datasets) > 1 else "".join(datasets.values()),
        "split": "",
        "model_sha256": "",
        "metric": one.main,
        "unit": metric.get("unit", ""),
        "direction": {"lower": "min", "higher": "max"}.get(metric.get("better") or "", ""),
        "estimator": "mean",
        "ci_level": stats.LEVEL,
        "unit_of_replication": "seed",
        "n_planned": len(one.planned),
        "n_failed": len(one.failed),
        "wall_s": _median([result.get("wall_s") for result in one.ok]),
        "peak_rss_bytes": _median([result.get("peak_rss_bytes") for result in one.ok]),
        "device": device,
        "device_count": 1 if device.startswith("cuda") else None,
        "cpu": _common([fact.get("cpu") for fact in facts]),
        "env_sha256": _common(digests),
        "dlbench": _common([c.get("dlbench", {}).get("version") for c in code]),
        "plugin": plugin["distribution"],
        "plugin_version": plugin["version"],
        "torch": _common([_package(fact, "torch") for fact in facts]),
        "python": _common([fact.get("python") for fact in facts]),
        "accel_runtime": _common([f"CUDA {g[0].get('cuda')}" if g else "" for g in gpus]),
        "code_sha": _common([c.get(plugin["distribution"], {}).get("revision") for c in code]),
        "dirty": _common([c.get(plugin["distribution"], {}).get("dirty") for c in code]),
        "verification": "self_reported",
        "status": "active",
        "run": one.run,
    }


def _package(fact: Mapping[str, Any], name: str) -> Any:
    return fact.get("packages", fact).get(name)


def _common(values: Sequence[Any]) -> Any:
    """The value that all agree on, or None: one cell cannot tell of several."""
    distinct = list(dict.fromkeys(values))
    return distinct[0] if len(distinct) == 1 else None


def _median(values: Sequence[Any]) -> Any:
    known = [value for value in values if value is not None]
    if not known:
        return None
    median = float(np.median(known))
    return int(median) if all(isinstance(value, int) for value in known) else median


def _seed_lists(scored: NDArray[np.bool_], seeds: Sequence[int]) -> list[str]:
    """The seeds of each row as ``0-5,7``; rows that scored on the same seeds share the work."""
    known: dict[bytes, str] = {}
    lists = []
    for row in scored:
        key = row.tobytes()
        if key not in known:
            known[key] = seed_list([seed for seed, has in zip(seeds, row, strict=True) if has])
        lists.append(known[key])
    return lists


def seed_list(seeds: Sequence[int]) -> str:
    """Seeds as ranges: ``0-5,7``."""
    ranges: list[list[int]] = []
    for seed in sorted(seeds):
        if ranges and seed == ranges[-1][1] + 1:
            ranges[-1][1] = seed
        else:
            ranges.append([seed, seed])
    return ",".join(f"{first}-{last}" if last > first else str(first) for first, last in ranges)


def _canonical(value: Any) -> str:
    return _CANONICAL.encode(value)


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), default=str)


def _sha256(value: Any) -> str:
    return hashlib.sha256(_canonical(value).encode()).hexdigest()
