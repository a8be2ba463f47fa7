"""Two classes seen and others not: what a classifier of two is trained on, chosen by and tested with.

Outsiders are of three kinds, and none serves two purposes: *scribbles*, drawn by rule, are all that training with
outliers and the choice of settings may see; *near* ones are test images of the classes not seen; *far* ones are noise
and test images with their pixels shuffled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from dlbench_plugins.uncertainty import silhouettes

Images = tuple[NDArray[np.float32], NDArray[np.int64]]  # [n, channels, h, w] in [0, 1], and labels 0 and 1
TEST, VALIDATION = 0.25, 0.2  # shares: of all images where no split is published, and of the training images


@dataclass(frozen=True)
class Problem:
    """One classifier's data."""

    name: str
    train: Images
    validation: Images  # for temperatures and thresholds
    test: Images
    scribbles: NDArray[np.float32]  # to train on, for outlier exposure alone
    validation_outliers: NDArray[np.float32]  # other scribbles, to choose settings by
    outside: Mapping[str, NDArray[np.float32]]  # "near", "far", and foreign sets by name
    shown: NDArray[np.float32]  # training images of the unseen classes: for the detector that may see them


def drawn_pairs(number: int, rng: np.random.Generator, classes: int = 10) -> list[tuple[int, int]]:
    """So many pairs of classes, no pair twice."""
    pairs = list(combinations(range(classes), 2))
    return [pairs[i] for i in rng.permutation(len(pairs))[:number]]


def of_classes(
    data: Mapping[str, NDArray], seen: Sequence[int], unseen: Sequence[int], most: int, rng: np.random.Generator
) -> Problem:
    """From images of many classes: a classifier of two of them, and images of the others.

    Args:
        data: ``train_x, train_y, test_x, test_y`` as published, or ``x, y``, which are split.
        seen: the two classes.
        unseen: the others; empty for all.
        most: outsiders of each kind at most.
        rng: of the split, and of all that is drawn.
    """
    if "train_x" in data:
        train_x, train_y, test_x, test_y = (data[name] for name in ("train_x", "train_y", "test_x", "test_y"))
    else:
        test, train = np.split(rng.permutation(len(data["x"])), [int(TEST * len(data["x"]))])
        train_x, train_y, test_x, test_y = data["x"][train], data["y"][train], data["x"][test], data["y"][test]
    others = np.array(unseen or sorted(set(train_y.tolist()) - set(seen)))
    labels = [np.where(y == seen[1], 1, 0) for y in (train_y, test_y)]
    known = [np.flatnonzero(np.isin(y, seen)) for y in (train_y, test_y)]
    strange = [rng.permutation(np.flatnonzero(np.isin(y, others)))[:most] for y in (train_y, test_y)]
    return _problem(
        ", ".join(map(str, seen)),
        (_with_channels(train_x[known[0]]), labels[0][known[0]]),
        (_with_channels(test_x[known[1]]), labels[1][known[1]]),
        near=_with_channels(test_x[strange[1]]),
        shown=_with_channels(train_x[strange[0]]),
        rng=rng,
    )


def with_foreign(
    problem: Problem, sets: Mapping[str, NDArray[np.uint8]], most: int, rng: np.random.Generator
) -> Problem:
    """The same classifier's data, and images of other sets, bytes [n, channels, h, w], at most so many of each."""
    chosen = {name: np.sort(rng.permutation(len(images))[:most]) for name, images in sets.items()}
    foreign = {name: sets[name][rows].astype(np.float32) / 255 for name, rows in chosen.items()}
    return replace(problem, outside={**problem.outside, **foreign})


def of_silhouettes(n: int, size: int, rng: np.random.Generator) -> Problem:
    """Cats and dogs, n of each to train with, and horses; half as many of each, and n horses, to test with."""

    def both(count: int) -> Images:
        x = np.concatenate([silhouettes.animals(species, count, size, rng) for species in ("cat", "dog")])
        return _with_channels(x), np.repeat([0, 1], count)

    train, test = both(n), both(n // 2)
    near, shown = (_with_channels(silhouettes.animals("horse", n, size, rng)) for _ in range(2))
    return _problem("cat, dog", train, test, near=near, shown=shown, rng=rng)


def _problem(
    name: str,
    train: Images,
    test: Images,
    *,
    near: NDArray[np.float32],
    shown: NDArray[np.float32],
    rng: np.random.Generator,
) -> Problem:
    x, y = train
    order = rng.permutation(len(x))
    held, kept = np.split(order, [int(VALIDATION * len(x))])
    channels, size = x.shape[1], x.shape[-1]
    pixels = rng.permuted(test[0].reshape(len(test[0]), channels, -1), axis=2).reshape(test[0].shape)
    noise = rng.random((len(pixels), *x.shape[1:]), dtype=np.float32)
    drawn = silhouettes.scribbles((len(kept) + len(held)) * channels, size, rng).reshape(-1, channels, size, size)
    order = rng.permutation(len(test[0]))  # so that any part of the test images is like any other
    return Problem(
        name,
        (x[kept], y[kept]),
        (x[held], y[held]),
        (test[0][order], test[1][order]),
        scribbles=drawn[: len(kept)],
        validation_outliers=drawn[len(kept) :],
        outside={"near": near, "far": np.concatenate([pixels, noise])},
        shown=shown,
    )


def _with_channels(x: NDArray[np.float32]) -> NDArray[np.float32]:
    return x[:, None] if x.ndim == 3 else x
