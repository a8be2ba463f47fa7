"""A network that knows how far an input is from its data: spectral-normalised layers under a Gaussian process.

Liu et al., "Simple and principled uncertainty estimation with deterministic deep learning via distance awareness",
NeurIPS 2020 (SNGP). Hidden layers that keep distances, x + f(x) with f contracting, lead to a Gaussian process of
random Fourier features, whose variance grows where no training example is near::

    net = SNGP(64, classes=2, length_scale=3.0)
    bound = SpectralBound([block.weight for block in net.blocks])
    for x, y in batches:
        ...                                             # the usual loss on net(x)
        optimizer.step()
        bound()                                         # f stays contracting
    net.fit_variance(train_x)                           # once, at the end
    probabilities = net.probabilities(test_x)
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class SNGP(nn.Module):
    """A residual perceptron with a random-feature Gaussian process as its last layer.

    Inputs are flattened, and projected by a random matrix that is not trained and roughly keeps distances.

    Args:
        in_features: of a flattened input.
        classes: how many logits.
        width: of the hidden layers.
        depth: how many of them.
        random_features: of the Gaussian process; the more, the better its kernel is approximated.
        length_scale: of the kernel, in units of the inputs; the median distance of training examples is a good one.
        ridge: the precision that each random feature's weight has before any data.
    """

    projection: Tensor
    frequencies: Tensor
    phases: Tensor
    covariance: Tensor

    def __init__(
        self,
        in_features: int,
        classes: int,
        *,
        width: int = 64,
        depth: int = 2,
        random_features: int = 256,
        length_scale: float = 1.0,
        ridge: float = 1.0,
    ) -> None:
        super().__init__()
        if not length_scale > 0 or not ridge > 0:
            raise ValueError(f"length_scale is {length_scale!r} and ridge is {ridge!r}; both must be above 0")
        self.register_buffer("projection", torch.randn(in_features, width) / math.sqrt(width))
        self.blocks = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.register_buffer("frequencies", torch.randn(width, random_features) / length_scale)
        self.register_buffer("phases", 2 * math.pi * torch.rand(random_features))
        self.last = nn.Linear(random_features, classes)
        self.register_buffer("covariance", torch.eye(random_features) / ridge)
        self.ridge = ridge

    def features(self, x: Tensor) -> Tensor:
        """Random Fourier features [n, random_features] of inputs [n, ...]."""
        h = x.flatten(1) @ self.projection
        for block in self.blocks:
            h = h + F.relu(block(h))
        return math.sqrt(2 / len(self.phases)) * torch.cos(h @ self.frequencies + self.phases)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [n, classes] of inputs [n, ...], of the mean weights."""
        return self.last(self.features(x))  # type: ignore[no-any-return]

    @torch.no_grad()
    def fit_variance(self, x: Tensor) -> None:
        """From training inputs [n, ...]: the covariance of the last weights, of a Gaussian likelihood as published."""
        features = self.features(x).double()
        precision = self.ridge * torch.eye(features.shape[1]).to(features) + features.T @ features
        self.covariance.copy_(torch.cholesky_inverse(torch.linalg.cholesky(precision)))

    @torch.no_grad()
    def variance(self, x: Tensor) -> Tensor:
        """Of the logits, [n] of inputs [n, ...]: near 0 among the training data, at most about 1/ridge far away."""
        features = self.features(x)
        return ((features @ self.covariance) * features).sum(1)

    @torch.no_grad()
    def probabilities(self, x: Tensor) -> Tensor:
        """[n, classes] of inputs [n, ...]: logits are shrunk the more the larger their variance (mean field)."""
        return F.softmax(self(x).double() / (1 + math.pi / 8 * self.variance(x).double()).sqrt()[:, None], 1)


class SpectralBound:
    """Keeps the largest singular values of matrices at or below a bound; call it after each step of the optimizer.

    Each call takes one step of power iteration from where the last one ended, as weights move slowly; so a bound may be
    exceeded for a few calls at the start.

    Args:
        weights: matrices [..., out, in]; leading dimensions, as of :class:`dlbench.stacking.Stack`, are taken apart.
        bound: below 1, x + f(x) of such an f keeps distances up to a factor.
    """

    def __init__(self, weights: Sequence[Tensor], bound: float = 0.95) -> None:
        if not bound > 0:
            raise ValueError(f"bound is {bound!r}; it must be above 0")
        self.weights, self.bound = list(weights), bound
        # any start will do that no singular vector is orthogonal to; a fixed one keeps a run the same each time
        self.vectors = [
            F.normalize(torch.cos(torch.arange(w.shape[-1], dtype=w.dtype, device=w.device) ** 2), dim=0)
            .expand(*w.shape[:-2], -1)
            .unsqueeze(-1)
            for w in self.weights
        ]

    @torch.no_grad()
    def __call__(self) -> None:
        """Shrink what is too large."""
        for i, weight in enumerate(self.weights):
            left = F.normalize(weight @ self.vectors[i], dim=-2)
            image = weight.mT @ left
            self.vectors[i] = F.normalize(image, dim=-2)
            weight.mul_((self.bound / image.norm(dim=-2, keepdim=True).clamp_min(1e-12)).clamp_max(1))
