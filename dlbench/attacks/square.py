"""Square Attack: random search by queries alone, in square windows (Andriushchenko et al., ECCV 2020)."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from dlbench.attacks import checks
from dlbench.attacks.checks import Bounds
from dlbench.attacks.local import Nearby
from dlbench.attacks.modes import Model, attack_mode
from dlbench.attacks.oracle import Oracle, Transform, oracles
from dlbench.attacks.randomness import signs, uniform
from dlbench.attacks.restarts import Restarts, Turn
from dlbench.attacks.rewrite import Rewritten, original, pieces_of
from dlbench.attacks.rows import Rows, each, of
from dlbench.attacks.search import AttackResult, Loss, Search
from dlbench.ops.limits import Number

HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)  # of the window's area, in 10,000 queries
TILES = 5  # a side, in the first query of the L2 attack


def square(
    model: Model | Rewritten,
    x: Tensor,
    y: Tensor,
    *,
    eps: Number,
    norm: Literal["linf", "l2"] = "linf",
    queries: int = 5000,
    restarts: int = 1,
    p_init: float = 0.8,
    loss: Loss = "margin",
    target: Tensor | int | None = None,
    bounds: Bounds = (0.0, 1.0),
    seed: int = 0,
    sample_ids: Tensor | None = None,
    eot_samples: int = 1,
    transform: Transform | None = None,
    rewrite: Literal["auto", "compile", "off"] = "auto",
    autocast: torch.dtype | None = None,
    mask: Tensor | None = None,
) -> AttackResult:
    """Square Attack (Andriushchenko et al., ECCV 2020, arXiv:1912.00049): change a window, keep what helps.

    It uses logits only, so it tells whether a defence merely hides its gradients. In the L-infinity norm the first
    query is vertical stripes of ±eps, and a later one sets a window to ±eps, channel by channel. In the L2 norm the
    first is a grid of tiles, and a later one moves what the perturbation has in two windows, and what eps leaves
    unused, into one of them and into another shape. Windows start with the share ``p_init`` of the image and end with
    one pixel (L2: 3x3), on the authors' schedule, rescaled to ``queries``.

    Every sample has windows of its own. AutoAttack's code draws one for all, never in the last row or column, and often
    one that changes no pixel, which is here (L-infinity) given the opposite sign.

    Behind random transforms, or of a random model, a query is ``eot_samples`` answers: a window is kept where their
    mean loss rises, and the goal is reached where more than half of them reach it. All queries of a restart undergo the
    same transforms, so that windows are compared and not draws; with others each time, luck would keep windows that do
    not help, as it does with the draws of a random model, which nobody can hold still.

    What else is promised is as in :func:`perturb`: exact bounds, an unchanged model, samples that leave the batch when
    they are decided, results that do not depend on how samples are split into batches.

    Args:
        model: maps samples [n, ...] to logits [n, K]; a module, any callable, or a :class:`Rewritten` model.
        x: [N, channels, height, width] float32 or float64, inside the bounds.
        y: [N] int64, the true labels.
        eps: radius of the ball, in the units of x: a number, [N], or, in the L-infinity norm, [N or 1, C or 1, 1, ...].
        norm: ``"linf"`` or ``"l2"``.
        queries: a restart, the first among them; in the result a step is a query.
        restarts: searches from a new start; a later one only attacks what withstood the earlier ones.
        p_init: share of the image, above 0 and up to 1.
        loss: what has to rise (for a target, to fall), as in :func:`perturb`.
        target: the label to reach, one for all or [N]; without it any wrong label is the goal.
        bounds: least and greatest value that an input can have; numbers, or [C] each.
        seed: of windows and draws.
        sample_ids: [N] int64, what tells one sample's random numbers from another's; 0 to N - 1 where not given.
        eot_samples: how often each point is asked about, for random models and transforms; all are one query.
        transform: what the model sees of a point, as in :func:`perturb`; it needs no derivative here.
        rewrite: whether faster forms of the model are looked for, as in :func:`perturb`.
        autocast: run the model in this type during the search, as in :func:`perturb`.
        mask: [N] bool, which samples to attack; the others are only looked at.

    Raises:
        ValueError: labels the model does not have, x no images or outside the bounds, an impossible setting.
    """
    checks.samples(x, y, bounds)
    if x.dim() != 4:
        raise ValueError(f"x must be images [N, channels, height, width]; got {list(x.shape)}")
    checks.whole(queries=queries, restarts=restarts, eot_samples=eot_samples)
    checks.one_of(("linf", "l2"), norm=norm)
    checks.one_of(checks.MODES, rewrite=rewrite)
    if not 0 < p_init <= 1:
        raise ValueError(f"p_init is {p_init!r}; it is a share of the image, above 0 and up to 1")
    eps = checks.lengths("eps", eps, x)
    eps = eps if norm == "linf" else checks.one_for_each(eps, norm)
    with attack_mode(original(model), x.device), torch.no_grad():
        search = Search(
            x,
            y,
            target=target,
            bounds=bounds,
            norm=norm,
            loss=loss,
            keep="first",
            sample_ids=sample_ids,
            mask=mask,
        )
        pieces = pieces_of(model, search.x, queries * restarts // 2, rewrite)  # a query costs half a gradient
        oracle, judge = oracles(pieces, search.loss_of, eot_samples, transform, seed, autocast)
        windows = (L2Windows if norm == "l2" else LinfWindows)(search, oracle, judge, queries, eps, p_init, seed)
        return windows.run(restarts if checks.positive(eps) else 0)


def window_side(query: int, queries: int, p_init: float, height: int, width: int) -> int:
    """The side of the window after so many of the queries: its area halves where the authors' schedule says."""
    at = int(query / queries * 10_000)
    share = p_init / 2 ** sum(at > halving for halving in HALVINGS)
    return min(max(round(math.sqrt(share * height * width)), 1), height, width)


