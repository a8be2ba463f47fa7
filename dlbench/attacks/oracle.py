"""What an attack asks of a model: its logits at points, and the gradient of a loss on them with respect to the points.

Asked in pieces, so that what a piece saves for its way back is still in the cache when the way back begins.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Protocol

import torch
from torch import Tensor

from dlbench.attacks.modes import Model
from dlbench.attacks.randomness import words
from dlbench.attacks.search import LossFunction, mean_loss

Transform = Callable[[Tensor, Tensor], Tensor]  # (points [m, ...], draws [m] int64) → [m, ...]


class Pieces(Protocol):
    """Decides in which form a model is asked, and about how many points at once."""

    @property
    def plain(self) -> Pieces:
        """The model as it is."""

    @property
    def settled(self) -> bool:
        """Whether the same form will be given again for as many points."""

    @contextlib.contextmanager
    def form(self, left: int) -> Iterator[tuple[Model, int]]:
        """A model and the number of points to ask it about next, of so many that are left."""


class Whole:
    """The model as it is, asked about all points at once, or about so many."""

    settled = True

    def __init__(self, model: Model, size: int | None = None) -> None:
        self.model, self.size = model, size

    @property
    def plain(self) -> Whole:
        """The model as it is: itself."""
        return self

    @contextlib.contextmanager
    def form(self, left: int) -> Iterator[tuple[Model, int]]:
        """The model, and the number of points to ask it about."""
        yield self.model, self.size or left


class Oracle:
    """The model's logits and gradients, for one attack.

    Args:
        pieces: the model, in the form in which it is asked.
        loss: per sample, of logits and labels.
        answers: how often each point is asked about; more than once for random models and transforms (expectation over
            transformation, Athalye et al. 2018: the gradient is that of the mean loss).
        transform: what happens to a point before the model sees it; each row by the transform that its word names.
        seed: of those words.
        autocast: run the model in this type where torch finds that safe.
    """

    def __init__(
        self,
        pieces: Pieces,
        loss: LossFunction,
        answers: int = 1,
        transform: Transform | None = None,
        seed: int = 0,
        autocast: torch.dtype | None = None,
    ) -> None:
        self.pieces, self.loss, self.answers = pieces, loss, answers
        self.transform, self.seed, self.autocast = transform, seed, autocast
        self.random = answers > 1 or transform is not None

    @property
    def settled(self) -> bool:
        """Whether equal questions will be put, and answered, in the same way."""
        return self.pieces.settled and not self.random

    def look(self, points: Tensor, ids: Tensor, moment: Tensor) -> Tensor:
        """Logits at points [n, ...], without gradients: [n, K], or [n, answers, K] where there are several."""
        with torch.no_grad():
            return torch.cat(
                [self._logits(model, points[a:b].clone(), ids[a:b], moment[a:b]) for model, a, b in self._cut(points)]
            )

    def slope(self, points: Tensor, aims: Tensor, ids: Tensor, moment: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits, losses [n] and the gradient of each point's loss [n, ...].

        Args:
            points: [n, ...] where.
            aims: [n] the labels that the loss is of.
            ids: [n] int64, whose points they are; with ``moment`` it decides the draws.
            moment: [n] int64, when in the attack; no two moments of a sample share a draw.
        """
        logits, losses, gradient = [], [], torch.empty_like(points)
        for model, a, b in self._cut(points):
            piece = points[a:b].detach().requires_grad_()
            answer = self._logits(model, piece, ids[a:b], moment[a:b])
            loss = mean_loss(self.loss, answer, aims[a:b])
            slope = None
            if loss.requires_grad:  # of the sum: no sample's step depends on the others
                (slope,) = torch.autograd.grad(loss.sum(), piece, allow_unused=True)
            if slope is None:
                raise ValueError("the model's logits carry no gradient with respect to x; is it detached inside?")
            gradient[a:b] = slope
            logits.append(answer.detach())
            losses.append(loss.detach())
        return torch.cat(logits), torch.cat(losses), gradient

    def probe(self, points: Tensor) -> Tensor:
        """All that the model tells about points [n, ...], in a row: logits and, where they are taken, gradients."""
        told, nobody = [], torch.zeros(len(points), dtype=torch.int64, device=points.device)
        for model, a, b in self._cut(points):
            piece = points[a:b].detach().requires_grad_(torch.is_grad_enabled())
            logits = self._logits(model, piece, nobody[a:b], nobody[a:b])
            told.append(logits.detach().flatten())
            if piece.requires_grad:
                told.append(torch.autograd.grad(logits.square().sum(), piece)[0].flatten())
        return torch.cat(told)

    def _cut(self, points: Tensor) -> Iterator[tuple[Model, int, int]]:
        begin = 0
        while begin < len(points) or begin == 0:  # of no points, the model is asked about none
            with self.pieces.form(len(points) - begin) as (model, size):
                end = min(begin + size, len(points))
                yield model, begin, end
            if end == len(points):
                return
            begin = end

    def _logits(self, model: Model, points: Tensor, ids: Tensor, moment: Tensor) -> Tensor:
        n, k = len(points), self.answers
        if k > 1:
            points = points.repeat_interleave(k, 0)
        if self.transform is not None:
            asked = torch.arange(k, device=ids.device)
            points = self.transform(points, words(self.seed, ids[:, None], moment[:, None] * k + asked).flatten())
        if self.autocast is not None:
            with torch.autocast(points.device.type, self.autocast):
                logits = model(points).float()
        else:
            logits = model(points)
        return logits.reshape(n, k, *logits.shape[1:]) if k > 1 else logits


def oracles(
    pieces: Pieces,
    loss: LossFunction,
    answers: int = 1,
    transform: Transform | None = None,
    seed: int = 0,
    autocast: torch.dtype | None = None,
) -> tuple[Oracle, Oracle]:
    """Who is asked during a search, in the fastest form, and who has the last word, the model as it is: one or two."""
    if autocast not in (None, torch.bfloat16, torch.float16):
        raise ValueError(f"autocast is {autocast!r}; it must be torch.bfloat16, torch.float16, or None")
    judge = Oracle(pieces.plain, loss, answers, transform, seed)
    if pieces.plain is pieces and autocast is None:
        return judge, judge
    return Oracle(pieces, loss, answers, transform, seed, autocast), judge
