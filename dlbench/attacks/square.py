"""Square Attack: random search by queries alone, in square windows (Andriushchenko et al., ECCV 2020)."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, Literal

import torch
from torch import Tensor

from dlbench.attacks.geometry import Bounds, box, check_norm, distance
from dlbench.attacks.modes import Model, attack_mode
from dlbench.attacks.oracle import Oracle, refuted
from dlbench.attacks.randomness import signs, uniform
from dlbench.attacks.rewrite import Rewritten, pieces_of
from dlbench.attacks.search import AttackResult, Loss, Search, check_eps

HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)  # of the window's area, in 10,000 queries
TILES = 5  # a side, in the first query of the L2 attack


def square(
    model: Model | Rewritten,
    x: Tensor,
    y: Tensor,
    *,
    eps: float,
    norm: Literal["linf", "l2"] = "linf",
    queries: int = 5000,
    restarts: int = 1,
    p_init: float = 0.8,
    loss: Loss = "margin",
    target: Tensor | int | None = None,
    bounds: Bounds = (0.0, 1.0),
    seed: int = 0,
    sample_ids: Tensor | None = None,
    rewrite: Literal["auto", "compile", "off"] = "auto",
) -> AttackResult:
    """Square Attack (Andriushchenko et al., ECCV 2020, arXiv:1912.00049): change a window, keep what helps.

    It uses logits only, so it tells whether a defence merely hides its gradients. In the L-infinity norm the first
    query is vertical stripes of ±eps, and a later one sets a window to ±eps, channel by channel. In the L2 norm the
    first is a grid of tiles, and a later one moves what the perturbation has in two windows, and what eps leaves
    unused, into one of them and into another shape. Windows start with the share ``p_init`` of the image and end with
    one pixel (L2: 3x3), on the authors' schedule, rescaled to ``queries``.

    Every sample has windows of its own, so that a split into batches changes nothing, as for
    :func:`~dlbench.attacks.pgd`; AutoAttack's code draws one for all, never in the last row or column, and often one
    that changes no pixel, which is here (L-infinity) given the opposite sign.

    Args:
        model: maps samples [n, ...] to logits [n, K]; a module, or any callable.
        x: [N, channels, height, width] float32 or float64, inside the bounds.
        y: [N] int64, the true labels.
        eps: radius of the ball, in the units of x.
        norm: ``"linf"`` or ``"l2"``.
        queries: a restart, the first among them; in the result a step is a query.
        restarts: searches from a new start; a later one only attacks what withstood the earlier ones.
        p_init: share of the image, above 0 and up to 1.
        loss: what has to rise (for a target, to fall): ``"margin"`` or ``"ce"``.
        target: the label to reach, one for all or [N]; without it any wrong label is the goal.
        bounds: least and greatest value that an input can have.
        seed: of the windows.
        sample_ids: [N] int64, what tells one sample's random numbers from another's; 0 to N - 1 where not given.
        rewrite: whether faster forms of the model are looked for, as in :func:`perturb`.

    Raises:
        ValueError: labels the model does not have, x no images or outside the bounds, an impossible setting.
    """
    check_eps(eps)
    check_norm(norm, ("linf", "l2"))
    if x.dim() != 4:
        raise ValueError(f"x must be images [N, channels, height, width]; got {list(x.shape)}")
    if min(queries, restarts) < 1 or not 0 < p_init <= 1:
        given = f"queries is {queries}, restarts is {restarts} and p_init is {p_init:g}"
        raise ValueError(f"{given}; they must be 1 or more, 1 or more, and above 0 up to 1")
    original = model.original if isinstance(model, Rewritten) else model
    with attack_mode(original), torch.no_grad():
        search = Search(x, y, target=target, bounds=bounds, norm=norm, loss=loss, sample_ids=sample_ids)
        pieces = pieces_of(model, search.x, queries * restarts // 2, rewrite)  # a query costs half a gradient
        judge = oracle = Oracle(pieces.plain, search.loss_of)
        if pieces.plain is not pieces:
            oracle = Oracle(pieces, search.loss_of)
        search.clean(judge.look(search.x, search.ids, search.ids))
        windows = (_L2 if norm == "l2" else _Linf)(search, eps, seed)
        for restart in range(restarts if eps > 0 else 0):
            if not search.drop_decided():
                break
            windows.attend()
            best = windows.start(restart * queries)
            gain = search.sign * search.visit(best, oracle.look(best, windows.ids, windows.ids))
            for query in range(1, queries):
                still = search.open()
                if not len(still):
                    break
                if len(still) < len(best):  # decided samples leave the batch
                    search.attend(search.active[still])
                    windows.attend()
                    best, gain = best[still], gain[still]
                side = window_side(query - 1, queries, p_init, *x.shape[2:])
                tried = windows.change(best, restart * queries + query, side)
                gained = search.sign * search.visit(tried, oracle.look(tried, windows.ids, windows.ids))
                better = (gained > gain).nonzero().squeeze(1)
                best[better], gain[better] = tried[better], gained[better]
        doubted = search.active[:0] if oracle is judge else refuted(search, judge)
        result = search.result(by_gradient=False)
    if not len(doubted):
        return result
    settings: dict[str, Any] = {"eps": eps, "norm": norm, "queries": queries, "restarts": restarts, "seed": seed}
    settings |= {"target": search.aim[doubted] if search.targeted else None, "bounds": bounds}
    settings |= {"p_init": p_init, "loss": loss}
    again = square(original, x[doubted], y[doubted], sample_ids=search.ids[doubted], rewrite="off", **settings)
    return result.followed_by(doubted, again)


def window_side(query: int, queries: int, p_init: float, height: int, width: int) -> int:
    """The side of the window after so many of the queries: its area halves where the authors' schedule says."""
    at = int(query / queries * 10_000)
    share = p_init / 2 ** sum(at > halving for halving in HALVINGS)
    return min(max(round(math.sqrt(share * height * width)), 1), height, width)


