"""Steps that are recorded once and replayed, where launching kernels takes a GPU's host longer than running them.

A CUDA graph repeats what was done when it was recorded, on the same memory: Python does not run again. So it is only
for models whose answer is a matter of their input alone, and each has to prove that first: recorded at one input and
replayed on another, it must give what it gives when it is called.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from dlbench.attacks.oracle import Oracle
from dlbench.attacks.rows import Rows, tensors

TOLERANCE = 1e-4  # of logits and gradients, relative to the largest

Work = Callable[[], Any]


def can_record(device: torch.device) -> bool:
    """Whether work there can be recorded at all."""
    return device.type == "cuda"


def record(work: Work) -> Work:
    """Records work without doing it; what is returned does it, as often as it is called."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph.replay


class Replays:
    """Decides whether an attack's steps are recorded. One a model, since a model proves itself once."""

    def __init__(self, device: torch.device) -> None:
        self.possible = can_record(device)
        self.proven: dict[int, bool] = {}  # by oracle

    @contextlib.contextmanager
    def of(self, rows: Rows, oracle: Oracle) -> Iterator[Callable[[Hashable, Work], None]]:
        """What does the steps of these rows: ``step(turn, work)``; equal turns are recorded, for each number of rows.

        The work has no arguments and no result: it changes the rows and what belongs to them, in place or by giving
        the rows other tensors.
        """
        done: set[Hashable] = set()  # each once before it is recorded, in which libraries prepare themselves
        recorded: dict[Hashable, Work] = {}
        size = len(rows.job)

        def step(turn: Hashable, work: Work) -> None:
            nonlocal size
            if size != len(rows.job):
                size = len(rows.job)
                done.clear()
                recorded.clear()
            if self.possible:  # what is recorded stays true only if nothing moves to other memory in between
                work = partial(_in_place, rows, work)
            if turn in done and turn not in recorded and self._trusts(rows, oracle):
                with contextlib.suppress(Exception):  # what cannot be recorded, such as a model that waits for the GPU
                    recorded[turn] = record(work)
                if turn not in recorded:
                    self.possible = False
                    recorded.clear()  # for from now on things move
            if turn in recorded:
                recorded[turn]()
            else:
                work()
                done.add(turn)

        yield step
        recorded.clear()

    def _trusts(self, rows: Rows, oracle: Oracle) -> bool:
        if not self.possible or not oracle.settled:
            return False
        if id(oracle) not in self.proven:
            self.proven[id(oracle)] = proves_itself(oracle, rows.points)
        return self.proven[id(oracle)]


def proves_itself(oracle: Oracle, points: Tensor) -> bool:
    """Whether the oracle's model, recorded at half the points [n, ...] and replayed at the points, answers the same."""
    seen, answer = points / 2, points

    def ask() -> None:
        nonlocal answer
        answer = oracle.probe(seen)

    try:
        replay = record(ask)
    except Exception:  # it waits for the GPU, say
        return False
    want = oracle.probe(points)
    seen.copy_(points)
    replay()
    largest = want.abs().amax() + torch.finfo(want.dtype).tiny
    return bool(((answer - want).abs() <= TOLERANCE * largest).all())


def _in_place(rows: Rows, work: Work) -> None:
    """Does work after which the rows have the tensors that they had, with what it has put into others."""
    before = tensors(rows)
    try:
        work()
        after = [getattr(owner, name) for owner, name, _ in before]
        moved = [(tensor, new.clone()) for (*_, tensor), new in zip(before, after, strict=True) if new is not tensor]
        for tensor, new in moved:
            tensor.copy_(new)
    finally:
        for owner, name, tensor in before:
            setattr(owner, name, tensor)