# ----------------------------------------------------------------------------------------------------------- windows


@dataclass
class Searching(Rows):
    """Points that are asked about, a row each: [n, C, H, W] unless said otherwise."""

    best: Tensor  # of the restart
    gain: Tensor  # [n], its loss, to be raised
    eps: Number  # of the ball: a number, or a row each
    corners: Tensor  # [n, 2, C, H, W] the lowest and the highest point of ball and bounds, or [n, 0]
    place: Tensor  # [n, 2] first row and column of the window in which the points differ from the best


class Windows(Restarts[Searching]):
    """Searches that change one square window a query, and keep what helps.

    Args:
        search, oracle, judge: as of all restarts.
        queries: of a restart.
        eps: radius of the ball, a number or a row a sample.
        p_init: the share of the image that the first windows cover.
        seed: of the windows.
    """

    def __init__(
        self, search: Search, oracle: Oracle, judge: Oracle, queries: int, eps: Number, p_init: float, seed: int
    ) -> None:
        super().__init__(search, oracle, judge, queries - 1, random_start=True)
        self.eps = eps
        self.queries, self.p_init, self.seed = queries, p_init, seed
        self.channels, self.height, self.width = search.x.shape[1:]

    @abstractmethod
    def _first(self, branch: Search, rows: Searching) -> Tensor:
        """What the first query asks about."""

    @abstractmethod
    def _changed(self, branch: Search, rows: Searching, side: int) -> Tensor:
        """The best points with another window."""

    def _start(self, branch: Search, jobs: Tensor, restart: Tensor) -> Searching:
        x = branch.centres
        rows = Searching(
            job=torch.arange(len(restart), device=x.device),
            restart=restart,
            points=x,
            best=x.clone(),
            gain=torch.full((len(x),), -math.inf, dtype=torch.float64, device=x.device),
            eps=of(self.eps, jobs),
            corners=x.new_empty(len(x), 0),
            place=restart.new_zeros(len(x), 2),
        )
        rows.points = self._first(branch, rows)
        return rows

    def _turn(self, age: int) -> Turn:
        """Its kind is the side of the window."""
        return Turn(age == 0, window_side(age, self.queries, self.p_init, self.height, self.width))

    def _ask(self, branch: Search, rows: Searching, turn: Turn) -> Tensor:
        """The losses that the rows' points raise."""
        return branch.sign * branch.visit(rows.points, self._logits(branch, rows))

    def _logits(self, branch: Search, rows: Searching) -> Tensor:
        """What the model says to the rows' points."""
        return self.oracle.look(rows.points, *self._moment(branch, rows))

    def _step(self, branch: Search, rows: Searching, gradient: Tensor, turn: Turn) -> None:
        better = gradient > rows.gain
        rows.gain = torch.where(better, gradient.double(), rows.gain)
        self._accept(rows, better)
        rows.points = self._changed(branch, rows, turn.kind)

    def _accept(self, rows: Searching, better: Tensor) -> None:
        """The rows' points become their best where a mask [n] says so."""
        rows.best = torch.where(better[:, None, None, None], rows.points, rows.best)

    def _moment(self, branch: Search, rows: Searching) -> tuple[Tensor, Tensor]:
        """The same for all queries of a restart: transforms that change would hide what a window does."""
        return branch.ids[rows.job], rows.restart * (self.count + 1)

    def _draw(self, branch: Search, rows: Searching, ahead: int, *shape: int) -> Tensor:
        """Numbers [n, *shape] in [-1, 1) of the query after so many others, for every row its own."""
        ids, moment = super()._moment(branch, rows)
        return uniform(self.seed, moment + ahead, ids, shape, rows.best.dtype)

    def _placed(self, drawn: Tensor, side: int) -> Tensor:
        """The first rows and columns [n, 2] of windows at places drawn [n, 2] in [-1, 1)."""
        return placed(drawn, side, self.height, self.width)

    def _cells(self, place: Tensor, side: int) -> Tensor:
        """The cells [n, channels, side²] of windows at places [n, 2], counted along the rows of an image."""
        return cells(place, side, self.width)[:, None].expand(-1, self.channels, -1)


