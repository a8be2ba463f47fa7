"""A push-button pipeline does what an expert does on ordinary tables, and cannot make up for data that is not there.

The pipeline is :class:`dlbench.automl.PushButton`: preparation of the table, a random search over families of models
under cross-validation, greedy ensemble selection (Caruana et al. 2004). It is told the table and the answers, nothing
else. Its budget is a number of trials, as budgets of time give other results on other machines. Against it:

- *default linear, neighbours, svm, forest*: scikit-learn's models as the library sets them, on the table as it is;
- *tuned forest*: the expert's; a random forest whose features a split, smallest leaf and criterion are searched with as
  many trials, the default's among them, by the score on examples out of the bag, and then grown to the default's size;
- *constant*: the most frequent class or the mean.

Scores, test accuracy or R², are normalised as in AMLB (Gijsbers et al. 2024): 0 is the constant's, 1 the tuned
forest's, both with all the training data. Data: wine, breast cancer, digits and diabetes, split anew by each seed.

*A tenth* is a random tenth of the training data. *Biased* is half of it, drawn for its place along the first principal
component: each deviation up makes an example 7.4 times as likely. It is judged against a random *half*, so that the
loss is that of the bias and not of the size. Controls: answers that are shuffled, from which nothing can be learnt; and
a made table whose answer is the sign of one of its ten columns. From development seeds come the data sets of the first
control, as wine's 72 test examples leave too much to chance; and the size and score by which forests are tuned: of few
trees, or by the squared error, those were chosen that are worse than the default once they are grown.

``quick`` takes at most 300 examples to train with, eight trials, small forests within the search, and neither boosting
nor perceptrons, which cost more than all others together. ``full`` has all examples, 60 trials and all families. With
``flaml`` FLAML takes part with as many trials (Wang et al. 2021); as it also goes by the time that models take, its
numbers are not the same again. The OpenML suites are left out.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import sklearn
from numpy.typing import NDArray

from dlbench import (
    Claim,
    Context,
    Control,
    Experiment,
    Measurement,
    Metric,
    above,
    below,
    between,
    draw_means,
    every,
    one_of,
    where,
)
from dlbench.automl import FAMILIES, PushButton, Task, drawn, mixed, model, selection
from dlbench.errors import ParameterError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dlbench import Artefacts, Verdict

DATASETS = ("wine", "breast_cancer", "digits", "diabetes")
REGRESSION = ("diabetes",)
PUSH_BUTTON, SINGLE, TUNED, CONSTANT, FLAML = "push button", "its best single", "tuned forest", "constant", "flaml"
DEFAULTS = ("linear", "neighbours", "svm")  # families, as the library sets them, beside the forest
ALL, TENTH, HALF, BIASED, SHUFFLED, ONE_FEATURE = "all", "a tenth", "half", "biased", "shuffled", "one feature"
SHUFFLED_ON = ("digits", "diabetes")
BIAS = 2.0  # logarithm of how much likelier a deviation along the first component makes an example

INFERIOR = 0.01  # of the way from the constant to the tuned forest
NOTHING = 0.1  # of it; what is gained without anything to learn stays below
FOUND = 0.95  # accuracy where one feature is the answer
KNOWS = {"wine": 0.4, "breast_cancer": 0.2, "digits": 0.6, "diabetes": 0.2}  # the forest's score above the constant's


def over_tables(rows: pd.DataFrame, subject: str, arm: str = ALL) -> pd.Series:
    """The normalised score of a subject, a seed, over the data sets; with all trials."""
    rows = where(rows, subject=subject, arm=arm)
    rows = rows[rows.trials == rows.trials.max()]
    return rows.normalised.groupby(level=0).mean()


def beats_each_default(rows: pd.DataFrame) -> Verdict:
    """The push button's mean over the data sets is above that of each default."""
    defaults = rows[rows.subject.str.startswith("default ")]
    return every(
        defaults,
        "subject",
        lambda r: above(over_tables(rows, PUSH_BUTTON) - over_tables(r, r.subject.iloc[0]), 0.0),
    )


def forest_knows(rows: pd.DataFrame) -> Verdict:
    """On every data set the tuned forest is better than the constant by what is expected of it."""
    rows = where(rows, arm=ALL)

    def gained(r: pd.DataFrame) -> pd.Series:
        return where(r, subject=TUNED).score - where(r, subject=CONSTANT).score

    return every(rows, "dataset", lambda r: above(gained(r), KNOWS[r.dataset.iloc[0]]))


