"""A push-button pipeline for tables: preparation, a search over families of models, an ensemble of what it found.

No expert is asked: columns are made numbers, families and their settings are drawn at random, every draw is
cross-validated, and an ensemble is chosen greedily from all that were tried::

    button = PushButton("classification", budget=30).fit(table, labels)
    button.predict(others)          # or predict_proba
    button.trials, button.weights   # what was tried, and how much each counts

The budget is a number of trials, as the results of a budget of time depend on the machine. A trial trains its settings
on all but each of a few folds and is judged on the fold left out; its answer is the mean of these models, so that
nothing is trained again (bagging, as in Erickson et al., AutoGluon-Tabular, 2020, arXiv:2003.06505). The first trial
of each family has the settings of scikit-learn, later ones are random. The ensemble is that of Caruana et al. (ICML
2004): whichever trial helps most is added, again and again, with replacement. One loss judges all, the squared error:
of numbers in units of their deviation, or of the chances of classes (Brier's score).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    import pandas as pd

Task = Literal["classification", "regression"]
Numbers = NDArray[np.float64]
FAMILIES = ("linear", "neighbours", "svm", "forest", "extra trees", "boosting", "perceptron")
_TEMPERATURES = np.geomspace(0.02, 5, 25)


class Trial(NamedTuple):
    """One draw of the search, and what became of it."""

    family: str
    settings: Mapping[str, Any]
    models: Sequence[Fitted]  # one a fold left out; none of a trial that failed
    held_out: Numbers  # [n, outputs]: what the models said of the examples of their folds
    loss: float  # there; infinite if it failed
    failure: str = ""


class PushButton:
    """Finds a model for a table without being told how.

    Args:
        task: whether answers are classes or numbers.
        budget: trials of the search.
        families: of models to draw from.
        trees: of a forest of a fold.
        folds: of the cross-validation.
        rounds: of the greedy selection; 1 takes the best single trial.
        seed: of all that is drawn. A search's first trials are those of a search with a smaller budget.

    Raises:
        ValueError: a number below 1, a single fold, no family, or an unknown one.
    """

    def __init__(
        self,
        task: Task = "classification",
        *,
        budget: int = 30,
        families: Sequence[str] = FAMILIES,
        trees: int = 50,
        folds: int = 3,
        rounds: int = 25,
        seed: int = 0,
    ) -> None:
        if task not in ("classification", "regression"):
            raise ValueError(f"task is {task!r}; expected 'classification' or 'regression'")
        if unknown := [family for family in families if family not in FAMILIES]:
            raise ValueError(f"there is no family {unknown[0]!r}; expected some of {', '.join(FAMILIES)}")
        if not families:
            raise ValueError(f"no family was given; expected some of {', '.join(FAMILIES)}")
        for name, value, least in (
            ("budget", budget, 1),
            ("trees", trees, 1),
            ("folds", folds, 2),
            ("rounds", rounds, 1),
        ):
            if value < least:
                raise ValueError(f"{name} is {value}; expected at least {least}")
        self.task, self.budget, self.families, self.trees = task, budget, tuple(families), trees
        self.folds, self.rounds, self.seed = folds, rounds, seed
        self.trials: list[Trial] = []
        self.weights: Numbers = np.zeros(0)  # [budget], of sum 1
        self.targets: Numbers = np.zeros((0, 0))  # [n, outputs]: 1 for the class, or numbers of mean 0 and deviation 1
        self.classes: NDArray[Any] = np.zeros(0)  # those that were seen, in order
        self._columns = 0
        self._scale = (0.0, 1.0)

    def fit(self, x: ArrayLike | pd.DataFrame, y: ArrayLike) -> PushButton:
        """Search, and choose the ensemble.

        Args:
            x: [n, features], an array or a data frame; text and categories are welcome, and so are gaps.
            y: [n], classes (numbers or text) or numbers.

        Raises:
            ValueError: shapes that do not fit, too few examples for the folds, answers of one class only or that are
                no numbers, or all trials failed.
        """
        table, y = _frame(x), np.asarray(y)
        if y.shape != (len(table),):
            raise ValueError(f"x has {len(table)} rows and y the shape {list(y.shape)}; expected an answer a row")
        if len(y) < 2 * self.folds:
            raise ValueError(f"{len(y)} examples are too few for {self.folds} folds; give at least {2 * self.folds}")
        self._columns = table.shape[1]
        if self.task == "classification":
            self.classes, known = np.unique(y, return_inverse=True)
            answers: NDArray[Any] = known
            if len(self.classes) < 2:
                raise ValueError(f"all answers are {y[0]!r}; expected two classes at least")
            self.targets = np.eye(len(self.classes))[answers]
        else:
            answers = y.astype(float)
            if not np.isfinite(answers).all():
                raise ValueError("some answers are no finite numbers; leave their rows out")
            self._scale = (float(answers.mean()), float(answers.std()) or 1.0)
            answers = (answers - self._scale[0]) / self._scale[1]
            self.targets = answers[:, None]
        fold = folds(answers, self.folds, np.random.default_rng([self.seed, 0]))
        self._preparations = [Preparation().fit(table[fold != k]) for k in range(self.folds)]
        parts = [_Part(one.transform(table), answers, fold != k) for k, one in enumerate(self._preparations)]
        self.trials = [self._trial(number, parts) for number in range(self.budget)]
        if all(trial.failure for trial in self.trials):
            raise ValueError(f"all {self.budget} trials failed, the first with {self.trials[0].failure}")
        self.weights = selection([trial.held_out for trial in self.trials], self.targets, rounds=self.rounds)
        return self

    def _trial(self, number: int, parts: Sequence[_Part]) -> Trial:
        rng = np.random.default_rng([self.seed, 1, number])
        first = number < len(self.families)
        family = self.families[number] if first else str(rng.choice(self.families))
        features = parts[0].x["none"].shape[1]
        settings: dict[str, Any] = {"scaling": "standard"} if first else drawn(family, self.task, features, rng)
        scaling = settings.pop("scaling")
        if family in ("forest", "extra trees"):
            settings["n_estimators"] = self.trees
        random_state = int(rng.integers(2**31))
        held_out = np.full(self.targets.shape, np.nan)
        said: dict[str, Any] = {"scaling": scaling, **settings}
        try:
            fitted = []
            for part in parts:
                x, one = part.x[scaling], model(family, self.task, settings, random_state=random_state)
                with warnings.catch_warnings(action="ignore"):  # that a model has not converged, which its loss tells
                    one.fit(x[part.used], part.answers[part.used])
                fitted.append(Fitted(one, scaling, self.targets.shape[1]))
                held_out[~part.used] = fitted[-1].scores(x[~part.used])
            if fitted[0].decides:
                temperature = min(_TEMPERATURES, key=lambda t: _squared(_softmax(held_out / t), self.targets))
                held_out = _softmax(held_out / temperature)
                fitted = [one._replace(temperature=temperature) for one in fitted]
            if not np.isfinite(held_out).all():
                raise ValueError("an answer that is no number")
        except Exception as problem:  # whatever a model cannot do with this table: others may
            return Trial(
                family, said, (), np.full(self.targets.shape, np.nan), np.inf, f"{type(problem).__name__}: {problem}"
            )
        return Trial(family, said, fitted, held_out, _squared(held_out, self.targets))

    def members(self, x: ArrayLike | pd.DataFrame, *, all_trials: bool = False) -> Numbers:
        """[trials, n, outputs]: what each trial's models say on average, of those in the ensemble or of all.

        Chances of classes, or numbers as in ``targets``; NaN of the others, and of trials that failed.
        """
        table = _frame(x)
        if not self.trials:
            raise ValueError("nothing was fitted yet; call fit first")
        if table.shape[1] != self._columns:
            raise ValueError(f"x has {table.shape[1]} columns; {self._columns} were fitted")
        prepared = [preparation.transform(table) for preparation in self._preparations]
        said = np.full((len(self.trials), len(table), self.targets.shape[1]), np.nan)
        for k, trial in enumerate(self.trials):
            if trial.models and (all_trials or self.weights[k] > 0):
                said[k] = np.mean([one(part) for one, part in zip(trial.models, prepared, strict=True)], axis=0)
        return said

    def predict(self, x: ArrayLike | pd.DataFrame) -> NDArray[Any]:
        """[n]: the most likely classes, or the numbers."""
        return self.decided(mixed(self.members(x), self.weights))

    def predict_proba(self, x: ArrayLike | pd.DataFrame) -> Numbers:
        """[n, classes]: the chance of each of ``classes``.

        Raises:
            ValueError: of numbers there are none.
        """
        if self.task != "classification":
            raise ValueError("predict_proba is of classes; this pipeline is for regression")
        return mixed(self.members(x), self.weights)

    def decided(self, outputs: Numbers) -> NDArray[Any]:
        """[n]: the answers that outputs [n, outputs], as of :meth:`members`, stand for."""
        if self.task == "classification":
            return np.asarray(self.classes[outputs.argmax(1)])
        mean, deviation = self._scale
        return np.asarray(mean + deviation * outputs[:, 0])


# ---------------------------------------------------------------------------------------------------------- ensembles


def selection(outputs: Sequence[Numbers], targets: Numbers, *, rounds: int = 25) -> Numbers:
    """[members]: weights, of sum 1, of the ensemble that greedy selection with replacement builds.

    In each round the member is added that makes the mean's squared error smallest; of all rounds the first with the
    smallest error counts (Caruana et al., Ensemble selection from libraries of models, ICML 2004).

    Args:
        outputs: [n, outputs] of each member, on examples that it was not trained on; one with NaN is left out.
        targets: [n, outputs].
        rounds: how many are added.

    Raises:
        ValueError: no member without NaN.
    """
    usable = [k for k, output in enumerate(outputs) if np.isfinite(output).all()]
    if not usable:
        raise ValueError("no member of the ensemble has answers without NaN")
    total, counts = np.zeros(targets.shape), np.zeros(len(outputs))
    best, weights = np.inf, counts
    for added in range(1, rounds + 1):
        losses = [_squared((total + outputs[k]) / added, targets) for k in usable]
        chosen = usable[int(np.argmin(losses))]
        total, counts[chosen] = total + outputs[chosen], counts[chosen] + 1
        if min(losses) < best:
            best, weights = min(losses), counts / added
    return weights


def mixed(members: Numbers, weights: Numbers) -> Numbers:
    """[n, outputs]: the weighted mean of members [members, n, outputs]; those without weight may be NaN."""
    counting = weights > 0
    return np.asarray(np.tensordot(weights[counting], members[: len(weights)][counting], axes=1))


def _squared(outputs: Numbers, targets: Numbers) -> float:
    return float(np.square(outputs - targets).sum(1).mean())


# ------------------------------------------------------------------------------------------------------------- models


def drawn(family: str, task: Task, features: int, rng: np.random.Generator) -> dict[str, Any]:
    """Random settings of a family, in scikit-learn's words, and the ``scaling`` before it."""

    def log(low: float, high: float) -> float:
        return float(np.exp(rng.uniform(np.log(low), np.log(high))))

    def one(*values: Any) -> Any:
        return values[rng.integers(len(values))]

    match family:
        case "linear":
            strength = {"C": log(1e-3, 1e2)} if task == "classification" else {"alpha": log(1e-2, 1e3)}
            return {"scaling": one("standard", "squashed"), **strength}
        case "neighbours":
            count = round(log(1, 30))
            return {
                "scaling": one("none", "standard", "squashed"),
                "n_neighbors": count,
                "weights": one("uniform", "distance"),
                "p": one(1, 2),
            }
        case "svm":
            scaling = one("standard", "squashed")
            return {"scaling": scaling, "C": log(0.1, 100), "gamma": log(0.05, 2) / features}
        case "forest" | "extra trees":
            criteria = ("gini", "entropy") if task == "classification" else ("squared_error",)
            return {
                "scaling": "none",
                "max_features": float(rng.uniform(0.1, 1)),
                "min_samples_leaf": round(log(1, 10)),
                "criterion": one(*criteria),
            }
        case "boosting":
            return {
                "scaling": "none",
                "learning_rate": log(0.02, 0.3),
                "max_iter": round(log(20, 200)),
                "max_leaf_nodes": round(log(4, 32)),
                "l2_regularization": log(1e-3, 10),
            }
        case _:
            width, depth = round(log(16, 128)), one(1, 2)
            return {
                "scaling": one("standard", "squashed"),
                "hidden_layer_sizes": (width,) * depth,
                "alpha": log(1e-5, 1),
                "learning_rate_init": log(3e-4, 1e-2),
            }