class LinfWindows(Windows):
    """Every pixel at x - eps or x + eps, as far as the bounds allow."""

    def _start(self, branch: Search, jobs: Tensor, restart: Tensor) -> Searching:
        self.nearby, self.side = Nearby(), 0
        return super()._start(branch, jobs, restart)

    def _logits(self, branch: Search, rows: Searching) -> Tensor:
        """By the window alone where that is faster."""
        when = self._moment(branch, rows)
        return self.nearby.look(self.oracle, rows.points, rows.best, rows.place, self.side, *when)

    def _accept(self, rows: Searching, better: Tensor) -> None:
        super()._accept(rows, better)
        self.nearby.settle(better)

    def _first(self, branch: Search, rows: Searching) -> Tensor:
        """Vertical stripes."""
        beyond = 2 * each(rows.eps, rows.best)
        low, high = (branch.project(branch.centres + far, rows.eps) for far in (-beyond, beyond))
        rows.corners = torch.stack([low, high], 1)
        return torch.where(self._draw(branch, rows, 0, self.channels, 1, self.width) < 0, low, high)

    def _changed(self, branch: Search, rows: Searching, side: int) -> Tensor:
        """A window all low or all high, channel by channel."""
        drawn = self._draw(branch, rows, 1, 2 + self.channels)
        rows.place, self.side = self._placed(drawn[:, :2], side), side
        window, down = self._cells(rows.place, side), drawn[:, 2:, None] < 0
        before, low, high = (images.flatten(2).gather(2, window) for images in (rows.best, *rows.corners.unbind(1)))
        idle = (torch.where(down, low, high) == before).flatten(1).all(1)  # the opposite then changes every pixel
        after = torch.where(down ^ idle[:, None, None], low, high)
        return rows.best.flatten(2).scatter(2, window, after).view_as(rows.best)


