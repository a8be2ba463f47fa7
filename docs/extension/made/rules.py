"""What a board asks of a bundle, V01 to V26, from the code that asks."""

from __future__ import annotations

import inspect
from typing import Any

from dlbench.leaderboard import container, rules, strict
from dlbench.leaderboard.protocol import is_id
from made import rst

READING: dict[str, Any] = {
    "V01": container._check_budget,
    "V02": container._check_path,
    "V03": container._check_manifest,
    "V04": container._check_name,
    "V05": strict,
    "V06": is_id,
}
"""What holds the rules that a bundle must keep to be read at all."""


def text() -> str:
    """The rules as a table."""
    rows = [(rst.code(rule), rst.prose(about), rst.prose(asked(rule))) for rule, about in rules.RULES.items()]
    return rst.table(("rule", "is about", "asks"), rows, (8, 30, 62))


def asked(rule: str) -> str:
    """What a rule asks, as its own code says."""
    if rule in rules._UNASKED:
        return rules._UNASKED[rule][1]
    checks = READING | rules._CHECKS | {"V25": rules._again}
    told = inspect.cleandoc(checks[rule].__doc__ or "").partition("\n\n")[0]
    return " ".join(told.split()).removeprefix(f"{rule}: ")