# ----------------------------------------------------------------------------------------------------------- windows


class _Windows:
    """Square windows in the images that the search attends to; rows are its active samples."""

    def __init__(self, search: Search, eps: float, seed: int) -> None:
        self.search, self.eps, self.seed = search, eps, seed
        self.channels, self.height, self.width = search.x.shape[1:]

    def attend(self) -> None:
        """Follow the search to the samples that it attends to now."""
        self.centres, self.ids = self.search.centres, self.search.ids[self.search.active]

    def draw(self, query: int, *shape: int) -> Tensor:
        """Numbers [n, *shape] in [-1, 1) of this query, for every sample its own."""
        return uniform(self.seed, query, self.ids, shape, self.centres.dtype)

    def place(self, drawn: Tensor, side: int) -> Tensor:
        """The cells [n, channels, side²] of a window at places drawn [n, 2], as positions in a channel."""
        run = torch.arange(side, device=drawn.device)
        top, left = _among(self.height - side + 1, drawn[:, :1]), _among(self.width - side + 1, drawn[:, 1:])
        cells = ((top + run) * self.width)[:, :, None] + (left + run)[:, None, :]
        return cells.flatten(1)[:, None].expand(-1, self.channels, -1)


class _Linf(_Windows):
    """Every pixel at x - eps or x + eps, as far as the bounds allow."""

    def attend(self) -> None:
        """Follow the search, and find the corners of its balls."""
        super().attend()
        self.low, self.high = (self.search.project(self.centres + step, self.eps) for step in (-self.eps, self.eps))

    def start(self, query: int) -> Tensor:
        """Vertical stripes [n, channels, height, width]."""
        down = self.draw(query, self.channels, 1, self.width) < 0
        return torch.where(down, self.low, self.high)

    def change(self, points: Tensor, query: int, side: int) -> Tensor:
        """The points, in a window all low or all high, channel by channel."""
        drawn = self.draw(query, 2 + self.channels)
        cells, down = self.place(drawn[:, :2], side), drawn[:, 2:, None] < 0
        before, low, high = (images.flatten(2).gather(2, cells) for images in (points, self.low, self.high))
        after = torch.where(down, low, high)
        idle = (after == before).flatten(1).all(1)[:, None, None]  # the opposite then changes every pixel
        after = torch.where(down ^ idle, low, high)
        return points.flatten(2).scatter(2, cells, after).view_as(points)


class _L2(_Windows):
    """Bumps with a positive and a negative half, on the surface of the ball where the bounds do not cut them."""

    def __init__(self, search: Search, eps: float, seed: int) -> None:
        super().__init__(search, eps, seed)
        self.lower, self.upper = box(search.bounds, search.x)
        self.radius = eps * (1 - 2**-20)  # the rest is for rounding

    def start(self, query: int) -> Tensor:
        """A grid of tiles [n, channels, height, width], each a bump of random sign."""
        side = max(min(self.height, self.width) // TILES, 1)
        down, across = self.height // side, self.width // side
        drawn = self.draw(query, 1 + self.channels, down, across)
        tiles = self.bumps(side, drawn[:, :1]) * signs(drawn[:, 1:, :, :, None, None])
        grid = tiles.transpose(3, 4).reshape(-1, self.channels, down * side, across * side)
        top, left = (self.height - down * side) // 2, (self.width - across * side) // 2
        delta = torch.zeros_like(self.centres)
        delta[:, :, top : top + down * side, left : left + across * side] = grid
        return self.inside(delta)

    def change(self, points: Tensor, query: int, side: int) -> Tensor:
        """The points, with what two windows hold of the perturbation and what eps leaves unused put into the first."""
        side = min(max(side + (side + 1) % 2, 3), self.height, self.width)
        drawn = self.draw(query, 5 + self.channels)
        first, second = self.place(drawn[:, 0:2], side), self.place(drawn[:, 2:4], side)
        delta = (points - self.centres).flatten(2)
        unused = (self.radius**2 - delta.square().sum((1, 2), keepdim=True)).clamp(min=0)

        held = delta.gather(2, first)
        delta.scatter_(2, first, 0.0)
        taken = held.square() + delta.gather(2, second).square()  # where the windows overlap, only once
        delta.scatter_(2, second, 0.0)
        shape = _unit(self.bumps(side, drawn[:, 4:5]).flatten(2) * signs(drawn[:, 5:, None]) + _unit(held))
        delta.scatter_(2, first, shape * (taken.sum(2, keepdim=True) + unused / self.channels).sqrt())
        return self.inside(delta.view_as(points))

    def bumps(self, side: int, drawn: Tensor) -> Tensor:
        """Bumps [*drawn, side, side], of their halves one above the other or side by side, as drawn."""
        upright = bump(side).to(drawn)
        return torch.where(drawn[..., None, None] < 0, upright, upright.T)

    def inside(self, delta: Tensor) -> Tensor:
        """From x in the direction of delta [n, ...] as far as the ball goes, cut by the bounds."""
        delta = _unit(delta.flatten(1)).view_as(delta) * self.radius
        points = torch.clamp(self.centres + delta, self.lower, self.upper)
        outside = distance(points, self.centres, "l2") > self.eps  # only where eps is next to nothing beside x
        return torch.where(outside[:, None, None, None], self.centres, points)


@lru_cache(maxsize=64)
def bump(side: int) -> Tensor:
    """[side, side] float64 of L2 norm 1: a hill above, its negative below."""
    return _unit(torch.cat([_hill(side // 2, side), -_hill(side - side // 2, side)]).flatten()).view(side, side)


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
