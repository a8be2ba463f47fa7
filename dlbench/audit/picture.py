"""The picture of a report card: the model on every axis with its intervals, reference models in grey behind it."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING

from dlbench.report.judge import PALETTE, STYLE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from dlbench.audit.card import Card

MARKERS = "s^Dv<>Ph*X"


def profile(card: Card) -> str:
    """An SVG with a line an axis, from 0, the worst, to 1, the best; the same bytes each time."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # the user's matplotlibrc is for the user's own figures
        matplotlib.rcParams.update(STYLE | {"svg.hashsalt": card.subject})  # type: ignore[arg-type]
        names = list(dict.fromkeys(zip(card.axes.audit, card.axes.axis, strict=True)))
        figure = Figure(figsize=(8.5, 1.3 + 0.62 * max(1, len(names))))
        _draw(figure.subplots(), card, names)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None}, bbox_inches="tight")
    return buffer.getvalue().decode()


def _draw(axes: Axes, card: Card, names: list[tuple[str, str]]) -> None:
    rows = {name: -position for position, name in enumerate(names)}
    axes.hlines(list(rows.values()), 0, 1, color="0.9", linewidth=6, zorder=0)
    for number, subject in enumerate([*card.references, card.subject]):
        own = subject == card.subject
        mine = card.axes[(card.axes.subject == subject) & card.axes.value.notna()]
        if mine.empty:
            continue
        at = [rows[audit, axis] for audit, axis in zip(mine.audit, mine.axis, strict=True)]
        named = subject.replace("$", r"\$")  # which begins a formula
        if own:
            doubted = mine.doubt != ""
            across = [mine.value - mine.low, mine.high - mine.value]
            axes.errorbar(
                mine.value,
                at,
                xerr=across,
                fmt="o",
                color=PALETTE[0],
                markersize=9,
                linewidth=2.5,
                label=named,
                zorder=3,
            )
            hollow = mine.value[doubted], [height for height, doubt in zip(at, doubted, strict=True) if doubt]
            axes.plot(*hollow, "o", color="white", markersize=5, linestyle="none", zorder=4)
            for row, height in zip(mine.itertuples(), at, strict=True):
                axes.annotate(
                    f"{row.value:.2f}", (row.value, height), (0, 9), textcoords="offset points", ha="center", fontsize=9
                )
        else:
            marker = MARKERS[number % len(MARKERS)]
            axes.plot(mine.value, at, marker, color="0.55", markersize=6, linestyle="none", label=named, zorder=2)
    for (audit, axis), height in rows.items():
        mine = card.axes[(card.axes.audit == audit) & (card.axes.axis == axis) & (card.axes.subject == card.subject)]
        if mine.empty or math.isnan(mine.value.iloc[0]):
            axes.annotate("not measured", (0.5, height), ha="center", va="center", fontsize=9, color="0.45")
    axes.set_yticks(list(rows.values()), [axis.replace("$", r"\$") for _, axis in rows])
    axes.tick_params(axis="y", length=0, labelsize=11)
    axes.spines["left"].set_visible(False)
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(min(rows.values(), default=0) - 0.7, 0.8)
    axes.set_xlabel("0: worst, 1: best")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper center", bbox_to_anchor=(0.45, -1.0 / (1 + len(names)) - 0.03), ncols=3, fontsize=9)
