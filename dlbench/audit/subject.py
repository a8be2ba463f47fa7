"""A model under audit: its answers, and pictures of what it gets wrong."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dlbench.attacks import attack_mode
from dlbench.experiment import Context

SHOWN = "shown "
"""Before a subject and a title, in the name of what :meth:`Subject.show` keeps."""

CAPTIONS = "captions "
AT_ONCE = 250
MOST_SHOWN = 8
WIDEST = 128  # pixels of a picture on a report card


@dataclass(frozen=True)
class Subject:
    """A model that is measured.

    Args:
        name: what it is called in tables and pictures.
        net: from examples to logits.
        context: of the trial.
    """

    name: str
    net: nn.Module
    context: Context

    def logits(self, x: Tensor) -> Tensor:
        """[n, classes], in evaluation mode; the model is as before when this returns."""
        with attack_mode(self.net), torch.no_grad():
            return torch.cat([self.net(part) for part in torch.split(x, AT_ONCE)])

    def probabilities(self, x: Tensor) -> NDArray[np.float64]:
        """[n, classes]."""
        return np.asarray(self.logits(x).double().softmax(1).cpu())

    def right(self, x: Tensor, y: Tensor) -> NDArray[np.float64]:
        """[n]: 1 where the likeliest class is the label, else 0."""
        return np.asarray((self.logits(x).argmax(1) == y).double().cpu())

    def show(self, title: str, images: Tensor, captions: Sequence[str]) -> None:
        """Keep the first few images for the report card, under a title, with a line below each.

        Args:
            title: what they are examples of.
            images: [n, channels, height, width] in [0, 1], the worst first; nothing but images is shown.
            captions: [n].
        """
        if images.dim() != 4 or not len(images):
            return
        few = images[:MOST_SHOWN].detach().float().clamp(0, 1).cpu()
        if max(few.shape[2:]) > WIDEST:
            few = nn.functional.interpolate(few, scale_factor=WIDEST / max(few.shape[2:]), mode="area")
        name = json.dumps([self.name, title])
        self.context.keep(SHOWN + name, (few * 255).round().to(torch.uint8))
        self.context.keep(CAPTIONS + name, np.array(captions[:MOST_SHOWN], dtype=str))
