"""The loop of attacks: restarts of all samples, in which only those stay that can still change the answer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import partial
from typing import Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

from dlbench import ops
from dlbench.attacks import checks
from dlbench.attacks.census import Census, bucket
from dlbench.attacks.oracle import Oracle
from dlbench.attacks.replay import Replays
from dlbench.attacks.rows import Rows
from dlbench.attacks.search import AttackResult, Search

FEW = 32  # points that take a CPU about as long as one does: with fewer in the batch, restarts run side by side

R = TypeVar("R", bound=Rows)


class Turn(NamedTuple):
    """What a step depends on beside the rows: equal turns do the same to whatever the rows are."""

    first: bool
    kind: int = 0


class Restarts(ABC, Generic[R]):
    """Restarts of an attack on all samples of a search; how one begins and goes on is the attack's.

    A step is asked for by its :class:`Turn` and changes the rows and the branch in place, without looking at a number
    on the device, so that a GPU is never waited for, and equal steps can be recorded and replayed.

    Args:
        search: what is sought, and the best of it.
        oracle: gives the gradients.
        judge: gives the logits that count, those of the model as it is.
        count: steps of a restart.
        random_start: whether restarts begin anywhere in the ball, or at the samples themselves.
        compact: whether points that are decided leave the batch.
    """

    def __init__(
        self, search: Search, oracle: Oracle, judge: Oracle, count: int, *, random_start: bool, compact: bool = True
    ) -> None:
        self.search, self.oracle, self.judge, self.count = search, oracle, judge, count
        self.random_start, self.compact = random_start, compact
        self.replays = Replays(search.x.device)
        self.age = torch.zeros((), dtype=torch.int64, device=search.x.device)  # steps taken, where a replay sees them

    def _plan(self, logits: Tensor, restarts: int) -> int:
        """How many restarts there will be of so many wanted, now that the logits on the samples are known."""
        return restarts

    @abstractmethod
    def _start(self, branch: Search, jobs: Tensor, restart: Tensor) -> R:
        """Where restarts [n] of the samples ``jobs`` [n] of the search begin."""

    def _turn(self, age: int) -> Turn:
        """The step that comes after so many."""
        return Turn(age == 0)

    def _ask(self, branch: Search, rows: R, turn: Turn) -> Tensor:
        """What a step goes by, for each row; the branch is told the answers. Here it is the gradients [n, ...] at the
        rows' points.
        """
        logits, losses, gradient = self.oracle.slope(rows.points, branch.aims, *self._moment(branch, rows))
        branch.visit(rows.points, logits, losses=losses, start=turn.first)
        return gradient

    @abstractmethod
    def _step(self, branch: Search, rows: R, gradient: Tensor, turn: Turn) -> None:
        """Takes the rows a step further."""

    def _score(self, branch: Search, rows: R, logits: Tensor) -> Tensor | None:
        """By what points are compared, where that is not their loss (see :meth:`Search.visit`)."""
        return None

    def run(self, restarts: int) -> AttackResult:
        """Looks at the samples as they are, and attacks those that this leaves open."""
        search, slope = self.search, None
        when = torch.full_like(search.y, -1)
        if self.random_start or restarts == 0:
            search.clean(logits := self.judge.look(search.x, search.ids, when))
        else:
            try:
                logits, losses, slope = self.judge.slope(search.x, search.aim, search.ids, when)
            except (IndexError, RuntimeError, ValueError):  # what losses make of labels that are none, or of no logits
                first = self.judge.look(search.x[:1], search.ids[:1], when[:1])
                search.check_labels(checks.logits(first, 1))
                raise
            search.clean(logits, losses)
        done = self._attack(range(self._plan(logits, restarts)), slope)
        if self.oracle is not self.judge and len(doubted := self._judged()):
            self.oracle = self.judge  # the model itself is attacked where it disagrees with its other form
            search.skipped = torch.ones_like(search.skipped).index_fill(0, doubted, False)
            self._attack(range(done))
        return search.result()

    def _judged(self) -> Tensor:
        """The model as it is has the last word on every label: the samples [n] whose success it does not see."""
        search = self.search
        if not len(moved := search.moved().nonzero().squeeze(1)):
            return moved
        search.attend(moved)
        late = torch.full_like(moved, -2)
        return search.confirm(self.judge.look(search.x_adv[moved], search.ids[moved], late))

    def _attack(self, restarts: range, slope: Tensor | None = None) -> int:
        """Restarts of all open samples, until none is open; returns how many were begun."""
        search, done = self.search, 0
        while done < len(restarts):
            search.attend(torch.arange(len(search.x), device=search.x.device))
            samples = search.going().nonzero().squeeze(1)
            if not len(samples):
                break
            # A GPU has room for all that were there in the beginning, a CPU gains nothing from more than a few.
            room = FEW if samples.device.type == "cpu" else len(search.x)
            wave = restarts[done : done + (max(1, room // len(samples)) if self.compact else 1)]
            self._wave(samples, wave, None if slope is None else slope[samples])
            done += len(wave)
        return done

    # ------------------------------------------------------------------------------------------------------ one wave

    def _wave(self, samples: Tensor, restarts: range, slope: Tensor | None) -> None:
        """Some restarts of some samples [n], side by side; ``slope`` is the gradient at x where no random start is."""
        jobs = samples.repeat_interleave(len(restarts))
        branch = self.search.branch(jobs, len(restarts))
        self.age.zero_()
        rows = self._start(branch, jobs, torch.tensor(restarts, device=jobs.device).repeat(len(samples)))
        census = Census(jobs.device)
        with self.replays.of(rows, self.oracle) as replay:
            for age in range(self.count):
                turn = self._turn(age)
                if slope is None:
                    replay(turn, partial(self._take_turn, branch, rows, turn))
                else:
                    self._advance(branch, rows, slope, turn)
                    slope = None
                left = census(self._counts(branch, rows))
                if left is not None and not self._leave(branch, rows, left):
                    break
            else:
                logits = self.oracle.look(rows.points, *self._moment(branch, rows))
                branch.visit(rows.points, logits, score=self._score(branch, rows, logits))
        self.search.merge(samples, branch)

    def _take_turn(self, branch: Search, rows: R, turn: Turn) -> None:
        self._advance(branch, rows, self._ask(branch, rows, turn), turn)

    def _advance(self, branch: Search, rows: R, gradient: Tensor, turn: Turn) -> None:
        self._step(branch, rows, gradient, turn)
        self.age += 1

    def _counts(self, branch: Search, rows: R) -> Tensor:
        """What the host is to know after a step, first of all how many rows are still under way: [k]."""
        return branch.going().sum()[None]

    def _leave(self, branch: Search, rows: R, counts: list[int]) -> int:
        """Lets rows go that are decided, now that some counts have arrived; returns how many rows there still are."""
        if counts[0] == 0 or not self.compact:
            return counts[0]
        size = bucket(counts[0], len(rows.job), rows.job.device)
        if size < len(rows.job):
            order = torch.arange(len(rows.job), device=rows.job.device)
            _, order = ops.compact(branch.going(), order)
            rows.keep(order[:size])
            branch.attend(rows.job)
        return size

    def _moment(self, branch: Search, rows: R) -> tuple[Tensor, Tensor]:
        """Whose points these are, and when it is: a number for each restart and step."""
        return branch.ids[rows.job], rows.restart * (self.count + 1) + self.age


def rivals(logits: Tensor, labels: Tensor, wanted: int) -> Tensor:
    """The likeliest other classes of each sample [N, k], at most so many; logits are [N, K] or [N, answers, K]."""
    means = logits if logits.dim() == 2 else logits.mean(1)
    others = means.scatter(1, labels[:, None], -torch.inf)
    return others.sort(dim=1, descending=True, stable=True).indices[:, : min(wanted, means.shape[1] - 1)]
