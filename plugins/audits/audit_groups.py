"""Is the model as good for every group? (Buolamwini & Gebru, FAT* 2018; Sagawa et al., ICLR 2020, arXiv:1911.08731.)

Accuracy and overconfidence, mean confidence less accuracy, in each group that the data set tells of; with two classes,
of which the second is the decision in question (a loan, a high risk), how often it is given, and errors of either kind.
Demographic parity and equalised odds (:mod:`dlbench.groups`) are the greatest differences between any two groups. Those
differ by chance alone, the more the smaller groups are, so what lies above the mean difference between groups thrown by
a die is given beside them. Which of all these should be equal is not for a benchmark to say; where base rates differ
they cannot all be (Chouldechova 2017, arXiv:1703.00056).

The group with the worst of several noisy numbers looks worse than it is. So for the axis, which group is worst is
decided on all folds but one and measured on that one, each in its turn. That is right for the group that was chosen;
where several are much alike the worst of them may be missed, so that the value is then a little too good and its
interval too narrow (by a factor of 1.6 for twelve equal ones). Claims do not rest on that choice: they must hold for
every group by itself. Groups with fewer than 30 examples in all folds are told, and do not take part.

Controls: among groups thrown by a die, of the sizes of the true ones, the worst so found is no worse than everybody;
where the answers of half of the examples are replaced by wrong ones, that half is found to be far behind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dlbench import (
    Axis,
    Claim,
    Context,
    Control,
    Measurement,
    Metric,
    above,
    below,
    between,
    equivalent,
    every,
    groups,
    per_seed,
    where,
)
from dlbench.audit import Audit, Examples, Subject
from dlbench.errors import NotApplicable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dlbench import Artefacts, Verdict

LEAST = 30  # examples of a group in all folds; with fewer it is told, and not ranked
MOST = 100  # groups; a column of more is a name or a number
MARGIN = 0.05
DRAWN = 15  # groups in the picture at most, the largest
OWN, DIE, MADE = "own", "die", "made"  # by what examples are divided into groups
OF_TWO = {  # with two classes
    "selection_rate": lambda y, said: groups.selection_rate(said),
    "false_positive_rate": groups.false_positive_rate,
    "false_negative_rate": groups.false_negative_rate,
}


# ------------------------------------------------------------------------------------------- the worst, and how it is


def worst(rows: pd.DataFrame, metric: str, *, better: str) -> pd.Series:
    """A metric of the group that is worst in all other folds, a seed; rows are of one model and one division.

    Empty where fewer than two groups have LEAST examples.
    """
    values = of_groups(rows, metric)
    return pd.Series(
        {seed: values.at[seed, group] for seed, group in chosen(rows, metric, better=better).items()}, dtype=float
    ).dropna()


def chosen(rows: pd.DataFrame, metric: str, *, better: str) -> pd.Series:
    """The name of the group that is worst in all other folds, a seed."""
    values, n = (of_groups(rows, name) for name in (metric, "examples"))
    ranked = n.columns[n.sum() >= LEAST]
    if len(ranked) < 2:
        return pd.Series(dtype=object)
    values = values[ranked]
    n = n[ranked].where(values.notna(), 0)
    sums = (values * n).fillna(0)
    others = ((sums.sum() - sums) / (n.sum() - n).replace(0, np.nan)).dropna(how="all")  # the mean over other folds
    return others.idxmin(axis=1) if better == "higher" else others.idxmax(axis=1)


def of_chosen(rows: pd.DataFrame) -> pd.Series:
    """How many examples the group of least accuracy in all other folds has, a seed."""
    n = of_groups(rows, "examples")
    return pd.Series({seed: n.at[seed, group] for seed, group in chosen(rows, "accuracy", better="higher").items()})


def in_every_group(rows: pd.DataFrame, rule: Callable[[pd.DataFrame, pd.Series], Verdict]) -> Verdict:
    """The rule (rows of a group, accuracy of all by seed) for each that has LEAST examples; rows are of one model."""
    grouped = where(rows, over="group")
    n = grouped.groupby("group").examples.sum()
    ranked = grouped[grouped.group.isin(n.index[n >= LEAST])]
    everyone = per_seed(grouped, lambda r: np.average(r.accuracy, weights=r.examples))
    return every(ranked, "group", lambda r: rule(r, everyone))


def behind(rows: pd.DataFrame, metric: str = "accuracy") -> pd.Series:
    """Accuracy of everybody less that of the worst group, a seed; rows are of one model and one division."""
    values, n = (of_groups(rows, name) for name in (metric, "examples"))
    return ((values * n).sum(axis=1) / n.sum(axis=1) - worst(rows, metric, better="higher")).dropna()


def of_groups(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    """[seeds, groups]; NaN where a group is not in a fold."""
    grouped = where(rows, over="group")
    return grouped.set_index("group", append=True)[metric].unstack()


def own(rows: pd.DataFrame) -> pd.DataFrame:
    """By the groups that the data set tells of."""
    return where(rows, by=OWN)


def behind_by_chance(rows: pd.DataFrame) -> pd.Series:
    """The mean over throws of the die, a seed."""
    thrown = [behind(throw, "of_controls") for _, throw in where(rows, by=DIE).groupby("throw")]
    return pd.concat(thrown, axis=1).mean(axis=1) if thrown else pd.Series(dtype=float)


# -------------------------------------------------------------------------------------------------------------- audit


@dataclass(frozen=True)
class AuditGroups(Audit):
    throws: int = between(2, 1000, default=20)  # of the die

    title = "Is the model as good for every group?"
    sources = (
        "Buolamwini & Gebru, Gender Shades, FAT* 2018",
        "Sagawa et al., Distributionally robust neural networks for group shifts, ICLR 2020, arXiv:1911.08731",
        "Hardt, Price & Srebro, Equality of opportunity in supervised learning, NeurIPS 2016, arXiv:1610.02413",
    )
    metrics = {
        "accuracy": Metric("share of right answers", better="higher", main=True, low=0, high=1),
        "of_controls": Metric("the same in the groups of the controls", low=0, high=1),
        "examples": Metric("how many there are in the fold", low=0),
        "overconfidence": Metric("mean confidence less accuracy", low=-1, high=1),
        "selection_rate": Metric("share that is given the second class", low=0, high=1, optional=True),
        "false_positive_rate": Metric("of the first class, given the second", low=0, high=1, optional=True),
        "false_negative_rate": Metric("of the second class, given the first", low=0, high=1, optional=True),
        "parity": Metric("demographic parity difference", better="lower", low=0, high=1, optional=True),
        "odds": Metric("equalised odds difference", better="lower", low=0, high=1, optional=True),
        "excess_parity": Metric("the former above that of a die", better="lower", optional=True),
        "excess_odds": Metric("the latter above that of a die", better="lower", optional=True),
    }
    presets = {"quick": {}, "full": {"throws": 100}}

    def measure(self, subject: Subject, shown: Examples, context: Context) -> Iterator[Measurement]:
        of = shown.groups
        if of is None:
            raise NotApplicable("the data set tells no groups of its examples; name the column or array that does")
        if len(np.unique(of)) > MOST:
            raise NotApplicable(f"{len(np.unique(of))} groups in a fold of {len(of)}; name a column of at most {MOST}")
        p, y = subject.probabilities(shown.x), shown.labels
        said, sure = p.argmax(1), p.max(1)
        rng = context.rng("die")
        thrown = [rng.permutation(of) for _ in range(self.throws)]
        two = len(shown.classes) == 2
        yield {"by": OWN, "throw": 0, "over": "everyone", "group": ""} | {
            **rates(y, said, sure, two),
            **(differences(y, said, of, thrown) if two else {}),
        }
        for group in np.unique(of):
            rows = of == group
            place = {"by": OWN, "throw": 0, "over": "group", "group": str(group)}
            yield place | rates(y[rows], said[rows], sure[rows], two)
        for throw, at_random in enumerate(thrown):
            yield from controls(DIE, throw, at_random, y, said)
        wrong = rng.permutation(len(y)) < len(y) // 2
        replaced = np.where(wrong, (y + 1) % len(shown.classes), y)
        yield from controls(MADE, 0, np.where(wrong, "wrong", "right"), y, replaced)
        self.wrongs(subject, shown, of, p)

    @staticmethod
    def wrongs(subject: Subject, shown: Examples, of: NDArray[np.str_], p: NDArray[np.float64]) -> None:
        """Keep those that it was wrong about, of the group that fares worst in this fold first."""
        said, y = p.argmax(1), shown.labels
        fares = groups.by_group(groups.accuracy, of, y, said)
        rows = np.flatnonzero(said != y)
        rows = rows[np.lexsort((-p[rows].max(1), [fares[of[row]] for row in rows]))]
        captions = [f"{of[row]}: {shown.classes[said[row]]}; is {shown.classes[y[row]]}" for row in rows]
        subject.show("wrong, by group", shown.x[rows], captions)

    claims = [
        Claim(
            f"in every group its accuracy is within {MARGIN:g} of that of all",
            lambda rows: every(
                own(rows),
                "subject",
                lambda r: in_every_group(r, lambda g, everyone: below((everyone - g.accuracy).dropna(), MARGIN)),
            ),
        ),
        Claim(
            f"in no group does it promise more than it keeps, by more than {MARGIN:g}",
            lambda rows: every(
                own(rows), "subject", lambda r: in_every_group(r, lambda g, _: below(g.overconfidence, MARGIN))
            ),
        ),
        Control(
            f"the worst of groups thrown by a die is within {MARGIN:g} of all",
            lambda rows: every(rows, "subject", lambda r: equivalent(behind_by_chance(r), MARGIN)),
            kind="negative",
        ),
        Control(
            "half of the examples, answered wrongly on purpose, is found to be behind by more than 0.4",
            lambda rows: every(where(rows, by=MADE), "subject", lambda r: above(behind(r, "of_controls"), 0.4)),
            kind="positive",
        ),
    ]
    axes = [
        Axis(
            "worst group",
            lambda rows: worst(own(rows), "accuracy", better="higher"),
            "accuracy of the group that is worst in the other folds",
            examples=lambda rows: of_chosen(own(rows)),
        )
    ]

    def plot(self, rows: pd.DataFrame, figure: Figure, artefacts: Artefacts) -> None:
        """Accuracy by group and model, and with two classes, errors of either kind."""
        mine = own(rows) if len(rows) else rows
        shown = {"accuracy": "accuracy", "false_positive_rate": "false positives", "false_negative_rate": "misses"}
        found = [metric for metric in shown if metric in mine and mine[metric].notna().any()] or ["accuracy"]
        for axes, metric in zip(figure.subplots(1, len(found), sharey=True, squeeze=False)[0], found, strict=True):
            draw_groups(axes, mine, metric)
            axes.set_xlabel(shown[metric])
        figure.axes[0].set_ylabel("group (examples)")
        figure.axes[0].legend(fontsize=7)


def rates(y: NDArray[np.int64], said: NDArray[np.int64], sure: NDArray[np.float64], two: bool) -> Measurement:
    """Of labels, answers and confidences [n]."""
    right = groups.accuracy(y, said)
    row = {"examples": len(y), "accuracy": right, "overconfidence": float(sure.mean() - right)}
    return row | ({name: rate(y, said) for name, rate in OF_TWO.items()} if two else {})


def controls(
    by: str, throw: int, of: NDArray[np.str_], y: NDArray[np.int64], said: NDArray[np.int64]
) -> Iterator[Measurement]:
    """A row for each group of a division that is none of the data set's."""
    found = groups.by_group(groups.accuracy, of, y, said)
    for group, n, accuracy in zip(found.names, found.counts, found.values, strict=True):
        place = {"by": by, "throw": throw, "over": "group", "group": str(group)}
        yield place | {"examples": int(n), "of_controls": float(accuracy)}


