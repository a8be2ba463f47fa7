"""Metrics from predictions: what a board can compute itself, from targets and outputs, it need not believe.

A metric names its function here (``Metric(..., recomputed="accuracy")``), and a trial keeps its predictions with
:meth:`dlbench.Context.predicted`. Outputs are classes [n, 1], values [n, 1], or probabilities of classes [n, classes].
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

MOST_COLUMNS = 10_000


class NotPredictions(ValueError):
    """What is wrong with a file of predictions, in one line."""


def write(table: Array) -> bytes:
    """Predictions [n, 1 + outputs], the target first, as CSV."""
    names = ["target", *(f"output_{k}" for k in range(table.shape[1] - 1))]
    lines = [",".join(names), *(",".join(map(_number, row)) for row in table.tolist())]
    return ("\n".join(lines) + "\n").encode()


def _number(value: float) -> str:
    return str(int(value)) if value == value and abs(value) < 2**53 and value == int(value) else repr(value)


def read(data: bytes) -> Array:
    """Predictions as :func:`write` writes them; NotPredictions for anything else."""
    try:
        text = data.decode("ascii")
    except UnicodeDecodeError:
        raise NotPredictions("it is not ASCII") from None
    head, _, body = text.partition("\n")
    names = head.split(",")
    if len(names) > MOST_COLUMNS or names != ["target", *(f"output_{k}" for k in range(len(names) - 1))]:
        raise NotPredictions(f"its header is {head[:60]!r}; expected target,output_0,...")
    lines = body.splitlines()
    if not lines:
        raise NotPredictions("it has no predictions")
    with contextlib.suppress(ValueError):
        table = np.loadtxt(lines, delimiter=",", comments=None, ndmin=2)
        if table.shape == (len(lines), len(names)) and np.isfinite(table).all():
            return table
    return _read(lines, len(names))


def _read(lines: Sequence[str], columns: int) -> Array:
    """Lines one by one, to tell which of them is at fault."""
    rows = []
    for number, line in enumerate(lines, 2):
        try:
            row = [float(cell) for cell in line.split(",")]
        except ValueError:
            raise NotPredictions(f"line {number} holds something that is no number") from None
        if len(row) != columns or not all(map(math.isfinite, row)):
            raise NotPredictions(f"line {number} has not {columns} finite numbers")
        rows.append(row)
    return np.array(rows)


def accuracy(target: Array, output: Array) -> float:
    """The share of items whose class is the target.

    Of probabilities the most probable class counts; where several are, each counts its share, as a tie is no answer. A
    trial that decides such ties itself keeps the classes that it decided on.
    """
    if output.shape[1] == 1:
        return float((output[:, 0] == target).mean())
    best = output == output.max(1, keepdims=True)
    return float((_of_target(target, best) / best.sum(1)).mean())


def error_rate(target: Array, output: Array) -> float:
    """One less the accuracy."""
    return 1 - accuracy(target, output)


def log_loss(target: Array, output: Array) -> float:
    """The mean negative logarithm of the target's probability, in nats."""
    of_target = _of_target(target, output)
    return float(-np.log(of_target).mean()) if (of_target > 0).all() else math.inf


def brier(target: Array, output: Array) -> float:
    """The mean squared distance of probabilities from the target's indicator, summed over classes (Brier 1950)."""
    return float(((output**2).sum(1) - 2 * _of_target(target, output) + 1).mean())


def _of_target(target: Array, output: NDArray[Any]) -> NDArray[Any]:
    """Each row's column of the target's class; NotPredictions for a target that is no class of these."""
    classes = output.shape[1]
    if not np.isin(target, np.arange(classes)).all():
        raise NotPredictions(f"a target is no class of 0 to {classes - 1}")
    return np.asarray(output[np.arange(len(target)), target.astype(int)])


def mean_absolute_error(target: Array, output: Array) -> float:
    """The mean distance of a value from its target."""
    return float(np.abs(output[:, 0] - target).mean())


def root_mean_squared_error(target: Array, output: Array) -> float:
    """The root of the mean squared distance of a value from its target."""
    return float(np.sqrt(((output[:, 0] - target) ** 2).mean()))


METRICS: dict[str, Callable[[Array, Array], float]] = {
    function.__name__: function
    for function in (accuracy, error_rate, log_loss, brier, mean_absolute_error, root_mean_squared_error)
}
"""What ``Metric.recomputed`` may name."""

OF_VALUES = frozenset({"mean_absolute_error", "root_mean_squared_error"})
"""Those of them that compare values; the others compare classes."""
