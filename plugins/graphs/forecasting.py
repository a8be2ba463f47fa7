"""What the studies of time series on a graph share: windows, wirings, a linear forecast, a training loop, errors.

A series is values [T, n], NaN where nothing was measured. A forecast starts at an origin t: it has seen the steps up to
and with t, and says what comes ``lead`` steps later. Forecasts and what came are arrays [origins, leads, n].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor, nn

# ------------------------------------------------------------------------------------------------------------- series


def targets(values: NDArray, origins: NDArray, leads: Sequence[int]) -> NDArray:
    """What came, [origins, leads, n]; NaN beyond the end of the series."""
    steps = origins[:, None] + np.asarray(leads)
    came = values[np.minimum(steps, len(values) - 1)]
    came[steps >= len(values)] = np.nan
    return came


def filled(values: NDArray) -> NDArray:
    """Every gap holds the last value before it, or, where a series starts with one, the mean of what follows."""
    seen = ~np.isnan(values)
    last = np.maximum.accumulate(np.where(seen, np.arange(len(values))[:, None], -1), axis=0)
    start = np.nanmean(np.where(seen.any(axis=0), values, 0), axis=0)
    return np.where(last < 0, start, np.take_along_axis(values, np.maximum(last, 0), axis=0))


def windows(values: NDArray, origins: NDArray, length: int) -> NDArray:
    """The ``length`` last steps that each origin has seen, [origins, length, ...]."""
    return values[origins[:, None] + np.arange(1 - length, 1)]


# -------------------------------------------------------------------------------------------------------------- graph


class Links(NamedTuple):
    """Weighted links of a graph, without self loops."""

    ends: NDArray  # [2, E], from and to
    weight: NDArray  # [E], or a row a step, [T, E]

    def over(self, nodes: NDArray) -> Links:
        """The same graph over permuted nodes: all is kept but whose neighbours they are."""
        return Links(nodes[self.ends], self.weight)

    def none(self) -> Links:
        """No links."""
        return Links(self.ends[:, :0], self.weight[..., :0])

    def until(self, last: int) -> Links:
        """What is known at step ``last``, of links with a row of weights a step."""
        return Links(self.ends, self.weight[: last + 1])

    def both(self) -> list[Links]:
        """Along the links and against them."""
        return [self, Links(self.ends[::-1], self.weight)]

    def arriving(self, nodes: int, values: NDArray | float = 1.0) -> NDArray:
        """For every step and node, the weighted sum of what its links bring, [T, n], from values a link [T, E]."""
        links = np.arange(self.ends.shape[1])
        into = sparse.coo_array((np.ones(links.size), (links, self.ends[1])), shape=(links.size, nodes)).tocsr()
        return np.atleast_2d(self.weight * values) @ into

    def mean(self, values: NDArray) -> NDArray:
        """For every step and node, the weighted mean of the values [T, n] where its links come from; 0 without any."""
        nodes = values.shape[1]
        total = self.arriving(nodes)
        return self.arriving(nodes, values[:, self.ends[0]]) / np.where(total > 0, total, 1)


# ------------------------------------------------------------------------------------------------------------- linear


class Ridge(NamedTuple):
    """One linear map for all nodes, features standardised."""

    centre: NDArray  # [K]
    scale: NDArray  # [K]
    slopes: NDArray  # [penalties, K]
    level: float

    @classmethod
    def fit(cls, x: NDArray, y: NDArray, penalties: Sequence[float]) -> Ridge:
        """Least squares of y [...] on x [..., K] where y is known, one solution a penalty on the mean square."""
        known = ~np.isnan(y)
        x, y = x[known].astype(np.float64), y[known].astype(np.float64)
        centre, scale, level = x.mean(axis=0), x.std(axis=0), y.mean()
        scale[scale < 1e-12] = 1
        x -= centre
        x /= scale
        gram, moments = x.T @ x / len(x), x.T @ (y - level) / len(x)
        slopes = [np.linalg.solve(gram + penalty * np.eye(len(gram)), moments) for penalty in penalties]
        return cls(centre, scale, np.array(slopes), float(level))

    def __call__(self, x: NDArray) -> NDArray:
        """Forecasts [penalties, ...] from x [..., K]."""
        of_penalty = self.slopes / self.scale
        shifts = self.level - of_penalty @ self.centre
        return np.moveaxis(x @ of_penalty.T + shifts, -1, 0)


# ----------------------------------------------------------------------------------------------------------- networks


def train(
    net: nn.Module,
    forecast: Callable[[nn.Module, NDArray], Tensor],
    came: NDArray,
    *,
    learning_rate: float,
    epochs: int,
    batch: int,
    rng: np.random.Generator,
    validate: Callable[[nn.Module], float] | None = None,
    loss: Callable[[Tensor], Tensor] = torch.abs,
) -> int:
    """Adam on the error of what was measured, its rate falling to zero; returns the number of the epoch kept.

    Args:
        net: is trained in place; it ends with the weights of its best epoch by ``validate``, or with the last.
        forecast: (net, numbers of windows [B]) → [B, leads, n].
        came: [windows, leads, n], NaN where it is not known.
        learning_rate: at the start.
        epochs: passes over all windows.
        batch: windows a step.
        rng: draws the order of the windows.
        validate: an error to be small.
        loss: of a difference; its mean is made small.
    """
    known = torch.from_numpy(~np.isnan(came))
    truth = torch.from_numpy(np.nan_to_num(came)).float()
    optimiser = torch.optim.Adam(net.parameters(), lr=learning_rate)
    steps = epochs * -(-len(came) // batch)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 1 - step / steps)
    best, kept, weights = np.inf, epochs, None
    for epoch in range(1, epochs + 1):
        net.train()
        for some in np.array_split(rng.permutation(len(came)), -(-len(came) // batch)):
            optimiser.zero_grad()
            errors = loss(forecast(net, some) - truth[some])
            (errors * known[some]).sum().div(known[some].sum().clamp(min=1)).backward()
            nn.utils.clip_grad_norm_(net.parameters(), 5.0)
            optimiser.step()
            schedule.step()
        net.eval()
        if validate is not None and (error := validate(net)) < best:
            best, kept, weights = error, epoch, {name: value.clone() for name, value in net.state_dict().items()}
    if weights is not None:
        net.load_state_dict(weights)
    return kept


# ------------------------------------------------------------------------------------------------------------- errors


def mae(forecast: NDArray, came: NDArray) -> float:
    """Mean absolute error of what was measured."""
    return float(np.nanmean(np.abs(forecast - came)))


def rmse(forecast: NDArray, came: NDArray) -> float:
    """Root mean squared error of what was measured."""
    return float(np.sqrt(np.nanmean((forecast - came) ** 2)))
