"""Regressors of a mean and of its noise, on a line: what each calls noise in the data, and what it does not know.

All networks of a trial, of every method and every size of the training set, are one stack: two hidden layers and four
outputs, of which each method reads as many as it has use for.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import norm
from torch import Tensor, nn
from torch.nn import functional as F

from dlbench import Context
from dlbench.stacking import Stack, batches
from dlbench.uncertainty import conformal_quantile

Z90 = float(norm.ppf(0.95))  # a normal variable lies within so many standard deviations with probability 0.9
BETA = 0.5  # Seitzer et al. 2022 recommend it
EVIDENCE = 0.01  # weight of the evidential regularizer, as in Amini et al. 2020
GP_POINTS = 400  # the cost of a Gaussian process is cubic: it sees the first so many
MEAN_VARIANCE = 0.01 + 0.04 + 0.16 / 3  # of the noise: sd(x)² over [0, 1]
SHARE_FITTED = 0.8  # by those that measure their noise on examples held out from their own n


def mean(x: NDArray) -> NDArray:
    """What is measured with noise."""
    return np.sin(2 * np.pi * x)


def sd(x: NDArray) -> NDArray:
    """The standard deviation of the noise: 0.1 at x = 0, 0.5 at x = 1."""
    return 0.1 + 0.4 * x


class Sample(NamedTuple):
    """Training examples; those of a smaller n are the first of a larger one."""

    x: NDArray  # [n], in [0, 1]
    y: NDArray  # [n], with noise of sd(x)
    flat: NDArray  # [n], with the same noise, but of the same size everywhere


def sample(n: int, rng: np.random.Generator) -> Sample:
    """Examples at random places."""
    x, noise = rng.uniform(0, 1, n), rng.standard_normal(n)
    return Sample(x, mean(x) + sd(x) * noise, mean(x) + math.sqrt(MEAN_VARIANCE) * noise)


class Prediction(NamedTuple):
    """At the places asked for."""

    mean: NDArray
    aleatoric: NDArray  # variance of the noise
    epistemic: NDArray | None  # variance of the mean, where a method has one
    low: NDArray  # of the interval that holds nine in ten new observations
    high: NDArray


def gaussian(mean: NDArray, aleatoric: NDArray, epistemic: NDArray | None = None) -> Prediction:
    """A prediction whose interval is that of a normal distribution of the whole variance."""
    half = Z90 * np.sqrt(aleatoric + (0 if epistemic is None else epistemic))
    return Prediction(mean, aleatoric, epistemic, mean - half, mean + half)


def scores(prediction: Prediction, x: NDArray) -> dict[str, float]:
    """Against the true mean and noise, by integrals over the noise instead of draws of it."""
    true = sd(x) ** 2
    slope, _ = np.polyfit(true, prediction.aleatoric, 1)
    varies = np.ptp(prediction.aleatoric) > 1e-12
    found = {
        "slope": float(slope),
        "r2": float(np.corrcoef(true, prediction.aleatoric)[0, 1] ** 2) if varies else 0.0,
        "aleatoric": float(prediction.aleatoric.mean()),
        "coverage": float(
            (norm.cdf((prediction.high - mean(x)) / sd(x)) - norm.cdf((prediction.low - mean(x)) / sd(x))).mean()
        ),
    }
    variance = prediction.aleatoric
    if prediction.epistemic is not None:
        found["epistemic"] = float(prediction.epistemic.mean())
        variance = variance + prediction.epistemic
    error = true + (mean(x) - prediction.mean) ** 2  # of a new observation, squared, on average
    found["nll"] = float((np.log(2 * np.pi * variance) / 2 + error / (2 * variance)).mean())
    return found


# --------------------------------------------------------------------------------------------------------- networks


def beta_nll(out: Tensor, y: Tensor) -> Tensor:
    """Mean and log-variance; the likelihood, its gradient weighed by the variance to the power BETA."""
    log_variance = out[..., 1].clamp(-12, 6)
    loss = (log_variance + (y - out[..., 0]).square() * torch.exp(-log_variance)) / 2
    return loss * torch.exp(BETA * log_variance.detach())


def squared(out: Tensor, y: Tensor) -> Tensor:
    """The mean alone."""
    return (y - out[..., 0]).square()


def pinball(out: Tensor, y: Tensor) -> Tensor:
    """The mean in place of the median, as the others; the quantiles at 0.05 and 0.95 (Koenker & Bassett 1978)."""
    loss = squared(out, y)
    for place, level in ((1, 0.05), (2, 0.95)):
        error = y - out[..., place]
        loss = loss + torch.maximum(level * error, (level - 1) * error)
    return loss


def evidential(out: Tensor, y: Tensor) -> Tensor:
    """A normal-inverse-gamma's marginal likelihood, with evidence held down by the error (Amini et al. 2020)."""
    mean, nu, alpha, beta = evidence(out)
    omega = 2 * beta * (1 + nu)
    error = y - mean
    nll = (
        0.5 * torch.log(math.pi / nu)
        - alpha * torch.log(omega)
        + (alpha + 0.5) * torch.log(error.square() * nu + omega)
        + torch.lgamma(alpha)
        - torch.lgamma(alpha + 0.5)
    )
    return nll + EVIDENCE * error.abs() * (2 * nu + alpha)


