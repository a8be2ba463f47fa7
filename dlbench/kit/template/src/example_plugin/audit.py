"""What is left of a model's accuracy when images are moved by some pixels?

An audit: its subjects are the models that it is given, and ``dlbench audit`` makes it with all others. What is moved
out at one side comes in at the other, so that moving by the whole width is no move at all (the negative control).
Images whose pixels are shuffled say nothing any more (the positive one).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from dlbench import Axis, Claim, Context, Control, Measurement, Metric, below, between, draw_means, every, where
from dlbench.audit import Audit, Examples, Subject
from torch import Tensor

if TYPE_CHECKING:
    import pandas as pd
    from dlbench import Artefacts
    from matplotlib.figure import Figure


def moved_by(rows: pd.DataFrame, share: float) -> pd.Series:
    """Accuracy on images that were moved by a share of their width, one value a seed."""
    return where(rows, view="moved", share=share).accuracy


@dataclass(frozen=True)
class MovedImages(Audit):
    models: tuple[str, ...] = ("example_plugin_means",)
    data: str = "example_plugin_bars"
    shares: tuple[float, ...] = between(0.0, 1.0, default=(0.0, 0.1, 0.2, 0.3))

    title = "Does the model know things elsewhere?"
    takes = ("images",)
    metrics = {"accuracy": Metric("share of right answers", better="higher", main=True, low=0, high=1)}

    def measure(self, subject: Subject, shown: Examples, context: Context) -> Iterator[Measurement]:
        for share in sorted({*self.shares, 0.0, 1.0}):
            yield {"view": "moved", "share": share, "accuracy": subject.right(moved(shown.x, share), shown.y).mean()}
        spoilt = shuffled(shown.x, context.generator("shuffle"))
        yield {"view": "shuffled", "share": 0.0, "accuracy": subject.right(spoilt, shown.y).mean()}
        far = moved(shown.x, max(self.shares))
        wrong = subject.right(far, shown.y) == 0
        names = [f"is {shown.classes[label]}" for label in shown.labels[wrong]]
        subject.show("moved, and not known any more", far[torch.from_numpy(wrong)], names)

    claims = [
        Claim(
            "moving images by three tenths of their width costs less than 5 points",
            lambda rows: every(rows, "subject", lambda r: below(moved_by(r, 0.0) - moved_by(r, 0.3), 0.05)),
        ),
        Control(
            "moved by their whole width, images are what they were",
            lambda rows: every(rows, "subject", lambda r: below((moved_by(r, 0.0) - moved_by(r, 1.0)).abs(), 1e-9)),
            kind="negative",
        ),
        Control(
            "shuffled pixels cost more than 30 points",
            lambda rows: every(
                rows, "subject", lambda r: below(where(r, view="shuffled").accuracy - moved_by(r, 0.0), -0.3)
            ),
            kind="positive",
        ),
    ]
    axes = [
        Axis(
            "moved images",
            lambda rows: where(rows, view="moved").query("0 < share < 1").groupby(level=0).accuracy.mean(),
            "mean accuracy on images that are moved by a tenth to three tenths of their width",
        )
    ]

    def plot(self, rows: pd.DataFrame, figure: Figure, artefacts: Artefacts) -> None:
        """Accuracy over how far images are moved."""
        axes = figure.subplots()
        subjects = where(rows, view="moved").groupby("subject", sort=False) if len(rows) else ()
        for number, (name, mine) in enumerate(subjects):
            accuracies = mine[mine.share < 1].groupby("share").accuracy
            by_share = {float(share): values for share, values in accuracies}
            shares, samples, colour = by_share.keys(), by_share.values(), f"C{number}"
            draw_means(axes, shares, samples, limits=(0, 1), color=colour, marker="o", label=str(name))
        axes.set_ylim(-0.03, 1.03)
        axes.set_xlabel("how far images are moved, as a share of their width")
        axes.set_ylabel("accuracy")
        axes.legend(frameon=False)


def moved(images: Tensor, share: float) -> Tensor:
    """Images [n, channels, h, w] moved to the right; what goes out comes in at the other side."""
    return images.roll(round(share * images.shape[3]), 3)


def shuffled(images: Tensor, generator: torch.Generator) -> Tensor:
    """Images [n, channels, h, w], each with its pixels in another order."""
    n, channels, height, width = images.shape
    order = torch.rand(n, 1, height * width, generator=generator).argsort(2).to(images.device)
    return images.flatten(2).gather(2, order.expand(n, channels, -1)).reshape(images.shape)
