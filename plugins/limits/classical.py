"""Classical learners of vectors, each in several settings, and what they cost in floating-point operations.

The operations are these, for n examples of d features in k classes, a multiplication and an addition being two:

- *logistic*: training 4ndk for the scores and the gradient, at every look that L-BFGS takes; 2dk an answer;
- *neighbours*: nothing to train; 3d for a distance to each of the n examples, an answer;
- *svm*: training a kernel matrix, n²(3d + 1) / 2, and 4 operations for each example of a pair of classes and step of
  the solver; an answer s(3d + 1) for the kernel at s support vectors and 2 for each of their k - 1 coefficients;
- *boosting*: training 2 additions into histograms, for each example, feature, level, class and round; an answer one
  comparison for each level, class and round. Levels are those of a balanced tree of as many leaves.

What it takes to sort, to search and to move numbers is left out, for networks as well as here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC
from torch import Tensor, nn
from torch.nn import functional as F

from dlbench.cost import count_flops
from dlbench_plugins.networks import counted_logistic_regression

CLASSICAL = ("logistic", "neighbours", "svm", "boosting")

# What is tried, in this order.
TRIALS = 4
RIDGES = (1.0, 10.0, 0.1, 100.0)
NEIGHBOURS = (1, 5, 3, 10)
KERNELS = ((4.0, 10.0), (1.0, 10.0), (4.0, 1.0), (1.0, 1.0))  # gamma, in units of 1/features, and C
ROUNDS = (1.0, 0.5, 0.25, 0.125)  # of all rounds of boosting

ITERATIONS = 25  # of L-BFGS
LEAVES = 8  # of a boosted tree
AT_ONCE = 1000  # examples a forward pass

Answers = Callable[[Tensor], Tensor]  # inputs [n, ...] → classes [n]
Predict = Callable[[NDArray[np.float32]], NDArray[np.int64]]


class Learnt(NamedTuple):
    """A learner after training, and its floating-point operations."""

    answers: Answers
    training: float
    an_answer: float
    parameters: int  # numbers that it keeps


def answers_of(net: nn.Module) -> Answers:
    """A network's likeliest class of each input."""

    @torch.no_grad()
    def answers(x: Tensor) -> Tensor:
        return torch.cat([net(part).argmax(1) for part in x.split(AT_ONCE)])

    return answers


def learnt(subject: str, x: Tensor, y: Tensor, *, trials: int, rounds: int) -> list[Learnt]:
    """A learner in the first so many of its settings.

    Args:
        subject: one of CLASSICAL.
        x: [n, d].
        y: [n] int64, from 0 to classes - 1, each of which is there.
        trials: how many settings, at most TRIALS.
        rounds: of boosting, of which other settings are the first.
    """
    if subject == "logistic":
        return [_logistic(x, y, ridge) for ridge in RIDGES[:trials]]
    vectors, labels = x.cpu().numpy(), y.cpu().numpy()
    if subject == "neighbours":
        return [_neighbours(vectors, labels, k) for k in NEIGHBOURS[:trials]]
    if subject == "svm":
        return [_svm(vectors, labels, gamma, c) for gamma, c in KERNELS[:trials]]
    return _boosting(vectors, labels, [max(1, round(share * rounds)) for share in ROUNDS[:trials]])


def _logistic(x: Tensor, y: Tensor, ridge: float) -> Learnt:
    classes = int(y.max()) + 1
    layer, evaluations = counted_logistic_regression(x, y, classes, iterations=ITERATIONS, ridge=ridge)
    fresh = nn.Linear(x.shape[1], classes).to(x.device)
    flops = evaluations * count_flops(lambda: F.cross_entropy(fresh(x), y).backward())  # a counter slows all down
    return Learnt(answers_of(layer), flops, 2 * x.shape[1] * classes, (x.shape[1] + 1) * classes)


def _neighbours(x: NDArray[np.float32], y: NDArray[np.int64], k: int) -> Learnt:
    n, d = x.shape
    return Learnt(_on_tensors(KNeighborsClassifier(min(k, n)).fit(x, y).predict), 0.0, n * 3 * d, n * (d + 1))


def _svm(x: NDArray[np.float32], y: NDArray[np.int64], gamma: float, c: float) -> Learnt:
    n, d = x.shape
    machine = SVC(C=c, gamma=gamma / d).fit(x, y)
    counts = np.bincount(y)
    pairs = [counts[a] + counts[b] for a in range(len(counts)) for b in range(a + 1, len(counts))]
    solver = 4.0 * float(np.dot(np.ravel(machine.n_iter_), pairs))
    vectors, others = len(machine.support_), len(counts) - 1
    an_answer = vectors * (3 * d + 1 + 2 * others)
    return Learnt(
        _on_tensors(machine.predict), n * n * (3 * d + 1) / 2 + solver, an_answer, vectors * (d + others) + len(pairs)
    )


def _boosting(x: NDArray[np.float32], y: NDArray[np.int64], rounds: list[int]) -> list[Learnt]:
    n, d = x.shape
    trees = HistGradientBoostingClassifier(
        learning_rate=0.3,
        max_iter=max(rounds),
        max_leaf_nodes=LEAVES,
        min_samples_leaf=5,
        early_stopping=False,
        random_state=0,
    ).fit(x, y)
    each = len(trees.classes_) * math.log2(LEAVES)
    nodes = len(trees.classes_) * (2 * LEAVES - 1)
    return [Learnt(_on_tensors(_after(trees, r)), r * each * 2 * n * d, r * each, 2 * r * nodes) for r in rounds]


def _after(trees: HistGradientBoostingClassifier, rounds: int) -> Predict:
    """What boosted trees predict after so many rounds."""
    return lambda x: next(islice(trees.staged_predict(x), rounds - 1, None))


def _on_tensors(predict: Predict) -> Answers:
    return lambda x: torch.from_numpy(predict(x.cpu().numpy())).to(x.device)
