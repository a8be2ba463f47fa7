"""Images for classifiers, as studies of several chapters take them: training images, and others held out."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dlbench import Context
from dlbench.errors import ParameterError

CLASSES = 10  # in every data set here
Images = tuple[Tensor, Tensor]  # [n, channels, height, width] in [0, 1], and labels [n]


def images(dataset: str, held_out: int, context: Context) -> tuple[Images, Images]:
    """Training images and ``held_out`` others, with their labels; another split each seed.

    Where the publishers fixed the split, the seed draws the held-out images from their test set.
    """
    data = context.data(dataset)
    rng = context.rng("split")
    if "train_x" in data:
        chosen = rng.permutation(len(data["test_x"]))[:held_out]
        parts = [data["train_x"], data["train_y"], data["test_x"][chosen], data["test_y"][chosen]]
    else:
        if held_out >= len(data["x"]):
            raise ParameterError(f"{held_out} images are to be held out; {dataset} has only {len(data['x'])} images")
        test, train = np.split(rng.permutation(len(data["x"])), [held_out])
        parts = [data["x"][train], data["y"][train], data["x"][test], data["y"][test]]
    x, y, test_x, test_y = (torch.from_numpy(part).to(context.device) for part in parts)
    if x.dim() == 3:  # grey
        x, test_x = x.unsqueeze(1), test_x.unsqueeze(1)
    return (x, y), (test_x, test_y)
