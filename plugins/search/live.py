"""A source that trains children when a search asks for them, several at once, each in a process of its own."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
from collections.abc import Iterable
from types import TracebackType

import numpy as np
import torch

from dlbench import Context
from dlbench_plugins.search.children import RECIPES, TRAINING_SEEDS, Child, trained
from dlbench_plugins.search.methods import Values
from dlbench_plugins.search.space import Numbers

Key = tuple[int, int]  # a child and a training seed


class Live:
    """Children of one data set, trained once and then remembered; search s has training seed s modulo their number.

    To be used in a ``with`` block, after which no process is left.

    Args:
        dataset: what they are trained on.
        searches: of each method.
        seed: of a trial, as in :class:`dlbench.Context`; the same children come out as in a table of that seed.
        workers: processes that train.
    """

    def __init__(self, dataset: str, searches: int, seed: int, workers: int) -> None:
        self.dataset, self.seed = dataset, seed
        self.seeds = np.arange(searches) % TRAINING_SEEDS
        self.known: dict[Key, Child] = {}
        self.asked: set[int] = set()  # children whose worth was asked for
        # a fresh interpreter each: torch's threads do not survive a fork
        spawn = multiprocessing.get_context("spawn")
        self.pool = concurrent.futures.ProcessPoolExecutor(workers, mp_context=spawn, initializer=_one_thread)

    def __enter__(self) -> Live:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, where: TracebackType | None
    ) -> None:
        self.pool.shutdown(cancel_futures=True)

    def validation(self, children: Numbers) -> Values:
        keys = [[(int(child), int(seed)) for child, seed in zip(row, self.seeds, strict=True)] for row in children]
        self.train(key for row in keys for key in row)
        return np.array([[self.known[key].validation for key in row] for row in keys])

    def test(self, children: Numbers) -> Values:
        wanted = set(children.ravel().tolist())
        self.train((child, seed) for child in wanted for seed in range(TRAINING_SEEDS))
        self.asked |= wanted
        return np.vectorize(self.worth)(children)

    def best(self) -> Values:
        return np.full(len(self.seeds), max(self.worth(child) for child in self.asked))

    def worth(self, child: int) -> float:
        return float(np.mean([self.known[child, seed].test for seed in range(TRAINING_SEEDS)]))

    def train(self, keys: Iterable[Key]) -> None:
        new = sorted(set(keys) - self.known.keys())
        jobs = [self.pool.submit(_trained, self.dataset, self.seed, key) for key in new]
        self.known |= {key: job.result() for key, job in zip(new, jobs, strict=True)}


def _one_thread() -> None:
    torch.set_num_threads(1)


def _trained(dataset: str, seed: int, key: Key) -> Child:
    child, training_seed = key
    ((_, _, became),) = trained(dataset, RECIPES[dataset], [child], [training_seed], Context(seed))
    return became