def model(family: str, task: Task, settings: Mapping[str, Any] | None = None, *, random_state: int = 0) -> Any:
    """An untrained model of scikit-learn.

    Args:
        family: one of ``FAMILIES``.
        task: classes or numbers.
        settings: in scikit-learn's words; the others are the library's.
        random_state: of those that draw.
    """
    from sklearn import ensemble, linear_model, neighbors, neural_network, svm

    classes = task == "classification"
    kinds: dict[str, Any] = {
        "linear": linear_model.LogisticRegression if classes else linear_model.Ridge,
        "neighbours": neighbors.KNeighborsClassifier if classes else neighbors.KNeighborsRegressor,
        "svm": svm.SVC if classes else svm.SVR,
        "forest": ensemble.RandomForestClassifier if classes else ensemble.RandomForestRegressor,
        "extra trees": ensemble.ExtraTreesClassifier if classes else ensemble.ExtraTreesRegressor,
        "boosting": ensemble.HistGradientBoostingClassifier if classes else ensemble.HistGradientBoostingRegressor,
        "perceptron": neural_network.MLPClassifier if classes else neural_network.MLPRegressor,
    }
    options = dict(settings or {})
    if family not in ("linear", "neighbours", "svm"):
        options["random_state"] = random_state
    return kinds[family](**options)


