"""Inputs of no class that a classifier knows, made from its examples and without them.

*noise* is uniform, over the range of pixels or of each column. *shuffled* has an image's own pixels in another order,
or a table's columns each in an order of its own. *halves* are of two examples of different classes, the first columns
of one and the last of the other. Of images alone: *inverted* (a person may know an inverted digit; no model that has
not seen one can be sure of it), *constant*, one colour and nothing else, and *silhouettes* of animals. Of tables alone:
*far*, every value ten standard deviations from its column's mean.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from dlbench import Context
from dlbench.audit import Examples
from dlbench_plugins.uncertainty.silhouettes import ANIMALS, animals

Array = NDArray[np.float32]
Maker = Callable[[Array, NDArray[np.int64], np.random.Generator], Array]  # examples, classes → outsiders, as many
FAR = 10.0  # standard deviations


def outsiders(shown: Examples, context: Context) -> dict[str, Tensor]:
    """As many of each kind as there are examples.

    Args:
        shown: the examples.
        context: gives a stream for each kind.
    """
    makers = OF_IMAGES if shown.kind == "images" else OF_TABLES
    x = np.asarray(shown.x.cpu())
    made = {kind: maker(x, shown.labels, context.rng("outsiders", kind)) for kind, maker in makers.items()}
    return {kind: torch.from_numpy(np.array(one, np.float32)).to(shown.x.device) for kind, one in made.items()}


def halves(x: Array, y: NDArray[np.int64], rng: np.random.Generator) -> Array:
    """The first columns of each, and the last of one of another class (of any, where there is but one)."""
    others = [np.flatnonzero(y != label) if (y != label).any() else np.arange(len(y)) for label in y]
    partners = [rng.choice(rows) for rows in others]
    middle = x.shape[-1] // 2
    return np.concatenate([x[..., :middle], x[partners][..., middle:]], axis=-1)


# ------------------------------------------------------------------------------------------------------------- images


def shuffled_pixels(x: Array, y: NDArray[np.int64], rng: np.random.Generator) -> Array:
    """Colours stay together."""
    order = rng.permuted(np.tile(np.arange(x[0, 0].size), (len(x), 1)), axis=1)
    return np.take_along_axis(x.reshape(*x.shape[:2], -1), order[:, None], axis=2).reshape(x.shape)


def constant(x: Array, y: NDArray[np.int64], rng: np.random.Generator) -> Array:
    """Each of a colour of its own."""
    return np.broadcast_to(rng.random((*x.shape[:2], 1, 1)), x.shape)


def silhouettes(x: Array, y: NDArray[np.int64], rng: np.random.Generator) -> Array:
    """In turn of each animal, light on dark, in grey."""
    side = max(x.shape[2:])
    each = -(-len(x) // len(ANIMALS))
    drawn = np.stack([animals(species, each, side, rng) for species in ANIMALS], axis=1).reshape(-1, 1, side, side)
    fitted = F.interpolate(torch.from_numpy(drawn[: len(x)]), size=x.shape[2:], mode="area")
    return np.broadcast_to(fitted.numpy(), x.shape)


OF_IMAGES: dict[str, Maker] = {
    "noise": lambda x, y, rng: rng.random(x.shape, dtype=np.float32),
    "shuffled": shuffled_pixels,
    "inverted": lambda x, y, rng: 1 - x,
    "halves": halves,
    "constant": constant,
    "silhouettes": silhouettes,
}

# ------------------------------------------------------------------------------------------------------------- tables


def far(x: Array, y: NDArray[np.int64], rng: np.random.Generator) -> Array:
    """To either side."""
    return x.mean(0) + FAR * x.std(0) * rng.choice([-1.0, 1.0], x.shape)


OF_TABLES: dict[str, Maker] = {
    "noise": lambda x, y, rng: rng.uniform(x.min(0), x.max(0), x.shape),
    "shuffled": lambda x, y, rng: rng.permuted(x, axis=0),
    "halves": halves,
    "far": far,
}