class L2Windows(Windows):
    """Bumps with a positive and a negative half, on the surface of the ball where the bounds do not cut them."""

    def _first(self, branch: Search, rows: Searching) -> Tensor:
        """A grid of tiles, each a bump of random sign."""
        side = max(min(self.height, self.width) // TILES, 1)
        down, across = self.height // side, self.width // side
        drawn = self._draw(branch, rows, 0, 1 + self.channels, down, across)
        tiles = bumps(side, drawn[:, :1]) * signs(drawn[:, 1:, :, :, None, None])
        grid = tiles.transpose(3, 4).reshape(-1, self.channels, down * side, across * side)
        top, left = (self.height - down * side) // 2, (self.width - across * side) // 2
        delta = torch.zeros_like(rows.best)
        delta[:, :, top : top + down * side, left : left + across * side] = grid
        return self._at(branch, rows, delta)

    def _changed(self, branch: Search, rows: Searching, side: int) -> Tensor:
        """What two windows hold of the perturbation, and what eps leaves unused, put into the first of them."""
        side = min(max(side + (side + 1) % 2, 3), self.height, self.width)
        drawn = self._draw(branch, rows, 1, 5 + self.channels)
        first, second = (self._cells(self._placed(pair, side), side) for pair in (drawn[:, 0:2], drawn[:, 2:4]))
        delta = (rows.best - branch.centres).flatten(2)
        unused = each(rows.eps, delta) ** 2 - delta.square().sum((1, 2), keepdim=True)

        held = delta.gather(2, first)
        delta.scatter_(2, first, 0.0)
        taken = held.square() + delta.gather(2, second).square()  # where the windows overlap, only once
        delta.scatter_(2, second, 0.0)
        shape = _unit(bumps(side, drawn[:, 4:5]).flatten(2) * signs(drawn[:, 5:, None]) + _unit(held))
        size = (taken.sum(2, keepdim=True) + unused.clamp(min=0) / self.channels).sqrt()
        delta.scatter_(2, first, shape * size.to(shape.dtype))
        return self._at(branch, rows, delta.view_as(rows.best))

    def _at(self, branch: Search, rows: Searching, delta: Tensor) -> Tensor:
        """From x in the direction of delta [n, ...] as far as the ball goes, cut by the bounds."""
        delta = _unit(delta.flatten(1)).view_as(branch.centres) * each(rows.eps, branch.centres)
        return branch.project(branch.centres + delta, rows.eps)


def placed(drawn: Tensor, side: int, height: int, width: int) -> Tensor:
    """The first rows and columns [n, 2] of squares at places drawn [n, 2] in [-1, 1)."""
    return torch.stack([_among(height - side + 1, drawn[:, 0]), _among(width - side + 1, drawn[:, 1])], 1)


def cells(place: Tensor, side: int, width: int) -> Tensor:
    """The cells [n, side²] of squares whose first rows and columns are given [n, 2], in rows of ``width``."""
    run = torch.arange(side, device=place.device)
    return (place[:, :1] * width + place[:, 1:]) + (run[:, None] * width + run).flatten()


def bumps(side: int, drawn: Tensor) -> Tensor:
    """Bumps [*drawn, side, side], of their halves one above the other or side by side, as drawn."""
    upright = bump(side, drawn.dtype, drawn.device)
    return torch.where(drawn[..., None, None] < 0, upright, upright.T)


@lru_cache(maxsize=64)
def bump(side: int, dtype: torch.dtype = torch.float64, device: torch.device | None = None) -> Tensor:
    """[side, side] of L2 norm 1: a hill above, its negative below. Kept, since the next query wants it again."""
    halves = torch.cat([_hill(side // 2, side), -_hill(side - side // 2, side)])
    return _unit(halves.flatten()).view(side, side).to(device, dtype)


def _hill(height: int, width: int) -> Tensor:
    """[height, width] of L2 norm 1: the k-th square ring around the middle is 1/k² higher than the next."""
    rows, columns = (torch.arange(length) - length // 2 for length in (height, width))
    ring = torch.maximum(rows.abs()[:, None], columns.abs())
    rises = torch.arange(1, max(height, width) // 2 + 2, dtype=torch.float64) ** -2
    return _unit(rises.flip(0).cumsum(0).flip(0)[ring].flatten()).view(height, width)


def _among(count: int, drawn: Tensor) -> Tensor:
    """Numbers in [-1, 1) to integers from 0 to count - 1."""
    return ((drawn + 1) / 2 * count).long().clamp(max=count - 1)  # in float32 the product may round up to count


def _unit(vectors: Tensor) -> Tensor:
    """The vectors along the last dimension, of L2 norm 1; zero stays zero."""
    length: Tensor = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    return vectors / length.clamp(min=torch.finfo(vectors.dtype).tiny)