class _Part(NamedTuple):
    """The examples as one fold's models see them."""

    x: Mapping[str, Numbers]  # of all examples, prepared
    answers: NDArray[Any]
    used: NDArray[np.bool_]  # to train with


class Fitted(NamedTuple):
    """A model of one fold, from prepared features to outputs."""

    model: Any
    scaling: str
    outputs: int
    temperature: float = 1.0  # of a model that gives scores, not chances

    @property
    def decides(self) -> bool:
        """Whether its scores have to be made chances."""
        return hasattr(self.model, "decision_function") and not hasattr(self.model, "predict_proba")

    def scores(self, x: Numbers) -> Numbers:
        """[n, outputs] of prepared features: chances, scores of a model that decides, or numbers."""
        if not hasattr(self.model, "classes_"):
            return np.asarray(self.model.predict(x), dtype=float)[:, None]
        said = self.model.decision_function(x) if self.decides else self.model.predict_proba(x)
        if said.ndim == 1:
            said = np.stack([np.zeros(len(said)), said], 1)
        # A class that this fold has no example of to train with has no chance.
        all_classes = np.full((len(x), self.outputs), said.min() - 10 if self.decides else 0.0)
        all_classes[:, self.model.classes_] = said
        return all_classes

    def __call__(self, prepared: Mapping[str, Numbers]) -> Numbers:
        """[n, outputs] of features in every scaling: chances or numbers."""
        said = self.scores(prepared[self.scaling])
        return _softmax(said / self.temperature) if self.decides else said