def differences(
    y: NDArray[np.int64], said: NDArray[np.int64], of: NDArray[np.str_], thrown: list[NDArray[np.str_]]
) -> Measurement:
    """Parity and odds, and how far above those of groups thrown by a die."""
    row = {}
    for name, difference in (
        ("parity", lambda g: groups.demographic_parity_difference(said, g)),
        ("odds", lambda g: groups.equalized_odds_difference(y, said, g)),
    ):
        row[name] = difference(of)
        row[f"excess_{name}"] = row[name] - float(np.mean([difference(g) for g in thrown]))
    return row


def draw_groups(axes: Axes, rows: pd.DataFrame, metric: str) -> None:
    """A metric of each model in each group, over folds, and as a line that of everybody; hollow where there are few."""
    from dlbench import stats

    if not len(rows) or metric not in rows:
        return
    grouped = where(rows, over="group")
    models = list(rows.subject.unique())
    one = where(grouped, subject=models[0])
    counts = one.groupby("group").examples.sum().sort_values(ascending=False)[:DRAWN]
    shifts = np.linspace(-0.25, 0.25, len(models)) if len(models) > 1 else [0.0]
    for number, (model, shift) in enumerate(zip(models, shifts, strict=True)):
        color = f"C{number % 10}"
        for place, (group, count) in enumerate(counts.items()):
            values = where(grouped, subject=model, group=group)[metric]
            values = values[np.isfinite(values)]
            if not len(values):
                continue
            interval = stats.t_interval(values)
            if interval.n > 1:
                low, high = np.clip(interval[1:3], 0, 1)
                axes.hlines(place + shift, low, high, color=color, linewidth=1)
            face = color if count >= LEAST else "none"
            axes.plot(interval.estimate, place + shift, "o", color=color, markerfacecolor=face, markersize=5)
        everyone = where(rows, over="everyone", subject=model)[metric].mean()
        if np.isfinite(everyone):
            axes.axvline(everyone, color=color, linestyle=":", linewidth=1)
        axes.plot([], [], "o", color=color, label=model.replace("$", r"\$"))
    labels = [f"{group} ({count:g})".replace("$", r"\$") for group, count in counts.items()]
    axes.set_yticks(range(len(labels)), labels, fontsize=8)
    axes.set_ylim(max(len(labels), 1) - 0.5, -0.5)
