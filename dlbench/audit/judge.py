"""In a task of its own: an audit's axes and claims, each subject by itself."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from dlbench import stats
from dlbench.experiment import Axis
from dlbench.report import judge as report_judge


def judge(payload: Mapping[str, Any], send: Callable[[dict[str, Any]], None] | None = None) -> dict[str, Any]:
    """Evaluate an audit's rules on the rows of each subject.

    Args:
        payload: ``name``; ``plan``, the audit's entry in the run's plan; ``rows``, the measurements of its ok trials,
            indexed by seed; ``missing``, what became of the others, in words.
        send: unused; isolated tasks are given it.

    Returns:
        ``axes``: a record a subject and axis, with ``value``, ``low``, ``high``, ``n``, ``reason`` and ``folds``, the
        values by seed; ``verdicts``: a record a subject and claim, as :func:`dlbench.report.judge.verdicts` has them.

    Raises:
        PluginError: the plugin is not there, is broken, or is another version than the one that was measured.
    """
    cls = report_judge.measured_class(payload["name"], payload["plan"])
    rows = payload["rows"]
    axes, verdicts = [], []
    for subject in dict.fromkeys(rows.subject):
        mine = rows[rows.subject == subject]
        axes += [{"subject": subject, "axis": axis.name, "about": axis.about} | _value(axis, mine) for axis in cls.axes]
        judged = report_judge.verdicts({**payload, "rows": mine})
        verdicts += [{"subject": subject} | verdict for verdict in judged]
    return {"axes": axes, "verdicts": verdicts}


def _value(axis: Axis, rows: Any) -> dict[str, Any]:
    """An axis' mean over seeds with its interval, within 0 and 1; whatever its rule raises leaves it unmeasured."""
    nothing = {"value": math.nan, "low": math.nan, "high": math.nan, "n": 0, "folds": {}}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # means of nothing
            values = axis.rule(rows.copy())
            counts = None if axis.examples is None else axis.examples(rows.copy()).reindex(values.index)
            interval = stats.t_interval(values) if counts is None else stats.share_interval(values, counts)
    except (Exception, SystemExit) as error:
        return nothing | {"reason": f"its rule raised {report_judge.one_line(error)}"}
    if interval.n == 0:
        return nothing | {"reason": "nothing was measured of it"}
    if interval.low > 1 or interval.high < 0:  # what is off by chance alone is not: an error less its bias, say
        return nothing | {"reason": f"its value is {interval.estimate:g}; expected 0 to 1"}
    value, low, high = (min(max(number, 0.0), 1.0) for number in interval[:3])
    folds = {int(seed): float(number) for seed, number in values.dropna().items()}
    return {"value": value, "low": low, "high": high, "n": interval.n, "folds": folds, "reason": ""}
