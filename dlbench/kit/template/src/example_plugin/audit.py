"""What is left of a model's accuracy when images are moved by some pixels?

An audit: it measures a model that a user brings, beside references that it trains itself. To be brought, a model is an
import path ``package.module:factory`` or the name of a registered model; the factory takes no arguments and returns a
``torch.nn.Module`` that maps images [n, 1, 12, 12] in [0, 1] to the logits of four kinds of bars::

    --set example_plugin_audit.models=example_plugin_means,mlp

References are two networks of one form: ``mlp``, trained on images as they are, and ``mlp_moved``, trained on images
that are moved at random. What is moved out at one side comes in at the other, so that moving by the whole width is no
move at all (the negative control). Images whose pixels are shuffled say nothing any more (the positive one).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from dlbench import (
    Claim,
    Context,
    Control,
    Experiment,
    Measurement,
    Metric,
    above,
    attacks,
    below,
    between,
    contains,
    draw_means,
    every,
    paired,
    where,
)
from dlbench.brought import brought, check_names
from dlbench.errors import ParameterError
from torch import Tensor, nn

from example_plugin.data import CLASSES, SIDE

if TYPE_CHECKING:
    import pandas as pd
    from dlbench import Artefacts
    from matplotlib.figure import Figure

DATA = "example_plugin_bars"
REFERENCES = "mlp", "mlp_moved"
PIXELS = 0, 1, 2, 3, 4
FAR = 4
SHAPE = 1, SIDE, SIDE  # of an image
COLOURS = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"


@dataclass(frozen=True)
class MovedImages(Experiment):
    models: tuple[str, ...] = REFERENCES
    width: int = between(1, 4096, default=64)
    steps: int = between(1, 100_000, default=300)
    batch_size: int = between(1, 4096, default=64)
    learning_rate: float = between(1e-6, 1.0, default=3e-3)

    title = "A network that saw bars in the middle does not know them elsewhere"
    chapter = "example-plugin"
    metrics = {"accuracy": Metric("share of right answers", better="higher", main=True, low=0, high=1)}
    presets = {"quick": {}, "full": {"width": 512, "steps": 3000}}

    def __post_init__(self) -> None:
        super().__post_init__()
        check_names(self.models, REFERENCES)
        if not self.models or len(set(self.models)) < len(self.models):
            raise ParameterError(f"models is {self.models}; name at least one, and none twice")

    def datasets(self) -> tuple[str, ...]:
        return (DATA,)

    def brings(self) -> list[str]:
        return [name for name in self.models if name not in REFERENCES]

    def trial(self, context: Context) -> Iterator[Measurement]:
        data = context.data(DATA)
        x, y, test_x, test_y = (
            torch.from_numpy(data[name]).to(context.device) for name in ("train_x", "train_y", "test_x", "test_y")
        )
        nets = {name: brought(name, SHAPE, CLASSES, context) for name in self.brings()}  # before work is done
        for done, name in enumerate(self.models):
            context.progress(done / len(self.models), name)
            net = nets.get(name) or self.trained(name, x[:, None], y, context)
            for view, pixels, seen in views(test_x[:, None], context):
                with torch.no_grad(), attacks.attack_mode(net):
                    accuracy = float((net(seen).argmax(1) == test_y).double().mean())
                yield {"subject": name, "view": view, "pixels": pixels, "accuracy": accuracy}

    def trained(self, name: str, x: Tensor, y: Tensor, context: Context) -> nn.Module:
        """A reference; both begin with the same weights, and see the same images in the same order."""
        with context.seeded("init"):
            net = nn.Sequential(
                nn.Flatten(), nn.Linear(SIDE * SIDE, self.width), nn.ReLU(), nn.Linear(self.width, CLASSES)
            ).to(context.device)
        order, moves = context.generator("order"), context.generator("moves")
        optimizer = torch.optim.Adam(net.parameters(), lr=self.learning_rate)
        for _ in range(self.steps):
            chosen = torch.randint(len(x), (self.batch_size,), generator=order)
            images = x[chosen]
            if name == "mlp_moved":
                images = moved(images, int(torch.randint(-FAR, FAR + 1, (), generator=moves)))
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(images), y[chosen]).backward()
            optimizer.step()
        return net.eval()

    claims = [
        Claim(
            "a network that saw bars in the middle loses more than 20 points when they are moved by four pixels",
            lambda rows: above(lost(rows, "mlp", FAR), 0.2),
        ),
        Claim(
            "one that saw them moved is right there more often, by more than 10 points",
            lambda rows: above(paired(where(rows, view="moved", pixels=FAR), "accuracy", "mlp_moved", "mlp"), 0.1),
        ),
        Control(
            "moved by their whole width, images are what they were",
            lambda rows: below(lost(rows, "mlp", SIDE).abs(), 1e-9),
            kind="negative",
        ),
        Control(
            "shuffled pixels leave chance",
            lambda rows: every(
                of_references(where(rows, view="shuffled")),
                "subject",
                lambda r: contains(r.accuracy, 1 / CLASSES, margin=0.05),
            ),
            kind="positive",
        ),
        Control(
            "the references know bars in the middle: accuracy above 0.9",
            lambda rows: every(
                of_references(where(rows, view="moved", pixels=0)), "subject", lambda r: above(r.accuracy, 0.9)
            ),
            kind="gate",
        ),
    ]

    def plot(self, rows: pd.DataFrame, figure: Figure, artefacts: Artefacts) -> None:
        """Accuracy over the pixels that images are moved by."""
        axes = figure.subplots()
        for number, name in enumerate(self.models):
            mine = where(rows, subject=name, view="moved") if len(rows) else rows
            by_pixels = dict(iter(mine[mine.pixels <= FAR].groupby("pixels").accuracy)) if len(mine) else {}
            draw_means(
                axes,
                by_pixels.keys(),
                by_pixels.values(),
                limits=(0, 1),
                color=COLOURS[number % len(COLOURS)],
                marker="o",
                label=name,
            )
        axes.axhline(1 / CLASSES, color="0.5", linestyle=":", label="chance")
        axes.set_ylim(-0.03, 1.03)
        axes.set_xlabel("pixels that images are moved by, down and to the right")
        axes.set_ylabel("accuracy")
        axes.legend(frameon=False)


def moved(images: Tensor, pixels: int) -> Tensor:
    """Images [n, 1, h, w] moved down and to the right; what goes out comes in at the other side."""
    return images.roll((pixels, pixels), (2, 3))


def views(images: Tensor, context: Context) -> Iterator[tuple[str, int, Tensor]]:
    """What models are shown: the images moved, moved all the way round, and each with its pixels shuffled."""
    for pixels in (*PIXELS, SIDE):
        yield "moved", pixels, moved(images, pixels)
    order = torch.rand(len(images), SIDE * SIDE, generator=context.generator("shuffle")).argsort(1)
    yield "shuffled", 0, images.flatten(1).gather(1, order.to(images.device)).reshape(images.shape)


def lost(rows: pd.DataFrame, subject: str, pixels: int) -> pd.Series:
    """By how much accuracy falls when images are moved, one value a seed."""
    mine = where(rows, subject=subject, view="moved")
    return where(mine, pixels=0).accuracy - where(mine, pixels=pixels).accuracy


def of_references(rows: pd.DataFrame) -> pd.DataFrame:
    """Claims and controls are about the references; what is brought is measured beside them."""
    return rows[rows.subject.isin(REFERENCES)]