def evidence(out: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Its four parameters."""
    nu, alpha, beta = (F.softplus(out[..., i]).clamp_min(1e-3) for i in (1, 2, 3))
    return out[..., 0], nu, alpha + 1, beta


class Arm(NamedTuple):
    """One network: its loss, how many examples it sees, and which member it is.

    Members differ in their initial weights and the order of examples, and those of a resampled ensemble also in which
    examples they see, n of the n drawn with replacement.
    """

    loss: Callable[[Tensor, Tensor], Tensor]
    n: int
    member: int = 0
    resampled: bool = False
    flat: bool = False


def train(
    arms: Sequence[Arm],
    data: Sample,
    x_new: NDArray,
    *,
    width: int,
    steps: int,
    batch: int,
    rate: float,
    context: Context,
) -> dict[Arm, Tensor]:
    """The four outputs [len(x_new), 4] of each arm's network at x_new."""
    counts = Counter(arm.loss for arm in arms)  # by loss, in the order of their first arms
    arms = [arm for loss in counts for arm in arms if arm.loss is loss]
    nets = []
    for arm in arms:
        with context.seeded("init", arm.member):
            layers = [nn.Linear(1, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 4)]
            nets.append(nn.Sequential(*layers))
    stack = Stack(nets).to(context.device)
    x, y, flat = (torch.from_numpy(values).float().to(context.device) for values in data)
    adam = torch.optim.Adam(stack.parameters(), rate, fused=True)
    schedule = torch.optim.lr_scheduler.LinearLR(adam, 1.0, 0.0, steps)
    seen = np.zeros((len(arms), len(data.x)), dtype=np.int64)
    for k, arm in enumerate(arms):
        draws = context.rng("resampling", arm.member).integers(arm.n, size=arm.n)
        seen[k, : arm.n] = draws if arm.resampled else np.arange(arm.n)
    examples = torch.from_numpy(seen).to(context.device)
    orders = [context.generator("order", arm.member) for arm in arms]
    is_flat = torch.tensor([[arm.flat] for arm in arms], device=context.device)
    for rows in batches([arm.n for arm in arms], batch, steps=steps, generators=orders):
        rows = examples.gather(1, rows.to(context.device))
        out, target = stack.each(scaled(x[rows])), torch.where(is_flat, flat[rows], y[rows])
        adam.zero_grad()
        parts = zip(counts, out.split(list(counts.values())), target.split(list(counts.values())), strict=True)
        sum(loss(of_loss, targets).mean(1).sum() for loss, of_loss, targets in parts).backward()
        adam.step()
        schedule.step()
    with torch.no_grad():
        out = stack(scaled(torch.from_numpy(x_new).float().to(context.device))).double().cpu()
    return dict(zip(arms, out, strict=True))


def scaled(x: Tensor) -> Tensor:
    """Places in [0, 1] as inputs [..., 1] of mean 0 and variance 1."""
    return ((x - 0.5) * math.sqrt(12))[..., None]


def read_gaussian(members: Sequence[Tensor]) -> Prediction:
    """Networks of a mean and a log-variance; several of them, whose means differ by what is not known."""
    out = torch.stack(list(members)).numpy()
    means, variances = out[..., 0], np.exp(out[..., 1].clip(-12, 6))
    return gaussian(means.mean(0), variances.mean(0), means.var(0, ddof=1) if len(out) > 1 else None)


def read_quantiles(out: Tensor) -> Prediction:
    """The interval as it is; the noise is that of a normal distribution with this interval."""
    mean, low, high = out.numpy().T[:3]
    low, high = np.minimum(low, high), np.maximum(low, high)  # they may cross
    return Prediction(mean, np.maximum((high - low) / (2 * Z90), 1e-3) ** 2, None, low, high)


def read_evidence(out: Tensor) -> Prediction:
    """Noise and ignorance from the four parameters."""
    mean, nu, alpha, beta = (values.numpy() for values in evidence(out))
    return gaussian(mean, beta / (alpha - 1), beta / (nu * (alpha - 1)))


def homoscedastic(mean: NDArray, residuals: NDArray) -> Prediction:
    """The same noise everywhere: the mean square of residuals that were held out."""
    return gaussian(mean, np.full_like(mean, np.square(residuals).mean()))


def conformal(mean: NDArray, residuals: NDArray) -> Prediction:
    """The same interval everywhere, which holds nine in ten whatever the noise."""
    half = conformal_quantile(np.abs(residuals), 0.1)
    half = half if math.isfinite(half) else float(np.abs(residuals).max())
    return Prediction(mean, np.full_like(mean, (half / Z90) ** 2), None, mean - half, mean + half)


# -------------------------------------------------------------------------------------------------------- baselines


def gaussian_process(data: Sample, n: int, x_new: NDArray) -> Prediction:
    """Squared-exponential kernel and noise of greatest marginal likelihood (Rasmussen & Williams 2006, 2.30)."""
    x, y = data.x[: min(n, GP_POINTS)], data.y[: min(n, GP_POINTS)]
    tried = []
    for length in np.geomspace(0.1, 1, 6):
        eigenvalues, vectors = np.linalg.eigh(np.exp(-np.square((x[:, None] - x) / length) / 2))
        projected = vectors.T @ y
        for noise in np.geomspace(0.01, 1, 25):  # variance, of a prior variance of one
            variance = eigenvalues.clip(0) + noise
            scale = (projected**2 / variance).mean()  # the best there is, in closed form
            tried.append(
                (
                    len(x) * np.log(scale) + np.log(variance).sum(),
                    length,
                    noise,
                    scale,
                    vectors,
                    projected / variance,
                    variance,
                )
            )
    _, length, noise, scale, vectors, weights, variance = min(tried, key=lambda candidate: candidate[0])
    k = np.exp(-np.square((x_new[:, None] - x) / length) / 2) @ vectors
    return gaussian(k @ weights, np.full_like(x_new, scale * noise), scale * (1 - (k**2 / variance).sum(1)).clip(0))


def neighbours(data: Sample, n: int, x_new: NDArray) -> Prediction:
    """The noise among neighbours, each a twentieth of all, were the mean known: what there is to be found."""
    x, residual = data.x[:n], data.y[:n] - mean(data.x[:n])
    k = max(2, n // 20)
    near = np.argpartition(np.abs(x_new[:, None] - x), k - 1, axis=1)[:, :k]
    return gaussian(mean(x_new), np.square(residual[near]).mean(1))
