"""The part of a data set that one seed of an audit measures on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dlbench.errors import NotApplicable, ParameterError
from dlbench.experiment import Context


@dataclass(frozen=True)
class Examples:
    """Labelled examples that the model has not been trained on.

    Args:
        x: images [n, channels, height, width] in [0, 1], or the rows of a table [n, features]; float32.
        y: [n], which class each is of.
        classes: their names.
        groups: [n], the group that each is of, or None where none are known.
        training: the examples that models may have been trained on, or None.
    """

    x: Tensor
    y: Tensor
    classes: tuple[str, ...]
    groups: NDArray[np.str_] | None
    training: Training | None

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one example."""
        return tuple(self.x.shape[1:])

    @property
    def kind(self) -> str:
        """``images`` or ``table``."""
        return "images" if self.x.dim() == 4 else "table"

    @property
    def labels(self) -> NDArray[np.int64]:
        """[n], the classes as an array."""
        return np.asarray(self.y.cpu())

    def few(self, n: int, rng: np.random.Generator) -> Examples:
        """N of them at most, drawn without repetition, in an order that says nothing."""
        rows = rng.permutation(len(self.y))[:n]
        chosen = torch.from_numpy(rows).to(self.y.device)
        groups = None if self.groups is None else self.groups[rows]
        return replace(self, x=self.x[chosen], y=self.y[chosen], groups=groups)

    def taught(self, why: str) -> Training:
        """The training examples, or NotApplicable: they are needed, and why."""
        if self.training is None:
            raise NotApplicable(
                f"{why}, and the data set has no training examples; give it a train and a test part, as its format has"
            )
        return self.training


@dataclass(frozen=True)
class Training:
    """Training examples that are read when they are asked for: there may be many."""

    x: Any
    y: NDArray[np.int64]
    device: str

    def __len__(self) -> int:
        return len(self.y)

    def drawn(self, n: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """N of them at most, drawn without repetition, with their classes."""
        rows = np.sort(rng.permutation(len(self))[:n])
        return tensor(self.x[rows], self.device), torch.from_numpy(self.y[rows]).to(self.device)


def examples(data: str, context: Context, folds: int) -> Examples:
    """The examples of a seed: one of so many equal parts of a fixed random division of the test examples.

    Args:
        data: a data set's name or path. Where it has no test examples of its own, all are taken for such.
        context: of the trial.
        folds: the number of parts; the seed is the number of one.

    Raises:
        ParameterError: there are fewer examples than parts.
    """
    arrays = context.data(data)
    split = "test_x" in arrays
    x, y = (arrays[f"test_{name}" if split else name] for name in "xy")
    if len(y) < folds:
        raise ParameterError(f"{data} has {len(y)} examples to test on, and {folds} parts are asked for; ask for fewer")
    if y.dtype.kind not in "iu":
        raise NotApplicable(f"{data} has {y.dtype} targets; audits are of classifiers")
    rows = dealt(len(y), folds)[context.seed % folds]
    groups = arrays.get("test_groups" if split else "groups")
    training = Training(arrays["train_x"], np.asarray(arrays["train_y"], np.int64), context.device) if split else None
    known = max(int(labels.max()) for labels in (y, training.y if training else y)) + 1
    return Examples(
        x=tensor(x[rows], context.device),
        y=torch.from_numpy(np.asarray(y[rows], np.int64)).to(context.device),
        classes=tuple(map(str, arrays["classes"])) if "classes" in arrays else tuple(map(str, range(known))),
        groups=None if groups is None else np.asarray(groups)[rows].astype(str),
        training=training,
    )


def dealt(n: int, folds: int) -> list[NDArray[np.int64]]:
    """Rows divided into parts of equal size, but for one; the same division for every seed.

    At random, and not by class: parts then differ as other examples of the kind would, in their classes' shares too.
    """
    order = np.random.default_rng(0).permutation(n)  # not the seed's: parts must not overlap
    return [np.sort(order[number::folds]) for number in range(folds)]


def tensor(x: NDArray[Any], device: str) -> Tensor:
    """Examples as a model takes them: grey images [n, height, width] get their channel."""
    made = torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32)).to(device)
    return made.unsqueeze(1) if made.dim() == 3 else made
