"""Images for classifiers, as studies of several chapters take them: training images, and others held out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dlbench import Context
from dlbench.data import cifar
from dlbench.errors import DataDamaged, ParameterError

CLASSES = 10  # in every data set here
Arrays = tuple[NDArray[np.float32], NDArray[np.int64]]
Images = tuple[Tensor, Tensor]  # [n, channels, height, width] in [0, 1], and labels [n]


def divided(dataset: str, sizes: Sequence[int], context: Context) -> list[Arrays]:
    """Images of each of these numbers in turn, and those to test with; another order each seed.

    Test images are the publishers' where they fixed a split, otherwise all others. All are arrays
    [n, channels, height, width] in [0, 1], with their labels [n].
    """
    data = context.data(dataset)
    fixed = "train_x" in data
    x, y = (data[f"train_{name}" if fixed else name] for name in "xy")
    *chosen, rest = np.split(context.rng("split").permutation(len(x)), np.cumsum(sizes))
    if sum(sizes) > len(x) or not (fixed or len(rest)):
        wanted = f"{' and '.join(map(str, sizes))} of {len(x)} images of {dataset}"
        raise ParameterError(f"{wanted} are asked for, and some to test with; take fewer")
    parts = [(x[rows], y[rows]) for rows in (chosen if fixed else [*chosen, rest])]
    if fixed:
        parts.append((data["test_x"], data["test_y"]))
    return [(x if x.ndim == 4 else x[:, None], y) for x, y in parts]


def rows_held_out(published: int, held_out: int, context: Context) -> NDArray[np.int64]:
    """Which of the publishers' test images the seed draws, in the order in which :func:`images` gives them."""
    return context.rng("split").permutation(published)[:held_out]


def cifar10_c(kind: str, severity: int, rows: NDArray[np.int64], y: Tensor, context: Context) -> Tensor:
    """CIFAR-10's test images as CIFAR-10-C has them, float32 [len(rows), 3, 32, 32] in [0, 1].

    Args:
        kind: of corruption, by the name of its file.
        severity: 1 to 5.
        rows: of the test set, in which order.
        y: their labels by CIFAR-10, as a check that both sets have the same order.
        context: the trial's.
    """
    files = context.data("cifar10_c")
    at = rows + (severity - 1) * cifar.TEST
    if not np.array_equal(files["y"][at], y.cpu().numpy()):
        raise DataDamaged("the labels of cifar10_c are not those of cifar10's test images; get both again")
    x = torch.from_numpy(np.ascontiguousarray(files[kind][at].transpose(0, 3, 1, 2)))
    return x.to(context.device).float() / 255


def images(dataset: str, held_out: int, context: Context) -> tuple[Images, Images]:
    """Training images and ``held_out`` others, with their labels; another split each seed.

    Where the publishers fixed the split, the seed draws the held-out images from their test set.
    """
    data = context.data(dataset)
    if "train_x" in data:
        chosen = rows_held_out(len(data["test_x"]), held_out, context)
        parts = [data["train_x"], data["train_y"], data["test_x"][chosen], data["test_y"][chosen]]
    else:
        if held_out >= len(data["x"]):
            raise ParameterError(f"{held_out} images are to be held out; {dataset} has only {len(data['x'])} images")
        test, train = np.split(context.rng("split").permutation(len(data["x"])), [held_out])
        parts = [data["x"][train], data["y"][train], data["x"][test], data["y"][test]]
    x, y, test_x, test_y = (torch.from_numpy(part).to(context.device) for part in parts)
    if x.dim() == 3:  # grey
        x, test_x = x.unsqueeze(1), test_x.unsqueeze(1)
    return (x, y), (test_x, test_y)
