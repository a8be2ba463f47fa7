"""A model under attack, as studies and audits ask about it: budgets, the diagnosis in rows, a curve in a picture."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

from torch import Tensor, nn

from dlbench import attacks, draw_means, where

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

ALONG = ("apgd-ce", "apgd-t", "square")  # a curve
FACTOR = 1e4  # of the logits of a scaled network
VERDICTS = {"skip": float("nan"), "pass": 0.0, "warn": 1.0, "fail": 2.0}
DASHES = ("-", "-", "--", "-.")  # so that curves which lie on each other are seen
COLOURS = ("#0072B2", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#E69F00", "#000000")  # of models, in turn


class Budget(Protocol):
    """What an experiment spends on an image: its parameters."""

    @property
    def steps(self) -> int:
        """Of APGD and FAB."""

    @property
    def target_classes(self) -> int:
        """Of targeted APGD and FAB."""

    @property
    def queries(self) -> int:
        """Of Square."""


class Scaled(nn.Module):
    """A network whose logits are 10,000 times as large: the same labels, and a loss without digits."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return FACTOR * self.net(x)


def budgets(budget: Budget, names: tuple[str, ...]) -> dict[str, Any]:
    """The arguments that make ``autoattack`` run these attacks on this budget."""
    targeted = {"steps": budget.steps, "target_classes": budget.target_classes}
    settings = {
        "apgd_ce": {"steps": budget.steps},
        "apgd_t": targeted,
        "fab_t": targeted,
        "square": {"queries": budget.queries},
    }
    chosen = {key: settings[key] for key in (name.replace("-", "_") for name in names)}
    return {"version": "custom", "attacks": names, **chosen}


def passes(found: attacks.AttackResult | attacks.RobustnessCurve | attacks.Diagnosis) -> dict[str, float]:
    """What it cost, per image."""
    return {"forwards": float(found.forwards.double().mean()), "backwards": float(found.backwards.double().mean())}


def in_rows(diagnosis: attacks.Diagnosis) -> Iterator[dict[str, Any]]:
    """One row a rule; of rule "all" the worst verdict, and what the diagnosis cost."""
    yield {"rule": "all", "verdict": VERDICTS[diagnosis.verdict], **passes(diagnosis)}
    for finding in diagnosis.findings:
        yield {"rule": finding.rule, "verdict": VERDICTS[finding.verdict], "finding": finding.value}


def draw_curve(axes: Axes, rows: pd.DataFrame, name: str, number: int) -> str:
    """Robust accuracy over eps of one model with 95 % intervals, in the colour of its number, which is returned."""
    colour = COLOURS[number % len(COLOURS)]
    by_eps = dict(iter(where(rows, attack="curve").groupby("eps").robust_accuracy))
    style = {
        "color": colour,
        "marker": "o",
        "markersize": 3,
        "label": name,
        "linestyle": DASHES[number % len(DASHES)],
    }
    draw_means(axes, by_eps.keys(), by_eps.values(), limits=(0, 1), band=True, **style)
    return colour
