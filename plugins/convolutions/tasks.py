"""Signals of MNIST-1D in order, permuted, standing at one place and moved, and of old and new digits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from dlbench import Context
from dlbench.data.mnist1d import LENGTH, mnist1d
from dlbench_plugins.networks import Examples

PERMUTED, STANDING, OLD_DIGITS = "permuted", "standing", "old digits"  # tasks beside "n=…", of fewer examples
PLACE = 12  # of 72, where standing curves are trained
MOVES = (0, 1, 2, 4, 6, 8, 12, 16, 24)  # of 72, one of which is 0.55 of a signal's 40 places
OLD = 5  # digits below are those that features are trained on


class Signals:
    """What networks are trained, chosen and tested on, by the name of the task.

    Args:
        sizes: training examples, from few to many; each are the first of the next.
        held: those that choose.
        tested: those that test, and four times those of each move.
        probed: new digits to train linear models on, at most.
        context: the trial's.
    """

    def __init__(self, sizes: Sequence[int], held: int, tested: int, probed: int, context: Context) -> None:
        self.device = context.device
        most = sizes[-1]
        order = context.rng("permutation").permutation(LENGTH)
        train, kept, self.test = self.draw((most, held, tested), context.rng("signals"))
        self.permuted_test = self.test._replace(x=self.test.x[:, order])
        old = [part.only(part.y < OLD) for part in (train, kept)]
        standing = self.draw((most, held), context.rng("standing"), PLACE)
        self.train = {f"n={size}": train.only(slice(size)) for size in sizes}
        self.held = dict.fromkeys(self.train, kept)
        self.train |= {PERMUTED: train._replace(x=train.x[:, order]), STANDING: standing[0], OLD_DIGITS: old[0]}
        self.held |= {PERMUTED: kept._replace(x=kept.x[:, order]), STANDING: standing[1], OLD_DIGITS: old[1]}
        self.moved = {move: self.draw((tested // 4,), context.rng("moved", move), PLACE + move)[0] for move in MOVES}
        new = [part.only(part.y >= OLD) for part in (kept, train, self.test)]
        held_new, train_new, test_new = (part._replace(y=part.y - OLD) for part in new)
        self.new_digits = (held_new, train_new.only(slice(probed)), test_new)

    def draw(self, sizes: Sequence[int], rng: np.random.Generator, place: int | None = None) -> list[Examples]:
        """Signals of each of these numbers, anywhere or at one place."""
        x, y = mnist1d(sum(sizes), rng, **({} if place is None else {"moved": (place, place + 1)}))
        parts = (torch.from_numpy(values).to(self.device).split(list(sizes)) for values in (x, y))
        return [Examples(*part) for part in zip(*parts, strict=True)]


@torch.no_grad()
def answers(net: nn.Module, x: Tensor) -> Tensor:
    """Classes [n]."""
    return torch.cat([net(part).argmax(1) for part in x.split(1000)])


def right_share(net: nn.Module, part: Examples) -> float:
    """Accuracy."""
    return float((answers(net, part.x) == part.y).double().mean())


def consistency(net: nn.Module, x: Tensor, rolled: int) -> float:
    """Share of signals whose class stays the same when they are rolled around."""
    return float((answers(net, x) == answers(net, x.roll(rolled, 1))).double().mean())
