"""Ways of searching a space of children, many searches at once; each asks for a child and is told what it is worth.

A method is asked for the next child of every search, and then told their values, [searches] both; more is better::

    method = Evolution(space, searches, rng, population=20, sample=5)
    for _ in range(evaluations):
        children = method.ask()
        method.tell(values(children))

Each evaluation costs one training, that of a child asked for before, too. Random search, local search and TPE never ask
for a child twice, which makes them the better of their kind; evolution and controllers do, as published.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dlbench.errors import ParameterError
from dlbench_plugins.search.space import Numbers, Space

Values = NDArray[np.float64]


class Method(Protocol):
    """What searches."""

    def ask(self) -> Numbers:
        """[searches], the next child of each."""

    def tell(self, values: Values) -> None:
        """[searches], what the children asked for are worth."""


class Remembering(ABC):
    """What searches asked for and were told: children and values [searches, so far], and which children were seen."""

    def __init__(self, space: Space, searches: int, rng: np.random.Generator) -> None:
        self.space, self.rng, self.rows = space, rng, np.arange(searches)
        self.children: Numbers = np.empty((searches, 0), dtype=np.int64)
        self.values: Values = np.empty((searches, 0))
        self.seen = np.zeros((searches, len(space)), dtype=bool)

    def ask(self) -> Numbers:
        asked = self.propose()
        self.children = np.concatenate([self.children, asked[:, None]], axis=1)
        self.seen[self.rows, asked] = True
        return asked

    @abstractmethod
    def propose(self) -> Numbers:
        """A child for each search [searches]."""

    def tell(self, values: Values) -> None:
        self.values = np.concatenate([self.values, np.asarray(values, dtype=float)[:, None]], axis=1)

    def unseen(self) -> Numbers:
        """A child of each search, at random among those that it has not seen, or of all once it has seen them all."""
        return one_of_each(self.rng, ~self.seen | self.seen.all(1, keepdims=True))


def one_of_each(rng: np.random.Generator, allowed: NDArray[np.bool_]) -> Numbers:
    """[n]: a column at random among those allowed in each row of [n, m]."""
    return np.where(allowed, rng.random(allowed.shape), -1.0).argmax(1)


class Random(Remembering):
    """Children at random, none twice."""

    def propose(self) -> Numbers:
        return self.unseen()


class InOrder(Remembering):
    """Children in an order given beforehand, [searches, children]: by a score that costs no training."""

    def __init__(self, space: Space, searches: int, rng: np.random.Generator, *, order: Numbers) -> None:
        super().__init__(space, searches, rng)
        self.order = order

    def propose(self) -> Numbers:
        return np.asarray(self.order[:, self.children.shape[1] % len(self.space)])


class Evolution(Remembering):
    """Regularised evolution: the best of a sample of the population has a child with one slot changed; the oldest dies.

    Real, Aggarwal, Huang & Le, AAAI 2019.

    Args:
        space: of children.
        searches: how many at once.
        rng: the chance.
        population: that many are alive; as many children at random begin.
        sample: that many are drawn, with replacement, of which the best is the parent.
    """

    def __init__(self, space: Space, searches: int, rng: np.random.Generator, *, population: int, sample: int) -> None:
        super().__init__(space, searches, rng)
        self.population, self.sample = population, sample

    def propose(self) -> Numbers:
        if self.children.shape[1] < self.population:
            return self.unseen()
        drawn = self.rng.integers(1, self.population + 1, size=(len(self.rows), self.sample))
        drawn = self.children.shape[1] - drawn  # the last ones are alive
        best = drawn[self.rows, self.values[self.rows[:, None], drawn].argmax(1)]
        parents = self.children[self.rows, best]
        # slots first, so that each is changed as often as the others, however many choices it has
        slots = self.rng.integers(len(self.space.sizes), size=len(self.rows))
        codes = self.space.codes[parents]
        sizes = self.space.sizes[slots]
        codes[self.rows, slots] = (codes[self.rows, slots] + self.rng.integers(1, sizes)) % sizes
        return self.space.numbers(codes)


class Local(Remembering):
    """Hill climbing: neighbours of the best child one by one, and on to the first that is better.

    Where no neighbour is new it begins again at random (White, Nolen & Savani, UAI 2021).

    Args:
        space: of children.
        searches: how many at once.
        rng: the chance.
        starts: that many children at random, the best of which is the first to climb from.
    """

    def __init__(self, space: Space, searches: int, rng: np.random.Generator, *, starts: int) -> None:
        super().__init__(space, searches, rng)
        self.starts = starts
        self.at: Numbers = np.zeros(searches, dtype=np.int64)
        self.height: Values = np.full(searches, -np.inf)

    def propose(self) -> Numbers:
        if self.children.shape[1] < self.starts:
            return self.unseen()
        around = self.space.neighbours[self.at]
        new = ~self.seen[self.rows[:, None], around]
        stuck = ~new.any(1)
        self.height[stuck] = -np.inf  # so that it goes on from wherever it begins again
        return np.where(stuck, self.unseen(), around[self.rows, one_of_each(self.rng, new)])

    def tell(self, values: Values) -> None:
        super().tell(values)
        higher = values > self.height
        self.at = np.where(higher, self.children[:, -1], self.at)
        self.height = np.where(higher, values, self.height)


class TPE(Remembering):
    """Tree-structured Parzen estimator: children likely among the good ones and unlikely among the others.

    Bergstra et al., NeurIPS 2011; each slot on its own, choices counted with one more of each.

    Args:
        space: of children.
        searches: how many at once.
        rng: the chance.
        share: of the children seen that are good.
        candidates: drawn from the good ones' choices; the one with the largest ratio is asked for.
        starts: that many children at random begin.
    """

    def __init__(
        self,
        space: Space,
        searches: int,
        rng: np.random.Generator,
        *,
        share: float,
        candidates: int,
        starts: int = 10,
    ) -> None:
        super().__init__(space, searches, rng)
        self.share, self.candidates, self.starts = share, candidates, starts

    def propose(self) -> Numbers:
        known = self.children.shape[1]
        if known < self.starts:
            return self.unseen()
        order = (-self.values).argsort(1, kind="stable")
        good = order[:, : int(np.ceil(self.share * known))]
        is_good = np.zeros((len(self.rows), known), dtype=bool)
        is_good[self.rows[:, None], good] = True
        codes = self.space.codes[self.children]
        drawn = np.empty((len(self.rows), self.candidates, len(self.space.sizes)), dtype=np.int64)
        ratio = np.zeros((len(self.rows), self.candidates))
        for slot, size in enumerate(self.space.sizes):
            takes = codes[..., slot, None] == np.arange(size)
            likely, unlikely = (
                (counts := (takes & of[..., None]).sum(1) + 1.0) / counts.sum(1, keepdims=True)
                for of in (is_good, ~is_good)
            )
            chance = self.rng.random((len(self.rows), self.candidates, 1))
            drawn[..., slot] = (chance > likely.cumsum(1)[:, None]).sum(2).clip(max=size - 1)
            ratio += np.log(likely / unlikely)[self.rows[:, None], drawn[..., slot]]
        numbers = self.space.numbers(drawn)
        known_before = self.seen[self.rows[:, None], numbers]
        best = np.where(known_before, -np.inf, ratio).argmax(1)
        return np.where(known_before.all(1), self.unseen(), numbers[self.rows, best])


class Optuna(Remembering):
    """TPE as Optuna has it, with its defaults; one study a search.

    Raises:
        ParameterError: Optuna is not installed.
    """

    def __init__(self, space: Space, searches: int, rng: np.random.Generator) -> None:
        super().__init__(space, searches, rng)
        try:
            import optuna
        except ImportError as problem:
            raise ParameterError(
                f"nas_controller.extra needs Optuna ({problem}): pip install 'dlbench[automl]', or leave it off"
            ) from problem
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        samplers = [optuna.samplers.TPESampler(seed=int(seed)) for seed in rng.integers(2**31, size=searches)]
        self.studies = [optuna.create_study(direction="maximize", sampler=sampler) for sampler in samplers]
        self.trials: list[optuna.Trial] = []

    def propose(self) -> Numbers:
        self.trials = [study.ask() for study in self.studies]
        sizes = list(zip(self.space.slots, self.space.sizes, strict=True))
        codes = [[t.suggest_categorical(name, range(size)) for name, size in sizes] for t in self.trials]
        return self.space.numbers(np.array(codes))

    def tell(self, values: Values) -> None:
        super().tell(values)
        for study, trial, value in zip(self.studies, self.trials, values, strict=True):
            study.tell(trial, float(value))


def incumbents(children: Numbers, values: Values) -> Numbers:
    """[searches, evaluations]: the best child that each search had seen by then, the first of equals."""
    best = np.maximum.accumulate(values, axis=1)
    first = np.diff(best, axis=1, prepend=-np.inf) > 0
    when = np.maximum.accumulate(np.where(first, np.arange(values.shape[1]), 0), axis=1)
    return np.take_along_axis(children, when, axis=1)


def halved(partial: Values, order: Numbers, *, budget: int, eta: int = 3) -> Numbers:
    """Successive halving as it comes (ASHA, Li et al., MLSys 2020), with one worker: children stopped early, or not.

    A child starts with the smallest share of a training. As soon as one is in the best 1/eta of its rung it trains on
    to the next, the highest rung first; where none is, the next child starts. Nothing is trained twice.

    Args:
        partial: [searches, rungs, children], what each child is worth after eta**-(rungs - 1), …, 1/eta, 1 trainings.
        order: [searches, children], in which children start.
        budget: trainings.
        eta: how many compete for each place.

    Returns:
        [searches, budget]: after 1, 2, … trainings the best child of the highest rung that has any.
    """
    searches, rungs, children = partial.shape
    rows = np.arange(searches)
    total = eta ** np.arange(rungs)  # cost of a rung, in units of the smallest, from nothing
    cost = np.diff(total, prepend=0)
    known = np.full(partial.shape, -np.inf)
    waiting = np.zeros(partial.shape, dtype=bool)  # trained up to there and not further
    spent, started = np.zeros(searches, dtype=np.int64), np.zeros(searches, dtype=np.int64)
    found = np.zeros((searches, budget), dtype=np.int64)
    while (spent < budget * total[-1]).any():
        rung = np.zeros(searches, dtype=np.int64)
        child = order[rows, started % children]
        for level in range(rungs - 1):
            values = np.where(waiting[:, level], known[:, level], -np.inf)
            best = values.argmax(1)
            place = (known[:, level] > values[rows, best][:, None]).sum(1)
            places = np.isfinite(known[:, level]).sum(1) // eta
            up = np.isfinite(values[rows, best]) & (place < places)
            rung, child = np.where(up, level + 1, rung), np.where(up, best, child)
        idle = (rung == 0) & (started == children)  # all have started and none goes on
        started += (rung == 0) & ~idle
        spent += np.where(idle, total[-1], cost[rung])
        known[rows[~idle], rung[~idle], child[~idle]] = partial[rows, rung, child][~idle]
        waiting[rows[~idle], rung[~idle], child[~idle]] = True
        higher = ~idle & (rung > 0)
        waiting[rows[higher], rung[higher] - 1, child[higher]] = False
        top = rungs - 1 - np.isfinite(known[:, ::-1]).any(2).argmax(1)
        now = known[rows, top].argmax(1)
        first = -(-spent // total[-1]) - 1  # a training that has begun has been paid for
        later = np.arange(budget) >= first[:, None]
        found = np.where(later, now[:, None], found)
    return found
