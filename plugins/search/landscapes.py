"""What children are worth to a search: read off a table, made up, or found out by training them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dlbench_plugins.search.methods import Method, Values
from dlbench_plugins.search.space import Numbers, Space

SD = 0.1  # of the accuracies of made children
NOISE = 0.02  # of a made validation accuracy
FLAT_SD = 0.02  # of test accuracies where there is nothing to learn


class Source(Protocol):
    """Something that methods can search, several searches of each at once."""

    def validation(self, children: Numbers) -> Values:
        """What each search is told of its child; [methods, searches] both."""

    def test(self, children: Numbers) -> Values:
        """What these children are really worth, the mean over training seeds; no search is told it."""

    def best(self) -> Values:
        """[searches]: the most that any child is worth, of those known."""


def search(
    source: Source, methods: Sequence[Method], evaluations: int, progress: Callable[[float, str], None]
) -> tuple[Numbers, Values]:
    """[methods, searches, evaluations] both: children that methods asked for, and what they were told."""
    asked, told = [], []
    for done in range(evaluations):
        progress(done / evaluations, "searches")
        asked.append(np.stack([method.ask() for method in methods]))
        told.append(source.validation(asked[-1]))
        for method, values in zip(methods, told[-1], strict=True):
            method.tell(values)
    return np.stack(asked, axis=2), np.stack(told, axis=2)


@dataclass(frozen=True)
class Landscape:
    """Tables of what every child is worth, a row a search.

    Attributes:
        seen: [searches, rungs, children], validation accuracy of one training, the last of a complete one.
        worth: [searches, children], test accuracy, the mean over trainings.
        jitter: [searches], standard deviation of noise that is drawn whenever a child is asked for.
        order: [searches, children], from the largest to the smallest; made children have no size and any order.
    """

    seen: Values
    worth: Values
    jitter: Values
    order: Numbers


class Tables:
    """A landscape as a source."""

    def __init__(self, landscape: Landscape, rng: np.random.Generator) -> None:
        self.landscape, self.rng, self.rows = landscape, rng, np.arange(len(landscape.worth))

    def validation(self, children: Numbers) -> Values:
        known = self.landscape.seen[self.rows, -1, children]
        return known + self.landscape.jitter * self.rng.standard_normal(children.shape)

    def test(self, children: Numbers) -> Values:
        return self.landscape.worth[self.rows, children]

    def best(self) -> Values:
        return self.landscape.worth.max(1)


def joined(landscapes: Sequence[Landscape]) -> Landscape:
    """The searches of all, one after another."""
    return Landscape(*(np.concatenate([getattr(one, f.name) for one in landscapes]) for f in fields(Landscape)))


def of_table(table: Mapping[str, NDArray[np.float64]], searches: int) -> Landscape:
    """A table of trained children; search s sees what came of training seed s, modulo their number.

    Args:
        table: validation_ninth, validation_third, validation, test and parameters, [children, training seeds] each.
        searches: how many.
    """
    rungs = np.stack([table["validation_ninth"], table["validation_third"], table["validation"]])
    seed = np.arange(searches) % rungs.shape[2]
    order = np.argsort(-table["parameters"][:, 0], kind="stable")
    return Landscape(
        rungs.transpose(2, 0, 1)[seed],
        np.tile(table["test"].mean(1), (searches, 1)),
        np.zeros(searches),
        np.tile(order, (searches, 1)),
    )


def made(kind: str, space: Space, searches: int, rng: np.random.Generator) -> Landscape:
    """A landscape of its own for every search.

    Args:
        kind: "separable": every choice adds its effect, and validation tells the truth; "tuning": pairs of choices
            have effects, too, and validation is noisy; "noise": validation is drawn anew whenever a child is asked for,
            and has nothing to do with what it is worth.
        space: of children.
        searches: how many.
        rng: the chance.
    """
    shape = (searches, len(space))
    if kind == "noise":
        worth = 0.5 + FLAT_SD * rng.standard_normal(shape)
        validation, jitter = np.full(shape, 0.5), FLAT_SD
    else:
        worth = effects(space, searches, rng)
        if kind == "tuning":
            worth = worth + 0.5 * effects(space, searches, rng, pairs=True)
        worth = 0.5 + SD * (worth - worth.mean(1, keepdims=True)) / worth.std(1, keepdims=True)
        validation = worth + NOISE * rng.standard_normal(shape) * (kind == "tuning")
        jitter = 0.0
    order = rng.permuted(np.tile(np.arange(len(space)), (searches, 1)), axis=1)
    return Landscape(np.repeat(validation[:, None], 3, axis=1), worth, np.full(searches, jitter), order)


def effects(space: Space, searches: int, rng: np.random.Generator, *, pairs: bool = False) -> Values:
    """[searches, children], of deviation 1 on average: sums of normal effects of choices, or of pairs of them."""
    slots = range(len(space.sizes))
    groups = [[a, b] for a in slots for b in slots if a < b] if pairs else [[a] for a in slots]
    total = np.zeros((searches, len(space)))
    for group in groups:
        of_group = np.ravel_multi_index(tuple(space.codes[:, group].T), tuple(space.sizes[group]))
        total += rng.standard_normal((searches, int(space.sizes[group].prod())))[:, of_group]
    return total / np.sqrt(len(groups))