def _softmax(scores: Numbers) -> Numbers:
    powers = np.exp(scores - scores.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True))


def folds(answers: ArrayLike, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """[n]: which fold each example is in, so that all folds have like shares of each class, or like numbers."""
    y = np.asarray(answers)
    order = np.lexsort((rng.random(len(y)), y))
    fold = np.empty(len(y), dtype=np.int64)
    for start in range(0, len(y), count):
        group = order[start : start + count]
        fold[group] = rng.permutation(count)[: len(group)]
    return fold


# -------------------------------------------------------------------------------------------------------- preparation


class Preparation:
    """Makes a table numbers without gaps, in three scalings; what that needs is learnt from the training rows alone.

    A gap among numbers becomes the median, and another column tells where gaps were. Of text, categories and truth
    values each value becomes a column of its own; one not seen in training has none. Columns that say nothing go.
    Scalings are "none", "standard" (of mean 0 and deviation 1), and "squashed", the inverse hyperbolic sine of that,
    which draws in what lies far out.
    """

    def fit(self, table: pd.DataFrame) -> Preparation:
        """Learn medians and values from a table's rows."""
        from pandas.api.types import is_bool_dtype, is_numeric_dtype

        numeric = [is_numeric_dtype(kind) and not is_bool_dtype(kind) for kind in table.dtypes]
        numbers = _numbers(table, np.flatnonzero(numeric))
        gaps = np.isnan(numbers)
        known = np.flatnonzero(~gaps.all(0))
        says = known[np.nanmax(numbers[:, known], 0) > np.nanmin(numbers[:, known], 0)]
        self._numeric = np.flatnonzero(numeric)[says]
        self._medians = np.nanmedian(numbers[:, says], axis=0)
        self._gaps = np.flatnonzero(numeric)[gaps.any(0) & ~gaps.all(0)]
        self._values: dict[int, list[Any]] = {}
        for k in np.flatnonzero(np.logical_not(numeric)):
            values = table.iloc[:, k].dropna().unique()
            if len(values) > 1:
                self._values[int(k)] = sorted(values, key=str)
        x = self._encoded(table)
        self._mean, self._deviation = x.mean(0), x.std(0)
        self._deviation[self._deviation == 0] = 1.0
        return self

    def transform(self, table: pd.DataFrame) -> Mapping[str, Numbers]:
        """[n, features] in each scaling, of a table of the same columns."""
        x = self._encoded(table)
        standard = (x - self._mean) / self._deviation
        return {"none": x, "standard": standard, "squashed": np.arcsinh(standard)}

    def _encoded(self, table: pd.DataFrame) -> Numbers:
        numbers = _numbers(table, self._numeric)
        made = [
            np.where(np.isnan(numbers), self._medians, numbers),
            np.isnan(_numbers(table, self._gaps)).astype(float),
        ]
        for k, values in self._values.items():
            column = table.iloc[:, k].astype(object)
            made.append(np.stack([(column == value).to_numpy(dtype=float) for value in values], 1))
        x = np.concatenate(made, 1)
        return x if x.shape[1] else np.zeros((len(table), 1))


def _numbers(table: pd.DataFrame, columns: NDArray[np.intp]) -> Numbers:
    return np.asarray(table.iloc[:, columns].to_numpy(dtype=float, na_value=np.nan))


def _frame(x: ArrayLike | pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    shape = x.shape if isinstance(x, pd.DataFrame) else np.shape(x)
    if len(shape) != 2 or not shape[0] or not shape[1]:
        raise ValueError(f"x has shape {list(shape)}; expected [n, features] with some of both")
    return x if isinstance(x, pd.DataFrame) else pd.DataFrame(np.asarray(x))