@dataclass(frozen=True)
class AutoAI(Experiment):
    """Test scores of a push-button pipeline, of library defaults and of a tuned forest, on four tables."""

    tables: tuple[str, ...] = one_of(*DATASETS, default=DATASETS)
    most: int = between(60, 10**6, default=300)  # examples to train with
    held_out: int = between(20, 10**6, default=500)  # examples to test with, at most
    budget: int = between(1, 10**4, default=8)
    families: tuple[str, ...] = one_of(*FAMILIES, default=("linear", "neighbours", "svm", "forest"))
    trees: int = between(1, 10**4, default=4)  # of a fold's forest
    expert_trees: int = between(10, 10**4, default=25)  # of a forest that is being tuned
    flaml: bool = False

    title = "A push-button pipeline rivals an expert's, as long as its data is enough and representative"
    chapter = "search"
    sources = (
        "Gijsbers et al., AMLB: an AutoML benchmark, JMLR 2024, arXiv:2207.12560",
        "Caruana et al., Ensemble selection from libraries of models, ICML 2004",
        "Erickson et al., AutoGluon-Tabular, 2020, arXiv:2003.06505",
        "Wang et al., FLAML: a fast and lightweight AutoML library, MLSys 2021, arXiv:1911.04706",
        "Demšar, Statistical comparisons of classifiers over multiple data sets, JMLR 2006",
    )
    metrics = {
        "normalised": Metric("score between the constant (0) and the tuned forest (1)", "1", "higher", True),
        "score": Metric("test accuracy or R²", better="higher", high=1),
        "failed_trials": Metric("trials of the search that a model refused or broke in", better="lower", low=0),
    }
    presets = {
        "quick": {},
        "full": {
            "most": 10_000,
            "held_out": 10_000,
            "budget": 60,
            "families": FAMILIES,
            "trees": 50,
            "expert_trees": 100,
        },
    }

    def datasets(self) -> tuple[str, ...]:
        return self.tables

    def trial(self, context: Context) -> Iterator[Measurement]:
        # Thousands of small fits, of tables that are known to be finite: a sixth longer with the library's checks.
        with sklearn.config_context(assume_finite=True, skip_parameter_validation=True):
            yield from self.measured(context)

    def measured(self, context: Context) -> Iterator[Measurement]:
        """Every table, and the made one."""
        for done, name in enumerate(self.tables):
            context.progress(done / len(self.tables), name)
            yield from self.on_table(name, self.split(name, context), context)
        table = one_feature(context.rng("one feature"))
        button = self.pressed(table, "one feature", context)
        yield {
            "subject": PUSH_BUTTON,
            "dataset": ONE_FEATURE,
            "arm": ALL,
            "trials": self.budget,
            "score": table.score(button.predict(table.test_x)),
        }

    def split(self, name: str, context: Context) -> Table:
        """Three fifths to train with and the others to test with, another draw each seed."""
        data = context.data(name)
        order = context.rng("split", name).permutation(len(data["y"]))
        x, y = data["x"].reshape(len(order), -1)[order], data["y"][order]
        n = min(self.most, 3 * len(y) // 5)
        rest = slice(n, n + self.held_out)
        task: Task = "regression" if name in REGRESSION else "classification"
        return Table(task, x[:n], y[:n], x[rest], y[rest])

    def pressed(self, table: Table, name: str, context: Context) -> PushButton:
        """The pipeline, fitted."""
        button = PushButton(
            table.task,
            budget=self.budget,
            families=self.families,
            trees=self.trees,
            seed=context.integer("search", name),
        )
        return button.fit(table.x, table.y)

    def on_table(self, name: str, table: Table, context: Context) -> Iterator[Measurement]:
        """Everything that is measured on one data set."""
        floor = table.score(table.constant())
        default, tuned = self.forests(name, table, context)
        forest = table.score(tuned)

        def row(subject: str, score: float, arm: str = ALL, trials: int = self.budget, **more: float) -> Measurement:
            normalised = (score - floor) / (forest - floor) if forest > floor else math.nan
            values = {"normalised": normalised, "score": score, **more}
            return {"subject": subject, "dataset": name, "arm": arm, "trials": trials, **values}

        yield row(CONSTANT, floor, trials=0)
        yield row(TUNED, forest)
        yield row("default forest", table.score(default), trials=0)
        for family in DEFAULTS:
            yield row(f"default {family}", table.score(table.fitted(model(family, table.task))), trials=0)
        if self.flaml:
            yield row(FLAML, table.score(flaml_answers(table, self.budget, context.integer("flaml", name) % 2**31)))

        button = self.pressed(table, name, context)
        said = button.members(table.test_x, all_trials=True)
        outputs = [trial.held_out for trial in button.trials]
        for trials in range(1, self.budget + 1):
            if all(trial.failure for trial in button.trials[:trials]):
                continue
            failed = sum(bool(trial.failure) for trial in button.trials[:trials])
            for subject, rounds in ((PUSH_BUTTON, button.rounds), (SINGLE, 1)):
                weights = selection(outputs[:trials], button.targets, rounds=rounds)
                score = table.score(button.decided(mixed(said, weights)))
                yield row(subject, score, trials=trials, failed_trials=failed)

        arms = {arm: table.only(chosen(table.x, arm, context.rng("arm", name))) for arm in (TENTH, HALF, BIASED)}
        if name in SHUFFLED_ON:
            arms[SHUFFLED] = table._replace(y=context.rng("shuffle", name).permutation(table.y))
        for arm, part in arms.items():
            button = self.pressed(part, name, context)
            failed = sum(bool(trial.failure) for trial in button.trials)
            yield row(PUSH_BUTTON, part.score(button.predict(part.test_x)), arm, failed_trials=failed)

    def forests(self, name: str, table: Table, context: Context) -> tuple[NDArray[np.generic], NDArray[np.generic]]:
        """What two forests say, trained on everything: the library's, and the best of as many trials out of the bag."""
        rng, trials = context.rng("forest", name), []
        for k in range(self.budget):
            settings = drawn("forest", table.task, table.x.shape[1], rng) if k else {}
            settings = {name: value for name, value in settings.items() if name != "scaling"}
            forest = model("forest", table.task, settings, random_state=int(rng.integers(2**31)))
            size = forest.n_estimators  # the library's
            forest.set_params(n_estimators=min(self.expert_trees, size), oob_score=True, warm_start=True)
            with warnings.catch_warnings(action="ignore"):  # of examples that are in every bag
                trials.append(forest.fit(table.x, table.y))
        best = max(trials, key=lambda forest: forest.oob_score_)  # the first of equals, so rather the default
        grown = [forest.set_params(n_estimators=size, oob_score=False) for forest in (trials[0], best)]
        return table.fitted(grown[0]), table.fitted(grown[1])

    claims = [
        Claim(
            "(a) with a budget of some trials the push button beats each family's library defaults",
            beats_each_default,
        ),
        Claim(
            "(b) it is no worse than the tuned forest, by more than a hundredth of what that gains over the constant",
            lambda rows: above(over_tables(rows, PUSH_BUTTON) - over_tables(rows, TUNED), -INFERIOR),
            source="Gijsbers et al. 2024",
        ),
        Claim(
            "(c) with a tenth of the data it loses",
            lambda rows: above(over_tables(rows, PUSH_BUTTON) - over_tables(rows, PUSH_BUTTON, TENTH), 0.0),
        ),
        Claim(
            "(d) with a biased half of the data it loses against a random half",
            lambda rows: above(over_tables(rows, PUSH_BUTTON, HALF) - over_tables(rows, PUSH_BUTTON, BIASED), 0.0),
        ),
        Claim(
            "its ensemble is better than the best single model of the same search",
            lambda rows: above(over_tables(rows, PUSH_BUTTON) - over_tables(rows, SINGLE), 0.0),
            source="Caruana et al. 2004",
        ),
        Control(
            "from shuffled answers it gains less than a tenth of what a forest gains from the true ones",
            lambda rows: below(over_tables(rows, PUSH_BUTTON, SHUFFLED), NOTHING),
            kind="negative",
        ),
        Control(
            "where one feature is the answer it finds it: accuracy above 0.95",
            lambda rows: above(where(rows, dataset=ONE_FEATURE).score, FOUND),
            kind="positive",
        ),
        Control(
            "the tuned forest has learnt every table: its score is above the constant's by 0.4 on wine, 0.2 on breast "
            "cancer, 0.6 on digits and 0.2 on diabetes",
            lambda rows: forest_knows(rows[rows.dataset != ONE_FEATURE]),
            kind="gate",
        ),
    ]

    def plot(self, rows: pd.DataFrame, figure: Figure, artefacts: Artefacts) -> None:
        figure.set_size_inches(11, 4.2)
        figure.set_layout_engine("constrained")
        budget, arms, ranks = figure.subplots(1, 3)
        draw_budget(budget, rows)
        draw_arms(arms, rows, self.tables)
        draw_ranks(ranks, rows)


# -------------------------------------------------------------------------------------------------------------- tables


class Table(NamedTuple):
    task: Task
    x: NDArray[np.float64]  # [n, features]
    y: NDArray[np.generic]  # [n]
    test_x: NDArray[np.float64]
    test_y: NDArray[np.generic]

    def score(self, answers: NDArray[np.generic]) -> float:
        """Accuracy, or R², on the test examples."""
        if self.task == "classification":
            return float((answers == self.test_y).mean())
        return float(1 - np.square(answers - self.test_y).mean() / self.test_y.var())

    def only(self, rows: NDArray[np.intp]) -> Table:
        """With these training examples."""
        return self._replace(x=self.x[rows], y=self.y[rows])

    def constant(self) -> NDArray[np.generic]:
        """The most frequent class, or the mean, for every test example."""
        values, counts = np.unique(self.y, return_counts=True)
        value = values[counts.argmax()] if self.task == "classification" else self.y.mean()
        return np.full(len(self.test_y), value)

    def fitted(self, untrained: object) -> NDArray[np.generic]:
        """What a model of scikit-learn says of the test examples, trained on the table as it is."""
        with warnings.catch_warnings(action="ignore"):  # that it has not converged, as the library sets it
            return untrained.fit(self.x, self.y).predict(self.test_x)


def one_feature(rng: np.random.Generator) -> Table:
    """Ten columns of noise, and whether the fourth is positive."""
    x = rng.standard_normal((550, 10))
    y = (x[:, 3] > 0).astype(np.int64)
    return Table("classification", x[:150], y[:150], x[150:], y[150:])


def chosen(x: NDArray[np.float64], arm: str, rng: np.random.Generator) -> NDArray[np.intp]:
    """The training examples of an arm."""
    n = len(x)
    if arm != BIASED:
        return rng.permutation(n)[: max(n // 10, 6) if arm == TENTH else n // 2]
    # The largest of weights and Gumbel noise are a draw without replacement by the weights' exponentials.
    return np.argsort(BIAS * first_component(x) + rng.gumbel(size=n))[n - n // 2 :]


def first_component(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """[n]: the place of each example along the direction in which most differ, of mean 0 and deviation 1."""
    deviation = x.std(0)
    standard = (x - x.mean(0)) / np.where(deviation > 0, deviation, 1)
    direction = np.linalg.svd(standard, full_matrices=False)[2][0]
    places = standard @ direction * np.sign(direction[np.abs(direction).argmax()])
    return np.asarray(places / places.std())


def flaml_answers(table: Table, budget: int, seed: int) -> NDArray[np.generic]:
    """What FLAML's choice says of the test examples, after as many trials."""
    try:
        from flaml.automl import AutoML
    except ImportError as problem:
        raise ParameterError(
            f"autoai.flaml needs FLAML ({problem}): pip install 'flaml[automl]', or leave it off"
        ) from problem
    search = AutoML()
    metric = "accuracy" if table.task == "classification" else "r2"
    search.fit(
        table.x,
        table.y,
        task=table.task,
        metric=metric,
        max_iter=budget,
        time_budget=-1,
        seed=seed,
        n_jobs=1,
        verbose=0,
    )
    return np.asarray(search.predict(table.test_x))


# ------------------------------------------------------------------------------------------------------------- picture

COLORS = {
    PUSH_BUTTON: "#D55E00",
    SINGLE: "#E69F00",
    TUNED: "#000000",
    "default forest": "#0072B2",
    "default linear": "#56B4E9",
    "default neighbours": "#009E73",
    "default svm": "#CC79A7",
    FLAML: "#8C564B",
    CONSTANT: "#999999",
}
_NEEDED = {"subject", "dataset", "arm", "trials", "normalised"}


def draw_budget(axes: Axes, rows: pd.DataFrame) -> None:
    """The mean normalised score over the data sets against the trials of the search."""
    if set(rows.columns) >= _NEEDED:
        rows = rows[rows.normalised.notna() & (rows.arm == ALL)]
        for subject, color in COLORS.items():
            mine = where(rows, subject=subject)
            if not len(mine) or subject == CONSTANT:
                continue
            means = mine.groupby([mine.index, "trials"]).normalised.mean().unstack()
            if subject in (PUSH_BUTTON, SINGLE):
                style = {"marker": "o", "markersize": 3.5, "label": subject}
                beside = means.columns + 0.2 * (subject == SINGLE)
                draw_means(axes, beside, means.T.to_numpy(), color=color, **style)
            else:
                line = "-" if subject == TUNED else ":"
                axes.axhline(means.iloc[:, -1].mean(), color=color, linestyle=line, linewidth=1.3, label=subject)
        if axes.lines:
            low, high = axes.get_ylim()
            axes.set_ylim(low, high + 0.4 * (high - low))
            axes.legend(fontsize=7, frameon=False, loc="upper center", ncols=2)
    axes.set_title("score against budget, mean over data sets", fontsize=9)
    axes.set_xlabel("trials of the search", fontsize=8)
    axes.set_ylabel("score: constant 0, tuned forest 1", fontsize=8)
    axes.tick_params(labelsize=7)


def draw_arms(axes: Axes, rows: pd.DataFrame, tables: Sequence[str]) -> None:
    """The push button's normalised score on each data set, with all and with worse training data."""
    arms = {
        ALL: ("all of the data", "#D55E00"),
        HALF: ("half", "#E69F00"),
        BIASED: ("half, biased", "#56B4E9"),
        TENTH: ("a tenth", "#0072B2"),
        SHUFFLED: ("answers shuffled", "#999999"),
    }
    if set(rows.columns) >= _NEEDED:
        rows = where(rows, subject=PUSH_BUTTON)
        for k, (arm, (label, color)) in enumerate(arms.items()):
            mine = where(rows, arm=arm)
            mine = mine[mine.trials == mine.trials.max()]
            found = [where(mine, dataset=name).normalised.to_numpy() for name in tables]
            places = [j + 0.14 * (k - 2) for j in range(len(tables))]
            style = {"linestyle": "none", "marker": "o", "markersize": 4.5}
            draw_means(axes, places, found, color=color, label=label, **style)
        axes.axhline(1, color="black", linewidth=0.8)
        axes.axhline(0, color="#999999", linewidth=0.8, linestyle=":")
        if len(rows):
            low, high = axes.get_ylim()
            axes.set_ylim(low, high + 0.35 * (high - low))
            axes.legend(fontsize=7, frameon=False, loc="upper center", ncols=2)
    axes.set_xticks(range(len(tables)), [name.replace("_", " ") for name in tables], fontsize=8)
    axes.set_title("the push button and its data", fontsize=9)
    axes.set_ylabel("score: constant 0, tuned forest 1", fontsize=8)
    axes.tick_params(axis="y", labelsize=7)


def mean_ranks(rows: pd.DataFrame) -> tuple[pd.Series, int]:
    """Each subject's mean rank over the data sets, 1 the best, by scores averaged over seeds; and how many sets."""
    rows = where(rows, arm=ALL)
    rows = rows[rows.normalised.notna() & (rows.subject != SINGLE)]
    rows = rows[rows.trials == rows.groupby("subject").trials.transform("max")]
    scores = rows.pivot_table(index="dataset", columns="subject", values="score")
    return scores.rank(axis=1, ascending=False).mean().sort_values(), len(scores)


def critical_difference(subjects: int, tables: int) -> float:
    """By how much mean ranks must differ at the 5 % level (Nemenyi's test, as in Demšar 2006)."""
    from scipy.stats import studentized_range

    quantile = studentized_range.ppf(0.95, subjects, np.inf) / math.sqrt(2)
    return float(quantile * math.sqrt(subjects * (subjects + 1) / (6 * tables)))


def draw_ranks(axes: Axes, rows: pd.DataFrame) -> None:
    """Mean ranks over the data sets, and how far apart they must be to count."""
    if set(rows.columns) >= _NEEDED:
        ranks, tables = mean_ranks(rows)
        for place, (subject, rank) in enumerate(ranks.items()):
            axes.plot(rank, -place, "o", color=COLORS.get(str(subject), "#555555"), markersize=7)
            axes.annotate(str(subject), (rank, -place), (7, -3), textcoords="offset points", fontsize=8)
        if len(ranks) > 1:
            width = critical_difference(len(ranks), tables)
            axes.plot([1, 1 + width], [1, 1], color="black", linewidth=2.5)
            axes.text(1 + width / 2, 1.15, f"critical difference of {tables} data sets", ha="center", fontsize=7)
            axes.set_xlim(0.6, len(ranks) + 1.8)
            axes.set_ylim(-len(ranks) + 0.4, 1.8)
    axes.set_yticks([])
    axes.set_title("ranks", fontsize=9)
    axes.set_xlabel("mean rank over the data sets, 1 is best", fontsize=8)
    axes.tick_params(labelsize=7)
