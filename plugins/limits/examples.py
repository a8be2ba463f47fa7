"""Examples to train with, to choose with and to test with, of curves and of images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dlbench import Context
from dlbench.data.mnist1d import mnist1d
from dlbench_plugins.images import divided

AT_ONCE = 1000  # examples a forward pass


class Chosen(NamedTuple):
    """What became of the setting that validation data prefer."""

    validation_accuracy: float
    test_accuracy: float


class Examples(NamedTuple):
    """Inputs and their labels."""

    x: Tensor  # [n, ...]
    y: Tensor  # [n]

    def first(self, n: int) -> Examples:
        """The first so many, or all."""
        return Examples(self.x[:n], self.y[:n])

    def flat(self) -> Examples:
        """With vectors as inputs."""
        return Examples(self.x.flatten(1), self.y)

    def right(self, answers: Callable[[Tensor], Tensor]) -> float:
        """The share of them that are answered rightly."""
        return float((answers(self.x) == self.y).double().mean())


class Task(NamedTuple):
    """Examples for training, for choosing and for the test."""

    train: Examples
    validation: Examples
    test: Examples

    def choose(self, trials: Sequence[Callable[[Tensor], Tensor]], n: int) -> Chosen:
        """The best of several on as many validation examples as there were to train with, if there are."""
        best, score = self.best(trials, n)
        return Chosen(score, self.test.right(trials[best]))

    def best(self, trials: Sequence[Callable[[Tensor], Tensor]], n: int) -> tuple[int, float]:
        """Which it is, the first of equal ones, and its validation accuracy."""
        scores = [self.validation.first(n).right(answers) for answers in trials]
        return int(np.argmax(scores)), max(scores)

    def flat(self) -> Task:
        """With vectors as inputs."""
        return Task(*(part.flat() for part in self))

    def scaled(self) -> Task:
        """Inputs of mean 0 and deviation 1, over all that there is to train with."""
        mean, sd = self.train.x.mean(), self.train.x.std()
        return Task(*(Examples((part.x - mean) / sd, part.y) for part in self))

    def with_shuffled_labels(self, context: Context, *axis: int) -> Task:
        """The same with the labels of training and validation in another order, drawn along an axis."""
        shuffled = []
        for name, part in zip(self._fields[:2], self, strict=False):
            order = torch.randperm(len(part.y), generator=context.generator("shuffled", name, *axis))
            shuffled.append(Examples(part.x, part.y[order.to(part.y.device)]))
        return Task(*shuffled, self.test)

    @torch.no_grad()
    def seen_by(self, module: nn.Module) -> Task:
        """The features that a module makes of the inputs, in place of them."""
        module.eval()
        seen = [torch.cat([module(x).flatten(1).float() for x in part.x.split(AT_ONCE)]) for part in self]
        return Task(*(Examples(x, part.y) for x, part in zip(seen, self, strict=True)))


def examples(dataset: str, counts: Sequence[int], tested: int, context: Context) -> Task:
    """Of MNIST-1D, curves [n, 40] drawn anew; otherwise images [n, channels, height, width] in [0, 1].

    Each part has its classes in turn.

    Args:
        dataset: its name.
        counts: how many to train and to choose with.
        tested: how many to test with; of images no more than there are.
        context: the trial's.
    """
    if dataset == "mnist1d":
        x, y = mnist1d(sum(counts) + tested, context.rng("split"))
        cuts = np.cumsum(counts)
        parts = list(zip(np.split(x, cuts), np.split(y, cuts), strict=True))
    else:
        *parts, (x, y) = divided(dataset, counts, context)
        parts.append((x[:tested], y[:tested]))
    ordered = [(x[order], y[order]) for x, y in parts for order in [in_turn(y)]]
    return Task(*(Examples(*(torch.from_numpy(part).to(context.device) for part in pair)) for pair in ordered))


def in_turn(y: NDArray[np.int64]) -> NDArray[np.int64]:
    """An order in which the classes take turns, and their examples stay in theirs: [n]."""
    rank = np.empty(len(y), dtype=np.int64)
    for label in np.unique(y):
        rank[y == label] = np.arange((y == label).sum())
    return np.lexsort((y, rank))
