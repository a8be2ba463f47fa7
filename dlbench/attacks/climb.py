"""Steps of one length, which follow the gradient and end early where they go round in circles."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dlbench import ops
from dlbench.attacks.oracle import Oracle
from dlbench.attacks.restarts import Restarts, Turn
from dlbench.attacks.rows import Rows, of
from dlbench.attacks.search import Search
from dlbench.ops.limits import Number

PROBE = 8  # points about which a model is asked twice before it is believed to go round in circles
NOWHERE = 0x5BD1E995  # stands for no point among hashes


@dataclass(frozen=True)
class Manner:
    """In which manner an attack goes.

    Args:
        count: steps of a restart.
        momentum: decay of the accumulated gradient along which to go, or None to go along the gradient.
        sparsity: share of the coordinates that a step in the 1-norm moves.
    """

    count: int
    momentum: float | None = None
    sparsity: float = 1.0


@dataclass
class Steps(Rows):
    """Points under way, a row each: [n] unless said otherwise."""

    eps: Number  # radius of the ball: a number, or a row each
    size: Number  # length of a step, likewise
    momentum: Tensor | None  # [n, ...]
    seen: Tensor | None  # [n, steps] hashes of the points where it has been
    back: Tensor  # whether it is where it has been before


class Climb(Restarts[Steps]):
    """Steps of one length from first to last, which end early where they go round in circles.

    Args:
        search, oracle, judge, random_start, compact: as of all restarts.
        manner: of every restart.
        eps: radius of the ball, a number or a row a sample.
        size: length of a step, likewise.
        start: like the samples, where the first restart begins, whatever later ones do; None for nowhere else.
        seed: of the random starts.
    """

    def __init__(
        self,
        search: Search,
        oracle: Oracle,
        judge: Oracle,
        manner: Manner,
        eps: Number,
        size: Number,
        *,
        start: Tensor | None,
        random_start: bool,
        seed: int,
        compact: bool,
    ) -> None:
        elsewhere = random_start or start is not None
        super().__init__(search, oracle, judge, manner.count, random_start=elsewhere, compact=compact)
        self.manner, self.eps, self.size, self.seed = manner, eps, size, seed
        self.start = None if start is None else search.project(start.detach().clone(), eps)
        fixed_steps = search.norm == "linf" and manner.momentum is None
        self.find_cycles = search.stop == "cycle" and fixed_steps and compact and not oracle.random
        # Whether the model gives the same answer twice, so that who is back goes round for ever; not known at first.
        self.repeats = torch.zeros((), dtype=torch.bool, device=search.x.device)

    def _start(self, branch: Search, jobs: Tensor, restart: Tensor) -> Steps:
        eps, size = of(self.eps, jobs), of(self.size, jobs)
        points = branch.centres.clone()
        if self.random_start:
            lower, upper = branch.bounds
            points = ops.random_start(
                points,
                eps=eps,
                norm=branch.norm,
                seed=self.seed,
                sample_ids=branch.ids,
                restart=restart,
                lower=lower,
                upper=upper,
            )
        if self.start is not None:
            first = (restart == 0).nonzero().squeeze(1)
            points[first] = self.start[jobs[first]]
        seen = restart.new_full((len(restart), self.count), NOWHERE) if self.find_cycles else None
        return Steps(
            job=torch.arange(len(restart), device=points.device),
            restart=restart,
            points=points,
            eps=eps,
            size=size,
            momentum=None if self.manner.momentum is None else torch.zeros_like(points),
            seen=seen,
            back=torch.zeros_like(restart, dtype=torch.bool),
        )

    def _step(self, branch: Search, rows: Steps, gradient: Tensor, turn: Turn) -> None:
        """Those that are back where they have been, and will go round for ever, have ended."""
        lower, upper = branch.bounds
        limits = {"eps": rows.eps, "step_size": branch.sign * rows.size, "lower": lower, "upper": upper}
        tally = rows.job.new_zeros(len(rows.job), 4)
        hashes = None if rows.seen is None else torch.zeros_like(rows.job)
        if rows.momentum is not None:
            decay = float(self.manner.momentum or 0.0)
            ops.momentum_step_(rows.points, branch.centres, gradient, rows.momentum, decay=decay, tally=tally, **limits)
        elif branch.norm == "linf":
            ops.linf_step_(rows.points, branch.centres, gradient, hash=hashes, tally=tally, **limits)
        elif branch.norm == "l2":
            ops.l2_step_(rows.points, branch.centres, gradient, tally=tally, **limits)
        else:
            sparsity = self.manner.sparsity
            ops.l1_step_(rows.points, branch.centres, gradient, sparsity=sparsity, tally=tally, **limits)
        branch.count_steps(self.oracle.answers, tally)
        if rows.seen is not None and hashes is not None:
            rows.back = (rows.seen == hashes[:, None]).any(1) & branch.going()
            rows.seen.index_copy_(1, self.age[None], hashes[:, None])
            branch.ended[rows.job] |= rows.back & self.repeats

    def _counts(self, branch: Search, rows: Steps) -> Tensor:
        """Also of those that are back without having ended."""
        return torch.stack([branch.going().sum(), rows.back.sum()])

    def _leave(self, branch: Search, rows: Steps, counts: list[int]) -> int:
        under_way, back = counts
        if back and self.find_cycles and not bool(self.repeats):
            self.find_cycles = self._asked_twice(rows, branch)
            self.repeats.fill_(self.find_cycles)
            if self.find_cycles:
                branch.ended[rows.job] |= rows.back
                under_way = int(branch.going().sum())
        return super()._leave(branch, rows, [under_way])

    def _asked_twice(self, rows: Steps, branch: Search) -> bool:
        """Whether the model gives the same logits and gradients when it is asked twice, bit by bit."""
        points, aims = rows.points[:PROBE], branch.aim[rows.job[:PROBE]]
        when = torch.zeros_like(aims)
        first, second = (self.judge.slope(points, aims, when, when) for _ in range(2))
        return all(map(torch.equal, first, second))
