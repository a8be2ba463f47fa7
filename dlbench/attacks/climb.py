"""The loop of attacks: restarts of all samples, in which only those stay that can still change the answer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Generic, Protocol, Self, TypeVar

import torch
from torch import Tensor

from dlbench import ops
from dlbench.attacks.oracle import Oracle, refuted
from dlbench.attacks.search import AttackResult, Search
from dlbench.ops.limits import Number

FEW = 32  # points that take a CPU about as long as one does: with fewer in the batch, restarts run side by side
PROBE = 8  # points about which a model is asked twice before it is believed to go round in circles


class Rows(Protocol):
    """Points under way, a row each, with whatever an attack knows about them."""

    job: Tensor  # [n], its place in the branch of the search
    restart: Tensor  # [n]

    @property
    def points(self) -> Tensor:
        """[n, ...]."""

    def take(self, rows: Tensor) -> Self:
        """Some of the rows."""


R = TypeVar("R", bound=Rows)


class Restarts(Generic[R]):
    """Restarts of an attack on all samples of a search; how one begins and goes on is the attack's.

    Args:
        search: what is sought, and the best of it.
        oracle: gives the gradients.
        judge: gives the logits that count, those of the model as it is.
        count: steps of a restart.
        random_start: whether restarts begin anywhere in the ball, or at the samples themselves.
        compact: whether points that are decided leave the batch.
    """

    def __init__(
        self, search: Search, oracle: Oracle, judge: Oracle, count: int, *, random_start: bool, compact: bool
    ) -> None:
        self.search, self.oracle, self.judge, self.count = search, oracle, judge, count
        self.random_start, self.compact = random_start, compact

    def _plan(self, logits: Tensor, restarts: int) -> int:
        """How many restarts there will be of so many wanted, now that the logits on the samples are known."""
        return restarts

    def _start(self, branch: Search, jobs: Tensor, restart: Tensor) -> R:
        """Where restarts [n] of the samples ``jobs`` [n] of the search begin."""
        raise NotImplementedError

    def _ask(self, branch: Search, rows: R, age: int) -> Tensor:
        """What a step goes by, for each row, after so many steps; the branch is told the answers. Here it is the
        gradients [n, ...] at the rows' points.
        """
        logits, losses, gradient = self.oracle.slope(rows.points, branch.aims, *self._moment(branch, rows, age))
        branch.visit(rows.points, logits, losses=losses, start=age == 0)
        return gradient

    def _step(self, branch: Search, rows: R, gradient: Tensor, age: int) -> R:
        """The rows, a step further, that are to go on."""
        raise NotImplementedError

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
            except (IndexError, RuntimeError):  # what losses make of labels that are none
                search.check_labels(self.judge.look(search.x[:1], search.ids[:1], when[:1]).shape[-1])
                raise
            search.clean(logits, losses)
        done = self._attack(range(self._plan(logits, restarts)), slope)
        if self.oracle is not self.judge and len(doubted := refuted(search, self.judge)):
            self.oracle = self.judge  # the model itself is attacked where it disagrees with its other form
            search.skipped = torch.ones_like(search.skipped).index_fill(0, doubted, False)
            self._attack(range(done))
        return search.result()

    def _attack(self, restarts: range, slope: Tensor | None = None) -> int:
        """Restarts of all open samples, until none is open; returns how many were begun."""
        search, done = self.search, 0
        while done < len(restarts):
            search.attend(torch.arange(len(search.x), device=search.x.device))
            samples = search.open()
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
        rows = self._start(branch, jobs, torch.tensor(restarts, device=jobs.device).repeat(len(samples)))
        for age in range(self.count):
            if slope is None:
                gradient = self._ask(branch, rows, age)
            else:
                gradient, slope = slope, None
            if len(stay := branch.open()) < len(rows.job) and (self.compact or not len(stay)):
                rows, gradient = rows.take(stay), gradient[stay]
                branch.attend(rows.job)
            if not len(rows.job):
                break
            rows = self._step(branch, rows, gradient, age)
            branch.attend(rows.job)
            if not len(rows.job):
                break
        if len(rows.job):
            logits = self.oracle.look(rows.points, *self._moment(branch, rows, self.count))
            branch.visit(rows.points, logits, score=self._score(branch, rows, logits))
        self.search.merge(samples, branch)

    def _moment(self, branch: Search, rows: R, age: int) -> tuple[Tensor, Tensor]:
        """Whose points these are, and when it is: a number for each restart and step."""
        return branch.ids[rows.job], rows.restart * (self.count + 1) + age


def rivals(logits: Tensor, labels: Tensor, wanted: int) -> Tensor:
    """The likeliest other classes of each sample [N, k], at most so many; logits are [N, K] or [N, answers, K]."""
    means = logits if logits.dim() == 2 else logits.mean(1)
    others = means.scatter(1, labels[:, None], -torch.inf)
    return others.sort(dim=1, descending=True, stable=True).indices[:, : min(wanted, means.shape[1] - 1)]


@dataclass(frozen=True)
class Steps:
    """How far and in which manner an attack goes.

    Args:
        eps: radius of the ball, a number or one a sample [N].
        size: length of a step, likewise.
        count: steps of a restart.
        momentum: decay of the accumulated gradient along which to go, or None to go along the gradient.
        sparsity: share of the coordinates that a step in the 1-norm moves.
    """

    eps: Number
    size: Number
    count: int
    momentum: float | None = None
    sparsity: float = 1.0

    def of(self, samples: Tensor) -> Steps:
        """Those of some samples [n]."""
        eps, size = (v[samples] if isinstance(v, Tensor) and v.dim() else v for v in (self.eps, self.size))
        return replace(self, eps=eps, size=size)


@dataclass
class Batch:
    """Points under way, a row each: [n] unless said otherwise."""

    job: Tensor  # its place in the branch of the search
    restart: Tensor
    points: Tensor  # [n, ...]
    steps: Steps
    momentum: Tensor | None  # [n, ...]
    seen: Tensor | None  # [n, steps] hashes of the points where it has been

    def take(self, rows: Tensor) -> Batch:
        """Some of the rows."""
        return Batch(
            self.job[rows],
            self.restart[rows],
            self.points[rows],
            self.steps.of(rows),
            None if self.momentum is None else self.momentum[rows],
            None if self.seen is None else self.seen[rows],
        )


class Climb(Restarts[Batch]):
    """Steps of one length from first to last, which end early where they go round in circles.

    Args:
        search, oracle, judge, random_start, compact: as of all restarts.
        steps: of every restart.
        seed: of the random starts.
    """

    def __init__(
        self,
        search: Search,
        oracle: Oracle,
        judge: Oracle,
        steps: Steps,
        *,
        random_start: bool,
        seed: int,
        compact: bool,
    ) -> None:
        super().__init__(search, oracle, judge, steps.count, random_start=random_start, compact=compact)
        self.steps, self.seed = steps, seed
        fixed_steps = search.norm == "linf" and steps.momentum is None
        self.find_cycles = search.stop == "cycle" and fixed_steps and compact and not oracle.random
        self.repeatable: bool | None = None  # whether the model gives the same answer twice; not known yet

    def _start(self, branch: Search, jobs: Tensor, restart: Tensor) -> Batch:
        steps, points = self.steps.of(jobs), branch.centres.clone()
        if self.random_start:
            lower, upper = branch.bounds
            points = ops.random_start(
                points,
                eps=steps.eps,
                norm=branch.norm,
                seed=self.seed,
                sample_ids=branch.ids,
                restart=restart,
                lower=lower,
                upper=upper,
            )
        seen = restart.new_zeros(len(restart), steps.count) if self.find_cycles else None
        momentum = None if steps.momentum is None else torch.zeros_like(points)
        return Batch(torch.arange(len(restart), device=points.device), restart, points, steps, momentum, seen)

    def _step(self, branch: Search, rows: Batch, gradient: Tensor, age: int) -> Batch:
        """All rows a step further; those that are back where they have been, and will go round for ever, leave."""
        lower, upper = branch.bounds
        steps, centres = rows.steps, branch.centres
        limits = {"eps": steps.eps, "step_size": branch.sign * steps.size, "lower": lower, "upper": upper}
        tally = rows.job.new_zeros(len(rows.job), 4)
        hashes = None if rows.seen is None else torch.zeros_like(rows.job)
        if rows.momentum is not None:
            decay = float(steps.momentum or 0.0)
            ops.momentum_step_(rows.points, centres, gradient, rows.momentum, decay=decay, tally=tally, **limits)
        elif branch.norm == "linf":
            ops.linf_step_(rows.points, centres, gradient, hash=hashes, tally=tally, **limits)
        elif branch.norm == "l2":
            ops.l2_step_(rows.points, centres, gradient, tally=tally, **limits)
        else:
            ops.l1_step_(rows.points, centres, gradient, sparsity=steps.sparsity, tally=tally, **limits)
        branch.count_steps(rows.job, self.oracle.answers, tally)
        if rows.seen is None or hashes is None:
            return rows
        back = (rows.seen[:, :age] == hashes[:, None]).any(1)
        rows.seen[:, age] = hashes
        if not bool(back.any()) or not self._repeats(rows, branch):
            return rows
        branch.cycled[rows.job[back]] = True
        return rows.take((~back).nonzero().squeeze(1))

    def _repeats(self, rows: Batch, branch: Search) -> bool:
        """Whether the model gives the same logits and gradients when it is asked twice, bit by bit."""
        if self.repeatable is None:
            points, aims = rows.points[:PROBE], branch.aim[rows.job[:PROBE]]
            when = torch.zeros_like(aims)
            first, second = (self.judge.slope(points, aims, when, when) for _ in range(2))
            self.repeatable = all(map(torch.equal, first, second))
        return self.repeatable
