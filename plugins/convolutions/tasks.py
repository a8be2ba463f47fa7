"""What networks are trained, chosen and tested on: in order, permuted, standing at one place and moved, old and new."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from dlbench import Context
from dlbench.data.mnist1d import LENGTH, mnist1d
from dlbench_plugins.images import divided
from dlbench_plugins.networks import Examples

PERMUTED, STANDING, OLD_CLASSES = "permuted", "standing", "old classes"  # tasks beside "n=…", of fewer examples
PLACE = 12  # of 72, where standing curves are trained
MOVES = (0, 1, 2, 4, 6, 8, 12, 16, 24)  # of 72, one of which is 0.55 of a signal's 40 places
PIXELS = (0, 1, 2, 4, 6, 8)  # by which images are moved
OLD = 5  # classes below are those that features are trained on


class Tasks:
    """Examples for each task.

    Args:
        sizes: training examples, from few to many; each are the first of the next.
        train: those of the last size.
        held: those that choose.
        test: those that test.
        standing: training examples and those that choose, all at one place.
        moved: by how far → test examples that stand that much further on.
        probed: examples of new classes to train linear models on, at most.
        order: of the places of a signal, of the pixels of an image, where they are permuted.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        train: Examples,
        held: Examples,
        test: Examples,
        *,
        standing: Sequence[Examples],
        moved: Mapping[int, Examples],
        probed: int,
        order: NDArray[np.int64],
    ) -> None:
        self.test, self.moved = test, moved
        self.shape = train.x.shape[1:]
        self.permuted_test = permuted(test, order)
        old = [part.only(part.y < OLD) for part in (train, held)]
        self.train = {f"n={size}": train.only(slice(size)) for size in sizes}
        self.held = dict.fromkeys(self.train, held)
        self.train |= {PERMUTED: permuted(train, order), STANDING: standing[0], OLD_CLASSES: old[0]}
        self.held |= {PERMUTED: permuted(held, order), STANDING: standing[1], OLD_CLASSES: old[1]}
        new = [part.only(part.y >= OLD) for part in (held, train, test)]
        held_new, train_new, test_new = (part._replace(y=part.y - OLD) for part in new)
        self.new_classes = (held_new, train_new.only(slice(probed)), test_new)


def of_signals(sizes: Sequence[int], held: int, tested: int, probed: int, context: Context) -> Tasks:
    """Signals of MNIST-1D [n, 40], drawn anew: anywhere, and at one place.

    Args:
        sizes: training examples, from few to many.
        held: how many choose.
        tested: how many test, and four times those of each move.
        probed: new digits to train linear models on, at most.
        context: the trial's.
    """

    def draw(sizes: Sequence[int], rng: np.random.Generator, place: int | None = None) -> list[Examples]:
        x, y = mnist1d(sum(sizes), rng, **({} if place is None else {"moved": (place, place + 1)}))
        parts = (torch.from_numpy(values).to(context.device).split(list(sizes)) for values in (x, y))
        return [Examples(*part) for part in zip(*parts, strict=True)]

    return Tasks(
        sizes,
        *draw((sizes[-1], held, tested), context.rng("signals")),
        standing=draw((sizes[-1], held), context.rng("standing"), PLACE),
        moved={move: draw((tested // 4,), context.rng("moved", move), PLACE + move)[0] for move in MOVES},
        probed=probed,
        order=context.rng("permutation").permutation(LENGTH),
    )


def of_images(dataset: str, sizes: Sequence[int], held: int, tested: int, probed: int, context: Context) -> Tasks:
    """Images [n, channels, height, columns] as they were published, which is where they stand.

    Those that are moved to the right lose what leaves the frame, and nothing, 0, comes in.

    Args:
        dataset: its name.
        sizes: training images, from few to many.
        held: how many choose.
        tested: how many test, also of each move; fewer where there are not as many.
        probed: images of new classes to train linear models on, at most.
        context: the trial's.
    """
    train, chosen, test = (
        Examples(*(torch.from_numpy(values).to(context.device) for values in part))
        for part in divided(dataset, (sizes[-1], held), context)
    )
    test = test.only(slice(tested))
    return Tasks(
        sizes,
        train,
        chosen,
        test,
        standing=(train, chosen),
        moved={move: test._replace(x=F.pad(test.x, (move, 0))[..., : test.x.shape[-1]]) for move in PIXELS},
        probed=probed,
        order=context.rng("permutation").permutation(train.x[0, 0].numel()),
    )


def permuted(part: Examples, order: NDArray[np.int64]) -> Examples:
    """Their places in another order, the channels of a pixel together."""
    dims = 2 if part.x.dim() == 4 else 1
    return part._replace(x=part.x.flatten(-dims)[..., order].reshape(part.x.shape))


@torch.no_grad()
def answers(net: nn.Module, x: Tensor) -> Tensor:
    """Classes [n]."""
    return torch.cat([net(part).argmax(1) for part in x.split(1000)])


def right_share(net: nn.Module, part: Examples) -> float:
    """Accuracy."""
    return float((answers(net, part.x) == part.y).double().mean())


def consistency(net: nn.Module, x: Tensor, rolled: int) -> float:
    """Share of examples whose class stays the same when they are rolled around, images from left to right."""
    return float((answers(net, x) == answers(net, x.roll(rolled, -1))).double().mean())
